/* Outputs appear whole or not at all: they are made under a temporary name beside their place and
 * renamed at the end. The name is hidden and short, whatever the target's is. */
#define _GNU_SOURCE /* renameat2 */

#include "base/target.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { ABANDONED_SECONDS = 60 };

/* The folder that `path` lies in, malloc'ed; NULL: out of memory. */
static char *parent_of(const char *path) {
    size_t length = strlen(path);

    while (length > 0 && path[length - 1] == '/')
        length--;
    while (length > 0 && path[length - 1] != '/')
        length--;
    if (length == 0)
        return strdup(".");
    while (length > 1 && path[length - 1] == '/')
        length--;
    return strndup(path, length);
}

/* Where a chain of links leads that ends at nothing yet, malloc'ed; NULL: nowhere. */
static char *end_of_links(const char *path) {
    enum { MOST_LINKS = 40 };
    char *at = strdup(path), target[PATH_MAX];

    for (int links = 0; at && links < MOST_LINKS; links++) {
        const ssize_t length = readlink(at, target, sizeof target - 1);
        if (length < 0) {
            if (errno == ENOENT)
                return at;
            break;
        }
        target[length] = '\0';
        char *parent = parent_of(at), *next = NULL;
        if (!parent || asprintf(&next, "%s%s%s", target[0] == '/' ? "" : parent,
                                target[0] == '/' ? "" : "/", target) < 0)
            next = NULL;
        free(parent);
        free(at);
        at = next;
    }
    free(at);
    return NULL;
}

/* `path` without slashes at its end: lstat and rename then mean the entry itself. Of a symbolic
 * link to a file, or to nothing yet, what it points to. */
static char *entry_of(const char *path) {
    struct stat info;
    size_t length = strlen(path);

    if (lstat(path, &info) == 0 && S_ISLNK(info.st_mode)) {
        const bool there = stat(path, &info) == 0;
        char *end = there ? NULL : end_of_links(path);
        if (there && S_ISREG(info.st_mode))
            return realpath(path, NULL);
        if (end)
            return end;
    }

    while (length > 1 && path[length - 1] == '/')
        length--;
    return strndup(path, length);
}

char *sdt__target_place(const char *path) {
    char *plain = entry_of(path), *parent = plain ? parent_of(plain) : NULL, *place = NULL;
    struct stat folder;

    if (parent && stat(parent, &folder) == 0) {
        const char *slash = strrchr(plain, '/');
        if (asprintf(&place, "%ju:%ju/%s", (uintmax_t)folder.st_dev, (uintmax_t)folder.st_ino,
                     slash ? slash + 1 : plain) < 0)
            place = NULL;
    }
    free(plain);
    free(parent);
    return place;
}

static enum sdt_status no_memory(const char *path, struct sdt_error *err) {
    return sdt_fail(err, SDT_ERROR_MEMORY, "%s: no memory for a file name", path);
}

/* "00000.png": five digits or more. */
static bool is_frame_name(const char *name) {
    size_t digits = 0;

    while (isdigit((unsigned char)name[digits]))
        digits++;
    return digits >= 5 && strcmp(name + digits, ".png") == 0;
}

/* Whether the folder holds nothing but frames. */
static enum sdt_status check_frames(const char *folder, struct sdt_error *err) {
    enum sdt_status status = SDT_OK;
    const struct dirent *entry;
    struct stat info;
    DIR *dir = opendir(folder);

    if (!dir)
        return sdt_fail(err, SDT_ERROR_USAGE, "%s: %s", folder, strerror(errno));
    while (status == SDT_OK && (entry = readdir(dir))) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        if (!is_frame_name(entry->d_name) ||
            fstatat(dirfd(dir), entry->d_name, &info, AT_SYMLINK_NOFOLLOW) != 0 ||
            !S_ISREG(info.st_mode))
            status = sdt_fail(err, SDT_ERROR_USAGE,
                              "%s: not replaced, it holds more than numbered frames (%s)", folder,
                              entry->d_name);
    }
    closedir(dir);
    return status;
}

/* Removes a folder of frames; what is not one stays, and then the folder does too. */
static void remove_frames(const char *folder) {
    const struct dirent *entry;
    DIR *dir = opendir(folder);

    if (dir) {
        while ((entry = readdir(dir)))
            if (is_frame_name(entry->d_name))
                unlinkat(dirfd(dir), entry->d_name, 0);
        closedir(dir);
    }
    rmdir(folder);
}

/* What is at `path` now, if anything, may be replaced. */
static enum sdt_status check_present(const char *path, const char *parent,
                                     enum sdt__target_kind kind, bool force,
                                     struct sdt_error *err) {
    struct stat info, above;

    if (lstat(path, &info) != 0) {
        if (errno == ENOENT)
            return SDT_OK;
        return sdt_fail(err, SDT_ERROR_USAGE, "%s: %s", path, strerror(errno));
    }
    /* What is never replaced comes first: --force would not help. A link to nothing is replaced. */
    const bool link = S_ISLNK(info.st_mode);
    const bool dangling = link && stat(path, &info) != 0;
    const bool folder = S_ISDIR(info.st_mode), file = S_ISREG(info.st_mode);
    if (kind == SDT__TARGET_FILE ? !dangling && !file : link || !folder)
        return sdt_fail(
            err, SDT_ERROR_USAGE,
            "%s: not replaced, it is not a %s but a %s; give the output a name of its own%s", path,
            kind == SDT__TARGET_FILE ? "file" : "folder",
            link     ? "link"
            : folder ? "folder"
            : file   ? "file"
                     : "device or pipe",
            link || folder || file ? "" : ", or - for standard output");
    if (!force)
        return sdt_fail(err, SDT_ERROR_USAGE, "%s exists already (--force replaces it)", path);
    if (kind == SDT__TARGET_FILE)
        return SDT_OK;
    if (stat(parent, &above) == 0 && above.st_dev != info.st_dev)
        return sdt_fail(err, SDT_ERROR_USAGE,
                        "%s: a mounted file system cannot be replaced; name a folder in it", path);
    return check_frames(path, err);
}

/* Removes what killed processes of this user left in the folder: ".stardit-<pid>-<n>.part", where
 * no such process is here any more and nothing has been written for a while (it may run
 * elsewhere). */
static void sweep_parts(const char *parent) {
    DIR *dir = opendir(parent);
    const struct dirent *entry;
    struct stat info;
    long pid;
    int n, end;

    while (dir && (entry = readdir(dir))) {
        end = 0;
        if (sscanf(entry->d_name, ".stardit-%ld-%d.part%n", &pid, &n, &end) != 2 || end == 0 ||
            entry->d_name[end] || pid < 1 || kill((pid_t)pid, 0) == 0 || errno != ESRCH ||
            fstatat(dirfd(dir), entry->d_name, &info, AT_SYMLINK_NOFOLLOW) != 0 ||
            info.st_uid != geteuid() || info.st_mtime + ABANDONED_SECONDS > time(NULL))
            continue;
        if (S_ISDIR(info.st_mode)) {
            char *path;
            if (asprintf(&path, "%s/%s", parent, entry->d_name) >= 0) {
                remove_frames(path);
                free(path);
            }
        } else if (S_ISREG(info.st_mode)) {
            unlinkat(dirfd(dir), entry->d_name, 0);
        }
    }
    if (dir)
        closedir(dir);
}

enum sdt_status sdt__target_begin(const char *path, enum sdt__target_kind kind, char **partial,
                                  struct sdt_error *err) {
    enum sdt_status status = SDT_OK;
    char *plain = entry_of(path), *parent = plain ? parent_of(plain) : NULL, *name = NULL;
    const size_t size = (parent ? strlen(parent) : 0) + 64;

    *partial = NULL;
    if (!parent || !(name = malloc(size))) {
        status = no_memory(path, err);
        goto end;
    }
    sweep_parts(parent);
    for (int i = 0;; i++) {
        int made;
        snprintf(name, size, "%s/.stardit-%ld-%d.part", parent, (long)getpid(), i);
        if (kind == SDT__TARGET_FOLDER)
            made = mkdir(name, 0777);
        else
            made = open(name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (made < 0 && errno == EEXIST && i < 1000)
            continue;
        if (made < 0)
            status = sdt_fail(err, SDT_ERROR_IO, "%s: cannot write into folder %s: %s", path,
                              parent, strerror(errno));
        else if (kind == SDT__TARGET_FILE)
            close(made);
        break;
    }
    if (status == SDT_OK) {
        *partial = name;
        name = NULL;
    }
end:
    free(plain);
    free(parent);
    free(name);
    return status;
}

enum sdt_status sdt__target_check(const char *path, enum sdt__target_kind kind, bool force,
                                  struct sdt_error *err) {
    enum sdt_status status;
    char *plain = entry_of(path), *parent = plain ? parent_of(plain) : NULL, *partial = NULL;
    struct stat info;

    if (!plain || !parent) {
        status = no_memory(path, err);
        goto end;
    }
    if (stat(parent, &info) != 0) {
        status = sdt_fail(err, SDT_ERROR_USAGE, "%s: folder %s: %s", path, parent, strerror(errno));
        goto end;
    }
    if (!S_ISDIR(info.st_mode)) {
        status = sdt_fail(err, SDT_ERROR_USAGE, "%s: %s is not a folder", path, parent);
        goto end;
    }
    status = check_present(plain, parent, kind, force, err);
    if (status != SDT_OK)
        goto end;
    status = sdt__target_begin(path, kind, &partial, err);
    if (status == SDT_ERROR_IO) { /* so early, it is the request that is wrong */
        status = SDT_ERROR_USAGE;
        if (err)
            err->status = status;
    }
end:
    sdt__target_abandon(partial, kind);
    free(plain);
    free(parent);
    return status;
}

/* rename() that replaces nothing. */
static int rename_new(const char *from, const char *to) {
    struct stat info;

    if (renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE) == 0)
        return 0;
    if (errno != EINVAL && errno != ENOSYS)
        return -1;
    /* Not every file system knows the flag. */
    if (lstat(to, &info) == 0) {
        errno = EEXIST;
        return -1;
    }
    return rename(from, to);
}

/* Puts the folder `partial` where a folder of frames is. The old one steps aside first and comes
 * back if that fails. */
static enum sdt_status replace_folder(const char *partial, const char *path,
                                      struct sdt_error *err) {
    char *aside = NULL;
    enum sdt_status status = sdt__target_begin(path, SDT__TARGET_FOLDER, &aside, err);

    if (status != SDT_OK)
        return status;
    if (rename(path, aside) != 0) { /* takes the place of the empty folder `aside` */
        status = sdt_fail(err, SDT_ERROR_IO, "%s: %s", path, strerror(errno));
    } else if (rename(partial, path) != 0) {
        status = sdt_fail(err, SDT_ERROR_IO, "%s: %s", path, strerror(errno));
        if (rename(aside, path) != 0)
            status = sdt_fail(err, SDT_ERROR_IO, "%s: cannot be replaced; the old one is now %s",
                              path, aside);
    }
    if (status == SDT_OK)
        remove_frames(aside);
    else
        rmdir(aside); /* which leaves it where it holds the old frames */
    free(aside);
    return status;
}

enum sdt_status sdt__target_commit(char *partial, const char *path, enum sdt__target_kind kind,
                                   bool force, struct sdt_error *err) {
    enum sdt_status status = SDT_OK;
    char *plain = entry_of(path), *parent = plain ? parent_of(plain) : NULL;
    struct stat info;
    int renamed;

    if (!plain || !parent) {
        status = no_memory(path, err);
        goto end;
    }
    if (force) { /* it may have become something else since it was checked */
        status = check_present(plain, parent, kind, force, err);
        if (status != SDT_OK)
            goto end;
    }
    if (force && kind == SDT__TARGET_FOLDER && lstat(plain, &info) == 0) {
        status = replace_folder(partial, plain, err);
        goto end;
    }
    renamed = force ? rename(partial, plain) : rename_new(partial, plain);
    if (renamed != 0)
        status = sdt_fail(err, SDT_ERROR_IO, "%s: %s", path, strerror(errno));
end:
    if (status != SDT_OK)
        sdt__target_abandon(partial, kind);
    else
        free(partial);
    free(plain);
    free(parent);
    return status;
}

void sdt__target_abandon(char *partial, enum sdt__target_kind kind) {
    if (!partial)
        return;
    if (kind == SDT__TARGET_FOLDER)
        remove_frames(partial);
    else
        unlink(partial);
    free(partial);
}

enum sdt_status sdt__target_write(const char *path, void (*write)(FILE *file, const void *arg),
                                  const void *arg, struct sdt_error *err) {
    char *partial = NULL;
    enum sdt_status status = sdt__target_begin(path, SDT__TARGET_FILE, &partial, err);
    if (status != SDT_OK)
        return status;
    FILE *file = fopen(partial, "w");
    bool failed = !file;
    if (file) {
        write(file, arg);
        failed = ferror(file) != 0;
        failed |= fclose(file) != 0;
    }
    if (!failed)
        return sdt__target_commit(partial, path, SDT__TARGET_FILE, true, err);
    status = sdt_fail(err, SDT_ERROR_IO, "%s: %s", path, strerror(errno));
    sdt__target_abandon(partial, SDT__TARGET_FILE);
    return status;
}

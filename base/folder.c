/* Making, locking, removing and sweeping private folders. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "base/folder.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { MOST_DEPTH = 8, YOUNG_SECONDS = 10 };

static const char prefix[] = "stardit-";

struct folder {
    int lock; /* the open folder; -1: the file system knows no locks */
    char path[];
};

/* Everything in the folder, and itself. Links are removed, not followed. */
static void remove_tree(int parent, const char *name, int depth) {
    if (unlinkat(parent, name, 0) == 0 || depth == MOST_DEPTH)
        return;
    int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    const struct dirent *entry;
    if (!dir && fd >= 0)
        close(fd);
    while (dir && (entry = readdir(dir)))
        if (strcmp(entry->d_name, ".") && strcmp(entry->d_name, ".."))
            remove_tree(dirfd(dir), entry->d_name, depth + 1);
    if (dir)
        closedir(dir);
    unlinkat(parent, name, AT_REMOVEDIR);
}

/* "stardit-<digits>-<six characters>" */
static bool is_ours(const char *name) {
    if (strncmp(name, prefix, sizeof prefix - 1))
        return false;
    const char *at = name + sizeof prefix - 1;
    size_t digits = strspn(at, "0123456789");
    return digits > 0 && at[digits] == '-' && strlen(at + digits + 1) == 6 &&
           !strchr(at + digits + 1, '.');
}

/* What processes left that ended without removing it. A young one may be about to be locked. */
static void sweep(const char *tmp) {
    DIR *dir = opendir(tmp);
    const struct dirent *entry;
    struct stat info;

    while (dir && (entry = readdir(dir))) {
        if (!is_ours(entry->d_name))
            continue;
        int fd = openat(dirfd(dir), entry->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0)
            continue;
        if (fstat(fd, &info) == 0 && info.st_uid == geteuid() &&
            info.st_mtime + YOUNG_SECONDS < time(NULL) && flock(fd, LOCK_EX | LOCK_NB) == 0)
            remove_tree(dirfd(dir), entry->d_name, 0);
        close(fd);
    }
    if (dir)
        closedir(dir);
}

enum sdt_status sdt__folder_make(char **path, struct sdt_error *err) {
    const char *tmp = getenv("TMPDIR");
    tmp = tmp && *tmp ? tmp : "/tmp";
    const size_t size = strlen(tmp) + sizeof prefix + 40;
    struct folder *folder = malloc(sizeof *folder + size);

    *path = NULL;
    if (!folder)
        return sdt_fail(err, SDT_ERROR_MEMORY, "out of memory for a folder in %s", tmp);
    sweep(tmp);
    /* Of one length, whatever the process: simulate.c says why. */
    snprintf(folder->path, size, "%s/%s%07ld-XXXXXX", tmp, prefix, (long)getpid());
    if (!mkdtemp(folder->path)) {
        enum sdt_status status = sdt_fail(
            err, SDT_ERROR_IO, "%s: %s (set TMPDIR to a writable folder)", tmp, strerror(errno));
        free(folder);
        return status;
    }
    folder->lock = open(folder->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder->lock >= 0)
        flock(folder->lock, LOCK_EX | LOCK_NB);
    *path = folder->path;
    return SDT_OK;
}

void sdt__folder_remove(char *path) {
    if (!path)
        return;
    struct folder *folder = (struct folder *)(path - offsetof(struct folder, path));
    remove_tree(AT_FDCWD, path, 0);
    if (folder->lock >= 0)
        close(folder->lock);
    free(folder);
}

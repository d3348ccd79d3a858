/* The folder of --state. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "apps/serve/files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config.h"

#ifdef HAVE_LIBAV
#include <libavutil/mem.h>
#include <libavutil/sha.h>
#endif

static const struct {
    const char *folder, *ending;
} kind_of[SERVE_FILES] = {[SERVE_VIDEO] = {"videos", ".mp4"},
                          [SERVE_THUMBNAIL] = {"videos", ".png"},
                          [SERVE_SHEET] = {"videos", ".sheet.png"},
                          [SERVE_TRACE] = {"videos", ".trace.json"},
                          [SERVE_STATE] = {"states", ".safetensors"}};
static const char *const folders[] = {"videos", "states"};
enum { FOLDERS = sizeof folders / sizeof folders[0] };

/* What is in the folder, or the folder's own entries, is on the disk then. */
static bool sync_path(const char *path, int flags) {
    int fd = open(path, O_RDONLY | O_CLOEXEC | flags);
    bool done = fd >= 0 && fsync(fd) == 0;
    if (fd >= 0)
        close(fd);
    return done;
}

static char *join(const struct serve_files *files, const char *folder, const char *name,
                  const char *ending) {
    char *path = NULL;
    return asprintf(&path, "%s/%s%s%s%s", files->folder, folder, *folder ? "/" : "", name, ending) <
                   0
               ? NULL
               : path;
}

char *serve_files_table(const struct serve_files *files) {
    return join(files, "", "jobs", ".sqlite");
}

char *serve_files_name(const struct serve_files *files, enum serve_file kind, const char *id) {
    return join(files, kind_of[kind].folder, id, kind_of[kind].ending);
}

static enum sdt_status make_folder(const char *path, struct sdt_error *err) {
    struct stat st;
    if (mkdir(path, 0700) != 0 && errno != EEXIST)
        return sdt_fail(err, SDT_ERROR_IO, "--state %s: %s", path, strerror(errno));
    if (stat(path, &st) != 0 || !S_ISDIR(st.st_mode) || access(path, R_OK | W_OK | X_OK) != 0)
        return sdt_fail(err, SDT_ERROR_IO, "--state %s: must be a folder that can be written",
                        path);
    return SDT_OK;
}

static enum sdt_status lock_folder(struct serve_files *files, struct sdt_error *err) {
    char *path = join(files, "", "lock", "");
    enum sdt_status status = SDT_OK;
    files->lock = path ? open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600) : -1;
    if (files->lock < 0)
        status = sdt_fail(err, SDT_ERROR_IO, "--state %s: its lock: %s", files->folder,
                          path ? strerror(errno) : "out of memory");
    else if (flock(files->lock, LOCK_EX | LOCK_NB) != 0)
        status = sdt_fail(err, SDT_ERROR_USAGE,
                          "--state %s: another server works there; a folder of its own would work",
                          files->folder);
    free(path);
    return status;
}

enum sdt_status serve_files_open(struct serve_files *files, const char *folder,
                                 struct sdt_error *err) {
    *files = (struct serve_files){.folder = strdup(folder), .lock = -1};
    if (!files->folder)
        return sdt_fail(err, SDT_ERROR_MEMORY, "out of memory for a name");
    enum sdt_status status = make_folder(folder, err);
    if (status == SDT_OK)
        status = lock_folder(files, err);
    for (int f = 0; f < FOLDERS && status == SDT_OK; f++) {
        char *path = join(files, "", folders[f], "");
        status = path ? make_folder(path, err) : sdt_fail(err, SDT_ERROR_MEMORY, "out of memory");
        free(path);
    }
    if (status == SDT_OK && !sync_path(folder, O_DIRECTORY))
        status = sdt_fail(err, SDT_ERROR_IO, "--state %s: %s", folder, strerror(errno));
    char *video = status == SDT_OK ? serve_files_name(files, SERVE_VIDEO, "try") : NULL;
    if (video)
        status = sdt_video_check_path(video, true, err);
    free(video);
    return status;
}

void serve_files_close(struct serve_files *files) {
    if (files->lock >= 0)
        close(files->lock);
    free(files->folder);
    *files = (struct serve_files){.lock = -1};
}

/* The SHA-256 of a file. */
static enum sdt_status sum_file(const char *path, struct serve_file_facts *facts,
                                struct sdt_error *err) {
#ifdef HAVE_LIBAV
    unsigned char block[1 << 14], digest[32];
    struct AVSHA *sha = av_sha_alloc();
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    ssize_t count = -1;
    facts->bytes = 0;
    if (sha && fd >= 0 && av_sha_init(sha, 256) == 0)
        while ((count = read(fd, block, sizeof block)) > 0) {
            av_sha_update(sha, block, (size_t)count);
            facts->bytes += count;
        }
    const int why = sha ? errno : ENOMEM;
    if (count == 0) {
        av_sha_final(sha, digest);
        for (size_t i = 0; i < sizeof digest; i++)
            sprintf(facts->sha256 + 2 * i, "%02x", digest[i]);
    }
    if (fd >= 0)
        close(fd);
    av_free(sha);
    return count == 0 ? SDT_OK : sdt_fail(err, SDT_ERROR_IO, "%s: %s", path, strerror(why));
#else
    (void)facts;
    return sdt_fail(err, SDT_ERROR_UNSUPPORTED, "%s: built without libav", path);
#endif
}

enum sdt_status serve_files_publish(const struct serve_files *files, const char *id,
                                    const struct sdt_video *video, struct serve_file_facts *facts,
                                    struct sdt_error *err) {
    char *path = serve_files_name(files, SERVE_VIDEO, id);
    char *picture = serve_files_name(files, SERVE_THUMBNAIL, id);
    char *sheet = serve_files_name(files, SERVE_SHEET, id);
    char *folder = join(files, "", kind_of[SERVE_VIDEO].folder, "");
    enum sdt_status status = SDT_OK;

    /* The writers rename a whole file; the folder's entry is on the disk after its own fsync. */
    if (!path || !picture || !sheet || !folder)
        status = sdt_fail(err, SDT_ERROR_MEMORY, "out of memory for names");
    if (status == SDT_OK)
        status = sdt_video_write_sheet(video, picture, 1, 1, 1, true, err);
    if (status == SDT_OK)
        status = sdt_video_write_sheet(video, sheet, 4, 4, 1, true, err);
    if (status == SDT_OK)
        status = sdt_video_write(video, path, true, err);
    if (status == SDT_OK && (!sync_path(path, O_NOFOLLOW) || !sync_path(picture, O_NOFOLLOW) ||
                             !sync_path(sheet, O_NOFOLLOW) || !sync_path(folder, O_DIRECTORY)))
        status = sdt_fail(err, SDT_ERROR_IO, "%s: %s", path, strerror(errno));
    if (status == SDT_OK)
        status = sum_file(path, facts, err);
    free(path);
    free(picture);
    free(sheet);
    free(folder);
    return status;
}

static void forget(const struct serve_files *files, enum serve_file kind, const char *id) {
    char *path = serve_files_name(files, kind, id);
    if (path)
        unlink(path);
    free(path);
}

void serve_files_forget_state(const struct serve_files *files, const char *id) {
    forget(files, SERVE_STATE, id);
}

void serve_files_forget(const struct serve_files *files, const char *id) {
    for (int kind = 0; kind < SERVE_FILES; kind++)
        forget(files, (enum serve_file)kind, id);
}

bool serve_files_have(const struct serve_files *files, enum serve_file kind, const char *id) {
    char *path = serve_files_name(files, kind, id);
    bool there = path && access(path, R_OK) == 0;
    free(path);
    return there;
}

int64_t serve_files_bytes(const struct serve_files *files) {
    int64_t bytes = 0;
    for (int f = 0; f < FOLDERS; f++) {
        char *path = join(files, "", folders[f], "");
        DIR *dir = path ? opendir(path) : NULL;
        const struct dirent *entry;
        struct stat st;
        while (dir && (entry = readdir(dir)))
            if (fstatat(dirfd(dir), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
                S_ISREG(st.st_mode))
                bytes += st.st_size;
        if (dir)
            closedir(dir);
        free(path);
    }
    return bytes;
}

/* ---- sweeping -------------------------------------------------------------------------------- */

/* Does the table want a file of this name? */
static bool is_wanted(struct serve_store *store, int folder, const char *name) {
    char id[SERVE_ID + 1];
    struct serve_record record;
    const char *dot = strchr(name, '.');
    if (!dot || dot == name || (size_t)(dot - name) > SERVE_ID)
        return false;
    snprintf(id, sizeof id, "%.*s", (int)(dot - name), name);
    bool wanted = false;
    for (int k = 0; k < SERVE_FILES; k++)
        wanted |= !strcmp(folders[folder], kind_of[k].folder) && !strcmp(dot, kind_of[k].ending);
    if (!wanted || !serve_store_get(store, id, &record))
        return false;
    wanted = !strcmp(folders[folder], kind_of[SERVE_STATE].folder)
                 ? record.status == SERVE_QUEUED || record.status == SERVE_IN_PROGRESS
                 : record.status == SERVE_COMPLETED;
    serve_record_clear(&record);
    return wanted;
}

static void sweep_folder(const struct serve_files *files, struct serve_store *store, int folder) {
    char *path = join(files, "", folders[folder], "");
    DIR *dir = path ? opendir(path) : NULL;
    const struct dirent *entry;
    while (dir && (entry = readdir(dir)))
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0 &&
            !is_wanted(store, folder, entry->d_name))
            unlinkat(dirfd(dir), entry->d_name, 0);
    if (dir)
        closedir(dir);
    free(path);
}

void serve_files_sweep(const struct serve_files *files, struct serve_store *store) {
    struct serve_record *records;
    for (int f = 0; f < FOLDERS; f++)
        sweep_folder(files, store, f);
    int count = serve_store_list(store, NULL, 1 << 30, true, &records);
    for (int i = 0; i < count; i++) {
        char *path = serve_files_name(files, SERVE_VIDEO, records[i].id);
        if (path && records[i].status == SERVE_COMPLETED && access(path, R_OK) != 0 &&
            errno == ENOENT)
            serve_store_lose(store, records[i].id);
        free(path);
    }
    serve_records_free(records, count);
}

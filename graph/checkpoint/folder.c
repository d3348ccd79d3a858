/* Finding a checkpoint: a path, or a name in the Hugging Face cache. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "graph/checkpoint/folder.h"

#include <dirent.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "graph/checkpoint/format.h"

char *sdt_checkpoint_path(const char *folder, const char *name) {
    char *path;
    return asprintf(&path, "%s/%s", folder, name) < 0 ? NULL : path;
}

/* "org/name" or "org/name@revision", with nothing that would leave the cache. */
static bool is_repository(const char *model) {
    const char *slash = strchr(model, '/'), *at = strchr(model, '@');
    size_t length = at ? (size_t)(at - model) : strlen(model);
    return slash && slash != model && slash + 1 < model + length &&
           !memchr(slash + 1, '/', (size_t)(model + length - slash - 1)) && model[0] != '.' &&
           !strstr(model, "..") && (!at || (at[1] && at[1] != '/'));
}

/* Where huggingface_hub keeps repositories, malloc'ed, and which variable said so; NULL: out of
 * memory. */
static char *hub_folder(const char **variable) {
    static const struct {
        const char *variable, *below;
    } places[] = {{"HF_HUB_CACHE", ""},
                  {"HUGGINGFACE_HUB_CACHE", ""},
                  {"HF_HOME", "/hub"},
                  {"XDG_CACHE_HOME", "/huggingface/hub"},
                  {"HOME", "/.cache/huggingface/hub"}};
    const char *home = getenv("HOME");
    char *folder = NULL;

    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        const char *value = getenv(*variable = places[i].variable);
        if (!value || !*value)
            continue;
        bool tilde = value[0] == '~' && (value[1] == '/' || !value[1]) && home;
        return asprintf(&folder, "%s%s%s", tilde ? home : "", value + tilde, places[i].below) < 0
                   ? NULL
                   : folder;
    }
    *variable = NULL;
    return strdup("");
}

/* The newest of the snapshots in `path`, malloc'ed; NULL: none. */
static char *newest_snapshot(const char *path) {
    char *newest = NULL, *one;
    struct timespec when = {0};
    struct dirent *entry;
    struct stat info;
    DIR *folder = opendir(path);

    while (folder && (entry = readdir(folder))) {
        if (entry->d_name[0] == '.' || !(one = sdt_checkpoint_path(path, entry->d_name)))
            continue;
        bool newer = stat(one, &info) == 0 && S_ISDIR(info.st_mode) &&
                     (!newest || info.st_mtim.tv_sec > when.tv_sec ||
                      (info.st_mtim.tv_sec == when.tv_sec && info.st_mtim.tv_nsec > when.tv_nsec));
        if (newer) {
            free(newest);
            newest = one;
            when = info.st_mtim;
        } else {
            free(one);
        }
    }
    if (folder)
        closedir(folder);
    return newest;
}

/* What `repository` has under the hub folder: the snapshot of a revision, which is a branch, a tag
 * or a commit (its first digits do); else of main; else the newest. NULL: none. */
static char *find_snapshot(const char *repository, const char *revision) {
    char *path = NULL, *found = NULL, *snapshots = NULL;
    char commit[128] = "";
    struct dirent *entry;

    if (asprintf(&path, "%s/refs/%s", repository, revision ? revision : "main") < 0)
        return NULL;
    FILE *file = fopen(path, "re");
    free(path);
    if (file) {
        if (!fgets(commit, sizeof commit, file))
            commit[0] = '\0';
        commit[strcspn(commit, " \r\n/")] = '\0';
        fclose(file);
    } else if (revision && !strchr(revision, '/')) {
        snprintf(commit, sizeof commit, "%s", revision);
    }
    if (asprintf(&snapshots, "%s/snapshots", repository) < 0)
        return NULL;
    if (!commit[0]) {
        found = revision ? NULL : newest_snapshot(snapshots);
        free(snapshots);
        return found;
    }
    size_t length = strlen(commit);
    DIR *folder = opendir(snapshots);
    while (folder && (entry = readdir(folder))) {
        bool whole = !strcmp(entry->d_name, commit);
        if (entry->d_name[0] == '.' ||
            (!whole && (found || length < 7 || strncmp(entry->d_name, commit, length))))
            continue;
        free(found);
        found = sdt_checkpoint_path(snapshots, entry->d_name);
        if (whole)
            break;
    }
    if (folder)
        closedir(folder);
    free(snapshots);
    return found;
}

static enum sdt_status find_repository(const char *model, char **folder, struct sdt_error *err) {
    const char *variable = NULL, *at = strchr(model, '@'), *slash = strchr(model, '/');
    int length = at ? (int)(at - model) : (int)strlen(model);
    char *hub = hub_folder(&variable), *repository = NULL;
    enum sdt_status status = SDT_OK;

    if (!hub || asprintf(&repository, "%s/models--%.*s--%.*s", hub, (int)(slash - model), model,
                         (int)(model + length - slash - 1), slash + 1) < 0) {
        free(hub);
        return sdt_fail(err, SDT_ERROR_MEMORY, "out of memory while looking for %s", model);
    }
    *folder = find_snapshot(repository, at ? at + 1 : NULL);
    if (!*folder && !variable)
        status = sdt_fail(err, SDT_ERROR_MISSING,
                          "%s is no folder, and none of HF_HUB_CACHE, HF_HOME and HOME says where "
                          "downloads are",
                          model);
    else if (!*folder && access(repository, F_OK) == 0)
        status = sdt_fail(err, SDT_ERROR_MISSING,
                          "%s: %s has no snapshot of %s; download it with: hf download %.*s%s%s",
                          model, repository, at ? at + 1 : "main", length, model,
                          at ? " --revision " : "", at ? at + 1 : "");
    else if (!*folder)
        status = sdt_fail(err, SDT_ERROR_MISSING,
                          "%s is neither a folder nor in %s (%s says so; HF_HUB_CACHE and HF_HOME "
                          "count before others); download it with: hf download %.*s%s%s",
                          model, hub, variable, length, model, at ? " --revision " : "",
                          at ? at + 1 : "");
    free(hub);
    free(repository);
    return status;
}

/* A file whose tensors can be read. */
static enum sdt_status check_file(const char *model, char **folder, struct sdt_error *err) {
    enum sdt_file_format format;
    enum sdt_status status = sdt_file_format(model, &format, err);
    if (status != SDT_OK)
        return status;
    if (format != SDT_FILE_SAFETENSORS)
        return sdt_file_refuse(model, format, err);
    *folder = strdup(model);
    return *folder ? SDT_OK
                   : sdt_fail(err, SDT_ERROR_MEMORY, "out of memory while opening %s", model);
}

enum sdt_status sdt_checkpoint_find(const char *model, char **folder, struct sdt_error *err) {
    struct stat st;
    enum sdt_status status = SDT_OK;

    *folder = NULL;
    if (stat(model, &st) == 0) {
        if (!S_ISDIR(st.st_mode))
            return check_file(model, folder, err);
        *folder = strdup(model);
    } else if (errno != ENOENT && errno != ENOTDIR) {
        return sdt_fail(err, SDT_ERROR_IO, "%s: %s", model, strerror(errno));
    } else if (is_repository(model)) {
        status = find_repository(model, folder, err);
        if (status != SDT_OK)
            return status;
    } else {
        return sdt_fail(err, SDT_ERROR_MISSING,
                        "'%.200s': no such file or folder; of the Hugging Face cache, org/name or "
                        "org/name@revision would work",
                        model);
    }
    if (!*folder)
        status = sdt_fail(err, SDT_ERROR_MEMORY, "out of memory while opening %s", model);
    if (status != SDT_OK) {
        free(*folder);
        *folder = NULL;
    }
    return status;
}

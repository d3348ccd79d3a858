/* Finding a checkpoint folder: a path, or a name in the Hugging Face cache. */
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

char *sdt_checkpoint_path(const char *folder, const char *name) {
    char *path;
    return asprintf(&path, "%s/%s", folder, name) < 0 ? NULL : path;
}

static bool ends_in(const char *text, const char *ending) {
    size_t n = strlen(text), m = strlen(ending);
    return n >= m && !strcasecmp(text + n - m, ending);
}

static enum sdt_status refuse_file(const char *model, struct sdt_error *err) {
    static const char *const single[] = {".safetensors", ".gguf", ".pth", ".pt", ".bin", ".ckpt"};
    for (size_t i = 0; i < sizeof single / sizeof single[0]; i++)
        if (ends_in(model, single[i]))
            return sdt_fail(
                err, SDT_ERROR_UNSUPPORTED,
                "%s: single %s files cannot be read; --model needs a folder in diffusers "
                "layout (model_index.json, transformer/, vae/, ..)",
                model, single[i]);
    return sdt_fail(err, SDT_ERROR_UNSUPPORTED,
                    "%s is a file; --model needs a folder in diffusers layout", model);
}

/* org/name with one slash and nothing that would leave the cache */
static bool is_repository(const char *model) {
    const char *slash = strchr(model, '/');
    return slash && slash != model && slash[1] && !strchr(slash + 1, '/') && model[0] != '.' &&
           !strstr(model, "..");
}

/* The snapshot that refs/main names, else the only or first one. */
static char *find_snapshot(const char *repository) {
    char *name = NULL, *found = NULL, *base = NULL, *path = NULL;
    const char *home = getenv("HF_HOME"), *user = getenv("HOME");
    char revision[128] = "";

    if ((home && *home ? asprintf(&base, "%s", home)
                       : asprintf(&base, "%s/.cache/huggingface", user ? user : "")) < 0)
        return NULL;
    const char *slash = strchr(repository, '/');
    if (asprintf(&name, "%s/hub/models--%.*s--%s", base, (int)(slash - repository), repository,
                 slash + 1) < 0) {
        name = NULL;
        goto out;
    }
    if (asprintf(&path, "%s/refs/main", name) < 0) {
        path = NULL;
        goto out;
    }
    FILE *file = fopen(path, "r");
    if (file) {
        if (!fgets(revision, sizeof revision, file))
            revision[0] = '\0';
        revision[strcspn(revision, "\r\n/")] = '\0';
        fclose(file);
    }
    free(path);
    if (asprintf(&path, "%s/snapshots", name) < 0) {
        path = NULL;
        goto out;
    }
    DIR *folder = opendir(path);
    if (!folder)
        goto out;
    for (struct dirent *entry; !found && (entry = readdir(folder));)
        if (entry->d_name[0] != '.' && (!revision[0] || !strcmp(entry->d_name, revision)))
            found = sdt_checkpoint_path(path, entry->d_name);
    closedir(folder);
out:
    free(path);
    free(name);
    free(base);
    return found;
}

enum sdt_status sdt_checkpoint_find(const char *model, char **folder, struct sdt_error *err) {
    struct stat st;
    char *index = NULL;
    enum sdt_status status = SDT_OK;

    *folder = NULL;
    if (stat(model, &st) == 0) {
        if (!S_ISDIR(st.st_mode))
            return refuse_file(model, err);
        *folder = strdup(model);
    } else if (errno != ENOENT && errno != ENOTDIR) {
        return sdt_fail(err, SDT_ERROR_IO, "%s: %s", model, strerror(errno));
    } else if (is_repository(model)) {
        *folder = find_snapshot(model);
        if (!*folder)
            return sdt_fail(
                err, SDT_ERROR_MISSING,
                "%s is neither a folder nor in the Hugging Face cache; download it with: "
                "hf download %s",
                model, model);
    } else {
        return sdt_fail(err, SDT_ERROR_MISSING, "%s: no such folder", model);
    }
    index = *folder ? sdt_checkpoint_path(*folder, "model_index.json") : NULL;
    if (!index)
        status = sdt_fail(err, SDT_ERROR_MEMORY, "out of memory while opening %s", model);
    else if (access(index, F_OK))
        status = sdt_fail(err, SDT_ERROR_MISSING,
                          "%s has no model_index.json; --model needs a folder in diffusers layout "
                          "(repositories whose name ends in -Diffusers have it)",
                          *folder);
    free(index);
    if (status != SDT_OK) {
        free(*folder);
        *folder = NULL;
    }
    return status;
}

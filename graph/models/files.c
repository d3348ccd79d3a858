/* Finding out what a single file holds, and what describes it. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "graph/models/files.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "graph/checkpoint/folder.h"
#include "graph/checkpoint/untrusted.h"
#include "graph/models/family.h"

const char *sdt_part_name(enum sdt_part part) {
    static const char *const name[] = {
        [SDT_PART_DIT] = "transformer", [SDT_PART_VAE] = "vae", [SDT_PART_TEXT] = "text_encoder"};
    return name[part];
}

/* How many components of that part a family may have. */
static int most_of(enum sdt_part part) { return part == SDT_PART_TEXT ? 2 : 1; }

/* What a family says of its index-th component of that part; *class_name: what a config.json calls
 * it. NULL: no such component, or it lies in folders only. */
static const struct sdt_files *files_of(const struct sdt_family *family, enum sdt_part part,
                                        int index, const char **class_name) {
    const struct sdt_text_kind *text = part == SDT_PART_TEXT ? family->text[index] : NULL;
    switch (part) {
    case SDT_PART_DIT:
        *class_name = family->dit->class_name;
        return family->dit->files;
    case SDT_PART_VAE:
        *class_name = family->vae ? family->vae->class_name : NULL;
        return family->vae ? family->vae->files : NULL;
    default:
        *class_name = text ? text->model_type : NULL;
        return text ? text->files : NULL;
    }
}

bool sdt_files_identify(const struct sdt_weights *weights, enum sdt_part part,
                        struct sdt_identity *identity) {
    *identity = (struct sdt_identity){0};
    for (int f = 0; sdt_families[f]; f++)
        for (int p = 0; p < SDT_PARTS; p++)
            for (int i = 0; i < most_of((enum sdt_part)p); i++) {
                const char *class_name;
                const struct sdt_files *files =
                    files_of(sdt_families[f], (enum sdt_part)p, i, &class_name);
                if ((part != SDT_PARTS && p != (int)part) || !files ||
                    !sdt_naming_recognise(&files->namings, files->marks, weights, &identity->found))
                    continue;
                identity->family = sdt_families[f];
                identity->part = (enum sdt_part)p;
                identity->files = files;
                return true;
            }
    return false;
}

/* ---- configurations -------------------------------------------------------------------------- */

/* Does the configuration say that it is one of this part? unsaid: what to take for one that says
 * nothing. */
static bool is_of(const struct sdt_config *config, enum sdt_part part, bool unsaid) {
    const char *name = NULL, *class_name;
    struct sdt_error ignored;
    if (sdt_config_string(config, part == SDT_PART_TEXT ? "model_type" : "_class_name", false,
                          &name, &ignored) != SDT_OK)
        return false;
    if (!name)
        return unsaid;
    for (int f = 0; sdt_families[f]; f++)
        for (int i = 0; i < most_of(part); i++) {
            const struct sdt_files *files = files_of(sdt_families[f], part, i, &class_name);
            if ((class_name && !strcmp(name, class_name)) ||
                (files && files->original_class && !strcmp(name, files->original_class)))
                return true;
        }
    return false;
}

/* <folder>/config.json; *config NULL: there is none, or it is another part's. */
static enum sdt_status open_in(const char *folder, enum sdt_part part, bool unsaid,
                               struct sdt_config **config, struct sdt_error *err) {
    char *path = sdt_checkpoint_path(folder, "config.json");
    enum sdt_status status = SDT_OK;

    *config = NULL;
    if (!path)
        return sdt_fail(err, SDT_ERROR_MEMORY, "out of memory while opening %s", folder);
    if (access(path, F_OK) == 0)
        status = sdt_config_open(path, config, err);
    if (status == SDT_OK && *config && !is_of(*config, part, unsaid)) {
        sdt_config_close(*config);
        *config = NULL;
    }
    free(path);
    return status;
}

/* The folder that a file lies in, malloc'ed. */
static char *folder_of(const char *path) {
    char *folder = strdup(path), *slash = folder ? strrchr(folder, '/') : NULL;
    if (!folder || slash) {
        if (slash)
            slash[slash == folder] = '\0'; /* "/" stays */
        return folder;
    }
    free(folder);
    return strdup(".");
}

/* Of a file without a configuration of its own. */
static enum sdt_status describe(const char *path, enum sdt_part part, struct sdt_config *like,
                                struct sdt_config **config, bool *from_file,
                                struct sdt_error *err) {
    struct sdt_weights *weights = NULL;
    struct sdt_identity identity;
    char text[SDT_CONFIG_ROOM] = "";
    enum sdt_status status = sdt_weights_open(path, &weights, err);

    if (status != SDT_OK)
        return status;
    bool known = sdt_files_identify(weights, part, &identity);
    if (known)
        status = identity.files->describe(&identity.found, like, text, err);
    else if (sdt_files_identify(weights, SDT_PARTS, &identity))
        status =
            sdt_fail(err, SDT_ERROR_FORMAT, "%s holds the %s of %s, no %s", sdt__path_tail(path),
                     sdt_part_name(identity.part), identity.family->name, sdt_part_name(part));
    else if (!like)
        status = sdt_fail(err, SDT_ERROR_UNSUPPORTED,
                          "%s holds no %s that this version knows (its first tensor of %zu is "
                          "'%.*s'); stardit-info prints what a file holds",
                          sdt__path_tail(path), sdt_part_name(part), sdt_weights_count(weights),
                          SDT__NAME_SHOWN,
                          sdt_weights_count(weights) ? sdt_weights_at(weights, 0)->name : "");
    if (status == SDT_OK && text[0]) {
        *from_file = false;
        status = sdt_config_parse(path, text, config, err);
    } else if (status == SDT_OK) {
        *config = like; /* it fits; or the check of the tensors says what is wrong */
    }
    sdt_weights_close(weights);
    return status;
}

enum sdt_status sdt_files_config(const char *path, const char *other, enum sdt_part part,
                                 struct sdt_config **config, bool *from_file,
                                 struct sdt_error *err) {
    struct sdt_config *like = NULL;
    struct stat info;

    *config = NULL;
    *from_file = true;
    if (stat(path, &info) != 0 || S_ISDIR(info.st_mode)) {
        char *own = sdt_checkpoint_path(path, "config.json");
        enum sdt_status status =
            own ? sdt_config_open(own, config, err)
                : sdt_fail(err, SDT_ERROR_MEMORY, "out of memory while opening %s", path);
        free(own);
        return status;
    }
    char *folder = folder_of(path);
    if (!folder)
        return sdt_fail(err, SDT_ERROR_MEMORY, "out of memory while opening %s", path);
    enum sdt_status status = open_in(folder, part, false, config, err);
    if (status == SDT_OK && !*config && other)
        status = open_in(other, part, true, &like, err);
    if (status == SDT_OK && !*config)
        status = describe(path, part, like, config, from_file, err);
    if (like != *config)
        sdt_config_close(like);
    free(folder);
    return status;
}

enum sdt_status sdt_files_original(const char *path, const struct sdt_family **family,
                                   struct sdt_error *err) {
    struct sdt_config *config;
    const char *name = "";
    enum sdt_status status = sdt_config_open(path, &config, err);

    *family = NULL;
    if (status == SDT_OK)
        status = sdt_config_string(config, "_class_name", false, &name, err);
    for (int f = 0; status == SDT_OK && sdt_families[f] && !*family; f++) {
        const struct sdt_files *files = sdt_families[f]->dit->files;
        if (files && files->original_class && !strcmp(name, files->original_class))
            *family = sdt_families[f];
    }
    sdt_config_close(config);
    return status;
}

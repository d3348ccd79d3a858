/* Which file of a component's folder holds its weights. */
#include "graph/checkpoint/component_file.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "graph/checkpoint/format.h"
#include "graph/checkpoint/untrusted.h"

#define VARIANT_LENGTH 63

/* File names that qualify: how many, and the first two in order of name, so that the choice and the
 * messages do not depend on the order of the directory. */
struct names {
    int count;
    char first[NAME_MAX + 1], second[NAME_MAX + 1];
};

static void keep_name(struct names *names, const char *name) {
    if (names->count == 0 || strcmp(name, names->first) < 0) {
        memcpy(names->second, names->first, sizeof names->second);
        snprintf(names->first, sizeof names->first, "%s", name);
    } else if (names->count == 1 || strcmp(name, names->second) < 0) {
        snprintf(names->second, sizeof names->second, "%s", name);
    }
    names->count++;
}

enum sdt_status sdt__variant_check(const char *variant, struct sdt_error *err) {
    if (variant && (!*variant || strlen(variant) > VARIANT_LENGTH || strpbrk(variant, "./\\")))
        return sdt_fail(err, SDT_ERROR_USAGE, "variant '%.80s': is a word as fp16", variant);
    return SDT_OK;
}

/* Is `rest`, behind a model's stem, of the variant? */
static bool is_variant(const char *rest, const char *variant) {
    char name[3][VARIANT_LENGTH + 32];
    if (!variant)
        return false;
    snprintf(name[0], sizeof name[0], ".%s.safetensors", variant);
    snprintf(name[1], sizeof name[1], ".%s.safetensors.index.json", variant);
    snprintf(name[2], sizeof name[2], ".safetensors.index.%s.json", variant);
    return !strcmp(rest, name[0]) || !strcmp(rest, name[1]) || !strcmp(rest, name[2]);
}

/* What a folder holds, sorted by what stardit makes of it. */
struct contents {
    struct names plain;   /* MODEL.safetensors, MODEL.safetensors.index.json */
    struct names wanted;  /* the same with .fp16 or the like: the one that is wanted, */
    struct names variant; /* and others */
    struct names shard;   /* MODEL-00001-of-00002.safetensors */
    struct names other;   /* any other .safetensors */
    struct names pickle;  /* .pth, .pt, .bin, .ckpt */
    struct names gguf;
};

static bool ends_with(const char *text, const char *end) {
    const size_t length = strlen(text), end_length = strlen(end);
    return length >= end_length && strcmp(text + length - end_length, end) == 0;
}

static void classify(struct contents *contents, const char *name, const char *variant) {
    static const char *const stems[] = {"diffusion_pytorch_model", "model"};

    for (size_t i = 0; i < sizeof stems / sizeof *stems; i++) {
        const size_t length = strlen(stems[i]);
        const char *rest = name + length;

        if (strncmp(name, stems[i], length) != 0)
            continue;
        if (strcmp(rest, ".safetensors") == 0 || strcmp(rest, ".safetensors.index.json") == 0) {
            keep_name(&contents->plain, name);
            return;
        }
        if (strstr(rest, "-of-") && ends_with(rest, ".safetensors")) {
            keep_name(&contents->shard, name);
            return;
        }
        /* model.fp16.safetensors; model.fp16.safetensors.index.json of some writers and
         * model.safetensors.index.fp16.json of diffusers and transformers. */
        if (rest[0] == '.' &&
            (ends_with(rest, ".safetensors") || ends_with(rest, ".safetensors.index.json") ||
             (strncmp(rest, ".safetensors.index.", 19) == 0 && ends_with(rest, ".json")))) {
            keep_name(is_variant(rest, variant) ? &contents->wanted : &contents->variant, name);
            return;
        }
    }
    switch (sdt_file_format_of_name(name)) {
    case SDT_FILE_SAFETENSORS:
        keep_name(&contents->other, name);
        break;
    case SDT_FILE_GGUF:
        keep_name(&contents->gguf, name);
        break;
    case SDT_FILE_PICKLE:
        keep_name(&contents->pickle, name);
        break;
    default:
        break;
    }
}

static enum sdt_status fail_folder(const char *folder, int reason, struct sdt_error *err) {
    const char *shown = sdt__path_tail(folder);

    return sdt_fail(err,
                    reason == ENOENT   ? SDT_ERROR_MISSING
                    : reason == ENOMEM ? SDT_ERROR_MEMORY
                                       : SDT_ERROR_IO,
                    "%s: %s", shown, strerror(reason));
}

enum sdt_status sdt__component_file(const char *folder, const char *variant,
                                    char chosen[NAME_MAX + 1], bool *is_variant,
                                    struct sdt_error *err) {
    struct contents contents = {0};
    const struct names *found;
    const char *shown = sdt__path_tail(folder);
    struct dirent *item;
    DIR *directory = opendir(folder);

    if (!directory)
        return fail_folder(folder, errno, err);
    while (errno = 0, (item = readdir(directory)))
        classify(&contents, item->d_name, variant);
    const int reason = errno;
    closedir(directory);
    if (reason != 0)
        return fail_folder(folder, reason, err);

    found = contents.wanted.count > 0  ? &contents.wanted
            : contents.plain.count > 0 ? &contents.plain
                                       : &contents.variant;
    *is_variant = contents.wanted.count > 0;
    if (found->count == 1) {
        memcpy(chosen, found->first, sizeof found->first);
        return SDT_OK;
    }
    if (found->count > 1)
        return sdt_fail(err, SDT_ERROR_FORMAT,
                        "%s: %d candidates for the weights (%.80s, %.80s%s); keep one, or name a "
                        "variant",
                        shown, found->count, found->first, found->second,
                        found->count > 2 ? ", .." : "");
    if (contents.shard.count > 0)
        return sdt_fail(err, SDT_ERROR_MISSING, "%s: shards such as %.120s, but no index.json",
                        shown, contents.shard.first);
    if (contents.gguf.count > 0 || contents.pickle.count > 0) {
        bool gguf = contents.gguf.count > 0;
        char path[400];
        snprintf(path, sizeof path, "%s/%.120s", shown,
                 gguf ? contents.gguf.first : contents.pickle.first);
        return sdt_file_refuse(path, gguf ? SDT_FILE_GGUF : SDT_FILE_PICKLE, err);
    }
    return sdt_fail(
        err, SDT_ERROR_MISSING,
        "%s: no weights: neither diffusion_pytorch_model.safetensors nor model.safetensors%s%.120s",
        shown, contents.other.count > 0 ? ", only " : "", contents.other.first);
}

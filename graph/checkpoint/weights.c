/* The tensors of one component, whatever files they lie in, and the check of what a model
 * needs against what is there. */
#define _GNU_SOURCE
#include "graph/checkpoint/weights.h"

#include <jansson.h>
#include <limits.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "graph/checkpoint/component_file.h"
#include "graph/checkpoint/format.h"
#include "graph/checkpoint/lora.h"
#include "graph/checkpoint/naming.h"
#include "graph/checkpoint/untrusted.h"

#define INDEX_LIMIT ((size_t)16 << 20)
static const struct sdt__json_limits index_limits = {.depth = 8, .values = 1000000};

struct entry {
    const struct sdt_stored *tensor;
    const struct sdt_safetensors *file;
    bool unread;        /* the model's table says so */
    const char *stored; /* its name there */
};

struct sdt_weights {
    char *folder; /* or a file */
    char *config; /* NULL: none */
    size_t files, count;
    struct sdt_safetensors **file; /* [files] */
    struct entry *entries;         /* [count], in order of name */
    size_t bytes, parameters;
    bool is_variant;             /* the one that was asked for */
    struct sdt_stored *renamed;  /* [count] the tensors under other names; NULL: as in the files */
    char *names;                 /* of those */
    struct sdt_stored *imagined; /* [count] without files: names owned, data within `room` */
    void *room;
    struct sdt_merges *merges; /* NULL: none */
};

/* ---- files and shards ---------------------------------------------------------------------- */

static int compare_entries(const void *a, const void *b) {
    const struct entry *x = a, *y = b;
    return strcmp(x->tensor->name, y->tensor->name);
}

static int compare_strings(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Makes weights->entries from weights->file[]. */
static enum sdt_status collect_entries(struct sdt_weights *weights, struct sdt_error *err) {
    size_t count = 0;

    for (size_t i = 0; i < weights->files; i++)
        count += sdt_safetensors_count(weights->file[i]);
    weights->entries = calloc(count + 1, sizeof *weights->entries);
    if (!weights->entries)
        return sdt_fail(err, SDT_ERROR_MEMORY, "%s: no memory for %zu tensors",
                        sdt__path_tail(weights->folder), count);
    for (size_t i = 0; i < weights->files; i++) {
        for (size_t k = 0; k < sdt_safetensors_count(weights->file[i]); k++) {
            const struct sdt_stored *tensor = sdt_safetensors_at(weights->file[i], k);
            weights->entries[weights->count++] =
                (struct entry){.tensor = tensor, .file = weights->file[i], .stored = tensor->name};
            weights->bytes += tensor->bytes;
            weights->parameters += tensor->count;
        }
    }
    qsort(weights->entries, weights->count, sizeof *weights->entries, compare_entries);
    for (size_t i = 1; i < weights->count; i++) {
        const struct entry *a = &weights->entries[i - 1], *b = &weights->entries[i];
        if (strcmp(a->tensor->name, b->tensor->name) == 0)
            return sdt_fail(err, SDT_ERROR_FORMAT, "%s: tensor '%.*s' is also in %s",
                            sdt__path_tail(sdt_safetensors_path(a->file)), SDT__NAME_SHOWN,
                            a->tensor->name, sdt__path_tail(sdt_safetensors_path(b->file)));
    }
    return SDT_OK;
}

static const struct entry *find_entry(const struct sdt_weights *weights, const char *name) {
    const struct sdt_stored tensor = {.name = name};
    const struct entry key = {.tensor = &tensor};
    return bsearch(&key, weights->entries, weights->count, sizeof *weights->entries,
                   compare_entries);
}

/* A file that is a component by itself: perhaps one of those that users try. */
static enum sdt_status open_alone(struct sdt_weights *weights, struct sdt_error *err) {
    const char *shown = sdt__path_tail(weights->folder);
    enum sdt_file_format format;
    enum sdt_status status = sdt_file_format(weights->folder, &format, err);
    const char *part = strstr(weights->folder, "-of-"), *end;

    if (status != SDT_OK)
        return status;
    if (format != SDT_FILE_SAFETENSORS)
        return sdt_file_refuse(shown, format, err);
    end = part ? part + 4 + strspn(part + 4, "0123456789") : NULL;
    if (part && end > part + 4 && strcmp(end, ".safetensors") == 0)
        return sdt_fail(err, SDT_ERROR_UNSUPPORTED,
                        "%s is one of several shards; their folder, with the index, would work",
                        shown);
    weights->file = calloc(1, sizeof *weights->file);
    if (!weights->file)
        return sdt_fail(err, SDT_ERROR_MEMORY, "%s: no memory to open it", shown);
    status = sdt_safetensors_open(weights->folder, &weights->file[0], err);
    weights->files = status == SDT_OK;
    return status == SDT_OK ? collect_entries(weights, err) : status;
}

/* Opens folder/name as weights->file[weights->files++]. `tensor`: why it is needed, or NULL. */
static enum sdt_status open_file(struct sdt_weights *weights, const char *name, const char *tensor,
                                 struct sdt_error *err) {
    struct sdt_safetensors *file;
    enum sdt_status status;
    char *path = sdt__path_join(weights->folder, name);

    if (!path)
        return sdt_fail(err, SDT_ERROR_MEMORY, "%s: no memory to open %.120s",
                        sdt__path_tail(weights->folder), name);
    status = sdt_safetensors_open(path, &file, err);
    if (status == SDT_OK)
        weights->file[weights->files++] = file;
    else if (status == SDT_ERROR_MISSING && tensor)
        sdt_fail(err, status, "%s: no such shard; the index names it for tensor '%.*s'",
                 sdt__path_tail(path), SDT__NAME_SHOWN, tensor);
    free(path);
    return status;
}

/* Names a shard may not have, so that an index cannot reach outside its folder. */
static const char *shard_fault(const char *name) {
    const char *end = strrchr(name, '.');
    if (strchr(name, '/') || strchr(name, '\\'))
        return "holds a path separator";
    if (strstr(name, ".."))
        return "holds '..'";
    if (!end || strcmp(end, ".safetensors") != 0)
        return "does not end in .safetensors";
    if (strlen(name) > NAME_MAX)
        return "is too long";
    return NULL;
}

/* Every tensor lies in the shard that the index names for it, and no shard holds another. */
static enum sdt_status check_index(const struct sdt_weights *weights, const char *path, json_t *map,
                                   struct sdt_error *err) {
    const char *name;
    json_t *shard;

    json_object_foreach(map, name, shard) {
        const struct entry *entry = find_entry(weights, name);
        const char *where;
        if (!entry)
            return sdt_fail(err, SDT_ERROR_MISSING,
                            "%s: tensor '%.*s' is not in %.120s, which the index names for it",
                            sdt__path_tail(path), SDT__NAME_SHOWN, name, json_string_value(shard));
        where = strrchr(sdt_safetensors_path(entry->file), '/') + 1;
        if (strcmp(where, json_string_value(shard)) != 0)
            return sdt_fail(
                err, SDT_ERROR_FORMAT, "%s: tensor '%.*s' is in %.120s, but the index names %.120s",
                sdt__path_tail(path), SDT__NAME_SHOWN, name, where, json_string_value(shard));
    }
    for (size_t i = 0; i < weights->count; i++) {
        const struct entry *entry = &weights->entries[i];
        if (!json_object_get(map, entry->tensor->name))
            return sdt_fail(err, SDT_ERROR_FORMAT, "%s: tensor '%.*s' is not in the index",
                            sdt__path_tail(sdt_safetensors_path(entry->file)), SDT__NAME_SHOWN,
                            entry->tensor->name);
    }
    return SDT_OK;
}

static enum sdt_status open_shards(struct sdt_weights *weights, const char *index_name,
                                   struct sdt_error *err) {
    enum sdt_status status;
    json_t *root = NULL, *map, *shard;
    const char **shards = NULL, *name;
    size_t count = 0, distinct = 0;
    char *path = sdt__path_join(weights->folder, index_name);

    if (!path)
        return sdt_fail(err, SDT_ERROR_MEMORY, "%s: no memory to open %.120s",
                        sdt__path_tail(weights->folder), index_name);
    status = sdt__json_load(path, INDEX_LIMIT, &index_limits, &root, err);
    if (status != SDT_OK)
        goto out;
    map = json_object_get(root, "weight_map");
    if (!json_is_object(map) || json_object_size(map) == 0) {
        status =
            sdt_fail(err, SDT_ERROR_FORMAT, "%s: weight_map is missing, empty or not an object",
                     sdt__path_tail(path));
        goto out;
    }

    shards = malloc(json_object_size(map) * sizeof *shards);
    if (!shards) {
        status = sdt_fail(err, SDT_ERROR_MEMORY, "%s: no memory for %zu tensors",
                          sdt__path_tail(path), json_object_size(map));
        goto out;
    }
    json_object_foreach(map, name, shard) {
        const char *fault =
            json_is_string(shard) ? shard_fault(json_string_value(shard)) : "is not a string";
        if (fault) {
            status = sdt_fail(err, SDT_ERROR_FORMAT, "%s: tensor '%.*s': shard name '%.120s' %s",
                              sdt__path_tail(path), SDT__NAME_SHOWN, name,
                              json_is_string(shard) ? json_string_value(shard) : "", fault);
            goto out;
        }
        shards[count++] = json_string_value(shard);
    }
    qsort(shards, count, sizeof *shards, compare_strings);
    for (size_t i = 0; i < count; i++)
        if (i == 0 || strcmp(shards[i], shards[distinct - 1]) != 0)
            shards[distinct++] = shards[i];

    weights->file = calloc(distinct, sizeof *weights->file);
    if (!weights->file) {
        status = sdt_fail(err, SDT_ERROR_MEMORY, "%s: no memory for %zu shards",
                          sdt__path_tail(path), distinct);
        goto out;
    }
    for (size_t i = 0; i < distinct; i++) {
        const char *reason = NULL;
        json_object_foreach(map, name, shard) {
            if (strcmp(json_string_value(shard), shards[i]) == 0) {
                reason = name;
                break;
            }
        }
        status = open_file(weights, shards[i], reason, err);
        if (status != SDT_OK)
            goto out;
    }
    status = collect_entries(weights, err);
    if (status == SDT_OK)
        status = check_index(weights, path, map, err);

out:
    free(shards);
    json_decref(root);
    free(path);
    return status;
}

enum sdt_status sdt_weights_open(const char *folder, struct sdt_weights **result,
                                 struct sdt_error *err) {
    return sdt_weights_open_variant(folder, NULL, result, err);
}

bool sdt_weights_is_variant(const struct sdt_weights *weights) { return weights->is_variant; }

bool sdt_weights_is_read(const struct sdt_weights *weights, size_t index) {
    return !weights->entries[index].unread;
}

enum sdt_status sdt_weights_open_variant(const char *folder, const char *variant,
                                         struct sdt_weights **result, struct sdt_error *err) {
    enum sdt_status status;
    char chosen[NAME_MAX + 1];
    const size_t folder_size = strlen(folder) + 1;
    struct stat info;
    struct sdt_weights *weights = calloc(1, sizeof *weights);

    *result = NULL;
    if (weights)
        weights->folder = malloc(folder_size);
    if (!weights || !weights->folder) {
        status =
            sdt_fail(err, SDT_ERROR_MEMORY, "%s: no memory to open it", sdt__path_tail(folder));
        goto out;
    }
    memcpy(weights->folder, folder, folder_size);

    status = sdt__variant_check(variant, err);
    if (status == SDT_OK && stat(folder, &info) == 0 && !S_ISDIR(info.st_mode)) {
        status = open_alone(weights, err);
        goto out;
    }
    if (status == SDT_OK)
        status = sdt__component_file(folder, variant, chosen, &weights->is_variant, err);
    if (status != SDT_OK)
        goto out;
    if (strcmp(strrchr(chosen, '.'), ".json") == 0) {
        status = open_shards(weights, chosen, err);
        goto out;
    }
    weights->file = calloc(1, sizeof *weights->file);
    if (!weights->file) {
        status =
            sdt_fail(err, SDT_ERROR_MEMORY, "%s: no memory to open it", sdt__path_tail(folder));
        goto out;
    }
    status = open_file(weights, chosen, NULL, err);
    if (status == SDT_OK)
        status = collect_entries(weights, err);

out:
    if (status == SDT_OK)
        *result = weights;
    else
        sdt_weights_close(weights);
    return status;
}

void sdt_weights_close(struct sdt_weights *weights) {
    if (!weights)
        return;
    for (size_t i = 0; i < weights->files; i++)
        sdt_safetensors_close(weights->file[i]);
    for (size_t i = 0; weights->imagined && i < weights->count; i++)
        free((char *)weights->imagined[i].name);
    if (weights->room)
        munmap(weights->room, weights->bytes);
    free(weights->imagined);
    free(weights->renamed);
    sdt_merges_free(weights->merges);
    free(weights->names);
    free(weights->file);
    free(weights->entries);
    free(weights->folder);
    free(weights->config);
    free(weights);
}

const char *sdt_weights_folder(const struct sdt_weights *weights) { return weights->folder; }

const char *sdt_weights_metadata(const struct sdt_weights *weights, const char *key) {
    return weights->files ? sdt_safetensors_metadata(weights->file[0], key) : NULL;
}

const char *sdt_weights_config(const struct sdt_weights *weights) {
    return weights->config ? weights->config : "";
}

enum sdt_status sdt_weights_describe(struct sdt_weights *weights, const char *config,
                                     struct sdt_error *err) {
    free(weights->config);
    weights->config = strdup(config);
    return weights->config ? SDT_OK
                           : sdt_fail(err, SDT_ERROR_MEMORY, "%s: no memory to open it",
                                      sdt__path_tail(weights->folder));
}

size_t sdt_weights_count(const struct sdt_weights *weights) { return weights->count; }

const struct sdt_stored *sdt_weights_at(const struct sdt_weights *weights, size_t index) {
    return index < weights->count ? weights->entries[index].tensor : NULL;
}

size_t sdt_weights_bytes(const struct sdt_weights *weights) { return weights->bytes; }

size_t sdt_weights_parameters(const struct sdt_weights *weights) { return weights->parameters; }

const struct sdt_stored *sdt_weights_find(const struct sdt_weights *weights, const char *name) {
    const struct entry *entry = find_entry(weights, name);
    return entry ? entry->tensor : NULL;
}

void sdt__weights_put(struct sdt_weights *weights, const struct sdt_stored *tensor) {
    const struct entry *entry = find_entry(weights, tensor->name);
    if (entry)
        weights->entries[entry - weights->entries].tensor = tensor;
}

void sdt__weights_own(struct sdt_weights *weights, struct sdt_merges *merges) {
    sdt_merges_free(weights->merges);
    weights->merges = merges;
}

const struct sdt_merges *sdt__weights_merges(const struct sdt_weights *weights) {
    return weights->merges;
}

bool sdt__weights_imagined(const struct sdt_weights *weights) { return weights->imagined; }

struct sdt_component sdt__weights_component(const struct sdt_weights *weights) {
    struct sdt_component c = {0};
    if (!weights)
        return c;
    c.parameters = sdt_weights_parameters(weights);
    c.bytes = sdt_weights_bytes(weights);
    c.tensors = sdt_weights_count(weights);
    for (size_t i = 0; i < c.tensors; i++)
        c.of_dtype[sdt_weights_at(weights, i)->dtype]++;
    return c;
}

const char *sdt_weights_stored_name(const struct sdt_weights *weights, const char *name) {
    const struct entry *entry = find_entry(weights, name);
    return entry ? entry->stored : NULL;
}

const char *sdt_weights_stored_path(const struct sdt_weights *weights, const char *name) {
    const struct entry *entry = find_entry(weights, name);
    return entry ? sdt_safetensors_path(entry->file) : NULL;
}

enum sdt_status sdt_weights_rename(struct sdt_weights *weights, const char *prefix,
                                   const char *(*name)(void *arg, const char *stored), void *arg,
                                   struct sdt_error *err) {
    const size_t length = strlen(prefix);
    struct sdt_stored *renamed = calloc(weights->count + 1, sizeof *renamed);
    size_t kept = 0, room = 1;
    char *names = NULL;

    for (size_t i = 0; renamed && i < weights->count; i++) {
        struct entry *entry = &weights->entries[i];
        if (strncmp(entry->stored, prefix, length) != 0)
            continue;
        const char *own = name(arg, entry->stored + length);
        renamed[kept] = *entry->tensor;
        renamed[kept].name = own ? own : entry->stored + length;
        room += strlen(renamed[kept].name) + 1;
        weights->entries[kept++] = *entry;
    }
    if (renamed)
        names = malloc(room);
    if (!names) {
        free(renamed);
        return sdt_fail(err, SDT_ERROR_MEMORY, "%s: no memory for %zu names",
                        sdt__path_tail(weights->folder), weights->count);
    }
    weights->count = kept;
    weights->bytes = weights->parameters = 0;
    char *next = names;
    for (size_t i = 0; i < kept; i++) {
        const size_t size = strlen(renamed[i].name) + 1;
        renamed[i].name = memcpy(next, renamed[i].name, size);
        next += size;
        weights->entries[i].tensor = &renamed[i];
        weights->bytes += renamed[i].bytes;
        weights->parameters += renamed[i].count;
    }
    free(weights->renamed);
    free(weights->names);
    weights->renamed = renamed;
    weights->names = names;
    qsort(weights->entries, weights->count, sizeof *weights->entries, compare_entries);
    return SDT_OK;
}

/* ---- a model's table ----------------------------------------------------------------------- */

struct sdt_tensor_table *sdt_tensor_table_new(void) {
    return calloc(1, sizeof(struct sdt_tensor_table));
}

void sdt_tensor_table_free(struct sdt_tensor_table *table) {
    if (!table)
        return;
    for (size_t i = 0; i < table->count; i++)
        free(table->required[i].name);
    for (size_t i = 0; i < table->ignored_count; i++)
        free(table->ignored[i]);
    free(table->required);
    free(table->ignored);
    free(table);
}

/* `array`, enlarged where `count` elements of `size` bytes fill it; NULL: out of memory, and
 * `array` is as it was. */
static void *make_room(void *array, size_t count, size_t *capacity, size_t size) {
    if (count < *capacity)
        return array;
    const size_t larger = *capacity > 0 ? *capacity * 2 : 64;
    void *moved = realloc(array, larger * size);
    if (moved)
        *capacity = larger;
    return moved;
}

void sdt_tensor_table_add(struct sdt_tensor_table *table, int rank, const int64_t *shape,
                          const char *format, ...) {
    struct sdt_requirement *required;
    va_list args;
    int length;

    if (table->no_memory)
        return;
    required = make_room(table->required, table->count, &table->capacity, sizeof *required);
    if (!required)
        goto no_memory;
    table->required = required;
    required += table->count;

    va_start(args, format);
    length = vsnprintf(NULL, 0, format, args);
    va_end(args);
    required->name = length >= 0 ? malloc((size_t)length + 1) : NULL;
    if (!required->name)
        goto no_memory;
    va_start(args, format);
    vsnprintf(required->name, (size_t)length + 1, format, args);
    va_end(args);

    required->rank = rank < SDT_MAX_RANK ? rank : SDT_MAX_RANK;
    for (int i = 0; i < required->rank; i++)
        required->shape[i] = shape[i];
    table->count++;
    return;

no_memory:
    table->no_memory = true;
}

void sdt_tensor_table_ignore(struct sdt_tensor_table *table, const char *prefix) {
    const size_t size = strlen(prefix) + 1;
    char **ignored =
        make_room(table->ignored, table->ignored_count, &table->ignored_capacity, sizeof *ignored);
    if (ignored) {
        table->ignored = ignored;
        ignored[table->ignored_count] = malloc(size);
    }
    if (!ignored || !ignored[table->ignored_count]) {
        table->no_memory = true;
        return;
    }
    memcpy(ignored[table->ignored_count++], prefix, size);
}

bool sdt_tensor_table_ignores(const struct sdt_tensor_table *table, const char *name) {
    char spelled[SDT_NAME_ROOM];
    for (size_t i = 0; i < table->ignored_count; i++) {
        sdt_naming_spell(table->naming, table->model, table->ignored[i], spelled, sizeof spelled);
        if (strncmp(name, table->ignored[i], strlen(table->ignored[i])) == 0 ||
            strncmp(name, spelled, strlen(spelled)) == 0)
            return true;
    }
    return false;
}

/* The first tensor of the component that the table does not know, or NULL; marks those that are not
 * read. `names`: the required ones, sorted. */
static const struct entry *find_unknown(const struct sdt_tensor_table *table,
                                        struct sdt_weights *weights, const char *const *names) {
    const struct entry *unknown = NULL;
    for (size_t i = 0; i < weights->count; i++) {
        struct entry *entry = &weights->entries[i];
        const char *name = entry->tensor->name;
        if (bsearch(&name, names, table->count, sizeof *names, compare_strings))
            continue;
        entry->unread = sdt_tensor_table_ignores(table, name);
        if (!entry->unread && !unknown)
            unknown = entry;
    }
    return unknown;
}

bool sdt__stored_is_float(const struct sdt_stored *stored) {
    return stored->dtype == SDT_F32 || stored->dtype == SDT_F16 || stored->dtype == SDT_BF16 ||
           stored->dtype == SDT_F64;
}

static enum sdt_status check_requirement(const struct sdt_requirement *required,
                                         const struct entry *entry, struct sdt_error *err) {
    const struct sdt_stored *tensor = entry->tensor;
    const char *shown = sdt__path_tail(sdt_safetensors_path(entry->file));
    char found[SDT__SHAPE_TEXT], wanted[SDT__SHAPE_TEXT];
    bool same = tensor->rank == required->rank;

    for (int i = 0; same && i < required->rank; i++)
        same = tensor->shape[i] == required->shape[i];
    if (!same) {
        sdt__shape_text(tensor->rank, tensor->shape, found);
        sdt__shape_text(required->rank, required->shape, wanted);
        return sdt_fail(err, SDT_ERROR_FORMAT,
                        "%s: tensor '%.*s' has shape %.80s, the model needs %.80s", shown,
                        SDT__NAME_SHOWN, entry->stored, found, wanted);
    }
    if (!sdt__stored_is_float(tensor))
        return sdt_fail(err, SDT_ERROR_UNSUPPORTED,
                        "%s: tensor '%.*s' has dtype %s, the model needs a floating point one",
                        shown, SDT__NAME_SHOWN, entry->stored, sdt_dtype_name(tensor->dtype));
    return SDT_OK;
}

/* Quantised weights have tensors of scales beside them, so that they are no model's list: what they
 * are says more than which name is unknown. */
static enum sdt_status check_quantised(const struct sdt_weights *weights, struct sdt_error *err) {
    for (size_t i = 0; i < weights->count; i++) {
        const struct entry *entry = &weights->entries[i];
        const enum sdt_dtype dtype = entry->tensor->dtype;
        if (dtype == SDT_F8_E4M3 || dtype == SDT_F8_E5M2 || dtype == SDT_I8)
            return sdt_fail(err, SDT_ERROR_UNSUPPORTED,
                            "%s holds weights quantised to 8 bits (tensor '%.*s' is %s), which are "
                            "not read; the same model's file in BF16 or F16 would work",
                            sdt__path_tail(sdt_safetensors_path(entry->file)), SDT__NAME_SHOWN,
                            entry->stored, sdt_dtype_name(dtype));
    }
    return SDT_OK;
}

enum sdt_status sdt_tensor_table_check(const struct sdt_tensor_table *table,
                                       struct sdt_weights *weights, struct sdt_error *err) {
    enum sdt_status status = SDT_OK;
    const char *shown = sdt__path_tail(weights->folder);
    const struct sdt_requirement *missing = NULL;
    const struct entry *unknown;
    size_t missing_count = 0;
    const char **names = NULL;

    if (!table->no_memory)
        names = malloc((table->count + 1) * sizeof *names);
    if (!names)
        return sdt_fail(err, SDT_ERROR_MEMORY, "%s: no memory for the table of its tensors", shown);
    for (size_t i = 0; i < table->count; i++)
        names[i] = table->required[i].name;
    qsort(names, table->count, sizeof *names, compare_strings);

    status = check_quantised(weights, err);
    if (status != SDT_OK)
        goto out;
    for (size_t i = 0; i < table->count; i++) {
        if (!find_entry(weights, table->required[i].name)) {
            missing = missing ? missing : &table->required[i];
            missing_count++;
        }
    }
    unknown = find_unknown(table, weights, names);
    if (missing) {
        char spelled[SDT_NAME_ROOM];
        sdt_naming_spell(table->naming, table->model, missing->name, spelled, sizeof spelled);
        status = sdt_fail(
            err, SDT_ERROR_MISSING, "%s: tensor '%s%.*s' is missing (%zu of %zu are)%s%.*s%s",
            shown, table->prefix ? table->prefix : "", SDT__NAME_SHOWN, spelled, missing_count,
            table->count, unknown ? "; it holds '" : "", SDT__NAME_SHOWN,
            unknown ? unknown->stored : "", unknown ? "', which the model does not know" : "");
        goto out;
    }
    for (size_t i = 0; i < table->count; i++) {
        status = check_requirement(&table->required[i],
                                   find_entry(weights, table->required[i].name), err);
        if (status != SDT_OK)
            goto out;
    }
    if (unknown)
        status = sdt_fail(err, SDT_ERROR_FORMAT, "%s: tensor '%.*s' is unknown to the model",
                          sdt__path_tail(sdt_safetensors_path(unknown->file)), SDT__NAME_SHOWN,
                          unknown->stored);

out:
    free(names);
    return status;
}

/* ---- without files --------------------------------------------------------------------------- */

enum sdt_status sdt_weights_imagine(const struct sdt_tensor_table *table, const char *name,
                                    const struct sdt_weights *files, enum sdt_dtype stored,
                                    struct sdt_weights **result, struct sdt_error *err) {
    enum sdt_status status = SDT_ERROR_MEMORY;
    struct sdt_weights *weights = calloc(1, sizeof *weights);
    size_t bytes = 0;

    *result = NULL;
    if (!weights || table->no_memory)
        goto out;
    weights->folder = strdup(name);
    weights->imagined = calloc(table->count + 1, sizeof *weights->imagined);
    weights->entries = calloc(table->count + 1, sizeof *weights->entries);
    if (!weights->folder || !weights->imagined || !weights->entries)
        goto out;
    for (size_t i = 0; i < table->count; i++) {
        const struct sdt_requirement *required = &table->required[i];
        struct sdt_stored *tensor = &weights->imagined[i];
        const struct sdt_stored *there = files ? sdt_weights_find(files, required->name) : NULL;
        const bool known = there && sdt__stored_is_float(there);
        *tensor = (struct sdt_stored){.name = strdup(required->name),
                                      .dtype = known ? there->dtype : stored,
                                      .rank = required->rank,
                                      .count = 1};
        weights->count++;
        weights->entries[i].tensor = tensor;
        if (!tensor->name)
            goto out;
        for (int d = 0; d < required->rank; d++) {
            tensor->shape[d] = required->shape[d];
            tensor->count *= (size_t)required->shape[d];
        }
        tensor->bytes = tensor->count * sdt_dtype_size(tensor->dtype);
        weights->parameters += tensor->count;
        bytes += tensor->bytes;
    }
    /* Addresses of their own, since StarPU tells tensors apart by them; no memory behind any. */
    void *room = mmap(NULL, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (room == MAP_FAILED)
        goto out;
    weights->room = room;
    weights->bytes = bytes;
    size_t at = 0;
    for (size_t i = 0; i < weights->count; i++) {
        weights->imagined[i].data = (const char *)room + at;
        at += weights->imagined[i].bytes;
    }
    qsort(weights->entries, weights->count, sizeof *weights->entries, compare_entries);
    status = SDT_OK;
out:
    if (status == SDT_OK) {
        *result = weights;
    } else {
        sdt_fail(err, status, "no memory for the tensors of %s", name);
        sdt_weights_close(weights);
    }
    return status;
}

enum sdt_status sdt_weights_randomize(const struct sdt_weights *weights, struct sdt_error *err) {
    const size_t page = (size_t)sysconf(_SC_PAGESIZE), most = (size_t)64 << 20;
    /* Mapped again and again: a page has one copy. */
    const size_t pool = weights->bytes < most ? (weights->bytes + page - 1) / page * page : most;
    uint64_t state = 1;
    enum sdt_status status = SDT_ERROR_MEMORY;
    int file = memfd_create("random weights", MFD_CLOEXEC);
    float *values = MAP_FAILED;

    if (file < 0 || !weights->room || ftruncate(file, (off_t)pool))
        goto out;
    values = mmap(NULL, pool, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (values == MAP_FAILED)
        goto out;
    for (size_t i = 0; i < pool / sizeof *values; i++) {
        state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        values[i] = ((float)(state >> 40) * 0x1p-23f - 1.0f) * 0.05f;
    }
    for (size_t at = 0; at < weights->bytes; at += pool) {
        size_t left = weights->bytes - at;
        if (mmap((char *)weights->room + at, left < pool ? left : pool, PROT_READ,
                 MAP_SHARED | MAP_FIXED, file, 0) == MAP_FAILED)
            goto out;
    }
    status = SDT_OK;
out:
    if (values != MAP_FAILED)
        munmap(values, pool);
    if (file >= 0)
        close(file);
    return status == SDT_OK
               ? SDT_OK
               : sdt_fail(err, status, "no memory for random values of %s", weights->folder);
}

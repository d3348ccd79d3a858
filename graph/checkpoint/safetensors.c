/* Reader and writer of safetensors files.
 *
 * The reader maps the file and believes nothing: every number of the header is checked against the
 * others and against the size of the file before a pointer is handed out, so that no later code has
 * to check again. */
#define _GNU_SOURCE
#include "stardit/safetensors.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "graph/checkpoint/lora.h"
#include "graph/checkpoint/untrusted.h"

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "safetensors holds little-endian numbers, and stardit uses them in place"
#endif

#define PREFIX_BYTES 8 /* the header's length, u64 */
#define HEADER_LIMIT 100000000u
/* A name holds an object, and that an array. Real headers have some thousand tensors of about ten
 * values; the limit keeps a hostile header from taking gigabytes. */
static const struct sdt__json_limits header_limits = {.depth = 3, .values = 4000000};

struct sdt_safetensors {
    char *path;
    struct sdt__map map;
    size_t count;
    struct sdt_stored *tensors; /* [count], in order of name */
    char *names;                /* all names, each with its NUL */
    json_t *metadata;           /* an object of strings; NULL: none */
};

static enum sdt_status fail_tensor(struct sdt_error *err, enum sdt_status status, const char *path,
                                   const char *name, const char *format, ...)
    __attribute__((format(printf, 5, 6)));

static enum sdt_status fail_tensor(struct sdt_error *err, enum sdt_status status, const char *path,
                                   const char *name, const char *format, ...) {
    char reason[400];
    va_list args;

    va_start(args, format);
    vsnprintf(reason, sizeof reason, format, args);
    va_end(args);
    return sdt_fail(err, status, "%s: tensor '%.*s': %s", sdt__path_tail(path), SDT__NAME_SHOWN,
                    name, reason);
}

/* ---- reading ------------------------------------------------------------------------------- */

static bool find_dtype(const char *name, enum sdt_dtype *dtype) {
    for (int i = 0; i < SDT_DTYPES; i++)
        if (strcmp(sdt_dtype_name((enum sdt_dtype)i), name) == 0) {
            *dtype = (enum sdt_dtype)i;
            return true;
        }
    return false;
}

static enum sdt_status read_shape(const char *path, const json_t *shape, struct sdt_stored *tensor,
                                  struct sdt_error *err) {
    const size_t rank = json_array_size(shape);

    if (!json_is_array(shape))
        return fail_tensor(err, SDT_ERROR_FORMAT, path, tensor->name, "shape is not an array");
    if (rank > SDT_MAX_RANK)
        return fail_tensor(err, SDT_ERROR_UNSUPPORTED, path, tensor->name,
                           "%zu dimensions, at most %d are supported", rank, SDT_MAX_RANK);
    tensor->rank = (int)rank;
    tensor->count = 1;
    for (size_t i = 0; i < rank; i++) {
        const json_t *size = json_array_get(shape, i);
        if (!json_is_integer(size) || json_integer_value(size) < 0)
            return fail_tensor(err, SDT_ERROR_FORMAT, path, tensor->name,
                               "dimension %zu of shape is not a non-negative integer", i);
        tensor->shape[i] = json_integer_value(size);
        if (__builtin_mul_overflow(tensor->count, (uint64_t)tensor->shape[i], &tensor->count))
            return fail_tensor(err, SDT_ERROR_FORMAT, path, tensor->name,
                               "the product of shape overflows");
    }
    if (__builtin_mul_overflow(tensor->count, sdt_dtype_size(tensor->dtype), &tensor->bytes))
        return fail_tensor(err, SDT_ERROR_FORMAT, path, tensor->name,
                           "the size in bytes overflows");
    return SDT_OK;
}

static enum sdt_status read_offsets(const char *path, const json_t *offsets,
                                    const unsigned char *data, size_t size,
                                    struct sdt_stored *tensor, struct sdt_error *err) {
    const json_t *first = json_array_get(offsets, 0), *second = json_array_get(offsets, 1);
    char shape[SDT__SHAPE_TEXT];
    uint64_t begin, end;

    if (json_array_size(offsets) != 2 || !json_is_integer(first) || !json_is_integer(second) ||
        json_integer_value(first) < 0 || json_integer_value(second) < 0)
        return fail_tensor(err, SDT_ERROR_FORMAT, path, tensor->name,
                           "data_offsets is not an array of two non-negative integers");
    begin = (uint64_t)json_integer_value(first);
    end = (uint64_t)json_integer_value(second);
    if (begin > end)
        return fail_tensor(err, SDT_ERROR_FORMAT, path, tensor->name,
                           "data_offsets [%" PRIu64 ", %" PRIu64 "] run backwards", begin, end);
    if (end - begin != tensor->bytes) {
        sdt__shape_text(tensor->rank, tensor->shape, shape);
        return fail_tensor(err, SDT_ERROR_FORMAT, path, tensor->name,
                           "data_offsets [%" PRIu64 ", %" PRIu64 "] span %" PRIu64
                           " bytes, but %s of shape %s takes %zu",
                           begin, end, end - begin, sdt_dtype_name(tensor->dtype), shape,
                           tensor->bytes);
    }
    if (end > size)
        return fail_tensor(
            err, SDT_ERROR_FORMAT, path, tensor->name,
            "truncated: it ends at byte %" PRIu64 " of the data, which has %zu bytes", end, size);
    tensor->data = data + begin;
    return SDT_OK;
}

/* `data` [size]: what follows the header. tensor->name is already there. */
static enum sdt_status read_tensor(const char *path, json_t *entry, const unsigned char *data,
                                   size_t size, struct sdt_stored *tensor, struct sdt_error *err) {
    const json_t *dtype = NULL, *shape = NULL, *offsets = NULL;
    const char *key;
    json_t *value;
    enum sdt_status status;

    if (!json_is_object(entry))
        return fail_tensor(err, SDT_ERROR_FORMAT, path, tensor->name,
                           "its header entry is not an object");
    json_object_foreach(entry, key, value) {
        if (strcmp(key, "dtype") == 0)
            dtype = value;
        else if (strcmp(key, "shape") == 0)
            shape = value;
        else if (strcmp(key, "data_offsets") == 0)
            offsets = value;
        else
            return fail_tensor(err, SDT_ERROR_FORMAT, path, tensor->name, "unknown key '%.*s'",
                               SDT__NAME_SHOWN, key);
    }
    if (!dtype || !shape || !offsets)
        return fail_tensor(err, SDT_ERROR_FORMAT, path, tensor->name, "%s is missing",
                           !dtype   ? "dtype"
                           : !shape ? "shape"
                                    : "data_offsets");
    if (!json_is_string(dtype))
        return fail_tensor(err, SDT_ERROR_FORMAT, path, tensor->name, "dtype is not a string");
    if (!find_dtype(json_string_value(dtype), &tensor->dtype))
        return fail_tensor(err, SDT_ERROR_UNSUPPORTED, path, tensor->name,
                           "dtype '%.40s' is not supported (F32, F16, BF16 and F64 are)",
                           json_string_value(dtype));
    status = read_shape(path, shape, tensor, err);
    if (status == SDT_OK)
        status = read_offsets(path, offsets, data, size, tensor, err);
    return status;
}

static enum sdt_status check_metadata(const char *path, json_t *metadata, struct sdt_error *err) {
    const char *key;
    json_t *value;

    if (!json_is_object(metadata))
        return sdt_fail(err, SDT_ERROR_FORMAT, "%s: __metadata__ is not an object",
                        sdt__path_tail(path));
    json_object_foreach(metadata, key, value) {
        if (!json_is_string(value))
            return sdt_fail(err, SDT_ERROR_FORMAT, "%s: __metadata__ '%.*s' is not a string",
                            sdt__path_tail(path), SDT__NAME_SHOWN, key);
    }
    return SDT_OK;
}

static int compare_names(const void *a, const void *b) {
    const struct sdt_stored *x = a, *y = b;
    return strcmp(x->name, y->name);
}

/* By begin, then end, so that an empty tensor comes before the one that starts where it lies. */
static int compare_places(const void *a, const void *b) {
    const struct sdt_stored *x = *(const struct sdt_stored *const *)a;
    const struct sdt_stored *y = *(const struct sdt_stored *const *)b;
    const uintptr_t x_begin = (uintptr_t)x->data, y_begin = (uintptr_t)y->data;

    if (x_begin != y_begin)
        return x_begin < y_begin ? -1 : 1;
    if (x->bytes != y->bytes)
        return x->bytes < y->bytes ? -1 : 1;
    return strcmp(x->name, y->name);
}

/* The tensors tile the data: no hole, no overlap, nothing behind the last. */
static enum sdt_status check_layout(const struct sdt_safetensors *file, const unsigned char *data,
                                    size_t size, struct sdt_error *err) {
    enum sdt_status status = SDT_OK;
    const struct sdt_stored **places = NULL;
    size_t end = 0;

    if (file->count > 0) {
        places = malloc(file->count * sizeof *places);
        if (!places)
            return sdt_fail(err, SDT_ERROR_MEMORY, "%s: no memory to check %zu tensors",
                            sdt__path_tail(file->path), file->count);
        for (size_t i = 0; i < file->count; i++)
            places[i] = &file->tensors[i];
        qsort(places, file->count, sizeof *places, compare_places);
    }
    for (size_t i = 0; i < file->count; i++) {
        const size_t begin = (size_t)((const unsigned char *)places[i]->data - data);
        if (begin > end) {
            status =
                fail_tensor(err, SDT_ERROR_FORMAT, file->path, places[i]->name,
                            "a hole: bytes %zu to %zu before it belong to no tensor", end, begin);
            goto out;
        }
        if (begin < end) {
            status = fail_tensor(err, SDT_ERROR_FORMAT, file->path, places[i]->name,
                                 "an overlap: it begins at byte %zu, but '%.*s' ends at byte %zu",
                                 begin, SDT__NAME_SHOWN, places[i - 1]->name, end);
            goto out;
        }
        end = begin + places[i]->bytes;
    }
    if (end != size)
        status = sdt_fail(err, SDT_ERROR_FORMAT,
                          "%s: the tensors end at byte %zu of the data, but the file goes on for "
                          "%zu more (trailing bytes)",
                          sdt__path_tail(file->path), end, size - end);

out:
    free(places);
    return status;
}

/* Fills file->tensors from the parsed header. */
static enum sdt_status read_header(struct sdt_safetensors *file, json_t *header,
                                   const unsigned char *data, size_t size, struct sdt_error *err) {
    enum sdt_status status = SDT_OK;
    size_t names_size = 0, entries = 0;
    char *next_name;
    const char *key;
    json_t *value;

    json_object_foreach(header, key, value) {
        names_size += strlen(key) + 1;
        entries++;
    }
    /* One more than needed, since an empty header is valid and malloc(0) may return NULL. */
    file->tensors = calloc(entries + 1, sizeof *file->tensors);
    file->names = malloc(names_size + 1);
    if (!file->tensors || !file->names)
        return sdt_fail(err, SDT_ERROR_MEMORY, "%s: no memory for %zu tensors",
                        sdt__path_tail(file->path), entries);

    next_name = file->names;
    json_object_foreach(header, key, value) {
        if (strcmp(key, "__metadata__") == 0) {
            status = check_metadata(file->path, value, err);
            file->metadata = json_incref(value);
        } else {
            struct sdt_stored *tensor = &file->tensors[file->count++];
            const size_t length = strlen(key) + 1;
            tensor->name = memcpy(next_name, key, length);
            next_name += length;
            status = read_tensor(file->path, value, data, size, tensor, err);
        }
        if (status != SDT_OK)
            return status;
    }
    qsort(file->tensors, file->count, sizeof *file->tensors, compare_names);
    return check_layout(file, data, size, err);
}

/* What downloads leave in a file's place; SDT_OK: nothing that is known. */
static enum sdt_status refuse_text(const struct sdt__map *map, const char *path,
                                   struct sdt_error *err) {
    static const char pointer[] = "version https://git-lfs";
    const char *text = (const char *)map->bytes, *shown = sdt__path_tail(path);

    if (map->size >= sizeof pointer && !memcmp(text, pointer, sizeof pointer - 1))
        return sdt_fail(err, SDT_ERROR_FORMAT,
                        "%s is a pointer of git-lfs, not the file itself; git lfs pull fetches it",
                        shown);
    if (text[0] == '<')
        return sdt_fail(err, SDT_ERROR_FORMAT,
                        "%s is a web page or XML, not the file; download it once more", shown);
    return SDT_OK;
}

enum sdt_status sdt_safetensors_open(const char *path, struct sdt_safetensors **result,
                                     struct sdt_error *err) {
    enum sdt_status status;
    struct sdt_safetensors *file;
    json_t *header = NULL;
    uint64_t length;
    const size_t path_size = strlen(path) + 1;

    *result = NULL;
    file = calloc(1, sizeof *file);
    if (file)
        file->path = malloc(path_size);
    if (!file || !file->path) {
        status = sdt_fail(err, SDT_ERROR_MEMORY, "%s: no memory to open it", sdt__path_tail(path));
        goto out;
    }
    memcpy(file->path, path, path_size);

    status = sdt__map_file(path, 0, &file->map, err);
    if (status != SDT_OK)
        goto out;
    if (file->map.size < PREFIX_BYTES) {
        status = sdt_fail(err, SDT_ERROR_FORMAT,
                          "%s: truncated: %zu bytes, too short for a safetensors header",
                          sdt__path_tail(path), file->map.size);
        goto out;
    }
    memcpy(&length, file->map.bytes, sizeof length);
    if (length > HEADER_LIMIT) {
        status = refuse_text(&file->map, path, err);
        if (status == SDT_OK)
            status =
                sdt_fail(err, SDT_ERROR_FORMAT,
                         "%s: a header of %" PRIu64 " bytes, the limit is %u (is it safetensors?)",
                         sdt__path_tail(path), length, HEADER_LIMIT);
        goto out;
    }
    if (length > file->map.size - PREFIX_BYTES) {
        status = sdt_fail(err, SDT_ERROR_FORMAT,
                          "%s: truncated: a header of %" PRIu64 " bytes in a file of %zu",
                          sdt__path_tail(path), length, file->map.size);
        goto out;
    }
    if (length == 0 || file->map.bytes[PREFIX_BYTES] != '{') {
        status = sdt_fail(err, SDT_ERROR_FORMAT, "%s: the header does not begin with '{'",
                          sdt__path_tail(path));
        goto out;
    }
    status = sdt__json_parse(path, "the header", file->map.bytes + PREFIX_BYTES, (size_t)length,
                             &header_limits, &header, err);
    if (status == SDT_OK)
        status = read_header(file, header, file->map.bytes + PREFIX_BYTES + length,
                             file->map.size - PREFIX_BYTES - (size_t)length, err);

out:
    json_decref(header);
    if (status == SDT_OK)
        *result = file;
    else
        sdt_safetensors_close(file);
    return status;
}

void sdt_safetensors_close(struct sdt_safetensors *file) {
    if (!file)
        return;
    sdt__unmap(&file->map);
    json_decref(file->metadata);
    free(file->tensors);
    free(file->names);
    free(file->path);
    free(file);
}

const char *sdt_safetensors_path(const struct sdt_safetensors *file) { return file->path; }

size_t sdt_safetensors_count(const struct sdt_safetensors *file) { return file->count; }

const struct sdt_stored *sdt_safetensors_at(const struct sdt_safetensors *file, size_t index) {
    return index < file->count ? &file->tensors[index] : NULL;
}

const struct sdt_stored *sdt_safetensors_find(const struct sdt_safetensors *file,
                                              const char *name) {
    const struct sdt_stored key = {.name = name};
    return bsearch(&key, file->tensors, file->count, sizeof *file->tensors, compare_names);
}

const char *sdt_safetensors_metadata(const struct sdt_safetensors *file, const char *key) {
    return json_string_value(json_object_get(file->metadata, key));
}

bool sdt_safetensors_metadata_at(const struct sdt_safetensors *file, size_t index, const char **key,
                                 const char **value) {
    void *at = json_object_iter(file->metadata);
    while (at && index-- > 0)
        at = json_object_iter_next(file->metadata, at);
    if (!at)
        return false;
    *key = json_object_iter_key(at);
    *value = json_string_value(json_object_iter_value(at));
    return true;
}

void sdt_stored_release(const struct sdt_stored *tensor) {
    if (tensor->merge) {
        sdt__merge_release(tensor);
        return;
    }
    const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    const uintptr_t begin = (uintptr_t)tensor->data & ~(page - 1);
    const uintptr_t end = ((uintptr_t)tensor->data + tensor->bytes + page - 1) & ~(page - 1);

    /* Whole pages, the neighbours' parts included: a clean page of a file comes back when read. A
     * mapping covers whole pages, so the rounding stays inside it. A hint: its failure is no error.
     */
    if (tensor->bytes > 0)
        madvise((void *)begin, end - begin, MADV_DONTNEED);
}

enum sdt_status sdt_stored_floats(const struct sdt_stored *tensor, float **values,
                                  struct sdt_error *err) {
    size_t bytes;

    *values = NULL;
    if (tensor->dtype != SDT_F32 && tensor->dtype != SDT_F16 && tensor->dtype != SDT_BF16 &&
        tensor->dtype != SDT_F64)
        return sdt_fail(err, SDT_ERROR_UNSUPPORTED,
                        "tensor '%.*s': dtype %s, a floating point one is needed", SDT__NAME_SHOWN,
                        tensor->name, sdt_dtype_name(tensor->dtype));
    if (__builtin_mul_overflow(tensor->count, sizeof **values, &bytes))
        bytes = SIZE_MAX; /* which malloc refuses */
    *values = malloc(bytes > 0 ? bytes : 1);
    if (!*values)
        return sdt_fail(err, SDT_ERROR_MEMORY, "tensor '%.*s': no memory for %zu floats",
                        SDT__NAME_SHOWN, tensor->name, tensor->count);
    sdt_convert(tensor->dtype, tensor->count, tensor->data, *values);
    return SDT_OK;
}

/* ---- writing ------------------------------------------------------------------------------- */

static int compare_written(const void *a, const void *b) {
    const struct sdt_stored *x = *(const struct sdt_stored *const *)a;
    const struct sdt_stored *y = *(const struct sdt_stored *const *)b;
    return strcmp(x->name, y->name);
}

static enum sdt_status check_written(const char *path, size_t count,
                                     const struct sdt_stored *const *tensors, /* sorted */
                                     struct sdt_error *err) {
    for (size_t i = 0; i < count; i++) {
        const struct sdt_stored *tensor = tensors[i];
        size_t product = 1;
        bool fits = tensor->rank >= 0 && tensor->rank <= SDT_MAX_RANK;

        for (int k = 0; fits && k < tensor->rank; k++)
            fits = tensor->shape[k] >= 0 &&
                   !__builtin_mul_overflow(product, (uint64_t)tensor->shape[k], &product);
        if (!fits || product != tensor->count || product > (size_t)INT64_MAX / sizeof(float))
            return fail_tensor(err, SDT_ERROR_USAGE, path, tensor->name,
                               "cannot be written: its shape does not give its %zu elements",
                               tensor->count);
        if (tensor->dtype != SDT_F32)
            return fail_tensor(err, SDT_ERROR_USAGE, path, tensor->name,
                               "cannot be written: dtype %s, only F32 can",
                               sdt_dtype_name(tensor->dtype));
        if (strcmp(tensor->name, "__metadata__") == 0)
            return fail_tensor(err, SDT_ERROR_USAGE, path, tensor->name,
                               "cannot be written: the name is reserved");
        if (i > 0 && strcmp(tensors[i - 1]->name, tensor->name) == 0)
            return fail_tensor(err, SDT_ERROR_USAGE, path, tensor->name,
                               "cannot be written: the name is there twice");
    }
    return SDT_OK;
}

/* The header's entry of one tensor; NULL: out of memory. */
static json_t *make_entry(const struct sdt_stored *tensor, int64_t begin) {
    json_t *entry = json_object(), *shape = json_array(), *offsets = json_array();
    const int64_t end = begin + (int64_t)(tensor->count * sizeof(float));
    int failed = !entry || !shape || !offsets;

    for (int i = 0; !failed && i < tensor->rank; i++)
        failed |= json_array_append_new(shape, json_integer(tensor->shape[i]));
    if (!failed) {
        failed |= json_array_append_new(offsets, json_integer(begin));
        failed |= json_array_append_new(offsets, json_integer(end));
        failed |= json_object_set_new(entry, "dtype", json_string(sdt_dtype_name(tensor->dtype)));
        failed |= json_object_set(entry, "shape", shape);
        failed |= json_object_set(entry, "data_offsets", offsets);
    }
    json_decref(shape);
    json_decref(offsets);
    if (failed) {
        json_decref(entry);
        entry = NULL;
    }
    return entry;
}

/* Adds __metadata__ to the header. */
static enum sdt_status add_metadata(const char *path, json_t *header, size_t entries,
                                    const struct sdt_metadata *metadata, struct sdt_error *err) {
    json_t *object = json_object();
    enum sdt_status status = SDT_OK;

    for (size_t i = 0; object && i < entries && status == SDT_OK; i++) {
        json_t *value = NULL;
        errno = 0;
        value = json_string(metadata[i].value);
        if (value && json_object_set_new(object, metadata[i].key, value) == 0)
            continue;
        if (errno != ENOMEM)
            status = sdt_fail(err, SDT_ERROR_USAGE,
                              "%s: cannot be written: __metadata__ '%.*s' is not UTF-8",
                              sdt__path_tail(path), SDT__NAME_SHOWN, metadata[i].key);
        else
            status = sdt_fail(err, SDT_ERROR_MEMORY, "%s: no memory for its header",
                              sdt__path_tail(path));
    }
    if (status == SDT_OK && (!object || json_object_set(header, "__metadata__", object) != 0))
        status =
            sdt_fail(err, SDT_ERROR_MEMORY, "%s: no memory for its header", sdt__path_tail(path));
    json_decref(object);
    return status;
}

/* *text: the JSON, malloc'ed, without the padding. */
static enum sdt_status make_header(const char *path, size_t count,
                                   const struct sdt_stored *const *tensors, size_t entries,
                                   const struct sdt_metadata *metadata, char **text,
                                   struct sdt_error *err) {
    enum sdt_status status = SDT_OK;
    json_t *header = json_object();
    int64_t begin = 0;
    size_t length = 0;

    *text = NULL;
    if (header && entries > 0)
        status = add_metadata(path, header, entries, metadata, err);
    if (status != SDT_OK)
        goto out;
    for (size_t i = 0; header && i < count; i++) {
        const struct sdt_stored *tensor = tensors[i];
        const int64_t bytes = (int64_t)(tensor->count * sizeof(float));
        json_t *entry = make_entry(tensor, begin);

        errno = 0;
        if (!entry || json_object_set_new(header, tensor->name, entry) != 0) {
            if (entry && errno != ENOMEM)
                status = fail_tensor(err, SDT_ERROR_USAGE, path, tensor->name,
                                     "cannot be written: the name is not UTF-8");
            else
                status = sdt_fail(err, SDT_ERROR_MEMORY, "%s: no memory for its header",
                                  sdt__path_tail(path));
            goto out;
        }
        if (__builtin_add_overflow(begin, bytes, &begin)) {
            status = fail_tensor(err, SDT_ERROR_USAGE, path, tensor->name,
                                 "cannot be written: the file would be too large");
            goto out;
        }
    }
    /* Not json_dumps: its result belongs to whatever allocator jansson was given. */
    if (header)
        length = json_dumpb(header, NULL, 0, JSON_COMPACT);
    if (length > 0)
        *text = malloc(length + 1);
    if (!*text || json_dumpb(header, *text, length, JSON_COMPACT) != length) {
        status =
            sdt_fail(err, SDT_ERROR_MEMORY, "%s: no memory for its header", sdt__path_tail(path));
        goto out;
    }
    (*text)[length] = '\0';

out:
    if (status != SDT_OK) {
        free(*text);
        *text = NULL;
    }
    json_decref(header);
    return status;
}

static bool write_all(int fd, const void *data, size_t size) {
    const unsigned char *next = data;

    while (size > 0) {
        const ssize_t written = write(fd, next, size);
        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0)
            return false;
        next += written;
        size -= (size_t)written;
    }
    return true;
}

/* Opens a new file in the folder of `path`; *name is malloc'ed. The name is short, whatever the
 * length of the one it will be renamed to; what a killed process leaves is removed with its other
 * parts (base/target.c). Returns the descriptor, or -1 with errno. */
static int open_beside(const char *path, char **name) {
    const char *slash = strrchr(path, '/');
    const int folder = slash ? (int)(slash - path) + 1 : 0;
    const size_t size = (size_t)folder + 64;
    int fd = -1;

    *name = malloc(size);
    if (!*name) {
        errno = ENOMEM;
        return -1;
    }
    for (int attempt = 0; attempt < 1000; attempt++) {
        snprintf(*name, size, "%.*s.stardit-%ld-%d.part", folder, path, (long)getpid(), attempt);
        fd = open(*name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (fd >= 0 || errno != EEXIST)
            break;
    }
    if (fd < 0) {
        const int reason = errno;
        free(*name);
        *name = NULL;
        errno = reason;
    }
    return fd;
}

/* Waits until the names in the folder of `path` are on the disk; not every file system can. */
static void sync_folder(const char *path) {
    const char *slash = strrchr(path, '/');
    char *folder = slash ? strndup(path, (size_t)(slash - path) + 1) : strdup(".");
    const int fd = folder ? open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;

    if (fd >= 0) {
        fsync(fd);
        close(fd);
    }
    free(folder);
}

/* durable: what is there survives a power cut, the file of before or the new one. */
static enum sdt_status write_file(const char *path, size_t count, const struct sdt_stored *tensors,
                                  size_t entries, const struct sdt_metadata *metadata, bool durable,
                                  struct sdt_error *err) {
    static const char spaces[] = "       ";
    enum sdt_status status = SDT_OK;
    const struct sdt_stored **order = malloc((count + 1) * sizeof *order);
    char *header = NULL, *temporary = NULL;
    struct stat info;
    uint64_t length;
    size_t padding;
    int fd = -1;
    bool good;

    if (!order) {
        status = sdt_fail(err, SDT_ERROR_MEMORY, "%s: no memory to write it", sdt__path_tail(path));
        goto out;
    }
    for (size_t i = 0; i < count; i++)
        order[i] = &tensors[i];
    qsort(order, count, sizeof *order, compare_written);
    status = check_written(path, count, order, err);
    if (status == SDT_OK)
        status = make_header(path, count, order, entries, metadata, &header, err);
    if (status != SDT_OK)
        goto out;
    padding = (8 - strlen(header) % 8) % 8;
    length = strlen(header) + padding;

    /* rename would put a file in the place of a device such as /dev/null. */
    if (stat(path, &info) == 0 && !S_ISREG(info.st_mode)) {
        status = sdt_fail(err, SDT_ERROR_IO, "%s: cannot write: %s, not a regular file",
                          sdt__path_tail(path),
                          S_ISDIR(info.st_mode) ? "a directory" : "a device or pipe");
        goto out;
    }
    fd = open_beside(path, &temporary);
    if (fd < 0) {
        status = sdt_fail(err, errno == ENOMEM ? SDT_ERROR_MEMORY : SDT_ERROR_IO,
                          "%s: cannot write: %s", sdt__path_tail(path), strerror(errno));
        goto out;
    }
    good = write_all(fd, &length, sizeof length) && write_all(fd, header, strlen(header)) &&
           write_all(fd, spaces, padding);
    for (size_t i = 0; good && i < count; i++)
        good = write_all(fd, order[i]->data, order[i]->count * sizeof(float));
    if (good && durable) /* else the new name could be there before what it names */
        good = fsync(fd) == 0 || errno == EINVAL;
    if (good) {
        good = close(fd) == 0; /* a network file system reports a full disk here */
        fd = -1;
    }
    if (good)
        good = rename(temporary, path) == 0;
    if (good && durable)
        sync_folder(path);
    if (!good)
        status = sdt_fail(err, SDT_ERROR_IO, "%s: cannot write: %s", sdt__path_tail(path),
                          strerror(errno));

out:
    if (fd >= 0)
        close(fd);
    if (temporary && status != SDT_OK)
        unlink(temporary);
    free(temporary);
    free(header);
    free(order);
    return status;
}

enum sdt_status sdt_safetensors_write(const char *path, size_t count,
                                      const struct sdt_stored *tensors, struct sdt_error *err) {
    return write_file(path, count, tensors, 0, NULL, false, err);
}

enum sdt_status sdt_safetensors_write_with(const char *path, size_t count,
                                           const struct sdt_stored *tensors, size_t entries,
                                           const struct sdt_metadata *metadata,
                                           struct sdt_error *err) {
    return write_file(path, count, tensors, entries, metadata, true, err);
}

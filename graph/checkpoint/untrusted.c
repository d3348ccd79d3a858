/* Mapping and parsing of files that nobody vouches for; see untrusted.h. */
#define _GNU_SOURCE
#include "graph/checkpoint/untrusted.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

const char *sdt__path_tail(const char *path) {
    const size_t shown = 240, length = strlen(path);
    return length > shown ? path + (length - shown) : path;
}

char *sdt__path_join(const char *folder, const char *name) {
    const size_t length = strlen(folder), size = length + strlen(name) + 2;
    const char *slash = length > 0 && folder[length - 1] == '/' ? "" : "/";
    char *path = malloc(size);
    if (path)
        snprintf(path, size, "%s%s%s", folder, slash, name);
    return path;
}

void sdt__shape_text(int rank, const int64_t *shape, char text[SDT__SHAPE_TEXT]) {
    size_t used = (size_t)snprintf(text, SDT__SHAPE_TEXT, "[");
    for (int i = 0; i < rank && used + 26 < SDT__SHAPE_TEXT; i++)
        used += (size_t)snprintf(text + used, SDT__SHAPE_TEXT - used, "%s%" PRId64, i ? ", " : "",
                                 shape[i]);
    snprintf(text + used, SDT__SHAPE_TEXT - used, "]");
}

/* ---- files --------------------------------------------------------------------------------- */

enum sdt_status sdt__map_file(const char *path, size_t limit, struct sdt__map *map,
                              struct sdt_error *err) {
    enum sdt_status status = SDT_OK;
    const char *shown = sdt__path_tail(path);
    struct stat info;
    void *bytes;

    *map = (struct sdt__map){0};
    /* O_NONBLOCK: opening a FIFO would otherwise wait for a writer. */
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return sdt_fail(err, errno == ENOENT ? SDT_ERROR_MISSING : SDT_ERROR_IO, "%s: %s", shown,
                        strerror(errno));

    if (fstat(fd, &info) != 0) {
        status = sdt_fail(err, SDT_ERROR_IO, "%s: %s", shown, strerror(errno));
        goto out;
    }
    if (!S_ISREG(info.st_mode)) {
        status = sdt_fail(err, SDT_ERROR_IO, "%s: %s, not a regular file", shown,
                          S_ISDIR(info.st_mode) ? "a directory" : "a device or pipe");
        goto out;
    }
    if (info.st_size == 0) {
        status = sdt_fail(err, SDT_ERROR_FORMAT, "%s: the file is empty", shown);
        goto out;
    }
    if (limit > 0 && (uintmax_t)info.st_size > limit) {
        status = sdt_fail(err, SDT_ERROR_FORMAT, "%s: %jd bytes, the limit is %zu", shown,
                          (intmax_t)info.st_size, limit);
        goto out;
    }
    if ((uintmax_t)info.st_size > PTRDIFF_MAX) {
        status = sdt_fail(err, SDT_ERROR_LIMIT, "%s: %jd bytes do not fit the address space", shown,
                          (intmax_t)info.st_size);
        goto out;
    }

    bytes = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (bytes == MAP_FAILED) {
        status = sdt_fail(err, errno == ENOMEM ? SDT_ERROR_MEMORY : SDT_ERROR_IO,
                          "%s: cannot map %jd bytes: %s", shown, (intmax_t)info.st_size,
                          strerror(errno));
        goto out;
    }
    *map = (struct sdt__map){.bytes = bytes, .size = (size_t)info.st_size};

out:
    close(fd);
    return status;
}

void sdt__unmap(struct sdt__map *map) {
    if (map->bytes)
        munmap((void *)map->bytes, map->size);
    *map = (struct sdt__map){0};
}

/* ---- JSON ---------------------------------------------------------------------------------- */

/* The text on its way into jansson, one byte at a time, for two reasons. The limits hold before
 * jansson builds (and recurses into) what exceeds them. And jansson's lexer drops a byte silently
 * when its buffer cannot grow: `errno` tells us before the next byte is handed out. */
struct json_source {
    const unsigned char *next, *end;
    const struct sdt__json_limits *limits;
    size_t values;
    int depth;
    bool in_string, escaped;
    bool no_memory;
    const char *refused; /* why the text was cut off, or NULL */
};

static void count_structure(struct json_source *source, unsigned char c) {
    if (source->in_string) {
        if (source->escaped)
            source->escaped = false;
        else if (c == '\\')
            source->escaped = true;
        else if (c == '"')
            source->in_string = false;
        return;
    }
    switch (c) {
    case '"':
        source->in_string = true;
        break;
    case '{':
    case '[':
        source->values++;
        if (++source->depth > source->limits->depth)
            source->refused = "nested too deeply";
        break;
    case '}':
    case ']':
        source->depth--;
        break;
    case ',':
        source->values++;
        break;
    }
    if (source->values > source->limits->values)
        source->refused = "too many JSON values";
}

static size_t next_byte(void *buffer, size_t size, void *data) {
    struct json_source *source = data;

    if (errno == ENOMEM)
        source->no_memory = true;
    if (source->no_memory || source->refused || source->next == source->end || size == 0)
        return 0;
    count_structure(source, *source->next);
    if (source->refused)
        return 0;
    *(unsigned char *)buffer = *source->next++;
    return 1;
}

enum sdt_status sdt__json_parse(const char *path, const char *what, const void *text, size_t size,
                                const struct sdt__json_limits *limits, json_t **root,
                                struct sdt_error *err) {
    struct json_source source = {.next = text, .limits = limits};
    const char *shown = sdt__path_tail(path);
    json_error_t error = {.text = ""};
    json_t *json;

    *root = NULL;
    source.end = source.next + size;
    errno = 0;
    json = json_load_callback(next_byte, &source, JSON_REJECT_DUPLICATES, &error);
    if (source.no_memory || (!json && errno == ENOMEM)) {
        json_decref(json);
        return sdt_fail(err, SDT_ERROR_MEMORY, "%s: no memory to read %s", shown, what);
    }
    if (source.refused) {
        json_decref(json);
        return sdt_fail(err, SDT_ERROR_FORMAT,
                        "%s: %s is refused: %s (limits: %d levels, %zu values)", shown, what,
                        source.refused, limits->depth, limits->values);
    }
    if (!json)
        return sdt_fail(err, SDT_ERROR_FORMAT, "%s: %s is not valid JSON, byte %d: %s", shown, what,
                        error.position, error.text);
    if (!json_is_object(json)) {
        json_decref(json);
        return sdt_fail(err, SDT_ERROR_FORMAT, "%s: %s is not a JSON object", shown, what);
    }
    *root = json;
    return SDT_OK;
}

enum sdt_status sdt__json_load(const char *path, size_t limit,
                               const struct sdt__json_limits *limits, json_t **root,
                               struct sdt_error *err) {
    struct sdt__map map;

    *root = NULL;
    enum sdt_status status = sdt__map_file(path, limit, &map, err);
    if (status != SDT_OK)
        return status;
    status = sdt__json_parse(path, "the file", map.bytes, map.size, limits, root, err);
    sdt__unmap(&map);
    return status;
}

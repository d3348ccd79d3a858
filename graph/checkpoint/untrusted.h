/* What the readers of untrusted files share: mapping a file, JSON within limits, and the text that
 * names a file or a shape in a message.
 *
 * A checkpoint comes from somewhere else, so its size, its nesting and the length of its names are
 * bounded here, once, before any other code looks at them. */
#ifndef STARDIT_UNTRUSTED_H
#define STARDIT_UNTRUSTED_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "stardit/status.h"

/* A whole regular file, mapped read-only and private. */
struct sdt__map {
    const unsigned char *bytes; /* [size] */
    size_t size;
};

/* SDT_ERROR_MISSING: no such file. SDT_ERROR_IO: not a regular file, or the system's refusal.
 * SDT_ERROR_FORMAT: empty, or larger than `limit` bytes (0: no limit). */
enum sdt_status sdt__map_file(const char *path, size_t limit, struct sdt__map *map,
                              struct sdt_error *err);
void sdt__unmap(struct sdt__map *map); /* zeros are fine */

struct sdt__json_limits {
    int depth;     /* of nested arrays and objects */
    size_t values; /* about 200 bytes of memory each while the tree lives */
};

/* Parses `text` [size], which must be one JSON object without duplicate keys; caller decrefs *root.
 * `what` says in messages which part of `path` the text is ("the header"). */
enum sdt_status sdt__json_parse(const char *path, const char *what, const void *text, size_t size,
                                const struct sdt__json_limits *limits, json_t **root,
                                struct sdt_error *err);
/* The same for a whole file of at most `limit` bytes. */
enum sdt_status sdt__json_load(const char *path, size_t limit,
                               const struct sdt__json_limits *limits, json_t **root,
                               struct sdt_error *err);

/* The path, or its end where it is so long that it would push the reason out of a message. */
const char *sdt__path_tail(const char *path);
/* How many bytes of a tensor name or a key a message shows, as the precision of "%.*s". */
#define SDT__NAME_SHOWN 120

/* "folder/name", malloc'ed; NULL: out of memory. */
char *sdt__path_join(const char *folder, const char *name);

#define SDT__SHAPE_TEXT 192
/* "[2, 3]"; at most 8 dimensions. */
void sdt__shape_text(int rank, const int64_t *shape /* [rank] */, char text[SDT__SHAPE_TEXT]);

#endif

/* What the text tests share: the golden cases and a folder of their own. */
#ifndef STARDIT_TESTS_TEXT_CHECK_H
#define STARDIT_TESTS_TEXT_CHECK_H

#include <ftw.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "stardit/status.h"
#include "tests/check.h"
#include "tests/seeds.h"

/* "SOURCE/name" in a buffer that the next call but three overwrites. */
static inline const char *source_path(const char *name) {
    static char paths[4][8192];
    static int next;
    const char *source = getenv("STARDIT_SOURCE_DIR");
    char *path = paths[next++ % 4];

    const size_t size = sizeof paths[0];
    if ((size_t)snprintf(path, size, "%s/%s", source ? source : ".", name) >= size) {
        fprintf(stderr, "the path of %s is too long\n", name);
        exit(99);
    }
    return path;
}

/* The array in a JSON file of the tree; leaves the test without it. */
static inline json_t *load_cases(const char *name) {
    json_error_t error;
    json_t *cases = json_load_file(source_path(name), 0, &error);

    if (!json_is_array(cases)) {
        fprintf(stderr, "%s: %s\n", name, error.text);
        exit(99);
    }
    return cases;
}

static inline void make_folder(char *folder /* mkdtemp's template */) {
    if (!mkdtemp(folder)) {
        perror(folder);
        exit(99);
    }
}

static inline int remove_entry(const char *path, const struct stat *info, int type,
                               struct FTW *place) {
    (void)info, (void)type, (void)place;
    return remove(path);
}

static inline void remove_folder(const char *folder) {
    if (nftw(folder, remove_entry, 8, FTW_DEPTH | FTW_PHYS) != 0)
        perror(folder);
}

/* The bytes of a file and a NUL; caller frees. Leaves the test without it. */
static inline char *read_bytes(const char *path, size_t *size) {
    FILE *file = fopen(path, "rb");
    struct stat info;
    char *bytes = NULL;

    if (file && fstat(fileno(file), &info) == 0 && (bytes = malloc((size_t)info.st_size + 1))) {
        *size = fread(bytes, 1, (size_t)info.st_size, file);
        bytes[*size] = '\0';
    }
    if (!bytes) {
        perror(path);
        exit(99);
    }
    fclose(file);
    return bytes;
}

static inline void write_bytes(const char *folder, const char *name, const void *bytes,
                               size_t size) {
    char path[8192];
    FILE *file;

    keep_seed(name, bytes, size);
    snprintf(path, sizeof path, "%s/%s", folder, name);
    file = fopen(path, "wb");
    if (!file || fwrite(bytes, 1, size, file) != size || fclose(file) != 0) {
        perror(path);
        exit(99);
    }
}

/* Copies a file of the tree into `folder`. */
static inline void copy_file(const char *from, const char *name, const char *folder) {
    char path[256];
    size_t size;

    snprintf(path, sizeof path, "%s/%s", from, name);
    char *bytes = read_bytes(source_path(path), &size);
    write_bytes(folder, name, bytes, size);
    free(bytes);
}

#endif

/* What the checkpoint tests share: a folder of their own, files made byte by byte, and a check that
 * counts failures. */
#ifndef STARDIT_TESTS_CHECKPOINT_FILES_H
#define STARDIT_TESTS_CHECKPOINT_FILES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "stardit/status.h"

extern int failures;

/* Counts and prints a failure; goes on, so that one run shows all of them. */
#define CHECK(condition, ...)                                                                      \
    do {                                                                                           \
        if (!(condition))                                                                          \
            fail_check(__FILE__, __LINE__, #condition, __VA_ARGS__);                               \
    } while (0)
void fail_check(const char *file, int line, const char *condition, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* A new empty folder in the build tree, removed by remove_folder. Exits with 99 (set-up failed) if
 * it cannot be made, as all functions here do. */
const char *make_folder(const char *test);
void remove_folder(void);
void make_subfolder(const char *name);
/* Removes what the folder holds, subfolders (one level) included. */
void empty_folder(void);
/* How many entries the folder has. */
int count_entries(void);
/* "folder/name"; valid until the 8th next call. */
const char *path_of(const char *name);

void write_bytes(const char *name, const void *bytes, size_t size);
void write_text(const char *name, const char *text);
/* A safetensors file: length, header, then `size` bytes of data 0, 1, 2, ... (mod 251). */
void write_safetensors(const char *name, const char *header, size_t size);
/* The whole file, malloc'ed; *size its length. NULL: it cannot be read. */
unsigned char *read_bytes(const char *name, size_t *size);

/* True if the message is one printable line, holds every word of `words` (separated by '|') and
 * belongs to `status`. Prints what is wrong otherwise. */
bool message_fits(const char *test, enum sdt_status status, const struct sdt_error *err,
                  enum sdt_status wanted, const char *words);

/* The lowest free file descriptor: the same before and after where none leaks. */
int next_descriptor(void);
/* True if a file of the folder is still mapped. */
bool folder_is_mapped(void);

#endif

/* Readers of damaged files, for tests that make them at random: whatever is still accepted must be
 * consistent, what is refused has one line that says why. Names are of tests/checkpoint/files.h's
 * folder; failures count there. */
#ifndef STARDIT_TESTS_CHECKPOINT_READERS_H
#define STARDIT_TESTS_CHECKPOINT_READERS_H

#include <stdbool.h>
#include <stddef.h>

#include "stardit/status.h"

/* A failure has a status and one line of printable text. */
void check_message(const struct sdt_error *err);

/* True where the file was accepted; every byte of it is then read. */
bool read_tensors(const char *name, size_t file_size);
bool read_index(const char *folder);
bool read_config(const char *name);

/* The folder "shards" with a.safetensors and b.safetensors, for an index to name. */
void make_shards(void);
#endif

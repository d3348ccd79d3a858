/* The whole of libsentencepiece that stardit uses, as C functions. */
#ifndef STARDIT_SENTENCEPIECE_H
#define STARDIT_SENTENCEPIECE_H

#include <stddef.h>
#include <stdint.h>

#include "stardit/status.h"

#ifdef __cplusplus
extern "C" {
#endif

struct sdt__sentencepiece;

/* Loads `model` [size], which sdt__unigram_check accepted. `shown` names the file in messages. */
enum sdt_status sdt__sentencepiece_open(const char *shown, const void *model, size_t size,
                                        struct sdt__sentencepiece **result, struct sdt_error *err);
void sdt__sentencepiece_close(struct sdt__sentencepiece *model); /* NULL is fine */

int sdt__sentencepiece_pieces(const struct sdt__sentencepiece *model);
/* -1 if the model has no such piece, or on failure. */
int sdt__sentencepiece_id(const struct sdt__sentencepiece *model, const char *piece);

/* *ids [*count]: malloc'ed, caller frees; NULL for no ids. Thread-safe. */
enum sdt_status sdt__sentencepiece_encode(const struct sdt__sentencepiece *model, const char *text,
                                          size_t length, int32_t **ids, size_t *count,
                                          struct sdt_error *err);

#ifdef __cplusplus
}
#endif
#endif

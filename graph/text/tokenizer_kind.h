/* What a kind of tokenizer is: sdt_tokenizer_open finds it out by a folder's files, and the rest of
 * tokenizer.h calls through it. */
#ifndef STARDIT_TOKENIZER_KIND_H
#define STARDIT_TOKENIZER_KIND_H

#include <jansson.h>

#include "graph/text/tokenizer.h"

struct sdt__tokenizer_kind {
    void (*close)(struct sdt_tokenizer *tokenizer);
    enum sdt_status (*encode)(const struct sdt_tokenizer *tokenizer, const char *text, int capacity,
                              int32_t *ids /* [capacity] */, int *count, int *total,
                              struct sdt_error *err);
};

/* The first member of what a kind allocates. */
struct sdt_tokenizer {
    const struct sdt__tokenizer_kind *kind;
    int vocabulary; /* ids are below it */
};

/* t5_tokenizer.c: Unigram by sentencepiece. json: `path`'s tokenizer.json where that has been read
 * already, else NULL; taken over. */
enum sdt_status sdt__t5_open(const char *path, json_t *json, struct sdt_tokenizer **tokenizer,
                             struct sdt_error *err);
enum sdt_status sdt__t5_open_bytes(const char *name, const void *bytes, size_t size,
                                   struct sdt_tokenizer **tokenizer, struct sdt_error *err);
/* bpe_tokenizer.c: byte-level BPE. json: a tokenizer.json whose model is BPE, borrowed. Its path
 * stands for it in messages. */
enum sdt_status sdt__bpe_open(const char *path, json_t *json, struct sdt_tokenizer **tokenizer,
                              struct sdt_error *err);
/* The same of a CLIP folder's vocab.json and merges.txt. */
enum sdt_status sdt__bpe_open_vocab(const char *vocab, const char *merges,
                                    struct sdt_tokenizer **tokenizer, struct sdt_error *err);
#endif

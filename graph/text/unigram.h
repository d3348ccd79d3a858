/* A Unigram model as bytes of sentencepiece's ModelProto: checking what a spiece.model holds, and
 * writing one for a tokenizer.json.
 *
 * libsentencepiece trusts its models: it walks the normaliser's trie without bounds and was not
 * made for files from strangers. So every model, ours too, is read here first, and what
 * libsentencepiece would stumble over is refused with a reason. Only the few protobuf fields that
 * matter are known. */
#ifndef STARDIT_UNIGRAM_H
#define STARDIT_UNIGRAM_H

#include <stdbool.h>
#include <stddef.h>

#include "stardit/status.h"

/* The numbers are sentencepiece's. */
enum sdt__piece_type {
    SDT__PIECE_NORMAL = 1,
    SDT__PIECE_UNKNOWN = 2,
    SDT__PIECE_CONTROL = 3,
    SDT__PIECE_USER = 4,
    SDT__PIECE_UNUSED = 5,
    SDT__PIECE_BYTE = 6,
};

/* Bytes of a model. Zeros are an empty buffer; free `bytes`. */
struct sdt__bytes {
    unsigned char *bytes; /* [size] */
    size_t size, room;
    bool no_memory; /* an append failed; the content is then worthless */
};

/* How a model normalises text before the pieces are looked for. */
struct sdt__normalizer {
    const unsigned char *charsmap; /* [charsmap_size], may be empty */
    size_t charsmap_size;
    bool add_dummy_prefix;         /* a space before the first word */
    bool remove_extra_whitespaces; /* runs of spaces are one, none at the ends */
};

/* Appends one piece [length] / the trainer's settings / the normaliser to a model. A failed
 * allocation is kept in `model`, so a writer looks once, at the end. */
void sdt__unigram_add_piece(struct sdt__bytes *model, const char *piece, size_t length, float score,
                            enum sdt__piece_type type);
void sdt__unigram_add_trainer(struct sdt__bytes *model, bool byte_fallback);
void sdt__unigram_add_normalizer(struct sdt__bytes *model,
                                 const struct sdt__normalizer *normalizer);
/* Appends what turns the space before the first word off, whatever the model said before. */
void sdt__unigram_drop_prefix(struct sdt__bytes *model);
void sdt__bytes_append(struct sdt__bytes *buffer, const void *bytes, size_t size);

/* SDT_OK if libsentencepiece can load `model` [size] and use it on any text. `shown` names the file
 * in messages. */
enum sdt_status sdt__unigram_check(const char *shown, const void *model, size_t size,
                                   struct sdt_error *err);

#endif

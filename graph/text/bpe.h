/* Byte-level byte pair encoding (Sennrich et al., arXiv 1508.07909; GPT-2's alphabet for bytes): a
 * piece of text becomes the bytes' symbols, and neighbours are joined, the pair of the lowest rank
 * first, until no pair has one. */
#ifndef STARDIT_BPE_H
#define STARDIT_BPE_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Ids as they come. Zeros are an empty list; free `ids`. */
struct sdt__ids {
    int32_t *ids; /* [count] */
    size_t count, room;
    bool no_memory; /* an append failed; the content is then worthless */
};
void sdt__ids_append(struct sdt__ids *list, int32_t id);

#define SDT__SUFFIX_ROOM 16
struct sdt__bpe_merge {
    int32_t left, right, rank, id; /* left -1: no merge */
};
struct sdt__bpe {
    json_t *vocabulary;            /* symbol: id, of [0, INT32_MAX); a reference */
    char suffix[SDT__SUFFIX_ROOM]; /* of a piece's last symbol: "</w>", or "" */
    bool whole;                    /* a piece that is a symbol as it is stays whole */
    int32_t unknown;               /* in place of a byte that is no symbol; -1: it is left out */
    struct sdt__bpe_merge *merge;  /* [room] by hash */
    size_t merges, room;           /* room: a power of two above 2 merges */
};
/* Room for so many merges; false: out of memory. */
bool sdt__bpe_reserve(struct sdt__bpe *bpe, size_t merges);
/* left and right become one; those of the same pair that come first win. */
enum sdt__bpe_added { SDT__BPE_ADDED, SDT__BPE_NO_SYMBOL, SDT__BPE_LONG };
enum sdt__bpe_added sdt__bpe_add(struct sdt__bpe *bpe, const char *left, size_t left_size,
                                 const char *right, size_t right_size);
void sdt__bpe_clear(struct sdt__bpe *bpe);
/* The id of a symbol; -1: there is none. */
int32_t sdt__bpe_find(const struct sdt__bpe *bpe, const char *symbol);
/* Appends the ids of a piece. false: out of memory. */
bool sdt__bpe_encode(const struct sdt__bpe *bpe, const char *piece, size_t size,
                     struct sdt__ids *out);
#endif

/* What stardit takes from the tokenizer's JSON files: the Unigram model of a tokenizer.json as a
 * sentencepiece model, and the added tokens of tokenizer.json or tokenizer_config.json. */
#ifndef STARDIT_TOKENIZER_JSON_H
#define STARDIT_TOKENIZER_JSON_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "graph/text/unigram.h"
#include "stardit/status.h"

/* Which parts of a text, cut at added tokens, start with the model's space before a word. */
enum sdt__prefix { SDT__PREFIX_ALWAYS, SDT__PREFIX_FIRST, SDT__PREFIX_NEVER };

/* A text that is one id wherever it occurs, before the model sees the rest. */
struct sdt__added_token {
    char *text; /* [length], and a NUL */
    size_t length;
    int32_t id;
    bool lstrip, rstrip; /* swallows the white space on that side */
    bool normalized;     /* is looked for in the text as it is normalised */
};

/* Longest text first, no text twice. Zeros are an empty list. */
struct sdt__added_tokens {
    struct sdt__added_token *tokens; /* [count] */
    size_t count;
};

/* Reads a tokenizer.json (at most 64 MB). */
enum sdt_status sdt__tokenizer_json_load(const char *path, json_t **root, struct sdt_error *err);

/* The model as sentencepiece bytes, unchecked; caller frees model->bytes. Normalisers,
 * pre-tokenizers and model types that sentencepiece cannot express are SDT_ERROR_UNSUPPORTED. */
enum sdt_status sdt__tokenizer_json_model(const char *path, const json_t *root,
                                          struct sdt__bytes *model, enum sdt__prefix *prefix,
                                          struct sdt_error *err);

/* The list `added_tokens` of a tokenizer.json, or the object `added_tokens_decoder` of a
 * tokenizer_config.json; `value` may be NULL. Caller frees with sdt__added_tokens_free, also after
 * a failure. */
enum sdt_status sdt__added_tokens_read(const char *path, const json_t *value,
                                       struct sdt__added_tokens *added, struct sdt_error *err);
/* Adds to a list, where they are not in it yet, T5's own: <pad>, </s> and <unk> as far as the model
 * has them, which transformers recognises whatever the files list, and `extra` tokens <extra_id_N>
 * behind the model's `pieces`, counted down, for folders that list nothing. `find` gives a piece's
 * id or -1. */
enum sdt_status sdt__added_tokens_complete(struct sdt__added_tokens *added, int pieces, int extra,
                                           int (*find)(const void *model, const char *piece),
                                           const void *model, struct sdt_error *err);
/* The longest token that starts at text [length], or NULL. */
const struct sdt__added_token *sdt__added_token_at(const struct sdt__added_tokens *added,
                                                   const char *text, size_t length);
void sdt__added_tokens_free(struct sdt__added_tokens *added);

#endif

/* Tokenizers: text to ids. Two kinds: T5's Unigram, by libsentencepiece, and byte-level BPE as
 * LLaMA 3 and CLIP have it, by our own code, PCRE2 and utf8proc. */
#ifndef STARDIT_TOKENIZER_H
#define STARDIT_TOKENIZER_H

#include <stddef.h>
#include <stdint.h>

#include "stardit/status.h"

struct sdt_tokenizer;

/* Opens `folder`/spiece.model, or, when there is none, `folder`/tokenizer.json: a Unigram model, of
 * which the same is built in memory, or byte-level BPE; or CLIP's vocab.json and merges.txt. All
 * forms of one tokenizer give the same ids. Added tokens (</s>, <|eot_id|>, ..) are recognised. A
 * file in place of a folder is a spiece.model or a tokenizer.json of any name; it counts with the
 * tokenizer_config.json beside it. SDT_ERROR_UNSUPPORTED when stardit was built without what the
 * kind needs, and for tokenizers of other kinds. */
enum sdt_status sdt_tokenizer_open(const char *path, struct sdt_tokenizer **tokenizer,
                                   struct sdt_error *err);
/* The same of the bytes of a spiece.model, which are copied; `name` stands for it in messages. */
enum sdt_status sdt_tokenizer_open_bytes(const char *name, const void *bytes, size_t size,
                                         struct sdt_tokenizer **tokenizer, struct sdt_error *err);
void sdt_tokenizer_close(struct sdt_tokenizer *tokenizer); /* NULL is fine */
int sdt_tokenizer_vocabulary(const struct sdt_tokenizer *tokenizer);

/* Ids of UTF-8 `text` with what the tokenizer puts around it (</s> behind it; LLaMA: its beginning
 * in front), cut to at most `capacity` ids (these among them, as transformers truncates). *count:
 * ids written; *total: ids before cutting (NULL: not wanted). */
enum sdt_status sdt_tokenize(const struct sdt_tokenizer *tokenizer, const char *text, int capacity,
                             int32_t *ids /* [capacity] */, int *count, int *total,
                             struct sdt_error *err);

/* Wan's prompt cleaning: html entities unescaped twice, whitespace collapsed, ends
 * stripped. *cleaned is malloc'ed; caller frees. */
enum sdt_status sdt_prompt_clean(const char *prompt, char **cleaned, struct sdt_error *err);
#endif

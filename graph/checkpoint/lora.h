/* LoRA files: differences that are merged into a component's weights when these are read.
 *
 * W' = W + strength (alpha / rank) up down, in float32, rounded to the type that W is stored in;
 * alpha is a tensor beside the two, or in the file's settings (graph/checkpoint/adapter.h), or the
 * rank. Files may hold whole differences as well: `.diff` of a
 * weight, `.diff_b` of a bias, `.diff_m` of a table of modulation. Names are the model's, in any
 * spelling that its files may have, behind the prefixes that programs write, with `.lora_A` and
 * `.lora_B` (diffusers, PEFT), `.lora_down` and `.lora_up`, or all dots but the last ones as '_'
 * behind `lora_unet_`. A name that fits several tensors is of a matrix that the other spelling has
 * in one: its rows are theirs, one after another.
 *
 * Nothing is kept of a merged matrix: its values are computed when a task is about to read them
 * (sdt_stored_fetch), and given back behind it, as pages of a mapped file are. */
#ifndef STARDIT_LORA_H
#define STARDIT_LORA_H

#include <stdint.h>

#include "graph/checkpoint/weights.h"

struct sdt_merges;

/* Which file the path of a LoRA means: itself, or of a folder the one that diffusers or PEFT write
 * there. *file is malloc'ed. SDT_ERROR_FORMAT: the folder has none of the two. */
enum sdt_status sdt_lora_file(const char *path, char **file, struct sdt_error *err);

/* Adds those files to the weights of a model whose table has been checked. Weights that are
 * imagined are only looked at. SDT_ERROR_FORMAT for a tensor that fits nothing, of another shape,
 * without its other half or there twice in two spellings, SDT_ERROR_NOT_FINITE for such an alpha,
 * SDT_ERROR_UNSUPPORTED for kinds of differences that are not known, each with the tensor's name;
 * errors as sdt_weights_open. */
enum sdt_status sdt_weights_merge(struct sdt_weights *weights, const struct sdt_tensor_table *table,
                                  const struct sdt_lora *lora /* [count] */, int count,
                                  struct sdt_error *err);
void sdt_merges_free(struct sdt_merges *merges); /* NULL is fine */
/* The i-th LoRA's file; NULL: there are less. */
const struct sdt_weights *sdt_merges_file(const struct sdt_merges *merges /* or NULL */, int i);
/* The hash with the merged files' tensors and strengths. */
uint64_t sdt_merges_digest(const struct sdt_merges *merges /* or NULL */, uint64_t hash);

/* Before tensor->data is read: computes what is merged. From any thread; each call is followed by
 * a sdt_stored_release. Tensors of files are there always, and need neither. */
void sdt_stored_fetch(const struct sdt_stored *tensor);
/* sdt_stored_release of a merged one. */
void sdt__merge_release(const struct sdt_stored *tensor);
/* The tensor without what is merged: itself, or as the file has it. */
const struct sdt_stored *sdt_stored_base(const struct sdt_stored *tensor);

/* What a file's tensors are as a LoRA. */
struct sdt_lora_contents {
    size_t pairs, differences, alphas; /* of up and down; of whole tensors */
    int64_t least_rank, most_rank;     /* 0: no pair */
    double scale; /* of the largest rank, by PEFT's settings; 0: there are none that can be read */
};
/* True if it holds a LoRA's tensors and nothing else. */
bool sdt_lora_describe(const struct sdt_weights *weights, struct sdt_lora_contents *contents);
#endif

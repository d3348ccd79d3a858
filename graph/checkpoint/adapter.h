/* The settings that PEFT keeps of a LoRA beside its matrices: by which number these count.
 *
 * diffusers writes them as JSON into the file's metadata, under "lora_adapter_metadata", each name
 * behind that of the component ("transformer.lora_alpha"); PEFT itself writes them as
 * adapter_config.json beside adapter_model.safetensors. A pair of matrices with an .alpha of its
 * own goes by that; so do files without settings, whose pairs count once. */
#ifndef STARDIT_ADAPTER_H
#define STARDIT_ADAPTER_H

#include <stdbool.h>

#include "graph/checkpoint/weights.h"

struct sdt_adapter {
    void *settings; /* a json_t; NULL: none */
    const char *prefix;
    double alpha; /* 0: the rank, for each */
    bool by_root; /* over the root of the rank (rsLoRA) */
};

/* Reads the settings of a LoRA's file, if it has some; the caller clears them, after a failure too.
 * SDT_ERROR_FORMAT where they are no JSON or alpha is no number above 0, SDT_ERROR_UNSUPPORTED
 * where they ask for what is not merged (DoRA, patterns that are no names). */
enum sdt_status sdt_adapter_read(const struct sdt_weights *file, struct sdt_adapter *adapter,
                                 struct sdt_error *err);
void sdt_adapter_clear(struct sdt_adapter *adapter); /* zeros are fine */

/* What up down is to be multiplied by, of the pair whose name begins with `stem` [length] and that
 * has this rank: alpha / rank, or alpha / root of rank; 1 where nothing is said. */
double sdt_adapter_scale(const struct sdt_adapter *adapter, const char *stem, size_t length,
                         size_t rank);
#endif

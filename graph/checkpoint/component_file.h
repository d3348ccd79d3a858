/* Which file of a component's folder holds its weights: the one that is named as diffusers and
 * transformers name theirs, or the index of its shards.
 *
 * Nothing is guessed: of several that could be meant none is taken, and a folder that holds only
 * what is not read (shards without an index, pickles, GGUF) is refused by what is there. */
#ifndef STARDIT_COMPONENT_FILE_H
#define STARDIT_COMPONENT_FILE_H

#include <limits.h>
#include <stdbool.h>

#include "stardit/status.h"

/* SDT_ERROR_USAGE: it is no word, as "fp16" is. NULL is fine. */
enum sdt_status sdt__variant_check(const char *variant, struct sdt_error *err);

/* chosen: the name of a .safetensors file, or of an index of shards, which ends in .json.
 * *is_variant: it is of that variant (NULL: none is wanted). SDT_ERROR_MISSING: no folder, or no
 * weights in it; SDT_ERROR_FORMAT: several candidates; SDT_ERROR_UNSUPPORTED: what is not read;
 * SDT_ERROR_IO. */
enum sdt_status sdt__component_file(const char *folder, const char *variant,
                                    char chosen[NAME_MAX + 1], bool *is_variant,
                                    struct sdt_error *err);
#endif

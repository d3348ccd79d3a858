/* Tensors that hold NaN or infinity: which one, and where. */
#ifndef STARDIT_FINITE_H
#define STARDIT_FINITE_H

#include "graph/checkpoint/weights.h"

/* Of an input: SDT_ERROR_USAGE, with the tensor's name, the place and the value, if it holds a
 * number that is none in float32; `what` stands before the name ("--latents x.safetensors").
 * Integers are fine. */
enum sdt_status sdt_stored_check_finite(const char *what, const struct sdt_stored *tensor,
                                        struct sdt_error *err);

struct sdt_weights;
/* A run has ended with SDT_ERROR_NOT_FINITE in *err: looks through all weights that it read (NULL:
 * none) for the first that is to blame, and names it in *err in front of what was there. Otherwise
 * says that there is none. Reads every file, so it may take as long as the disk. Returns
 * SDT_ERROR_NOT_FINITE. */
enum sdt_status sdt_weights_blame(const struct sdt_weights *first, const struct sdt_weights *second,
                                  struct sdt_error *err);
#endif

/* Tensors that hold NaN or infinity: which one, and where. */
#ifndef STARDIT_FINITE_H
#define STARDIT_FINITE_H

#include "graph/checkpoint/weights.h"

struct sdt_weights;
/* A run has ended with SDT_ERROR_NOT_FINITE in *err: looks through all weights that it read (NULL:
 * none of that component) for the first that is to blame, and names it in *err in front of what
 * was there. Otherwise says that there is none. Reads every file, so it may take as long as the
 * disk. Returns SDT_ERROR_NOT_FINITE. */
enum sdt_status sdt_weights_blame(const struct sdt_weights *const *weights /* [count] */, int count,
                                  struct sdt_error *err);
#endif

/* Tensors that hold NaN or infinity: which one, and where. */
#ifndef STARDIT_FINITE_H
#define STARDIT_FINITE_H

#include "stardit/stardit.h"

/* Of an input: SDT_ERROR_USAGE, with the tensor's name, the place and the value, if it holds a
 * number that is none in float32; `what` stands before the name ("--latents x.safetensors").
 * Integers are fine. */
enum sdt_status sdt_stored_check_finite(const char *what, const struct sdt_stored *tensor,
                                        struct sdt_error *err);

/* A run has ended with SDT_ERROR_NOT_FINITE in *err: looks through all weights of the checkpoint
 * that the run read for the first that is to blame, and names it in *err in front of what was
 * there. Otherwise says that there is none. Reads every file, so it may take as long as the disk.
 * Returns SDT_ERROR_NOT_FINITE. decoding: the VAE's weights were read, else those of the text
 * encoder and the transformer. */
enum sdt_status sdt_checkpoint_blame(const char *folder, bool decoding, struct sdt_error *err);
#endif

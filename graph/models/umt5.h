/* UMT5 text encoder: UMT5EncoderModel of transformers (T5 family).
 *
 * Runs on one device, layer by layer: a layer's weights are dropped when its tasks are done, so that
 * encoding needs the memory of a few layers and not of the model (22.7 GB for UMT5-XXL in F32). */
#ifndef STARDIT_UMT5_H
#define STARDIT_UMT5_H

#include "codelets/codelets.h"
#include "graph/checkpoint/weights.h"
#include "runtime/machine.h"

struct sdt_umt5;

/* Opens text encoder folder `folder`: config.json and tensors, checked; reads no weight. */
enum sdt_status sdt_umt5_open(const char *folder, struct sdt_umt5 **encoder, struct sdt_error *err);
void sdt_umt5_close(struct sdt_umt5 *encoder);           /* NULL is fine */
int sdt_umt5_width(const struct sdt_umt5 *encoder);      /* d_model */
int sdt_umt5_vocabulary(const struct sdt_umt5 *encoder); /* ids are 0..vocabulary-1 */
const struct sdt_weights *sdt_umt5_weights(const struct sdt_umt5 *encoder);
double sdt_umt5_flops(const struct sdt_umt5 *encoder, int tokens);

/* states = encoder(ids), final norm applied, computed in dtype (bfloat16 on GPUs only). SDT_ERROR_USAGE for an id out of range. Waits for each
 * layer; the result is there when it returns. */
enum sdt_status sdt_umt5_encode(struct sdt_flow *flow, struct sdt_umt5 *encoder,
                                struct sdt_machine *machine, const struct sdt_place *place,
                                enum sdt_dtype dtype, const int32_t *ids /* [tokens] */, int tokens,
                                sdt_handle states /* [tokens, d] float32, written */,
                                struct sdt_error *err);
#endif

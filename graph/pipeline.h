/* From a checkpoint folder and a prompt to frames: what stardit/stardit.h offers, and the components of an
 * opened checkpoint for those inside. */
#ifndef STARDIT_PIPELINE_H
#define STARDIT_PIPELINE_H

#include "runtime/machine.h"
#include "graph/models/umt5.h"
#include "graph/models/wan.h"
#include "graph/models/wan_vae.h"
#include "graph/sampler/sampler.h"
#include "stardit/stardit.h"

struct sdt_wan *sdt_pipeline_transformer(const struct sdt_pipeline *pipeline);
struct sdt_wan_vae *sdt_pipeline_vae(const struct sdt_pipeline *pipeline);
/* NULL where the checkpoint has none. */
struct sdt_umt5 *sdt_pipeline_text_encoder(const struct sdt_pipeline *pipeline);
#endif

/* What an opened checkpoint holds, for the files that carry a request through it. */
#ifndef STARDIT_OPENED_H
#define STARDIT_OPENED_H

#include "graph/pipeline.h"

struct sdt_tokenizer;

struct sdt_pipeline {
    char *folder;
    struct sdt_config *defaults; /* stardit.json, NULL: none */
    struct sdt_wan *transformer;
    struct sdt_wan_vae *vae;
    struct sdt_umt5 *text_encoder;   /* NULL: none */
    struct sdt_tokenizer *tokenizer; /* opened when the first text needs it */
    enum sdt_sampler_kind sampler;
    double flow_shift;
};

/* The latent of a request, and its decoding, without a place. */
struct sdt_wan_geometry sdt__geometry(const struct sdt_pipeline *pipeline,
                                      const struct sdt_request *request);
struct sdt_vae_job sdt__vae_job(const struct sdt_pipeline *pipeline,
                                const struct sdt_request *request);
/* Sizes, text, tiling: SDT_ERROR_USAGE with what would work. */
enum sdt_status sdt__check_request(const struct sdt_pipeline *pipeline,
                                   const struct sdt_request *request, struct sdt_error *err);
/* What a phase takes of a device's memory, bytes. `least`: with weights that come and go layer by layer, two
 * layers at a time, kept in the host's memory meanwhile. */
struct sdt_need {
    double all, weights, least;
};
struct sdt_need sdt__denoise_need(const struct sdt_wan *wan, const struct sdt_parallel *parallel,
                                  const struct sdt_layout *layout, int device, int branches,
                                  int text_keys);
/* Forwards of a step: 2 with guidance. */
static inline int sdt__forwards(const struct sdt_request *request) {
    return request->guidance_scale > 1.0 ? 2 : 1;
}
/* Predicted peak of each device's memory, the larger of its two phases, with the layout that this placement
 * gives the request's tokens. */
void sdt__peak_bytes(const struct sdt_pipeline *pipeline, const struct sdt_request *request,
                     const struct sdt_placement *placement, const struct sdt_strategy *strategy,
                     const struct sdt_layout *layout, int devices,
                     double *bytes /* [devices] written */);
/* If the request has text to be encoded: there is an encoder, and the tokenizer is open. SDT_ERROR_MISSING, and
 * errors as sdt_tokenizer_open. */
enum sdt_status sdt__prepare_text(struct sdt_pipeline *pipeline, const struct sdt_request *request,
                                  struct sdt_error *err);
/* FLOP/s of one worker, measured with a product shaped like a tile's. */
double sdt__measure_speed(void);
#endif

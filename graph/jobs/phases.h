/* The two phases of a request: to a latent, and from it to frames. Each keeps what the next request can use
 * again (weights on the devices, activation buffers). */
#ifndef STARDIT_PHASES_H
#define STARDIT_PHASES_H

#include "graph/pipeline.h"
#include "graph/run/latent.h"

/* Whom to tell about a request's progress. */
struct sdt_report {
    sdt_progress call;
    void *arg;
    int request;
};

struct sdt_denoiser {
    struct sdt_pipeline *pipeline;
    struct sdt_machine *machine;
    struct sdt_parallel parallel;
    const struct sdt_place *text_place;
    enum sdt_dtype text_dtype;
    double
        beside; /* bytes that decoding takes on these devices meanwhile: groups that share them */
    struct sdt_run *run; /* of the last request; used again for the same geometry */
    bool (*helpers_free)(void *arg); /* aco static: asked before each step */
    void *helpers_arg;
};
/* Text and denoising. result->latent holds the last whole step, also after a failure or a stop. */
enum sdt_status sdt__denoiser_run(struct sdt_denoiser *denoiser, const struct sdt_request *request,
                                  struct sdt_report report, struct sdt_result *result,
                                  struct sdt_error *err);
/* Drops weights and buffers. */
void sdt__denoiser_unload(struct sdt_denoiser *denoiser);

struct sdt_decoder {
    struct sdt_pipeline *pipeline;
    struct sdt_machine *machine;
    const struct sdt_place *place; /* [devices] */
    int devices;
    enum sdt_dtype dtype;
    int lane;
    bool finish; /* a stop does not end a decode */
    struct sdt_parameters *parameters;
};
enum sdt_status sdt__decoder_run(struct sdt_decoder *decoder, const struct sdt_request *request,
                                 struct sdt_report report, struct sdt_result *result,
                                 struct sdt_error *err);
void sdt__decoder_unload(struct sdt_decoder *decoder);

/* Fills the sizes of an empty result. */
void sdt__result_init(const struct sdt_pipeline *pipeline, const struct sdt_request *request,
                      struct sdt_result *result);
/* The latent as a file, tensor `latent` [1, C, T, H, W]. */
enum sdt_status sdt__save_latent(const struct sdt_result *result, const char *path,
                                 struct sdt_error *err);
#endif

/* From a checkpoint folder and a prompt to frames: the first complete path.
 *
 * sdt_pipeline_open reads what the checkpoint says; sdt_plan_make turns a request into a checked plan
 * with its predictions before a weight is read; sdt_pipeline_run carries it out. */
#ifndef STARDIT_PIPELINE_H
#define STARDIT_PIPELINE_H

#include "graph/machine.h"
#include "graph/models/umt5.h"
#include "graph/models/wan.h"
#include "graph/models/wan_vae.h"
#include "graph/sampler/sampler.h"

struct sdt_pipeline; /* an opened checkpoint */

/* A diffusers folder whose model_index.json says WanPipeline. "org/name" that is no folder here is looked
 * for among the snapshots under $HF_HOME (else ~/.cache/huggingface); if it is not there, the message
 * has the download command. Single files, .gguf and .pth are refused with what to do. */
enum sdt_status sdt_pipeline_open(const char *model, struct sdt_pipeline **pipeline,
                                  struct sdt_error *err);
void sdt_pipeline_close(struct sdt_pipeline *pipeline); /* NULL is fine */

const char *sdt_pipeline_folder(const struct sdt_pipeline *pipeline);
struct sdt_wan *sdt_pipeline_transformer(const struct sdt_pipeline *pipeline);
struct sdt_wan_vae *sdt_pipeline_vae(const struct sdt_pipeline *pipeline);
/* NULL where the checkpoint has none. */
struct sdt_umt5 *sdt_pipeline_text_encoder(const struct sdt_pipeline *pipeline);

/* What is wanted. Set to defaults by sdt_pipeline_defaults: the checkpoint's stardit.json, else the family's
 * (spec 3.5). Strings and arrays are borrowed. */
struct sdt_request {
    const char *prompt, *negative_prompt;
    const int32_t *token_ids;            /* in place of the prompt; NULL: none */
    int token_count;
    const struct sdt_stored *prompt_embeds, *negative_prompt_embeds; /* [rows, text_dim]; NULL: none */
    int height, width, num_frames;       /* pixels; multiples of 16, 4k + 1 */
    int steps;
    double guidance_scale, flow_shift, fps;
    int max_sequence_length;
    uint64_t seed;
    enum sdt_sampler_kind sampler;
    enum sdt_sampler_schedule schedule;
    const float *latents;                /* [C, T, H, W] starting noise; NULL: from the seed */
    struct sdt_vae_tiling tiling;
    const struct sdt_strategy *strategy;
};
/* Fails only when stardit.json or the scheduler's config is malformed. */
enum sdt_status sdt_pipeline_defaults(struct sdt_pipeline *pipeline, struct sdt_request *request,
                                      struct sdt_error *err);

/* Which devices do what, and how. Counts of 0: all devices do both, one phase after the other, each phase's
 * weights dropped before the next (the co-located baseline with offloading). Two disjoint groups: DeDiVAE,
 * the one denoises request k + 1 while the other decodes request k. */
struct sdt_placement {
    int dit_devices, vae_devices;
    int dit[SDT_MAX_DEVICES], vae[SDT_MAX_DEVICES]; /* device indices */
    bool text_with_vae;     /* the text encoder runs on the first VAE device, not on the first DiT device */
    int chunk_heads, ulysses_degree; /* 0: the strategy's own */
    enum sdt_aco aco;       /* needs two groups */
    int most_latents;       /* of requests that are not decoded yet, denoising ones included; 0: 3 */
};

/* The plan: what will happen and what it will need, for `devices` x `workers` before any weight is read. */
struct sdt_plan {
    int frames, latent_height, latent_width, channels; /* of the latent */
    int devices, workers_per_device;
    int64_t tokens;
    int tile_rows, tiles;
    int heads;
    int streams;                       /* 2 with classifier-free guidance */
    int *device_tiles, *device_heads;  /* [devices] */
    double *device_bytes;              /* [devices] predicted peak */
    double text_flops, step_flops, vae_flops, total_flops;
    double exchanged_per_step;         /* bytes between devices */
    double weight_bytes;               /* stored, all components */
    double denoise_seconds, decode_seconds; /* of one request, predicted at `flops_per_second` a worker */
    double seconds;                    /* of one request */
    double flops_per_second;
};
/* Checks the request (sizes, text length, tiling, memory against the machine's) and predicts. flops_per_second is
 * measured with a small matrix product. SDT_ERROR_USAGE or SDT_ERROR_LIMIT with the numbers. */
enum sdt_status sdt_plan_make(struct sdt_pipeline *pipeline, const struct sdt_request *request,
                              const struct sdt_placement *placement, int devices,
                              int workers_per_device, struct sdt_plan *plan, struct sdt_error *err);
void sdt_plan_clear(struct sdt_plan *plan);

/* Splits `devices` devices by PipeDiT's balance (section 1.3 of the specification): decoding gets
 * ceil(T_decode / (T_decode + T_denoise) N) of them, from the FLOPs of a request; at least one each. */
void sdt_placement_balance(const struct sdt_pipeline *pipeline, const struct sdt_request *request,
                           int devices, struct sdt_placement *placement);

/* Called from worker threads. phase: "text", "denoise", "decode". */
typedef void (*sdt_progress)(void *arg, int request, const char *phase, int done, int total);

struct sdt_result {
    int frames, height, width;   /* of the video */
    float *video;                /* [frames, height, width, 3], -1..1; NULL when stopped before */
    int channels, latent_frames, latent_height, latent_width;
    float *latent;               /* [C, T, H, W] after steps_done steps; NULL when none was begun */
    int steps, steps_done;
    int prompt_tokens;
    double text_seconds, denoise_seconds, decode_seconds;
};
void sdt_result_clear(struct sdt_result *result);

/* Takes one request's result; called once per request, in any order, from the thread that finished it. On a
 * failure (status, err) the result holds what there is. The result is cleared after the call: take what is
 * needed by setting its pointer to NULL. */
typedef void (*sdt_deliver)(void *arg, int request, enum sdt_status status,
                            const struct sdt_error *err, struct sdt_result *result);

struct sdt_run_options {
    struct sdt_placement placement;
    const char *const *save_latent; /* [count] paths or NULLs, written before decoding; NULL: none */
    sdt_progress progress;
    void *progress_arg;
    sdt_deliver deliver;
    void *deliver_arg;
};
/* Runs the requests and returns when all have been delivered. When the machine's stop flag is set, denoising
 * ends at once (SDT_ERROR_INTERRUPTED, with the latent of the last whole step) and, with two groups, latents
 * that are ready are still decoded. Returns the first failure. After SDT_ERROR_STALLED the process
 * must end. */
enum sdt_status sdt_pipeline_run_all(struct sdt_pipeline *pipeline, struct sdt_machine *machine,
                                     const struct sdt_request *requests, int count,
                                     const struct sdt_run_options *options, struct sdt_error *err);

/* One request. */
enum sdt_status sdt_pipeline_run(struct sdt_pipeline *pipeline, struct sdt_machine *machine,
                                 const struct sdt_request *request, const char *save_latent,
                                 sdt_progress progress, void *progress_arg,
                                 struct sdt_result *result, struct sdt_error *err);
#endif

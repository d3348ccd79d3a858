/* libstardit: videos from prompts, in a program of your own.
 *
 * A checkpoint is opened (sdt_pipeline_open), a request filled with its defaults and changed, a
 * plan made that says what will happen before a weight is read, a machine started, the requests
 * run, and each result taken as it comes. docs/library.md walks through a whole program.
 *
 * Rules that hold for all of it
 *  - Functions that can fail return `enum sdt_status` and fill a `struct sdt_error`
 *    (stardit/status.h). On a failure, what they would have opened is NULL.
 *  - Structs are filled by name, so that fields which a later version adds are 0: the old
 *    behaviour.
 *  - Strings and arrays that are handed in are borrowed until the call returns, or, in a request,
 *    until its result has been delivered.
 *  - Arrays are float32, row-major, slowest dimension first: [frames, height, width, 3].
 *  - A checkpoint and a machine are used by one thread at a time; but sdt_machine_stop is for any
 *    thread, and so are flows of their own (stardit/graph.h).
 *
 * What holds after a failure
 *  - SDT_ERROR_STALLED: a task or a transfer hangs, and StarPU cannot take it back. Save what you
 *    have and end the process (_Exit); close and free nothing.
 *  - SDT_ERROR_INTERRUPTED, after sdt_machine_stop: results delivered so far are whole; the machine
 *    can only be closed. After sdt_job_cancel: that job alone has ended.
 *  - Any other, of a request: it has failed alone; the machine and other requests go on.
 *  - Any other, of another call: nothing has been changed, and the call may be made again.
 *
 * Graphs of your own, out of the same tasks: stardit/graph.h. */
#ifndef STARDIT_STARDIT_H
#define STARDIT_STARDIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "stardit/device.h"
#include "stardit/kernels.h"
#include "stardit/queue.h"
#include "stardit/status.h"
#include "stardit/tag.h"
#include "stardit/video.h"

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

/* ---- the machine: StarPU with a number of devices ------------------------------------------ */

struct sdt_machine;

struct sdt_machine_options {
    int devices; /* of all ranks; 1..SDT_MAX_LOCAL_DEVICES at each, SDT_MAX_DEVICES in all */
    int ranks;   /* sdt_ranks() (stardit/ranks.h), or of a plan as many as it is for; 0: 1. Each has
                  * as many devices, of the same kinds: rank 0 the first, and so on */
    /* [devices] what they are, in the order of their numbers; NULL: CPU devices. At each rank at
     * most SDT_MAX_GPUS GPUs, and beside them cpu:0 at most: the host's memory, with the cores that
     * drive no GPU. */
    const struct sdt_device *device;
    /* CPU workers of a CPU device; 0: for one device all cores that the process may use, 1 for
     * several. Beside GPUs: of the host; 0: all cores that drive no GPU, 8 at most unless cpu:0 is
     * a device. */
    int workers_per_device;
    /* [devices], without GPUs: how many workers each device has, in place of workers_per_device;
     * NULL: all alike. The host has as many as the largest. */
    const int *workers;
    /* [devices] how fast they are beside one another, above 0; NULL: CPU devices as they have
     * workers, GPUs as their kind and clock say. Shares of the work follow it. */
    const double *device_speed;
    const char *scheduler; /* a policy's name; NULL: STARPU_SCHED, else "pipedit" */
    bool as_shipped;       /* for measurements: a stock policy whose idle workers spin */
    bool keep_records;     /* for a trace */
    bool keep_edges;       /* for a graph */
    bool free_mapping;     /* for tests: any worker may run any task; no result may change */
    int max_pending; /* most tasks of one lane inserted and not ended; 0: 4096, or two layers */
    /* What schedulers are told about stand-in devices; 0: 25 GFLOP/s a worker, 8000 MB/s a link. */
    double worker_gflops, link_mb_per_s;
};

/* Could a machine have these devices ([count], or NULL: CPU devices)? SDT_ERROR_USAGE for one that
 * stands twice, a GPU that is not there, more than one CPU device beside GPUs; SDT_ERROR_DEVICE
 * where there is no GPU at all, with the reason. Nothing is started. */
enum sdt_status sdt_devices_check(const struct sdt_device *device, int count,
                                  struct sdt_error *err);
/* Will the start of such a machine measure the links of its GPUs, since nobody has for this user?
 * Seconds for one GPU, up to a minute for eight; StarPU resets the GPUs then. */
bool sdt_devices_measure_links(const struct sdt_device *device /* [count] or NULL */, int count);

/* Starts StarPU. One machine per process at a time. SDT_ERROR_USAGE for counts out of range,
 * devices that do not go together or are not there, or an unknown scheduler (the message lists the
 * known ones), SDT_ERROR_DEVICE when there is no GPU or StarPU does not start. */
enum sdt_status sdt_machine_open(const struct sdt_machine_options *options,
                                 struct sdt_machine **machine, struct sdt_error *err);
/* Waits for all tasks and stops StarPU. Flows and vectors (stardit/graph.h) have been freed before.
 * NULL is fine. */
void sdt_machine_close(struct sdt_machine *machine);

/* Ends what runs: tasks that have not started do nothing, calls that wait return
 * SDT_ERROR_INTERRUPTED. For good: the machine can only be closed then. From any thread, and from a
 * signal's handler. */
void sdt_machine_stop(struct sdt_machine *machine);
/* What the calling thread does for StarPU, as "task vae_conv on worker CUDA 0.0", "worker CUDA 0.0,
 * outside of a task" or "another thread"; cut where `size` is short. For a handler of SIGABRT:
 * StarPU aborts where CUDA fails in a kernel or a copy. Takes no lock and no memory. */
void sdt_current_work(char *text /* [size] */, size_t size);
/* Devices are numbered from 0; -1 is the host. */
int sdt_machine_devices(const struct sdt_machine *machine);
struct sdt_device sdt_machine_device(const struct sdt_machine *machine, int device);
/* CPU workers of a device (a GPU has 1), and how fast it is beside the others, FLOP/s: shares of
 * the work follow it; the host has none: 0. */
int sdt_machine_workers(const struct sdt_machine *machine, int device);
double sdt_machine_speed(const struct sdt_machine *machine, int device);
/* The policy's name. */
const char *sdt_machine_scheduler(const struct sdt_machine *machine);
/* Variables of the environment that StarPU reads and that had other values than the options ask
 * for, with commas between; they were replaced. "": none. */
const char *sdt_machine_replaced(const struct sdt_machine *machine);
/* Which GPUs are of another model than the first, in half a sentence: libraries choose their
 * kernels by the model, so that bits depend on which of them computes what. "": all are alike. */
const char *sdt_machine_models(const struct sdt_machine *machine);
/* What attention and convolutions in bfloat16 use on the machine's GPUs: cuDNN, and stardit's own
 * kernels for shapes that it does not take, which are slower and give other bits. */
struct sdt_cudnn_use {
    int gpus;         /* that the machine has; 0: all else is empty */
    char version[24]; /* "9.19.0"; "": not used */
    char why[256];    /* why it is not used, or has no plan for the first of `none`; else "" */
    int made, ahead;  /* plans that were made; of these, before a task waited for them */
    int read;         /* plans that an earlier process had kept */
    int none;         /* shapes that it has no plan for */
    double seconds;   /* that making took, beside the tasks or in them */
};
struct sdt_cudnn_use sdt_machine_cudnn(const struct sdt_machine *machine);
/* Bytes that StarPU has moved between memories since the previous call (StarPU resets its counters
 * when asked). Index 0 is the host, index d + 1 device d; row = source. */
void sdt_machine_traffic(struct sdt_machine *machine,
                         double *bytes /* [devices + 1, devices + 1] added to */);
/* What rank `from` has sent to rank `to`; known everywhere after sdt_machine_gather. */
struct sdt_messages {
    unsigned long count;
    double bytes;
};
struct sdt_messages sdt_machine_messages(const struct sdt_machine *machine, int from, int to);
/* The same of all ranks, by the role of the tasks that read them first. */
struct sdt_messages sdt_machine_role_messages(const struct sdt_machine *machine,
                                              enum sdt_role role);
/* Of several ranks, which all make the call when nothing runs: from then on traffic, totals, tasks
 * and peaks are those of all ranks, the host's those of all hosts together. Before, they are this
 * rank's. Once. SDT_ERROR_MEMORY. */
enum sdt_status sdt_machine_gather(struct sdt_machine *machine, struct sdt_error *err);
/* Of tasks that have ended, in sum. */
struct sdt_role_totals {
    unsigned long tasks;
    unsigned long visiting; /* of them, tasks whose home is another device (Aco) */
    double busy_us;         /* microseconds of execution */
    double travel_us;       /* from ready to all inputs there */
    double wait_us;         /* of it, the worker did nothing but wait for them */
    double flops, bytes;    /* as their kernels are predicted */
};
/* By the device that ran them and their role, at any time; how many in all, when nothing runs. */
struct sdt_role_totals sdt_machine_totals(const struct sdt_machine *machine, int device,
                                          enum sdt_role role);
unsigned long sdt_machine_tasks(const struct sdt_machine *machine);
/* The most that StarPU was seen to hold in the memory of a device, or of the host, bytes. */
double sdt_machine_peak_bytes(const struct sdt_machine *machine, int device);
/* Bytes that rounds of SDT_TRANSPORT_NCCL have moved between devices, of runs that have ended.
 * They are not in sdt_machine_traffic. */
double sdt_machine_collective_bytes(const struct sdt_machine *machine);
/* When each task ran, for Perfetto or chrome://tracing (needs keep_records), and the graph, for
 * Graphviz (keep_edges; dashed where a task waits for another and reads nothing of it). Written to
 * a temporary name, then renamed. When nothing runs.
 * SDT_ERROR_IO, SDT_ERROR_MEMORY. */
enum sdt_status sdt_machine_write_trace(const struct sdt_machine *machine, const char *path,
                                        struct sdt_error *err);
enum sdt_status sdt_machine_write_graph(const struct sdt_machine *machine, const char *path,
                                        struct sdt_error *err);
/* The same trace of the requests of one number (of struct sdt_job_options), which have been
 * delivered; others may run. Its tasks are forgotten, so that a machine that serves for long does
 * not grow, after a failure as well. path NULL: they are forgotten, and nothing is written. */
enum sdt_status sdt_machine_take_trace(const struct sdt_machine *machine, int number,
                                       const char *path, struct sdt_error *err);

/* The policies that come with stardit by index, the default first; NULL: no more. StarPU's own work
 * as well. */
const char *sdt_scheduler_name(int index);
const char *sdt_scheduler_summary(int index); /* one line */

/* ---- strategies: how devices share a sequence ---------------------------------------------- */

struct sdt_strategy;

/* By name ("single", "ulysses", "pipesp", "ring", "usp"); NULL if unknown. */
const struct sdt_strategy *sdt_strategy_find(const char *name);
/* All of them, then NULL. */
extern const struct sdt_strategy *const sdt_strategies[];
const char *sdt_strategy_name(const struct sdt_strategy *strategy);
const char *sdt_strategy_summary(const struct sdt_strategy *strategy); /* one line */
/* What runs where no strategy is given. */
const struct sdt_strategy *sdt_strategy_default(void);
/* Has it the bits of one device on any number of CPU devices? Others agree within a tolerance. */
bool sdt_strategy_exact(const struct sdt_strategy *strategy);
/* Does it read a placement's ulysses_degree? Others refuse one. */
bool sdt_strategy_has_degree(const struct sdt_strategy *strategy);
/* Does a video go through the layers as blocks of frames at different steps? The result depends on
 * the request's block_frames and overlap_frames, and on neither devices nor timing. */
bool sdt_strategy_blocks(const struct sdt_strategy *strategy);
/* Lossy: does attention read keys of the step before, in patches of the tokens? */
bool sdt_strategy_stale(const struct sdt_strategy *strategy);

/* When the devices that decode take attention as well. */
enum sdt_aco {
    SDT_ACO_OFF,
    SDT_ACO_STATIC,  /* while nothing is being decoded, all devices take their share of the heads */
    SDT_ACO_DYNAMIC, /* the scheduler sends a piece to a helper where it would finish earlier */
};
const char *sdt_aco_name(enum sdt_aco aco);

/* How pieces travel between devices. The bits are the same. */
enum sdt_transport {
    /* StarPU's own transfers: copy engines, each piece when it is ready */
    SDT_TRANSPORT_STARPU,
    /* Rounds of NCCL sends and receives over the DiT group; CPU devices stand in for it by copying
     * in the same order and with the same waiting. */
    SDT_TRANSPORT_NCCL,
};

/* ---- a checkpoint -------------------------------------------------------------------------- */

struct sdt_pipeline; /* an opened checkpoint */

/* model: a folder in diffusers layout, whose model_index.json says WanPipeline, or of the model's
 * own repository; or a .safetensors file with all its components. "org/name" that is no folder here
 * is looked for among the snapshots under $HF_HOME (else ~/.cache/huggingface); if it is not there,
 * the message has the download command. .gguf and .pth are refused with what to do. The tensors are
 * mapped and compared with what the model needs; no weight is read yet. The files must stay as they
 * are until the checkpoint is closed. SDT_ERROR_MISSING, SDT_ERROR_FORMAT, SDT_ERROR_UNSUPPORTED,
 * SDT_ERROR_IO, SDT_ERROR_MEMORY. */
enum sdt_status sdt_pipeline_open(const char *model, struct sdt_pipeline **pipeline,
                                  struct sdt_error *err);
/* The same, but weights of a variant ("fp16": model.fp16.safetensors) are taken where a
 * component has some; NULL: none is wanted. SDT_ERROR_MISSING where no component has,
 * SDT_ERROR_USAGE for what is no word. */
enum sdt_status sdt_pipeline_open_variant(const char *model, const char *variant,
                                          struct sdt_pipeline **pipeline, struct sdt_error *err);
/* A checkpoint in pieces. What is given takes the place of the model's: a component's folder, or a
 * .safetensors file with names as diffusers', the original repository's or ComfyUI's files have
 * them. Sizes come from a config.json beside such a file, else the model's if it fits, else from
 * the shapes of the tensors. */
/* A LoRA: differences to the transformer's weights, merged into these when they are read. */
struct sdt_lora {
    const char *path; /* a .safetensors file */
    double strength;  /* 1: as it was trained */
};
struct sdt_model_files {
    const char *model;   /* as above; NULL: none, and transformer and vae are needed */
    const char *variant; /* as above; NULL: none is wanted */
    const char *transformer, *vae, *text_encoder, *text_encoder_2; /* NULL: the model's */
    /* A folder, a spiece.model or a tokenizer.json for each text encoder; NULL: the model's, else
     * the one that the encoder's file holds. */
    const char *tokenizer, *tokenizer_2;
    const struct sdt_lora *lora; /* [loras], in the order in which they are added */
    int loras;
};
/* Errors as sdt_pipeline_open; SDT_ERROR_USAGE where a component is missing altogether. */
enum sdt_status sdt_pipeline_open_files(const struct sdt_model_files *files,
                                        struct sdt_pipeline **pipeline, struct sdt_error *err);
/* The same from the config.json files, or a published size by its name ("wan-14b"): without
 * weights, to be planned and simulated, not to be run. Where a folder has weights too, their files'
 * headers say how they are stored; otherwise float32. Errors as sdt_pipeline_open. */
enum sdt_status sdt_pipeline_imagine(const char *model, struct sdt_pipeline **pipeline,
                                     struct sdt_error *err);
/* The names of published sizes by index; NULL: no more. */
const char *sdt_size_name(int index);
void sdt_pipeline_close(struct sdt_pipeline *pipeline); /* NULL is fine */
/* Where it was found; owned by the pipeline. */
const char *sdt_pipeline_folder(const struct sdt_pipeline *pipeline);

/* What its components are, for those who prepare requests. */
struct sdt_model {
    const char *family;          /* "Wan 2.1"; static */
    int channels;                /* of the latent */
    int space_ratio, time_ratio; /* pixels per latent each way; frames = time_ratio (T - 1) + 1 */
    int patch[3];                /* latent frames, rows, columns of a token */
    int layers, heads, head_dim;
    int text_dim;   /* width of prompt embeddings */
    int vocabulary; /* token ids are 0..vocabulary-1; 0: the checkpoint has no text encoder */
    /* Of the second text encoder, which makes one pooled row of a prompt; 0: there is none. */
    int pooled_dim, vocabulary_2;
    bool guidance_is_input; /* not by two forwards */
};
struct sdt_model sdt_pipeline_model(const struct sdt_pipeline *pipeline);
/* What is stored of one component. */
struct sdt_component {
    const char *name;                  /* of its folder: "transformer"; static */
    size_t parameters, bytes, tensors; /* all 0: the checkpoint has none, or it is imagined */
    size_t of_dtype[SDT_DTYPES];       /* tensors of each type */
};
/* By index, from 0; false: no more. */
bool sdt_pipeline_component(const struct sdt_pipeline *pipeline, int index,
                            struct sdt_component *component);
/* A number that tells checkpoints apart, for who keeps a solver's state and goes on later: of the
 * configurations and of all tensors' names, types, shapes and bytes, of components above 1 GiB
 * samples of the bytes. Reads that much of the files. Not against anybody who wants two to look
 * alike. 0: it is imagined. */
uint64_t sdt_pipeline_sum(const struct sdt_pipeline *pipeline);
/* Tokens of a prompt as it is cleaned, its end included, however many of them a request reads. 0
 * where that is not known: before a plan or run of the checkpoint has had text to encode, for
 * NULL, and without memory. */
int sdt_pipeline_tokens(const struct sdt_pipeline *pipeline, const char *prompt /* UTF-8 */);

/* ---- a request ----------------------------------------------------------------------------- */

#define SDT_MAX_RANK 8

/* One tensor as it lies in a file, or in memory of the caller. name, data: owned by where it came
 * from; data may be unaligned. */
struct sdt_stored {
    const char *name;
    enum sdt_dtype dtype;
    int rank; /* 0: a scalar */
    int64_t shape[SDT_MAX_RANK];
    size_t count; /* elements, the product of shape */
    size_t bytes;
    const void *data;        /* row-major */
    struct sdt_merge *merge; /* NULL; else the library's: data is computed when it is read */
};

#define SDT_FEW_STEPS 8

enum sdt_sampler_kind {
    SDT_SAMPLER_UNIPC,           /* of flow models */
    SDT_SAMPLER_EULER,           /* of flow models */
    SDT_SAMPLER_EULER_ANCESTRAL, /* of models that predict v; adds noise in each step, drawn from
                                  * the seed's generator behind the starting noise, whether that is
                                  * the seed's or given */
    SDT_SAMPLER_RENOISE /* of flow models distilled to a few steps by distribution matching: each
                         * step but the last adds noise, drawn as above */
};
/* "unipc", "euler", "euler-ancestral", "renoise". */
const char *sdt_sampler_kind_name(enum sdt_sampler_kind kind);
/* How the n sigmas of a run are laid out. */
enum sdt_sampler_schedule {
    SDT_SCHEDULE_NEW,    /* as a pipeline of diffusers 0.37 or newer does, with either solver */
    SDT_SCHEDULE_OLD,    /* UniPC: as diffusers 0.33 to 0.36 */
    SDT_SCHEDULE_LINEAR, /* Euler: from 1 to 1/n, shifted once, as Wan's own code and checkpoints
                          * distilled to a few steps want */
};

/* Decoding in overlapping tiles, in pixels, each over the whole time; size 0: none. Multiples of
 * the VAE's space ratio (8), 0 < stride <= size. */
struct sdt_vae_tiling {
    int size_rows, size_cols, stride_rows, stride_cols;
};

/* What a solver keeps of a latent between two steps: enough to go on from there with the same
 * bits, before a step that reads nothing else from earlier ones. */
struct sdt_solver_state {
    int step; /* steps that have been done, of how many the request says */
    /* [C, T, H, W] each: the latent, the one before, and the last two predictions; where all or no
     * steps are done, x alone is needed. */
    const float *x, *x_last, *m0, *m1;
    /* The same of the difference of velocities that frozen_guidance keeps, where step guided_to - 1
     * is done; else NULL. */
    const float *difference;
};

/* Steps that skip the transformer's layers: what these added to the latent's tokens in an earlier
 * step, kept for each branch of guidance, stands for what they would add now. Lossy, but which
 * steps skip is known before the first one runs: the same bits wherever it runs. */
enum sdt_step_cache {
    SDT_CACHE_NONE,
    /* MagCache (arXiv 2506.09045): as long as the ratios of these sums' magnitudes, calibrated for
     * the checkpoint, say that the error stays below the threshold */
    SDT_CACHE_MAGNITUDE,
    /* TeaCache (arXiv 2411.19108): as long as the changes of the time embedding, by a polynomial
     * that is calibrated for the checkpoint, add up to less than the threshold */
    SDT_CACHE_EMBEDDING,
    SDT_CACHE_LIST, /* the steps that are given */
};
struct sdt_step_caching {
    enum sdt_step_cache kind;
    double threshold;    /* of the error; MAGNITUDE: 0 is the calibration's */
    bool modulation;     /* EMBEDDING: by what layers are modulated by; the first 5 steps run all */
    int most;            /* MAGNITUDE: steps that are skipped in a row; 0: the calibration's */
    const bool *skipped; /* LIST: [steps] */
    int refresh; /* every so many steps, all layers run and no stale keys are read; 0: never for
                  * that reason */
};
/* "none", "magcache", "teacache", "list". */
const char *sdt_step_cache_name(enum sdt_step_cache kind);

/* What is wanted. Set to defaults by sdt_pipeline_defaults: the checkpoint's stardit.json, else the
 * family's; the prompt is NULL then. A prompt is needed: prompt_embeds count before token_ids,
 * these before prompt. Strings and arrays are borrowed. */
struct sdt_request {
    const char *prompt, *negative_prompt;
    const int32_t *token_ids; /* in place of the prompt; NULL: none */
    int token_count;
    const struct sdt_stored *prompt_embeds; /* [rows, text_dim]; NULL: none */
    const struct sdt_stored *negative_prompt_embeds;
    /* The same for a second text encoder, of models that have one; tokens of the whole text, with
     * what the tokenizer adds and the family's template. */
    const int32_t *token_ids_2;
    int token_count_2;
    const struct sdt_stored *pooled_prompt_embeds; /* [pooled_dim]; NULL: none */
    const struct sdt_stored *negative_pooled_prompt_embeds;
    int height, width, num_frames; /* pixels; multiples of 16, 4k + 1 */
    int steps;                     /* 0: only decodes `latents` */
    double guidance_scale; /* above 1: two forwards a step, but where it is an input of the model */
    /* Guidance by two forwards in steps guided_from to guided_to - 1 alone, counted from 0: the
     * others take the prompt's forward, and its velocity as it is. guided_to 0: in all. */
    int guided_from, guided_to;
    /* With these: later steps are guided by the difference of both forwards' velocities that step
     * guided_to - 1 had. */
    bool frozen_guidance;
    /* Two forwards although the request is one of a checkpoint distilled to a few steps: its
     * sampler is renoise, the checkpoint's stardit.json says so ("distilled": true), or it has at
     * most SDT_FEW_STEPS given sigmas. Such requests are refused else, and others with this. */
    bool force_guidance;
    struct sdt_step_caching cache;
    /* Of a strategy with blocks, which decide the result: frames of the video that each block adds
     * (0: 8 of the latent) and that it shares with each neighbour (-1: as many as it adds, 0:
     * none), multiples of the model's time ratio. A video that is no longer than both together is
     * one block: the bits of strategy single. */
    int block_frames, overlap_frames;
    /* Frames of a strategy with blocks are handed out as blocks leave the queue (sdt_frames), and
     * the result has no video: memory does not grow with their number. Denoising and decoding then
     * go on together, on their devices. Where sdt_pipeline_streams() says so. */
    bool streamed;
    int warmup_steps; /* of a strategy with stale keys: the first ones read none; 0: 1 */
    /* Above 1, with a negative prompt (not NULL) and where guidance is an input: two forwards a
     * step, put together by this scale. */
    double true_cfg_scale;
    double flow_shift;       /* of the noise schedule */
    double fps;              /* frames per second, for whoever writes the video */
    int max_sequence_length; /* tokens that a prompt is cut to, 1 to 4096 */
    uint64_t seed;           /* of the noise: torch's on a CPU */
    enum sdt_sampler_kind sampler;
    enum sdt_sampler_schedule schedule;
    /* [steps] Noise levels in place of a schedule's: falling, from 1 at most to above 0, before the
     * flow shift s, which makes s u / (1 + (s - 1) u) of u; behind the last one comes 0. Of
     * samplers of flows. NULL: the schedule's. */
    const double *sigmas;
    const float *latents; /* [C, T, H, W] starting noise; NULL: from the seed */
    const struct sdt_solver_state
        *resume; /* in its place: goes on from there; NULL: from the start */
    struct sdt_vae_tiling tiling;
    const struct sdt_strategy *strategy;
};
/* SDT_ERROR_FORMAT when the checkpoint's stardit.json is malformed. Strings belong to the
 * pipeline. */
enum sdt_status sdt_pipeline_defaults(struct sdt_pipeline *pipeline, struct sdt_request *request,
                                      struct sdt_error *err);

/* [C, T, H, W] of the request's latent, of sizes that can be (sdt_pipeline_work says). */
void sdt_pipeline_latent_shape(const struct sdt_pipeline *pipeline,
                               const struct sdt_request *request, int64_t shape[4]);
/* Could the request be streamed? By its strategy, its decoder and its tiling. */
bool sdt_pipeline_streams(const struct sdt_pipeline *pipeline, const struct sdt_request *request);
/* Forwards of the transformer in a step of the request: 1, or 2 with guidance. */
int sdt_pipeline_forwards(const struct sdt_pipeline *pipeline, const struct sdt_request *request);

/* What a request takes wherever it runs. */
struct sdt_request_work {
    int64_t tokens;       /* of the video's latent */
    double text_flops;    /* of a prompt of max_sequence_length tokens; 0: no text encoder */
    double forward_flops; /* of one forward */
    double decode_flops;
};
/* SDT_ERROR_USAGE and SDT_ERROR_LIMIT, with what would work, for a request that no machine could
 * run. */
enum sdt_status sdt_pipeline_work(const struct sdt_pipeline *pipeline,
                                  const struct sdt_request *request, struct sdt_request_work *work,
                                  struct sdt_error *err);

/* ---- placement and plan -------------------------------------------------------------------- */

#define SDT_WHOLE_CHUNKS 1024 /* as chunk_heads: all heads of a device in one chunk */

/* Which devices do what, and how. Counts of 0: all devices do both, one phase after the other, each
 * phase's weights dropped before the next (the co-located baseline with offloading). Two groups:
 * DeDiVAE, the one denoises request k + 1 while the other decodes request k; a device may belong to
 * both. A group's devices are of one kind, and with aco both groups'. */
struct sdt_placement {
    int dit_devices, vae_devices;
    int dit[SDT_MAX_DEVICES], vae[SDT_MAX_DEVICES]; /* device indices */
    enum sdt_precision precision;
    bool text_with_vae; /* the text encoder runs on the first VAE device, else the first DiT one */
    int chunk_heads, ulysses_degree; /* 0: the strategy's own */
    /* Of a strategy with stale keys: parts of the tokens that go through the layers one after the
     * other. Decides the result. 0: 4 */
    int patches;
    /* Guidance's two forwards of a step: 2: side by side, each with activation buffers of its own,
     * so that one computes while the other exchanges; 1: one after the other in the same buffers,
     * with less memory. 0: 2. The same bits. */
    int streams;
    /* Guidance's two forwards on devices of their own: those that denoise are cut into two groups,
     * by their speeds, of which the first has the prompt's branch and the second the negative
     * one's. Each holds all weights; latents and velocities alone go between them. The same bits,
     * where the strategy is exact. */
    bool cfg_parallel;
    enum sdt_aco aco;             /* needs two groups that share no device */
    enum sdt_transport transport; /* NCCL: with ulysses, pipesp and single, aco off */
    bool keep_weights; /* one group: both phases' weights stay on the devices, nothing is dropped */
    bool vae_spill;    /* once nothing is left to denoise, DiT devices decode as well */
    int most_latents;  /* of requests that are not decoded yet, denoising ones included; 0: 3 */
};

/* One step in a plan. */
struct sdt_plan_step {
    int branches;     /* whose velocities it reads: 1, or 2 with guidance */
    int forwards;     /* of them, through all layers */
    bool stale;       /* they read keys of the step before */
    bool frozen;      /* guidance is by the difference of velocities that an earlier step kept */
    double seconds;   /* predicted */
    double exchanged; /* bytes between devices */
};

/* The plan: what will happen and what it will need, before any weight is read. */
struct sdt_plan {
    int frames, latent_height, latent_width, channels; /* of the latent */
    int devices;
    int64_t tokens;
    int tile_rows, tiles;
    int heads;
    int forwards; /* of a step: 2 with classifier-free guidance */
    int streams;  /* forwards in flight at once, with buffers of their own */
    int apart; /* devices of the negative prompt's branch, the last that denoise; 0: all of both */
    int *device_workers;              /* [devices] CPU workers; GPUs: 0 */
    int *device_tiles, *device_heads; /* [devices] of those that denoise */
    double *device_bytes;             /* [devices] predicted peak */
    /* [devices] Predicted peak of each phase of one request; 0 where the device has no part in it.
     * A group's device that denoises one request and decodes another needs the sum of both. */
    double *device_text_bytes, *device_denoise_bytes, *device_decode_bytes;
    double *device_room;   /* [devices] GPUs: bytes that StarPU may use there; CPUs: 0, not known */
    bool *device_offloads; /* [devices] weights do not all fit: kept in the host's memory, they come
                            * layer by layer */
    double host_bytes;     /* with GPUs: weights that they load from, and the video */
    double host_available; /* bytes that programs can have here now without swapping */
    enum sdt_device_kind dit_kind, vae_kind;
    enum sdt_dtype dit_dtype, vae_dtype; /* float32 or bfloat16 */
    double text_flops, step_flops, vae_flops, total_flops;
    double exchanged_per_step; /* bytes between devices, of a step with all forwards */
    /* Of a strategy with blocks: how many there are, and frames of the latent that each adds and
     * shares with each neighbour; else 0. tokens, tiles: of a block's input. A step is a step of
     * all blocks, which take them in steps + blocks - 1 iterations. */
    int blocks, block_frames, overlap_frames;
    struct sdt_plan_step *step; /* [steps] as the request's options leave them */
    int steps;
    double exchanged;    /* bytes of all steps */
    char cache[200];     /* which steps skip layers and by whose numbers, in words; "": none */
    double weight_bytes; /* stored, all components */
    /* Of one request. step: with all forwards; denoise: its text and all its steps; seconds: with
     * weights that move. */
    double text_seconds, step_seconds, denoise_seconds, decode_seconds, seconds;
    /* Of a CPU worker, or of a GPU, in the kernels of a step. On CPUs kernels are measured; GPUs
     * are guessed from their kind. */
    double flops_per_second;
};
/* Checks the request (sizes, text length, tiling, memory against the machine's; a tokenizer that it
 * needs can be opened) and predicts, for a machine that sdt_machine_open would open with these
 * options: their devices, workers and speeds count. No machine is needed. On CPUs the kernels are
 * measured, once in a process and model, in some hundredths of a second. SDT_ERROR_USAGE or
 * SDT_ERROR_LIMIT with the numbers; SDT_ERROR_DEVICE where GPUs are asked for and there is none;
 * SDT_ERROR_MISSING, SDT_ERROR_FORMAT or SDT_ERROR_UNSUPPORTED for the tokenizer;
 * SDT_ERROR_MEMORY. */
enum sdt_status sdt_plan_make(struct sdt_pipeline *pipeline, const struct sdt_request *request,
                              const struct sdt_placement *placement,
                              const struct sdt_machine_options *machine, struct sdt_plan *plan,
                              struct sdt_error *err);
void sdt_plan_clear(struct sdt_plan *plan); /* of one that is all zeros, or of a failed one, too */

/* Splits the machine's devices (at least 2) by PipeDiT's balance: decoding gets
 * ceil(T_decode / (T_decode + T_denoise) N) of them, from the predicted seconds of a request on one
 * device; at least one each. placement->precision is read, the groups written. Where nothing can be
 * predicted (sdt_plan_make says why), each gets half. */
void sdt_placement_balance(const struct sdt_pipeline *pipeline, const struct sdt_request *request,
                           const struct sdt_machine_options *machine,
                           struct sdt_placement *placement);

/* ---- placements compared --------------------------------------------------------------------- */

/* A way to run requests, and what it is predicted to take: docs/numbers.md defines each number. */
struct sdt_candidate {
    const struct sdt_strategy *strategy;
    struct sdt_placement placement;
    double step_seconds;    /* one step of one request */
    double exposed_seconds; /* of it, waiting for exchanges */
    double decode_seconds;  /* one request */
    double total_seconds;   /* all requests */
    double device_bytes;    /* peak memory of the device that needs most */
    double memory_bytes;    /* the sum of all devices' peaks */
    bool fits;              /* into each GPU's memory, and the host's */
};

/* Predicts one: strategy and placement are read, everything else is written. `count` requests like
 * this one; the machine as in sdt_plan_make, and measured as there. SDT_ERROR_USAGE and
 * SDT_ERROR_DEVICE for devices that cannot be a machine and for a layout that cannot be
 * (ulysses_degree), SDT_ERROR_MEMORY. */
enum sdt_status sdt_plan_predict(const struct sdt_pipeline *pipeline,
                                 const struct sdt_request *request, int count,
                                 const struct sdt_machine_options *machine,
                                 struct sdt_candidate *candidate, struct sdt_error *err);
/* All that can run, the best first (sdt_candidate_compare): each strategy, with and without groups,
 * aco, and streams side by side. given: what all of them keep to, or NULL: the strategy, unless
 * NULL (lossy ones are tried only so), and of the placement precision and whatever is not 0 of
 * chunk_heads, ulysses_degree, patches, transport, most_latents, vae_spill and, where there are
 * groups, text_with_vae; the rest is what is tried. *candidates [*number] is malloc'ed; the caller
 * frees it.
 * SDT_ERROR_USAGE and SDT_ERROR_DEVICE for devices that cannot be a machine, SDT_ERROR_MEMORY. */
enum sdt_status sdt_plan_candidates(const struct sdt_pipeline *pipeline,
                                    const struct sdt_request *request, int count,
                                    const struct sdt_machine_options *machine,
                                    const struct sdt_candidate *given,
                                    struct sdt_candidate **candidates, int *number,
                                    struct sdt_error *err);
/* Which of two is to be preferred: negative, 0, positive as qsort has it. One that fits, then
 * the shorter total_seconds, where a strategy with bits of its own (not exact) counts 5 %
 * longer: other bits are for those who ask for them, or for a clear gain. Then, of equal ones:
 * fewer groups, no aco, fewer streams, larger chunks. */
int sdt_candidate_compare(const struct sdt_candidate *a, const struct sdt_candidate *b);
/* Do both take the same time, within 1e-9 of it, and the same memory? */
bool sdt_candidate_equal(const struct sdt_candidate *a, const struct sdt_candidate *b);
/* The index-th way (from 0) to run the strategy on so many devices that is worth predicting: sets
 * chunk_heads and ulysses_degree of *placement. False: no more. */
bool sdt_strategy_variant(const struct sdt_strategy *strategy, int index, int devices,
                          struct sdt_placement *placement);

/* ---- running ------------------------------------------------------------------------------- */

/* Called from worker threads, also from several at once. phase: "text", "denoise", "decode"; done
 * of total: prompts (1, or 2 with guidance), steps, frames. request: the index. */
typedef void (*sdt_progress)(void *arg, int request, const char *phase, int done, int total);

struct sdt_result {
    int frames, height, width; /* of the video */
    float *video; /* [frames, height, width, 3], -1..1, malloc'ed; NULL when stopped before */
    int channels, latent_frames, latent_height, latent_width;
    float *latent; /* [C, T, H, W], malloc'ed, after steps_done steps; NULL when none was begun */
    /* As latent: the rest of the solver's state where denoising ended early (struct
     * sdt_solver_state); else NULL. */
    float *x_last, *m0, *m1, *difference;
    int steps, steps_done;
    int prompt_tokens;
    double text_seconds, denoise_seconds, decode_seconds;
};
void sdt_result_clear(struct sdt_result *result); /* frees the arrays */

/* Takes one request's result; called once per request, in any order, from the thread that finished
 * it: with several decoding devices also from several at once. err is not NULL; it says something
 * when status is not SDT_OK, and the result then holds what there is. The result is cleared after
 * the call: keep an array by taking the pointer and setting the result's to NULL. */
typedef void (*sdt_deliver)(void *arg, int request, enum sdt_status status,
                            const struct sdt_error *err, struct sdt_result *result);

/* Takes a request's state after state->step steps, borrowed for the call, from the thread that
 * denoises. */
typedef void (*sdt_checkpoint)(void *arg, int request, const struct sdt_solver_state *state);

/* Takes the next frames of a streamed request, `count` from number `first` on, borrowed for the
 * call, from the thread that denoises. */
typedef void (*sdt_frames)(void *arg, int request, int first, int count,
                           const float *pixels /* [count, height, width, 3], -1..1 */);

struct sdt_run_options {
    struct sdt_placement placement;
    /* [count] paths or NULLs, where latents are written before decoding; NULL: none */
    const char *const *save_latent;
    sdt_progress progress; /* or NULL */
    void *progress_arg;
    sdt_deliver deliver;
    void *deliver_arg;
    int checkpoint_every; /* steps; as of a job (struct sdt_job_options) */
    sdt_checkpoint checkpoint;
    void *checkpoint_arg;
    sdt_frames frames; /* of streamed requests */
    void *frames_arg;
};
/* Runs count >= 1 requests and returns when all have been delivered; they are denoised in their
 * order: a service (below) with the queue "fcfs" over a closed list. After sdt_machine_stop,
 * denoising ends at once (SDT_ERROR_INTERRUPTED, with the latent of the last whole step) and, with
 * two groups, latents that are ready are still decoded. A failed request leaves the others alone;
 * the first failure is returned. SDT_ERROR_USAGE, before anything is begun, for what sdt_plan_make
 * refuses of the placement. */
enum sdt_status sdt_pipeline_run_all(struct sdt_pipeline *pipeline, struct sdt_machine *machine,
                                     const struct sdt_request *requests, int count,
                                     const struct sdt_run_options *options, struct sdt_error *err);

/* One request on all devices. The result is the caller's to clear, also after a failure. */
enum sdt_status sdt_pipeline_run(struct sdt_pipeline *pipeline, struct sdt_machine *machine,
                                 const struct sdt_request *request, const char *save_latent,
                                 sdt_progress progress, void *progress_arg,
                                 struct sdt_result *result, struct sdt_error *err);

/* ---- jobs ------------------------------------------------------------------------------------ */

/* A service carries requests out on a machine as they come. Each is a job that advances by its
 * text, by ONE step, or by its decode; between two of these it can be paused, moved to other
 * devices, or ended, while others go on. Which job advances next is a queue's to say. What a job
 * computes does not depend on any of it: a job that was paused and moved has the bits of one that
 * was not.
 *
 * Services of a machine may work side by side, on devices of their own or on the same, each with a
 * pipeline of its own. Their threads call progress and deliver. All calls below may come from any
 * thread, also from a deliver or progress call, but for sdt_service_close. */
struct sdt_service;
struct sdt_job;

struct sdt_service_options {
    struct sdt_placement placement; /* of all jobs, until one is moved */
    /* A name, or the path of a module (stardit/queue.h). "fcfs": in the order of their coming
     * (NULL); "priority": the highest first; "edf": the earliest deadline first; "srtf": the least
     * work left first; "sjf": the same, but what has begun is finished. Those that only share
     * devices out are refused: a step has all devices of its job. */
    const char *queue;
};
/* The queues' names by index; NULL: no more. */
const char *sdt_queue_name(int index);

/* The queue of this name, or of a module (stardit/queue.h), whose path ends in ".so", for who asks
 * one without a service; it stays. SDT_ERROR_USAGE: there is none. */
enum sdt_status sdt_queue_open(const char *name, const struct sdt_queue **queue,
                               struct sdt_error *err);

/* SDT_ERROR_USAGE for a placement that sdt_plan_make refuses, an unknown queue, or where services
 * that do not rest have all the threads that a machine can have (64: each has one, and one for each
 * device that decodes); SDT_ERROR_MEMORY. The pipeline and the machine outlive the service. */
enum sdt_status sdt_service_open(struct sdt_pipeline *pipeline, struct sdt_machine *machine,
                                 const struct sdt_service_options *options,
                                 struct sdt_service **service, struct sdt_error *err);
/* Takes no more jobs, waits until all have been delivered (paused ones are resumed), and frees the
 * service. Returns the first failure of a job. */
enum sdt_status sdt_service_close(struct sdt_service *service, struct sdt_error *err);
/* Waits until all its jobs have been delivered, of which none may be paused, and counts its threads
 * no more. Its weights stay where they are. It takes no jobs until it is woken, and can be closed
 * at any time. Called by the thread that submits. */
void sdt_service_rest(struct sdt_service *service);
/* SDT_ERROR_USAGE: there are too many threads, as for sdt_service_open. */
enum sdt_status sdt_service_wake(struct sdt_service *service, struct sdt_error *err);

struct sdt_job_options {
    int number;              /* what progress, deliver, traces and statistics call it */
    int priority;            /* larger ones first */
    double deadline;         /* seconds from now, below 0: it has passed; 0: none */
    const char *save_latent; /* where the latent is written before decoding, or NULL */
    sdt_progress progress;   /* or NULL */
    void *progress_arg;
    sdt_deliver deliver; /* or NULL */
    void *deliver_arg;
    /* Every so many steps, after the last one, and where the queue lets another job go on in its
     * place: hands the state out; where the next step reads what a state does not hold (a step
     * cache), as soon as one does not. 0: never. */
    int checkpoint_every;
    sdt_checkpoint checkpoint;
    void *checkpoint_arg;
    sdt_frames frames; /* of a streamed request */
    void *frames_arg;
};
/* Takes a request, whose strings and arrays are borrowed until it is delivered. *job (NULL: not
 * wanted) is the caller's to free. SDT_ERROR_USAGE for what this placement does not allow its
 * strategy, and where the service rests; SDT_ERROR_MISSING where its text cannot be encoded;
 * SDT_ERROR_INTERRUPTED when the service closes; SDT_ERROR_MEMORY. What else is wrong with it is
 * delivered. */
enum sdt_status sdt_service_submit(struct sdt_service *service, const struct sdt_request *request,
                                   const struct sdt_job_options *options, struct sdt_job **job,
                                   struct sdt_error *err);
/* Forgets the job, which goes on. NULL is fine. After its service has been closed, this is the one
 * call that is left. */
void sdt_job_free(struct sdt_job *job);

/* At the next boundary: the job waits, with its state where it is, until it is resumed. */
void sdt_job_pause(struct sdt_job *job);
void sdt_job_resume(struct sdt_job *job);
/* Ends it: what is running of it runs out, at most a step; delivered with SDT_ERROR_INTERRUPTED and
 * the latent of the last whole step. */
void sdt_job_cancel(struct sdt_job *job);
void sdt_job_priority(struct sdt_job *job, int priority);
void sdt_job_deadline(struct sdt_job *job, double deadline /* as of its options */);
/* From the next step on it denoises on these devices of the machine, of the kind of those before;
 * where a step cache is in use, from the next step on that reads nothing from earlier ones.
 * SDT_ERROR_USAGE for devices that are not there, stand twice, or do not go with the placement's
 * aco or transport. */
enum sdt_status sdt_job_move(struct sdt_job *job, const int *devices /* [count] */, int count,
                             struct sdt_error *err);

struct sdt_job_state {
    enum sdt_job_phase phase; /* what it does next, or does now */
    bool paused, active;      /* active: a thread of the service is at it */
    int steps_done, steps;
    enum sdt_status status; /* when done: as delivered */
    double waited;          /* seconds since it was submitted */
};
struct sdt_job_state sdt_job_poll(struct sdt_job *job);
/* Returns when the job has been delivered. */
void sdt_job_wait(struct sdt_job *job);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif

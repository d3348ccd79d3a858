/* A job: a request that can stop at any boundary and go on from there.
 *
 * It advances by its text, by ONE step, or by its decode. Between steps its state is small: the
 * latent's tiles and what the solver keeps of them, the prompt as all steps use it, the solver's
 * coefficients. So preempting a job is not choosing it, moving it is running its next step
 * elsewhere, and ending it frees these. A service has one thread that denoises, with two pieces on
 * their way at a time, and threads that decode; a queue says which job goes on.
 *
 * With two groups of devices (DeDiVAE; PipeDiT, arXiv 2511.12056) request k + 1 is denoised while
 * request k is decoded, weights stay where they are used, and the number of latents alive is
 * bounded. With one group for both, the one thread decodes as well, and drops each phase's weights
 * before it loads the other's: offloading, as the paper's baseline ran. */
#ifndef STARDIT_JOB_H
#define STARDIT_JOB_H

#include <stdatomic.h>

#include "graph/jobs/fast.h"
#include "graph/pipeline.h"
#include "graph/run/latent.h"
#include "runtime/clock.h"
#include "runtime/devices.h"

/* Devices that denoise together, and the run that is set up there. */
struct sdt_team {
    struct sdt_team *next;
    int devices, device[SDT_MAX_DEVICES];
    struct sdt_group group;
    struct sdt_run *run; /* of the last job's geometry and strategy; NULL: none yet */
};

/* Through whom tasks report progress. On the heap: after a stall, tasks may still end and tell, and
 * what they look at is left to them. The caller behind it is not: it may take its own things
 * away. */
struct sdt_teller {
    sdt_progress call;
    void *arg;
    int number;
    atomic_bool parted;     /* from the caller */
    atomic_int speaking;    /* calls in progress */
    struct sdt_fast *fast;  /* NULL: every step is simulated */
    int blocks;             /* of a job that has some */
    atomic_int block_steps; /* that they have done together */
};
void sdt__tell(struct sdt_teller *teller, const char *phase, int done, int total);
/* After a stall: nothing more is told; a call in progress gets a second to return, because it may
 * be what stalls. */
void sdt__teller_part(struct sdt_teller *teller);

/* The blocks of a job whose strategy has some. */
struct sdt_job_blocks {
    struct sdt_blocks q;       /* count 0: none */
    struct sdt_latent *latent; /* [sdt_blocks_most()]: of block b at b % that */
    float **values;    /* [count] -> [C, F, H, W] of its input: noise, then what became of it */
    sdt_handle *whole; /* [count]: the same */
    float *noise;      /* [C, F, H, W]: all blocks', in the order of the seed */
    int *order;        /* [2 F] */
    struct sdt_noise_pool pool;
    /* Of streamed requests: the decode, and each block's frames of the video until they are handed
     * out. */
    struct sdt_vae_stream *stream;
    float **pixels;    /* [count] -> [frames, H, W, 3] */
    sdt_handle *video; /* [count]: the same */
    int pushed, out;   /* blocks */
};

struct sdt_job {
    struct sdt_service *service;
    struct sdt_job *next; /* of the service's, in the order of their arrival */
    atomic_int references;
    struct sdt_request request;
    struct sdt_job_options options;
    struct sdt_request_work work;
    unsigned long arrival;
    double arrived;

    /* Under the service's mutex. */
    enum sdt_job_phase phase;
    bool begun, paused, active, delivered;
    int priority;
    double deadline; /* on the service's clock; HUGE_VAL: none */
    enum sdt_status status;
    int steps_done;          /* as others are told */
    struct sdt_team *wanted; /* where it denoises from the next step on */

    struct sdt_halt halt;   /* of its text and its steps; the machine's stop ends them too */
    struct sdt_halt finish; /* of its decode, which goes on after such a stop */
    struct sdt_halt keep;   /* of what brings home a latent that has been stopped */

    /* Of the thread that is at it. */
    struct sdt_team *team;       /* where it denoises now */
    const struct sdt_team *fits; /* the one whose memory was found to do last, and whether */
    bool offloads;               /* weights come and go there */
    struct sdt_teller *teller;
    int step;   /* the next one to insert, or the next iteration of blocks */
    int steps;  /* of these, how many there are */
    int handed; /* steps done in the last state that was handed out */
    bool due;   /* its state is to be handed out */
    struct sdt_sampler sampler;
    struct sdt_step_table table; /* what each step runs */
    struct sdt_job_blocks blocks;
    struct sdt_noise noise;
    struct sdt_latent *latent; /* on the heap, as the teller; NULL: none yet */
    struct sdt_prompt prompt[2];
    /* What layers added in an earlier step, of each branch that the table keeps it of: [kept_tiles]
     * -> [rows, width], in the type and tiles of the run that it began on; or NULL. */
    sdt_handle *kept[2];
    int kept_tiles;
    sdt_handle *stale[2]; /* keys and values of each branch: struct sdt_branch; NULL: none */
    int stale_count[2];
    int text_rows;      /* of the longest branch */
    unsigned long mark; /* in the lane, behind its last piece */
    double begun_at;    /* denoising; on the service's clock */
    struct sdt_result result;
    /* What the first tasks read, until they have ended. */
    struct sdt_text_states states[2][2]; /* of each branch, by each encoder */
    float *text_values[2][2];            /* given embeddings */
    sdt_handle whole[SDT_STATE_PARTS];
};
static inline size_t sdt__latent_size(const struct sdt_result *r) {
    return (size_t)r->channels * (size_t)r->latent_frames * (size_t)r->latent_height *
           (size_t)r->latent_width;
}

/* A decoding thread's devices and weights. */
struct sdt_decoder {
    struct sdt_service *service;
    const struct sdt_place *place; /* [devices] */
    int devices, number;           /* of its lane, among those that decode */
    struct sdt_parameters *parameters;
    starpu_pthread_t thread;
};

struct sdt_service {
    struct sdt_pipeline *pipeline;
    struct sdt_machine *machine;
    struct sdt_placement placement;
    struct sdt_kinds kinds;
    const struct sdt_queue *queue;
    bool two;    /* groups, each with threads of its own */
    bool shared; /* the groups share devices */
    struct sdt_group vae;
    const struct sdt_place *text_place;
    enum sdt_dtype text_dtype;
    int lane, lanes; /* of its threads: the first denoises, those behind it decode; -1: it rests */

    starpu_pthread_mutex_t mutex;
    starpu_pthread_cond_t changed;
    struct sdt_job *first, *last;
    unsigned long arrivals;
    int jobs, room;              /* in the list, and in the two that follow */
    struct sdt_waiting *waiting; /* what the queue chooses from */
    struct sdt_job **ready;      /* the same jobs */
    int parked;                  /* threads that wait for something to do */
    starpu_pthread_cond_t quiet; /* all of them */
    bool resting;                /* it takes no jobs, and has no lanes */
    int alive, most_alive;       /* latents begun and not delivered yet, and their bound */
    bool closed, given_up;
    enum sdt_status status; /* the first failure */
    struct sdt_error error;

    struct sdt_team *teams; /* under the mutex; the placement's own is the last */
    /* Of the denoising thread. */
    struct sdt_parameters *parameters; /* the transformer's weights, of all teams */
    unsigned long recent;              /* the lane's mark behind the piece before last */
    struct sdt_job *stepped;           /* that it was at last; under the mutex. NULL: none */
    struct sdt_fast *fast;             /* simulated time; NULL: every step is simulated */
    starpu_pthread_t thread;
    bool denoising;              /* it was started */
    struct sdt_decoder *decoder; /* [decoders]; with one group, the denoising thread's */
    int decoders;
};

/* In simulated time, before the first job: fast-forward. SDT_ERROR_MEMORY. */
enum sdt_status sdt__service_fast(struct sdt_service *service, struct sdt_error *err);

/* ---- service.c: threads ---------------------------------------------------------------------- */

/* How requests are decoded is known when the first one is there: with spatial tiles, one thread
 * shares them out. Under the mutex. SDT_ERROR_MEMORY. */
enum sdt_status sdt__start_decoders(struct sdt_service *service, bool tiles, struct sdt_error *err);
/* An empty result of that request. */
void sdt__result_init(const struct sdt_pipeline *pipeline, const struct sdt_request *request,
                      struct sdt_result *result);
/* One of its holders lets it go: the service, or whoever submitted it. */
void sdt__job_release(struct sdt_job *job);

/* ---- denoise.c: text and steps, by the denoising thread -------------------------------------- */

/* Encodes the prompt and sets the latent up. The job's next phase is a step, or the decode. */
enum sdt_status sdt__job_begin(struct sdt_job *job, struct sdt_error *err);
/* Inserts ONE step. */
enum sdt_status sdt__job_step(struct sdt_job *job, struct sdt_error *err);
/* Hands the job's state out, as checkpoint_every does. */
enum sdt_status sdt__job_keep(struct sdt_job *job, struct sdt_error *err);
/* Waits for what was inserted, brings the latent home, and frees what the job has on the devices.
 * status, *err: how it went so far; returns how it ended. */
enum sdt_status sdt__job_gather(struct sdt_job *job, enum sdt_status status, struct sdt_error *err);
/* Drops buffers and weights. */
void sdt__denoise_unload(struct sdt_service *service);
/* The team of these devices, made if need be; under the mutex. SDT_ERROR_USAGE,
 * SDT_ERROR_MEMORY. */
enum sdt_status sdt__team_find(struct sdt_service *service, const int *devices, int count,
                               struct sdt_team **team, struct sdt_error *err);

/* ---- blocks.c: a video in blocks, by the same thread ----------------------------------------- */

/* Before the first iteration, where blocks.q says that there are blocks. SDT_ERROR_MEMORY; what is
 * there then is freed with the rest. */
enum sdt_status sdt__blocks_begin(struct sdt_job *job, struct sdt_error *err);
/* Inserts ONE iteration. */
void sdt__blocks_iteration(struct sdt_job *job, struct sdt_flow *flow, struct sdt_run *run);
/* All iterations have ended: the blocks' own frames to the result's latent. */
void sdt__blocks_collect(struct sdt_job *job);
/* The same of their frames of the video, where the request is streamed. */
void sdt__blocks_hand_out(struct sdt_job *job, int end /* of the blocks */);
void sdt__blocks_free(struct sdt_job *job);

/* ---- text.c: from a prompt to states --------------------------------------------------------- */

/* job->states of one branch's prompt (1: the negative one) by each encoder, in whichever form it
 * was given. Given ones stay in job->text_values; computed ones are there when it returns. */
enum sdt_status sdt__text_states(struct sdt_job *job, struct sdt_flow *flow, int branch,
                                 struct sdt_error *err);

/* Before the prompt's text: do the encoders' weights stay for the next prompt? */
void sdt__text_keep(struct sdt_job *job);
/* Drops them. */
void sdt__text_unload(struct sdt_service *service);

/* ---- decode.c -------------------------------------------------------------------------------- */

enum sdt_status sdt__job_decode(struct sdt_job *job, struct sdt_decoder *decoder,
                                struct sdt_error *err);
void sdt__decode_unload(struct sdt_decoder *decoder);
/* What decoding this request takes on one of so many devices, bytes. */
double sdt__decode_bytes(const struct sdt_service *service, const struct sdt_request *request,
                         const struct sdt_place *place /* [devices] */, int devices, int device);
/* Has cuDNN's plans for this request's decode made while it is denoised. */
void sdt__decode_plan_ahead(const struct sdt_service *service, const struct sdt_request *request,
                            const struct sdt_decoder *decoder);

/* Would this many bytes go into the place's memory? StarPU waits forever for room that can never be
 * there, so what cannot fit is refused before its tasks are inserted. */
enum sdt_status sdt__check_room(const struct sdt_place *place, const char *what, double bytes,
                                const struct sdt_request *request, struct sdt_error *err);
#endif

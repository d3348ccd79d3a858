/* What a model family is: everything that the rest of stardit asks of a model.
 *
 * A family is the transformer, decoder and text encoder that a pipeline class names, each behind a
 * struct of functions, and the defaults of a request. Its files stand in graph/models and nowhere
 * else; list.c names them. Streams, branches, layouts, strategies, plans, jobs and programs know
 * these structs and no model. To add one: write its files, add its lines to list.c.
 *
 * The functions that insert tasks return nothing: the flow keeps the first failure. */
#ifndef STARDIT_FAMILY_H
#define STARDIT_FAMILY_H

#include "graph/models/files.h"
#include "graph/models/operations.h"
#include "graph/models/tensors.h"
#include "graph/run/layout.h"
#include "runtime/machine.h"
#include "stardit/stardit.h"

struct sdt_config;
struct sdt_run;
struct sdt_stream;

/* Of a latent, without its channels; divisible by the transformer's patch. */
struct sdt_geometry {
    int frames, height, width;
};

/* ---- transformer ----------------------------------------------------------------------------- */

enum sdt_projection { SDT_PROJECT_Q, SDT_PROJECT_K, SDT_PROJECT_V, SDT_PROJECTIONS };

/* Where in a forward a task stands. */
struct sdt_at {
    int branch;
    int layer; /* -1: before or after the layers */
    int tile;
    struct sdt_stream *stream;
    /* Keys that are to stand `ahead` tokens later as well (SDT_PROJECT_K): [chunks], written; NULL:
     * not wanted. */
    const sdt_handle *later;
    int64_t ahead;
};

/* The prompt of one branch, as all steps use it: made once, and the same whatever devices it was
 * made on. Owned by the job. */
struct sdt_prompt {
    sdt_handle *handle; /* [kind->prompt_handles] */
    int count;
    int rows;       /* keys of cross attention, or tokens that join self attention */
    float pad_bias; /* log of the padding rows that the last row stands for; 0: none */
};
void sdt_prompt_clear(struct sdt_prompt *prompt); /* submitted tasks may still use it */

/* The steps that a prompt is made for: what a model can say of all of them at once, it says when
 * the prompt is made, and may give up the weights that it takes. */
struct sdt_schedule {
    const float *timesteps; /* [steps] */
    int steps;
    float guidance; /* the scale, where it is an input */
};

/* States of one text encoder: [rows, width] at any device, and how many zero rows follow. */
struct sdt_text_states {
    sdt_handle handle;
    int rows, pad_rows;
};

/* FLOPs of one forward of one branch, all layers. */
struct sdt_work {
    double linear;    /* everything but self attention */
    double attention; /* self attention */
};

/* How many vectors of a step a stream has room for. */
#define SDT_STREAM_VECTORS 8

struct sdt_dit;
struct sdt_dit_kind {
    const char *class_name;        /* config.json's _class_name */
    const struct sdt_files *files; /* single files that hold one; NULL: folders only */

    /* The component that config describes, with the weights of `folder`, which may be a single
     * file, or imagined (then `folder` is a name for messages, and `layers` above 0: as if it had
     * so many). SDT_ERROR_UNSUPPORTED for variants that the file does not run. */
    enum sdt_status (*open)(const struct sdt_config *config, const char *folder,
                            const struct sdt_opening *how, int layers, struct sdt_dit **dit,
                            struct sdt_error *err);
    void (*close)(struct sdt_dit *dit);

    /* Names every tensor once. `bound` is what bind() returned, or NULL where nothing is bound. */
    void (*tensors)(const struct sdt_dit *dit, struct sdt_tensor_visit *visit, void *bound);
    size_t (*bound_size)(const struct sdt_dit *dit); /* bytes of the struct that `bound` is */

    /* The prompt from the encoders' states, for the steps of run->schedule. What only one layer
     * reads is made where that layer is: sdt_run_at_prompt(). What reads SDT_TENSOR_HOST_... is
     * made at the host: sdt_run_at_host(). */
    void (*prompt)(struct sdt_flow *flow, struct sdt_run *run, int branch,
                   const struct sdt_text_states *text /* [texts] */, struct sdt_prompt *prompt);

    /* A step begins: from timestep and guidance to the stream's vectors. NULL: the prompt has it
     * all, by run->step. */
    void (*condition)(struct sdt_flow *flow, struct sdt_run *run, struct sdt_stream *stream,
                      float t, float guidance);
    /* latent -> x of a tile. latent: [rows, C*patch] float32; NULL for a tile of text. */
    void (*embed)(struct sdt_flow *flow, struct sdt_run *run, struct sdt_at at, sdt_handle latent);
    /* A layer of a tile, in four parts: x -> z, normalised; z -> q, k or v, cut into pieces; z,
     * where attention has been put together -> x; the rest of the layer, x -> x. */
    void (*begin)(struct sdt_flow *flow, struct sdt_run *run, struct sdt_at at);
    void (*project)(struct sdt_flow *flow, struct sdt_run *run, struct sdt_at at,
                    enum sdt_projection which, const sdt_handle *piece /* [chunks] written */);
    void (*join)(struct sdt_flow *flow, struct sdt_run *run, struct sdt_at at);
    void (*finish)(struct sdt_flow *flow, struct sdt_run *run, struct sdt_at at);
    /* x -> velocity of a tile of video: [rows, C*patch] float32, C slowest, as the latent. */
    void (*head)(struct sdt_flow *flow, struct sdt_run *run, struct sdt_at at, sdt_handle velocity);

    bool later; /* project() heeds at.later */

    /* Which tokens attend among themselves in a layer: count and run. NULL: all. */
    struct sdt_token_groups (*groups)(const struct sdt_dit *dit, int layer);

    /* Layers of a kind do the same work; kinds count from 0. NULL: all are alike. */
    int (*layer_kind)(const struct sdt_dit *dit, int layer);

    struct sdt_work (*work)(const struct sdt_dit *dit, int64_t tokens, int text_rows);
    /* The tasks of a tile of `rows` tokens but for self attention and its exchanges, q, k and v
     * first. NULL: predicted from `work`. */
    void (*operations)(const struct sdt_dit *dit, int rows, int text_rows,
                       struct sdt_operations *list);
    /* How much steps are conditioned on beside the step before, from these timesteps alone:
     * mean |e_t - e_{t-1}| / mean |e_{t-1}|, of the time embedding or of what layers are modulated
     * by; the first one's is 0. Reads weights. SDT_ERROR_MEMORY. NULL: it depends on more. */
    enum sdt_status (*changes)(const struct sdt_dit *dit, bool modulation, int count,
                               const float *t /* [count] */, double *change /* [count] */,
                               struct sdt_error *err);
};

/* An opened transformer. The first member of what a kind allocates. */
struct sdt_dit {
    const struct sdt_dit_kind *kind;
    struct sdt_weights *weights;
    struct sdt_tensor_count count[SDT_READERS];
    struct sdt_tensor_held held[SDT_READERS]; /* on CPUs; filled by sdt_dit_open */
    double host_bytes; /* of what only the host reads, where it cannot be read as it is stored */
    int layers, heads, head_dim, width; /* width d = heads * head_dim */
    int mixed;       /* a model shortened to a multiple of so many has its kinds of layers in their
                * shares; 0: they are alike */
    int channels;    /* of the latent, in and out */
    int patch[3];    /* frames, height, width */
    int texts;       /* encoders that it reads */
    int text_dim;    /* width of the first one's states */
    int pooled_dim;  /* of the second one's, which are one row; 0: none */
    int passes;      /* forwards of a guided step: 2, or 1 where guidance is an input */
    bool text_joins; /* text tokens stand behind the video's in self attention */
    int hidden;      /* widest row of work: feed-forward, or a patch */
    int prompt_handles;
    size_t prompt_row[SDT_READERS];    /* elements that a prompt keeps for each of its rows */
    size_t prompt_step[SDT_READERS];   /* floats, for each step of its schedule */
    size_t vector[SDT_STREAM_VECTORS]; /* floats of each vector of a step; 0: none */
    double shared_floats; /* of these, what each device with tokens reads in a forward */
    double shared_ends;   /* of those, what is read after the layers alone */
    double shared_text;   /* floats a row that are made at the first tile of text in a forward, and
                             read where the others are */
    int rope_pairs[3];    /* rotated pairs of a head by axis; all 0: no rotation */
    double rope_theta;    /* base of their frequencies */
    bool rope_halves;     /* how pairs stand: struct sdt_rope */
};
static inline int64_t sdt_tokens(const struct sdt_dit *dit, struct sdt_geometry g) {
    return (int64_t)(g.frames / dit->patch[0]) * (g.height / dit->patch[1]) *
           (g.width / dit->patch[2]);
}
/* Values of one token in the latent. */
static inline size_t sdt_patch_values(const struct sdt_dit *dit) {
    return (size_t)(dit->patch[0] * dit->patch[1] * dit->patch[2] * dit->channels);
}
struct sdt_patch sdt_patch_of(const struct sdt_dit *dit, struct sdt_geometry geometry);
static inline struct sdt_token_groups sdt_dit_groups(const struct sdt_dit *dit, int layer) {
    return dit->kind->groups ? dit->kind->groups(dit, layer)
                             : (struct sdt_token_groups){.count = 1, .run = 1};
}
/* Of a request's steps: the scale that is an input of the model, and that by which the forwards of
 * two prompts are put together, above 1; else there is one forward. */
struct sdt_guidance {
    float input, mix;
};
static inline int sdt_forwards(struct sdt_guidance guidance) { return guidance.mix > 1.0f ? 2 : 1; }

/* By the _class_name in the folder's config.json; of no known one: SDT_ERROR_UNSUPPORTED. `path`
 * may be a file, which is described as sdt_files_config() says. layers: above 0, only where
 * imagined: as if it had so many. */
enum sdt_status sdt_dit_open(const char *path, const struct sdt_opening *how, int layers,
                             struct sdt_dit **dit, struct sdt_error *err);
/* The same imagined from the text of a config.json, its weights stored in that type; layers above
 * 0: as if it had so many. */
enum sdt_status sdt_dit_imagine(const char *config, int layers, enum sdt_dtype stored,
                                struct sdt_dit **dit, struct sdt_error *err);
void sdt_dit_close(struct sdt_dit *dit); /* NULL is fine; after all its runs are freed */

/* ---- decoder --------------------------------------------------------------------------------- */

/* Called on a worker's thread whenever a frame of a tile is done. */
typedef void (*sdt_frame_done)(void *arg, int done, int total);

struct sdt_vae_job {
    int frames, height, width; /* of the latent [C, frames, height, width] */
    bool scale;      /* z = latent * std + mean first (a pipeline does, a golden case not) */
    bool whole;      /* no tiles in time, where the family's decoder takes some by itself */
    bool as_decoded; /* not clamped to -1..1, where the model itself does not (a golden case) */
    struct sdt_vae_tiling tiling;
    enum sdt_dtype dtype;          /* of activations and matrices; CPUs know SDT_F32 only */
    const struct sdt_place *place; /* [devices] that decode; NULL: all of the machine */
    int devices;
    struct sdt_parameters *parameters; /* weights to use and keep; NULL: loads its own */
    sdt_frame_done frame_done;         /* or NULL */
    void *frame_done_arg;
};

struct sdt_vae;
struct sdt_vae_stream;
struct sdt_vae_kind {
    const char *class_name;
    const struct sdt_files *files; /* as of a transformer */
    enum sdt_status (*open)(const struct sdt_config *config, const char *folder,
                            const struct sdt_opening *how, struct sdt_vae **vae,
                            struct sdt_error *err);
    void (*close)(struct sdt_vae *vae);
    /* Checks a job against the checkpoint and the tiling rules: SDT_ERROR_USAGE. */
    enum sdt_status (*check)(const struct sdt_vae *vae, const struct sdt_vae_job *job,
                             struct sdt_error *err);
    /* Inserts the whole decode and waits for it. video: [frames, height, width, 3] in -1..1 of the
     * size that the ratios give, registered at the host. */
    enum sdt_status (*decode)(struct sdt_flow *flow, struct sdt_vae *vae,
                              struct sdt_machine *machine, const struct sdt_vae_job *job,
                              sdt_handle latent, sdt_handle video /* updated */,
                              struct sdt_error *err);
    /* A decode whose frames leave as their latents come, of jobs with one tile: begins, and inserts
     * what the next `count` latent frames make possible. They are frames `first` on of latent [C,
     * frames, H, W]; the video's frames go to the start of `video`, which has been written before.
     * Freed when the tasks have ended. NULL: there is none. */
    struct sdt_vae_stream *(*stream)(struct sdt_vae *vae, struct sdt_machine *machine,
                                     const struct sdt_vae_job *job, struct sdt_error *err);
    void (*stream_push)(struct sdt_flow *flow, struct sdt_vae_stream *stream, sdt_handle latent,
                        int frames, int first, int count, sdt_handle video);
    void (*stream_free)(struct sdt_vae_stream *stream);
    double (*flops)(const struct sdt_vae *vae, const struct sdt_vae_job *job);
    /* Tiles that devices decode apart from one another. NULL: as many as are asked for in space. */
    int (*tiles)(const struct sdt_vae *vae, const struct sdt_vae_job *job);
    /* The tasks of a decode on `devices` devices. NULL: predicted from `flops`. */
    void (*operations)(const struct sdt_vae *vae, const struct sdt_vae_job *job, int devices,
                       struct sdt_operations *list);
    /* Predicted peak bytes (weights, activations, work space) of device `device` of `devices`; at
     * least what the largest task needs. */
    double (*bytes)(const struct sdt_vae *vae, const struct sdt_vae_job *job, int devices,
                    int device);
};

/* An opened decoder. The first member of what a kind allocates. */
struct sdt_vae {
    const struct sdt_vae_kind *kind;
    struct sdt_weights *weights;
    int channels;               /* of the latent */
    int space_ratio;            /* pixels per latent, each way */
    int time_ratio;             /* frames = time_ratio (T - 1) + 1 */
    struct sdt_vae_tiling tile; /* the family's, where tiling is asked for without sizes */
};
enum sdt_status sdt_vae_open(const char *path, const struct sdt_opening *how, struct sdt_vae **vae,
                             struct sdt_error *err);
enum sdt_status sdt_vae_imagine(const char *config, enum sdt_dtype stored, struct sdt_vae **vae,
                                struct sdt_error *err);
void sdt_vae_close(struct sdt_vae *vae); /* NULL is fine */

/* ---- text encoder ---------------------------------------------------------------------------- */

struct sdt_text;
struct sdt_text_kind {
    const char *model_type;        /* config.json's */
    const struct sdt_files *files; /* as of a transformer */
    enum sdt_status (*open)(const struct sdt_config *config, const char *folder,
                            const struct sdt_opening *how, struct sdt_text **text,
                            struct sdt_error *err);
    void (*close)(struct sdt_text *text);
    /* A prompt as the tokenizer reads it: malloc'ed. NULL: as it is given. */
    enum sdt_status (*clean)(const char *prompt, char **cleaned, struct sdt_error *err);
    /* states = encoder(ids), computed in dtype (bfloat16 on GPUs only): the rows from `first` on,
     * or the one row of a pooled kind. SDT_ERROR_USAGE for an id out of range. Waits for each
     * layer; the result is there when it returns. */
    enum sdt_status (*encode)(struct sdt_flow *flow, struct sdt_text *text,
                              struct sdt_machine *machine, const struct sdt_place *place,
                              enum sdt_dtype dtype, const int32_t *ids /* [tokens] */, int tokens,
                              int first,
                              sdt_handle states /* [sdt_text_rows, width] float32, written */,
                              struct sdt_error *err);
    double (*flops)(const struct sdt_text *text, int tokens);
    /* Predicted peak bytes of a prompt's tokens at a place of that many workers, in that type: two
     * layers' weights, activations, work space and states. NULL: too few to count. */
    double (*bytes)(const struct sdt_text *text, enum sdt_device_kind kind, enum sdt_dtype dtype,
                    int workers, int tokens);
    /* How many of a place's workers encode a prompt side by side. NULL: 1. */
    int (*workers)(const struct sdt_text *text, const struct sdt_place *place);
    bool pooled; /* one row of states stands for the whole prompt */
};

/* An opened text encoder. The first member of what a kind allocates. */
struct sdt_text {
    const struct sdt_text_kind *kind;
    struct sdt_weights *weights;
    int layers, heads, width;
    int vocabulary; /* ids are 0..vocabulary-1 */
    int positions;  /* most tokens that it takes; 0: any number */
    int end;        /* id whose state stands for the whole text; 0: all states are kept */
    bool keep;      /* weights stay on the device when a prompt has been encoded */
    struct sdt_parameters *kept; /* those; NULL: none */
};
/* Rows of the states of so many tokens, from the `first` on. */
static inline int sdt_text_rows(const struct sdt_text *text, int tokens, int first) {
    return text->kind->pooled ? 1 : tokens - first;
}
enum sdt_status sdt_text_open(const char *path, const struct sdt_opening *how,
                              struct sdt_text **text, struct sdt_error *err);
enum sdt_status sdt_text_imagine(const char *config, enum sdt_dtype stored, struct sdt_text **text,
                                 struct sdt_error *err);
/* Drops weights that were kept: before the machine closes. NULL is fine. */
void sdt_text_let_go(struct sdt_text *text);
void sdt_text_close(struct sdt_text *text); /* NULL is fine */

/* ---- families -------------------------------------------------------------------------------- */

/* A published checkpoint by its configuration alone, for plans and simulations where it is not. */
struct sdt_size {
    const char *name;                /* "wan-1.3b" */
    const char *dit, *vae, *text[2]; /* texts of the config.json's */
    /* In which type its files hold them; 0: F32. */
    struct {
        enum sdt_dtype dit, vae, text[2];
    } stored;
};

/* How a pipeline puts a prompt to one of its text encoders. */
struct sdt_text_template {
    const char *before, *after; /* the cleaned prompt stands between them; NULL: nothing */
    bool bare_negative;         /* a negative prompt stands without them */
    int dropped; /* tokens in front whose states are left out, the tokenizer's included */
    int longest; /* tokens that are read at most, these included; 0: as many as the request's
                  * max_sequence_length behind those that are dropped */
    bool padding_counts; /* zero rows up to there are attended to */
};

/* What step caches know of a published checkpoint, as their authors measured it. */
struct sdt_calibration {
    const char *name;    /* "Wan2.1-T2V-1.3B" */
    int layers, width;   /* by which it is known */
    int steps, branches; /* that ratios were measured in */
    const double
        *ratios;      /* [steps, branches]: the mean magnitude of what the layers add, beside that
                              of the step before */
    double threshold; /* of the error, which is to stay below it */
    /* TeaCache: by what a step's change counts, powers of 4 to 0; of the time embedding, and of
     * what layers are modulated by. NULL: none is known. */
    const double *polynomial[2];
    int most;   /* steps skipped in a row */
    bool up_to; /* the error may also be as large as the threshold */
};

struct sdt_family {
    const char *pipeline_class; /* model_index.json's _class_name */
    const char *name;           /* for people: "Wan 2.1" */
    const struct sdt_dit_kind *dit;
    const struct sdt_vae_kind *vae;      /* NULL: its pipelines are not run */
    const struct sdt_text_kind *text[2]; /* folders text_encoder and text_encoder_2; NULL: none */
    struct sdt_text_template prompt[2];  /* of each */
    /* Whether the pipeline's other entries are what the family runs: SDT_ERROR_UNSUPPORTED. */
    enum sdt_status (*check)(const struct sdt_config *index, struct sdt_error *err);
    const struct sdt_size *sizes; /* up to one without a name */
    /* The files of its own repository, beside the transformer's folder that has config.json; names
     * without an ending, and the tokenizer's folder. NULL: none is known. */
    const char *original_vae, *original_text, *original_tokenizer;
    const struct sdt_calibration *calibrations; /* up to one without a name; NULL: none */
    struct sdt_request defaults; /* where neither the checkpoint nor the caller says */
};
/* All of them, then NULL. */
extern const struct sdt_family *const sdt_families[];
/* A family that a program brings along; programs without one leave it undefined. */
extern const struct sdt_family sdt__guest_family __attribute__((weak));
/* The family and size of that name; false: there is none. */
bool sdt_size_find(const char *name, const struct sdt_family **family,
                   const struct sdt_size **size);
/* By pipeline class: SDT_ERROR_UNSUPPORTED, which lists the known ones. */
enum sdt_status sdt_family_find(const char *pipeline_class, const char *path,
                                const struct sdt_family **family, struct sdt_error *err);
#endif

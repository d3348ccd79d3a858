/* An opened checkpoint: its components, for the files that plan and carry requests. What programs
 * see of it is in stardit/stardit.h. */
#ifndef STARDIT_PIPELINE_H
#define STARDIT_PIPELINE_H

#include "graph/models/family.h"
#include "graph/run/blocks.h"
#include "stardit/stardit.h"

struct sdt_config;
struct sdt_kernel_times;
struct sdt_tokenizer;

struct sdt_pipeline {
    char *folder;            /* or file; of an imagined size, its name */
    char *tokenizer_path[2]; /* NULL: what the text encoder's file holds */
    bool imagined;
    const struct sdt_family *family;
    struct sdt_config *defaults; /* stardit.json, NULL: none */
    struct sdt_dit *dit;
    struct sdt_vae *vae;
    struct sdt_text *text[2];           /* NULL: none */
    struct sdt_tokenizer *tokenizer[2]; /* opened when the first text needs it */
    enum sdt_sampler_kind sampler;      /* what the checkpoint's scheduler folder says */
    double flow_shift;
    bool distilled;                 /* to a few steps, as stardit.json says */
    struct sdt_changes *changes;    /* of its conditioning, for step caches (graph/caches.h) */
    struct sdt_kernel_times *times; /* of this model's kernels here (graph/plan/rates.h) */
};

/* sdt_pipeline_imagine with a transformer as if it had so many layers; 0: its own. */
enum sdt_status sdt__pipeline_imagine(const char *model, int layers, struct sdt_pipeline **pipeline,
                                      struct sdt_error *err);

/* The latent of a request, and its decoding, without a place. */
struct sdt_geometry sdt__geometry(const struct sdt_pipeline *pipeline,
                                  const struct sdt_request *request);
/* Its blocks under a strategy; all 0 where that has none. And what goes through the model at a
 * time: the latent, or a block's input. */
struct sdt_blocks sdt__blocks(const struct sdt_pipeline *pipeline,
                              const struct sdt_request *request,
                              const struct sdt_strategy *strategy);
struct sdt_geometry sdt__block_geometry(const struct sdt_pipeline *pipeline,
                                        const struct sdt_request *request,
                                        const struct sdt_blocks *blocks);
struct sdt_guidance sdt__guidance(const struct sdt_pipeline *pipeline,
                                  const struct sdt_request *request);
struct sdt_vae_job sdt__vae_job(const struct sdt_pipeline *pipeline,
                                const struct sdt_request *request);
struct sdt_sampler;
/* Its noise levels and what each step multiplies. Errors as sdt_sampler_init_levels. */
enum sdt_status sdt__sampler_of(const struct sdt_request *request, struct sdt_sampler *sampler,
                                struct sdt_error *err);
struct sdt_step_table;
/* What each of its steps runs: SDT_ERROR_USAGE for steps that it has not, SDT_ERROR_MEMORY. *table
 * is to be cleared, but after a failure. */
enum sdt_status sdt__step_table(const struct sdt_pipeline *pipeline,
                                const struct sdt_request *request, struct sdt_step_table *table,
                                struct sdt_error *err);
/* Is the latent decoded in tiles, by all devices that decode, or as a whole? */
bool sdt__decodes_tiles(const struct sdt_pipeline *pipeline, const struct sdt_request *request);
/* Sizes, text, tiling: SDT_ERROR_USAGE with what would work. */
enum sdt_status sdt__check_request(const struct sdt_pipeline *pipeline,
                                   const struct sdt_request *request, struct sdt_error *err);
/* If the request has text to be encoded: there are the encoders, and their tokenizers are open.
 * SDT_ERROR_MISSING, and errors as sdt_tokenizer_open. */
enum sdt_status sdt__prepare_text(struct sdt_pipeline *pipeline, const struct sdt_request *request,
                                  struct sdt_error *err);

/* ---- prompt.c: what a request says to each text encoder -------------------------------------- */

/* The input of one encoder for one branch, in the form that counts: the first that is there. */
struct sdt_text_input {
    const struct sdt_stored *embeds; /* its states */
    const int32_t *ids;              /* [count] the tokens of the whole text, or NULL */
    int count;
    const char *text; /* "" where nothing is given */
};
struct sdt_text_input sdt__text_input(const struct sdt_request *request, int branch, int encoder);
/* Tokens that the encoder reads at most, and those in front whose states are left out. */
int sdt__text_capacity(const struct sdt_pipeline *pipeline, const struct sdt_request *request,
                       int encoder);
int sdt__text_dropped(const struct sdt_pipeline *pipeline, int encoder);
/* The ids of a text as the family puts it to the encoder; *total as sdt_tokenize. */
enum sdt_status sdt__text_ids(const struct sdt_pipeline *pipeline, int encoder, bool negative,
                              const char *prompt, int capacity, int32_t *ids /* [capacity] */,
                              int *count, int *total, struct sdt_error *err);
/* FLOPs of encoding one branch's text where the first encoder's states have so many rows. */
double sdt__text_flops(const struct sdt_pipeline *pipeline, const struct sdt_request *request,
                       int encoder, int rows);
/* Peak bytes of encoding a request's text, by the encoder that needs most, at a place of so many
 * workers; 0: all of it is given. */
double sdt__text_bytes(const struct sdt_pipeline *pipeline, const struct sdt_request *request,
                       enum sdt_device_kind kind, enum sdt_dtype dtype, int workers);
/* Given embeddings and token ids: SDT_ERROR_USAGE. */
enum sdt_status sdt__check_prompt(const struct sdt_pipeline *pipeline,
                                  const struct sdt_request *request, struct sdt_error *err);
#endif

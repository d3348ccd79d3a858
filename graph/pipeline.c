/* Opening a checkpoint: its components, checked against one another, and its defaults. */
#include "graph/pipeline.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "graph/checkpoint/config.h"
#include "graph/checkpoint/folder.h"
#include "graph/checkpoint/weights.h"
#include "graph/plan/rates.h"
#include "graph/sampler/sampler.h"
#include "graph/strategies/strategy.h"
#include "graph/text/tokenizer.h"

/* ---- opening --------------------------------------------------------------------------------- */

static bool folder_exists(const char *folder, const char *name) {
    char *path = sdt_checkpoint_path(folder, name);
    bool there = path && access(path, F_OK) == 0;
    free(path);
    return there;
}

/* The family that model_index.json names. */
static enum sdt_status read_index(struct sdt_pipeline *pipeline, const char *path,
                                  struct sdt_error *err) {
    struct sdt_config *index = NULL;
    const char *class_name = "";
    enum sdt_status status = sdt_config_open(path, &index, err);
    if (status == SDT_OK)
        status = sdt_config_string(index, "_class_name", true, &class_name, err);
    if (status == SDT_OK)
        status = sdt_family_find(class_name, path, &pipeline->family, err);
    if (status == SDT_OK && pipeline->family->check)
        status = pipeline->family->check(index, err);
    sdt_config_close(index);
    return status;
}

/* Do the components fit together? */
static enum sdt_status check_components(const struct sdt_pipeline *pipeline,
                                        struct sdt_error *err) {
    const struct sdt_dit *dit = pipeline->dit;
    const struct sdt_vae *vae = pipeline->vae;
    if (dit->channels != vae->channels)
        return sdt_fail(err, SDT_ERROR_FORMAT,
                        "%s: the transformer works on %d latent channels, the VAE on %d",
                        pipeline->folder, dit->channels, vae->channels);
    if (pipeline->text && dit->text_dim != pipeline->text->width)
        return sdt_fail(err, SDT_ERROR_FORMAT,
                        "%s: the transformer reads text states of width %d, the text encoder "
                        "writes %d",
                        pipeline->folder, dit->text_dim, pipeline->text->width);
    return SDT_OK;
}

static bool has_variant(const struct sdt_pipeline *pipeline) {
    return sdt_weights_is_variant(pipeline->dit->weights) ||
           sdt_weights_is_variant(pipeline->vae->weights) ||
           (pipeline->text && sdt_weights_is_variant(pipeline->text->weights));
}

/* What is in <folder>/<name>, by whichever function opens such a thing. */
#define OPEN(name, call)                                                                           \
    do {                                                                                           \
        char *path = sdt_checkpoint_path(pipeline->folder, name);                                  \
        status = path ? (call)                                                                     \
                      : sdt_fail(err, SDT_ERROR_MEMORY, "out of memory while opening %s", model);  \
        free(path);                                                                                \
        if (status != SDT_OK)                                                                      \
            goto out;                                                                              \
    } while (0)

/* A pipeline without components; NULL: out of memory. */
static struct sdt_pipeline *new_pipeline(bool imagined) {
    struct sdt_pipeline *pipeline = calloc(1, sizeof *pipeline);
    if (!pipeline)
        return NULL;
    pipeline->imagined = imagined;
    pipeline->times = sdt__kernel_times_new();
    if (pipeline->times)
        return pipeline;
    free(pipeline);
    return NULL;
}

static void take_defaults(struct sdt_pipeline *pipeline) {
    pipeline->sampler = pipeline->family->defaults.sampler;
    pipeline->flow_shift = pipeline->family->defaults.flow_shift;
}

/* Hands out a whole pipeline, and closes one that failed. */
static enum sdt_status hand_out(struct sdt_pipeline *pipeline, enum sdt_status status,
                                struct sdt_pipeline **out) {
    *out = status == SDT_OK ? pipeline : NULL;
    if (status != SDT_OK)
        sdt_pipeline_close(pipeline);
    return status;
}

static enum sdt_status open_as(const char *model, const struct sdt_opening *how, int layers,
                               struct sdt_pipeline **out, struct sdt_error *err) {
    enum sdt_status status;
    struct sdt_pipeline *pipeline = new_pipeline(how->imagined);

    *out = NULL;
    if (!pipeline)
        return sdt_fail(err, SDT_ERROR_MEMORY, "out of memory while opening %s", model);
    status = sdt_checkpoint_find(model, &pipeline->folder, err);
    if (status != SDT_OK)
        goto out;
    OPEN("model_index.json", read_index(pipeline, path, err));
    take_defaults(pipeline);
    if (folder_exists(pipeline->folder, "scheduler"))
        OPEN("scheduler", sdt_sampler_read(path, &pipeline->sampler, &pipeline->flow_shift, err));
    OPEN("transformer", sdt_dit_open(path, how, layers, &pipeline->dit, err));
    OPEN("vae", sdt_vae_open(path, how, &pipeline->vae, err));
    if (folder_exists(pipeline->folder, "text_encoder"))
        OPEN("text_encoder", sdt_text_open(path, how, &pipeline->text, err));
    if (folder_exists(pipeline->folder, "stardit.json"))
        OPEN("stardit.json", sdt_config_open(path, &pipeline->defaults, err));
    status = check_components(pipeline, err);
    if (status == SDT_OK && how->variant && !has_variant(pipeline))
        status = sdt_fail(err, SDT_ERROR_MISSING, "%s: no component has files of the variant %s",
                          model, how->variant);
out:
    if (status == SDT_ERROR_MISSING && err && pipeline->folder && strcmp(model, pipeline->folder)) {
        const struct sdt_error found = *err; /* in a cache, which may be half filled */
        sdt_fail(err, status, "%s; where the download was interrupted, hf download goes on with it",
                 found.message);
    }
    return hand_out(pipeline, status, out);
}

enum sdt_status sdt_pipeline_open(const char *model, struct sdt_pipeline **pipeline,
                                  struct sdt_error *err) {
    return sdt_pipeline_open_variant(model, NULL, pipeline, err);
}

enum sdt_status sdt_pipeline_open_variant(const char *model, const char *variant,
                                          struct sdt_pipeline **pipeline, struct sdt_error *err) {
    const struct sdt_opening how = {.variant = variant};
    return open_as(model, &how, 0, pipeline, err);
}

/* A published size, from the texts that its family holds. */
static enum sdt_status imagine_size(const struct sdt_family *family, const struct sdt_size *size,
                                    int layers, struct sdt_pipeline **out, struct sdt_error *err) {
    struct sdt_pipeline *pipeline = new_pipeline(true);
    enum sdt_status status;

    if (pipeline)
        pipeline->folder = strdup(size->name);
    if (!pipeline || !pipeline->folder)
        return hand_out(pipeline,
                        sdt_fail(err, SDT_ERROR_MEMORY, "out of memory for %s", size->name), out);
    pipeline->family = family;
    take_defaults(pipeline);
    status = sdt_dit_imagine(size->dit, layers, &pipeline->dit, err);
    if (status == SDT_OK)
        status = sdt_vae_imagine(size->vae, &pipeline->vae, err);
    if (status == SDT_OK && size->text[0])
        status = sdt_text_imagine(size->text[0], &pipeline->text, err);
    if (status == SDT_OK)
        status = check_components(pipeline, err);
    return hand_out(pipeline, status, out);
}

enum sdt_status sdt_pipeline_imagine(const char *model, struct sdt_pipeline **pipeline,
                                     struct sdt_error *err) {
    return sdt__pipeline_imagine(model, 0, pipeline, err);
}

enum sdt_status sdt__pipeline_imagine(const char *model, int layers, struct sdt_pipeline **pipeline,
                                      struct sdt_error *err) {
    const struct sdt_family *family;
    const struct sdt_size *size;
    if (sdt_size_find(model, &family, &size))
        return imagine_size(family, size, layers, pipeline, err);
    const struct sdt_opening how = {.imagined = true};
    return open_as(model, &how, layers, pipeline, err);
}

enum sdt_status sdt__prepare_text(struct sdt_pipeline *pipeline, const struct sdt_request *request,
                                  struct sdt_error *err) {
    bool negative = sdt__forwards(pipeline, request) == 2 && !request->negative_prompt_embeds;
    bool text = !request->prompt_embeds && !request->token_ids;

    if (request->steps == 0 || (request->prompt_embeds && !negative) || pipeline->imagined)
        return SDT_OK;
    if (!pipeline->text)
        return sdt_fail(err, SDT_ERROR_MISSING,
                        "%s has no text_encoder folder; %s prompt embeddings would work",
                        pipeline->folder, request->prompt_embeds ? "negative" : "given");
    if (pipeline->tokenizer || (!text && !negative))
        return SDT_OK;
    char *folder = sdt_checkpoint_path(pipeline->folder, "tokenizer");
    if (!folder)
        return sdt_fail(err, SDT_ERROR_MEMORY, "out of memory for the tokenizer of %s",
                        pipeline->folder);
    enum sdt_status status = sdt_tokenizer_open(folder, &pipeline->tokenizer, err);
    free(folder);
    return status;
}

void sdt_pipeline_close(struct sdt_pipeline *pipeline) {
    if (!pipeline)
        return;
    sdt_config_close(pipeline->defaults);
    sdt_dit_close(pipeline->dit);
    sdt_vae_close(pipeline->vae);
    sdt_text_close(pipeline->text);
    sdt_tokenizer_close(pipeline->tokenizer);
    sdt__kernel_times_free(pipeline->times);
    free(pipeline->folder);
    free(pipeline);
}

const char *sdt_pipeline_folder(const struct sdt_pipeline *pipeline) { return pipeline->folder; }

struct sdt_model sdt_pipeline_model(const struct sdt_pipeline *pipeline) {
    const struct sdt_dit *dit = pipeline->dit;
    return (struct sdt_model){.family = pipeline->family->name,
                              .channels = dit->channels,
                              .space_ratio = pipeline->vae->space_ratio,
                              .time_ratio = pipeline->vae->time_ratio,
                              .patch = {dit->patch[0], dit->patch[1], dit->patch[2]},
                              .layers = dit->layers,
                              .heads = dit->heads,
                              .head_dim = dit->head_dim,
                              .text_dim = dit->text_dim,
                              .vocabulary = pipeline->text ? pipeline->text->vocabulary : 0};
}

int sdt_pipeline_tokens(const struct sdt_pipeline *pipeline, const char *prompt) {
    int32_t ids[2];
    int count, total = 0;
    char *cleaned = NULL;
    if (prompt && pipeline->tokenizer && sdt_prompt_clean(prompt, &cleaned, NULL) == SDT_OK &&
        sdt_tokenize(pipeline->tokenizer, cleaned, 2, ids, &count, &total, NULL) != SDT_OK)
        total = 0;
    free(cleaned);
    return total;
}

enum sdt_status sdt_pipeline_defaults(struct sdt_pipeline *pipeline, struct sdt_request *request,
                                      struct sdt_error *err) {
    const struct sdt_config *json = pipeline->defaults;
    enum sdt_status status = SDT_OK;

    *request = pipeline->family->defaults;
    request->flow_shift = pipeline->flow_shift;
    request->sampler = pipeline->sampler;
    request->strategy = sdt_strategy_default();
    int64_t height = request->height, width = request->width, frames = request->num_frames;
    int64_t steps = request->steps, text = request->max_sequence_length;
    if (json) {
#define NEXT(call)                                                                                 \
    if (status == SDT_OK)                                                                          \
    status = (call)
        NEXT(sdt_config_int(json, "height", false, 1, 1 << 16, &height, err));
        NEXT(sdt_config_int(json, "width", false, 1, 1 << 16, &width, err));
        NEXT(sdt_config_int(json, "num_frames", false, 1, 1 << 20, &frames, err));
        NEXT(sdt_config_int(json, "num_inference_steps", false, 1, 1000, &steps, err));
        NEXT(sdt_config_int(json, "max_sequence_length", false, 1, 4096, &text, err));
        NEXT(sdt_config_number(json, "guidance_scale", false, &request->guidance_scale, err));
        NEXT(sdt_config_number(json, "flow_shift", false, &request->flow_shift, err));
        NEXT(sdt_config_number(json, "fps", false, &request->fps, err));
        NEXT(sdt_config_string(json, "negative_prompt", false, &request->negative_prompt, err));
#undef NEXT
    }
    request->height = (int)height;
    request->width = (int)width;
    request->num_frames = (int)frames;
    request->steps = (int)steps;
    request->max_sequence_length = (int)text;
    return status;
}

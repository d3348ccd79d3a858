/* Opening a checkpoint: its components, checked against one another, and its defaults. */
#include "graph/opened.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "graph/checkpoint/config.h"
#include "graph/checkpoint/folder.h"
#include "graph/text/tokenizer.h"

/* ---- opening --------------------------------------------------------------------------------- */

static bool folder_exists(const char *folder, const char *name) {
    char *path = sdt_checkpoint_path(folder, name);
    bool there = path && access(path, F_OK) == 0;
    free(path);
    return there;
}

/* Opens <folder>/<name> by `open`, any of the component openers. */
#define OPEN(open, name, component)                                                                \
    do {                                                                                           \
        char *path = sdt_checkpoint_path(pipeline->folder, name);                                  \
        status = path ? open(path, component, err)                                                 \
                      : sdt_fail(err, SDT_ERROR_MEMORY, "out of memory while opening %s", model);  \
        free(path);                                                                                \
        if (status != SDT_OK)                                                                      \
            goto out;                                                                              \
    } while (0)

/* What model_index.json must say. */
static enum sdt_status check_index(const char *path, struct sdt_error *err) {
    struct sdt_config *index = NULL;
    const char *class_name = "", *second = NULL;
    enum sdt_status status = sdt_config_open(path, &index, err);
    if (status != SDT_OK)
        return status;
    status = sdt_config_string(index, "_class_name", true, &class_name, err);
    if (status == SDT_OK && strcmp(class_name, "WanPipeline"))
        status =
            sdt_fail(err, SDT_ERROR_UNSUPPORTED,
                     "%s: the pipeline is %s; this version runs WanPipeline", path, class_name);
    if (status == SDT_OK)
        status = sdt_config_only(index, "boundary_ratio", "null", err);
    if (status == SDT_OK)
        status = sdt_config_only(index, "expand_timesteps", "false", err);
    if (status == SDT_OK && sdt_config_has(index, "transformer_2"))
        status = sdt_config_string_at(index, "transformer_2", 0, &second, err);
    if (status == SDT_OK && second)
        status =
            sdt_fail(err, SDT_ERROR_UNSUPPORTED,
                     "%s: transformer_2 is set; models with two transformers (Wan 2.2) are not "
                     "supported",
                     path);
    sdt_config_close(index);
    return status;
}

enum sdt_status sdt_pipeline_open(const char *model, struct sdt_pipeline **out,
                                  struct sdt_error *err) {
    enum sdt_status status = SDT_OK;
    struct sdt_pipeline *pipeline = calloc(1, sizeof *pipeline);
    char *index = NULL;

    *out = NULL;
    if (!pipeline)
        return sdt_fail(err, SDT_ERROR_MEMORY, "out of memory while opening %s", model);
    status = sdt_checkpoint_find(model, &pipeline->folder, err);
    if (status != SDT_OK)
        goto out;
    index = sdt_checkpoint_path(pipeline->folder, "model_index.json");
    status = index ? check_index(index, err)
                   : sdt_fail(err, SDT_ERROR_MEMORY, "out of memory while opening %s", model);
    if (status != SDT_OK)
        goto out;
    pipeline->sampler = SDT_SAMPLER_UNIPC;
    pipeline->flow_shift = 3.0;
    if (folder_exists(pipeline->folder, "scheduler")) {
        char *path = sdt_checkpoint_path(pipeline->folder, "scheduler");
        status = path ? sdt_sampler_read(path, &pipeline->sampler, &pipeline->flow_shift, err)
                      : sdt_fail(err, SDT_ERROR_MEMORY, "out of memory while opening %s", model);
        free(path);
        if (status != SDT_OK)
            goto out;
    }
    OPEN(sdt_wan_open, "transformer", &pipeline->transformer);
    OPEN(sdt_wan_vae_open, "vae", &pipeline->vae);
    if (folder_exists(pipeline->folder, "text_encoder"))
        OPEN(sdt_umt5_open, "text_encoder", &pipeline->text_encoder);
    if (folder_exists(pipeline->folder, "stardit.json"))
        OPEN(sdt_config_open, "stardit.json", &pipeline->defaults);

    const struct sdt_wan_config *c = sdt_wan_config(pipeline->transformer);
    if (c->in_channels != sdt_wan_vae_channels(pipeline->vae))
        status = sdt_fail(err, SDT_ERROR_FORMAT,
                          "%s: the transformer works on %d latent channels, the VAE on %d",
                          pipeline->folder, c->in_channels, sdt_wan_vae_channels(pipeline->vae));
    else if (pipeline->text_encoder && c->text_dim != sdt_umt5_width(pipeline->text_encoder))
        status = sdt_fail(err, SDT_ERROR_FORMAT,
                          "%s: the transformer reads text states of width %d, the text encoder "
                          "writes %d",
                          pipeline->folder, c->text_dim, sdt_umt5_width(pipeline->text_encoder));
out:
    free(index);
    if (status != SDT_OK) {
        sdt_pipeline_close(pipeline);
        return status;
    }
    *out = pipeline;
    return SDT_OK;
}

enum sdt_status sdt__prepare_text(struct sdt_pipeline *pipeline, const struct sdt_request *request,
                                  struct sdt_error *err) {
    bool negative = sdt__forwards(request) == 2 && !request->negative_prompt_embeds;
    bool text = !request->prompt_embeds && !request->token_ids;

    if (request->steps == 0 || (request->prompt_embeds && !negative))
        return SDT_OK;
    if (!pipeline->text_encoder)
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
    sdt_wan_close(pipeline->transformer);
    sdt_wan_vae_close(pipeline->vae);
    sdt_umt5_close(pipeline->text_encoder);
    sdt_tokenizer_close(pipeline->tokenizer);
    free(pipeline->folder);
    free(pipeline);
}

const char *sdt_pipeline_folder(const struct sdt_pipeline *pipeline) { return pipeline->folder; }

struct sdt_wan *sdt_pipeline_transformer(const struct sdt_pipeline *pipeline) {
    return pipeline->transformer;
}

struct sdt_wan_vae *sdt_pipeline_vae(const struct sdt_pipeline *pipeline) {
    return pipeline->vae;
}

struct sdt_umt5 *sdt_pipeline_text_encoder(const struct sdt_pipeline *pipeline) {
    return pipeline->text_encoder;
}

enum sdt_status sdt_pipeline_defaults(struct sdt_pipeline *pipeline, struct sdt_request *request,
                                      struct sdt_error *err) {
    const struct sdt_config *json = pipeline->defaults;
    enum sdt_status status = SDT_OK;
    int64_t height = 480, width = 832, frames = 81, steps = 50, text = 512;

    *request = (struct sdt_request){.negative_prompt = "",
                                    .guidance_scale = 5.0,
                                    .flow_shift = pipeline->flow_shift,
                                    .fps = 16.0,
                                    .sampler = pipeline->sampler,
                                    .schedule = SDT_SCHEDULE_NEW,
                                    .strategy = sdt_strategy_find("ulysses")};
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

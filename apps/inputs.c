/* Reading what a request is made of. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "apps/inputs.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "apps/read.h"
#include "stardit/safetensors.h"

void app_inputs_clear(struct app_inputs *inputs) {
    for (int i = 0; i <= APP_MOST_STRINGS; i++)
        free(inputs->file_text[i]);
    free(inputs->negative_prompt);
    free(inputs->ids);
    free(inputs->ids_2);
    free(inputs->latents);
    sdt_safetensors_close(inputs->embeds_file[0]);
    sdt_safetensors_close(inputs->embeds_file[1]);
    sdt_safetensors_close(inputs->latents_file);
    *inputs = (struct app_inputs){0};
}

/* ---- reading inputs -------------------------------------------------------------------------- */

/* Every --prompt, and every line of --prompt-file that is not blank. */
static enum sdt_status read_prompts(const struct app_settings *s, struct app_inputs *inputs,
                                    struct sdt_error *err) {
    enum sdt_status status = SDT_OK;

    for (int i = 0; i < s->prompts.count && status == SDT_OK; i++)
        status = app_read_prompt("prompt", s->prompts.item[i], &inputs->file_text[i],
                                 &inputs->prompts[inputs->count++], err);
    if (status != SDT_OK || !s->prompt_file)
        return status;
    int read = 0;
    status = app_read_lines("prompt-file", s->prompt_file, APP_MOST_PROMPTS - inputs->count,
                            &inputs->file_text[APP_MOST_STRINGS], &inputs->prompts[inputs->count],
                            &read, err);
    if (status != SDT_OK)
        return status;
    inputs->count += read;
    return SDT_OK;
}

/* Sizes that the command line leaves out follow from the latent. */
static enum sdt_status read_latents(const struct app_settings *s, struct sdt_pipeline *pipeline,
                                    struct sdt_request *request, struct app_inputs *inputs,
                                    struct sdt_error *err) {
    const struct sdt_stored *tensor;
    struct sdt_model model = sdt_pipeline_model(pipeline);
    int space = model.space_ratio, time = model.time_ratio, channels = model.channels;
    enum sdt_status status =
        app_read_tensor("latents", s->latents, "latent", &inputs->latents_file, &tensor, err);

    if (status != SDT_OK)
        return status;
    const int64_t *shape = tensor->shape + (tensor->rank == 5);
    bool fits =
        (tensor->rank == 4 || (tensor->rank == 5 && tensor->shape[0] == 1)) && shape[0] == channels;
    for (int i = 1; fits && i < 4; i++)
        fits = shape[i] >= 1 && shape[i] <= 65536 / space;
    if (!fits)
        return sdt_fail(err, SDT_ERROR_USAGE,
                        "--latents %s: tensor %.80s must have the shape [1, %d, frames, height, "
                        "width] for this checkpoint",
                        s->latents, tensor->name, channels);
    int frames = (int)(shape[1] - 1) * time + 1, height = (int)shape[2] * space;
    int width = (int)shape[3] * space;
    if (!app_settings_given("num-frames"))
        request->num_frames = frames;
    if (!app_settings_given("height"))
        request->height = height;
    if (!app_settings_given("width"))
        request->width = width;
    if (request->num_frames != frames || request->height != height || request->width != width)
        return sdt_fail(
            err, SDT_ERROR_USAGE,
            "--latents %s: is a latent of %d frame%s of %dx%d (height x width) and not of "
            "the %d frame%s of %dx%d asked for",
            s->latents, frames, frames == 1 ? "" : "s", height, width, request->num_frames,
            request->num_frames == 1 ? "" : "s", request->height, request->width);
    char what[300];
    snprintf(what, sizeof what, "--latents %s", s->latents);
    status = sdt_stored_check_finite(what, tensor, err);
    if (status == SDT_OK)
        status = sdt_stored_floats(tensor, &inputs->latents, err);
    request->latents = inputs->latents;
    return status;
}

/* ---- the request ----------------------------------------------------------------------------- */

/* Three quarters of a tile; the smallest ones do not overlap. */
static int stride_of(int size) { return size < 16 ? size : size * 3 / 4 / 8 * 8; }

static enum sdt_status make_tiling(const struct app_settings *s, struct sdt_vae_tiling *tiling,
                                   struct sdt_error *err) {
    enum sdt_status status = SDT_OK;

    *tiling = (struct sdt_vae_tiling){0};
    if (!s->tiling && !s->tile_size && !s->tile_stride)
        return SDT_OK;
    *tiling = (struct sdt_vae_tiling){256, 256, 192, 192}; /* the family's */
    if (s->tile_size) {
        status =
            app_read_tile("tile-size", s->tile_size, &tiling->size_rows, &tiling->size_cols, err);
        tiling->stride_rows = stride_of(tiling->size_rows);
        tiling->stride_cols = stride_of(tiling->size_cols);
    }
    if (status == SDT_OK && s->tile_stride)
        status = app_read_tile("tile-stride", s->tile_stride, &tiling->stride_rows,
                               &tiling->stride_cols, err);
    return status;
}

/* The row of a second text encoder, which lies in the same file under a name of its own. */
static enum sdt_status read_pooled(const char *what, bool negative, struct sdt_request *request,
                                   struct app_inputs *inputs, struct sdt_error *err) {
    const struct sdt_stored *tensor =
        sdt_safetensors_find(inputs->embeds_file[negative],
                             negative ? "negative_pooled_prompt_embeds" : "pooled_prompt_embeds");
    if (!tensor)
        return SDT_OK;
    enum sdt_status status = app_check_floats(what, tensor, err);
    if (status == SDT_OK)
        status = sdt_stored_check_finite(what, tensor, err);
    inputs->pooled[negative] = *tensor;
    if (negative)
        request->negative_pooled_prompt_embeds = &inputs->pooled[negative];
    else
        request->pooled_prompt_embeds = &inputs->pooled[negative];
    return status;
}

/* The files of --prompt-embeds and --negative-prompt-embeds. */
static enum sdt_status read_embeds(const struct app_settings *s,
                                   const struct sdt_pipeline *pipeline, struct sdt_request *request,
                                   struct app_inputs *inputs, struct sdt_error *err) {
    enum sdt_status status = SDT_OK;
    const char *paths[] = {s->prompt_embeds, s->negative_embeds};
    for (int i = 0; i < 2 && status == SDT_OK; i++) {
        const struct sdt_stored *tensor;
        if (!paths[i])
            continue;
        status = app_read_tensor(i ? "negative-prompt-embeds" : "prompt-embeds", paths[i],
                                 i ? "negative_prompt_embeds" : "prompt_embeds",
                                 &inputs->embeds_file[i], &tensor, err);
        char what[300];
        snprintf(what, sizeof what, "--%sprompt-embeds %s", i ? "negative-" : "", paths[i]);
        if (status == SDT_OK)
            status = sdt_stored_check_finite(what, tensor, err);
        if (status != SDT_OK)
            break;
        inputs->embeds[i] = *tensor;
        if (i)
            request->negative_prompt_embeds = &inputs->embeds[i];
        else
            request->prompt_embeds = &inputs->embeds[i];
        if (sdt_pipeline_model(pipeline).pooled_dim)
            status = read_pooled(what, i == 1, request, inputs, err);
    }
    return status;
}

static enum sdt_status read_ids(const struct app_settings *s, const struct sdt_pipeline *pipeline,
                                struct sdt_request *request, struct app_inputs *inputs,
                                struct sdt_error *err) {
    const struct sdt_model model = sdt_pipeline_model(pipeline);
    enum sdt_status status = SDT_OK;
    if (s->token_ids && !model.vocabulary)
        return sdt_fail(err, SDT_ERROR_USAGE,
                        "--token-ids: %s has no text_encoder; --prompt-embeds would work",
                        sdt_pipeline_folder(pipeline));
    if (s->token_ids_2 && !model.vocabulary_2)
        return sdt_fail(err, SDT_ERROR_USAGE, "--token-ids-2: %s has no second text encoder",
                        sdt_pipeline_folder(pipeline));
    if (s->token_ids)
        status = app_read_ids("token-ids", s->token_ids, model.vocabulary, &inputs->ids,
                              &request->token_count, err);
    if (status == SDT_OK && s->token_ids_2)
        status = app_read_ids("token-ids-2", s->token_ids_2, model.vocabulary_2, &inputs->ids_2,
                              &request->token_count_2, err);
    request->token_ids = inputs->ids;
    request->token_ids_2 = inputs->ids_2;
    return status;
}

/* Before the negative prompt has been read. */
static int forwards_of(const struct app_settings *s, const struct sdt_pipeline *pipeline,
                       const struct sdt_request *request) {
    struct sdt_request asked = *request;
    if (s->negative_prompt || s->negative_embeds)
        asked.negative_prompt = "";
    return sdt_pipeline_forwards(pipeline, &asked);
}

/* A negative prompt and a scale of true guidance that would be ignored. */
static enum sdt_status check_guidance(const struct app_settings *s,
                                      const struct sdt_pipeline *pipeline,
                                      const struct sdt_request *request, struct sdt_error *err) {
    const bool input = sdt_pipeline_model(pipeline).guidance_is_input;
    const bool negative = s->negative_prompt || s->negative_embeds;
    if (app_settings_given("true-cfg-scale") && !input)
        return sdt_fail(err, SDT_ERROR_USAGE,
                        "--true-cfg-scale: guidance of %s is by two forwards already; "
                        "--guidance-scale sets it",
                        sdt_pipeline_model(pipeline).family);
    if (app_settings_given("true-cfg-scale") && !negative && !request->negative_prompt)
        return sdt_fail(err, SDT_ERROR_USAGE,
                        "--true-cfg-scale: goes with --negative-prompt or "
                        "--negative-prompt-embeds, since guidance of %s is one forward",
                        sdt_pipeline_model(pipeline).family);
    if (request->steps == 0 || !negative || forwards_of(s, pipeline, request) > 1)
        return SDT_OK;
    return input
               ? sdt_fail(err, SDT_ERROR_USAGE,
                          "--negative-prompt: guidance of %s is one forward; --true-cfg-scale "
                          "above 1 makes them two",
                          sdt_pipeline_model(pipeline).family)
               : sdt_fail(err, SDT_ERROR_USAGE,
                          "--negative-prompt: a guidance scale of %g takes none; one above 1 does",
                          request->guidance_scale);
}

enum sdt_status app_make_request(struct app_settings *s, struct sdt_pipeline *pipeline,
                                 struct sdt_request *request, struct app_inputs *inputs,
                                 struct sdt_error *err) {
    enum sdt_status status = sdt_pipeline_defaults(pipeline, request, err);

    if (status != SDT_OK)
        return status;
#define OVERRIDE(name, field)                                                                      \
    if (app_settings_given(name))                                                                  \
    request->field = s->field
    OVERRIDE("height", height);
    OVERRIDE("width", width);
    OVERRIDE("num-frames", num_frames);
    OVERRIDE("num-inference-steps", steps);
    OVERRIDE("guidance-scale", guidance_scale);
    OVERRIDE("true-cfg-scale", true_cfg_scale);
    OVERRIDE("flow-shift", flow_shift);
    OVERRIDE("fps", fps);
    OVERRIDE("max-sequence-length", max_sequence_length);
#undef OVERRIDE
    request->seed = s->seed;
    if (s->sampler)
        request->sampler = !strcmp(s->sampler, "euler")     ? SDT_SAMPLER_EULER
                           : !strcmp(s->sampler, "unipc")   ? SDT_SAMPLER_UNIPC
                           : !strcmp(s->sampler, "renoise") ? SDT_SAMPLER_RENOISE
                                                            : SDT_SAMPLER_EULER_ANCESTRAL;
    if (s->schedule)
        request->schedule = !strcmp(s->schedule, "old")      ? SDT_SCHEDULE_OLD
                            : !strcmp(s->schedule, "linear") ? SDT_SCHEDULE_LINEAR
                                                             : SDT_SCHEDULE_NEW;
    status =
        app_steps_take(&s->step_table, app_settings_given("num-inference-steps"), request, err);
    if (status == SDT_OK)
        status = make_tiling(s, &request->tiling, err);
    if (status == SDT_OK && s->latents)
        status = read_latents(s, pipeline, request, inputs, err);
    if (status == SDT_OK)
        status = read_prompts(s, inputs, err);
    if (status == SDT_OK)
        status = check_guidance(s, pipeline, request, err);
    const bool two = forwards_of(s, pipeline, request) > 1;
    const bool text = !s->prompt_embeds || (two && !s->negative_embeds);
    if (status == SDT_OK && !text && !s->state && app_settings_given("max-sequence-length"))
        status = sdt_fail(err, SDT_ERROR_USAGE,
                          "--max-sequence-length: beside --prompt-embeds no text is read");
    request->prompt = inputs->prompts[0];
    inputs->count += inputs->count == 0; /* token ids, embeddings or a latent alone */
    if (status == SDT_OK && s->negative_prompt)
        status = app_read_prompt("negative-prompt", s->negative_prompt, &inputs->negative_prompt,
                                 &request->negative_prompt, err);
    if (status == SDT_OK)
        status = read_ids(s, pipeline, request, inputs, err);
    if (status == SDT_OK)
        status = read_embeds(s, pipeline, request, inputs, err);
    return status;
}

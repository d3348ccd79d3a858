/* One prompt's way: text states, noise, denoising, latent, frames. Each phase is tasks on the machine; between
 * phases the latent is on the host, so that nothing is lost when a later phase fails. */
#include "graph/pipeline.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "graph/checkpoint/config.h"
#include "graph/checkpoint/folder.h"
#include "graph/checkpoint/tokenizer.h"
#include "graph/denoise.h"

struct sdt_pipeline {
    char *folder;
    struct sdt_config *defaults;   /* stardit.json, NULL: none */
    struct sdt_wan *transformer;
    struct sdt_wan_vae *vae;
    struct sdt_umt5 *text_encoder; /* NULL: none */
    enum sdt_sampler_kind sampler;
    double flow_shift;
};

/* ---- opening --------------------------------------------------------------------------------- */

static bool folder_exists(const char *folder, const char *name)
{
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
static enum sdt_status check_index(const char *path, struct sdt_error *err)
{
    struct sdt_config *index = NULL;
    const char *class_name = "", *second = NULL;
    enum sdt_status status = sdt_config_open(path, &index, err);
    if (status != SDT_OK)
        return status;
    status = sdt_config_string(index, "_class_name", true, &class_name, err);
    if (status == SDT_OK && strcmp(class_name, "WanPipeline"))
        status = sdt_fail(err, SDT_ERROR_UNSUPPORTED,
                          "%s: the pipeline is %s; this version runs WanPipeline", path, class_name);
    if (status == SDT_OK)
        status = sdt_config_only(index, "boundary_ratio", "null", err);
    if (status == SDT_OK)
        status = sdt_config_only(index, "expand_timesteps", "false", err);
    if (status == SDT_OK && sdt_config_has(index, "transformer_2"))
        status = sdt_config_string_at(index, "transformer_2", 0, &second, err);
    if (status == SDT_OK && second)
        status = sdt_fail(err, SDT_ERROR_UNSUPPORTED,
                          "%s: transformer_2 is set; models with two transformers (Wan 2.2) are not "
                          "supported",
                          path);
    sdt_config_close(index);
    return status;
}

enum sdt_status sdt_pipeline_open(const char *model, struct sdt_pipeline **out, struct sdt_error *err)
{
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

void sdt_pipeline_close(struct sdt_pipeline *pipeline)
{
    if (!pipeline)
        return;
    sdt_config_close(pipeline->defaults);
    sdt_wan_close(pipeline->transformer);
    sdt_wan_vae_close(pipeline->vae);
    sdt_umt5_close(pipeline->text_encoder);
    free(pipeline->folder);
    free(pipeline);
}

const char *sdt_pipeline_folder(const struct sdt_pipeline *pipeline)
{
    return pipeline->folder;
}

struct sdt_wan *sdt_pipeline_transformer(const struct sdt_pipeline *pipeline)
{
    return pipeline->transformer;
}

struct sdt_wan_vae *sdt_pipeline_vae(const struct sdt_pipeline *pipeline)
{
    return pipeline->vae;
}

struct sdt_umt5 *sdt_pipeline_text_encoder(const struct sdt_pipeline *pipeline)
{
    return pipeline->text_encoder;
}

enum sdt_status sdt_pipeline_defaults(struct sdt_pipeline *pipeline, struct sdt_request *request,
                                      struct sdt_error *err)
{
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

/* ---- plan ------------------------------------------------------------------------------------ */

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* FLOP/s of one worker: the best of a few products shaped like a tile's. */
static double measure_speed(void)
{
    enum { ROWS = 128, WIDTH = 512 };
    float *x = calloc(ROWS * WIDTH, sizeof *x), *w = calloc(WIDTH * WIDTH, sizeof *w);
    float *y = calloc(ROWS * WIDTH, sizeof *y);
    double best = 1e9; /* a guess, should there be no memory */
    sdt_kernels_init();
    for (int i = 0; x && w && y && i < 8; i++) {
        double start = now();
        sdt_linear(ROWS, WIDTH, WIDTH, x, w, NULL, SDT_EPILOGUE_NONE, y);
        double speed = 2.0 * ROWS * WIDTH * WIDTH / (now() - start);
        best = speed > best ? speed : best;
    }
    free(x);
    free(w);
    free(y);
    return best;
}

static struct sdt_wan_geometry geometry_of(const struct sdt_pipeline *pipeline,
                                           const struct sdt_request *request)
{
    int space = sdt_wan_vae_space_ratio(pipeline->vae);
    int time = sdt_wan_vae_time_ratio(pipeline->vae);
    return (struct sdt_wan_geometry){(request->num_frames - 1) / time + 1, request->height / space,
                                     request->width / space};
}

static struct sdt_vae_job vae_job(const struct sdt_pipeline *pipeline,
                                  const struct sdt_request *request)
{
    struct sdt_wan_geometry g = geometry_of(pipeline, request);
    return (struct sdt_vae_job){.frames = g.frames, .height = g.height, .width = g.width,
                                .scale = true, .tiling = request->tiling};
}

static enum sdt_status check_request(struct sdt_pipeline *pipeline,
                                     const struct sdt_request *request, struct sdt_error *err)
{
    const struct sdt_wan_config *c = sdt_wan_config(pipeline->transformer);
    int space = sdt_wan_vae_space_ratio(pipeline->vae);
    int time = sdt_wan_vae_time_ratio(pipeline->vae);
    int rows = space * c->patch[1], cols = space * c->patch[2];
    int frames = request->num_frames;

    if (request->height < rows || request->height % rows || request->width < cols ||
        request->width % cols)
        return sdt_fail(err, SDT_ERROR_USAGE,
                        "%dx%d (height x width): the height must be a multiple of %d and the width of "
                        "%d; %dx%d would work",
                        request->height, request->width, rows, cols,
                        request->height < rows ? rows : request->height / rows * rows,
                        request->width < cols ? cols : request->width / cols * cols);
    if (request->height > 16384 || request->width > 16384)
        return sdt_fail(err, SDT_ERROR_USAGE, "%dx%d (height x width): at most 16384 pixels a side",
                        request->height, request->width);
    if (frames < 1 || (frames - 1) % time || ((frames - 1) / time + 1) % c->patch[0])
        return sdt_fail(err, SDT_ERROR_USAGE, "%d frames: needs %d k + 1; %d or %d would work", frames,
                        time, frames < 1 ? 1 : (frames - 1) / time * time + 1,
                        frames < 1 ? 1 + time : ((frames - 1) / time + 1) * time + 1);
    if (request->max_sequence_length < 1 || request->max_sequence_length > 4096)
        return sdt_fail(err, SDT_ERROR_USAGE, "a maximum sequence length of %d; 1 to 4096 works",
                        request->max_sequence_length);
    if (!(request->fps > 0.0) || request->fps > 1000.0)
        return sdt_fail(err, SDT_ERROR_USAGE, "%g frames per second; more than 0 to 1000 works",
                        request->fps);
    if (request->steps == 0 && !request->latents)
        return sdt_fail(err, SDT_ERROR_USAGE, "0 steps only decode: a latent is needed for that");
    for (int i = 0; i < 2; i++) {
        const struct sdt_stored *embeds =
            i ? request->negative_prompt_embeds : request->prompt_embeds;
        if (!embeds)
            continue;
        int rank = embeds->rank;
        if (rank < 2 || rank > 3 || (rank == 3 && embeds->shape[0] != 1) ||
            embeds->shape[rank - 1] != c->text_dim || embeds->shape[rank - 2] < 1 ||
            embeds->shape[rank - 2] > 4096)
            return sdt_fail(err, SDT_ERROR_USAGE,
                            "prompt embeddings %s: the shape must be [rows, %d] or [1, rows, %d] with 1 "
                            "to 4096 rows",
                            embeds->name, c->text_dim, c->text_dim);
    }
    struct sdt_vae_job job = vae_job(pipeline, request);
    return sdt_wan_vae_check(pipeline->vae, &job, err);
}

enum sdt_status sdt_plan_make(struct sdt_pipeline *pipeline, const struct sdt_request *request,
                              int devices, int workers_per_device, struct sdt_plan *plan,
                              struct sdt_error *err)
{
    const struct sdt_wan_config *c = sdt_wan_config(pipeline->transformer);
    struct sdt_wan_geometry g = geometry_of(pipeline, request);
    struct sdt_vae_job job = vae_job(pipeline, request);
    struct sdt_layout layout = {0};
    struct sdt_place *place = NULL;
    long cores = sysconf(_SC_NPROCESSORS_ONLN);

    *plan = (struct sdt_plan){0};
    enum sdt_status status = check_request(pipeline, request, err);
    if (status != SDT_OK)
        return status;
    if (devices < 1 || devices > SDT_MAX_DEVICES)
        return sdt_fail(err, SDT_ERROR_USAGE, "%d devices; 1 to %d are supported", devices,
                        SDT_MAX_DEVICES);
    int used = request->strategy->one_device ? 1 : devices;
    int workers = workers_per_device > 0 ? workers_per_device : devices == 1 ? (int)cores : 1;
    plan->frames = g.frames;
    plan->latent_height = g.height;
    plan->latent_width = g.width;
    plan->channels = c->in_channels;
    plan->devices = devices;
    plan->workers_per_device = workers;
    plan->heads = c->heads;
    plan->streams = request->guidance_scale > 1.0 ? 2 : 1;
    plan->tokens = (int64_t)(g.frames / c->patch[0]) * (g.height / c->patch[1]) *
                   (g.width / c->patch[2]);
    plan->device_tiles = calloc((size_t)devices, sizeof *plan->device_tiles);
    plan->device_heads = calloc((size_t)devices, sizeof *plan->device_heads);
    plan->device_bytes = calloc((size_t)devices, sizeof *plan->device_bytes);
    place = calloc((size_t)devices, sizeof *place);
    if (!plan->device_tiles || !plan->device_heads || !plan->device_bytes || !place) {
        status = sdt_fail(err, SDT_ERROR_MEMORY, "out of memory while planning");
        goto out;
    }
    for (int d = 0; d < devices; d++)
        place[d] = (struct sdt_place){.device = d, .workers = workers};
    struct sdt_parallel parallel = {.strategy = request->strategy, .place = place, .devices = used};
    status = sdt_parallel_layout(&parallel, plan->tokens, c->heads, c->head_dim, &layout, err);
    if (status != SDT_OK)
        goto out;
    plan->tile_rows = layout.rows;
    plan->tiles = layout.tiles;
    int keys = request->max_sequence_length; /* at most; the prompt is not tokenized yet */
    double decode = sdt_wan_vae_bytes(pipeline->vae, &job, devices), total = 0.0;
    for (int d = 0; d < devices; d++) {
        if (d < used) {
            plan->device_tiles[d] = layout.first_tile[d + 1] - layout.first_tile[d];
            for (int k = 0; k < layout.chunks; k++)
                if (layout.owner[k] == d % layout.ulysses)
                    plan->device_heads[d] += layout.head[k + 1] - layout.head[k];
            plan->device_bytes[d] =
                sdt_wan_bytes(pipeline->transformer, request->strategy, &layout, d,
                              plan->streams, keys);
        }
        if (plan->device_bytes[d] < decode)
            plan->device_bytes[d] = decode;
        total += plan->device_bytes[d];
    }
    plan->weight_bytes = (double)sdt_weights_bytes(sdt_wan_weights(pipeline->transformer)) +
                         (double)sdt_weights_bytes(sdt_wan_vae_weights(pipeline->vae));
    if (pipeline->text_encoder) {
        plan->weight_bytes +=
            (double)sdt_weights_bytes(sdt_umt5_weights(pipeline->text_encoder));
        if (!request->prompt_embeds)
            plan->text_flops = plan->streams * sdt_umt5_flops(pipeline->text_encoder, keys);
    }
    plan->step_flops = plan->streams * sdt_wan_flops(c, g, keys);
    plan->vae_flops = sdt_wan_vae_flops(pipeline->vae, &job);
    plan->total_flops = plan->text_flops + request->steps * plan->step_flops + plan->vae_flops;
    plan->exchanged_per_step = plan->streams * sdt_wan_exchanged(c, request->strategy, &layout);
    plan->flops_per_second = measure_speed();
    long threads = (long)used * workers < cores ? (long)used * workers : cores;
    plan->seconds = plan->total_flops / (plan->flops_per_second * (double)threads);

    double memory = (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE);
    if (total > memory)
        status = sdt_fail(err, SDT_ERROR_LIMIT,
                          "the plan needs about %.1f GB on %d devices that share this machine's "
                          "%.1f GB; a smaller size or number of frames%s would need less",
                          total / 1e9, devices, memory / 1e9,
                          request->tiling.size_rows ? "" : ", or --enable-tiling,");
out:
    sdt_layout_clear(&layout);
    free(place);
    if (status != SDT_OK)
        sdt_plan_clear(plan);
    return status;
}

void sdt_plan_clear(struct sdt_plan *plan)
{
    free(plan->device_tiles);
    free(plan->device_heads);
    free(plan->device_bytes);
    *plan = (struct sdt_plan){0};
}

/* ---- text ------------------------------------------------------------------------------------ */

/* Encoder states of one prompt: [rows, text_dim], and how many zero rows follow. */
struct text {
    sdt_handle states;
    float *values; /* given embeddings, registered in place; NULL: computed */
    int rows, pad_rows;
};

static void text_clear(struct text *text)
{
    if (text->states)
        starpu_data_unregister(text->states);
    free(text->values);
    *text = (struct text){0};
}

/* Given embeddings: all-zero rows at the end are padding. */
static enum sdt_status given_text(const struct sdt_stored *embeds, int width, struct text *text,
                                  struct sdt_error *err)
{
    enum sdt_status status = sdt_stored_floats(embeds, &text->values, err);
    if (status != SDT_OK)
        return status;
    int all = (int)embeds->shape[embeds->rank - 2];
    text->rows = all;
    for (bool zero = true; zero && text->rows > 1;) {
        const float *row = text->values + (size_t)(text->rows - 1) * (size_t)width;
        for (int i = 0; zero && i < width; i++)
            zero = row[i] == 0.0f;
        text->rows -= zero;
    }
    text->pad_rows = all - text->rows;
    starpu_vector_data_register(&text->states, STARPU_MAIN_RAM, (uintptr_t)text->values,
                                (uint32_t)((size_t)text->rows * (size_t)width), sizeof(float));
    return SDT_OK;
}

static enum sdt_status encode_ids(struct sdt_pipeline *pipeline, struct sdt_machine *machine,
                                  struct sdt_flow *flow, const int32_t *ids, int count, int length,
                                  struct text *text, struct sdt_error *err)
{
    struct sdt_umt5 *encoder = pipeline->text_encoder;
    text->rows = count;
    text->pad_rows = length > count ? length - count : 0;
    text->states = sdt__vector(flow, (size_t)count * (size_t)sdt_umt5_width(encoder), "text states");
    if (!text->states) {
        if (err)
            *err = flow->error;
        return flow->error.status;
    }
    return sdt_umt5_encode(flow, encoder, machine, &machine->device[0], ids, count, text->states,
                           err);
}

static enum sdt_status encode_prompt(struct sdt_pipeline *pipeline, struct sdt_machine *machine,
                                     struct sdt_flow *flow, const char *prompt, int length,
                                     struct text *text, struct sdt_error *err)
{
    struct sdt_tokenizer *tokenizer = NULL;
    char *cleaned = NULL;
    int count = 0;
    char *folder = sdt_checkpoint_path(pipeline->folder, "tokenizer");
    int32_t *ids = calloc((size_t)length, sizeof *ids);
    enum sdt_status status = folder && ids ? SDT_OK
                                           : sdt_fail(err, SDT_ERROR_MEMORY,
                                                      "out of memory while encoding the prompt");
    if (status == SDT_OK)
        status = sdt_tokenizer_open(folder, &tokenizer, err);
    if (status == SDT_OK)
        status = sdt_prompt_clean(prompt, &cleaned, err);
    if (status == SDT_OK)
        status = sdt_tokenize(tokenizer, cleaned, length, ids, &count, NULL, err);
    if (status == SDT_OK)
        status = encode_ids(pipeline, machine, flow, ids, count, length, text, err);
    sdt_tokenizer_close(tokenizer);
    free(cleaned);
    free(folder);
    free(ids);
    return status;
}

/* Stream 0: the prompt, in whichever form it was given. Stream 1: the negative prompt. */
static enum sdt_status make_text(struct sdt_pipeline *pipeline, struct sdt_machine *machine,
                                 struct sdt_flow *flow, const struct sdt_request *request,
                                 int stream, struct text *text, struct sdt_error *err)
{
    const struct sdt_stored *embeds =
        stream ? request->negative_prompt_embeds : request->prompt_embeds;
    int width = sdt_wan_config(pipeline->transformer)->text_dim;

    flow->tag.stream = stream;
    if (embeds)
        return given_text(embeds, width, text, err);
    if (!pipeline->text_encoder)
        return sdt_fail(err, SDT_ERROR_MISSING,
                        "%s has no text_encoder folder; %s prompt embeddings would work",
                        pipeline->folder, stream ? "negative" : "given");
    if (!stream && request->token_ids)
        return encode_ids(pipeline, machine, flow, request->token_ids, request->token_count,
                          request->max_sequence_length, text, err);
    const char *prompt = stream ? request->negative_prompt : request->prompt;
    return encode_prompt(pipeline, machine, flow, prompt ? prompt : "",
                         request->max_sequence_length, text, err);
}

/* ---- run ------------------------------------------------------------------------------------- */

struct report {
    sdt_progress call;
    void *arg;
};

static void report(const struct report *r, const char *phase, int done, int total)
{
    if (r->call)
        r->call(r->arg, phase, done, total);
}

static void report_step(void *arg, int step, int steps)
{
    report(arg, "denoise", step, steps);
}

static void report_frame(void *arg, int done, int total)
{
    report(arg, "decode", done, total);
}

static sdt_handle host_vector(float *values, size_t count)
{
    sdt_handle handle = NULL;
    starpu_vector_data_register(&handle, STARPU_MAIN_RAM, (uintptr_t)values, (uint32_t)count,
                                sizeof(float));
    return handle;
}

/* Moves result->latent from noise to the last step that could be finished. */
static enum sdt_status denoise(struct sdt_pipeline *pipeline, struct sdt_machine *machine,
                               const struct sdt_request *request, const struct text *text,
                               struct report *progress, struct sdt_result *result,
                               struct sdt_error *err)
{
    struct sdt_flow flow = sdt_machine_flow(machine, SDT_LANE_DENOISE);
    struct sdt_wan_geometry g = geometry_of(pipeline, request);
    struct sdt_sampler sampler = {0};
    struct sdt_latent latent = {0};
    struct sdt_wan_run *run = NULL;
    int streams = request->guidance_scale > 1.0 ? 2 : 1;
    size_t count = (size_t)result->channels * (size_t)g.frames * (size_t)g.height * (size_t)g.width;
    sdt_handle whole = NULL;

    enum sdt_status status = sdt_sampler_init(&sampler, request->sampler, request->schedule,
                                              request->steps, request->flow_shift, err);
    if (status != SDT_OK)
        goto out;
    struct sdt_parallel parallel = {.strategy = request->strategy,
                                    .place = machine->device,
                                    .devices = machine->devices};
    run = sdt_wan_run_new(&flow, pipeline->transformer, machine, &parallel, g, streams);
    if (!run) {
        status = sdt__flow_wait(&flow, err);
        goto out;
    }
    whole = host_vector(result->latent, count);
    sdt_latent_init(&flow, &latent, sdt_wan_layout(run), sdt_wan_patch(pipeline->transformer, g),
                    request->steps, report_step, progress);
    sdt_latent_scatter(&flow, &latent, &machine->host, whole);
    for (int s = 0; s < streams; s++)
        sdt_wan_prompt(&flow, run, s, text[s].states, text[s].rows, text[s].pad_rows);
    sdt_denoise(&flow, run, &sampler, (float)request->guidance_scale, &latent);
    status = sdt__flow_wait(&flow, err);
    result->steps_done = latent.tiles_done ? sdt_latent_steps_done(&latent) : 0;
    if (result->steps_done > 0) {
        /* Also after a failure or a stop: what is whole is kept, by tasks that do not look at the flag. */
        struct sdt_flow rescue = sdt_machine_flow(machine, SDT_LANE_DENOISE);
        struct sdt_error ignored;
        rescue.stop = NULL;
        sdt_latent_gather(&rescue, &latent, &machine->host, result->steps_done, whole);
        enum sdt_status gathered = sdt__flow_wait(&rescue, status == SDT_OK ? err : &ignored);
        status = status == SDT_OK ? gathered : status;
    }
out:
    if (latent.layout)
        sdt_latent_clear(&latent);
    if (whole)
        starpu_data_unregister(whole); /* brings the latent home */
    sdt_wan_run_free(run);
    sdt_sampler_clear(&sampler);
    return status;
}

static enum sdt_status save_latent_file(const struct sdt_result *result, const char *path,
                                        struct sdt_error *err)
{
    struct sdt_stored tensor = {.name = "latent",
                                .dtype = SDT_F32,
                                .rank = 5,
                                .shape = {1, result->channels, result->latent_frames,
                                          result->latent_height, result->latent_width},
                                .data = result->latent};
    tensor.count = (size_t)result->channels * (size_t)result->latent_frames *
                   (size_t)result->latent_height * (size_t)result->latent_width;
    tensor.bytes = tensor.count * sizeof(float);
    return sdt_safetensors_write(path, 1, &tensor, err);
}

static enum sdt_status decode(struct sdt_pipeline *pipeline, struct sdt_machine *machine,
                              const struct sdt_request *request, struct report *progress,
                              struct sdt_result *result, struct sdt_error *err)
{
    struct sdt_flow flow = sdt_machine_flow(machine, SDT_LANE_DECODE);
    struct sdt_vae_job job = vae_job(pipeline, request);
    size_t latents = (size_t)result->channels * (size_t)job.frames * (size_t)job.height *
                     (size_t)job.width;
    size_t pixels = 3 * (size_t)result->frames * (size_t)result->height * (size_t)result->width;

    if (pixels > UINT32_MAX)
        return sdt_fail(err, SDT_ERROR_LIMIT, "a video of %d frames of %dx%d has more than 2^32 values",
                        result->frames, result->height, result->width);
    result->video = calloc(pixels, sizeof *result->video);
    if (!result->video)
        return sdt_fail(err, SDT_ERROR_MEMORY, "no memory for a video of %.1f GB",
                        (double)pixels * sizeof(float) / 1e9);
    job.frame_done = report_frame;
    job.frame_done_arg = progress;
    sdt_handle latent = host_vector(result->latent, latents);
    sdt_handle video = host_vector(result->video, pixels);
    enum sdt_status status =
        sdt_wan_vae_decode(&flow, pipeline->vae, machine, &job, latent, video, err);
    starpu_data_unregister(latent);
    starpu_data_unregister(video);
    if (status != SDT_OK) {
        free(result->video);
        result->video = NULL;
    }
    return status;
}

enum sdt_status sdt_pipeline_run(struct sdt_pipeline *pipeline, struct sdt_machine *machine,
                                 const struct sdt_request *request, const char *save_latent,
                                 sdt_progress progress, void *progress_arg,
                                 struct sdt_result *result, struct sdt_error *err)
{
    struct sdt_wan_geometry g = geometry_of(pipeline, request);
    struct report reporting = {progress, progress_arg};
    struct sdt_flow flow = sdt_machine_flow(machine, SDT_LANE_DENOISE);
    struct text text[2] = {{0}};
    int streams = request->guidance_scale > 1.0 ? 2 : 1;
    double start = now();

    *result = (struct sdt_result){.frames = request->num_frames,
                                  .height = request->height,
                                  .width = request->width,
                                  .channels = sdt_wan_vae_channels(pipeline->vae),
                                  .latent_frames = g.frames,
                                  .latent_height = g.height,
                                  .latent_width = g.width};
    size_t count = (size_t)result->channels * (size_t)g.frames * (size_t)g.height * (size_t)g.width;
    enum sdt_status status = check_request(pipeline, request, err);
    if (status != SDT_OK)
        return status;
    if (count > UINT32_MAX)
        return sdt_fail(err, SDT_ERROR_LIMIT, "a latent of %zu values; at most 2^32 - 1 work", count);

    if (request->steps > 0) {
        report(&reporting, "text", 0, streams);
        for (int s = 0; status == SDT_OK && s < streams; s++) {
            status = make_text(pipeline, machine, &flow, request, s, &text[s], err);
            if (status == SDT_OK)
                report(&reporting, "text", s + 1, streams);
        }
        result->prompt_tokens = text[0].rows;
        result->text_seconds = now() - start;
    }
    if (status == SDT_OK) {
        result->latent = malloc(count * sizeof *result->latent);
        if (!result->latent)
            status = sdt_fail(err, SDT_ERROR_MEMORY, "no memory for a latent of %zu values", count);
        else if (request->latents)
            memcpy(result->latent, request->latents, count * sizeof *result->latent);
        else
            sdt_randn(request->seed, count, result->latent);
    }
    start = now();
    if (status == SDT_OK && request->steps > 0)
        status = denoise(pipeline, machine, request, text, &reporting, result, err);
    result->denoise_seconds = now() - start;
    text_clear(&text[0]);
    text_clear(&text[1]);
    if (status == SDT_OK && save_latent)
        status = save_latent_file(result, save_latent, err);
    start = now();
    if (status == SDT_OK)
        status = decode(pipeline, machine, request, &reporting, result, err);
    result->decode_seconds = now() - start;
    return status;
}

void sdt_result_clear(struct sdt_result *result)
{
    free(result->video);
    free(result->latent);
    *result = (struct sdt_result){0};
}

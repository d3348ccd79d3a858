/* Text states, noise, denoising, latent; latent, frames. Each phase is tasks on the machine; between the two the
 * latent is on the host, so that nothing is lost when a later phase fails. */
#include "graph/jobs/phases.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "graph/checkpoint/finite.h"
#include "graph/text/tokenizer.h"

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static sdt_handle host_vector(float *values, size_t count) {
    sdt_handle handle = NULL;
    starpu_vector_data_register(&handle, STARPU_MAIN_RAM, (uintptr_t)values, (uint32_t)count,
                                sizeof(float));
    return handle;
}

static size_t latent_size(const struct sdt_result *r) {
    return (size_t)r->channels * (size_t)r->latent_frames * (size_t)r->latent_height *
           (size_t)r->latent_width;
}

/* Through whom tasks report progress. On the heap: after a stall, tasks may still end and tell, and what they
 * look at is left to them. The caller behind it is not: it may take its own things away. */
struct teller {
    struct sdt_report report;
    atomic_bool parted;  /* from the caller */
    atomic_int speaking; /* calls in progress */
};

static struct teller *teller_new(struct sdt_report report, struct sdt_error *err) {
    struct teller *teller = calloc(1, sizeof *teller);
    if (teller)
        teller->report = report;
    else
        sdt_fail(err, SDT_ERROR_MEMORY, "out of memory for a request");
    return teller;
}

static void tell(struct teller *teller, const char *phase, int done, int total) {
    const struct sdt_report *report = &teller->report;
    atomic_fetch_add(&teller->speaking, 1);
    if (report->call && !atomic_load(&teller->parted))
        report->call(report->arg, report->request, phase, done, total);
    atomic_fetch_sub(&teller->speaking, 1);
}

static void tell_step(void *arg, int step, int steps) { tell(arg, "denoise", step, steps); }

static void tell_frame(void *arg, int done, int total) { tell(arg, "decode", done, total); }

/* The end of a phase. After a stall nothing more is told; a call in progress gets a second to return, because it
 * may be what stalls. */
static void teller_free(struct teller *teller, enum sdt_status status) {
    const struct timespec moment = {0, 10 * 1000 * 1000};
    if (status != SDT_ERROR_STALLED) {
        free(teller);
        return;
    }
    atomic_store(&teller->parted, true);
    for (int i = 0; i < 100 && atomic_load(&teller->speaking) > 0; i++)
        nanosleep(&moment, NULL);
}

void sdt__result_init(const struct sdt_pipeline *pipeline, const struct sdt_request *request,
                      struct sdt_result *result) {
    struct sdt_geometry g = sdt__geometry(pipeline, request);
    *result = (struct sdt_result){.frames = request->num_frames,
                                  .height = request->height,
                                  .width = request->width,
                                  .channels = pipeline->vae->channels,
                                  .latent_frames = g.frames,
                                  .latent_height = g.height,
                                  .latent_width = g.width,
                                  .steps = request->steps};
}

void sdt_result_clear(struct sdt_result *result) {
    free(result->video);
    free(result->latent);
    *result = (struct sdt_result){0};
}

enum sdt_status sdt__save_latent(const struct sdt_result *result, const char *path,
                                 struct sdt_error *err) {
    struct sdt_stored tensor = {.name = "latent",
                                .dtype = SDT_F32,
                                .rank = 5,
                                .shape = {1, result->channels, result->latent_frames,
                                          result->latent_height, result->latent_width},
                                .count = latent_size(result),
                                .data = result->latent};
    tensor.bytes = tensor.count * sizeof(float);
    return sdt_safetensors_write(path, 1, &tensor, err);
}

/* Would this many bytes go into the place's memory? StarPU waits forever for room that can never be
 * there, so what cannot fit is refused before its tasks are submitted. */
static enum sdt_status check_room(const struct sdt_place *place, const char *what, double bytes,
                                  const struct sdt_request *request, struct sdt_error *err) {
    starpu_ssize_t room = starpu_memory_get_total(place->node);
    if (room <= 0 || bytes <= (double)room) /* not positive: no limit */
        return SDT_OK;
    return sdt_fail(
        err, SDT_ERROR_LIMIT,
        "%s %d frames of %dx%d (height x width) needs about %.1f MB on device %d, whose "
        "limit is %.1f MB; a smaller size would need less",
        what, request->num_frames, request->height, request->width, bytes / 1e6, place->device,
        (double)room / 1e6);
}

/* ---- text ------------------------------------------------------------------------------------ */

/* Encoder states of one prompt: [rows, text_dim], and how many zero rows follow. */
struct text {
    sdt_handle states;
    float *values; /* given embeddings, registered in place; NULL: computed */
    int rows, pad_rows;
};

static void text_clear(struct text *text) {
    if (text->states)
        starpu_data_unregister(text->states);
    free(text->values);
    *text = (struct text){0};
}

/* Given embeddings: all-zero rows at the end are padding. */
static enum sdt_status given_text(const struct sdt_stored *embeds, int width, struct text *text,
                                  struct sdt_error *err) {
    enum sdt_status status = sdt_stored_check_finite("prompt embeddings", embeds, err);
    if (status == SDT_OK)
        status = sdt_stored_floats(embeds, &text->values, err);
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
                                  struct sdt_flow *flow, const struct sdt_place *place,
                                  enum sdt_dtype dtype, const int32_t *ids, int count, int length,
                                  struct text *text, struct sdt_error *err) {
    struct sdt_text *encoder = pipeline->text;
    text->rows = count;
    text->pad_rows = length > count ? length - count : 0;
    text->states =
        sdt__vector(flow, (size_t)count * (size_t)encoder->width, "text states");
    if (!text->states) {
        if (err)
            *err = flow->error;
        return flow->error.status;
    }
    return encoder->kind->encode(flow, encoder, machine, place, dtype, ids, count, text->states, err);
}

static enum sdt_status encode_prompt(struct sdt_pipeline *pipeline, struct sdt_machine *machine,
                                     struct sdt_flow *flow, const struct sdt_place *place,
                                     enum sdt_dtype dtype, const char *prompt, int length,
                                     struct text *text, struct sdt_error *err) {
    char *cleaned = NULL;
    int count = 0;
    int32_t *ids = calloc((size_t)length, sizeof *ids);
    enum sdt_status status =
        ids ? pipeline->text->kind->clean(prompt, &cleaned, err)
            : sdt_fail(err, SDT_ERROR_MEMORY, "out of memory while encoding the prompt");
    if (status == SDT_OK)
        status = sdt_tokenize(pipeline->tokenizer, cleaned, length, ids, &count, NULL, err);
    if (status == SDT_OK)
        status = encode_ids(pipeline, machine, flow, place, dtype, ids, count, length, text, err);
    free(cleaned);
    free(ids);
    return status;
}

/* Branch 0: the prompt, in whichever form it was given. Branch 1: the negative prompt. */
static enum sdt_status make_text(struct sdt_pipeline *pipeline, struct sdt_machine *machine,
                                 struct sdt_flow *flow, const struct sdt_place *place,
                                 enum sdt_dtype dtype, const struct sdt_request *request,
                                 int branch, struct text *text, struct sdt_error *err) {
    const struct sdt_stored *embeds =
        branch ? request->negative_prompt_embeds : request->prompt_embeds;
    int width = pipeline->dit->text_dim;

    flow->tag.stream = branch;
    if (embeds)
        return given_text(embeds, width, text, err);
    if (!branch && request->token_ids)
        return encode_ids(pipeline, machine, flow, place, dtype, request->token_ids,
                          request->token_count, request->max_sequence_length, text, err);
    const char *prompt = branch ? request->negative_prompt : request->prompt;
    return encode_prompt(pipeline, machine, flow, place, dtype, prompt ? prompt : "",
                         request->max_sequence_length, text, err);
}

/* ---- denoising ------------------------------------------------------------------------------- */

/* A run for this request: the one before, if it fits. text: tokens that join self attention. */
static struct sdt_run *prepare(struct sdt_denoiser *d, struct sdt_flow *flow,
                               const struct sdt_request *request, int branches, int text) {
    struct sdt_geometry g = sdt__geometry(d->pipeline, request);
    struct sdt_run *run = d->run;
    if (run && run->branches >= branches && g.frames == run->geometry.frames &&
        g.height == run->geometry.height && g.width == run->geometry.width &&
        run->layout.tokens - run->layout.video == (run->dit->text_joins ? text : 0))
        return run;
    sdt_run_free(run);
    d->run = sdt_run_new(flow, d->pipeline->dit, d->machine, &d->parallel, g, branches, text);
    return d->run;
}

/* On GPUs weights may come and go, on CPU devices all is to stay. *offloads: they do on one of them. */
static enum sdt_status check_denoising(const struct sdt_denoiser *d,
                                       const struct sdt_request *request, int branches, int text,
                                       bool *offloads, struct sdt_error *err) {
    const struct sdt_dit *dit = d->pipeline->dit;
    struct sdt_layout layout = {0};
    *offloads = false;
    enum sdt_status status = sdt_run_layout(dit, &d->parallel, sdt__geometry(d->pipeline, request),
                                            text, &layout, err);
    for (int i = 0; status == SDT_OK && i < layout.devices; i++) {
        const struct sdt_place *place = &layout.place[i];
        struct sdt_need need = sdt_run_need(dit, &d->parallel, &layout, i, branches, text);
        bool gpu = place->kind == SDT_DEVICE_CUDA;
        double room = (double)starpu_memory_get_total(place->node);
        status =
            check_room(place, "denoising", (gpu ? need.least : need.all) + d->beside, request, err);
        *offloads |= gpu && room > 0.0 && need.all + d->beside > room;
    }
    sdt_layout_clear(&layout);
    return status;
}

/* Moves result->latent from noise to the last step that could be finished. */
static enum sdt_status denoise(struct sdt_denoiser *d, const struct sdt_request *request,
                               const struct text *text, struct teller *teller,
                               struct sdt_result *result, struct sdt_error *err) {
    struct sdt_flow flow = sdt_machine_flow(d->machine, SDT_LANE_DENOISE);
    struct sdt_sampler sampler = {0};
    struct sdt_latent *latent = calloc(1, sizeof *latent); /* as the teller: left to late tasks */
    int branches = sdt__forwards(d->pipeline, request);
    int rows = text[0].rows > text[1].rows ? text[0].rows : text[1].rows;
    struct sdt_prompt prompt[2] = {{0}};
    sdt_handle whole = NULL;
    bool offloads;

    flow.tag.request = teller->report.request;
    enum sdt_status status = latent
                                 ? sdt_sampler_init(&sampler, request->sampler, request->schedule,
                                                    request->steps, request->flow_shift, err)
                                 : sdt_fail(err, SDT_ERROR_MEMORY, "out of memory for a request");
    if (status != SDT_OK)
        goto out;
    status = check_denoising(d, request, branches, rows, &offloads, err);
    if (status != SDT_OK)
        goto out;
    struct sdt_run *run = prepare(d, &flow, request, branches, rows);
    if (!run) {
        status = sdt__flow_wait(&flow, err);
        goto out;
    }
    whole = host_vector(result->latent, latent_size(result));
    run->offloads = offloads;
    sdt_latent_init(&flow, latent, &run->layout, sdt_patch_of(run->dit, run->geometry),
                    request->steps, tell_step, teller);
    sdt_latent_scatter(&flow, latent, &d->machine->host, whole);
    for (int b = 0; b < branches; b++) {
        struct sdt_text_states states = {text[b].states, text[b].rows, text[b].pad_rows};
        sdt_run_prompt(&flow, run, b, &states, &prompt[b]);
        run->branch[b].prompt = &prompt[b];
    }
    for (int s = 0; s < sampler.steps && flow.error.status == SDT_OK; s++) {
        run->helpers_free = !d->helpers_free || d->helpers_free(d->helpers_arg);
        sdt_latent_step(&flow, run, &sampler, (float)request->guidance_scale, s, latent);
    }
    status = sdt__flow_wait(&flow, err);
    if (status == SDT_ERROR_STALLED)
        return status; /* nothing can be freed any more */
    result->steps_done = latent->tiles_done ? sdt_latent_steps_done(latent) : 0;
    if (result->steps_done > 0) {
        /* Also after a failure or a stop: what is whole is kept, by tasks that do not look at the flag. */
        struct sdt_flow rescue = sdt_machine_flow(d->machine, SDT_LANE_DENOISE);
        struct sdt_error ignored;
        rescue.halt = &d->machine->anyway;
        rescue.tag.request = teller->report.request;
        sdt_latent_gather(&rescue, latent, &d->machine->host, result->steps_done, whole);
        enum sdt_status gathered = sdt__flow_wait(&rescue, status == SDT_OK ? err : &ignored);
        if (gathered == SDT_ERROR_STALLED)
            return gathered;
        status = status == SDT_OK ? gathered : status;
    }
out:
    sdt_prompt_clear(&prompt[0]);
    sdt_prompt_clear(&prompt[1]);
    if (latent && latent->layout)
        sdt_latent_clear(latent);
    free(latent);
    if (whole)
        starpu_data_unregister(whole); /* brings the latent home */
    sdt_sampler_clear(&sampler);
    return status;
}

enum sdt_status sdt__denoiser_run(struct sdt_denoiser *d, const struct sdt_request *request,
                                  struct sdt_report report, struct sdt_result *result,
                                  struct sdt_error *err) {
    struct sdt_flow flow = sdt_machine_flow(d->machine, SDT_LANE_DENOISE);
    struct text text[2] = {{0}};
    int branches = sdt__forwards(d->pipeline, request);
    size_t count = latent_size(result);
    double start = now();

    struct teller *teller = teller_new(report, err);
    if (!teller)
        return SDT_ERROR_MEMORY;
    flow.tag.request = report.request;
    enum sdt_status status = sdt__check_request(d->pipeline, request, err);
    if (status == SDT_OK)
        status = sdt__prepare_text(d->pipeline, request, err);
    if (status == SDT_OK && count > UINT32_MAX)
        status =
            sdt_fail(err, SDT_ERROR_LIMIT, "a latent of %zu values; at most 2^32 - 1 work", count);
    if (status == SDT_OK && request->steps > 0) {
        tell(teller, "text", 0, branches);
        for (int b = 0; status == SDT_OK && b < branches; b++) {
            status = make_text(d->pipeline, d->machine, &flow, d->text_place, d->text_dtype,
                               request, b, &text[b], err);
            if (status == SDT_OK)
                tell(teller, "text", b + 1, branches);
        }
        result->prompt_tokens = text[0].rows;
        result->text_seconds = now() - start;
    }
    if (status == SDT_OK) {
        result->latent = malloc(count * sizeof *result->latent);
        if (!result->latent)
            status = sdt_fail(err, SDT_ERROR_MEMORY, "no memory for a latent of %zu values", count);
        else if (request->latents && sdt_find_not_finite(count, request->latents) < count)
            status = sdt_fail(err, SDT_ERROR_USAGE, "the given latent holds NaN or infinity");
        else if (request->latents)
            memcpy(result->latent, request->latents, count * sizeof *result->latent);
        else
            sdt_randn(request->seed, count, result->latent);
    }
    start = now();
    if (status == SDT_OK && request->steps > 0)
        status = denoise(d, request, text, teller, result, err);
    if (status == SDT_ERROR_NOT_FINITE && request->steps > 0 && err)
        status = sdt_checkpoint_blame(d->pipeline->folder, false, err);
    result->denoise_seconds = now() - start;
    if (status != SDT_ERROR_STALLED) {
        text_clear(&text[0]);
        text_clear(&text[1]);
    }
    teller_free(teller, status);
    return status;
}

void sdt__denoiser_unload(struct sdt_denoiser *d) {
    sdt_run_free(d->run);
    d->run = NULL;
}

/* ---- decoding -------------------------------------------------------------------------------- */

enum sdt_status sdt__decoder_run(struct sdt_decoder *d, const struct sdt_request *request,
                                 struct sdt_report report, struct sdt_result *result,
                                 struct sdt_error *err) {
    struct sdt_flow flow = sdt_machine_flow(d->machine, d->lane);
    struct sdt_vae_job job = sdt__vae_job(d->pipeline, request);
    size_t pixels = 3 * (size_t)result->frames * (size_t)result->height * (size_t)result->width;
    double start = now();

    flow.tag.request = report.request;
    job.dtype = d->dtype;
    job.place = d->place;
    job.devices = d->devices;
    if (d->finish)
        flow.halt = &d->machine->anyway;
    double bytes = d->pipeline->vae->kind->bytes(d->pipeline->vae, &job, d->devices);
    for (int i = 0; i < d->devices; i++) {
        enum sdt_status fits = check_room(&d->place[i], "decoding", bytes, request, err);
        if (fits != SDT_OK)
            return fits;
    }
    if (!d->parameters)
        d->parameters = sdt_parameters_new(d->pipeline->vae->weights, d->machine);
    result->video = calloc(pixels, sizeof *result->video);
    if (!result->video || !d->parameters)
        return sdt_fail(err, SDT_ERROR_MEMORY, "no memory for a video of %.1f GB",
                        (double)pixels * sizeof(float) / 1e9);
    struct teller *teller = teller_new(report, err);
    if (!teller)
        return SDT_ERROR_MEMORY;
    job.place = d->place;
    job.devices = d->devices;
    job.parameters = d->parameters;
    job.frame_done = tell_frame;
    job.frame_done_arg = teller;
    sdt_handle latent = host_vector(result->latent, latent_size(result));
    sdt_handle video = host_vector(result->video, pixels);
    enum sdt_status status =
        d->pipeline->vae->kind->decode(&flow, d->pipeline->vae, d->machine, &job, latent, video,
                                       err);
    teller_free(teller, status);
    if (status == SDT_ERROR_STALLED)
        return status; /* nothing can be freed any more */
    starpu_data_unregister(latent);
    starpu_data_unregister(video);
    if (status == SDT_ERROR_NOT_FINITE && err)
        status = sdt_checkpoint_blame(d->pipeline->folder, true, err);
    if (status != SDT_OK) {
        free(result->video);
        result->video = NULL;
    }
    result->decode_seconds = now() - start;
    return status;
}

void sdt__decoder_unload(struct sdt_decoder *d) {
    sdt_parameters_free(d->parameters);
    d->parameters = NULL;
}

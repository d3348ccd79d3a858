/* stardit-generate: a prompt and a checkpoint in, a video out. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "apps/options.h"
#include "apps/placement.h"
#include "apps/plan.h"
#include "apps/progress.h"
#include "apps/read.h"
#include "apps/stats.h"
#include "apps/strategy.h"
#include "graph/pipeline.h"
#include "stardit/video.h"

static const char name_of_program[] = "stardit-generate";

/* What the command line says, as it stands there. */
struct settings {
    struct app_strings prompts;
    const char *model, *prompt_file, *negative_prompt, *token_ids, *prompt_embeds, *negative_embeds;
    int height, width, num_frames, steps, max_sequence_length;
    double guidance_scale, flow_shift, fps;
    const char *sampler, *schedule;
    uint64_t seed;
    const char *output, *latents, *save_latent, *sheet;
    int sheet_columns, sheet_scale;
    bool force;
    struct app_placement place;
    const char *scheduler;
    bool tiling;
    const char *tile_size, *tile_stride;
    const char *trace, *dot, *stats, *progress;
    bool dry_run, quiet;
};

/* What was read from files for the request, which borrows it. */
struct inputs {
    const char *prompts[APP_MOST_STRINGS];                   /* borrowed from argv or file_text */
    int count;                                               /* of requests, at least 1 */
    char *file_text[APP_MOST_STRINGS + 1], *negative_prompt; /* malloc'ed, from files */
    int32_t *ids;
    struct sdt_safetensors *embeds_file[2], *latents_file;
    struct sdt_stored embeds[2];
    float *latents;
};

static void inputs_clear(struct inputs *inputs) {
    for (int i = 0; i <= APP_MOST_STRINGS; i++)
        free(inputs->file_text[i]);
    free(inputs->negative_prompt);
    free(inputs->ids);
    free(inputs->latents);
    sdt_safetensors_close(inputs->embeds_file[0]);
    sdt_safetensors_close(inputs->embeds_file[1]);
    sdt_safetensors_close(inputs->latents_file);
    *inputs = (struct inputs){0};
}

/* ---- interruption ---------------------------------------------------------------------------- */

static struct sdt_machine *volatile machine_to_stop;
static volatile sig_atomic_t signals;

/* The first signal asks the run to end after the running tasks, a second one ends the program. */
static void on_signal(int number) {
    (void)number;
    if (signals++)
        _exit(1);
    if (machine_to_stop)
        sdt_machine_stop(machine_to_stop);
}

static void catch_signals(struct sdt_machine *machine) {
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};

    machine_to_stop = machine;
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

/* ---- reading inputs -------------------------------------------------------------------------- */

/* Every --prompt, and every line of --prompt-file that is not blank. */
static enum sdt_status read_prompts(const struct settings *s, struct inputs *inputs,
                                    struct sdt_error *err) {
    enum sdt_status status = SDT_OK;

    for (int i = 0; i < s->prompts.count && status == SDT_OK; i++)
        status = app_read_prompt("prompt", s->prompts.item[i], &inputs->file_text[i],
                                 &inputs->prompts[inputs->count++], err);
    if (status != SDT_OK || !s->prompt_file)
        return status;
    char *path = NULL, *state = NULL;
    const char *text;
    char **file_text = &inputs->file_text[APP_MOST_STRINGS];
    if (asprintf(&path, "@%s", s->prompt_file) < 0)
        return sdt_fail(err, SDT_ERROR_MEMORY, "out of memory for the prompts");
    status = app_read_prompt("prompt-file", path, file_text, &text, err);
    free(path);
    if (status != SDT_OK)
        return status;
    for (char *line = strtok_r(*file_text, "\r\n", &state); line;
         line = strtok_r(NULL, "\r\n", &state)) {
        if (!line[strspn(line, " \t")])
            continue;
        if (inputs->count == APP_MOST_STRINGS)
            return sdt_fail(err, SDT_ERROR_USAGE, "--prompt-file %s: more than %d prompts",
                            s->prompt_file, APP_MOST_STRINGS);
        inputs->prompts[inputs->count++] = line;
    }
    if (!inputs->count)
        return sdt_fail(err, SDT_ERROR_USAGE, "--prompt-file %s: holds no prompt", s->prompt_file);
    return SDT_OK;
}

/* Sizes that the command line leaves out follow from the latent. */
static enum sdt_status read_latents(const struct settings *s, const struct app_program *program,
                                    struct sdt_pipeline *pipeline, struct sdt_request *request,
                                    struct inputs *inputs, struct sdt_error *err) {
    const struct sdt_stored *tensor;
    struct sdt_wan_vae *vae = sdt_pipeline_vae(pipeline);
    int space = sdt_wan_vae_space_ratio(vae), time = sdt_wan_vae_time_ratio(vae);
    int channels = sdt_wan_vae_channels(vae);
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
    if (!app_given(program, "num-frames"))
        request->num_frames = frames;
    if (!app_given(program, "height"))
        request->height = height;
    if (!app_given(program, "width"))
        request->width = width;
    if (request->num_frames != frames || request->height != height || request->width != width)
        return sdt_fail(
            err, SDT_ERROR_USAGE,
            "--latents %s: is a latent of %d frames of %dx%d (height x width) and not of "
            "the %d frames of %dx%d asked for",
            s->latents, frames, height, width, request->num_frames, request->height,
            request->width);
    status = sdt_stored_floats(tensor, &inputs->latents, err);
    request->latents = inputs->latents;
    return status;
}

/* ---- the request ----------------------------------------------------------------------------- */

static enum sdt_status make_tiling(const struct settings *s, struct sdt_vae_tiling *tiling,
                                   struct sdt_error *err) {
    enum sdt_status status = SDT_OK;

    *tiling = (struct sdt_vae_tiling){0};
    if (!s->tiling && !s->tile_size && !s->tile_stride)
        return SDT_OK;
    *tiling = (struct sdt_vae_tiling){256, 256, 192, 192}; /* the family's */
    if (s->tile_size) {
        status =
            app_read_tile("tile-size", s->tile_size, &tiling->size_rows, &tiling->size_cols, err);
        tiling->stride_rows = tiling->size_rows * 3 / 4 / 8 * 8;
        tiling->stride_cols = tiling->size_cols * 3 / 4 / 8 * 8;
    }
    if (status == SDT_OK && s->tile_stride)
        status = app_read_tile("tile-stride", s->tile_stride, &tiling->stride_rows,
                               &tiling->stride_cols, err);
    return status;
}

/* The checkpoint's defaults with everything that was given on the command line. */
static enum sdt_status make_request(const struct settings *s, const struct app_program *program,
                                    struct sdt_pipeline *pipeline, struct sdt_request *request,
                                    struct inputs *inputs, struct sdt_error *err) {
    enum sdt_status status = sdt_pipeline_defaults(pipeline, request, err);
    struct sdt_umt5 *encoder = sdt_pipeline_text_encoder(pipeline);

    if (status != SDT_OK)
        return status;
#define OVERRIDE(name, field)                                                                      \
    if (app_given(program, name))                                                                  \
    request->field = s->field
    OVERRIDE("height", height);
    OVERRIDE("width", width);
    OVERRIDE("num-frames", num_frames);
    OVERRIDE("num-inference-steps", steps);
    OVERRIDE("guidance-scale", guidance_scale);
    OVERRIDE("flow-shift", flow_shift);
    OVERRIDE("fps", fps);
    OVERRIDE("max-sequence-length", max_sequence_length);
#undef OVERRIDE
    request->seed = s->seed;
    if (s->sampler)
        request->sampler = !strcmp(s->sampler, "euler") ? SDT_SAMPLER_EULER : SDT_SAMPLER_UNIPC;
    if (s->schedule)
        request->schedule = !strcmp(s->schedule, "old") ? SDT_SCHEDULE_OLD : SDT_SCHEDULE_NEW;
    status = make_tiling(s, &request->tiling, err);
    if (status == SDT_OK && s->latents)
        status = read_latents(s, program, pipeline, request, inputs, err);
    if (status == SDT_OK)
        status = read_prompts(s, inputs, err);
    request->prompt = inputs->prompts[0];
    inputs->count += inputs->count == 0; /* token ids, embeddings or a latent alone */
    if (status == SDT_OK && s->negative_prompt)
        status = app_read_prompt("negative-prompt", s->negative_prompt, &inputs->negative_prompt,
                                 &request->negative_prompt, err);
    if (status == SDT_OK && s->token_ids) {
        if (!encoder)
            status = sdt_fail(err, SDT_ERROR_USAGE,
                              "--token-ids: %s has no text_encoder; --prompt-embeds would work",
                              sdt_pipeline_folder(pipeline));
        else
            status = app_read_ids(s->token_ids, sdt_umt5_vocabulary(encoder), &inputs->ids,
                                  &request->token_count, err);
        request->token_ids = inputs->ids;
    }
    const char *paths[] = {s->prompt_embeds, s->negative_embeds};
    for (int i = 0; i < 2 && status == SDT_OK; i++) {
        const struct sdt_stored *tensor;
        if (!paths[i])
            continue;
        status = app_read_tensor(i ? "negative-prompt-embeds" : "prompt-embeds", paths[i],
                                 i ? "negative_prompt_embeds" : "prompt_embeds",
                                 &inputs->embeds_file[i], &tensor, err);
        if (status != SDT_OK)
            break;
        inputs->embeds[i] = *tensor;
        if (i)
            request->negative_prompt_embeds = &inputs->embeds[i];
        else
            request->prompt_embeds = &inputs->embeds[i];
    }
    return status;
}

/* ---- keeping the latent ---------------------------------------------------------------------- */

/* A name that is not taken: <output without ending>.latent.safetensors, else with -2, -3, ... NULL:
 * out of memory. */
static char *latent_path(const char *output) {
    char *stem = strdup(output), *path = NULL;
    if (!stem)
        return NULL;
    for (size_t length = strlen(stem); length > 1 && stem[length - 1] == '/'; length--)
        stem[length - 1] = 0;
    char *slash = strrchr(stem, '/'), *dot = strrchr(stem, '.');
    if (dot && dot > (slash ? slash + 1 : stem))
        *dot = 0;
    for (int i = 1; i < 1000; i++) {
        int length = i == 1 ? asprintf(&path, "%s.latent.safetensors", stem)
                            : asprintf(&path, "%s.latent-%d.safetensors", stem, i);
        if (length < 0) {
            path = NULL;
            break;
        }
        if (access(path, F_OK) != 0)
            break;
        free(path);
        path = NULL;
    }
    free(stem);
    return path;
}

/* After a failure or a stop: writes what there is and says so. */
static void keep_latent(const char *output, const char *save_latent,
                        const struct sdt_request *request, const struct sdt_result *result) {
    struct sdt_stored tensor = {.name = "latent",
                                .dtype = SDT_F32,
                                .rank = 5,
                                .shape = {1, result->channels, result->latent_frames,
                                          result->latent_height, result->latent_width},
                                .count = 1,
                                .data = result->latent};
    struct sdt_error err;
    bool finished = result->steps_done == request->steps;

    if (!result->latent || result->steps_done == 0)
        return; /* no step was finished, or the latent came from a file */
    for (int i = 0; i < tensor.rank; i++)
        tensor.count *= (size_t)tensor.shape[i];
    tensor.bytes = tensor.count * sizeof(float);
    bool own = finished && save_latent;
    char *path = own ? strdup(save_latent) : latent_path(output);
    if (!path)
        fprintf(stderr, "%s: out of memory while keeping the latent\n", name_of_program);
    else if (sdt_safetensors_write(path, 1, &tensor, &err) != SDT_OK)
        fprintf(stderr, "%s: the latent could not be kept: %s\n", name_of_program, err.message);
    else
        fprintf(stderr,
                "%s: the latent after step %d of %d is in %s (--num-inference-steps 0 --latents %s "
                "decodes it)\n",
                name_of_program, result->steps_done, request->steps, path, path);
    free(path);
}

/* ---- names of several outputs ---------------------------------------------------------------- */

/* Where a name's number goes: "%d", "%3d" or "%03d", once. NULL: nowhere, or the name is no such pattern. */
static const char *number_place(const char *name, int *width, int *length) {
    const char *percent = strchr(name, '%');
    if (!percent || strchr(percent + 1, '%'))
        return NULL;
    *length = 1 + (int)strspn(percent + 1, "0123456789");
    *width = atoi(percent + 1);
    if (percent[*length] != 'd' || *width > 9)
        return NULL;
    ++*length;
    return percent;
}

/* The name of request r's file, malloc'ed: with several requests, numbered from 1. NULL: no name was given, or
 * out of memory. */
static char *numbered(const char *name, int r, int count) {
    char *text = NULL;
    int width, length;
    const char *percent = name && count > 1 ? number_place(name, &width, &length) : NULL;
    if (!name)
        return NULL;
    if (!percent)
        return strdup(name);
    return asprintf(&text, "%.*s%0*d%s", (int)(percent - name), name, width, r + 1,
                    percent + length) < 0
               ? NULL
               : text;
}

/* Several requests need names that differ, and none of them may be taken. */
static enum sdt_status check_names(const struct settings *s, int count, struct sdt_error *err) {
    const char *const option[] = {"output", "save-latent", "contact-sheet"};
    const char *const name[] = {s->output, s->save_latent, s->sheet};
    enum sdt_status status = SDT_OK;
    int width, length;

    for (int i = 0; i < 3 && count > 1; i++) {
        if (!name[i])
            continue;
        if (!number_place(name[i], &width, &length))
            return sdt_fail(err, SDT_ERROR_USAGE,
                            "--%s %s: %d prompts need a name with a number in it, as out-%%03d.mp4",
                            option[i], name[i], count);
        for (int r = 0; r < count && status == SDT_OK; r++) {
            char *path = numbered(name[i], r, count);
            if (!path)
                return sdt_fail(err, SDT_ERROR_MEMORY, "out of memory for %d names", count);
            status = i ? app_check_target(option[i], path, s->force, err)
                       : sdt_video_check_path(path, s->force, err);
            free(path);
        }
    }
    return status;
}

/* ---- statistics ------------------------------------------------------------------------------ */

static json_t *plan_object(const struct sdt_plan *plan) {
    json_t *bytes = json_array();
    for (int d = 0; d < plan->devices; d++)
        json_array_append_new(bytes, json_integer((json_int_t)plan->device_bytes[d]));
    return json_pack("{s:I, s:i, s:i, s:i, s:i, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:o}",
                     "tokens", (json_int_t)plan->tokens, "tile_rows", plan->tile_rows, "tiles",
                     plan->tiles, "heads", plan->heads, "forwards_per_step", plan->forwards,
                     "text_flops", plan->text_flops, "step_flops", plan->step_flops, "vae_flops",
                     plan->vae_flops, "total_flops", plan->total_flops, "exchanged_bytes_per_step",
                     plan->exchanged_per_step, "weight_bytes", plan->weight_bytes, "seconds",
                     plan->seconds, "flops_per_second", plan->flops_per_second, "device_peak_bytes",
                     bytes);
}

/* JSON integers end at 2^63 - 1 here; larger seeds are text. */
static json_t *seed_value(uint64_t seed) {
    return seed <= INT64_MAX ? json_integer((json_int_t)seed)
                             : json_sprintf("%llu", (unsigned long long)seed);
}

/* What became of one request. */
struct outcome {
    enum sdt_status status;
    int prompt_tokens, steps_done;
    double text_seconds, denoise_seconds, decode_seconds, write_seconds;
};

static json_t *requests_array(const struct outcome *outcome, int count) {
    json_t *array = json_array();
    for (int r = 0; r < count; r++)
        json_array_append_new(
            array,
            json_pack("{s:s, s:i, s:i, s:f, s:f, s:f, s:f}", "status",
                      sdt_status_name(outcome[r].status), "prompt_tokens", outcome[r].prompt_tokens,
                      "steps_done", outcome[r].steps_done, "text_seconds", outcome[r].text_seconds,
                      "denoise_seconds", outcome[r].denoise_seconds, "decode_seconds",
                      outcome[r].decode_seconds, "write_seconds", outcome[r].write_seconds));
    return array;
}

static json_t *placement_object(const struct sdt_placement *p, int streams) {
    json_t *dit = json_array(), *vae = json_array();
    for (int d = 0; d < p->dit_devices; d++)
        json_array_append_new(dit, json_integer(p->dit[d]));
    for (int d = 0; d < p->vae_devices; d++)
        json_array_append_new(vae, json_integer(p->vae[d]));
    return json_pack("{s:o, s:o, s:s, s:i, s:i, s:i}", "dit_devices", dit, "vae_devices", vae,
                     "aco", sdt_aco_name(p->aco), "chunk_heads", p->chunk_heads, "ulysses_degree",
                     p->ulysses_degree, "streams", streams);
}

static enum sdt_status write_stats(const struct settings *s, const struct sdt_request *request,
                                   const struct sdt_plan *plan,
                                   const struct sdt_placement *placement,
                                   const struct outcome *outcome, int count,
                                   struct sdt_machine *machine, double total_seconds,
                                   struct sdt_error *err) {
    struct outcome sum = {.prompt_tokens = outcome[0].prompt_tokens};
    for (int r = 0; r < count; r++) {
        sum.text_seconds += outcome[r].text_seconds;
        sum.denoise_seconds += outcome[r].denoise_seconds;
        sum.decode_seconds += outcome[r].decode_seconds;
        sum.write_seconds += outcome[r].write_seconds;
    }
    double bytes[(SDT_MAX_DEVICES + 1) * (SDT_MAX_DEVICES + 1)] = {0};
    json_t *stats = app_stats_begin(name_of_program);

    json_object_set_new(stats, "model", json_string(s->model));
    json_object_set_new(stats, "seed", seed_value(request->seed));
    json_object_set_new(stats, "height", json_integer(request->height));
    json_object_set_new(stats, "width", json_integer(request->width));
    json_object_set_new(stats, "num_frames", json_integer(request->num_frames));
    json_object_set_new(stats, "num_inference_steps", json_integer(request->steps));
    json_object_set_new(stats, "guidance_scale", json_real(request->guidance_scale));
    json_object_set_new(stats, "flow_shift", json_real(request->flow_shift));
    json_object_set_new(stats, "sampler",
                        json_string(request->sampler == SDT_SAMPLER_EULER ? "euler" : "unipc"));
    json_object_set_new(stats, "prompt_tokens", json_integer(sum.prompt_tokens));
    json_object_set_new(stats, "strategy", json_string(request->strategy->name));
    json_object_set_new(stats, "placement", placement_object(placement, plan->streams));
    json_object_set_new(stats, "requests", requests_array(outcome, count));
    json_object_set_new(stats, "plan", plan_object(plan));
    json_object_set_new(stats, "seconds",
                        json_pack("{s:f, s:f, s:f, s:f, s:f}", "text", sum.text_seconds, "denoise",
                                  sum.denoise_seconds, "decode", sum.decode_seconds, "write",
                                  sum.write_seconds, "total", total_seconds));
    const struct sdt_kinds kinds = {plan->dit_kind, plan->vae_kind, plan->dit_dtype,
                                    plan->vae_dtype};
    app_stats_kinds(stats, &kinds, placement->text_with_vae);
    app_stats_machine(stats, machine, plan->device_tiles, plan->device_heads);
    sdt_machine_traffic(machine, bytes);
    app_stats_moved(stats, bytes, machine->collective_bytes, machine->devices);
    return app_stats_write(stats, s->stats, err);
}

/* ---- the run --------------------------------------------------------------------------------- */

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

static enum sdt_status write_video(const struct settings *s, const char *output, const char *sheet,
                                   const struct sdt_request *request,
                                   const struct sdt_result *result, struct sdt_error *err) {
    struct sdt_video video = {.frames = result->frames,
                              .height = result->height,
                              .width = result->width,
                              .fps = request->fps,
                              .pixels = result->video};
    enum sdt_status status = sdt_video_write(&video, output, s->force, err);
    if (status == SDT_OK && sheet) {
        int rows = (result->frames + s->sheet_columns - 1) / s->sheet_columns;
        status = sdt_video_write_sheet(&video, sheet, s->sheet_columns,
                                       rows < s->sheet_columns ? rows : s->sheet_columns,
                                       s->sheet_scale, s->force, err);
    }
    return status;
}

/* What deliver() needs; results arrive from several threads, one call a request. */
struct delivery {
    const struct settings *s;
    const struct sdt_request *requests;
    int count;
    char **output, **save_latent, **sheet; /* [count] */
    struct outcome *outcome;               /* [count] */
    struct app_progress *progress;
};

/* Writes the request's video as soon as it is there, or keeps what there is of it. */
static void deliver(void *arg, int r, enum sdt_status status, const struct sdt_error *error,
                    struct sdt_result *result) {
    struct delivery *d = arg;
    struct outcome *outcome = &d->outcome[r];
    struct sdt_error err = {0};
    double start = now();

    if (status != SDT_OK)
        err = *error;
    else
        status = write_video(d->s, d->output[r], d->sheet ? d->sheet[r] : NULL, &d->requests[r],
                             result, &err);
    *outcome = (struct outcome){status,
                                result->prompt_tokens,
                                result->steps_done,
                                result->text_seconds,
                                result->denoise_seconds,
                                result->decode_seconds,
                                now() - start};
    app_progress_pause(d->progress);
    if (status == SDT_OK) {
        if (!d->s->quiet)
            fprintf(stderr,
                    "%s: %s: %d frames of %dx%d (text %.1f s, denoise %.1f s, decode %.1f s)\n",
                    name_of_program, d->output[r], result->frames, result->width, result->height,
                    result->text_seconds, result->denoise_seconds, result->decode_seconds);
        return;
    }
    if (d->count > 1)
        fprintf(stderr, "%s: %s is not written: %s\n", name_of_program, d->output[r], err.message);
    else
        app_report(name_of_program, &err);
    keep_latent(d->output[r], d->save_latent ? d->save_latent[r] : NULL, &d->requests[r], result);
}

static void free_names(char **name, int count) {
    for (int r = 0; name && r < count; r++)
        free(name[r]);
    free(name);
}

/* [count] names; NULL: none was given, or out of memory (then *failed). */
static char **names(const char *name, int count, bool *failed) {
    char **list = name ? calloc((size_t)count, sizeof *list) : NULL;
    *failed |= name && !list;
    for (int r = 0; list && r < count; r++)
        *failed |= !(list[r] = numbered(name, r, count));
    return list;
}

/* Carries the plan out; returns the exit code, after a message where it is not 0. */
static int run(const struct settings *s, struct sdt_pipeline *pipeline,
               const struct sdt_request *requests, int count, const struct sdt_placement *placement,
               const struct sdt_plan *plan) {
    struct sdt_machine_options options = {.devices = s->place.machine.count,
                                          .device = placement->device,
                                          .workers_per_device = s->place.workers,
                                          .scheduler = s->scheduler,
                                          .keep_records = s->trace,
                                          .keep_edges = s->dot};
    struct sdt_machine *machine = NULL;
    struct sdt_error err = {0};
    enum app_progress_mode mode =
        s->quiet ? APP_PROGRESS_NONE : app_progress_mode(s->progress ? s->progress : "auto");
    double start = now();
    bool failed = false;
    int code = 1;
    struct delivery d = {.s = s,
                         .requests = requests,
                         .count = count,
                         .output = names(s->output, count, &failed),
                         .save_latent = names(s->save_latent, count, &failed),
                         .sheet = names(s->sheet, count, &failed),
                         .outcome = calloc((size_t)count, sizeof *d.outcome)};
    struct sdt_run_options run = {.placement = *placement,
                                  .save_latent = (const char *const *)d.save_latent,
                                  .deliver = deliver,
                                  .deliver_arg = &d};

    enum sdt_status status = failed || !d.outcome
                                 ? sdt_fail(&err, SDT_ERROR_MEMORY, "out of memory for the names")
                                 : sdt_machine_open(&options, &machine, &err);
    if (status != SDT_OK) {
        code = app_report(name_of_program, &err);
        goto out;
    }
    catch_signals(machine);
    d.progress = app_progress_start(mode, plan, requests[0].steps, count);
    if (d.progress) {
        run.progress = app_progress_update;
        run.progress_arg = d.progress;
    }
    for (int r = 0; r < count; r++)
        d.outcome[r].status = SDT_ERROR_INTERRUPTED; /* until it is delivered */
    status = sdt_pipeline_run_all(pipeline, machine, requests, count, &run, &err);
    app_progress_end(d.progress);
    code = sdt_status_exit_code(status);
    for (int r = 0; r < count && !code; r++)
        code = sdt_status_exit_code(d.outcome[r].status);
    if (status == SDT_ERROR_STALLED)
        _exit(code); /* StarPU cannot be stopped any more */
    if (status != SDT_OK && status != SDT_ERROR_INTERRUPTED &&
        d.outcome[0].status == SDT_ERROR_INTERRUPTED)
        app_report(name_of_program, &err); /* refused as a whole: nothing was delivered */
    status = SDT_OK;
    if (s->stats)
        status = write_stats(s, &requests[0], plan, placement, d.outcome, count, machine,
                             now() - start, &err);
    if (status == SDT_OK && s->trace)
        status = sdt__recorder_write_trace(machine->recorder, s->trace, &err);
    if (status == SDT_OK && s->dot)
        status = sdt__recorder_write_dot(machine->recorder, s->dot, &err);
    if (status != SDT_OK)
        code = app_report(name_of_program, &err);
    if (!code && count > 1 && !s->quiet)
        fprintf(stderr, "%s: %d videos in %.1f s\n", name_of_program, count, now() - start);
    machine_to_stop = NULL;
    sdt_machine_close(machine);
out:
    free_names(d.output, count);
    free_names(d.save_latent, count);
    free_names(d.sheet, count);
    free(d.outcome);
    return code;
}

/* ---- program --------------------------------------------------------------------------------- */

/* What can be told without opening the checkpoint. */
static int check_settings(const struct settings *s, const struct app_program *program) {
    const char *name = program->name;
    const struct {
        const char *option, *path;
    } targets[] = {{"save-latent", s->save_latent},
                   {"contact-sheet", s->sheet},
                   {"trace", s->trace},
                   {"dot", s->dot},
                   {"stats", s->stats && strcmp(s->stats, "-") ? s->stats : NULL}};
    const size_t count = sizeof targets / sizeof targets[0];
    struct sdt_error err;
    bool texts = s->prompts.count || s->prompt_file;
    int prompts = texts + !!s->token_ids + !!s->prompt_embeds;

    if (!s->model)
        return app_usage(name, "--model is needed: a checkpoint folder (usage: %s %s)", name,
                         program->usage);
    bool decode_only = app_given(program, "num-inference-steps") && s->steps == 0;
    if (decode_only && !s->latents)
        return app_usage(name, "--num-inference-steps 0 only decodes: --latents is needed");
    if (!decode_only && prompts == 0)
        return app_usage(name,
                         "--prompt is needed (or --prompt-file, --token-ids, --prompt-embeds)");
    if (prompts > 1)
        return app_usage(name, "--prompt, --token-ids and --prompt-embeds exclude one another");
    if (s->negative_prompt && s->negative_embeds)
        return app_usage(name,
                         "--negative-prompt and --negative-prompt-embeds exclude one another");
    if (!s->output && !s->dry_run)
        return app_usage(name,
                         "--output is needed: a name that ends in .mp4, .y4m or .safetensors, "
                         "or a folder for PNG files");
    bool several = s->prompts.count > 1 || s->prompt_file; /* names are checked one by one later */
    if (s->output && !several && sdt_video_check_path(s->output, s->force, &err) != SDT_OK)
        return app_report(name, &err);
    for (size_t i = 0; i < count; i++) {
        if (app_check_target(targets[i].option, targets[i].path, s->force, &err) != SDT_OK)
            return app_report(name, &err);
        for (size_t j = 0; targets[i].path && j <= i; j++) {
            const char *other = j == i ? s->output : targets[j].path;
            if (other && !strcmp(other, targets[i].path))
                return app_usage(name, "--%s and --%s are one file, %s",
                                 j == i ? "output" : targets[j].option, targets[i].option, other);
        }
    }
    if (s->sheet) {
        size_t length = strlen(s->sheet);
        if (length < 5 || strcasecmp(s->sheet + length - 4, ".png"))
            return app_usage(name, "--contact-sheet %s: the name must end in .png", s->sheet);
    }
    return -1;
}

int main(int argc, char **argv) {
    struct settings s = {.sheet_columns = 4, .sheet_scale = 1};
    char strategy_help[300];
    app_strategy_help(strategy_help, sizeof strategy_help);
    struct app_option options[] = {
        APP_HEADING("What to generate"),
        APP_STRING_OPTION("model", "DIR", &s.model,
                          "checkpoint in diffusers layout: a folder, or org/name to look for in "
                          "$HF_HOME"),
        APP_STRINGS_OPTION("prompt", "TEXT", &s.prompts,
                           "what to show; @FILE reads it from a file; several make several videos"),
        APP_STRING_OPTION("prompt-file", "FILE", &s.prompt_file, "one prompt a line"),
        APP_STRING_OPTION(
            "negative-prompt", "TEXT", &s.negative_prompt,
            "what not to show; @FILE reads it from a file (default: the checkpoint's)"),
        APP_STRING_OPTION("token-ids", "LIST", &s.token_ids,
                          "the prompt as token ids, 1,2,3 (</s> is not added)"),
        APP_STRING_OPTION("prompt-embeds", "FILE", &s.prompt_embeds,
                          "the prompt as text encoder states: a safetensors file with the tensor "
                          "prompt_embeds [rows, width]"),
        APP_STRING_OPTION("negative-prompt-embeds", "FILE", &s.negative_embeds,
                          "the same for the negative prompt, tensor negative_prompt_embeds"),
        APP_INT_OPTION("height", "N", &s.height, 1, 65536,
                       "pixels, a multiple of 16 (default: the checkpoint's, else 480)"),
        APP_INT_OPTION("width", "N", &s.width, 1, 65536,
                       "pixels, a multiple of 16 (default: the checkpoint's, else 832)"),
        APP_INT_OPTION("num-frames", "N", &s.num_frames, 1, 1048576,
                       "frames, 4k+1 (default: the checkpoint's, else 81)"),
        APP_INT_OPTION("num-inference-steps", "N", &s.steps, 0, 1000,
                       "denoising steps (default: the checkpoint's, else 50); 0 decodes --latents"),
        APP_DOUBLE_OPTION("guidance-scale", "G", &s.guidance_scale, 0.0, 1000.0,
                          "how strongly to follow the prompt; above 1 each step takes two forwards "
                          "(default: the checkpoint's, else 5)"),
        APP_DOUBLE_OPTION("flow-shift", "S", &s.flow_shift, 1e-3, 1000.0,
                          "shift of the noise schedule (default: the checkpoint's, else 3)"),
        APP_CHOICE_OPTION("sampler", "unipc|euler", &s.sampler,
                          "solver (default: the checkpoint's, else unipc)"),
        APP_CHOICE_OPTION(
            "sampler-schedule", "new|old", &s.schedule,
            "UniPC's sigmas as in diffusers from 0.37 on, or up to 0.36 (default new)"),
        APP_INT_OPTION("max-sequence-length", "N", &s.max_sequence_length, 1, APP_MOST_TOKENS,
                       "tokens that a prompt is cut or padded to (default: the checkpoint's, else "
                       "512)"),
        APP_SEED_OPTION("seed", "N", &s.seed,
                        "of the starting noise, the same as torch's on a CPU (default 0)"),
        APP_STRING_OPTION("latents", "FILE", &s.latents,
                          "starting latent in place of noise: a safetensors file with the tensor "
                          "latent [1, channels, frames, height, width]"),
        APP_CHOICE_OPTION("dtype", APP_DTYPES, &s.place.dtype, APP_DTYPE_HELP),
        APP_HEADING("What to write"),
        APP_STRING_OPTION("output", "PATH", &s.output,
                          "the video: .mp4, .y4m, .safetensors, or a folder of PNG files; with "
                          "several prompts a name as out-%03d.mp4, numbered from 1"),
        APP_DOUBLE_OPTION("fps", "F", &s.fps, 0.01, 1000.0,
                          "frames per second of the video (default: the checkpoint's, else 16)"),
        APP_STRING_OPTION("save-latent", "FILE", &s.save_latent,
                          "write the final latent before it is decoded (.safetensors)"),
        APP_STRING_OPTION("contact-sheet", "FILE", &s.sheet,
                          "also write frames side by side (.png)"),
        APP_INT_OPTION("sheet-columns", "N", &s.sheet_columns, 1, 64,
                       "columns of the contact sheet, and most rows (default 4)"),
        APP_INT_OPTION("sheet-scale", "N", &s.sheet_scale, 1, 64,
                       "enlargement of the contact sheet's frames (default 1)"),
        APP_FLAG_OPTION("force", &s.force, "replace files that are there"),
        APP_HEADING("Where and how to run"),
        APP_STRING_OPTION("devices", "N|LIST", &s.place.devices, APP_DEVICES_HELP),
        APP_INT_OPTION(
            "workers-per-device", "W", &s.place.workers, 1, STARPU_MAXCPUS,
            "CPU workers of each CPU device (default: all cores for one device, else 1); "
            "with GPUs, of the host"),
        APP_STRING_OPTION("strategy", "NAME", &s.place.strategy, strategy_help),
        APP_INT_OPTION("chunk-heads", "K", &s.place.chunk_heads, 1, 1024,
                       "most heads of one exchange (default: 1 for pipesp, else all of a device)"),
        APP_INT_OPTION("ulysses-degree", "U", &s.place.ulysses_degree, 1, SDT_MAX_DEVICES,
                       "usp: devices of one ring position (default: all)"),
        APP_INT_OPTION("ring-degree", "R", &s.place.ring_degree, 1, SDT_MAX_DEVICES,
                       "usp: positions of the ring (default: devices / Ulysses degree)"),
        APP_STRING_OPTION("dit-devices", "LIST", &s.place.dit_devices,
                          "devices that denoise, as 0-6, cpu:0,2 or cuda:0-6; with --vae-devices: "
                          "DeDiVAE, one prompt is denoised while another is decoded"),
        APP_STRING_OPTION("vae-devices", "LIST|auto", &s.place.vae_devices,
                          "devices that decode; auto divides --devices by the work of both"),
        APP_INT_OPTION("dit-parallel-size", "N", &s.place.dit_size, 1, SDT_MAX_DEVICES,
                       "the first N devices denoise (with --vae-parallel-size)"),
        APP_INT_OPTION("vae-parallel-size", "N", &s.place.vae_size, 1, SDT_MAX_DEVICES,
                       "the next N devices decode"),
        APP_CHOICE_OPTION("text-encoder-group", "dit|vae", &s.place.text_group,
                          "whose first device runs the text encoder (default dit)"),
        APP_CHOICE_OPTION(
            "transport", "starpu|nccl", &s.place.transport,
            "how pieces travel between devices: StarPU's own transfers (the default), "
            "or rounds of NCCL over the DiT group; the bits are the same"),
        APP_CHOICE_OPTION("aco", "off|static|dynamic|auto", &s.place.aco,
                          "attention on idle VAE devices: a fixed share while nothing is decoded, "
                          "or piece by piece where it ends earlier (default off)"),
        APP_INT_OPTION("max-latents", "N", &s.place.max_latents, 1, APP_MOST_STRINGS,
                       "most latents alive before prompts wait (default 3)"),
        APP_FLAG_OPTION("vae-spill", &s.place.vae_spill,
                        "once nothing is left to denoise, the devices that denoised decode too"),
        APP_CHOICE_OPTION("streams", "1|2|auto", &s.place.streams,
                          "with guidance, the two forwards of a step: 2 side by side, each with "
                          "buffers of its own, or 1 after the other in less memory (default 2, or "
                          "what --plan auto finds)"),
        APP_CHOICE_OPTION("plan", "given|auto", &s.place.plan,
                          "auto: the strategy, groups, aco and streams with the shortest predicted "
                          "time, within what is given (default given)"),
        APP_STRING_OPTION("scheduler", "NAME", &s.scheduler,
                          "StarPU policy (default STARPU_SCHED, else pipedit)"),
        APP_FLAG_OPTION("enable-tiling", &s.tiling,
                        "decode in overlapping spatial tiles, which needs less memory"),
        APP_STRING_OPTION("tile-size", "S|RxC", &s.tile_size,
                          "tiles of S x S or R x C pixels (default 256; turns tiling on)"),
        APP_STRING_OPTION(
            "tile-stride", "S|RxC", &s.tile_stride,
            "a tile every S pixels, or R rows and C columns (default 3/4 of the size)"),
        APP_HEADING("What to report"),
        APP_FLAG_OPTION("dry-run", &s.dry_run,
                        "print the plan (devices, work, memory, time) and do nothing"),
        APP_STRING_OPTION("stats", "FILE", &s.stats, "write what the run did as JSON; - prints it"),
        APP_STRING_OPTION("trace", "FILE", &s.trace,
                          "write when each task ran, for chrome://tracing or Perfetto (JSON)"),
        APP_STRING_OPTION("dot", "FILE", &s.dot, "write the task graph for Graphviz"),
        APP_CHOICE_OPTION("progress", "auto|bar|plain|none", &s.progress,
                          "progress on stderr (default auto: a bar on a terminal, else lines)"),
        APP_FLAG_OPTION("quiet", &s.quiet, "print errors only"),
    };
    struct app_program program = {
        .name = name_of_program,
        .usage = "--model DIR --prompt TEXT --output PATH [options]",
        .summary = "Makes a video from a prompt with a Wan 2.1 checkpoint; all the work runs as "
                   "StarPU tasks on one or several devices.",
        .options = options,
        .count = sizeof options / sizeof options[0],
        .notes =
            "Exit status: 0 done, 1 failed or interrupted, 2 wrong command line. Ctrl-C ends the "
            "run after the running tasks and keeps the latent.",
    };
    struct sdt_pipeline *pipeline = NULL;
    struct sdt_request request, *requests = NULL;
    struct sdt_placement placement;
    struct sdt_plan plan = {0};
    struct inputs inputs = {0};
    struct sdt_error err;

    int code = app_parse(&program, argc, argv);
    if (code < 0)
        code = check_settings(&s, &program);
    if (code >= 0)
        return code;
    code = 0;
    if (s.place.plan && !strcmp(s.place.plan, "given"))
        s.place.plan = NULL;
    enum sdt_status status = sdt_pipeline_open(s.model, &pipeline, &err);
    if (status == SDT_OK)
        status = make_request(&s, &program, pipeline, &request, &inputs, &err);
    if (status == SDT_OK && !s.dry_run)
        status = check_names(&s, inputs.count, &err);
    if (status == SDT_OK)
        status = app_place(&s.place, pipeline, &request, inputs.count, s.dry_run, &placement, &err);
    if (status == SDT_OK)
        status = sdt_plan_make(pipeline, &request, &placement, s.place.machine.count,
                               s.place.workers, &plan, &err);
    if (status == SDT_OK && s.dry_run) {
        const char *policy = s.scheduler ? s.scheduler : getenv("STARPU_SCHED");
        app_plan_print(pipeline, &request, &placement, inputs.count, &plan,
                       policy && *policy ? policy : "pipedit");
        if (fflush(stdout) || ferror(stdout))
            status = sdt_fail(&err, SDT_ERROR_IO, "standard output cannot be written");
    } else if (status == SDT_OK) {
        requests = calloc((size_t)inputs.count, sizeof *requests);
        if (!requests)
            status = sdt_fail(&err, SDT_ERROR_MEMORY, "out of memory for %d prompts", inputs.count);
        for (int r = 0; requests && r < inputs.count; r++) {
            requests[r] = request;
            requests[r].prompt = inputs.prompts[r];
        }
        if (requests)
            code = run(&s, pipeline, requests, inputs.count, &placement, &plan);
    }
    if (status != SDT_OK)
        code = app_report(program.name, &err);
    free(requests);
    sdt_plan_clear(&plan);
    inputs_clear(&inputs);
    sdt_pipeline_close(pipeline);
    return code;
}

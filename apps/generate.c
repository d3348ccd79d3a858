/* stardit-generate: a prompt and a checkpoint in, a video out. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "config.h"

#include "apps/comment.h"
#include "apps/inputs.h"
#include "apps/plan.h"
#include "apps/progress.h"
#include "apps/ranks.h"
#include "apps/settings.h"
#include "apps/signals.h"
#include "apps/state.h"
#include "apps/stats.h"
#include "apps/stream.h"
#include "base/clock.h"
#include "stardit/video.h"

static const char name_of_program[] = "stardit-generate";

/* ---- interruption ---------------------------------------------------------------------------- */

static struct sdt_machine *_Atomic machine_to_stop;

/* The run ends after the running tasks; in a signal's handler. */
static void stop_machine(void) {
    if (sdt_ranks() > 1) { /* which would wait for one another */
        static const char line[] = "stardit-generate: stopped; of several ranks nothing is kept\n";
        const enum sdt_status status = app_reported()->status;
        if (status != SDT_OK) /* one that has ended for the same reason: mpirun ends the others */
            _exit(sdt_status_exit_code(status));
        ssize_t told = sdt_rank() > 0 ? 0 : write(STDERR_FILENO, line, sizeof line - 1);
        _exit(told < 0 ? 2 : 1);
    }
    struct sdt_machine *machine = atomic_load(&machine_to_stop);
    if (machine)
        sdt_machine_stop(machine);
}

static atomic_flag aborts = ATOMIC_FLAG_INIT;

/* StarPU aborts where CUDA fails: in which task nobody else would say. Where several workers abort
 * at once, the others must not end the process before the first has spoken. Then it ends, also
 * where somebody only raised the signal, as StarPU's watchdog does, or sent it. */
static void on_abort(int number, siginfo_t *info, void *context) {
    static const char end[] = ". Videos that are there are whole; --checkpoint-every keeps steps "
                              "that --resume goes on from\n";
    const bool sent = info->si_code == SI_USER && info->si_pid != getpid();
    char work[192], line[640];
    size_t length = 0;
    (void)context;
    while (atomic_flag_test_and_set(&aborts))
        pause();
    sdt_current_work(work, sizeof work);
    const char *const part[] = {name_of_program, sent ? ": ended by SIGABRT" : ": aborted in ",
                                sent ? "" : work, end};
    for (size_t p = 0; p < sizeof part / sizeof part[0]; p++)
        for (const char *c = part[p]; *c && length < sizeof line; c++)
            line[length++] = *c;
    ssize_t written = write(STDERR_FILENO, line, length);
    (void)written; /* nobody may read it */
    signal(number, SIG_DFL);
    raise(number); /* once this handler is left */
}

/* Before anything runs; a signal that comes before the machine is there counts as soon as it is. */
static void catch_signals(void) {
    const struct sigaction action = {.sa_sigaction = on_abort, .sa_flags = SA_SIGINFO};
    app_signals_catch(stop_machine);
    sigaction(SIGABRT, &action, NULL);
}

static void stop_on_signals(struct sdt_machine *machine) {
    atomic_store(&machine_to_stop, machine);
    if (machine && app_signals_came())
        sdt_machine_stop(machine);
}

/* ---- keeping the latent ---------------------------------------------------------------------- */

/* A name that is not taken: <stem>.latent.safetensors, else with -2, -3, ... NULL: out of memory,
 * or there are too many. */
static char *free_name(const char *folder, int length, const char *stem) {
    char *path = NULL;
    for (int i = 1; i < 1000; i++) {
        char number[16] = "";
        if (i > 1)
            snprintf(number, sizeof number, "-%d", i);
        if (asprintf(&path, "%s%.*s.latent%s.safetensors", folder, length, stem, number) < 0)
            return NULL;
        if (access(path, F_OK) != 0)
            return path;
        free(path);
    }
    return NULL;
}

/* Where a latent goes: beside the output under its name without ending, or into TMPDIR.
 * malloc'ed. */
static char *latent_path(const char *output, bool beside) {
    if (!strcmp(output, "-"))
        output = "stdout";
    size_t start, length = app_stem_length(output, &start);
    if (beside)
        return free_name("", (int)length, output);
    const char *tmp = getenv("TMPDIR");
    char *folder = NULL, *path = NULL;
    if (asprintf(&folder, "%s/", tmp && *tmp ? tmp : "/tmp") >= 0) {
        path = free_name(folder, (int)(length - start), output + start);
        free(folder);
    }
    return path;
}

/* ---- statistics ------------------------------------------------------------------------------ */

/* What is to be done, and how. */
struct work {
    const struct app_settings *s;
    struct sdt_pipeline *pipeline;
    const struct sdt_request *requests; /* [count] */
    const struct app_recipe *recipes;   /* [count] */
    int count;
    const struct sdt_placement *placement;
    const struct sdt_plan *plan; /* of the first request */
};

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
    return json_pack("{s:o, s:o, s:s, s:i, s:i, s:i, s:b}", "dit_devices", dit, "vae_devices", vae,
                     "aco", sdt_aco_name(p->aco), "chunk_heads", p->chunk_heads, "ulysses_degree",
                     p->ulysses_degree, "streams", streams, "cfg_parallel", p->cfg_parallel);
}

static enum sdt_status write_stats(const struct work *w,
                                   const struct outcome *outcome /* [w->count] */,
                                   struct sdt_machine *machine, double total_seconds,
                                   struct sdt_error *err) {
    const struct app_settings *s = w->s;
    const struct sdt_request *request = &w->requests[0];
    const struct sdt_plan *plan = w->plan;
    struct outcome sum = {.prompt_tokens = outcome[0].prompt_tokens};
    for (int r = 0; r < w->count; r++) {
        sum.text_seconds += outcome[r].text_seconds;
        sum.denoise_seconds += outcome[r].denoise_seconds;
        sum.decode_seconds += outcome[r].decode_seconds;
        sum.write_seconds += outcome[r].write_seconds;
    }
    double bytes[(SDT_MAX_DEVICES + 1) * (SDT_MAX_DEVICES + 1)] = {0};
    json_t *stats = app_stats_begin(name_of_program);

    json_object_set_new(stats, "model",
                        json_string(s->files.model ? s->files.model : s->files.transformer));
    json_object_set_new(stats, "seed", seed_value(request->seed));
    json_object_set_new(stats, "height", json_integer(request->height));
    json_object_set_new(stats, "width", json_integer(request->width));
    json_object_set_new(stats, "num_frames", json_integer(request->num_frames));
    json_object_set_new(stats, "num_inference_steps", json_integer(request->steps));
    json_object_set_new(stats, "guidance_scale", json_real(request->guidance_scale));
    json_object_set_new(stats, "flow_shift", json_real(request->flow_shift));
    json_object_set_new(stats, "sampler", json_string(sdt_sampler_kind_name(request->sampler)));
    json_object_set_new(stats, "prompt_tokens", json_integer(sum.prompt_tokens));
    json_object_set_new(stats, "strategy", json_string(sdt_strategy_name(request->strategy)));
    json_object_set_new(stats, "placement", placement_object(w->placement, plan->streams));
    json_object_set_new(stats, "requests", requests_array(outcome, w->count));
    json_object_set_new(stats, "plan", app_stats_plan(plan));
    json_object_set_new(stats, "seconds",
                        json_pack("{s:f, s:f, s:f, s:f, s:f}", "text", sum.text_seconds, "denoise",
                                  sum.denoise_seconds, "decode", sum.decode_seconds, "write",
                                  sum.write_seconds, "total", total_seconds));
    app_stats_kinds(stats, plan, w->placement->text_with_vae);
    app_stats_machine(stats, machine, plan->device_tiles, plan->device_heads);
    sdt_machine_traffic(machine, bytes);
    struct sdt_cudnn_use use = sdt_machine_cudnn(machine);
    app_stats_cudnn(stats, &use);
    app_stats_moved(stats, bytes, sdt_machine_collective_bytes(machine),
                    sdt_machine_devices(machine));
    if (sdt_ranks() > 1)
        app_stats_ranks(stats, machine, sdt_ranks());
    return app_stats_write(stats, s->stats, err);
}

/* ---- the run --------------------------------------------------------------------------------- */

/* The request's video without its pixels. comment: room for one. */
static struct sdt_video video_of(const struct sdt_request *request, char *comment) {
    app_comment(request, comment);
    return (struct sdt_video){.frames = request->num_frames,
                              .height = request->height,
                              .width = request->width,
                              .fps = request->fps,
                              .title = request->prompt,
                              .comment = comment};
}

static enum sdt_status write_video(const struct app_settings *s, const char *output,
                                   const char *sheet, const struct sdt_request *request,
                                   const struct sdt_result *result, struct sdt_error *err) {
    char comment[APP_COMMENT];
    struct sdt_video video = video_of(request, comment);
    video.pixels = result->video;
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
    const struct work *work;
    char **output, **save_latent, **sheet; /* [count] */
    char **state;                          /* [count]; NULL: no states are kept on the way */
    struct app_stream **stream;            /* [count]; of streamed requests that have begun */
    char (*comment)[APP_COMMENT];          /* [count] */
    atomic_bool warned;
    struct outcome *outcome; /* [count] */
    struct app_progress *progress;
};

static void write_state(const struct delivery *d, int r, const char *path,
                        const struct sdt_solver_state *state, struct sdt_error *err) {
    const struct sdt_plan *plan = d->work->plan;
    const int64_t shape[] = {plan->channels, plan->frames, plan->latent_height, plan->latent_width};
    *err = (struct sdt_error){0};
    if (path)
        app_state_write(path, &d->work->recipes[r], shape, state, err);
    else
        sdt_fail(err, SDT_ERROR_MEMORY, "no memory for its name");
}

/* An sdt_checkpoint. A state that cannot be written is no reason to end: the one before stays. */
static void keep_state(void *arg, int r, const struct sdt_solver_state *state) {
    struct delivery *d = arg;
    struct sdt_error err;
    write_state(d, r, d->state[r], state, &err);
    if (err.status == SDT_OK || atomic_exchange(&d->warned, true))
        return;
    app_progress_pause(d->progress);
    fprintf(stderr, "%s: the state after step %d could not be kept: %s\n", name_of_program,
            state->step, err.message);
}

/* The options, each with a space before it, that a run which goes on needs beside --resume: where
 * sums are in an order that devices decide, the same devices. */
static void resume_options(const struct work *w, char *text, size_t size) {
    const struct app_placement *given = &w->s->place;
    const struct sdt_placement *p = w->placement;
    const struct sdt_strategy *strategy = w->requests[0].strategy;
    FILE *out = fmemopen(text, size, "w");
    *text = '\0';
    if (!out)
        return;
    if (!sdt_strategy_exact(strategy) && !sdt_strategy_stale(strategy)) {
        if (given->devices)
            fprintf(out, " --devices %s", given->devices);
        for (int d = 0; d < p->dit_devices; d++)
            fprintf(out, "%s%d", d ? "," : " --dit-devices ", p->dit[d]);
        for (int d = 0; d < p->vae_devices; d++)
            fprintf(out, "%s%d", d ? "," : " --vae-devices ", p->vae[d]);
        if (given->workers)
            fprintf(out, " --workers-per-device %s", given->workers);
        if (given->speed)
            fprintf(out, " --device-speed %s", given->speed);
        if (p->ulysses_degree)
            fprintf(out, " --ulysses-degree %d", p->ulysses_degree);
        if (p->cfg_parallel)
            fprintf(out, " --use-cfg-parallel");
    }
    fclose(out);
}

/* After a failure or a stop: writes what there is and says so. Where it cannot be written in place
 * of the state, under its own name or beside the output, TMPDIR may have room. */
static void keep_latent(const struct delivery *d, int r, enum sdt_status status,
                        const struct sdt_result *result) {
    const struct sdt_solver_state state = {result->steps_done, result->latent, result->x_last,
                                           result->m0,         result->m1,     result->difference};
    const int steps = d->work->requests[r].steps;
    const bool finished = result->steps_done == steps, whole = finished || result->m1;
    /* From NaN or infinity nothing goes on: a state before them is worth more. */
    const bool replace = d->state && whole && status != SDT_ERROR_NOT_FINITE;
    struct sdt_error err;

    if (!result->latent || result->steps_done == 0)
        return; /* no step was finished, or the latent came from a file */
    const char *const own[] = {replace ? d->state[r] : NULL,
                               finished && d->save_latent ? d->save_latent[r] : NULL};
    for (int place = 0; place < 4; place++) {
        if (place < 2 && !own[place])
            continue;
        char *path = place < 2 ? strdup(own[place]) : latent_path(d->output[r], place == 2);
        write_state(d, r, path, &state, &err);
        if (err.status == SDT_OK) {
            fprintf(stderr, "%s: the latent after step %d of %d is in %s (", name_of_program,
                    result->steps_done, steps, path);
            if (whole && status != SDT_ERROR_NOT_FINITE) {
                char options[600];
                resume_options(d->work, options, sizeof options);
                fprintf(stderr, "--resume %s%s goes on from it, ", path, options);
            }
            fprintf(stderr, "--num-inference-steps 0 --latents %s decodes it)\n", path);
        }
        free(path);
        if (err.status == SDT_OK)
            return;
    }
    fprintf(stderr, "%s: the latent could not be kept: %s\n", name_of_program, err.message);
}

/* An sdt_frames. */
static void take_frames(void *arg, int r, int first, int count, const float *pixels) {
    struct delivery *d = arg;
    const struct app_settings *s = d->work->s;
    if (sdt_rank() > 0)
        return;
    if (first == 0) {
        struct sdt_video video = video_of(&d->work->requests[r], d->comment[r]);
        d->stream[r] = app_stream_new(&video, d->output[r], s->force, d->sheet ? d->sheet[r] : NULL,
                                      s->sheet_columns, s->sheet_scale);
    }
    if (d->stream[r])
        app_stream_add(d->stream[r], first, count, pixels);
}

/* The end of a streamed video. */
static enum sdt_status end_stream(struct delivery *d, int r, enum sdt_status status,
                                  struct sdt_error *err) {
    struct app_stream *stream = d->stream[r];
    d->stream[r] = NULL;
    if (!stream)
        return status == SDT_OK ? sdt_fail(err, SDT_ERROR_MEMORY, "no memory for a video") : status;
    enum sdt_status ended = app_stream_end(stream, status == SDT_OK, err);
    return status == SDT_OK ? ended : status;
}

/* Writes the request's video as soon as it is there, or keeps what there is of it. */
static void deliver(void *arg, int r, enum sdt_status status, const struct sdt_error *error,
                    struct sdt_result *result) {
    struct delivery *d = arg;
    struct outcome *outcome = &d->outcome[r];
    struct sdt_error err = {0};
    double start = sdt__host_now();

    if (sdt_rank() > 0) { /* rank 0 has the result */
        outcome->status = status;
        if (status != SDT_OK)
            fprintf(stderr, "%s: %s: %s\n", name_of_program, sdt_rank_name(), error->message);
        return;
    }

    if (status != SDT_OK)
        err = *error;
    if (d->work->requests[r].streamed)
        status = end_stream(d, r, status, &err);
    else if (status == SDT_OK)
        status = write_video(d->work->s, d->output[r], d->sheet ? d->sheet[r] : NULL,
                             &d->work->requests[r], result, &err);
    *outcome = (struct outcome){status,
                                result->prompt_tokens,
                                result->steps_done,
                                result->text_seconds,
                                result->denoise_seconds,
                                result->decode_seconds,
                                sdt__host_now() - start};
    app_progress_pause(d->progress);
    if (status == SDT_ERROR_INTERRUPTED && app_signals_reason())
        sdt_fail(&err, status, "stopped: %s", app_signals_reason());
    if (status == SDT_OK) {
        if (d->state)
            unlink(d->state[r]);
        if (!d->work->s->quiet)
            fprintf(stderr,
                    "%s: %s: %d frame%s of %dx%d, seed %llu (text %.1f s, denoise %.1f s, decode "
                    "%.1f s)\n",
                    name_of_program, d->output[r], result->frames, result->frames == 1 ? "" : "s",
                    result->width, result->height, (unsigned long long)d->work->requests[r].seed,
                    result->text_seconds, result->denoise_seconds, result->decode_seconds);
        return;
    }
    if (d->work->count > 1)
        fprintf(stderr, "%s: %s is not written: %s\n", name_of_program, d->output[r], err.message);
    else
        app_report(name_of_program, &err);
    keep_latent(d, r, status, result);
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
        *failed |= !(list[r] = app_numbered(name, r));
    return list;
}

/* [count] names of states, as names(). */
static char **state_names(char **output, int count, bool *failed) {
    char **list = calloc((size_t)count, sizeof *list);
    *failed |= !list || !output;
    for (int r = 0; list && output && r < count; r++)
        *failed |= !output[r] || !(list[r] = app_state_name(output[r]));
    return list;
}

/* Says which prompts are longer than what is read of them. */
static void tell_cuts(struct sdt_pipeline *pipeline, const struct sdt_request *requests,
                      int count) {
    for (int r = 0; r < count; r++) {
        int given = sdt_pipeline_tokens(pipeline, requests[r].prompt);
        if (requests[r].steps > 0 && !requests[r].prompt_embeds && !requests[r].token_ids &&
            given > requests[r].max_sequence_length)
            fprintf(stderr,
                    "%s: prompt %d has %d tokens, of which %d are read (--max-sequence-length)\n",
                    name_of_program, r + 1, given, requests[r].max_sequence_length);
    }
}

/* Options that are taken and do nothing here: hints for other placements, so that a script may have
 * them. */
static void tell_idle(const struct app_settings *s, const struct sdt_request *request, int forwards,
                      const struct sdt_placement *placement) {
    const bool groups = placement->dit_devices > 0;
    const int dit = groups ? placement->dit_devices : s->place.machine.count;
    const bool text = request->steps > 0 && (!request->prompt_embeds ||
                                             (forwards > 1 && !request->negative_prompt_embeds));
    const struct {
        bool idle;
        const char *text;
    } notices[] = {
        {s->place.max_latents && !groups, "--max-latents does nothing without two groups"},
        {s->place.vae_spill && !groups, "--vae-spill does nothing without two groups"},
        {s->place.chunk_heads && dit == 1, "--chunk-heads does nothing where one device denoises"},
        {s->place.speed && s->place.machine.count == 1,
         "--device-speed does nothing on one device"},
        {s->place.text_group && !text,
         "--text-encoder-group does nothing without a text to encode"},
        {s->place.streams && request->steps == 0, "--streams does nothing without steps"},
        {s->place.cfg_parallel && request->steps == 0,
         "--use-cfg-parallel does nothing without steps"},
        {s->place.strategy && request->steps == 0, "--strategy does nothing without steps"},
        {s->place.transport && dit == 1, "--transport does nothing where one device denoises"},
        {s->checkpoint_every > request->steps,
         "--checkpoint-every is more than there are steps, and keeps no state on the way"},
    };
    for (size_t i = 0; i < sizeof notices / sizeof notices[0]; i++)
        if (notices[i].idle)
            fprintf(stderr, "%s: %s\n", name_of_program, notices[i].text);
}

/* What is said when work begins, and then how far it is. */
struct news {
    const struct work *work;
    struct app_progress *progress;
};

/* Of the run that has begun; pthread_once() takes no argument. */
static const struct news *beginning;
static pthread_once_t begun = PTHREAD_ONCE_INIT;

/* The first line: what will be made, and how long that is expected to take. */
static void announce(void) {
    const struct work *w = beginning->work;
    const struct sdt_request *request = &w->requests[0];
    char duration[32], several[32] = "";
    int before = request->resume ? request->resume->step : 0; /* of the only request */
    app_duration(w->plan->seconds * w->count - app_steps_seconds(w->plan, before), duration);
    if (w->count > 1)
        snprintf(several, sizeof several, "%d videos of ", w->count);
    fprintf(stderr, "%s: %s%d frame%s of %dx%d, %d step%s, seed %llu: about %s\n", name_of_program,
            several, request->num_frames, request->num_frames == 1 ? "" : "s", request->width,
            request->height, request->steps, request->steps == 1 ? "" : "s",
            (unsigned long long)request->seed, duration);
    if (request->resume)
        fprintf(stderr, "%s: goes on after step %d of %d\n", name_of_program, before,
                request->steps);
    tell_cuts(w->pipeline, w->requests, w->count);
    tell_idle(w->s, request, w->plan->forwards, w->placement);
}

/* An sdt_progress: nothing is announced that is refused before it begins. */
static void tell_news(void *arg, int request, const char *phase, int done, int total) {
    struct news *news = arg;
    if (!news->work->s->quiet)
        pthread_once(&begun, announce);
    if (news->progress)
        app_progress_update(news->progress, request, phase, done, total);
}

static enum sdt_status delivery_init(struct delivery *d, const struct work *w,
                                     struct sdt_error *err) {
    const struct app_settings *s = w->s;
    bool failed = false;
    *d = (struct delivery){.work = w,
                           .output = names(s->output, w->count, &failed),
                           .save_latent = names(s->save_latent, w->count, &failed),
                           .sheet = names(s->sheet, w->count, &failed),
                           .stream = calloc((size_t)w->count, sizeof *d->stream),
                           .comment = calloc((size_t)w->count, sizeof *d->comment),
                           .outcome = calloc((size_t)w->count, sizeof *d->outcome)};
    if (s->checkpoint_every)
        d->state = state_names(d->output, w->count, &failed);
    if (failed || !d->outcome || !d->stream || !d->comment)
        return sdt_fail(err, SDT_ERROR_MEMORY, "out of memory for the names");
    for (int r = 0; r < w->count; r++)
        d->outcome[r].status = SDT_ERROR_INTERRUPTED; /* until it is delivered */
    return SDT_OK;
}

static void delivery_clear(struct delivery *d) {
    int count = d->work->count;
    free_names(d->output, count);
    free_names(d->save_latent, count);
    free_names(d->sheet, count);
    free_names(d->state, count);
    free(d->stream);
    free(d->comment);
    free(d->outcome);
}

/* The files about the run as a whole. */
static enum sdt_status write_records(const struct work *w, const struct delivery *d,
                                     struct sdt_machine *machine, double seconds,
                                     struct sdt_error *err) {
    const struct app_settings *s = w->s;
    enum sdt_status status = s->stats ? sdt_machine_gather(machine, err) : SDT_OK;
    if (status != SDT_OK || sdt_rank() > 0)
        return status;
    if (s->stats)
        status = write_stats(w, d->outcome, machine, seconds, err);
    if (status == SDT_OK && s->trace)
        status = sdt_machine_write_trace(machine, s->trace, err);
    if (status == SDT_OK && s->dot)
        status = sdt_machine_write_graph(machine, s->dot, err);
    return status;
}

/* The requests on an open machine; returns the exit code, after a message where it is not 0. */
static int run_requests(const struct work *w, struct delivery *d, struct sdt_machine *machine) {
    const struct app_settings *s = w->s;
    const enum app_progress_mode mode =
        s->quiet ? APP_PROGRESS_NONE : app_progress_mode(s->progress ? s->progress : "auto");
    d->progress = app_progress_start(mode, w->plan, &w->requests[0], w->count);
    struct news news = {w, d->progress};
    struct sdt_run_options options = {
        .placement = *w->placement,
        .save_latent = sdt_rank() > 0 ? NULL : (const char *const *)d->save_latent,
        .progress = tell_news,
        .progress_arg = &news,
        .deliver = deliver,
        .deliver_arg = d,
        .checkpoint_every = s->checkpoint_every,
        .checkpoint = keep_state,
        .checkpoint_arg = d,
        .frames = take_frames,
        .frames_arg = d};
    struct sdt_error err = {0};
    beginning = &news;
    enum sdt_status status =
        sdt_pipeline_run_all(w->pipeline, machine, w->requests, w->count, &options, &err);
    app_progress_end(d->progress);
    int code = sdt_status_exit_code(status);
    for (int r = 0; r < w->count && !code; r++)
        code = sdt_status_exit_code(d->outcome[r].status);
    const bool refused = status != SDT_OK && status != SDT_ERROR_INTERRUPTED &&
                         d->outcome[0].status == SDT_ERROR_INTERRUPTED; /* nothing was delivered */
    if (code && !refused)
        sdt_ranks_abort(code); /* the others may wait for this one */
    if (status == SDT_ERROR_STALLED)
        _exit(code); /* StarPU cannot be stopped any more */
    if (refused)
        app_report(name_of_program, &err);
    return code;
}

/* One line where GPUs computed in bfloat16 without cuDNN, or not all with it. */
static void tell_fall_back(const struct sdt_plan *plan, const struct sdt_machine *machine) {
    const struct sdt_cudnn_use use = sdt_machine_cudnn(machine);
    char text[600];
    if ((plan->dit_dtype == SDT_BF16 || plan->vae_dtype == SDT_BF16) &&
        app_stats_fell_back(&use, text, sizeof text))
        fprintf(stderr, "%s: %s\n", name_of_program, text);
}

/* Carries the plan out; returns the exit code, after a message where it is not 0. */
static int run(const struct work *w) {
    const struct app_settings *s = w->s;
    struct sdt_machine_options options = {
        .scheduler = s->scheduler, .keep_records = s->trace, .keep_edges = s->dot};
    struct sdt_machine *machine = NULL;
    struct delivery d;
    struct sdt_error err = {0};
    double start = sdt__host_now();
    int code;

    app_devices_options(&s->place.machine, &options);
    catch_signals();
    if (!s->quiet)
        app_devices_announce(name_of_program, &s->place.machine);
    enum sdt_status status = delivery_init(&d, w, &err);
    if (status == SDT_OK)
        status = sdt_machine_open(&options, &machine, &err);
    if (status != SDT_OK) {
        code = app_report(name_of_program, &err);
        goto out;
    }
    if (!s->quiet)
        app_devices_tell(name_of_program, machine);
    stop_on_signals(machine);
    code = run_requests(w, &d, machine);
    if (!s->quiet)
        tell_fall_back(w->plan, machine);
    if (write_records(w, &d, machine, sdt__host_now() - start, &err) != SDT_OK)
        code = app_report(name_of_program, &err);
    if (!code && w->count > 1 && !s->quiet)
        fprintf(stderr, "%s: %d videos in %.1f s\n", name_of_program, w->count,
                sdt__host_now() - start);
    stop_on_signals(NULL);
    sdt_machine_close(machine);
out:
    delivery_clear(&d);
    return code;
}

/* ---- program --------------------------------------------------------------------------------- */

static enum sdt_status print_plan(const struct work *w, struct sdt_error *err) {
    const struct app_settings *s = w->s;
    const char *policy = s->scheduler ? s->scheduler : getenv("STARPU_SCHED");
    struct sdt_machine_options machine = {.scheduler = policy && *policy ? policy : "pipedit"};
    app_devices_options(&s->place.machine, &machine);
    app_plan_print(w->pipeline, &w->requests[0], w->placement, &machine, w->count, w->plan);
    if (fflush(stdout) || ferror(stdout))
        return sdt_fail(err, SDT_ERROR_IO, "standard output cannot be written");
    return SDT_OK;
}

/* A published size can be planned without a checkpoint. */
static bool is_size(const char *model) {
    for (int i = 0; model && sdt_size_name(i); i++)
        if (!strcmp(sdt_size_name(i), model))
            return true;
    return false;
}

/* The checkpoint, of the revision and variant that were asked for. */
static enum sdt_status open_model(const struct app_settings *s, struct sdt_pipeline **pipeline,
                                  struct sdt_error *err) {
    struct sdt_model_files files = s->files;
    char *model = NULL;
    if (s->revision && !*s->revision)
        return sdt_fail(err, SDT_ERROR_USAGE, "--revision '': must be a branch, a tag or a commit");
    if (s->revision && (strchr(files.model, '@') || access(files.model, F_OK) == 0))
        return sdt_fail(err, SDT_ERROR_USAGE,
                        "--revision %s: goes with --model org/name, and %s %s", s->revision,
                        files.model,
                        strchr(files.model, '@') ? "names one already" : "is there as it is");
    if (s->revision && asprintf(&model, "%s@%s", files.model, s->revision) < 0)
        return sdt_fail(err, SDT_ERROR_MEMORY, "out of memory for a name");
    if (model)
        files.model = model;
    files.variant = s->variant;
    enum sdt_status status = sdt_pipeline_open_files(&files, pipeline, err);
    free(model);
    if (status == SDT_ERROR_MISSING && is_size(files.model) && access(files.model, F_OK) != 0)
        return sdt_fail(err, SDT_ERROR_USAGE,
                        "--model %s: is a size without a checkpoint, which --dry-run plans; a "
                        "checkpoint's folder or org/name works",
                        files.model);
    return status;
}

/* A published size, which has no files. */
static enum sdt_status open_size(const struct app_settings *s, struct sdt_pipeline **pipeline,
                                 struct sdt_error *err) {
    const struct sdt_model_files *f = &s->files;
    const struct {
        const char *option, *given;
    } file[] = {{"transformer", f->transformer},
                {"vae", f->vae},
                {"text-encoder", f->text_encoder},
                {"tokenizer", f->tokenizer},
                {"text-encoder-2", f->text_encoder_2},
                {"tokenizer-2", f->tokenizer_2},
                {"revision", s->revision},
                {"variant", s->variant}};
    for (size_t i = 0; i < sizeof file / sizeof file[0]; i++)
        if (file[i].given)
            return sdt_fail(err, SDT_ERROR_USAGE,
                            "--%s: goes with --model of a checkpoint, or without it; %s is a size",
                            file[i].option, f->model);
    if (f->loras)
        return sdt_fail(err, SDT_ERROR_USAGE,
                        "--lora: goes with a checkpoint, whose weights it changes; %s is a size",
                        f->model);
    return sdt_pipeline_imagine(f->model, pipeline, err);
}

/* Makes a request and a recipe of each prompt, and runs them, or prints the plan of the first.
 * first: as if there were no other prompt; *code: the exit code where it was run. */
static enum sdt_status run_prompts(const struct work *first,
                                   const char *const *prompts /* [count] */, int *code,
                                   struct sdt_error *err) {
    const struct app_settings *s = first->s;
    const struct sdt_request *request = first->requests;
    const int count = first->count;
    struct sdt_request *requests = calloc((size_t)count, sizeof *requests);
    struct app_recipe *recipes = calloc((size_t)count, sizeof *recipes);
    struct sdt_solver_state state = {0};
    uint64_t checkpoint = 0;
    enum sdt_status status = SDT_OK;

    if (!requests || !recipes)
        status = sdt_fail(err, SDT_ERROR_MEMORY, "out of memory for %d prompts", count);
    else if (s->state && count > 1)
        status =
            sdt_fail(err, SDT_ERROR_USAGE,
                     "--resume %s: goes on with one video; %d prompts are given", s->resume, count);
    for (int r = 0; r < count && status == SDT_OK; r++) {
        requests[r] = *request;
        requests[r].prompt = prompts[r];
        if (request->steps > 0 && (s->state || !s->dry_run)) {
            checkpoint = r == 0 ? sdt_pipeline_sum(first->pipeline) : checkpoint;
            status = app_recipe_make(s, checkpoint, &requests[r], first->placement, first->plan,
                                     &recipes[r], err);
        }
    }
    if (status == SDT_OK && s->state)
        status = app_state_check(s->state, &recipes[0], err);
    if (status == SDT_OK && s->state) {
        status = app_state_read(s->state, first->pipeline, request, &state, err);
        requests[0].resume = &state;
    }
    struct work work = *first;
    work.requests = requests;
    work.recipes = recipes;
    status = sdt_ranks_settle(status, err);
    if (status == SDT_OK && !s->dry_run)
        status = app_ranks_compare(s, recipes, count, first->placement, err);
    if (status == SDT_OK && s->dry_run)
        status = print_plan(&work, err);
    else if (status == SDT_OK)
        *code = run(&work);
    for (int r = 0; recipes && r < count; r++)
        app_recipe_clear(&recipes[r]);
    app_state_free(&state);
    free(recipes);
    free(requests);
    return status;
}

int main(int argc, char **argv) {
    struct app_settings s;
    struct sdt_pipeline *pipeline = NULL;
    struct sdt_request request;
    struct sdt_placement placement;
    struct sdt_machine_options machine = {0};
    struct sdt_plan plan = {0};
    struct app_inputs inputs = {0};
    struct sdt_error err;

    if (app_ranks_join(&err) != SDT_OK)
        return app_report(name_of_program, &err);
    int code = app_ranks_parsed(name_of_program, app_settings_parse(&s, argc, argv));
    if (code >= 0) {
        sdt_safetensors_close(s.state);
        sdt_ranks_leave();
        return code;
    }
    code = 0;
    s.quiet |= sdt_rank() > 0;
    sdt_ranks_share(&s.seed, sizeof s.seed); /* which may be random */
    bool imagined = s.dry_run && s.files.model && is_size(s.files.model);
    enum sdt_status status = app_ranks_check(&s, &err);
    if (status == SDT_OK)
        status = imagined ? open_size(&s, &pipeline, &err) : open_model(&s, &pipeline, &err);
    if (status == SDT_OK)
        status = app_make_request(&s, pipeline, &request, &inputs, &err);
    if (status == SDT_OK && !s.dry_run && sdt_rank() == 0)
        status = app_check_names(&s, inputs.count, &request, &err);
    if (status == SDT_OK)
        status = app_place(&s.place, pipeline, &request, inputs.count, s.dry_run, &placement, &err);
    if (status == SDT_OK)
        request.streamed =
            sdt_pipeline_streams(pipeline, &request) && (!s.output || sdt_video_streams(s.output));
    app_devices_options(&s.place.machine, &machine);
    if (status == SDT_OK)
        status = sdt_plan_make(pipeline, &request, &placement, &machine, &plan, &err);
    status = sdt_ranks_settle(status, &err);
    if (status == SDT_OK)
        status = run_prompts(
            &(struct work){&s, pipeline, &request, NULL, inputs.count, &placement, &plan},
            inputs.prompts, &code, &err);
    if (status != SDT_OK)
        code = app_report(name_of_program, &err);
    sdt_plan_clear(&plan);
    app_inputs_clear(&inputs);
    sdt_pipeline_close(pipeline);
    sdt_safetensors_close(s.state);
    sdt_ranks_leave();
    return code;
}

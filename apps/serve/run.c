/* A job while the service has it. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "apps/serve/run.h"

#include <ctype.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "apps/comment.h"

void serve_log(const char *format, ...) {
    char text[900];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    for (char *c = text; *c; c++)
        if (iscntrl((unsigned char)*c))
            *c = '?';
    fprintf(stderr, "stardit-serve: %s\n", text);
}

static double expiry(const struct serve_shared *shared) {
    return shared->keep_seconds > 0.0 ? serve_now() + shared->keep_seconds : 0.0;
}

/* ---- how it ends ----------------------------------------------------------------------------- */

static void count_end(struct serve_run *run, const char *result) {
    const struct serve_record *r = &run->record;
    double now = serve_now();
    serve_metrics_job(run->shared->metrics, result, now - r->created,
                      r->deadline > 0.0 && now > r->deadline);
}

/* The whole text is for the log; a client gets no paths of this machine. */
static void fail(struct serve_run *run, const struct sdt_error *err) {
    const bool numbers = err->status == SDT_ERROR_USAGE || err->status == SDT_ERROR_LIMIT;
    char code[SERVE_CODE] = "";
    const char *name = sdt_status_name(err->status);
    name += strncmp(name, "SDT_ERROR_", 10) ? 0 : 10;
    for (size_t i = 0; name[i] && i + 1 < sizeof code; i++)
        code[i] = (char)tolower((unsigned char)name[i]);
    if (serve_store_fail(run->shared->store, run->record.id, code,
                         numbers ? err->message : sdt_status_meaning(err->status),
                         expiry(run->shared)))
        count_end(run, "failed");
    serve_log("%s failed: %s", run->record.id, err->message);
}

static void keep(struct serve_run *run, const struct sdt_solver_state *state) {
    struct serve_shared *shared = run->shared;
    struct sdt_error err = {0};
    char *path = serve_files_name(shared->files, SERVE_STATE, run->record.id);
    enum sdt_status status = path ? app_state_write(path, &run->recipe, run->shape, state, &err)
                                  : sdt_fail(&err, SDT_ERROR_MEMORY, "out of memory for a name");
    free(path);
    if (status == SDT_OK)
        serve_store_step(shared->store, run->record.id, state->step);
    else if (!run->warned++)
        serve_log("%s: the state after step %d could not be kept: %s", run->record.id, state->step,
                  err.message);
}

/* The values of a state. */
enum { PARTS = 5 };
static void parts_of(struct sdt_solver_state *state, const float **part[PARTS]) {
    const float **const all[PARTS] = {&state->x, &state->x_last, &state->m0, &state->m1,
                                      &state->difference};
    memcpy(part, all, sizeof all);
}

static void clear_kept(struct serve_run *run) {
    const float **part[PARTS];
    parts_of(&run->kept, part);
    for (int p = 0; p < PARTS; p++)
        free((void *)*part[p]);
    run->kept = (struct sdt_solver_state){0};
}

/* False: out of memory. */
static bool copy_state(struct serve_run *run, const struct sdt_solver_state *state) {
    const float **part[PARTS];
    size_t size = sizeof(float);
    for (int i = 0; i < 4; i++)
        size *= (size_t)run->shape[i];
    run->kept = *state;
    parts_of(&run->kept, part);
    bool whole = true;
    for (int p = 0; p < PARTS; p++) {
        const float *from = *part[p];
        float *to = from ? malloc(size) : NULL;
        whole = whole && (to || !from);
        if (to)
            memcpy(to, from, size);
        *part[p] = to;
    }
    if (!whole)
        clear_kept(run);
    return whole;
}

static void *keep_copy(void *arg) {
    struct serve_run *run = arg;
    keep(run, &run->kept);
    return NULL;
}

/* Until the state on its way to the disk is there. */
static void await_keeper(struct serve_run *run) {
    if (!run->keeps)
        return;
    pthread_join(run->keeper, NULL);
    run->keeps = false;
    clear_kept(run);
}

/* An sdt_checkpoint. The devices go on while a copy goes to the disk, one at a time. */
static void checkpoint(void *arg, int number, const struct sdt_solver_state *state) {
    struct serve_run *run = arg;
    (void)number;
    await_keeper(run);
    run->keeps = copy_state(run, state) && pthread_create(&run->keeper, NULL, keep_copy, run) == 0;
    if (!run->keeps) {
        clear_kept(run);
        keep(run, state);
    }
}

/* It is taken off the devices and waits again, with what it has done. */
static void put_back(struct serve_run *run, const struct sdt_result *result) {
    const struct sdt_solver_state state = {result->steps_done, result->latent, result->x_last,
                                           result->m0,         result->m1,     result->difference};
    const bool whole = result->steps_done == result->steps || result->m1;
    if (result->latent && result->steps_done > 0 && whole)
        keep(run, &state);
    if (serve_store_requeue(run->shared->store, run->record.id))
        serve_log("%s waits again after step %d of %d", run->record.id, result->steps_done,
                  result->steps);
}

/* What is on the disk is not given up because the table cannot be written for now. */
static bool complete(struct serve_run *run, const struct serve_file_facts *facts) {
    struct serve_shared *shared = run->shared;
    struct serve_record now;
    for (;;) {
        if (serve_store_complete(shared->store, run->record.id, facts->bytes, facts->sha256,
                                 expiry(shared)))
            return true;
        bool open =
            serve_store_get(shared->store, run->record.id, &now) && now.status == SERVE_IN_PROGRESS;
        serve_record_clear(&now);
        if (!open || atomic_load(&shared->stopping))
            return false;
        serve_log("%s: its end could not be stored; tried again", run->record.id);
        sleep(1);
    }
}

/* What the service calls its tasks. */
static int number_of(const struct serve_run *run) { return (int)(run->record.number & INT_MAX); }

/* Beside the video; one that cannot be written is no reason to fail. */
static void write_trace(struct serve_run *run) {
    struct serve_shared *shared = run->shared;
    struct sdt_error err = {0};
    if (!shared->traces)
        return;
    char *path = serve_files_name(shared->files, SERVE_TRACE, run->record.id);
    if (path)
        unlink(path); /* of a server that was killed before its job was completed */
    if (sdt_machine_take_trace(shared->machine, number_of(run), path, &err) != SDT_OK)
        serve_log("%s has no trace: %s", run->record.id, err.message);
    free(path);
}

static void finish(struct serve_run *run, const struct sdt_result *result) {
    struct serve_shared *shared = run->shared;
    const struct sdt_request *request = &run->request.request;
    struct sdt_error err = {0};
    char comment[APP_COMMENT];
    double start = serve_now();
    struct serve_file_facts facts = {0};

    app_comment(request, comment);
    struct sdt_video video = {.frames = result->frames,
                              .height = result->height,
                              .width = result->width,
                              .fps = request->fps,
                              .title = request->prompt,
                              .comment = comment,
                              .pixels = result->video};
    if (serve_files_publish(shared->files, run->record.id, &video, &facts, &err) != SDT_OK) {
        fail(run, &err);
        return;
    }
    write_trace(run);
    double end = serve_now();
    if (!complete(run, &facts))
        return; /* it was cancelled or deleted meanwhile */
    count_end(run, "completed");
    const int before = request->resume ? request->resume->step : 0;
    serve_metrics_stages(shared->metrics, result->text_seconds, result->denoise_seconds,
                         result->decode_seconds, end - start, result->steps - before,
                         run->record.work.step_seconds);
    serve_log("%s completed: %d frame%s of %dx%d, %d steps, %lld bytes (text %.1f s, denoise %.1f "
              "s, decode %.1f s, %.1f s since it came)",
              run->record.id, result->frames, result->frames == 1 ? "" : "s", result->width,
              result->height, result->steps, (long long)facts.bytes, result->text_seconds,
              result->denoise_seconds, result->decode_seconds, end - run->record.created);
}

/* Files of one that does not wait and has no video are nobody's. */
static void tidy(struct serve_run *run) {
    struct serve_shared *shared = run->shared;
    struct serve_record now;
    bool known = serve_store_get(shared->store, run->record.id, &now);
    if (known && now.status == SERVE_COMPLETED)
        serve_files_forget_state(shared->files, run->record.id);
    else if (!known || (now.status != SERVE_QUEUED && now.status != SERVE_IN_PROGRESS))
        serve_files_forget(shared->files, run->record.id);
    if (shared->traces && (!known || now.status != SERVE_QUEUED)) /* one that waits goes on */
        sdt_machine_take_trace(shared->machine, number_of(run), NULL, NULL);
    serve_record_clear(&now);
}

static void leave(struct serve_run *run) {
    tidy(run);
    atomic_store(&run->left, true);
    run->shared->left(run->shared->left_arg);
}

static void *write_video(void *arg) {
    struct serve_run *run = arg;
    await_keeper(run);
    finish(run, &run->result);
    sdt_result_clear(&run->result);
    leave(run);
    return NULL;
}

/* By a thread of its own: the devices go on with other jobs meanwhile. */
static void begin_to_write(struct serve_run *run, struct sdt_result *result) {
    run->result = *result;
    run->result.latent = run->result.x_last = NULL;
    run->result.m0 = run->result.m1 = run->result.difference = NULL;
    result->video = NULL;
    run->writes = pthread_create(&run->writer, NULL, write_video, run) == 0;
    if (!run->writes)
        write_video(run);
}

/* An sdt_deliver. */
static void deliver(void *arg, int number, enum sdt_status status, const struct sdt_error *err,
                    struct sdt_result *result) {
    struct serve_run *run = arg;
    (void)number;
    if (status == SDT_ERROR_STALLED) {
        serve_log("%s: %s; the server ends, and goes on from the last state when it is started "
                  "again",
                  run->record.id, err->message);
        _Exit(1); /* StarPU cannot take tasks back */
    }
    if (status == SDT_OK) {
        begin_to_write(run, result);
        return;
    }
    await_keeper(run);
    if (status != SDT_ERROR_INTERRUPTED)
        fail(run, err);
    else if (atomic_load(&run->end) == SERVE_EVICTED)
        put_back(run, result);
    leave(run);
}

/* An sdt_progress. */
static void progress(void *arg, int number, const char *phase, int done, int total) {
    struct serve_run *run = arg;
    (void)number;
    (void)total;
    if (!strcmp(phase, "denoise"))
        atomic_store(&run->steps_done, done);
    else if (!strcmp(phase, "decode"))
        atomic_store(&run->frames_done, done);
}

/* ---- how it begins --------------------------------------------------------------------------- */

/* The state that an earlier attempt has kept; one that does not go with the request, as of another
 * checkpoint under the same name, is no reason to fail. */
static void take_state(struct serve_run *run) {
    struct serve_shared *shared = run->shared;
    const struct serve_model *model = &shared->models->model[run->request.model];
    char *path = serve_files_name(shared->files, SERVE_STATE, run->record.id);
    struct sdt_safetensors *file = NULL;
    struct sdt_error err = {0};
    if (!path || access(path, F_OK) != 0) {
        free(path);
        return;
    }
    enum sdt_status status = app_state_open(path, &file, &err);
    if (status == SDT_OK)
        status = app_state_check(file, &run->recipe, &err);
    if (status == SDT_OK)
        status = app_state_read(file, model->pipeline[0], &run->request.request, &run->state, &err);
    if (status == SDT_OK) {
        run->request.request.resume = &run->state;
        atomic_store(&run->steps_done, run->state.step);
    } else {
        serve_log("%s begins anew: %s", run->record.id, err.message);
        app_state_free(&run->state);
        serve_files_forget_state(shared->files, run->record.id);
    }
    sdt_safetensors_close(file);
    free(path);
}

struct serve_run *serve_run_new(struct serve_shared *shared, struct serve_record *record) {
    struct serve_run *run = calloc(1, sizeof *run);
    struct serve_form form = {.most = SIZE_MAX};
    struct sdt_error err = {0};

    if (!run) {
        serve_record_clear(record);
        return NULL;
    }
    run->shared = shared;
    run->record = *record;
    *record = (struct serve_record){0};
    bool read = serve_form_json(&form, run->record.request, strlen(run->record.request)) &&
                serve_form_check(&form) &&
                serve_request_read(shared->models, &form, &run->request, &form.refusal);
    enum sdt_status status = read ? serve_model_recipe(shared->models, run->request.model,
                                                       &run->request.request, &run->recipe, &err)
                                  : sdt_fail(&err, SDT_ERROR_USAGE, "%s", form.refusal.message);
    serve_form_clear(&form);
    if (status != SDT_OK) {
        fail(run, &err);
        serve_run_free(run);
        return NULL;
    }
    sdt_pipeline_latent_shape(shared->models->model[run->request.model].pipeline[0],
                              &run->request.request, run->shape);
    take_state(run);
    return run;
}

bool serve_run_submit(struct serve_run *run, struct sdt_service *service, double deadline) {
    struct serve_shared *shared = run->shared;
    const double now = serve_now(), left = deadline - now;
    const struct sdt_job_options options = {.number = number_of(run),
                                            .priority = run->record.priority,
                                            .deadline = left != 0.0 ? left : -1e-3,
                                            .progress = progress,
                                            .progress_arg = run,
                                            .deliver = deliver,
                                            .deliver_arg = run,
                                            .checkpoint_every = shared->checkpoint_every,
                                            .checkpoint = checkpoint,
                                            .checkpoint_arg = run};
    struct sdt_error err = {0};
    if (!serve_store_begin(shared->store, run->record.id))
        return false;
    if (sdt_service_submit(service, &run->request.request, &options, &run->job, &err) != SDT_OK) {
        fail(run, &err);
        return false;
    }
    if (run->record.started == 0.0)
        serve_metrics_queued(shared->metrics, now - run->record.created);
    return true;
}

void serve_run_free(struct serve_run *run) {
    if (run->job)
        sdt_job_wait(run->job); /* until its service looks at the request no more */
    if (run->writes)
        pthread_join(run->writer, NULL);
    sdt_job_free(run->job);
    app_state_free(&run->state);
    app_recipe_clear(&run->recipe);
    serve_request_clear(&run->request);
    serve_record_clear(&run->record);
    free(run);
}

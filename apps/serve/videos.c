/* The calls of /v1/videos. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "apps/serve/server.h"

/* ---- a video as clients see it --------------------------------------------------------------- */

static json_t *seconds_of(double time) {
    return time > 0.0 ? json_integer((json_int_t)time) : json_null();
}

static double number_of(const json_t *request, const char *key) {
    return json_number_value(json_object_get(request, key));
}

/* What is left of the job itself, by the plan; not of those that are before it. */
static double seconds_left(const struct serve_record *r, const struct serve_live *live) {
    const struct serve_work *w = &r->work;
    int done = live->there ? live->steps_done : r->step;
    return (done == 0 ? w->text_seconds : 0.0) + (r->steps - done) * w->step_seconds +
           w->decode_seconds;
}

/* What every video says that clients know; NULL: out of memory. */
static json_t *common(const struct serve_record *r, const json_t *request, int progress) {
    char size[32], seconds[32];
    snprintf(size, sizeof size, "%.0fx%.0f", number_of(request, "width"),
             number_of(request, "height"));
    serve_request_seconds((int)number_of(request, "num_frames"), number_of(request, "fps"), seconds,
                          sizeof seconds);
    json_t *error = r->status == SERVE_FAILED
                        ? json_pack("{s:s, s:s}", "code", r->code, "message", r->message)
                        : json_null();
    return json_pack("{s:s, s:s, s:s, s:s, s:i, s:o, s:o, s:o, s:O?, s:s, s:s, s:n, s:o}", "id",
                     r->id, "object", "video", "model", r->model, "status",
                     serve_status_name(r->status), "progress", progress, "created_at",
                     seconds_of(r->created), "completed_at",
                     seconds_of(r->status == SERVE_COMPLETED ? r->completed : 0.0), "expires_at",
                     seconds_of(r->expires), "prompt", json_object_get(request, "prompt"), "size",
                     size, "seconds", seconds, "remixed_from_video_id", "error", error);
}

static json_t *video_of(struct serve_call *call, const struct serve_record *r) {
    struct serve_live live = serve_engine_look(call->server->engine, r->id);
    const bool open = r->status == SERVE_QUEUED || r->status == SERVE_IN_PROGRESS;
    const int step = r->status == SERVE_COMPLETED ? r->steps
                     : live.there                 ? live.steps_done
                                                  : r->step;
    json_t *request = json_loads(r->request, 0, NULL);
    int frames = (int)number_of(request, "num_frames");
    double decoded = live.there && frames > 0 ? 1.0 * live.frames_done / frames : 0.0;
    int progress = r->status == SERVE_COMPLETED ? 100
                   : open && r->steps > 0 ? (int)(90.0 * step / r->steps + 9.0 * fmin(decoded, 1.0))
                                          : 0;
    json_t *video = common(r, request, progress);
    char checksum[80];
    static const char *const given[] = {"negative_prompt",     "num_frames",     "fps",
                                        "num_inference_steps", "guidance_scale", "true_cfg_scale",
                                        "flow_shift",          "sampler",        "sampler_schedule",
                                        "max_sequence_length", "tile_size",      "seed",
                                        "tile_stride",         "priority",       "metadata"};
    for (size_t i = 0; video && i < sizeof given / sizeof given[0]; i++)
        if (json_object_get(request, given[i]))
            json_object_set(video, given[i], json_object_get(request, given[i]));
    if (video) {
        json_object_set_new(video, "step", json_integer(step));
        json_object_set_new(video, "steps", json_integer(r->steps));
        json_object_set_new(video, "attempts", json_integer(r->attempts));
        json_object_set_new(video, "deadline_at", seconds_of(r->deadline));
        json_object_set_new(video, "queue_position",
                            r->status == SERVE_QUEUED && live.position > 0
                                ? json_integer(live.position)
                                : json_null());
        json_object_set_new(video, "seconds_left",
                            open ? json_real(seconds_left(r, &live)) : json_null());
        json_object_set_new(video, "predicted_seconds",
                            json_pack("{s:f, s:f, s:f}", "text", r->work.text_seconds, "step",
                                      r->work.step_seconds, "decode", r->work.decode_seconds));
        json_object_set_new(
            video, "trace",
            json_boolean(r->status == SERVE_COMPLETED &&
                         serve_files_have(call->server->shared->files, SERVE_TRACE, r->id)));
        json_object_set_new(video, "bytes", r->bytes > 0 ? json_integer(r->bytes) : json_null());
        snprintf(checksum, sizeof checksum, "sha256:%s", r->sha256);
        json_object_set_new(video, "checksum", *r->sha256 ? json_string(checksum) : json_null());
    }
    json_decref(request);
    return video;
}

/* The job of the path; where there is none, the call is answered with *result. */
static bool find(struct serve_call *call, struct serve_record *record, enum MHD_Result *result) {
    bool known = serve_store_get(call->server->shared->store, call->id, record);
    if (known && record->status != SERVE_DELETED && record->status != SERVE_EXPIRED)
        return true;
    *result = serve_answer_error(call, 404,
                                 !known                            ? "video_not_found"
                                 : record->status == SERVE_DELETED ? "deleted"
                                                                   : "expired",
                                 "there is no such video");
    serve_record_clear(record);
    return false;
}

static enum MHD_Result answer_video(struct serve_call *call, struct serve_record *record) {
    enum MHD_Result result = serve_answer(call, 200, video_of(call, record));
    serve_record_clear(record);
    return result;
}

/* ---- making one ------------------------------------------------------------------------------ */

/* Could it run here, and soon enough? */
static bool check_plan(struct serve_call *call, const struct serve_request *request,
                       struct serve_work *work, struct serve_refusal *refusal) {
    const struct serve_limits *limits = &call->server->limits;
    struct sdt_error err = {0};
    if (serve_model_plan(call->server->shared->models, request->model, &request->request, work,
                         &err) != SDT_OK)
        return serve_refuse_status(refusal, &err);
    double seconds =
        work->text_seconds + request->request.steps * work->step_seconds + work->decode_seconds;
    if (limits->most_seconds > 0.0 && seconds > limits->most_seconds)
        return serve_refuse(refusal, 400, "too_long", NULL,
                            "about %.0f s are needed (%d steps of %.3g s, decoding %.3g s); at "
                            "most %.0f s are taken here; a smaller size, fewer frames or fewer "
                            "steps need less",
                            seconds, request->request.steps, work->step_seconds,
                            work->decode_seconds, limits->most_seconds);
    return true;
}

/* Stores it, and says what became of that. */
static bool store(struct serve_call *call, const struct serve_request *request,
                  const struct serve_work *work, struct serve_record *r,
                  struct serve_refusal *refusal) {
    struct serve_server *server = call->server;
    const struct serve_models *models = server->shared->models;
    *r = (struct serve_record){.request = serve_request_text(models, request),
                               .priority = request->priority,
                               .created = serve_now(),
                               .steps = request->request.steps,
                               .work = *work};
    if (!r->request)
        return serve_refuse(refusal, 503, "out_of_memory", NULL, "out of memory");
    snprintf(r->model, sizeof r->model, "%s", models->model[request->model].name);
    r->deadline = request->deadline_seconds > 0.0 ? r->created + request->deadline_seconds : 0.0;
    /* Where no more are taken, a repeat still gets its first job. */
    const double kept =
        server->limits.quota > 0.0 ? (double)serve_files_bytes(server->shared->files) : 0.0;
    const bool over = kept >= server->limits.quota && server->limits.quota > 0.0;
    switch (serve_store_add(server->shared->store, r, request->key, server->limits.repeat_seconds,
                            over ? 0 : server->limits.waiting)) {
    case SERVE_ADDED:
        serve_log("%s: %d frame%s of %dx%d, %d steps, about %.1f s alone", r->id,
                  request->request.num_frames, request->request.num_frames == 1 ? "" : "s",
                  request->request.width, request->request.height, request->request.steps,
                  work->text_seconds + r->steps * work->step_seconds + work->decode_seconds);
        serve_engine_wake(server->engine);
        return true;
    case SERVE_REPEATED:
        return true;
    case SERVE_KEY_TAKEN:
        return serve_refuse(refusal, 422, "idempotency_key_reused", "request_id",
                            "another request, or one that has been deleted, came with this key");
    case SERVE_FULL:
        if (over)
            return serve_refuse(refusal, 507, "quota_exceeded", NULL,
                                "the videos and states here take %.3g GB of %.3g GB; DELETE of "
                                "some would make room",
                                1e-9 * kept, 1e-9 * server->limits.quota);
        serve_refuse(refusal, 429, "queue_full", NULL, "%d videos are waiting, and no more may",
                     server->limits.waiting);
        refusal->retry_after = 10;
        return false;
    default:
        serve_refuse(refusal, 503, "not_stored", NULL,
                     "the request could not be stored; it is not taken");
        refusal->retry_after = 10;
        return false;
    }
}

/* The job of the body, or the one that it repeats. */
static bool create(struct serve_call *call, struct serve_record *record,
                   struct serve_refusal *refusal) {
    struct serve_server *server = call->server;
    const char *key =
        MHD_lookup_connection_value(call->connection, MHD_HEADER_KIND, "Idempotency-Key");
    struct serve_request request = {0};
    struct serve_work work;
    if (serve_engine_stopping(server->engine)) {
        serve_refuse(refusal, 503, "stopping", NULL, "the server is stopping");
        refusal->retry_after = 10;
        return false;
    }
    *refusal = call->form.refusal;
    if (call->form.refusal.http || !serve_form_check(&call->form)) {
        *refusal = call->form.refusal;
        return false;
    }
    if (key && !serve_form_text(&call->form, "request_id") &&
        !serve_form_piece(&call->form, "request_id", NULL, key, 0, strlen(key))) {
        *refusal = call->form.refusal;
        return false;
    }
    bool made = serve_request_read(server->shared->models, &call->form, &request, refusal) &&
                check_plan(call, &request, &work, refusal) &&
                store(call, &request, &work, record, refusal);
    serve_request_clear(&request);
    if (!made)
        serve_record_clear(record);
    return made;
}

enum MHD_Result serve_videos_create(struct serve_call *call) {
    struct serve_refusal refusal = {0};
    struct serve_record record = {0};
    if (!create(call, &record, &refusal))
        return serve_answer_refusal(call, &refusal);
    if (record.status == SERVE_DELETED || record.status == SERVE_EXPIRED) {
        serve_record_clear(&record);
        return serve_answer_error(call, 404, "deleted", "the video of this key is gone");
    }
    return answer_video(call, &record);
}

enum MHD_Result serve_videos_sync(struct serve_call *call) {
    struct serve_refusal refusal = {0};
    struct serve_record record = {0};
    enum MHD_Result result = MHD_YES;
    if (!call->made && !create(call, &record, &refusal))
        return serve_answer_refusal(call, &refusal);
    if (!call->made)
        memcpy(call->id, record.id, sizeof call->id);
    serve_record_clear(&record);
    call->made = true;
    if (!find(call, &record, &result))
        return result;
    if (record.status == SERVE_COMPLETED) {
        serve_record_clear(&record);
        return serve_videos_content(call);
    }
    if (record.status == SERVE_FAILED)
        result = serve_answer_error(call, 500, record.code, record.message);
    else if (serve_engine_stopping(call->server->engine))
        result = serve_answer_error(call, 503, "stopping",
                                    "the server is stopping; the video will be made after its next "
                                    "start");
    else if (!serve_hold(call))
        result = serve_answer_error(call, 503, "too_many_wait",
                                    "too many calls wait already; the video will be made, GET "
                                    "/v1/videos lists it");
    serve_record_clear(&record);
    return result;
}

/* ---- those that are there -------------------------------------------------------------------- */

enum MHD_Result serve_videos_list(struct serve_call *call) {
    const char *limit =
        MHD_lookup_connection_value(call->connection, MHD_GET_ARGUMENT_KIND, "limit");
    const char *after =
        MHD_lookup_connection_value(call->connection, MHD_GET_ARGUMENT_KIND, "after");
    const char *order =
        MHD_lookup_connection_value(call->connection, MHD_GET_ARGUMENT_KIND, "order");
    struct serve_record *records;
    char *end = NULL;
    long most = limit ? strtol(limit, &end, 10) : 20;
    if (limit && (end == limit || *end || most < 1 || most > 100))
        return serve_answer_error(call, 400, "invalid_value", "limit: must be 1 to 100");
    if (order && strcmp(order, "asc") != 0 && strcmp(order, "desc") != 0)
        return serve_answer_error(call, 400, "invalid_value", "order: must be asc or desc");
    int count = serve_store_list(call->server->shared->store, after, (int)most + 1,
                                 !order || !strcmp(order, "desc"), &records);
    if (count < 0)
        return serve_answer_error(call, 503, "not_read", "the table of jobs cannot be read");
    int shown = count > most ? (int)most : count;
    json_t *data = json_array();
    for (int i = 0; i < shown; i++)
        json_array_append_new(data, video_of(call, &records[i]));
    json_t *list = json_pack("{s:s, s:o, s:s?, s:s?, s:b}", "object", "list", "data", data,
                             "first_id", shown ? records[0].id : NULL, "last_id",
                             shown ? records[shown - 1].id : NULL, "has_more", count > shown);
    serve_records_free(records, count);
    return serve_answer(call, 200, list);
}

enum MHD_Result serve_videos_retrieve(struct serve_call *call) {
    struct serve_record record;
    enum MHD_Result result;
    return find(call, &record, &result) ? answer_video(call, &record) : result;
}

enum MHD_Result serve_videos_content(struct serve_call *call) {
    static const struct {
        const char *name, *type, *ending;
        enum serve_file file;
    } variant[] = {{"video", "video/mp4", "mp4", SERVE_VIDEO},
                   {"thumbnail", "image/png", "png", SERVE_THUMBNAIL},
                   {"spritesheet", "image/png", "sheet.png", SERVE_SHEET}};
    const char *wanted =
        MHD_lookup_connection_value(call->connection, MHD_GET_ARGUMENT_KIND, "variant");
    struct serve_record record;
    enum MHD_Result result;
    char name[SERVE_ID + 16];
    int v = 0;
    while (wanted && v < 3 && strcmp(wanted, variant[v].name) != 0)
        v++;
    if (v == 3)
        return serve_answer_error(call, 400, "invalid_value",
                                  "variant: must be video, thumbnail or spritesheet");
    if (!find(call, &record, &result))
        return result;
    bool ready = record.status == SERVE_COMPLETED;
    serve_record_clear(&record);
    if (!ready)
        return serve_answer_error(call, 400, "not_ready", "the video is not completed");
    snprintf(name, sizeof name, "%s.%s", call->id, variant[v].ending);
    char *path = serve_files_name(call->server->shared->files, variant[v].file, call->id);
    result = path ? serve_answer_file(call, path, variant[v].type, name) : MHD_NO;
    free(path);
    return result;
}

/* When each of its tasks ran. */
enum MHD_Result serve_videos_trace(struct serve_call *call) {
    const struct serve_files *files = call->server->shared->files;
    struct serve_record record;
    enum MHD_Result result;
    char name[SERVE_ID + 16];
    if (!find(call, &record, &result))
        return result;
    serve_record_clear(&record);
    if (!serve_files_have(files, SERVE_TRACE, call->id))
        return serve_answer_error(call, 404, "no_trace",
                                  "traces are of videos that were completed with --traces");
    snprintf(name, sizeof name, "%s.trace.json", call->id);
    char *path = serve_files_name(files, SERVE_TRACE, call->id);
    result = path ? serve_answer_file(call, path, "application/json", name) : MHD_NO;
    free(path);
    return result;
}

/* As it would be made now. */
enum MHD_Result serve_videos_plan(struct serve_call *call) {
    struct serve_models *models = call->server->shared->models;
    struct serve_form form = {.most = SIZE_MAX};
    struct serve_request request = {0};
    struct serve_record record;
    struct sdt_error err = {0};
    enum MHD_Result result;
    json_t *plan = NULL;
    if (!find(call, &record, &result))
        return result;
    if (serve_form_json(&form, record.request, strlen(record.request)) && serve_form_check(&form) &&
        serve_request_read(models, &form, &request, &form.refusal)) {
        plan = serve_model_plan_object(models, request.model, &request.request, &err);
        if (!plan)
            serve_refuse_status(&form.refusal, &err);
    }
    if (plan) {
        json_object_set_new(plan, "id", json_string(record.id));
        json_object_set_new(plan, "object", json_string("video.plan"));
    }
    result = plan ? serve_answer(call, 200, plan) : serve_answer_refusal(call, &form.refusal);
    serve_request_clear(&request);
    serve_form_clear(&form);
    serve_record_clear(&record);
    return result;
}

/* ---- ending one ------------------------------------------------------------------------------ */

/* Files of one that no thread of the service is at. */
static void leave(struct serve_call *call, bool gone) {
    struct serve_shared *shared = call->server->shared;
    if (!serve_engine_cancel(call->server->engine, call->id) && gone)
        serve_files_forget(shared->files, call->id);
    else if (!gone)
        serve_files_forget_state(shared->files, call->id);
}

enum MHD_Result serve_videos_cancel(struct serve_call *call) {
    struct serve_shared *shared = call->server->shared;
    struct serve_record record;
    enum MHD_Result result;
    double expires = shared->keep_seconds > 0.0 ? serve_now() + shared->keep_seconds : 0.0;
    if (!find(call, &record, &result))
        return result;
    serve_record_clear(&record);
    if (serve_store_fail(shared->store, call->id, "cancelled", "cancelled on request", expires)) {
        serve_metrics_job(shared->metrics, "cancelled", serve_now() - record.created, false);
        serve_log("%s is cancelled", call->id);
        leave(call, false);
    }
    return find(call, &record, &result) ? answer_video(call, &record) : result;
}

/* Answered once the devices have left it. */
enum MHD_Result serve_videos_delete(struct serve_call *call) {
    struct serve_shared *shared = call->server->shared;
    struct serve_record record;
    enum MHD_Result result;
    if (!call->made && !find(call, &record, &result))
        return result;
    if (!call->made) {
        const bool open = record.status == SERVE_QUEUED || record.status == SERVE_IN_PROGRESS;
        serve_record_clear(&record);
        if (!serve_store_delete(shared->store, call->id))
            return serve_answer_error(call, 404, "deleted", "there is no such video");
        if (open)
            serve_metrics_job(shared->metrics, "cancelled", serve_now() - record.created, false);
        leave(call, true);
        serve_log("%s is deleted", call->id);
        call->made = true;
    }
    if (serve_engine_look(call->server->engine, call->id).there &&
        !serve_engine_stopping(call->server->engine) && serve_hold(call))
        return MHD_YES;
    return serve_answer(
        call, 200,
        json_pack("{s:s, s:s, s:b}", "id", call->id, "object", "video.deleted", "deleted", 1));
}

/* Which path is whose, and the small ones. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config.h"

#include "apps/serve/server.h"

static enum MHD_Result health(struct serve_call *call) {
    return serve_answer(call, 200, json_pack("{s:s}", "status", "ok"));
}

static enum MHD_Result ready(struct serve_call *call) {
    if (serve_engine_stopping(call->server->engine))
        return serve_answer_error(call, 503, "stopping", "the server is stopping");
    return serve_answer(call, 200, json_pack("{s:s}", "status", "ready"));
}

static enum MHD_Result version(struct serve_call *call) {
    return serve_answer(call, 200, json_pack("{s:s}", "version", PACKAGE_VERSION));
}

static enum MHD_Result models(struct serve_call *call) {
    const struct serve_models *models = call->server->shared->models;
    json_t *data = json_array();
    for (int m = 0; m < models->count; m++) {
        const struct serve_model *model = &models->model[m];
        const struct sdt_request *r = &model->defaults;
        json_array_append_new(
            data, json_pack("{s:s, s:s, s:i, s:s, s:s, s:{s:i, s:i, s:i, s:i, s:f, s:f, s:f}}",
                            "id", model->name, "object", "model", "created", 0, "owned_by",
                            "stardit", "family", sdt_pipeline_model(model->pipeline[0]).family,
                            "defaults", "width", r->width, "height", r->height, "num_frames",
                            r->num_frames, "num_inference_steps", r->steps, "guidance_scale",
                            r->guidance_scale, "flow_shift", r->flow_shift, "fps", r->fps));
    }
    return serve_answer(call, 200, json_pack("{s:s, s:o}", "object", "list", "data", data));
}

static enum MHD_Result metrics(struct serve_call *call) {
    const struct serve_shared *shared = call->server->shared;
    return serve_answer_text(
        call, "text/plain; version=0.0.4",
        serve_metrics_text(shared->metrics, shared->store, call->server->machine));
}

static enum MHD_Result not_made(struct serve_call *call) {
    return serve_answer_error(call, 501, "not_supported",
                              "videos are made of text alone here: POST /v1/videos");
}

static const struct serve_route routes[] = {
    {"/", {serve_page_html}, true},
    {"/page.css", {serve_page_css}, true},
    {"/page.js", {serve_page_js}, true},
    {"/health", {health}, true},
    {"/health/ready", {ready}, true},
    {"/version", {version}, false},
    {"/metrics", {metrics}, false},
    {"/v1/models", {models}, false},
    {"/v1/videos", {serve_videos_list, serve_videos_create}, false},
    {"/v1/videos/sync", {NULL, serve_videos_sync}, false},
    {"/v1/videos/edits", {NULL, not_made}, false},
    {"/v1/videos/extensions", {NULL, not_made}, false},
    {"/v1/videos/{id}", {serve_videos_retrieve, NULL, serve_videos_delete}, false},
    {"/v1/videos/{id}/content", {serve_videos_content}, false},
    {"/v1/videos/{id}/trace", {serve_videos_trace}, false},
    {"/v1/videos/{id}/plan", {serve_videos_plan}, false},
    {"/v1/videos/{id}/cancel", {NULL, serve_videos_cancel}, false},
    {"/v1/videos/{id}/remix", {NULL, not_made}, false},
};

/* Is it of the route's form? What stands at {id} is copied. */
static bool matches(const char *form, const char *path, char id[SERVE_ID + 1]) {
    const char *place = strstr(form, "{id}");
    if (!place)
        return !strcmp(form, path);
    size_t before = (size_t)(place - form);
    if (strncmp(form, path, before) != 0)
        return false;
    size_t length = strcspn(path + before, "/");
    if (length == 0 || length > SERVE_ID || strcmp(path + before + length, place + 4) != 0 ||
        strspn(path + before, "abcdefghijklmnopqrstuvwxyz0123456789_") < length)
        return false;
    snprintf(id, SERVE_ID + 1, "%.*s", (int)length, path + before);
    return true;
}

const struct serve_route *serve_route_find(const char *path, char id[SERVE_ID + 1]) {
    for (size_t r = 0; r < sizeof routes / sizeof routes[0]; r++)
        if (matches(routes[r].path, path, id))
            return &routes[r];
    return NULL;
}

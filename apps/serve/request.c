/* A request from fields, and as it is kept. */
#include "apps/serve/request.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "apps/read.h"
#include "base/digest.h"

/* ---- fields ---------------------------------------------------------------------------------- */

/* What a request is read into, besides the request: what follows from several fields. */
struct reading {
    const struct serve_models *models;
    struct serve_request *to;
    struct serve_refusal *refusal;
    const char *size, *seconds, *tile_size, *tile_stride, *sampler, *schedule, *seed;
    const char *model, *key, *prompt, *negative_prompt, *metadata;
};

enum kind { TEXT, WHOLE, REAL };
struct known {
    const char *name;
    enum kind kind;
    size_t at; /* in struct reading (texts), in struct serve_request */
    double min, max;
};
#define IN(field) offsetof(struct reading, field)
#define OF(field) offsetof(struct serve_request, field)
static const struct known known[] = {
    {"prompt", TEXT, IN(prompt), 0, 0},
    {"negative_prompt", TEXT, IN(negative_prompt), 0, 0},
    {"model", TEXT, IN(model), 0, 0},
    {"size", TEXT, IN(size), 0, 0},
    {"seconds", TEXT, IN(seconds), 0, 0},
    {"width", WHOLE, OF(request.width), 1, 65536},
    {"height", WHOLE, OF(request.height), 1, 65536},
    {"num_frames", WHOLE, OF(request.num_frames), 1, 1048576},
    {"num_inference_steps", WHOLE, OF(request.steps), 1, 1000},
    {"guidance_scale", REAL, OF(request.guidance_scale), 0, 1000},
    {"true_cfg_scale", REAL, OF(request.true_cfg_scale), 0, 1000},
    {"flow_shift", REAL, OF(request.flow_shift), 1e-3, 1000},
    {"fps", REAL, OF(request.fps), 0.01, 1000},
    {"max_sequence_length", WHOLE, OF(request.max_sequence_length), 1, APP_MOST_TOKENS},
    {"seed", TEXT, IN(seed), 0, 0},
    {"sampler", TEXT, IN(sampler), 0, 0},
    {"sampler_schedule", TEXT, IN(schedule), 0, 0},
    {"tile_size", TEXT, IN(tile_size), 0, 0},
    {"tile_stride", TEXT, IN(tile_stride), 0, 0},
    {"priority", WHOLE, OF(priority), -1000, 1000},
    {"deadline_seconds", REAL, OF(deadline_seconds), 0, 1e9},
    {"request_id", TEXT, IN(key), 0, 0},
    {"metadata", TEXT, IN(metadata), 0, 0},
};

static bool take_number(struct reading *r, const struct known *field, const char *text) {
    char *end = NULL;
    errno = 0;
    double value = field->kind == REAL ? strtod(text, &end) : (double)strtol(text, &end, 10);
    if (end == text || *end || errno || !isfinite(value) || value < field->min ||
        value > field->max)
        return serve_refuse(r->refusal, 400, "invalid_value", field->name,
                            "%s: '%.40s' is not %s of %.9g to %.9g", field->name, text,
                            field->kind == REAL ? "a number" : "an integer", field->min,
                            field->max);
    void *place = (char *)r->to + field->at;
    if (field->kind == REAL)
        *(double *)place = value;
    else
        *(int *)place = (int)value;
    return true;
}

static bool take_field(struct reading *r, const struct serve_field *field) {
    for (size_t k = 0; k < sizeof known / sizeof known[0]; k++) {
        if (strcmp(known[k].name, field->name) != 0)
            continue;
        if (known[k].kind != TEXT)
            return take_number(r, &known[k], field->text);
        *(const char **)((char *)r + known[k].at) = field->text;
        return true;
    }
    return serve_refuse(r->refusal, 400, "unknown_field", field->name,
                        "%s: not a field that is known here; docs/serving.md lists them",
                        field->name);
}

/* ---- what follows from several --------------------------------------------------------------- */

static bool take_size(struct reading *r, const struct serve_form *form) {
    struct sdt_request *request = &r->to->request;
    int width, height, end = -1;
    if (!r->size)
        return true;
    if (serve_form_text(form, "width") || serve_form_text(form, "height"))
        return serve_refuse(r->refusal, 400, "invalid_value", "size",
                            "size: excludes width and height");
    if (strlen(r->size) > 12 || sscanf(r->size, "%5dx%5d%n", &width, &height, &end) != 2 ||
        end < 0 || r->size[end] || width < 1 || height < 1 || width > 65536 || height > 65536)
        return serve_refuse(r->refusal, 400, "invalid_value", "size",
                            "size: '%.40s' is not WIDTHxHEIGHT in pixels, as %dx%d", r->size,
                            request->width, request->height);
    request->width = width;
    request->height = height;
    return true;
}

/* The number of frames that is nearest. */
static bool take_seconds(struct reading *r, const struct serve_form *form) {
    struct sdt_request *request = &r->to->request;
    const int ratio = sdt_pipeline_model(r->models->model[r->to->model].pipeline[0]).time_ratio;
    char *end;
    if (!r->seconds)
        return true;
    if (serve_form_text(form, "num_frames"))
        return serve_refuse(r->refusal, 400, "invalid_value", "seconds",
                            "seconds: excludes num_frames");
    double seconds = strtod(r->seconds, &end);
    if (end == r->seconds || *end || !(seconds > 0.0) || seconds > 86400.0)
        return serve_refuse(r->refusal, 400, "invalid_value", "seconds",
                            "seconds: '%.40s' is not a number above 0, to 86400", r->seconds);
    double tokens = round((seconds * request->fps - 1.0) / ratio);
    tokens = fmin(tokens < 0.0 ? 0.0 : tokens, (1048576 - 1) / ratio);
    request->num_frames = ratio * (int)tokens + 1;
    return true;
}

static bool take_seed(struct reading *r) {
    uint64_t *seed = &r->to->request.seed;
    char *end;
    *seed = 0;
    if (!r->seed)
        return true;
    if (!strcmp(r->seed, "-1")) {
        uint32_t random = (uint32_t)sdt__digest(SDT__DIGEST_BEGIN, r->to->key, strlen(r->to->key));
        if (!r->to->key[0] && /* a repeat of the call finds the job by the same seed */
            getrandom(&random, sizeof random, 0) != sizeof random)
            return serve_refuse(r->refusal, 500, "no_random", "seed", "no random number is there");
        *seed = random;
        return true;
    }
    errno = 0;
    *seed = strtoull(r->seed, &end, 10);
    if (r->seed[0] < '0' || r->seed[0] > '9' || *end || errno)
        return serve_refuse(r->refusal, 400, "invalid_value", "seed",
                            "seed: '%.40s' is not an integer, 0 to 2^64 - 1, or -1 for one at "
                            "random",
                            r->seed);
    return true;
}

static const char *const schedule_name[] = {
    [SDT_SCHEDULE_NEW] = "new", [SDT_SCHEDULE_OLD] = "old", [SDT_SCHEDULE_LINEAR] = "linear"};
enum { SCHEDULES = sizeof schedule_name / sizeof schedule_name[0] };
static const enum sdt_sampler_kind last_sampler = SDT_SAMPLER_EULER_ANCESTRAL;

static bool take_sampler(struct reading *r) {
    struct sdt_request *request = &r->to->request;
    bool found = !r->sampler;
    for (int k = 0; !found && k <= (int)last_sampler; k++) {
        found = !strcmp(sdt_sampler_kind_name((enum sdt_sampler_kind)k), r->sampler);
        request->sampler = (enum sdt_sampler_kind)k;
    }
    if (!found)
        return serve_refuse(r->refusal, 400, "invalid_value", "sampler",
                            "sampler: '%.40s' is not unipc, euler or euler-ancestral", r->sampler);
    found = !r->schedule;
    for (int k = 0; !found && k < SCHEDULES; k++) {
        found = !strcmp(schedule_name[k], r->schedule);
        request->schedule = (enum sdt_sampler_schedule)k;
    }
    return found ||
           serve_refuse(r->refusal, 400, "invalid_value", "sampler_schedule",
                        "sampler_schedule: '%.40s' is not new, old or linear", r->schedule);
}

/* As --tile-size of stardit-generate has it: three quarters, in multiples of 8. */
static int stride_of(int size) { return size < 16 ? size : size * 3 / 4 / 8 * 8; }

static bool take_tiling(struct reading *r) {
    struct sdt_vae_tiling *t = &r->to->request.tiling;
    struct sdt_error err = {0};
    enum sdt_status status = SDT_OK;
    if (r->tile_stride && !r->tile_size)
        return serve_refuse(r->refusal, 400, "invalid_value", "tile_stride",
                            "tile_stride: goes with tile_size");
    if (!r->tile_size)
        return true;
    status = app_read_tile("tile_size", r->tile_size, &t->size_rows, &t->size_cols, &err);
    const bool fits = t->size_rows <= 65536 && t->size_cols <= 65536;
    t->stride_rows = fits ? stride_of(t->size_rows) : 0;
    t->stride_cols = fits ? stride_of(t->size_cols) : 0;
    if (status == SDT_OK && r->tile_stride)
        status =
            app_read_tile("tile_stride", r->tile_stride, &t->stride_rows, &t->stride_cols, &err);
    return (status == SDT_OK && fits) ||
           serve_refuse(r->refusal, 400, "invalid_value", "tile_size",
                        "tile_size, tile_stride: must be one number of pixels, up to 65536, or "
                        "rows x columns as in 256x192");
}

/* A negative prompt or a scale that would be ignored. */
static bool check_guidance(struct reading *r, const struct serve_form *form) {
    const struct sdt_pipeline *pipeline = r->models->model[r->to->model].pipeline[0];
    const struct sdt_request *request = &r->to->request;
    const bool input = sdt_pipeline_model(pipeline).guidance_is_input;
    if (serve_form_text(form, "true_cfg_scale") && (!input || !request->negative_prompt))
        return serve_refuse(r->refusal, 400, "invalid_value", "true_cfg_scale",
                            input ? "true_cfg_scale: goes with negative_prompt"
                                  : "true_cfg_scale: guidance of this model is by two forwards "
                                    "already; guidance_scale sets it");
    if (r->negative_prompt && sdt_pipeline_forwards(pipeline, request) < 2)
        return serve_refuse(r->refusal, 400, "invalid_value", "negative_prompt",
                            "negative_prompt: goes with a %s above 1",
                            input ? "true_cfg_scale" : "guidance_scale");
    return true;
}

static bool take_texts(struct reading *r) {
    struct serve_request *to = r->to;
    json_error_t error;
    if (!r->prompt || !*r->prompt)
        return serve_refuse(r->refusal, 400, "missing_field", "prompt", "prompt: is needed");
    to->prompt = strdup(r->prompt);
    to->request.prompt = to->prompt;
    if (r->negative_prompt) {
        to->negative_prompt = strdup(r->negative_prompt);
        to->request.negative_prompt = to->negative_prompt;
    }
    if (!to->prompt || (r->negative_prompt && !to->negative_prompt))
        return serve_refuse(r->refusal, 503, "out_of_memory", NULL, "out of memory");
    if (r->key && (!*r->key || strlen(r->key) > SERVE_KEY))
        return serve_refuse(r->refusal, 400, "invalid_value", "request_id",
                            "request_id: must have 1 to %d bytes", SERVE_KEY);
    snprintf(to->key, sizeof to->key, "%s", r->key ? r->key : "");
    if (!r->metadata)
        return true;
    to->metadata = json_loads(r->metadata, JSON_REJECT_DUPLICATES, &error);
    return json_is_object(to->metadata) ||
           serve_refuse(r->refusal, 400, "invalid_value", "metadata",
                        "metadata: must be an object of JSON");
}

/* --warmup-steps and --refresh-steps hold for all jobs; one may have fewer steps. */
static void settle_steps(struct sdt_request *request) {
    if (request->warmup_steps > request->steps)
        request->warmup_steps = request->steps;
    if (request->cache.refresh >= request->steps)
        request->cache.refresh = 0;
}

bool serve_request_read(const struct serve_models *models, const struct serve_form *form,
                        struct serve_request *request, struct serve_refusal *refusal) {
    struct reading r = {.models = models, .to = request, .refusal = refusal};
    const char *name = serve_form_text(form, "model");

    *request = (struct serve_request){.model = name ? serve_models_find(models, name) : 0};
    if (request->model < 0)
        return serve_refuse(refusal, 400, "model_not_found", "model",
                            "model: '%.80s' is not served here; GET /v1/models lists what is",
                            name);
    request->request = models->model[request->model].defaults;
    for (int i = 0; i < form->count; i++)
        if (!take_field(&r, &form->field[i]))
            return false;
    settle_steps(&request->request);
    return take_texts(&r) && take_size(&r, form) && take_seconds(&r, form) && take_seed(&r) &&
           take_sampler(&r) && take_tiling(&r) && check_guidance(&r, form);
}

void serve_request_clear(struct serve_request *request) {
    free(request->prompt);
    free(request->negative_prompt);
    json_decref(request->metadata);
    *request = (struct serve_request){0};
}

/* ---- as it is kept --------------------------------------------------------------------------- */

static json_t *pixels(int rows, int columns) { return json_sprintf("%dx%d", rows, columns); }

char *serve_request_text(const struct serve_models *models, const struct serve_request *request) {
    const struct serve_model *model = &models->model[request->model];
    const struct sdt_request *r = &request->request;
    const bool two = sdt_pipeline_forwards(model->pipeline[0], r) > 1;
    json_t *object = json_pack(
        "{s:s, s:s, s:i, s:i, s:i, s:i, s:f, s:f, s:f, s:i, s:o, s:s, s:s, s:i, s:f}", "model",
        model->name, "prompt", r->prompt, "width", r->width, "height", r->height, "num_frames",
        r->num_frames, "num_inference_steps", r->steps, "guidance_scale", r->guidance_scale,
        "flow_shift", r->flow_shift, "fps", r->fps, "max_sequence_length", r->max_sequence_length,
        "seed", json_sprintf("%llu", (unsigned long long)r->seed), "sampler",
        sdt_sampler_kind_name(r->sampler), "sampler_schedule", schedule_name[r->schedule],
        "priority", request->priority, "deadline_seconds", request->deadline_seconds);
    if (object && two && r->negative_prompt)
        json_object_set_new(object, "negative_prompt", json_string(r->negative_prompt));
    if (object && two && sdt_pipeline_model(model->pipeline[0]).guidance_is_input)
        json_object_set_new(object, "true_cfg_scale", json_real(r->true_cfg_scale));
    if (object && r->tiling.size_rows) {
        json_object_set_new(object, "tile_size", pixels(r->tiling.size_rows, r->tiling.size_cols));
        json_object_set_new(object, "tile_stride",
                            pixels(r->tiling.stride_rows, r->tiling.stride_cols));
    }
    if (object && request->metadata)
        json_object_set(object, "metadata", request->metadata);
    char *text = object ? json_dumps(object, JSON_COMPACT) : NULL;
    json_decref(object);
    return text;
}

void serve_request_seconds(int frames, double fps, char *text, size_t size) {
    snprintf(text, size, "%.6g", round(1000.0 * frames / fps) / 1000.0);
}

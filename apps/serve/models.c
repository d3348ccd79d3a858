/* The checkpoints that are served. */
#include "apps/serve/models.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "apps/settings.h"
#include "apps/stats.h"

/* The last part of a path, or of org/name. */
static void name_of(const char *path, char *name, size_t size) {
    size_t end = strlen(path);
    while (end > 1 && path[end - 1] == '/')
        end--;
    size_t start = end;
    while (start > 0 && path[start - 1] != '/')
        start--;
    snprintf(name, size, "%.*s", (int)(end - start), path + start);
}

int serve_models_find(const struct serve_models *models, const char *name) {
    for (int m = 0; m < models->count; m++)
        if (!strcmp(models->model[m].name, name))
            return m;
    return -1;
}

/* Devices of one kind in a row for each share, as many as can be alike; each denoises one job while
 * it decodes another. */
static enum sdt_status cut_shares(const struct serve_models *models, struct serve_model *model,
                                  struct sdt_error *err) {
    const struct sdt_placement *all = &model->placement[models->shares];
    const struct sdt_strategy *strategy = model->defaults.strategy;
    const int devices = models->machine.count, each = devices / models->shares;
    if (each < 1)
        return sdt_fail(err, SDT_ERROR_USAGE,
                        "--data-parallel-size %d: %d device%s, and each job has one at least",
                        models->shares, devices, devices == 1 ? "" : "s");
    if (all->dit_devices)
        return sdt_fail(err, SDT_ERROR_USAGE,
                        "--data-parallel-size %d: goes without groups; each share denoises and "
                        "decodes",
                        models->shares);
    if (!sdt_strategy_exact(strategy) && !sdt_strategy_stale(strategy))
        return sdt_fail(err, SDT_ERROR_USAGE,
                        "--data-parallel-size %d: what strategy %s computes depends on the "
                        "devices, which jobs change; %s would work",
                        models->shares, sdt_strategy_name(strategy),
                        sdt_strategy_name(sdt_strategy_default()));
    if (!serve_models_widen(models) && devices % models->shares)
        return sdt_fail(err, SDT_ERROR_USAGE,
                        "--data-parallel-size %d: on GPUs shares must be alike for a job to have "
                        "the same bits on each, and %d devices are no multiple of it",
                        models->shares, devices);
    for (int s = 0, d = 0; s < models->shares; s++) {
        struct sdt_placement *p = &model->placement[s];
        *p = *all;
        p->dit_devices = p->vae_devices = each + (s < devices % models->shares);
        for (int i = 0; i < p->dit_devices; i++)
            p->dit[i] = p->vae[i] = d++;
    }
    return SDT_OK;
}

bool serve_models_widen(const struct serve_models *models) {
    for (int d = 0; d < models->machine.count; d++)
        if (models->machine.device[d].kind != SDT_DEVICE_CPU)
            return false;
    return true;
}

static enum sdt_status open_one(struct serve_models *models, const char *path,
                                const struct serve_model_options *options, struct sdt_error *err) {
    struct serve_model *model = &models->model[models->count];
    struct app_placement given = options->place; /* settled anew for each */
    struct sdt_model_files files = models->settings->files;
    char name[sizeof model->name];

    name_of(path, name, sizeof name);
    if (serve_models_find(models, name) >= 0)
        return sdt_fail(err, SDT_ERROR_USAGE,
                        "--model %s: another one is called %s already, and requests name models so",
                        path, name);
    *model = (struct serve_model){.path = path};
    memcpy(model->name, name, sizeof name);
    pthread_mutex_init(&model->mutex, NULL);
    models->count++;
    files.model = path;
    enum sdt_status status = sdt_pipeline_open_files(&files, &model->planner, err);
    for (int slot = 0; slot <= serve_wide(models->shares) && status == SDT_OK; slot++)
        status = sdt_pipeline_open_files(&files, &model->pipeline[slot], err);
    if (status == SDT_OK)
        status = sdt_pipeline_defaults(model->planner, &model->defaults, err);
    model->defaults.prompt = "";
    model->defaults.warmup_steps = options->warmup;
    model->defaults.cache.refresh = options->refresh;
    if (status == SDT_OK)
        status = app_place(&given, model->planner, &model->defaults, 1, false,
                           &model->placement[serve_wide(models->shares)], err);
    if (status == SDT_OK && options->refresh && !sdt_strategy_stale(model->defaults.strategy))
        status = sdt_fail(err, SDT_ERROR_USAGE,
                          "--refresh-steps does not go with strategy %s, which reads no keys of "
                          "steps before",
                          sdt_strategy_name(model->defaults.strategy));
    model->placement[serve_wide(models->shares)].most_latents = options->place.max_latents;
    models->machine = given.machine;
    if (status == SDT_OK && models->shares > 1)
        status = cut_shares(models, model, err);
    if (status == SDT_OK)
        model->sum = sdt_pipeline_sum(model->pipeline[0]);
    return status;
}

enum sdt_status serve_models_open(struct serve_models *models, const struct app_strings *paths,
                                  const struct serve_model_options *options,
                                  struct sdt_error *err) {
    const int loras = options->loras.given.count;
    enum sdt_status status = SDT_OK;
    if (paths->count > SERVE_MOST_MODELS)
        return sdt_fail(err, SDT_ERROR_USAGE, "--model: %d are given; at most %d work",
                        paths->count, SERVE_MOST_MODELS);
    if (loras && paths->count > 1)
        return sdt_fail(err, SDT_ERROR_USAGE,
                        "--lora goes with one --model, whose weights it changes; %d are given",
                        paths->count);
    models->settings = calloc(1, sizeof *models->settings);
    if (!models->settings)
        return sdt_fail(err, SDT_ERROR_MEMORY, "out of memory for models");
    models->shares = options->shares;
    models->settings->place = options->place;
    models->settings->files.lora = options->loras.item;
    models->settings->files.loras = loras;
    for (int m = 0; m < paths->count && status == SDT_OK; m++)
        status = open_one(models, paths->item[m], options, err);
    return status;
}

void serve_models_close(struct serve_models *models) {
    for (int m = 0; m < models->count; m++) {
        for (int slot = 0; slot < SERVE_SLOTS; slot++)
            sdt_pipeline_close(models->model[m].pipeline[slot]);
        sdt_pipeline_close(models->model[m].planner);
        pthread_mutex_destroy(&models->model[m].mutex);
    }
    free(models->settings);
    *models = (struct serve_models){0};
}

/* Of the slot. Under the model's mutex. */
static enum sdt_status make_plan(const struct serve_models *models, struct serve_model *model,
                                 int slot, const struct sdt_request *request, struct sdt_plan *plan,
                                 struct sdt_error *err) {
    struct sdt_machine_options machine = {0};
    app_devices_options(&models->machine, &machine);
    return sdt_plan_make(model->planner, request, &model->placement[slot], &machine, plan, err);
}

static double bytes_of(const struct sdt_plan *plan) {
    double bytes = plan->host_bytes;
    for (int d = 0; d < plan->devices; d++)
        bytes += plan->device_bytes[d];
    return bytes;
}

double serve_model_bytes(struct serve_models *models, int index,
                         const struct sdt_request *request) {
    struct serve_model *model = &models->model[index];
    struct sdt_plan plan = {0};
    struct sdt_error err;
    double bytes = 0.0;
    if (models->count == 1)
        return 0.0;
    pthread_mutex_lock(&model->mutex);
    if (make_plan(models, model, serve_wide(models->shares), request, &plan, &err) == SDT_OK)
        bytes = bytes_of(&plan);
    sdt_plan_clear(&plan);
    pthread_mutex_unlock(&model->mutex);
    return bytes;
}

/* Adds what the model's defaults take of a slot's devices; *gpus is cleared where one has not the
 * room. Returns the bytes of devices and host. */
static double add_slot(const struct sdt_plan *plan, double *device, double *host, bool *gpus) {
    for (int d = 0; d < plan->devices; d++) {
        const bool gpu = plan->device_room[d] > 0.0;
        device[d] += plan->device_bytes[d];
        *host += gpu ? 0.0 : plan->device_bytes[d];
        *gpus &= !gpu || device[d] <= plan->device_room[d];
    }
    *host += plan->host_bytes;
    return bytes_of(plan);
}

enum sdt_status serve_models_measure(struct serve_models *models, char *text, size_t size,
                                     struct sdt_error *err) {
    double device[SDT_MAX_DEVICES] = {0}, host = 0.0, sum = 0.0;
    enum sdt_status status = SDT_OK;
    const int wide = serve_wide(models->shares);
    bool gpus = true;
    for (int m = 0; m < models->count && status == SDT_OK; m++)
        for (int slot = 0; slot <= wide && status == SDT_OK; slot++) {
            struct serve_model *model = &models->model[m];
            struct sdt_plan plan = {0};
            status = make_plan(models, model, slot, &model->defaults, &plan, err);
            if (status == SDT_OK) {
                const double bytes = add_slot(&plan, device, &host, &gpus);
                sum += bytes;
                model->bytes = slot == wide ? bytes : model->bytes;
                models->room = m + slot == 0 ? plan.host_available : models->room;
            }
            sdt_plan_clear(&plan);
        }
    models->together &= gpus && host <= models->room;
    snprintf(text, size,
             "%d model%s need%s %.2f GB of the devices and the host together (%.2f GB are free "
             "there): %s",
             models->count, models->count == 1 ? "" : "s", models->count == 1 ? "s" : "", sum / 1e9,
             models->room / 1e9,
             models->together ? "all may stay on them" : "one at a time is on them");
    return status;
}

/* Under the model's mutex. */
static enum sdt_status plan_slot(const struct serve_models *models, struct serve_model *model,
                                 int slot, const struct sdt_request *request,
                                 struct serve_work *work, double *bytes, struct sdt_error *err) {
    struct sdt_request_work flops = {0};
    struct sdt_plan plan = {0};

    *work = (struct serve_work){0};
    enum sdt_status status = make_plan(models, model, slot, request, &plan, err);
    if (status == SDT_OK)
        status = sdt_pipeline_work(model->planner, request, &flops, err);
    *bytes = 0.0;
    for (int d = 0; status == SDT_OK && d < plan.devices; d++)
        *bytes += plan.device_room[d] > 0.0 ? 0.0 : plan.device_bytes[d];
    if (status == SDT_OK)
        *work = (struct serve_work){plan.text_seconds,
                                    plan.step_seconds,
                                    plan.decode_seconds,
                                    flops.text_flops,
                                    plan.forwards * flops.forward_flops,
                                    flops.decode_flops};
    sdt_plan_clear(&plan);
    return status;
}

enum sdt_status serve_model_plan(struct serve_models *models, int index,
                                 const struct sdt_request *request, struct serve_work *work,
                                 struct sdt_error *err) {
    struct serve_model *model = &models->model[index];
    double bytes;
    pthread_mutex_lock(&model->mutex);
    enum sdt_status status =
        plan_slot(models, model, serve_wide(models->shares), request, work, &bytes, err);
    pthread_mutex_unlock(&model->mutex);
    return status;
}

enum sdt_status serve_model_share(struct serve_models *models, int index,
                                  const struct sdt_request *request, struct serve_work *work,
                                  double *bytes, struct sdt_error *err) {
    struct serve_model *model = &models->model[index];
    pthread_mutex_lock(&model->mutex);
    enum sdt_status status =
        plan_slot(models, model, models->shares - 1, request, work, bytes, err);
    pthread_mutex_unlock(&model->mutex);
    return status;
}

json_t *serve_model_plan_object(struct serve_models *models, int index,
                                const struct sdt_request *request, struct sdt_error *err) {
    struct serve_model *model = &models->model[index];
    struct sdt_plan plan = {0};
    json_t *object = NULL;

    pthread_mutex_lock(&model->mutex);
    if (make_plan(models, model, serve_wide(models->shares), request, &plan, err) == SDT_OK) {
        object = app_stats_plan(&plan);
        if (!object)
            sdt_fail(err, SDT_ERROR_MEMORY, "out of memory for a plan");
    }
    sdt_plan_clear(&plan);
    pthread_mutex_unlock(&model->mutex);
    return object;
}

enum sdt_status serve_model_recipe(struct serve_models *models, int index,
                                   const struct sdt_request *request, struct app_recipe *recipe,
                                   struct sdt_error *err) {
    struct serve_model *model = &models->model[index];
    struct app_settings settings = *models->settings;
    struct sdt_plan plan = {0};

    settings.files.model = model->path;
    *recipe = (struct app_recipe){0};
    pthread_mutex_lock(&model->mutex);
    enum sdt_status status =
        make_plan(models, model, 0, request, &plan, err); /* all have its bits */
    if (status == SDT_OK)
        status = app_recipe_make(&settings, model->sum, request, &model->placement[0], &plan,
                                 recipe, err);
    sdt_plan_clear(&plan);
    pthread_mutex_unlock(&model->mutex);
    return status;
}

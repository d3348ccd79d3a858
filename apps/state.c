/* Writing states of runs, and going on from them. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "apps/state.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "apps/options.h"
#include "apps/read.h"
#include "base/digest.h"
#include "stardit/safetensors.h"

#define MARK_VALUE "solver state 1"
#define CHECKPOINT "checkpoint"
static const char *const lora_key[APP_MOST_LORAS] = {
    "lora-1", "lora-2",  "lora-3",  "lora-4",  "lora-5",  "lora-6",  "lora-7",  "lora-8",
    "lora-9", "lora-10", "lora-11", "lora-12", "lora-13", "lora-14", "lora-15", "lora-16"};
#define EMBEDS "prompt-embeds-values"
#define NEGATIVE_EMBEDS "negative-prompt-embeds-values"
#define ARITHMETIC "arithmetic"
#define ORDER "order"
#define TABLE "step-table"

enum { PARTS = 5 }; /* the last one is there in some states alone */
static const char *const part_name[PARTS] = {"latent", "x_last", "m0", "m1", "difference"};

/* ---- what decides the result ----------------------------------------------------------------- */

void app_recipe_clear(struct app_recipe *recipe) {
    for (size_t i = 0; i < recipe->count; i++)
        free((char *)recipe->entry[i].value);
    *recipe = (struct app_recipe){0};
}

/* Takes the text over; NULL (no memory) is seen at the end. */
static void add_text(struct app_recipe *recipe, const char *key, char *text) {
    recipe->entry[recipe->count++] = (struct sdt_metadata){key, text};
}

static void add(struct app_recipe *recipe, const char *key, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static void add(struct app_recipe *recipe, const char *key, const char *format, ...) {
    char *text = NULL;
    va_list args;
    va_start(args, format);
    if (vasprintf(&text, format, args) < 0)
        text = NULL;
    va_end(args);
    add_text(recipe, key, text);
}

static void add_checkpoint(struct app_recipe *recipe, uint64_t sum) {
    if (sum == 0) /* imagined */
        add(recipe, CHECKPOINT, "none");
    else
        add(recipe, CHECKPOINT, "%016llx", (unsigned long long)sum);
}

/* A path that means the same file in another working folder; what is no path as it is. One that is
 * no text, which a file cannot hold, has to be given again. */
static void add_path(struct app_recipe *recipe, const char *key, const char *path) {
    char *whole = realpath(path, NULL);
    if (app_is_utf8(whole ? whole : path))
        add_text(recipe, key, whole ? whole : strdup(path));
    else
        free(whole);
}

/* An @ at the beginning would name a file. */
static void add_prompt(struct app_recipe *recipe, const char *key, const char *prompt) {
    add(recipe, key, "%s%s", prompt && prompt[0] == '@' ? "@" : "", prompt ? prompt : "");
}

static void add_embeds(struct app_recipe *recipe, const char *option, const char *key,
                       const char *path, const struct sdt_stored *embeds,
                       const struct sdt_stored *pooled) {
    uint64_t hash = sdt__digest(SDT__DIGEST_BEGIN, embeds->data, embeds->bytes);
    hash = sdt__digest(hash, embeds->shape, (size_t)embeds->rank * sizeof embeds->shape[0]);
    if (pooled)
        hash = sdt__digest(hash, pooled->data, pooled->bytes);
    add_path(recipe, option, path);
    add(recipe, key, "%016llx", (unsigned long long)hash);
}

static void add_token_ids(struct app_recipe *recipe, const char *option,
                          const int32_t *ids /* [count] */, int count) {
    char *text = malloc((size_t)count * 12 + 1);
    size_t length = 0;
    if (text)
        text[0] = '\0';
    for (int i = 0; text && i < count; i++)
        length += (size_t)sprintf(text + length, "%s%d", i ? "," : "", (int)ids[i]);
    add_text(recipe, option, text);
}

static void add_sigmas(struct app_recipe *recipe, const double *sigmas /* [count] */, int count) {
    char *text = malloc((size_t)count * 32 + 1);
    size_t length = 0;
    for (int i = 0; text && i < count; i++)
        length += (size_t)sprintf(text + length, "%s%.17g", i ? "," : "", sigmas[i]);
    add_text(recipe, "sigmas", text);
}

/* How many forwards go through the layers in each step, where a cache or a gate decides that. */
static void add_table(struct app_recipe *recipe, const struct sdt_plan *plan) {
    char *text = malloc((size_t)plan->steps + 1);
    for (int s = 0; text && s < plan->steps; s++)
        text[s] = (char)('0' + plan->step[s].forwards);
    if (text)
        text[plan->steps] = '\0';
    add_text(recipe, TABLE, text);
}

/* Which steps run what. */
static void add_steps(struct app_recipe *recipe, const struct sdt_request *r,
                      const struct sdt_placement *placement, const struct sdt_plan *plan) {
    if (r->force_guidance)
        add(recipe, "force-guidance", "yes");
    if (r->guided_to)
        add(recipe, "cfg-gate", "%d-%d%s", r->guided_from, r->guided_to - 1,
            r->frozen_guidance ? ",delta" : "");
    if (sdt_strategy_stale(r->strategy)) {
        if (r->warmup_steps)
            add(recipe, "warmup-steps", "%d", r->warmup_steps);
        if (placement->patches)
            add(recipe, "patches", "%d", placement->patches);
        if (r->cache.refresh && r->cache.kind == SDT_CACHE_NONE)
            add(recipe, "refresh-steps", "%d", r->cache.refresh);
    }
    if (r->cache.kind != SDT_CACHE_NONE) {
        char cache[6000];
        app_steps_cache_text(r, cache, sizeof cache);
        add(recipe, "step-cache", "%s", cache);
        if (r->cache.refresh)
            add(recipe, "refresh-steps", "%d", r->cache.refresh);
        add_table(recipe, plan);
    }
}

/* The order of sums in attention: free, or that of a strategy on so many tiles a device. */
static void add_order(struct app_recipe *recipe, const struct sdt_request *request,
                      const struct sdt_placement *placement, const struct sdt_plan *plan) {
    char tiles[12 * SDT_MAX_DEVICES + 1] = "";
    size_t length = 0;
    bool any = sdt_strategy_exact(request->strategy) || sdt_strategy_stale(request->strategy);
    if (!sdt_strategy_exact(request->strategy))
        add(recipe, "strategy", "%s", sdt_strategy_name(request->strategy));
    if (any && plan->dit_kind == SDT_DEVICE_CPU) {
        add(recipe, ORDER, "one device's");
        return;
    }
    for (int d = 0; d < plan->devices && length < sizeof tiles; d++)
        length += (size_t)snprintf(tiles + length, sizeof tiles - length, "%s%d", d ? "+" : "",
                                   plan->device_tiles[d]);
    add(recipe, ORDER, "%s, %s tiles, Ulysses degree %d", sdt_strategy_name(request->strategy),
        tiles, placement->ulysses_degree);
}

enum sdt_status app_recipe_make(const struct app_settings *s, uint64_t checkpoint,
                                const struct sdt_request *r, const struct sdt_placement *placement,
                                const struct sdt_plan *plan, struct app_recipe *recipe,
                                struct sdt_error *err) {
    static const char *const schedule[] = {
        [SDT_SCHEDULE_NEW] = "new", [SDT_SCHEDULE_OLD] = "old", [SDT_SCHEDULE_LINEAR] = "linear"};

    *recipe = (struct app_recipe){0};
    add(recipe, APP_STATE_MARK, MARK_VALUE);
    const struct {
        const char *option, *path;
    } file[] = {{"model", s->files.model},
                {"transformer", s->files.transformer},
                {"vae", s->files.vae},
                {"text-encoder", s->files.text_encoder},
                {"text-encoder-2", s->files.text_encoder_2},
                {"tokenizer", s->files.tokenizer},
                {"tokenizer-2", s->files.tokenizer_2}};
    for (size_t i = 0; i < sizeof file / sizeof file[0]; i++)
        if (file[i].path)
            add_path(recipe, file[i].option, file[i].path);
    for (int i = 0; i < s->files.loras; i++) {
        char *whole = realpath(s->files.lora[i].path, NULL);
        const char *path = whole ? whole : s->files.lora[i].path;
        if (app_is_utf8(path))
            add(recipe, lora_key[i], "%s:%.17g", path, s->files.lora[i].strength);
        free(whole);
    }
    if (s->revision)
        add(recipe, "revision", "%s", s->revision);
    if (s->variant)
        add(recipe, "variant", "%s", s->variant);
    add_checkpoint(recipe, checkpoint);
    if (r->prompt_embeds)
        add_embeds(recipe, "prompt-embeds", EMBEDS, s->prompt_embeds, r->prompt_embeds,
                   r->pooled_prompt_embeds);
    else if (r->token_ids)
        add_token_ids(recipe, "token-ids", r->token_ids, r->token_count);
    else
        add_prompt(recipe, "prompt", r->prompt);
    if (r->token_ids_2)
        add_token_ids(recipe, "token-ids-2", r->token_ids_2, r->token_count_2);
    if (plan->forwards > 1 && r->negative_prompt_embeds)
        add_embeds(recipe, "negative-prompt-embeds", NEGATIVE_EMBEDS, s->negative_embeds,
                   r->negative_prompt_embeds, r->negative_pooled_prompt_embeds);
    else if (plan->forwards > 1)
        add_prompt(recipe, "negative-prompt", r->negative_prompt);
    add(recipe, "height", "%d", r->height);
    add(recipe, "width", "%d", r->width);
    add(recipe, "num-frames", "%d", r->num_frames);
    add(recipe, "num-inference-steps", "%d", r->steps);
    add(recipe, "guidance-scale", "%.17g", r->guidance_scale);
    add_steps(recipe, r, placement, plan);
    if (plan->forwards > 1 && r->true_cfg_scale > 1.0)
        add(recipe, "true-cfg-scale", "%.17g", r->true_cfg_scale);
    add(recipe, "flow-shift", "%.17g", r->flow_shift);
    add(recipe, "sampler", "%s", sdt_sampler_kind_name(r->sampler));
    if (r->sigmas)
        add_sigmas(recipe, r->sigmas, r->steps);
    else
        add(recipe, "sampler-schedule", "%s", schedule[r->schedule]);
    add(recipe, "max-sequence-length", "%d", r->max_sequence_length);
    add(recipe, "seed", "%llu", (unsigned long long)r->seed);
    add(recipe, "fps", "%.17g", r->fps);
    if (r->tiling.size_rows) {
        add(recipe, "tile-size", "%dx%d", r->tiling.size_rows, r->tiling.size_cols);
        add(recipe, "tile-stride", "%dx%d", r->tiling.stride_rows, r->tiling.stride_cols);
    }
    if (s->place.dtype)
        add(recipe, "dtype", "%s", s->place.dtype);
    add(recipe, ARITHMETIC, "%s on %s, decoded in %s on %s", sdt_dtype_name(plan->dit_dtype),
        sdt_device_kind_name(plan->dit_kind), sdt_dtype_name(plan->vae_dtype),
        sdt_device_kind_name(plan->vae_kind));
    add_order(recipe, r, placement, plan);
    for (size_t i = 0; i < recipe->count; i++)
        if (!recipe->entry[i].value)
            return sdt_fail(err, SDT_ERROR_MEMORY, "out of memory for what a state says");
    return SDT_OK;
}

/* ---- reading --------------------------------------------------------------------------------- */

enum sdt_status app_state_open(const char *path, struct sdt_safetensors **file,
                               struct sdt_error *err) {
    struct sdt_error found;
    enum sdt_status status = sdt_safetensors_open(path, file, &found);
    if (status != SDT_OK)
        return sdt_fail(err, status, "--resume %s", found.message);
    const char *mark = sdt_safetensors_metadata(*file, APP_STATE_MARK);
    if (mark && !strcmp(mark, MARK_VALUE) && sdt_safetensors_find(*file, part_name[0]))
        return SDT_OK;
    sdt_safetensors_close(*file);
    *file = NULL;
    return sdt_fail(err, SDT_ERROR_FORMAT,
                    "--resume %s: holds no state of this version; --checkpoint-every and runs that "
                    "are stopped write states",
                    path);
}

/* What is one option in several forms: taken only where the command line has none of them. */
struct taken {
    const char *option, *rivals[4];
};

static int refuse(const struct app_program *program, const struct sdt_safetensors *file,
                  const char *option, const char *there, const char *here) {
    return app_usage(program->name,
                     "--resume %.200s: there --%s is %s%.70s%s, here %s%.70s%s; leave the option "
                     "out, which takes what the file says",
                     sdt_safetensors_path(file), option, there ? "'" : "",
                     there ? there : "not given", there ? "'" : "", *here ? "'" : "",
                     *here ? here : "given", *here ? "'" : "");
}

/* An option that was given and says otherwise than the file, before its value seems wrong by itself
 * (numbers and words), and what is in all files of runs that had it. The rest is compared once its
 * meaning is known (app_state_check()). -1, or the exit code after a message. */
static int compare_given(const struct app_program *program, const struct sdt_safetensors *file) {
    static const char *const literal[] = {"height",
                                          "width",
                                          "num-frames",
                                          "num-inference-steps",
                                          "guidance-scale",
                                          "flow-shift",
                                          "sampler",
                                          "max-sequence-length",
                                          "seed"};
    static const char *const recorded[] = {"cfg-gate",      "step-cache", "warmup-steps",
                                           "refresh-steps", "patches",    "sigmas",
                                           "tile-size"};
    char here[128];
    for (size_t i = 0; i < sizeof literal / sizeof literal[0]; i++) {
        const char *there = sdt_safetensors_metadata(file, literal[i]);
        if (!there || !app_given(program, literal[i]))
            continue;
        app_value(program, literal[i], here, sizeof here);
        if (strcmp(there, here) != 0)
            return refuse(program, file, literal[i], there, here);
    }
    for (size_t i = 0; i < sizeof recorded / sizeof recorded[0]; i++) {
        if (sdt_safetensors_metadata(file, recorded[i]) || !app_given(program, recorded[i]))
            continue;
        app_value(program, recorded[i], here, sizeof here);
        return refuse(program, file, recorded[i], NULL, here);
    }
    if (app_given(program, "enable-tiling") && !sdt_safetensors_metadata(file, "tile-size"))
        return refuse(program, file, "enable-tiling", NULL, "");
    return -1;
}

int app_state_take(const struct app_program *program, const struct sdt_safetensors *file) {
    static const struct taken table[] = {
        {"variant", {"model", "variant"}}, /* of the file's model, which is taken last */
        {"revision", {"model", "revision"}},
        {"transformer", {"model", "transformer"}},
        {"vae", {"model", "vae"}},
        {"text-encoder", {"model", "text-encoder"}},
        {"text-encoder-2", {"model", "text-encoder-2"}},
        {"tokenizer", {"model", "tokenizer"}},
        {"tokenizer-2", {"model", "tokenizer-2"}},
        {"model", {"model"}},
        {"height", {"height"}},
        {"width", {"width"}},
        {"num-frames", {"num-frames"}},
        {"num-inference-steps", {"num-inference-steps", "sigmas"}},
        {"guidance-scale", {"guidance-scale"}},
        {"true-cfg-scale", {"true-cfg-scale"}},
        {"cfg-gate", {"cfg-gate"}},
        {"force-guidance", {"force-guidance", "guidance-scale", "true-cfg-scale"}},
        {"step-cache", {"step-cache"}},
        {"warmup-steps", {"warmup-steps"}},
        {"refresh-steps", {"refresh-steps"}},
        {"patches", {"patches"}},
        {"flow-shift", {"flow-shift"}},
        {"sampler", {"sampler"}},
        {"sampler-schedule", {"sampler-schedule", "sigmas"}},
        {"sigmas", {"sigmas", "sampler-schedule"}},
        {"max-sequence-length", {"max-sequence-length"}},
        {"seed", {"seed"}},
        {"tile-size", {"tile-size"}},
        {"tile-stride", {"tile-stride"}},
        {"dtype", {"dtype"}},
        {"strategy", {"strategy"}},
        {"prompt", {"prompt", "prompt-file", "token-ids", "prompt-embeds"}},
        {"token-ids", {"prompt", "prompt-file", "token-ids", "prompt-embeds"}},
        {"token-ids-2", {"prompt", "prompt-file", "token-ids-2", "prompt-embeds"}},
        {"prompt-embeds", {"prompt", "prompt-file", "token-ids", "prompt-embeds"}},
        {"negative-prompt", {"negative-prompt", "negative-prompt-embeds"}},
        {"negative-prompt-embeds", {"negative-prompt", "negative-prompt-embeds"}},
    };
    int code = compare_given(program, file);
    char where[300];
    snprintf(where, sizeof where, "--resume %.250s", sdt_safetensors_path(file));
    const bool lora = !app_given(program, "lora") && !app_given(program, "model");
    for (int i = 0; lora && i < APP_MOST_LORAS && code < 0; i++) {
        const char *value = sdt_safetensors_metadata(file, lora_key[i]);
        if (value)
            code = app_take(program, where, "lora", value);
    }
    for (size_t i = 0; i < sizeof table / sizeof table[0] && code < 0; i++) {
        const char *value = sdt_safetensors_metadata(file, table[i].option);
        bool given = false;
        for (int k = 0; k < 4 && table[i].rivals[k]; k++)
            given |= app_given(program, table[i].rivals[k]);
        if (value && !given)
            code = app_take(program, where, table[i].option, value);
    }
    return code;
}

int app_state_take_fps(const struct app_program *program, const struct sdt_safetensors *file) {
    const char *value = sdt_safetensors_metadata(file, "fps");
    char where[300];
    snprintf(where, sizeof where, "--resume %.250s", sdt_safetensors_path(file));
    return value && !app_given(program, "fps") ? app_take(program, where, "fps", value) : -1;
}

static const char *recipe_value(const struct app_recipe *recipe, const char *key) {
    for (size_t i = 0; i < recipe->count; i++)
        if (!strcmp(recipe->entry[i].key, key))
            return recipe->entry[i].value;
    return NULL;
}

enum sdt_status app_state_check(const struct sdt_safetensors *file, const struct app_recipe *recipe,
                                struct sdt_error *err) {
    static const char leave_out[] = "leave the option out, which takes what the file says";
    static const struct {
        const char *key, *name, *advice;
    } table[] = {
        {CHECKPOINT, "the checkpoint", "--model and --lora must be those that it began with"},
        {"prompt", "--prompt", leave_out},
        {"token-ids", "--token-ids", leave_out},
        {EMBEDS, "the sum of --prompt-embeds", "the file must be as it was"},
        {"negative-prompt", "--negative-prompt", leave_out},
        {NEGATIVE_EMBEDS, "the sum of --negative-prompt-embeds", "the file must be as it was"},
        {"height", "--height", leave_out},
        {"width", "--width", leave_out},
        {"num-frames", "--num-frames", leave_out},
        {"num-inference-steps", "--num-inference-steps", leave_out},
        {"guidance-scale", "--guidance-scale", leave_out},
        {"true-cfg-scale", "--true-cfg-scale", leave_out},
        {"cfg-gate", "--cfg-gate", leave_out},
        {"step-cache", "--step-cache", leave_out},
        {"warmup-steps", "--warmup-steps", leave_out},
        {"refresh-steps", "--refresh-steps", leave_out},
        {"patches", "--patches", leave_out},
        {TABLE, "the step table", "the same calibration has it"},
        {"flow-shift", "--flow-shift", leave_out},
        {"sampler", "--sampler", leave_out},
        {"sampler-schedule", "--sampler-schedule", leave_out},
        {"sigmas", "--sigmas", leave_out},
        {"max-sequence-length", "--max-sequence-length", leave_out},
        {"seed", "--seed", leave_out},
        {"tile-size", "--tile-size", leave_out},
        {"tile-stride", "--tile-stride", leave_out},
        {ARITHMETIC, "the arithmetic", "--devices of the same kind and the same --dtype have it"},
        {"strategy", "--strategy", leave_out},
        {ORDER, "the order of sums", "the same --strategy and --devices have it"},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        const char *there = sdt_safetensors_metadata(file, table[i].key);
        const char *here = recipe_value(recipe, table[i].key);
        /* It is recorded of those that have bits of their own. */
        const char *none = strcmp(table[i].key, "strategy") ? "not given" : "an exact one";
        if (there && here ? strcmp(there, here) != 0 : there != here)
            return sdt_fail(err, SDT_ERROR_USAGE,
                            "--resume %.200s: there %s is %s%.70s%s, here %s%.70s%s; %s",
                            sdt_safetensors_path(file), table[i].name, there ? "'" : "",
                            there ? there : none, there ? "'" : "", here ? "'" : "",
                            here ? here : none, here ? "'" : "", table[i].advice);
    }
    return SDT_OK;
}

enum sdt_status app_state_read(const struct sdt_safetensors *file,
                               const struct sdt_pipeline *pipeline,
                               const struct sdt_request *request, struct sdt_solver_state *state,
                               struct sdt_error *err) {
    int64_t shape[5] = {1};
    sdt_pipeline_latent_shape(pipeline, request, shape + 1);
    const float **part[PARTS] = {&state->x, &state->x_last, &state->m0, &state->m1,
                                 &state->difference};
    const char *path = sdt_safetensors_path(file), *text = sdt_safetensors_metadata(file, "step");
    enum sdt_status status = SDT_OK;
    char what[300], *end = NULL;

    *state = (struct sdt_solver_state){0};
    long step = text ? strtol(text, &end, 10) : 0;
    if (!text || end == text || *end || step < 1 || step > request->steps)
        return sdt_fail(err, SDT_ERROR_FORMAT,
                        "--resume %.200s: its step is '%.40s'; it must be 1 to %d", path,
                        text ? text : "", request->steps);
    state->step = (int)step;
    snprintf(what, sizeof what, "--resume %s", path);
    const bool differs = request->frozen_guidance && step >= request->guided_to;
    const int parts = step < request->steps ? PARTS - 1 + differs : 1;
    for (int p = 0; p < parts && status == SDT_OK; p++) {
        const struct sdt_stored *tensor = sdt_safetensors_find(file, part_name[p]);
        if (!tensor || tensor->dtype != SDT_F32 || tensor->rank != 5 ||
            memcmp(tensor->shape, shape, sizeof shape) != 0)
            status =
                sdt_fail(err, SDT_ERROR_FORMAT,
                         "--resume %.200s: must hold the tensor %s, F32 [1, %d, %d, %d, %d]", path,
                         part_name[p], (int)shape[1], (int)shape[2], (int)shape[3], (int)shape[4]);
        if (status == SDT_OK)
            status = sdt_stored_check_finite(what, tensor, err);
        float *values = NULL;
        if (status == SDT_OK)
            status = sdt_stored_floats(tensor, &values, err);
        *part[p] = values;
    }
    return status;
}

void app_state_free(struct sdt_solver_state *state) {
    free((float *)state->x);
    free((float *)state->x_last);
    free((float *)state->m0);
    free((float *)state->m1);
    free((float *)state->difference);
    *state = (struct sdt_solver_state){0};
}

/* ---- writing --------------------------------------------------------------------------------- */

enum sdt_status app_state_write(const char *path, const struct app_recipe *recipe,
                                const int64_t shape[4], const struct sdt_solver_state *state,
                                struct sdt_error *err) {
    const float *const part[PARTS] = {state->x, state->x_last, state->m0, state->m1,
                                      state->difference};
    struct sdt_metadata entry[APP_RECIPE_ENTRIES + 1];
    struct sdt_stored tensor[PARTS];
    size_t tensors = 0;
    char step[16];

    for (int p = 0; p < PARTS; p++) {
        if (!part[p])
            continue;
        struct sdt_stored *t = &tensor[tensors++];
        *t = (struct sdt_stored){.name = part_name[p],
                                 .dtype = SDT_F32,
                                 .rank = 5,
                                 .shape = {1, shape[0], shape[1], shape[2], shape[3]},
                                 .data = part[p]};
        t->count = (size_t)(shape[0] * shape[1] * shape[2] * shape[3]);
        t->bytes = t->count * sizeof(float);
    }
    snprintf(step, sizeof step, "%d", state->step);
    memcpy(entry, recipe->entry, recipe->count * sizeof entry[0]);
    entry[recipe->count] = (struct sdt_metadata){"step", step};
    return sdt_safetensors_write_with(path, tensors, tensor, recipe->count + 1, entry, err);
}

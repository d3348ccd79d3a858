/* Steps and decodes with random weights on any devices: how long they take, and how long devices
 * wait in them.
 *
 * A case runs once to load weights and to let libraries choose their ways, then --repeats times.
 * Weights and inputs are random, and results are not looked at: tests and `stardit-eval --compare`
 * do that. */
#include "bench/models.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "apps/strategy.h"
#include "base/clock.h"
#include "bench/child.h"
#include "graph/run/latent.h"
#include "runtime/cuda.h"
#include "runtime/devices.h"

struct model_case {
    const char *name, *what;
    const char *size; /* published (graph/models/family.h), or a component's config.json */
    enum { TRANSFORMER, DECODER, TEXT } part;
    int layers; /* 0: all */
    int text_rows, forwards;
    struct sdt_geometry latent;
};

static const char small_dit[] =
    "{\"_class_name\": \"WanTransformer3DModel\", \"num_layers\": 2, \"num_attention_heads\": 4, "
    "\"attention_head_dim\": 32, \"in_channels\": 16, \"out_channels\": 16, \"text_dim\": 64, "
    "\"freq_dim\": 256, \"ffn_dim\": 256, \"cross_attn_norm\": true}";
static const char small_vae[] =
    "{\"_class_name\": \"AutoencoderKLWan\", \"base_dim\": 8, \"z_dim\": 16, "
    "\"dim_mult\": [1, 2, 4, 4], \"num_res_blocks\": 2, "
    "\"temperal_downsample\": [false, true, true], "
    "\"latents_mean\": [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], "
    "\"latents_std\": [1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1]}";

static const char wide_text[] = "{\"model_type\": \"umt5\", \"num_layers\": 2, \"d_model\": 4096, "
                                "\"num_heads\": 64, \"d_kv\": 64, "
                                "\"d_ff\": 10240, \"vocab_size\": 256}";

/* 7 latent frames of 60x104 are 480x832x25, 21 of them 480x832x81, 11 of 90x160 are 720x1280x41. */
static const struct model_case cases[] = {
    {"block-11k", "one block of Wan 2.1 14B", "wan-14b", TRANSFORMER, 1, 512, 1, {7, 60, 104}},
    {"block-40k", "one block of Wan 2.1 14B", "wan-14b", TRANSFORMER, 1, 512, 1, {11, 90, 160}},
    {"step",
     "a step of Wan 2.1 1.3B, 480x832x81",
     "wan-1.3b",
     TRANSFORMER,
     0,
     512,
     2,
     {21, 60, 104}},
    {"vae", "a decode of Wan 2.1, 480x832x81", "wan-1.3b", DECODER, 0, 0, 1, {21, 60, 104}},
    {"frame", "a decode of Wan 2.1, 240x416x1", "wan-1.3b", DECODER, 0, 0, 1, {1, 30, 52}},
    {"text", "two layers of UMT5-XXL, 120 tokens", wide_text, TEXT, 0, 120, 1, {0, 0, 0}},
    {"small", "a step of a small transformer", small_dit, TRANSFORMER, 0, 16, 2, {3, 16, 16}},
    {"small-vae", "a decode of a small decoder", small_vae, DECODER, 0, 0, 1, {2, 8, 8}},
};
enum { CASES = sizeof cases / sizeof cases[0], USUAL = 4 };

/* The text of the component's config.json. */
static const char *config_of(const struct model_case *c) {
    const struct sdt_family *family;
    const struct sdt_size *size;
    if (!sdt_size_find(c->size, &family, &size))
        return c->size;
    return c->part == DECODER ? size->vae : size->dit;
}

struct bench {
    const struct app_bench_models *options;
    const struct sdt_strategy *strategy;
    struct sdt_machine *machine;
    enum sdt_dtype dtype;
};

struct measured {
    double seconds; /* of one step or decode */
    double first;   /* of the first, with loading */
    double idle;    /* share of the time in which a device computes nothing, mean of the devices */
    double flops;   /* of one */
    double moved;   /* bytes between memories, of one */
    int64_t tokens;
};

/* Of CPU workers, by the host's clock; a GPU's are asked of its events. */
static double busy_seconds(const struct sdt_machine *machine) {
    double us = 0.0;
    for (int d = 0; d < machine->devices; d++)
        for (int r = 0; r < SDT_ROLES && machine->device[d].kind == SDT_DEVICE_CPU; r++)
            us += sdt__recorder_totals(machine->recorder, d, (enum sdt_role)r).busy_us;
    return us * 1e-6;
}

static double moved_bytes(struct sdt_machine *machine) {
    double bytes[(SDT_MAX_DEVICES + 1) * (SDT_MAX_DEVICES + 1)] = {0}, sum = 0.0;
    int n = machine->devices + 1;
    sdt_machine_traffic(machine, bytes);
    for (int from = 0; from < n; from++)
        for (int to = 0; to < n; to++)
            sum += from == to ? 0.0 : bytes[from * n + to];
    return sum;
}

/* Work once, then `repeats` times: once(arg, times) inserts and waits. */
static enum sdt_status measure(const struct bench *bench,
                               enum sdt_status (*run)(void *arg, int times, struct sdt_error *err),
                               void *arg, struct measured *m, struct sdt_error *err) {
    struct sdt_machine *machine = bench->machine;
    int repeats = bench->options->repeats, workers = 0;
    for (int d = 0; d < machine->devices; d++)
        workers += machine->device[d].workers;
    double start = sdt__host_now();
    enum sdt_status status = run(arg, 1, err);
    m->first = sdt__host_now() - start;
    if (status != SDT_OK)
        return status;
    moved_bytes(machine);
    double busy = busy_seconds(machine);
    sdt__cuda_busy_start();
    start = sdt__host_now();
    status = run(arg, repeats, err);
    double seconds = sdt__host_now() - start;
    m->seconds = seconds / repeats;
    busy = busy_seconds(machine) - busy + sdt__cuda_busy_end();
    m->idle = 1.0 - busy / (seconds * workers);
    m->moved = moved_bytes(machine) / repeats;
    return status;
}

static float *random_floats(uint64_t seed, size_t count) {
    float *values = malloc(count * sizeof *values);
    if (values)
        sdt_randn(seed, count, values);
    return values;
}

/* ---- transformer ----------------------------------------------------------------------------- */

struct steps {
    const struct bench *bench;
    const struct model_case *c;
    struct sdt_run *run;
    struct sdt_prompt prompt[2];
    sdt_handle latent, text;
    bool has_prompt;
};

static enum sdt_status run_steps(void *arg, int times, struct sdt_error *err) {
    struct steps *s = arg;
    struct sdt_machine *machine = s->bench->machine;
    struct sdt_flow flow = sdt_machine_flow(machine, SDT_LANE_DENOISE);
    struct sdt_text_states text = {s->text, s->c->text_rows, 0};
    struct sdt_sampler sampler = {0};
    struct sdt_latent latent = {0};
    enum sdt_status status =
        sdt_sampler_init(&sampler, SDT_SAMPLER_UNIPC, SDT_SCHEDULE_NEW, times, 3.0, err);
    if (status != SDT_OK)
        return status;
    sdt_latent_init(&flow, &latent, &s->run->layout, sdt_patch_of(s->run->dit, s->c->latent), 0,
                    times, NULL, NULL);
    if (flow.error.status == SDT_OK) {
        sdt_latent_scatter(&flow, &latent, 0, SDT_SOLVER_X, s->latent);
        for (int i = 0; !s->has_prompt && i < s->c->forwards; i++) {
            sdt_run_prompt(&flow, s->run, i, &text, &s->prompt[i]);
            s->run->branch[i].prompt = &s->prompt[i];
        }
        s->has_prompt = true;
        for (int i = 0; i < times; i++)
            sdt_latent_step(&flow, s->run, &sampler,
                            (struct sdt_guidance){5.0f, s->c->forwards > 1 ? 5.0f : 1.0f}, NULL, i,
                            &latent);
    }
    status = sdt__flow_wait(&flow, err);
    if (status == SDT_ERROR_STALLED)
        return status;
    sdt_latent_clear(&latent);
    sdt_sampler_clear(&sampler);
    return status;
}

static size_t latent_size(const struct model_case *c, int channels) {
    return (size_t)channels * (size_t)c->latent.frames * (size_t)c->latent.height *
           (size_t)c->latent.width;
}

static enum sdt_status bench_transformer(const struct bench *bench, const struct model_case *c,
                                         struct measured *m, struct sdt_error *err) {
    struct sdt_dit *dit = NULL;
    float *latent = NULL, *text = NULL;
    struct sdt_parallel parallel = {.strategy = bench->strategy,
                                    .place = bench->machine->device,
                                    .devices = bench->machine->devices,
                                    .dtype = bench->dtype};
    struct steps steps = {.bench = bench, .c = c};
    struct sdt_flow flow = sdt_machine_flow(bench->machine, SDT_LANE_DENOISE);

    enum sdt_status status = sdt_dit_imagine(config_of(c), c->layers, SDT_F32, &dit, err);
    if (status == SDT_OK)
        status = sdt_weights_randomize(dit->weights, err);
    if (status != SDT_OK)
        goto out;
    size_t size = latent_size(c, dit->channels);
    size_t text_size = (size_t)c->text_rows * (size_t)dit->text_dim;
    latent = random_floats(1, size);
    text = random_floats(2, text_size);
    if (!latent || !text) {
        status = sdt_fail(err, SDT_ERROR_MEMORY, "out of memory for a latent");
        goto out;
    }
    steps.latent = sdt__host_vector(&flow, latent, size, "latent");
    steps.text = sdt__host_vector(&flow, text, text_size, "text");
    steps.run = sdt_run_new(&flow, dit, bench->machine, NULL, &parallel, c->latent, c->forwards,
                            c->text_rows);
    status = steps.run ? measure(bench, run_steps, &steps, m, err) : sdt__flow_wait(&flow, err);
    if (status == SDT_ERROR_STALLED)
        return status;
    m->tokens = sdt_tokens(dit, c->latent);
    struct sdt_work work = dit->kind->work(dit, m->tokens, c->text_rows);
    m->flops = c->forwards * (work.linear + work.attention);
    for (int i = 0; i < c->forwards; i++)
        sdt_prompt_clear(&steps.prompt[i]);
    sdt_run_free(steps.run);
    sdt__unregister(steps.latent);
    sdt__unregister(steps.text);
out:
    sdt_dit_close(dit);
    free(latent);
    free(text);
    return status;
}

/* ---- decoder --------------------------------------------------------------------------------- */

struct decodes {
    const struct bench *bench;
    struct sdt_vae *vae;
    struct sdt_vae_job job;
    sdt_handle latent, video;
};

static enum sdt_status run_decodes(void *arg, int times, struct sdt_error *err) {
    struct decodes *d = arg;
    enum sdt_status status = SDT_OK;
    for (int i = 0; i < times && status == SDT_OK; i++) {
        struct sdt_flow flow = sdt_machine_flow(d->bench->machine, SDT_LANE_DECODE);
        status = d->vae->kind->decode(&flow, d->vae, d->bench->machine, &d->job, d->latent,
                                      d->video, err);
    }
    return status;
}

static enum sdt_status bench_decoder(const struct bench *bench, const struct model_case *c,
                                     struct measured *m, struct sdt_error *err) {
    float *latent = NULL, *video = NULL;
    struct decodes d = {.bench = bench,
                        .job = {.frames = c->latent.frames,
                                .height = c->latent.height,
                                .width = c->latent.width,
                                .dtype = bench->dtype,
                                .place = bench->machine->device,
                                .devices = bench->machine->devices}};
    enum sdt_status status = sdt_vae_imagine(config_of(c), SDT_F32, &d.vae, err);
    if (status == SDT_OK)
        status = sdt_weights_randomize(d.vae->weights, err);
    if (status != SDT_OK)
        goto out;
    size_t size = latent_size(c, d.vae->channels), space = (size_t)d.vae->space_ratio;
    size_t pixels = 3 * ((size_t)d.vae->time_ratio * (size_t)(c->latent.frames - 1) + 1) * space *
                    space * (size_t)c->latent.height * (size_t)c->latent.width;
    latent = random_floats(1, size);
    video = calloc(pixels, sizeof *video);
    d.job.parameters = sdt_parameters_new(d.vae->weights, bench->machine);
    if (!latent || !video || !d.job.parameters) {
        status = sdt_fail(err, SDT_ERROR_MEMORY, "out of memory for a video");
        goto out;
    }
    struct sdt_flow flow = sdt_machine_flow(bench->machine, SDT_LANE_DECODE);
    d.latent = sdt__host_vector(&flow, latent, size, "latent");
    d.video = sdt__host_vector(&flow, video, pixels, "video");
    status = measure(bench, run_decodes, &d, m, err);
    if (status == SDT_ERROR_STALLED)
        return status;
    m->flops = d.vae->kind->flops(d.vae, &d.job);
    sdt__unregister(d.latent);
    sdt__unregister(d.video);
out:
    sdt_parameters_free(d.job.parameters);
    sdt_vae_close(d.vae);
    free(latent);
    free(video);
    return status;
}

/* ---- text encoder ---------------------------------------------------------------------------- */

struct encodes {
    const struct bench *bench;
    struct sdt_text *text;
    int tokens;
    int32_t *ids; /* [tokens] */
    sdt_handle states;
};

static enum sdt_status run_encodes(void *arg, int times, struct sdt_error *err) {
    struct encodes *e = arg;
    struct sdt_machine *machine = e->bench->machine;
    enum sdt_status status = SDT_OK;
    for (int i = 0; i < times && status == SDT_OK; i++) {
        struct sdt_flow flow = sdt_machine_flow(machine, SDT_LANE_DENOISE);
        status = e->text->kind->encode(&flow, e->text, machine, &machine->device[0],
                                       e->bench->dtype, e->ids, e->tokens, 0, e->states, err);
    }
    return status;
}

static enum sdt_status bench_text(const struct bench *bench, const struct model_case *c,
                                  struct measured *m, struct sdt_error *err) {
    struct encodes e = {.bench = bench, .tokens = c->text_rows};
    enum sdt_status status = sdt_text_imagine(c->size, SDT_F32, &e.text, err);
    if (status == SDT_OK)
        status = sdt_weights_randomize(e.text->weights, err);
    if (status != SDT_OK)
        goto out;
    size_t size = (size_t)e.tokens * (size_t)e.text->width;
    float *states = calloc(size, sizeof *states);
    e.ids = calloc((size_t)e.tokens, sizeof *e.ids);
    if (!states || !e.ids) {
        free(states);
        status = sdt_fail(err, SDT_ERROR_MEMORY, "out of memory for a prompt");
        goto out;
    }
    for (int i = 0; i < e.tokens; i++)
        e.ids[i] = 1 + i % (e.text->vocabulary - 1);
    struct sdt_flow flow = sdt_machine_flow(bench->machine, SDT_LANE_DENOISE);
    e.states = sdt__host_vector(&flow, states, size, "states");
    status = measure(bench, run_encodes, &e, m, err);
    if (status == SDT_ERROR_STALLED)
        return status;
    m->flops = e.text->kind->flops(e.text, e.tokens);
    m->tokens = e.tokens;
    sdt__unregister(e.states);
    free(states);
out:
    sdt_text_close(e.text);
    free(e.ids);
    return status;
}

/* ---- all ------------------------------------------------------------------------------------- */

static bool chosen(const struct app_bench_models *options, int i) {
    return !strcmp(options->name, cases[i].name) || (i < USUAL && !strcmp(options->name, "all"));
}

static enum sdt_status run_cases(const struct bench *bench, const char *devices,
                                 struct sdt_error *err) {
    enum sdt_status status = SDT_OK;
    const struct sdt_machine *machine = bench->machine;
    printf("on %s in %s, %d after the first of each; strategy %s, policy %s, workers", devices,
           bench->dtype == SDT_BF16 ? "bfloat16" : "float32", bench->options->repeats,
           sdt_strategy_name(bench->strategy), machine->scheduler);
    for (int d = 0; d < machine->devices; d++)
        printf("%s%d", d ? "," : " ", machine->device[d].workers);
    printf("%s%s\n", bench->options->speed ? ", speeds " : "",
           bench->options->speed ? bench->options->speed : "");
    printf("%-10s %10s %10s %9s %8s %10s  %s\n", "case", "seconds", "TFLOP/s", "idle", "tokens",
           "moved GB", "what");
    for (int i = 0; i < CASES && status == SDT_OK; i++) {
        struct measured m = {0};
        if (!chosen(bench->options, i))
            continue;
        status = (cases[i].part == DECODER ? bench_decoder
                  : cases[i].part == TEXT  ? bench_text
                                           : bench_transformer)(bench, &cases[i], &m, err);
        if (status != SDT_OK)
            break;
        printf("%-10s %10.5f %10.3f %7.2f %% %8lld %10.3f  %s (the first: %.2f s)\n", cases[i].name,
               m.seconds, m.flops / m.seconds * 1e-12, 100.0 * m.idle, (long long)m.tokens,
               m.moved * 1e-9, cases[i].what, m.first);
        fflush(stdout);
    }
    return status;
}

enum sdt_status app_bench_models(const struct app_bench_models *o, struct sdt_error *err) {
    struct app_devices list;
    struct sdt_placement together = {.precision = app_precision(o->dtype)};
    struct sdt_kinds kinds = {0};
    struct bench bench = {.options = o, .strategy = app_strategy(o->strategy, err)};
    char names[200];

    if (!bench.strategy)
        return SDT_ERROR_USAGE;
    enum sdt_status status = app_devices_read(o->devices, &list, err);
    if (status == SDT_OK && list.count == 0)
        app_devices_stand_ins(&list, 1);
    const struct sdt_device *device = app_devices_list(&list);
    if (status == SDT_OK)
        status = sdt__devices_check(device, list.count, NULL, err);
    if (status == SDT_OK)
        status = app_devices_shares(&list, o->workers, o->speed, err);
    if (status == SDT_OK)
        status = sdt__settle_kinds(&together, device, list.count, &kinds, err);
    if (status != SDT_OK)
        return status;
    struct sdt_machine_options options = {.scheduler = o->scheduler};
    app_devices_options(&list, &options);
    status = sdt_machine_open(&options, &bench.machine, err);
    if (status != SDT_OK)
        return status;
    bench.dtype = kinds.dit_dtype;
    app_devices_name(device, list.count, NULL, names, sizeof names);
    status = run_cases(&bench, names, err);
    sdt_machine_close(bench.machine); /* does nothing after a stall */
    return status;
}

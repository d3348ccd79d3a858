/* Steps and decodes with random weights on any devices: how long they take, and how long devices wait in them.
 *
 * A case runs once to load weights and to let libraries choose their ways, then --repeats times. Weights and
 * inputs are random, and results are not looked at: tests and `stardit-eval --compare` do that. */
#include "bench/models.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/child.h"
#include "apps/strategy.h"
#include "graph/run/latent.h"
#include "runtime/devices.h"
#include "graph/models/wan_vae.h"
#include "graph/run/parameters.h"

struct model_case {
    const char *name, *what;
    int base_dim; /* of the decoder; 0: a transformer */
    int layers, heads, head_dim, ffn, text_dim, text_rows, streams;
    struct sdt_wan_geometry latent;
};

/* Wan 2.1 14B and 1.3B. 7 latent frames of 60x104 are 480x832x25, 21 of them 480x832x81, 11 of 90x160 are
 * 720x1280x41. */
static const struct model_case cases[] = {
    {"block-11k", "one block of Wan 2.1 14B", 0, 1, 40, 128, 13824, 4096, 512, 1, {7, 60, 104}},
    {"block-40k", "one block of Wan 2.1 14B", 0, 1, 40, 128, 13824, 4096, 512, 1, {11, 90, 160}},
    {"step",
     "a step of Wan 2.1 1.3B, 480x832x81",
     0,
     30,
     12,
     128,
     8960,
     4096,
     512,
     2,
     {21, 60, 104}},
    {"vae", "a decode of Wan 2.1, 480x832x81", 96, 0, 0, 0, 0, 0, 0, 1, {21, 60, 104}},
    {"small", "a step of a small transformer", 0, 2, 4, 32, 256, 64, 16, 2, {3, 16, 16}},
    {"small-vae", "a decode of a small decoder", 8, 0, 0, 0, 0, 0, 0, 1, {2, 8, 8}},
};
enum { CASES = sizeof cases / sizeof cases[0], USUAL = 4, CHANNELS = 16 };

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

static double busy_seconds(const struct sdt_machine *machine) {
    double us = 0.0;
    for (int d = 0; d < machine->devices; d++)
        for (int r = 0; r < SDT_ROLES; r++)
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
    double start = app_now();
    enum sdt_status status = run(arg, 1, err);
    m->first = app_now() - start;
    if (status != SDT_OK)
        return status;
    moved_bytes(machine);
    double busy = busy_seconds(machine);
    start = app_now();
    status = run(arg, repeats, err);
    double seconds = app_now() - start;
    m->seconds = seconds / repeats;
    m->idle = 1.0 - (busy_seconds(machine) - busy) / (seconds * workers);
    m->moved = moved_bytes(machine) / repeats;
    return status;
}

static float *random_floats(uint64_t seed, size_t count) {
    float *values = malloc(count * sizeof *values);
    if (values)
        sdt_randn(seed, count, values);
    return values;
}

static sdt_handle registered(float *values, size_t count) {
    sdt_handle handle = NULL;
    starpu_vector_data_register(&handle, STARPU_MAIN_RAM, (uintptr_t)values, (uint32_t)count,
                                sizeof(float));
    return handle;
}

/* ---- transformer ----------------------------------------------------------------------------- */

struct steps {
    const struct bench *bench;
    const struct model_case *c;
    struct sdt_wan *wan;
    struct sdt_wan_run *run;
    sdt_handle latent, text;
    bool has_prompt;
};

static enum sdt_status run_steps(void *arg, int times, struct sdt_error *err) {
    struct steps *s = arg;
    struct sdt_machine *machine = s->bench->machine;
    struct sdt_flow flow = sdt_machine_flow(machine, SDT_LANE_DENOISE);
    struct sdt_sampler sampler = {0};
    struct sdt_latent latent = {0};
    enum sdt_status status =
        sdt_sampler_init(&sampler, SDT_SAMPLER_UNIPC, SDT_SCHEDULE_NEW, times, 3.0, err);
    if (status != SDT_OK)
        return status;
    sdt_latent_init(&flow, &latent, sdt_wan_layout(s->run), sdt_wan_patch(s->wan, s->c->latent),
                    times, NULL, NULL);
    if (flow.error.status == SDT_OK) {
        sdt_latent_scatter(&flow, &latent, &machine->host, s->latent);
        for (int i = 0; !s->has_prompt && i < s->c->streams; i++)
            sdt_wan_prompt(&flow, s->run, i, s->text, s->c->text_rows, 0);
        s->has_prompt = true;
        sdt_denoise(&flow, s->run, &sampler, s->c->streams > 1 ? 5.0f : 1.0f, &latent);
    }
    status = sdt__flow_wait(&flow, err);
    if (status == SDT_ERROR_STALLED)
        return status;
    sdt_latent_clear(&latent);
    sdt_sampler_clear(&sampler);
    return status;
}

static enum sdt_status bench_transformer(const struct bench *bench, const struct model_case *c,
                                         struct measured *m, struct sdt_error *err) {
    const struct sdt_wan_config config = {.layers = c->layers,
                                          .heads = c->heads,
                                          .head_dim = c->head_dim,
                                          .width = c->heads * c->head_dim,
                                          .in_channels = CHANNELS,
                                          .out_channels = CHANNELS,
                                          .text_dim = c->text_dim,
                                          .freq_dim = 256,
                                          .ffn_dim = c->ffn,
                                          .patch = {1, 2, 2},
                                          .eps = 1e-6f,
                                          .cross_attn_norm = true};
    size_t size = (size_t)CHANNELS * (size_t)c->latent.frames * (size_t)c->latent.height *
                  (size_t)c->latent.width;
    size_t text_size = (size_t)c->text_rows * (size_t)c->text_dim;
    float *latent = random_floats(1, size), *text = random_floats(2, text_size);
    struct sdt_parallel parallel = {.strategy = bench->strategy,
                                    .place = bench->machine->device,
                                    .devices = bench->machine->devices,
                                    .dtype = bench->dtype};
    struct steps steps = {.bench = bench, .c = c};
    struct sdt_flow flow = sdt_machine_flow(bench->machine, SDT_LANE_DENOISE);

    enum sdt_status status = latent && text
                                 ? sdt_wan_imagine(&config, &steps.wan, err)
                                 : sdt_fail(err, SDT_ERROR_MEMORY, "out of memory for a latent");
    if (status == SDT_OK)
        status = sdt_weights_randomize(sdt_wan_weights(steps.wan), err);
    if (status != SDT_OK)
        goto out;
    steps.latent = registered(latent, size);
    steps.text = registered(text, text_size);
    steps.run = sdt_wan_run_new(&flow, steps.wan, bench->machine, &parallel, c->latent, c->streams);
    status = steps.run ? measure(bench, run_steps, &steps, m, err) : sdt__flow_wait(&flow, err);
    if (status == SDT_ERROR_STALLED)
        return status;
    m->flops = c->streams * sdt_wan_flops(&config, c->latent, c->text_rows);
    m->tokens = (int64_t)c->latent.frames * (c->latent.height / 2) * (c->latent.width / 2);
    sdt_wan_run_free(steps.run);
    starpu_data_unregister(steps.latent);
    starpu_data_unregister(steps.text);
out:
    sdt_wan_close(steps.wan);
    free(latent);
    free(text);
    return status;
}

/* ---- decoder --------------------------------------------------------------------------------- */

struct decodes {
    const struct bench *bench;
    struct sdt_wan_vae *vae;
    struct sdt_vae_job job;
    sdt_handle latent, video;
};

static enum sdt_status run_decodes(void *arg, int times, struct sdt_error *err) {
    struct decodes *d = arg;
    enum sdt_status status = SDT_OK;
    for (int i = 0; i < times && status == SDT_OK; i++) {
        struct sdt_flow flow = sdt_machine_flow(d->bench->machine, SDT_LANE_DECODE);
        status =
            sdt_wan_vae_decode(&flow, d->vae, d->bench->machine, &d->job, d->latent, d->video, err);
    }
    return status;
}

static enum sdt_status bench_decoder(const struct bench *bench, const struct model_case *c,
                                     struct measured *m, struct sdt_error *err) {
    size_t size = (size_t)CHANNELS * (size_t)c->latent.frames * (size_t)c->latent.height *
                  (size_t)c->latent.width;
    size_t pixels = 3 * (4 * (size_t)(c->latent.frames - 1) + 1) * 64 * (size_t)(c->latent.height) *
                    (size_t)c->latent.width;
    float *latent = random_floats(1, size), *video = calloc(pixels, sizeof *video);
    struct decodes d = {.bench = bench,
                        .job = {.frames = c->latent.frames,
                                .height = c->latent.height,
                                .width = c->latent.width,
                                .dtype = bench->dtype,
                                .place = bench->machine->device,
                                .devices = bench->machine->devices}};
    enum sdt_status status = latent && video
                                 ? sdt_wan_vae_imagine(c->base_dim, &d.vae, err)
                                 : sdt_fail(err, SDT_ERROR_MEMORY, "out of memory for a video");
    if (status == SDT_OK)
        status = sdt_weights_randomize(sdt_wan_vae_weights(d.vae), err);
    if (status == SDT_OK)
        d.job.parameters = sdt_parameters_new(sdt_wan_vae_weights(d.vae), bench->machine);
    if (status == SDT_OK && !d.job.parameters)
        status = sdt_fail(err, SDT_ERROR_MEMORY, "out of memory for weights");
    if (status != SDT_OK)
        goto out;
    d.latent = registered(latent, size);
    d.video = registered(video, pixels);
    status = measure(bench, run_decodes, &d, m, err);
    if (status == SDT_ERROR_STALLED)
        return status;
    m->flops = sdt_wan_vae_flops(d.vae, &d.job);
    starpu_data_unregister(d.latent);
    starpu_data_unregister(d.video);
out:
    sdt_parameters_free(d.job.parameters);
    sdt_wan_vae_close(d.vae);
    free(latent);
    free(video);
    return status;
}

/* ---- all ------------------------------------------------------------------------------------- */

static bool chosen(const struct app_bench_models *options, int i) {
    return !strcmp(options->name, cases[i].name) || (i < USUAL && !strcmp(options->name, "all"));
}

static enum sdt_status run_cases(const struct bench *bench, const char *devices,
                                 struct sdt_error *err) {
    enum sdt_status status = SDT_OK;
    printf("on %s in %s, %d after the first of each\n", devices,
           bench->dtype == SDT_BF16 ? "bfloat16" : "float32", bench->options->repeats);
    printf("%-10s %10s %10s %9s %8s %10s  %s\n", "case", "seconds", "TFLOP/s", "idle", "tokens",
           "moved GB", "what");
    for (int i = 0; i < CASES && status == SDT_OK; i++) {
        struct measured m = {0};
        if (!chosen(bench->options, i))
            continue;
        status = cases[i].base_dim ? bench_decoder(bench, &cases[i], &m, err)
                                   : bench_transformer(bench, &cases[i], &m, err);
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
        status = sdt__settle_kinds(&together, device, list.count, &kinds, err);
    if (status != SDT_OK)
        return status;
    struct sdt_machine_options options = {.devices = list.count,
                                          .device = device,
                                          .workers_per_device = o->workers,
                                          .scheduler = o->scheduler};
    status = sdt_machine_open(&options, &bench.machine, err);
    if (status != SDT_OK)
        return status;
    bench.dtype = kinds.dit_dtype;
    app_devices_name(device, list.count, NULL, names, sizeof names);
    status = run_cases(&bench, names, err);
    sdt_machine_close(bench.machine); /* does nothing after a stall */
    return status;
}

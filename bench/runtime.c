/* How much faster a denoise step gets with two workers on one device, and with one on each of two;
 * and, with --case, models at real sizes on any devices (models.c). */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "bench/runtime.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "apps/options.h"
#include "apps/strategy.h"
#include "base/clock.h"
#include "bench/child.h"
#include "bench/models.h"
#include "graph/run/latent.h"

static const char name_of_program[] = "stardit-bench runtime";

struct settings {
    int repeats;
    const struct sdt_strategy *strategy;
    int layers, heads, head_dim, ffn, text_dim, text_rows, frames, height, width;
};

/* ---- a step on one worker and on two --------------------------------------------------------- */

#define CHANNELS 16

/* The transformer's config.json. */
static void config_of(const struct settings *s, char *text, size_t size) {
    snprintf(text, size,
             "{\"_class_name\": \"WanTransformer3DModel\", \"patch_size\": [1, 2, 2], "
             "\"num_attention_heads\": %d, \"attention_head_dim\": %d, \"in_channels\": %d, "
             "\"out_channels\": %d, \"text_dim\": %d, \"freq_dim\": 256, \"ffn_dim\": %d, "
             "\"num_layers\": %d, \"cross_attn_norm\": true}",
             s->heads, s->head_dim, CHANNELS, CHANNELS, s->text_dim, s->ffn, s->layers);
}

/* With random weights. */
static enum sdt_status imagine(const struct settings *s, struct sdt_dit **dit,
                               struct sdt_error *err) {
    char text[500];
    config_of(s, text, sizeof text);
    enum sdt_status status = sdt_dit_imagine(text, 0, SDT_F32, dit, err);
    return status == SDT_OK ? sdt_weights_randomize((*dit)->weights, err) : status;
}

struct step_case {
    const struct settings *settings;
    int devices;
    const int *workers; /* [devices] */
    bool equal;         /* splits that take all devices for equally fast */
};

/* Two steps; the first also loads and converts the weights. */
enum { STEPS = 2 };
struct clocks {
    double wall, cpu;
};
static void step_done(void *arg, int step, int steps) {
    struct clocks *end = arg; /* [STEPS] */
    (void)steps;
    end[step - 1] = (struct clocks){sdt__host_now(), app_cpu_now()};
}

/* FNV-1a over the bits. */
static uint64_t hash_of(const float *values, size_t count) {
    const unsigned char *bytes = (const unsigned char *)values;
    uint64_t hash = UINT64_C(14695981039346656037);
    for (size_t i = 0; i < count * sizeof *values; i++)
        hash = (hash ^ bytes[i]) * UINT64_C(1099511628211);
    return hash;
}

/* Seconds from the end of the first step to that of the second. */
static void measure_step(const void *arg, struct app_measured *measured) {
    const struct step_case *c = arg;
    const struct settings *s = c->settings;
    struct sdt_machine_options options = {.devices = c->devices, .workers = c->workers};
    struct sdt_geometry geometry = {s->frames, s->height, s->width};
    struct sdt_machine *machine = NULL;
    struct sdt_dit *dit = NULL;
    struct sdt_run *run = NULL;
    struct sdt_prompt prompt = {0};
    struct sdt_latent latent = {0};
    struct sdt_sampler sampler = {0};
    struct clocks end[STEPS] = {{0}};
    struct sdt_error err;
    size_t size = (size_t)CHANNELS * (size_t)s->frames * (size_t)s->height * (size_t)s->width;
    size_t text_size = (size_t)s->text_rows * (size_t)s->text_dim;
    float *x = malloc(size * sizeof *x), *text = malloc(text_size * sizeof *text);
    float *y = calloc(size, sizeof *y);
    sdt_handle handle[3] = {NULL};

    enum sdt_status status =
        x && text && y ? SDT_OK : sdt_fail(&err, SDT_ERROR_MEMORY, "out of memory for a latent");
    if (status == SDT_OK)
        status = imagine(s, &dit, &err);
    if (status == SDT_OK)
        status = sdt_sampler_init(&sampler, SDT_SAMPLER_UNIPC, SDT_SCHEDULE_NEW, STEPS, 3.0, &err);
    if (status == SDT_OK)
        status = sdt_machine_open(&options, &machine, &err);
    if (status != SDT_OK)
        goto out;
    sdt_randn(1, size, x);
    sdt_randn(2, text_size, text);
    float *values[] = {x, text, y};
    size_t counts[] = {size, text_size, size};
    struct sdt_flow flow = sdt_machine_flow(machine, SDT_LANE_DENOISE);
    for (int i = 0; i < 3; i++)
        handle[i] = sdt__host_vector(&flow, values[i], counts[i], "bench");
    struct sdt_place place[2];
    for (int d = 0; d < machine->devices; d++) {
        place[d] = machine->device[d];
        place[d].speed = c->equal ? 1.0 : place[d].speed;
    }
    struct sdt_parallel parallel = {
        .strategy = s->strategy, .place = place, .devices = machine->devices};
    run = sdt_run_new(&flow, dit, machine, NULL, &parallel, geometry, 1, s->text_rows);
    if (run) {
        struct sdt_text_states states = {handle[1], s->text_rows, 0};
        sdt_latent_init(&flow, &latent, &run->layout, sdt_patch_of(dit, geometry), 0, STEPS,
                        step_done, end);
        if (flow.error.status == SDT_OK) {
            sdt_latent_scatter(&flow, &latent, 0, SDT_SOLVER_X, handle[0]);
            sdt_run_prompt(&flow, run, 0, &states, &prompt);
            run->branch[0].prompt = &prompt;
            for (int i = 0; i < STEPS; i++)
                sdt_latent_step(&flow, run, &sampler, (struct sdt_guidance){1.0f, 1.0f}, NULL, i,
                                &latent);
            sdt_latent_gather(&flow, &latent, STEPS, SDT_SOLVER_X, handle[2]);
        }
    }
    status = sdt__flow_wait(&flow, &err);
    if (latent.tiles_done)
        sdt_latent_clear(&latent);
    sdt_prompt_clear(&prompt);
    sdt_run_free(run);
out:
    for (int i = 0; i < 3; i++)
        sdt__unregister(handle[i]);
    sdt_machine_close(machine);
    sdt_dit_close(dit);
    if (status != SDT_OK)
        app_failed(measured, &err);
    else
        *measured = (struct app_measured){.seconds = end[1].wall - end[0].wall,
                                          .cpu_seconds = end[1].cpu - end[0].cpu,
                                          .hash = hash_of(y, size)};
    sdt_sampler_clear(&sampler);
    free(x);
    free(text);
    free(y);
}

/* What is compared: the first with the two that follow; three workers of one device with two and
 * one of two devices. With fewer cores than workers, all share them: what three could do at best is
 * the same for all splits, and a device that ends early leaves a core idle all the same. */
static const struct {
    int devices, workers[2];
    bool equal;
    const char *name;
} machines[] = {
    {1, {1}, false, "1 device,  1 worker"},         {1, {2}, false, "1 device,  2 workers"},
    {2, {1, 1}, false, "2 devices, 1 worker each"}, {1, {3}, false, "1 device,  3 workers"},
    {2, {2, 1}, false, "2 + 1 workers, by speed"},  {2, {2, 1}, true, "2 + 1 workers, equally"}};
enum { MACHINES = sizeof machines / sizeof machines[0], UNEQUAL = 3 };

/* Of one forward. */
static enum sdt_status flops_of(const struct settings *s, double *flops, struct sdt_error *err) {
    struct sdt_geometry geometry = {s->frames, s->height, s->width};
    struct sdt_dit *dit = NULL;
    enum sdt_status status = imagine(s, &dit, err);
    if (status == SDT_OK) {
        struct sdt_work work = dit->kind->work(dit, sdt_tokens(dit, geometry), s->text_rows);
        *flops = work.linear + work.attention;
    }
    sdt_dit_close(dit);
    return status;
}

static enum sdt_status one_and_two_workers(const struct settings *s, bool *same,
                                           struct sdt_error *err) {
    double best[MACHINES] = {0.0};
    uint64_t hash = 0;
    *same = true;
    double flops = 0.0;
    enum sdt_status status = flops_of(s, &flops, err);
    if (status != SDT_OK)
        return status;
    printf("one denoise step, %s: %d layers of %d heads x %d, feed-forward %d, %d tokens, %.1f "
           "GFLOP\n",
           sdt_strategy_name(s->strategy), s->layers, s->heads, s->head_dim, s->ffn,
           s->frames * s->height / 2 * s->width / 2, flops * 1e-9);
    for (int i = 0; i < s->repeats; i++)
        for (int m = 0; m < MACHINES; m++) {
            struct step_case c = {s, machines[m].devices, machines[m].workers, machines[m].equal};
            struct app_measured measured;
            status = app_in_child(measure_step, &c, &measured, err);
            if (status != SDT_OK)
                return status;
            printf("%-24s %8.3f s %8.1f GFLOP/s %8.3f s of CPU\n", machines[m].name,
                   measured.seconds, flops * 1e-9 / measured.seconds, measured.cpu_seconds);
            if (i == 0 || measured.seconds < best[m])
                best[m] = measured.seconds;
            if (i == 0 && m == 0)
                hash = measured.hash;
            *same &= measured.hash == hash;
        }
    printf("best of %d, against %s:\n", s->repeats, machines[0].name);
    for (int m = 1; m < UNEQUAL; m++)
        printf("%-24s %8.3f times as fast, parallel efficiency %5.1f %%\n", machines[m].name,
               best[0] / best[m], 50.0 * best[0] / best[m]);
    printf("best of %d, against %s:\n", s->repeats, machines[UNEQUAL].name);
    for (int m = UNEQUAL + 1; m < MACHINES; m++)
        printf("%-24s %8.3f times its step\n", machines[m].name, best[m] / best[UNEQUAL]);
    printf("same bits: %s\n", *same ? "yes" : "NO");
    return SDT_OK;
}

/* ---- command --------------------------------------------------------------------------------- */

struct command {
    struct settings step;
    struct app_bench_models models;
};
#define AT(field) APP_AT(struct command, field)

static struct app_option options[] = {
    APP_INT_OPTION("repeats", "N", AT(step.repeats), 1, 1000, "measurements of each (default 3)"),
    APP_HEADING("A model of real size with random weights, on any devices"),
    APP_CHOICE_OPTION("case", APP_BENCH_CASES, AT(models.name),
                      "a block of Wan 2.1 14B at 11 and 40 thousand tokens, a step of 1.3B and "
                      "a decode at 480x832x81, all four; a decode of one frame of 240x416; two "
                      "layers of the text encoder; or something small"),
    APP_STRING_OPTION("devices", "N|LIST", AT(models.devices), APP_DEVICES_HELP),
    APP_CHOICE_OPTION("dtype", APP_DTYPES, AT(models.dtype), APP_DTYPE_HELP),
    APP_STRING_OPTION("strategy", "NAME", AT(models.strategy),
                      "how devices share the sequence: as in stardit-generate (default "
                      "ulysses); without --case pipesp or ulysses (default pipesp)"),
    APP_STRING_OPTION("scheduler", "NAME", AT(models.scheduler),
                      "StarPU policy (default STARPU_SCHED, else pipedit)"),
    APP_STRING_OPTION("workers-per-device", "W|LIST", AT(models.workers), APP_WORKERS_HELP),
    APP_STRING_OPTION("device-speed", "LIST", AT(models.speed), APP_SPEED_HELP),
    APP_HEADING("Without --case: two workers against one, on one CPU device and on two"),
    APP_INT_OPTION("layers", "N", AT(step.layers), 1, 1000, "of the transformer (default 2)"),
    APP_INT_OPTION("heads", "N", AT(step.heads), 1, 1024, "attention heads (default 12)"),
    APP_INT_OPTION("head-dim", "N", AT(step.head_dim), 6, 1024,
                   "numbers per head, even (default 128)"),
    APP_INT_OPTION("ffn", "N", AT(step.ffn), 1, 1048576,
                   "width of the feed-forward (default 8960)"),
    APP_INT_OPTION("latent-frames", "N", AT(step.frames), 1, 100000, "of the latent (default 4)"),
    APP_INT_OPTION("latent-height", "N", AT(step.height), 2, 100000,
                   "of the latent, even (default 64)"),
    APP_INT_OPTION("latent-width", "N", AT(step.width), 2, 100000,
                   "of the latent, even (default 64)"),
};

static struct app_program program = {
    .name = name_of_program,
    .usage = "[options]",
    .summary = "Prints how much faster a denoise step is with two workers than with one: on one "
               "device, and on two devices that share the sequence; or with --case how long steps "
               "and decodes of real size take (random weights).",
    .options = options,
    .count = sizeof options / sizeof options[0],
};

/* With --case. */
static int measure_case(struct app_bench_models *models) {
    static const char *const without[] = {"layers",        "heads",         "head-dim",    "ffn",
                                          "latent-frames", "latent-height", "latent-width"};
    struct sdt_error err;
    for (size_t i = 0; i < sizeof without / sizeof without[0]; i++)
        if (app_given(&program, without[i]))
            return app_usage(program.name, "--%s does not go with --case", without[i]);
    enum sdt_status status = app_bench_models(models, &err);
    if (status == SDT_ERROR_STALLED)
        _exit(app_report(program.name, &err)); /* StarPU cannot be stopped any more */
    return status == SDT_OK ? app_flush(program.name) : app_report(program.name, &err);
}

/* Without. */
static int measure_workers(struct settings *s, const char *strategy) {
    struct sdt_error err;
    bool same = true;
    if (s->head_dim % 2 || s->height % 2 || s->width % 2)
        return app_usage(program.name,
                         "--head-dim, --latent-height and --latent-width must be even");
    s->strategy = sdt_strategy_find(strategy ? strategy : "pipesp");
    if (!s->strategy || !s->strategy->exact)
        return app_usage(program.name, "--strategy %s: pipesp and ulysses work here", strategy);
    if (one_and_two_workers(s, &same, &err) != SDT_OK)
        return app_report(program.name, &err);
    return app_flush(program.name) || !same;
}

int app_bench_runtime(int argc, char **argv) {
    struct command command = {.step = {.repeats = 3,
                                       .layers = 2,
                                       .heads = 12,
                                       .head_dim = 128,
                                       .ffn = 8960,
                                       .text_dim = 512,
                                       .text_rows = 64,
                                       .frames = 4,
                                       .height = 64,
                                       .width = 64}};
    struct app_bench_models *models = &command.models;

    program.settings = &command;
    int code = app_parse(&program, argc, argv);
    if (code >= 0)
        return code;
    models->repeats = command.step.repeats;
    if (!models->name &&
        (models->devices || models->dtype || models->scheduler || models->workers || models->speed))
        return app_usage(program.name, "--devices, --dtype, --scheduler, --workers-per-device and "
                                       "--device-speed go with --case");
    return models->name ? measure_case(models) : measure_workers(&command.step, models->strategy);
}

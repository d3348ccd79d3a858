/* How near what a plan predicts is to what a run takes.
 *
 * Each run has a process of its own, which predicts and then measures, so that both meet the
 * machine as it is at that moment. Medians of all repeats are printed, and how busy the machine
 * was. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "bench/predict.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "apps/options.h"
#include "base/clock.h"
#include "bench/child.h"
#include "bench/simulated.h"
#include "graph/plan/cost.h"
#include "graph/plan/reached.h"

static const char name_of_program[] = "stardit-bench predict";

#define VAE(base)                                                                                  \
    "{\"_class_name\": \"AutoencoderKLWan\", \"base_dim\": " base                                  \
    ", \"z_dim\": 16, \"dim_mult\": "                                                              \
    "[1, 2, 4, 4], \"num_res_blocks\": 2, \"temperal_downsample\": [false, true, true], "          \
    "\"latents_mean\": [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], \"latents_std\": [1, 1, " \
    "1, "                                                                                          \
    "1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1]}"
#define DIT(heads, ffn)                                                                            \
    "{\"_class_name\": \"WanTransformer3DModel\", \"num_layers\": 1, "                             \
    "\"num_attention_heads\": " heads                                                              \
    ", \"attention_head_dim\": 128, \"in_channels\": 16, \"out_channels\": 16, \"text_dim\": 64, " \
    "\"freq_dim\": 256, \"ffn_dim\": " ffn ", \"cross_attn_norm\": true}"

/* The demo, or imagined components with random weights. */
struct predict_case {
    const char *name, *what, *strategy;
    int devices, workers; /* of each; 0: all cores */
    bool demo;
    const char *dit, *vae;
    int height, width, frames, steps; /* 0 steps: only decodes */
    int chunk_heads;
};

static const struct predict_case cases[] = {
    {"demo", "1 device, 1 worker", "single", 1, 1, .demo = true},
    {"demo", "1 device, 2 workers", "single", 1, 2, .demo = true},
    {"demo", "2 devices, ulysses", "ulysses", 2, 1, .demo = true},
    {"demo", "2 devices, pipesp", "pipesp", 2, 1, .demo = true},
    {"demo", "2 devices, pipesp whole", "pipesp", 2, 1, .demo = true, .chunk_heads = 4},
    {"block", "1536 wide, 256 tokens", "single", 1, 0, false, DIT("12", "8960"), VAE("8"), 256, 256,
     1, 5, 0},
    {"block", "1536 wide, 1024 tokens", "single", 1, 0, false, DIT("12", "8960"), VAE("8"), 256,
     256, 13, 4, 0},
    {"block", "1536 wide, 4096 tokens", "single", 1, 0, false, DIT("12", "8960"), VAE("8"), 512,
     512, 13, 3, 0},
    {"vae", "Wan's, 240x416x5", "single", 1, 0, false, DIT("1", "128"), VAE("96"), 240, 416, 5, 0,
     0},
};
enum {
    CASES = sizeof cases / sizeof cases[0],
    MOST_REPEATS = 101,
    MOST_STEPS = 1000,
    WORDS = 64,
    DEMO_WORDS = 5
};

struct sample {
    struct app_times predicted, measured;
};

struct asked {
    const struct predict_case *c;
    const char *model;
    bool simulate;         /* in place of the plan's prediction */
    struct sample *sample; /* in memory that the process shares */
};

/* When each step ended. */
struct ends {
    int count;
    double at[MOST_STEPS];
};

static void progress(void *arg, int request, const char *phase, int done, int total) {
    struct ends *ends = arg;
    (void)request;
    (void)total;
    if (!strcmp(phase, "denoise") && done > 0 && done <= MOST_STEPS) {
        ends->at[done - 1] = sdt__host_now();
        ends->count = done > ends->count ? done : ends->count;
    }
}

static void deliver(void *arg, int request, enum sdt_status status, const struct sdt_error *err,
                    struct sdt_result *result) {
    struct app_times *t = arg;
    (void)request;
    (void)status;
    (void)err;
    t->decode = result->decode_seconds;
    t->run = result->text_seconds + result->denoise_seconds + result->decode_seconds;
}

static int ascending(const void *a, const void *b) {
    const double *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

static double median(double *values, int count) {
    qsort(values, (size_t)count, sizeof *values, ascending);
    return count == 0  ? 0.0
           : count % 2 ? values[count / 2]
                       : (values[count / 2 - 1] + values[count / 2]) / 2.0;
}

/* Between the ends of steps: the first also loads weights. */
static double step_seconds(const struct ends *ends) {
    double length[MOST_STEPS];
    for (int i = 1; i < ends->count; i++)
        length[i - 1] = ends->at[i] - ends->at[i - 1];
    return median(length, ends->count > 1 ? ends->count - 1 : 0); /* a decode has no steps */
}

static enum sdt_status imagine(const struct predict_case *c, struct sdt_pipeline *pipeline,
                               struct sdt_error *err) {
    const struct sdt_size *size;
    *pipeline = (struct sdt_pipeline){
        .folder = "random weights", .flow_shift = 3.0, .times = sdt__kernel_times_new()};
    if (!pipeline->times)
        return sdt_fail(err, SDT_ERROR_MEMORY, "out of memory for a model");
    sdt_size_find("wan-1.3b", &pipeline->family, &size);
    enum sdt_status status = sdt_dit_imagine(c->dit, 0, SDT_F32, &pipeline->dit, err);
    if (status == SDT_OK)
        status = sdt_vae_imagine(c->vae, SDT_F32, &pipeline->vae, err);
    if (status == SDT_OK && c->steps > 0)
        status = sdt_weights_randomize(pipeline->dit->weights, err);
    if (status == SDT_OK)
        status = sdt_weights_randomize(pipeline->vae->weights, err);
    return status;
}

static enum sdt_status predict(const struct predict_case *c, const struct sdt_pipeline *pipeline,
                               const struct sdt_request *request,
                               const struct sdt_placement *placement, struct app_times *predicted,
                               struct sdt_error *err) {
    struct sdt_machine_options machine = {.devices = c->devices, .workers_per_device = c->workers};
    struct sdt_machine_rates rates;
    struct sdt_draft draft = {0};
    struct sdt_times t;
    enum sdt_status status =
        sdt_measure_rates(pipeline, &machine, placement->precision, &rates, err);
    if (status == SDT_OK)
        status =
            sdt_draft_init(&draft, pipeline, request, placement, request->strategy, &rates, err);
    if (status == SDT_OK)
        status = sdt_draft_times(&draft, 1, &t, err);
    if (status == SDT_OK)
        *predicted = (struct app_times){.step = t.step,
                                        .decode = t.decode,
                                        .run = t.total,
                                        .cores = t.text_core + t.steps_core + t.decode_core};
    sdt_draft_clear(&draft);
    return status;
}

/* Threads that insert are no part of a platform: what they take of cores that workers leave comes
 * on top. */
static enum sdt_status simulate(const struct asked *asked, const struct sdt_pipeline *pipeline,
                                const struct sdt_request *request, struct app_times *simulated,
                                struct sdt_error *err) {
    const struct predict_case *c = asked->c;
    struct sdt_machine_options machine = {.devices = c->devices, .workers_per_device = c->workers};
    struct sdt_machine_rates rates;
    const struct app_simulated_case what = {.model = c->demo ? asked->model : NULL,
                                            .dit = c->dit,
                                            .vae = c->vae,
                                            .strategy = c->strategy,
                                            .devices = c->devices,
                                            .workers = c->workers,
                                            .chunk_heads = c->chunk_heads,
                                            .request = request,
                                            .words = c->demo ? DEMO_WORDS : WORDS};
    enum sdt_status status = sdt_measure_rates(pipeline, &machine, SDT_PRECISION_AUTO, &rates, err);
    if (status == SDT_OK)
        status = app_simulated(&what, simulated, err);
    if (status == SDT_OK)
        simulated->cores += simulated->tasks * sdt_insert_seconds_apart(&rates);
    return status;
}

static void run(const void *arg, struct app_measured *measured) {
    const struct asked *asked = arg;
    const struct predict_case *c = asked->c;
    struct sdt_machine_options options = {.devices = c->devices, .workers_per_device = c->workers};
    struct ends *ends = calloc(1, sizeof *ends);
    struct sdt_run_options run = {.placement = {.chunk_heads = c->chunk_heads},
                                  .progress = progress,
                                  .progress_arg = ends,
                                  .deliver = deliver,
                                  .deliver_arg = &asked->sample->measured};
    float *text = calloc((size_t)WORDS * 64, sizeof *text), *latents = NULL;
    struct sdt_stored embeds = {.name = "text",
                                .dtype = SDT_F32,
                                .rank = 2,
                                .shape = {WORDS, 64},
                                .count = (size_t)WORDS * 64,
                                .bytes = (size_t)WORDS * 64 * sizeof(float),
                                .data = text};
    struct sdt_pipeline own = {0}, *pipeline = &own;
    struct sdt_machine *machine = NULL;
    struct sdt_request request;
    struct sdt_error err;

    enum sdt_status status =
        ends && text ? SDT_OK : sdt_fail(&err, SDT_ERROR_MEMORY, "out of memory");
    if (status == SDT_OK)
        status =
            c->demo ? sdt_pipeline_open(asked->model, &pipeline, &err) : imagine(c, &own, &err);
    if (status == SDT_OK)
        status = sdt_pipeline_defaults(pipeline, &request, &err);
    if (status != SDT_OK)
        goto out;
    request.prompt = "a red ball";
    if (!c->demo) {
        struct sdt_geometry g;
        for (int i = 0; i < WORDS * 64; i++)
            text[i] = (float)(i % 17) / 17.0f + 0.1f;
        request.prompt_embeds = &embeds;
        request.max_sequence_length = WORDS;
        request.guidance_scale = 1.0;
        request.height = c->height;
        request.width = c->width;
        request.num_frames = c->frames;
        request.steps = c->steps;
        g = sdt__geometry(pipeline, &request);
        latents = calloc((size_t)16 * (size_t)g.frames * (size_t)g.height * (size_t)g.width,
                         sizeof *latents);
        request.latents = latents;
    }
    request.strategy = sdt_strategy_find(c->strategy);
    if (asked->simulate)
        status = simulate(asked, pipeline, &request, &asked->sample->predicted, &err);
    else
        status = predict(c, pipeline, &request, &run.placement, &asked->sample->predicted, &err);
    if (status != SDT_OK)
        goto out;
    status = sdt_machine_open(&options, &machine, &err);
    if (status != SDT_OK)
        goto out;
    double cores = app_cpu_now();
    status = sdt_pipeline_run_all(pipeline, machine, &request, 1, &run, &err);
    asked->sample->measured.cores = app_cpu_now() - cores;
    if (status == SDT_OK)
        asked->sample->measured.step = step_seconds(ends);
    sdt_machine_close(machine);
out:
    if (status != SDT_OK)
        app_failed(measured, &err);
    free(latents);
    free(text);
    free(ends);
}

static void print_pair(const struct sample *samples, int count, size_t field) {
    double predicted[MOST_REPEATS], measured[MOST_REPEATS];
    for (int i = 0; i < count; i++) {
        predicted[i] = *(const double *)((const char *)&samples[i].predicted + field);
        measured[i] = *(const double *)((const char *)&samples[i].measured + field);
    }
    double p = median(predicted, count), m = median(measured, count);
    if (m > 0.0)
        printf("  %8.4f /%8.4f = %4.2f", p, m, p / m);
    else
        printf("  %26s", "");
}

int app_bench_predict(int argc, char **argv) {
    const char *chosen = NULL, *model = NULL;
    int repeats = 3;
    bool simulate = false;
    struct app_option options[] = {
        APP_STRING_OPTION("model", "DIR", &model,
                          "the demo checkpoint, for the cases that are called demo"),
        APP_CHOICE_OPTION(
            "case", "demo|block|vae", &chosen,
            "only these cases (default: all that --model allows; vae takes a minute)"),
        APP_INT_OPTION("repeats", "N", &repeats, 1, MOST_REPEATS, "runs of each case (default 3)"),
        APP_FLAG_OPTION("simulate", &simulate,
                        "in place of a plan: stardit-simulate on the platform that stardit-info "
                        "--platform writes of this machine"),
    };
    struct app_program program = {
        .name = name_of_program,
        .usage = "[options]",
        .summary = "Prints what a plan predicts over what a run takes, in seconds: of a denoising "
                   "step, a decode and a whole run; medians.",
        .options = options,
        .count = sizeof options / sizeof options[0],
    };
    struct sdt_error err;
    double load[1] = {0.0};

    int code = app_parse(&program, argc, argv);
    if (code >= 0)
        return code;
    if (!model && chosen && !strcmp(chosen, "demo"))
        return app_usage(program.name, "--case demo needs --model, the demo checkpoint's folder");
    const struct app_idle idle[] = {
        {"model", chosen && strcmp(chosen, "demo"), "goes with --case demo, or all cases"},
    };
    code = app_refuse_idle(&program, idle, sizeof idle / sizeof idle[0]);
    if (code >= 0)
        return code;
    struct sample *samples = mmap(NULL, MOST_REPEATS * sizeof *samples, PROT_READ | PROT_WRITE,
                                  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (samples == MAP_FAILED) {
        sdt_fail(&err, SDT_ERROR_MEMORY, "out of memory");
        return app_report(program.name, &err);
    }
    printf("seconds %s / measured, medians of %d\n", simulate ? "simulated" : "predicted", repeats);
    printf("%-6s %-24s  %-26s  %-26s  %-26s  %-26s  %s\n", "case", "", "step", "decode", "run",
           "run, CPU time", "load");
    for (int i = 0; i < CASES; i++) {
        if ((chosen && strcmp(chosen, cases[i].name)) || (cases[i].demo && !model) ||
            (simulate && !cases[i].steps && !cases[i].demo)) /* a decode alone */
            continue;
        for (int r = 0; r < repeats; r++) {
            struct asked asked = {&cases[i], model, simulate, &samples[r]};
            struct app_measured measured;
            if (app_in_child(run, &asked, &measured, &err) != SDT_OK)
                return app_report(program.name, &err);
        }
        getloadavg(load, 1);
        printf("%-6s %-24s", cases[i].name, cases[i].what);
        print_pair(samples, repeats, offsetof(struct app_times, step));
        print_pair(samples, repeats, offsetof(struct app_times, decode));
        print_pair(samples, repeats, offsetof(struct app_times, run));
        print_pair(samples, repeats, offsetof(struct app_times, cores));
        printf("  %4.1f\n", load[0]);
        fflush(stdout);
    }
    munmap(samples, MOST_REPEATS * sizeof *samples);
    return app_flush(program.name);
}

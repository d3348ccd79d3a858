/* stardit-simulate: how long a denoising step of the Wan transformer would take on GPUs that are
 * not here.
 *
 * The graph, the strategies and the policy are those of stardit-generate; time is SimGrid's. A few
 * layers are simulated, twice with different numbers of them, and the difference is extended to the
 * whole model. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "apps/devices.h"
#include "apps/options.h"
#include "apps/strategy.h"
#include "graph/pipeline.h"
#include "graph/run/latent.h"
#include "runtime/clock.h"
#include "runtime/simulation.h"

static const char name_of_program[] = "stardit-simulate";

struct settings {
    const char *platform_path, *model, *strategy_name, *scheduler, *trace, *speed, *split;
    struct app_devices devices;                                  /* with their speeds */
    int height, width, num_frames, text_keys, forwards, streams; /* 0: the model's */
    int chunk_heads, ulysses_degree, tile_rows, layers;
    struct sdt_platform platform; /* the file's, but for what options say */
    struct sdt_platform given;    /* by options */
    const struct sdt_strategy *strategy;
    struct sdt_model whole; /* of which `layers` layers are simulated */
    struct sdt_request request;
};

/* What one step of `layers` layers showed. */
struct measured {
    double ms, busy_ms, exchange_ms; /* busiest device: computing, and in exchange tasks */
    double received, formula; /* bytes between devices: of the busiest receiver, and of all */
    double moved;             /* by all */
    double held, needed;      /* bytes of the GPU that holds most: at any time, and predicted */
    unsigned long tasks;
    int tile_rows, chunks;
};

/* ---- the model ------------------------------------------------------------------------------- */

/* What is asked for, with the model's own sizes where nothing is. */
static enum sdt_status read_model(struct settings *s, struct sdt_error *err) {
    struct sdt_pipeline *pipeline = NULL;
    struct sdt_request *request = &s->request;
    struct sdt_placement together = {
        .ulysses_degree = s->ulysses_degree, .chunk_heads = s->chunk_heads, .streams = s->streams};
    enum sdt_status status = sdt_pipeline_imagine(s->model, &pipeline, err);
    if (status == SDT_OK)
        status = sdt_pipeline_defaults(pipeline, request, err);
    if (status != SDT_OK)
        goto out;
    request->height = s->height ? s->height : request->height;
    request->width = s->width ? s->width : request->width;
    request->num_frames = s->num_frames ? s->num_frames : request->num_frames;
    request->max_sequence_length = s->text_keys ? s->text_keys : request->max_sequence_length;
    s->forwards = s->forwards ? s->forwards : sdt_pipeline_forwards(pipeline, request);
    s->whole = sdt_pipeline_model(pipeline);
    s->layers = s->layers > s->whole.layers ? s->whole.layers : s->layers;
    status = sdt__check_request(pipeline, request, err);
    if (status == SDT_OK)
        status =
            sdt_strategy_allows(s->strategy, &together, s->platform.devices, pipeline->dit, err);
out:
    request->negative_prompt = NULL; /* the pipeline's */
    sdt_pipeline_close(pipeline);
    return status;
}

/* ---- options --------------------------------------------------------------------------------- */

#define AT(field) APP_AT(struct settings, field)

static char strategy_help[300]; /* filled before the table is read */

static struct app_option options[] = {
    APP_HEADING("What to simulate"),
    APP_STRING_OPTION("model", "DIR|NAME", AT(model),
                      "a checkpoint, of which only the config.json files are read, or a published "
                      "size: wan-1.3b, wan-14b (default wan-1.3b)"),
    APP_INT_OPTION("height", "N", AT(height), 1, 65536,
                   "of the video, pixels (default: the model's)"),
    APP_INT_OPTION("width", "N", AT(width), 1, 65536,
                   "of the video, pixels (default: the model's)"),
    APP_INT_OPTION("num-frames", "N", AT(num_frames), 1, 65536,
                   "of the video (default: the model's)"),
    APP_INT_OPTION("max-sequence-length", "N", AT(text_keys), 1, 4096,
                   "tokens of the prompt (default: the model's)"),
    APP_INT_OPTION("forwards", "N", AT(forwards), 1, 2,
                   "of a step (default: the model's with guidance)"),
    APP_INT_OPTION("layers", "K", AT(layers), 2, 1000,
                   "simulate K layers and K/2, extend to all (default 4)"),
    APP_HEADING("How it runs in parallel"),
    APP_STRING_OPTION("strategy", "NAME", AT(strategy_name), strategy_help),
    APP_INT_OPTION("chunk-heads", "N", AT(chunk_heads), 1, 1024,
                   "heads of a chunk (default: the strategy's)"),
    APP_INT_OPTION("ulysses-degree", "U", AT(ulysses_degree), 1, SDT_MAX_DEVICES,
                   "usp: devices that share heads (default: all)"),
    APP_INT_OPTION("streams", "N", AT(streams), 1, 2,
                   "2: both forwards side by side, 1: one after the other (default 2)"),
    APP_INT_OPTION("tile-rows", "N", AT(tile_rows), 1, 1 << 24,
                   "tokens of a tile (default: a device's share, in equal parts of 8192 at most)"),
    APP_STRING_OPTION("scheduler", "NAME", AT(scheduler),
                      "scheduling policy (default STARPU_SCHED, else pipedit)"),
    APP_HEADING("The machine: a platform, and what differs from it"),
    APP_STRING_OPTION("platform", "PATH", AT(platform_path),
                      "platform.txt or its folder (default: that of platforms/nvswitch-8)"),
    APP_INT_OPTION("devices", "N", AT(given.devices), 1, STARPU_MAXCUDADEVS, "GPUs"),
    APP_DOUBLE_OPTION("gpu-gflops", "X", AT(given.gflops), 1e-3, 1e9, "GFLOP/s of a GPU, achieved"),
    APP_DOUBLE_OPTION("attention-gflops", "X", AT(given.attention_gflops), 1e-3, 1e9,
                      "the same in attention"),
    APP_DOUBLE_OPTION("memory-gbps", "X", AT(given.memory_gbps), 1e-3, 1e9,
                      "GB/s of a GPU's memory, achieved"),
    APP_DOUBLE_OPTION("memory-gb", "X", AT(given.memory_gb), 1e-3, 1e6, "GB of a GPU's memory"),
    APP_DOUBLE_OPTION("link-gbps", "X", AT(given.link_gbps), 1e-3, 1e6,
                      "GB/s between a GPU and the switch, each direction"),
    APP_DOUBLE_OPTION("link-latency-us", "X", AT(given.link_latency_us), 0, 1e6,
                      "microseconds of a transfer's latency"),
    APP_DOUBLE_OPTION("host-gbps", "X", AT(given.host_gbps), 1e-3, 1e6,
                      "GB/s between the host and a GPU, each direction"),
    APP_STRING_OPTION("device-speed", "LIST", AT(speed),
                      "speeds of the GPUs beside the first one's, as 1,1,0.5 (default: all equal)"),
    APP_CHOICE_OPTION("split", "speed|equal", AT(split),
                      "tokens and heads in proportion to the speeds, or equally (default speed)"),
    APP_HEADING("Output"),
    APP_STRING_OPTION("trace", "FILE", AT(trace),
                      "Chrome trace of all that was simulated: both numbers of layers, "
                      "each with its first forward"),
};

static struct app_program program = {
    .name = name_of_program,
    .usage = "[--model DIR|NAME] [options]",
    .summary = "Predicts the time of a denoising step on simulated GPUs. "
               "No weight is read and nothing is computed.",
    .options = options,
    .count = sizeof options / sizeof options[0],
};

/* The platform's file, and what options say in its place. -1: go on, else the exit status. */
static int read_platform(struct settings *s, struct sdt_error *err) {
    const struct sdt_platform *given = &s->given;
    if (s->platform_path) {
        char path[4096];
        struct stat there;
        bool folder = stat(s->platform_path, &there) == 0 && S_ISDIR(there.st_mode);
        snprintf(path, sizeof path, "%s%s", s->platform_path, folder ? "/platform.txt" : "");
        if (sdt_platform_read(path, &s->platform, err) != SDT_OK)
            return app_report(name_of_program, err);
    }
    const struct {
        const char *name;
        double from, *to;
    } number[] = {{"gpu-gflops", given->gflops, &s->platform.gflops},
                  {"attention-gflops", given->attention_gflops, &s->platform.attention_gflops},
                  {"memory-gbps", given->memory_gbps, &s->platform.memory_gbps},
                  {"memory-gb", given->memory_gb, &s->platform.memory_gb},
                  {"link-gbps", given->link_gbps, &s->platform.link_gbps},
                  {"link-latency-us", given->link_latency_us, &s->platform.link_latency_us},
                  {"host-gbps", given->host_gbps, &s->platform.host_gbps}};
    for (size_t i = 0; i < sizeof number / sizeof number[0]; i++)
        if (app_given(&program, number[i].name))
            *number[i].to = number[i].from;
    if (given->devices)
        s->platform.devices = given->devices;
    if (app_given(&program, "gpu-gflops") && !app_given(&program, "attention-gflops"))
        s->platform.attention_gflops = 0.0; /* as gflops */
    if (s->platform.devices < 1 || s->platform.devices > STARPU_MAXCUDADEVS)
        return app_usage(name_of_program, "%d devices; 1 to %d are supported", s->platform.devices,
                         STARPU_MAXCUDADEVS);
    if (!(s->platform.link_gbps > 0.0) || !(s->platform.host_gbps > 0.0) ||
        !(s->platform.memory_gb > 0.0))
        return app_usage(name_of_program, "the platform needs link-gbps, host-gbps and memory-gb");
    return -1;
}

static int parse(struct settings *s, int argc, char **argv, struct sdt_error *err) {
    *s = (struct settings){.model = "wan-1.3b",
                           .streams = 2,
                           .layers = 4,
                           .platform = {.devices = 8,
                                        .gflops = 400e3,
                                        .memory_gbps = 2500.0,
                                        .attention_gflops = 400e3,
                                        .memory_gb = 80.0,
                                        .link_gbps = 400.0,
                                        .link_latency_us = 5.0,
                                        .host_gbps = 50.0}};
    program.settings = s;
    app_strategy_help(strategy_help, sizeof strategy_help);
    int code = app_parse(&program, argc, argv);
    if (code >= 0)
        return code;
    err->status = SDT_OK;
    code = read_platform(s, err);
    if (code >= 0)
        return code;
    const struct app_idle idle[] = {
        {"split", !s->speed, "goes with --device-speed"},
        {"streams", s->forwards == 1 && s->streams == 2,
         "--forwards 1 has one forward a step, which is one stream"},
    };
    code = app_refuse_idle(&program, idle, sizeof idle / sizeof idle[0]);
    if (code >= 0)
        return code;
    app_devices_stand_ins(&s->devices, s->platform.devices);
    if (app_devices_shares(&s->devices, NULL, s->speed, err) != SDT_OK)
        return app_report(name_of_program, err);
    s->strategy = app_strategy(s->strategy_name, err);
    if (!s->strategy)
        return app_report(name_of_program, err);
    if (s->ulysses_degree && !sdt_strategy_has_degree(s->strategy))
        return app_usage(name_of_program, "--ulysses-degree: %s has no ring of Ulysses groups",
                         sdt_strategy_name(s->strategy));
    return read_model(s, err) == SDT_OK ? -1 : app_report(name_of_program, err);
}

/* ---- one forward ----------------------------------------------------------------------------- */

/* Busiest device's execution times so far, ms, of exchanges or of everything else. */
static double busiest_ms(const struct sdt_machine *machine, bool exchanges, double *each) {
    double most = 0.0;
    for (int d = 0; d < machine->devices; d++) {
        double ms = 0.0;
        for (int role = 0; role < SDT_ROLES; role++)
            if ((role == SDT_ROLE_EXCHANGE) == exchanges)
                ms += 1e-3 * sdt__recorder_totals(machine->recorder, d, role).busy_us;
        most = ms - each[d] > most ? ms - each[d] : most;
        each[d] = ms;
    }
    return most;
}

/* All that a simulated forward reads, never its values. */
struct inputs {
    float *values;
    sdt_handle latent, text, pooled;
};

static bool inputs_init(struct inputs *inputs, struct sdt_flow *flow, const struct settings *s,
                        const struct sdt_dit *dit, struct sdt_geometry g) {
    size_t pixels = (size_t)dit->channels * (size_t)(g.frames * g.height) * (size_t)g.width;
    size_t words = (size_t)s->request.max_sequence_length * (size_t)dit->text_dim;
    size_t pooled = (size_t)dit->pooled_dim, most = pixels > words ? pixels : words;
    inputs->values = calloc(most > pooled ? most : pooled, sizeof *inputs->values);
    if (!inputs->values)
        return false;
    /* all may lie in one place */
    inputs->latent = sdt__host_vector(flow, inputs->values, pixels, "latent");
    inputs->text = sdt__host_vector(flow, inputs->values, words, "text states");
    inputs->pooled = pooled ? sdt__host_vector(flow, inputs->values, pooled, "pooled text") : NULL;
    return true;
}

static void inputs_clear(struct inputs *inputs) {
    sdt__unregister(inputs->latent);
    sdt__unregister(inputs->text);
    sdt__unregister(inputs->pooled);
    free(inputs->values);
}

/* What the machine has done so far, and since then. */
static void count(struct sdt_machine *machine, double each[2][SDT_MAX_DEVICES],
                  struct measured *measured) {
    double traffic[(SDT_MAX_DEVICES + 1) * (SDT_MAX_DEVICES + 1)] = {0};
    int n = machine->devices + 1;
    measured->busy_ms = busiest_ms(machine, false, each[0]);
    measured->exchange_ms = busiest_ms(machine, true, each[1]);
    measured->tasks = sdt__recorder_tasks(machine->recorder) - measured->tasks;
    measured->ms = 1e3 * sdt__now() - measured->ms;
    measured->received = measured->moved = 0.0;
    sdt_machine_traffic(machine, traffic);
    for (int to = 1; to < n; to++) {
        double received = 0.0;
        for (int from = 1; from < n; from++)
            received += traffic[from * n + to];
        measured->moved += received;
        measured->received = received > measured->received ? received : measured->received;
    }
}

/* A step, and once more: the first brings the weights to the devices, the second is like all
 * others. */
static void two_steps(struct sdt_flow *flow, const struct settings *s, struct sdt_run *run,
                      struct sdt_latent *latent, struct sdt_prompt *prompt,
                      const struct inputs *inputs, struct measured *measured) {
    double each[2][SDT_MAX_DEVICES] = {{0}};
    const struct sdt_text_states text[2] = {{inputs->text, s->request.max_sequence_length, 0},
                                            {inputs->pooled, 1, 0}};
    const float t = 500.0f;
    sdt_latent_init(flow, latent, &run->layout, sdt_patch_of(run->dit, run->geometry), 0, 0, NULL,
                    NULL);
    sdt_latent_scatter(flow, latent, 0, SDT_SOLVER_X, inputs->latent);
    for (int i = 0; i < s->forwards; i++) {
        run->schedule = (struct sdt_schedule){&t, 1, (float)s->request.guidance_scale};
        sdt_run_prompt(flow, run, i, text, &prompt[i]);
        run->branch[i].prompt = &prompt[i];
    }
    *measured = (struct measured){0};
    for (int i = 0; i < 2; i++) {
        sdt_run_step(flow, run, s->forwards, t, sdt_latent_tiles(latent, 0));
        if (sdt__flow_wait(flow, NULL) != SDT_OK)
            return;
        count(run->machine, each, measured);
        if (i == 0) {
            measured->tasks = sdt__recorder_tasks(run->machine->recorder);
            measured->ms = 1e3 * sdt__now();
        }
    }
    for (int d = 0; d < run->layout.devices; d++) {
        struct sdt_need need = sdt_run_need(run->dit, &run->parallel, &run->layout, d, s->forwards,
                                            s->request.max_sequence_length, 1);
        double peak = sdt_machine_peak_bytes(run->machine, d);
        measured->needed = need.all > measured->needed ? need.all : measured->needed;
        measured->held = peak > measured->held ? peak : measured->held;
    }
    measured->formula = s->forwards * sdt_run_exchanged(run->dit, s->strategy, &run->layout);
    measured->tile_rows = run->layout.rows;
    measured->chunks = run->layout.chunks;
}

/* A simulated GPU that is too small would wait for room for ever. */
static enum sdt_status check_memory(const struct settings *s, const struct sdt_dit *dit,
                                    const struct sdt_parallel *parallel, struct sdt_geometry g,
                                    struct sdt_error *err) {
    struct sdt_layout layout = {0};
    double least = 0.0;
    enum sdt_status status = sdt_run_layout(dit, parallel, g, s->forwards, 0, &layout, err);
    for (int d = 0; status == SDT_OK && d < layout.devices; d++) {
        struct sdt_need need =
            sdt_run_need(dit, parallel, &layout, d, s->forwards, s->request.max_sequence_length, 1);
        least = need.least > least ? need.least : least;
    }
    sdt_layout_clear(&layout);
    if (status == SDT_OK && least > s->platform.memory_gb * 1e9)
        status = sdt_fail(err, SDT_ERROR_LIMIT,
                          "a GPU of %.4g GB of memory: a forward needs at least %.4g GB there",
                          s->platform.memory_gb, least * 1e-9);
    return status;
}

static enum sdt_status simulate(const struct settings *s, struct sdt_machine *machine, int layers,
                                struct measured *measured, struct sdt_error *err) {
    struct sdt_pipeline *pipeline = NULL;
    struct sdt_run *run = NULL;
    struct sdt_latent latent = {0};
    struct sdt_prompt prompt[2] = {{0}};
    struct inputs inputs = {0};
    struct sdt_flow flow = sdt_machine_flow(machine, SDT_LANE_DENOISE);
    struct sdt_place place[SDT_MAX_DEVICES];
    for (int d = 0; d < machine->devices; d++) {
        place[d] = machine->device[d];
        if (s->split && !strcmp(s->split, "equal"))
            place[d].speed = 1.0;
    }
    struct sdt_parallel parallel = {.strategy = s->strategy,
                                    .place = place,
                                    .devices = machine->devices,
                                    .ulysses_degree = s->ulysses_degree,
                                    .chunk_heads = s->chunk_heads,
                                    .streams = s->streams,
                                    .dtype = SDT_BF16,
                                    .tile_rows = s->tile_rows};

    enum sdt_status status = sdt__pipeline_imagine(s->model, layers, &pipeline, err);
    if (status != SDT_OK)
        return status;
    struct sdt_geometry g = sdt__geometry(pipeline, &s->request);
    if (!inputs_init(&inputs, &flow, s, pipeline->dit, g)) {
        status = sdt_fail(err, SDT_ERROR_MEMORY, "out of memory for the latent");
        goto out;
    }
    status = check_memory(s, pipeline->dit, &parallel, g, err);
    if (status != SDT_OK)
        goto out;
    run = sdt_run_new(&flow, pipeline->dit, machine, NULL, &parallel, g, s->forwards,
                      s->request.max_sequence_length);
    if (run)
        two_steps(&flow, s, run, &latent, prompt, &inputs, measured);
    status = sdt__flow_wait(&flow, err);
out:
    if (latent.tiles_done)
        sdt_latent_clear(&latent);
    for (int i = 0; i < 2; i++)
        sdt_prompt_clear(&prompt[i]);
    inputs_clear(&inputs);
    sdt_run_free(run);
    sdt_pipeline_close(pipeline);
    return status;
}

/* ---- program --------------------------------------------------------------------------------- */

/* few, many: of s->layers / 2 and s->layers layers. */
static double extend(const struct settings *s, double few, double many) {
    double layer = (many - few) / (s->layers - s->layers / 2);
    return many + (s->whole.layers - s->layers) * layer;
}

static void print(const struct settings *s, const struct measured *few,
                  const struct measured *many) {
    const struct sdt_platform *p = &s->platform;
    double ms = extend(s, few->ms, many->ms), busy = extend(s, few->busy_ms, many->busy_ms);
    double received = extend(s, few->received, many->received);
    double exchange = extend(s, few->exchange_ms, many->exchange_ms);
    double wire = received / (p->link_gbps * 1e6);

    printf(
        "Machine:      %d GPUs of %.4g GFLOP/s (attention %.4g), %.4g GB/s memory; links of %.4g "
        "GB/s, %.4g us\n",
        p->devices, p->gflops, p->attention_gflops > 0.0 ? p->attention_gflops : p->gflops,
        p->memory_gbps, p->link_gbps, p->link_latency_us);
    printf("Model:        %d layers of %d heads x %d, %d frame%s of %dx%d (width x height)\n",
           s->whole.layers, s->whole.heads, s->whole.head_dim, s->request.num_frames,
           s->request.num_frames == 1 ? "" : "s", s->request.width, s->request.height);
    printf("Strategy:     %s, %d head chunks, tiles of %d tokens, %d forward%s a step%s\n",
           sdt_strategy_name(s->strategy), many->chunks, many->tile_rows, s->forwards,
           s->forwards == 1 ? "" : "s",
           s->forwards == 1  ? ""
           : s->streams == 1 ? ", one after the other"
                             : ", side by side");
    printf("Simulated:    %d and %d layers, %lu tasks the step\n", s->layers / 2, s->layers,
           many->tasks);
    printf("Layer:        %.3f ms, of all forwards\n",
           (many->ms - few->ms) / (s->layers - s->layers / 2));
    printf("Step:         %.4f s\n", ms * 1e-3);
    printf("  computing   %.4f s on the busiest device\n", busy * 1e-3);
    printf("  exchanging  %.4f s of tasks (copies); %.4f s on its links\n", exchange * 1e-3,
           wire * 1e-3);
    printf("  exposed     %.4f s: the step without the computing, exchanges and waiting\n",
           (ms - busy) * 1e-3);
    printf("  received    %.6g GB a step by the busiest device, moved/formula %.6f\n",
           received * 1e-9, many->formula > 0.0 ? many->moved / many->formula : 1.0);
    printf("  memory      %.4g GB of the GPU that holds most, %.4g GB predicted\n",
           1e-9 * extend(s, few->held, many->held), 1e-9 * extend(s, few->needed, many->needed));
    printf("  tasks       %.0f a step on all devices, which one thread inserts\n",
           extend(s, (double)few->tasks, (double)many->tasks));
}

/* Before libstarpu's main: see runtime/simulation.h. */
__attribute__((constructor)) static void launch(int argc, char **argv) {
    struct settings s;
    struct sdt_error err;

    if (sdt_simulation_launched())
        return;
    int code = parse(&s, argc, argv, &err);
    if (code < 0 && sdt_simulation_launch(&s.platform, argv, &code, &err) != SDT_OK)
        code = app_report(name_of_program, &err);
    fflush(NULL);
    exit(code);
}

int main(int argc, char **argv) {
    struct settings s;
    struct sdt_error err;
    struct sdt_machine *machine = NULL;
    struct measured few, many;

    int code = parse(&s, argc, argv, &err);
    if (code >= 0)
        return code;
    struct sdt_machine_options wanted = {.devices = s.platform.devices,
                                         .workers_per_device = 1,
                                         .device_speed =
                                             s.devices.has_speed ? s.devices.speed : NULL,
                                         .scheduler = s.scheduler,
                                         .keep_records = s.trace != NULL};
    enum sdt_status status = sdt_machine_open(&wanted, &machine, &err);
    if (status != SDT_OK)
        return app_report(name_of_program, &err);
    sdt_simulation_rates(machine, &s.platform);
    status = simulate(&s, machine, s.layers / 2, &few, &err);
    if (status == SDT_OK)
        status = simulate(&s, machine, s.layers, &many, &err);
    if (status == SDT_OK) {
        print(&s, &few, &many);
        if (s.trace)
            status = sdt__recorder_write_trace(machine->recorder, s.trace, &err);
    }
    sdt_machine_close(machine);
    if (status == SDT_OK && (fflush(stdout) || ferror(stdout)))
        status = sdt_fail(&err, SDT_ERROR_IO, "standard output cannot be written");
    sdt_simulation_finish();
    return status == SDT_OK ? 0 : app_report(name_of_program, &err);
}

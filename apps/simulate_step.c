/* One denoising step: a few layers are simulated, with different numbers of them, and the
 * difference is extended to the whole model. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "apps/simulate.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "apps/stats.h"
#include "graph/pipeline.h"
#include "graph/run/latent.h"
#include "runtime/clock.h"
#include "runtime/simulation.h"

/* What one step of `layers` layers showed. */
struct measured {
    double ms, busy_ms, exchange_ms; /* busiest device: computing, and in exchange tasks */
    double received, formula; /* bytes between devices: of the busiest receiver, and of all */
    double moved;             /* by all */
    double held, needed;      /* bytes of the GPU that holds most: at any time, and predicted */
    unsigned long tasks;
    int tile_rows, chunks;
    struct sdt_step_record record; /* for fast-forward */
};

/* Who takes part, and whether the helpers do. */
struct part {
    struct sdt_parallel parallel;
    bool helped;
};

/* Both forwards side by side, unless told otherwise. */
static int streams_of(const struct app_simulation *s) {
    return s->placement.streams ? s->placement.streams : 2;
}

/* ---- one forward ----------------------------------------------------------------------------- */

/* Busiest device's execution times so far, ms, of exchanges or of everything else. */
static double busiest_ms(const struct sdt_machine *machine, bool exchanges, double *each) {
    double most = 0.0;
    for (int d = 0; d < machine->devices; d++) {
        double ms = 0.0;
        for (int role = 0; role < SDT_ROLES; role++)
            if ((role == SDT_ROLE_EXCHANGE) == exchanges)
                ms += 1e-3 * sdt__recorder_totals(machine->recorder, d, role).busy_us /
                      machine->device[d].workers;
        most = ms - each[d] > most ? ms - each[d] : most;
        each[d] = ms;
    }
    return most;
}

/* All that a simulated forward reads, never its values. */
struct inputs {
    float *values;
    sdt_handle latent, text[2], pooled; /* text: the prompt's, and the negative one's */
    int rows[2], pad_rows[2];
};

/* Of branches that follow one another one is simulated: its prompt's length is then both's mean. */
static int rows_of(const struct app_simulation *s, int branch, bool mean) {
    int rows = s->request.max_sequence_length;
    if (!s->negative_keys || s->forwards < 2)
        return rows;
    if (mean)
        return (rows + s->negative_keys) / 2;
    return branch ? s->negative_keys : rows;
}

static bool inputs_init(struct inputs *inputs, struct sdt_flow *flow,
                        const struct app_simulation *s, const struct sdt_pipeline *pipeline,
                        struct sdt_geometry g, bool mean) {
    const struct sdt_dit *dit = pipeline->dit;
    size_t pixels = (size_t)dit->channels * (size_t)(g.frames * g.height) * (size_t)g.width;
    size_t words = (size_t)s->request.max_sequence_length * (size_t)dit->text_dim;
    size_t pooled = (size_t)dit->pooled_dim, most = pixels > words ? pixels : words;
    inputs->values = calloc(most > pooled ? most : pooled, sizeof *inputs->values);
    if (!inputs->values)
        return false;
    /* all may lie in one place */
    inputs->latent = sdt__host_vector(flow, inputs->values, pixels, "latent");
    for (int i = 0; i < 2; i++) {
        int rows = rows_of(s, i, mean);
        inputs->rows[i] = rows;
        if (pipeline->family->prompt[0].padding_counts)
            inputs->pad_rows[i] = s->request.max_sequence_length - rows;
        inputs->text[i] = sdt__host_vector(flow, inputs->values,
                                           (size_t)rows * (size_t)dit->text_dim, "text states");
    }
    inputs->pooled = pooled ? sdt__host_vector(flow, inputs->values, pooled, "pooled text") : NULL;
    return true;
}

static void inputs_clear(struct inputs *inputs) {
    sdt__unregister(inputs->latent);
    for (int i = 0; i < 2; i++)
        sdt__unregister(inputs->text[i]);
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

/* What the step did, between two looks at the totals. */
static void take_record(const struct sdt_step_record *before, const struct sdt_step_record *after,
                        struct sdt_bounds bounds, struct measured *measured,
                        struct sdt_bounds now) {
    struct sdt_step_record *record = &measured->record;
    *record = *after;
    record->us = 1e3 * measured->ms;
    record->path_us = now.path_us - bounds.path_us;
    record->work_us = now.work_us - bounds.work_us;
    sdt__step_record_add(record, before, -1.0);
}

static const float some_timestep = 500.0f;

/* What steps read: the latent, and the prompts of so many branches. */
static void begin(struct sdt_flow *flow, const struct app_simulation *s, struct sdt_run *run,
                  struct sdt_latent *latent, struct sdt_prompt *prompt, int prompts,
                  const struct inputs *inputs) {
    sdt_latent_init(flow, latent, &run->layout, sdt_patch_of(run->dit, run->geometry), 0, 0, NULL,
                    NULL);
    sdt_latent_scatter(flow, latent, 0, SDT_SOLVER_X, inputs->latent);
    for (int i = 0; i < s->forwards; i++) {
        run->schedule = (struct sdt_schedule){&some_timestep, 1, (float)s->request.guidance_scale};
        const struct sdt_text_states text[2] = {
            {inputs->text[i], inputs->rows[i], inputs->pad_rows[i]}, {inputs->pooled, 1, 0}};
        if (i < prompts)
            sdt_run_prompt(flow, run, i, text, &prompt[i]);
        run->branch[i].prompt = &prompt[i < prompts ? i : 0];
    }
}

static void steps(struct sdt_flow *flow, struct sdt_run *run, int number, int forwards,
                  const struct sdt_latent *latent, double each[2][SDT_MAX_DEVICES],
                  struct measured *measured) {
    struct sdt_step_record before, after;
    count(run->machine, each, measured);
    measured->tasks = sdt__recorder_tasks(run->machine->recorder);
    measured->ms = 1e3 * sdt__now();
    sdt__recorder_steps(run->machine->recorder, &before);
    struct sdt_bounds bounds = sdt__recorder_bounds(run->machine->recorder);
    for (int i = 0; i < number; i++)
        sdt_run_step(flow, run, forwards, some_timestep, sdt_latent_tiles(latent, 0));
    if (sdt__flow_wait(flow, NULL) != SDT_OK)
        return;
    count(run->machine, each, measured);
    sdt__recorder_steps(run->machine->recorder, &after);
    take_record(&before, &after, bounds, measured, sdt__recorder_bounds(run->machine->recorder));
}

/* A step, and once more: the first brings the weights to the devices, the second is like all
 * others. */
static void two_steps(struct sdt_flow *flow, const struct app_simulation *s, struct sdt_run *run,
                      const struct sdt_latent *latent, struct measured *measured) {
    double each[2][SDT_MAX_DEVICES] = {{0}};
    *measured = (struct measured){0};
    for (int i = 0; i < 2; i++)
        steps(flow, run, 1, s->forwards, latent, each, measured);
    const struct sdt_run_parts parts = {1, {{run->parallel, run->layout, 0, s->forwards}}};
    for (int d = 0; d < run->layout.devices; d++) {
        struct sdt_need need = sdt_run_need(run->dit, &parts, d, s->request.max_sequence_length, 1,
                                            (struct sdt_step_keeping){0});
        double peak = sdt_machine_peak_bytes(run->machine, d);
        measured->needed = need.all > measured->needed ? need.all : measured->needed;
        measured->held = peak > measured->held ? peak : measured->held;
    }
    measured->formula =
        s->forwards * sdt_run_exchanged(run->dit, s->request.strategy, &run->layout) +
        sdt_run_exchanged_latent(run->dit, s->request.strategy, &run->layout);
    measured->tile_rows = run->layout.rows;
    measured->chunks = run->layout.chunks;
}

/* A simulated GPU that is too small would wait for room for ever. */
static enum sdt_status check_memory(const struct app_simulation *s, const struct sdt_dit *dit,
                                    const struct sdt_parallel *parallel, struct sdt_geometry g,
                                    struct sdt_error *err) {
    struct sdt_run_parts parts = {0};
    double least = 0.0, room = INFINITY;
    enum sdt_status status = sdt_run_parts(dit, parallel, g, s->forwards, 0, &parts, err);
    for (int d = 0; status == SDT_OK && d < parallel->devices; d++) {
        struct sdt_need need = sdt_run_need(dit, &parts, d, s->request.max_sequence_length, 1,
                                            (struct sdt_step_keeping){0});
        double there = 1e9 * sdt_platform_kind(&s->platform, d)->memory_gb;
        if (need.least > there || least == 0.0) {
            least = need.least;
            room = there;
        }
    }
    sdt_run_parts_clear(&parts);
    if (status == SDT_OK && least > room)
        status = sdt_fail(err, SDT_ERROR_LIMIT,
                          "a GPU of %.4g GB of memory: a forward needs at least %.4g GB there",
                          room * 1e-9, least * 1e-9);
    return status;
}

/* ---- a few layers ---------------------------------------------------------------------------- */

enum { MOST_KINDS = 4, MOST_FEW = MOST_KINDS + 2 };

/* A few layers that steps are simulated with, and then with one more of each kind. */
struct probe {
    /* Of each kind: layers of the model, one of them, and how often that one is in the few. */
    int whole[MOST_KINDS], layer[MOST_KINDS], few[MOST_KINDS];
};

static int kind_of(const struct sdt_dit *dit, int layer) {
    int kind = dit->kind->layer_kind ? dit->kind->layer_kind(dit, layer) : 0;
    return kind < MOST_KINDS ? kind : MOST_KINDS - 1;
}

/* Two layers, of two kinds if there are some: the first one's tasks have none before them to wait
 * for. */
static void plan_probe(const struct sdt_dit *dit, struct probe *probe) {
    int most = 0, next = -1;
    *probe = (struct probe){.whole = {0}};
    for (int l = 0; l < dit->layers; l++) {
        int kind = kind_of(dit, l);
        probe->layer[kind] = l;
        probe->whole[kind]++;
    }
    for (int k = 0; k < MOST_KINDS; k++)
        most = probe->whole[k] > probe->whole[most] ? k : most;
    for (int k = 0; k < MOST_KINDS; k++)
        if (k != most && probe->whole[k] > 0 && next < 0)
            next = k;
    probe->few[most] = 1;
    if (dit->layers > 1)
        probe->few[next < 0 ? most : next]++;
}

/* Steps of the few layers, and of one more of this kind; -1: none. */
static void probe_once(struct sdt_flow *flow, struct sdt_run *run, const struct probe *probe,
                       int more, int number, int together, const struct sdt_latent *latent,
                       struct measured *measured) {
    double each[2][SDT_MAX_DEVICES] = {{0}};
    int layer[MOST_FEW], count = 0;
    for (int k = 0; k < MOST_KINDS; k++)
        for (int i = 0; i < probe->few[k] + (k == more); i++)
            layer[count++] = probe->layer[k];
    run->layers = layer;
    run->layers_count = count;
    steps(flow, run, number, together, latent, each, measured);
    run->layers = NULL;
}

/* The first forward brings the weights of a layer of each kind. Forwards that follow one another
 * are alike. A step of one turn
 * lasts as long as a second one adds to it; between turns, what stands there in a whole run (the
 * solver) is about as long as what they overlap. */
static void probe_step(struct sdt_flow *flow, const struct app_simulation *s, struct sdt_run *run,
                       const struct sdt_latent *latent, struct measured *measured,
                       struct sdt_step_record *step) {
    int together = run->streams < s->forwards ? 1 : s->forwards;
    double turns = (double)s->forwards / together, base = 1.0;
    struct probe probe, bring;
    plan_probe(run->dit, &probe);
    bring = probe;
    for (int k = 0; k < MOST_KINDS; k++)
        bring.few[k] = probe.whole[k] > 0;
    probe_once(flow, run, &bring, -1, 1, 1, latent, measured);
    *step = (struct sdt_step_record){0};
    for (int k = 0; k < MOST_KINDS; k++) {
        double more = probe.whole[k] - probe.few[k];
        if (more == 0.0)
            continue;
        probe_once(flow, run, &probe, k, 1, together, latent, measured);
        sdt__step_record_add(step, &measured->record, turns * more);
        base -= more;
    }
    if (turns == 1.0) {
        probe_once(flow, run, &probe, -1, 2, together, latent, measured);
        sdt__step_record_add(step, &measured->record, 1.0);
        base -= 2.0;
    }
    probe_once(flow, run, &probe, -1, 1, together, latent, measured);
    sdt__step_record_add(step, &measured->record, turns * base);
}

/* layers: of a model that has so many, two steps; 0: of the whole model, into *step. */
static enum sdt_status simulate(const struct app_simulation *s, struct sdt_machine *machine,
                                const struct part *part, int layers, struct measured *measured,
                                struct sdt_step_record *step, struct sdt_error *err) {
    struct sdt_pipeline *pipeline = NULL;
    struct sdt_run *run = NULL;
    struct sdt_latent latent = {0};
    struct sdt_prompt prompt[2] = {{0}};
    struct inputs inputs = {0};
    struct sdt_flow flow = sdt_machine_flow(machine, SDT_LANE_DENOISE);

    enum sdt_status status =
        sdt__pipeline_imagine(s->model, step ? s->whole.layers : layers, &pipeline, err);
    if (status != SDT_OK)
        return status;
    struct sdt_geometry g = sdt__geometry(pipeline, &s->request);
    /* Prompts of one length are one prompt to a step. */
    bool mean = step && part->parallel.streams < s->forwards;
    int prompts = step && (mean || !s->negative_keys) ? 1 : s->forwards;
    if (!inputs_init(&inputs, &flow, s, pipeline, g, mean)) {
        status = sdt_fail(err, SDT_ERROR_MEMORY, "out of memory for the latent");
        goto out;
    }
    status = check_memory(s, pipeline->dit, &part->parallel, g, err);
    if (status != SDT_OK)
        goto out;
    run = sdt_run_new(&flow, pipeline->dit, machine, NULL, &part->parallel, g, s->forwards,
                      s->request.max_sequence_length);
    if (run) {
        run->helpers_free = part->helped;
        begin(&flow, s, run, &latent, prompt, prompts, &inputs);
        if (step)
            probe_step(&flow, s, run, &latent, measured, step);
        else
            two_steps(&flow, s, run, &latent, measured);
    }
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
static double extend(const struct app_simulation *s, double few, double many) {
    double layer = (many - few) / (s->layers - s->layers / 2);
    return many + (s->whole.layers - s->layers) * layer;
}

static void print(const struct app_simulation *s, const struct measured *few,
                  const struct measured *many) {
    const struct sdt_platform *p = &s->platform;
    double ms = extend(s, few->ms, many->ms), busy = extend(s, few->busy_ms, many->busy_ms);
    double received = extend(s, few->received, many->received);
    double exchange = extend(s, few->exchange_ms, many->exchange_ms);
    double wire = received / (p->link_gbps * 1e6);

    bool alike = true;
    for (int d = 1; d < p->devices; d++)
        alike &= p->kind_of[d] == p->kind_of[0];
    printf("Machine:      %d %s%s of %.4g GFLOP/s (attention %.4g), %.4g GB/s memory%s; links of "
           "%.4g GB/s, %.4g us\n",
           p->devices, sdt_platform_gpus(p) ? "GPU" : "CPU device", p->devices == 1 ? "" : "s",
           1e-9 * sdt_platform_flops(p, 0, SDT_CLASS_LINEAR),
           1e-9 * sdt_platform_flops(p, 0, SDT_CLASS_ATTENTION), 1e-9 * sdt_platform_bytes(p, 0),
           alike ? "" : ", the first", p->link_gbps, p->link_latency_us);
    printf("Model:        %d layers of %d heads x %d, %d frame%s of %dx%d (width x height)\n",
           s->whole.layers, s->whole.heads, s->whole.head_dim, s->request.num_frames,
           s->request.num_frames == 1 ? "" : "s", s->request.width, s->request.height);
    printf("Strategy:     %s, %d head chunks, tiles of %d tokens, %d forward%s a step%s\n",
           sdt_strategy_name(s->request.strategy), many->chunks, many->tile_rows, s->forwards,
           s->forwards == 1 ? "" : "s",
           s->forwards == 1     ? ""
           : streams_of(s) == 1 ? ", one after the other"
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

static enum sdt_status write_stats(const struct app_simulation *s, const struct measured *few,
                                   const struct measured *many, struct sdt_error *err) {
    double ms = extend(s, few->ms, many->ms), busy = extend(s, few->busy_ms, many->busy_ms);
    json_t *stats = app_stats_begin("stardit-simulate");
    if (!stats)
        return sdt_fail(err, SDT_ERROR_MEMORY, "out of memory for statistics");
    json_object_set_new(stats, "step",
                        json_pack("{s:f, s:f, s:f, s:f, s:f, s:f}", "seconds", ms * 1e-3,
                                  "computing_seconds", busy * 1e-3, "exposed_seconds",
                                  (ms - busy) * 1e-3, "received_bytes",
                                  extend(s, few->received, many->received), "peak_bytes",
                                  extend(s, few->held, many->held), "tasks",
                                  extend(s, (double)few->tasks, (double)many->tasks)));
    return app_stats_write(stats, s->stats, err);
}

enum sdt_status app_simulate_step(struct app_simulation *s, struct sdt_machine *machine,
                                  struct sdt_error *err) {
    struct measured few, many;
    const struct part all = {{.strategy = s->request.strategy,
                              .place = machine->device,
                              .devices = machine->devices,
                              .ulysses_degree = s->placement.ulysses_degree,
                              .chunk_heads = s->placement.chunk_heads,
                              .streams = streams_of(s),
                              .dtype = sdt_platform_gpus(&s->platform) ? SDT_BF16 : SDT_F32,
                              .tile_rows = s->tile_rows},
                             false};
    enum sdt_status status = simulate(s, machine, &all, s->layers / 2, &few, NULL, err);
    if (status == SDT_OK)
        status = simulate(s, machine, &all, s->layers, &many, NULL, err);
    if (status == SDT_OK && (!s->stats || strcmp(s->stats, "-") != 0))
        print(s, &few, &many);
    return status == SDT_OK && s->stats ? write_stats(s, &few, &many, err) : status;
}

enum sdt_status app_simulate_part(const struct app_simulation *s, struct sdt_machine *machine,
                                  bool helped, struct sdt_step_record *step,
                                  struct sdt_error *err) {
    const struct sdt_placement *p = &s->placement;
    struct sdt_group group;
    struct measured *measured = calloc(1, sizeof *measured);
    enum sdt_status status =
        sdt_group_init(&group, machine, p->dit_devices, p->dit,
                       p->aco == SDT_ACO_OFF ? 0 : p->vae_devices, p->vae, err);
    if (status == SDT_OK && !measured)
        status = sdt_fail(err, SDT_ERROR_MEMORY, "out of memory for a step");
    if (status != SDT_OK)
        goto out;
    struct part part = {sdt_parallel_of(s->request.strategy, p, group.devices, group.helpers),
                        helped};
    part.parallel.place = group.place;
    part.parallel.anywhere = group.anywhere;
    part.parallel.dtype = sdt_platform_gpus(&s->platform) ? SDT_BF16 : SDT_F32;
    status = simulate(s, machine, &part, 0, measured, step, err);
out:
    sdt_group_clear(&group);
    free(measured);
    return status;
}

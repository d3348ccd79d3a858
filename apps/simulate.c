/* stardit-simulate: how long a denoising step, or whole runs of several prompts, would take on GPUs
 * that are not here.
 *
 * The graph, the strategies, the jobs and the policy are those of stardit-generate; time is
 * SimGrid's. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "apps/simulate.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "apps/devices.h"
#include "apps/options.h"
#include "apps/outputs.h"
#include "apps/strategy.h"
#include "graph/pipeline.h"
#include "graph/strategies/strategy.h"
#include "runtime/recorder.h"
#include "runtime/simulation.h"

static const char name_of_program[] = "stardit-simulate";

/* ---- options --------------------------------------------------------------------------------- */

#define AT(field) APP_AT(struct app_simulation, field)
#define STEPS_AT(field) AT(step_table.field)

static char strategy_help[300]; /* filled before the table is read */

static struct app_option options[] = {
    APP_HEADING("What to simulate"),
    APP_STRING_OPTION("model", "DIR|NAME", AT(model),
                      "a checkpoint, of which only the config.json files are read, or a published "
                      "size, as wan-14b or open-sora-plan-1.3 (default wan-1.3b)"),
    APP_INT_OPTION("prompts", "N", AT(prompts), 1, APP_MOST_RUNS,
                   "whole runs of N prompts: text, all steps, decode (default: one step alone)"),
    APP_INT_OPTION("height", "N", AT(height), 1, 65536,
                   "of the video, pixels (default: the model's)"),
    APP_INT_OPTION("width", "N", AT(width), 1, 65536,
                   "of the video, pixels (default: the model's)"),
    APP_INT_OPTION("num-frames", "N", AT(num_frames), 1, 65536,
                   "of the video (default: the model's)"),
    APP_INT_OPTION("num-inference-steps", "N", AT(steps), 1, 1000,
                   "denoising steps, with --prompts (default: the model's)"),
    APP_STEPS_OPTIONS(STEPS_AT),
    APP_INT_OPTION("max-sequence-length", "N", AT(text_keys), 1, 4096,
                   "tokens of the prompt (default: the model's)"),
    APP_INT_OPTION("forwards", "N", AT(forwards), 1, 2,
                   "of a step (default: the model's with guidance)"),
    APP_INT_OPTION("layers", "K", AT(layers), 2, 1000,
                   "simulate K layers and K/2, extend to all (default 4, or as many as "
                   "have all kinds of the model's in their shares); with --prompts: as if the "
                   "model had K layers (default: its own)"),
    APP_FLAG_OPTION("fast-forward", AT(fast_forward),
                    "with --prompts: simulate some steps, take the others to last as long"),
    APP_FLAG_OPTION("prompt-embeds", AT(embeds),
                    "with --prompts: they come as embeddings, and no text encoder runs"),
    APP_HEADING("Beside PipeDiT (arXiv 2511.12056), with --prompts"),
    APP_STRING_OPTION(
        "compare", "STEPS", AT(compare),
        "numbers of denoising steps, as 10,50: its plans and ours, each with so many"),
    APP_STRING_OPTION("their-strategy", "NAME", AT(theirs.strategy),
                      "of its devices that denoise, without aco (default ulysses)"),
    APP_DOUBLE_OPTION("their-attention", "X", AT(theirs.attention), 0.001, 1.0,
                      "the share of the peak that its attention reaches (default: as ours)"),
    APP_DOUBLE_OPTION("their-mask-bytes", "B", AT(theirs.mask_bytes), 0.0, 100.0,
                      "that its attention moves for each head and pair of tokens where 8 does not "
                      "divide a frame's tokens (default 0)"),
    APP_DOUBLE_OPTION("their-step", "X", AT(theirs.step), 0.01, 100.0,
                      "its steps take so many times as long (default 1)"),
    APP_DOUBLE_OPTION("their-group-step", "X", AT(theirs.group_step), 0.01, 100.0,
                      "the same of two groups (default: as --their-step)"),
    APP_DOUBLE_OPTION("their-overhead", "S", AT(theirs.overhead), 0.0, 100.0,
                      "seconds that its framework adds to a step (default 0)"),
    APP_DOUBLE_OPTION("their-group-overhead", "S", AT(theirs.group_overhead), 0.0, 100.0,
                      "the same of two groups (default: as --their-overhead)"),
    APP_DOUBLE_OPTION("their-decode", "X", AT(theirs.decode), 0.01, 100.0,
                      "its decode takes so many times as long (default 1)"),
    APP_DOUBLE_OPTION("their-offload", "X", AT(theirs.offload), 0.01, 100.0,
                      "bringing its weights takes so many times as long (default 1)"),
    APP_FLAG_OPTION("padded-frames", AT(theirs.padded_frames),
                    "its devices get equal parts of the frames, each padded to whole latents"),
    APP_FLAG_OPTION("ablation", AT(theirs.ablation), "its groups without chunks, too"),
    APP_FLAG_OPTION("baseline", AT(theirs.baseline), "its baseline alone"),
    APP_FLAG_OPTION("ingredients", AT(theirs.ingredients),
                    "plans between its best one and ours, each with one thing more of ours; with "
                    "--table, too"),
    APP_STRING_OPTION("table", "NAME|PATH", AT(table),
                      "such comparisons beside published times: a file of tables/ here, as "
                      "pipedit6, or any"),
    APP_STRING_OPTION("arrivals", "NAME|PATH", AT(arrivals),
                      "requests that come by a trace (a file of tables/arrivals here, as "
                      "tridentserve, or any), on --devices that take one each or are shared out, "
                      "as --queue lets them go on: who meets the deadline"),
    APP_DOUBLE_OPTION("deadline-scale", "X", AT(deadline_scale), 1e-3, 1e3,
                      "with --arrivals: times the time until each deadline (default 1)"),
    APP_HEADING("How it runs in parallel"),
    APP_STRING_OPTION("strategy", "NAME", AT(place.strategy), strategy_help),
    APP_STRING_OPTION("chunk-heads", "K|auto", AT(place.chunk_heads),
                      "most heads of a chunk (default: the strategy's)"),
    APP_INT_OPTION("patches", "M", AT(place.patches), 1, 1 << 16,
                   "pipefusion: parts of the tokens that go through the layers behind one another; "
                   "the result depends on it (default 4)"),
    APP_BLOCKS_OPTIONS(STEPS_AT),
    APP_INT_OPTION(
        "ulysses-degree", "U", AT(place.ulysses_degree), 1, SDT_MAX_DEVICES,
        "usp: devices that share heads (default: all); pipefusion: devices of a stage (default 1)"),
    APP_CHOICE_OPTION("streams", "1|2|auto", AT(place.streams),
                      "2: both forwards side by side, 1: one after the other (default 2)"),
    APP_FLAG_OPTION("use-cfg-parallel", AT(place.cfg_parallel),
                    "with --prompts: each forward of a step on devices of its own"),
    APP_INT_OPTION("tile-rows", "N", AT(tile_rows), 1, 1 << 24,
                   "tokens of a tile (default: a device's share, in equal parts of 8192 at most)"),
    APP_STRING_OPTION("dit-devices", "LIST", AT(place.dit_devices),
                      "devices that denoise, as 0-6; with --vae-devices: one prompt is denoised "
                      "while another is decoded"),
    APP_STRING_OPTION("vae-devices", "LIST|auto", AT(place.vae_devices),
                      "devices that decode; auto divides them by the work of both"),
    APP_CHOICE_OPTION("text-encoder-group", "dit|vae", AT(place.text_group),
                      "whose first device runs the text encoder (default dit)"),
    APP_CHOICE_OPTION("aco", "off|static|dynamic|auto", AT(place.aco),
                      "attention on idle VAE devices: a fixed share while nothing is decoded, or "
                      "piece by piece where it ends earlier (default off)"),
    APP_INT_OPTION("max-latents", "N", AT(place.max_latents), 1, APP_MOST_STRINGS,
                   "most latents alive before prompts wait (default 3)"),
    APP_FLAG_OPTION("vae-spill", AT(place.vae_spill),
                    "once nothing is left to denoise, the devices that denoised decode too"),
    APP_CHOICE_OPTION("plan", "given|auto", AT(place.plan),
                      "auto: the strategy, groups, aco and streams with the shortest predicted "
                      "time, within what is given (default given)"),
    APP_FLAG_OPTION("enable-tiling", AT(tiling), "decode in overlapping spatial tiles"),
    APP_STRING_OPTION("queue", "NAME", AT(queue),
                      "with --prompts and --arrivals: which goes on after each step: fcfs, "
                      "priority, edf (the earliest deadline first), srtf (the least work left), "
                      "sjf (the least work) or mine.so, a module; with --arrivals also "
                      "edf-best-fit and genserve, which share devices out (default fcfs)"),
    APP_STRING_OPTION("priorities", "LIST", AT(ranks),
                      "with --queue priority: of each prompt, larger ones first, as 0,0,5"),
    APP_STRING_OPTION("deadlines", "LIST", AT(deadlines),
                      "with --queue edf: of each prompt, seconds from the start, as 60,30,30"),
    APP_STRING_OPTION("scheduler", "NAME", AT(scheduler),
                      "scheduling policy, or mine.so: the policy \"mine\" of that module (default "
                      "STARPU_SCHED, else pipedit)"),
    APP_HEADING("The machine: a platform, and what differs from it"),
    APP_STRING_OPTION("platform", "NAME|PATH", AT(platform_path),
                      "a folder of platforms/ here, a platform.txt or its folder (default: that of "
                      "platforms/nvswitch-8)"),
    APP_INT_OPTION("devices", "N", AT(given.devices), 1, STARPU_MAXCUDADEVS, "GPUs"),
    APP_DOUBLE_OPTION("gpu-gflops", "X", AT(given.gflops), 1e-3, 1e9, "GFLOP/s of a GPU, achieved"),
    APP_DOUBLE_OPTION("attention-gflops", "X", AT(given.attention_gflops), 1e-3, 1e9,
                      "the same in attention"),
    APP_DOUBLE_OPTION("memory-gbps", "X", AT(given.memory_gbps), 1e-3, 1e9,
                      "GB/s of a GPU's memory, achieved"),
    APP_DOUBLE_OPTION("launch-us", "X", AT(given.launch_us), 0, 1e6,
                      "microseconds from the launch of a kernel to its first instruction"),
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
    APP_STRING_OPTION("stats", "FILE", AT(stats),
                      "write what the run or step did as JSON; - prints it"),
    APP_STRING_OPTION("trace", "FILE", AT(trace),
                      "Chrome trace of all that was simulated: of one step, both numbers of "
                      "layers, each with its first forward"),
    APP_STRING_OPTION("dot", "FILE", AT(dot), "write the task graph for Graphviz"),
    APP_STRING_OPTION("gantt", "FILE", AT(gantt),
                      "with --prompts: a picture of the devices over time (.svg)"),
    APP_HEADING("Many of them"),
    APP_STRING_OPTION("sweep", "NAME=VALUES", AT(sweep),
                      "once for each value of the option NAME, as devices=1..8, "
                      "scheduler=pipedit,lws,mine.so or link-gbps=10,50,100: a table; values that "
                      "hold commas are set apart by semicolons"),
    APP_STRING_OPTION("csv", "FILE", AT(csv),
                      "with --sweep or --table: the table, numbers between commas"),
    APP_STRING_OPTION("svg", "FILE", AT(svg), "with --sweep: a plot of the times"),
};

static struct app_program program = {
    .name = name_of_program,
    .usage = "[--model DIR|NAME] [options]",
    .summary = "Predicts the time of a denoising step, or of whole runs, on simulated GPUs. "
               "No weight is read and nothing is computed.",
    .options = options,
    .count = sizeof options / sizeof options[0],
};

/* ---- the platform ---------------------------------------------------------------------------- */

/* A file, a folder with platform.txt, or such a folder of platforms/. */
static void find_platform(const char *given, char *path, size_t size) {
    struct stat there;
    snprintf(path, size, "%s", given);
    if (stat(path, &there) != 0 && !strchr(given, '/'))
        snprintf(path, size, "platforms/%s", given);
    if (stat(path, &there) != 0)
        snprintf(path, size, "%s", given); /* as it was given, in the message */
    else if (S_ISDIR(there.st_mode))
        snprintf(path + strlen(path), size - strlen(path), "/platform.txt");
}

static void override_kind(const struct app_simulation *s, struct sdt_platform_kind *kind) {
    if (app_given(&program, "gpu-gflops")) {
        kind->gflops = s->given.gflops;
        kind->attention_gflops = 0.0; /* by the table */
    }
    if (app_given(&program, "attention-gflops"))
        kind->attention_gflops = s->given.attention_gflops;
    if (app_given(&program, "memory-gbps"))
        kind->memory_gbps = s->given.memory_gbps;
    if (app_given(&program, "memory-gb"))
        kind->memory_gb = s->given.memory_gb;
    if (app_given(&program, "launch-us"))
        kind->launch_us = s->given.launch_us;
}

/* --device-speed: kinds of their own. */
static enum sdt_status scale_devices(struct app_simulation *s, struct sdt_error *err) {
    struct app_devices devices = {0};
    app_devices_stand_ins(&devices, s->platform.devices);
    enum sdt_status status = app_devices_shares(&devices, NULL, s->speed, err);
    for (int d = 0; devices.has_speed && d < devices.count && status == SDT_OK; d++)
        status = sdt_platform_scale(&s->platform, d, devices.speed[d] / devices.speed[0], err);
    return status;
}

/* The platform's file, and what options say in its place. -1: go on, else the exit status. */
static int read_platform(struct app_simulation *s, struct sdt_error *err) {
    struct sdt_platform *p = &s->platform;
    char path[4096];
    if (s->platform_path) {
        find_platform(s->platform_path, path, sizeof path);
        if (sdt_platform_read(path, p, err) != SDT_OK)
            return app_report(name_of_program, err);
    }
    for (int k = 0; k < p->kinds; k++)
        override_kind(s, &p->kind[k]);
    if (app_given(&program, "link-gbps"))
        p->link_gbps = s->given.link_gbps;
    if (app_given(&program, "link-latency-us"))
        p->link_latency_us = s->given.link_latency_us;
    if (app_given(&program, "host-gbps"))
        p->host_gbps = s->given.host_gbps;
    if (s->given.devices)
        sdt_platform_resize(p, s->given.devices);
    if (p->devices < 1 || p->devices > STARPU_MAXCUDADEVS)
        return app_usage(name_of_program,
                         "%d devices; 1 to %d are simulated, which is what this StarPU was built "
                         "for (--enable-maxcudadev)",
                         p->devices, STARPU_MAXCUDADEVS);
    if (sdt_platform_check(p, s->platform_path ? path : "the platform", err) != SDT_OK ||
        scale_devices(s, err) != SDT_OK)
        return app_report(name_of_program, err);
    return -1;
}

/* ---- the model ------------------------------------------------------------------------------- */

/* What is asked for, with the model's own sizes where nothing is. */
static void take_sizes(struct app_simulation *s, const struct sdt_pipeline *pipeline) {
    struct sdt_request *request = &s->request;
    request->height = s->height ? s->height : request->height;
    request->width = s->width ? s->width : request->width;
    request->num_frames = s->num_frames ? s->num_frames : request->num_frames;
    request->steps = s->steps ? s->steps : request->steps;
    request->max_sequence_length = s->text_keys ? s->text_keys : request->max_sequence_length;
    if (s->forwards == 1)
        request->guidance_scale = 1.0;
    if (s->tiling)
        request->tiling = pipeline->vae->tile;
    if (!s->prompts && s->forwards)
        return;
    s->forwards = sdt_pipeline_forwards(pipeline, request);
}

static enum sdt_status read_model(struct app_simulation *s, struct sdt_error *err) {
    static char devices[40], workers[12];
    int cpus = sdt_platform_cpus(&s->platform), gpus = sdt_platform_gpus(&s->platform);
    struct sdt_pipeline *pipeline = NULL;
    struct sdt_request *request = &s->request;
    enum sdt_status status = sdt_pipeline_imagine(s->model, &pipeline, err);
    if (status == SDT_OK)
        status = sdt_pipeline_defaults(pipeline, request, err);
    if (status != SDT_OK)
        goto out;
    take_sizes(s, pipeline);
    status = app_steps_take(&s->step_table, s->steps > 0, request, err);
    if (status != SDT_OK)
        goto out;
    if (app_strategy_stale(s->place.strategy)) /* which steps read old keys is checked below */
        request->strategy = app_strategy(s->place.strategy, err);
    s->whole = sdt_pipeline_model(pipeline);
    /* Both numbers of layers have all kinds of them in their shares. */
    int part = 2 * (pipeline->dit->mixed > 1 ? pipeline->dit->mixed : 1);
    if (part > 2)
        s->layers = (s->layers + part - 1) / part * part;
    s->layers = s->layers > s->whole.layers ? s->whole.layers : s->layers;
    if (s->prompts && app_given(&program, "layers"))
        s->whole.layers = s->layers;
    if (s->place.strategy && !(request->strategy = app_strategy(s->place.strategy, err)))
        status = SDT_ERROR_USAGE;
    if (status == SDT_OK)
        status = sdt__check_request(pipeline, request, err);
    snprintf(devices, sizeof devices, "%s:0-%d%s", gpus ? "cuda" : "cpu",
             (gpus ? gpus : s->platform.devices) - 1, gpus && cpus ? ",cpu:0" : "");
    s->place.devices = devices;
    snprintf(workers, sizeof workers, "%d", cpus);
    s->place.workers = cpus ? workers : NULL;
    if (status == SDT_OK && s->compare)
        goto out; /* each plan has its own */
    if (status == SDT_OK)
        status = app_place(&s->place, pipeline, request, s->prompts ? s->prompts : 1, false,
                           &s->placement, err);
    if (status == SDT_OK)
        status = sdt_strategy_allows(request->strategy, &s->placement, s->platform.devices,
                                     pipeline->dit, err);
out:
    request->negative_prompt = NULL; /* the pipeline's */
    sdt_pipeline_close(pipeline);
    return status;
}

/* ---- the command line ------------------------------------------------------------------------ */

/* Does the queue look at what the queue of this name looks at? A module may. */
static bool goes_by(const struct app_simulation *s, const char *queue) {
    const char *ending = s->queue ? strrchr(s->queue, '.') : NULL;
    return s->queue && (!strcmp(s->queue, queue) || (ending && !strcmp(ending, ".so")));
}

static int refuse_idle_blocks(const struct app_simulation *s) {
    const bool blocks = !s->compare && app_strategy_blocks(s->place.strategy);
    static const char why[] = "goes with a strategy that has blocks (--strategy dualparal)";
    const struct app_idle idle[] = {{"block-frames", !blocks, why},
                                    {"overlap-frames", !blocks, why}};
    return app_refuse_idle(&program, idle, sizeof idle / sizeof idle[0]);
}

/* Options of the other mode. */
static int refuse_idle(const struct app_simulation *s) {
    static const char runs[] = "goes with --prompts", step[] = "goes with one step, not --prompts";
    const bool one = !s->prompts, alone = !s->compare;
    const bool stale = app_strategy_stale(s->place.strategy);
    static const char beside[] = "goes with --compare", own[] = "--compare has plans of its own";
    const struct app_idle idle[] = {
        {"split", !s->speed && s->platform.kinds < 2,
         "goes with --device-speed, or a platform of "
         "several kinds"},
        {"streams", s->forwards == 1 && s->place.streams && !strcmp(s->place.streams, "2"),
         "--forwards 1 has one forward a step, which is one stream"},
        {"use-cfg-parallel", one, runs},
        {"tile-rows", !one, step},
        {"num-inference-steps", one, runs},
        {"sigmas", one, runs},
        {"cfg-gate", one, runs},
        {"force-guidance", one, runs},
        {"step-cache", one, runs},
        {"warmup-steps", one, runs},
        {"refresh-steps", !s->step_table.cache && !stale,
         "goes with --step-cache and strategies with keys of the step before"},
        {"fast-forward", one, runs},
        {"queue", one, runs},
        {"deadline-scale", true, "goes with --arrivals"},
        {"priorities", !goes_by(s, "priority"), "goes with --queue priority"},
        {"deadlines", !goes_by(s, "edf"), "goes with --queue edf"},
        {"prompt-embeds", one, runs},
        {"dit-devices", one, runs},
        {"vae-devices", one, runs},
        {"text-encoder-group", one, runs},
        {"aco", one, runs},
        {"max-latents", one, runs},
        {"vae-spill", one, runs},
        {"plan", one, runs},
        {"enable-tiling", one, runs},
        {"gantt", one, runs},
        {"compare", one, runs},
        {"their-strategy", alone, beside},
        {"their-attention", alone, beside},
        {"their-mask-bytes", alone, beside},
        {"their-step", alone, beside},
        {"their-group-step", alone, beside},
        {"their-overhead", alone, beside},
        {"ablation", alone, beside},
        {"baseline", alone, beside},
        {"ingredients", alone, beside},
        {"ingredients", s->theirs.baseline, "--baseline has one plan, and none of ours"},
        {"ablation", s->theirs.baseline, "--baseline has one plan, without any"},
        {"their-group-overhead", alone, beside},
        {"their-decode", alone, beside},
        {"their-offload", alone, beside},
        {"padded-frames", alone, beside},
        {"strategy", !alone, own},
        {"dit-devices", !alone, own},
        {"vae-devices", !alone, own},
        {"aco", !alone, own},
        {"streams", !alone, own},
        {"use-cfg-parallel", !alone, own},
        {"plan", !alone, own},
        {"fast-forward", !alone, own},
        {"num-inference-steps", !alone, own},
        {"sigmas", !alone, own},
        {"cfg-gate", !alone, own},
        {"force-guidance", !alone, own},
        {"step-cache", !alone, own},
        {"warmup-steps", !alone, own},
        {"refresh-steps", !alone, own},
        {"patches", !alone, own},
        {"trace", !alone, own},
        {"dot", !alone, own},
        {"gantt", !alone, own},
        {"queue", !alone, own},
        {"priorities", !alone, own},
        {"deadlines", !alone, own},
        {"prompt-embeds", !alone, own},
    };
    return app_refuse_idle(&program, idle, sizeof idle / sizeof idle[0]);
}

/* A step alone of those that overlap. -1: go on, else the exit status. */
static int refuse_one(const struct app_simulation *s) {
    int gpus = sdt_platform_gpus(&s->platform);
    if (s->prompts)
        return -1;
    if (gpus > 0 && gpus < s->platform.devices)
        return app_usage(name_of_program,
                         "a step takes devices of one kind, and the platform has GPUs and a CPU: "
                         "--devices %d takes the GPUs, --prompts with --dit-devices and "
                         "--vae-devices makes groups",
                         gpus);
    if (!app_strategy_stale(s->place.strategy) && !app_strategy_blocks(s->place.strategy))
        return -1;
    return app_usage(name_of_program,
                     "--strategy %s: its steps overlap, and one alone says little; --prompts 1 "
                     "takes them all",
                     s->place.strategy);
}

/* All else stands in the table. */
static int table(const struct app_simulation *s, struct sdt_error *err) {
    for (size_t i = 0; i < program.count; i++) {
        const char *name = options[i].name;
        if (name && strcmp(name, "table") != 0 && strcmp(name, "csv") != 0 &&
            strcmp(name, "ingredients") != 0 && app_given(&program, name))
            return app_usage(name_of_program,
                             "--%s does not go with --table, whose systems have options of their "
                             "own",
                             name);
    }
    return app_simulate_table(name_of_program, s, err);
}

/* One number for each prompt. */
static int read_ranks(const struct app_simulation *s, const char *option, const char *text,
                      double least, double *number) {
    int count = 0;
    for (const char *at = text; at;) {
        char *end;
        double value = strtod(at, &end);
        if (end == at || (*end && *end != ',') || !(value >= least && value < 1e9) ||
            count == s->prompts)
            return app_usage(name_of_program,
                             "--%s %s: must be %d number%s from %g on, one a prompt", option, text,
                             s->prompts, s->prompts == 1 ? "" : "s", least);
        number[count++] = value;
        at = *end ? end + 1 : NULL;
    }
    if (count < s->prompts)
        return app_usage(name_of_program, "--%s %s: %d number%s for %d prompts", option, text,
                         count, count == 1 ? "" : "s", s->prompts);
    return -1;
}

/* What a trace does not say: the devices, the queue, where figures go. */
static int arrivals(const struct app_simulation *s, struct sdt_error *err) {
    static const char *const own[] = {"arrivals", "deadline-scale", "devices", "queue", "stats"};
    for (size_t i = 0; i < program.count; i++) {
        bool goes = !options[i].name;
        for (size_t k = 0; k < sizeof own / sizeof own[0]; k++)
            goes = goes || !strcmp(options[i].name, own[k]);
        if (!goes && app_given(&program, options[i].name))
            return app_usage(name_of_program,
                             "--%s does not go with --arrivals, whose trace says what requests "
                             "take",
                             options[i].name);
    }
    return app_simulate_arrivals(s, err) == SDT_OK ? 0 : app_report(name_of_program, err);
}

/* A queue that there is, with what it goes by. -1: go on, else the exit status. */
static int read_queue(struct app_simulation *s, struct sdt_error *err) {
    const struct sdt_queue *queue = NULL;
    if (s->queue && sdt_queue_open(s->queue, &queue, err) != SDT_OK)
        return app_report(name_of_program, err);
    if (queue && !queue->choose)
        return app_usage(name_of_program,
                         "--queue %s: it shares devices out, which --arrivals simulates; prompts "
                         "have all devices, and edf would work",
                         s->queue);
    if (s->queue && !strcmp(s->queue, "priority") && !s->ranks)
        return app_usage(name_of_program, "--queue priority needs --priorities");
    if (s->queue && !strcmp(s->queue, "edf") && !s->deadlines)
        return app_usage(name_of_program, "--queue edf needs --deadlines");
    if (s->ranks)
        return read_ranks(s, "priorities", s->ranks, -1e6, s->rank);
    return s->deadlines ? read_ranks(s, "deadlines", s->deadlines, 0.0, s->deadline) : -1;
}

/* What goes with --sweep, and what each of its runs would write anew. */
static int refuse_sweep(const struct app_simulation *s) {
    const struct app_idle idle[] = {
        {"csv", !s->sweep, "goes with --sweep, or --table"},
        {"svg", !s->sweep, "goes with --sweep"},
        {"compare", s->sweep, "goes with one run, not --sweep"},
        {"stats", s->sweep, "goes with one run, not --sweep"},
        {"trace", s->sweep, "goes with one run, not --sweep"},
        {"dot", s->sweep, "goes with one run, not --sweep"},
        {"gantt", s->sweep, "goes with one run, not --sweep"},
    };
    return app_refuse_idle(&program, idle, sizeof idle / sizeof idle[0]);
}

/* Can the files be written, beside what is read? What is there is replaced. */
static enum sdt_status check_outputs(const struct app_simulation *s, struct sdt_error *err) {
    char platform[4096];
    if (s->platform_path)
        find_platform(s->platform_path, platform, sizeof platform);
    const struct app_file file[] = {
        {APP_FILE_READ, "platform", s->platform_path ? platform : NULL},
        {APP_FILE_READ, "model", s->model},
        {APP_FILE_READ, "table", s->table},
        {APP_FILE_READ, "arrivals", s->arrivals},
        {APP_FILE_WRITTEN, "stats", s->stats && strcmp(s->stats, "-") ? s->stats : NULL},
        {APP_FILE_WRITTEN, "trace", s->trace},
        {APP_FILE_WRITTEN, "dot", s->dot},
        {APP_FILE_WRITTEN, "gantt", s->gantt},
        {APP_FILE_WRITTEN, "csv", s->csv},
        {APP_FILE_WRITTEN, "svg", s->svg}};
    const size_t count = sizeof file / sizeof file[0];
    enum sdt_status status = SDT_OK;
    for (size_t i = 0; i < count && status == SDT_OK; i++)
        if (file[i].use == APP_FILE_WRITTEN)
            status = app_check_target(file[i].option, file[i].path, true, err);
    return status == SDT_OK ? app_check_files(file, count, err) : status;
}

static int parse(struct app_simulation *s, int argc, char **argv, struct sdt_error *err) {
    *s = (struct app_simulation){
        .model = "wan-1.3b",
        .layers = 4,
        .theirs = {.strategy = "ulysses", .step = 1.0, .decode = 1.0, .offload = 1.0},
        .platform = {.kinds = 1,
                     .kind = {{.gflops = 400e3,
                               .attention_gflops = 400e3,
                               .memory_gbps = 2500.0,
                               .memory_gb = 80.0,
                               .launch_us = 4.0}},
                     .devices = 8,
                     .link_gbps = 400.0,
                     .link_latency_us = 5.0,
                     .host_gbps = 50.0}};
    program.settings = s;
    app_strategy_help(strategy_help, sizeof strategy_help);
    int code = app_parse(&program, argc, argv);
    if (code >= 0)
        return code;
    if (check_outputs(s, err) != SDT_OK)
        return app_report(name_of_program, err);
    err->status = SDT_OK;
    if (s->table)
        return table(s, err);
    if (s->arrivals)
        return arrivals(s, err);
    code = refuse_sweep(s);
    if (code < 0 && s->sweep)
        code = app_simulate_sweep(s, &program, argv);
    if (code < 0)
        code = read_platform(s, err);
    if (code < 0)
        code = refuse_idle(s);
    if (code < 0)
        code = refuse_idle_blocks(s);
    if (code < 0)
        code = refuse_one(s);
    if (code < 0)
        code = read_queue(s, err);
    if (code >= 0)
        return code;
    if (s->place.plan && !strcmp(s->place.plan, "given"))
        s->place.plan = NULL;
    if (s->compare && !s->theirs.baseline && s->platform.devices < 2)
        return app_usage(name_of_program,
                         "--compare: one GPU; two groups need two at least, --baseline one");
    sdt_simulation_use(&s->platform);
    return read_model(s, err) == SDT_OK ? -1 : app_report(name_of_program, err);
}

/* ---- program --------------------------------------------------------------------------------- */

/* Before libstarpu's main: see runtime/simulation.h. */
__attribute__((constructor)) static void launch(int argc, char **argv) {
    struct app_simulation s;
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
    struct app_simulation s;
    struct sdt_error err;
    struct sdt_machine *machine = NULL;

    /* Which worker of the host goes first at an instant depends on where StarPU's objects lie, and
     * that on what was freed before. JSON's objects are freed in the order of their hashes, whose
     * seed is random otherwise; names of folders (base/folder.c) are of one length. */
    json_object_seed(1);
    int code = parse(&s, argc, argv, &err);
    if (code >= 0)
        return code;
    struct sdt_machine_options wanted = {.devices = s.platform.devices,
                                         .workers_per_device = 0, /* the platform's */
                                         .scheduler = s.scheduler,
                                         .keep_records = s.trace || s.gantt,
                                         .keep_edges = s.dot};
    enum sdt_status status = sdt_machine_open(&wanted, &machine, &err);
    if (status != SDT_OK)
        return app_report(name_of_program, &err);
    sdt_simulation_rates(machine);
    for (int d = 0; s.split && !strcmp(s.split, "equal") && d < machine->devices; d++)
        machine->device[d].speed = 1.0;
    if (s.compare)
        status = app_simulate_compare(&s, machine, &err);
    else
        status = (s.prompts ? app_simulate_run : app_simulate_step)(&s, machine, &err);
    if (status == SDT_OK && s.trace)
        status = sdt__recorder_write_trace(machine->recorder, s.trace, &err);
    if (status == SDT_OK && s.dot)
        status = sdt__recorder_write_dot(machine->recorder, s.dot, &err);
    sdt_machine_close(machine);
    if (status == SDT_OK && (fflush(stdout) || ferror(stdout)))
        status = sdt_fail(&err, SDT_ERROR_IO, "standard output cannot be written");
    sdt_simulation_finish();
    return status == SDT_OK ? 0 : app_report(name_of_program, &err);
}

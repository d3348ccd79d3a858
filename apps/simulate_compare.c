/* The plans of PipeDiT's paper (arXiv 2511.12056) beside ours, for the same videos on the same
 * machine.
 *
 * A step of each plan is simulated from a few layers, text and a decode in full, the first time;
 * then prompts go through the jobs with each of these taken to last as long: so many that videos
 * come at equal intervals, and for so many numbers of steps that the others lie on a line. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "apps/simulate.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "apps/options.h"
#include "apps/stats.h"
#include "graph/jobs/job.h"
#include "graph/pipeline.h"
#include "runtime/clock.h"
#include "runtime/simulation.h"

enum {
    MOST_COUNTS = 16,
    MOST_PLANS = 8,
    FEW_PROMPTS = 4, /* that are simulated of many, where intervals are equal */
};
/* Two times are taken to be, and the intervals that are so. */
#define EQUAL 1e-3
#define EQUAL_INTERVALS 5e-3
#define ROUNDING 1e-6 /* of sums of many times */

/* One way of running. */
struct plan {
    const char *name, *strategy, *aco;
    enum { SERIAL, APART, SHARED } groups; /* serial: weights come again for each video */
    bool theirs;                           /* by the frameworks that the paper measured */
    int parts;                             /* of the devices, each with its share of the prompts */
    const char *adds;                      /* of ours: what the plan before has not */
    bool step_stone;                       /* with --ingredients alone */
    const char *streams;
};

/* The paper's: its baseline, and what it optimises one by one. NULL: --group-strategy. */
static const struct plan theirs[] = {
    {"offload", "ulysses", "off", SERIAL, true, 1, NULL, false, "1"},
    {"dedivae, pipesp", NULL, "off", APART, true, 1, NULL, false, "1"},
    {"dedivae, pipesp, aco", "pipesp", "static", APART, true, 1, NULL, false, "1"},
    {"dedivae", "ulysses", "off", APART, true, 1, NULL, false, "1"}, /* --ablation */
};
static const struct plan ours[] = {
    {"as theirs", "pipesp", "static", APART, false, 1, "without framework", true, "1"},
    {"as theirs, streams", "pipesp", "static", APART, false, 1, "streams", true, "2"},
    {"pipesp, decode everywhere", "pipesp", "off", SHARED, false, 1, "decode everywhere", false,
     "2"},
    {"halves, pipesp, decode everywhere", "pipesp", "off", SHARED, false, 2, "halves", false, "2"},
};

struct compare {
    struct app_simulation s; /* of the plan at hand */
    struct sdt_machine *machine;
    struct sdt_pipeline *pipeline;
    int counts, steps[MOST_COUNTS], prompts; /* the latter: of a part */
    double attention[SDT_PLATFORM_KINDS];    /* GFLOP/s as the platform says */
    struct sdt_fast_phases phases;
    struct sdt_step_record *step; /* [2]: helped or not */
    struct sdt_step_record alone; /* of the plan before, not helped */
    const struct plan *before;
    double first_text;              /* when the first prompt's text was there */
    double delivered[FEW_PROMPTS];  /* when each of the first videos was there */
    int negative_keys;              /* tokens of the negative prompt */
    float *noise;                   /* zeros, of the request's size: nobody looks at them */
    enum sdt_status status;         /* of the prompts */
    struct sdt_error error, failed; /* the latter: of a plan of ours */
};

/* What a plan comes to, for each number of steps. */
struct outcome {
    const struct plan *plan;
    double seconds[MOST_COUNTS], bound[MOST_COUNTS];
    double step; /* seconds of one, helpers helping where they may */
};

/* ---- settings of a plan ---------------------------------------------------------------------- */

/* The frames that the devices of a group get, each its whole latents: their padding is computed. */
static int padded_frames(int frames, int devices, int ratio) {
    int each = (frames + devices - 1) / devices;
    int latents = ((each - 1) / ratio + 1) * devices;
    return (latents - 1) * ratio + 1;
}

/* Their kernels read a mask, which is copied first where its rows are not aligned. */
enum { ALIGNED_TOKENS = 8 };

static double mask_bytes(const struct compare *c) {
    struct sdt_geometry g = sdt__geometry(c->pipeline, &c->s.request);
    g.frames = c->pipeline->dit->patch[0];
    bool copied = sdt_tokens(c->pipeline->dit, g) % ALIGNED_TOKENS != 0;
    return copied ? c->s.theirs.mask_bytes : 0.0;
}

/* The rate of attention, as a share of the peak, or 0: as the platform says; and bytes that it
 * moves beside for each head and pair of tokens. */
static void set_attention(struct compare *c, double share, double bytes) {
    for (int d = 0; d < c->s.platform.devices; d++) {
        int k = c->s.platform.kind_of[d];
        struct sdt_platform_kind *kind = &c->s.platform.kind[k];
        double peak = kind->gflops > 0.0 ? kind->gflops / sdt__reached(SDT_CLASS_LINEAR)
                                         : kind->bfloat16_tflops * 1e3;
        double reached = share > 0.0 ? share : sdt__reached(SDT_CLASS_ATTENTION);
        double rate = share > 0.0 || c->attention[k] <= 0.0 ? reached * peak : c->attention[k];
        double pair = 4.0 * c->pipeline->dit->head_dim / (1e9 * rate); /* seconds of one */
        kind->attention_gflops =
            rate / (1.0 + bytes / sdt_platform_bytes(&c->s.platform, d) / pair);
    }
    sdt_simulation_use(&c->s.platform);
    sdt_simulation_rates(c->machine);
}

/* Random numbers would take longer to make than much of what is simulated. */
static enum sdt_status give_noise(struct compare *c, struct sdt_error *err) {
    int64_t shape[4];
    sdt_pipeline_latent_shape(c->pipeline, &c->s.request, shape);
    free(c->noise);
    c->noise = calloc((size_t)(shape[0] * shape[1]) * (size_t)(shape[2] * shape[3]), sizeof(float));
    c->s.request.latents = c->noise;
    return c->noise ? SDT_OK : sdt_fail(err, SDT_ERROR_MEMORY, "out of memory for a latent");
}

static const char *strategy_of(const struct compare *c, const struct plan *plan) {
    return plan->strategy ? plan->strategy : c->s.theirs.strategy;
}

/* The first n - 1 devices and the last one, or all of them in both roles; of parts that are alike,
 * the first one's. */
static enum sdt_status place(struct compare *c, const struct plan *plan, struct sdt_error *err) {
    static char dit[24], vae[24];
    struct app_placement *place = &c->s.place;
    int last = c->s.platform.devices / plan->parts - 1;
    bool group = plan->groups == APART;
    snprintf(dit, sizeof dit, "0-%d", group ? last - 1 : last);
    snprintf(vae, sizeof vae, plan->groups == SHARED ? "0-%d" : "%d",
             plan->groups == SERIAL ? 0 : last);
    place->dit_devices = dit;
    place->vae_devices = vae;
    place->aco = plan->aco;
    place->strategy = strategy_of(c, plan);
    place->streams = plan->streams;
    if (c->s.forwards == 1)
        place->streams = NULL;
    c->s.request.num_frames = c->s.num_frames;
    if (plan->theirs && c->s.theirs.padded_frames)
        c->s.request.num_frames =
            padded_frames(c->s.num_frames, group ? last : last + 1, c->pipeline->vae->time_ratio);
    /* Its frameworks pad all prompts to the same length. */
    c->s.negative_keys = plan->theirs ? 0 : c->negative_keys;
    c->prompts = (c->s.prompts + plan->parts - 1) / plan->parts;
    if (plan->theirs)
        set_attention(c, c->s.theirs.attention, mask_bytes(c));
    else
        set_attention(c, 0.0, 0.0);
    enum sdt_status status = give_noise(c, err);
    return status != SDT_OK ? status
                            : app_place(place, c->pipeline, &c->s.request, c->prompts, false,
                                        &c->s.placement, err);
}

/* ---- prompts through the jobs ---------------------------------------------------------------- */

static void progress(void *arg, int number, const char *phase, int done, int total) {
    struct compare *c = arg;
    if (number == 0 && done == total && !strcmp(phase, "text"))
        c->first_text = sdt__now();
}

static void deliver(void *arg, int number, enum sdt_status status, const struct sdt_error *err,
                    struct sdt_result *result) {
    struct compare *c = arg;
    (void)result;
    if (number < FEW_PROMPTS)
        c->delivered[number] = sdt__now();
    if (status != SDT_OK && c->status == SDT_OK) {
        c->status = status;
        c->error = *err;
    }
}

/* Seconds of so many prompts: all of them, or from when the first one's text is there. */
static enum sdt_status serve(struct compare *c, int prompts, int steps, bool all, double *seconds,
                             struct sdt_error *err) {
    const struct sdt_service_options options = {.placement = c->s.placement};
    struct sdt_service *service = NULL;
    const struct sdt_step whole = sdt_whole_step(sdt_pipeline_forwards(c->pipeline, &c->s.request));
    double begin = sdt__now();
    c->s.request.steps = steps;
    c->status = SDT_OK;
    enum sdt_status status = sdt_service_open(c->pipeline, c->machine, &options, &service, err);
    if (status != SDT_OK)
        return status;
    status = sdt__service_fast(service, err);
    for (int helped = 0; status == SDT_OK && helped < 2; helped++)
        if (c->step[helped].us > 0.0)
            sdt__fast_give(service->fast, sdt__fast_like(&whole, helped), &c->step[helped]);
    if (status == SDT_OK)
        sdt__fast_remember(service->fast, &c->phases);
    for (int r = 0; r < prompts && status == SDT_OK; r++) {
        struct sdt_job_options job = {.number = r,
                                      .progress = progress,
                                      .progress_arg = c,
                                      .deliver = deliver,
                                      .deliver_arg = c};
        status = sdt_service_submit(service, &c->s.request, &job, NULL, err);
    }
    enum sdt_status closed = sdt_service_close(service, status == SDT_OK ? err : NULL);
    *seconds = sdt__now() - (all ? begin : c->first_text);
    if (status == SDT_OK && c->status != SDT_OK) {
        *err = c->error;
        return c->status;
    }
    return status == SDT_OK ? closed : status;
}

static bool equal(double a, double b, double part) { return fabs(a - b) <= part * fmax(a, b); }

/* All of the prompts, from when the first one's text is there: by a few, where videos come at equal
 * intervals. */
static enum sdt_status serve_all(struct compare *c, int steps, double *seconds,
                                 struct sdt_error *err) {
    const double *at = c->delivered;
    int prompts = c->prompts, last = FEW_PROMPTS - 1;
    if (prompts <= FEW_PROMPTS)
        return serve(c, prompts, steps, false, seconds, err);
    enum sdt_status status = serve(c, FEW_PROMPTS, steps, false, seconds, err);
    /* The last one has nothing behind it. */
    double interval = at[last - 1] - at[last - 2], before = at[last - 2] - at[last - 3];
    if (status != SDT_OK || !equal(interval, before, EQUAL_INTERVALS))
        return status == SDT_OK ? serve(c, prompts, steps, false, seconds, err) : status;
    *seconds += (prompts - FEW_PROMPTS) * 0.5 * (interval + before);
    return SDT_OK;
}

/* For numbers of steps first..last: those between lie on a line where the middle one does. */
static enum sdt_status serve_between(struct compare *c, int first, int last, double *seconds,
                                     struct sdt_error *err) {
    int middle = (first + last) / 2;
    if (middle == first)
        return SDT_OK;
    enum sdt_status status = serve_all(c, c->steps[middle], &seconds[middle], err);
    if (status != SDT_OK)
        return status;
    double slope = (seconds[last] - seconds[first]) / (c->steps[last] - c->steps[first]);
    double line = seconds[first] + slope * (c->steps[middle] - c->steps[first]);
    if (!equal(line, seconds[middle], EQUAL)) {
        status = serve_between(c, first, middle, seconds, err);
        return status == SDT_OK ? serve_between(c, middle, last, seconds, err) : status;
    }
    for (int i = first + 1; i < last; i++)
        if (i != middle)
            seconds[i] = seconds[first] + slope * (c->steps[i] - c->steps[first]);
    return SDT_OK;
}

/* ---- a plan ---------------------------------------------------------------------------------- */

/* Neither more than all work over all devices, nor than one prompt's longest chain. */
static double bound_of(const struct compare *c, const struct plan *plan, int steps) {
    const struct sdt_step_record *step = &c->step[c->step[1].us > 0.0];
    double decode = c->phases.decode * c->phases.decoders;
    if (plan->theirs)
        decode *= fmin(c->s.theirs.decode, 1.0);
    double work = 1e-6 * steps * step->work_us + decode / c->s.platform.devices;
    double chain = 1e-6 * steps * step->path_us;
    return fmax(c->s.prompts * work, chain);
}

/* A video after another: each is the first one again, and brings its weights. */
static enum sdt_status run_serial(struct compare *c, struct outcome *o, struct sdt_error *err) {
    double step = 1e-6 * c->step[0].us, one;
    c->phases.loads = true;
    enum sdt_status status = serve(c, 1, 1, true, &one, err);
    double loads = one - step - c->phases.decode;
    one += (c->s.theirs.decode - 1.0) * c->phases.decode + (c->s.theirs.offload - 1.0) * loads;
    for (int i = 0; i < c->counts; i++)
        o->seconds[i] = c->s.prompts * (one + step * (c->steps[i] - 1));
    return status;
}

static bool knows_decode(const struct compare *c) {
    const struct sdt_request *request = &c->s.request;
    int decoders = sdt__decodes_tiles(c->pipeline, request) ? c->s.placement.vae_devices : 1;
    return c->phases.decode > 0.0 && c->phases.decoders == decoders &&
           c->phases.frames == sdt__vae_job(c->pipeline, request).frames;
}

/* What is not known yet, by itself: a decode, and text by weights that are there. */
static enum sdt_status learn(struct compare *c, struct sdt_error *err) {
    enum sdt_status status = SDT_OK;
    double seconds;
    if (!knows_decode(c)) {
        c->phases.decode = 0.0;
        status = serve(c, 1, 1, true, &seconds, err);
    }
    if (status == SDT_OK && c->phases.text[0] == 0.0) {
        double decode = c->phases.decode;
        c->phases.decode = 1e-6; /* text comes behind the one before */
        status = serve(c, 2, 1, true, &seconds, err);
        c->phases.decode = decode;
    }
    return status;
}

/* Weights are there already, and so is the first prompt's text. */
static enum sdt_status run_groups(struct compare *c, const struct plan *plan, struct outcome *o,
                                  struct sdt_error *err) {
    double text, slower = plan->theirs ? c->s.theirs.decode : 1.0;
    c->phases.loads = false;
    enum sdt_status status = learn(c, err);
    text = c->s.forwards * c->phases.text[0] + c->phases.text[1];
    c->phases.decode *= slower;
    int last = c->counts - 1;
    if (status == SDT_OK)
        status = serve_all(c, c->steps[0], &o->seconds[0], err);
    if (status == SDT_OK && last > 0)
        status = serve_all(c, c->steps[last], &o->seconds[last], err);
    if (status == SDT_OK)
        status = serve_between(c, 0, last, o->seconds, err);
    for (int i = 0; i < c->counts; i++)
        o->seconds[i] += text;
    c->phases.decode /= slower;
    return status;
}

static void add_overhead(struct compare *c, const struct plan *plan) {
    const struct app_theirs *t = &c->s.theirs;
    bool groups = plan->groups != SERIAL;
    double factor = groups && t->group_step > 0.0 ? t->group_step : t->step;
    double seconds = groups && t->group_overhead > 0.0 ? t->group_overhead : t->overhead;
    for (int helped = 0; plan->theirs && helped < 2; helped++)
        if (c->step[helped].us > 0.0) {
            c->step[helped].us = factor * c->step[helped].us + 1e6 * seconds;
            c->step[helped].work_us *= fmin(factor, 1.0); /* bounds hold for faster ones, too */
            c->step[helped].path_us *= fmin(factor, 1.0);
        }
}

static enum sdt_status simulate(struct compare *c, const struct plan *plan, struct outcome *o,
                                struct sdt_error *err) {
    *o = (struct outcome){.plan = plan};
    memset(&c->step[1], 0, sizeof c->step[1]);
    enum sdt_status status = place(c, plan, err);
    bool helps = c->s.placement.aco != SDT_ACO_OFF;
    /* Without help it is as the same strategy without aco, where that came before. */
    bool again = helps && c->before && c->before->groups == plan->groups &&
                 c->before->theirs == plan->theirs && !strcmp(c->before->streams, plan->streams) &&
                 !strcmp(strategy_of(c, c->before), strategy_of(c, plan));
    c->step[0] = again ? c->alone : (struct sdt_step_record){0};
    for (int helped = again; helped < 1 + helps && status == SDT_OK; helped++)
        status = app_simulate_part(&c->s, c->machine, helped, &c->step[helped], err);
    c->alone = c->step[0];
    c->before = plan;
    o->step = 1e-6 * c->step[helps].us;
    add_overhead(c, plan);
    if (status == SDT_OK)
        status = plan->groups == SERIAL ? run_serial(c, o, err) : run_groups(c, plan, o, err);
    for (int i = 0; i < c->counts && status == SDT_OK; i++) {
        o->bound[i] = bound_of(c, plan, c->steps[i]);
        if (o->seconds[i] < (1.0 - ROUNDING) * o->bound[i])
            status = sdt_fail(err, SDT_ERROR_DEVICE,
                              "%s, %d steps: %.9g s are less than the lower bound, %.9g s",
                              plan->name, c->steps[i], o->seconds[i], o->bound[i]);
    }
    return status;
}

/* ---- reporting ------------------------------------------------------------------------------- */

static void print(const struct compare *c, const struct outcome *list, int count) {
    printf("%-36s", "seconds of all videos, steps");
    for (int i = 0; i < c->counts; i++)
        printf(" %9d", c->steps[i]);
    printf("\n");
    for (int p = 0; p < count; p++) {
        printf("%-36s", list[p].plan->name);
        for (int i = 0; i < c->counts; i++)
            printf(" %9.4f", list[p].seconds[i]);
        printf("\n");
    }
    if (c->failed.status != SDT_OK)
        printf("none of ours: %s\n", c->failed.message);
}

static json_t *numbers(const double *value, int count) {
    json_t *array = json_array();
    for (int i = 0; i < count; i++)
        json_array_append_new(array, json_real(value[i]));
    return array;
}

static enum sdt_status write_stats(const struct compare *c, const struct outcome *list, int count,
                                   struct sdt_error *err) {
    json_t *stats = app_stats_begin("stardit-simulate"), *plans = json_array();
    if (!stats || !plans)
        return sdt_fail(err, SDT_ERROR_MEMORY, "out of memory for statistics");
    for (int p = 0; p < count; p++)
        json_array_append_new(
            plans, json_pack("{s:s, s:s?, s:b, s:f, s:o, s:o}", "plan", list[p].plan->name, "adds",
                             list[p].plan->adds, "theirs", list[p].plan->theirs, "step_seconds",
                             list[p].step, "seconds", numbers(list[p].seconds, c->counts),
                             "bound_seconds", numbers(list[p].bound, c->counts)));
    json_object_set_new(stats, "plans", plans);
    if (c->failed.status != SDT_OK)
        json_object_set_new(stats, "ours_failed", json_string(c->failed.message));
    return app_stats_write(stats, c->s.stats, err);
}

/* "10,20": to the numbers. */
static enum sdt_status read_counts(struct compare *c, struct sdt_error *err) {
    const char *at = c->s.compare;
    for (c->counts = 0; c->counts < MOST_COUNTS; c->counts++) {
        char *end;
        long steps = strtol(at, &end, 10);
        if (end == at || steps < 1 || steps > 1000 || (*end && *end != ',') ||
            (c->counts > 0 && steps <= c->steps[c->counts - 1]))
            break;
        c->steps[c->counts] = (int)steps;
        at = *end ? end + 1 : end;
        if (!*end) {
            c->counts++;
            return SDT_OK;
        }
    }
    return sdt_fail(err, SDT_ERROR_USAGE,
                    "--compare %s: up to %d rising numbers of steps, each 1 to 1000, as 10,50 work",
                    c->s.compare, MOST_COUNTS);
}

static enum sdt_status count_negative(struct compare *c, struct sdt_error *err) {
    const struct sdt_pipeline *p = c->pipeline;
    const char *text = c->s.request.negative_prompt;
    int capacity = sdt__text_capacity(p, &c->s.request, 0), count = 0;
    if (!text || !p->text[0])
        return SDT_OK;
    int32_t *ids = calloc((size_t)capacity, sizeof *ids);
    enum sdt_status status =
        ids ? sdt__text_ids(p, 0, true, text, capacity, ids, &count, NULL, err)
            : sdt_fail(err, SDT_ERROR_MEMORY, "out of memory for a negative prompt");
    if (status == SDT_OK)
        c->negative_keys = sdt_text_rows(p->text[0], count, sdt__text_dropped(p, 0));
    free(ids);
    return status;
}

static enum sdt_status set_up(struct compare *c, struct sdt_error *err) {
    struct sdt_request defaults;
    enum sdt_status status = read_counts(c, err);
    if (status == SDT_OK)
        status = sdt__pipeline_imagine(c->s.model, c->s.whole.layers, &c->pipeline, err);
    if (status == SDT_OK)
        status = sdt_pipeline_defaults(c->pipeline, &defaults, err);
    if (status != SDT_OK)
        return status;
    c->s.request.negative_prompt = defaults.negative_prompt;
    c->s.num_frames = c->s.request.num_frames;
    for (int k = 0; k < c->s.platform.kinds; k++)
        c->attention[k] = c->s.platform.kind[k].attention_gflops;
    sdt__recorder_keep_bounds(c->machine->recorder);
    return count_negative(c, err);
}

/* Is the plan asked for, and can it be? Halves need two devices and a prompt each, and GPUs that
 * are alike. */
static bool possible(const struct compare *c, const struct plan *plan) {
    const struct sdt_platform *p = &c->s.platform;
    if (plan->step_stone && !c->s.theirs.ingredients)
        return false;
    return plan->parts < 2 || (p->kinds == 1 && p->devices % plan->parts == 0 &&
                               p->devices >= 2 * plan->parts && c->s.prompts >= plan->parts);
}

enum sdt_status app_simulate_compare(const struct app_simulation *s, struct sdt_machine *machine,
                                     struct sdt_error *err) {
    struct sdt_step_record *step = calloc(2, sizeof *step);
    struct outcome list[MOST_PLANS];
    struct compare c = {.s = *s, .machine = machine, .step = step};
    char *prompt = app_simulate_prompt(s->request.max_sequence_length);
    int count = 0;
    bool fits = false;
    enum sdt_status status =
        step && prompt ? set_up(&c, err)
                       : sdt_fail(err, SDT_ERROR_MEMORY, "out of memory for a comparison");
    c.s.request.prompt = prompt;
    const size_t plans =
        s->theirs.baseline ? 1 : sizeof theirs / sizeof theirs[0] - !s->theirs.ablation;
    const size_t own = s->theirs.baseline ? 0 : sizeof ours / sizeof ours[0];
    for (size_t i = 0; i < plans && status == SDT_OK; i++)
        status = simulate(&c, &theirs[i], &list[count++], err);
    c.phases.decode = 0.0; /* padded frames are no part of ours */
    for (size_t i = 0; i < own && status == SDT_OK; i++) {
        if (!possible(&c, &ours[i]))
            continue;
        status = simulate(&c, &ours[i], &list[count], err);
        if (status == SDT_OK) {
            count++;
            fits = true;
        } else if (status == SDT_ERROR_LIMIT) { /* it does not fit there */
            c.failed = *err;
            status = SDT_OK;
        }
    }
    if (fits)
        c.failed.status = SDT_OK;
    if (status == SDT_OK && (!s->stats || strcmp(s->stats, "-") != 0))
        print(&c, list, count);
    if (status == SDT_OK && s->stats)
        status = write_stats(&c, list, count, err);
    sdt_pipeline_close(c.pipeline);
    free(c.noise);
    free(prompt);
    free(step);
    return status;
}

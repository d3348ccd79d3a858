/* The planner: candidates are sorted, every number is sane, and what it would choose is never
 * predicted to be slower than the best plan without aco, without groups, without chunks or with one
 * stream. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "graph/plan/candidates.h"
#include "graph/plan/cost.h"
#include "tests/light.h"

static int failures;

static void check(int ok, const char *what, int devices, double link) {
    if (!ok) {
        printf("%d devices, links of %g B/s: %s: FAIL\n", devices, link, what);
        failures++;
    }
}

static struct sdt_candidate predicted(const struct sdt_pipeline *pipeline,
                                      const struct sdt_request *request,
                                      const struct sdt_machine_rates *rates, const char *strategy,
                                      int streams) {
    struct sdt_candidate c = {.strategy = sdt_strategy_find(strategy),
                              .placement = {.streams = streams}};
    struct sdt_error err;
    if (sdt__predict(pipeline, request, 1, rates, &c, &err) != SDT_OK) {
        printf("%s: FAIL\n", err.message);
        exit(1);
    }
    return c;
}

/* Streams: two are chosen where they hide exchanges, one where that gains nothing or memory is
 * short, and the memory predicted is the plan's. */
static void check_streams(struct sdt_pipeline *pipeline, const struct sdt_request *request) {
    struct sdt_machine_rates rates = {.devices = 4,
                                      .cpu.flops_per_second = 2.5e10,
                                      .link_bytes_per_second = 1e8,
                                      .link_seconds = 1e-5};
    struct sdt_request plain = *request;
    struct sdt_candidate *c = NULL;
    struct sdt_error err = {0};
    struct sdt_draft draft;
    int n = 0, seen[3] = {0};

    struct sdt_candidate one = predicted(pipeline, request, &rates, "ulysses", 1);
    struct sdt_candidate two = predicted(pipeline, request, &rates, "ulysses", 2);
    check(two.step_seconds < 0.99 * one.step_seconds, "a second stream hides nothing", 4, 1e8);
    check(two.step_seconds > one.step_seconds - one.exposed_seconds - 1e-12,
          "a second stream hides more than there is", 4, 1e8);
    check(one.memory_bytes < two.memory_bytes && one.device_bytes < two.device_bytes,
          "a second stream takes no memory", 4, 1e8);
    for (int streams = 1; streams <= 2; streams++) {
        struct sdt_machine_options machine = {.devices = 4, .workers_per_device = 1};
        struct sdt_placement placement = {.streams = streams};
        struct sdt_request asked = *request;
        struct sdt_plan plan;
        double sum = 0.0;
        asked.strategy = sdt_strategy_find("ulysses");
        if (sdt_plan_make(pipeline, &asked, &placement, &machine, &plan, &err) != SDT_OK) {
            check(0, err.message, 4, 1e8);
            continue;
        }
        for (int d = 0; d < 4; d++)
            sum += plan.device_bytes[d];
        check(fabs(sum - (streams == 1 ? one : two).memory_bytes) < 1.0 &&
                  plan.streams == streams && plan.forwards == 2,
              "plan and prediction differ in memory", 4, 1e8);
        sdt_plan_clear(&plan);
    }
    if (sdt_draft_init(&draft, pipeline, request, &one.placement, one.strategy, &rates, &err) !=
        SDT_OK) {
        check(0, err.message, 4, 1e8);
        return;
    }
    double host = sdt_draft_host_bytes(&draft); /* beside what is the devices' */
    sdt_draft_clear(&draft);
    for (int short_of = 0; short_of < 2; short_of++) {
        double most = 0.0, least = INFINITY;
        rates.memory_bytes = short_of ? host + (one.memory_bytes + two.memory_bytes) / 2.0 : 0.0;
        if (sdt__candidates(pipeline, request, 1, &rates, NULL, &c, &n, &err) != SDT_OK) {
            check(0, err.message, 4, 1e8);
            return;
        }
        for (int i = 0; i < n; i++) {
            seen[c[i].placement.streams]++;
            most = fmax(most, c[i].memory_bytes);
            least = fmin(least, c[i].memory_bytes);
        }
        printf("4 devices, %s: best %s with %d streams, %.1f MB of %.1f to %.1f\n",
               short_of ? "short of memory" : "memory enough", sdt_strategy_name(c[0].strategy),
               c[0].placement.streams, c[0].memory_bytes * 1e-6, least * 1e-6, most * 1e-6);
        /* Branches apart need less than two streams on all devices, too. */
        check((c[0].placement.streams == (short_of ? 1 : 2) ||
               (short_of && c[0].placement.cfg_parallel)) &&
                  c[0].fits,
              "wrong number of streams", 4, 1e8);
        free(c);
    }
    check(seen[1] > 0 && seen[2] > 0, "not both numbers of streams", 4, 1e8);
    rates = (struct sdt_machine_rates){.devices = 1, .cpu.flops_per_second = 2.5e10};
    if (sdt__candidates(pipeline, request, 1, &rates, NULL, &c, &n, &err) == SDT_OK) {
        check(c[0].placement.streams == 1, "a second stream for nothing", 1, 0);
        free(c);
    }
    plain.guidance_scale = 1.0;
    if (sdt__candidates(pipeline, &plain, 1, &rates, NULL, &c, &n, &err) == SDT_OK) {
        for (int i = 0; i < n; i++)
            check(c[i].placement.streams == 1, "two streams for one forward", 1, 0);
        free(c);
    }
}

/* A plan says what a prediction says, to the last bit; its memory is the run's; parts make up the
 * whole. */
static void check_plan(struct sdt_pipeline *pipeline, const struct sdt_request *request) {
    static const char *const strategies[] = {"ulysses", "pipesp", "ring"};
    struct sdt_error err = {0};
    for (int i = 0; i < 6; i++) {
        struct sdt_machine_options machine = {.devices = 4, .workers_per_device = 1};
        struct sdt_placement placement = {0};
        struct sdt_request asked = *request;
        struct sdt_plan plan;
        struct sdt_draft draft;
        struct sdt_times t;
        asked.strategy = sdt_strategy_find(strategies[i % 3]);
        if (i >= 3)
            sdt_placement_split(4, 1, &placement);
        struct sdt_machine_rates rates;
        struct sdt_candidate c = {.strategy = asked.strategy, .placement = placement};
        if (sdt_measure_rates(pipeline, &machine, SDT_PRECISION_AUTO, &rates, &err) != SDT_OK ||
            sdt_plan_make(pipeline, &asked, &placement, &machine, &plan, &err) != SDT_OK ||
            sdt__predict(pipeline, &asked, 1, &rates, &c, &err) != SDT_OK ||
            sdt_draft_init(&draft, pipeline, &asked, &placement, asked.strategy, &rates, &err) !=
                SDT_OK ||
            sdt_draft_times(&draft, 1, &t, &err) != SDT_OK) {
            check(0, err.message, 4, 0);
            return;
        }
        check(plan.step_seconds == c.step_seconds && plan.decode_seconds == c.decode_seconds &&
                  plan.seconds == c.total_seconds,
              "plan and prediction differ in time", 4, 0);
        double sum = t.text + t.steps + t.decode + t.load;
        check(fabs(sum - c.total_seconds) < 1e-9 * sum, "parts are not the whole", 4, 0);
        for (int d = 0; d < draft.dit; d++) {
            double need = sdt_run_need(pipeline->dit, &draft.parts, d, draft.text_rows, asked.steps,
                                       (struct sdt_step_keeping){0})
                              .all;
            double decode = pipeline->vae->kind->bytes(pipeline->vae, &draft.job,
                                                       sdt_draft_decoders(&draft), d);
            check(plan.device_bytes[d] == (draft.groups ? need : fmax(need, decode)),
                  "the plan's memory is not the run's", 4, 0);
        }
        sdt_draft_clear(&draft);
        sdt_plan_clear(&plan);
    }
}

/* What a family lists as tasks is what it says of its FLOPs; more work takes longer. */
static void check_work(struct sdt_pipeline *pipeline, const struct sdt_request *request) {
    enum { TOKENS = 4096, ROWS = 128 };
    const struct sdt_dit *dit = pipeline->dit;
    struct sdt_machine_rates rates = {.devices = 1, .workers = {2}, .cpu.flops_per_second = 2.5e10};
    struct sdt_request larger = *request;
    struct sdt_operations list = {0};
    double flops = 0.0, decode = 0.0;

    dit->kind->operations(dit, ROWS, 100, &list);
    for (int i = 0; i < list.count; i++)
        if (list.item[i].when == SDT_EACH_LAYER)
            flops += list.item[i].tasks * sdt_operation_flops(&list.item[i]);
    double said = dit->kind->work(dit, TOKENS, 100).linear;
    check(fabs(flops * TOKENS / ROWS * dit->layers - said) < 1e-9 * said,
          "a layer's tasks have other FLOPs than the work", 1, 0);
    sdt_operations_clear(&list);
    struct sdt_vae_job job = sdt__vae_job(pipeline, request);
    pipeline->vae->kind->operations(pipeline->vae, &job, 2, &list);
    for (int i = 0; i < list.count; i++)
        decode += list.item[i].tasks * sdt_operation_flops(&list.item[i]);
    said = pipeline->vae->kind->flops(pipeline->vae, &job);
    printf("decode: %.3f GFLOP listed, %.3f said\n", decode * 1e-9, said * 1e-9);
    check(fabs(decode - said) < 1e-9 * said, "a decode's tasks have other FLOPs", 1, 0);
    sdt_operations_clear(&list);

    struct sdt_candidate small = predicted(pipeline, request, &rates, "single", 2);
    larger.height *= 2;
    struct sdt_candidate large = predicted(pipeline, &larger, &rates, "single", 2);
    rates.overheads = (struct sdt_overheads){1e-6, 1e-6, 1e-6};
    struct sdt_candidate burdened = predicted(pipeline, request, &rates, "single", 2);
    check(large.step_seconds > 2.0 * small.step_seconds &&
              large.decode_seconds > 1.9 * small.decode_seconds,
          "twice the tokens do not take twice the time", 1, 0);
    check(burdened.step_seconds > small.step_seconds, "tasks cost nothing", 1, 0);
}

/* GPUs that are not here: bfloat16, tiles of GPUs, and memory of each. */
static void check_gpus(struct sdt_pipeline *pipeline, const struct sdt_request *request) {
    const struct sdt_device device[] = {{SDT_DEVICE_CUDA, 0}, {SDT_DEVICE_CUDA, 1}};
    struct sdt_machine_rates rates = {
        .devices = 2, .device = device, .link_bytes_per_second = 1e11, .link_seconds = 1e-5};
    struct sdt_request large = *request;
    large.height = large.width = 512; /* StarPU's blocks of memory are little beside it */
    for (int d = 0; d < 2; d++)
        rates.gpu[d] =
            (struct sdt_worker_rates){.flops_per_second = 1e14, .bytes_per_second = 1e12};
    struct sdt_candidate half = {0};
    for (int pass = 0; pass < 2; pass++) {
        struct sdt_candidate c = {
            .strategy = sdt_strategy_find("ulysses"),
            .placement = {.precision = pass ? SDT_PRECISION_FLOAT32 : SDT_PRECISION_AUTO,
                          .streams = 2}};
        struct sdt_error err;
        if (sdt__predict(pipeline, &large, 1, &rates, &c, &err) != SDT_OK) {
            check(0, err.message, 2, 1e11);
            return;
        }
        printf("2 GPUs in %s: %.1f MB, step %.3g s\n", pass ? "float32" : "bfloat16",
               c.memory_bytes * 1e-6, c.step_seconds);
        if (pass) /* more than half: in bfloat16 alone convolutions copy frames, for cuDNN, and
                   * attention has weights beside its scores */
            check(half.memory_bytes < 0.85 * c.memory_bytes, "bfloat16 needs as much", 2, 1e11);
        else
            half = c;
        check(c.fits, "no limit, and does not fit", 2, 1e11);
        rates.room[1] = 1e6; /* on one of them */
        if (sdt__predict(pipeline, &large, 1, &rates, &c, &err) == SDT_OK)
            check(!c.fits, "fits into a megabyte", 2, 1e11);
        rates.room[1] = 0.0;
    }
}

/* Unequal devices: the plan lays the tiles out as the run does, its time is that of its slowest
 * device, and what a machine refuses it refuses in the same words. */
static void check_unequal(struct sdt_pipeline *pipeline, const struct sdt_request *request) {
    static const int two_one_one[] = {2, 1, 1}, none[] = {2, 0, 1};
    static const double half[] = {1.0, 1.0, 0.5};
    struct sdt_machine_options options = {.devices = 3, .workers_per_device = 1};
    struct sdt_placement placement = {0};
    struct sdt_request large = *request;
    struct sdt_machine *machine = NULL;
    struct sdt_error err = {0}, other = {0};
    struct sdt_plan plan;
    int tiles[3][3] = {{0}};

    large.height = large.width = 256;
    large.strategy = sdt_strategy_find("ulysses");
    for (int i = 0; i < 3; i++) {
        options.workers = i == 1 ? two_one_one : NULL;
        options.device_speed = i == 2 ? half : NULL;
        if (sdt_plan_make(pipeline, &large, &placement, &options, &plan, &err) != SDT_OK) {
            check(0, err.message, 3, 0);
            return;
        }
        memcpy(tiles[i], plan.device_tiles, sizeof tiles[i]);
        sdt_plan_clear(&plan);
    }
    printf("tiles of 3 devices: alike %d %d %d; 2, 1, 1 workers %d %d %d; the last half as fast "
           "%d %d %d\n",
           tiles[0][0], tiles[0][1], tiles[0][2], tiles[1][0], tiles[1][1], tiles[1][2],
           tiles[2][0], tiles[2][1], tiles[2][2]);
    check(abs(tiles[1][0] - 2 * tiles[1][1]) <= 1 && abs(tiles[1][1] - tiles[1][2]) <= 1,
          "the plan ignores workers", 3, 0);
    check(abs(tiles[2][0] - 2 * tiles[2][2]) <= 1 && abs(tiles[2][0] - tiles[2][1]) <= 1,
          "the plan ignores speeds", 3, 0);

    struct sdt_machine_rates rates = {.devices = 2,
                                      .workers = {2, 1},
                                      .speed = {2.0, 1.0},
                                      .cpu.flops_per_second = 2.5e10,
                                      .link_bytes_per_second = 1e11,
                                      .link_seconds = 1e-5};
    struct sdt_candidate split = predicted(pipeline, &large, &rates, "ulysses", 1);
    rates.speed[0] = 1.0;
    struct sdt_candidate equally = predicted(pipeline, &large, &rates, "ulysses", 1);
    printf("2 + 1 workers: step %.4g s by speed, %.4g s equally\n", split.step_seconds,
           equally.step_seconds);
    check(split.step_seconds < 0.9 * equally.step_seconds, "an equal split is predicted as fast", 2,
          0);

    options.device_speed = NULL;
    options.workers = none;
    check(sdt_plan_make(pipeline, &large, &placement, &options, &plan, &err) == SDT_ERROR_USAGE &&
              sdt_machine_open(&options, &machine, &other) == SDT_ERROR_USAGE &&
              !strcmp(err.message, other.message),
          "a plan and a machine refuse no workers otherwise", 3, 0);
}

/* With the chunks that the model would choose, pipesp is never predicted slower than ulysses,
 * whatever tasks cost; and two candidates that are equal say so of each other. */
static void check_pipesp(struct sdt_pipeline *pipeline, const struct sdt_request *request,
                         const struct sdt_machine_rates *given) {
    struct sdt_machine_rates rates = *given;
    struct sdt_error err;
    if (rates.devices < 2)
        return;
    for (int pass = 0; pass < 2; pass++) {
        if (pass)
            rates.overheads = (struct sdt_overheads){4e-6, 5e-6, 12e-6};
        for (int streams = 1; streams <= 2; streams++) {
            struct sdt_candidate c = predicted(pipeline, request, &rates, "ulysses", streams);
            double ulysses = c.step_seconds, best = INFINITY;
            c.strategy = sdt_strategy_find("pipesp");
            for (int i = 0; c.strategy->variant(i, rates.devices, &c.placement); i++)
                if (sdt__predict(pipeline, request, 1, &rates, &c, &err) == SDT_OK)
                    best = fmin(best, c.step_seconds);
            check(best <= ulysses * (1.0 + 1e-12), "pipesp slower than ulysses", rates.devices,
                  rates.link_bytes_per_second);
        }
    }
    struct sdt_candidate same = predicted(pipeline, request, &rates, "pipesp", 1), other = same;
    other.total_seconds *= 1.0 + 1e-10;
    check(sdt_candidate_equal(&same, &other), "equal ones differ", rates.devices, 0);
    other.memory_bytes += 1.0;
    check(!sdt_candidate_equal(&same, &other), "unequal memory is equal", rates.devices, 0);
}

/* Strategies with bits of their own stand behind exact ones that are less than 5 % slower. */
static double counted(const struct sdt_candidate *candidate) {
    return candidate->total_seconds * (candidate->strategy->exact ? 1. : 1.05);
}

int main(void) {
    static const double links[] = {1e5, 1e8, 1e11};
    struct sdt_error err = {0};
    struct sdt_pipeline *pipeline = NULL;
    struct sdt_request request;
    char path[4096];
    int plans = 0;

    snprintf(path, sizeof path, "%s/checkpoints/stardit-demo", getenv("STARDIT_SOURCE_DIR"));
    if (sdt_pipeline_open(path, &pipeline, &err) != SDT_OK ||
        sdt_pipeline_defaults(pipeline, &request, &err) != SDT_OK) {
        printf("%s: FAIL\n", err.message);
        return 1;
    }
    const int first = test_least() ? 3 : 1, last = test_least() ? 3 : 8;
    for (int devices = first; devices <= last; devices += test_light() ? 7 : 1)
        for (size_t l = 0; l < sizeof links / sizeof links[0]; l++)
            for (int requests = 1; requests <= 10; requests += 9) {
                struct sdt_machine_rates rates = {.devices = devices,
                                                  .cpu.flops_per_second = 2.5e10,
                                                  .link_bytes_per_second = links[l],
                                                  .link_seconds = 1e-5};
                struct sdt_candidate *c = NULL;
                int n = 0;
                double off = INFINITY, ulysses = INFINITY, pipesp = INFINITY;
                if (sdt__candidates(pipeline, &request, requests, &rates, NULL, &c, &n, &err) !=
                    SDT_OK) {
                    printf("%s: FAIL\n", err.message);
                    return 1;
                }
                check(n > 0, "no candidate", devices, links[l]);
                for (int i = 0; i < n; i++) {
                    plans++;
                    check(i == 0 || counted(&c[i]) >= counted(&c[i - 1]) * (1 - 1e-8), "not sorted",
                          devices, links[l]);
                    check(c[i].total_seconds > 0 && isfinite(c[i].total_seconds) &&
                              c[i].exposed_seconds >= 0 &&
                              c[i].exposed_seconds <= c[i].step_seconds,
                          "a prediction makes no sense", devices, links[l]);
                    if (c[i].placement.aco == SDT_ACO_OFF)
                        off = fmin(off, counted(&c[i]));
                    if (c[i].placement.streams == 2)
                        continue; /* what a strategy hides by itself shows in one stream */
                    if (!c[i].placement.dit_devices &&
                        !strcmp(sdt_strategy_name(c[i].strategy), "ulysses"))
                        ulysses = c[i].exposed_seconds;
                    if (!c[i].placement.dit_devices &&
                        !strcmp(sdt_strategy_name(c[i].strategy), "pipesp"))
                        pipesp = fmin(pipesp, c[i].exposed_seconds);
                }
                check(counted(&c[0]) <= off * (1 + 1e-8), "aco chosen at a loss", devices,
                      links[l]);
                check_pipesp(pipeline, &request, &rates);
                if (devices > 1 && links[l] < 1e9)
                    check(pipesp < ulysses, "pipesp hides nothing", devices, links[l]);
                free(c);
            }
    check_streams(pipeline, &request);
    check_plan(pipeline, &request);
    check_work(pipeline, &request);
    check_gpus(pipeline, &request);
    check_unequal(pipeline, &request);
    printf("%d plans predicted: %s\n", plans, failures ? "FAIL" : "ok");
    sdt_pipeline_close(pipeline);
    return failures ? 1 : 0;
}

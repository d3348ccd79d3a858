/* The planner: candidates are sorted, every number is sane, and what it would choose is never predicted to be
 * slower than the best plan without aco, without groups, without chunks or with one stream. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "graph/plan/candidates.h"

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
    if (sdt_plan_predict(pipeline, request, 1, rates, &c, &err) != SDT_OK) {
        printf("%s: FAIL\n", err.message);
        exit(1);
    }
    return c;
}

/* Streams: two are chosen where they hide exchanges, one where that gains nothing or memory is short, and the
 * memory predicted is the plan's. */
static void check_streams(struct sdt_pipeline *pipeline, const struct sdt_request *request) {
    struct sdt_machine_rates rates = {.devices = 4,
                                      .workers_per_device = 1,
                                      .flops_per_second = 2.5e10,
                                      .link_bytes_per_second = 1e8,
                                      .link_seconds = 1e-5};
    struct sdt_request plain = *request;
    struct sdt_candidate *c = NULL;
    struct sdt_error err = {0};
    int n = 0, seen[3] = {0};

    struct sdt_candidate one = predicted(pipeline, request, &rates, "ulysses", 1);
    struct sdt_candidate two = predicted(pipeline, request, &rates, "ulysses", 2);
    check(two.step_seconds < 0.99 * one.step_seconds, "a second stream hides nothing", 4, 1e8);
    check(two.step_seconds > one.step_seconds - one.exposed_seconds - 1e-12,
          "a second stream hides more than there is", 4, 1e8);
    check(one.memory_bytes < two.memory_bytes && one.device_bytes < two.device_bytes,
          "a second stream takes no memory", 4, 1e8);
    for (int streams = 1; streams <= 2; streams++) {
        struct sdt_placement placement = {.streams = streams};
        struct sdt_request asked = *request;
        struct sdt_plan plan;
        double sum = 0.0;
        asked.strategy = sdt_strategy_find("ulysses");
        if (sdt_plan_make(pipeline, &asked, &placement, 4, 1, &plan, &err) != SDT_OK) {
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
    for (int short_of = 0; short_of < 2; short_of++) {
        double most = 0.0, least = INFINITY;
        rates.memory_bytes = short_of ? (one.memory_bytes + two.memory_bytes) / 2.0 : 0.0;
        if (sdt_plan_candidates(pipeline, request, 1, &rates, &c, &n, &err) != SDT_OK) {
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
        check(c[0].placement.streams == (short_of ? 1 : 2) && c[0].fits, "wrong number of streams",
              4, 1e8);
        free(c);
    }
    check(seen[1] > 0 && seen[2] > 0, "not both numbers of streams", 4, 1e8);
    rates = (struct sdt_machine_rates){
        .devices = 1, .workers_per_device = 1, .flops_per_second = 2.5e10};
    if (sdt_plan_candidates(pipeline, request, 1, &rates, &c, &n, &err) == SDT_OK) {
        check(c[0].placement.streams == 1, "a second stream for nothing", 1, 0);
        free(c);
    }
    plain.guidance_scale = 1.0;
    if (sdt_plan_candidates(pipeline, &plain, 1, &rates, &c, &n, &err) == SDT_OK) {
        for (int i = 0; i < n; i++)
            check(c[i].placement.streams == 1, "two streams for one forward", 1, 0);
        free(c);
    }
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
    for (int devices = 1; devices <= 8; devices++)
        for (size_t l = 0; l < sizeof links / sizeof links[0]; l++)
            for (int requests = 1; requests <= 10; requests += 9) {
                struct sdt_machine_rates rates = {.devices = devices,
                                                  .workers_per_device = 1,
                                                  .flops_per_second = 2.5e10,
                                                  .link_bytes_per_second = links[l],
                                                  .link_seconds = 1e-5};
                struct sdt_candidate *c = NULL;
                int n = 0;
                double off = INFINITY, ulysses = INFINITY, pipesp = INFINITY;
                if (sdt_plan_candidates(pipeline, &request, requests, &rates, &c, &n, &err) !=
                    SDT_OK) {
                    printf("%s: FAIL\n", err.message);
                    return 1;
                }
                check(n > 0, "no candidate", devices, links[l]);
                for (int i = 0; i < n; i++) {
                    plans++;
                    check(i == 0 || c[i].total_seconds >= c[i - 1].total_seconds * (1 - 1e-8),
                          "not sorted", devices, links[l]);
                    check(c[i].total_seconds > 0 && isfinite(c[i].total_seconds) &&
                              c[i].exposed_seconds >= 0 &&
                              c[i].exposed_seconds <= c[i].step_seconds,
                          "a prediction makes no sense", devices, links[l]);
                    if (c[i].placement.aco == SDT_ACO_OFF)
                        off = fmin(off, c[i].total_seconds);
                    if (c[i].placement.streams == 2)
                        continue; /* what a strategy hides by itself shows in one stream */
                    if (!c[i].placement.dit_devices && !strcmp(sdt_strategy_name(c[i].strategy), "ulysses"))
                        ulysses = c[i].exposed_seconds;
                    if (!c[i].placement.dit_devices && !strcmp(sdt_strategy_name(c[i].strategy), "pipesp"))
                        pipesp = fmin(pipesp, c[i].exposed_seconds);
                }
                check(c[0].total_seconds <= off * (1 + 1e-8), "aco chosen at a loss", devices,
                      links[l]);
                if (devices > 1 && links[l] < 1e9)
                    check(pipesp < ulysses, "pipesp hides nothing", devices, links[l]);
                free(c);
            }
    check_streams(pipeline, &request);
    printf("%d plans predicted: %s\n", plans, failures ? "FAIL" : "ok");
    sdt_pipeline_close(pipeline);
    return failures ? 1 : 0;
}

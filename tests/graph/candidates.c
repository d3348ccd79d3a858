/* The planner: candidates are sorted, every number is sane, and what it would choose is never predicted to be
 * slower than the best plan without aco, without groups or without chunks. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "graph/candidates.h"

static int failures;

static void check(int ok, const char *what, int devices, double link) {
    if (!ok) {
        printf("%d devices, links of %g B/s: %s: FAIL\n", devices, link, what);
        failures++;
    }
}

int main(void) {
    static const double links[] = {1e5, 1e8, 1e11};
    struct sdt_error err = {0};
    struct sdt_pipeline *pipeline = NULL;
    struct sdt_request request;
    char path[4096];
    int plans = 0;

    snprintf(path, sizeof path, "%s/models/stardit-demo", getenv("STARDIT_SOURCE_DIR"));
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
                    if (!c[i].placement.dit_devices && !strcmp(c[i].strategy->name, "ulysses"))
                        ulysses = c[i].exposed_seconds;
                    if (!c[i].placement.dit_devices && !strcmp(c[i].strategy->name, "pipesp"))
                        pipesp = fmin(pipesp, c[i].exposed_seconds);
                }
                check(c[0].total_seconds <= off * (1 + 1e-8), "aco chosen at a loss", devices,
                      links[l]);
                if (devices > 1 && links[l] < 1e9)
                    check(pipesp < ulysses, "pipesp hides nothing", devices, links[l]);
                free(c);
            }
    printf("%d plans predicted: %s\n", plans, failures ? "FAIL" : "ok");
    sdt_pipeline_close(pipeline);
    return failures ? 1 : 0;
}

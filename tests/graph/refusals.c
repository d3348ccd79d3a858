/* What a plan refuses, a run refuses too, with the same line, and before anything is begun. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "stardit/stardit.h"
#include "tests/check.h"

enum { DEVICES = 4 };

static const struct {
    const char *strategy;
    struct sdt_placement placement;
    const char *says;
} cases[] = {
    {"usp", {.transport = SDT_TRANSPORT_NCCL, .ulysses_degree = 2}, "strategy usp"},
    {"ring", {.transport = SDT_TRANSPORT_NCCL}, "strategy ring"},
    {"usp", {.ulysses_degree = 3}, "does not divide 4 devices"},
    {"pipesp", {.streams = 3}, "3 streams"},
    {"pipesp", {.streams = -1}, "-1 streams"},
    {"pipesp", {.aco = SDT_ACO_STATIC}, "two groups"},
    {"ring",
     {.dit_devices = 3, .vae_devices = 1, .dit = {0, 1, 2}, .vae = {3}, .aco = SDT_ACO_DYNAMIC},
     "--strategy ring"},
    {"pipesp",
     {.dit_devices = 3, .vae_devices = 1, .dit = {0, 1, 2}, .vae = {2}, .aco = SDT_ACO_STATIC},
     "must be other devices"},
    {"pipesp",
     {.dit_devices = 3,
      .vae_devices = 1,
      .dit = {0, 1, 2},
      .vae = {3},
      .aco = SDT_ACO_STATIC,
      .transport = SDT_TRANSPORT_NCCL},
     "transport nccl"},
    {"pipesp", {.dit_devices = 1, .vae_devices = 1, .dit = {4}, .vae = {3}}, "no device 4"},
    {"pipesp", {.dit_devices = 9, .vae_devices = 1}, "groups of 9"},
    {"pipesp", {.precision = SDT_PRECISION_BFLOAT16}, "bfloat16"},
};

static void deliver(void *arg, int request, enum sdt_status status, const struct sdt_error *err,
                    struct sdt_result *result) {
    (void)arg;
    (void)result;
    CHECK(false, "request %d was begun: %s, %s", request, sdt_status_name(status), err->message);
}

int main(void) {
    struct sdt_machine_options options = {.devices = DEVICES, .workers_per_device = 1};
    struct sdt_pipeline *pipeline = NULL;
    struct sdt_machine *machine = NULL;
    struct sdt_request request;
    struct sdt_error err;
    char path[4096];

    snprintf(path, sizeof path, "%s/checkpoints/stardit-demo", getenv("STARDIT_SOURCE_DIR"));
    if (sdt_pipeline_open(path, &pipeline, &err) != SDT_OK ||
        sdt_pipeline_defaults(pipeline, &request, &err) != SDT_OK ||
        sdt_machine_open(&options, &machine, &err) != SDT_OK) {
        printf("%s: FAIL\n", err.message);
        return 1;
    }
    request.prompt = "a red circle";
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct sdt_run_options run = {.placement = cases[i].placement, .deliver = deliver};
        struct sdt_error planned = {0}, ran = {0};
        struct sdt_plan plan;
        request.strategy = sdt_strategy_find(cases[i].strategy);
        enum sdt_status one =
            sdt_plan_make(pipeline, &request, &cases[i].placement, &options, &plan, &planned);
        enum sdt_status other = sdt_pipeline_run_all(pipeline, machine, &request, 1, &run, &ran);
        printf("%s\n", planned.message);
        CHECK(one == SDT_ERROR_USAGE && other == one && !strcmp(planned.message, ran.message),
              "case %zu: a plan says %s, '%s', a run %s, '%s'", i, sdt_status_name(one),
              planned.message, sdt_status_name(other), ran.message);
        CHECK(strstr(planned.message, cases[i].says), "case %zu does not say '%s'", i,
              cases[i].says);
    }
    sdt_machine_close(machine);
    sdt_pipeline_close(pipeline);
    printf("%s\n", failures ? "FAIL" : "ok");
    return failures ? 1 : 0;
}

/* A plan of the smallest request on a checkpoint that has opened. */
#include "tests/fuzz/plan.h"

#include "graph/pipeline.h"
#include "tests/checkpoint/files.h"
#include "tests/checkpoint/readers.h"

void fuzz_plan(struct sdt_pipeline *pipeline) {
    const struct sdt_placement placement = {.dit_devices = 0};
    const struct sdt_machine_options machine = {.devices = 1, .workers_per_device = 2};
    struct sdt_request request;
    struct sdt_plan plan = {0};
    struct sdt_error err = {0};

    if (sdt_pipeline_defaults(pipeline, &request, &err) != SDT_OK ||
        sdt_plan_make(pipeline, &request, &placement, &machine, &plan, &err) != SDT_OK)
        check_message(&err);
    else
        CHECK(plan.total_flops >= 0.0 && plan.tiles > 0, "a plan of %g FLOPs", plan.total_flops);
    sdt_plan_clear(&plan);
}

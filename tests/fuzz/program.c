/* What main() of stardit-generate does before it runs anything. */
#include "tests/fuzz/program.h"

#include <stdio.h>
#include <stdlib.h>

#include "apps/inputs.h"
#include "apps/settings.h"
#include "apps/state.h"
#include "tests/checkpoint/readers.h"

static struct sdt_pipeline *demo(void) {
    static struct sdt_pipeline *pipeline;
    const char *source = getenv("STARDIT_SOURCE_DIR");
    struct sdt_error err;
    char path[4096];

    snprintf(path, sizeof path, "%.3000s/checkpoints/stardit-demo", source ? source : ".");
    if (!pipeline && sdt_pipeline_open(path, &pipeline, &err) != SDT_OK)
        exit(99);
    return pipeline;
}

void fuzz_program(int argc, char **argv) {
    struct sdt_pipeline *pipeline = demo();
    struct app_settings s;
    struct app_inputs inputs = {0};
    struct app_recipe recipe = {0};
    struct sdt_solver_state state = {0};
    struct sdt_request request;
    struct sdt_placement placement;
    struct sdt_machine_options machine = {0};
    struct sdt_plan plan = {0};
    struct sdt_error err = {0};

    if (app_settings_parse(&s, argc, argv) >= 0) {
        sdt_safetensors_close(s.state);
        return;
    }
    enum sdt_status status = app_make_request(&s, pipeline, &request, &inputs, &err);
    if (status == SDT_OK)
        status = app_check_names(&s, inputs.count, &request, &err);
    if (status == SDT_OK)
        status = app_place(&s.place, pipeline, &request, inputs.count, false, &placement, &err);
    app_devices_options(&s.place.machine, &machine);
    if (status == SDT_OK)
        status = sdt_plan_make(pipeline, &request, &placement, &machine, &plan, &err);
    if (status == SDT_OK && request.steps > 0)
        status = app_recipe_make(&s, sdt_pipeline_sum(pipeline), &request, &placement, &plan,
                                 &recipe, &err);
    if (status == SDT_OK && s.state)
        status = app_state_check(s.state, &recipe, &err);
    if (status == SDT_OK && s.state)
        status = app_state_read(s.state, pipeline, &request, &state, &err);
    if (status != SDT_OK)
        check_message(&err);
    app_state_free(&state);
    app_recipe_clear(&recipe);
    sdt_plan_clear(&plan);
    app_inputs_clear(&inputs);
    sdt_safetensors_close(s.state);
}

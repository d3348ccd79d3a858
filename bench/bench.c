/* stardit-bench: measures kernels and runtime; each command prints what docs/numbers.md defines. */
#include <stdio.h>
#include <string.h>

#include "apps/options.h"
#include "bench/kernels.h"
#include "bench/policies.h"
#include "bench/predict.h"
#include "bench/quality.h"
#include "bench/runtime.h"
#include "bench/sched.h"

#include "config.h"

int main(int argc, char **argv) {
    const char *command = argc > 1 ? argv[1] : "";
    struct app_program program = {
        .name = "stardit-bench",
        .usage = "kernels|runtime|sched|policies|predict|quality [options] [NAME...]",
        .summary =
            "Measures this machine: 'kernels' prints rate and error of every kernel (or of "
            "those named), 'runtime' the gain from a second worker and device and the time of "
            "models of real size, 'sched' what a scheduling policy costs, 'policies' how far "
            "each is from the best, in simulated time, 'predict' how near plans are to runs, "
            "'quality' whether the "
            "demo's videos show what their captions say. 'stardit-bench COMMAND --help' lists a "
            "command's options.",
    };

    if (!strcmp(command, "runtime"))
        return app_bench_runtime(argc - 1, argv + 1);
    if (!strcmp(command, "sched"))
        return app_bench_sched(argc - 1, argv + 1);
    if (!strcmp(command, "policies"))
        return app_bench_policies(argc - 1, argv + 1);
    if (!strcmp(command, "predict"))
        return app_bench_predict(argc - 1, argv + 1);
    if (!strcmp(command, "quality"))
        return app_bench_quality(argc - 1, argv + 1);
    if (!strcmp(command, "kernels"))
        return app_bench_kernels(argc - 1, argv + 1);
    if (command[0] == '-') {
        int code = app_parse(&program, argc, argv);
        if (code >= 0)
            return code;
    }
    return app_usage(program.name, "a command is needed: %s", program.usage);
}

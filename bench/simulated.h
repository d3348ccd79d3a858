/* The stardit-simulate beside this program, and runs on this machine's own platform. */
#ifndef STARDIT_BENCH_SIMULATED_H
#define STARDIT_BENCH_SIMULATED_H

#include "apps/simulated.h"
#include "stardit/stardit.h"

/* app_simulation_start() of the stardit-simulate that lies beside this program. arguments: behind
 * its name, NULL at the end. SDT_ERROR_MISSING where there is no such program. */
enum sdt_status app_simulation_beside(const char *const *arguments, const char *errors,
                                      struct app_simulation_process *process,
                                      struct sdt_error *err);

/* ---- this machine ---------------------------------------------------------------------------- */

/* Seconds; of a step, a decode, a run without the loading of files, and of all threads in it; and,
 * simulated, how many tasks workers ran. */
struct app_times {
    double step, decode, run, cores, tasks;
};

struct app_simulated_case {
    const char *model;     /* a checkpoint's folder; NULL: these two configurations */
    const char *dit, *vae; /* JSON */
    const char *strategy;
    int devices, workers, chunk_heads, words; /* workers of each device, 0: all cores */
    const struct sdt_request *request;
};

/* Measures this machine's CPUs as stardit-info --platform does and runs the stardit-simulate that
 * lies beside this program. SDT_ERROR_MISSING where none does. */
enum sdt_status app_simulated(const struct app_simulated_case *what, struct app_times *simulated,
                              struct sdt_error *err);
#endif

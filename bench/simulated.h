/* Runs of stardit-simulate as processes of their own: StarPU over SimGrid cannot share one with
 * StarPU, and its state is a process's. */
#ifndef STARDIT_BENCH_SIMULATED_H
#define STARDIT_BENCH_SIMULATED_H

#include <sys/types.h>

#include "stardit/stardit.h"

/* ---- any run --------------------------------------------------------------------------------- */

struct app_simulation_process {
    pid_t child;
    int state; /* as waitpid() has it */
};
/* Starts the stardit-simulate that lies beside this program. What it prints goes nowhere, its
 * messages into the file `errors`. arguments: behind its name, NULL at the end; with --stats.
 * SDT_ERROR_MISSING where there is no such program. */
enum sdt_status app_simulation_start(const char *const *arguments, const char *errors,
                                     struct app_simulation_process *process, struct sdt_error *err);
void app_simulation_wait(struct app_simulation_process *process);

struct app_simulation_result {
    double total, ratio; /* seconds; over the larger lower bound */
};
/* Of one that was waited for. A failure is its own message. */
enum sdt_status app_simulation_result(const char *stats, const char *errors,
                                      const struct app_simulation_process *process,
                                      struct app_simulation_result *result, struct sdt_error *err);

/* ---- this machine ---------------------------------------------------------------------------- */

/* Seconds; of a step, a decode, a run without the loading of files, and of all threads in it. */
struct app_times {
    double step, decode, run, cores;
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

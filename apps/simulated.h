/* Runs of stardit-simulate as processes of their own: StarPU over SimGrid cannot share one with
 * StarPU, and its state is a process's. */
#ifndef STARDIT_APPS_SIMULATED_H
#define STARDIT_APPS_SIMULATED_H

#include <stdbool.h>
#include <sys/types.h>

#include <jansson.h>

#include "stardit/status.h"

struct app_simulation_process {
    pid_t child;
    int state; /* as waitpid() has it */
};
/* Starts it with argv, NULL at the end, which has --stats. What it prints goes nowhere, its
 * messages into the file `errors`. SDT_ERROR_IO. */
enum sdt_status app_simulation_start(const char *program, const char *const *argv,
                                     const char *errors, struct app_simulation_process *process,
                                     struct sdt_error *err);
void app_simulation_wait(struct app_simulation_process *process);
/* The statistics of one that was waited for, to be given back to jansson. NULL: it failed, and *err
 * has the first line of its messages. */
json_t *app_simulation_stats(const char *stats, const char *errors,
                             const struct app_simulation_process *process, struct sdt_error *err);
#endif

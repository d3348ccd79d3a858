/* Simulated time: the machine that a simulation program pretends to have.
 *
 * Part of the library's second build, against StarPU over SimGrid: same graphs, same policies, no
 * kernel is ever called; tasks last as long as their FLOPs and bytes say (runtime/task.h),
 * transfers as long as the platform's links say. A platform is a few numbers
 * (platforms/NAME/platform.txt); from them the files are written that StarPU and SimGrid read.
 *
 * These files must be there, and named in the environment, before libstarpu's own main runs: it
 * reads them first, and only then calls the program's. So a program is started twice. A
 * constructor, which comes before any main, calls sdt_simulation_launch(): the first process writes
 * the files, runs the program again with the environment set, and removes them when it has
 * ended. */
#ifndef STARDIT_SIMULATION_H
#define STARDIT_SIMULATION_H

#include <stdbool.h>

#include "runtime/machine.h"
#include "runtime/platform.h"
#include "stardit/status.h"

/* True in the process that simulates: the platform is in place. */
bool sdt_simulation_launched(void);
/* Runs this program again on the platform, with the same arguments, and returns its exit code; 1
 * with a message on stderr, the signal or what SimGrid said, if it neither came to
 * sdt_simulation_finish() nor failed by itself. (StarPU's exit code does not tell: a deadlock of
 * the simulation exits with 0.) SDT_ERROR_IO, SDT_ERROR_MEMORY before it could be run. */
enum sdt_status sdt_simulation_launch(const struct sdt_platform *platform, char **argv, int *code,
                                      struct sdt_error *err);
/* The platform's GPUs are what this process finds in place of real ones: plans, predictions and
 * machines are of them. In both processes, before any of these. */
void sdt_simulation_use(const struct sdt_platform *platform);
/* In the process that simulates: sets what its devices achieve, before the first task. From then on
 * a simulation in which nothing can go on ends the process, with exit code 1 and a line that names
 * the tasks that wait. */
void sdt_simulation_rates(struct sdt_machine *machine);
/* In the process that simulates, at the very end. */
void sdt_simulation_finish(void);
#endif

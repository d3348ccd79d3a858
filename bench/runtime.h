/* stardit-bench runtime: what the task runtime costs, apart from the arithmetic. */
#ifndef STARDIT_APPS_BENCH_RUNTIME_H
#define STARDIT_APPS_BENCH_RUNTIME_H

/* Tasks per second through each policy, and one device's speed with one and with two workers.
 * argv[0] is the command's name. Returns the exit code. */
int app_bench_runtime(int argc, char **argv);

#endif

/* stardit-bench sched: what a scheduling policy costs. */
#ifndef STARDIT_APPS_BENCH_SCHED_H
#define STARDIT_APPS_BENCH_SCHED_H

/* Empty tasks per second through our policy and StarPU's. argv[0] is the command's name. Returns
 * the exit code. */
int app_bench_sched(int argc, char **argv);

#endif

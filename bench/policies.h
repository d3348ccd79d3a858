/* `stardit-bench policies`: scheduling policies beside one another in simulated time. */
#ifndef STARDIT_BENCH_POLICIES_H
#define STARDIT_BENCH_POLICIES_H

/* argv[0] is "policies". The program's exit code. */
int app_bench_policies(int argc, char **argv);
#endif

/* stardit-bench kernels: rate and error of every kernel that takes time. */
#ifndef STARDIT_APPS_BENCH_KERNELS_H
#define STARDIT_APPS_BENCH_KERNELS_H

/* Runs the kernels at the sizes of Wan 2.1 1.3B (decoder: 96 and 384 channels) and prints one line
 * each; argv[0] is the command's name, further words are options and then kernel names to run (all
 * if none). With --device cuda: bench/cuda.h. Returns 0, 1 if an error was above its tolerance or
 * memory ran out, 2 for a wrong option or an unknown kernel. */
int app_bench_kernels(int argc, char **argv);

#endif

/* stardit-bench kernels --device cuda: rate and error of every CUDA kernel that takes time. */
#ifndef STARDIT_APPS_BENCH_CUDA_H
#define STARDIT_APPS_BENCH_CUDA_H

/* Runs the kernels in bfloat16 on GPU 0 at the sizes of Wan 2.1 and prints one line each; names:
 * those to run (all if none). Returns 0, 1 if an error was above its limit or there is no GPU, 2
 * for an unknown kernel. */
int app_bench_cuda(int names, char **name /* [names] */);

#endif

/* What one core can do at most, measured beside a kernel: its yardstick. */
#ifndef STARDIT_BENCH_PEAK_H
#define STARDIT_BENCH_PEAK_H

/* GFLOP/s of independent multiply-adds in registers, in the widest vectors that the kernels use on
 * this processor, over a slice of about 0.2 ms of the thread's CPU time. */
double bench_fma_peak(void);
/* The thread's CPU time in seconds: what a neighbour computes does not count. */
double bench_cpu_time(void);

#endif

/* How long the tasks of a GPU's worker have kept it busy, by events that each leaves on the
 * worker's stream: what the GPU saw. StarPU's own times are the host's: a task begins there when
 * the host has noticed the end of the one before, so that a late notice, or a gap between two
 * launches, counts as work. Events take the worker about a microsecond each: for benchmarks
 * alone. */
#ifndef STARDIT_BUSY_H
#define STARDIT_BUSY_H

#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#ifdef HAVE_CUDA
#include <cuda_runtime.h>
#include <stdbool.h>

struct sdt__busy;

/* On the stream's device. NULL: no events, or no memory. */
struct sdt__busy *sdt__busy_new(cudaStream_t stream);
void sdt__busy_free(struct sdt__busy *busy); /* NULL is fine */
/* Around what a task queues. A second begin before an end, and an end without a begin, are
 * nothing. */
void sdt__busy_begin(struct sdt__busy *busy);
void sdt__busy_end(struct sdt__busy *busy);
/* Seconds between begins and ends so far; waits for the last. NaN: an event failed. */
double sdt__busy_seconds(struct sdt__busy *busy);
#endif
#endif

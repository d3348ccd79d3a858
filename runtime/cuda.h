/* What a CUDA wrapper needs beside task.h. Included by codelet files.
 *
 * A CUDA wrapper unpacks its buffers and queues one kernel (kernels/cuda/kernels.h) on its worker's
 * stream; it never allocates or waits. StarPU ends the task when the stream has come so far.
 *
 *     #ifdef HAVE_CUDA
 *     static void silu_cuda(void *buffers[], void *cl_arg) {
 *         const struct silu *a = sdt__task_args(cl_arg);
 *         if (!a)
 *             return;
 *         sdt__cuda_done(cl_arg, sdt_cuda_silu(sdt__cuda(), sdt__dtype(buffers, a->x), a->n,
 *                                              sdt__pointer(buffers, a->x),
 *                                              sdt__pointer(buffers, a->y)));
 *     }
 *     #endif
 *
 * and the codelet says SDT_ON_BOTH(silu_cpu, silu_cuda). Vectors of activations and weights may be
 * SDT_F32 or SDT_BF16 there; CPU wrappers know float32 only. */
#ifndef STARDIT_CODELETS_CUDA_H
#define STARDIT_CODELETS_CUDA_H

#include "kernels/cuda/kernels.h"
#include "runtime/task.h" /* and with it starpu.h, which says whether this is simulated time */
#include "stardit/stardit.h"

#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#ifdef STARPU_SIMGRID
#undef HAVE_CUDA /* simulated GPUs run no kernels */
#endif

/* Makes the context of each CUDA worker, and frees them: between starpu_init and starpu_shutdown,
 * while no task runs. Nothing to do where there is no GPU. SDT_ERROR_DEVICE with the worker's name
 * and what failed; then there are none. */
enum sdt_status sdt__cuda_workers_open(struct sdt_error *err);
void sdt__cuda_workers_close(void);

/* What the workers use of cuDNN; left alone where there is no GPU. When no task runs. */
void sdt__cuda_use(struct sdt_cudnn_use *use);

/* Busy seconds of all GPU workers between these two, in sum, by events on their streams
 * (runtime/busy.h). NaN: events failed. When no task runs, and for benchmarks alone: events
 * cost. */
void sdt__cuda_busy_start(void);
double sdt__cuda_busy_end(void);

/* Tasks to come at `place` will want cuDNN's plan for this shape: made meanwhile, in a thread of
 * its own. Nothing on CPUs, without cuDNN and in simulated time. While the contexts exist. */
void sdt__cuda_plan_ahead(const struct sdt_place *place, const struct sdt_cuda_shape *shape);

/* Bytes of scratch that a task needs on a kind of device. */
#define SDT_SCRATCH(kind, cpu_floats, cuda_bytes)                                                  \
    ((kind) == SDT_DEVICE_CUDA ? (cuda_bytes) : sizeof(float) * (cpu_floats))

/* Which wrapper runs where. The second is not looked at without CUDA and need not exist. In
 * simulated time no wrapper is called: StarPU asks only whether there is one for GPUs. It is
 * asynchronous there as everywhere, or the worker would serve no transfer while a task runs. */
#if defined STARPU_SIMGRID
#define SDT_ON_BOTH(cpu, cuda)                                                                     \
    .cpu_funcs = {cpu}, .cuda_funcs = {cpu}, .cuda_flags = {STARPU_CUDA_ASYNC}
#elif defined HAVE_CUDA
#define SDT_ON_BOTH(cpu, cuda)                                                                     \
    .cpu_funcs = {cpu}, .cuda_funcs = {cuda}, .cuda_flags = {STARPU_CUDA_ASYNC}

/* In a wrapper: the calling worker's context. */
struct sdt_cuda *sdt__cuda(void);
/* The end of a wrapper: what its kernel returned; a failure ends the run. */
void sdt__cuda_done(void *cl_arg, enum sdt_status status);
/* After it: queues a look at what was written, x [n] on the device. A number that is none ends the
 * run when the task has ended. */
void sdt__cuda_check_finite(void *cl_arg, enum sdt_dtype dtype, size_t n, const void *x);
#else
#define SDT_ON_BOTH(cpu, cuda) SDT_ON_CPU(cpu)
#endif
#endif

/* How a task is born: what every codelet file needs, and nothing of any operation.
 *
 * A codelet file always has the same four parts, in this order:
 *   1. the argument struct, filled at insertion and read by the wrappers;
 *   2. the CPU wrapper, which only unpacks buffers and calls one kernel;
 *   3. the CUDA wrapper, which queues one kernel on the worker's stream (runtime/cuda.h);
 *   4. the codelet and its insert function, with the cost (FLOPs, bytes) of the task.
 *
 * The insert functions return nothing: a `struct sdt_flow` remembers the first failure, and
 * insertions after it do nothing. So a model or a strategy reads like the algorithm it implements.
 * Whoever started the flow looks at `flow->error` when it waits. */
#ifndef STARDIT_TASK_H
#define STARDIT_TASK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <starpu.h>

#include "runtime/cost.h"
#include "runtime/halt.h"
#include "runtime/handles.h"
#include "runtime/lane.h"
#include "schedulers/tag.h"
#include "stardit/device.h"
#include "stardit/kernels.h"
#include "stardit/status.h"

struct sdt_recorder;

/* Where tasks may run: one device of the machine, all its workers. Owned by the machine. */
struct sdt_place {
    int device; /* index in the machine; -1: the host */
    enum sdt_device_kind kind;
    unsigned node; /* StarPU memory node */
    double speed;  /* FLOP/s; only how it compares with others' means something */
    int workers, first_worker;
    unsigned mask_length;
    uint32_t mask[(STARPU_NMAXWORKERS + 31) / 32]; /* StarPU worker mask */
    /* The ranks that have it, as bits. Several: each has one of its own, a task runs at each, and
     * what it writes is each one's own. */
    uint64_t ranks;
    bool here; /* this rank is among them; else it has no workers to name and no node */
};

/* The context of insertion: everything that an algorithm would otherwise pass to each insert call.
 * One thread inserts into a flow. */
struct sdt_flow {
    struct sdt_error error;        /* the first failure, SDT_OK so far */
    const struct sdt_place *place; /* where the next tasks run */
    const struct sdt_place *host;  /* where input and output happen: of several ranks, rank 0's */
    const struct sdt_place *each;  /* this rank's host, and every other's */
    struct sdt_crossing *crossing; /* between ranks; NULL: there is one */
    struct sdt_tag tag; /* request, stream, step, layer, chunk, tile, role of the next tasks */
    int priority; /* of the next tasks: SDT_PRIORITY_MIN..SDT_PRIORITY_MAX, or sdt_turn_priority */
    struct sdt_recorder *recorder; /* statistics, trace, graph; NULL: none */
    const struct sdt_costs *costs; /* what its tasks are taken to last */
    struct sdt_handles *handles;   /* that count what is born in it; NULL: none */
    struct sdt_halt *halt;         /* why its tasks may have nothing to do any more */
    struct sdt_scratch *scratch;   /* work space handles by size, shared by all tasks */
    bool free_mapping;             /* tasks get no worker mask: any worker may run them */
    struct sdt_lane *lane;         /* bounds the pending tasks; insertion blocks when it is full */
};

enum { SDT_PRIORITY_MIN = -15, SDT_PRIORITY_MAX = 16 };
/* Of forwards that follow one another through devices, the n-th: of two that are ready on one, the
 * older passes it whole. In turns, both would come to the next device late. A number that comes
 * again must not while the older one is on its way, so there are many of them. */
static inline int sdt_turn_priority(unsigned long n) {
    return SDT_PRIORITY_MIN - (int)(n % (1ul << 30));
}

/* A task under construction. */
struct sdt_task {
    struct sdt_flow *flow;
    int count, capacity;
    bool failed; /* out of memory: submission reports it */
    starpu_data_handle_t *handle;
    enum starpu_data_access_mode *mode;
    starpu_data_handle_t handle_few[STARPU_NMAXBUFS];
    enum starpu_data_access_mode mode_few[STARPU_NMAXBUFS];
    void (*done)(void *arg, int index); /* or NULL: see sdt__task_done */
    void *done_arg;
    int done_index;
};

void sdt__task_begin(struct sdt_task *task, struct sdt_flow *flow);
/* Adds an access and returns its buffer index; -1 for a NULL handle (an absent optional input). */
int sdt__task_access(struct sdt_task *task, starpu_data_handle_t handle,
                     enum starpu_data_access_mode mode);
static inline int sdt__task_read(struct sdt_task *task, starpu_data_handle_t handle) {
    return sdt__task_access(task, handle, STARPU_R);
}
static inline int sdt__task_write(struct sdt_task *task, starpu_data_handle_t handle) {
    return sdt__task_access(task, handle, STARPU_W);
}
static inline int sdt__task_update(struct sdt_task *task, starpu_data_handle_t handle) {
    return sdt__task_access(task, handle, STARPU_RW);
}
/* Work space of at least `bytes` bytes, private to the task while it runs; sdt__task_work gives a
 * task a second one. How much is needed may depend on the kind of device: runtime/cuda.h. */
int sdt__task_scratch(struct sdt_task *task, size_t bytes);
int sdt__task_work(struct sdt_task *task, size_t bytes);
/* Bytes that are kept on a worker for work space of so many: a power of two, the same for all tasks
 * that ask for about as much, so that sizes or'ed together are what a worker keeps in all. */
uint64_t sdt__scratch_size(size_t bytes);
/* done(arg, index) is called on the worker's thread when the task has ended, on any kind of device,
 * unless it did nothing because the run was stopped, or failed. */
void sdt__task_done(struct sdt_task *task, void (*done)(void *arg, int index), void *arg,
                    int index);

/* Submits the task and frees what `task` holds. `name` is static text; args is copied. flops and
 * bytes are the task's cost. Tag, place and priority come from the flow. */
void sdt__task_submit(struct sdt_task *task, struct starpu_codelet *codelet, const char *name,
                      double flops, double bytes, const void *args, size_t size);

/* In a wrapper: the argument struct, or NULL when the run was stopped and the task must do
 * nothing. */
const void *sdt__task_args(void *cl_arg);
/* The same also when the run was stopped: for what other devices wait for. */
const void *sdt__task_args_always(const void *cl_arg);
/* In a wrapper that cannot do its work: stops the run, which ends with the first such message, the
 * task's name and device before it. */
void sdt__task_fail(void *cl_arg, enum sdt_status status, const char *message);
/* The same when what the task wrote holds a number that is NaN or infinite
 * (SDT_ERROR_NOT_FINITE). */
void sdt__task_not_finite(void *cl_arg);
/* In a wrapper whose work is still queued: looks, when the task has ended, whether *found was set;
 * then it is that failure. *found stays valid as long as the worker. */
void sdt__task_found(void *cl_arg, volatile int *found);

/* Buffer `index`; NULL for index -1. */
static inline void *sdt__pointer(void *const *buffers, int index) {
    return index < 0 ? NULL : (void *)STARPU_VECTOR_GET_PTR(buffers[index]);
}

/* The same as floats: what CPU wrappers work on, and what is float32 always. */
static inline float *sdt__floats(void *const *buffers, int index) {
    return (float *)sdt__pointer(buffers, index);
}

/* The element type of a vector is the size of its elements. Packed weights have elements of their
 * own (SDT_PACKED_ELEMENT), which only CPUs read. */
static inline enum sdt_dtype sdt__dtype_of_size(size_t size) {
    return size == 2 ? SDT_BF16 : SDT_F32;
}
/* Of buffer `index`, in a wrapper; and bytes of an element, at insertion (for costs). */
static inline enum sdt_dtype sdt__dtype(void *const *buffers, int index) {
    return index < 0 ? SDT_F32 : sdt__dtype_of_size(STARPU_VECTOR_GET_ELEMSIZE(buffers[index]));
}
static inline enum sdt_dtype sdt__handle_dtype(starpu_data_handle_t handle) {
    return handle ? sdt__dtype_of_size(starpu_vector_get_elemsize(handle)) : SDT_F32;
}
static inline double sdt__element(starpu_data_handle_t handle) {
    return (double)sdt_dtype_size(sdt__handle_dtype(handle));
}

/* Buffer `index` as a matrix of weights, for CPU wrappers. */
static inline struct sdt_weight sdt__weight(void *const *buffers, int index) {
    size_t element = STARPU_VECTOR_GET_ELEMSIZE(buffers[index]);
    struct sdt_weight weight = {sdt__pointer(buffers, index), sdt__dtype_of_size(element),
                                element == SDT_PACKED_ELEMENT};
    return weight;
}

/* Row `row` of buffer `index` seen as [.., width]; NULL for index -1. */
static inline float *sdt__row(void *const *buffers, int index, int row, int width) {
    float *base = sdt__floats(buffers, index);
    return base ? base + (size_t)row * (size_t)width : NULL;
}

/* The performance models of codelets, by class: the cost in the tag over the worker's rates. */
extern struct starpu_perfmodel sdt__cost_models[SDT_CLASSES];
#define sdt__cost_model sdt__cost_models[SDT_CLASS_OTHER]

/* In a codelet, for an operation that only CPUs have; SDT_ON_BOTH is in runtime/cuda.h. */
#ifdef STARPU_SIMGRID
/* A simulated CPU device beside the host has a simulated GPU's memory and worker; places say which
 * tasks go there. */
#define SDT_ON_CPU(wrapper)                                                                        \
    .cpu_funcs = {wrapper}, .cuda_funcs = {wrapper}, .cuda_flags = {STARPU_CUDA_ASYNC}
#else
#define SDT_ON_CPU(wrapper) .cpu_funcs = {wrapper}
#endif

/* What schedulers are told, and what tasks take in simulated time: at least 1 ns. Of one
 * machine. */
struct sdt_costs {
    struct sdt_rates base[SDT_DEVICE_KINDS]; /* a worker of the kind's first device, any class */
    double factor[STARPU_NMAXWORKERS];       /* how fast a worker is beside that one */
    struct sdt_rates rate[STARPU_NMAXWORKERS][SDT_CLASSES];
    double launch_us[STARPU_NMAXWORKERS];
    bool host_is_device; /* CPU workers are devices: they compute beside what the host does */
};
/* A CPU worker, where nobody says otherwise: FLOP/s and bytes per us. */
#define SDT_CPU_FLOPS 25e9
#define SDT_CPU_BYTES_PER_US 5000.0

/* Work space handles, one per power of two, registered on first use. */
struct sdt_scratch {
    starpu_data_handle_t handle[2][48];
};
void sdt__scratch_clear(struct sdt_scratch *scratch);

/* Waits until all tasks of the flow's lane have ended; returns the flow's error, that of a task
 * that failed, INTERRUPTED when its halt was set, or STALLED with the names of tasks that wait.
 * After STALLED, StarPU cannot be used or stopped any more. */
enum sdt_status sdt__flow_wait(struct sdt_flow *flow, struct sdt_error *err);
/* A point in the flow's lane: between the tasks inserted so far and those that follow. */
unsigned long sdt__flow_mark(const struct sdt_flow *flow);
/* Waits until all tasks before the mark have ended. False when that was given up: the flow's error
 * is STALLED then. */
bool sdt__flow_reach(struct sdt_flow *flow, unsigned long mark);
/* The vector is there and has `count` elements: SDT_ERROR_USAGE. */
enum sdt_status sdt__vector_check(starpu_data_handle_t vector, size_t count, struct sdt_error *err);
#endif

/* Birth and end of every task: access list, tag, worker mask, cost, submission, bookkeeping. */
#include "runtime/task.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/devices.h"
#include "runtime/recorder.h"

/* What task->cl_arg points to: the tag first, because schedulers look there, then what the end of
 * the task needs, then the operation's own arguments. */
struct sdt__block {
    struct sdt_tag tag;
    const struct sdt_costs *costs;
    struct sdt_recorder *recorder;
    struct sdt_halt *halt;
    struct sdt_lane *lane;
    void (*done)(void *arg, int index); /* at its end; or NULL */
    void *done_arg;
    int done_index;
    bool idle;                   /* the wrapper did not do its work */
    volatile int *found;         /* set by a device when a number is none; or NULL */
    struct sdt_pending *pending; /* in the lane */
    max_align_t args[];
};

static double cost_us(struct starpu_task *task, unsigned worker, unsigned implementation) {
    (void)implementation;
    const struct sdt__block *block = (const struct sdt__block *)sdt_task_tag(task);
    double us = 0.0;
    if (block && block->costs) {
        const struct sdt_costs *costs = block->costs;
        ptrdiff_t class = task->cl->model - sdt__cost_models;
        if (class == SDT_CLASS_GIVEN)
            return block->tag.flops < 0.001 ? 0.001 : block->tag.flops;
        us = sdt__roofline_us(&costs->rate[worker][class], costs->launch_us[worker],
                              block->tag.flops, block->tag.bytes);
    }
    return us < 0.001 ? 0.001 : us; /* StarPU takes 0 for "unknown" */
}

#define MODEL(word)                                                                                \
    { .type = STARPU_PER_WORKER, .worker_cost_function = cost_us, .symbol = "stardit-" word }
struct starpu_perfmodel sdt__cost_models[SDT_CLASSES] = {
    [SDT_CLASS_OTHER] = MODEL("other"),
    [SDT_CLASS_LOAD] = MODEL("load"),
    [SDT_CLASS_LINEAR] = MODEL("linear"),
    [SDT_CLASS_ATTENTION] = MODEL("attention"),
    [SDT_CLASS_CROSS_ATTENTION] = MODEL("cross-attention"),
    [SDT_CLASS_CONV] = MODEL("conv"),
    [SDT_CLASS_NARROW_CONV] = MODEL("narrow-conv"),
    [SDT_CLASS_GIVEN] = MODEL("given"),
};

void sdt__task_begin(struct sdt_task *task, struct sdt_flow *flow) {
    task->flow = flow;
    task->count = 0;
    task->capacity = STARPU_NMAXBUFS;
    task->failed = false;
    task->handle = task->handle_few;
    task->mode = task->mode_few;
    task->done = NULL;
}

static void forget(struct sdt_task *task) {
    if (task->handle != task->handle_few) {
        free(task->handle);
        free(task->mode);
    }
    task->handle = task->handle_few;
    task->mode = task->mode_few;
}

/* Moves the access list to the heap and doubles it; exchanges read hundreds of pieces. */
static bool grow(struct sdt_task *task) {
    int capacity = 2 * task->capacity;
    bool few = task->handle == task->handle_few;
    starpu_data_handle_t *handle = malloc((size_t)capacity * sizeof *handle);
    enum starpu_data_access_mode *mode = malloc((size_t)capacity * sizeof *mode);
    if (!handle || !mode) {
        free(handle);
        free(mode);
        return false;
    }
    memcpy(handle, task->handle, (size_t)task->count * sizeof *handle);
    memcpy(mode, task->mode, (size_t)task->count * sizeof *mode);
    if (!few) {
        free(task->handle);
        free(task->mode);
    }
    task->handle = handle;
    task->mode = mode;
    task->capacity = capacity;
    return true;
}

int sdt__task_access(struct sdt_task *task, starpu_data_handle_t handle,
                     enum starpu_data_access_mode mode) {
    if (!handle)
        return -1;
    /* One handle read twice (a table's shift and scale rows) is one access. */
    for (int i = 0; mode == STARPU_R && i < task->count && i < 16; i++)
        if (task->handle[i] == handle && task->mode[i] == STARPU_R)
            return i;
    if (task->count == task->capacity && !grow(task)) {
        task->failed = true;
        return -1;
    }
    task->handle[task->count] = handle;
    task->mode[task->count] = mode;
    return task->count++;
}

/* The power of two of floats that is kept for so many bytes: 4 kB and up. */
static int scratch_power(size_t bytes) {
    size_t floats = bytes / sizeof(float) + (bytes % sizeof(float) > 0);
    size_t most = (size_t)UINT32_MAX; /* of a vector */
    int size = 10;
    while (((size_t)1 << size) < (floats < most ? floats : most))
        size++;
    return size;
}

uint64_t sdt__scratch_size(size_t bytes) {
    return bytes ? sizeof(float) * (UINT64_C(1) << scratch_power(bytes)) : 0;
}

static int scratch_access(struct sdt_task *task, int which, size_t bytes) {
    struct sdt_flow *flow = task->flow;
    int size = scratch_power(bytes);
    starpu_data_handle_t *handle = &flow->scratch->handle[which][size];
    if (!*handle) {
        *handle = sdt__scratch_vector(flow, (size_t)1 << size);
        if (!*handle) {
            task->failed = true;
            return -1;
        }
    }
    return sdt__task_access(task, *handle, STARPU_SCRATCH);
}

int sdt__task_scratch(struct sdt_task *task, size_t bytes) {
    return scratch_access(task, 0, bytes);
}

int sdt__task_work(struct sdt_task *task, size_t bytes) { return scratch_access(task, 1, bytes); }

void sdt__task_done(struct sdt_task *task, void (*done)(void *arg, int index), void *arg,
                    int index) {
    task->done = done;
    task->done_arg = arg;
    task->done_index = index;
}

void sdt__scratch_clear(struct sdt_scratch *scratch) {
    starpu_data_handle_t *handle = scratch->handle[0];
    for (size_t i = 0; i < sizeof scratch->handle / sizeof *handle; i++)
        if (handle[i]) {
            sdt__unregister(handle[i]);
            handle[i] = NULL;
        }
}

/* ---- for ThreadSanitizer --------------------------------------------------------------------- */

/* StarPU is not built with it, so what locks of StarPU's own making order is told here: inserting a
 * task comes before all that is done for it, and its end before what waits for it. That is a little
 * too much: whatever ended before something else began counts as ordered. */
#ifdef __SANITIZE_THREAD__
#include <sanitizer/tsan_interface.h>

static char order;

static void acquire_order(void *arg) {
    (void)arg;
    __tsan_acquire(&order);
}

static void release_order(void *arg) {
    (void)arg;
    __tsan_release(&order);
}

static void tell_order(struct starpu_task *task) {
    task->prologue_callback_func = task->prologue_callback_pop_func = acquire_order;
    task->epilogue_callback_func = release_order;
    __tsan_release(&order);
}
#else
static void tell_order(struct starpu_task *task) { (void)task; }
#endif

/* ---- submission ------------------------------------------------------------------------------ */

/* Devices' time is counted in shares of their speed: a time that all devices work at is then no
 * shorter than the sum of what each task takes where it takes the smallest share. CPUs beside
 * GPUs are the host, and none of them unless they are a device too. */
static struct sdt_least least_of(struct starpu_task *task, const struct sdt_flow *flow) {
    struct sdt_least least = {INFINITY, 0.0};
    const struct sdt_costs *costs = flow->costs;
    const struct sdt_place *place = flow->place;
    int workers = (int)starpu_worker_get_count();
    bool apart = !costs->host_is_device;
    double speeds = 0.0, share = INFINITY;
    for (int w = 0; w < workers; w++) {
        bool device = !apart || starpu_worker_get_type(w) == STARPU_CUDA_WORKER;
        double us =
            device || place->kind == SDT_DEVICE_CPU ? cost_us(task, (unsigned)w, 0) : INFINITY;
        double speed = costs->rate[w][SDT_CLASS_LINEAR].flops_per_us;
        bool may = place->mask[w / 32] >> (w % 32) & 1;
        least.us = may && us < least.us ? us : least.us;
        speeds += device ? speed : 0.0;
        share = device && us * speed < share ? us * speed : share;
    }
    if ((place->device >= 0 || !apart) && speeds > 0.0)
        least.work_us = share / speeds;
    return least;
}

static void finished(void *arg) {
    struct sdt__block *block = arg;
    if (block->found && *block->found) {
        *block->found = 0;
        sdt__task_not_finite(block);
    }
    if (block->recorder)
        sdt__recorder_finished(block->recorder, starpu_task_get_current(), &block->tag);
    if (block->done && !block->idle)
        block->done(block->done_arg, block->done_index);
    const struct sdt_progress_watch *watch = block->lane->watch;
    if (watch->task_ended)
        watch->task_ended(watch->task_ended_arg);
    sdt__lane_leave(block->lane, block->pending);
}

/* Of several ranks: does it run at this one? What it reads is on its way then. */
static bool runs_here(struct sdt_task *task) {
    struct sdt_flow *flow = task->flow;
    if (!flow->crossing)
        return true;
    if (!sdt__owners_bring(flow->crossing, task)) {
        if (task->done) /* as far as this rank knows */
            task->done(task->done_arg, task->done_index);
        return false;
    }
    for (int i = 0; i < task->count; i++)
        if (task->mode[i] & STARPU_R)
            sdt__fill_now(flow, task->handle[i]);
    return flow->error.status == SDT_OK && sdt__lane_make_room(flow->lane, &flow->error);
}

void sdt__task_submit(struct sdt_task *task, struct starpu_codelet *codelet, const char *name,
                      double flops, double bytes, const void *args, size_t size) {
    struct sdt_flow *flow = task->flow;
    struct starpu_task *st = NULL;
    struct sdt__block *block = NULL;

    if (flow->error.status != SDT_OK || sdt__halt_status(flow->halt, &flow->error) != SDT_OK ||
        !sdt__lane_make_room(flow->lane, &flow->error) || !runs_here(task))
        goto out;
    block = malloc(sizeof *block + size);
    st = block && !task->failed ? starpu_task_create() : NULL;
    if (!st) {
        sdt_fail(&flow->error, SDT_ERROR_MEMORY, "out of memory while inserting task %s", name);
        free(block);
        goto out;
    }
    block->tag = flow->tag;
    block->tag.mark = SDT_TAG_MARK;
    block->tag.name = name;
    block->tag.device = flow->place->device;
    block->tag.worker = flow->place->first_worker;
    block->tag.flops = flops;
    block->tag.bytes = bytes;
    block->costs = flow->costs;
    block->recorder = flow->recorder;
    block->halt = flow->halt;
    block->lane = flow->lane;
    block->done = task->done;
    block->done_arg = task->done_arg;
    block->done_index = task->done_index;
    block->idle = false;
    block->found = NULL;
    if (size > 0) /* args may be NULL */
        memcpy(block->args, args, size);

    st->cl = codelet;
    st->name = name;
    st->cl_arg = block;
    st->cl_arg_size = sizeof *block + size;
    st->cl_arg_free = 1;
    st->sched_data = block;
    st->priority = flow->priority;
    if (!flow->free_mapping) {
        st->workerids = (uint32_t *)flow->place->mask;
        st->workerids_len = flow->place->mask_length;
    }
    st->callback_func = finished;
    st->callback_arg = block;
    st->nbuffers = task->count;
    if (task->count > STARPU_NMAXBUFS) {
        st->dyn_handles = task->handle; /* StarPU frees both with the task */
        st->dyn_modes = task->mode;
        task->handle = task->handle_few;
        task->mode = task->mode_few;
    } else {
        memcpy(st->handles, task->handle, (size_t)task->count * sizeof *task->handle);
        memcpy(st->modes, task->mode, (size_t)task->count * sizeof *task->mode);
    }

    if (flow->recorder) {
        struct sdt_least least = {0.0, 0.0};
        if (sdt__recorder_keeps_bounds(flow->recorder))
            least = least_of(st, flow);
        sdt__recorder_inserted(flow->recorder, st, &block->tag, &least);
    }
    block->pending = sdt__lane_enter(flow->lane, &block->tag);
    tell_order(st);
    int result = starpu_task_submit(st);
    if (result) {
        char device[SDT_DEVICE_NAME];
        sdt__lane_leave(flow->lane, block->pending);
        st->destroy = 0;
        starpu_task_destroy(st);
        sdt_fail(&flow->error, SDT_ERROR_DEVICE, "no worker of %s can run task %s",
                 sdt__device_title(flow->place->device, device), name);
    }
out:
    forget(task);
}

const void *sdt__task_args(void *cl_arg) {
    struct sdt__block *block = cl_arg;
    block->idle = sdt__halted(block->halt);
    return block->idle ? NULL : block->args;
}

const void *sdt__task_args_always(const void *cl_arg) {
    const struct sdt__block *block = cl_arg;
    return block->args;
}

void sdt__task_fail(void *cl_arg, enum sdt_status status, const char *message) {
    struct sdt__block *block = cl_arg;
    struct sdt_error error;
    char device[SDT_DEVICE_NAME];
    block->idle = true;
    sdt_fail(&error, status, "task %s on %s: %s", block->tag.name,
             sdt__device_title(block->tag.device, device), message);
    sdt__halt_fail(block->halt, &error);
}

void sdt__task_not_finite(void *cl_arg) {
    struct sdt__block *block = cl_arg;
    const struct sdt_tag *tag = &block->tag;
    char where[80];
    if (tag->step >= 0)
        snprintf(where, sizeof where, "step %d made numbers that are NaN or infinite",
                 tag->step + 1);
    else
        snprintf(where, sizeof where, "the result is NaN or infinite");
    sdt__task_fail(cl_arg, SDT_ERROR_NOT_FINITE, where);
}

void sdt__task_found(void *cl_arg, volatile int *found) {
    struct sdt__block *block = cl_arg;
    block->found = found;
}

enum sdt_status sdt__flow_wait(struct sdt_flow *flow, struct sdt_error *err) {
    if (flow->error.status != SDT_ERROR_STALLED)
        sdt__lane_drain(flow->lane, &flow->error);
    if (flow->error.status == SDT_OK || flow->error.status == SDT_ERROR_INTERRUPTED)
        sdt__halt_status(flow->halt, &flow->error);
    if (flow->error.status != SDT_OK && err)
        *err = flow->error;
    return flow->error.status;
}

unsigned long sdt__flow_mark(const struct sdt_flow *flow) { return flow->lane->entered; }

bool sdt__flow_reach(struct sdt_flow *flow, unsigned long mark) {
    return mark == 0 || (flow->error.status != SDT_ERROR_STALLED &&
                         sdt__lane_reach(flow->lane, mark, &flow->error));
}

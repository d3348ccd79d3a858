/* Birth and end of every task: access list, tag, worker mask, cost, submission, bookkeeping. */
#include "codelets/task.h"

#include <stdlib.h>
#include <string.h>

#include "codelets/recorder.h"

/* What task->cl_arg points to: the tag first, because schedulers look there, then what the end of
 * the task needs, then the operation's own arguments. */
struct block {
    struct sdt_tag tag;
    struct sdt_recorder *recorder;
    const atomic_bool *stop;
    max_align_t args[];
};

static double cost_us(struct starpu_task *task, unsigned worker, unsigned implementation)
{
    (void)worker;
    (void)implementation;
    const struct sdt_tag *tag = sdt_task_tag(task);
    double us = 0.0;
    if (tag)
        us = tag->flops / SDT_CPU_FLOPS_PER_US + tag->bytes / SDT_CPU_BYTES_PER_US;
    return us < 0.001 ? 0.001 : us; /* StarPU takes 0 for "unknown" */
}

struct starpu_perfmodel sdt__cost_model = {
    .type = STARPU_PER_WORKER,
    .worker_cost_function = cost_us,
    .symbol = "stardit",
};

void sdt__task_begin(struct sdt_task *task, struct sdt_flow *flow)
{
    task->flow = flow;
    task->count = 0;
    task->capacity = STARPU_NMAXBUFS;
    task->failed = false;
    task->handle = task->handle_few;
    task->mode = task->mode_few;
}

static void forget(struct sdt_task *task)
{
    if (task->handle != task->handle_few) {
        free(task->handle);
        free(task->mode);
    }
    task->handle = task->handle_few;
    task->mode = task->mode_few;
}

/* Moves the access list to the heap and doubles it; exchanges read hundreds of pieces. */
static bool grow(struct sdt_task *task)
{
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
                     enum starpu_data_access_mode mode)
{
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

int sdt__task_scratch(struct sdt_task *task, size_t floats)
{
    struct sdt_flow *flow = task->flow;
    int size = 10; /* 4 kB and up */
    while (((size_t)1 << size) < floats)
        size++;
    starpu_data_handle_t *handle = &flow->scratch->handle[size];
    if (!*handle) {
        *handle = sdt__vector(flow, (size_t)1 << size, "scratch");
        if (!*handle) {
            task->failed = true;
            return -1;
        }
    }
    return sdt__task_access(task, *handle, STARPU_SCRATCH);
}

void sdt__scratch_clear(struct sdt_scratch *scratch)
{
    for (size_t i = 0; i < sizeof scratch->handle / sizeof scratch->handle[0]; i++)
        if (scratch->handle[i]) {
            starpu_data_unregister(scratch->handle[i]);
            scratch->handle[i] = NULL;
        }
}

starpu_data_handle_t sdt__vector(struct sdt_flow *flow, size_t floats, const char *name)
{
    starpu_data_handle_t handle = NULL;
    if (flow->error.status != SDT_OK)
        return NULL;
    if (floats == 0 || floats > UINT32_MAX) {
        sdt_fail(&flow->error, SDT_ERROR_LIMIT,
                 "%s would hold %zu floats; a StarPU vector holds 1 to 4294967295", name, floats);
        return NULL;
    }
    starpu_vector_data_register(&handle, -1, 0, (uint32_t)floats, sizeof(float));
    starpu_data_set_name(handle, name);
    return handle;
}

static void finished(void *arg)
{
    const struct block *block = arg;
    if (block->recorder)
        sdt__recorder_finished(block->recorder, starpu_task_get_current(), &block->tag);
}

void sdt__task_submit(struct sdt_task *task, struct starpu_codelet *codelet, const char *name,
                      double flops, double bytes, const void *args, size_t size)
{
    struct sdt_flow *flow = task->flow;
    struct starpu_task *st = NULL;
    struct block *block = NULL;

    if (flow->error.status != SDT_OK)
        goto out;
    if (flow->stop && atomic_load_explicit(flow->stop, memory_order_relaxed)) {
        sdt_fail(&flow->error, SDT_ERROR_INTERRUPTED, "stopped on request");
        goto out;
    }
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
    block->tag.flops = flops;
    block->tag.bytes = bytes;
    block->recorder = flow->recorder;
    block->stop = flow->stop;
    memcpy(block->args, args, size);

    st->cl = codelet;
    st->name = name;
    st->cl_arg = block;
    st->cl_arg_size = sizeof *block + size;
    st->cl_arg_free = 1;
    st->sched_data = block;
    st->priority = flow->priority;
    st->workerids = (uint32_t *)flow->place->mask;
    st->workerids_len = flow->place->mask_length;
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

    if (flow->recorder)
        sdt__recorder_inserted(flow->recorder, st, &block->tag);
    int result = starpu_task_submit(st);
    if (result) {
        st->destroy = 0;
        starpu_task_destroy(st);
        sdt_fail(&flow->error, SDT_ERROR_DEVICE, "no worker of device %d can run task %s",
                 flow->place->device, name);
    }
out:
    forget(task);
}

const void *sdt__task_args(const void *cl_arg)
{
    const struct block *block = cl_arg;
    if (block->stop && atomic_load_explicit(block->stop, memory_order_relaxed))
        return NULL;
    return block->args;
}

enum sdt_status sdt__flow_wait(struct sdt_flow *flow, struct sdt_error *err)
{
    starpu_task_wait_for_all();
    if (flow->error.status == SDT_OK && flow->stop && atomic_load(flow->stop))
        sdt_fail(&flow->error, SDT_ERROR_INTERRUPTED, "stopped on request");
    if (flow->error.status != SDT_OK && err)
        *err = flow->error;
    return flow->error.status;
}

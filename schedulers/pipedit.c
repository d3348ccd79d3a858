/* Policy "pipedit": every device works through its own tasks, most urgent first, and sleeps when it
 * has none.
 *
 * Words
 *   device   the workers that share one memory node: a GPU, or the CPU workers of one (stand-in)
 *            NUMA node. A task's worker mask decides which devices may take it.
 *   deque    one per device: a FIFO per priority, so that within a priority tasks run in the order
 *            in which they became ready. All priorities from the lowest one down share a queue,
 *            which is kept in their order: forwards that follow one another through devices have
 *            one each, and there is no end to them.
 *
 * A task's way
 *   push     choose the device: the only one that the worker mask allows; where it allows several
 *            (attention that idle VAE devices may take), the one where the task is expected to end
 *            first:
 *
 *                what is queued before it there / its workers + what is running + inputs to bring
 *                + the task
 *
 *            at equal times its home. Away from home it is a visitor and goes before all that is
 *            queued: a device that decodes always has more urgent tasks to come, and a visitor
 *            behind them would wait for the whole decode, and all that denoise for the visitor (a
 *            step of 571 ms in place of 14 in the scenario aco of `stardit-bench policies`). Ask
 *            StarPU to bring the inputs there *before* the task becomes visible: a transfer that
 *            starts on push hides behind the tasks queued in front. Append. When more tasks are
 *            queued than workers watch, wake one (schedulers/sleeper.h).
 *   pop      the highest non-empty priority of the own device. Nothing there: a CPU worker watches
 *            for the next push for a moment, giving its core away at every look, then sleeps until
 *            a push wakes it (going on would cost the other workers their core: `stardit-bench
 *            sched` shows stock policies with more workers than cores). A GPU worker's thread also
 *            drives its transfers, so it only yields.
 *
 * A GPU worker takes its next task while one is running, to launch it without a gap. But no
 * exchange whose inputs are not there: it may wait for its transfer long after the running task has
 * ended, and whatever became ready meanwhile waits behind it (0.44 ms a layer where
 * tests/simulation measures it). These go to a worker that has nothing else. A round (--transport
 * nccl) only starts its transfers, and other devices wait for it: it is taken at any time. And
 * behind a task of one of the forwards that follow one another no task of a younger one: what the
 * older one does next is ready when that task ends, and in turns both would leave the device late
 * (2 patches in 4 stages: a step of 7.5 items in place of 5, tests/simulation/pipefusion.sh).
 *
 * No stealing between devices afterwards: the prefetch has already moved the data. Inside a device
 * stealing is free, and there is one deque.
 *
 * Built into libstardit and as a module: STARPU_SCHED_LIB=pipedit.so STARPU_SCHED=pipedit works
 * with any StarPU program. */
#include "schedulers/idle.h"
#include "schedulers/policies.h"
#include "schedulers/sleeper.h"
#include "schedulers/tag.h"

#include <limits.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <starpu.h>
#include <starpu_scheduler.h>

#define PRIORITY_MIN (-15)
#define PRIORITY_MAX 16
#define PRIORITIES (PRIORITY_MAX - PRIORITY_MIN + 1)
#define VISITORS (PRIORITIES - 1) /* the queue of tasks that are not at home */

/* One device: its deque and its idle workers. Cache lines of their own: deques are hot. */
struct device {
    starpu_pthread_mutex_t mutex;
    struct starpu_task_list queue[PRIORITIES];
    uint32_t nonempty; /* bit p: queue[p] holds a task */
    int queued;        /* tasks in the deque; also read without the mutex */
    /* by priority: their expected lengths together; likewise */
    _Atomic double queued_us[PRIORITIES];
    struct sdt__sleepers workers; /* all of them, and which ones sleep */
    /* by slot: expected end of the worker's task, us; also read without the mutex */
    _Atomic double busy_until[STARPU_NMAXWORKERS];
} __attribute__((aligned(128)));

struct pipedit {
    int ndevices;
    int prefetch;                      /* more than one memory node: there is something to fetch */
    int device_of[STARPU_NMAXWORKERS]; /* worker -> device */
    int slot_of[STARPU_NMAXWORKERS];   /* worker -> its index in the device */
    /* tasks that a worker has popped and that have not ended, but for rounds: these end in another
     * thread. Written by that worker only */
    int under_way[STARPU_NMAXWORKERS];
    int priority[STARPU_NMAXWORKERS]; /* of what a worker has popped last; likewise */
    struct device device[STARPU_MAXNODES];
};

/* The most urgent task of a deque that holds one. */
static struct starpu_task *first_task(void *of) {
    struct device *device = of;
    return starpu_task_list_begin(&device->queue[31 - __builtin_clz(device->nonempty)]);
}

static void init_policy(unsigned context) {
    struct pipedit *policy = NULL;
    if (posix_memalign((void **)&policy, 128, sizeof *policy)) {
        STARPU_ABORT_MSG("pipedit: no memory for the scheduler's queues");
    }
    memset(policy, 0, sizeof *policy);

    int device_of_node[STARPU_MAXNODES];
    for (int n = 0; n < STARPU_MAXNODES; n++)
        device_of_node[n] = -1;
    for (unsigned w = 0; w < starpu_worker_get_count(); w++) {
        unsigned node = starpu_worker_get_memory_node(w);
        if (device_of_node[node] < 0)
            device_of_node[node] = policy->ndevices++;
        struct device *device = &policy->device[device_of_node[node]];
        policy->device_of[w] = device_of_node[node];
        policy->slot_of[w] = device->workers.nworkers;
        device->workers.worker[device->workers.nworkers++] = (int)w;
    }
    for (int d = 0; d < policy->ndevices; d++) {
        struct device *device = &policy->device[d];
        STARPU_PTHREAD_MUTEX_INIT(&device->mutex, NULL);
        for (int p = 0; p < PRIORITIES; p++)
            starpu_task_list_init(&device->queue[p]);
        device->workers.mutex = &device->mutex;
        device->workers.queued = &device->queued;
        device->workers.first = first_task;
        device->workers.queue = device;
    }
    policy->prefetch = starpu_get_prefetch_flag() && starpu_memory_nodes_get_count() > 1;
    starpu_sched_ctx_set_policy_data(context, policy);
    starpu_sched_set_min_priority(INT_MIN); /* StarPU lifts lower ones to it */
    starpu_sched_set_max_priority(PRIORITY_MAX);
}

static void deinit_policy(unsigned context) {
    struct pipedit *policy = starpu_sched_ctx_get_policy_data(context);
    for (int d = 0; d < policy->ndevices; d++)
        STARPU_PTHREAD_MUTEX_DESTROY(&policy->device[d].mutex);
    free(policy);
}

/* The worker of `device` that can run the task, with the implementation it would use; -1: none. */
static int able_worker(const struct device *device, struct starpu_task *task, unsigned *impl) {
    for (int i = 0; i < device->workers.nworkers; i++)
        if (starpu_worker_can_execute_task_first_impl(device->workers.worker[i], task, impl))
            return device->workers.worker[i];
    return -1;
}

/* What is written under a mutex and read without: a guess that may be a little old. */
static double read_us(const _Atomic double *us) {
    return atomic_load_explicit(us, memory_order_relaxed);
}

static void write_us(_Atomic double *us, double value) {
    atomic_store_explicit(us, value, memory_order_relaxed);
}

static double expected_us(struct starpu_task *task, int worker, unsigned impl) {
    double us = starpu_task_worker_expected_length(task, (unsigned)worker, task->sched_ctx, impl);
    return us > 0.0 ? us : 0.0; /* NaN: no model */
}

/* The queue of a priority, which may be any number. */
static int queue_of(int priority) {
    int p = priority - PRIORITY_MIN;
    return p < 0 ? 0 : p >= PRIORITIES ? PRIORITIES - 1 : p;
}

/* Behind all that is as urgent. New tasks mostly go to the end; visitors do always. */
static void append(struct device *device, int p, struct starpu_task *task) {
    struct starpu_task_list *queue = &device->queue[p];
    struct starpu_task *behind = NULL, *before = p ? NULL : starpu_task_list_back(queue);
    while (before && before->priority < task->priority) {
        behind = before;
        before = before->prev;
    }
    if (!behind) {
        starpu_task_list_push_back(queue, task);
    } else if (!before) {
        starpu_task_list_push_front(queue, task);
    } else {
        task->prev = before;
        task->next = behind;
        before->next = behind->prev = task;
    }
}

/* When the task would end on this device, in us from now, behind what is in its queue and above. */
static double finish_us(const struct device *device, struct starpu_task *task, int queue,
                        int worker, unsigned impl) {
    double now = starpu_timing_now(), running = -1.0, queued = 0.0;
    for (int p = queue; p < PRIORITIES; p++)
        queued += read_us(&device->queued_us[p]);
    for (int i = 0; i < device->workers.nworkers; i++) {
        double left = read_us(&device->busy_until[i]) - now;
        if (running < 0.0 || left < running)
            running = left > 0.0 ? left : 0.0;
    }
    double transfer = starpu_task_expected_data_transfer_time_for(task, (unsigned)worker);
    return queued / device->workers.nworkers + running + (transfer > 0.0 ? transfer : 0.0) +
           expected_us(task, worker, impl);
}

/* *queue: where the task is appended there. */
static struct device *choose_device(struct pipedit *policy, struct starpu_task *task, int *worker,
                                    unsigned *impl, int *queue) {
    struct device *able[STARPU_MAXNODES], *best = NULL;
    int able_by[STARPU_MAXNODES], count = 0;
    unsigned able_impl[STARPU_MAXNODES];
    double best_us = 0.0;

    *queue = queue_of(task->priority);
    int own_queue = *queue;
    for (int d = 0; d < policy->ndevices; d++) {
        able[count] = &policy->device[d];
        able_by[count] = able_worker(able[count], task, &able_impl[count]);
        count += able_by[count] >= 0;
    }
    const struct sdt_tag *tag = count > 1 ? sdt_task_tag(task) : NULL;
    for (int i = 0; i < count; i++) {
        bool home = tag && tag->worker == able_by[i];
        int at = tag && !home ? VISITORS : own_queue;
        double us = count > 1 ? finish_us(able[i], task, at, able_by[i], able_impl[i]) : 0.0;
        if (!best || us < best_us || (us == best_us && home)) {
            best = able[i];
            best_us = us;
            *worker = able_by[i];
            *impl = able_impl[i];
            *queue = at;
        }
    }
    return best;
}

static int push_task(struct starpu_task *task) {
    struct pipedit *policy = starpu_sched_ctx_get_policy_data(task->sched_ctx);
    int worker = -1;
    unsigned impl = 0;
    int p = 0;
    struct device *device = choose_device(policy, task, &worker, &impl, &p);
    STARPU_ASSERT_MSG(device, "pipedit: no worker can run task %s", starpu_task_get_name(task));
    starpu_task_set_implementation(task, impl);
    if (policy->prefetch)
        starpu_prefetch_task_input_for(task, worker);
    /* Only a choice between devices looks at lengths. */
    double length = policy->ndevices > 1 ? expected_us(task, worker, impl) : 0.0;
    task->predicted = length; /* for pop, which takes it off again */

    starpu_push_task_end(task); /* while it is certainly there */
    sdt_lock(&device->mutex);
    append(device, p, task);
    write_us(&device->queued_us[p], read_us(&device->queued_us[p]) + length);
    device->nonempty |= UINT32_C(1) << p;
    __atomic_store_n(&device->queued, device->queued + 1, __ATOMIC_SEQ_CST);
    int sleeper = sdt__sleepers_choose(&device->workers, task);
    STARPU_PTHREAD_MUTEX_UNLOCK(&device->mutex);

    sdt__sleepers_wake(&device->workers, sleeper);
#ifndef STARPU_NON_BLOCKING_DRIVERS
    for (int i = 0; i < device->workers.nworkers; i++)
        starpu_wake_worker_relax_light(device->workers.worker[i]);
#endif
    return 0;
}

/* A worker without work. A GPU worker's thread also drives its transfers: it never sleeps. */
static void wait_for_push(struct device *device, int worker, int slot) {
    if (starpu_worker_get_type(worker) == STARPU_CPU_WORKER) {
        sdt__sleepers_wait(&device->workers, slot);
        return;
    }
#ifdef STARPU_NON_BLOCKING_DRIVERS
    starpu_worker_relax_on();
    sched_yield();
    starpu_worker_relax_off();
#endif
}

static bool is_role(const struct starpu_task *task, enum sdt_role role) {
    const struct sdt_tag *tag = sdt_task_tag(task);
    return tag && tag->role == role;
}

/* Is what the task reads valid in this memory? */
static bool inputs_are_there(struct starpu_task *task, int node) {
    for (unsigned b = 0; b < STARPU_TASK_GET_NBUFFERS(task); b++) {
        int allocated, valid = 1, requested;
        if (STARPU_TASK_GET_MODE(task, b) & STARPU_R)
            starpu_data_query_status(STARPU_TASK_GET_HANDLE(task, b), node, &allocated, &valid,
                                     &requested);
        if (!valid)
            return false;
    }
    return true;
}

/* A task that the worker would take, and then wait for, while it runs another; or one whose turn
 * comes when what follows on that one has been done. */
static bool would_wait(const struct pipedit *policy, int worker, struct starpu_task *task) {
    if (!policy->under_way[worker])
        return false;
    if (policy->priority[worker] <= PRIORITY_MIN && task->priority < policy->priority[worker])
        return true;
    return is_role(task, SDT_ROLE_EXCHANGE) &&
           !inputs_are_there(task, (int)starpu_worker_get_memory_node((unsigned)worker));
}

static struct starpu_task *pop_task(unsigned context) {
    struct pipedit *policy = starpu_sched_ctx_get_policy_data(context);
    int worker = (int)starpu_worker_get_id_check(), slot = policy->slot_of[worker];
    struct device *device = &policy->device[policy->device_of[worker]];

    if (!__atomic_load_n(&device->queued, __ATOMIC_SEQ_CST)) {
        wait_for_push(device, worker, slot);
        if (!__atomic_load_n(&device->queued, __ATOMIC_SEQ_CST))
            return NULL;
    }

    struct starpu_task *found = NULL;
    sdt_lock(&device->mutex);
    /* A mask may name some workers of a device only: take the first task that this worker may
     * run. */
    for (uint32_t left = device->nonempty; left && !found;) {
        int p = 31 - __builtin_clz(left);
        struct starpu_task_list *queue = &device->queue[p];
        struct starpu_task *task;
        unsigned impl;
        for (task = starpu_task_list_begin(queue); task != starpu_task_list_end(queue);
             task = starpu_task_list_next(task))
            if (!would_wait(policy, worker, task) &&
                starpu_worker_can_execute_task_first_impl(worker, task, &impl))
                break;
        if (task != starpu_task_list_end(queue)) {
            starpu_task_list_erase(queue, task);
            if (starpu_task_list_empty(queue))
                device->nonempty &= ~(UINT32_C(1) << p);
            __atomic_store_n(&device->queued, device->queued - 1, __ATOMIC_SEQ_CST);
            if (policy->ndevices > 1) {
                double now = starpu_timing_now(), until = read_us(&device->busy_until[slot]);
                write_us(&device->queued_us[p], read_us(&device->queued_us[p]) - task->predicted);
                /* behind the one that it has still under way */
                bool behind = policy->under_way[worker] && until > now;
                write_us(&device->busy_until[slot], (behind ? until : now) + task->predicted);
            }
            found = task;
        }
        left &= ~(UINT32_C(1) << p);
    }
    STARPU_PTHREAD_MUTEX_UNLOCK(&device->mutex);
    if (found) {
        policy->under_way[worker] += !is_role(found, SDT_ROLE_ROUND);
        policy->priority[worker] = found->priority;
        sdt__sleepers_works(&device->workers, slot);
    }
    return found;
}

static void executed(struct starpu_task *task, unsigned context) {
    struct pipedit *policy = starpu_sched_ctx_get_policy_data(context);
    if (is_role(task, SDT_ROLE_ROUND))
        return;
    int *under_way = &policy->under_way[starpu_worker_get_id_check()];
    *under_way -= *under_way > 0; /* a task that names its worker has not come through pop */
}

struct starpu_sched_policy sdt_policy_pipedit = {
    .init_sched = init_policy,
    .deinit_sched = deinit_policy,
    .push_task = push_task,
    .pop_task = pop_task,
    .post_exec_hook = executed,
    .prefetches = 1,
    .policy_name = "pipedit",
    .policy_description = "per-device priority deques, prefetch on push, sleeps when idle",
    .worker_type = STARPU_WORKER_LIST,
};

SDT_POLICY_MODULE(sdt_policy_pipedit)

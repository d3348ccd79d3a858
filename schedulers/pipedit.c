/* Policy "pipedit": every device works through its own tasks, most urgent first, and sleeps when it
 * has none.
 *
 * Words
 *   device   the workers that share one memory node: a GPU, or the CPU workers of one (stand-in)
 *            NUMA node. A task's worker mask decides which devices may take it.
 *   deque    one per device: a FIFO per priority, so that within a priority tasks run in the order
 *            in which they became ready.
 *
 * A task's way
 *   push     choose the device: the only one that the worker mask allows; where it allows several
 *            (attention that idle VAE devices may take), the one where the task is expected to end
 *            first:
 *
 *                what is queued there / its workers + what is running + inputs to bring + the task
 *
 *            at equal times its home. Ask StarPU to bring the inputs there *before* the task
 *            becomes visible: a transfer that starts on push hides behind the tasks queued in
 *            front. Append. When more tasks are queued than workers watch, wake one sleeper, unless
 *            one is waking already; the woken worker looks again and wakes the next.
 *   pop      the highest non-empty priority of the own device. Nothing there: a CPU worker watches
 *            for the next push for a moment, giving its core away at every look, then sleeps until
 *            a push wakes it (going on would cost the other workers their core: `stardit-bench
 *            sched` shows stock policies with more workers than cores). A GPU worker's thread also
 *            drives its transfers, so it only yields.
 *
 * Waking is a system call and a change of threads, several empty tasks' worth: while tasks are
 * short somebody watches, and nobody is woken. While they are long everybody else sleeps, and
 * a push wakes one for each task. A burst of short tasks is gone before the first has
 * woken up, which then wakes nobody.
 *
 * A GPU worker takes its next task while one is running, to launch it without a gap. Never an
 * exchange: it may wait for its transfer long after the running task has ended, and whatever became
 * ready meanwhile waits behind it (0.44 ms a layer where tests/simulation measures it). Exchanges
 * go to a worker that has nothing else. A round (--transport nccl) only starts its transfers, and
 * other devices wait for it: it is taken at any time.
 *
 * No stealing between devices afterwards: the prefetch has already moved the data. Inside a device
 * stealing is free, and there is one deque.
 *
 * Built into libstardit and as a module: STARPU_SCHED_LIB=pipedit.so STARPU_SCHED=pipedit works
 * with any StarPU program. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "schedulers/idle.h"
#include "schedulers/policies.h"
#include "schedulers/tag.h"

#include <linux/futex.h>
#include <sched.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <starpu.h>
#include <starpu_scheduler.h>

#define PRIORITY_MIN (-15)
#define PRIORITY_MAX 16
#define PRIORITIES (PRIORITY_MAX - PRIORITY_MIN + 1)
#define LOOKS 50 /* for a task, before a worker sleeps */

/* One device: its deque and its idle workers. Cache lines of their own: deques are hot. */
struct device {
    starpu_pthread_mutex_t mutex;
    struct starpu_task_list queue[PRIORITIES];
    uint32_t nonempty; /* bit p: queue[p] holds a task */
    int queued;        /* tasks in the deque; also read without the mutex */
    double queued_us;  /* their expected lengths together */
    int watching;      /* workers that will look at `queued` before they sleep; atomic */
    int sleeping;      /* workers that will not */
    bool waking;       /* one of them has been woken and is not running yet */
    int asleep[STARPU_NMAXWORKERS]; /* by slot: 1 for those; futex word */
    int nworkers;
    int worker[STARPU_NMAXWORKERS];
    double busy_until[STARPU_NMAXWORKERS]; /* expected end of each worker's task, us */
} __attribute__((aligned(128)));

struct pipedit {
    int ndevices;
    int prefetch;                      /* more than one memory node: there is something to fetch */
    int device_of[STARPU_NMAXWORKERS]; /* worker -> device */
    int slot_of[STARPU_NMAXWORKERS];   /* worker -> its index in the device */
    /* tasks that a worker has popped and that have not ended, but for rounds: these end in another
     * thread. Written by that worker only */
    int under_way[STARPU_NMAXWORKERS];
    bool rested[STARPU_NMAXWORKERS]; /* slept since its last task; written by that worker only */
    struct device device[STARPU_MAXNODES];
};

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
        policy->slot_of[w] = device->nworkers;
        device->worker[device->nworkers++] = (int)w;
    }
    for (int d = 0; d < policy->ndevices; d++) {
        STARPU_PTHREAD_MUTEX_INIT(&policy->device[d].mutex, NULL);
        for (int p = 0; p < PRIORITIES; p++)
            starpu_task_list_init(&policy->device[d].queue[p]);
    }
    policy->prefetch = starpu_get_prefetch_flag() && starpu_memory_nodes_get_count() > 1;
    starpu_sched_ctx_set_policy_data(context, policy);
    starpu_sched_set_min_priority(PRIORITY_MIN);
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
    for (int i = 0; i < device->nworkers; i++)
        if (starpu_worker_can_execute_task_first_impl(device->worker[i], task, impl))
            return device->worker[i];
    return -1;
}

static double expected_us(struct starpu_task *task, int worker, unsigned impl) {
    double us = starpu_task_worker_expected_length(task, (unsigned)worker, task->sched_ctx, impl);
    return us > 0.0 ? us : 0.0; /* NaN: no model */
}

/* When the task would end on this device, in us from now. */
static double finish_us(const struct device *device, struct starpu_task *task, int worker,
                        unsigned impl) {
    double now = starpu_timing_now(), running = -1.0;
    for (int i = 0; i < device->nworkers; i++) {
        double left = device->busy_until[i] - now;
        if (running < 0.0 || left < running)
            running = left > 0.0 ? left : 0.0;
    }
    double transfer = starpu_task_expected_data_transfer_time_for(task, (unsigned)worker);
    return device->queued_us / device->nworkers + running + (transfer > 0.0 ? transfer : 0.0) +
           expected_us(task, worker, impl);
}

static struct device *choose_device(struct pipedit *policy, struct starpu_task *task, int *worker,
                                    unsigned *impl) {
    struct device *able[STARPU_MAXNODES], *best = NULL;
    int able_by[STARPU_MAXNODES], count = 0;
    unsigned able_impl[STARPU_MAXNODES];
    double best_us = 0.0;

    for (int d = 0; d < policy->ndevices; d++) {
        able[count] = &policy->device[d];
        able_by[count] = able_worker(able[count], task, &able_impl[count]);
        count += able_by[count] >= 0;
    }
    const struct sdt_tag *tag = count > 1 ? sdt_task_tag(task) : NULL;
    for (int i = 0; i < count; i++) {
        double us = count > 1 ? finish_us(able[i], task, able_by[i], able_impl[i]) : 0.0;
        bool home = tag && tag->worker == able_by[i];
        if (!best || us < best_us || (us == best_us && home)) {
            best = able[i];
            best_us = us;
            *worker = able_by[i];
            *impl = able_impl[i];
        }
    }
    return best;
}

/* Under the mutex: makes a sleeping worker a watching one if the queued tasks need it. Its slot,
 * for its futex once the mutex is free; -1: nobody. */
static int choose_sleeper(struct device *device, struct starpu_task *task) {
    unsigned impl;
    if (!device->sleeping || device->waking ||
        device->queued <= __atomic_load_n(&device->watching, __ATOMIC_SEQ_CST))
        return -1;
    for (int i = 0; i < device->nworkers; i++)
        if (device->asleep[i] &&
            starpu_worker_can_execute_task_first_impl(device->worker[i], task, &impl)) {
            __atomic_store_n(&device->asleep[i], 0, __ATOMIC_SEQ_CST);
            device->sleeping--;
            device->waking = true;
            __atomic_add_fetch(&device->watching, 1, __ATOMIC_SEQ_CST);
            return i;
        }
    return -1;
}

static int push_task(struct starpu_task *task) {
    struct pipedit *policy = starpu_sched_ctx_get_policy_data(task->sched_ctx);
    int worker = -1;
    unsigned impl = 0;
    struct device *device = choose_device(policy, task, &worker, &impl);
    STARPU_ASSERT_MSG(device, "pipedit: no worker can run task %s", starpu_task_get_name(task));
    starpu_task_set_implementation(task, impl);
    if (policy->prefetch)
        starpu_prefetch_task_input_for(task, worker);
    /* Only a choice between devices looks at lengths. */
    double length = policy->ndevices > 1 ? expected_us(task, worker, impl) : 0.0;
    task->predicted = length; /* for pop, which takes it off again */

    int p = task->priority - PRIORITY_MIN;
    p = p < 0 ? 0 : p >= PRIORITIES ? PRIORITIES - 1 : p;
    starpu_push_task_end(task); /* while it is certainly there */
    sdt_lock(&device->mutex);
    starpu_task_list_push_back(&device->queue[p], task);
    device->queued_us += length;
    device->nonempty |= UINT32_C(1) << p;
    __atomic_store_n(&device->queued, device->queued + 1, __ATOMIC_SEQ_CST);
    int sleeper = choose_sleeper(device, task);
    STARPU_PTHREAD_MUTEX_UNLOCK(&device->mutex);

    if (sleeper >= 0)
        syscall(SYS_futex, &device->asleep[sleeper], FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
#ifndef STARPU_NON_BLOCKING_DRIVERS
    for (int i = 0; i < device->nworkers; i++)
        starpu_wake_worker_relax_light(device->worker[i]);
#endif
    return 0;
}

#ifdef STARPU_NON_BLOCKING_DRIVERS
/* Sleeps until a push, 1 ms at most: StarPU's driver loop also serves data requests and the end of
 * the run, and nobody wakes a worker for those. A watching worker comes and a watching worker
 * leaves. */
static void sleep_until_push(struct device *device, int slot) {
    struct timespec limit = {0, 1000 * 1000};
    STARPU_PTHREAD_MUTEX_LOCK(&device->mutex);
    bool sleeps = device->queued == 0;
    if (sleeps) {
        device->asleep[slot] = 1;
        device->sleeping++;
        __atomic_sub_fetch(&device->watching, 1, __ATOMIC_SEQ_CST);
    }
    STARPU_PTHREAD_MUTEX_UNLOCK(&device->mutex);
    if (!sleeps)
        return;
    int next = -1;
    syscall(SYS_futex, &device->asleep[slot], FUTEX_WAIT_PRIVATE, 1, &limit, NULL, 0);
    STARPU_PTHREAD_MUTEX_LOCK(&device->mutex);
    if (device->asleep[slot]) { /* nobody has woken it */
        device->asleep[slot] = 0;
        device->sleeping--;
        __atomic_add_fetch(&device->watching, 1, __ATOMIC_SEQ_CST);
    } else {
        device->waking = false;
        if (device->nonempty) {
            int p = 31 - __builtin_clz(device->nonempty);
            next = choose_sleeper(device, starpu_task_list_begin(&device->queue[p]));
        }
    }
    STARPU_PTHREAD_MUTEX_UNLOCK(&device->mutex);
    if (next >= 0)
        syscall(SYS_futex, &device->asleep[next], FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}
#endif

/* A worker without work. Where StarPU's drivers block by themselves (simulation), there is nothing
 * to wait for here. */
static void wait_for_push(struct pipedit *policy, struct device *device, int worker) {
#ifdef STARPU_NON_BLOCKING_DRIVERS
    starpu_worker_relax_on();
    if (starpu_worker_get_type(worker) == STARPU_CPU_WORKER) {
        __atomic_add_fetch(&device->watching, 1, __ATOMIC_SEQ_CST);
        int looks = policy->rested[worker] ? 0 : LOOKS;
        while (!__atomic_load_n(&device->queued, __ATOMIC_SEQ_CST) && looks-- > 0)
            sched_yield();
        if (looks < 0) {
            sleep_until_push(device, policy->slot_of[worker]);
            policy->rested[worker] = true;
        }
        __atomic_sub_fetch(&device->watching, 1, __ATOMIC_SEQ_CST);
    } else {
        sched_yield();
    }
    starpu_worker_relax_off();
#else
    (void)policy;
    (void)device;
    (void)worker;
#endif
}

static bool is_role(const struct starpu_task *task, enum sdt_role role) {
    const struct sdt_tag *tag = sdt_task_tag(task);
    return tag && tag->role == role;
}

static struct starpu_task *pop_task(unsigned context) {
    struct pipedit *policy = starpu_sched_ctx_get_policy_data(context);
    int worker = (int)starpu_worker_get_id_check();
    struct device *device = &policy->device[policy->device_of[worker]];

    if (!__atomic_load_n(&device->queued, __ATOMIC_SEQ_CST)) {
        wait_for_push(policy, device, worker);
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
            if (!(policy->under_way[worker] && is_role(task, SDT_ROLE_EXCHANGE)) &&
                starpu_worker_can_execute_task_first_impl(worker, task, &impl))
                break;
        if (task != starpu_task_list_end(queue)) {
            starpu_task_list_erase(queue, task);
            if (starpu_task_list_empty(queue))
                device->nonempty &= ~(UINT32_C(1) << p);
            __atomic_store_n(&device->queued, device->queued - 1, __ATOMIC_SEQ_CST);
            if (policy->ndevices > 1) {
                device->queued_us -= task->predicted;
                device->busy_until[policy->slot_of[worker]] = starpu_timing_now() + task->predicted;
            }
            found = task;
        }
        left &= ~(UINT32_C(1) << p);
    }
    STARPU_PTHREAD_MUTEX_UNLOCK(&device->mutex);
    if (found) {
        policy->under_way[worker] += !is_role(found, SDT_ROLE_ROUND);
        policy->rested[worker] = false;
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

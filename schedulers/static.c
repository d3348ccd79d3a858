/* Policy "static": every task runs on its home device, in the order in which it became ready.
 *
 * This is how the paper's system runs (PipeDiT): which device does what was decided when the graph
 * was built. It is the baseline that other policies are compared with. A task without a tag goes to
 * the first device that can run it. */
#include "schedulers/idle.h"
#include "schedulers/policies.h"
#include "schedulers/tag.h"

#include <stdlib.h>

/* A FIFO per worker; the workers of a device share that of its first one. */
struct queue {
    starpu_pthread_mutex_t mutex;
    struct starpu_task_list tasks;
};

struct fixed {
    unsigned workers;
    int first[STARPU_NMAXWORKERS]; /* worker -> the first worker of its memory node */
    struct queue queue[STARPU_NMAXWORKERS];
};

static __thread unsigned empty_pops;

static void init_policy(unsigned context) {
    struct fixed *policy = calloc(1, sizeof *policy);
    STARPU_ASSERT_MSG(policy, "static: no memory for the scheduler's queues");
    policy->workers = starpu_worker_get_count();
    for (unsigned w = 0; w < policy->workers; w++) {
        policy->first[w] = (int)w;
        for (unsigned v = w; v-- > 0;)
            if (starpu_worker_get_memory_node(v) == starpu_worker_get_memory_node(w))
                policy->first[w] = policy->first[v];
        STARPU_PTHREAD_MUTEX_INIT(&policy->queue[w].mutex, NULL);
        starpu_task_list_init(&policy->queue[w].tasks);
    }
    starpu_sched_ctx_set_policy_data(context, policy);
}

static void deinit_policy(unsigned context) {
    struct fixed *policy = starpu_sched_ctx_get_policy_data(context);
    for (unsigned w = 0; w < policy->workers; w++)
        STARPU_PTHREAD_MUTEX_DESTROY(&policy->queue[w].mutex);
    free(policy);
}

static int push_task(struct starpu_task *task) {
    struct fixed *policy = starpu_sched_ctx_get_policy_data(task->sched_ctx);
    const struct sdt_tag *tag = sdt_task_tag(task);
    unsigned home = tag && tag->worker >= 0 ? (unsigned)tag->worker : 0;
    unsigned impl = 0, worker = home, tried = 0;

    while (!starpu_worker_can_execute_task_first_impl(worker, task, &impl)) {
        STARPU_ASSERT_MSG(++tried < policy->workers, "static: no worker can run task %s",
                          starpu_task_get_name(task));
        worker = (worker + 1) % policy->workers;
    }
    starpu_task_set_implementation(task, impl);
    starpu_prefetch_task_input_for(task, worker);
    struct queue *queue = &policy->queue[policy->first[worker]];
    sdt_lock(&queue->mutex);
    starpu_task_list_push_back(&queue->tasks, task);
    starpu_push_task_end(task);
    STARPU_PTHREAD_MUTEX_UNLOCK(&queue->mutex);
#ifndef STARPU_NON_BLOCKING_DRIVERS
    starpu_wake_worker_relax_light((int)worker);
#endif
    return 0;
}

static struct starpu_task *pop_task(unsigned context) {
    struct fixed *policy = starpu_sched_ctx_get_policy_data(context);
    struct queue *queue = &policy->queue[policy->first[starpu_worker_get_id_check()]];
    struct starpu_task *task = NULL;

    sdt_lock(&queue->mutex);
    if (!starpu_task_list_empty(&queue->tasks))
        task = starpu_task_list_pop_front(&queue->tasks);
    STARPU_PTHREAD_MUTEX_UNLOCK(&queue->mutex);
    if (task)
        empty_pops = 0;
    else
        sdt_idle(&empty_pops);
    return task;
}

struct starpu_sched_policy sdt_policy_static = {
    .init_sched = init_policy,
    .deinit_sched = deinit_policy,
    .push_task = push_task,
    .pop_task = pop_task,
    .prefetches = 1,
    .policy_name = "static",
    .policy_description = "every task on its home device, first ready first run",
    .worker_type = STARPU_WORKER_LIST,
};

SDT_POLICY_MODULE(sdt_policy_static)

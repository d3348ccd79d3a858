/* Policy "scatter": maps at random, runs in random order. For testing, not for speed.
 *
 * Whatever it does is allowed by worker masks and dependencies, so no result may depend on it: that
 * is the promise of stardit, and this policy is how one tries to break it. STARDIT_SCATTER_SEED
 * chooses the sequence. */
#include "schedulers/idle.h"
#include "schedulers/policies.h"

#include <stdlib.h>

/* One list per worker; a push picks a worker, a pop picks a task of its list. */
struct scatter {
    starpu_pthread_mutex_t mutex;
    uint64_t state;
    unsigned workers;
    unsigned count[STARPU_NMAXWORKERS];
    struct starpu_task_list ready[STARPU_NMAXWORKERS];
};

static __thread unsigned empty_pops;

/* The next of 0..n-1 (xorshift64*). */
static unsigned draw(struct scatter *policy, unsigned n) {
    policy->state ^= policy->state >> 12;
    policy->state ^= policy->state << 25;
    policy->state ^= policy->state >> 27;
    return (unsigned)((policy->state * UINT64_C(0x2545f4914f6cdd1d)) >> 33) % n;
}

static void init_policy(unsigned context) {
    const char *seed = getenv("STARDIT_SCATTER_SEED");
    struct scatter *policy = calloc(1, sizeof *policy);
    STARPU_ASSERT_MSG(policy, "scatter: no memory");
    policy->state = (seed ? strtoull(seed, NULL, 10) : 0) * 2 + 0x9e3779b97f4a7c15u;
    policy->workers = starpu_worker_get_count();
    STARPU_PTHREAD_MUTEX_INIT(&policy->mutex, NULL);
    for (unsigned w = 0; w < policy->workers; w++)
        starpu_task_list_init(&policy->ready[w]);
    starpu_sched_ctx_set_policy_data(context, policy);
}

static void deinit_policy(unsigned context) {
    struct scatter *policy = starpu_sched_ctx_get_policy_data(context);
    STARPU_PTHREAD_MUTEX_DESTROY(&policy->mutex);
    free(policy);
}

static int push_task(struct starpu_task *task) {
    struct scatter *policy = starpu_sched_ctx_get_policy_data(task->sched_ctx);
    unsigned impl, able[STARPU_NMAXWORKERS], n = 0;

    for (unsigned w = 0; w < policy->workers; w++)
        if (starpu_worker_can_execute_task_first_impl(w, task, &impl))
            able[n++] = w;
    STARPU_ASSERT_MSG(n, "scatter: no worker can run task %s", starpu_task_get_name(task));
    sdt_lock(&policy->mutex);
    unsigned worker = able[draw(policy, n)];
    starpu_task_list_push_back(&policy->ready[worker], task);
    policy->count[worker]++;
    starpu_push_task_end(task);
    STARPU_PTHREAD_MUTEX_UNLOCK(&policy->mutex);
#ifndef STARPU_NON_BLOCKING_DRIVERS
    starpu_wake_worker_relax_light((int)worker);
#endif
    return 0;
}

static struct starpu_task *pop_task(unsigned context) {
    struct scatter *policy = starpu_sched_ctx_get_policy_data(context);
    unsigned worker = (unsigned)starpu_worker_get_id_check(), impl = 0;
    struct starpu_task *task = NULL;

    sdt_lock(&policy->mutex);
    if (policy->count[worker]) {
        task = starpu_task_list_begin(&policy->ready[worker]);
        for (unsigned skip = draw(policy, policy->count[worker]); skip > 0; skip--)
            task = starpu_task_list_next(task);
        starpu_task_list_erase(&policy->ready[worker], task);
        policy->count[worker]--;
        starpu_worker_can_execute_task_first_impl(worker, task, &impl);
        starpu_task_set_implementation(task, impl);
    }
    STARPU_PTHREAD_MUTEX_UNLOCK(&policy->mutex);
    if (task)
        empty_pops = 0;
    else
        sdt_idle(&empty_pops);
    return task;
}

struct starpu_sched_policy sdt_policy_scatter = {
    .init_sched = init_policy,
    .deinit_sched = deinit_policy,
    .push_task = push_task,
    .pop_task = pop_task,
    .policy_name = "scatter",
    .policy_description = "random device, random order: for testing",
    .worker_type = STARPU_WORKER_LIST,
};

SDT_POLICY_MODULE(sdt_policy_scatter)

/* Policy "example": one queue for all; where to start when writing a policy (docs/schedulers.md).
 *
 * StarPU calls push_task when all dependencies of a task are fulfilled, from whichever thread fulfilled the
 * last one, and pop_task from each worker that has nothing to do. That is all a policy must do: dependent
 * tasks simply arrive later. */
#include "schedulers/idle.h"
#include "schedulers/policies.h"

#include <stdlib.h>

struct example {
    starpu_pthread_mutex_t mutex;
    struct starpu_task_list ready; /* oldest first */
};

static __thread unsigned empty_pops; /* of this worker, in a row */

static void init_policy(unsigned context) {
    struct example *policy = calloc(1, sizeof *policy);
    STARPU_ASSERT_MSG(policy, "example: no memory");
    STARPU_PTHREAD_MUTEX_INIT(&policy->mutex, NULL);
    starpu_task_list_init(&policy->ready);
    starpu_sched_ctx_set_policy_data(context, policy);
}

static void deinit_policy(unsigned context) {
    struct example *policy = starpu_sched_ctx_get_policy_data(context);
    STARPU_PTHREAD_MUTEX_DESTROY(&policy->mutex);
    free(policy);
}

/* A lock that another worker may hold is only waited for between relax_on and relax_off: StarPU may then
 * do its own business with this worker. */
static void lock(struct example *policy) {
    starpu_worker_relax_on();
    STARPU_PTHREAD_MUTEX_LOCK(&policy->mutex);
    starpu_worker_relax_off();
}

static int push_task(struct starpu_task *task) {
    struct example *policy = starpu_sched_ctx_get_policy_data(task->sched_ctx);
    lock(policy);
    starpu_task_list_push_back(&policy->ready, task);
    starpu_push_task_end(task);
    STARPU_PTHREAD_MUTEX_UNLOCK(&policy->mutex);
#ifndef STARPU_NON_BLOCKING_DRIVERS /* simulation: workers sleep until they are woken */
    for (unsigned w = 0; w < starpu_worker_get_count(); w++)
        starpu_wake_worker_relax_light((int)w);
#endif
    return 0;
}

static struct starpu_task *pop_task(unsigned context) {
    struct example *policy = starpu_sched_ctx_get_policy_data(context);
    unsigned worker = (unsigned)starpu_worker_get_id_check(), impl;
    lock(policy);
    /* The oldest task that this worker may run: masks and kinds of workers differ. */
    struct starpu_task *task = starpu_task_list_begin(&policy->ready);
    while (task != starpu_task_list_end(&policy->ready) &&
           !starpu_worker_can_execute_task_first_impl(worker, task, &impl))
        task = starpu_task_list_next(task);
    if (task != starpu_task_list_end(&policy->ready)) {
        starpu_task_list_erase(&policy->ready, task);
        starpu_task_set_implementation(task, impl);
        empty_pops = 0;
    } else {
        task = NULL;
    }
    STARPU_PTHREAD_MUTEX_UNLOCK(&policy->mutex);
    if (!task)
        sdt_idle(&empty_pops);
    return task;
}

struct starpu_sched_policy sdt_policy_example = {
    .init_sched = init_policy,
    .deinit_sched = deinit_policy,
    .push_task = push_task,
    .pop_task = pop_task,
    .policy_name = "example",
    .policy_description = "one queue, oldest task first",
    .worker_type = STARPU_WORKER_LIST,
};

SDT_POLICY_MODULE(sdt_policy_example)

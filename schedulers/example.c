/* Policy "example": one queue for all; where to start when writing a policy (docs/schedulers.md).
 *
 * StarPU calls push_task when all dependencies of a task are fulfilled, from whichever thread
 * fulfilled the last one, and pop_task from each worker that has nothing to do. That is all a
 * policy must do: dependent tasks simply arrive later. */
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
static int push_task(struct starpu_task *task) {
    struct example *policy = starpu_sched_ctx_get_policy_data(task->sched_ctx);
    sdt_lock(&policy->mutex);
    starpu_task_list_push_back(&policy->ready, task);
    starpu_push_task_end(task);
    STARPU_PTHREAD_MUTEX_UNLOCK(&policy->mutex);
    sdt_wake_all();
    return 0;
}
static struct starpu_task *pop_task(unsigned context) {
    struct example *policy = starpu_sched_ctx_get_policy_data(context);
    unsigned worker = (unsigned)starpu_worker_get_id_check(), impl;
    sdt_lock(&policy->mutex);
    /* The oldest task that this worker may run: masks and kinds of workers differ. */
    struct starpu_task *task = starpu_task_list_begin(&policy->ready); /* NULL at the end */
    while (task && !starpu_worker_can_execute_task_first_impl(worker, task, &impl))
        task = starpu_task_list_next(task);
    if (task) {
        starpu_task_list_erase(&policy->ready, task);
        starpu_task_set_implementation(task, impl);
    }
    STARPU_PTHREAD_MUTEX_UNLOCK(&policy->mutex);
    empty_pops = task ? 0 : empty_pops;
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

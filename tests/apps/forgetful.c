/* Policy "forgetful": "example", but the first task of the name in STARDIT_FORGET is never run, and
 * the first of that in STARDIT_ABORT ends the process, as StarPU does where CUDA fails in one. A
 * module for STARPU_SCHED_LIB, by which tests/apps/stall.sh makes runs that cannot go on. */
#include "schedulers/policies.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>

struct starpu_sched_policy *starpu_get_sched_lib_policy(const char *name);
struct starpu_sched_policy **starpu_get_sched_lib_policies(void);

extern struct starpu_sched_policy sdt_policy_example;
static struct starpu_sched_policy forgetful;
static atomic_bool forgot;

static int push_task(struct starpu_task *task) {
    const char *name = starpu_task_get_name(task), *wanted = getenv("STARDIT_FORGET");
    if (name && wanted && !strcmp(name, wanted) && !atomic_exchange(&forgot, true))
        return 0;
    return sdt_policy_example.push_task(task);
}

static void begin(struct starpu_task *task, unsigned context) {
    const char *name = starpu_task_get_name(task), *wanted = getenv("STARDIT_ABORT");
    (void)context;
    if (name && wanted && !strcmp(name, wanted))
        abort();
}

struct starpu_sched_policy *starpu_get_sched_lib_policy(const char *name) {
    if (name && strcmp(name, "forgetful"))
        return NULL;
    forgetful = sdt_policy_example;
    forgetful.policy_name = "forgetful";
    forgetful.push_task = push_task;
    forgetful.pre_exec_hook = begin;
    return &forgetful;
}

struct starpu_sched_policy **starpu_get_sched_lib_policies(void) {
    static struct starpu_sched_policy *all[] = {&forgetful, NULL};
    starpu_get_sched_lib_policy(NULL);
    return all;
}

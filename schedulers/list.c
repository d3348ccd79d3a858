/* The policies built into stardit, by name: a line each, the default first. Behind the name:
 * whether the policy takes it that a task ends in another thread than its worker's
 * (sdt_policy_any_thread). */
#include "schedulers/policies.h"

#define POLICIES(X)                                                                                \
    X(pipedit, true)                                                                               \
    X(static, true)                                                                                \
    X(example, true)                                                                               \
    X(scatter, true)

#define DECLARE(name, any_thread) extern struct starpu_sched_policy sdt_policy_##name;
POLICIES(DECLARE)

#define LIST(name, any_thread) &sdt_policy_##name,
struct starpu_sched_policy *const sdt_policies[] = {POLICIES(LIST) NULL};

#define PROMISE(name, any_thread) any_thread,
static const bool promises[] = {POLICIES(PROMISE)};

struct starpu_sched_policy *sdt_policy_find(const char *name) {
    for (int i = 0; sdt_policies[i]; i++)
        if (!strcmp(sdt_policies[i]->policy_name, name))
            return sdt_policies[i];
    return NULL;
}

bool sdt_policy_any_thread(const struct starpu_sched_policy *policy) {
    if (!policy || !policy->post_exec_hook)
        return true;                      /* it is told of no end */
    for (int i = 0; sdt_policies[i]; i++) /* by name: it may come from a module */
        if (!strcmp(sdt_policies[i]->policy_name, policy->policy_name))
            return promises[i];
    return false;
}

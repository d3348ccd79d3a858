/* The policies built into stardit, by name: a line each, the default first. */
#include "schedulers/policies.h"

#define POLICIES(X)                                                                                \
    X(pipedit)                                                                                     \
    X(static)                                                                                      \
    X(example)                                                                                     \
    X(scatter)

#define DECLARE(name) extern struct starpu_sched_policy sdt_policy_##name;
POLICIES(DECLARE)

#define LIST(name) &sdt_policy_##name,
struct starpu_sched_policy *const sdt_policies[] = {POLICIES(LIST) NULL};

struct starpu_sched_policy *sdt_policy_find(const char *name) {
    for (int i = 0; sdt_policies[i]; i++)
        if (!strcmp(sdt_policies[i]->policy_name, name))
            return sdt_policies[i];
    return NULL;
}

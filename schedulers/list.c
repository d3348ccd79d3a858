/* The policies built into stardit, by name. */
#include "schedulers/policies.h"

struct starpu_sched_policy *const sdt_policies[] = {&sdt_policy_pipedit, &sdt_policy_static,
                                                    &sdt_policy_example, &sdt_policy_scatter, NULL};

struct starpu_sched_policy *sdt_policy_find(const char *name) {
    for (int i = 0; sdt_policies[i]; i++)
        if (!strcmp(sdt_policies[i]->policy_name, name))
            return sdt_policies[i];
    return NULL;
}

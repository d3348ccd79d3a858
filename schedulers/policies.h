/* The policies that come with stardit, and what makes a policy file loadable by StarPU. */
#ifndef STARDIT_POLICIES_H
#define STARDIT_POLICIES_H

#include <stdbool.h>
#include <string.h>

#include <starpu_scheduler.h>

/* Our own policies, the default one first; ends with NULL. */
extern struct starpu_sched_policy *const sdt_policies[];
/* One of them by name; NULL: none of ours. */
struct starpu_sched_policy *sdt_policy_find(const char *name);
/* Whether the policy takes it that a task ends in another thread than its worker's, as rounds of
 * NCCL do. StarPU's policies that count what their workers hold do not: they must hear of each
 * end in the worker. */
bool sdt_policy_any_thread(const struct starpu_sched_policy *policy);

/* A stock StarPU policy by name, as it is; NULL: StarPU has none of that name. */
struct starpu_sched_policy *sdt_policy_stock(const char *name);
/* A stock StarPU policy by name whose idle CPU workers sleep for a moment instead of spinning, so
 * that it can be used with more workers than cores. NULL: StarPU has no policy of that name. The
 * result is static; one at a time. */
struct starpu_sched_policy *sdt_policy_yielding(const char *name);

/* StarPU's two entry points of a scheduler module (STARPU_SCHED_LIB). In the library itself, where
 * several policies live side by side, they are left out. */
#ifdef STARDIT_POLICY_MODULE
#define SDT_POLICY_MODULE(policy)                                                                  \
    struct starpu_sched_policy *starpu_get_sched_lib_policy(const char *name) {                    \
        return !name || !strcmp(name, (policy).policy_name) ? &(policy) : NULL;                    \
    }                                                                                              \
    struct starpu_sched_policy **starpu_get_sched_lib_policies(void) {                             \
        static struct starpu_sched_policy *all[] = {&(policy), NULL};                              \
        return all;                                                                                \
    }
#else
#define SDT_POLICY_MODULE(policy) extern struct starpu_sched_policy policy;
#endif
#endif

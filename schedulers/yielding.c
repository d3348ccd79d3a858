/* Stock StarPU policies made usable with more workers than cores.
 *
 * As shipped, a worker without work spins in pop_task; with eight workers on two cores that makes a
 * transfer far slower (`stardit-bench sched`). The wrapped policy is the stock one in everything
 * but its pop: when the original finds nothing, the worker gives its core away for a moment. */
#include "schedulers/idle.h"
#include "schedulers/policies.h"

/* StarPU hands a policy's functions no argument but the context, whose data is the stock policy's;
 * and one StarPU runs in a process. */
static struct starpu_sched_policy wrapped;
static struct starpu_task *(*stock_pop)(unsigned context);
static __thread unsigned empty_pops;

static struct starpu_task *yielding_pop(unsigned context) {
    /* A policy without a pop (random) hands tasks to the workers as they come. */
    struct starpu_task *task = stock_pop ? stock_pop(context) : NULL;
    if (task) {
        empty_pops = 0;
        return task;
    }
    sdt_idle(&empty_pops);
    return NULL;
}

struct starpu_sched_policy *sdt_policy_stock(const char *name) {
    struct starpu_sched_policy **stock = starpu_sched_get_predefined_policies();
    for (; stock && *stock; stock++)
        if (!strcmp((*stock)->policy_name, name))
            return *stock;
    return NULL;
}

struct starpu_sched_policy *sdt_policy_yielding(const char *name) {
    const struct starpu_sched_policy *stock = sdt_policy_stock(name);
    if (!stock)
        return NULL;
    wrapped = *stock;
    stock_pop = wrapped.pop_task;
    wrapped.pop_task = yielding_pop;
    return &wrapped;
}

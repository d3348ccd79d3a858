/* Stock StarPU policies made usable with more workers than cores.
 *
 * As shipped, a worker without work spins in pop_task; with eight workers on two cores that makes a
 * transfer a thousand times slower. The wrapped policy is the stock one in everything but its pop: when
 * the original finds nothing, the worker gives its core away for a moment. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "schedulers/policies.h"

#include <sched.h>
#include <time.h>

#include <starpu.h>

static struct starpu_sched_policy wrapped;
static struct starpu_task *(*stock_pop)(unsigned context);
/* Empty pops of this worker in a row: first yield, which answers fastest, then sleep. */
static __thread unsigned empty_pops;

static struct starpu_task *yielding_pop(unsigned context)
{
    /* A policy without a pop (random) hands tasks to the workers as they come. */
    struct starpu_task *task = stock_pop ? stock_pop(context) : NULL;
    if (task) {
        empty_pops = 0;
        return task;
    }
    starpu_worker_relax_on();
    if (++empty_pops < 50 ||
        starpu_worker_get_type(starpu_worker_get_id_check()) != STARPU_CPU_WORKER) {
        sched_yield();
    } else {
        struct timespec pause = {0, 50 * 1000};
        nanosleep(&pause, NULL);
    }
    starpu_worker_relax_off();
    return NULL;
}

struct starpu_sched_policy *sdt_policy_yielding(const char *name)
{
    struct starpu_sched_policy **stock = starpu_sched_get_predefined_policies();
    for (; stock && *stock; stock++)
        if (!strcmp((*stock)->policy_name, name))
            break;
    if (!stock || !*stock)
        return NULL;
    wrapped = **stock;
    stock_pop = wrapped.pop_task;
    wrapped.pop_task = yielding_pop;
    return &wrapped;
}

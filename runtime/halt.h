/* Why work ends before its end: somebody stopped it, or one of its tasks failed.
 *
 * Every flow has a halt, and every task that it inserts looks there before it computes. A request
 * has a halt of its own, so that its end leaves its neighbours alone; flows that have none use the
 * machine's. A halt lives as long as tasks may look at it: after a stall, for ever. */
#ifndef STARDIT_HALT_H
#define STARDIT_HALT_H

#include <stdatomic.h>
#include <stdbool.h>

#include <starpu.h>

#include "stardit/status.h"

struct sdt_halt {
    atomic_bool stop;        /* set from any thread, a signal's handler, or by a task that fails */
    const atomic_bool *also; /* a flag that stops this work too (the machine's), or NULL */
    atomic_bool failed;
    starpu_pthread_mutex_t mutex; /* guards `error` */
    struct sdt_error error;       /* of the first task that failed */
};
void sdt__halt_init(struct sdt_halt *halt, const atomic_bool *also);
void sdt__halt_clear(struct sdt_halt *halt); /* when no task looks at it any more */

/* Asked by each task: is there nothing to do any more? */
static inline bool sdt__halted(const struct sdt_halt *halt) {
    return atomic_load_explicit(&halt->stop, memory_order_relaxed) ||
           (halt->also && atomic_load_explicit(halt->also, memory_order_relaxed));
}

/* A task failed: keeps the first such error, and stops the work. */
void sdt__halt_fail(struct sdt_halt *halt, const struct sdt_error *error);
/* SDT_OK while the work goes on; else *err says why it does not: the failure, or
 * SDT_ERROR_INTERRUPTED. */
enum sdt_status sdt__halt_status(struct sdt_halt *halt, struct sdt_error *err);
#endif

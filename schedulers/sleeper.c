/* Sleeping and waking of idle workers, by a futex each. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "schedulers/sleeper.h"

#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <starpu_scheduler.h>

#define LOOKS 50 /* for a task, before a worker sleeps */

int sdt__sleepers_choose(struct sdt__sleepers *sleepers, struct starpu_task *task) {
    unsigned impl;
    if (!sleepers->sleeping || sleepers->waking ||
        *sleepers->queued <= __atomic_load_n(&sleepers->watching, __ATOMIC_SEQ_CST))
        return -1;
    for (int i = 0; i < sleepers->nworkers; i++)
        if (sleepers->asleep[i] &&
            starpu_worker_can_execute_task_first_impl(sleepers->worker[i], task, &impl)) {
            __atomic_store_n(&sleepers->asleep[i], 0, __ATOMIC_SEQ_CST);
            sleepers->sleeping--;
            sleepers->waking = true;
            __atomic_add_fetch(&sleepers->watching, 1, __ATOMIC_SEQ_CST);
            return i;
        }
    return -1;
}

void sdt__sleepers_wake(struct sdt__sleepers *sleepers, int slot) {
    if (slot >= 0)
        syscall(SYS_futex, &sleepers->asleep[slot], FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

#ifdef STARPU_NON_BLOCKING_DRIVERS
/* Sleeps until a push, 1 ms at most: StarPU's driver loop also serves data requests and the end of
 * the run, and nobody wakes a worker for those. A watching worker comes and a watching worker
 * leaves. */
static void sleep_until_push(struct sdt__sleepers *sleepers, int slot) {
    struct timespec limit = {0, 1000 * 1000};
    STARPU_PTHREAD_MUTEX_LOCK(sleepers->mutex);
    bool sleeps = *sleepers->queued == 0;
    if (sleeps) {
        sleepers->asleep[slot] = 1;
        sleepers->sleeping++;
        __atomic_sub_fetch(&sleepers->watching, 1, __ATOMIC_SEQ_CST);
    }
    STARPU_PTHREAD_MUTEX_UNLOCK(sleepers->mutex);
    if (!sleeps)
        return;
    int next = -1;
    syscall(SYS_futex, &sleepers->asleep[slot], FUTEX_WAIT_PRIVATE, 1, &limit, NULL, 0);
    STARPU_PTHREAD_MUTEX_LOCK(sleepers->mutex);
    if (sleepers->asleep[slot]) { /* nobody has woken it */
        sleepers->asleep[slot] = 0;
        sleepers->sleeping--;
        __atomic_add_fetch(&sleepers->watching, 1, __ATOMIC_SEQ_CST);
    } else {
        sleepers->waking = false;
        if (*sleepers->queued > 0)
            next = sdt__sleepers_choose(sleepers, sleepers->first(sleepers->queue));
    }
    STARPU_PTHREAD_MUTEX_UNLOCK(sleepers->mutex);
    sdt__sleepers_wake(sleepers, next);
}

void sdt__sleepers_wait(struct sdt__sleepers *sleepers, int slot) {
    starpu_worker_relax_on();
    __atomic_add_fetch(&sleepers->watching, 1, __ATOMIC_SEQ_CST);
    int looks = sleepers->rested[slot] ? 0 : LOOKS;
    while (!__atomic_load_n(sleepers->queued, __ATOMIC_SEQ_CST) && looks-- > 0)
        sched_yield();
    if (looks < 0) {
        sleep_until_push(sleepers, slot);
        sleepers->rested[slot] = true;
    }
    __atomic_sub_fetch(&sleepers->watching, 1, __ATOMIC_SEQ_CST);
    starpu_worker_relax_off();
}
#else
void sdt__sleepers_wait(struct sdt__sleepers *sleepers, int slot) {
    (void)sleepers;
    (void)slot;
}
#endif

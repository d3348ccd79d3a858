/* How a worker waits in a policy: for a mutex, and for work. */
#ifndef STARDIT_IDLE_H
#define STARDIT_IDLE_H

#include <sched.h>
#include <time.h>

#include <starpu.h>
#include <starpu_scheduler.h>

/* Takes a mutex that other workers may hold, for less time than it takes to fall asleep on it and
 * be woken: worth some tries, at the end with the core given away between them to a holder that has
 * lost its own. `stardit-bench sched` shows both: waiting at once costs most where tasks have no
 * handles, giving the core away at once where they have some. Between relax_on and relax_off StarPU
 * may do its own business with this worker; a worker that waited elsewhere could wait for ever. */
static inline void sdt_lock(starpu_pthread_mutex_t *mutex) {
#ifdef STARPU_NON_BLOCKING_DRIVERS
    for (int tries = 0; tries < 40; tries++) {
        if (STARPU_PTHREAD_MUTEX_TRYLOCK(mutex) == 0)
            return;
        if (tries >= 30)
            sched_yield();
    }
#endif
    starpu_worker_relax_on();
    STARPU_PTHREAD_MUTEX_LOCK(mutex);
    starpu_worker_relax_off();
}

/* After a push that any worker may take: in simulation they sleep until they are woken. */
static inline void sdt_wake_all(void) {
#ifndef STARPU_NON_BLOCKING_DRIVERS
    for (unsigned w = 0; w < starpu_worker_get_count(); w++)
        starpu_wake_worker_relax_light((int)w);
#endif
}

/* What a worker without work does: gives its core away, a little longer each time. Called from
 * pop_task.
 *
 * A worker that spins instead costs the others their core: see the policies as shipped in
 * `stardit-bench sched`. A GPU worker's thread also drives its transfers, so it never sleeps.
 *
 * *empty_pops: pops in a row that found nothing; the caller sets it to 0 when one finds a task. */
static inline void sdt_idle(unsigned *empty_pops) {
#ifdef STARPU_NON_BLOCKING_DRIVERS
    struct timespec pause = {0, 50 * 1000};
    starpu_worker_relax_on();
    if (++*empty_pops < 50 ||
        starpu_worker_get_type(starpu_worker_get_id_check()) != STARPU_CPU_WORKER)
        sched_yield();
    else
        nanosleep(&pause, NULL);
    starpu_worker_relax_off();
#else
    (void)empty_pops; /* StarPU's drivers sleep by themselves */
#endif
}
#endif

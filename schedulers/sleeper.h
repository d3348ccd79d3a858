/* The idle CPU workers of one device: some watch its queue for a moment, the others sleep until
 * a push wakes one of them.
 *
 * Waking is a system call and a change of threads, which cost as much as several empty tasks.
 * While tasks are short, a worker watches and none is woken. While they are long, idle workers
 * sleep, and a push wakes one for each task. Workers are woken one at a time: each looks at the
 * queue again and wakes the next, or none where a burst of short tasks is gone already. */
#ifndef STARDIT_SLEEPER_H
#define STARDIT_SLEEPER_H

#include <stdbool.h>

#include <starpu.h>

struct sdt__sleepers {
    /* The queue that they wait for: its mutex, how many tasks it holds (also read without the
     * mutex), and with the mutex the task that would be taken first. Set by the policy. */
    starpu_pthread_mutex_t *mutex;
    const int *queued;
    struct starpu_task *(*first)(void *queue); /* queue is not empty */
    void *queue;

    int nworkers;
    int worker[STARPU_NMAXWORKERS]; /* by slot, a worker's place here */
    int watching; /* workers that will look at `queued` before they sleep; atomic */
    int sleeping; /* workers that will not */
    bool waking;  /* one of them has been woken and is not running yet */
    int asleep[STARPU_NMAXWORKERS];  /* by slot: 1 for those; futex word */
    bool rested[STARPU_NMAXWORKERS]; /* by slot: slept since its last task; its worker writes it */
};

/* With the mutex, after a push: makes a sleeping worker that can run the task a watching one, if
 * more tasks are queued than workers watch and none is being woken. Its slot; -1: none. */
int sdt__sleepers_choose(struct sdt__sleepers *sleepers, struct starpu_task *task);
/* Without the mutex: wakes the worker of this slot; -1: none. */
void sdt__sleepers_wake(struct sdt__sleepers *sleepers, int slot);
/* A worker that found the queue empty: returns when something may be there, or after a moment.
 * Where StarPU's drivers block by themselves (simulation), at once. */
void sdt__sleepers_wait(struct sdt__sleepers *sleepers, int slot);
/* Its worker has taken a task. */
static inline void sdt__sleepers_works(struct sdt__sleepers *sleepers, int slot) {
    sleepers->rested[slot] = false;
}
#endif

/* A queue: which of the jobs that could advance does so next.
 *
 * It is asked at every boundary, so choosing another job than last time is preemption: the one that
 * is not chosen waits with its state where it is. A queue is one file and one struct; list.c names
 * it. */
#ifndef STARDIT_QUEUE_H
#define STARDIT_QUEUE_H

#include "stardit/stardit.h"

/* What a queue may know of a job. */
struct sdt_waiting {
    unsigned long arrival; /* order of submission */
    enum sdt_job_phase phase;
    int priority;
    double arrived, deadline; /* on the clock of `now`; deadline: HUGE_VAL if it has none */
    int steps_left;
};

struct sdt_queue {
    const char *name;
    /* The index of the one that advances, of count >= 1, in the order of their arrival. now:
     * seconds. */
    int (*choose)(const struct sdt_waiting *job, int count, double now);
};

extern const struct sdt_queue *const sdt_queues[];        /* then NULL; the first is the default */
const struct sdt_queue *sdt_queue_find(const char *name); /* NULL if unknown */
#endif

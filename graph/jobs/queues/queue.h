/* A queue: which of the jobs that could advance does so next.
 *
 * It is asked at every boundary, so choosing another job than last time is preemption: the one that
 * is not chosen waits with its state where it is. A queue is one file and one struct; list.c names
 * it. What a queue may know of a job is struct sdt_waiting (stardit/stardit.h). */
#ifndef STARDIT_QUEUE_H
#define STARDIT_QUEUE_H

#include "stardit/stardit.h"

struct sdt_queue {
    const char *name;
    /* As sdt_queue_choose, of count >= 1. */
    int (*choose)(const struct sdt_waiting *job, int count, double now);
};

extern const struct sdt_queue *const sdt_queues[];        /* then NULL; the first is the default */
const struct sdt_queue *sdt_queue_find(const char *name); /* NULL if unknown */
#endif

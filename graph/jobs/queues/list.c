/* The queues, by name: a line each. */
#include "graph/jobs/queues/queue.h"

#include <string.h>

#define QUEUES(X)                                                                                  \
    X(fcfs)                                                                                        \
    X(priority)                                                                                    \
    X(edf)                                                                                         \
    X(srtf)

#define DECLARE(name) extern const struct sdt_queue sdt__queue_##name;
QUEUES(DECLARE)

#define LIST(name) &sdt__queue_##name,
const struct sdt_queue *const sdt_queues[] = {QUEUES(LIST) NULL};

const struct sdt_queue *sdt_queue_find(const char *name) {
    for (int i = 0; sdt_queues[i]; i++)
        if (!strcmp(sdt_queues[i]->name, name))
            return sdt_queues[i];
    return NULL;
}

const char *sdt_queue_name(int index) {
    for (int i = 0; sdt_queues[i]; i++)
        if (i == index)
            return sdt_queues[i]->name;
    return NULL;
}

int sdt_queue_choose(const char *name, const struct sdt_waiting *job, int count, double now) {
    const struct sdt_queue *queue = sdt_queue_find(name);
    return queue ? queue->choose(job, count, now) : -1;
}

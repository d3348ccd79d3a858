/* The queues, by name. */
#include "graph/jobs/queues/queue.h"

#include <string.h>

extern const struct sdt_queue sdt__queue_fcfs, sdt__queue_priority, sdt__queue_edf;

const struct sdt_queue *const sdt_queues[] = {
    &sdt__queue_fcfs,
    &sdt__queue_priority,
    &sdt__queue_edf,
    NULL,
};

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

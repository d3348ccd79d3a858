/* The highest priority first, and first come, first served among equals. */
#include "stardit/queue.h"

#include <stddef.h>

static int choose(const struct sdt_waiting *job, int count, double now) {
    int best = 0;
    (void)now;
    for (int i = 1; i < count; i++)
        if (job[i].priority > job[best].priority)
            best = i;
    return best;
}

const struct sdt_queue sdt__queue_priority = {SDT_QUEUE_ABI, "priority", choose, NULL};

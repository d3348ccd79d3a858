/* The earliest deadline first (Liu and Layland 1973), preemptive at steps; jobs without one come
 * last, in the order of their arrival. */
#include "stardit/queue.h"

#include <stddef.h>

static int choose(const struct sdt_waiting *job, int count, double now) {
    int best = 0;
    (void)now;
    for (int i = 1; i < count; i++)
        if (job[i].deadline < job[best].deadline)
            best = i;
    return best;
}

const struct sdt_queue sdt__queue_edf = {SDT_QUEUE_ABI, "edf", choose, NULL};

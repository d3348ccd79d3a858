/* The shortest remaining time first (Schrage 1968), preemptive at steps. What is left is counted in
 * FLOPs, since all jobs run on the same devices. Among equals one that has begun goes on, then the
 * first that came. Long jobs may wait for as long as short ones come. */
#include "stardit/queue.h"

#include <stddef.h>

static int choose(const struct sdt_waiting *job, int count, double now) {
    int best = 0;
    (void)now;
    for (int i = 1; i < count; i++)
        if (job[i].flops_left < job[best].flops_left ||
            (job[i].flops_left == job[best].flops_left && job[i].begun && !job[best].begun))
            best = i;
    return best;
}

const struct sdt_queue sdt__queue_srtf = {SDT_QUEUE_ABI, "srtf", choose, NULL};

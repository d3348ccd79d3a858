/* The shortest job first: as srtf, but a job that has begun is finished before another is. */
#include "stardit/queue.h"

#include <stddef.h>

static int choose(const struct sdt_waiting *job, int count, double now) {
    int best = 0;
    (void)now;
    for (int i = 1; i < count; i++)
        if (job[i].begun != job[best].begun
                ? job[i].begun
                : !job[i].begun && job[i].flops_left < job[best].flops_left)
            best = i;
    return best;
}

const struct sdt_queue sdt__queue_sjf = {SDT_QUEUE_ABI, "sjf", choose, NULL};

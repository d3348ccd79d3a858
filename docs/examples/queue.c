/* A queue of one's own, as a module: the highest response ratio next (Brinch Hansen 1971). Of jobs
 * that wait, the one goes on whose time since it came is longest beside the work that it has left.
 */
#include <stardit/queue.h>
#include <stddef.h>

static int choose(const struct sdt_waiting *job, int count, double now) {
    int best = 0;
    for (int i = 1; i < count; i++)
        if ((now - job[i].arrived) * job[best].flops_left >
            (now - job[best].arrived) * job[i].flops_left)
            best = i;
    return best;
}

static const struct sdt_queue queue = {SDT_QUEUE_ABI, "response-ratio", choose, NULL};

const struct sdt_queue *sdt_queue_module(void) { return &queue; }

/* The earliest deadline first, each on as few devices as meet it (GF-DiT's policy of that name).
 *
 * In the order of deadlines, then of priorities, then of arrival, a request takes the smallest
 * group by which it is done in time, else that by which it is done first, else (no deadline) the
 * largest. What is left goes to the most urgent one whose step gets shorter by the next larger
 * group, again and again. A request stays where it was if it can, else takes the devices with the
 * lowest numbers. */
#include "stardit/queue.h"

#include <math.h>
#include <stddef.h>

#include "graph/jobs/queues/sets.h"

struct placed {
    int job, size; /* of 2^size devices */
};

static double remaining(const struct sdt_sharer *job, int size) {
    return job->waiting.steps_left * job->step_seconds[size] + job->rest_seconds;
}

static bool may_have(const struct sdt_sharer *job, int size, int budget) {
    return size < SDT_QUEUE_SIZES && 1 << size <= budget &&
           (size == 0 || (job->waiting.phase == SDT_JOB_STEP && job->step_seconds[size] > 0.0));
}

static bool before(const struct sdt_waiting *a, const struct sdt_waiting *b) {
    if (a->deadline != b->deadline)
        return a->deadline < b->deadline;
    return a->priority != b->priority ? a->priority > b->priority : a->arrival < b->arrival;
}

/* The first in order of those that have nothing yet; -1: none. */
static int next(const struct sdt_share *share, const struct placed *placed, int count) {
    int best = -1;
    for (int i = 0; i < share->count; i++) {
        bool has = !share->job[i].ready;
        for (int p = 0; p < count && !has; p++)
            has = placed[p].job == i;
        if (!has && (best < 0 || before(&share->job[i].waiting, &share->job[best].waiting)))
            best = i;
    }
    return best;
}

static int size_of(const struct sdt_share *share, const struct sdt_sharer *job, int budget) {
    int best = 0;
    for (int size = 0; may_have(job, size, budget) || size == 0; size++) {
        if (isinf(job->waiting.deadline))
            best = size;
        else if (share->now + remaining(job, size) <= job->waiting.deadline)
            return size;
        else if (remaining(job, size) < remaining(job, best))
            best = size;
    }
    return best;
}

static void share_out(const struct sdt_share *share) {
    struct placed placed[SDT_QUEUE_DEVICES];
    int count = 0, budget = sdt__set_size(share->idle);
    for (int job; budget > 0 && (job = next(share, placed, count)) >= 0;) {
        placed[count] = (struct placed){job, size_of(share, &share->job[job], budget)};
        budget -= 1 << placed[count++].size;
    }
    for (int p = 0; p < count;) {
        const struct sdt_sharer *job = &share->job[placed[p].job];
        const int had = placed[p].size, more = budget + (1 << had);
        int size = had + 1;
        while (may_have(job, size, more) && job->step_seconds[size] >= job->step_seconds[had])
            size++;
        if (!may_have(job, size, more)) {
            p++;
            continue;
        }
        budget = more - (1 << size);
        placed[p].size = size;
        p = 0;
    }
    uint64_t idle = share->idle;
    for (int p = 0; p < count; p++) {
        const uint64_t last = share->job[placed[p].job].devices;
        const int devices = 1 << placed[p].size;
        const bool stays = sdt__set_size(last) == devices && (last & ~idle) == 0;
        share->given[placed[p].job] = stays ? last : sdt__set_lowest(idle, devices);
        idle &= ~share->given[placed[p].job];
    }
}

const struct sdt_queue sdt__queue_edf_best_fit = {SDT_QUEUE_ABI, "edf-best-fit", NULL, share_out};

/* As many deadlines as can be kept, at each boundary (GENSERVE, arXiv 2604.04335).
 *
 * Of each request that several devices can share there are candidates: it waits, goes on where it
 * was, on half of that, on twice that, or on a free group. What each is worth: whether it is in
 * time if it stays like that, and then 1 / (1 + its laxity), so that of two in time the one with
 * less to spare goes on. Requests of one device each take what these leave, by their deadlines. A
 * table over sets of devices finds the choice with most in time, and the largest sum among equals.
 * (The paper's table is over numbers of devices, and misses some of these.) Groups lie within 8
 * neighbouring devices, so a table has at most 256 sets.
 *
 * The paper lets a late request wait for as long as others are in time. Here one that has waited
 * for ten times what it takes alone goes on before all others, on one device, until it is done;
 * the first that came of several. */
#include "stardit/queue.h"

#include <math.h>
#include <stddef.h>

#include "graph/jobs/queues/sets.h"

static const double patience = 10.0;

/* ISLAND: devices of a table. SHARED: requests that share devices, of which a table takes those
 * that are worth most. CANDIDATES: of one request. */
enum { ISLAND = 8, SETS = 1 << ISLAND, SHARED = 64, CANDIDATES = 19 };

struct worth {
    int in_time;
    double score;
};

struct candidate {
    unsigned set; /* of the island's devices; 0: it waits */
    struct worth worth;
};

struct group { /* a request that several devices can share */
    int job, candidates;
    struct candidate candidate[CANDIDATES];
};

struct table {
    const struct sdt_share *share;
    int first; /* device of the island */
    unsigned idle;
    struct group group[SHARED];
    int groups;
    struct worth best[SETS];            /* of those groups up to now, on exactly this set */
    bool there[SETS];                   /* the set can be filled exactly */
    unsigned char chosen[SHARED][SETS]; /* which candidate of the group */
};

static bool is_more(struct worth a, struct worth b) {
    return a.in_time != b.in_time ? a.in_time > b.in_time : a.score > b.score;
}

static double remaining(const struct sdt_sharer *job, int size) {
    return job->waiting.steps_left * job->step_seconds[size] + job->rest_seconds;
}

/* Seconds to spare if it goes on now, on 2^size devices. */
static double laxity(const struct sdt_share *share, int job, int size) {
    return share->job[job].waiting.deadline - share->now - remaining(&share->job[job], size);
}

static struct worth worth_of(const struct sdt_share *share, int job, int size) {
    const double spare = laxity(share, job, size);
    return (struct worth){spare >= 0.0, 1.0 / (1.0 + fabs(spare))};
}

static bool is_open(const struct sdt_share *share, int job) {
    return share->job[job].ready && !share->given[job];
}

static bool is_shared(const struct sdt_sharer *job) {
    bool shared = false;
    for (int size = 1; size < SDT_QUEUE_SIZES; size++)
        shared |= job->step_seconds[size] > 0.0;
    return shared && job->waiting.phase == SDT_JOB_STEP;
}

/* ---- what has waited for too long ------------------------------------------------------------ */

static bool is_overdue(const struct sdt_share *share, int job) {
    const struct sdt_sharer *j = &share->job[job];
    const double waited = share->now - j->waiting.arrived - j->ran;
    return waited > patience * (j->ran + remaining(j, 0));
}

/* Returns the devices that are left. */
static uint64_t serve_overdue(const struct sdt_share *share) {
    uint64_t idle = share->idle;
    for (int i = 0; i < share->count && idle; i++) {
        if (!is_open(share, i) || !is_overdue(share, i))
            continue;
        const uint64_t last = share->job[i].devices & idle;
        share->given[i] = sdt__set_lowest(last ? last : idle, 1);
        idle &= ~share->given[i];
    }
    return idle;
}

/* ---- candidates ------------------------------------------------------------------------------ */

static void add(struct table *t, struct group *g, unsigned set) {
    int size = 0;
    while (1 << size < sdt__set_size(set))
        size++;
    if (!set || (set & ~t->idle) || 1 << size != sdt__set_size(set) ||
        (size > 0 && t->share->job[g->job].step_seconds[size] <= 0.0))
        return;
    for (int c = 0; c < g->candidates; c++)
        if (g->candidate[c].set == set)
            return;
    g->candidate[g->candidates++] = (struct candidate){set, worth_of(t->share, g->job, size)};
}

static void find_candidates(struct table *t, struct group *g) {
    const uint64_t devices = t->share->job[g->job].devices;
    const unsigned last = (unsigned)(devices >> t->first) & (SETS - 1);
    const int count = sdt__set_size(devices);
    g->candidates = 0;
    g->candidate[g->candidates++] = (struct candidate){0};
    if (last && (uint64_t)last << t->first == devices) {
        add(t, g, last);
        add(t, g, (unsigned)sdt__set_lowest(last & t->idle, count / 2));
        if (!(last & ~t->idle))
            add(t, g, last | (unsigned)sdt__set_lowest(t->idle & ~last, count));
    }
    for (int size = 0; 1 << size <= ISLAND; size++)
        for (unsigned left = t->idle; sdt__set_size(left) >= 1 << size;) {
            const unsigned set = (unsigned)sdt__set_lowest(left, 1 << size);
            add(t, g, set);
            left &= ~set;
        }
}

static struct worth most_of(const struct group *g) {
    struct worth most = {0};
    for (int c = 1; c < g->candidates; c++)
        if (is_more(g->candidate[c].worth, most))
            most = g->candidate[c].worth;
    return most;
}

/* Of more than fit in, those that are worth most alone. */
static void find_groups(struct table *t) {
    t->groups = 0;
    for (int i = 0; i < t->share->count; i++) {
        struct group g = {.job = i};
        if (!is_open(t->share, i) || !is_shared(&t->share->job[i]))
            continue;
        find_candidates(t, &g);
        if (t->groups < SHARED) {
            t->group[t->groups++] = g;
            continue;
        }
        int least = 0;
        for (int k = 1; k < SHARED; k++)
            if (is_more(most_of(&t->group[least]), most_of(&t->group[k])))
                least = k;
        if (is_more(most_of(&g), most_of(&t->group[least])))
            t->group[least] = g;
    }
}

/* ---- the table ------------------------------------------------------------------------------- */

static void fill(struct table *t) {
    for (int s = 0; s < SETS; s++)
        t->there[s] = s == 0;
    t->best[0] = (struct worth){0};
    for (int g = 0; g < t->groups; g++)
        for (unsigned s = SETS - 1; s < SETS; s--) { /* larger sets first: each group counts once */
            bool found = false;
            struct worth best = {0};
            for (int c = 0; c < t->group[g].candidates; c++) {
                const struct candidate *candidate = &t->group[g].candidate[c];
                const unsigned rest = s & ~candidate->set;
                if ((candidate->set & ~s) || !t->there[rest])
                    continue;
                const struct worth sum = {t->best[rest].in_time + candidate->worth.in_time,
                                          t->best[rest].score + candidate->worth.score};
                if (found && !is_more(sum, best))
                    continue;
                found = true;
                best = sum;
                t->chosen[g][s] = (unsigned char)c;
            }
            t->there[s] = found;
            t->best[s] = best;
        }
}

/* The next of one device by deadline, behind `last` (-1: the first) that can be in time, or cannot;
 * -1: none. */
static int next_single(const struct sdt_share *share, int last, bool in_time) {
    int best = -1;
    for (int i = 0; i < share->count; i++) {
        if (!is_open(share, i) || is_shared(&share->job[i]) ||
            (laxity(share, i, 0) >= 0.0) != in_time)
            continue;
        const double at = share->job[i].waiting.deadline;
        if (last >= 0 && (at < share->job[last].waiting.deadline ||
                          (at == share->job[last].waiting.deadline && i <= last)))
            continue;
        if (best < 0 || at < share->job[best].waiting.deadline)
            best = i;
    }
    return best;
}

/* Which set requests that share devices get, so that with the others most are in time. */
static unsigned choose_set(const struct table *t) {
    struct worth single[ISLAND + 1] = {{0}}, most = {-1, 0.0};
    const int devices = sdt__set_size(t->idle);
    unsigned chosen = 0;
    for (int n = 0, job = -1; n < devices; n++) {
        single[n + 1] = single[n];
        if ((n == 0 || job >= 0) && (job = next_single(t->share, job, true)) >= 0) {
            single[n + 1].in_time++;
            single[n + 1].score += 1.0 / (1.0 + laxity(t->share, job, 0));
        }
    }
    for (unsigned s = 0; s < SETS; s++) {
        if (!t->there[s])
            continue;
        const struct worth *others = &single[devices - sdt__set_size(s)];
        const struct worth sum = {t->best[s].in_time + others->in_time,
                                  t->best[s].score + others->score};
        if (is_more(sum, most)) {
            most = sum;
            chosen = s;
        }
    }
    return chosen;
}

static void give_singles(const struct sdt_share *share, uint64_t idle) {
    for (int late = 0; late < 2; late++)
        for (int job; idle && (job = next_single(share, -1, !late)) >= 0;) {
            const uint64_t last = share->job[job].devices & idle;
            share->given[job] = sdt__set_lowest(last ? last : idle, 1);
            idle &= ~share->given[job];
        }
}

static void share_out(const struct sdt_share *share) {
    const uint64_t idle = serve_overdue(share);
    struct table t = {.share = share};
    for (t.first = 0; t.first < SDT_QUEUE_DEVICES; t.first += ISLAND) {
        t.idle = (unsigned)(idle >> t.first) & (SETS - 1);
        if (!t.idle)
            continue;
        find_groups(&t);
        fill(&t);
        unsigned set = choose_set(&t), left = t.idle & ~set;
        for (int g = t.groups - 1; g >= 0; g--) {
            const struct candidate *c = &t.group[g].candidate[t.chosen[g][set]];
            share->given[t.group[g].job] = (uint64_t)c->set << t.first;
            set &= ~c->set;
        }
        give_singles(share, (uint64_t)left << t.first);
    }
}

const struct sdt_queue sdt__queue_genserve = {SDT_QUEUE_ABI, "genserve", NULL, share_out};

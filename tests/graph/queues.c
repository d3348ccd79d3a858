/* Queues that share devices out: cases by hand, what a search over all choices finds, and that
 * nobody waits for ever. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "stardit/stardit.h"
#include "tests/check.h"

enum { MOST = 8, CANDIDATES = 24 };

struct scene {
    struct sdt_sharer job[MOST];
    uint64_t given[MOST];
    struct sdt_share share;
};

static const struct sdt_queue *queue_of(const char *name) {
    const struct sdt_queue *queue = NULL;
    struct sdt_error err = {0};
    CHECK(sdt_queue_open(name, &queue, &err) == SDT_OK, "%s: %s", name, err.message);
    return queue;
}

/* As stardit says how a request stands: seconds on one device are left, and 2^i devices are
 * (2^i)^power times as fast; power 0: it takes one device alone. */
static struct sdt_sharer *add(struct scene *s, double deadline, double seconds, double power,
                              uint64_t devices) {
    struct sdt_sharer *job = &s->job[s->share.count];
    *job = (struct sdt_sharer){.waiting = {.arrival = (unsigned long)s->share.count,
                                           .phase = SDT_JOB_STEP,
                                           .begun = devices != 0,
                                           .deadline = deadline,
                                           .steps_left = 10},
                               .ready = true,
                               .devices = devices,
                               .step_seconds = {seconds / 10.0}};
    for (int i = 1; power > 0.0 && i < 4; i++)
        job->step_seconds[i] = job->step_seconds[0] / pow(1 << i, power);
    s->share.count++;
    return job;
}

static void begin(struct scene *s, uint64_t idle) {
    *s = (struct scene){.share = {.devices = 8, .idle = idle}};
    s->share.job = s->job;
    s->share.given = s->given;
}

/* What every queue must keep to. */
static void check_given(const struct scene *s, const char *what) {
    uint64_t seen = 0;
    for (int i = 0; i < s->share.count; i++) {
        const uint64_t set = s->given[i];
        const int count = __builtin_popcountll(set);
        int size = 0;
        while (1 << size < count)
            size++;
        CHECK(!set || (1 << size == count && s->job[i].step_seconds[size] > 0.0 && s->job[i].ready),
              "%s: request %d has %d devices", what, i, count);
        CHECK(!(set & (seen | ~s->share.idle)), "%s: request %d has what others have", what, i);
        seen |= set;
    }
}

/* ---- edf-best-fit ---------------------------------------------------------------------------- */

static void best_fit(void) {
    const struct sdt_queue *queue = queue_of("edf-best-fit");
    static const struct {
        const char *what;
        uint64_t idle;
        struct {
            double deadline, seconds;
            uint64_t devices, given;
        } job[3];
    } row[] = {
        {"one grows", 0xff, {{40, 40, 0, 0x3}, {100, 504, 0, 0x3c}, {HUGE_VAL, 1002, 0, 0xc0}}},
        {"both grow", 0xff, {{40, 40, 0x10, 0xf}, {300, 504, 0x3, 0xf0}}},
        {"one has all", 0x0f, {{20, 40, 0, 0xf}, {20, 40, 0, 0}, {20, 40, 0, 0}}},
        {"one stays", 0x0f, {{30, 40, 0xc, 0xc}, {40, 9, 0x1, 0x3}}},
        {"two stay", 0x33, {{90, 80, 0x30, 0x30}, {80, 70, 0x3, 0x3}}},
    };
    for (size_t r = 0; r < sizeof row / sizeof row[0]; r++) {
        struct scene s;
        begin(&s, row[r].idle);
        for (int j = 0; j < 3 && row[r].job[j].seconds > 0.0; j++)
            add(&s, row[r].job[j].deadline, row[r].job[j].seconds, 0.8, row[r].job[j].devices);
        queue->share(&s.share);
        check_given(&s, row[r].what);
        for (int j = 0; j < s.share.count; j++)
            CHECK(s.given[j] == row[r].job[j].given, "%s: request %d has devices %#llx, not %#llx",
                  row[r].what, j, (unsigned long long)s.given[j],
                  (unsigned long long)row[r].job[j].given);
    }
    struct scene
        s; /* among equals the higher priority; a decode has one device; one is not there */
    begin(&s, 0x3);
    add(&s, 50, 100, 0.8, 0)->ready = false;
    add(&s, 50, 100, 0.8, 0);
    add(&s, 50, 100, 0.8, 0x2)->waiting.priority = 1;
    s.job[2].waiting.phase = SDT_JOB_DECODE;
    s.job[2].waiting.steps_left = 0;
    s.job[2].rest_seconds = 3;
    queue->share(&s.share);
    CHECK(s.given[0] == 0 && s.given[1] == 0x1 && s.given[2] == 0x2, "devices %#llx and %#llx",
          (unsigned long long)s.given[1], (unsigned long long)s.given[2]);
}

/* ---- genserve -------------------------------------------------------------------------------- */

struct worth {
    int in_time;
    double score;
};

static double spare(const struct scene *s, int job, int count) {
    int size = 0;
    while (1 << size < count)
        size++;
    const struct sdt_sharer *j = &s->job[job];
    return j->waiting.deadline - s->share.now - j->waiting.steps_left * j->step_seconds[size];
}

static bool is_single(const struct sdt_sharer *job) { return job->step_seconds[1] <= 0.0; }

/* Of the sets that requests which share have, with the others by deadline on what is left. */
static struct worth worth_of(const struct scene *s, const uint64_t *set) {
    struct worth sum = {0};
    uint64_t left = s->share.idle;
    bool taken[MOST] = {false};
    for (int i = 0; i < s->share.count; i++) {
        if (is_single(&s->job[i]) || !set[i])
            continue;
        const double l = spare(s, i, __builtin_popcountll(set[i]));
        sum.in_time += l >= 0.0;
        sum.score += 1.0 / (1.0 + fabs(l));
        left &= ~set[i];
    }
    for (int n = __builtin_popcountll(left); n > 0; n--) {
        int next = -1;
        for (int i = 0; i < s->share.count; i++)
            if (is_single(&s->job[i]) && !taken[i] && spare(s, i, 1) >= 0.0 &&
                (next < 0 || s->job[i].waiting.deadline < s->job[next].waiting.deadline))
                next = i;
        if (next < 0)
            break;
        taken[next] = true;
        sum.in_time++;
        sum.score += 1.0 / (1.0 + spare(s, next, 1));
    }
    return sum;
}

/* Sets that a request may get: those it had, half, twice that, and neighbours among the idle ones.
 */
static int candidates_of(const struct scene *s, int job, uint64_t candidate[CANDIDATES]) {
    const uint64_t idle = s->share.idle, had = s->job[job].devices;
    int count = 0, idles = 0, device[64];
    candidate[count++] = 0;
    for (int d = 0; d < 64; d++)
        if (idle >> d & 1)
            device[idles++] = d;
    if (had && !(had & ~idle)) {
        uint64_t more = had;
        int wanted = __builtin_popcountll(had);
        candidate[count++] = had;
        for (int i = 0; i < idles && wanted > 0; i++)
            if (!(had >> device[i] & 1)) {
                more |= (uint64_t)1 << device[i];
                wanted--;
            }
        if (wanted == 0)
            candidate[count++] = more;
    }
    if (had && __builtin_popcountll(had & idle) >= __builtin_popcountll(had) / 2 &&
        __builtin_popcountll(had) > 1) {
        uint64_t half = 0;
        int wanted = __builtin_popcountll(had) / 2;
        for (int i = 0; i < idles && wanted > 0; i++)
            if (had >> device[i] & 1) {
                half |= (uint64_t)1 << device[i];
                wanted--;
            }
        candidate[count++] = half;
    }
    for (int width = 1; width <= idles; width *= 2)
        for (int first = 0; first + width <= idles; first += width) {
            uint64_t set = 0;
            for (int i = 0; i < width; i++)
                set |= (uint64_t)1 << device[first + i];
            candidate[count++] = set;
        }
    return count;
}

/* The best of all choices, one request after another. */
static void search(const struct scene *s, int job, uint64_t taken, uint64_t set[MOST],
                   struct worth *best) {
    if (job == s->share.count) {
        const struct worth w = worth_of(s, set);
        if (w.in_time > best->in_time || (w.in_time == best->in_time && w.score > best->score))
            *best = w;
        return;
    }
    uint64_t candidate[CANDIDATES];
    const int count = is_single(&s->job[job]) ? 0 : candidates_of(s, job, candidate);
    if (count == 0)
        search(s, job + 1, taken, set, best);
    for (int c = 0; c < count; c++)
        if (!(candidate[c] & taken)) {
            set[job] = candidate[c];
            search(s, job + 1, taken | candidate[c], set, best);
        }
    set[job] = 0;
}

static double uniform(double from, double to) {
    return from + (to - from) * (double)(rand() % 100000) / 1e5;
}

static void random_case(struct scene *s, int devices, int shared) {
    const uint64_t all = ((uint64_t)1 << devices) - 1;
    uint64_t free = all;
    begin(s, 0);
    s->share.devices = devices;
    s->share.idle = (uint64_t)rand() & all;
    for (int j = 0; j < MOST; j++) {
        uint64_t had = 0;
        const int wanted = rand() % 3 ? 0 : 1 << rand() % 3;
        for (int d = 0; d < devices && __builtin_popcountll(had) < wanted; d++)
            if (free >> d & 1 && rand() % 2)
                had |= (uint64_t)1 << d;
        if (__builtin_popcountll(had) != wanted || j >= shared)
            had = 0;
        free &= ~had;
        add(s, uniform(0, 40), uniform(1, 60), j < shared ? 0.8 : 0.0, had);
    }
}

static void against_search(void) {
    const struct sdt_queue *queue = queue_of("genserve");
    static const struct {
        int devices, shared, cases;
    } row[] = {{4, 4, 600}, {8, 4, 300}, {8, 5, 40}};
    srand(7);
    for (size_t r = 0; r < sizeof row / sizeof row[0]; r++) {
        int below = 0, filled = 0;
        for (int n = 0; n < row[r].cases; n++) {
            struct scene s;
            uint64_t set[MOST] = {0};
            struct worth best = {-1, 0.0};
            random_case(&s, row[r].devices, row[r].shared);
            search(&s, 0, 0, set, &best);
            queue->share(&s.share);
            check_given(&s, "genserve");
            const struct worth found = worth_of(&s, s.given);
            below += found.in_time != best.in_time || fabs(found.score - best.score) > 1e-9;
            filled += best.in_time > 0;
        }
        printf(
            "genserve, %d devices, %d that share them: %d of %d choices below the best, %d of them "
            "keep a deadline\n",
            row[r].devices, row[r].shared, below, row[r].cases, filled);
        CHECK(below == 0 && filled > row[r].cases / 2, "%d below, %d filled", below, filled);
    }
}

/* One device, for which urgent requests of a second come without end, and one that is too late
 * already: it takes 5 seconds, and waits for no more than ten times that before it is done. */
static double end_of_late(const char *name, double until) {
    const struct sdt_queue *queue = queue_of(name);
    struct scene s;
    begin(&s, 1);
    s.share.devices = 1;
    struct sdt_sharer *late = add(&s, -1000, 5, 0.8, 0), *urgent = add(&s, 0, 1, 0.0, 0);
    urgent->waiting.steps_left = 1;
    urgent->step_seconds[0] = 1.0;
    while (s.share.now < until && late->waiting.steps_left > 0) {
        urgent->waiting.deadline = s.share.now + 1.5;
        urgent->waiting.arrived = s.share.now;
        memset(s.given, 0, sizeof s.given);
        queue->share(&s.share);
        const bool one = s.given[0] != 0;
        s.share.now += one ? late->step_seconds[0] : 1.0;
        late->waiting.steps_left -= one;
        late->ran += one ? late->step_seconds[0] : 0.0;
        late->devices = 1;
    }
    return late->waiting.steps_left ? HUGE_VAL : s.share.now;
}

static void nobody_starves(void) {
    const double end = end_of_late("genserve", 1000);
    printf("genserve: a late request of 5 s among urgent ones ends after %.1f s\n", end);
    CHECK(end > 50.0 && end <= 5.0 + 10.0 * 5.0 + 1.0, "it ends after %g s", end);
}

int main(void) {
    best_fit();
    against_search();
    nobody_starves();
    return failures > 0;
}

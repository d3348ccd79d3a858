/* Counting tasks in and out, and the watch over tasks that never end. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "runtime/lane.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "runtime/devices.h"

/* Slots are made in chunks that never move: tasks that end write into them. */
struct sdt__lane_chunk {
    struct sdt__lane_chunk *next;
    struct sdt_pending slot[SDT_LANE_CHUNK];
};

/* Chunks for so many tasks. */
static bool reserve(struct sdt_lane *lane, int tasks) {
    while (lane->slots < tasks) {
        struct sdt__lane_chunk *chunk = calloc(1, sizeof *chunk);
        if (!chunk)
            return false;
        chunk->next = lane->chunk;
        lane->chunk = lane->at = chunk;
        lane->index = 0;
        lane->slots += SDT_LANE_CHUNK;
    }
    return true;
}

void sdt__lane_init(struct sdt_lane *lane, int most, struct sdt_progress_watch *watch) {
    *lane = (struct sdt_lane){.most = most, .watch = watch};
    starpu_pthread_mutex_init(&lane->mutex, NULL);
#ifdef STARPU_SIMGRID
    starpu_pthread_cond_init(&lane->changed, NULL);
#else
    pthread_condattr_t clock;
    pthread_condattr_init(&clock);
    pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
    pthread_cond_init(&lane->changed, &clock);
    pthread_condattr_destroy(&clock);
#endif
}

void sdt__lane_allow(struct sdt_lane *lane, int tasks) {
    if (!lane->fixed && lane->most < tasks)
        lane->most = tasks;
}

void sdt__lane_clear(struct sdt_lane *lane) {
    while (lane->chunk) {
        struct sdt__lane_chunk *chunk = lane->chunk;
        lane->chunk = chunk->next;
        free(chunk);
    }
    starpu_pthread_cond_destroy(&lane->changed);
    starpu_pthread_mutex_destroy(&lane->mutex);
}

/* Whoever inserts into a full lane waits until a quarter of it is free, but at least one place. */
static int low_water(const struct sdt_lane *lane) {
    return lane->most - (lane->most < 4 ? 1 : lane->most / 4);
}

/* The next free slot. There is one: fewer tasks are pending than there are slots. */
static struct sdt_pending *take_slot(struct sdt_lane *lane) {
    for (;;) {
        if (lane->index == SDT_LANE_CHUNK) {
            lane->at = lane->at->next ? lane->at->next : lane->chunk;
            lane->index = 0;
        }
        struct sdt_pending *slot = &lane->at->slot[lane->index++];
        if (atomic_load_explicit(&slot->number, memory_order_acquire) == 0)
            return slot;
    }
}

struct sdt_pending *sdt__lane_enter(struct sdt_lane *lane, const struct sdt_tag *tag) {
    struct sdt_pending *slot = take_slot(lane);
    slot->tag = tag;
    atomic_store_explicit(&slot->number, ++lane->entered, memory_order_release);
    atomic_fetch_add(&lane->pending, 1);
    return slot;
}

/* The inserting thread says what it waits for, then looks at the tasks. A task that ends leaves
 * first, then looks for a waiting thread. So one of the two sees the other, and no lock is taken
 * while no thread waits. */
void sdt__lane_leave(struct sdt_lane *lane, struct sdt_pending *slot) {
    struct sdt_progress_watch *watch = lane->watch;
    unsigned long number = atomic_exchange(&slot->number, 0);
    int left = atomic_fetch_sub(&lane->pending, 1) - 1;
    bool wakes = atomic_load(&lane->waits) &&
                 (left == atomic_load(&lane->enough) || number == atomic_load(&lane->awaited));
    if (wakes) {
        starpu_pthread_mutex_lock(&lane->mutex);
        starpu_pthread_cond_broadcast(&lane->changed);
        starpu_pthread_mutex_unlock(&lane->mutex);
    }
    atomic_fetch_add(&watch->ended, 1);
}

/* The newest pending task among the first `mark`: most of those before it end before it. */
static unsigned long newest_before(const struct sdt_lane *lane, unsigned long mark) {
    unsigned long newest = 0;
    for (const struct sdt__lane_chunk *chunk = lane->chunk; chunk; chunk = chunk->next)
        for (int i = 0; i < SDT_LANE_CHUNK; i++) {
            unsigned long number = atomic_load(&chunk->slot[i].number);
            if (number <= mark && number > newest)
                newest = number;
        }
    return newest;
}

/* The oldest pending task behind number `after`; NULL: none. */
static const struct sdt_pending *oldest_after(const struct sdt_lane *lane, unsigned long after) {
    const struct sdt_pending *oldest = NULL;
    unsigned long least = 0;
    for (const struct sdt__lane_chunk *chunk = lane->chunk; chunk; chunk = chunk->next)
        for (int i = 0; i < SDT_LANE_CHUNK; i++) {
            unsigned long number = atomic_load(&chunk->slot[i].number);
            if (number > after && (!oldest || number < least)) {
                oldest = &chunk->slot[i];
                least = number;
            }
        }
    return oldest;
}

/* None has ended for long, so their tags are there. */
void sdt__lane_waiting(const struct sdt_lane *lane, char *text, size_t size) {
    const struct sdt_pending *task = oldest_after(lane, 0);
    size_t length = 0;
    text[0] = '\0';
    for (int i = 0; task && i < 6 && length < size; i++) {
        const struct sdt_tag *t = task->tag;
        char device[SDT_DEVICE_NAME];
        int n =
            snprintf(text + length, size - length, "%s%s (request %d, layer %d, %s)", i ? ", " : "",
                     t->name, t->request, t->layer, sdt__device_title(t->device, device));
        length += n > 0 ? (size_t)n : 0;
        task = oldest_after(lane, atomic_load(&task->number));
    }
}

/* Is it there? Says what to wait for, if not. */
static bool arrived(struct sdt_lane *lane, int pending, unsigned long mark) {
    if (mark == 0)
        return atomic_load(&lane->pending) <= pending;
    for (;;) {
        unsigned long newest = newest_before(lane, mark);
        atomic_store(&lane->awaited, newest);
        /* It may have ended before it was said to be awaited. */
        if (newest == 0 || newest_before(lane, mark) == newest)
            return newest == 0;
    }
}

/* Waits until at most `pending` tasks are left or, with a mark above 0, until it is reached. */
static bool wait_for(struct sdt_lane *lane, int pending, unsigned long mark,
                     struct sdt_error *err) {
#ifndef STARPU_SIMGRID
    unsigned long seen = atomic_load(&lane->watch->ended);
#endif
    double waited = 0.0;
    bool stalled = false;

    starpu_pthread_mutex_lock(&lane->mutex);
    atomic_store(&lane->enough, mark > 0 ? -1 : pending);
    atomic_store(&lane->waits, true);
    while (!stalled && !arrived(lane, pending, mark)) {
#ifdef STARPU_SIMGRID
        /* A watch of its own ends a simulation in which nothing can end (simulation.c). */
        starpu_pthread_cond_wait(&lane->changed, &lane->mutex);
#else
        struct timespec until;
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_sec += 1;
        if (pthread_cond_timedwait(&lane->changed, &lane->mutex, &until) != ETIMEDOUT)
            continue;
        unsigned long ended = atomic_load(&lane->watch->ended);
        waited = ended == seen ? waited + 1.0 : 0.0;
        seen = ended;
        stalled = lane->watch->stall_seconds > 0.0 && waited >= lane->watch->stall_seconds;
#endif
    }
    atomic_store(&lane->waits, false);
    atomic_store(&lane->awaited, 0);
    if (stalled) {
        char names[400];
        atomic_store(&lane->watch->stalled, true);
        sdt__lane_waiting(lane, names, sizeof names);
        sdt_fail(err, SDT_ERROR_STALLED, "no task has ended for %.0f s; %d wait, the oldest: %s",
                 waited, atomic_load(&lane->pending), names);
    }
    starpu_pthread_mutex_unlock(&lane->mutex);
    return !stalled;
}

bool sdt__lane_make_room(struct sdt_lane *lane, struct sdt_error *err) {
    if (lane->slots < lane->most && !reserve(lane, lane->most)) {
        sdt_fail(err, SDT_ERROR_MEMORY, "out of memory for %d tasks in flight", lane->most);
        return false;
    }
    return atomic_load_explicit(&lane->pending, memory_order_relaxed) < lane->most ||
           wait_for(lane, low_water(lane), 0, err);
}

bool sdt__lane_reach(struct sdt_lane *lane, unsigned long mark, struct sdt_error *err) {
    return mark == 0 || wait_for(lane, 0, mark, err);
}

bool sdt__lane_drain(struct sdt_lane *lane, struct sdt_error *err) {
    return wait_for(lane, 0, 0, err);
}

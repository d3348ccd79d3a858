/* Counting tasks in and out, and the watch over tasks that never end. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "runtime/lane.h"

#include <errno.h>
#include <stdio.h>
#include <time.h>

#include "runtime/devices.h"

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
    starpu_pthread_mutex_lock(&lane->mutex);
    if (!lane->fixed && lane->most < tasks)
        lane->most = tasks;
    starpu_pthread_mutex_unlock(&lane->mutex);
}

void sdt__lane_clear(struct sdt_lane *lane) {
    starpu_pthread_cond_destroy(&lane->changed);
    starpu_pthread_mutex_destroy(&lane->mutex);
}

/* Whoever inserts into a full lane waits until a quarter of it is free, but at least one place. */
static int low_water(const struct sdt_lane *lane) {
    return lane->most - (lane->most < 4 ? 1 : lane->most / 4);
}

/* Has every task before the mark ended? Under the mutex. */
static bool reached(const struct sdt_lane *lane, unsigned long mark) {
    return !lane->oldest || lane->oldest->number >= mark;
}

void sdt__lane_enter(struct sdt_lane *lane, struct sdt_pending *task) {
    starpu_pthread_mutex_lock(&lane->mutex);
    task->older = lane->newest;
    task->newer = NULL;
    if (lane->newest)
        lane->newest->newer = task;
    else
        lane->oldest = task;
    lane->newest = task;
    task->number = lane->entered++;
    lane->pending++;
    starpu_pthread_mutex_unlock(&lane->mutex);
}

void sdt__lane_leave(struct sdt_lane *lane, struct sdt_pending *task) {
    starpu_pthread_mutex_lock(&lane->mutex);
    if (task->newer)
        task->newer->older = task->older;
    else
        lane->newest = task->older;
    if (task->older)
        task->older->newer = task->newer;
    else
        lane->oldest = task->newer;
    lane->pending--;
    atomic_fetch_add(&lane->watch->ended, 1);
    if (lane->pending == 0 || lane->pending == low_water(lane) ||
        (lane->awaited > 0 && reached(lane, lane->awaited)))
        starpu_pthread_cond_broadcast(&lane->changed);
    starpu_pthread_mutex_unlock(&lane->mutex);
}

/* The names of the oldest pending tasks. */
static void name_waiting(const struct sdt_lane *lane, char *text, size_t size) {
    const struct sdt_pending *task = lane->oldest;
    size_t length = 0;
    text[0] = '\0';
    for (int i = 0; task && i < 6 && length < size; i++, task = task->newer) {
        const struct sdt_tag *t = task->tag;
        char device[SDT_DEVICE_NAME];
        int n =
            snprintf(text + length, size - length, "%s%s (request %d, layer %d, %s)", i ? ", " : "",
                     t->name, t->request, t->layer, sdt__device_title(t->device, device));
        length += n > 0 ? (size_t)n : 0;
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
    lane->awaited = mark;
    while ((mark > 0 ? !reached(lane, mark) : lane->pending > pending) && !stalled) {
#ifdef STARPU_SIMGRID
        /* Virtual time stands still when nothing can end: SimGrid itself reports a deadlock. */
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
    lane->awaited = 0;
    if (stalled) {
        char names[400];
        atomic_store(&lane->watch->stalled, true);
        name_waiting(lane, names, sizeof names);
        sdt_fail(err, SDT_ERROR_STALLED, "no task has ended for %.0f s; %d wait, the oldest: %s",
                 waited, lane->pending, names);
    }
    starpu_pthread_mutex_unlock(&lane->mutex);
    return !stalled;
}

bool sdt__lane_make_room(struct sdt_lane *lane, struct sdt_error *err) {
    return lane->pending < lane->most || wait_for(lane, low_water(lane), 0, err);
}

bool sdt__lane_reach(struct sdt_lane *lane, unsigned long mark, struct sdt_error *err) {
    return mark == 0 || wait_for(lane, 0, mark, err);
}

bool sdt__lane_drain(struct sdt_lane *lane, struct sdt_error *err) {
    return wait_for(lane, 0, 0, err);
}

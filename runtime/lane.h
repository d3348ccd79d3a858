/* A lane: the tasks that one thread inserts, bounded in number and waited for together.
 *
 * A full lane makes its thread wait, so memory does not grow with the length of a run. Each thread
 * that inserts has a lane of its own: a full lane of denoising tasks does not stop decoding. */
#ifndef STARDIT_LANE_H
#define STARDIT_LANE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <starpu.h>

#include "stardit/status.h"
#include "stardit/tag.h"

/* A task on its way: inserted and not ended. */
struct sdt_pending {
    atomic_ulong number; /* in its lane, from 1; 0: a free slot */
    const struct sdt_tag *tag;
};

/* What all lanes of a machine share: is anything still ending? */
struct sdt_progress_watch {
    atomic_ulong ended;   /* tasks, of all lanes */
    atomic_bool stalled;  /* a wait was given up */
    double stall_seconds; /* no task ended for so long: waits are given up; 0: never */
    /* for tests: called at every task's end, on its worker's thread; or NULL */
    void (*task_ended)(void *arg);
    void *task_ended_arg;
};

/* Slots of pending tasks are made so many at a time. */
enum { SDT_LANE_CHUNK = 1024 };
struct sdt__lane_chunk;

struct sdt_lane {
    /* Of the inserting thread. */
    int most;              /* the bound on pending tasks */
    bool fixed;            /* it was given: it does not grow */
    unsigned long entered; /* tasks so far */
    int64_t next_tag;      /* of the next vector, the same at all ranks */
    struct sdt__lane_chunk *chunk, *at;
    int slots, index; /* of all chunks; the next to try, of `at` */
    struct sdt_progress_watch *watch;
    /* Of all. */
    atomic_int pending;
    /* What the inserting thread waits for, if it does: so few tasks, or the end of that one. */
    atomic_bool waits;
    atomic_int enough;
    atomic_ulong awaited;
    starpu_pthread_mutex_t mutex; /* StarPU's, for simulated time; natively pthread's */
    starpu_pthread_cond_t changed;
};
void sdt__lane_init(struct sdt_lane *lane, int most, struct sdt_progress_watch *watch);
void sdt__lane_clear(struct sdt_lane *lane);
/* Room for at least so many pending tasks, unless the bound was given. By the inserting thread. */
void sdt__lane_allow(struct sdt_lane *lane, int tasks);

/* A task comes, once there is room, and goes, on the worker's thread. The tag is the task's own. */
struct sdt_pending *sdt__lane_enter(struct sdt_lane *lane, const struct sdt_tag *tag);
void sdt__lane_leave(struct sdt_lane *lane, struct sdt_pending *task);

/* Before a task is inserted: waits while the lane is full. The three waits return false when no
 * task of the machine has ended for stall_seconds; *err is SDT_ERROR_STALLED then, with the names
 * of the tasks that wait. The first also for SDT_ERROR_MEMORY. */
bool sdt__lane_make_room(struct sdt_lane *lane, struct sdt_error *err);
/* Until every task before the mark (lane->entered at some time) has ended. */
bool sdt__lane_reach(struct sdt_lane *lane, unsigned long mark, struct sdt_error *err);
/* Names, devices and requests of the oldest tasks on their way, while none of them ends. */
void sdt__lane_waiting(const struct sdt_lane *lane, char *text, size_t size);
/* Until none is left. */
bool sdt__lane_drain(struct sdt_lane *lane, struct sdt_error *err);
#endif

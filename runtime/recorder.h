/* What happened: one record per finished task, and the graph as it was inserted.
 *
 * Records feed --stats, --trace (Chrome/Perfetto JSON) and --dot. Counting is always on; keeping
 * each record or edge is not (a full-size video has millions of tasks). */
#ifndef STARDIT_RECORDER_H
#define STARDIT_RECORDER_H

#include <stdbool.h>
#include <stdio.h>

#include <starpu.h>

#include "schedulers/tag.h"
#include "stardit/stardit.h"

struct sdt_recorder;
struct sdt_place;

/* keep_records: for a trace; keep_edges: for a graph. NULL: out of memory. */
struct sdt_recorder *sdt__recorder_new(bool keep_records, bool keep_edges);
void sdt__recorder_free(struct sdt_recorder *recorder);
/* Which memories are whose; before the first task. */
void sdt__recorder_devices(struct sdt_recorder *recorder, int devices,
                           const struct sdt_place *device);

/* Called by task.c before submission, on any thread that inserts; gives the tag its id. least:
 * what no schedule can beat, where bounds are kept. */
struct sdt_least {
    double us;      /* on the fastest worker that may run it */
    double work_us; /* of all devices' time together, by the device that is best at it */
};
void sdt__recorder_inserted(struct sdt_recorder *recorder, const struct starpu_task *task,
                            struct sdt_tag *tag, const struct sdt_least *least);
/* From now on. */
void sdt__recorder_keep_bounds(struct sdt_recorder *recorder);
bool sdt__recorder_keeps_bounds(const struct sdt_recorder *recorder);
/* Of all that was inserted so far: the longest chain of tasks that wait for one another, without
 * transfers, and the work that devices share. */
struct sdt_bounds {
    double path_us, work_us;
};
struct sdt_bounds sdt__recorder_bounds(const struct sdt_recorder *recorder);

/* Steps that are not simulated in full (graph/jobs/fast.c): tasks of the class
 * SDT_CLASS_GIVEN take their place. What a step of the simulated ones did: */
struct sdt_step_record {
    struct sdt_role_totals totals[SDT_MAX_DEVICES + 1][SDT_ROLES]; /* by device + 1 */
    unsigned long tasks;
    double us, path_us, work_us;
};
/* Totals so far, but for decoding, text, input and output, which steps have no part in. */
void sdt__recorder_steps(struct sdt_recorder *recorder, struct sdt_step_record *record);
/* record += factor * other, in all that steps are told by. */
void sdt__step_record_add(struct sdt_step_record *record, const struct sdt_step_record *other,
                          double factor);
/* Tasks of that class that are inserted from now on stand for such a step, where their tag's
 * request and step give this slot; others may still be on their way. */
enum { SDT_RECORDER_SLOTS = 8 };
void sdt__recorder_give(struct sdt_recorder *recorder, int slot,
                        const struct sdt_step_record *step);
static inline int sdt__recorder_slot(int request, int step) {
    return (int)((5u * (unsigned)request + (unsigned)step) % SDT_RECORDER_SLOTS);
}

/* Each record, in the order of their ends; kept where asked for. */
struct sdt_record_view {
    const struct sdt_tag *tag;
    int device; /* that ran it, -1: the host */
    double start_us, end_us;
};
void sdt__recorder_each(const struct sdt_recorder *recorder,
                        void (*call)(void *arg, const struct sdt_record_view *record), void *arg);
/* Called by task.c when a task has ended, on the worker's thread. */
void sdt__recorder_finished(struct sdt_recorder *recorder, const struct starpu_task *task,
                            const struct sdt_tag *tag);

/* All that is counted, to be added to another recorder's. */
struct sdt_recorder_sums {
    struct sdt_role_totals totals[SDT_MAX_DEVICES + 1][SDT_ROLES]; /* by device + 1 */
    unsigned long tasks;
};
void sdt__recorder_sums(const struct sdt_recorder *recorder, struct sdt_recorder_sums *sums);
void sdt__recorder_take(struct sdt_recorder *recorder, const struct sdt_recorder_sums *sums);

unsigned long sdt__recorder_tasks(const struct sdt_recorder *recorder);
/* Totals of one role by the device that ran it (-1: the host). */
struct sdt_role_totals sdt__recorder_totals(struct sdt_recorder *recorder, int device,
                                            enum sdt_role role);
/* Largest StarPU memory use of a memory node seen at the end of a task, in bytes. */
size_t sdt__recorder_peak(struct sdt_recorder *recorder, unsigned node);

/* Writes to a temporary name, then renames. */
enum sdt_status sdt__recorder_write_trace(const struct sdt_recorder *recorder, const char *path,
                                          struct sdt_error *err);
/* The same of one request's tasks, of which nothing runs; their records are forgotten, after a
 * failure too. From any thread, while others run. path NULL: they are forgotten alone. */
enum sdt_status sdt__recorder_take_trace(struct sdt_recorder *recorder, int request,
                                         const char *path, struct sdt_error *err);
enum sdt_status sdt__recorder_write_dot(const struct sdt_recorder *recorder, const char *path,
                                        struct sdt_error *err);
#endif

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

/* keep_records: for a trace; keep_edges: for a graph. NULL: out of memory. */
struct sdt_recorder *sdt__recorder_new(bool keep_records, bool keep_edges);
void sdt__recorder_free(struct sdt_recorder *recorder);

/* Called by task.c before submission, on any thread that inserts; gives the tag its id. */
void sdt__recorder_inserted(struct sdt_recorder *recorder, const struct starpu_task *task,
                            struct sdt_tag *tag);
/* Called by task.c when a task has ended, on the worker's thread. */
void sdt__recorder_finished(struct sdt_recorder *recorder, const struct starpu_task *task,
                            const struct sdt_tag *tag);

unsigned long sdt__recorder_tasks(const struct sdt_recorder *recorder);
/* Totals of one role by the device that ran it (-1: the host). */
struct sdt_role_totals sdt__recorder_totals(const struct sdt_recorder *recorder, int device,
                                            enum sdt_role role);
/* Largest StarPU memory use of a memory node seen at the end of a task, in bytes. */
size_t sdt__recorder_peak(const struct sdt_recorder *recorder, unsigned node);

/* Writes to a temporary name, then renames. */
enum sdt_status sdt__recorder_write_trace(const struct sdt_recorder *recorder, const char *path,
                                          struct sdt_error *err);
enum sdt_status sdt__recorder_write_dot(const struct sdt_recorder *recorder, const char *path,
                                        struct sdt_error *err);
#endif

/* A graph of your own, out of stardit's vectors and operations.
 *
 * A graph is written as the sequential program that computes it: calls of the insert functions
 * (stardit/codelets.h), one after the other, on vectors. Each call inserts one task and returns.
 * StarPU derives what depends on what from the vectors that the tasks share, moves them to where
 * the tasks run, and runs what is ready; vectors come back with sdt_vector_get.
 * docs/examples/graph.c is a whole program.
 *
 * The flow is the context of insertion: where the next tasks run, how urgent they are, what
 * schedulers and traces know of them. Insert functions return nothing: a flow keeps the first
 * failure, insertions after it do nothing, and whoever waits gets it. So a graph's loops need no
 * checks. */
#ifndef STARDIT_GRAPH_H
#define STARDIT_GRAPH_H

#include "stardit/codelets.h"
#include "stardit/stardit.h"
#include "stardit/status.h"
#include "stardit/tag.h"

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

/* ---- flows --------------------------------------------------------------------------------- */

#define SDT_MAX_FLOWS 8 /* on one machine at a time */

struct sdt_flow;

/* A flow on the machine; its tasks run on the host until sdt_flow_place says otherwise. A flow is
 * used by one thread at a time, different flows by different threads; tasks of several flows may
 * share vectors when one has been waited for before the other goes on. May be used beside
 * sdt_pipeline_run_all in another thread. SDT_ERROR_LIMIT for more than SDT_MAX_FLOWS,
 * SDT_ERROR_MEMORY; *flow is NULL then. */
enum sdt_status sdt_flow_new(struct sdt_machine *machine, struct sdt_flow **flow,
                             struct sdt_error *err);
/* Waits for the flow's tasks and frees it, before the machine is closed. NULL is fine. */
void sdt_flow_free(struct sdt_flow *flow);

/* The next tasks run on `device` of the machine (0 ..), or on the host (-1): on any of its workers.
 * Another number is SDT_ERROR_USAGE, left in the flow. */
void sdt_flow_place(struct sdt_flow *flow, int device);
/* Of the next tasks: among the ready tasks of a device, higher ones first. -15 to 16, 0 at the
 * start; others are SDT_ERROR_USAGE, left in the flow. Results do not depend on it. */
void sdt_flow_priority(struct sdt_flow *flow, int priority);
/* What schedulers and traces learn of the next tasks: set role (SDT_ROLE_IO at the start), request,
 * stream, step, layer, chunk and tile as they fit. The other fields are filled at insertion. Owned
 * by the flow. */
struct sdt_tag *sdt_flow_tag(struct sdt_flow *flow);

/* Waits until all tasks inserted so far have ended, and returns the flow's first failure: what the
 * calls left in it, SDT_ERROR_INTERRUPTED after sdt_machine_stop, SDT_ERROR_STALLED when no task of
 * the machine ended for STARDIT_STALL_SECONDS (environment, 1800 by default; 0: wait for ever),
 * with the names of tasks that wait. A flow that has failed stays so. */
enum sdt_status sdt_flow_wait(struct sdt_flow *flow, struct sdt_error *err);

/* ---- vectors ------------------------------------------------------------------------------- */

/* A vector of `floats` floats, 1 to 4294967295, without contents. Memory is taken on each device
 * when a task there first uses it. `name` is for traces and messages. NULL when the flow has failed
 * or fails with this (SDT_ERROR_LIMIT); NULL may be handed to the calls below and to insertions, as
 * the flow has failed. */
sdt_handle sdt_vector_new(struct sdt_flow *flow, size_t floats, const char *name /* static text */);
/* Frees the vector when the tasks inserted so far that use it have ended; returns at once. Not to
 * be used any more. NULL is fine. Before the machine is closed. */
void sdt_vector_free(sdt_handle vector);

/* Inserts a task on the host that fills the vector; the flow's place stays as it was. `data` stays
 * as it is until sdt_flow_wait or sdt_vector_get returns. count: the vector's; another is
 * SDT_ERROR_USAGE, left in the flow. Other element types: sdt_insert_load. */
void sdt_vector_put(struct sdt_flow *flow, sdt_handle vector, const float *data /* [count] */,
                    size_t count);
/* Waits as sdt_flow_wait, then copies the vector out. SDT_ERROR_USAGE for a vector that nothing has
 * written or another count, which leaves the flow as it was; else the errors of sdt_flow_wait. On a
 * failure `data` is untouched. */
enum sdt_status sdt_vector_get(struct sdt_flow *flow, sdt_handle vector,
                               float *data /* [count] written */, size_t count,
                               struct sdt_error *err);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif

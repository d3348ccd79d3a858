/* Collective exchange: what --transport nccl does in place of StarPU's own transfers.
 *
 * A round is a set of transfers between the devices of a group, its ranks, that start together. On
 * GPUs a round is one group of NCCL sends and receives, on streams of its own, queued for all ranks
 * by the last one to arrive; on stand-in devices, which need no NCCL, that one copies everything:
 * the same graph, order and waiting, so that they can be tested without a GPU. What NCCL demands:
 *
 *  - All ranks must get as far, or those that have wait on the device: a rendezvous, a task that
 *    runs nowhere and reads what every rank sends. So the slowest rank decides when a round starts.
 *  - Two rounds in different order on two ranks hang: each rank has a token that its part of a
 *    round updates, and rounds are inserted in one order, by one thread.
 *  - No device may wait for another that was never told to send: nothing is queued before all ranks
 *    are there, and then in one call.
 *  - A round does not stop a worker: its part of the round returns at once, and its task ends
 *    when the transfers have, released by a thread that watches events. The same thread gives up a
 *    round that takes longer than the machine waits for a task (STARDIT_STALL_SECONDS): it aborts
 *    the communicators and fails the run.
 *  - A part runs even when the run was stopped: the others wait for it.
 *
 * Received data lands in vectors of its own, which only the receiver touches, so StarPU moves
 * nothing. */
#ifndef STARDIT_COLLECTIVE_H
#define STARDIT_COLLECTIVE_H

#include "runtime/task.h"
#include "stardit/codelets.h"

struct sdt_collective;

/* A vector that rank `from` holds, to be copied into one of the same size of rank `to`. */
struct sdt_transfer {
    int from, to;
    sdt_handle source, landing;
    size_t count; /* elements */
};

/* For ranks that are the devices place[0..ranks-1], all of one kind, each standing once.
 * SDT_ERROR_DEVICE with what NCCL said; SDT_ERROR_UNSUPPORTED for GPUs in a build without NCCL and
 * in simulated time; SDT_ERROR_MEMORY. *collective is NULL then. */
enum sdt_status sdt__collective_open(struct sdt_flow *flow,
                                     const struct sdt_place *place /* [ranks], outlives it */,
                                     int ranks, double stall_seconds,
                                     struct sdt_collective **collective, struct sdt_error *err);
/* When all tasks have ended; NULL is fine. */
void sdt__collective_close(struct sdt_collective *collective);

/* Inserts one round: at most one task per rank that sends or receives. Failures stay in the flow.
 * count 0: nothing. */
void sdt_insert_round(struct sdt_flow *flow, struct sdt_collective *collective, const char *name,
                      int count, const struct sdt_transfer *transfer /* [count], copied */);

/* Bytes that rounds have moved between different ranks so far. */
double sdt__collective_bytes(const struct sdt_collective *collective);
#endif

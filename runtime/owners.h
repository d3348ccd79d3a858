/* Which ranks have a vector's present numbers, and how they come to those that read them.
 *
 * Every rank inserts every task, and keeps for every handle who wrote it last and who has those
 * numbers by now. A task's ranks are its place's (runtime/task.h). What it reads is sent to those
 * of them that lack it, by one of the writers, once until it is written again; what it writes is
 * then at its ranks alone. So all ranks know the same of every handle, and never ask. */
#ifndef STARDIT_OWNERS_H
#define STARDIT_OWNERS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <starpu.h>

#include "runtime/ranks.h"
#include "stardit/tag.h"

struct sdt_flow;
struct sdt_task;

/* Of a handle, bit r: rank r. */
struct sdt_owners {
    uint64_t writers; /* of the present numbers; 0: there are none */
    uint64_t holders; /* that have them, or will when what was inserted so far has run */
    int64_t tag;      /* in messages */
};

/* What one rank has done; from any thread. */
struct sdt_crossing {
    int me, count;
    uint64_t here, all; /* bits: this rank, and all of them */
    atomic_ulong own, foreign;
    atomic_ulong messages[SDT_MAX_RANKS]; /* sent to that rank */
    atomic_size_t bytes[SDT_MAX_RANKS];
    /* The same by the role of the task that reads them first. */
    atomic_ulong role_messages[SDT_ROLES];
    atomic_size_t role_bytes[SDT_ROLES];
};
void sdt__crossing_init(struct sdt_crossing *crossing);

/* A handle is born, with numbers at `writers` (0: none), or gets numbers of its own on every rank
 * later (every rank is a writer then, whatever is inserted). Only where there are several ranks. */
void sdt__owners_init(struct sdt_owners *owners, starpu_data_handle_t handle, int64_t tag,
                      uint64_t writers);
/* Before the task is submitted: brings what it reads, and notes what it writes. True: it runs at
 * this rank too. */
bool sdt__owners_bring(struct sdt_crossing *crossing, const struct sdt_task *task);
#endif

/* Owners of vectors, and messages between ranks. */
#include "runtime/owners.h"

#include "config.h"

#include "runtime/task.h"

#if defined HAVE_MPI && !defined STARPU_SIMGRID
#define WITH_MPI 1
#include <starpu_mpi.h>
#endif

void sdt__crossing_init(struct sdt_crossing *c) {
    c->me = sdt_rank();
    c->count = sdt_ranks();
    c->here = UINT64_C(1) << c->me;
    c->all = c->count < 64 ? (UINT64_C(1) << c->count) - 1 : ~UINT64_C(0);
}

void sdt__owners_init(struct sdt_owners *owners, starpu_data_handle_t handle, int64_t tag,
                      uint64_t writers) {
    *owners = (struct sdt_owners){writers, writers, tag};
#ifdef WITH_MPI
    starpu_mpi_data_register(handle, tag, sdt_rank());
#else
    (void)handle;
#endif
}

/* Both ends post in the order of insertion, so what a handle holds when it is sent, and what it
 * held before it is received over, is as on one rank. */
static void cross(struct sdt_crossing *c, const struct sdt_flow *flow, starpu_data_handle_t handle,
                  int64_t tag, int from, int to) {
#ifdef WITH_MPI
    const int priority = flow->priority;
    if (c->me == to) {
        starpu_mpi_irecv_detached_prio(handle, from, tag, priority, MPI_COMM_WORLD, NULL, NULL);
    } else if (c->me == from) {
        starpu_mpi_isend_detached_prio(handle, to, tag, priority, MPI_COMM_WORLD, NULL, NULL);
        atomic_fetch_add(&c->messages[to], 1);
        atomic_fetch_add(&c->role_messages[flow->tag.role], 1);
        atomic_fetch_add(&c->bytes[to], starpu_data_get_size(handle));
        atomic_fetch_add(&c->role_bytes[flow->tag.role], starpu_data_get_size(handle));
    }
#else
    (void)c, (void)flow, (void)handle, (void)tag, (void)from, (void)to;
#endif
}

static void read_in(struct sdt_crossing *c, const struct sdt_flow *flow,
                    starpu_data_handle_t handle, struct sdt_owners *owners) {
    uint64_t lack = owners->writers ? flow->place->ranks & ~owners->holders : 0;
    owners->holders |= lack;
    for (; lack; lack &= lack - 1)
        cross(c, flow, handle, owners->tag, __builtin_ctzll(owners->writers),
              __builtin_ctzll(lack));
}

static void written_by(const struct sdt_crossing *c, starpu_data_handle_t handle,
                       struct sdt_owners *owners, uint64_t writers) {
    if (owners->holders & c->here & ~writers)
        starpu_data_invalidate_submit(handle); /* its memory is free for others */
    owners->writers = owners->holders = writers;
}

bool sdt__owners_bring(struct sdt_crossing *c, const struct sdt_task *task) {
    const uint64_t ranks = task->flow->place->ranks;
    const bool here = ranks & c->here;
    for (int pass = 0; pass < 2; pass++)
        for (int i = 0; i < task->count; i++) {
            const enum starpu_data_access_mode mode = task->mode[i];
            struct sdt_owners *owners =
                mode & STARPU_SCRATCH ? NULL : sdt__handle_owners(task->handle[i]);
            if (owners && pass == 0 && mode & STARPU_R)
                read_in(c, task->flow, task->handle[i], owners);
            else if (owners && pass == 1 && mode & STARPU_W)
                written_by(c, task->handle[i], owners, ranks);
        }
    atomic_fetch_add(here ? &c->own : &c->foreign, 1);
    return here;
}

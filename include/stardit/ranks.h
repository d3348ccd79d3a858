/* Several processes that make one video: `mpirun -np 2 stardit-generate ...` starts two ranks.
 *
 * Each rank opens the checkpoint from its own disk, makes the same requests and the same machine,
 * whose devices are those of all ranks, rank 0's first, and calls the same functions in the same
 * order. A task runs at the rank that has its device; what it reads from others comes over MPI,
 * once. Results and states are whole at rank 0 alone.
 *
 * All of this is the process's, as MPI is. In a process that nobody started as a rank, and without
 * MPI, there is one rank, and the functions do nothing. */
#ifndef STARDIT_RANKS_H
#define STARDIT_RANKS_H

#include <stdbool.h>
#include <stddef.h>

#include "stardit/status.h"

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

#define SDT_MAX_RANKS 64

/* Joins the other ranks: before any other call of the library, once. SDT_ERROR_USAGE where mpirun
 * or srun has started several processes and this stardit was built without MPI, or more than
 * SDT_MAX_RANKS; SDT_ERROR_DEVICE where MPI cannot be called by several threads. */
enum sdt_status sdt_ranks_join(struct sdt_error *err);
int sdt_ranks(void); /* how many there are, at least 1 */
int sdt_rank(void);  /* this one, from 0 */
/* Its name in messages: "rank 1 (node7)". Text of the process's. */
const char *sdt_rank_name(void);

/* What follows waits for all ranks, which make the call with the same arguments but where it says
 * otherwise.
 *
 * Has it gone well everywhere? status, *err: how it went here. The first rank's failure, with that
 * rank's name in the message if it is not rank 0's. */
enum sdt_status sdt_ranks_settle(enum sdt_status status, struct sdt_error *err);
/* SDT_ERROR_USAGE where the value differs from rank 0's; `what` names it: "the checkpoint". */
enum sdt_status sdt_ranks_same(const char *what, const void *value /* [size] */, size_t size,
                               struct sdt_error *err);
/* Rank 0's bytes, everywhere. */
void sdt_ranks_share(void *bytes /* [size] */, size_t size);
/* The end: no other call of this file follows. */
void sdt_ranks_leave(void);

/* Ends all ranks at once, with that exit code; does not return where there are several. */
void sdt_ranks_abort(int code);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif

/* How ranks talk to one another beside the data that tasks read (owners.h): little, and seldom.
 *
 * A talk is a sequence of calls that one thread makes, at the same points on every rank; the lanes'
 * numbers name the talks of threads that insert. Who waits sleeps: the cores are the workers'. */
#ifndef STARDIT_RUNTIME_RANKS_H
#define STARDIT_RUNTIME_RANKS_H

#include <stddef.h>
#include <stdint.h>

#include "stardit/ranks.h"

struct starpu_conf;

/* The program's own thread. */
#define SDT_TALK_MAIN 1000

/* all[r] = rank r's `mine`. */
void sdt__ranks_collect(int talk, const void *mine /* [size] */, size_t size,
                        void *all /* [ranks * size] */);
/* Rank 0's bytes, everywhere. */
void sdt__ranks_hear(int talk, void *bytes /* [size] */, size_t size);
/* As sdt_ranks_settle. */
enum sdt_status sdt__ranks_settle(int talk, enum sdt_status status, struct sdt_error *err);
/* Is it so at some rank? */
bool sdt__ranks_any(int talk, bool here);

/* Starts StarPU, with StarPU-MPI where there are several ranks; 0, or -errno. */
int sdt__ranks_start(struct starpu_conf *conf);
void sdt__ranks_stop(void);
#endif

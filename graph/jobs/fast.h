/* Fast-forward: steps that are taken to last as long as those before them. */
#ifndef STARDIT_FAST_H
#define STARDIT_FAST_H

#include "graph/run/latent.h"
#include "runtime/recorder.h"

struct sdt_fast;
/* NULL: out of memory. The recorder keeps bounds. NULL elsewhere: every step is simulated. */
struct sdt_fast *sdt__fast_new(struct sdt_recorder *recorder);
void sdt__fast_free(struct sdt_fast *fast);

/* Is a step known that the next one is like? helped: devices that decode may help. */
bool sdt__fast_knows(const struct sdt_fast *fast, int step, bool helped);
/* In place of the step's own tasks. */
void sdt__fast_insert(struct sdt_fast *fast, struct sdt_flow *flow, const struct sdt_layout *layout,
                      struct sdt_latent *latent, int step, bool helped);
/* A step has been inserted, simulated in full or `given`. before: the bounds without it. */
void sdt__fast_inserted(struct sdt_fast *fast, int request, int step, bool helped, bool given,
                        struct sdt_bounds before);
/* A step (from 0) has ended, told by a worker's thread. */
void sdt__fast_ended(struct sdt_fast *fast, int request, int step);
#endif

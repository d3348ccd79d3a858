/* The latent as tiles on the devices, moved by solver steps. */
#ifndef STARDIT_LATENT_H
#define STARDIT_LATENT_H

#include <stdatomic.h>

#include "graph/run/run.h"
#include "graph/sampler/sampler.h"

/* Called on a worker's thread when all tiles of a step are done; step counts from 1. */
typedef void (*sdt_step_done)(void *arg, int step, int steps);

/* One latent in flight, sharded like the tokens. x is kept twice, before and after the step in progress, so
 * that a run stopped anywhere still has a whole latent. */
struct sdt_latent {
    const struct sdt_layout *layout;
    struct sdt_patch patch;
    sdt_handle *x[2];             /* [tiles] -> [rows, C*patch]; step s reads x[s % 2] */
    sdt_handle *x_last, *m0, *m1; /* the solver's memory, same shape */
    int steps;
    atomic_int *tiles_done; /* [steps] */
    sdt_step_done step_done;
    void *step_done_arg;
};

/* Failures stay in the flow. */
void sdt_latent_init(struct sdt_flow *flow, struct sdt_latent *latent,
                     const struct sdt_layout *layout, struct sdt_patch patch, int steps,
                     sdt_step_done step_done, void *step_done_arg);
void sdt_latent_clear(struct sdt_latent *latent); /* submitted tasks may still be running */

/* Distributes a whole latent [C, T, H, W] held by the host over the tiles. */
void sdt_latent_scatter(struct sdt_flow *flow, struct sdt_latent *latent,
                        const struct sdt_place *host, sdt_handle whole);
/* Collects the latent as it stands after `step` steps (0: the start). */
void sdt_latent_gather(struct sdt_flow *flow, struct sdt_latent *latent,
                       const struct sdt_place *host, int step, sdt_handle whole);

/* Inserts step s: forwards of the branches, then a solver step per tile. guidance: the request's; with
 * two branches, 1 holds the negative prompt and v = v_u + g (v_c - v_u). */
void sdt_latent_step(struct sdt_flow *flow, struct sdt_run *run, const struct sdt_sampler *sampler,
                     float guidance, int s, struct sdt_latent *latent);
/* Whole steps done so far: what a stopped run can keep. Call when no task is running. */
int sdt_latent_steps_done(const struct sdt_latent *latent);
#endif

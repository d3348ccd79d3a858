/* The latent as tiles on the devices, moved by solver steps. */
#ifndef STARDIT_LATENT_H
#define STARDIT_LATENT_H

#include <stdatomic.h>

#include "graph/run/run.h"
#include "graph/run/steps.h"
#include "graph/sampler/sampler.h"

/* Called on a worker's thread when all tiles of a step are done; step counts from 1. */
typedef void (*sdt_step_done)(void *arg, int step, int steps);

/* What the solver keeps of a latent between steps: [C, T, H, W] each. */
enum sdt_solver_part {
    SDT_SOLVER_X,      /* the latent */
    SDT_SOLVER_X_LAST, /* the one before */
    SDT_SOLVER_M0,     /* the last step's prediction */
    SDT_SOLVER_M1,     /* the one before it */
    SDT_SOLVER_PARTS,
    /* Beside them: by how much the last guided step's velocities differ. */
    SDT_STATE_DIFFERENCE = SDT_SOLVER_PARTS,
    SDT_STATE_PARTS
};

/* Fresh noise for each step of a job's latent, held by the host: draws of one generator in a row,
 * of which the first was the starting latent's. */
struct sdt_noise {
    uint64_t seed;
    sdt_handle generator, whole; /* [SDT_GENERATOR_FLOATS], [C, T, H, W]; NULL: none drawn yet */
};
void sdt_noise_clear(struct sdt_noise *noise); /* submitted tasks may still be running */

/* One latent in flight, in tiles of tokens. The state is kept twice, before and after the step in
 * progress, so that a run stopped anywhere still has a whole one. It belongs to no layout: a tile's
 * home is where the next step's task runs. */
struct sdt_latent {
    struct sdt_patch patch;
    int rows, tiles, last_rows;             /* of a tile, and of the last one */
    sdt_handle *state[2][SDT_SOLVER_PARTS]; /* [tiles] -> [rows, C*patch]; step s reads s % 2 */
    /* [tiles] -> [rows, C*patch], once, for steps are done one after the other; NULL: none yet */
    sdt_handle *difference;
    int steps;
    atomic_int *tiles_done;  /* [steps] */
    struct sdt_noise *noise; /* of samplers that add some in each step; else not looked at */
    sdt_step_done step_done;
    void *step_done_arg;
};

/* For a run of that layout, before step `first` (0: the start). Failures stay in the flow. */
void sdt_latent_init(struct sdt_flow *flow, struct sdt_latent *latent,
                     const struct sdt_layout *layout, struct sdt_patch patch, int first, int steps,
                     sdt_step_done step_done, void *step_done_arg);
void sdt_latent_clear(struct sdt_latent *latent); /* submitted tasks may still be running */
/* Are its tiles those of the layout? If not, it goes through the host: gather, init, scatter. */
bool sdt_latent_fits(const struct sdt_latent *latent, const struct sdt_layout *layout);

/* Distributes one part of the state before `step`, a whole [C, T, H, W] held by the host. */
void sdt_latent_scatter(struct sdt_flow *flow, struct sdt_latent *latent, int step,
                        enum sdt_solver_part part, sdt_handle whole);
/* Collects it, as it stands after `step` steps (0: the start). */
void sdt_latent_gather(struct sdt_flow *flow, struct sdt_latent *latent, int step,
                       enum sdt_solver_part part, sdt_handle whole);

/* The latent's tiles before step s. */
static inline const sdt_handle *sdt_latent_tiles(const struct sdt_latent *latent, int s) {
    return latent->state[s % 2][SDT_SOLVER_X];
}
/* Inserts step s: what the step table says of it (NULL: all forwards), then a solver step per tile.
 * With two branches, 1 holds the negative prompt and v = v_u + mix (v_c - v_u); a step that goes on
 * with a difference takes v_c minus that for v_u. */
void sdt_latent_step(struct sdt_flow *flow, struct sdt_run *run, const struct sdt_sampler *sampler,
                     struct sdt_guidance guidance, const struct sdt_step_table *table, int s,
                     struct sdt_latent *latent);
/* Inserts iteration k of a queue of blocks: a step of each block that is in it. Block b's latent is
 * latent[b % sdt_blocks_most()]; that of the block which left in the iteration before is still
 * there. */
void sdt_latent_iteration(struct sdt_flow *flow, struct sdt_run *run,
                          const struct sdt_sampler *sampler, struct sdt_guidance guidance,
                          const struct sdt_blocks *blocks, int k, struct sdt_latent *latent);
/* A task of a step has ended with a tile of its new state: for sdt__task_done(), arg the latent. */
void sdt_latent_tile_done(void *arg, int step);
/* Whole steps done so far: what a stopped run can keep. */
int sdt_latent_steps_done(const struct sdt_latent *latent);
#endif

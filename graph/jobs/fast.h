/* Fast-forward: steps, decodes and prompts' text that are taken to last as long as those before
 * them. */
#ifndef STARDIT_FAST_H
#define STARDIT_FAST_H

#include "graph/run/latent.h"
#include "runtime/recorder.h"

struct sdt_fast;
/* NULL: out of memory. The recorder keeps bounds. NULL elsewhere: every step is simulated. */
struct sdt_fast *sdt__fast_new(struct sdt_recorder *recorder);
void sdt__fast_free(struct sdt_fast *fast);

/* Steps are like one another where as many branches go through the layers and through the ends,
 * with keys of the step before or without, with the difference of an earlier one's velocities or
 * with none, and the same devices help: a number for each kind. One that keeps that difference is
 * like no other, and simulated.
 * helped: devices that decode may help. */
static inline int sdt__fast_like(const struct sdt_step *step, bool helped) {
    int difference = step->freezes ? 2 : step->frozen;
    return 36 * difference + 2 * (2 * (3 * step->branches + step->layered) + step->stale) + helped;
}
/* Do such steps read keys of the step before? */
static inline bool sdt__fast_like_is_stale(int like) { return like / 2 % 2 != 0; }
/* Is a step known that the next one is like? */
bool sdt__fast_knows(const struct sdt_fast *fast, int step, int like);
/* In place of the step's own tasks. kept: what the step keeps for later ones, [latent's tiles] of
 * each branch; NULL: nothing. */
void sdt__fast_insert(struct sdt_fast *fast, struct sdt_flow *flow, const struct sdt_layout *layout,
                      struct sdt_latent *latent, sdt_handle *const kept[2], int step, int like);
/* What a step does is known from elsewhere: none is simulated, not the first ones either. */
void sdt__fast_give(struct sdt_fast *fast, int like, const struct sdt_step_record *step);
/* A step has been inserted, simulated in full or `given`. before: the bounds without it. */
void sdt__fast_inserted(struct sdt_fast *fast, int request, int step, int like, bool given,
                        struct sdt_bounds before);
/* A step (from 0) has ended, told by a worker's thread. */
void sdt__fast_ended(struct sdt_fast *fast, int request, int step);

/* How long a prompt's text takes by each of two encoders whose weights are there, and a decode on
 * as many devices of so many frames; 0: not known yet. */
struct sdt_fast_phases {
    double text[2], decode;
    int decoders, frames;
    bool loads; /* weights are brought before a first step that is not simulated */
};
/* Borrows them: what is known is used, what is not is learned. */
void sdt__fast_remember(struct sdt_fast *fast, struct sdt_fast_phases *phases);
/* NULL: text and decodes are simulated. */
struct sdt_fast_phases *sdt__fast_phases(struct sdt_fast *fast);
/* A task of so many seconds at each of the places, on the way from one vector (NULL: none) to
 * another, in place of tasks of this role. */
void sdt__fast_stand_in(struct sdt_flow *flow, enum sdt_role role, const char *name,
                        const struct sdt_place *place, int places, double seconds, sdt_handle from,
                        sdt_handle to);
#endif

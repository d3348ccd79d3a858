/* --plan auto: every way to place a run on N devices, with its predicted time, best first. The
 * numbers are those of graph/plan/cost.h; docs/numbers.md says what each is. */
#ifndef STARDIT_CANDIDATES_H
#define STARDIT_CANDIDATES_H

#include "graph/plan/rates.h"

struct sdt_candidate {
    const struct sdt_strategy *strategy;
    struct sdt_placement placement;
    double step_seconds;    /* one step of one request */
    double exposed_seconds; /* of it, waiting for exchanges */
    double decode_seconds;  /* one request */
    double total_seconds;   /* all requests */
    double device_bytes;    /* peak memory of the device that needs most */
    double memory_bytes;    /* the sum of all devices' peaks */
    bool fits;              /* into each GPU's memory, and the host's */
};

/* Predicts one: strategy and placement are read, everything else is written. SDT_ERROR_USAGE for a
 * layout that cannot be (ulysses_degree), SDT_ERROR_MEMORY. */
enum sdt_status sdt_plan_predict(const struct sdt_pipeline *pipeline,
                                 const struct sdt_request *request, int count,
                                 const struct sdt_machine_rates *rates,
                                 struct sdt_candidate *candidate, struct sdt_error *err);
/* Which of two is to be preferred: negative, 0, positive as qsort has it. One that fits, then
 * the shorter total_seconds, where a strategy with bits of its own (not exact) counts 5 %
 * longer: who has not asked for other bits gets them only for a clear gain. Then, of equal ones:
 * fewer groups, no aco, fewer streams, larger chunks. */
int sdt_candidate_compare(const struct sdt_candidate *a, const struct sdt_candidate *b);

/* Do both take the same time, within 1e-9 of it, and the same memory? */
bool sdt_candidate_equal(const struct sdt_candidate *a, const struct sdt_candidate *b);

/* All candidates for `count` requests like this one, sorted by sdt_candidate_compare. *candidates
 * is malloc'ed; caller frees. With aco, the best time is never worse than without: a plan that
 * gains nothing from it is listed after its twin. SDT_ERROR_MEMORY. */
enum sdt_status sdt_plan_candidates(const struct sdt_pipeline *pipeline,
                                    const struct sdt_request *request, int count,
                                    const struct sdt_machine_rates *rates,
                                    struct sdt_candidate **candidates, int *number,
                                    struct sdt_error *err);
/* The last `vae` of so many devices decode, the others denoise. */
void sdt_placement_split(int devices, int vae, struct sdt_placement *placement);
#endif

/* --plan auto: what the public functions on candidates (stardit.h) stand on: the same with rates
 * that were measured before. The numbers are those of graph/plan/cost.h; docs/numbers.md says what
 * each is. */
#ifndef STARDIT_CANDIDATES_H
#define STARDIT_CANDIDATES_H

#include "graph/plan/rates.h"

/* As sdt_plan_predict. */
enum sdt_status sdt__predict(const struct sdt_pipeline *pipeline, const struct sdt_request *request,
                             int count, const struct sdt_machine_rates *rates,
                             struct sdt_candidate *candidate, struct sdt_error *err);
/* As sdt_plan_candidates. With aco, the best time is never worse than without: a plan that gains
 * nothing from it is listed after its twin. */
enum sdt_status sdt__candidates(const struct sdt_pipeline *pipeline,
                                const struct sdt_request *request, int count,
                                const struct sdt_machine_rates *rates,
                                const struct sdt_candidate *given,
                                struct sdt_candidate **candidates, int *number,
                                struct sdt_error *err);
/* The last `vae` of so many devices decode, the others denoise. */
void sdt_placement_split(int devices, int vae, struct sdt_placement *placement);
#endif

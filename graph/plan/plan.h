/* What plans and predictions share. */
#ifndef STARDIT_PLAN_H
#define STARDIT_PLAN_H

#include "graph/pipeline.h"
#include "graph/run/run.h"

/* FLOPs of one forward of one branch, with the longest prompt that the request allows. */
struct sdt_work sdt__work(const struct sdt_pipeline *pipeline, const struct sdt_request *request);
/* Predicted peak of each device's memory, the larger of its two phases, with the layout that this
 * placement gives the request's tokens. */
void sdt__peak_bytes(const struct sdt_pipeline *pipeline, const struct sdt_request *request,
                     const struct sdt_placement *placement, const struct sdt_parallel *parallel,
                     const struct sdt_layout *layout, int devices,
                     double *bytes /* [devices] written */);
/* FLOP/s of one worker, measured with a product shaped like a tile's. */
double sdt__measure_speed(void);
#endif

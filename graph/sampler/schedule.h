/* What the parts of the sampler share: one file per solver, one for the sigmas. */
#ifndef STARDIT_SAMPLER_SCHEDULE_H
#define STARDIT_SAMPLER_SCHEDULE_H

#include "graph/sampler/sampler.h"

/* Fill sampler->sigmas and sampler->timesteps; steps and both arrays are set up already. */
void sdt__schedule_unipc(struct sdt_sampler *sampler, enum sdt_sampler_schedule schedule,
                         double shift);
void sdt__schedule_euler(struct sdt_sampler *sampler, enum sdt_sampler_schedule schedule,
                         double shift);

/* Fill sampler->step from the sigmas. */
void sdt__coefficients_unipc(struct sdt_sampler *sampler);
void sdt__coefficients_euler(struct sdt_sampler *sampler);
#endif

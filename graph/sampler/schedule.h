/* What the parts of the sampler share: one file per solver, one for the sigmas. */
#ifndef STARDIT_SAMPLER_SCHEDULE_H
#define STARDIT_SAMPLER_SCHEDULE_H

#include "graph/sampler/sampler.h"

/* Fill sampler->sigmas and sampler->timesteps; steps and both arrays are set up already. */
void sdt__schedule_unipc(struct sdt_sampler *sampler, enum sdt_sampler_schedule schedule,
                         double shift);
void sdt__schedule_euler(struct sdt_sampler *sampler, enum sdt_sampler_schedule schedule,
                         double shift);
/* The levels that are given, of either solver of flows. */
void sdt__schedule_given(struct sdt_sampler *sampler, const double *sigmas /* [steps] */,
                         double shift);
/* A diffusion process that noise levels are laid on: betas evenly from first to last. */
struct sdt__betas {
    int count;
    double first, last;
    bool zero_snr; /* rescaled so that the last level is noise alone */
    bool trailing; /* timesteps from the last one on; false: evenly from the last to the first */
};
/* SDT_ERROR_MEMORY. */
enum sdt_status sdt__schedule_ancestral(struct sdt_sampler *sampler, const struct sdt__betas *betas,
                                        struct sdt_error *err);

/* Fill sampler->step from the sigmas. */
void sdt__coefficients_unipc(struct sdt_sampler *sampler);
void sdt__coefficients_euler(struct sdt_sampler *sampler);
void sdt__coefficients_ancestral(struct sdt_sampler *sampler);
void sdt__coefficients_renoise(struct sdt_sampler *sampler);
#endif

/* Sampling of models distilled by distribution matching (DMD2, arXiv 2405.14867; FastWan): each
 * step takes the clean latent that the velocity says, and puts fresh noise of the next level on it:
 *   x0 = x - s v,   x' = (1 - s') x0 + s' noise.
 * The last step's x' is x0. */
#include "graph/sampler/schedule.h"

void sdt__coefficients_renoise(struct sdt_sampler *sampler) {
    sampler->noisy = true;
    for (int i = 0; i < sampler->steps; i++) {
        const double s = sampler->sigmas[i], next = sampler->sigmas[i + 1];
        sampler->step[i] = (struct sdt_sampler_step){.guidance = 1.0f,
                                                     .sigma = sampler->sigmas[i],
                                                     .p_x = (float)(1.0 - next),
                                                     .p_v = (float)(-(1.0 - next) * s),
                                                     .p_m0 = (float)next};
    }
}

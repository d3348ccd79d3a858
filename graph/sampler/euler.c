/* Flow-match Euler: x += (sigma_{i+1} - sigma_i) v. */
#include "graph/sampler/schedule.h"

void sdt__coefficients_euler(struct sdt_sampler *sampler) {
    for (int i = 0; i < sampler->steps; i++) {
        struct sdt_sampler_step *step = &sampler->step[i];
        *step = (struct sdt_sampler_step){.guidance = 1.0f, .sigma = sampler->sigmas[i]};
        step->p_x = 1.0f;
        step->p_v = sampler->sigmas[i + 1] - sampler->sigmas[i];
    }
}

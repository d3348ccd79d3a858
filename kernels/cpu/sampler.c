/* One step of the sampler on the latent; sampler_body.h computes it. */
#include "kernels/cpu/vector_kernels.h"

void sdt_sampler_step(const struct sdt_sampler_step *step, size_t n, const float *v_cond,
                      const float *v_uncond, float *x, float *x_last, float *m0, float *m1) {
    sdt__vector_kernels()->sampler_step(step, n, v_cond, v_uncond, x, x_last, m0, m1);
}

/* One sampler step, each line as kernels.h states it. */
#include "kernels/reference.h"

/* c a, where a is not read if c is 0 */
static double term(float c, const float *a) { return c == 0.f ? 0. : (double)c * *a; }

void sdt_sampler_step_reference(const struct sdt_sampler_step *step, size_t n, const float *v_cond,
                                const float *v_uncond, float *x, float *x_last, float *m0,
                                float *m1) {
    for (size_t i = 0; i < n; i++) {
        double v = v_cond[i], z = x[i];
        if (v_uncond)
            v = v_uncond[i] + step->guidance * (v - v_uncond[i]);
        double x0 = z - step->sigma * v;
        if (step->correct)
            z = term(step->c_last, x_last + i) + term(step->c_m0, m0 + i) +
                term(step->c_m1, m1 + i) + step->c_x0 * x0;
        x_last[i] = (float)z;
        x[i] = (float)(step->p_x * z + step->p_x0 * x0 + term(step->p_m0, m0 + i) + step->p_v * v);
        m1[i] = m0[i];
        m0[i] = (float)x0;
    }
}

/* One step of the sampler on the latent, in one pass over memory. */
#include "kernels/cpu/vector_math.h"
#include "kernels/kernels.h"

/* sum + c a[i..], and a is not read where c is 0: before the solver has a history it holds nothing.
 */
V8_INLINE v8 add_term(v8 sum, float c, const float *a, size_t left) {
    return c == 0.f ? sum : sum + v8_set(c) * v8_load(a, left);
}

void sdt_sampler_step(const struct sdt_sampler_step *step, size_t n, const float *v_cond,
                      const float *v_uncond, float *x, float *x_last, float *m0, float *m1) {
    for (size_t i = 0; i < n; i += 8) {
        size_t left = n - i;
        v8 v = v8_load(v_cond + i, left), z = v8_load(x + i, left);
        if (v_uncond) {
            v8 u = v8_load(v_uncond + i, left);
            v = u + v8_set(step->guidance) * (v - u);
        }
        v8 x0 = z - v8_set(step->sigma) * v;
        if (step->correct) {
            z = add_term(v8_set(0.f), step->c_last, x_last + i, left);
            z = add_term(z, step->c_m0, m0 + i, left);
            z = add_term(z, step->c_m1, m1 + i, left);
            if (step->c_x0 != 0.f)
                z += v8_set(step->c_x0) * x0;
        }
        v8_store(x_last + i, left, z);
        z = v8_set(step->p_x) * z;
        if (step->p_x0 != 0.f)
            z += v8_set(step->p_x0) * x0;
        z = add_term(z, step->p_m0, m0 + i, left);
        if (step->p_v != 0.f)
            z += v8_set(step->p_v) * v;
        v8_store(x + i, left, z);
        v8_store(m1 + i, left, v8_load(m0 + i, left));
        v8_store(m0 + i, left, x0);
    }
}

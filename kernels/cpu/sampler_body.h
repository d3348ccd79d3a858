/* One step of the sampler on the latent, in one pass over memory. */

/* sum + c a[i..], and a is not read where c is 0: before the solver has a history it holds nothing.
 */
VEC_INLINE vec add_term(vec sum, float c, const float *a, size_t left) {
    return c == 0.f ? sum : sum + vec_set(c) * vec_load(a, left);
}

VEC_INLINE void sampler_vector(const struct sdt_sampler_step *step, size_t left,
                               const float *v_cond, const float *v_uncond, float *x, float *x_last,
                               float *m0, float *m1) {
    vec v = vec_load(v_cond, left), z = vec_load(x, left);
    if (v_uncond) {
        vec u = vec_load(v_uncond, left);
        v = u + vec_set(step->guidance) * (v - u);
    }
    vec x0 = z - vec_set(step->sigma) * v;
    if (step->correct) {
        z = add_term(vec_set(0.f), step->c_last, x_last, left);
        z = add_term(z, step->c_m0, m0, left);
        z = add_term(z, step->c_m1, m1, left);
        if (step->c_x0 != 0.f)
            z += vec_set(step->c_x0) * x0;
    }
    vec_store(x_last, left, z);
    z = vec_set(step->p_x) * z;
    if (step->p_x0 != 0.f)
        z += vec_set(step->p_x0) * x0;
    z = add_term(z, step->p_m0, m0, left);
    if (step->p_v != 0.f)
        z += vec_set(step->p_v) * v;
    vec_store(x, left, z);
    vec_store(m1, left, vec_load(m0, left));
    vec_store(m0, left, x0);
}

static void sampler_step(const struct sdt_sampler_step *given, size_t n, const float *v_cond,
                         const float *v_uncond, float *x, float *x_last, float *m0, float *m1) {
    struct sdt_sampler_step step = *given; /* no store through x can change it */
#define BODY(i, left)                                                                              \
    sampler_vector(&step, left, v_cond + (i), v_uncond ? v_uncond + (i) : NULL, x + (i),           \
                   x_last + (i), m0 + (i), m1 + (i))
    EACH_VECTOR(n, BODY);
#undef BODY
}

/* Softmax steps on one row of scores; sums of the same eight partial sums whatever calls them. */
#ifndef STARDIT_KERNELS_CPU_SOFTMAX_H
#define STARDIT_KERNELS_CPU_SOFTMAX_H

#include "kernels/cpu/vector_math.h"

VEC_INLINE float softmax_largest(int n, const float *s /* [n], n >= 1 */) {
    if (n < 8) {
        float largest = s[0];
        for (int i = 1; i < n; i++)
            largest = s[i] > largest ? s[i] : largest;
        return largest;
    }
    /* The last load may overlap the one before: a maximum does not mind. */
    vec a = vec_load(s, 8), b = vec_load(s + n - 8, 8);
    int i = 8;
    for (; i + 16 <= n; i += 16) {
        a = vec_max(a, vec_load(s + i, 8));
        b = vec_max(b, vec_load(s + i + 8, 8));
    }
    if (i + 8 <= n)
        a = vec_max(a, vec_load(s + i, 8));
    return vec_largest(vec_max(a, b));
}

/* s = exp(scale * s - largest); returns the sum */
VEC_INLINE float softmax_exp(int n, float *s /* [n] in place */, float scale, float largest) {
    vec sum = {0};
    int i = 0;
    for (; i + 8 <= n; i += 8) {
        vec p = vec_exp(vec_load(s + i, 8) * vec_set(scale) - vec_set(largest));
        vec_store(s + i, 8, p);
        sum += p;
    }
    if (i < n) {
        vec p = vec_exp(vec_load(s + i, n - i) * vec_set(scale) - vec_set(largest));
        for (int lane = n - i; lane < 8; lane++)
            p[lane] = 0.f;
        vec_store(s + i, n - i, p);
        sum += p;
    }
    return vec_sum(sum);
}

VEC_INLINE void softmax_scale(int n, float *s /* [n] in place */, float factor) {
    for (int i = 0; i < n; i += 8)
        vec_store(s + i, n - i, vec_load(s + i, n - i) * vec_set(factor));
}

#endif

/* Softmax steps on one row of scores; sums of the same eight partial sums whatever calls them. */
#ifndef STARDIT_KERNELS_CPU_SOFTMAX_H
#define STARDIT_KERNELS_CPU_SOFTMAX_H

#include "kernels/cpu/vector_math.h"

V8_INLINE float softmax_largest(int n, const float *s /* [n], n >= 1 */) {
    if (n < 8) {
        float largest = s[0];
        for (int i = 1; i < n; i++)
            largest = s[i] > largest ? s[i] : largest;
        return largest;
    }
    /* The last load may overlap the one before: a maximum does not mind. */
    v8 a = v8_load(s, 8), b = v8_load(s + n - 8, 8);
    int i = 8;
    for (; i + 16 <= n; i += 16) {
        a = v8_max(a, v8_load(s + i, 8));
        b = v8_max(b, v8_load(s + i + 8, 8));
    }
    if (i + 8 <= n)
        a = v8_max(a, v8_load(s + i, 8));
    return v8_largest(v8_max(a, b));
}

/* s = exp(scale * s - largest); returns the sum */
V8_INLINE float softmax_exp(int n, float *s /* [n] in place */, float scale, float largest) {
    v8 sum = {0};
    int i = 0;
    for (; i + 8 <= n; i += 8) {
        v8 p = v8_exp(v8_load(s + i, 8) * v8_set(scale) - v8_set(largest));
        v8_store(s + i, 8, p);
        sum += p;
    }
    if (i < n) {
        v8 p = v8_exp(v8_load(s + i, n - i) * v8_set(scale) - v8_set(largest));
        for (int lane = n - i; lane < 8; lane++)
            p[lane] = 0.f;
        v8_store(s + i, n - i, p);
        sum += p;
    }
    return v8_sum(sum);
}

V8_INLINE void softmax_scale(int n, float *s /* [n] in place */, float factor) {
    for (int i = 0; i < n; i += 8)
        v8_store(s + i, n - i, v8_load(s + i, n - i) * v8_set(factor));
}

#endif

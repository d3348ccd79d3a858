/* Kernels that touch each number once: activations, residual sums, and the timestep embedding. */
#include "kernels/cpu/vector_math.h"
#include "kernels/kernels.h"

void sdt_silu(size_t n, const float *x, float *y) {
    for (size_t i = 0; i < n; i += 8)
        v8_store(y + i, n - i, v8_silu(v8_load(x + i, n - i)));
}

void sdt_gated_gelu(size_t n, const float *a, const float *b, float *y) {
    for (size_t i = 0; i < n; i += 8)
        v8_store(y + i, n - i, v8_gelu_tanh(v8_load(a + i, n - i)) * v8_load(b + i, n - i));
}

void sdt_add(size_t n, const float *x, float *y) {
    for (size_t i = 0; i < n; i += 8)
        v8_store(y + i, n - i, v8_load(y + i, n - i) + v8_load(x + i, n - i));
}

void sdt_sinusoid(float t, int dim, float *y) {
    int half = dim / 2;
    for (int i = 0; i < half; i++) {
        /* Arguments reach 1000 and more, where one ulp of the angle moves the cosine by 3e-5: the
         * roundings to float are those of the models, all else is exact. */
        float frequency = (float)exp(-log(10000.) * i / half);
        float angle = t * frequency;
        y[i] = (float)cos(angle);
        y[half + i] = (float)sin(angle);
    }
}

/* Kernels that touch each number once: activations and sums (elementwise_body.h), the mean of rows,
 * and the timestep embedding. */
#include "kernels/cpu/vector_kernels.h"

#include <math.h>
#include <string.h>

void sdt_silu(size_t n, const float *x, float *y) { sdt__vector_kernels()->silu(n, x, y); }

void sdt_gated_gelu(size_t n, const float *a, const float *b, float *y) {
    sdt__vector_kernels()->gated_gelu(n, a, b, y);
}

void sdt_gated_silu(size_t n, const float *a, const float *b, float *y) {
    sdt__vector_kernels()->gated_silu(n, a, b, y);
}

void sdt_quick_gelu(size_t n, const float *x, float *y) {
    sdt__vector_kernels()->quick_gelu(n, x, y);
}

void sdt_gelu(size_t n, const float *x, float *y) { sdt__vector_kernels()->gelu(n, x, y); }

void sdt_add(size_t n, const float *x, float *y) { sdt__vector_kernels()->add(n, x, y); }

void sdt_sum(size_t n, float sign, const float *x, float *y) {
    sdt__vector_kernels()->sum(n, sign, x, y);
}

void sdt_mean_rows(int rows, int d, const float *x, float *y) {
    memset(y, 0, (size_t)d * sizeof *y);
    for (int r = 0; r < rows; r++, x += d)
        for (int i = 0; i < d; i++)
            y[i] += x[i];
    for (int i = 0; i < d; i++)
        y[i] /= (float)rows;
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

/* Activations, sums, means and the timestep embedding. */
#include "kernels/reference.h"
#include "kernels/reference/activation.h"

void sdt_silu_reference(size_t n, const float *x, float *y) {
    for (size_t i = 0; i < n; i++)
        y[i] = (float)silu(x[i]);
}

void sdt_gated_gelu_reference(size_t n, const float *a, const float *b, float *y) {
    for (size_t i = 0; i < n; i++)
        y[i] = (float)(gelu_tanh(a[i]) * b[i]);
}

void sdt_gated_silu_reference(size_t n, const float *a, const float *b, float *y) {
    for (size_t i = 0; i < n; i++)
        y[i] = (float)(silu(a[i]) * b[i]);
}

void sdt_quick_gelu_reference(size_t n, const float *x, float *y) {
    for (size_t i = 0; i < n; i++)
        y[i] = (float)(x[i] / (1. + exp(-1.702 * x[i])));
}

void sdt_gelu_reference(size_t n, const float *x, float *y) {
    for (size_t i = 0; i < n; i++)
        y[i] = (float)(.5 * x[i] * (1. + erf(x[i] * M_SQRT1_2)));
}

void sdt_add_reference(size_t n, const float *x, float *y) {
    for (size_t i = 0; i < n; i++)
        y[i] = (float)((double)y[i] + x[i]);
}

void sdt_sum_reference(size_t n, float sign, const float *x, float *y) {
    for (size_t i = 0; i < n; i++)
        y[i] = (float)((double)x[i] + (double)sign * y[i]);
}

void sdt_mean_rows_reference(int rows, int d, const float *x, float *y) {
    for (int i = 0; i < d; i++) {
        double sum = 0.;
        for (int r = 0; r < rows; r++)
            sum += x[(size_t)r * d + i];
        y[i] = (float)(sum / rows);
    }
}

/* All in double: far from the kernel for large t, where the models' own float angles are far too.
 */
void sdt_sinusoid_reference(float t, int dim, float *y) {
    for (int i = 0; i < dim / 2; i++) {
        double angle = t * pow(10000., -(double)i / (dim / 2));
        y[i] = (float)cos(angle);
        y[dim / 2 + i] = (float)sin(angle);
    }
}

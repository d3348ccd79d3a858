/* Linear layers, one dot product per output. */
#include "kernels/reference.h"
#include "kernels/reference/activation.h"

static double product(int k, const float *x /* [k] */, const float *w /* [k] */) {
    double sum = 0.;
    for (int i = 0; i < k; i++)
        sum += (double)x[i] * w[i];
    return sum;
}

void sdt_add_low_rank_reference(int rows, int columns, int rank, const float *up, const float *down,
                                float scale, float *w) {
    for (int r = 0; r < rows; r++)
        for (int c = 0; c < columns; c++) {
            double sum = 0.;
            for (int i = 0; i < rank; i++)
                sum += (double)up[(size_t)r * rank + i] * down[(size_t)i * columns + c];
            w[(size_t)r * columns + c] = (float)(w[(size_t)r * columns + c] + scale * sum);
        }
}

void sdt_linear_reference(int rows, int n, int k, const float *x, const float *w, const float *bias,
                          enum sdt_epilogue epilogue, float *y) {
    for (int r = 0; r < rows; r++)
        for (int o = 0; o < n; o++) {
            double z = product(k, x + (size_t)r * k, w + (size_t)o * k) + (bias ? bias[o] : 0.);
            if (epilogue == SDT_EPILOGUE_GELU_TANH)
                z = gelu_tanh(z);
            else if (epilogue == SDT_EPILOGUE_SILU)
                z = silu(z);
            y[(size_t)r * n + o] = (float)z;
        }
}

void sdt_linear_residual_reference(int rows, int n, int k, const float *x, const float *w,
                                   const float *bias, const float *gate_a, const float *gate_b,
                                   float *y) {
    for (int r = 0; r < rows; r++)
        for (int o = 0; o < n; o++) {
            double z = product(k, x + (size_t)r * k, w + (size_t)o * k) + (bias ? bias[o] : 0.);
            double gate = gate_a || gate_b ? 0. : 1.;
            gate += gate_a ? gate_a[o] : 0.;
            gate += gate_b ? gate_b[o] : 0.;
            y[(size_t)r * n + o] = (float)(y[(size_t)r * n + o] + gate * z);
        }
}

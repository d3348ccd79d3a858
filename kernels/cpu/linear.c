/* Linear layers on one tile of tokens: a matrix product with its bias, and what always follows it
 * in a transformer: an activation, or the gated residual. */
#include "kernels/cpu/blas.h"
#include "kernels/cpu/vector_math.h"
#include "kernels/kernels.h"

/* Every row of y becomes bias: the product is added to it. */
static void set_rows(int rows, int n, const float *bias /* [n] or NULL */,
                     float *y /* [rows, n] */) {
    for (int r = 0; r < rows; r++)
        if (bias)
            memcpy(y + (size_t)r * n, bias, n * sizeof(float));
        else
            memset(y + (size_t)r * n, 0, n * sizeof(float));
}

void sdt_linear(int rows, int n, int k, const float *x, const float *w, const float *bias,
                enum sdt_epilogue epilogue, float *y) {
    size_t all = (size_t)rows * n;
    set_rows(rows, n, bias, y);
    sdt__gemm_nt(rows, n, k, 1.f, x, k, w, k, 1.f, y, n);
    if (epilogue == SDT_EPILOGUE_GELU_TANH)
        for (size_t i = 0; i < all; i += 8)
            v8_store(y + i, all - i, v8_gelu_tanh(v8_load(y + i, all - i)));
    else if (epilogue == SDT_EPILOGUE_SILU)
        for (size_t i = 0; i < all; i += 8)
            v8_store(y + i, all - i, v8_silu(v8_load(y + i, all - i)));
}

void sdt_linear_residual(int rows, int n, int k, const float *x, const float *w, const float *bias,
                         const float *gate_a, const float *gate_b, float *y, float *scratch) {
    set_rows(rows, n, bias, scratch);
    sdt__gemm_nt(rows, n, k, 1.f, x, k, w, k, 1.f, scratch, n);
    for (int r = 0; r < rows; r++) {
        const float *s = scratch + (size_t)r * n;
        float *row = y + (size_t)r * n;
        for (int i = 0; i < n; i += 8) {
            v8 gate = v8_set(gate_a || gate_b ? 0.f : 1.f);
            if (gate_a)
                gate += v8_load(gate_a + i, n - i);
            if (gate_b)
                gate += v8_load(gate_b + i, n - i);
            v8_store(row + i, n - i, v8_load(row + i, n - i) + gate * v8_load(s + i, n - i));
        }
    }
}

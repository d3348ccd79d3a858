/* Linear layers: a matrix product with its bias, and what always follows it in a transformer: an
 * activation, or the gated residual. Both are done on sums that are still in the cache. */
#include "kernels/cpu/product.h"
#include "kernels/cpu/vector_math.h"
#include "kernels/kernels.h"

static int at_most(int a, int b) { return a < b ? a : b; }

struct tokens {
    const float *x; /* [rows, k] */
};

static const float *tokens_at(const void *arg, int segment, int first, ptrdiff_t *ld) {
    const struct tokens *tokens = arg;
    (void)segment, (void)ld;
    return tokens->x + first;
}

static int rows_at_once(struct sdt_weight w) {
    return w.packed ? SDT__ROWS_AT_ONCE : SDT__ROWS_TO_PACK;
}

/* ---- sdt_linear ------------------------------------------------------------------------------ */

struct layer {
    int rows, n;
    const float *bias; /* [n] or NULL */
    enum sdt_epilogue epilogue;
};

VEC_INLINE vec activate(enum sdt_epilogue epilogue, vec x) {
    if (epilogue == SDT_EPILOGUE_GELU_TANH)
        return vec_gelu_tanh(x);
    return epilogue == SDT_EPILOGUE_SILU ? vec_silu(x) : x;
}

VEC_INLINE void finish_rows(enum sdt_epilogue epilogue, int rows, int cols, const float *bias,
                            float *z, ptrdiff_t ldz) {
    for (int r = 0; r < rows; r++, z += ldz)
        for (int i = 0; i < cols; i += 8) {
            size_t left = (size_t)(cols - i);
            vec x = vec_load(z + i, left);
            if (bias)
                x += vec_load(bias + i, left);
            vec_store(z + i, left, activate(epilogue, x));
        }
}

static void finish_layer(const void *arg, int segment, int first_col, int cols, float *z) {
    const struct layer *layer = arg;
    const float *bias = layer->bias ? layer->bias + first_col : NULL;
    (void)segment;
    if (layer->epilogue == SDT_EPILOGUE_GELU_TANH)
        finish_rows(SDT_EPILOGUE_GELU_TANH, layer->rows, cols, bias, z, layer->n);
    else if (layer->epilogue == SDT_EPILOGUE_SILU)
        finish_rows(SDT_EPILOGUE_SILU, layer->rows, cols, bias, z, layer->n);
    else if (bias)
        finish_rows(SDT_EPILOGUE_NONE, layer->rows, cols, bias, z, layer->n);
}

void sdt_linear(int rows, int n, int k, const float *x, struct sdt_weight w, const float *bias,
                enum sdt_epilogue epilogue, float *y) {
    int most = rows_at_once(w);
    for (int row = 0; row < rows; row += most) {
        struct tokens tokens = {x + (size_t)row * (size_t)k};
        struct layer layer = {at_most(most, rows - row), n, bias, epilogue};
        struct sdt__rows left = {1, layer.rows, k, tokens_at, &tokens};
        struct sdt__sums sums = {
            .y = y + (size_t)row * (size_t)n, .ld = n, .finish = finish_layer, .arg = &layer};
        sdt__multiply(&left, n, k, k, w, &sums);
    }
}

/* ---- sdt_linear_residual --------------------------------------------------------------------- */

struct residual {
    int rows, n;
    const float *bias, *gate_a, *gate_b; /* [n] or NULL */
    float *y;                            /* [rows, n] */
};

static void finish_residual(const void *arg, int segment, int first_col, int cols, float *z) {
    const struct residual *a = arg;
    const float *bias = a->bias ? a->bias + first_col : NULL;
    const float *gate_a = a->gate_a ? a->gate_a + first_col : NULL;
    const float *gate_b = a->gate_b ? a->gate_b + first_col : NULL;
    float *y = a->y + first_col;
    (void)segment;
    for (int r = 0; r < a->rows; r++, z += SDT__GROUP_WIDTH, y += a->n)
        for (int i = 0; i < cols; i += 8) {
            size_t left = (size_t)(cols - i);
            vec x = vec_load(z + i, left), gate = vec_set(gate_a || gate_b ? 0.f : 1.f);
            if (bias)
                x += vec_load(bias + i, left);
            if (gate_a)
                gate += vec_load(gate_a + i, left);
            if (gate_b)
                gate += vec_load(gate_b + i, left);
            vec_store(y + i, left, vec_load(y + i, left) + gate * x);
        }
}

void sdt_linear_residual(int rows, int n, int k, const float *x, struct sdt_weight w,
                         const float *bias, const float *gate_a, const float *gate_b, float *y,
                         float *scratch) {
    int most = rows_at_once(w);
    for (int row = 0; row < rows; row += most) {
        struct tokens tokens = {x + (size_t)row * (size_t)k};
        struct residual residual = {at_most(most, rows - row),  n, bias, gate_a, gate_b,
                                    y + (size_t)row * (size_t)n};
        struct sdt__rows left = {1, residual.rows, k, tokens_at, &tokens};
        struct sdt__sums sums = {.y = scratch,
                                 .ld = SDT__GROUP_WIDTH,
                                 .scratch = true,
                                 .finish = finish_residual,
                                 .arg = &residual};
        sdt__multiply(&left, n, k, k, w, &sums);
    }
}

size_t sdt_linear_residual_scratch(int rows) {
    return (size_t)at_most(rows, SDT__ROWS_TO_PACK) * SDT__GROUP_WIDTH;
}

/* ---- sdt_linear_parts ------------------------------------------------------------------------ */

struct parts {
    const int *bound;
    const float *const *x;
    int row; /* the first */
};

static const float *parts_at(const void *arg, int segment, int first, ptrdiff_t *ld) {
    const struct parts *parts = arg;
    int p = 0;
    (void)segment;
    while (first >= parts->bound[p + 1])
        p++;
    *ld = parts->bound[p + 1] - parts->bound[p];
    return parts->x[p] + parts->row * *ld + (first - parts->bound[p]);
}

int sdt_linear_step(int k) { return sdt__k_step(k); }

void sdt_linear_parts(int rows, int n, int k, const int *bound, const float *const *x,
                      struct sdt_weight w, const float *bias, int add, float *y, float *scratch) {
    int most = rows_at_once(w);
    for (int row = 0; row < rows; row += most) {
        int m = at_most(most, rows - row);
        struct parts parts = {bound, x, row};
        struct layer layer = {m, n, bias, SDT_EPILOGUE_NONE};
        struct residual residual = {
            .rows = m, .n = n, .bias = bias, .y = y + (size_t)row * (size_t)n};
        struct sdt__rows left = {1, m, 0, parts_at, &parts};
        struct sdt__sums sums = {
            .y = residual.y, .ld = n, .finish = bias ? finish_layer : NULL, .arg = &layer};
        if (add)
            sums = (struct sdt__sums){.y = scratch,
                                      .ld = SDT__GROUP_WIDTH,
                                      .scratch = true,
                                      .finish = finish_residual,
                                      .arg = &residual};
        sdt__multiply(&left, n, k, k, w, &sums);
    }
}

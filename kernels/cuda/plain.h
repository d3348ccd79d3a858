/* The plain ways, for one block of threads: a linear layer of any width, and the softmax of a row.
 * Written with block.h; tests/kernels/cuda_launch_block.cpp runs them on the host. */
#ifndef STARDIT_CUDA_PLAIN_H
#define STARDIT_CUDA_PLAIN_H

#include "kernels/cuda/block.h"
#include "kernels/cuda/bodies.h"

/* ---- linear ---------------------------------------------------------------------------------- */

/* y = epilogue(x w^T + bias), or with `residual` y += (gate_a + gate_b) (x w^T + bias). */
struct plain_call {
    int rows, n, k;
    const void *x;                /* [rows, k] */
    const void *w;                /* [n, k] */
    const void *bias;             /* [n] or NULL */
    const float *gate_a, *gate_b; /* [n] or NULL; both NULL: 1 */
    enum sdt_epilogue epilogue;
    bool residual;
    void *y; /* [rows, n] */
};

/* A block makes TILE x TILE outputs through shared memory, each thread a PART x PART part of them:
 * exact, simple, slow. Columns of tiles are padded, against bank conflicts. */
enum {
    PLAIN_TILE = 64,
    PLAIN_DEPTH = 16,
    PLAIN_PART = 4,
    PLAIN_SIDE = PLAIN_TILE / PLAIN_PART,
    PLAIN_THREADS = PLAIN_SIDE * PLAIN_SIDE,
    PLAIN_LINE = PLAIN_TILE + 1,
    PLAIN_SHARED = 2 * PLAIN_DEPTH * PLAIN_LINE /* floats */
};

SDT_BODY float plain_activated(enum sdt_epilogue epilogue, float x) {
    return epilogue == SDT_EPILOGUE_GELU_TANH ? body_gelu_tanh(x)
           : epilogue == SDT_EPILOGUE_SILU    ? body_silu(x)
                                              : x;
}

/* tile [DEPTH, TILE] = the transposed part of x at (row0, k0), zeros outside. */
template <enum sdt_dtype dtype>
SDT_BLOCK void plain_load(int rows, int k, const void *x /* [rows, k] */, int row0, int k0,
                          float *tile) {
    for (int i = block_thread(); i < PLAIN_TILE * PLAIN_DEPTH; i += PLAIN_THREADS) {
        int row = i / PLAIN_DEPTH, depth = i % PLAIN_DEPTH;
        float v = 0.f;
        if (row0 + row < rows && k0 + depth < k)
            body_load(dtype, 1, x, (size_t)(row0 + row) * k + k0 + depth, &v);
        tile[depth * PLAIN_LINE + row] = v;
    }
}

template <enum sdt_dtype dtype>
SDT_BLOCK void plain_linear(const struct plain_call &call, int row0, int column0,
                            float *shared /* [PLAIN_SHARED] */) {
    float *xs = shared, *ws = shared + PLAIN_DEPTH * PLAIN_LINE;
    int row = block_thread() / PLAIN_SIDE, column = block_thread() % PLAIN_SIDE;
    float sum[PLAIN_PART][PLAIN_PART] = {};
    for (int k0 = 0; k0 < call.k; k0 += PLAIN_DEPTH) {
        plain_load<dtype>(call.rows, call.k, call.x, row0, k0, xs);
        plain_load<dtype>(call.n, call.k, call.w, column0, k0, ws);
        block_barrier();
        for (int depth = 0; depth < PLAIN_DEPTH; depth++)
            SDT_UNROLL
        for (int i = 0; i < PLAIN_PART; i++)
            SDT_UNROLL
        for (int j = 0; j < PLAIN_PART; j++)
            sum[i][j] += xs[depth * PLAIN_LINE + row + PLAIN_SIDE * i] *
                         ws[depth * PLAIN_LINE + column + PLAIN_SIDE * j];
        block_barrier();
    }
    SDT_UNROLL
    for (int i = 0; i < PLAIN_PART; i++)
        SDT_UNROLL
    for (int j = 0; j < PLAIN_PART; j++) {
        int r = row0 + row + PLAIN_SIDE * i, c = column0 + column + PLAIN_SIDE * j;
        if (r >= call.rows || c >= call.n)
            continue;
        size_t at = (size_t)r * call.n + c;
        float v = sum[i][j], b = 0.f, old;
        if (call.bias)
            body_load(dtype, 1, call.bias, c, &b);
        v = plain_activated(call.epilogue, v + b);
        if (call.residual) {
            float gate = call.gate_a || call.gate_b ? 0.f : 1.f;
            gate += call.gate_a ? call.gate_a[c] : 0.f;
            gate += call.gate_b ? call.gate_b[c] : 0.f;
            body_load(dtype, 1, call.y, at, &old);
            v = old + gate * v;
        }
        body_store(dtype, 1, call.y, at, &v);
    }
}

/* ---- softmax --------------------------------------------------------------------------------- */

enum { SOFTMAX_THREADS = 256, SOFTMAX_WARPS = SOFTMAX_THREADS / 32 };

/* Over the block: largest (or sum) of x, for all threads. */
SDT_BLOCK float softmax_over_block(float x, bool largest, float *room /* [SOFTMAX_WARPS] */) {
    SDT_UNROLL
    for (int mask = 16; mask > 0; mask /= 2) {
        float other = block_exchange(x, mask);
        x = largest ? fmaxf(x, other) : x + other;
    }
    block_barrier(); /* everybody has read what the last call left */
    if (block_thread() % 32 == 0)
        room[block_thread() / 32] = x;
    block_barrier();
    x = room[0];
    SDT_UNROLL
    for (int w = 1; w < SOFTMAX_WARPS; w++)
        x = largest ? fmaxf(x, room[w]) : x + room[w];
    return x;
}

/* weights = softmax(scores); a thread reads and writes the same places, so that both may be one. */
template <enum sdt_dtype dtype>
SDT_BLOCK void softmax_row(int n, const float *scores /* [n] */, void *weights /* [n] */,
                           float *room /* [SOFTMAX_WARPS], shared */) {
    float largest = -INFINITY, sum = 0.f;
    for (int i = block_thread(); i < n; i += SOFTMAX_THREADS)
        largest = fmaxf(largest, scores[i]);
    largest = softmax_over_block(largest, true, room);
    for (int i = block_thread(); i < n; i += SOFTMAX_THREADS)
        sum += expf(scores[i] - largest);
    float inverse = 1.f / softmax_over_block(sum, false, room);
    for (int i = block_thread(); i < n; i += SOFTMAX_THREADS) {
        float weight = expf(scores[i] - largest) * inverse;
        body_store(dtype, 1, weights, i, &weight);
    }
}
#endif

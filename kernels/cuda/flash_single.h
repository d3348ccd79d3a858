/* Attention in float32 without a matrix of scores, for one block of threads, with multiplications
 * of ordinary cores: no TF32. A block makes 64 queries of one head over the keys 32 at a time; a
 * thread has 4 queries' scores of 2 keys, and of their sums a sixteenth of the columns. Queries,
 * keys and weights stand in shared memory so that a thread reads its numbers at once, and
 * neighbours read the same ones: a product of 4 x 2 numbers takes two reads, one of 4 x 8 columns
 * three. attention.cu launches it, tests/kernels/cuda_launch_block.cpp runs the same lines on the
 * host. */
#ifndef STARDIT_CUDA_FLASH_SINGLE_H
#define STARDIT_CUDA_FLASH_SINGLE_H

#include "kernels/cuda/flash.h"

enum {
    SINGLE_ROWS = 64,
    SINGLE_KEYS = 32,
    SINGLE_SIDE = 16, /* threads that share four queries, and threads that share two keys */
    SINGLE_THREADS = SINGLE_SIDE * SINGLE_SIDE,
    SINGLE_LINE = SINGLE_ROWS + 4,    /* floats between lines of queries: 16 bytes more */
    SINGLE_KEY_LINE = SINGLE_KEYS + 2 /* and of keys */
};

/* E is e rounded up to what there are kernels for; columns e..E-1 are zeros. In floats. */
template <int E> struct single_shape {
    static_assert(E % (4 * SINGLE_SIDE) == 0, "columns in fours for all threads");
    enum {
        Q = 0,                         /* [E, SINGLE_LINE] */
        K = Q + E * SINGLE_LINE,       /* [E, SINGLE_KEY_LINE] */
        V = K + E * SINGLE_KEY_LINE,   /* [SINGLE_KEYS, E] */
        WEIGHTS = V + SINGLE_KEYS * E, /* [SINGLE_KEYS, SINGLE_LINE] */
        FLOATS = WEIGHTS + SINGLE_KEYS * SINGLE_LINE,
        BYTES = 4 * FLOATS
    };
};

/* Aligned to 16 and to 8 bytes. */
SDT_BLOCK void single_four(float v[4], const float *shared) {
    struct body_wide wide = body_wide_load(shared);
    SDT_UNROLL
    for (int i = 0; i < 4; i++)
        v[i] = body_float(wide.word[i]);
}
SDT_BLOCK void single_two(float v[2], const float *shared) {
#ifdef __CUDACC__
    float2 two = *(const float2 *)shared;
    v[0] = two.x;
    v[1] = two.y;
#else
    v[0] = shared[0];
    v[1] = shared[1];
#endif
}

/* Over the threads that share queries. */
SDT_BLOCK float single_largest(float x) {
    SDT_UNROLL
    for (int mask = 1; mask < SINGLE_SIDE; mask *= 2)
        x = fmaxf(x, block_exchange(x, mask));
    return x;
}
SDT_BLOCK float single_sum(float x) {
    SDT_UNROLL
    for (int mask = 1; mask < SINGLE_SIDE; mask *= 2)
        x += block_exchange(x, mask);
    return x;
}

/* to [E, line] = the transposed first rows of x, zeros behind them and behind column e. */
template <int E, int COUNT>
SDT_BLOCK void single_load_turned(float *to, int line, const float *x, int stride, int e,
                                  int rows) {
    for (int i = block_thread(); i < COUNT * E; i += SINGLE_THREADS) {
        int row = i / E, column = i % E;
        to[column * line + row] =
            row < rows && column < e ? x[(int64_t)row * stride + column] : 0.f;
    }
}

/* s [4 queries, 2 keys] = q k^T, unscaled. */
template <int E>
SDT_BLOCK void single_scores(const float *q /* of the thread's queries */, const float *k,
                             float s[4][2]) {
    SDT_UNROLL
    for (int i = 0; i < 4; i++)
        s[i][0] = s[i][1] = 0.f;
#ifdef __CUDACC__
#pragma unroll 8
#endif
    for (int d = 0; d < E; d++) {
        float a[4], b[2];
        single_four(a, q + d * SINGLE_LINE);
        single_two(b, k + d * SINGLE_KEY_LINE);
        SDT_UNROLL
        for (int i = 0; i < 4; i++)
            SDT_UNROLL
        for (int j = 0; j < 2; j++)
            s[i][j] += a[i] * b[j];
    }
}

/* o [4 queries, E / 16 columns] += weights v */
template <int E>
SDT_BLOCK void single_values(const float *weights, const float *v, float o[4][E / SINGLE_SIDE]) {
#ifdef __CUDACC__
#pragma unroll 4
#endif
    for (int key = 0; key < SINGLE_KEYS; key++) {
        float w[4], b[4];
        single_four(w, weights + key * SINGLE_LINE);
        SDT_UNROLL
        for (int c = 0; c < E / SINGLE_SIDE; c += 4) {
            single_four(b, v + key * E + c * SINGLE_SIDE);
            SDT_UNROLL
            for (int i = 0; i < 4; i++)
                SDT_UNROLL
            for (int j = 0; j < 4; j++)
                o[i][c + j] += w[i] * b[j];
        }
    }
}

/* Queries 64 tile.. of a head. e up to E; any strides. */
template <int E>
SDT_BLOCK void single_block(const struct attention_call &call, int tile, int head,
                            float *shared /* [single_shape<E>::FLOATS], aligned to 16 bytes */) {
    typedef single_shape<E> shape;
    const int COLUMNS = E / SINGLE_SIDE;
    const float *q = (const float *)call.q + head * call.q_head;
    const float *k = (const float *)call.k + head * call.k_head;
    const float *v = (const float *)call.v + head * call.k_head;
    int at_key = block_thread() % SINGLE_SIDE * 2, at_row = block_thread() / SINGLE_SIDE * 4;
    int at_column = block_thread() % SINGLE_SIDE * 4; /* and 64 behind it */
    int rows = call.rows - tile * SINGLE_ROWS;
    float o[4][COLUMNS], largest[4], sum[4];
    SDT_UNROLL
    for (int i = 0; i < 4; i++) {
        SDT_UNROLL
        for (int c = 0; c < COLUMNS; c++)
            o[i][c] = 0.f;
        largest[i] = -INFINITY;
        sum[i] = 0.f; /* of this thread's keys */
    }
    single_load_turned<E, SINGLE_ROWS>(shared + shape::Q, SINGLE_LINE,
                                       q + (int64_t)tile * SINGLE_ROWS * call.q_row, call.q_row,
                                       call.e, rows);
    for (int64_t first = 0; first < call.keys; first += SINGLE_KEYS) {
        int keys = call.keys - first < SINGLE_KEYS ? (int)(call.keys - first) : SINGLE_KEYS;
        float s[4][2];
        single_load_turned<E, SINGLE_KEYS>(shared + shape::K, SINGLE_KEY_LINE,
                                           k + first * call.k_row, call.k_row, call.e, keys);
        for (int i = block_thread(); i < SINGLE_KEYS * E; i += SINGLE_THREADS) {
            int key = i / E, column = i % E;
            shared[shape::V + i] =
                key < keys && column < call.e ? v[(first + key) * call.k_row + column] : 0.f;
        }
        block_barrier(); /* keys and values are there */
        single_scores<E>(shared + shape::Q + at_row, shared + shape::K + at_key, s);
        SDT_UNROLL
        for (int i = 0; i < 4; i++) {
            SDT_UNROLL
            for (int j = 0; j < 2; j++) {
                s[i][j] *= call.scale;
                if (first + at_key + j == call.keys - 1)
                    s[i][j] += call.last_key_bias;
                if (at_key + j >= keys)
                    s[i][j] = -INFINITY;
            }
            float most = single_largest(fmaxf(largest[i], fmaxf(s[i][0], s[i][1])));
            float shrink = expf(largest[i] - most);
            largest[i] = most;
            sum[i] *= shrink;
            SDT_UNROLL
            for (int c = 0; c < COLUMNS; c++)
                o[i][c] *= shrink;
            SDT_UNROLL
            for (int j = 0; j < 2; j++) {
                float weight = expf(s[i][j] - most);
                sum[i] += weight;
                shared[shape::WEIGHTS + (at_key + j) * SINGLE_LINE + at_row + i] = weight;
            }
        }
        block_barrier(); /* weights are there */
        single_values<E>(shared + shape::WEIGHTS + at_row, shared + shape::V + at_column, o);
        block_barrier(); /* nobody reads them any more */
    }
    float *out = (float *)call.o + head * call.o_head + (int64_t)tile * SINGLE_ROWS * call.o_row;
    SDT_UNROLL
    for (int i = 0; i < 4; i++) {
        int row = at_row + i;
        float all = single_sum(sum[i]), inverse = all == 0.f ? 0.f : 1.f / all;
        SDT_UNROLL
        for (int c = 0; c < COLUMNS; c++) {
            int column = c / 4 * 4 * SINGLE_SIDE + at_column + c % 4;
            if (row < rows && column < call.e)
                out[(int64_t)row * call.o_row + column] = o[i][c] * inverse;
        }
        if (call.lse && row < rows && at_column == 0)
            call.lse[(int64_t)head * call.rows + tile * SINGLE_ROWS + row] = largest[i] + logf(all);
    }
}
#endif

/* Attention without a matrix of scores, for one block of threads; attention.cu launches it, and
 * tests/kernels/cuda_launch_block.cpp runs the same lines on the host.
 *
 * flash_block: bf16 on tensor cores (FlashAttention-2, arXiv 2307.08691). A block makes 128 queries
 * of one head, each of its 4 warps 32 of them, over the keys 32 at a time. Queries, keys and values
 * stand in shared memory in rows of an odd number of 16-byte chunks: eight successive rows' same
 * chunk then lie in eight different groups of banks, so that no matrix load waits. Keys and values
 * take turns in a ring of STAGES tiles: while one is computed with, the next STAGES - 1 are on
 * their way. Scores and sums stay in registers; a lane has parts of four queries. 32 keys and not
 * 64: with their scores, a head of 128 leaves a thread no register to spare, and it would keep some
 * in memory.
 *
 * exact_warp: float32 arithmetic, one warp per query, any head size. */
#ifndef STARDIT_CUDA_FLASH_H
#define STARDIT_CUDA_FLASH_H

#include "kernels/cuda/block.h"
#include "kernels/cuda/bodies.h"

/* softmax(scale q k^T + bias) v of all heads. Strides in elements: between heads and between
 * rows. */
struct attention_call {
    int rows, e;
    int64_t keys;
    const void *q, *k, *v;
    void *o;
    float *lse;                     /* [heads, rows] or NULL */
    int64_t q_head, k_head, o_head; /* those of k are v's, too */
    int q_row, k_row, o_row;
    float scale;
    float last_key_bias; /* added to the scaled score of the last key */
    const float *table;  /* exact_warp: [32, heads] added by T5's buckets, or NULL */
    int heads;           /* of the table */
    int group;           /* exact_warp: heads of q that share one of k and v */
    int causal;          /* exact_warp: 1: a row has keys up to its own */
};

/* [tokens, heads * e], as projections leave it. */
inline struct attention_call by_columns(int rows, int heads, int e, const void *q, int64_t keys,
                                        const void *k, const void *v, void *o) {
    struct attention_call call = {};
    call.rows = rows;
    call.e = e;
    call.keys = keys;
    call.q = q;
    call.k = k;
    call.v = v;
    call.o = o;
    call.q_head = call.k_head = call.o_head = e;
    call.q_row = call.k_row = call.o_row = heads * e;
    call.heads = heads;
    call.group = 1;
    return call;
}

/* The same with fewer heads of k and v, and keys up to a row's own. */
inline struct attention_call causal(int tokens, int heads, int kv_heads, int e, const void *q,
                                    const void *k, const void *v, void *o) {
    struct attention_call call = by_columns(tokens, heads, e, q, tokens, k, v, o);
    call.k_row = kv_heads * e;
    call.group = heads / kv_heads;
    call.causal = 1;
    call.scale = 1.f / sqrtf((float)e);
    return call;
}

/* q, o [heads, rows, e]; k, v [heads, keys in whole tiles, e]. */
inline struct attention_call by_heads(int heads, int rows, int e, const void *q, int tile,
                                      int64_t keys, const void *k, const void *v, void *o) {
    struct attention_call call = by_columns(rows, heads, e, q, keys, k, v, o);
    call.q_head = call.o_head = (int64_t)rows * e;
    call.k_head = (keys + tile - 1) / tile * tile * e;
    call.q_row = call.k_row = call.o_row = e;
    return call;
}

enum { FLASH_ROWS = 128, FLASH_KEYS = 32, FLASH_WARPS = 4, FLASH_THREADS = 32 * FLASH_WARPS };

/* E is e rounded up to what there are kernels for; columns e..E-1 are zeros. */
template <int E, int STAGES> struct flash_shape {
    static_assert(E % 16 == 0 && FLASH_ROWS == FLASH_WARPS * 32, "tiles of the tensor cores");
    static_assert(STAGES >= 2, "one to compute with, one on its way");
    enum {
        CHUNKS = E / 8,                 /* of 16 bytes in a row */
        STRIDE = (CHUNKS | 1) * 8,      /* elements between rows, an odd number of chunks */
        TILE = 2 * FLASH_KEYS * STRIDE, /* elements of keys and values */
        BYTES = (FLASH_ROWS * STRIDE + STAGES * TILE) * 2
    };
};

/* Starts to copy the `rows` rows of x, at most COUNT of them, to shared memory; zeros behind them.
 * Where chunks divide the threads, a thread stays in its column: fewer addresses to keep. */
template <int E, int COUNT>
SDT_BLOCK void flash_load(uint16_t *shared, const uint16_t *x, int stride, int e, int rows) {
    const int CHUNKS = E / 8, STRIDE = flash_shape<E, 2>::STRIDE;
    const bool column_stays = FLASH_THREADS % CHUNKS == 0;
    const int STEP = FLASH_THREADS / CHUNKS;
    const int first_row = block_thread() / CHUNKS, first_column = block_thread() % CHUNKS * 8;
    const uint16_t *next = x + (first_row * stride + first_column);
    SDT_UNROLL
    for (int n = 0; n < (COUNT * CHUNKS + FLASH_THREADS - 1) / FLASH_THREADS; n++) {
        int i = block_thread() + n * FLASH_THREADS;
        int row = column_stays ? first_row + n * STEP : i / CHUNKS;
        int column = column_stays ? first_column : i % CHUNKS * 8;
        bool take = row < rows && column < e;
        const uint16_t *from = column_stays ? next : x + (row * stride + column);
        if (COUNT * CHUNKS % FLASH_THREADS == 0 || i < COUNT * CHUNKS)
            block_copy_start(shared + row * STRIDE + column, take ? from : x, take);
        next += STEP * stride;
    }
}

/* The next of the ring's tiles, with `keys` keys from it on: a group of copies, if only an empty
 * one, so that what waits may count groups. */
template <int E>
SDT_BLOCK void flash_load_keys(uint16_t *tile, const struct attention_call &call, const uint16_t *k,
                               const uint16_t *v, int64_t keys) {
    if (keys > 0) {
        int rows = keys < FLASH_KEYS ? (int)keys : FLASH_KEYS;
        flash_load<E, FLASH_KEYS>(tile, k, call.k_row, call.e, rows);
        flash_load<E, FLASH_KEYS>(tile + FLASH_KEYS * flash_shape<E, 2>::STRIDE, v, call.k_row,
                                  call.e, rows);
    }
    block_copy_commit();
}

/* Largest, and sum, over the four lanes that have parts of the same query. */
SDT_BLOCK float flash_largest(float x) {
    x = fmaxf(x, block_exchange(x, 1));
    return fmaxf(x, block_exchange(x, 2));
}
SDT_BLOCK float flash_sum(float x) {
    x += block_exchange(x, 1);
    return x + block_exchange(x, 2);
}

/* s [2 x 16 queries, 32 keys] = q k^T, unscaled. */
template <int E>
SDT_BLOCK void flash_scores(const uint16_t *q /* of the warp */, const uint16_t *k, int lane,
                            float s[2][FLASH_KEYS / 8][4]) {
    const int STRIDE = flash_shape<E, 2>::STRIDE;
    const uint16_t *q_row = q + lane % 16 * STRIDE + lane / 16 * 8;
    const uint16_t *k_row = k + (lane % 8 + lane / 16 * 8) * STRIDE + lane / 8 % 2 * 8;
    SDT_UNROLL
    for (int i = 0; i < 2; i++)
        SDT_UNROLL
    for (int j = 0; j < FLASH_KEYS / 8; j++)
        SDT_UNROLL
    for (int x = 0; x < 4; x++)
        s[i][j][x] = 0.f;
    SDT_UNROLL
    for (int step = 0; step < E / 16; step++) {
        uint32_t a[2][4];
        block_matrices(a[0], q_row + step * 16);
        block_matrices(a[1], q_row + 16 * STRIDE + step * 16);
        SDT_UNROLL
        for (int j = 0; j < FLASH_KEYS / 16; j++) {
            uint32_t b[4]; /* of keys 16 j.. and 16 j + 8.. */
            block_matrices(b, k_row + j * 16 * STRIDE + step * 16);
            SDT_UNROLL
            for (int i = 0; i < 2; i++) {
                block_multiply(s[i][2 * j], a[i], b);
                block_multiply(s[i][2 * j + 1], a[i], b + 2);
            }
        }
    }
}

/* o [2 x 16 queries, E] += p v; p [2 x 16, 32] is rounded to bf16 and stands as the product wants
 * it: what a lane has of two neighbouring tiles of scores is what it must have of one of p. */
template <int E>
SDT_BLOCK void flash_values(const uint32_t p[2][FLASH_KEYS / 16][4], const uint16_t *v, int lane,
                            float o[2][E / 8][4]) {
    const int STRIDE = flash_shape<E, 2>::STRIDE;
    const uint16_t *v_row = v + lane % 16 * STRIDE + lane / 16 * 8;
    SDT_UNROLL
    for (int step = 0; step < FLASH_KEYS / 16; step++)
        SDT_UNROLL
    for (int c = 0; c < E / 16; c++) {
        uint32_t b[4]; /* of columns 16 c.. and 16 c + 8.. */
        block_matrices_turned(b, v_row + step * 16 * STRIDE + c * 16);
        SDT_UNROLL
        for (int i = 0; i < 2; i++) {
            block_multiply(o[i][2 * c], p[i][step], b);
            block_multiply(o[i][2 * c + 1], p[i][step], b + 2);
        }
    }
}

/* The last keys: what lies behind them does not count. */
SDT_BLOCK void flash_mask(int left /* keys */, float bias /* of the last one's unscaled score */,
                          int lane, float s[2][FLASH_KEYS / 8][4]) {
    SDT_UNROLL
    for (int i = 0; i < 2; i++)
        SDT_UNROLL
    for (int j = 0; j < FLASH_KEYS / 8; j++)
        SDT_UNROLL
    for (int x = 0; x < 4; x++) {
        int key = 8 * j + lane % 4 * 2 + x % 2;
        if (key == left - 1)
            s[i][j][x] += bias;
        else if (key >= left)
            s[i][j][x] = -INFINITY;
    }
}

/* p = the powers of s, less the largest score so far. Where that has grown for a query of the warp,
 * what was summed up before shrinks; elsewhere it would be multiplied by one. */
template <int E>
SDT_BLOCK void flash_powers(const float s[2][FLASH_KEYS / 8][4], float scale2, float largest[2][2],
                            float sum[2][2], float o[2][E / 8][4],
                            uint32_t p[2][FLASH_KEYS / 16][4]) {
    float shrink[2][2];
    bool grown = false;
    SDT_UNROLL
    for (int i = 0; i < 2; i++)
        SDT_UNROLL
    for (int half = 0; half < 2; half++) {
        float most = largest[i][half];
        SDT_UNROLL
        for (int j = 0; j < FLASH_KEYS / 8; j++)
            most = fmaxf(most, fmaxf(s[i][j][2 * half], s[i][j][2 * half + 1]));
        most = flash_largest(most);
        grown = grown || most > largest[i][half];
        shrink[i][half] = block_exp2((largest[i][half] - most) * scale2);
        largest[i][half] = most;
    }
    if (block_any(grown)) {
        SDT_UNROLL
        for (int i = 0; i < 2; i++)
            SDT_UNROLL
        for (int half = 0; half < 2; half++) {
            sum[i][half] *= shrink[i][half];
            SDT_UNROLL
            for (int j = 0; j < E / 8; j++) {
                o[i][j][2 * half] *= shrink[i][half];
                o[i][j][2 * half + 1] *= shrink[i][half];
            }
        }
    }
    SDT_UNROLL
    for (int i = 0; i < 2; i++)
        SDT_UNROLL
    for (int half = 0; half < 2; half++) {
        float offset = -largest[i][half] * scale2, part = 0.f;
        SDT_UNROLL
        for (int j = 0; j < FLASH_KEYS / 8; j++) {
            float x = block_exp2(fmaf(s[i][j][2 * half], scale2, offset));
            float y = block_exp2(fmaf(s[i][j][2 * half + 1], scale2, offset));
            p[i][j / 2][j % 2 * 2 + half] = body_two_bf16(x, y);
            part += x + y;
        }
        sum[i][half] += part;
    }
}

/* Queries 128 tile.. of a head. scale > 0, e a multiple of 8 up to E, strides multiples of 8,
 * pointers aligned to 16 bytes. The bits do not depend on STAGES. */
template <int E, int STAGES>
SDT_BLOCK void flash_block(const struct attention_call &call, int tile, int head,
                           uint16_t *shared /* [flash_shape<E, STAGES>::BYTES], aligned to 16 */) {
    typedef flash_shape<E, STAGES> shape;
    const int STRIDE = shape::STRIDE;
    const uint16_t *q = (const uint16_t *)call.q + head * call.q_head;
    const uint16_t *k = (const uint16_t *)call.k + head * call.k_head;
    const uint16_t *v = (const uint16_t *)call.v + head * call.k_head;
    uint16_t *q_tile = shared, *ring = q_tile + FLASH_ROWS * STRIDE;
    int lane = block_thread() % 32, warp_row = block_thread() / 32 * 32;
    int e = call.e, rows = call.rows - tile * FLASH_ROWS; /* from the block's first on */
    int64_t keys = call.keys;                             /* from the current tile's first on */
    float scale2 = call.scale * 1.4426950408889634f;      /* for powers of two */
    int now = 0, next = (STAGES - 1) * shape::TILE;       /* tiles: computed with, copied to */
    float o[2][E / 8][4], largest[2][2], sum[2][2];
    SDT_UNROLL
    for (int i = 0; i < 2; i++) {
        SDT_UNROLL
        for (int j = 0; j < E / 8; j++)
            SDT_UNROLL
        for (int x = 0; x < 4; x++)
            o[i][j][x] = 0.f;
        SDT_UNROLL
        for (int half = 0; half < 2; half++) {
            largest[i][half] = -INFINITY; /* of the unscaled scores */
            sum[i][half] = 0.f;           /* of this lane's columns */
        }
    }
    flash_load<E, FLASH_ROWS>(q_tile, q + (int64_t)tile * FLASH_ROWS * call.q_row, call.q_row, e,
                              rows);
    SDT_UNROLL
    for (int stage = 0; stage < STAGES - 1; stage++) {
        flash_load_keys<E>(ring + stage * shape::TILE, call, k, v, keys - stage * FLASH_KEYS);
        k += (int64_t)FLASH_KEYS * call.k_row;
        v += (int64_t)FLASH_KEYS * call.k_row;
    }
    for (; keys > 0; keys -= FLASH_KEYS) {
        float s[2][FLASH_KEYS / 8][4];
        uint32_t p[2][FLASH_KEYS / 16][4];
        block_copy_wait_but<STAGES - 2>();
        block_barrier(); /* the tile is there for all; no warp reads the one before any more */
        flash_load_keys<E>(ring + next, call, k, v, keys - (STAGES - 1) * FLASH_KEYS);
        k += (int64_t)FLASH_KEYS * call.k_row;
        v += (int64_t)FLASH_KEYS * call.k_row;
        flash_scores<E>(q_tile + warp_row * STRIDE, ring + now, lane, s);
        if (keys <= FLASH_KEYS)
            flash_mask((int)keys, call.last_key_bias / call.scale, lane, s);
        flash_powers<E>(s, scale2, largest, sum, o, p);
        flash_values<E>(p, ring + now + FLASH_KEYS * STRIDE, lane, o);
        next = now;
        now = now == (STAGES - 1) * shape::TILE ? 0 : now + shape::TILE;
    }
    /* Through the warp's own rows of the queries' place, so that rows leave 16 bytes at a time. */
    block_copy_wait();
    block_barrier();
    SDT_UNROLL
    for (int i = 0; i < 2; i++)
        SDT_UNROLL
    for (int half = 0; half < 2; half++) {
        int r = warp_row + 16 * i + 8 * half + lane / 4;
        float all = flash_sum(sum[i][half]), inverse = all == 0.f ? 0.f : 1.f / all;
        if (call.lse && lane % 4 == 0 && r < rows)
            call.lse[(int64_t)head * call.rows + tile * FLASH_ROWS + r] =
                largest[i][half] * call.scale + logf(all);
        SDT_UNROLL
        for (int j = 0; j < E / 8; j++) {
            uint32_t two =
                body_two_bf16(o[i][j][2 * half] * inverse, o[i][j][2 * half + 1] * inverse);
            *(uint32_t *)(q_tile + r * STRIDE + 8 * j + lane % 4 * 2) = two;
        }
    }
    block_warp_barrier();
    uint16_t *out =
        (uint16_t *)call.o + head * call.o_head + (int64_t)tile * FLASH_ROWS * call.o_row;
    for (int i = lane; i < 32 * shape::CHUNKS; i += 32) {
        int r = warp_row + i / shape::CHUNKS, column = i % shape::CHUNKS * 8;
        if (r < rows && column < e)
            body_wide_store(out + (r * call.o_row + column),
                            body_wide_load(q_tile + r * STRIDE + column));
    }
}

/* ---- the exact way --------------------------------------------------------------------------- */

/* T5's bucket of a relative position, 32 buckets up to distance 128, both ways. */
SDT_BODY int attention_bucket(int64_t rel) {
    int64_t distance = rel < 0 ? -rel : rel;
    int bucket = distance < 8    ? (int)distance
                 : distance < 12 ? 8
                 : distance < 16 ? 9
                 : distance < 23 ? 10
                 : distance < 32 ? 11
                 : distance < 46 ? 12
                 : distance < 64 ? 13
                 : distance < 91 ? 14
                                 : 15;
    return (rel > 0 ? 16 : 0) + bucket;
}

enum { EXACT_GROUP = 4, EXACT_WARPS = 8, EXACT_LARGEST = 1024 /* e */ };

/* One query by one warp: lane l has columns l, l + 32, ..., PARTS of them (e <= 32 PARTS). Keys go
 * four at a time, for sums that do not wait for each other. */
template <enum sdt_dtype dtype, int PARTS>
SDT_BLOCK void exact_warp(const struct attention_call &call, int64_t row, int head) {
    int lane = block_thread() % 32;
    size_t q0 = (size_t)(head * call.q_head + row * call.q_row);
    size_t o0 = (size_t)(head * call.o_head + row * call.o_row);
    int64_t k0 = head / call.group * call.k_head, keys = call.causal ? row + 1 : call.keys;
    float q[PARTS], o[PARTS], largest = -INFINITY, sum = 0.f;
    SDT_UNROLL
    for (int p = 0; p < PARTS; p++) {
        q[p] = o[p] = 0.f;
        if (lane + 32 * p < call.e)
            body_load(dtype, 1, call.q, q0 + lane + 32 * p, q + p);
    }
    for (int64_t first = 0; first < keys; first += EXACT_GROUP) {
        float s[EXACT_GROUP], most = largest;
        SDT_UNROLL
        for (int g = 0; g < EXACT_GROUP; g++) {
            int64_t key = first + g;
            s[g] = 0.f;
            SDT_UNROLL
            for (int p = 0; p < PARTS; p++)
                if (key < keys && lane + 32 * p < call.e) {
                    float k;
                    body_load(dtype, 1, call.k, (size_t)(k0 + key * call.k_row + lane + 32 * p),
                              &k);
                    s[g] += q[p] * k;
                }
        }
        SDT_UNROLL
        for (int mask = 16; mask > 0; mask /= 2)
            SDT_UNROLL
        for (int g = 0; g < EXACT_GROUP; g++)
            s[g] += block_exchange(s[g], mask);
        SDT_UNROLL
        for (int g = 0; g < EXACT_GROUP; g++) {
            int64_t key = first + g;
            s[g] *= call.scale;
            if (key == keys - 1)
                s[g] += call.last_key_bias;
            if (call.table)
                s[g] += call.table[attention_bucket(key - row) * call.heads + head];
            if (key >= keys)
                s[g] = -INFINITY;
            most = fmaxf(most, s[g]);
        }
        float shrink = expf(largest - most);
        largest = most;
        sum *= shrink;
        SDT_UNROLL
        for (int p = 0; p < PARTS; p++)
            o[p] *= shrink;
        SDT_UNROLL
        for (int g = 0; g < EXACT_GROUP; g++) {
            int64_t key = first + g;
            float weight = expf(s[g] - most);
            sum += weight;
            SDT_UNROLL
            for (int p = 0; p < PARTS; p++)
                if (key < keys && lane + 32 * p < call.e) {
                    float v;
                    body_load(dtype, 1, call.v, (size_t)(k0 + key * call.k_row + lane + 32 * p),
                              &v);
                    o[p] += weight * v;
                }
        }
    }
    SDT_UNROLL
    for (int p = 0; p < PARTS; p++)
        if (lane + 32 * p < call.e) {
            float x = sum == 0.f ? 0.f : o[p] / sum;
            body_store(dtype, 1, call.o, o0 + lane + 32 * p, &x);
        }
    if (call.lse && lane == 0)
        call.lse[(int64_t)head * call.rows + row] = largest + logf(sum);
}
#endif

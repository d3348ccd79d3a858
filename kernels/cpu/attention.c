/* Attention of a tile of queries over tiles of keys, with a running maximum and sum per query
 * (online softmax): scores of one pair of tiles fit in the cache and the S x S matrix never exists.
 * Both products of a pair of tiles are BLAS calls whose sizes follow from rows, tile, e and keys
 * alone, and heads do not meet, so any grouping of the heads into calls gives the same bits. */
#include "kernels/cpu/attention.h"

#include "kernels/cpu/blas.h"
#include "kernels/cpu/softmax.h"
#include "kernels/kernels.h"

#include <math.h>

size_t sdt__attend_scratch(int rows, int tile) { return (size_t)rows * tile + 2 * (size_t)rows; }

void sdt__attend(int rows, int e, const float *q, int ldq, int tile, int64_t keys, const float *k,
                 const float *v, int ldk, size_t tile_stride, float scale, float *o, int ldo,
                 float *lse, float *scratch) {
    float *scores = scratch;                       /* [rows, n] */
    float *largest = scores + (size_t)rows * tile; /* [rows] */
    float *sum = largest + rows;                   /* [rows] */

    for (int r = 0; r < rows; r++) {
        largest[r] = -INFINITY;
        sum[r] = 0.f;
    }
    for (int64_t first = 0; first < keys; first += tile) {
        /* Padded keys of the last tile are left out of both products: their probability is 0. */
        int n = keys - first < tile ? (int)(keys - first) : tile;
        size_t start = first / tile * tile_stride;
        sdt__gemm_nt(rows, n, e, scale, q, ldq, k + start, ldk, 0.f, scores, n);
        for (int r = 0; r < rows; r++) {
            float *s = scores + (size_t)r * n;
            float m = softmax_largest(n, s);
            if (m > largest[r]) {
                if (first > 0) {
                    float shrink = v8_exp(v8_set(largest[r] - m))[0];
                    sum[r] *= shrink;
                    softmax_scale(e, o + (size_t)r * ldo, shrink);
                }
                largest[r] = m;
            }
            sum[r] += softmax_exp(n, s, largest[r]);
        }
        sdt__gemm_nn(rows, e, n, 1.f, scores, n, v + start, ldk, first > 0 ? 1.f : 0.f, o, ldo);
    }
    for (int r = 0; r < rows; r++) {
        if (keys > 0)
            softmax_scale(e, o + (size_t)r * ldo, 1.f / sum[r]);
        else
            memset(o + (size_t)r * ldo, 0, e * sizeof(float));
        if (lse)
            lse[r] = largest[r] + logf(sum[r]);
    }
}

void sdt_attention(int heads, int rows, int e, const float *q, int tile, int64_t keys,
                   const float *k, const float *v, float scale, float *o, float *lse,
                   float *scratch) {
    size_t tile_size = (size_t)tile * e, head_size = (size_t)rows * e;
    size_t keys_size = (size_t)((keys + tile - 1) / tile) * tile_size;
    for (int h = 0; h < heads; h++)
        sdt__attend(rows, e, q + h * head_size, e, tile, keys, k + h * keys_size, v + h * keys_size,
                    e, tile_size, scale, o + h * head_size, e, lse ? lse + (size_t)h * rows : NULL,
                    scratch);
}

size_t sdt_attention_scratch(int rows, int e, int tile) {
    (void)e;
    return sdt__attend_scratch(rows, tile);
}

void sdt_attention_merge(int heads, int rows, int e, const float *o2, const float *lse2, float *o,
                         float *lse) {
    size_t n = (size_t)heads * rows;
    for (size_t r = 0; r < n; r++, o += e, o2 += e) {
        float m = fmaxf(lse[r], lse2[r]);
        float a = expf(lse[r] - m), b = expf(lse2[r] - m), sum = a + b;
        a /= sum;
        b /= sum;
        for (int i = 0; i < e; i++)
            o[i] = a * o[i] + b * o2[i];
        lse[r] = m + logf(sum);
    }
}

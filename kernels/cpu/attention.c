/* Attention of one head with a running maximum and sum per query (online softmax): scores of some
 * queries and a block of keys fit in the cache, and the matrix of all scores never exists.
 *
 * Keys are taken in blocks of KEYS from the first one on, and both products of a block are the
 * micro-kernel's: a query's bits depend on the query and on the keys, not on how many queries come
 * together, nor on how tokens are cut into tiles. */
#include "kernels/cpu/attention.h"

#include "kernels/cpu/product.h"
#include "kernels/cpu/softmax.h"
#include "kernels/kernels.h"

#include <math.h>

enum {
    KEYS = SDT__BLOCK_KEYS,
    STRIP = 64 /* queries whose scores with a block stay in the cache */
};

static int block_keys(int64_t keys) { return keys < KEYS ? (int)keys : KEYS; }

/* The scratch's parts, in floats. */
struct parts {
    size_t scores, k, v, largest, sum, end; /* where each starts */
};

static struct parts parts_of(int rows, int e, int64_t keys) {
    int lanes = sdt__micro_kernel()->lanes, n = block_keys(keys);
    struct parts p = {0};
    p.k = p.scores + (size_t)(rows < STRIP ? rows : STRIP) * (size_t)n;
    p.v = p.k + (size_t)sdt__panel_columns(n, lanes) * (size_t)e;
    p.largest = p.v + (size_t)sdt__panel_columns(e, lanes) * (size_t)n;
    p.sum = p.largest + (size_t)rows;
    p.end = p.sum + (size_t)rows;
    return p;
}

size_t sdt__attend_scratch(int rows, int e, int64_t keys) { return parts_of(rows, e, keys).end; }

/* y[rows, n] (=, +=) a[rows, k] times panels. Packed: one behind the other; else columns of a
 * matrix. */
static void multiply(const struct sdt__micro_kernel *kernel, int rows, int n, int k, const float *a,
                     ptrdiff_t lda, const float *panels, ptrdiff_t ldb, bool add, float *y,
                     ptrdiff_t ldy) {
    for (int col = 0; col < n;) {
        int vectors = sdt__panel_vectors(n, col, kernel->lanes), width = vectors * kernel->lanes;
        struct sdt__strip strip = {.rows = rows,
                                   .kc = k,
                                   .vectors = vectors,
                                   .cols = n - col < width ? n - col : width,
                                   .a = a,
                                   .lda = lda,
                                   .b = ldb ? panels + col : panels + (size_t)col * (size_t)k,
                                   .ldb = ldb ? ldb : width,
                                   .add = add,
                                   .y = y + col,
                                   .ldy = ldy};
        kernel->multiply(&strip);
        col += width;
    }
}

/* Keys as columns of panels over e. */
static void pack_keys(const struct sdt__micro_kernel *kernel, int n, int e, const float *k,
                      ptrdiff_t ldk, float *panels) {
    for (int col = 0; col < n;) {
        int width = sdt__panel_vectors(n, col, kernel->lanes) * kernel->lanes;
        kernel->pack(n - col < width ? n - col : width, width, e, sizeof(float), k + col * ldk,
                     (size_t)ldk, panels + (size_t)col * (size_t)e);
        col += width;
    }
}

/* Values are rows of panels already: copied only together, and out of longer rows. */
static void pack_values(const struct sdt__micro_kernel *kernel, int n, int e, const float *v,
                        ptrdiff_t ldv, float *panels) {
    for (int col = 0; col < e;) {
        int width = sdt__panel_vectors(e, col, kernel->lanes) * kernel->lanes;
        int cols = e - col < width ? e - col : width;
        float *to = panels + (size_t)col * (size_t)n;
        for (int j = 0; j < n; j++, to += width) {
            memcpy(to, v + j * ldv + col, (size_t)cols * sizeof(float));
            memset(to + cols, 0, (size_t)(width - cols) * sizeof(float));
        }
        col += width;
    }
}

/* A row of scores with a block that starts at key `first` becomes probabilities. */
static void weigh(const struct sdt__attend *a, int r, int64_t first, int n, float *s /* [n] */,
                  float *largest, float *sum) {
    float scale = a->scale, *o = a->o + r * a->ldo;
    if (a->bias || (a->last_key_bias != 0.f && first + n == a->keys)) {
        softmax_scale(n, s, scale);
        scale = 1.f;
        if (a->bias)
            sdt_add((size_t)n, a->bias + first - r, s);
        if (first + n == a->keys)
            s[n - 1] += a->last_key_bias;
    }
    float m = softmax_largest(n, s) * scale;
    if (first == 0) {
        *largest = m;
        *sum = 0.f;
    } else if (m > *largest) {
        float shrink = vec_exp(vec_set(*largest - m))[0];
        *sum *= shrink;
        softmax_scale(a->e, o, shrink);
        *largest = m;
    }
    *sum += softmax_exp(n, s, scale, *largest);
}

/* Rows of a group, its members first.. of the call's, put together. */
static void gather_rows(const struct sdt__attend *a, int64_t first, int n, const float *x,
                        float *y /* [n, e] */) {
    for (int i = 0; i < n; i++)
        memcpy(y + (size_t)i * (size_t)a->e,
               x + (sdt_group_token(a->groups, a->group, a->first_member + first + i) -
                    a->groups->first_key) *
                       a->ldk,
               (size_t)a->e * sizeof(float));
}

void sdt__attend(const struct sdt__attend *a) {
    const struct sdt__micro_kernel *kernel = sdt__micro_kernel();
    struct parts parts = parts_of(a->rows, a->e, a->keys);
    float *scores = a->scratch + parts.scores, *k = a->scratch + parts.k;
    float *largest = a->scratch + parts.largest, *sum = a->scratch + parts.sum;
    int e = a->e;
    ptrdiff_t ldk = a->groups ? e : a->ldk;
    /* Dense rows that are whole vectors are read as they are. */
    bool dense = ldk == e && e % kernel->lanes == 0 && e > kernel->lanes;

    for (int64_t first = 0; first < a->keys; first += KEYS) {
        int n = block_keys(a->keys - first);
        const float *rows_k = a->k + first * ldk, *v = a->v + first * ldk;
        if (a->groups) {
            rows_k = a->gathered;
            v = a->gathered + (size_t)KEYS * (size_t)e;
            gather_rows(a, first, n, a->k, a->gathered);
            gather_rows(a, first, n, a->v, a->gathered + (size_t)KEYS * (size_t)e);
        }
        pack_keys(kernel, n, e, rows_k, ldk, k);
        if (!dense) {
            pack_values(kernel, n, e, v, ldk, a->scratch + parts.v);
            v = a->scratch + parts.v;
        }
        for (int r = 0; r < a->rows; r += STRIP) {
            int rows = a->rows - r < STRIP ? a->rows - r : STRIP;
            multiply(kernel, rows, n, e, a->q + r * a->ldq, a->ldq, k, 0, false, scores, n);
            for (int i = 0; i < rows; i++)
                weigh(a, r + i, first, n, scores + (size_t)i * (size_t)n, &largest[r + i],
                      &sum[r + i]);
            multiply(kernel, rows, e, n, scores, n, v, dense ? e : 0, first > 0, a->o + r * a->ldo,
                     a->ldo);
        }
    }
    for (int r = 0; r < a->rows; r++) {
        if (a->keys > 0)
            softmax_scale(e, a->o + r * a->ldo, 1.f / sum[r]);
        else
            memset(a->o + r * a->ldo, 0, (size_t)e * sizeof(float));
        if (a->lse)
            a->lse[r] = a->keys > 0 ? largest[r] + logf(sum[r]) : -INFINITY;
    }
}

/* ---- self attention -------------------------------------------------------------------------- */

void sdt_attention(int heads, int rows, int e, const float *q, int tile, int64_t keys,
                   const float *k, const float *v, float scale, float *o, float *lse,
                   float *scratch) {
    size_t head = (size_t)rows * (size_t)e;
    size_t head_keys = (size_t)((keys + tile - 1) / tile) * (size_t)tile * (size_t)e;
    for (int h = 0; h < heads; h++) {
        struct sdt__attend attend = {.rows = rows,
                                     .e = e,
                                     .q = q + (size_t)h * head,
                                     .ldq = e,
                                     .keys = keys,
                                     .k = k + (size_t)h * head_keys,
                                     .v = v + (size_t)h * head_keys,
                                     .ldk = e,
                                     .scale = scale,
                                     .o = o + (size_t)h * head,
                                     .ldo = e,
                                     .lse = lse ? lse + (size_t)h * (size_t)rows : NULL,
                                     .scratch = scratch};
        sdt__attend(&attend);
    }
}

size_t sdt_attention_scratch(int rows, int e, int64_t keys) {
    return sdt__attend_scratch(rows, e, keys);
}

void sdt_attention_merge(int heads, int rows, int e, const float *o2, const float *lse2, float *o,
                         float *lse) {
    size_t n = (size_t)heads * (size_t)rows;
    for (size_t r = 0; r < n; r++, o += e, o2 += e) {
        float m = fmaxf(lse[r], lse2[r]);
        if (m == -INFINITY)
            continue;
        float a = expf(lse[r] - m), b = expf(lse2[r] - m), sum = a + b;
        a /= sum;
        b /= sum;
        for (int i = 0; i < e; i++)
            o[i] = a * o[i] + b * o2[i];
        lse[r] = m + logf(sum);
    }
}

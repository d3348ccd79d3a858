/* Every attention kernel as one loop over queries: all scores, softmax, weighted sum. */
#include "kernels/reference.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>

/* Where key j starts: tiles of `tile` keys, tile_stride floats apart, their rows ld floats apart.
 */
struct layout {
    int64_t tile;
    size_t tile_stride, ld;
};

static size_t place(const struct layout *layout, int64_t j) {
    return j / layout->tile * layout->tile_stride + j % layout->tile * layout->ld;
}

/* Turns the scores of one query into o; returns their log-sum-exp. */
static double weigh(int64_t keys, double *scores /* [keys] in place */, int e,
                    const struct layout *layout, const float *v, float *o /* [e] */) {
    double largest = -INFINITY, sum = 0.;
    for (int64_t j = 0; j < keys; j++)
        largest = fmax(largest, scores[j]);
    for (int64_t j = 0; j < keys; j++)
        sum += scores[j] = exp(scores[j] - largest);
    for (int i = 0; i < e; i++) {
        double z = 0.;
        for (int64_t j = 0; j < keys; j++)
            z += scores[j] * v[place(layout, j) + i];
        o[i] = keys > 0 ? (float)(z / sum) : 0.f;
    }
    return largest + log(sum);
}

static void score(int64_t keys, int e, const double *q /* [e] */, const struct layout *layout,
                  const float *k, double scale, double *scores /* [keys] */) {
    for (int64_t j = 0; j < keys; j++) {
        scores[j] = 0.;
        for (int i = 0; i < e; i++)
            scores[j] += q[i] * k[place(layout, j) + i];
        scores[j] *= scale;
    }
}

/* Room for the scores of one query and for the query; the process ends where there is none. */
static double *take(int64_t keys, int n) {
    double *room = malloc((keys + n) * sizeof *room);
    if (!room)
        abort();
    return room;
}

static void widen(int n, const float *x /* [n] */, double *y /* [n] */) {
    for (int i = 0; i < n; i++)
        y[i] = x[i];
}

void sdt_attention_reference(int heads, int rows, int e, const float *q, int tile, int64_t keys,
                             const float *k, const float *v, float scale, float *o, float *lse) {
    struct layout layout = {tile, (size_t)tile * e, e};
    size_t keys_size = (size_t)((keys + tile - 1) / tile) * layout.tile_stride;
    double *scores = take(keys, e), *query = scores + keys;
    for (int h = 0; h < heads; h++)
        for (int r = 0; r < rows; r++) {
            size_t row = (size_t)h * rows + r, start = (size_t)h * keys_size;
            widen(e, q + row * e, query);
            score(keys, e, query, &layout, k + start, scale, scores);
            double z = weigh(keys, scores, e, &layout, v + start, o + row * e);
            if (lse)
                lse[row] = (float)z;
        }
    free(scores);
}

void sdt_group_attention_reference(const struct sdt_token_groups *groups, int heads, int rows,
                                   int e, const float *q, int tile, int64_t keys, const float *k,
                                   const float *v, float scale, float *o, float *lse) {
    struct layout layout = {tile, (size_t)tile * e, e};
    size_t keys_size = (size_t)((keys + tile - 1) / tile) * layout.tile_stride;
    double *scores = take(keys, e), *query = scores + keys;
    for (int h = 0; h < heads; h++)
        for (int r = 0; r < rows; r++) {
            size_t row = (size_t)h * rows + r, start = (size_t)h * keys_size;
            int64_t group = (groups->first_query + r) / groups->run % groups->count, seen = 0;
            widen(e, q + row * e, query);
            score(keys, e, query, &layout, k + start, scale, scores);
            for (int64_t j = 0; j < keys; j++) {
                bool other = (groups->first_key + j) / groups->run % groups->count != group;
                scores[j] = other ? -INFINITY : scores[j];
                seen += !other;
            }
            double z = weigh(seen > 0 ? keys : 0, scores, e, &layout, v + start, o + row * e);
            if (lse)
                lse[row] = (float)z;
        }
    free(scores);
}

void sdt_cross_attention_reference(int rows, int heads, int e, const float *q,
                                   const float *q_weight, float eps, int keys, const float *k,
                                   const float *v, float last_key_bias, float *o) {
    int d = heads * e;
    struct layout layout = {keys, 0, d};
    double *scores = take(keys, d), *query = scores + keys;
    for (int r = 0; r < rows; r++) {
        widen(d, q + (size_t)r * d, query);
        if (q_weight) {
            double sum = 0.;
            for (int i = 0; i < d; i++)
                sum += query[i] * query[i];
            for (int i = 0; i < d; i++)
                query[i] *= q_weight[i] / sqrt(sum / d + eps);
        }
        for (int h = 0; h < heads; h++) {
            score(keys, e, query + h * e, &layout, k + h * e, 1. / sqrt(e), scores);
            scores[keys - 1] += last_key_bias;
            weigh(keys, scores, e, &layout, v + h * e, o + (size_t)r * d + h * e);
        }
    }
    free(scores);
}

/* The bucket by T5's formula; distances where the logarithm is a whole number are exact powers of
 * two times 8, so the rounding of log does not matter once a hair is added. */
static int bucket(int rel) {
    int side = rel > 0 ? 16 : 0, distance = abs(rel);
    if (distance < 8)
        return side + distance;
    int b = 8 + (int)(log(distance / 8.) / log(128. / 8.) * 8. + 1e-9);
    return side + (b < 15 ? b : 15);
}

void sdt_text_attention_reference(int tokens, int width, int head0, int head1, int e,
                                  const float *q, const float *k, const float *v,
                                  const float *table, int heads, float *o) {
    struct layout layout = {tokens, 0, width};
    double *scores = take(tokens, e), *query = scores + tokens;
    for (int h = head0; h < head1; h++)
        for (int i = 0; i < tokens; i++) {
            size_t row = (size_t)i * width + (size_t)h * e;
            widen(e, q + row, query);
            score(tokens, e, query, &layout, k + h * e, 1., scores);
            for (int j = 0; j < tokens; j++)
                scores[j] += table[bucket(j - i) * heads + h];
            weigh(tokens, scores, e, &layout, v + h * e, o + row);
        }
    free(scores);
}

void sdt_causal_attention_reference(int tokens, int heads, int kv_heads, int e, const float *q,
                                    const float *k, const float *v, float *o) {
    struct layout layout = {tokens, 0, (size_t)kv_heads * (size_t)e};
    double *scores = take(tokens, e), *query = scores + tokens;
    for (int h = 0; h < heads; h++)
        for (int i = 0; i < tokens; i++) {
            size_t row = ((size_t)i * (size_t)heads + (size_t)h) * (size_t)e;
            int shared = h / (heads / kv_heads) * e;
            widen(e, q + row, query);
            score(i + 1, e, query, &layout, k + shared, 1. / sqrt(e), scores);
            weigh(i + 1, scores, e, &layout, v + shared, o + row);
        }
    free(scores);
}

void sdt_frame_attention_reference(int pixels, int channels, const float *q, const float *k,
                                   const float *v, int ld, float *o) {
    struct layout layout = {pixels, 0, (size_t)ld};
    double *scores = take(pixels, channels), *query = scores + pixels;
    for (int p = 0; p < pixels; p++) {
        widen(channels, q + p * layout.ld, query);
        score(pixels, channels, query, &layout, k, 1. / sqrt(channels), scores);
        weigh(pixels, scores, channels, &layout, v, o + (size_t)p * channels);
    }
    free(scores);
}

void sdt_attention_merge_reference(int heads, int rows, int e, const float *o2, const float *lse2,
                                   float *o, float *lse) {
    for (int r = 0; r < heads * rows; r++) {
        double m = fmax(lse[r], lse2[r]), a = exp(lse[r] - m), b = exp(lse2[r] - m);
        if (m == -INFINITY)
            continue;
        for (int i = 0; i < e; i++)
            o[(size_t)r * e + i] =
                (float)((a * o[(size_t)r * e + i] + b * o2[(size_t)r * e + i]) / (a + b));
        lse[r] = (float)(m + log(a + b));
    }
}

/* Between tokens and heads: the rotary table, and the split of one token tile into pieces by heads
 * with the row norm and the rotation on the way, since the row is then read anyway. */
#include "kernels/cpu/vector_math.h"
#include "kernels/kernels.h"

/* Pairs whose cosines and sines are gathered at a time; the heads of a row share them. */
enum { PAIRS = 64 };

size_t sdt_rope_table_size(const struct sdt_rope *rope) {
    size_t n = 0;
    for (int a = 0; a < 3; a++)
        n += (size_t)rope->size[a] * rope->pairs[a] * 2;
    return n;
}

void sdt_rope_table(const struct sdt_rope *rope, double theta, float *table) {
    for (int a = 0; a < 3; a++)
        for (int pos = 0; pos < rope->size[a]; pos++)
            for (int i = 0; i < rope->pairs[a]; i++) {
                double angle = pos * pow(theta, -(double)i / rope->pairs[a]);
                *table++ = (float)cos(angle);
                *table++ = (float)sin(angle);
            }
}

/* Cosines and sines of pairs first..first+n-1 of a token, its axes' rows one behind the other. */
static void gather_turns(const struct sdt_rope *rope, const float *const *row /* [3] */, int first,
                         int n, float *turns /* [n, 2 (cos, sin)] */) {
    for (int a = 0, start = 0; a < 3; start += rope->pairs[a], a++) {
        int from = first > start ? first : start;
        int to = first + n < start + rope->pairs[a] ? first + n : start + rope->pairs[a];
        if (from < to)
            memcpy(turns + 2 * (from - first), row[a] + 2 * (from - start),
                   2 * sizeof(float) * (to - from));
    }
}

/* (a, b) -> (a cos - b sin, a sin + b cos) on four neighbouring pairs */
static inline __attribute__((always_inline)) v8 turn(v8 x, v8 turns) {
    const v8 sign = {-1.f, 1.f, -1.f, 1.f, -1.f, 1.f, -1.f, 1.f};
    v8 swapped = __builtin_shuffle(x, (v8i){1, 0, 3, 2, 5, 4, 7, 6});
    v8 cosine = __builtin_shuffle(turns, (v8i){0, 0, 2, 2, 4, 4, 6, 6});
    v8 sine = __builtin_shuffle(turns, (v8i){1, 1, 3, 3, 5, 5, 7, 7});
    return x * cosine + swapped * (sine * sign);
}

void sdt_split_heads(int rows, int valid_rows, int heads, int e, const float *x,
                     const float *weight, float eps, const struct sdt_rope *rope,
                     const float *table, int64_t first_token, int pieces, const int *head,
                     float *const *y) {
    size_t d = (size_t)heads * e;
    for (int r = 0; r < rows; r++) {
        if (r >= valid_rows) {
            for (int p = 0; p < pieces; p++)
                for (int h = 0; h < head[p + 1] - head[p]; h++)
                    memset(y[p] + ((size_t)h * rows + r) * e, 0, e * sizeof(float));
            continue;
        }
        const float *in = x + r * d;
        float inverse = 1.f;
        if (weight)
            inverse = 1.f / sqrtf(v8_sum_of_squares(d, in, 0.f) / (float)d + eps);

        const float *axis[3] = {NULL, NULL, NULL};
        if (table) {
            int64_t token = first_token + r;
            int64_t pos[3] = {token / rope->size[2] / rope->size[1],
                              token / rope->size[2] % rope->size[1], token % rope->size[2]};
            const float *t = table;
            for (int a = 0; a < 3; a++) {
                axis[a] = t + pos[a] * rope->pairs[a] * 2;
                t += (size_t)rope->size[a] * rope->pairs[a] * 2;
            }
        }
        for (int c = 0; c < e; c += 2 * PAIRS) {
            float turns[2 * PAIRS];
            int n = e - c < 2 * PAIRS ? e - c : 2 * PAIRS;
            if (table)
                gather_turns(rope, axis, c / 2, n / 2, turns);
            for (int p = 0; p < pieces; p++)
                for (int h = head[p]; h < head[p + 1]; h++) {
                    size_t column = (size_t)h * e + c;
                    float *out = y[p] + ((size_t)(h - head[p]) * rows + r) * e + c;
                    for (int i = 0; i < n; i += 8) {
                        v8 z = v8_load(in + column + i, n - i);
                        if (weight)
                            z = z * v8_set(inverse) * v8_load(weight + column + i, n - i);
                        if (table)
                            z = turn(z, v8_load(turns + i, n - i));
                        v8_store(out + i, n - i, z);
                    }
                }
        }
    }
}

void sdt_merge_heads(int rows, int heads, int e, int pieces, const int *head, const float *const *x,
                     float *y) {
    for (int p = 0; p < pieces; p++)
        for (int h = head[p]; h < head[p + 1]; h++)
            for (int r = 0; r < rows; r++)
                memcpy(y + ((size_t)r * heads + h) * e,
                       x[p] + ((size_t)(h - head[p]) * rows + r) * e, e * sizeof(float));
}

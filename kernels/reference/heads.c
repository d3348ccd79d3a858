/* The split by heads, one pair at a time. */
#include "kernels/reference.h"

#include <math.h>
#include <stdbool.h>

/* Cosine and sine of pair i for a token. */
static const float *find_turn(const struct sdt_rope *rope, const float *table, int64_t token,
                              int i) {
    int64_t width = rope->size[2], height = rope->size[1];
    int64_t pos[3] = {token / (width * height), token / width % height, token % width};
    int axis = 0;
    while (i >= rope->pairs[axis]) {
        i -= rope->pairs[axis];
        table += (size_t)rope->size[axis] * rope->pairs[axis] * 2;
        axis++;
    }
    return table + (pos[axis] * rope->pairs[axis] + i) * 2;
}

/* The column that column i of a head is paired with; which pair of the head they are, and whether i
 * is the second of it. */
static int partner(const struct sdt_rope *rope, int i, int *pair, bool *second) {
    int start = 0, axis = 0;
    if (!rope->halves) {
        *pair = i / 2;
        *second = i % 2 == 1;
        return i ^ 1;
    }
    while (i >= start + 2 * rope->pairs[axis])
        start += 2 * rope->pairs[axis++];
    *second = i >= start + rope->pairs[axis];
    int with = *second ? i - rope->pairs[axis] : i + rope->pairs[axis];
    *pair = start / 2 + (*second ? with : i) - start;
    return with;
}

static double normed(const float *x, const float *weight, double rms, int i) {
    return weight ? x[i] / rms * weight[i] : x[i];
}

void sdt_split_heads_reference(int rows, int valid_rows, int heads, int e, const float *x,
                               const float *weight, float eps, const struct sdt_rope *rope,
                               const float *table, int64_t first_token, int pieces, const int *head,
                               float *const *y) {
    int d = heads * e;
    for (int r = 0; r < rows; r++, x += d) {
        double sum = 0.;
        for (int i = 0; i < d; i++)
            sum += (double)x[i] * x[i];
        double rms = sqrt(sum / d + eps);
        for (int p = 0; p < pieces; p++)
            for (int h = head[p]; h < head[p + 1]; h++)
                for (int i = 0; i < e; i++) {
                    double z = normed(x, weight, rms, h * e + i);
                    if (table && r < valid_rows) {
                        bool second;
                        int pair, with = partner(rope, i, &pair, &second);
                        const float *turn = find_turn(rope, table, first_token + r, pair);
                        double other = normed(x, weight, rms, h * e + with);
                        z = z * turn[0] + (second ? other : -other) * turn[1];
                    }
                    y[p][((size_t)(h - head[p]) * rows + r) * e + i] =
                        r < valid_rows ? (float)z : 0.f;
                }
    }
}

void sdt_merge_heads_reference(int rows, int heads, int e, int pieces, const int *head,
                               const float *const *x, float *y) {
    for (int p = 0; p < pieces; p++)
        for (int h = head[p]; h < head[p + 1]; h++)
            for (int r = 0; r < rows; r++)
                for (int i = 0; i < e; i++)
                    y[((size_t)r * heads + h) * e + i] =
                        x[p][((size_t)(h - head[p]) * rows + r) * e + i];
}

void sdt_rotate_halves_reference(int rows, int heads, int e, const float *table, float *x) {
    int half = e / 2;
    for (int r = 0; r < rows; r++)
        for (int h = 0; h < heads; h++)
            for (int i = 0; i < half; i++) {
                double cosine = table[r * e + i], sine = table[r * e + half + i];
                float *a = x + ((size_t)r * heads + h) * e + i, *b = a + half;
                double turned = *a * cosine - *b * sine;
                *b = (float)(*b * cosine + *a * sine);
                *a = (float)turned;
            }
}

/* Attention with the prompt: the video's tokens over the prompt's keys, and the text encoder's
 * own. */
#include "kernels/cpu/attention.h"
#include "kernels/kernels.h"

#include <math.h>
#include <string.h>

void sdt_cross_attention(int rows, int heads, int e, const float *q, const float *q_weight,
                         float eps, int keys, const float *k, const float *v, float last_key_bias,
                         float *o, float *scratch) {
    int d = heads * e;
    if (q_weight) {
        float *normed = scratch; /* [rows, d] */
        sdt_rms_norm(rows, d, q, eps, q_weight, normed);
        q = normed;
    }
    for (int h = 0; h < heads; h++) {
        ptrdiff_t column = (ptrdiff_t)h * e;
        struct sdt__attend attend = {.rows = rows,
                                     .e = e,
                                     .q = q + column,
                                     .ldq = d,
                                     .keys = keys,
                                     .k = k + column,
                                     .v = v + column,
                                     .ldk = d,
                                     .scale = 1.f / sqrtf((float)e),
                                     .last_key_bias = last_key_bias,
                                     .o = o + column,
                                     .ldo = d,
                                     .scratch = scratch + (size_t)rows * (size_t)d};
        sdt__attend(&attend);
    }
}

size_t sdt_cross_attention_scratch(int rows, int heads, int e, int keys) {
    return (size_t)rows * (size_t)heads * (size_t)e + sdt__attend_scratch(rows, e, keys);
}

int sdt_t5_bucket(int rel) {
    /* From distance 8 on, buckets widen logarithmically up to 128; these are where they begin. */
    static const int from[] = {8, 12, 16, 23, 32, 46, 64, 91};
    int side = rel > 0 ? 16 : 0, distance = rel > 0 ? rel : -rel;
    if (distance < 8)
        return side + distance;
    int bucket = 7;
    for (size_t i = 0; i < sizeof from / sizeof *from && distance >= from[i]; i++)
        bucket++;
    return side + bucket;
}

/* The columns of one head, token after token. */
static void gather_head(int tokens, int e, size_t width, size_t column, int tile_rows,
                        const float *const *tile, float *y /* [tokens, e] */) {
    for (int t = 0; t < tokens; t++, y += e)
        memcpy(y, tile[t / tile_rows] + (size_t)(t % tile_rows) * width + column,
               (size_t)e * sizeof(float));
}

void sdt_text_attention(int tokens, int heads, int e, int first, int rows, const float *q,
                        int tile_rows, const float *const *k, const float *const *v,
                        const float *table, float *o, float *scratch) {
    size_t width = (size_t)heads * (size_t)e, head = (size_t)tokens * (size_t)e;
    float *keys = scratch, *values = keys + head; /* [tokens, e] of one head */
    float *bias = values + head;                  /* [2 tokens - 1] by j - i */
    float *middle = bias + tokens - 1;            /* its place for j = i */
    for (int h = 0; h < heads; h++) {
        size_t column = (size_t)h * (size_t)e;
        struct sdt__attend attend = {.rows = rows,
                                     .e = e,
                                     .q = q + column,
                                     .ldq = (ptrdiff_t)width,
                                     .keys = tokens,
                                     .k = keys,
                                     .v = values,
                                     .ldk = e,
                                     .scale = 1.f,
                                     .bias = middle - first,
                                     .o = o + column,
                                     .ldo = (ptrdiff_t)width,
                                     .scratch = bias + 2 * (size_t)tokens};
        gather_head(tokens, e, width, column, tile_rows, k, keys);
        gather_head(tokens, e, width, column, tile_rows, v, values);
        for (int rel = 1 - tokens; rel < tokens; rel++)
            middle[rel] = table[sdt_t5_bucket(rel) * heads + h];
        sdt__attend(&attend);
    }
}

size_t sdt_text_attention_scratch(int tokens, int rows, int e) {
    return 2 * (size_t)tokens * (size_t)e + 2 * (size_t)tokens +
           sdt__attend_scratch(rows, e, tokens);
}

/* Attention with the prompt: the video's tokens over the prompt's keys, and the text encoders'
 * own. */
#include "kernels/cpu/attention.h"
#include "kernels/kernels.h"

#include <math.h>

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

void sdt_text_attention(int tokens, int heads, int e, const float *q, const float *k,
                        const float *v, int first_head, int table_heads, const float *table,
                        float *o, float *scratch) {
    ptrdiff_t width = (ptrdiff_t)heads * e;
    float *middle = scratch + tokens - 1; /* of the bias [2 tokens - 1] by j - i: j = i */
    for (int h = 0; h < heads; h++) {
        ptrdiff_t column = (ptrdiff_t)h * e;
        struct sdt__attend attend = {.rows = tokens,
                                     .e = e,
                                     .q = q + column,
                                     .ldq = width,
                                     .keys = tokens,
                                     .k = k + column,
                                     .v = v + column,
                                     .ldk = width,
                                     .scale = 1.f,
                                     .bias = middle,
                                     .o = o + column,
                                     .ldo = width,
                                     .scratch = scratch + 2 * (size_t)tokens};
        for (int rel = 1 - tokens; rel < tokens; rel++)
            middle[rel] = table[sdt_t5_bucket(rel) * table_heads + first_head + h];
        sdt__attend(&attend);
    }
}

void sdt_causal_attention(int tokens, int heads, int kv_heads, int e, const float *q,
                          const float *k, const float *v, float *o, float *scratch) {
    /* Far below any score: such a key's weight vanishes beside that of the first, which all see. */
    const float unseen = -1e30f;
    float *middle = scratch + tokens - 1; /* of the bias [2 tokens - 1] by j - i: j = i */
    for (int rel = 1 - tokens; rel < tokens; rel++)
        middle[rel] = rel > 0 ? unseen : 0.f;
    for (int h = 0; h < heads; h++) {
        ptrdiff_t column = (ptrdiff_t)h * e, shared = (ptrdiff_t)(h / (heads / kv_heads)) * e;
        struct sdt__attend attend = {.rows = tokens,
                                     .e = e,
                                     .q = q + column,
                                     .ldq = (ptrdiff_t)heads * e,
                                     .keys = tokens,
                                     .k = k + shared,
                                     .v = v + shared,
                                     .ldk = (ptrdiff_t)kv_heads * e,
                                     .scale = 1.f / sqrtf((float)e),
                                     .bias = middle,
                                     .o = o + column,
                                     .ldo = (ptrdiff_t)heads * e,
                                     .scratch = scratch + 2 * (size_t)tokens};
        sdt__attend(&attend);
    }
}

size_t sdt_causal_attention_scratch(int tokens, int e) {
    return sdt_text_attention_scratch(tokens, e);
}

size_t sdt_text_attention_scratch(int tokens, int e) {
    return 2 * (size_t)tokens + sdt__attend_scratch(tokens, e, tokens);
}

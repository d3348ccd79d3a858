/* Attention with the prompt: the video's tokens over the prompt's keys, and the text encoder's own.
 * A prompt has at most some hundred tokens, so the scores of one head are kept whole. */
#include "kernels/cpu/blas.h"
#include "kernels/cpu/softmax.h"
#include "kernels/kernels.h"

/* s = softmax of each row */
static void softmax_rows(int rows, int n, float *s /* [rows, n] in place */) {
    for (int r = 0; r < rows; r++) {
        float *row = s + (size_t)r * n;
        float sum = softmax_exp(n, row, softmax_largest(n, row));
        softmax_scale(n, row, 1.f / sum);
    }
}

void sdt_cross_attention(int rows, int heads, int e, const float *q, const float *q_weight,
                         float eps, int keys, const float *k, const float *v, float last_key_bias,
                         float *o, float *scratch) {
    int d = heads * e;
    float *scores = scratch; /* [rows, keys] */
    if (q_weight) {
        float *normed = scores + (size_t)rows * keys; /* [rows, d] */
        sdt_rms_norm(rows, d, q, eps, q_weight, normed);
        q = normed;
    }
    for (int h = 0; h < heads; h++) {
        size_t column = (size_t)h * e;
        sdt__gemm_nt(rows, keys, e, 1.f / sqrtf((float)e), q + column, d, k + column, d, 0.f,
                     scores, keys);
        for (int r = 0; r < rows; r++)
            scores[(size_t)r * keys + keys - 1] += last_key_bias;
        softmax_rows(rows, keys, scores);
        sdt__gemm_nn(rows, e, keys, 1.f, scores, keys, v + column, d, 0.f, o + column, d);
    }
}

size_t sdt_cross_attention_scratch(int rows, int heads, int e, int keys) {
    return (size_t)rows * keys + (size_t)rows * heads * e;
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

void sdt_text_attention(int tokens, int width, int head0, int head1, int e, const float *q,
                        const float *k, const float *v, const float *table, int heads, float *o,
                        float *scratch) {
    float *scores = scratch;                        /* [tokens, tokens] */
    float *bias = scores + (size_t)tokens * tokens; /* [2 tokens - 1] by j - i */
    float *middle = bias + tokens - 1;              /* its place for j = i */
    for (int h = head0; h < head1; h++) {
        size_t column = (size_t)h * e;
        for (int rel = 1 - tokens; rel < tokens; rel++)
            middle[rel] = table[sdt_t5_bucket(rel) * heads + h];
        sdt__gemm_nt(tokens, tokens, e, 1.f, q + column, width, k + column, width, 0.f, scores,
                     tokens);
        for (int i = 0; i < tokens; i++)
            sdt_add(tokens, middle - i, scores + (size_t)i * tokens);
        softmax_rows(tokens, tokens, scores);
        sdt__gemm_nn(tokens, e, tokens, 1.f, scores, tokens, v + column, width, 0.f, o + column,
                     width);
    }
}

size_t sdt_text_attention_scratch(int tokens) {
    return (size_t)tokens * tokens + 2 * (size_t)tokens;
}

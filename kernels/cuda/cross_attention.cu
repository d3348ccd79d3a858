/* Attention with the prompt's keys, and the text encoders' own. */
#include "kernels/cuda/attend.h"

enum sdt_status sdt_cuda_cross_attention(struct sdt_cuda *cuda, enum sdt_dtype dtype, int rows,
                                         int heads, int e, const void *q, const float *q_weight,
                                         float eps, int keys, const void *k, const void *v,
                                         float last_key_bias, void *o, void *scratch) {
    if (q_weight) {
        enum sdt_status status = sdt_cuda_rms_norm(cuda, dtype, rows, heads * e, q, eps, q_weight,
                                                   dtype, scratch /* [rows, h*e] */);
        if (status != SDT_OK)
            return status;
        q = scratch;
    }
    struct attention_call call = by_columns(rows, heads, e, q, keys, k, v, o);
    call.scale = 1.f / sqrtf((float)e);
    call.last_key_bias = last_key_bias;
    return sdt__cuda_attend(cuda, dtype, &call);
}

enum sdt_status sdt_cuda_text_attention(struct sdt_cuda *cuda, enum sdt_dtype dtype, int tokens,
                                        int heads, int e, const void *q, const void *k,
                                        const void *v, const float *table, void *o) {
    struct attention_call call = by_columns(tokens, heads, e, q, tokens, k, v, o);
    call.scale = 1.f;
    call.table = table;
    return sdt__cuda_attend(cuda, dtype, &call);
}

enum sdt_status sdt_cuda_causal_attention(struct sdt_cuda *cuda, enum sdt_dtype dtype, int tokens,
                                          int heads, int kv_heads, int e, const void *q,
                                          const void *k, const void *v, void *o) {
    struct attention_call call = causal(tokens, heads, kv_heads, e, q, k, v, o);
    return sdt__cuda_attend(cuda, dtype, &call);
}

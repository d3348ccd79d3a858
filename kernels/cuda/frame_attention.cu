/* Attention over pixels: a single head as wide as a frame has channels, too wide for the kernels of
 * flash.h. Some thousand queries at a time: scores through cuBLASLt, softmax of
 * each row, and the weighted values through cuBLASLt again. Widths that cuBLASLt does not take go
 * the exact way. */
#include "kernels/cuda/attend.h"
#include "kernels/cuda/plain.h"
#include "kernels/cuda/product.h"
#include "kernels/cuda/scratch.h"

#include <string.h>

template <enum sdt_dtype dtype>
__global__ static void __launch_bounds__(SOFTMAX_THREADS)
    softmax_rows(int n, size_t length, const float *scores /* [rows, length] */,
                 void *weights /* [rows, length] of dtype */) {
    __shared__ float room[SOFTMAX_WARPS];
    size_t row = blockIdx.x * length;
    softmax_row<dtype>(n, scores + row, (char *)weights + row * body_size(dtype), room);
}

struct wide_call {
    int rows, keys, e;
    const char *q, *k, *v; /* rows of e, ldq and ldk elements apart */
    int ldq, ldk;
    char *o; /* [rows, e] */
};

/* The two products of a turn of `rows` queries. */
static void describe(enum sdt_dtype dtype, const struct wide_call *a, int rows,
                     struct sdt__product *scores, struct sdt__product *values) {
    memset(scores, 0, sizeof *scores);
    scores->rows = rows;
    scores->n = a->keys;
    scores->k = a->e;
    scores->ldx = a->ldq;
    scores->ldw = a->ldk;
    scores->ldy = (int)sdt__score_row(a->keys);
    scores->dtype = dtype;
    scores->y_dtype = SDT_F32;
    memset(values, 0, sizeof *values);
    values->rows = rows;
    values->n = a->e;
    values->k = a->keys;
    values->ldx = (int)sdt__score_row(a->keys);
    values->ldw = a->ldk;
    values->w_by_row = 1;
    values->ldy = a->e;
    values->dtype = values->y_dtype = dtype;
}

static enum sdt_status exactly(struct sdt_cuda *cuda, enum sdt_dtype dtype,
                               const struct wide_call *a) {
    struct attention_call call = {};
    call.rows = a->rows;
    call.e = a->e;
    call.keys = a->keys;
    call.q = a->q;
    call.k = a->k;
    call.v = a->v;
    call.o = a->o;
    call.q_row = a->ldq;
    call.k_row = a->ldk;
    call.o_row = a->e;
    call.scale = 1.f / sqrtf((float)a->e);
    call.heads = call.group = 1;
    return sdt__cuda_attend(cuda, dtype, &call);
}

static enum sdt_status in_turns(struct sdt_cuda *cuda, enum sdt_dtype dtype,
                                const struct wide_call *a, void *scratch) {
    if (a->rows < 1)
        return SDT_OK;
    size_t size = body_size(dtype), length = sdt__score_row(a->keys);
    int most = sdt__score_rows(a->rows, a->keys);
    void *weights = dtype == SDT_BF16 ? (float *)scratch + (size_t)most * length : (float *)scratch;
    float scale = 1.f / sqrtf((float)a->e);
    for (int first = 0; first < a->rows; first += most) {
        int rows = a->rows - first < most ? a->rows - first : most;
        struct sdt__product scores, values;
        describe(dtype, a, rows, &scores, &values);
        bool done = false;
        enum sdt_status status =
            sdt__product(cuda, &scores, scale, a->q + (size_t)first * (size_t)a->ldq * size, a->k,
                         NULL, scratch, &done);
        if (status == SDT_OK && done) {
            if (dtype == SDT_BF16)
                softmax_rows<SDT_BF16><<<(unsigned)rows, SOFTMAX_THREADS, 0, cuda->stream>>>(
                    a->keys, length, (const float *)scratch, weights);
            else
                softmax_rows<SDT_F32><<<(unsigned)rows, SOFTMAX_THREADS, 0, cuda->stream>>>(
                    a->keys, length, (const float *)scratch, weights);
            status = sdt__cuda_launched(cuda, "softmax of a frame");
            if (status == SDT_OK)
                status = sdt__product(cuda, &values, 1.f, weights, a->v, NULL,
                                      a->o + (size_t)first * (size_t)a->e * size, &done);
        }
        if (status != SDT_OK)
            return status;
        cuda->way = done ? SDT_CUDA_CUBLASLT : SDT_CUDA_OWN;
        if (!done)
            return exactly(cuda, dtype, a);
    }
    return SDT_OK;
}

enum sdt_status sdt_cuda_frame_attention(struct sdt_cuda *cuda, enum sdt_dtype dtype, int pixels,
                                         int channels, const void *q, const void *k, const void *v,
                                         int ld, void *o, void *scratch) {
    struct wide_call call = {pixels,          pixels, channels, (const char *)q, (const char *)k,
                             (const char *)v, ld,     ld,       (char *)o};
    return in_turns(cuda, dtype, &call, scratch);
}

enum sdt_status sdt_cuda_wide_attention(struct sdt_cuda *cuda, enum sdt_dtype dtype, int rows,
                                        int keys, int e, const void *q, const void *k,
                                        const void *v, void *o, void *scratch) {
    struct wide_call call = {
        rows, keys, e, (const char *)q, (const char *)k, (const char *)v, e, e, (char *)o};
    return in_turns(cuda, dtype, &call, scratch);
}

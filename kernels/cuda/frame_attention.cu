/* Attention over the pixels of one frame: a single head as wide as the frame has channels, too wide
 * for the kernels of flash.h. Some thousand queries at a time: scores through cuBLASLt, softmax of
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

/* The two products of a turn of `rows` queries. */
static void describe(enum sdt_dtype dtype, int rows, int pixels, int channels, int ld,
                     struct sdt__product *scores, struct sdt__product *values) {
    memset(scores, 0, sizeof *scores);
    scores->rows = rows;
    scores->n = pixels;
    scores->k = channels;
    scores->ldx = scores->ldw = ld;
    scores->ldy = (int)sdt__score_row(pixels);
    scores->dtype = dtype;
    scores->y_dtype = SDT_F32;
    memset(values, 0, sizeof *values);
    values->rows = rows;
    values->n = channels;
    values->k = pixels;
    values->ldx = (int)sdt__score_row(pixels);
    values->ldw = ld;
    values->w_by_row = 1;
    values->ldy = channels;
    values->dtype = values->y_dtype = dtype;
}

static enum sdt_status exactly(struct sdt_cuda *cuda, enum sdt_dtype dtype, int pixels,
                               int channels, const char *q, const void *k, const void *v, int ld,
                               void *o) {
    struct attention_call call = {};
    call.rows = pixels;
    call.e = channels;
    call.keys = pixels;
    call.q = q;
    call.k = k;
    call.v = v;
    call.o = o;
    call.q_row = call.k_row = ld;
    call.o_row = channels;
    call.scale = 1.f / sqrtf((float)channels);
    call.heads = call.group = 1;
    return sdt__cuda_attend(cuda, dtype, &call);
}

enum sdt_status sdt_cuda_frame_attention(struct sdt_cuda *cuda, enum sdt_dtype dtype, int pixels,
                                         int channels, const void *queries, const void *k,
                                         const void *v, int ld, void *o, void *scratch) {
    if (pixels < 1)
        return SDT_OK;
    size_t size = body_size(dtype), length = sdt__score_row(pixels);
    const char *q = (const char *)queries;
    int most = sdt__score_rows(pixels);
    void *weights = dtype == SDT_BF16 ? (float *)scratch + (size_t)most * length : (float *)scratch;
    float scale = 1.f / sqrtf((float)channels);
    for (int first = 0; first < pixels; first += most) {
        int rows = pixels - first < most ? pixels - first : most;
        struct sdt__product scores, values;
        describe(dtype, rows, pixels, channels, ld, &scores, &values);
        bool done = false;
        enum sdt_status status = sdt__product(cuda, &scores, scale, q + (size_t)first * ld * size,
                                              k, NULL, scratch, &done);
        if (status == SDT_OK && done) {
            if (dtype == SDT_BF16)
                softmax_rows<SDT_BF16><<<(unsigned)rows, SOFTMAX_THREADS, 0, cuda->stream>>>(
                    pixels, length, (const float *)scratch, weights);
            else
                softmax_rows<SDT_F32><<<(unsigned)rows, SOFTMAX_THREADS, 0, cuda->stream>>>(
                    pixels, length, (const float *)scratch, weights);
            status = sdt__cuda_launched(cuda, "softmax of a frame");
            if (status == SDT_OK)
                status = sdt__product(cuda, &values, 1.f, weights, v, NULL,
                                      (char *)o + (size_t)first * channels * size, &done);
        }
        if (status != SDT_OK)
            return status;
        cuda->way = done ? SDT_CUDA_CUBLASLT : SDT_CUDA_OWN;
        if (!done)
            return exactly(cuda, dtype, pixels, channels, q, k, v, ld, o);
    }
    return SDT_OK;
}

/* Video convolutions as a cuDNN graph: a clip times the weights, plus bias, plus residual, summed
 * in float32 and rounded once to bf16. For channels that are multiples of 8, which 16-byte reads
 * need.
 *
 * cuDNN takes a clip at one address, while StarPU keeps each frame where it pleases: the frames are
 * copied behind each other first, enlarged where the convolution enlarges, zeros before the start
 * of the video. That reads and writes each input frame once; a convolution with 3 x 3 x 3 taps
 * multiplies each value of it 27 x `out` times. A single frame that is not enlarged is read where
 * it lies. */
#include "kernels/cuda/convolve.h"
#include "kernels/cuda/cudnn.h"
#include "kernels/cuda/scratch.h"

#include <stdio.h>

#ifndef HAVE_CUDNN

enum sdt_status sdt__cudnn_convolve(struct sdt_cuda *, const struct conv_call *, bool *done) {
    *done = false;
    return SDT_OK;
}

struct sdt__cudnn_graph *sdt__cudnn_convolution_of(struct sdt_cuda *, const struct sdt_conv *,
                                                   bool) {
    return NULL;
}

#else

/* Tensors of the graph; those up to Y get memory. */
enum { X = 1, W, BIAS, RESIDUAL, Y, PRODUCT, SUM };

enum { CLIP_THREADS = 256, CLIP_PACKS = 4 /* of a thread */ };

/* A grid of lines and their parts, so that no thread divides to find its place. */
__global__ static void __launch_bounds__(CLIP_THREADS)
    make_clip(const __grid_constant__ struct body_clip clip, void *y) {
    int row = (int)blockIdx.y, length = clip.cols * clip.channels;
    int stride = (int)gridDim.x * CLIP_THREADS * 8;
    for (; row < clip.rows; row += (int)gridDim.y)
        for (int i = (int)(blockIdx.x * CLIP_THREADS + threadIdx.x) * 8; i < length; i += stride)
            body_clip_pack(&clip, SDT_BF16, 8, (int)blockIdx.z, row, i, y);
}

static enum sdt_status copy_clip(struct sdt_cuda *cuda, const struct body_clip *clip, void *y) {
    const int most = 65535, of_block = CLIP_THREADS * CLIP_PACKS * 8;
    int parts = (clip->cols * clip->channels + of_block - 1) / of_block;
    dim3 grid((unsigned)parts, (unsigned)(clip->rows < most ? clip->rows : most),
              (unsigned)clip->frames);
    make_clip<<<grid, CLIP_THREADS, 0, cuda->stream>>>(*clip, y);
    return sdt__cuda_launched(cuda, "frames of a convolution");
}

/* [n, channels, frames, rows, cols], channels last in memory. */
static sdt__part tensor(struct sdt__cudnn_graph *graph, int id, cudnnDataType_t type,
                        enum sdt__cudnn_home home, int64_t n, int64_t channels, int64_t frames,
                        int64_t rows, int64_t cols) {
    const int64_t size[5] = {n, channels, frames, rows, cols};
    const int64_t stride[5] = {frames * rows * cols * channels, 1, rows * cols * channels,
                               cols * channels, channels};
    return sdt__cudnn_tensor(graph, id, type, home, 5, size, stride);
}

struct planned_conv {
    const struct sdt_conv *conv;
    const struct body_clip *clip;
    bool residual;
};

static void plan(struct sdt_cuda *cuda, struct sdt__cudnn_graph *graph, const void *arg) {
    const struct planned_conv *wanted = (const struct planned_conv *)arg;
    const struct sdt_conv *c = wanted->conv;
    const struct body_clip *clip = wanted->clip;
    const cudnnDataType_t half = CUDNN_DATA_BFLOAT16, single = CUDNN_DATA_FLOAT;
    const int around = c->ks / 2 - clip->border; /* zeros */
    const int64_t pad[3] = {0, around, around};
    const int64_t rows = clip->rows - 2 * clip->border, cols = clip->cols - 2 * clip->border;
    char why[64];
    sdt__part x =
        tensor(graph, X, half, SDT__CUDNN_MEMORY, 1, c->in, c->kt, clip->rows, clip->cols);
    sdt__part w = tensor(graph, W, half, SDT__CUDNN_MEMORY, c->out, c->in, c->kt, c->ks, c->ks);
    sdt__part bias = tensor(graph, BIAS, single, SDT__CUDNN_MEMORY, 1, c->out, 1, 1, 1);
    sdt__part y = tensor(graph, Y, half, SDT__CUDNN_MEMORY, 1, c->out, 1, rows, cols);
    sdt__part product =
        tensor(graph, PRODUCT, single, SDT__CUDNN_VIRTUAL, 1, c->out, 1, rows, cols);
    sdt__cudnn_convolution(graph, pad, x, w, product);
    if (wanted->residual) {
        sdt__part sum = tensor(graph, SUM, single, SDT__CUDNN_VIRTUAL, 1, c->out, 1, rows, cols);
        sdt__part other =
            tensor(graph, RESIDUAL, half, SDT__CUDNN_MEMORY, 1, c->out, 1, rows, cols);
        sdt__cudnn_pointwise(graph, CUDNN_POINTWISE_ADD, product, bias, sum);
        sdt__cudnn_pointwise(graph, CUDNN_POINTWISE_ADD, sum, other, y);
    } else {
        sdt__cudnn_pointwise(graph, CUDNN_POINTWISE_ADD, product, bias, y);
    }
    if (sdt__cudnn_plan(graph))
        return;
    sdt__cudnn_reason(graph, why, sizeof why);
    cuda->lacking = graph->lacking;
    sdt__cudnn_clear(graph);
    cudaGetLastError(); /* of tries that failed: not the next launch's */
    snprintf(cuda->cudnn_why, sizeof cuda->cudnn_why,
             "no plan for convolution %d -> %d, (%d,%d,%d), %d x %d: %s", c->in, c->out, c->kt,
             c->ks, c->ks, clip->rows, clip->cols, why);
}

static bool aligned(const struct conv_call *call) {
    bool all = body_aligned(call->w) && body_aligned(call->bias) && body_aligned(call->residual) &&
               body_aligned(call->scratch);
    for (int t = 0; t < call->conv->kt; t++)
        all = all && body_aligned(call->x[t]);
    for (int o = 0; o < call->outputs; o++)
        all = all && body_aligned(call->y[o]);
    return all;
}

struct sdt__cudnn_graph *sdt__cudnn_convolution_of(struct sdt_cuda *cuda, const struct sdt_conv *c,
                                                   bool residual) {
    const void *const none[3] = {NULL, NULL, NULL};
    struct body_clip clip = body_clip_of(c, none);
    if (!sdt__cudnn_takes(c) || body_clip_elements(&clip) == 0)
        return NULL;
    const int64_t key[SDT__CUDNN_KEY] = {
        SDT__CUDNN_CONVOLUTION,    c->in, c->out, c->kt, c->ks, clip.rows, clip.cols,
        residual + 2 * clip.border};
    const struct planned_conv wanted = {c, &clip, residual};
    return sdt__cudnn_planned(cuda, key, plan, &wanted);
}

enum sdt_status sdt__cudnn_convolve(struct sdt_cuda *cuda, const struct conv_call *call,
                                    bool *done) {
    const struct sdt_conv *c = call->conv;
    const void *x = call->x[0];
    *done = false;
    if (!aligned(call) ||
        (!sdt__cudnn_copies(c) && !x)) /* of nothing but zeros there is nothing to compute */
        return SDT_OK;
    cuda->lacking = false;
    struct sdt__cudnn_graph *graph = sdt__cudnn_convolution_of(cuda, c, call->residual != NULL);
    if (!graph)
        return cuda->lacking ? sdt__cudnn_lacking(cuda) : SDT_OK;
    if (sdt__cudnn_copies(c)) {
        struct body_clip clip = body_clip_of(c, call->x);
        enum sdt_status status = copy_clip(cuda, &clip, call->scratch);
        if (status != SDT_OK)
            return status;
        x = call->scratch;
    }
    const size_t weights = (size_t)c->out * (size_t)(c->kt * c->ks * c->ks) * (size_t)c->in;
    enum sdt_status status = SDT_OK;
    *done = true;
    for (int o = 0; o < call->outputs && *done && status == SDT_OK; o++) {
        const int64_t ids[] = {X, W, BIAS, Y, RESIDUAL};
        void *const memory[] = {(void *)x, (uint16_t *)call->w + (size_t)o * weights,
                                (float *)call->bias + (size_t)o * (size_t)c->out, call->y[o],
                                (void *)call->residual};
        status = sdt__cudnn_run(cuda, graph, call->residual ? 5 : 4, ids, memory, done);
    }
    return status;
}

#endif

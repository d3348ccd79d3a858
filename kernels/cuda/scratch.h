/* How much scratch memory CUDA kernels take: arithmetic that the kernels and whoever plans for GPUs
 * share, here or in simulated time. Plain C, in builds without CUDA too. */
#ifndef STARDIT_CUDA_SCRATCH_H
#define STARDIT_CUDA_SCRATCH_H

#include "kernels/cuda/bodies.h"

/* ---- attention over the pixels of a frame: some thousand queries at a time ------------------- */

/* Scores of one turn, in bytes, about: bounds the scratch memory. */
#define SDT_SCORE_BYTES ((size_t)64 << 20)

/* Elements between rows of scores: whole 16-byte packs in either type. */
static inline size_t sdt__score_row(int pixels) { return ((size_t)pixels + 7) / 8 * 8; }

/* Queries of one turn. */
static inline int sdt__score_rows(int pixels) {
    size_t rows = SDT_SCORE_BYTES / (sdt__score_row(pixels) * sizeof(float)) / 128 * 128;
    rows = rows < 128 ? 128 : rows;
    return rows < (size_t)pixels ? (int)rows : pixels;
}

/* ---- convolutions ---------------------------------------------------------------------------- */

/* The convolution that makes one of the two frames of an upsampling in time. */
static inline struct sdt_conv sdt__time_half(int height, int width, int channels) {
    struct sdt_conv conv;
    memset(&conv, 0, sizeof conv);
    conv.in = conv.out = channels;
    conv.kt = 3;
    conv.ks = 1;
    conv.height = height;
    conv.width = width;
    return conv;
}

/* cuDNN takes these channels. */
static inline bool sdt__cudnn_takes(const struct sdt_conv *conv) {
    return conv->in > 0 && conv->out > 0 && conv->in % 8 == 0 && conv->out % 8 == 0;
}

/* Its frames are copied into one clip; else the one frame is read where it lies. */
static inline bool sdt__cudnn_copies(const struct sdt_conv *conv) {
    return conv->kt > 1 || conv->upsample || (conv->replicate && conv->ks > 1);
}
#endif

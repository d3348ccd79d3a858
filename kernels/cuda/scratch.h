/* How much scratch memory CUDA kernels take: arithmetic that the kernels and whoever plans for GPUs
 * share, here or in simulated time. Plain C, in builds without CUDA too. */
#ifndef STARDIT_CUDA_SCRATCH_H
#define STARDIT_CUDA_SCRATCH_H

#include "kernels/cuda/bodies.h"

/* ---- attention of one wide head: some thousand queries at a time ----------------------------- */

/* Scores of one turn, in bytes, about: bounds the scratch memory. */
#define SDT_SCORE_BYTES ((size_t)64 << 20)

/* Elements between rows of scores: whole 16-byte packs in either type. */
static inline size_t sdt__score_row(int keys) { return ((size_t)keys + 7) / 8 * 8; }

/* Queries of one turn, of so many. */
static inline int sdt__score_rows(int queries, int keys) {
    size_t rows = SDT_SCORE_BYTES / (sdt__score_row(keys) * sizeof(float)) / 128 * 128;
    rows = rows < 128 ? 128 : rows;
    return rows < (size_t)queries ? (int)rows : queries;
}

/* ---- attention within groups of tokens: one group's rows ------------------------------------- */

/* Where each part starts, in bytes, aligned to packs. */
struct sdt__group_scratch {
    size_t q, o, k, v, lse, end;
};
static inline size_t sdt__group_part(size_t at, size_t bytes) {
    return (at + bytes + 255) / 256 * 256;
}
static inline struct sdt__group_scratch sdt__group_scratch(const struct sdt_token_groups *groups,
                                                           enum sdt_dtype dtype, int heads,
                                                           int rows, int e, int64_t keys) {
    size_t row = (size_t)heads * (size_t)e * body_size(dtype);
    size_t queries = (size_t)sdt_group_most(groups, rows);
    size_t seen = (size_t)sdt_group_most(groups, keys);
    struct sdt__group_scratch at;
    at.q = 0;
    at.o = sdt__group_part(at.q, queries * row);
    at.k = sdt__group_part(at.o, queries * row);
    at.v = sdt__group_part(at.k, seen * row);
    at.lse = sdt__group_part(at.v, seen * row);
    at.end = sdt__group_part(at.lse, (size_t)heads * queries * sizeof(float));
    return at;
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

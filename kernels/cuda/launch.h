/* How the bodies of bodies.h and rows.h become kernels: picking one by type and pack, loops, and
 * sums over lanes. For the .cu files of this folder only. */
#ifndef STARDIT_CUDA_LAUNCH_H
#define STARDIT_CUDA_LAUNCH_H

#include "kernels/cuda/rows.h"
#include "kernels/cuda/context.h"

/* Kernels are templates over <type, pack>; those over rows also over whether rows are kept. */
#define SDT_PICK(kernel, dtype, wide)                                                              \
    ((dtype) == SDT_BF16 ? ((wide) ? kernel<SDT_BF16, 8> : kernel<SDT_BF16, 1>)                    \
                         : ((wide) ? kernel<SDT_F32, 4> : kernel<SDT_F32, 1>))
#define SDT_PICK_ROWS(kernel, dtype, shape)                                                        \
    ((dtype) == SDT_BF16                                                                           \
         ? ((shape).pack > 1                                                                       \
                ? kernel<SDT_BF16, 8, true>                                                        \
                : ((shape).kept ? kernel<SDT_BF16, 1, true> : kernel<SDT_BF16, 1, false>))         \
         : ((shape).pack > 1                                                                       \
                ? kernel<SDT_F32, 4, true>                                                         \
                : ((shape).kept ? kernel<SDT_F32, 1, true> : kernel<SDT_F32, 1, false>)))

/* ---- element-wise: thread after thread a pack ------------------------------------------------ */

#define SDT_FLAT_THREADS 256u

static inline unsigned flat_blocks(const struct sdt_cuda *cuda, size_t n, int pack) {
    return sdt__cuda_blocks(cuda, (n + pack - 1) / pack, SDT_FLAT_THREADS);
}

__device__ static inline size_t flat_first(int pack) {
    return ((size_t)blockIdx.x * blockDim.x + threadIdx.x) * pack;
}

__device__ static inline size_t flat_stride(int pack) {
    return (size_t)gridDim.x * blockDim.x * pack;
}

/* ---- lines: a block takes line after line, its threads the elements or packs of one ---------- */

static inline unsigned line_threads(size_t packs) {
    return packs >= 256 ? 256u : packs > 32 ? (unsigned)((packs + 31) / 32 * 32) : 32u;
}

static inline unsigned line_blocks(const struct sdt_cuda *cuda, size_t lines, unsigned threads) {
    return sdt__cuda_blocks(cuda, lines * threads, threads);
}

/* ---- rows: lanes of a warp, or one block a row ----------------------------------------------- */

/* Begins the thread's lane and returns its row; one beyond `rows` has no elements, so that its
 * lanes stay to take part in sums. No thread returns before the last sum. */
__device__ static inline size_t row_begin(struct body_row *row, enum sdt_dtype dtype, int pack,
                                          bool kept, int lanes, size_t rows, int d, const void *x,
                                          float *keep /* [SDT_KEEP * SDT_PACK] */) {
    size_t r = (size_t)blockIdx.x * (blockDim.x / (unsigned)lanes) + threadIdx.x / (unsigned)lanes;
    bool there = r < rows;
    body_row_begin(row, dtype, pack, kept, (int)(threadIdx.x % (unsigned)lanes), lanes,
                   there ? d : 0, x, there ? r * d : 0, keep);
    return r;
}

/* The sum over a row's lanes, the same bits in all of them. Lanes are a power of two up to 32, or
 * the whole block. */
__device__ static inline float lanes_sum(float x, int lanes) {
    __shared__ float of_warp[32];
    int within = lanes < 32 ? lanes : 32;
    for (int offset = within / 2; offset > 0; offset /= 2)
        x += __shfl_xor_sync(0xffffffffu, x, offset);
    if (lanes <= 32)
        return x;
    if (threadIdx.x % 32 == 0)
        of_warp[threadIdx.x / 32] = x;
    __syncthreads();
    float sum = 0.f;
    for (int warp = 0; warp < lanes / 32; warp++)
        sum += of_warp[warp];
    __syncthreads(); /* before the next sum writes */
    return sum;
}
#endif

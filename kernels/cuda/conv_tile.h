/* Where everything stands in an implicit-GEMM convolution: output pixels are the rows of a matrix
 * product, output channels its columns, and its inner dimension goes over the frames there are, the
 * taps in space and the input channels, in this order. Plain C as well as CUDA:
 * tests/kernels/cuda_launch_conv.c runs the whole product on the host through these functions.
 *
 * A thread block makes SDT__CONV_ROWS pixels by some columns. Per step it holds SDT__CONV_DEPTH
 * channels of one tap in shared memory: a tile is [rows, 4 chunks of 8 bf16 (16 bytes)], chunks
 * exchanged within a row so that eight rows' same chunk lie in eight different groups of banks. */
#ifndef STARDIT_CUDA_CONV_TILE_H
#define STARDIT_CUDA_CONV_TILE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __CUDACC__
#define SDT__CONV_INLINE __host__ __device__ __forceinline__ static
#else
#define SDT__CONV_INLINE static inline
#endif

enum {
    SDT__CONV_ROWS = 128,
    SDT__CONV_DEPTH = 32, /* channels of a step */
    SDT__CONV_CHUNK = 8,  /* bf16 in 16 bytes */
    SDT__CONV_CHUNKS = SDT__CONV_DEPTH / SDT__CONV_CHUNK,
    SDT__CONV_STAGES = 3, /* steps whose tiles are in shared memory or on their way */
    SDT__CONV_THREADS = 256,
    SDT__CONV_WARPS = SDT__CONV_THREADS / 32
};

struct sdt__conv_shape {
    int in, out;       /* channels */
    int kt, ks;        /* kernel in time and space */
    int height, width; /* of the input */
    int upsample;      /* input pixels are enlarged x2 */
    int replicate;     /* the border is repeated outside of the frame */
    int rows, cols;    /* of the output */
    int frames;        /* that are not zeros, 0..3 */
    int time[3];       /* [frames] places in the kernel */
    int channels;      /* of one output frame: out, or out / 2 where two frames are made */
};

/* The matrix columns of a block: warps stand as [8 / split, split], each [16 tiles, 8 groups] of
 * mma. */
struct sdt__conv_block {
    int columns, split; /* columns of the block; warps beside each other */
};

SDT__CONV_INLINE int sdt__conv_pixels(const struct sdt__conv_shape *shape) {
    return shape->rows * shape->cols;
}

/* Steps of the inner dimension: frames x taps x channels by 32. */
SDT__CONV_INLINE int sdt__conv_chunks(const struct sdt__conv_shape *shape) {
    return (shape->in + SDT__CONV_DEPTH - 1) / SDT__CONV_DEPTH;
}
SDT__CONV_INLINE int sdt__conv_steps(const struct sdt__conv_shape *shape) {
    return shape->frames * shape->ks * shape->ks * sdt__conv_chunks(shape);
}

/* The input pixel that output pixel (row, col) sees through a tap; outside of the frame -1, or the
 * border's. */
SDT__CONV_INLINE int sdt__conv_input(const struct sdt__conv_shape *shape, int row, int col,
                                     int tap) {
    int y = row + tap / shape->ks - shape->ks / 2, x = col + tap % shape->ks - shape->ks / 2;
    int in_y = y < 0 ? 0 : y < shape->rows ? y : shape->rows - 1;
    int in_x = x < 0 ? 0 : x < shape->cols ? x : shape->cols - 1;
    if (!shape->replicate && (in_y != y || in_x != x))
        return -1;
    return (in_y >> shape->upsample) * shape->width + (in_x >> shape->upsample);
}

/* Where the weights [in] of an output channel, one of the frames and a tap start. */
SDT__CONV_INLINE size_t sdt__conv_weights(const struct sdt__conv_shape *shape, int channel,
                                          int frame, int tap) {
    int place = shape->time[0]; /* no dynamic index: the shape stays in constant memory */
    if (frame == 1)
        place = shape->time[1];
    if (frame == 2)
        place = shape->time[2];
    return (((size_t)channel * shape->kt + place) * shape->ks * shape->ks + tap) * shape->in;
}

/* Where chunk `chunk` of a row of a tile is, in elements. */
SDT__CONV_INLINE int sdt__conv_swizzle(int row, int chunk) {
    return row * SDT__CONV_DEPTH +
           ((chunk ^ (row >> 1)) & (SDT__CONV_CHUNKS - 1)) * SDT__CONV_CHUNK;
}

/* ldmatrix: the row and chunk that a lane names, of the 16 x 16 of A (four 8 x 8 matrices in the
 * order of mma's registers) ... */
SDT__CONV_INLINE int sdt__conv_a_row(int lane) { return lane & 15; }
SDT__CONV_INLINE int sdt__conv_a_chunk(int lane) { return lane >> 4; }
/* ... and of 16 columns of B, stored as rows: two groups of 8 columns, two chunks each. With one
 * group lanes 0 to 15 count. */
SDT__CONV_INLINE int sdt__conv_b_row(int lane) { return (lane & 7) + (lane >> 4) * 8; }
SDT__CONV_INLINE int sdt__conv_b_chunk(int lane) { return lane >> 3 & 1; }

/* The place of element i (0..3) of a lane's sums in the 16 x 8 result of an mma. */
SDT__CONV_INLINE int sdt__conv_c_row(int lane, int i) { return (lane >> 2) + (i >> 1) * 8; }
SDT__CONV_INLINE int sdt__conv_c_column(int lane, int i) { return (lane & 3) * 2 + (i & 1); }

/* The first row and column of a warp's part of a block. */
SDT__CONV_INLINE int sdt__conv_warp_row(struct sdt__conv_block block, int warp) {
    return warp / block.split * (SDT__CONV_ROWS * block.split / SDT__CONV_WARPS);
}
SDT__CONV_INLINE int sdt__conv_warp_column(struct sdt__conv_block block, int warp) {
    return warp % block.split * (block.columns / block.split);
}

/* The block for so many output channels: the one with the fewest columns past the end, the larger
 * of two. Channels alone decide, so that a pixel's bits do not depend on the frame's size. */
SDT__CONV_INLINE struct sdt__conv_block sdt__conv_block_of(int out) {
    struct sdt__conv_block block = {8, 1};
    int columns, best = 0;
    if (out <= 8)
        return block;
    block.split = 2;
    for (columns = 128; columns >= 32; columns -= 32) {
        int padded = (out + columns - 1) / columns * columns;
        if (!best || padded < best) {
            best = padded;
            block.columns = columns;
        }
    }
    return block;
}
#endif

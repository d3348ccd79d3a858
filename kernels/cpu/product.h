/* y[rows, n] = x[rows, k] w[n, k]^T over weights as they are stored, or packed once
 * (sdt_pack_weight).
 *
 * k is cut into blocks of SDT__K_BLOCK or a little less. Each block is summed from zero by the
 * micro-kernel, and blocks are added in their order. The cut follows from k (and `run`) alone, so a
 * row's bits depend on nothing but the row, the weights and the kind of micro-kernel: not on how
 * many rows come in a call, nor on how the weights are stored. Sums from zero err less than one
 * long sum. */
#ifndef STARDIT_KERNELS_CPU_PRODUCT_H
#define STARDIT_KERNELS_CPU_PRODUCT_H

#include "kernels/cpu/micro_kernel.h"
#include "kernels/kernels.h"

enum {
    SDT__K_BLOCK = 256, /* part of the bits */
    SDT__GROUP = 192,   /* columns that are finished together, and at the end some more: */
    SDT__GROUP_WIDTH = SDT__GROUP + SDT__MOST_LANES, /* at most */
    SDT__ROWS_AT_ONCE = 256, /* rows that are: the group's results stay in the L2 cache */
    SDT__ROWS_TO_PACK = 512, /* the same of weights that are packed anew for so many rows */
    SDT__SEGMENTS = 8
};

/* The left side of a product: `segments` times `rows` rows. */
struct sdt__rows {
    int segments, rows; /* of a segment; at most SDT__SEGMENTS of them */
    ptrdiff_t ld;       /* between the rows of a segment */
    /* Row 0 of a segment from step `first` of k on, for a block; NULL: zeros up to the end of the
     * run. *ld, which is the one above, may be changed for this block. */
    const float *(*at)(const void *arg, int segment, int first, ptrdiff_t *ld);
    const void *arg;
};

/* Where sums go: row r of segment s to y + s * segment_ld + r * ld. With `scratch`, only a group of
 * columns at a time is there, from column 0 on, and `finish` takes them away; else a whole row. */
struct sdt__sums {
    float *y;
    ptrdiff_t ld, segment_ld;
    bool scratch;
    /* What becomes of finished sums of a segment, while they are in the cache: z[rows, cols], ld
     * apart, are its columns first_col.. */
    void (*finish)(const void *arg, int segment, int first_col, int cols, float *z);
    const void *arg;
};

/* sums = x w^T for x[segments * rows, k] and w[n, k]; run: of k, as in sdt_pack_weight (which says
 * it itself if w is packed). */
void sdt__multiply(const struct sdt__rows *x, int n, int k, int run, struct sdt_weight w,
                   const struct sdt__sums *sums);

/* Steps of k in a block of a run of k, multiples of 8. */
static inline int sdt__k_step(int run) {
    int blocks = (run + SDT__K_BLOCK - 1) / SDT__K_BLOCK;
    return ((run + blocks - 1) / blocks + 7) / 8 * 8;
}

/* Vectors of the panel that starts at column col of n: 3, and at the end 2 where that leaves no
 * single one. */
static inline int sdt__panel_vectors(int n, int col, int lanes) {
    int left = (n - col + lanes - 1) / lanes;
    return left == 4 ? 2 : left < 3 ? left : 3;
}

/* Columns of all panels, with what the last one has too many. */
static inline int sdt__panel_columns(int n, int lanes) { return (n + lanes - 1) / lanes * lanes; }

#endif

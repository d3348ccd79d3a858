/* Matrix products through cuBLASLt, for linear layers and for attention over a frame. */
#ifndef STARDIT_CUDA_PRODUCT_H
#define STARDIT_CUDA_PRODUCT_H

#include "kernels/cuda/context.h"

extern "C" { /* C names, as all that the library exports */
/* y = alpha x w (+ y), row-major: x [rows, k], w as [n, k] (`w_by_row` false: w^T is meant) or [k,
 * n], y [rows, n]. Leading dimensions in elements. Equal products have equal plans; compared as
 * bytes, so made from a zeroed struct. */
struct sdt__product {
    int rows, n, k;
    int ldx, ldw, ldy;
    enum sdt_dtype dtype, y_dtype; /* of x and w; of y and the bias */
    int w_by_row;                  /* w is [k, n] */
    int add;                       /* to what y holds */
    int gelu, bias;                /* in the epilogue */
};

/* Queues the product and sets *done; false where cuBLASLt has no way for it (or rows are not
 * aligned to 16 bytes, which its tensor-core kernels need): the caller goes another way. */
enum sdt_status sdt__product(struct sdt_cuda *cuda, const struct sdt__product *product, float alpha,
                             const void *x, const void *w, const void *bias /* [n] or NULL */,
                             void *y, bool *done);
}
#endif

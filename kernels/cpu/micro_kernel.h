/* The micro-kernel that all matrix products on CPUs are made of, chosen at run time.
 *
 * It multiplies a strip of rows with one panel of a matrix: y[rows, width] (=, +=) a[rows, kc]
 * b[kc, width]. A panel is 1 to 3 vectors wide and usually lies dense, a row of it per step of k.
 * Every element of the result is one chain of multiply-adds from zero, in the order of k, then
 * added to y: its bits depend neither on the number of rows, nor on the row's place, nor on the
 * panel's width or the vector's length.
 *
 * One source (micro_kernel_body.h) is compiled for AVX-512, for AVX2 with FMA, and in plain C. */
#ifndef STARDIT_KERNELS_CPU_MICRO_KERNEL_H
#define STARDIT_KERNELS_CPU_MICRO_KERNEL_H

#include <stdbool.h>
#include <stddef.h>

#include "kernels/kernels.h"

/* One strip and one panel. */
struct sdt__strip {
    int rows, kc;
    int vectors;    /* of the panel: 1 to 3 */
    int cols;       /* of them to be written: 1..vectors * lanes */
    const float *a; /* [rows, kc], lda apart */
    ptrdiff_t lda;
    const float *b; /* [kc, vectors * lanes], ldb apart: vectors * lanes for a packed panel */
    ptrdiff_t ldb;
    bool add; /* y += instead of y = */
    float *y; /* [rows, cols], ldy apart */
    ptrdiff_t ldy;
    /* Read soon after, and brought into the cache meanwhile: rows of some bytes, so far apart. */
    const void *next;
    int next_rows;
    size_t next_bytes, next_ld;
};

struct sdt__micro_kernel {
    const char *name;
    int lanes; /* floats of a vector */
    void (*multiply)(const struct sdt__strip *strip);
    /* Rows of a matrix, ldw elements apart, as a panel: to[l, c] = w[c, l], zeros from column cols
     * on. Elements of 2 or 4 bytes are moved, whatever they mean. */
    void (*pack)(int cols, int width, int kc, size_t element, const void *w /* [cols, kc] */,
                 size_t ldw, void *to /* [kc, width] */);
    /* to[n] = float of from[n], exactly; BF16 or F16 */
    void (*widen)(enum sdt_dtype dtype, size_t n, const void *from, float *to);
};

enum { SDT__MOST_LANES = 16, SDT__MOST_WIDTH = 3 * SDT__MOST_LANES };

/* The best one for this processor. */
const struct sdt__micro_kernel *sdt__micro_kernel(void);
/* For tests: the one of that name, "avx512", "avx2" or "generic", from now on; false: not on this
 * processor. While no other thread computes. What was packed for another one is of no use. */
bool sdt__micro_kernel_choose(const char *name);

extern const struct sdt__micro_kernel sdt__micro_kernel_generic, sdt__micro_kernel_avx2,
    sdt__micro_kernel_avx512;

#endif

/* The two row-major matrix products that attention and convolutions are made of, by BLAS.
 *
 * C[m,n] = alpha A[m,k] B + beta C, B stored [n,k] (nt) or [k,n] (nn); ld* is the row length of the
 * stored matrix. One call per tile, always with that tile's sizes: a split of m, n or k would
 * change the bits. Mostly beta is 1 and C holds the bias already, which saves BLAS its pass of
 * zeroing and us one of adding. */
#ifndef STARDIT_KERNELS_CPU_BLAS_H
#define STARDIT_KERNELS_CPU_BLAS_H

#include <cblas.h>

static inline void sdt__gemm_nt(int m, int n, int k, float alpha, const float *a /* [m, k] */,
                                int lda, const float *b /* [n, k] */, int ldb, float beta,
                                float *c /* [m, n] */, int ldc) {
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, m, n, k, alpha, a, lda, b, ldb, beta, c,
                ldc);
}

static inline void sdt__gemm_nn(int m, int n, int k, float alpha, const float *a /* [m, k] */,
                                int lda, const float *b /* [k, n] */, int ldb, float beta,
                                float *c /* [m, n] */, int ldc) {
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, m, n, k, alpha, a, lda, b, ldb, beta, c,
                ldc);
}

#endif

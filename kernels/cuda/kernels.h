/* CUDA kernels: the functions of kernels/kernels.h on device memory, queued on a stream.
 *
 * Names are those of the CPU kernels with `sdt_cuda_`; shapes and meaning are the same. They return as soon
 * as the work is queued. A failing CUDA or cuBLAS call is reported to StarPU by the caller's stream
 * (cudaGetLastError); nothing is thrown. */
#ifndef STARDIT_CUDA_KERNELS_H
#define STARDIT_CUDA_KERNELS_H

#include <cublas_v2.h>
#include <cuda_runtime.h>

#include "kernels/kernels.h"

#ifdef __cplusplus
extern "C" {
#endif

void sdt_cuda_linear(cublasHandle_t cublas, cudaStream_t stream, int rows, int n, int k,
                     const float *x /* [rows, k] */, const float *w /* [n, k] */,
                     const float *bias /* [n] or NULL */, enum sdt_epilogue epilogue,
                     float *y /* [rows, n] */);

#ifdef __cplusplus
}
#endif
#endif

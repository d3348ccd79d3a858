/* What a CUDA wrapper needs beside task.h: StarPU's worker-local stream and cuBLAS handle, and the CUDA
 * kernels. Included by codelet files; empty in a build without CUDA. */
#ifndef STARDIT_CODELETS_CUDA_H
#define STARDIT_CODELETS_CUDA_H

#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#ifdef STARPU_SIMGRID
#undef HAVE_CUDA /* simulated GPUs run no kernels */
#endif

#ifdef HAVE_CUDA
#include <cublas_v2.h>
#include <cuda_runtime.h>

#include "kernels/cuda/kernels.h"

cublasHandle_t starpu_cublas_get_local_handle(void);
cudaStream_t starpu_cuda_get_local_stream(void);
#endif
#endif

/* Inside of struct sdt_cuda, for the .cu files of this folder only. */
#ifndef STARDIT_CUDA_CONTEXT_H
#define STARDIT_CUDA_CONTEXT_H

#include <cublasLt.h>
#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include "kernels/cuda/kernels.h"

/* Bytes for cuBLASLt and cuDNN, taken when the worker starts, so that no task allocates. */
#define SDT_CUDA_WORKSPACE ((size_t)64 << 20)

extern "C" { /* C names, as all that the library exports */
/* linear.cu: what cuBLASLt planned for shapes seen so far. NULL: no memory. */
struct sdt__linear_plans;
struct sdt__linear_plans *sdt__linear_plans_new(void);
void sdt__linear_plans_free(struct sdt__linear_plans *plans); /* NULL is fine */

/* cudnn.cu: a cuDNN handle on `stream` with its plans. NULL with the reason in `why` [size]: not
 * built with it, no library, no memory. */
struct sdt__cudnn;
struct sdt__cudnn *sdt__cudnn_new(cudaStream_t stream, char *why, size_t size);
struct sdt__plans;
void sdt__cudnn_free(struct sdt__cudnn *cudnn);                        /* NULL is fine */
const char *sdt__cudnn_loaded_version(const struct sdt__cudnn *cudnn); /* "9.19.0" */

struct sdt_cuda {
    cudaStream_t stream;                       /* borrowed */
    int device, multiprocessors, major, minor; /* compute capability */
    int shared;                                /* bytes of shared memory of a multiprocessor */
    cublasLtHandle_t lt;
    void *workspace; /* [SDT_CUDA_WORKSPACE bytes] */
    int *found;      /* pinned memory of the host: a kernel met a number that is none */
    struct sdt__linear_plans *linear_plans;
    struct sdt__cudnn *cudnn; /* NULL: own kernels */
    char cudnn_why[256];      /* why not, or the last shape without a plan; "" */
    bool own;                 /* own kernels even where cuDNN is */
    struct sdt__plans *plans; /* what all threads know of plans, borrowed; or NULL */
    bool ahead;               /* a planner's, which makes plans for others */
    bool lacking;             /* the last plan was not made for want of memory */
    enum sdt_cuda_way way;    /* of the last attention or convolution */
    struct sdt_error error;
};

/* What a kernel function returns after its launches: the launch error, if any, named by `what`. */
enum sdt_status sdt__cuda_launched(struct sdt_cuda *cuda, const char *what);
/* The same for a call that returned `error`. */
enum sdt_status sdt__cuda_check(struct sdt_cuda *cuda, cudaError_t error, const char *what);

/* Blocks of `threads` for n elements, at most a few per multiprocessor: kernels loop over the
 * rest. */
unsigned sdt__cuda_blocks(const struct sdt_cuda *cuda, size_t n, unsigned threads);
}
#endif

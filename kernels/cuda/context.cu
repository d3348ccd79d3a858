/* What a GPU worker keeps: its stream, library handles, workspace, and how failures are
 * reported. */
#include "kernels/cuda/context.h"

#include "kernels/cuda/cublas_lt.h"

#include <stdlib.h>

/* Kernels are built for this compute capability and newer. */
enum { OLDEST_MAJOR = 8 };

/* The driver must be of the runtime's major version or a later one; within a major version an older
 * driver does. Asked before anything else, since all other calls fail with it, and say less. */
static enum sdt_status check_driver(struct sdt_error *err) {
    int driver = 0, runtime = 0;
    cudaRuntimeGetVersion(&runtime);
    cudaError_t asked = cudaDriverGetVersion(&driver); /* 0 without a driver */
    if (asked != cudaSuccess || driver == 0)
        return sdt_fail(
            err, SDT_ERROR_DEVICE,
            "no NVIDIA driver is loaded; the CUDA %d.%d runtime needs one for CUDA %d.0 or "
            "newer",
            runtime / 1000, runtime / 10 % 100, runtime / 1000);
    if (driver / 1000 < runtime / 1000)
        return sdt_fail(
            err, SDT_ERROR_DEVICE,
            "the NVIDIA driver is for CUDA %d.%d, older than the CUDA %d.%d runtime; a driver "
            "for CUDA %d.0 or newer would work, or a build with the CUDA %d toolkit",
            driver / 1000, driver / 10 % 100, runtime / 1000, runtime / 10 % 100, runtime / 1000,
            driver / 1000);
    return SDT_OK;
}

static enum sdt_status ask_device(struct sdt_cuda *cuda) {
    cudaError_t error = cudaGetDevice(&cuda->device);
    if (error == cudaSuccess)
        error = cudaDeviceGetAttribute(&cuda->multiprocessors, cudaDevAttrMultiProcessorCount,
                                       cuda->device);
    if (error == cudaSuccess)
        error = cudaDeviceGetAttribute(&cuda->shared, cudaDevAttrMaxSharedMemoryPerMultiprocessor,
                                       cuda->device);
    if (error == cudaSuccess)
        error =
            cudaDeviceGetAttribute(&cuda->major, cudaDevAttrComputeCapabilityMajor, cuda->device);
    if (error == cudaSuccess)
        error =
            cudaDeviceGetAttribute(&cuda->minor, cudaDevAttrComputeCapabilityMinor, cuda->device);
    if (error != cudaSuccess)
        return sdt__cuda_check(cuda, error, "asking for the device");
    if (cuda->major < OLDEST_MAJOR)
        return sdt_fail(
            &cuda->error, SDT_ERROR_DEVICE,
            "cuda:%d has compute capability %d.%d; the kernels need %d.0 (Ampere) or newer",
            cuda->device, cuda->major, cuda->minor, OLDEST_MAJOR);
    return SDT_OK;
}

static enum sdt_status take_workspace(struct sdt_cuda *cuda) {
    cudaError_t error = cudaMalloc(&cuda->workspace, SDT_CUDA_WORKSPACE);
    if (error != cudaErrorMemoryAllocation)
        return sdt__cuda_check(cuda, error, "cudaMalloc of the workspace");
    size_t unused = 0, total = 0;
    cuda->workspace = NULL;
    cudaGetLastError(); /* or the next launch would report it */
    cudaMemGetInfo(&unused, &total);
    return sdt_fail(
        &cuda->error, SDT_ERROR_DEVICE,
        "cuda:%d: no memory for a workspace of %zu bytes, %zu of %zu are free; what else "
        "runs on this GPU?",
        cuda->device, SDT_CUDA_WORKSPACE, unused, total);
}

static enum sdt_status fill(struct sdt_cuda *cuda) {
    enum sdt_status status = ask_device(cuda);
    if (status != SDT_OK)
        return status;
    status = take_workspace(cuda);
    if (status != SDT_OK)
        return status;
    void *found = NULL;
    status = sdt__cuda_check(cuda, cudaMallocHost(&found, sizeof *cuda->found), "cudaMallocHost");
    if (status != SDT_OK)
        return status;
    cuda->found = (int *)found;
    *cuda->found = 0;
    const char *why = sdt__cublas_lt_load();
    if (why)
        return sdt_fail(&cuda->error, SDT_ERROR_DEVICE, "cuda:%d: %s", cuda->device, why);
    cublasStatus_t made = cublasLtCreate(&cuda->lt);
    if (made != CUBLAS_STATUS_SUCCESS) {
        cuda->lt = NULL;
        return sdt_fail(&cuda->error, SDT_ERROR_DEVICE, "cuda:%d: cublasLtCreate: %s", cuda->device,
                        cublasLtGetStatusString(made));
    }
    cuda->linear_plans = sdt__linear_plans_new();
    if (!cuda->linear_plans)
        return sdt_fail(&cuda->error, SDT_ERROR_MEMORY, "no memory for the plans of linear layers");
    cuda->cudnn = sdt__cudnn_new(cuda->stream, cuda->cudnn_why, sizeof cuda->cudnn_why);
    cudaGetLastError(); /* of tries that failed in there */
    return SDT_OK;
}

enum sdt_status sdt_cuda_new(void *stream, struct sdt_cuda **result, struct sdt_error *err) {
    *result = NULL;
    enum sdt_status status = check_driver(err);
    if (status != SDT_OK)
        return status;
    struct sdt_cuda *cuda = (struct sdt_cuda *)calloc(1, sizeof *cuda);
    if (!cuda)
        return sdt_fail(err, SDT_ERROR_MEMORY, "no memory for a GPU worker's context");
    cuda->stream = (cudaStream_t)stream;
    status = fill(cuda);
    if (status == SDT_OK) {
        *result = cuda;
        return SDT_OK;
    }
    if (err)
        *err = cuda->error;
    sdt_cuda_free(cuda);
    return status;
}

void sdt_cuda_free(struct sdt_cuda *cuda) {
    if (!cuda)
        return;
    sdt__cudnn_free(cuda->cudnn);
    sdt__linear_plans_free(cuda->linear_plans);
    if (cuda->lt)
        cublasLtDestroy(cuda->lt);
    cudaFreeHost(cuda->found);
    cudaFree(cuda->workspace);
    free(cuda);
}

const struct sdt_error *sdt_cuda_error(const struct sdt_cuda *cuda) { return &cuda->error; }

const char *sdt_cuda_cudnn(const struct sdt_cuda *cuda, const char **why) {
    if (why)
        *why = *cuda->cudnn_why ? cuda->cudnn_why : NULL;
    return cuda->cudnn ? sdt__cudnn_loaded_version(cuda->cudnn) : NULL;
}

enum sdt_cuda_way sdt_cuda_last_way(const struct sdt_cuda *cuda) { return cuda->way; }

void sdt_cuda_prefer_own(struct sdt_cuda *cuda, bool own) { cuda->own = own; }

volatile int *sdt_cuda_found(struct sdt_cuda *cuda) { return cuda->found; }

enum sdt_status sdt__cuda_check(struct sdt_cuda *cuda, cudaError_t error, const char *what) {
    if (error == cudaSuccess)
        return SDT_OK;
    return sdt_fail(&cuda->error, SDT_ERROR_DEVICE, "cuda:%d: %s: %s (%s)", cuda->device, what,
                    cudaGetErrorString(error), cudaGetErrorName(error));
}

enum sdt_status sdt__cuda_launched(struct sdt_cuda *cuda, const char *what) {
    return sdt__cuda_check(cuda, cudaGetLastError(), what);
}

unsigned sdt__cuda_blocks(const struct sdt_cuda *cuda, size_t n, unsigned threads) {
    /* Four times what fits at once evens out blocks of different speed. */
    size_t most = (size_t)cuda->multiprocessors * (2048 / threads) * 4;
    size_t blocks = (n + threads - 1) / threads;
    if (blocks > most)
        blocks = most;
    return blocks ? (unsigned)blocks : 1;
}

/* Is there a GPU to test on? Prints what it is, one "key value" a line, or says in one line why
 * there is none and exits 77. */
#include "config.h"

#include <stdio.h>

#ifndef HAVE_CUDA
int main(void) {
    fprintf(stderr, "skipped: this build has no CUDA\n");
    return 77;
}
#else

#include <cuda_runtime_api.h>

#include "kernels/cuda/kernels.h"

int main(void) {
    int devices = 0, driver = 0, runtime = 0;
    struct cudaDeviceProp gpu;
    struct sdt_cuda *cuda = NULL;
    struct sdt_error err;
    const char *why = "no reason given", *cudnn;
    size_t free_bytes = 0, total = 0;
    cudaError_t error = cudaGetDeviceCount(&devices);

    if (error == cudaSuccess && devices == 0)
        error = cudaErrorNoDevice;
    if (error == cudaSuccess)
        error = cudaGetDeviceProperties(&gpu, 0);
    if (error == cudaSuccess)
        error = cudaMemGetInfo(&free_bytes, &total);
    if (error != cudaSuccess) {
        fprintf(stderr, "skipped: no GPU to use: %s\n", cudaGetErrorString(error));
        return 77;
    }
    if (sdt_cuda_new(NULL, &cuda, &err) != SDT_OK) {
        fprintf(stderr, "%s\n", err.message);
        return 1;
    }
    cudaDriverGetVersion(&driver);
    cudaRuntimeGetVersion(&runtime);
    cudnn = sdt_cuda_cudnn(cuda, &why);
    printf("gpus %d\nname %s\ncapability %d.%d\nmultiprocessors %d\n", devices, gpu.name, gpu.major,
           gpu.minor, gpu.multiProcessorCount);
    printf("memory_bytes %zu\nfree_bytes %zu\n", total, free_bytes);
    printf("driver_cuda %d.%d\nruntime_cuda %d.%d\n", driver / 1000, driver / 10 % 100,
           runtime / 1000, runtime / 10 % 100);
    printf("cudnn %s%s\n", cudnn ? cudnn : "none: ", cudnn ? "" : why);
    sdt_cuda_free(cuda);
    return 0;
}
#endif

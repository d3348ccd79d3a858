/* The table of operation.h on a GPU: float32 and bfloat16, own kernels and libraries'. Skipped
 * where there is no GPU, no driver or no CUDA in the build. With --small only sizes that
 * compute-sanitizer gets through in minutes, and few of cuDNN's plans; with --own none of these;
 * --plans counts them.
 *
 * Looser than check.h in float32: attention 1e-5, as exp2 of the GPU is good to 2 units in the
 * last place and sums go over keys in other groups; linear layers 5e-6 beyond 1000 terms, one
 * chain of sums. bfloat16 results are held to a limit on |got - want|_2 / |want|_2, where one
 * rounding of the result alone gives 1.7e-3. */
#include "config.h"

#include <stdio.h>

#ifndef HAVE_CUDA
int main(void) {
    fprintf(stderr, "skipped: this build has no CUDA\n");
    return 77;
}
#else

#include <cuda_runtime_api.h>

#include "tests/kernels/operation.h"

/* An array lies between two guards that no kernel may write, of so many bytes. */
enum { GUARD = 256, ON_DEVICE = 512 };

struct sdt_cuda *cuda;

static struct {
    unsigned char *base;
    size_t before, bytes; /* to the array; of it */
} device_array[ON_DEVICE];
static int device_arrays;

/* A failed CUDA call ends the test: nothing after it can be trusted. */
static void must(cudaError_t error, const char *what) {
    if (error == cudaSuccess)
        return;
    fprintf(stderr, "%s: %s\n", what, cudaGetErrorString(error));
    exit(EXIT_FAILURE);
}

static void wait(enum sdt_status status, const char *what) {
    if (status != SDT_OK) {
        fprintf(stderr, "%s: %s\n", what, sdt_cuda_error(cuda)->message);
        exit(EXIT_FAILURE);
    }
    must(cudaDeviceSynchronize(), what);
}

static void *put(enum sdt_dtype dtype, size_t n, bool shifted, const float *x) {
    size_t size = sdt_dtype_size(dtype), bytes = n * size, before = GUARD + (shifted ? size : 0);
    void *base = NULL;
    if (device_arrays == ON_DEVICE)
        abort();
    must(cudaMalloc(&base, before + bytes + GUARD), "memory on the device");
    must(cudaMemset(base, 0xff, before + bytes + GUARD), "guards");
    device_array[device_arrays].base = base;
    device_array[device_arrays].before = before;
    device_array[device_arrays++].bytes = bytes;
    unsigned char *at = (unsigned char *)base + before;
    if (x) { /* as it lies in the host's memory */
        const void *stored = host_put(dtype, n, false, x);
        must(cudaMemcpy(at, stored, bytes, cudaMemcpyHostToDevice), "copy to the device");
        host_release();
    }
    return at;
}

static float *get(enum sdt_dtype dtype, size_t n, const void *x) {
    void *stored = host_put(dtype, n, false, NULL);
    must(cudaMemcpy(stored, x, n * sdt_dtype_size(dtype), cudaMemcpyDeviceToHost),
         "copy to the host");
    float *y = host_get(dtype, n, stored);
    host_release();
    return y;
}

static bool release(void) {
    unsigned char guard[2 * GUARD + 8];
    bool whole = true;
    while (device_arrays > 0) {
        device_arrays--;
        unsigned char *base = device_array[device_arrays].base;
        size_t before = device_array[device_arrays].before;
        must(cudaMemcpy(guard, base, before, cudaMemcpyDeviceToHost), "guards");
        must(cudaMemcpy(guard + before, base + before + device_array[device_arrays].bytes, GUARD,
                        cudaMemcpyDeviceToHost),
             "guards");
        for (size_t i = 0; i < before + GUARD; i++)
            whole = whole && guard[i] == 0xff;
        must(cudaFree(base), "free");
    }
    return whole;
}

static void prefer_own(bool own) { sdt_cuda_prefer_own(cuda, own); }

const struct backend backend = {.kind = GPU,
                                .ways = 2,
                                .put = put,
                                .get = get,
                                .release = release,
                                .wait = wait,
                                .prefer_own = prefer_own};

int main(int argc, char **argv) {
    int devices = 0;
    const char *why = NULL, *version;
    struct sdt_error err;
    for (int i = 1; i < argc; i++)
        if (strcmp(argv[i], "--plans") == 0) {
            operations_run(argc, argv);
            return EXIT_SUCCESS;
        }
    cudaError_t error = cudaGetDeviceCount(&devices);
    if (error != cudaSuccess || devices == 0) {
        fprintf(stderr, "skipped: no GPU to use: %s\n",
                error != cudaSuccess ? cudaGetErrorString(error) : "none found");
        return 77;
    }
    must(cudaSetDevice(0), "GPU 0");
    if (sdt_cuda_new(NULL, &cuda, &err) != SDT_OK) {
        fprintf(stderr, "%s\n", err.message);
        return EXIT_FAILURE;
    }
    version = sdt_cuda_cudnn(cuda, &why);
    if (version)
        fprintf(stderr, "cuDNN %s\n", version);
    else
        fprintf(stderr, "without cuDNN: %s\n", why);
    operations_run(argc, argv);
    sdt_cuda_free(cuda);
    return check_end("cuda");
}
#endif

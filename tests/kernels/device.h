/* What the tests on a GPU share beside check.h: arrays in its memory, and comparisons that know the
 * storage type.
 *
 * An array lies between two guards that no kernel may write and starts as NaN unless it gets
 * values. Values of bfloat16 arrays are rounded first, so that the reference sees the same numbers.
 * float32 results are held to check.h's tolerances unless a test says why not; bfloat16 results to
 * a limit on |got - want|_2 / |want|_2, where one rounding of the result alone gives 1.7e-3. */
#ifndef STARDIT_TESTS_KERNELS_DEVICE_H
#define STARDIT_TESTS_KERNELS_DEVICE_H

#include <cuda_runtime_api.h>

#include "kernels/cuda/kernels.h"
#include "tests/kernels/check.h"

enum { GUARD = 256, ARRAYS = 256 }; /* bytes on both sides; arrays at a time */

static struct sdt_cuda *cuda;
static struct {
    unsigned char *base;
    size_t bytes;
} device_array[ARRAYS];
static int device_arrays;

/* A failed CUDA call ends the test: nothing after it can be trusted. */
static inline void must(cudaError_t error, const char *what) {
    if (error == cudaSuccess)
        return;
    fprintf(stderr, "%s: %s\n", what, cudaGetErrorString(error));
    exit(EXIT_FAILURE);
}

static inline void done(enum sdt_status status, const char *what) {
    if (status != SDT_OK) {
        fprintf(stderr, "%s: %s\n", what, sdt_cuda_error(cuda)->message);
        exit(EXIT_FAILURE);
    }
    must(cudaDeviceSynchronize(), what);
}

static inline uint16_t bf16_of(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    if ((bits & 0x7fffffffu) > 0x7f800000u)
        return 0x7fff;
    return (uint16_t)((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}

static inline float of_bf16(uint16_t x) {
    uint32_t bits = (uint32_t)x << 16;
    float y;
    memcpy(&y, &bits, sizeof y);
    return y;
}

/* Random numbers that the type holds exactly. */
static inline float *values(enum sdt_dtype dtype, size_t n, float scale) {
    float *x = numbers(n, scale);
    for (size_t i = 0; i < n && dtype == SDT_BF16; i++)
        x[i] = of_bf16(bf16_of(x[i]));
    return x;
}

static inline void upload(enum sdt_dtype dtype, size_t n, const float *x, void *to) {
    if (dtype == SDT_F32) {
        must(cudaMemcpy(to, x, n * sizeof *x, cudaMemcpyHostToDevice), "copy to the device");
        return;
    }
    uint16_t *half = malloc((n ? n : 1) * sizeof *half);
    if (!half)
        abort();
    for (size_t i = 0; i < n; i++)
        half[i] = bf16_of(x[i]);
    must(cudaMemcpy(to, half, n * sizeof *half, cudaMemcpyHostToDevice), "copy to the device");
    free(half);
}

/* An array on the device, until release(); x NULL: NaN. */
static inline void *on_device(enum sdt_dtype dtype, size_t n, const float *x) {
    size_t bytes = n * sdt_dtype_size(dtype);
    void *base = NULL;
    if (device_arrays == ARRAYS)
        abort();
    must(cudaMalloc(&base, bytes + 2 * GUARD), "memory on the device");
    must(cudaMemset(base, 0xff, bytes + 2 * GUARD), "guards");
    device_array[device_arrays].base = base;
    device_array[device_arrays++].bytes = bytes;
    if (x)
        upload(dtype, n, x, (unsigned char *)base + GUARD);
    return (unsigned char *)base + GUARD;
}

/* Scratch memory of so many bytes; NULL for none. */
static inline void *scratch_of(size_t bytes) {
    return bytes ? on_device(SDT_U8, bytes, NULL) : NULL;
}

static inline float *to_host(enum sdt_dtype dtype, size_t n, const void *x) {
    float *y = numbers(n, 0.f);
    size_t bytes = n * sdt_dtype_size(dtype);
    uint16_t *half = malloc(bytes ? bytes : 1);
    if (!half)
        abort();
    must(cudaMemcpy(dtype == SDT_F32 ? (void *)y : half, x, bytes, cudaMemcpyDeviceToHost),
         "copy to the host");
    for (size_t i = 0; i < n && dtype == SDT_BF16; i++)
        y[i] = of_bf16(half[i]);
    free(half);
    return y;
}

/* Checks the guards of all arrays and frees them. */
static inline void release(const char *what) {
    unsigned char guard[2 * GUARD];
    int whole = 1;
    while (device_arrays > 0) {
        unsigned char *base = device_array[--device_arrays].base;
        size_t bytes = device_array[device_arrays].bytes;
        must(cudaMemcpy(guard, base, GUARD, cudaMemcpyDeviceToHost), "guards");
        must(cudaMemcpy(guard + GUARD, base + GUARD + bytes, GUARD, cudaMemcpyDeviceToHost),
             "guards");
        for (int i = 0; i < 2 * GUARD; i++)
            whole = whole && guard[i] == 0xff;
        must(cudaFree(base), "free");
    }
    check_count++;
    if (!whole) {
        check_failures++;
        fprintf(stderr, "%s: wrote outside of an array\n", what);
    }
}

/* got is on the device. */
__attribute__((format(printf, 7, 8))) static inline void
check_result(enum sdt_dtype dtype, size_t n, const void *got, const float *want, double tolerance,
             double limit, const char *what, ...) {
    char name[160];
    va_list list;
    va_start(list, what);
    vsnprintf(name, sizeof name, what, list);
    va_end(list);
    float *host = to_host(dtype, n, got);
    if (dtype == SDT_F32) {
        check_near(n, host, want, tolerance, "%s", name);
    } else {
        double error = 0., norm = 0.;
        for (size_t i = 0; i < n; i++) {
            error += ((double)host[i] - want[i]) * ((double)host[i] - want[i]);
            norm += (double)want[i] * want[i];
        }
        norm = fmax(norm, 0.1 * (double)n); /* few small numbers are not held to their own size */
        check_count++;
        if (!(sqrt(error) <= limit * sqrt(norm))) {
            check_failures++;
            fprintf(stderr, "%s in bfloat16: relative L2 error %.3g, limit %.3g\n", name,
                    sqrt(error / norm), limit);
        }
    }
    free(host);
}
#endif

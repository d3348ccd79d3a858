#include "bench/cuda_race.h"

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/gpus.h"

/* PERIOD: values of an array repeat, so that the host knows them without holding them; a prime, so
 * that no row length divides it. */
enum { SLICES = 5, BIG = 8192, PERIOD = 1048573 };

void race_stop(struct race *race, const char *what, const char *why) {
    if (!race->why[0])
        snprintf(race->why, sizeof race->why, "%s: %s", what, why);
}

bool race_fine(struct race *race, cudaError_t error, const char *what) {
    if (error != cudaSuccess)
        race_stop(race, what, cudaGetErrorString(error));
    return !race->why[0];
}

void race_check(struct race *race, enum sdt_status status, const char *what) {
    if (status != SDT_OK)
        race_stop(race, what, sdt_cuda_error(race->cuda)->message);
}

/* ---- arrays ---------------------------------------------------------------------------------- */

static uint16_t bf16_of(float x) { /* finite */
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return (uint16_t)((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}

static float of_bf16(uint16_t x) {
    uint32_t bits = (uint32_t)x << 16;
    float y;
    memcpy(&y, &bits, sizeof y);
    return y;
}

void *race_room(struct race *race, size_t bytes) {
    void *x = NULL;
    if (race->why[0] || race->ons == RACE_ARRAYS ||
        !race_fine(race, cudaMalloc(&x, bytes ? bytes : 1), "memory on the GPU"))
        return NULL;
    return race->on[race->ons++] = x;
}

/* Element i of the array that race_numbers() made with this seed. */
static float value(const struct race *race, unsigned seed, float scale, size_t i) {
    return race->block[(i + seed * 7919u) % PERIOD] * scale;
}

void race_host_values(const struct race *race, unsigned seed, float scale, size_t first,
                      size_t count, float *y) {
    for (size_t i = 0; i < count; i++)
        y[i] = value(race, seed, scale, first + i);
}

void *race_numbers(struct race *race, enum sdt_dtype dtype, size_t n, unsigned seed, float scale) {
    size_t size = sdt_dtype_size(dtype), have = n < PERIOD ? n : PERIOD;
    unsigned char *x = race_room(race, n * size), *host = malloc(have * size + 1);
    if (!host)
        race_stop(race, "host", "no memory");
    if (x && host) {
        for (size_t i = 0; i < have; i++) {
            float v = value(race, seed, scale, i);
            uint16_t half = bf16_of(v);
            memcpy(host + i * size, dtype == SDT_F32 ? (void *)&v : (void *)&half, size);
        }
        race_fine(race, cudaMemcpy(x, host, have * size, cudaMemcpyHostToDevice),
                  "copy to the GPU");
        for (size_t more; have < n; have += more) { /* whole periods, then the rest */
            more = have < n - have ? have : n - have;
            race_fine(race, cudaMemcpy(x + have * size, x, more * size, cudaMemcpyDeviceToDevice),
                      "copy on the GPU");
        }
    }
    free(host);
    return x;
}

void race_fetch(struct race *race, enum sdt_dtype dtype, const void *x, size_t first, size_t count,
                float *y) {
    size_t size = sdt_dtype_size(dtype);
    unsigned char *host = malloc(count * size + 1);
    memset(y, 0, count * sizeof *y);
    if (!host)
        race_stop(race, "host", "no memory");
    else if (race_fine(race,
                       cudaMemcpy(host, (const unsigned char *)x + first * size, count * size,
                                  cudaMemcpyDeviceToHost),
                       "copy to the host"))
        for (size_t i = 0; i < count; i++) {
            uint16_t half;
            memcpy(&half, host + i * size, sizeof half);
            if (dtype == SDT_F32)
                memcpy(&y[i], host + i * size, sizeof *y);
            else
                y[i] = of_bf16(half);
        }
    free(host);
}

float *race_host_room(struct race *race, size_t n) {
    float *x = race->why[0] || race->hosts == RACE_ARRAYS ? NULL : malloc(n * sizeof *x + 1);
    if (!x)
        race_stop(race, "host", "no memory");
    else
        race->host[race->hosts++] = x;
    return x;
}

void race_clear(struct race *race) {
    while (race->ons > 0)
        cudaFree(race->on[--race->ons]);
    while (race->hosts > 0)
        free(race->host[--race->hosts]);
}

/* ---- the race -------------------------------------------------------------------------------- */

bool race_asked(struct race *race, const char *name) {
    bool all = race->names == 0;
    for (int i = 0; i < race->names; i++)
        if (strcmp(race->name[i], name) == 0)
            all = (race->used[i] = 1);
    return all && !race->why[0];
}

void race_begin(struct race *race, enum race_yardstick against, double work) {
    race->against = against;
    race->work = work;
    race->best = race->yardstick = INFINITY;
    race->slice = race->calls = 0;
    race->batch = 1;
}

/* y[rows, n] = x[rows, k] w[n, k]^T, all bfloat16: cuBLAS sees the transposed, column-major. */
static void plain_gemm(struct race *race, int rows, int n, int k, const void *x, const void *w,
                       void *y) {
    const float one = 1.f, zero = 0.f;
    if (cublasGemmEx(race->blas, CUBLAS_OP_T, CUBLAS_OP_N, n, rows, k, &one, w, CUDA_R_16BF, k, x,
                     CUDA_R_16BF, k, &zero, y, CUDA_R_16BF, n, CUBLAS_COMPUTE_32F,
                     CUBLAS_GEMM_DEFAULT) != CUBLAS_STATUS_SUCCESS)
        race_stop(race, "cublasGemmEx", "failed");
}

/* Work of one call of the yardstick; the copy moves at most what the yard holds. */
static double yard_work(const struct race *race) {
    double most = 4. * BIG * BIG;
    switch (race->against) {
    case RACE_COPY:
        return race->work < most ? race->work : most;
    case RACE_SAME_GEMM:
        return 2. * race->rows * race->n * race->k;
    default:
        return 2. * BIG * (double)BIG * BIG;
    }
}

static void run_yardstick(struct race *race) {
    int calls = race->against == RACE_COPY ? 20 : 5;
    float milliseconds = 0.f;
    for (int i = 0; i <= calls; i++) { /* the first one is not timed */
        if (i == 1)
            race_fine(race, cudaEventRecord(race->start, race->stream), "event");
        if (race->against == RACE_COPY)
            race_fine(race,
                      cudaMemcpyAsync(race->yard[0], race->yard[1], (size_t)(yard_work(race) / 2),
                                      cudaMemcpyDeviceToDevice, race->stream),
                      "copy");
        else if (race->against == RACE_SAME_GEMM)
            plain_gemm(race, race->rows, race->n, race->k, race->x, race->w, race->y);
        else
            plain_gemm(race, BIG, BIG, BIG, race->yard[0], race->yard[1], race->yard[2]);
    }
    race_fine(race, cudaEventRecord(race->end, race->stream), "event");
    race_fine(race, cudaEventSynchronize(race->end), "yardstick");
    cudaEventElapsedTime(&milliseconds, race->start, race->end);
    race->yardstick = fminf(race->yardstick, milliseconds / (float)calls);
}

/* Two slices warm up and find how many calls last 20 ms. */
bool race_on(struct race *race) {
    if (race->why[0])
        return false;
    if (race->calls > 0 && --race->calls > 0)
        return true;
    if (race->slice > 0) {
        float milliseconds = 0.f;
        race_fine(race, cudaEventRecord(race->end, race->stream), "event");
        if (!race_fine(race, cudaEventSynchronize(race->end), "kernel"))
            return false;
        cudaEventElapsedTime(&milliseconds, race->start, race->end);
        milliseconds /= (float)race->batch;
        if (race->slice == 2)
            race->batch = (int)fminf(fmaxf(20.f / fmaxf(milliseconds, 1e-4f), 1.f), 5000.f);
        if (race->slice > 2) {
            race->best = fminf(race->best, milliseconds);
            run_yardstick(race);
        }
        if (race->slice == 2 + SLICES)
            return false;
    }
    race->slice++;
    race->calls = race->batch;
    return race_fine(race, cudaEventRecord(race->start, race->stream), "event");
}

double race_error(size_t n, const float *got, const float *want) {
    double error = 0., norm = 1e-30;
    for (size_t i = 0; i < n; i++) {
        error += ((double)got[i] - want[i]) * ((double)got[i] - want[i]);
        norm += (double)want[i] * want[i];
    }
    return sqrt(error / norm);
}

const char *race_way(struct race *race) {
    const char *why = NULL;
    enum sdt_cuda_way way = sdt_cuda_last_way(race->cuda);
    if (way == SDT_CUDA_OWN && sdt_cuda_cudnn(race->cuda, &why) && why && strcmp(why, race->told)) {
        snprintf(race->told, sizeof race->told, "%s", why);
        printf("cuDNN: %s\n", why);
    }
    return way == SDT_CUDA_CUDNN ? ", cuDNN" : way == SDT_CUDA_CUBLASLT ? ", cuBLASLt" : ", own";
}

void race_end(struct race *race, const char *name, const char *size, double error, double limit) {
    static const char *const against[] = {"copy", "same GEMM", "large GEMM"};
    if (race->why[0])
        return;
    double rate = 1e-6 * race->work / race->best;
    double yard = 1e-6 * yard_work(race) / race->yardstick;
    bool good = error <= limit; /* no NaN */
    printf("%-16s %-40s %9.1e %9.1e %11.1f us %8.1f %-8s %5.0f%% of %s%s\n", name, size, error,
           limit, 1e3 * race->best, race->against == RACE_COPY ? rate : 1e-3 * rate,
           race->against == RACE_COPY ? "GB/s" : "TFLOP/s", 100. * rate / yard,
           against[race->against], good ? "" : "  WRONG");
    fflush(stdout);
    race->failed |= !good;
}

void race_print_yardsticks(struct race *race) {
    race_begin(race, RACE_COPY, 4. * BIG * BIG);
    for (int i = 0; i < SLICES; i++)
        run_yardstick(race);
    double copy = 1e-6 * yard_work(race) / race->yardstick;
    race_begin(race, RACE_BIG_GEMM, 0.);
    for (int i = 0; i < SLICES; i++)
        run_yardstick(race);
    if (!race->why[0])
        printf("device copy %.0f GB/s, bfloat16 GEMM of %d^3 %.0f TFLOP/s\n", copy, BIG,
               1e-9 * yard_work(race) / race->yardstick);
}

/* ---- beginning and end ----------------------------------------------------------------------- */

bool race_open(struct race *race) {
    struct cudaDeviceProp gpu;
    struct sdt_error err;
    struct sdt_gpus gpus;
    uint64_t state = 88172645463325252u;
    sdt__gpus_find(&gpus);
    if (gpus.count == 0)
        race_stop(race, "no GPU to use", gpus.why);
    if (!race_fine(race, cudaSetDevice(0), "GPU 0") ||
        !race_fine(race, cudaGetDeviceProperties(&gpu, 0), "GPU 0") ||
        !race_fine(race, cudaStreamCreate(&race->stream), "stream") ||
        !race_fine(race, cudaEventCreate(&race->start), "event") ||
        !race_fine(race, cudaEventCreate(&race->end), "event"))
        return false;
    if (sdt_cuda_new(race->stream, &race->cuda, &err) != SDT_OK) {
        race_stop(race, "GPU 0", err.message);
        return false;
    }
    if (cublasCreate(&race->blas) != CUBLAS_STATUS_SUCCESS ||
        cublasSetStream(race->blas, race->stream) != CUBLAS_STATUS_SUCCESS) {
        race_stop(race, "cuBLAS", "cannot be used");
        return false;
    }
    race->block = malloc(PERIOD * sizeof *race->block);
    if (!race->block)
        race_stop(race, "host", "no memory");
    for (size_t i = 0; race->block && i < PERIOD; i++) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        race->block[i] = of_bf16(bf16_of((float)(state >> 40) * 0x1p-23f - 1.f));
    }
    for (int i = 0; i < 3; i++)
        race->yard[i] = race_numbers(race, SDT_BF16, (size_t)BIG * BIG, (unsigned)i + 1, 1.f);
    race->ons = 0; /* the yardsticks stay */
    printf("%s, %d multiprocessors\n", gpu.name, gpu.multiProcessorCount);
    return !race->why[0];
}

void race_close(struct race *race) {
    race_clear(race);
    for (int i = 0; i < 3; i++)
        cudaFree(race->yard[i]);
    sdt_cuda_free(race->cuda);
    if (race->blas)
        cublasDestroy(race->blas);
    if (race->end)
        cudaEventDestroy(race->end);
    if (race->start)
        cudaEventDestroy(race->start);
    if (race->stream)
        cudaStreamDestroy(race->stream);
    free(race->block);
}

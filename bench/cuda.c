/* stardit-bench kernels --device cuda: each CUDA kernel at a realistic size in bfloat16, checked
 * against its plain version and timed by CUDA events.
 *
 * As on CPUs each kernel races a yardstick, slices of both in turn, and the best time of each
 * counts: a device copy of as many bytes where memory is the work; a plain cublasGemmEx of the same
 * shape for linear layers; a bfloat16 product of 8192^3 for attention and convolutions. The error
 * is the relative L2 over a part of the output that the double-precision version can compute in
 * reasonable time, first and last rows where rows are independent. */
#include "bench/cuda.h"

#include "config.h"

#include <stdio.h>

#ifndef HAVE_CUDA
int app_bench_cuda(int names, char **name) {
    (void)names;
    (void)name;
    fprintf(stderr, "stardit-bench: this build has no CUDA\n");
    return 1;
}
#else

#include <cublas_v2.h>
#include <cuda_runtime_api.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/gpus.h"
#include "kernels/cuda/kernels.h"
#include "kernels/reference.h"

/* PERIOD: values of an array repeat, so that the host knows them without holding them; a prime, so
 * that no row length divides it. */
enum { ARRAYS = 16, SLICES = 5, BIG = 8192, PERIOD = 1048573, EDGE = 2 };

enum yardstick { COPY, SAME_GEMM, BIG_GEMM };

struct bench {
    int names, *used; /* [names]: a kernel has that name */
    char **name;
    bool failed;
    char why[700]; /* what ended the run; empty: nothing */
    struct sdt_cuda *cuda;
    cudaStream_t stream;
    cudaEvent_t start, end;
    cublasHandle_t blas;
    float *block; /* [PERIOD] rounded to bfloat16 */
    void *array[ARRAYS];
    int arrays;
    void *yard[3]; /* [BIG, BIG] bfloat16 each */
    enum yardstick against;
    int rows, n, k;          /* of the plain product */
    const void *x, *w;       /* [rows, k], [n, k] */
    void *y;                 /* [rows, n] */
    double work;             /* of a call: bytes for COPY, FLOPs else */
    float best, yardstick;   /* milliseconds of one call */
    int slice, batch, calls; /* of the race */
};

static void stop(struct bench *bench, const char *what, const char *why) {
    if (!bench->why[0])
        snprintf(bench->why, sizeof bench->why, "%s: %s", what, why);
}

static bool fine(struct bench *bench, cudaError_t error, const char *what) {
    if (error != cudaSuccess)
        stop(bench, what, cudaGetErrorString(error));
    return !bench->why[0];
}

static void done(struct bench *bench, enum sdt_status status, const char *what) {
    if (status != SDT_OK)
        stop(bench, what, sdt_cuda_error(bench->cuda)->message);
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

/* An uninitialised array on the device, until the kernel's end; NULL stops the run. */
static void *room(struct bench *bench, size_t bytes) {
    void *x = NULL;
    if (bench->why[0] || bench->arrays == ARRAYS ||
        !fine(bench, cudaMalloc(&x, bytes ? bytes : 1), "memory on the GPU"))
        return NULL;
    return bench->array[bench->arrays++] = x;
}

/* Element i of the array that numbers() made with this seed. */
static float value(const struct bench *bench, unsigned seed, float scale, size_t i) {
    return bench->block[(i + seed * 7919u) % PERIOD] * scale;
}

/* The same elements on the host: [count] from first. */
static void host_values(const struct bench *bench, unsigned seed, float scale, size_t first,
                        size_t count, float *y) {
    for (size_t i = 0; i < count; i++)
        y[i] = value(bench, seed, scale, first + i);
}

/* n values of -scale..scale of a type; scale a power of two, so that bfloat16 holds each
 * product. */
static void *numbers(struct bench *bench, enum sdt_dtype dtype, size_t n, unsigned seed,
                     float scale) {
    size_t size = sdt_dtype_size(dtype), have = n < PERIOD ? n : PERIOD;
    unsigned char *x = room(bench, n * size), *host = malloc(have * size + 1);
    if (!host)
        stop(bench, "host", "no memory");
    if (x && host) {
        for (size_t i = 0; i < have; i++) {
            float v = value(bench, seed, scale, i);
            uint16_t half = bf16_of(v);
            memcpy(host + i * size, dtype == SDT_F32 ? (void *)&v : (void *)&half, size);
        }
        fine(bench, cudaMemcpy(x, host, have * size, cudaMemcpyHostToDevice), "copy to the GPU");
        for (; have < n;
             have += have < n - have ? have : n - have) /* whole periods, then the rest */
            fine(bench,
                 cudaMemcpy(x + have * size, x, (have < n - have ? have : n - have) * size,
                            cudaMemcpyDeviceToDevice),
                 "copy on the GPU");
    }
    free(host);
    return x;
}

/* count elements from `first` of an array, as float. */
static void fetch(struct bench *bench, enum sdt_dtype dtype, const void *x, size_t first,
                  size_t count, float *y) {
    size_t size = sdt_dtype_size(dtype);
    unsigned char *host = malloc(count * size + 1);
    memset(y, 0, count * sizeof *y);
    if (!host)
        stop(bench, "host", "no memory");
    else if (fine(bench,
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

static float *host_room(struct bench *bench, size_t n) {
    float *x = malloc(n * sizeof *x + 1);
    if (!x)
        stop(bench, "host", "no memory");
    return x;
}

/* ---- the race -------------------------------------------------------------------------------- */

static bool asked(struct bench *bench, const char *name) {
    bool all = bench->names == 0;
    for (int i = 0; i < bench->names; i++)
        if (strcmp(bench->name[i], name) == 0)
            all = (bench->used[i] = 1);
    return all && !bench->why[0];
}

static void begin(struct bench *bench, enum yardstick against, double work) {
    bench->against = against;
    bench->work = work;
    bench->best = bench->yardstick = INFINITY;
    bench->slice = bench->calls = 0;
    bench->batch = 1;
}

/* y[rows, n] = x[rows, k] w[n, k]^T, all bfloat16: cuBLAS sees the transposed, column-major. */
static void plain_gemm(struct bench *bench, int rows, int n, int k, const void *x, const void *w,
                       void *y) {
    const float one = 1.f, zero = 0.f;
    if (cublasGemmEx(bench->blas, CUBLAS_OP_T, CUBLAS_OP_N, n, rows, k, &one, w, CUDA_R_16BF, k, x,
                     CUDA_R_16BF, k, &zero, y, CUDA_R_16BF, n, CUBLAS_COMPUTE_32F,
                     CUBLAS_GEMM_DEFAULT) != CUBLAS_STATUS_SUCCESS)
        stop(bench, "cublasGemmEx", "failed");
}

/* Work of one call of the yardstick; the copy moves at most what the yard holds. */
static double yard_work(const struct bench *bench) {
    double most = 4. * BIG * BIG;
    switch (bench->against) {
    case COPY:
        return bench->work < most ? bench->work : most;
    case SAME_GEMM:
        return 2. * bench->rows * bench->n * bench->k;
    default:
        return 2. * BIG * (double)BIG * BIG;
    }
}

static void run_yardstick(struct bench *bench) {
    int calls = bench->against == COPY ? 20 : 5;
    float milliseconds = 0.f;
    for (int i = 0; i <= calls; i++) { /* the first one is not timed */
        if (i == 1)
            fine(bench, cudaEventRecord(bench->start, bench->stream), "event");
        if (bench->against == COPY)
            fine(bench,
                 cudaMemcpyAsync(bench->yard[0], bench->yard[1], (size_t)(yard_work(bench) / 2),
                                 cudaMemcpyDeviceToDevice, bench->stream),
                 "copy");
        else if (bench->against == SAME_GEMM)
            plain_gemm(bench, bench->rows, bench->n, bench->k, bench->x, bench->w, bench->y);
        else
            plain_gemm(bench, BIG, BIG, BIG, bench->yard[0], bench->yard[1], bench->yard[2]);
    }
    fine(bench, cudaEventRecord(bench->end, bench->stream), "event");
    fine(bench, cudaEventSynchronize(bench->end), "yardstick");
    cudaEventElapsedTime(&milliseconds, bench->start, bench->end);
    bench->yardstick = fminf(bench->yardstick, milliseconds / (float)calls);
}

/* The head of the loop round a kernel's call: while (race(bench)) kernel(...). Two slices warm up
 * and find how many calls last 20 ms. */
static bool race(struct bench *bench) {
    if (bench->why[0])
        return false;
    if (bench->calls > 0 && --bench->calls > 0)
        return true;
    if (bench->slice > 0) {
        float milliseconds = 0.f;
        fine(bench, cudaEventRecord(bench->end, bench->stream), "event");
        if (!fine(bench, cudaEventSynchronize(bench->end), "kernel"))
            return false;
        cudaEventElapsedTime(&milliseconds, bench->start, bench->end);
        milliseconds /= (float)bench->batch;
        if (bench->slice == 2)
            bench->batch = (int)fminf(fmaxf(20.f / fmaxf(milliseconds, 1e-4f), 1.f), 5000.f);
        if (bench->slice > 2) {
            bench->best = fminf(bench->best, milliseconds);
            run_yardstick(bench);
        }
        if (bench->slice == 2 + SLICES)
            return false;
    }
    bench->slice++;
    bench->calls = bench->batch;
    return fine(bench, cudaEventRecord(bench->start, bench->stream), "event");
}

static double error_of(size_t n, const float *got, const float *want) {
    double error = 0., norm = 1e-30;
    for (size_t i = 0; i < n; i++) {
        error += ((double)got[i] - want[i]) * ((double)got[i] - want[i]);
        norm += (double)want[i] * want[i];
    }
    return sqrt(error / norm);
}

static void end(struct bench *bench, const char *name, const char *size, double error,
                double limit) {
    static const char *const against[] = {"copy", "same GEMM", "large GEMM"};
    if (bench->why[0])
        return;
    double rate = 1e-6 * bench->work / bench->best;
    double yard = 1e-6 * yard_work(bench) / bench->yardstick;
    bool good = error <= limit; /* no NaN */
    printf("%-16s %-40s %9.1e %9.1e %11.1f us %8.1f %-8s %5.0f%% of %s%s\n", name, size, error,
           limit, 1e3 * bench->best, bench->against == COPY ? rate : 1e-3 * rate,
           bench->against == COPY ? "GB/s" : "TFLOP/s", 100. * rate / yard, against[bench->against],
           good ? "" : "  WRONG");
    fflush(stdout);
    bench->failed |= !good;
}

static void finish_kernel(struct bench *bench) {
    while (bench->arrays > 0)
        cudaFree(bench->array[--bench->arrays]);
}

/* ---- linear layers --------------------------------------------------------------------------- */

enum { COLUMNS = 64 }; /* of the output that are checked */

/* residual: y += gate (x w^T + bias) */
static void bench_linear(struct bench *bench, const char *name, int rows, int n, int k,
                         enum sdt_epilogue epilogue, bool residual) {
    size_t nx = (size_t)rows * (size_t)k, nw = (size_t)n * (size_t)k, ny = (size_t)rows * (size_t)n;
    const float scale = 0.03125f;
    void *x = numbers(bench, SDT_BF16, nx, 1, 1.f), *w = numbers(bench, SDT_BF16, nw, 2, scale);
    void *bias = numbers(bench, SDT_BF16, (size_t)n, 3, 1.f);
    float *gate = numbers(bench, SDT_F32, (size_t)n, 4, 1.f);
    void *y = numbers(bench, SDT_BF16, ny, 5, 1.f);
    void *plain = room(bench, ny * 2);
    void *scratch = room(bench, sdt_cuda_linear_residual_scratch(SDT_BF16, rows, n));
    float *hx = host_room(bench, (size_t)k), *hw = host_room(bench, (size_t)k * COLUMNS);
    float *got = host_room(bench, EDGE * COLUMNS), *want = host_room(bench, EDGE * COLUMNS);
    float vector[2][COLUMNS];
    char size[64];
    if (!bench->why[0]) {
        bench->rows = rows, bench->n = n, bench->k = k;
        bench->x = x, bench->w = w, bench->y = plain;
        if (residual) { /* y grows with each pass: check the first one */
            done(bench,
                 sdt_cuda_linear_residual(bench->cuda, SDT_BF16, rows, n, k, x, w, bias, gate, NULL,
                                          y, scratch),
                 name);
            for (int r = 0; r < EDGE; r++)
                fetch(bench, SDT_BF16, y, (size_t)(r ? rows - 1 : 0) * (size_t)n, COLUMNS,
                      got + r * COLUMNS);
        }
        begin(bench, SAME_GEMM, 2. * rows * n * k);
        while (race(bench))
            done(bench,
                 residual
                     ? sdt_cuda_linear_residual(bench->cuda, SDT_BF16, rows, n, k, x, w, bias, gate,
                                                NULL, y, scratch)
                     : sdt_cuda_linear(bench->cuda, SDT_BF16, rows, n, k, x, w, bias, epilogue, y),
                 name);
        host_values(bench, 2, scale, 0, (size_t)k * COLUMNS, hw);
        host_values(bench, 3, 1.f, 0, COLUMNS, vector[0]);
        host_values(bench, 4, 1.f, 0, COLUMNS, vector[1]);
        for (int r = 0; r < EDGE; r++) {
            size_t row = r ? (size_t)rows - 1 : 0;
            host_values(bench, 1, 1.f, row * (size_t)k, (size_t)k, hx);
            host_values(bench, 5, 1.f, row * (size_t)n, COLUMNS, want + r * COLUMNS);
            if (residual) {
                sdt_linear_residual_reference(1, COLUMNS, k, hx, hw, vector[0], vector[1], NULL,
                                              want + r * COLUMNS);
            } else {
                sdt_linear_reference(1, COLUMNS, k, hx, hw, vector[0], epilogue,
                                     want + r * COLUMNS);
                fetch(bench, SDT_BF16, y, row * (size_t)n, COLUMNS, got + r * COLUMNS);
            }
        }
        snprintf(size, sizeof size, "%d rows, %d -> %d%s", rows, k, n,
                 residual   ? ", gated"
                 : epilogue ? ", gelu"
                            : "");
        end(bench, name, size, error_of(EDGE * COLUMNS, got, want), 6e-3);
    }
    free(hx);
    free(hw);
    free(got);
    free(want);
    finish_kernel(bench);
}

/* ---- attention ------------------------------------------------------------------------------- */

static const char *way(bool own) { return own ? ", own" : ", cuDNN"; }

static void bench_attention(struct bench *bench, int heads, int tokens, int e, bool own) {
    size_t n = (size_t)heads * (size_t)tokens * (size_t)e, of_head = (size_t)tokens * (size_t)e;
    const float spread = 2.f, scale = 1.f / sqrtf((float)e);
    void *q = numbers(bench, SDT_BF16, n, 1, spread), *k = numbers(bench, SDT_BF16, n, 2, 1.f);
    void *v = numbers(bench, SDT_BF16, n, 3, 1.f), *o = room(bench, n * 2);
    float *lse = room(bench, (size_t)heads * (size_t)tokens * sizeof *lse);
    float *hk = host_room(bench, of_head), *hv = host_room(bench, of_head);
    float *hq = host_room(bench, (size_t)e), *got = host_room(bench, (size_t)(EDGE * e));
    float *want = host_room(bench, (size_t)(EDGE * e));
    char size[64];
    if (!bench->why[0]) {
        sdt_cuda_prefer_own(bench->cuda, own);
        begin(bench, BIG_GEMM, 4. * heads * (double)tokens * tokens * e);
        while (race(bench))
            done(bench,
                 sdt_cuda_attention(bench->cuda, SDT_BF16, heads, tokens, e, q, tokens, tokens, k,
                                    v, scale, o, lse),
                 "attention");
        for (int r = 0; r < EDGE; r++) { /* the first row of the first head, the last of the last */
            size_t head = r ? (size_t)heads - 1 : 0, row = r ? (size_t)tokens - 1 : 0;
            size_t at = head * of_head + row * (size_t)e;
            host_values(bench, 1, spread, at, (size_t)e, hq);
            host_values(bench, 2, 1.f, head * of_head, of_head, hk);
            host_values(bench, 3, 1.f, head * of_head, of_head, hv);
            sdt_attention_reference(1, 1, e, hq, tokens, tokens, hk, hv, scale, want + r * e, NULL);
            fetch(bench, SDT_BF16, o, at, (size_t)e, got + r * e);
        }
        sdt_cuda_prefer_own(bench->cuda, false);
        snprintf(size, sizeof size, "%d tokens, %d heads x %d%s", tokens, heads, e, way(own));
        end(bench, "attention", size, error_of((size_t)(EDGE * e), got, want), 1e-2);
    }
    free(hk);
    free(hv);
    free(hq);
    free(got);
    free(want);
    finish_kernel(bench);
}

static void bench_cross(struct bench *bench, int rows, int heads, int e, int keys) {
    size_t d = (size_t)(heads * e), n = (size_t)rows * d, nk = (size_t)keys * d;
    void *q = numbers(bench, SDT_BF16, n, 1, 1.f), *k = numbers(bench, SDT_BF16, nk, 2, 1.f);
    void *v = numbers(bench, SDT_BF16, nk, 3, 1.f), *o = room(bench, n * 2);
    float *weight = numbers(bench, SDT_F32, d, 4, 1.f);
    void *scratch = room(bench, sdt_cuda_cross_attention_scratch(SDT_BF16, rows, heads, e));
    float *hq = host_room(bench, d), *hk = host_room(bench, nk), *hv = host_room(bench, nk);
    float *hw = host_room(bench, d), *got = host_room(bench, d), *want = host_room(bench, d);
    char size[64];
    if (!bench->why[0]) {
        size_t last = (size_t)(rows - 1) * d;
        begin(bench, BIG_GEMM, 4. * rows * keys * (double)d);
        while (race(bench))
            done(bench,
                 sdt_cuda_cross_attention(bench->cuda, SDT_BF16, rows, heads, e, q, weight, 1e-6f,
                                          keys, k, v, 2.f, o, scratch),
                 "cross attention");
        host_values(bench, 1, 1.f, last, d, hq);
        host_values(bench, 2, 1.f, 0, nk, hk);
        host_values(bench, 3, 1.f, 0, nk, hv);
        host_values(bench, 4, 1.f, 0, d, hw);
        sdt_cross_attention_reference(1, heads, e, hq, hw, 1e-6f, keys, hk, hv, 2.f, want);
        fetch(bench, SDT_BF16, o, last, d, got);
        snprintf(size, sizeof size, "%d rows, %d heads x %d, %d keys", rows, heads, e, keys);
        end(bench, "cross_attention", size, error_of(d, got, want), 1.2e-2);
    }
    free(hq);
    free(hk);
    free(hv);
    free(hw);
    free(got);
    free(want);
    finish_kernel(bench);
}

static void bench_text(struct bench *bench, int tokens, int heads, int e) {
    int width = heads * e;
    size_t n = (size_t)tokens * (size_t)width, ntable = (size_t)32 * (size_t)heads;
    void *q = numbers(bench, SDT_BF16, n, 1, .5f), *k = numbers(bench, SDT_BF16, n, 2, .5f);
    void *v = numbers(bench, SDT_BF16, n, 3, 1.f), *o = room(bench, n * 2);
    float *table = numbers(bench, SDT_F32, ntable, 4, 2.f);
    float *hq = host_room(bench, n), *hk = host_room(bench, n), *hv = host_room(bench, n);
    float *ht = host_room(bench, ntable), *got = host_room(bench, n), *want = host_room(bench, n);
    char size[64];
    if (!bench->why[0]) {
        begin(bench, BIG_GEMM, 4. * tokens * tokens * (double)width);
        while (race(bench))
            done(
                bench,
                sdt_cuda_text_attention(bench->cuda, SDT_BF16, tokens, heads, e, q, k, v, table, o),
                "text attention");
        host_values(bench, 1, .5f, 0, n, hq);
        host_values(bench, 2, .5f, 0, n, hk);
        host_values(bench, 3, 1.f, 0, n, hv);
        host_values(bench, 4, 2.f, 0, ntable, ht);
        sdt_text_attention_reference(tokens, width, 0, 1, e, hq, hk, hv, ht, heads, want);
        fetch(bench, SDT_BF16, o, 0, n, got);
        for (int t = 0; t < tokens; t++) { /* the first head of each row, dense */
            memmove(got + t * e, got + (size_t)t * (size_t)width, (size_t)e * sizeof *got);
            memmove(want + t * e, want + (size_t)t * (size_t)width, (size_t)e * sizeof *want);
        }
        snprintf(size, sizeof size, "%d tokens, %d heads x %d", tokens, heads, e);
        end(bench, "text_attention", size, error_of((size_t)(tokens * e), got, want), 1e-2);
    }
    free(hq);
    free(hk);
    free(hv);
    free(ht);
    free(got);
    free(want);
    finish_kernel(bench);
}

static void bench_frame(struct bench *bench, int pixels, int channels, bool own) {
    size_t n = (size_t)pixels * (size_t)channels, c = (size_t)channels;
    void *qkv = numbers(bench, SDT_BF16, 3 * n, 1, 1.f), *o = room(bench, n * 2);
    void *scratch = room(bench, sdt_cuda_frame_attention_scratch(SDT_BF16, pixels, channels));
    float *row = host_room(bench, 3 * c), *hk = host_room(bench, n), *hv = host_room(bench, n);
    float *got = host_room(bench, c), *want = host_room(bench, c);
    char size[64];
    if (!bench->why[0]) {
        sdt_cuda_prefer_own(bench->cuda, own);
        begin(bench, BIG_GEMM, 4. * (double)n * pixels);
        while (race(bench))
            done(bench,
                 sdt_cuda_frame_attention(bench->cuda, SDT_BF16, pixels, channels, qkv, o, scratch),
                 "frame attention");
        for (size_t p = 0; p < (size_t)pixels; p++) { /* ends with the last pixel's row */
            host_values(bench, 1, 1.f, p * 3 * c, 3 * c, row);
            memcpy(hk + p * c, row + c, c * sizeof *hk);
            memcpy(hv + p * c, row + 2 * c, c * sizeof *hv);
        }
        sdt_attention_reference(1, 1, channels, row, pixels, pixels, hk, hv,
                                1.f / sqrtf((float)channels), want, NULL);
        fetch(bench, SDT_BF16, o, n - c, c, got);
        sdt_cuda_prefer_own(bench->cuda, false);
        snprintf(size, sizeof size, "%d pixels, %d channels%s", pixels, channels, way(own));
        end(bench, "frame_attention", size, error_of(c, got, want), 1e-2);
    }
    free(row);
    free(hk);
    free(hv);
    free(got);
    free(want);
    finish_kernel(bench);
}

/* ---- convolutions ---------------------------------------------------------------------------- */

/* The check redoes the top left and bottom right corners. */
enum { CORNER = 4 };

static void bench_conv(struct bench *bench, struct sdt_conv conv, bool own) {
    int scale = conv.upsample ? 2 : 1, rows = conv.height * scale, cols = conv.width * scale;
    size_t in = (size_t)conv.in, out = (size_t)conv.out, pixels = (size_t)rows * (size_t)cols;
    size_t frame = (size_t)conv.height * (size_t)conv.width * in;
    size_t depth = (size_t)(conv.kt * conv.ks * conv.ks) * in, line = CORNER * out;
    const float wscale = 0.03125f;
    const void *x[3] = {NULL};
    void *w = numbers(bench, SDT_BF16, out * depth, 4, wscale), *y = room(bench, pixels * out * 2);
    float *bias = numbers(bench, SDT_F32, out, 5, 1.f);
    void *scratch = room(bench, sdt_cuda_conv_frame_scratch(SDT_BF16, &conv));
    float *hw = host_room(bench, out * depth), *hb = host_room(bench, out), *hx[3];
    float *got = host_room(bench, EDGE * line), *want = host_room(bench, EDGE * line);
    float *corner = host_room(bench, (size_t)(4 * (CORNER + 1) * (CORNER + 1)) * out);
    char size[64];
    /* A corner of the input with the pixels that its corner of the output sees. */
    int side = CORNER + 1, here = side < conv.height ? side : conv.height;
    int wide = side < conv.width ? side : conv.width;
    for (int t = 0; t < 3; t++) {
        hx[t] = host_room(bench, (size_t)(here * wide) * in);
        if (t < conv.kt)
            x[t] = numbers(bench, SDT_BF16, frame, (unsigned)t + 1, 1.f);
    }
    if (!bench->why[0]) {
        sdt_cuda_prefer_own(bench->cuda, own);
        begin(bench, BIG_GEMM, 2. * (double)pixels * (double)out * (double)depth);
        while (race(bench))
            done(bench,
                 sdt_cuda_conv_frame(bench->cuda, SDT_BF16, &conv, x, w, bias, NULL, y, scratch),
                 "convolution");
        host_values(bench, 4, wscale, 0, out * depth, hw);
        host_values(bench, 5, 1.f, 0, out, hb);
        for (int edge = 0; edge < EDGE; edge++) {
            struct sdt_conv part = conv;
            part.height = here;
            part.width = wide;
            int y0 = edge ? conv.height - here : 0, x0 = edge ? conv.width - wide : 0;
            for (int t = 0; t < conv.kt; t++)
                for (int r = 0; r < here; r++)
                    host_values(bench, (unsigned)t + 1, 1.f,
                                ((size_t)(y0 + r) * (size_t)conv.width + (size_t)x0) * in,
                                (size_t)wide * in, hx[t] + (size_t)(r * wide) * in);
            sdt_conv_frame_reference(&part, (const float *const *)hx, hw, hb, NULL, corner);
            /* The outermost line of the frame, away from the cut sides of the part. */
            size_t row = edge ? (size_t)rows - 1 : 0, col = edge ? (size_t)cols - CORNER : 0;
            size_t prow = edge ? (size_t)(here * scale) - 1 : 0;
            size_t pcol = edge ? (size_t)(wide * scale - CORNER) : 0;
            fetch(bench, SDT_BF16, y, (row * (size_t)cols + col) * out, line, got + edge * line);
            memcpy(want + edge * line, corner + (prow * (size_t)(wide * scale) + pcol) * out,
                   line * sizeof *want);
        }
        sdt_cuda_prefer_own(bench->cuda, false);
        snprintf(size, sizeof size, "%d -> %d, (%d,%d,%d), %d x %d%s%s", conv.in, conv.out, conv.kt,
                 conv.ks, conv.ks, rows, cols, conv.upsample ? " enlarged" : "", way(own));
        end(bench, "conv_frame", size, error_of(EDGE * line, got, want), 6e-3);
    }
    for (int t = 0; t < 3; t++)
        free(hx[t]);
    free(hw);
    free(hb);
    free(got);
    free(want);
    free(corner);
    finish_kernel(bench);
}

static void bench_time_upsample(struct bench *bench, int height, int width, int channels,
                                bool own) {
    size_t c = (size_t)channels, frame = (size_t)height * (size_t)width * c, nw = 6 * c * c;
    const float wscale = 0.03125f;
    const void *x[3];
    void *w = numbers(bench, SDT_BF16, nw, 4, wscale), *y[2];
    float *bias = numbers(bench, SDT_F32, 2 * c, 5, 1.f);
    void *scratch = room(bench, sdt_cuda_time_upsample_scratch(SDT_BF16, height, width, channels));
    float *hw = host_room(bench, nw), *hb = host_room(bench, 2 * c), *hx[3];
    float *got = host_room(bench, 2 * c), *want = host_room(bench, 2 * c);
    char size[64];
    for (int t = 0; t < 3; t++) {
        x[t] = numbers(bench, SDT_BF16, frame, (unsigned)t + 1, 1.f);
        hx[t] = host_room(bench, c);
    }
    for (int i = 0; i < 2; i++)
        y[i] = room(bench, frame * 2);
    if (!bench->why[0]) {
        sdt_cuda_prefer_own(bench->cuda, own);
        begin(bench, BIG_GEMM, 12. * (double)frame * channels);
        while (race(bench))
            done(bench,
                 sdt_cuda_time_upsample(bench->cuda, SDT_BF16, height, width, channels, x, w, bias,
                                        y[0], y[1], scratch),
                 "upsampling in time");
        host_values(bench, 4, wscale, 0, nw, hw);
        host_values(bench, 5, 1.f, 0, 2 * c, hb);
        for (int t = 0; t < 3; t++) /* a pixel sees only itself in the three frames */
            host_values(bench, (unsigned)t + 1, 1.f, frame - c, c, hx[t]);
        sdt_time_upsample_reference(1, 1, channels, (const float *const *)hx, hw, hb, want,
                                    want + c);
        for (int i = 0; i < 2; i++)
            fetch(bench, SDT_BF16, y[i], frame - c, c, got + (size_t)i * c);
        sdt_cuda_prefer_own(bench->cuda, false);
        snprintf(size, sizeof size, "%d channels, %d x %d%s", channels, height, width, way(own));
        end(bench, "time_upsample", size, error_of(2 * c, got, want), 6e-3);
    }
    for (int t = 0; t < 3; t++)
        free(hx[t]);
    free(hw);
    free(hb);
    free(got);
    free(want);
    finish_kernel(bench);
}

/* ---- what memory limits ---------------------------------------------------------------------- */

static void bench_norms(struct bench *bench, int rows, int d) {
    size_t width = (size_t)d, n = (size_t)rows * width, last = n - width;
    void *x = numbers(bench, SDT_BF16, n, 1, 1.f), *y = room(bench, n * 2);
    float *scale = numbers(bench, SDT_F32, width, 2, 1.f);
    float *shift = numbers(bench, SDT_F32, width, 3, 1.f);
    float *hx = host_room(bench, width), *ha = host_room(bench, width);
    float *hb = host_room(bench, width);
    float *got = host_room(bench, width), *want = host_room(bench, width);
    char size[64];
    if (!bench->why[0]) {
        snprintf(size, sizeof size, "%d rows of %d", rows, d);
        host_values(bench, 1, 1.f, last, width, hx);
        host_values(bench, 2, 1.f, 0, width, ha);
        host_values(bench, 3, 1.f, 0, width, hb);
    }
    if (asked(bench, "layer_norm")) {
        begin(bench, COPY, 4. * (double)n);
        while (race(bench))
            done(bench,
                 sdt_cuda_layer_norm(bench->cuda, SDT_BF16, rows, d, x, 1e-6f, NULL, NULL, scale,
                                     shift, shift, scale, y),
                 "layer norm");
        sdt_layer_norm_reference(1, d, hx, 1e-6f, NULL, NULL, ha, hb, hb, ha, want);
        fetch(bench, SDT_BF16, y, last, width, got);
        end(bench, "layer_norm", size, error_of(width, got, want), 3e-3);
    }
    if (asked(bench, "rms_norm")) {
        begin(bench, COPY, 4. * (double)n);
        while (race(bench))
            done(bench,
                 sdt_cuda_rms_norm(bench->cuda, SDT_BF16, rows, d, x, 1e-6f, scale, SDT_BF16, y),
                 "rms norm");
        sdt_rms_norm_reference(1, d, hx, 1e-6f, ha, want);
        fetch(bench, SDT_BF16, y, last, width, got);
        end(bench, "rms_norm", size, error_of(width, got, want), 3e-3);
    }
    free(hx);
    free(ha);
    free(hb);
    free(got);
    free(want);
    finish_kernel(bench);
}

static void bench_pixels(struct bench *bench, size_t pixels, int channels) {
    size_t c = (size_t)channels, n = pixels * c;
    void *x = numbers(bench, SDT_BF16, n, 1, 1.f), *y = room(bench, n * 2);
    float *gamma = numbers(bench, SDT_F32, c, 2, 1.f);
    float *hx = host_room(bench, c), *hg = host_room(bench, c), *got = host_room(bench, c);
    float *want = host_room(bench, c);
    char size[64];
    if (!bench->why[0]) {
        begin(bench, COPY, 4. * (double)n);
        while (race(bench))
            done(bench,
                 sdt_cuda_channel_norm(bench->cuda, SDT_BF16, pixels, channels, x, gamma, 1, y),
                 "channel norm");
        host_values(bench, 1, 1.f, n - c, c, hx);
        host_values(bench, 2, 1.f, 0, c, hg);
        sdt_channel_norm_reference(1, channels, hx, hg, 1, want);
        fetch(bench, SDT_BF16, y, n - c, c, got);
        snprintf(size, sizeof size, "%zu pixels, %d channels, silu", pixels, channels);
        end(bench, "channel_norm", size, error_of(c, got, want), 3e-3);
    }
    free(hx);
    free(hg);
    free(got);
    free(want);
    finish_kernel(bench);
}

static void bench_heads(struct bench *bench, int rows, int heads, int e) {
    struct sdt_rope rope = {{21, 45, 80}, {e / 2 - 2 * (e / 6), e / 6, e / 6}};
    size_t d = (size_t)(heads * e), n = (size_t)rows * d, table_size = sdt_rope_table_size(&rope);
    int head[] = {0, heads / 2, heads};
    size_t half = (size_t)(heads / 2) * (size_t)rows * (size_t)e;
    size_t last = (size_t)rows - 1, width = (size_t)e;
    void *x = numbers(bench, SDT_BF16, n, 1, 1.f);
    unsigned char *y = room(bench, n * 2);
    float *weight = numbers(bench, SDT_F32, d, 2, 1.f);
    float *table = room(bench, table_size * sizeof *table);
    float *ht = host_room(bench, table_size), *hx = host_room(bench, d), *hw = host_room(bench, d);
    float *got = host_room(bench, d), *want = host_room(bench, d);
    char size[64];
    if (!bench->why[0]) {
        void *piece[] = {y, y + half * 2};
        float *want_piece[] = {want, want + (size_t)(heads / 2) * width};
        sdt_rope_table(&rope, 10000., ht);
        fine(bench, cudaMemcpy(table, ht, table_size * sizeof *ht, cudaMemcpyHostToDevice), "copy");
        host_values(bench, 1, 1.f, last * d, d, hx);
        host_values(bench, 2, 1.f, 0, d, hw);
        snprintf(size, sizeof size, "%d rows, %d heads x %d", rows, heads, e);
        if (asked(bench, "split_heads")) {
            begin(bench, COPY, 4. * (double)n);
            while (race(bench))
                done(bench,
                     sdt_cuda_split_heads(bench->cuda, SDT_BF16, rows, rows, heads, e, x, weight,
                                          1e-6f, &rope, table, 999, 2, head, piece),
                     "split heads");
            sdt_split_heads_reference(1, 1, heads, e, hx, hw, 1e-6f, &rope, ht, 999 + (int64_t)last,
                                      2, head, want_piece);
            for (int h = 0; h < heads; h++) {
                size_t at = h < heads / 2 ? (size_t)h * (size_t)rows * width
                                          : half + (size_t)(h - heads / 2) * (size_t)rows * width;
                fetch(bench, SDT_BF16, y, at + last * width, width, got + (size_t)h * width);
            }
            end(bench, "split_heads", size, error_of(d, got, want), 3e-3);
        }
        if (asked(bench, "merge_heads")) {
            const unsigned char *from = x;
            const void *part[] = {from, from + half * 2};
            begin(bench, COPY, 4. * (double)n);
            while (race(bench))
                done(bench,
                     sdt_cuda_merge_heads(bench->cuda, SDT_BF16, rows, heads, e, 2, head, part, y),
                     "merge heads");
            for (int h = 0; h < heads; h++)
                host_values(bench, 1, 1.f, ((size_t)h * (size_t)rows + last) * width, width,
                            want + (size_t)h * width);
            fetch(bench, SDT_BF16, y, last * d, d, got);
            end(bench, "merge_heads", size, error_of(d, got, want), 0.);
        }
        if (asked(bench, "gather")) { /* two tiles of half the rows */
            size_t block = (size_t)(rows / 2) * width, of_tile = (size_t)heads * block;
            const unsigned char *from = x;
            const void *tile[] = {from, from + of_tile * 2};
            struct sdt_gather to = {.block = block, .stride = 2 * block};
            begin(bench, COPY, 8. * (double)of_tile);
            while (race(bench))
                done(bench, sdt_cuda_gather(bench->cuda, SDT_BF16, 2, heads, &to, tile, y),
                     "gather");
            host_values(bench, 1, 1.f, 2 * of_tile - width, width, want);
            fetch(bench, SDT_BF16, y, 2 * of_tile - width, width, got);
            end(bench, "gather", size, error_of(width, got, want), 0.);
        }
        if (asked(bench, "attention_merge")) {
            size_t rows_of_all = (size_t)heads * (size_t)rows;
            float *lse[2] = {numbers(bench, SDT_F32, rows_of_all, 3, 1.f),
                             numbers(bench, SDT_F32, rows_of_all, 4, 1.f)};
            float first[2];
            void *o = numbers(bench, SDT_BF16, n, 5, 1.f);
            host_values(bench, 3, 1.f, 0, 1, first);
            host_values(bench, 4, 1.f, 0, 1, first + 1);
            host_values(bench, 5, 1.f, 0, width, want);
            host_values(bench, 1, 1.f, 0, width, hx);
            if (!bench
                     ->why[0]) { /* o and its log-sum-exps change with each pass: check the first */
                done(bench,
                     sdt_cuda_attention_merge(bench->cuda, SDT_BF16, heads, rows, e, x, lse[1], o,
                                              lse[0]),
                     "attention merge");
                fetch(bench, SDT_BF16, o, 0, width, got);
                sdt_attention_merge_reference(1, 1, e, hx, first + 1, want, first);
                begin(bench, COPY, 6. * (double)n);
                while (race(bench))
                    done(bench,
                         sdt_cuda_attention_merge(bench->cuda, SDT_BF16, heads, rows, e, x, lse[1],
                                                  o, lse[0]),
                         "attention merge");
                end(bench, "attention_merge", size, error_of(width, got, want), 3e-3);
            }
        }
    }
    free(ht);
    free(hx);
    free(hw);
    free(got);
    free(want);
    finish_kernel(bench);
}

static void bench_elements(struct bench *bench, size_t n) {
    enum { CHECKED = 4096 };
    size_t last = n - CHECKED;
    void *a = numbers(bench, SDT_BF16, n, 1, 4.f), *b = numbers(bench, SDT_BF16, n, 2, 1.f);
    void *y = room(bench, n * sizeof(float));
    float *ha = host_room(bench, CHECKED), *hb = host_room(bench, CHECKED);
    float *got = host_room(bench, CHECKED), *want = host_room(bench, CHECKED);
    char size[64];
    if (!bench->why[0]) {
        snprintf(size, sizeof size, "%zu", n);
        host_values(bench, 1, 4.f, last, CHECKED, ha);
        host_values(bench, 2, 1.f, last, CHECKED, hb);
    }
    if (asked(bench, "silu")) {
        begin(bench, COPY, 4. * (double)n);
        while (race(bench))
            done(bench, sdt_cuda_silu(bench->cuda, SDT_BF16, n, a, y), "silu");
        sdt_silu_reference(CHECKED, ha, want);
        fetch(bench, SDT_BF16, y, last, CHECKED, got);
        end(bench, "silu", size, error_of(CHECKED, got, want), 3e-3);
    }
    if (asked(bench, "gated_gelu")) {
        begin(bench, COPY, 6. * (double)n);
        while (race(bench))
            done(bench, sdt_cuda_gated_gelu(bench->cuda, SDT_BF16, n, a, b, y), "gated gelu");
        sdt_gated_gelu_reference(CHECKED, ha, hb, want);
        fetch(bench, SDT_BF16, y, last, CHECKED, got);
        end(bench, "gated_gelu", size, error_of(CHECKED, got, want), 3e-3);
    }
    if (asked(bench, "convert")) {
        begin(bench, COPY, 6. * (double)n);
        while (race(bench))
            done(bench, sdt_cuda_convert(bench->cuda, n, SDT_BF16, a, SDT_F32, y), "convert");
        fetch(bench, SDT_F32, y, last, CHECKED, got);
        end(bench, "convert", size, error_of(CHECKED, got, ha), 0.);
    }
    if (asked(bench, "put_frame")) {
        begin(bench, COPY, 6. * (double)n);
        while (race(bench))
            done(bench, sdt_cuda_put_frame(bench->cuda, SDT_BF16, n, 1, a, y), "put frame");
        for (int i = 0; i < CHECKED; i++)
            want[i] = fminf(fmaxf(ha[i], -1.f), 1.f);
        fetch(bench, SDT_F32, y, last, CHECKED, got);
        end(bench, "put_frame", size, error_of(CHECKED, got, want), 0.);
    }
    free(ha);
    free(hb);
    free(got);
    free(want);
    finish_kernel(bench);
}

static void bench_sampler(struct bench *bench, size_t n) {
    enum { CHECKED = 4096 };
    const struct sdt_sampler_step step = {5.f, 0.7f, 1, .4f, -.3f, .2f, .9f, .8f, .6f, -.5f, 0.f};
    float *on[6], *next = room(bench, n * sizeof *next), *host[6];
    char size[64];
    for (int i = 0; i < 6; i++) { /* v_cond, v_uncond, x, x_last, m0, m1 */
        on[i] = numbers(bench, SDT_F32, n, (unsigned)i + 1, 1.f);
        host[i] = host_room(bench, CHECKED);
    }
    float *got = host_room(bench, CHECKED);
    if (!bench->why[0]) {
        done(bench,
             sdt_cuda_sampler_step(bench->cuda, &step, n, on[0], on[1], on[2], next, on[3], on[4],
                                   on[5]),
             "sampler step");
        fetch(bench, SDT_F32, next, n - CHECKED, CHECKED, got);
        for (int i = 0; i < 6; i++)
            host_values(bench, (unsigned)i + 1, 1.f, n - CHECKED, CHECKED, host[i]);
        sdt_sampler_step_reference(&step, CHECKED, host[0], host[1], host[2], host[3], host[4],
                                   host[5]);
        begin(bench, COPY, 40. * (double)n); /* six arrays read, four written */
        while (race(bench))
            done(bench,
                 sdt_cuda_sampler_step(bench->cuda, &step, n, on[0], on[1], on[2], next, on[3],
                                       on[4], on[5]),
                 "sampler step");
        snprintf(size, sizeof size, "%zu float32", n);
        end(bench, "sampler_step", size, error_of(CHECKED, got, host[2]), 1e-6);
    }
    for (int i = 0; i < 6; i++)
        free(host[i]);
    free(got);
    finish_kernel(bench);
}

static void bench_patchify(struct bench *bench, struct sdt_patch patch) {
    const int *s = patch.size;
    int tokens = patch.frames / s[0] * (patch.height / s[1]) * (patch.width / s[2]);
    size_t width = (size_t)(patch.channels * s[0] * s[1] * s[2]), m = (size_t)tokens * width;
    float *latent = numbers(bench, SDT_F32, m, 1, 1.f), *hl = host_room(bench, m);
    void *y = room(bench, m * 2);
    float *got = host_room(bench, width), *want = host_room(bench, width);
    char size[64];
    if (!bench->why[0]) {
        begin(bench, COPY, 6. * (double)m);
        while (race(bench))
            done(bench, sdt_cuda_patchify(bench->cuda, SDT_BF16, &patch, 0, tokens, latent, y),
                 "patchify");
        host_values(bench, 1, 1.f, 0, m, hl);
        sdt_patchify(&patch, tokens - 1, 1, hl, want);
        fetch(bench, SDT_BF16, y, m - width, width, got);
        snprintf(size, sizeof size, "%d tokens of %zu", tokens, width);
        end(bench, "patchify", size, error_of(width, got, want), 0.);
    }
    free(hl);
    free(got);
    free(want);
    finish_kernel(bench);
}

/* ---- all ------------------------------------------------------------------------------------- */

static void run_all(struct bench *bench, bool cudnn) {
    static const struct sdt_conv convs[] = {
        {16, 384, 3, 3, 60, 104, 0},   {384, 384, 3, 3, 60, 104, 0},  {384, 192, 1, 3, 60, 104, 1},
        {192, 192, 3, 3, 240, 416, 0}, {192, 384, 1, 1, 120, 208, 0}, {192, 96, 1, 3, 240, 416, 1},
        {96, 96, 3, 3, 480, 832, 0},   {96, 3, 3, 3, 480, 832, 0},
    };
    if (asked(bench, "linear")) {
        bench_linear(bench, "linear", 8192, 5120, 5120, SDT_EPILOGUE_NONE, false);
        bench_linear(bench, "linear", 8192, 13824, 5120, SDT_EPILOGUE_GELU_TANH, false);
        bench_linear(bench, "linear", 8192, 1536, 1536, SDT_EPILOGUE_NONE, false);
        bench_linear(bench, "linear", 8192, 8960, 1536, SDT_EPILOGUE_GELU_TANH, false);
        bench_linear(bench, "linear", 1000, 5120, 5120, SDT_EPILOGUE_NONE, false);
    }
    if (asked(bench, "linear_residual")) {
        bench_linear(bench, "linear_residual", 8192, 5120, 13824, SDT_EPILOGUE_NONE, true);
        bench_linear(bench, "linear_residual", 8192, 1536, 8960, SDT_EPILOGUE_NONE, true);
    }
    for (int own = !cudnn; own < 2; own++)
        if (asked(bench, "attention")) {
            bench_attention(bench, 24, 16384, 128, own);
            bench_attention(bench, 5, 32760, 128, own);
            bench_attention(bench, 24, 16384, 64, own);
        }
    if (asked(bench, "cross_attention")) {
        bench_cross(bench, 8192, 40, 128, 512);
        bench_cross(bench, 8192, 12, 128, 512);
    }
    if (asked(bench, "text_attention"))
        bench_text(bench, 512, 64, 64);
    for (int own = !cudnn; own < 2; own++)
        if (asked(bench, "frame_attention"))
            bench_frame(bench, 60 * 104, 384, own);
    for (int own = !cudnn; own < 2; own++)
        for (size_t i = 0; i < sizeof convs / sizeof *convs; i++)
            if (asked(bench, "conv_frame"))
                bench_conv(bench, convs[i], own);
    for (int own = !cudnn; own < 2; own++)
        if (asked(bench, "time_upsample"))
            bench_time_upsample(bench, 60, 104, 384, own);
    bench_norms(bench, 32768, 5120);
    bench_norms(bench, 32768, 1536);
    bench_heads(bench, 8192, 40, 128);
    bench_elements(bench, (size_t)1 << 27);
    if (asked(bench, "channel_norm")) {
        bench_pixels(bench, (size_t)480 * 832, 96);
        bench_pixels(bench, (size_t)4 * 480 * 832, 96);
    }
    if (asked(bench, "sampler_step")) {
        bench_sampler(bench, (size_t)16 * 21 * 60 * 104);
        bench_sampler(bench, (size_t)16 * 21 * 90 * 160 * 8);
    }
    if (asked(bench, "patchify"))
        bench_patchify(bench, (struct sdt_patch){16, 21, 90, 160, {1, 2, 2}});
}

/* What the yardsticks alone reach, for those who read the shares. */
static void print_yardsticks(struct bench *bench) {
    begin(bench, COPY, 4. * BIG * BIG);
    for (int i = 0; i < SLICES; i++)
        run_yardstick(bench);
    double copy = 1e-6 * yard_work(bench) / bench->yardstick;
    begin(bench, BIG_GEMM, 0.);
    for (int i = 0; i < SLICES; i++)
        run_yardstick(bench);
    if (!bench->why[0])
        printf("device copy %.0f GB/s, bfloat16 GEMM of %d^3 %.0f TFLOP/s\n", copy, BIG,
               1e-9 * yard_work(bench) / bench->yardstick);
}

static bool set_up(struct bench *bench) {
    struct cudaDeviceProp gpu;
    struct sdt_error err;
    struct sdt_gpus gpus;
    uint64_t state = 88172645463325252u;
    sdt__gpus_find(&gpus);
    if (gpus.count == 0)
        stop(bench, "no GPU to use", gpus.why);
    if (!fine(bench, cudaSetDevice(0), "GPU 0") ||
        !fine(bench, cudaGetDeviceProperties(&gpu, 0), "GPU 0") ||
        !fine(bench, cudaStreamCreate(&bench->stream), "stream") ||
        !fine(bench, cudaEventCreate(&bench->start), "event") ||
        !fine(bench, cudaEventCreate(&bench->end), "event"))
        return false;
    if (sdt_cuda_new(bench->stream, &bench->cuda, &err) != SDT_OK) {
        stop(bench, "GPU 0", err.message);
        return false;
    }
    if (cublasCreate(&bench->blas) != CUBLAS_STATUS_SUCCESS ||
        cublasSetStream(bench->blas, bench->stream) != CUBLAS_STATUS_SUCCESS) {
        stop(bench, "cuBLAS", "cannot be used");
        return false;
    }
    bench->block = host_room(bench, PERIOD);
    for (size_t i = 0; bench->block && i < PERIOD; i++) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bench->block[i] = of_bf16(bf16_of((float)(state >> 40) * 0x1p-23f - 1.f));
    }
    for (int i = 0; i < 3; i++)
        bench->yard[i] = numbers(bench, SDT_BF16, (size_t)BIG * BIG, (unsigned)i + 1, 1.f);
    bench->arrays = 0; /* the yardsticks stay */
    printf("%s, %d multiprocessors\n", gpu.name, gpu.multiProcessorCount);
    return !bench->why[0];
}

int app_bench_cuda(int names, char **name) {
    struct bench bench = {.names = names, .name = name};
    const char *why = NULL, *cudnn = NULL;
    int result = 0;
    bench.used = calloc((size_t)names + 1, sizeof *bench.used);
    if (!bench.used) {
        stop(&bench, "host", "no memory");
    } else if (set_up(&bench)) {
        cudnn = sdt_cuda_cudnn(bench.cuda, &why);
        printf("cuDNN %s%s\n", cudnn ? cudnn : "not used: ", cudnn ? "" : why);
        print_yardsticks(&bench);
        printf("%-16s %-40s %9s %9s %14s %17s\n", "kernel", "size", "error", "allowed", "time",
               "rate");
        run_all(&bench, cudnn != NULL);
    }
    if (bench.why[0])
        fprintf(stderr, "stardit-bench: %s\n", bench.why);
    if (bench.why[0] || bench.failed)
        result = 1;
    for (int i = 0; i < names && bench.used && !bench.why[0]; i++)
        if (!bench.used[i]) {
            fprintf(stderr, "stardit-bench: no CUDA kernel is called \"%s\"\n", name[i]);
            result = 2;
        }
    finish_kernel(&bench);
    for (int i = 0; i < 3; i++)
        cudaFree(bench.yard[i]);
    sdt_cuda_free(bench.cuda);
    if (bench.blas)
        cublasDestroy(bench.blas);
    if (bench.end)
        cudaEventDestroy(bench.end);
    if (bench.start)
        cudaEventDestroy(bench.start);
    if (bench.stream)
        cudaStreamDestroy(bench.stream);
    free(bench.block);
    free(bench.used);
    return result;
}
#endif

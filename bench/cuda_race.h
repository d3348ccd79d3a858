/* The race of a CUDA kernel against a yardstick, for the files of stardit-bench kernels --device
 * cuda: arrays of known numbers on the GPU, timing, and a line of results. The first failure stays
 * in `why`; what follows it does nothing. */
#ifndef STARDIT_BENCH_CUDA_RACE_H
#define STARDIT_BENCH_CUDA_RACE_H

#include <cublas_v2.h>
#include <cuda_runtime_api.h>
#include <stdbool.h>

#include "kernels/cuda/kernels.h"

/* Rows that are checked: the first and the last. */
enum { RACE_EDGE = 2 };

enum race_yardstick {
    RACE_COPY,      /* a device copy of as many bytes */
    RACE_SAME_GEMM, /* a plain cublasGemmEx of the same shape */
    RACE_BIG_GEMM   /* a bfloat16 product of 8192^3 */
};

enum { RACE_ARRAYS = 16 };

struct race {
    int names, *used; /* [names]: a kernel has that name */
    char **name;
    bool failed;   /* a kernel's error was above its limit */
    char why[700]; /* what ended the run; empty: nothing */
    struct sdt_cuda *cuda;
    char told[256]; /* the last reason of cuDNN's that was printed */
    cudaStream_t stream;
    cudaEvent_t start, end;
    cublasHandle_t blas;
    float *block;                              /* all numbers, rounded to bfloat16 */
    void *on[RACE_ARRAYS], *host[RACE_ARRAYS]; /* arrays of the kernel at hand */
    int ons, hosts;
    void *yard[3]; /* [8192, 8192] bfloat16 each */
    enum race_yardstick against;
    int rows, n, k;          /* of the same GEMM */
    const void *x, *w;       /* [rows, k], [n, k] */
    void *y;                 /* [rows, n] */
    double work;             /* of a call: bytes for RACE_COPY, FLOPs else */
    float best, yardstick;   /* milliseconds of one call */
    int slice, batch, calls; /* of the race */
};

/* On GPU 0. False: race->why. */
bool race_open(struct race *race);
void race_close(struct race *race);

void race_stop(struct race *race, const char *what, const char *why);
void race_check(struct race *race, enum sdt_status status, const char *what);
bool race_fine(struct race *race, cudaError_t error, const char *what);

/* Whether the kernel is one of those to run. */
bool race_asked(struct race *race, const char *name);

/* Arrays live until race_clear(); NULL stops the run. On the GPU: of `bytes`, uninitialised; of n
 * values of -scale..scale, scale a power of two, so that bfloat16 holds each product. On the host:
 * of n floats, uninitialised. */
void *race_room(struct race *race, size_t bytes);
void *race_numbers(struct race *race, enum sdt_dtype dtype, size_t n, unsigned seed, float scale);
float *race_host_room(struct race *race, size_t n);
void race_clear(struct race *race);

/* y = count elements, from `first` on, of the array that race_numbers() made. */
void race_host_values(const struct race *race, unsigned seed, float scale, size_t first,
                      size_t count, float *y);
/* y = count elements, from `first` on, of an array on the GPU, as float. */
void race_fetch(struct race *race, enum sdt_dtype dtype, const void *x, size_t first, size_t count,
                float *y);

/* race_begin(...); while (race_on(race)) call of the kernel; race_end(...). */
void race_begin(struct race *race, enum race_yardstick against, double work);
bool race_on(struct race *race);
void race_end(struct race *race, const char *name, const char *size, double error, double limit);
/* Relative L2 of got against want, [n] both. */
double race_error(size_t n, const float *got, const float *want);
/* ", cuDNN", ", own", ", cuBLASLt": the kernel that the last call of an attention or a convolution
 * was, which may be another than the one asked for; then a line says why, once for each reason. */
const char *race_way(struct race *race);
/* What the yardsticks alone reach, for those who read the shares. */
void race_print_yardsticks(struct race *race);

/* ---- the kernels: one line of results each --------------------------------------------------- */

/* Own: without cuDNN. */
void race_attention(struct race *race, int heads, int tokens, int e, bool own);
void race_cross_attention(struct race *race, int rows, int heads, int e, int keys);
void race_text_attention(struct race *race, int tokens, int heads, int e);
void race_frame_attention(struct race *race, int pixels, int channels);

/* y = x w^T + bias; residual: y += gate (x w^T + bias) */
void race_linear(struct race *race, int rows, int n, int k, enum sdt_epilogue epilogue,
                 bool residual);
void race_conv(struct race *race, struct sdt_conv conv, bool own);
void race_time_upsample(struct race *race, int height, int width, int channels, bool own);

/* These ask for each of their names. */
void race_norms(struct race *race, int rows, int d);
void race_heads(struct race *race, int rows, int heads, int e);
void race_elements(struct race *race, size_t n);
void race_channel_norm(struct race *race, size_t pixels, int channels);
void race_sampler(struct race *race, size_t n);
void race_patchify(struct race *race, struct sdt_patch patch);
#endif

/* Kernels that touch each number once: conversion, activations, the timestep embedding, and the
 * sampler. */
#include "kernels/cuda/launch.h"

template <enum sdt_dtype FROM, enum sdt_dtype TO, int PACK>
__global__ static void convert(size_t n, const void *x, void *y) {
    for (size_t i = flat_first(PACK); i < n; i += flat_stride(PACK))
        body_convert_pack(FROM, TO, PACK, i, n, x, y);
}

template <enum sdt_dtype FROM, enum sdt_dtype TO>
static void launch_convert(const struct sdt_cuda *cuda, size_t n, const void *x, void *y) {
    constexpr int pack = FROM == SDT_BF16 || TO == SDT_BF16 ? 8 : 4;
    bool wide = body_aligned(x) && body_aligned(y);
    auto kernel = wide ? convert<FROM, TO, pack> : convert<FROM, TO, 1>;
    kernel<<<flat_blocks(cuda, n, wide ? pack : 1), SDT_FLAT_THREADS, 0, cuda->stream>>>(n, x, y);
}

enum sdt_status sdt_cuda_convert(struct sdt_cuda *cuda, size_t n, enum sdt_dtype from,
                                 const void *x, enum sdt_dtype to, void *y) {
    if (n == 0)
        return SDT_OK;
    if (from == SDT_BF16 && to == SDT_BF16)
        launch_convert<SDT_BF16, SDT_BF16>(cuda, n, x, y);
    else if (from == SDT_BF16)
        launch_convert<SDT_BF16, SDT_F32>(cuda, n, x, y);
    else if (to == SDT_BF16)
        launch_convert<SDT_F32, SDT_BF16>(cuda, n, x, y);
    else
        launch_convert<SDT_F32, SDT_F32>(cuda, n, x, y);
    return sdt__cuda_launched(cuda, "convert");
}

template <enum sdt_dtype T, int PACK>
__global__ static void silu(size_t n, const void *x, void *y) {
    for (size_t i = flat_first(PACK); i < n; i += flat_stride(PACK))
        body_silu_pack(T, PACK, i, n, x, y);
}

enum sdt_status sdt_cuda_silu(struct sdt_cuda *cuda, enum sdt_dtype dtype, size_t n, const void *x,
                              void *y) {
    if (n == 0)
        return SDT_OK;
    bool wide = body_aligned(x) && body_aligned(y);
    auto kernel = SDT_PICK(silu, dtype, wide);
    int pack = body_pack(dtype, dtype, wide);
    kernel<<<flat_blocks(cuda, n, pack), SDT_FLAT_THREADS, 0, cuda->stream>>>(n, x, y);
    return sdt__cuda_launched(cuda, "silu");
}

template <enum sdt_dtype T, int PACK>
__global__ static void gated_gelu(size_t n, const void *a, const void *b, void *y) {
    for (size_t i = flat_first(PACK); i < n; i += flat_stride(PACK))
        body_gated_gelu_pack(T, PACK, i, n, a, b, y);
}

enum sdt_status sdt_cuda_gated_gelu(struct sdt_cuda *cuda, enum sdt_dtype dtype, size_t n,
                                    const void *a, const void *b, void *y) {
    if (n == 0)
        return SDT_OK;
    bool wide = body_aligned(a) && body_aligned(b) && body_aligned(y);
    auto kernel = SDT_PICK(gated_gelu, dtype, wide);
    int pack = body_pack(dtype, dtype, wide);
    kernel<<<flat_blocks(cuda, n, pack), SDT_FLAT_THREADS, 0, cuda->stream>>>(n, a, b, y);
    return sdt__cuda_launched(cuda, "gated gelu");
}

template <enum sdt_dtype T, int PACK>
__global__ static void gated_silu(size_t n, const void *a, const void *b, void *y) {
    for (size_t i = flat_first(PACK); i < n; i += flat_stride(PACK))
        body_gated_silu_pack(T, PACK, i, n, a, b, y);
}

enum sdt_status sdt_cuda_gated_silu(struct sdt_cuda *cuda, enum sdt_dtype dtype, size_t n,
                                    const void *a, const void *b, void *y) {
    if (n == 0)
        return SDT_OK;
    bool wide = body_aligned(a) && body_aligned(b) && body_aligned(y);
    auto kernel = SDT_PICK(gated_silu, dtype, wide);
    int pack = body_pack(dtype, dtype, wide);
    kernel<<<flat_blocks(cuda, n, pack), SDT_FLAT_THREADS, 0, cuda->stream>>>(n, a, b, y);
    return sdt__cuda_launched(cuda, "gated silu");
}

template <enum sdt_dtype T, int PACK>
__global__ static void quick_gelu(size_t n, const void *x, void *y) {
    for (size_t i = flat_first(PACK); i < n; i += flat_stride(PACK))
        body_quick_gelu_pack(T, PACK, i, n, x, y);
}

enum sdt_status sdt_cuda_quick_gelu(struct sdt_cuda *cuda, enum sdt_dtype dtype, size_t n,
                                    const void *x, void *y) {
    if (n == 0)
        return SDT_OK;
    bool wide = body_aligned(x) && body_aligned(y);
    auto kernel = SDT_PICK(quick_gelu, dtype, wide);
    int pack = body_pack(dtype, dtype, wide);
    kernel<<<flat_blocks(cuda, n, pack), SDT_FLAT_THREADS, 0, cuda->stream>>>(n, x, y);
    return sdt__cuda_launched(cuda, "quick gelu");
}

template <enum sdt_dtype T, int PACK>
__global__ static void gelu(size_t n, const void *x, void *y) {
    for (size_t i = flat_first(PACK); i < n; i += flat_stride(PACK))
        body_gelu_pack(T, PACK, i, n, x, y);
}

enum sdt_status sdt_cuda_gelu(struct sdt_cuda *cuda, enum sdt_dtype dtype, size_t n, const void *x,
                              void *y) {
    if (n == 0)
        return SDT_OK;
    bool wide = body_aligned(x) && body_aligned(y);
    auto kernel = SDT_PICK(gelu, dtype, wide);
    int pack = body_pack(dtype, dtype, wide);
    kernel<<<flat_blocks(cuda, n, pack), SDT_FLAT_THREADS, 0, cuda->stream>>>(n, x, y);
    return sdt__cuda_launched(cuda, "gelu");
}

template <enum sdt_dtype T, int PACK>
__global__ static void sum(size_t n, float sign, const void *x, void *y) {
    for (size_t i = flat_first(PACK); i < n; i += flat_stride(PACK))
        body_sum_pack(T, PACK, i, n, sign, x, y);
}

enum sdt_status sdt_cuda_sum(struct sdt_cuda *cuda, enum sdt_dtype dtype, size_t n, float sign,
                             const void *x, void *y) {
    if (n == 0)
        return SDT_OK;
    bool wide = body_aligned(x) && body_aligned(y);
    auto kernel = SDT_PICK(sum, dtype, wide);
    int pack = body_pack(dtype, dtype, wide);
    kernel<<<flat_blocks(cuda, n, pack), SDT_FLAT_THREADS, 0, cuda->stream>>>(n, sign, x, y);
    return sdt__cuda_launched(cuda, "sum");
}

__global__ static void mean_rows(int rows, int d, const float *x, float *y) {
    for (size_t i = flat_first(1); i < (size_t)d; i += flat_stride(1))
        body_mean_rows(rows, d, (int)i, x, y);
}

enum sdt_status sdt_cuda_mean_rows(struct sdt_cuda *cuda, int rows, int d, const float *x,
                                   float *y) {
    if (rows == 0 || d == 0)
        return SDT_OK;
    mean_rows<<<flat_blocks(cuda, d, 1), SDT_FLAT_THREADS, 0, cuda->stream>>>(rows, d, x, y);
    return sdt__cuda_launched(cuda, "mean of rows");
}

__global__ static void sinusoid(float t, int half, float *y) {
    for (size_t i = flat_first(1); i < (size_t)half; i += flat_stride(1))
        body_sinusoid(t, half, (int)i, y);
}

enum sdt_status sdt_cuda_sinusoid(struct sdt_cuda *cuda, float t, int dim, float *y) {
    int half = dim / 2;
    if (half == 0)
        return SDT_OK;
    sinusoid<<<flat_blocks(cuda, half, 1), SDT_FLAT_THREADS, 0, cuda->stream>>>(t, half, y);
    return sdt__cuda_launched(cuda, "sinusoid");
}

template <int PACK> __global__ static void sampler_step(const struct body_sampler a) {
    for (size_t i = flat_first(PACK); i < a.n; i += flat_stride(PACK))
        body_sampler_pack(&a, PACK, i);
}

enum sdt_status sdt_cuda_sampler_step(struct sdt_cuda *cuda, const struct sdt_sampler_step *step,
                                      size_t n, const float *v_cond, const float *v_uncond,
                                      const float *x, float *x_next, float *x_last, float *m0,
                                      float *m1) {
    if (n == 0)
        return SDT_OK;
    struct body_sampler a = {*step, n, v_cond, v_uncond, x, x_next, x_last, m0, m1};
    bool wide = body_aligned(v_cond) && body_aligned(v_uncond) && body_aligned(x) &&
                body_aligned(x_next) && body_aligned(x_last) && body_aligned(m0) &&
                body_aligned(m1);
    auto kernel = wide ? sampler_step<4> : sampler_step<1>;
    kernel<<<flat_blocks(cuda, n, wide ? 4 : 1), SDT_FLAT_THREADS, 0, cuda->stream>>>(a);
    return sdt__cuda_launched(cuda, "sampler step");
}

template <enum sdt_dtype T, int PACK>
__global__ static void check_finite(size_t n, const void *x, int *found) {
    for (size_t i = flat_first(PACK); i < n; i += flat_stride(PACK))
        if (body_not_finite_pack(T, PACK, i, n, x))
            *found = 1; /* whoever comes, it is the same number */
}

enum sdt_status sdt_cuda_check_finite(struct sdt_cuda *cuda, enum sdt_dtype dtype, size_t n,
                                      const void *x) {
    if (n == 0)
        return SDT_OK;
    bool wide = body_aligned(x);
    auto kernel = SDT_PICK(check_finite, dtype, wide);
    int pack = body_pack(dtype, dtype, wide);
    kernel<<<flat_blocks(cuda, n, pack), SDT_FLAT_THREADS, 0, cuda->stream>>>(n, x, cuda->found);
    return sdt__cuda_launched(cuda, "check_finite");
}

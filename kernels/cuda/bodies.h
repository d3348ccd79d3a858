/* Bodies of the kernels that go element by element; see kernels/cuda/kernels.h. Those that go
 * row by row are in kernels/cuda/rows.h.
 *
 * This file compiles as C11 and with nvcc. The .cu files loop over blocks and threads,
 * tests/kernels/cuda_bodies over the same numbers on the host, so that a wrong index, a
 * misaligned access or a read of what must not be read shows without a GPU.
 *
 * Numbers travel in packs: `pack` neighbouring elements, 8 where any array of the call is bf16
 * and 4 where all are float32, read and written 16 bytes at a time; or 1 where alignment or
 * length forbid that. dtype and pack are constants of each kernel, so every branch on them is
 * gone after inlining. */
#ifndef STARDIT_CUDA_BODIES_H
#define STARDIT_CUDA_BODIES_H

#include <assert.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "kernels/cuda/kernels.h"

#ifdef __CUDACC__
#define SDT_BODY static __host__ __device__ __forceinline__
#else
#define SDT_BODY static inline
#endif
#ifdef __CUDA_ARCH__
#define SDT_UNROLL _Pragma("unroll")
#else
#define SDT_UNROLL
#endif

/* The largest pack. */
#define SDT_PACK 8

/* ---- storage --------------------------------------------------------------------------------- */

SDT_BODY float body_float(uint32_t bits) {
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

SDT_BODY uint32_t body_bits(float f) {
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    return bits;
}

SDT_BODY float body_of_bf16(uint16_t x) { return body_float((uint32_t)x << 16); }

/* Round to nearest, ties to even. A NaN stays one: its highest mantissa bit is set, since the
 * others may all be cut off. */
SDT_BODY uint16_t body_to_bf16(float x) {
#ifdef __CUDA_ARCH__
    uint16_t y;
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(y) : "f"(x));
    return y;
#else
    uint32_t bits = body_bits(x);
    if ((bits & 0x7fffffffu) > 0x7f800000u)
        return (uint16_t)(bits >> 16 | 0x40u);
    return (uint16_t)((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
#endif
}

/* Two of them, the first in the lower half, as they lie in memory. */
SDT_BODY uint32_t body_two_bf16(float low, float high) {
#ifdef __CUDA_ARCH__
    uint32_t y;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(y) : "f"(high), "f"(low));
    return y;
#else
    return body_to_bf16(low) | (uint32_t)body_to_bf16(high) << 16;
#endif
}

struct body_wide {
    uint32_t word[4];
};

SDT_BODY struct body_wide body_wide_load(const void *x /* 16 bytes, aligned */) {
    struct body_wide wide;
#ifdef __CUDA_ARCH__
    uint4 all = *(const uint4 *)x;
    wide.word[0] = all.x;
    wide.word[1] = all.y;
    wide.word[2] = all.z;
    wide.word[3] = all.w;
#else
    assert((uintptr_t)x % 16 == 0);
    memcpy(&wide, x, sizeof wide);
#endif
    return wide;
}

SDT_BODY void body_wide_store(void *y /* 16 bytes, aligned, not shared memory */,
                              struct body_wide wide) {
#ifdef __CUDA_ARCH__
    /* An assignment may come out as four stores where the values come from branches. */
    __stwb((uint4 *)y, make_uint4(wide.word[0], wide.word[1], wide.word[2], wide.word[3]));
#else
    assert((uintptr_t)y % 16 == 0);
    memcpy(y, &wide, sizeof wide);
#endif
}

/* Bytes of an element: sdt_dtype_size() as a constant. */
SDT_BODY size_t body_size(enum sdt_dtype dtype) { return dtype == SDT_BF16 ? 2 : 4; }

/* v = x[i], .., x[i + pack - 1]; with pack > 1, x + i is aligned to 16 bytes. */
SDT_BODY void body_load(enum sdt_dtype dtype, int pack, const void *x, size_t i,
                        float *v /* [pack] */) {
    const uint16_t *half = (const uint16_t *)x + i;
    const float *single = (const float *)x + i;
    if (dtype == SDT_BF16 && pack == 8) {
        struct body_wide wide = body_wide_load(half);
        SDT_UNROLL
        for (int j = 0; j < 4; j++) {
            v[2 * j] = body_float(wide.word[j] << 16);
            v[2 * j + 1] = body_float(wide.word[j] & 0xffff0000u);
        }
    } else if (dtype == SDT_BF16) {
        SDT_UNROLL
        for (int j = 0; j < pack; j++)
            v[j] = body_of_bf16(half[j]);
    } else if (pack == 1) {
        v[0] = single[0];
    } else {
        SDT_UNROLL
        for (int j = 0; j < pack; j += 4) {
            struct body_wide wide = body_wide_load(single + j);
            SDT_UNROLL
            for (int k = 0; k < 4; k++)
                v[j + k] = body_float(wide.word[k]);
        }
    }
}

/* y[i], .., y[i + pack - 1] = v, rounded to the type of y. */
SDT_BODY void body_store(enum sdt_dtype dtype, int pack, void *y, size_t i,
                         const float *v /* [pack] */) {
    uint16_t *half = (uint16_t *)y + i;
    float *single = (float *)y + i;
    if (dtype == SDT_BF16 && pack == 8) {
        struct body_wide wide;
        SDT_UNROLL
        for (int j = 0; j < 4; j++)
            wide.word[j] = body_two_bf16(v[2 * j], v[2 * j + 1]);
        body_wide_store(half, wide);
    } else if (dtype == SDT_BF16) {
        SDT_UNROLL
        for (int j = 0; j < pack; j++)
            half[j] = body_to_bf16(v[j]);
    } else if (pack == 1) {
        single[0] = v[0];
    } else {
        SDT_UNROLL
        for (int j = 0; j < pack; j += 4) {
            struct body_wide wide;
            SDT_UNROLL
            for (int k = 0; k < 4; k++)
                wide.word[k] = body_bits(v[j + k]);
            body_wide_store(single + j, wide);
        }
    }
}

/* The same at the end of an array of n: what is missing of the last pack reads as 0 and is not
 * written. */
SDT_BODY void body_load_end(enum sdt_dtype dtype, int pack, const void *x, size_t i, size_t n,
                            float *v /* [pack] */) {
    if (i + pack <= n) {
        body_load(dtype, pack, x, i, v);
        return;
    }
    SDT_UNROLL
    for (int j = 0; j < pack; j++) {
        v[j] = 0.f;
        if (i + j < n)
            body_load(dtype, 1, x, i + j, v + j);
    }
}

SDT_BODY void body_store_end(enum sdt_dtype dtype, int pack, void *y, size_t i, size_t n,
                             const float *v /* [pack] */) {
    if (i + pack <= n) {
        body_store(dtype, pack, y, i, v);
        return;
    }
    SDT_UNROLL
    for (int j = 0; j < pack; j++)
        if (i + j < n)
            body_store(dtype, 1, y, i + j, v + j);
}

/* Moves a pack as it is; pack > 1 is 16 bytes. */
SDT_BODY void body_copy(enum sdt_dtype dtype, int pack, const void *x, size_t i, void *y,
                        size_t j) {
    if (pack > 1)
        body_wide_store((char *)y + j * body_size(dtype),
                        body_wide_load((const char *)x + i * body_size(dtype)));
    else if (dtype == SDT_BF16)
        ((uint16_t *)y)[j] = ((const uint16_t *)x)[i];
    else
        ((uint32_t *)y)[j] = ((const uint32_t *)x)[i];
}

/* Elements of a pack for arrays of these types when 16-byte accesses are possible (`wide`). */
SDT_BODY int body_pack(enum sdt_dtype a, enum sdt_dtype b, bool wide) {
    return !wide ? 1 : a == SDT_BF16 || b == SDT_BF16 ? 8 : 4;
}

SDT_BODY bool body_aligned(const void *x /* or NULL */) { return (uintptr_t)x % 16 == 0; }

/* ---- residual and merge: the ends of linear.cu and attention.cu ------------------------------ */

/* y += (gate_a + gate_b) (t + bias), where a NULL bias or gate counts 0, and two NULL gates 1. */
struct body_residual {
    int n;                        /* columns */
    const void *t;                /* [rows, n], of type t_dtype */
    const void *bias;             /* [n] or NULL, of type dtype */
    const float *gate_a, *gate_b; /* [n] or NULL */
    void *y;                      /* [rows, n] in place, of type dtype */
};

/* The pack that starts at column c of row r; with pack > 1, n is a multiple of it. */
SDT_BODY void body_residual_pack(const struct body_residual *a, enum sdt_dtype dtype,
                                 enum sdt_dtype t_dtype, int pack, size_t r, int c) {
    float t[SDT_PACK], y[SDT_PACK], bias[SDT_PACK], gate_a[SDT_PACK], gate_b[SDT_PACK];
    size_t i = r * a->n + c;
    body_load(t_dtype, pack, a->t, i, t);
    body_load(dtype, pack, a->y, i, y);
    if (a->bias)
        body_load(dtype, pack, a->bias, c, bias);
    if (a->gate_a)
        body_load(SDT_F32, pack, a->gate_a, c, gate_a);
    if (a->gate_b)
        body_load(SDT_F32, pack, a->gate_b, c, gate_b);
    SDT_UNROLL
    for (int j = 0; j < pack; j++) {
        float z = a->bias ? t[j] + bias[j] : t[j];
        float gate = a->gate_a ? gate_a[j] : a->gate_b ? 0.f : 1.f;
        if (a->gate_b)
            gate += gate_b[j];
        y[j] += gate * z;
    }
    body_store(dtype, pack, a->y, i, y);
}

/* Weights of two partial attentions by their log-sum-exps, and the log-sum-exp of both together.
 * One without keys (-infinity) weighs nothing; two of them merge to 0. */
SDT_BODY float body_merge_weights(float lse, float lse2, float *a, float *b) {
    float m = fmaxf(lse, lse2);
    if (m == -INFINITY) {
        *a = *b = 0.f;
        return m;
    }
    float x = expf(lse - m), y = expf(lse2 - m), sum = x + y;
    *a = x / sum;
    *b = y / sum;
    return m + logf(sum);
}

/* o = a o + b o2 on one pack */
/* Rows of a group of tokens, out of an array of all tokens or back into it. */
struct body_group {
    int run, count, group; /* sdt_token_groups */
    int64_t first;         /* token of the array's first row */
    int64_t member;        /* the first that is copied */
    int members;
    int e;         /* elements of a row */
    int64_t apart; /* elements between heads of the array */
    void *all;     /* [heads, .., e] */
    void *dense;   /* [heads, members, e] */
};

/* The pack at element i of a head's dense rows */
SDT_BODY void body_group_copy(const struct body_group *a, enum sdt_dtype dtype, int pack, int h,
                              size_t i, bool back) {
    int64_t m = a->member + (int64_t)(i / (size_t)a->e), column = (int64_t)(i % (size_t)a->e);
    int64_t token = (m / a->run * a->count + a->group) * a->run + m % a->run;
    size_t at = (size_t)(h * a->apart + (token - a->first) * a->e + column);
    size_t dense = (size_t)h * (size_t)a->members * (size_t)a->e + i;
    if (back)
        body_copy(dtype, pack, a->dense, dense, a->all, at);
    else
        body_copy(dtype, pack, a->all, at, a->dense, dense);
}

SDT_BODY void body_attention_merge(enum sdt_dtype dtype, int pack, float a, float b, const void *o2,
                                   void *o, size_t i) {
    float x[SDT_PACK], y[SDT_PACK];
    body_load(dtype, pack, o, i, x);
    body_load(dtype, pack, o2, i, y);
    SDT_UNROLL
    for (int j = 0; j < pack; j++)
        x[j] = a * x[j] + b * y[j];
    body_store(dtype, pack, o, i, x);
}

/* ---- element-wise ---------------------------------------------------------------------------- */

/* x / (1 + e^-u): silu(x) for u = x, and the tanh form of gelu for another u. */
SDT_BODY float body_sigmoid_of(float u, float x) {
#ifdef __CUDA_ARCH__
    return __fdividef(x, 1.f + expf(-u)); /* 2 ulp, and 0 where the divisor is huge */
#else
    return x / (1.f + expf(-u));
#endif
}

SDT_BODY float body_silu(float x) { return body_sigmoid_of(x, x); }

/* 0.5 (1 + tanh z) = 1 / (1 + e^-2z), z = sqrt(2/pi) (x + 0.044715 x^3) */
SDT_BODY float body_gelu_tanh(float x) {
    return body_sigmoid_of(1.5957691216057308f * (x + 0.044715f * x * x * x), x);
}

/* The packs that start at element i of n, i a multiple of pack. */
SDT_BODY void body_convert_pack(enum sdt_dtype from, enum sdt_dtype to, int pack, size_t i,
                                size_t n, const void *x, void *y) {
    float v[SDT_PACK];
    body_load_end(from, pack, x, i, n, v);
    body_store_end(to, pack, y, i, n, v);
}

SDT_BODY void body_silu_pack(enum sdt_dtype dtype, int pack, size_t i, size_t n, const void *x,
                             void *y) {
    float v[SDT_PACK];
    body_load_end(dtype, pack, x, i, n, v);
    SDT_UNROLL
    for (int j = 0; j < pack; j++)
        v[j] = body_silu(v[j]);
    body_store_end(dtype, pack, y, i, n, v);
}

SDT_BODY void body_gated_gelu_pack(enum sdt_dtype dtype, int pack, size_t i, size_t n,
                                   const void *a, const void *b, void *y) {
    float v[SDT_PACK], gate[SDT_PACK];
    body_load_end(dtype, pack, a, i, n, v);
    body_load_end(dtype, pack, b, i, n, gate);
    SDT_UNROLL
    for (int j = 0; j < pack; j++)
        v[j] = body_gelu_tanh(v[j]) * gate[j];
    body_store_end(dtype, pack, y, i, n, v);
}

SDT_BODY void body_gated_silu_pack(enum sdt_dtype dtype, int pack, size_t i, size_t n,
                                   const void *a, const void *b, void *y) {
    float v[SDT_PACK], gate[SDT_PACK];
    body_load_end(dtype, pack, a, i, n, v);
    body_load_end(dtype, pack, b, i, n, gate);
    SDT_UNROLL
    for (int j = 0; j < pack; j++)
        v[j] = body_silu(v[j]) * gate[j];
    body_store_end(dtype, pack, y, i, n, v);
}

SDT_BODY void body_quick_gelu_pack(enum sdt_dtype dtype, int pack, size_t i, size_t n,
                                   const void *x, void *y) {
    float v[SDT_PACK];
    body_load_end(dtype, pack, x, i, n, v);
    SDT_UNROLL
    for (int j = 0; j < pack; j++)
        v[j] = body_sigmoid_of(1.702f * v[j], v[j]);
    body_store_end(dtype, pack, y, i, n, v);
}

SDT_BODY void body_gelu_pack(enum sdt_dtype dtype, int pack, size_t i, size_t n, const void *x,
                             void *y) {
    float v[SDT_PACK];
    body_load_end(dtype, pack, x, i, n, v);
    SDT_UNROLL
    for (int j = 0; j < pack; j++)
        v[j] = 0.5f * v[j] * (1.0f + erff(0.70710678f * v[j]));
    body_store_end(dtype, pack, y, i, n, v);
}

SDT_BODY void body_sum_pack(enum sdt_dtype dtype, int pack, size_t i, size_t n, float sign,
                            const void *x, void *y) {
    float v[SDT_PACK], w[SDT_PACK];
    body_load_end(dtype, pack, x, i, n, v);
    body_load_end(dtype, pack, y, i, n, w);
    SDT_UNROLL
    for (int j = 0; j < pack; j++)
        v[j] += sign * w[j];
    body_store_end(dtype, pack, y, i, n, v);
}

/* Pair i of [rows, heads, e/2] in x [rows, heads, e]; table: [rows, 2, e/2]. */
SDT_BODY void body_rotate_halves(enum sdt_dtype dtype, size_t i, int heads, int e,
                                 const float *table, void *x) {
    size_t half = (size_t)e / 2, head = i / half, j = i - head * half, at = head * (size_t)e + j;
    const float *turn = table + head / (size_t)heads * (size_t)e + j;
    float a, b, cosine = turn[0], sine = turn[half];
    body_load(dtype, 1, x, at, &a);
    body_load(dtype, 1, x, at + half, &b);
    float first = a * cosine - b * sine, second = b * cosine + a * sine;
    body_store(dtype, 1, x, at, &first);
    body_store(dtype, 1, x, at + half, &second);
}

/* A NaN passes, as on CPUs. */
SDT_BODY float body_clamp(float x) {
    float low = x < -1.f ? -1.f : x;
    return low > 1.f ? 1.f : low;
}

SDT_BODY void body_put_frame_pack(enum sdt_dtype dtype, int pack, size_t i, size_t n, int clamp,
                                  const void *x, float *y) {
    float v[SDT_PACK];
    body_load_end(dtype, pack, x, i, n, v);
    SDT_UNROLL
    for (int j = 0; j < pack; j++)
        v[j] = clamp ? body_clamp(v[j]) : v[j];
    body_store_end(SDT_F32, pack, y, i, n, v);
}

/* Frequency i < half. In double where the models' own roundings to float are not: see the CPU
 * kernel. */
SDT_BODY void body_sinusoid(float t, int half, int i, float *y /* [2 half] */) {
    float frequency = (float)exp(-log(10000.) * i / half);
    float angle = t * frequency;
    y[i] = (float)cos((double)angle);
    y[half + i] = (float)sin((double)angle);
}

/* Column i of the mean. */
SDT_BODY void body_mean_rows(int rows, int d, int i, const float *x /* [rows, d] */,
                             float *y /* [d] */) {
    float sum = 0.f;
    for (int r = 0; r < rows; r++)
        sum += x[(size_t)r * d + i];
    y[i] = sum / (float)rows;
}

/* Is one of pack numbers from i on NaN or infinite? The exponent has all its bits then. */
SDT_BODY bool body_not_finite_pack(enum sdt_dtype dtype, int pack, size_t i, size_t n,
                                   const void *x /* [n] */) {
    float v[SDT_PACK];
    bool bad = false;
    body_load_end(dtype, pack, x, i, n, v);
    SDT_UNROLL
    for (int j = 0; j < pack; j++)
        bad |= i + (size_t)j < n && !(fabsf(v[j]) <= 3.402823466e38f);
    return bad;
}

struct body_sampler {
    struct sdt_sampler_step step;
    size_t n;
    const float *v_cond, *v_uncond; /* [n]; v_uncond may be NULL */
    const float *x;                 /* [n] */
    float *x_next;                  /* [n], may be x */
    float *x_last, *m0, *m1;        /* [n] */
};

/* sum += c a[i..], where a is not read if c is 0: before the solver has a history it holds
 * nothing. */
SDT_BODY void body_add_term(int pack, size_t i, size_t n, float c, const float *a,
                            float *sum /* [pack] */) {
    if (c == 0.f)
        return;
    float v[SDT_PACK];
    body_load_end(SDT_F32, pack, a, i, n, v);
    SDT_UNROLL
    for (int j = 0; j < pack; j++)
        sum[j] += c * v[j];
}

SDT_BODY void body_sampler_pack(const struct body_sampler *a, int pack, size_t i) {
    const struct sdt_sampler_step *step = &a->step;
    float v[SDT_PACK], u[SDT_PACK], z[SDT_PACK], x0[SDT_PACK];
    body_load_end(SDT_F32, pack, a->v_cond, i, a->n, v);
    body_load_end(SDT_F32, pack, a->x, i, a->n, z);
    if (a->v_uncond) {
        body_load_end(SDT_F32, pack, a->v_uncond, i, a->n, u);
        SDT_UNROLL
        for (int j = 0; j < pack; j++)
            v[j] = u[j] + step->guidance * (v[j] - u[j]);
    }
    SDT_UNROLL
    for (int j = 0; j < pack; j++)
        x0[j] = z[j] - step->sigma * v[j];
    if (step->correct) {
        SDT_UNROLL
        for (int j = 0; j < pack; j++)
            z[j] = 0.f;
        body_add_term(pack, i, a->n, step->c_last, a->x_last, z);
        body_add_term(pack, i, a->n, step->c_m0, a->m0, z);
        body_add_term(pack, i, a->n, step->c_m1, a->m1, z);
        if (step->c_x0 != 0.f) {
            SDT_UNROLL
            for (int j = 0; j < pack; j++)
                z[j] += step->c_x0 * x0[j];
        }
    }
    body_store_end(SDT_F32, pack, a->x_last, i, a->n, z);
    SDT_UNROLL
    for (int j = 0; j < pack; j++) {
        z[j] *= step->p_x;
        if (step->p_x0 != 0.f)
            z[j] += step->p_x0 * x0[j];
    }
    body_add_term(pack, i, a->n, step->p_m0, a->m0, z);
    if (step->p_v != 0.f) {
        SDT_UNROLL
        for (int j = 0; j < pack; j++)
            z[j] += step->p_v * v[j];
    }
    body_store_end(SDT_F32, pack, a->x_next, i, a->n, z);
    body_load_end(SDT_F32, pack, a->m0, i, a->n, z); /* moved, whatever it holds */
    body_store_end(SDT_F32, pack, a->m1, i, a->n, z);
    body_store_end(SDT_F32, pack, a->m0, i, a->n, x0);
}

/* ---- latents and video; lines of elements ---------------------------------------------------- */

struct body_patch {
    struct sdt_patch patch;
    int64_t first;   /* token of row 0 */
    int64_t tokens;  /* of the latent */
    int rows, width; /* C*pt*ph*pw */
};

SDT_BODY struct body_patch body_patch_of(const struct sdt_patch *patch, int64_t first, int rows) {
    const int *size = patch->size;
    struct body_patch a = {*patch, first, 0, rows, 0};
    a.tokens =
        (int64_t)(patch->frames / size[0]) * (patch->height / size[1]) * (patch->width / size[2]);
    a.width = patch->channels * size[0] * size[1] * size[2];
    return a;
}

/* Where number i of row r's vector lies in the latent. */
SDT_BODY size_t body_patch_place(const struct body_patch *a, int r, int i) {
    const struct sdt_patch *patch = &a->patch;
    int pt = patch->size[0], ph = patch->size[1], pw = patch->size[2];
    uint32_t token = (uint32_t)(a->first + r);
    uint32_t across = (uint32_t)(patch->width / pw), down = (uint32_t)(patch->height / ph);
    uint32_t line = token / across, frame = line / down;
    size_t x = (size_t)(token - line * across) * pw + i % pw;
    size_t y = (size_t)(line - frame * down) * ph + i / pw % ph;
    size_t t = (size_t)frame * pt + i / pw / ph % pt;
    size_t c = i / pw / ph / pt;
    return ((c * patch->frames + t) * patch->height + y) * patch->width + x;
}

SDT_BODY void body_patchify(const struct body_patch *a, enum sdt_dtype dtype, int r, int i,
                            const float *latent, void *y) {
    float v = 0.f;
    if (a->first + r < a->tokens)
        v = latent[body_patch_place(a, r, i)];
    body_store(dtype, 1, y, (size_t)r * a->width + i, &v);
}

SDT_BODY void body_unpatchify(const struct body_patch *a, int r, int i, const float *x,
                              float *latent) {
    if (a->first + r < a->tokens)
        latent[body_patch_place(a, r, i)] = x[(size_t)r * a->width + i];
}

/* y [rows, C, patch] at element i of row r */
SDT_BODY void body_patch_order(enum sdt_dtype dtype, int channels, int patch, int r, int i,
                               const void *x /* [rows, patch, C] */, float *y) {
    size_t start = (size_t)r * channels * patch;
    int c = i / patch, p = i - c * patch;
    body_load(dtype, 1, x, start + (size_t)p * channels + c, y + start + i);
}

/* The pack at element i of (rows + 1) d */
SDT_BODY void body_pad_row_pack(enum sdt_dtype dtype, int pack, size_t i, size_t rows, size_t d,
                                const float *x /* [rows, d] */, void *y /* [rows + 1, d] */) {
    float v[SDT_PACK];
    body_load_end(SDT_F32, pack, x, i, rows * d, v);
    body_store_end(dtype, pack, y, i, (rows + 1) * d, v);
}

/* Frames behind each other, each enlarged and with its border repeated around it if asked, zeros
 * for the NULL ones: what cuDNN convolves. */
struct body_clip {
    const void *x[3]; /* [frames] -> [height, width, channels], or NULL */
    int frames, height, width, channels;
    int enlarged; /* 1: x2 */
    int border;   /* pixels around the frame: 0 or 1 */
    int rows, cols;
};

SDT_BODY struct body_clip body_clip_of(const struct sdt_conv *conv, const void *const *x) {
    struct body_clip a;
    for (int t = 0; t < 3; t++) /* no dynamic index in a kernel's arguments */
        a.x[t] = t < conv->kt ? x[t] : NULL;
    a.frames = conv->kt;
    a.height = conv->height;
    a.width = conv->width;
    a.channels = conv->in;
    a.enlarged = conv->upsample ? 1 : 0;
    a.border = conv->replicate ? conv->ks / 2 : 0;
    a.rows = (conv->height << a.enlarged) + 2 * a.border;
    a.cols = (conv->width << a.enlarged) + 2 * a.border;
    return a;
}

SDT_BODY size_t body_clip_elements(const struct body_clip *a) {
    return (size_t)a->frames * (size_t)a->rows * (size_t)a->cols * (size_t)a->channels;
}

/* Elements i.. of a line, a row of pixels: i < cols * channels. Packs divide the channels. No
 * division where pixels stand as in the frame, and one of 32 bits where they do not. */
SDT_BODY void body_clip_pack(const struct body_clip *a, enum sdt_dtype dtype, int pack, int frame,
                             int row, int i, void *y /* [frames, rows, cols, channels] */) {
    const void *x = frame == 0 ? a->x[0] : frame == 1 ? a->x[1] : a->x[2];
    const size_t size = body_size(dtype);
    int from = i, line = row - a->border;
    if (a->enlarged || a->border) {
        int place = i / a->channels, col = place - a->border, last = a->cols - 2 * a->border - 1;
        col = col < 0 ? 0 : col < last ? col : last;
        from = i + ((col >> a->enlarged) - place) * a->channels;
        last = a->rows - 2 * a->border - 1;
        line = line < 0 ? 0 : line < last ? line : last;
    }
    size_t source = (size_t)(line >> a->enlarged) * (size_t)(a->width * a->channels) + (size_t)from;
    size_t target =
        ((size_t)frame * (size_t)a->rows + (size_t)row) * (size_t)(a->cols * a->channels) +
        (size_t)i;
    if (pack * size == sizeof(struct body_wide)) {
        struct body_wide wide = {{0, 0, 0, 0}};
        if (x)
            wide = body_wide_load((const char *)x + source * size);
        body_wide_store((char *)y + target * size, wide);
    } else {
        float v[SDT_PACK] = {0.f};
        if (x)
            body_load(dtype, pack, x, source, v);
        body_store(dtype, pack, y, target, v);
    }
}

/* The most channels whose scales travel in a kernel's arguments. */
#define SDT_CUDA_WINDOW_CHANNELS 64
struct body_window {
    struct sdt_window window;
    const float *latent; /* [C, frames, height, width] */
    void *y;             /* [nframes, rows, cols, C] */
    float std[SDT_CUDA_WINDOW_CHANNELS], mean[SDT_CUDA_WINDOW_CHANNELS];
};

SDT_BODY void body_window_of(struct body_window *a, const struct sdt_window *window,
                             const float *latent, const float *std, const float *mean, void *y) {
    a->window = *window;
    a->latent = latent;
    a->y = y;
    for (int c = 0; c < SDT_CUDA_WINDOW_CHANNELS; c++) {
        a->std[c] = std && c < window->channels ? std[c] : 1.f;
        a->mean[c] = mean && c < window->channels ? mean[c] : 0.f;
    }
}

/* Element i of line r, a row of a frame: [nframes * rows, cols * C] */
SDT_BODY void body_latent_window(const struct body_window *a, enum sdt_dtype dtype, int r, int i) {
    const struct sdt_window *w = &a->window;
    int x = i / w->channels, c = i - x * w->channels;
    int t = r / w->rows, row = r - t * w->rows;
    size_t line = ((size_t)c * w->frames + w->frame0 + t) * w->height + w->y0 + row;
    float v = a->latent[line * w->width + w->x0 + x] * a->std[c] + a->mean[c];
    body_store(dtype, 1, a->y, (size_t)r * w->cols * w->channels + i, &v);
}

/* b = a (1 - k/extent) + b (k/extent) */
SDT_BODY float body_blend(int k, int extent, float a, float b) {
    float weight = (float)k / (float)extent;
    return a * (1.f - weight) + b * weight;
}

/* Element i of line r: [frames * extent, width * 3] */
SDT_BODY void body_blend_rows(int width, int extent, int a_rows, const float *a, int b_rows,
                              float *b, int r, int i) {
    size_t line = (size_t)width * 3;
    int f = r / extent, k = r - f * extent;
    float *place = b + ((size_t)f * b_rows + k) * line + i;
    *place =
        body_blend(k, extent, a[((size_t)f * a_rows + a_rows - extent + k) * line + i], *place);
}

/* Element i of line r: [frames * rows, extent * 3] */
SDT_BODY void body_blend_columns(int extent, int a_width, const float *a, int b_width, float *b,
                                 int r, int i) {
    float *place = b + (size_t)r * b_width * 3 + i;
    *place = body_blend(i / 3, extent, a[((size_t)r * a_width + a_width - extent) * 3 + i], *place);
}

struct body_tile {
    int tile_rows, tile_cols;  /* of the tile */
    int rows, cols;            /* that are taken */
    int y0, x0, height, width; /* their place, and the video's size */
    int clamp;                 /* to -1..1? */
    const float *tile;         /* [frames, tile_rows, tile_cols, 3] */
    float *video;              /* [frames, height, width, 3] */
};

/* Element i of line r: [frames * rows, cols * 3] */
SDT_BODY void body_place_tile(const struct body_tile *a, int r, int i) {
    int f = r / a->rows, row = r - f * a->rows;
    size_t from = ((size_t)f * a->tile_rows + row) * a->tile_cols * 3;
    size_t to = (((size_t)f * a->height + a->y0 + row) * a->width + a->x0) * 3;
    float value = a->tile[from + i];
    a->video[to + i] = a->clamp ? body_clamp(value) : value;
}
#endif

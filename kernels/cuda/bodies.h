/* Bodies of the kernels that go element by element or row by row; see kernels/cuda/kernels.h.
 *
 * This file compiles as C11 and with nvcc. The .cu files loop over blocks and threads, tests/kernels/cuda_bodies
 * over the same numbers on the host, so that a wrong index, a misaligned access or a read of what must
 * not be read shows without a GPU.
 *
 * Numbers travel in packs: `pack` neighbouring elements, 8 where any array of the call is bf16 and 4 where all
 * are float32, read and written 16 bytes at a time; or 1 where alignment or length forbid that. dtype and
 * pack are constants of each kernel, so every branch on them is gone after inlining.
 *
 * Kernels over rows give each row `lanes` lanes. A lane takes packs lane, lane + lanes, ... of its row,
 * keeps them in registers, and hands out partial sums, which the caller adds up over the lanes; then
 * every lane finishes its packs. A lane writes only what it alone has read: y may be x. */
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

/* The largest pack, and how many packs of its row a lane keeps in registers. */
#define SDT_PACK 8
#define SDT_KEEP 4

/* ---- storage ---------------------------------------------------------------------------------- */

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

/* Round to nearest, ties to even. A NaN stays one: its highest mantissa bit is set, since the others may
 * all be cut off. */
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

SDT_BODY void body_wide_store(void *y /* 16 bytes, aligned */, struct body_wide wide) {
#ifdef __CUDA_ARCH__
    *(uint4 *)y = make_uint4(wide.word[0], wide.word[1], wide.word[2], wide.word[3]);
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

/* The same at the end of an array of n: what is missing of the last pack reads as 0 and is not written. */
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

/* ---- residual and merge: the ends of linear.cu and attention.cu -------------------------------- */

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

/* Weights of two partial attentions by their log-sum-exps, and the log-sum-exp of both together. One without
 * keys (-infinity) weighs nothing; two of them merge to 0. */
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

#endif

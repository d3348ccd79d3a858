/* Bodies of the kernels that go element by element or row by row; see kernels/cuda/kernels.h.
 *
 * This file compiles as C11 and with nvcc. The .cu files loop over blocks and threads,
 * tests/kernels/cuda_bodies over the same numbers on the host, so that a wrong index, a misaligned
 * access or a read of what must not be read shows without a GPU.
 *
 * Numbers travel in packs: `pack` neighbouring elements, 8 where any array of the call is bf16 and
 * 4 where all are float32, read and written 16 bytes at a time; or 1 where alignment or length
 * forbid that. dtype and pack are constants of each kernel, so every branch on them is gone after
 * inlining.
 *
 * Kernels over rows give each row `lanes` lanes. A lane takes packs lane, lane + lanes, ... of its
 * row, keeps them in registers, and hands out partial sums, which the caller adds up over the
 * lanes; then every lane finishes its packs. A lane writes only what it alone has read: y may be
 * x. */
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
/* The most lanes of a row: few enough that a lane finds registers for all it keeps. */
#define SDT_LANES 512

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

/* ---- rows ------------------------------------------------------------------------------------ */

/* Lanes of a row of d: a power of two within a warp, or whole warps. */
SDT_BODY int body_row_lanes(int d, int pack) {
    int packs = (d + pack - 1) / pack, lanes = 1;
    int need = (packs + SDT_KEEP - 1) / SDT_KEEP;
    if (need > 32)
        return need > SDT_LANES ? SDT_LANES : (need + 31) / 32 * 32;
    while (lanes < need)
        lanes *= 2;
    return lanes;
}

/* Whether the lanes can keep all of a row; longer rows are read anew for each pass. */
SDT_BODY bool body_row_kept(int d, int pack) { return d <= SDT_LANES * SDT_KEEP * pack; }

/* How rows are spread over blocks of threads: several rows a block, or one. */
struct body_shape {
    int pack, lanes;
    bool kept;
    unsigned threads, blocks;
};

/* wide: all pointers are aligned to 16 bytes, and packs do not cross the ends of rows. */
static inline struct body_shape body_shape_rows(size_t rows, int d, int pack, bool wide) {
    struct body_shape shape;
    shape.pack = wide && body_row_kept(d, pack) ? pack : 1;
    shape.kept = body_row_kept(d, shape.pack);
    shape.lanes = body_row_lanes(d, shape.pack);
    shape.threads = shape.lanes <= 32 ? 256u : (unsigned)shape.lanes;
    size_t at_once = shape.threads / (unsigned)shape.lanes;
    shape.blocks = (unsigned)((rows + at_once - 1) / at_once);
    return shape;
}

/* One lane of one row. */
struct body_row {
    enum sdt_dtype dtype;
    int pack;
    bool kept;
    int lane, lanes, d; /* d: 0 for a row that is not there; a multiple of pack */
    const void *x;      /* [.., d] */
    size_t start;       /* of the row in x */
    float *keep; /* [SDT_KEEP * SDT_PACK], the lane's own; apart, or it would not be in registers */
};

SDT_BODY int body_row_steps(const struct body_row *row) {
    int stride = row->lanes * row->pack;
    return row->kept ? SDT_KEEP : (row->d + stride - 1) / stride;
}

/* The first element of pack `step` of the lane; at or beyond d: none. */
SDT_BODY int body_row_element(const struct body_row *row, int step) {
    return (row->lane + step * row->lanes) * row->pack;
}

SDT_BODY void body_row_begin(struct body_row *row, enum sdt_dtype dtype, int pack, bool kept,
                             int lane, int lanes, int d, const void *x, size_t start, float *keep) {
    row->dtype = dtype;
    row->pack = pack;
    row->kept = kept;
    row->lane = lane;
    row->lanes = lanes;
    row->d = d;
    row->x = x;
    row->start = start;
    row->keep = keep;
    if (kept) {
        SDT_UNROLL
        for (int step = 0; step < SDT_KEEP; step++) {
            int i = body_row_element(row, step);
            if (i < d)
                body_load(dtype, pack, x, start + i, keep + step * pack);
        }
    }
}

SDT_BODY void body_row_pack(const struct body_row *row, int step, float *v /* [pack] */) {
    if (!row->kept) {
        body_load(row->dtype, row->pack, row->x, row->start + body_row_element(row, step), v);
        return;
    }
    SDT_UNROLL
    for (int j = 0; j < row->pack; j++)
        v[j] = row->keep[step * row->pack + j];
}

/* The lane's part of the sum of x */
SDT_BODY float body_row_sum(const struct body_row *row) {
    float v[SDT_PACK], sum = 0.f;
    SDT_UNROLL
    for (int step = 0; step < body_row_steps(row); step++)
        if (body_row_element(row, step) < row->d) {
            body_row_pack(row, step, v);
            SDT_UNROLL
            for (int j = 0; j < row->pack; j++)
                sum += v[j];
        }
    return sum;
}

/* ... of (x - shift)^2 */
SDT_BODY float body_row_squares(const struct body_row *row, float shift) {
    float v[SDT_PACK], sum = 0.f;
    SDT_UNROLL
    for (int step = 0; step < body_row_steps(row); step++)
        if (body_row_element(row, step) < row->d) {
            body_row_pack(row, step, v);
            SDT_UNROLL
            for (int j = 0; j < row->pack; j++)
                sum += (v[j] - shift) * (v[j] - shift);
        }
    return sum;
}

/* What the squares of a row of d come to: 1 / sqrt(mean + eps) */
SDT_BODY float body_inverse(float squares, int d, float eps) {
    return 1.f / sqrtf(squares / (float)d + eps);
}

struct body_layer_norm {
    int rows, d;
    const void *x; /* [rows, d] */
    float eps;
    const float *weight, *bias;                         /* [d] or both NULL */
    const float *scale_a, *scale_b, *shift_a, *shift_b; /* [d] or NULL */
    void *y;                                            /* [rows, d], may be x */
};

/* v += p[i..] unless p is NULL */
SDT_BODY void body_add_vector(int pack, const float *p, int i, float *v /* [pack] */) {
    if (!p)
        return;
    float w[SDT_PACK];
    body_load(SDT_F32, pack, p, i, w);
    SDT_UNROLL
    for (int j = 0; j < pack; j++)
        v[j] += w[j];
}

SDT_BODY void body_layer_norm_end(const struct body_layer_norm *a, const struct body_row *row,
                                  float mean, float inverse) {
    float v[SDT_PACK], scale[SDT_PACK], shift[SDT_PACK];
    int pack = row->pack;
    SDT_UNROLL
    for (int step = 0; step < body_row_steps(row); step++) {
        int i = body_row_element(row, step);
        if (i < row->d) {
            body_row_pack(row, step, v);
            SDT_UNROLL
            for (int j = 0; j < pack; j++)
                v[j] = (v[j] - mean) * inverse;
            if (a->weight) {
                body_load(SDT_F32, pack, a->weight, i, scale);
                body_load(SDT_F32, pack, a->bias, i, shift);
                SDT_UNROLL
                for (int j = 0; j < pack; j++)
                    v[j] = v[j] * scale[j] + shift[j];
            }
            SDT_UNROLL
            for (int j = 0; j < pack; j++) {
                scale[j] = 1.f;
                shift[j] = 0.f;
            }
            body_add_vector(pack, a->scale_a, i, scale);
            body_add_vector(pack, a->scale_b, i, scale);
            body_add_vector(pack, a->shift_a, i, shift);
            body_add_vector(pack, a->shift_b, i, shift);
            SDT_UNROLL
            for (int j = 0; j < pack; j++)
                v[j] = v[j] * scale[j] + shift[j];
            body_store(row->dtype, pack, a->y, row->start + i, v);
        }
    }
}

struct body_rms_norm {
    int rows, d;
    const void *x; /* [rows, d] */
    float eps;
    const float *weight; /* [d] */
    void *y;             /* [rows, d] of type y_dtype, may be x */
};

SDT_BODY void body_rms_norm_end(const struct body_rms_norm *a, const struct body_row *row,
                                enum sdt_dtype y_dtype, float inverse) {
    float v[SDT_PACK], weight[SDT_PACK];
    SDT_UNROLL
    for (int step = 0; step < body_row_steps(row); step++) {
        int i = body_row_element(row, step);
        if (i < row->d) {
            body_row_pack(row, step, v);
            body_load(SDT_F32, row->pack, a->weight, i, weight);
            SDT_UNROLL
            for (int j = 0; j < row->pack; j++)
                v[j] = v[j] * inverse * weight[j];
            body_store(y_dtype, row->pack, a->y, row->start + i, v);
        }
    }
}

struct body_channel_norm {
    size_t pixels;
    int channels;
    const void *x;      /* [pixels, C] */
    const float *gamma; /* [C] */
    int silu;
    void *y; /* [pixels, C], may be x */
};

SDT_BODY float body_channel_factor(float squares, int channels) {
    return sqrtf((float)channels) / fmaxf(sqrtf(squares), 1e-12f);
}

SDT_BODY void body_channel_norm_end(const struct body_channel_norm *a, const struct body_row *row,
                                    float factor) {
    float v[SDT_PACK], gamma[SDT_PACK];
    SDT_UNROLL
    for (int step = 0; step < body_row_steps(row); step++) {
        int i = body_row_element(row, step);
        if (i < row->d) {
            body_row_pack(row, step, v);
            body_load(SDT_F32, row->pack, a->gamma, i, gamma);
            SDT_UNROLL
            for (int j = 0; j < row->pack; j++) {
                float z = v[j] * factor * gamma[j];
                v[j] = a->silu ? body_silu(z) : z;
            }
            body_store(row->dtype, row->pack, a->y, row->start + i, v);
        }
    }
}

/* ---- heads ----------------------------------------------------------------------------------- */

/* The piece that holds head h, head[0] <= h < head[pieces]; pieces may be empty. */
SDT_BODY int body_piece(int pieces, const int *head /* [pieces + 1] */, int h) {
    int low = 0, high = pieces; /* head[low] <= h < head[high] */
    while (high - low > 1) {
        int middle = (low + high) / 2;
        if (head[middle] <= h)
            low = middle;
        else
            high = middle;
    }
    return low;
}

/* Some pieces of the split of a tile by heads; the norm is over the whole row all the same. */
struct body_split {
    int rows, valid_rows, heads, e;
    const void *x;       /* [rows, h*e] */
    const float *weight; /* [h*e] or NULL */
    float eps;
    struct sdt_rope rope;
    const float *table; /* or NULL */
    int64_t first_token;
    int pieces;
    int head[SDT_CUDA_PIECES + 1];
    void *y[SDT_CUDA_PIECES]; /* [pieces] -> [heads of p, rows, e] */
};

/* Where the cosines and sines of a token lie, per axis. */
struct body_turns {
    const float *axis[3]; /* [pairs, 2 (cos, sin)] */
    int pairs[3];
};

SDT_BODY void body_turns_of(const struct body_split *a, int r, struct body_turns *turns) {
    const struct sdt_rope *rope = &a->rope;
    uint32_t token = (uint32_t)(a->first_token + r);
    uint32_t across = (uint32_t)rope->size[2], down = (uint32_t)rope->size[1];
    uint32_t line = token / across, frame = line / down;
    const float *table = a->table;
    turns->axis[0] = table + (size_t)frame * rope->pairs[0] * 2;
    table += (size_t)rope->size[0] * rope->pairs[0] * 2;
    turns->axis[1] = table + (size_t)(line - frame * down) * rope->pairs[1] * 2;
    table += (size_t)rope->size[1] * rope->pairs[1] * 2;
    turns->axis[2] = table + (size_t)(token - line * across) * rope->pairs[2] * 2;
    SDT_UNROLL
    for (int axis = 0; axis < 3; axis++)
        turns->pairs[axis] = rope->pairs[axis];
}

/* Cosine and sine of pair i of a head. */
SDT_BODY void body_turn(const struct body_turns *turns, int i, float *cosine, float *sine) {
    const float *at = turns->axis[0] + 2 * i;
    if (i >= turns->pairs[0]) {
        i -= turns->pairs[0];
        at = i < turns->pairs[1] ? turns->axis[1] + 2 * i
                                 : turns->axis[2] + 2 * (i - turns->pairs[1]);
    }
#ifdef __CUDA_ARCH__
    float2 both = *(const float2 *)at; /* the table starts aligned and holds pairs only */
    *cosine = both.x;
    *sine = both.y;
#else
    *cosine = at[0];
    *sine = at[1];
#endif
}

/* v *= inverse weight[i..] unless weight is NULL */
SDT_BODY void body_split_norm(const struct body_split *a, int pack, int i, float inverse,
                              float *v /* [pack] */) {
    if (!a->weight)
        return;
    float weight[SDT_PACK];
    body_load(SDT_F32, pack, a->weight, i, weight);
    SDT_UNROLL
    for (int j = 0; j < pack; j++)
        v[j] = v[j] * inverse * weight[j];
}

/* Writes the lane's packs of row r; a pack lies within one head. `inverse` is not used without a
 * weight. */
SDT_BODY void body_split_end(const struct body_split *a, const struct body_row *row, int r,
                             float inverse) {
    struct body_turns turns = {{0}, {0}}; /* read with a table only, which compilers cannot see */
    int pack = row->pack, first = a->head[0], last = a->head[a->pieces];
    bool valid = r < a->valid_rows;
    if (a->table && valid)
        body_turns_of(a, r, &turns);
    SDT_UNROLL
    for (int step = 0; step < body_row_steps(row); step++) {
        int i = body_row_element(row, step), h = i / a->e, c = i - h * a->e;
        if (i < row->d && h >= first && h < last) {
            float v[SDT_PACK];
            body_row_pack(row, step, v);
            body_split_norm(a, pack, i, inverse, v);
            if (a->table && valid && pack > 1) {
                SDT_UNROLL
                for (int j = 0; j < pack; j += 2) {
                    float cosine, sine, x = v[j], y = v[j + 1];
                    body_turn(&turns, (c + j) / 2, &cosine, &sine);
                    v[j] = x * cosine - y * sine;
                    v[j + 1] = x * sine + y * cosine;
                }
            } else if (a->table && valid) {
                float cosine, sine, other;
                body_load(row->dtype, 1, row->x, row->start + (i ^ 1), &other);
                body_split_norm(a, 1, i ^ 1, inverse, &other);
                body_turn(&turns, c / 2, &cosine, &sine);
                v[0] = v[0] * cosine + (c % 2 == 0 ? -other : other) * sine;
            }
            SDT_UNROLL
            for (int j = 0; j < pack; j++)
                v[j] = valid ? v[j] : 0.f;
            int p = body_piece(a->pieces, a->head, h);
            body_store(row->dtype, pack, a->y[p],
                       ((size_t)(h - a->head[p]) * a->rows + r) * a->e + c, v);
        }
    }
}

/* Some pieces of a merge. */
struct body_merge {
    int rows, heads, e, pieces;
    int head[SDT_CUDA_PIECES + 1];
    const void *x[SDT_CUDA_PIECES]; /* [pieces] -> [heads of p, rows, e] */
    void *y;                        /* [rows, h*e] */
};

/* The pack at column i of row r, head[0] * e <= i < head[pieces] * e */
SDT_BODY void body_merge_pack(const struct body_merge *a, enum sdt_dtype dtype, int pack, int r,
                              int i) {
    int h = i / a->e, p = body_piece(a->pieces, a->head, h);
    body_copy(dtype, pack, a->x[p],
              ((size_t)(h - a->head[p]) * a->rows + r) * a->e + (i - h * a->e), a->y,
              (size_t)r * a->heads * a->e + i);
}

/* The pieces of `count` tiles from tile `first` on, of `tiles`. */
struct body_gather {
    int first, count, heads;
    struct sdt_gather to;
    const void *x[SDT_CUDA_PIECES]; /* [count] -> [heads, block] */
    void *y;                        /* [heads, stride] */
};

/* Do packs of elements fall on the same places in pieces and result? */
SDT_BODY bool body_gather_whole(const struct sdt_gather *to, int pack) {
    return to->block % (size_t)pack == 0 && to->stride % (size_t)pack == 0 &&
           to->skip % (size_t)pack == 0;
}

/* The pack at element i of a block */
SDT_BODY void body_gather_pack(const struct body_gather *a, enum sdt_dtype dtype, int pack, int t,
                               int h, size_t i) {
    const struct sdt_gather *to = &a->to;
    int tile = a->first + t;
    size_t at = (size_t)tile * to->block - (tile >= to->split ? to->skip : 0);
    size_t count = tile == to->split - 1 ? to->block - to->skip : to->block;
    if (i < count && at + i < to->stride)
        body_copy(dtype, pack, a->x[t], (size_t)h * to->block + i, a->y,
                  (size_t)h * to->stride + at + i);
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

/* Frames behind each other, each enlarged if asked, zeros for the NULL ones: what cuDNN
 * convolves. */
struct body_clip {
    const void *x[3]; /* [frames] -> [height, width, channels], or NULL */
    int frames, height, width, channels;
    int enlarged; /* 1: x2 */
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
    a.rows = conv->height << a.enlarged;
    a.cols = conv->width << a.enlarged;
    return a;
}

SDT_BODY size_t body_clip_elements(const struct body_clip *a) {
    return (size_t)a->frames * (size_t)a->rows * (size_t)a->cols * (size_t)a->channels;
}

/* Packs divide the channels; i < body_clip_elements(). */
SDT_BODY void body_clip_pack(const struct body_clip *a, enum sdt_dtype dtype, int pack, size_t i,
                             void *y /* [frames, rows, cols, channels] */) {
    size_t pixel = i / (size_t)a->channels, channel = i % (size_t)a->channels;
    size_t line = pixel / (size_t)a->cols, frame = line / (size_t)a->rows;
    size_t row = line % (size_t)a->rows, col = pixel % (size_t)a->cols;
    const void *x = frame == 0 ? a->x[0] : frame == 1 ? a->x[1] : a->x[2];
    float v[SDT_PACK] = {0.f};
    if (x)
        body_load(dtype, pack, x,
                  ((row >> a->enlarged) * (size_t)a->width + (col >> a->enlarged)) *
                          (size_t)a->channels +
                      channel,
                  v);
    body_store(dtype, pack, y, i, v);
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
    const float *tile;         /* [frames, tile_rows, tile_cols, 3] */
    float *video;              /* [frames, height, width, 3] */
};

/* Element i of line r: [frames * rows, cols * 3] */
SDT_BODY void body_place_tile(const struct body_tile *a, int r, int i) {
    int f = r / a->rows, row = r - f * a->rows;
    size_t from = ((size_t)f * a->tile_rows + row) * a->tile_cols * 3;
    size_t to = (((size_t)f * a->height + a->y0 + row) * a->width + a->x0) * 3;
    a->video[to + i] = body_clamp(a->tile[from + i]);
}
#endif

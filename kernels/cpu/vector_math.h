/* Eight floats at a time, and the exponential on them.
 *
 * GCC vector extensions say what should run in lanes whatever the flags and the instruction set
 * (AVX: one register, SSE2: two). Loops over rows go through v8_load and v8_store with the number
 * of floats left, so the tail runs through the same instructions as the body: an element's bits do
 * not depend on its place in the array, and every sum has the same eight (or 32) partial sums. */
#ifndef STARDIT_KERNELS_CPU_VECTOR_MATH_H
#define STARDIT_KERNELS_CPU_VECTOR_MATH_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#ifdef __AVX__
#include <immintrin.h>
#endif

/* The ABI note is about passing a v8 between functions, which never happens: all are inlined. */
#pragma GCC diagnostic ignored "-Wpsabi"

typedef float v8 __attribute__((vector_size(32)));
typedef int32_t v8i __attribute__((vector_size(32)));

#define V8_INLINE static inline __attribute__((always_inline, unused))

V8_INLINE v8 v8_set(float x) { return (v8){x, x, x, x, x, x, x, x}; }

/* The first `left` floats at p (all eight if there are that many), zeros behind them. */
V8_INLINE v8 v8_load(const float *p, size_t left) {
    v8 x = {0};
    if (left >= 8)
        memcpy(&x, p, sizeof x);
    else
        memcpy(&x, p, left * sizeof(float));
    return x;
}

V8_INLINE void v8_store(float *p, size_t left, v8 x) {
    if (left >= 8)
        memcpy(p, &x, sizeof x);
    else
        memcpy(p, &x, left * sizeof(float));
}

/* mask ? a : b, mask from a comparison */
V8_INLINE v8 v8_select(v8i mask, v8 a, v8 b) { return (v8)((mask & (v8i)a) | (~mask & (v8i)b)); }

/* A NaN in a stays. */
#ifdef __AVX__ /* GCC does not see one instruction in a selection */
V8_INLINE v8 v8_max(v8 a, v8 b) { return (v8)_mm256_max_ps((__m256)b, (__m256)a); }

V8_INLINE v8 v8_min(v8 a, v8 b) { return (v8)_mm256_min_ps((__m256)b, (__m256)a); }
#else
V8_INLINE v8 v8_max(v8 a, v8 b) { return v8_select(a < b, b, a); }

V8_INLINE v8 v8_min(v8 a, v8 b) { return v8_select(a > b, b, a); }
#endif

/* The lanes' sum, always in this order. */
V8_INLINE float v8_sum(v8 x) {
    return ((x[0] + x[4]) + (x[1] + x[5])) + ((x[2] + x[6]) + (x[3] + x[7]));
}

V8_INLINE float v8_largest(v8 x) {
    float a = x[0];
    for (int i = 1; i < 8; i++)
        a = x[i] > a ? x[i] : a;
    return a;
}

/* e^x within 2e-7 of its value for -87 <= x <= 88; outside, x counts as the bound, so that a masked
 * score gives 1.6e-38 and no overflow reaches a division. NaN gives NaN.
 * x = n ln 2 + r; e^r is 1 + r + r^2 p(r), p fitted to the least largest relative error (3e-9). */
V8_INLINE v8 v8_exp(v8 x) {
    const v8 magic = v8_set(12582912.f); /* 1.5 * 2^23: adding it rounds to an integer */
    x = v8_min(v8_max(x, v8_set(-87.f)), v8_set(88.f));
    v8 t = x * v8_set(1.44269504f) + magic;
    v8 n = t - magic;
    v8 r = x - n * v8_set(0.693145752f); /* ln 2 in two parts, the first exact times any n */
    r = r - n * v8_set(1.42860677e-6f);
    v8 p = v8_set(1.3814540e-3f);
    p = p * r + v8_set(8.3687451e-3f);
    p = p * r + v8_set(4.1668391e-2f);
    p = p * r + v8_set(1.6666520e-1f);
    p = p * r + v8_set(4.9999993e-1f);
    p = (r * r) * p + r + v8_set(1.f);
    v8i power = ((v8i)t - 0x4b400000 + 127) << 23; /* 2^n from the integer in t's low bits */
    return p * (v8)power;
}

/* x / (1 + e^-x) */
V8_INLINE v8 v8_silu(v8 x) { return x / (v8_set(1.f) + v8_exp(-x)); }

/* 0.5 x (1 + tanh u) = x / (1 + e^-2u), u = sqrt(2/pi) (x + 0.044715 x^3) */
V8_INLINE v8 v8_gelu_tanh(v8 x) {
    v8 u2 = v8_set(1.59576912f) * (x + v8_set(0.044715f) * (x * x * x));
    return x / (v8_set(1.f) + v8_exp(-u2));
}

/* sum of (x_i - shift)^2 over n floats, and sum of x_i: 32 partial sums each */
V8_INLINE float v8_sum_of_squares(size_t n, const float *x /* [n] */, float shift) {
    v8 part[4] = {{0}, {0}, {0}, {0}}, s = v8_set(shift);
    size_t i = 0;
    for (; i + 32 <= n; i += 32)
        for (int j = 0; j < 4; j++) {
            v8 y = v8_load(x + i + 8 * j, 8) - s;
            part[j] += y * y;
        }
    for (int j = 0; i < n; i += 8, j++) {
        v8 y = v8_load(x + i, n - i) - s;
        if (n - i < 8) /* lanes past the end hold -shift */
            for (size_t lane = n - i; lane < 8; lane++)
                y[lane] = 0.f;
        part[j] += y * y;
    }
    return v8_sum((part[0] + part[1]) + (part[2] + part[3]));
}

V8_INLINE float v8_sum_of(size_t n, const float *x /* [n] */) {
    v8 part[4] = {{0}, {0}, {0}, {0}};
    size_t i = 0;
    for (; i + 32 <= n; i += 32)
        for (int j = 0; j < 4; j++)
            part[j] += v8_load(x + i + 8 * j, 8);
    for (int j = 0; i < n; i += 8, j++)
        part[j] += v8_load(x + i, n - i);
    return v8_sum((part[0] + part[1]) + (part[2] + part[3]));
}

#endif

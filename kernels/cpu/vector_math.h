/* LANES floats at a time, and the exponential on them.
 *
 * GCC vector extensions say what should run in lanes whatever the flags and the instruction set.
 * The including file may define LANES, 8 or 16, before it. Loops over rows go through vec_load and
 * vec_store with the number of floats left, so the tail runs through the same instructions as the
 * body: an element's bits depend neither on its place in the array nor on LANES, and every sum has
 * the same 32 partial sums. */
#ifndef STARDIT_KERNELS_CPU_VECTOR_MATH_H
#define STARDIT_KERNELS_CPU_VECTOR_MATH_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#ifdef __x86_64__
#include <immintrin.h>
#endif

#ifndef LANES
#define LANES 8
#endif

/* The ABI note is about passing a vec between functions, which never happens: all are inlined. */
#pragma GCC diagnostic ignored "-Wpsabi"

typedef float vec __attribute__((vector_size(4 * LANES)));
typedef int32_t veci __attribute__((vector_size(4 * LANES)));
typedef float vec__4 __attribute__((vector_size(16)));
typedef float vec__8 __attribute__((vector_size(32)));

#define VEC_INLINE static inline __attribute__((always_inline, unused))

/* A loop over n floats: BODY(i, left) for i = 0, LANES, ...; left is LANES, a constant, but for the
 * last vector of an array that ends within it. */
#define EACH_VECTOR(n, BODY)                                                                       \
    do {                                                                                           \
        size_t each_i = 0, each_n = (size_t)(n);                                                   \
        for (; each_i + LANES <= each_n; each_i += LANES)                                          \
            BODY(each_i, LANES);                                                                   \
        if (each_i < each_n)                                                                       \
            BODY(each_i, each_n - each_i);                                                         \
    } while (0)

VEC_INLINE vec vec_set(float x) { return x - (vec){0}; }

/* The first `left` floats at p (all if there are that many), zeros behind them. */
VEC_INLINE vec vec_load(const float *p, size_t left) {
    vec x = {0};
    if (left >= LANES)
        memcpy(&x, p, sizeof x);
    else
        memcpy(&x, p, left * sizeof(float));
    return x;
}

VEC_INLINE void vec_store(float *p, size_t left, vec x) {
    if (left >= LANES)
        memcpy(p, &x, sizeof x);
    else
        memcpy(p, &x, left * sizeof(float));
}

/* a b + c, one rounding where the processor has it. The compiler makes it of a product and a sum by
 * itself, but only where no branch stands between them: where bits must be those of another
 * function, this says it. */
#if LANES == 16 && defined __AVX512F__
VEC_INLINE vec vec_multiply_add(vec a, vec b, vec c) {
    return (vec)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
}
#elif LANES == 8 && defined __FMA__
VEC_INLINE vec vec_multiply_add(vec a, vec b, vec c) {
    return (vec)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
}
#else
VEC_INLINE vec vec_multiply_add(vec a, vec b, vec c) { return a * b + c; }
#endif

/* mask ? a : b, mask from a comparison */
VEC_INLINE vec vec_select(veci mask, vec a, vec b) {
    return (vec)((mask & (veci)a) | (~mask & (veci)b));
}

/* A NaN in a stays. GCC does not see one instruction in a selection. */
#if LANES == 16 && defined __AVX512F__
VEC_INLINE vec vec_max(vec a, vec b) { return (vec)_mm512_max_ps((__m512)b, (__m512)a); }

VEC_INLINE vec vec_min(vec a, vec b) { return (vec)_mm512_min_ps((__m512)b, (__m512)a); }
#elif LANES == 8 && defined __AVX__
VEC_INLINE vec vec_max(vec a, vec b) { return (vec)_mm256_max_ps((__m256)b, (__m256)a); }

VEC_INLINE vec vec_min(vec a, vec b) { return (vec)_mm256_min_ps((__m256)b, (__m256)a); }
#else
VEC_INLINE vec vec_max(vec a, vec b) { return vec_select(a < b, b, a); }

VEC_INLINE vec vec_min(vec a, vec b) { return vec_select(a > b, b, a); }
#endif

/* The lanes' sum, always in this order: lanes eight apart, four apart, neighbours, pairs. */
VEC_INLINE float vec_sum(vec x) {
#if LANES == 16
    vec__8 e = __builtin_shufflevector(x, x, 0, 1, 2, 3, 4, 5, 6, 7) +
               __builtin_shufflevector(x, x, 8, 9, 10, 11, 12, 13, 14, 15);
#else
    vec__8 e = x;
#endif
    vec__4 q =
        __builtin_shufflevector(e, e, 0, 1, 2, 3) + __builtin_shufflevector(e, e, 4, 5, 6, 7);
    q += __builtin_shufflevector(q, q, 1, 0, 3, 2);
    return q[0] + q[2];
}

VEC_INLINE float vec_largest(vec x) {
    float a = x[0];
    for (int i = 1; i < LANES; i++)
        a = x[i] > a ? x[i] : a;
    return a;
}

/* e^x within 2e-7 of its value for -87 <= x <= 88; outside, x counts as the bound, so that a masked
 * score gives 1.6e-38 and no overflow reaches a division. NaN gives NaN.
 * x = n ln 2 + r; e^r is 1 + r + r^2 p(r), p fitted to the least largest relative error (3e-9). */
VEC_INLINE vec vec_exp(vec x) {
    const vec magic = vec_set(12582912.f); /* 1.5 * 2^23: adding it rounds to an integer */
    x = vec_min(vec_max(x, vec_set(-87.f)), vec_set(88.f));
    vec t = x * vec_set(1.44269504f) + magic;
    vec n = t - magic;
    vec r = x - n * vec_set(0.693145752f); /* ln 2 in two parts, the first exact times any n */
    r = r - n * vec_set(1.42860677e-6f);
    vec p = vec_set(1.3814540e-3f);
    p = p * r + vec_set(8.3687451e-3f);
    p = p * r + vec_set(4.1668391e-2f);
    p = p * r + vec_set(1.6666520e-1f);
    p = p * r + vec_set(4.9999993e-1f);
    p = (r * r) * p + r + vec_set(1.f);
    veci power = ((veci)t - 0x4b400000 + 127) << 23; /* 2^n from the integer in t's low bits */
    return p * (vec)power;
}

/* x / (1 + e^-x) */
VEC_INLINE vec vec_silu(vec x) { return x / (vec_set(1.f) + vec_exp(-x)); }

/* 0.5 x (1 + tanh u) = x / (1 + e^-2u), u = sqrt(2/pi) (x + 0.044715 x^3) */
VEC_INLINE vec vec_gelu_tanh(vec x) {
    vec u2 = vec_set(1.59576912f) * (x + vec_set(0.044715f) * (x * x * x));
    return x / (vec_set(1.f) + vec_exp(-u2));
}

/* x / (1 + e^-1.702x) */
VEC_INLINE vec vec_quick_gelu(vec x) { return x / (vec_set(1.f) + vec_exp(vec_set(-1.702f) * x)); }

/* x (1 + erf(x / sqrt 2)) / 2. 1 - erf(z), z >= 0, as a polynomial of 1 / (1 + p z) times e^-zz
 * (Abramowitz and Stegun 7.1.26: within 1.5e-7); x < 0 has the other half of it. */
VEC_INLINE vec vec_gelu(vec x) {
    vec size = vec_max(x, -x), z = size * vec_set(0.707106781f);
    vec t = vec_set(1.f) / (vec_set(1.f) + vec_set(0.3275911f) * z);
    vec p = vec_set(1.061405429f);
    p = p * t + vec_set(-1.453152027f);
    p = p * t + vec_set(1.421413741f);
    p = p * t + vec_set(-0.284496736f);
    p = p * t + vec_set(0.254829592f);
    vec rest = p * t * vec_exp(-(z * z));
    return vec_max(x, vec_set(0.f)) - vec_set(0.5f) * (size * rest);
}

/* ---- sums over a row --------------------------------------------------------------------------
 *
 * 32 partial sums, number i into sum i % 32: they are added in pairs, 16 apart, 8 apart, and so on,
 * which errs less than one long sum. */

enum { VEC_PARTS = 32 / LANES };

VEC_INLINE float vec_sum_of_parts(const vec *part /* [VEC_PARTS] */) {
    vec sum[VEC_PARTS];
#pragma GCC unroll 8
    for (int j = 0; j < VEC_PARTS; j++)
        sum[j] = part[j];
#pragma GCC unroll 3
    for (int half = VEC_PARTS / 2; half > 0; half /= 2)
#pragma GCC unroll 4
        for (int j = 0; j < half; j++)
            sum[j] += sum[j + half];
    return vec_sum(sum[0]);
}

/* A loop over n floats: BODY(j, i, left) for i = 0, LANES, ..., whose numbers go into the partial
 * sums of part j; left < LANES for the last vector of an array that ends within it. */
#define VEC_EACH_PART(n, BODY)                                                                     \
    do {                                                                                           \
        size_t part_i = 0, part_n = (size_t)(n);                                                   \
        for (; part_i + 32 <= part_n; part_i += 32)                                                \
            _Pragma("GCC unroll 8") for (int j = 0; j < VEC_PARTS; j++)                            \
                BODY(j, part_i + (size_t)(j * LANES), LANES);                                      \
        _Pragma("GCC unroll 8") for (int j = 0; j < VEC_PARTS; j++) {                              \
            if (part_i + LANES <= part_n)                                                          \
                BODY(j, part_i, LANES);                                                            \
            else if (part_i < part_n)                                                              \
                BODY(j, part_i, part_n - part_i);                                                  \
            else                                                                                   \
                break;                                                                             \
            part_i += LANES;                                                                       \
        }                                                                                          \
    } while (0)

/* Zeros from lane `left` on. */
VEC_INLINE vec vec__within(vec x, size_t left) {
    for (size_t lane = left; lane < LANES; lane++)
        x[lane] = 0.f;
    return x;
}

VEC_INLINE float vec_sum_of(size_t n, const float *x /* [n] */) {
    vec part[VEC_PARTS] = {{0}};
#define BODY(j, i, left) part[j] += vec_load(x + (i), left)
    VEC_EACH_PART(n, BODY);
#undef BODY
    return vec_sum_of_parts(part);
}

VEC_INLINE float vec_sum_of_squares(size_t n, const float *x /* [n] */) {
    vec part[VEC_PARTS] = {{0}};
#define BODY(j, i, left)                                                                           \
    do {                                                                                           \
        vec z = vec_load(x + (i), left);                                                           \
        part[j] += z * z;                                                                          \
    } while (0)
    VEC_EACH_PART(n, BODY);
#undef BODY
    return vec_sum_of_parts(part);
}

#endif

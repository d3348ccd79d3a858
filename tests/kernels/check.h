/* What the kernel tests share: numbers to feed, and comparisons that count failures.
 *
 * check_near measures max |got - want| / max(0.1, max |want|) over the array, `want` from the
 * reference in double; the tolerance stands at each call. They are:
 *
 *   kernel                                     tolerance  why
 *   convert, patches, moves, clamp             0 (bits)   exact
 *   merge, split without norm and rotation     0 (bits)   moves
 *   exp                                        2e-7       relative, over its whole range
 *   silu, gelu                                 5e-7       one exp, one division
 *   add                                        1e-7       one rounding
 *   mean of rows                               1e-6       float sums of up to 256 terms
 *   sinusoid                                   1e-4       float angles up to 1000 (2e-6 for t <= 1)
 *   linear                                     3e-6       float sums of up to 1000s of terms
 *   linear with residual                       3e-6
 *   layer norm, RMS, channel norm              2e-6       32 partial sums
 *   split with norm or rotation                2e-6
 *   attention (all four), log-sum-exp          5e-6       scores in float, exp amplifies
 *   conv, time upsampling                      3e-6
 *   sampler, window, blend                     1e-6       a few roundings
 *
 * Equal bits are asked, whatever the tolerance, of: the same work with arrays aligned otherwise;
 * rows together or one by one (linear layers: weights of any type, packed or not, too); heads in
 * one call or several; frames of zeros and none before the start of a clip; and of several threads
 * at once. */
#ifndef STARDIT_TESTS_KERNELS_CHECK_H
#define STARDIT_TESTS_KERNELS_CHECK_H

#include <math.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof *(array))

/* One of each in a program, whichever of its files include this. */
__attribute__((weak)) unsigned check_failures, check_count;

static uint64_t check_random = 0x9e3779b97f4a7c15u;

static inline uint32_t random_bits(void) {
    check_random = check_random * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(check_random >> 32);
}

/* n floats of -scale..scale; freed by the caller, as all arrays here. Sizes are exact,
 * so that the address sanitizer sees a step outside. */
static inline float *numbers(size_t n, float scale) {
    float *x = (float *)calloc(n ? n : 1, sizeof *x); /* C++ includes this, too */
    if (!x)
        abort();
    for (size_t i = 0; i < n; i++)
        x[i] = scale * ((float)(random_bits() >> 8) * 0x1p-23f - 1.f);
    return x;
}

/* n floats that no kernel may leave or read: NaN */
static inline float *blank(size_t n) {
    float *x = numbers(n, 0.f);
    for (size_t i = 0; i < n; i++)
        x[i] = NAN;
    return x;
}

static inline float *copy_of(size_t n, const float *x) {
    float *y = numbers(n, 0.f);
    memcpy(y, x, n * sizeof *y);
    return y;
}

/* y[rows, cols] = columns first.. of x[rows, width] */
static inline void copy_columns(int rows, int width, int first, int cols, const float *x,
                                float *y) {
    for (int r = 0; r < rows; r++)
        memcpy(y + (size_t)r * (size_t)cols, x + (size_t)r * (size_t)width + first,
               (size_t)cols * sizeof *y);
}

__attribute__((format(printf, 5, 6))) static inline void
check_near(size_t n, const float *got, const float *want, double tolerance, const char *what, ...) {
    double worst = 0., scale = 0.1;
    size_t where = 0;
    check_count++;
    for (size_t i = 0; i < n; i++) {
        double error = fabs((double)got[i] - want[i]);
        if (!(error <= worst)) { /* a NaN too */
            worst = isnan(error) ? INFINITY : error;
            where = i;
        }
        scale = fmax(scale, fabs((double)want[i]));
    }
    if (worst <= tolerance * scale)
        return;
    check_failures++;
    va_list list;
    va_start(list, what);
    vfprintf(stderr, what, list);
    va_end(list);
    fprintf(stderr, ": element %zu of %zu is %.9g, not %.9g; error %.3g of scale, tolerance %.3g\n",
            where, n, got[where], want[where], worst / scale, tolerance);
}

__attribute__((format(printf, 4, 5))) static inline void
check_bits(size_t n, const float *got, const float *want, const char *what, ...) {
    check_count++;
    size_t i = 0;
    while (i < n && memcmp(got + i, want + i, sizeof *got) == 0)
        i++;
    if (i == n)
        return;
    check_failures++;
    va_list list;
    va_start(list, what);
    vfprintf(stderr, what, list);
    va_end(list);
    fprintf(stderr, ": bits differ first at %zu of %zu, %.9g and %.9g\n", i, n, got[i], want[i]);
}

static inline int check_end(const char *area) {
    fprintf(stderr, "%s: %u checks, %u failed\n", area, check_count, check_failures);
    return check_failures ? EXIT_FAILURE : EXIT_SUCCESS;
}

#endif

/* Normal noise as torch's CPU generator makes it, so that a seed means the same video.
 *
 * The integers are torch's exactly. log, sine and cosine are taken in double and rounded once,
 * which gives the same bits wherever the mathematical library is right to more than a float;
 * torch's own vectorised polynomials differ from that in the last bits. */
#include "kernels/kernels.h"

#include <math.h>

enum { STATE = SDT_GENERATOR_STATE, MIDDLE = 397, BLOCK = 16 };

static const double two_pi = 6.283185307179586476925;

void sdt_generator_seed(struct sdt_generator *mt, uint64_t seed) {
    mt->state[0] = (uint32_t)seed;
    for (uint32_t j = 1; j < STATE; j++) {
        const uint32_t last = mt->state[j - 1];
        mt->state[j] = UINT32_C(1812433253) * (last ^ last >> 30) + j;
    }
    mt->next = STATE;
    mt->kept = NAN;
}

static void twist(struct sdt_generator *mt) {
    uint32_t *s = mt->state;

    for (int j = 0; j < STATE; j++) {
        const uint32_t y =
            (s[j] & UINT32_C(0x80000000)) | (s[(j + 1) % STATE] & UINT32_C(0x7fffffff));
        s[j] = s[(j + MIDDLE) % STATE] ^ y >> 1 ^ (y & 1 ? UINT32_C(0x9908b0df) : 0);
    }
    mt->next = 0;
}

static uint32_t draw(struct sdt_generator *mt) {
    if (mt->next == STATE)
        twist(mt);
    uint32_t y = mt->state[mt->next++];
    y ^= y >> 11;
    y ^= y << 7 & UINT32_C(0x9d2c5680);
    y ^= y << 15 & UINT32_C(0xefc60000);
    return y ^ y >> 18;
}

static float draw_float(struct sdt_generator *mt) {
    return (float)(draw(mt) & 0xffffff) * 0x1p-24f;
}

static double draw_double(struct sdt_generator *mt) {
    const uint64_t high = draw(mt);
    return (double)((high << 32 | draw(mt)) & ((UINT64_C(1) << 53) - 1)) * 0x1p-53;
}

/* Box-Muller on 16 uniforms: 8 radii, then 8 angles. */
static void transform(float *y /* [BLOCK] in place */) {
    for (int j = 0; j < BLOCK / 2; j++) {
        const double radius = sqrt(-2.0 * log(1.0 - (double)y[j]));
        /* The product is a float in torch, and an angle near 2 pi shows it. */
        const double angle = (double)((float)two_pi * y[j + BLOCK / 2]);
        y[j] = (float)(radius * cos(angle));
        y[j + BLOCK / 2] = (float)(radius * sin(angle));
    }
}

/* Fewer than 16 values take torch's scalar path: pairs in double, the second one kept for the next
 * value, which a later call may want. */
static void few(struct sdt_generator *mt, size_t n, float *y /* [n] */) {
    for (size_t i = 0; i < n; i++) {
        if (!isnan(mt->kept)) {
            y[i] = (float)mt->kept;
            mt->kept = NAN;
            continue;
        }
        const double angle = two_pi * draw_double(mt);
        const double radius = sqrt(-2.0 * log1p(-draw_double(mt)));
        y[i] = (float)(radius * cos(angle));
        mt->kept = radius * sin(angle);
    }
}

void sdt_normal(struct sdt_generator *mt, size_t n, float *y) {
    if (n < BLOCK) {
        few(mt, n, y);
        return;
    }
    /* All uniforms come before the first transformation; what is left over at the end is drawn
     * again together with its predecessors, as 16 fresh values. */
    for (size_t i = 0; i < n; i++)
        y[i] = draw_float(mt);
    for (size_t i = 0; i + BLOCK <= n; i += BLOCK)
        transform(y + i);
    if (n % BLOCK != 0) {
        float *last = y + n - BLOCK;
        for (int j = 0; j < BLOCK; j++)
            last[j] = draw_float(mt);
        transform(last);
    }
}

void sdt_normal_skip(struct sdt_generator *mt, size_t n) {
    float y[BLOCK];
    if (n < BLOCK)
        few(mt, n, y);
    else
        for (size_t i = n % BLOCK ? n + BLOCK : n; i > 0; i--)
            draw(mt);
}

void sdt_randn(uint64_t seed, size_t n, float *y) {
    struct sdt_generator mt;
    sdt_generator_seed(&mt, seed);
    sdt_normal(&mt, n, y);
}

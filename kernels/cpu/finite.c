/* Is every number a number? One pass that reads, cheap beside whatever wrote the array. */
#include "kernels/kernels.h"

#include <stdbool.h>
#include <string.h>

enum { BLOCK = 1024 };

/* All bits of the exponent: an infinity, or not a number. */
static const uint32_t exponent = UINT32_C(0x7f800000);

static uint32_t bits_of(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

typedef uint32_t lanes __attribute__((vector_size(32)));

static bool block_is_finite(size_t n, const float *x /* [n] */) {
    enum { LANES = sizeof(lanes) / sizeof(float) };
    const lanes all = (lanes){0} + exponent;
    lanes bad = {0};
    uint32_t any = 0;
    size_t i = 0;

    for (; i + LANES <= n; i += LANES) {
        lanes v;
        memcpy(&v, x + i, sizeof v);
        bad |= (lanes)((v & all) == all);
    }
    for (int l = 0; l < LANES; l++)
        any |= bad[l];
    for (; i < n; i++)
        any |= (uint32_t)((bits_of(x[i]) & exponent) == exponent);
    return !any;
}

size_t sdt_find_not_finite(size_t n, const float *x) {
    for (size_t i = 0; i < n; i += BLOCK) {
        size_t length = n - i < BLOCK ? n - i : BLOCK;
        if (block_is_finite(length, x + i))
            continue;
        while ((bits_of(x[i]) & exponent) != exponent)
            i++;
        return i;
    }
    return n;
}

/* The stored formats by their definition: sign, exponent and mantissa put together with ldexp. */
#include "kernels/reference.h"

#include <math.h>
#include <string.h>

static double value(unsigned bits, int exponent_bits, int mantissa_bits) {
    unsigned mantissa = bits & ((1u << mantissa_bits) - 1);
    int largest = (1 << exponent_bits) - 1, bias = largest >> 1;
    int exponent = (int)(bits >> mantissa_bits) & largest;
    double sign = bits >> (mantissa_bits + exponent_bits) & 1 ? -1. : 1.;
    if (exponent == largest)
        return mantissa ? NAN : sign * INFINITY;
    if (exponent == 0)
        return sign * ldexp(mantissa, 1 - bias - mantissa_bits);
    return sign * ldexp(mantissa + (1u << mantissa_bits), exponent - bias - mantissa_bits);
}

void sdt_convert_reference(enum sdt_dtype dtype, size_t n, const void *src, float *dst) {
    for (size_t i = 0; i < n; i++) {
        const char *from = (const char *)src + i * sdt_dtype_size(dtype);
        uint16_t half;
        double number;
        float single;
        switch (dtype) {
        case SDT_F16:
        case SDT_BF16:
            memcpy(&half, from, sizeof half);
            dst[i] = (float)(dtype == SDT_F16 ? value(half, 5, 10) : value(half, 8, 7));
            break;
        case SDT_F64:
            memcpy(&number, from, sizeof number);
            dst[i] = (float)number;
            break;
        default:
            memcpy(&single, from, sizeof single);
            dst[i] = single;
        }
    }
}

/* The neighbours of x are the bfloat16 towards 0, its upper half, and the next one. Past the
 * largest number stands infinity, which takes the place of 2^128 here. */
static double bf16_value(unsigned bits) {
    double v = value(bits, 8, 7);
    return isinf(v) ? copysign(0x1p128, v) : v;
}

void sdt_convert_to_reference(enum sdt_dtype from, size_t n, const void *src, uint16_t *dst) {
    for (size_t i = 0; i < n; i++) {
        float x;
        uint32_t bits;
        sdt_convert_reference(from, 1, (const char *)src + i * sdt_dtype_size(from), &x);
        memcpy(&bits, &x, sizeof bits);
        unsigned low = bits >> 16, high = low + 1;
        if (isnan(x) || isinf(x)) {
            dst[i] = (uint16_t)(isnan(x) ? low | 0x40 : low);
            continue;
        }
        double below = fabs(x - bf16_value(low)), above = fabs(bf16_value(high) - x);
        dst[i] = (uint16_t)(below < above || (below == above && low % 2 == 0) ? low : high);
    }
}

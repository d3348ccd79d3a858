/* A float16 as float, without the processor's instruction for it. */
#ifndef STARDIT_KERNELS_CPU_HALF_H
#define STARDIT_KERNELS_CPU_HALF_H

#include <stdint.h>
#include <string.h>

static inline float sdt__float_of_bits(uint32_t bits) {
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

/* Moves exponent and mantissa to float's places and corrects the exponent's bias by a product,
 * which is exact and also gives subnormal halves their value. */
static inline float sdt__float_of_half(uint16_t half) {
    uint32_t magnitude = (uint32_t)(half & 0x7fff) << 13, bits;
    float f = sdt__float_of_bits(magnitude) * 0x1p112f;
    memcpy(&bits, &f, sizeof bits);
    if (magnitude >= 0x7c00u << 13) /* infinity and NaN */
        bits |= 0x7f800000u;
    return sdt__float_of_bits(bits | (uint32_t)(half & 0x8000) << 16);
}

#endif

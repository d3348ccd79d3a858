/* Stored numbers to float32, and to bfloat16 for devices that keep their weights so. Checkpoints
 * hold F32, F16, BF16 (and F64); every kernel here computes in float32. */
#include "kernels/cpu/half.h"
#include "kernels/cpu/micro_kernel.h"

#include <string.h>

static const struct {
    const char *name;
    size_t size;
} dtypes[SDT_DTYPES] = {
    [SDT_F32] = {"F32", 4},   [SDT_F16] = {"F16", 2},         [SDT_BF16] = {"BF16", 2},
    [SDT_F64] = {"F64", 8},   [SDT_I64] = {"I64", 8},         [SDT_I32] = {"I32", 4},
    [SDT_I16] = {"I16", 2},   [SDT_I8] = {"I8", 1},           [SDT_U8] = {"U8", 1},
    [SDT_BOOL] = {"BOOL", 1}, [SDT_F8_E4M3] = {"F8_E4M3", 1}, [SDT_F8_E5M2] = {"F8_E5M2", 1},
};

size_t sdt_dtype_size(enum sdt_dtype dtype) { return dtypes[dtype].size; }

const char *sdt_dtype_name(enum sdt_dtype dtype) { return dtypes[dtype].name; }

/* n numbers of 2 bytes: most by the micro-kernel, which needs groups of WIDEN. */
static void widen(enum sdt_dtype dtype, size_t n, const char *from, float *dst) {
    enum { WIDEN = 8 };
    size_t i = n / WIDEN * WIDEN;
    sdt__micro_kernel()->widen(dtype, i, from, dst);
    for (; i < n; i++) {
        uint16_t half;
        memcpy(&half, from + 2 * i, 2);
        dst[i] =
            dtype == SDT_F16 ? sdt__float_of_half(half) : sdt__float_of_bits((uint32_t)half << 16);
    }
}

void sdt_convert(enum sdt_dtype dtype, size_t n, const void *src, float *dst) {
    const char *from = src; /* bytes: a file's offsets need not be aligned */
    switch (dtype) {
    case SDT_F32:
        memcpy(dst, from, n * sizeof(float));
        break;
    case SDT_F16:
    case SDT_BF16:
        widen(dtype, n, from, dst);
        break;
    case SDT_F64:
        for (size_t i = 0; i < n; i++) {
            double x;
            memcpy(&x, from + 8 * i, 8);
            dst[i] = (float)x;
        }
        break;
    default: /* integers are never weights: refused when the file is read */
        break;
    }
}

/* The nearest bfloat16; of two that are equally near, the even one. */
static uint16_t bf16_of_float(float f) {
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    if ((bits & 0x7fffffffu) > 0x7f800000u) /* NaN stays NaN, whatever its low bits are */
        return (uint16_t)(bits >> 16 | 0x40u);
    return (uint16_t)((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}

/* The same of float16. Below its smallest normal number, 0.5f's last bit is its unit. */
static uint16_t half_of_float(float f) {
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    const uint32_t sign = bits >> 16 & 0x8000u;
    bits &= 0x7fffffffu;
    if (bits > 0x7f800000u)
        return (uint16_t)(sign | 0x7e00u);
    if (bits >= 0x477ff000u) /* 65520 and more are infinity */
        return (uint16_t)(sign | 0x7c00u);
    if (bits < 0x38800000u) {
        float shifted = sdt__float_of_bits(bits) + 0.5f;
        memcpy(&bits, &shifted, sizeof bits);
        return (uint16_t)(sign | (bits - 0x3f000000u));
    }
    return (uint16_t)(sign | (bits + 0xfffu + (bits >> 13 & 1u) - 0x38000000u) >> 13);
}

void sdt_convert_to(enum sdt_dtype from, size_t n, const void *src, enum sdt_dtype to, void *dst) {
    enum { AT_ONCE = 256 };
    float numbers[AT_ONCE];
    if (to == SDT_F32) {
        sdt_convert(from, n, src, dst);
        return;
    }
    if (from == to) {
        memcpy(dst, src, 2 * n);
        return;
    }
    uint16_t *y = dst;
    for (size_t first = 0; first < n; first += AT_ONCE) {
        size_t count = n - first < AT_ONCE ? n - first : AT_ONCE;
        sdt_convert(from, count, (const char *)src + first * sdt_dtype_size(from), numbers);
        for (size_t i = 0; i < count; i++)
            y[first + i] = to == SDT_F16 ? half_of_float(numbers[i]) : bf16_of_float(numbers[i]);
    }
}

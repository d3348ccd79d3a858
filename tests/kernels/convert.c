/* Stored formats to float: every 16-bit pattern, unaligned sources. */
#include "kernels/reference.h"
#include "tests/kernels/check.h"

static void check_halves(enum sdt_dtype dtype) {
    enum { ALL = 65536 };
    char *src = malloc(2 * ALL + 1);
    float *got = blank(ALL), *want = blank(ALL);
    if (!src)
        abort();
    for (int i = 0; i < ALL; i++) {
        uint16_t bits = (uint16_t)i;
        memcpy(src + 1 + 2 * i, &bits, 2);
    }
    sdt_convert(dtype, ALL, src + 1, got);
    sdt_convert_reference(dtype, ALL, src + 1, want);
    for (int i = 0; i < ALL; i++)
        if (isnan(got[i]) && isnan(want[i])) /* which NaN does not matter */
            got[i] = want[i] = 0.f;
    check_bits(ALL, got, want, "%s", sdt_dtype_name(dtype));
    free(src);
    free(got);
    free(want);
}

static void check_wide(size_t n) {
    char *src = malloc(8 * n + 1);
    float *x = numbers(n, 3.f), *got = blank(n), *want = blank(n);
    if (!src)
        abort();
    memcpy(src + 1, x, 4 * n);
    sdt_convert(SDT_F32, n, src + 1, got);
    check_bits(n, got, x, "F32");
    for (size_t i = 0; i < n; i++) {
        double z = x[i] / 3.;
        memcpy(src + 1 + 8 * i, &z, 8);
    }
    sdt_convert(SDT_F64, n, src + 1, got);
    sdt_convert_reference(SDT_F64, n, src + 1, want);
    check_bits(n, got, want, "F64");
    free(src);
    free(x);
    free(got);
    free(want);
}

int main(void) {
    static const char *names[] = {"F32", "F16", "BF16", "F64", "I64", "I32", "U8"};
    static const size_t sizes[] = {4, 2, 2, 8, 8, 4, 1};
    for (int i = 0; i < SDT_DTYPES; i++)
        if (strcmp(sdt_dtype_name(i), names[i]) != 0 || sdt_dtype_size(i) != sizes[i]) {
            fprintf(stderr, "dtype %d: %s of %zu bytes\n", i, sdt_dtype_name(i), sdt_dtype_size(i));
            check_failures++;
        }
    check_halves(SDT_F16);
    check_halves(SDT_BF16);
    check_wide(0);
    check_wide(1);
    check_wide(37);
    return check_end("convert");
}

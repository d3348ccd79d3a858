/* Linear layers: odd sizes, every epilogue and gate, other alignments; weights of every type,
 * packed or not, and any number of rows, give the same bits, with each micro-kernel of this
 * processor. */
#include "kernels/cpu/micro_kernel.h"
#include "kernels/reference.h"
#include "tests/kernels/check.h"

static const double tolerance = 3e-6;

static void *packed_weight(enum sdt_dtype dtype, int n, int k, const void *w) {
    size_t size = sdt_packed_size(dtype, n, k);
    void *packed = malloc(size);
    if (!packed)
        abort();
    memset(packed, 0xff, size); /* NaN */
    sdt_pack_weight(dtype, n, k, k, w, packed);
    return packed;
}

static void check_linear(int rows, int n, int k, enum sdt_epilogue epilogue, int with_bias) {
    size_t ny = (size_t)rows * n;
    float *x = numbers((size_t)rows * k, 1.f), *w = numbers((size_t)n * k, 1.f);
    float *bias = with_bias ? numbers(n, 1.f) : NULL;
    float *got = blank(ny), *want = blank(ny);
    void *packed = packed_weight(SDT_F32, n, k, w);
    sdt_linear(rows, n, k, x, sdt_plain_weight(w), bias, epilogue, got);
    sdt_linear_reference(rows, n, k, x, w, bias, epilogue, want);
    check_near(ny, got, want, tolerance, "linear %d x %d x %d, epilogue %d", rows, n, k, epilogue);

    float *shifted = blank((size_t)rows * k + 1), *y = blank(ny + 1);
    memcpy(shifted + 1, x, (size_t)rows * k * sizeof *x);
    sdt_linear(rows, n, k, shifted + 1, (struct sdt_weight){packed, SDT_F32, 1}, bias, epilogue,
               y + 1);
    check_bits(ny, y + 1, got, "linear %d x %d x %d packed, aligned otherwise", rows, n, k);
    free(x);
    free(w);
    free(bias);
    free(got);
    free(want);
    free(shifted);
    free(y);
    free(packed);
}

static void check_residual(int rows, int n, int k, int gates, int with_bias) {
    size_t ny = (size_t)rows * n;
    float *x = numbers((size_t)rows * k, 1.f), *w = numbers((size_t)n * k, 1.f);
    float *bias = with_bias ? numbers(n, 1.f) : NULL;
    float *a = gates & 1 ? numbers(n, 1.f) : NULL, *b = gates & 2 ? numbers(n, 1.f) : NULL;
    float *got = numbers(ny, 2.f), *want = copy_of(ny, got), *again = copy_of(ny, got);
    float *scratch = blank(sdt_linear_residual_scratch(rows));
    void *packed = packed_weight(SDT_F32, n, k, w);
    sdt_linear_residual(rows, n, k, x, sdt_plain_weight(w), bias, a, b, got, scratch);
    sdt_linear_residual_reference(rows, n, k, x, w, bias, a, b, want);
    check_near(ny, got, want, tolerance, "residual %d x %d x %d, gates %d", rows, n, k, gates);
    sdt_linear_residual(rows, n, k, x, (struct sdt_weight){packed, SDT_F32, 1}, bias, a, b, again,
                        scratch);
    check_bits(ny, again, got, "residual %d x %d x %d packed", rows, n, k);
    free(x);
    free(w);
    free(bias);
    free(a);
    free(b);
    free(got);
    free(want);
    free(again);
    free(scratch);
    free(packed);
}

/* ---- bits ------------------------------------------------------------------------------------ */

/* Rows 1..most at every offset up to `offsets` apart from the end, against each row alone. */
static void check_rows(int n, int k, int most, int offsets) {
    size_t ny = (size_t)most * n;
    float *x = numbers((size_t)most * k, 1.f), *w = numbers((size_t)n * k, 1.f);
    float *bias = numbers(n, 1.f), *gate = numbers(n, 1.f), *before = numbers(ny, 1.f);
    float *alone = blank(ny), *alone_2 = copy_of(ny, before), *y = blank(ny), *y_2 = blank(ny);
    float *scratch = blank(sdt_linear_residual_scratch(most));
    void *packed = packed_weight(SDT_F32, n, k, w);
    struct sdt_weight weight = {packed, SDT_F32, 1};
    for (int r = 0; r < most; r++) {
        const float *row = x + (size_t)r * k;
        sdt_linear(1, n, k, row, weight, bias, SDT_EPILOGUE_GELU_TANH, alone + (size_t)r * n);
        sdt_linear_residual(1, n, k, row, weight, bias, gate, NULL, alone_2 + (size_t)r * n,
                            scratch);
    }
    for (int rows = 1; rows <= most; rows++)
        for (int first = 0; first + rows <= most && first < offsets; first++) {
            size_t at = (size_t)first * n, count = (size_t)rows * n;
            const float *part = x + (size_t)first * k;
            sdt_linear(rows, n, k, part, weight, bias, SDT_EPILOGUE_GELU_TANH, y);
            check_bits(count, y, alone + at, "%d rows from %d, %d x %d", rows, first, n, k);
            if (first % 16)
                continue;
            memcpy(y_2, before + at, count * sizeof *y_2);
            sdt_linear_residual(rows, n, k, part, weight, bias, gate, NULL, y_2, scratch);
            check_bits(count, y_2, alone_2 + at, "residual of %d rows from %d, %d x %d", rows,
                       first, n, k);
        }
    free(x);
    free(w);
    free(bias);
    free(gate);
    free(before);
    free(alone);
    free(alone_2);
    free(y);
    free(y_2);
    free(scratch);
    free(packed);
}

/* Weights that are exact in all types, stored in each, packed and not: one result. */
static void check_types(int rows, int n, int k) {
    static const enum sdt_dtype dtypes[] = {SDT_F32, SDT_BF16, SDT_F16, SDT_F64};
    size_t count = (size_t)n * k, ny = (size_t)rows * n;
    uint16_t *half = malloc(2 * count + 1), *brain = malloc(2 * count);
    double *wide = malloc(8 * count);
    float *w = numbers(count, 0.f), *x = numbers((size_t)rows * k, 1.f);
    float *want = blank(ny), *got = blank(ny);
    if (!half || !brain || !wide)
        abort();
    /* Odd bytes: what a file holds need not be aligned. Exponents of a half, 7 bits of mantissa;
     * some subnormal halves. */
    char *odd = (char *)half + 1;
    for (size_t i = 0; i < count; i++) {
        uint16_t bits = (uint16_t)(random_bits() & 0xbff8);
        memcpy(odd + 2 * i, &bits, 2);
    }
    sdt_convert(SDT_F16, count, odd, w);
    sdt_convert_to(SDT_F32, count, w, SDT_BF16, brain);
    for (size_t i = 0; i < count; i++)
        wide[i] = w[i];
    const void *const stored[] = {w, brain, odd, wide};
    sdt_linear(rows, n, k, x, sdt_plain_weight(w), NULL, SDT_EPILOGUE_NONE, want);
    for (size_t t = 0; t < COUNT(dtypes); t++) {
        struct sdt_weight plain = {stored[t], dtypes[t], 0};
        sdt_linear(rows, n, k, x, plain, NULL, SDT_EPILOGUE_NONE, got);
        check_bits(ny, got, want, "%s, %d x %d x %d", sdt_dtype_name(dtypes[t]), rows, n, k);
        void *packed = packed_weight(dtypes[t], n, k, stored[t]);
        memset(got, 0xff, ny * sizeof *got);
        sdt_linear(rows, n, k, x, (struct sdt_weight){packed, SDT_F32, 1}, NULL, SDT_EPILOGUE_NONE,
                   got);
        check_bits(ny, got, want, "%s packed, %d x %d x %d", sdt_dtype_name(dtypes[t]), rows, n, k);
        free(packed);
    }
    free(half);
    free(brain);
    free(wide);
    free(w);
    free(x);
    free(want);
    free(got);
}

/* One micro-kernel, and whether its bits are those of the processor's own: all use fused
 * multiply-adds where there are any. */
static void check_variant(const char *name, int fused) {
    enum { ROWS = 37, N = 131, K = 700 };
    float *x = numbers(ROWS * K, 1.f), *w = numbers(N * K, 1.f);
    float *want = blank(ROWS * N), *got = blank(ROWS * N);
    const char *own = sdt__micro_kernel()->name;
    sdt_linear(ROWS, N, K, x, sdt_plain_weight(w), NULL, SDT_EPILOGUE_NONE, want);
    if (!sdt__micro_kernel_choose(name)) {
        fprintf(stderr, "no %s on this processor\n", name);
    } else {
        sdt_linear(ROWS, N, K, x, sdt_plain_weight(w), NULL, SDT_EPILOGUE_NONE, got);
        if (fused)
            check_bits(ROWS * N, got, want, "%s and %s", name, own);
        check_rows(40, 70, 65, 65);
        check_rows(200, 600, 33, 3);
        check_types(5, 131, 301);
        check_types(19, 56, 40);
        check_linear(7, 131, 400, SDT_EPILOGUE_SILU, 1);
        check_residual(7, 24, 400, 3, 1);
        sdt__micro_kernel_choose(own);
    }
    free(x);
    free(w);
    free(want);
    free(got);
}

int main(void) {
    static const int rows[] = {1, 3, 7, 128}, ns[] = {1, 5, 48, 131}, ks[] = {1, 3, 17, 400};
    int i = 0;
    for (size_t r = 0; r < COUNT(rows); r++)
        for (size_t n = 0; n < COUNT(ns); n++)
            for (size_t k = 0; k < COUNT(ks); k++, i++) {
                for (int epilogue = 0; epilogue < 3; epilogue++)
                    check_linear(rows[r], ns[n], ks[k], epilogue, (i + epilogue) % 2);
                check_residual(rows[r], ns[n], ks[k], i % 4, i / 4 % 2);
            }
    check_linear(4, 64, 8960, SDT_EPILOGUE_NONE, 1);
    check_rows(33, 40, 257, 257);
    check_rows(400, 530, 257, 9);
    for (int n = 8; n < 200; n += 24)
        check_types(6, n, 24);
#ifdef __FMA__
    check_variant("generic", 1);
#else
    check_variant("generic", 0);
#endif
    check_variant("avx2", 1);
    check_variant("avx512", 1);
    fprintf(stderr, "micro-kernel of this processor: %s\n", sdt__micro_kernel()->name);
    return check_end("linear");
}

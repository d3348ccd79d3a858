/* Linear layers: odd sizes, every epilogue and gate, and other alignments. */
#include "kernels/reference.h"
#include "tests/kernels/check.h"

static const double tolerance = 3e-6;

static void check_linear(int rows, int n, int k, enum sdt_epilogue epilogue, int with_bias) {
    size_t ny = (size_t)rows * n;
    float *x = numbers((size_t)rows * k, 1.f), *w = numbers((size_t)n * k, 1.f);
    float *bias = with_bias ? numbers(n, 1.f) : NULL;
    float *got = blank(ny), *want = blank(ny);
    sdt_linear(rows, n, k, x, w, bias, epilogue, got);
    sdt_linear_reference(rows, n, k, x, w, bias, epilogue, want);
    check_near(ny, got, want, tolerance, "linear %d x %d x %d, epilogue %d", rows, n, k, epilogue);

    float *shifted = blank((size_t)rows * k + 1), *y = blank(ny + 1);
    memcpy(shifted + 1, x, (size_t)rows * k * sizeof *x);
    sdt_linear(rows, n, k, shifted + 1, w, bias, epilogue, y + 1);
    check_bits(ny, y + 1, got, "linear %d x %d x %d aligned otherwise", rows, n, k);
    free(x);
    free(w);
    free(bias);
    free(got);
    free(want);
    free(shifted);
    free(y);
}

static void check_residual(int rows, int n, int k, int gates, int with_bias) {
    size_t ny = (size_t)rows * n;
    float *x = numbers((size_t)rows * k, 1.f), *w = numbers((size_t)n * k, 1.f);
    float *bias = with_bias ? numbers(n, 1.f) : NULL;
    float *a = gates & 1 ? numbers(n, 1.f) : NULL, *b = gates & 2 ? numbers(n, 1.f) : NULL;
    float *got = numbers(ny, 2.f), *want = copy_of(ny, got), *scratch = blank(ny);
    sdt_linear_residual(rows, n, k, x, w, bias, a, b, got, scratch);
    sdt_linear_residual_reference(rows, n, k, x, w, bias, a, b, want);
    check_near(ny, got, want, tolerance, "residual %d x %d x %d, gates %d", rows, n, k, gates);
    free(x);
    free(w);
    free(bias);
    free(a);
    free(b);
    free(got);
    free(want);
    free(scratch);
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
    return check_end("linear");
}

/* exp and what is built on it, over their whole ranges; sums; the timestep embedding. */
#include "kernels/cpu/vector_math.h"
#include "kernels/reference.h"
#include "tests/kernels/check.h"

static void check_exp(void) {
    double worst = 0., at = 0.;
    for (float x = -87.f; x <= 88.f; x += 0.00137f) {
        double error = fabs(v8_exp(v8_set(x))[3] / exp(x) - 1.);
        if (!(error <= worst)) {
            worst = error;
            at = x;
        }
    }
    v8 far = v8_exp((v8){-INFINITY, -1e30f, -88.f, 0.f, INFINITY, 1e30f, NAN, -0.f});
    if (!(worst <= 2e-7) || !(far[0] > 0.f && far[0] < 2e-38f) || far[1] != far[0] ||
        far[2] != far[0] || far[3] != 1.f || !(far[4] < INFINITY) || far[5] != far[4] ||
        !isnan(far[6]) || far[7] != 1.f) {
        fprintf(stderr, "exp: relative error %g at %g\n", worst, at);
        check_failures++;
    }
}

static void check_activations(float range, size_t n) {
    float *x = numbers(n, range), *b = numbers(n, 1.f), *got = blank(n), *want = blank(n);
    if (n > 2) {
        x[0] = -0.f;
        x[1] = -1e4f;
        x[2] = 1e4f;
    }
    sdt_silu(n, x, got);
    sdt_silu_reference(n, x, want);
    check_near(n, got, want, 5e-7, "silu of %zu up to %g", n, range);
    for (size_t i = 0; i < n; i++) /* also relative to each value, where e^-x is not cut off */
        if (fabs(x[i]) < 80 && !(fabs(got[i] - want[i]) <= 5e-7 * fabs(want[i]))) {
            fprintf(stderr, "silu(%g) is %.9g, not %.9g\n", x[i], got[i], want[i]);
            check_failures++;
        }
    float *one = blank(1);
    for (size_t i = 0; i < n; i++) { /* bits do not depend on the place in the array */
        sdt_silu(1, x + i, one);
        check_bits(1, one, got + i, "silu(%g) alone", x[i]);
    }
    sdt_gated_gelu(n, x, b, got);
    sdt_gated_gelu_reference(n, x, b, want);
    check_near(n, got, want, 5e-7, "gated gelu of %zu up to %g", n, range);
    float *in_place = copy_of(n, x);
    sdt_gated_gelu(n, in_place, b, in_place);
    check_bits(n, in_place, got, "gated gelu into a");
    memcpy(in_place, b, n * sizeof *b);
    sdt_gated_gelu(n, x, in_place, in_place);
    check_bits(n, in_place, got, "gated gelu into b");
    memcpy(got, x, n * sizeof *x);
    memcpy(want, x, n * sizeof *x);
    sdt_add(n, b, got);
    sdt_add_reference(n, b, want);
    check_near(n, got, want, 1e-7, "add %zu", n);
    free(x);
    free(b);
    free(got);
    free(want);
    free(one);
    free(in_place);
}

static void check_sinusoid(float t, int dim, double tolerance) {
    float *got = blank(dim), *want = blank(dim);
    sdt_sinusoid(t, dim, got);
    sdt_sinusoid_reference(t, dim, want);
    check_near(dim, got, want, tolerance, "sinusoid(%g, %d)", t, dim);
    free(got);
    free(want);
}

int main(void) {
    static const size_t sizes[] = {0, 1, 3, 7, 8, 9, 31, 1000};
    check_exp();
    for (size_t i = 0; i < COUNT(sizes); i++) {
        check_activations(1.f, sizes[i]);
        check_activations(10.f, sizes[i]);
        check_activations(200.f, sizes[i]);
    }
    check_sinusoid(0.f, 2, 1e-7);
    check_sinusoid(0.7f, 32, 2e-6);
    check_sinusoid(1.f, 256, 2e-6);
    check_sinusoid(737.5f, 256, 1e-4);
    check_sinusoid(1000.f, 256, 1e-4);
    return check_end("elementwise");
}

/* Clamping and cross-fades, and what must stay untouched beside them. */
#include "kernels/reference.h"
#include "tests/kernels/check.h"

static void check_clamp(size_t n) {
    float *x = numbers(n, 2.f), *want = blank(n);
    if (n > 1) {
        x[0] = -1.f;
        x[1] = INFINITY;
    }
    for (size_t i = 0; i < n; i++)
        want[i] = fminf(fmaxf(x[i], -1.f), 1.f);
    sdt_clamp_frames(n, x);
    check_bits(n, x, want, "clamp %zu", n);
    free(x);
    free(want);
}

static void check_blends(int frames, int a_size, int b_size, int other, int extent) {
    size_t na = (size_t)frames * a_size * other * 3, nb = (size_t)frames * b_size * other * 3;
    float *a = numbers(na, 1.f), *got = numbers(nb, 1.f), *want = copy_of(nb, got);
    sdt_blend_rows(frames, other, extent, a_size, a, b_size, got);
    sdt_blend_rows_reference(frames, other, extent, a_size, a, b_size, want);
    check_near(nb, got, want, 1e-6, "blend %d rows of %d and %d", extent, a_size, b_size);
    memcpy(want, got, nb * sizeof *got);
    sdt_blend_columns(frames, other, extent, a_size, a, b_size, got);
    sdt_blend_columns_reference(frames, other, extent, a_size, a, b_size, want);
    check_near(nb, got, want, 1e-6, "blend %d columns of %d and %d", extent, a_size, b_size);
    free(a);
    free(got);
    free(want);
}

int main(void) {
    check_clamp(0);
    check_clamp(1);
    check_clamp(1001);
    check_blends(1, 1, 1, 1, 1);
    check_blends(3, 7, 5, 4, 5);
    check_blends(2, 64, 80, 9, 64);
    check_blends(2, 8, 8, 3, 0);
    return check_end("frames");
}

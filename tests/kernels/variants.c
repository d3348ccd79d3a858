/* The vector kernels of AVX2 and of AVX-512: the same bits, at the ends of arrays too. */
#include "kernels/cpu/micro_kernel.h"
#include "tests/kernels/check.h"

enum { KERNELS = 15 };

/* Kernel `which` over rows of d numbers (for heads: 3 of d / 3); y [rows, d]. */
static void run(int which, int rows, int d, const float *x, const float *vector /* [4, d] */,
                const float *table, float *y) {
    struct sdt_rope rope = {{2, 3, 50}, {d / 6 - 2 * (d / 18), d / 18, d / 18}, 0};
    struct sdt_sampler_step step = {5.f, .7f, 1, .4f, -.3f, .2f, .9f, .8f, .6f, -.5f, .1f};
    size_t n = (size_t)rows * (size_t)d, third = n / 3;
    const float *a = vector, *b = a + d, *c = b + d, *e = c + d;
    int head[] = {0, 1, 3};
    float *piece[] = {y, y + third};
    const float *from[] = {x, x + third};
    memcpy(y, x, n * sizeof *y);
    switch (which) {
    case 0:
        sdt_layer_norm(rows, d, x, 1e-6f, NULL, NULL, a, b, c, e, y);
        break;
    case 1:
        sdt_layer_norm(rows, d, x, 1e-6f, a, b, NULL, NULL, NULL, NULL, y);
        break;
    case 2:
        sdt_rms_norm(rows, d, x, 1e-6f, a, y);
        break;
    case 3:
        sdt_channel_norm((size_t)rows, d, x, a, rows % 2, y);
        break;
    case 4:
        sdt_split_heads(rows, rows, 3, d / 3, x, a, 1e-6f, &rope, table, 0, 2, head, piece);
        break;
    case 5:
        sdt_merge_heads(rows, 3, d / 3, 2, head, from, y);
        break;
    case 6:
        sdt_silu(n, x, y);
        break;
    case 7:
        sdt_gated_gelu(n, x, y, y);
        break;
    case 8:
        sdt_add(n, x, y);
        break;
    case 9:
        sdt_sampler_step(&step, third / 3, x, x + third, y, y + third / 3, y + third,
                         y + 2 * third);
        break;
    case 10:
        sdt_channel_layer_norm((size_t)rows, d, 1e-6f, x, a, b, rows % 2, y);
        break;
    case 11:
        sdt_gated_silu(n, y, x, y);
        break;
    case 12:
        sdt_quick_gelu(n, y, y);
        break;
    case 13:
        sdt_rotate_halves(rows, 3, d / 3, x, y);
        break;
    case 14:
        sdt_gelu(n, y, y);
        break;
    }
}

static void check(int rows, int d) {
    static const char *const names[KERNELS] = {"layer norm, modulated",
                                               "layer norm, affine",
                                               "RMS norm",
                                               "channel norm",
                                               "split",
                                               "merge",
                                               "silu",
                                               "gated gelu",
                                               "add",
                                               "sampler",
                                               "channel layer norm",
                                               "gated silu",
                                               "quick gelu",
                                               "halves, rotated"};
    size_t n = (size_t)rows * (size_t)d;
    float *x = numbers(n, 3.f), *vector = numbers(4 * (size_t)d, 1.f),
          *table = numbers(60 * 256, 1.f);
    float *narrow = blank(n), *wide = blank(n);
    for (int which = 0; which < KERNELS; which++) {
        sdt__micro_kernel_choose("avx2");
        run(which, rows, d, x, vector, table, narrow);
        sdt__micro_kernel_choose("avx512");
        run(which, rows, d, x, vector, table, wide);
        check_bits(n, wide, narrow, "%s, %d x %d", names[which], rows, d);
    }
    free(x);
    free(vector);
    free(table);
    free(narrow);
    free(wide);
}

int main(void) {
    static const int rows[] = {1, 2, 7, 50}, ds[] = {6, 18, 30, 48, 96, 102, 288, 1536, 2502};
    if (!sdt__micro_kernel_choose("avx512")) {
        fprintf(stderr, "this processor has no AVX-512\n");
        return 77;
    }
    for (size_t r = 0; r < COUNT(rows); r++)
        for (size_t d = 0; d < COUNT(ds); d++)
            check(rows[r], ds[d]);
    return check_end("variants");
}

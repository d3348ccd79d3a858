/* Norms: odd widths, every mix of optional vectors, in place, rows together and one by one. */
#include "kernels/reference.h"
#include "tests/kernels/check.h"

static const double tolerance = 2e-6;

static void check_layer_norm(int rows, int d, unsigned given) {
    size_t n = (size_t)rows * d;
    float *x = numbers(n, 2.f), *vector[6], *got = blank(n), *want = blank(n);
    for (int i = 0; i < 6; i++)
        vector[i] = given >> (i == 0 ? 1 : i) & 1 ? numbers(d, 1.f) : NULL;
    for (size_t i = 0; i < n && d > 30; i++)
        x[i] += 3.f; /* a mean far from 0; few numbers could then be too much alike */
    sdt_layer_norm_reference(rows, d, x, 1e-6f, vector[0], vector[1], vector[2], vector[3],
                             vector[4], vector[5], want);
    sdt_layer_norm(rows, d, x, 1e-6f, vector[0], vector[1], vector[2], vector[3], vector[4],
                   vector[5], got);
    check_near(n, got, want, tolerance, "layer norm %d x %d, vectors %x", rows, d, given);
    for (int r = 0; r < rows; r++) {
        float *row = x + (size_t)r * d;
        sdt_layer_norm(1, d, row, 1e-6f, vector[0], vector[1], vector[2], vector[3], vector[4],
                       vector[5], row);
    }
    check_bits(n, x, got, "layer norm %d x %d by rows, in place", rows, d);
    free(x);
    free(got);
    free(want);
    for (int i = 0; i < 6; i++)
        free(vector[i]);
}

static void check_rms(int rows, int d) {
    size_t n = (size_t)rows * d;
    float *x = numbers(n, 2.f), *weight = numbers(d, 1.f), *got = blank(n), *want = blank(n);
    sdt_rms_norm(rows, d, x, 1e-6f, weight, got);
    sdt_rms_norm_reference(rows, d, x, 1e-6f, weight, want);
    check_near(n, got, want, tolerance, "rms norm %d x %d", rows, d);
    for (int r = 0; r < rows; r++)
        sdt_rms_norm(1, d, x + (size_t)r * d, 1e-6f, weight, x + (size_t)r * d);
    check_bits(n, x, got, "rms norm %d x %d by rows, in place", rows, d);
    free(x);
    free(weight);
    free(got);
    free(want);
}

static void check_channel_norm(size_t pixels, int channels, int silu) {
    size_t n = pixels * channels;
    float *x = numbers(n, 2.f), *gamma = numbers(channels, 1.f), *got = blank(n), *want = blank(n);
    memset(x, 0, channels * sizeof *x); /* a pixel of length 0 */
    sdt_channel_norm(pixels, channels, x, gamma, silu, got);
    sdt_channel_norm_reference(pixels, channels, x, gamma, silu, want);
    check_near(n, got, want, tolerance, "channel norm %zu x %d", pixels, channels);
    for (size_t p = 0; p < pixels; p++)
        sdt_channel_norm(1, channels, x + p * channels, gamma, silu, x + p * channels);
    check_bits(n, x, got, "channel norm %zu x %d by pixels, in place", pixels, channels);
    free(x);
    free(gamma);
    free(got);
    free(want);
}

int main(void) {
    static const int rows[] = {1, 3, 7, 128}, ds[] = {4, 7, 8, 31, 48, 1536, 1541};
    for (size_t r = 0; r < COUNT(rows); r++)
        for (size_t d = 0; d < COUNT(ds); d++) {
            for (unsigned given = 0; given < 64; given += rows[r] == 3 ? 1 : 31)
                check_layer_norm(rows[r], ds[d], given);
            check_rms(rows[r], ds[d]);
            check_channel_norm(rows[r], ds[d], (int)d % 2);
        }
    check_channel_norm(5, 1, 1);
    check_channel_norm(5, 96, 1);
    return check_end("norm");
}

/* Convolutions: kernels in time and space, enlarging, odd sizes, rows wider than a block, frames
 * before the start of the clip; frames in parts and bands of any height have the same bits. */
#include "kernels/reference.h"
#include "tests/kernels/check.h"

static const double tolerance = 3e-6;

static float *packed_weight(int out, int depth, int run, const float *w) {
    float *packed = blank(sdt_packed_size(SDT_F32, out, depth) / sizeof(float));
    sdt_pack_weight(SDT_F32, out, depth, run, w, packed);
    return packed;
}

/* The frame in parts of output rows, from inputs in bands of `band` rows that stand apart. */
static void check_bands(const struct sdt_conv *conv, const float *const *x, struct sdt_weight w,
                        const float *bias, const float *residual, const float *whole, int band) {
    int scale = conv->upsample ? 2 : 1, count = (conv->height + band - 1) / band;
    size_t line = (size_t)conv->width * conv->in;
    size_t out_line = (size_t)conv->width * scale * conv->out;
    float *scratch = blank(sdt_conv_scratch(conv)), *apart[3][16] = {{NULL}};
    for (int t = 0; t < conv->kt; t++)
        for (int b = 0; x[t] && b < count; b++) {
            int rows = conv->height - b * band < band ? conv->height - b * band : band;
            apart[t][b] = copy_of(rows * line, x[t] + b * band * line);
        }
    for (int b = 0; b < count; b++) {
        int y0 = b * band * scale, end = (b + 1) * band * scale;
        end = end < conv->height * scale ? end : conv->height * scale;
        int first = b > 0 && conv->ks > 1 ? b - 1 : b;
        int last = b + 1 < count && conv->ks > 1 ? b + 1 : b;
        const float *seen[9];
        for (int t = 0; t < conv->kt; t++)
            for (int i = first; i <= last; i++)
                seen[t * (last - first + 1) + i - first] = apart[t][i];
        struct sdt_conv_input input = {seen, last - first + 1, first, band};
        float *y = blank((end - y0) * out_line);
        sdt_conv_rows(conv, y0, end - y0, &input, w, bias,
                      residual ? residual + y0 * out_line : NULL, y, scratch);
        check_bits((end - y0) * out_line, y, whole + y0 * out_line,
                   "conv %d->%d k%d,%d of %dx%d%s, rows %d to %d in bands of %d", conv->in,
                   conv->out, conv->kt, conv->ks, conv->height, conv->width,
                   conv->upsample ? " enlarged" : "", y0, end, band);
        free(y);
    }
    for (int t = 0; t < 3; t++)
        for (int b = 0; b < 16; b++)
            free(apart[t][b]);
    free(scratch);
}

/* zeros: how many of the oldest frames lie before the start of the clip */
static void check_conv(struct sdt_conv conv, int with_residual, int zeros) {
    int scale = conv.upsample ? 2 : 1, depth = conv.kt * conv.ks * conv.ks * conv.in;
    int rows = conv.height * scale;
    size_t frame = (size_t)conv.height * conv.width * conv.in;
    size_t n = (size_t)conv.height * conv.width * scale * scale * conv.out;
    float *w = numbers((size_t)conv.out * depth, 1.f), *bias = numbers(conv.out, 1.f);
    float *packed = packed_weight(conv.out, depth, conv.ks * conv.in, w);
    struct sdt_weight weight = {packed, SDT_F32, 1};
    float *got = blank(n), *want = blank(n), *frames[3] = {NULL};
    float *residual = with_residual ? numbers(n, 1.f) : NULL;
    float *scratch = blank(sdt_conv_scratch(&conv));
    for (int t = zeros < conv.kt ? zeros : conv.kt - 1; t < conv.kt; t++)
        frames[t] = numbers(frame, 1.f);
    const float *x[3] = {frames[0], frames[1], frames[2]};
    struct sdt_conv_input input = {x, 1, 0, conv.height};
    sdt_conv_rows(&conv, 0, rows, &input, weight, bias, residual, got, scratch);
    sdt_conv_frame_reference(&conv, x, w, bias, residual, want);
    check_near(n, got, want, tolerance, "conv %d->%d k%d,%d of %dx%d%s", conv.in, conv.out, conv.kt,
               conv.ks, conv.height, conv.width, conv.upsample ? " enlarged" : "");
    float *again = blank(n);
    sdt_conv_rows(&conv, 0, rows, &input, sdt_plain_weight(w), bias, residual, again, scratch);
    check_bits(n, again, got, "conv %d->%d k%d,%d, weights not packed", conv.in, conv.out, conv.kt,
               conv.ks);
    for (int band = 1; band <= conv.height; band += 1 + band / 2)
        check_bands(&conv, x, weight, bias, residual, got, band);
    /* Before the start of the clip: NULL and a frame of zeros give the same bits. */
    float *zero = numbers(frame, 0.f);
    memset(zero, 0, frame * sizeof *zero);
    for (int t = 0; t < conv.kt; t++)
        x[t] = x[t] ? x[t] : zero;
    sdt_conv_rows(&conv, 0, rows, &input, weight, bias, residual, again, scratch);
    check_bits(n, again, got, "conv %d->%d k%d,%d after frames of zeros", conv.in, conv.out,
               conv.kt, conv.ks);
    for (int t = 0; t < 3; t++)
        free(frames[t]);
    free(zero);
    free(again);
    free(bias);
    free(w);
    free(packed);
    free(got);
    free(want);
    free(residual);
    free(scratch);
}

static void check_time_upsample(int height, int width, int channels, int zeros) {
    size_t pixels = (size_t)height * width, frame = pixels * channels;
    float *frames[3] = {NULL}, *w = numbers((size_t)6 * channels * channels, 1.f);
    float *packed = packed_weight(2 * channels, 3 * channels, channels, w);
    float *bias = numbers(2 * channels, 1.f), *got = blank(2 * frame), *want = blank(2 * frame);
    float *scratch = blank(sdt_time_upsample_scratch(pixels)), *parts = blank(2 * frame);
    struct sdt_weight weight = {packed, SDT_F32, 1};
    for (int t = zeros; t < 3; t++)
        frames[t] = numbers(frame, 1.f);
    const float *x[3] = {frames[0], frames[1], frames[2]};
    sdt_time_upsample(pixels, channels, x, weight, bias, got, got + frame, scratch);
    sdt_time_upsample_reference(height, width, channels, x, w, bias, want, want + frame);
    check_near(2 * frame, got, want, tolerance, "time upsample %dx%dx%d", height, width, channels);
    size_t cut = pixels / 3 * channels;
    const float *rest[3];
    for (int t = 0; t < 3; t++)
        rest[t] = x[t] ? x[t] + cut : NULL;
    sdt_time_upsample(pixels / 3, channels, x, weight, bias, parts, parts + frame, scratch);
    sdt_time_upsample(pixels - pixels / 3, channels, rest, weight, bias, parts + cut,
                      parts + frame + cut, scratch);
    check_bits(2 * frame, parts, got, "time upsample %dx%dx%d in two parts", height, width,
               channels);
    for (int t = 0; t < 3; t++)
        free(frames[t]);
    free(w);
    free(packed);
    free(bias);
    free(got);
    free(want);
    free(scratch);
    free(parts);
}

static void check_pack(int out, int in, int taps) {
    size_t n = (size_t)out * in * taps;
    float *w = numbers(n, 1.f), *got = blank(n), *want = blank(n);
    for (int o = 0; o < out; o++)
        for (int i = 0; i < in; i++)
            for (int t = 0; t < taps; t++)
                want[((size_t)o * taps + t) * in + i] = w[((size_t)o * in + i) * taps + t];
    sdt_conv_pack(out, in, taps, w, got);
    check_bits(n, got, want, "pack %d x %d x %d", out, in, taps);
    free(w);
    free(got);
    free(want);
}

int main(void) {
    static const int size[][2] = {{1, 1}, {1, 7}, {5, 1}, {4, 6}, {9, 70}, {3, 256}, {2, 300}};
    static const int channels[][2] = {{1, 1}, {4, 3}, {12, 16}, {33, 5}};
    int i = 0;
    for (size_t s = 0; s < COUNT(size); s++)
        for (size_t c = 0; c < COUNT(channels); c++)
            for (int shape = 0; shape < 8; shape++, i++) {
                struct sdt_conv conv = {channels[c][0],    channels[c][1], shape & 1 ? 3 : 1,
                                        shape & 2 ? 3 : 1, size[s][0],     size[s][1],
                                        shape >> 2};
                check_conv(conv, i % 2 == 0, i % 3);
            }
    check_conv((struct sdt_conv){96, 3, 3, 3, 5, 6, 0}, 0, 0);
    check_conv((struct sdt_conv){32, 96, 3, 3, 6, 40, 0}, 1, 1);
    check_conv((struct sdt_conv){130, 250, 3, 3, 7, 37, 0}, 1, 1);
    check_conv((struct sdt_conv){100, 60, 1, 3, 5, 45, 1}, 0, 0);
    for (int zeros = 0; zeros < 3; zeros++) {
        check_time_upsample(1, 1, 1, zeros);
        check_time_upsample(5, 7, 12, zeros);
        check_time_upsample(2, 270, 5, zeros);
        check_time_upsample(9, 60, 16, zeros);
        check_time_upsample(3, 11, 150, zeros);
    }
    check_pack(1, 1, 1);
    check_pack(3, 5, 27);
    check_pack(8, 16, 3);
    return check_end("conv");
}

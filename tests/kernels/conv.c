/* Convolutions: kernels in time and space, enlarging, odd sizes, rows wider than a block; and a
 * clip in chunks of frames with its history gives the bits of the whole clip. */
#include "kernels/reference.h"
#include "tests/kernels/check.h"

static const double tolerance = 3e-6;

static void check_conv(struct sdt_conv conv, int with_residual, int with_history) {
    int scale = conv.upsample ? 2 : 1, taps = conv.kt * conv.ks * conv.ks;
    size_t frame = (size_t)conv.height * conv.width * conv.in;
    size_t out_frame = (size_t)conv.height * conv.width * scale * scale * conv.out;
    size_t n = conv.frames * out_frame, depth = conv.kt - 1;
    float *x = numbers(conv.frames * frame, 1.f), *bias = numbers(conv.out, 1.f);
    float *w = numbers((size_t)conv.out * taps * conv.in, 1.f), *got = blank(n), *want = blank(n);
    float *history = with_history && depth ? numbers(depth * frame, 1.f) : NULL;
    float *residual = with_residual ? numbers(n, 1.f) : NULL;
    float *scratch = blank(sdt_conv3d_scratch(&conv));
    sdt_conv3d(&conv, x, history, w, bias, residual, got, scratch);
    sdt_conv3d_reference(&conv, x, history, w, bias, residual, want);
    check_near(n, got, want, tolerance, "conv %d->%d k%d,%d of %dx%dx%d%s", conv.in, conv.out,
               conv.kt, conv.ks, conv.frames, conv.height, conv.width,
               conv.upsample ? " enlarged" : "");

    for (int size = 1; size <= 3; size++) {
        float *kept = history ? copy_of(depth * frame, history) : blank(depth * frame);
        float *y = blank(n);
        for (int t = 0; t < conv.frames; t += size) {
            struct sdt_conv chunk = conv;
            chunk.frames = conv.frames - t < size ? conv.frames - t : size;
            int undefined = t == 0 && !history;
            sdt_conv3d(&chunk, x + t * frame, undefined ? NULL : kept, w, bias,
                       residual ? residual + t * out_frame : NULL, y + t * out_frame, scratch);
            sdt_conv_history((int)depth, chunk.frames, frame, undefined, x + t * frame, kept);
        }
        check_bits(n, y, got, "conv %d->%d k%d,%d by %d frames", conv.in, conv.out, conv.kt,
                   conv.ks, size);
        free(kept);
        free(y);
    }
    free(x);
    free(bias);
    free(w);
    free(got);
    free(want);
    free(history);
    free(residual);
    free(scratch);
}

static void check_time_upsample(int frames, int height, int width, int channels) {
    size_t frame = (size_t)height * width * channels, n = 2 * frames * frame;
    float *x = numbers(frames * frame, 1.f), *w = numbers((size_t)6 * channels * channels, 1.f);
    float *bias = numbers(2 * channels, 1.f), *got = blank(n), *want = blank(n);
    float *scratch = blank(sdt_time_upsample_scratch(width, channels)), *kept = blank(2 * frame);
    sdt_time_upsample(frames, height, width, channels, x, NULL, w, bias, got, scratch);
    sdt_time_upsample_reference(frames, height, width, channels, x, NULL, w, bias, want);
    check_near(n, got, want, tolerance, "time upsample %dx%dx%dx%d", frames, height, width,
               channels);
    for (int size = 1; size <= 3; size++) {
        float *y = blank(n);
        for (int t = 0; t < frames; t += size) {
            int count = frames - t < size ? frames - t : size;
            sdt_time_upsample(count, height, width, channels, x + t * frame, t ? kept : NULL, w,
                              bias, y + 2 * t * frame, scratch);
            sdt_conv_history(2, count, frame, t == 0, x + t * frame, kept);
        }
        check_bits(n, y, got, "time upsample by %d frames", size);
        free(y);
    }
    free(x);
    free(w);
    free(bias);
    free(got);
    free(want);
    free(scratch);
    free(kept);
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
                                        shape & 2 ? 3 : 1, 1 + i % 5,      size[s][0],
                                        size[s][1],        shape >> 2};
                check_conv(conv, i % 3 == 0, i % 2);
            }
    check_conv((struct sdt_conv){96, 3, 3, 3, 5, 5, 6, 0}, 0, 0);
    check_conv((struct sdt_conv){32, 96, 3, 3, 2, 6, 40, 0}, 1, 1);
    for (int frames = 1; frames <= 5; frames += 2) {
        check_time_upsample(frames, 1, 1, 1);
        check_time_upsample(frames, 5, 7, 12);
        check_time_upsample(frames, 2, 270, 5);
        check_time_upsample(frames, 9, 60, 16);
    }
    check_pack(1, 1, 1);
    check_pack(3, 5, 27);
    check_pack(8, 16, 3);
    return check_end("conv");
}

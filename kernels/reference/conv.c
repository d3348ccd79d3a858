/* Convolutions, every output one sum over the taps that lie inside. */
#include "kernels/reference.h"

/* The input value seen at frame t, row y, column x of the (possibly enlarged) input; zeros outside.
 */
static double input(const struct sdt_conv *conv, const float *x, const float *history, int t,
                    int row, int column, int channel) {
    int scale = conv->upsample ? 2 : 1;
    if (row < 0 || row >= conv->height * scale || column < 0 || column >= conv->width * scale)
        return 0.;
    if (t < 0 && !history)
        return 0.;
    const float *from = t < 0 ? history : x;
    size_t frame = t < 0 ? t + conv->kt - 1 : t;
    size_t pixel = (frame * conv->height + row / scale) * conv->width + column / scale;
    return from[pixel * conv->in + channel];
}

static double convolve(const struct sdt_conv *conv, const float *x, const float *history, int t,
                       int row, int column, const float *w /* [kt, ks, ks, in] */) {
    double sum = 0.;
    for (int dt = 0; dt < conv->kt; dt++)
        for (int dy = 0; dy < conv->ks; dy++)
            for (int dx = 0; dx < conv->ks; dx++)
                for (int i = 0; i < conv->in; i++)
                    sum += *w++ * input(conv, x, history, t + dt - (conv->kt - 1),
                                        row + dy - conv->ks / 2, column + dx - conv->ks / 2, i);
    return sum;
}

void sdt_conv3d_reference(const struct sdt_conv *conv, const float *x, const float *history,
                          const float *w, const float *bias, const float *residual, float *y) {
    int scale = conv->upsample ? 2 : 1;
    size_t depth = (size_t)conv->kt * conv->ks * conv->ks * conv->in, at = 0;
    for (int t = 0; t < conv->frames; t++)
        for (int row = 0; row < conv->height * scale; row++)
            for (int column = 0; column < conv->width * scale; column++)
                for (int o = 0; o < conv->out; o++, at++) {
                    double z = convolve(conv, x, history, t, row, column, w + o * depth);
                    y[at] = (float)(z + bias[o] + (residual ? residual[at] : 0.));
                }
}

void sdt_time_upsample_reference(int frames, int height, int width, int channels, const float *x,
                                 const float *history, const float *w, const float *bias,
                                 float *y) {
    struct sdt_conv conv = {channels, 2 * channels, 3, 1, frames, height, width, 0};
    for (int t = 0; t < frames; t++)
        for (int row = 0; row < height; row++)
            for (int column = 0; column < width; column++)
                for (int o = 0; o < 2 * channels; o++) {
                    int frame = 2 * t + o / channels;
                    size_t pixel = ((size_t)frame * height + row) * width + column;
                    y[pixel * channels + o % channels] =
                        (float)(bias[o] + convolve(&conv, x, history, t, row, column,
                                                   w + (size_t)o * 3 * channels));
                }
}

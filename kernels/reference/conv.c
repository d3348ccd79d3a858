/* Convolutions, every output one sum over the taps that lie inside. */
#include "kernels/reference.h"

static int within(int i, int n) { return i < 0 ? 0 : i < n ? i : n - 1; }

/* The input value seen at frame dt of the kernel, row and column of the (possibly enlarged) input;
 * outside zeros, or the border. */
static double input(const struct sdt_conv *conv, const float *const *x, int dt, int row, int column,
                    int channel) {
    int scale = conv->upsample ? 2 : 1;
    if (conv->replicate) {
        row = within(row, conv->height * scale);
        column = within(column, conv->width * scale);
    }
    if (row < 0 || row >= conv->height * scale || column < 0 || column >= conv->width * scale)
        return 0.;
    if (!x[dt])
        return 0.;
    return x[dt][((size_t)(row / scale) * conv->width + column / scale) * conv->in + channel];
}

static double convolve(const struct sdt_conv *conv, const float *const *x, int row, int column,
                       const float *w /* [kt, ks, ks, in] */) {
    double sum = 0.;
    for (int dt = 0; dt < conv->kt; dt++)
        for (int dy = 0; dy < conv->ks; dy++)
            for (int dx = 0; dx < conv->ks; dx++)
                for (int i = 0; i < conv->in; i++)
                    sum += *w++ * input(conv, x, dt, row + dy - conv->ks / 2,
                                        column + dx - conv->ks / 2, i);
    return sum;
}

void sdt_conv_frame_reference(const struct sdt_conv *conv, const float *const *x, const float *w,
                              const float *bias, const float *residual, float *y) {
    int scale = conv->upsample ? 2 : 1;
    size_t depth = (size_t)conv->kt * conv->ks * conv->ks * conv->in, at = 0;
    for (int row = 0; row < conv->height * scale; row++)
        for (int column = 0; column < conv->width * scale; column++)
            for (int o = 0; o < conv->out; o++, at++) {
                double z = convolve(conv, x, row, column, w + o * depth);
                y[at] = (float)(z + bias[o] + (residual ? residual[at] : 0.));
            }
}

void sdt_time_upsample_reference(int height, int width, int channels, const float *const *x,
                                 const float *w, const float *bias, float *first, float *second) {
    struct sdt_conv conv = {channels, 2 * channels, 3, 1, height, width, 0, 0};
    for (int row = 0; row < height; row++)
        for (int column = 0; column < width; column++)
            for (int o = 0; o < 2 * channels; o++) {
                float *y = o < channels ? first : second;
                y[((size_t)row * width + column) * channels + o % channels] =
                    (float)(bias[o] +
                            convolve(&conv, x, row, column, w + (size_t)o * 3 * channels));
            }
}

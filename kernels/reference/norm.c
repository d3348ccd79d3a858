/* Norms over rows and over a pixel's channels. */
#include "kernels/reference.h"
#include "kernels/reference/activation.h"

static double at(const float *p /* [d] or NULL */, int i) { return p ? p[i] : 0.; }

static double squares(int n, const float *x /* [n] */, double shift) {
    double sum = 0.;
    for (int i = 0; i < n; i++)
        sum += (x[i] - shift) * (x[i] - shift);
    return sum;
}

void sdt_layer_norm_reference(int rows, int d, const float *x, float eps, const float *weight,
                              const float *bias, const float *scale_a, const float *scale_b,
                              const float *shift_a, const float *shift_b, float *y) {
    for (int r = 0; r < rows; r++, x += d, y += d) {
        double mean = 0.;
        for (int i = 0; i < d; i++)
            mean += x[i];
        mean /= d;
        double deviation = sqrt(squares(d, x, mean) / d + eps);
        for (int i = 0; i < d; i++) {
            double z = (x[i] - mean) / deviation;
            if (weight)
                z = z * weight[i] + bias[i];
            z = z * (1. + at(scale_a, i) + at(scale_b, i)) + at(shift_a, i) + at(shift_b, i);
            y[i] = (float)z;
        }
    }
}

void sdt_rms_norm_reference(int rows, int d, const float *x, float eps, const float *weight,
                            float *y) {
    for (int r = 0; r < rows; r++, x += d, y += d) {
        double rms = sqrt(squares(d, x, 0.) / d + eps);
        for (int i = 0; i < d; i++)
            y[i] = (float)(x[i] / rms * weight[i]);
    }
}

void sdt_channel_norm_reference(size_t pixels, int channels, const float *x, const float *gamma,
                                int with_silu, float *y) {
    for (size_t p = 0; p < pixels; p++, x += channels, y += channels) {
        double length = fmax(sqrt(squares(channels, x, 0.)), 1e-12);
        for (int c = 0; c < channels; c++) {
            double z = x[c] / length * sqrt(channels) * gamma[c];
            y[c] = (float)(with_silu ? silu(z) : z);
        }
    }
}

void sdt_channel_layer_norm_reference(size_t pixels, int channels, float eps, const float *x,
                                      const float *weight, const float *bias, int with_silu,
                                      float *y) {
    for (size_t p = 0; p < pixels; p++, x += channels, y += channels) {
        double mean = 0.;
        for (int c = 0; c < channels; c++)
            mean += x[c];
        mean /= channels;
        double deviation = sqrt(squares(channels, x, mean) / channels + eps);
        for (int c = 0; c < channels; c++) {
            double z = (x[c] - mean) / deviation * weight[c] + bias[c];
            y[c] = (float)(with_silu ? silu(z) : z);
        }
    }
}

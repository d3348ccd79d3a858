/* Norms over a token's row (layer norm with its modulation, RMS norm) and over a pixel's channels.
 * Each row is read twice or three times while it is in the nearest cache, once from memory. */
#include "kernels/cpu/vector_math.h"
#include "kernels/kernels.h"

#include <math.h>

void sdt_layer_norm(int rows, int d, const float *x, float eps, const float *weight,
                    const float *bias, const float *scale_a, const float *scale_b,
                    const float *shift_a, const float *shift_b, float *y) {
    for (int r = 0; r < rows; r++) {
        const float *in = x + (size_t)r * d;
        float *out = y + (size_t)r * d;
        float mean = v8_sum_of(d, in) / (float)d;
        v8 inverse = v8_set(1.f / sqrtf(v8_sum_of_squares(d, in, mean) / (float)d + eps));
        for (int i = 0; i < d; i += 8) {
            size_t left = d - i;
            v8 z = (v8_load(in + i, left) - v8_set(mean)) * inverse;
            if (weight)
                z = z * v8_load(weight + i, left) + v8_load(bias + i, left);
            v8 scale = v8_set(1.f), shift = v8_set(0.f);
            if (scale_a)
                scale += v8_load(scale_a + i, left);
            if (scale_b)
                scale += v8_load(scale_b + i, left);
            if (shift_a)
                shift += v8_load(shift_a + i, left);
            if (shift_b)
                shift += v8_load(shift_b + i, left);
            v8_store(out + i, left, z * scale + shift);
        }
    }
}

void sdt_rms_norm(int rows, int d, const float *x, float eps, const float *weight, float *y) {
    for (int r = 0; r < rows; r++) {
        const float *in = x + (size_t)r * d;
        float *out = y + (size_t)r * d;
        v8 inverse = v8_set(1.f / sqrtf(v8_sum_of_squares(d, in, 0.f) / (float)d + eps));
        for (int i = 0; i < d; i += 8)
            v8_store(out + i, d - i, v8_load(in + i, d - i) * inverse * v8_load(weight + i, d - i));
    }
}

/* In double: a pixel whose channels nearly vanish is blown up by this norm, and its rounding errors
 * with it; each of the decoder's 30 norms would add to them. */
static double sum_of_squares(int n, const float *x /* [n] */) {
    double part[8] = {0};
    int i = 0;
    for (; i + 8 <= n; i += 8)
        for (int j = 0; j < 8; j++)
            part[j] += (double)x[i + j] * x[i + j];
    for (; i < n; i++)
        part[i % 8] += (double)x[i] * x[i];
    return ((part[0] + part[1]) + (part[2] + part[3])) +
           ((part[4] + part[5]) + (part[6] + part[7]));
}

void sdt_channel_norm(size_t pixels, int channels, const float *x, const float *gamma, int silu,
                      float *y) {
    double root = sqrt((double)channels);
    for (size_t p = 0; p < pixels; p++) {
        const float *in = x + p * channels;
        float *out = y + p * channels;
        double length = sqrt(sum_of_squares(channels, in));
        v8 factor = v8_set((float)(root / (length > 1e-12 ? length : 1e-12)));
        for (int i = 0; i < channels; i += 8) {
            size_t left = channels - i;
            v8 z = v8_load(in + i, left) * factor * v8_load(gamma + i, left);
            v8_store(out + i, left, silu ? v8_silu(z) : z);
        }
    }
}

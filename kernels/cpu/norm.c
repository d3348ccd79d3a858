/* Norms over a token's row (layer norm with its modulation, RMS norm) and over a pixel's channels;
 * norm_body.h computes them. */
#include "kernels/cpu/vector_kernels.h"

void sdt_layer_norm(int rows, int d, const float *x, float eps, const float *weight,
                    const float *bias, const float *scale_a, const float *scale_b,
                    const float *shift_a, const float *shift_b, float *y) {
    sdt__vector_kernels()->layer_norm(rows, d, x, eps, weight, bias, scale_a, scale_b, shift_a,
                                      shift_b, y);
}

void sdt_rms_norm(int rows, int d, const float *x, float eps, const float *weight, float *y) {
    sdt__vector_kernels()->rms_norm(rows, d, x, eps, weight, y);
}

void sdt_channel_layer_norm(size_t pixels, int channels, float eps, const float *x,
                            const float *weight, const float *bias, int silu, float *y) {
    sdt__vector_kernels()->channel_layer_norm(pixels, channels, eps, x, weight, bias, silu, y);
}

void sdt_channel_norm(size_t pixels, int channels, const float *x, const float *gamma, int silu,
                      float *y) {
    sdt__vector_kernels()->channel_norm(pixels, channels, x, gamma, silu, y);
}

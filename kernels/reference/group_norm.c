/* GroupNorm over the frames of a clip: means first, then what differs from them. */
#include "kernels/reference.h"
#include "kernels/reference/activation.h"

void sdt_frame_moments_reference(int height, int width, int channels, int groups, const float *x,
                                 float *moments) {
    size_t pixels = (size_t)height * width;
    int of_group = channels / groups;
    for (int g = 0; g < groups; g++) {
        double mean = 0., square = 0.;
        for (size_t p = 0; p < pixels; p++)
            for (int c = g * of_group; c < (g + 1) * of_group; c++)
                mean += x[p * channels + c];
        mean /= (double)pixels * of_group;
        for (size_t p = 0; p < pixels; p++)
            for (int c = g * of_group; c < (g + 1) * of_group; c++)
                square += (x[p * channels + c] - mean) * (x[p * channels + c] - mean);
        moments[2 * g] = (float)mean;
        moments[2 * g + 1] = (float)square;
    }
}

/* By way of sums and sums of squares, which another order of thought gives. */
void sdt_group_moments_reference(int frames, int groups, double values, float eps,
                                 const float *const *moments, float *norm) {
    for (int g = 0; g < groups; g++) {
        double sum = 0., square = 0., all = values * frames;
        for (int t = 0; t < frames; t++) {
            double mean = moments[t][2 * g];
            sum += values * mean;
            square += moments[t][2 * g + 1] + values * mean * mean;
        }
        norm[2 * g] = (float)(sum / all);
        norm[2 * g + 1] = (float)(1. / sqrt(square / all - sum / all * (sum / all) + eps));
    }
}

void sdt_group_norm_reference(size_t pixels, int channels, int groups, const float *x,
                              const float *norm, const float *weight, const float *bias,
                              int with_silu, float *y) {
    for (size_t p = 0; p < pixels; p++, x += channels, y += channels)
        for (int c = 0; c < channels; c++) {
            const float *group = norm + 2 * (c / (channels / groups));
            double z = ((double)x[c] - group[0]) * group[1] * weight[c] + bias[c];
            y[c] = (float)(with_silu ? silu(z) : z);
        }
}

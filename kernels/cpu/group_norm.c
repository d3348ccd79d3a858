/* GroupNorm over the frames of a clip. Sums are taken channel by channel in double precision, row
 * after row of a frame, so that neither bands nor the time at which frames are computed can show
 * (group_norm_body.h). */
#include "kernels/cpu/vector_kernels.h"

#include <math.h>
#include <string.h>

size_t sdt_frame_moments_scratch(int channels) {
    return 2 * (size_t)channels * sizeof(double) / sizeof(float);
}

void sdt_frame_moments(int bands, int band_rows, int height, int width, int channels, int groups,
                       const float *const *x, float *moments, float *scratch) {
    double *sums = (double *)scratch; /* [C, 2] */
    int of_group = channels / groups;
    double values = (double)height * width * of_group;
    memset(sums, 0, 2 * (size_t)channels * sizeof *sums);
    for (int b = 0; b < bands; b++)
        for (int y = b * band_rows; y < height && y < (b + 1) * band_rows; y++)
            sdt__vector_kernels()->row_sums(
                width, channels,
                x[b] + (size_t)(y - b * band_rows) * (size_t)width * (size_t)channels, sums);
    for (int g = 0; g < groups; g++, sums += 2 * of_group, moments += 2) {
        double sum = 0., square = 0.;
        for (int c = 0; c < of_group; c++) {
            sum += sums[2 * c];
            square += sums[2 * c + 1];
        }
        double rest = square - sum * (sum / values);
        moments[0] = (float)(sum / values);
        moments[1] = (float)(rest < 0. ? 0. : rest);
    }
}

void sdt_group_moments(int frames, int groups, double values, float eps,
                       const float *const *moments, float *norm) {
    for (int g = 0; g < groups; g++) {
        double mean = 0., square = 0.;
        for (int t = 0; t < frames; t++)
            mean += moments[t][2 * g];
        mean /= frames;
        for (int t = 0; t < frames; t++) {
            double away = moments[t][2 * g] - mean;
            square += moments[t][2 * g + 1] + values * away * away;
        }
        norm[2 * g] = (float)mean;
        norm[2 * g + 1] = (float)(1. / sqrt(square / (values * frames) + eps));
    }
}

void sdt_group_norm(size_t pixels, int channels, int groups, const float *x, const float *norm,
                    const float *weight, const float *bias, int silu, float *y) {
    sdt__vector_kernels()->group_norm(pixels, channels, groups, x, norm, weight, bias, silu, y);
}

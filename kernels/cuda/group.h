/* Bodies of GroupNorm over clips: sums of a frame, row by row and channel by channel, what they
 * come to for each group, and the norm. Packs and types, and who else compiles this:
 * kernels/cuda/bodies.h. */
#ifndef STARDIT_CUDA_GROUP_H
#define STARDIT_CUDA_GROUP_H

#include "kernels/cuda/bodies.h"

#define GROUP_THREADS 256
/* Pixels whose sums are taken in float, before they are added in double. */
#define GROUP_RUN 16

/* ---- sums ------------------------------------------------------------------------------------ */

struct body_moments {
    int height, width, channels, groups;
    const void *x;  /* [height, width, C] */
    float *sums;    /* [height, C, 2]: of a row's values, and of their squares */
    float *moments; /* [groups, 2] */
};

/* How many threads share the pixels of a row, beside those that share its channels. */
SDT_BODY int body_moments_across(int channels, int pack) {
    int packs = (channels + pack - 1) / pack;
    return packs >= GROUP_THREADS ? 1 : GROUP_THREADS / packs;
}

/* Pixels part, part + parts, ... of a row, channels c.. of it. */
SDT_BODY void body_moments_part(const struct body_moments *a, enum sdt_dtype dtype, int pack,
                                int row, int c, int part, int parts, double *sum /* [pack] */,
                                double *square /* [pack] */) {
    float v[SDT_PACK], few[SDT_PACK], squares[SDT_PACK];
    const size_t start = (size_t)row * (size_t)a->width;
    SDT_UNROLL
    for (int j = 0; j < pack; j++)
        sum[j] = square[j] = 0.;
    for (int p = part; p < a->width;) {
        SDT_UNROLL
        for (int j = 0; j < pack; j++)
            few[j] = squares[j] = 0.f;
        for (int i = 0; i < GROUP_RUN && p < a->width; i++, p += parts) {
            body_load(dtype, pack, a->x, (start + (size_t)p) * (size_t)a->channels + (size_t)c, v);
            SDT_UNROLL
            for (int j = 0; j < pack; j++) {
                few[j] += v[j];
                squares[j] += v[j] * v[j];
            }
        }
        SDT_UNROLL
        for (int j = 0; j < pack; j++) {
            sum[j] += few[j];
            square[j] += squares[j];
        }
    }
}

SDT_BODY void body_moments_row(const struct body_moments *a, int row, int c, double sum,
                               double square) {
    float *sums = a->sums + 2 * ((size_t)row * (size_t)a->channels + (size_t)c);
    sums[0] = (float)sum;
    sums[1] = (float)square;
}

/* Numbers i, i + step, ... of a group's sums. */
SDT_BODY void body_moments_group(const struct body_moments *a, int group, int i, int step,
                                 double *sum, double *square) {
    int of_group = a->channels / a->groups;
    *sum = *square = 0.;
    for (int64_t n = (int64_t)a->height * of_group; i < n; i += step) {
        int row = i / of_group, c = group * of_group + i % of_group;
        const float *sums = a->sums + 2 * ((size_t)row * (size_t)a->channels + (size_t)c);
        *sum += sums[0];
        *square += sums[1];
    }
}

SDT_BODY void body_moments_end(const struct body_moments *a, int group, double sum, double square) {
    double values = (double)a->height * a->width * (a->channels / a->groups);
    double rest = square - sum * (sum / values);
    a->moments[2 * group] = (float)(sum / values);
    a->moments[2 * group + 1] = (float)(rest < 0. ? 0. : rest);
}

/* Of all frames, one group. */
SDT_BODY void body_group_moments(int frames, int groups, double values, float eps,
                                 const float *moments /* [frames, groups, 2] */, int g,
                                 float *norm /* [groups, 2] */) {
    double mean = 0., square = 0.;
    for (int t = 0; t < frames; t++)
        mean += moments[2 * (t * groups + g)];
    mean /= frames;
    for (int t = 0; t < frames; t++) {
        double away = moments[2 * (t * groups + g)] - mean;
        square += moments[2 * (t * groups + g) + 1] + values * away * away;
    }
    norm[2 * g] = (float)mean;
    norm[2 * g + 1] = (float)(1. / sqrt(square / (values * frames) + eps));
}

/* ---- norm ------------------------------------------------------------------------------------ */

struct body_group_norm {
    size_t n; /* pixels * C */
    int channels, groups;
    const void *x;              /* [pixels, C] */
    const float *norm;          /* [groups, 2] */
    const float *weight, *bias; /* [C] */
    int silu;
    void *y; /* [pixels, C], may be x */
};

/* The pack at element i, which lies within a pixel. */
SDT_BODY void body_group_norm_pack(const struct body_group_norm *a, enum sdt_dtype dtype, int pack,
                                   size_t i) {
    float v[SDT_PACK], weight[SDT_PACK], bias[SDT_PACK];
    int c = (int)(i % (size_t)a->channels), of_group = a->channels / a->groups;
    body_load(dtype, pack, a->x, i, v);
    body_load(SDT_F32, pack, a->weight, (size_t)c, weight);
    body_load(SDT_F32, pack, a->bias, (size_t)c, bias);
    SDT_UNROLL
    for (int j = 0; j < pack; j++) {
        const float *group = a->norm + 2 * ((c + j) / of_group);
        float z = (v[j] - group[0]) * (group[1] * weight[j]) + bias[j];
        v[j] = a->silu ? body_silu(z) : z;
    }
    body_store(dtype, pack, a->y, i, v);
}
#endif

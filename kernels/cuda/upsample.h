/* Bodies of the kernels that enlarge frames: by linear interpolation, and from the bands of a
 * wavelet. Packs and types, and who else compiles this: kernels/cuda/bodies.h. */
#ifndef STARDIT_CUDA_UPSAMPLE_H
#define STARDIT_CUDA_UPSAMPLE_H

#include "kernels/cuda/bodies.h"

/* ---- linear interpolation -------------------------------------------------------------------- */

struct body_upsample {
    struct sdt_linear_upsample up;
    const void *a, *b; /* [height, width, C]; b NULL: there is no second frame */
    void *y;           /* [2 height, 2 width, C] */
};

/* The neighbour of an output place that counts 1/4, where at / 2 counts 3/4. */
SDT_BODY int body_upsample_other(int at, int size) {
    int place = at % 2 ? at / 2 + 1 : at / 2 - 1;
    return place < 0 ? 0 : place < size ? place : size - 1;
}

/* v += weight * the pack at that pixel, of one frame or between two. */
SDT_BODY void body_upsample_add(const struct body_upsample *a, enum sdt_dtype dtype, int pack,
                                int y, int x, int c, float weight, float *v /* [pack] */) {
    float z[SDT_PACK], second[SDT_PACK], of_a = a->up.weight;
    size_t at = ((size_t)y * a->up.width + x) * a->up.channels + c;
    body_load(dtype, pack, a->a, at, z);
    if (a->b) {
        body_load(dtype, pack, a->b, at, second);
        SDT_UNROLL
        for (int j = 0; j < pack; j++)
            z[j] = z[j] * of_a + second[j] * (1.f - of_a);
    }
    SDT_UNROLL
    for (int j = 0; j < pack; j++)
        v[j] += z[j] * weight;
}

/* Elements i..i+pack-1 of row r of the output; packs do not cross the ends of pixels. */
SDT_BODY void body_upsample_pack(const struct body_upsample *a, enum sdt_dtype dtype, int pack,
                                 int r, int i) {
    int x = i / a->up.channels, c = i - x * a->up.channels;
    int y = r / 2, far_y = body_upsample_other(r, a->up.height);
    int far_x = body_upsample_other(x, a->up.width);
    float v[SDT_PACK];
    SDT_UNROLL
    for (int j = 0; j < pack; j++)
        v[j] = 0.f;
    body_upsample_add(a, dtype, pack, y, x / 2, c, .5625f, v);
    body_upsample_add(a, dtype, pack, y, far_x, c, .1875f, v);
    body_upsample_add(a, dtype, pack, far_y, x / 2, c, .1875f, v);
    body_upsample_add(a, dtype, pack, far_y, far_x, c, .0625f, v);
    body_store(dtype, pack, a->y, (size_t)r * 2 * a->up.width * a->up.channels + i, v);
}

/* ---- inverse Haar transforms ----------------------------------------------------------------- */

struct body_haar {
    int height, width, bands; /* 4: in the plane; 8: in space and time */
    const void *x;            /* [height, width, bands, 3] */
    const void *low;          /* [height, width, 3] or NULL */
    void *y[2];               /* [2 height, 2 width, 3]; of 8 bands the earlier first, or NULL */
};

/* Value i of row r of the input, a pixel's color: to all the pixels that come of it. */
SDT_BODY void body_haar(const struct body_haar *a, enum sdt_dtype dtype, int r, int i) {
    int x = i / 3, c = i - x * 3, cube = a->bands == 8;
    float v[8]; /* [2 (frames),] 2 (down), 2 (across) */
    size_t pixel = (size_t)r * a->width + x;
    SDT_UNROLL
    for (int k = 0; k < 8; k++) {
        /* in the plane, the second band changes sign from row to row, the third across */
        int band = cube ? k : k == 1 ? 2 : k == 2 ? 1 : k;
        v[k] = 0.f;
        if (k < a->bands)
            body_load(dtype, 1, a->x, (pixel * a->bands + band) * 3 + c, v + k);
    }
    if (a->low) {
        float low;
        body_load(dtype, 1, a->low, pixel * 3 + c, &low);
        v[0] += low;
    }
    SDT_UNROLL
    for (int axis = 1; axis < 8; axis *= 2) {
        SDT_UNROLL
        for (int k = 0; k < 8; k++)
            if (!(k & axis)) {
                float sum = v[k] + v[k | axis], difference = v[k] - v[k | axis];
                v[k] = sum;
                v[k | axis] = difference;
            }
    }
    SDT_UNROLL
    for (int k = 0; k < 8; k++)
        if (k < a->bands && a->y[k / 4]) {
            size_t line = (size_t)r * 2 + k / 2 % 2;
            float z = v[k] * (cube ? .3536f : .5f);
            body_store(dtype, 1, a->y[k / 4], (line * 2 * a->width + x * 2 + k % 2) * 3 + c, &z);
        }
}
#endif

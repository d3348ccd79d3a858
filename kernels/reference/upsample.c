/* Frames enlarged: by linear interpolation, each pixel from where it lies in the input; and by
 * inverse Haar transforms, from their tables of signs. */
#include "kernels/reference.h"

#include <math.h>

/* ---- linear interpolation -------------------------------------------------------------------- */

/* The two neighbours of output place `at`, (at + 1/2) / 2 - 1/2 of the input, and the second's
 * share. */
static double neighbours(int at, int size, int place[2]) {
    double from = fmax((at + .5) / 2. - .5, 0.), whole = floor(from);
    place[0] = (int)whole;
    place[1] = place[0] + 1 < size ? place[0] + 1 : size - 1;
    return from - whole;
}

void sdt_linear_upsample_reference(const struct sdt_linear_upsample *up, const float *a,
                                   const float *b, float *y) {
    for (int r = 0; r < 2 * up->height; r++)
        for (int x = 0; x < 2 * up->width; x++)
            for (int c = 0; c < up->channels; c++) {
                int down[2], across[2];
                double below = neighbours(r, up->height, down), sum = 0.;
                double right = neighbours(x, up->width, across);
                for (int i = 0; i < 4; i++) {
                    size_t at = ((size_t)(down[i / 2] * up->width) + (size_t)across[i % 2]) *
                                    (size_t)up->channels +
                                (size_t)c;
                    double z = a[at];
                    if (b)
                        z = up->weight * z + (1. - up->weight) * b[at];
                    sum += (i / 2 ? below : 1. - below) * (i % 2 ? right : 1. - right) * z;
                }
                *y++ = (float)sum;
            }
}

/* ---- inverse Haar transforms ----------------------------------------------------------------- */

/* The sum of the bands [bands, 3] of color c, with the signs of one place. */
static double sum_of(int bands, const float *x, const float *low, int c,
                     const char *const *signs /* [bands] -> a sign for each place */, int place) {
    double sum = low ? low[c] : 0.;
    for (int k = 0; k < bands; k++)
        sum += signs[k][place] == '+' ? x[k * 3 + c] : -x[k * 3 + c];
    return sum;
}

void sdt_inverse_haar_2d_reference(int height, int width, const float *bands, const float *low,
                                   float *y) {
    static const char *const signs[] = {"++++", "++--", "+-+-", "+--+"};
    for (int r = 0; r < 2 * height; r++)
        for (int x = 0; x < 2 * width; x++)
            for (int c = 0; c < 3; c++) {
                int pixel = r / 2 * width + x / 2;
                *y++ = (float)(.5 * sum_of(4, bands + pixel * 12, low ? low + pixel * 3 : NULL, c,
                                           signs, r % 2 * 2 + x % 2));
            }
}

void sdt_inverse_haar_3d_reference(int height, int width, const float *bands, const float *low,
                                   float *first, float *second) {
    static const char *const signs[] = {"++++++++", "+-+-+-+-", "++--++--", "+--++--+",
                                        "++++----", "+-+--+-+", "++----++", "+--+-++-"};
    for (int t = 0; t < 2; t++)
        for (int r = 0; r < 2 * height; r++)
            for (int x = 0; x < 2 * width; x++)
                for (int c = 0; c < 3; c++) {
                    int pixel = r / 2 * width + x / 2, at = (r * 2 * width + x) * 3 + c;
                    double z = .3536 * sum_of(8, bands + pixel * 24, low ? low + pixel * 3 : NULL,
                                              c, signs, t * 4 + r % 2 * 2 + x % 2);
                    if (t)
                        second[at] = (float)z;
                    else if (first)
                        first[at] = (float)z;
                }
}

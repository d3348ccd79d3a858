/* Frames enlarged x2 in height and width. By linear interpolation: a row of the output is the sum
 * of up to four rows of the input, which is then spread over twice as many pixels. From the bands
 * of a wavelet: sums and differences along one axis after the other, scaled at the end. Every pixel
 * is computed by itself. */
#include "kernels/kernels.h"

/* ---- linear interpolation -------------------------------------------------------------------- */

static int at_most(int a, int b) { return a < b ? a : b; }

/* Row y of an input frame, [width, C]. */
static const float *row_of(const struct sdt_linear_upsample *up, const struct sdt_conv_input *in,
                           int frame, int y) {
    const float *band = in->x[frame * in->bands + y / in->band_rows - in->first_band];
    return band + (size_t)(y % in->band_rows) * (size_t)up->width * (size_t)up->channels;
}

/* The neighbour of an output place `at` that counts 1/4, where at / 2 counts 3/4. */
static int other(int at, int size) {
    int place = at % 2 ? at / 2 + 1 : at / 2 - 1;
    return place < 0 ? 0 : at_most(place, size - 1);
}

size_t sdt_linear_upsample_scratch(const struct sdt_linear_upsample *up) {
    return (size_t)up->width * (size_t)up->channels;
}

void sdt_linear_upsample_rows(const struct sdt_linear_upsample *up, int y0, int rows,
                              const struct sdt_conv_input *input, float *y, float *scratch) {
    size_t line = (size_t)up->width * (size_t)up->channels, channels = (size_t)up->channels;
    float of_a = up->weight, of_b = 1.f - up->weight;
    for (int r = y0; r < y0 + rows; r++) {
        const float *near = row_of(up, input, 0, r / 2);
        const float *far = row_of(up, input, 0, other(r, up->height));
        if (of_a == 1.f) {
            for (size_t i = 0; i < line; i++)
                scratch[i] = near[i] * .75f + far[i] * .25f;
        } else {
            const float *near_b = row_of(up, input, 1, r / 2);
            const float *far_b = row_of(up, input, 1, other(r, up->height));
            for (size_t i = 0; i < line; i++)
                scratch[i] = (near[i] * of_a + near_b[i] * of_b) * .75f +
                             (far[i] * of_a + far_b[i] * of_b) * .25f;
        }
        for (int x = 0; x < 2 * up->width; x++, y += channels) {
            const float *at = scratch + (size_t)(x / 2) * channels;
            const float *beside = scratch + (size_t)other(x, up->width) * channels;
            for (size_t c = 0; c < channels; c++)
                y[c] = at[c] * .75f + beside[c] * .25f;
        }
    }
}

/* ---- inverse Haar transforms ----------------------------------------------------------------- */

enum { COLORS = 3 };

/* a + b to *a, a - b to *b. */
static void butterfly(float *a, float *b) {
    float sum = *a + *b, difference = *a - *b;
    *a = sum;
    *b = difference;
}

/* Values of one color in a 2x2 square, [2 (down), 2 (across)], to their places. */
static void put_square(const float *value, float scale, size_t line, float *y) {
    y[0] = value[0] * scale;
    y[COLORS] = value[1] * scale;
    y[line] = value[2] * scale;
    y[line + COLORS] = value[3] * scale;
}

void sdt_inverse_haar_2d(int height, int width, const float *bands, const float *low, float *y) {
    size_t line = 2 * (size_t)width * COLORS;
    for (int r = 0; r < height; r++, y += line)
        for (int x = 0; x < width; x++, bands += 4 * COLORS, y += 2 * COLORS)
            for (int c = 0; c < COLORS; c++) {
                /* the second band changes sign from row to row, the third across */
                float v[4] = {bands[c], bands[2 * COLORS + c], bands[COLORS + c],
                              bands[3 * COLORS + c]};
                if (low)
                    v[0] += *low++;
                butterfly(v, v + 2);
                butterfly(v + 1, v + 3);
                butterfly(v, v + 1);
                butterfly(v + 2, v + 3);
                put_square(v, .5f, line, y + c);
            }
}

void sdt_inverse_haar_3d(int height, int width, const float *bands, const float *low, float *first,
                         float *second) {
    size_t line = 2 * (size_t)width * COLORS, at = 0;
    for (int r = 0; r < height; r++, at += line)
        for (int x = 0; x < width; x++, bands += 8 * COLORS, at += 2 * COLORS)
            for (int c = 0; c < COLORS; c++) {
                float v[8]; /* [2 (frames), 2 (down), 2 (across)] */
                for (int k = 0; k < 8; k++)
                    v[k] = bands[k * COLORS + c];
                if (low)
                    v[0] += *low++;
                for (int axis = 1; axis < 8; axis *= 2)
                    for (int k = 0; k < 8; k++)
                        if (!(k & axis))
                            butterfly(v + k, v + (k | axis));
                if (first)
                    put_square(v, .3536f, line, first + at + c);
                put_square(v + 4, .3536f, line, second + at + c);
            }
}

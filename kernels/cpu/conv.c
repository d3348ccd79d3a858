/* Causal video convolutions on channel-last activations, as matrix products.
 *
 * For a block of output pixels the inputs each of them needs are copied side by side ([pixels,
 * kt*ks*ks*in], runs of ks*in floats at a time) and multiplied with the packed weights. A block is
 * some whole rows of the output frame, or a part of one row: at most 256 pixels, so that the copy
 * stays near the cores, and cut by the frame's width alone. A call makes one frame: how many frames
 * are in flight can so never change a pixel's bits. */
#include "kernels/cpu/blas.h"
#include "kernels/kernels.h"

#include <string.h>

enum { BLOCK = 256 };

/* How one frame of width pixels a row is cut: blocks of `rows` rows by `cols` columns. */
struct block {
    int rows, cols;
};

static struct block block_of(int width) {
    if (width <= BLOCK)
        return (struct block){BLOCK / width, width};
    int parts = (width + BLOCK - 1) / BLOCK;
    return (struct block){1, (width + parts - 1) / parts};
}

static int at_most(int a, int b) { return a < b ? a : b; }

/* The three neighbours left, at and right of output column `column`, of an input row. */
static void gather_three(const struct sdt_conv *conv, int column, int columns,
                         const float *row /* [width, in] or NULL: zeros */,
                         float *patch /* [3, in] */) {
    size_t in = conv->in;
    if (!row) {
        memset(patch, 0, 3 * in * sizeof(float));
    } else if (conv->upsample) {
        for (int dx = 0; dx < 3; dx++) {
            int c = column + dx - 1;
            if (c < 0 || c >= columns)
                memset(patch + dx * in, 0, in * sizeof(float));
            else
                memcpy(patch + dx * in, row + (c >> 1) * in, in * sizeof(float));
        }
    } else {
        int from = column > 0 ? -1 : 0, to = column + 1 < columns ? 2 : 1;
        if (from == 0)
            memset(patch, 0, in * sizeof(float));
        memcpy(patch + (from + 1) * in, row + (column + from) * (ptrdiff_t)in,
               (to - from) * in * sizeof(float));
        if (to == 1)
            memset(patch + 2 * in, 0, in * sizeof(float));
    }
}

/* All inputs of output pixels (y, x0..x0+cols-1). */
static void gather_row(const struct sdt_conv *conv,
                       const float *const *frame /* [kt], may be NULL */, int y, int x0, int cols,
                       float *patch /* [cols, kt, ks, ks, in] */) {
    int scale = conv->upsample ? 2 : 1;
    int rows = conv->height * scale, columns = conv->width * scale;
    size_t in = conv->in, line = (size_t)conv->width * in;
    const float *row[9]; /* [kt, ks] input rows that this output row sees */
    int nrows = conv->kt * conv->ks;
    for (int i = 0; i < nrows; i++) {
        int yy = y + i % conv->ks - conv->ks / 2;
        const float *f = frame[i / conv->ks];
        row[i] = f && yy >= 0 && yy < rows ? f + yy / scale * line : NULL;
    }
    for (int x = x0; x < x0 + cols; x++)
        for (int i = 0; i < nrows; i++) {
            if (conv->ks == 3)
                gather_three(conv, x, columns, row[i], patch);
            else if (row[i])
                memcpy(patch, row[i] + x / scale * in, in * sizeof(float));
            else
                memset(patch, 0, in * sizeof(float));
            patch += conv->ks * in;
        }
}

size_t sdt_conv_frame_scratch(const struct sdt_conv *conv) {
    struct block block = block_of(conv->width * (conv->upsample ? 2 : 1));
    return (size_t)block.rows * block.cols * conv->kt * conv->ks * conv->ks * conv->in;
}

void sdt_conv_frame(const struct sdt_conv *conv, const float *const *x, const float *w,
                    const float *bias, const float *residual, float *y, float *scratch) {
    int scale = conv->upsample ? 2 : 1;
    int rows = conv->height * scale, columns = conv->width * scale;
    int taps = conv->kt * conv->ks * conv->ks, depth = taps * conv->in, out = conv->out;
    struct block block = block_of(columns);

    for (int y0 = 0; y0 < rows; y0 += block.rows)
        for (int x0 = 0; x0 < columns; x0 += block.cols) {
            int r = at_most(block.rows, rows - y0), c = at_most(block.cols, columns - x0);
            int pixels = r * c;
            size_t place = (size_t)y0 * columns + x0;
            const float *patches = scratch; /* [pixels, depth] */
            if (taps == 1 && !conv->upsample)
                patches = x[0] + place * conv->in;
            else
                for (int i = 0; i < r; i++)
                    gather_row(conv, x, y0 + i, x0, c, scratch + (size_t)i * c * depth);
            float *to = y + place * out; /* [pixels, out] */
            sdt__gemm_nt(pixels, out, depth, 1.f, patches, depth, w, depth, 0.f, to, out);
            /* Bias and residual last: started from them, the sum of the products would be rounded to
             * their size at every step. */
            for (int p = 0; p < pixels; p++)
                for (int o = 0; o < out; o++)
                    to[(size_t)p * out + o] +=
                        bias[o] + (residual ? residual[(place + p) * out + o] : 0.f);
        }
}

void sdt_conv_pack(int out, int in, int taps, const float *w, float *packed) {
    for (int o = 0; o < out; o++, w += (size_t)in * taps)
        for (int t = 0; t < taps; t++)
            for (int i = 0; i < in; i++)
                *packed++ = w[(size_t)i * taps + t];
}

size_t sdt_time_upsample_scratch(int width, int channels) {
    struct block block = block_of(width);
    return (size_t)block.rows * block.cols * 3 * channels;
}

void sdt_time_upsample(int height, int width, int channels, const float *const *x, const float *w,
                       const float *bias, float *first, float *second, float *scratch) {
    struct sdt_conv conv = {channels, channels, 3, 1, height, width, 0};
    struct block block = block_of(width);
    int depth = 3 * channels;

    for (int y0 = 0; y0 < height; y0 += block.rows)
        for (int x0 = 0; x0 < width; x0 += block.cols) {
            int r = at_most(block.rows, height - y0), c = at_most(block.cols, width - x0);
            size_t place = ((size_t)y0 * width + x0) * channels;
            for (int i = 0; i < r; i++)
                gather_row(&conv, x, y0 + i, x0, c, scratch + (size_t)i * c * depth);
            /* Each half of the output channels is an output frame of its own. */
            for (int half = 0; half < 2; half++) {
                float *to = (half ? second : first) + place; /* [r * c, channels] */
                for (int p = 0; p < r * c; p++)
                    memcpy(to + (size_t)p * channels, bias + half * channels,
                           channels * sizeof(float));
                sdt__gemm_nt(r * c, channels, depth, 1.f, scratch, depth,
                             w + (size_t)half * channels * depth, depth, 1.f, to, channels);
            }
        }
}

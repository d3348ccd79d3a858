/* Causal video convolutions on channel-last activations, as matrix products without the matrix.
 *
 * The inputs of a pixel in one row of the kernel, its neighbours left, at and right, lie side by
 * side in memory: ks * in floats, and those of the next pixel `in` floats further on. So a row of
 * pixels is the left side of a product for one row of the kernel at a time, where it lies; only a
 * frame's border and enlarged frames make it necessary to copy lines, some pixels at a time, with
 * what stands outside of the frame at both ends.
 *
 * Every pixel is computed by itself: its bits depend neither on the rows of a call nor on how they
 * are cut. */
#include "kernels/cpu/product.h"
#include "kernels/cpu/vector_math.h"
#include "kernels/kernels.h"

enum {
    ROWS = 4,      /* output rows of a block */
    COLS = 32,     /* output columns of a block, about */
    WIDE_COLS = 64 /* the same where no line is copied */
};
_Static_assert((int)ROWS <= (int)SDT__SEGMENTS, "each row is a segment");

static int at_most(int a, int b) { return a < b ? a : b; }

/* Are the lines copied? */
static bool copies(const struct sdt_conv *conv) { return conv->ks > 1 || conv->upsample; }

static int output_width(const struct sdt_conv *conv) {
    return conv->width * (conv->upsample ? 2 : 1);
}

/* Columns of a block: equal parts of a row, in whole blocks of the micro-kernel. */
static int block_columns(const struct sdt_conv *conv) {
    int width = output_width(conv), most = copies(conv) ? COLS : WIDE_COLS;
    int parts = (width + most - 1) / most;
    return at_most(width, ((width + parts - 1) / parts + 7) / 8 * 8);
}

/* Floats of a copied line of so many pixels. */
static size_t line_size(const struct sdt_conv *conv, int cols) {
    return (size_t)(cols + conv->ks - 1) * (size_t)conv->in;
}

/* ---- where inputs lie ------------------------------------------------------------------------ */

/* One block of output pixels and its inputs. */
struct block {
    const struct sdt_conv *conv;
    const struct sdt_conv_input *input;
    int y, x, rows, cols; /* of the output */
    const float *lines;   /* [kt, rows + ks - 1, cols + ks - 1, in], or NULL: not copied */
};

/* Row y of input frame t, [width, in]; NULL: zeros. */
static const float *input_row(const struct sdt_conv *conv, const struct sdt_conv_input *input,
                              int t, int y) {
    int rows = conv->height * (conv->upsample ? 2 : 1);
    if (conv->replicate)
        y = y < 0 ? 0 : at_most(y, rows - 1);
    if (y < 0 || y >= rows)
        return NULL;
    if (conv->upsample)
        y /= 2;
    const float *band = input->x[t * input->bands + y / input->band_rows - input->first_band];
    return band ? band + (size_t)(y % input->band_rows) * (size_t)conv->width * (size_t)conv->in
                : NULL;
}

static const float *pixels_at(const void *arg, int segment, int first, ptrdiff_t *ld) {
    const struct block *block = arg;
    const struct sdt_conv *conv = block->conv;
    int run = conv->ks * conv->in, tap = first / run, rest = first % run;
    int t = tap / conv->ks, dy = tap % conv->ks;
    (void)ld;
    const float *row = input_row(conv, block->input, t, block->y + segment + dy - conv->ks / 2);
    if (!row)
        return NULL;
    if (!block->lines)
        return row + (size_t)block->x * (size_t)conv->in + rest;
    return block->lines +
           (size_t)(t * (block->rows + conv->ks - 1) + segment + dy) *
               line_size(conv, block->cols) +
           rest;
}

/* A pixel outside of the frame: zeros, or that of its border. */
static void copy_outside(const struct sdt_conv *conv, const float *border,
                         float *pixel /* [in] */) {
    size_t bytes = (size_t)conv->in * sizeof(float);
    if (conv->replicate)
        memcpy(pixel, border, bytes);
    else
        memset(pixel, 0, bytes);
}

/* The pixels from column x - ks / 2 on that a block's row needs. */
static void copy_line(const struct sdt_conv *conv, const float *row, int x, int cols,
                      float *line /* [cols + ks - 1, in] */) {
    int width = output_width(conv), from = x - conv->ks / 2, to = x + cols + conv->ks / 2;
    size_t in = (size_t)conv->in;
    for (; from < 0; from++, line += in)
        copy_outside(conv, row, line);
    int inside = at_most(to, width);
    if (conv->upsample)
        for (; from < inside; from++, line += in)
            memcpy(line, row + (size_t)(from / 2) * in, in * sizeof(float));
    else
        memcpy(line, row + (size_t)from * in, (size_t)(inside - from) * in * sizeof(float));
    if (!conv->upsample)
        line += (size_t)(inside - from) * in;
    for (; to > inside; to--, line += in)
        copy_outside(conv, row + (size_t)(conv->width - 1) * in, line);
}

static void copy_lines(const struct block *block, float *lines) {
    const struct sdt_conv *conv = block->conv;
    for (int t = 0; t < conv->kt; t++)
        for (int i = 0; i < block->rows + conv->ks - 1; i++) {
            const float *row = input_row(conv, block->input, t, block->y + i - conv->ks / 2);
            if (row)
                copy_line(conv, row, block->x, block->cols, lines);
            lines += line_size(conv, block->cols);
        }
}

/* ---- sdt_conv_rows --------------------------------------------------------------------------- */

struct result {
    int cols, out;
    ptrdiff_t line;               /* floats of a row of y */
    const float *bias, *residual; /* [out], and as y from the block on, or NULL */
};

/* Bias and residual last: started from them, the sum of the products would be rounded to their size
 * at every step. */
static void finish_pixels(const void *arg, int segment, int first_col, int cols, float *z) {
    const struct result *a = arg;
    const float *bias = a->bias + first_col;
    const float *residual = a->residual ? a->residual + segment * a->line + first_col : NULL;
    for (int p = 0; p < a->cols; p++, z += a->out)
        for (int i = 0; i < cols; i += 8) {
            size_t left = (size_t)(cols - i);
            vec x = vec_load(bias + i, left);
            if (residual)
                x += vec_load(residual + (size_t)p * (size_t)a->out + i, left);
            vec_store(z + i, left, vec_load(z + i, left) + x);
        }
}

size_t sdt_conv_scratch(const struct sdt_conv *conv) {
    if (!copies(conv))
        return 1;
    return (size_t)(conv->kt * (ROWS + conv->ks - 1)) * line_size(conv, block_columns(conv));
}

void sdt_conv_rows(const struct sdt_conv *conv, int y0, int rows,
                   const struct sdt_conv_input *input, struct sdt_weight w, const float *bias,
                   const float *residual, float *y, float *scratch) {
    int width = output_width(conv), run = conv->ks * conv->in, columns = block_columns(conv);
    ptrdiff_t line = (ptrdiff_t)width * conv->out;
    for (int row = 0; row < rows; row += ROWS)
        for (int x = 0; x < width; x += columns) {
            ptrdiff_t place = row * line + (ptrdiff_t)x * conv->out;
            struct block block = {conv,
                                  input,
                                  y0 + row,
                                  x,
                                  at_most(ROWS, rows - row),
                                  at_most(columns, width - x),
                                  copies(conv) ? scratch : NULL};
            struct result result = {block.cols, conv->out, line, bias,
                                    residual ? residual + place : NULL};
            struct sdt__rows left = {block.rows, block.cols, conv->in, pixels_at, &block};
            struct sdt__sums sums = {.y = y + place,
                                     .ld = conv->out,
                                     .segment_ld = line,
                                     .finish = finish_pixels,
                                     .arg = &result};
            if (block.lines)
                copy_lines(&block, scratch);
            sdt__multiply(&left, conv->out, conv->kt * conv->ks * run, run, w, &sums);
        }
}

void sdt_conv_pack(int out, int in, int taps, const float *w, float *packed) {
    for (int o = 0; o < out; o++, w += (size_t)in * taps)
        for (int t = 0; t < taps; t++)
            for (int i = 0; i < in; i++)
                *packed++ = w[(size_t)i * taps + t];
}

/* ---- sdt_time_upsample ----------------------------------------------------------------------- */

struct halves {
    int rows, channels;
    const float *bias;     /* [2 channels] */
    float *first, *second; /* [rows, channels] */
};

/* Each half of the output channels is an output frame of its own. */
static void finish_halves(const void *arg, int segment, int first_col, int cols, float *z) {
    const struct halves *a = arg;
    (void)segment;
    for (int half = 0; half < 2; half++) {
        int from = first_col > half * a->channels ? first_col : half * a->channels;
        int to = at_most(first_col + cols, (half + 1) * a->channels);
        for (int r = 0; r < a->rows && from < to; r++) {
            float *y = (half ? a->second : a->first) + (size_t)r * (size_t)a->channels -
                       half * (ptrdiff_t)a->channels;
            const float *sums = z + r * SDT__GROUP_WIDTH - first_col;
            for (int c = from; c < to; c++)
                y[c] = sums[c] + a->bias[c];
        }
    }
}

struct pixels {
    int channels;
    const float *x[3]; /* [pixels, C] or NULL */
};

static const float *frames_at(const void *arg, int segment, int first, ptrdiff_t *ld) {
    const struct pixels *pixels = arg;
    const float *x = pixels->x[first / pixels->channels];
    (void)segment, (void)ld;
    return x ? x + first % pixels->channels : NULL;
}

size_t sdt_time_upsample_scratch(size_t pixels) {
    return (pixels < SDT__ROWS_AT_ONCE ? pixels : SDT__ROWS_AT_ONCE) * SDT__GROUP_WIDTH;
}

void sdt_time_upsample(size_t pixels, int channels, const float *const *x, struct sdt_weight w,
                       const float *bias, float *first, float *second, float *scratch) {
    for (size_t p = 0; p < pixels; p += SDT__ROWS_AT_ONCE) {
        size_t place = p * (size_t)channels;
        struct pixels from = {.channels = channels};
        for (int t = 0; t < 3; t++)
            from.x[t] = x[t] ? x[t] + place : NULL;
        struct halves halves = {pixels - p < SDT__ROWS_AT_ONCE ? (int)(pixels - p)
                                                               : SDT__ROWS_AT_ONCE,
                                channels, bias, first + place, second + place};
        struct sdt__rows left = {1, halves.rows, channels, frames_at, &from};
        struct sdt__sums sums = {.y = scratch,
                                 .ld = SDT__GROUP_WIDTH,
                                 .scratch = true,
                                 .finish = finish_halves,
                                 .arg = &halves};
        sdt__multiply(&left, 2 * channels, 3 * channels, channels, w, &sums);
    }
}

/* The CUDA convolution on the host: kernels/cuda/conv_tile.h drives the same loads, fragments,
 * products and stores that kernels/cuda/conv.cu makes on a GPU in bfloat16, with ldmatrix and
 * mma as the PTX manual lays them out. Shared memory starts each step as NaN, every output must
 * be written once, and eight rows of a fragment must lie in different banks. In float32 the same
 * way is gone with float32 numbers. */
#include "kernels/cuda/bodies.h"
#include "kernels/cuda/conv_tile.h"
#include "kernels/cuda/scratch.h"
#include "tests/kernels/check.h"
#include "tests/kernels/cuda_launch.h"

enum { LANES = 32, LOADED_AT_ONCE = SDT__CONV_THREADS / SDT__CONV_CHUNKS };

struct arrays {
    enum sdt_dtype dtype;
    const void *x[3]; /* those that are not zeros */
    const void *w, *residual;
    const float *bias;
    void *y[2];
    int *written; /* [pixels, out] */
};

static float number(const struct arrays *arrays, const void *x, size_t i) {
    float v;
    body_load(arrays->dtype, 1, x, i, &v);
    return v;
}

/* PTX: lane l gets elements 2 (l % 4) and the next of row l / 4 of each matrix; rows of matrix j
 * are named by lanes 8 j to 8 j + 7. */
static void ldmatrix(int matrices, const float *const *address /* [32] */,
                     float r[LANES][4][2] /* [lane, matrix, 2] */) {
    for (int lane = 0; lane < LANES; lane++)
        for (int j = 0; j < matrices; j++)
            for (int i = 0; i < 2; i++)
                r[lane][j][i] = address[8 * j + lane / 4][2 * (lane % 4) + i];
}

/* PTX: mma.m16n8k16, 16-bit A and B, float sums. */
static void mma(float c[LANES][4], float a[LANES][4][2], float b[LANES][2][2]) {
    float left[16][16], right[16][8];
    for (int lane = 0; lane < LANES; lane++) {
        int group = lane / 4, in_group = lane % 4;
        for (int i = 0; i < 2; i++) {
            for (int r = 0; r < 4; r++)
                left[group + (r % 2) * 8][in_group * 2 + i + (r / 2) * 8] = a[lane][r][i];
            for (int r = 0; r < 2; r++)
                right[in_group * 2 + i + r * 8][group] = b[lane][r][i];
        }
    }
    for (int lane = 0; lane < LANES; lane++)
        for (int i = 0; i < 4; i++)
            for (int k = 0; k < 16; k++)
                c[lane][i] += left[lane / 4 + (i / 2) * 8][k] * right[k][lane % 4 * 2 + i % 2];
}

static void load_step(const struct sdt__conv_shape *shape, const struct arrays *arrays,
                      struct sdt__conv_block block, int first_pixel, int first_channel, int step,
                      float *a /* [128, 32] */, float *b /* [columns, 32] */) {
    int chunks = sdt__conv_chunks(shape), taps = shape->ks * shape->ks;
    int channel = step % chunks * SDT__CONV_DEPTH, tap = step / chunks % taps;
    int frame = step / chunks / taps, pixels = sdt__conv_pixels(shape);
    for (int i = 0; i < SDT__CONV_ROWS * SDT__CONV_DEPTH; i++)
        a[i] = NAN;
    for (int i = 0; i < block.columns * SDT__CONV_DEPTH; i++)
        b[i] = NAN;
    for (int thread = 0; thread < SDT__CONV_THREADS; thread++) {
        int chunk = thread % SDT__CONV_CHUNKS, c = channel + chunk * SDT__CONV_CHUNK;
        for (int row = thread / SDT__CONV_CHUNKS; row < SDT__CONV_ROWS; row += LOADED_AT_ONCE) {
            int pixel = first_pixel + row;
            int place = sdt__conv_input(shape, pixel < pixels ? pixel / shape->cols : -2,
                                        pixel % shape->cols, tap);
            float *to = a + sdt__conv_swizzle(row, chunk);
            for (int i = 0; i < SDT__CONV_CHUNK; i++)
                to[i] = place >= 0 && c + i < shape->in
                            ? number(arrays, arrays->x[frame], (size_t)place * shape->in + c + i)
                            : 0.f;
        }
        for (int row = thread / SDT__CONV_CHUNKS; row < block.columns; row += LOADED_AT_ONCE) {
            int o = first_channel + row;
            float *to = b + sdt__conv_swizzle(row, chunk);
            for (int i = 0; i < SDT__CONV_CHUNK; i++)
                to[i] =
                    o < shape->out && c + i < shape->in
                        ? number(arrays, arrays->w, sdt__conv_weights(shape, o, frame, tap) + c + i)
                        : 0.f;
        }
    }
}

static void multiply_step(struct sdt__conv_block block, int warp, const float *a, const float *b,
                          float sum[2][8][LANES][4]) {
    int tiles = SDT__CONV_ROWS * block.split / SDT__CONV_WARPS / 16;
    int groups = block.columns / block.split / 8;
    int row = sdt__conv_warp_row(block, warp), column = sdt__conv_warp_column(block, warp);
    for (int k = 0; k < SDT__CONV_DEPTH / 16; k++) {
        float left[2][LANES][4][2], right[8][LANES][2][2], pair[LANES][4][2];
        const float *address[LANES];
        for (int m = 0; m < tiles; m++) {
            for (int lane = 0; lane < LANES; lane++)
                address[lane] = a + sdt__conv_swizzle(row + m * 16 + sdt__conv_a_row(lane),
                                                      k * 2 + sdt__conv_a_chunk(lane));
            ldmatrix(4, address, left[m]);
        }
        for (int n = 0; n < groups; n += 2) {
            int many = groups == 1 ? 2 : 4;
            for (int lane = 0; lane < LANES; lane++)
                address[lane] =
                    b + sdt__conv_swizzle(column + n * 8 +
                                              sdt__conv_b_row(groups == 1 ? lane & 15 : lane),
                                          k * 2 + sdt__conv_b_chunk(lane));
            ldmatrix(many, address, pair);
            for (int lane = 0; lane < LANES; lane++)
                for (int r = 0; r < many; r++)
                    memcpy(right[n + r / 2][lane][r % 2], pair[lane][r], sizeof pair[lane][r]);
        }
        for (int m = 0; m < tiles; m++)
            for (int n = 0; n < groups; n++)
                mma(sum[m][n], left[m], right[n]);
    }
}

static void store(const struct sdt__conv_shape *shape, const struct arrays *arrays,
                  struct sdt__conv_block block, int first_pixel, int first_channel, int warp,
                  float sum[2][8][LANES][4]) {
    int tiles = SDT__CONV_ROWS * block.split / SDT__CONV_WARPS / 16;
    int groups = block.columns / block.split / 8;
    for (int m = 0; m < tiles; m++)
        for (int n = 0; n < groups; n++)
            for (int lane = 0; lane < LANES; lane++)
                for (int i = 0; i < 4; i++) {
                    int pixel = first_pixel + sdt__conv_warp_row(block, warp) + m * 16 +
                                sdt__conv_c_row(lane, i);
                    int o = first_channel + sdt__conv_warp_column(block, warp) + n * 8 +
                            sdt__conv_c_column(lane, i);
                    if (pixel >= sdt__conv_pixels(shape) || o >= shape->out)
                        continue;
                    int second = o >= shape->channels;
                    size_t at =
                        (size_t)pixel * shape->channels + o - (second ? shape->channels : 0);
                    float y = sum[m][n][lane][i] + arrays->bias[o] +
                              (arrays->residual ? number(arrays, arrays->residual, at) : 0.f);
                    body_store(arrays->dtype, 1, arrays->y[second], at, &y);
                    arrays->written[(size_t)pixel * shape->out + o]++;
                }
}

static void run(const struct sdt__conv_shape *shape, const struct arrays *arrays) {
    static float a[SDT__CONV_ROWS * SDT__CONV_DEPTH], b[128 * SDT__CONV_DEPTH];
    static float sum[SDT__CONV_WARPS][2][8][LANES][4];
    struct sdt__conv_block block = sdt__conv_block_of(shape->out);
    int across = (shape->out + block.columns - 1) / block.columns;
    int down = (sdt__conv_pixels(shape) + SDT__CONV_ROWS - 1) / SDT__CONV_ROWS;
    for (int at = 0; at < across * down; at++) {
        int pixel = at / across * SDT__CONV_ROWS, channel = at % across * block.columns;
        memset(sum, 0, sizeof sum);
        for (int step = 0; step < sdt__conv_steps(shape); step++) {
            load_step(shape, arrays, block, pixel, channel, step, a, b);
            for (int warp = 0; warp < SDT__CONV_WARPS; warp++)
                multiply_step(block, warp, a, b, sum[warp]);
        }
        for (int warp = 0; warp < SDT__CONV_WARPS; warp++)
            store(shape, arrays, block, pixel, channel, warp, sum[warp]);
    }
}

/* channels: of one output frame; out is that, or twice that for two. */
static enum sdt_status convolve(const struct sdt_conv *conv, int channels, const void *const *x,
                                struct arrays arrays) {
    int scale = conv->upsample ? 2 : 1;
    struct sdt__conv_shape shape = {.in = conv->in,
                                    .out = conv->out,
                                    .kt = conv->kt,
                                    .ks = conv->ks,
                                    .height = conv->height,
                                    .width = conv->width,
                                    .upsample = conv->upsample,
                                    .replicate = conv->replicate,
                                    .rows = conv->height * scale,
                                    .cols = conv->width * scale,
                                    .channels = channels};
    size_t n = (size_t)sdt__conv_pixels(&shape) * (size_t)conv->out, once = 0;
    arrays.written = calloc(n, sizeof *arrays.written);
    if (!arrays.written)
        abort();
    for (int t = 0; t < conv->kt; t++)
        if (x[t]) {
            arrays.x[shape.frames] = x[t];
            shape.time[shape.frames++] = t;
        }
    run(&shape, &arrays);
    while (once < n && arrays.written[once] == 1)
        once++;
    if (once < n) {
        launch_faults++;
        fprintf(stderr, "conv %d->%d: output %zu was written %d times\n", conv->in, conv->out, once,
                arrays.written[once]);
    }
    free(arrays.written);
    return SDT_OK;
}

enum sdt_status sdt_cuda_conv_frame(struct sdt_cuda *cuda, enum sdt_dtype dtype,
                                    const struct sdt_conv *conv, const void *const *x,
                                    const void *w, const float *bias, const void *residual, void *y,
                                    void *scratch) {
    (void)cuda, (void)scratch;
    return convolve(
        conv, conv->out, x,
        (struct arrays){
            .dtype = dtype, .w = w, .bias = bias, .residual = residual, .y = {y, NULL}});
}

enum sdt_status sdt_cuda_time_upsample(struct sdt_cuda *cuda, enum sdt_dtype dtype, int height,
                                       int width, int channels, const void *const *x, const void *w,
                                       const float *bias, void *first, void *second,
                                       void *scratch) {
    (void)cuda, (void)scratch;
    struct sdt_conv both = sdt__time_half(height, width, channels);
    both.out = 2 * channels;
    return convolve(&both, channels, x,
                    (struct arrays){.dtype = dtype, .w = w, .bias = bias, .y = {first, second}});
}

/* A tile's places are all different, and the eight rows of a matrix lie in different banks. */
static void check_banks(void) {
    int seen[SDT__CONV_ROWS * SDT__CONV_CHUNKS] = {0};
    for (int row = 0; row < SDT__CONV_ROWS; row++)
        for (int chunk = 0; chunk < SDT__CONV_CHUNKS; chunk++)
            seen[sdt__conv_swizzle(row, chunk) / SDT__CONV_CHUNK]++;
    for (int i = 0; i < SDT__CONV_ROWS * SDT__CONV_CHUNKS; i++)
        if (seen[i] != 1 && ++check_failures)
            fprintf(stderr, "place %d of a tile is used %d times\n", i, seen[i]);
    for (int row = 0; row < SDT__CONV_ROWS; row += 8)
        for (int chunk = 0; chunk < SDT__CONV_CHUNKS; chunk++) {
            unsigned banks = 0; /* groups of 16 bytes, 8 of them in all banks */
            for (int r = 0; r < 8; r++)
                banks |= 1u << sdt__conv_swizzle(row + r, chunk) / SDT__CONV_CHUNK % 8;
            check_count++;
            if (banks != 0xff && ++check_failures)
                fprintf(stderr, "rows %d to %d share banks\n", row, row + 7);
        }
}

/* Blocks are those that conv.cu has. */
static void check_blocks(void) {
    for (int out = 1; out <= 1024; out++) {
        struct sdt__conv_block block = sdt__conv_block_of(out);
        check_count++;
        if ((block.columns == 8) != (out <= 8) || (block.columns != 8 && block.columns % 32) ||
            block.columns > 128 || block.split != (block.columns == 8 ? 1 : 2)) {
            check_failures++;
            fprintf(stderr, "%d channels in blocks of %d\n", out, block.columns);
        }
    }
}

void check_conv_parts(void) {
    check_banks();
    check_blocks();
}

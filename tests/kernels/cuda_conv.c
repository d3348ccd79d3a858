/* The CUDA convolution on the host: kernels/cuda/conv_tile.h drives the same loads, fragments,
 * products and stores that kernels/cuda/conv.cu makes on a GPU, with ldmatrix and mma as the PTX
 * manual lays them out, against the reference. Shared memory starts each step as NaN, every output
 * must be written once, and eight rows of a fragment must lie in different banks. Needs no GPU and
 * no CUDA. */
#include "kernels/cuda/conv_tile.h"
#include "kernels/reference.h"
#include "tests/kernels/check.h"

enum { LANES = 32, LOADED_AT_ONCE = SDT__CONV_THREADS / SDT__CONV_CHUNKS };

struct arrays {
    const float *x[3]; /* those that are not zeros */
    const float *w, *bias, *residual;
    float *y[2];
    int *written; /* [pixels, out] */
};

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
                            ? arrays->x[frame][(size_t)place * shape->in + c + i]
                            : 0.f;
        }
        for (int row = thread / SDT__CONV_CHUNKS; row < block.columns; row += LOADED_AT_ONCE) {
            int o = first_channel + row;
            float *to = b + sdt__conv_swizzle(row, chunk);
            for (int i = 0; i < SDT__CONV_CHUNK; i++)
                to[i] = o < shape->out && c + i < shape->in
                            ? arrays->w[sdt__conv_weights(shape, o, frame, tap) + c + i]
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
                    arrays->y[second][at] = sum[m][n][lane][i] + arrays->bias[o] +
                                            (arrays->residual ? arrays->residual[at] : 0.f);
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

/* halves: two output frames (upsampling in time); zeros: frames before the start of the clip */
static void check(struct sdt_conv conv, int halves, int with_residual, int zeros) {
    int scale = conv.upsample ? 2 : 1;
    struct sdt__conv_shape shape = {.in = conv.in,
                                    .out = conv.out,
                                    .kt = conv.kt,
                                    .ks = conv.ks,
                                    .height = conv.height,
                                    .width = conv.width,
                                    .upsample = conv.upsample,
                                    .rows = conv.height * scale,
                                    .cols = conv.width * scale,
                                    .channels = halves ? conv.out / 2 : conv.out};
    size_t frame = (size_t)conv.height * conv.width * conv.in;
    size_t pixels = sdt__conv_pixels(&shape), n = pixels * conv.out;
    float *w = numbers((size_t)conv.out * conv.kt * conv.ks * conv.ks * conv.in, 1.f);
    float *bias = numbers(conv.out, 1.f), *residual = with_residual ? numbers(n, 1.f) : NULL;
    float *got = blank(n), *want = blank(n), *frames[3] = {NULL};
    int *written = calloc(n, sizeof *written);
    if (!written)
        abort();
    struct arrays arrays = {.w = w, .bias = bias, .residual = residual, .written = written};
    arrays.y[0] = got;
    arrays.y[1] = got + pixels * shape.channels;
    for (int t = zeros < conv.kt ? zeros : conv.kt; t < conv.kt; t++) {
        frames[t] = numbers(frame, 1.f);
        arrays.x[shape.frames] = frames[t];
        shape.time[shape.frames++] = t;
    }
    const float *x[3] = {frames[0], frames[1], frames[2]};
    run(&shape, &arrays);
    if (halves)
        sdt_time_upsample_reference(conv.height, conv.width, shape.channels, x, w, bias, want,
                                    want + pixels * shape.channels);
    else
        sdt_conv_frame_reference(&conv, x, w, bias, residual, want);
    check_near(n, got, want, 3e-6, "conv %d->%d k%d,%d of %dx%d%s", conv.in, conv.out, conv.kt,
               conv.ks, conv.height, conv.width, conv.upsample ? " enlarged" : "");
    size_t once = 0;
    while (once < n && written[once] == 1)
        once++;
    check_count++;
    if (once < n) {
        check_failures++;
        fprintf(stderr, "conv %d->%d: output %zu was written %d times\n", conv.in, conv.out, once,
                written[once]);
    }
    for (int t = 0; t < 3; t++)
        free(frames[t]);
    free(written);
    free(w);
    free(bias);
    free(residual);
    free(got);
    free(want);
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

int main(void) {
    static const int size[][2] = {{1, 1}, {1, 7}, {4, 6}, {9, 17}, {2, 130}};
    static const int channels[][2] = {{1, 1}, {4, 3}, {6, 8}, {8, 12}, {33, 5}, {16, 40}};
    int i = 0;
    check_banks();
    check_blocks();
    for (size_t s = 0; s < COUNT(size); s++)
        for (size_t c = 0; c < COUNT(channels); c++)
            for (int shape = 0; shape < 8; shape++, i++) {
                struct sdt_conv conv = {channels[c][0],    channels[c][1], shape & 1 ? 3 : 1,
                                        shape & 2 ? 3 : 1, size[s][0],     size[s][1],
                                        shape >> 2};
                check(conv, 0, i % 2 == 0, i % 4);
            }
    check((struct sdt_conv){96, 96, 3, 3, 5, 6, 0}, 0, 1, 0);
    check((struct sdt_conv){96, 3, 3, 3, 5, 6, 0}, 0, 0, 1);
    check((struct sdt_conv){40, 200, 1, 3, 5, 6, 1}, 0, 0, 0);
    check((struct sdt_conv){64, 256, 1, 1, 13, 11, 0}, 0, 1, 0);
    check((struct sdt_conv){24, 64, 3, 3, 3, 50, 0}, 0, 0, 0);
    for (int zeros = 0; zeros < 4; zeros++) {
        check((struct sdt_conv){1, 2, 3, 1, 1, 1, 0}, 1, 0, zeros);
        check((struct sdt_conv){5, 10, 3, 1, 5, 7, 0}, 1, 0, zeros);
        check((struct sdt_conv){48, 96, 3, 1, 9, 20, 0}, 1, 0, zeros);
    }
    return check_end("cuda conv");
}

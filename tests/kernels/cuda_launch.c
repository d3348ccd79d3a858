/* Kernels whose bodies are in kernels/cuda/bodies.h, on the host: looped over as the launches do,
 * lanes one after the other. What one thread may not see of another before a sum is written only
 * after it here as well. */
#include "tests/kernels/cuda_launch.h"
#include "kernels/cuda/group.h"
#include "kernels/cuda/rows.h"
#include "kernels/cuda/upsample.h"
#include "tests/kernels/check.h"

bool launch_own;
unsigned launch_faults;

void sdt_cuda_prefer_own(struct sdt_cuda *cuda, bool own) {
    (void)cuda;
    launch_own = own;
}

/* ---- element by element ---------------------------------------------------------------------- */

enum sdt_status sdt_cuda_convert(struct sdt_cuda *cuda, size_t n, enum sdt_dtype from,
                                 const void *x, enum sdt_dtype to, void *y) {
    (void)cuda;
    int pack = body_pack(from, to, body_aligned(x) && body_aligned(y));
    FLAT(3, pack, n, i) { body_convert_pack(from, to, pack, i, n, x, y); }
    return SDT_OK;
}

enum sdt_status sdt_cuda_silu(struct sdt_cuda *cuda, enum sdt_dtype dtype, size_t n, const void *x,
                              void *y) {
    (void)cuda;
    int pack = body_pack(dtype, dtype, body_aligned(x) && body_aligned(y));
    FLAT(3, pack, n, i) { body_silu_pack(dtype, pack, i, n, x, y); }
    return SDT_OK;
}

enum sdt_status sdt_cuda_gated_gelu(struct sdt_cuda *cuda, enum sdt_dtype dtype, size_t n,
                                    const void *a, const void *b, void *y) {
    (void)cuda;
    int pack = body_pack(dtype, dtype, body_aligned(a) && body_aligned(b) && body_aligned(y));
    FLAT(2, pack, n, i) { body_gated_gelu_pack(dtype, pack, i, n, a, b, y); }
    return SDT_OK;
}

enum sdt_status sdt_cuda_gated_silu(struct sdt_cuda *cuda, enum sdt_dtype dtype, size_t n,
                                    const void *a, const void *b, void *y) {
    (void)cuda;
    int pack = body_pack(dtype, dtype, body_aligned(a) && body_aligned(b) && body_aligned(y));
    FLAT(2, pack, n, i) { body_gated_silu_pack(dtype, pack, i, n, a, b, y); }
    return SDT_OK;
}

enum sdt_status sdt_cuda_quick_gelu(struct sdt_cuda *cuda, enum sdt_dtype dtype, size_t n,
                                    const void *x, void *y) {
    (void)cuda;
    int pack = body_pack(dtype, dtype, body_aligned(x) && body_aligned(y));
    FLAT(3, pack, n, i) { body_quick_gelu_pack(dtype, pack, i, n, x, y); }
    return SDT_OK;
}

enum sdt_status sdt_cuda_sum(struct sdt_cuda *cuda, enum sdt_dtype dtype, size_t n, float sign,
                             const void *x, void *y) {
    (void)cuda;
    int pack = body_pack(dtype, dtype, body_aligned(x) && body_aligned(y));
    FLAT(2, pack, n, i) { body_sum_pack(dtype, pack, i, n, sign, x, y); }
    return SDT_OK;
}

enum sdt_status sdt_cuda_gelu(struct sdt_cuda *cuda, enum sdt_dtype dtype, size_t n, const void *x,
                              void *y) {
    (void)cuda;
    int pack = body_pack(dtype, dtype, body_aligned(x) && body_aligned(y));
    FLAT(3, pack, n, i) { body_gelu_pack(dtype, pack, i, n, x, y); }
    return SDT_OK;
}

enum sdt_status sdt_cuda_rotate_halves(struct sdt_cuda *cuda, enum sdt_dtype dtype, int rows,
                                       int heads, int e, const float *table, void *x) {
    (void)cuda;
    FLAT(3, 1, (size_t)rows * heads * e / 2, i) {
        body_rotate_halves(dtype, i, heads, e, table, x);
    }
    return SDT_OK;
}

enum sdt_status sdt_cuda_put_frame(struct sdt_cuda *cuda, enum sdt_dtype dtype, size_t n, int clamp,
                                   const void *x, float *y) {
    (void)cuda;
    int pack = body_pack(dtype, dtype, body_aligned(x) && body_aligned(y));
    FLAT(4, pack, n, i) { body_put_frame_pack(dtype, pack, i, n, clamp, x, y); }
    return SDT_OK;
}

enum sdt_status sdt_cuda_sinusoid(struct sdt_cuda *cuda, float t, int dim, float *y) {
    (void)cuda;
    FLAT(3, 1, (size_t)dim / 2, i) { body_sinusoid(t, dim / 2, (int)i, y); }
    return SDT_OK;
}

enum sdt_status sdt_cuda_mean_rows(struct sdt_cuda *cuda, int rows, int d, const float *x,
                                   float *y) {
    (void)cuda;
    FLAT(3, 1, (size_t)d, i) { body_mean_rows(rows, d, (int)i, x, y); }
    return SDT_OK;
}

volatile int *sdt_cuda_found(struct sdt_cuda *cuda) {
    static volatile int found;
    (void)cuda;
    return &found;
}

enum sdt_status sdt_cuda_check_finite(struct sdt_cuda *cuda, enum sdt_dtype dtype, size_t n,
                                      const void *x) {
    int pack = body_pack(dtype, dtype, body_aligned(x));
    FLAT(3, pack, n, i) {
        if (body_not_finite_pack(dtype, pack, i, n, x))
            *sdt_cuda_found(cuda) = 1;
    }
    return SDT_OK;
}

enum sdt_status sdt_cuda_sampler_step(struct sdt_cuda *cuda, const struct sdt_sampler_step *step,
                                      size_t n, const float *v_cond, const float *v_uncond,
                                      const float *x, float *x_next, float *x_last, float *m0,
                                      float *m1) {
    (void)cuda;
    struct body_sampler a = {*step, n, v_cond, v_uncond, x, x_next, x_last, m0, m1};
    bool wide = body_aligned(v_cond) && body_aligned(v_uncond) && body_aligned(x) &&
                body_aligned(x_next) && body_aligned(x_last) && body_aligned(m0) &&
                body_aligned(m1);
    int pack = body_pack(SDT_F32, SDT_F32, wide);
    FLAT(3, pack, n, i) { body_sampler_pack(&a, pack, i); }
    return SDT_OK;
}

/* ---- rows ------------------------------------------------------------------------------------ */

struct rows {
    enum sdt_dtype dtype;
    size_t rows;
    int d;
    const void *x;
    struct body_shape shape;
    bool centred; /* squares of x - mean, not of x */
    void (*end)(const struct rows *rows, const struct body_row *row, size_t r, float mean,
                float squares);
    enum sdt_dtype y_dtype;
    const void *args;
};

/* Block after block; within one, what stands between two sums for all threads at once. */
static void drive_rows(const struct rows *a) {
    unsigned lanes = a->shape.lanes, threads = a->shape.threads, at_once = threads / lanes;
    struct body_row *row = calloc(threads, sizeof *row);
    float *keep = blank((size_t)threads * SDT_KEEP * SDT_PACK);
    float *mean = numbers(at_once, 0.f), *squares = numbers(at_once, 0.f);
    if (!row)
        abort();
    for (size_t block = 0; block < a->shape.blocks; block++) {
        for (unsigned t = 0; t < threads; t++) {
            size_t r = block * at_once + t / lanes;
            body_row_begin(row + t, a->dtype, a->shape.pack, a->shape.kept, (int)(t % lanes), lanes,
                           r < a->rows ? a->d : 0, a->x, r < a->rows ? r * a->d : 0,
                           keep + (size_t)t * SDT_KEEP * SDT_PACK);
        }
        for (unsigned i = 0; i < at_once; i++) {
            mean[i] = squares[i] = 0.f;
            for (unsigned l = 0; a->centred && l < lanes; l++)
                mean[i] += body_row_sum(row + i * lanes + l);
            mean[i] /= (float)a->d;
            for (unsigned l = 0; l < lanes; l++)
                squares[i] += body_row_squares(row + i * lanes + l, mean[i]);
        }
        for (unsigned t = 0; t < threads; t++)
            a->end(a, row + t, block * at_once + t / lanes, mean[t / lanes], squares[t / lanes]);
    }
    free(row);
    free(keep);
    free(mean);
    free(squares);
}

static void layer_norm_end(const struct rows *a, const struct body_row *row, size_t r, float mean,
                           float squares) {
    const struct body_layer_norm *args = a->args;
    (void)r;
    body_layer_norm_end(args, row, mean, body_inverse(squares, a->d, args->eps));
}

enum sdt_status sdt_cuda_layer_norm(struct sdt_cuda *cuda, enum sdt_dtype dtype, int rows, int d,
                                    const void *x, float eps, const float *weight,
                                    const float *bias, const float *scale_a, const float *scale_b,
                                    const float *shift_a, const float *shift_b, void *y) {
    (void)cuda;
    struct body_layer_norm a = {rows,    d,       x,       eps,     weight, bias,
                                scale_a, scale_b, shift_a, shift_b, y};
    int pack = body_pack(dtype, dtype, true);
    bool wide = d % pack == 0 && body_aligned(x) && body_aligned(y) && body_aligned(weight) &&
                body_aligned(bias) && body_aligned(scale_a) && body_aligned(scale_b) &&
                body_aligned(shift_a) && body_aligned(shift_b);
    drive_rows(&(struct rows){.dtype = dtype,
                              .rows = (size_t)rows,
                              .d = d,
                              .x = x,
                              .shape = body_shape_rows((size_t)rows, d, pack, wide),
                              .centred = true,
                              .end = layer_norm_end,
                              .y_dtype = dtype,
                              .args = &a});
    return SDT_OK;
}

static void rms_norm_end(const struct rows *a, const struct body_row *row, size_t r, float mean,
                         float squares) {
    const struct body_rms_norm *args = a->args;
    (void)r, (void)mean;
    body_rms_norm_end(args, row, a->y_dtype, body_inverse(squares, a->d, args->eps));
}

enum sdt_status sdt_cuda_rms_norm(struct sdt_cuda *cuda, enum sdt_dtype dtype, int rows, int d,
                                  const void *x, float eps, const float *weight,
                                  enum sdt_dtype y_dtype, void *y) {
    (void)cuda;
    struct body_rms_norm a = {rows, d, x, eps, weight, y};
    int pack = body_pack(dtype, y_dtype, true);
    bool wide = d % pack == 0 && body_aligned(x) && body_aligned(weight) && body_aligned(y);
    drive_rows(&(struct rows){.dtype = dtype,
                              .rows = (size_t)rows,
                              .d = d,
                              .x = x,
                              .shape = body_shape_rows((size_t)rows, d, pack, wide),
                              .end = rms_norm_end,
                              .y_dtype = y_dtype,
                              .args = &a});
    return SDT_OK;
}

static void channel_norm_end(const struct rows *a, const struct body_row *row, size_t r, float mean,
                             float squares) {
    const struct body_channel_norm *args = a->args;
    (void)r, (void)mean;
    body_channel_norm_end(args, row, body_channel_factor(squares, a->d));
}

enum sdt_status sdt_cuda_channel_norm(struct sdt_cuda *cuda, enum sdt_dtype dtype, size_t pixels,
                                      int channels, const void *x, const float *gamma, int silu,
                                      void *y) {
    (void)cuda;
    struct body_channel_norm a = {pixels, channels, x, gamma, silu, y};
    int pack = body_pack(dtype, dtype, true);
    bool wide = channels % pack == 0 && body_aligned(x) && body_aligned(gamma) && body_aligned(y);
    drive_rows(&(struct rows){.dtype = dtype,
                              .rows = pixels,
                              .d = channels,
                              .x = x,
                              .shape = body_shape_rows(pixels, channels, pack, wide),
                              .end = channel_norm_end,
                              .y_dtype = dtype,
                              .args = &a});
    return SDT_OK;
}

/* ---- groups of channels ---------------------------------------------------------------------- */

/* A block for each row, then one for each group. */
enum sdt_status sdt_cuda_frame_moments(struct sdt_cuda *cuda, enum sdt_dtype dtype, int height,
                                       int width, int channels, int groups, const void *x,
                                       float *moments, void *scratch) {
    (void)cuda;
    struct body_moments a = {height, width, channels, groups, x, scratch, moments};
    int pack = body_pack(dtype, dtype, channels % 8 == 0 && body_aligned(x));
    int parts = body_moments_across(channels, pack);
    for (int row = 0; row < height; row++)
        for (int c = 0; c < channels; c += pack) {
            double all[SDT_PACK] = {0.}, squares[SDT_PACK] = {0.}, sum[SDT_PACK], square[SDT_PACK];
            for (int part = 0; part < parts; part++) {
                body_moments_part(&a, dtype, pack, row, c, part, parts, sum, square);
                for (int j = 0; j < pack; j++) {
                    all[j] += sum[j];
                    squares[j] += square[j];
                }
            }
            for (int j = 0; j < pack; j++)
                body_moments_row(&a, row, c + j, all[j], squares[j]);
        }
    for (int g = 0; g < groups; g++) {
        double all = 0., squares = 0., sum, square;
        for (int thread = 0; thread < GROUP_THREADS; thread++) {
            body_moments_group(&a, g, thread, GROUP_THREADS, &sum, &square);
            all += sum;
            squares += square;
        }
        body_moments_end(&a, g, all, squares);
    }
    return SDT_OK;
}

enum sdt_status sdt_cuda_group_moments(struct sdt_cuda *cuda, int frames, int groups, double values,
                                       float eps, const float *moments, float *norm) {
    (void)cuda;
    for (int g = 0; g < groups; g++)
        body_group_moments(frames, groups, values, eps, moments, g, norm);
    return SDT_OK;
}

enum sdt_status sdt_cuda_group_norm(struct sdt_cuda *cuda, enum sdt_dtype dtype, size_t pixels,
                                    int channels, int groups, const void *x, const float *norm,
                                    const float *weight, const float *bias, int silu, void *y) {
    (void)cuda;
    struct body_group_norm a = {
        pixels * (size_t)channels, channels, groups, x, norm, weight, bias, silu, y};
    bool wide = channels % 8 == 0 && body_aligned(x) && body_aligned(weight) &&
                body_aligned(bias) && body_aligned(y);
    int pack = body_pack(dtype, dtype, wide);
    FLAT(3, (size_t)pack, a.n, i) { body_group_norm_pack(&a, dtype, pack, i); }
    return SDT_OK;
}

static void channel_layer_norm_end(const struct rows *a, const struct body_row *row, size_t r,
                                   float mean, float squares) {
    const struct body_channel_layer_norm *args = a->args;
    (void)r;
    body_channel_layer_norm_end(args, row, mean, body_inverse(squares, a->d, args->eps));
}

enum sdt_status sdt_cuda_channel_layer_norm(struct sdt_cuda *cuda, enum sdt_dtype dtype,
                                            size_t pixels, int channels, float eps, const void *x,
                                            const float *weight, const float *bias, int silu,
                                            void *y) {
    (void)cuda;
    struct body_channel_layer_norm a = {pixels, channels, eps, x, weight, bias, silu, y};
    int pack = body_pack(dtype, dtype, true);
    bool wide = channels % pack == 0 && body_aligned(x) && body_aligned(weight) &&
                body_aligned(bias) && body_aligned(y);
    drive_rows(&(struct rows){.dtype = dtype,
                              .rows = pixels,
                              .d = channels,
                              .x = x,
                              .shape = body_shape_rows(pixels, channels, pack, wide),
                              .centred = true,
                              .end = channel_layer_norm_end,
                              .y_dtype = dtype,
                              .args = &a});
    return SDT_OK;
}

/* ---- heads ----------------------------------------------------------------------------------- */

static int batch(int pieces, int first) {
    return pieces - first < SDT_CUDA_PIECES ? pieces - first : SDT_CUDA_PIECES;
}

static void split_end(const struct rows *a, const struct body_row *row, size_t r, float mean,
                      float squares) {
    const struct body_split *args = a->args;
    (void)mean;
    body_split_end(args, row, (int)r, args->weight ? body_inverse(squares, a->d, args->eps) : 1.f,
                   args->rope.halves);
}

enum sdt_status sdt_cuda_split_heads(struct sdt_cuda *cuda, enum sdt_dtype dtype, int rows,
                                     int valid_rows, int heads, int e, const void *x,
                                     const float *weight, float eps, const struct sdt_rope *rope,
                                     const float *table, int64_t first_token, int pieces,
                                     const int *head, void *const *y) {
    (void)cuda;
    int d = heads * e, pack = body_pack(dtype, dtype, true);
    struct body_split a = {.rows = rows,
                           .valid_rows = valid_rows,
                           .heads = heads,
                           .e = e,
                           .x = x,
                           .weight = weight,
                           .eps = eps,
                           .table = table,
                           .first_token = first_token};
    if (table)
        a.rope = *rope;
    for (int first = 0; first < pieces; first += SDT_CUDA_PIECES) {
        bool wide = e % pack == 0 && body_aligned(x) && body_aligned(weight);
        a.pieces = batch(pieces, first);
        memcpy(a.head, head + first, ((size_t)a.pieces + 1) * sizeof *head);
        for (int p = 0; p < a.pieces; p++) {
            a.y[p] = y[first + p];
            wide = wide && (a.head[p] == a.head[p + 1] || body_aligned(a.y[p]));
        }
        drive_rows(&(struct rows){.dtype = dtype,
                                  .rows = (size_t)rows,
                                  .d = d,
                                  .x = x,
                                  .shape = body_shape_rows((size_t)rows, d, pack, wide),
                                  .end = split_end,
                                  .y_dtype = dtype,
                                  .args = &a});
    }
    return SDT_OK;
}

enum sdt_status sdt_cuda_merge_heads(struct sdt_cuda *cuda, enum sdt_dtype dtype, int rows,
                                     int heads, int e, int pieces, const int *head,
                                     const void *const *x, void *y) {
    (void)cuda;
    int most = body_pack(dtype, dtype, true);
    struct body_merge a = {.rows = rows, .heads = heads, .e = e, .y = y};
    for (int first = 0; first < pieces; first += SDT_CUDA_PIECES) {
        bool wide = e % most == 0 && body_aligned(y);
        a.pieces = batch(pieces, first);
        memcpy(a.head, head + first, ((size_t)a.pieces + 1) * sizeof *head);
        for (int p = 0; p < a.pieces; p++) {
            a.x[p] = x[first + p];
            wide = wide && (a.head[p] == a.head[p + 1] || body_aligned(a.x[p]));
        }
        int pack = wide ? most : 1;
        for (int r = 0; r < rows; r++)
            for (int i = a.head[0] * e; i < a.head[a.pieces] * e; i += pack)
                body_merge_pack(&a, dtype, pack, r, i);
    }
    return SDT_OK;
}

enum sdt_status sdt_cuda_gather(struct sdt_cuda *cuda, enum sdt_dtype dtype, int tiles, int heads,
                                const struct sdt_gather *to, const void *const *x, void *y) {
    (void)cuda;
    int most = body_pack(dtype, dtype, true);
    for (int first = 0; first < tiles; first += SDT_CUDA_PIECES) {
        struct body_gather a = {.first = first, .heads = heads, .to = *to, .y = y};
        bool wide = body_gather_whole(to, most) && body_aligned(y);
        a.count = batch(tiles, first);
        for (int t = 0; t < a.count; t++) {
            a.x[t] = x[first + t];
            wide = wide && body_aligned(a.x[t]);
        }
        int pack = wide ? most : 1;
        for (int t = 0; t < a.count; t++)
            for (int h = 0; h < heads; h++)
                FLAT(3, pack, to->block, i) { body_gather_pack(&a, dtype, pack, t, h, i); }
    }
    return SDT_OK;
}

enum sdt_status sdt_cuda_copy_part(struct sdt_cuda *cuda, enum sdt_dtype dtype,
                                   const struct sdt_copy_part *part, const void *x, void *y) {
    (void)cuda;
    const struct body_copy_part a = {*part, x, y};
    const int most = body_pack(dtype, dtype, true);
    const bool wide = body_copy_part_whole(part, most) && body_aligned(x) && body_aligned(y);
    const int pack = wide ? most : 1;
    for (int h = 0; h < part->heads; h++)
        FLAT(3, pack, part->count, i) { body_copy_part_pack(&a, dtype, pack, h, i); }
    return SDT_OK;
}

/* A warp's lanes read both log-sum-exps before one of them writes. */
enum sdt_status sdt_cuda_attention_merge(struct sdt_cuda *cuda, enum sdt_dtype dtype, int heads,
                                         int rows, int e, const void *o2, const float *lse2,
                                         void *o, float *lse) {
    (void)cuda;
    bool wide = body_aligned(o) && body_aligned(o2) && (size_t)e * body_size(dtype) % 16 == 0;
    int pack = body_pack(dtype, dtype, wide);
    for (int r = 0; r < heads * rows; r++) {
        float first, second, both = body_merge_weights(lse[r], lse2[r], &first, &second);
        for (int i = 0; i < e; i += pack)
            body_attention_merge(dtype, pack, first, second, o2, o, (size_t)r * e + i);
        lse[r] = both;
    }
    return SDT_OK;
}

/* ---- latents and video ----------------------------------------------------------------------- */

enum sdt_status sdt_cuda_patchify(struct sdt_cuda *cuda, enum sdt_dtype dtype,
                                  const struct sdt_patch *patch, int64_t first, int rows,
                                  const float *latent, void *y) {
    (void)cuda;
    struct body_patch a = body_patch_of(patch, first, rows);
    for (int r = 0; r < rows; r++)
        for (int i = 0; i < a.width; i++)
            body_patchify(&a, dtype, r, i, latent, y);
    return SDT_OK;
}

enum sdt_status sdt_cuda_unpatchify(struct sdt_cuda *cuda, const struct sdt_patch *patch,
                                    int64_t first, int rows, const float *x, float *latent) {
    (void)cuda;
    struct body_patch a = body_patch_of(patch, first, rows);
    for (int r = 0; r < rows; r++)
        for (int i = 0; i < a.width; i++)
            body_unpatchify(&a, r, i, x, latent);
    return SDT_OK;
}

enum sdt_status sdt_cuda_patch_order(struct sdt_cuda *cuda, enum sdt_dtype dtype, int rows,
                                     int channels, int patch, const void *x, float *y) {
    (void)cuda;
    for (int r = 0; r < rows; r++)
        for (int i = 0; i < channels * patch; i++)
            body_patch_order(dtype, channels, patch, r, i, x, y);
    return SDT_OK;
}

enum sdt_status sdt_cuda_pad_row(struct sdt_cuda *cuda, enum sdt_dtype dtype, int rows, int d,
                                 const float *x, void *y) {
    (void)cuda;
    int pack = body_pack(dtype, dtype, body_aligned(x) && body_aligned(y));
    FLAT(3, pack, ((size_t)rows + 1) * (size_t)d, i) {
        body_pad_row_pack(dtype, pack, i, (size_t)rows, (size_t)d, x, y);
    }
    return SDT_OK;
}

enum sdt_status sdt_cuda_latent_window(struct sdt_cuda *cuda, enum sdt_dtype dtype,
                                       const struct sdt_window *window, const float *latent,
                                       const float *std, const float *mean, void *y) {
    (void)cuda;
    struct body_window a;
    body_window_of(&a, window, latent, std, mean, y);
    for (int r = 0; r < window->nframes * window->rows; r++)
        for (int i = 0; i < window->cols * window->channels; i++)
            body_latent_window(&a, dtype, r, i);
    return SDT_OK;
}

enum sdt_status sdt_cuda_blend_rows(struct sdt_cuda *cuda, int frames, int width, int extent,
                                    int a_rows, const float *a, int b_rows, float *b) {
    (void)cuda;
    for (int r = 0; r < frames * extent; r++)
        for (int i = 0; i < width * 3; i++)
            body_blend_rows(width, extent, a_rows, a, b_rows, b, r, i);
    return SDT_OK;
}

enum sdt_status sdt_cuda_blend_columns(struct sdt_cuda *cuda, int frames, int rows, int extent,
                                       int a_width, const float *a, int b_width, float *b) {
    (void)cuda;
    for (int r = 0; r < frames * rows; r++)
        for (int i = 0; i < extent * 3; i++)
            body_blend_columns(extent, a_width, a, b_width, b, r, i);
    return SDT_OK;
}

enum sdt_status sdt_cuda_place_tile(struct sdt_cuda *cuda, int frames, int tile_rows, int tile_cols,
                                    int rows, int cols, int y0, int x0, int height, int width,
                                    int clamp, const float *tile, float *video) {
    (void)cuda;
    struct body_tile a = {tile_rows, tile_cols, rows,  cols, y0,   x0,
                          height,    width,     clamp, tile, video};
    for (int r = 0; r < frames * rows; r++)
        for (int i = 0; i < cols * 3; i++)
            body_place_tile(&a, r, i);
    return SDT_OK;
}

/* ---- frames enlarged ------------------------------------------------------------------------- */

enum sdt_status sdt_cuda_linear_upsample(struct sdt_cuda *cuda, enum sdt_dtype dtype,
                                         const struct sdt_linear_upsample *up, const void *a,
                                         const void *b, void *y) {
    (void)cuda;
    struct body_upsample args = {*up, a, b, y};
    int most = body_pack(dtype, dtype, true);
    bool wide = up->channels % most == 0 && body_aligned(a) && body_aligned(b) && body_aligned(y);
    int pack = body_pack(dtype, dtype, wide);
    for (int r = 0; r < 2 * up->height; r++)
        for (int i = 0; i < 2 * up->width * up->channels; i += pack)
            body_upsample_pack(&args, dtype, pack, r, i);
    return SDT_OK;
}

static enum sdt_status drive_haar(enum sdt_dtype dtype, const struct body_haar *a) {
    for (int r = 0; r < a->height; r++)
        for (int i = 0; i < a->width * 3; i++)
            body_haar(a, dtype, r, i);
    return SDT_OK;
}

enum sdt_status sdt_cuda_inverse_haar_2d(struct sdt_cuda *cuda, enum sdt_dtype dtype, int height,
                                         int width, const void *bands, const void *low, void *y) {
    (void)cuda;
    return drive_haar(dtype, &(struct body_haar){height, width, 4, bands, low, {y, NULL}});
}

enum sdt_status sdt_cuda_inverse_haar_3d(struct sdt_cuda *cuda, enum sdt_dtype dtype, int height,
                                         int width, const void *bands, const void *low, void *first,
                                         void *second) {
    (void)cuda;
    return drive_haar(dtype, &(struct body_haar){height, width, 8, bands, low, {first, second}});
}

/* Every operation that a graph can insert: one function each, one file each in codelets/.
 *
 * All of them insert one task at the flow's place and return at once; failures stay in the flow
 * (stardit/graph.h). An sdt_handle is a vector of numbers (row-major) whose shape stands
 * beside it, in the words of stardit/kernels.h; it holds at least that many, which is not checked.
 * Vectors of sdt_vector_new are float32.
 * Modes: reads unless a comment says written or updated. A vector that is read has been written
 * before, by a task inserted earlier. `name` is static text, for traces.
 *
 * On GPUs, activations, matrices and the biases of linears may be bfloat16 instead, all of one call
 * alike. Norm weights, biases of convolutions, tables, log-sum-exps, latents, tiles and the video
 * are float32 always, and so is what patch_order and put_frame write and pad_row reads; rms_norm,
 * patchify and latent_window write either. */
#ifndef STARDIT_CODELETS_H
#define STARDIT_CODELETS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "stardit/kernels.h"

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

struct sdt_flow;

/* StarPU's starpu_data_handle_t, without its header. */
typedef struct _starpu_data_state *sdt_handle;

/* A vector that is the sum of a row of one tensor and a row of another (Wan: per-layer table +
 * per-step vector). A NULL handle is no addend. */
struct sdt_row_sum {
    sdt_handle a, b;
    int row_a, row_b;
};

/* -- linear.c -- w: a vector of floats, on GPUs also of bfloat16; on CPUs of either, or packed
 * (sdt_insert_pack_weight) -- */
void sdt_insert_linear(struct sdt_flow *flow, const char *name, int rows, int n, int k,
                       sdt_handle x /* [rows, k] */, sdt_handle w /* [n, k] */,
                       sdt_handle bias /* [n] or NULL */, enum sdt_epilogue epilogue,
                       sdt_handle y /* [rows, n] written */);
void sdt_insert_linear_residual(struct sdt_flow *flow, const char *name, int rows, int n, int k,
                                sdt_handle x /* [rows, k] */, sdt_handle w /* [n, k] */,
                                sdt_handle bias /* [n] or NULL */,
                                struct sdt_row_sum gate /* rows of n; both NULL: 1 */,
                                sdt_handle y /* [rows, n] updated */);

/* Columns of a matrix in parts, each behind a handle of its own, on CPUs: part p has columns
 * bound[p]..bound[p+1]-1. */
enum { SDT_MOST_PARTS = 16 };
struct sdt_parts {
    int count, bound[SDT_MOST_PARTS + 1];
};
/* Some columns of x w^T + bias, as a task of their own: weights are read once, whatever the number
 * of tasks. */
void sdt_insert_linear_part(struct sdt_flow *flow, const char *name, int rows,
                            const struct sdt_parts *parts /* bounds as sdt_linear_parts wants */,
                            const sdt_handle *x /* [parts] -> [rows, columns of the part] */,
                            sdt_handle w /* [.., k], not packed */,
                            sdt_handle bias /* [..] or NULL */, int first,
                            int n /* rows first.. of w and bias */, bool add,
                            sdt_handle y /* [rows, n] written, or updated if `add` */);

/* -- norm.c -- */
void sdt_insert_layer_norm(struct sdt_flow *flow, const char *name, int rows, int d, float eps,
                           sdt_handle x /* [rows, d] */, sdt_handle weight /* [d] or NULL */,
                           sdt_handle bias /* [d] or NULL */, struct sdt_row_sum scale,
                           struct sdt_row_sum shift, sdt_handle y /* [rows, d] written */);
void sdt_insert_rms_norm(struct sdt_flow *flow, const char *name, int rows, int d, float eps,
                         sdt_handle x /* [rows, d] */, sdt_handle weight /* [d] */,
                         sdt_handle y /* [rows, d] written */);
/* The same of an x in parts. */
void sdt_insert_rms_norm_parts(struct sdt_flow *flow, const char *name, int rows,
                               const struct sdt_parts *parts, float eps,
                               const sdt_handle *x /* [parts] -> [rows, columns of the part] */,
                               sdt_handle weight /* [d] */, sdt_handle y /* [rows, d] written */);
void sdt_insert_layer_norm_parts(struct sdt_flow *flow, const char *name, int rows,
                                 const struct sdt_parts *parts, float eps,
                                 const sdt_handle *x /* [parts] -> [rows, columns of the part] */,
                                 sdt_handle weight /* [d] */, sdt_handle bias /* [d] */,
                                 sdt_handle y /* [rows, d] written */);

/* -- condition.c -- */
void sdt_insert_sinusoid(struct sdt_flow *flow, const char *name, float t, int dim,
                         sdt_handle y /* [dim] written */);
/* A row for each timestep. */
enum { SDT_MOST_SINUSOIDS = 1024 };
void sdt_insert_sinusoids(struct sdt_flow *flow, const char *name, int count,
                          const float *t /* [count], copied */, int dim,
                          sdt_handle y /* [count, dim] written */);
/* Of float32. */
void sdt_insert_mean_rows(struct sdt_flow *flow, const char *name, int rows, int d,
                          sdt_handle x /* [rows, d] */, sdt_handle y /* [d] written */);
void sdt_insert_silu(struct sdt_flow *flow, const char *name, size_t n, sdt_handle x /* [n] */,
                     sdt_handle y /* [n] written */);

/* -- heads.c: tokens <-> heads on one tile -- */
struct sdt_split_heads {
    int rows, valid_rows, heads, e;
    float eps;
    struct sdt_rope rope;
    int64_t first_token;
    int pieces;
    const int *head; /* [pieces + 1], copied */
};
void sdt_insert_split_heads(struct sdt_flow *flow, const char *name,
                            const struct sdt_split_heads *split, sdt_handle x /* [rows, h*e] */,
                            sdt_handle norm /* [h*e] or NULL */,
                            sdt_handle rope_table /* or NULL: no rotation */,
                            const sdt_handle *pieces /* [pieces] -> [h_p, rows, e] written;
                                                        ignored where h_p is 0 */);
/* Puts heads head[0]..head[pieces]-1 at their columns of y. beside: other columns have been
 * written. */
void sdt_insert_merge_heads(struct sdt_flow *flow, const char *name, int rows, int heads, int e,
                            int pieces, const int *head /* [pieces + 1], copied */,
                            const sdt_handle *x /* [pieces] -> [h_p, rows, e] */, bool beside,
                            sdt_handle y /* [rows, h*e] written, or updated if beside */);

/* -- exchange.c: the receiving end of an all-to-all -- */
/* Puts the pieces of all tiles, wherever they were produced, together on this device, each head's
 * blocks behind one another: struct sdt_gather (stardit/kernels.h). */
void sdt_insert_gather(struct sdt_flow *flow, const char *name, int tiles, int heads,
                       const struct sdt_gather *to /* copied */,
                       const sdt_handle *pieces /* [tiles, stride] -> [heads, block] */, int stride,
                       sdt_handle y /* [heads, to->stride] written */);
/* The same of some tiles, from to->first on: what y holds of the others stays. */
void sdt_insert_gather_part(struct sdt_flow *flow, const char *name, int tiles, int heads,
                            const struct sdt_gather *to /* copied */,
                            const sdt_handle *pieces /* [tiles, stride] -> [heads, block] */,
                            int stride, sdt_handle y /* [heads, to->stride] updated */);

/* struct sdt_copy_part (stardit/kernels.h). What y holds elsewhere stays; fresh: it holds nothing
 * yet. */
void sdt_insert_copy_part(struct sdt_flow *flow, const char *name,
                          const struct sdt_copy_part *part /* copied */,
                          sdt_handle x /* [heads, x_stride] */,
                          sdt_handle y /* [heads, y_stride] updated, or written if fresh */,
                          bool fresh);

/* Brings pieces to this device and leaves them as they are, for tasks here that will read them. */
void sdt_insert_receive(struct sdt_flow *flow, const char *name, int count,
                        const sdt_handle *pieces /* [count, stride] */, int stride);

/* When `after` has been written: begins to bring vectors that later tasks here will read, at most
 * 64, and waits for none. NULLs are skipped, and what the host does not hold. */
void sdt_insert_prefetch(struct sdt_flow *flow, const char *name, sdt_handle after, int count,
                         const sdt_handle *vectors /* [count], stay until the task has ended */);

/* -- attention.c -- */
/* Attention to `keys` keys. lse (or NULL) gets the log-sum-exps. merge: o and lse hold the result
 * for other keys and are merged with. */
void sdt_insert_attention(struct sdt_flow *flow, const char *name, int heads, int rows, int e,
                          int tile, int64_t keys, float scale, sdt_handle q /* [heads, rows, e] */,
                          sdt_handle k /* [heads, tiles, tile, e] */, sdt_handle v /* as k */,
                          sdt_handle o /* [heads, rows, e] written, or updated if merge */,
                          sdt_handle lse /* [heads, rows] or NULL; as o */, bool merge);

/* The same within groups of tokens: q is the tile that begins with token first_query, k and v the
 * tokens from first_key on. groups: copied; NULL: as above. */
void sdt_insert_group_attention(struct sdt_flow *flow, const char *name,
                                const struct sdt_token_groups *groups, int heads, int rows, int e,
                                int tile, int64_t keys, float scale,
                                sdt_handle q /* [heads, rows, e] */,
                                sdt_handle k /* [heads, tiles, tile, e] */, sdt_handle v /* as k */,
                                sdt_handle o /* [heads, rows, e] written, or updated if merge */,
                                sdt_handle lse /* [heads, rows] or NULL; as o */, bool merge);

/* Of one head, however wide, scale 1/sqrt(e), to the first keys of k and v. */
void sdt_insert_wide_attention(struct sdt_flow *flow, const char *name, int rows, int keys, int e,
                               sdt_handle q /* [rows, e] */, sdt_handle k /* [keys or more, e] */,
                               sdt_handle v /* as k */, sdt_handle o /* [rows, e] written */);

/* -- cross_attention.c -- */
void sdt_insert_cross_attention(struct sdt_flow *flow, const char *name, int rows, int heads, int e,
                                float eps, int keys, float last_key_bias,
                                sdt_handle q /* [rows, h*e] */,
                                sdt_handle q_norm /* [h*e] or NULL */,
                                sdt_handle k /* [keys, h*e] */, sdt_handle v /* [keys, h*e] */,
                                sdt_handle o /* [rows, h*e] written */);

/* -- text.c: T5 encoder -- */
/* Some columns of rows of an embedding table, converted on the way; reads straight from the
 * checkpoint's mapping, so it runs on the host. ids: copied. */
struct sdt_embedding {
    int d;
    enum sdt_dtype dtype, place_dtype;
    const void *table; /* [vocabulary, d], stays mapped */
    const void *place; /* [positions, d], as table: added by a token's position; NULL: none */
};
void sdt_insert_embed(struct sdt_flow *flow, const char *name,
                      const struct sdt_embedding *embedding, int first, int columns, int tokens,
                      const int32_t *ids /* [tokens] */,
                      sdt_handle y /* [tokens, columns] written */);
/* Of heads first_head.. of the table's; on GPUs of all. */
void sdt_insert_text_attention(struct sdt_flow *flow, const char *name, int tokens, int heads,
                               int e, sdt_handle q /* [tokens, h*e] */,
                               sdt_handle k /* [tokens, h*e] */, sdt_handle v /* [tokens, h*e] */,
                               int first_head, int table_heads,
                               sdt_handle bias /* [32, table_heads] */,
                               sdt_handle o /* [tokens, h*e] written */);
void sdt_insert_gated_gelu(struct sdt_flow *flow, const char *name, size_t n,
                           sdt_handle a /* [n] updated: gelu(a) * b */, sdt_handle b /* [n] */);
/* The prompt's rows followed by one zero row, which stands for all padding rows. */
void sdt_insert_pad_row(struct sdt_flow *flow, const char *name, int rows, int d,
                        sdt_handle x /* [rows, d] */, sdt_handle y /* [rows + 1, d] written */);

/* -- causal_text.c: LLaMA and CLIP -- */
/* Heads of q in groups that share one of k and v. */
void sdt_insert_causal_attention(struct sdt_flow *flow, const char *name, int tokens, int heads,
                                 int kv_heads, int e, sdt_handle q /* [tokens, heads*e] */,
                                 sdt_handle k /* [tokens, kv_heads*e] */, sdt_handle v /* as k */,
                                 sdt_handle o /* [tokens, heads*e] written */);
void sdt_insert_rotate_halves(struct sdt_flow *flow, const char *name, int rows, int heads, int e,
                              sdt_handle table /* [rows, 2, e/2] float32 */,
                              sdt_handle x /* [rows, h*e] updated */);
void sdt_insert_gated_silu(struct sdt_flow *flow, const char *name, size_t n,
                           sdt_handle a /* [n] updated: silu(a) * b */, sdt_handle b /* [n] */);
void sdt_insert_quick_gelu(struct sdt_flow *flow, const char *name, size_t n,
                           sdt_handle x /* [n] updated */);
void sdt_insert_gelu(struct sdt_flow *flow, const char *name, size_t n,
                     sdt_handle x /* [n] updated: x (1 + erf(x / sqrt 2)) / 2 */);
/* y = rows first.. of an x in parts, as float32; on GPUs in one part. */
void sdt_insert_take_rows(struct sdt_flow *flow, const char *name, int first, int rows,
                          const struct sdt_parts *parts,
                          const sdt_handle *x /* [parts] -> [first + rows, columns of the part] */,
                          sdt_handle y /* [rows, width] float32, written */);

/* -- residual.c -- */

/* y = x + sign y, sign 1 or -1; both of one type. */
void sdt_insert_sum(struct sdt_flow *flow, const char *name, size_t n, float sign,
                    sdt_handle x /* [n] */, sdt_handle y /* [n] updated */);

/* -- convert.c -- */
/* Of float32 and bfloat16, each may be either. */
void sdt_insert_convert(struct sdt_flow *flow, const char *name, size_t n, sdt_handle x /* [n] */,
                        sdt_handle y /* [n] written */);

/* -- latent.c -- */
void sdt_insert_patchify(struct sdt_flow *flow, const char *name, const struct sdt_patch *patch,
                         int64_t first, int rows, sdt_handle latent /* [C, T, H, W] */,
                         sdt_handle y /* [rows, C*p] written */);
void sdt_insert_unpatchify(struct sdt_flow *flow, const char *name, const struct sdt_patch *patch,
                           int64_t first, int rows, sdt_handle x /* [rows, C*p] */,
                           sdt_handle latent /* [C, T, H, W] updated */);
void sdt_insert_patch_order(struct sdt_flow *flow, const char *name, int rows, int channels,
                            int patch, sdt_handle x /* [rows, patch, C] */,
                            sdt_handle y /* [rows, C, patch] written */);

/* -- sampler.c -- */
/* What a solver keeps of one tile between steps, [n] each. */
struct sdt_solver_tile {
    sdt_handle x;      /* the latent */
    sdt_handle x_last; /* the one before */
    sdt_handle m0, m1; /* predictions of the last step, and of the one before */
};
/* One solver step. What was there stays in `from`, so that a run stopped anywhere still has a whole
 * state to keep and to go on from. first: only from.x has been written, and from.m0 where the step
 * takes it (p_m0). done (or NULL) is called
 * with done_arg on the worker's thread when the task has run. */
void sdt_insert_sampler_step(struct sdt_flow *flow, const char *name,
                             const struct sdt_sampler_step *step, size_t n,
                             sdt_handle v_cond /* [n] */, sdt_handle v_uncond /* [n] or NULL */,
                             struct sdt_solver_tile from, struct sdt_solver_tile to /* written */,
                             bool first, void (*done)(void *arg, int step), void *done_arg);

/* -- noise.c -- */
/* Vectors of so many floats hold a generator (struct sdt_generator). */
enum { SDT_GENERATOR_FLOATS = (sizeof(struct sdt_generator) + 3) / 4 };
/* The next n normal numbers of a generator, on the host. first: seeds it, and goes over as many
 * vectors of n as `before` says; else it has been written. */
void sdt_insert_noise(struct sdt_flow *flow, const char *name, bool first, uint64_t seed,
                      int before, size_t n,
                      sdt_handle generator /* [SDT_GENERATOR_FLOATS] updated */,
                      sdt_handle y /* [n] written */);

/* -- conv.c: video convolutions, channel-last, one frame a task, or a part of one -- */
/* A part of the output frame, and the bands of the input frames that it looks at (sdt_conv_input).
 * On GPUs frames are whole. */
enum { SDT_MOST_CONV_BANDS = 8 };
struct sdt_conv_part {
    int y0, rows;
    int bands, first_band, band_rows;
};
void sdt_insert_conv(struct sdt_flow *flow, const char *name, const struct sdt_conv *conv,
                     const struct sdt_conv_part *part /* NULL: all, from whole frames */,
                     const sdt_handle *x /* [kt, bands] -> [rows, width, in] or NULL: zeros */,
                     sdt_handle w /* [out, kt, ks, ks, in]; on CPUs also packed */,
                     sdt_handle bias /* [out] */, sdt_handle residual /* as y, or NULL */,
                     sdt_handle y /* [part's rows, W', out] written */);
void sdt_insert_time_upsample(struct sdt_flow *flow, const char *name, int height, int width,
                              int channels,
                              const sdt_handle *x /* [3] -> [height, width, C] or NULL: zeros */,
                              sdt_handle w /* [2C, 3, C]; on CPUs also packed */,
                              sdt_handle bias /* [2C] */, sdt_handle first,
                              sdt_handle second /* [height, width, C] written */);
void sdt_insert_channel_norm(struct sdt_flow *flow, const char *name, size_t pixels, int channels,
                             bool silu, sdt_handle x /* [pixels, C] */, sdt_handle gamma /* [C] */,
                             sdt_handle y /* [pixels, C] written; may be x */);
void sdt_insert_channel_layer_norm(struct sdt_flow *flow, const char *name, size_t pixels,
                                   int channels, float eps, bool silu,
                                   sdt_handle x /* [pixels, C] */, sdt_handle weight /* [C] */,
                                   sdt_handle bias /* [C] */,
                                   sdt_handle y /* [pixels, C] written; may be x */);
/* Of queries first..first+rows-1; on GPUs of all. */
void sdt_insert_frame_attention(
    struct sdt_flow *flow, const char *name, int pixels, int channels, int first, int rows,
    sdt_handle q /* [pixels, C]; or [pixels, 3C] with keys and values */, sdt_handle k,
    sdt_handle v /* [pixels, C], or both NULL */, sdt_handle o /* [rows, C] written */);

/* -- upsample.c: frames enlarged x2 in height and width, channel-last -- */
void sdt_insert_linear_upsample(struct sdt_flow *flow, const char *name,
                                const struct sdt_linear_upsample *up,
                                const struct sdt_conv_part *part,
                                const sdt_handle *x /* [1 or 2, bands] -> [rows, width, C] */,
                                sdt_handle y /* [part's rows, 2 width, C] written */);
void sdt_insert_inverse_haar_2d(struct sdt_flow *flow, const char *name, int height, int width,
                                sdt_handle bands /* [height, width, 4, 3] */,
                                sdt_handle low /* [height, width, 3] or NULL */,
                                sdt_handle y /* [2 height, 2 width, 3] written */);
void sdt_insert_inverse_haar_3d(struct sdt_flow *flow, const char *name, int height, int width,
                                sdt_handle bands /* [height, width, 8, 3] */,
                                sdt_handle low /* [height, width, 3] or NULL */,
                                sdt_handle first /* [2 height, 2 width, 3] written, or NULL */,
                                sdt_handle second /* [2 height, 2 width, 3] written */);

/* -- group_norm.c: over the frames of a clip (stardit/kernels.h) -- */
/* Bands of `band_rows` rows; on GPUs frames are whole. */
void sdt_insert_frame_moments(struct sdt_flow *flow, const char *name, int bands, int band_rows,
                              int height, int width, int channels, int groups,
                              const sdt_handle *x /* [bands] -> [rows of the band, width, C] */,
                              sdt_handle moments /* [groups, 2] written */);
/* values: of a group in a frame. */
void sdt_insert_group_moments(struct sdt_flow *flow, const char *name, int frames, int groups,
                              double values, float eps,
                              const sdt_handle *moments /* [frames] -> [groups, 2] */,
                              sdt_handle norm /* [groups, 2] written */);
void sdt_insert_group_norm(struct sdt_flow *flow, const char *name, size_t pixels, int channels,
                           int groups, bool silu, sdt_handle x /* [pixels, C] */,
                           sdt_handle norm /* [groups, 2] */, sdt_handle weight /* [C] */,
                           sdt_handle bias /* [C] */, sdt_handle y /* [pixels, C] written */);

/* -- frames.c: between latents, tiles and the video -- */
/* std, mean: [C], copied; NULL: the latent as it is. */
void sdt_insert_latent_window(struct sdt_flow *flow, const char *name,
                              const struct sdt_window *window, const float *std, const float *mean,
                              sdt_handle latent /* [C, T, H, W] */,
                              sdt_handle y /* [nframes, rows, cols, C] written */);
/* Stores rows y0..y0+rows-1 of one frame, clamped to -1..1 if asked. first: out was never written.
 * done (or NULL) is called on the worker's thread. */
void sdt_insert_put_frame(struct sdt_flow *flow, const char *name, int height, int width, int frame,
                          int y0, int rows, bool clamp, sdt_handle x /* [rows, width, 3] */,
                          sdt_handle out /* [F, height, width, 3] updated */, bool first,
                          void (*done)(void *arg, int frame), void *done_arg);
/* Cross-fades b's first rows with a's last ones (columns: b's first columns with a's last). */
void sdt_insert_blend_rows(struct sdt_flow *flow, const char *name, int frames, int width,
                           int extent, int a_rows, sdt_handle a, int b_rows,
                           sdt_handle b /* [frames, b_rows, width, 3] updated */);
void sdt_insert_blend_columns(struct sdt_flow *flow, const char *name, int frames, int rows,
                              int extent, int a_width, sdt_handle a, int b_width,
                              sdt_handle b /* [frames, rows, b_width, 3] updated */);
/* Copies the top-left rows x cols of a tile's first frames to (frame0, y0, x0) of the video,
 * clamped to -1..1 if asked. */
struct sdt_place_tile {
    int frames, tile_rows, tile_cols, rows, cols;
    int frame0, y0, x0, height, width;
    bool clamp;
};
void sdt_insert_place_tile(struct sdt_flow *flow, const char *name,
                           const struct sdt_place_tile *place,
                           sdt_handle tile /* [frames or more, tile_rows, tile_cols, 3] */,
                           sdt_handle video /* [.., height, width, 3] updated */);

/* -- load.c: from the checkpoint's mapping -- */
/* What is called before a task reads `data`, and when it no longer does; NULL: nothing. */
struct sdt_reading {
    void (*begin)(const void *arg), (*end)(const void *arg);
    const void *arg;
};
/* y = the stored values, in y's type; with taps > 1, a convolution's [out, in, taps] as [out, taps,
 * in]. Runs on the host. data stays mapped until the task has run. */
void sdt_insert_load(struct sdt_flow *flow, const char *name, enum sdt_dtype dtype,
                     const void *data, size_t count, int out, int in, int taps,
                     const struct sdt_reading *reading /* or NULL */,
                     sdt_handle y /* [count] written */);
/* y = some columns of a stored matrix, in y's type, likewise. */
void sdt_insert_load_columns(struct sdt_flow *flow, const char *name, enum sdt_dtype dtype,
                             const void *data /* [rows, ld], from the first column on */, int rows,
                             int columns, int ld, const struct sdt_reading *reading,
                             sdt_handle y /* [rows, columns] written */);
/* y = the stored matrix as CPUs read it often (sdt_pack_weight). */
void sdt_insert_pack_weight(struct sdt_flow *flow, const char *name, enum sdt_dtype dtype,
                            const void *data /* [n, ld]; with taps > 1 [n, k / taps, taps] */,
                            int n, int k, int ld /* k, or a matrix of which k columns are packed */,
                            int taps, int run /* see sdt_pack_weight */,
                            const struct sdt_reading *reading,
                            sdt_handle y /* sdt_packed_size bytes, written */);

/* ---- all of them ----------------------------------------------------------------------------- */

/* By the names of their codelets, which stardit-info --codelets lists; one may serve several of the
 * functions above. */
/* clang-format off */
#define SDT_CODELETS(X)                                                                            \
    X(attention) X(blend) X(causal_attention) X(channel_layer_norm) X(channel_norm) X(conv)        \
    X(convert) X(copy_part) X(cross_attention) X(embed) X(frame_attention) X(frame_moments)        \
    X(gated_gelu) X(gated_silu) X(gather) X(gelu) X(group_moments) X(group_norm) X(inverse_haar)   \
    X(latent_window) X(layer_norm) X(layer_norm_parts) X(linear) X(linear_part) X(linear_residual) \
    X(linear_upsample) X(load) X(mean_rows) X(merge_heads) X(noise) X(pack_weight) X(pad_row)      \
    X(patch_order) X(patchify) X(place_tile) X(prefetch) X(put_frame) X(quick_gelu) X(receive)     \
    X(rms_norm) X(rms_norm_parts) X(rotate_halves) X(round) X(sampler) X(silu) X(sinusoid)         \
    X(split_heads) X(sum) X(take_rows) X(text_attention) X(time_upsample) X(unpatchify)            \
    X(wide_attention)
/* clang-format on */

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif

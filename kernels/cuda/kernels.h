/* CUDA kernels: the operations of stardit/kernels.h on device memory, queued on a worker's stream.
 *
 * Names are those of the CPU kernels with `sdt_cuda_`; meaning and order of the arguments are the
 * same unless a comment says otherwise. Rules that hold for all of them - T is the element type
 * `dtype` of the call, SDT_F32 or SDT_BF16. Pointers to T are `void *`; `float *` is float32
 * whatever the dtype. Sums are kept in float32. SDT_F32 never uses TF32. - They return as soon as
 * the work is queued; nothing is allocated, freed or waited for. - SDT_OK, or SDT_ERROR_DEVICE with
 * the message in sdt_cuda_error(cuda). Without memory for a plan of cuDNN they fail: another
 * kernel's bits would be others. - Bits depend on the arguments and the kind of GPU only, never on
 * the device's number, on what else runs or on measured times. - `scratch` is device memory of at
 * least as many bytes as the `..._scratch` function says. Pointers come from StarPU and are aligned
 * to 256 bytes at the start of a vector; a row within one may not be: 16-byte accesses need rows
 * whose length allows them, and a slower way for the others.
 *
 * Element-wise kernels, norms, rotation, gathers and the sampler have their bodies in
 * kernels/cuda/bodies.h and rows.h, which compile as plain C too: tests/kernels/cuda_bodies runs
 * them on the host against the references. */
#ifndef STARDIT_CUDA_KERNELS_H
#define STARDIT_CUDA_KERNELS_H

#include <stdbool.h>

#include "kernels/kernels.h"
#include "stardit/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- context.cu: what a GPU worker keeps ----------------------------------------------------- */

/* One per GPU worker: stream, library handles, a fixed workspace for cuBLASLt and cuDNN, and the
 * plans that these libraries made for shapes seen so far. Used by one thread at a time. */
struct sdt_cuda;

/* On the calling thread's current device. `stream` is a cudaStream_t, borrowed. SDT_ERROR_DEVICE
 * with what failed: no memory for the workspace (bytes asked and free), driver older than the
 * runtime (both versions). cuDNN is optional: without it sdt_cuda_cudnn() says why and own kernels
 * are used. */
enum sdt_status sdt_cuda_new(void *stream, struct sdt_cuda **cuda, struct sdt_error *err);
void sdt_cuda_free(struct sdt_cuda *cuda); /* on the same device; NULL is fine */
/* The last failure of a call with this context. */
const struct sdt_error *sdt_cuda_error(const struct sdt_cuda *cuda);
/* "9.19.0", or NULL with the reason in *why: not built with it, or libcudnn.so.9 not found. With a
 * version, *why is the last shape that it had no plan for, which went to an own kernel, or NULL. */
const char *sdt_cuda_cudnn(const struct sdt_cuda *cuda, const char **why);
/* Which kernel the last call of an attention or a convolution queued. */
enum sdt_cuda_way { SDT_CUDA_OWN, SDT_CUDA_CUDNN, SDT_CUDA_CUBLASLT };
enum sdt_cuda_way sdt_cuda_last_way(const struct sdt_cuda *cuda);
/* Which attention and convolution are used: own kernels instead of cuDNN's when true (for
 * comparisons, and to keep bits where libcudnn differs). */
void sdt_cuda_prefer_own(struct sdt_cuda *cuda, bool own);

/* ---- planner.cu: cuDNN's plans, made ahead --------------------------------------------------- */

/* cuDNN makes a plan for each shape, which takes a second or more, when a task first meets it. A
 * planner makes them ahead, in a thread of its own, and keeps them: for all contexts that share it,
 * and on disk (kernels/cuda/plans.h) for later processes. The bits are the same either way. */
struct sdt_planner;
struct sdt_planner *sdt_planner_new(void); /* NULL: no memory */
/* When no context shares it any more. Waits for the plan that is being made. NULL is fine. */
void sdt_planner_free(struct sdt_planner *planner);
void sdt_cuda_share(struct sdt_cuda *cuda, struct sdt_planner *planner);

/* What a bf16 attention or convolution is planned by. */
struct sdt_cuda_shape {
    bool is_conv;
    struct sdt_conv conv; /* of all of a frame's rows */
    bool residual;
    int heads, rows, e, tile; /* attention, as sdt_cuda_attention takes them */
    int64_t keys;
    bool log_sums;
};
/* Asks for a plan on that CUDA device. What cuDNN does not take, or already has, costs nothing. */
void sdt_planner_ahead(struct sdt_planner *planner, int device, const struct sdt_cuda_shape *shape);

/* What plans of this process came from. */
struct sdt_cuda_plans {
    int made, ahead; /* made here; of these, before a task asked for them */
    int read;        /* from disk */
    int none;        /* shapes that go to own kernels, as cuDNN has no plan */
    double seconds;  /* that making took, in whatever thread */
    char why[160];   /* the first of `none`, or "" */
};
struct sdt_cuda_plans sdt_planner_count(struct sdt_planner *planner);

/* ---- elementwise.cu -------------------------------------------------------------------------- */

enum sdt_status sdt_cuda_convert(struct sdt_cuda *cuda, size_t n, enum sdt_dtype from,
                                 const void *x /* [n] */, enum sdt_dtype to, void *y /* [n] */);
enum sdt_status sdt_cuda_silu(struct sdt_cuda *cuda, enum sdt_dtype dtype, size_t n,
                              const void *x /* [n] */, void *y /* [n], may be x */);
enum sdt_status sdt_cuda_gated_gelu(struct sdt_cuda *cuda, enum sdt_dtype dtype, size_t n,
                                    const void *a /* [n] */, const void *b /* [n] */,
                                    void *y /* [n], may be a or b */);
enum sdt_status sdt_cuda_gated_silu(struct sdt_cuda *cuda, enum sdt_dtype dtype, size_t n,
                                    const void *a /* [n] */, const void *b /* [n] */,
                                    void *y /* [n], may be a or b */);
enum sdt_status sdt_cuda_quick_gelu(struct sdt_cuda *cuda, enum sdt_dtype dtype, size_t n,
                                    const void *x /* [n] */, void *y /* [n], may be x */);
enum sdt_status sdt_cuda_sum(struct sdt_cuda *cuda, enum sdt_dtype dtype, size_t n, float sign,
                             const void *x, void *y);
enum sdt_status sdt_cuda_gelu(struct sdt_cuda *cuda, enum sdt_dtype dtype, size_t n,
                              const void *x /* [n] */, void *y /* [n], may be x */);
/* Sets *sdt_cuda_found(cuda) if a number of x is NaN or infinite. */
enum sdt_status sdt_cuda_check_finite(struct sdt_cuda *cuda, enum sdt_dtype dtype, size_t n,
                                      const void *x /* [n] */);
/* In the host's memory, where the device writes it; whoever has read it sets it to 0. */
volatile int *sdt_cuda_found(struct sdt_cuda *cuda);
enum sdt_status sdt_cuda_sinusoid(struct sdt_cuda *cuda, float t, int dim, float *y /* [dim] */);
enum sdt_status sdt_cuda_mean_rows(struct sdt_cuda *cuda, int rows, int d,
                                   const float *x /* [rows, d] */, float *y /* [d] */);
/* One solver step on latents, always float32. */
enum sdt_status sdt_cuda_sampler_step(struct sdt_cuda *cuda, const struct sdt_sampler_step *step,
                                      size_t n, const float *v_cond /* [n] */,
                                      const float *v_uncond /* [n] or NULL */,
                                      const float *x /* [n] */, float *x_next /* [n] */,
                                      float *x_last /* [n] */, float *m0 /* [n] */,
                                      float *m1 /* [n] */);

/* ---- norm.cu --------------------------------------------------------------------------------- */

enum sdt_status sdt_cuda_layer_norm(struct sdt_cuda *cuda, enum sdt_dtype dtype, int rows, int d,
                                    const void *x /* [rows, d] */, float eps,
                                    const float *weight /* [d] or NULL */,
                                    const float *bias /* [d] or NULL */,
                                    const float *scale_a /* [d] or NULL */, const float *scale_b,
                                    const float *shift_a, const float *shift_b,
                                    void *y /* [rows, d], may be x */);
/* x and y may differ in type: text states leave the encoder as float32. */
enum sdt_status sdt_cuda_rms_norm(struct sdt_cuda *cuda, enum sdt_dtype dtype, int rows, int d,
                                  const void *x /* [rows, d] */, float eps,
                                  const float *weight /* [d] */, enum sdt_dtype y_dtype,
                                  void *y /* [rows, d], may be x */);
enum sdt_status sdt_cuda_channel_norm(struct sdt_cuda *cuda, enum sdt_dtype dtype, size_t pixels,
                                      int channels, const void *x /* [pixels, C] */,
                                      const float *gamma /* [C] */, int silu,
                                      void *y /* [pixels, C], may be x */);
enum sdt_status sdt_cuda_channel_layer_norm(struct sdt_cuda *cuda, enum sdt_dtype dtype,
                                            size_t pixels, int channels, float eps,
                                            const void *x /* [pixels, C] */,
                                            const float *weight /* [C] */,
                                            const float *bias /* [C] */, int silu,
                                            void *y /* [pixels, C], may be x */);

/* ---- group_norm.cu: over the frames of a clip ------------------------------------------------ */

/* Of a whole frame. */
enum sdt_status sdt_cuda_frame_moments(struct sdt_cuda *cuda, enum sdt_dtype dtype, int height,
                                       int width, int channels, int groups,
                                       const void *x /* [height, width, C] */,
                                       float *moments /* [groups, 2] */, void *scratch);
size_t sdt_cuda_frame_moments_scratch(int height, int channels); /* bytes */
enum sdt_status sdt_cuda_group_moments(struct sdt_cuda *cuda, int frames, int groups, double values,
                                       float eps, const float *moments /* [frames, groups, 2] */,
                                       float *norm /* [groups, 2] */);
enum sdt_status sdt_cuda_group_norm(struct sdt_cuda *cuda, enum sdt_dtype dtype, size_t pixels,
                                    int channels, int groups, const void *x /* [pixels, C] */,
                                    const float *norm /* [groups, 2] */,
                                    const float *weight /* [C] */, const float *bias /* [C] */,
                                    int silu, void *y /* [pixels, C], may be x */);

/* ---- linear.cu ------------------------------------------------------------------------------- */

/* cuBLASLt with bias and GELU in its epilogue. */
enum sdt_status sdt_cuda_linear(struct sdt_cuda *cuda, enum sdt_dtype dtype, int rows, int n, int k,
                                const void *x /* [rows, k] */, const void *w /* [n, k] */,
                                const void *bias /* [n] or NULL */, enum sdt_epilogue epilogue,
                                void *y /* [rows, n] */);
/* y += (gate_a + gate_b) (x w^T + bias); both gates NULL: 1. */
enum sdt_status sdt_cuda_linear_residual(struct sdt_cuda *cuda, enum sdt_dtype dtype, int rows,
                                         int n, int k, const void *x /* [rows, k] */,
                                         const void *w /* [n, k] */,
                                         const void *bias /* [n] or NULL */,
                                         const float *gate_a /* [n] or NULL */,
                                         const float *gate_b /* [n] or NULL */,
                                         void *y /* [rows, n] in place */, void *scratch);
size_t sdt_cuda_linear_residual_scratch(enum sdt_dtype dtype, int rows, int n); /* bytes */

/* ---- heads.cu: tokens <-> heads on one tile; exchange ---------------------------------------- */

enum sdt_status sdt_cuda_rotate_halves(struct sdt_cuda *cuda, enum sdt_dtype dtype, int rows,
                                       int heads, int e, const float *table /* [rows, 2, e/2] */,
                                       void *x /* [rows, h*e] in place */);
/* At most SDT_CUDA_PIECES pieces go to the device in one launch's arguments; more take several. */
#define SDT_CUDA_PIECES 64
enum sdt_status sdt_cuda_split_heads(struct sdt_cuda *cuda, enum sdt_dtype dtype, int rows,
                                     int valid_rows, int heads, int e,
                                     const void *x /* [rows, h*e] */,
                                     const float *weight /* [h*e] or NULL */, float eps,
                                     const struct sdt_rope *rope, const float *table /* or NULL */,
                                     int64_t first_token, int pieces,
                                     const int *head /* [pieces + 1], host */,
                                     void *const *y /* host [pieces] -> [heads of p, rows, e] */);
enum sdt_status sdt_cuda_merge_heads(struct sdt_cuda *cuda, enum sdt_dtype dtype, int rows,
                                     int heads, int e, int pieces,
                                     const int *head /* [pieces + 1], host */,
                                     const void *const *x /* host [pieces] -> [h_p, rows, e] */,
                                     void *y /* [rows, h*e], only the columns of these heads */);
/* Pieces [heads, block] of several tiles to y [heads, stride]. */
enum sdt_status sdt_cuda_gather(struct sdt_cuda *cuda, enum sdt_dtype dtype, int tiles, int heads,
                                const struct sdt_gather *to,
                                const void *const *x /* host [tiles] -> [heads, block] */,
                                void *y /* [heads, to->stride] */);
enum sdt_status sdt_cuda_copy_part(struct sdt_cuda *cuda, enum sdt_dtype dtype,
                                   const struct sdt_copy_part *part,
                                   const void *x /* [heads, x_stride] */,
                                   void *y /* [heads, y_stride] */);

/* ---- attention.cu ---------------------------------------------------------------------------- */

/* o = softmax(scale q k^T) v per head; keys beyond `keys` in the last tile are not read. bf16 with
 * e <= 128, a multiple of 8: cuDNN's fused attention where it is, own tensor-core kernel elsewhere.
 * float32, and other e: an own kernel for exactness, not for speed. */
enum sdt_status sdt_cuda_attention(struct sdt_cuda *cuda, enum sdt_dtype dtype, int heads, int rows,
                                   int e, const void *q /* [heads, rows, e] */, int tile,
                                   int64_t keys,
                                   const void *k /* [heads, ceil(keys/tile) * tile, e] */,
                                   const void *v /* as k */, float scale,
                                   void *o /* [heads, rows, e] */,
                                   float *lse /* [heads, rows] or NULL */);
enum sdt_status sdt_cuda_attention_merge(struct sdt_cuda *cuda, enum sdt_dtype dtype, int heads,
                                         int rows, int e, const void *o2 /* [heads, rows, e] */,
                                         const float *lse2 /* [heads, rows] */,
                                         void *o /* in place */, float *lse /* in place */);
/* -- group_attention.cu -- */
/* The same within groups of tokens; a group's rows are put together in scratch. */
enum sdt_status sdt_cuda_group_attention(
    struct sdt_cuda *cuda, enum sdt_dtype dtype, const struct sdt_token_groups *groups, int heads,
    int rows, int e, const void *q /* [heads, rows, e] */, int tile, int64_t keys,
    const void *k /* [heads, ceil(keys/tile) * tile, e] */, const void *v /* as k */, float scale,
    void *o /* [heads, rows, e] */, float *lse /* [heads, rows] or NULL */, void *scratch);
size_t sdt_cuda_group_attention_scratch(const struct sdt_token_groups *groups, enum sdt_dtype dtype,
                                        int heads, int rows, int e, int64_t keys);
/* -- cross_attention.cu -- */
/* RMS of q over the whole row, then attention with the prompt's keys; own kernel, because of the
 * bias of the last key. */
enum sdt_status sdt_cuda_cross_attention(struct sdt_cuda *cuda, enum sdt_dtype dtype, int rows,
                                         int heads, int e, const void *q /* [rows, h*e] */,
                                         const float *q_weight /* [h*e] or NULL */, float eps,
                                         int keys, const void *k /* [keys, h*e] */,
                                         const void *v /* [keys, h*e] */, float last_key_bias,
                                         void *o /* [rows, h*e] */, void *scratch);
size_t sdt_cuda_cross_attention_scratch(enum sdt_dtype dtype, int rows, int heads, int e);
/* T5 self attention of all heads. */
enum sdt_status sdt_cuda_text_attention(struct sdt_cuda *cuda, enum sdt_dtype dtype, int tokens,
                                        int heads, int e, const void *q /* [tokens, h*e] */,
                                        const void *k, const void *v,
                                        const float *table /* [32, heads] */,
                                        void *o /* [tokens, h*e] */);
/* Of all heads; q heads in groups that share one of k and v. */
enum sdt_status sdt_cuda_causal_attention(struct sdt_cuda *cuda, enum sdt_dtype dtype, int tokens,
                                          int heads, int kv_heads, int e,
                                          const void *q /* [tokens, heads*e] */,
                                          const void *k /* [tokens, kv_heads*e] */, const void *v,
                                          void *o /* [tokens, heads*e] */);
/* Single-head attention over a frame's pixels, e = C (384 in Wan's VAE). */
enum sdt_status sdt_cuda_frame_attention(struct sdt_cuda *cuda, enum sdt_dtype dtype, int pixels,
                                         int channels,
                                         const void *q /* [pixels, C], `ld` from pixel to pixel */,
                                         const void *k /* as q */, const void *v /* as q */, int ld,
                                         void *o /* [pixels, C] */, void *scratch);
size_t sdt_cuda_frame_attention_scratch(enum sdt_dtype dtype, int pixels, int channels);
/* The same with queries, keys and values apart. */
enum sdt_status sdt_cuda_wide_attention(struct sdt_cuda *cuda, enum sdt_dtype dtype, int rows,
                                        int keys, int e, const void *q /* [rows, e] */,
                                        const void *k /* [keys, e] */, const void *v /* as k */,
                                        void *o /* [rows, e] */, void *scratch);
size_t sdt_cuda_wide_attention_scratch(enum sdt_dtype dtype, int rows, int keys); /* bytes */

/* ---- latent.cu: latents (float32) as tokens, frames and video (float32) ---------------------- */

enum sdt_status sdt_cuda_patchify(struct sdt_cuda *cuda, enum sdt_dtype dtype,
                                  const struct sdt_patch *patch, int64_t first, int rows,
                                  const float *latent /* [C, frames, height, width] */,
                                  void *y /* [rows, C*pt*ph*pw] */);
enum sdt_status sdt_cuda_unpatchify(struct sdt_cuda *cuda, const struct sdt_patch *patch,
                                    int64_t first, int rows,
                                    const float *x /* [rows, C*pt*ph*pw] */, float *latent);
enum sdt_status sdt_cuda_patch_order(struct sdt_cuda *cuda, enum sdt_dtype dtype, int rows,
                                     int channels, int patch, const void *x /* [rows, patch, C] */,
                                     float *y /* [rows, C, patch] */);
enum sdt_status sdt_cuda_pad_row(struct sdt_cuda *cuda, enum sdt_dtype dtype, int rows, int d,
                                 const float *x /* [rows, d] */, void *y /* [rows + 1, d] */);
/* std and mean are host memory, at most 64 channels. */
enum sdt_status sdt_cuda_latent_window(struct sdt_cuda *cuda, enum sdt_dtype dtype,
                                       const struct sdt_window *window, const float *latent,
                                       const float *std /* [C] or NULL */,
                                       const float *mean /* [C] or NULL */,
                                       void *y /* [nframes, rows, cols, C] */);
/* y[n] float32 from x[n] T, clamped to -1..1 if asked: a frame's place in the video. */
enum sdt_status sdt_cuda_put_frame(struct sdt_cuda *cuda, enum sdt_dtype dtype, size_t n, int clamp,
                                   const void *x /* [n] */, float *y /* [n] */);
enum sdt_status sdt_cuda_blend_rows(struct sdt_cuda *cuda, int frames, int width, int extent,
                                    int a_rows, const float *a /* [frames, a_rows, width, 3] */,
                                    int b_rows, float *b /* [frames, b_rows, width, 3] */);
enum sdt_status sdt_cuda_blend_columns(struct sdt_cuda *cuda, int frames, int rows, int extent,
                                       int a_width, const float *a /* [frames, rows, a_width, 3] */,
                                       int b_width, float *b /* [frames, rows, b_width, 3] */);
/* Copies the top-left rows x cols of a tile, clamped to -1..1 if asked, to (y0, x0) of the
 * video. */
enum sdt_status sdt_cuda_place_tile(struct sdt_cuda *cuda, int frames, int tile_rows, int tile_cols,
                                    int rows, int cols, int y0, int x0, int height, int width,
                                    int clamp,
                                    const float *tile /* [frames, tile_rows, tile_cols, 3] */,
                                    float *video /* [frames, height, width, 3] */);

/* ---- conv.cu: causal video convolutions, channel-last ---------------------------------------- */

/* As sdt_conv_frame; x[i] NULL is a frame of zeros. bf16 with channels that are multiples of 8 goes
 * through cuDNN where it is and has a plan, all else through an own implicit-GEMM kernel. */
enum sdt_status sdt_cuda_conv_frame(struct sdt_cuda *cuda, enum sdt_dtype dtype,
                                    const struct sdt_conv *conv,
                                    const void *const *x /* host [kt] -> [height, width, in] */,
                                    const void *w /* [out, kt, ks, ks, in] */,
                                    const float *bias /* [out] */,
                                    const void *residual /* as y, or NULL */,
                                    void *y /* [H', W', out] */, void *scratch);
size_t sdt_cuda_conv_frame_scratch(enum sdt_dtype dtype, const struct sdt_conv *conv);
enum sdt_status sdt_cuda_time_upsample(struct sdt_cuda *cuda, enum sdt_dtype dtype, int height,
                                       int width, int channels,
                                       const void *const *x /* host [3] or NULL */,
                                       const void *w /* [2C, 3, C] */, const float *bias /* [2C] */,
                                       void *first /* [height, width, C] */,
                                       void *second /* [height, width, C] */, void *scratch);
size_t sdt_cuda_time_upsample_scratch(enum sdt_dtype dtype, int height, int width, int channels);

/* ---- upsample.cu: frames enlarged x2, between two in time, or from wavelet bands ------------- */

/* The whole output frame; b NULL: there is no second. */
enum sdt_status sdt_cuda_linear_upsample(struct sdt_cuda *cuda, enum sdt_dtype dtype,
                                         const struct sdt_linear_upsample *up,
                                         const void *a /* [height, width, C] */,
                                         const void *b /* as a, or NULL */,
                                         void *y /* [2 height, 2 width, C] */);
enum sdt_status sdt_cuda_inverse_haar_2d(struct sdt_cuda *cuda, enum sdt_dtype dtype, int height,
                                         int width, const void *bands /* [height, width, 4, 3] */,
                                         const void *low /* [height, width, 3] or NULL */,
                                         void *y /* [2 height, 2 width, 3] */);
enum sdt_status sdt_cuda_inverse_haar_3d(struct sdt_cuda *cuda, enum sdt_dtype dtype, int height,
                                         int width, const void *bands /* [height, width, 8, 3] */,
                                         const void *low /* [height, width, 3] or NULL */,
                                         void *first /* [2 height, 2 width, 3] or NULL */,
                                         void *second /* [2 height, 2 width, 3] */);

#ifdef __cplusplus
}
#endif
#endif

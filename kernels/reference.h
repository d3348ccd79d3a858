/* The plain version of every kernel of kernels.h: same arguments (less the scratch), loops as the
 * formula reads, sums in double precision. Slow; for tests and for the checks of stardit-bench.
 * Kernels that only move numbers have none: their tests recompute each place from its definition.
 */
#ifndef STARDIT_KERNELS_REFERENCE_H
#define STARDIT_KERNELS_REFERENCE_H

#include "kernels/kernels.h"

#ifdef __cplusplus
extern "C" {
#endif

void sdt_convert_reference(enum sdt_dtype dtype, size_t n, const void *src, float *dst /* [n] */);
/* To BF16, by trying both neighbours. */
void sdt_convert_to_reference(enum sdt_dtype from, size_t n, const void *src,
                              uint16_t *dst /* [n] */);

void sdt_linear_reference(int rows, int n, int k, const float *x /* [rows, k] */,
                          const float *w /* [n, k] */, const float *bias /* [n] or NULL */,
                          enum sdt_epilogue epilogue, float *y /* [rows, n] */);
void sdt_linear_residual_reference(int rows, int n, int k, const float *x /* [rows, k] */,
                                   const float *w /* [n, k] */, const float *bias /* [n] or NULL */,
                                   const float *gate_a /* [n] or NULL */,
                                   const float *gate_b /* [n] or NULL */,
                                   float *y /* [rows, n] in place */);

void sdt_layer_norm_reference(int rows, int d, const float *x /* [rows, d] */, float eps,
                              const float *weight /* [d] or NULL */,
                              const float *bias /* [d] or NULL */,
                              const float *scale_a /* [d] or NULL */,
                              const float *scale_b /* [d] or NULL */,
                              const float *shift_a /* [d] or NULL */,
                              const float *shift_b /* [d] or NULL */, float *y /* [rows, d] */);
void sdt_rms_norm_reference(int rows, int d, const float *x /* [rows, d] */, float eps,
                            const float *weight /* [d] */, float *y /* [rows, d] */);
void sdt_channel_norm_reference(size_t pixels, int channels, const float *x /* [pixels, C] */,
                                const float *gamma /* [C] */, int silu, float *y /* [pixels, C] */);

void sdt_silu_reference(size_t n, const float *x /* [n] */, float *y /* [n] */);
void sdt_gated_gelu_reference(size_t n, const float *a /* [n] */, const float *b /* [n] */,
                              float *y /* [n] */);
void sdt_add_reference(size_t n, const float *x /* [n] */, float *y /* [n] in place */);
void sdt_sinusoid_reference(float t, int dim, float *y /* [dim] */);

void sdt_split_heads_reference(int rows, int valid_rows, int heads, int e,
                               const float *x /* [rows, h*e] */,
                               const float *weight /* [h*e] or NULL */, float eps,
                               const struct sdt_rope *rope, const float *table, int64_t first_token,
                               int pieces, const int *head /* [pieces + 1] */,
                               float *const *y /* [pieces] -> [heads of p, rows, e] */);
void sdt_merge_heads_reference(int rows, int heads, int e, int pieces,
                               const int *head /* [pieces + 1] */,
                               const float *const *x /* [pieces] -> [heads of p, rows, e] */,
                               float *y /* [rows, h*e] */);

void sdt_attention_reference(int heads, int rows, int e, const float *q /* [heads, rows, e] */,
                             int tile, int64_t keys,
                             const float *k /* [heads, ceil(keys/tile), tile, e] */,
                             const float *v /* as k */, float scale,
                             float *o /* [heads, rows, e] */,
                             float *lse /* [heads, rows] or NULL */);
void sdt_attention_merge_reference(int heads, int rows, int e,
                                   const float *o2 /* [heads, rows, e] */,
                                   const float *lse2 /* [heads, rows] */,
                                   float *o /* [heads, rows, e] in place */,
                                   float *lse /* [heads, rows] in place */);
void sdt_cross_attention_reference(int rows, int heads, int e, const float *q /* [rows, h*e] */,
                                   const float *q_weight /* [h*e] or NULL */, float eps, int keys,
                                   const float *k /* [keys, h*e] */,
                                   const float *v /* [keys, h*e] */, float last_key_bias,
                                   float *o /* [rows, h*e] */);
void sdt_text_attention_reference(int tokens, int width, int head0, int head1, int e,
                                  const float *q /* [tokens, width] */,
                                  const float *k /* [tokens, width] */,
                                  const float *v /* [tokens, width] */,
                                  const float *table /* [32, heads] */, int heads,
                                  float *o /* [tokens, width] */);
void sdt_frame_attention_reference(int pixels, int channels, const float *qkv /* [pixels, 3C] */,
                                   float *o /* [pixels, C] */);

size_t sdt_find_not_finite_reference(size_t n, const float *x);
void sdt_sampler_step_reference(const struct sdt_sampler_step *step, size_t n,
                                const float *v_cond /* [n] */,
                                const float *v_uncond /* [n] or NULL */,
                                float *x /* [n] in place */, float *x_last /* [n] */,
                                float *m0 /* [n] */, float *m1 /* [n] */);

void sdt_conv_frame_reference(const struct sdt_conv *conv,
                              const float *const *x /* [kt] -> [height, width, in] or NULL */,
                              const float *w /* [out, kt, ks, ks, in] */,
                              const float *bias /* [out] */,
                              const float *residual /* as y, or NULL */,
                              float *y /* [H', W', out] */);
void sdt_time_upsample_reference(int height, int width, int channels,
                                 const float *const *x /* [3] -> [height, width, C] or NULL */,
                                 const float *w /* [2C, 3, C] */, const float *bias /* [2C] */,
                                 float *first /* [height, width, C] */,
                                 float *second /* [height, width, C] */);

void sdt_latent_window_reference(const struct sdt_window *window,
                                 const float *latent /* [C, frames, height, width] */,
                                 const float *std /* [C] or NULL */,
                                 const float *mean /* [C] or NULL */,
                                 float *y /* [nframes, rows, cols, C] */);
void sdt_blend_rows_reference(int frames, int width, int extent, int a_rows,
                              const float *a /* [frames, a_rows, width, 3] */, int b_rows,
                              float *b /* [frames, b_rows, width, 3] in place */);
void sdt_blend_columns_reference(int frames, int rows, int extent, int a_width,
                                 const float *a /* [frames, rows, a_width, 3] */, int b_width,
                                 float *b /* [frames, rows, b_width, 3] in place */);

#ifdef __cplusplus
}
#endif
#endif

/* The plain version of every kernel of kernels.h: loops as the formula reads, sums in double
 * precision. Slow; for tests and for the checks of stardit-bench. Kernels that only move numbers
 * have none: their tests recompute each place from its definition. */
#ifndef STARDIT_KERNELS_REFERENCE_H
#define STARDIT_KERNELS_REFERENCE_H

#include "kernels/kernels.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Those with the kernel's own arguments. */
#define SDT_PLAIN(name) __typeof__(sdt_##name) sdt_##name##_reference;
SDT_KERNELS(SDT_PLAIN)
#undef SDT_PLAIN

/* Those without its scratch memory, with weights as float32 rows and whole frames. */

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

void sdt_attention_reference(int heads, int rows, int e, const float *q /* [heads, rows, e] */,
                             int tile, int64_t keys,
                             const float *k /* [heads, ceil(keys/tile), tile, e] */,
                             const float *v /* as k */, float scale,
                             float *o /* [heads, rows, e] */,
                             float *lse /* [heads, rows] or NULL */);
void sdt_group_attention_reference(const struct sdt_token_groups *groups, int heads, int rows,
                                   int e, const float *q /* [heads, rows, e] */, int tile,
                                   int64_t keys,
                                   const float *k /* [heads, ceil(keys/tile), tile, e] */,
                                   const float *v /* as k */, float scale,
                                   float *o /* [heads, rows, e] */,
                                   float *lse /* [heads, rows] or NULL */);
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
void sdt_causal_attention_reference(int tokens, int heads, int kv_heads, int e,
                                    const float *q /* [tokens, heads*e] */,
                                    const float *k /* [tokens, kv_heads*e] */,
                                    const float *v /* as k */, float *o /* [tokens, heads*e] */);
void sdt_frame_moments_reference(int height, int width, int channels, int groups,
                                 const float *x /* [height, width, C] */,
                                 float *moments /* [groups, 2] */);
void sdt_frame_attention_reference(int pixels, int channels,
                                   const float *q /* [pixels, C], `ld` from pixel to pixel */,
                                   const float *k /* as q */, const float *v /* as q */, int ld,
                                   float *o /* [pixels, C] */);
void sdt_linear_upsample_reference(const struct sdt_linear_upsample *up,
                                   const float *a /* [height, width, C] */,
                                   const float *b /* as a, or NULL */,
                                   float *y /* [2 height, 2 width, C] */);

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

#ifdef __cplusplus
}
#endif
#endif

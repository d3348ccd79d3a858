/* The kernels that move numbers more than they multiply them, chosen at run time like the
 * micro-kernel, and with it.
 *
 * One source (vector_kernels_body.h, and the *_body.h files that it includes) is compiled for
 * AVX-512, for AVX2 with FMA, and in plain C; the first two give the same bits. What
 * include/stardit/kernels.h declares calls through this table. */
#ifndef STARDIT_KERNELS_CPU_VECTOR_KERNELS_H
#define STARDIT_KERNELS_CPU_VECTOR_KERNELS_H

#include "kernels/kernels.h"

/* As the functions of their names in include/stardit/kernels.h. */
struct sdt__vector_kernels {
    __typeof__(sdt_layer_norm) *layer_norm;
    __typeof__(sdt_rms_norm) *rms_norm;
    __typeof__(sdt_channel_norm) *channel_norm;
    __typeof__(sdt_group_norm) *group_norm;
    void (*row_sums)(int width, int channels, const float *x /* [width, C] */,
                     double *sums /* [C, 2] */); /* group_norm_body.h */
    __typeof__(sdt_channel_layer_norm) *channel_layer_norm;
    __typeof__(sdt_split_heads) *split_heads;
    __typeof__(sdt_merge_heads) *merge_heads;
    __typeof__(sdt_silu) *silu;
    __typeof__(sdt_gated_gelu) *gated_gelu;
    __typeof__(sdt_gated_silu) *gated_silu;
    __typeof__(sdt_quick_gelu) *quick_gelu;
    __typeof__(sdt_gelu) *gelu;
    __typeof__(sdt_rotate_halves) *rotate_halves;
    __typeof__(sdt_add) *add;
    __typeof__(sdt_sum) *sum;
    __typeof__(sdt_sampler_step) *sampler_step;
    __typeof__(sdt_find_not_finite) *find_not_finite;
    __typeof__(sdt_clamp_frames) *clamp_frames;
    __typeof__(sdt_blend_rows) *blend_rows;
};

/* Those of the micro-kernel at hand. */
const struct sdt__vector_kernels *sdt__vector_kernels(void);

extern const struct sdt__vector_kernels sdt__vector_kernels_generic, sdt__vector_kernels_avx2,
    sdt__vector_kernels_avx512;

#endif

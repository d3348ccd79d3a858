/* The vector kernels' source. The including file defines
 *   LANES  floats of a vector, 8 or 16
 *   NAME   of the table
 * and has said, by a pragma, which instructions may be used. Not a header of its own: one variant a
 * file. */
#include "kernels/cpu/vector_kernels.h"
#include "kernels/cpu/vector_math.h"

#include "kernels/cpu/elementwise_body.h"
#include "kernels/cpu/finite_body.h"
#include "kernels/cpu/frames_body.h"
#include "kernels/cpu/group_norm_body.h"
#include "kernels/cpu/heads_body.h"
#include "kernels/cpu/norm_body.h"
#include "kernels/cpu/sampler_body.h"

const struct sdt__vector_kernels NAME = {
    .layer_norm = layer_norm,
    .rms_norm = rms_norm,
    .channel_norm = channel_norm,
    .group_norm = group_norm,
    .row_sums = row_sums,
    .channel_layer_norm = channel_layer_norm,
    .split_heads = split_heads,
    .merge_heads = merge_heads,
    .silu = silu,
    .gated_gelu = gated_gelu,
    .gated_silu = gated_silu,
    .quick_gelu = quick_gelu,
    .gelu = gelu,
    .rotate_halves = rotate_halves,
    .add = add,
    .sum = sum,
    .sampler_step = sampler_step,
    .find_not_finite = find_not_finite,
    .clamp_frames = clamp_frames,
    .blend_rows = blend_rows,
};

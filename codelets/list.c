/* All codelets, so that stardit-info can say which implementations each one has. */
#include "codelets/codelets.h"

/* clang-format off */
#define SDT_CODELETS(X)                                                                            \
    X(attention) X(blend) X(channel_norm) X(conv) X(convert) X(cross_attention) X(embed)           \
    X(frame_attention) X(gated_gelu) X(gather) X(latent_window) X(layer_norm) X(linear)            \
    X(linear_part) X(linear_residual) X(load) X(merge_heads) X(pack_weight) X(pad_row)             \
    X(patch_order) X(patchify) X(place_tile) X(prefetch) X(put_frame) X(receive) X(rms_norm)       \
    X(rms_norm_parts) X(round) X(sampler) X(silu) X(sinusoid) X(split_heads)                       \
    X(text_attention) X(time_upsample) X(unpatchify)
/* clang-format on */

#define SDT_DECLARE(name) extern struct starpu_codelet sdt__##name##_codelet;
SDT_CODELETS(SDT_DECLARE)

const struct starpu_codelet *const sdt_codelets[] = {
#define SDT_ENTRY(name) &sdt__##name##_codelet,
    SDT_CODELETS(SDT_ENTRY) NULL,
};

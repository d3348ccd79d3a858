/* Bytes of scratch by kernel. A build without CUDA answers for one with CUDA and cuDNN. */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "kernels/cuda/scratch.h"

#if defined HAVE_CUDA && !defined HAVE_CUDNN
enum { CUDNN = false };
#else
enum { CUDNN = true };
#endif

/* Of the clip that cuDNN reads, bf16; 0 where a frame is read where it lies, where the channels
 * rule cuDNN out, and without it. */
static size_t clip_bytes(enum sdt_dtype dtype, const struct sdt_conv *conv) {
    const void *const none[3] = {NULL, NULL, NULL};
    struct body_clip clip = body_clip_of(conv, none);
    bool used = CUDNN && dtype == SDT_BF16 && sdt__cudnn_takes(conv) && sdt__cudnn_copies(conv);
    return used ? 2 * body_clip_elements(&clip) : 0;
}

size_t sdt_cuda_conv_frame_scratch(enum sdt_dtype dtype, const struct sdt_conv *conv) {
    return clip_bytes(dtype, conv);
}

size_t sdt_cuda_time_upsample_scratch(enum sdt_dtype dtype, int height, int width, int channels) {
    struct sdt_conv half = sdt__time_half(height, width, channels);
    return clip_bytes(dtype, &half);
}

size_t sdt_cuda_frame_moments_scratch(int height, int channels) {
    return 2 * (size_t)height * (size_t)channels * sizeof(float);
}

/* [rows, score row] float32 scores, then, in bf16, the same of weights: both starts are aligned to
 * 16 bytes and more. float32 weights replace their scores. */
size_t sdt_cuda_wide_attention_scratch(enum sdt_dtype dtype, int rows, int keys) {
    size_t scores = (size_t)sdt__score_rows(rows, keys) * sdt__score_row(keys);
    return scores * (sizeof(float) + (dtype == SDT_BF16 ? 2 : 0));
}

size_t sdt_cuda_frame_attention_scratch(enum sdt_dtype dtype, int pixels, int channels) {
    (void)channels;
    return sdt_cuda_wide_attention_scratch(dtype, pixels, pixels);
}

size_t sdt_cuda_cross_attention_scratch(enum sdt_dtype dtype, int rows, int heads, int e) {
    return (size_t)rows * (size_t)heads * (size_t)e * sdt_dtype_size(dtype);
}

size_t sdt_cuda_group_attention_scratch(const struct sdt_token_groups *groups, enum sdt_dtype dtype,
                                        int heads, int rows, int e, int64_t keys) {
    return sdt__group_scratch(groups, dtype, heads, rows, e, keys).end;
}

size_t sdt_cuda_linear_residual_scratch(enum sdt_dtype dtype, int rows, int n) {
    return (size_t)rows * (size_t)n * sdt_dtype_size(dtype);
}

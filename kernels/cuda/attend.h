/* Attention with any strides: what the attention kernels of this folder share. */
#ifndef STARDIT_CUDA_ATTEND_H
#define STARDIT_CUDA_ATTEND_H

#include "kernels/cuda/context.h"
#include "kernels/cuda/flash.h"

extern "C" { /* C names, as all that the library exports */
/* Own kernels: without a table, tensor cores for bf16 with e a multiple of 8 up to 128, tiles for
 * float32 with e up to 128; exact_warp for the rest. */
enum sdt_status sdt__cuda_attend(struct sdt_cuda *cuda, enum sdt_dtype dtype,
                                 const struct attention_call *call);

/* cudnn_attention.cu: bf16 through cuDNN. *done stays false where cuDNN has no plan for the shape,
 * and the caller takes the own kernel. Bias and table are not looked at. */
enum sdt_status sdt__cudnn_attend(struct sdt_cuda *cuda, const struct attention_call *call,
                                  bool *done);
/* Its planned graph; NULL: there is no plan. */
struct sdt__cudnn_graph;
struct sdt__cudnn_graph *sdt__cudnn_attention(struct sdt_cuda *cuda,
                                              const struct attention_call *call);
}
#endif

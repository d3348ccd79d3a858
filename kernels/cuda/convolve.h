/* Convolutions as conv.cu hands them to cuDNN. */
#ifndef STARDIT_CUDA_CONVOLVE_H
#define STARDIT_CUDA_CONVOLVE_H

#include "kernels/cuda/context.h"
#include "kernels/kernels.h"

/* One output frame, or two from the same input frames with weights and biases behind each other. */
struct conv_call {
    const struct sdt_conv *conv; /* of one output frame */
    int outputs;
    const void *const *x; /* host [kt] -> [height, width, in] or NULL, zeros */
    const void *w;        /* [outputs, out, kt, ks, ks, in] */
    const float *bias;    /* [outputs, out] */
    const void *residual; /* as y[0], or NULL */
    void *y[2];           /* [outputs] -> [rows, cols, out] */
    void *scratch;        /* sdt_cuda_conv_frame_scratch() of BF16 */
};

extern "C" { /* C names, as all that the library exports */
/* cudnn_conv.cu: bf16 through cuDNN. *done stays false where cuDNN has no plan for the shape, and
 * the caller takes the own kernel. */
enum sdt_status sdt__cudnn_convolve(struct sdt_cuda *cuda, const struct conv_call *call,
                                    bool *done);
/* Its planned graph; NULL: there is no plan. */
struct sdt__cudnn_graph;
struct sdt__cudnn_graph *sdt__cudnn_convolution_of(struct sdt_cuda *cuda,
                                                   const struct sdt_conv *conv, bool residual);
}
#endif

/* The launches of kernels/cuda on the host: the functions of kernels/cuda/kernels.h under their
 * names, over the same bodies, with arrays in the host's memory. Loops stand for blocks and
 * threads. What a launch decides (packs, lanes, kernels) is decided as the .cu file does; its
 * own arithmetic, the products of cuBLASLt and cuDNN, is not here. */
#ifndef STARDIT_TESTS_KERNELS_CUDA_LAUNCH_H
#define STARDIT_TESTS_KERNELS_CUDA_LAUNCH_H

#include <stdbool.h>

#ifdef __cplusplus
extern "C" {
#endif
/* sdt_cuda_prefer_own; where there is one way only, blocks then run their warps backward. */
extern bool launch_own;
/* What a GPU would get wrong without a word, and was said on standard error. */
extern unsigned launch_faults;

/* cuda_launch_block.cpp: parts of kernels that no launch reaches on the host. */
void check_block_parts(void);
/* cuda_launch_conv.c */
void check_conv_parts(void);
#ifdef __cplusplus
}
#endif

/* Thread after thread a pack, `threads` in all, whatever blocks they come in. */
#define FLAT(threads, pack, n, i)                                                                  \
    for (size_t t_ = 0; t_ < (threads); t_++)                                                      \
        for (size_t i = t_ * (pack); i < (n); i += (threads) * (pack))
#endif

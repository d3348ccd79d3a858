/* The inner loop that token attention and the VAE's frame attention share. */
#ifndef STARDIT_KERNELS_CPU_ATTENTION_H
#define STARDIT_KERNELS_CPU_ATTENTION_H

#include <stddef.h>
#include <stdint.h>

/* o = softmax(scale q k^T) v for one head and one tile of queries. Key tile j starts at
 * j * tile_stride in k and in v; rows of k and v are ldk apart. */
void sdt__attend(int rows, int e, const float *q /* [rows, e], ld ldq */, int ldq, int tile,
                 int64_t keys, const float *k /* [keys, e] */, const float *v /* [keys, e] */,
                 int ldk, size_t tile_stride, float scale, float *o /* [rows, e], ld ldo */,
                 int ldo, float *lse /* [rows] or NULL */, float *scratch);
/* Floats of scratch: scores [rows, tile], then each row's maximum and sum. */
size_t sdt__attend_scratch(int rows, int tile);

#endif

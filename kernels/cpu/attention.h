/* The inner loop that all attention shares. */
#ifndef STARDIT_KERNELS_CPU_ATTENTION_H
#define STARDIT_KERNELS_CPU_ATTENTION_H

#include <stddef.h>
#include <stdint.h>

/* One head: o = softmax(scale q k^T + bias) v. */
struct sdt__attend {
    int rows, e;
    const float *q; /* [rows, e], ldq apart */
    ptrdiff_t ldq;
    int64_t keys;
    const float *k, *v; /* [keys, e], ldk apart */
    ptrdiff_t ldk;
    float scale;
    const float *bias;   /* row r's scores get bias[j - r] for key j; NULL: none */
    float last_key_bias; /* and that of the last key this */
    float *o;            /* [rows, e], ldo apart */
    ptrdiff_t ldo;
    float *lse;     /* [rows] log-sum-exps, or NULL */
    float *scratch; /* [sdt__attend_scratch] */
};
void sdt__attend(const struct sdt__attend *attend);
/* For at most so many rows and keys. */
size_t sdt__attend_scratch(int rows, int e, int64_t keys);

#endif

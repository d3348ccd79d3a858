/* The inner loop that all attention shares, and with it the blocks of keys. */
#ifndef STARDIT_KERNELS_CPU_ATTENTION_H
#define STARDIT_KERNELS_CPU_ATTENTION_H

#include "stardit/kernels.h"

enum { SDT__BLOCK_KEYS = 256 }; /* part of the bits */

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
    /* Only keys of this group: `keys` of them, from member first_member on; k and v begin with
     * token groups->first_key. NULL: all keys. */
    const struct sdt_token_groups *groups;
    int group;
    int64_t first_member;
    float *gathered; /* [2, SDT__BLOCK_KEYS, e], with groups */
    float *o;        /* [rows, e], ldo apart */
    ptrdiff_t ldo;
    float *lse;     /* [rows] log-sum-exps, or NULL */
    float *scratch; /* [sdt__attend_scratch] */
};
void sdt__attend(const struct sdt__attend *attend);
/* For at most so many rows and keys. */
size_t sdt__attend_scratch(int rows, int e, int64_t keys);

#endif

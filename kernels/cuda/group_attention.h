/* Attention within groups of tokens as calls of others: a group's queries, keys and values are put
 * together, attended with, and its results go back to their rows. group_attention.cu launches them,
 * tests/kernels/cuda_launch_block.cpp runs them on the host. */
#ifndef STARDIT_CUDA_GROUP_ATTENTION_H
#define STARDIT_CUDA_GROUP_ATTENTION_H

#include "kernels/cuda/flash.h"
#include "kernels/cuda/scratch.h"

/* copy(rows, dtype, heads, back) and attend(dtype, call) give an enum sdt_status. */
template <class COPY, class ATTEND> struct group_attention {
    const struct sdt_token_groups *groups;
    enum sdt_dtype dtype;
    int heads, rows, e;
    const void *q; /* [heads, rows, e] */
    int64_t keys, head_keys;
    const void *k, *v; /* [heads, head_keys, e] */
    float scale;
    void *o;     /* [heads, rows, e] */
    float *lse;  /* [heads, rows] or NULL */
    char *space; /* sdt_cuda_group_attention_scratch */
    COPY copy;
    ATTEND attend;

    struct body_group rows_of(int group, int64_t first, int64_t count, int64_t all_rows, int width,
                              const void *all, void *dense) const {
        struct body_group a = {};
        a.run = groups->run;
        a.count = groups->count;
        a.group = group;
        a.first = first;
        a.member = sdt_group_members(groups, group, first);
        a.members = (int)(sdt_group_members(groups, group, first + count) - a.member);
        a.e = width;
        a.apart = all_rows * width;
        a.all = (void *)all;
        a.dense = dense;
        return a;
    }

    enum sdt_status run_group(int group) const {
        struct sdt__group_scratch at = sdt__group_scratch(groups, dtype, heads, rows, e, keys);
        struct body_group queries =
            rows_of(group, groups->first_query, rows, rows, e, q, space + at.q);
        struct body_group results =
            rows_of(group, groups->first_query, rows, rows, e, o, space + at.o);
        struct body_group sums =
            rows_of(group, groups->first_query, rows, rows, 1, lse, space + at.lse);
        struct body_group group_k =
            rows_of(group, groups->first_key, keys, head_keys, e, k, space + at.k);
        struct body_group group_v =
            rows_of(group, groups->first_key, keys, head_keys, e, v, space + at.v);
        if (queries.members == 0)
            return SDT_OK;
        struct attention_call call =
            by_heads(heads, queries.members, e, queries.dense, 1, group_k.members, group_k.dense,
                     group_v.dense, results.dense);
        call.scale = scale;
        call.lse = lse ? (float *)(space + at.lse) : NULL;
        enum sdt_status status = copy(queries, dtype, heads, false);
        if (status == SDT_OK)
            status = copy(group_k, dtype, heads, false);
        if (status == SDT_OK)
            status = copy(group_v, dtype, heads, false);
        if (status == SDT_OK)
            status = attend(dtype, call);
        if (status == SDT_OK)
            status = copy(results, dtype, heads, true);
        if (status == SDT_OK && lse)
            status = copy(sums, SDT_F32, heads, true);
        return status;
    }

    enum sdt_status run() const {
        enum sdt_status status = SDT_OK;
        for (int g = 0; g < groups->count && heads > 0 && status == SDT_OK; g++)
            status = run_group(g);
        return status;
    }
};
#endif

/* Attention within groups of tokens. A group's queries are put together, its keys block by block
 * (attention.c): the work is the group's alone, and its arithmetic that of sdt_attention. */
#include "kernels/cpu/attention.h"

#include <string.h>

/* The scratch's parts, in floats. */
struct parts {
    size_t o, lse, gathered, attend, end; /* where each starts; queries are in front */
};

static struct parts parts_of(const struct sdt_token_groups *groups, int rows, int e, int64_t keys) {
    int64_t most = sdt_group_most(groups, rows);
    struct parts p = {0};
    p.o = (size_t)most * (size_t)e;
    p.lse = 2 * p.o;
    p.gathered = p.lse + (size_t)most;
    p.attend = p.gathered + 2 * (size_t)SDT__BLOCK_KEYS * (size_t)e;
    p.end = p.attend + sdt__attend_scratch((int)most, e, sdt_group_most(groups, keys));
    return p;
}

size_t sdt_group_attention_scratch(const struct sdt_token_groups *groups, int rows, int e,
                                   int64_t keys) {
    return parts_of(groups, rows, e, keys).end;
}

/* The row of a tile that a group's member has. */
static size_t row_of(const struct sdt_token_groups *groups, int group, int64_t member) {
    return (size_t)(sdt_group_token(groups, group, member) - groups->first_query);
}

/* attend: all that the heads share. */
static void attend_head(struct sdt__attend attend, int64_t first, const float *q, float *o,
                        float *lse, const struct parts *parts, float *scratch) {
    float *queries = scratch, *results = scratch + parts->o, *sums = scratch + parts->lse;
    size_t e = (size_t)attend.e, bytes = e * sizeof(float);
    attend.q = queries;
    attend.o = results;
    attend.lse = sums;
    for (int i = 0; i < attend.rows; i++)
        memcpy(queries + (size_t)i * e, q + row_of(attend.groups, attend.group, first + i) * e,
               bytes);
    sdt__attend(&attend);
    for (int i = 0; i < attend.rows; i++) {
        size_t row = row_of(attend.groups, attend.group, first + i);
        memcpy(o + row * e, results + (size_t)i * e, bytes);
        if (lse)
            lse[row] = sums[i];
    }
}

void sdt_group_attention(const struct sdt_token_groups *groups, int heads, int rows, int e,
                         const float *q, int tile, int64_t keys, const float *k, const float *v,
                         float scale, float *o, float *lse, float *scratch) {
    struct parts parts = parts_of(groups, rows, e, keys);
    size_t head = (size_t)rows * (size_t)e;
    size_t head_keys = (size_t)((keys + tile - 1) / tile) * (size_t)tile * (size_t)e;
    for (int g = 0; g < groups->count; g++) {
        int64_t query = sdt_group_members(groups, g, groups->first_query);
        int64_t key = sdt_group_members(groups, g, groups->first_key);
        struct sdt__attend attend = {
            .rows = (int)(sdt_group_members(groups, g, groups->first_query + rows) - query),
            .e = e,
            .ldq = e,
            .keys = sdt_group_members(groups, g, groups->first_key + keys) - key,
            .ldk = e,
            .scale = scale,
            .groups = groups,
            .group = g,
            .first_member = key,
            .gathered = scratch + parts.gathered,
            .ldo = e,
            .scratch = scratch + parts.attend};
        for (int h = 0; h < heads && attend.rows > 0; h++) {
            attend.k = k + (size_t)h * head_keys;
            attend.v = v + (size_t)h * head_keys;
            attend_head(attend, query, q + (size_t)h * head, o + (size_t)h * head,
                        lse ? lse + (size_t)h * (size_t)rows : NULL, &parts, scratch);
        }
    }
}

/* Self attention of one query tile against all keys, or against a block of them, for the heads of one
 * chunk. */
#include "codelets/codelets.h"

struct attention {
    int heads, rows, e, tile;
    int64_t keys;
    float scale;
    bool merge;
    int q, k, v, o, lse, scratch, partial;
};

static void attention_cpu(void *buffers[], void *cl_arg) {
    const struct attention *a = sdt__task_args(cl_arg);
    if (!a)
        return;
    float *o = sdt__floats(buffers, a->o);     /* [heads, rows, e] */
    float *lse = sdt__floats(buffers, a->lse); /* [heads, rows] */
    float *partial = sdt__floats(buffers, a->partial);
    float *partial_lse = partial ? partial + (size_t)a->heads * a->rows * a->e : NULL;
    sdt_attention(a->heads, a->rows, a->e, sdt__floats(buffers, a->q), a->tile, a->keys,
                  sdt__floats(buffers, a->k), sdt__floats(buffers, a->v), a->scale,
                  a->merge ? partial : o, a->merge ? partial_lse : lse,
                  sdt__floats(buffers, a->scratch));
    if (a->merge)
        sdt_attention_merge(a->heads, a->rows, a->e, partial, partial_lse, o, lse);
}

struct starpu_codelet sdt__attention_codelet = {
    .name = "attention",
    SDT_ON_CPU(attention_cpu),
    .nbuffers = STARPU_VARIABLE_NBUFFERS,
    .model = &sdt__cost_model,
};

void sdt_insert_attention(struct sdt_flow *flow, const char *name, int heads, int rows, int e,
                          int tile, int64_t keys, float scale, sdt_handle q, sdt_handle k,
                          sdt_handle v, sdt_handle o, sdt_handle lse, bool merge) {
    enum starpu_data_access_mode mode = merge ? STARPU_RW : STARPU_W;
    size_t partial = (size_t)heads * (size_t)rows * ((size_t)e + 1);
    struct sdt_task task;
    sdt__task_begin(&task, flow);
    struct attention a = {heads,
                          rows,
                          e,
                          tile,
                          keys,
                          scale,
                          merge,
                          .q = sdt__task_read(&task, q),
                          .k = sdt__task_read(&task, k),
                          .v = sdt__task_read(&task, v),
                          .o = sdt__task_access(&task, o, mode),
                          .lse = sdt__task_access(&task, lse, mode),
                          .scratch = sdt__task_scratch(&task, sdt_attention_scratch(rows, e, tile)),
                          .partial = -1};
    if (merge)
        a.partial = sdt__task_work(&task, partial);
    double flops = 4.0 * heads * rows * (double)keys * e;
    double bytes = 4.0 * heads * e * (2.0 * rows + 2.0 * (double)keys);
    sdt__task_submit(&task, &sdt__attention_codelet, name, flops, bytes, &a, sizeof a);
}

/* Self attention of one query tile against all keys, or against a block of them, for the heads of
 * one chunk. */
#include "codelets/codelets.h"
#include "runtime/cuda.h"

struct attention {
    int heads, rows, e, tile;
    int64_t keys;
    float scale;
    bool merge;
    int q, k, v, o, lse, scratch, partial;
};

/* Bytes of a partial result, before its log-sum-exps. */
static size_t partial_size(const struct attention *a, enum sdt_dtype dtype) {
    size_t bytes = (size_t)a->heads * (size_t)a->rows * (size_t)a->e * sdt_dtype_size(dtype);
    return (bytes + 15) / 16 * 16;
}

static void attention_cpu(void *buffers[], void *cl_arg) {
    const struct attention *a = sdt__task_args(cl_arg);
    if (!a)
        return;
    float *o = sdt__floats(buffers, a->o);     /* [heads, rows, e] */
    float *lse = sdt__floats(buffers, a->lse); /* [heads, rows] */
    float *partial = sdt__floats(buffers, a->partial);
    float *partial_lse = partial ? partial + partial_size(a, SDT_F32) / sizeof(float) : NULL;
    sdt_attention(a->heads, a->rows, a->e, sdt__floats(buffers, a->q), a->tile, a->keys,
                  sdt__floats(buffers, a->k), sdt__floats(buffers, a->v), a->scale,
                  a->merge ? partial : o, a->merge ? partial_lse : lse,
                  sdt__floats(buffers, a->scratch));
    if (a->merge)
        sdt_attention_merge(a->heads, a->rows, a->e, partial, partial_lse, o, lse);
}

#ifdef HAVE_CUDA
static void attention_cuda(void *buffers[], void *cl_arg) {
    const struct attention *a = sdt__task_args(cl_arg);
    if (!a)
        return;
    enum sdt_dtype dtype = sdt__dtype(buffers, a->q);
    struct sdt_cuda *cuda = sdt__cuda();
    void *o = sdt__pointer(buffers, a->o); /* [heads, rows, e] */
    char *partial = sdt__pointer(buffers, a->partial);
    float *lse = sdt__floats(buffers, a->lse), /* [heads, rows] */
        *partial_lse = partial ? (float *)(partial + partial_size(a, dtype)) : NULL;
    enum sdt_status status = sdt_cuda_attention(
        cuda, dtype, a->heads, a->rows, a->e, sdt__pointer(buffers, a->q), a->tile, a->keys,
        sdt__pointer(buffers, a->k), sdt__pointer(buffers, a->v), a->scale, a->merge ? partial : o,
        a->merge ? partial_lse : lse);
    if (status == SDT_OK && a->merge)
        status = sdt_cuda_attention_merge(cuda, dtype, a->heads, a->rows, a->e, partial,
                                          partial_lse, o, lse);
    sdt__cuda_done(cl_arg, status);
}
#endif

struct starpu_codelet sdt__attention_codelet = {
    .name = "attention",
    SDT_ON_BOTH(attention_cpu, attention_cuda),
    .nbuffers = STARPU_VARIABLE_NBUFFERS,
    .model = &sdt__cost_model,
};

void sdt_insert_attention(struct sdt_flow *flow, const char *name, int heads, int rows, int e,
                          int tile, int64_t keys, float scale, sdt_handle q, sdt_handle k,
                          sdt_handle v, sdt_handle o, sdt_handle lse, bool merge) {
    enum starpu_data_access_mode mode = merge ? STARPU_RW : STARPU_W;
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
                          .scratch = -1,
                          .partial = -1};
    size_t scratch = SDT_SCRATCH(flow->place->kind, sdt_attention_scratch(rows, e, keys), 0);
    if (scratch > 0)
        a.scratch = sdt__task_scratch(&task, scratch);
    if (merge)
        a.partial = sdt__task_work(&task, partial_size(&a, sdt__handle_dtype(o)) +
                                              (size_t)heads * (size_t)rows * sizeof(float));
    double flops = 4.0 * heads * rows * (double)keys * e;
    double bytes = sdt__element(q) * heads * e * (2.0 * rows + 2.0 * (double)keys);
    sdt__task_submit(&task, &sdt__attention_codelet, name, flops, bytes, &a, sizeof a);
}

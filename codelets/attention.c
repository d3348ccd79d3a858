/* Self attention of one query tile against all keys, or against a block of them, for the heads of
 * one chunk; of all tokens, or within groups; and attention of one wide head. */
#include "codelets/codelets.h"
#include "runtime/cuda.h"

#include <math.h>

struct attention {
    int heads, rows, e, tile;
    int64_t keys;
    float scale;
    bool merge;
    struct sdt_token_groups groups; /* count 1: none */
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
    const float *q = sdt__floats(buffers, a->q), *k = sdt__floats(buffers, a->k),
                *v = sdt__floats(buffers, a->v);
    float *to = a->merge ? partial : o, *to_lse = a->merge ? partial_lse : lse;
    float *scratch = sdt__floats(buffers, a->scratch);
    if (a->groups.count > 1)
        sdt_group_attention(&a->groups, a->heads, a->rows, a->e, q, a->tile, a->keys, k, v,
                            a->scale, to, to_lse, scratch);
    else
        sdt_attention(a->heads, a->rows, a->e, q, a->tile, a->keys, k, v, a->scale, to, to_lse,
                      scratch);
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
    const void *q = sdt__pointer(buffers, a->q), *k = sdt__pointer(buffers, a->k),
               *v = sdt__pointer(buffers, a->v);
    void *to = a->merge ? partial : o;
    float *to_lse = a->merge ? partial_lse : lse;
    enum sdt_status status =
        a->groups.count > 1
            ? sdt_cuda_group_attention(cuda, dtype, &a->groups, a->heads, a->rows, a->e, q, a->tile,
                                       a->keys, k, v, a->scale, to, to_lse,
                                       sdt__pointer(buffers, a->scratch))
            : sdt_cuda_attention(cuda, dtype, a->heads, a->rows, a->e, q, a->tile, a->keys, k, v,
                                 a->scale, to, to_lse);
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
    .model = &sdt__cost_models[SDT_CLASS_ATTENTION],
};

void sdt_insert_attention(struct sdt_flow *flow, const char *name, int heads, int rows, int e,
                          int tile, int64_t keys, float scale, sdt_handle q, sdt_handle k,
                          sdt_handle v, sdt_handle o, sdt_handle lse, bool merge) {
    sdt_insert_group_attention(flow, name, NULL, heads, rows, e, tile, keys, scale, q, k, v, o, lse,
                               merge);
}

/* Bytes of scratch memory. */
static size_t scratch_of(const struct attention *a, enum sdt_device_kind kind,
                         enum sdt_dtype dtype) {
    if (a->groups.count > 1)
        return SDT_SCRATCH(
            kind, sdt_group_attention_scratch(&a->groups, a->rows, a->e, a->keys),
            sdt_cuda_group_attention_scratch(&a->groups, dtype, a->heads, a->rows, a->e, a->keys));
    return SDT_SCRATCH(kind, sdt_attention_scratch(a->rows, a->e, a->keys), 0);
}

void sdt_insert_group_attention(struct sdt_flow *flow, const char *name,
                                const struct sdt_token_groups *groups, int heads, int rows, int e,
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
                          groups && groups->count > 1 ? *groups
                                                      : (struct sdt_token_groups){.count = 1},
                          .q = sdt__task_read(&task, q),
                          .k = sdt__task_read(&task, k),
                          .v = sdt__task_read(&task, v),
                          .o = sdt__task_access(&task, o, mode),
                          .lse = sdt__task_access(&task, lse, mode),
                          .scratch = -1,
                          .partial = -1};
    size_t scratch = scratch_of(&a, flow->place->kind, sdt__handle_dtype(q));
    if (scratch > 0)
        a.scratch = sdt__task_scratch(&task, scratch);
    if (merge)
        a.partial = sdt__task_work(&task, partial_size(&a, sdt__handle_dtype(o)) +
                                              (size_t)heads * (size_t)rows * sizeof(float));
    double flops = 4.0 * heads * rows * (double)keys * e / a.groups.count;
    double bytes = sdt__element(q) * heads * e * (2.0 * rows + 2.0 * (double)keys);
    sdt__task_submit(&task, &sdt__attention_codelet, name, flops, bytes, &a, sizeof a);
}

/* ---- sdt_insert_wide_attention --------------------------------------------------------------- */

struct wide_attention {
    int rows, keys, e;
    int q, k, v, o, scratch;
};

static void wide_attention_cpu(void *buffers[], void *cl_arg) {
    const struct wide_attention *a = sdt__task_args(cl_arg);
    if (!a)
        return;
    sdt_attention(1, a->rows, a->e, sdt__floats(buffers, a->q), a->keys, a->keys,
                  sdt__floats(buffers, a->k), sdt__floats(buffers, a->v), 1.f / sqrtf((float)a->e),
                  sdt__floats(buffers, a->o), NULL, sdt__floats(buffers, a->scratch));
}

#ifdef HAVE_CUDA
static void wide_attention_cuda(void *buffers[], void *cl_arg) {
    const struct wide_attention *a = sdt__task_args(cl_arg);
    if (!a)
        return;
    sdt__cuda_done(cl_arg, sdt_cuda_wide_attention(
                               sdt__cuda(), sdt__dtype(buffers, a->q), a->rows, a->keys, a->e,
                               sdt__pointer(buffers, a->q), sdt__pointer(buffers, a->k),
                               sdt__pointer(buffers, a->v), sdt__pointer(buffers, a->o),
                               sdt__pointer(buffers, a->scratch)));
}
#endif

struct starpu_codelet sdt__wide_attention_codelet = {
    .name = "wide_attention",
    SDT_ON_BOTH(wide_attention_cpu, wide_attention_cuda),
    .nbuffers = STARPU_VARIABLE_NBUFFERS,
    .model = &sdt__cost_model,
};

size_t sdt__wide_attention_scratch(enum sdt_device_kind kind, enum sdt_dtype dtype, int rows,
                                   int keys, int e) {
    (void)kind; /* without CUDA neither matters */
    (void)dtype;
    return SDT_SCRATCH(kind, sdt_attention_scratch(rows, e, keys),
                       sdt_cuda_wide_attention_scratch(dtype, rows, keys));
}

void sdt_insert_wide_attention(struct sdt_flow *flow, const char *name, int rows, int keys, int e,
                               sdt_handle q, sdt_handle k, sdt_handle v, sdt_handle o) {
    struct sdt_task task;
    sdt__task_begin(&task, flow);
    struct wide_attention a = {
        rows,
        keys,
        e,
        sdt__task_read(&task, q),
        sdt__task_read(&task, k),
        sdt__task_read(&task, v),
        sdt__task_write(&task, o),
        sdt__task_scratch(&task, sdt__wide_attention_scratch(flow->place->kind,
                                                             sdt__handle_dtype(q), rows, keys, e))};
    sdt__task_submit(&task, &sdt__wide_attention_codelet, name, 4.0 * rows * (double)keys * e,
                     sdt__element(q) * e * (2.0 * rows + 2.0 * keys), &a, sizeof a);
}

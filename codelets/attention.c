/* Self attention of one query tile against all keys, for the heads of one chunk. */
#include "codelets/codelets.h"

struct attention {
    int heads, rows, e, tile;
    int64_t keys;
    float scale;
    int q, k, v, o, scratch;
};

static void attention_cpu(void *buffers[], void *cl_arg)
{
    const struct attention *a = sdt__task_args(cl_arg);
    if (!a)
        return;
    sdt_attention(a->heads, a->rows, a->e, sdt__floats(buffers, a->q), a->tile, a->keys,
                  sdt__floats(buffers, a->k), sdt__floats(buffers, a->v), a->scale,
                  sdt__floats(buffers, a->o), NULL, sdt__floats(buffers, a->scratch));
}

struct starpu_codelet sdt__attention_codelet = {
    .name = "attention",
    .cpu_funcs = {attention_cpu},
    .nbuffers = STARPU_VARIABLE_NBUFFERS,
    .model = &sdt__cost_model,
};

void sdt_insert_attention(struct sdt_flow *flow, const char *name, int heads, int rows, int e,
                          int tile, int64_t keys, float scale, sdt_handle q, sdt_handle k,
                          sdt_handle v, sdt_handle o)
{
    struct sdt_task task;
    sdt__task_begin(&task, flow);
    struct attention a = {heads, rows, e, tile, keys, scale,
                          .q = sdt__task_read(&task, q),
                          .k = sdt__task_read(&task, k),
                          .v = sdt__task_read(&task, v),
                          .o = sdt__task_write(&task, o),
                          .scratch = sdt__task_scratch(&task, sdt_attention_scratch(rows, e, tile))};
    double flops = 4.0 * heads * rows * (double)keys * e;
    double bytes = 4.0 * heads * e * (2.0 * rows + 2.0 * (double)keys);
    sdt__task_submit(&task, &sdt__attention_codelet, name, flops, bytes, &a, sizeof a);
}

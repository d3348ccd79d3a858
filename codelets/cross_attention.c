/* Attention of one token tile to the prompt's keys, all heads. */
#include "codelets/codelets.h"

struct cross_attention {
    int rows, heads, e, keys;
    float eps, last_key_bias;
    int q, norm, k, v, o, scratch;
};

static void cross_attention_cpu(void *buffers[], void *cl_arg) {
    const struct cross_attention *a = sdt__task_args(cl_arg);
    if (!a)
        return;
    sdt_cross_attention(a->rows, a->heads, a->e, sdt__floats(buffers, a->q),
                        sdt__floats(buffers, a->norm), a->eps, a->keys, sdt__floats(buffers, a->k),
                        sdt__floats(buffers, a->v), a->last_key_bias, sdt__floats(buffers, a->o),
                        sdt__floats(buffers, a->scratch));
}

struct starpu_codelet sdt__cross_attention_codelet = {
    .name = "cross_attention",
    SDT_ON_CPU(cross_attention_cpu),
    .nbuffers = STARPU_VARIABLE_NBUFFERS,
    .model = &sdt__cost_model,
};

void sdt_insert_cross_attention(struct sdt_flow *flow, const char *name, int rows, int heads, int e,
                                float eps, int keys, float last_key_bias, sdt_handle q,
                                sdt_handle q_norm, sdt_handle k, sdt_handle v, sdt_handle o) {
    struct sdt_task task;
    sdt__task_begin(&task, flow);
    struct cross_attention a = {
        rows,
        heads,
        e,
        keys,
        eps,
        last_key_bias,
        .q = sdt__task_read(&task, q),
        .norm = sdt__task_read(&task, q_norm),
        .k = sdt__task_read(&task, k),
        .v = sdt__task_read(&task, v),
        .o = sdt__task_write(&task, o),
        .scratch = sdt__task_scratch(&task, sdt_cross_attention_scratch(rows, heads, e, keys))};
    double width = (double)heads * e;
    sdt__task_submit(&task, &sdt__cross_attention_codelet, name, 4.0 * rows * keys * width,
                     8.0 * width * (rows + keys), &a, sizeof a);
}

/* Attention of one token tile to the prompt's keys, all heads. */
#include "codelets/codelets.h"
#include "runtime/cuda.h"

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

#ifdef HAVE_CUDA
static void cross_attention_cuda(void *buffers[], void *cl_arg) {
    const struct cross_attention *a = sdt__task_args(cl_arg);
    if (!a)
        return;
    sdt__cuda_done(cl_arg,
                   sdt_cuda_cross_attention(
                       sdt__cuda(), sdt__dtype(buffers, a->q), a->rows, a->heads, a->e,
                       sdt__pointer(buffers, a->q), sdt__floats(buffers, a->norm), a->eps, a->keys,
                       sdt__pointer(buffers, a->k), sdt__pointer(buffers, a->v), a->last_key_bias,
                       sdt__pointer(buffers, a->o), sdt__pointer(buffers, a->scratch)));
}
#endif

struct starpu_codelet sdt__cross_attention_codelet = {
    .name = "cross_attention",
    SDT_ON_BOTH(cross_attention_cpu, cross_attention_cuda),
    .nbuffers = STARPU_VARIABLE_NBUFFERS,
    .model = &sdt__cost_models[SDT_CLASS_CROSS_ATTENTION],
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
        .scratch = sdt__task_scratch(
            &task,
            SDT_SCRATCH(flow->place->kind, sdt_cross_attention_scratch(rows, heads, e, keys),
                        sdt_cuda_cross_attention_scratch(sdt__handle_dtype(q), rows, heads, e)))};
    double width = (double)heads * e;
    sdt__task_submit(&task, &sdt__cross_attention_codelet, name, 4.0 * rows * keys * width,
                     2.0 * sdt__element(q) * width * (rows + keys), &a, sizeof a);
}

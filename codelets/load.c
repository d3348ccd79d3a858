/* Weights from the checkpoint's mapping into a handle: converted to floats, convolutions packed.
 *
 * Plain F32 tensors need no task: graph/weights.c registers the mapping itself. */
#include "codelets/codelets.h"

struct load {
    enum sdt_dtype dtype;
    const void *data;
    size_t count;
    int out, in, taps;
    int y, scratch;
};

static void load_cpu(void *buffers[], void *cl_arg) {
    const struct load *a = sdt__task_args(cl_arg);
    if (!a)
        return;
    float *y = sdt__floats(buffers, a->y); /* [count] */
    float *stored = a->scratch < 0 ? y : sdt__floats(buffers, a->scratch);
    sdt_convert(a->dtype, a->count, a->data, stored);
    if (stored != y)
        sdt_conv_pack(a->out, a->in, a->taps, stored, y);
}

struct starpu_codelet sdt__load_codelet = {
    .name = "load",
    SDT_ON_CPU(load_cpu),
    .nbuffers = STARPU_VARIABLE_NBUFFERS,
    .model = &sdt__cost_model,
};

void sdt_insert_load(struct sdt_flow *flow, const char *name, enum sdt_dtype dtype,
                     const void *data, size_t count, int out, int in, int taps, sdt_handle y) {
    struct sdt_task task;
    sdt__task_begin(&task, flow);
    struct load a = {dtype,
                     data,
                     count,
                     out,
                     in,
                     taps,
                     .y = sdt__task_write(&task, y),
                     .scratch = taps > 1 ? sdt__task_scratch(&task, count) : -1};
    sdt__task_submit(&task, &sdt__load_codelet, name, 0.0,
                     (double)count * (4.0 + (double)sdt_dtype_size(dtype)), &a, sizeof a);
}

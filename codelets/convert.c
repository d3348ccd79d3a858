/* A vector in another element type: where latents and texts, float32 always, enter a bfloat16
 * model. */
#include "codelets/codelets.h"
#include "runtime/cuda.h"

struct convert {
    size_t n;
    int x, y;
};

static void convert_cpu(void *buffers[], void *cl_arg) {
    const struct convert *a = sdt__task_args(cl_arg);
    if (!a)
        return;
    sdt_convert_to(sdt__dtype(buffers, a->x), a->n, sdt__pointer(buffers, a->x),
                   sdt__dtype(buffers, a->y), sdt__pointer(buffers, a->y));
}

#ifdef HAVE_CUDA
static void convert_cuda(void *buffers[], void *cl_arg) {
    const struct convert *a = sdt__task_args(cl_arg);
    if (!a)
        return;
    sdt__cuda_done(cl_arg, sdt_cuda_convert(sdt__cuda(), a->n, sdt__dtype(buffers, a->x),
                                            sdt__pointer(buffers, a->x), sdt__dtype(buffers, a->y),
                                            sdt__pointer(buffers, a->y)));
}
#endif

struct starpu_codelet sdt__convert_codelet = {
    .name = "convert",
    SDT_ON_BOTH(convert_cpu, convert_cuda),
    .nbuffers = STARPU_VARIABLE_NBUFFERS,
    .model = &sdt__cost_model,
};

void sdt_insert_convert(struct sdt_flow *flow, const char *name, size_t n, sdt_handle x,
                        sdt_handle y) {
    struct sdt_task task;
    sdt__task_begin(&task, flow);
    struct convert a = {n, sdt__task_read(&task, x), sdt__task_write(&task, y)};
    sdt__task_submit(&task, &sdt__convert_codelet, name, 0.0,
                     (sdt__element(x) + sdt__element(y)) * (double)n, &a, sizeof a);
}

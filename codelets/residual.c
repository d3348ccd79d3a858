/* What layers add to a tile, kept and put on another one: sums and differences of two vectors. */
#include "codelets/codelets.h"
#include "runtime/cuda.h"

struct sum {
    size_t n;
    float sign;
    int x, y;
};

static void sum_cpu(void *buffers[], void *cl_arg) {
    const struct sum *a = sdt__task_args(cl_arg);
    if (!a)
        return;
    sdt_sum(a->n, a->sign, sdt__floats(buffers, a->x), sdt__floats(buffers, a->y));
}

#ifdef HAVE_CUDA
static void sum_cuda(void *buffers[], void *cl_arg) {
    const struct sum *a = sdt__task_args(cl_arg);
    if (!a)
        return;
    sdt__cuda_done(cl_arg, sdt_cuda_sum(sdt__cuda(), sdt__dtype(buffers, a->x), a->n, a->sign,
                                        sdt__pointer(buffers, a->x), sdt__pointer(buffers, a->y)));
}
#endif

struct starpu_codelet sdt__sum_codelet = {
    .name = "sum",
    SDT_ON_BOTH(sum_cpu, sum_cuda),
    .nbuffers = STARPU_VARIABLE_NBUFFERS,
    .model = &sdt__cost_model,
};

void sdt_insert_sum(struct sdt_flow *flow, const char *name, size_t n, float sign, sdt_handle x,
                    sdt_handle y) {
    struct sdt_task task;
    sdt__task_begin(&task, flow);
    struct sum a = {n, sign, sdt__task_read(&task, x), sdt__task_update(&task, y)};
    sdt__task_submit(&task, &sdt__sum_codelet, name, 2.0 * (double)n,
                     3.0 * sdt__element(x) * (double)n, &a, sizeof a);
}

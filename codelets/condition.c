/* What a step is conditioned on: the timestep as a vector, and silu of a vector. */
#include "codelets/codelets.h"
#include "runtime/cuda.h"

/* ---- sdt_insert_sinusoid -------------------------------------------------------------------- */

struct sinusoid {
    float t;
    int dim;
    int y;
};

static void sinusoid_cpu(void *buffers[], void *cl_arg) {
    const struct sinusoid *a = sdt__task_args(cl_arg);
    if (!a)
        return;
    sdt_sinusoid(a->t, a->dim, sdt__floats(buffers, a->y));
}

#ifdef HAVE_CUDA
static void sinusoid_cuda(void *buffers[], void *cl_arg) {
    const struct sinusoid *a = sdt__task_args(cl_arg);
    if (!a)
        return;
    sdt__cuda_done(cl_arg,
                   sdt_cuda_sinusoid(sdt__cuda(), a->t, a->dim, sdt__floats(buffers, a->y)));
}
#endif

struct starpu_codelet sdt__sinusoid_codelet = {
    .name = "sinusoid",
    SDT_ON_BOTH(sinusoid_cpu, sinusoid_cuda),
    .nbuffers = STARPU_VARIABLE_NBUFFERS,
    .model = &sdt__cost_model,
};

void sdt_insert_sinusoid(struct sdt_flow *flow, const char *name, float t, int dim, sdt_handle y) {
    struct sdt_task task;
    sdt__task_begin(&task, flow);
    struct sinusoid a = {t, dim, sdt__task_write(&task, y)};
    sdt__task_submit(&task, &sdt__sinusoid_codelet, name, 50.0 * dim, 4.0 * dim, &a, sizeof a);
}

/* ---- sdt_insert_silu ------------------------------------------------------------------------ */

struct silu {
    size_t n;
    int x, y;
};

static void silu_cpu(void *buffers[], void *cl_arg) {
    const struct silu *a = sdt__task_args(cl_arg);
    if (!a)
        return;
    sdt_silu(a->n, sdt__floats(buffers, a->x), sdt__floats(buffers, a->y));
}

#ifdef HAVE_CUDA
static void silu_cuda(void *buffers[], void *cl_arg) {
    const struct silu *a = sdt__task_args(cl_arg);
    if (!a)
        return;
    sdt__cuda_done(cl_arg, sdt_cuda_silu(sdt__cuda(), sdt__dtype(buffers, a->x), a->n,
                                         sdt__pointer(buffers, a->x), sdt__pointer(buffers, a->y)));
}
#endif

struct starpu_codelet sdt__silu_codelet = {
    .name = "silu",
    SDT_ON_BOTH(silu_cpu, silu_cuda),
    .nbuffers = STARPU_VARIABLE_NBUFFERS,
    .model = &sdt__cost_model,
};

void sdt_insert_silu(struct sdt_flow *flow, const char *name, size_t n, sdt_handle x,
                     sdt_handle y) {
    struct sdt_task task;
    sdt__task_begin(&task, flow);
    struct silu a = {n, sdt__task_read(&task, x), sdt__task_write(&task, y)};
    sdt__task_submit(&task, &sdt__silu_codelet, name, 10.0 * (double)n,
                     2.0 * sdt__element(x) * (double)n, &a, sizeof a);
}

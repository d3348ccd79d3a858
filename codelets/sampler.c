/* One solver step on one tile of the latent. */
#include "codelets/codelets.h"
#include "runtime/cuda.h"

#include <string.h>

struct sampler {
    struct sdt_sampler_step step;
    size_t n;
    int v_cond, v_uncond, x, x_next, x_last, m0, m1;
};

static void sampler_cpu(void *buffers[], void *cl_arg) {
    const struct sampler *a = sdt__task_args(cl_arg);
    if (!a)
        return;
    float *x_next = sdt__floats(buffers, a->x_next); /* [n] */
    memcpy(x_next, sdt__floats(buffers, a->x), a->n * sizeof *x_next);
    sdt_sampler_step(&a->step, a->n, sdt__floats(buffers, a->v_cond),
                     sdt__floats(buffers, a->v_uncond), x_next, sdt__floats(buffers, a->x_last),
                     sdt__floats(buffers, a->m0), sdt__floats(buffers, a->m1));
    if (sdt_find_not_finite(a->n, x_next) < a->n)
        sdt__task_not_finite(cl_arg);
}

#ifdef HAVE_CUDA
static void sampler_cuda(void *buffers[], void *cl_arg) {
    const struct sampler *a = sdt__task_args(cl_arg);
    if (!a)
        return;
    sdt__cuda_done(cl_arg, sdt_cuda_sampler_step(
                               sdt__cuda(), &a->step, a->n, sdt__floats(buffers, a->v_cond),
                               sdt__floats(buffers, a->v_uncond), sdt__floats(buffers, a->x),
                               sdt__floats(buffers, a->x_next), sdt__floats(buffers, a->x_last),
                               sdt__floats(buffers, a->m0), sdt__floats(buffers, a->m1)));
    sdt__cuda_check_finite(cl_arg, SDT_F32, a->n, sdt__floats(buffers, a->x_next));
}
#endif

struct starpu_codelet sdt__sampler_codelet = {
    .name = "sampler_step",
    SDT_ON_BOTH(sampler_cpu, sampler_cuda),
    .nbuffers = STARPU_VARIABLE_NBUFFERS,
    .model = &sdt__cost_model,
};

void sdt_insert_sampler_step(struct sdt_flow *flow, const char *name,
                             const struct sdt_sampler_step *step, size_t n, sdt_handle v_cond,
                             sdt_handle v_uncond, sdt_handle x, sdt_handle x_next,
                             sdt_handle x_last, sdt_handle m0, sdt_handle m1, bool first,
                             void (*done)(void *arg, int step), void *done_arg) {
    enum starpu_data_access_mode history = first ? STARPU_W : STARPU_RW;
    struct sdt_task task;
    sdt__task_begin(&task, flow);
    struct sampler a = {*step,
                        n,
                        .v_cond = sdt__task_read(&task, v_cond),
                        .v_uncond = sdt__task_read(&task, v_uncond),
                        .x = sdt__task_read(&task, x),
                        .x_next = sdt__task_write(&task, x_next),
                        .x_last = sdt__task_access(&task, x_last, history),
                        .m0 = sdt__task_access(&task, m0, history),
                        .m1 = sdt__task_access(&task, m1, history)};
    sdt__task_done(&task, done, done_arg, flow->tag.step);
    sdt__task_submit(&task, &sdt__sampler_codelet, name, 16.0 * (double)n, 40.0 * (double)n, &a,
                     sizeof a);
}

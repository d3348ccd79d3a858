/* One solver step on one tile of the latent. */
#include "codelets/codelets.h"
#include "runtime/cuda.h"

#include <string.h>

struct sampler {
    struct sdt_sampler_step step;
    size_t n;
    int v_cond, v_uncond, x, x_next;
    int history[3], next[3]; /* x_last, m0, m1; before there is any, history is x: not used, but
                              * defined, because a state in a file holds it */
};

static void sampler_cpu(void *buffers[], void *cl_arg) {
    const struct sampler *a = sdt__task_args(cl_arg);
    if (!a)
        return;
    float *x_next = sdt__floats(buffers, a->x_next), *next[3]; /* [n] */
    memcpy(x_next, sdt__floats(buffers, a->x), a->n * sizeof *x_next);
    for (int i = 0; i < 3; i++) {
        next[i] = sdt__floats(buffers, a->next[i]);
        memcpy(next[i], sdt__floats(buffers, a->history[i]), a->n * sizeof *x_next);
    }
    sdt_sampler_step(&a->step, a->n, sdt__floats(buffers, a->v_cond),
                     sdt__floats(buffers, a->v_uncond), x_next, next[0], next[1], next[2]);
    if (sdt_find_not_finite(a->n, x_next) < a->n)
        sdt__task_not_finite(cl_arg);
}

#ifdef HAVE_CUDA
static void sampler_cuda(void *buffers[], void *cl_arg) {
    const struct sampler *a = sdt__task_args(cl_arg);
    enum sdt_status status = SDT_OK;
    float *next[3]; /* [n] */
    if (!a)
        return;
    for (int i = 0; i < 3; i++) {
        next[i] = sdt__floats(buffers, a->next[i]);
        if (status == SDT_OK)
            status = sdt_cuda_convert(sdt__cuda(), a->n, SDT_F32,
                                      sdt__floats(buffers, a->history[i]), SDT_F32, next[i]);
    }
    if (status == SDT_OK)
        status =
            sdt_cuda_sampler_step(sdt__cuda(), &a->step, a->n, sdt__floats(buffers, a->v_cond),
                                  sdt__floats(buffers, a->v_uncond), sdt__floats(buffers, a->x),
                                  sdt__floats(buffers, a->x_next), next[0], next[1], next[2]);
    sdt__cuda_done(cl_arg, status);
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
                             sdt_handle v_uncond, struct sdt_solver_tile from,
                             struct sdt_solver_tile to, bool first,
                             void (*done)(void *arg, int step), void *done_arg) {
    const sdt_handle history[3] = {from.x_last, from.m0, from.m1};
    const sdt_handle next[3] = {to.x_last, to.m0, to.m1};
    struct sdt_task task;
    sdt__task_begin(&task, flow);
    struct sampler a = {*step,
                        n,
                        .v_cond = sdt__task_read(&task, v_cond),
                        .v_uncond = sdt__task_read(&task, v_uncond),
                        .x = sdt__task_read(&task, from.x),
                        .x_next = sdt__task_write(&task, to.x)};
    for (int i = 0; i < 3; i++) {
        bool written = !first || (i == 1 && step->p_m0 != 0.f);
        a.history[i] = written ? sdt__task_read(&task, history[i]) : a.x;
        a.next[i] = sdt__task_write(&task, next[i]);
    }
    sdt__task_done(&task, done, done_arg, flow->tag.step);
    sdt__task_submit(&task, &sdt__sampler_codelet, name, 16.0 * (double)n, 64.0 * (double)n, &a,
                     sizeof a);
}

/* What steps are conditioned on: timesteps as vectors, silu of a vector, and the mean of rows. */
#include "codelets/codelets.h"
#include "runtime/cuda.h"

#include <string.h>

/* ---- sdt_insert_sinusoid -------------------------------------------------------------------- */

struct sinusoid {
    int count, dim;
    int y;
    float t[]; /* [count] */
};

static void sinusoid_cpu(void *buffers[], void *cl_arg) {
    const struct sinusoid *a = sdt__task_args(cl_arg);
    for (int i = 0; a && i < a->count; i++)
        sdt_sinusoid(a->t[i], a->dim, sdt__row(buffers, a->y, i, a->dim));
}

#ifdef HAVE_CUDA
static void sinusoid_cuda(void *buffers[], void *cl_arg) {
    const struct sinusoid *a = sdt__task_args(cl_arg);
    enum sdt_status status = SDT_OK;
    if (!a)
        return;
    for (int i = 0; status == SDT_OK && i < a->count; i++)
        status =
            sdt_cuda_sinusoid(sdt__cuda(), a->t[i], a->dim, sdt__row(buffers, a->y, i, a->dim));
    sdt__cuda_done(cl_arg, status);
}
#endif

struct starpu_codelet sdt__sinusoid_codelet = {
    .name = "sinusoid",
    SDT_ON_BOTH(sinusoid_cpu, sinusoid_cuda),
    .nbuffers = STARPU_VARIABLE_NBUFFERS,
    .model = &sdt__cost_model,
};

void sdt_insert_sinusoids(struct sdt_flow *flow, const char *name, int count, const float *t,
                          int dim, sdt_handle y) {
    union {
        struct sinusoid a;
        char room[sizeof(struct sinusoid) + SDT_MOST_SINUSOIDS * sizeof(float)];
    } args;
    struct sinusoid *a = &args.a;
    struct sdt_task task;
    if (count > SDT_MOST_SINUSOIDS) {
        if (flow->error.status == SDT_OK)
            sdt_fail(&flow->error, SDT_ERROR_LIMIT, "%d timesteps; at most %d are supported", count,
                     SDT_MOST_SINUSOIDS);
        return;
    }
    sdt__task_begin(&task, flow);
    a->count = count;
    a->dim = dim;
    a->y = sdt__task_write(&task, y);
    memcpy(a->t, t, (size_t)count * sizeof *t);
    double n = (double)count * dim;
    sdt__task_submit(&task, &sdt__sinusoid_codelet, name, 50.0 * n, 4.0 * n, a,
                     sizeof *a + (size_t)count * sizeof *t);
}

void sdt_insert_sinusoid(struct sdt_flow *flow, const char *name, float t, int dim, sdt_handle y) {
    sdt_insert_sinusoids(flow, name, 1, &t, dim, y);
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

/* ---- sdt_insert_mean_rows ------------------------------------------------------------------- */

struct mean_rows {
    int rows, d;
    int x, y;
};

static void mean_rows_cpu(void *buffers[], void *cl_arg) {
    const struct mean_rows *a = sdt__task_args(cl_arg);
    if (!a)
        return;
    sdt_mean_rows(a->rows, a->d, sdt__floats(buffers, a->x), sdt__floats(buffers, a->y));
}

#ifdef HAVE_CUDA
static void mean_rows_cuda(void *buffers[], void *cl_arg) {
    const struct mean_rows *a = sdt__task_args(cl_arg);
    if (!a)
        return;
    sdt__cuda_done(cl_arg,
                   sdt_cuda_mean_rows(sdt__cuda(), a->rows, a->d, sdt__floats(buffers, a->x),
                                      sdt__floats(buffers, a->y)));
}
#endif

struct starpu_codelet sdt__mean_rows_codelet = {
    .name = "mean_rows",
    SDT_ON_BOTH(mean_rows_cpu, mean_rows_cuda),
    .nbuffers = STARPU_VARIABLE_NBUFFERS,
    .model = &sdt__cost_model,
};

void sdt_insert_mean_rows(struct sdt_flow *flow, const char *name, int rows, int d, sdt_handle x,
                          sdt_handle y) {
    struct sdt_task task;
    sdt__task_begin(&task, flow);
    struct mean_rows a = {rows, d, sdt__task_read(&task, x), sdt__task_write(&task, y)};
    double count = (double)rows * d;
    sdt__task_submit(&task, &sdt__mean_rows_codelet, name, count, 4.0 * count, &a, sizeof a);
}

/* Layer norm with modulation, and RMS norm. */
#include "codelets/codelets.h"
#include "runtime/cuda.h"

#include <string.h>

/* ---- sdt_insert_layer_norm ------------------------------------------------------------------ */

struct layer_norm {
    int rows, d;
    float eps;
    int x, weight, bias, y;
    int scale_a, scale_b, shift_a, shift_b;
    int scale_row_a, scale_row_b, shift_row_a, shift_row_b;
};

static void layer_norm_cpu(void *buffers[], void *cl_arg) {
    const struct layer_norm *a = sdt__task_args(cl_arg);
    if (!a)
        return;
    sdt_layer_norm(a->rows, a->d, sdt__floats(buffers, a->x), a->eps,
                   sdt__floats(buffers, a->weight), sdt__floats(buffers, a->bias),
                   sdt__row(buffers, a->scale_a, a->scale_row_a, a->d),
                   sdt__row(buffers, a->scale_b, a->scale_row_b, a->d),
                   sdt__row(buffers, a->shift_a, a->shift_row_a, a->d),
                   sdt__row(buffers, a->shift_b, a->shift_row_b, a->d), sdt__floats(buffers, a->y));
}

#ifdef HAVE_CUDA
static void layer_norm_cuda(void *buffers[], void *cl_arg) {
    const struct layer_norm *a = sdt__task_args(cl_arg);
    if (!a)
        return;
    sdt__cuda_done(cl_arg, sdt_cuda_layer_norm(sdt__cuda(), sdt__dtype(buffers, a->x), a->rows,
                                               a->d, sdt__pointer(buffers, a->x), a->eps,
                                               sdt__floats(buffers, a->weight),
                                               sdt__floats(buffers, a->bias),
                                               sdt__row(buffers, a->scale_a, a->scale_row_a, a->d),
                                               sdt__row(buffers, a->scale_b, a->scale_row_b, a->d),
                                               sdt__row(buffers, a->shift_a, a->shift_row_a, a->d),
                                               sdt__row(buffers, a->shift_b, a->shift_row_b, a->d),
                                               sdt__pointer(buffers, a->y)));
}
#endif

struct starpu_codelet sdt__layer_norm_codelet = {
    .name = "layer_norm",
    SDT_ON_BOTH(layer_norm_cpu, layer_norm_cuda),
    .nbuffers = STARPU_VARIABLE_NBUFFERS,
    .model = &sdt__cost_model,
};

void sdt_insert_layer_norm(struct sdt_flow *flow, const char *name, int rows, int d, float eps,
                           sdt_handle x, sdt_handle weight, sdt_handle bias,
                           struct sdt_row_sum scale, struct sdt_row_sum shift, sdt_handle y) {
    struct sdt_task task;
    sdt__task_begin(&task, flow);
    struct layer_norm a = {rows,
                           d,
                           eps,
                           .x = sdt__task_read(&task, x),
                           .weight = sdt__task_read(&task, weight),
                           .bias = sdt__task_read(&task, bias),
                           .scale_a = sdt__task_read(&task, scale.a),
                           .scale_b = sdt__task_read(&task, scale.b),
                           .shift_a = sdt__task_read(&task, shift.a),
                           .shift_b = sdt__task_read(&task, shift.b),
                           .scale_row_a = scale.row_a,
                           .scale_row_b = scale.row_b,
                           .shift_row_a = shift.row_a,
                           .shift_row_b = shift.row_b,
                           .y = sdt__task_write(&task, y)};
    double count = (double)rows * d;
    sdt__task_submit(&task, &sdt__layer_norm_codelet, name, 8.0 * count,
                     2.0 * sdt__element(x) * count, &a, sizeof a);
}

/* ---- sdt_insert_rms_norm -------------------------------------------------------------------- */

struct rms_norm {
    int rows, d;
    float eps;
    int x, weight, y;
};

static void rms_norm_cpu(void *buffers[], void *cl_arg) {
    const struct rms_norm *a = sdt__task_args(cl_arg);
    if (!a)
        return;
    sdt_rms_norm(a->rows, a->d, sdt__floats(buffers, a->x), a->eps, sdt__floats(buffers, a->weight),
                 sdt__floats(buffers, a->y));
}

#ifdef HAVE_CUDA
static void rms_norm_cuda(void *buffers[], void *cl_arg) {
    const struct rms_norm *a = sdt__task_args(cl_arg);
    if (!a)
        return;
    sdt__cuda_done(cl_arg, sdt_cuda_rms_norm(
                               sdt__cuda(), sdt__dtype(buffers, a->x), a->rows, a->d,
                               sdt__pointer(buffers, a->x), a->eps, sdt__floats(buffers, a->weight),
                               sdt__dtype(buffers, a->y), sdt__pointer(buffers, a->y)));
}
#endif

struct starpu_codelet sdt__rms_norm_codelet = {
    .name = "rms_norm",
    SDT_ON_BOTH(rms_norm_cpu, rms_norm_cuda),
    .nbuffers = STARPU_VARIABLE_NBUFFERS,
    .model = &sdt__cost_model,
};

void sdt_insert_rms_norm(struct sdt_flow *flow, const char *name, int rows, int d, float eps,
                         sdt_handle x, sdt_handle weight, sdt_handle y) {
    struct sdt_task task;
    sdt__task_begin(&task, flow);
    struct rms_norm a = {rows,
                         d,
                         eps,
                         sdt__task_read(&task, x),
                         sdt__task_read(&task, weight),
                         sdt__task_write(&task, y)};
    double count = (double)rows * d;
    sdt__task_submit(&task, &sdt__rms_norm_codelet, name, 4.0 * count,
                     (sdt__element(x) + sdt__element(y)) * count, &a, sizeof a);
}

/* ---- sdt_insert_rms_norm_parts -------------------------------------------------------------- */

struct rms_norm_parts {
    int rows;
    float eps;
    struct sdt_parts parts;
    int x[SDT_MOST_PARTS], weight, y;
};

static void rms_norm_parts_cpu(void *buffers[], void *cl_arg) {
    const struct rms_norm_parts *a = sdt__task_args(cl_arg);
    if (!a)
        return;
    int d = a->parts.bound[a->parts.count];
    const float *weight = sdt__floats(buffers, a->weight);
    float *y = sdt__floats(buffers, a->y); /* [rows, d] */
    for (int row = 0; row < a->rows; row++, y += d) {
        for (int p = 0; p < a->parts.count; p++) {
            size_t columns = (size_t)(a->parts.bound[p + 1] - a->parts.bound[p]);
            const float *x = sdt__floats(buffers, a->x[p]); /* [rows, columns] */
            memcpy(y + a->parts.bound[p], x + (size_t)row * columns, columns * sizeof *y);
        }
        sdt_rms_norm(1, d, y, a->eps, weight, y);
    }
}

struct starpu_codelet sdt__rms_norm_parts_codelet = {
    .name = "rms_norm_parts",
    SDT_ON_CPU(rms_norm_parts_cpu),
    .nbuffers = STARPU_VARIABLE_NBUFFERS,
    .model = &sdt__cost_model,
};

void sdt_insert_rms_norm_parts(struct sdt_flow *flow, const char *name, int rows,
                               const struct sdt_parts *parts, float eps, const sdt_handle *x,
                               sdt_handle weight, sdt_handle y) {
    struct sdt_task task;
    sdt__task_begin(&task, flow);
    struct rms_norm_parts a = {rows, eps, .parts = *parts};
    for (int p = 0; p < parts->count; p++)
        a.x[p] = sdt__task_read(&task, x[p]);
    a.weight = sdt__task_read(&task, weight);
    a.y = sdt__task_write(&task, y);
    double count = (double)rows * parts->bound[parts->count];
    sdt__task_submit(&task, &sdt__rms_norm_parts_codelet, name, 4.0 * count,
                     2.0 * sizeof(float) * count, &a, sizeof a);
}

/* ---- sdt_insert_layer_norm_parts ------------------------------------------------------------ */

struct layer_norm_parts {
    int rows;
    float eps;
    struct sdt_parts parts;
    int x[SDT_MOST_PARTS], weight, bias, y;
};

static void layer_norm_parts_cpu(void *buffers[], void *cl_arg) {
    const struct layer_norm_parts *a = sdt__task_args(cl_arg);
    if (!a)
        return;
    int d = a->parts.bound[a->parts.count];
    float *y = sdt__floats(buffers, a->y); /* [rows, d] */
    for (int row = 0; row < a->rows; row++, y += d) {
        for (int p = 0; p < a->parts.count; p++) {
            size_t columns = (size_t)(a->parts.bound[p + 1] - a->parts.bound[p]);
            const float *x = sdt__floats(buffers, a->x[p]); /* [rows, columns] */
            memcpy(y + a->parts.bound[p], x + (size_t)row * columns, columns * sizeof *y);
        }
        sdt_layer_norm(1, d, y, a->eps, sdt__floats(buffers, a->weight),
                       sdt__floats(buffers, a->bias), NULL, NULL, NULL, NULL, y);
    }
}

struct starpu_codelet sdt__layer_norm_parts_codelet = {
    .name = "layer_norm_parts",
    SDT_ON_CPU(layer_norm_parts_cpu),
    .nbuffers = STARPU_VARIABLE_NBUFFERS,
    .model = &sdt__cost_model,
};

void sdt_insert_layer_norm_parts(struct sdt_flow *flow, const char *name, int rows,
                                 const struct sdt_parts *parts, float eps, const sdt_handle *x,
                                 sdt_handle weight, sdt_handle bias, sdt_handle y) {
    struct sdt_task task;
    sdt__task_begin(&task, flow);
    struct layer_norm_parts a = {rows, eps, .parts = *parts};
    for (int p = 0; p < parts->count; p++)
        a.x[p] = sdt__task_read(&task, x[p]);
    a.weight = sdt__task_read(&task, weight);
    a.bias = sdt__task_read(&task, bias);
    a.y = sdt__task_write(&task, y);
    double count = (double)rows * parts->bound[parts->count];
    sdt__task_submit(&task, &sdt__layer_norm_parts_codelet, name, 8.0 * count,
                     2.0 * sizeof(float) * count, &a, sizeof a);
}

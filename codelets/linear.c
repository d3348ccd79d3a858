/* Linear layers: y = epilogue(x w^T + bias), and the gated residual y += gate (x w^T + bias). */
#include "codelets/codelets.h"
#include "runtime/cuda.h"

/* ---- sdt_insert_linear ---------------------------------------------------------------------- */

struct linear {
    int rows, n, k;
    enum sdt_epilogue epilogue;
    int x, w, bias, y;
};

static void linear_cpu(void *buffers[], void *cl_arg) {
    const struct linear *a = sdt__task_args(cl_arg);
    if (!a)
        return;
    sdt_linear(a->rows, a->n, a->k, sdt__floats(buffers, a->x), sdt__weight(buffers, a->w),
               sdt__floats(buffers, a->bias), a->epilogue, sdt__floats(buffers, a->y));
}

#ifdef HAVE_CUDA
static void linear_cuda(void *buffers[], void *cl_arg) {
    const struct linear *a = sdt__task_args(cl_arg);
    if (!a)
        return;
    sdt__cuda_done(cl_arg,
                   sdt_cuda_linear(sdt__cuda(), sdt__dtype(buffers, a->x), a->rows, a->n, a->k,
                                   sdt__pointer(buffers, a->x), sdt__pointer(buffers, a->w),
                                   sdt__pointer(buffers, a->bias), a->epilogue,
                                   sdt__pointer(buffers, a->y)));
}
#endif

struct starpu_codelet sdt__linear_codelet = {
    .name = "linear",
    SDT_ON_BOTH(linear_cpu, linear_cuda),
    .nbuffers = STARPU_VARIABLE_NBUFFERS,
    .model = &sdt__cost_models[SDT_CLASS_LINEAR],
};

void sdt_insert_linear(struct sdt_flow *flow, const char *name, int rows, int n, int k,
                       sdt_handle x, sdt_handle w, sdt_handle bias, enum sdt_epilogue epilogue,
                       sdt_handle y) {
    struct sdt_task task;
    sdt__task_begin(&task, flow);
    struct linear a = {rows,
                       n,
                       k,
                       epilogue,
                       .x = sdt__task_read(&task, x),
                       .w = sdt__task_read(&task, w),
                       .bias = sdt__task_read(&task, bias),
                       .y = sdt__task_write(&task, y)};
    double flops = 2.0 * rows * n * k;
    double bytes = sdt__element(x) * ((double)rows * k + (double)n * k + (double)rows * n);
    sdt__task_submit(&task, &sdt__linear_codelet, name, flops, bytes, &a, sizeof a);
}

/* ---- sdt_insert_linear_residual ------------------------------------------------------------- */

struct residual {
    int rows, n, k;
    int x, w, bias, gate_a, gate_b, row_a, row_b, y, scratch;
};

static void residual_cpu(void *buffers[], void *cl_arg) {
    const struct residual *a = sdt__task_args(cl_arg);
    if (!a)
        return;
    sdt_linear_residual(a->rows, a->n, a->k, sdt__floats(buffers, a->x), sdt__weight(buffers, a->w),
                        sdt__floats(buffers, a->bias), sdt__row(buffers, a->gate_a, a->row_a, a->n),
                        sdt__row(buffers, a->gate_b, a->row_b, a->n), sdt__floats(buffers, a->y),
                        sdt__floats(buffers, a->scratch));
}

#ifdef HAVE_CUDA
static void residual_cuda(void *buffers[], void *cl_arg) {
    const struct residual *a = sdt__task_args(cl_arg);
    if (!a)
        return;
    sdt__cuda_done(cl_arg,
                   sdt_cuda_linear_residual(
                       sdt__cuda(), sdt__dtype(buffers, a->x), a->rows, a->n, a->k,
                       sdt__pointer(buffers, a->x), sdt__pointer(buffers, a->w),
                       sdt__pointer(buffers, a->bias), sdt__row(buffers, a->gate_a, a->row_a, a->n),
                       sdt__row(buffers, a->gate_b, a->row_b, a->n), sdt__pointer(buffers, a->y),
                       sdt__pointer(buffers, a->scratch)));
}
#endif

struct starpu_codelet sdt__linear_residual_codelet = {
    .name = "linear_residual",
    SDT_ON_BOTH(residual_cpu, residual_cuda),
    .nbuffers = STARPU_VARIABLE_NBUFFERS,
    .model = &sdt__cost_models[SDT_CLASS_LINEAR],
};

void sdt_insert_linear_residual(struct sdt_flow *flow, const char *name, int rows, int n, int k,
                                sdt_handle x, sdt_handle w, sdt_handle bias,
                                struct sdt_row_sum gate, sdt_handle y) {
    struct sdt_task task;
    sdt__task_begin(&task, flow);
    struct residual a = {
        rows,
        n,
        k,
        .row_a = gate.row_a,
        .row_b = gate.row_b,
        .x = sdt__task_read(&task, x),
        .w = sdt__task_read(&task, w),
        .bias = sdt__task_read(&task, bias),
        .gate_a = sdt__task_read(&task, gate.a),
        .gate_b = sdt__task_read(&task, gate.b),
        .y = sdt__task_update(&task, y),
        .scratch = sdt__task_scratch(
            &task, SDT_SCRATCH(flow->place->kind, sdt_linear_residual_scratch(rows),
                               sdt_cuda_linear_residual_scratch(sdt__handle_dtype(x), rows, n)))};
    double flops = 2.0 * rows * n * k;
    double bytes = sdt__element(x) * ((double)rows * k + (double)n * k + 2.0 * rows * n);
    sdt__task_submit(&task, &sdt__linear_residual_codelet, name, flops, bytes, &a, sizeof a);
}

/* ---- sdt_insert_linear_part ----------------------------------------------------------------- */

struct linear_part {
    int rows, n, first, add;
    struct sdt_parts parts;
    int x[SDT_MOST_PARTS], w, bias, y, scratch;
};

static void linear_part_cpu(void *buffers[], void *cl_arg) {
    const struct linear_part *a = sdt__task_args(cl_arg);
    if (!a)
        return;
    const float *x[SDT_MOST_PARTS];
    int k = a->parts.bound[a->parts.count];
    struct sdt_weight w = sdt__weight(buffers, a->w);
    const float *bias = sdt__floats(buffers, a->bias);
    for (int p = 0; p < a->parts.count; p++)
        x[p] = sdt__floats(buffers, a->x[p]);
    w.data = (const char *)w.data + (size_t)a->first * (size_t)k * sdt_dtype_size(w.dtype);
    sdt_linear_parts(a->rows, a->n, k, a->parts.bound, x, w, bias ? bias + a->first : NULL, a->add,
                     sdt__floats(buffers, a->y), sdt__floats(buffers, a->scratch));
}

struct starpu_codelet sdt__linear_part_codelet = {
    .name = "linear_part",
    SDT_ON_CPU(linear_part_cpu),
    .nbuffers = STARPU_VARIABLE_NBUFFERS,
    .model = &sdt__cost_models[SDT_CLASS_LINEAR],
};

void sdt_insert_linear_part(struct sdt_flow *flow, const char *name, int rows,
                            const struct sdt_parts *parts, const sdt_handle *x, sdt_handle w,
                            sdt_handle bias, int first, int n, bool add, sdt_handle y) {
    struct sdt_task task;
    sdt__task_begin(&task, flow);
    struct linear_part a = {rows, n, first, add, .parts = *parts, .scratch = -1};
    for (int p = 0; p < parts->count; p++)
        a.x[p] = sdt__task_read(&task, x[p]);
    a.w = sdt__task_read(&task, w);
    a.bias = sdt__task_read(&task, bias);
    a.y = add ? sdt__task_update(&task, y) : sdt__task_write(&task, y);
    if (add)
        a.scratch = sdt__task_scratch(&task, sizeof(float) * sdt_linear_residual_scratch(rows));
    double k = parts->bound[parts->count];
    sdt__task_submit(&task, &sdt__linear_part_codelet, name, 2.0 * rows * n * k,
                     sizeof(float) * (rows * k + n * k + (add ? 2.0 : 1.0) * rows * n), &a,
                     sizeof a);
}

/* Operations of text encoders whose tokens see only those in front of them (LLaMA, CLIP). */
#include "codelets/codelets.h"
#include "runtime/cuda.h"

#include <string.h>

/* ---- sdt_insert_causal_attention ------------------------------------------------------------ */

struct causal_attention {
    int tokens, heads, kv_heads, e;
    int q, k, v, o, scratch;
};

static void causal_attention_cpu(void *buffers[], void *cl_arg) {
    const struct causal_attention *a = sdt__task_args(cl_arg);
    if (!a)
        return;
    sdt_causal_attention(a->tokens, a->heads, a->kv_heads, a->e, sdt__floats(buffers, a->q),
                         sdt__floats(buffers, a->k), sdt__floats(buffers, a->v),
                         sdt__floats(buffers, a->o), sdt__floats(buffers, a->scratch));
}

#ifdef HAVE_CUDA
static void causal_attention_cuda(void *buffers[], void *cl_arg) {
    const struct causal_attention *a = sdt__task_args(cl_arg);
    if (!a)
        return;
    sdt__cuda_done(
        cl_arg, sdt_cuda_causal_attention(sdt__cuda(), sdt__dtype(buffers, a->q), a->tokens,
                                          a->heads, a->kv_heads, a->e, sdt__pointer(buffers, a->q),
                                          sdt__pointer(buffers, a->k), sdt__pointer(buffers, a->v),
                                          sdt__pointer(buffers, a->o)));
}
#endif

struct starpu_codelet sdt__causal_attention_codelet = {
    .name = "causal_attention",
    SDT_ON_BOTH(causal_attention_cpu, causal_attention_cuda),
    .nbuffers = STARPU_VARIABLE_NBUFFERS,
    .model = &sdt__cost_models[SDT_CLASS_CROSS_ATTENTION],
};

void sdt_insert_causal_attention(struct sdt_flow *flow, const char *name, int tokens, int heads,
                                 int kv_heads, int e, sdt_handle q, sdt_handle k, sdt_handle v,
                                 sdt_handle o) {
    struct sdt_task task;
    sdt__task_begin(&task, flow);
    size_t scratch = SDT_SCRATCH(flow->place->kind, sdt_causal_attention_scratch(tokens, e), 0);
    struct causal_attention a = {tokens,
                                 heads,
                                 kv_heads,
                                 e,
                                 .q = sdt__task_read(&task, q),
                                 .k = sdt__task_read(&task, k),
                                 .v = sdt__task_read(&task, v),
                                 .o = sdt__task_write(&task, o),
                                 .scratch = scratch ? sdt__task_scratch(&task, scratch) : -1};
    double width = (double)heads * e;
    sdt__task_submit(&task, &sdt__causal_attention_codelet, name, 4.0 * tokens * tokens * width,
                     4.0 * sdt__element(q) * tokens * width, &a, sizeof a);
}

/* ---- sdt_insert_rotate_halves --------------------------------------------------------------- */

struct rotate_halves {
    int rows, heads, e;
    int table, x;
};

static void rotate_halves_cpu(void *buffers[], void *cl_arg) {
    const struct rotate_halves *a = sdt__task_args(cl_arg);
    if (!a)
        return;
    sdt_rotate_halves(a->rows, a->heads, a->e, sdt__floats(buffers, a->table),
                      sdt__floats(buffers, a->x));
}

#ifdef HAVE_CUDA
static void rotate_halves_cuda(void *buffers[], void *cl_arg) {
    const struct rotate_halves *a = sdt__task_args(cl_arg);
    if (!a)
        return;
    sdt__cuda_done(cl_arg, sdt_cuda_rotate_halves(sdt__cuda(), sdt__dtype(buffers, a->x), a->rows,
                                                  a->heads, a->e, sdt__floats(buffers, a->table),
                                                  sdt__pointer(buffers, a->x)));
}
#endif

struct starpu_codelet sdt__rotate_halves_codelet = {
    .name = "rotate_halves",
    SDT_ON_BOTH(rotate_halves_cpu, rotate_halves_cuda),
    .nbuffers = STARPU_VARIABLE_NBUFFERS,
    .model = &sdt__cost_model,
};

void sdt_insert_rotate_halves(struct sdt_flow *flow, const char *name, int rows, int heads, int e,
                              sdt_handle table, sdt_handle x) {
    struct sdt_task task;
    sdt__task_begin(&task, flow);
    struct rotate_halves a = {rows, heads, e, .table = sdt__task_read(&task, table),
                              .x = sdt__task_update(&task, x)};
    double count = (double)rows * heads * e;
    sdt__task_submit(&task, &sdt__rotate_halves_codelet, name, 3.0 * count,
                     2.0 * sdt__element(x) * count, &a, sizeof a);
}

/* ---- sdt_insert_gated_silu ------------------------------------------------------------------ */

struct gated_silu {
    size_t n;
    int a, b;
};

static void gated_silu_cpu(void *buffers[], void *cl_arg) {
    const struct gated_silu *a = sdt__task_args(cl_arg);
    if (!a)
        return;
    float *y = sdt__floats(buffers, a->a); /* [n] */
    sdt_gated_silu(a->n, y, sdt__floats(buffers, a->b), y);
}

#ifdef HAVE_CUDA
static void gated_silu_cuda(void *buffers[], void *cl_arg) {
    const struct gated_silu *a = sdt__task_args(cl_arg);
    if (!a)
        return;
    void *y = sdt__pointer(buffers, a->a); /* [n] */
    sdt__cuda_done(cl_arg, sdt_cuda_gated_silu(sdt__cuda(), sdt__dtype(buffers, a->a), a->n, y,
                                               sdt__pointer(buffers, a->b), y));
}
#endif

struct starpu_codelet sdt__gated_silu_codelet = {
    .name = "gated_silu",
    SDT_ON_BOTH(gated_silu_cpu, gated_silu_cuda),
    .nbuffers = STARPU_VARIABLE_NBUFFERS,
    .model = &sdt__cost_model,
};

void sdt_insert_gated_silu(struct sdt_flow *flow, const char *name, size_t n, sdt_handle a,
                           sdt_handle b) {
    struct sdt_task task;
    sdt__task_begin(&task, flow);
    struct gated_silu args = {n, sdt__task_update(&task, a), sdt__task_read(&task, b)};
    sdt__task_submit(&task, &sdt__gated_silu_codelet, name, 8.0 * (double)n,
                     3.0 * sdt__element(a) * (double)n, &args, sizeof args);
}

/* ---- sdt_insert_quick_gelu ------------------------------------------------------------------ */

struct quick_gelu {
    size_t n;
    int x;
};

static void quick_gelu_cpu(void *buffers[], void *cl_arg) {
    const struct quick_gelu *a = sdt__task_args(cl_arg);
    if (!a)
        return;
    float *x = sdt__floats(buffers, a->x); /* [n] */
    sdt_quick_gelu(a->n, x, x);
}

#ifdef HAVE_CUDA
static void quick_gelu_cuda(void *buffers[], void *cl_arg) {
    const struct quick_gelu *a = sdt__task_args(cl_arg);
    if (!a)
        return;
    void *x = sdt__pointer(buffers, a->x); /* [n] */
    sdt__cuda_done(cl_arg, sdt_cuda_quick_gelu(sdt__cuda(), sdt__dtype(buffers, a->x), a->n, x, x));
}
#endif

struct starpu_codelet sdt__quick_gelu_codelet = {
    .name = "quick_gelu",
    SDT_ON_BOTH(quick_gelu_cpu, quick_gelu_cuda),
    .nbuffers = STARPU_VARIABLE_NBUFFERS,
    .model = &sdt__cost_model,
};

void sdt_insert_quick_gelu(struct sdt_flow *flow, const char *name, size_t n, sdt_handle x) {
    struct sdt_task task;
    sdt__task_begin(&task, flow);
    struct quick_gelu a = {n, sdt__task_update(&task, x)};
    sdt__task_submit(&task, &sdt__quick_gelu_codelet, name, 8.0 * (double)n,
                     2.0 * sdt__element(x) * (double)n, &a, sizeof a);
}

/* ---- sdt_insert_gelu ------------------------------------------------------------------------ */

struct gelu {
    size_t n;
    int x;
};

static void gelu_cpu(void *buffers[], void *cl_arg) {
    const struct gelu *a = sdt__task_args(cl_arg);
    if (!a)
        return;
    float *x = sdt__floats(buffers, a->x); /* [n] */
    sdt_gelu(a->n, x, x);
}

#ifdef HAVE_CUDA
static void gelu_cuda(void *buffers[], void *cl_arg) {
    const struct gelu *a = sdt__task_args(cl_arg);
    if (!a)
        return;
    void *x = sdt__pointer(buffers, a->x); /* [n] */
    sdt__cuda_done(cl_arg, sdt_cuda_gelu(sdt__cuda(), sdt__dtype(buffers, a->x), a->n, x, x));
}
#endif

struct starpu_codelet sdt__gelu_codelet = {
    .name = "gelu",
    SDT_ON_BOTH(gelu_cpu, gelu_cuda),
    .nbuffers = STARPU_VARIABLE_NBUFFERS,
    .model = &sdt__cost_model,
};

void sdt_insert_gelu(struct sdt_flow *flow, const char *name, size_t n, sdt_handle x) {
    struct sdt_task task;
    sdt__task_begin(&task, flow);
    struct gelu a = {n, sdt__task_update(&task, x)};
    sdt__task_submit(&task, &sdt__gelu_codelet, name, 20.0 * (double)n,
                     2.0 * sdt__element(x) * (double)n, &a, sizeof a);
}

/* ---- sdt_insert_take_rows ------------------------------------------------------------------- */

struct take_rows {
    int first, rows;
    struct sdt_parts parts;
    int x[SDT_MOST_PARTS], y;
};

static void take_rows_cpu(void *buffers[], void *cl_arg) {
    const struct take_rows *a = sdt__task_args(cl_arg);
    if (!a)
        return;
    size_t d = (size_t)a->parts.bound[a->parts.count];
    float *y = sdt__floats(buffers, a->y); /* [rows, d] */
    for (int p = 0; p < a->parts.count; p++) {
        size_t columns = (size_t)(a->parts.bound[p + 1] - a->parts.bound[p]);
        const float *x = sdt__floats(buffers, a->x[p]); /* [first + rows, columns] */
        for (int r = 0; r < a->rows; r++)
            memcpy(y + (size_t)r * d + a->parts.bound[p],
                   x + ((size_t)a->first + (size_t)r) * columns, columns * sizeof *y);
    }
}

#ifdef HAVE_CUDA
static void take_rows_cuda(void *buffers[], void *cl_arg) {
    const struct take_rows *a = sdt__task_args(cl_arg);
    if (!a)
        return;
    size_t d = (size_t)a->parts.bound[a->parts.count];
    enum sdt_dtype dtype = sdt__dtype(buffers, a->x[0]);
    const char *x = sdt__pointer(buffers, a->x[0]); /* [first + rows, d] */
    sdt__cuda_done(cl_arg, sdt_cuda_convert(sdt__cuda(), (size_t)a->rows * d, dtype,
                                            x + (size_t)a->first * d * sdt_dtype_size(dtype),
                                            SDT_F32, sdt__floats(buffers, a->y)));
}
#endif

struct starpu_codelet sdt__take_rows_codelet = {
    .name = "take_rows",
    SDT_ON_BOTH(take_rows_cpu, take_rows_cuda),
    .nbuffers = STARPU_VARIABLE_NBUFFERS,
    .model = &sdt__cost_model,
};

void sdt_insert_take_rows(struct sdt_flow *flow, const char *name, int first, int rows,
                          const struct sdt_parts *parts, const sdt_handle *x, sdt_handle y) {
    struct sdt_task task;
    sdt__task_begin(&task, flow);
    if (flow->place->kind == SDT_DEVICE_CUDA && parts->count > 1) {
        if (flow->error.status == SDT_OK)
            sdt_fail(&flow->error, SDT_ERROR_LIMIT, "%s: rows in %d parts; on GPUs in one", name,
                     parts->count);
        return;
    }
    struct take_rows a = {first, rows, .parts = *parts};
    for (int p = 0; p < parts->count; p++)
        a.x[p] = sdt__task_read(&task, x[p]);
    a.y = sdt__task_write(&task, y);
    sdt__task_submit(&task, &sdt__take_rows_codelet, name, 0.0,
                     (sizeof(float) + sdt__element(x[0])) * (double)rows *
                         parts->bound[parts->count],
                     &a, sizeof a);
}

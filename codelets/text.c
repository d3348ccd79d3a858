/* The text encoder's own operations: embedding, biased attention, gated feed-forward, pad row. */
#include "codelets/codelets.h"
#include "runtime/cuda.h"

#include <string.h>

/* ---- sdt_insert_embed ----------------------------------------------------------------------- */

#define MAX_TOKENS 4096 /* far above any text encoder's limit */

struct embed {
    enum sdt_dtype dtype;
    const void
        *table; /* the checkpoint's mapping: the table itself (4 GB for UMT5-XXL) never moves */
    int d, tokens, y;
    int32_t ids[];
};

static void embed_cpu(void *buffers[], void *cl_arg) {
    const struct embed *a = sdt__task_args(cl_arg);
    if (!a)
        return;
    enum sdt_dtype dtype = sdt__dtype(buffers, a->y);
    char *y = sdt__pointer(buffers, a->y); /* [tokens, d] */
    size_t from = sdt_dtype_size(a->dtype) * (size_t)a->d;
    size_t to = sdt_dtype_size(dtype) * (size_t)a->d;
    for (int t = 0; t < a->tokens; t++)
        sdt_convert_to(a->dtype, (size_t)a->d, (const char *)a->table + (size_t)a->ids[t] * from,
                       dtype, y + (size_t)t * to);
}

struct starpu_codelet sdt__embed_codelet = {
    .name = "embed",
    SDT_ON_CPU(embed_cpu),
    .nbuffers = STARPU_VARIABLE_NBUFFERS,
    .model = &sdt__cost_model,
};

void sdt_insert_embed(struct sdt_flow *flow, const char *name, enum sdt_dtype dtype,
                      const void *table, int d, int tokens, const int32_t *ids, sdt_handle y) {
    union {
        struct embed a;
        char room[sizeof(struct embed) + MAX_TOKENS * sizeof(int32_t)];
    } args;
    struct embed *a = &args.a;
    struct sdt_task task;
    sdt__task_begin(&task, flow);
    if (tokens > MAX_TOKENS) {
        if (flow->error.status == SDT_OK)
            sdt_fail(&flow->error, SDT_ERROR_LIMIT, "%d text tokens; at most %d are supported",
                     tokens, MAX_TOKENS);
        return;
    }
    a->dtype = dtype;
    a->table = table;
    a->d = d;
    a->tokens = tokens;
    a->y = sdt__task_write(&task, y);
    memcpy(a->ids, ids, (size_t)tokens * sizeof *ids);
    sdt__task_submit(&task, &sdt__embed_codelet, name, 0.0, (4.0 + sdt__element(y)) * tokens * d, a,
                     sizeof *a + (size_t)tokens * sizeof *ids);
}

/* ---- sdt_insert_text_attention -------------------------------------------------------------- */

struct text_attention {
    int tokens, heads, e, first, rows, tile_rows;
    int q, k[SDT_MOST_TEXT_TILES], v[SDT_MOST_TEXT_TILES], bias, o, scratch;
};

static void text_attention_cpu(void *buffers[], void *cl_arg) {
    const struct text_attention *a = sdt__task_args(cl_arg);
    if (!a)
        return;
    const float *k[SDT_MOST_TEXT_TILES], *v[SDT_MOST_TEXT_TILES];
    for (int t = 0; t < SDT_MOST_TEXT_TILES; t++) {
        k[t] = sdt__floats(buffers, a->k[t]);
        v[t] = sdt__floats(buffers, a->v[t]);
    }
    sdt_text_attention(a->tokens, a->heads, a->e, a->first, a->rows, sdt__floats(buffers, a->q),
                       a->tile_rows, k, v, sdt__floats(buffers, a->bias),
                       sdt__floats(buffers, a->o), sdt__floats(buffers, a->scratch));
}

#ifdef HAVE_CUDA
static void text_attention_cuda(void *buffers[], void *cl_arg) {
    const struct text_attention *a = sdt__task_args(cl_arg);
    if (!a)
        return;
    sdt__cuda_done(cl_arg, sdt_cuda_text_attention(
                               sdt__cuda(), sdt__dtype(buffers, a->q), a->tokens, a->heads, a->e,
                               sdt__pointer(buffers, a->q), sdt__pointer(buffers, a->k[0]),
                               sdt__pointer(buffers, a->v[0]), sdt__floats(buffers, a->bias),
                               sdt__pointer(buffers, a->o)));
}
#endif

struct starpu_codelet sdt__text_attention_codelet = {
    .name = "text_attention",
    SDT_ON_BOTH(text_attention_cpu, text_attention_cuda),
    .nbuffers = STARPU_VARIABLE_NBUFFERS,
    .model = &sdt__cost_model,
};

void sdt_insert_text_attention(struct sdt_flow *flow, const char *name, int tokens, int heads,
                               int e, int first, int rows, sdt_handle q, int tile_rows,
                               const sdt_handle *k, const sdt_handle *v, sdt_handle bias,
                               sdt_handle o) {
    int tiles = (tokens + tile_rows - 1) / tile_rows;
    struct sdt_task task;
    sdt__task_begin(&task, flow);
    if (tiles > SDT_MOST_TEXT_TILES || (flow->place->kind == SDT_DEVICE_CUDA && tiles > 1)) {
        if (flow->error.status == SDT_OK)
            sdt_fail(&flow->error, SDT_ERROR_LIMIT,
                     "%s: %d tiles of text; at most %d work, and on GPUs one", name, tiles,
                     SDT_MOST_TEXT_TILES);
        return;
    }
    struct text_attention a = {
        tokens, heads, e, first, rows, tile_rows, .q = sdt__task_read(&task, q)};
    for (int t = 0; t < SDT_MOST_TEXT_TILES; t++) {
        a.k[t] = t < tiles ? sdt__task_read(&task, k[t]) : -1;
        a.v[t] = t < tiles ? sdt__task_read(&task, v[t]) : -1;
    }
    a.bias = sdt__task_read(&task, bias);
    a.o = sdt__task_write(&task, o);
    a.scratch = -1;
    size_t scratch = SDT_SCRATCH(flow->place->kind, sdt_text_attention_scratch(tokens, rows, e), 0);
    if (scratch > 0)
        a.scratch = sdt__task_scratch(&task, scratch);
    double width = (double)heads * e;
    sdt__task_submit(&task, &sdt__text_attention_codelet, name, 4.0 * rows * tokens * width,
                     2.0 * sdt__element(q) * ((double)rows + tokens) * width, &a, sizeof a);
}

/* ---- sdt_insert_join_rows ------------------------------------------------------------------- */

struct join_rows {
    int rows, tile_rows, d;
    int x[SDT_MOST_TEXT_TILES], y;
};

static void join_rows_cpu(void *buffers[], void *cl_arg) {
    const struct join_rows *a = sdt__task_args(cl_arg);
    if (!a)
        return;
    size_t line = (size_t)a->d;
    float *y = sdt__floats(buffers, a->y); /* [rows, d] */
    for (int row = 0, t = 0; row < a->rows; row += a->tile_rows, t++) {
        int rows = a->rows - row < a->tile_rows ? a->rows - row : a->tile_rows;
        memcpy(y + (size_t)row * line, sdt__floats(buffers, a->x[t]),
               (size_t)rows * line * sizeof *y);
    }
}

struct starpu_codelet sdt__join_rows_codelet = {
    .name = "join_rows",
    SDT_ON_CPU(join_rows_cpu),
    .nbuffers = STARPU_VARIABLE_NBUFFERS,
    .model = &sdt__cost_model,
};

void sdt_insert_join_rows(struct sdt_flow *flow, const char *name, int rows, int tile_rows, int d,
                          const sdt_handle *x, sdt_handle y) {
    int tiles = (rows + tile_rows - 1) / tile_rows;
    struct sdt_task task;
    sdt__task_begin(&task, flow);
    struct join_rows a = {rows, tile_rows, d, .y = -1};
    for (int t = 0; t < SDT_MOST_TEXT_TILES; t++)
        a.x[t] = t < tiles ? sdt__task_read(&task, x[t]) : -1;
    a.y = sdt__task_write(&task, y);
    sdt__task_submit(&task, &sdt__join_rows_codelet, name, 0.0, 8.0 * rows * d, &a, sizeof a);
}

/* ---- sdt_insert_gated_gelu ------------------------------------------------------------------ */

struct gated_gelu {
    size_t n;
    int a, b;
};

static void gated_gelu_cpu(void *buffers[], void *cl_arg) {
    const struct gated_gelu *a = sdt__task_args(cl_arg);
    if (!a)
        return;
    float *y = sdt__floats(buffers, a->a); /* [n] */
    sdt_gated_gelu(a->n, y, sdt__floats(buffers, a->b), y);
}

#ifdef HAVE_CUDA
static void gated_gelu_cuda(void *buffers[], void *cl_arg) {
    const struct gated_gelu *a = sdt__task_args(cl_arg);
    if (!a)
        return;
    void *y = sdt__pointer(buffers, a->a); /* [n] */
    sdt__cuda_done(cl_arg, sdt_cuda_gated_gelu(sdt__cuda(), sdt__dtype(buffers, a->a), a->n, y,
                                               sdt__pointer(buffers, a->b), y));
}
#endif

struct starpu_codelet sdt__gated_gelu_codelet = {
    .name = "gated_gelu",
    SDT_ON_BOTH(gated_gelu_cpu, gated_gelu_cuda),
    .nbuffers = STARPU_VARIABLE_NBUFFERS,
    .model = &sdt__cost_model,
};

void sdt_insert_gated_gelu(struct sdt_flow *flow, const char *name, size_t n, sdt_handle a,
                           sdt_handle b) {
    struct sdt_task task;
    sdt__task_begin(&task, flow);
    struct gated_gelu args = {n, sdt__task_update(&task, a), sdt__task_read(&task, b)};
    sdt__task_submit(&task, &sdt__gated_gelu_codelet, name, 12.0 * (double)n,
                     3.0 * sdt__element(a) * (double)n, &args, sizeof args);
}

/* ---- sdt_insert_pad_row --------------------------------------------------------------------- */

struct pad_row {
    int rows, d;
    int x, y;
};

static void pad_row_cpu(void *buffers[], void *cl_arg) {
    const struct pad_row *a = sdt__task_args(cl_arg);
    if (!a)
        return;
    float *y = sdt__floats(buffers, a->y); /* [rows + 1, d] */
    size_t count = (size_t)a->rows * (size_t)a->d;
    memcpy(y, sdt__floats(buffers, a->x), count * sizeof *y);
    memset(y + count, 0, (size_t)a->d * sizeof *y);
}

#ifdef HAVE_CUDA
static void pad_row_cuda(void *buffers[], void *cl_arg) {
    const struct pad_row *a = sdt__task_args(cl_arg);
    if (!a)
        return;
    sdt__cuda_done(cl_arg,
                   sdt_cuda_pad_row(sdt__cuda(), sdt__dtype(buffers, a->y), a->rows, a->d,
                                    sdt__floats(buffers, a->x), sdt__pointer(buffers, a->y)));
}
#endif

struct starpu_codelet sdt__pad_row_codelet = {
    .name = "pad_row",
    SDT_ON_BOTH(pad_row_cpu, pad_row_cuda),
    .nbuffers = STARPU_VARIABLE_NBUFFERS,
    .model = &sdt__cost_model,
};

void sdt_insert_pad_row(struct sdt_flow *flow, const char *name, int rows, int d, sdt_handle x,
                        sdt_handle y) {
    struct sdt_task task;
    sdt__task_begin(&task, flow);
    struct pad_row a = {rows, d, sdt__task_read(&task, x), sdt__task_write(&task, y)};
    sdt__task_submit(&task, &sdt__pad_row_codelet, name, 0.0, (4.0 + sdt__element(y)) * rows * d,
                     &a, sizeof a);
}

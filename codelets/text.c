/* The text encoder's own operations: embedding, biased attention, gated feed-forward, pad row. */
#include "codelets/codelets.h"
#include "runtime/cuda.h"

#include <string.h>

/* ---- sdt_insert_embed ----------------------------------------------------------------------- */

#define MAX_TOKENS 4096 /* far above any text encoder's limit */

struct embed {
    /* in the checkpoint's mapping: the table itself (4 GB for UMT5-XXL) never moves */
    struct sdt_embedding from;
    int first, columns, tokens, y;
    int32_t ids[];
};

/* A row of the table and one of positions, some columns of both. */
static void add_rows(const struct sdt_embedding *from, size_t token, size_t place, size_t columns,
                     enum sdt_dtype dtype, char *y) {
    enum { ROOM = 256 };
    float sum[ROOM], more[ROOM];
    for (size_t i = 0; i < columns; i += ROOM) {
        size_t n = columns - i < ROOM ? columns - i : ROOM;
        sdt_convert(from->dtype, n,
                    (const char *)from->table + (token + i) * sdt_dtype_size(from->dtype), sum);
        sdt_convert(from->place_dtype, n,
                    (const char *)from->place + (place + i) * sdt_dtype_size(from->place_dtype),
                    more);
        sdt_add(n, more, sum);
        sdt_convert_to(SDT_F32, n, sum, dtype, y + i * sdt_dtype_size(dtype));
    }
}

static void embed_cpu(void *buffers[], void *cl_arg) {
    const struct embed *a = sdt__task_args(cl_arg);
    if (!a)
        return;
    enum sdt_dtype dtype = sdt__dtype(buffers, a->y);
    char *y = sdt__pointer(buffers, a->y); /* [tokens, columns] */
    const struct sdt_embedding *from = &a->from;
    size_t columns = (size_t)a->columns, d = (size_t)from->d, first = (size_t)a->first;
    for (int t = 0; t < a->tokens; t++, y += columns * sdt_dtype_size(dtype)) {
        size_t token = (size_t)a->ids[t] * d + first;
        if (from->place)
            add_rows(from, token, (size_t)t * d + first, columns, dtype, y);
        else
            sdt_convert_to(from->dtype, columns,
                           (const char *)from->table + token * sdt_dtype_size(from->dtype), dtype,
                           y);
    }
}

struct starpu_codelet sdt__embed_codelet = {
    .name = "embed",
    SDT_ON_CPU(embed_cpu),
    .nbuffers = STARPU_VARIABLE_NBUFFERS,
    .model = &sdt__cost_model,
};

void sdt_insert_embed(struct sdt_flow *flow, const char *name,
                      const struct sdt_embedding *embedding, int first, int columns, int tokens,
                      const int32_t *ids, sdt_handle y) {
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
    a->from = *embedding;
    a->first = first;
    a->columns = columns;
    a->tokens = tokens;
    a->y = sdt__task_write(&task, y);
    memcpy(a->ids, ids, (size_t)tokens * sizeof *ids);
    sdt__task_submit(&task, &sdt__embed_codelet, name, 0.0,
                     (4.0 + sdt__element(y)) * tokens * columns, a,
                     sizeof *a + (size_t)tokens * sizeof *ids);
}

/* ---- sdt_insert_text_attention -------------------------------------------------------------- */

struct text_attention {
    int tokens, heads, e, first_head, table_heads;
    int q, k, v, bias, o, scratch;
};

static void text_attention_cpu(void *buffers[], void *cl_arg) {
    const struct text_attention *a = sdt__task_args(cl_arg);
    if (!a)
        return;
    sdt_text_attention(a->tokens, a->heads, a->e, sdt__floats(buffers, a->q),
                       sdt__floats(buffers, a->k), sdt__floats(buffers, a->v), a->first_head,
                       a->table_heads, sdt__floats(buffers, a->bias), sdt__floats(buffers, a->o),
                       sdt__floats(buffers, a->scratch));
}

#ifdef HAVE_CUDA
static void text_attention_cuda(void *buffers[], void *cl_arg) {
    const struct text_attention *a = sdt__task_args(cl_arg);
    if (!a)
        return;
    sdt__cuda_done(cl_arg, sdt_cuda_text_attention(
                               sdt__cuda(), sdt__dtype(buffers, a->q), a->tokens, a->heads, a->e,
                               sdt__pointer(buffers, a->q), sdt__pointer(buffers, a->k),
                               sdt__pointer(buffers, a->v), sdt__floats(buffers, a->bias),
                               sdt__pointer(buffers, a->o)));
}
#endif

struct starpu_codelet sdt__text_attention_codelet = {
    .name = "text_attention",
    SDT_ON_BOTH(text_attention_cpu, text_attention_cuda),
    .nbuffers = STARPU_VARIABLE_NBUFFERS,
    .model = &sdt__cost_models[SDT_CLASS_CROSS_ATTENTION],
};

void sdt_insert_text_attention(struct sdt_flow *flow, const char *name, int tokens, int heads,
                               int e, sdt_handle q, sdt_handle k, sdt_handle v, int first_head,
                               int table_heads, sdt_handle bias, sdt_handle o) {
    struct sdt_task task;
    sdt__task_begin(&task, flow);
    if (flow->place->kind == SDT_DEVICE_CUDA && heads != table_heads) {
        if (flow->error.status == SDT_OK)
            sdt_fail(&flow->error, SDT_ERROR_LIMIT, "%s: %d of %d heads; on GPUs all work together",
                     name, heads, table_heads);
        return;
    }
    size_t scratch = SDT_SCRATCH(flow->place->kind, sdt_text_attention_scratch(tokens, e), 0);
    struct text_attention a = {tokens,
                               heads,
                               e,
                               first_head,
                               table_heads,
                               .q = sdt__task_read(&task, q),
                               .k = sdt__task_read(&task, k),
                               .v = sdt__task_read(&task, v),
                               .bias = sdt__task_read(&task, bias),
                               .o = sdt__task_write(&task, o),
                               .scratch = scratch ? sdt__task_scratch(&task, scratch) : -1};
    double width = (double)heads * e;
    sdt__task_submit(&task, &sdt__text_attention_codelet, name, 4.0 * tokens * tokens * width,
                     4.0 * sdt__element(q) * tokens * width, &a, sizeof a);
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

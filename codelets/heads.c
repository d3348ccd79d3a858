/* Tokens <-> heads on one tile: the sending end of an all-to-all, and the merge after it. */
#include "codelets/codelets.h"
#include "runtime/cuda.h"

/* Most pieces a tile is cut into: one per device and head chunk. */
#define MAX_PIECES 512

/* ---- sdt_insert_split_heads ----------------------------------------------------------------- */

struct split {
    int rows, valid_rows, heads, e;
    float eps;
    struct sdt_rope rope;
    int64_t first_token;
    int x, norm, table;
    int pieces;
    int head[]; /* [pieces + 1], then [pieces] buffer indices */
};

static void split_cpu(void *buffers[], void *cl_arg) {
    const struct split *a = sdt__task_args(cl_arg);
    if (!a)
        return;
    const int *buffer = a->head + a->pieces + 1;
    float *y[MAX_PIECES];
    for (int p = 0; p < a->pieces; p++)
        y[p] = sdt__floats(buffers, buffer[p]);
    sdt_split_heads(a->rows, a->valid_rows, a->heads, a->e, sdt__floats(buffers, a->x),
                    sdt__floats(buffers, a->norm), a->eps, &a->rope, sdt__floats(buffers, a->table),
                    a->first_token, a->pieces, a->head, y);
}

#ifdef HAVE_CUDA
static void split_cuda(void *buffers[], void *cl_arg) {
    const struct split *a = sdt__task_args(cl_arg);
    if (!a)
        return;
    const int *buffer = a->head + a->pieces + 1;
    void *y[MAX_PIECES];
    for (int p = 0; p < a->pieces; p++)
        y[p] = sdt__pointer(buffers, buffer[p]);
    sdt__cuda_done(
        cl_arg, sdt_cuda_split_heads(
                    sdt__cuda(), sdt__dtype(buffers, a->x), a->rows, a->valid_rows, a->heads, a->e,
                    sdt__pointer(buffers, a->x), sdt__floats(buffers, a->norm), a->eps, &a->rope,
                    sdt__floats(buffers, a->table), a->first_token, a->pieces, a->head, y));
}
#endif

struct starpu_codelet sdt__split_heads_codelet = {
    .name = "split_heads",
    SDT_ON_BOTH(split_cpu, split_cuda),
    .nbuffers = STARPU_VARIABLE_NBUFFERS,
    .model = &sdt__cost_model,
};

void sdt_insert_split_heads(struct sdt_flow *flow, const char *name,
                            const struct sdt_split_heads *split, sdt_handle x, sdt_handle norm,
                            sdt_handle rope_table, const sdt_handle *pieces) {
    union {
        struct split a;
        char room[sizeof(struct split) + (2 * MAX_PIECES + 1) * sizeof(int)];
    } args;
    struct split *a = &args.a;
    struct sdt_task task;
    sdt__task_begin(&task, flow);
    if (split->pieces > MAX_PIECES) {
        if (flow->error.status == SDT_OK)
            sdt_fail(&flow->error, SDT_ERROR_LIMIT, "%d head chunks; at most %d are supported",
                     split->pieces, MAX_PIECES);
        return;
    }
    a->rows = split->rows;
    a->valid_rows = split->valid_rows;
    a->heads = split->heads;
    a->e = split->e;
    a->eps = split->eps;
    a->rope = split->rope;
    a->first_token = split->first_token;
    a->pieces = split->pieces;
    a->x = sdt__task_read(&task, x);
    a->norm = sdt__task_read(&task, norm);
    a->table = sdt__task_read(&task, rope_table);
    for (int p = 0; p <= a->pieces; p++)
        a->head[p] = split->head[p];
    int *buffer = a->head + a->pieces + 1;
    for (int p = 0; p < a->pieces; p++)
        buffer[p] = a->head[p] == a->head[p + 1] ? -1 : sdt__task_write(&task, pieces[p]);
    double count = (double)a->rows * a->heads * a->e;
    sdt__task_submit(&task, &sdt__split_heads_codelet, name, 10.0 * count,
                     2.0 * sdt__element(x) * count, a,
                     sizeof *a + (size_t)(2 * a->pieces + 1) * sizeof(int));
}

/* ---- sdt_insert_merge_heads ----------------------------------------------------------------- */

struct merge {
    int rows, heads, e;
    int y;
    int pieces;
    int head[]; /* [pieces + 1], then [pieces] buffer indices */
};

static void merge_cpu(void *buffers[], void *cl_arg) {
    const struct merge *a = sdt__task_args(cl_arg);
    if (!a)
        return;
    const int *buffer = a->head + a->pieces + 1;
    const float *x[MAX_PIECES];
    for (int p = 0; p < a->pieces; p++)
        x[p] = sdt__floats(buffers, buffer[p]);
    sdt_merge_heads(a->rows, a->heads, a->e, a->pieces, a->head, x, sdt__floats(buffers, a->y));
}

#ifdef HAVE_CUDA
static void merge_cuda(void *buffers[], void *cl_arg) {
    const struct merge *a = sdt__task_args(cl_arg);
    if (!a)
        return;
    const int *buffer = a->head + a->pieces + 1;
    const void *x[MAX_PIECES];
    for (int p = 0; p < a->pieces; p++)
        x[p] = sdt__pointer(buffers, buffer[p]);
    sdt__cuda_done(cl_arg,
                   sdt_cuda_merge_heads(sdt__cuda(), sdt__dtype(buffers, a->y), a->rows, a->heads,
                                        a->e, a->pieces, a->head, x, sdt__pointer(buffers, a->y)));
}
#endif

struct starpu_codelet sdt__merge_heads_codelet = {
    .name = "merge_heads",
    SDT_ON_BOTH(merge_cpu, merge_cuda),
    .nbuffers = STARPU_VARIABLE_NBUFFERS,
    .model = &sdt__cost_model,
};

void sdt_insert_merge_heads(struct sdt_flow *flow, const char *name, int rows, int heads, int e,
                            int pieces, const int *head, const sdt_handle *x, bool beside,
                            sdt_handle y) {
    union {
        struct merge a;
        char room[sizeof(struct merge) + (2 * MAX_PIECES + 1) * sizeof(int)];
    } args;
    struct merge *a = &args.a;
    struct sdt_task task;
    sdt__task_begin(&task, flow);
    if (pieces > MAX_PIECES) {
        if (flow->error.status == SDT_OK)
            sdt_fail(&flow->error, SDT_ERROR_LIMIT, "%d head chunks; at most %d are supported",
                     pieces, MAX_PIECES);
        return;
    }
    a->rows = rows;
    a->heads = heads;
    a->e = e;
    a->pieces = pieces;
    for (int p = 0; p <= pieces; p++)
        a->head[p] = head[p];
    int *buffer = a->head + pieces + 1;
    for (int p = 0; p < pieces; p++)
        buffer[p] = head[p] == head[p + 1] ? -1 : sdt__task_read(&task, x[p]);
    a->y = sdt__task_access(&task, y, beside ? STARPU_RW : STARPU_W);
    double count = (double)rows * (head[pieces] - head[0]) * e;
    sdt__task_submit(&task, &sdt__merge_heads_codelet, name, 0.0, 2.0 * sdt__element(y) * count, a,
                     sizeof *a + (size_t)(2 * pieces + 1) * sizeof(int));
}

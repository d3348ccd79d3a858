/* The receiving end of an all-to-all, and fetching ahead.
 *
 * A task at the owner reads every producer's piece: naming the pieces as its inputs is what
 * makes StarPU move them here, chunk by chunk, while other chunks are being computed. What it does
 * itself is to lay them out as attention reads keys, head by head and in token order
 * (gather), or nothing, where pieces are read as they are (receive). */
#include "codelets/codelets.h"
#include "runtime/cuda.h"

#include <string.h>

/* ---- sdt_insert_gather ----------------------------------------------------------------------- */

/* On a GPU, whose tiles are large; their pointers are collected on the worker's stack. */
#define MAX_CUDA_TILES 4096

struct gather {
    int tiles, heads;
    struct sdt_gather to;
};

static void gather_cpu(void *buffers[], void *cl_arg) {
    const struct gather *a = sdt__task_args(cl_arg);
    if (!a)
        return;
    float *y = sdt__floats(buffers, a->tiles); /* [heads, stride] */
    for (int t = 0; t < a->tiles; t++) {
        const float *x = sdt__floats(buffers, t); /* [heads, block] */
        size_t at = sdt_gather_at(&a->to, t), count = sdt_gather_count(&a->to, t);
        size_t piece = sdt_gather_piece(&a->to, t);
        for (int h = 0; count && h < a->heads; h++)
            memcpy(y + (size_t)h * a->to.stride + at, x + (size_t)h * piece, count * sizeof *y);
    }
}

#ifdef HAVE_CUDA
static void gather_cuda(void *buffers[], void *cl_arg) {
    const struct gather *a = sdt__task_args(cl_arg);
    const void *x[MAX_CUDA_TILES];
    if (!a)
        return;
    for (int t = 0; t < a->tiles; t++)
        x[t] = sdt__pointer(buffers, t);
    sdt__cuda_done(cl_arg, sdt_cuda_gather(sdt__cuda(), sdt__dtype(buffers, a->tiles), a->tiles,
                                           a->heads, &a->to, x, sdt__pointer(buffers, a->tiles)));
}
#endif

struct starpu_codelet sdt__gather_codelet = {
    .name = "gather",
    SDT_ON_BOTH(gather_cpu, gather_cuda),
    .nbuffers = STARPU_VARIABLE_NBUFFERS,
    .model = &sdt__cost_model,
};

static void insert_gather(struct sdt_flow *flow, const char *name, int tiles, int heads,
                          const struct sdt_gather *to, const sdt_handle *pieces, int stride,
                          sdt_handle y, bool whole) {
    struct sdt_task task;
    sdt__task_begin(&task, flow);
    if (flow->place->kind == SDT_DEVICE_CUDA && tiles > MAX_CUDA_TILES) {
        if (flow->error.status == SDT_OK)
            sdt_fail(&flow->error, SDT_ERROR_LIMIT, "%d token tiles; a GPU gathers at most %d",
                     tiles, MAX_CUDA_TILES);
        return;
    }
    for (int t = 0; t < tiles; t++)
        sdt__task_read(&task, pieces[t * stride]);
    if (whole)
        sdt__task_write(&task, y);
    else
        sdt__task_update(&task, y);
    struct gather a = {tiles, heads, *to};
    size_t copied = whole ? to->stride : (size_t)tiles * to->block;
    sdt__task_submit(&task, &sdt__gather_codelet, name, 0.0,
                     2.0 * sdt__element(y) * heads * (double)copied, &a, sizeof a);
}

void sdt_insert_gather(struct sdt_flow *flow, const char *name, int tiles, int heads,
                       const struct sdt_gather *to, const sdt_handle *pieces, int stride,
                       sdt_handle y) {
    insert_gather(flow, name, tiles, heads, to, pieces, stride, y, true);
}

void sdt_insert_gather_part(struct sdt_flow *flow, const char *name, int tiles, int heads,
                            const struct sdt_gather *to, const sdt_handle *pieces, int stride,
                            sdt_handle y) {
    insert_gather(flow, name, tiles, heads, to, pieces, stride, y, false);
}

/* ---- sdt_insert_copy_part -------------------------------------------------------------------- */

static void copy_part_cpu(void *buffers[], void *cl_arg) {
    const struct sdt_copy_part *a = sdt__task_args(cl_arg);
    if (!a)
        return;
    sdt_copy_part(a, sdt__floats(buffers, 0), sdt__floats(buffers, 1));
}

#ifdef HAVE_CUDA
static void copy_part_cuda(void *buffers[], void *cl_arg) {
    const struct sdt_copy_part *a = sdt__task_args(cl_arg);
    if (!a)
        return;
    sdt__cuda_done(cl_arg, sdt_cuda_copy_part(sdt__cuda(), sdt__dtype(buffers, 1), a,
                                              sdt__pointer(buffers, 0), sdt__pointer(buffers, 1)));
}
#endif

struct starpu_codelet sdt__copy_part_codelet = {
    .name = "copy_part",
    SDT_ON_BOTH(copy_part_cpu, copy_part_cuda),
    .nbuffers = STARPU_VARIABLE_NBUFFERS,
    .model = &sdt__cost_model,
};

void sdt_insert_copy_part(struct sdt_flow *flow, const char *name, const struct sdt_copy_part *part,
                          sdt_handle x, sdt_handle y, bool fresh) {
    struct sdt_task task;
    sdt__task_begin(&task, flow);
    sdt__task_read(&task, x);
    if (fresh)
        sdt__task_write(&task, y);
    else
        sdt__task_update(&task, y);
    sdt__task_submit(&task, &sdt__copy_part_codelet, name, 0.0,
                     2.0 * sdt__element(y) * part->heads * (double)part->count, part, sizeof *part);
}

/* ---- sdt_insert_receive ---------------------------------------------------------------------- */

static void receive_cpu(void *buffers[], void *cl_arg) {
    (void)buffers; /* they are here: that is all */
    (void)cl_arg;
}

struct starpu_codelet sdt__receive_codelet = {
    .name = "receive",
    SDT_ON_BOTH(receive_cpu, receive_cpu),
    .nbuffers = STARPU_VARIABLE_NBUFFERS,
    .model = &sdt__cost_model,
};

void sdt_insert_receive(struct sdt_flow *flow, const char *name, int count,
                        const sdt_handle *pieces, int stride) {
    struct sdt_task task;
    sdt__task_begin(&task, flow);
    for (int p = 0; p < count; p++)
        sdt__task_read(&task, pieces[p * stride]);
    sdt__task_submit(&task, &sdt__receive_codelet, name, 0.0, 0.0, NULL, 0);
}

/* ---- sdt_insert_prefetch --------------------------------------------------------------------- */

#define MAX_PREFETCHED 64

struct prefetch {
    int count;
    sdt_handle vector[MAX_PREFETCHED];
};

static void prefetch_here(void *buffers[], void *cl_arg) {
    const struct prefetch *a = sdt__task_args(cl_arg);
    unsigned node = starpu_worker_get_local_memory_node();
    (void)buffers;
    for (int i = 0; a && i < a->count; i++) {
        int allocated = 0, valid = 0, requested = 0;
        starpu_data_query_status(a->vector[i], STARPU_MAIN_RAM, &allocated, &valid, &requested);
        if (valid) /* StarPU aborts a program that fetches what no task has begun to write */
            starpu_data_prefetch_on_node(a->vector[i], node, 1);
    }
}

struct starpu_codelet sdt__prefetch_codelet = {
    .name = "prefetch",
    SDT_ON_BOTH(prefetch_here, prefetch_here),
    .nbuffers = STARPU_VARIABLE_NBUFFERS,
    .model = &sdt__cost_model,
};

void sdt_insert_prefetch(struct sdt_flow *flow, const char *name, sdt_handle after, int count,
                         const sdt_handle *vectors) {
    struct sdt_task task;
    struct prefetch a = {0};
    sdt__task_begin(&task, flow);
    sdt__task_read(&task, after);
    for (int i = 0; i < count && a.count < MAX_PREFETCHED; i++)
        if (vectors[i])
            a.vector[a.count++] = vectors[i];
    sdt__task_submit(&task, &sdt__prefetch_codelet, name, 0.0, 0.0, &a, sizeof a);
}

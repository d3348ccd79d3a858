/* Latents as tokens: cutting one into tiles, putting one back together, reordering patches. */
#include "codelets/codelets.h"
#include "runtime/cuda.h"

struct patchify {
    struct sdt_patch patch;
    int64_t first;
    int rows;
    int latent, tile;
};

static double values(const struct sdt_patch *patch, int rows) {
    return (double)rows * patch->channels * patch->size[0] * patch->size[1] * patch->size[2];
}

/* ---- sdt_insert_patchify -------------------------------------------------------------------- */

static void patchify_cpu(void *buffers[], void *cl_arg) {
    const struct patchify *a = sdt__task_args(cl_arg);
    if (!a)
        return;
    sdt_patchify(&a->patch, a->first, a->rows, sdt__floats(buffers, a->latent),
                 sdt__floats(buffers, a->tile));
}

#ifdef HAVE_CUDA
static void patchify_cuda(void *buffers[], void *cl_arg) {
    const struct patchify *a = sdt__task_args(cl_arg);
    if (!a)
        return;
    sdt__cuda_done(cl_arg, sdt_cuda_patchify(sdt__cuda(), sdt__dtype(buffers, a->tile), &a->patch,
                                             a->first, a->rows, sdt__floats(buffers, a->latent),
                                             sdt__pointer(buffers, a->tile)));
}
#endif

struct starpu_codelet sdt__patchify_codelet = {
    .name = "patchify",
    SDT_ON_BOTH(patchify_cpu, patchify_cuda),
    .nbuffers = STARPU_VARIABLE_NBUFFERS,
    .model = &sdt__cost_model,
};

void sdt_insert_patchify(struct sdt_flow *flow, const char *name, const struct sdt_patch *patch,
                         int64_t first, int rows, sdt_handle latent, sdt_handle y) {
    struct sdt_task task;
    sdt__task_begin(&task, flow);
    struct patchify a = {*patch, first, rows, sdt__task_read(&task, latent),
                         sdt__task_write(&task, y)};
    sdt__task_submit(&task, &sdt__patchify_codelet, name, 0.0,
                     (4.0 + sdt__element(y)) * values(patch, rows), &a, sizeof a);
}

/* ---- sdt_insert_unpatchify ------------------------------------------------------------------ */

static void unpatchify_cpu(void *buffers[], void *cl_arg) {
    const struct patchify *a = sdt__task_args(cl_arg);
    if (!a)
        return;
    sdt_unpatchify(&a->patch, a->first, a->rows, sdt__floats(buffers, a->tile),
                   sdt__floats(buffers, a->latent));
}

#ifdef HAVE_CUDA
static void unpatchify_cuda(void *buffers[], void *cl_arg) {
    const struct patchify *a = sdt__task_args(cl_arg);
    if (!a)
        return;
    sdt__cuda_done(cl_arg, sdt_cuda_unpatchify(sdt__cuda(), &a->patch, a->first, a->rows,
                                               sdt__floats(buffers, a->tile),
                                               sdt__floats(buffers, a->latent)));
}
#endif

struct starpu_codelet sdt__unpatchify_codelet = {
    .name = "unpatchify",
    SDT_ON_BOTH(unpatchify_cpu, unpatchify_cuda),
    .nbuffers = STARPU_VARIABLE_NBUFFERS,
    .model = &sdt__cost_model,
};

void sdt_insert_unpatchify(struct sdt_flow *flow, const char *name, const struct sdt_patch *patch,
                           int64_t first, int rows, sdt_handle x, sdt_handle latent) {
    struct sdt_task task;
    sdt__task_begin(&task, flow);
    struct patchify a = {*patch, first, rows, .tile = sdt__task_read(&task, x),
                         .latent = sdt__task_update(&task, latent)};
    sdt__task_submit(&task, &sdt__unpatchify_codelet, name, 0.0, 8.0 * values(patch, rows), &a,
                     sizeof a);
}

/* ---- sdt_insert_patch_order ----------------------------------------------------------------- */

struct patch_order {
    int rows, channels, patch;
    int x, y;
};

static void patch_order_cpu(void *buffers[], void *cl_arg) {
    const struct patch_order *a = sdt__task_args(cl_arg);
    if (!a)
        return;
    sdt_patch_order(a->rows, a->channels, a->patch, sdt__floats(buffers, a->x),
                    sdt__floats(buffers, a->y));
}

#ifdef HAVE_CUDA
static void patch_order_cuda(void *buffers[], void *cl_arg) {
    const struct patch_order *a = sdt__task_args(cl_arg);
    if (!a)
        return;
    sdt__cuda_done(cl_arg, sdt_cuda_patch_order(sdt__cuda(), sdt__dtype(buffers, a->x), a->rows,
                                                a->channels, a->patch, sdt__pointer(buffers, a->x),
                                                sdt__floats(buffers, a->y)));
}
#endif

struct starpu_codelet sdt__patch_order_codelet = {
    .name = "patch_order",
    SDT_ON_BOTH(patch_order_cpu, patch_order_cuda),
    .nbuffers = STARPU_VARIABLE_NBUFFERS,
    .model = &sdt__cost_model,
};

void sdt_insert_patch_order(struct sdt_flow *flow, const char *name, int rows, int channels,
                            int patch, sdt_handle x, sdt_handle y) {
    struct sdt_task task;
    sdt__task_begin(&task, flow);
    struct patch_order a = {rows, channels, patch, sdt__task_read(&task, x),
                            sdt__task_write(&task, y)};
    sdt__task_submit(&task, &sdt__patch_order_codelet, name, 0.0,
                     (4.0 + sdt__element(x)) * rows * channels * patch, &a, sizeof a);
}

/* GroupNorm over the frames of a clip: what a frame holds, what all frames do, and the norm of a
 * band. */
#include "codelets/codelets.h"
#include "runtime/cuda.h"

#include <stdlib.h>

size_t sdt__frame_moments_scratch(enum sdt_device_kind kind, int height, int channels) {
    (void)kind; /* without CUDA neither matters */
    (void)height;
    return SDT_SCRATCH(kind, sdt_frame_moments_scratch(channels),
                       sdt_cuda_frame_moments_scratch(height, channels));
}

/* ---- sdt_insert_frame_moments ---------------------------------------------------------------- */

struct frame_moments {
    int bands, band_rows, height, width, channels, groups;
    int x[SDT_MOST_CONV_BANDS], moments, scratch;
};

static void frame_moments_cpu(void *buffers[], void *cl_arg) {
    const struct frame_moments *a = sdt__task_args(cl_arg);
    if (!a)
        return;
    const float *x[SDT_MOST_CONV_BANDS];
    for (int b = 0; b < a->bands; b++)
        x[b] = sdt__floats(buffers, a->x[b]);
    sdt_frame_moments(a->bands, a->band_rows, a->height, a->width, a->channels, a->groups, x,
                      sdt__floats(buffers, a->moments), sdt__floats(buffers, a->scratch));
}

#ifdef HAVE_CUDA
static void frame_moments_cuda(void *buffers[], void *cl_arg) {
    const struct frame_moments *a = sdt__task_args(cl_arg);
    if (!a)
        return;
    /* whole frames: sdt_insert_frame_moments refuses others */
    sdt__cuda_done(cl_arg, sdt_cuda_frame_moments(sdt__cuda(), sdt__dtype(buffers, a->x[0]),
                                                  a->height, a->width, a->channels, a->groups,
                                                  sdt__pointer(buffers, a->x[0]),
                                                  sdt__floats(buffers, a->moments),
                                                  sdt__pointer(buffers, a->scratch)));
}
#endif

struct starpu_codelet sdt__frame_moments_codelet = {
    .name = "frame_moments",
    SDT_ON_BOTH(frame_moments_cpu, frame_moments_cuda),
    .nbuffers = STARPU_VARIABLE_NBUFFERS,
    .model = &sdt__cost_model,
};

void sdt_insert_frame_moments(struct sdt_flow *flow, const char *name, int bands, int band_rows,
                              int height, int width, int channels, int groups, const sdt_handle *x,
                              sdt_handle moments) {
    struct sdt_task task;
    sdt__task_begin(&task, flow);
    if (bands > SDT_MOST_CONV_BANDS || (flow->place->kind == SDT_DEVICE_CUDA && bands != 1)) {
        if (flow->error.status == SDT_OK)
            sdt_fail(&flow->error, SDT_ERROR_LIMIT,
                     "%s: a frame in %d bands; at most %d work, and on GPUs whole frames", name,
                     bands, SDT_MOST_CONV_BANDS);
        return;
    }
    struct frame_moments a = {bands, band_rows, height, width, channels, groups, .scratch = -1};
    for (int b = 0; b < SDT_MOST_CONV_BANDS; b++)
        a.x[b] = b < bands ? sdt__task_read(&task, x[b]) : -1;
    a.moments = sdt__task_write(&task, moments);
    a.scratch =
        sdt__task_scratch(&task, sdt__frame_moments_scratch(flow->place->kind, height, channels));
    double count = (double)height * width * channels;
    sdt__task_submit(&task, &sdt__frame_moments_codelet, name, 3.0 * count,
                     sdt__element(x[0]) * count, &a, sizeof a);
}

/* ---- sdt_insert_group_moments ---------------------------------------------------------------- */

struct group_moments {
    int frames, groups;
    double values;
    float eps;
    int scratch; /* [frames, groups, 2], on GPUs */
};

static void group_moments_cpu(void *buffers[], void *cl_arg) {
    const struct group_moments *a = sdt__task_args(cl_arg);
    const float *few[64], **x = few;
    if (!a)
        return;
    if (a->frames > 64 && !(x = malloc((size_t)a->frames * sizeof *x))) {
        sdt__task_fail(cl_arg, SDT_ERROR_MEMORY, "out of memory");
        return;
    }
    for (int t = 0; t < a->frames; t++)
        x[t] = sdt__floats(buffers, t);
    sdt_group_moments(a->frames, a->groups, a->values, a->eps, x, sdt__floats(buffers, a->frames));
    if (x != few)
        free(x);
}

#ifdef HAVE_CUDA
/* Frames are put together first: their pointers may be more than a kernel's arguments hold. */
static void group_moments_cuda(void *buffers[], void *cl_arg) {
    const struct group_moments *a = sdt__task_args(cl_arg);
    const void *few[64], **x = few;
    if (!a)
        return;
    if (a->frames > 64 && !(x = malloc((size_t)a->frames * sizeof *x))) {
        sdt__task_fail(cl_arg, SDT_ERROR_MEMORY, "out of memory");
        return;
    }
    for (int t = 0; t < a->frames; t++)
        x[t] = sdt__pointer(buffers, t);
    size_t block = 2 * (size_t)a->groups;
    const struct sdt_gather to = {.block = block, .stride = block * (size_t)a->frames};
    float *all = sdt__floats(buffers, a->scratch);
    enum sdt_status status = sdt_cuda_gather(sdt__cuda(), SDT_F32, a->frames, 1, &to, x, all);
    if (status == SDT_OK)
        status = sdt_cuda_group_moments(sdt__cuda(), a->frames, a->groups, a->values, a->eps, all,
                                        sdt__floats(buffers, a->frames));
    if (x != few)
        free(x);
    sdt__cuda_done(cl_arg, status);
}
#endif

struct starpu_codelet sdt__group_moments_codelet = {
    .name = "group_moments",
    SDT_ON_BOTH(group_moments_cpu, group_moments_cuda),
    .nbuffers = STARPU_VARIABLE_NBUFFERS,
    .model = &sdt__cost_model,
};

void sdt_insert_group_moments(struct sdt_flow *flow, const char *name, int frames, int groups,
                              double values, float eps, const sdt_handle *moments,
                              sdt_handle norm) {
    struct sdt_task task;
    sdt__task_begin(&task, flow);
    for (int t = 0; t < frames; t++)
        sdt__task_read(&task, moments[t]);
    sdt__task_write(&task, norm);
    struct group_moments a = {frames, groups, values, eps, -1};
    if (flow->place->kind == SDT_DEVICE_CUDA)
        a.scratch = sdt__task_scratch(&task, 2 * (size_t)frames * (size_t)groups * sizeof(float));
    sdt__task_submit(&task, &sdt__group_moments_codelet, name, 8.0 * frames * groups,
                     8.0 * frames * groups, &a, sizeof a);
}

/* ---- sdt_insert_group_norm ------------------------------------------------------------------- */

struct group_norm {
    size_t pixels;
    int channels, groups, silu;
    int x, norm, weight, bias, y;
};

static void group_norm_cpu(void *buffers[], void *cl_arg) {
    const struct group_norm *a = sdt__task_args(cl_arg);
    if (!a)
        return;
    sdt_group_norm(a->pixels, a->channels, a->groups, sdt__floats(buffers, a->x),
                   sdt__floats(buffers, a->norm), sdt__floats(buffers, a->weight),
                   sdt__floats(buffers, a->bias), a->silu, sdt__floats(buffers, a->y));
}

#ifdef HAVE_CUDA
static void group_norm_cuda(void *buffers[], void *cl_arg) {
    const struct group_norm *a = sdt__task_args(cl_arg);
    if (!a)
        return;
    sdt__cuda_done(cl_arg, sdt_cuda_group_norm(sdt__cuda(), sdt__dtype(buffers, a->x), a->pixels,
                                               a->channels, a->groups, sdt__pointer(buffers, a->x),
                                               sdt__floats(buffers, a->norm),
                                               sdt__floats(buffers, a->weight),
                                               sdt__floats(buffers, a->bias), a->silu,
                                               sdt__pointer(buffers, a->y)));
}
#endif

struct starpu_codelet sdt__group_norm_codelet = {
    .name = "group_norm",
    SDT_ON_BOTH(group_norm_cpu, group_norm_cuda),
    .nbuffers = STARPU_VARIABLE_NBUFFERS,
    .model = &sdt__cost_model,
};

void sdt_insert_group_norm(struct sdt_flow *flow, const char *name, size_t pixels, int channels,
                           int groups, bool silu, sdt_handle x, sdt_handle norm, sdt_handle weight,
                           sdt_handle bias, sdt_handle y) {
    struct sdt_task task;
    sdt__task_begin(&task, flow);
    struct group_norm a = {pixels,
                           channels,
                           groups,
                           silu,
                           .x = sdt__task_read(&task, x),
                           .norm = sdt__task_read(&task, norm),
                           .weight = sdt__task_read(&task, weight),
                           .bias = sdt__task_read(&task, bias),
                           .y = sdt__task_write(&task, y)};
    double count = (double)pixels * channels;
    sdt__task_submit(&task, &sdt__group_norm_codelet, name, 12.0 * count,
                     2.0 * sdt__element(x) * count, &a, sizeof a);
}

/* Between latents, VAE tiles and the video: windows in, frames out, seams blended. */
#include "codelets/codelets.h"
#include "runtime/cuda.h"

#include <string.h>

/* ---- sdt_insert_latent_window --------------------------------------------------------------- */

#define MAX_CHANNELS 256

struct window {
    struct sdt_window window;
    bool scaled;
    float std[MAX_CHANNELS], mean[MAX_CHANNELS];
    int latent, y;
};

static void window_cpu(void *buffers[], void *cl_arg) {
    const struct window *a = sdt__task_args(cl_arg);
    if (!a)
        return;
    sdt_latent_window(&a->window, sdt__floats(buffers, a->latent), a->scaled ? a->std : NULL,
                      a->scaled ? a->mean : NULL, sdt__floats(buffers, a->y));
}

#ifdef HAVE_CUDA
static void window_cuda(void *buffers[], void *cl_arg) {
    const struct window *a = sdt__task_args(cl_arg);
    if (!a)
        return;
    sdt__cuda_done(
        cl_arg, sdt_cuda_latent_window(sdt__cuda(), sdt__dtype(buffers, a->y), &a->window,
                                       sdt__floats(buffers, a->latent), a->scaled ? a->std : NULL,
                                       a->scaled ? a->mean : NULL, sdt__pointer(buffers, a->y)));
}
#endif

struct starpu_codelet sdt__latent_window_codelet = {
    .name = "latent_window",
    SDT_ON_BOTH(window_cpu, window_cuda),
    .nbuffers = STARPU_VARIABLE_NBUFFERS,
    .model = &sdt__cost_model,
};

void sdt_insert_latent_window(struct sdt_flow *flow, const char *name,
                              const struct sdt_window *window, const float *std, const float *mean,
                              sdt_handle latent, sdt_handle y) {
    struct sdt_task task;
    sdt__task_begin(&task, flow);
    if (window->channels > MAX_CHANNELS) {
        if (flow->error.status == SDT_OK)
            sdt_fail(&flow->error, SDT_ERROR_LIMIT, "%d latent channels; at most %d are supported",
                     window->channels, MAX_CHANNELS);
        return;
    }
    struct window a = {.window = *window,
                       .scaled = std && mean,
                       .latent = sdt__task_read(&task, latent),
                       .y = sdt__task_write(&task, y)};
    if (a.scaled) {
        memcpy(a.std, std, (size_t)window->channels * sizeof *std);
        memcpy(a.mean, mean, (size_t)window->channels * sizeof *mean);
    }
    double count = (double)window->nframes * window->rows * window->cols * window->channels;
    sdt__task_submit(&task, &sdt__latent_window_codelet, name, 2.0 * count,
                     (4.0 + sdt__element(y)) * count, &a, sizeof a);
}

/* ---- sdt_insert_put_frame ------------------------------------------------------------------- */

struct put_frame {
    size_t count, offset; /* floats */
    int x, out;
    bool clamp;
};

static void put_frame_cpu(void *buffers[], void *cl_arg) {
    const struct put_frame *a = sdt__task_args(cl_arg);
    if (!a)
        return;
    float *out = sdt__floats(buffers, a->out) + a->offset;
    memcpy(out, sdt__floats(buffers, a->x), a->count * sizeof *out);
    if (sdt_find_not_finite(a->count, out) < a->count) /* clamped, it would be black */
        sdt__task_not_finite(cl_arg);
    if (a->clamp)
        sdt_clamp_frames(a->count, out);
}

#ifdef HAVE_CUDA
static void put_frame_cuda(void *buffers[], void *cl_arg) {
    const struct put_frame *a = sdt__task_args(cl_arg);
    if (!a)
        return;
    sdt__cuda_done(cl_arg, sdt_cuda_put_frame(sdt__cuda(), sdt__dtype(buffers, a->x), a->count,
                                              a->clamp, sdt__pointer(buffers, a->x),
                                              sdt__floats(buffers, a->out) + a->offset));
    sdt__cuda_check_finite(cl_arg, sdt__dtype(buffers, a->x), a->count,
                           sdt__pointer(buffers, a->x));
}
#endif

struct starpu_codelet sdt__put_frame_codelet = {
    .name = "put_frame",
    SDT_ON_BOTH(put_frame_cpu, put_frame_cuda),
    .nbuffers = STARPU_VARIABLE_NBUFFERS,
    .model = &sdt__cost_model,
};

void sdt_insert_put_frame(struct sdt_flow *flow, const char *name, int height, int width, int frame,
                          int y0, int rows, bool clamp, sdt_handle x, sdt_handle out, bool first,
                          void (*done)(void *arg, int frame), void *done_arg) {
    struct sdt_task task;
    sdt__task_begin(&task, flow);
    size_t line = (size_t)width * 3, count = (size_t)rows * line;
    struct put_frame a = {.count = count,
                          .offset = ((size_t)frame * (size_t)height + (size_t)y0) * line,
                          .x = sdt__task_read(&task, x),
                          .out = sdt__task_access(&task, out, first ? STARPU_W : STARPU_RW),
                          .clamp = clamp};
    if (done)
        sdt__task_done(&task, done, done_arg, frame);
    sdt__task_submit(&task, &sdt__put_frame_codelet, name, 0.0,
                     (4.0 + sdt__element(x)) * (double)count, &a, sizeof a);
}

/* ---- sdt_insert_blend_rows, sdt_insert_blend_columns ---------------------------------------- */

struct blend {
    bool rows;
    int frames, across, extent, a_size, b_size;
    int a, b;
};

static void blend_cpu(void *buffers[], void *cl_arg) {
    const struct blend *a = sdt__task_args(cl_arg);
    if (!a)
        return;
    (a->rows ? sdt_blend_rows : sdt_blend_columns)(a->frames, a->across, a->extent, a->a_size,
                                                   sdt__floats(buffers, a->a), a->b_size,
                                                   sdt__floats(buffers, a->b));
}

#ifdef HAVE_CUDA
static void blend_cuda(void *buffers[], void *cl_arg) {
    const struct blend *a = sdt__task_args(cl_arg);
    if (!a)
        return;
    sdt__cuda_done(cl_arg, (a->rows ? sdt_cuda_blend_rows : sdt_cuda_blend_columns)(
                               sdt__cuda(), a->frames, a->across, a->extent, a->a_size,
                               sdt__floats(buffers, a->a), a->b_size, sdt__floats(buffers, a->b)));
}
#endif

struct starpu_codelet sdt__blend_codelet = {
    .name = "blend",
    SDT_ON_BOTH(blend_cpu, blend_cuda),
    .nbuffers = STARPU_VARIABLE_NBUFFERS,
    .model = &sdt__cost_model,
};

static void insert_blend(struct sdt_flow *flow, const char *name, struct blend args, sdt_handle a,
                         sdt_handle b) {
    struct sdt_task task;
    sdt__task_begin(&task, flow);
    args.a = sdt__task_read(&task, a);
    args.b = sdt__task_update(&task, b);
    double count = 3.0 * args.frames * args.across * args.extent;
    sdt__task_submit(&task, &sdt__blend_codelet, name, 3.0 * count, 12.0 * count, &args,
                     sizeof args);
}

void sdt_insert_blend_rows(struct sdt_flow *flow, const char *name, int frames, int width,
                           int extent, int a_rows, sdt_handle a, int b_rows, sdt_handle b) {
    insert_blend(flow, name, (struct blend){true, frames, width, extent, a_rows, b_rows, 0, 0}, a,
                 b);
}

void sdt_insert_blend_columns(struct sdt_flow *flow, const char *name, int frames, int rows,
                              int extent, int a_width, sdt_handle a, int b_width, sdt_handle b) {
    insert_blend(flow, name, (struct blend){false, frames, rows, extent, a_width, b_width, 0, 0}, a,
                 b);
}

/* ---- sdt_insert_place_tile ------------------------------------------------------------------ */

struct place_tile {
    struct sdt_place_tile place;
    int tile, video;
};

/* Floats of the video before the tile's first frame. */
static size_t first_frame(const struct sdt_place_tile *p) {
    return 3 * (size_t)p->frame0 * (size_t)p->height * (size_t)p->width;
}

static void place_tile_cpu(void *buffers[], void *cl_arg) {
    const struct place_tile *a = sdt__task_args(cl_arg);
    if (!a)
        return;
    const struct sdt_place_tile *p = &a->place;
    const float *tile = sdt__floats(buffers, a->tile); /* [frames, tile_rows, tile_cols, 3] */
    float *video = sdt__floats(buffers, a->video) + first_frame(p); /* [.., height, width, 3] */
    for (int t = 0; t < p->frames; t++)
        for (int y = 0; y < p->rows; y++) {
            size_t from = ((size_t)t * (size_t)p->tile_rows + (size_t)y) * (size_t)p->tile_cols;
            size_t to = ((size_t)t * (size_t)p->height + (size_t)(p->y0 + y)) * (size_t)p->width +
                        (size_t)p->x0;
            memcpy(video + 3 * to, tile + 3 * from, 3 * (size_t)p->cols * sizeof *video);
            if (p->clamp)
                sdt_clamp_frames(3 * (size_t)p->cols, video + 3 * to);
        }
}

#ifdef HAVE_CUDA
static void place_tile_cuda(void *buffers[], void *cl_arg) {
    const struct place_tile *a = sdt__task_args(cl_arg);
    if (!a)
        return;
    const struct sdt_place_tile *p = &a->place;
    sdt__cuda_done(cl_arg, sdt_cuda_place_tile(sdt__cuda(), p->frames, p->tile_rows, p->tile_cols,
                                               p->rows, p->cols, p->y0, p->x0, p->height, p->width,
                                               p->clamp, sdt__floats(buffers, a->tile),
                                               sdt__floats(buffers, a->video) + first_frame(p)));
}
#endif

struct starpu_codelet sdt__place_tile_codelet = {
    .name = "place_tile",
    SDT_ON_BOTH(place_tile_cpu, place_tile_cuda),
    .nbuffers = STARPU_VARIABLE_NBUFFERS,
    .model = &sdt__cost_model,
};

void sdt_insert_place_tile(struct sdt_flow *flow, const char *name,
                           const struct sdt_place_tile *place, sdt_handle tile, sdt_handle video) {
    struct sdt_task task;
    sdt__task_begin(&task, flow);
    struct place_tile a = {*place, sdt__task_read(&task, tile), sdt__task_update(&task, video)};
    sdt__task_submit(&task, &sdt__place_tile_codelet, name, 0.0,
                     24.0 * place->frames * place->rows * place->cols, &a, sizeof a);
}

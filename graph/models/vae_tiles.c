/* Spatial tiles of a decode, and the rules of a job. */
#include "graph/models/vae_tiles.h"

static int at_most(int a, int b) { return a < b ? a : b; }

struct vae_tiling sdt__vae_tiling(const struct sdt_vae *vae, const struct sdt_vae_job *job) {
    int ratio = vae->space_ratio;
    struct vae_tiling t = {.size_rows = job->tiling.size_rows / ratio,
                           .size_cols = job->tiling.size_cols / ratio,
                           .stride_rows = job->tiling.stride_rows / ratio,
                           .stride_cols = job->tiling.stride_cols / ratio};
    if (!job->tiling.size_rows || (job->height <= t.size_rows && job->width <= t.size_cols))
        return (struct vae_tiling){1, 1, job->height, job->width, job->height, job->width};
    t.rows = (job->height + t.stride_rows - 1) / t.stride_rows;
    t.cols = (job->width + t.stride_cols - 1) / t.stride_cols;
    return t;
}

struct vae_tile sdt__vae_tile(const struct vae_tiling *t, const struct sdt_vae_job *job, int n) {
    int y0 = n / t->cols * t->stride_rows, x0 = n % t->cols * t->stride_cols;
    return (struct vae_tile){y0, x0, at_most(t->size_rows, job->height - y0),
                             at_most(t->size_cols, job->width - x0)};
}

int sdt__vae_next_device(const struct sdt_place *place, int devices, int *tiles) {
    int best = 0;
    for (int d = 1; d < devices; d++)
        if ((tiles[d] + 1) / sdt__vae_speed(&place[d]) <
            (tiles[best] + 1) / sdt__vae_speed(&place[best]))
            best = d;
    tiles[best]++;
    return best;
}

/* STARPU_SUBALLOCATOR: arrays of up to an eighth of a block share it. */
#define STARPU_BLOCK 33554432.0

double sdt__vae_ends_bytes(const struct sdt_vae *vae, const struct sdt_vae_job *job,
                           enum sdt_device_kind kind, bool puts, int rows, int cols, int blocks) {
    double latents = (double)job->frames * job->height * job->width;
    double pixels = (double)rows * cols * vae->space_ratio * vae->space_ratio;
    if (kind == SDT_DEVICE_CPU)
        return 0.0;
    return blocks * STARPU_BLOCK +
           sizeof(float) * (latents * vae->channels + (puts ? 2.0 * 3.0 * pixels : 0.0));
}

enum sdt_status sdt__vae_check(const struct sdt_vae *vae, const struct sdt_vae_job *job,
                               struct sdt_error *err) {
    const struct sdt_vae_tiling *t = &job->tiling;
    int ratio = vae->space_ratio;

    if (job->frames < 1 || job->height < 1 || job->width < 1 ||
        (double)job->frames * job->height * job->width > 1e9)
        return sdt_fail(err, SDT_ERROR_USAGE,
                        "a latent of %d frames of %dx%d (height x width) cannot be decoded",
                        job->frames, job->height, job->width);
    if (!t->size_rows && !t->size_cols)
        return SDT_OK;
    if (t->size_rows < ratio || t->size_cols < ratio || t->stride_rows < ratio ||
        t->stride_cols < ratio || t->stride_rows > t->size_rows || t->stride_cols > t->size_cols ||
        t->size_rows % ratio || t->size_cols % ratio || t->stride_rows % ratio ||
        t->stride_cols % ratio)
        return sdt_fail(err, SDT_ERROR_USAGE,
                        "VAE tiles of %dx%d pixels (--tile-size) at a stride of %dx%d "
                        "(--tile-stride): all four "
                        "must be multiples of %d, and the stride at most the size",
                        t->size_rows, t->size_cols, t->stride_rows, t->stride_cols, ratio);
    return SDT_OK;
}

void sdt__vae_frame_done(void *arg, int frame) {
    struct vae_progress *progress = arg;
    (void)frame;
    int done = atomic_fetch_add(&progress->done, 1) + 1;
    if (progress->call)
        progress->call(progress->arg, done, progress->total);
}

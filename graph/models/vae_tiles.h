/* Spatial tiles of a decode: how a latent is cut, which device takes which, and how far it is. */
#ifndef STARDIT_VAE_TILES_H
#define STARDIT_VAE_TILES_H

#include <stdatomic.h>

#include "graph/models/family.h"

/* How a latent of height x width is cut: tile (i, j) starts at (i stride_rows, j stride_cols), in
 * latents. */
struct vae_tiling {
    int rows, cols; /* tiles */
    int size_rows, size_cols, stride_rows, stride_cols;
};
struct vae_tiling sdt__vae_tiling(const struct sdt_vae *vae, const struct sdt_vae_job *job);

/* Latents, [rows, cols], of tile n; the last ones of a row or column may be smaller. */
struct vae_tile {
    int y0, x0, rows, cols;
};
struct vae_tile sdt__vae_tile(const struct vae_tiling *t, const struct sdt_vae_job *job, int n);

/* Floats of a decoded tile. */
static inline size_t sdt__vae_tile_values(int frames, int rows, int cols) {
    return (size_t)frames * (size_t)rows * (size_t)cols * 3;
}

/* A place's speed; 1 where none is known. */
static inline double sdt__vae_speed(const struct sdt_place *place) {
    return place->speed > 0.0 ? place->speed : 1.0;
}

/* The device that would end one more tile first; counts it. */
int sdt__vae_next_device(const struct sdt_place *place /* [devices] */, int devices,
                         int *tiles /* [devices] so far */);

/* Frames of all tiles, which end on any worker. */
struct vae_progress {
    atomic_int done;
    int total;
    sdt_frame_done call; /* or NULL */
    void *arg;
};
/* A frame has ended: for the tasks of a decode, arg a struct vae_progress. */
void sdt__vae_frame_done(void *arg, int frame);

/* What a GPU that decodes tiles of up to rows x cols latents holds beside weights, frames between
 * layers and work space: the latent, frames that become float32 before they travel to the host
 * (`puts`: it writes the video itself), and blocks in which StarPU has arrays that are small, of
 * which more than one has room left where they come and go. 0 on CPUs, which use the host's latent
 * and video where they are. */
double sdt__vae_ends_bytes(const struct sdt_vae *vae, const struct sdt_vae_job *job,
                           enum sdt_device_kind kind, bool puts, int rows, int cols, int blocks);

/* Are the latent and the tiles of a size that can be decoded? */
enum sdt_status sdt__vae_check(const struct sdt_vae *vae, const struct sdt_vae_job *job,
                               struct sdt_error *err);
#endif

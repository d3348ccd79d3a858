/* The decoder of Wan 2.1 as the layers that a frame passes, for those who make one of them each:
 * tensors to check (wan_vae.c), tasks (wan_vae_decode.c), figures (wan_vae_predict.c). What all
 * of them must see alike stands here: the layers, their devices, tiles, bands and pools. */
#ifndef STARDIT_WAN_VAE_H
#define STARDIT_WAN_VAE_H

#include "graph/models/family.h"

#define WAN_VAE_MAX_BLOCKS 8
#define WAN_VAE_MAX_CHANNELS 256 /* of the latent */

struct wan_vae {
    struct sdt_vae vae;
    int base_dim, z_dim, blocks, res_blocks;
    int multiplier[WAN_VAE_MAX_BLOCKS];
    bool upsample_time[WAN_VAE_MAX_BLOCKS]; /* of up block i */
    float mean[WAN_VAE_MAX_CHANNELS], std[WAN_VAE_MAX_CHANNELS];
};

static inline const struct wan_vae *sdt__wan_vae_of(const struct sdt_vae *vae) {
    return (const struct wan_vae *)vae;
}

/* Names of tensors that stand apart in other programs' files. */
#define WAN_VAE_LATENT_CONV "post_quant_conv"
#define WAN_VAE_MIDDLE "decoder.mid_block."
#define WAN_VAE_UP_BLOCK "decoder.up_blocks.%d."
#define WAN_VAE_RESNET "resnets.%d."
#define WAN_VAE_UPSAMPLER "upsamplers.0."

/* ---- layers ---------------------------------------------------------------------------------- */

/* Frames of an edge that are there at a time: three that are looked at, or two that come together
 * and the one before. */
enum { WAN_MOST_FRAMES = 4 };

/* An edge carries the frames between two layers, of which a layer that looks back sees the last
 * three. A frame is a handle for each band of rows, or, where the next layer reads it whole,
 * one. */
struct wan_edge {
    int channels;
    bool whole;                /* one band, on any device */
    int space;                 /* pixels per latent, each way: 1, 2, 4, 8 */
    int window;                /* frames that its readers look at: 1 or 3 */
    int alias;                 /* edge whose frame 0 is this edge's frame 0; -1: none */
    int bands;                 /* of a frame of the tile at hand */
    int device;                /* of the job's, that writes it */
    bool away;                 /* another device reads it */
    int last;                  /* the last layer that reads a frame */
    int pool;                  /* of which its frames are */
    int slot[WAN_MOST_FRAMES]; /* frame t is in slot[t % WAN_MOST_FRAMES]; -1: none */
};

/* Memory for frames, shared by all edges whose frames are alike and come from one device. A slot
 * holds a frame that is looked back at or worked on. Spare ones rest, so that a new frame need not
 * wait for the last tasks of the one that had its slot. */
struct wan_pool {
    int channels, space, device;
    bool whole, away;   /* as the edges */
    int edges;          /* that share it */
    int spare;          /* slots that rest before the first of them is used again */
    int slots, idle;    /* that there are; of them, without a frame */
    int *queue;         /* [idle] those, first the one that has rested longest */
    sdt_handle *handle; /* [slots, room]; NULL where memory is only predicted */
};

enum wan_layer_kind { WAN_WINDOW, WAN_CONV, WAN_NORM, WAN_ATTEND, WAN_TIME, WAN_PUT };

struct wan_layer {
    enum wan_layer_kind kind;
    char name[96];           /* tensor prefix: "decoder.conv_in" */
    int in, residual, out;   /* edges; residual -1: none */
    struct sdt_conv conv;    /* CONV: channels and kernel; height and width filled per tile */
    bool flat;               /* the weight has no time axis: Conv2d, norm of images */
    bool silu;               /* NORM */
    int time;                /* frames per latent frame after the first: 1, 2, 4 */
    double flops;            /* per latent frame, per latent pixel (attention: linear part) */
    int device;              /* of the job's */
    sdt_handle weight, bias; /* gamma in weight */
};

/* All layers, in the order in which a frame passes. */
struct wan_layers {
    struct wan_layer *layer;
    struct wan_edge *edge;
    struct wan_pool *pool;
    int layers, edges, pools, layers_capacity, edges_capacity;
    int room;                 /* bands of a frame of the largest tile */
    bool failed;              /* out of memory */
    struct wan_layer nowhere; /* written to, never read, after a failure */
};

void sdt__wan_layers_init(struct wan_layers *all, const struct wan_vae *vae);
void sdt__wan_layers_clear(struct wan_layers *all); /* submitted tasks may still use the handles */

/* Contiguous stages over `devices` devices, in proportion to their speeds, or everything on one
 * (only >= 0). */
void sdt__wan_layers_place(struct wan_layers *all, const struct sdt_place *place /* [devices] */,
                           int devices, int only);

/* ---- tiles, bands ---------------------------------------------------------------------------- */

/* How a latent of height x width is cut: tile (i, j) starts at (i stride_rows, j stride_cols), in
 * latents. */
struct wan_tiling {
    int rows, cols; /* tiles */
    int size_rows, size_cols, stride_rows, stride_cols;
};
struct wan_tiling sdt__wan_tiling(const struct wan_vae *vae, const struct sdt_vae_job *job);

/* Latents, [rows, cols], of tile n; the last ones of a row or column may be smaller. */
struct wan_tile {
    int y0, x0, rows, cols;
};
struct wan_tile sdt__wan_tile(const struct wan_tiling *t, const struct sdt_vae_job *job, int n);

/* Floats of a decoded tile. */
static inline size_t sdt__wan_tile_values(int frames, int rows, int cols) {
    return (size_t)frames * (size_t)rows * (size_t)cols * 3;
}

/* The device that would end one more tile first; counts it. */
int sdt__wan_next_device(const struct sdt_place *place /* [devices] */, int devices,
                         int *tiles /* [devices] so far */);

/* Latent rows of a band, of `rows` in a frame. On CPUs a frame is cut for all workers of a device,
 * so that one frame keeps them busy; bits do not depend on it. */
int sdt__wan_band_rows(const struct sdt_vae_job *job, int rows);

/* ---- pools (wan_vae_pools.c) ----------------------------------------------------------------- */

/* Frames of an edge that workers need beside those that are looked at, so as not to wait for one
 * another. The bands of one frame keep all workers of a single device busy; whole frames and stages
 * need several. */
int sdt__wan_more_frames(const struct sdt_vae_job *job, int rows);
/* Pools for tiles of up to so many rows of latents, once layers have devices; without slots. room:
 * bands of a frame, 0 to predict. Sets all->failed where there is no memory. */
void sdt__wan_pools_init(struct wan_layers *all, const struct sdt_vae_job *job, int rows, int room);
/* A slot for frame t of an edge, which a layer is about to write. The pool, if the slot is a new
 * one, its last; else NULL. */
struct wan_pool *sdt__wan_take_slot(struct wan_layers *all, int edge, int t);
/* After the tasks of frame t of a layer: slots of frames that no layer reads again. */
void sdt__wan_retire(struct wan_layers *all, int layer, int t);
/* No edge has a frame any more. */
void sdt__wan_retire_all(struct wan_layers *all);
/* Takes and retires what frame t of a tile does on its way. */
void sdt__wan_rehearse(struct wan_layers *all, int t);

/* ---- what the layers are for ----------------------------------------------------------------- */

/* The functions of struct sdt_vae_kind (family.h). */
enum sdt_status sdt__wan_vae_check(const struct sdt_vae *vae, const struct sdt_vae_job *job,
                                   struct sdt_error *err);
enum sdt_status sdt__wan_vae_decode(struct sdt_flow *flow, struct sdt_vae *vae,
                                    struct sdt_machine *machine, const struct sdt_vae_job *job,
                                    sdt_handle latent, sdt_handle video, struct sdt_error *err);
double sdt__wan_vae_flops(const struct sdt_vae *vae, const struct sdt_vae_job *job);
void sdt__wan_vae_operations(const struct sdt_vae *vae, const struct sdt_vae_job *job, int devices,
                             struct sdt_operations *list);
double sdt__wan_vae_bytes(const struct sdt_vae *vae, const struct sdt_vae_job *job, int devices,
                          int device);
#endif

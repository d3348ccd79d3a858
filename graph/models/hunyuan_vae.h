/* HunyuanVideo's decoder as the layers that the frames of a tile pass, for those who make one of
 * them each: tensors to check (hunyuan_vae.c), tasks (hunyuan_vae_decode.c), figures
 * (hunyuan_vae_predict.c). What all of them must see alike stands here: tiles, layers, and the
 * order in which frames pass.
 *
 * A norm is over all frames of a tile, so none passes it before the last one has come: norms cut
 * the list into segments. Within a segment frames follow one another, and what is not looked at any
 * more gives its memory to a later one; at the end of a segment all frames wait. */
#ifndef STARDIT_HUNYUAN_VAE_H
#define STARDIT_HUNYUAN_VAE_H

#include "graph/models/family.h"
#include "graph/models/vae_tiles.h"

#define HUNYUAN_VAE_MAX_BLOCKS 8
#define HUNYUAN_VAE_MAX_CHANNELS 256 /* of the latent */

struct hunyuan_vae {
    struct sdt_vae vae;
    int blocks, resnets;                                              /* up blocks; of each */
    int groups;                                                       /* of every norm */
    int channels[HUNYUAN_VAE_MAX_BLOCKS];                             /* of up block i */
    bool space[HUNYUAN_VAE_MAX_BLOCKS], time[HUNYUAN_VAE_MAX_BLOCKS]; /* doubled behind it */
    bool attention;
    float scale[HUNYUAN_VAE_MAX_CHANNELS], shift[HUNYUAN_VAE_MAX_CHANNELS]; /* of the latent */
};

static inline const struct hunyuan_vae *sdt__hunyuan_vae_of(const struct sdt_vae *vae) {
    return (const struct hunyuan_vae *)vae;
}

#define HUNYUAN_VAE_EPS 1e-6f

/* ---- tiles ----------------------------------------------------------------------------------- */

/* How a latent is cut: in time into tiles of `size` latents every `stride`, whose first frame is
 * dropped but in the first one, and each of these in space. All tiles of one time follow one
 * another. */
struct hunyuan_tiling {
    int times, size, stride;
    struct vae_tiling space;
    int tiles; /* in all */
};
struct hunyuan_tiling sdt__hunyuan_tiling(const struct sdt_vae *vae, const struct sdt_vae_job *job);

struct hunyuan_tile {
    int frame0, frames; /* of the latent */
    struct vae_tile space;
};
struct hunyuan_tile sdt__hunyuan_tile(const struct hunyuan_tiling *t, const struct sdt_vae_job *job,
                                      int n);

/* Frames of the video that a tile gives: all that are decoded, but for a first one that is
 * dropped. */
int sdt__hunyuan_tile_frames(const struct sdt_vae *vae, const struct hunyuan_tile *tile);

/* Latent rows of a band of a tile of `rows`. On CPUs a frame is cut for all workers of its device,
 * so that one frame keeps them busy; bits do not depend on it. */
int sdt__hunyuan_band_rows(const struct sdt_vae_job *job, int device, int rows);

/* ---- layers ---------------------------------------------------------------------------------- */

/* An edge carries the frames between layers. A frame is a handle for each band of rows, or, where a
 * layer reads it whole, one. */
struct hunyuan_edge {
    int channels, space; /* pixels per latent, each way: 1, 2, 4, 8 */
    int time;            /* frames per latent after the first: 1, 2, 4 */
    bool whole;          /* one band */
    int last;            /* the last layer that reads it */
    int back;            /* frames before its own that this layer looks back at */
    int pool;            /* of which its frames are */
    int given_back;      /* frames that no layer reads any more */
    int *slot;           /* [frames of the largest tile]; -1: none */
};

/* Memory for frames, shared by all edges whose frames are of one size. A slot holds a frame that is
 * still read. Some rest, so that a new frame need not wait for the last tasks of the one that had
 * its slot. */
struct hunyuan_pool {
    int values; /* of a frame, for each latent pixel */
    bool whole;
    int last;  /* the last layer that uses it */
    int spare; /* slots that rest before the first of them is used again */
    int slots, idle, capacity;
    int *queue;         /* [idle], first the one that has rested longest */
    sdt_handle *handle; /* [capacity, room]; NULL where memory is only predicted */
};

enum hunyuan_layer_kind {
    HUNYUAN_WINDOW,  /* out of the latent */
    HUNYUAN_CONV,    /* also a matrix over a pixel's channels */
    HUNYUAN_MOMENTS, /* ends a segment: what the norm of `in` needs to know of all frames */
    HUNYUAN_NORM,
    HUNYUAN_KEYS, /* ends a segment: keys `in` and values `beside` of all frames together */
    HUNYUAN_ATTEND,
    HUNYUAN_PUT
};

struct hunyuan_layer {
    enum hunyuan_layer_kind kind;
    char name[96];        /* tensor prefix: "decoder.conv_in.conv" */
    int in, beside, out;  /* edges; beside: what is added, or values; -1: none */
    struct sdt_conv conv; /* CONV: channels and kernel; height and width filled per tile */
    bool matrix;          /* the weight is [out, in] */
    bool silu;            /* NORM */
    int repeat;           /* CONV: 2 if it sees each frame but the first twice */
    int time;             /* of the frames that it is called for, as an edge's */
    double flops;         /* of one of these, per latent pixel (attention: none) */
    sdt_handle weight, bias;
};

/* What happens on the way of a tile's frames; each may be NULL. */
struct hunyuan_visit {
    void *arg;
    void (*frame)(void *arg, int layer, int t);                   /* of the frame that comes out */
    void (*end)(void *arg, int layer);                            /* of a segment */
    void (*slot)(void *arg, struct hunyuan_pool *pool, int slot); /* a new one */
    void (*clear)(void *arg, struct hunyuan_pool *pool);          /* its slots go */
};

/* All layers, in the order in which a frame passes. */
struct hunyuan_layers {
    struct hunyuan_layer *layer;
    struct hunyuan_edge *edge;
    struct hunyuan_pool *pool;
    int layers, edges, pools, layers_capacity, edges_capacity;
    int room;                     /* bands of a frame */
    int frames;                   /* of the latent, of the tile at hand */
    bool failed;                  /* out of memory */
    struct hunyuan_layer nowhere; /* written to, never read, after a failure */
};

void sdt__hunyuan_layers_init(struct hunyuan_layers *all, const struct hunyuan_vae *vae);
/* Ends no handle: sdt__hunyuan_clear_pools does. */
void sdt__hunyuan_layers_clear(struct hunyuan_layers *all);

/* Memory for tiles of at most `frames` latents, in frames of `bands` bands; in_flight: frames that
 * workers need beside those that are looked at, so as not to wait for one another. */
void sdt__hunyuan_pools_init(struct hunyuan_layers *all, int frames, int bands, int in_flight,
                             bool handles);
/* Of the largest tile on a device of the job's. */
int sdt__hunyuan_in_flight(const struct sdt_vae_job *job, int device, int bands);
void sdt__hunyuan_clear_pools(struct hunyuan_layers *all, const struct hunyuan_visit *visit);

static inline int sdt__hunyuan_frames(int time, int latents) { return time * (latents - 1) + 1; }

/* Sends all frames of the tile at hand through the segment that begins with layer `first`; the
 * layer behind it, where the next segment begins, or all->layers. */
int sdt__hunyuan_pass(struct hunyuan_layers *all, int first, const struct hunyuan_visit *visit);

/* The frame of a convolution's input that its frame `t` sees as frame `i` of the kernel. */
int sdt__hunyuan_source(const struct hunyuan_layer *l, int t, int i);

/* ---- what the layers are for ----------------------------------------------------------------- */

/* The functions of struct sdt_vae_kind (family.h). */
enum sdt_status sdt__hunyuan_vae_decode(struct sdt_flow *flow, struct sdt_vae *vae,
                                        struct sdt_machine *machine, const struct sdt_vae_job *job,
                                        sdt_handle latent, sdt_handle video, struct sdt_error *err);
double sdt__hunyuan_vae_flops(const struct sdt_vae *vae, const struct sdt_vae_job *job);
void sdt__hunyuan_vae_operations(const struct sdt_vae *vae, const struct sdt_vae_job *job,
                                 int devices, struct sdt_operations *list);
double sdt__hunyuan_vae_bytes(const struct sdt_vae *vae, const struct sdt_vae_job *job, int devices,
                              int device);
#endif

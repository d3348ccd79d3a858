/* Video decoders whose layers look at a frame, two before it, or one after it: frames are streamed
 * through a list of layers, and tasks (frame, layer) form a wavefront, so that memory does not grow
 * with the length.
 *
 * A kind of decoder writes the list (wavefront_layers.c has the pieces). Everyone else reads it:
 * tensors to check, tasks (wavefront_decode.c), memory of frames (wavefront_pools.c), figures
 * (wavefront_predict.c). */
#ifndef STARDIT_WAVEFRONT_H
#define STARDIT_WAVEFRONT_H

#include "graph/models/family.h"
#include "graph/models/vae_tiles.h"

#define WAVEFRONT_CHANNELS 256 /* of the latent, at most */

struct wavefront;

/* An opened decoder of this sort. The first member of what a kind allocates. */
struct wavefront_vae {
    struct sdt_vae vae;
    void (*list)(struct wavefront *all, const struct wavefront_vae *vae); /* adds all layers */
    bool clamps; /* the model itself, to -1..1 */
    float mean[WAVEFRONT_CHANNELS], std[WAVEFRONT_CHANNELS];
};

static inline const struct wavefront_vae *sdt__wavefront_of(const struct sdt_vae *vae) {
    return (const struct wavefront_vae *)vae;
}

/* ---- layers ---------------------------------------------------------------------------------- */

/* Frames of an edge that may be there at a time. */
enum { WAVEFRONT_FRAMES = 8 };

/* An edge carries the frames between layers. A frame is a handle for each band of rows, or, where a
 * layer reads it whole, one. */
struct frame_edge {
    int channels;
    bool whole;                 /* one band, on any device */
    int space;                  /* pixels per latent, each way: 1, 2, 4, 8 */
    int alias;                  /* edge whose frame 0 is this edge's frame 0; -1: none */
    int bands;                  /* of a frame of the tile at hand */
    int device;                 /* of the job's, that writes it */
    bool away;                  /* another device reads it */
    int writer;                 /* the last layer that writes its frames */
    int pool;                   /* of which its frames are */
    int kept, taken;            /* frames kept..taken-1 have slots */
    int slot[WAVEFRONT_FRAMES]; /* frame t is in slot[t % WAVEFRONT_FRAMES]; -1: none */
};

/* Memory for frames, shared by all edges whose frames are alike and come from one device. A slot
 * holds a frame that is looked back at or worked on. Spare ones rest, so that a new frame need not
 * wait for the last tasks of the one that had its slot. */
struct frame_pool {
    int channels, space, device;
    bool whole, away;   /* as the edges */
    int edges;          /* that share it */
    int spare;          /* slots that rest before the first of them is used again */
    int slots, idle;    /* that there are; of them, without a frame */
    int *queue;         /* [idle] those, first the one that has rested longest */
    sdt_handle *handle; /* [slots, room]; NULL where memory is only predicted */
};

enum frame_layer_kind {
    FRAME_WINDOW,     /* out of the latent */
    FRAME_CONV,       /* beside: what is added to the result */
    FRAME_NORM,       /* sdt_channel_norm */
    FRAME_LAYER_NORM, /* sdt_channel_layer_norm */
    FRAME_ATTEND,     /* over the pixels of a frame; beside: keys and values, or nothing */
    FRAME_TIME,    /* two frames out of each but the first, which passes by (sdt_time_upsample) */
    FRAME_LINEAR,  /* interpolated in time between all frames but the first, and in space */
    FRAME_HAAR_2D, /* beside: what is added to the first band */
    FRAME_HAAR_3D, /* the same; two frames out of each but the first */
    FRAME_PUT      /* into the video */
};

enum { FRAME_INPUTS = 3 };

struct frame_layer {
    enum frame_layer_kind kind;
    char name[96]; /* tensor prefix: "decoder.conv_in" */
    int in
        [FRAME_INPUTS]; /* edges, -1: none; the others than the first are read at the same frame */
    int from[FRAME_INPUTS];  /* the layers that write what is read there */
    int out;                 /* edge; a norm may work in place */
    struct sdt_conv conv;    /* CONV: channels and kernel; height and width filled per tile */
    int first, rows;         /* CONV: its output channels are those from `first` on, of `rows` */
    bool repeats;            /* CONV: before the clip stands its first frame, not zeros */
    bool flat;               /* the weight has no time axis: Conv2d, norm of images */
    bool silu;               /* norms */
    float eps;               /* LAYER_NORM */
    int time;                /* steps per latent frame after the first: 1, 2, 4 */
    double flops;            /* per latent frame, per latent pixel (attention: linear part) */
    int device;              /* of the job's */
    int next;                /* step; those before have been inserted */
    sdt_handle weight, bias; /* gamma in weight */
};

/* All layers, each behind those that it reads from. */
struct wavefront {
    struct frame_layer *layer;
    struct frame_edge *edge;
    struct frame_pool *pool;
    int layers, edges, pools, layers_capacity, edges_capacity;
    int frames;                 /* of the latent */
    int room;                   /* bands of a frame of the largest tile */
    bool failed;                /* out of memory */
    struct frame_layer nowhere; /* written to, never read, after a failure */
};

void sdt__wavefront_init(struct wavefront *all, const struct wavefront_vae *vae, int frames);
void sdt__wavefront_clear(struct wavefront *all); /* submitted tasks may still use the handles */

/* Contiguous stages over `devices` devices, in proportion to their speeds, or everything on one
 * (only >= 0). */
void sdt__wavefront_place(struct wavefront *all, const struct sdt_place *place /* [devices] */,
                          int devices, int only);

/* ---- pieces of a list ------------------------------------------------------------------------ */

/* Where in the list the next layer stands. */
struct wavefront_at {
    struct wavefront *all;
    int time;           /* frames per latent frame after the first */
    const char *prefix; /* of the names of tensors */
};

int sdt__wavefront_edge(struct wavefront *all, int channels, int space);
struct frame_layer *sdt__wavefront_layer(struct wavefront_at at, enum frame_layer_kind kind, int in,
                                         int out, const char *name);
/* Convolution from edge `in`, plus edge `residual` (-1: none), to a new edge, which is returned. Of
 * `shape`, the input's channels are filled in here. */
int sdt__wavefront_conv(struct wavefront_at at, int in, struct sdt_conv shape, int residual,
                        const char *name);
/* The same of each frame by itself. */
int sdt__wavefront_conv2d(struct wavefront_at at, int in, struct sdt_conv shape, int residual,
                          const char *name);
/* Norm; out: a new edge, or in place. */
int sdt__wavefront_norm(struct wavefront_at at, int in, bool in_place, bool silu, const char *name);
/* The other inputs of a layer. */
void sdt__wavefront_beside(struct wavefront *all, struct frame_layer *layer, int input, int edge);

/* The shapes of what the layers read. */
void sdt__wavefront_tensors(const struct wavefront *all, struct sdt_tensor_table *table);

/* ---- steps ----------------------------------------------------------------------------------- */

/* A layer's steps in a clip of so many latent frames. */
static inline int sdt__wavefront_steps(const struct frame_layer *layer, int frames) {
    return layer->time * (frames - 1) + 1;
}
/* Frames *first..*last of an input that a layer's next step reads, in a clip of so many latent
 * frames; those before the start are negative. */
void sdt__wavefront_reads(const struct frame_layer *layer, int frames, int input, int *first,
                          int *last);
/* The deepest layer whose next step has all that it reads: so a frame leaves the decoder before the
 * next one enters; StarPU sees to what overlaps in time. 0: only the first layer is left, which
 * brings the next latent frame. */
int sdt__wavefront_ready(const struct wavefront *all);
/* How many frames a layer's next step writes to its edge, from *first on. */
int sdt__wavefront_written(const struct frame_layer *layer, int *first);
/* The step has been inserted: slots of frames that no layer reads again are given back. */
void sdt__wavefront_done(struct wavefront *all, int layer);

/* ---- bands ----------------------------------------------------------------------------------- */

/* Latent rows of a band, of `rows` in a frame. On CPUs a frame is cut for all workers of a device,
 * so that one frame keeps them busy; bits do not depend on it. */
int sdt__wavefront_band_rows(const struct sdt_vae_job *job, int rows);

/* ---- pools (wavefront_pools.c) --------------------------------------------------------------- */

/* Frames of an edge that workers need beside those that are looked at, so as not to wait for one
 * another. The bands of one frame keep all workers of a single device busy; whole frames and stages
 * need several. */
int sdt__wavefront_more_frames(const struct sdt_vae_job *job, int rows);
/* Pools for tiles of up to so many rows of latents, once layers have devices; without slots. room:
 * bands of a frame, 0 to predict. Sets all->failed where there is no memory. */
void sdt__wavefront_pools_init(struct wavefront *all, const struct sdt_vae_job *job, int rows,
                               int room);
/* A slot for frame t of an edge, which a layer is about to write. The pool, if the slot is a new
 * one, its last; else NULL. */
struct frame_pool *sdt__wavefront_take_slot(struct wavefront *all, int edge, int t);
void sdt__wavefront_give_back(struct wavefront *all, int edge, int t);
/* A new clip: no edge has a frame, no layer has taken a step. */
void sdt__wavefront_restart(struct wavefront *all);
/* Takes and retires what the whole clip does on its way. */
void sdt__wavefront_rehearse(struct wavefront *all);

/* ---- what the layers are for ----------------------------------------------------------------- */

/* The functions of struct sdt_vae_kind (family.h). */
enum sdt_status sdt__wavefront_decode(struct sdt_flow *flow, struct sdt_vae *vae,
                                      struct sdt_machine *machine, const struct sdt_vae_job *job,
                                      sdt_handle latent, sdt_handle video, struct sdt_error *err);
/* Of lists whose layers look at no frame ahead. */
struct sdt_vae_stream *sdt__wavefront_stream(struct sdt_vae *vae, struct sdt_machine *machine,
                                             const struct sdt_vae_job *job, struct sdt_error *err);
void sdt__wavefront_push(struct sdt_flow *flow, struct sdt_vae_stream *stream, sdt_handle latent,
                         int frames, int first, int count, sdt_handle video);
void sdt__wavefront_stream_free(struct sdt_vae_stream *stream);
double sdt__wavefront_flops(const struct sdt_vae *vae, const struct sdt_vae_job *job);
void sdt__wavefront_operations(const struct sdt_vae *vae, const struct sdt_vae_job *job,
                               int devices, struct sdt_operations *list);
double sdt__wavefront_bytes(const struct sdt_vae *vae, const struct sdt_vae_job *job, int devices,
                            int device);
#endif

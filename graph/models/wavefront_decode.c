/* A streamed decode as tasks: frames on their way through the list of layers.
 *
 * A convolution's task reads the frame and its two predecessors, so the tasks (frame, layer) form a
 * wavefront, frame t + 1 in layer l while frame t is in layer l + 1, and memory does not grow with
 * the length (with spatial tiles it does: a tile keeps its frames until its seams are blended).
 * Over several devices the layers are cut into contiguous stages of about equal work; with spatial
 * tiles, whole tiles go to the devices in turn instead. */
#include <stdlib.h>

#include "graph/models/vae_tiles.h"
#include "graph/models/wavefront.h"
#include "graph/run/parameters.h"

static int at_most(int a, int b) { return a < b ? a : b; }

/* ---- one decoder and its buffers ------------------------------------------------------------- */

/* One tile after the other on its way through the layers, in the same buffers. */
struct decoder {
    struct wavefront all;
    const struct wavefront_vae *vae;
    const struct sdt_vae_job *job;
    struct sdt_machine *machine;
    int device;              /* of the job's; -1: all, in stages */
    int band_rows;           /* of a band of frames, in latents; the last one may have less */
    struct vae_tile tile;    /* the one at hand */
    struct vae_tile largest; /* the first one */
    sdt_handle latent, out;
    int latent_frames, latent_at, out_at; /* of the latent; what frame 0 of it and of out are */
    const struct sdt_place *put;          /* where frames are stored */
    /* On a GPU, frames become float32 here before they travel to the host; else NULL. */
    sdt_handle ready[2];
    bool clamp, whole; /* whole: out is the video itself */
    struct vae_progress *progress;
};

/* The band's rows on an edge, in pixels. */
static int rows_of(const struct decoder *d, const struct frame_edge *edge, int band) {
    int rows =
        edge->bands == 1 ? d->tile.rows : at_most(d->band_rows, d->tile.rows - band * d->band_rows);
    return rows * edge->space;
}

static void fail_memory(struct sdt_flow *flow) {
    if (flow->error.status == SDT_OK)
        sdt_fail(&flow->error, SDT_ERROR_MEMORY, "out of memory while decoding");
}

/* What a layer reads, and where its frames are made ready for the host. */
static void init_layer(struct sdt_flow *flow, struct decoder *d, struct sdt_parameters *parameters,
                       struct frame_layer *l) {
    enum sdt_device_kind kind = d->job->place[l->device].kind;
    const struct frame_edge *in = l->in[0] < 0 ? NULL : &d->all.edge[l->in[0]];
    if (l->kind == FRAME_CONV) {
        l->weight = sdt_conv_part_parameter(
            flow, parameters, kind, d->job->dtype, l->first, l->conv.out, l->conv.in,
            l->conv.kt * l->conv.ks * l->conv.ks, l->conv.ks, "%s.weight", l->name);
    } else if (l->kind == FRAME_TIME) {
        l->weight = sdt_conv_parameter(flow, parameters, kind, d->job->dtype, 2 * in->channels,
                                       in->channels, 3, 1, "%s.weight", l->name);
    } else if (l->kind == FRAME_NORM || l->kind == FRAME_LAYER_NORM) {
        l->weight = sdt_parameter(flow, parameters, SDT_F32, "%s.%s", l->name,
                                  l->kind == FRAME_NORM ? "gamma" : "weight");
    }
    if (l->kind == FRAME_PUT && d->put->kind != kind) {
        size_t space = (size_t)in->space;
        size_t values = 3 * (size_t)d->tile.rows * space * (size_t)d->tile.cols * space;
        d->ready[0] = sdt__vector(flow, values, "frame");
        d->ready[1] = sdt__vector(flow, values, "frame");
    }
    if (l->kind == FRAME_CONV)
        l->bias = sdt_rows_parameter(flow, parameters, SDT_F32, l->first, l->conv.out, "%s.bias",
                                     l->name);
    else if (l->kind == FRAME_TIME || l->kind == FRAME_LAYER_NORM)
        l->bias = sdt_parameter(flow, parameters, SDT_F32, "%s.bias", l->name);
}

/* Buffers for tiles of up to d->tile.rows x d->tile.cols latents, and what the layers read. */
static void decoder_init(struct sdt_flow *flow, struct decoder *d,
                         struct sdt_parameters *parameters) {
    struct wavefront *all = &d->all;
    d->band_rows = sdt__wavefront_band_rows(d->job, d->tile.rows);
    int bands = (d->tile.rows + d->band_rows - 1) / d->band_rows;

    sdt__wavefront_init(all, d->vae, d->job->frames);
    if (all->failed) {
        fail_memory(flow);
        return;
    }
    sdt__wavefront_place(all, d->job->place, d->job->devices, d->device);
    sdt__wavefront_pools_init(all, d->job, d->tile.rows, bands);
    if (all->failed) {
        fail_memory(flow);
        return;
    }
    d->largest = d->tile;
    for (int e = 0; e < all->edges; e++)
        all->edge[e].bands = all->edge[e].whole ? 1 : bands;
    for (int i = 0; i < all->layers; i++)
        init_layer(flow, d, parameters, &all->layer[i]);
}

static void decoder_clear(struct decoder *d) {
    sdt__wavefront_clear(&d->all);
    for (int i = 0; i < 2; i++)
        sdt__unregister_submit(d->ready[i]);
}

/* The buffers' next tile, which is not larger than the first. */
static void begin_tile(struct decoder *d, struct vae_tile tile) {
    struct wavefront *all = &d->all;
    d->tile = tile;
    sdt__wavefront_restart(all);
    for (int e = 0; e < all->edges; e++)
        if (!all->edge[e].whole)
            all->edge[e].bands = (tile.rows + d->band_rows - 1) / d->band_rows;
    for (int i = 0; i < all->layers; i++)
        if (all->layer[i].kind == FRAME_CONV) {
            struct sdt_conv *conv = &all->layer[i].conv;
            conv->height = tile.rows * all->edge[all->layer[i].in[0]].space;
            conv->width = tile.cols * all->edge[all->layer[i].in[0]].space;
        }
}

/* ---- a frame's way --------------------------------------------------------------------------- */

/* A band of frame t of an edge; NULL before frame `start`. */
static sdt_handle band_of(const struct decoder *d, int edge, int t, int start, int band) {
    const struct frame_edge *list = d->all.edge;
    if (t < start)
        return NULL;
    if (t == 0 && list[edge].alias >= 0)
        edge = list[edge].alias;
    int slot = list[edge].slot[t % WAVEFRONT_FRAMES];
    return slot < 0 ? NULL : d->all.pool[list[edge].pool].handle[slot * d->all.room + band];
}

/* Memory for frame t of an edge. */
static void take(struct sdt_flow *flow, struct decoder *d, int edge, int t) {
    struct frame_pool *pool = sdt__wavefront_take_slot(&d->all, edge, t);
    int bands = !pool ? 0 : pool->whole ? 1 : d->all.room;
    for (int b = 0; b < bands; b++) {
        int left = d->largest.rows - b * d->band_rows;
        int rows = bands == 1 ? d->largest.rows : at_most(d->band_rows, left);
        size_t pixels = (size_t)(rows * pool->space) * (size_t)(d->largest.cols * pool->space);
        pool->handle[(pool->slots - 1) * d->all.room + b] =
            sdt__tensor(flow, d->job->dtype, (size_t)pool->channels * pixels, "frame");
    }
}

/* Frame t of the tile, out of the latent. */
static void insert_window(struct sdt_flow *flow, const struct decoder *d,
                          const struct frame_layer *l, int t) {
    struct sdt_window window = {.channels = d->vae->vae.channels,
                                .frames = d->latent_frames,
                                .height = d->job->height,
                                .width = d->job->width,
                                .frame0 = t - d->latent_at,
                                .nframes = 1,
                                .y0 = d->tile.y0,
                                .x0 = d->tile.x0,
                                .rows = d->tile.rows,
                                .cols = d->tile.cols};
    if (flow->place->kind == SDT_DEVICE_CPU)
        flow->place = &d->machine->host; /* the latent stays; a frame of it travels */
    sdt_insert_latent_window(flow, "latent_window", &window, d->job->scale ? d->vae->std : NULL,
                             d->job->scale ? d->vae->mean : NULL, d->latent,
                             band_of(d, l->out, t, 0, 0));
}

/* The rows of band b of an output that is enlarged by `scale`, from y0 on, and the bands that a
 * layer looks at for them which sees `reach` rows beyond, of an input enlarged so. */
static struct sdt_conv_part part_of(const struct decoder *d, const struct frame_layer *l, int b,
                                    int y0, int scale, int reach) {
    const struct frame_edge *in = &d->all.edge[l->in[0]], *out = &d->all.edge[l->out];
    int height = d->tile.rows * in->space * scale;
    struct sdt_conv_part part = {
        .y0 = y0, .rows = rows_of(d, out, b), .band_rows = rows_of(d, in, 0)};
    int first = y0 - reach, last = y0 + part.rows - 1 + reach;
    first = first < 0 ? 0 : first / scale / part.band_rows;
    last = (last < height ? last : height - 1) / scale / part.band_rows;
    part.first_band = first;
    part.bands = last - first + 1;
    return part;
}

/* A convolution, band by band, from the bands of its input that each looks at. */
static void insert_conv(struct sdt_flow *flow, const struct decoder *d, const struct frame_layer *l,
                        int t) {
    for (int b = 0, y0 = 0; b < d->all.edge[l->out].bands; b++) {
        struct sdt_conv_part part = part_of(d, l, b, y0, l->conv.upsample ? 2 : 1, l->conv.ks / 2);
        sdt_handle x[3 * SDT_MOST_CONV_BANDS];
        for (int i = 0; i < l->conv.kt * part.bands; i++) {
            int frame = t - (l->conv.kt - 1) + i / part.bands;
            x[i] = band_of(d, l->in[0], l->repeats && frame < 0 ? 0 : frame, 0,
                           part.first_band + i % part.bands);
        }
        sdt_insert_conv(flow, "vae_conv", &l->conv, &part, x, l->weight, l->bias,
                        l->in[1] < 0 ? NULL : band_of(d, l->in[1], t, 0, b),
                        band_of(d, l->out, t, 0, b));
        y0 += part.rows;
    }
}

static void insert_norm(struct sdt_flow *flow, const struct decoder *d, const struct frame_layer *l,
                        int t) {
    const struct frame_edge *edge = &d->all.edge[l->in[0]];
    for (int b = 0; b < edge->bands; b++) {
        size_t pixels = (size_t)rows_of(d, edge, b) * (size_t)(d->tile.cols * edge->space);
        sdt_handle x = band_of(d, l->in[0], t, 0, b), y = band_of(d, l->out, t, 0, b);
        if (l->kind == FRAME_NORM)
            sdt_insert_channel_norm(flow, "vae_norm", pixels, edge->channels, l->silu, x, l->weight,
                                    y);
        else
            sdt_insert_channel_layer_norm(flow, "vae_norm", pixels, edge->channels, l->eps, l->silu,
                                          x, l->weight, l->bias, y);
    }
}

static void insert_attention(struct sdt_flow *flow, const struct decoder *d,
                             const struct frame_layer *l, int t) {
    const struct frame_edge *edge = &d->all.edge[l->out];
    int line = d->tile.cols * edge->space;
    sdt_handle x[FRAME_INPUTS];
    for (int i = 0; i < FRAME_INPUTS; i++)
        x[i] = l->in[i] < 0 ? NULL : band_of(d, l->in[i], t, 0, 0);
    for (int b = 0, y0 = 0; b < edge->bands; y0 += rows_of(d, edge, b), b++)
        sdt_insert_frame_attention(flow, "vae_attention", d->tile.rows * edge->space * line,
                                   edge->channels, y0 * line, rows_of(d, edge, b) * line, x[0],
                                   x[1], x[2], band_of(d, l->out, t, 0, b));
}

/* Frame t of the output: frame 0 of the input, or between two of the others. */
static void insert_linear(struct sdt_flow *flow, const struct decoder *d,
                          const struct frame_layer *l, int t) {
    const struct frame_edge *in = &d->all.edge[l->in[0]];
    int first, last;
    sdt__wavefront_reads(l, d->all.frames, 0, &first, &last);
    struct sdt_linear_upsample up = {.channels = in->channels,
                                     .height = d->tile.rows * in->space,
                                     .width = d->tile.cols * in->space,
                                     .weight = first == last ? 1.f
                                               : t % 2       ? .25f
                                                             : .75f};
    for (int b = 0, y0 = 0; b < d->all.edge[l->out].bands; b++) {
        struct sdt_conv_part part = part_of(d, l, b, y0, 2, 1);
        sdt_handle x[2 * SDT_MOST_CONV_BANDS];
        for (int i = 0; i < (last - first + 1) * part.bands; i++)
            x[i] =
                band_of(d, l->in[0], first + i / part.bands, 0, part.first_band + i % part.bands);
        sdt_insert_linear_upsample(flow, "vae_upsample", &up, &part, x,
                                   band_of(d, l->out, t, 0, b));
        y0 += part.rows;
    }
}

static void insert_haar(struct sdt_flow *flow, const struct decoder *d, const struct frame_layer *l,
                        int t) {
    const struct frame_edge *in = &d->all.edge[l->in[0]];
    int width = d->tile.cols * in->space;
    for (int b = 0; b < in->bands; b++) {
        sdt_handle bands = band_of(d, l->in[0], t, 0, b);
        sdt_handle low = l->in[1] < 0 ? NULL : band_of(d, l->in[1], t, 0, b);
        if (l->kind == FRAME_HAAR_2D)
            sdt_insert_inverse_haar_2d(flow, "vae_wavelet", rows_of(d, in, b), width, bands, low,
                                       band_of(d, l->out, t, 0, b));
        else
            sdt_insert_inverse_haar_3d(flow, "vae_wavelet", rows_of(d, in, b), width, bands, low,
                                       t > 0 ? band_of(d, l->out, 2 * t - 1, 0, b) : NULL,
                                       band_of(d, l->out, 2 * t, 0, b));
    }
}

/* Frames 2t - 1 and 2t out of frame t, which is not the first. */
static void insert_time_upsample(struct sdt_flow *flow, const struct decoder *d,
                                 const struct frame_layer *l, int t) {
    const struct frame_edge *edge = &d->all.edge[l->in[0]];
    for (int b = 0; b < edge->bands; b++) {
        sdt_handle x[3];
        for (int i = 0; i < 3; i++)
            x[i] = band_of(d, l->in[0], t - 2 + i, 1, b); /* frame 0 is not seen */
        sdt_insert_time_upsample(flow, "vae_time_conv", rows_of(d, edge, b),
                                 d->tile.cols * edge->space, edge->channels, x, l->weight, l->bias,
                                 band_of(d, l->out, 2 * t - 1, 0, b),
                                 band_of(d, l->out, 2 * t, 0, b));
    }
}

/* Frame t into the video, or into the tile's frames. */
static void insert_put(struct sdt_flow *flow, const struct decoder *d, const struct frame_layer *l,
                       int t) {
    const struct frame_edge *edge = &d->all.edge[l->in[0]];
    int height = d->tile.rows * edge->space, width = d->tile.cols * edge->space;
    for (int b = 0, y0 = 0; b < edge->bands; y0 += rows_of(d, edge, b), b++) {
        sdt_handle rows = band_of(d, l->in[0], t, 0, b);
        bool last = b + 1 == edge->bands;
        if (d->ready[t % 2]) { /* of GPUs: whole frames */
            sdt_insert_put_frame(flow, "frame_ready", height, width, 0, 0, height, d->clamp, rows,
                                 d->ready[t % 2], true, NULL, NULL);
            rows = d->ready[t % 2];
        }
        flow->place = d->put;
        sdt_insert_put_frame(flow, "put_frame", height, width, t - d->out_at, y0,
                             rows_of(d, edge, b), d->clamp, rows, d->out,
                             t == 0 && b == 0 && !d->whole, last ? sdt__vae_frame_done : NULL,
                             last ? d->progress : NULL);
    }
}

/* A layer's next step. */
static void step(struct sdt_flow *flow, struct decoder *d, int layer) {
    struct frame_layer *l = &d->all.layer[layer];
    int t = l->next, first, count = sdt__wavefront_written(l, &first);

    flow->place = &d->job->place[l->device];
    flow->tag.layer = layer;
    flow->tag.chunk = t;
    for (int i = 0; i < count; i++)
        take(flow, d, l->out, first + i);
    switch (l->kind) {
    case FRAME_WINDOW:
        insert_window(flow, d, l, t);
        break;
    case FRAME_CONV:
        insert_conv(flow, d, l, t);
        break;
    case FRAME_NORM:
    case FRAME_LAYER_NORM:
        insert_norm(flow, d, l, t);
        break;
    case FRAME_LINEAR:
        insert_linear(flow, d, l, t);
        break;
    case FRAME_HAAR_2D:
    case FRAME_HAAR_3D:
        insert_haar(flow, d, l, t);
        break;
    case FRAME_ATTEND:
        insert_attention(flow, d, l, t);
        break;
    case FRAME_TIME:
        if (t > 0) /* the first passes by */
            insert_time_upsample(flow, d, l, t);
        break;
    case FRAME_PUT:
        insert_put(flow, d, l, t);
        break;
    }
    sdt__wavefront_done(&d->all, layer);
}

/* The next latent frame, and all that it makes possible. */
static void push(struct sdt_flow *flow, struct decoder *d) {
    int layer = 0;
    do
        step(flow, d, layer);
    while ((layer = sdt__wavefront_ready(&d->all)) > 0 && flow->error.status == SDT_OK);
}

/* ---- a decode -------------------------------------------------------------------------------- */

/* All of one call. On the heap: after a stall it is left to the tasks that may still end. */
struct decode {
    const struct wavefront_vae *vae;
    struct sdt_vae_job job; /* with places */
    struct sdt_machine *machine;
    struct sdt_parameters *parameters;
    struct vae_tiling tiling;
    int tiles, frames; /* of the video */
    bool whole;        /* one tile: the devices are stages of one decoder */
    int decoders;      /* else each device has its own */
    sdt_handle latent, video;
    struct decoder *decoder; /* [decoders] */
    int *device;             /* [tiles] of the decoders */
    sdt_handle *tile;        /* [tiles] decoded frames; NULL: not yet, or not any more, or whole */
    struct vae_progress progress;
};

static void decode_free(struct decode *c) {
    for (int n = 0; c->tile && n < c->tiles; n++)
        sdt__unregister_submit(c->tile[n]);
    if (!c->job.parameters)
        sdt_parameters_free(c->parameters);
    free(c->decoder);
    free(c->device);
    free(c->tile);
    free(c);
}

/* NULL: out of memory. */
static struct decode *decode_new(const struct wavefront_vae *vae, struct sdt_machine *machine,
                                 const struct sdt_vae_job *job) {
    int taken[SDT_MAX_DEVICES] = {0};
    struct decode *c = calloc(1, sizeof *c);
    if (!c)
        return NULL;
    c->vae = vae;
    c->machine = machine;
    c->job = *job;
    c->tiling = sdt__vae_tiling(&vae->vae, job);
    c->tiles = c->tiling.rows * c->tiling.cols;
    c->frames = vae->vae.time_ratio * (job->frames - 1) + 1;
    c->whole = c->tiles == 1;
    c->decoders = c->whole ? 1 : job->devices;
    c->progress = (struct vae_progress){
        .total = c->frames * c->tiles, .call = job->frame_done, .arg = job->frame_done_arg};
    c->decoder = calloc((size_t)c->decoders, sizeof *c->decoder);
    c->tile = calloc((size_t)c->tiles, sizeof *c->tile);
    c->device = calloc((size_t)c->tiles, sizeof *c->device);
    c->parameters =
        job->parameters ? job->parameters : sdt_parameters_new(vae->vae.weights, machine);
    if (!c->decoder || !c->tile || !c->device || !c->parameters) {
        decode_free(c);
        return NULL;
    }
    for (int n = 0; n < c->tiles && !c->whole; n++)
        c->device[n] = sdt__vae_next_device(job->place, job->devices, taken);
    return c;
}

/* How many tiles from the first on are each on a device of their own: they go side by side. */
static int different(const int *device /* [tiles] */, int tiles) {
    bool busy[SDT_MAX_DEVICES] = {false};
    int count = 0;
    while (count < tiles && !busy[device[count]])
        busy[device[count++]] = true;
    return count;
}

/* Tile n is its device's next; the first one makes the decoder. */
static void open_tile(struct sdt_flow *flow, struct decode *c, int n) {
    struct decoder *d = &c->decoder[c->device[n]];
    int ratio = c->vae->vae.space_ratio;
    if (!d->vae) {
        *d = (struct decoder){.vae = c->vae,
                              .job = &c->job,
                              .machine = c->machine,
                              .device = c->whole ? -1 : c->device[n],
                              .tile.rows = at_most(c->tiling.size_rows, c->job.height),
                              .tile.cols = at_most(c->tiling.size_cols, c->job.width),
                              .latent = c->latent,
                              .latent_frames = c->job.frames,
                              .out = c->video,
                              .put = c->whole ? &c->machine->host : &c->job.place[c->device[n]],
                              /* seams are blended first */
                              .clamp = c->whole && (c->vae->clamps || !c->job.as_decoded),
                              .whole = c->whole,
                              .progress = &c->progress};
        decoder_init(flow, d, c->parameters);
    }
    begin_tile(d, sdt__vae_tile(&c->tiling, &c->job, n));
    if (!c->whole)
        d->out = c->tile[n] = sdt__vector(
            flow, sdt__vae_tile_values(c->frames, d->tile.rows * ratio, d->tile.cols * ratio),
            "vae tile");
}

/* The seams of tile n: first with the tile above, then with the one to the left, both already
 * blended; then its share of the video. In this order: the result depends on it. */
static void join_tile(struct sdt_flow *flow, const struct decode *c, int n) {
    const struct vae_tiling *t = &c->tiling;
    struct vae_tile at = sdt__vae_tile(t, &c->job, n);
    int ratio = c->vae->vae.space_ratio, frames = c->frames;
    int rows = at.rows * ratio, cols = at.cols * ratio;
    flow->place = &c->job.place[c->device[n]];
    flow->tag.layer = flow->tag.chunk = -1;
    if (n >= t->cols) {
        int above = sdt__vae_tile(t, &c->job, n - t->cols).rows * ratio;
        int extent = at_most(at_most(above, rows), (t->size_rows - t->stride_rows) * ratio);
        if (extent > 0)
            sdt_insert_blend_rows(flow, "blend_above", frames, cols, extent, above,
                                  c->tile[n - t->cols], rows, c->tile[n]);
    }
    if (n % t->cols > 0) {
        int left = sdt__vae_tile(t, &c->job, n - 1).cols * ratio;
        int extent = at_most(at_most(left, cols), (t->size_cols - t->stride_cols) * ratio);
        if (extent > 0)
            sdt_insert_blend_columns(flow, "blend_left", frames, rows, extent, left, c->tile[n - 1],
                                     cols, c->tile[n]);
    }
    flow->place = &c->machine->host;
    int height = c->job.height * ratio, width = c->job.width * ratio;
    int y0 = at.y0 * ratio, x0 = at.x0 * ratio;
    int keep_rows = at_most(at_most(t->stride_rows * ratio, rows), height - y0);
    int keep_cols = at_most(at_most(t->stride_cols * ratio, cols), width - x0);
    const struct sdt_place_tile place = {.frames = frames,
                                         .tile_rows = rows,
                                         .tile_cols = cols,
                                         .rows = keep_rows,
                                         .cols = keep_cols,
                                         .y0 = y0,
                                         .x0 = x0,
                                         .height = height,
                                         .width = width,
                                         .clamp = true};
    sdt_insert_place_tile(flow, "place_tile", &place, c->tile[n], c->video);
}

/* Tiles first..end-1, each on a device of its own. */
static void insert_tiles(struct sdt_flow *flow, struct decode *c, int first, int end) {
    for (int n = first; n < end; n++)
        open_tile(flow, c, n);
    for (int f = 0; f < c->job.frames && flow->error.status == SDT_OK; f++)
        for (int n = first; n < end; n++) {
            flow->tag.tile = n;
            push(flow, &c->decoder[c->device[n]]);
        }
    for (int n = first; n < end && !c->whole; n++) {
        int above = n - c->tiling.cols;
        flow->tag.tile = n;
        join_tile(flow, c, n);
        if (above >= 0) { /* no tile looks at it any more */
            sdt__unregister_submit(c->tile[above]);
            c->tile[above] = NULL;
        }
    }
}

enum sdt_status sdt__wavefront_decode(struct sdt_flow *flow, struct sdt_vae *vae,
                                      struct sdt_machine *machine, const struct sdt_vae_job *wanted,
                                      sdt_handle latent, sdt_handle video, struct sdt_error *err) {
    struct sdt_vae_job job = *wanted;
    if (!job.place) {
        job.place = machine->device;
        job.devices = machine->devices;
    }
    enum sdt_status status = vae->kind->check(vae, &job, err);
    if (status != SDT_OK)
        return status;
    struct decode *c = decode_new(sdt__wavefront_of(vae), machine, &job);
    if (!c)
        return sdt_fail(err, SDT_ERROR_MEMORY, "out of memory while decoding");
    c->latent = latent;
    c->video = video;

    flow->tag.role = SDT_ROLE_VAE;
    flow->priority = 3; /* above attention: decoding is what this group is for */
    for (int first = 0, count; first < c->tiles; first += count) {
        count = different(c->device + first, c->tiles - first);
        insert_tiles(flow, c, first, first + count);
    }
    flow->tag.tile = flow->tag.layer = flow->tag.chunk = -1;
    flow->priority = 0;
    /* Before the wait: each buffer goes as soon as its last task has ended. */
    for (int n = 0; n < c->decoders; n++)
        decoder_clear(&c->decoder[n]);
    status = sdt__flow_wait(flow, err);
    if (status == SDT_ERROR_STALLED)
        return status; /* nothing can be freed any more */
    decode_free(c);
    return status;
}

/* ---- frames as their latents come ------------------------------------------------------------ */

struct sdt_vae_stream {
    struct decode *decode;
    int latents, frames; /* that have been pushed, and that these made */
};

struct sdt_vae_stream *sdt__wavefront_stream(struct sdt_vae *vae, struct sdt_machine *machine,
                                             const struct sdt_vae_job *job, struct sdt_error *err) {
    if (vae->kind->check(vae, job, err) != SDT_OK)
        return NULL;
    struct sdt_vae_stream *stream = calloc(1, sizeof *stream);
    if (stream)
        stream->decode = decode_new(sdt__wavefront_of(vae), machine, job);
    if (stream && stream->decode && stream->decode->whole)
        return stream;
    sdt_fail(err, SDT_ERROR_MEMORY, "out of memory while decoding");
    sdt__wavefront_stream_free(stream);
    return NULL;
}

void sdt__wavefront_push(struct sdt_flow *flow, struct sdt_vae_stream *stream, sdt_handle latent,
                         int frames, int first, int count, sdt_handle video) {
    struct decode *c = stream->decode;
    struct decoder *d = &c->decoder[0];
    flow->tag.role = SDT_ROLE_VAE;
    flow->tag.tile = 0;
    flow->priority = 3;
    if (!d->vae)
        open_tile(flow, c, 0);
    d->latent = latent;
    d->latent_frames = frames;
    d->latent_at = stream->latents - first;
    d->out = video;
    d->out_at = stream->frames;
    for (int f = 0; f < count && flow->error.status == SDT_OK; f++)
        push(flow, d);
    stream->frames +=
        c->vae->vae.time_ratio * (count - (stream->latents ? 0 : 1)) + (stream->latents ? 0 : 1);
    stream->latents += count;
    flow->tag.tile = flow->tag.layer = flow->tag.chunk = -1;
    flow->priority = 0;
}

void sdt__wavefront_stream_free(struct sdt_vae_stream *stream) {
    if (!stream)
        return;
    if (stream->decode) {
        if (stream->decode->decoder[0].vae)
            decoder_clear(&stream->decode->decoder[0]);
        decode_free(stream->decode);
    }
    free(stream);
}

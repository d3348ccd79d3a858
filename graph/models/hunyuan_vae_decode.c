/* A decode of HunyuanVideo as tasks: tiles in time, and in space where asked for, each on one
 * device. Within a tile tasks are frames of layers, on CPUs cut into bands of rows. Seams are
 * blended in the order of diffusers: in space row by row of tiles, with neighbours that are blended
 * already, then in time. */
#include <stdlib.h>

#include "graph/models/hunyuan_vae.h"
#include "graph/models/vae_tiles.h"
#include "graph/run/parameters.h"

static int at_most(int a, int b) { return a < b ? a : b; }

/* ---- one decoder and its buffers ------------------------------------------------------------- */

/* One tile after the other on a device. */
struct decoder {
    struct hunyuan_layers all;
    const struct hunyuan_vae *vae;
    const struct sdt_vae_job *job;
    struct sdt_machine *machine;
    struct sdt_flow *flow; /* while a tile is inserted */
    int device;            /* of the job's */
    int band_rows, bands;  /* of the tile at hand, in latents */
    struct hunyuan_tile tile;
    int next; /* the layer that its next segment begins with */
    sdt_handle latent, out;
    const struct sdt_place *put; /* where frames are stored */
    bool clamp, whole;   /* out is the video: of the request's size, in the caller's memory */
    sdt_handle *moments; /* [frames of the largest tile] -> [groups, 2] */
    int most_frames;
    sdt_handle norm;      /* [groups, 2] */
    sdt_handle joined[2]; /* keys and values of all frames, [pixels, C] */
    /* On a GPU, frames become float32 here before they travel to the host; else NULL. */
    sdt_handle ready[2];
    struct vae_progress *progress;
};

static void fail_memory(struct sdt_flow *flow) {
    if (flow->error.status == SDT_OK)
        sdt_fail(&flow->error, SDT_ERROR_MEMORY, "out of memory while decoding");
}

static int bands_of(const struct decoder *d, const struct hunyuan_edge *edge) {
    return edge->whole ? 1 : d->bands;
}

/* The band's rows on an edge, in pixels. */
static int rows_of(const struct decoder *d, const struct hunyuan_edge *edge, int band) {
    int all = d->tile.space.rows;
    int rows = edge->whole ? all : at_most(d->band_rows, all - band * d->band_rows);
    return rows * edge->space;
}

/* Pixels of a row on an edge, and of a frame. */
static int line_of(const struct decoder *d, const struct hunyuan_edge *edge) {
    return d->tile.space.cols * edge->space;
}
static int pixels_of(const struct decoder *d, const struct hunyuan_edge *edge) {
    return d->tile.space.rows * edge->space * line_of(d, edge);
}

/* What a layer reads. */
static void init_layer(struct sdt_flow *flow, struct decoder *d, struct sdt_parameters *parameters,
                       struct hunyuan_layer *l) {
    enum sdt_device_kind kind = d->job->place[d->device].kind;
    const struct sdt_conv *c = &l->conv;
    if (l->kind == HUNYUAN_CONV)
        l->weight = sdt_conv_parameter(flow, parameters, kind, d->job->dtype, c->out, c->in,
                                       c->kt * c->ks * c->ks, c->ks, "%s.weight", l->name);
    else if (l->kind == HUNYUAN_NORM)
        l->weight = sdt_parameter(flow, parameters, SDT_F32, "%s.weight", l->name);
    if (l->kind == HUNYUAN_CONV || l->kind == HUNYUAN_NORM)
        l->bias = sdt_parameter(flow, parameters, SDT_F32, "%s.bias", l->name);
}

/* What tiles of up to `tile` need on their way, and what the layers read. */
static void decoder_init(struct sdt_flow *flow, struct decoder *d, const struct hunyuan_tile *tile,
                         struct sdt_parameters *parameters) {
    struct hunyuan_layers *all = &d->all;
    int rows = tile->space.rows, band = sdt__hunyuan_band_rows(d->job, d->device, rows);
    int bands = (rows + band - 1) / band;

    sdt__hunyuan_layers_init(all, d->vae);
    if (!all->failed)
        sdt__hunyuan_pools_init(all, tile->frames, bands,
                                sdt__hunyuan_in_flight(d->job, d->device, bands), true);
    d->most_frames = sdt__hunyuan_frames(d->vae->vae.time_ratio, tile->frames);
    d->moments = calloc((size_t)d->most_frames, sizeof *d->moments);
    if (all->failed || !d->moments) {
        fail_memory(flow);
        return;
    }
    for (int i = 0; i < all->layers; i++)
        init_layer(flow, d, parameters, &all->layer[i]);
    size_t values = 2 * (size_t)d->vae->groups;
    for (int t = 0; t < d->most_frames; t++)
        d->moments[t] = sdt__vector(flow, values, "moments");
    d->norm = sdt__vector(flow, values, "norm");
}

static void end_pool(void *arg, struct hunyuan_pool *pool) {
    struct decoder *d = arg;
    int bands = d->all.room * pool->slots;
    for (int h = 0; h < bands; h++) {
        sdt__unregister_submit(pool->handle[h]);
        pool->handle[h] = NULL;
    }
}

static void decoder_clear(struct decoder *d) {
    const struct hunyuan_visit visit = {.arg = d, .clear = end_pool};
    sdt__hunyuan_clear_pools(&d->all, &visit);
    sdt__hunyuan_layers_clear(&d->all);
    for (int t = 0; d->moments && t < d->most_frames; t++)
        sdt__unregister_submit(d->moments[t]);
    free(d->moments);
    d->moments = NULL;
    sdt__unregister_submit(d->norm);
    for (int i = 0; i < 2; i++) {
        sdt__unregister_submit(d->joined[i]);
        sdt__unregister_submit(d->ready[i]);
    }
}

/* ---- a frame's way --------------------------------------------------------------------------- */

/* A band of frame t of an edge. */
static sdt_handle band_of(const struct decoder *d, int edge, int t, int band) {
    const struct hunyuan_edge *e = &d->all.edge[edge];
    return d->all.pool[e->pool].handle[e->slot[t] * d->all.room + band];
}

/* Memory for a frame. */
static void make_slot(void *arg, struct hunyuan_pool *pool, int slot) {
    struct decoder *d = arg;
    int bands = pool->whole ? 1 : d->bands, all = d->tile.space.rows;
    for (int b = 0; b < bands; b++) {
        int rows = pool->whole ? all : at_most(d->band_rows, all - b * d->band_rows);
        size_t pixels = (size_t)rows * (size_t)d->tile.space.cols;
        pool->handle[slot * d->all.room + b] =
            sdt__tensor(d->flow, d->job->dtype, (size_t)pool->values * pixels, "frame");
    }
}

/* Frame t of the tile, out of the latent. */
static void insert_window(const struct decoder *d, const struct hunyuan_layer *l, int t) {
    struct sdt_window window = {.channels = d->vae->vae.channels,
                                .frames = d->job->frames,
                                .height = d->job->height,
                                .width = d->job->width,
                                .frame0 = d->tile.frame0 + t,
                                .nframes = 1,
                                .y0 = d->tile.space.y0,
                                .x0 = d->tile.space.x0,
                                .rows = d->tile.space.rows,
                                .cols = d->tile.space.cols};
    if (d->flow->place->kind == SDT_DEVICE_CPU)
        d->flow->place = &d->machine->host; /* the latent stays; a frame of it travels */
    sdt_insert_latent_window(
        d->flow, "latent_window", &window, d->job->scale ? d->vae->scale : NULL,
        d->job->scale ? d->vae->shift : NULL, d->latent, band_of(d, l->out, t, 0));
}

/* A convolution, band by band, from the bands of its input that each looks at. */
static void insert_conv(const struct decoder *d, const struct hunyuan_layer *l, int t) {
    const struct hunyuan_edge *in = &d->all.edge[l->in], *out = &d->all.edge[l->out];
    struct sdt_conv conv = l->conv;
    int scale = conv.upsample ? 2 : 1, reach = conv.ks / 2;
    conv.height = d->tile.space.rows * in->space;
    conv.width = line_of(d, in);
    for (int b = 0, y0 = 0; b < bands_of(d, out); b++) {
        struct sdt_conv_part part = {
            .y0 = y0, .rows = rows_of(d, out, b), .band_rows = rows_of(d, in, 0)};
        int first = y0 - reach, last = y0 + part.rows - 1 + reach;
        first = first < 0 ? 0 : first / scale / part.band_rows;
        last = at_most(last, conv.height * scale - 1) / scale / part.band_rows;
        part.first_band = first;
        part.bands = last - first + 1;
        sdt_handle x[3 * SDT_MOST_CONV_BANDS];
        for (int i = 0; i < conv.kt * part.bands; i++)
            x[i] = band_of(d, l->in, sdt__hunyuan_source(l, t, i / part.bands),
                           first + i % part.bands);
        sdt_insert_conv(d->flow, "vae_conv", &conv, &part, x, l->weight, l->bias,
                        l->beside < 0 ? NULL : band_of(d, l->beside, t, b),
                        band_of(d, l->out, t, b));
        y0 += part.rows;
    }
}

static void insert_moments(const struct decoder *d, const struct hunyuan_layer *l, int t) {
    const struct hunyuan_edge *edge = &d->all.edge[l->in];
    sdt_handle x[SDT_MOST_CONV_BANDS];
    for (int b = 0; b < bands_of(d, edge); b++)
        x[b] = band_of(d, l->in, t, b);
    sdt_insert_frame_moments(d->flow, "vae_moments", bands_of(d, edge), rows_of(d, edge, 0),
                             d->tile.space.rows * edge->space, line_of(d, edge), edge->channels,
                             d->vae->groups, x, d->moments[t]);
}

static void insert_norm(const struct decoder *d, const struct hunyuan_layer *l, int t) {
    const struct hunyuan_edge *edge = &d->all.edge[l->in];
    for (int b = 0; b < bands_of(d, edge); b++)
        sdt_insert_group_norm(d->flow, "vae_norm",
                              (size_t)rows_of(d, edge, b) * (size_t)line_of(d, edge),
                              edge->channels, d->vae->groups, l->silu, band_of(d, l->in, t, b),
                              d->norm, l->weight, l->bias, band_of(d, l->out, t, b));
}

/* Queries of frame t to the keys of this frame and all before it. */
static void insert_attention(const struct decoder *d, const struct hunyuan_layer *l, int t) {
    const struct hunyuan_edge *edge = &d->all.edge[l->in];
    int pixels = pixels_of(d, edge);
    for (int b = 0; b < bands_of(d, edge); b++)
        sdt_insert_wide_attention(d->flow, "vae_attention", rows_of(d, edge, b) * line_of(d, edge),
                                  pixels * (t + 1), edge->channels, band_of(d, l->in, t, b),
                                  d->joined[0], d->joined[1], band_of(d, l->out, t, b));
}

/* Frame t into the video, or into the tile's frames. */
static void insert_put(const struct decoder *d, const struct hunyuan_layer *l, int t) {
    struct sdt_flow *flow = d->flow;
    const struct hunyuan_edge *edge = &d->all.edge[l->in];
    int height = d->tile.space.rows * edge->space, width = line_of(d, edge);
    int at = d->tile.frame0 > 0 ? t - 1 : t; /* the first frame of a later tile is dropped */
    for (int b = 0, y0 = 0; at >= 0 && b < bands_of(d, edge); y0 += rows_of(d, edge, b), b++) {
        sdt_handle rows = band_of(d, l->in, t, b);
        bool last = b + 1 == bands_of(d, edge);
        if (d->ready[t % 2]) { /* of GPUs: whole frames */
            sdt_insert_put_frame(flow, "frame_ready", height, width, 0, 0, height, d->clamp, rows,
                                 d->ready[t % 2], true, NULL, NULL);
            rows = d->ready[t % 2];
        }
        flow->place = d->put;
        sdt_insert_put_frame(flow, "put_frame", height, width, at, y0, rows_of(d, edge, b),
                             d->clamp, rows, d->out, at == 0 && b == 0 && !d->whole,
                             last ? sdt__vae_frame_done : NULL, last ? d->progress : NULL);
        flow->place = &d->job->place[d->device];
    }
}

static void insert_frame(void *arg, int layer, int t) {
    struct decoder *d = arg;
    const struct hunyuan_layer *l = &d->all.layer[layer];
    if (d->flow->error.status != SDT_OK)
        return; /* frames without handles */
    d->flow->place = &d->job->place[d->device];
    d->flow->tag.layer = layer;
    d->flow->tag.chunk = t;
    switch (l->kind) {
    case HUNYUAN_WINDOW:
        insert_window(d, l, t);
        break;
    case HUNYUAN_CONV:
        insert_conv(d, l, t);
        break;
    case HUNYUAN_MOMENTS:
        insert_moments(d, l, t);
        break;
    case HUNYUAN_NORM:
        insert_norm(d, l, t);
        break;
    case HUNYUAN_ATTEND:
        insert_attention(d, l, t);
        break;
    case HUNYUAN_PUT:
        insert_put(d, l, t);
        break;
    case HUNYUAN_KEYS:
        break;
    }
}

/* Keys, or values, of all frames behind one another. */
static sdt_handle join_frames(const struct decoder *d, int e) {
    const struct hunyuan_edge *edge = &d->all.edge[e];
    size_t block = (size_t)pixels_of(d, edge) * (size_t)edge->channels;
    struct sdt_gather to = {.block = block, .stride = (size_t)d->tile.frames * block};
    sdt_handle y = sdt__tensor(d->flow, d->job->dtype, to.stride, "keys");
    sdt_handle *frame = calloc((size_t)d->tile.frames, sizeof *frame);
    if (!frame)
        fail_memory(d->flow);
    for (int t = 0; frame && t < d->tile.frames; t++)
        frame[t] = band_of(d, e, t, 0);
    if (frame)
        sdt_insert_gather(d->flow, "vae_keys", d->tile.frames, 1, &to, frame, 1, y);
    free(frame);
    return y;
}

/* All frames have come to the end of a segment. */
static void end_segment(void *arg, int layer) {
    struct decoder *d = arg;
    const struct hunyuan_layer *l = &d->all.layer[layer];
    const struct hunyuan_edge *edge = &d->all.edge[l->in];
    d->flow->place = &d->job->place[d->device];
    d->flow->tag.layer = layer;
    d->flow->tag.chunk = -1;
    for (int i = 0; i < 2; i++) { /* nothing behind the attention's segment reads them */
        sdt__unregister_submit(d->joined[i]);
        d->joined[i] = NULL;
    }
    if (d->flow->error.status != SDT_OK)
        return;
    if (l->kind == HUNYUAN_KEYS) {
        d->joined[0] = join_frames(d, l->in);
        d->joined[1] = join_frames(d, l->beside);
    } else if (l->kind == HUNYUAN_MOMENTS) {
        double values = (double)pixels_of(d, edge) * edge->channels / d->vae->groups;
        sdt_insert_group_moments(d->flow, "vae_moments",
                                 sdt__hunyuan_frames(edge->time, d->tile.frames), d->vae->groups,
                                 values, HUNYUAN_VAE_EPS, d->moments, d->norm);
    }
}

/* The tile at hand's next segment; false: it has passed all of them. */
static bool pass_segment(struct sdt_flow *flow, struct decoder *d) {
    const struct hunyuan_visit visit = {d, insert_frame, end_segment, make_slot, end_pool};
    d->flow = flow;
    d->next = sdt__hunyuan_pass(&d->all, d->next, &visit);
    return d->next < d->all.layers;
}

/* ---- a decode -------------------------------------------------------------------------------- */

/* All of one call. On the heap: after a stall it is left to the tasks that may still end. */
struct decode {
    const struct hunyuan_vae *vae;
    struct sdt_vae_job job; /* with places */
    struct sdt_machine *machine;
    struct sdt_parameters *parameters;
    struct hunyuan_tiling tiling;
    int of_time;              /* tiles of one time */
    bool whole;               /* one tile, which is the video */
    sdt_handle latent, video; /* the caller's */
    struct decoder *decoder;  /* [devices] */
    int *device;              /* [tiles] of the decoders */
    sdt_handle *tile;         /* [tiles] decoded frames; NULL: not yet, or not any more, or whole */
    struct vae_progress progress;
};

static void decode_free(struct decode *c) {
    for (int n = 0; c->tile && n < c->tiling.tiles; n++)
        sdt__unregister_submit(c->tile[n]);
    if (!c->job.parameters)
        sdt_parameters_free(c->parameters);
    free(c->decoder);
    free(c->device);
    free(c->tile);
    free(c);
}

/* NULL: out of memory. */
static struct decode *decode_new(const struct hunyuan_vae *vae, struct sdt_machine *machine,
                                 const struct sdt_vae_job *job) {
    int taken[SDT_MAX_DEVICES] = {0};
    struct decode *c = calloc(1, sizeof *c);
    if (!c)
        return NULL;
    c->vae = vae;
    c->machine = machine;
    c->job = *job;
    c->tiling = sdt__hunyuan_tiling(&vae->vae, job);
    c->of_time = c->tiling.space.rows * c->tiling.space.cols;
    c->whole = c->tiling.tiles == 1;
    c->progress = (struct vae_progress){.call = job->frame_done, .arg = job->frame_done_arg};
    for (int n = 0; n < c->tiling.tiles; n++) {
        struct hunyuan_tile tile = sdt__hunyuan_tile(&c->tiling, job, n);
        c->progress.total += sdt__hunyuan_tile_frames(&vae->vae, &tile);
    }
    c->decoder = calloc((size_t)job->devices, sizeof *c->decoder);
    c->tile = calloc((size_t)c->tiling.tiles, sizeof *c->tile);
    c->device = calloc((size_t)c->tiling.tiles, sizeof *c->device);
    c->parameters =
        job->parameters ? job->parameters : sdt_parameters_new(vae->vae.weights, machine);
    if (!c->decoder || !c->tile || !c->device || !c->parameters) {
        decode_free(c);
        return NULL;
    }
    for (int n = 0; n < c->tiling.tiles; n++)
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
    struct hunyuan_tile first = sdt__hunyuan_tile(&c->tiling, &c->job, 0); /* the largest */
    int ratio = c->vae->vae.space_ratio;
    if (!d->vae) {
        *d = (struct decoder){.vae = c->vae,
                              .job = &c->job,
                              .machine = c->machine,
                              .device = c->device[n],
                              .latent = c->latent,
                              .out = c->video,
                              .put = c->whole ? &c->machine->host : &c->job.place[c->device[n]],
                              .whole = c->whole,
                              .clamp = c->whole && !c->job.as_decoded,
                              .progress = &c->progress};
        decoder_init(flow, d, &first, c->parameters);
    }
    d->tile = sdt__hunyuan_tile(&c->tiling, &c->job, n);
    d->next = 0;
    d->all.frames = d->tile.frames;
    d->band_rows = sdt__hunyuan_band_rows(&c->job, c->device[n], d->tile.space.rows);
    d->bands = (d->tile.space.rows + d->band_rows - 1) / d->band_rows;
    size_t height = (size_t)d->tile.space.rows * (size_t)ratio;
    size_t width = (size_t)d->tile.space.cols * (size_t)ratio;
    for (int i = 0; i < 2; i++) {
        sdt__unregister_submit(d->ready[i]);
        d->ready[i] = d->put->kind != c->job.place[d->device].kind
                          ? sdt__vector(flow, 3 * height * width, "frame")
                          : NULL;
    }
    if (!c->whole)
        d->out = c->tile[n] =
            sdt__vector(flow,
                        sdt__vae_tile_values(sdt__hunyuan_tile_frames(&c->vae->vae, &d->tile),
                                             (int)height, (int)width),
                        "vae tile");
}

/* ---- seams ----------------------------------------------------------------------------------- */

/* The seams of tile n in space: first with the tile above, then with the one to the left, both
 * already blended. In this order: the result depends on it. */
static void join_tile(struct sdt_flow *flow, const struct decode *c, int n) {
    const struct vae_tiling *t = &c->tiling.space;
    struct hunyuan_tile at = sdt__hunyuan_tile(&c->tiling, &c->job, n);
    int ratio = c->vae->vae.space_ratio, frames = sdt__hunyuan_tile_frames(&c->vae->vae, &at);
    int rows = at.space.rows * ratio, cols = at.space.cols * ratio, m = n % c->of_time;
    flow->place = &c->job.place[c->device[n]];
    if (m >= t->cols) {
        int above = sdt__hunyuan_tile(&c->tiling, &c->job, n - t->cols).space.rows * ratio;
        int extent = at_most(at_most(above, rows), (t->size_rows - t->stride_rows) * ratio);
        if (extent > 0)
            sdt_insert_blend_rows(flow, "blend_above", frames, cols, extent, above,
                                  c->tile[n - t->cols], rows, c->tile[n]);
    }
    if (m % t->cols > 0) {
        int left = sdt__hunyuan_tile(&c->tiling, &c->job, n - 1).space.cols * ratio;
        int extent = at_most(at_most(left, cols), (t->size_cols - t->stride_cols) * ratio);
        if (extent > 0)
            sdt_insert_blend_columns(flow, "blend_left", frames, rows, extent, left, c->tile[n - 1],
                                     cols, c->tile[n]);
    }
}

/* No neighbour in space looks at tile n any more: its seam in time, and its share of the video. */
static void place_tile(struct sdt_flow *flow, const struct decode *c, int n) {
    const struct sdt_vae *vae = &c->vae->vae;
    const struct hunyuan_tiling *t = &c->tiling;
    struct hunyuan_tile at = sdt__hunyuan_tile(t, &c->job, n);
    int ratio = vae->space_ratio, frames = sdt__hunyuan_tile_frames(vae, &at);
    int rows = at.space.rows * ratio, cols = at.space.cols * ratio, before = n - c->of_time;
    struct sdt_place_tile place = {.frames = frames,
                                   .tile_rows = rows,
                                   .tile_cols = cols,
                                   .frame0 = at.frame0 > 0 ? vae->time_ratio * at.frame0 + 1 : 0,
                                   .y0 = at.space.y0 * ratio,
                                   .x0 = at.space.x0 * ratio,
                                   .height = c->job.height * ratio,
                                   .width = c->job.width * ratio,
                                   .clamp = !c->job.as_decoded};
    place.rows = at_most(at_most(t->space.stride_rows * ratio, rows), place.height - place.y0);
    place.cols = at_most(at_most(t->space.stride_cols * ratio, cols), place.width - place.x0);
    if (n + c->of_time < t->tiles) /* the rest is the next tile's, blended */
        place.frames = at_most(frames, vae->time_ratio * t->stride + (at.frame0 > 0 ? 0 : 1));
    flow->place = &c->job.place[c->device[n]];
    if (before >= 0) {
        struct hunyuan_tile last = sdt__hunyuan_tile(t, &c->job, before);
        int a_frames = sdt__hunyuan_tile_frames(vae, &last);
        int extent = vae->time_ratio * (t->size - 1 - t->stride);
        extent = at_most(at_most(a_frames, frames), extent);
        if (extent > 0) /* frames of a tile lie like rows of one that is as wide as a frame */
            sdt_insert_blend_rows(flow, "blend_before", 1, rows * cols, extent, a_frames,
                                  c->tile[before], frames, c->tile[n]);
        sdt__unregister_submit(c->tile[before]);
        c->tile[before] = NULL;
    }
    flow->place = &c->machine->host;
    sdt_insert_place_tile(flow, "place_tile", &place, c->tile[n], c->video);
    if (n + c->of_time >= t->tiles) {
        sdt__unregister_submit(c->tile[n]);
        c->tile[n] = NULL;
    }
}

/* ---- all tiles ------------------------------------------------------------------------------- */

/* Tiles first..end-1, each on a device of its own. */
static void insert_tiles(struct sdt_flow *flow, struct decode *c, int first, int end) {
    int cols = c->tiling.space.cols;
    for (int n = first; n < end; n++)
        open_tile(flow, c, n);
    for (bool more = true; more && flow->error.status == SDT_OK;)
        for (int n = first; n < end; n++) {
            flow->tag.tile = n;
            more = pass_segment(flow, &c->decoder[c->device[n]]);
        }
    flow->tag.layer = flow->tag.chunk = -1;
    for (int n = first; n < end && !c->whole && flow->error.status == SDT_OK; n++) {
        int m = n % c->of_time;
        flow->tag.tile = n;
        join_tile(flow, c, n);
        if (m >= cols)
            place_tile(flow, c, n - cols);
        for (int last = n - cols + 1; m == c->of_time - 1 && last <= n; last++)
            place_tile(flow, c, last);
    }
}

enum sdt_status sdt__hunyuan_vae_decode(struct sdt_flow *flow, struct sdt_vae *vae,
                                        struct sdt_machine *machine,
                                        const struct sdt_vae_job *wanted, sdt_handle latent,
                                        sdt_handle video, struct sdt_error *err) {
    struct sdt_vae_job job = *wanted;
    if (!job.place) {
        job.place = machine->device;
        job.devices = machine->devices;
    }
    enum sdt_status status = vae->kind->check(vae, &job, err);
    if (status != SDT_OK)
        return status;
    struct decode *c = decode_new(sdt__hunyuan_vae_of(vae), machine, &job);
    if (!c)
        return sdt_fail(err, SDT_ERROR_MEMORY, "out of memory while decoding");
    c->latent = latent;
    c->video = video;

    flow->tag.role = SDT_ROLE_VAE;
    flow->priority = 3; /* above attention: decoding is what this group is for */
    for (int first = 0, count; first < c->tiling.tiles; first += count) {
        count = different(c->device + first, c->tiling.tiles - first);
        insert_tiles(flow, c, first, first + count);
    }
    flow->tag.tile = flow->tag.layer = flow->tag.chunk = -1;
    flow->priority = 0;
    /* Before the wait: each buffer goes as soon as its last task has ended. */
    for (int d = 0; d < job.devices; d++)
        decoder_clear(&c->decoder[d]);
    status = sdt__flow_wait(flow, err);
    if (status == SDT_ERROR_STALLED)
        return status; /* nothing can be freed any more */
    decode_free(c);
    return status;
}

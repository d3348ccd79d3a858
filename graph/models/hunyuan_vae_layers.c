/* The layers of HunyuanVideo's decoder, each named once: tensors, tasks and figures are made from
 * this list. And the cut into tiles and bands. */
#include <stdio.h>
#include <stdlib.h>

#include "graph/models/hunyuan_vae.h"

static int at_most(int a, int b) { return a < b ? a : b; }

/* ---- the list -------------------------------------------------------------------------------- */

static int add_edge(struct hunyuan_layers *all, int channels, int space, int time) {
    if (all->edges == all->edges_capacity) {
        int capacity = all->edges_capacity ? 2 * all->edges_capacity : 64;
        struct hunyuan_edge *edge = realloc(all->edge, (size_t)capacity * sizeof *edge);
        if (!edge) {
            all->failed = true;
            return 0;
        }
        all->edge = edge;
        all->edges_capacity = capacity;
    }
    all->edge[all->edges] = (struct hunyuan_edge){
        .channels = channels, .space = space, .time = time, .last = -1, .pool = -1};
    return all->edges++;
}

/* A layer that reads edge `in` and writes edge `out` (-1: none). */
static struct hunyuan_layer *add_layer(struct hunyuan_layers *all, enum hunyuan_layer_kind kind,
                                       int in, int out, const char *prefix, const char *name) {
    if (all->layers == all->layers_capacity) {
        int capacity = all->layers_capacity ? 2 * all->layers_capacity : 128;
        struct hunyuan_layer *layer = realloc(all->layer, (size_t)capacity * sizeof *layer);
        if (!layer)
            all->failed = true;
        else {
            all->layer = layer;
            all->layers_capacity = capacity;
        }
    }
    if (all->failed)
        return &all->nowhere;
    struct hunyuan_layer *layer = &all->layer[all->layers++];
    *layer = (struct hunyuan_layer){.kind = kind, .in = in, .beside = -1, .out = out, .repeat = 1};
    layer->time = out >= 0 ? all->edge[out].time : all->edge[in].time;
    snprintf(layer->name, sizeof layer->name, "%s%s", prefix, name);
    return layer;
}

/* What a convolution does to frames, beside its channels. */
struct shape {
    int kt, ks;
    bool matrix, upsample;
    int repeat; /* 2: doubles frames; 0 or 1: does not */
};
static const struct shape cube = {.kt = 3, .ks = 3}, point = {.kt = 1, .ks = 1},
                          matrix = {.kt = 1, .ks = 1, .matrix = true};

/* Convolution from edge `in` to a new edge, which is returned; beside: an edge to add, or -1. */
static int conv(struct hunyuan_layers *all, int in, int channels, struct shape shape, int beside,
                const char *prefix, const char *name) {
    if (all->failed)
        return 0;
    int repeat = shape.repeat > 1 ? shape.repeat : 1, from = all->edge[in].channels;
    int space = all->edge[in].space * (shape.upsample ? 2 : 1);
    int out = add_edge(all, channels, space, all->edge[in].time * repeat);
    if (all->failed)
        return 0;
    struct hunyuan_layer *layer = add_layer(all, HUNYUAN_CONV, in, out, prefix, name);
    layer->conv = (struct sdt_conv){.in = from,
                                    .out = channels,
                                    .kt = shape.kt,
                                    .ks = shape.ks,
                                    .upsample = shape.upsample,
                                    .replicate = 1};
    layer->beside = beside;
    layer->matrix = shape.matrix;
    layer->repeat = repeat;
    layer->flops = 2.0 * from * channels * shape.kt * shape.ks * shape.ks * space * space;
    return out;
}

/* GroupNorm in two layers, with a new edge that is returned. */
static int norm(struct hunyuan_layers *all, int in, bool silu, const char *prefix,
                const char *name) {
    if (all->failed)
        return 0;
    add_layer(all, HUNYUAN_MOMENTS, in, -1, prefix, name);
    int out = add_edge(all, all->edge[in].channels, all->edge[in].space, all->edge[in].time);
    if (!all->failed)
        add_layer(all, HUNYUAN_NORM, in, out, prefix, name)->silu = silu;
    return out;
}

static int res_block(struct hunyuan_layers *all, int in, int channels, const char *prefix) {
    if (all->failed)
        return 0;
    int y = norm(all, in, true, prefix, "norm1"), skip = in;
    y = conv(all, y, channels, cube, -1, prefix, "conv1.conv");
    y = norm(all, y, true, prefix, "norm2");
    if (!all->failed && all->edge[in].channels != channels)
        skip = conv(all, in, channels, point, -1, prefix, "conv_shortcut.conv");
    return conv(all, y, channels, cube, skip, prefix, "conv2.conv");
}

static int attention(struct hunyuan_layers *all, int in, const char *prefix) {
    if (all->failed)
        return 0;
    int channels = all->edge[in].channels;
    int y = norm(all, in, false, prefix, "group_norm");
    int q = conv(all, y, channels, matrix, -1, prefix, "to_q");
    int k = conv(all, y, channels, matrix, -1, prefix, "to_k");
    int v = conv(all, y, channels, matrix, -1, prefix, "to_v");
    if (all->failed)
        return 0;
    all->edge[k].whole = all->edge[v].whole = true;
    add_layer(all, HUNYUAN_KEYS, k, -1, prefix, "keys")->beside = v;
    int o = add_edge(all, channels, all->edge[q].space, all->edge[q].time);
    if (all->failed)
        return 0;
    add_layer(all, HUNYUAN_ATTEND, q, o, prefix, "attention");
    return conv(all, o, channels, matrix, in, prefix, "to_out.0");
}

/* Which layer is the last that reads each edge, and how far it looks back. */
static void find_last(struct hunyuan_layers *all) {
    for (int i = 0; i < all->layers; i++) {
        const struct hunyuan_layer *l = &all->layer[i];
        if (l->in >= 0) {
            all->edge[l->in].last = i;
            all->edge[l->in].back = l->kind == HUNYUAN_CONV ? l->conv.kt - 1 : 0;
        }
        if (l->beside >= 0) {
            all->edge[l->beside].last = i;
            all->edge[l->beside].back = 0;
        }
    }
}

void sdt__hunyuan_layers_init(struct hunyuan_layers *all, const struct hunyuan_vae *vae) {
    char prefix[64];
    int channels = vae->channels[0];

    *all = (struct hunyuan_layers){0};
    int x = add_edge(all, vae->vae.channels, 1, 1);
    if (!all->failed)
        all->edge[x].whole = true;
    add_layer(all, HUNYUAN_WINDOW, -1, x, "", "latent");
    x = conv(all, x, vae->vae.channels, point, -1, "", "post_quant_conv");
    x = conv(all, x, channels, cube, -1, "decoder.", "conv_in.conv");
    x = res_block(all, x, channels, "decoder.mid_block.resnets.0.");
    if (vae->attention)
        x = attention(all, x, "decoder.mid_block.attentions.0.");
    x = res_block(all, x, channels, "decoder.mid_block.resnets.1.");
    for (int i = 0; i < vae->blocks; i++) {
        for (int r = 0; r < vae->resnets; r++) {
            snprintf(prefix, sizeof prefix, "decoder.up_blocks.%d.resnets.%d.", i, r);
            x = res_block(all, x, vae->channels[i], prefix);
        }
        struct shape up = cube;
        up.upsample = vae->space[i];
        up.repeat = vae->time[i] ? 2 : 1;
        snprintf(prefix, sizeof prefix, "decoder.up_blocks.%d.upsamplers.0.", i);
        if (vae->space[i] || vae->time[i])
            x = conv(all, x, vae->channels[i], up, -1, prefix, "conv.conv");
    }
    x = norm(all, x, true, "decoder.", "conv_norm_out");
    x = conv(all, x, 3, cube, -1, "decoder.", "conv_out.conv");
    add_layer(all, HUNYUAN_PUT, x, -1, "decoder.", "put");
    if (!all->failed)
        find_last(all);
}

void sdt__hunyuan_layers_clear(struct hunyuan_layers *all) {
    for (int e = 0; e < all->edges; e++)
        free(all->edge[e].slot);
    for (int i = 0; i < all->pools; i++) {
        free(all->pool[i].handle);
        free(all->pool[i].queue);
    }
    free(all->pool);
    free(all->edge);
    free(all->layer);
    *all = (struct hunyuan_layers){0};
}

int sdt__hunyuan_source(const struct hunyuan_layer *l, int t, int i) {
    int seen = t - (l->conv.kt - 1) + i;
    if (seen <= 0)
        return 0; /* the first frame stands for all before it */
    return l->repeat == 1 ? seen : (seen - 1) / l->repeat + 1;
}

/* ---- tiles, bands ---------------------------------------------------------------------------- */

/* In frames of the video, as AutoencoderKLHunyuanVideo has them whatever its configuration. */
enum { TILE_FRAMES = 16, STRIDE_FRAMES = 12 };

struct hunyuan_tiling sdt__hunyuan_tiling(const struct sdt_vae *vae,
                                          const struct sdt_vae_job *job) {
    struct hunyuan_tiling t = {
        .times = 1, .size = job->frames, .stride = job->frames, .space = sdt__vae_tiling(vae, job)};
    if (!job->whole && job->frames > TILE_FRAMES / vae->time_ratio) {
        t.size = TILE_FRAMES / vae->time_ratio + 1;
        t.stride = STRIDE_FRAMES / vae->time_ratio;
        /* A last tile of one latent would give the frame that is dropped, and no other. */
        t.times = (job->frames - 1 + t.stride - 1) / t.stride;
    }
    t.tiles = t.times * t.space.rows * t.space.cols;
    return t;
}

struct hunyuan_tile sdt__hunyuan_tile(const struct hunyuan_tiling *t, const struct sdt_vae_job *job,
                                      int n) {
    int of_time = t->space.rows * t->space.cols, frame0 = n / of_time * t->stride;
    return (struct hunyuan_tile){frame0, at_most(t->size, job->frames - frame0),
                                 sdt__vae_tile(&t->space, job, n % of_time)};
}

int sdt__hunyuan_tile_frames(const struct sdt_vae *vae, const struct hunyuan_tile *tile) {
    return vae->time_ratio * (tile->frames - 1) + (tile->frame0 == 0 ? 1 : 0);
}

enum { LEAST_BAND = 2, UNKNOWN_WORKERS = 4 };

static int workers_of(const struct sdt_vae_job *job, int device) {
    if (job->place)
        return job->place[device].workers;
    return job->dtype == SDT_F32 ? UNKNOWN_WORKERS : 1;
}

int sdt__hunyuan_band_rows(const struct sdt_vae_job *job, int device, int rows) {
    int bands = at_most(at_most(rows / LEAST_BAND, workers_of(job, device)), SDT_MOST_CONV_BANDS);
    if (job->dtype != SDT_F32 || (job->place && job->place[device].kind != SDT_DEVICE_CPU))
        return rows;
    return bands < 2 ? rows : (rows + bands - 1) / bands;
}

int sdt__hunyuan_in_flight(const struct sdt_vae_job *job, int device, int bands) {
    int workers = workers_of(job, device);
    return 1 + (workers + bands - 1) / bands;
}

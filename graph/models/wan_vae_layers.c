/* The layers of Wan 2.1's decoder, each named once: tensors, tasks and figures are made from this
 * list. And how work on them is shared out: stages and tiles over devices, bands over workers. */
#include <stdio.h>
#include <stdlib.h>

#include "graph/models/wan_vae.h"

/* ---- the list -------------------------------------------------------------------------------- */

static int add_edge(struct wan_layers *all, int channels, int space) {
    if (all->edges == all->edges_capacity) {
        int capacity = all->edges_capacity ? 2 * all->edges_capacity : 64;
        struct wan_edge *edge = realloc(all->edge, (size_t)capacity * sizeof *edge);
        if (!edge) {
            all->failed = true;
            return 0;
        }
        all->edge = edge;
        all->edges_capacity = capacity;
    }
    all->edge[all->edges] =
        (struct wan_edge){.channels = channels, .space = space, .window = 1, .alias = -1};
    for (int i = 0; i < WAN_MOST_FRAMES; i++)
        all->edge[all->edges].slot[i] = -1;
    return all->edges++;
}

/* Where in the list the next layer stands. */
struct next {
    struct wan_layers *all;
    int time;           /* frames per latent frame after the first */
    const char *prefix; /* of the names of tensors */
};

static struct wan_layer *add_layer(struct next at, enum wan_layer_kind kind, int in, int out,
                                   const char *name) {
    struct wan_layers *all = at.all;
    if (all->layers == all->layers_capacity) {
        int capacity = all->layers_capacity ? 2 * all->layers_capacity : 64;
        struct wan_layer *layer = realloc(all->layer, (size_t)capacity * sizeof *layer);
        if (!layer) {
            all->failed = true;
            return &all->nowhere;
        }
        all->layer = layer;
        all->layers_capacity = capacity;
    }
    struct wan_layer *layer = &all->layer[all->layers++];
    *layer =
        (struct wan_layer){.kind = kind, .in = in, .residual = -1, .out = out, .time = at.time};
    snprintf(layer->name, sizeof layer->name, "%s%s", at.prefix, name);
    return layer;
}

/* Convolution from edge `in` to a new edge, which is returned. Of `shape`, the input's channels are
 * filled in here. */
static int conv3d(struct next at, int in, struct sdt_conv shape, int residual, const char *name) {
    struct wan_layers *all = at.all;
    if (all->failed)
        return 0;
    int space = all->edge[in].space;
    shape.in = all->edge[in].channels;
    int out = add_edge(all, shape.out, shape.upsample ? 2 * space : space);
    struct wan_layer *layer = add_layer(at, WAN_CONV, in, out, name);
    layer->conv = shape;
    layer->residual = residual;
    layer->flops = 2.0 * shape.in * shape.out * shape.kt * shape.ks * shape.ks * space * space *
                   (shape.upsample ? 4.0 : 1.0) * at.time;
    if (shape.kt > 1)
        all->edge[in].window = 3;
    return out;
}

/* The same of each frame by itself. */
static int conv2d(struct next at, int in, struct sdt_conv shape, int residual, const char *name) {
    shape.kt = 1;
    int out = conv3d(at, in, shape, residual, name);
    if (!at.all->failed)
        at.all->layer[at.all->layers - 1].flat = true;
    return out;
}

/* Channel norm; out: a new edge, or in place. */
static int norm(struct next at, int in, bool in_place, bool silu, const char *name) {
    struct wan_layers *all = at.all;
    if (all->failed)
        return 0;
    int out = in_place ? in : add_edge(all, all->edge[in].channels, all->edge[in].space);
    add_layer(at, WAN_NORM, in, out, name)->silu = silu;
    return out;
}

static int res_block(struct next at, int in, int channels) {
    const struct sdt_conv cube = {.out = channels, .kt = 3, .ks = 3};
    const struct sdt_conv point = {.out = channels, .kt = 1, .ks = 1};
    if (at.all->failed)
        return 0;
    int y = norm(at, in, false, true, "norm1");
    y = conv3d(at, y, cube, -1, "conv1");
    y = norm(at, y, true, true, "norm2");
    int skip = in;
    if (!at.all->failed && at.all->edge[in].channels != channels)
        skip = conv3d(at, in, point, -1, "conv_shortcut");
    return conv3d(at, y, cube, skip, "conv2");
}

static int attention(struct next at, int in) {
    struct wan_layers *all = at.all;
    if (all->failed)
        return 0;
    int channels = all->edge[in].channels;
    int y = norm(at, in, false, false, "norm");
    if (!all->failed)
        all->layer[all->layers - 1].flat = true;
    y = conv2d(at, y, (struct sdt_conv){.out = 3 * channels, .ks = 1}, -1, "to_qkv");
    if (all->failed)
        return 0;
    all->edge[y].whole = true;
    int o = add_edge(all, channels, all->edge[y].space);
    add_layer(at, WAN_ATTEND, y, o, "attention");
    return conv2d(at, o, (struct sdt_conv){.out = channels, .ks = 1}, in, "proj");
}

/* Two frames out of each frame but the first: frame 0 passes by. */
static int time_upsample(struct next at, int in) {
    struct wan_layers *all = at.all;
    if (all->failed)
        return 0;
    int channels = all->edge[in].channels, space = all->edge[in].space;
    int out = add_edge(all, channels, space);
    if (all->failed)
        return 0;
    all->edge[out].alias = in;
    all->edge[in].window = 3;
    add_layer(at, WAN_TIME, in, out, "time_conv")->flops =
        12.0 * channels * channels * space * space * at.time;
    return out;
}

void sdt__wan_layers_init(struct wan_layers *all, const struct wan_vae *vae) {
    char prefix[64];
    int channels = vae->base_dim * vae->multiplier[vae->blocks - 1];
    struct next at = {.all = all, .time = 1, .prefix = ""};

    *all = (struct wan_layers){0};
    int x = add_edge(all, vae->z_dim, 1);
    if (!all->failed)
        all->edge[x].whole = true;
    add_layer(at, WAN_WINDOW, -1, x, "latent");
    x = conv3d(at, x, (struct sdt_conv){.out = vae->z_dim, .kt = 1, .ks = 1}, -1,
               WAN_VAE_LATENT_CONV);
    at.prefix = "decoder.";
    x = conv3d(at, x, (struct sdt_conv){.out = channels, .kt = 3, .ks = 3}, -1, "conv_in");
    at.prefix = WAN_VAE_MIDDLE "resnets.0.";
    x = res_block(at, x, channels);
    at.prefix = WAN_VAE_MIDDLE "attentions.0.";
    x = attention(at, x);
    at.prefix = WAN_VAE_MIDDLE "resnets.1.";
    x = res_block(at, x, channels);
    at.prefix = prefix;
    for (int i = 0; i < vae->blocks; i++) {
        channels = vae->base_dim * vae->multiplier[vae->blocks - 1 - i];
        for (int r = 0; r <= vae->res_blocks; r++) {
            snprintf(prefix, sizeof prefix, WAN_VAE_UP_BLOCK WAN_VAE_RESNET, i, r);
            x = res_block(at, x, channels);
        }
        if (i == vae->blocks - 1)
            break;
        snprintf(prefix, sizeof prefix, WAN_VAE_UP_BLOCK WAN_VAE_UPSAMPLER, i);
        if (vae->upsample_time[i]) {
            x = time_upsample(at, x);
            at.time *= 2;
        }
        x = conv2d(at, x, (struct sdt_conv){.out = channels / 2, .ks = 3, .upsample = true}, -1,
                   "resample.1");
    }
    at.prefix = "decoder.";
    x = norm(at, x, true, true, "norm_out");
    x = conv3d(at, x, (struct sdt_conv){.out = 3, .kt = 3, .ks = 3}, -1, "conv_out");
    add_layer(at, WAN_PUT, x, -1, "put");
}

void sdt__wan_layers_clear(struct wan_layers *all) {
    for (int i = 0; i < all->pools; i++) {
        struct wan_pool *pool = &all->pool[i];
        for (int h = 0; pool->handle && h < pool->slots * all->room; h++)
            sdt__unregister_submit(pool->handle[h]);
        free(pool->handle);
        free(pool->queue);
    }
    free(all->pool);
    free(all->edge);
    free(all->layer);
    *all = (struct wan_layers){0};
}

/* ---- devices, tiles, bands ------------------------------------------------------------------- */

static int at_most(int a, int b) { return a < b ? a : b; }

static double speed_of(const struct sdt_place *place) {
    return place->speed > 0.0 ? place->speed : 1.0;
}

void sdt__wan_layers_place(struct wan_layers *all, const struct sdt_place *place, int devices,
                           int only) {
    double total = 0.0, before = 0.0, speeds = 0.0;
    for (int i = 0; i < all->layers; i++)
        total += all->layer[i].flops;
    for (int d = 0; d < devices; d++)
        speeds += speed_of(&place[d]);
    for (int i = 0; i < all->layers; i++) {
        double middle = before + all->layer[i].flops / 2.0, end = 0.0;
        int device = -1;
        while (device < devices - 1 && (device < 0 || end * total <= middle * speeds))
            end += speed_of(&place[++device]);
        all->layer[i].device = only >= 0 ? only : device;
        before += all->layer[i].flops;
    }
}

struct wan_tiling sdt__wan_tiling(const struct wan_vae *vae, const struct sdt_vae_job *job) {
    int ratio = vae->vae.space_ratio;
    struct wan_tiling t = {.size_rows = job->tiling.size_rows / ratio,
                           .size_cols = job->tiling.size_cols / ratio,
                           .stride_rows = job->tiling.stride_rows / ratio,
                           .stride_cols = job->tiling.stride_cols / ratio};
    if (!job->tiling.size_rows || (job->height <= t.size_rows && job->width <= t.size_cols))
        return (struct wan_tiling){1, 1, job->height, job->width, job->height, job->width};
    t.rows = (job->height + t.stride_rows - 1) / t.stride_rows;
    t.cols = (job->width + t.stride_cols - 1) / t.stride_cols;
    return t;
}

struct wan_tile sdt__wan_tile(const struct wan_tiling *t, const struct sdt_vae_job *job, int n) {
    int y0 = n / t->cols * t->stride_rows, x0 = n % t->cols * t->stride_cols;
    return (struct wan_tile){y0, x0, at_most(t->size_rows, job->height - y0),
                             at_most(t->size_cols, job->width - x0)};
}

int sdt__wan_next_device(const struct sdt_place *place, int devices, int *tiles) {
    int best = 0;
    for (int d = 1; d < devices; d++)
        if ((tiles[d] + 1) / speed_of(&place[d]) < (tiles[best] + 1) / speed_of(&place[best]))
            best = d;
    tiles[best]++;
    return best;
}

enum { LEAST_BAND = 2, UNKNOWN_WORKERS = 4 };

static int workers_of(const struct sdt_vae_job *job) {
    return job->place ? job->place->workers : UNKNOWN_WORKERS;
}

int sdt__wan_band_rows(const struct sdt_vae_job *job, int rows) {
    int bands = rows / LEAST_BAND;
    if (job->dtype != SDT_F32)
        return rows;
    for (int i = 0; job->place && i < job->devices; i++)
        if (job->place[i].kind != SDT_DEVICE_CPU)
            return rows;
    bands = at_most(at_most(bands, workers_of(job)), SDT_MOST_CONV_BANDS);
    return bands < 2 ? rows : (rows + bands - 1) / bands;
}

int sdt__wan_more_frames(const struct sdt_vae_job *job, int rows) {
    int band = sdt__wan_band_rows(job, rows), bands = (rows + band - 1) / band;
    int more = at_most(workers_of(job) / bands, 3);
    if (bands > 1 && bands >= workers_of(job) && job->devices < 2)
        return 0;
    return more < 1 ? 1 : more;
}

/* The list of a streamed decoder's layers, each named once: the pieces that lists are written with,
 * what their tensors are called, in which order steps are taken, and how work on layers is shared
 * out: stages over devices, bands over workers. */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

#include "graph/models/wavefront.h"

static int at_most(int a, int b) { return a < b ? a : b; }

/* ---- the list -------------------------------------------------------------------------------- */

int sdt__wavefront_edge(struct wavefront *all, int channels, int space) {
    if (all->edges == all->edges_capacity) {
        int capacity = all->edges_capacity ? 2 * all->edges_capacity : 64;
        struct frame_edge *edge = realloc(all->edge, (size_t)capacity * sizeof *edge);
        if (!edge) {
            all->failed = true;
            return 0;
        }
        all->edge = edge;
        all->edges_capacity = capacity;
    }
    all->edge[all->edges] =
        (struct frame_edge){.channels = channels, .space = space, .writer = -1, .alias = -1};
    for (int i = 0; i < WAVEFRONT_FRAMES; i++)
        all->edge[all->edges].slot[i] = -1;
    return all->edges++;
}

/* The layer reads an edge as whoever stands before it in the list has left it. */
void sdt__wavefront_beside(struct wavefront *all, struct frame_layer *layer, int input, int edge) {
    layer->in[input] = edge;
    layer->from[input] = edge >= 0 && !all->failed ? all->edge[edge].writer : -1;
}

struct frame_layer *sdt__wavefront_layer(struct wavefront_at at, enum frame_layer_kind kind, int in,
                                         int out, const char *name) {
    struct wavefront *all = at.all;
    if (all->layers == all->layers_capacity) {
        int capacity = all->layers_capacity ? 2 * all->layers_capacity : 64;
        struct frame_layer *layer = realloc(all->layer, (size_t)capacity * sizeof *layer);
        if (!layer) {
            all->failed = true;
            return &all->nowhere;
        }
        all->layer = layer;
        all->layers_capacity = capacity;
    }
    struct frame_layer *layer = &all->layer[all->layers++];
    *layer = (struct frame_layer){.kind = kind, .out = out, .time = at.time};
    sdt__wavefront_beside(all, layer, 0, in);
    for (int i = 1; i < FRAME_INPUTS; i++)
        sdt__wavefront_beside(all, layer, i, -1);
    if (out >= 0 && !all->failed)
        all->edge[out].writer = all->layers - 1;
    snprintf(layer->name, sizeof layer->name, "%s%s", at.prefix, name);
    return layer;
}

int sdt__wavefront_conv(struct wavefront_at at, int in, struct sdt_conv shape, int residual,
                        const char *name) {
    struct wavefront *all = at.all;
    if (all->failed)
        return 0;
    int space = all->edge[in].space;
    shape.in = all->edge[in].channels;
    int out = sdt__wavefront_edge(all, shape.out, shape.upsample ? 2 * space : space);
    struct frame_layer *layer = sdt__wavefront_layer(at, FRAME_CONV, in, out, name);
    layer->conv = shape;
    layer->rows = shape.out;
    sdt__wavefront_beside(all, layer, 1, residual);
    layer->flops = 2.0 * shape.in * shape.out * shape.kt * shape.ks * shape.ks * space * space *
                   (shape.upsample ? 4.0 : 1.0) * at.time;
    return out;
}

int sdt__wavefront_conv2d(struct wavefront_at at, int in, struct sdt_conv shape, int residual,
                          const char *name) {
    shape.kt = 1;
    int out = sdt__wavefront_conv(at, in, shape, residual, name);
    if (!at.all->failed)
        at.all->layer[at.all->layers - 1].flat = true;
    return out;
}

int sdt__wavefront_norm(struct wavefront_at at, int in, bool in_place, bool silu,
                        const char *name) {
    struct wavefront *all = at.all;
    if (all->failed)
        return 0;
    int out = in_place ? in : sdt__wavefront_edge(all, all->edge[in].channels, all->edge[in].space);
    sdt__wavefront_layer(at, FRAME_NORM, in, out, name)->silu = silu;
    return out;
}

void sdt__wavefront_init(struct wavefront *all, const struct wavefront_vae *vae, int frames) {
    *all = (struct wavefront){.frames = frames};
    vae->list(all, vae);
}

void sdt__wavefront_clear(struct wavefront *all) {
    for (int i = 0; i < all->pools; i++) {
        struct frame_pool *pool = &all->pool[i];
        for (int h = 0; pool->handle && h < pool->slots * all->room; h++)
            sdt__unregister_submit(pool->handle[h]);
        free(pool->handle);
        free(pool->queue);
    }
    free(all->pool);
    free(all->edge);
    free(all->layer);
    *all = (struct wavefront){0};
}

/* ---- tensors --------------------------------------------------------------------------------- */

void sdt__wavefront_tensors(const struct wavefront *all, struct sdt_tensor_table *table) {
    for (int i = 0; i < all->layers; i++) {
        const struct frame_layer *l = &all->layer[i];
        const struct sdt_conv *c = &l->conv;
        int channels = l->in[0] < 0 ? 0 : all->edge[l->in[0]].channels;
        if (l->kind == FRAME_CONV && l->first > 0)
            continue; /* of a tensor that has been named */
        if (l->kind == FRAME_CONV && l->flat)
            sdt_tensor_table_add(table, 4, (int64_t[]){l->rows, c->in, c->ks, c->ks}, "%s.weight",
                                 l->name);
        else if (l->kind == FRAME_CONV)
            sdt_tensor_table_add(table, 5, (int64_t[]){l->rows, c->in, c->kt, c->ks, c->ks},
                                 "%s.weight", l->name);
        else if (l->kind == FRAME_TIME)
            sdt_tensor_table_add(table, 5, (int64_t[]){2 * channels, channels, 3, 1, 1},
                                 "%s.weight", l->name);
        else if (l->kind == FRAME_NORM)
            sdt_tensor_table_add(table, l->flat ? 3 : 4, (int64_t[]){channels, 1, 1, 1}, "%s.gamma",
                                 l->name);
        else if (l->kind == FRAME_LAYER_NORM)
            sdt_tensor_table_add(table, 1, (int64_t[]){channels}, "%s.weight", l->name);
        if (l->kind == FRAME_CONV)
            sdt_tensor_table_add(table, 1, (int64_t[]){l->rows}, "%s.bias", l->name);
        else if (l->kind == FRAME_TIME)
            sdt_tensor_table_add(table, 1, (int64_t[]){2 * channels}, "%s.bias", l->name);
        else if (l->kind == FRAME_LAYER_NORM)
            sdt_tensor_table_add(table, 1, (int64_t[]){channels}, "%s.bias", l->name);
    }
}

/* ---- steps ----------------------------------------------------------------------------------- */

/* Does it make two frames of each but the first? */
static bool doubles(const struct frame_layer *layer) {
    return layer->kind == FRAME_TIME || layer->kind == FRAME_HAAR_3D;
}

/* How many frames of its edge are there after a layer's first steps. */
static int frames_after(const struct frame_layer *layer) {
    return doubles(layer) && layer->next > 0 ? 2 * layer->next - 1 : layer->next;
}

void sdt__wavefront_reads(const struct frame_layer *layer, int frames, int input, int *first,
                          int *last) {
    int t = layer->next;
    *first = *last = t;
    if (input > 0)
        return;
    if (layer->kind == FRAME_CONV)
        *first -= layer->conv.kt - 1;
    if (layer->kind == FRAME_CONV && layer->repeats && *first < 0)
        *first = 0;
    if (layer->kind == FRAME_TIME)
        *first -= 2;
    if (layer->kind == FRAME_LINEAR && t > 0) { /* frames 2k and 2k + 1: k and k + 1, if there */
        *first = t > 1 ? t / 2 : 1;
        *last = at_most(t / 2 + 1, layer->time / 2 * (frames - 1));
    }
}

static bool is_ready(const struct wavefront *all, const struct frame_layer *layer) {
    if (layer->next >= sdt__wavefront_steps(layer, all->frames))
        return false;
    for (int i = 0; i < FRAME_INPUTS; i++) {
        int first, last;
        sdt__wavefront_reads(layer, all->frames, i, &first, &last);
        if (layer->in[i] >= 0 && last >= frames_after(&all->layer[layer->from[i]]))
            return false;
    }
    return true;
}

int sdt__wavefront_ready(const struct wavefront *all) {
    int i = all->layers - 1;
    while (i > 0 && !is_ready(all, &all->layer[i]))
        i--;
    return i;
}

int sdt__wavefront_written(const struct frame_layer *layer, int *first) {
    *first = layer->next;
    if (layer->out < 0 || layer->out == layer->in[0])
        return 0;
    if (!doubles(layer))
        return 1;
    if (layer->next == 0) /* passes by, or is made of the later half alone */
        return layer->kind == FRAME_TIME ? 0 : 1;
    *first = 2 * layer->next - 1;
    return 2;
}

/* The oldest frame of an edge that a layer will read. */
static int oldest_needed(const struct wavefront *all, int edge) {
    int oldest = INT_MAX;
    for (int i = 0; i < all->layers; i++) {
        const struct frame_layer *layer = &all->layer[i];
        bool ended = layer->next >= sdt__wavefront_steps(layer, all->frames);
        for (int n = 0; n < FRAME_INPUTS && !ended; n++) {
            int first, last;
            sdt__wavefront_reads(layer, all->frames, n, &first, &last);
            if (layer->in[n] == edge && first < oldest)
                oldest = first;
            if (layer->in[n] >= 0 && all->edge[layer->in[n]].alias == edge && first <= 0)
                oldest = first;
        }
    }
    return oldest;
}

static void retire(struct wavefront *all, int e) {
    struct frame_edge *edge = &all->edge[e];
    int oldest = oldest_needed(all, e);
    while (edge->kept < edge->taken && edge->kept < oldest)
        sdt__wavefront_give_back(all, e, edge->kept++);
}

void sdt__wavefront_done(struct wavefront *all, int layer) {
    struct frame_layer *l = &all->layer[layer];
    l->next++;
    for (int i = 0; i < FRAME_INPUTS; i++)
        if (l->in[i] >= 0) {
            retire(all, l->in[i]);
            if (all->edge[l->in[i]].alias >= 0)
                retire(all, all->edge[l->in[i]].alias);
        }
}

/* ---- devices, bands -------------------------------------------------------------------------- */

void sdt__wavefront_place(struct wavefront *all, const struct sdt_place *place, int devices,
                          int only) {
    double total = 0.0, before = 0.0, speeds = 0.0;
    for (int i = 0; i < all->layers; i++)
        total += all->layer[i].flops;
    for (int d = 0; d < devices; d++)
        speeds += sdt__vae_speed(&place[d]);
    for (int i = 0; i < all->layers; i++) {
        double middle = before + all->layer[i].flops / 2.0, end = 0.0;
        int device = -1;
        while (device < devices - 1 && (device < 0 || end * total <= middle * speeds))
            end += sdt__vae_speed(&place[++device]);
        all->layer[i].device = only >= 0 ? only : device;
        before += all->layer[i].flops;
    }
}

enum { LEAST_BAND = 2, UNKNOWN_WORKERS = 4 };

static int workers_of(const struct sdt_vae_job *job) {
    if (job->place)
        return job->place->workers;
    return job->dtype == SDT_F32 ? UNKNOWN_WORKERS : 1;
}

int sdt__wavefront_band_rows(const struct sdt_vae_job *job, int rows) {
    int bands = rows / LEAST_BAND;
    if (job->dtype != SDT_F32)
        return rows;
    for (int i = 0; job->place && i < job->devices; i++)
        if (job->place[i].kind != SDT_DEVICE_CPU)
            return rows;
    bands = at_most(at_most(bands, workers_of(job)), SDT_MOST_CONV_BANDS);
    return bands < 2 ? rows : (rows + bands - 1) / bands;
}

int sdt__wavefront_more_frames(const struct sdt_vae_job *job, int rows) {
    int band = sdt__wavefront_band_rows(job, rows), bands = (rows + band - 1) / band;
    int more = at_most(workers_of(job) / bands, 3);
    if (bands > 1 && bands >= workers_of(job) && job->devices < 2)
        return 0;
    return more < 1 ? 1 : more;
}

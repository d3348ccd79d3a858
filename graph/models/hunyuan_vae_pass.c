/* How the frames of a tile pass the layers of HunyuanVideo's decoder, and which of them share
 * memory: slots are given out in the order in which tasks are inserted, as registers are to a
 * program's values. A task that writes a slot waits for the tasks that read what was there, since
 * they use the same handle. Prediction goes the same way without inserting anything. */
#include <stdlib.h>
#include <string.h>

#include "graph/models/hunyuan_vae.h"

/* ---- pools ----------------------------------------------------------------------------------- */

/* Finds or makes the pool of an edge. */
static int pool_of(struct hunyuan_layers *all, const struct hunyuan_edge *edge) {
    int values = edge->channels * edge->space * edge->space;
    for (int i = 0; i < all->pools; i++)
        if (all->pool[i].values == values && all->pool[i].whole == edge->whole)
            return i;
    all->pool[all->pools] = (struct hunyuan_pool){.values = values, .whole = edge->whole};
    return all->pools++;
}

void sdt__hunyuan_pools_init(struct hunyuan_layers *all, int frames, int bands, int in_flight,
                             bool handles) {
    all->room = bands;
    all->pool = calloc((size_t)all->edges, sizeof *all->pool);
    all->failed |= !all->pool;
    for (int e = 0; e < all->edges && !all->failed; e++) {
        struct hunyuan_edge *edge = &all->edge[e];
        size_t most = (size_t)sdt__hunyuan_frames(edge->time, frames);
        edge->pool = pool_of(all, edge);
        struct hunyuan_pool *pool = &all->pool[edge->pool];
        pool->last = edge->last > pool->last ? edge->last : pool->last;
        pool->capacity += (int)most;
        edge->slot = malloc(most * sizeof *edge->slot);
        all->failed |= !edge->slot;
        for (size_t t = 0; edge->slot && t < most; t++)
            edge->slot[t] = -1;
    }
    for (int i = 0; i < all->pools && !all->failed; i++) {
        struct hunyuan_pool *pool = &all->pool[i];
        pool->spare = in_flight;
        pool->capacity += in_flight + 1;
        pool->queue = calloc((size_t)pool->capacity, sizeof *pool->queue);
        if (handles)
            pool->handle = calloc((size_t)pool->capacity * (size_t)bands, sizeof *pool->handle);
        all->failed |= !pool->queue || (handles && !pool->handle);
    }
}

static void clear_pool(struct hunyuan_pool *pool, const struct hunyuan_visit *visit) {
    if (pool->slots > 0 && visit->clear)
        visit->clear(visit->arg, pool);
    pool->slots = pool->idle = 0;
}

void sdt__hunyuan_clear_pools(struct hunyuan_layers *all, const struct hunyuan_visit *visit) {
    for (int i = 0; i < all->pools; i++)
        clear_pool(&all->pool[i], visit);
}

/* A slot for frame t of an edge, which a layer is about to write. */
static void take(struct hunyuan_layers *all, int edge, int t, const struct hunyuan_visit *visit) {
    struct hunyuan_pool *pool = &all->pool[all->edge[edge].pool];
    int *slot = &all->edge[edge].slot[t];
    if (pool->idle > pool->spare) {
        *slot = pool->queue[0];
        pool->idle--;
        memmove(pool->queue, pool->queue + 1, (size_t)pool->idle * sizeof *pool->queue);
        return;
    }
    *slot = pool->slots++;
    if (visit->slot)
        visit->slot(visit->arg, pool, *slot);
}

/* Frames up to `end` - 1 of an edge are not read any more. */
static void give_back(struct hunyuan_layers *all, int e, int end) {
    struct hunyuan_edge *edge = &all->edge[e];
    struct hunyuan_pool *pool = &all->pool[edge->pool];
    for (; edge->given_back < end; edge->given_back++) {
        pool->queue[pool->idle++] = edge->slot[edge->given_back];
        edge->slot[edge->given_back] = -1;
    }
}

/* Frame t of a layer has been made. */
static void retire(struct hunyuan_layers *all, int layer, int t, int e) {
    const struct hunyuan_layer *l = &all->layer[layer];
    if (e < 0 || all->edge[e].last != layer)
        return;
    int end = t + 1;
    if (t + 1 == sdt__hunyuan_frames(l->time, all->frames))
        end = sdt__hunyuan_frames(all->edge[e].time, all->frames);
    else if (all->edge[e].back > 0)
        end = sdt__hunyuan_source(l, t + 1, 0);
    give_back(all, e, end);
}

/* ---- frames ---------------------------------------------------------------------------------- */

/* Frame t comes out of the layer in front of `layer`. */
static void push(struct hunyuan_layers *all, int layer, int t, const struct hunyuan_visit *visit) {
    const struct hunyuan_layer *l = &all->layer[layer];
    int first = t, last = t;
    if (l->kind == HUNYUAN_KEYS)
        return;
    if (l->repeat > 1) {
        first = t == 0 ? 0 : l->repeat * (t - 1) + 1;
        last = l->repeat * t;
    }
    for (int u = first; u <= last; u++) {
        if (l->out >= 0)
            take(all, l->out, u, visit);
        if (visit->frame)
            visit->frame(visit->arg, layer, u);
        retire(all, layer, u, l->in);
        retire(all, layer, u, l->beside);
        if (l->kind != HUNYUAN_MOMENTS && l->kind != HUNYUAN_PUT)
            push(all, layer + 1, u, visit);
    }
}

int sdt__hunyuan_pass(struct hunyuan_layers *all, int first, const struct hunyuan_visit *visit) {
    const struct hunyuan_layer *l = &all->layer[first];
    int time = l->in < 0 ? l->time : all->edge[l->in].time, end = first;
    for (int e = 0; first == 0 && e < all->edges; e++)
        all->edge[e].given_back = 0;
    for (int t = 0; t < sdt__hunyuan_frames(time, all->frames); t++)
        push(all, first, t, visit);
    while (all->layer[end].kind != HUNYUAN_MOMENTS && all->layer[end].kind != HUNYUAN_KEYS &&
           all->layer[end].kind != HUNYUAN_PUT)
        end++;
    if (visit->end)
        visit->end(visit->arg, end);
    if (all->layer[end].kind == HUNYUAN_KEYS) {
        int frames = sdt__hunyuan_frames(all->layer[end].time, all->frames);
        give_back(all, all->layer[end].in, frames);
        give_back(all, all->layer[end].beside, frames);
    }
    for (int i = 0; i < all->pools; i++)
        if (all->pool[i].last <= end)
            clear_pool(&all->pool[i], visit);
    return end + 1;
}

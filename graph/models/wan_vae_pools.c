/* Which frames of a decode share memory: slots are given out in the order in which tasks are
 * inserted, as registers are to a program's values. A task that writes a slot waits for the tasks
 * that read what was there, since they use the same handle. */
#include <stdlib.h>
#include <string.h>

#include "graph/models/wan_vae.h"

/* Finds or makes the pool of an edge. */
static int pool_of(struct wan_layers *all, const struct wan_edge *edge) {
    for (int i = 0; i < all->pools; i++) {
        const struct wan_pool *pool = &all->pool[i];
        if (pool->channels == edge->channels && pool->space == edge->space &&
            pool->whole == edge->whole && pool->away == edge->away && pool->device == edge->device)
            return i;
    }
    all->pool[all->pools] = (struct wan_pool){.channels = edge->channels,
                                              .space = edge->space,
                                              .device = edge->device,
                                              .whole = edge->whole,
                                              .away = edge->away};
    return all->pools++;
}

/* A layer reads an edge, and frame 0 of the one that it passes by. */
static void read_edge(struct wan_layers *all, int layer, int edge) {
    if (edge < 0)
        return;
    all->edge[edge].last = layer;
    all->edge[edge].away |= all->edge[edge].device != all->layer[layer].device;
    int alias = all->edge[edge].alias;
    if (alias >= 0)
        all->edge[alias].away |= all->edge[alias].device != all->layer[layer].device;
}

void sdt__wan_pools_init(struct wan_layers *all, const struct sdt_vae_job *job, int rows,
                         int room) {
    int more = sdt__wan_more_frames(job, rows);
    all->room = room;
    for (int i = 0; i < all->layers; i++) {
        const struct wan_layer *l = &all->layer[i];
        if (l->out >= 0 && l->out != l->in)
            all->edge[l->out].device = l->device;
        read_edge(all, i, l->in);
        read_edge(all, i, l->residual);
    }
    all->pool = calloc((size_t)all->edges, sizeof *all->pool);
    all->failed |= !all->pool;
    for (int e = 0; all->pool && e < all->edges; e++) {
        all->edge[e].pool = pool_of(all, &all->edge[e]);
        all->pool[all->edge[e].pool].edges++;
    }
    for (int i = 0; i < all->pools; i++) {
        struct wan_pool *pool = &all->pool[i];
        pool->spare = more ? more * pool->edges : 1;
        size_t most = (size_t)(WAN_MOST_FRAMES * pool->edges + pool->spare);
        pool->queue = calloc(most, sizeof *pool->queue);
        pool->handle = room ? calloc(most * (size_t)room, sizeof *pool->handle) : NULL;
        all->failed |= !pool->queue || (room && !pool->handle);
    }
}

struct wan_pool *sdt__wan_take_slot(struct wan_layers *all, int edge, int t) {
    struct wan_pool *pool = &all->pool[all->edge[edge].pool];
    int *slot = &all->edge[edge].slot[t % WAN_MOST_FRAMES];
    if (pool->idle <= pool->spare) {
        *slot = pool->slots++;
        return pool;
    }
    *slot = pool->queue[0];
    pool->idle--;
    memmove(pool->queue, pool->queue + 1, (size_t)pool->idle * sizeof *pool->queue);
    return NULL;
}

static void give_back(struct wan_layers *all, int edge, int t) {
    struct wan_pool *pool = &all->pool[all->edge[edge].pool];
    int *slot = &all->edge[edge].slot[t % WAN_MOST_FRAMES];
    if (*slot >= 0)
        pool->queue[pool->idle++] = *slot;
    *slot = -1;
}

void sdt__wan_retire(struct wan_layers *all, int layer, int t) {
    for (int e = 0; e < all->edges; e++) {
        const struct wan_edge *edge = &all->edge[e];
        int frame = t - (edge->window - 1);
        /* Frame 0 of an alias is the other edge's. */
        if (edge->last == layer && frame >= 0 && (frame > 0 || edge->alias < 0))
            give_back(all, e, frame);
    }
}

void sdt__wan_retire_all(struct wan_layers *all) {
    for (int e = 0; e < all->edges; e++)
        for (int t = 0; t < WAN_MOST_FRAMES; t++)
            give_back(all, e, t);
}

static void rehearse(struct wan_layers *all, int layer, int t) {
    const struct wan_layer *l = &all->layer[layer];
    bool doubles = l->kind == WAN_TIME && t > 0;
    if (doubles) {
        sdt__wan_take_slot(all, l->out, 2 * t - 1);
        sdt__wan_take_slot(all, l->out, 2 * t);
    } else if (l->kind != WAN_TIME && l->out >= 0 && l->out != l->in) {
        sdt__wan_take_slot(all, l->out, t);
    }
    sdt__wan_retire(all, layer, t);
    if (doubles)
        rehearse(all, layer + 1, 2 * t - 1);
    if (l->kind != WAN_PUT)
        rehearse(all, layer + 1, doubles ? 2 * t : t);
}

void sdt__wan_rehearse(struct wan_layers *all, int t) { rehearse(all, 0, t); }

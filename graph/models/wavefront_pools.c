/* Which frames of a decode share memory: slots are given out in the order in which tasks are
 * inserted, as registers are to a program's values. A task that writes a slot waits for the tasks
 * that read what was there, since they use the same handle. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "graph/models/wavefront.h"

/* Finds or makes the pool of an edge. */
static int pool_of(struct wavefront *all, const struct frame_edge *edge) {
    for (int i = 0; i < all->pools; i++) {
        const struct frame_pool *pool = &all->pool[i];
        if (pool->channels == edge->channels && pool->space == edge->space &&
            pool->whole == edge->whole && pool->away == edge->away && pool->device == edge->device)
            return i;
    }
    all->pool[all->pools] = (struct frame_pool){.channels = edge->channels,
                                                .space = edge->space,
                                                .device = edge->device,
                                                .whole = edge->whole,
                                                .away = edge->away};
    return all->pools++;
}

/* A layer reads an edge, and frame 0 of the one that it passes by. */
static void read_edge(struct wavefront *all, int layer, int edge) {
    if (edge < 0)
        return;
    all->edge[edge].away |= all->edge[edge].device != all->layer[layer].device;
    int alias = all->edge[edge].alias;
    if (alias >= 0)
        all->edge[alias].away |= all->edge[alias].device != all->layer[layer].device;
}

void sdt__wavefront_pools_init(struct wavefront *all, const struct sdt_vae_job *job, int rows,
                               int room) {
    int more = sdt__wavefront_more_frames(job, rows);
    all->room = room;
    for (int i = 0; i < all->layers; i++) {
        const struct frame_layer *l = &all->layer[i];
        if (l->out >= 0 && l->out != l->in[0])
            all->edge[l->out].device = l->device;
        for (int n = 0; n < FRAME_INPUTS; n++)
            read_edge(all, i, l->in[n]);
    }
    all->pool = calloc((size_t)all->edges, sizeof *all->pool);
    all->failed |= !all->pool;
    for (int e = 0; all->pool && e < all->edges; e++) {
        all->edge[e].pool = pool_of(all, &all->edge[e]);
        all->pool[all->edge[e].pool].edges++;
    }
    for (int i = 0; i < all->pools; i++) {
        struct frame_pool *pool = &all->pool[i];
        pool->spare = more * pool->edges;
        size_t most = (size_t)(WAVEFRONT_FRAMES * pool->edges + pool->spare);
        pool->queue = calloc(most, sizeof *pool->queue);
        pool->handle = room ? calloc(most * (size_t)room, sizeof *pool->handle) : NULL;
        all->failed |= !pool->queue || (room && !pool->handle);
    }
}

struct frame_pool *sdt__wavefront_take_slot(struct wavefront *all, int e, int t) {
    struct frame_edge *edge = &all->edge[e];
    struct frame_pool *pool = &all->pool[edge->pool];
    int *slot = &edge->slot[t % WAVEFRONT_FRAMES];
    assert(*slot < 0); /* else the list would need more than WAVEFRONT_FRAMES */
    edge->taken = t + 1;
    if (pool->idle <= pool->spare) {
        *slot = pool->slots++;
        return pool;
    }
    *slot = pool->queue[0];
    pool->idle--;
    memmove(pool->queue, pool->queue + 1, (size_t)pool->idle * sizeof *pool->queue);
    return NULL;
}

void sdt__wavefront_give_back(struct wavefront *all, int e, int t) {
    struct frame_pool *pool = &all->pool[all->edge[e].pool];
    int *slot = &all->edge[e].slot[t % WAVEFRONT_FRAMES];
    if (*slot >= 0)
        pool->queue[pool->idle++] = *slot;
    *slot = -1;
}

void sdt__wavefront_restart(struct wavefront *all) {
    for (int e = 0; e < all->edges; e++) {
        for (int t = 0; t < WAVEFRONT_FRAMES; t++)
            sdt__wavefront_give_back(all, e, t);
        /* Frame 0 of an alias is the other edge's. */
        all->edge[e].kept = all->edge[e].taken = all->edge[e].alias < 0 ? 0 : 1;
    }
    for (int i = 0; i < all->layers; i++)
        all->layer[i].next = 0;
}

void sdt__wavefront_rehearse(struct wavefront *all) {
    sdt__wavefront_restart(all);
    for (int t = 0; t < all->frames; t++)
        for (int i = 0, first; i > 0 || all->layer[0].next <= t; i = sdt__wavefront_ready(all)) {
            int count = sdt__wavefront_written(&all->layer[i], &first);
            for (int n = 0; n < count; n++)
                sdt__wavefront_take_slot(all, all->layer[i].out, first + n);
            sdt__wavefront_done(all, i);
        }
}

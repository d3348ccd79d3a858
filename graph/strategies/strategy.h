/* A parallel strategy: how self attention over a distributed sequence becomes tasks.
 *
 * A strategy is one file with one function that reads like the algorithm in its paper: a loop that
 * inserts tasks. StarPU derives what depends on what from the handles that the tasks share; the order of
 * insertion is the order in which the sequential program would do it. To add one: write the file, name
 * it in list.c.
 *
 * Vocabulary (layout.h): tile t of the tokens lives on device home[t]; chunk c of the heads is computed by
 * device owner[c]. A piece (t, c) is what one of q, k, v, o holds of both: [heads of c, rows, e]. */
#ifndef STARDIT_STRATEGY_H
#define STARDIT_STRATEGY_H

#include "graph/layout.h"

enum sdt_projection { SDT_PROJECT_Q, SDT_PROJECT_K, SDT_PROJECT_V, SDT_PROJECTIONS };

/* The buffers of one stream's self attention, reused by all layers and steps. */
struct sdt_attention_buffers {
    int count;                           /* tiles * chunks */
    sdt_handle *piece[SDT_PROJECTIONS];  /* [tiles, chunks] -> [heads of c, rows, e] */
    sdt_handle *output;                  /* [tiles, chunks] -> [heads of c, rows, e] */
    int chunks;
    sdt_handle *keys, *values;           /* [chunks] -> [tiles, heads of c, rows, e], at the owner */
};
/* Failures stay in the flow. */
void sdt_attention_buffers_init(struct sdt_flow *flow, struct sdt_attention_buffers *buffers,
                                const struct sdt_layout *layout);
void sdt_attention_buffers_clear(struct sdt_attention_buffers *buffers);
/* Bytes that these buffers take on one device of the group. */
double sdt_attention_buffers_bytes(const struct sdt_layout *layout, int device);

/* Self attention of one layer, as the model hands it to the strategy. */
struct sdt_self_attention {
    const struct sdt_layout *layout;
    const struct sdt_attention_buffers *buffers;
    /* The model's own parts, inserted at the tile's home device: projecting a tile (with norm and
     * rotation) into its pieces, and merging a tile's output pieces into the residual stream. */
    void *model;
    void (*project)(struct sdt_flow *flow, void *model, enum sdt_projection which, int tile);
    void (*output)(struct sdt_flow *flow, void *model, int tile);
};

struct sdt_strategy {
    const char *name, *summary;
    bool one_device; /* the group's first device does everything */
    void (*self_attention)(struct sdt_flow *flow, const struct sdt_self_attention *attention);
};

/* The building blocks of strategies (blocks.c). */

/* At the owner: brings chunk c of the keys (or values) of all tiles together. */
void sdt_exchange_in(struct sdt_flow *flow, const struct sdt_self_attention *attention,
                     enum sdt_projection which, int chunk);
/* At the owner: attention of query tile t for the heads of chunk c. Its query piece comes by itself. */
void sdt_attend(struct sdt_flow *flow, const struct sdt_self_attention *attention, int chunk,
                int tile);

/* By name; NULL if unknown. The list ends with NULL. */
const struct sdt_strategy *sdt_strategy_find(const char *name);
extern const struct sdt_strategy *const sdt_strategies[];
#endif

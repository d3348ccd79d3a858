/* A parallel strategy: how self attention over a distributed sequence becomes tasks.
 *
 * A strategy is one file with one function that reads like the algorithm in its paper: a loop that
 * inserts tasks. StarPU derives what depends on what from the handles that the tasks share; the order of
 * insertion is the order in which the sequential program would do it. To add one: write the file, name
 * it in list.c.
 *
 * Vocabulary (layout.h): tile t of the tokens lives on device home[t]; chunk c of the heads is computed by
 * its owner. A piece (t, c) is what one of q, k, v, o holds of both: [heads of c, rows, e]. */
#ifndef STARDIT_STRATEGY_H
#define STARDIT_STRATEGY_H

#include "runtime/collective.h"
#include "graph/run/layout.h"
#include "stardit/stardit.h"

enum sdt_projection { SDT_PROJECT_Q, SDT_PROJECT_K, SDT_PROJECT_V, SDT_PROJECTIONS };

/* The buffers of one stream's self attention, reused by all layers and steps. Gathered keys and values stand
 * per chunk, or, for rings, twice per device: while one is read, the next arrives in the other. */
struct sdt_attention_buffers {
    int pieces;                         /* tiles * chunks */
    sdt_handle *piece[SDT_PROJECTIONS]; /* [tiles, chunks] -> [heads of c, rows, e] */
    sdt_handle *output;                 /* [tiles, chunks] -> [heads of c, rows, e] */
    sdt_handle *lse; /* rings: [tiles, chunks] -> [heads of c, rows], float32; else NULL */
    /* Collective transport: where pieces land that travel, elsewhere the piece itself; NULL: StarPU moves
     * the pieces where they are read. */
    struct sdt_collective *collective;   /* borrowed */
    sdt_handle *landed[SDT_PROJECTIONS]; /* as piece */
    sdt_handle *landed_output;           /* as output */
    int gathered;                        /* chunks, or devices * 2 * chunks of a part */
    sdt_handle *keys, *values;           /* [gathered] -> [heads of c, tiles, rows, e] */
};

struct sdt_strategy;
/* Failures stay in the flow. */
void sdt_attention_buffers_init(struct sdt_flow *flow, struct sdt_attention_buffers *buffers,
                                const struct sdt_strategy *strategy,
                                const struct sdt_layout *layout,
                                struct sdt_collective *collective /* or NULL */);
void sdt_attention_buffers_clear(struct sdt_attention_buffers *buffers);
/* Bytes that these buffers take on one device of the group, predicted. */
double sdt_attention_buffers_bytes(const struct sdt_strategy *strategy,
                                   const struct sdt_layout *layout, int device);

/* Self attention of one layer, as the model hands it to the strategy. */
struct sdt_self_attention {
    const struct sdt_layout *layout;
    const struct sdt_attention_buffers *buffers;
    enum sdt_aco aco;                 /* for this layer: STATIC only while the helpers are free */
    const struct sdt_place *anywhere; /* DYNAMIC: owners and helpers together, [owners] */
    /* The model's own parts, inserted at the tile's home device: projecting a tile (with norm and
     * rotation) into its pieces; and, once the output pieces are merged into z, the output projection. */
    void *model;
    void (*project)(struct sdt_flow *flow, void *model, enum sdt_projection which, int tile);
    sdt_handle (*merged)(void *model, int tile); /* -> [rows, h*e], where o is put together */
    void (*output)(struct sdt_flow *flow, void *model, int tile);
};

struct sdt_strategy {
    const char *name, *summary;
    bool one_device; /* the group's first device does everything */
    bool ring; /* keys and values rotate: partial results are merged, so bits depend on the split */
    bool whole_heads; /* one part of the heads: every device computes all of them (ring alone) */
    int chunk_heads;  /* of a chunk, unless the plan says otherwise; 0: all heads of a device */
    void (*self_attention)(struct sdt_flow *flow, const struct sdt_self_attention *attention);
    /* Bytes that one layer of one forward moves between devices without helpers. */
    double (*exchanged)(const struct sdt_layout *layout);
};

/* How a model runs in parallel: the strategy, the devices, and what the plan decided. */
struct sdt_parallel {
    const struct sdt_strategy *strategy;
    const struct sdt_place *place;    /* [devices + helpers], outlives the run */
    const struct sdt_place *anywhere; /* [devices], each with the helpers; needed for ACO_DYNAMIC */
    int devices, helpers;
    int ulysses_degree;   /* usp; 0: all devices */
    int chunk_heads;      /* 0: the strategy's own */
    int tile_rows;        /* 0: as sdt_tile_rows() says, or sdt_cuda_tile_rows() for GPUs */
    enum sdt_dtype dtype; /* of activations and weights: SDT_F32, or SDT_BF16 on GPUs */
    enum sdt_transport transport;
    bool offloads; /* weights do not all fit: the next layer's are fetched while one computes */
    int streams;   /* forwards of a step in flight, each with buffers of its own; 0: all */
    enum sdt_aco aco;
    bool (*helpers_free)(void *arg); /* ACO_STATIC: asked before each layer; NULL: always */
    void *helpers_arg;
};
/* Streams of a run with `branches` forwards a step, of which the plan allows `wanted` (0: any number). */
static inline int sdt_streams(int wanted, int branches) {
    return wanted > 0 && wanted < branches ? wanted : branches;
}
/* The layout that this parallelism gives a sequence. Errors as sdt_layout_init. */
enum sdt_status sdt_parallel_layout(const struct sdt_parallel *parallel, int64_t tokens, int heads,
                                    int e, struct sdt_layout *layout, struct sdt_error *err);

/* ---- the building blocks of strategies (blocks.c) -------------------------------------------- */

/* At the owner: brings chunk c of the keys (or values) of all tiles together; of the queries, whose pieces
 * are read one by one, only brings it. */
void sdt_exchange_in(struct sdt_flow *flow, const struct sdt_self_attention *attention,
                     enum sdt_projection which, int chunk);
/* At the owner: attention of query tile t for the heads of chunk c. Its query piece comes by itself. */
void sdt_attend(struct sdt_flow *flow, const struct sdt_self_attention *attention, int chunk,
                int tile);
/* At the tile's home: puts all output pieces of tile t at their final columns, and brings those that are
 * not there yet. */
void sdt_exchange_out(struct sdt_flow *flow, const struct sdt_self_attention *attention, int tile);
/* At the tile's home: brings the output piece (t, c) back as soon as it is computed. Waits for no other
 * chunk: chained exchanges would start one after the other. */
void sdt_exchange_out_chunk(struct sdt_flow *flow, const struct sdt_self_attention *attention,
                            int chunk, int tile);
/* The unpipelined way back: all output pieces at once. With StarPU's transfers nothing to insert: what reads
 * them brings them. */
void sdt_exchange_out_whole(struct sdt_flow *flow, const struct sdt_self_attention *attention);
/* Bytes of q, k, v and o pieces whose token owner is not their head owner. */
double sdt_exchanged_by_heads(const struct sdt_layout *layout);
/* The same while helpers take their static share of the heads. */
double sdt_exchanged_with_helpers(const struct sdt_layout *layout);
int sdt_chunk_heads(const struct sdt_layout *layout, int chunk);
/* Elements of one head of a piece (t, c), and of the piece; the same for every t. */
size_t sdt_block_size(const struct sdt_layout *layout);
size_t sdt_piece_size(const struct sdt_layout *layout, int chunk);
/* Most tiles of one ring position. */
int sdt_ring_tiles(const struct sdt_layout *layout);
#endif

/* A parallel strategy: how a step over a distributed sequence becomes tasks.
 *
 * A strategy is one file with one loop that reads like the algorithm in its paper, and everything
 * that depends on which strategy runs: what it allows, how it splits, what it keeps, what it costs.
 * Nobody else asks for its name. StarPU derives what depends on what from the handles that the
 * tasks share; the order of insertion is the order in which the sequential program would do it. To
 * add one: write the file, name it in list.c.
 *
 * Vocabulary (layout.h): tile t of the tokens lives on device home[t]; chunk c of the heads is
 * computed by its owner. A piece (t, c) is what one of q, k, v, o holds of both: [heads of c, rows,
 * e]. */
#ifndef STARDIT_STRATEGY_H
#define STARDIT_STRATEGY_H

#include "graph/models/family.h"
#include "graph/run/blocks.h"
#include "runtime/collective.h"
#include "stardit/stardit.h"

/* The buffers of one stream's self attention, reused by all layers and steps. Gathered keys and
 * values stand as the strategy that made them wants them: one per chunk, or, for rings, twice per
 * device. */
struct sdt_attention_buffers {
    int pieces;                         /* tiles * chunks */
    sdt_handle *piece[SDT_PROJECTIONS]; /* [tiles, chunks] -> [heads of c, rows, e] */
    sdt_handle *output;                 /* [tiles, chunks] -> [heads of c, rows, e] */
    sdt_handle *lse; /* rings: [tiles, chunks] -> [heads of c, rows], float32; else NULL */
    /* Collective transport: where pieces land that travel, elsewhere the piece itself; NULL: StarPU
     * moves the pieces where they are read. */
    struct sdt_collective *collective;   /* borrowed */
    sdt_handle *landed[SDT_PROJECTIONS]; /* as piece */
    sdt_handle *landed_output;           /* as output */
    sdt_handle *later; /* [tiles, chunks]: keys as the block before sees them (sdt_at), of tiles
                        * that it sees; NULL: there are no blocks */
    int gathered;      /* entries of the two that follow */
    sdt_handle *keys, *values; /* [gathered] -> [heads of c, tiles, rows, e], or NULL */
};

struct sdt_strategy;
/* The pieces, and what the strategy adds. Failures stay in the flow. */
void sdt_attention_buffers_init(struct sdt_flow *flow, struct sdt_attention_buffers *buffers,
                                const struct sdt_strategy *strategy,
                                const struct sdt_layout *layout,
                                struct sdt_collective *collective /* or NULL */);
void sdt_attention_buffers_clear(struct sdt_attention_buffers *buffers);

/* Self attention of one layer of one branch, as the run hands it to the strategy. */
struct sdt_self_attention {
    const struct sdt_layout *layout;
    const struct sdt_attention_buffers *buffers;
    enum sdt_aco aco;                 /* for this layer: STATIC only while the helpers are free */
    const struct sdt_place *anywhere; /* DYNAMIC: owners and helpers together, [owners] */
    int64_t keys;                     /* tokens that are seen, in the order of sdt_tile_first() */
    struct sdt_token_groups groups;   /* of them, within which; sdt_attend_to() goes by it */
    const sdt_handle *z;              /* [tiles] -> [rows, h*e], where o is put together */
    int layers, layer;                /* of how many, and which */
    struct sdt_span span;             /* the queries; all tiles, but of strategies with parts */
    const sdt_handle *stale;          /* [2, chunks] of this layer (struct sdt_branch), or NULL */
    const sdt_handle *shared;         /* the same: keys and values of the next block, or NULL */
    bool sees_next, is_seen; /* whether it reads those, and leaves its own in their place */
    /* The model's own parts, at the tile's home device: projecting a tile (with norm and rotation)
     * into its pieces; and, once the output pieces are in z, the output projection. */
    void *model;
    void (*project)(struct sdt_flow *flow, void *model, enum sdt_projection which, int tile,
                    const sdt_handle *piece /* [chunks] written */);
    void (*join)(struct sdt_flow *flow, void *model, int tile);
};

/* What one layer of one forward takes on the busiest device, in seconds, before anything hides. */
struct sdt_layer_times {
    double linear, attention; /* computing */
    double projection;        /* of linear: q, or k, or v */
    double exchange;          /* everything that the strategy moves, over the device's link */
    double latency;           /* of a transfer */
    double chunks;            /* that one owner computes one after the other */
    const struct sdt_layout *layout;
    double link; /* bytes per second */
};

/* What a step is made of, for predictions. Seconds are of one worker, with what its tasks cost
 * beyond arithmetic. */
struct sdt_step_load {
    const struct sdt_strategy *strategy;
    const struct sdt_layout *layout;
    enum sdt_aco aco; /* OFF: as if there were no helpers */
    int layers, forwards, streams;
    struct sdt_blocks blocks; /* of strategies with blocks; else all 0 */
    bool stale;               /* steps overlap: what one takes when many follow one another */
    const double *slower;    /* [devices + helpers] a worker's seconds beside those here; NULL: 1 */
    double tile;             /* a tile in a layer, but for self attention */
    double projection;       /* of it: q, or k, or v */
    double ends;             /* a tile in a forward, before and after the layers */
    double condition;        /* of a forward, before its tiles */
    const double *attention; /* [layers] of a head of a tile, over all that it sees */
    double task;             /* of any task beyond its arithmetic */
    double link;             /* bytes per second, of a device each way */
    double latency;          /* of a transfer */
    double transfer;         /* of each piece that travels, of a core */
};

/* What a step takes. */
struct sdt_cost {
    double seconds;
    double computing;      /* the same if exchanges took no time */
    double worker_seconds; /* of all workers together, exchanges not counted */
    double bytes;          /* that move between devices in attention */
    double pieces;         /* that they move in */
    double tasks;          /* of attention and its exchanges */
};

/* Branches of a step, by their numbers. */
struct sdt_branches {
    int count, number[2];
};

struct sdt_run;
struct sdt_dit;
struct sdt_parallel;

struct sdt_strategy {
    const char *name, *summary;
    bool exact;  /* one device's bits on any number of CPU devices */
    bool degree; /* takes a Ulysses degree: what --ulysses-degree and --ring-degree are for */
    /* Attention reads keys and values of the step before where those of this step are not there
     * yet, but in the first steps (request.warmup_steps) and where they are refreshed. So a step
     * begins while the one before is in the layers, and a job keeps keys and values of all. The
     * result depends on placement.patches, never on the devices. */
    bool stale;
    /* A long video goes through the layers as blocks of frames at different steps (blocks.h), each
     * of which attends to keys of the next one, too. The result depends on the blocks alone. */
    bool blocks;
    /* May it run so? Asked by every plan and every run, in the same words: SDT_ERROR_USAGE.
     * devices: that denoise. NULL: always. */
    enum sdt_status (*allow)(const struct sdt_strategy *strategy,
                             const struct sdt_placement *placement, int devices,
                             const struct sdt_dit *dit, struct sdt_error *err);
    /* Changes how tokens and heads are laid out; NULL: tokens over all devices, heads as well. */
    void (*split)(const struct sdt_parallel *parallel, struct sdt_layout_options *options);
    /* Where a layer of a tile is computed, an index of layout->place; NULL: at the tile's home.
     * layer -1: before the layers; `layers`: after them. */
    int (*device)(const struct sdt_layout *layout, int layers, int layer, int tile);
    /* The home of a tile, where its latent is; NULL: that of the shard in which it is. */
    int (*home)(const struct sdt_layout *layout, int tile);
    /* Adds to the pieces what the strategy keeps (keys, values, lse). */
    void (*buffers)(struct sdt_flow *flow, struct sdt_attention_buffers *buffers,
                    const struct sdt_layout *layout);
    /* Bytes that all of this takes on one device of the group, predicted. */
    double (*buffer_bytes)(const struct sdt_layout *layout, int device);
    /* One step of the branches that go through the layers; NULL: layer by layer
     * (sdt_run_layers). */
    void (*step)(struct sdt_flow *flow, struct sdt_run *run, struct sdt_branches branches, float t,
                 const sdt_handle *latent /* [video tiles] */);
    void (*self_attention)(struct sdt_flow *flow, const struct sdt_self_attention *attention);
    /* Bytes that one layer of one forward moves between devices without helpers. */
    double (*exchanged)(const struct sdt_layout *layout);
    /* Seconds of it that computing does not hide; NULL: all of it. */
    double (*exposed)(const struct sdt_layer_times *times);
    /* Tasks that exchange, of one layer of one forward; NULL: whole, by chunks and tiles. */
    double (*exchange_tasks)(const struct sdt_layout *layout);
    /* What a step takes; NULL: sdt_cost_by_layers(). */
    struct sdt_cost (*cost)(const struct sdt_step_load *load);
    /* The index-th way (from 0) to run on so many devices that --plan auto should try: sets what
     * differs in *placement; false: no more. NULL: one way. */
    bool (*variant)(int index, int devices, struct sdt_placement *placement);
};

/* Where layers are placed on stages of `ulysses` devices: how many there are, and which one has a
 * layer. Layers are cut by the stages' speeds. */
int sdt_stages(const struct sdt_layout *layout);
int sdt_stage_of(const struct sdt_layout *layout, int layers, int layer);

/* The cost of strategies that go layer by layer, all devices through the same layer or, where the
 * strategy says so (device), some of them. */
struct sdt_cost sdt_cost_by_layers(const struct sdt_step_load *load);
struct sdt_cost sdt_cost_of_step(const struct sdt_step_load *load);

/* A strategy that a program brings along; programs without one leave it undefined. */
extern const struct sdt_strategy sdt__guest_strategy __attribute__((weak));

/* How a model runs in parallel: the strategy, the devices, and what the plan decided. */
struct sdt_parallel {
    const struct sdt_strategy *strategy;
    const struct sdt_place *place;    /* [devices + helpers], outlives the run */
    const struct sdt_place *anywhere; /* [devices], each with the helpers; needed for ACO_DYNAMIC */
    int devices, helpers;
    int ulysses_degree;       /* usp; 0: all devices */
    int chunk_heads;          /* 0: the strategy's own */
    int patches;              /* of strategies with stale keys; 0: the strategy's own */
    struct sdt_blocks blocks; /* of strategies with blocks; else all 0 */
    int tile_rows;            /* 0: as sdt_tile_rows() says, or sdt_cuda_tile_rows() for GPUs */
    enum sdt_dtype dtype;     /* of activations and weights: SDT_F32, or SDT_BF16 on GPUs */
    enum sdt_transport transport;
    int streams; /* forwards of a step in flight, each with buffers of its own; 0: all */
    bool apart;  /* the two forwards of a step on devices of their own (sdt_run_parts) */
    enum sdt_aco aco;
};
/* What a placement says of it; places and dtype are the caller's to add. devices, helpers: of the
 * groups; helpers count only with aco. */
struct sdt_parallel sdt_parallel_of(const struct sdt_strategy *strategy,
                                    const struct sdt_placement *placement, int devices,
                                    int helpers);
/* Streams of a run with `branches` forwards a step, of which the plan allows `wanted` (0: any). */
static inline int sdt_streams(int wanted, int branches) {
    return wanted > 0 && wanted < branches ? wanted : branches;
}
/* The layout that this parallelism gives a sequence in each of `branches` forwards a step. Errors
 * as sdt_layout_init. */
enum sdt_status sdt_parallel_layout(const struct sdt_parallel *parallel, int64_t tokens,
                                    int64_t text, int branches, int heads, int e,
                                    struct sdt_layout *layout, struct sdt_error *err);
/* What every plan and every run refuses of a placement, whatever the strategy: streams, groups,
 * aco, transport; then strategy->allow. devices: of the machine. SDT_ERROR_USAGE. */
enum sdt_status sdt_strategy_allows(const struct sdt_strategy *strategy,
                                    const struct sdt_placement *placement, int devices,
                                    const struct sdt_dit *dit, struct sdt_error *err);

/* ---- the building blocks of strategies (blocks.c) -------------------------------------------- */

/* Projects a tile into its pieces. */
void sdt_project(struct sdt_flow *flow, const struct sdt_self_attention *attention,
                 enum sdt_projection which, int tile);
/* At the owner: brings chunk c of the keys (or values) of all tiles together; of the queries, whose
 * pieces are read one by one, only brings it. */
void sdt_exchange_in(struct sdt_flow *flow, const struct sdt_self_attention *attention,
                     enum sdt_projection which, int chunk);
/* At the owner: attention of query tile t for the heads of chunk c. Its query piece comes by
 * itself. */
void sdt_attend(struct sdt_flow *flow, const struct sdt_self_attention *attention, int chunk,
                int tile);
/* Where the flow is: attention of query tile t for the heads of chunk c to those of `keys` tokens,
 * from first_key on, that the layer lets it see. lse, merge: as sdt_insert_attention. */
void sdt_attend_to(struct sdt_flow *flow, const struct sdt_self_attention *attention, int chunk,
                   int tile, sdt_handle q, int64_t first_key, int64_t keys, sdt_handle k,
                   sdt_handle v, sdt_handle lse, bool merge);
/* At the tile's home: puts all output pieces of tile t at their final columns, and brings those
 * that are not there yet. */
void sdt_exchange_out(struct sdt_flow *flow, const struct sdt_self_attention *attention, int tile);
/* At the tile's home: brings the output piece (t, c) back as soon as it is computed. Waits for no
 * other chunk: chained exchanges would start one after the other. */
void sdt_exchange_out_chunk(struct sdt_flow *flow, const struct sdt_self_attention *attention,
                            int chunk, int tile);
/* The unpipelined way back: all output pieces at once. With StarPU's transfers nothing to insert:
 * what reads them brings them. */
void sdt_exchange_out_whole(struct sdt_flow *flow, const struct sdt_self_attention *attention);
/* Bytes of q, k, v and o pieces whose token owner is not their head owner. */
double sdt_exchanged_by_heads(const struct sdt_layout *layout);
/* The same while helpers take their static share of the heads. */
double sdt_exchanged_with_helpers(const struct sdt_layout *layout);
int sdt_chunk_heads(const struct sdt_layout *layout, int chunk);
/* Elements of one head of a piece (t, c), and of the piece. */
size_t sdt_block_size(const struct sdt_layout *layout, int tile);
size_t sdt_piece_size(const struct sdt_layout *layout, int tile, int chunk);
/* Gathered keys and values per chunk, and what they and the pieces take: `buffers` and
 * `buffer_bytes` of strategies that exchange heads. */
void sdt_buffers_by_chunk(struct sdt_flow *flow, struct sdt_attention_buffers *buffers,
                          const struct sdt_layout *layout);
double sdt_bytes_by_chunk(const struct sdt_layout *layout, int device);
/* How the pieces of tiles from `first` on become keys in a row, of which `keys` are seen. */
struct sdt_gather sdt_gather_of(const struct sdt_layout *layout, int first, int64_t keys);
/* Elements of keys (or values) of a chunk for this many tiles. */
size_t sdt_gathered_size(const struct sdt_layout *layout, int chunk, int tiles);
/* Pieces without contents: [tiles, chunks], of their heads' rows, or of one float a row. NULL: out
 * of memory, which the flow says. */
sdt_handle *sdt_new_pieces(struct sdt_flow *flow, const struct sdt_layout *layout, bool per_row,
                           const char *name);
#endif

/* Who holds which tokens and which heads: the distribution that every strategy starts from.
 *
 * Tokens are cut into tiles whose size depends on their number and on the workers (on GPUs, on the
 * number of devices); each device holds a contiguous run of whole tiles (its shard, perhaps empty),
 * as near to its share of the rows as whole tiles come.
 * Heads are cut into chunks, each owned by one device. Both splits follow the devices' speeds;
 * neither needs to come out even. */
#ifndef STARDIT_LAYOUT_H
#define STARDIT_LAYOUT_H

#include <stdint.h>

#include "codelets/codelets.h"
#include "stardit/status.h"

struct sdt_layout {
    int devices; /* that hold tokens */
    int helpers; /* further ones that may take attention (Aco), after them in place */
    const struct sdt_place *place; /* [devices + helpers], owned by the group */
    int64_t video;                 /* tokens of the video */
    int64_t tokens;  /* with those of the text that joins self attention behind them */
    int rows;        /* tokens of a tile; the last one of the video, and of the text, has fewer */
    int unit;        /* rows come in multiples of this; those beyond a tile's tokens are padding */
    int video_tiles; /* the first ones */
    int tiles;
    int64_t overlap; /* of the video's tokens, those that a block shares with each neighbour:
                      * its first ones and its last ones; 0: none */
    int span_tiles;  /* tiles of the video that go through the layers together; 0: all */
    int *first_tile; /* [devices + 1]: device d holds first_tile[d]..first_tile[d+1]-1 */
    int *home;       /* [tiles]: the device of each tile; of strategies that place layers, another
                      * than that */
    int heads, e;
    enum sdt_dtype dtype; /* of activations over tokens */
    int ulysses;          /* parts of the heads; devices / ulysses is the length of a ring */
    int chunks;           /* head chunks, each of at least one head */
    int *head;            /* [chunks + 1]: chunk c holds heads head[c]..head[c+1]-1 */
    int *owner;           /* [chunks]: the part (of `ulysses`) whose attention computes it */
    int *helped_owner;    /* [chunks]: the same when the helpers take their share */
};

struct sdt_layout_options {
    const struct sdt_place *place; /* [devices + helpers] */
    int devices, helpers;
    const double *speed; /* [devices + helpers]; NULL: equal */
    int64_t tokens;      /* of the video */
    int64_t text;        /* of the text that joins self attention; 0: none */
    int heads, e;
    enum sdt_dtype dtype;
    int ulysses;     /* divides devices; 0: devices */
    int chunk_heads; /* most heads of one chunk; 0: all of a device in one */
    int tile_rows;   /* 0: sdt_tile_rows(); else for tests and simulations */
    int span_tiles;  /* 0: all tiles go through the layers together */
    int unit;        /* of rows; 0: 4 */
    int streams;     /* that share the workers; 0: one */
};

/* What rows come in multiples of on GPUs: a block of a product. */
enum { SDT_CUDA_ROWS = 128 };
/* Rows of a tile for a sequence on so many workers of CPUs, a multiple of 4. Workers get the same
 * number of tiles: of at most 128 rows, or 256 of long sequences, and two or more of them unless
 * that makes less than 64 rows. A result's bits do not depend on it (but with the strategies that
 * merge partial results: their blocks end where tiles do). */
int sdt_tile_rows(int64_t tokens, int workers);
/* The same on GPUs, which need more rows at a time, and few tasks: a device's share, in equal parts
 * of 8192 at most; of GPUs with unequal speeds between a sixteenth and a quarter of a share, so
 * that whole tiles can follow them. A multiple of SDT_CUDA_ROWS, at least 256. */
int sdt_cuda_tile_rows(int64_t tokens, int devices,
                       const double *speed /* [devices]; NULL: equal */);

/* bounds[d]..bounds[d+1]-1 of `total` things for part d, in proportion to speed (NULL: equal
 * parts); where that does not come out even, so that the slowest part ends as early as it can. */
void sdt_split(int total, int parts, const double *speed /* [parts] or NULL */,
               int *bounds /* [parts + 1] written */);

/* Tokens and heads over the group. SDT_ERROR_USAGE where ulysses does not divide the devices,
 * SDT_ERROR_MEMORY. */
enum sdt_status sdt_layout_init(struct sdt_layout *layout, const struct sdt_layout_options *options,
                                struct sdt_error *err);
void sdt_layout_clear(struct sdt_layout *layout); /* after a failed init too */

/* Tiles that go through the layers together: first..end-1 of the video, and those of the text. */
struct sdt_span {
    int first, end;
    bool text;
};
static inline struct sdt_span sdt_whole_span(const struct sdt_layout *layout) {
    return (struct sdt_span){0, layout->video_tiles, true};
}
/* How many spans the video is cut into, and which tiles span s has. The text goes with the first
 * one. */
static inline int sdt_spans(const struct sdt_layout *layout) {
    int tiles = layout->span_tiles;
    return tiles ? (layout->video_tiles + tiles - 1) / tiles : 1;
}
static inline struct sdt_span sdt_span_of(const struct sdt_layout *layout, int s) {
    int tiles = layout->span_tiles ? layout->span_tiles : layout->video_tiles;
    int end = (s + 1) * tiles;
    return (struct sdt_span){s * tiles, end < layout->video_tiles ? end : layout->video_tiles,
                             s == 0};
}
/* The tile after tile t in a span, layout->tiles behind the last one: for (int t = span.first; t <
 * layout->tiles; t = sdt_span_next(layout, span, t)). */
static inline int sdt_span_next(const struct sdt_layout *layout, struct sdt_span span, int t) {
    return t + 1 != span.end ? t + 1 : span.text ? layout->video_tiles : layout->tiles;
}

/* The first tile of the tokens that ring position i holds (its `ulysses` devices together), i up to
 * devices / ulysses. */
static inline int sdt_ring_first_tile(const struct sdt_layout *layout, int i) {
    return layout->first_tile[i * layout->ulysses];
}

/* The device that computes chunk c for queries of tile t. */
static inline int sdt_layout_owner(const struct sdt_layout *layout, int chunk, int tile) {
    return layout->home[tile] / layout->ulysses * layout->ulysses + layout->owner[chunk];
}

/* Tokens before a tile, padding not counted: keys stand in this order, video first. */
static inline int64_t sdt_tile_first(const struct sdt_layout *layout, int tile) {
    return tile < layout->video_tiles
               ? (int64_t)tile * layout->rows
               : layout->video + (int64_t)(tile - layout->video_tiles) * layout->rows;
}

/* Valid tokens of a tile. */
static inline int sdt_tile_valid(const struct sdt_layout *layout, int tile) {
    int64_t end = tile < layout->video_tiles ? layout->video : layout->tokens;
    int64_t left = end - sdt_tile_first(layout, tile);
    return left < layout->rows ? (int)left : layout->rows;
}

/* Rows of a tile: what is stored, computed and sent of it. */
static inline int sdt_tile_size(const struct sdt_layout *layout, int tile) {
    int rows = (sdt_tile_valid(layout, tile) + layout->unit - 1) / layout->unit * layout->unit;
    return rows < layout->rows ? rows : layout->rows;
}

/* Rows of the tiles from `first` up to `end`. */
static inline int64_t sdt_tiles_size(const struct sdt_layout *layout, int first, int end) {
    int64_t rows = 0;
    for (int t = first; t < end; t++)
        rows += sdt_tile_size(layout, t);
    return rows;
}
#endif

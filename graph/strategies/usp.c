/* Ring attention (arXiv 2310.01889) and USP (arXiv 2405.07719), Ulysses inside and a ring outside.
 *
 * The devices form rings of `ulysses` devices a position. Inside a position the all-to-all of Ulysses gives
 * each device the position's tokens for its part of the heads; then keys and values rotate: in every round
 * a device computes attention of its queries to the block it holds, merges it into what it has by
 * log-sum-exp, and takes over the block of the next position. ring is the case of one device a position:
 * no all-to-all, all heads everywhere.
 *
 * The rounds merge partial sums in an order that depends on the ring, so the bits differ from single's;
 * for one ring they are the same under every scheduler. */
#include "graph/strategies/strategy.h"

#include <math.h>

/* The ring, as the loops below speak of it. */
struct ring {
    const struct sdt_self_attention *attention;
    const struct sdt_layout *layout;
    int positions;
};

static int first_tile(const struct ring *ring, int position) {
    return sdt_ring_first_tile(ring->layout, position);
}

static int tiles_of(const struct ring *ring, int position) {
    return first_tile(ring, position + 1) - first_tile(ring, position);
}

/* Device p's block of chunk c in round r. */
static int block(const struct ring *ring, int position, int chunk, int round) {
    int device = position * ring->layout->ulysses + ring->layout->owner[chunk];
    return (device * 2 + round % 2) * ring->layout->chunks + chunk;
}

static void at_device(struct sdt_flow *flow, const struct ring *ring, int position, int chunk,
                      enum sdt_role role, int priority) {
    const struct sdt_layout *layout = ring->layout;
    flow->place = &layout->place[position * layout->ulysses + layout->owner[chunk]];
    flow->tag.role = role;
    flow->tag.chunk = chunk;
    flow->priority = priority;
}

/* Round 0: the position's own tokens, by the all-to-all within it. */
static void gather(struct sdt_flow *flow, const struct ring *ring, int position, int chunk) {
    const struct sdt_layout *layout = ring->layout;
    const struct sdt_attention_buffers *buffers = ring->attention->buffers;
    int tiles = tiles_of(ring, position);
    size_t from = (size_t)first_tile(ring, position) * (size_t)layout->chunks + (size_t)chunk;

    if (!tiles)
        return;
    at_device(flow, ring, position, chunk, SDT_ROLE_EXCHANGE, 1);
    sdt_insert_gather(flow, "exchange_v", tiles, sdt_chunk_heads(layout, chunk),
                      sdt_block_size(layout), buffers->piece[SDT_PROJECT_V] + from, layout->chunks,
                      buffers->values[block(ring, position, chunk, 0)]);
    sdt_insert_gather(flow, "exchange_k", tiles, sdt_chunk_heads(layout, chunk),
                      sdt_block_size(layout), buffers->piece[SDT_PROJECT_K] + from, layout->chunks,
                      buffers->keys[block(ring, position, chunk, 0)]);
}

/* Later rounds: what the next position held in the round before. */
static void rotate(struct sdt_flow *flow, const struct ring *ring, int position, int chunk,
                   int round) {
    const struct sdt_layout *layout = ring->layout;
    const struct sdt_attention_buffers *buffers = ring->attention->buffers;
    int next = (position + 1) % ring->positions;
    int from = block(ring, next, chunk, round - 1), to = block(ring, position, chunk, round);
    size_t size = sdt_piece_size(layout, chunk) * (size_t)sdt_ring_tiles(layout);

    if (!tiles_of(ring, (position + round) % ring->positions))
        return;
    at_device(flow, ring, position, chunk, SDT_ROLE_EXCHANGE, 1);
    sdt_insert_gather(flow, "rotate_v", 1, 1, size, &buffers->values[from], 1, buffers->values[to]);
    sdt_insert_gather(flow, "rotate_k", 1, 1, size, &buffers->keys[from], 1, buffers->keys[to]);
}

/* All queries of the position against the block of this round. */
static void attend(struct sdt_flow *flow, const struct ring *ring, int position, int chunk,
                   int round) {
    const struct sdt_layout *layout = ring->layout;
    const struct sdt_attention_buffers *buffers = ring->attention->buffers;
    int origin = (position + round) % ring->positions, b = block(ring, position, chunk, round);
    int64_t first = (int64_t)first_tile(ring, origin) * layout->rows;
    int64_t keys = (int64_t)tiles_of(ring, origin) * layout->rows;

    if (!keys)
        return;
    if (keys > layout->tokens - first)
        keys = layout->tokens - first; /* the last tile is padded */
    for (int t = first_tile(ring, position); t < first_tile(ring, position + 1); t++) {
        int piece = t * layout->chunks + chunk;
        at_device(flow, ring, position, chunk, SDT_ROLE_ATTENTION, 2);
        flow->tag.tile = t;
        sdt_insert_attention(
            flow, round ? "attention_merge" : "attention", sdt_chunk_heads(layout, chunk),
            layout->rows, layout->e, layout->rows, keys, 1.0f / sqrtf((float)layout->e),
            buffers->piece[SDT_PROJECT_Q][piece], buffers->keys[b], buffers->values[b],
            buffers->output[piece], buffers->lse[piece], round > 0);
    }
    flow->tag.tile = -1;
}

static void usp(struct sdt_flow *flow, const struct sdt_self_attention *attention) {
    const struct sdt_layout *layout = attention->layout;
    struct ring ring = {attention, layout, layout->devices / layout->ulysses};

    for (int t = 0; t < layout->tiles; t++) {
        attention->project(flow, attention->model, SDT_PROJECT_V, t);
        attention->project(flow, attention->model, SDT_PROJECT_K, t);
        attention->project(flow, attention->model, SDT_PROJECT_Q, t);
    }
    for (int round = 0; round < ring.positions; round++) {
        for (int p = 0; p < ring.positions; p++)
            for (int c = 0; c < layout->chunks; c++) {
                if (round == 0)
                    gather(flow, &ring, p, c);
                else
                    rotate(flow, &ring, p, c, round);
            }
        for (int p = 0; p < ring.positions; p++)
            for (int c = 0; c < layout->chunks; c++)
                attend(flow, &ring, p, c, round);
    }
    flow->priority = 0;
    flow->tag.chunk = -1;
    for (int t = 0; t < layout->tiles; t++) {
        sdt_exchange_out(flow, attention, t);
        attention->output(flow, attention->model, t);
    }
}

/* Inside the positions as Ulysses; then every device receives a block of keys and one of values in each round
 * but the first, whatever the length of the shard in it: blocks have the size of the longest. */
static double exchanged(const struct sdt_layout *layout) {
    int positions = layout->devices / layout->ulysses;
    double bytes = sdt_exchanged_by_heads(layout);
    for (int round = 1; round < positions; round++)
        for (int p = 0; p < positions; p++) {
            int origin = (p + round) % positions;
            if (sdt_ring_first_tile(layout, origin + 1) == sdt_ring_first_tile(layout, origin))
                continue;
            for (int c = 0; c < layout->chunks; c++)
                bytes += 2.0 * (double)sdt_dtype_size(layout->dtype) *
                         (double)sdt_piece_size(layout, c) * sdt_ring_tiles(layout);
        }
    return bytes;
}

const struct sdt_strategy sdt__strategy_ring = {
    .name = "ring",
    .summary = "every device keeps its queries; keys and values rotate, merged by log-sum-exp",
    .ring = true,
    .whole_heads = true,
    .self_attention = usp,
    .exchanged = exchanged,
};

const struct sdt_strategy sdt__strategy_usp = {
    .name = "usp",
    .summary = "ulysses inside, a ring outside (--ulysses-degree x --ring-degree)",
    .ring = true,
    .self_attention = usp,
    .exchanged = exchanged,
};

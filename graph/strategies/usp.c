/* Ring attention (arXiv 2310.01889) and USP (arXiv 2405.07719), Ulysses inside and a ring outside.
 *
 * The devices form rings of `ulysses` devices a position. Inside a position the all-to-all of
 * Ulysses gives each device the position's tokens for its part of the heads; then keys and values
 * rotate: in every round a device computes attention of its queries to the block it holds, merges
 * it into what it has by log-sum-exp, and takes over the block of the next position. ring is the
 * case of one device a position: no all-to-all, all heads everywhere.
 *
 * The rounds merge partial sums in an order that depends on the ring, so the bits differ from
 * single's; for one ring they are the same under every scheduler. */
#include "graph/strategies/strategy.h"

#include <math.h>
#include <stdlib.h>

/* The ring, as the loops below speak of it. */
struct ring {
    const struct sdt_self_attention *attention;
    const struct sdt_layout *layout;
    int positions;
};

static int first_tile(const struct ring *ring, int position) {
    return sdt_ring_first_tile(ring->layout, position);
}

/* Most tiles of one position. */
static int longest(const struct sdt_layout *layout) {
    int most = 0;
    for (int i = 0; i < layout->devices / layout->ulysses; i++) {
        int tiles = sdt_ring_first_tile(layout, i + 1) - sdt_ring_first_tile(layout, i);
        most = tiles > most ? tiles : most;
    }
    return most;
}

static int tiles_of(const struct ring *ring, int position) {
    return first_tile(ring, position + 1) - first_tile(ring, position);
}

/* Keys of a position that are seen: its padding is not, nor text that this branch does not have. */
static int64_t keys_of(const struct ring *ring, int position) {
    const struct sdt_layout *layout = ring->layout;
    int last = first_tile(ring, position + 1);
    int64_t begin = sdt_tile_first(layout, first_tile(ring, position));
    int64_t end = last < layout->tiles ? sdt_tile_first(layout, last) : layout->tokens;
    end = end < ring->attention->keys ? end : ring->attention->keys;
    return tiles_of(ring, position) && end > begin ? end - begin : 0;
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

    if (!keys_of(ring, position))
        return;
    int heads = sdt_chunk_heads(layout, chunk);
    struct sdt_gather to =
        sdt_gather_of(layout, first_tile(ring, position), keys_of(ring, position));
    at_device(flow, ring, position, chunk, SDT_ROLE_EXCHANGE, 1);
    sdt_insert_gather(flow, "exchange_v", tiles, heads, &to, buffers->piece[SDT_PROJECT_V] + from,
                      layout->chunks, buffers->values[block(ring, position, chunk, 0)]);
    sdt_insert_gather(flow, "exchange_k", tiles, heads, &to, buffers->piece[SDT_PROJECT_K] + from,
                      layout->chunks, buffers->keys[block(ring, position, chunk, 0)]);
}

/* Later rounds: what the next position held in the round before. */
static void rotate(struct sdt_flow *flow, const struct ring *ring, int position, int chunk,
                   int round) {
    const struct sdt_layout *layout = ring->layout;
    const struct sdt_attention_buffers *buffers = ring->attention->buffers;
    int next = (position + 1) % ring->positions;
    int from = block(ring, next, chunk, round - 1), to = block(ring, position, chunk, round);
    size_t size = sdt_gathered_size(layout, chunk, longest(layout));
    struct sdt_gather whole = {.block = size, .stride = size};

    if (!keys_of(ring, (position + round) % ring->positions))
        return;
    at_device(flow, ring, position, chunk, SDT_ROLE_EXCHANGE, 1);
    sdt_insert_gather(flow, "rotate_v", 1, 1, &whole, &buffers->values[from], 1,
                      buffers->values[to]);
    sdt_insert_gather(flow, "rotate_k", 1, 1, &whole, &buffers->keys[from], 1, buffers->keys[to]);
}

/* All queries of the position against the block of this round. */
static void attend(struct sdt_flow *flow, const struct ring *ring, int position, int chunk,
                   int round) {
    const struct sdt_layout *layout = ring->layout;
    const struct sdt_attention_buffers *buffers = ring->attention->buffers;
    int origin = (position + round) % ring->positions, b = block(ring, position, chunk, round);
    int64_t keys = keys_of(ring, origin);
    bool merge = false; /* with what earlier rounds left */

    if (!keys)
        return;
    for (int r = 0; r < round; r++)
        merge |= keys_of(ring, (position + r) % ring->positions) > 0;
    for (int t = first_tile(ring, position); t < first_tile(ring, position + 1); t++) {
        int piece = t * layout->chunks + chunk;
        at_device(flow, ring, position, chunk, SDT_ROLE_ATTENTION, 2);
        flow->tag.tile = t;
        sdt_attend_to(flow, ring->attention, chunk, t, buffers->piece[SDT_PROJECT_Q][piece],
                      sdt_tile_first(layout, first_tile(ring, origin)), keys, buffers->keys[b],
                      buffers->values[b], buffers->lse[piece], merge);
    }
    flow->tag.tile = -1;
}

static void usp(struct sdt_flow *flow, const struct sdt_self_attention *attention) {
    const struct sdt_layout *layout = attention->layout;
    struct ring ring = {attention, layout, layout->devices / layout->ulysses};

    for (int t = 0; t < layout->tiles; t++) {
        sdt_project(flow, attention, SDT_PROJECT_V, t);
        sdt_project(flow, attention, SDT_PROJECT_K, t);
        sdt_project(flow, attention, SDT_PROJECT_Q, t);
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
        attention->join(flow, attention->model, t);
    }
}

/* Inside the positions as Ulysses; then every device receives a block of keys and one of values in
 * each round but the first, whatever the length of the shard in it: blocks have the size of the
 * longest. */
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
                         (double)sdt_gathered_size(layout, c, longest(layout));
        }
    return bytes;
}

/* ---- what the two are ------------------------------------------------------------------------ */

/* ring: one part of the heads, every device computes all of them; partial results visit no
 * helper. */
static void one_part(const struct sdt_parallel *parallel, struct sdt_layout_options *options) {
    (void)parallel;
    options->ulysses = 1;
    options->helpers = 0;
}

static void parts(const struct sdt_parallel *parallel, struct sdt_layout_options *options) {
    options->ulysses = parallel->ulysses_degree;
    options->helpers = 0;
}

static enum sdt_status allow(const struct sdt_strategy *strategy,
                             const struct sdt_placement *placement, int devices,
                             const struct sdt_dit *dit, struct sdt_error *err) {
    int degree = placement->ulysses_degree;
    (void)dit;
    if (placement->transport == SDT_TRANSPORT_NCCL)
        return sdt_fail(err, SDT_ERROR_USAGE,
                        "transport nccl does not go with strategy %s, whose blocks rotate; ulysses "
                        "and pipesp work",
                        strategy->name);
    if (placement->aco != SDT_ACO_OFF)
        return sdt_fail(err, SDT_ERROR_USAGE,
                        "--aco %s does not go with --strategy %s; ulysses and pipesp work",
                        sdt_aco_name(placement->aco), strategy->name);
    if (strategy->split == parts && degree > 0 && devices % degree)
        return sdt_fail(err, SDT_ERROR_USAGE,
                        "a Ulysses degree of %d (--ulysses-degree) does not divide %d devices: "
                        "Ulysses degree x ring "
                        "degree must be the number of devices",
                        degree, devices);
    return SDT_OK;
}

/* Keys and values twice per device, of the longest shard: while one is read, the next arrives in
 * the other. */
static void blocks(struct sdt_flow *flow, struct sdt_attention_buffers *buffers,
                   const struct sdt_layout *layout) {
    buffers->lse = sdt_new_pieces(flow, layout, true, "log-sum-exp");
    buffers->gathered = layout->devices * 2 * layout->chunks;
    buffers->keys = calloc((size_t)buffers->gathered, sizeof *buffers->keys);
    buffers->values = calloc((size_t)buffers->gathered, sizeof *buffers->values);
    if (!buffers->keys || !buffers->values) {
        if (flow->error.status == SDT_OK)
            sdt_fail(&flow->error, SDT_ERROR_MEMORY, "out of memory for the blocks of a ring");
        return;
    }
    for (int g = 0; g < buffers->gathered; g++) {
        int chunk = g % layout->chunks;
        /* A device computes only the chunks of its part: the others get no memory. */
        if (layout->owner[chunk] != g / (2 * layout->chunks) % layout->ulysses)
            continue;
        size_t size = sdt_gathered_size(layout, chunk, longest(layout));
        buffers->keys[g] = sdt__tensor(flow, layout->dtype, size, "keys");
        buffers->values[g] = sdt__tensor(flow, layout->dtype, size, "values");
    }
}

static double buffer_bytes(const struct sdt_layout *layout, int device) {
    double row = (double)sdt_dtype_size(layout->dtype) * layout->e, heads = 0.0;
    int position = device / layout->ulysses;
    double shard =
        (double)sdt_tiles_size(layout, layout->first_tile[device], layout->first_tile[device + 1]);
    double here = (double)sdt_tiles_size(layout, sdt_ring_first_tile(layout, position),
                                         sdt_ring_first_tile(layout, position + 1));
    for (int c = 0; c < layout->chunks; c++)
        if (layout->owner[c] == device % layout->ulysses)
            heads += sdt_chunk_heads(layout, c);
    /* the shard's pieces; received q, k, v and computed o; two blocks of keys and of values */
    return row * (4.0 * shard * layout->heads + ((layout->devices > 1 ? 4.0 * here : 0.0) +
                                                 4.0 * longest(layout) * layout->rows) *
                                                    heads);
}

/* A round's blocks hide behind the attention of the round before. */
static double exposed(const struct sdt_layer_times *t) {
    double turns = (double)t->layout->devices / t->layout->ulysses;
    double inside = sdt_exchanged_by_heads(t->layout) / t->layout->devices / t->link;
    return inside + fmax(0.0, t->exchange - inside - t->attention * (1.0 - 1.0 / turns)) +
           turns * t->latency;
}

/* In every round each position brings its next block of keys, and of values. */
static double exchange_tasks(const struct sdt_layout *layout) {
    double positions = (double)layout->devices / layout->ulysses;
    return layout->tiles + 2.0 * layout->chunks * positions * positions;
}

static bool without_aco(int index, int devices, struct sdt_placement *placement) {
    return index == 0 && devices > 1 && placement->aco == SDT_ACO_OFF;
}

/* Every degree that divides the devices, but 1 (ring) and all (ulysses). */
static bool degrees(int index, int devices, struct sdt_placement *placement) {
    for (int degree = 2; degree < devices && placement->aco == SDT_ACO_OFF; degree++)
        if (devices % degree == 0 && index-- == 0) {
            placement->ulysses_degree = degree;
            return true;
        }
    return false;
}

const struct sdt_strategy sdt__strategy_ring = {
    .name = "ring",
    .summary = "every device keeps its queries; keys and values rotate, merged by log-sum-exp",
    .allow = allow,
    .split = one_part,
    .buffers = blocks,
    .buffer_bytes = buffer_bytes,
    .self_attention = usp,
    .exchanged = exchanged,
    .exposed = exposed,
    .exchange_tasks = exchange_tasks,
    .variant = without_aco,
};

const struct sdt_strategy sdt__strategy_usp = {
    .name = "usp",
    .summary = "ulysses inside, a ring outside (--ulysses-degree x --ring-degree)",
    .degree = true,
    .allow = allow,
    .split = parts,
    .buffers = blocks,
    .buffer_bytes = buffer_bytes,
    .self_attention = usp,
    .exchanged = exchanged,
    .exposed = exposed,
    .exchange_tasks = exchange_tasks,
    .variant = degrees,
};

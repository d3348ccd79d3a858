/* The building blocks that strategies share: buffers, the exchange of one chunk, attention of one
 * piece. */
#include "graph/strategies/strategy.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

const char *sdt_aco_name(enum sdt_aco aco) {
    return aco == SDT_ACO_OFF ? "off" : aco == SDT_ACO_STATIC ? "static" : "dynamic";
}

int sdt_chunk_heads(const struct sdt_layout *layout, int chunk) {
    return layout->head[chunk + 1] - layout->head[chunk];
}

size_t sdt_block_size(const struct sdt_layout *layout) {
    return (size_t)layout->rows * (size_t)layout->e;
}

size_t sdt_piece_size(const struct sdt_layout *layout, int chunk) {
    return (size_t)sdt_chunk_heads(layout, chunk) * sdt_block_size(layout);
}

int sdt_ring_tiles(const struct sdt_layout *layout) {
    int most = 0;
    for (int i = 0; i < layout->devices / layout->ulysses; i++) {
        int tiles = sdt_ring_first_tile(layout, i + 1) - sdt_ring_first_tile(layout, i);
        most = tiles > most ? tiles : most;
    }
    return most;
}

enum sdt_status sdt_parallel_layout(const struct sdt_parallel *parallel, int64_t tokens, int heads,
                                    int e, struct sdt_layout *layout, struct sdt_error *err) {
    const struct sdt_strategy *strategy = parallel->strategy;
    struct sdt_layout_options options = {
        .place = parallel->place,
        .devices = strategy->one_device ? 1 : parallel->devices,
        .helpers = parallel->aco == SDT_ACO_OFF || strategy->ring ? 0 : parallel->helpers,
        .tokens = tokens,
        .heads = heads,
        .e = e,
        .dtype = parallel->dtype,
        .ulysses = strategy->whole_heads ? 1
                   : strategy->ring      ? parallel->ulysses_degree
                                         : 0,
        .chunk_heads = parallel->chunk_heads ? parallel->chunk_heads : strategy->chunk_heads,
        .tile_rows = parallel->tile_rows};
    if (!options.tile_rows && parallel->place[0].kind == SDT_DEVICE_CUDA)
        options.tile_rows = sdt_cuda_tile_rows(tokens, options.devices);
    return sdt_layout_init(layout, &options, err);
}

/* ---- buffers ---------------------------------------------------------------------------------- */

static sdt_handle *new_pieces(struct sdt_flow *flow, const struct sdt_layout *layout, bool per_row,
                              const char *name) {
    int count = layout->tiles * layout->chunks;
    sdt_handle *piece = calloc((size_t)count, sizeof *piece);
    for (int i = 0; piece && i < count; i++) {
        size_t size = sdt_piece_size(layout, i % layout->chunks);
        piece[i] = per_row ? sdt__vector(flow, size / (size_t)layout->e, name)
                           : sdt__tensor(flow, layout->dtype, size, name);
    }
    return piece;
}

/* Does piece (t, c) travel between its token owner and its head owner? With one device everything does:
 * to itself, so that a transport can be tried. */
static bool travels(const struct sdt_layout *layout, int chunk, int tile) {
    return layout->devices == 1 || sdt_layout_owner(layout, chunk, tile) != layout->home[tile];
}

static sdt_handle *new_landings(struct sdt_flow *flow, const struct sdt_layout *layout,
                                const sdt_handle *piece, const char *name) {
    int count = layout->tiles * layout->chunks;
    sdt_handle *landed = calloc((size_t)count, sizeof *landed);
    for (int i = 0; landed && piece && i < count; i++) {
        int chunk = i % layout->chunks;
        landed[i] = travels(layout, chunk, i / layout->chunks)
                        ? sdt__tensor(flow, layout->dtype, sdt_piece_size(layout, chunk), name)
                        : piece[i];
    }
    return landed;
}

void sdt_attention_buffers_init(struct sdt_flow *flow, struct sdt_attention_buffers *buffers,
                                const struct sdt_strategy *strategy,
                                const struct sdt_layout *layout,
                                struct sdt_collective *collective) {
    static const char *const names[] = {"q piece", "k piece", "v piece"};
    int tiles = strategy->ring ? sdt_ring_tiles(layout) : layout->tiles;

    *buffers = (struct sdt_attention_buffers){
        .collective = collective,
        .pieces = layout->tiles * layout->chunks,
        .gathered = strategy->ring ? layout->devices * 2 * layout->chunks : layout->chunks};
    bool failed = false;
    for (int p = 0; p < SDT_PROJECTIONS; p++)
        failed |= !(buffers->piece[p] = new_pieces(flow, layout, false, names[p]));
    failed |= !(buffers->output = new_pieces(flow, layout, false, "o piece"));
    if (strategy->ring)
        failed |= !(buffers->lse = new_pieces(flow, layout, true, "log-sum-exp"));
    for (int p = 0; collective && p < SDT_PROJECTIONS; p++)
        failed |= !(buffers->landed[p] = new_landings(flow, layout, buffers->piece[p], "landed"));
    if (collective)
        failed |= !(buffers->landed_output =
                        new_landings(flow, layout, buffers->output, "landed output"));
    buffers->keys = calloc((size_t)buffers->gathered, sizeof *buffers->keys);
    buffers->values = calloc((size_t)buffers->gathered, sizeof *buffers->values);
    failed |= !buffers->keys || !buffers->values;
    if (failed) {
        if (flow->error.status == SDT_OK)
            sdt_fail(&flow->error, SDT_ERROR_MEMORY, "out of memory for the pieces of %d tiles",
                     layout->tiles);
        return;
    }
    for (int g = 0; g < buffers->gathered; g++) {
        int chunk = g % layout->chunks;
        /* A ring's device computes only the chunks of its part: the others get no memory. */
        if (strategy->ring && layout->owner[chunk] != g / (2 * layout->chunks) % layout->ulysses)
            continue;
        size_t size = sdt_piece_size(layout, chunk) * (size_t)tiles;
        buffers->keys[g] = sdt__tensor(flow, layout->dtype, size, "keys");
        buffers->values[g] = sdt__tensor(flow, layout->dtype, size, "values");
    }
}

static void unregister(sdt_handle *handle, int count) {
    for (int i = 0; handle && i < count; i++)
        if (handle[i])
            starpu_data_unregister_submit(handle[i]);
    free(handle);
}

/* Pieces that stay are listed among the landed ones, but are not theirs. */
static void unregister_landed(sdt_handle *landed, const sdt_handle *piece, int count) {
    for (int i = 0; landed && i < count; i++)
        if (piece && landed[i] == piece[i])
            landed[i] = NULL;
    unregister(landed, count);
}

void sdt_attention_buffers_clear(struct sdt_attention_buffers *buffers) {
    for (int p = 0; p < SDT_PROJECTIONS; p++)
        unregister_landed(buffers->landed[p], buffers->piece[p], buffers->pieces);
    unregister_landed(buffers->landed_output, buffers->output, buffers->pieces);
    for (int p = 0; p < SDT_PROJECTIONS; p++)
        unregister(buffers->piece[p], buffers->pieces);
    unregister(buffers->output, buffers->pieces);
    unregister(buffers->lse, buffers->pieces);
    unregister(buffers->keys, buffers->gathered);
    unregister(buffers->values, buffers->gathered);
    *buffers = (struct sdt_attention_buffers){0};
}

double sdt_attention_buffers_bytes(const struct sdt_strategy *strategy,
                                   const struct sdt_layout *layout, int device) {
    bool several = layout->devices > 1;
    double tile = (double)sdt_dtype_size(layout->dtype) * layout->rows * layout->e, heads = 0.0;
    for (int c = 0; c < layout->chunks; c++)
        if (layout->owner[c] == device % layout->ulysses)
            heads += sdt_chunk_heads(layout, c);
    /* as owner of tokens: its q, k, v, o pieces of all heads */
    double shard = 0.0;
    if (device < layout->devices)
        shard = layout->first_tile[device + 1] - layout->first_tile[device];
    /* as owner of heads: received q, k, v pieces, computed o, gathered keys and values */
    double position = strategy->ring ? sdt_ring_tiles(layout) : layout->tiles;
    return tile * (4.0 * shard * layout->heads + (several ? 4.0 : 0.0) * position * heads +
                   (strategy->ring ? 4.0 : 2.0) * position * heads);
}

/* ---- exchanges -------------------------------------------------------------------------------- */

/* Below all computing tasks: a receive that waits for its transfer must not hold up the device, and the
 * transfer itself starts when the task becomes ready, whatever its priority. */
#define EXCHANGE_PRIORITY (-1)
/* A part of a round has all that it sends: it only starts the transfers, and other devices wait for it. */
#define ROUND_PRIORITY 8

/* Where chunk c of tile t is computed: by the helpers too, if they take their static share. */
static const struct sdt_place *owner_place(const struct sdt_self_attention *attention, int chunk,
                                           int tile) {
    const struct sdt_layout *layout = attention->layout;
    if (attention->aco == SDT_ACO_STATIC)
        return &layout->place[layout->helped_owner[chunk]];
    return &layout->place[sdt_layout_owner(layout, chunk, tile)];
}

/* A chunk's place among those of its owner, and the first and last chunk that has the same place with any owner:
 * chunks of one place travel in one round, so that all owners receive at a time. */
static int place_of(const struct sdt_layout *layout, int chunk) {
    int place = 0;
    while (place < chunk && layout->owner[chunk - place - 1] == layout->owner[chunk])
        place++;
    return place;
}

static int first_of_round(const struct sdt_layout *layout, int place) {
    int chunk = 0;
    while (place_of(layout, chunk) != place)
        chunk++;
    return chunk;
}

static int last_of_round(const struct sdt_layout *layout, int place) {
    int chunk = layout->chunks - 1;
    while (place_of(layout, chunk) != place)
        chunk--;
    return chunk;
}

/* One round with the pieces of all chunks of that place (-1: of all chunks), to the owners or back. */
static void insert_round(struct sdt_flow *flow, const struct sdt_layout *layout,
                         struct sdt_collective *collective, const char *name, int place, bool back,
                         const sdt_handle *piece, const sdt_handle *landed) {
    int most = layout->tiles * layout->chunks, count = 0;
    struct sdt_transfer *transfer = calloc((size_t)most, sizeof *transfer);

    if (!transfer) {
        if (flow->error.status == SDT_OK)
            sdt_fail(&flow->error, SDT_ERROR_MEMORY, "out of memory for an exchange of %d pieces",
                     most);
        return;
    }
    for (int c = 0; c < layout->chunks; c++)
        for (int t = 0; t < layout->tiles; t++) {
            int i = t * layout->chunks + c, home = layout->home[t];
            int owner = sdt_layout_owner(layout, c, t);
            if ((place < 0 || place_of(layout, c) == place) && travels(layout, c, t))
                transfer[count++] = (struct sdt_transfer){.from = back ? owner : home,
                                                          .to = back ? home : owner,
                                                          .source = piece[i],
                                                          .landing = landed[i],
                                                          .count = sdt_piece_size(layout, c)};
        }
    flow->tag.role = SDT_ROLE_ROUND;
    flow->tag.tile = -1;
    flow->priority = ROUND_PRIORITY;
    sdt_insert_round(flow, collective, name, count, transfer);
    flow->priority = 0;
    free(transfer);
}

void sdt_exchange_in(struct sdt_flow *flow, const struct sdt_self_attention *attention,
                     enum sdt_projection which, int chunk) {
    const struct sdt_layout *layout = attention->layout;
    const struct sdt_attention_buffers *buffers = attention->buffers;
    const sdt_handle *pieces = buffers->piece[which];

    flow->tag.chunk = chunk;
    if (buffers->collective) {
        static const char *const names[] = {"exchange_q", "exchange_k", "exchange_v"};
        int place = place_of(layout, chunk);
        if (chunk == first_of_round(layout, place))
            insert_round(flow, layout, buffers->collective, names[which], place, false, pieces,
                         buffers->landed[which]);
        pieces = buffers->landed[which];
        if (which == SDT_PROJECT_Q) /* read where they landed */
            return;
    }
    pieces += chunk;
    flow->place = owner_place(attention, chunk, 0);
    flow->tag.role = SDT_ROLE_EXCHANGE;
    flow->tag.tile = -1;
    flow->priority = EXCHANGE_PRIORITY;
    if (which == SDT_PROJECT_Q)
        sdt_insert_receive(flow, "exchange_q", layout->tiles, pieces, layout->chunks);
    else if (which == SDT_PROJECT_V)
        sdt_insert_gather(flow, "exchange_v", layout->tiles, sdt_chunk_heads(layout, chunk),
                          sdt_block_size(layout), pieces, layout->chunks, buffers->values[chunk]);
    else
        sdt_insert_gather(flow, "exchange_k", layout->tiles, sdt_chunk_heads(layout, chunk),
                          sdt_block_size(layout), pieces, layout->chunks, buffers->keys[chunk]);
    flow->priority = 0;
    flow->tag.chunk = -1;
}

void sdt_attend(struct sdt_flow *flow, const struct sdt_self_attention *attention, int chunk,
                int tile) {
    const struct sdt_layout *layout = attention->layout;
    const struct sdt_attention_buffers *buffers = attention->buffers;
    int piece = tile * layout->chunks + chunk;
    const sdt_handle *q =
        buffers->collective ? buffers->landed[SDT_PROJECT_Q] : buffers->piece[SDT_PROJECT_Q];

    flow->place = owner_place(attention, chunk, tile);
    if (attention->aco == SDT_ACO_DYNAMIC)
        flow->place = &attention->anywhere[sdt_layout_owner(layout, chunk, tile)];
    flow->tag.role = SDT_ROLE_ATTENTION;
    flow->tag.chunk = chunk;
    flow->tag.tile = tile;
    flow->priority = 2;
    sdt_insert_attention(flow, "attention", sdt_chunk_heads(layout, chunk), layout->rows, layout->e,
                         layout->rows, layout->tokens, 1.0f / sqrtf((float)layout->e), q[piece],
                         buffers->keys[chunk], buffers->values[chunk], buffers->output[piece], NULL,
                         false);
    flow->priority = 0;
    flow->tag.chunk = flow->tag.tile = -1;
}

static void at_home(struct sdt_flow *flow, const struct sdt_layout *layout, int chunk, int tile) {
    flow->place = &layout->place[layout->home[tile]];
    flow->tag.role = SDT_ROLE_EXCHANGE;
    flow->tag.chunk = chunk;
    flow->tag.tile = tile;
    flow->priority = EXCHANGE_PRIORITY;
}

void sdt_exchange_out(struct sdt_flow *flow, const struct sdt_self_attention *attention, int tile) {
    const struct sdt_layout *layout = attention->layout;
    const struct sdt_attention_buffers *buffers = attention->buffers;
    const sdt_handle *output = buffers->collective ? buffers->landed_output : buffers->output;

    at_home(flow, layout, -1, tile);
    sdt_insert_merge_heads(flow, "exchange_o", layout->rows, layout->heads, layout->e,
                           layout->chunks, layout->head, output + tile * layout->chunks, false,
                           attention->merged(attention->model, tile));
    flow->priority = 0;
    flow->tag.tile = -1;
}

void sdt_exchange_out_whole(struct sdt_flow *flow, const struct sdt_self_attention *attention) {
    const struct sdt_attention_buffers *buffers = attention->buffers;

    flow->tag.chunk = -1;
    if (buffers->collective)
        insert_round(flow, attention->layout, buffers->collective, "exchange_o", -1, true,
                     buffers->output, buffers->landed_output);
}

/* A round goes back when all owners have computed their chunk of that place for all tiles. */
static void round_out(struct sdt_flow *flow, const struct sdt_self_attention *attention, int chunk,
                      int tile) {
    const struct sdt_layout *layout = attention->layout;
    const struct sdt_attention_buffers *buffers = attention->buffers;
    int place = place_of(layout, chunk);
    int last_tile = (layout->first_tile[layout->owner[chunk]] + layout->tiles - 1) % layout->tiles;

    flow->tag.chunk = chunk;
    if (chunk == last_of_round(layout, place) && tile == last_tile)
        insert_round(flow, layout, buffers->collective, "exchange_o", place, true, buffers->output,
                     buffers->landed_output);
    flow->tag.chunk = -1;
}

void sdt_exchange_out_chunk(struct sdt_flow *flow, const struct sdt_self_attention *attention,
                            int chunk, int tile) {
    const struct sdt_layout *layout = attention->layout;

    if (attention->buffers->collective) {
        round_out(flow, attention, chunk, tile);
        return;
    }
    if (attention->aco == SDT_ACO_OFF &&
        sdt_layout_owner(layout, chunk, tile) == layout->home[tile])
        return; /* it is there already */
    at_home(flow, layout, chunk, tile);
    sdt_insert_receive(flow, "exchange_o", 1,
                       attention->buffers->output + tile * layout->chunks + chunk, 1);
    flow->priority = 0;
    flow->tag.chunk = flow->tag.tile = -1;
}

static double exchanged(const struct sdt_layout *layout, bool helped) {
    double elements = 0.0;
    for (int t = 0; t < layout->tiles; t++)
        for (int c = 0; c < layout->chunks; c++) {
            int owner = helped ? layout->helped_owner[c] : sdt_layout_owner(layout, c, t);
            if (layout->home[t] != owner)
                elements += 4.0 * (double)sdt_piece_size(layout, c); /* q, k, v, o */
        }
    return (double)sdt_dtype_size(layout->dtype) * elements;
}

double sdt_exchanged_by_heads(const struct sdt_layout *layout) { return exchanged(layout, false); }

double sdt_exchanged_with_helpers(const struct sdt_layout *layout) {
    return exchanged(layout, true);
}

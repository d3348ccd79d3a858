/* The building blocks that strategies share: buffers, the exchange of one chunk, attention of one
 * piece. */
#include "graph/strategies/strategy.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

int sdt_chunk_heads(const struct sdt_layout *layout, int chunk) {
    return layout->head[chunk + 1] - layout->head[chunk];
}

size_t sdt_block_size(const struct sdt_layout *layout, int tile) {
    return (size_t)sdt_tile_size(layout, tile) * (size_t)layout->e;
}

size_t sdt_piece_size(const struct sdt_layout *layout, int tile, int chunk) {
    return (size_t)sdt_chunk_heads(layout, chunk) * sdt_block_size(layout, tile);
}

size_t sdt_gathered_size(const struct sdt_layout *layout, int chunk, int tiles) {
    return (size_t)sdt_chunk_heads(layout, chunk) * (size_t)layout->rows * (size_t)layout->e *
           (size_t)tiles;
}

struct sdt_gather sdt_gather_of(const struct sdt_layout *layout, int first, int64_t keys) {
    size_t e = (size_t)layout->e, block = (size_t)layout->rows * e;
    int video = layout->video_tiles - 1, last = layout->tiles - 1;
    int64_t padded = (int64_t)layout->video_tiles * layout->rows - layout->video;
    int64_t tiles = (keys + layout->rows - 1) / layout->rows;
    int split = layout->tiles > layout->video_tiles ? layout->video_tiles - first : 0;
    return (struct sdt_gather){.block = block,
                               .stride = (size_t)tiles * block,
                               .split = split,
                               .skip = split > 0 ? (size_t)padded * e : 0,
                               .before = split > 0 ? sdt_block_size(layout, video) : 0,
                               .last = last - first,
                               .end = sdt_block_size(layout, last)};
}

struct sdt_parallel sdt_parallel_of(const struct sdt_strategy *strategy,
                                    const struct sdt_placement *p, int devices, int helpers) {
    return (struct sdt_parallel){.strategy = strategy,
                                 .devices = devices,
                                 .helpers = p->aco == SDT_ACO_OFF ? 0 : helpers,
                                 .ulysses_degree = p->ulysses_degree,
                                 .chunk_heads = p->chunk_heads,
                                 .patches = p->patches,
                                 .transport = p->transport,
                                 .streams = p->streams,
                                 .apart = p->cfg_parallel,
                                 .aco = p->aco};
}

enum sdt_status sdt_parallel_layout(const struct sdt_parallel *parallel, int64_t tokens,
                                    int64_t text, int branches, int heads, int e,
                                    struct sdt_layout *layout, struct sdt_error *err) {
    double speed[2 * SDT_MAX_DEVICES];
    int places = parallel->devices + parallel->helpers;
    bool known = true; /* places without a machine may have none */
    for (int i = 0; i < places; i++) {
        speed[i] = parallel->place[i].speed;
        known = known && speed[i] > 0.0;
    }
    struct sdt_layout_options options = {.place = parallel->place,
                                         .speed = known ? speed : NULL,
                                         .devices = parallel->devices,
                                         .helpers = parallel->helpers,
                                         .tokens = tokens,
                                         .text = text,
                                         .heads = heads,
                                         .e = e,
                                         .dtype = parallel->dtype,
                                         .chunk_heads = parallel->chunk_heads,
                                         .tile_rows = parallel->tile_rows};
    /* Streams keep workers busy together, with fewer tiles of each. Where tiles' ends are part of
     * the bits, --streams is not to change them. */
    if (parallel->strategy->exact)
        options.streams = sdt_streams(parallel->streams, branches);
    if (parallel->strategy->split)
        parallel->strategy->split(parallel, &options);
    if (!options.tile_rows && parallel->place[0].kind == SDT_DEVICE_CUDA)
        options.tile_rows = sdt_cuda_tile_rows(tokens + text, options.devices, options.speed);
    if (parallel->place[0].kind == SDT_DEVICE_CUDA)
        options.unit = SDT_CUDA_ROWS;
    enum sdt_status status = sdt_layout_init(layout, &options, err);
    /* A patch is a whole number of rows: with many of few tokens some would get none. */
    const int patches = parallel->patches;
    if (status == SDT_OK && patches && sdt_spans(layout) != patches)
        status = sdt_fail(err, SDT_ERROR_USAGE,
                          "%d patches (--patches) of %lld tokens: of %d tokens each there are %d, "
                          "and %d works",
                          patches, (long long)tokens, layout->rows * layout->span_tiles,
                          sdt_spans(layout), sdt_spans(layout));
    for (int t = 0; status == SDT_OK && parallel->strategy->home && t < layout->tiles; t++)
        layout->home[t] = parallel->strategy->home(layout, t);
    return status;
}

/* ---- what is allowed ------------------------------------------------------------------------- */

/* The branches of guidance on devices of their own. */
static enum sdt_status allows_apart(const struct sdt_placement *p, int devices,
                                    struct sdt_error *err) {
    static const char name[] = "--use-cfg-parallel";
    if (devices < 2)
        return sdt_fail(err, SDT_ERROR_USAGE,
                        "%s: each of two branches needs a device that denoises, and there is one",
                        name);
    if (p->aco != SDT_ACO_OFF)
        return sdt_fail(err, SDT_ERROR_USAGE,
                        "%s does not go with --aco %s: helpers would have to belong to one of the "
                        "branches; aco off works",
                        name, sdt_aco_name(p->aco));
    if (p->transport == SDT_TRANSPORT_NCCL)
        return sdt_fail(err, SDT_ERROR_USAGE,
                        "%s does not go with --transport nccl: rounds know one group of devices; "
                        "starpu works",
                        name);
    if (p->streams == 1)
        return sdt_fail(err, SDT_ERROR_USAGE,
                        "%s runs both forwards of a step at once; --streams 1 does not go with it",
                        name);
    return SDT_OK;
}

enum sdt_status sdt_strategy_allows(const struct sdt_strategy *strategy,
                                    const struct sdt_placement *p, int devices,
                                    const struct sdt_dit *dit, struct sdt_error *err) {
    enum sdt_status status;
    if (p->streams < 0 || p->streams > 2)
        return sdt_fail(err, SDT_ERROR_USAGE, "%d streams; 1 or 2 work, and 0 for both forwards",
                        p->streams);
    if (!strategy->stale && p->patches)
        return sdt_fail(err, SDT_ERROR_USAGE,
                        "strategy %s takes all tokens at once, and has no patches", strategy->name);
    if (p->aco != SDT_ACO_OFF && (p->dit_devices < 1 || p->vae_devices < 1))
        return sdt_fail(err, SDT_ERROR_USAGE,
                        "--aco %s needs two groups: --dit-devices and --vae-devices",
                        sdt_aco_name(p->aco));
    if (p->transport == SDT_TRANSPORT_NCCL && p->aco != SDT_ACO_OFF)
        return sdt_fail(
            err, SDT_ERROR_USAGE,
            "transport nccl does not go with aco %s: its rounds know the DiT group only; "
            "aco off works",
            sdt_aco_name(p->aco));
    int denoising = p->dit_devices > 0 ? p->dit_devices : devices;
    if (p->cfg_parallel && (status = allows_apart(p, denoising, err)) != SDT_OK)
        return status;
    if (!strategy->allow)
        return SDT_OK;
    return strategy->allow(strategy, p, p->cfg_parallel ? (denoising + 1) / 2 : denoising, dit,
                           err);
}

/* ---- buffers --------------------------------------------------------------------------------- */

static void no_memory(struct sdt_flow *flow, const struct sdt_layout *layout) {
    if (flow->error.status == SDT_OK)
        sdt_fail(&flow->error, SDT_ERROR_MEMORY, "out of memory for the pieces of %d tiles",
                 layout->tiles);
}

sdt_handle *sdt_new_pieces(struct sdt_flow *flow, const struct sdt_layout *layout, bool per_row,
                           const char *name) {
    int count = layout->tiles * layout->chunks;
    sdt_handle *piece = calloc((size_t)count, sizeof *piece);
    if (!piece)
        no_memory(flow, layout);
    for (int i = 0; piece && i < count; i++) {
        size_t size = sdt_piece_size(layout, i / layout->chunks, i % layout->chunks);
        piece[i] = per_row ? sdt__vector(flow, size / (size_t)layout->e, name)
                           : sdt__tensor(flow, layout->dtype, size, name);
    }
    return piece;
}

/* Does piece (t, c) travel between its token owner and its head owner? With one device everything
 * does: to itself, so that a transport can be tried. */
static bool travels(const struct sdt_layout *layout, int chunk, int tile) {
    return layout->devices == 1 || sdt_layout_owner(layout, chunk, tile) != layout->home[tile];
}

static sdt_handle *new_landings(struct sdt_flow *flow, const struct sdt_layout *layout,
                                const sdt_handle *piece, const char *name) {
    int count = layout->tiles * layout->chunks;
    sdt_handle *landed = calloc((size_t)count, sizeof *landed);
    if (!landed)
        no_memory(flow, layout);
    for (int i = 0; landed && piece && i < count; i++) {
        int chunk = i % layout->chunks, tile = i / layout->chunks;
        size_t size = sdt_piece_size(layout, tile, chunk);
        landed[i] =
            travels(layout, chunk, tile) ? sdt__tensor(flow, layout->dtype, size, name) : piece[i];
    }
    return landed;
}

void sdt_attention_buffers_init(struct sdt_flow *flow, struct sdt_attention_buffers *buffers,
                                const struct sdt_strategy *strategy,
                                const struct sdt_layout *layout,
                                struct sdt_collective *collective) {
    static const char *const names[] = {"q piece", "k piece", "v piece"};

    *buffers = (struct sdt_attention_buffers){.collective = collective,
                                              .pieces = layout->tiles * layout->chunks};
    for (int p = 0; p < SDT_PROJECTIONS; p++)
        buffers->piece[p] = sdt_new_pieces(flow, layout, false, names[p]);
    buffers->output = sdt_new_pieces(flow, layout, false, "o piece");
    for (int p = 0; collective && p < SDT_PROJECTIONS; p++)
        buffers->landed[p] = new_landings(flow, layout, buffers->piece[p], "landed");
    if (collective)
        buffers->landed_output = new_landings(flow, layout, buffers->output, "landed output");
    if (strategy->buffers)
        strategy->buffers(flow, buffers, layout);
}

void sdt_buffers_by_chunk(struct sdt_flow *flow, struct sdt_attention_buffers *buffers,
                          const struct sdt_layout *layout) {
    buffers->gathered = layout->chunks;
    buffers->keys = calloc((size_t)buffers->gathered, sizeof *buffers->keys);
    buffers->values = calloc((size_t)buffers->gathered, sizeof *buffers->values);
    if (!buffers->keys || !buffers->values) {
        no_memory(flow, layout);
        return;
    }
    for (int c = 0; c < layout->chunks; c++) {
        size_t size = sdt_gathered_size(layout, c, layout->tiles);
        buffers->keys[c] = sdt__tensor(flow, layout->dtype, size, "keys");
        buffers->values[c] = sdt__tensor(flow, layout->dtype, size, "values");
    }
}

static void unregister(sdt_handle *handle, int count) {
    for (int i = 0; handle && i < count; i++)
        sdt__unregister_submit(handle[i]);
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
    unregister(buffers->later, buffers->pieces);
    unregister(buffers->keys, buffers->gathered);
    unregister(buffers->values, buffers->gathered);
    *buffers = (struct sdt_attention_buffers){0};
}

double sdt_bytes_by_chunk(const struct sdt_layout *layout, int device) {
    bool several = layout->devices > 1;
    double row = (double)sdt_dtype_size(layout->dtype) * layout->e, heads = 0.0, shard = 0.0;
    double all = (double)sdt_tiles_size(layout, 0, layout->tiles);
    double gathered = (double)layout->tiles * layout->rows;
    for (int c = 0; c < layout->chunks; c++)
        if (layout->owner[c] == device % layout->ulysses)
            heads += sdt_chunk_heads(layout, c);
    /* as owner of tokens: its q, k, v, o pieces of all heads */
    if (device < layout->devices)
        shard = (double)sdt_tiles_size(layout, layout->first_tile[device],
                                       layout->first_tile[device + 1]);
    /* as owner of heads: received q, k, v pieces, computed o, gathered keys and values */
    return row *
           (4.0 * shard * layout->heads + ((several ? 4.0 * all : 0.0) + 2.0 * gathered) * heads);
}

/* ---- exchanges ------------------------------------------------------------------------------- */

/* Below all computing tasks: a receive that waits for its transfer must not hold up the device, and
 * the transfer itself starts when the task becomes ready, whatever its priority. */
#define EXCHANGE_PRIORITY (-1)
/* A part of a round has all that it sends: it only starts the transfers, and other devices wait for
 * it. */
#define ROUND_PRIORITY 8

/* Where chunk c of tile t is computed: by the helpers too, if they take their static share. */
static const struct sdt_place *owner_place(const struct sdt_self_attention *attention, int chunk,
                                           int tile) {
    const struct sdt_layout *layout = attention->layout;
    if (attention->aco == SDT_ACO_STATIC)
        return &layout->place[layout->helped_owner[chunk]];
    return &layout->place[sdt_layout_owner(layout, chunk, tile)];
}

/* A chunk's number among those of its owner, and the first and last chunk that has the same number
 * with any owner: chunks of one number travel in one round, so that all owners receive at a
 * time. */
static int number_of(const struct sdt_layout *layout, int chunk) {
    int number = 0;
    while (number < chunk && layout->owner[chunk - number - 1] == layout->owner[chunk])
        number++;
    return number;
}

static int first_of_round(const struct sdt_layout *layout, int number) {
    int chunk = 0;
    while (number_of(layout, chunk) != number)
        chunk++;
    return chunk;
}

static int last_of_round(const struct sdt_layout *layout, int number) {
    int chunk = layout->chunks - 1;
    while (number_of(layout, chunk) != number)
        chunk--;
    return chunk;
}

/* What travels in a round: q, k or v to the owners of chunks, or the output back. */
enum { OUTPUT = SDT_PROJECTIONS };

/* One round with the pieces of all chunks of that number (-1: of all chunks). */
static void insert_round(struct sdt_flow *flow, const struct sdt_self_attention *attention,
                         int what, int number) {
    static const char *const names[] = {"exchange_q", "exchange_k", "exchange_v", "exchange_o"};
    const struct sdt_layout *layout = attention->layout;
    const struct sdt_attention_buffers *buffers = attention->buffers;
    const bool back = what == OUTPUT;
    const sdt_handle *piece = back ? buffers->output : buffers->piece[what];
    const sdt_handle *landed = back ? buffers->landed_output : buffers->landed[what];
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
            if ((number < 0 || number_of(layout, c) == number) && travels(layout, c, t))
                transfer[count++] = (struct sdt_transfer){.from = back ? owner : home,
                                                          .to = back ? home : owner,
                                                          .source = piece[i],
                                                          .landing = landed[i],
                                                          .count = sdt_piece_size(layout, t, c)};
        }
    flow->tag.role = SDT_ROLE_ROUND;
    flow->tag.tile = -1;
    flow->priority = ROUND_PRIORITY;
    sdt_insert_round(flow, buffers->collective, names[what], count, transfer);
    flow->priority = 0;
    free(transfer);
}

void sdt_project(struct sdt_flow *flow, const struct sdt_self_attention *attention,
                 enum sdt_projection which, int tile) {
    attention->project(flow, attention->model, which, tile,
                       attention->buffers->piece[which] + tile * attention->layout->chunks);
}

void sdt_exchange_in(struct sdt_flow *flow, const struct sdt_self_attention *attention,
                     enum sdt_projection which, int chunk) {
    const struct sdt_layout *layout = attention->layout;
    const struct sdt_attention_buffers *buffers = attention->buffers;
    const sdt_handle *pieces = buffers->piece[which];

    flow->tag.chunk = chunk;
    if (buffers->collective) {
        int number = number_of(layout, chunk);
        if (chunk == first_of_round(layout, number))
            insert_round(flow, attention, (int)which, number);
        pieces = buffers->landed[which];
        if (which == SDT_PROJECT_Q) /* read where they landed */
            return;
    }
    struct sdt_gather to = sdt_gather_of(layout, 0, attention->keys);
    pieces += chunk;
    flow->place = owner_place(attention, chunk, 0);
    flow->tag.role = SDT_ROLE_EXCHANGE;
    flow->tag.tile = -1;
    flow->priority = EXCHANGE_PRIORITY;
    if (which == SDT_PROJECT_Q)
        sdt_insert_receive(flow, "exchange_q", layout->tiles, pieces, layout->chunks);
    else if (which == SDT_PROJECT_V)
        sdt_insert_gather(flow, "exchange_v", layout->tiles, sdt_chunk_heads(layout, chunk), &to,
                          pieces, layout->chunks, buffers->values[chunk]);
    else
        sdt_insert_gather(flow, "exchange_k", layout->tiles, sdt_chunk_heads(layout, chunk), &to,
                          pieces, layout->chunks, buffers->keys[chunk]);
    flow->priority = 0;
    flow->tag.chunk = -1;
}

void sdt_attend_to(struct sdt_flow *flow, const struct sdt_self_attention *attention, int chunk,
                   int tile, sdt_handle q, int64_t first_key, int64_t keys, sdt_handle k,
                   sdt_handle v, sdt_handle lse, bool merge) {
    const struct sdt_layout *layout = attention->layout;
    struct sdt_token_groups groups = attention->groups;
    groups.first_query = sdt_tile_first(layout, tile);
    groups.first_key = first_key;
    sdt_insert_group_attention(
        flow, merge ? "attention_merge" : "attention", &groups, sdt_chunk_heads(layout, chunk),
        sdt_tile_size(layout, tile), layout->e, layout->rows, keys, 1.0f / sqrtf((float)layout->e),
        q, k, v, attention->buffers->output[tile * layout->chunks + chunk], lse, merge);
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
    sdt_attend_to(flow, attention, chunk, tile, q[piece], 0, attention->keys, buffers->keys[chunk],
                  buffers->values[chunk], NULL, false);
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
    sdt_insert_merge_heads(flow, "exchange_o", sdt_tile_size(layout, tile), layout->heads,
                           layout->e, layout->chunks, layout->head, output + tile * layout->chunks,
                           false, attention->z[tile]);
    flow->priority = 0;
    flow->tag.tile = -1;
}

void sdt_exchange_out_whole(struct sdt_flow *flow, const struct sdt_self_attention *attention) {
    const struct sdt_attention_buffers *buffers = attention->buffers;

    flow->tag.chunk = -1;
    if (buffers->collective)
        insert_round(flow, attention, OUTPUT, -1);
}

/* A round goes back when all owners have computed their chunk of that place for all tiles. */
static void round_out(struct sdt_flow *flow, const struct sdt_self_attention *attention, int chunk,
                      int tile) {
    const struct sdt_layout *layout = attention->layout;
    int number = number_of(layout, chunk);
    int last_tile = (layout->first_tile[layout->owner[chunk]] + layout->tiles - 1) % layout->tiles;

    flow->tag.chunk = chunk;
    if (chunk == last_of_round(layout, number) && tile == last_tile)
        insert_round(flow, attention, OUTPUT, number);
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
                elements += 4.0 * (double)sdt_piece_size(layout, t, c); /* q, k, v, o */
        }
    return (double)sdt_dtype_size(layout->dtype) * elements;
}

double sdt_exchanged_by_heads(const struct sdt_layout *layout) { return exchanged(layout, false); }

double sdt_exchanged_with_helpers(const struct sdt_layout *layout) {
    return exchanged(layout, true);
}

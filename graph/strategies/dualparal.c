/* DualParal (arXiv 2505.21070): layers over the devices, and a long video in blocks of frames, each
 * at a step of its own, that follow one another through them.
 *
 * Each device holds some of the layers. Blocks wait in a queue (graph/run/blocks.h); in an
 * iteration each of them goes through the layers once, the newest and noisiest one first. A block
 * begins with frames of the block before it, and in each layer attends to keys of the first frames
 * of the block behind it, which has just been there. So what a device computes for one block is
 * there for the next, and what travels is a block's activations from device to device, and its
 * latent from the last device to the first.
 *
 * Tasks are inserted as the sequential program would run them. The paper's program takes the
 * context of the newest block as far as it has come; here it is waited for, so that the result
 * depends on the blocks alone. */
#include "graph/run/run.h"

#include <math.h>
#include <stdlib.h>

/* ---- where ----------------------------------------------------------------------------------- */

static int home(const struct sdt_layout *layout, int tile) {
    (void)tile;
    return layout->devices - 1;
}

static int device(const struct sdt_layout *layout, int layers, int layer, int tile) {
    if (layer == layers)
        return home(layout, tile);
    return layer < 0 ? 0 : sdt_stage_of(layout, layers, layer);
}

/* Tiles for the workers of one device, which take each layer alone. */
static void tiles(const struct sdt_parallel *parallel, struct sdt_layout_options *options) {
    int workers = 0;
    for (int d = 0; d < options->devices; d++)
        workers = parallel->place[d].workers > workers ? parallel->place[d].workers : workers;
    options->ulysses = 1;
    options->helpers = 0;
    if (!options->tile_rows)
        options->tile_rows = parallel->place[0].kind == SDT_DEVICE_CUDA
                                 ? sdt_cuda_tile_rows(options->tokens, 1, NULL)
                                 : sdt_tile_rows(options->tokens, workers);
}

static enum sdt_status allow(const struct sdt_strategy *strategy,
                             const struct sdt_placement *placement, int devices,
                             const struct sdt_dit *dit, struct sdt_error *err) {
    if (devices > dit->layers)
        return sdt_fail(err, SDT_ERROR_USAGE,
                        "strategy %s with %d devices: the model has %d layers, one a device at "
                        "least",
                        strategy->name, devices, dit->layers);
    if (!dit->kind->later || dit->text_joins || dit->kind->groups)
        return sdt_fail(err, SDT_ERROR_USAGE,
                        "strategy %s: a block attends to keys of the next one, and the attention "
                        "of %s is of another kind; ulysses and pipesp work",
                        strategy->name, dit->kind->class_name);
    if (placement->aco != SDT_ACO_OFF || placement->transport == SDT_TRANSPORT_NCCL ||
        placement->cfg_parallel || placement->streams || placement->ulysses_degree)
        return sdt_fail(err, SDT_ERROR_USAGE,
                        "aco, transport nccl, branches apart, streams and a Ulysses degree do not "
                        "go with strategy %s, whose devices have layers each",
                        strategy->name);
    return SDT_OK;
}

/* ---- buffers --------------------------------------------------------------------------------- */

/* Tiles that keys of a block and of the next one's first frames take. */
static int key_tiles(const struct sdt_layout *layout) {
    return (int)((layout->video + layout->overlap + layout->rows - 1) / layout->rows);
}

/* Has a tile frames that the block before sees? They are the first ones of the block's own. */
static bool is_shared(const struct sdt_layout *layout, int tile) {
    int64_t first = sdt_tile_first(layout, tile);
    return first < 2 * layout->overlap && first + sdt_tile_valid(layout, tile) > layout->overlap;
}

static void buffers(struct sdt_flow *flow, struct sdt_attention_buffers *buffers,
                    const struct sdt_layout *layout) {
    const int chunks = layout->chunks;
    buffers->gathered = chunks;
    buffers->keys = calloc((size_t)chunks, sizeof *buffers->keys);
    buffers->values = calloc((size_t)chunks, sizeof *buffers->values);
    buffers->later = calloc((size_t)buffers->pieces, sizeof *buffers->later);
    if (!buffers->keys || !buffers->values || !buffers->later) {
        if (flow->error.status == SDT_OK)
            sdt_fail(&flow->error, SDT_ERROR_MEMORY, "out of memory for the keys of %d tiles",
                     layout->tiles);
        return;
    }
    for (int c = 0; c < chunks; c++) {
        size_t size = sdt_gathered_size(layout, c, key_tiles(layout));
        buffers->keys[c] = sdt__tensor(flow, layout->dtype, size, "keys");
        buffers->values[c] = sdt__tensor(flow, layout->dtype, size, "values");
    }
    for (int i = 0; i < buffers->pieces; i++)
        if (is_shared(layout, i / chunks))
            buffers->later[i] = sdt__tensor(
                flow, layout->dtype, sdt_piece_size(layout, i / chunks, i % chunks), "later keys");
}

static double buffer_bytes(const struct sdt_layout *layout, int d) {
    double width = (double)sdt_dtype_size(layout->dtype) * layout->e * layout->heads;
    double rows = 4.0 * (double)sdt_tiles_size(layout, 0, layout->tiles);
    (void)d;
    rows += 2.0 * key_tiles(layout) * layout->rows;
    for (int t = 0; t < layout->tiles; t++)
        rows += is_shared(layout, t) ? sdt_tile_size(layout, t) : 0;
    return width * rows;
}

/* ---- a step ---------------------------------------------------------------------------------- */

static void at(struct sdt_flow *flow, const struct sdt_self_attention *a, enum sdt_role role,
               int chunk, int tile) {
    flow->place = &a->layout->place[sdt_stage_of(a->layout, a->layers, a->layer)];
    flow->tag.role = role;
    flow->tag.chunk = chunk;
    flow->tag.tile = tile;
}

static sdt_handle shared_of(const struct sdt_self_attention *a, bool values, int chunk) {
    return a->shared[(values ? a->layout->chunks : 0) + chunk];
}

/* Keys (or values) of the block, and behind them those that the next one has left. */
static void gather(struct sdt_flow *flow, const struct sdt_self_attention *a, bool values,
                   int chunk) {
    const struct sdt_layout *layout = a->layout;
    const int heads = sdt_chunk_heads(layout, chunk);
    const sdt_handle *piece = a->buffers->piece[values ? SDT_PROJECT_V : SDT_PROJECT_K] + chunk;
    sdt_handle y = (values ? a->buffers->values : a->buffers->keys)[chunk];
    struct sdt_gather to = sdt_gather_of(layout, 0, a->keys);

    at(flow, a, SDT_ROLE_EXCHANGE, chunk, -1);
    sdt_insert_gather(flow, values ? "gather_v" : "gather_k", layout->tiles, heads, &to, piece,
                      layout->chunks, y);
    if (!a->sees_next)
        return;
    const size_t e = (size_t)layout->e, count = (size_t)layout->overlap * e;
    struct sdt_copy_part part = {.heads = heads,
                                 .count = count,
                                 .x_stride = count,
                                 .y_stride = to.stride,
                                 .y_at = (size_t)layout->video * e};
    sdt_insert_copy_part(flow, values ? "see_next_v" : "see_next_k", &part,
                         shared_of(a, values, chunk), y, false);
}

/* Those of its own first frames take their place. */
static void leave(struct sdt_flow *flow, const struct sdt_self_attention *a, bool values,
                  int chunk) {
    const struct sdt_layout *layout = a->layout;
    const size_t e = (size_t)layout->e;
    const int64_t begin = layout->overlap, end = 2 * layout->overlap;
    const sdt_handle *piece = values ? a->buffers->piece[SDT_PROJECT_V] : a->buffers->later;
    bool fresh = true;

    for (int t = 0; t < layout->tiles; t++) {
        if (!is_shared(layout, t))
            continue;
        int64_t first = sdt_tile_first(layout, t), last = first + sdt_tile_valid(layout, t);
        int64_t from = first > begin ? first : begin, to = last < end ? last : end;
        struct sdt_copy_part part = {.heads = sdt_chunk_heads(layout, chunk),
                                     .count = (size_t)(to - from) * e,
                                     .x_stride = (size_t)sdt_tile_size(layout, t) * e,
                                     .x_at = (size_t)(from - first) * e,
                                     .y_stride = (size_t)layout->overlap * e,
                                     .y_at = (size_t)(from - begin) * e};
        at(flow, a, SDT_ROLE_EXCHANGE, chunk, t);
        sdt_insert_copy_part(flow, values ? "leave_v" : "leave_k", &part,
                             piece[t * layout->chunks + chunk], shared_of(a, values, chunk), fresh);
        fresh = false;
    }
}

static void attention(struct sdt_flow *flow, const struct sdt_self_attention *a) {
    const struct sdt_layout *layout = a->layout;

    for (int t = 0; t < layout->tiles; t++)
        for (int p = 0; p < SDT_PROJECTIONS; p++)
            sdt_project(flow, a, (enum sdt_projection)p, t);
    for (int c = 0; c < layout->chunks; c++)
        for (int values = 0; values < 2; values++) {
            gather(flow, a, values, c);
            if (a->is_seen)
                leave(flow, a, values, c);
        }
    for (int c = 0; c < layout->chunks; c++)
        for (int t = 0; t < layout->tiles; t++) {
            at(flow, a, SDT_ROLE_ATTENTION, c, t);
            sdt_attend_to(flow, a, c, t, a->buffers->piece[SDT_PROJECT_Q][t * layout->chunks + c],
                          0, a->keys, a->buffers->keys[c], a->buffers->values[c], NULL, false);
        }
    for (int t = 0; t < layout->tiles; t++) {
        at(flow, a, SDT_ROLE_EXCHANGE, -1, t);
        sdt_insert_merge_heads(flow, "exchange_o", sdt_tile_size(layout, t), layout->heads,
                               layout->e, layout->chunks, layout->head,
                               a->buffers->output + t * layout->chunks, false, a->z[t]);
        a->join(flow, a->model, t);
    }
    flow->tag.chunk = flow->tag.tile = -1;
}

/* A block's forwards, one behind the other. */
static void step(struct sdt_flow *flow, struct sdt_run *run, struct sdt_branches branches, float t,
                 const sdt_handle *latent) {
    const int layers = run->dit->layers, devices = run->layout.devices;
    const struct sdt_span all = sdt_whole_span(&run->layout);
    for (int i = 0; i < branches.count; i++) {
        int branch = branches.number[i];
        unsigned long number = run->flights++;
        struct sdt_stream *stream = run->flight + number % (unsigned long)run->streams * devices;
        flow->priority = sdt_turn_priority(number);
        run->branch[branch].stream = stream;
        sdt_run_condition(flow, run, branch, t);
        sdt_run_embed(flow, run, branch, all, latent);
        for (int l = 0; l < layers; l++) {
            run->branch[branch].stream = stream + sdt_stage_of(&run->layout, layers, l);
            sdt_run_layer(flow, run, branch, all, l);
        }
        run->branch[branch].stream = stream + devices - 1;
        sdt_run_end(flow, run, branch, all);
    }
    flow->priority = 0;
}

/* ---- what it takes --------------------------------------------------------------------------- */

static double exchanged(const struct sdt_layout *layout) {
    (void)layout;
    return 0.0; /* in attention */
}

/* The part of a forward that the slowest device has. */
static double slowest_of(const struct sdt_step_load *load) {
    const struct sdt_layout *layout = load->layout;
    double slowest = 0.0;
    for (int d = 0; d < layout->devices; d++) {
        int count = 0;
        for (int l = 0; l < load->layers; l++)
            count += sdt_stage_of(layout, load->layers, l) == d;
        double part = (double)count / fmax(1.0, load->layers) / layout->place[d].workers;
        slowest = fmax(slowest, part * (load->slower ? load->slower[d] : 1.0));
    }
    return slowest;
}

/* Forwards follow one another through the devices; where there are less than devices, an iteration
 * lasts as long as one that comes back. A mean over each block's steps. */
static struct sdt_cost cost(const struct sdt_step_load *load) {
    const struct sdt_layout *layout = load->layout;
    const struct sdt_blocks *q = &load->blocks;
    const int devices = layout->devices;
    struct sdt_cost c = sdt_cost_by_layers(load);
    if (q->count < 1 || load->forwards < 1)
        return c;
    double slot = c.worker_seconds / load->forwards * slowest_of(load);
    double hop = devices > 1
                     ? (double)sdt_dtype_size(layout->dtype) * layout->e * layout->heads *
                               (double)sdt_tiles_size(layout, 0, layout->tiles) / load->link +
                           load->latency
                     : 0.0;
    double round = devices + load->forwards - 1;
    double seconds = (devices - 1) * (slot + hop), computing = (devices - 1) * slot;
    for (int k = 0; k < sdt_blocks_iterations(q); k++) {
        double items = (double)sdt_blocks_alive(q, k) * load->forwards;
        computing += fmax(items, round) * slot;
        seconds += fmax(items * slot, round * (slot + hop));
    }
    c.seconds = seconds / q->steps;
    c.computing = computing / q->steps;
    c.worker_seconds *= q->count;
    c.bytes *= q->count;
    c.pieces *= q->count;
    c.tasks *= q->count;
    return c;
}

/* Only if asked for: the result is another one. */
static bool none(int index, int devices, struct sdt_placement *placement) {
    (void)index;
    (void)devices;
    (void)placement;
    return false;
}

const struct sdt_strategy sdt__strategy_dualparal = {
    .name = "dualparal",
    .summary =
        "layers over the devices, a long video in blocks of frames at different steps behind "
        "one another (--block-frames, --overlap-frames)",
    .blocks = true,
    .allow = allow,
    .split = tiles,
    .home = home,
    .device = device,
    .buffers = buffers,
    .buffer_bytes = buffer_bytes,
    .step = step,
    .self_attention = attention,
    .exchanged = exchanged,
    .cost = cost,
    .variant = none,
};

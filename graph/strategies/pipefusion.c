/* PipeFusion (arXiv 2405.14430): layers over the devices, and the tokens in patches that follow one
 * another through them.
 *
 * Each stage, one device or several with Ulysses inside, holds some of the layers. In the first
 * steps all tokens go through the stages together. Then patch after patch does: it attends to keys
 * and values that the stage has of all tokens, of this step those of the patches before it and its
 * own, of the step before those behind it. So a patch waits for no other one, a step begins before
 * the one before has left the last stage, and keys never travel: what does is a patch's activations
 * from stage to stage, and its latent from the last stage to the first.
 *
 * Patches are whole tiles, and as many of them as the request says, whatever the devices. Tasks are
 * inserted as the sequential program would run them, each patch's keys in the place of its old
 * ones: StarPU's order on that place is which step's keys are read. Text that joins attention goes
 * with the first patch. */
#include "graph/run/run.h"

#include <math.h>

enum { PATCHES = 4 };

/* ---- where ----------------------------------------------------------------------------------- */

/* Which device of its stage has a tile: those share each patch, and the text. */
static int member_of(const struct sdt_layout *layout, int tile) {
    int patch = layout->span_tiles;
    if (tile >= layout->video_tiles)
        return (tile - layout->video_tiles) * layout->ulysses /
               (layout->tiles - layout->video_tiles);
    int first = tile / patch * patch, left = layout->video_tiles - first;
    return (tile - first) * layout->ulysses / (left < patch ? left : patch);
}

static int home(const struct sdt_layout *layout, int tile) {
    return layout->devices - layout->ulysses + member_of(layout, tile);
}

static int device(const struct sdt_layout *layout, int layers, int layer, int tile) {
    if (layer == layers)
        return home(layout, tile);
    int stage = layer < 0 ? 0 : sdt_stage_of(layout, layers, layer);
    return stage * layout->ulysses + member_of(layout, tile);
}

/* Patches of so many rows, whatever the devices; tiles, which divide them, may follow the workers.
 * Long ones are a multiple of 16 units, so that there are tiles of a good size. */
static void patches(const struct sdt_parallel *parallel, struct sdt_layout_options *options) {
    int patches = parallel->patches ? parallel->patches : PATCHES, workers = 0, most = 0;
    int unit = parallel->place[0].kind == SDT_DEVICE_CUDA ? SDT_CUDA_ROWS : 4;
    int64_t units = (options->tokens + (int64_t)patches * unit - 1) / ((int64_t)patches * unit);
    units = units >= 64 ? (units + 15) / 16 * 16 : units;
    for (int d = 0; d < options->devices; d++)
        workers = parallel->place[d].workers > workers ? parallel->place[d].workers : workers;
    options->ulysses = parallel->ulysses_degree ? parallel->ulysses_degree : 1;
    options->helpers = 0;
    if (options->tile_rows)
        most = options->tile_rows;
    else if (unit == SDT_CUDA_ROWS)
        most = sdt_cuda_tile_rows(units * unit, options->ulysses, NULL);
    else
        most = sdt_tile_rows(units * unit, workers * options->ulysses);
    int tiles = 1; /* of a patch: the fewest that are small enough */
    while (units % tiles || (units / tiles > 1 && units / tiles * unit > most))
        tiles++;
    options->tile_rows = (int)(units / tiles) * unit;
    options->span_tiles = tiles;
}

static enum sdt_status allow(const struct sdt_strategy *strategy,
                             const struct sdt_placement *placement, int devices,
                             const struct sdt_dit *dit, struct sdt_error *err) {
    int degree = placement->ulysses_degree ? placement->ulysses_degree : 1;
    if (devices % degree)
        return sdt_fail(err, SDT_ERROR_USAGE,
                        "a Ulysses degree of %d (--ulysses-degree) does not divide %d devices: "
                        "strategy %s has that "
                        "many devices in each stage",
                        degree, devices, strategy->name);
    if (devices / degree > dit->layers)
        return sdt_fail(err, SDT_ERROR_USAGE,
                        "strategy %s with %d stages: the model has %d layers, one a stage at least",
                        strategy->name, devices / degree, dit->layers);
    if (placement->patches < 0)
        return sdt_fail(err, SDT_ERROR_USAGE, "%d patches; 1 or more work", placement->patches);
    if (placement->aco != SDT_ACO_OFF || placement->transport == SDT_TRANSPORT_NCCL)
        return sdt_fail(err, SDT_ERROR_USAGE,
                        "aco and transport nccl do not go with strategy %s, which moves "
                        "activations, not heads; ulysses and pipesp work",
                        strategy->name);
    return SDT_OK;
}

/* ---- a step ---------------------------------------------------------------------------------- */

static const struct sdt_place *owner_of(const struct sdt_self_attention *a, int chunk) {
    const struct sdt_layout *layout = a->layout;
    int stage = sdt_stage_of(layout, a->layers, a->layer);
    return &layout->place[stage * layout->ulysses + layout->owner[chunk]];
}

/* Keys (or values) of a span's tiles take the place of their old ones. */
static void renew(struct sdt_flow *flow, const struct sdt_self_attention *a,
                  enum sdt_projection which, int chunk) {
    const struct sdt_layout *layout = a->layout;
    const bool values = which == SDT_PROJECT_V, text = a->span.text;
    const sdt_handle *piece = a->buffers->piece[which] + chunk;
    const char *name = values ? "renew_v" : "renew_k";
    struct sdt_gather to = sdt_gather_of(layout, 0, a->keys);
    sdt_handle y = a->stale[(values ? layout->chunks : 0) + chunk];
    int heads = sdt_chunk_heads(layout, chunk), stride = layout->chunks;
    int first = a->span.first, count = a->span.end - first;

    flow->place = owner_of(a, chunk);
    flow->tag.role = SDT_ROLE_EXCHANGE;
    flow->tag.chunk = chunk;
    if (text && count == layout->video_tiles) { /* there may be no old ones */
        sdt_insert_gather(flow, name, layout->tiles, heads, &to, piece, stride, y);
        return;
    }
    to.first = first;
    sdt_insert_gather_part(flow, name, count, heads, &to, piece + first * stride, stride, y);
    to.first = layout->video_tiles;
    if (text && layout->tiles > to.first)
        sdt_insert_gather_part(flow, name, layout->tiles - to.first, heads, &to,
                               piece + to.first * stride, stride, y);
}

static void attend(struct sdt_flow *flow, const struct sdt_self_attention *a, int chunk, int tile) {
    const struct sdt_layout *layout = a->layout;
    flow->place = owner_of(a, chunk);
    flow->tag.role = SDT_ROLE_ATTENTION;
    flow->tag.chunk = chunk;
    flow->tag.tile = tile;
    sdt_attend_to(flow, a, chunk, tile,
                  a->buffers->piece[SDT_PROJECT_Q][tile * layout->chunks + chunk], 0, a->keys,
                  a->stale[chunk], a->stale[layout->chunks + chunk], NULL, false);
}

static void join(struct sdt_flow *flow, const struct sdt_self_attention *a, int tile) {
    const struct sdt_layout *layout = a->layout;
    flow->place = &layout->place[device(layout, a->layers, a->layer, tile)];
    flow->tag.role = SDT_ROLE_EXCHANGE;
    flow->tag.chunk = -1;
    flow->tag.tile = tile;
    sdt_insert_merge_heads(flow, "exchange_o", sdt_tile_size(layout, tile), layout->heads,
                           layout->e, layout->chunks, layout->head,
                           a->buffers->output + tile * layout->chunks, false, a->z[tile]);
    a->join(flow, a->model, tile);
}

static void attention(struct sdt_flow *flow, const struct sdt_self_attention *a) {
    const struct sdt_layout *layout = a->layout;
    const struct sdt_span span = a->span;

    for (int t = span.first; t < layout->tiles; t = sdt_span_next(layout, span, t))
        for (int p = 0; p < SDT_PROJECTIONS; p++)
            sdt_project(flow, a, (enum sdt_projection)p, t);
    flow->tag.tile = span.first;
    for (int c = 0; c < layout->chunks; c++) {
        renew(flow, a, SDT_PROJECT_K, c);
        renew(flow, a, SDT_PROJECT_V, c);
    }
    for (int c = 0; c < layout->chunks; c++)
        for (int t = span.first; t < layout->tiles; t = sdt_span_next(layout, span, t))
            attend(flow, a, c, t);
    for (int t = span.first; t < layout->tiles; t = sdt_span_next(layout, span, t))
        join(flow, a, t);
    flow->tag.chunk = flow->tag.tile = -1;
}

static void step(struct sdt_flow *flow, struct sdt_run *run, struct sdt_branches branches, float t,
                 const sdt_handle *latent) {
    if (run->fresh) {
        sdt_run_layers(flow, run, branches, t, latent);
        return;
    }
    int patches = sdt_spans(&run->layout);
    for (int i = 0; i < branches.count; i++)
        sdt_run_condition(flow, run, branches.number[i], t);
    for (int p = 0; p < patches; p++)
        for (int i = 0; i < branches.count; i++) {
            int branch = branches.number[i];
            struct sdt_span span = sdt_span_of(&run->layout, p);
            flow->priority = sdt_turn_priority(run->flights++);
            sdt_run_embed(flow, run, branch, span, latent);
            for (int l = 0; l < run->dit->layers; l++)
                sdt_run_layer(flow, run, branch, span, l);
            sdt_run_end(flow, run, branch, span);
        }
    flow->priority = 0;
}

/* ---- what it takes --------------------------------------------------------------------------- */

/* q, k, v and o pieces of the tiles that come by; a stage of several has them of all its tiles, of
 * its part of the heads. */
static double buffer_bytes(const struct sdt_layout *layout, int d) {
    double row = (double)sdt_dtype_size(layout->dtype) * layout->e, heads = 0.0, rows = 0.0;
    double all = (double)sdt_tiles_size(layout, 0, layout->tiles);
    for (int t = 0; t < layout->tiles; t++)
        rows += member_of(layout, t) == d % layout->ulysses ? sdt_tile_size(layout, t) : 0;
    for (int c = 0; c < layout->chunks; c++)
        heads += layout->owner[c] == d % layout->ulysses ? sdt_chunk_heads(layout, c) : 0;
    return 4.0 * row * (rows * layout->heads + (layout->ulysses > 1 ? all * heads : 0.0));
}

/* Inside a stage of several, heads as under Ulysses. */
static double exchanged(const struct sdt_layout *layout) {
    double elements = 0.0;
    for (int t = 0; t < layout->tiles; t++)
        for (int c = 0; c < layout->chunks; c++)
            if (member_of(layout, t) != layout->owner[c])
                elements += 4.0 * (double)sdt_piece_size(layout, t, c);
    return (double)sdt_dtype_size(layout->dtype) * elements;
}

/* Items are a patch's forwards of each branch. A stage takes one after the other; an item comes
 * back when it has passed all stages, with its patch's other branch behind it. */
static struct sdt_cost cost(const struct sdt_step_load *load) {
    const struct sdt_layout *layout = load->layout;
    struct sdt_cost whole = sdt_cost_by_layers(load);
    int stages = sdt_stages(layout), patches = sdt_spans(layout);
    if (!load->stale || load->forwards < 1)
        return whole;
    double item = whole.worker_seconds / load->forwards / patches / stages, slowest = 1.0;
    for (int d = 0; load->slower && d < layout->devices; d++)
        slowest = fmax(slowest, load->slower[d]);
    double workers = layout->ulysses * layout->place[0].workers;
    double items = patches * load->forwards, round = stages + load->forwards - 1;
    double hop = (double)sdt_dtype_size(layout->dtype) * layout->e * layout->heads *
                     (double)sdt_tiles_size(layout, 0, layout->tiles) / patches / load->link +
                 load->latency;
    whole.computing = fmax(items, round) * item * slowest / workers;
    whole.seconds =
        fmax(whole.computing, round * (item * slowest / workers + (stages > 1 ? hop : 0.0)));
    return whole;
}

/* Only if asked for: the result is another one. */
static bool none(int index, int devices, struct sdt_placement *placement) {
    (void)index;
    (void)devices;
    (void)placement;
    return false;
}

const struct sdt_strategy sdt__strategy_pipefusion = {
    .name = "pipefusion",
    .summary = "layers over the devices, patches of tokens behind one another, with keys of the "
               "step before (--patches, --warmup-steps; lossy)",
    .degree = true,
    .stale = true,
    .allow = allow,
    .split = patches,
    .home = home,
    .device = device,
    .buffer_bytes = buffer_bytes,
    .step = step,
    .self_attention = attention,
    .exchanged = exchanged,
    .cost = cost,
    .variant = none,
};

/* A strategy that this tree does not know: layers over devices. Every device holds some layers, and
 * all tokens visit them there in turn; before and after the layers a tile is at its home. A program
 * that brings it along shows that a strategy is one file, and the line that names it (here
 * sdt__guest_strategy). */
#include "graph/strategies/strategy.h"

static int device(const struct sdt_layout *layout, int layers, int layer, int tile) {
    return layer < 0 || layer == layers ? layout->home[tile]
                                        : (int)((int64_t)layer * layout->devices / layers);
}

/* Nothing is exchanged within a layer: one part of the heads, and nobody helps. */
static void whole(const struct sdt_parallel *parallel, struct sdt_layout_options *options) {
    (void)parallel;
    options->ulysses = 1;
    options->helpers = 0;
}

static enum sdt_status allow(const struct sdt_strategy *strategy,
                             const struct sdt_placement *placement, int devices,
                             const struct sdt_dit *dit, struct sdt_error *err) {
    if (devices > dit->layers)
        return sdt_fail(err, SDT_ERROR_USAGE,
                        "strategy %s on %d devices: the model has %d layers, one a device at least",
                        strategy->name, devices, dit->layers);
    if (placement->aco != SDT_ACO_OFF || placement->transport == SDT_TRANSPORT_NCCL)
        return sdt_fail(err, SDT_ERROR_USAGE,
                        "strategy %s exchanges no heads: aco and transport nccl do not go with it",
                        strategy->name);
    return SDT_OK;
}

static void attention(struct sdt_flow *flow, const struct sdt_self_attention *a) {
    const struct sdt_layout *layout = a->layout;
    const struct sdt_attention_buffers *b = a->buffers;
    const struct sdt_place *here = &layout->place[device(layout, a->layers, a->layer, 0)];
    struct sdt_gather to = sdt_gather_of(layout, 0, a->keys);

    for (int t = 0; t < layout->tiles; t++)
        for (int p = 0; p < SDT_PROJECTIONS; p++)
            sdt_project(flow, a, (enum sdt_projection)p, t);
    flow->place = here;
    flow->tag.role = SDT_ROLE_ATTENTION;
    for (int c = 0; c < layout->chunks; c++) {
        int heads = sdt_chunk_heads(layout, c);
        sdt_insert_gather(flow, "keys", layout->tiles, heads, &to, b->piece[SDT_PROJECT_K] + c,
                          layout->chunks, b->keys[c]);
        sdt_insert_gather(flow, "values", layout->tiles, heads, &to, b->piece[SDT_PROJECT_V] + c,
                          layout->chunks, b->values[c]);
        for (int t = 0; t < layout->tiles; t++) {
            int piece = t * layout->chunks + c;
            sdt_attend_to(flow, a, c, t, b->piece[SDT_PROJECT_Q][piece], 0, a->keys, b->keys[c],
                          b->values[c], NULL, false);
        }
    }
    for (int t = 0; t < layout->tiles; t++) {
        flow->place = here;
        sdt_insert_merge_heads(flow, "merge", sdt_tile_size(layout, t), layout->heads, layout->e,
                               layout->chunks, layout->head, b->output + t * layout->chunks, false,
                               a->z[t]);
        a->join(flow, a->model, t);
    }
}

/* Every device may come to hold q, k, v, o, keys and values of all tokens. */
static double buffer_bytes(const struct sdt_layout *layout, int d) {
    (void)d;
    return 6.0 * (double)sdt_dtype_size(layout->dtype) * layout->tiles * layout->rows *
           layout->heads * layout->e;
}

/* Within a layer nothing travels; what does between layers, the run knows by device(). */
static double exchanged(const struct sdt_layout *layout) {
    (void)layout;
    return 0.0;
}

static bool variant(int index, int devices, struct sdt_placement *placement) {
    return index == 0 && devices > 1 && placement->aco == SDT_ACO_OFF;
}

const struct sdt_strategy sdt__guest_strategy = {.name = "layers",
                                                 .summary = "layers over the devices",
                                                 .exact = true,
                                                 .allow = allow,
                                                 .split = whole,
                                                 .device = device,
                                                 .buffers = sdt_buffers_by_chunk,
                                                 .buffer_bytes = buffer_bytes,
                                                 .self_attention = attention,
                                                 .exchanged = exchanged,
                                                 .variant = variant};

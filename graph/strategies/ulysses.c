/* Ulysses sequence parallelism (DeepSpeed-Ulysses; the unpipelined baseline of PipeDiT, section
 * 1.2).
 *
 * Every device projects its own tokens for all heads; an all-to-all turns "my tokens, all heads"
 * into "all tokens, my heads"; attention; a second all-to-all turns it back. The exchanges are
 * whole: no head travels before the last projection is inserted, and none returns before all of a
 * tile are computed. */
#include "graph/strategies/strategy.h"

static void ulysses(struct sdt_flow *flow, const struct sdt_self_attention *attention) {
    const struct sdt_layout *layout = attention->layout;

    for (int t = 0; t < layout->tiles; t++) {
        sdt_project(flow, attention, SDT_PROJECT_V, t);
        sdt_project(flow, attention, SDT_PROJECT_K, t);
        sdt_project(flow, attention, SDT_PROJECT_Q, t);
    }
    for (int c = 0; c < layout->chunks; c++) {
        sdt_exchange_in(flow, attention, SDT_PROJECT_V, c);
        sdt_exchange_in(flow, attention, SDT_PROJECT_K, c);
        sdt_exchange_in(flow, attention, SDT_PROJECT_Q, c);
    }
    for (int c = 0; c < layout->chunks; c++)
        for (int t = 0; t < layout->tiles; t++)
            sdt_attend(flow, attention, c, t);
    sdt_exchange_out_whole(flow, attention);
    for (int t = 0; t < layout->tiles; t++) {
        sdt_exchange_out(flow, attention, t);
        attention->join(flow, attention->model, t);
    }
}

static bool several(int index, int devices, struct sdt_placement *placement) {
    (void)placement;
    return index == 0 && devices > 1;
}

const struct sdt_strategy sdt__strategy_ulysses = {
    .name = "ulysses",
    .summary = "tokens sharded over the devices, heads exchanged by all-to-all around attention",
    .exact = true,
    .buffers = sdt_buffers_by_chunk,
    .buffer_bytes = sdt_bytes_by_chunk,
    .self_attention = ulysses,
    .exchanged = sdt_exchanged_by_heads,
    .variant = several,
};

/* On one device there is nothing to exchange: the same loop, and every piece is already there. */
static void first_device(const struct sdt_parallel *parallel, struct sdt_layout_options *options) {
    (void)parallel;
    options->devices = 1;
}

static bool alone(int index, int devices, struct sdt_placement *placement) {
    (void)placement;
    return index == 0 && devices == 1;
}

const struct sdt_strategy sdt__strategy_single = {
    .name = "single",
    .summary = "the whole sequence on the first device",
    .exact = true,
    .split = first_device,
    .buffers = sdt_buffers_by_chunk,
    .buffer_bytes = sdt_bytes_by_chunk,
    .self_attention = ulysses,
    .exchanged = sdt_exchanged_by_heads,
    .variant = alone,
};

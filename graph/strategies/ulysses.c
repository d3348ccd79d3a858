/* Ulysses sequence parallelism (DeepSpeed-Ulysses; the unpipelined baseline of PipeDiT, section 1.2).
 *
 * Every device projects its own tokens for all heads; an all-to-all turns "my tokens, all heads" into "all
 * tokens, my heads"; attention; a second all-to-all turns it back. The exchanges are whole: no head travels
 * before the last projection is inserted, and none returns before all of a tile are computed. */
#include "graph/strategies/strategy.h"

static void ulysses(struct sdt_flow *flow, const struct sdt_self_attention *attention) {
    const struct sdt_layout *layout = attention->layout;

    for (int t = 0; t < layout->tiles; t++) {
        attention->project(flow, attention->model, SDT_PROJECT_V, t);
        attention->project(flow, attention->model, SDT_PROJECT_K, t);
        attention->project(flow, attention->model, SDT_PROJECT_Q, t);
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
        attention->output(flow, attention->model, t);
    }
}

const struct sdt_strategy sdt__strategy_ulysses = {
    .name = "ulysses",
    .summary = "tokens sharded over the devices, heads exchanged by all-to-all around attention",
    .self_attention = ulysses,
    .exchanged = sdt_exchanged_by_heads,
};

/* On one device there is nothing to exchange: the same loop, and every piece is already there. */
const struct sdt_strategy sdt__strategy_single = {
    .name = "single",
    .summary = "the whole sequence on the first device",
    .one_device = true,
    .self_attention = ulysses,
    .exchanged = sdt_exchanged_by_heads,
};

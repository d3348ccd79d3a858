/* PipeSP (PipeDiT, arXiv 2511.12056, algorithm 1): Ulysses in head
 * chunks, so that exchanges hide behind compute.
 *
 * In:  V first, since it needs neither norm nor rotation; it travels while Q is being projected, Q while K
 *      is, and of K attention waits for the first chunk alone. Where V, Q and K come out of one task, it
 *      waits for the first chunk of each: chunks travel in the order in which attention needs them.
 * Out: a piece returns as soon as it is computed, while the next one is being computed. Every owner begins
 *      with the queries of its own tokens, which need not travel, and goes on with its right neighbour's:
 *      so owners do not all send to one home at a time, and only the last piece is waited for.
 *      When all are back, one step writes the heads at their final columns: the paper's concat,
 *      view, permute, view.
 *
 * An exchange is a task at its receiver, below everything that computes in priority: a waiting receive must
 * not hold up the device. tests/simulation measures all of this in simulated time. */
#include "graph/strategies/strategy.h"

static void pipesp(struct sdt_flow *flow, const struct sdt_self_attention *attention) {
    const struct sdt_layout *layout = attention->layout;

    for (int t = 0; t < layout->tiles; t++)
        attention->project(flow, attention->model, SDT_PROJECT_V, t);
    for (int t = 0; t < layout->tiles; t++)
        attention->project(flow, attention->model, SDT_PROJECT_Q, t);
    for (int t = 0; t < layout->tiles; t++)
        attention->project(flow, attention->model, SDT_PROJECT_K, t);
    for (int c = 0; c < layout->chunks; c++) {
        sdt_exchange_in(flow, attention, SDT_PROJECT_V, c);
        /* A helper fetches the queries that it will really read. */
        if (attention->aco != SDT_ACO_DYNAMIC)
            sdt_exchange_in(flow, attention, SDT_PROJECT_Q, c);
        sdt_exchange_in(flow, attention, SDT_PROJECT_K, c);
    }
    for (int c = 0; c < layout->chunks; c++) {
        int own = layout->first_tile[layout->owner[c]];
        for (int i = 0; i < layout->tiles; i++) {
            int t = (own + i) % layout->tiles;
            sdt_attend(flow, attention, c, t);
            sdt_exchange_out_chunk(flow, attention, c, t);
        }
    }
    for (int t = 0; t < layout->tiles; t++) {
        sdt_exchange_out(flow, attention, t);
        attention->output(flow, attention->model, t);
    }
}

const struct sdt_strategy sdt__strategy_pipesp = {
    .name = "pipesp",
    .summary =
        "ulysses in head chunks: each chunk's exchange hides behind the next one's attention",
    .chunk_heads = 1,
    .self_attention = pipesp,
    .exchanged = sdt_exchanged_by_heads,
};

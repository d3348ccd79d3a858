/* PipeSP (PipeDiT, arXiv 2511.12056, algorithm 1; section 1.2 of the specification): Ulysses in head
 * chunks, so that exchanges hide behind compute.
 *
 * In:  V first, since it needs neither norm nor rotation; it travels while Q is being projected, Q's
 *      pieces travel one by one as attention asks for them, and K, chunk by chunk, is the only exchange
 *      that attention waits for, of the first chunk alone.
 * Out: a chunk returns as soon as it is computed, while the next one is being computed. Its last step
 *      writes the heads at their final columns: the paper's concat, view, permute, view is an address.
 *
 * An exchange is a task at its receiver, below attention in priority: a waiting receive must not hold up
 * the device (measured in simulation: 45.6 instead of 43.8 ms a layer). */
#include "graph/strategies/strategy.h"

static void pipesp(struct sdt_flow *flow, const struct sdt_self_attention *attention)
{
    const struct sdt_layout *layout = attention->layout;

    for (int t = 0; t < layout->tiles; t++)
        attention->project(flow, attention->model, SDT_PROJECT_V, t);
    for (int c = 0; c < layout->chunks; c++)
        sdt_exchange_in(flow, attention, SDT_PROJECT_V, c);
    for (int t = 0; t < layout->tiles; t++)
        attention->project(flow, attention->model, SDT_PROJECT_Q, t);
    for (int t = 0; t < layout->tiles; t++)
        attention->project(flow, attention->model, SDT_PROJECT_K, t);
    for (int c = 0; c < layout->chunks; c++)
        sdt_exchange_in(flow, attention, SDT_PROJECT_K, c);

    for (int c = 0; c < layout->chunks; c++)
        for (int t = 0; t < layout->tiles; t++) {
            sdt_attend(flow, attention, c, t);
            sdt_exchange_out_chunk(flow, attention, c, t);
        }
    for (int t = 0; t < layout->tiles; t++)
        attention->output(flow, attention->model, t);
}

const struct sdt_strategy sdt__strategy_pipesp = {
    .name = "pipesp",
    .summary = "ulysses in head chunks: each chunk's exchange hides behind the next one's attention",
    .chunk_heads = 1,
    .self_attention = pipesp,
    .exchanged = sdt_exchanged_by_heads,
};

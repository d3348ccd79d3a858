/* PipeSP (PipeDiT, arXiv 2511.12056, algorithm 1): Ulysses in head chunks, so that exchanges hide
 * behind compute.
 *
 * In:  V first, since it needs neither norm nor rotation; it travels while Q is being projected, Q
 *      while K is, and of K attention waits for the first chunk alone. Where V, Q and K come out of
 *      one task, it waits for the first chunk of each: chunks travel in the order in which
 *      attention needs them.
 * Out: a piece returns as soon as it is computed, while the next one is being computed. Every owner
 *      begins with the queries of its own tokens, which need not travel, and goes on with its right
 *      neighbour's: owners do not all send to one home at a time, and only the last piece is waited
 *      for. When all are back, one step writes the heads at their final columns: the paper's
 *      concat, view, permute, view.
 *
 * An exchange is a task at its receiver, below everything that computes in priority: a waiting
 * receive must not hold up the device. tests/simulation measures all of this in simulated time. */
#include "graph/strategies/strategy.h"

#include <math.h>

/* An owner with one chunk has no other to hide its way back behind: it goes as Ulysses's does. So
 * pipesp is never slower than ulysses, given the right chunks. */
static bool all_in_one(const struct sdt_layout *layout) {
    return layout->chunks <= layout->ulysses;
}

static void pipesp(struct sdt_flow *flow, const struct sdt_self_attention *attention) {
    const struct sdt_layout *layout = attention->layout;

    for (int t = 0; t < layout->tiles; t++)
        sdt_project(flow, attention, SDT_PROJECT_V, t);
    for (int t = 0; t < layout->tiles; t++)
        sdt_project(flow, attention, SDT_PROJECT_Q, t);
    for (int t = 0; t < layout->tiles; t++)
        sdt_project(flow, attention, SDT_PROJECT_K, t);
    for (int c = 0; c < layout->chunks; c++) {
        sdt_exchange_in(flow, attention, SDT_PROJECT_V, c);
        /* A helper fetches the queries that it will really read. */
        if (attention->aco != SDT_ACO_DYNAMIC)
            sdt_exchange_in(flow, attention, SDT_PROJECT_Q, c);
        sdt_exchange_in(flow, attention, SDT_PROJECT_K, c);
    }
    bool whole = all_in_one(layout);
    for (int c = 0; c < layout->chunks; c++) {
        int own = layout->first_tile[layout->owner[c]];
        for (int i = 0; i < layout->tiles; i++) {
            int t = (own + i) % layout->tiles;
            sdt_attend(flow, attention, c, t);
            if (!whole)
                sdt_exchange_out_chunk(flow, attention, c, t);
        }
    }
    if (whole)
        sdt_exchange_out_whole(flow, attention);
    for (int t = 0; t < layout->tiles; t++) {
        sdt_exchange_out(flow, attention, t);
        attention->join(flow, attention->model, t);
    }
}

/* One head a chunk, unless the plan says otherwise: the paper's. */
static void in_chunks(const struct sdt_parallel *parallel, struct sdt_layout_options *options) {
    options->chunk_heads = parallel->chunk_heads ? parallel->chunk_heads : 1;
}

/* V and Q hide behind the projections of Q and K, all chunks but one of K behind attention, and so
 * does the way back, as far as there is attention to hide it behind. */
static double exposed(const struct sdt_layer_times *t) {
    double quarter = t->exchange / 4.0;
    double in = fmax(0.0, 2.0 * quarter - 2.0 * t->projection) + quarter / t->chunks;
    double out = fmax(quarter / t->chunks, quarter - t->attention * (1.0 - 1.0 / t->chunks));
    return in + out + 2.0 * (t->chunks + 1.0) * t->latency;
}

/* A piece that travels back has a task of its own. */
static double exchange_tasks(const struct sdt_layout *layout) {
    double tasks = 3.0 * layout->chunks + layout->tiles;
    for (int t = 0; t < layout->tiles && !all_in_one(layout); t++)
        for (int c = 0; c < layout->chunks; c++)
            tasks += sdt_layout_owner(layout, c, t) != layout->home[t];
    return tasks;
}

static bool chunk_sizes(int index, int devices, struct sdt_placement *placement) {
    static const int sizes[] = {1, 2, 4, SDT_WHOLE_CHUNKS};
    int count = (int)(sizeof sizes / sizeof sizes[0]);
    placement->chunk_heads = index < count ? sizes[index] : 0;
    return devices > 1 && index < count;
}

const struct sdt_strategy sdt__strategy_pipesp = {
    .name = "pipesp",
    .summary =
        "ulysses in head chunks: each chunk's exchange hides behind the next one's attention",
    .exact = true,
    .split = in_chunks,
    .buffers = sdt_buffers_by_chunk,
    .buffer_bytes = sdt_bytes_by_chunk,
    .self_attention = pipesp,
    .exchanged = sdt_exchanged_by_heads,
    .exposed = exposed,
    .exchange_tasks = exchange_tasks,
    .variant = chunk_sizes,
};

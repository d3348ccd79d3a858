/* What a step takes under a strategy: computing on the busiest device, and what of its exchanges
 * shows. */
#include "graph/strategies/strategy.h"

#include <math.h>

/* Tiles of all rows that have as many as these. */
static double full_tiles(const struct sdt_layout *layout, int first, int end) {
    return (double)sdt_tiles_size(layout, first, end) / layout->rows;
}

/* The same of those that device d computes in a layer. */
static double tiles_of(const struct sdt_step_load *load, int layer, int d) {
    const struct sdt_layout *layout = load->layout;
    double rows = 0.0;
    if (!load->strategy->device)
        return full_tiles(layout, layout->first_tile[d], layout->first_tile[d + 1]);
    for (int t = 0; t < layout->tiles; t++)
        if (load->strategy->device(layout, load->layers, layer, t) == d)
            rows += sdt_tile_size(layout, t);
    return rows / layout->rows;
}

/* The share of a layer's attention that device d computes: its heads, where all tiles meet; else
 * its tiles. */
static double attention_share(const struct sdt_step_load *load, bool helped, double tiles, int d) {
    const struct sdt_layout *layout = load->layout;
    const int *owner = helped ? layout->helped_owner : layout->owner;
    int heads = 0;
    if (load->strategy->device || (!helped && layout->ulysses != layout->devices))
        return tiles / full_tiles(layout, 0, layout->tiles);
    for (int c = 0; c < layout->chunks; c++)
        heads += owner[c] == d ? sdt_chunk_heads(layout, c) : 0;
    return (double)heads / layout->heads;
}

static double slower(const struct sdt_step_load *load, int d) {
    return load->slower ? load->slower[d] : 1.0;
}

/* Turns that a device's workers take for so many tiles of each stream: whole tiles go to them, and
 * each stream waits for all of its tiles before it goes on. In tiles of one stream. */
static double turns(const struct sdt_step_load *load, double tiles, int d) {
    int workers = load->layout->place[d].workers;
    double together = load->streams * tiles;
    return (workers > 1 ? ceil(together / workers) / load->streams : tiles) * slower(load, d);
}

/* The same on the device that takes longest. */
static double most_turns(const struct sdt_step_load *load, int layer) {
    double most = 0.0;
    for (int d = 0; d < load->layout->devices; d++)
        most = fmax(most, turns(load, tiles_of(load, layer, d), d));
    return most;
}

/* Workers of the devices that denoise, in the speed of those that seconds are given for. */
static double workers_of(const struct sdt_step_load *load) {
    double workers = 0.0;
    for (int d = 0; d < load->layout->devices; d++)
        workers += load->layout->place[d].workers / slower(load, d);
    return workers;
}

/* How a layer divides over the devices. */
struct layer {
    double computing, exposed, exchange;
};

static struct layer layer_of(const struct sdt_step_load *load, int number) {
    const struct sdt_layout *layout = load->layout;
    const struct sdt_strategy *strategy = load->strategy;
    bool helped = load->aco != SDT_ACO_OFF && layout->helpers > 0;
    int devices = layout->devices, all = devices + (helped ? layout->helpers : 0);
    double chunks = (double)layout->chunks / layout->ulysses;
    double exchange_tasks = strategy->exchange_tasks ? strategy->exchange_tasks(layout)
                                                     : 3.0 * layout->chunks + layout->tiles;
    double rounds = (double)devices / layout->ulysses;
    double tiles = full_tiles(layout, 0, layout->tiles);
    double attention = tiles * layout->heads * load->attention[number] +
                       layout->tiles * layout->chunks * rounds * load->task;
    struct sdt_layer_times t = {.latency = load->latency,
                                .chunks = fmax(chunks, 1.0),
                                .layout = layout,
                                .link = load->link};

    t.linear = most_turns(load, number) * load->tile;
    t.linear += exchange_tasks * load->task / workers_of(load);
    t.projection = most_turns(load, number) * load->projection;
    for (int d = 0; d < all; d++) {
        double own = d < devices ? tiles_of(load, number, d) : 0.0;
        double seconds = attention * attention_share(load, helped, own, d) * slower(load, d);
        t.attention = fmax(t.attention, seconds / layout->place[d].workers);
    }
    double bytes = strategy->exchanged(layout);
    double row = (double)sdt_dtype_size(layout->dtype) * layout->e * layout->heads;
    double piece = row * layout->rows / layout->chunks;
    if (helped) /* the helpers' pieces travel to them and back */
        bytes +=
            4.0 * row * (double)sdt_tiles_size(layout, 0, layout->tiles) * layout->helpers / all;
    if (devices > 1 || helped)
        t.exchange = bytes / devices / load->link + bytes / piece / devices * load->transfer;
    struct layer layer = {t.linear + t.attention, 0.0, t.exchange};
    if (devices > 1 || t.exchange > 0.0)
        layer.exposed = strategy->exposed  ? strategy->exposed(&t)
                        : t.exchange > 0.0 ? t.exchange + 4.0 * t.latency
                                           : 0.0;
    return layer;
}

struct sdt_cost sdt_cost_by_layers(const struct sdt_step_load *load) {
    const struct sdt_layout *layout = load->layout;
    double rounds = (double)layout->devices / layout->ulysses, one = 0.0, alone = 0.0, links = 0.0,
           attention = 0.0;
    double bytes = load->strategy->exchanged(layout);
    double exchange_tasks = load->strategy->exchange_tasks ? load->strategy->exchange_tasks(layout)
                                                           : 3.0 * layout->chunks + layout->tiles;
    struct layer layer = {0};
    for (int l = 0; l < load->layers; l++) {
        if (l == 0 || load->strategy->device || load->attention[l] != load->attention[l - 1])
            layer = layer_of(load, l);
        attention += load->attention[l];
        one += layer.computing;
        alone += layer.computing + layer.exposed;
        links += layer.exchange;
    }
    double ends = load->condition + most_turns(load, -1) * load->ends;
    double layers = (double)load->forwards * load->layers,
           piece = (double)layout->rows * layout->e * layout->heads / layout->chunks;
    double tiles = full_tiles(layout, 0, layout->tiles);
    struct sdt_cost cost = {
        .computing = load->forwards * (one + ends),
        .bytes = layers * bytes,
        .pieces = layers * bytes / ((double)sdt_dtype_size(layout->dtype) * piece),
        .tasks = layers * (layout->tiles * layout->chunks * rounds + exchange_tasks)};
    cost.worker_seconds =
        layers * tiles * load->tile + load->forwards * tiles * layout->heads * attention +
        load->forwards * (tiles * load->ends + load->condition) + cost.tasks * load->task;
    /* Forwards that share buffers follow one another. With buffers of their own, two of them hide
     * each other's exchanges, as far as the links can carry them meanwhile and one alone is not
     * longer. */
    cost.seconds = load->forwards * (alone + ends);
    if (load->streams == load->forwards && load->forwards > 1)
        cost.seconds = fmax(fmax(cost.computing, load->forwards * links), alone + ends);
    /* Where layers lie on several devices, these wait for one another. */
    if (load->strategy->device)
        cost.computing = fmin(cost.seconds, cost.worker_seconds / workers_of(load));
    return cost;
}

struct sdt_cost sdt_cost_of_step(const struct sdt_step_load *load) {
    return load->strategy->cost ? load->strategy->cost(load) : sdt_cost_by_layers(load);
}

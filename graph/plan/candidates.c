/* Predicting and ranking plans. */
#include "graph/plan/candidates.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "graph/plan/plan.h"
#include "runtime/allowance.h"
#include "runtime/devices.h"

/* One request on one group, before anything is placed. */
struct work {
    const struct sdt_machine_rates *rates;
    const struct sdt_dit *dit;
    int64_t tokens;
    int forwards, steps, requests;
    double linear_flops, attention_flops; /* one forward */
    double text_flops, vae_flops;
    double weight_bytes; /* of transformer and decoder, on the devices */
};

/* FLOP/s of `devices` devices together. */
static double rate(const struct work *w, int devices) {
    double workers = (double)devices * w->rates->workers_per_device;
    if (w->rates->cores > 0)
        workers = fmin(workers, w->rates->cores);
    return workers * w->rates->flops_per_second;
}

/* The share of the work that the busiest device has, times the number of devices: 1 is a perfect split. */
static double token_imbalance(const struct sdt_layout *layout) {
    int most = 0;
    for (int d = 0; d < layout->devices; d++) {
        int tiles = layout->first_tile[d + 1] - layout->first_tile[d];
        most = tiles > most ? tiles : most;
    }
    return (double)most * layout->devices / layout->tiles;
}

static double head_imbalance(const struct sdt_layout *layout, const int *owner, int parts) {
    int heads[2 * SDT_MAX_DEVICES] = {0}, most = 0;
    for (int c = 0; c < layout->chunks; c++)
        heads[owner[c]] += layout->head[c + 1] - layout->head[c];
    for (int p = 0; p < parts; p++)
        most = heads[p] > most ? heads[p] : most;
    return (double)most * parts / layout->heads;
}

/* Chunks that one device computes one after the other. */
static double chunks_per_owner(const struct sdt_layout *layout) {
    double chunks = (double)layout->chunks / layout->ulysses;
    return chunks < 1.0 ? 1.0 : chunks;
}

/* How much longer a device's workers need because whole tiles go to them: `streams` sets of tiles, between two
 * points at which each set waits for all of its tiles. 1: the tiles come out even. */
static double rounds(const struct work *w, const struct sdt_layout *layout, int streams) {
    int workers = w->rates->workers_per_device, most = 0;
    if (w->rates->cores > 0 && workers > w->rates->cores / w->rates->devices)
        workers = w->rates->cores / w->rates->devices;
    for (int d = 0; d < layout->devices; d++)
        most = (int)fmax(most, layout->first_tile[d + 1] - layout->first_tile[d]);
    if (workers < 2 || most == 0)
        return 1.0;
    double tiles = (double)streams * most;
    return ceil(tiles / workers) * workers / tiles;
}

/* One layer of all forwards of a step. */
struct layer_time {
    double seconds, exposed; /* exposed: of it, waiting for exchanges */
};

/* Seconds of one layer. The strategy says how much of its exchanges computing hides.
 *
 * Forwards that share buffers follow one another. With buffers of their own, two of them hide each
 * other's exchanges, as far as the links can carry them meanwhile and one forward alone is not
 * longer. */
static struct layer_time predict_layer(const struct work *w, const struct sdt_strategy *strategy,
                                       const struct sdt_layout *layout, enum sdt_aco aco,
                                       int streams) {
    const struct sdt_machine_rates *rates = w->rates;
    int devices = layout->devices, all = devices + layout->helpers, layers = w->dit->layers;
    struct sdt_layer_times t = {.latency = rates->link_seconds,
                                .chunks = chunks_per_owner(layout),
                                .layout = layout,
                                .link = rates->link_bytes_per_second};
    t.linear = w->linear_flops / layers / rate(w, devices) * token_imbalance(layout) *
               rounds(w, layout, streams);
    double split = layout->ulysses == devices ? head_imbalance(layout, layout->owner, devices)
                                              : token_imbalance(layout);
    t.attention = w->attention_flops / layers / rate(w, devices) * split;
    if (devices > 1)
        t.exchange = strategy->exchanged(layout) / devices / rates->link_bytes_per_second;
    if (aco != SDT_ACO_OFF && layout->helpers) {
        /* The helpers' share of attention; their pieces travel to them and back. */
        double share = (double)layout->helpers / all;
        double pieces =
            4.0 * (double)sdt_dtype_size(layout->dtype) * (double)w->tokens * w->dit->width * share;
        t.exchange += pieces / devices / rates->link_bytes_per_second;
        t.attention = w->attention_flops / layers / rate(w, all) *
                      head_imbalance(layout, layout->helped_owner, all);
    }
    double exposed = 0.0;
    if (devices > 1)
        exposed = strategy->exposed ? strategy->exposed(&t) : t.exchange + 4.0 * t.latency;
    double computing = w->forwards * (t.linear + t.attention);
    if (streams < w->forwards || w->forwards == 1)
        return (struct layer_time){computing + w->forwards * exposed, w->forwards * exposed};
    double links = w->forwards * t.exchange, alone = t.linear + t.attention + exposed;
    double seconds = fmax(fmax(computing, links), alone);
    return (struct layer_time){seconds, seconds - computing};
}

/* Fills the predictions of a candidate. */
static enum sdt_status predict(const struct work *w, const struct sdt_pipeline *pipeline,
                               const struct sdt_request *request, struct sdt_candidate *candidate,
                               struct sdt_error *err) {
    const struct sdt_placement *p = &candidate->placement;
    struct sdt_layout layout;
    struct sdt_place place[2 * SDT_MAX_DEVICES] = {{0}};
    bool two = p->dit_devices > 0;
    int dit = two ? p->dit_devices : w->rates->devices;
    int vae = two ? p->vae_devices : w->rates->devices;
    struct sdt_parallel parallel = sdt_parallel_of(candidate->strategy, p, dit, vae);
    parallel.place = place;
    for (int d = 0; d < 2 * SDT_MAX_DEVICES; d++)
        place[d].workers = w->rates->workers_per_device;
    enum sdt_status status = sdt_run_layout(w->dit, &parallel, sdt__geometry(pipeline, request),
                                            request->max_sequence_length, &layout, err);
    if (status != SDT_OK) {
        sdt_layout_clear(&layout);
        return status;
    }
    int streams = sdt_streams(p->streams, w->forwards);
    struct layer_time layer = predict_layer(w, candidate->strategy, &layout, p->aco, streams);
    struct layer_time plain = predict_layer(w, candidate->strategy, &layout, SDT_ACO_OFF, streams);
    double factor = w->dit->layers;
    double decode = w->vae_flops / rate(w, two ? 1 : vae);
    double text = w->text_flops / rate(w, 1);
    double work =
        w->requests * (w->text_flops + w->vae_flops +
                       w->steps * (double)w->forwards * (w->linear_flops + w->attention_flops));

    /* static helps while nothing is decoded; dynamic helps only where it gains */
    double busy = fmin(1.0, decode / fmax(1e-30, w->steps * factor * plain.seconds) / vae);
    if (!two || w->requests == 1)
        busy = 0.0;
    if (p->aco == SDT_ACO_STATIC) {
        layer.seconds = (1.0 - busy) * layer.seconds + busy * plain.seconds;
        layer.exposed = (1.0 - busy) * layer.exposed + busy * plain.exposed;
    } else if (p->aco == SDT_ACO_DYNAMIC && layer.seconds > plain.seconds) {
        layer = plain;
    } else if (p->aco == SDT_ACO_DYNAMIC) {
        layer.seconds = (1.0 - busy) * layer.seconds + busy * plain.seconds;
    }
    candidate->step_seconds = factor * layer.seconds;
    candidate->exposed_seconds = factor * layer.exposed;
    candidate->decode_seconds = decode;
    double denoise = text + w->steps * candidate->step_seconds;
    if (two) {
        double each = fmax(denoise, decode / vae);
        candidate->total_seconds = (w->requests - 1) * each + denoise + decode;
        /* stand-ins that work side by side share the cores */
        candidate->total_seconds =
            fmax(candidate->total_seconds, work / rate(w, w->rates->devices));
    } else {
        /* one group: each phase's weights are loaded again for every request */
        double load =
            w->rates->devices > 1 ? w->weight_bytes / w->rates->link_bytes_per_second : 0.0;
        candidate->total_seconds = w->requests * (denoise + decode + load);
    }
    double bytes[SDT_MAX_DEVICES];
    sdt__peak_bytes(pipeline, request, p, &parallel, &layout, w->rates->devices, bytes);
    candidate->device_bytes = candidate->memory_bytes = 0.0;
    for (int d = 0; d < w->rates->devices; d++) {
        candidate->device_bytes = fmax(candidate->device_bytes, bytes[d]);
        candidate->memory_bytes += bytes[d];
    }
    candidate->fits =
        !(w->rates->memory_bytes > 0.0) || candidate->memory_bytes <= w->rates->memory_bytes;
    sdt_layout_clear(&layout);
    return SDT_OK;
}

int sdt_candidate_compare(const struct sdt_candidate *x, const struct sdt_candidate *y) {
    if (x->fits != y->fits)
        return x->fits ? -1 : 1;
    double least = fmin(x->total_seconds, y->total_seconds);
    if (fabs(x->total_seconds - y->total_seconds) > 1e-9 * least)
        return x->total_seconds < y->total_seconds ? -1 : 1;
    if (x->placement.vae_devices != y->placement.vae_devices)
        return x->placement.vae_devices - y->placement.vae_devices;
    if (x->placement.aco != y->placement.aco)
        return (int)x->placement.aco - (int)y->placement.aco;
    if (x->placement.streams != y->placement.streams)
        return x->placement.streams - y->placement.streams;
    int chunk_x = x->placement.chunk_heads, chunk_y = y->placement.chunk_heads;
    if (chunk_x != chunk_y)
        return chunk_y - chunk_x;
    return strcmp(x->strategy->name, y->strategy->name);
}

static int compare(const void *a, const void *b) { return sdt_candidate_compare(a, b); }

struct list {
    const struct sdt_pipeline *pipeline;
    const struct sdt_request *request;
    struct sdt_candidate *item;
    int count, capacity;
};

static enum sdt_status add_one(struct list *list, const struct work *w,
                               struct sdt_candidate candidate, struct sdt_error *err) {
    enum sdt_status status = predict(w, list->pipeline, list->request, &candidate, err);
    if (status != SDT_OK)
        return status;
    if (list->count == list->capacity) {
        int capacity = list->capacity ? 2 * list->capacity : 64;
        struct sdt_candidate *item = realloc(list->item, (size_t)capacity * sizeof *item);
        if (!item)
            return sdt_fail(err, SDT_ERROR_MEMORY, "out of memory while planning");
        list->item = item;
        list->capacity = capacity;
    }
    list->item[list->count++] = candidate;
    return SDT_OK;
}

/* With every number of streams. */
static enum sdt_status add(struct list *list, const struct work *w, struct sdt_candidate candidate,
                           struct sdt_error *err) {
    enum sdt_status status = SDT_OK;
    for (int streams = 1; streams <= w->forwards && status == SDT_OK; streams++) {
        candidate.placement.streams = streams;
        status = add_one(list, w, candidate, err);
    }
    return status;
}

/* Every strategy on this split of the devices, in every way that it wants to be tried. */
static enum sdt_status add_strategies(struct list *list, const struct work *w,
                                      struct sdt_placement placement, int devices,
                                      struct sdt_error *err) {
    enum sdt_status status = SDT_OK;
    for (int s = 0; sdt_strategies[s] && status == SDT_OK; s++) {
        const struct sdt_strategy *strategy = sdt_strategies[s];
        for (int i = 0; status == SDT_OK; i++) {
            struct sdt_candidate candidate = {.strategy = strategy, .placement = placement};
            if (strategy->variant ? !strategy->variant(i, devices, &candidate.placement) : i > 0)
                break;
            if (sdt_strategy_allows(strategy, &candidate.placement, w->rates->devices, w->dit,
                                    NULL) == SDT_OK)
                status = add(list, w, candidate, err);
        }
    }
    return status;
}

static struct work work_of(const struct sdt_pipeline *pipeline, const struct sdt_request *request,
                           int count, const struct sdt_machine_rates *rates) {
    struct sdt_vae_job job = sdt__vae_job(pipeline, request);
    const struct sdt_dit *dit = pipeline->dit;
    struct sdt_work work = sdt__work(pipeline, request);
    struct work w = {.rates = rates,
                     .dit = dit,
                     .tokens = sdt_tokens(dit, sdt__geometry(pipeline, request)),
                     .forwards = sdt__forwards(pipeline, request),
                     .steps = request->steps,
                     .requests = count,
                     .linear_flops = work.linear,
                     .attention_flops = work.attention,
                     .vae_flops = pipeline->vae->kind->flops(pipeline->vae, &job)};
    w.weight_bytes = (rates->element_bytes > 0.0 ? rates->element_bytes : 4.0) *
                     (double)(sdt_weights_parameters(dit->weights) +
                              sdt_weights_parameters(pipeline->vae->weights));
    if (pipeline->text)
        w.text_flops =
            w.forwards * pipeline->text->kind->flops(pipeline->text, request->max_sequence_length);
    return w;
}

enum sdt_status sdt_plan_predict(const struct sdt_pipeline *pipeline,
                                 const struct sdt_request *request, int count,
                                 const struct sdt_machine_rates *rates,
                                 struct sdt_candidate *candidate, struct sdt_error *err) {
    struct work w = work_of(pipeline, request, count, rates);
    return predict(&w, pipeline, request, candidate, err);
}

enum sdt_status sdt_plan_candidates(const struct sdt_pipeline *pipeline,
                                    const struct sdt_request *request, int count,
                                    const struct sdt_machine_rates *rates,
                                    struct sdt_candidate **candidates, int *number,
                                    struct sdt_error *err) {
    struct work w = work_of(pipeline, request, count, rates);
    struct list list = {.pipeline = pipeline, .request = request};
    int n = rates->devices;

    *candidates = NULL;
    *number = 0;
    enum sdt_status status = add_strategies(&list, &w, (struct sdt_placement){0}, n, err);
    for (int vae = 1; vae < n && status == SDT_OK; vae++)
        for (int aco = SDT_ACO_OFF; aco <= SDT_ACO_DYNAMIC && status == SDT_OK; aco++) {
            struct sdt_placement p = {
                .dit_devices = n - vae, .vae_devices = vae, .aco = (enum sdt_aco)aco};
            for (int d = 0; d < n; d++)
                if (d < n - vae)
                    p.dit[d] = d;
                else
                    p.vae[d - (n - vae)] = d;
            status = add_strategies(&list, &w, p, n - vae, err);
        }
    if (status != SDT_OK) {
        free(list.item);
        return status;
    }
    qsort(list.item, (size_t)list.count, sizeof *list.item, compare);
    *candidates = list.item;
    *number = list.count;
    return SDT_OK;
}

/* GPUs share nothing but links. Between GPUs that reach each other's memory a link is taken for NVLink. */
static struct sdt_machine_rates gpu_rates(const struct sdt_device *device, int devices,
                                          enum sdt_precision precision) {
    enum sdt_dtype dtype = precision == SDT_PRECISION_FLOAT32 ? SDT_F32 : SDT_BF16;
    struct sdt_machine_rates rates = {.devices = devices,
                                      .workers_per_device = 1,
                                      .link_bytes_per_second = 150e9,
                                      .link_seconds = 10e-6,
                                      .element_bytes = dtype == SDT_F32 ? 4.0 : 2.0};
    struct sdt_gpus gpus;
    sdt__gpus_find(&gpus);
    for (int d = 0; d < devices; d++) {
        if (device[d].kind != SDT_DEVICE_CUDA || device[d].index >= gpus.count)
            continue;
        double guess = sdt__gpu_guess(&gpus.gpu[device[d].index], dtype);
        if (rates.flops_per_second == 0.0 || guess < rates.flops_per_second)
            rates.flops_per_second = guess;
        for (int e = 0; e < d; e++)
            if (device[e].kind == SDT_DEVICE_CUDA &&
                !sdt__gpu_reaches(device[d].index, device[e].index))
                rates.link_bytes_per_second = 12e9; /* through the host */
    }
    if (rates.flops_per_second <= 0.0)
        rates.flops_per_second = 1e13; /* CUDA does not tell its clock */
    return rates;
}

struct sdt_machine_rates sdt_measure_rates(const struct sdt_device *device, int devices,
                                           int workers_per_device, enum sdt_precision precision) {
    if (sdt__has_gpus(device, devices))
        return gpu_rates(device, devices, precision);
    struct sdt_allowance allowance;
    sdt__allowance_read("", &allowance);
    size_t bytes = (size_t)8 << 20;
    double best = 1e9;
    char *from = calloc(1, bytes), *to = malloc(bytes);
    for (int i = 0; from && to && i < 4; i++) {
        double start = sdt__host_now();
        memcpy(to, from, bytes);
        best = fmax(best, (double)bytes / (sdt__host_now() - start));
    }
    free(from);
    free(to);
    int workers = workers_per_device > 0 ? workers_per_device
                  : devices == 1         ? allowance.workers
                                         : 1;
    return (struct sdt_machine_rates){.devices = devices,
                                      .workers_per_device = workers,
                                      .cores = allowance.workers,
                                      .flops_per_second = sdt__measure_speed(),
                                      .link_bytes_per_second = best,
                                      .link_seconds = 10e-6,
                                      .memory_bytes = allowance.memory};
}

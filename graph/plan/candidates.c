/* Predicting and ranking plans. */
#include "graph/plan/candidates.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "graph/plan/cost.h"

enum sdt_status sdt__predict(const struct sdt_pipeline *pipeline, const struct sdt_request *request,
                             int count, const struct sdt_machine_rates *rates,
                             struct sdt_candidate *candidate, struct sdt_error *err) {
    struct sdt_device_need need[SDT_MAX_DEVICES];
    struct sdt_times times;
    struct sdt_draft draft;

    enum sdt_status status = sdt_draft_init(&draft, pipeline, request, &candidate->placement,
                                            candidate->strategy, rates, err);
    if (status == SDT_OK)
        status = sdt_draft_times(&draft, count, &times, err);
    if (status != SDT_OK)
        goto out;
    candidate->step_seconds = times.step;
    candidate->exposed_seconds = times.exposed;
    candidate->decode_seconds = times.decode;
    candidate->total_seconds = times.total;
    candidate->device_bytes = candidate->memory_bytes = 0.0;
    candidate->fits = true;
    sdt_draft_needs(&draft, need);
    double host = sdt_draft_host_bytes(&draft), rank = 0.0, largest = 0.0;
    for (int d = 0; d < rates->devices; d++) {
        double peak = sdt_device_peak(&draft, &need[d]);
        bool gpu = sdt__device_at(rates->device, d).kind == SDT_DEVICE_CUDA;
        double least = need[d].denoise.least;
        if (sdt_device_does_both(&draft, &need[d]))
            least += need[d].decode;
        candidate->device_bytes = fmax(candidate->device_bytes, peak);
        candidate->memory_bytes += peak;
        rank = (d % sdt_rates_local(rates) ? rank : 0.0) + (gpu ? 0.0 : peak);
        largest = fmax(largest, rank);
        /* Weights of the transformer may come and go, the decoder's may not. */
        if (gpu && rates->room[d] > 0.0)
            candidate->fits &= fmax(need[d].text, fmax(least, need[d].decode)) <= rates->room[d];
    }
    candidate->fits &= !(rates->memory_bytes > 0.0) || host + largest <= rates->memory_bytes;
out:
    sdt_draft_clear(&draft);
    return status;
}

bool sdt_candidate_equal(const struct sdt_candidate *x, const struct sdt_candidate *y) {
    double least = fmin(x->total_seconds, y->total_seconds);
    return fabs(x->total_seconds - y->total_seconds) <= 1e-9 * least &&
           x->device_bytes == y->device_bytes && x->memory_bytes == y->memory_bytes;
}

/* What a strategy with bits of its own must be faster by, to be preferred to an exact one. */
static const double own_bits = 1.05;

static double counted_seconds(const struct sdt_candidate *candidate) {
    return candidate->total_seconds * (candidate->strategy->exact ? 1. : own_bits);
}

int sdt_candidate_compare(const struct sdt_candidate *x, const struct sdt_candidate *y) {
    if (x->fits != y->fits)
        return x->fits ? -1 : 1;
    double of_x = counted_seconds(x), of_y = counted_seconds(y);
    if (fabs(of_x - of_y) > 1e-9 * fmin(of_x, of_y))
        return of_x < of_y ? -1 : 1;
    if (x->placement.vae_devices != y->placement.vae_devices)
        return x->placement.vae_devices - y->placement.vae_devices;
    if (x->placement.aco != y->placement.aco)
        return (int)x->placement.aco - (int)y->placement.aco;
    if (x->placement.cfg_parallel != y->placement.cfg_parallel)
        return (int)x->placement.cfg_parallel - (int)y->placement.cfg_parallel;
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
    const struct sdt_machine_rates *rates;
    const struct sdt_candidate *given; /* what all keep to */
    int requests;
    struct sdt_candidate *item;
    int count, capacity;
};

static enum sdt_status add_one(struct list *list, struct sdt_candidate candidate,
                               struct sdt_error *err) {
    enum sdt_status status =
        sdt__predict(list->pipeline, list->request, list->requests, list->rates, &candidate, err);
    if (status == SDT_ERROR_USAGE && candidate.placement.cfg_parallel)
        return SDT_OK; /* a degree that one of uneven groups cannot have */
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
static enum sdt_status add(struct list *list, struct sdt_candidate candidate,
                           struct sdt_error *err) {
    enum sdt_status status = SDT_OK;
    int forwards = sdt_pipeline_forwards(list->pipeline, list->request);
    int first = candidate.placement.cfg_parallel ? forwards : 1;
    for (int streams = first; streams <= forwards && status == SDT_OK; streams++) {
        candidate.placement.streams = streams;
        status = add_one(list, candidate, err);
    }
    return status;
}

/* Do all steps have both branches? Where one has not, devices of the other would wait. */
static enum sdt_status always_two(const struct list *list, bool *two, struct sdt_error *err) {
    struct sdt_step_table table = {0};
    enum sdt_status status = sdt__step_table(list->pipeline, list->request, &table, err);
    *two = status == SDT_OK && table.steps > 0;
    for (int s = 0; *two && s < table.steps; s++)
        *two = table.step[s].branches == 2;
    if (status == SDT_OK)
        sdt_step_table_clear(&table);
    return status;
}

/* What was given of every placement; groups, aco, streams and branches are what is tried. */
static struct sdt_placement given_placement(const struct list *list) {
    const struct sdt_placement *given = &list->given->placement;
    return (struct sdt_placement){.precision = list->rates->precision,
                                  .patches = given->patches,
                                  .transport = given->transport,
                                  .most_latents = given->most_latents,
                                  .vae_spill = given->vae_spill};
}

/* The index-th way to run the strategy on so many devices: those that it wants to be tried, with
 * what was given; one that was asked for has a way in any case. False: no more. */
static bool next_way(const struct list *list, const struct sdt_strategy *strategy, int index,
                     int devices, struct sdt_placement *placement) {
    const struct sdt_placement *given = &list->given->placement, before = *placement;
    if (!sdt_strategy_variant(strategy, index, devices, placement)) {
        if (index > 0 || list->given->strategy != strategy)
            return false;
        *placement = before;
    }
    if (given->chunk_heads)
        placement->chunk_heads = given->chunk_heads;
    if (given->ulysses_degree)
        placement->ulysses_degree = given->ulysses_degree;
    return true;
}

/* Every strategy on this split of the devices, in every way that it wants to be tried. */
static enum sdt_status add_strategies(struct list *list, struct sdt_placement placement,
                                      int devices, struct sdt_error *err) {
    const struct sdt_strategy *given = list->given->strategy;
    enum sdt_status status = SDT_OK;
    struct sdt_kinds kinds;
    if (sdt__settle_kinds(&placement, list->rates->device, list->rates->devices, &kinds, NULL) !=
        SDT_OK)
        return SDT_OK; /* a group cannot be of CPUs and GPUs */
    placement.text_with_vae = placement.vae_devices && list->given->placement.text_with_vae;
    for (int s = 0; sdt_strategies[s] && status == SDT_OK; s++) {
        struct sdt_placement last = {.chunk_heads = -1};
        for (int i = 0; status == SDT_OK && (!given || given == sdt_strategies[s]); i++) {
            struct sdt_candidate candidate = {.strategy = sdt_strategies[s],
                                              .placement = placement};
            struct sdt_placement *p = &candidate.placement;
            if (!next_way(list, candidate.strategy, i, devices, p))
                break;
            if (last.chunk_heads == p->chunk_heads && last.ulysses_degree == p->ulysses_degree)
                continue; /* what was given makes ways equal */
            last = *p;
            if (sdt_strategy_allows(candidate.strategy, p, list->rates->devices,
                                    list->pipeline->dit, NULL) == SDT_OK)
                status = add(list, candidate, err);
        }
    }
    return status;
}

void sdt_placement_split(int devices, int vae, struct sdt_placement *placement) {
    placement->dit_devices = devices - vae;
    placement->vae_devices = vae;
    for (int d = 0; d < devices; d++)
        if (d < devices - vae)
            placement->dit[d] = d;
        else
            placement->vae[d - (devices - vae)] = d;
}

enum sdt_status
sdt__candidates(const struct sdt_pipeline *pipeline, const struct sdt_request *request, int count,
                const struct sdt_machine_rates *rates, const struct sdt_candidate *given,
                struct sdt_candidate **candidates, int *number, struct sdt_error *err) {
    const struct sdt_candidate none = {0};
    struct list list = {.pipeline = pipeline,
                        .request = request,
                        .rates = rates,
                        .given = given ? given : &none,
                        .requests = count};
    const struct sdt_placement start = given_placement(&list);
    int n = rates->devices;

    *candidates = NULL;
    *number = 0;
    bool two = false;
    enum sdt_status status = always_two(&list, &two, err);
    if (status == SDT_OK)
        status = add_strategies(&list, start, n, err);
    for (int vae = 0; vae < n - 1 && two && status == SDT_OK; vae++) {
        struct sdt_placement p = start;
        p.cfg_parallel = true;
        if (vae)
            sdt_placement_split(n, vae, &p);
        status = add_strategies(&list, p, (n - vae + 1) / 2, err);
    }
    for (int vae = 1; vae < n && status == SDT_OK; vae++)
        for (int aco = SDT_ACO_OFF; aco <= SDT_ACO_DYNAMIC && status == SDT_OK; aco++) {
            struct sdt_placement p = start;
            p.aco = (enum sdt_aco)aco;
            sdt_placement_split(n, vae, &p);
            status = add_strategies(&list, p, n - vae, err);
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

/* ---- without rates --------------------------------------------------------------------------- */

enum sdt_status sdt_plan_predict(const struct sdt_pipeline *pipeline,
                                 const struct sdt_request *request, int count,
                                 const struct sdt_machine_options *machine,
                                 struct sdt_candidate *candidate, struct sdt_error *err) {
    struct sdt_machine_rates rates;
    enum sdt_status status =
        sdt_measure_rates(pipeline, machine, candidate->placement.precision, &rates, err);
    return status == SDT_OK ? sdt__predict(pipeline, request, count, &rates, candidate, err)
                            : status;
}

enum sdt_status sdt_plan_candidates(const struct sdt_pipeline *pipeline,
                                    const struct sdt_request *request, int count,
                                    const struct sdt_machine_options *machine,
                                    const struct sdt_candidate *given,
                                    struct sdt_candidate **candidates, int *number,
                                    struct sdt_error *err) {
    struct sdt_machine_rates rates;
    const enum sdt_precision precision = given ? given->placement.precision : SDT_PRECISION_AUTO;
    *candidates = NULL;
    *number = 0;
    enum sdt_status status = sdt_measure_rates(pipeline, machine, precision, &rates, err);
    return status == SDT_OK
               ? sdt__candidates(pipeline, request, count, &rates, given, candidates, number, err)
               : status;
}

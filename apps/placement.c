/* From device lists and --plan auto to a placement. */
#include "apps/placement.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "apps/strategy.h"

/* "0-6", "6,7", "cpu:0-3,5" */
static enum sdt_status read_list(const char *option, const char *text, int *list, int *count,
                                 struct sdt_error *err) {
    const char *at = text;

    *count = 0;
    if (!strncmp(at, "cuda:", 5))
        return sdt_fail(err, SDT_ERROR_UNSUPPORTED,
                        "--%s %s: this version runs on CPU devices only: cpu:0-%d", option, text,
                        SDT_MAX_DEVICES - 1);
    if (!strncmp(at, "cpu:", 4))
        at += 4;
    for (;;) {
        char *end;
        long first = strtol(at, &end, 10), last = first;
        bool fine = end != at;
        if (fine && *end == '-') {
            at = end + 1;
            last = strtol(at, &end, 10);
            fine = end != at;
        }
        if (!fine || (*end && *end != ','))
            return sdt_fail(err, SDT_ERROR_USAGE,
                            "--%s %s: must be device numbers, as in 0-6 or 0,2,4", option, text);
        if (first < 0 || last < first || last >= SDT_MAX_DEVICES)
            return sdt_fail(err, SDT_ERROR_USAGE, "--%s %s: device numbers are 0 to %d", option,
                            text, SDT_MAX_DEVICES - 1);
        for (long d = first; d <= last; d++) {
            if (*count == SDT_MAX_DEVICES)
                return sdt_fail(err, SDT_ERROR_USAGE, "--%s %s: more than %d devices", option, text,
                                SDT_MAX_DEVICES);
            list[(*count)++] = (int)d;
        }
        if (!*end)
            return SDT_OK;
        at = end + 1;
    }
}

/* The groups as far as they were given; true if they were. */
static enum sdt_status read_groups(struct app_placement *o, struct sdt_pipeline *pipeline,
                                   const struct sdt_request *request, struct sdt_placement *p,
                                   struct sdt_error *err) {
    enum sdt_status status = SDT_OK;
    bool balance = o->vae_devices && !strcmp(o->vae_devices, "auto");

    if ((o->dit_devices || o->vae_devices) && (o->dit_size || o->vae_size))
        return sdt_fail(err, SDT_ERROR_USAGE,
                        "--dit-devices and --vae-devices exclude --dit-parallel-size and "
                        "--vae-parallel-size");
    if (balance) {
        if (o->dit_devices)
            return sdt_fail(err, SDT_ERROR_USAGE,
                            "--vae-devices auto divides --devices; it excludes --dit-devices");
        if (o->devices < 2)
            return sdt_fail(err, SDT_ERROR_USAGE, "--vae-devices auto needs --devices 2 or more");
        sdt_placement_balance(pipeline, request, o->devices, p);
        return SDT_OK;
    }
    if (o->dit_size || o->vae_size) {
        if (!o->dit_size || !o->vae_size || o->dit_size + o->vae_size > SDT_MAX_DEVICES)
            return sdt_fail(
                err, SDT_ERROR_USAGE,
                "--dit-parallel-size and --vae-parallel-size go together, and are at most "
                "%d in sum",
                SDT_MAX_DEVICES);
        p->dit_devices = o->dit_size;
        p->vae_devices = o->vae_size;
        for (int d = 0; d < o->dit_size + o->vae_size; d++)
            if (d < o->dit_size)
                p->dit[d] = d;
            else
                p->vae[d - o->dit_size] = d;
    } else if (o->dit_devices || o->vae_devices) {
        if (!o->dit_devices || !o->vae_devices)
            return sdt_fail(err, SDT_ERROR_USAGE, "--dit-devices and --vae-devices go together");
        status = read_list("dit-devices", o->dit_devices, p->dit, &p->dit_devices, err);
        if (status == SDT_OK)
            status = read_list("vae-devices", o->vae_devices, p->vae, &p->vae_devices, err);
    }
    if (status != SDT_OK || !p->dit_devices)
        return status;
    int needed = 0;
    for (int i = 0; i < p->dit_devices; i++)
        needed = p->dit[i] >= needed ? p->dit[i] + 1 : needed;
    for (int i = 0; i < p->vae_devices; i++)
        needed = p->vae[i] >= needed ? p->vae[i] + 1 : needed;
    if (o->devices == 0)
        o->devices = needed;
    if (o->devices < needed)
        return sdt_fail(err, SDT_ERROR_USAGE, "the groups name device %d; --devices %d has 0 to %d",
                        needed - 1, o->devices, o->devices - 1);
    return SDT_OK;
}

static bool same_list(int n, const int *a, const int *b) {
    return !memcmp(a, b, (size_t)n * sizeof *a);
}

/* The number of streams that was given, if one was. */
static int given_streams(const struct app_placement *o) {
    return o->streams && strcmp(o->streams, "auto") ? atoi(o->streams) : 0;
}

/* Does the candidate keep to everything that was given? */
static bool allowed(const struct sdt_candidate *c, const struct app_placement *o,
                    const struct sdt_placement *given, const struct sdt_strategy *strategy,
                    int forwards) {
    const struct sdt_placement *p = &c->placement;
    if ((given_streams(o) || (!o->plan && !o->streams)) &&
        p->streams != sdt_streams(given_streams(o), forwards))
        return false;
    if (strategy && c->strategy != strategy)
        return false;
    if (given->dit_devices &&
        (p->dit_devices != given->dit_devices || p->vae_devices != given->vae_devices ||
         !same_list(p->dit_devices, p->dit, given->dit) ||
         !same_list(p->vae_devices, p->vae, given->vae)))
        return false;
    if (!given->dit_devices && o->plan == NULL && p->dit_devices)
        return false; /* --aco auto alone does not make groups */
    if (o->aco && strcmp(o->aco, "auto") && strcmp(o->aco, sdt_aco_name(p->aco)))
        return false;
    if (o->chunk_heads && p->chunk_heads && p->chunk_heads != o->chunk_heads)
        return false;
    return !o->ulysses_degree || !p->ulysses_degree || p->ulysses_degree == o->ulysses_degree;
}

static void print_candidate(const struct sdt_candidate *c, int rank) {
    const struct sdt_placement *p = &c->placement;
    char groups[40] = "together";
    if (p->dit_devices)
        snprintf(groups, sizeof groups, "%d+%d", p->dit_devices, p->vae_devices);
    printf("  %4d  %-8s chunk %-3d degree %-3d %-9s aco %-8s streams %d  step %.4g s (exposed %.3g "
           "s) decode %.4g s total %.4g s memory %.1f MB%s\n",
           rank, c->strategy->name, p->chunk_heads, p->ulysses_degree, groups, sdt_aco_name(p->aco),
           p->streams, c->step_seconds, c->exposed_seconds, c->decode_seconds, c->total_seconds,
           c->memory_bytes * 1e-6, c->fits ? "" : ", which is not there");
}

/* The best candidate that is allowed. */
static enum sdt_status choose(const struct app_placement *o, struct sdt_pipeline *pipeline,
                              struct sdt_request *request, int count, bool table,
                              const struct sdt_strategy *strategy, struct sdt_placement *placement,
                              struct sdt_error *err) {
    struct sdt_machine_rates rates = sdt_measure_rates(o->devices, o->workers);
    struct sdt_candidate *candidate = NULL;
    int number = 0, shown = 0, best = -1;
    enum sdt_status status =
        sdt_plan_candidates(pipeline, request, count, &rates, &candidate, &number, err);

    if (status != SDT_OK)
        return status;
    if (table)
        printf("Candidates for %d request%s on %d devices, predicted\n", count,
               count == 1 ? "" : "s", o->devices);
    for (int i = 0; i < number; i++) {
        if (!allowed(&candidate[i], o, placement, strategy, request->guidance_scale > 1.0 ? 2 : 1))
            continue;
        if (best < 0)
            best = i;
        if (table && shown++ < 12)
            print_candidate(&candidate[i], shown);
    }
    if (best < 0) {
        status = sdt_fail(err, SDT_ERROR_USAGE,
                          "no plan for %d devices keeps to the given strategy, groups and aco",
                          o->devices);
    } else {
        request->strategy = candidate[best].strategy;
        *placement = candidate[best].placement;
    }
    free(candidate);
    return status;
}

/* --streams auto without --plan auto: everything else stays. */
static enum sdt_status choose_streams(const struct app_placement *o, struct sdt_pipeline *pipeline,
                                      const struct sdt_request *request, int count,
                                      struct sdt_placement *placement, struct sdt_error *err) {
    struct sdt_machine_rates rates = sdt_measure_rates(o->devices, o->workers);
    struct sdt_candidate candidate[2];
    enum sdt_status status = SDT_OK;
    for (int s = 0; s < 2 && status == SDT_OK; s++) {
        candidate[s] =
            (struct sdt_candidate){.strategy = request->strategy, .placement = *placement};
        candidate[s].placement.streams = s + 1;
        status = sdt_plan_predict(pipeline, request, count, &rates, &candidate[s], err);
    }
    if (status == SDT_OK)
        placement->streams = sdt_candidate_compare(&candidate[0], &candidate[1]) <= 0 ? 1 : 2;
    return status;
}

enum sdt_status app_place(struct app_placement *o, struct sdt_pipeline *pipeline,
                          struct sdt_request *request, int count, bool table,
                          struct sdt_placement *placement, struct sdt_error *err) {
    const struct sdt_strategy *strategy = NULL;
    bool automatic = o->plan && !strcmp(o->plan, "auto");
    bool aco_automatic = o->aco && !strcmp(o->aco, "auto");

    *placement = (struct sdt_placement){0};
    if (o->strategy) {
        strategy = request->strategy = app_strategy(o->strategy, err);
        if (!strategy)
            return SDT_ERROR_USAGE;
    }
    enum sdt_status status = read_groups(o, pipeline, request, placement, err);
    if (status != SDT_OK)
        return status;
    if (o->devices == 0)
        o->devices = 1;
    int dit = placement->dit_devices ? placement->dit_devices : o->devices;
    if (o->ring_degree) {
        int ulysses = o->ulysses_degree ? o->ulysses_degree : dit / o->ring_degree;
        if (ulysses * o->ring_degree != dit)
            return sdt_fail(
                err, SDT_ERROR_USAGE,
                "Ulysses degree %d x ring degree %d must be the %d devices that denoise", ulysses,
                o->ring_degree, dit);
        o->ulysses_degree = ulysses;
    }
    if (automatic || (aco_automatic && placement->dit_devices)) {
        if (!automatic && !strategy)
            strategy = request->strategy;
        status = choose(o, pipeline, request, count, table, strategy, placement, err);
        if (status != SDT_OK)
            return status;
    } else if (o->aco) {
        placement->aco = !strcmp(o->aco, "static")    ? SDT_ACO_STATIC
                         : !strcmp(o->aco, "dynamic") ? SDT_ACO_DYNAMIC
                                                      : SDT_ACO_OFF;
    }
    if (placement->aco != SDT_ACO_OFF && !placement->dit_devices)
        return sdt_fail(err, SDT_ERROR_USAGE,
                        "--aco %s needs two groups: --dit-devices and --vae-devices", o->aco);
    if (placement->aco != SDT_ACO_OFF && request->strategy->ring)
        return sdt_fail(err, SDT_ERROR_USAGE,
                        "--aco %s does not go with --strategy %s; ulysses and pipesp work", o->aco,
                        request->strategy->name);
    if (o->chunk_heads)
        placement->chunk_heads = o->chunk_heads;
    if (o->ulysses_degree)
        placement->ulysses_degree = o->ulysses_degree;
    if (!automatic)
        placement->streams = given_streams(o);
    placement->most_latents = o->max_latents;
    placement->vae_spill = o->vae_spill;
    placement->text_with_vae = o->text_group && !strcmp(o->text_group, "vae");
    if (placement->text_with_vae && !placement->dit_devices)
        return sdt_fail(
            err, SDT_ERROR_USAGE,
            "--text-encoder-group vae needs two groups: --dit-devices and --vae-devices");
    if (!automatic && o->streams && !strcmp(o->streams, "auto"))
        return choose_streams(o, pipeline, request, count, placement, err);
    return SDT_OK;
}

/* From device lists and --plan auto to a placement. */
#include "apps/placement.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "apps/strategy.h"
#include "stardit/ranks.h"

/* The number of a device that a group names; -1: the machine has no such device. */
static int find_device(const struct app_devices *machine, struct app_named_device named) {
    for (int d = 0; d < machine->count; d++)
        if (named.has_kind ? named.device.kind == machine->device[d].kind &&
                                 named.device.index == machine->device[d].index
                           : named.device.index == d)
            return d;
    return -1;
}

static bool names_gpus(const struct app_named_device *list, int count) {
    for (int i = 0; i < count; i++)
        if (list[i].has_kind && list[i].device.kind == SDT_DEVICE_CUDA)
            return true;
    return false;
}

/* Without --devices, the machine has the devices that the groups name: with GPUs just these, in
 * their order; CPU devices are stand-ins, of which there are as many as the highest number says. */
static enum sdt_status gather_devices(struct app_devices *machine,
                                      const struct app_named_device *list, int count,
                                      struct sdt_error *err) {
    bool gpus = names_gpus(list, count);
    int needed = 0;
    for (int i = 0; i < count; i++) {
        if (gpus && !list[i].has_kind)
            return sdt_fail(err, SDT_ERROR_USAGE,
                            "device %d in a group: beside cuda:N, a device without its kind is a "
                            "number in --devices, which is needed then",
                            list[i].device.index);
        if (!gpus)
            needed = list[i].device.index >= needed ? list[i].device.index + 1 : needed;
        else if (find_device(machine, list[i]) < 0 && machine->count == SDT_MAX_DEVICES)
            return sdt_fail(err, SDT_ERROR_USAGE, "the groups name more than %d devices",
                            SDT_MAX_DEVICES);
        else if (find_device(machine, list[i]) < 0)
            machine->device[machine->count++] = list[i].device;
    }
    if (needed > SDT_MAX_DEVICES)
        return sdt_fail(err, SDT_ERROR_USAGE, "device numbers are 0 to %d", SDT_MAX_DEVICES - 1);
    if (!gpus)
        app_devices_stand_ins(machine, needed);
    return SDT_OK;
}

static enum sdt_status find_group(const char *option, const struct app_devices *machine,
                                  const struct app_named_device *list, int count, int *group,
                                  struct sdt_error *err) {
    char name[SDT_DEVICE_NAME];
    for (int i = 0; i < count; i++) {
        if (machine->ranks > 1 && list[i].has_kind)
            return sdt_fail(err, SDT_ERROR_USAGE,
                            "--%s: %s is a device of each of %d ranks; a number names one, 0 to %d",
                            option, sdt_device_name(list[i].device, name), machine->ranks,
                            machine->count - 1);
        group[i] = find_device(machine, list[i]);
        if (group[i] >= 0)
            continue;
        if (!list[i].has_kind || !app_devices_list(machine))
            return sdt_fail(err, SDT_ERROR_USAGE,
                            "--%s: the groups name device %d; --devices %d has 0 to %d", option,
                            list[i].device.index, machine->count, machine->count - 1);
        return sdt_fail(err, SDT_ERROR_USAGE, "--%s: %s is not in --devices", option,
                        sdt_device_name(list[i].device, name));
    }
    return SDT_OK;
}

/* --dit-devices and --vae-devices as lists. */
static enum sdt_status read_lists(struct app_placement *o, struct sdt_placement *p,
                                  struct sdt_error *err) {
    struct app_named_device list[2 * SDT_MAX_DEVICES];
    int dit = 0, vae = 0;
    if (!o->dit_devices || !o->vae_devices)
        return sdt_fail(err, SDT_ERROR_USAGE, "--dit-devices and --vae-devices go together");
    enum sdt_status status = app_devices_parse("dit-devices", o->dit_devices, list, &dit, err);
    if (status == SDT_OK)
        status = app_devices_parse("vae-devices", o->vae_devices, list + dit, &vae, err);
    if (status == SDT_OK && o->machine.count == 0)
        status = gather_devices(&o->machine, list, dit + vae, err);
    if (status == SDT_OK)
        status = find_group("dit-devices", &o->machine, list, dit, p->dit, err);
    if (status == SDT_OK)
        status = find_group("vae-devices", &o->machine, list + dit, vae, p->vae, err);
    p->dit_devices = dit;
    p->vae_devices = vae;
    return status;
}

/* The groups as far as they were given. */
static enum sdt_status read_groups(struct app_placement *o, struct sdt_pipeline *pipeline,
                                   const struct sdt_request *request, struct sdt_placement *p,
                                   struct sdt_error *err) {
    bool balance = o->vae_devices && !strcmp(o->vae_devices, "auto");

    if ((o->dit_devices || o->vae_devices) && (o->dit_size || o->vae_size))
        return sdt_fail(err, SDT_ERROR_USAGE,
                        "--dit-devices and --vae-devices exclude --dit-parallel-size and "
                        "--vae-parallel-size");
    if (balance) {
        if (o->dit_devices)
            return sdt_fail(err, SDT_ERROR_USAGE,
                            "--vae-devices auto divides --devices; it excludes --dit-devices");
        if (o->machine.count < 2)
            return sdt_fail(err, SDT_ERROR_USAGE, "--vae-devices auto needs --devices 2 or more");
        struct sdt_machine_options machine = {0};
        enum sdt_status status = app_devices_shares(&o->machine, o->workers, o->speed, err);
        if (status != SDT_OK)
            return status;
        app_devices_options(&o->machine, &machine);
        p->precision = app_precision(o->dtype);
        sdt_placement_balance(pipeline, request, &machine, p);
        return SDT_OK;
    }
    if (o->dit_devices || o->vae_devices)
        return read_lists(o, p, err);
    if (!o->dit_size && !o->vae_size)
        return SDT_OK;
    int both = o->dit_size + o->vae_size;
    if (!o->dit_size || !o->vae_size || both > SDT_MAX_DEVICES)
        return sdt_fail(err, SDT_ERROR_USAGE,
                        "--dit-parallel-size and --vae-parallel-size go together, and are at most "
                        "%d in sum",
                        SDT_MAX_DEVICES);
    if (o->machine.count == 0)
        app_devices_stand_ins(&o->machine, both);
    if (o->machine.count < both)
        return sdt_fail(err, SDT_ERROR_USAGE, "the groups name device %d; --devices %s has 0 to %d",
                        both - 1, o->devices, o->machine.count - 1);
    p->dit_devices = o->dit_size;
    p->vae_devices = o->vae_size;
    for (int d = 0; d < both; d++)
        if (d < o->dit_size)
            p->dit[d] = d;
        else
            p->vae[d - o->dit_size] = d;
    return SDT_OK;
}

static bool same_list(int n, const int *a, const int *b) {
    return !memcmp(a, b, (size_t)n * sizeof *a);
}

/* The number of streams that was given, if one was. */
static int given_streams(const struct app_placement *o) {
    return o->streams && strcmp(o->streams, "auto") ? atoi(o->streams) : 0;
}

/* The chunk size that was given, if one was. */
static int given_chunk(const struct app_placement *o) {
    return o->chunk_heads && strcmp(o->chunk_heads, "auto") ? atoi(o->chunk_heads) : 0;
}

static bool text_with_vae(const struct app_placement *o) {
    return o->text_group && !strcmp(o->text_group, "vae");
}

/* How many devices denoise a branch in this placement. */
static int denoising(const struct app_placement *o, const struct sdt_placement *p) {
    const int all = p->dit_devices ? p->dit_devices : o->machine.count;
    return p->cfg_parallel ? (all + 1) / 2 : all;
}

/* Does the candidate keep to everything that was given of where? */
static bool allowed(const struct sdt_candidate *c, const struct app_placement *o,
                    const struct sdt_placement *given, int forwards) {
    const struct sdt_placement *p = &c->placement;
    const int streams =
        given_streams(o) && given_streams(o) < forwards ? given_streams(o) : forwards;
    if ((given_streams(o) || (!o->plan && !o->streams)) && p->streams != streams)
        return false;
    if (given->dit_devices &&
        (p->dit_devices != given->dit_devices || p->vae_devices != given->vae_devices ||
         !same_list(p->dit_devices, p->dit, given->dit) ||
         !same_list(p->vae_devices, p->vae, given->vae)))
        return false;
    if (!given->dit_devices && o->plan == NULL && p->dit_devices)
        return false; /* --aco auto alone does not make groups */
    if (o->cfg_parallel ? !p->cfg_parallel : !o->plan && p->cfg_parallel)
        return false;
    if (o->aco && strcmp(o->aco, "auto") && strcmp(o->aco, sdt_aco_name(p->aco)))
        return false;
    if (text_with_vae(o) && !p->dit_devices)
        return false;
    if (o->ring_degree && o->ulysses_degree * o->ring_degree != denoising(o, p))
        return false;
    /* Where one device denoises, chunks would be idle. */
    return !given_chunk(o) || denoising(o, p) > 1 || o->machine.count == 1;
}

/* What a plan had to keep to, as it stands on the command line. */
static void given_text(const struct app_placement *o, char *text, size_t size) {
    char ulysses[16], ring[16];
    snprintf(ulysses, sizeof ulysses, "%d", o->ulysses_degree);
    snprintf(ring, sizeof ring, "%d", o->ring_degree);
    const struct {
        const char *option, *value;
    } given[] = {{"--strategy", o->strategy},
                 {"--ulysses-degree", o->ulysses_degree ? ulysses : NULL},
                 {"--ring-degree", o->ring_degree ? ring : NULL},
                 {"--chunk-heads", o->chunk_heads},
                 {"--dit-devices", o->dit_devices},
                 {"--vae-devices", o->vae_devices},
                 {"--aco", o->aco},
                 {"--streams", o->streams},
                 {"--transport", o->transport},
                 {"--text-encoder-group", o->text_group},
                 {"--use-cfg-parallel", o->cfg_parallel ? "" : NULL}};
    size_t length = 0;
    *text = '\0';
    for (size_t i = 0; i < sizeof given / sizeof given[0] && length < size; i++)
        if (given[i].value)
            length += (size_t)snprintf(text + length, size - length, "%s%s%s%s", length ? ", " : "",
                                       given[i].option, *given[i].value ? " " : "", given[i].value);
}

/* 0: the strategy's own, which is all of them where a candidate leaves it so. */
static bool in_one_chunk(const struct sdt_placement *p, int heads) {
    return p->chunk_heads == 0 || p->chunk_heads >= heads;
}

static void print_candidate(const struct sdt_candidate *c, int rank, int heads) {
    const struct sdt_placement *p = &c->placement;
    char groups[40] = "together", chunk[16] = "all";
    if (p->dit_devices)
        snprintf(groups, sizeof groups, "%d+%d", p->dit_devices, p->vae_devices);
    if (!in_one_chunk(p, heads))
        snprintf(chunk, sizeof chunk, "%d", p->chunk_heads);
    printf(
        "  %4d  %-8s chunk %-3s degree %-3d %-9s aco %-8s streams %d%s  step %.4g s (exposed %.3g "
        "s) decode %.4g s total %.4g s memory %.1f MB%s",
        rank, sdt_strategy_name(c->strategy), chunk, p->ulysses_degree, groups,
        sdt_aco_name(p->aco), p->streams, p->cfg_parallel ? " apart" : "", c->step_seconds,
        c->exposed_seconds, c->decode_seconds, c->total_seconds, c->memory_bytes * 1e-6,
        c->fits ? "" : ", which is not there");
}

/* What another one that predicts the same has of its own. */
static void print_twin(const struct sdt_candidate *c, const struct sdt_candidate *shown, bool first,
                       int heads) {
    const struct sdt_placement *p = &c->placement, *q = &shown->placement;
    printf("%s", first ? "; the same: " : ", ");
    printf("%s", sdt_strategy_name(c->strategy));
    if (!in_one_chunk(q, heads) && in_one_chunk(p, heads))
        printf(" chunk all");
    else if (!in_one_chunk(p, heads) && p->chunk_heads != q->chunk_heads)
        printf(" chunk %d", p->chunk_heads);
    if (p->dit_devices != q->dit_devices)
        printf(" %d+%d", p->dit_devices, p->vae_devices);
    if (p->aco != q->aco)
        printf(" aco %s", sdt_aco_name(p->aco));
    if (p->streams != q->streams)
        printf(" streams %d", p->streams);
    if (p->cfg_parallel != q->cfg_parallel)
        printf(p->cfg_parallel ? " apart" : " together");
}

/* The first rows of a sorted list; candidates that predict the same are one row. */
static void print_candidates(const struct sdt_candidate *candidate, int count, int heads) {
    enum { ROWS = 12, TWINS = 4 };
    int rows = 0;
    for (int i = 0; i < count && rows < ROWS; i++) {
        int twins = 0;
        bool told = false;
        for (int j = 0; j < i && !told; j++)
            told = sdt_candidate_equal(&candidate[j], &candidate[i]);
        if (told)
            continue;
        print_candidate(&candidate[i], ++rows, heads);
        for (int j = i + 1; j < count; j++)
            if (sdt_candidate_equal(&candidate[i], &candidate[j]) && twins++ < TWINS)
                print_twin(&candidate[j], &candidate[i], twins == 1, heads);
        if (twins > TWINS)
            printf(" and %d more", twins - TWINS);
        printf("\n");
    }
}

/* What is to be placed, and what was given of where. */
struct wanted {
    struct app_placement *o;
    struct sdt_pipeline *pipeline;
    struct sdt_request *request;
    int count; /* of requests */
    struct sdt_placement *placement;
};

static struct sdt_machine_options machine_of(const struct wanted *w) {
    struct sdt_machine_options machine = {0};
    app_devices_options(&w->o->machine, &machine);
    return machine;
}

static enum sdt_status predict(const struct wanted *w, struct sdt_candidate *candidate,
                               struct sdt_error *err) {
    const struct sdt_machine_options machine = machine_of(w);
    return sdt_plan_predict(w->pipeline, w->request, w->count, &machine, candidate, err);
}

/* What all candidates keep to; of `strategy`, unless NULL. */
static struct sdt_candidate given_candidate(const struct wanted *w,
                                            const struct sdt_strategy *strategy) {
    const struct app_placement *o = w->o;
    struct sdt_candidate given = {.strategy = strategy};
    given.placement.precision = w->placement->precision;
    given.placement.chunk_heads = given_chunk(o);
    given.placement.ulysses_degree = o->ulysses_degree;
    given.placement.patches = o->patches;
    given.placement.most_latents = o->max_latents;
    given.placement.vae_spill = o->vae_spill;
    given.placement.text_with_vae = text_with_vae(o);
    if (o->transport && !strcmp(o->transport, "nccl"))
        given.placement.transport = SDT_TRANSPORT_NCCL;
    return given;
}

/* The best candidate that is allowed; of `strategy`, unless NULL. */
static enum sdt_status choose(const struct wanted *w, const struct sdt_strategy *strategy,
                              bool table, struct sdt_error *err) {
    const struct app_placement *o = w->o;
    const struct sdt_machine_options machine = machine_of(w);
    const struct sdt_candidate given = given_candidate(w, strategy);
    struct sdt_candidate *candidate = NULL;
    char text[400];
    int number = 0, kept = 0;
    enum sdt_status status = sdt_plan_candidates(w->pipeline, w->request, w->count, &machine,
                                                 &given, &candidate, &number, err);
    if (status != SDT_OK)
        return status;
    for (int i = 0; i < number; i++)
        if (allowed(&candidate[i], o, w->placement, sdt_pipeline_forwards(w->pipeline, w->request)))
            candidate[kept++] = candidate[i];
    if (kept == 0) {
        given_text(o, text, sizeof text);
        status = sdt_fail(err, SDT_ERROR_USAGE, "no plan for %d device%s keeps to %s",
                          o->machine.count, o->machine.count == 1 ? "" : "s", text);
    } else {
        if (table)
            printf("Candidates for %d request%s on %d devices, predicted\n", w->count,
                   w->count == 1 ? "" : "s", o->machine.count);
        if (table)
            print_candidates(candidate, kept, sdt_pipeline_model(w->pipeline).heads);
        enum sdt_precision precision = w->placement->precision;
        w->request->strategy = candidate[0].strategy;
        *w->placement = candidate[0].placement;
        w->placement->precision = precision;
    }
    free(candidate);
    return status;
}

/* --streams auto without --plan auto: everything else stays. */
static enum sdt_status choose_streams(const struct wanted *w, struct sdt_error *err) {
    struct sdt_candidate candidate[2];
    enum sdt_status status = SDT_OK;
    for (int s = 0; s < 2 && status == SDT_OK; s++) {
        candidate[s] =
            (struct sdt_candidate){.strategy = w->request->strategy, .placement = *w->placement};
        candidate[s].placement.streams = s + 1;
        status = predict(w, &candidate[s], err);
    }
    if (status == SDT_OK)
        w->placement->streams = sdt_candidate_compare(&candidate[0], &candidate[1]) <= 0 ? 1 : 2;
    return status;
}

/* How many devices denoise. */
static int dit_devices(const struct wanted *w) {
    return w->placement->dit_devices ? w->placement->dit_devices : w->o->machine.count;
}

/* --chunk-heads auto without --plan auto: everything else stays. */
static enum sdt_status choose_chunks(const struct wanted *w, struct sdt_error *err) {
    const struct sdt_strategy *strategy = w->request->strategy;
    struct sdt_candidate best = {.strategy = strategy, .placement = *w->placement}, next = best;
    enum sdt_status status = predict(w, &best, err);
    for (int i = 0; status == SDT_OK; i++) {
        next.placement = *w->placement;
        int devices = w->o->cfg_parallel ? (dit_devices(w) + 1) / 2 : dit_devices(w);
        if (!sdt_strategy_variant(strategy, i, devices, &next.placement))
            break;
        next.placement.ulysses_degree = w->placement->ulysses_degree;
        status = predict(w, &next, err);
        if (status == SDT_OK && sdt_candidate_compare(&next, &best) < 0)
            best = next;
    }
    w->placement->chunk_heads = best.placement.chunk_heads;
    return status;
}

static enum sdt_status check_chunk(const char *chunk, struct sdt_error *err) {
    char *end;
    long heads = chunk && strcmp(chunk, "auto") ? strtol(chunk, &end, 10) : 1;
    if (heads < 1 || heads > SDT_WHOLE_CHUNKS || (chunk && strcmp(chunk, "auto") && *end))
        return sdt_fail(err, SDT_ERROR_USAGE, "--chunk-heads %s: 1 to %d work, and auto", chunk,
                        SDT_WHOLE_CHUNKS);
    return SDT_OK;
}

/* The devices, their groups and what they compute in. */
static enum sdt_status settle_devices(const struct wanted *w, struct sdt_error *err) {
    struct app_placement *o = w->o;
    const int ranks = sdt_ranks();
    enum sdt_status status = app_devices_read(o->devices, &o->machine, err);
    if (status == SDT_OK && ranks > 1 && o->machine.count == 0)
        app_devices_stand_ins(&o->machine, 1);
    const int each = o->machine.count;
    if (status == SDT_OK)
        status = app_devices_of_ranks(&o->machine, ranks, err);
    if (status == SDT_OK)
        status = read_groups(o, w->pipeline, w->request, w->placement, err);
    if (status == SDT_OK && o->machine.count == 0)
        app_devices_stand_ins(&o->machine, 1);
    w->placement->precision = app_precision(o->dtype);
    if (status == SDT_OK)
        status = sdt_devices_check(app_devices_list(&o->machine),
                                   ranks > 1 ? each : o->machine.count, err);
    if (status == SDT_OK)
        status = app_devices_shares(&o->machine, o->workers, o->speed, err);
    return status;
}

/* --ulysses-degree and --ring-degree, as xDiT takes them. `strategy` is the one that was given, or
 * NULL; degrees give one. */
static enum sdt_status settle_degrees(const struct wanted *w, const struct sdt_strategy **strategy,
                                      struct sdt_error *err) {
    struct app_placement *o = w->o;
    const int dit = o->cfg_parallel ? (dit_devices(w) + 1) / 2 : dit_devices(w);
    if (!o->ulysses_degree && !o->ring_degree)
        return SDT_OK;
    if (!*strategy)
        *strategy = w->request->strategy = app_strategy_of_degrees();
    if (!sdt_strategy_has_degree(*strategy))
        return sdt_fail(
            err, SDT_ERROR_USAGE,
            "--%s-degree does not go with --strategy %s; %s has a ring of Ulysses groups",
            o->ring_degree ? "ring" : "ulysses", sdt_strategy_name(*strategy),
            sdt_strategy_name(app_strategy_of_degrees()));
    if (!o->ring_degree)
        return SDT_OK;
    int ulysses = o->ulysses_degree ? o->ulysses_degree : dit / o->ring_degree;
    if (!o->ulysses_degree && dit % o->ring_degree)
        return sdt_fail(
            err, SDT_ERROR_USAGE, "--ring-degree %d does not divide the %d device%s that denoise%s",
            o->ring_degree, dit, dit == 1 ? "" : "s", o->cfg_parallel ? " a branch" : "");
    if (ulysses * o->ring_degree != dit)
        return sdt_fail(err, SDT_ERROR_USAGE,
                        "--ulysses-degree %d x --ring-degree %d must be the %d devices that "
                        "denoise%s",
                        ulysses, o->ring_degree, dit, o->cfg_parallel ? " a branch" : "");
    o->ulysses_degree = ulysses;
    return SDT_OK;
}

/* What stands whatever was chosen. */
static enum sdt_status take_given(const struct wanted *w, struct sdt_error *err) {
    const struct app_placement *o = w->o;
    struct sdt_placement *p = w->placement;
    if (given_chunk(o))
        p->chunk_heads = given_chunk(o);
    if (o->ulysses_degree)
        p->ulysses_degree = o->ulysses_degree;
    p->patches = o->patches;
    if (o->transport && !strcmp(o->transport, "nccl"))
        p->transport = SDT_TRANSPORT_NCCL;
    p->most_latents = o->max_latents;
    p->cfg_parallel |= o->cfg_parallel;
    p->vae_spill = o->vae_spill;
    p->text_with_vae = text_with_vae(o);
    if (p->text_with_vae && !p->dit_devices)
        return sdt_fail(
            err, SDT_ERROR_USAGE,
            "--text-encoder-group vae needs two groups: --dit-devices and --vae-devices");
    return SDT_OK;
}

enum sdt_status app_place(struct app_placement *o, struct sdt_pipeline *pipeline,
                          struct sdt_request *request, int count, bool table,
                          struct sdt_placement *placement, struct sdt_error *err) {
    const struct wanted w = {o, pipeline, request, count, placement};
    const struct sdt_strategy *strategy = NULL;
    bool automatic = o->plan && !strcmp(o->plan, "auto");
    bool aco_automatic = o->aco && !strcmp(o->aco, "auto");

    *placement = (struct sdt_placement){.cfg_parallel = o->cfg_parallel};
    if (o->strategy) {
        strategy = request->strategy = app_strategy(o->strategy, err);
        if (!strategy)
            return SDT_ERROR_USAGE;
    }
    enum sdt_status status = check_chunk(o->chunk_heads, err);
    if (status == SDT_OK && o->patches && !sdt_strategy_stale(request->strategy))
        status =
            sdt_fail(err, SDT_ERROR_USAGE,
                     "--patches does not go with --strategy %s, which takes all tokens at once",
                     sdt_strategy_name(request->strategy));
    if (status == SDT_OK)
        status = settle_devices(&w, err);
    if (status == SDT_OK)
        status = settle_degrees(&w, &strategy, err);
    if (status == SDT_OK && given_streams(o) == 2 && sdt_pipeline_forwards(w.pipeline, request) < 2)
        status = sdt_fail(err, SDT_ERROR_USAGE,
                          "--streams 2: a guidance scale of %g takes one forward a step",
                          request->guidance_scale);
    if (status == SDT_OK && o->cfg_parallel && sdt_pipeline_forwards(w.pipeline, request) < 2)
        status = sdt_fail(err, SDT_ERROR_USAGE,
                          "--use-cfg-parallel: the request takes one forward a step, which leaves "
                          "nothing for a second group");
    if (status != SDT_OK)
        return status;
    if (automatic)
        status = choose(&w, strategy, table, err);
    else if (aco_automatic && placement->dit_devices)
        status = choose(&w, strategy ? strategy : request->strategy, table, err);
    else if (o->aco)
        placement->aco = !strcmp(o->aco, "static")    ? SDT_ACO_STATIC
                         : !strcmp(o->aco, "dynamic") ? SDT_ACO_DYNAMIC
                                                      : SDT_ACO_OFF;
    if (status == SDT_OK && !automatic)
        placement->streams = given_streams(o);
    if (status == SDT_OK)
        status = take_given(&w, err);
    if (status == SDT_OK && !automatic && o->chunk_heads && !strcmp(o->chunk_heads, "auto"))
        status = choose_chunks(&w, err);
    if (status == SDT_OK && !automatic && o->streams && !strcmp(o->streams, "auto"))
        status = choose_streams(&w, err);
    return status;
}

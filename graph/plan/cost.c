/* Times of text, step, decode and run. */
#include "graph/plan/cost.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* A worker of a group's first device. */
static struct sdt_worker_rates worker_of(const struct sdt_draft *d, bool vae) {
    if ((vae ? d->kinds.vae : d->kinds.dit) == SDT_DEVICE_CPU)
        return d->rates->cpu;
    return d->rates->gpu[vae ? sdt_draft_vae(d, 0) : sdt_draft_dit(d, 0)];
}

/* What a worker of a device takes beside that one. CPU workers are alike. */
static double slower(const struct sdt_draft *d, const struct sdt_worker_rates *worker,
                     const struct sdt_place *place) {
    double flops = d->rates->gpu[place->device].flops_per_second;
    return place->kind == SDT_DEVICE_CPU || !(flops > 0.0) ? 1.0 : worker->flops_per_second / flops;
}

/* Queuing tasks on a GPU's stream overlaps with what it computes; on a CPU the worker does both. */
static double task_seconds(const struct sdt_machine_rates *rates, enum sdt_device_kind kind) {
    return kind == SDT_DEVICE_CUDA ? 0.0 : rates->overheads.run;
}

/* No phase is shorter than all its work over the cores, nor than its insertion. cores: seconds. */
static double bounded(const struct sdt_machine_rates *rates, double seconds, double cores,
                      double tasks) {
    double all = rates->cores > 0.0 ? cores / rates->cores : 0.0;
    return fmax(seconds, fmax(all, tasks * rates->overheads.insert));
}

/* ---- text --------------------------------------------------------------------------------------
 */

/* Its layers follow one another, each on as many workers as the encoder keeps busy. Weights are
 * read once. */
static void encoder_times(const struct sdt_draft *d, int encoder, struct sdt_times *t) {
    const struct sdt_machine_rates *rates = d->rates;
    const struct sdt_text *text = d->pipeline->text[encoder];
    if (!text || sdt__text_input(d->request, 0, encoder).embeds)
        return;
    bool vae = d->groups && d->placement->text_with_vae;
    struct sdt_worker_rates worker = worker_of(d, vae);
    enum sdt_dtype dtype = vae ? d->kinds.vae_dtype : d->kinds.dit_dtype;
    struct sdt_operation product = {.kind = SDT_OPERATION_LINEAR,
                                    .tasks = 1,
                                    .rows = d->words < 512 ? d->words : 512,
                                    .n = text->width,
                                    .k = text->width};
    double speed = sdt_operation_flops(&product) / sdt_operation_seconds(&worker, dtype, &product);
    double flops = d->forwards * sdt__text_flops(d->pipeline, d->request, encoder, d->words);
    double bytes = (double)sdt_weights_bytes(text->weights);
    const struct sdt_place *place = vae ? d->decoder : d->place;
    double workers = text->kind->workers ? text->kind->workers(text, place) : 1.0;
    t->text += flops / speed / workers + bytes / rates->link_bytes_per_second;
    t->text_core += flops / speed + bytes / rates->link_bytes_per_second;
}

/* ---- a step ------------------------------------------------------------------------------------
 */

/* The families' lists, or what their FLOPs say of such lists. */
void sdt_draft_operations(const struct sdt_draft *d, struct sdt_operations *list) {
    const struct sdt_dit *dit = d->pipeline->dit;
    int64_t tokens = d->layout.video;
    if (dit->kind->operations) {
        dit->kind->operations(dit, d->layout.rows, d->words, list);
        return;
    }
    struct sdt_work work = dit->kind->work(dit, tokens, d->words);
    double products = work.linear / (2.0 * (double)tokens * dit->width * dit->width) / dit->layers;
    struct sdt_operation product = {.kind = SDT_OPERATION_LINEAR,
                                    .tasks = products,
                                    .rows = d->layout.rows,
                                    .n = dit->width,
                                    .k = dit->width};
    struct sdt_operation norm = {.kind = SDT_OPERATION_NORM,
                                 .tasks = fmax(4.0, products),
                                 .rows = d->layout.rows,
                                 .n = dit->width};
    sdt_operations_add(list, product);
    sdt_operations_add(list, norm);
}

/* Seconds and tasks of operations by when they happen. */
struct sums {
    double seconds[SDT_EACH_FORWARD + 1], tasks[SDT_EACH_FORWARD + 1];
};

static struct sums sum_of(const struct sdt_operations *list, const struct sdt_worker_rates *worker,
                          enum sdt_dtype dtype) {
    struct sums s = {0};
    for (int i = 0; i < list->count; i++) {
        const struct sdt_operation *o = &list->item[i];
        s.seconds[o->when] += o->tasks * sdt_operation_seconds(worker, dtype, o);
        s.tasks[o->when] += o->tasks;
    }
    return s;
}

/* One projection: a product of the model's width, and its way into pieces. */
static double projection_of(const struct sdt_draft *d, const struct sdt_worker_rates *worker,
                            double task) {
    const struct sdt_dit *dit = d->pipeline->dit;
    struct sdt_operation o = {
        .kind = SDT_OPERATION_LINEAR, .rows = d->layout.rows, .n = dit->width, .k = dit->width};
    double seconds = sdt_operation_seconds(worker, d->layout.dtype, &o);
    o = (struct sdt_operation){.kind = SDT_OPERATION_SPLIT_HEADS,
                               .rows = d->layout.rows,
                               .heads = dit->heads,
                               .e = dit->head_dim};
    return seconds + sdt_operation_seconds(worker, d->layout.dtype, &o) + 2.0 * task;
}

/* With helpers, aco says how far they help. */
static struct sdt_cost cost_of(const struct sdt_draft *d, struct sdt_step_load load,
                               double decode) {
    struct sdt_cost alone, helped;
    load.aco = SDT_ACO_OFF;
    alone = sdt_cost_of_step(&load);
    if (d->placement->aco == SDT_ACO_OFF)
        return alone;
    load.aco = d->placement->aco;
    helped = sdt_cost_of_step(&load);
    /* static helps while nothing is decoded; dynamic helps only where it gains */
    if (d->placement->aco == SDT_ACO_DYNAMIC && helped.seconds > alone.seconds)
        return alone;
    double busy = fmin(1.0, decode / fmax(1e-30, d->request->steps * alone.seconds) / d->vae);
    helped.seconds = (1.0 - busy) * helped.seconds + busy * alone.seconds;
    helped.computing = (1.0 - busy) * helped.computing + busy * alone.computing;
    return helped;
}

/* Of a head of a tile in each layer: where tokens attend in groups, each group's part of the tile.
 * NULL: out of memory. */
static double *attention_of(const struct sdt_draft *d, const struct sdt_worker_rates *worker) {
    const struct sdt_dit *dit = d->pipeline->dit;
    const struct sdt_layout *layout = &d->layout;
    double *seconds = calloc((size_t)dit->layers, sizeof *seconds);
    int before = 0;
    for (int l = 0; seconds && l < dit->layers; l++) {
        int count = sdt_dit_groups(dit, l).count;
        struct sdt_operation attention = {.kind = SDT_OPERATION_ATTENTION,
                                          .rows = (layout->rows + count - 1) / count,
                                          .heads = 1,
                                          .e = layout->e,
                                          .keys = (layout->tokens + layout->overlap + count - 1) /
                                                  count};
        seconds[l] = count == before
                         ? seconds[l - 1]
                         : count * sdt_operation_seconds(worker, layout->dtype, &attention);
        before = count;
    }
    return seconds;
}

/* Forwards that end without having passed the layers, and what goes into and out of a step cache:
 * seconds of each tile. */
static void add_ends(const struct sdt_step_load *load, int forwards, double seconds,
                     struct sdt_cost *cost) {
    struct sdt_step_load ends = *load;
    ends.layers = 0;
    ends.forwards = forwards > 0 ? forwards : 1;
    ends.streams = 1;
    ends.ends = forwards > 0 ? load->ends + seconds / forwards : seconds;
    ends.condition = forwards > 0 ? load->condition : 0.0;
    struct sdt_cost more = sdt_cost_of_step(&ends);
    cost->seconds += more.seconds;
    cost->computing += more.computing;
    cost->worker_seconds += more.worker_seconds;
}

/* The branches of a step, each on devices of its own: the first one's load and cost, and a second
 * beside it. The latent goes there first, and the velocity comes back at the end. */
static struct sdt_cost cost_apart(const struct sdt_draft *d, struct sdt_step_load load,
                                  struct sdt_step step) {
    const struct sdt_layout *layout = &d->parts.part[1].layout;
    struct sdt_cost cost = {0}, other = {0};
    double bytes = sdt_run_exchanged_apart(d->pipeline->dit, &d->parts);
    double pieces = 2.0 * load.layout->video_tiles;
    load.forwards = load.streams = 1;
    load.aco = SDT_ACO_OFF;
    if (!step.skip[0])
        cost = sdt_cost_of_step(&load);
    load.slower += d->parts.part[1].first;
    load.layout = layout;
    if (!step.skip[1])
        other = sdt_cost_of_step(&load);
    cost.seconds = fmax(cost.seconds, other.seconds) + 2.0 * load.latency +
                   bytes / load.link / fmin(d->layout.devices, layout->devices);
    cost.computing = fmax(cost.computing, other.computing);
    cost.worker_seconds += other.worker_seconds;
    cost.bytes += other.bytes + bytes;
    cost.pieces += other.pieces + pieces;
    cost.tasks += other.tasks;
    return cost;
}

/* A step with these branches, of which some end without having passed the layers. */
static enum sdt_status step_times(const struct sdt_draft *d, int requests, struct sdt_step step,
                                  struct sdt_times *t, struct sdt_error *err) {
    const struct sdt_machine_rates *rates = d->rates;
    const struct sdt_dit *dit = d->pipeline->dit;
    const struct sdt_layout *layout = &d->layout;
    struct sdt_worker_rates worker = worker_of(d, false);
    double slow[2 * SDT_MAX_DEVICES];
    double task = task_seconds(rates, d->kinds.dit);
    struct sdt_operations list = {0};
    struct sdt_operation solver = {
        .kind = SDT_OPERATION_ELEMENTS, .rows = layout->rows, .n = 10 * (int)sdt_patch_values(dit)};

    sdt_draft_operations(d, &list);
    for (int i = 0; i < d->dit + layout->helpers; i++)
        slow[i] = slower(d, &worker, &d->place[i]);
    struct sums s = sum_of(&list, &worker, layout->dtype);
    double *attention = attention_of(d, &worker);
    bool failed = list.failed || !attention;
    sdt_operations_clear(&list);
    if (failed) {
        free(attention);
        return sdt_fail(err, SDT_ERROR_MEMORY, "out of memory while planning");
    }
    struct sdt_step_load load = {
        .strategy = d->strategy,
        .layout = layout,
        .layers = dit->layers,
        .forwards = step.layered,
        .streams = sdt_streams(d->placement->streams, step.layered),
        .blocks = d->blocks,
        .stale = step.stale,
        .slower = slow,
        .tile = s.seconds[SDT_EACH_LAYER] + s.tasks[SDT_EACH_LAYER] * task,
        .projection = projection_of(d, &worker, task),
        .ends = s.seconds[SDT_EACH_TILE] + s.tasks[SDT_EACH_TILE] * task +
                (sdt_operation_seconds(&worker, SDT_F32, &solver) + task) / step.branches,
        .condition = s.seconds[SDT_EACH_FORWARD] + s.tasks[SDT_EACH_FORWARD] * task,
        .attention = attention,
        .task = task,
        .link = rates->link_bytes_per_second,
        .latency = rates->link_seconds,
        .transfer = rates->overheads.transfer};
    struct sdt_cost cost = d->parts.count > 1 && step.branches > 1
                               ? cost_apart(d, load, step)
                               : cost_of(d, load, requests > 1 && d->groups ? t->decode : 0.0);
    int kept = sdt_step_moves(&step);
    if (kept) {
        struct sdt_operation sum = {
            .kind = SDT_OPERATION_ELEMENTS, .rows = layout->rows, .n = 3 * dit->width};
        double each = sdt_operation_seconds(&worker, layout->dtype, &sum) + task;
        add_ends(&load, step.branches - step.layered, kept * each, &cost);
    }
    int differences = sdt_step_differences(&step);
    if (differences) {
        struct sdt_operation sum = {.kind = SDT_OPERATION_ELEMENTS,
                                    .rows = layout->rows,
                                    .n = 3 * (int)sdt_patch_values(dit)};
        double each = sdt_operation_seconds(&worker, SDT_F32, &sum) + task;
        add_ends(&load, 0, differences * each, &cost);
    }
    free(attention);
    double tiles = layout->tiles, blocks = d->blocks.count ? d->blocks.count : 1.0;
    t->step_tasks =
        cost.tasks +
        blocks * ((1 + kept + differences) * tiles +
                  step.layered * tiles * dit->layers * s.tasks[SDT_EACH_LAYER] +
                  step.branches * (tiles * s.tasks[SDT_EACH_TILE] + s.tasks[SDT_EACH_FORWARD]));
    t->step_alone = cost.worker_seconds;
    t->kernels = cost.worker_seconds - t->step_tasks * task;
    /* Copies between the memories of stand-ins are made by their cores. */
    bool gpu = d->kinds.dit == SDT_DEVICE_CUDA;
    t->step_core = (gpu ? 0.0 : cost.worker_seconds) + t->step_tasks * rates->overheads.insert;
    double computing = bounded(rates, cost.computing, t->step_core, t->step_tasks);
    t->step_core += cost.pieces * rates->overheads.transfer +
                    (gpu ? 0.0 : cost.bytes / rates->link_bytes_per_second);
    t->step = bounded(rates, cost.seconds, t->step_core, t->step_tasks);
    t->exposed = fmax(0.0, t->step - computing);
    return SDT_OK;
}

/* Weights that do not fit come again with every forward through the layers. */
static void add_offloading(const struct sdt_draft *d, struct sdt_step step, struct sdt_times *t) {
    const struct sdt_machine_rates *rates = d->rates;
    struct sdt_device_need need[SDT_MAX_DEVICES];
    double most = 0.0;
    sdt_draft_needs(d, need);
    for (int i = 0; i < d->devices; i++)
        if (rates->room[i] > 0.0 && need[i].denoise.all > 0.0)
            most = fmax(most, fmin(sdt_device_peak(d, &need[i]) - rates->room[i],
                                   need[i].denoise.all - need[i].denoise.least));
    double blocks = d->blocks.count ? d->blocks.count : 1.0;
    double times = (d->streams > 1 || d->parts.count > 1) && step.layered > 1 ? 1.0 : step.layered;
    double seconds = blocks * times * most / SDT_HOST_LINK_BYTES_PER_SECOND;
    if (most > 0.0 && seconds > t->step) {
        t->exposed += seconds - t->step;
        t->step = seconds;
    }
}

/* Steps of a kind take the same. */
enum sdt_status sdt_draft_steps(const struct sdt_draft *d, int requests, double *seconds,
                                struct sdt_times *t, struct sdt_error *err) {
    enum { KINDS = 2 * 2 * 9 * 5 };
    struct sdt_times of[KINDS];
    bool known[KINDS] = {false};
    struct sdt_step whole = sdt_whole_step(d->forwards);
    for (int s = 0; s < d->table.steps; s++)
        whole.stale |= d->table.step[s].stale; /* most are */
    enum sdt_status status = step_times(d, requests, whole, t, err);
    add_offloading(d, whole, t);
    t->steps = t->steps_core = 0.0;
    for (int s = 0; s < d->table.steps && status == SDT_OK; s++) {
        struct sdt_step step = d->table.step[s];
        int kind = 9 * sdt_step_moves(&step) + 3 * step.branches + step.layered;
        kind = 4 * kind + 2 * step.stale + (sdt_step_differences(&step) > 0);
        if (!known[kind]) {
            of[kind] = *t;
            status = step_times(d, requests, step, &of[kind], err);
            if (status != SDT_OK)
                break;
            add_offloading(d, step, &of[kind]);
            known[kind] = true;
        }
        t->steps += of[kind].step;
        t->steps_core += of[kind].step_core;
        if (seconds)
            seconds[s] = of[kind].step;
    }
    return status;
}

/* ---- decoding ----------------------------------------------------------------------------------
 */

static enum sdt_status decode_times(const struct sdt_draft *d, struct sdt_times *t,
                                    struct sdt_error *err) {
    const struct sdt_machine_rates *rates = d->rates;
    const struct sdt_vae *vae = d->pipeline->vae;
    struct sdt_worker_rates worker = worker_of(d, true);
    double task = task_seconds(rates, d->kinds.vae), stage[SDT_MAX_DEVICES] = {0.0}, most = 0.0;
    int devices = sdt_draft_decoders(d);
    struct sdt_operations list = {0};

    if (vae->kind->operations) {
        vae->kind->operations(vae, &d->job, devices, &list);
    } else {
        struct sdt_operation product = {
            .kind = SDT_OPERATION_LINEAR, .rows = 256, .n = 256, .k = 256};
        product.tasks = vae->kind->flops(vae, &d->job) / sdt_operation_flops(&product) / devices;
        for (product.device = 0; product.device < devices; product.device++)
            sdt_operations_add(&list, product);
    }
    for (int i = 0; i < list.count; i++) {
        const struct sdt_operation *o = &list.item[i];
        stage[o->device] +=
            o->tasks * (sdt_operation_seconds(&worker, d->kinds.vae_dtype, o) + task);
        t->decode_tasks += o->tasks;
    }
    bool failed = list.failed;
    sdt_operations_clear(&list);
    if (failed)
        return sdt_fail(err, SDT_ERROR_MEMORY, "out of memory while planning");
    /* A device's workers share its frames, in bands, and wait for one another where layers end. */
    double chain = 0.0;
    for (int i = 0; i < devices; i++) {
        double seconds = stage[i] * slower(d, &worker, &d->decoder[i]) / d->decoder[i].workers;
        if (d->decoder[i].workers > 1 && rates->together > 0.0)
            seconds /= rates->together;
        t->decode_alone += stage[i];
        chain += seconds;
        most = fmax(most, seconds);
    }
    /* Frames follow one another through the stages: the others wait for the first, and the last for
     * them. Tiles do not. */
    t->decode = most;
    if (!sdt__decodes_tiles(d->pipeline, d->request))
        t->decode += (chain - most) / d->job.frames;
    t->decode_core = (d->kinds.vae == SDT_DEVICE_CUDA ? 0.0 : t->decode_alone) +
                     t->decode_tasks * rates->overheads.insert;
    t->decode = bounded(rates, t->decode, t->decode_core, t->decode_tasks);
    return SDT_OK;
}

/* ---- a run -------------------------------------------------------------------------------------
 */

static double load_seconds(const struct sdt_draft *d) {
    double bytes = (double)sdt_dtype_size(d->kinds.dit_dtype) *
                       (double)sdt_weights_parameters(d->pipeline->dit->weights) +
                   (double)sdt_dtype_size(d->kinds.vae_dtype) *
                       (double)sdt_weights_parameters(d->pipeline->vae->weights);
    return d->devices > 1 ? bytes / d->rates->link_bytes_per_second : 0.0;
}

enum sdt_status sdt_draft_times(const struct sdt_draft *d, int requests, struct sdt_times *t,
                                struct sdt_error *err) {
    *t = (struct sdt_times){0};
    enum sdt_status status = decode_times(d, t, err);
    if (status == SDT_OK)
        status = sdt_draft_steps(d, requests, NULL, t, err);
    if (status != SDT_OK)
        return status;
    for (int i = 0; i < 2; i++)
        encoder_times(d, i, t);
    double denoise = t->text + t->steps;
    if (!d->groups) {
        /* One group: each phase's weights are loaded again for every request. */
        t->load = load_seconds(d);
        t->total = requests * (denoise + t->decode + t->load);
        return SDT_OK;
    }
    double each = fmax(denoise, t->decode / (d->shared ? 1 : d->vae));
    t->total = (requests - 1) * each + denoise + t->decode;
    double cores = t->text_core + t->steps_core + t->decode_core;
    t->total = bounded(d->rates, t->total, requests * cores, 0.0);
    return SDT_OK;
}

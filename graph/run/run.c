/* Streams, branches and the loop over layers. */
#include "graph/run/run.h"

#include <stdlib.h>
#include <string.h>

/* ---- buffers --------------------------------------------------------------------------------- */

static sdt_handle *room_for(struct sdt_flow *flow, int count) {
    sdt_handle *handle = calloc((size_t)count + 1, sizeof *handle);
    if (!handle && flow->error.status == SDT_OK)
        sdt_fail(&flow->error, SDT_ERROR_MEMORY, "out of memory for %d handles", count);
    return handle;
}

static sdt_handle *new_handles(struct sdt_flow *flow, enum sdt_dtype dtype, int count, size_t size,
                               const char *name) {
    sdt_handle *handle = room_for(flow, count);
    for (int i = 0; handle && i < count; i++)
        handle[i] = sdt__tensor(flow, dtype, size, name);
    return handle;
}

/* Of the first `count` tiles, so many elements a row. */
static sdt_handle *new_tiles(struct sdt_flow *flow, const struct sdt_layout *layout,
                             enum sdt_dtype dtype, int count, size_t row, const char *name) {
    sdt_handle *handle = room_for(flow, count);
    for (int t = 0; handle && t < count; t++)
        handle[t] = sdt__tensor(flow, dtype, (size_t)sdt_tile_size(layout, t) * row, name);
    return handle;
}

static void free_handles(sdt_handle *handle, int count) {
    for (int i = 0; handle && i < count; i++)
        sdt__unregister_submit(handle[i]);
    free(handle);
}

void sdt_prompt_clear(struct sdt_prompt *prompt) {
    free_handles(prompt->handle, prompt->count);
    *prompt = (struct sdt_prompt){0};
}

/* Tiles that a device may have to work on: its own, or any where the strategy places layers. */
static int tiles_of(const struct sdt_layout *layout, const struct sdt_strategy *strategy,
                    int device) {
    return strategy->device ? layout->tiles
                            : layout->first_tile[device + 1] - layout->first_tile[device];
}

int sdt__run_turns(const struct sdt_layout *layout, const struct sdt_strategy *strategy,
                   int device) {
    int tiles = tiles_of(layout, strategy, device);
    int wanted = 4 * layout->place[device].workers + 4;
    return tiles < wanted ? tiles : wanted;
}

static struct sdt_turns *new_turns(struct sdt_flow *flow, const struct sdt_run *run, size_t size,
                                   const char *name) {
    const struct sdt_layout *layout = &run->layout;
    struct sdt_turns *turns = calloc((size_t)layout->devices, sizeof *turns);
    if (!turns && flow->error.status == SDT_OK)
        sdt_fail(&flow->error, SDT_ERROR_MEMORY, "out of memory for work buffers");
    for (int d = 0; turns && d < layout->devices; d++) {
        turns[d].count = sdt__run_turns(layout, run->parallel.strategy, d);
        if (turns[d].count)
            turns[d].handle = new_handles(flow, layout->dtype, turns[d].count, size, name);
    }
    return turns;
}

static void free_turns(struct sdt_turns *turns, int devices) {
    for (int d = 0; turns && d < devices; d++)
        free_handles(turns[d].handle, turns[d].count);
    free(turns);
}

static sdt_handle next_of(struct sdt_turns *turns) {
    if (!turns->handle)
        return NULL;
    sdt_handle handle = turns->handle[turns->next];
    turns->next = (turns->next + 1) % turns->count;
    return handle;
}

static void stream_init(struct sdt_flow *flow, struct sdt_run *run, struct sdt_stream *stream) {
    static const char *const names[] = {"vector 0", "vector 1", "vector 2", "vector 3",
                                        "vector 4", "vector 5", "vector 6", "vector 7"};
    const struct sdt_dit *dit = run->dit;
    const struct sdt_layout *layout = &run->layout;
    size_t rows = (size_t)layout->rows, d = (size_t)dit->width;

    stream->x = new_tiles(flow, layout, layout->dtype, layout->tiles, d, "x");
    stream->z = new_tiles(flow, layout, layout->dtype, layout->tiles, d, "z");
    stream->raw = new_turns(flow, run, rows * d, "raw");
    stream->hidden = new_turns(flow, run, rows * (size_t)dit->hidden, "hidden");
    sdt_attention_buffers_init(flow, &stream->attention, run->parallel.strategy, layout,
                               run->collective);
    for (int v = 0; v < SDT_STREAM_VECTORS; v++)
        if (dit->vector[v]) {
            stream->vector[v] = sdt__vector(flow, dit->vector[v], names[v]);
            if (run->parallel.strategy->stale)
                stream->other[v] = sdt__vector(flow, dit->vector[v], names[v]);
        }
}

static void stream_clear(struct sdt_run *run, struct sdt_stream *stream) {
    const struct sdt_layout *layout = &run->layout;

    free_handles(stream->x, layout->tiles);
    free_handles(stream->z, layout->tiles);
    free_turns(stream->raw, layout->devices);
    free_turns(stream->hidden, layout->devices);
    sdt_attention_buffers_clear(&stream->attention);
    for (int v = 0; v < SDT_STREAM_VECTORS; v++) {
        sdt__unregister_submit(stream->vector[v]);
        sdt__unregister_submit(stream->other[v]);
    }
}

/* ---- a run ----------------------------------------------------------------------------------- */

/* About how many tasks one layer of one forward has: per tile; per chunk; per piece. */
static int layer_tasks(const struct sdt_layout *layout) {
    return 16 * layout->tiles + 3 * layout->chunks + 2 * layout->tiles * layout->chunks;
}

/* A step's tasks, or those of the blocks on their way, as far as there is room for them. */
static int overlapping_tasks(const struct sdt_run *run) {
    enum { MOST = 50000 };
    int forwards = run->parallel.strategy->blocks ? 2 * run->streams : run->branches;
    double tasks = 1.25 * forwards * run->dit->layers * layer_tasks(&run->layout);
    return tasks < MOST ? (int)tasks : MOST;
}

static void bind(struct sdt_flow *flow, struct sdt_run *run) {
    struct sdt_tensor_visit visit = {.layer = -1,
                                     .flow = flow,
                                     .parameters = run->parameters,
                                     .kind = run->layout.place[0].kind,
                                     .dtype = run->layout.dtype,
                                     .layers = run->layer};
    run->dit->kind->tensors(run->dit, &visit, run->bound);
}

/* What only the host reads, for a prompt: it is given back when that has been made. */
static void bind_host(struct sdt_flow *flow, struct sdt_run *run) {
    struct sdt_tensor_visit visit = {
        .layer = -1, .flow = flow, .parameters = run->parameters, .hosts = true};
    run->dit->kind->tensors(run->dit, &visit, run->bound);
}

static bool check_geometry(struct sdt_flow *flow, const struct sdt_dit *dit,
                           struct sdt_geometry g) {
    int size[3] = {g.frames, g.height, g.width};
    for (int a = 0; a < 3; a++)
        if (size[a] < 1 || size[a] % dit->patch[a]) {
            sdt_fail(
                &flow->error, SDT_ERROR_USAGE,
                "a latent of %dx%dx%d (frames, height, width) is not a whole number of patches "
                "of %dx%dx%d",
                size[0], size[1], size[2], dit->patch[0], dit->patch[1], dit->patch[2]);
            return false;
        }
    return true;
}

static void rope_init(struct sdt_flow *flow, struct sdt_run *run) {
    const struct sdt_dit *dit = run->dit;
    int size[3] = {run->geometry.frames, run->geometry.height, run->geometry.width};
    for (int a = 0; a < 3; a++) {
        /* Keys of the next block stand behind the block's own. */
        run->rope.size[a] = (size[a] + (a == 0 ? run->parallel.blocks.overlap : 0)) / dit->patch[a];
        run->rope.pairs[a] = dit->rope_pairs[a];
    }
    run->rope.halves = dit->rope_halves;
    size_t count = sdt_rope_table_size(&run->rope);
    if (!count)
        return;
    run->rope_values = malloc(count * sizeof(float));
    if (!run->rope_values) {
        sdt_fail(&flow->error, SDT_ERROR_MEMORY, "out of memory for a run of the transformer");
        return;
    }
    sdt_rope_table(&run->rope, dit->rope_theta, run->rope_values);
    run->rope_table = sdt__register(flow, flow->each, SDT_F32, count, run->rope_values, "rope");
}

int sdt__run_flights(const struct sdt_layout *layout) {
    return layout->devices > 1 ? layout->devices + 1 : 1;
}

/* What blocks need beside the streams. */
static void blocks_init(struct sdt_flow *flow, struct sdt_run *run) {
    const struct sdt_layout *layout = &run->layout;
    const int devices = layout->devices, tiles = layout->video_tiles;
    size_t patch = sdt_patch_values(run->dit);
    run->flight = calloc((size_t)run->streams * (size_t)devices, sizeof *run->flight);
    run->context = room_for(flow, tiles);
    run->input = room_for(flow, tiles);
    if (!run->flight && flow->error.status == SDT_OK)
        sdt_fail(&flow->error, SDT_ERROR_MEMORY, "out of memory for a run of the transformer");
    for (int i = 0; run->flight && i < run->streams * devices; i++) {
        const struct sdt_stream *own = &run->stream[i / devices];
        run->flight[i] = run->stream[i % devices];
        run->flight[i].x = own->x;
        memcpy(run->flight[i].vector, own->vector, sizeof own->vector);
    }
    for (int t = 0; run->context && t < tiles; t++)
        if (sdt_tile_first(layout, t) < layout->overlap)
            run->context[t] =
                sdt__vector(flow, (size_t)sdt_tile_size(layout, t) * patch, "context");
    for (int b = run->first_branch; layout->overlap && b < run->branches; b++) {
        int count = sdt_run_stale_count(run);
        run->branch[b].shared = room_for(flow, count);
        for (int i = 0; run->branch[b].shared && i < count; i++) {
            int chunk = i % layout->chunks;
            size_t rows =
                (size_t)(layout->head[chunk + 1] - layout->head[chunk]) * (size_t)layout->overlap;
            run->branch[b].shared[i] =
                sdt__tensor(flow, layout->dtype, rows * (size_t)layout->e, "shared keys");
        }
    }
}

static void blocks_clear(struct sdt_run *run) {
    free(run->flight);
    free_handles(run->context, run->layout.video_tiles);
    free(run->input);
    for (int b = run->first_branch; b < run->branches; b++)
        free_handles(run->branch[b].shared, sdt_run_stale_count(run));
}

/* What all devices read of a prompt is made once at each rank, not sent. */
static void set_prompt_places(const struct sdt_flow *flow, struct sdt_run *run) {
    const struct sdt_layout *layout = &run->layout;
    uint64_t ranks = 0;
    int own = 0;
    for (int d = layout->devices - 1; d >= 0; d--) {
        ranks |= layout->place[d].ranks;
        own = layout->place[d].here ? d : own;
    }
    run->prompt = layout->place[own];
    run->prompt_host = *flow->each;
    if (flow->crossing) {
        run->prompt.ranks = run->prompt_host.ranks = ranks;
        run->prompt_host.here = ranks & flow->crossing->here;
    }
}

/* One part of the devices, with its branches. text: as in sdt_run_new. */
static struct sdt_run *new_part(struct sdt_flow *flow, struct sdt_dit *dit,
                                struct sdt_machine *machine, struct sdt_parameters *parameters,
                                struct sdt_run_parts *parts, int number,
                                struct sdt_geometry geometry) {
    struct sdt_run_part *part = &parts->part[number];
    const struct sdt_parallel *parallel = &part->parallel;
    const int branches = number + part->branches;
    struct sdt_run *run = calloc(1, sizeof *run);

    if (!run) {
        sdt_fail(&flow->error, SDT_ERROR_MEMORY, "out of memory for a run of the transformer");
        return NULL;
    }
    *run = (struct sdt_run){.dit = dit,
                            .machine = machine,
                            .parallel = *parallel,
                            .geometry = geometry,
                            .layout = part->layout,
                            .first_branch = number,
                            .branches = branches,
                            .streams = parallel->strategy->blocks
                                           ? sdt__run_flights(&part->layout)
                                           : sdt_streams(parallel->streams, part->branches),
                            .helpers_free = true};
    part->layout = (struct sdt_layout){0}; /* it is the run's now */
    set_prompt_places(flow, run);
    if (parallel->transport == SDT_TRANSPORT_NCCL &&
        sdt__collective_open(flow, run->layout.place, run->layout.devices,
                             machine->watch.stall_seconds, &run->collective,
                             &flow->error) != SDT_OK)
        goto failed;
    run->parameters = parameters ? parameters : sdt_parameters_new(dit->weights, machine);
    run->own_parameters = !parameters;
    run->bound = calloc(1, dit->kind->bound_size(dit));
    run->layer = calloc((size_t)dit->layers, sizeof *run->layer);
    run->stream = calloc((size_t)run->streams, sizeof *run->stream);
    if (!run->parameters || !run->bound || !run->layer || !run->stream) {
        sdt_fail(&flow->error, SDT_ERROR_MEMORY, "out of memory for a run of the transformer");
        goto failed;
    }
    /* Streams overlap only if the next layer's tasks of each can be inserted while one computes. */
    int together = parts->count > 1 ? parts->count : run->streams;
    if (together > 1)
        sdt__lane_allow(flow->lane, 2 * together * layer_tasks(&run->layout));
    /* Steps only if the next one's can. */
    if (parallel->strategy->stale || parallel->strategy->blocks)
        sdt__lane_allow(flow->lane, overlapping_tasks(run));
    rope_init(flow, run);
    bind(flow, run);
    for (int s = 0; s < run->streams; s++)
        stream_init(flow, run, &run->stream[s]);
    for (int b = run->first_branch; b < branches; b++) {
        run->branch[b].stream = &run->stream[b % run->streams];
        run->branch[b].velocity = new_tiles(flow, &run->layout, SDT_F32, run->layout.video_tiles,
                                            sdt_patch_values(dit), "velocity");
    }
    if (parallel->strategy->blocks && flow->error.status == SDT_OK)
        blocks_init(flow, run);
    if (flow->error.status == SDT_OK)
        return run;
failed:
    sdt_run_free(run);
    return NULL;
}

struct sdt_run *sdt_run_new(struct sdt_flow *flow, struct sdt_dit *dit, struct sdt_machine *machine,
                            struct sdt_parameters *parameters, const struct sdt_parallel *parallel,
                            struct sdt_geometry geometry, int branches, int text) {
    struct sdt_run_parts parts = {0};
    struct sdt_run *run = NULL;

    if (check_geometry(flow, dit, geometry) &&
        sdt_run_parts(dit, parallel, geometry, branches, text, &parts, &flow->error) == SDT_OK)
        run = new_part(flow, dit, machine, parameters, &parts, 0, geometry);
    if (run && parts.count > 1) {
        run->apart = new_part(flow, dit, machine, run->parameters, &parts, 1, geometry);
        if (!run->apart) {
            sdt_run_free(run);
            run = NULL;
        }
    }
    sdt_run_parts_clear(&parts);
    return run;
}

void sdt_run_free(struct sdt_run *run) {
    if (!run)
        return;
    sdt_run_free(run->apart);
    blocks_clear(run);
    for (int s = 0; run->stream && s < run->streams; s++)
        stream_clear(run, &run->stream[s]);
    free(run->stream);
    for (int b = run->first_branch; b < run->branches; b++)
        free_handles(run->branch[b].velocity, run->layout.video_tiles);
    sdt__unregister(run->rope_table);
    if (run->own_parameters)
        sdt_parameters_free(run->parameters);
    if (run->collective)
        run->machine->collective_bytes += sdt__collective_bytes(run->collective);
    sdt__collective_close(run->collective);
    for (int l = 0; run->layer && l < run->dit->layers; l++)
        free(run->layer[l].handle);
    sdt_layout_clear(&run->layout);
    free(run->rope_values);
    free(run->layer);
    free(run->bound);
    free(run);
}

void sdt_run_prompt(struct sdt_flow *flow, struct sdt_run *run, int branch,
                    const struct sdt_text_states *text, struct sdt_prompt *prompt) {
    int count = run->dit->prompt_handles;
    const struct sdt_schedule schedule = run->schedule;

    run = sdt_run_of(run, branch);
    run->schedule = schedule;
    *prompt =
        (struct sdt_prompt){.count = count, .handle = calloc((size_t)count, sizeof(sdt_handle))};
    if (!prompt->handle) {
        if (flow->error.status == SDT_OK)
            sdt_fail(&flow->error, SDT_ERROR_MEMORY, "out of memory for a prompt");
        return;
    }
    flow->place = run->parallel.strategy->device ? &run->layout.place[0] : &run->prompt;
    flow->tag.role = SDT_ROLE_TEXT;
    flow->tag.branch = branch;
    bind_host(flow, run);
    run->dit->kind->prompt(flow, run, branch, text, prompt);
    flow->tag.layer = -1;
}

void sdt_run_prompts_done(struct sdt_flow *flow, struct sdt_run *run) {
    if (sdt_parameters_has_host(run->parameters) && flow->error.status == SDT_OK &&
        sdt__flow_reach(flow, sdt__flow_mark(flow)))
        sdt_parameters_drop_host(run->parameters);
}

sdt_handle *sdt_run_stale(struct sdt_flow *flow, const struct sdt_run *run) {
    const struct sdt_layout *layout = &run->layout;
    int count = sdt_run_stale_count(run);
    sdt_handle *stale = room_for(flow, count);
    for (int i = 0; stale && i < count; i++) {
        int chunk = i % layout->chunks, which = i / layout->chunks % 2;
        stale[i] = sdt__tensor(flow, layout->dtype, sdt_gathered_size(layout, chunk, layout->tiles),
                               which ? "stale values" : "stale keys");
    }
    return stale;
}

/* ---- where a task goes ----------------------------------------------------------------------- */

static int device_of(const struct sdt_run *run, struct sdt_at at) {
    return sdt__run_device(run->dit, run->parallel.strategy, &run->layout, at.layer, at.tile);
}

void sdt_run_at(struct sdt_flow *flow, const struct sdt_run *run, struct sdt_at at,
                enum sdt_role role) {
    flow->place = &run->layout.place[device_of(run, at)];
    flow->tag.role = role;
    flow->tag.tile = at.tile;
}

sdt_handle sdt_run_raw(struct sdt_run *run, struct sdt_at at) {
    return next_of(&at.stream->raw[device_of(run, at)]);
}

sdt_handle sdt_run_hidden(struct sdt_run *run, struct sdt_at at) {
    return next_of(&at.stream->hidden[device_of(run, at)]);
}

void sdt_run_at_prompt(struct sdt_flow *flow, const struct sdt_run *run, int layer) {
    const struct sdt_strategy *strategy = run->parallel.strategy;
    flow->place = &run->prompt;
    if (strategy->device)
        flow->place =
            &run->layout.place[strategy->device(&run->layout, run->dit->layers, layer, 0)];
    flow->tag.layer = layer;
}

void sdt_run_at_host(struct sdt_flow *flow, const struct sdt_run *run) {
    flow->place = &run->prompt_host;
}

/* ---- a step ---------------------------------------------------------------------------------- */

static struct sdt_at at_tile(const struct sdt_run *run, int branch, int layer, int tile) {
    return (struct sdt_at){
        .branch = branch, .layer = layer, .tile = tile, .stream = run->branch[branch].stream};
}

/* Weights come and go: while a device computes this layer, the next one's are on their way. */
static void fetch_next(struct sdt_flow *flow, const struct sdt_run *run, int branch, int layer) {
    const struct sdt_layout *layout = &run->layout;
    int after = (layer + 1) % run->dit->layers;
    const struct sdt_tensor_handles *next = &run->layer[after];
    for (int d = 0; d < layout->devices; d++) {
        int t = 0;
        while (t < layout->tiles && device_of(run, at_tile(run, branch, after, t)) != d)
            t++;
        if (t == layout->tiles)
            continue;
        struct sdt_at at = at_tile(run, branch, after, t);
        sdt_run_at(flow, run, at, SDT_ROLE_IO);
        sdt_insert_prefetch(flow, "fetch_weights", at.stream->z[t], next->count, next->handle);
    }
}

void sdt_run_load(struct sdt_flow *flow, struct sdt_run *run) {
    if (run->apart)
        sdt_run_load(flow, run->apart);
    for (int d = 0; d < run->layout.devices; d++) {
        flow->place = &run->layout.place[d];
        flow->tag.role = SDT_ROLE_DENOISE;
        for (int l = 0; l < run->dit->layers; l++)
            sdt_insert_receive(flow, "weights", run->layer[l].count, run->layer[l].handle, 1);
    }
    sdt__lane_drain(flow->lane, &flow->error);
}

/* Tokens that a branch's attention sees: all of the video, and its own text. */
static int64_t keys_of(const struct sdt_run *run, int branch) {
    const struct sdt_layout *layout = &run->layout;
    return run->dit->text_joins ? layout->video + run->branch[branch].prompt->rows : layout->tokens;
}

/* Where steps overlap, layers still read what the step before was conditioned on. */
static void turn_vectors(struct sdt_stream *stream) {
    for (int v = 0; v < SDT_STREAM_VECTORS; v++) {
        sdt_handle vector = stream->vector[v];
        stream->vector[v] = stream->other[v];
        stream->other[v] = vector;
    }
}

void sdt_run_condition(struct sdt_flow *flow, struct sdt_run *run, int branch, float t) {
    run = sdt_run_of(run, branch);
    const struct sdt_dit_kind *kind = run->dit->kind;
    const struct sdt_layout *layout = &run->layout;

    if (keys_of(run, branch) > layout->tokens && flow->error.status == SDT_OK)
        sdt_fail(&flow->error, SDT_ERROR_USAGE,
                 "a prompt of %d tokens; the run has room for %lld beside the video's",
                 run->branch[branch].prompt->rows, (long long)(layout->tokens - layout->video));
    flow->tag.branch = branch;
    flow->place = &layout->place[0];
    flow->tag.role = SDT_ROLE_DENOISE;
    if (run->parallel.strategy->stale)
        turn_vectors(run->branch[branch].stream);
    if (kind->condition)
        kind->condition(flow, run, run->branch[branch].stream, t, run->guidance);
}

void sdt_run_embed(struct sdt_flow *flow, struct sdt_run *run, int branch, struct sdt_span span,
                   const sdt_handle *latent) {
    run = sdt_run_of(run, branch);
    const struct sdt_dit_kind *kind = run->dit->kind;
    const struct sdt_layout *layout = &run->layout;
    const struct sdt_branch *b = &run->branch[branch];

    flow->tag.branch = branch;
    span.text &= !b->skips;
    for (int i = span.first; i < layout->tiles; i = sdt_span_next(layout, span, i)) {
        struct sdt_at at = at_tile(run, branch, -1, i);
        size_t size = (size_t)sdt_rows(run, at) * (size_t)run->dit->width;
        sdt_run_at(flow, run, at, SDT_ROLE_DENOISE);
        kind->embed(flow, run, at, i < layout->video_tiles ? latent[i] : NULL);
        if (b->skips)
            sdt_insert_sum(flow, "add_kept", size, 1.0f, b->kept[i], b->stream->x[i]);
        else if (b->keeps && i < layout->video_tiles)
            sdt_insert_convert(flow, "keep_input", size, b->stream->x[i], b->kept[i]);
    }
}

/* What the strategy's self attention needs to know of the layer that it works on. */
struct layer {
    struct sdt_run *run;
    int branch, layer;
};

static void project(struct sdt_flow *flow, void *model, enum sdt_projection which, int tile,
                    const sdt_handle *piece) {
    const struct layer *l = model;
    struct sdt_at at = at_tile(l->run, l->branch, l->layer, tile);
    const struct sdt_layout *layout = &l->run->layout;
    sdt_handle *later = at.stream->attention.later;
    if (which == SDT_PROJECT_K && l->run->is_seen && later[tile * layout->chunks]) {
        at.later = later + tile * layout->chunks;
        at.ahead = layout->video - layout->overlap;
    }
    sdt_run_at(flow, l->run, at, SDT_ROLE_PROJECT);
    l->run->dit->kind->project(flow, l->run, at, which, piece);
}

static void join(struct sdt_flow *flow, void *model, int tile) {
    const struct layer *l = model;
    struct sdt_at at = at_tile(l->run, l->branch, l->layer, tile);
    sdt_run_at(flow, l->run, at, SDT_ROLE_PROJECT);
    l->run->dit->kind->join(flow, l->run, at);
}

void sdt_run_layer(struct sdt_flow *flow, struct sdt_run *run, int branch, struct sdt_span span,
                   int layer) {
    run = sdt_run_of(run, branch);
    const struct sdt_dit_kind *kind = run->dit->kind;
    const struct sdt_layout *layout = &run->layout;
    const struct sdt_parallel *parallel = &run->parallel;
    struct sdt_stream *stream = run->branch[branch].stream;
    const sdt_handle *stale = run->branch[branch].stale, *shared = run->branch[branch].shared;
    const int here = 2 * layer * layout->chunks;
    struct layer model = {run, branch, layer};
    struct sdt_self_attention attention = {.layout = layout,
                                           .buffers = &stream->attention,
                                           .aco = layout->helpers ? parallel->aco : SDT_ACO_OFF,
                                           .anywhere = parallel->anywhere,
                                           .keys = keys_of(run, branch) +
                                                   (run->sees_next ? layout->overlap : 0),
                                           .groups = sdt_dit_groups(run->dit, layer),
                                           .z = stream->z,
                                           .layers = run->dit->layers,
                                           .layer = layer,
                                           .span = span,
                                           .stale = stale ? stale + here : NULL,
                                           .shared = shared ? shared + here : NULL,
                                           .sees_next = run->sees_next,
                                           .is_seen = run->is_seen,
                                           .model = &model,
                                           .project = project,
                                           .join = join};

    flow->tag.branch = branch;
    flow->tag.layer = layer;
    for (int i = span.first; i < layout->tiles; i = sdt_span_next(layout, span, i)) {
        struct sdt_at at = at_tile(run, branch, layer, i);
        sdt_run_at(flow, run, at, SDT_ROLE_DENOISE);
        kind->begin(flow, run, at);
    }
    if (run->offloads && span.first == 0)
        fetch_next(flow, run, branch, layer);
    if (attention.aco == SDT_ACO_STATIC && !run->helpers_free)
        attention.aco = SDT_ACO_OFF;
    parallel->strategy->self_attention(flow, &attention);
    for (int i = span.first; i < layout->tiles; i = sdt_span_next(layout, span, i)) {
        struct sdt_at at = at_tile(run, branch, layer, i);
        sdt_run_at(flow, run, at, SDT_ROLE_DENOISE);
        kind->finish(flow, run, at);
    }
    flow->tag.layer = -1;
}

void sdt_run_end(struct sdt_flow *flow, struct sdt_run *run, int branch, struct sdt_span span) {
    run = sdt_run_of(run, branch);
    flow->tag.branch = branch;
    const struct sdt_branch *b = &run->branch[branch];
    for (int i = span.first; i < span.end; i++) {
        struct sdt_at at = at_tile(run, branch, run->dit->layers, i);
        sdt_run_at(flow, run, at, SDT_ROLE_DENOISE);
        if (b->keeps)
            sdt_insert_sum(flow, "keep", (size_t)sdt_rows(run, at) * (size_t)run->dit->width, -1.0f,
                           b->stream->x[i], b->kept[i]);
        run->dit->kind->head(flow, run, at, run->branch[branch].velocity[i]);
    }
    flow->tag.tile = -1;
}

const sdt_handle *sdt_run_input(struct sdt_flow *flow, struct sdt_run *run, const sdt_handle *own,
                                const sdt_handle *before) {
    const struct sdt_layout *layout = &run->layout;
    const size_t patch = sdt_patch_values(run->dit);
    const int64_t ahead = layout->video - layout->overlap; /* of a frame in the block before */
    for (int t = 0; t < layout->video_tiles && flow->error.status == SDT_OK; t++) {
        const int64_t first = sdt_tile_first(layout, t), end = first + sdt_tile_size(layout, t);
        int64_t next;
        bool fresh = true;
        run->input[t] = run->context[t] ? run->context[t] : own[t];
        flow->tag.branch = 0;
        sdt_run_at(flow, run, at_tile(run, run->first_branch, -1, t), SDT_ROLE_DENOISE);
        for (int64_t at = first; run->context[t] && at < end; at = next, fresh = false) {
            bool mine = at >= layout->overlap;
            int64_t there = mine ? at : at + ahead;
            int from = (int)(there / layout->rows);
            int64_t left = (int64_t)(from + 1) * layout->rows - there;
            next = mine || end < layout->overlap ? end : layout->overlap;
            next = next - at < left ? next : at + left;
            struct sdt_copy_part part = {.heads = 1,
                                         .count = (size_t)(next - at) * patch,
                                         .x_at =
                                             (size_t)(there - (int64_t)from * layout->rows) * patch,
                                         .y_at = (size_t)(at - first) * patch};
            sdt_insert_copy_part(flow, "context", &part, mine ? own[from] : before[from],
                                 run->context[t], fresh);
        }
    }
    flow->tag.tile = -1;
    return run->input;
}

void sdt_run_layers(struct sdt_flow *flow, struct sdt_run *run, struct sdt_branches branches,
                    float t, const sdt_handle *latent) {
    const int count = branches.count, *number = branches.number;
    int together = run->streams < count && !run->apart ? 1 : count;
    struct sdt_span all = sdt_whole_span(&run->layout);

    /* Layer by layer in turn: the lane is bounded, so a branch that is inserted as a whole first
     * would have ended before the other's tasks are there to fill its gaps. */
    for (int first = 0; first < count; first += together) {
        for (int i = first; i < first + together; i++) {
            sdt_run_condition(flow, run, number[i], t);
            sdt_run_embed(flow, run, number[i], all, latent);
        }
        for (int l = 0; l < (run->layers ? run->layers_count : run->dit->layers); l++)
            for (int i = first; i < first + together; i++)
                sdt_run_layer(flow, run, number[i], all, run->layers ? run->layers[l] : l);
        for (int i = first; i < first + together; i++)
            sdt_run_end(flow, run, number[i], all);
    }
}

void sdt_run_step(struct sdt_flow *flow, struct sdt_run *run, int branches, float t,
                  const sdt_handle *latent) {
    const struct sdt_strategy *strategy = run->parallel.strategy;
    struct sdt_branches through = {0};
    if (run->apart) {
        run->apart->step = run->step;
        run->apart->guidance = run->guidance;
        run->apart->offloads = run->offloads;
        run->apart->fresh = run->fresh;
        run->apart->layers = run->layers;
        run->apart->layers_count = run->layers_count;
    }
    for (int b = 0; b < branches; b++) {
        if (sdt_run_of(run, b)->branch[b].skips) {
            struct sdt_span all = sdt_whole_span(&run->layout);
            sdt_run_condition(flow, run, b, t);
            sdt_run_embed(flow, run, b, all, latent);
            sdt_run_end(flow, run, b, all);
        } else {
            through.number[through.count++] = b;
        }
    }
    if (through.count)
        (strategy->step ? strategy->step : sdt_run_layers)(flow, run, through, t, latent);
}

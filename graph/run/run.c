/* Streams, branches and the loop over layers. */
#include "graph/run/run.h"

#include <stdlib.h>

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

static int turns_of(const struct sdt_layout *layout, const struct sdt_strategy *strategy,
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
        turns[d].count = turns_of(layout, run->parallel.strategy, d);
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
        if (dit->vector[v])
            stream->vector[v] = sdt__vector(flow, dit->vector[v], names[v]);
}

static void stream_clear(struct sdt_run *run, struct sdt_stream *stream) {
    const struct sdt_layout *layout = &run->layout;

    free_handles(stream->x, layout->tiles);
    free_handles(stream->z, layout->tiles);
    free_turns(stream->raw, layout->devices);
    free_turns(stream->hidden, layout->devices);
    sdt_attention_buffers_clear(&stream->attention);
    for (int v = 0; v < SDT_STREAM_VECTORS; v++)
        sdt__unregister_submit(stream->vector[v]);
}

/* ---- a run ----------------------------------------------------------------------------------- */

/* About how many tasks one layer of one forward has: per tile; per chunk; per piece. */
static int layer_tasks(const struct sdt_layout *layout) {
    return 16 * layout->tiles + 3 * layout->chunks + 2 * layout->tiles * layout->chunks;
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
        run->rope.size[a] = size[a] / dit->patch[a];
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
    run->rope_table = sdt__host_vector(flow, run->rope_values, count, "rope");
}

struct sdt_run *sdt_run_new(struct sdt_flow *flow, struct sdt_dit *dit, struct sdt_machine *machine,
                            struct sdt_parameters *parameters, const struct sdt_parallel *parallel,
                            struct sdt_geometry geometry, int branches, int text) {
    struct sdt_run *run = calloc(1, sizeof *run);

    if (!run) {
        sdt_fail(&flow->error, SDT_ERROR_MEMORY, "out of memory for a run of the transformer");
        return NULL;
    }
    *run = (struct sdt_run){.dit = dit,
                            .machine = machine,
                            .parallel = *parallel,
                            .geometry = geometry,
                            .branches = branches,
                            .streams = sdt_streams(parallel->streams, branches),
                            .helpers_free = true};
    if (!check_geometry(flow, dit, geometry) ||
        sdt_run_layout(dit, parallel, geometry, branches, text, &run->layout, &flow->error) !=
            SDT_OK)
        goto failed;
    if (parallel->transport == SDT_TRANSPORT_NCCL &&
        sdt__collective_open(flow, run->layout.place, run->layout.devices,
                             machine->watch.stall_seconds, &run->collective,
                             &flow->error) != SDT_OK)
        goto failed;
    run->parameters = parameters ? parameters : sdt_parameters_new(dit->weights, machine);
    run->own_parameters = !parameters;
    run->bound = calloc(1, dit->kind->bound_size(dit));
    run->layer = calloc((size_t)dit->layers, sizeof *run->layer);
    if (!run->parameters || !run->bound || !run->layer) {
        sdt_fail(&flow->error, SDT_ERROR_MEMORY, "out of memory for a run of the transformer");
        goto failed;
    }
    /* Streams overlap only if the next layer's tasks of each can be inserted while one computes. */
    if (run->streams > 1)
        sdt__lane_allow(flow->lane, 2 * run->streams * layer_tasks(&run->layout));
    rope_init(flow, run);
    bind(flow, run);
    for (int s = 0; s < run->streams; s++)
        stream_init(flow, run, &run->stream[s]);
    for (int b = 0; b < branches; b++) {
        run->branch[b].stream = &run->stream[b % run->streams];
        run->branch[b].velocity = new_tiles(flow, &run->layout, SDT_F32, run->layout.video_tiles,
                                            sdt_patch_values(dit), "velocity");
    }
    if (flow->error.status == SDT_OK)
        return run;
failed:
    sdt_run_free(run);
    return NULL;
}

void sdt_run_free(struct sdt_run *run) {
    if (!run)
        return;
    for (int s = 0; s < run->streams; s++)
        stream_clear(run, &run->stream[s]);
    for (int b = 0; b < run->branches; b++)
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

    *prompt =
        (struct sdt_prompt){.count = count, .handle = calloc((size_t)count, sizeof(sdt_handle))};
    if (!prompt->handle) {
        if (flow->error.status == SDT_OK)
            sdt_fail(&flow->error, SDT_ERROR_MEMORY, "out of memory for a prompt");
        return;
    }
    flow->place = &run->layout.place[0];
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

/* ---- where a task goes ----------------------------------------------------------------------- */

static int device_of(const struct sdt_run *run, struct sdt_at at) {
    const struct sdt_strategy *strategy = run->parallel.strategy;
    return strategy->device ? strategy->device(&run->layout, run->dit->layers, at.layer, at.tile)
                            : run->layout.home[at.tile];
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
    int device = strategy->device ? strategy->device(&run->layout, run->dit->layers, layer, 0) : 0;
    flow->place = &run->layout.place[device];
    flow->tag.layer = layer;
}

void sdt_run_at_host(struct sdt_flow *flow) { flow->place = flow->host; }

/* ---- a step ---------------------------------------------------------------------------------- */

static struct sdt_at at_tile(const struct sdt_run *run, int branch, int layer, int tile) {
    return (struct sdt_at){branch, layer, tile, run->branch[branch].stream};
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

void sdt_run_begin(struct sdt_flow *flow, struct sdt_run *run, int branch, float t,
                   const sdt_handle *latent) {
    const struct sdt_dit_kind *kind = run->dit->kind;
    const struct sdt_layout *layout = &run->layout;

    if (keys_of(run, branch) > layout->tokens && flow->error.status == SDT_OK)
        sdt_fail(&flow->error, SDT_ERROR_USAGE,
                 "a prompt of %d tokens; the run has room for %lld beside the video's",
                 run->branch[branch].prompt->rows, (long long)(layout->tokens - layout->video));
    flow->tag.branch = branch;
    flow->place = &layout->place[0];
    flow->tag.role = SDT_ROLE_DENOISE;
    if (kind->condition)
        kind->condition(flow, run, run->branch[branch].stream, t, run->guidance);
    const struct sdt_branch *b = &run->branch[branch];
    for (int i = 0; i < (b->skips ? layout->video_tiles : layout->tiles); i++) {
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
    sdt_run_at(flow, l->run, at, SDT_ROLE_PROJECT);
    l->run->dit->kind->project(flow, l->run, at, which, piece);
}

static void join(struct sdt_flow *flow, void *model, int tile) {
    const struct layer *l = model;
    struct sdt_at at = at_tile(l->run, l->branch, l->layer, tile);
    sdt_run_at(flow, l->run, at, SDT_ROLE_PROJECT);
    l->run->dit->kind->join(flow, l->run, at);
}

void sdt_run_layer(struct sdt_flow *flow, struct sdt_run *run, int branch, int layer) {
    const struct sdt_dit_kind *kind = run->dit->kind;
    const struct sdt_layout *layout = &run->layout;
    const struct sdt_parallel *parallel = &run->parallel;
    struct sdt_stream *stream = run->branch[branch].stream;
    struct layer model = {run, branch, layer};
    struct sdt_self_attention attention = {.layout = layout,
                                           .buffers = &stream->attention,
                                           .aco = layout->helpers ? parallel->aco : SDT_ACO_OFF,
                                           .anywhere = parallel->anywhere,
                                           .keys = keys_of(run, branch),
                                           .groups = sdt_dit_groups(run->dit, layer),
                                           .z = stream->z,
                                           .layers = run->dit->layers,
                                           .layer = layer,
                                           .model = &model,
                                           .project = project,
                                           .join = join};

    flow->tag.branch = branch;
    flow->tag.layer = layer;
    for (int i = 0; i < layout->tiles; i++) {
        struct sdt_at at = at_tile(run, branch, layer, i);
        sdt_run_at(flow, run, at, SDT_ROLE_DENOISE);
        kind->begin(flow, run, at);
    }
    if (run->offloads)
        fetch_next(flow, run, branch, layer);
    if (attention.aco == SDT_ACO_STATIC && !run->helpers_free)
        attention.aco = SDT_ACO_OFF;
    parallel->strategy->self_attention(flow, &attention);
    for (int i = 0; i < layout->tiles; i++) {
        struct sdt_at at = at_tile(run, branch, layer, i);
        sdt_run_at(flow, run, at, SDT_ROLE_DENOISE);
        kind->finish(flow, run, at);
    }
    flow->tag.layer = -1;
}

void sdt_run_end(struct sdt_flow *flow, struct sdt_run *run, int branch) {
    flow->tag.branch = branch;
    const struct sdt_branch *b = &run->branch[branch];
    for (int i = 0; i < run->layout.video_tiles; i++) {
        struct sdt_at at = at_tile(run, branch, -1, i);
        sdt_run_at(flow, run, at, SDT_ROLE_DENOISE);
        if (b->keeps)
            sdt_insert_sum(flow, "keep", (size_t)sdt_rows(run, at) * (size_t)run->dit->width, -1.0f,
                           b->stream->x[i], b->kept[i]);
        run->dit->kind->head(flow, run, at, run->branch[branch].velocity[i]);
    }
    flow->tag.tile = -1;
}

void sdt_run_layers(struct sdt_flow *flow, struct sdt_run *run, struct sdt_branches branches,
                    float t, const sdt_handle *latent) {
    const int count = branches.count, *number = branches.number;
    int together = run->streams < count ? 1 : count;

    /* Layer by layer in turn: the lane is bounded, so a branch that is inserted as a whole first
     * would have ended before the other's tasks are there to fill its gaps. */
    for (int first = 0; first < count; first += together) {
        for (int i = first; i < first + together; i++)
            sdt_run_begin(flow, run, number[i], t, latent);
        for (int l = 0; l < (run->layers ? run->layers_count : run->dit->layers); l++)
            for (int i = first; i < first + together; i++)
                sdt_run_layer(flow, run, number[i], run->layers ? run->layers[l] : l);
        for (int i = first; i < first + together; i++)
            sdt_run_end(flow, run, number[i]);
    }
}

void sdt_run_step(struct sdt_flow *flow, struct sdt_run *run, int branches, float t,
                  const sdt_handle *latent) {
    const struct sdt_strategy *strategy = run->parallel.strategy;
    struct sdt_branches through = {0};
    for (int b = 0; b < branches; b++) {
        if (run->branch[b].skips) {
            sdt_run_begin(flow, run, b, t, latent);
            sdt_run_end(flow, run, b);
        } else {
            through.number[through.count++] = b;
        }
    }
    if (through.count)
        (strategy->step ? strategy->step : sdt_run_layers)(flow, run, through, t, latent);
}

/* ---- predictions ----------------------------------------------------------------------------- */

enum sdt_status sdt_run_layout(const struct sdt_dit *dit, const struct sdt_parallel *parallel,
                               struct sdt_geometry geometry, int branches, int text,
                               struct sdt_layout *layout, struct sdt_error *err) {
    return sdt_parallel_layout(parallel, sdt_tokens(dit, geometry), dit->text_joins ? text : 0,
                               branches, dit->heads, dit->head_dim, layout, err);
}

/* The share of the layers whose weights a device reads. */
static double layer_share(const struct sdt_dit *dit, const struct sdt_strategy *strategy,
                          const struct sdt_layout *layout, int device) {
    int here = 0;
    if (!strategy->device)
        return 1.0;
    for (int l = 0; l < dit->layers; l++) {
        bool reads = false;
        for (int t = 0; !reads && t < layout->tiles; t++)
            reads = strategy->device(layout, dit->layers, l, t) == device;
        here += reads;
    }
    return (double)here / dit->layers;
}

/* Work space of a worker's tasks; GPUs need none for these. */
static uint64_t scratch_of(const struct sdt_dit *dit, const struct sdt_layout *layout, int device,
                           int text_rows) {
    int keys = text_rows + 1; /* one for all padding */
    int rows = layout->rows;
    if (dit->text_joins && rows < text_rows) /* of text, before it is cut into tiles */
        rows = text_rows;
    if (layout->place[device].kind != SDT_DEVICE_CPU)
        return 0;
    uint64_t attention = 0; /* a bit for each size */
    for (int l = 0; l < dit->layers; l++) {
        struct sdt_token_groups groups = sdt_dit_groups(dit, l);
        size_t floats =
            groups.count > 1
                ? sdt_group_attention_scratch(&groups, layout->rows, layout->e, layout->tokens)
                : sdt_attention_scratch(layout->rows, layout->e, layout->tokens);
        attention |= sdt__scratch_size(sizeof(float) * floats);
    }
    size_t cross = sdt_cross_attention_scratch(rows, dit->heads, dit->head_dim, keys);
    size_t residual = sdt_linear_residual_scratch(rows);
    return attention | sdt__scratch_size(sizeof(float) * cross) |
           sdt__scratch_size(sizeof(float) * residual);
}

/* What a device reads, of [SDT_READERS]. Where a strategy places layers, that may be all. */
struct reading {
    bool by[SDT_READERS];
};

static struct reading reading_of(const struct sdt_layout *layout,
                                 const struct sdt_strategy *strategy, int device) {
    struct reading reading = {{false}};
    int first = layout->first_tile[device], end = layout->first_tile[device + 1];
    int texts = layout->tiles - layout->video_tiles;
    bool any = strategy->device;
    reading.by[SDT_READ_BY_TILES] = any || end > first;
    reading.by[SDT_READ_BY_VIDEO] = any || (end > first && first < layout->video_tiles);
    reading.by[SDT_READ_BY_TEXT] = any || end > layout->video_tiles;
    reading.by[SDT_READ_BY_MAKER] =
        any || (texts ? layout->home[layout->video_tiles] == device : device == 0);
    return reading;
}

static double read_of(const struct reading *reading, const size_t *size /* [SDT_READERS] */) {
    double sum = 0.0;
    for (int r = 0; r < SDT_READERS; r++)
        sum += reading->by[r] ? (double)size[r] : 0.0;
    return sum;
}

/* The step's vectors, of each stream: all of them where they are made. */
static double vector_bytes(const struct sdt_dit *dit, const struct reading *reading) {
    double floats = 0.0;
    if (!reading->by[SDT_READ_BY_MAKER])
        return reading->by[SDT_READ_BY_TILES] ? sizeof(float) * dit->shared_floats : 0.0;
    for (int v = 0; v < SDT_STREAM_VECTORS; v++)
        floats += (double)dit->vector[v];
    return sizeof(float) * floats;
}

/* With collective transport, pieces land beside what one device sends to itself. */
static double landing_bytes(const struct sdt_dit *dit, const struct sdt_parallel *parallel,
                            const struct sdt_layout *layout) {
    bool alone = parallel->transport == SDT_TRANSPORT_NCCL && layout->devices == 1;
    return alone ? 4.0 * (double)sdt_dtype_size(layout->dtype) *
                       (double)sdt_tiles_size(layout, 0, layout->tiles) * dit->width
                 : 0.0;
}

/* What a device holds of a branch's prompt. */
static double prompt_bytes(const struct sdt_dit *dit, const struct sdt_layout *layout,
                           const struct reading *reading, int text_rows, int steps) {
    double rows = text_rows * read_of(reading, dit->prompt_row);
    double bytes = (double)sdt_dtype_size(layout->dtype) * rows +
                   sizeof(float) * steps * read_of(reading, dit->prompt_step);
    /* Text that joins, in float32: for its maker the same but in another type. */
    if (reading->by[SDT_READ_BY_TEXT] &&
        (layout->dtype != SDT_F32 || !reading->by[SDT_READ_BY_MAKER]))
        bytes += sizeof(float) * dit->shared_text * text_rows;
    return bytes;
}

/* Weights that a device reads, and those of layers among them. share: of the layers. */
static struct sdt_tensor_held weight_bytes(const struct sdt_dit *dit,
                                           const struct sdt_layout *layout,
                                           const struct reading *reading, int device,
                                           double share) {
    struct sdt_tensor_held bytes = {0.0, 0.0};
    for (int r = 0; r < SDT_READERS; r++) {
        struct sdt_tensor_held held = dit->held[r];
        if (!reading->by[r])
            continue;
        if (layout->place[device].kind != SDT_DEVICE_CPU) {
            held.all = sdt_tensor_bytes(dit->count[r], layout->dtype);
            held.layers = (double)sdt_dtype_size(layout->dtype) * dit->count[r].layers;
        }
        bytes.all += held.all - (1.0 - share) * held.layers;
        bytes.layers += share * held.layers;
    }
    return bytes;
}

struct sdt_need sdt_run_need(const struct sdt_dit *dit, const struct sdt_parallel *parallel,
                             const struct sdt_layout *layout, int device, int branches,
                             int text_rows, int steps, int kept) {
    const struct sdt_strategy *strategy = parallel->strategy;
    struct reading reading = reading_of(layout, strategy, device);
    double d = dit->width, size = (double)sdt_dtype_size(layout->dtype);
    int first = strategy->device ? 0 : layout->first_tile[device];
    int end = strategy->device ? layout->tiles : layout->first_tile[device + 1];
    double worked = (double)sdt_tiles_size(layout, first, end), video = 0.0;
    for (int t = layout->first_tile[device]; t < layout->first_tile[device + 1]; t++)
        video += t < layout->video_tiles ? sdt_tile_size(layout, t) : 0; /* those have a latent */
    double turns = turns_of(layout, strategy, device);
    double patch = (double)sdt_patch_values(dit);
    double stream = size * (worked * 2.0 * d + turns * layout->rows * (d + dit->hidden)) +
                    strategy->buffer_bytes(layout, device) + vector_bytes(dit, &reading) +
                    landing_bytes(dit, parallel, layout);
    double branch = 4.0 * video * patch + prompt_bytes(dit, layout, &reading, text_rows, steps);
    double latents = 4.0 * video * patch * 8.0; /* x, x_last, m0, m1, all twice */
    double share = layer_share(dit, strategy, layout, device);
    struct sdt_tensor_held weights = weight_bytes(dit, layout, &reading, device, share);
    double scratch =
        (double)scratch_of(dit, layout, device, text_rows) * layout->place[device].workers;
    struct sdt_need need = {.all = weights.all + branches * branch +
                                   sdt_streams(parallel->streams, branches) * stream + latents +
                                   kept * size * video * d + scratch};
    double layers = share * dit->layers;
    need.least = need.all - (layers > 2.0 ? weights.layers * (layers - 2.0) / layers : 0.0);
    return need;
}

/* Rows of x that go from device to device, where the strategy puts layers of a tile on several. */
static double handed_on(const struct sdt_dit *dit, const struct sdt_strategy *strategy,
                        const struct sdt_layout *layout) {
    double rows = 0.0;
    if (!strategy->device)
        return 0.0;
    for (int t = 0; t < layout->tiles; t++) {
        int end = t < layout->video_tiles ? dit->layers : dit->layers - 1; /* text has no head */
        int at = strategy->device(layout, dit->layers, -1, t);
        for (int l = 0; l <= end; l++) {
            int next = strategy->device(layout, dit->layers, l < dit->layers ? l : -1, t);
            rows += next != at ? sdt_tile_size(layout, t) : 0;
            at = next;
        }
    }
    return rows;
}

/* Does any task of a forward run there? */
static bool takes_part(const struct sdt_dit *dit, const struct sdt_strategy *strategy,
                       const struct sdt_layout *layout, int device) {
    if (!strategy->device)
        return layout->first_tile[device + 1] > layout->first_tile[device];
    for (int t = 0; t < layout->tiles; t++)
        for (int l = -1; l < dit->layers; l++)
            if (strategy->device(layout, dit->layers, l, t) == device)
                return true;
    return false;
}

/* Devices with tiles of text, but for that of the first. */
static int other_homes_of_text(const struct sdt_dit *dit, const struct sdt_strategy *strategy,
                               const struct sdt_layout *layout) {
    bool seen[SDT_MAX_DEVICES] = {false};
    int count = 0;
    for (int t = layout->video_tiles; t < layout->tiles; t++) {
        int device =
            strategy->device ? strategy->device(layout, dit->layers, -1, t) : layout->home[t];
        count += !seen[device];
        seen[device] = true;
    }
    return count > 0 ? count - 1 : 0;
}

double sdt_run_exchanged_ends(const struct sdt_dit *dit, const struct sdt_strategy *strategy,
                              const struct sdt_layout *layout) {
    bool seen[SDT_MAX_DEVICES] = {true}; /* the first makes what the others read */
    int others = 0;
    for (int t = 0; t < layout->video_tiles; t++) {
        int device =
            strategy->device ? strategy->device(layout, dit->layers, -1, t) : layout->home[t];
        others += !seen[device];
        seen[device] = true;
    }
    return 4.0 * dit->shared_ends * others;
}

double sdt_run_exchanged(const struct sdt_dit *dit, const struct sdt_strategy *strategy,
                         const struct sdt_layout *layout) {
    int others = 0; /* devices that read the step's vectors and do not compute them */
    for (int d = 1; d < layout->devices; d++)
        others += takes_part(dit, strategy, layout, d);
    return dit->layers * strategy->exchanged(layout) +
           (double)sdt_dtype_size(layout->dtype) * dit->width * handed_on(dit, strategy, layout) +
           4.0 * dit->shared_floats * others +
           4.0 * dit->shared_text * (double)(layout->tokens - layout->video) *
               other_homes_of_text(dit, strategy, layout);
}

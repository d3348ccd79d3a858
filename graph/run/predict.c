/* What a run takes: its layout, bytes on each device, bytes that move. Nothing is inserted here;
 * what run.c inserts must be what these predict. */
#include <stdlib.h>

#include "graph/run/run.h"

static enum sdt_status layout_of(const struct sdt_dit *dit, const struct sdt_parallel *parallel,
                                 struct sdt_geometry geometry, int branches, int text,
                                 struct sdt_layout *layout, struct sdt_error *err) {
    enum sdt_status status =
        sdt_parallel_layout(parallel, sdt_tokens(dit, geometry), dit->text_joins ? text : 0,
                            branches, dit->heads, dit->head_dim, layout, err);
    layout->overlap = layout->video * parallel->blocks.overlap / geometry.frames;
    return status;
}

/* How many devices the first branch gets, so that the slower of both groups ends as early as it
 * can. Of two such cuts the later one: the first group also runs the solver. */
static int cut_of(const struct sdt_parallel *parallel) {
    double all = 0.0, before = 0.0, best = 0.0;
    int cut = 1;
    bool known = true;
    for (int d = 0; d < parallel->devices; d++)
        known = known && parallel->place[d].speed > 0.0;
    for (int d = 0; d < parallel->devices; d++)
        all += known ? parallel->place[d].speed : 1.0;
    for (int d = 1; d < parallel->devices; d++) {
        before += known ? parallel->place[d - 1].speed : 1.0;
        double least = before < all - before ? before : all - before;
        if (least >= best - 1e-9 * all) {
            best = least;
            cut = d;
        }
    }
    return cut;
}

/* The parts get tiles of the same rows, of the one that wants less. */
static enum sdt_status parts_apart(const struct sdt_dit *dit, const struct sdt_parallel *parallel,
                                   struct sdt_geometry geometry, int text,
                                   struct sdt_run_parts *parts, struct sdt_error *err) {
    enum sdt_status status = SDT_OK;
    int cut = cut_of(parallel), rows = parallel->tile_rows;
    for (int p = 0; p < 2; p++) {
        struct sdt_run_part *part = &parts->part[p];
        *part = (struct sdt_run_part){.parallel = *parallel, .first = p ? cut : 0, .branches = 1};
        part->parallel.place += part->first;
        part->parallel.devices = p ? parallel->devices - cut : cut;
    }
    parts->count = 2;
    for (int p = 0; p < 2 && !parallel->tile_rows && status == SDT_OK; p++) {
        struct sdt_layout layout;
        status = layout_of(dit, &parts->part[p].parallel, geometry, 1, text, &layout, err);
        if (status == SDT_OK && (rows == 0 || layout.rows < rows))
            rows = layout.rows;
        sdt_layout_clear(&layout);
    }
    for (int p = 0; p < 2 && status == SDT_OK; p++) {
        struct sdt_run_part *part = &parts->part[p];
        part->parallel.tile_rows = rows;
        status = layout_of(dit, &part->parallel, geometry, 1, text, &part->layout, err);
    }
    return status;
}

enum sdt_status sdt_run_parts(const struct sdt_dit *dit, const struct sdt_parallel *parallel,
                              struct sdt_geometry geometry, int branches, int text,
                              struct sdt_run_parts *parts, struct sdt_error *err) {
    *parts = (struct sdt_run_parts){0};
    if (parallel->apart && branches > 1)
        return parts_apart(dit, parallel, geometry, text, parts, err);
    parts->count = 1;
    parts->part[0] = (struct sdt_run_part){.parallel = *parallel, .branches = branches};
    return layout_of(dit, parallel, geometry, branches, text, &parts->part[0].layout, err);
}

void sdt_run_parts_clear(struct sdt_run_parts *parts) {
    for (int p = 0; p < parts->count; p++)
        sdt_layout_clear(&parts->part[p].layout);
    parts->count = 0;
}

/* Does a tile come to a device? Layers first..end-1; -1: before them, `layers`: after. */
static bool visits(const struct sdt_dit *dit, const struct sdt_strategy *strategy,
                   const struct sdt_layout *layout, int device, int tile, int first, int end) {
    if (!strategy->device)
        return layout->home[tile] == device;
    for (int l = first; l < end; l++)
        if (strategy->device(layout, dit->layers, l, tile) == device)
            return true;
    return false;
}

/* Rows of the tiles that do, or of those among them that are at home there. */
static double rows_at(const struct sdt_dit *dit, const struct sdt_strategy *strategy,
                      const struct sdt_layout *layout, int device) {
    double rows = 0.0;
    for (int t = 0; t < layout->tiles; t++)
        if (visits(dit, strategy, layout, device, t, -1, dit->layers + 1))
            rows += sdt_tile_size(layout, t);
    return rows;
}

/* Of the video, those that begin there and are at home elsewhere. */
static double visitors(const struct sdt_dit *dit, const struct sdt_strategy *strategy,
                       const struct sdt_layout *layout, int device) {
    double rows = 0.0;
    for (int t = 0; t < layout->video_tiles; t++)
        if (layout->home[t] != device && visits(dit, strategy, layout, device, t, -1, 0))
            rows += sdt_tile_size(layout, t);
    return rows;
}

/* Rows of tiles that have tokens first..end-1. */
static double rows_with(const struct sdt_layout *layout, int64_t first, int64_t end) {
    double rows = 0.0;
    for (int t = 0; t < layout->video_tiles; t++) {
        int64_t begin = sdt_tile_first(layout, t);
        if (begin < end && begin + sdt_tile_size(layout, t) > first)
            rows += sdt_tile_size(layout, t);
    }
    return rows;
}

static double home_rows(const struct sdt_layout *layout, int device) {
    double rows = 0.0;
    for (int t = 0; t < layout->video_tiles; t++)
        rows += layout->home[t] == device ? sdt_tile_size(layout, t) : 0;
    return rows;
}

/* Where strategies place layers: which of them a device has. */
struct layers_here {
    int count;
    double share; /* of all layers' elements: they may be of several kinds */
};

static struct layers_here layers_at(const struct sdt_dit *dit, const struct sdt_strategy *strategy,
                                    const struct sdt_layout *layout, int device) {
    struct layers_here here = {dit->layers, 1.0};
    double *elements = strategy->device ? calloc((size_t)dit->layers, sizeof *elements) : NULL;
    struct sdt_tensor_count count[SDT_READERS] = {{0.0, 0.0, 0.0}};
    struct sdt_tensor_visit visit = {.layer = -1, .count = count, .by_layer = elements};
    double all = 0.0, read = 0.0;
    if (!elements) /* or no memory, which the run that is asked for finds out itself */
        return here;
    dit->kind->tensors(dit, &visit, NULL);
    here.count = 0;
    for (int l = 0; l < dit->layers; l++) {
        bool reads = false;
        for (int t = 0; !reads && t < layout->tiles; t++)
            reads = strategy->device(layout, dit->layers, l, t) == device;
        all += elements[l];
        read += reads ? elements[l] : 0.0;
        here.count += reads;
    }
    free(elements);
    here.share = all > 0.0 ? read / all : 0.0;
    return here;
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
    for (int l = 0; l < dit->layers; l++)
        for (int next = 0; next <= (layout->overlap > 0); next++) { /* with the next block's keys */
            struct sdt_token_groups groups = sdt_dit_groups(dit, l);
            int64_t seen = layout->tokens + (next ? layout->overlap : 0);
            size_t floats = groups.count > 1 ? sdt_group_attention_scratch(&groups, layout->rows,
                                                                           layout->e, seen)
                                             : sdt_attention_scratch(layout->rows, layout->e, seen);
            attention |= sdt__scratch_size(sizeof(float) * floats);
        }
    size_t cross = sdt_cross_attention_scratch(rows, dit->heads, dit->head_dim, keys);
    size_t residual = sdt_linear_residual_scratch(rows);
    return attention | sdt__scratch_size(sizeof(float) * cross) |
           sdt__scratch_size(sizeof(float) * residual);
}

/* What a device reads, of [SDT_READERS]: of layers, and before and after them. */
struct reading {
    bool by[SDT_READERS], ends;
    struct layers_here layers;
};

static struct reading reading_of(const struct sdt_dit *dit, const struct sdt_layout *layout,
                                 const struct sdt_strategy *strategy, int device) {
    struct reading reading = {.layers = layers_at(dit, strategy, layout, device)};
    int texts = layout->tiles - layout->video_tiles, layers = dit->layers;
    for (int t = 0; t < layout->tiles; t++) {
        bool text = t >= layout->video_tiles;
        bool here = visits(dit, strategy, layout, device, t, -1, layers + 1);
        reading.by[SDT_READ_BY_TILES] |= here;
        reading.by[text ? SDT_READ_BY_TEXT : SDT_READ_BY_VIDEO] |= here;
        reading.ends |= visits(dit, strategy, layout, device, t, -1, 0) ||
                        visits(dit, strategy, layout, device, t, layers, layers + 1);
    }
    int first = texts ? sdt__run_device(dit, strategy, layout, -1, layout->video_tiles) : 0;
    reading.by[SDT_READ_BY_MAKER] = device == first;
    return reading;
}

/* What a prompt's maker has is of the whole model, the rest of the device's layers. */
static double read_of(const struct reading *reading, const size_t *size /* [SDT_READERS] */) {
    double sum = 0.0;
    for (int r = 0; r < SDT_READERS; r++)
        if (reading->by[r])
            sum += (r == SDT_READ_BY_MAKER ? 1.0 : reading->layers.share) * (double)size[r];
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

/* Weights that a device reads, and those of layers among them. */
static struct sdt_tensor_held weight_bytes(const struct sdt_dit *dit,
                                           const struct sdt_layout *layout,
                                           const struct reading *reading, int device) {
    struct sdt_tensor_held bytes = {0.0, 0.0};
    for (int r = 0; r < SDT_READERS; r++) {
        struct sdt_tensor_held held = dit->held[r];
        if (!reading->by[r])
            continue;
        if (layout->place[device].kind != SDT_DEVICE_CPU) {
            held.all = sdt_tensor_bytes(dit->count[r], layout->dtype);
            held.layers = (double)sdt_dtype_size(layout->dtype) * dit->count[r].layers;
        }
        bytes.layers += reading->layers.share * held.layers;
        if (reading->ends || r == SDT_READ_BY_MAKER)
            bytes.all += held.all - held.layers;
    }
    bytes.all += bytes.layers;
    return bytes;
}

/* Keys and values of its layers and heads, of one branch. */
static double stale_bytes(const struct sdt_layout *layout, int layers, int device) {
    double rows = (double)layout->tiles * layout->rows, heads = 0.0;
    for (int c = 0; c < layout->chunks; c++)
        if (layout->owner[c] == device % layout->ulysses)
            heads += layout->head[c + 1] - layout->head[c];
    return 2.0 * (double)sdt_dtype_size(layout->dtype) * rows * layout->e * heads * layers;
}

struct sdt_need sdt_run_need(const struct sdt_dit *dit, const struct sdt_run_parts *parts,
                             int device, int text_rows, int steps,
                             struct sdt_step_keeping keeping) {
    const struct sdt_run_part *part =
        &parts->part[parts->count > 1 && device >= parts->part[1].first];
    const struct sdt_parallel *parallel = &part->parallel;
    const struct sdt_layout *layout = &part->layout;
    const int branches = part->branches;
    device -= part->first;
    if (device >= layout->devices) /* the strategy leaves it idle */
        return (struct sdt_need){0};
    const struct sdt_strategy *strategy = parallel->strategy;
    struct reading reading = reading_of(dit, layout, strategy, device);
    double d = dit->width, size = (double)sdt_dtype_size(layout->dtype);
    double worked = rows_at(dit, strategy, layout, device);
    double video = home_rows(layout, device); /* those have a latent */
    double turns = sdt__run_turns(layout, strategy, device);
    double patch = (double)sdt_patch_values(dit);
    /* Blocks on their way have a residual stream and vectors each, and take turns with the rest. */
    const struct sdt_blocks *q = &parallel->blocks;
    double flights = q->count ? sdt__run_flights(layout) : 1.0;
    double stream =
        size * (worked * (1.0 + flights) * d + turns * layout->rows * (d + dit->hidden)) +
        strategy->buffer_bytes(layout, device) +
        (strategy->stale ? 2.0 : flights) * vector_bytes(dit, &reading) +
        landing_bytes(dit, parallel, layout);
    double branch = 4.0 * video * patch + prompt_bytes(dit, layout, &reading, text_rows, steps);
    /* x, x_last, m0, m1, all twice; where branches are apart, with the other's velocity, and for
     * that one copies of x. */
    double latents = 4.0 * video * patch * (parts->count < 2 ? 8.0 : part->first ? 2.0 : 9.0);
    int kept = parts->count > 1 && keeping.branches > 1 ? 1 : keeping.branches;
    if (keeping.difference && part->first == 0)
        latents += 4.0 * video * patch;
    latents += 4.0 * patch * visitors(dit, strategy, layout, device) * 2.0; /* x alone, twice */
    if (q->count)
        latents *= sdt_blocks_most(q);
    if (q->count && sdt__run_device(dit, strategy, layout, -1, 0) == device)
        latents += 4.0 * patch * rows_with(layout, 0, layout->overlap);
    if (q->count)
        branch += 2.0 * size * (double)layout->overlap * d * reading.layers.count;
    if (strategy->stale)
        branch += stale_bytes(layout, reading.layers.count, device);
    struct sdt_tensor_held weights = weight_bytes(dit, layout, &reading, device);
    double scratch =
        (double)scratch_of(dit, layout, device, text_rows) * layout->place[device].workers;
    struct sdt_need need = {.all =
                                weights.all + branches * branch +
                                (q->count ? 1 : sdt_streams(parallel->streams, branches)) * stream +
                                latents + kept * size * video * d + scratch};
    double layers = reading.layers.count;
    need.least = need.all - (layers > 2.0 ? weights.layers * (layers - 2.0) / layers : 0.0);
    return need;
}

/* Bytes that go from device to device where the strategy puts layers of a tile on several: x from
 * layer to layer, or, of a forward that skips them, from their beginning to their end; and the
 * velocity. */
static double handed_on(const struct sdt_dit *dit, const struct sdt_strategy *strategy,
                        const struct sdt_layout *layout, bool layers) {
    double row = (double)sdt_dtype_size(layout->dtype) * dit->width, bytes = 0.0;
    double patch = 4.0 * (double)sdt_patch_values(dit);
    if (!strategy->device)
        return 0.0;
    for (int t = 0; t < (layers ? layout->tiles : layout->video_tiles); t++) {
        bool video = t < layout->video_tiles; /* text has no latent and no head */
        int end = video ? dit->layers : dit->layers - 1, rows = sdt_tile_size(layout, t);
        int at = strategy->device(layout, dit->layers, -1, t);
        for (int l = layers ? 0 : end; l <= end; l++) {
            int next = strategy->device(layout, dit->layers, l, t);
            bytes += next != at ? rows * row : 0.0;
            at = next;
        }
        bytes += video && at != layout->home[t] ? rows * patch : 0.0;
    }
    return bytes;
}

/* Does any task of a forward run there? */
static bool takes_part(const struct sdt_dit *dit, const struct sdt_strategy *strategy,
                       const struct sdt_layout *layout, int device) {
    for (int t = 0; t < layout->tiles; t++)
        if (visits(dit, strategy, layout, device, t, -1, dit->layers + 1))
            return true;
    return false;
}

/* Devices with tiles of text, but for that of the first. */
static int other_homes_of_text(const struct sdt_dit *dit, const struct sdt_strategy *strategy,
                               const struct sdt_layout *layout) {
    bool seen[SDT_MAX_DEVICES] = {false};
    int count = 0;
    for (int t = layout->video_tiles; t < layout->tiles; t++) {
        int device = sdt__run_device(dit, strategy, layout, -1, t);
        count += !seen[device];
        seen[device] = true;
    }
    return count > 0 ? count - 1 : 0;
}

double sdt_run_exchanged_latent(const struct sdt_dit *dit, const struct sdt_strategy *strategy,
                                const struct sdt_layout *layout) {
    double rows = 0.0;
    for (int d = 0; d < layout->devices; d++)
        rows += visitors(dit, strategy, layout, d);
    return 4.0 * (double)sdt_patch_values(dit) * rows;
}

/* A block's own frames come from their home to where layers begin; of a block that has left the
 * queue those that the next one still sees. */
double sdt_run_exchanged_blocks(const struct sdt_dit *dit, const struct sdt_strategy *strategy,
                                const struct sdt_layout *layout, const struct sdt_blocks *blocks) {
    const int64_t video = layout->video, overlap = layout->overlap;
    double rows = 0.0;
    if (sdt__run_device(dit, strategy, layout, -1, 0) == layout->home[0])
        return 0.0;
    for (int k = 0; k < sdt_blocks_iterations(blocks); k++)
        for (int b = sdt_blocks_newest(blocks, k); b >= sdt_blocks_oldest(blocks, k); b--) {
            if (sdt_blocks_step(k, b) > 0)
                rows += rows_with(layout, b ? overlap : 0, video);
            if (b > 0 && b == sdt_blocks_oldest(blocks, k) && overlap)
                rows += rows_with(layout, video - overlap, video);
        }
    return 4.0 * (double)sdt_patch_values(dit) * rows;
}

/* Do tiles leave the layers there? */
static bool has_heads(const struct sdt_dit *dit, const struct sdt_strategy *strategy,
                      const struct sdt_layout *layout, int device) {
    for (int t = 0; t < layout->video_tiles; t++)
        if (visits(dit, strategy, layout, device, t, dit->layers, dit->layers + 1))
            return true;
    return false;
}

double sdt_run_exchanged_ends(const struct sdt_dit *dit, const struct sdt_strategy *strategy,
                              const struct sdt_layout *layout) {
    int others = 0; /* the first makes what these read */
    for (int d = 1; d < layout->devices; d++)
        others += has_heads(dit, strategy, layout, d);
    return 4.0 * dit->shared_ends * others + handed_on(dit, strategy, layout, false);
}

double sdt_run_exchanged_apart(const struct sdt_dit *dit, const struct sdt_run_parts *parts) {
    const struct sdt_layout *layout = &parts->part[0].layout;
    double rows = (double)sdt_tiles_size(layout, 0, layout->video_tiles);
    return parts->count > 1 ? 2.0 * sizeof(float) * rows * (double)sdt_patch_values(dit) : 0.0;
}

double sdt_run_exchanged(const struct sdt_dit *dit, const struct sdt_strategy *strategy,
                         const struct sdt_layout *layout) {
    double floats = 0.0; /* of the step's vectors, where they are read and not computed */
    for (int d = 1; d < layout->devices; d++)
        if (takes_part(dit, strategy, layout, d))
            floats +=
                dit->shared_floats - (has_heads(dit, strategy, layout, d) ? 0.0 : dit->shared_ends);
    return dit->layers * strategy->exchanged(layout) + handed_on(dit, strategy, layout, true) +
           4.0 * floats +
           4.0 * dit->shared_text * (double)(layout->tokens - layout->video) *
               other_homes_of_text(dit, strategy, layout);
}

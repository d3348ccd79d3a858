/* The Wan 2.1 transformer as a loop that inserts tasks. */
#include "graph/models/wan.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "graph/checkpoint/config.h"
#include "graph/run/parameters.h"

/* ---- configuration and weights -------------------------------------------------------------- */

struct sdt_wan {
    struct sdt_wan_config config;
    struct sdt_weights *weights;
};

static bool is_size(double number) {
    return number >= 1.0 && number <= 256.0 && number == floor(number);
}

static enum sdt_status read_config(const char *path, struct sdt_wan_config *c,
                                   struct sdt_error *err) {
    struct sdt_config *json = NULL;
    enum sdt_status status = sdt_config_open(path, &json, err);
    int64_t layers = 0, heads = 0, head_dim = 0, in = 0, out = 0, text = 0, freq = 0, ffn = 0;
    double eps = 1e-6, patch[3] = {1, 2, 2};
    int patches = 3;
    const char *class_name = "WanTransformer3DModel";

#define NEXT(call)                                                                                 \
    if (status == SDT_OK)                                                                          \
    status = (call)
    NEXT(sdt_config_string(json, "_class_name", false, &class_name, err));
    if (status == SDT_OK && strcmp(class_name, "WanTransformer3DModel"))
        status = sdt_fail(err, SDT_ERROR_UNSUPPORTED,
                          "%s: _class_name is %s; this is the loader of WanTransformer3DModel",
                          path, class_name);
    NEXT(sdt_config_int(json, "num_layers", true, 1, 1000, &layers, err));
    NEXT(sdt_config_int(json, "num_attention_heads", true, 1, 1024, &heads, err));
    NEXT(sdt_config_int(json, "attention_head_dim", true, 6, 1024, &head_dim, err));
    NEXT(sdt_config_int(json, "in_channels", true, 1, 256, &in, err));
    NEXT(sdt_config_int(json, "out_channels", true, 1, 256, &out, err));
    NEXT(sdt_config_int(json, "text_dim", true, 1, 65536, &text, err));
    NEXT(sdt_config_int(json, "freq_dim", true, 2, 65536, &freq, err));
    NEXT(sdt_config_int(json, "ffn_dim", true, 1, 1 << 20, &ffn, err));
    NEXT(sdt_config_number(json, "eps", false, &eps, err));
    NEXT(sdt_config_numbers(json, "patch_size", false, 3, patch, &patches, err));
    bool norm = true;
    NEXT(sdt_config_bool(json, "cross_attn_norm", false, &norm, err));
    NEXT(sdt_config_only(json, "qk_norm", "\"rms_norm_across_heads\"", err));
    NEXT(sdt_config_only(json, "image_dim", "null", err));
    NEXT(sdt_config_only(json, "added_kv_proj_dim", "null", err));
    NEXT(sdt_config_only(json, "pos_embed_seq_len", "null", err));
#undef NEXT
    sdt_config_close(json);
    if (status != SDT_OK)
        return status;
    if (patches != 3 || head_dim % 2 || freq % 2 || in != out || heads * head_dim > 65536 ||
        !is_size(patch[0]) || !is_size(patch[1]) || !is_size(patch[2]) ||
        patch[0] * patch[1] * patch[2] > 256 || !(eps > 0.0))
        return sdt_fail(err, SDT_ERROR_UNSUPPORTED,
                        "%s: needs 3 patch sizes, even attention_head_dim and freq_dim, equal "
                        "in_channels and out_channels, eps above 0 and a width of at most 65536",
                        path);
    *c = (struct sdt_wan_config){.layers = (int)layers,
                                 .heads = (int)heads,
                                 .head_dim = (int)head_dim,
                                 .width = (int)(heads * head_dim),
                                 .in_channels = (int)in,
                                 .out_channels = (int)out,
                                 .text_dim = (int)text,
                                 .freq_dim = (int)freq,
                                 .ffn_dim = (int)ffn,
                                 .patch = {(int)patch[0], (int)patch[1], (int)patch[2]},
                                 .eps = (float)eps,
                                 .cross_attn_norm = norm};
    return SDT_OK;
}

static void add_linear(struct sdt_tensor_table *table, int64_t out, int64_t in, const char *prefix,
                       const char *name) {
    sdt_tensor_table_add(table, 2, (int64_t[]){out, in}, "%s%s.weight", prefix, name);
    sdt_tensor_table_add(table, 1, (int64_t[]){out}, "%s%s.bias", prefix, name);
}

/* Every tensor of the component. */
static void describe(const struct sdt_wan_config *c, struct sdt_tensor_table *table) {
    static const char *const projections[] = {"to_q", "to_k", "to_v", "to_out.0"};
    int64_t d = c->width;
    int64_t patch = (int64_t)c->patch[0] * c->patch[1] * c->patch[2];

    sdt_tensor_table_add(table, 3, (int64_t[]){1, 2, d}, "scale_shift_table");
    sdt_tensor_table_add(table, 5,
                         (int64_t[]){d, c->in_channels, c->patch[0], c->patch[1], c->patch[2]},
                         "patch_embedding.weight");
    sdt_tensor_table_add(table, 1, (int64_t[]){d}, "patch_embedding.bias");
    add_linear(table, d, c->freq_dim, "condition_embedder.", "time_embedder.linear_1");
    add_linear(table, d, d, "condition_embedder.", "time_embedder.linear_2");
    add_linear(table, 6 * d, d, "condition_embedder.", "time_proj");
    add_linear(table, d, c->text_dim, "condition_embedder.", "text_embedder.linear_1");
    add_linear(table, d, d, "condition_embedder.", "text_embedder.linear_2");
    for (int i = 0; i < c->layers; i++) {
        char prefix[64];
        snprintf(prefix, sizeof prefix, "blocks.%d.", i);
        sdt_tensor_table_add(table, 3, (int64_t[]){1, 6, d}, "%sscale_shift_table", prefix);
        for (int a = 1; a <= 2; a++) {
            char attention[80];
            snprintf(attention, sizeof attention, "%sattn%d.", prefix, a);
            for (int p = 0; p < 4; p++)
                add_linear(table, d, d, attention, projections[p]);
            sdt_tensor_table_add(table, 1, (int64_t[]){d}, "%snorm_q.weight", attention);
            sdt_tensor_table_add(table, 1, (int64_t[]){d}, "%snorm_k.weight", attention);
        }
        if (c->cross_attn_norm) {
            sdt_tensor_table_add(table, 1, (int64_t[]){d}, "%snorm2.weight", prefix);
            sdt_tensor_table_add(table, 1, (int64_t[]){d}, "%snorm2.bias", prefix);
        }
        add_linear(table, c->ffn_dim, d, prefix, "ffn.net.0.proj");
        add_linear(table, d, c->ffn_dim, prefix, "ffn.net.2");
    }
    add_linear(table, patch * c->out_channels, d, "", "proj_out");
}

enum sdt_status sdt_wan_config_read(const char *folder, struct sdt_wan_config *config,
                                    struct sdt_error *err) {
    char path[4096];
    if ((size_t)snprintf(path, sizeof path, "%s/config.json", folder) >= sizeof path)
        return sdt_fail(err, SDT_ERROR_USAGE, "the path of the transformer folder is too long");
    return read_config(path, config, err);
}

enum sdt_status sdt_wan_open(const char *folder, struct sdt_wan **out, struct sdt_error *err) {
    enum sdt_status status = SDT_ERROR_MEMORY;
    struct sdt_tensor_table *table = sdt_tensor_table_new();
    struct sdt_wan *wan = calloc(1, sizeof *wan);

    *out = NULL;
    if (!wan || !table) {
        sdt_fail(err, status, "out of memory while opening %s", folder);
        goto out;
    }
    status = sdt_wan_config_read(folder, &wan->config, err);
    if (status != SDT_OK)
        goto out;
    status = sdt_weights_open(folder, &wan->weights, err);
    if (status != SDT_OK)
        goto out;
    describe(&wan->config, table);
    status = sdt_tensor_table_check(table, wan->weights, err);
out:
    sdt_tensor_table_free(table);
    if (status != SDT_OK) {
        sdt_wan_close(wan);
        return status;
    }
    *out = wan;
    return SDT_OK;
}

enum sdt_status sdt_wan_imagine(const struct sdt_wan_config *config, struct sdt_wan **out,
                                struct sdt_error *err) {
    enum sdt_status status = SDT_ERROR_MEMORY;
    struct sdt_tensor_table *table = sdt_tensor_table_new();
    struct sdt_wan *wan = calloc(1, sizeof *wan);

    *out = NULL;
    if (!wan || !table) {
        sdt_fail(err, status, "out of memory for a transformer without weights");
        goto out;
    }
    wan->config = *config;
    describe(config, table);
    status = sdt_weights_imagine(table, "a transformer without weights", &wan->weights, err);
out:
    sdt_tensor_table_free(table);
    if (status != SDT_OK)
        sdt_wan_close(wan);
    else
        *out = wan;
    return status;
}

void sdt_wan_close(struct sdt_wan *wan) {
    if (!wan)
        return;
    sdt_weights_close(wan->weights);
    free(wan);
}

const struct sdt_wan_config *sdt_wan_config(const struct sdt_wan *wan) { return &wan->config; }

const struct sdt_weights *sdt_wan_weights(const struct sdt_wan *wan) { return wan->weights; }

/* ---- a run: handles of weights and activations ----------------------------------------------- */

struct linear {
    sdt_handle weight, bias;
};

struct attention {
    struct linear q, k, v, out;
    sdt_handle norm_q, norm_k;
};

/* Nothing but handles: what one layer reads. */
struct block {
    sdt_handle table; /* [6, d]: shift, scale, gate of attention, then of the feed-forward */
    struct attention self, cross;
    sdt_handle norm2_weight, norm2_bias;
    struct linear up, down;
};

/* Work buffers that a device's tiles take turns with: enough that its workers do not wait for one
 * another, few enough that memory does not grow with the sequence. */
struct ring {
    int count, next;
    sdt_handle *handle;
};

/* The buffers of one forward in flight. Branches that share a stream follow one another. */
struct stream {
    sdt_handle *x;       /* [tiles] -> [rows, d], the residual stream */
    sdt_handle *z;       /* [tiles] -> [rows, d], normalised input, merged attention output */
    struct ring *raw;    /* [devices] -> [rows, d] */
    struct ring *hidden; /* [devices] -> [rows, ffn] */
    struct sdt_attention_buffers attention;
    sdt_handle sinusoid, time_1, embedding, silu, modulation; /* of the step: m6 is [6, d] */
};

/* What a branch of guidance has of its own, whether it has a stream of its own or not. */
struct branch {
    struct stream *stream;
    sdt_handle *velocity;      /* [tiles] -> [rows, C*patch] */
    sdt_handle *keys, *values; /* [layers] -> [text keys, d], cross attention */
    int text_keys;
    float pad_bias; /* log of the number of padding rows that the last key stands for */
};

struct sdt_wan_run {
    struct sdt_wan *wan;
    struct sdt_machine *machine;
    struct sdt_parallel parallel;
    struct sdt_wan_geometry geometry;
    struct sdt_layout layout;
    struct sdt_rope rope;
    struct sdt_parameters *parameters;
    struct sdt_collective *collective; /* NULL: StarPU's own transfers */
    float *rope_values;
    sdt_handle rope_table;
    sdt_handle table; /* [2, d] of the head */
    struct linear patch_embedding, time_1, time_2, time_proj, text_1, text_2, proj_out;
    struct block *block; /* [layers] */
    int branches, streams;
    struct branch branch[2];
    struct stream stream[2];
};

static struct linear get_linear(struct sdt_flow *flow, struct sdt_wan_run *run,
                                enum sdt_dtype dtype, const char *prefix, const char *name) {
    return (struct linear){sdt_parameter(flow, run->parameters, dtype, "%s%s.weight", prefix, name),
                           sdt_parameter(flow, run->parameters, dtype, "%s%s.bias", prefix, name)};
}

static struct attention get_attention(struct sdt_flow *flow, struct sdt_wan_run *run,
                                      const char *prefix) {
    enum sdt_dtype dtype = run->layout.dtype;
    return (struct attention){
        .q = get_linear(flow, run, dtype, prefix, "to_q"),
        .k = get_linear(flow, run, dtype, prefix, "to_k"),
        .v = get_linear(flow, run, dtype, prefix, "to_v"),
        .out = get_linear(flow, run, dtype, prefix, "to_out.0"),
        .norm_q = sdt_parameter(flow, run->parameters, SDT_F32, "%snorm_q.weight", prefix),
        .norm_k = sdt_parameter(flow, run->parameters, SDT_F32, "%snorm_k.weight", prefix),
    };
}

/* Matrices over tokens are of the run's type; what a step is conditioned on, norms and tables are float32. */
static void get_weights(struct sdt_flow *flow, struct sdt_wan_run *run) {
    const struct sdt_wan_config *c = &run->wan->config;
    enum sdt_dtype dtype = run->layout.dtype;

    run->table = sdt_parameter(flow, run->parameters, SDT_F32, "scale_shift_table");
    run->patch_embedding = get_linear(flow, run, dtype, "", "patch_embedding");
    run->time_1 = get_linear(flow, run, SDT_F32, "condition_embedder.", "time_embedder.linear_1");
    run->time_2 = get_linear(flow, run, SDT_F32, "condition_embedder.", "time_embedder.linear_2");
    run->time_proj = get_linear(flow, run, SDT_F32, "condition_embedder.", "time_proj");
    run->text_1 = get_linear(flow, run, dtype, "condition_embedder.", "text_embedder.linear_1");
    run->text_2 = get_linear(flow, run, dtype, "condition_embedder.", "text_embedder.linear_2");
    run->proj_out = get_linear(flow, run, dtype, "", "proj_out");
    for (int i = 0; i < c->layers; i++) {
        struct block *block = &run->block[i];
        char prefix[64], attention[80];
        snprintf(prefix, sizeof prefix, "blocks.%d.", i);
        block->table = sdt_parameter(flow, run->parameters, SDT_F32, "%sscale_shift_table", prefix);
        snprintf(attention, sizeof attention, "%sattn1.", prefix);
        block->self = get_attention(flow, run, attention);
        snprintf(attention, sizeof attention, "%sattn2.", prefix);
        block->cross = get_attention(flow, run, attention);
        if (c->cross_attn_norm) {
            block->norm2_weight =
                sdt_parameter(flow, run->parameters, SDT_F32, "%snorm2.weight", prefix);
            block->norm2_bias =
                sdt_parameter(flow, run->parameters, SDT_F32, "%snorm2.bias", prefix);
        }
        block->up = get_linear(flow, run, dtype, prefix, "ffn.net.0.proj");
        block->down = get_linear(flow, run, dtype, prefix, "ffn.net.2");
    }
}

static sdt_handle *new_handles(struct sdt_flow *flow, enum sdt_dtype dtype, int count, size_t size,
                               const char *name) {
    sdt_handle *handle = calloc((size_t)count, sizeof *handle);
    if (!handle && flow->error.status == SDT_OK)
        sdt_fail(&flow->error, SDT_ERROR_MEMORY, "out of memory for %d handles", count);
    for (int i = 0; handle && size && i < count; i++)
        handle[i] = sdt__tensor(flow, dtype, size, name);
    return handle;
}

static void free_handles(sdt_handle *handle, int count) {
    for (int i = 0; handle && i < count; i++)
        if (handle[i])
            starpu_data_unregister_submit(handle[i]);
    free(handle);
}

static int ring_size(const struct sdt_layout *layout, int device, int workers) {
    int tiles = layout->first_tile[device + 1] - layout->first_tile[device];
    int wanted = 4 * workers + 4;
    return tiles < wanted ? tiles : wanted;
}

static struct ring *new_rings(struct sdt_flow *flow, const struct sdt_layout *layout, size_t size,
                              const char *name) {
    struct ring *ring = calloc((size_t)layout->devices, sizeof *ring);
    if (!ring && flow->error.status == SDT_OK)
        sdt_fail(&flow->error, SDT_ERROR_MEMORY, "out of memory for work buffers");
    for (int d = 0; ring && d < layout->devices; d++) {
        ring[d].count = ring_size(layout, d, layout->place[d].workers);
        if (ring[d].count)
            ring[d].handle = new_handles(flow, layout->dtype, ring[d].count, size, name);
    }
    return ring;
}

static void free_rings(struct ring *ring, int devices) {
    for (int d = 0; ring && d < devices; d++)
        free_handles(ring[d].handle, ring[d].count);
    free(ring);
}

static sdt_handle next_of(struct ring *ring) {
    if (!ring->handle)
        return NULL;
    sdt_handle handle = ring->handle[ring->next];
    ring->next = (ring->next + 1) % ring->count;
    return handle;
}

/* Floats of one token's velocity. */
static size_t patch_size(const struct sdt_wan_config *c) {
    return (size_t)(c->patch[0] * c->patch[1] * c->patch[2] * c->out_channels);
}

static void stream_init(struct sdt_flow *flow, struct sdt_wan_run *run, struct stream *stream) {
    const struct sdt_wan_config *c = &run->wan->config;
    const struct sdt_layout *layout = &run->layout;
    size_t rows = (size_t)layout->rows, d = (size_t)c->width;
    size_t patch = patch_size(c);

    stream->x = new_handles(flow, layout->dtype, layout->tiles, rows * d, "x");
    stream->z = new_handles(flow, layout->dtype, layout->tiles, rows * d, "z");
    stream->raw = new_rings(flow, layout, rows * d, "raw");
    /* also holds the latent in the run's type, and the head's output before its channels are reordered */
    size_t hidden = (size_t)c->ffn_dim > patch ? (size_t)c->ffn_dim : patch;
    stream->hidden = new_rings(flow, layout, rows * hidden, "hidden");
    sdt_attention_buffers_init(flow, &stream->attention, run->parallel.strategy, layout,
                               run->collective);
    stream->sinusoid = sdt__vector(flow, (size_t)c->freq_dim, "sinusoid");
    stream->time_1 = sdt__vector(flow, d, "time 1");
    stream->embedding = sdt__vector(flow, d, "time embedding");
    stream->silu = sdt__vector(flow, d, "silu of time");
    stream->modulation = sdt__vector(flow, 6 * d, "modulation");
}

static void stream_clear(struct sdt_wan_run *run, struct stream *stream) {
    const struct sdt_layout *layout = &run->layout;
    sdt_handle single[] = {stream->sinusoid, stream->time_1, stream->embedding, stream->silu,
                           stream->modulation};

    free_handles(stream->x, layout->tiles);
    free_handles(stream->z, layout->tiles);
    free_rings(stream->raw, layout->devices);
    free_rings(stream->hidden, layout->devices);
    sdt_attention_buffers_clear(&stream->attention);
    for (size_t i = 0; i < sizeof single / sizeof single[0]; i++)
        if (single[i])
            starpu_data_unregister_submit(single[i]);
}

static void branch_init(struct sdt_flow *flow, struct sdt_wan_run *run, struct branch *branch,
                        struct stream *stream) {
    const struct sdt_wan_config *c = &run->wan->config;

    branch->stream = stream;
    branch->velocity = new_handles(flow, SDT_F32, run->layout.tiles,
                                   (size_t)run->layout.rows * patch_size(c), "velocity");
    branch->keys = new_handles(flow, run->layout.dtype, c->layers, 0, "text keys");
    branch->values = new_handles(flow, run->layout.dtype, c->layers, 0, "text values");
}

static void branch_clear(struct sdt_wan_run *run, struct branch *branch) {
    free_handles(branch->velocity, run->layout.tiles);
    free_handles(branch->keys, run->wan->config.layers);
    free_handles(branch->values, run->wan->config.layers);
}

struct sdt_patch sdt_wan_patch(const struct sdt_wan *wan, struct sdt_wan_geometry g) {
    const struct sdt_wan_config *c = &wan->config;
    return (struct sdt_patch){.channels = c->in_channels,
                              .frames = g.frames,
                              .height = g.height,
                              .width = g.width,
                              .size = {c->patch[0], c->patch[1], c->patch[2]}};
}

/* About how many tasks one layer of one forward has: per tile; per chunk; per piece. */
static int layer_tasks(const struct sdt_layout *layout) {
    return 16 * layout->tiles + 3 * layout->chunks + 2 * layout->tiles * layout->chunks;
}

struct sdt_wan_run *sdt_wan_run_new(struct sdt_flow *flow, struct sdt_wan *wan,
                                    struct sdt_machine *machine,
                                    const struct sdt_parallel *parallel,
                                    struct sdt_wan_geometry geometry, int branches) {
    const struct sdt_wan_config *c = &wan->config;
    struct sdt_wan_run *run = calloc(1, sizeof *run);
    int size[3] = {geometry.frames, geometry.height, geometry.width};

    if (!run) {
        sdt_fail(&flow->error, SDT_ERROR_MEMORY, "out of memory for a run of the transformer");
        return NULL;
    }
    run->wan = wan;
    run->machine = machine;
    run->parallel = *parallel;
    run->geometry = geometry;
    run->branches = branches;
    run->streams = sdt_streams(parallel->streams, branches);
    for (int a = 0; a < 3; a++) {
        if (size[a] < 1 || size[a] % c->patch[a]) {
            sdt_fail(
                &flow->error, SDT_ERROR_USAGE,
                "a latent of %dx%dx%d (frames, height, width) is not a whole number of patches "
                "of %dx%dx%d",
                size[0], size[1], size[2], c->patch[0], c->patch[1], c->patch[2]);
            goto failed;
        }
        run->rope.size[a] = size[a] / c->patch[a];
    }
    int pairs = c->head_dim / 2;
    run->rope.pairs[1] = run->rope.pairs[2] = c->head_dim / 6;
    run->rope.pairs[0] = pairs - 2 * run->rope.pairs[1];
    int64_t tokens = (int64_t)run->rope.size[0] * run->rope.size[1] * run->rope.size[2];
    if (sdt_parallel_layout(parallel, tokens, c->heads, c->head_dim, &run->layout, &flow->error) !=
        SDT_OK)
        goto failed;
    if (parallel->transport == SDT_TRANSPORT_NCCL &&
        sdt__collective_open(run->layout.place, run->layout.devices, machine->watch.stall_seconds,
                             &run->collective, &flow->error) != SDT_OK)
        goto failed;
    run->parameters = sdt_parameters_new(wan->weights, machine);
    run->block = calloc((size_t)c->layers, sizeof *run->block);
    run->rope_values = malloc(sdt_rope_table_size(&run->rope) * sizeof(float));
    if (!run->parameters || !run->block || !run->rope_values) {
        sdt_fail(&flow->error, SDT_ERROR_MEMORY, "out of memory for a run of the transformer");
        goto failed;
    }
    /* Streams overlap only if the next layer's tasks of each can be inserted while one computes. */
    if (run->streams > 1)
        sdt__lane_allow(flow->lane, 2 * run->streams * layer_tasks(&run->layout));
    sdt_rope_table(&run->rope, 10000.0, run->rope_values);
    starpu_vector_data_register(&run->rope_table, STARPU_MAIN_RAM, (uintptr_t)run->rope_values,
                                (uint32_t)sdt_rope_table_size(&run->rope), sizeof(float));
    get_weights(flow, run);
    for (int s = 0; s < run->streams; s++)
        stream_init(flow, run, &run->stream[s]);
    for (int b = 0; b < branches; b++)
        branch_init(flow, run, &run->branch[b], &run->stream[b % run->streams]);
    if (flow->error.status == SDT_OK)
        return run;
failed:
    sdt_wan_run_free(run);
    return NULL;
}

void sdt_wan_run_free(struct sdt_wan_run *run) {
    if (!run)
        return;
    for (int s = 0; s < run->streams; s++)
        stream_clear(run, &run->stream[s]);
    for (int b = 0; b < run->branches; b++)
        branch_clear(run, &run->branch[b]);
    if (run->rope_table)
        starpu_data_unregister(run->rope_table);
    sdt_parameters_free(run->parameters);
    if (run->collective)
        run->machine->collective_bytes += sdt__collective_bytes(run->collective);
    sdt__collective_close(run->collective);
    sdt_layout_clear(&run->layout);
    free(run->rope_values);
    free(run->block);
    free(run);
}

const struct sdt_layout *sdt_wan_layout(const struct sdt_wan_run *run) { return &run->layout; }

const sdt_handle *sdt_wan_velocity(const struct sdt_wan_run *run, int branch) {
    return run->branch[branch].velocity;
}

/* ---- prompt --------------------------------------------------------------------------------- */

void sdt_wan_prompt(struct sdt_flow *flow, struct sdt_wan_run *run, int index, sdt_handle text,
                    int rows, int pad_rows) {
    const struct sdt_wan_config *c = &run->wan->config;
    struct branch *branch = &run->branch[index];
    size_t d = (size_t)c->width;
    enum sdt_dtype dtype = run->layout.dtype;
    int keys = rows + (pad_rows > 0 ? 1 : 0);

    flow->place = &run->layout.place[0];
    flow->tag.role = SDT_ROLE_TEXT;
    flow->tag.stream = index;
    branch->text_keys = keys;
    branch->pad_bias = pad_rows > 0 ? logf((float)pad_rows) : 0.0f;

    sdt_handle padded = sdt__tensor(flow, dtype, (size_t)keys * (size_t)c->text_dim, "padded text");
    sdt_handle hidden = sdt__tensor(flow, dtype, (size_t)keys * d, "text hidden");
    sdt_handle y = sdt__tensor(flow, dtype, (size_t)keys * d, "text");
    sdt_handle raw = sdt__tensor(flow, dtype, (size_t)keys * d, "text raw keys");
    if (pad_rows > 0)
        sdt_insert_pad_row(flow, "pad_row", rows, c->text_dim, text, padded);
    else if (dtype != SDT_F32)
        sdt_insert_convert(flow, "text", (size_t)rows * (size_t)c->text_dim, text, padded);
    sdt_insert_linear(flow, "text_1", keys, c->width, c->text_dim,
                      pad_rows > 0 || dtype != SDT_F32 ? padded : text, run->text_1.weight,
                      run->text_1.bias, SDT_EPILOGUE_GELU_TANH, hidden);
    sdt_insert_linear(flow, "text_2", keys, c->width, c->width, hidden, run->text_2.weight,
                      run->text_2.bias, SDT_EPILOGUE_NONE, y);
    for (int l = 0; l < c->layers; l++) {
        const struct attention *cross = &run->block[l].cross;
        flow->tag.layer = l;
        if (branch->keys[l])
            starpu_data_unregister_submit(branch->keys[l]);
        if (branch->values[l])
            starpu_data_unregister_submit(branch->values[l]);
        branch->keys[l] = sdt__tensor(flow, dtype, (size_t)keys * d, "text keys");
        branch->values[l] = sdt__tensor(flow, dtype, (size_t)keys * d, "text values");
        sdt_insert_linear(flow, "cross_k", keys, c->width, c->width, y, cross->k.weight,
                          cross->k.bias, SDT_EPILOGUE_NONE, raw);
        sdt_insert_rms_norm(flow, "cross_norm_k", keys, c->width, c->eps, raw, cross->norm_k,
                            branch->keys[l]);
        sdt_insert_linear(flow, "cross_v", keys, c->width, c->width, y, cross->v.weight,
                          cross->v.bias, SDT_EPILOGUE_NONE, branch->values[l]);
    }
    flow->tag.layer = -1;
    sdt_handle temporary[] = {padded, hidden, y, raw};
    for (size_t i = 0; i < sizeof temporary / sizeof temporary[0]; i++)
        if (temporary[i])
            starpu_data_unregister_submit(temporary[i]);
}

/* ---- forward -------------------------------------------------------------------------------- */

/* What project() and output() need to know of the layer that the strategy is working on. */
struct layer {
    struct sdt_wan_run *run;
    struct stream *stream;
    const struct branch *branch;
    const struct block *block;
};

/* Tasks of tile t run where its tokens live. */
static void at_home(struct sdt_flow *flow, const struct sdt_wan_run *run, int tile,
                    enum sdt_role role) {
    flow->place = &run->layout.place[run->layout.home[tile]];
    flow->tag.role = role;
    flow->tag.tile = tile;
}

static void project(struct sdt_flow *flow, void *model, enum sdt_projection which, int tile) {
    static const char *const name[] = {"to_q", "to_k", "to_v"};
    static const char *const split_name[] = {"split_q", "split_k", "split_v"};
    const struct layer *layer = model;
    const struct sdt_wan_run *run = layer->run;
    const struct sdt_wan_config *c = &run->wan->config;
    const struct sdt_layout *layout = &run->layout;
    const struct attention *self = &layer->block->self;
    const struct linear *linear[] = {&self->q, &self->k, &self->v};
    sdt_handle norm[] = {self->norm_q, self->norm_k, NULL};
    sdt_handle raw = next_of(&layer->stream->raw[layout->home[tile]]);

    at_home(flow, run, tile, SDT_ROLE_PROJECT);
    sdt_insert_linear(flow, name[which], layout->rows, c->width, c->width, layer->stream->z[tile],
                      linear[which]->weight, linear[which]->bias, SDT_EPILOGUE_NONE, raw);
    struct sdt_split_heads split = {.rows = layout->rows,
                                    .valid_rows = sdt_tile_valid(layout, tile),
                                    .heads = c->heads,
                                    .e = c->head_dim,
                                    .eps = c->eps,
                                    .rope = run->rope,
                                    .first_token = (int64_t)tile * layout->rows,
                                    .pieces = layout->chunks,
                                    .head = layout->head};
    sdt_insert_split_heads(flow, split_name[which], &split, raw, norm[which],
                           which == SDT_PROJECT_V ? NULL : run->rope_table,
                           layer->stream->attention.piece[which] + tile * layout->chunks);
}

/* z is free once q, k and v are projected: the attention output is put together there. */
static sdt_handle merged(void *model, int tile) {
    const struct layer *layer = model;
    return layer->stream->z[tile];
}

static void output(struct sdt_flow *flow, void *model, int tile) {
    const struct layer *layer = model;
    const struct sdt_wan_run *run = layer->run;
    const struct sdt_wan_config *c = &run->wan->config;
    struct stream *stream = layer->stream;

    at_home(flow, run, tile, SDT_ROLE_PROJECT);
    sdt_insert_linear_residual(
        flow, "to_out", run->layout.rows, c->width, c->width, stream->z[tile],
        layer->block->self.out.weight, layer->block->self.out.bias,
        (struct sdt_row_sum){layer->block->table, stream->modulation, 2, 2}, stream->x[tile]);
}

/* X += to_out(SDPA(norm(to_q LN(X)), K, V)): no gate, no rotation, the prompt's keys as they are. */
static void cross_attention(struct sdt_flow *flow, const struct layer *layer, int tile) {
    const struct sdt_wan_run *run = layer->run;
    const struct sdt_wan_config *c = &run->wan->config;
    const struct sdt_layout *layout = &run->layout;
    const struct block *block = layer->block;
    struct stream *stream = layer->stream;
    const struct branch *branch = layer->branch;
    int l = flow->tag.layer;
    struct sdt_row_sum none = {0};

    sdt_handle z = stream->z[tile];
    if (c->cross_attn_norm)
        sdt_insert_layer_norm(flow, "norm2", layout->rows, c->width, c->eps, stream->x[tile],
                              block->norm2_weight, block->norm2_bias, none, none, z);
    else
        z = stream->x[tile];
    sdt_handle q = next_of(&stream->raw[layout->home[tile]]);
    sdt_handle o = next_of(&stream->raw[layout->home[tile]]);
    sdt_insert_linear(flow, "cross_q", layout->rows, c->width, c->width, z, block->cross.q.weight,
                      block->cross.q.bias, SDT_EPILOGUE_NONE, q);
    /* With a single tile the ring has one buffer, and z is free by now. */
    if (o == q)
        o = stream->z[tile];
    sdt_insert_cross_attention(flow, "cross_attention", layout->rows, c->heads, c->head_dim, c->eps,
                               branch->text_keys, branch->pad_bias, q, block->cross.norm_q,
                               branch->keys[l], branch->values[l], o);
    sdt_insert_linear_residual(flow, "cross_out", layout->rows, c->width, c->width, o,
                               block->cross.out.weight, block->cross.out.bias, none,
                               stream->x[tile]);
}

/* X += gate ffn(mod(LN(X))) */
static void feed_forward(struct sdt_flow *flow, const struct layer *layer, int tile) {
    const struct sdt_wan_run *run = layer->run;
    const struct sdt_wan_config *c = &run->wan->config;
    const struct sdt_layout *layout = &run->layout;
    const struct block *block = layer->block;
    struct stream *stream = layer->stream;
    sdt_handle m = stream->modulation;
    sdt_handle hidden = next_of(&stream->hidden[layout->home[tile]]);

    sdt_insert_layer_norm(flow, "norm3", layout->rows, c->width, c->eps, stream->x[tile], NULL,
                          NULL, (struct sdt_row_sum){block->table, m, 4, 4},
                          (struct sdt_row_sum){block->table, m, 3, 3}, stream->z[tile]);
    sdt_insert_linear(flow, "ffn_up", layout->rows, c->ffn_dim, c->width, stream->z[tile],
                      block->up.weight, block->up.bias, SDT_EPILOGUE_GELU_TANH, hidden);
    sdt_insert_linear_residual(flow, "ffn_down", layout->rows, c->width, c->ffn_dim, hidden,
                               block->down.weight, block->down.bias,
                               (struct sdt_row_sum){block->table, m, 5, 5}, stream->x[tile]);
}

/* Weights come and go: while a device computes this layer, the next one's are on their way. */
static void fetch_next(struct sdt_flow *flow, const struct sdt_wan_run *run,
                       const struct stream *stream, int layer) {
    const struct sdt_layout *layout = &run->layout;
    const struct block *next = &run->block[(layer + 1) % run->wan->config.layers];
    for (int d = 0; d < layout->devices; d++) {
        int first = layout->first_tile[d];
        if (first == layout->first_tile[d + 1])
            continue;
        at_home(flow, run, first, SDT_ROLE_IO);
        sdt_insert_prefetch(flow, "fetch_weights", stream->z[first],
                            (int)(sizeof *next / sizeof(sdt_handle)), (const sdt_handle *)next);
    }
}

/* e = TE(sinusoid(t)), m6 = time_proj(silu(e)): once per step, on the group's first device. */
static void condition(struct sdt_flow *flow, struct sdt_wan_run *run, struct stream *stream,
                      float t) {
    const struct sdt_wan_config *c = &run->wan->config;

    flow->place = &run->layout.place[0];
    flow->tag.role = SDT_ROLE_DENOISE;
    sdt_insert_sinusoid(flow, "sinusoid", t, c->freq_dim, stream->sinusoid);
    sdt_insert_linear(flow, "time_1", 1, c->width, c->freq_dim, stream->sinusoid,
                      run->time_1.weight, run->time_1.bias, SDT_EPILOGUE_SILU, stream->time_1);
    sdt_insert_linear(flow, "time_2", 1, c->width, c->width, stream->time_1, run->time_2.weight,
                      run->time_2.bias, SDT_EPILOGUE_NONE, stream->embedding);
    sdt_insert_silu(flow, "silu", (size_t)c->width, stream->embedding, stream->silu);
    sdt_insert_linear(flow, "time_proj", 1, 6 * c->width, c->width, stream->silu,
                      run->time_proj.weight, run->time_proj.bias, SDT_EPILOGUE_NONE,
                      stream->modulation);
}

/* The three parts of a forward: before the layers, one layer, after them. */
static void begin_forward(struct sdt_flow *flow, struct sdt_wan_run *run, int index, float t,
                          const sdt_handle *latent) {
    const struct sdt_wan_config *c = &run->wan->config;
    const struct sdt_layout *layout = &run->layout;
    struct stream *stream = run->branch[index].stream;
    int patch = c->patch[0] * c->patch[1] * c->patch[2];

    flow->tag.stream = index;
    condition(flow, run, stream, t);
    for (int i = 0; i < layout->tiles; i++) {
        sdt_handle x = latent[i];
        at_home(flow, run, i, SDT_ROLE_DENOISE);
        if (layout->dtype != SDT_F32) {
            x = next_of(&stream->hidden[layout->home[i]]);
            sdt_insert_convert(flow, "latent",
                               (size_t)layout->rows * (size_t)(patch * c->in_channels), latent[i],
                               x);
        }
        sdt_insert_linear(flow, "patch_embedding", layout->rows, c->width, patch * c->in_channels,
                          x, run->patch_embedding.weight, run->patch_embedding.bias,
                          SDT_EPILOGUE_NONE, stream->x[i]);
    }
}

static void insert_layer(struct sdt_flow *flow, struct sdt_wan_run *run, int index, int l) {
    const struct sdt_wan_config *c = &run->wan->config;
    const struct sdt_layout *layout = &run->layout;
    const struct branch *branch = &run->branch[index];
    struct stream *stream = branch->stream;
    struct layer layer = {run, stream, branch, &run->block[l]};
    const struct sdt_parallel *parallel = &run->parallel;
    struct sdt_self_attention attention = {.layout = layout,
                                           .buffers = &stream->attention,
                                           .anywhere = parallel->anywhere,
                                           .model = &layer,
                                           .project = project,
                                           .merged = merged,
                                           .output = output};

    flow->tag.stream = index;
    flow->tag.layer = l;
    for (int i = 0; i < layout->tiles; i++) {
        at_home(flow, run, i, SDT_ROLE_DENOISE);
        sdt_insert_layer_norm(
            flow, "norm1", layout->rows, c->width, c->eps, stream->x[i], NULL, NULL,
            (struct sdt_row_sum){layer.block->table, stream->modulation, 1, 1},
            (struct sdt_row_sum){layer.block->table, stream->modulation, 0, 0}, stream->z[i]);
    }
    if (parallel->offloads)
        fetch_next(flow, run, stream, l);
    attention.aco = layout->helpers ? parallel->aco : SDT_ACO_OFF;
    if (attention.aco == SDT_ACO_STATIC && parallel->helpers_free &&
        !parallel->helpers_free(parallel->helpers_arg))
        attention.aco = SDT_ACO_OFF;
    parallel->strategy->self_attention(flow, &attention);
    for (int i = 0; i < layout->tiles; i++) {
        at_home(flow, run, i, SDT_ROLE_DENOISE);
        cross_attention(flow, &layer, i);
        feed_forward(flow, &layer, i);
    }
    flow->tag.layer = -1;
}

static void end_forward(struct sdt_flow *flow, struct sdt_wan_run *run, int index) {
    const struct sdt_wan_config *c = &run->wan->config;
    const struct sdt_layout *layout = &run->layout;
    const struct branch *branch = &run->branch[index];
    struct stream *stream = branch->stream;
    int patch = c->patch[0] * c->patch[1] * c->patch[2];

    flow->tag.stream = index;
    /* Head: (shift, scale) = table[2, d] + e, then the projection, C fastest. */
    for (int i = 0; i < layout->tiles; i++) {
        sdt_handle raw = next_of(&stream->hidden[layout->home[i]]);
        at_home(flow, run, i, SDT_ROLE_DENOISE);
        sdt_insert_layer_norm(flow, "norm_out", layout->rows, c->width, c->eps, stream->x[i], NULL,
                              NULL, (struct sdt_row_sum){run->table, stream->embedding, 1, 0},
                              (struct sdt_row_sum){run->table, stream->embedding, 0, 0},
                              stream->z[i]);
        sdt_insert_linear(flow, "proj_out", layout->rows, patch * c->out_channels, c->width,
                          stream->z[i], run->proj_out.weight, run->proj_out.bias, SDT_EPILOGUE_NONE,
                          raw);
        sdt_insert_patch_order(flow, "patch_order", layout->rows, c->out_channels, patch, raw,
                               branch->velocity[i]);
    }
    flow->tag.tile = -1;
}

void sdt_wan_forward(struct sdt_flow *flow, struct sdt_wan_run *run, int branch, float t,
                     const sdt_handle *latent) {
    begin_forward(flow, run, branch, t, latent);
    for (int l = 0; l < run->wan->config.layers; l++)
        insert_layer(flow, run, branch, l);
    end_forward(flow, run, branch);
}

void sdt_wan_forwards(struct sdt_flow *flow, struct sdt_wan_run *run, int branches, float t,
                      const sdt_handle *latent) {
    if (run->streams < branches) {
        for (int b = 0; b < branches; b++)
            sdt_wan_forward(flow, run, b, t, latent);
        return;
    }
    /* Layer by layer in turn: the lane is bounded, so a branch that is inserted as a whole first would have
     * ended before the other's tasks are there to fill its gaps. */
    for (int b = 0; b < branches; b++)
        begin_forward(flow, run, b, t, latent);
    for (int l = 0; l < run->wan->config.layers; l++)
        for (int b = 0; b < branches; b++)
            insert_layer(flow, run, b, l);
    for (int b = 0; b < branches; b++)
        end_forward(flow, run, b);
}

/* ---- predictions ---------------------------------------------------------------------------- */

double sdt_wan_flops(const struct sdt_wan_config *c, struct sdt_wan_geometry g, int text_keys) {
    double s = (double)g.frames * g.height * g.width / (c->patch[0] * c->patch[1] * c->patch[2]);
    double d = c->width, f = c->ffn_dim;
    return c->layers *
           (s * (12.0 * d * d + 4.0 * d * f) + 4.0 * s * s * d + 4.0 * s * text_keys * d);
}

/* Parameters that stay float32 whatever the run's type: see get_weights. */
static double float_parameters(const struct sdt_wan_config *c) {
    double d = c->width;
    double condition = d * (c->freq_dim + 1.0) + d * (d + 1.0) + 6.0 * d * (d + 1.0) + 2.0 * d;
    return condition + c->layers * d * (6.0 + 4.0 + (c->cross_attn_norm ? 2.0 : 0.0));
}

double sdt_wan_bytes(const struct sdt_wan *wan, const struct sdt_strategy *strategy,
                     const struct sdt_layout *layout, int device, int branches, int streams,
                     int text_keys) {
    const struct sdt_wan_config *c = &wan->config;
    double d = c->width, size = (double)sdt_dtype_size(layout->dtype);
    int tiles = layout->first_tile[device + 1] - layout->first_tile[device];
    double ring = ring_size(layout, device, layout->place[device].workers);
    double patch = c->patch[0] * c->patch[1] * c->patch[2] * c->out_channels;
    double stream = size * layout->rows * (tiles * 2.0 * d + ring * (d + c->ffn_dim)) +
                    sdt_attention_buffers_bytes(strategy, layout, device);
    double branch = 4.0 * layout->rows * tiles * patch + size * 2.0 * c->layers * text_keys * d;
    double latents = 4.0 * layout->rows * tiles * patch * 5.0; /* x twice, x_last, m0, m1 */
    double all = (double)sdt_weights_parameters(wan->weights), floats = float_parameters(c);
    return size * (all - floats) + 4.0 * floats + branches * branch +
           sdt_streams(streams, branches) * stream + latents;
}

double sdt_wan_exchanged(const struct sdt_wan_config *c, const struct sdt_strategy *strategy,
                         const struct sdt_layout *layout) {
    int others = 0; /* devices with tokens that do not compute the step's vectors themselves */
    for (int d = 1; d < layout->devices; d++)
        others += layout->first_tile[d + 1] > layout->first_tile[d];
    double vectors =
        4.0 * 7.0 * c->width * others; /* embedding [d] and modulation [6, d], floats */
    return c->layers * strategy->exchanged(layout) + vectors;
}

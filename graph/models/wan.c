/* The Wan 2.1 text-to-video transformer: WanTransformer3DModel of diffusers (specification:
 * arXiv 2503.20314). A tile's way through a layer: modulated self attention, cross attention to the
 * prompt's keys, modulated feed-forward. Guidance takes two forwards. */
#include "graph/models/family.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "graph/checkpoint/config.h"
#include "graph/run/run.h"

/* ---- configuration and weights -------------------------------------------------------------- */

extern const struct sdt_dit_kind sdt__wan_dit;
extern enum sdt_status sdt__wan_changes(const struct sdt_dit *dit, bool modulation, int count,
                                        const float *t, double *change, struct sdt_error *err);

struct wan {
    struct sdt_dit dit;
    int freq_dim, ffn_dim;
    float eps;
    bool cross_attn_norm; /* norm2: LN with weights before cross attention */
};

/* A stream's vectors. m6 = MODULATION is [6, d]: shift, scale, gate of attention, then of the
 * feed-forward. */
enum { SINUSOID, TIME_1, EMBEDDING, SILU, MODULATION };

static const struct wan *wan_of(const struct sdt_dit *dit) { return (const struct wan *)dit; }

static bool is_size(double number) {
    return number >= 1.0 && number <= 256.0 && number == floor(number);
}

#define NEXT(call)                                                                                 \
    if (status == SDT_OK)                                                                          \
    status = (call)

/* The original repository's config.json has other keys than diffusers'. */
static bool is_original(const struct sdt_config *json) { return sdt_config_has(json, "dim"); }

static enum sdt_status read_heads(const struct sdt_config *json, int64_t *heads, int64_t *head_dim,
                                  struct sdt_error *err) {
    enum sdt_status status = SDT_OK;
    int64_t d = 0;

    if (!is_original(json)) {
        NEXT(sdt_config_int(json, "num_attention_heads", true, 1, 1024, heads, err));
        NEXT(sdt_config_int(json, "attention_head_dim", true, 6, 1024, head_dim, err));
        return status;
    }
    NEXT(sdt_config_int(json, "dim", true, 6, 65536, &d, err));
    NEXT(sdt_config_int(json, "num_heads", true, 1, 1024, heads, err));
    *head_dim = status == SDT_OK ? d / *heads : 0;
    if (status == SDT_OK && (d % *heads || *head_dim < 6 || *head_dim > 1024))
        status = sdt_fail(err, SDT_ERROR_FORMAT, "%s: dim %d is not num_heads %d times 6 to 1024",
                          sdt_config_path(json), (int)d, (int)*heads);
    return status;
}

static enum sdt_status read_config(const struct sdt_config *json, struct wan *wan,
                                   int layers_wanted, struct sdt_error *err) {
    enum sdt_status status = SDT_OK;
    int64_t layers = 0, heads = 0, head_dim = 0, in = 0, out = 0;
    int64_t text = 4096, freq = 256, ffn = 0;
    double eps = 1e-6, patch[3] = {1, 2, 2};
    int patches = 3;
    bool original = is_original(json);

    NEXT(sdt_config_int(json, "num_layers", true, 1, 1000, &layers, err));
    NEXT(read_heads(json, &heads, &head_dim, err));
    NEXT(sdt_config_int(json, original ? "in_dim" : "in_channels", true, 1, 256, &in, err));
    NEXT(sdt_config_int(json, original ? "out_dim" : "out_channels", true, 1, 256, &out, err));
    NEXT(sdt_config_int(json, "text_dim", !original, 1, 65536, &text, err));
    NEXT(sdt_config_int(json, "freq_dim", true, 2, 65536, &freq, err));
    NEXT(sdt_config_int(json, "ffn_dim", true, 1, 1 << 20, &ffn, err));
    NEXT(sdt_config_number(json, "eps", false, &eps, err));
    NEXT(sdt_config_numbers(json, "patch_size", false, 3, patch, &patches, err));
    bool norm = true;
    NEXT(sdt_config_bool(json, "cross_attn_norm", false, &norm, err));
    NEXT(sdt_config_only(json, "qk_norm", original ? "true" : "\"rms_norm_across_heads\"", err));
    NEXT(sdt_config_only(json, "model_type", "\"t2v\"", err));
    NEXT(sdt_config_only(json, "window_size", "[-1, -1]", err));
    NEXT(sdt_config_only(json, "image_dim", "null", err));
    NEXT(sdt_config_only(json, "added_kv_proj_dim", "null", err));
    NEXT(sdt_config_only(json, "pos_embed_seq_len", "null", err));
    if (status != SDT_OK)
        return status;
    if (patches != 3 || head_dim % 2 || freq % 2 || in != out || heads * head_dim > 65536 ||
        !is_size(patch[0]) || !is_size(patch[1]) || !is_size(patch[2]) ||
        patch[0] * patch[1] * patch[2] > 256 || !(eps > 0.0))
        return sdt_fail(err, SDT_ERROR_UNSUPPORTED,
                        "%s: needs 3 patch sizes, even attention_head_dim and freq_dim, equal "
                        "in_channels and out_channels, eps above 0 and a width of at most 65536",
                        sdt_config_path(json));
    layers = layers_wanted > 0 ? layers_wanted : layers;
    int d = (int)(heads * head_dim), values = (int)(patch[0] * patch[1] * patch[2]) * (int)in;
    int pairs = (int)head_dim / 2, across = (int)head_dim / 6;
    wan->dit = (struct sdt_dit){
        .kind = &sdt__wan_dit,
        .layers = (int)layers,
        .heads = (int)heads,
        .head_dim = (int)head_dim,
        .width = d,
        .channels = (int)in,
        .patch = {(int)patch[0], (int)patch[1], (int)patch[2]},
        .texts = 1,
        .text_dim = (int)text,
        .passes = 2,
        /* also holds the latent in the run's type, and the head's output before its channels are
         * reordered */
        .hidden = (int)ffn > values ? (int)ffn : values,
        .prompt_handles = 2 * (int)layers,
        .prompt_row = {[SDT_READ_BY_TILES] = 2 * (size_t)layers * (size_t)d},
        .vector = {[SINUSOID] = (size_t)freq,
                   [TIME_1] = (size_t)d,
                   [EMBEDDING] = (size_t)d,
                   [SILU] = (size_t)d,
                   [MODULATION] = 6 * (size_t)d},
        .shared_floats = 7.0 * d, /* embedding and modulation */
        .shared_ends = d,         /* embedding */
        .rope_pairs = {pairs - 2 * across, across, across},
        .rope_theta = 10000.0};
    wan->freq_dim = (int)freq;
    wan->ffn_dim = (int)ffn;
    wan->eps = (float)eps;
    wan->cross_attn_norm = norm;
    return SDT_OK;
}

struct attention {
    struct sdt_linear_handles q, k, v, out;
    sdt_handle norm_q, norm_k;
};

/* Parts of names that are asked for before sizes are known. */
#define CONDITION "condition_embedder."
#define TIME_IN "time_embedder.linear_1"
#define TEXT_IN "text_embedder.linear_1"
#define PATCH "patch_embedding"
#define BLOCK "blocks.%d."
#define TABLE "scale_shift_table"
#define NORM_2 "norm2"
#define FFN_UP "ffn.net.0.proj"
#define HEAD "proj_out"

/* What one layer reads. */
struct block {
    sdt_handle table; /* [6, d], added to m6 */
    struct attention self, cross;
    sdt_handle norm2_weight, norm2_bias;
    struct sdt_linear_handles up, down;
};

struct bound {
    sdt_handle table; /* [2, d] of the head */
    sdt_handle patch_weight, patch_bias;
    struct sdt_linear_handles time_1, time_2, time_proj, text_1, text_2, proj_out;
    struct block block[]; /* [layers] */
};

static size_t bound_size(const struct sdt_dit *dit) {
    return sizeof(struct bound) + (size_t)dit->layers * sizeof(struct block);
}

/* keys: the type of what makes keys and values */
static void visit_attention(struct sdt_tensor_visit *v, struct attention *a, int64_t d,
                            enum sdt_tensor_type keys, const char *prefix) {
    sdt_tensor_linear(v, &a->q, SDT_TENSOR_MATRIX, d, d, prefix, "to_q");
    sdt_tensor_linear(v, &a->k, keys, d, d, prefix, "to_k");
    sdt_tensor_linear(v, &a->v, keys, d, d, prefix, "to_v");
    sdt_tensor_linear(v, &a->out, SDT_TENSOR_MATRIX, d, d, prefix, "to_out.0");
    sdt_tensor(v, &a->norm_q, SDT_TENSOR_FLOAT, 1, (int64_t[]){d}, "%snorm_q.weight", prefix);
    sdt_tensor(v, &a->norm_k, SDT_TENSOR_FLOAT, 1, (int64_t[]){d}, "%snorm_k.weight", prefix);
}

static void visit_block(struct sdt_tensor_visit *v, const struct wan *wan, struct block *b,
                        int layer) {
    int64_t d = wan->dit.width;
    char prefix[64], attention[80];

    snprintf(prefix, sizeof prefix, BLOCK, layer);
    v->layer = layer;
    sdt_tensor(v, &b->table, SDT_TENSOR_FLOAT, 3, (int64_t[]){1, 6, d}, "%s" TABLE, prefix);
    snprintf(attention, sizeof attention, "%sattn1.", prefix);
    visit_attention(v, &b->self, d, SDT_TENSOR_MATRIX, attention);
    snprintf(attention, sizeof attention, "%sattn2.", prefix);
    visit_attention(v, &b->cross, d, SDT_TENSOR_PROMPT_MATRIX, attention);
    if (wan->cross_attn_norm) {
        sdt_tensor(v, &b->norm2_weight, SDT_TENSOR_FLOAT, 1, (int64_t[]){d}, "%s" NORM_2 ".weight",
                   prefix);
        sdt_tensor(v, &b->norm2_bias, SDT_TENSOR_FLOAT, 1, (int64_t[]){d}, "%s" NORM_2 ".bias",
                   prefix);
    }
    sdt_tensor_linear(v, &b->up, SDT_TENSOR_MATRIX, wan->ffn_dim, d, prefix, FFN_UP);
    sdt_tensor_linear(v, &b->down, SDT_TENSOR_MATRIX, d, wan->ffn_dim, prefix, "ffn.net.2");
    v->layer = -1;
}

/* Matrices over tokens are of the run's type; what a step is conditioned on, norms and tables are
 * float32. */
static void tensors(const struct sdt_dit *dit, struct sdt_tensor_visit *v, void *bound) {
    const struct wan *wan = wan_of(dit);
    const int *patch = dit->patch;
    int64_t d = dit->width;
    struct bound none;
    struct block no_block;
    struct bound *b = bound ? bound : &none;

    sdt_tensor(v, &b->table, SDT_TENSOR_FLOAT, 3, (int64_t[]){1, 2, d}, TABLE);
    sdt_tensor(v, &b->patch_weight, SDT_TENSOR_MATRIX, 5,
               (int64_t[]){d, dit->channels, patch[0], patch[1], patch[2]}, PATCH ".weight");
    sdt_tensor(v, &b->patch_bias, SDT_TENSOR_RUN, 1, (int64_t[]){d}, PATCH ".bias");
    sdt_tensor_linear(v, &b->time_1, SDT_TENSOR_FLOAT_MATRIX, d, wan->freq_dim, CONDITION, TIME_IN);
    sdt_tensor_linear(v, &b->time_2, SDT_TENSOR_FLOAT_MATRIX, d, d, CONDITION,
                      "time_embedder.linear_2");
    sdt_tensor_linear(v, &b->time_proj, SDT_TENSOR_FLOAT_MATRIX, 6 * d, d, CONDITION, "time_proj");
    sdt_tensor_linear(v, &b->text_1, SDT_TENSOR_PROMPT_MATRIX, d, dit->text_dim, CONDITION,
                      TEXT_IN);
    sdt_tensor_linear(v, &b->text_2, SDT_TENSOR_PROMPT_MATRIX, d, d, CONDITION,
                      "text_embedder.linear_2");
    for (int i = 0; i < dit->layers; i++)
        visit_block(v, wan, bound ? &b->block[i] : &no_block, i);
    sdt_tensor_linear(v, &b->proj_out, SDT_TENSOR_MATRIX, (int64_t)sdt_patch_values(dit), d, "",
                      HEAD);
}

static const struct sdt_files files;

static void wan_close(struct sdt_dit *dit) {
    sdt_weights_close(dit->weights);
    free(dit);
}

static enum sdt_status wan_open(const struct sdt_config *config, const char *folder,
                                const struct sdt_opening *how, int layers, struct sdt_dit **out,
                                struct sdt_error *err) {
    struct wan *wan = calloc(1, sizeof *wan);

    *out = NULL;
    if (!wan)
        return sdt_fail(err, SDT_ERROR_MEMORY, "out of memory while opening %s", folder);
    enum sdt_status status = read_config(config, wan, layers, err);
    if (status == SDT_OK) {
        struct sdt_tensor_visit visit = {
            .layer = -1, .table = sdt_tensor_table_new(), .count = wan->dit.count};
        if (visit.table) {
            visit.table->namings = &files.namings;
            tensors(&wan->dit, &visit, NULL);
        }
        status = sdt_tensors_open(visit.table, folder, how, &wan->dit.weights, err);
    }
    if (status != SDT_OK)
        wan_close(&wan->dit);
    else
        *out = &wan->dit;
    return status;
}

/* ---- prompt --------------------------------------------------------------------------------- */

/* Keys and values of every layer's cross attention. Padding rows are all alike, so one key stands
 * for them, with the logarithm of their number added to its score. */
static void prompt(struct sdt_flow *flow, struct sdt_run *run, int branch,
                   const struct sdt_text_states *text, struct sdt_prompt *prompt) {
    const struct sdt_dit *dit = run->dit;
    const struct bound *bound = run->bound;
    int d = dit->width, rows = text->rows, pad_rows = text->pad_rows;
    enum sdt_dtype dtype = run->layout.dtype;
    int keys = rows + (pad_rows > 0 ? 1 : 0);
    size_t size = (size_t)keys * (size_t)d, words = (size_t)keys * (size_t)dit->text_dim;
    (void)branch;

    prompt->rows = keys;
    prompt->pad_bias = pad_rows > 0 ? logf((float)pad_rows) : 0.0f;

    sdt_handle padded = sdt__tensor(flow, dtype, words, "padded text");
    sdt_handle hidden = sdt__tensor(flow, dtype, size, "text hidden");
    sdt_handle y = sdt__tensor(flow, dtype, size, "text");
    sdt_handle raw = sdt__tensor(flow, dtype, size, "text raw keys");
    if (pad_rows > 0)
        sdt_insert_pad_row(flow, "pad_row", rows, dit->text_dim, text->handle, padded);
    else if (dtype != SDT_F32)
        sdt_insert_convert(flow, "text", words, text->handle, padded);
    sdt_insert_linear(flow, "text_1", keys, d, dit->text_dim,
                      pad_rows > 0 || dtype != SDT_F32 ? padded : text->handle,
                      bound->text_1.weight, bound->text_1.bias, SDT_EPILOGUE_GELU_TANH, hidden);
    sdt_insert_linear(flow, "text_2", keys, d, d, hidden, bound->text_2.weight, bound->text_2.bias,
                      SDT_EPILOGUE_NONE, y);
    for (int l = 0; l < dit->layers; l++) {
        const struct attention *cross = &bound->block[l].cross;
        sdt_handle *k = &prompt->handle[2 * l], *v = k + 1;
        sdt_run_at_prompt(flow, run, l);
        *k = sdt__tensor(flow, dtype, size, "text keys");
        *v = sdt__tensor(flow, dtype, size, "text values");
        sdt_insert_linear(flow, "cross_k", keys, d, d, y, cross->k.weight, cross->k.bias,
                          SDT_EPILOGUE_NONE, raw);
        sdt_insert_rms_norm(flow, "cross_norm_k", keys, d, wan_of(dit)->eps, raw, cross->norm_k,
                            *k);
        sdt_insert_linear(flow, "cross_v", keys, d, d, y, cross->v.weight, cross->v.bias,
                          SDT_EPILOGUE_NONE, *v);
    }
    sdt_handle temporary[] = {padded, hidden, y, raw};
    for (size_t i = 0; i < sizeof temporary / sizeof temporary[0]; i++)
        sdt__unregister_submit(temporary[i]);
}

/* ---- forward -------------------------------------------------------------------------------- */

/* e = TE(sinusoid(t)), m6 = time_proj(silu(e)). */
static void condition(struct sdt_flow *flow, struct sdt_run *run, struct sdt_stream *stream,
                      float t, float guidance) {
    const struct wan *wan = wan_of(run->dit);
    const struct bound *bound = run->bound;
    int d = run->dit->width;
    sdt_handle *v = stream->vector;
    (void)guidance; /* by two forwards */

    sdt_insert_sinusoid(flow, "sinusoid", t, wan->freq_dim, v[SINUSOID]);
    sdt_insert_linear(flow, "time_1", 1, d, wan->freq_dim, v[SINUSOID], bound->time_1.weight,
                      bound->time_1.bias, SDT_EPILOGUE_SILU, v[TIME_1]);
    sdt_insert_linear(flow, "time_2", 1, d, d, v[TIME_1], bound->time_2.weight, bound->time_2.bias,
                      SDT_EPILOGUE_NONE, v[EMBEDDING]);
    sdt_insert_silu(flow, "silu", (size_t)d, v[EMBEDDING], v[SILU]);
    sdt_insert_linear(flow, "time_proj", 1, 6 * d, d, v[SILU], bound->time_proj.weight,
                      bound->time_proj.bias, SDT_EPILOGUE_NONE, v[MODULATION]);
}

static void embed(struct sdt_flow *flow, struct sdt_run *run, struct sdt_at at, sdt_handle latent) {
    const struct bound *bound = run->bound;
    const struct sdt_layout *layout = &run->layout;
    int values = (int)sdt_patch_values(run->dit);
    sdt_handle x = latent;

    if (layout->dtype != SDT_F32) {
        x = sdt_run_hidden(run, at);
        sdt_insert_convert(flow, "latent", (size_t)sdt_rows(run, at) * (size_t)values, latent, x);
    }
    sdt_insert_linear(flow, "patch_embedding", sdt_rows(run, at), run->dit->width, values, x,
                      bound->patch_weight, bound->patch_bias, SDT_EPILOGUE_NONE,
                      at.stream->x[at.tile]);
}

/* z = mod(LN(x)) */
static void begin(struct sdt_flow *flow, struct sdt_run *run, struct sdt_at at) {
    const struct bound *bound = run->bound;
    const struct block *block = &bound->block[at.layer];
    sdt_handle m = at.stream->vector[MODULATION];

    sdt_insert_layer_norm(flow, "norm1", sdt_rows(run, at), run->dit->width, wan_of(run->dit)->eps,
                          at.stream->x[at.tile], NULL, NULL,
                          (struct sdt_row_sum){block->table, m, 1, 1},
                          (struct sdt_row_sum){block->table, m, 0, 0}, at.stream->z[at.tile]);
}

static void project(struct sdt_flow *flow, struct sdt_run *run, struct sdt_at at,
                    enum sdt_projection which, const sdt_handle *piece) {
    static const char *const name[] = {"to_q", "to_k", "to_v"};
    static const char *const split_name[] = {"split_q", "split_k", "split_v"};
    const struct sdt_dit *dit = run->dit;
    const struct sdt_layout *layout = &run->layout;
    const struct attention *self = &((const struct bound *)run->bound)->block[at.layer].self;
    const struct sdt_linear_handles *linear[] = {&self->q, &self->k, &self->v};
    sdt_handle norm[] = {self->norm_q, self->norm_k, NULL};
    sdt_handle raw = sdt_run_raw(run, at);

    sdt_insert_linear(flow, name[which], sdt_rows(run, at), dit->width, dit->width,
                      at.stream->z[at.tile], linear[which]->weight, linear[which]->bias,
                      SDT_EPILOGUE_NONE, raw);
    struct sdt_split_heads split = {.rows = sdt_rows(run, at),
                                    .valid_rows = sdt_tile_valid(layout, at.tile),
                                    .heads = dit->heads,
                                    .e = dit->head_dim,
                                    .eps = wan_of(dit)->eps,
                                    .rope = run->rope,
                                    .first_token = sdt_tile_first(layout, at.tile),
                                    .pieces = layout->chunks,
                                    .head = layout->head};
    sdt_insert_split_heads(flow, split_name[which], &split, raw, norm[which],
                           which == SDT_PROJECT_V ? NULL : run->rope_table, piece);
    split.first_token += at.ahead;
    if (at.later)
        sdt_insert_split_heads(flow, "split_later", &split, raw, norm[which], run->rope_table,
                               at.later);
}

/* x += gate to_out(z) */
static void join(struct sdt_flow *flow, struct sdt_run *run, struct sdt_at at) {
    const struct block *block = &((const struct bound *)run->bound)->block[at.layer];
    int d = run->dit->width;

    sdt_insert_linear_residual(
        flow, "to_out", sdt_rows(run, at), d, d, at.stream->z[at.tile], block->self.out.weight,
        block->self.out.bias,
        (struct sdt_row_sum){block->table, at.stream->vector[MODULATION], 2, 2},
        at.stream->x[at.tile]);
}

/* x += to_out(SDPA(norm(to_q LN(x)), K, V)): no gate, no rotation, the prompt's keys as they
 * are. */
static void cross_attention(struct sdt_flow *flow, struct sdt_run *run, struct sdt_at at,
                            const struct block *block) {
    const struct wan *wan = wan_of(run->dit);
    const struct sdt_dit *dit = run->dit;
    const struct sdt_prompt *prompt = run->branch[at.branch].prompt;
    int rows = sdt_rows(run, at), d = dit->width;
    struct sdt_row_sum none = {0};
    sdt_handle x = at.stream->x[at.tile], z = at.stream->z[at.tile], normed = x;

    if (wan->cross_attn_norm) {
        normed = z;
        sdt_insert_layer_norm(flow, "norm2", rows, d, wan->eps, x, block->norm2_weight,
                              block->norm2_bias, none, none, normed);
    }
    sdt_handle q = sdt_run_raw(run, at), o = sdt_run_raw(run, at);
    sdt_insert_linear(flow, "cross_q", rows, d, d, normed, block->cross.q.weight,
                      block->cross.q.bias, SDT_EPILOGUE_NONE, q);
    /* With a single tile there is one buffer to take turns with, and z is free by now. */
    if (o == q)
        o = z;
    sdt_insert_cross_attention(flow, "cross_attention", rows, dit->heads, dit->head_dim, wan->eps,
                               prompt->rows, prompt->pad_bias, q, block->cross.norm_q,
                               prompt->handle[2 * at.layer], prompt->handle[2 * at.layer + 1], o);
    sdt_insert_linear_residual(flow, "cross_out", rows, d, d, o, block->cross.out.weight,
                               block->cross.out.bias, none, x);
}

/* x += gate ffn(mod(LN(x))) */
static void feed_forward(struct sdt_flow *flow, struct sdt_run *run, struct sdt_at at,
                         const struct block *block) {
    const struct wan *wan = wan_of(run->dit);
    int rows = sdt_rows(run, at), d = run->dit->width;
    sdt_handle m = at.stream->vector[MODULATION], hidden = sdt_run_hidden(run, at);

    sdt_insert_layer_norm(flow, "norm3", rows, d, wan->eps, at.stream->x[at.tile], NULL, NULL,
                          (struct sdt_row_sum){block->table, m, 4, 4},
                          (struct sdt_row_sum){block->table, m, 3, 3}, at.stream->z[at.tile]);
    sdt_insert_linear(flow, "ffn_up", rows, wan->ffn_dim, d, at.stream->z[at.tile],
                      block->up.weight, block->up.bias, SDT_EPILOGUE_GELU_TANH, hidden);
    sdt_insert_linear_residual(flow, "ffn_down", rows, d, wan->ffn_dim, hidden, block->down.weight,
                               block->down.bias, (struct sdt_row_sum){block->table, m, 5, 5},
                               at.stream->x[at.tile]);
}

static void finish(struct sdt_flow *flow, struct sdt_run *run, struct sdt_at at) {
    const struct block *block = &((const struct bound *)run->bound)->block[at.layer];
    cross_attention(flow, run, at, block);
    feed_forward(flow, run, at, block);
}

/* (shift, scale) = table[2, d] + e, then the projection, C fastest. */
static void head(struct sdt_flow *flow, struct sdt_run *run, struct sdt_at at,
                 sdt_handle velocity) {
    const struct bound *bound = run->bound;
    const struct sdt_dit *dit = run->dit;
    int rows = sdt_rows(run, at), d = dit->width, values = (int)sdt_patch_values(dit);
    sdt_handle raw = sdt_run_hidden(run, at), e = at.stream->vector[EMBEDDING];

    sdt_insert_layer_norm(flow, "norm_out", rows, d, wan_of(dit)->eps, at.stream->x[at.tile], NULL,
                          NULL, (struct sdt_row_sum){bound->table, e, 1, 0},
                          (struct sdt_row_sum){bound->table, e, 0, 0}, at.stream->z[at.tile]);
    sdt_insert_linear(flow, "proj_out", rows, values, d, at.stream->z[at.tile],
                      bound->proj_out.weight, bound->proj_out.bias, SDT_EPILOGUE_NONE, raw);
    sdt_insert_patch_order(flow, "patch_order", rows, dit->channels, values / dit->channels, raw,
                           velocity);
}

/* ---- predictions ---------------------------------------------------------------------------- */

static struct sdt_work work(const struct sdt_dit *dit, int64_t tokens, int text_rows) {
    double s = (double)tokens, d = dit->width, f = wan_of(dit)->ffn_dim;
    return (struct sdt_work){.linear = dit->layers *
                                       (s * (12.0 * d * d + 4.0 * d * f) + 4.0 * s * text_rows * d),
                             .attention = dit->layers * 4.0 * s * s * d};
}

static void add_linear(struct sdt_operations *list, enum sdt_operation_when when, double tasks,
                       int rows, int n, int k, enum sdt_epilogue epilogue) {
    sdt_operations_add(list, (struct sdt_operation){.kind = SDT_OPERATION_LINEAR,
                                                    .when = when,
                                                    .tasks = tasks,
                                                    .rows = rows,
                                                    .n = n,
                                                    .k = k,
                                                    .epilogue = epilogue});
}

static void operations(const struct sdt_dit *dit, int rows, int text_rows,
                       struct sdt_operations *list) {
    const struct wan *wan = wan_of(dit);
    int d = dit->width, values = (int)sdt_patch_values(dit);
    struct sdt_operation heads = {.kind = SDT_OPERATION_SPLIT_HEADS,
                                  .tasks = 3,
                                  .rows = rows,
                                  .heads = dit->heads,
                                  .e = dit->head_dim};
    struct sdt_operation norm = {
        .kind = SDT_OPERATION_NORM, .tasks = wan->cross_attn_norm ? 3 : 2, .rows = rows, .n = d};

    add_linear(list, SDT_EACH_LAYER, 6, rows, d, d, SDT_EPILOGUE_NONE);
    sdt_operations_add(list, heads);
    sdt_operations_add(list, norm);
    heads.kind = SDT_OPERATION_CROSS_ATTENTION;
    heads.tasks = 1;
    heads.keys = text_rows;
    sdt_operations_add(list, heads);
    add_linear(list, SDT_EACH_LAYER, 1, rows, wan->ffn_dim, d, SDT_EPILOGUE_GELU_TANH);
    add_linear(list, SDT_EACH_LAYER, 1, rows, d, wan->ffn_dim, SDT_EPILOGUE_NONE);

    add_linear(list, SDT_EACH_TILE, 1, rows, d, values, SDT_EPILOGUE_NONE);
    add_linear(list, SDT_EACH_TILE, 1, rows, values, d, SDT_EPILOGUE_NONE);
    norm.when = SDT_EACH_TILE;
    norm.tasks = 1;
    sdt_operations_add(list, norm);
    sdt_operations_add(list, (struct sdt_operation){.kind = SDT_OPERATION_ELEMENTS,
                                                    .when = SDT_EACH_TILE,
                                                    .tasks = 1,
                                                    .rows = rows,
                                                    .n = 2 * values});

    add_linear(list, SDT_EACH_FORWARD, 1, 1, d, wan->freq_dim, SDT_EPILOGUE_SILU);
    add_linear(list, SDT_EACH_FORWARD, 1, 1, d, d, SDT_EPILOGUE_NONE);
    add_linear(list, SDT_EACH_FORWARD, 1, 1, 6 * d, d, SDT_EPILOGUE_NONE);
    sdt_operations_add(list, (struct sdt_operation){.kind = SDT_OPERATION_ELEMENTS,
                                                    .when = SDT_EACH_FORWARD,
                                                    .tasks = 2,
                                                    .rows = 1,
                                                    .n = 2 * d});
}

const struct sdt_dit_kind sdt__wan_dit = {
    .class_name = "WanTransformer3DModel",
    .files = &files,
    .open = wan_open,
    .close = wan_close,
    .tensors = tensors,
    .bound_size = bound_size,
    .prompt = prompt,
    .condition = condition,
    .embed = embed,
    .begin = begin,
    .project = project,
    .later = true,
    .join = join,
    .finish = finish,
    .head = head,
    .work = work,
    .operations = operations,
    .changes = sdt__wan_changes,
};

/* ---- the pipeline ---------------------------------------------------------------------------- */

extern const struct sdt_vae_kind sdt__wan_vae;
extern const char sdt__wan_vae_config[]; /* of the published decoder */
extern const struct sdt_text_kind sdt__umt5;

/* WanPipeline stands for Wan 2.2 as well, which has two transformers or a timestep per token. */
static enum sdt_status check_index(const struct sdt_config *index, struct sdt_error *err) {
    const char *second = NULL;
    enum sdt_status status = sdt_config_only(index, "boundary_ratio", "null", err);
    if (status == SDT_OK)
        status = sdt_config_only(index, "expand_timesteps", "false", err);
    if (status == SDT_OK && sdt_config_has(index, "transformer_2"))
        status = sdt_config_string_at(index, "transformer_2", 0, &second, err);
    if (status == SDT_OK && second)
        status =
            sdt_fail(err, SDT_ERROR_UNSUPPORTED,
                     "%s: transformer_2 is set; models with two transformers (Wan 2.2) are not "
                     "supported",
                     sdt_config_path(index));
    return status;
}

/* ---- published sizes ------------------------------------------------------------------------- */

#define DIT(layers, heads, ffn)                                                                    \
    "{\"_class_name\": \"WanTransformer3DModel\", \"num_layers\": " #layers                        \
    ", \"num_attention_heads\": " #heads ", \"attention_head_dim\": 128, \"in_channels\": 16, "    \
    "\"out_channels\": 16, \"text_dim\": 4096, \"freq_dim\": 256, \"ffn_dim\": " #ffn              \
    ", \"patch_size\": [1, 2, 2], \"cross_attn_norm\": true, \"eps\": 1e-06}"

static const char umt5_xxl[] =
    "{\"model_type\": \"umt5\", \"num_layers\": 24, \"d_model\": 4096, \"num_heads\": 64, "
    "\"d_kv\": 64, "
    "\"d_ff\": 10240, \"vocab_size\": 256384, \"feed_forward_proj\": \"gated-gelu\"}";

static const struct sdt_size sizes[] = {
    {"wan-1.3b", DIT(30, 12, 8960), sdt__wan_vae_config, {umt5_xxl}, {0}},
    {"wan-14b", DIT(40, 40, 13824), sdt__wan_vae_config, {umt5_xxl}, {0}},
    {NULL},
};

/* ---- single files ---------------------------------------------------------------------------- */

/* As the model's own repository and ComfyUI have it. */
static void spell_original(const void *model, const char *name, char *text, size_t size) {
    static const struct sdt_replacement list[] = {
        {CONDITION TIME_IN, "time_embedding.0"},
        {CONDITION "time_embedder.linear_2", "time_embedding.2"},
        {CONDITION "time_proj", "time_projection.1"},
        {CONDITION TEXT_IN, "text_embedding.0"},
        {CONDITION "text_embedder.linear_2", "text_embedding.2"},
        {"." TABLE, ".modulation"},
        {TABLE, "head.modulation"},
        {HEAD, "head.head"},
        {".attn1.", ".self_attn."},
        {".attn2.", ".cross_attn."},
        {".to_q.", ".q."},
        {".to_k.", ".k."},
        {".to_v.", ".v."},
        {".to_out.0.", ".o."},
        {"." NORM_2 ".", ".norm3."},
        {"." FFN_UP ".", ".ffn.0."},
        {".ffn.net.2.", ".ffn.2."},
        {NULL, NULL},
    };
    (void)model;
    sdt_replace(list, name, text, size);
}

/* The published size of that width, as the text of its config.json; NULL: there is none. */
static const char *published(int64_t width) {
    for (const struct sdt_size *size = sizes; size->name; size++) {
        struct sdt_config *config;
        struct sdt_error ignored;
        int64_t heads = 0, head_dim = 0;
        if (sdt_config_parse(size->name, size->dit, &config, &ignored) != SDT_OK)
            continue;
        bool same =
            read_heads(config, &heads, &head_dim, &ignored) == SDT_OK && heads * head_dim == width;
        sdt_config_close(config);
        if (same)
            return size->dit;
    }
    return NULL;
}

/* Shapes tell all sizes but the heads'. */
static enum sdt_status describe(const struct sdt_recognised *file, const struct sdt_config *like,
                                char text[SDT_CONFIG_ROOM], struct sdt_error *err) {
    const char *path = sdt_weights_folder(file->weights);
    const struct sdt_stored *patch = sdt_recognised_tensor(file, PATCH ".weight");
    const struct sdt_stored *time = sdt_recognised_tensor(file, CONDITION TIME_IN ".weight");
    const struct sdt_stored *words = sdt_recognised_tensor(file, CONDITION TEXT_IN ".weight");
    const struct sdt_stored *up = sdt_recognised_tensor(file, BLOCK FFN_UP ".weight", 0);
    const struct sdt_stored *head = sdt_recognised_tensor(file, HEAD ".weight");
    int64_t heads = 0, head_dim = 128;
    enum sdt_status status = like ? read_heads(like, &heads, &head_dim, err) : SDT_OK;
    int layers = 0;

    if (status != SDT_OK)
        return status;
    if (!patch || !time || !words || !up || !head || patch->rank != 5 || patch->count == 0 ||
        time->rank != 2 || words->rank != 2 || up->rank != 2 || head->rank != 2)
        return like ? SDT_OK
                    : sdt_fail(err, SDT_ERROR_FORMAT,
                               "%s: tensors from which its sizes follow are missing or misshapen; "
                               "a config.json beside it would tell them",
                               path);
    int64_t d = patch->shape[0], channels = patch->shape[1];
    int64_t values = patch->shape[2] * patch->shape[3] * patch->shape[4];
    if (values > 0 && head->shape[0] != channels * values)
        return sdt_fail(err, SDT_ERROR_UNSUPPORTED,
                        "%s takes %d channels and gives %d: it is conditioned on images or videos, "
                        "and only text-to-video models are run",
                        path, (int)channels, (int)(head->shape[0] / values));
    if (like && heads * head_dim == d)
        return SDT_OK;
    if (published(d)) {
        snprintf(text, SDT_CONFIG_ROOM, "%s", published(d));
        return SDT_OK;
    }
    if (d % head_dim)
        return sdt_fail(err, SDT_ERROR_UNSUPPORTED,
                        "%s: the width %d is no multiple of %d, so nothing tells how many heads it "
                        "has; a config.json beside it, or --model with one of that width, would",
                        path, (int)d, (int)head_dim);
    while (sdt_recognised_tensor(file, BLOCK TABLE, layers))
        layers++;
    snprintf(text, SDT_CONFIG_ROOM,
             "{\"num_layers\": %d, \"num_attention_heads\": %d, \"attention_head_dim\": %d, "
             "\"in_channels\": %d, \"out_channels\": %d, \"text_dim\": %d, \"freq_dim\": %d, "
             "\"ffn_dim\": %d, \"patch_size\": [%d, %d, %d], \"cross_attn_norm\": %s}",
             layers, (int)(d / head_dim), (int)head_dim, (int)channels, (int)channels,
             (int)words->shape[1], (int)time->shape[1], (int)up->shape[0], (int)patch->shape[2],
             (int)patch->shape[3], (int)patch->shape[4],
             sdt_recognised_tensor(file, BLOCK NORM_2 ".weight", 0) ? "true" : "false");
    return SDT_OK;
}

static const struct sdt_files files = {
    .namings = {.naming = (const struct sdt_naming[]){{"diffusers", NULL},
                                                      {"the original repository", spell_original},
                                                      {NULL, NULL}},
                .prefix =
                    (const char *const[]){"", "model.diffusion_model.", "diffusion_model.", NULL}},
    .marks = (const char *const[]){PATCH ".weight", CONDITION TIME_IN ".weight", TABLE, NULL},
    .original_class = "WanModel",
    .describe = describe,
};

extern const struct sdt_calibration sdt__wan_calibrations[];

const struct sdt_family sdt__family_wan = {
    .pipeline_class = "WanPipeline",
    .name = "Wan 2.1",
    .dit = &sdt__wan_dit,
    .vae = &sdt__wan_vae,
    .text = {&sdt__umt5},
    .prompt = {{.padding_counts = true}},
    .check = check_index,
    .sizes = sizes,
    .original_vae = "Wan2.1_VAE",
    .original_text = "models_t5_umt5-xxl-enc-bf16",
    .original_tokenizer = "google/umt5-xxl",
    .calibrations = sdt__wan_calibrations,
    .defaults = {.negative_prompt = "",
                 .height = 480,
                 .width = 832,
                 .num_frames = 81,
                 .steps = 50,
                 .guidance_scale = 5.0,
                 .flow_shift = 3.0,
                 .fps = 16.0,
                 .max_sequence_length = 512,
                 .sampler = SDT_SAMPLER_UNIPC,
                 .schedule = SDT_SCHEDULE_NEW},
};

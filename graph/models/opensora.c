/* The Open-Sora-Plan 1.3 text-to-video transformer: OpenSoraT2V_v1_3 (specification: the report of
 * version 1.3, arXiv 2412.00131). A tile's way through a layer: modulated self attention, among all
 * tokens or, as skiparse has it, within groups of them; cross attention to the prompt's keys,
 * without a norm or a gate; modulated feed-forward. Guidance takes two forwards. */
#include "graph/models/family.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "graph/checkpoint/config.h"
#include "graph/run/run.h"

/* ---- configuration and weights -------------------------------------------------------------- */

extern const struct sdt_dit_kind sdt__opensora_dit;

/* Constants of the model, which no configuration tells. */
enum {
    FREQUENCIES = 256, /* of the timestep */
    WIDENING = 4,      /* of the feed-forward */
    /* Layers that skip tokens. */
    FIRST_SPARSE = 2,
    AFTER_SPARSE = 30
};
static const float head_eps = 1e-6f;

struct opensora {
    struct sdt_dit dit;
    int sparse;                     /* groups of a layer that skips tokens; 1: no layer does */
    int first_sparse, after_sparse; /* layers that do */
    float eps;
    bool bias; /* of the attentions' projections to q, k and v */
};

/* A stream's vectors. MODULATION is [6, d]: shift, scale, gate of attention, then of the
 * feed-forward. */
enum { SINUSOID, TIME_1, EMBEDDING, SILU, MODULATION };

static const struct opensora *model_of(const struct sdt_dit *dit) {
    return (const struct opensora *)dit;
}

#define NEXT(call)                                                                                 \
    if (status == SDT_OK)                                                                          \
    status = (call)

/* What changes the model and has one value in all that is published. */
static enum sdt_status check_variants(const struct sdt_config *json, struct sdt_error *err) {
    static const char *const fixed[][2] = {
        {"activation_fn", "\"gelu-approximate\""},
        {"norm_elementwise_affine", "false"},
        {"only_cross_attention", "false"},
        {"double_self_attention", "false"},
        {"patch_size_t", "1"},
    };
    static const char *const scales[] = {"interpolation_scale_t", "interpolation_scale_h",
                                         "interpolation_scale_w"};
    enum sdt_status status = SDT_OK;

    if (!sdt_config_has(json, "activation_fn")) /* whose default is another */
        return sdt_fail(err, SDT_ERROR_UNSUPPORTED,
                        "%s: activation_fn is missing; gelu-approximate is what this version runs",
                        sdt_config_path(json));
    for (size_t i = 0; i < sizeof fixed / sizeof *fixed; i++)
        NEXT(sdt_config_only(json, fixed[i][0], fixed[i][1], err));
    for (size_t i = 0; i < sizeof scales / sizeof *scales; i++) {
        double scale = 1.0;
        NEXT(sdt_config_number(json, scales[i], false, &scale, err));
        if (status == SDT_OK && scale != 1.0)
            status = sdt_fail(err, SDT_ERROR_UNSUPPORTED,
                              "%s: %s is %g; only positions as they are (1) are supported",
                              sdt_config_path(json), scales[i], scale);
    }
    return status;
}

static int common_divisor(int a, int b) { return b ? common_divisor(b, a % b) : a; }

/* Which layers attend in groups of k, of all, or of so many as `wanted` says: then as many of each
 * kind as fits, in the same order. Of all layers, those that do not. */
static int share_layers(struct opensora *model, int k, int all, int wanted) {
    int before = all < FIRST_SPARSE ? all : FIRST_SPARSE;
    int behind = all > AFTER_SPARSE ? all - AFTER_SPARSE : 0, dense = before + behind;
    model->sparse = k;
    model->first_sparse = before;
    model->after_sparse = all - behind;
    if (wanted > 0 && wanted != all) {
        int fits = (wanted * dense + all / 2) / all;
        model->first_sparse = (fits * before + dense - 1) / dense;
        model->after_sparse = wanted - (fits - model->first_sparse);
    }
    return dense;
}

static enum sdt_status read_config(const struct sdt_config *json, struct opensora *model,
                                   int layers_wanted, struct sdt_error *err) {
    enum sdt_status status = SDT_OK;
    int64_t layers = 0, heads = 0, head_dim = 0, in = 0, out, text = 0, cross = 0, patch = 0;
    int64_t sparse_n = 2; /* the model's default */
    double eps = 1e-6;
    bool sparse = false;

    model->bias = true;
    NEXT(sdt_config_int(json, "num_layers", true, 1, 1000, &layers, err));
    NEXT(sdt_config_int(json, "num_attention_heads", true, 1, 1024, &heads, err));
    NEXT(sdt_config_int(json, "attention_head_dim", true, 6, 1024, &head_dim, err));
    NEXT(sdt_config_int(json, "in_channels", true, 1, 256, &in, err));
    out = in;
    NEXT(sdt_config_int(json, "out_channels", false, 1, 256, &out, err));
    NEXT(sdt_config_int(json, "caption_channels", true, 1, 65536, &text, err));
    NEXT(sdt_config_int(json, "cross_attention_dim", true, 1, 1 << 20, &cross, err));
    NEXT(sdt_config_int(json, "patch_size", true, 1, 16, &patch, err));
    NEXT(sdt_config_number(json, "norm_eps", false, &eps, err));
    NEXT(sdt_config_bool(json, "attention_bias", false, &model->bias, err));
    NEXT(sdt_config_bool(json, "sparse1d", false, &sparse, err));
    NEXT(sdt_config_int(json, "sparse_n", false, 1, 1024, &sparse_n, err));
    NEXT(check_variants(json, err));
    if (status != SDT_OK)
        return status;
    if (head_dim % 6 || in != out || heads * head_dim > 65536 || cross != heads * head_dim ||
        patch * patch * in > 65536 || !(eps > 0.0))
        return sdt_fail(err, SDT_ERROR_UNSUPPORTED,
                        "%s: needs an attention_head_dim that 6 divides, equal in_channels and "
                        "out_channels, a cross_attention_dim of num_attention_heads times "
                        "attention_head_dim, norm_eps above 0 and a width of at most 65536",
                        sdt_config_path(json));
    int dense = share_layers(model, sparse ? (int)sparse_n : 1, (int)layers, layers_wanted);
    int mixed = sparse ? (int)layers / common_divisor(dense, (int)layers) : 0;
    layers = layers_wanted > 0 ? layers_wanted : layers;
    int d = (int)(heads * head_dim), values = (int)(patch * patch * in), axis = (int)head_dim / 6;
    model->dit = (struct sdt_dit){
        .kind = &sdt__opensora_dit,
        .layers = (int)layers,
        .mixed = mixed,
        .heads = (int)heads,
        .head_dim = (int)head_dim,
        .width = d,
        .channels = (int)in,
        .patch = {1, (int)patch, (int)patch},
        .texts = 1,
        .text_dim = (int)text,
        .passes = 2,
        /* also holds the latent in the run's type, and the head's output before its channels are
         * reordered */
        .hidden = WIDENING * d > values ? WIDENING * d : values,
        .prompt_handles = 2 * (int)layers,
        .prompt_row = {[SDT_READ_BY_TILES] = 2 * (size_t)layers * (size_t)d},
        .vector = {[SINUSOID] = FREQUENCIES,
                   [TIME_1] = (size_t)d,
                   [EMBEDDING] = (size_t)d,
                   [SILU] = (size_t)d,
                   [MODULATION] = 6 * (size_t)d},
        .shared_floats = 7.0 * d, /* embedding and modulation */
        .shared_ends = d,         /* embedding */
        .rope_pairs = {axis, axis, axis},
        .rope_theta = 10000.0,
        .rope_halves = true};
    model->eps = (float)eps;
    return SDT_OK;
}

/* Even layers attend among every k-th token, odd ones among every k-th run of k tokens. */
static struct sdt_token_groups groups(const struct sdt_dit *dit, int layer) {
    const struct opensora *model = model_of(dit);
    int k = layer >= model->first_sparse && layer < model->after_sparse ? model->sparse : 1;
    return (struct sdt_token_groups){.count = k, .run = layer % 2 ? k : 1};
}

static int layer_kind(const struct sdt_dit *dit, int layer) { return groups(dit, layer).count > 1; }

struct attention {
    struct sdt_linear_handles q, k, v, out;
};

/* What one layer reads. */
struct block {
    sdt_handle table; /* [6, d], added to the step's */
    struct attention self, cross;
    struct sdt_linear_handles up, down;
};

struct bound {
    sdt_handle table; /* [2, d] of the head */
    sdt_handle patch_weight, patch_bias;
    struct sdt_linear_handles time_1, time_2, modulation, text_1, text_2, proj_out;
    struct block block[]; /* [layers] */
};

static size_t bound_size(const struct sdt_dit *dit) {
    return sizeof(struct bound) + (size_t)dit->layers * sizeof(struct block);
}

/* A projection that may have no bias. */
static void visit_projection(struct sdt_tensor_visit *v, struct sdt_linear_handles *linear,
                             enum sdt_tensor_type type, int64_t d, bool bias, const char *prefix,
                             const char *name) {
    if (bias)
        sdt_tensor_linear(v, linear, type, d, d, prefix, name);
    else
        sdt_tensor(v, &linear->weight, type, 2, (int64_t[]){d, d}, "%s%s.weight", prefix, name);
}

/* keys: the type of what makes keys and values */
static void visit_attention(struct sdt_tensor_visit *v, const struct opensora *model,
                            struct attention *a, enum sdt_tensor_type keys, const char *prefix) {
    int64_t d = model->dit.width;
    visit_projection(v, &a->q, SDT_TENSOR_MATRIX, d, model->bias, prefix, "to_q");
    visit_projection(v, &a->k, keys, d, model->bias, prefix, "to_k");
    visit_projection(v, &a->v, keys, d, model->bias, prefix, "to_v");
    sdt_tensor_linear(v, &a->out, SDT_TENSOR_MATRIX, d, d, prefix, "to_out.0");
}

static void visit_block(struct sdt_tensor_visit *v, const struct opensora *model, struct block *b,
                        int layer) {
    int64_t d = model->dit.width;
    char prefix[64], attention[80];

    snprintf(prefix, sizeof prefix, "transformer_blocks.%d.", layer);
    v->layer = layer;
    sdt_tensor(v, &b->table, SDT_TENSOR_FLOAT, 2, (int64_t[]){6, d}, "%sscale_shift_table", prefix);
    snprintf(attention, sizeof attention, "%sattn1.", prefix);
    visit_attention(v, model, &b->self, SDT_TENSOR_MATRIX, attention);
    snprintf(attention, sizeof attention, "%sattn2.", prefix);
    visit_attention(v, model, &b->cross, SDT_TENSOR_PROMPT_MATRIX, attention);
    sdt_tensor_linear(v, &b->up, SDT_TENSOR_MATRIX, WIDENING * d, d, prefix, "ff.net.0.proj");
    sdt_tensor_linear(v, &b->down, SDT_TENSOR_MATRIX, d, WIDENING * d, prefix, "ff.net.2");
    v->layer = -1;
}

/* Matrices over tokens are of the run's type; what a step is conditioned on and tables are
 * float32. */
static void tensors(const struct sdt_dit *dit, struct sdt_tensor_visit *v, void *bound) {
    static const char condition[] = "adaln_single.", text[] = "caption_projection.";
    const struct opensora *model = model_of(dit);
    int64_t d = dit->width;
    struct bound none;
    struct block no_block;
    struct bound *b = bound ? bound : &none;

    sdt_tensor(v, &b->table, SDT_TENSOR_FLOAT, 2, (int64_t[]){2, d}, "scale_shift_table");
    sdt_tensor(v, &b->patch_weight, SDT_TENSOR_MATRIX, 4,
               (int64_t[]){d, dit->channels, dit->patch[1], dit->patch[2]},
               "pos_embed.proj.weight");
    sdt_tensor(v, &b->patch_bias, SDT_TENSOR_RUN, 1, (int64_t[]){d}, "pos_embed.proj.bias");
    sdt_tensor_linear(v, &b->time_1, SDT_TENSOR_FLOAT_MATRIX, d, FREQUENCIES, condition,
                      "emb.timestep_embedder.linear_1");
    sdt_tensor_linear(v, &b->time_2, SDT_TENSOR_FLOAT_MATRIX, d, d, condition,
                      "emb.timestep_embedder.linear_2");
    sdt_tensor_linear(v, &b->modulation, SDT_TENSOR_FLOAT_MATRIX, 6 * d, d, condition, "linear");
    sdt_tensor_linear(v, &b->text_1, SDT_TENSOR_PROMPT_MATRIX, d, dit->text_dim, text, "linear_1");
    sdt_tensor_linear(v, &b->text_2, SDT_TENSOR_PROMPT_MATRIX, d, d, text, "linear_2");
    for (int i = 0; i < dit->layers; i++)
        visit_block(v, model, bound ? &b->block[i] : &no_block, i);
    sdt_tensor_linear(v, &b->proj_out, SDT_TENSOR_MATRIX, (int64_t)sdt_patch_values(dit), d, "",
                      "proj_out");
}

static void opensora_close(struct sdt_dit *dit) {
    sdt_weights_close(dit->weights);
    free(dit);
}

static enum sdt_status opensora_open(const struct sdt_config *config, const char *folder,
                                     const struct sdt_opening *how, int layers,
                                     struct sdt_dit **out, struct sdt_error *err) {
    struct opensora *model = calloc(1, sizeof *model);

    *out = NULL;
    if (!model)
        return sdt_fail(err, SDT_ERROR_MEMORY, "out of memory while opening %s", folder);
    enum sdt_status status = read_config(config, model, layers, err);
    if (status == SDT_OK) {
        struct sdt_tensor_visit visit = {
            .layer = -1, .table = sdt_tensor_table_new(), .count = model->dit.count};
        if (visit.table)
            tensors(&model->dit, &visit, NULL);
        status = sdt_tensors_open(visit.table, folder, how, &model->dit.weights, err);
    }
    if (status != SDT_OK)
        opensora_close(&model->dit);
    else
        *out = &model->dit;
    return status;
}

/* ---- prompt --------------------------------------------------------------------------------- */

/* Keys and values of every layer's cross attention. Padding is masked: its rows are left out. */
static void prompt(struct sdt_flow *flow, struct sdt_run *run, int branch,
                   const struct sdt_text_states *text, struct sdt_prompt *prompt) {
    const struct sdt_dit *dit = run->dit;
    const struct bound *bound = run->bound;
    int d = dit->width, rows = text->rows;
    enum sdt_dtype dtype = run->layout.dtype;
    size_t size = (size_t)rows * (size_t)d, words = (size_t)rows * (size_t)dit->text_dim;
    (void)branch;

    prompt->rows = rows;
    prompt->pad_bias = 0.0f;
    sdt_handle converted = dtype == SDT_F32 ? NULL : sdt__tensor(flow, dtype, words, "text states");
    sdt_handle hidden = sdt__tensor(flow, dtype, size, "text hidden");
    sdt_handle y = sdt__tensor(flow, dtype, size, "text");
    if (converted)
        sdt_insert_convert(flow, "text", words, text->handle, converted);
    sdt_insert_linear(flow, "text_1", rows, d, dit->text_dim, converted ? converted : text->handle,
                      bound->text_1.weight, bound->text_1.bias, SDT_EPILOGUE_GELU_TANH, hidden);
    sdt_insert_linear(flow, "text_2", rows, d, d, hidden, bound->text_2.weight, bound->text_2.bias,
                      SDT_EPILOGUE_NONE, y);
    for (int l = 0; l < dit->layers; l++) {
        const struct attention *cross = &bound->block[l].cross;
        sdt_handle *k = &prompt->handle[2 * l], *v = k + 1;
        sdt_run_at_prompt(flow, run, l);
        *k = sdt__tensor(flow, dtype, size, "text keys");
        *v = sdt__tensor(flow, dtype, size, "text values");
        sdt_insert_linear(flow, "cross_k", rows, d, d, y, cross->k.weight, cross->k.bias,
                          SDT_EPILOGUE_NONE, *k);
        sdt_insert_linear(flow, "cross_v", rows, d, d, y, cross->v.weight, cross->v.bias,
                          SDT_EPILOGUE_NONE, *v);
    }
    sdt_handle temporary[] = {converted, hidden, y};
    for (size_t i = 0; i < sizeof temporary / sizeof temporary[0]; i++)
        sdt__unregister_submit(temporary[i]);
}

/* ---- forward -------------------------------------------------------------------------------- */

/* e = TE(sinusoid(t)), modulation = linear(silu(e)). */
static void condition(struct sdt_flow *flow, struct sdt_run *run, struct sdt_stream *stream,
                      float t, float guidance) {
    const struct bound *bound = run->bound;
    int d = run->dit->width;
    sdt_handle *v = stream->vector;
    (void)guidance; /* by two forwards */

    sdt_insert_sinusoid(flow, "sinusoid", t, FREQUENCIES, v[SINUSOID]);
    sdt_insert_linear(flow, "time_1", 1, d, FREQUENCIES, v[SINUSOID], bound->time_1.weight,
                      bound->time_1.bias, SDT_EPILOGUE_SILU, v[TIME_1]);
    sdt_insert_linear(flow, "time_2", 1, d, d, v[TIME_1], bound->time_2.weight, bound->time_2.bias,
                      SDT_EPILOGUE_NONE, v[EMBEDDING]);
    sdt_insert_silu(flow, "silu", (size_t)d, v[EMBEDDING], v[SILU]);
    sdt_insert_linear(flow, "modulation", 1, 6 * d, d, v[SILU], bound->modulation.weight,
                      bound->modulation.bias, SDT_EPILOGUE_NONE, v[MODULATION]);
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
    sdt_insert_linear(flow, "pos_embed", sdt_rows(run, at), run->dit->width, values, x,
                      bound->patch_weight, bound->patch_bias, SDT_EPILOGUE_NONE,
                      at.stream->x[at.tile]);
}

/* z = mod(LN(x)) */
static void begin(struct sdt_flow *flow, struct sdt_run *run, struct sdt_at at) {
    const struct bound *bound = run->bound;
    const struct block *block = &bound->block[at.layer];
    sdt_handle m = at.stream->vector[MODULATION];

    sdt_insert_layer_norm(flow, "norm1", sdt_rows(run, at), run->dit->width,
                          model_of(run->dit)->eps, at.stream->x[at.tile], NULL, NULL,
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
    sdt_handle raw = sdt_run_raw(run, at);

    sdt_insert_linear(flow, name[which], sdt_rows(run, at), dit->width, dit->width,
                      at.stream->z[at.tile], linear[which]->weight, linear[which]->bias,
                      SDT_EPILOGUE_NONE, raw);
    struct sdt_split_heads split = {.rows = sdt_rows(run, at),
                                    .valid_rows = sdt_tile_valid(layout, at.tile),
                                    .heads = dit->heads,
                                    .e = dit->head_dim,
                                    .rope = run->rope,
                                    .first_token = sdt_tile_first(layout, at.tile),
                                    .pieces = layout->chunks,
                                    .head = layout->head};
    sdt_insert_split_heads(flow, split_name[which], &split, raw, NULL,
                           which == SDT_PROJECT_V ? NULL : run->rope_table, piece);
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

/* x += to_out(SDPA(to_q x, K, V)): no norm, no gate, no rotation. A query sees the whole prompt,
 * whatever its group. */
static void cross_attention(struct sdt_flow *flow, struct sdt_run *run, struct sdt_at at,
                            const struct attention *cross) {
    const struct sdt_dit *dit = run->dit;
    const struct sdt_prompt *prompt = run->branch[at.branch].prompt;
    int rows = sdt_rows(run, at), d = dit->width;
    struct sdt_row_sum none = {0};
    sdt_handle x = at.stream->x[at.tile], q = sdt_run_raw(run, at), o = at.stream->z[at.tile];

    sdt_insert_linear(flow, "cross_q", rows, d, d, x, cross->q.weight, cross->q.bias,
                      SDT_EPILOGUE_NONE, q);
    sdt_insert_cross_attention(flow, "cross_attention", rows, dit->heads, dit->head_dim, 0.0f,
                               prompt->rows, prompt->pad_bias, q, NULL,
                               prompt->handle[2 * at.layer], prompt->handle[2 * at.layer + 1], o);
    sdt_insert_linear_residual(flow, "cross_out", rows, d, d, o, cross->out.weight, cross->out.bias,
                               none, x);
}

/* x += gate ff(mod(LN(x))) */
static void feed_forward(struct sdt_flow *flow, struct sdt_run *run, struct sdt_at at,
                         const struct block *block) {
    int rows = sdt_rows(run, at), d = run->dit->width;
    sdt_handle m = at.stream->vector[MODULATION], hidden = sdt_run_hidden(run, at);

    sdt_insert_layer_norm(flow, "norm2", rows, d, model_of(run->dit)->eps, at.stream->x[at.tile],
                          NULL, NULL, (struct sdt_row_sum){block->table, m, 4, 4},
                          (struct sdt_row_sum){block->table, m, 3, 3}, at.stream->z[at.tile]);
    sdt_insert_linear(flow, "ff_up", rows, WIDENING * d, d, at.stream->z[at.tile], block->up.weight,
                      block->up.bias, SDT_EPILOGUE_GELU_TANH, hidden);
    sdt_insert_linear_residual(flow, "ff_down", rows, d, WIDENING * d, hidden, block->down.weight,
                               block->down.bias, (struct sdt_row_sum){block->table, m, 5, 5},
                               at.stream->x[at.tile]);
}

static void finish(struct sdt_flow *flow, struct sdt_run *run, struct sdt_at at) {
    const struct block *block = &((const struct bound *)run->bound)->block[at.layer];
    cross_attention(flow, run, at, &block->cross);
    feed_forward(flow, run, at, block);
}

/* (shift, scale) = table[2, d] + e, then the projection, C fastest. */
static void head(struct sdt_flow *flow, struct sdt_run *run, struct sdt_at at,
                 sdt_handle velocity) {
    const struct bound *bound = run->bound;
    const struct sdt_dit *dit = run->dit;
    int rows = sdt_rows(run, at), d = dit->width, values = (int)sdt_patch_values(dit);
    sdt_handle raw = sdt_run_hidden(run, at), e = at.stream->vector[EMBEDDING];

    sdt_insert_layer_norm(flow, "norm_out", rows, d, head_eps, at.stream->x[at.tile], NULL, NULL,
                          (struct sdt_row_sum){bound->table, e, 1, 0},
                          (struct sdt_row_sum){bound->table, e, 0, 0}, at.stream->z[at.tile]);
    sdt_insert_linear(flow, "proj_out", rows, values, d, at.stream->z[at.tile],
                      bound->proj_out.weight, bound->proj_out.bias, SDT_EPILOGUE_NONE, raw);
    sdt_insert_patch_order(flow, "patch_order", rows, dit->channels, values / dit->channels, raw,
                           velocity);
}

/* ---- predictions ---------------------------------------------------------------------------- */

static struct sdt_work work(const struct sdt_dit *dit, int64_t tokens, int text_rows) {
    double s = (double)tokens, d = dit->width;
    struct sdt_work work = {.linear = dit->layers * (s * 28.0 * d * d + 4.0 * s * text_rows * d)};
    for (int l = 0; l < dit->layers; l++)
        work.attention += 4.0 * s * s * d / groups(dit, l).count;
    return work;
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
    int d = dit->width, values = (int)sdt_patch_values(dit);
    struct sdt_operation heads = {.kind = SDT_OPERATION_SPLIT_HEADS,
                                  .tasks = 3,
                                  .rows = rows,
                                  .heads = dit->heads,
                                  .e = dit->head_dim};
    struct sdt_operation norm = {.kind = SDT_OPERATION_NORM, .tasks = 2, .rows = rows, .n = d};
    struct sdt_operation elements = {.kind = SDT_OPERATION_ELEMENTS,
                                     .when = SDT_EACH_TILE,
                                     .tasks = 1,
                                     .rows = rows,
                                     .n = 2 * values};

    add_linear(list, SDT_EACH_LAYER, 6, rows, d, d, SDT_EPILOGUE_NONE);
    sdt_operations_add(list, heads);
    sdt_operations_add(list, norm);
    heads.kind = SDT_OPERATION_CROSS_ATTENTION;
    heads.tasks = 1;
    heads.keys = text_rows;
    sdt_operations_add(list, heads);
    add_linear(list, SDT_EACH_LAYER, 1, rows, WIDENING * d, d, SDT_EPILOGUE_GELU_TANH);
    add_linear(list, SDT_EACH_LAYER, 1, rows, d, WIDENING * d, SDT_EPILOGUE_NONE);

    add_linear(list, SDT_EACH_TILE, 1, rows, d, values, SDT_EPILOGUE_NONE);
    add_linear(list, SDT_EACH_TILE, 1, rows, values, d, SDT_EPILOGUE_NONE);
    norm.when = SDT_EACH_TILE;
    norm.tasks = 1;
    sdt_operations_add(list, norm);
    sdt_operations_add(list, elements);

    add_linear(list, SDT_EACH_FORWARD, 1, 1, d, FREQUENCIES, SDT_EPILOGUE_SILU);
    add_linear(list, SDT_EACH_FORWARD, 1, 1, d, d, SDT_EPILOGUE_NONE);
    add_linear(list, SDT_EACH_FORWARD, 1, 1, 6 * d, d, SDT_EPILOGUE_NONE);
    elements.when = SDT_EACH_FORWARD;
    elements.tasks = 2;
    elements.rows = 1;
    elements.n = 2 * d;
    sdt_operations_add(list, elements);
}

const struct sdt_dit_kind sdt__opensora_dit = {
    .class_name = "OpenSoraT2V_v1_3",
    .open = opensora_open,
    .close = opensora_close,
    .tensors = tensors,
    .bound_size = bound_size,
    .prompt = prompt,
    .condition = condition,
    .embed = embed,
    .begin = begin,
    .project = project,
    .join = join,
    .finish = finish,
    .head = head,
    .groups = groups,
    .layer_kind = layer_kind,
    .work = work,
    .operations = operations,
};

/* ---- the pipeline ---------------------------------------------------------------------------- */

extern const struct sdt_vae_kind sdt__wfvae;
extern const char sdt__wfvae_config[]; /* of the published decoder */
extern const struct sdt_text_kind sdt__mt5;

/* Version 1.5 is another model, with another decoder and other encoders. */
static enum sdt_status check_index(const struct sdt_config *index, struct sdt_error *err) {
    const char *class_name = NULL;
    enum sdt_status status = sdt_config_has(index, "transformer")
                                 ? sdt_config_string_at(index, "transformer", 1, &class_name, err)
                                 : SDT_OK;
    if (status == SDT_OK && class_name && strcmp(class_name, sdt__opensora_dit.class_name))
        status = sdt_fail(err, SDT_ERROR_UNSUPPORTED,
                          "%s: the transformer is %s; of Open-Sora-Plan, version 1.3 is run (%s)",
                          sdt_config_path(index), class_name, sdt__opensora_dit.class_name);
    return status;
}

static const struct sdt_size sizes[] = {
    {"open-sora-plan-1.3",
     "{\"_class_name\": \"OpenSoraT2V_v1_3\", \"num_layers\": 32, \"num_attention_heads\": 24, "
     "\"attention_head_dim\": 96, \"in_channels\": 8, \"out_channels\": 8, \"patch_size\": 2, "
     "\"patch_size_t\": 1, \"caption_channels\": 4096, \"cross_attention_dim\": 2304, "
     "\"attention_bias\": true, \"activation_fn\": \"gelu-approximate\", \"norm_eps\": 1e-06, "
     "\"norm_elementwise_affine\": false, \"sparse1d\": true, \"sparse_n\": 4}",
     sdt__wfvae_config,
     {"{\"model_type\": \"mt5\", \"num_layers\": 24, \"d_model\": 4096, \"num_heads\": 64, "
      "\"d_kv\": 64, \"d_ff\": 10240, \"vocab_size\": 250112, \"feed_forward_proj\": "
      "\"gated-gelu\"}"},
     /* What its scripts load is run in 16 bits; which of them the files have is not known. */
     {.dit = SDT_BF16, .vae = SDT_BF16, .text = {SDT_BF16}}},
    {NULL},
};

const struct sdt_family sdt__family_opensora = {
    .pipeline_class = "OpenSoraPlanPipeline",
    .name = "Open-Sora-Plan 1.3",
    .dit = &sdt__opensora_dit,
    .vae = &sdt__wfvae,
    .check = check_index,
    .sizes = sizes,
    .text = {&sdt__mt5},
    .prompt = {{.before = "\n    high quality, high aesthetic, ",
                .after = "\n    ",
                .bare_negative = true}},
    .defaults = {.negative_prompt =
                     "\n    nsfw, lowres, bad anatomy, bad hands, text, error, missing fingers, "
                     "extra digit, fewer digits, cropped, worst quality, \n    low quality, normal "
                     "quality, jpeg artifacts, signature, watermark, username, blurry.\n    ",
                 .height = 352,
                 .width = 640,
                 .num_frames = 93,
                 .steps = 50,
                 .guidance_scale = 7.5,
                 .flow_shift = 1.0,
                 .fps = 18.0,
                 .max_sequence_length = 512,
                 .sampler = SDT_SAMPLER_EULER_ANCESTRAL,
                 .schedule = SDT_SCHEDULE_NEW},
};

/* LLaMA 3 as a text encoder: LlamaModel of transformers, as video models read it.
 *
 * What is read is hidden_states[-3]: x as it stands in front of the last two layers, without the
 * final norm. Those layers and that norm are never run, and none of their weights is read. */
#include "graph/models/family.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "graph/checkpoint/config.h"
#include "graph/models/text_layers.h"

extern const struct sdt_text_kind sdt__llama;

enum { NOT_RUN = 2 }; /* layers at the end */

struct llama {
    struct sdt_text text; /* width d; layers: that are run */
    int stored;           /* layers */
    int kv_heads, e, ff;
    float eps;
    double theta;
};

static const struct llama *llama_of(const struct sdt_text *text) {
    return (const struct llama *)text;
}

static enum sdt_status check_sizes(const struct sdt_config *json, const struct llama *c,
                                   struct sdt_error *err) {
    const char *path = sdt_config_path(json);
    if (c->text.layers < 1)
        return sdt_fail(err, SDT_ERROR_UNSUPPORTED,
                        "%s: num_hidden_layers is %d; the states in front of the last %d are read, "
                        "so %d or more work",
                        path, c->stored, NOT_RUN, NOT_RUN + 1);
    if (c->text.heads % c->kv_heads)
        return sdt_fail(err, SDT_ERROR_FORMAT,
                        "%s: num_attention_heads is %d and num_key_value_heads %d; a group of "
                        "heads shares one",
                        path, c->text.heads, c->kv_heads);
    if (c->e % 2)
        return sdt_fail(err, SDT_ERROR_FORMAT, "%s: head_dim is %d; halves are rotated", path,
                        c->e);
    return SDT_OK;
}

static enum sdt_status read_config(const struct sdt_config *json, struct llama *c,
                                   struct sdt_error *err) {
    enum sdt_status status = SDT_OK;
    int64_t layers = 0, d = 0, heads = 1, kv_heads, e = 0, ff = 0, vocabulary = 0;
    double eps = 1e-6, theta = 10000.0;

#define NEXT(call)                                                                                 \
    if (status == SDT_OK)                                                                          \
    status = (call)
    NEXT(sdt_config_int(json, "num_hidden_layers", true, 1, 1000, &layers, err));
    NEXT(sdt_config_int(json, "hidden_size", true, 1, 65536, &d, err));
    NEXT(sdt_config_int(json, "num_attention_heads", true, 1, 1024, &heads, err));
    kv_heads = heads;
    NEXT(sdt_config_int(json, "num_key_value_heads", false, 1, 1024, &kv_heads, err));
    e = d / heads;
    NEXT(sdt_config_int(json, "head_dim", false, 1, 1024, &e, err));
    NEXT(sdt_config_int(json, "intermediate_size", true, 1, 1 << 20, &ff, err));
    NEXT(sdt_config_int(json, "vocab_size", true, 1, 1 << 24, &vocabulary, err));
    NEXT(sdt_config_number(json, "rms_norm_eps", false, &eps, err));
    NEXT(sdt_config_number(json, "rope_theta", false, &theta, err));
    NEXT(sdt_config_only(json, "hidden_act", "\"silu\"", err));
    NEXT(sdt_config_number(json, "rope_parameters.rope_theta", false, &theta, err));
    NEXT(sdt_config_only(json, "rope_parameters.rope_type", "\"default\"", err));
    NEXT(sdt_config_only(json, "rope_scaling", "null", err));
    NEXT(sdt_config_only(json, "attention_bias", "false", err));
    NEXT(sdt_config_only(json, "mlp_bias", "false", err));
#undef NEXT
    c->stored = (int)layers;
    c->text = (struct sdt_text){.kind = &sdt__llama,
                                .layers = (int)layers - NOT_RUN,
                                .heads = (int)heads,
                                .width = (int)d,
                                .vocabulary = (int)vocabulary};
    c->kv_heads = (int)kv_heads;
    c->e = (int)e;
    c->ff = (int)ff;
    c->eps = (float)eps;
    c->theta = theta;
    return status == SDT_OK ? check_sizes(json, c, err) : status;
}

/* Names that stand apart in other layouts. */
#define TABLE "embed_tokens.weight"
#define LAYERS "layers."
#define LAST_NORM "norm.weight"

static const struct sdt_files files;

/* What one layer reads. */
struct block {
    sdt_handle q, k, v, o, norm_1;
    sdt_handle gate, up, down, norm_2;
};

static void visit_block(struct sdt_tensor_visit *v, const struct llama *c, struct block *b,
                        int layer) {
    int64_t d = c->text.width, inner = (int64_t)c->text.heads * c->e, ff = c->ff;
    int64_t shared = (int64_t)c->kv_heads * c->e;
    v->layer = layer;
#define MATRIX(handle, rows, columns, name)                                                        \
    sdt_tensor(v, handle, SDT_TENSOR_PROMPT_MATRIX, 2, (int64_t[]){rows, columns},                 \
               LAYERS "%d." name ".weight", layer)
#define NORM(handle, name)                                                                         \
    sdt_tensor(v, handle, SDT_TENSOR_FLOAT, 1, (int64_t[]){d}, LAYERS "%d." name ".weight", layer)
    NORM(&b->norm_1, "input_layernorm");
    MATRIX(&b->q, inner, d, "self_attn.q_proj");
    MATRIX(&b->k, shared, d, "self_attn.k_proj");
    MATRIX(&b->v, shared, d, "self_attn.v_proj");
    MATRIX(&b->o, d, inner, "self_attn.o_proj");
    NORM(&b->norm_2, "post_attention_layernorm");
    MATRIX(&b->gate, ff, d, "mlp.gate_proj");
    MATRIX(&b->up, ff, d, "mlp.up_proj");
    MATRIX(&b->down, d, ff, "mlp.down_proj");
#undef MATRIX
#undef NORM
    v->layer = -1;
}

static void llama_close(struct sdt_text *text) {
    sdt_weights_close(text->weights);
    free(text);
}

static enum sdt_status llama_open(const struct sdt_config *config, const char *folder,
                                  const struct sdt_opening *how, struct sdt_text **out,
                                  struct sdt_error *err) {
    struct llama *c = calloc(1, sizeof *c);

    *out = NULL;
    if (!c)
        return sdt_fail(err, SDT_ERROR_MEMORY, "out of memory while opening %s", folder);
    enum sdt_status status = read_config(config, c, err);
    if (status == SDT_OK) {
        struct sdt_tensor_visit visit = {.layer = -1, .table = sdt_tensor_table_new()};
        struct block block;
        if (visit.table) {
            visit.table->namings = &files.namings;
            sdt_tensor_table_add(visit.table, 2, (int64_t[]){c->text.vocabulary, c->text.width},
                                 TABLE);
            for (int i = 0; i < c->stored; i++)
                visit_block(&visit, c, &block, i);
            sdt_tensor(&visit, NULL, SDT_TENSOR_FLOAT, 1, (int64_t[]){c->text.width}, LAST_NORM);
            sdt_tensor_table_ignore(visit.table, "lm_head.weight"); /* of the language model */
        }
        status = sdt_tensors_open(visit.table, folder, how, &c->text.weights, err);
    }
    if (status != SDT_OK)
        llama_close(&c->text);
    else
        *out = &c->text;
    return status;
}

static double llama_flops(const struct sdt_text *text, int tokens) {
    const struct llama *c = llama_of(text);
    double d = text->width, inner = (double)text->heads * c->e, m = tokens;
    double shared = (double)c->kv_heads * c->e;
    return text->layers *
           (m * (4.0 * d * inner + 4.0 * d * shared + 6.0 * d * c->ff) + 4.0 * m * m * inner);
}

static void name_layer(const struct sdt_text *text, struct sdt_tensor_visit *visit, int layer) {
    struct block block;
    visit_block(visit, llama_of(text), &block, layer);
}

static double llama_bytes(const struct sdt_text *text, enum sdt_device_kind kind,
                          enum sdt_dtype dtype, int workers, int tokens) {
    const struct llama *c = llama_of(text);
    double inner = (double)text->heads * c->e, shared = (double)c->kv_heads * c->e;
    const struct sdt_text_work work = {
        .name = name_layer,
        .columns = 2.0 * text->width + 2.0 * inner + 2.0 * shared + 2.0 * c->ff,
        .floats = text->width + c->e, /* the states; turns of positions */
        .attention = sdt_causal_attention_scratch(tokens, c->e)};
    return sdt_text_bytes(text, &work, kind, dtype, workers, tokens);
}

/* Parts of widths d, heads * e, kv_heads * e and ff, and d in one. A part of k and v belongs to one
 * of q: the heads that read it. */
struct cuts {
    struct sdt_parts model, inner, shared, ff, whole;
};

static struct cuts cuts_of(const struct llama *c, const struct sdt_place *place) {
    enum { LINE = 16 }; /* floats of a cache line */
    int d = c->text.width, inner = c->text.heads * c->e, group = c->text.heads / c->kv_heads;
    int count = sdt_text_cuts(place);
    struct cuts cuts = {.model = sdt_text_cut(d, LINE, count),
                        .inner = sdt_text_cut(inner, sdt_text_step(inner, group * c->e), count),
                        .ff = sdt_text_cut(c->ff, sdt_text_step(c->ff, 1), count),
                        .whole = sdt_text_cut(d, d, 1)};
    cuts.shared.count = cuts.inner.count;
    for (int p = 0; p <= cuts.inner.count; p++)
        cuts.shared.bound[p] = cuts.inner.bound[p] / group;
    return cuts;
}

static int llama_workers(const struct sdt_text *text, const struct sdt_place *place) {
    struct cuts cuts = cuts_of(llama_of(text), place);
    return place->workers < cuts.inner.count ? place->workers : cuts.inner.count;
}

/* A prompt on its way, in parts; a layer reads and updates x. */
struct encoding {
    const struct llama *encoder;
    int tokens;
    struct cuts cuts;
    float *turns; /* [tokens, 2 (cos, sin), e/2] */
    sdt_handle table;
    sdt_handle x[SDT_MOST_PARTS], y[SDT_MOST_PARTS];
    sdt_handle q[SDT_MOST_PARTS], k[SDT_MOST_PARTS], v[SDT_MOST_PARTS], o[SDT_MOST_PARTS];
    sdt_handle gate[SDT_MOST_PARTS], up[SDT_MOST_PARTS];
};

/* Angles position * theta^(-2j/e). */
static float *make_turns(const struct llama *c, int tokens) {
    int half = c->e / 2;
    float *turns = malloc((size_t)tokens * (size_t)c->e * sizeof *turns);
    for (int t = 0; turns && t < tokens; t++)
        for (int j = 0; j < half; j++) {
            double angle = t * pow(c->theta, -2.0 * j / c->e);
            turns[(size_t)t * (size_t)c->e + (size_t)j] = (float)cos(angle);
            turns[(size_t)t * (size_t)c->e + (size_t)(half + j)] = (float)sin(angle);
        }
    return turns;
}

static void encoding_init(struct sdt_flow *flow, struct encoding *b, const struct llama *encoder,
                          const struct sdt_place *place, enum sdt_dtype dtype, int tokens) {
    *b = (struct encoding){.encoder = encoder, .tokens = tokens, .cuts = cuts_of(encoder, place)};
    const struct cuts *c = &b->cuts;
    b->turns = make_turns(encoder, tokens);
    if (!b->turns && flow->error.status == SDT_OK)
        sdt_fail(&flow->error, SDT_ERROR_MEMORY, "out of memory while encoding the prompt");
    if (b->turns)
        b->table = sdt__register(flow, flow->each, SDT_F32, (size_t)tokens * (size_t)encoder->e,
                                 b->turns, "turns");
    sdt_text_parts_init(flow, dtype, &c->model, tokens, "text x", b->x);
    sdt_text_parts_init(flow, dtype, &c->whole, tokens, "text y", b->y);
    sdt_text_parts_init(flow, dtype, &c->inner, tokens, "text q", b->q);
    sdt_text_parts_init(flow, dtype, &c->shared, tokens, "text k", b->k);
    sdt_text_parts_init(flow, dtype, &c->shared, tokens, "text v", b->v);
    sdt_text_parts_init(flow, dtype, &c->inner, tokens, "text o", b->o);
    sdt_text_parts_init(flow, dtype, &c->ff, tokens, "text gate", b->gate);
    sdt_text_parts_init(flow, dtype, &c->ff, tokens, "text up", b->up);
}

/* After its tasks. */
static void encoding_clear(const struct encoding *b) {
    const sdt_handle *const all[] = {b->x, b->y, b->q, b->k, b->v, b->o, b->gate, b->up};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        sdt_text_parts_clear(all[i]);
    sdt__unregister(b->table);
    free(b->turns);
}

static void insert_attention(struct sdt_flow *flow, const struct encoding *b,
                             const struct block *w) {
    const struct cuts *c = &b->cuts;
    int e = b->encoder->e, tokens = b->tokens;
    for (int p = 0; p < c->inner.count; p++) {
        int heads = sdt_text_columns(&c->inner, p) / e,
            shared = sdt_text_columns(&c->shared, p) / e;
        sdt_text_product(flow, "text_k", tokens, &c->whole, b->y, w->k, &c->shared, p, false,
                         b->k[p]);
        sdt_text_product(flow, "text_v", tokens, &c->whole, b->y, w->v, &c->shared, p, false,
                         b->v[p]);
        sdt_text_product(flow, "text_q", tokens, &c->whole, b->y, w->q, &c->inner, p, false,
                         b->q[p]);
        sdt_insert_rotate_halves(flow, "text_rotate", tokens, shared, e, b->table, b->k[p]);
        sdt_insert_rotate_halves(flow, "text_rotate", tokens, heads, e, b->table, b->q[p]);
        sdt_insert_causal_attention(flow, "text_attention", tokens, heads, shared, e, b->q[p],
                                    b->k[p], b->v[p], b->o[p]);
    }
    for (int p = 0; p < c->model.count; p++)
        sdt_text_product(flow, "text_o", tokens, &c->inner, b->o, w->o, &c->model, p, true,
                         b->x[p]);
}

static void insert_layer(void *arg, struct sdt_flow *flow, struct sdt_tensor_visit *visit,
                         int layer) {
    const struct encoding *b = arg;
    const struct cuts *c = &b->cuts;
    float eps = b->encoder->eps;
    int tokens = b->tokens;
    struct block w;

    visit_block(visit, b->encoder, &w, layer);
    sdt_text_rms_norm(flow, "text_norm1", tokens, eps, &c->model, b->x, w.norm_1, b->y[0]);
    insert_attention(flow, b, &w);
    sdt_text_rms_norm(flow, "text_norm2", tokens, eps, &c->model, b->x, w.norm_2, b->y[0]);
    for (int p = 0; p < c->ff.count; p++) {
        sdt_text_product(flow, "text_gate", tokens, &c->whole, b->y, w.gate, &c->ff, p, false,
                         b->gate[p]);
        sdt_text_product(flow, "text_up", tokens, &c->whole, b->y, w.up, &c->ff, p, false,
                         b->up[p]);
        sdt_insert_gated_silu(flow, "text_silu",
                              (size_t)tokens * (size_t)sdt_text_columns(&c->ff, p), b->gate[p],
                              b->up[p]);
    }
    for (int p = 0; p < c->model.count; p++)
        sdt_text_product(flow, "text_down", tokens, &c->ff, b->gate, w.down, &c->model, p, true,
                         b->x[p]);
}

static enum sdt_status llama_encode(struct sdt_flow *flow, struct sdt_text *text,
                                    struct sdt_machine *machine, const struct sdt_place *place,
                                    enum sdt_dtype dtype, const int32_t *ids, int tokens, int first,
                                    sdt_handle states, struct sdt_error *err) {
    enum sdt_status status = sdt_text_check_ids(text, ids, tokens, err);
    if (status == SDT_OK && (first < 0 || first >= tokens))
        status = sdt_fail(err, SDT_ERROR_USAGE, "%d text tokens, of which %d are left out", tokens,
                          first);
    if (status != SDT_OK)
        return status;
    struct sdt_parameters *parameters = sdt_text_parameters(text, machine);
    if (!parameters)
        return sdt_fail(err, SDT_ERROR_MEMORY, "out of memory while encoding the prompt");
    struct encoding b;
    encoding_init(flow, &b, llama_of(text), place, dtype, tokens);
    sdt_text_embed(flow, machine, text, sdt_weights_find(text->weights, TABLE), NULL, &b.cuts.model,
                   tokens, ids, b.x);
    const struct sdt_text_layers layers = {.parameters = parameters,
                                           .keep = text->keep,
                                           .dtype = dtype,
                                           .layers = text->layers,
                                           .prefix = LAYERS,
                                           .insert = insert_layer,
                                           .arg = &b};
    sdt_text_layers_run(flow, place, &layers);
    sdt_insert_take_rows(flow, "text_states", first, tokens - first, &b.cuts.model, b.x, states);
    status = sdt__flow_wait(flow, err);
    if (status == SDT_ERROR_STALLED)
        return status; /* nothing can be freed any more */
    encoding_clear(&b);
    sdt_text_done(text, parameters);
    return status;
}

/* ---- names ----------------------------------------------------------------------------------- */

/* LlamaForCausalLM's, and what is exported from it. */
static void spell_model(const void *model, const char *name, char *text, size_t size) {
    (void)model;
    snprintf(text, size, "model.%s", name);
}

static const struct sdt_files files = {
    .namings = {.naming = (const struct sdt_naming[]){{"transformers", NULL},
                                                      {"the language model", spell_model},
                                                      {NULL, NULL}},
                .prefix = (const char *const[]){"", NULL}},
    .marks = (const char *const[]){TABLE, LAYERS "0.self_attn.q_proj.weight",
                                   LAYERS "0.mlp.gate_proj.weight", NULL},
    .describe = sdt_text_describe,
};

const struct sdt_text_kind sdt__llama = {
    .model_type = "llama",
    .files = &files,
    .open = llama_open,
    .close = llama_close,
    .encode = llama_encode,
    .flops = llama_flops,
    .bytes = llama_bytes,
    .workers = llama_workers,
};

/* CLIP's text encoder: CLIPTextModel of transformers, whose pooled row is read.
 *
 * That is the row of the first end of text, behind the final norm. No token sees those behind it,
 * so that nothing behind the end is computed. */
#include "graph/models/family.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "graph/checkpoint/config.h"
#include "graph/models/text_layers.h"

extern const struct sdt_text_kind sdt__clip;

/* What older configurations say; the end of text is then the largest id of a prompt. */
enum { LARGEST = 2 };

struct clip {
    struct sdt_text text; /* width d */
    int e, ff;
    bool quick; /* the quick approximation of gelu, not gelu itself */
    float eps;
};

static const struct clip *clip_of(const struct sdt_text *text) { return (const struct clip *)text; }

static enum sdt_status read_config(const struct sdt_config *json, struct clip *c,
                                   struct sdt_error *err) {
    enum sdt_status status = SDT_OK;
    int64_t layers = 12, d = 512, heads = 8, ff = 2048, vocabulary = 49408, positions = 77;
    int64_t end = 49407;
    double eps = 1e-5;
    const char *activation = "quick_gelu";

#define NEXT(call)                                                                                 \
    if (status == SDT_OK)                                                                          \
    status = (call)
    NEXT(sdt_config_int(json, "num_hidden_layers", true, 1, 1000, &layers, err));
    NEXT(sdt_config_int(json, "hidden_size", true, 1, 65536, &d, err));
    NEXT(sdt_config_int(json, "num_attention_heads", true, 1, 1024, &heads, err));
    NEXT(sdt_config_int(json, "intermediate_size", true, 1, 1 << 20, &ff, err));
    NEXT(sdt_config_int(json, "vocab_size", true, 1, 1 << 24, &vocabulary, err));
    NEXT(sdt_config_int(json, "max_position_embeddings", false, 1, 4096, &positions, err));
    NEXT(sdt_config_int(json, "eos_token_id", false, 0, 1 << 24, &end, err));
    NEXT(sdt_config_number(json, "layer_norm_eps", false, &eps, err));
    NEXT(sdt_config_string(json, "hidden_act", false, &activation, err));
#undef NEXT
    c->quick = !strcmp(activation, "quick_gelu");
    if (status == SDT_OK && !c->quick && strcmp(activation, "gelu"))
        status = sdt_fail(err, SDT_ERROR_UNSUPPORTED,
                          "%s: hidden_act is %s; quick_gelu and gelu are supported",
                          sdt_config_path(json), activation);
    if (status == SDT_OK && d % heads)
        status = sdt_fail(err, SDT_ERROR_FORMAT,
                          "%s: hidden_size is %d and num_attention_heads %d; heads share the width "
                          "evenly",
                          sdt_config_path(json), (int)d, (int)heads);
    if (status == SDT_OK && end >= vocabulary)
        status =
            sdt_fail(err, SDT_ERROR_FORMAT,
                     "%s: eos_token_id is %d and vocab_size %d; the end of text is an id below "
                     "that",
                     sdt_config_path(json), (int)end, (int)vocabulary);
    c->text = (struct sdt_text){.kind = &sdt__clip,
                                .layers = (int)layers,
                                .heads = (int)heads,
                                .width = (int)d,
                                .vocabulary = (int)vocabulary,
                                .positions = (int)positions};
    c->e = (int)(d / heads);
    c->ff = (int)ff;
    c->text.end = (int)end;
    c->eps = (float)eps;
    return status;
}

#define MODEL "text_model."
#define TABLE MODEL "embeddings.token_embedding.weight"
#define PLACES MODEL "embeddings.position_embedding.weight"
#define LAYERS MODEL "encoder.layers."
#define LAST_NORM "final_layer_norm"

static const struct sdt_files files;

/* What one layer reads. */
struct block {
    struct sdt_linear_handles norm_1, q, k, v, out, norm_2, up, down;
};

static void visit_norm(struct sdt_tensor_visit *v, struct sdt_linear_handles *norm, int64_t d,
                       const char *prefix, const char *name) {
    sdt_tensor(v, &norm->weight, SDT_TENSOR_FLOAT, 1, &d, "%s%s.weight", prefix, name);
    sdt_tensor(v, &norm->bias, SDT_TENSOR_FLOAT, 1, &d, "%s%s.bias", prefix, name);
}

static void visit_block(struct sdt_tensor_visit *v, const struct clip *c, struct block *b,
                        int layer) {
    int64_t d = c->text.width;
    char prefix[80];
    snprintf(prefix, sizeof prefix, LAYERS "%d.", layer);
    v->layer = layer;
    visit_norm(v, &b->norm_1, d, prefix, "layer_norm1");
    sdt_tensor_linear(v, &b->q, SDT_TENSOR_PROMPT_MATRIX, d, d, prefix, "self_attn.q_proj");
    sdt_tensor_linear(v, &b->k, SDT_TENSOR_PROMPT_MATRIX, d, d, prefix, "self_attn.k_proj");
    sdt_tensor_linear(v, &b->v, SDT_TENSOR_PROMPT_MATRIX, d, d, prefix, "self_attn.v_proj");
    sdt_tensor_linear(v, &b->out, SDT_TENSOR_PROMPT_MATRIX, d, d, prefix, "self_attn.out_proj");
    visit_norm(v, &b->norm_2, d, prefix, "layer_norm2");
    sdt_tensor_linear(v, &b->up, SDT_TENSOR_PROMPT_MATRIX, c->ff, d, prefix, "mlp.fc1");
    sdt_tensor_linear(v, &b->down, SDT_TENSOR_PROMPT_MATRIX, d, c->ff, prefix, "mlp.fc2");
    v->layer = -1;
}

static void clip_close(struct sdt_text *text) {
    sdt_weights_close(text->weights);
    free(text);
}

static enum sdt_status clip_open(const struct sdt_config *config, const char *folder,
                                 const struct sdt_opening *how, struct sdt_text **out,
                                 struct sdt_error *err) {
    struct clip *c = calloc(1, sizeof *c);

    *out = NULL;
    if (!c)
        return sdt_fail(err, SDT_ERROR_MEMORY, "out of memory while opening %s", folder);
    enum sdt_status status = read_config(config, c, err);
    if (status == SDT_OK) {
        struct sdt_tensor_visit visit = {.layer = -1, .table = sdt_tensor_table_new()};
        struct sdt_linear_handles last;
        struct block block;
        int64_t d = c->text.width;
        if (visit.table) {
            visit.table->namings = &files.namings;
            sdt_tensor_table_add(visit.table, 2, (int64_t[]){c->text.vocabulary, d}, TABLE);
            sdt_tensor_table_add(visit.table, 2, (int64_t[]){c->text.positions, d}, PLACES);
            for (int i = 0; i < c->text.layers; i++)
                visit_block(&visit, c, &block, i);
            visit_norm(&visit, &last, d, MODEL, LAST_NORM);
            sdt_tensor_table_ignore(visit.table, MODEL "embeddings.position_ids"); /* 0, 1, 2.. */
            sdt_tensor_table_ignore(visit.table, "text_projection.weight"); /* of another output */
        }
        status = sdt_tensors_open(visit.table, folder, how, &c->text.weights, err);
    }
    if (status != SDT_OK)
        clip_close(&c->text);
    else
        *out = &c->text;
    return status;
}

static double clip_flops(const struct sdt_text *text, int tokens) {
    const struct clip *c = clip_of(text);
    double d = text->width, m = tokens;
    return text->layers * (m * (8.0 * d * d + 4.0 * d * c->ff) + 4.0 * m * m * d);
}

static void name_layer(const struct sdt_text *text, struct sdt_tensor_visit *visit, int layer) {
    struct block block;
    visit_block(visit, clip_of(text), &block, layer);
}

static double clip_bytes(const struct sdt_text *text, enum sdt_device_kind kind,
                         enum sdt_dtype dtype, int workers, int tokens) {
    const struct clip *c = clip_of(text);
    const struct sdt_text_work work = {.name = name_layer,
                                       .columns = 6.0 * text->width + c->ff,
                                       .attention = sdt_causal_attention_scratch(tokens, c->e)};
    return sdt_text_bytes(text, &work, kind, dtype, workers, tokens);
}

/* Parts of widths d, the same in whole heads, and ff, and d in one. */
struct cuts {
    struct sdt_parts model, inner, ff, whole;
};

static struct cuts cuts_of(const struct clip *c, const struct sdt_place *place) {
    enum { LINE = 16 }; /* floats of a cache line */
    int d = c->text.width, count = sdt_text_cuts(place);
    return (struct cuts){.model = sdt_text_cut(d, LINE, count),
                         .inner = sdt_text_cut(d, sdt_text_step(d, c->e), count),
                         .ff = sdt_text_cut(c->ff, sdt_text_step(c->ff, 1), count),
                         .whole = sdt_text_cut(d, d, 1)};
}

static int clip_workers(const struct sdt_text *text, const struct sdt_place *place) {
    struct cuts cuts = cuts_of(clip_of(text), place);
    return place->workers < cuts.inner.count ? place->workers : cuts.inner.count;
}

/* A prompt on its way, in parts; a layer reads and updates x. */
struct encoding {
    const struct clip *encoder;
    int tokens;
    struct cuts cuts;
    sdt_handle x[SDT_MOST_PARTS], y[SDT_MOST_PARTS];
    sdt_handle q[SDT_MOST_PARTS], k[SDT_MOST_PARTS], v[SDT_MOST_PARTS], o[SDT_MOST_PARTS];
    sdt_handle up[SDT_MOST_PARTS];
};

static void encoding_init(struct sdt_flow *flow, struct encoding *b, const struct clip *encoder,
                          const struct sdt_place *place, enum sdt_dtype dtype, int tokens) {
    *b = (struct encoding){.encoder = encoder, .tokens = tokens, .cuts = cuts_of(encoder, place)};
    const struct cuts *c = &b->cuts;
    sdt_text_parts_init(flow, dtype, &c->model, tokens, "text x", b->x);
    sdt_text_parts_init(flow, dtype, &c->whole, tokens, "text y", b->y);
    sdt_text_parts_init(flow, dtype, &c->inner, tokens, "text q", b->q);
    sdt_text_parts_init(flow, dtype, &c->inner, tokens, "text k", b->k);
    sdt_text_parts_init(flow, dtype, &c->inner, tokens, "text v", b->v);
    sdt_text_parts_init(flow, dtype, &c->inner, tokens, "text o", b->o);
    sdt_text_parts_init(flow, dtype, &c->ff, tokens, "text up", b->up);
}

static void encoding_clear(const struct encoding *b) {
    const sdt_handle *const all[] = {b->x, b->y, b->q, b->k, b->v, b->o, b->up};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        sdt_text_parts_clear(all[i]);
}

static void insert_norm(struct sdt_flow *flow, const char *name, const struct encoding *b,
                        struct sdt_linear_handles norm) {
    sdt_text_layer_norm(flow, name, b->tokens, b->encoder->eps, &b->cuts.model, b->x, norm,
                        b->y[0]);
}

static void insert_layer(void *arg, struct sdt_flow *flow, struct sdt_tensor_visit *visit,
                         int layer) {
    const struct encoding *b = arg;
    const struct cuts *c = &b->cuts;
    int e = b->encoder->e, tokens = b->tokens;
    struct block w;

    visit_block(visit, b->encoder, &w, layer);
    insert_norm(flow, "text_norm1", b, w.norm_1);
    for (int p = 0; p < c->inner.count; p++) {
        int heads = sdt_text_columns(&c->inner, p) / e;
        sdt_text_linear(flow, "text_k", tokens, &c->whole, b->y, w.k, &c->inner, p, false, b->k[p]);
        sdt_text_linear(flow, "text_v", tokens, &c->whole, b->y, w.v, &c->inner, p, false, b->v[p]);
        sdt_text_linear(flow, "text_q", tokens, &c->whole, b->y, w.q, &c->inner, p, false, b->q[p]);
        sdt_insert_causal_attention(flow, "text_attention", tokens, heads, heads, e, b->q[p],
                                    b->k[p], b->v[p], b->o[p]);
    }
    for (int p = 0; p < c->model.count; p++)
        sdt_text_linear(flow, "text_o", tokens, &c->inner, b->o, w.out, &c->model, p, true,
                        b->x[p]);
    insert_norm(flow, "text_norm2", b, w.norm_2);
    for (int p = 0; p < c->ff.count; p++) {
        sdt_text_linear(flow, "text_up", tokens, &c->whole, b->y, w.up, &c->ff, p, false, b->up[p]);
        size_t values = (size_t)tokens * (size_t)sdt_text_columns(&c->ff, p);
        if (b->encoder->quick)
            sdt_insert_quick_gelu(flow, "text_gelu", values, b->up[p]);
        else
            sdt_insert_gelu(flow, "text_gelu", values, b->up[p]);
    }
    for (int p = 0; p < c->model.count; p++)
        sdt_text_linear(flow, "text_down", tokens, &c->ff, b->up, w.down, &c->model, p, true,
                        b->x[p]);
}

/* The place of the first end of text; -1: there is none. */
static int find_end(const struct clip *c, const int32_t *ids, int tokens) {
    int end = c->text.end == LARGEST ? 0 : -1;
    for (int t = 0; t < tokens && (c->text.end == LARGEST || end < 0); t++)
        if (c->text.end == LARGEST ? ids[t] > ids[end] : ids[t] == c->text.end)
            end = t;
    return end;
}

static enum sdt_status clip_encode(struct sdt_flow *flow, struct sdt_text *text,
                                   struct sdt_machine *machine, const struct sdt_place *place,
                                   enum sdt_dtype dtype, const int32_t *ids, int tokens, int first,
                                   sdt_handle states, struct sdt_error *err) {
    enum sdt_status status = sdt_text_check_ids(text, ids, tokens, err);
    int end = status == SDT_OK ? find_end(clip_of(text), ids, tokens) : 0;
    (void)first;
    if (status == SDT_OK && end < 0)
        status = sdt_fail(err, SDT_ERROR_USAGE,
                          "%d text tokens without an end of text (id %d), whose state stands for "
                          "them all",
                          tokens, text->end);
    if (status != SDT_OK)
        return status;
    struct sdt_parameters *parameters = sdt_text_parameters(text, machine);
    if (!parameters)
        return sdt_fail(err, SDT_ERROR_MEMORY, "out of memory while encoding the prompt");
    struct encoding b;
    encoding_init(flow, &b, clip_of(text), place, dtype, end + 1);
    sdt_text_embed(flow, machine, text, sdt_weights_find(text->weights, TABLE),
                   sdt_weights_find(text->weights, PLACES), &b.cuts.model, end + 1, ids, b.x);
    const struct sdt_text_layers layers = {.parameters = parameters,
                                           .keep = text->keep,
                                           .dtype = dtype,
                                           .layers = text->layers,
                                           .prefix = LAYERS,
                                           .insert = insert_layer,
                                           .arg = &b};
    sdt_text_layers_run(flow, place, &layers);
    struct sdt_tensor_visit visit = {
        .layer = -1, .flow = flow, .parameters = parameters, .kind = place->kind, .dtype = dtype};
    struct sdt_linear_handles last = {NULL, NULL};
    visit_norm(&visit, &last, text->width, MODEL, LAST_NORM);
    insert_norm(flow, "text_norm", &b, last);
    sdt_insert_take_rows(flow, "text_states", end, 1, &b.cuts.whole, b.y, states);
    status = sdt__flow_wait(flow, err);
    if (status == SDT_ERROR_STALLED)
        return status; /* nothing can be freed any more */
    encoding_clear(&b);
    sdt_text_done(text, parameters);
    return status;
}

/* ---- names ----------------------------------------------------------------------------------- */

/* As newer versions of transformers name them. */
static void spell_bare(const void *model, const char *name, char *text, size_t size) {
    static const struct sdt_replacement list[] = {{MODEL, ""}, {NULL, NULL}};
    (void)model;
    sdt_replace(list, name, text, size);
}

static const struct sdt_files files = {
    .namings = {.naming = (const struct sdt_naming[]){{"transformers", NULL},
                                                      {"transformers, bare", spell_bare},
                                                      {NULL, NULL}},
                .prefix = (const char *const[]){"", NULL}},
    .marks = (const char *const[]){TABLE, PLACES, LAYERS "0.self_attn.q_proj.bias", NULL},
    .describe = sdt_text_describe,
};

const struct sdt_text_kind sdt__clip = {
    .model_type = "clip_text_model",
    .files = &files,
    .open = clip_open,
    .close = clip_close,
    .encode = clip_encode,
    .flops = clip_flops,
    .bytes = clip_bytes,
    .workers = clip_workers,
    .pooled = true,
};

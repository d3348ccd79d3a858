/* T5 text encoders of transformers: UMT5EncoderModel, and MT5EncoderModel and T5EncoderModel
 * (version 1.1), whose first layer's relative positions are all layers'.
 *
 * Runs on one device, layer by layer: a layer's weights are dropped when its tasks are done, so
 * that encoding needs the memory of a few layers and not of the model (22.7 GB for UMT5-XXL in
 * F32). */
#include "graph/models/family.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "graph/checkpoint/config.h"
#include "graph/models/text_layers.h"
#include "graph/text/tokenizer.h"

extern const struct sdt_text_kind sdt__umt5, sdt__mt5, sdt__t5;

#define BUCKETS 32 /* of the relative position bias; 128 is the largest distance told apart */

struct umt5 {
    struct sdt_text text; /* width d */
    int e, ff;
    float eps;
    bool shared_bias; /* of block 0, in all layers */
};

static const struct umt5 *umt5_of(const struct sdt_text *text) { return (const struct umt5 *)text; }

/* By model_type; one that says nothing is taken for the first. */
static enum sdt_status read_kind(const struct sdt_config *json, const struct sdt_text_kind **kind,
                                 struct sdt_error *err) {
    const char *name = sdt__umt5.model_type;
    enum sdt_status status = sdt_config_string(json, "model_type", false, &name, err);
    if (status != SDT_OK)
        return status;
    *kind = !strcmp(name, sdt__mt5.model_type)  ? &sdt__mt5
            : !strcmp(name, sdt__t5.model_type) ? &sdt__t5
                                                : &sdt__umt5;
    if (*kind == &sdt__t5 && !sdt_config_has(json, "feed_forward_proj"))
        return sdt_fail(err, SDT_ERROR_UNSUPPORTED,
                        "%s: feed_forward_proj is missing: a T5 of version 1.0, whose feed-forward "
                        "has no gate; version 1.1 is supported",
                        sdt_config_path(json));
    return SDT_OK;
}

static enum sdt_status read_config(const struct sdt_config *json, struct umt5 *encoder,
                                   struct sdt_error *err) {
    enum sdt_status status = SDT_OK;
    int64_t layers = 0, d = 0, heads = 0, e = 0, ff = 0, vocabulary = 0;
    double eps = 1e-6;
    const struct sdt_text_kind *kind = NULL;

#define NEXT(call)                                                                                 \
    if (status == SDT_OK)                                                                          \
    status = (call)
    NEXT(read_kind(json, &kind, err));
    NEXT(sdt_config_int(json, "num_layers", true, 1, 1000, &layers, err));
    NEXT(sdt_config_int(json, "d_model", true, 1, 65536, &d, err));
    NEXT(sdt_config_int(json, "num_heads", true, 1, 1024, &heads, err));
    NEXT(sdt_config_int(json, "d_kv", true, 1, 1024, &e, err));
    NEXT(sdt_config_int(json, "d_ff", true, 1, 1 << 20, &ff, err));
    NEXT(sdt_config_int(json, "vocab_size", true, 1, 1 << 24, &vocabulary, err));
    NEXT(sdt_config_number(json, "layer_norm_epsilon", false, &eps, err));
    NEXT(sdt_config_only(json, "feed_forward_proj", "\"gated-gelu\"", err));
    NEXT(sdt_config_only(json, "relative_attention_num_buckets", "32", err));
    NEXT(sdt_config_only(json, "relative_attention_max_distance", "128", err));
#undef NEXT
    encoder->text = (struct sdt_text){.kind = kind,
                                      .layers = (int)layers,
                                      .heads = (int)heads,
                                      .width = (int)d,
                                      .vocabulary = (int)vocabulary};
    encoder->e = (int)e;
    encoder->ff = (int)ff;
    encoder->eps = (float)eps;
    encoder->shared_bias = kind != &sdt__umt5;
    return status;
}

/* Names that stand apart in other layouts. */
#define TABLE "shared"
#define TABLE_AGAIN "encoder.embed_tokens"
#define BLOCK "encoder.block."
#define ATTENTION ".layer.0."
#define SELF "SelfAttention."
#define BIAS "relative_attention_bias"
#define DENSE ".layer.1."
#define GATE "DenseReluDense.wi_0"
#define UP "DenseReluDense.wi_1"
#define DOWN "DenseReluDense.wo"
#define LAYER_NORM "layer_norm"
#define LAST_NORM "encoder.final_layer_norm"

static const char table_name[] = TABLE ".weight"; /* read row by row, where it is mapped */
static const struct sdt_files files;

/* What one layer reads. */
struct block {
    sdt_handle q, k, v, o, bias, norm_1;
    sdt_handle gate, up, down, norm_2;
};

static void visit_block(struct sdt_tensor_visit *v, const struct umt5 *encoder, struct block *b,
                        int layer) {
    int64_t d = encoder->text.width, inner = (int64_t)encoder->text.heads * encoder->e;
    int64_t ff = encoder->ff;
    char attention[80], dense[80];
    snprintf(attention, sizeof attention, BLOCK "%d" ATTENTION, layer);
    snprintf(dense, sizeof dense, BLOCK "%d" DENSE, layer);
    v->layer = layer;
#define MATRIX(handle, rows, columns, prefix, name)                                                \
    sdt_tensor(v, handle, SDT_TENSOR_PROMPT_MATRIX, 2, (int64_t[]){rows, columns},                 \
               "%s" name ".weight", prefix)
#define NORM(handle, prefix)                                                                       \
    sdt_tensor(v, handle, SDT_TENSOR_FLOAT, 1, (int64_t[]){d}, "%s" LAYER_NORM ".weight", prefix)
    MATRIX(&b->q, inner, d, attention, SELF "q");
    MATRIX(&b->k, inner, d, attention, SELF "k");
    MATRIX(&b->v, inner, d, attention, SELF "v");
    MATRIX(&b->o, d, inner, attention, SELF "o");
    if (layer == 0 || !encoder->shared_bias)
        sdt_tensor(v, &b->bias, SDT_TENSOR_FLOAT, 2, (int64_t[]){BUCKETS, encoder->text.heads},
                   "%s" SELF BIAS ".weight", attention);
    NORM(&b->norm_1, attention);
    MATRIX(&b->gate, ff, d, dense, GATE);
    MATRIX(&b->up, ff, d, dense, UP);
    MATRIX(&b->down, d, ff, dense, DOWN);
    NORM(&b->norm_2, dense);
#undef MATRIX
#undef NORM
    v->layer = -1;
}

static void visit_last(struct sdt_tensor_visit *v, const struct umt5 *encoder, sdt_handle *norm) {
    sdt_tensor(v, norm, SDT_TENSOR_FLOAT, 1, (int64_t[]){encoder->text.width}, LAST_NORM ".weight");
}

static void umt5_close(struct sdt_text *text) {
    sdt_weights_close(text->weights);
    free(text);
}

static enum sdt_status umt5_open(const struct sdt_config *config, const char *folder,
                                 const struct sdt_opening *how, struct sdt_text **out,
                                 struct sdt_error *err) {
    struct umt5 *encoder = calloc(1, sizeof *encoder);

    *out = NULL;
    if (!encoder)
        return sdt_fail(err, SDT_ERROR_MEMORY, "out of memory while opening %s", folder);
    enum sdt_status status = read_config(config, encoder, err);
    if (status == SDT_OK) {
        struct sdt_tensor_visit visit = {.layer = -1, .table = sdt_tensor_table_new()};
        struct block block;
        sdt_handle norm;
        if (visit.table) {
            visit.table->namings = &files.namings;
            sdt_tensor_table_add(visit.table, 2,
                                 (int64_t[]){encoder->text.vocabulary, encoder->text.width}, "%s",
                                 table_name);
            /* the same table again */
            sdt_tensor_table_ignore(visit.table, TABLE_AGAIN ".weight");
            sdt_tensor_table_ignore(visit.table, SDT_TOKENIZER_TENSOR);
            for (int i = 0; i < encoder->text.layers; i++)
                visit_block(&visit, encoder, &block, i);
            visit_last(&visit, encoder, &norm);
        }
        status = sdt_tensors_open(visit.table, folder, how, &encoder->text.weights, err);
    }
    if (status != SDT_OK)
        umt5_close(&encoder->text);
    else
        *out = &encoder->text;
    return status;
}

static double umt5_flops(const struct sdt_text *text, int tokens) {
    const struct umt5 *encoder = umt5_of(text);
    double d = text->width, inner = (double)encoder->text.heads * encoder->e, m = tokens;
    return encoder->text.layers *
           (m * (8.0 * d * inner + 6.0 * d * encoder->ff) + 4.0 * m * m * inner);
}

static void name_layer(const struct sdt_text *text, struct sdt_tensor_visit *visit, int layer) {
    struct block block;
    visit_block(visit, umt5_of(text), &block, layer);
}

static double umt5_bytes(const struct sdt_text *text, enum sdt_device_kind kind,
                         enum sdt_dtype dtype, int workers, int tokens) {
    const struct umt5 *encoder = umt5_of(text);
    const struct sdt_text_work work = {
        .name = name_layer,
        .columns = 2.0 * text->width + 4.0 * text->heads * encoder->e + 2.0 * encoder->ff,
        .floats = text->width, /* the states */
        .attention = sdt_text_attention_scratch(tokens, encoder->e)};
    return sdt_text_bytes(text, &work, kind, dtype, workers, tokens);
}

/* Parts of widths d, heads * e and ff, and d in one. */
struct cuts {
    struct sdt_parts model, inner, ff, whole;
};

static struct cuts cuts_of(const struct umt5 *encoder, const struct sdt_place *place) {
    enum { LINE = 16 }; /* floats of a cache line */
    int d = encoder->text.width, inner = encoder->text.heads * encoder->e;
    int count = sdt_text_cuts(place);
    return (struct cuts){.model = sdt_text_cut(d, LINE, count),
                         .inner = sdt_text_cut(inner, sdt_text_step(inner, encoder->e), count),
                         .ff = sdt_text_cut(encoder->ff, sdt_text_step(encoder->ff, 1), count),
                         .whole = sdt_text_cut(d, d, 1)};
}

static int umt5_workers(const struct sdt_text *text, const struct sdt_place *place) {
    struct cuts cuts = cuts_of(umt5_of(text), place);
    return place->workers < cuts.inner.count ? place->workers : cuts.inner.count;
}

/* A prompt on its way, in parts; a layer reads and updates x. */
struct encoding {
    const struct umt5 *encoder;
    int tokens;
    struct cuts cuts;
    sdt_handle x[SDT_MOST_PARTS], y[SDT_MOST_PARTS];
    sdt_handle q[SDT_MOST_PARTS], k[SDT_MOST_PARTS], v[SDT_MOST_PARTS], o[SDT_MOST_PARTS];
    sdt_handle gate[SDT_MOST_PARTS], up[SDT_MOST_PARTS];
    sdt_handle bias; /* of all layers, where they share it */
};

static void encoding_init(struct sdt_flow *flow, struct encoding *b, const struct umt5 *encoder,
                          const struct sdt_place *place, enum sdt_dtype dtype, int tokens) {
    *b = (struct encoding){.encoder = encoder, .tokens = tokens, .cuts = cuts_of(encoder, place)};
    const struct cuts *c = &b->cuts;
    sdt_text_parts_init(flow, dtype, &c->model, tokens, "text x", b->x);
    sdt_text_parts_init(flow, dtype, &c->whole, tokens, "text y", b->y);
    sdt_text_parts_init(flow, dtype, &c->inner, tokens, "text q", b->q);
    sdt_text_parts_init(flow, dtype, &c->inner, tokens, "text k", b->k);
    sdt_text_parts_init(flow, dtype, &c->inner, tokens, "text v", b->v);
    sdt_text_parts_init(flow, dtype, &c->inner, tokens, "text o", b->o);
    sdt_text_parts_init(flow, dtype, &c->ff, tokens, "text gate", b->gate);
    sdt_text_parts_init(flow, dtype, &c->ff, tokens, "text up", b->up);
}

static void encoding_clear(const struct encoding *b) {
    const sdt_handle *const all[] = {b->x, b->y, b->q, b->k, b->v, b->o, b->gate, b->up};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        sdt_text_parts_clear(all[i]);
    sdt__unregister_submit(b->bias);
}

static void insert_norm(struct sdt_flow *flow, const char *name, const struct encoding *b,
                        sdt_handle weight, sdt_handle y) {
    sdt_text_rms_norm(flow, name, b->tokens, b->encoder->eps, &b->cuts.model, b->x, weight, y);
}

/* A copy that outlives its layer's weights. */
static sdt_handle keep_bias(struct sdt_flow *flow, const struct umt5 *encoder, sdt_handle bias) {
    size_t size = (size_t)BUCKETS * (size_t)encoder->text.heads;
    sdt_handle kept = sdt__vector(flow, size, "text bias");
    sdt_insert_convert(flow, "text_bias", size, bias, kept);
    return kept;
}

static void insert_layer(void *arg, struct sdt_flow *flow, struct sdt_tensor_visit *visit,
                         int layer) {
    struct encoding *b = arg;
    const struct cuts *c = &b->cuts;
    int heads = b->encoder->text.heads, e = b->encoder->e, tokens = b->tokens;
    struct block w;

    visit_block(visit, b->encoder, &w, layer);
    if (b->encoder->shared_bias) {
        if (layer == 0)
            b->bias = keep_bias(flow, b->encoder, w.bias);
        w.bias = b->bias;
    }
    insert_norm(flow, "text_norm1", b, w.norm_1, b->y[0]);
    for (int p = 0; p < c->inner.count; p++) {
        sdt_text_product(flow, "text_k", tokens, &c->whole, b->y, w.k, &c->inner, p, false,
                         b->k[p]);
        sdt_text_product(flow, "text_v", tokens, &c->whole, b->y, w.v, &c->inner, p, false,
                         b->v[p]);
        sdt_text_product(flow, "text_q", tokens, &c->whole, b->y, w.q, &c->inner, p, false,
                         b->q[p]);
        sdt_insert_text_attention(flow, "text_attention", tokens,
                                  sdt_text_columns(&c->inner, p) / e, e, b->q[p], b->k[p], b->v[p],
                                  c->inner.bound[p] / e, heads, w.bias, b->o[p]);
    }
    for (int p = 0; p < c->model.count; p++)
        sdt_text_product(flow, "text_o", tokens, &c->inner, b->o, w.o, &c->model, p, true, b->x[p]);
    insert_norm(flow, "text_norm2", b, w.norm_2, b->y[0]);
    for (int p = 0; p < c->ff.count; p++) {
        sdt_text_product(flow, "text_gate", tokens, &c->whole, b->y, w.gate, &c->ff, p, false,
                         b->gate[p]);
        sdt_text_product(flow, "text_up", tokens, &c->whole, b->y, w.up, &c->ff, p, false,
                         b->up[p]);
        sdt_insert_gated_gelu(flow, "text_gelu",
                              (size_t)tokens * (size_t)sdt_text_columns(&c->ff, p), b->gate[p],
                              b->up[p]);
    }
    for (int p = 0; p < c->model.count; p++)
        sdt_text_product(flow, "text_down", tokens, &c->ff, b->gate, w.down, &c->model, p, true,
                         b->x[p]);
}

static enum sdt_status umt5_encode(struct sdt_flow *flow, struct sdt_text *text,
                                   struct sdt_machine *machine, const struct sdt_place *place,
                                   enum sdt_dtype dtype, const int32_t *ids, int tokens, int first,
                                   sdt_handle states, struct sdt_error *err) {
    const struct umt5 *encoder = umt5_of(text);
    enum sdt_status status = sdt_text_check_ids(text, ids, tokens, err);
    if (status == SDT_OK && first > 0)
        status =
            sdt_fail(err, SDT_ERROR_UNSUPPORTED, "UMT5 leaves out no states in front of others");
    if (status != SDT_OK)
        return status;
    struct sdt_parameters *parameters = sdt_text_parameters(text, machine);
    if (!parameters)
        return sdt_fail(err, SDT_ERROR_MEMORY, "out of memory while encoding the prompt");
    struct encoding b;
    encoding_init(flow, &b, encoder, place, dtype, tokens);
    sdt_text_embed(flow, machine, text, sdt_weights_find(text->weights, table_name), NULL,
                   &b.cuts.model, tokens, ids, b.x);
    const struct sdt_text_layers layers = {.parameters = parameters,
                                           .keep = text->keep,
                                           .dtype = dtype,
                                           .layers = text->layers,
                                           .prefix = BLOCK,
                                           .insert = insert_layer,
                                           .arg = &b};
    sdt_text_layers_run(flow, place, &layers);
    struct sdt_tensor_visit visit = {
        .layer = -1, .flow = flow, .parameters = parameters, .kind = place->kind, .dtype = dtype};
    sdt_handle norm = NULL;
    visit_last(&visit, encoder, &norm);
    insert_norm(flow, "text_norm", &b, norm, states);
    status = sdt__flow_wait(flow, err);
    if (status == SDT_ERROR_STALLED)
        return status; /* nothing can be freed any more */
    encoding_clear(&b);
    sdt_text_done(text, parameters);
    return status;
}

/* ---- single files ---------------------------------------------------------------------------- */

/* Tied embeddings are stored once, under either name. */
static void spell_tied(const void *model, const char *name, char *text, size_t size) {
    static const struct sdt_replacement list[] = {{TABLE ".", TABLE_AGAIN "."}, {NULL, NULL}};
    (void)model;
    sdt_replace(list, name, text, size);
}

/* As the video model's own repository has it. */
static void spell_original(const void *model, const char *name, char *text, size_t size) {
    static const struct sdt_replacement list[] = {
        {TABLE ".", "token_embedding."},
        {BLOCK, "blocks."},
        {ATTENTION SELF BIAS, ".pos_embedding.embedding"},
        {ATTENTION SELF, ".attn."},
        {ATTENTION LAYER_NORM, ".norm1"},
        {DENSE LAYER_NORM, ".norm2"},
        {DENSE GATE, ".ffn.gate.0"},
        {DENSE UP, ".ffn.fc1"},
        {DENSE DOWN, ".ffn.fc2"},
        {LAST_NORM, "norm"},
        {NULL, NULL},
    };
    (void)model;
    sdt_replace(list, name, text, size);
}

/* Shapes tell all sizes. */
static enum sdt_status describe(const struct sdt_recognised *file, const struct sdt_config *like,
                                char text[SDT_CONFIG_ROOM], struct sdt_error *err) {
    const struct sdt_stored *table = sdt_recognised_tensor(file, "%s", table_name);
    const struct sdt_stored *q = sdt_recognised_tensor(file, BLOCK "0" ATTENTION SELF "q.weight");
    const struct sdt_stored *bias =
        sdt_recognised_tensor(file, BLOCK "0" ATTENTION SELF BIAS ".weight");
    const struct sdt_stored *gate = sdt_recognised_tensor(file, BLOCK "0" DENSE GATE ".weight");
    int64_t width = 0;
    int layers = 0;

    if (!table || !q || !bias || !gate || table->rank != 2 || q->rank != 2 || bias->rank != 2 ||
        gate->rank != 2 || bias->shape[1] < 1 || q->shape[0] % bias->shape[1])
        return like ? SDT_OK
                    : sdt_fail(err, SDT_ERROR_FORMAT,
                               "%s: tensors from which its sizes follow are missing or misshapen; "
                               "a config.json beside it would tell them",
                               sdt_weights_folder(file->weights));
    if (like) {
        enum sdt_status status = sdt_config_int(like, "d_model", true, 1, 65536, &width, err);
        if (status != SDT_OK || width == table->shape[1])
            return status;
    }
    while (sdt_recognised_tensor(file, BLOCK "%d" ATTENTION LAYER_NORM ".weight", layers))
        layers++;
    snprintf(
        text, SDT_CONFIG_ROOM,
        "{\"model_type\": \"umt5\", \"num_layers\": %d, \"d_model\": %lld, \"num_heads\": %lld, "
        "\"d_kv\": %lld, \"d_ff\": %lld, \"vocab_size\": %lld}",
        layers, (long long)table->shape[1], (long long)bias->shape[1],
        (long long)(q->shape[0] / bias->shape[1]), (long long)gate->shape[0],
        (long long)table->shape[0]);
    return SDT_OK;
}

static const struct sdt_files files = {
    .namings = {.naming = (const struct sdt_naming[]){{"transformers", NULL},
                                                      {"transformers, tied", spell_tied},
                                                      {"the original repository", spell_original},
                                                      {NULL, NULL}},
                .prefix = (const char *const[]){"", "text_encoders.umt5xxl.transformer.",
                                                "umt5xxl.transformer.",
                                                "cond_stage_model.umt5xxl.transformer.", NULL}},
    .marks = (const char *const[]){table_name, BLOCK "0" ATTENTION SELF BIAS ".weight",
                                   LAST_NORM ".weight", NULL},
    .describe = describe,
};

/* cleaning: the prompt's, as the pipelines of a model that has such an encoder do it. */
#define KIND(name, its_files, cleaning)                                                            \
    {                                                                                              \
        .model_type = name, .files = its_files, .open = umt5_open, .close = umt5_close,            \
        .clean = cleaning, .encode = umt5_encode, .flops = umt5_flops, .bytes = umt5_bytes,        \
        .workers = umt5_workers,                                                                   \
    }
/* clang-format off */
const struct sdt_text_kind sdt__umt5 = KIND("umt5", &files, sdt_prompt_clean);
const struct sdt_text_kind sdt__mt5 = KIND("mt5", NULL, NULL);
const struct sdt_text_kind sdt__t5 = KIND("t5", NULL, NULL);
/* clang-format on */

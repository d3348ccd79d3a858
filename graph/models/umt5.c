/* UMT5 text encoder: UMT5EncoderModel of transformers (T5 family).
 *
 * Runs on one device, layer by layer: a layer's weights are dropped when its tasks are done, so
 * that encoding needs the memory of a few layers and not of the model (22.7 GB for UMT5-XXL in
 * F32). */
#include "graph/models/family.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "graph/checkpoint/config.h"
#include "graph/text/tokenizer.h"

extern const struct sdt_text_kind sdt__umt5;

#define BUCKETS 32 /* of the relative position bias; 128 is the largest distance told apart */

struct umt5 {
    struct sdt_text text; /* width d */
    int e, ff;
    float eps;
};

static const struct umt5 *umt5_of(const struct sdt_text *text) { return (const struct umt5 *)text; }

static enum sdt_status read_config(const struct sdt_config *json, struct umt5 *encoder,
                                   struct sdt_error *err) {
    enum sdt_status status = SDT_OK;
    int64_t layers = 0, d = 0, heads = 0, e = 0, ff = 0, vocabulary = 0;
    double eps = 1e-6;

#define NEXT(call)                                                                                 \
    if (status == SDT_OK)                                                                          \
    status = (call)
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
    encoder->text = (struct sdt_text){.kind = &sdt__umt5,
                                      .layers = (int)layers,
                                      .heads = (int)heads,
                                      .width = (int)d,
                                      .vocabulary = (int)vocabulary};
    encoder->e = (int)e;
    encoder->ff = (int)ff;
    encoder->eps = (float)eps;
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

/* How matrices are cut into parts by columns, each a task's. A task takes all tokens, so that every
 * weight is read by one of them. Bits do not depend on the parts. */
struct cuts {
    struct sdt_parts model, inner, ff, whole; /* of widths d, heads * e, ff, and d in one */
};

/* Parts of about the same width, a multiple of `unit`. */
static struct sdt_parts cut(int width, int unit, int count) {
    struct sdt_parts parts = {0};
    int units = (width + unit - 1) / unit;
    parts.count = count < units ? count : units;
    for (int p = 1; p < parts.count; p++)
        parts.bound[p] = units * p / parts.count * unit;
    parts.bound[parts.count] = width;
    return parts;
}

/* A multiple of the step of products over so many columns, and of a head's columns. */
static int step_of(int width, int e) {
    int step = sdt_linear_step(width), unit = step;
    while (unit % e)
        unit += step;
    return unit;
}

static struct cuts cuts_of(const struct umt5 *encoder, const struct sdt_place *place) {
    enum { EACH = 2, LINE = 16 }; /* parts for a worker; floats of a cache line */
    int d = encoder->text.width, inner = encoder->text.heads * encoder->e;
    int count = place->kind == SDT_DEVICE_CPU && place->workers > 1 ? EACH * place->workers : 1;
    if (count > SDT_MOST_PARTS)
        count = SDT_MOST_PARTS;
    return (struct cuts){.model = cut(d, LINE, count),
                         .inner = cut(inner, step_of(inner, encoder->e), count),
                         .ff = cut(encoder->ff, step_of(encoder->ff, 1), count),
                         .whole = cut(d, d, 1)};
}

static int umt5_workers(const struct sdt_text *text, const struct sdt_place *place) {
    struct cuts cuts = cuts_of(umt5_of(text), place);
    return place->workers < cuts.inner.count ? place->workers : cuts.inner.count;
}

/* The activations of one prompt, in parts; a layer reads and updates x. */
struct buffers {
    struct cuts cuts;
    sdt_handle x[SDT_MOST_PARTS], y;
    sdt_handle q[SDT_MOST_PARTS], k[SDT_MOST_PARTS], v[SDT_MOST_PARTS], o[SDT_MOST_PARTS];
    sdt_handle gate[SDT_MOST_PARTS], up[SDT_MOST_PARTS];
};

static int columns_of(const struct sdt_parts *parts, int p) {
    return parts->bound[p + 1] - parts->bound[p];
}

static void parts_init(struct sdt_flow *flow, enum sdt_dtype dtype, const struct sdt_parts *parts,
                       int tokens, const char *name, sdt_handle *handle) {
    for (int p = 0; p < parts->count; p++)
        handle[p] = sdt__tensor(flow, dtype, (size_t)tokens * (size_t)columns_of(parts, p), name);
}

static void buffers_init(struct sdt_flow *flow, struct buffers *b, const struct umt5 *encoder,
                         const struct sdt_place *place, enum sdt_dtype dtype, int tokens) {
    *b = (struct buffers){.cuts = cuts_of(encoder, place)};
    const struct cuts *c = &b->cuts;
    parts_init(flow, dtype, &c->model, tokens, "text x", b->x);
    parts_init(flow, dtype, &c->whole, tokens, "text y", &b->y);
    parts_init(flow, dtype, &c->inner, tokens, "text q", b->q);
    parts_init(flow, dtype, &c->inner, tokens, "text k", b->k);
    parts_init(flow, dtype, &c->inner, tokens, "text v", b->v);
    parts_init(flow, dtype, &c->inner, tokens, "text o", b->o);
    parts_init(flow, dtype, &c->ff, tokens, "text gate", b->gate);
    parts_init(flow, dtype, &c->ff, tokens, "text up", b->up);
}

static void buffers_clear(const struct buffers *b) {
    sdt__unregister_submit(b->y);
    for (int p = 0; p < SDT_MOST_PARTS; p++) {
        sdt_handle all[] = {b->x[p], b->q[p], b->k[p], b->v[p], b->o[p], b->gate[p], b->up[p]};
        for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
            sdt__unregister_submit(all[i]);
    }
}

/* Part p of y = x w^T, or of y += x w^T; GPUs compute whole matrices. */
static void insert_product(struct sdt_flow *flow, const char *name, int tokens,
                           const struct sdt_parts *in, const sdt_handle *x, sdt_handle w,
                           const struct sdt_parts *out, int p, bool add, sdt_handle y) {
    int n = columns_of(out, p), k = in->bound[in->count];
    struct sdt_row_sum none = {0};
    if (flow->place->kind == SDT_DEVICE_CPU)
        sdt_insert_linear_part(flow, name, tokens, in, x, w, out->bound[p], n, add, y);
    else if (add)
        sdt_insert_linear_residual(flow, name, tokens, n, k, x[0], w, NULL, none, y);
    else
        sdt_insert_linear(flow, name, tokens, n, k, x[0], w, NULL, SDT_EPILOGUE_NONE, y);
}

static void insert_norm(struct sdt_flow *flow, const char *name, const struct umt5 *encoder,
                        int tokens, const struct buffers *b, sdt_handle weight, sdt_handle y) {
    const struct sdt_parts *parts = &b->cuts.model;
    if (parts->count > 1)
        sdt_insert_rms_norm_parts(flow, name, tokens, parts, encoder->eps, b->x, weight, y);
    else
        sdt_insert_rms_norm(flow, name, tokens, encoder->text.width, encoder->eps, b->x[0], weight,
                            y);
}

static void insert_layer(struct sdt_flow *flow, const struct umt5 *encoder, const struct block *w,
                         int tokens, const struct buffers *b) {
    const struct cuts *c = &b->cuts;
    int heads = encoder->text.heads, e = encoder->e;

    insert_norm(flow, "text_norm1", encoder, tokens, b, w->norm_1, b->y);
    for (int p = 0; p < c->inner.count; p++) {
        insert_product(flow, "text_k", tokens, &c->whole, &b->y, w->k, &c->inner, p, false,
                       b->k[p]);
        insert_product(flow, "text_v", tokens, &c->whole, &b->y, w->v, &c->inner, p, false,
                       b->v[p]);
        insert_product(flow, "text_q", tokens, &c->whole, &b->y, w->q, &c->inner, p, false,
                       b->q[p]);
        sdt_insert_text_attention(flow, "text_attention", tokens, columns_of(&c->inner, p) / e, e,
                                  b->q[p], b->k[p], b->v[p], c->inner.bound[p] / e, heads, w->bias,
                                  b->o[p]);
    }
    for (int p = 0; p < c->model.count; p++)
        insert_product(flow, "text_o", tokens, &c->inner, b->o, w->o, &c->model, p, true, b->x[p]);
    insert_norm(flow, "text_norm2", encoder, tokens, b, w->norm_2, b->y);
    for (int p = 0; p < c->ff.count; p++) {
        insert_product(flow, "text_gate", tokens, &c->whole, &b->y, w->gate, &c->ff, p, false,
                       b->gate[p]);
        insert_product(flow, "text_up", tokens, &c->whole, &b->y, w->up, &c->ff, p, false,
                       b->up[p]);
        sdt_insert_gated_gelu(flow, "text_gelu", (size_t)tokens * (size_t)columns_of(&c->ff, p),
                              b->gate[p], b->up[p]);
    }
    for (int p = 0; p < c->model.count; p++)
        insert_product(flow, "text_down", tokens, &c->ff, b->gate, w->down, &c->model, p, true,
                       b->x[p]);
}

static enum sdt_status umt5_encode(struct sdt_flow *flow, struct sdt_text *text,
                                   struct sdt_machine *machine, const struct sdt_place *place,
                                   enum sdt_dtype dtype, const int32_t *ids, int tokens, int first,
                                   sdt_handle states, struct sdt_error *err) {
    const struct umt5 *encoder = umt5_of(text);
    if (tokens < 1)
        return sdt_fail(err, SDT_ERROR_USAGE, "no text tokens to encode");
    if (first > 0)
        return sdt_fail(err, SDT_ERROR_UNSUPPORTED, "UMT5 leaves out no states in front");
    for (int t = 0; t < tokens; t++)
        if (ids[t] < 0 || ids[t] >= text->vocabulary)
            return sdt_fail(err, SDT_ERROR_USAGE, "token %d has id %d; %s has ids 0 to %d", t,
                            (int)ids[t], sdt_weights_folder(text->weights), text->vocabulary - 1);
    struct sdt_parameters *parameters = sdt_parameters_new(text->weights, machine);
    if (!parameters)
        return sdt_fail(err, SDT_ERROR_MEMORY, "out of memory while encoding the prompt");
    const struct sdt_stored *shared = sdt_weights_find(text->weights, table_name);
    struct buffers b;
    buffers_init(flow, &b, encoder, place, dtype, tokens);

    flow->tag.role = SDT_ROLE_TEXT;
    flow->place = &machine->host;
    for (int p = 0; p < b.cuts.model.count; p++)
        sdt_insert_embed(flow, "embed", shared->dtype, shared->data, text->width,
                         b.cuts.model.bound[p], columns_of(&b.cuts.model, p), tokens, ids, b.x[p]);
    flow->place = place;
    struct sdt_tensor_visit visit = {
        .flow = flow, .parameters = parameters, .kind = place->kind, .dtype = dtype};
    struct block block;
    sdt_handle norm = NULL;
    unsigned long end_of_layer = 0;
    for (int l = 0; l < encoder->text.layers; l++) {
        char finished[80];
        flow->tag.layer = l;
        visit_block(&visit, encoder, &block, l);
        insert_layer(flow, encoder, &block, tokens, &b);
        /* Layer l is queued; the one before it is, or soon will be, done: its weights can go. */
        if (!sdt__flow_reach(flow, end_of_layer))
            break;
        end_of_layer = sdt__flow_mark(flow);
        if (l > 0) {
            snprintf(finished, sizeof finished, BLOCK "%d.", l - 1);
            sdt_parameters_drop(parameters, finished);
        }
    }
    flow->tag.layer = -1;
    visit_last(&visit, encoder, &norm);
    insert_norm(flow, "text_norm", encoder, tokens, &b, norm, states);
    enum sdt_status status = sdt__flow_wait(flow, err);
    if (status == SDT_ERROR_STALLED)
        return status; /* nothing can be freed any more */
    buffers_clear(&b);
    sdt_parameters_free(parameters);
    sdt_stored_release(shared);
    for (size_t i = 0; i < sdt_weights_count(text->weights); i++)
        sdt_stored_release(sdt_weights_at(text->weights, i));
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

const struct sdt_text_kind sdt__umt5 = {
    .model_type = "umt5",
    .files = &files,
    .open = umt5_open,
    .close = umt5_close,
    .clean = sdt_prompt_clean,
    .encode = umt5_encode,
    .flops = umt5_flops,
    .workers = umt5_workers,
};

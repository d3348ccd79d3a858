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

/* The activations of one prompt, in tiles of tokens; a layer reads and updates x. */
struct buffers {
    int tiles, tile_rows;
    struct tile {
        int first, rows;
        sdt_handle x, y, q, o, gate, up;
    } tile[SDT_MOST_TEXT_TILES];
    sdt_handle k[SDT_MOST_TEXT_TILES], v[SDT_MOST_TEXT_TILES];
};

/* Tokens of a tile: on CPUs a worker's share, since a product is one task, but not so few that the
 * weights, read anew for each tile, cost more than the work. Bits do not depend on it. */
static int tile_rows(const struct sdt_place *place, int tokens) {
    enum { LEAST = 32 };
    int tiles = place->kind == SDT_DEVICE_CPU ? place->workers : 1;
    if (tiles > tokens / LEAST)
        tiles = tokens / LEAST;
    if (tiles > SDT_MOST_TEXT_TILES)
        tiles = SDT_MOST_TEXT_TILES;
    return tiles < 2 ? tokens : (tokens + tiles - 1) / tiles;
}

static int umt5_tiles(const struct sdt_text *text, const struct sdt_place *place, int tokens) {
    int rows = tile_rows(place, tokens);
    (void)text;
    return (tokens + rows - 1) / rows;
}

static void buffers_init(struct sdt_flow *flow, struct buffers *b, const struct umt5 *encoder,
                         const struct sdt_place *place, enum sdt_dtype dtype, int tokens) {
    size_t d = (size_t)encoder->text.width, ff = (size_t)encoder->ff;
    size_t inner = (size_t)encoder->text.heads * (size_t)encoder->e;
    *b = (struct buffers){.tile_rows = tile_rows(place, tokens)};
    for (int first = 0; first < tokens; first += b->tile_rows, b->tiles++) {
        int rows = tokens - first < b->tile_rows ? tokens - first : b->tile_rows;
        size_t m = (size_t)rows;
        b->tile[b->tiles] = (struct tile){first,
                                          rows,
                                          .x = sdt__tensor(flow, dtype, m * d, "text x"),
                                          .y = sdt__tensor(flow, dtype, m * d, "text y"),
                                          .q = sdt__tensor(flow, dtype, m * inner, "text q"),
                                          .o = sdt__tensor(flow, dtype, m * inner, "text o"),
                                          .gate = sdt__tensor(flow, dtype, m * ff, "text gate"),
                                          .up = sdt__tensor(flow, dtype, m * ff, "text up")};
        b->k[b->tiles] = sdt__tensor(flow, dtype, m * inner, "text k");
        b->v[b->tiles] = sdt__tensor(flow, dtype, m * inner, "text v");
    }
}

static void buffers_clear(const struct buffers *b) {
    for (int t = 0; t < b->tiles; t++) {
        const struct tile *a = &b->tile[t];
        sdt_handle all[] = {a->x, a->y, a->q, b->k[t], b->v[t], a->o, a->gate, a->up};
        for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
            sdt__unregister_submit(all[i]);
    }
}

static void insert_layer(struct sdt_flow *flow, const struct umt5 *encoder, const struct block *w,
                         int tokens, const struct buffers *b) {
    int d = encoder->text.width, inner = encoder->text.heads * encoder->e, ff = encoder->ff;
    struct sdt_row_sum none = {0};

    for (int t = 0; t < b->tiles; t++) {
        const struct tile *a = &b->tile[t];
        sdt_insert_rms_norm(flow, "text_norm1", a->rows, d, encoder->eps, a->x, w->norm_1, a->y);
        sdt_insert_linear(flow, "text_k", a->rows, inner, d, a->y, w->k, NULL, SDT_EPILOGUE_NONE,
                          b->k[t]);
        sdt_insert_linear(flow, "text_v", a->rows, inner, d, a->y, w->v, NULL, SDT_EPILOGUE_NONE,
                          b->v[t]);
        sdt_insert_linear(flow, "text_q", a->rows, inner, d, a->y, w->q, NULL, SDT_EPILOGUE_NONE,
                          a->q);
    }
    for (int t = 0; t < b->tiles; t++) {
        const struct tile *a = &b->tile[t];
        sdt_insert_text_attention(flow, "text_attention", tokens, encoder->text.heads, encoder->e,
                                  a->first, a->rows, a->q, b->tile_rows, b->k, b->v, w->bias, a->o);
        sdt_insert_linear_residual(flow, "text_o", a->rows, d, inner, a->o, w->o, NULL, none, a->x);
        sdt_insert_rms_norm(flow, "text_norm2", a->rows, d, encoder->eps, a->x, w->norm_2, a->y);
        sdt_insert_linear(flow, "text_gate", a->rows, ff, d, a->y, w->gate, NULL, SDT_EPILOGUE_NONE,
                          a->gate);
        sdt_insert_linear(flow, "text_up", a->rows, ff, d, a->y, w->up, NULL, SDT_EPILOGUE_NONE,
                          a->up);
        sdt_insert_gated_gelu(flow, "text_gelu", (size_t)a->rows * (size_t)ff, a->gate, a->up);
        sdt_insert_linear_residual(flow, "text_down", a->rows, d, ff, a->gate, w->down, NULL, none,
                                   a->x);
    }
}

/* The last norm, of all tokens at once. */
static void insert_states(struct sdt_flow *flow, const struct umt5 *encoder, int tokens,
                          const struct buffers *b, sdt_handle norm, sdt_handle states) {
    int d = encoder->text.width;
    sdt_handle x[SDT_MOST_TEXT_TILES], whole = b->tile[0].x;
    if (b->tiles > 1) {
        for (int t = 0; t < b->tiles; t++)
            x[t] = b->tile[t].x;
        whole = sdt__vector(flow, (size_t)tokens * (size_t)d, "text x");
        sdt_insert_join_rows(flow, "text_join", tokens, b->tile_rows, d, x, whole);
    }
    sdt_insert_rms_norm(flow, "text_norm", tokens, d, encoder->eps, whole, norm, states);
    if (b->tiles > 1)
        sdt__unregister_submit(whole);
}

static enum sdt_status umt5_encode(struct sdt_flow *flow, struct sdt_text *text,
                                   struct sdt_machine *machine, const struct sdt_place *place,
                                   enum sdt_dtype dtype, const int32_t *ids, int tokens,
                                   sdt_handle states, struct sdt_error *err) {
    const struct umt5 *encoder = umt5_of(text);
    if (tokens < 1)
        return sdt_fail(err, SDT_ERROR_USAGE, "no text tokens to encode");
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
    for (int t = 0; t < b.tiles; t++)
        sdt_insert_embed(flow, "embed", shared->dtype, shared->data, text->width, b.tile[t].rows,
                         ids + b.tile[t].first, b.tile[t].x);
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
    insert_states(flow, encoder, tokens, &b, norm, states);
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
    .tiles = umt5_tiles,
};

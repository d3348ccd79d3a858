/* UMT5 text encoder: UMT5EncoderModel of transformers (T5 family).
 *
 * Runs on one device, layer by layer: a layer's weights are dropped when its tasks are done, so that
 * encoding needs the memory of a few layers and not of the model (22.7 GB for UMT5-XXL in F32). */
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
    int layers, heads, e, ff;
    float eps;
};

static const struct umt5 *umt5_of(const struct sdt_text *text) {
    return (const struct umt5 *)text;
}

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
    encoder->layers = (int)layers;
    encoder->text = (struct sdt_text){
        .kind = &sdt__umt5, .width = (int)d, .vocabulary = (int)vocabulary};
    encoder->heads = (int)heads;
    encoder->e = (int)e;
    encoder->ff = (int)ff;
    encoder->eps = (float)eps;
    return status;
}

/* What one layer reads. */
struct block {
    sdt_handle q, k, v, o, bias, norm_1;
    sdt_handle gate, up, down, norm_2;
};

static void visit_block(struct sdt_tensor_visit *v, const struct umt5 *encoder, struct block *b,
                        int layer) {
    int64_t d = encoder->text.width, inner = (int64_t)encoder->heads * encoder->e;
    int64_t ff = encoder->ff;
    char attention[80], dense[80];
    snprintf(attention, sizeof attention, "encoder.block.%d.layer.0.", layer);
    snprintf(dense, sizeof dense, "encoder.block.%d.layer.1.", layer);
    v->layer = layer;
#define MATRIX(handle, rows, columns, prefix, name)                                                \
    sdt_tensor(v, handle, SDT_TENSOR_RUN, 2, (int64_t[]){rows, columns}, "%s" name ".weight", prefix)
#define NORM(handle, prefix)                                                                       \
    sdt_tensor(v, handle, SDT_TENSOR_FLOAT, 1, (int64_t[]){d}, "%slayer_norm.weight", prefix)
    MATRIX(&b->q, inner, d, attention, "SelfAttention.q");
    MATRIX(&b->k, inner, d, attention, "SelfAttention.k");
    MATRIX(&b->v, inner, d, attention, "SelfAttention.v");
    MATRIX(&b->o, d, inner, attention, "SelfAttention.o");
    sdt_tensor(v, &b->bias, SDT_TENSOR_FLOAT, 2, (int64_t[]){BUCKETS, encoder->heads},
               "%sSelfAttention.relative_attention_bias.weight", attention);
    NORM(&b->norm_1, attention);
    MATRIX(&b->gate, ff, d, dense, "DenseReluDense.wi_0");
    MATRIX(&b->up, ff, d, dense, "DenseReluDense.wi_1");
    MATRIX(&b->down, d, ff, dense, "DenseReluDense.wo");
    NORM(&b->norm_2, dense);
#undef MATRIX
#undef NORM
    v->layer = -1;
}

static void visit_last(struct sdt_tensor_visit *v, const struct umt5 *encoder, sdt_handle *norm) {
    sdt_tensor(v, norm, SDT_TENSOR_FLOAT, 1, (int64_t[]){encoder->text.width},
               "encoder.final_layer_norm.weight");
}

static const char table_name[] = "shared.weight"; /* read row by row, where it is mapped */

static void umt5_close(struct sdt_text *text) {
    sdt_weights_close(text->weights);
    free(text);
}

static enum sdt_status umt5_open(const struct sdt_config *config, const char *folder,
                                 enum sdt_opening how, struct sdt_text **out,
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
            sdt_tensor_table_add(visit.table, 2,
                                 (int64_t[]){encoder->text.vocabulary, encoder->text.width}, "%s",
                                 table_name);
            /* the same table again */
            sdt_tensor_table_ignore(visit.table, "encoder.embed_tokens.weight");
            for (int i = 0; i < encoder->layers; i++)
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
    double d = text->width, inner = (double)encoder->heads * encoder->e, m = tokens;
    return encoder->layers * (m * (8.0 * d * inner + 6.0 * d * encoder->ff) + 4.0 * m * m * inner);
}

/* The activations of one prompt; a layer reads and updates x. */
struct buffers {
    enum sdt_dtype dtype; /* of all, and of the matrices */
    sdt_handle x, y, q, k, v, o, gate, up;
};

static void insert_layer(struct sdt_flow *flow, const struct umt5 *encoder,
                         const struct block *w, int tokens, const struct buffers *b) {
    int d = encoder->text.width, inner = encoder->heads * encoder->e, ff = encoder->ff;
    struct sdt_row_sum none = {0};

    sdt_insert_rms_norm(flow, "text_norm1", tokens, d, encoder->eps, b->x, w->norm_1, b->y);
    sdt_insert_linear(flow, "text_q", tokens, inner, d, b->y, w->q, NULL, SDT_EPILOGUE_NONE, b->q);
    sdt_insert_linear(flow, "text_k", tokens, inner, d, b->y, w->k, NULL, SDT_EPILOGUE_NONE, b->k);
    sdt_insert_linear(flow, "text_v", tokens, inner, d, b->y, w->v, NULL, SDT_EPILOGUE_NONE, b->v);
    sdt_insert_text_attention(flow, "text_attention", tokens, encoder->heads, encoder->e, b->q,
                              b->k, b->v, w->bias, b->o);
    sdt_insert_linear_residual(flow, "text_o", tokens, d, inner, b->o, w->o, NULL, none, b->x);

    sdt_insert_rms_norm(flow, "text_norm2", tokens, d, encoder->eps, b->x, w->norm_2, b->y);
    sdt_insert_linear(flow, "text_gate", tokens, ff, d, b->y, w->gate, NULL, SDT_EPILOGUE_NONE,
                      b->gate);
    sdt_insert_linear(flow, "text_up", tokens, ff, d, b->y, w->up, NULL, SDT_EPILOGUE_NONE, b->up);
    sdt_insert_gated_gelu(flow, "text_gelu", (size_t)tokens * (size_t)ff, b->gate, b->up);
    sdt_insert_linear_residual(flow, "text_down", tokens, d, ff, b->gate, w->down, NULL, none,
                               b->x);
}

static enum sdt_status umt5_encode(struct sdt_flow *flow, struct sdt_text *text,
                                   struct sdt_machine *machine, const struct sdt_place *place,
                                   enum sdt_dtype dtype, const int32_t *ids, int tokens,
                                   sdt_handle states, struct sdt_error *err) {
    const struct umt5 *encoder = umt5_of(text);
    size_t m = (size_t)tokens, d = (size_t)text->width;
    size_t inner = (size_t)encoder->heads * (size_t)encoder->e, ff = (size_t)encoder->ff;

    if (tokens < 1)
        return sdt_fail(err, SDT_ERROR_USAGE, "no text tokens to encode");
    for (int t = 0; t < tokens; t++)
        if (ids[t] < 0 || ids[t] >= text->vocabulary)
            return sdt_fail(err, SDT_ERROR_USAGE, "token %d has id %d; %s has ids 0 to %d", t,
                            (int)ids[t], sdt_weights_folder(text->weights),
                            text->vocabulary - 1);
    struct sdt_parameters *parameters = sdt_parameters_new(text->weights, machine);
    if (!parameters)
        return sdt_fail(err, SDT_ERROR_MEMORY, "out of memory while encoding the prompt");
    const struct sdt_stored *shared = sdt_weights_find(text->weights, table_name);
    struct buffers b = {.dtype = dtype,
                        .x = sdt__tensor(flow, dtype, m * d, "text x"),
                        .y = sdt__tensor(flow, dtype, m * d, "text y"),
                        .q = sdt__tensor(flow, dtype, m * inner, "text q"),
                        .k = sdt__tensor(flow, dtype, m * inner, "text k"),
                        .v = sdt__tensor(flow, dtype, m * inner, "text v"),
                        .o = sdt__tensor(flow, dtype, m * inner, "text o"),
                        .gate = sdt__tensor(flow, dtype, m * ff, "text gate"),
                        .up = sdt__tensor(flow, dtype, m * ff, "text up")};

    flow->tag.role = SDT_ROLE_TEXT;
    flow->place = &machine->host;
    sdt_insert_embed(flow, "embed", shared->dtype, shared->data, text->width, tokens, ids, b.x);
    flow->place = place;
    struct sdt_tensor_visit visit = {.flow = flow, .parameters = parameters, .dtype = dtype};
    struct block block;
    sdt_handle norm = NULL;
    unsigned long end_of_layer = 0;
    for (int l = 0; l < encoder->layers; l++) {
        char finished[80];
        flow->tag.layer = l;
        visit_block(&visit, encoder, &block, l);
        insert_layer(flow, encoder, &block, tokens, &b);
        /* Layer l is queued; the one before it is, or soon will be, done: its weights can go. */
        if (!sdt__flow_reach(flow, end_of_layer))
            break;
        end_of_layer = sdt__flow_mark(flow);
        if (l > 0) {
            snprintf(finished, sizeof finished, "encoder.block.%d.", l - 1);
            sdt_parameters_drop(parameters, finished);
        }
    }
    flow->tag.layer = -1;
    visit_last(&visit, encoder, &norm);
    sdt_insert_rms_norm(flow, "text_norm", tokens, text->width, encoder->eps, b.x, norm, states);
    enum sdt_status status = sdt__flow_wait(flow, err);
    if (status == SDT_ERROR_STALLED)
        return status; /* nothing can be freed any more */
    sdt_handle temporary[] = {b.x, b.y, b.q, b.k, b.v, b.o, b.gate, b.up};
    for (size_t i = 0; i < sizeof temporary / sizeof temporary[0]; i++)
        sdt__unregister_submit(temporary[i]);
    sdt_parameters_free(parameters);
    sdt_stored_release(shared);
    for (size_t i = 0; i < sdt_weights_count(text->weights); i++)
        sdt_stored_release(sdt_weights_at(text->weights, i));
    return status;
}

const struct sdt_text_kind sdt__umt5 = {
    .model_type = "umt5",
    .open = umt5_open,
    .close = umt5_close,
    .clean = sdt_prompt_clean,
    .encode = umt5_encode,
    .flops = umt5_flops,
};

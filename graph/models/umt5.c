/* The UMT5 encoder as a loop that inserts tasks, one layer's weights at a time. */
#include "graph/models/umt5.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "graph/checkpoint/config.h"
#include "graph/run/parameters.h"

#define BUCKETS 32 /* of the relative position bias; 128 is the largest distance told apart */

struct sdt_umt5 {
    struct sdt_weights *weights;
    int layers, d, heads, e, ff, vocabulary;
    float eps;
};

static enum sdt_status read_config(const char *path, struct sdt_umt5 *encoder,
                                   struct sdt_error *err) {
    struct sdt_config *json = NULL;
    enum sdt_status status = sdt_config_open(path, &json, err);
    int64_t layers = 0, d = 0, heads = 0, e = 0, ff = 0, vocabulary = 0;
    double eps = 1e-6;
    const char *model_type = "umt5";

#define NEXT(call)                                                                                 \
    if (status == SDT_OK)                                                                          \
    status = (call)
    NEXT(sdt_config_string(json, "model_type", false, &model_type, err));
    if (status == SDT_OK && strcmp(model_type, "umt5"))
        status = sdt_fail(err, SDT_ERROR_UNSUPPORTED,
                          "%s: model_type is %s; this is the loader of umt5", path, model_type);
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
    sdt_config_close(json);
    encoder->layers = (int)layers;
    encoder->d = (int)d;
    encoder->heads = (int)heads;
    encoder->e = (int)e;
    encoder->ff = (int)ff;
    encoder->vocabulary = (int)vocabulary;
    encoder->eps = (float)eps;
    return status;
}

static void describe(const struct sdt_umt5 *encoder, struct sdt_tensor_table *table) {
    int64_t d = encoder->d, inner = (int64_t)encoder->heads * encoder->e, ff = encoder->ff;

    sdt_tensor_table_add(table, 2, (int64_t[]){encoder->vocabulary, d}, "shared.weight");
    sdt_tensor_table_ignore(table, "encoder.embed_tokens.weight"); /* the same table again */
    for (int i = 0; i < encoder->layers; i++) {
        char attention[80], dense[80];
        snprintf(attention, sizeof attention, "encoder.block.%d.layer.0.", i);
        snprintf(dense, sizeof dense, "encoder.block.%d.layer.1.", i);
        for (int p = 0; p < 3; p++)
            sdt_tensor_table_add(table, 2, (int64_t[]){inner, d}, "%sSelfAttention.%c.weight",
                                 attention, "qkv"[p]);
        sdt_tensor_table_add(table, 2, (int64_t[]){d, inner}, "%sSelfAttention.o.weight",
                             attention);
        sdt_tensor_table_add(table, 2, (int64_t[]){BUCKETS, encoder->heads},
                             "%sSelfAttention.relative_attention_bias.weight", attention);
        sdt_tensor_table_add(table, 1, (int64_t[]){d}, "%slayer_norm.weight", attention);
        sdt_tensor_table_add(table, 2, (int64_t[]){ff, d}, "%sDenseReluDense.wi_0.weight", dense);
        sdt_tensor_table_add(table, 2, (int64_t[]){ff, d}, "%sDenseReluDense.wi_1.weight", dense);
        sdt_tensor_table_add(table, 2, (int64_t[]){d, ff}, "%sDenseReluDense.wo.weight", dense);
        sdt_tensor_table_add(table, 1, (int64_t[]){d}, "%slayer_norm.weight", dense);
    }
    sdt_tensor_table_add(table, 1, (int64_t[]){d}, "encoder.final_layer_norm.weight");
}

enum sdt_status sdt_umt5_open(const char *folder, struct sdt_umt5 **out, struct sdt_error *err) {
    enum sdt_status status = SDT_ERROR_MEMORY;
    char path[4096];
    struct sdt_tensor_table *table = sdt_tensor_table_new();
    struct sdt_umt5 *encoder = calloc(1, sizeof *encoder);

    *out = NULL;
    if (!encoder || !table) {
        sdt_fail(err, status, "out of memory while opening %s", folder);
        goto out;
    }
    if ((size_t)snprintf(path, sizeof path, "%s/config.json", folder) >= sizeof path) {
        status = sdt_fail(err, SDT_ERROR_USAGE, "the path of the text encoder folder is too long");
        goto out;
    }
    status = read_config(path, encoder, err);
    if (status != SDT_OK)
        goto out;
    status = sdt_weights_open(folder, &encoder->weights, err);
    if (status != SDT_OK)
        goto out;
    describe(encoder, table);
    status = sdt_tensor_table_check(table, encoder->weights, err);
out:
    sdt_tensor_table_free(table);
    if (status != SDT_OK) {
        sdt_umt5_close(encoder);
        return status;
    }
    *out = encoder;
    return SDT_OK;
}

void sdt_umt5_close(struct sdt_umt5 *encoder) {
    if (!encoder)
        return;
    sdt_weights_close(encoder->weights);
    free(encoder);
}

int sdt_umt5_width(const struct sdt_umt5 *encoder) { return encoder->d; }

int sdt_umt5_vocabulary(const struct sdt_umt5 *encoder) { return encoder->vocabulary; }

const struct sdt_weights *sdt_umt5_weights(const struct sdt_umt5 *encoder) {
    return encoder->weights;
}

double sdt_umt5_flops(const struct sdt_umt5 *encoder, int tokens) {
    double d = encoder->d, inner = (double)encoder->heads * encoder->e, m = tokens;
    return encoder->layers * (m * (8.0 * d * inner + 6.0 * d * encoder->ff) + 4.0 * m * m * inner);
}

/* The activations of one prompt; a layer reads and updates x. */
struct buffers {
    enum sdt_dtype dtype; /* of all, and of the matrices */
    sdt_handle x, y, q, k, v, o, gate, up;
};

static void insert_layer(struct sdt_flow *flow, const struct sdt_umt5 *encoder,
                         struct sdt_parameters *parameters, int layer, int tokens,
                         const struct buffers *b) {
    int d = encoder->d, inner = encoder->heads * encoder->e, ff = encoder->ff;
    struct sdt_row_sum none = {0};
    sdt_handle projected[] = {b->q, b->k, b->v};
    static const char *const name[] = {"text_q", "text_k", "text_v"};
    char attention[80], dense[80];
    snprintf(attention, sizeof attention, "encoder.block.%d.layer.0.", layer);
    snprintf(dense, sizeof dense, "encoder.block.%d.layer.1.", layer);
#define WEIGHT(dtype, prefix, name)                                                                \
    sdt_parameter(flow, parameters, dtype, "%s" name ".weight", prefix)

    sdt_insert_rms_norm(flow, "text_norm1", tokens, d, encoder->eps, b->x,
                        WEIGHT(SDT_F32, attention, "layer_norm"), b->y);
    for (int p = 0; p < 3; p++)
        sdt_insert_linear(flow, name[p], tokens, inner, d, b->y,
                          sdt_parameter(flow, parameters, b->dtype, "%sSelfAttention.%c.weight",
                                        attention, "qkv"[p]),
                          NULL, SDT_EPILOGUE_NONE, projected[p]);
    sdt_insert_text_attention(
        flow, "text_attention", tokens, encoder->heads, encoder->e, b->q, b->k, b->v,
        WEIGHT(SDT_F32, attention, "SelfAttention.relative_attention_bias"), b->o);
    sdt_insert_linear_residual(flow, "text_o", tokens, d, inner, b->o,
                               WEIGHT(b->dtype, attention, "SelfAttention.o"), NULL, none, b->x);

    sdt_insert_rms_norm(flow, "text_norm2", tokens, d, encoder->eps, b->x,
                        WEIGHT(SDT_F32, dense, "layer_norm"), b->y);
    sdt_insert_linear(flow, "text_gate", tokens, ff, d, b->y,
                      WEIGHT(b->dtype, dense, "DenseReluDense.wi_0"), NULL, SDT_EPILOGUE_NONE,
                      b->gate);
    sdt_insert_linear(flow, "text_up", tokens, ff, d, b->y,
                      WEIGHT(b->dtype, dense, "DenseReluDense.wi_1"), NULL, SDT_EPILOGUE_NONE,
                      b->up);
    sdt_insert_gated_gelu(flow, "text_gelu", (size_t)tokens * (size_t)ff, b->gate, b->up);
    sdt_insert_linear_residual(flow, "text_down", tokens, d, ff, b->gate,
                               WEIGHT(b->dtype, dense, "DenseReluDense.wo"), NULL, none, b->x);
#undef WEIGHT
}

enum sdt_status sdt_umt5_encode(struct sdt_flow *flow, struct sdt_umt5 *encoder,
                                struct sdt_machine *machine, const struct sdt_place *place,
                                enum sdt_dtype dtype, const int32_t *ids, int tokens,
                                sdt_handle states, struct sdt_error *err) {
    size_t m = (size_t)tokens, d = (size_t)encoder->d;
    size_t inner = (size_t)encoder->heads * (size_t)encoder->e, ff = (size_t)encoder->ff;

    if (tokens < 1)
        return sdt_fail(err, SDT_ERROR_USAGE, "no text tokens to encode");
    for (int t = 0; t < tokens; t++)
        if (ids[t] < 0 || ids[t] >= encoder->vocabulary)
            return sdt_fail(err, SDT_ERROR_USAGE, "token %d has id %d; %s has ids 0 to %d", t,
                            (int)ids[t], sdt_weights_folder(encoder->weights),
                            encoder->vocabulary - 1);
    struct sdt_parameters *parameters = sdt_parameters_new(encoder->weights, machine);
    if (!parameters)
        return sdt_fail(err, SDT_ERROR_MEMORY, "out of memory while encoding the prompt");
    const struct sdt_stored *shared = sdt_weights_find(encoder->weights, "shared.weight");
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
    sdt_insert_embed(flow, "embed", shared->dtype, shared->data, encoder->d, tokens, ids, b.x);
    flow->place = place;
    unsigned long end_of_layer = 0;
    for (int l = 0; l < encoder->layers; l++) {
        char finished[80];
        flow->tag.layer = l;
        insert_layer(flow, encoder, parameters, l, tokens, &b);
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
    sdt_insert_rms_norm(flow, "text_norm", tokens, encoder->d, encoder->eps, b.x,
                        sdt_parameter(flow, parameters, SDT_F32, "encoder.final_layer_norm.weight"),
                        states);
    enum sdt_status status = sdt__flow_wait(flow, err);
    if (status == SDT_ERROR_STALLED)
        return status; /* nothing can be freed any more */
    sdt_handle temporary[] = {b.x, b.y, b.q, b.k, b.v, b.o, b.gate, b.up};
    for (size_t i = 0; i < sizeof temporary / sizeof temporary[0]; i++)
        if (temporary[i])
            starpu_data_unregister_submit(temporary[i]);
    sdt_parameters_free(parameters);
    sdt_stored_release(shared);
    for (size_t i = 0; i < sdt_weights_count(encoder->weights); i++)
        sdt_stored_release(sdt_weights_at(encoder->weights, i));
    return status;
}

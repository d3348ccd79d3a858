/* Columns and layers of text encoders; see text_layers.h. */
#include "graph/models/text_layers.h"

#include <math.h>
#include <stdio.h>

int sdt_text_cuts(const struct sdt_place *place) {
    enum { EACH = 2 }; /* parts for a worker */
    int count = place->kind == SDT_DEVICE_CPU && place->workers > 1 ? EACH * place->workers : 1;
    return count < SDT_MOST_PARTS ? count : SDT_MOST_PARTS;
}

struct sdt_parts sdt_text_cut(int width, int unit, int count) {
    struct sdt_parts parts = {0};
    int units = (width + unit - 1) / unit;
    parts.count = count < units ? count : units;
    for (int p = 1; p < parts.count; p++)
        parts.bound[p] = units * p / parts.count * unit;
    parts.bound[parts.count] = width;
    return parts;
}

int sdt_text_step(int width, int e) {
    int step = sdt_linear_step(width), unit = step;
    while (unit % e)
        unit += step;
    return unit;
}

void sdt_text_parts_init(struct sdt_flow *flow, enum sdt_dtype dtype, const struct sdt_parts *parts,
                         int tokens, const char *name, sdt_handle *handle) {
    for (int p = 0; p < parts->count; p++)
        handle[p] =
            sdt__tensor(flow, dtype, (size_t)tokens * (size_t)sdt_text_columns(parts, p), name);
}

void sdt_text_parts_clear(const sdt_handle *handle) {
    for (int p = 0; p < SDT_MOST_PARTS; p++)
        sdt__unregister_submit(handle[p]);
}

void sdt_text_linear(struct sdt_flow *flow, const char *name, int tokens,
                     const struct sdt_parts *in, const sdt_handle *x, struct sdt_linear_handles w,
                     const struct sdt_parts *out, int p, bool add, sdt_handle y) {
    int n = sdt_text_columns(out, p), k = in->bound[in->count];
    struct sdt_row_sum none = {0};
    if (flow->place->kind == SDT_DEVICE_CPU)
        sdt_insert_linear_part(flow, name, tokens, in, x, w.weight, w.bias, out->bound[p], n, add,
                               y);
    else if (add)
        sdt_insert_linear_residual(flow, name, tokens, n, k, x[0], w.weight, w.bias, none, y);
    else
        sdt_insert_linear(flow, name, tokens, n, k, x[0], w.weight, w.bias, SDT_EPILOGUE_NONE, y);
}

void sdt_text_product(struct sdt_flow *flow, const char *name, int tokens,
                      const struct sdt_parts *in, const sdt_handle *x, sdt_handle w,
                      const struct sdt_parts *out, int p, bool add, sdt_handle y) {
    sdt_text_linear(flow, name, tokens, in, x, (struct sdt_linear_handles){w, NULL}, out, p, add,
                    y);
}

void sdt_text_layer_norm(struct sdt_flow *flow, const char *name, int tokens, float eps,
                         const struct sdt_parts *parts, const sdt_handle *x,
                         struct sdt_linear_handles norm, sdt_handle y) {
    struct sdt_row_sum none = {0};
    if (parts->count > 1)
        sdt_insert_layer_norm_parts(flow, name, tokens, parts, eps, x, norm.weight, norm.bias, y);
    else
        sdt_insert_layer_norm(flow, name, tokens, parts->bound[1], eps, x[0], norm.weight,
                              norm.bias, none, none, y);
}

void sdt_text_rms_norm(struct sdt_flow *flow, const char *name, int tokens, float eps,
                       const struct sdt_parts *parts, const sdt_handle *x, sdt_handle weight,
                       sdt_handle y) {
    if (parts->count > 1)
        sdt_insert_rms_norm_parts(flow, name, tokens, parts, eps, x, weight, y);
    else
        sdt_insert_rms_norm(flow, name, tokens, parts->bound[1], eps, x[0], weight, y);
}

enum sdt_status sdt_text_check_ids(const struct sdt_text *text, const int32_t *ids, int tokens,
                                   struct sdt_error *err) {
    if (tokens < 1)
        return sdt_fail(err, SDT_ERROR_USAGE, "no text tokens to encode");
    if (text->positions && tokens > text->positions)
        return sdt_fail(err, SDT_ERROR_USAGE, "%d tokens; %s takes up to %d", tokens,
                        sdt_weights_folder(text->weights), text->positions);
    for (int t = 0; t < tokens; t++)
        if (ids[t] < 0 || ids[t] >= text->vocabulary)
            return sdt_fail(err, SDT_ERROR_USAGE, "token %d has id %d; %s has ids 0 to %d", t,
                            (int)ids[t], sdt_weights_folder(text->weights), text->vocabulary - 1);
    return SDT_OK;
}

void sdt_text_embed(struct sdt_flow *flow, const struct sdt_machine *machine,
                    const struct sdt_text *text, const struct sdt_stored *table,
                    const struct sdt_stored *place, const struct sdt_parts *parts, int tokens,
                    const int32_t *ids, const sdt_handle *x) {
    struct sdt_embedding embedding = {
        .d = text->width, .dtype = table->dtype, .table = table->data};
    if (place) {
        embedding.place_dtype = place->dtype;
        embedding.place = place->data;
    }
    flow->tag.role = SDT_ROLE_TEXT;
    flow->place = &machine->host;
    for (int p = 0; p < parts->count; p++)
        sdt_insert_embed(flow, "embed", &embedding, parts->bound[p], sdt_text_columns(parts, p),
                         tokens, ids, x[p]);
}

void sdt_text_layers_run(struct sdt_flow *flow, const struct sdt_place *place,
                         const struct sdt_text_layers *layers) {
    struct sdt_tensor_visit visit = {.layer = -1,
                                     .flow = flow,
                                     .parameters = layers->parameters,
                                     .kind = place->kind,
                                     .dtype = layers->dtype};
    unsigned long end_of_layer = 0;
    flow->place = place;
    for (int l = 0; l < layers->layers; l++) {
        char finished[80];
        flow->tag.layer = l;
        layers->insert(layers->arg, flow, &visit, l);
        /* Layer l is queued; the one before it is, or soon will be, done: its weights can go. */
        if (!sdt__flow_reach(flow, end_of_layer))
            break;
        end_of_layer = sdt__flow_mark(flow);
        if (l > 0 && !layers->keep) {
            snprintf(finished, sizeof finished, "%s%d.", layers->prefix, l - 1);
            sdt_parameters_drop(layers->parameters, finished);
        }
    }
    flow->tag.layer = -1;
}

double sdt_text_bytes(const struct sdt_text *text, const struct sdt_text_work *work,
                      enum sdt_device_kind kind, enum sdt_dtype dtype, int workers, int tokens) {
    double before = 0.0, most = 0.0;
    uint64_t scratch = 0;
    for (int l = 0; l < text->layers; l++) {
        struct sdt_tensor_count count[SDT_READERS] = {{0}};
        struct sdt_tensor_held held[SDT_READERS] = {{0}};
        struct sdt_tensor_visit visit = {
            .layer = -1, .count = count, .weights = text->weights, .held = held};
        double bytes = 0.0;
        work->name(text, &visit, l);
        for (int r = 0; r < SDT_READERS; r++)
            bytes += kind == SDT_DEVICE_CPU ? held[r].all : sdt_tensor_bytes(count[r], dtype);
        most = fmax(most, before + bytes);
        before = bytes;
    }
    if (kind == SDT_DEVICE_CPU)
        scratch = sdt__scratch_size(sizeof(float) * work->attention) |
                  sdt__scratch_size(sizeof(float) * sdt_linear_residual_scratch(tokens));
    return most + (double)scratch * workers +
           tokens * ((double)sdt_dtype_size(dtype) * work->columns + sizeof(float) * work->floats);
}

enum sdt_status sdt_text_describe(const struct sdt_recognised *file, const struct sdt_config *like,
                                  char text[SDT_CONFIG_ROOM], struct sdt_error *err) {
    (void)text;
    return like ? SDT_OK
                : sdt_fail(err, SDT_ERROR_UNSUPPORTED,
                           "%s: how many heads it has does not follow from its shapes; a "
                           "config.json beside it would tell",
                           sdt_weights_folder(file->weights));
}

struct sdt_parameters *sdt_text_parameters(struct sdt_text *text, struct sdt_machine *machine) {
    struct sdt_parameters *kept = text->kept;
    text->kept = NULL;
    return kept ? kept : sdt_parameters_new(text->weights, machine);
}

static void release(const struct sdt_text *text) {
    for (size_t i = 0; i < sdt_weights_count(text->weights); i++)
        sdt_stored_release(sdt_weights_at(text->weights, i));
}

void sdt_text_done(struct sdt_text *text, struct sdt_parameters *parameters) {
    if (text->keep) {
        text->kept = parameters;
        return;
    }
    sdt_parameters_free(parameters);
    release(text);
}

void sdt_text_let_go(struct sdt_text *text) {
    if (!text || !text->kept)
        return;
    sdt_parameters_free(text->kept);
    text->kept = NULL;
    release(text);
}

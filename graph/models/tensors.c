/* What happens to a tensor when a model names it. */
#include "graph/models/tensors.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "graph/checkpoint/lora.h"
#include "graph/checkpoint/naming.h"

static void add_handle(struct sdt_tensor_visit *visit, sdt_handle handle) {
    struct sdt_tensor_handles *list = &visit->layers[visit->layer];
    if (list->count == list->capacity) {
        int capacity = list->capacity ? 2 * list->capacity : 32;
        sdt_handle *grown = realloc(list->handle, (size_t)capacity * sizeof *grown);
        if (!grown) {
            if (visit->flow->error.status == SDT_OK)
                sdt_fail(&visit->flow->error, SDT_ERROR_MEMORY, "out of memory for %d handles",
                         capacity);
            return;
        }
        list->handle = grown;
        list->capacity = capacity;
    }
    list->handle[list->count++] = handle;
}

static enum sdt_reader reader_of(const struct sdt_tensor_visit *visit, enum sdt_tensor_type type) {
    bool made = type == SDT_TENSOR_PROMPT_MATRIX || type == SDT_TENSOR_FLOAT_MATRIX;
    return made ? SDT_READ_BY_MAKER : visit->reader;
}

static void add_count(struct sdt_tensor_visit *visit, enum sdt_tensor_type type, int rank,
                      const int64_t *shape) {
    struct sdt_tensor_count *count = &visit->count[reader_of(visit, type)];
    double elements = 1.0;
    for (int i = 0; i < rank; i++)
        elements *= (double)shape[i];
    count->all += elements;
    count->floats += sdt_tensor_is_float(type) ? elements : 0.0;
    count->layers += visit->layer >= 0 ? elements : 0.0;
    if (visit->by_layer && visit->layer >= 0)
        visit->by_layer[visit->layer] += elements;
}

static void add_held(struct sdt_tensor_visit *visit, enum sdt_tensor_type type,
                     const struct sdt_stored *stored, struct sdt_columns columns) {
    bool often = type != SDT_TENSOR_PROMPT_MATRIX;
    double bytes = sdt_tensor_is_matrix(type)
                       ? (double)sdt_weight_size(stored, SDT_DEVICE_CPU, SDT_F32, often, columns)
                       : (double)stored->count * sizeof(float);
    struct sdt_tensor_held *held = &visit->held[reader_of(visit, type)];
    held->all += bytes;
    held->layers += visit->layer >= 0 ? bytes : 0.0;
}

static void make_handle(struct sdt_tensor_visit *visit, enum sdt_tensor_type type,
                        struct sdt_columns columns, const char *name, sdt_handle *handle) {
    struct sdt_flow *flow = visit->flow;
    enum sdt_dtype dtype = sdt_tensor_is_float(type) ? SDT_F32 : visit->dtype;
    if (sdt_tensor_is_host(type) != visit->hosts)
        return;
    if (visit->hosts)
        *handle =
            sdt_host_parameter(flow, visit->parameters, sdt_tensor_is_matrix(type), "%s", name);
    else if (sdt_tensor_is_matrix(type))
        *handle = sdt_weight_parameter(flow, visit->parameters, visit->kind, dtype,
                                       type != SDT_TENSOR_PROMPT_MATRIX, columns, "%s", name);
    else
        *handle = sdt_parameter(flow, visit->parameters, dtype, "%s", name);
    if (*handle && visit->layers && visit->layer >= 0)
        add_handle(visit, *handle);
}

/* bound: where the columns of each handle begin, and the end; NULL: one handle. */
static void name_tensor(struct sdt_tensor_visit *visit, sdt_handle *handle,
                        enum sdt_tensor_type type, int rank, const int64_t *shape, int parts,
                        const int64_t *bound, const char *name) {
    const struct sdt_stored *stored =
        visit->weights ? sdt_weights_find(visit->weights, name) : NULL;
    if (visit->table)
        sdt_tensor_table_add(visit->table, rank, shape, "%s", name);
    if (visit->count && !sdt_tensor_is_host(type))
        add_count(visit, type, rank, shape);
    for (int p = 0; p < parts; p++) {
        struct sdt_columns columns = {0};
        if (bound)
            columns = (struct sdt_columns){(int)bound[p], (int)(bound[p + 1] - bound[p])};
        if (stored && !sdt_tensor_is_host(type))
            add_held(visit, type, stored, columns);
        else if (stored && visit->host_bytes)
            *visit->host_bytes += (double)sdt_host_size(stored, sdt_tensor_is_matrix(type));
        if (visit->parameters)
            make_handle(visit, type, columns, name, &handle[p]);
    }
}

#define NAME(name, format)                                                                         \
    char name[300];                                                                                \
    va_list args;                                                                                  \
    va_start(args, format);                                                                        \
    vsnprintf(name, sizeof name, format, args);                                                    \
    va_end(args)

void sdt_tensor(struct sdt_tensor_visit *visit, sdt_handle *handle, enum sdt_tensor_type type,
                int rank, const int64_t *shape, const char *format, ...) {
    NAME(name, format);
    name_tensor(visit, handle, type, rank, shape, 1, NULL, name);
}

void sdt_tensor_columns(struct sdt_tensor_visit *visit, sdt_handle *handle,
                        enum sdt_tensor_type type, int64_t out, int parts, const int64_t *bound,
                        const char *format, ...) {
    NAME(name, format);
    name_tensor(visit, handle, type, 2, (int64_t[]){out, bound[parts]}, parts, bound, name);
}

void sdt_tensor_linear(struct sdt_tensor_visit *visit, struct sdt_linear_handles *linear,
                       enum sdt_tensor_type type, int64_t out, int64_t in, const char *prefix,
                       const char *name) {
    sdt_tensor(visit, &linear->weight, type, 2, (int64_t[]){out, in}, "%s%s.weight", prefix, name);
    sdt_tensor(visit, &linear->bias, sdt_tensor_bias(type), 1, (int64_t[]){out}, "%s%s.bias",
               prefix, name);
}

/* The files of an imagined component, which say how its tensors are stored. NULL: it has none, or
 * none that can be read, as where only its config.json was downloaded. */
static struct sdt_weights *files_of_imagined(struct sdt_tensor_table *table, const char *folder,
                                             const struct sdt_opening *how) {
    struct sdt_weights *files;
    struct sdt_error ignored;
    if (sdt_weights_open_variant(folder, how->variant, &files, &ignored) != SDT_OK)
        return NULL;
    if (sdt_tensor_table_settle(table, files, &ignored) == SDT_OK)
        return files;
    sdt_weights_close(files);
    return NULL;
}

enum sdt_status sdt_tensors_open(struct sdt_tensor_table *table, const char *folder,
                                 const struct sdt_opening *how, struct sdt_weights **weights,
                                 struct sdt_error *err) {
    enum sdt_status status = SDT_OK;
    *weights = NULL;
    if (!table)
        return sdt_fail(err, SDT_ERROR_MEMORY, "out of memory while opening %s", folder);
    if (how && how->imagined) {
        struct sdt_weights *files = files_of_imagined(table, folder, how);
        status = sdt_weights_imagine(table, folder, files, how->stored, weights, err);
        sdt_weights_close(files);
    } else {
        status = sdt_weights_open_variant(folder, how ? how->variant : NULL, weights, err);
        if (status == SDT_OK)
            status = sdt_tensor_table_settle(table, *weights, err);
        if (status == SDT_OK)
            status = sdt_tensor_table_check(table, *weights, err);
    }
    if (status == SDT_OK && how)
        status = sdt_weights_merge(*weights, table, how->lora, how->loras, err);
    sdt_tensor_table_free(table);
    if (status != SDT_OK) {
        sdt_weights_close(*weights);
        *weights = NULL;
    }
    return status;
}

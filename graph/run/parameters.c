/* Weights as handles: registered in place, or converted by a task. */
#include "graph/run/parameters.h"

#include "graph/checkpoint/lora.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct entry {
    const struct sdt_stored *stored;
    enum sdt_dtype dtype; /* of the handle */
    bool packed, hosts;
    int first, rows, column;
    sdt_handle handle;
};

/* How a tensor is wanted. */
struct form {
    enum sdt_dtype dtype;
    bool packed;       /* as sdt_pack_weight does, with the run: */
    int run;           /* 0: all */
    int out, in, taps; /* of a convolution; else 1 */
    bool hosts;        /* read by tasks at the host alone */
    struct sdt_columns columns;
    int first, rows; /* of the tensor's rows; rows 0: all */
};

struct sdt_parameters {
    const struct sdt_weights *weights;
    struct sdt_machine *machine;
    struct sdt_parameters *next; /* of the machine's */
    /* Handles made so far. One thread makes and drops them, under the machine's mutex, because
     * others may ask where they are. */
    struct entry *entry;
    size_t count, capacity;
};

struct sdt_parameters *sdt_parameters_new(const struct sdt_weights *weights,
                                          struct sdt_machine *machine) {
    struct sdt_parameters *parameters = calloc(1, sizeof *parameters);
    if (parameters) {
        parameters->weights = weights;
        parameters->machine = machine;
        pthread_mutex_lock(&machine->parameters_mutex);
        parameters->next = machine->parameters;
        machine->parameters = parameters;
        pthread_mutex_unlock(&machine->parameters_mutex);
    }
    return parameters;
}

void sdt_parameters_free(struct sdt_parameters *parameters) {
    if (!parameters)
        return;
    pthread_mutex_lock(&parameters->machine->parameters_mutex);
    struct sdt_parameters **link = &parameters->machine->parameters;
    while (*link != parameters)
        link = &(*link)->next;
    *link = parameters->next;
    pthread_mutex_unlock(&parameters->machine->parameters_mutex);
    for (size_t i = 0; i < parameters->count; i++)
        sdt__unregister(parameters->entry[i].handle);
    free(parameters->entry);
    free(parameters);
}

/* Room for one more entry; false: no memory. */
static bool reserve(struct sdt_parameters *parameters) {
    if (parameters->count < parameters->capacity)
        return true;
    size_t capacity = parameters->capacity ? 2 * parameters->capacity : 64;
    pthread_mutex_lock(&parameters->machine->parameters_mutex);
    struct entry *entry = realloc(parameters->entry, capacity * sizeof *entry);
    if (entry) {
        parameters->entry = entry;
        parameters->capacity = capacity;
    }
    pthread_mutex_unlock(&parameters->machine->parameters_mutex);
    return entry;
}

static void fetch(const void *stored) { sdt_stored_fetch(stored); }

static void release(const void *stored) { sdt_stored_release(stored); }

static int rows_of(const struct sdt_stored *stored, struct form form) {
    return form.rows ? form.rows : (int)stored->shape[0];
}

static int columns_of(const struct sdt_stored *stored) {
    return (int)(stored->count / (size_t)stored->shape[0]);
}

static int wanted_columns(const struct sdt_stored *stored, struct sdt_columns columns) {
    return columns.count ? columns.count : columns_of(stored);
}

/* The numbers that are wanted. */
static size_t count_of(const struct sdt_stored *stored, struct form form) {
    return (size_t)rows_of(stored, form) * (size_t)wanted_columns(stored, form.columns);
}

static const void *data_of(const struct sdt_stored *stored, struct form form) {
    size_t before = (size_t)form.first * (size_t)columns_of(stored) + (size_t)form.columns.first;
    return (const char *)stored->data + before * sdt_dtype_size(stored->dtype);
}

/* The type in which packed values are. Convolutions are reordered as floats. */
static enum sdt_dtype packed_dtype(const struct sdt_stored *stored, struct form form) {
    return form.taps > 1 ? SDT_F32 : stored->dtype;
}

static void insert_load(struct sdt_flow *flow, const struct sdt_stored *stored, struct form form,
                        sdt_handle handle) {
    int ld = columns_of(stored), k = wanted_columns(stored, form.columns);
    int rows = rows_of(stored, form);
    const void *data = data_of(stored, form);
    /* What is merged is there while it is read; packed matrices' files are given back as well. */
    const struct sdt_reading reading = {fetch, release, stored};
    const struct sdt_reading *merged = stored->merge ? &reading : NULL;
    if (form.packed)
        sdt_insert_pack_weight(flow, "load", stored->dtype, data, rows, k, ld, form.taps,
                               form.run ? form.run : k, &reading, handle);
    else if (form.columns.count)
        sdt_insert_load_columns(flow, "load", stored->dtype, data, rows, k, ld, merged, handle);
    else
        sdt_insert_load(flow, "load", stored->dtype, data, count_of(stored, form), form.out,
                        form.in, form.taps, merged, handle);
}

/* What is left to do of a handle that nothing has read yet. */
struct reading_later {
    const struct sdt_stored *stored;
    struct form form;
};

/* The host's task. */
static void bring(struct sdt_flow *flow, sdt_handle handle, const void *arg) {
    const struct reading_later *later = arg;
    const struct sdt_place *place = flow->place;
    enum sdt_role role = flow->tag.role;
    flow->place = flow->each;
    flow->tag.role = SDT_ROLE_IO;
    insert_load(flow, later->stored, later->form, handle);
    flow->place = place;
    flow->tag.role = role;
}

/* A handle whose values a task on the host brings: of several ranks on each that reads them, and
 * when it does. */
static sdt_handle load(struct sdt_flow *flow, const struct sdt_stored *stored, struct form form) {
    sdt_handle handle =
        form.packed ? sdt__packed(flow,
                                  sdt_packed_size(packed_dtype(stored, form), rows_of(stored, form),
                                                  wanted_columns(stored, form.columns)),
                                  stored->name)
                    : sdt__tensor(flow, form.dtype, count_of(stored, form), stored->name);
    if (!handle)
        return NULL;
    const struct reading_later later = {stored, form};
    if (flow->crossing)
        sdt__fill_later(flow, handle, bring, &later, sizeof later);
    else
        bring(flow, handle, &later);
    if (flow->error.status != SDT_OK) { /* nothing will ever write it: the next flow starts anew */
        sdt__unregister(handle);
        return NULL;
    }
    return handle;
}

static const struct sdt_stored *stored_of(struct sdt_flow *flow, struct sdt_parameters *parameters,
                                          const char *format, va_list args) {
    char name[300];
    vsnprintf(name, sizeof name, format, args);
    if (flow->error.status != SDT_OK)
        return NULL;
    const struct sdt_stored *stored = sdt_weights_find(parameters->weights, name);
    if (!stored)
        sdt_fail(&flow->error, SDT_ERROR_MISSING, "%s: tensor %s is missing",
                 sdt_weights_folder(parameters->weights), name);
    return stored;
}

/* As it is stored. */
static bool readable(const struct sdt_stored *stored, struct form form) {
    return stored->dtype == form.dtype &&
           (uintptr_t)stored->data % sdt_dtype_size(form.dtype) == 0 && form.taps == 1 &&
           stored->count <= UINT32_MAX;
}

static sdt_handle find(struct sdt_flow *flow, struct sdt_parameters *parameters,
                       const struct sdt_stored *stored, struct form form) {
    if (!stored)
        return NULL;
    for (size_t i = 0; i < parameters->count; i++)
        if (parameters->entry[i].stored == stored && parameters->entry[i].dtype == form.dtype &&
            parameters->entry[i].packed == form.packed &&
            parameters->entry[i].first == form.first && parameters->entry[i].rows == form.rows &&
            parameters->entry[i].column == form.columns.first)
            return parameters->entry[i].handle;
    if (!reserve(parameters)) {
        sdt_fail(&flow->error, SDT_ERROR_MEMORY, "out of memory for the weights of %s",
                 sdt_weights_folder(parameters->weights));
        return NULL;
    }
    sdt_handle handle = NULL;
    /* With GPUs it is copied once into memory that StarPU has pinned: from a mapping, transfers
     * would be slow, and nothing would overlap with them. */
    bool in_place =
        (!parameters->machine->gpus || form.hosts) && !form.packed && !form.columns.count;
    if (in_place && readable(stored, form)) {
        sdt_stored_fetch(stored); /* until it is dropped */
        handle = sdt__register(flow, flow->each, form.dtype, count_of(stored, form),
                               data_of(stored, form), stored->name);
    } else
        handle = load(flow, stored, form);
    if (!handle)
        return NULL;
    pthread_mutex_lock(&parameters->machine->parameters_mutex);
    parameters->entry[parameters->count++] = (struct entry){.stored = stored,
                                                            .dtype = form.dtype,
                                                            .packed = form.packed,
                                                            .hosts = form.hosts,
                                                            .first = form.first,
                                                            .rows = form.rows,
                                                            .column = form.columns.first,
                                                            .handle = handle};
    pthread_mutex_unlock(&parameters->machine->parameters_mutex);
    return handle;
}

sdt_handle sdt_parameter(struct sdt_flow *flow, struct sdt_parameters *parameters,
                         enum sdt_dtype dtype, const char *format, ...) {
    va_list args;
    va_start(args, format);
    const struct sdt_stored *stored = stored_of(flow, parameters, format, args);
    va_end(args);
    return find(flow, parameters, stored,
                (struct form){.dtype = dtype, .out = 1, .in = 1, .taps = 1});
}

sdt_handle sdt_rows_parameter(struct sdt_flow *flow, struct sdt_parameters *parameters,
                              enum sdt_dtype dtype, int first, int rows, const char *format, ...) {
    va_list args;
    va_start(args, format);
    const struct sdt_stored *stored = stored_of(flow, parameters, format, args);
    va_end(args);
    return find(
        flow, parameters, stored,
        (struct form){.dtype = dtype, .out = 1, .in = 1, .taps = 1, .first = first, .rows = rows});
}

sdt_handle sdt_conv_parameter(struct sdt_flow *flow, struct sdt_parameters *parameters,
                              enum sdt_device_kind kind, enum sdt_dtype dtype, int out, int in,
                              int taps, int across, const char *format, ...) {
    va_list args;
    va_start(args, format);
    const struct sdt_stored *stored = stored_of(flow, parameters, format, args);
    va_end(args);
    bool packed = kind == SDT_DEVICE_CPU;
    return find(flow, parameters, stored,
                (struct form){.dtype = dtype,
                              .packed = packed,
                              .run = across * in,
                              .out = out,
                              .in = in,
                              .taps = taps});
}

sdt_handle sdt_conv_part_parameter(struct sdt_flow *flow, struct sdt_parameters *parameters,
                                   enum sdt_device_kind kind, enum sdt_dtype dtype, int first,
                                   int out, int in, int taps, int across, const char *format, ...) {
    va_list args;
    va_start(args, format);
    const struct sdt_stored *stored = stored_of(flow, parameters, format, args);
    va_end(args);
    bool packed = kind == SDT_DEVICE_CPU;
    return find(flow, parameters, stored,
                (struct form){.dtype = dtype,
                              .packed = packed,
                              .run = across * in,
                              .out = out,
                              .in = in,
                              .taps = taps,
                              .first = first,
                              .rows = out});
}

/* Halves that are used once become floats, not bfloat16, which would round them. */
static struct form weight_form(const struct sdt_stored *stored, enum sdt_device_kind kind,
                               enum sdt_dtype dtype, bool often, struct sdt_columns columns) {
    struct form form = {.dtype = dtype, .out = 1, .in = 1, .taps = 1, .columns = columns};
    if (kind == SDT_DEVICE_CPU) {
        form.dtype = stored->dtype == SDT_BF16 ? SDT_BF16 : SDT_F32;
        form.packed = often;
    }
    return form;
}

sdt_handle sdt_weight_parameter(struct sdt_flow *flow, struct sdt_parameters *parameters,
                                enum sdt_device_kind kind, enum sdt_dtype dtype, bool often,
                                struct sdt_columns columns, const char *format, ...) {
    va_list args;
    va_start(args, format);
    const struct sdt_stored *stored = stored_of(flow, parameters, format, args);
    va_end(args);
    if (!stored)
        return NULL;
    return find(flow, parameters, stored, weight_form(stored, kind, dtype, often, columns));
}

static struct form host_form(const struct sdt_stored *stored, bool matrix) {
    static const struct sdt_columns all;
    struct form form = weight_form(stored, SDT_DEVICE_CPU, SDT_F32, false, all);
    if (!matrix)
        form.dtype = SDT_F32;
    form.hosts = true;
    return form;
}

size_t sdt_host_size(const struct sdt_stored *stored, bool matrix) {
    struct form form = host_form(stored, matrix);
    return readable(stored, form) ? 0 : stored->count * sdt_dtype_size(form.dtype);
}

sdt_handle sdt_host_parameter(struct sdt_flow *flow, struct sdt_parameters *parameters, bool matrix,
                              const char *format, ...) {
    va_list args;
    va_start(args, format);
    const struct sdt_stored *stored = stored_of(flow, parameters, format, args);
    va_end(args);
    return stored ? find(flow, parameters, stored, host_form(stored, matrix)) : NULL;
}

size_t sdt_weight_size(const struct sdt_stored *stored, enum sdt_device_kind kind,
                       enum sdt_dtype dtype, bool often, struct sdt_columns columns) {
    struct form form = weight_form(stored, kind, dtype, often, columns);
    int rows = rows_of(stored, form), k = wanted_columns(stored, columns);
    if (form.packed)
        return sdt_packed_size(stored->dtype, rows, k);
    return (size_t)rows * (size_t)k * sdt_dtype_size(form.dtype);
}

/* Drops those whose tensor's name starts with prefix (NULL: those of the host alone). */
static void drop(struct sdt_parameters *parameters, const char *prefix) {
    pthread_mutex_t *mutex = &parameters->machine->parameters_mutex;
    size_t i = 0;
    while (i < parameters->count) {
        struct entry entry = parameters->entry[i];
        if (prefix ? strncmp(entry.stored->name, prefix, strlen(prefix)) : !entry.hosts) {
            i++;
            continue;
        }
        pthread_mutex_lock(mutex);
        parameters->entry[i] = parameters->entry[--parameters->count];
        pthread_mutex_unlock(mutex);
        sdt__unregister(entry.handle);
        sdt_stored_release(entry.stored);
    }
}

void sdt_parameters_drop(struct sdt_parameters *parameters, const char *prefix) {
    drop(parameters, prefix);
}

bool sdt_parameters_has_host(const struct sdt_parameters *parameters) {
    for (size_t i = 0; i < parameters->count; i++)
        if (parameters->entry[i].hosts)
            return true;
    return false;
}

void sdt_parameters_drop_host(struct sdt_parameters *parameters) { drop(parameters, NULL); }

int sdt_parameters_resident(struct sdt_machine *machine, const struct sdt_weights *weights,
                            unsigned node, size_t *bytes) {
    int resident = 0;
    size_t sum = 0;
    pthread_mutex_lock(&machine->parameters_mutex);
    for (const struct sdt_parameters *p = machine->parameters; p; p = p->next)
        for (size_t i = 0; p->weights == weights && i < p->count; i++) {
            int allocated = 0, valid = 0, requested = 0;
            starpu_data_query_status(p->entry[i].handle, (int)node, &allocated, &valid, &requested);
            if (allocated || valid || requested) {
                resident++;
                sum += starpu_data_get_size(p->entry[i].handle);
            }
        }
    pthread_mutex_unlock(&machine->parameters_mutex);
    if (bytes)
        *bytes = sum;
    return resident;
}

/* Weights as handles: registered in place, or converted by a task. */
#include "graph/parameters.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct entry {
    const struct sdt_stored *stored;
    sdt_handle handle;
};

struct sdt_parameters {
    const struct sdt_weights *weights;
    const struct sdt_place *host;
    struct entry *entry; /* handles made so far */
    size_t count, capacity;
};

struct sdt_parameters *sdt_parameters_new(const struct sdt_weights *weights,
                                          const struct sdt_place *host) {
    struct sdt_parameters *parameters = calloc(1, sizeof *parameters);
    if (parameters) {
        parameters->weights = weights;
        parameters->host = host;
    }
    return parameters;
}

void sdt_parameters_free(struct sdt_parameters *parameters) {
    if (!parameters)
        return;
    for (size_t i = 0; i < parameters->count; i++)
        starpu_data_unregister(parameters->entry[i].handle);
    free(parameters->entry);
    free(parameters);
}

static sdt_handle find(struct sdt_flow *flow, struct sdt_parameters *parameters, int out, int in,
                       int taps, const char *format, va_list args) {
    char name[300];
    vsnprintf(name, sizeof name, format, args);
    if (flow->error.status != SDT_OK)
        return NULL;
    const struct sdt_stored *stored = sdt_weights_find(parameters->weights, name);
    if (!stored) {
        sdt_fail(&flow->error, SDT_ERROR_MISSING, "%s: tensor %s is missing",
                 sdt_weights_folder(parameters->weights), name);
        return NULL;
    }
    for (size_t i = 0; i < parameters->count; i++)
        if (parameters->entry[i].stored == stored)
            return parameters->entry[i].handle;
    if (parameters->count == parameters->capacity) {
        size_t capacity = parameters->capacity ? 2 * parameters->capacity : 64;
        struct entry *entry = realloc(parameters->entry, capacity * sizeof *entry);
        if (!entry) {
            sdt_fail(&flow->error, SDT_ERROR_MEMORY, "out of memory for the weights of %s",
                     sdt_weights_folder(parameters->weights));
            return NULL;
        }
        parameters->entry = entry;
        parameters->capacity = capacity;
    }
    sdt_handle handle = NULL;
    if (stored->dtype == SDT_F32 && (uintptr_t)stored->data % sizeof(float) == 0 && taps == 1 &&
        stored->count <= UINT32_MAX) {
        starpu_vector_data_register(&handle, STARPU_MAIN_RAM, (uintptr_t)stored->data,
                                    (uint32_t)stored->count, sizeof(float));
        starpu_data_set_name(handle, stored->name);
    } else {
        handle = sdt__vector(flow, stored->count, stored->name);
        if (!handle)
            return NULL;
        const struct sdt_place *place = flow->place;
        enum sdt_role role = flow->tag.role;
        flow->place = parameters->host;
        flow->tag.role = SDT_ROLE_IO;
        sdt_insert_load(flow, "load", stored->dtype, stored->data, stored->count, out, in, taps,
                        handle);
        flow->place = place;
        flow->tag.role = role;
    }
    parameters->entry[parameters->count++] = (struct entry){stored, handle};
    return handle;
}

sdt_handle sdt_parameter(struct sdt_flow *flow, struct sdt_parameters *parameters,
                         const char *format, ...) {
    va_list args;
    va_start(args, format);
    sdt_handle handle = find(flow, parameters, 1, 1, 1, format, args);
    va_end(args);
    return handle;
}

sdt_handle sdt_conv_parameter(struct sdt_flow *flow, struct sdt_parameters *parameters, int out,
                              int in, int taps, const char *format, ...) {
    va_list args;
    va_start(args, format);
    sdt_handle handle = find(flow, parameters, out, in, taps, format, args);
    va_end(args);
    return handle;
}

void sdt_parameters_drop(struct sdt_parameters *parameters, const char *prefix) {
    size_t kept = 0, length = strlen(prefix);
    for (size_t i = 0; i < parameters->count; i++) {
        struct entry entry = parameters->entry[i];
        if (strncmp(entry.stored->name, prefix, length)) {
            parameters->entry[kept++] = entry;
            continue;
        }
        starpu_data_unregister(entry.handle); /* waits for its readers */
        sdt_stored_release(entry.stored);
    }
    parameters->count = kept;
}

/* Weights as handles: registered in place, or converted by a task. */
#include "graph/run/parameters.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct entry {
    const struct sdt_stored *stored;
    enum sdt_dtype dtype; /* of the handle */
    sdt_handle handle;
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

static sdt_handle find(struct sdt_flow *flow, struct sdt_parameters *parameters,
                       enum sdt_dtype dtype, int out, int in, int taps, const char *format,
                       va_list args) {
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
        if (parameters->entry[i].stored == stored && parameters->entry[i].dtype == dtype)
            return parameters->entry[i].handle;
    if (!reserve(parameters)) {
        sdt_fail(&flow->error, SDT_ERROR_MEMORY, "out of memory for the weights of %s",
                 sdt_weights_folder(parameters->weights));
        return NULL;
    }
    sdt_handle handle = NULL;
    size_t size = sdt_dtype_size(dtype);
    /* With GPUs it is copied once into memory that StarPU has pinned: from a mapping, transfers would be slow, and
     * nothing would overlap with them. */
    bool in_place = !parameters->machine->gpus;
    if (in_place && stored->dtype == dtype && (uintptr_t)stored->data % size == 0 && taps == 1 &&
        stored->count <= UINT32_MAX) {
        handle = sdt__register(flow, flow->host, dtype, stored->count, stored->data, stored->name);
        if (!handle)
            return NULL;
    } else {
        handle = sdt__tensor(flow, dtype, stored->count, stored->name);
        if (!handle)
            return NULL;
        const struct sdt_place *place = flow->place;
        enum sdt_role role = flow->tag.role;
        flow->place = flow->host;
        flow->tag.role = SDT_ROLE_IO;
        sdt_insert_load(flow, "load", stored->dtype, stored->data, stored->count, out, in, taps,
                        handle);
        flow->place = place;
        flow->tag.role = role;
        if (flow->error.status !=
            SDT_OK) { /* nothing will ever write it: the next flow starts anew */
            sdt__unregister(handle);
            return NULL;
        }
    }
    pthread_mutex_lock(&parameters->machine->parameters_mutex);
    parameters->entry[parameters->count++] = (struct entry){stored, dtype, handle};
    pthread_mutex_unlock(&parameters->machine->parameters_mutex);
    return handle;
}

sdt_handle sdt_parameter(struct sdt_flow *flow, struct sdt_parameters *parameters,
                         enum sdt_dtype dtype, const char *format, ...) {
    va_list args;
    va_start(args, format);
    sdt_handle handle = find(flow, parameters, dtype, 1, 1, 1, format, args);
    va_end(args);
    return handle;
}

sdt_handle sdt_conv_parameter(struct sdt_flow *flow, struct sdt_parameters *parameters,
                              enum sdt_dtype dtype, int out, int in, int taps, const char *format,
                              ...) {
    va_list args;
    va_start(args, format);
    sdt_handle handle = find(flow, parameters, dtype, out, in, taps, format, args);
    va_end(args);
    return handle;
}

void sdt_parameters_drop(struct sdt_parameters *parameters, const char *prefix) {
    pthread_mutex_t *mutex = &parameters->machine->parameters_mutex;
    size_t length = strlen(prefix), i = 0;
    while (i < parameters->count) {
        struct entry entry = parameters->entry[i];
        if (strncmp(entry.stored->name, prefix, length)) {
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

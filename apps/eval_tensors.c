/* Inputs of stardit-eval, and results. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "apps/eval.h"
#include "apps/metrics.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void app_eval_clear(struct app_results *results) {
    for (size_t i = 0; i < results->count; i++) {
        free((char *)results->tensor[i].name);
        free((float *)results->tensor[i].data);
    }
    free(results->tensor);
    *results = (struct app_results){0};
}

enum sdt_status app_eval_add(struct app_results *results, const char *name, int rank,
                             const int64_t *shape, float *values, struct sdt_error *err) {
    struct sdt_stored tensor = {.dtype = SDT_F32, .rank = rank, .count = 1, .data = values};
    char *copy = strdup(name);

    if (results->count == results->capacity) {
        size_t capacity = results->capacity ? 2 * results->capacity : 16;
        struct sdt_stored *bigger = realloc(results->tensor, capacity * sizeof *bigger);
        if (bigger) {
            results->tensor = bigger;
            results->capacity = capacity;
        }
    }
    if (!copy || !values || results->count == results->capacity) {
        free(copy);
        free(values);
        return sdt_fail(err, SDT_ERROR_MEMORY, "out of memory for the result %s", name);
    }
    for (int i = 0; i < rank; i++) {
        tensor.shape[i] = shape[i];
        tensor.count *= (size_t)shape[i];
    }
    tensor.bytes = tensor.count * sizeof(float);
    tensor.name = copy;
    results->tensor[results->count++] = tensor;
    return SDT_OK;
}

enum sdt_status app_eval_add_copy(struct app_results *results, const char *name, int rank,
                                  const int64_t *shape, const float *values,
                                  struct sdt_error *err) {
    size_t count = 1;
    for (int i = 0; i < rank; i++)
        count *= (size_t)shape[i];
    float *copy = malloc(count * sizeof *copy);
    if (copy)
        memcpy(copy, values, count * sizeof *copy);
    return app_eval_add(results, name, rank, shape, copy, err);
}

const struct sdt_stored *app_eval_result(const struct app_results *results, const char *name) {
    for (size_t i = 0; i < results->count; i++)
        if (!strcmp(results->tensor[i].name, name))
            return &results->tensor[i];
    return NULL;
}

/* ---- inputs ---------------------------------------------------------------------------------- */

int64_t app_eval_integer(const struct sdt_stored *tensor, size_t i) {
    if (tensor->dtype == SDT_I64) {
        int64_t value;
        memcpy(&value, (const char *)tensor->data + i * sizeof value, sizeof value);
        return value;
    }
    int32_t value;
    memcpy(&value, (const char *)tensor->data + i * sizeof value, sizeof value);
    return value;
}

bool app_eval_is_integer(const struct sdt_stored *tensor) {
    return tensor->dtype == SDT_I64 || tensor->dtype == SDT_I32;
}

enum sdt_status app_eval_input(const struct app_eval *eval, const char *name, int rank,
                               const char *meaning, const struct sdt_stored **tensor,
                               float **values, struct sdt_error *err) {
    char shape[200];

    *values = NULL;
    *tensor = sdt_safetensors_find(eval->file, name);
    if (!*tensor)
        return sdt_fail(err, SDT_ERROR_MISSING, "%s: no tensor %s; --component %s needs it, %s",
                        eval->path, name, eval->component, meaning);
    if ((*tensor)->rank != rank || (*tensor)->count == 0 || (*tensor)->shape[0] != 1)
        return sdt_fail(err, SDT_ERROR_FORMAT, "%s: %s has the shape [%s]; it must be %s",
                        eval->path, name, app_shape_text(*tensor, shape, sizeof shape), meaning);
    if (!app_eval_is_integer(*tensor)) {
        enum sdt_status status = sdt_stored_check_finite(eval->path, *tensor, err);
        return status == SDT_OK ? sdt_stored_floats(*tensor, values, err) : status;
    }
    *values = malloc((*tensor)->count * sizeof **values);
    if (!*values)
        return sdt_fail(err, SDT_ERROR_MEMORY, "out of memory for %s", name);
    for (size_t i = 0; i < (*tensor)->count; i++)
        (*values)[i] = (float)app_eval_integer(*tensor, i);
    return SDT_OK;
}

enum sdt_status app_eval_optional(const struct app_eval *eval, const char *name, int rank,
                                  const char *meaning, const struct sdt_stored **tensor,
                                  float **values, struct sdt_error *err) {
    *values = NULL;
    *tensor = sdt_safetensors_find(eval->file, name);
    return *tensor ? app_eval_input(eval, name, rank, meaning, tensor, values, err) : SDT_OK;
}

bool app_eval_fits(const struct sdt_stored *tensor) {
    for (int i = 0; i < tensor->rank; i++)
        if (tensor->shape[i] < 1 || tensor->shape[i] > 1000000)
            return false;
    return true;
}

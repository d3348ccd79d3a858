/* States of given ids. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "apps/eval.h"
#include "apps/metrics.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "graph/models/family.h"
#include "runtime/machine.h"

static enum sdt_status first_row(const struct app_eval *eval, const char *suffix, int tokens,
                                 int *first, struct sdt_error *err) {
    char name[200];
    snprintf(name, sizeof name, "in.first%s", suffix);
    const struct sdt_stored *tensor = sdt_safetensors_find(eval->file, name);
    int64_t value = tensor && app_eval_is_integer(tensor) && tensor->count == 1
                        ? app_eval_integer(tensor, 0)
                    : tensor ? -1
                             : 0;
    if (value < 0 || value >= tokens)
        return sdt_fail(err, SDT_ERROR_FORMAT, "%s: %s must be one integer, 0 to %d", eval->path,
                        name, tokens - 1);
    *first = (int)value;
    return SDT_OK;
}

/* in.ids<suffix> [1, tokens] -> out.y<suffix> [1, rows, width]: a row for each token from
 * in.first<suffix> on (0 without it), or the one row of a pooled encoder. */
static enum sdt_status encode(struct app_eval *eval, struct sdt_text *encoder,
                              const struct sdt_stored *tensor, struct app_results *results,
                              struct sdt_error *err) {
    struct sdt_flow flow = sdt_machine_flow(eval->machine, SDT_LANE_DENOISE);
    const char *suffix = tensor->name + strlen("in.ids");
    int32_t *ids = NULL;
    float *states = NULL;
    char *name = NULL;
    char shape[200];
    enum sdt_status status;

    if (tensor->rank != 2 || tensor->shape[0] != 1 || !app_eval_is_integer(tensor) ||
        tensor->count < 1 || tensor->count > 65536)
        return sdt_fail(err, SDT_ERROR_FORMAT,
                        "%s: %s is %s [%s]; it must be I64 or I32 [1, tokens], 1 to 65536 tokens",
                        eval->path, tensor->name, sdt_dtype_name(tensor->dtype),
                        app_shape_text(tensor, shape, sizeof shape));
    int tokens = (int)tensor->count;
    int first = 0;
    status = first_row(eval, suffix, tokens, &first, err);
    if (status != SDT_OK)
        return status;
    int64_t result_shape[3] = {1, sdt_text_rows(encoder, tokens, first), encoder->width};
    size_t size = (size_t)result_shape[1] * (size_t)result_shape[2];
    ids = malloc((size_t)tokens * sizeof *ids);
    states = calloc(size, sizeof *states);
    if (!ids || !states || asprintf(&name, "out.y%s", suffix) < 0) {
        name = NULL;
        status = sdt_fail(err, SDT_ERROR_MEMORY, "out of memory for %s", tensor->name);
        goto out;
    }
    for (int i = 0; i < tokens; i++) {
        int64_t id = app_eval_integer(tensor, (size_t)i);
        if (id < 0 || id >= encoder->vocabulary) {
            status =
                sdt_fail(err, SDT_ERROR_FORMAT, "%s: %s: id %lld at position %d; ids are 0 to %d",
                         eval->path, tensor->name, (long long)id, i, encoder->vocabulary - 1);
            goto out;
        }
        ids[i] = (int32_t)id;
    }
    sdt_handle handle = sdt__host_vector(&flow, states, size, "states");
    status = encoder->kind->encode(&flow, encoder, eval->machine, &eval->machine->device[0],
                                   eval->kinds.dit_dtype, ids, tokens, first, handle, err);
    if (status == SDT_ERROR_STALLED)
        return status;
    sdt__unregister(handle);
    if (status == SDT_OK) {
        status = app_eval_add(results, name, 3, result_shape, states, err);
        states = NULL;
    }
out:
    free(ids);
    free(states);
    free(name);
    return status;
}

static enum sdt_status eval_text_encoder(struct app_eval *eval, const char *folder,
                                         struct app_results *results, struct sdt_error *err) {
    struct sdt_text *encoder = NULL;
    bool any = false;
    enum sdt_status status = sdt_text_open(folder, NULL, &encoder, err);

    if (status != SDT_OK)
        return status;
    for (size_t i = 0; i < sdt_safetensors_count(eval->file) && status == SDT_OK; i++) {
        const struct sdt_stored *tensor = sdt_safetensors_at(eval->file, i);
        if (strncmp(tensor->name, "in.ids", 6))
            continue;
        any = true;
        status = encode(eval, encoder, tensor, results, err);
    }
    if (status == SDT_OK && !any)
        status = sdt_fail(err, SDT_ERROR_MISSING,
                          "%s: no tensor in.ids; --component text_encoder needs it, [1, tokens]",
                          eval->path);
    sdt_text_close(encoder);
    return status;
}

const struct app_component app_eval_text_encoder = {
    .name = "text_encoder", .needs_machine = true, .limit = 5e-5, .run = eval_text_encoder};

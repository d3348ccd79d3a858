/* A number for a checkpoint's bytes. */
#include <stdio.h>
#include <string.h>

#include "base/digest.h"
#include "graph/checkpoint/lora.h"
#include "graph/checkpoint/weights.h"
#include "graph/pipeline.h"

/* Of a component that is read: its configuration, and its tensors' names, types, shapes and bytes.
 * Of components beyond WHOLE_BYTES, SAMPLES runs of bytes of each tensor count: mixing takes a core
 * 0.08 s a GB, but 28 GB would first have to come from the disk, at the start of every run. */
static uint64_t digest_weights(uint64_t hash, const struct sdt_weights *weights) {
    enum { SAMPLES = 16, SAMPLE = 4096, WHOLE_BYTES = 1 << 30 };
    char part[4096];
    size_t bytes;

    FILE *file = fopen(sdt_weights_config(weights), "re");
    while (file && (bytes = fread(part, 1, sizeof part, file)) > 0)
        hash = sdt__digest(hash, part, bytes);
    if (file)
        fclose(file);
    for (size_t i = 0; i < sdt_weights_count(weights); i++) {
        const struct sdt_stored *t = sdt_stored_base(sdt_weights_at(weights, i));
        const char *type = sdt_dtype_name(t->dtype), *data = t->data;
        if (!sdt_weights_is_read(weights, i))
            continue;
        hash = sdt__digest(hash, t->name, strlen(t->name));
        hash = sdt__digest(hash, type, strlen(type));
        hash = sdt__digest(hash, t->shape, (size_t)t->rank * sizeof t->shape[0]);
        if (sdt_weights_bytes(weights) <= WHOLE_BYTES || t->bytes <= SAMPLES * SAMPLE) {
            hash = sdt__digest(hash, data, t->bytes);
            sdt_stored_release(t);
            continue;
        }
        for (size_t k = 0; k < SAMPLES; k++)
            hash = sdt__digest(hash, data + (t->bytes - SAMPLE) / (SAMPLES - 1) * k, SAMPLE);
    }
    return sdt_merges_digest(sdt__weights_merges(weights), hash);
}

uint64_t sdt_pipeline_sum(const struct sdt_pipeline *pipeline) {
    uint64_t hash = SDT__DIGEST_BEGIN;
    if (pipeline->imagined)
        return 0;
    hash = digest_weights(hash, pipeline->dit->weights);
    hash = digest_weights(hash, pipeline->vae->weights);
    for (int i = 0; i < 2; i++)
        if (pipeline->text[i])
            hash = digest_weights(hash, pipeline->text[i]->weights);
    return hash;
}

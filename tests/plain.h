/* A transformer with random weights, and its layers called one by one, for plain loops on one
 * thread without StarPU that tests compare runs with. */
#ifndef STARDIT_TESTS_PLAIN_H
#define STARDIT_TESTS_PLAIN_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "graph/checkpoint/weights.h"
#include "graph/models/family.h"
#include "stardit/safetensors.h"

static struct sdt_dit *plain_dit;
static uint64_t plain_state = 7;

/* From -most up to most. */
static inline float uniform(float most) {
    plain_state = plain_state * 6364136223846793005u + 1442695040888963407u;
    return most * ((float)(plain_state >> 40) / (float)(1 << 23) - 1.0f);
}

static inline void leave(const char *message) {
    printf("%s: FAIL\n", message);
    exit(1);
}

/* Writes the tensors that the family names, with numbers drawn at random, those of matrices up to
 * `most`, and opens them as plain_dit. */
static inline void plain_open(const char *folder, const char *config, float most) {
    struct sdt_error err = {0};
    struct sdt_dit *dit;
    char path[4200];
    if (sdt_dit_imagine(config, 0, SDT_F32, &dit, &err) != SDT_OK)
        leave(err.message);
    size_t count = sdt_weights_count(dit->weights);
    struct sdt_stored *tensor = calloc(count, sizeof *tensor);
    for (size_t i = 0; i < count; i++) {
        tensor[i] = *sdt_weights_at(dit->weights, i);
        float *values = malloc(tensor[i].count * sizeof *values);
        for (size_t n = 0; n < tensor[i].count; n++)
            values[n] = tensor[i].rank > 1 ? uniform(most) : 0.5f + uniform(0.3f);
        tensor[i].data = values;
    }
    snprintf(path, sizeof path, "%s/diffusion_pytorch_model.safetensors", folder);
    if (sdt_safetensors_write(path, count, tensor, &err) != SDT_OK)
        leave(err.message);
    for (size_t i = 0; i < count; i++)
        free((void *)tensor[i].data);
    free(tensor);
    sdt_dit_close(dit);
    snprintf(path, sizeof path, "%s/config.json", folder);
    FILE *file = fopen(path, "w");
    if (!file || fputs(config, file) < 0 || fclose(file) ||
        sdt_dit_open(folder, NULL, 0, &plain_dit, &err) != SDT_OK)
        leave(err.message);
}

/* format: with a place for the layer's number; part: behind it. */
static inline const float *weight(const char *format, int layer, const char *part) {
    char name[80];
    snprintf(name, sizeof name, format, layer); // NOLINT
    strcat(name, part);
    const struct sdt_stored *tensor = sdt_weights_find(plain_dit->weights, name);
    if (!tensor)
        leave(name);
    return tensor->data;
}

/* x [rows, k] -> y [rows, n] */
static inline void linear(int rows, int n, int k, const float *x, const char *name, int layer,
                          enum sdt_epilogue epilogue, float *y) {
    sdt_linear(rows, n, k, x, sdt_plain_weight(weight(name, layer, ".weight")),
               weight(name, layer, ".bias"), epilogue, y);
}

/* The same added to y, times gate_a + gate_b [n] where there are gates. */
static inline void linear_residual(int rows, int n, int k, const float *x, const char *name,
                                   int layer, const float *gate_a, const float *gate_b, float *y) {
    float *scratch = malloc(sdt_linear_residual_scratch(rows) * sizeof *scratch);
    sdt_linear_residual(rows, n, k, x, sdt_plain_weight(weight(name, layer, ".weight")),
                        weight(name, layer, ".bias"), gate_a, gate_b, y, scratch);
    free(scratch);
}
#endif

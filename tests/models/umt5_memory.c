/* A prompt through a text encoder of UMT5-XXL's layout in F32 (22.7 GB, a sparse file of zeros):
 * resident memory must stay under 6 GB, because layers are dropped as soon as they are done. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "graph/models/family.h"

enum { LAYERS = 24, D = 4096, HEADS = 64, E = 64, FF = 10240, VOCABULARY = 256384, TOKENS = 12 };
static const double limit = 6e9;

struct writer {
    FILE *file;
    uint64_t offset;
};

static void tensor(struct writer *w, uint64_t rows, uint64_t cols, const char *name) {
    uint64_t bytes = 4 * rows * (cols ? cols : 1);
    fprintf(w->file, "%s\"%s\":{\"dtype\":\"F32\",\"shape\":[%" PRIu64, w->offset ? "," : "", name,
            rows);
    if (cols)
        fprintf(w->file, ",%" PRIu64, cols);
    fprintf(w->file, "],\"data_offsets\":[%" PRIu64 ",%" PRIu64 "]}", w->offset, w->offset + bytes);
    w->offset += bytes;
}

/* Writes the header, then lets the file end where the data would. */
static int write_model(const char *path) {
    char *header = NULL, name[120];
    size_t size = 0;
    struct writer w = {open_memstream(&header, &size), 0};
    if (!w.file)
        return -1;
    fputc('{', w.file);
    tensor(&w, VOCABULARY, D, "shared.weight");
    for (int i = 0; i < LAYERS; i++) {
#define TENSOR(rows, cols, text)                                                                   \
    snprintf(name, sizeof name, "encoder.block.%d.layer." text, i);                                \
    tensor(&w, rows, cols, name)
        TENSOR(HEADS * E, D, "0.SelfAttention.q.weight");
        TENSOR(HEADS * E, D, "0.SelfAttention.k.weight");
        TENSOR(HEADS * E, D, "0.SelfAttention.v.weight");
        TENSOR(D, HEADS * E, "0.SelfAttention.o.weight");
        TENSOR(32, HEADS, "0.SelfAttention.relative_attention_bias.weight");
        TENSOR(D, 0, "0.layer_norm.weight");
        TENSOR(FF, D, "1.DenseReluDense.wi_0.weight");
        TENSOR(FF, D, "1.DenseReluDense.wi_1.weight");
        TENSOR(D, FF, "1.DenseReluDense.wo.weight");
        TENSOR(D, 0, "1.layer_norm.weight");
#undef TENSOR
    }
    tensor(&w, D, 0, "encoder.final_layer_norm.weight");
    fputc('}', w.file);
    fclose(w.file);

    uint64_t length = size;
    int fd = open(path, O_CREAT | O_TRUNC | O_WRONLY, 0600);
    int failed = fd < 0 || write(fd, &length, sizeof length) != (ssize_t)sizeof length ||
                 write(fd, header, size) != (ssize_t)size ||
                 ftruncate(fd, (off_t)(8 + size + w.offset));
    if (fd >= 0)
        close(fd);
    free(header);
    return failed ? -1 : 0;
}

static double peak_resident(void) {
    char line[200];
    double kilobytes = 0.0;
    FILE *file = fopen("/proc/self/status", "r");
    while (file && fgets(line, sizeof line, file))
        if (sscanf(line, "VmHWM: %lf", &kilobytes) == 1)
            break;
    if (file)
        fclose(file);
    return kilobytes * 1024.0;
}

int main(void) {
    char folder[] = "umt5-memory-XXXXXX", model[64], config[64];
    struct sdt_error err = {0};
    struct sdt_machine_options options = {.devices = 1};
    struct sdt_machine *machine = NULL;
    struct sdt_text *encoder = NULL;
    int32_t ids[TOKENS];
    int result = 1;

#ifdef __SANITIZE_THREAD__
    printf("the thread sanitizer's own memory would be counted\n");
    return 77;
#endif
    if (!mkdtemp(folder))
        return 77;
    snprintf(model, sizeof model, "%s/model.safetensors", folder);
    snprintf(config, sizeof config, "%s/config.json", folder);
    if (write_model(model)) {
        printf("cannot make a sparse file of 22.7 GB here: %s\n", strerror(errno));
        result = 77;
        goto out;
    }
    FILE *file = fopen(config, "w");
    if (!file)
        goto out;
    fprintf(file,
            "{\"model_type\":\"umt5\",\"num_layers\":%d,\"d_model\":%d,\"num_heads\":%d,"
            "\"d_kv\":%d,\"d_ff\":%d,\"vocab_size\":%d,\"feed_forward_proj\":\"gated-gelu\"}",
            LAYERS, D, HEADS, E, FF, VOCABULARY);
    fclose(file);
    for (int t = 0; t < TOKENS; t++)
        ids[t] = t * (VOCABULARY / TOKENS);
    if (sdt_text_open(folder, NULL, &encoder, &err) != SDT_OK ||
        sdt_machine_open(&options, &machine, &err) != SDT_OK)
        goto out;
    struct sdt_flow flow = sdt_machine_flow(machine, SDT_LANE_DENOISE);
    sdt_handle states = sdt__vector(&flow, (size_t)TOKENS * D, "states");
    if (encoder->kind->encode(&flow, encoder, machine, &machine->device[0], SDT_F32, ids, TOKENS, 0,
                              states, &err) != SDT_OK)
        goto out;
    sdt__unregister(states);
    double peak = peak_resident();
    printf("peak resident memory %.2f GB of a model of %.1f GB, limit %.1f GB: %s\n", peak / 1e9,
           (double)sdt_weights_bytes(encoder->weights) / 1e9, limit / 1e9,
           peak < limit ? "ok" : "FAIL");
    result = peak < limit ? 0 : 1;
out:
    if (err.status != SDT_OK)
        printf("%s: FAIL\n", err.message);
    sdt_machine_close(machine);
    sdt_text_close(encoder);
    unlink(model);
    unlink(config);
    rmdir(folder);
    return result;
}

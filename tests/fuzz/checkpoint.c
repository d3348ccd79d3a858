/* The demo checkpoint with one of its JSON files replaced: the first byte says which. Where the
 * folder still is a checkpoint, a request is planned on it.
 * Covers: graph/pipeline.c graph/models/wan.c graph/models/wan_vae.c graph/models/umt5.c
 * graph/sampler/read.c */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "graph/pipeline.h"
#include "tests/checkpoint/readers.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/plan.h"

static const char *const parts[] = {"transformer", "vae", "text_encoder", "scheduler", "tokenizer"};
static const char *const files[] = {
    "model_index.json", "scheduler/scheduler_config.json", "transformer/config.json",
    "vae/config.json",  "text_encoder/config.json",        "tokenizer/tokenizer_config.json",
    "stardit.json",
};
static const char *const weights[] = {"transformer/diffusion_pytorch_model.safetensors",
                                      "vae/diffusion_pytorch_model.safetensors",
                                      "text_encoder/model.safetensors", "tokenizer/spiece.model"};
enum { FILES = sizeof files / sizeof files[0], TEXT_ENCODER = 4, TOKENIZER = 5 };

static char *original[FILES];
static size_t length[FILES];

/* "SOURCE/checkpoints/stardit-demo/name" */
static const char *demo(const char *name) {
    static char path[4096];
    const char *source = getenv("STARDIT_SOURCE_DIR");
    snprintf(path, sizeof path, "%.3000s/checkpoints/stardit-demo/%s", source ? source : ".", name);
    return path;
}

static void make_checkpoint(void) {
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
        make_subfolder(parts[i]);
    for (size_t i = 0; i < sizeof weights / sizeof weights[0]; i++)
        if (symlink(demo(weights[i]), path_of(weights[i])) != 0)
            exit(99);
    for (int i = 0; i < FILES; i++) {
        FILE *file = fopen(demo(files[i]), "rb");
        original[i] = malloc(65536);
        if (!file || !original[i])
            exit(99);
        length[i] = fread(original[i], 1, 65536, file);
        fclose(file);
        write_bytes(files[i], original[i], length[i]);
    }
    /* Only there where it is tried: its tokenizer takes most of the time. */
    rename(path_of("text_encoder"), path_of("aside"));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct sdt_pipeline *pipeline = NULL;
    struct sdt_error err = {0};

    if (fuzz_begin("fuzz-checkpoint"))
        make_checkpoint();
    if (size == 0)
        return 0;
    const int which = data[0] % FILES;
    const bool text = which == TEXT_ENCODER || which == TOKENIZER;
    if (text)
        rename(path_of("aside"), path_of("text_encoder"));
    write_bytes(files[which], data + 1, size - 1);
    if (sdt_pipeline_open(path_of("."), &pipeline, &err) == SDT_OK)
        fuzz_plan(pipeline);
    else
        check_message(&err);
    sdt_pipeline_close(pipeline);
    write_bytes(files[which], original[which], length[which]);
    if (text)
        rename(path_of("text_encoder"), path_of("aside"));
    return fuzz_end();
}

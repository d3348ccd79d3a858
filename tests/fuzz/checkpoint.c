/* A checkpoint of each family with one of its JSON files replaced: the first byte says which. Where
 * the folder still is a checkpoint, a request is planned on it.
 * Covers: graph/pipeline.c graph/prompt.c graph/models/wan.c graph/models/wan_vae.c
 * graph/models/umt5.c graph/models/hunyuan.c graph/models/hunyuan_vae.c graph/models/llama.c
 * graph/models/clip.c graph/models/opensora.c graph/models/wfvae.c graph/sampler/read.c */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "graph/pipeline.h"
#include "tests/checkpoint/readers.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/plan.h"

#define DEMO "checkpoints/stardit-demo/"
#define GOLDEN "tests/golden/"

/* Folders that are there only where one of their files is tried, because tokenizers take most of
 * the time: else they lie in the folder text. */
static const char *const texts[] = {"text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2"};

/* What stays: links into the sources. */
static const char *const links[][2] = {
    {"wan/transformer/diffusion_pytorch_model.safetensors",
     DEMO "transformer/diffusion_pytorch_model.safetensors"},
    {"wan/vae/diffusion_pytorch_model.safetensors", DEMO "vae/diffusion_pytorch_model.safetensors"},
    {"wan/text/text_encoder/model.safetensors", DEMO "text_encoder/model.safetensors"},
    {"wan/text/tokenizer/spiece.model", DEMO "tokenizer/spiece.model"},
    {"hunyuan/transformer/diffusion_pytorch_model.safetensors",
     GOLDEN "hunyuan_dit/diffusion_pytorch_model.safetensors"},
    {"hunyuan/vae/diffusion_pytorch_model.safetensors",
     GOLDEN "hunyuan_vae/diffusion_pytorch_model.safetensors"},
    {"hunyuan/text/text_encoder/model.safetensors",
     GOLDEN "hunyuan_text/text_encoder/model.safetensors"},
    {"hunyuan/text/text_encoder_2/model.safetensors",
     GOLDEN "hunyuan_text/text_encoder_2/model.safetensors"},
    {"hunyuan/text/tokenizer/tokenizer.json", GOLDEN "hunyuan_text/tokenizer/tokenizer.json"},
    {"hunyuan/text/tokenizer_2/merges.txt", GOLDEN "hunyuan_text/tokenizer_2/merges.txt"},
    {"hunyuan/text/tokenizer_2/vocab.json", GOLDEN "hunyuan_text/tokenizer_2/vocab.json"},
    {"opensora/transformer/diffusion_pytorch_model.safetensors",
     GOLDEN "opensora/transformer/diffusion_pytorch_model.safetensors"},
    {"opensora/vae/diffusion_pytorch_model.safetensors",
     GOLDEN "wfvae/diffusion_pytorch_model.safetensors"},
    {"opensora/text/text_encoder/model.safetensors",
     GOLDEN "opensora/text_encoder/model.safetensors"},
    {"opensora/text/tokenizer/spiece.model", DEMO "tokenizer/spiece.model"},
};

/* What is replaced, in the order of the first byte: tests/long/fuzz.sh makes seeds of it. */
static const struct file {
    const char *model, *name, *source;
} files[] = {
    {"wan", "model_index.json", DEMO "model_index.json"},
    {"wan", "scheduler/scheduler_config.json", DEMO "scheduler/scheduler_config.json"},
    {"wan", "transformer/config.json", DEMO "transformer/config.json"},
    {"wan", "vae/config.json", DEMO "vae/config.json"},
    {"wan", "text/text_encoder/config.json", DEMO "text_encoder/config.json"},
    {"wan", "text/tokenizer/tokenizer_config.json", DEMO "tokenizer/tokenizer_config.json"},
    {"wan", "stardit.json", DEMO "stardit.json"},
    {"hunyuan", "model_index.json", GOLDEN "hunyuan_text/model_index.json"},
    {"hunyuan", "scheduler/scheduler_config.json",
     GOLDEN "hunyuan_text/scheduler/scheduler_config.json"},
    {"hunyuan", "transformer/config.json", GOLDEN "hunyuan_dit/config.json"},
    {"hunyuan", "vae/config.json", GOLDEN "hunyuan_vae/config.json"},
    {"hunyuan", "text/text_encoder/config.json", GOLDEN "hunyuan_text/text_encoder/config.json"},
    {"hunyuan", "text/text_encoder_2/config.json",
     GOLDEN "hunyuan_text/text_encoder_2/config.json"},
    {"opensora", "model_index.json", GOLDEN "opensora/model_index.json"},
    {"opensora", "scheduler/scheduler_config.json",
     GOLDEN "opensora/scheduler/scheduler_config.json"},
    {"opensora", "transformer/config.json", GOLDEN "opensora/transformer/config.json"},
    {"opensora", "vae/config.json", GOLDEN "wfvae/config.json"},
    {"opensora", "text/text_encoder/config.json", GOLDEN "opensora/text_encoder/config.json"},
};
enum { FILES = sizeof files / sizeof files[0] };

static char *original[FILES];
static size_t length[FILES];

/* "SOURCE/name", SOURCE without links: the folder stands elsewhere. */
static const char *source(const char *name) {
    static char path[5000], here[4096];
    const char *given = getenv("STARDIT_SOURCE_DIR");
    if (!*here && !realpath(given ? given : ".", here))
        exit(99);
    snprintf(path, sizeof path, "%s/%s", here, name);
    return path;
}

/* "model/name", of the folder; valid until the 4th next call. */
static const char *within(const char *model, const char *name) {
    static char path[4][200];
    static unsigned last;
    char *text = path[last++ % 4];
    snprintf(text, sizeof path[0], "%s/%s", model, name);
    return text;
}

/* The folders that a file of that name lies in. */
static void make_folders(const char *name) {
    char path[200];
    snprintf(path, sizeof path, "%s", name);
    for (char *at = strchr(path, '/'); at; at = strchr(at + 1, '/')) {
        *at = '\0';
        if (mkdir(path_of(path), 0777) != 0 && errno != EEXIST)
            exit(99);
        *at = '/';
    }
}

static void make_checkpoints(void) {
    for (size_t i = 0; i < sizeof links / sizeof links[0]; i++) {
        make_folders(links[i][0]);
        if (symlink(source(links[i][1]), path_of(links[i][0])) != 0)
            exit(99);
    }
    for (int i = 0; i < FILES; i++) {
        make_folders(within(files[i].model, files[i].name));
        FILE *file = fopen(source(files[i].source), "rb");
        original[i] = malloc(65536);
        if (!file || !original[i])
            exit(99);
        length[i] = fread(original[i], 1, 65536, file);
        fclose(file);
        write_bytes(within(files[i].model, files[i].name), original[i], length[i]);
    }
}

/* The folders of texts, where the pipeline looks for them, or aside. */
static void move_texts(const char *model, bool in) {
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        char aside[100];
        snprintf(aside, sizeof aside, "text/%s", texts[i]);
        const char *there = within(model, texts[i]), *away = within(model, aside);
        rename(path_of(in ? away : there), path_of(in ? there : away));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct sdt_pipeline *pipeline = NULL;
    struct sdt_error err = {0};

    if (fuzz_begin("fuzz-checkpoint"))
        make_checkpoints();
    if (size == 0)
        return 0;
    const int which = data[0] % FILES;
    const struct file *file = &files[which];
    char name[200];
    snprintf(name, sizeof name, "%s/%s", file->model, file->name);
    const bool text = strncmp(file->name, "text/", 5) == 0;
    write_bytes(name, data + 1, size - 1);
    if (text)
        move_texts(file->model, true);
    if (sdt_pipeline_open(path_of(file->model), &pipeline, &err) == SDT_OK)
        fuzz_plan(pipeline);
    else
        check_message(&err);
    sdt_pipeline_close(pipeline);
    if (text)
        move_texts(file->model, false);
    write_bytes(name, original[which], length[which]);
    return fuzz_end();
}

/* The golden transformer and decoder of HunyuanVideo as one checkpoint, and texts for it
 * (tests/golden/make_hunyuan.py). */
#ifndef STARDIT_TESTS_HUNYUAN_H
#define STARDIT_TESTS_HUNYUAN_H

#include "stardit/safetensors.h"
#include "tests/linked.h"

static inline struct sdt_pipeline *hunyuan_open(void) {
    static const char *const part[][2] = {
        {"tests/golden/hunyuan/model_index.json", "model_index.json"},
        {"tests/golden/hunyuan/scheduler", "scheduler"},
        {"tests/golden/hunyuan_dit", "transformer"},
        {"tests/golden/hunyuan_vae", "vae"},
        {NULL, NULL}};
    return linked_open(part);
}

/* One of its files, which stays open. */
static inline struct sdt_safetensors *hunyuan_file(const char *name) {
    struct sdt_safetensors *file = NULL;
    struct sdt_error err = {0};
    char path[4200];
    snprintf(path, sizeof path, "%s/tests/golden/hunyuan/%s.safetensors", linked_source(), name);
    if (sdt_safetensors_open(path, &file, &err) != SDT_OK)
        linked_leave(err.message);
    return file;
}

/* The pipeline's defaults with the golden prompt and negative prompt. */
static inline struct sdt_request hunyuan_request(struct sdt_pipeline *pipeline) {
    static const struct sdt_safetensors *text[2];
    struct sdt_request request;
    struct sdt_error err = {0};
    if (sdt_pipeline_defaults(pipeline, &request, &err) != SDT_OK)
        linked_leave(err.message);
    if (!text[0]) {
        text[0] = hunyuan_file("prompt");
        text[1] = hunyuan_file("negative");
    }
    request.prompt_embeds = sdt_safetensors_find(text[0], "prompt_embeds");
    request.pooled_prompt_embeds = sdt_safetensors_find(text[0], "pooled_prompt_embeds");
    request.negative_prompt_embeds = sdt_safetensors_find(text[1], "negative_prompt_embeds");
    request.negative_pooled_prompt_embeds =
        sdt_safetensors_find(text[1], "negative_pooled_prompt_embeds");
    return request;
}
#endif

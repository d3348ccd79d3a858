/* The golden transformer and decoder of HunyuanVideo as one checkpoint, and texts for it
 * (tests/golden/make_hunyuan.py). */
#ifndef STARDIT_TESTS_HUNYUAN_H
#define STARDIT_TESTS_HUNYUAN_H

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "stardit/safetensors.h"
#include "stardit/stardit.h"

static inline void hunyuan_leave(const char *message) {
    printf("%s: FAIL\n", message);
    exit(1);
}

static inline const char *hunyuan_source(void) {
    const char *source = getenv("STARDIT_SOURCE_DIR");
    return source ? source : ".";
}

/* Opens it from a folder of links, which is gone again. */
static inline struct sdt_pipeline *hunyuan_open(void) {
    static const char *const part[][2] = {{"hunyuan/model_index.json", "model_index.json"},
                                          {"hunyuan/scheduler", "scheduler"},
                                          {"hunyuan_dit", "transformer"},
                                          {"hunyuan_vae", "vae"}};
    const char *tmp = getenv("TMPDIR");
    char folder[4096], here[4096], from[8192], to[8192];
    struct sdt_pipeline *pipeline = NULL;
    struct sdt_error err = {0};
    snprintf(folder, sizeof folder, "%s/hunyuan-%ld", tmp && *tmp ? tmp : "/tmp", (long)getpid());
    if (!realpath(hunyuan_source(), here) || mkdir(folder, 0700))
        hunyuan_leave(folder);
    for (size_t i = 0; i < sizeof part / sizeof part[0]; i++) {
        snprintf(from, sizeof from, "%s/tests/golden/%s", here, part[i][0]);
        snprintf(to, sizeof to, "%s/%s", folder, part[i][1]);
        if (symlink(from, to))
            hunyuan_leave(to);
    }
    if (sdt_pipeline_open(folder, &pipeline, &err) != SDT_OK)
        hunyuan_leave(err.message);
    for (size_t i = 0; i < sizeof part / sizeof part[0]; i++) {
        snprintf(to, sizeof to, "%s/%s", folder, part[i][1]);
        unlink(to);
    }
    rmdir(folder);
    return pipeline;
}

/* One of its files, which stays open. */
static inline const struct sdt_safetensors *hunyuan_file(const char *name) {
    struct sdt_safetensors *file = NULL;
    struct sdt_error err = {0};
    char path[4200];
    snprintf(path, sizeof path, "%s/tests/golden/hunyuan/%s.safetensors", hunyuan_source(), name);
    if (sdt_safetensors_open(path, &file, &err) != SDT_OK)
        hunyuan_leave(err.message);
    return file;
}

/* The pipeline's defaults with the golden prompt and negative prompt. */
static inline struct sdt_request hunyuan_request(struct sdt_pipeline *pipeline) {
    static const struct sdt_safetensors *text[2];
    struct sdt_request request;
    struct sdt_error err = {0};
    if (sdt_pipeline_defaults(pipeline, &request, &err) != SDT_OK)
        hunyuan_leave(err.message);
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

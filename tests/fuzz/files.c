/* Single files of components: names, types and shapes of tensors as lines, "NAME DTYPE BYTES D0
 * D1...", BYTES of an element, become a safetensors file with a hole in place of numbers. The first
 * byte says whether it is opened as a transformer, a VAE, a text encoder or all in one, with or
 * without a configuration that may describe it.
 * Covers: graph/models/files.c graph/models/list.c graph/checkpoint/naming.c */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "graph/models/family.h"
#include "graph/models/files.h"
#include "graph/pipeline.h"
#include "tests/checkpoint/readers.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/plan.h"

enum { AS_MODEL = SDT_PARTS }; /* how it is opened: as a part, or as --model */
/* Beside the file: nothing, or that part's config.json of a checkpoint; --model is the demo, or
 * none. */
enum { DESCRIBED = 4, WITH_MODEL = 8, CHECKPOINT = 16 };
/* The checkpoints, by the bits from CHECKPOINT on. */
static const char *const configs[4][SDT_PARTS] = {
    {"checkpoints/stardit-demo/transformer", "checkpoints/stardit-demo/vae",
     "checkpoints/stardit-demo/text_encoder"},
    {"tests/golden/hunyuan_dit", "tests/golden/hunyuan_vae", "tests/golden/llama"},
    {"tests/golden/opensora/transformer", "tests/golden/wfvae",
     "tests/golden/opensora/text_encoder"},
    {"tests/golden/osp13_dit", "tests/golden/hunyuan_vae2", "tests/golden/clip"},
};
#define FILE_NAME "files/w.safetensors"
#define LARGEST (INT64_C(1) << 38) /* the published models are a fourth */

static char demo[4200], source[4096];
static char *header; /* [8 + HEADER_ROOM] */
enum { HEADER_ROOM = 1 << 17 };

static void make_files(void) {
    const char *given = getenv("STARDIT_SOURCE_DIR");
    if (!realpath(given ? given : ".", source))
        exit(99);
    snprintf(demo, sizeof demo, "%s/checkpoints/stardit-demo", source);
    make_subfolder("files");
    header = malloc(8 + HEADER_ROOM);
    if (!header)
        exit(99);
}

/* The file of these lines; false: they are none, or too many. Whether the entries make sense is not
 * asked. */
static bool write_file(const char *text, size_t size) {
    const char *end = text + size, *next;
    int64_t at = 0;
    size_t used = (size_t)sprintf(header + 8, "{");

    for (const char *line = text; line < end; line = next) {
        char copy[600], name[400], dtype[20];
        int64_t bytes, dim;
        int read = 0, more;
        next = memchr(line, '\n', (size_t)(end - line));
        next = next ? next + 1 : end;
        snprintf(copy, sizeof copy, "%.*s", (int)(next - line), line);
        if (sscanf(copy, "%399[!-~] %19[!-~] %" SCNd64 "%n", name, dtype, &bytes, &read) != 3)
            continue;
        if (used + 1000 > HEADER_ROOM)
            return false;
        used += (size_t)sprintf(header + 8 + used, "%s\"%s\":{\"dtype\":\"%s\",\"shape\":[",
                                used > 1 ? "," : "", name, dtype);
        for (int d = 0; d < 10 && sscanf(copy + read, "%" SCNd64 "%n", &dim, &more) == 1; d++) {
            used += (size_t)sprintf(header + 8 + used, "%s%" PRId64, d ? "," : "", dim);
            if (__builtin_mul_overflow(bytes, dim, &bytes))
                return false;
            read += more;
        }
        if (bytes < 0 || bytes > LARGEST || at + bytes > LARGEST)
            return false;
        used += (size_t)sprintf(header + 8 + used, "],\"data_offsets\":[%" PRId64 ",%" PRId64 "]}",
                                at, at + bytes);
        at += bytes;
    }
    used += (size_t)sprintf(header + 8 + used, "}");
    const uint64_t length = used;
    memcpy(header, &length, sizeof length);
    write_bytes(FILE_NAME, header, 8 + used);
    return truncate(path_of(FILE_NAME), 8 + (off_t)used + at) == 0;
}

/* A config.json of the part beside the file, or none. */
static void describe(int part, int way) {
    char path[5000];
    bool described = way & DESCRIBED;
    snprintf(path, sizeof path, "%s/%s/config.json", source, configs[way / CHECKPOINT % 4][part]);
    unlink(path_of("files/config.json"));
    if (described && symlink(path, path_of("files/config.json")) != 0)
        exit(99);
}

/* No two tensors have one name, renamed or not. */
static void check_names(const struct sdt_weights *weights) {
    for (size_t i = 0; weights && i < sdt_weights_count(weights); i++) {
        const struct sdt_stored *tensor = sdt_weights_at(weights, i);
        CHECK(sdt_weights_find(weights, tensor->name) == tensor, "'%s' twice", tensor->name);
        CHECK(sdt_weights_stored_name(weights, tensor->name), "'%s' from nowhere", tensor->name);
    }
}

static void open_part(int part, const char *path) {
    struct sdt_dit *dit = NULL;
    struct sdt_vae *vae = NULL;
    struct sdt_text *text = NULL;
    struct sdt_error err = {0};
    const enum sdt_status status = part == SDT_PART_DIT   ? sdt_dit_open(path, NULL, 0, &dit, &err)
                                   : part == SDT_PART_VAE ? sdt_vae_open(path, NULL, &vae, &err)
                                                          : sdt_text_open(path, NULL, &text, &err);
    if (status != SDT_OK)
        check_message(&err);
    else
        check_names(dit ? dit->weights : vae ? vae->weights : text->weights);
    sdt_dit_close(dit);
    sdt_vae_close(vae);
    sdt_text_close(text);
}

static void open_model(int way, bool with_model, const char *path) {
    struct sdt_model_files files = {.model = with_model ? demo : NULL};
    struct sdt_pipeline *pipeline = NULL;
    struct sdt_error err = {0};

    if (way == AS_MODEL)
        files.model = path;
    else
        *(way == SDT_PART_DIT   ? &files.transformer
          : way == SDT_PART_VAE ? &files.vae
                                : &files.text_encoder) = path;
    if (sdt_pipeline_open_files(&files, &pipeline, &err) == SDT_OK)
        fuzz_plan(pipeline);
    else
        check_message(&err);
    sdt_pipeline_close(pipeline);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (fuzz_begin("fuzz-files"))
        make_files();
    if (size < 2 || !write_file((const char *)data + 1, size - 1))
        return 0;
    const char *path = path_of(FILE_NAME);
    const int way = data[0] % 4;
    describe(way % SDT_PARTS, data[0]);
    if (way != AS_MODEL && !(data[0] & WITH_MODEL))
        open_part(way, path);
    open_model(way, data[0] & WITH_MODEL, path);
    return fuzz_end();
}

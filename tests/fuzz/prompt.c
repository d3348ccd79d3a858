/* Bytes as a prompt file, its lines as prompts, lists of ids, tile sizes and devices.
 * Covers: graph/text/prompt.c graph/text/text.c graph/text/bpe.c graph/text/bpe_tokenizer.c
 * apps/read.c apps/devices.c */
#include <stdio.h>
#include <string.h>

#include "apps/devices.h"
#include "apps/options.h"
#include "apps/read.h"
#include "graph/text/text.h"
#include "graph/text/tokenizer.h"
#include "tests/checkpoint/readers.h"
#include "tests/fuzz/fuzz.h"

enum { VOCABULARY = 1000, CAPACITY = 64 };

/* T5's, and those of byte-level BPE, which are given prompts as they are. */
static const char *const folders[] = {"tokenizer", "bpe/llama", "bpe/clip/vocab"};
enum { TOKENIZERS = sizeof folders / sizeof folders[0] };
static struct sdt_tokenizer *tokenizer[TOKENIZERS];

static void open_tokenizers(void) {
    char path[4096];
    struct sdt_error err;
    const char *source = getenv("STARDIT_SOURCE_DIR");

    for (int i = 0; i < TOKENIZERS; i++) {
        snprintf(path, sizeof path, "%.3000s/tests/golden/%s", source ? source : ".", folders[i]);
        if (sdt_tokenizer_open(path, &tokenizer[i], &err) != SDT_OK &&
            err.status != SDT_ERROR_UNSUPPORTED) /* without PCRE2 */
            exit(99);
    }
}

static void tokenize(const struct sdt_tokenizer *with, const char *text) {
    struct sdt_error err = {0};
    int32_t ids[CAPACITY];
    int count = 0, total = 0;

    if (!with)
        return;
    if (sdt_tokenize(with, text, CAPACITY, ids, &count, &total, &err) != SDT_OK)
        check_message(&err);
    else
        CHECK(count > 0 && count <= CAPACITY && total >= count, "%d of %d ids", count, total);
}

static void read_prompt(const char *line) {
    struct sdt_error err = {0};
    char *cleaned = NULL;

    for (int i = 1; i < TOKENIZERS; i++)
        tokenize(tokenizer[i], line);
    if (sdt_prompt_clean(line, &cleaned, &err) != SDT_OK) {
        check_message(&err);
        return;
    }
    const size_t length = strlen(cleaned);
    CHECK(!sdt__space_at(cleaned, length) && !sdt__space_before(cleaned, length),
          "space at an end of '%s'", cleaned);
    tokenize(tokenizer[0], cleaned);
    free(cleaned);
}

static void read_words(const char *line) {
    struct app_named_device list[SDT_MAX_DEVICES];
    struct app_devices devices = {0};
    struct sdt_error err = {0};
    int32_t *ids = NULL;
    int count = 0, rows = 0, columns = 0;

    if (app_read_ids("token-ids", line, VOCABULARY, &ids, &count, &err) != SDT_OK)
        check_message(&err);
    for (int i = 0; i < count; i++)
        CHECK(ids[i] >= 0 && ids[i] < VOCABULARY, "id %d", (int)ids[i]);
    free(ids);
    if (app_read_tile("tile-size", line, &rows, &columns, &err) != SDT_OK)
        check_message(&err);
    else
        CHECK(rows > 0 && columns > 0, "a tile of %d x %d", rows, columns);
    count = 0;
    if (app_devices_parse("vae-devices", line, list, &count, &err) != SDT_OK)
        check_message(&err);
    CHECK(count >= 0 && count <= SDT_MAX_DEVICES, "%d devices", count);
    if (app_devices_read(line, &devices, &err) != SDT_OK)
        check_message(&err);
    else if (app_devices_shares(&devices, line, line, &err) != SDT_OK)
        check_message(&err);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char *lines[APP_MOST_STRINGS];
    struct sdt_error err = {0};
    char *text = NULL;
    int count = 0;

    if (fuzz_begin("fuzz-prompt"))
        open_tokenizers();
    write_bytes("prompts.txt", data, size);
    if (app_read_lines("prompt-file", path_of("prompts.txt"), APP_MOST_STRINGS, &text, lines,
                       &count, &err) != SDT_OK)
        check_message(&err);
    for (int i = 0; i < count; i++) {
        read_prompt(lines[i]);
        read_words(lines[i]);
    }
    free(text);
    return fuzz_end();
}

/* A tokenizer's files: the first byte says which one the other bytes are. What opens must tokenize
 * any text.
 * Covers: graph/text/tokenizer.c graph/text/t5_tokenizer.c graph/text/tokenizer_json.c
 * graph/text/unigram.c graph/text/bpe_tokenizer.c graph/text/bpe.c */
#include <stdio.h>
#include <string.h>

#include "graph/text/tokenizer.h"
#include "tests/checkpoint/readers.h"
#include "tests/fuzz/fuzz.h"

static const char *const names[] = {"model/spiece.model",         "json/tokenizer.json",
                                    "both/tokenizer_config.json", "vocab/vocab.json",
                                    "merges/merges.txt",          "bpe/tokenizer.json"};
static const char *const folders[] = {"model", "json", "both", "vocab", "merges", "bpe"};
enum { FOLDERS = sizeof folders / sizeof folders[0] };

static void copy(const char *golden, const char *to) {
    char path[4096];
    const char *source = getenv("STARDIT_SOURCE_DIR");

    snprintf(path, sizeof path, "%.3000s/tests/golden/%s", source ? source : ".", golden);
    FILE *file = fopen(path, "rb");
    char *bytes = malloc(1 << 20);
    if (!file || !bytes)
        exit(99);
    write_bytes(to, bytes, fread(bytes, 1, 1 << 20, file));
    fclose(file);
    free(bytes);
}

static void make_folders(void) {
    for (int i = 0; i < FOLDERS; i++)
        make_subfolder(folders[i]);
    copy("tokenizer/spiece.model", "both/spiece.model");
    copy("bpe/clip/vocab/merges.txt", "vocab/merges.txt");
    copy("bpe/clip/vocab/vocab.json", "merges/vocab.json");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char text[] = "A r\xc3\xa9"
                               "d ba\xcc\x81ll \xef\xac\x81ne \xe2\x91\xa0\xf0\x9f\x98\x80 "
                               "\xe1\x84\x80\xe1\x85\xa1 </s> x <extra_id_0> \xff\xc2";
    struct sdt_tokenizer *tokenizer = NULL;
    struct sdt_error err = {0};
    int32_t ids[64];
    int count = 0, total = 0;

    if (fuzz_begin("fuzz-tokenizer"))
        make_folders();
    if (size == 0)
        return 0;
    const int which = data[0] % FOLDERS;
    write_bytes(names[which], data + 1, size - 1);
    if (sdt_tokenizer_open(path_of(folders[which]), &tokenizer, &err) != SDT_OK)
        check_message(&err);
    else if (sdt_tokenize(tokenizer, text, 64, ids, &count, &total, &err) == SDT_OK)
        CHECK(count > 0 && count <= 64 && total >= count, "%d of %d ids", count, total);
    else
        check_message(&err);
    sdt_tokenizer_close(tokenizer);
    return fuzz_end();
}

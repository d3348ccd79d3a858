/* The damaged files of the tests as seeds of the fuzzers (tests/long/fuzz.sh): where STARDIT_SEEDS
 * names a folder, each file that a test makes is kept in it, in the folder of its target. */
#ifndef STARDIT_TESTS_SEEDS_H
#define STARDIT_TESTS_SEEDS_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* The same bytes are kept once. What cannot be kept is missing, no more, and so is what is so large
 * that a fuzzer gets nowhere. */
static inline void keep_seed(const char *name, const void *bytes, size_t size) {
    /* By the end of a name: the target, and the byte by which it tells its files apart. */
    static const struct {
        const char *end, *target, *mark;
    } kinds[] = {
        {"index.json", "index", ""},
        {".safetensors", "safetensors", ""},
        {"tokenizer_config.json", "tokenizer", "2"},
        {"tokenizer.json", "tokenizer", "1"},
        {"spiece.model", "tokenizer", "0"},
        {"config.json", "config", ""},
        {".gguf", "format", "0"},
    };
    const char *folder = getenv("STARDIT_SEEDS");
    const unsigned char *byte = bytes;
    uint64_t hash = UINT64_C(14695981039346656037);
    char path[4096];

    for (size_t i = 0; folder && size < 32768 && i < sizeof kinds / sizeof kinds[0]; i++) {
        const size_t length = strlen(name), end = strlen(kinds[i].end);
        if (length < end || strcmp(name + length - end, kinds[i].end) != 0)
            continue;
        for (size_t at = 0; at < size; at++)
            hash = (hash ^ byte[at]) * UINT64_C(1099511628211);
        snprintf(path, sizeof path, "%.3000s/%s", folder, kinds[i].target);
        mkdir(path, 0777);
        snprintf(path, sizeof path, "%.3000s/%s/%016llx", folder, kinds[i].target,
                 (unsigned long long)hash);
        FILE *file = fopen(path, "wb");
        if (file) {
            fwrite(kinds[i].mark, 1, strlen(kinds[i].mark), file);
            fwrite(bytes, 1, size, file);
            fclose(file);
        }
        return;
    }
}
#endif

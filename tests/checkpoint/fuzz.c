/* Damaged checkpoints at random: valid headers, indexes and configurations are mutated, and
 * whatever the reader still accepts must be consistent (tests/checkpoint/readers.h).
 *
 *   fuzz [RUNS [SEED]]    2000 runs of seed 1 by default; the same seed gives the same runs
 *
 * tests/fuzz does the same guided by coverage, for longer. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/checkpoint/files.h"
#include "tests/checkpoint/readers.h"

enum target { TENSORS, INDEX, CONFIG, TARGETS };

#define CAPACITY 4096

static long accepted_files[TARGETS];

static void read_input(enum target target, const void *bytes, size_t size) {
    static const char *const names[] = {"f.safetensors", "shards/model.safetensors.index.json",
                                        "config.json"};
    write_bytes(names[target], bytes, size);
    accepted_files[target] += target == TENSORS ? read_tensors(names[target], size)
                              : target == INDEX ? read_index("shards")
                                                : read_config(names[target]);
}

/* ---- mutation ------------------------------------------------------------------------------ */

static uint64_t random_state;

/* xorshift64* */
static uint64_t random_below(uint64_t limit) {
    random_state ^= random_state >> 12;
    random_state ^= random_state << 25;
    random_state ^= random_state >> 27;
    return (random_state * 0x2545f4914f6cdd1du >> 16) % limit;
}

struct text {
    unsigned char bytes[CAPACITY];
    size_t size;
};

/* Puts `piece` in the place of `removed` bytes at `at`, as far as there is room. */
static void replace(struct text *text, size_t at, size_t removed, const void *piece, size_t size) {
    if (text->size - removed + size > CAPACITY)
        return;
    memmove(text->bytes + at + size, text->bytes + at + removed, text->size - at - removed);
    memcpy(text->bytes + at, piece, size);
    text->size += size - removed;
}

/* Replaces a number of the text by one that is likely to break something. */
static void replace_number(struct text *text) {
    static const char *const numbers[] = {"0",
                                          "1",
                                          "-1",
                                          "7",
                                          "8",
                                          "9",
                                          "2147483647",
                                          "2147483648",
                                          "4294967296",
                                          "9223372036854775807",
                                          "1e3",
                                          "2.0",
                                          "4611686018427387904",
                                          "18446744073709551615"};
    const char *number = numbers[random_below(sizeof numbers / sizeof *numbers)];
    size_t at = random_below(text->size), end;

    while (at < text->size && (text->bytes[at] < '0' || text->bytes[at] > '9'))
        at++;
    for (end = at; end < text->size && text->bytes[end] >= '0' && text->bytes[end] <= '9';)
        end++;
    replace(text, at, end - at, number, strlen(number));
}

static void mutate(struct text *text) {
    static const char *const words[] = {"{",
                                        "}",
                                        "[",
                                        "]",
                                        ",",
                                        ":",
                                        "\"",
                                        "\\u0000",
                                        "\\ud800",
                                        "\"a\"",
                                        "\"b\"",
                                        "null",
                                        "true",
                                        "\"F32\"",
                                        "\"BF16\"",
                                        "\"U8\"",
                                        "\"dtype\"",
                                        "\"shape\"",
                                        "[0,0]",
                                        "[2,3]",
                                        "[]",
                                        "{}",
                                        "..",
                                        "/",
                                        "\xff",
                                        "\xc3\xa9",
                                        "\n",
                                        "\"I64\"",
                                        "\"F64\"",
                                        "\"F8\"",
                                        "[4,8]",
                                        "[8,12]",
                                        "__metadata__",
                                        "\"data_offsets\"",
                                        "a.safetensors",
                                        "b.safetensors",
                                        "weight_map"};
    struct text slice;
    size_t at, size;

    if (text->size == 0)
        text->bytes[text->size++] = '{';
    at = random_below(text->size);
    size = 1 + random_below(16);
    if (size > text->size - at)
        size = text->size - at;
    switch (random_below(8)) {
    case 0:
        text->bytes[at] ^= (unsigned char)(1u << random_below(8));
        break;
    case 1:
        text->bytes[at] = (unsigned char)random_below(256);
        break;
    case 2:
        replace(text, at, size, "", 0);
        break;
    case 3: { /* a piece of the text once more, elsewhere */
        memcpy(slice.bytes, text->bytes + at, size);
        replace(text, random_below(text->size + 1), 0, slice.bytes, size);
        break;
    }
    case 4: {
        const char *word = words[random_below(sizeof words / sizeof *words)];
        replace(text, at, random_below(2) ? size : 0, word, strlen(word));
        break;
    }
    case 5:
        text->size = at;
        break;
    default:
        replace_number(text);
        break;
    }
}

static const char *const headers[] = {
    "{}",
    "{\"w\":{\"dtype\":\"F32\",\"shape\":[2,3],\"data_offsets\":[0,24]}}",
    "{\"__metadata__\":{\"format\":\"pt\"},"
    "\"a\":{\"dtype\":\"BF16\",\"shape\":[4],\"data_offsets\":[0,8]},"
    "\"b\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[8,9]},"
    "\"c\":{\"dtype\":\"F64\",\"shape\":[1],\"data_offsets\":[9,17]},"
    "\"d\":{\"dtype\":\"F32\",\"shape\":[0,5],\"data_offsets\":[17,17]},"
    "\"e\":{\"dtype\":\"F16\",\"shape\":[],\"data_offsets\":[17,19]}}  ",
    "{\"a\":{\"dtype\":\"I64\",\"shape\":[1,1],\"data_offsets\":[0,8]},"
    "\"b\":{\"dtype\":\"I32\",\"shape\":[2],\"data_offsets\":[8,16]}}",
};
static const size_t data_sizes[] = {0, 24, 19, 16};

static const char *const indexes[] = {
    "{\"metadata\":{\"total_size\":10},"
    "\"weight_map\":{\"a\":\"a.safetensors\",\"b\":\"b.safetensors\"}}",
    "{\"weight_map\":{\"a\":\"a.safetensors\"}}",
};

static const char *const configs[] = {
    "{\"_class_name\": \"X\", \"a\": 3, \"b\": 1e-6, \"patch\": [1, 2, 2], \"act\": \"gelu\",\n"
    "\"vae\": [\"diffusers\", \"AutoencoderKLWan\"], \"none\": null, \"flag\": true}",
    "{\"a\": true, \"b\": false, \"patch\": [], \"vae\": [null, null], \"act\": {\"x\": [1]}}",
};

/* A file of headers[choice] after some mutations; the length before it mostly fits. */
static void make_tensors(struct text *text, size_t mutations) {
    const size_t choice = random_below(sizeof headers / sizeof *headers);
    static const unsigned char zeros[64];
    uint64_t length;

    text->size = strlen(headers[choice]);
    memcpy(text->bytes, headers[choice], text->size);
    for (size_t i = 0; i < mutations; i++)
        mutate(text);
    length = text->size;
    if (random_below(16) == 0)
        length += random_below(5) - 2;
    if (random_below(64) == 0)
        length = random_below(2) ? ~random_below(1000) : (uint64_t)1 << random_below(64);
    replace(text, 0, 0, &length, sizeof length);
    replace(text, text->size, 0, zeros,
            random_below(8) ? data_sizes[choice] : random_below(sizeof zeros));
    if (random_below(32) == 0)
        text->size = random_below(text->size + 1);
}

static void make_json(struct text *text, const char *const *choices, size_t count,
                      size_t mutations) {
    const char *choice = choices[random_below(count)];

    text->size = strlen(choice);
    memcpy(text->bytes, choice, text->size);
    for (size_t i = 0; i < mutations; i++)
        mutate(text);
}

int main(int argc, char **argv) {
    const long runs = argc > 1 ? atol(argv[1]) : 2000;
    const int descriptor = next_descriptor();
    static struct text text;

    random_state = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
    if (random_state == 0)
        random_state = 1;
    make_folder("fuzz");
    make_shards();
    for (long run = 0; run < runs && failures < 10; run++) {
        const size_t mutations = random_below(4);
        const uint64_t kind = random_below(8);
        const enum target target = kind < 6 ? TENSORS : kind == 6 ? INDEX : CONFIG;
        const int before = failures;

        if (target == TENSORS)
            make_tensors(&text, mutations);
        else if (target == INDEX)
            make_json(&text, indexes, sizeof indexes / sizeof *indexes, mutations);
        else
            make_json(&text, configs, sizeof configs / sizeof *configs, mutations);
        read_input(target, text.bytes, text.size);
        if (failures > before)
            printf("  in run %ld: %.*s\n", run, (int)text.size, (const char *)text.bytes);
    }
    CHECK(next_descriptor() == descriptor, "a descriptor leaks");
    CHECK(!folder_is_mapped(), "a mapping leaks");
    remove_folder();
    /* Unchanged inputs are among the runs, so a reader that refuses all of them is not passed. */
    for (int target = 0; target < TARGETS; target++)
        CHECK(runs < 1000 || accepted_files[target] > 0, "target %d was never accepted", target);
    printf("%ld runs; accepted: %ld safetensors, %ld indexes, %ld configs; %d failures\n", runs,
           accepted_files[TENSORS], accepted_files[INDEX], accepted_files[CONFIG], failures);
    return failures > 0;
}

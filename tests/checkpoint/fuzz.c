/* Damaged checkpoints at random: valid headers, indexes and configurations are mutated, and
 * whatever the reader still accepts must be consistent. The sanitizers and the checks of accepted()
 * judge.
 *
 *   fuzz [RUNS [SEED]]    2000 runs of seed 1 by default; the same seed gives the same runs
 *
 * Built with -DSTARDIT_LIBFUZZER -fsanitize=fuzzer it is a libFuzzer target instead; the first byte
 * of the input chooses the reader. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "graph/checkpoint/config.h"
#include "graph/checkpoint/weights.h"
#include "tests/checkpoint/files.h"

enum target { TENSORS, INDEX, CONFIG, TARGETS };

#define CAPACITY 4096

static long accepted_files[TARGETS];

/* ---- what must hold ------------------------------------------------------------------------ */

static void check_message(const struct sdt_error *err) {
    CHECK(err->status != SDT_OK && err->message[0], "a failure without a message");
    for (const char *c = err->message; *c; c++)
        CHECK((unsigned char)*c >= 0x20 && *c != 0x7f, "control character in '%s'", err->message);
}

/* Reads every byte, so that a pointer out of the mapping shows. */
static void check_tensor(const struct sdt_stored *tensor) {
    const unsigned char *bytes = tensor->data;
    volatile unsigned char sum = 0;
    size_t count = 1;
    float *values;

    for (int i = 0; i < tensor->rank; i++)
        count *= (size_t)tensor->shape[i];
    CHECK(count == tensor->count && tensor->bytes == count * sdt_dtype_size(tensor->dtype),
          "sizes of '%s'", tensor->name);
    for (size_t i = 0; i < tensor->bytes; i++)
        sum = (unsigned char)(sum + bytes[i]);
    if (sdt_stored_floats(tensor, &values, NULL) == SDT_OK)
        free(values);
    sdt_stored_release(tensor);
}

static void read_tensors(size_t file_size) {
    struct sdt_error err = {0};
    struct sdt_safetensors *file;
    size_t bytes = 0;

    if (sdt_safetensors_open(path_of("f.safetensors"), &file, &err) != SDT_OK) {
        check_message(&err);
        return;
    }
    accepted_files[TENSORS]++;
    for (size_t i = 0; i < sdt_safetensors_count(file); i++) {
        const struct sdt_stored *tensor = sdt_safetensors_at(file, i);
        check_tensor(tensor);
        bytes += tensor->bytes;
        CHECK(sdt_safetensors_find(file, tensor->name) == tensor, "'%s' twice", tensor->name);
    }
    CHECK(bytes + 8 <= file_size, "%zu bytes of tensors in %zu", bytes, file_size);
    sdt_safetensors_close(file);
}

static void read_index(void) {
    struct sdt_error err = {0};
    struct sdt_weights *weights;

    if (sdt_weights_open(path_of("shards"), &weights, &err) != SDT_OK) {
        check_message(&err);
        return;
    }
    accepted_files[INDEX]++;
    for (size_t i = 0; i < sdt_weights_count(weights); i++) {
        const struct sdt_stored *tensor = sdt_weights_at(weights, i);
        check_tensor(tensor);
        CHECK(sdt_weights_find(weights, tensor->name) == tensor, "'%s' twice", tensor->name);
    }
    sdt_weights_close(weights);
}

static void read_config(void) {
    static const char *const keys[] = {"a", "b", "patch", "act", "vae", "_class_name"};
    struct sdt_error err = {0};
    struct sdt_config *config;
    const char *string = "";
    double numbers[4] = {0}, number = 0;
    int64_t integer = 5;
    bool boolean = false;
    int count = 0;

    if (sdt_config_open(path_of("config.json"), &config, &err) != SDT_OK) {
        check_message(&err);
        return;
    }
    accepted_files[CONFIG]++;
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        const char *key = keys[i];
        sdt_config_int(config, key, false, 1, 9, &integer, &err);
        sdt_config_number(config, key, false, &number, &err);
        sdt_config_bool(config, key, false, &boolean, &err);
        sdt_config_string(config, key, false, &string, &err);
        sdt_config_numbers(config, key, false, 4, numbers, &count, &err);
        sdt_config_only(config, key, "[1, {\"x\": null}]", &err);
        CHECK(integer >= 1 && integer <= 9 && count >= 0 && count <= 4, "'%s' out of range", key);
        if (sdt_config_string_at(config, key, 1, &string, &err) == SDT_OK && !string)
            string = "";
        CHECK(strlen(string) < CAPACITY * 2, "'%s' too long", key);
    }
    sdt_config_close(config);
}

static void read_input(enum target target, const void *bytes, size_t size) {
    static const char *const names[] = {"f.safetensors", "shards/model.safetensors.index.json",
                                        "config.json"};
    write_bytes(names[target], bytes, size);
    if (target == TENSORS)
        read_tensors(size);
    else if (target == INDEX)
        read_index();
    else
        read_config();
}

static void make_shards(void) {
    make_subfolder("shards");
    write_safetensors("shards/a.safetensors",
                      "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 8);
    write_safetensors("shards/b.safetensors",
                      "{\"b\":{\"dtype\":\"F16\",\"shape\":[],\"data_offsets\":[0,2]}}", 2);
}

#ifdef STARDIT_LIBFUZZER

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static bool made;

    if (!made) {
        make_folder("fuzz");
        make_shards();
        atexit(remove_folder);
        made = true;
    }
    if (size > 0)
        read_input(data[0] % TARGETS, data + 1, size - 1);
    if (failures > 0)
        abort();
    return 0;
}

#else

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

#endif

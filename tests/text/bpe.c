/* Ids of 313 strings against tokenizers and transformers, for tokenizers of the kinds of LLaMA 3
 * and CLIP (tests/golden/make_bpe.py), and where a text is cut. */
#define _GNU_SOURCE
#ifdef HAVE_CONFIG_H
#include <config.h>
#endif
#include "tests/text/check.h"

#include "graph/text/tokenizer.h"

enum { ROOM = 8192 };

static struct sdt_tokenizer *open_tokenizer(const char *folder) {
    struct sdt_tokenizer *tokenizer = NULL;
    struct sdt_error err;

    if (sdt_tokenizer_open(source_path(folder), &tokenizer, &err) != SDT_OK)
        CHECK(0, "%s: %s", folder, err.message);
    return tokenizer;
}

static void check_strings(const char *folder, const json_t *cases, const char *key,
                          int vocabulary) {
    static int32_t ids[ROOM];
    struct sdt_tokenizer *tokenizer = open_tokenizer(folder);
    struct sdt_error err = {.message = ""};
    const json_t *one;
    size_t i;

    if (!tokenizer)
        return;
    CHECK(sdt_tokenizer_vocabulary(tokenizer) == vocabulary, "%s: %d ids", folder,
          sdt_tokenizer_vocabulary(tokenizer));
    json_array_foreach(cases, i, one) {
        const char *text = json_string_value(json_object_get(one, "text"));
        const json_t *expected = json_object_get(one, key);
        int count = 0, total = 0;
        enum sdt_status status = sdt_tokenize(tokenizer, text, ROOM, ids, &count, &total, &err);
        CHECK(status == SDT_OK && count == total && (size_t)count == json_array_size(expected),
              "%s: string %zu '%.60s': %d ids, %zu expected %s", folder, i, text, count,
              json_array_size(expected), err.message);
        for (int k = 0; k < count && (size_t)count == json_array_size(expected); k++) {
            int want = (int)json_integer_value(json_array_get(expected, (size_t)k));
            CHECK(ids[k] == want, "%s: string %zu '%.60s': id %d is %d, not %d", folder, i, text, k,
                  ids[k], want);
            if (ids[k] != want)
                break;
        }
    }
    printf("%s: %zu strings\n", folder, i);
    sdt_tokenizer_close(tokenizer);
}

/* Cut to each length: the beginning of the whole, with what stands around a text. */
static void check_cutting(const char *folder, int before, int behind) {
    static const char *const text = "a red ball rolls over the green grass";
    struct sdt_tokenizer *tokenizer = open_tokenizer(folder);
    int32_t whole[64], ids[64];
    int all = 0, count = 0, total = 0;
    struct sdt_error err;

    if (!tokenizer)
        return;
    sdt_tokenize(tokenizer, text, 64, whole, &all, NULL, &err);
    CHECK(all > before + behind + 3, "%s: %d ids", folder, all);
    for (int capacity = before + behind; capacity < all; capacity++) {
        CHECK(sdt_tokenize(tokenizer, text, capacity, ids, &count, &total, &err) == SDT_OK,
              "%s: %s", folder, err.message);
        CHECK(count == capacity && total == all, "%s: %d of %d ids in %d", folder, count, total,
              capacity);
        CHECK(!memcmp(ids, whole, (size_t)(count - behind) * sizeof *ids),
              "%s: cut to %d it begins otherwise", folder, capacity);
        CHECK(behind == 0 || ids[count - 1] == whole[all - 1], "%s: cut to %d it ends otherwise",
              folder, capacity);
    }
    CHECK(sdt_tokenize(tokenizer, text, before + behind - 1, ids, &count, NULL, &err) ==
              SDT_ERROR_USAGE,
          "%s: room for too few ids is accepted", folder);
    CHECK(sdt_tokenize(tokenizer, "a\xff", 64, ids, &count, NULL, &err) == SDT_ERROR_USAGE,
          "%s: what is no UTF-8 is accepted", folder);
    sdt_tokenizer_close(tokenizer);
}

int main(void) {
#ifndef HAVE_PCRE2
    struct sdt_tokenizer *none;
    struct sdt_error err;
    CHECK(sdt_tokenizer_open(source_path("tests/golden/bpe/llama"), &none, &err) ==
                  SDT_ERROR_UNSUPPORTED &&
              !none,
          "a BPE tokenizer without PCRE2");
    printf("built without PCRE2: no BPE tokenizer is read\n");
    return failures ? 1 : 77;
#endif
    json_t *cases = load_cases("tests/golden/bpe/cases.json");

    check_strings("tests/golden/bpe/llama", cases, "llama", 705);
    check_strings("tests/golden/bpe/llama/tokenizer.json", cases, "llama", 705);
    check_strings("tests/golden/bpe/clip/vocab", cases, "clip", 932);
    check_strings("tests/golden/bpe/clip/json", cases, "clip", 932);
    check_cutting("tests/golden/bpe/llama", 1, 0);
    check_cutting("tests/golden/bpe/clip/vocab", 1, 1);
    json_decref(cases);
    return failures > 0;
}

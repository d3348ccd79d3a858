/* Ids of 300 strings against transformers, for a T5 and a UMT5 tokenizer, from spiece.model and
 * from tokenizer.json (tests/golden/make_tokenizer.py). */
#define _GNU_SOURCE
#ifdef HAVE_CONFIG_H
#include <config.h>
#endif
#include "tests/text/check.h"

#include "graph/text/tokenizer.h"

#define ROOM 8192

static struct sdt_tokenizer *open_tokenizer(const char *folder, const char *what) {
    struct sdt_tokenizer *tokenizer = NULL;
    struct sdt_error err;

    if (sdt_tokenizer_open(folder, &tokenizer, &err) != SDT_OK)
        CHECK(0, "%s: %s", what, err.message);
    return tokenizer;
}

/* A folder that holds `names` (NULL-terminated) of `from` only. */
static struct sdt_tokenizer *open_some(const char *from, const char *const *names,
                                       const char *what) {
    char folder[] = "tokenizer-XXXXXX";

    make_folder(folder);
    for (; *names; names++)
        copy_file(from, *names, folder);
    struct sdt_tokenizer *tokenizer = open_tokenizer(folder, what);
    remove_folder(folder);
    return tokenizer;
}

/* True if `text` gets the ids of the JSON array. */
static int same_ids(const struct sdt_tokenizer *tokenizer, const char *text, const json_t *expected,
                    struct sdt_error *err) {
    static int32_t ids[ROOM];
    int count = 0, total = 0;

    if (sdt_tokenize(tokenizer, text, ROOM, ids, &count, &total, err) != SDT_OK)
        return 0;
    int same = count == total && (size_t)count == json_array_size(expected);
    for (int i = 0; same && i < count; i++)
        same = ids[i] == json_integer_value(json_array_get(expected, (size_t)i));
    if (!same)
        sdt_fail(err, SDT_ERROR_FORMAT, "%d ids, %zu expected, or others", count,
                 json_array_size(expected));
    return same;
}

static void check_strings(struct sdt_tokenizer *tokenizer, const json_t *cases, const char *key,
                          int vocabulary, const char *what) {
    struct sdt_error err;
    const json_t *one;
    size_t i;

    if (!tokenizer)
        return;
    CHECK(sdt_tokenizer_vocabulary(tokenizer) == vocabulary, "%s: %d ids", what,
          sdt_tokenizer_vocabulary(tokenizer));
    json_array_foreach(cases, i, one) {
        const char *text = json_string_value(json_object_get(one, "text"));
        CHECK(same_ids(tokenizer, text, json_object_get(one, key), &err),
              "%s: string %zu '%.60s': %s", what, i, text, err.message);
    }
    CHECK(i == 300, "%zu strings", i);
    sdt_tokenizer_close(tokenizer);
}

/* Ids of a text as "1 2 3". */
static const char *ids_text(const struct sdt_tokenizer *tokenizer, const char *text, int capacity,
                            int *total) {
    static char out[1000];
    int32_t ids[64];
    int count = 0;
    struct sdt_error err;
    size_t used = 0;

    out[0] = '\0';
    if (sdt_tokenize(tokenizer, text, capacity, ids, &count, total, &err) != SDT_OK)
        snprintf(out, sizeof out, "%s", err.message);
    for (int i = 0; i < count; i++)
        used += (size_t)snprintf(out + used, sizeof out - used, "%s%d", i ? " " : "", ids[i]);
    return out;
}

static void check_cutting(const char *folder) {
    struct sdt_tokenizer *tokenizer = open_tokenizer(folder, "cutting");
    char whole[1000], cut[1000];
    int total = 0, all = 0;
    const char *prompt = "a red ball <extra_id_2> rolls";
    struct sdt_error err;
    int32_t id;
    int count;

    if (!tokenizer)
        return;
    snprintf(whole, sizeof whole, "%s", ids_text(tokenizer, prompt, 64, &all));
    for (int capacity = 1; capacity < all; capacity++) {
        snprintf(cut, sizeof cut, "%s", ids_text(tokenizer, prompt, capacity, &total));
        char *last = strrchr(cut, ' ');
        CHECK(total == all, "cut to %d: %d ids in all, not %d", capacity, total, all);
        CHECK(strcmp(last ? last : cut, last ? " 1" : "1") == 0, "cut to %d: %s does not end in 1",
              capacity, cut);
        if (last)
            CHECK(strncmp(whole, cut, (size_t)(last - cut) + 1) == 0, "%s does not start %s", cut,
                  whole);
    }
    CHECK(sdt_tokenize(tokenizer, prompt, 0, &id, &count, NULL, &err) == SDT_ERROR_USAGE,
          "room for no id is accepted");
    /* T5TokenizerFast appends </s> whatever the text ends with; T5Tokenizer would not. */
    CHECK(strcmp(ids_text(tokenizer, "</s>", 8, NULL), "1 1") == 0, "</s>: %s",
          ids_text(tokenizer, "</s>", 8, NULL));
    sdt_tokenizer_close(tokenizer);
}

/* "legacy": false: only the start of a text, or a space, makes the space before a word. */
static void check_legacy(const char *from) {
    static const char *const config = "{\"legacy\": false, \"extra_ids\": 100}";
    char folder[] = "tokenizer-XXXXXX", always[1000];
    struct sdt_tokenizer *old = open_tokenizer(source_path(from), "legacy"), *tokenizer;

    make_folder(folder);
    copy_file(from, "spiece.model", folder);
    write_bytes(folder, "tokenizer_config.json", config, strlen(config));
    tokenizer = open_tokenizer(folder, "legacy false");
    remove_folder(folder);
    if (old && tokenizer) {
        snprintf(always, sizeof always, "%s", ids_text(old, "a ball<pad> red", 64, NULL));
        CHECK(strcmp(ids_text(tokenizer, "a ball<pad> red", 64, NULL), always) == 0,
              "a space behind an added token is lost");
        snprintf(always, sizeof always, "%s", ids_text(old, "a ball<pad>red", 64, NULL));
        CHECK(strcmp(ids_text(tokenizer, "a ball<pad>red", 64, NULL), always) != 0,
              "a space is made behind an added token");
    }
    sdt_tokenizer_close(old);
    sdt_tokenizer_close(tokenizer);
}

int main(void) {
    static const char *const model[] = {"spiece.model", NULL};
    static const char *const json[] = {"tokenizer.json", NULL};
    static const char *const configured[] = {"spiece.model", "tokenizer_config.json", NULL};
    const char *const t5 = "tests/golden/tokenizer", *const demo =
                                                         "checkpoints/stardit-demo/tokenizer";

#ifndef HAVE_SENTENCEPIECE
    struct sdt_tokenizer *none;
    struct sdt_error err;
    CHECK(sdt_tokenizer_open(source_path(t5), &none, &err) == SDT_ERROR_UNSUPPORTED && !none,
          "a tokenizer without sentencepiece");
    return failures ? 1 : 77;
#endif
    json_t *cases = load_cases("tests/golden/tokenizer/cases.json");

    check_strings(open_tokenizer(source_path(t5), "t5"), cases, "t5", 1600, "t5, the folder");
    check_strings(open_some(t5, model, "t5"), cases, "t5", 1600, "t5, spiece.model");
    check_strings(open_some(t5, json, "t5"), cases, "t5", 1600, "t5, tokenizer.json");
    check_strings(open_tokenizer(source_path(demo), "demo"), cases, "demo", 916,
                  "demo, the folder");
    check_strings(open_some(demo, configured, "demo"), cases, "demo", 916, "demo, spiece.model");
    check_strings(open_some(demo, json, "demo"), cases, "demo", 916, "demo, tokenizer.json");
    check_cutting(source_path(demo));
    check_legacy(t5);
    json_decref(cases);
    return failures > 0;
}

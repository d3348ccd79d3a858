/* Tokenizer files that are cut off, changed or from something else: one line that names the file,
 * and never a crash, also when the changed model is used. Run it under AddressSanitizer as well. */
#define _GNU_SOURCE
#ifdef HAVE_CONFIG_H
#include <config.h>
#endif
#include "tests/text/check.h"

#include "graph/text/tokenizer.h"

static const char *const from = "tests/golden/tokenizer";
static char folder[] = "malformed-XXXXXX";
static int cases, accepted;

/* Opens the folder; where that works, the tokenizer must work too. Returns the status. */
static enum sdt_status try_folder(const char *what, struct sdt_error *err) {
    static const char *const text = "A r\xc3\xa9"
                                    "d ba\xcc\x81ll \xef\xac\x81ne \xe2\x91\xa0\xf0\x9f\x98\x80 "
                                    "\xe1\x84\x80\xe1\x85\xa1 </s> x \xff\xc2";
    struct sdt_tokenizer *tokenizer = NULL;
    const enum sdt_status status = sdt_tokenizer_open(folder, &tokenizer, err);
    struct sdt_error ignored;
    int32_t ids[512];
    int count;

    cases++;
    CHECK((status == SDT_OK) == (tokenizer != NULL), "%s: status and result disagree", what);
    if (tokenizer) {
        accepted++;
        sdt_tokenize(tokenizer, text, 512, ids, &count, NULL, &ignored);
        sdt_tokenizer_close(tokenizer);
    }
    return status;
}

/* The folder must be refused with `status` and a message that holds `words`. */
static void expect(const char *what, enum sdt_status status, const char *words) {
    struct sdt_error err = {.message = ""};
    const enum sdt_status got = try_folder(what, &err);

    CHECK(got == status, "%s: %s, not %s: %s", what, sdt_status_name(got), sdt_status_name(status),
          err.message);
    CHECK(strstr(err.message, words) && !strchr(err.message, '\n'), "%s: '%s' lacks '%s'", what,
          err.message, words);
}

static void clear(void) {
    remove_folder(folder);
    if (mkdir(folder, 0777) != 0) {
        perror(folder);
        exit(99);
    }
}

/* ---- spiece.model ---------------------------------------------------------------------------- */

static void model_is(const void *bytes, size_t size) {
    write_bytes(folder, "spiece.model", bytes, size);
}

/* Start of the first `needle` in bytes [size]; leaves the test without it. */
static char *locate(char *bytes, size_t size, const void *needle, size_t length) {
    char *at = memmem(bytes, size, needle, length);
    if (!at) {
        fprintf(stderr, "the golden model is not as expected\n");
        exit(99);
    }
    return at;
}

/* Models of a few bytes, written by hand. */
static void short_models(void) {
    clear();
    expect("an empty folder", SDT_ERROR_MISSING, "neither spiece.model nor tokenizer.json");
    model_is("", 0);
    expect("an empty model", SDT_ERROR_FORMAT, "empty");
    model_is("version https://example.org/large-file", 30);
    expect("text", SDT_ERROR_FORMAT, "not a sentencepiece model");
    model_is("\x0a\x03\x0a\x01"
             "a",
             5);
    expect("no piece for unknown text", SDT_ERROR_FORMAT, "0 pieces stand for unknown");
    model_is("\x12\x00", 2);
    expect("no pieces", SDT_ERROR_FORMAT, "no pieces");
    model_is("\x0a\x02\x0a\x00", 4);
    expect("an empty piece", SDT_ERROR_FORMAT, "piece 0 is empty");
    model_is("\x0a\x08\x0a\x01"
             "a\x15\x00\x00\xc0\x7f",
             10);
    expect("a score that is not a number", SDT_ERROR_FORMAT, "no finite score");
    model_is("\x0a\x05\x0a\x01"
             "a\x18\x09",
             7);
    expect("a type that does not exist", SDT_ERROR_FORMAT, "unknown type 9");
}

/* The golden model with other parts. */
static void other_parts(const char *good, size_t size, char *bytes /* [size + 64] */) {
    static const char *const trainer_bpe = "\x12\x02\x18\x02";

    /* A second trainer part overrides the first. */
    memcpy(bytes, good, size);
    memcpy(bytes + size, trainer_bpe, 4);
    model_is(bytes, size + 4);
    expect("a BPE model", SDT_ERROR_UNSUPPORTED, "BPE");

    /* The piece </s> becomes <pad>, which is there already. */
    memcpy(bytes, good, size);
    memcpy(locate(bytes, size, "\x0a\x04</s>", 6), "\x0a\x04<pa>", 6);
    model_is(bytes, size);
    expect("no </s>", SDT_ERROR_UNSUPPORTED, "no </s>");
}

/* Where the character map begins, and its length. */
static size_t find_map(char *good, size_t size, size_t *length) {
    char *map = locate(good, size, "nmt_nfkc\x12", 9) + 9;
    *length = 0;
    for (int shift = 0;; shift += 7) {
        const unsigned char byte = (unsigned char)*map++;
        *length |= (size_t)(byte & 0x7f) << shift;
        if (!(byte & 0x80))
            return (size_t)(map - good);
    }
}

/* The map: the trie's length, its first unit, its last target text. */
static void character_maps(const char *good, size_t size, size_t at, size_t length,
                           char *bytes /* [size] */) {
    memcpy(bytes, good, size);
    memcpy(bytes + at, "\xff\xff\xff\x7f", 4);
    model_is(bytes, size);
    expect("a trie longer than its map", SDT_ERROR_FORMAT, "cut off");
    memcpy(bytes + at, "\x01\x04\x00\x00", 4);
    model_is(bytes, size);
    expect("a trie of odd length", SDT_ERROR_FORMAT, "blocks of 256");
    memcpy(bytes, good, size);
    memset(bytes + at + 4, 0xff, 4);
    model_is(bytes, size);
    expect("a trie that points outside", SDT_ERROR_FORMAT, "outside itself");
    memcpy(bytes, good, size);
    bytes[at + length - 1] = 'x';
    model_is(bytes, size);
    expect("a target text without end", SDT_ERROR_FORMAT, "has no end");
}

/* The golden model cut off, and with bytes changed anywhere or in the map, at places that a fixed
 * generator picks. */
static void damaged_models(const char *good, size_t size, size_t at, size_t length,
                           char *bytes /* [size] */) {
    for (size_t cut = 1; cut < size; cut += cut < 64 ? 1 : size / 60) {
        struct sdt_error err;
        model_is(good, cut);
        try_folder("cut off", &err);
    }
    uint32_t random = 12345;
    for (int round = 0; round < 300; round++) {
        struct sdt_error err;
        memcpy(bytes, good, size);
        for (int i = 0; i <= round % 4; i++) {
            random = random * 1664525u + 1013904223u;
            const size_t place = (size_t)(random >> 4) % size;
            random = random * 1664525u + 1013904223u;
            bytes[round % 2 ? place : at + place % length] ^= (char)(1u << (random >> 29));
        }
        model_is(bytes, size);
        try_folder("changed", &err);
    }
}

static void models(void) {
    size_t size, length;
    char *good = read_bytes(source_path("tests/golden/tokenizer/spiece.model"), &size);
    char *bytes = malloc(size + 64);

    if (!bytes)
        exit(99);
    const size_t at = find_map(good, size, &length);
    short_models();
    other_parts(good, size, bytes);
    character_maps(good, size, at, length, bytes);
    damaged_models(good, size, at, length, bytes);
    free(bytes);
    free(good);
}

/* ---- tokenizer.json -------------------------------------------------------------------------- */

/* Writes `text` with the first `old` replaced by `new`. */
static void json_with(const char *text, const char *old, const char *new) {
    const char *at = strstr(text, old);
    char *changed = malloc(strlen(text) + strlen(new) + 1);

    if (!at || !changed) {
        fprintf(stderr, "the golden tokenizer.json has no %s\n", old);
        exit(99);
    }
    const int head = (int)(at - text);
    const int length = sprintf(changed, "%.*s%s%s", head, text, new, at + strlen(old));
    write_bytes(folder, "tokenizer.json", changed, (size_t)length);
    free(changed);
}

static void jsons(void) {
    static const struct {
        const char *old, *new;
        enum sdt_status status;
        const char *words;
    } table[] = {
        {"{", "[", SDT_ERROR_FORMAT, "JSON"},
        {"\"type\":\"Unigram\"", "\"type\":\"BPE\"", SDT_ERROR_UNSUPPORTED, "BPE"},
        {"\"type\":\"Unigram\"", "\"type\":\"WordPiece\"", SDT_ERROR_UNSUPPORTED, "only Unigram"},
        {"\"model\":", "\"mobel\":", SDT_ERROR_FORMAT, "no object 'model'"},
        {"\"vocab\":", "\"vacab\":", SDT_ERROR_FORMAT, "vocab"},
        {"\"vocab\":[", "\"vocab\":[[1,2],", SDT_ERROR_FORMAT, "entry 0"},
        {"\"vocab\":[", "\"vocab\":[[\"z\"],", SDT_ERROR_FORMAT, "entry 0"},
        {"\"vocab\":[", "\"vocab\":[7,", SDT_ERROR_FORMAT, "entry 0"},
        {"\"vocab\":[", "\"vocab\":[[\"\",0.0],", SDT_ERROR_FORMAT, "piece 0 is empty"},
        {"\"vocab\":[", "\"vocab\":[[\"s\",0.0],", SDT_ERROR_FORMAT, "already defined"},
        {"\"unk_id\":2", "\"unk_id\":null", SDT_ERROR_FORMAT, "unk_id"},
        {"\"unk_id\":2", "\"unk_id\":-1", SDT_ERROR_FORMAT, "unk_id"},
        {"\"unk_id\":2", "\"unk_id\":99999", SDT_ERROR_FORMAT, "unk_id"},
        {"\"byte_fallback\":false", "\"byte_fallback\":true", SDT_ERROR_FORMAT, "byte"},
        {"\"precompiled_charsmap\":\"", "\"precompiled_charsmap\":\"*", SDT_ERROR_FORMAT,
         "not base64"},
        {"\"precompiled_charsmap\":\"", "\"precompiled_charsmap\":\"AAAA", SDT_ERROR_FORMAT,
         "damaged"},
        {"\"precompiled_charsmap\":\"", "\"precompiled_charsmap\":7,\"x\":\"", SDT_ERROR_FORMAT,
         "not a string"},
        {"\"type\":\"Strip\"", "\"type\":\"Lowercase\"", SDT_ERROR_UNSUPPORTED, "Lowercase"},
        {"\"Regex\":\" {2,}\"", "\"Regex\":\"x\"", SDT_ERROR_UNSUPPORTED, "Replace"},
        {"\"type\":\"Metaspace\"", "\"type\":\"ByteLevel\"", SDT_ERROR_UNSUPPORTED, "ByteLevel"},
        {"\"prepend_scheme\":\"always\"", "\"prepend_scheme\":\"often\"", SDT_ERROR_UNSUPPORTED,
         "often"},
        {"\"type\":\"TemplateProcessing\"", "\"type\":\"BertProcessing\"", SDT_ERROR_UNSUPPORTED,
         "BertProcessing"},
        {"\"added_tokens\":[", "\"added_tokens\":7,\"x\":[", SDT_ERROR_FORMAT, "not a list"},
        {"\"added_tokens\":[{\"id\":0", "\"added_tokens\":[{\"id\":-1", SDT_ERROR_FORMAT, "no id"},
        {"\"content\":\"<pad>\"", "\"content\":\"\"", SDT_ERROR_FORMAT, "no content"},
        {"\"content\":\"<pad>\"", "\"content\":\"</s>\"", SDT_ERROR_FORMAT, "twice"},
        {"\"single_word\":false", "\"single_word\":true", SDT_ERROR_UNSUPPORTED, "single_word"},
    };
    size_t size;
    char *good = read_bytes(source_path("tests/golden/tokenizer/tokenizer.json"), &size);

    clear();
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        json_with(good, table[i].old, table[i].new);
        expect(table[i].new, table[i].status, table[i].words);
    }
    for (size_t cut = 0; cut < size; cut += size / 20) {
        struct sdt_error err;
        write_bytes(folder, "tokenizer.json", good, cut);
        CHECK(try_folder("cut off", &err) != SDT_OK, "tokenizer.json cut to %zu bytes", cut);
    }
    free(good);

    clear();
    copy_file(from, "spiece.model", folder);
    write_bytes(folder, "tokenizer_config.json", "{\"extra_ids\": -3}", 17);
    expect("extra_ids", SDT_ERROR_FORMAT, "extra_ids");
    static const char *const decoder = "{\"added_tokens_decoder\": {\"x1\": {\"content\": \"q\"}}}";
    write_bytes(folder, "tokenizer_config.json", decoder, strlen(decoder));
    expect("added_tokens_decoder", SDT_ERROR_FORMAT, "'q' has no id");
    write_bytes(folder, "tokenizer_config.json", "{", 1);
    expect("tokenizer_config.json", SDT_ERROR_FORMAT, "tokenizer_config.json");
}

/* ---- byte-level BPE -------------------------------------------------------------------------- */

#ifdef HAVE_PCRE2
/* Bytes changed at random: refused, or a tokenizer that works. */
static void damaged(const char *name, const char *good, size_t size) {
    char *bytes = malloc(size);
    for (int i = 0; bytes && i < 60; i++) {
        struct sdt_error err;
        memcpy(bytes, good, size);
        for (int n = 0; n < 1 + i % 3; n++)
            bytes[(size_t)rand() % size] = (char)rand();
        write_bytes(folder, name, bytes, size);
        try_folder("damaged", &err);
    }
    free(bytes);
    for (size_t cut = 0; cut < size; cut += size / 12) {
        struct sdt_error err;
        write_bytes(folder, name, good, cut);
        try_folder("cut off", &err);
    }
    write_bytes(folder, name, good, size);
}

static void bpes(void) {
    static const struct {
        const char *old, *new;
        enum sdt_status status;
        const char *words;
    } table[] = {
        {"\"vocab\":{", "\"vocab\":{},\"x\":{", SDT_ERROR_FORMAT, "no vocabulary"},
        {"\"vocab\":{\"!\":0", "\"vocab\":{\"!\":-1", SDT_ERROR_FORMAT, "no id within"},
        {"\"vocab\":{\"!\":0", "\"vocab\":{\"!\":99999999999", SDT_ERROR_FORMAT, "no id within"},
        {"\"vocab\":{\"!\":0", "\"vocab\":{\"!\":\"0\"", SDT_ERROR_FORMAT, "no id within"},
        {"\"merges\":[", "\"merges\":7,\"x\":[", SDT_ERROR_FORMAT, "no list of merges"},
        {"\"merges\":[", "\"merges\":[7,", SDT_ERROR_FORMAT, "merge 1 is no pair"},
        {"\"merges\":[", "\"merges\":[\"ab\",", SDT_ERROR_FORMAT, "merge 1 is no pair"},
        {"\"merges\":[", "\"merges\":[[\"a\"],", SDT_ERROR_FORMAT, "merge 1 is no pair"},
        {"\"merges\":[", "\"merges\":[[\"!\",\"zz\"],", SDT_ERROR_FORMAT, "needs symbols"},
        {"\"dropout\":null", "\"dropout\":0.1", SDT_ERROR_UNSUPPORTED, "dropout"},
        {"\"byte_fallback\":false", "\"byte_fallback\":true", SDT_ERROR_UNSUPPORTED,
         "byte_fallback"},
        {"{1,3}", "{1,4}", SDT_ERROR_UNSUPPORTED, "does not know"},
        {"\"Isolated\"", "\"Contiguous\"", SDT_ERROR_UNSUPPORTED, "pre-tokenizer"},
        {"\"type\":\"Split\"", "\"type\":\"Digits\"", SDT_ERROR_UNSUPPORTED, "Digits"},
        {"\"normalizer\":null", "\"normalizer\":{\"type\":\"NFKD\"}", SDT_ERROR_UNSUPPORTED,
         "NFKD"},
        {"\"type\":\"TemplateProcessing\"", "\"type\":\"Other\"", SDT_ERROR_UNSUPPORTED, "Other"},
        {"\"SpecialToken\":{\"id\":\"<|begin_of_text|>", "\"SpecialToken\":{\"id\":\"<|none|>",
         SDT_ERROR_UNSUPPORTED, "TemplateProcessing"},
        {"\"single_word\":false", "\"single_word\":true", SDT_ERROR_UNSUPPORTED, "single_word"},
    };
    size_t size, lines;
    char *good = read_bytes(source_path("tests/golden/bpe/llama/tokenizer.json"), &size);

    clear();
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        json_with(good, table[i].old, table[i].new);
        expect(table[i].new, table[i].status, table[i].words);
    }
    damaged("tokenizer.json", good, size);
    free(good);

    clear();
    good = read_bytes(source_path("tests/golden/bpe/clip/vocab/vocab.json"), &size);
    char *merges = read_bytes(source_path("tests/golden/bpe/clip/vocab/merges.txt"), &lines);
    write_bytes(folder, "vocab.json", good, size);
    expect("no merges", SDT_ERROR_MISSING, "merges.txt");
    write_bytes(folder, "merges.txt", "#version: 0.2\na\n", 16);
    expect("half a merge", SDT_ERROR_FORMAT, "line 2 is no pair");
    write_bytes(folder, "merges.txt", "a zz", 4);
    expect("no symbol", SDT_ERROR_FORMAT, "needs symbols");
    damaged("merges.txt", merges, lines);
    damaged("vocab.json", good, size);
    write_bytes(folder, "vocab.json", "{\"a\": 0}", 8);
    expect("another vocabulary", SDT_ERROR_UNSUPPORTED, "CLIP's are read");
    free(good);
    free(merges);
}
#endif

int main(void) {
#ifndef HAVE_SENTENCEPIECE
    return 77;
#endif
    make_folder(folder);
    models();
    jsons();
#ifdef HAVE_PCRE2
    bpes();
#endif
    remove_folder(folder);
    printf("%d files, %d of them still a tokenizer\n", cases, accepted);
    return failures > 0;
}

/* Byte-level BPE tokenizers, as LLaMA 3 and CLIP have them: what tokenizers (the library of
 * transformers) does with their files.
 *
 * A text is cut at added tokens, what lies between is normalised (CLIP: NFC, white space, lower
 * case) and cut by a regular expression, and each piece is encoded (bpe.h). The expression is not
 * run as it stands in the file: those that are known have one of ours that is bounded, in which
 * white space is Unicode's. */
#define _GNU_SOURCE
#include "graph/text/tokenizer_kind.h"

#ifdef HAVE_CONFIG_H
#include <config.h> /* the one of configure; in quotes it would be the one beside this file */
#endif

#include <stdlib.h>
#include <string.h>

#include "graph/checkpoint/untrusted.h"
#include "graph/text/bpe.h"
#include "graph/text/text.h"
#include "graph/text/tokenizer_json.h"

#ifdef HAVE_PCRE2
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <utf8proc.h>

#define MOST_IDS (1 << 22) /* of a vocabulary */
#define MOST_AROUND 8      /* tokens that a text is put between */

static const struct sdt__json_limits limits = {.depth = 8, .values = 5000000};

struct around {
    int32_t id[MOST_AROUND];
    int count;
};

struct bpe_tokenizer {
    struct sdt_tokenizer tokenizer;
    struct sdt__bpe bpe;
    struct sdt__added_tokens added;
    pcre2_code *cut;
    bool compose, spaces, lower; /* NFC, runs of white space to a space, lower case */
    struct around before, behind;
};

static void bpe_close(struct sdt_tokenizer *tokenizer);
static enum sdt_status bpe_encode(const struct sdt_tokenizer *base, const char *text, int capacity,
                                  int32_t *ids, int *count, int *total, struct sdt_error *err);
static const struct sdt__tokenizer_kind bpe_kind = {.close = bpe_close, .encode = bpe_encode};

/* ---- cutting --------------------------------------------------------------------------------- */

/* White space as Unicode has it, which PCRE2's \s is not quite. */
#define SPACE                                                                                      \
    "\\x{9}-\\x{d}\\x{20}\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}"    \
    "\\x{205f}\\x{3000}"
#define CONTRACTION "'s|'t|'re|'ve|'m|'ll|'d"
#define CLIP_PIECES "'s|'t|'re|'ve|'m|'ll|'d|[\\p{L}]+|[\\p{N}]|[^\\s\\p{L}\\p{N}]+"

/* Expressions of files and ours, which finds the pieces and leaves out what CLIP leaves out. */
static const struct pattern {
    const char *theirs, *ours;
    bool isolated; /* what lies between matches is a piece too; else it is dropped */
} patterns[] = {
    {"(?i:" CONTRACTION
     ")|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|"
     "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
     "(?i:" CONTRACTION ")|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^" SPACE
     "\\p{L}\\p{N}]+[\\r\\n]*|[" SPACE "]*[\\r\\n]+|[" SPACE "]+(?![^" SPACE "])|[" SPACE "]+",
     true},
    {CLIP_PIECES, CONTRACTION "|\\p{L}+|\\p{N}|[^" SPACE "\\p{L}\\p{N}]+", false},
    {"<\\|startoftext\\|>|<\\|endoftext\\|>|" CLIP_PIECES,
     CONTRACTION "|\\p{L}+|\\p{N}|[^" SPACE "\\p{L}\\p{N}]+", false},
    {NULL, /* of ByteLevel by itself: GPT-2's */
     CONTRACTION "| ?\\p{L}+| ?\\p{N}+| ?[^" SPACE "\\p{L}\\p{N}]+|[" SPACE "]+(?![^" SPACE
                 "])|[" SPACE "]+",
     true},
};

static enum sdt_status take_pattern(const char *path, const char *theirs, bool isolated,
                                    struct bpe_tokenizer *t, struct sdt_error *err) {
    int code = 0;
    PCRE2_SIZE at;
    for (size_t i = 0; i < sizeof patterns / sizeof *patterns; i++) {
        const struct pattern *p = &patterns[i];
        if (p->isolated != isolated || !theirs != !p->theirs ||
            (theirs && strcmp(theirs, p->theirs) != 0))
            continue;
        t->cut = pcre2_compile((PCRE2_SPTR)p->ours, PCRE2_ZERO_TERMINATED, PCRE2_UTF | PCRE2_UCP,
                               &code, &at, NULL);
        return t->cut ? SDT_OK
                      : sdt_fail(err, SDT_ERROR_MEMORY, "%s: no memory for the tokenizer's pieces",
                                 sdt__path_tail(path));
    }
    return sdt_fail(err, SDT_ERROR_UNSUPPORTED,
                    "%s: pieces are cut by '%.*s', which this version does not know; LLaMA 3's, "
                    "CLIP's and GPT-2's work",
                    sdt__path_tail(path), SDT__NAME_SHOWN, theirs ? theirs : "");
}

/* ---- tokenizer.json -------------------------------------------------------------------------- */

static const char *type_of(const json_t *json) {
    const char *type = json_string_value(json_object_get(json, "type"));
    return type ? type : "";
}

static enum sdt_status unknown_part(const char *path, const char *part, const char *type,
                                    struct sdt_error *err) {
    return sdt_fail(err, SDT_ERROR_UNSUPPORTED,
                    "%s: the %s '%.*s' of a BPE tokenizer is not "
                    "supported as it stands there",
                    sdt__path_tail(path), part, SDT__NAME_SHOWN, type);
}

static bool is_spaces(const json_t *json) {
    const char *regex =
        json_string_value(json_object_get(json_object_get(json, "pattern"), "Regex"));
    const char *content = json_string_value(json_object_get(json, "content"));
    return regex && content && !strcmp(regex, "\\s+") && !strcmp(content, " ");
}

/* NFC, white space, lower case: any of them, in this order. */
static enum sdt_status read_normalizer(const char *path, const json_t *json,
                                       struct bpe_tokenizer *t, struct sdt_error *err) {
    const json_t *list = json_object_get(json, "normalizers");
    bool sequence = !strcmp(type_of(json), "Sequence");
    size_t count = !json || json_is_null(json) ? 0 : sequence ? json_array_size(list) : 1;
    for (size_t i = 0; i < count; i++) {
        const json_t *one = sequence ? json_array_get(list, i) : json;
        const char *type = type_of(one);
        if (!strcmp(type, "NFC") && !t->compose && !t->spaces && !t->lower)
            t->compose = true;
        else if (!strcmp(type, "Replace") && is_spaces(one) && !t->spaces && !t->lower)
            t->spaces = true;
        else if (!strcmp(type, "Lowercase") && !t->lower)
            t->lower = true;
        else
            return unknown_part(path, "normalizer", type, err);
    }
    return SDT_OK;
}

/* ByteLevel alone, or a Split in front of it. */
static enum sdt_status read_pieces(const char *path, const json_t *json, struct bpe_tokenizer *t,
                                   struct sdt_error *err) {
    bool sequence = !strcmp(type_of(json), "Sequence");
    const json_t *list = json_object_get(json, "pretokenizers");
    const json_t *split = sequence ? json_array_get(list, 0) : NULL;
    const json_t *bytes = sequence ? json_array_get(list, 1) : json;
    const char *regex =
        json_string_value(json_object_get(json_object_get(split, "pattern"), "Regex"));
    const char *behavior = json_string_value(json_object_get(split, "behavior"));
    bool invert = json_is_true(json_object_get(split, "invert"));

    if ((sequence && json_array_size(list) != 2) || strcmp(type_of(bytes), "ByteLevel") != 0 ||
        json_is_true(json_object_get(bytes, "add_prefix_space")))
        return unknown_part(path, "pre-tokenizer", type_of(json), err);
    if (!sequence && json_is_false(json_object_get(bytes, "use_regex")))
        return unknown_part(path, "pre-tokenizer", "ByteLevel without use_regex", err);
    if (!sequence)
        return take_pattern(path, NULL, true, t, err);
    bool isolated = behavior && !strcmp(behavior, "Isolated") && !invert &&
                    json_is_false(json_object_get(bytes, "use_regex"));
    if (strcmp(type_of(split), "Split") != 0 || !regex || !behavior ||
        (!isolated && (strcmp(behavior, "Removed") != 0 || !invert)))
        return unknown_part(path, "pre-tokenizer", type_of(split), err);
    return take_pattern(path, regex, isolated, t, err);
}

static bool add_around(struct around *around, const json_t *id) {
    if (!json_is_integer(id) || around->count == MOST_AROUND || json_integer_value(id) < 0 ||
        json_integer_value(id) >= MOST_IDS)
        return false;
    around->id[around->count++] = (int32_t)json_integer_value(id);
    return true;
}

/* What is put around one text. */
static bool read_template(const json_t *json, struct bpe_tokenizer *t) {
    const json_t *single = json_object_get(json, "single");
    const json_t *tokens = json_object_get(json, "special_tokens");
    struct around *around = &t->before;
    bool seen = false;
    for (size_t i = 0; i < json_array_size(single); i++) {
        const json_t *one = json_array_get(single, i);
        const json_t *special = json_object_get(one, "SpecialToken");
        const char *name = json_string_value(json_object_get(special, "id"));
        if (json_object_get(one, "Sequence") && !seen) {
            seen = true;
            around = &t->behind;
            continue;
        }
        const json_t *ids = name ? json_object_get(json_object_get(tokens, name), "ids") : NULL;
        if (!json_is_array(ids))
            return false;
        for (size_t k = 0; k < json_array_size(ids); k++)
            if (!add_around(around, json_array_get(ids, k)))
                return false;
    }
    return seen;
}

static enum sdt_status read_processor(const char *path, const json_t *json, struct bpe_tokenizer *t,
                                      struct sdt_error *err) {
    const json_t *list = json_object_get(json, "processors");
    bool sequence = !strcmp(type_of(json), "Sequence");
    size_t count = !json || json_is_null(json) ? 0 : sequence ? json_array_size(list) : 1;
    for (size_t i = 0; i < count; i++) {
        const json_t *one = sequence ? json_array_get(list, i) : json;
        const char *type = type_of(one);
        bool roberta = !strcmp(type, "RobertaProcessing") || !strcmp(type, "BertProcessing");
        bool good = !strcmp(type, "ByteLevel"); /* it moves offsets alone */
        if (!strcmp(type, "TemplateProcessing") && !t->before.count && !t->behind.count)
            good = read_template(one, t);
        else if (roberta && !t->before.count && !t->behind.count)
            good = add_around(&t->before, json_array_get(json_object_get(one, "cls"), 1)) &&
                   add_around(&t->behind, json_array_get(json_object_get(one, "sep"), 1));
        if (!good)
            return unknown_part(path, "post-processor", type, err);
    }
    return SDT_OK;
}

/* ---- vocabulary and merges ------------------------------------------------------------------- */

static enum sdt_status read_vocabulary(const char *path, json_t *vocabulary,
                                       struct bpe_tokenizer *t, struct sdt_error *err) {
    const char *symbol;
    json_t *id;
    if (!json_is_object(vocabulary) || json_object_size(vocabulary) == 0)
        return sdt_fail(err, SDT_ERROR_FORMAT, "%s: there is no vocabulary", sdt__path_tail(path));
    json_object_foreach(vocabulary, symbol, id) {
        if (!json_is_integer(id) || json_integer_value(id) < 0 ||
            json_integer_value(id) >= MOST_IDS)
            return sdt_fail(err, SDT_ERROR_FORMAT, "%s: '%.*s' has no id within 0 to %d",
                            sdt__path_tail(path), SDT__NAME_SHOWN, symbol, MOST_IDS - 1);
        if (json_integer_value(id) >= t->tokenizer.vocabulary)
            t->tokenizer.vocabulary = (int)json_integer_value(id) + 1;
    }
    t->bpe.vocabulary = json_incref(vocabulary);
    return SDT_OK;
}

static enum sdt_status add_merge(const char *path, struct bpe_tokenizer *t, const char *left,
                                 size_t left_size, const char *right, size_t right_size,
                                 struct sdt_error *err) {
    enum sdt__bpe_added added = sdt__bpe_add(&t->bpe, left, left_size, right, right_size);
    if (added == SDT__BPE_ADDED)
        return SDT_OK;
    return sdt_fail(err, SDT_ERROR_FORMAT, "%s: merge %zu of '%.*s' and '%.*s' %s",
                    sdt__path_tail(path), t->bpe.merges, left_size < 60 ? (int)left_size : 60, left,
                    right_size < 60 ? (int)right_size : 60, right,
                    added == SDT__BPE_LONG ? "is too long"
                                           : "needs symbols that the vocabulary does not have");
}

/* "a b", or ["a", "b"]. */
static enum sdt_status read_merges(const char *path, const json_t *merges, struct bpe_tokenizer *t,
                                   struct sdt_error *err) {
    enum sdt_status status = SDT_OK;
    if (!json_is_array(merges))
        return sdt_fail(err, SDT_ERROR_FORMAT, "%s: there is no list of merges",
                        sdt__path_tail(path));
    if (!sdt__bpe_reserve(&t->bpe, json_array_size(merges)))
        return sdt_fail(err, SDT_ERROR_MEMORY, "%s: no memory for the merges",
                        sdt__path_tail(path));
    for (size_t i = 0; i < json_array_size(merges) && status == SDT_OK; i++) {
        const json_t *one = json_array_get(merges, i);
        const char *left = json_string_value(json_is_array(one) ? json_array_get(one, 0) : one);
        const char *right = json_string_value(json_array_get(one, 1));
        size_t size = left ? strlen(left) : 0;
        if (left && !json_is_array(one) && (right = strchr(left, ' '))) {
            size = (size_t)(right - left);
            right++;
        }
        if (!left || !right)
            return sdt_fail(err, SDT_ERROR_FORMAT, "%s: merge %zu is no pair of symbols",
                            sdt__path_tail(path), i + 1);
        status = add_merge(path, t, left, size, right, strlen(right), err);
    }
    return status;
}

static bool no_text(const json_t *json) {
    const char *text = json_string_value(json);
    return !json || json_is_null(json) || (text && !text[0]);
}

static enum sdt_status read_model(const char *path, const json_t *model, struct bpe_tokenizer *t,
                                  struct sdt_error *err) {
    const json_t *dropout = json_object_get(model, "dropout");
    const char *suffix = json_string_value(json_object_get(model, "end_of_word_suffix"));
    const char *unknown = json_string_value(json_object_get(model, "unk_token"));

    if (dropout && !json_is_null(dropout))
        return unknown_part(path, "model with", "dropout", err);
    if (json_is_true(json_object_get(model, "byte_fallback")))
        return unknown_part(path, "model with", "byte_fallback", err);
    if (!no_text(json_object_get(model, "continuing_subword_prefix")))
        return unknown_part(path, "model with", "continuing_subword_prefix", err);
    if (suffix && strlen(suffix) >= SDT__SUFFIX_ROOM)
        return unknown_part(path, "model with end_of_word_suffix", suffix, err);
    strcpy(t->bpe.suffix, suffix ? suffix : "");
    t->bpe.whole = json_is_true(json_object_get(model, "ignore_merges"));
    enum sdt_status status = read_vocabulary(path, json_object_get(model, "vocab"), t, err);
    if (status == SDT_OK)
        t->bpe.unknown = unknown ? sdt__bpe_find(&t->bpe, unknown) : -1;
    return status == SDT_OK ? read_merges(path, json_object_get(model, "merges"), t, err) : status;
}

static enum sdt_status new_tokenizer(const char *path, struct bpe_tokenizer **t,
                                     struct sdt_error *err) {
    *t = calloc(1, sizeof **t);
    if (!*t)
        return sdt_fail(err, SDT_ERROR_MEMORY, "%s: no memory to open the tokenizer",
                        sdt__path_tail(path));
    (*t)->tokenizer.kind = &bpe_kind;
    return SDT_OK;
}

static enum sdt_status hand_out(struct bpe_tokenizer *t, enum sdt_status status,
                                struct sdt_tokenizer **out) {
    *out = status == SDT_OK ? &t->tokenizer : NULL;
    if (status != SDT_OK && t)
        bpe_close(&t->tokenizer);
    for (size_t i = 0; *out && i < t->added.count; i++)
        if (t->added.tokens[i].id >= t->tokenizer.vocabulary)
            t->tokenizer.vocabulary = t->added.tokens[i].id + 1;
    return status;
}

enum sdt_status sdt__bpe_open(const char *path, json_t *json, struct sdt_tokenizer **out,
                              struct sdt_error *err) {
    struct bpe_tokenizer *t;
    enum sdt_status status = new_tokenizer(path, &t, err);
#define NEXT(call)                                                                                 \
    if (status == SDT_OK)                                                                          \
    status = (call)
    NEXT(read_normalizer(path, json_object_get(json, "normalizer"), t, err));
    NEXT(read_pieces(path, json_object_get(json, "pre_tokenizer"), t, err));
    NEXT(read_processor(path, json_object_get(json, "post_processor"), t, err));
    NEXT(read_model(path, json_object_get(json, "model"), t, err));
    NEXT(sdt__added_tokens_read(path, json_object_get(json, "added_tokens"), &t->added, err));
#undef NEXT
    return hand_out(t, status, out);
}

/* ---- CLIP's vocab.json and merges.txt -------------------------------------------------------- */

/* A line "a b" each, behind one that says the version. */
static enum sdt_status read_lines(const char *path, struct bpe_tokenizer *t,
                                  struct sdt_error *err) {
    struct sdt__map map = {0};
    size_t lines = 1, number = 0;
    enum sdt_status status = sdt__map_file(path, (size_t)16 << 20, &map, err);
    if (status != SDT_OK)
        return status;
    for (size_t i = 0; i < map.size; i++)
        lines += map.bytes[i] == '\n';
    if (!sdt__bpe_reserve(&t->bpe, lines))
        status =
            sdt_fail(err, SDT_ERROR_MEMORY, "%s: no memory for the merges", sdt__path_tail(path));
    for (size_t at = 0; at < map.size && status == SDT_OK; number++) {
        const char *line = (const char *)map.bytes + at, *end = memchr(line, '\n', map.size - at);
        size_t size = end ? (size_t)(end - line) : map.size - at;
        at += size + 1;
        if (size && line[size - 1] == '\r')
            size--;
        if (size == 0 || (number == 0 && !strncmp(line, "#version", size < 8 ? size : 8)))
            continue;
        const char *space = memchr(line, ' ', size);
        if (!space)
            status = sdt_fail(err, SDT_ERROR_FORMAT, "%s: line %zu is no pair of symbols",
                              sdt__path_tail(path), number + 1);
        else
            status = add_merge(path, t, line, (size_t)(space - line), space + 1,
                               size - (size_t)(space - line) - 1, err);
    }
    sdt__unmap(&map);
    return status;
}

/* Its two tokens, which are looked for in the text as it is. */
static enum sdt_status clip_tokens(const char *path, struct bpe_tokenizer *t,
                                   struct sdt_error *err) {
    static const char *const names[2] = {"<|startoftext|>", "<|endoftext|>"};
    json_t *list = json_array();
    enum sdt_status status = SDT_OK;
    for (int i = 0; i < 2 && status == SDT_OK; i++) {
        int32_t id = sdt__bpe_find(&t->bpe, names[i]);
        struct around *around = i ? &t->behind : &t->before;
        if (id < 0)
            status = sdt_fail(err, SDT_ERROR_UNSUPPORTED,
                              "%s: there is no %s; of vocabularies with merges, CLIP's are read",
                              sdt__path_tail(path), names[i]);
        around->id[around->count++] = id;
        json_array_append_new(list, json_pack("{s:s, s:i, s:b}", "content", names[i], "id", (int)id,
                                              "normalized", 0));
    }
    if (status == SDT_OK)
        status = json_array_size(list) == 2
                     ? sdt__added_tokens_read(path, list, &t->added, err)
                     : sdt_fail(err, SDT_ERROR_MEMORY, "%s: no memory for the added tokens",
                                sdt__path_tail(path));
    json_decref(list);
    return status;
}

enum sdt_status sdt__bpe_open_vocab(const char *vocab, const char *merges,
                                    struct sdt_tokenizer **out, struct sdt_error *err) {
    struct bpe_tokenizer *t;
    json_t *json = NULL;
    enum sdt_status status = new_tokenizer(vocab, &t, err);
#define NEXT(call)                                                                                 \
    if (status == SDT_OK)                                                                          \
    status = (call)
    NEXT(sdt__json_load(vocab, (size_t)16 << 20, &limits, &json, err));
    NEXT(read_vocabulary(vocab, json, t, err));
    if (status == SDT_OK)
        strcpy(t->bpe.suffix, "</w>");
    NEXT(take_pattern(vocab, CLIP_PIECES, false, t, err));
    NEXT(clip_tokens(vocab, t, err));
    if (status == SDT_OK) {
        t->compose = t->spaces = t->lower = true;
        t->bpe.unknown = sdt__bpe_find(&t->bpe, "<|endoftext|>");
    }
    NEXT(read_lines(merges, t, err));
#undef NEXT
    json_decref(json);
    return hand_out(t, status, out);
}

static void bpe_close(struct sdt_tokenizer *base) {
    struct bpe_tokenizer *t = (struct bpe_tokenizer *)base;
    pcre2_code_free(t->cut);
    sdt__bpe_clear(&t->bpe);
    sdt__added_tokens_free(&t->added);
    free(t);
}

/* ---- encoding -------------------------------------------------------------------------------- */

static enum sdt_status no_memory(struct sdt_error *err) {
    return sdt_fail(err, SDT_ERROR_MEMORY, "no memory for a prompt's tokens");
}

/* The pieces of text [size], normalised. */
static enum sdt_status put_pieces(const struct bpe_tokenizer *t, const char *text, size_t size,
                                  struct sdt__ids *out, struct sdt_error *err) {
    pcre2_match_data *match = pcre2_match_data_create(1, NULL);
    bool good = match != NULL;
    PCRE2_SIZE at = 0;
    int found = 0;
    while (good && at < size) {
        found = pcre2_match(t->cut, (PCRE2_SPTR)text, size, at, at ? PCRE2_NO_UTF_CHECK : 0, match,
                            NULL);
        if (found < 0)
            break;
        const PCRE2_SIZE *bounds = pcre2_get_ovector_pointer(match);
        good = sdt__bpe_encode(&t->bpe, text + bounds[0], bounds[1] - bounds[0], out);
        at = bounds[1];
    }
    pcre2_match_data_free(match);
    if (!good || found == PCRE2_ERROR_NOMEMORY)
        return no_memory(err);
    if (found < 0 && found != PCRE2_ERROR_NOMATCH)
        return sdt_fail(err, SDT_ERROR_USAGE,
                        "a prompt that is no UTF-8, or whose pieces have no "
                        "end (PCRE2's error %d)",
                        found);
    return SDT_OK;
}

/* Lower case of a code point, which is two for one of them. */
static int lower_of(utf8proc_int32_t code, utf8proc_int32_t out[2]) {
    out[0] = code == 0x130 ? 'i' : utf8proc_tolower(code);
    out[1] = 0x307;
    return code == 0x130 ? 2 : 1;
}

static enum sdt_status no_utf8(struct sdt_error *err) {
    return sdt_fail(err, SDT_ERROR_USAGE, "a prompt that is no UTF-8");
}

/* text [size] with white space and letters as this tokenizer wants them, *out malloc'ed, with a NUL
 * behind it. */
static enum sdt_status write_normal(const struct bpe_tokenizer *t, const char *text, size_t size,
                                    char **out, size_t *length, struct sdt_error *err) {
    char *to = malloc(3 * size + 1); /* two code points for two bytes take no more */
    *out = to;
    *length = 0;
    if (!to)
        return no_memory(err);
    for (size_t at = 0; at < size;) {
        size_t space = t->spaces ? sdt__space_at(text + at, size - at) : 0;
        /* Python's white space has four more, separators of ASCII. */
        if (space && (unsigned char)text[at] >= 0x1c && (unsigned char)text[at] < 0x20)
            space = 0;
        if (space) {
            if (at == 0 || to[*length - 1] != ' ')
                to[(*length)++] = ' ';
            at += space;
            continue;
        }
        utf8proc_int32_t code, lower[2];
        utf8proc_ssize_t n = utf8proc_iterate((const utf8proc_uint8_t *)text + at,
                                              (utf8proc_ssize_t)(size - at), &code);
        if (n < 1)
            return no_utf8(err);
        int count = t->lower ? lower_of(code, lower) : 1;
        for (int i = 0; i < count; i++)
            *length += (size_t)utf8proc_encode_char(t->lower ? lower[i] : code,
                                                    (utf8proc_uint8_t *)to + *length);
        at += (size_t)n;
    }
    to[*length] = '\0';
    return SDT_OK;
}

/* The same, composed before where it wants that. *out: also after a failure, or NULL. */
static enum sdt_status normalise(const struct bpe_tokenizer *t, const char *text, size_t size,
                                 char **out, size_t *length, struct sdt_error *err) {
    utf8proc_uint8_t *composed = NULL;
    *out = NULL;
    if (t->compose) {
        utf8proc_ssize_t n = utf8proc_map((const utf8proc_uint8_t *)text, (utf8proc_ssize_t)size,
                                          &composed, UTF8PROC_STABLE | UTF8PROC_COMPOSE);
        if (n < 0)
            return n == UTF8PROC_ERROR_NOMEM ? no_memory(err) : no_utf8(err);
        text = (const char *)composed;
        size = (size_t)n;
    }
    enum sdt_status status = write_normal(t, text, size, out, length, err);
    free(composed);
    return status;
}

static enum sdt_status put_text(const struct bpe_tokenizer *t, const char *text, size_t size,
                                bool normalised, struct sdt__ids *out, struct sdt_error *err);

/* What lies between two added tokens that are looked for in the text as it is. */
static enum sdt_status put_between(const struct bpe_tokenizer *t, const char *text, size_t size,
                                   struct sdt__ids *out, struct sdt_error *err) {
    char *normal;
    size_t length = 0;
    if (size == 0)
        return SDT_OK;
    enum sdt_status status = normalise(t, text, size, &normal, &length, err);
    if (status == SDT_OK)
        status = put_text(t, normal, length, true, out, err);
    free(normal);
    return status;
}

/* Cuts at the added tokens that are looked for in text as it is, or as it is normalised. */
static enum sdt_status put_text(const struct bpe_tokenizer *t, const char *text, size_t size,
                                bool normalised, struct sdt__ids *out, struct sdt_error *err) {
    enum sdt_status status = SDT_OK;
    size_t part = 0, at = 0;
    while (at <= size && status == SDT_OK) {
        const struct sdt__added_token *token =
            at < size ? sdt__added_token_at(&t->added, text + at, size - at) : NULL;
        bool here = at == size || (token && token->normalized == normalised);
        if (!here) {
            at++;
            continue;
        }
        size_t stop = at;
        while (token && token->lstrip && stop > part &&
               sdt__space_before(text + part, stop - part) > 0)
            stop -= sdt__space_before(text + part, stop - part);
        status = normalised ? put_pieces(t, text + part, stop - part, out, err)
                            : put_between(t, text + part, stop - part, out, err);
        if (!token)
            break;
        sdt__ids_append(out, token->id);
        at += token->length;
        while (token->rstrip && at < size && sdt__space_at(text + at, size - at) > 0)
            at += sdt__space_at(text + at, size - at);
        part = at;
    }
    return status == SDT_OK && out->no_memory ? no_memory(err) : status;
}

static enum sdt_status bpe_encode(const struct sdt_tokenizer *base, const char *text, int capacity,
                                  int32_t *ids, int *count, int *total, struct sdt_error *err) {
    const struct bpe_tokenizer *t = (const struct bpe_tokenizer *)base;
    int around = t->before.count + t->behind.count;
    struct sdt__ids found = {0};

    if (capacity < around || capacity < 1)
        return sdt_fail(err, SDT_ERROR_USAGE,
                        "room for %d ids: this tokenizer puts %d around each "
                        "prompt",
                        capacity, around);
    enum sdt_status status = put_text(t, text, strlen(text), false, &found, err);
    if (status == SDT_OK && found.count > INT32_MAX / 2)
        status =
            sdt_fail(err, SDT_ERROR_LIMIT, "the prompt has more than %d tokens", INT32_MAX / 2);
    if (status == SDT_OK) {
        int all = (int)found.count, kept = all < capacity - around ? all : capacity - around;
        memcpy(ids, t->before.id, (size_t)t->before.count * sizeof *ids);
        if (kept > 0)
            memcpy(ids + t->before.count, found.ids, (size_t)kept * sizeof *ids);
        memcpy(ids + t->before.count + kept, t->behind.id, (size_t)t->behind.count * sizeof *ids);
        *count = kept + around;
        if (total)
            *total = all + around;
    }
    free(found.ids);
    return status;
}

#else /* without PCRE2 and utf8proc */

static enum sdt_status without(struct sdt_error *err) {
    return sdt_fail(
        err, SDT_ERROR_UNSUPPORTED,
        "stardit was built without PCRE2 and reads no byte-level BPE tokenizers (LLaMA, "
        "CLIP); give --token-ids or --prompt-embeds");
}

enum sdt_status sdt__bpe_open(const char *path, json_t *json, struct sdt_tokenizer **tokenizer,
                              struct sdt_error *err) {
    (void)path, (void)json;
    *tokenizer = NULL;
    return without(err);
}

enum sdt_status sdt__bpe_open_vocab(const char *vocab, const char *merges,
                                    struct sdt_tokenizer **tokenizer, struct sdt_error *err) {
    (void)vocab, (void)merges;
    *tokenizer = NULL;
    return without(err);
}

#endif

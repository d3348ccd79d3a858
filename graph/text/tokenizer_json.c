/* tokenizer.json to sentencepiece; see tokenizer_json.h.
 *
 * The tokenizers library and sentencepiece describe one algorithm in two ways:
 *   Precompiled                          the character map, in base64
 *   Strip and Replace " {2,}", or WhitespaceSplit   remove_extra_whitespaces
 *   Metaspace                            spaces as U+2581, and add_dummy_prefix
 *   Unigram                              the pieces
 * Added tokens become control pieces: they have ids, but text never matches them inside the model.
 */
#define _GNU_SOURCE
#include "graph/text/tokenizer_json.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "graph/checkpoint/untrusted.h"

#define METASPACE "\xe2\x96\x81" /* U+2581 */
#define MAX_ID ((1 << 24) - 1)
#define TOKENIZER_JSON_LIMIT ((size_t)64 << 20)

static const struct sdt__json_limits tokenizer_limits = {.depth = 32, .values = 5000000};

enum sdt_status sdt__tokenizer_json_load(const char *path, json_t **root, struct sdt_error *err) {
    return sdt__json_load(path, TOKENIZER_JSON_LIMIT, &tokenizer_limits, root, err);
}

/* What the normaliser and the pre-tokenizer add up to. */
struct pipeline {
    const char *charsmap; /* base64, or NULL */
    size_t charsmap_length;
    bool strips, collapses; /* ends; runs of spaces */
    bool metaspace, splits; /* spaces become U+2581; pieces never cross one */
    enum sdt__prefix prefix;
};

static const char *type_of(const json_t *object) {
    const char *type = json_string_value(json_object_get(object, "type"));
    return type ? type : "(no type)";
}

static bool string_is(const json_t *value, const char *text) {
    const char *string = json_string_value(value);
    return string && strcmp(string, text) == 0;
}

static enum sdt_status unsupported(const char *path, const char *what, const char *which,
                                   struct sdt_error *err) {
    return sdt_fail(err, SDT_ERROR_UNSUPPORTED, "%s: %s '%.*s' is not supported",
                    sdt__path_tail(path), what, SDT__NAME_SHOWN, which);
}

/* ---- normaliser and pre-tokenizer ------------------------------------------------------------ */

typedef enum sdt_status reader(const char *path, const json_t *json, const char *type,
                               struct pipeline *pipeline, struct sdt_error *err);

/* One step by `read`, or each part of a Sequence, which lists them under `key`; none is fine. The
 * depth of the file is bounded (tokenizer_limits). */
static enum sdt_status read_steps(const char *path, const json_t *json, const char *key,
                                  reader *read, struct pipeline *pipeline, struct sdt_error *err) {
    enum sdt_status status = SDT_OK;
    const json_t *part;
    size_t i;

    if (!json || json_is_null(json))
        return SDT_OK;
    const char *type = type_of(json);
    if (strcmp(type, "Sequence") != 0)
        return read(path, json, type, pipeline, err);
    json_array_foreach(json_object_get(json, key), i, part) {
        status = read_steps(path, part, key, read, pipeline, err);
        if (status != SDT_OK)
            break;
    }
    return status;
}

static enum sdt_status read_normalizer(const char *path, const json_t *json, const char *type,
                                       struct pipeline *pipeline, struct sdt_error *err) {
    if (strcmp(type, "Precompiled") == 0) {
        const json_t *map = json_object_get(json, "precompiled_charsmap");

        if (pipeline->charsmap)
            return unsupported(path, "a second normalizer", type, err);
        if (map && !json_is_null(map) && !json_is_string(map))
            return sdt_fail(err, SDT_ERROR_FORMAT, "%s: precompiled_charsmap is not a string",
                            sdt__path_tail(path));
        pipeline->charsmap = json_string_value(map);
        pipeline->charsmap_length = json_string_length(map);
    } else if (strcmp(type, "Strip") == 0) {
        pipeline->strips |= json_is_true(json_object_get(json, "strip_right"));
    } else if (strcmp(type, "Replace") == 0 &&
               string_is(json_object_get(json_object_get(json, "pattern"), "Regex"), " {2,}") &&
               (string_is(json_object_get(json, "content"), METASPACE) ||
                string_is(json_object_get(json, "content"), " "))) {
        pipeline->collapses = true;
    } else {
        return unsupported(path, "normalizer", type, err);
    }
    return SDT_OK;
}

static enum sdt_status read_prefix(const char *path, const json_t *json, struct pipeline *pipeline,
                                   struct sdt_error *err) {
    static const char *const schemes[] = {"always", "first", "never"};
    const json_t *scheme = json_object_get(json, "prepend_scheme");

    if (!scheme || json_is_null(scheme)) { /* files older than the key */
        pipeline->prefix = json_is_false(json_object_get(json, "add_prefix_space"))
                               ? SDT__PREFIX_NEVER
                               : SDT__PREFIX_ALWAYS;
        return SDT_OK;
    }
    for (int i = SDT__PREFIX_ALWAYS; i <= SDT__PREFIX_NEVER; i++)
        if (string_is(scheme, schemes[i])) {
            pipeline->prefix = (enum sdt__prefix)i;
            return SDT_OK;
        }
    return unsupported(path, "prepend_scheme",
                       json_is_string(scheme) ? json_string_value(scheme) : "(not a string)", err);
}

static enum sdt_status read_pre_tokenizer(const char *path, const json_t *json, const char *type,
                                          struct pipeline *pipeline, struct sdt_error *err) {
    if (strcmp(type, "WhitespaceSplit") == 0) {
        pipeline->strips = pipeline->collapses = true;
        pipeline->splits = true;
        return SDT_OK;
    }
    if (strcmp(type, "Metaspace") == 0) {
        const json_t *split = json_object_get(json, "split");

        if (!string_is(json_object_get(json, "replacement"), METASPACE))
            return unsupported(path, "pre_tokenizer", "Metaspace with a replacement of its own",
                               err);
        pipeline->metaspace = true;
        pipeline->splits |= !split || !json_is_false(split);
        return read_prefix(path, json, pipeline, err);
    }
    return unsupported(path, "pre_tokenizer", type, err);
}

/* ---- base64 ---------------------------------------------------------------------------------- */

static int base64_digit(unsigned char c) {
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* Decodes into bytes [length / 4 * 3]; false if it is not base64. */
static bool base64_decode(const char *text, size_t length, unsigned char *bytes, size_t *size) {
    size_t used = 0;
    int padding = 0;

    if (length % 4 != 0)
        return false;
    for (size_t i = 0; i < length; i += 4) {
        uint32_t group = 0;

        for (size_t j = 0; j < 4; j++) {
            const int digit = base64_digit((unsigned char)text[i + j]);

            if (digit < 0 && !(text[i + j] == '=' && i + 4 == length && j >= 2))
                return false;
            if (digit >= 0 && padding > 0)
                return false;
            padding += digit < 0;
            group = group << 6 | (uint32_t)(digit < 0 ? 0 : digit);
        }
        for (int j = 0; j < 3 - padding; j++)
            bytes[used++] = (unsigned char)(group >> (16 - 8 * j));
    }
    *size = used;
    return true;
}

/* ---- pieces ---------------------------------------------------------------------------------- */

/* sentencepiece's name of a byte piece: <0x00> to <0xFF>. */
static bool is_byte_piece(const char *text, size_t length) {
    const char *const digits = "0123456789ABCDEF";
    return length == 6 && memcmp(text, "<0x", 3) == 0 && text[5] == '>' &&
           memchr(digits, text[3], 16) && memchr(digits, text[4], 16);
}

/* A piece with a U+2581 behind its first character cannot match where text is split there. */
static bool crosses_space(const char *text, size_t length) {
    return length > 3 && memmem(text + 1, length - 1, METASPACE, 3) != NULL;
}

/* Marks the pieces that are added tokens: flags [count] of the vocabulary. */
static void mark_added(const json_t *added, const json_t *vocabulary, bool *flags) {
    const json_t *token;
    size_t i;

    json_array_foreach(added, i, token) {
        const json_int_t id = json_integer_value(json_object_get(token, "id"));
        const json_t *content = json_object_get(token, "content");

        if (id >= 0 && (uint64_t)id < json_array_size(vocabulary) && json_is_string(content) &&
            json_equal(content, json_array_get(json_array_get(vocabulary, (size_t)id), 0)))
            flags[id] = true;
    }
}

static enum sdt_status add_pieces(const char *path, const json_t *root,
                                  const struct pipeline *pipeline, struct sdt__bytes *model,
                                  struct sdt_error *err) {
    const char *shown = sdt__path_tail(path);
    const json_t *json = json_object_get(root, "model");
    const json_t *vocabulary = json_object_get(json, "vocab");
    const json_t *unknown = json_object_get(json, "unk_id");
    const bool bytes = json_is_true(json_object_get(json, "byte_fallback"));
    enum sdt_status status = SDT_OK;
    bool *added;
    const json_t *entry;
    size_t i;

    if (json_object_get(json, "type") && !string_is(json_object_get(json, "type"), "Unigram"))
        return sdt_fail(err, SDT_ERROR_UNSUPPORTED,
                        "%s: a model of type %.*s; only Unigram is supported", shown,
                        SDT__NAME_SHOWN, type_of(json));
    if (!json_is_array(vocabulary))
        return sdt_fail(err, SDT_ERROR_FORMAT, "%s: model.vocab is not a list", shown);
    if (!json_is_integer(unknown) || json_integer_value(unknown) < 0 ||
        (uint64_t)json_integer_value(unknown) >= json_array_size(vocabulary))
        return sdt_fail(err, SDT_ERROR_FORMAT, "%s: model.unk_id is not the id of a piece", shown);

    added = calloc(json_array_size(vocabulary), sizeof *added);
    if (!added)
        return sdt_fail(err, SDT_ERROR_MEMORY, "%s: no memory for the tokenizer", shown);
    mark_added(json_object_get(root, "added_tokens"), vocabulary, added);

    json_array_foreach(vocabulary, i, entry) {
        const json_t *piece = json_array_get(entry, 0), *score = json_array_get(entry, 1);
        const char *text = json_string_value(piece);
        const size_t length = json_string_length(piece);
        enum sdt__piece_type type = SDT__PIECE_NORMAL;

        if (json_array_size(entry) != 2 || !text || !json_is_number(score)) {
            status = sdt_fail(err, SDT_ERROR_FORMAT,
                              "%s: entry %zu of model.vocab is not [text, number]", shown, i);
            break;
        }
        if (i == (size_t)json_integer_value(unknown))
            type = SDT__PIECE_UNKNOWN;
        else if (bytes && is_byte_piece(text, length))
            type = SDT__PIECE_BYTE;
        else if (added[i])
            type = SDT__PIECE_CONTROL;
        else if (pipeline->splits && crosses_space(text, length))
            type = SDT__PIECE_UNUSED;
        sdt__unigram_add_piece(model, text, length, (float)json_number_value(score), type);
    }
    sdt__unigram_add_trainer(model, bytes);
    free(added);
    return status;
}

enum sdt_status sdt__tokenizer_json_model(const char *path, const json_t *root,
                                          struct sdt__bytes *model, enum sdt__prefix *prefix,
                                          struct sdt_error *err) {
    const char *shown = sdt__path_tail(path);
    const json_t *processor = json_object_get(root, "post_processor");
    struct pipeline pipeline = {0};
    struct sdt__normalizer normalizer = {0};
    unsigned char *charsmap = NULL;
    enum sdt_status status;

    *model = (struct sdt__bytes){0};
    if (!json_is_object(json_object_get(root, "model")))
        return sdt_fail(err, SDT_ERROR_FORMAT, "%s: there is no object 'model'", shown);
    status = read_steps(path, json_object_get(root, "normalizer"), "normalizers", read_normalizer,
                        &pipeline, err);
    if (status == SDT_OK)
        status = read_steps(path, json_object_get(root, "pre_tokenizer"), "pretokenizers",
                            read_pre_tokenizer, &pipeline, err);
    if (status != SDT_OK)
        goto out;
    if (!pipeline.metaspace) {
        status = unsupported(path, "pre_tokenizer", "anything without Metaspace", err);
        goto out;
    }
    if (pipeline.strips && !pipeline.collapses) {
        status = unsupported(path, "normalizer", "Strip without Replace", err);
        goto out;
    }
    if (processor && !json_is_null(processor) &&
        strcmp(type_of(processor), "TemplateProcessing") != 0) {
        status = unsupported(path, "post_processor", type_of(processor), err);
        goto out;
    }

    if (pipeline.charsmap_length > 0) {
        charsmap = malloc(pipeline.charsmap_length);
        if (!charsmap) {
            status = sdt_fail(err, SDT_ERROR_MEMORY, "%s: no memory for the tokenizer", shown);
            goto out;
        }
        if (!base64_decode(pipeline.charsmap, pipeline.charsmap_length, charsmap,
                           &normalizer.charsmap_size)) {
            status =
                sdt_fail(err, SDT_ERROR_FORMAT, "%s: precompiled_charsmap is not base64", shown);
            goto out;
        }
    }
    normalizer.charsmap = charsmap;
    normalizer.add_dummy_prefix = pipeline.prefix != SDT__PREFIX_NEVER;
    normalizer.remove_extra_whitespaces = pipeline.collapses;

    status = add_pieces(path, root, &pipeline, model, err);
    if (status != SDT_OK)
        goto out;
    sdt__unigram_add_normalizer(model, &normalizer);
    if (model->no_memory)
        status = sdt_fail(err, SDT_ERROR_MEMORY, "%s: no memory for the tokenizer", shown);
    *prefix = pipeline.prefix;

out:
    free(charsmap);
    if (status != SDT_OK) {
        free(model->bytes);
        *model = (struct sdt__bytes){0};
    }
    return status;
}

/* ---- added tokens ---------------------------------------------------------------------------- */

void sdt__added_tokens_free(struct sdt__added_tokens *added) {
    for (size_t i = 0; i < added->count; i++)
        free(added->tokens[i].text);
    free(added->tokens);
    *added = (struct sdt__added_tokens){0};
}

const struct sdt__added_token *sdt__added_token_at(const struct sdt__added_tokens *added,
                                                   const char *text, size_t length) {
    for (size_t i = 0; i < added->count; i++) {
        const struct sdt__added_token *token = &added->tokens[i];
        if (token->text[0] == text[0] && token->length <= length &&
            memcmp(text, token->text, token->length) == 0)
            return token;
    }
    return NULL;
}

/* Room for `count` tokens in an empty list. */
static bool reserve(struct sdt__added_tokens *added, size_t count) {
    added->tokens = calloc(count ? count : 1, sizeof *added->tokens);
    return added->tokens != NULL;
}

static bool append(struct sdt__added_tokens *added, const char *text, int32_t id, bool lstrip,
                   bool rstrip) {
    struct sdt__added_token *token = &added->tokens[added->count];

    *token = (struct sdt__added_token){
        .text = strdup(text), .length = strlen(text), .id = id, .lstrip = lstrip, .rstrip = rstrip};
    if (!token->text)
        return false;
    added->count++;
    return true;
}

static int longest_first(const void *a, const void *b) {
    const struct sdt__added_token *x = a, *y = b;
    if (x->length != y->length)
        return x->length < y->length ? 1 : -1;
    return strcmp(x->text, y->text);
}

static enum sdt_status read_token(const char *path, const json_t *json, json_int_t id,
                                  struct sdt__added_tokens *added, struct sdt_error *err) {
    const char *shown = sdt__path_tail(path);
    const char *text = json_string_value(json_object_get(json, "content"));

    if (!text || text[0] == '\0')
        return sdt_fail(err, SDT_ERROR_FORMAT, "%s: an added token has no content", shown);
    if (id < 0 || id > MAX_ID)
        return sdt_fail(err, SDT_ERROR_FORMAT, "%s: added token '%.*s' has no id within 0 to %d",
                        shown, SDT__NAME_SHOWN, text, MAX_ID);
    if (json_is_true(json_object_get(json, "single_word")))
        return sdt_fail(err, SDT_ERROR_UNSUPPORTED,
                        "%s: added token '%.*s' has single_word = true, which is not supported",
                        shown, SDT__NAME_SHOWN, text);
    if (!append(added, text, (int32_t)id, json_is_true(json_object_get(json, "lstrip")),
                json_is_true(json_object_get(json, "rstrip"))))
        return sdt_fail(err, SDT_ERROR_MEMORY, "%s: no memory for the added tokens", shown);
    added->tokens[added->count - 1].normalized = json_is_true(json_object_get(json, "normalized"));
    return SDT_OK;
}

/* A key of added_tokens_decoder as an id; -1 if it is not a plain number. */
static json_int_t id_of_key(const char *key) {
    json_int_t id = 0;

    if (key[0] == '\0')
        return -1;
    for (; *key; key++) {
        if (*key < '0' || *key > '9' || id > MAX_ID)
            return -1;
        id = id * 10 + (*key - '0');
    }
    return id;
}

enum sdt_status sdt__added_tokens_read(const char *path, const json_t *value,
                                       struct sdt__added_tokens *added, struct sdt_error *err) {
    const char *shown = sdt__path_tail(path);
    enum sdt_status status = SDT_OK;
    const json_t *token;
    const char *key;
    size_t i;

    *added = (struct sdt__added_tokens){0};
    if (value && !json_is_null(value) && !json_is_array(value) && !json_is_object(value))
        return sdt_fail(err, SDT_ERROR_FORMAT, "%s: the added tokens are not a list", shown);
    if (!reserve(added, json_is_array(value) ? json_array_size(value) : json_object_size(value)))
        return sdt_fail(err, SDT_ERROR_MEMORY, "%s: no memory for the added tokens", shown);
    if (json_is_array(value)) {
        json_array_foreach(value, i, token) {
            const json_t *id = json_object_get(token, "id");
            status = read_token(path, token, json_is_integer(id) ? json_integer_value(id) : -1,
                                added, err);
            if (status != SDT_OK)
                return status;
        }
    } else {
        json_object_foreach((json_t *)value, key, token) {
            if ((status = read_token(path, token, id_of_key(key), added, err)) != SDT_OK)
                return status;
        }
    }
    qsort(added->tokens, added->count, sizeof *added->tokens, longest_first);
    for (i = 1; i < added->count; i++)
        if (strcmp(added->tokens[i - 1].text, added->tokens[i].text) == 0)
            return sdt_fail(err, SDT_ERROR_FORMAT,
                            "%s: added token '%.*s' is there twice, with ids %d and %d", shown,
                            SDT__NAME_SHOWN, added->tokens[i].text, added->tokens[i - 1].id,
                            added->tokens[i].id);
    return SDT_OK;
}

static bool listed(const struct sdt__added_tokens *added, const char *text) {
    for (size_t i = 0; i < added->count; i++)
        if (strcmp(added->tokens[i].text, text) == 0)
            return true;
    return false;
}

enum sdt_status sdt__added_tokens_complete(struct sdt__added_tokens *added, int pieces, int extra,
                                           int (*find)(const void *model, const char *piece),
                                           const void *model, struct sdt_error *err) {
    static const char *const names[] = {"<pad>", "</s>", "<unk>"};
    const size_t name_count = sizeof names / sizeof *names;
    struct sdt__added_token *grown =
        realloc(added->tokens, (added->count + (size_t)extra + name_count) * sizeof *grown);
    char name[32];

    if (!grown)
        goto no_memory;
    added->tokens = grown;
    for (int i = 0; i < extra; i++) {
        snprintf(name, sizeof name, "<extra_id_%d>", i);
        if (!listed(added, name) && !append(added, name, pieces + extra - 1 - i, true, true))
            goto no_memory;
    }
    for (size_t i = 0; i < name_count; i++) {
        const int id = find(model, names[i]);
        if (id >= 0 && !listed(added, names[i]) && !append(added, names[i], id, false, false))
            goto no_memory;
    }
    qsort(added->tokens, added->count, sizeof *added->tokens, longest_first);
    return SDT_OK;

no_memory:
    return sdt_fail(err, SDT_ERROR_MEMORY, "no memory for the added tokens");
}

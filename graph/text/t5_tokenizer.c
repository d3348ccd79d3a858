/* T5-family tokenizer: opens its folder, cuts text at the added tokens and gives what lies
 * between them to sentencepiece, as T5TokenizerFast does (the class that Wan's pipeline names). */
#define _GNU_SOURCE
#include "graph/text/tokenizer_kind.h"

#ifdef HAVE_CONFIG_H
#include <config.h> /* the one of configure; in quotes it would be the one beside this file */
#endif

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "graph/checkpoint/untrusted.h"
#include "graph/text/text.h"
#include "graph/text/tokenizer_json.h"
#include "graph/text/unigram.h"

#ifdef HAVE_SENTENCEPIECE
#include "graph/text/sentencepiece.h"
#endif

struct t5 {
    struct sdt_tokenizer tokenizer;
    struct sdt__sentencepiece *model;
    struct sdt__sentencepiece *bare; /* adds no space before the first word; only PREFIX_FIRST */
    enum sdt__prefix prefix;
    struct sdt__added_tokens added;
    int32_t end; /* </s> */
};

#ifdef HAVE_SENTENCEPIECE

#define MODEL_LIMIT ((size_t)64 << 20)
#define CONFIG_LIMIT ((size_t)16 << 20)
#define MAX_EXTRA_IDS 10000
#define T5_EXTRA_IDS 100

static void t5_close(struct sdt_tokenizer *tokenizer);
static enum sdt_status t5_encode(const struct sdt_tokenizer *base, const char *text, int capacity,
                                 int32_t *ids, int *count, int *total, struct sdt_error *err);
static const struct sdt__tokenizer_kind t5_kind = {.close = t5_close, .encode = t5_encode};

static const struct sdt__json_limits config_limits = {.depth = 32, .values = 1000000};

/* The paths and files of a folder while it is being opened. */
struct opening {
    char *model_path, *json_path, *config_path; /* NULL: there is no such file */
    const void *given;                          /* [given_size] in place of all files, or NULL */
    size_t given_size;
    struct sdt__map map;
    struct sdt__bytes model; /* a copy, or made from tokenizer.json */
    json_t *json, *config;   /* NULL: not there, or not read */
};

static int find_piece(const void *model, const char *piece) {
    return sdt__sentencepiece_id(model, piece);
}

/* Reads model bytes and prefix rule from spiece.model, else from tokenizer.json. */
static enum sdt_status read_model(struct opening *open, struct t5 *tokenizer, const char *folder,
                                  const char **path, struct sdt_error *err) {
    enum sdt_status status = open->given ? SDT_OK
                             : open->model_path
                                 ? sdt__map_file(open->model_path, MODEL_LIMIT, &open->map, err)
                                 : SDT_ERROR_MISSING;

    *path = open->given ? folder : open->model_path;
    if (status == SDT_OK) {
        sdt__bytes_append(&open->model, open->given ? open->given : open->map.bytes,
                          open->given ? open->given_size : open->map.size);
        if (open->model.no_memory)
            return sdt_fail(err, SDT_ERROR_MEMORY, "%s: no memory to read it",
                            sdt__path_tail(*path));
        tokenizer->prefix = SDT__PREFIX_ALWAYS;
        if (json_is_false(json_object_get(open->config, "add_prefix_space"))) {
            tokenizer->prefix = SDT__PREFIX_NEVER;
            sdt__unigram_drop_prefix(&open->model);
        } else if (json_is_false(json_object_get(open->config, "legacy"))) {
            tokenizer->prefix = SDT__PREFIX_FIRST;
        }
        return SDT_OK;
    }
    if (status != SDT_ERROR_MISSING)
        return status;

    *path = open->json_path;
    status = open->json ? SDT_OK : sdt__tokenizer_json_load(open->json_path, &open->json, err);
    if (status == SDT_ERROR_MISSING)
        return sdt_fail(err, SDT_ERROR_MISSING,
                        "%s: there is neither spiece.model nor tokenizer.json",
                        sdt__path_tail(folder));
    if (status != SDT_OK)
        return status;
    return sdt__tokenizer_json_model(open->json_path, open->json, &open->model, &tokenizer->prefix,
                                     err);
}

/* tokenizer_config.json knows best, then tokenizer.json; a bare spiece.model has T5's own. */
static enum sdt_status read_added(struct opening *open, struct t5 *tokenizer,
                                  struct sdt_error *err) {
    const json_t *decoder = json_object_get(open->config, "added_tokens_decoder");
    const json_t *extra = json_object_get(open->config, "extra_ids");
    json_int_t extra_ids = 0;
    enum sdt_status status = SDT_OK;

    if (json_object_size(decoder) == 0 && !open->json && open->json_path) {
        status = sdt__tokenizer_json_load(open->json_path, &open->json, err);
        if (status == SDT_ERROR_MISSING)
            status = SDT_OK;
    }
    if (status != SDT_OK)
        return status;
    if (json_object_size(decoder) > 0) {
        status = sdt__added_tokens_read(open->config_path, decoder, &tokenizer->added, err);
    } else if (open->json) {
        decoder = json_object_get(open->json, "added_tokens");
        status = sdt__added_tokens_read(open->json_path, decoder, &tokenizer->added, err);
    } else {
        extra_ids = extra && !json_is_null(extra) ? json_integer_value(extra) : T5_EXTRA_IDS;
        if ((extra && !json_is_null(extra) && !json_is_integer(extra)) || extra_ids < 0 ||
            extra_ids > MAX_EXTRA_IDS)
            status = sdt_fail(err, SDT_ERROR_FORMAT, "%s: extra_ids is not a number from 0 to %d",
                              sdt__path_tail(open->config_path), MAX_EXTRA_IDS);
    }
    if (status != SDT_OK)
        return status;
    return sdt__added_tokens_complete(&tokenizer->added,
                                      sdt__sentencepiece_pieces(tokenizer->model), (int)extra_ids,
                                      find_piece, tokenizer->model, err);
}

/* Vocabulary and </s>. */
static enum sdt_status finish(struct t5 *tokenizer, const char *path, struct sdt_error *err) {
    tokenizer->tokenizer.vocabulary = sdt__sentencepiece_pieces(tokenizer->model);
    tokenizer->end = sdt__sentencepiece_id(tokenizer->model, "</s>");
    for (size_t i = 0; i < tokenizer->added.count; i++) {
        const struct sdt__added_token *token = &tokenizer->added.tokens[i];

        if (token->id >= tokenizer->tokenizer.vocabulary)
            tokenizer->tokenizer.vocabulary = token->id + 1;
        if (strcmp(token->text, "</s>") == 0)
            tokenizer->end = token->id;
    }
    if (tokenizer->end < 0)
        return sdt_fail(err, SDT_ERROR_UNSUPPORTED, "%s: the tokenizer has no </s>; not a T5 one",
                        sdt__path_tail(path));
    return SDT_OK;
}

/* Opens what `open` names, and frees that. `folder` stands for it in messages. */
static enum sdt_status open_tokenizer(const char *folder, struct opening *open,
                                      struct sdt_tokenizer **result, struct sdt_error *err) {
    struct t5 *tokenizer = calloc(1, sizeof *tokenizer);
    const char *path = NULL, *shown;
    enum sdt_status status = SDT_OK;

    if (!tokenizer) {
        status = sdt_fail(err, SDT_ERROR_MEMORY, "%s: no memory to open the tokenizer",
                          sdt__path_tail(folder));
        goto out;
    }
    tokenizer->tokenizer.kind = &t5_kind;
    if (open->config_path)
        status =
            sdt__json_load(open->config_path, CONFIG_LIMIT, &config_limits, &open->config, err);
    if (status != SDT_OK && status != SDT_ERROR_MISSING)
        goto out;

    status = read_model(open, tokenizer, folder, &path, err);
    if (status != SDT_OK)
        goto out;
    shown = sdt__path_tail(path);
    status = sdt__unigram_check(shown, open->model.bytes, open->model.size, err);
    if (status == SDT_OK)
        status = sdt__sentencepiece_open(shown, open->model.bytes, open->model.size,
                                         &tokenizer->model, err);
    if (status == SDT_OK && tokenizer->prefix == SDT__PREFIX_FIRST) {
        sdt__unigram_drop_prefix(&open->model);
        status = open->model.no_memory
                     ? sdt_fail(err, SDT_ERROR_MEMORY, "%s: no memory for the tokenizer", shown)
                     : sdt__sentencepiece_open(shown, open->model.bytes, open->model.size,
                                               &tokenizer->bare, err);
    }
    if (status == SDT_OK)
        status = read_added(open, tokenizer, err);
    if (status == SDT_OK)
        status = finish(tokenizer, path, err);

out:
    json_decref(open->json);
    json_decref(open->config);
    free(open->model.bytes);
    sdt__unmap(&open->map);
    free(open->model_path);
    free(open->json_path);
    free(open->config_path);
    if (status == SDT_OK)
        *result = &tokenizer->tokenizer;
    else if (tokenizer)
        t5_close(&tokenizer->tokenizer);
    return status;
}

/* The paths of a folder, or of a file and what lies beside it; false: out of memory. */
static bool find_files(const char *path, struct opening *open) {
    struct stat info;
    const char *slash = strrchr(path, '/');
    const size_t length = strlen(path);

    if (stat(path, &info) != 0 || S_ISDIR(info.st_mode)) {
        open->model_path = sdt__path_join(path, "spiece.model");
        open->json_path = sdt__path_join(path, "tokenizer.json");
        open->config_path = sdt__path_join(path, "tokenizer_config.json");
        return open->model_path && open->json_path && open->config_path;
    }
    bool json = length > 5 && strcmp(path + length - 5, ".json") == 0;
    char *folder = strdup(slash ? path : "./");
    if (folder)
        *(strrchr(folder, '/') + 1) = '\0';
    *(json ? &open->json_path : &open->model_path) = strdup(path);
    if (folder && !json)
        open->json_path = sdt__path_join(folder, "tokenizer.json");
    if (folder)
        open->config_path = sdt__path_join(folder, "tokenizer_config.json");
    free(folder);
    return open->json_path && open->config_path && (json || open->model_path);
}

enum sdt_status sdt__t5_open(const char *path, json_t *json, struct sdt_tokenizer **result,
                             struct sdt_error *err) {
    struct opening open = {.json = json};

    *result = NULL;
    if (!find_files(path, &open)) {
        free(open.model_path);
        free(open.json_path);
        free(open.config_path);
        json_decref(json);
        return sdt_fail(err, SDT_ERROR_MEMORY, "%s: no memory to open the tokenizer",
                        sdt__path_tail(path));
    }
    return open_tokenizer(path, &open, result, err);
}

enum sdt_status sdt__t5_open_bytes(const char *name, const void *bytes, size_t size,
                                   struct sdt_tokenizer **result, struct sdt_error *err) {
    struct opening open = {.given = bytes, .given_size = size};

    *result = NULL;
    if (size == 0 || size > MODEL_LIMIT)
        return sdt_fail(err, SDT_ERROR_FORMAT, "%s: a tokenizer of %zu bytes, 1 to %zu can be read",
                        sdt__path_tail(name), size, MODEL_LIMIT);
    return open_tokenizer(name, &open, result, err);
}

static void t5_close(struct sdt_tokenizer *base) {
    struct t5 *tokenizer = (struct t5 *)base;
    sdt__sentencepiece_close(tokenizer->model);
    sdt__sentencepiece_close(tokenizer->bare);
    sdt__added_tokens_free(&tokenizer->added);
    free(tokenizer);
}

/* ---- encoding ---------------------------------------------------------------------------------
 */

/* The ids of one prompt as they come: the first `capacity` are kept, all are counted. */
struct output {
    int32_t *ids; /* [capacity] */
    size_t capacity, total;
};

static void put(struct output *out, int32_t id) {
    if (out->total < out->capacity)
        out->ids[out->total] = id;
    out->total++;
}

/* Encodes the text between two added tokens. */
static enum sdt_status put_part(const struct t5 *tokenizer, const char *text, size_t length,
                                bool first, struct output *out, struct sdt_error *err) {
    const bool prefixed =
        tokenizer->prefix != SDT__PREFIX_FIRST || first || sdt__space_at(text, length) > 0;
    int32_t *ids = NULL;
    size_t count = 0;
    enum sdt_status status;

    if (length == 0)
        return SDT_OK;
    status = sdt__sentencepiece_encode(prefixed ? tokenizer->model : tokenizer->bare, text, length,
                                       &ids, &count, err);
    for (size_t i = 0; status == SDT_OK && i < count; i++)
        put(out, ids[i]);
    free(ids);
    return status;
}

static enum sdt_status t5_encode(const struct sdt_tokenizer *base, const char *text, int capacity,
                                 int32_t *ids, int *count, int *total, struct sdt_error *err) {
    const struct t5 *tokenizer = (const struct t5 *)base;
    const char *const begin = text, *const end = text + strlen(text);
    struct output out = {.ids = ids};
    const char *part = text;
    enum sdt_status status;

    if (capacity < 1)
        return sdt_fail(err, SDT_ERROR_USAGE, "room for %d ids: a prompt has at least </s>",
                        capacity);
    out.capacity = (size_t)capacity - 1;
    while (text < end) {
        const struct sdt__added_token *token =
            sdt__added_token_at(&tokenizer->added, text, (size_t)(end - text));

        if (!token) {
            text++;
            continue;
        }
        const char *stop = text;
        if (token->lstrip)
            while (stop > part && sdt__space_before(part, (size_t)(stop - part)) > 0)
                stop -= sdt__space_before(part, (size_t)(stop - part));
        status = put_part(tokenizer, part, (size_t)(stop - part), part == begin, &out, err);
        if (status != SDT_OK)
            return status;
        put(&out, token->id);
        text += token->length;
        if (token->rstrip)
            while (text < end && sdt__space_at(text, (size_t)(end - text)) > 0)
                text += sdt__space_at(text, (size_t)(end - text));
        part = text;
    }
    status = put_part(tokenizer, part, (size_t)(end - part), part == begin, &out, err);
    if (status != SDT_OK)
        return status;
    if (out.total >= INT32_MAX)
        return sdt_fail(err, SDT_ERROR_LIMIT, "the prompt has more than %d tokens", INT32_MAX);

    const size_t kept = out.total < out.capacity ? out.total : out.capacity;
    ids[kept] = tokenizer->end;
    *count = (int)kept + 1;
    if (total)
        *total = (int)out.total + 1;
    return SDT_OK;
}

#else /* without sentencepiece */

static enum sdt_status without(struct sdt_error *err) {
    return sdt_fail(err, SDT_ERROR_UNSUPPORTED,
                    "stardit was built without sentencepiece and reads no text prompts; "
                    "give --token-ids or --prompt-embeds");
}

enum sdt_status sdt__t5_open(const char *path, json_t *json, struct sdt_tokenizer **result,
                             struct sdt_error *err) {
    (void)path;
    json_decref(json);
    *result = NULL;
    return without(err);
}

enum sdt_status sdt__t5_open_bytes(const char *name, const void *bytes, size_t size,
                                   struct sdt_tokenizer **result, struct sdt_error *err) {
    (void)name, (void)bytes, (void)size;
    *result = NULL;
    return without(err);
}

#endif

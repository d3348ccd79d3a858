/* Which kind of tokenizer a folder holds; see tokenizer.h. */
#define _GNU_SOURCE
#include "graph/text/tokenizer.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "graph/checkpoint/untrusted.h"
#include "graph/text/tokenizer_json.h"
#include "graph/text/tokenizer_kind.h"

static bool is_there(const char *path) { return path && access(path, F_OK) == 0; }

/* Older files leave the model's type out; merges tell it. */
static bool is_bpe(const json_t *json) {
    const json_t *model = json_object_get(json, "model");
    const char *type = json_string_value(json_object_get(model, "type"));
    return type ? strcmp(type, "BPE") == 0 : json_object_get(model, "merges") != NULL;
}

/* A tokenizer.json at `json`, of the tokenizer at `path`. */
static enum sdt_status open_json(const char *path, const char *json,
                                 struct sdt_tokenizer **tokenizer, struct sdt_error *err) {
    json_t *root = NULL;
    enum sdt_status status = sdt__tokenizer_json_load(json, &root, err);
    if (status != SDT_OK)
        return status;
    if (!is_bpe(root))
        return sdt__t5_open(path, root, tokenizer, err);
    status = sdt__bpe_open(json, root, tokenizer, err);
    json_decref(root);
    return status;
}

enum sdt_status sdt_tokenizer_open(const char *path, struct sdt_tokenizer **tokenizer,
                                   struct sdt_error *err) {
    struct stat info;
    const size_t length = strlen(path);
    enum sdt_status status;

    *tokenizer = NULL;
    if (stat(path, &info) == 0 && !S_ISDIR(info.st_mode)) {
        bool json = length > 5 && strcmp(path + length - 5, ".json") == 0;
        return json ? open_json(path, path, tokenizer, err)
                    : sdt__t5_open(path, NULL, tokenizer, err);
    }
    char *model = sdt__path_join(path, "spiece.model"),
         *json = sdt__path_join(path, "tokenizer.json");
    char *vocab = sdt__path_join(path, "vocab.json"), *merges = sdt__path_join(path, "merges.txt");
    if (!model || !json || !vocab || !merges)
        status = sdt_fail(err, SDT_ERROR_MEMORY, "%s: no memory to open the tokenizer",
                          sdt__path_tail(path));
    else if (!is_there(model) && is_there(json))
        status = open_json(path, json, tokenizer, err);
    else if (!is_there(model) && is_there(vocab))
        status = sdt__bpe_open_vocab(vocab, merges, tokenizer, err);
    else
        status = sdt__t5_open(path, NULL, tokenizer, err);
    free(model);
    free(json);
    free(vocab);
    free(merges);
    return status;
}

enum sdt_status sdt_tokenizer_open_bytes(const char *name, const void *bytes, size_t size,
                                         struct sdt_tokenizer **tokenizer, struct sdt_error *err) {
    return sdt__t5_open_bytes(name, bytes, size, tokenizer, err);
}

void sdt_tokenizer_close(struct sdt_tokenizer *tokenizer) {
    if (tokenizer)
        tokenizer->kind->close(tokenizer);
}

int sdt_tokenizer_vocabulary(const struct sdt_tokenizer *tokenizer) {
    return tokenizer->vocabulary;
}

enum sdt_status sdt_tokenize(const struct sdt_tokenizer *tokenizer, const char *text, int capacity,
                             int32_t *ids, int *count, int *total, struct sdt_error *err) {
    return tokenizer->kind->encode(tokenizer, text, capacity, ids, count, total, err);
}

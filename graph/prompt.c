/* What a request says to each text encoder of a pipeline: which input counts, the family's template
 * around a prompt, and how long it may be. */
#define _GNU_SOURCE
#include "graph/pipeline.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "graph/text/tokenizer.h"

struct sdt_text_input sdt__text_input(const struct sdt_request *r, int branch, int encoder) {
    const struct sdt_stored *const embeds[2][2] = {
        {r->prompt_embeds, r->pooled_prompt_embeds},
        {r->negative_prompt_embeds, r->negative_pooled_prompt_embeds}};
    const int32_t *const ids[2] = {r->token_ids, r->token_ids_2};
    const int count[2] = {r->token_count, r->token_count_2};
    const char *text = branch ? r->negative_prompt : r->prompt;
    struct sdt_text_input input = {.embeds = embeds[branch][encoder], .text = text ? text : ""};
    if (!input.embeds && !branch) {
        input.ids = ids[encoder];
        input.count = ids[encoder] ? count[encoder] : 0;
    }
    return input;
}

/* ---- length ---------------------------------------------------------------------------------- */

int sdt__text_dropped(const struct sdt_pipeline *pipeline, int encoder) {
    return pipeline->family->prompt[encoder].dropped;
}

int sdt__text_capacity(const struct sdt_pipeline *pipeline, const struct sdt_request *request,
                       int encoder) {
    const struct sdt_text_template *form = &pipeline->family->prompt[encoder];
    const struct sdt_text *text = pipeline->text[encoder];
    int longest = form->longest ? form->longest : request->max_sequence_length + form->dropped;
    return text && text->positions && longest > text->positions ? text->positions : longest;
}

double sdt__text_flops(const struct sdt_pipeline *pipeline, const struct sdt_request *request,
                       int encoder, int rows) {
    const struct sdt_text *text = pipeline->text[encoder];
    int capacity = sdt__text_capacity(pipeline, request, encoder);
    int tokens = rows + sdt__text_dropped(pipeline, encoder);
    return text ? text->kind->flops(text, tokens < capacity ? tokens : capacity) : 0.0;
}

double sdt__text_bytes(const struct sdt_pipeline *pipeline, const struct sdt_request *request,
                       enum sdt_device_kind kind, enum sdt_dtype dtype, int workers) {
    double most = 0.0;
    for (int i = 0; i < 2 && pipeline->text[i]; i++) {
        const struct sdt_text *text = pipeline->text[i];
        int capacity = sdt__text_capacity(pipeline, request, i);
        bool read = !sdt__text_input(request, 0, i).embeds ||
                    (sdt_pipeline_forwards(pipeline, request) > 1 &&
                     !sdt__text_input(request, 1, i).embeds);
        if (read && text->kind->bytes)
            most = fmax(most, text->kind->bytes(text, kind, dtype, workers, capacity));
    }
    return most;
}

/* ---- text ------------------------------------------------------------------------------------ */

/* The prompt cleaned and in its template: malloc'ed. */
static enum sdt_status put_in_form(const struct sdt_pipeline *pipeline, int encoder, bool negative,
                                   const char *prompt, char **text, struct sdt_error *err) {
    const struct sdt_text_template *form = &pipeline->family->prompt[encoder];
    const struct sdt_text_kind *kind = pipeline->text[encoder]->kind;
    bool bare = negative && form->bare_negative;
    char *cleaned = NULL;
    enum sdt_status status = kind->clean ? kind->clean(prompt, &cleaned, err) : SDT_OK;

    *text = NULL;
    if (status == SDT_OK &&
        asprintf(text, "%s%s%s", !bare && form->before ? form->before : "",
                 cleaned ? cleaned : prompt, !bare && form->after ? form->after : "") < 0) {
        *text = NULL;
        status = sdt_fail(err, SDT_ERROR_MEMORY, "out of memory while encoding the prompt");
    }
    free(cleaned);
    return status;
}

enum sdt_status sdt__text_ids(const struct sdt_pipeline *pipeline, int encoder, bool negative,
                              const char *prompt, int capacity, int32_t *ids, int *count,
                              int *total, struct sdt_error *err) {
    char *text = NULL;
    const struct sdt_text *encodes = pipeline->text[encoder];
    if (pipeline->imagined && !pipeline->tokenizer[encoder]) { /* nobody reads the ids but an end */
        int about = sdt__text_dropped(pipeline, encoder) + (int)(strlen(prompt) / 4) + 2;
        *count = about < capacity ? about : capacity;
        memset(ids, 0, (size_t)*count * sizeof *ids);
        if (encodes && *count > 0)
            ids[*count - 1] = encodes->end;
        if (total)
            *total = about;
        return SDT_OK;
    }
    enum sdt_status status = put_in_form(pipeline, encoder, negative, prompt, &text, err);
    if (status == SDT_OK)
        status = sdt_tokenize(pipeline->tokenizer[encoder], text, capacity, ids, count, total, err);
    free(text);
    return status;
}

int sdt_pipeline_tokens(const struct sdt_pipeline *pipeline, const char *prompt) {
    int32_t ids[2];
    int count, total = 0;
    if (!prompt || !pipeline->tokenizer[0] || !pipeline->text[0] ||
        sdt__text_ids(pipeline, 0, false, prompt, 2, ids, &count, &total, NULL) != SDT_OK)
        return 0;
    total -= sdt__text_dropped(pipeline, 0);
    return total > 0 ? total : 0;
}

/* ---- checks ---------------------------------------------------------------------------------- */

/* States of the first encoder: [rows, width], rank 2, or 3 behind a 1. */
static enum sdt_status check_states(const struct sdt_stored *embeds, int width,
                                    struct sdt_error *err) {
    int rank = embeds->rank;
    if (rank < 2 || rank > 3 || (rank == 3 && embeds->shape[0] != 1) ||
        embeds->shape[rank - 1] != width || embeds->shape[rank - 2] < 1 ||
        embeds->shape[rank - 2] > 4096)
        return sdt_fail(err, SDT_ERROR_USAGE,
                        "prompt embeddings %s: the shape must be [rows, %d] or [1, rows, %d] with "
                        "1 to 4096 rows",
                        embeds->name, width, width);
    return SDT_OK;
}

/* The one row of the second encoder: [width], or behind a 1. */
static enum sdt_status check_pooled(const struct sdt_stored *embeds, int width,
                                    struct sdt_error *err) {
    int rank = embeds->rank;
    if (!width)
        return sdt_fail(err, SDT_ERROR_USAGE,
                        "pooled prompt embeddings %s: this model has one text encoder, without any",
                        embeds->name);
    if (rank < 1 || rank > 2 || (rank == 2 && embeds->shape[0] != 1) ||
        embeds->shape[rank - 1] != width)
        return sdt_fail(err, SDT_ERROR_USAGE,
                        "pooled prompt embeddings %s: the shape must be [%d] or [1, %d]",
                        embeds->name, width, width);
    return SDT_OK;
}

static enum sdt_status check_branch(const struct sdt_pipeline *pipeline,
                                    const struct sdt_request *request, int branch,
                                    struct sdt_error *err) {
    const struct sdt_dit *dit = pipeline->dit;
    enum sdt_status status = SDT_OK;
    for (int i = 0; i < 2 && status == SDT_OK; i++) {
        struct sdt_text_input input = sdt__text_input(request, branch, i);
        int dropped = sdt__text_dropped(pipeline, i);
        int capacity = sdt__text_capacity(pipeline, request, i);
        if (input.embeds)
            status = i ? check_pooled(input.embeds, dit->pooled_dim, err)
                       : check_states(input.embeds, dit->text_dim, err);
        else if (input.ids && i >= dit->texts)
            status = sdt_fail(err, SDT_ERROR_USAGE,
                              "token ids of a second text encoder: this model has one");
        else if (input.ids && (input.count <= dropped || input.count > capacity))
            status = sdt_fail(err, SDT_ERROR_USAGE,
                              "%d token ids%s; %d to %d work, the maximum sequence length%s",
                              input.count, i ? " of the second text encoder" : "", dropped + 1,
                              capacity, dropped ? " behind the template's" : "");
    }
    return status;
}

enum sdt_status sdt__check_prompt(const struct sdt_pipeline *pipeline,
                                  const struct sdt_request *request, struct sdt_error *err) {
    struct sdt_text_input first = sdt__text_input(request, 0, 0);
    struct sdt_text_input second = sdt__text_input(request, 0, 1);
    enum sdt_status status = check_branch(pipeline, request, 0, err);
    if (status == SDT_OK)
        status = check_branch(pipeline, request, 1, err);
    if (status != SDT_OK || pipeline->dit->texts < 2 || request->steps == 0)
        return status;
    if (!request->prompt && (first.embeds || first.ids) && !second.embeds && !second.ids)
        return sdt_fail(err, SDT_ERROR_USAGE,
                        "the model reads its prompt through two text encoders, and %s are given "
                        "for the first alone; pooled prompt embeddings or token ids for the second "
                        "(--token-ids-2) would work",
                        first.embeds ? "embeddings" : "token ids");
    if (!request->negative_prompt_embeds != !request->negative_pooled_prompt_embeds)
        return sdt_fail(err, SDT_ERROR_USAGE,
                        "negative prompt embeddings and pooled ones go together: the model reads "
                        "its prompt through two text encoders");
    return SDT_OK;
}

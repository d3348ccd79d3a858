/* Tokens of a prompt, and the text encoder's states of them. */
#include "graph/jobs/job.h"

#include <stdlib.h>

#include "graph/checkpoint/finite.h"
#include "graph/text/tokenizer.h"

/* Given embeddings: all-zero rows at the end are padding. */
static enum sdt_status given(struct sdt_flow *flow, const struct sdt_stored *embeds, int width,
                             struct sdt_text_states *states, float **values,
                             struct sdt_error *err) {
    enum sdt_status status = sdt_stored_check_finite("prompt embeddings", embeds, err);
    if (status == SDT_OK)
        status = sdt_stored_floats(embeds, values, err);
    if (status != SDT_OK)
        return status;
    int all = (int)embeds->shape[embeds->rank - 2];
    states->rows = all;
    for (bool zero = true; zero && states->rows > 1;) {
        const float *row = *values + (size_t)(states->rows - 1) * (size_t)width;
        for (int i = 0; zero && i < width; i++)
            zero = row[i] == 0.0f;
        states->rows -= zero;
    }
    states->pad_rows = all - states->rows;
    states->handle =
        sdt__host_vector(flow, *values, (size_t)states->rows * (size_t)width, "text states");
    if (!states->handle && err)
        *err = flow->error;
    return flow->error.status;
}

static enum sdt_status encode(struct sdt_job *job, struct sdt_flow *flow, const int32_t *ids,
                              int count, struct sdt_text_states *states, struct sdt_error *err) {
    struct sdt_service *service = job->service;
    struct sdt_text *text = service->pipeline->text;
    int length = job->request.max_sequence_length;

    states->rows = count;
    states->pad_rows = length > count ? length - count : 0;
    states->handle = sdt__vector(flow, (size_t)count * (size_t)text->width, "text states");
    if (!states->handle) {
        if (err)
            *err = flow->error;
        return flow->error.status;
    }
    return text->kind->encode(flow, text, service->machine, service->text_place,
                              service->text_dtype, ids, count, states->handle, err);
}

static enum sdt_status tokenize_and_encode(struct sdt_job *job, struct sdt_flow *flow,
                                           const char *prompt, struct sdt_text_states *states,
                                           struct sdt_error *err) {
    struct sdt_pipeline *pipeline = job->service->pipeline;
    int length = job->request.max_sequence_length, count = 0;
    char *cleaned = NULL;
    int32_t *ids = calloc((size_t)length, sizeof *ids);
    enum sdt_status status =
        ids ? pipeline->text->kind->clean(prompt, &cleaned, err)
            : sdt_fail(err, SDT_ERROR_MEMORY, "out of memory while encoding the prompt");
    if (status == SDT_OK)
        status = sdt_tokenize(pipeline->tokenizer, cleaned, length, ids, &count, NULL, err);
    if (status == SDT_OK)
        status = encode(job, flow, ids, count, states, err);
    free(cleaned);
    free(ids);
    return status;
}

enum sdt_status sdt__text_states(struct sdt_job *job, struct sdt_flow *flow, int branch,
                                 struct sdt_error *err) {
    const struct sdt_request *request = &job->request;
    struct sdt_text_states *states = &job->states[branch];
    const struct sdt_stored *embeds =
        branch ? request->negative_prompt_embeds : request->prompt_embeds;

    flow->tag.branch = branch;
    if (embeds)
        return given(flow, embeds, job->service->pipeline->dit->text_dim, states,
                     &job->text_values[branch], err);
    if (!branch && request->token_ids)
        return encode(job, flow, request->token_ids, request->token_count, states, err);
    const char *prompt = branch ? request->negative_prompt : request->prompt;
    return tokenize_and_encode(job, flow, prompt ? prompt : "", states, err);
}

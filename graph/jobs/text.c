/* Tokens of a prompt, and the text encoders' states of them. */
#include "graph/jobs/job.h"

#include <stdlib.h>

#include <starpu.h>

#include "graph/checkpoint/finite.h"

/* Given embeddings: all-zero rows at the end are padding. */
static enum sdt_status given(struct sdt_flow *flow, const struct sdt_stored *embeds, int width,
                             struct sdt_text_states *states, float **values,
                             struct sdt_error *err) {
    enum sdt_status status = sdt_stored_check_finite("prompt embeddings", embeds, err);
    if (status == SDT_OK)
        status = sdt_stored_floats(embeds, values, err);
    if (status != SDT_OK)
        return status;
    int all = (int)(embeds->count / (size_t)width);
    states->rows = all;
    for (bool zero = true; zero && states->rows > 1;) {
        const float *row = *values + (size_t)(states->rows - 1) * (size_t)width;
        for (int i = 0; zero && i < width; i++)
            zero = row[i] == 0.0f;
        states->rows -= zero;
    }
    states->pad_rows = all - states->rows;
    states->handle = /* every rank has read them */
        sdt__register(flow, flow->each, SDT_F32, (size_t)states->rows * (size_t)width, *values,
                      "text states");
    if (!states->handle && err)
        *err = flow->error;
    return flow->error.status;
}

static enum sdt_status encode(struct sdt_job *job, struct sdt_flow *flow, int encoder,
                              const int32_t *ids, int count, struct sdt_text_states *states,
                              struct sdt_error *err) {
    struct sdt_service *service = job->service;
    const struct sdt_pipeline *pipeline = service->pipeline;
    struct sdt_text *text = pipeline->text[encoder];
    int dropped = sdt__text_dropped(pipeline, encoder);
    int capacity = sdt__text_capacity(pipeline, &job->request, encoder);

    if (count <= dropped)
        return sdt_fail(err, SDT_ERROR_FORMAT,
                        "%s: the prompt has %d tokens within its template, whose first %d are left "
                        "out; is the tokenizer this encoder's?",
                        sdt_weights_folder(text->weights), count, dropped);
    states->rows = sdt_text_rows(text, count, dropped);
    if (pipeline->family->prompt[encoder].padding_counts && capacity > count)
        states->pad_rows = capacity - count;
    states->handle = sdt__vector(flow, (size_t)states->rows * (size_t)text->width, "text states");
    if (!states->handle) {
        if (err)
            *err = flow->error;
        return flow->error.status;
    }
    struct sdt_fast_phases *known = sdt__fast_phases(service->fast);
    if (known && known->text[encoder] > 0.0) {
        sdt__fast_stand_in(flow, SDT_ROLE_TEXT, "text", service->text_place, 1,
                           known->text[encoder], NULL, states->handle);
        return sdt__flow_wait(flow, err);
    }
    bool there = text->kept != NULL;
    double start = sdt__now();
    enum sdt_status status =
        text->kind->encode(flow, text, service->machine, service->text_place, service->text_dtype,
                           ids, count, dropped, states->handle, err);
    if (known && there && status == SDT_OK)
        known->text[encoder] = sdt__now() - start;
    return status;
}

static enum sdt_status tokenize_and_encode(struct sdt_job *job, struct sdt_flow *flow, int branch,
                                           int encoder, const char *prompt,
                                           struct sdt_text_states *states, struct sdt_error *err) {
    const struct sdt_pipeline *pipeline = job->service->pipeline;
    int capacity = sdt__text_capacity(pipeline, &job->request, encoder), count = 0;
    int32_t *ids = calloc((size_t)capacity, sizeof *ids);
    enum sdt_status status =
        ids ? sdt__text_ids(pipeline, encoder, branch > 0, prompt, capacity, ids, &count, NULL, err)
            : sdt_fail(err, SDT_ERROR_MEMORY, "out of memory while encoding the prompt");
    if (status == SDT_OK)
        status = encode(job, flow, encoder, ids, count, states, err);
    free(ids);
    return status;
}

enum sdt_status sdt__text_states(struct sdt_job *job, struct sdt_flow *flow, int branch,
                                 struct sdt_error *err) {
    const struct sdt_dit *dit = job->service->pipeline->dit;
    enum sdt_status status = SDT_OK;

    flow->tag.branch = branch;
    for (int i = 0; i < dit->texts && status == SDT_OK; i++) {
        struct sdt_text_input input = sdt__text_input(&job->request, branch, i);
        struct sdt_text_states *states = &job->states[branch][i];
        if (input.embeds)
            status = given(flow, input.embeds, i ? dit->pooled_dim : dit->text_dim, states,
                           &job->text_values[branch][i], err);
        else if (input.ids)
            status = encode(job, flow, i, input.ids, input.count, states, err);
        else
            status = tokenize_and_encode(job, flow, branch, i, input.text, states, err);
    }
    return status;
}

/* ---- weights --------------------------------------------------------------------------------- */

/* What else the encoders' device comes to hold, bytes. */
static double beside_encoders(const struct sdt_job *job) {
    const struct sdt_service *service = job->service;
    const struct sdt_pipeline *pipeline = service->pipeline;
    const struct sdt_request *request = &job->request;
    const struct sdt_place *place = service->text_place;
    double bytes = 0.0;
    for (int v = 0; v < service->vae.devices; v++)
        if (service->vae.place[v].device == place->device)
            bytes += sdt__decode_bytes(service, request, &service->vae.place[v], 1, 0);
    if (!service->placement.text_with_vae || service->shared)
        bytes += (double)sdt_dtype_size(service->kinds.dit_dtype) *
                 (double)sdt_weights_parameters(pipeline->dit->weights);
    return bytes;
}

/* Prompts whose text is still to come. */
static int to_come(struct sdt_service *service, const struct sdt_job *but) {
    int count = 0;
    starpu_pthread_mutex_lock(&service->mutex);
    for (struct sdt_job *job = service->first; job; job = job->next)
        count += job != but && job->phase == SDT_JOB_TEXT;
    starpu_pthread_mutex_unlock(&service->mutex);
    return count;
}

/* On GPUs, where bringing them takes longer than using them, and of two groups: one group takes
 * turns. A quarter of the memory is left to buffers. */
void sdt__text_keep(struct sdt_job *job) {
    struct sdt_service *service = job->service;
    const struct sdt_pipeline *pipeline = service->pipeline;
    double room = sdt__place_room(service->text_place), bytes = 0.0;
    for (int i = 0; i < 2 && pipeline->text[i]; i++)
        bytes += (double)sdt_dtype_size(service->text_dtype) *
                 (double)sdt_weights_parameters(pipeline->text[i]->weights);
    bool keep = service->two && service->text_place->kind == SDT_DEVICE_CUDA &&
                to_come(service, job) > 0 &&
                (room <= 0.0 || bytes + beside_encoders(job) < 0.75 * room);
    for (int i = 0; i < 2 && pipeline->text[i]; i++)
        pipeline->text[i]->keep = keep;
}

void sdt__text_unload(struct sdt_service *service) {
    for (int i = 0; i < 2; i++)
        sdt_text_let_go(service->pipeline->text[i]);
}

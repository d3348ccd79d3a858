/* Jobs whose video is denoised in blocks: an iteration of the queue in the place of a step. */
#include <stdlib.h>
#include <string.h>

#include "graph/jobs/job.h"

/* Values of a frame in one channel. */
static size_t frame_size(const struct sdt_result *r) {
    return (size_t)r->latent_height * (size_t)r->latent_width;
}

static size_t input_size(const struct sdt_job *job) {
    return (size_t)job->result.channels * (size_t)sdt_blocks_frames(&job->blocks.q) *
           frame_size(&job->result);
}

static void tell_frame(void *arg, int done, int total) { sdt__tell(arg, "decode", done, total); }

/* A block's own frames that are wanted: of the last one not all may be. */
static int own_frames(const struct sdt_job *job, int block) {
    const struct sdt_blocks *q = &job->blocks.q;
    const int own = sdt_blocks_own(q, block);
    const int count = sdt_blocks_frames(q) - own;
    const int left = job->result.latent_frames - sdt_blocks_first(q, block) - own;
    return count < left ? count : left;
}

/* Frames of the video that are made of the latent's up to number `latents`. */
static int video_frames(const struct sdt_job *job, int latents) {
    return latents > 0 ? job->service->pipeline->vae->time_ratio * (latents - 1) + 1 : 0;
}

/* The first frame of the video that is a block's. */
static int first_frame(const struct sdt_job *job, int block) {
    const struct sdt_blocks *q = &job->blocks.q;
    return video_frames(job, sdt_blocks_first(q, block) + sdt_blocks_own(q, block));
}

static int frames_of(const struct sdt_job *job, int block) {
    const struct sdt_blocks *q = &job->blocks.q;
    const int first = sdt_blocks_first(q, block) + sdt_blocks_own(q, block);
    return video_frames(job, first + own_frames(job, block)) - first_frame(job, block);
}

enum sdt_status sdt__blocks_begin(struct sdt_job *job, struct sdt_error *err) {
    struct sdt_job_blocks *b = &job->blocks;
    const struct sdt_request *request = &job->request;
    const size_t count = (size_t)b->q.count, size = input_size(job);

    b->latent = calloc((size_t)sdt_blocks_most(&b->q), sizeof *b->latent);
    b->values = calloc(count, sizeof *b->values);
    b->whole = calloc(count, sizeof *b->whole);
    b->pixels = calloc(count, sizeof *b->pixels);
    b->video = calloc(count, sizeof *b->video);
    b->noise = malloc(size * sizeof *b->noise);
    b->order = calloc(2 * (size_t)sdt_blocks_frames(&b->q), sizeof *b->order);
    if (!b->pixels || !b->video || !b->latent || !b->values || !b->whole || !b->noise || !b->order)
        return sdt_fail(err, SDT_ERROR_MEMORY, "out of memory for %d blocks", b->q.count);
    if (request->latents) /* of one block */
        memcpy(b->noise, request->latents, size * sizeof *b->noise);
    else
        sdt_randn(request->seed, size, b->noise);
    sdt_noise_pool_init(&b->pool, &b->q, request->seed, b->order);
    job->teller->blocks = b->q.count;
    if (!request->streamed)
        return SDT_OK;
    const struct sdt_service *service = job->service;
    struct sdt_vae *vae = service->pipeline->vae;
    struct sdt_vae_job decode = sdt__vae_job(service->pipeline, request);
    decode.dtype = service->kinds.vae_dtype;
    decode.place = service->vae.place;
    decode.devices = service->vae.devices;
    decode.frame_done = tell_frame;
    decode.frame_done_arg = job->teller;
    b->stream = vae->kind->stream(vae, service->machine, &decode, err);
    return b->stream ? SDT_OK : SDT_ERROR_MEMORY;
}

/* Of all blocks together: how many steps they have done on the mean. */
static void tell_block(void *arg, int step, int steps) {
    struct sdt_teller *teller = arg;
    int done = atomic_fetch_add(&teller->block_steps, 1) + 1;
    (void)step;
    if (done % teller->blocks == 0)
        sdt__tell(teller, "denoise", done / teller->blocks, steps);
}

/* The next block, with its noise. */
static void enter(struct sdt_job *job, struct sdt_flow *flow, struct sdt_run *run, int block) {
    struct sdt_job_blocks *b = &job->blocks;
    const int most = sdt_blocks_most(&b->q), frames = sdt_blocks_frames(&b->q);
    const size_t frame = frame_size(&job->result);
    struct sdt_latent *latent = &b->latent[block % most];
    float *values = malloc(input_size(job) * sizeof *values);

    if (!values) {
        if (flow->error.status == SDT_OK)
            sdt_fail(&flow->error, SDT_ERROR_MEMORY, "out of memory for a block of %d frames",
                     frames);
        return;
    }
    if (block > 0)
        sdt_noise_pool_next(&b->pool);
    for (int c = 0; c < job->result.channels; c++)
        for (int f = 0; f < frames; f++)
            memcpy(values + (size_t)(c * frames + f) * frame,
                   b->noise + (size_t)(c * frames + b->order[f]) * frame, frame * sizeof *values);
    if (latent->tiles_done) /* of one that nothing looks at any more */
        sdt_latent_clear(latent);
    b->values[block] = values;
    b->whole[block] = sdt__host_vector(flow, values, input_size(job), "latent");
    sdt_latent_init(flow, latent, &run->layout, sdt_patch_of(run->dit, run->geometry), 0,
                    b->q.steps, tell_block, job->teller);
    if (flow->error.status == SDT_OK)
        sdt_latent_scatter(flow, latent, 0, SDT_SOLVER_X, b->whole[block]);
}

/* A block that has all steps behind it: its frames of the video, beside the others' steps. */
static void decode(struct sdt_job *job, struct sdt_flow *flow, int block) {
    struct sdt_job_blocks *b = &job->blocks;
    const struct sdt_result *r = &job->result;
    const size_t pixels = 3 * (size_t)frames_of(job, block) * (size_t)r->height * (size_t)r->width;
    b->pixels[block] = calloc(pixels, sizeof **b->pixels);
    if (!b->pixels[block]) {
        if (flow->error.status == SDT_OK)
            sdt_fail(&flow->error, SDT_ERROR_MEMORY, "no memory for %d frames",
                     frames_of(job, block));
        return;
    }
    b->video[block] = sdt__host_vector(flow, b->pixels[block], pixels, "video");
    job->service->pipeline->vae->kind->stream_push(
        flow, b->stream, b->whole[block], sdt_blocks_frames(&b->q), sdt_blocks_own(&b->q, block),
        own_frames(job, block), b->video[block]);
    b->pushed = block + 1;
}

/* A block's own frames to the result's latent. */
static void collect(struct sdt_job *job, int block) {
    struct sdt_job_blocks *b = &job->blocks;
    struct sdt_result *r = &job->result;
    const int frames = sdt_blocks_frames(&b->q), own = sdt_blocks_own(&b->q, block);
    const int first = sdt_blocks_first(&b->q, block) + own;
    const size_t frame = frame_size(r);
    sdt__unregister(b->whole[block]); /* brings it home */
    b->whole[block] = NULL;
    for (int c = 0; c < r->channels; c++)
        memcpy(r->latent + (size_t)(c * r->latent_frames + first) * frame,
               b->values[block] + (size_t)(c * frames + own) * frame,
               (size_t)own_frames(job, block) * frame * sizeof *r->latent);
    free(b->values[block]);
    b->values[block] = NULL;
}

void sdt__blocks_hand_out(struct sdt_job *job, int end) {
    struct sdt_job_blocks *b = &job->blocks;
    const struct sdt_job_options *o = &job->options;
    for (; b->out < end && b->out < b->pushed; b->out++) {
        sdt__unregister(b->video[b->out]);
        b->video[b->out] = NULL;
        if (o->frames)
            o->frames(o->frames_arg, o->number, first_frame(job, b->out), frames_of(job, b->out),
                      b->pixels[b->out]);
        free(b->pixels[b->out]);
        b->pixels[b->out] = NULL;
        if (o->save_latent) {
            collect(job, b->out);
        } else {
            sdt__unregister(b->whole[b->out]);
            b->whole[b->out] = NULL;
            free(b->values[b->out]);
            b->values[b->out] = NULL;
        }
    }
}

void sdt__blocks_iteration(struct sdt_job *job, struct sdt_flow *flow, struct sdt_run *run) {
    struct sdt_job_blocks *b = &job->blocks;
    const int k = job->step, left = k - b->q.steps + 1; /* the block that has all steps behind it */
    /* What was inserted two iterations ago has ended. */
    if (b->stream && sdt__halt_status(&job->halt, NULL) == SDT_OK)
        sdt__blocks_hand_out(job, left - 1);
    if (k < b->q.count)
        enter(job, flow, run, k);
    if (flow->error.status != SDT_OK)
        return;
    sdt_latent_iteration(flow, run, &job->sampler,
                         sdt__guidance(job->service->pipeline, &job->request), &b->q, k, b->latent);
    if (left >= 0)
        sdt_latent_gather(flow, &b->latent[left % sdt_blocks_most(&b->q)], b->q.steps, SDT_SOLVER_X,
                          b->whole[left]);
    if (left >= 0 && b->stream)
        decode(job, flow, left);
}

void sdt__blocks_collect(struct sdt_job *job) {
    struct sdt_job_blocks *b = &job->blocks;
    if (b->stream)
        sdt__blocks_hand_out(job, b->q.count);
    for (int i = 0; !b->stream && i < b->q.count; i++)
        collect(job, i);
}

void sdt__blocks_free(struct sdt_job *job) {
    struct sdt_job_blocks *b = &job->blocks;
    for (int i = 0; b->latent && i < sdt_blocks_most(&b->q); i++)
        if (b->latent[i].tiles_done)
            sdt_latent_clear(&b->latent[i]);
    for (int i = 0; b->whole && b->values && i < b->q.count; i++) {
        sdt__unregister(b->whole[i]);
        free(b->values[i]);
    }
    for (int i = 0; b->video && b->pixels && i < b->q.count; i++) {
        sdt__unregister(b->video[i]);
        free(b->pixels[i]);
    }
    if (b->stream)
        job->service->pipeline->vae->kind->stream_free(b->stream);
    free(b->pixels);
    free(b->video);
    free(b->latent);
    free(b->values);
    free(b->whole);
    free(b->noise);
    free(b->order);
    *b = (struct sdt_job_blocks){.q = {.count = 0}};
}

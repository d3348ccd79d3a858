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

enum sdt_status sdt__blocks_begin(struct sdt_job *job, struct sdt_error *err) {
    struct sdt_job_blocks *b = &job->blocks;
    const struct sdt_request *request = &job->request;
    const size_t count = (size_t)b->q.count, size = input_size(job);

    b->latent = calloc((size_t)sdt_blocks_most(&b->q), sizeof *b->latent);
    b->values = calloc(count, sizeof *b->values);
    b->whole = calloc(count, sizeof *b->whole);
    b->noise = malloc(size * sizeof *b->noise);
    b->order = calloc(2 * (size_t)sdt_blocks_frames(&b->q), sizeof *b->order);
    if (!b->latent || !b->values || !b->whole || !b->noise || !b->order)
        return sdt_fail(err, SDT_ERROR_MEMORY, "out of memory for %d blocks", b->q.count);
    if (request->latents) /* of one block */
        memcpy(b->noise, request->latents, size * sizeof *b->noise);
    else
        sdt_randn(request->seed, size, b->noise);
    sdt_noise_pool_init(&b->pool, &b->q, request->seed, b->order);
    job->teller->blocks = b->q.count;
    return SDT_OK;
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

void sdt__blocks_iteration(struct sdt_job *job, struct sdt_flow *flow, struct sdt_run *run) {
    struct sdt_job_blocks *b = &job->blocks;
    const int k = job->step, left = k - b->q.steps + 1; /* the block that has all steps behind it */
    if (k < b->q.count)
        enter(job, flow, run, k);
    if (flow->error.status != SDT_OK)
        return;
    sdt_latent_iteration(flow, run, &job->sampler,
                         sdt__guidance(job->service->pipeline, &job->request), &b->q, k, b->latent);
    if (left >= 0)
        sdt_latent_gather(flow, &b->latent[left % sdt_blocks_most(&b->q)], b->q.steps, SDT_SOLVER_X,
                          b->whole[left]);
}

void sdt__blocks_collect(struct sdt_job *job) {
    struct sdt_job_blocks *b = &job->blocks;
    struct sdt_result *r = &job->result;
    const int frames = sdt_blocks_frames(&b->q);
    const size_t frame = frame_size(r);
    for (int i = 0; i < b->q.count; i++) {
        const int own = sdt_blocks_own(&b->q, i), first = sdt_blocks_first(&b->q, i) + own;
        int count = frames - own;
        if (count > r->latent_frames - first) /* the last one's may be more than are wanted */
            count = r->latent_frames - first;
        sdt__unregister(b->whole[i]); /* brings it home */
        b->whole[i] = NULL;
        for (int c = 0; c < r->channels; c++)
            memcpy(r->latent + (size_t)(c * r->latent_frames + first) * frame,
                   b->values[i] + (size_t)(c * frames + own) * frame,
                   (size_t)count * frame * sizeof *r->latent);
    }
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
    free(b->latent);
    free(b->values);
    free(b->whole);
    free(b->noise);
    free(b->order);
    *b = (struct sdt_job_blocks){.q = {.count = 0}};
}

/* What a request means for an opened checkpoint: the size of its latent, and whether it can be
 * run. */
#include "graph/pipeline.h"
#include "graph/run/steps.h"
#include "graph/sampler/sampler.h"
#include "graph/strategies/strategy.h"

struct sdt_guidance sdt__guidance(const struct sdt_pipeline *pipeline,
                                  const struct sdt_request *request) {
    bool negative = request->negative_prompt || request->negative_prompt_embeds;
    double mix = pipeline->dit->passes > 1 ? request->guidance_scale
                 : negative                ? request->true_cfg_scale
                                           : 1.0;
    return (struct sdt_guidance){(float)request->guidance_scale, mix > 1.0 ? (float)mix : 1.0f};
}

int sdt_pipeline_forwards(const struct sdt_pipeline *pipeline, const struct sdt_request *request) {
    return sdt_forwards(sdt__guidance(pipeline, request));
}

struct sdt_geometry sdt__geometry(const struct sdt_pipeline *pipeline,
                                  const struct sdt_request *request) {
    int space = pipeline->vae->space_ratio, time = pipeline->vae->time_ratio;
    return (struct sdt_geometry){(request->num_frames - 1) / time + 1, request->height / space,
                                 request->width / space};
}

enum { BLOCK_LATENTS = 8 };

struct sdt_blocks sdt__blocks(const struct sdt_pipeline *pipeline,
                              const struct sdt_request *request,
                              const struct sdt_strategy *strategy) {
    const int time = pipeline->vae->time_ratio;
    int per = request->block_frames ? request->block_frames / time : BLOCK_LATENTS;
    int overlap = request->overlap_frames < 0 ? per : request->overlap_frames / time;
    if (!strategy->blocks || request->steps == 0)
        return (struct sdt_blocks){0};
    return sdt_blocks_of(sdt__geometry(pipeline, request).frames, per, overlap, request->steps);
}

struct sdt_geometry sdt__block_geometry(const struct sdt_pipeline *pipeline,
                                        const struct sdt_request *request,
                                        const struct sdt_blocks *blocks) {
    struct sdt_geometry g = sdt__geometry(pipeline, request);
    if (blocks->count)
        g.frames = sdt_blocks_frames(blocks);
    return g;
}

void sdt_pipeline_latent_shape(const struct sdt_pipeline *pipeline,
                               const struct sdt_request *request, int64_t shape[4]) {
    struct sdt_geometry g = sdt__geometry(pipeline, request);
    shape[0] = pipeline->dit->channels;
    shape[1] = g.frames;
    shape[2] = g.height;
    shape[3] = g.width;
}

struct sdt_vae_job sdt__vae_job(const struct sdt_pipeline *pipeline,
                                const struct sdt_request *request) {
    struct sdt_geometry g = sdt__geometry(pipeline, request);
    return (struct sdt_vae_job){.frames = g.frames,
                                .height = g.height,
                                .width = g.width,
                                .scale = true,
                                .tiling = request->tiling};
}

bool sdt__decodes_tiles(const struct sdt_pipeline *pipeline, const struct sdt_request *request) {
    const struct sdt_vae *vae = pipeline->vae;
    struct sdt_vae_job job = sdt__vae_job(pipeline, request);
    return request->tiling.size_rows > 0 || (vae->kind->tiles && vae->kind->tiles(vae, &job) > 1);
}

enum sdt_status sdt__sampler_of(const struct sdt_request *request, struct sdt_sampler *sampler,
                                struct sdt_error *err) {
    const struct sdt_noise_levels levels = {request->schedule, request->steps, request->flow_shift,
                                            request->sigmas};
    return sdt_sampler_init_levels(sampler, request->sampler, &levels, err);
}

/* What a transformer predicts is the family's: velocities of a flow, or v of a diffusion, which has
 * no shift. */
static enum sdt_status check_sampler(const struct sdt_pipeline *pipeline,
                                     const struct sdt_request *request, struct sdt_error *err) {
    const struct sdt_request *family = &pipeline->family->defaults;
    bool diffusion = family->sampler == SDT_SAMPLER_EULER_ANCESTRAL;
    if ((request->sampler == SDT_SAMPLER_EULER_ANCESTRAL) != diffusion)
        return sdt_fail(err, SDT_ERROR_USAGE,
                        "sampler %s is not one of %s's, which predicts %s; %s",
                        sdt_sampler_kind_name(request->sampler), pipeline->family->name,
                        diffusion ? "v of a diffusion" : "velocities of a flow",
                        diffusion ? "euler-ancestral works" : "unipc, euler and renoise work");
    if (diffusion && request->flow_shift != family->flow_shift)
        return sdt_fail(err, SDT_ERROR_USAGE, "flow shift %g: sampler %s has none; leave it out",
                        request->flow_shift, sdt_sampler_kind_name(request->sampler));
    if (request->steps == 0)
        return SDT_OK;
    struct sdt_sampler sampler; /* noise levels that cannot be told apart, steps that it refuses */
    enum sdt_status status = sdt__sampler_of(request, &sampler, err);
    if (status != SDT_OK)
        return status;
    sdt_sampler_clear(&sampler);
    struct sdt_step_table table;
    status = sdt__step_table(pipeline, request, &table, err);
    if (status != SDT_OK)
        return status;
    const struct sdt_solver_state *resume = request->resume;
    if (resume && resume->step >= 0 && !sdt_step_table_whole(&table, resume->step))
        status = sdt_fail(err, SDT_ERROR_USAGE,
                          "a state after step %d: step %d reads what earlier ones kept beside it",
                          resume->step, resume->step);
    else if (resume && resume->step > 0 && sdt_step_table_frozen(&table, resume->step) &&
             !resume->difference)
        status =
            sdt_fail(err, SDT_ERROR_USAGE,
                     "a state after step %d: step %d goes on with the difference of velocities "
                     "that an earlier one kept, which must be there",
                     resume->step, resume->step);
    sdt_step_table_clear(&table);
    return status;
}

bool sdt_pipeline_streams(const struct sdt_pipeline *pipeline, const struct sdt_request *request) {
    return request->strategy->blocks && request->steps > 0 && pipeline->vae->kind->stream &&
           !sdt__decodes_tiles(pipeline, request);
}

/* Neighbours differ by a step, so steps are not to differ much; what a request keeps of steps is
 * not kept for each block. */
static enum sdt_status check_blocks(const struct sdt_pipeline *pipeline,
                                    const struct sdt_request *request, struct sdt_error *err) {
    enum { LEAST_STEPS = 8 };
    const char *name = request->strategy->name;
    const int time = pipeline->vae->time_ratio, unit = time * pipeline->dit->patch[0];
    const int block = request->block_frames, overlap = request->overlap_frames;
    if (!request->strategy->blocks && block)
        return sdt_fail(err, SDT_ERROR_USAGE, "blocks of %d frames: strategy %s has no blocks",
                        block, name);
    if (request->streamed && !sdt_pipeline_streams(pipeline, request))
        return sdt_fail(err, SDT_ERROR_USAGE,
                        "frames as they come: strategy %s, this decoder or its tiles give all at "
                        "once",
                        name);
    if (!request->strategy->blocks || request->steps == 0)
        return SDT_OK;
    if (block < 0 || block % unit)
        return sdt_fail(err, SDT_ERROR_USAGE,
                        "blocks of %d frames (--block-frames): multiples of %d work, as %d", block,
                        unit, block < unit ? unit : block / unit * unit);
    int most = block ? block : BLOCK_LATENTS * time;
    if (overlap > 0 && overlap % unit)
        return sdt_fail(err, SDT_ERROR_USAGE,
                        "an overlap of %d frames (--overlap-frames): multiples of %d work, as %d",
                        overlap, unit, overlap < most ? overlap / unit * unit : most);
    if (overlap > most)
        return sdt_fail(err, SDT_ERROR_USAGE,
                        "an overlap of %d frames (--overlap-frames) is longer than a block, which "
                        "adds %d (--block-frames); %d and less work",
                        overlap, most, most);
    const char *what =
        request->cache.kind != SDT_CACHE_NONE ? "a step cache"
        : request->guided_to                  ? "guidance in some steps"
        : request->resume                     ? "a state to go on from"
        : request->sampler == SDT_SAMPLER_RENOISE || request->sampler == SDT_SAMPLER_EULER_ANCESTRAL
            ? "a sampler that adds noise in each step"
            : NULL;
    if (what)
        return sdt_fail(err, SDT_ERROR_USAGE,
                        "%s does not go with strategy %s, whose blocks are "
                        "at different steps; strategy single works",
                        what, name);
    struct sdt_blocks q = sdt__blocks(pipeline, request, request->strategy);
    if (q.count == 1)
        return SDT_OK;
    if (request->latents)
        return sdt_fail(err, SDT_ERROR_USAGE,
                        "a starting latent does not go with strategy %s in %d blocks, which share "
                        "the seed's noise; at most %d frames, one block, work",
                        name, q.count, time * (q.overlap + q.per - 1) + 1);
    if (request->steps < LEAST_STEPS)
        return sdt_fail(err, SDT_ERROR_USAGE,
                        "strategy %s with %d steps: from one to the next too much changes for "
                        "blocks that see one another a step apart; %d steps or more work",
                        name, request->steps, LEAST_STEPS);
    return SDT_OK;
}

/* Models distilled to a few steps have learnt what guidance does: two forwards blur it again. */
static enum sdt_status check_distilled(const struct sdt_pipeline *pipeline,
                                       const struct sdt_request *request, struct sdt_error *err) {
    const char *why = request->sampler == SDT_SAMPLER_RENOISE ? "its sampler is renoise"
                      : pipeline->distilled ? "the checkpoint's stardit.json says so"
                      : request->sigmas && request->steps <= SDT_FEW_STEPS
                          ? "it has so few given sigmas"
                          : NULL;
    bool guided = request->steps > 0 && sdt_pipeline_forwards(pipeline, request) > 1;
    double scale = pipeline->dit->passes > 1 ? request->guidance_scale : request->true_cfg_scale;
    if (guided && why && !request->force_guidance)
        return sdt_fail(err, SDT_ERROR_USAGE,
                        "a guidance of %g by two forwards, and the request is one of a checkpoint "
                        "distilled to a few steps (%s), which guidance blurs; 1 works, and "
                        "forcing it (--force-guidance)",
                        scale, why);
    if (request->force_guidance && (!guided || !why))
        return sdt_fail(err, SDT_ERROR_USAGE, "guidance is forced, but %s",
                        guided ? "the request is not one of a checkpoint distilled to a few steps"
                               : "the request has none by two forwards");
    return SDT_OK;
}

enum sdt_status sdt__check_request(const struct sdt_pipeline *pipeline,
                                   const struct sdt_request *request, struct sdt_error *err) {
    const struct sdt_dit *c = pipeline->dit;
    int space = pipeline->vae->space_ratio, time = pipeline->vae->time_ratio;
    int rows = space * c->patch[1], cols = space * c->patch[2];
    int frames = request->num_frames;

    if (request->height < rows || request->height % rows || request->width < cols ||
        request->width % cols)
        return sdt_fail(
            err, SDT_ERROR_USAGE,
            "%dx%d (height x width): the height must be a multiple of %d and the width of "
            "%d; %dx%d would work",
            request->height, request->width, rows, cols,
            request->height < rows ? rows : request->height / rows * rows,
            request->width < cols ? cols : request->width / cols * cols);
    if (request->height > 16384 || request->width > 16384)
        return sdt_fail(err, SDT_ERROR_USAGE, "%dx%d (height x width): at most 16384 pixels a side",
                        request->height, request->width);
    if (frames < 1 || (frames - 1) % time || ((frames - 1) / time + 1) % c->patch[0])
        return sdt_fail(err, SDT_ERROR_USAGE, "%d frames: needs %d k + 1; %d or %d would work",
                        frames, time, frames < 1 ? 1 : (frames - 1) / time * time + 1,
                        frames < 1 ? 1 + time : ((frames - 1) / time + 1) * time + 1);
    if (request->max_sequence_length < 1 || request->max_sequence_length > 4096)
        return sdt_fail(err, SDT_ERROR_USAGE, "a maximum sequence length of %d; 1 to 4096 works",
                        request->max_sequence_length);
    if (!(request->fps >= 0.01) || request->fps > 1000.0) /* the writers' limits */
        return sdt_fail(err, SDT_ERROR_USAGE, "%g frames per second; 0.01 to 1000 work",
                        request->fps);
    if (request->steps < 0 || request->steps > 1000)
        return sdt_fail(err, SDT_ERROR_USAGE, "%d steps; 0 to 1000 work", request->steps);
    if (request->steps == 0 && !request->latents)
        return sdt_fail(err, SDT_ERROR_USAGE, "0 steps only decode: a latent is needed for that");
    enum sdt_status status = sdt_sampler_check(request->sampler, request->schedule, err);
    if (status == SDT_OK)
        status = check_blocks(pipeline, request, err);
    if (status == SDT_OK)
        status = check_sampler(pipeline, request, err);
    if (status == SDT_OK)
        status = check_distilled(pipeline, request, err);
    if (status == SDT_OK)
        status = sdt__check_prompt(pipeline, request, err);
    if (status != SDT_OK)
        return status;
    /* As many values as have numbers of 32 bits. */
    int most = (int)(UINT32_MAX / (3.0 * request->height * request->width));
    if (frames > most) {
        most = (most - 1) / time + 1; /* latents */
        return sdt_fail(err, SDT_ERROR_LIMIT,
                        "%d frames of %dx%d (height x width) are too many for one video; of that "
                        "size %d work",
                        frames, request->height, request->width,
                        (most - most % c->patch[0] - 1) * time + 1);
    }
    struct sdt_vae_job job = sdt__vae_job(pipeline, request);
    return pipeline->vae->kind->check(pipeline->vae, &job, err);
}

enum sdt_status sdt_pipeline_work(const struct sdt_pipeline *pipeline,
                                  const struct sdt_request *request, struct sdt_request_work *work,
                                  struct sdt_error *err) {
    const struct sdt_dit *dit = pipeline->dit;
    *work = (struct sdt_request_work){0};
    enum sdt_status status = sdt__check_request(pipeline, request, err);
    if (status != SDT_OK)
        return status;
    struct sdt_vae_job job = sdt__vae_job(pipeline, request);
    const struct sdt_blocks q = sdt__blocks(pipeline, request, request->strategy);
    work->tokens = sdt_tokens(dit, sdt__geometry(pipeline, request));
    int64_t tokens = sdt_tokens(dit, sdt__block_geometry(pipeline, request, &q));
    struct sdt_work forward = dit->kind->work(dit, tokens, request->max_sequence_length);
    work->forward_flops = (q.count ? q.count : 1) * (forward.linear + forward.attention);
    work->decode_flops = pipeline->vae->kind->flops(pipeline->vae, &job);
    for (int i = 0; i < 2; i++)
        work->text_flops += sdt__text_flops(pipeline, request, i, request->max_sequence_length);
    return SDT_OK;
}

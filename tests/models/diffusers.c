/* The whole way against diffusers: prompt to tokens to states to latent to pixels, on the demo
 * checkpoint, with the sigma schedule of diffusers before and after 0.37
 * (tests/golden/make_demo_reference.py). */
#include <config.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "graph/pipeline.h"

struct sample {
    const char *file; /* in tests/golden/demo */
    const char *prompt, *negative_prompt;
    int height, width, frames, steps, devices;
    double guidance;
    enum sdt_sampler_schedule schedule;
};

/* As tests/golden/demo/case.json says. */
static const char hard_prompt[] =
    "A red ball rolls slowly over the green grass, \xe9\xa3\x9b\xe9\xb3\xa5, &amp; a cat sleeps.";
static const struct sample samples[] = {
    {"io-new.safetensors", hard_prompt, "low quality, blurred", 48, 80, 9, 4, 1, 5.0,
     SDT_SCHEDULE_NEW},
    {"io-old.safetensors", hard_prompt, "low quality, blurred", 48, 80, 9, 4, 3, 5.0,
     SDT_SCHEDULE_OLD},
    {"caption.safetensors", "a red circle moving right over a blue background", "", 64, 64, 17, 20,
     2, 3.0, SDT_SCHEDULE_NEW},
};

static const double latent_limit = 1e-3 /* relative L2 */, video_limit = 1e-3 /* max abs */;
static const double least_psnr = 60.0; /* dB, peak 1 */
static int failures;

static void fail(const char *what, const char *message) {
    printf("%s: %s: FAIL\n", what, message);
    failures++;
}

/* Of the latent after some step. */
static double relative(size_t n, const float *got, const float *want) {
    double difference = 0.0, norm = 0.0;
    for (size_t i = 0; i < n; i++) {
        difference += ((double)got[i] - want[i]) * ((double)got[i] - want[i]);
        norm += (double)want[i] * want[i];
    }
    return sqrt(difference / norm);
}

static void check_video(const char *name, size_t n, const float *got, const float *want) {
    double worst = 0.0, square = 0.0;
    for (size_t i = 0; i < n; i++) {
        double d = fabs((double)got[i] - want[i]);
        worst = d > worst || isnan(d) ? d : worst;
        square += d * d;
    }
    double psnr = -10.0 * log10(square / (double)n);
    int ok = worst <= video_limit && psnr >= least_psnr;
    printf("%s: video max abs %.3g (limit %g), PSNR %.1f dB (at least %g): %s\n", name, worst,
           video_limit, psnr, least_psnr, ok ? "ok" : "FAIL");
    failures += !ok;
}

/* [frames, height, width, 3] in -1..1 to [3, frames, height, width] in 0..1 */
static float *as_diffusers(const struct sdt_result *r) {
    size_t pixels = (size_t)r->frames * (size_t)r->height * (size_t)r->width;
    float *video = malloc(3 * pixels * sizeof *video);
    if (!video)
        abort();
    for (size_t p = 0; p < pixels; p++)
        for (size_t c = 0; c < 3; c++)
            video[c * pixels + p] = r->video[3 * p + c] / 2.0f + 0.5f;
    return video;
}

/* Stops the machine when so many steps are done, so that their latent is seen; 0: never. */
struct stop {
    struct sdt_machine *machine;
    int after;
};

static void progress(void *arg, int request, const char *phase, int done, int total) {
    const struct stop *stop = arg;
    (void)request;
    (void)total;
    if (stop->after && done == stop->after && !strcmp(phase, "denoise"))
        sdt_machine_stop(stop->machine);
}

/* seen[i]: relative L2 of the latent after step i + 1, -1 where no run was stopped there. */
static enum sdt_status run_to(struct sdt_pipeline *pipeline, const struct sample *sample,
                              const struct sdt_request *request, const struct sdt_safetensors *file,
                              int after, double *seen /* [steps] */, struct sdt_error *err) {
    struct sdt_machine_options options = {.devices = sample->devices};
    struct sdt_result result = {0};
    struct stop stop = {.after = after};
    char name[64];

    enum sdt_status status = sdt_machine_open(&options, &stop.machine, err);
    if (status == SDT_OK)
        status =
            sdt_pipeline_run(pipeline, stop.machine, request, NULL, progress, &stop, &result, err);
    if (status == SDT_ERROR_INTERRUPTED && after)
        status = SDT_OK;
    if (status == SDT_OK && result.steps_done > 0) {
        snprintf(name, sizeof name, "out.latents_%d", result.steps_done);
        const struct sdt_stored *want = sdt_safetensors_find(file, name);
        seen[result.steps_done - 1] = relative(want->count, result.latent, want->data);
    }
    if (status == SDT_OK && !after) {
        const struct sdt_stored *video = sdt_safetensors_find(file, "out.video");
        float *got = as_diffusers(&result), *want = NULL;
        status = sdt_stored_floats(video, &want, err);
        if (status == SDT_OK)
            check_video(sample->file, video->count, got, want);
        if ((int)sdt_safetensors_find(file, "in.ids")->shape[1] != result.prompt_tokens)
            fail(sample->file, "diffusers had another number of tokens");
        free(want);
        free(got);
    }
    sdt_result_clear(&result);
    sdt_machine_close(stop.machine);
    return status;
}

static enum sdt_status run(const char *source, const struct sample *sample, struct sdt_error *err) {
    struct sdt_pipeline *pipeline = NULL;
    struct sdt_safetensors *file = NULL;
    struct sdt_request request;
    float *latents = NULL;
    double seen[32], worst = 0.0;
    int compared = 0;
    char path[4096];

    snprintf(path, sizeof path, "%s/tests/golden/demo/%s", source, sample->file);
    enum sdt_status status = sdt_safetensors_open(path, &file, err);
    snprintf(path, sizeof path, "%s/checkpoints/stardit-demo", source);
    if (status == SDT_OK)
        status = sdt_pipeline_open(path, &pipeline, err);
    if (status == SDT_OK)
        status = sdt_pipeline_defaults(pipeline, &request, err);
    if (status == SDT_OK)
        status = sdt_stored_floats(sdt_safetensors_find(file, "in.latents"), &latents, err);
    if (status == SDT_OK) {
        request.prompt = sample->prompt;
        request.negative_prompt = sample->negative_prompt;
        request.height = sample->height;
        request.width = sample->width;
        request.num_frames = sample->frames;
        request.steps = sample->steps;
        request.guidance_scale = sample->guidance;
        request.flow_shift = 3.0;
        request.max_sequence_length = 512;
        request.schedule = sample->schedule;
        request.latents = latents;
    }
    for (int i = 0; i < sample->steps; i++)
        seen[i] = -1.0;
    for (int after = 0; after < sample->steps && status == SDT_OK; after++)
        if (!after || seen[after - 1] < 0.0)
            status = run_to(pipeline, sample, &request, file, after, seen, err);
    for (int i = 0; i < sample->steps && status == SDT_OK; i++) {
        compared += seen[i] >= 0.0;
        worst = seen[i] >= 0.0 && !(seen[i] <= worst) ? seen[i] : worst;
    }
    if (status == SDT_OK) {
        printf(
            "%s, %d devices: latents after %d of %d steps, relative L2 at most %.3g (limit %g)\n",
            sample->file, sample->devices, compared, sample->steps, worst, latent_limit);
        /* a run that was stopped may have done one step more */
        if (!(worst <= latent_limit) || 2 * compared < sample->steps ||
            seen[sample->steps - 1] < 0.0)
            fail(sample->file, "latents");
    }
    sdt_pipeline_close(pipeline);
    sdt_safetensors_close(file);
    free(latents);
    return status;
}

int main(void) {
    struct sdt_error err = {0};
#ifndef HAVE_SENTENCEPIECE
    printf("built without SentencePiece: prompts cannot be tokenized\n");
    return 77;
#endif
    const char *source = getenv("STARDIT_SOURCE_DIR");
    if (!source) {
        printf("STARDIT_SOURCE_DIR is not set\n");
        return 1;
    }
    for (size_t i = 0; i < sizeof samples / sizeof *samples; i++)
        if (run(source, &samples[i], &err) != SDT_OK)
            fail(samples[i].file, err.message);
    return failures ? 1 : 0;
}

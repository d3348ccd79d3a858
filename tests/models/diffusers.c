/* The whole way against diffusers: prompt to tokens to states to latent to pixels, on the demo checkpoint,
 * with the sigma schedule of diffusers before and after 0.37 (tests/golden/make_demo_reference.py). */
#include <config.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "graph/pipeline.h"

static int failures;

static void check(const char *name, size_t n, const float *got, const float *want, double limit) {
    double worst = 0.0, difference = 0.0, norm = 0.0;
    for (size_t i = 0; i < n; i++) {
        double d = fabs((double)got[i] - want[i]);
        worst = d > worst || isnan(d) ? d : worst;
        difference += d * d;
        norm += (double)want[i] * want[i];
    }
    int ok = worst <= limit;
    printf("%s: max abs %.3g, relative L2 %.3g, limit %g: %s\n", name, worst,
           sqrt(difference / norm), limit, ok ? "ok" : "FAIL");
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

static int run(const char *source, const char *file_name, enum sdt_sampler_schedule schedule,
               int devices) {
    struct sdt_error err = {0};
    struct sdt_machine_options options = {.devices = devices};
    struct sdt_machine *machine = NULL;
    struct sdt_pipeline *pipeline = NULL;
    struct sdt_safetensors *file = NULL;
    struct sdt_request request;
    struct sdt_result result = {0};
    float *latents = NULL, *video = NULL;
    char path[4096], name[160];

    snprintf(path, sizeof path, "%s/tests/golden/demo/%s", source, file_name);
    if (sdt_safetensors_open(path, &file, &err) != SDT_OK)
        goto failed;
    snprintf(path, sizeof path, "%s/models/stardit-demo", source);
    if (sdt_pipeline_open(path, &pipeline, &err) != SDT_OK ||
        sdt_pipeline_defaults(pipeline, &request, &err) != SDT_OK ||
        sdt_stored_floats(sdt_safetensors_find(file, "in.latents"), &latents, &err) != SDT_OK ||
        sdt_machine_open(&options, &machine, &err) != SDT_OK)
        goto failed;
    request.prompt =
        "A red ball rolls slowly over the green grass, \xe9\xa3\x9b\xe9\xb3\xa5, &amp; a "
        "cat sleeps.";
    request.negative_prompt = "low quality, blurred";
    request.height = 48;
    request.width = 80;
    request.num_frames = 9;
    request.steps = 4;
    request.guidance_scale = 5.0;
    request.flow_shift = 3.0;
    request.max_sequence_length = 512;
    request.schedule = schedule;
    request.latents = latents;
    if (sdt_pipeline_run(pipeline, machine, &request, NULL, NULL, NULL, &result, &err) != SDT_OK)
        goto failed;

    const struct sdt_stored *want = sdt_safetensors_find(file, "out.latents_4");
    snprintf(name, sizeof name, "%s, %d devices: latent after 4 steps", file_name, devices);
    check(name, want->count, result.latent, want->data, 1e-3);
    want = sdt_safetensors_find(file, "out.video");
    video = as_diffusers(&result);
    snprintf(name, sizeof name, "%s, %d devices: video", file_name, devices);
    check(name, want->count, video, want->data, 1e-3);
    const struct sdt_stored *ids = sdt_safetensors_find(file, "in.ids");
    if ((int)ids->shape[1] != result.prompt_tokens) {
        printf("%d tokens, diffusers had %d: FAIL\n", result.prompt_tokens, (int)ids->shape[1]);
        failures++;
    }
    goto out;
failed:
    printf("%s: %s: FAIL\n", file_name, err.message);
    failures++;
out:
    sdt_result_clear(&result);
    sdt_machine_close(machine);
    sdt_pipeline_close(pipeline);
    sdt_safetensors_close(file);
    free(latents);
    free(video);
    return failures;
}

int main(void) {
#ifndef HAVE_SENTENCEPIECE
    printf("built without SentencePiece: prompts cannot be tokenized\n");
    return 77;
#endif
    const char *source = getenv("STARDIT_SOURCE_DIR");
    if (!source) {
        printf("STARDIT_SOURCE_DIR is not set\n");
        return 1;
    }
    run(source, "io-new.safetensors", SDT_SCHEDULE_NEW, 1);
    run(source, "io-old.safetensors", SDT_SCHEDULE_OLD, 3);
    return failures ? 1 : 0;
}

/* Whole runs of HunyuanVideo against diffusers' (tests/golden/make_hunyuan.py): from seed and given
 * text to the last latent, and to pixels; guidance as an input, true guidance beside it, a decode
 * in tiles of time. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "graph/pipeline.h"
#include "tests/check.h"
#include "tests/hunyuan.h"

#define LATENT_LIMIT 1e-3 /* relative L2 */
#define PIXEL_LIMIT 2e-3  /* largest error; the file has F16 */

static double worst_latent, worst_pixel;
static int cases, videos;

static void compare_latent(const struct sdt_stored *golden, const struct sdt_result *r) {
    const float *want = golden->data;
    double difference = 0.0, norm = 0.0;
    for (size_t i = 0; i < golden->count; i++) {
        difference += pow((double)r->latent[i] - (double)want[i], 2.0);
        norm += pow((double)want[i], 2.0);
    }
    double off = sqrt(difference / norm);
    CHECK(off <= LATENT_LIMIT, "%s: relative L2 %g", golden->name, off);
    worst_latent = off <= worst_latent ? worst_latent : off;
    cases++;
}

static void compare_video(const struct sdt_stored *golden, const struct sdt_result *r) {
    size_t pixels = (size_t)r->frames * (size_t)r->height * (size_t)r->width;
    struct sdt_error err = {0};
    float *want = NULL;
    double worst = 0.0;
    if (golden->count != 3 * pixels || sdt_stored_floats(golden, &want, &err) != SDT_OK)
        hunyuan_leave(golden->name);
    for (size_t i = 0; i < 3 * pixels; i++) {
        double pixel = (double)r->video[3 * (i % pixels) + i / pixels] / 2.0 + 0.5;
        double off = fabs(pixel - (double)want[i]);
        worst = off <= worst ? worst : off;
    }
    CHECK(worst <= PIXEL_LIMIT, "%s: off by %g", golden->name, worst);
    worst_pixel = worst <= worst_pixel ? worst_pixel : worst;
    free(want);
    videos++;
}

static void run_case(struct sdt_pipeline *pipeline, struct sdt_machine *machine,
                     const struct sdt_safetensors *io, const char *strategy, const char *name) {
    struct sdt_request request = hunyuan_request(pipeline);
    struct sdt_result result = {0};
    struct sdt_error err = {0};
    char video[128];
    CHECK(request.sampler == SDT_SAMPLER_EULER && request.schedule == SDT_SCHEDULE_LINEAR &&
              request.flow_shift == 7.0,
          "the pipeline's schedule");
    int end = 0;
    if (sscanf(name, "n%d_g%lf_c%lf_f%d_h%d_w%d%n", &request.steps, &request.guidance_scale,
               &request.true_cfg_scale, &request.num_frames, &request.height, &request.width,
               &end) != 6)
        hunyuan_leave(name);
    request.seed = 7;
    request.strategy = sdt_strategy_find(strategy);
    int forwards = sdt_pipeline_forwards(pipeline, &request);
    CHECK(forwards == (request.true_cfg_scale > 1.0 ? 2 : 1), "%s: %d forwards", name, forwards);
    if (sdt_pipeline_run(pipeline, machine, &request, NULL, NULL, NULL, &result, &err) != SDT_OK)
        hunyuan_leave(err.message);
    compare_latent(sdt_safetensors_find(io, name), &result);
    snprintf(video, sizeof video, "%.*s.video", end, name);
    if (sdt_safetensors_find(io, video))
        compare_video(sdt_safetensors_find(io, video), &result);
    sdt_result_clear(&result);
}

int main(void) {
    struct sdt_error err = {0};
    struct sdt_pipeline *pipeline = hunyuan_open();
    const struct sdt_safetensors *io = hunyuan_file("io");

    for (int devices = 1; devices <= 3; devices += 2) {
        struct sdt_machine_options options = {.devices = devices, .workers_per_device = 1};
        struct sdt_machine *machine = NULL;
        if (sdt_machine_open(&options, &machine, &err) != SDT_OK)
            hunyuan_leave(err.message);
        for (size_t i = 0; i < sdt_safetensors_count(io); i++) {
            const char *name = sdt_safetensors_at(io, i)->name;
            if (strstr(name, ".latents"))
                run_case(pipeline, machine, io, devices > 1 ? "ulysses" : "single", name);
        }
        sdt_machine_close(machine);
    }
    sdt_pipeline_close(pipeline);
    CHECK(cases == 10 && videos == 4, "%d cases and %d videos", cases, videos);
    printf(
        "latents differ by a relative L2 of at most %.3g (limit %g), pixels by %.3g (limit %g)\n",
        worst_latent, LATENT_LIMIT, worst_pixel, PIXEL_LIMIT);
    return failures > 0;
}

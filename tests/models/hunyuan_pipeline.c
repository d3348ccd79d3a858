/* Whole runs of HunyuanVideo against diffusers': from seed and given text (tests/golden/
 * make_hunyuan.py) or prompts (make_hunyuan_text.py) to the last latent, and to pixels; guidance as
 * an input, true guidance beside it, a decode in tiles of time; prompts that are empty or longer
 * than both encoders read; the bits of a prompt from its tokens. */
#ifdef HAVE_CONFIG_H
#include <config.h>
#endif

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
        linked_leave(golden->name);
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

/* Runs a case, and compares. */
static void run_case(struct sdt_pipeline *pipeline, struct sdt_machine *machine,
                     struct sdt_request *request, const struct sdt_safetensors *io,
                     const char *name, struct sdt_result *result) {
    struct sdt_error err = {0};
    char video[128];
    CHECK(request->sampler == SDT_SAMPLER_EULER && request->schedule == SDT_SCHEDULE_LINEAR &&
              request->flow_shift == 7.0,
          "the pipeline's schedule");
    request->seed = 7;
    int forwards = sdt_pipeline_forwards(pipeline, request);
    CHECK(forwards == (request->true_cfg_scale > 1.0 ? 2 : 1), "%s: %d forwards", name, forwards);
    if (sdt_pipeline_run(pipeline, machine, request, NULL, NULL, NULL, result, &err) != SDT_OK)
        linked_leave(err.message);
    compare_latent(sdt_safetensors_find(io, name), result);
    snprintf(video, sizeof video, "%.*s.video", (int)(strrchr(name, '.') - name), name);
    if (sdt_safetensors_find(io, video))
        compare_video(sdt_safetensors_find(io, video), result);
}

static void run_given(struct sdt_pipeline *pipeline, struct sdt_machine *machine,
                      const struct sdt_safetensors *io, const char *strategy, const char *name) {
    struct sdt_request request = hunyuan_request(pipeline);
    struct sdt_result result = {0};
    if (sscanf(name, "n%d_g%lf_c%lf_f%d_h%d_w%d", &request.steps, &request.guidance_scale,
               &request.true_cfg_scale, &request.num_frames, &request.height, &request.width) != 6)
        linked_leave(name);
    request.strategy = sdt_strategy_find(strategy);
    run_case(pipeline, machine, &request, io, name, &result);
    sdt_result_clear(&result);
}

/* ---- prompts --------------------------------------------------------------------------------- */

enum { PROMPTS = 4, TEMPLATE_TOKENS = 95 };
static char prompts[PROMPTS][2048];

static void read_prompts(void) {
    char path[4200];
    snprintf(path, sizeof path, "%s/tests/golden/hunyuan_text/prompts.txt", linked_source());
    FILE *file = fopen(path, "r");
    for (int i = 0; i < PROMPTS; i++) {
        if (!file || !fgets(prompts[i], sizeof prompts[i], file))
            linked_leave(path);
        prompts[i][strcspn(prompts[i], "\n")] = '\0';
    }
    fclose(file);
}

static struct sdt_pipeline *open_with_encoders(void) {
    static const char *const part[] = {"hunyuan_text", "hunyuan_dit", "hunyuan_vae"};
    char path[3][4200];
    struct sdt_pipeline *pipeline = NULL;
    struct sdt_error err = {0};
    for (int i = 0; i < 3; i++)
        snprintf(path[i], sizeof path[i], "%s/tests/golden/%s", linked_source(), part[i]);
    struct sdt_model_files files = {.model = path[0], .transformer = path[1], .vae = path[2]};
    if (sdt_pipeline_open_files(&files, &pipeline, &err) != SDT_OK)
        linked_leave(err.message);
    return pipeline;
}

static const int32_t *ids_of(const struct sdt_safetensors *io, int prompt, const char *suffix,
                             int *count) {
    char name[32];
    snprintf(name, sizeof name, "ids%d%s", prompt, suffix);
    const struct sdt_stored *ids = sdt_safetensors_find(io, name);
    if (!ids)
        linked_leave(name);
    *count = (int)ids->count;
    return ids->data;
}

/* The same bits from the tokens of transformers. */
static void run_ids(struct sdt_pipeline *pipeline, struct sdt_machine *machine,
                    struct sdt_request request, const struct sdt_safetensors *io, int prompt,
                    const struct sdt_result *wanted) {
    struct sdt_result result = {0};
    struct sdt_error err = {0};
    request.prompt = NULL;
    request.token_ids = ids_of(io, prompt, "", &request.token_count);
    request.token_ids_2 = ids_of(io, prompt, "_2", &request.token_count_2);
    if (sdt_pipeline_run(pipeline, machine, &request, NULL, NULL, NULL, &result, &err) != SDT_OK)
        linked_leave(err.message);
    size_t count = (size_t)wanted->channels * (size_t)wanted->latent_frames *
                   (size_t)wanted->latent_height * (size_t)wanted->latent_width;
    CHECK(!memcmp(result.latent, wanted->latent, count * sizeof *result.latent),
          "prompt %d: other bits from tokens", prompt);
    CHECK(wanted->prompt_tokens == request.token_count - TEMPLATE_TOKENS, "prompt %d: %d tokens",
          prompt, wanted->prompt_tokens);
    sdt_result_clear(&result);
}

static void run_prompt(struct sdt_pipeline *pipeline, struct sdt_machine *machine,
                       const struct sdt_safetensors *io, const char *strategy, const char *name) {
    struct sdt_request request;
    struct sdt_result result = {0};
    struct sdt_error err = {0};
    int prompt, negative;
    if (sdt_pipeline_defaults(pipeline, &request, &err) != SDT_OK)
        linked_leave(err.message);
    if (sscanf(name, "p%d_q%d_n%d_c%lf_f%d_h%d_w%d", &prompt, &negative, &request.steps,
               &request.true_cfg_scale, &request.num_frames, &request.height,
               &request.width) != 7 ||
        prompt < 0 || prompt >= PROMPTS || negative < 0 || negative >= PROMPTS)
        linked_leave(name);
    request.prompt = prompts[prompt];
    request.negative_prompt = request.true_cfg_scale > 1.0 ? prompts[negative] : NULL;
    request.strategy = sdt_strategy_find(strategy);
    run_case(pipeline, machine, &request, io, name, &result);
    run_ids(pipeline, machine, request, io, prompt, &result);
    sdt_result_clear(&result);
}

/* ---------------------------------------------------------------------------------------------- */

static struct sdt_safetensors *open_text(void) {
    struct sdt_safetensors *file = NULL;
    struct sdt_error err = {0};
    char path[4200];
    snprintf(path, sizeof path, "%s/tests/golden/hunyuan_text/io.safetensors", linked_source());
    if (sdt_safetensors_open(path, &file, &err) != SDT_OK)
        linked_leave(err.message);
    return file;
}

typedef void run(struct sdt_pipeline *pipeline, struct sdt_machine *machine,
                 const struct sdt_safetensors *io, const char *strategy, const char *name);

static void run_all(struct sdt_pipeline *pipeline, struct sdt_machine *machine,
                    const struct sdt_safetensors *io, const char *strategy, run *run_one) {
    for (size_t i = 0; i < sdt_safetensors_count(io); i++) {
        const char *name = sdt_safetensors_at(io, i)->name;
        if (strstr(name, ".latents"))
            run_one(pipeline, machine, io, strategy, name);
    }
}

int main(void) {
    struct sdt_error err = {0};
    struct sdt_pipeline *given = hunyuan_open(), *encoders = open_with_encoders();
    struct sdt_safetensors *io = hunyuan_file("io"), *text = open_text();
    int all = 10;

    read_prompts();
    for (int devices = 1; devices <= 3; devices += 2) {
        struct sdt_machine_options options = {.devices = devices, .workers_per_device = 1};
        struct sdt_machine *machine = NULL;
        const char *strategy = devices > 1 ? "ulysses" : "single";
        if (sdt_machine_open(&options, &machine, &err) != SDT_OK)
            linked_leave(err.message);
        run_all(given, machine, io, strategy, run_given);
#ifdef HAVE_PCRE2
        run_all(encoders, machine, text, strategy, run_prompt);
        all = 18;
#else
        (void)run_prompt;
#endif
        sdt_machine_close(machine);
    }
    sdt_pipeline_close(given);
    sdt_pipeline_close(encoders);
    sdt_safetensors_close(io);
    sdt_safetensors_close(text);
    CHECK(cases == all && videos == (all > 10 ? 8 : 4), "%d cases and %d videos", cases, videos);
    printf(
        "latents differ by a relative L2 of at most %.3g (limit %g), pixels by %.3g (limit %g)\n",
        worst_latent, LATENT_LIMIT, worst_pixel, PIXEL_LIMIT);
    return failures > 0;
}

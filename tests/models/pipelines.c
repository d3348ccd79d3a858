/* Whole pipelines against diffusers' (tests/golden/make_pipelines.py): the demo checkpoint with
 * every scheduler class and shift, as a folder that names them, at several numbers of steps and
 * guidances, from seed and prompt to the last latent, and to pixels once for each scheduler. */
#include <config.h>

#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "graph/pipeline.h"

static const double latent_limit = 1e-3 /* relative L2 */, pixel_limit = 2e-3 /* max abs, F16 */;
static int failures, cases;
static double worst_latent, worst_pixel;

static void fail(const char *what, const char *message) {
    printf("%s: %s: FAIL\n", what, message);
    failures++;
}

/* The demo checkpoint with another scheduler and without stardit.json, as links. */
static int make_checkpoint(const char *source, const char *scheduler, const char *folder) {
    static const char *const parts[] = {"model_index.json", "transformer", "vae", "text_encoder",
                                        "tokenizer"};
    char from[8192], to[8192];
    int result = mkdir(folder, 0700);
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        snprintf(from, sizeof from, "%s/checkpoints/stardit-demo/%s", source, parts[i]);
        snprintf(to, sizeof to, "%s/%s", folder, parts[i]);
        result |= symlink(from, to);
    }
    snprintf(from, sizeof from, "%s/tests/golden/pipelines/%s", source, scheduler);
    snprintf(to, sizeof to, "%s/scheduler", folder);
    return result | symlink(from, to);
}

static void remove_checkpoint(const char *folder) {
    struct dirent *entry;
    DIR *dir = opendir(folder);
    while (dir && (entry = readdir(dir)))
        if (entry->d_name[0] != '.')
            unlinkat(dirfd(dir), entry->d_name, 0);
    if (dir)
        closedir(dir);
    rmdir(folder);
}

static double relative(size_t n, const float *got, const float *want) {
    double difference = 0.0, norm = 0.0;
    for (size_t i = 0; i < n; i++) {
        difference += ((double)got[i] - want[i]) * ((double)got[i] - want[i]);
        norm += (double)want[i] * want[i];
    }
    return sqrt(difference / norm);
}

static void compare_video(const char *name, const struct sdt_safetensors *file,
                          const struct sdt_result *r) {
    size_t pixels = (size_t)r->frames * (size_t)r->height * (size_t)r->width;
    const struct sdt_stored *stored = sdt_safetensors_find(file, name);
    struct sdt_error err;
    float *want = NULL;
    double worst = 0.0;

    if (!stored || stored->count != 3 * pixels ||
        sdt_stored_floats(stored, &want, &err) != SDT_OK) {
        fail(name, "the golden file has no such video");
        return;
    }
    for (size_t p = 0; p < pixels; p++)
        for (size_t c = 0; c < 3; c++) {
            double d = fabs((double)r->video[3 * p + c] / 2.0 + 0.5 - (double)want[c * pixels + p]);
            worst = d <= worst ? worst : d;
        }
    if (!(worst <= pixel_limit)) {
        printf("%s: max abs %.3g\n", name, worst);
        fail(name, "pixels");
    }
    worst_pixel = worst <= worst_pixel ? worst_pixel : worst;
    free(want);
}

/* One case, named <scheduler>_n<steps>_g<guidance>.latents. */
static void compare(struct sdt_pipeline *pipeline, struct sdt_machine *machine,
                    const struct sdt_safetensors *file, const struct sdt_stored *latents,
                    const char *scheduler) {
    struct sdt_request request;
    struct sdt_result result = {0};
    struct sdt_error err = {0};
    char name[128];
    int end = 0;

    enum sdt_status status = sdt_pipeline_defaults(pipeline, &request, &err);
    request.prompt = "a red circle moving right over a blue background";
    request.negative_prompt = "blurred";
    request.height = 32;
    request.width = 48;
    request.num_frames = 5;
    request.seed = 7;
    snprintf(name, sizeof name, "%s", latents->name + strlen(scheduler));
    *strstr(name, ".latents") = '\0'; /* "5." would be a number */
    if (sscanf(name, "_n%d_g%lf%n", &request.steps, &request.guidance_scale, &end) != 2 ||
        name[end]) {
        fail(latents->name, "is no case");
        return;
    }
    if (status == SDT_OK)
        status = sdt_pipeline_run(pipeline, machine, &request, NULL, NULL, NULL, &result, &err);
    if (status != SDT_OK) {
        fail(latents->name, err.message);
    } else {
        double off = relative(latents->count, result.latent, latents->data);
        if (!(off <= latent_limit)) {
            printf("%s: relative L2 %.3g (limit %g)\n", latents->name, off, latent_limit);
            fail(latents->name, "latents");
        }
        worst_latent = off <= worst_latent ? worst_latent : off;
        cases++;
        if (request.steps == 4) {
            snprintf(name, sizeof name, "%s.video", scheduler);
            compare_video(name, file, &result);
        }
    }
    sdt_result_clear(&result);
}

static void run_scheduler(const char *source, struct sdt_machine *machine,
                          const struct sdt_safetensors *file, const char *scheduler) {
    const char *tmp = getenv("TMPDIR");
    char folder[4096];
    struct sdt_pipeline *pipeline = NULL;
    struct sdt_error err = {0};
    size_t length = strlen(scheduler);

    snprintf(folder, sizeof folder, "%s/pipelines-%ld-%s", tmp && *tmp ? tmp : "/tmp",
             (long)getpid(), scheduler);
    if (make_checkpoint(source, scheduler, folder))
        fail(folder, "cannot be made");
    else if (sdt_pipeline_open(folder, &pipeline, &err) != SDT_OK)
        fail(scheduler, err.message);
    for (size_t i = 0; pipeline && i < sdt_safetensors_count(file); i++) {
        const struct sdt_stored *tensor = sdt_safetensors_at(file, i);
        if (!strncmp(tensor->name, scheduler, length) && tensor->name[length] == '_' &&
            strstr(tensor->name, ".latents"))
            compare(pipeline, machine, file, tensor, scheduler);
    }
    sdt_pipeline_close(pipeline);
    remove_checkpoint(folder);
}

int main(void) {
#ifndef HAVE_SENTENCEPIECE
    printf("built without SentencePiece: prompts cannot be tokenized\n");
    return 77;
#endif
    const char *source = getenv("STARDIT_SOURCE_DIR");
    struct sdt_machine_options options = {.devices = 1};
    struct sdt_machine *machine = NULL;
    struct sdt_safetensors *file = NULL;
    struct sdt_error err = {0};
    char path[4096];
    struct dirent *entry;

    if (!source)
        source = ".";
    snprintf(path, sizeof path, "%s/tests/golden/pipelines/io.safetensors", source);
    if (sdt_safetensors_open(path, &file, &err) != SDT_OK ||
        sdt_machine_open(&options, &machine, &err) != SDT_OK) {
        printf("%s\n", err.message);
        return 1;
    }
    snprintf(path, sizeof path, "%s/tests/golden/pipelines", source);
    DIR *dir = opendir(path);
    while (dir && (entry = readdir(dir)))
        if (strstr(entry->d_name, "-shift"))
            run_scheduler(source, machine, file, entry->d_name);
    if (dir)
        closedir(dir);
    sdt_machine_close(machine);
    sdt_safetensors_close(file);
    printf(
        "%d pipelines: latents differ by a relative L2 of at most %.3g (limit %g), pixels by %.3g "
        "(limit %g)\n",
        cases, worst_latent, latent_limit, worst_pixel, pixel_limit);
    if (cases != 90)
        fail("cases", "there should be 90");
    return failures ? 1 : 0;
}

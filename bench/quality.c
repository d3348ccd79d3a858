/* Generates a video for every caption and seed, looks at each, and counts what is right. The plan
 * is the user's: whatever changes numbers (a strategy, a precision, fewer steps) is judged by what
 * is seen. With --latents only the decoder is judged. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "bench/quality.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "apps/metrics.h"
#include "apps/options.h"
#include "apps/read.h"
#include "apps/steps.h"
#include "apps/strategy.h"
#include "bench/shapes.h"
#include "graph/pipeline.h"
#include "stardit/stardit.h"

static const char name_of_program[] = "stardit-bench quality";

/* What was seen of all videos. */
struct seen {
    struct app_score score;
    double iou; /* sum */
    int videos;
};

struct quality {
    struct app_steps step_table;
    const char *model, *prompt_file, *latents_file, *strategy, *scheduler;
    int seeds, steps, devices, workers, chunk_heads, patches;
    double guidance;
    bool verbose;
    char *text; /* of the prompt file */
    struct sdt_safetensors *file;
    float *latents; /* [captions, C, T, h, w], or NULL */
    size_t latent;  /* floats of one */
    const char *caption[APP_MOST_STRINGS];
    struct app_scene wanted[APP_MOST_STRINGS]; /* what each caption says */
    int captions;
    bool lossy;            /* steps leave something out: each video beside that of a whole run */
    float **whole;         /* [captions * seeds] videos in 8 bits, of the whole run; or NULL */
    pthread_mutex_t mutex; /* of what follows: videos are delivered from several threads */
    struct seen *now, before, seen; /* before: of the whole run */
    double psnr, least_psnr;        /* sum, and the least */
    int equal;                      /* videos without a difference */
};

static const char *mark(const struct app_scene *wanted, const struct app_scene *seen, int part) {
    return wanted->part[part] < 0 ? "-" : wanted->part[part] == seen->part[part] ? "yes" : "NO";
}

/* Keeps the video of a whole run, or tells how near another one is to it. */
static void compare(struct quality *q, int r, const struct sdt_result *result) {
    const size_t count = (size_t)result->frames * APP_SHAPES_SIZE * APP_SHAPES_SIZE * 3;
    float *bytes = q->lossy ? malloc(count * sizeof *bytes) : NULL;
    for (size_t i = 0; bytes && i < count; i++)
        bytes[i] = rintf(255.0f * fminf(fmaxf(result->video[i], 0.0f), 1.0f));
    if (q->now == &q->before) {
        q->whole[r] = bytes;
        return;
    }
    double psnr = bytes && q->whole[r] ? app_psnr(count, bytes, q->whole[r], 255.0) : 0.0;
    free(bytes);
    if (!q->lossy)
        return;
    if (isinf(psnr)) {
        q->equal++;
        return;
    }
    q->psnr += psnr;
    q->least_psnr = q->least_psnr == 0.0 ? psnr : fmin(q->least_psnr, psnr);
}

/* Request r is caption r / seeds with seed r % seeds. */
static void look_at(void *arg, int r, enum sdt_status status, const struct sdt_error *err,
                    struct sdt_result *result) {
    struct quality *q = arg;
    const struct app_scene *wanted = &q->wanted[r / q->seeds];
    struct app_scene seen;

    (void)err; /* the run's status says it as well */
    if (status != SDT_OK)
        return;
    app_look(result->video, result->frames, &seen);
    pthread_mutex_lock(&q->mutex);
    app_score_add(&q->now->score, wanted, &seen);
    q->now->iou += seen.iou;
    q->now->videos++;
    compare(q, r, result);
    if (q->verbose && q->now == &q->seen)
        printf("%-3s %-3s %-3s %-3s  %.2f  seed %d  %s\n", mark(wanted, &seen, APP_COLOUR),
               mark(wanted, &seen, APP_SHAPE), mark(wanted, &seen, APP_DIRECTION),
               mark(wanted, &seen, APP_BACKGROUND), seen.iou, r % q->seeds,
               q->caption[r / q->seeds]);
    pthread_mutex_unlock(&q->mutex);
}

static enum sdt_status read_latents(struct quality *q, struct sdt_pipeline *pipeline,
                                    const struct sdt_request *request, struct sdt_error *err) {
    const struct sdt_stored *tensor;
    struct sdt_model model = sdt_pipeline_model(pipeline);
    int space = model.space_ratio, time = model.time_ratio;
    int channels = model.channels, frames = (request->num_frames - 1) / time + 1;
    int rows = request->height / space, columns = request->width / space;

    enum sdt_status status =
        app_read_tensor("latents", q->latents_file, "latents", &q->file, &tensor, err);
    if (status != SDT_OK)
        return status;
    const int64_t *shape = tensor->shape;
    if (tensor->rank != 5 || shape[0] != q->captions || shape[1] != channels ||
        shape[2] != frames || shape[3] != rows || shape[4] != columns)
        return sdt_fail(
            err, SDT_ERROR_USAGE,
            "--latents %s: tensor %.80s must have the shape [%d, %d, %d, %d, %d], a latent "
            "for each line of the prompt file",
            q->latents_file, tensor->name, q->captions, channels, frames, rows, columns);
    q->latent = (size_t)channels * frames * rows * columns;
    return sdt_stored_floats(tensor, &q->latents, err);
}

static enum sdt_status make_requests(struct quality *q, struct sdt_pipeline *pipeline,
                                     struct sdt_request **requests, struct sdt_error *err) {
    int count = q->captions * q->seeds;
    struct sdt_request request;
    enum sdt_status status = sdt_pipeline_defaults(pipeline, &request, err);

    if (status != SDT_OK)
        return status;
    if (request.height != APP_SHAPES_SIZE || request.width != APP_SHAPES_SIZE)
        return sdt_fail(err, SDT_ERROR_UNSUPPORTED,
                        "%s: videos of %dx%d; the scorer knows the demo's 64x64 only", q->model,
                        request.height, request.width);
    if (q->strategy && !(request.strategy = app_strategy(q->strategy, err)))
        return SDT_ERROR_USAGE;
    if (q->steps)
        request.steps = q->steps;
    if (q->guidance >= 0.0)
        request.guidance_scale = q->guidance;
    status = app_steps_take(&q->step_table, q->steps > 0, &request, err);
    if (status != SDT_OK)
        return status;
    if (q->patches && !sdt_strategy_stale(request.strategy))
        return sdt_fail(err, SDT_ERROR_USAGE,
                        "--patches does not go with strategy %s, which takes all tokens at once",
                        sdt_strategy_name(request.strategy));
    q->lossy = request.guided_to || request.cache.kind != SDT_CACHE_NONE ||
               sdt_strategy_stale(request.strategy);
    if (q->latents_file) {
        request.steps = 0;
        if ((status = read_latents(q, pipeline, &request, err)) != SDT_OK)
            return status;
    }
    *requests = calloc((size_t)count, sizeof **requests);
    if (!*requests)
        return sdt_fail(err, SDT_ERROR_MEMORY, "out of memory for %d requests", count);
    for (int r = 0; r < count; r++) {
        (*requests)[r] = request;
        (*requests)[r].prompt = q->caption[r / q->seeds];
        (*requests)[r].seed = (uint64_t)(r % q->seeds);
        if (q->latents)
            (*requests)[r].latents = q->latents + (size_t)r * q->latent;
    }
    return SDT_OK;
}

/* The same requests with all that their steps leave out. */
static enum sdt_status run_whole(struct quality *q, struct sdt_pipeline *pipeline,
                                 struct sdt_machine *machine, const struct sdt_request *requests,
                                 const struct sdt_run_options *options, struct sdt_error *err) {
    struct sdt_run_options run = *options;
    const size_t count = (size_t)(q->captions * q->seeds);
    struct sdt_request *whole = calloc(count, sizeof *whole);
    q->whole = calloc(count, sizeof *q->whole);
    q->now = &q->before;
    run.placement.patches = 0;
    enum sdt_status status =
        whole && q->whole ? SDT_OK
                          : sdt_fail(err, SDT_ERROR_MEMORY, "out of memory for %zu videos", count);
    for (size_t r = 0; status == SDT_OK && r < count; r++) {
        whole[r] = requests[r];
        whole[r].guided_from = whole[r].guided_to = 0;
        whole[r].frozen_guidance = false;
        whole[r].cache = (struct sdt_step_caching){0};
        whole[r].warmup_steps = 0;
        if (sdt_strategy_stale(whole[r].strategy))
            whole[r].strategy = sdt_strategy_default();
    }
    if (status == SDT_OK)
        status = sdt_pipeline_run_all(pipeline, machine, whole, (int)count, &run, err);
    if (status != SDT_ERROR_STALLED)
        free(whole);
    return status;
}

static void print_seen(const char *what, const struct seen *seen) {
    printf("%s", what);
    for (int p = 0; p < APP_PARTS; p++)
        printf("%s %d of %d%s", app_part_name((enum app_part)p), seen->score.right[p],
               seen->score.asked[p], p + 1 < APP_PARTS ? ", " : "");
    printf("; mean overlap %.2f (%d video%s)\n", seen->iou / seen->videos, seen->videos,
           seen->videos == 1 ? "" : "s");
}

static enum sdt_status measure(struct quality *q, struct sdt_error *err) {
    struct sdt_machine_options options = {
        .devices = q->devices, .workers_per_device = q->workers, .scheduler = q->scheduler};
    struct sdt_run_options run = {
        .placement = {.chunk_heads = q->chunk_heads, .patches = q->patches, .keep_weights = true},
        .deliver = look_at,
        .deliver_arg = q};
    struct sdt_pipeline *pipeline = NULL;
    struct sdt_machine *machine = NULL;
    struct sdt_request *requests = NULL;

    enum sdt_status status = sdt_pipeline_open(q->model, &pipeline, err);
    if (status == SDT_OK)
        status = make_requests(q, pipeline, &requests, err);
    if (status == SDT_OK)
        status = sdt_machine_open(&options, &machine, err);
    if (status == SDT_OK)
        printf("on %d device%s with %d worker%s each, strategy %s, at most %d heads a chunk, "
               "policy %s\n",
               machine->devices, machine->devices == 1 ? "" : "s", machine->workers_per_device,
               machine->workers_per_device == 1 ? "" : "s", sdt_strategy_name(requests[0].strategy),
               q->chunk_heads ? q->chunk_heads : pipeline->dit->heads, machine->scheduler);
    if (status == SDT_OK && q->lossy)
        status = run_whole(q, pipeline, machine, requests, &run, err);
    q->now = &q->seen;
    if (status == SDT_OK)
        status =
            sdt_pipeline_run_all(pipeline, machine, requests, q->captions * q->seeds, &run, err);
    if (status != SDT_ERROR_STALLED) { /* else tasks may still be running: nothing can be closed */
        sdt_machine_close(machine);
        sdt_pipeline_close(pipeline);
        free(requests);
        for (int r = 0; q->whole && r < q->captions * q->seeds; r++)
            free(q->whole[r]);
        free(q->whole);
        free(q->latents);
        sdt_safetensors_close(q->file);
    }
    return status;
}

static int refuse_idle(const struct app_program *program, const struct quality *q) {
    const struct app_idle idle[] = {
        {"strategy", q->latents_file, "--latents only decodes"},
        {"chunk-heads", q->latents_file, "--latents only decodes"},
        {"patches", q->latents_file, "--latents only decodes"},
        {"sigmas", q->latents_file, "--latents only decodes"},
        {"cfg-gate", q->latents_file, "--latents only decodes"},
        {"force-guidance", q->latents_file, "--latents only decodes"},
        {"step-cache", q->latents_file, "--latents only decodes"},
        {"warmup-steps", q->latents_file, "--latents only decodes"},
        {"refresh-steps", q->latents_file, "--latents only decodes"},
    };
    return app_refuse_idle(program, idle, sizeof idle / sizeof idle[0]);
}

#define STEPS_AT(field) (&q.step_table.field)

int app_bench_quality(int argc, char **argv) {
    struct quality q = {
        .seeds = 3, .devices = 1, .guidance = -1.0, .mutex = PTHREAD_MUTEX_INITIALIZER};
    struct app_option options[] = {
        APP_STRING_OPTION("model", "DIR", &q.model, "the demo checkpoint"),
        APP_STRING_OPTION("prompt-file", "FILE", &q.prompt_file,
                          "captions, one a line: \"a red circle moving right over a blue "
                          "background\""),
        APP_STRING_OPTION("latents", "FILE", &q.latents_file,
                          "safetensors, [captions, C, T, h, w]: decode these instead of denoising; "
                          "judges the decoder alone"),
        APP_INT_OPTION("seeds", "N", &q.seeds, 1, 100000, "videos of each caption (default 3)"),
        APP_INT_OPTION("num-inference-steps", "N", &q.steps, 1, 1000,
                       "denoising steps (default: the checkpoint's)"),
        APP_DOUBLE_OPTION("guidance-scale", "X", &q.guidance, 0.0, 100.0,
                          "classifier-free guidance, 1 or less: none (default: the checkpoint's)"),
        APP_STEPS_OPTIONS(STEPS_AT),
        APP_INT_OPTION("devices", "N", &q.devices, 1, SDT_MAX_LOCAL_DEVICES,
                       "stand-in CPU devices (default 1)"),
        APP_INT_OPTION("workers-per-device", "N", &q.workers, 1, 4096,
                       "CPU workers of each (default: all cores on one device)"),
        APP_STRING_OPTION("strategy", "NAME", &q.strategy, "parallel strategy"),
        APP_INT_OPTION("chunk-heads", "N", &q.chunk_heads, 1, 1024, "heads of a chunk, of pipesp"),
        APP_INT_OPTION("patches", "M", &q.patches, 1, 1 << 16,
                       "parts of the tokens that follow one another, of pipefusion (default 4)"),
        APP_STRING_OPTION("scheduler", "NAME", &q.scheduler, "scheduling policy"),
        APP_FLAG_OPTION("verbose", &q.verbose,
                        "a line per video: colour, shape, direction, background, overlap"),
    };
    struct app_program program = {
        .name = name_of_program,
        .usage = "--model DIR --prompt-file FILE [options]",
        .summary = "Generates videos of captions in the demo's grammar, looks at each by template "
                   "overlap, and prints how many show the colour, shape, direction and background "
                   "that the caption names.",
        .options = options,
        .count = sizeof options / sizeof options[0],
    };
    struct sdt_error err = {0};

    int code = app_parse(&program, argc, argv);
    if (code >= 0)
        return code;
    if (!q.model || !q.prompt_file)
        return app_usage(program.name, "--model and --prompt-file are needed");
    if (q.latents_file && (app_given(&program, "seeds") || app_given(&program, "guidance-scale") ||
                           app_given(&program, "num-inference-steps")))
        return app_usage(program.name, "--latents only decodes: --seeds, --num-inference-steps and "
                                       "--guidance-scale do not go with it");
    if ((code = refuse_idle(&program, &q)) >= 0)
        return code;
    if (q.latents_file)
        q.seeds = 1;
    enum sdt_status status = app_read_lines("prompt-file", q.prompt_file, APP_MOST_STRINGS, &q.text,
                                            q.caption, &q.captions, &err);
    for (int i = 0; i < q.captions && status == SDT_OK; i++)
        status = app_caption_read(q.caption[i], &q.wanted[i], &err);
    if (status == SDT_OK)
        status = measure(&q, &err);
    if (status == SDT_OK) {
        if (q.lossy)
            print_seen("whole: ", &q.before);
        print_seen("", &q.seen);
        if (q.lossy)
            printf("PSNR beside the whole: mean %.1f dB, least %.1f dB, %d equal\n",
                   q.psnr / fmax(1.0, q.seen.videos - q.equal), q.least_psnr, q.equal);
    }
    if (status != SDT_ERROR_STALLED)
        free(q.text);
    if (status != SDT_OK)
        return app_report(program.name, &err);
    return app_flush(program.name);
}

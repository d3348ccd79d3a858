/* Whole runs of several prompts: text, all steps and decode, through the jobs and the service of
 * stardit-generate. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "apps/simulate.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "apps/devices.h"
#include "apps/stats.h"
#include "graph/jobs/job.h"
#include "graph/pipeline.h"
#include "runtime/clock.h"
#include "runtime/recorder.h"

/* What one prompt's run took, seconds since the first one was submitted. */
struct video {
    double first_step, last_step, delivered; /* ends */
    double text, denoise, decode;            /* durations */
    int steps;
};

struct run {
    const struct app_simulation *s;
    struct sdt_machine *machine;
    struct sdt_pipeline *pipeline;
    struct video *video; /* [prompts] */
    double begin, total;
    enum sdt_status status; /* the first failure of a prompt */
    struct sdt_error error;
    struct sdt_bounds bounds;
};

/* ---- running --------------------------------------------------------------------------------- */

static void progress(void *arg, int request, const char *phase, int done, int total) {
    struct run *run = arg;
    struct video *video = &run->video[request];
    (void)total;
    if (strcmp(phase, "denoise") != 0 || done < 1)
        return;
    video->last_step = sdt__now() - run->begin;
    if (done == 1)
        video->first_step = video->last_step;
    video->steps = done;
}

static void deliver(void *arg, int request, enum sdt_status status, const struct sdt_error *err,
                    struct sdt_result *result) {
    struct run *run = arg;
    struct video *video = &run->video[request];
    video->delivered = sdt__now() - run->begin;
    video->text = result->text_seconds;
    video->denoise = result->denoise_seconds;
    video->decode = result->decode_seconds;
    if (status != SDT_OK && run->status == SDT_OK) {
        run->status = status;
        run->error = *err;
    }
}

/* As many bytes as so many tokens have, about. */
char *app_simulate_prompt(int tokens) {
    size_t bytes = 4 * (size_t)(tokens > 2 ? tokens - 2 : 0);
    char *prompt = malloc(bytes + 1);
    if (prompt) {
        memset(prompt, 'a', bytes);
        prompt[bytes] = '\0';
    }
    return prompt;
}

/* Embeddings, of a text encoder that is not there. */
struct states {
    float *values;
    struct sdt_stored embeds, pooled;
};

static bool give_states(const struct sdt_pipeline *pipeline, bool embeds,
                        struct sdt_request *request, struct states *states) {
    const struct sdt_dit *dit = pipeline->dit;
    size_t rows = (size_t)request->max_sequence_length, words = rows * (size_t)dit->text_dim;
    size_t pooled = (size_t)dit->pooled_dim;
    if (pipeline->text[0] && !embeds)
        return true;
    states->values = calloc(words > pooled ? words : pooled, sizeof *states->values);
    if (!states->values)
        return false;
    states->embeds = (struct sdt_stored){.name = "text",
                                         .dtype = SDT_F32,
                                         .rank = 2,
                                         .shape = {(int64_t)rows, dit->text_dim},
                                         .count = words,
                                         .bytes = words * sizeof(float),
                                         .data = states->values};
    states->pooled = (struct sdt_stored){.name = "pooled text",
                                         .dtype = SDT_F32,
                                         .rank = 1,
                                         .shape = {dit->pooled_dim},
                                         .count = pooled,
                                         .bytes = pooled * sizeof(float),
                                         .data = states->values};
    request->prompt_embeds = request->negative_prompt_embeds = &states->embeds;
    if (pooled)
        request->pooled_prompt_embeds = request->negative_pooled_prompt_embeds = &states->pooled;
    return true;
}

static enum sdt_status serve(struct run *run, const struct sdt_request *request,
                             struct sdt_error *err) {
    const struct app_simulation *s = run->s;
    const struct sdt_service_options options = {.placement = s->placement, .queue = s->queue};
    struct sdt_service *service = NULL;
    enum sdt_status status = sdt_service_open(run->pipeline, run->machine, &options, &service, err);
    if (status != SDT_OK)
        return status;
    if (s->fast_forward)
        status = sdt__service_fast(service, err);
    for (int r = 0; r < s->prompts && status == SDT_OK; r++) {
        struct sdt_job_options job = {.number = r,
                                      .priority = (int)s->rank[r],
                                      .deadline = s->deadline[r],
                                      .progress = progress,
                                      .progress_arg = run,
                                      .deliver = deliver,
                                      .deliver_arg = run};
        status = sdt_service_submit(service, request, &job, NULL, err);
    }
    enum sdt_status closed = sdt_service_close(service, status == SDT_OK ? err : NULL);
    if (status == SDT_OK && run->status != SDT_OK) {
        *err = run->error;
        return run->status;
    }
    return status == SDT_OK ? closed : status;
}

/* ---- reporting ------------------------------------------------------------------------------- */

static double busy_of(const struct sdt_machine *machine, int device) {
    double seconds = 0.0;
    for (int role = 0; role < SDT_ROLES; role++)
        seconds += 1e-6 * sdt_machine_totals(machine, device, role).busy_us;
    return seconds;
}

/* The share of transfers for exchange tasks that no device waited for. */
static double hidden(const struct sdt_machine *machine) {
    double travel = 0.0, wait = 0.0;
    for (int d = 0; d < machine->devices; d++) {
        struct sdt_role_totals t = sdt_machine_totals(machine, d, SDT_ROLE_EXCHANGE);
        travel += t.travel_us;
        wait += t.wait_us;
    }
    return travel > 0.0 ? 1.0 - wait / travel : 1.0;
}

static double step_seconds(const struct run *run) {
    double sum = 0.0, steps = 0.0;
    for (int r = 0; r < run->s->prompts; r++) {
        sum += run->video[r].last_step - run->video[r].first_step;
        steps += run->video[r].steps - 1;
    }
    return steps > 0.0 ? sum / steps : NAN;
}

/* What went in the machine's time, as the queue saw it: the mean of all prompts. */
static struct video mean_of(const struct run *run) {
    struct video mean = {0};
    int n = run->s->prompts;
    for (int r = 0; r < n; r++) {
        mean.text += run->video[r].text / n;
        mean.denoise += run->video[r].denoise / n;
        mean.decode += run->video[r].decode / n;
    }
    return mean;
}

static double larger_bound(const struct run *run) {
    return 1e-6 * fmax(run->bounds.path_us, run->bounds.work_us);
}

static void print_group(const char *name, int count, const int *list) {
    printf("%s ", name);
    for (int i = 0; i < count; i++)
        printf("%s%d", i ? "," : "", list[i]);
}

static void print_plan(const struct run *run, const struct sdt_plan *plan) {
    const struct app_simulation *s = run->s;
    const struct sdt_platform *p = &s->platform;
    const struct sdt_placement *place = &s->placement;
    int chunk = place->chunk_heads;
    int gpus = sdt_platform_gpus(p);
    printf("Machine:      %d %s%s:", p->devices,
           gpus == p->devices ? "GPU"
           : gpus > 0         ? "device"
                              : "CPU device",
           gpus < p->devices && p->devices == 1 ? "" : "s");
    for (int d = 0, count = 0; d < p->devices; d++) {
        count++;
        if (d + 1 < p->devices && p->kind_of[d + 1] == p->kind_of[d])
            continue;
        const struct sdt_platform_kind *kind = sdt_platform_kind(p, d);
        int cpus = kind->cpu_workers ? kind->cpu_workers : 1;
        printf("%s %d %s of %.4g TFLOP/s, %.4g GB", d + 1 == count ? "" : ",", count,
               *kind->name ? kind->name : "GPU",
               1e-12 * cpus * sdt_platform_flops(p, d, SDT_CLASS_LINEAR), kind->memory_gb);
        count = 0;
    }
    printf("\nModel:        %s, %d layers of %d heads x %d, %d frame%s of %dx%d (width x height), "
           "%lld tokens\n",
           s->model, s->whole.layers, s->whole.heads, s->whole.head_dim, s->request.num_frames,
           s->request.num_frames == 1 ? "" : "s", s->request.width, s->request.height,
           (long long)plan->tokens);
    printf("Plan:         %d prompt%s of %d steps, %s", s->prompts, s->prompts == 1 ? "" : "s",
           s->request.steps, sdt_strategy_name(s->request.strategy));
    if (chunk && chunk < s->whole.heads)
        printf(", chunks of %d head%s", chunk, chunk == 1 ? "" : "s");
    printf(", %d forward%s a step in %d stream%s", plan->forwards, plan->forwards == 1 ? "" : "s",
           plan->streams, plan->streams == 1 ? "" : "s");
    if (plan->apart)
        printf(" on devices of their own (the second one's on %d)", plan->apart);
    if (place->dit_devices) {
        print_group(", denoise on", place->dit_devices, place->dit);
        print_group(", decode on", place->vae_devices, place->vae);
        printf(", aco %s", sdt_aco_name(place->aco));
    }
    printf("\n");
}

static void print_devices(const struct run *run) {
    const struct sdt_machine *machine = run->machine;
    static const enum sdt_role shown[] = {SDT_ROLE_PROJECT,  SDT_ROLE_ATTENTION, SDT_ROLE_DENOISE,
                                          SDT_ROLE_EXCHANGE, SDT_ROLE_VAE,       SDT_ROLE_TEXT};
    enum { SHOWN = sizeof shown / sizeof shown[0] };
    printf("%-8s %9s %9s", "device", "busy s", "idle s");
    for (int i = 0; i < SHOWN; i++)
        printf(" %9s", sdt_role_name(shown[i]));
    printf(" %10s %8s\n", "peak GB", "of GB");
    for (int d = 0; d < machine->devices; d++) {
        double busy = busy_of(machine, d);
        char name[SDT_DEVICE_NAME];
        printf("%-8s %9.3f %9.3f", sdt_device_name(machine->what[d], name), busy,
               run->total * machine->device[d].workers - busy);
        for (int i = 0; i < SHOWN; i++)
            printf(" %9.3f", 1e-6 * sdt_machine_totals(machine, d, shown[i]).busy_us);
        printf(" %10.3f %8.4g\n", 1e-9 * sdt_machine_peak_bytes(machine, d),
               sdt_platform_kind(&run->s->platform, d)->memory_gb);
    }
}

/* Was video a there before video b? */
static bool earlier(const struct run *run, int a, int b) {
    double at = run->video[a].delivered, other = run->video[b].delivered;
    return at < other || (at == other && a < b);
}

/* When each video was there, the first one first, and which were late. */
static void print_deliveries(const struct run *run) {
    const struct app_simulation *s = run->s;
    int last = -1;
    printf("  delivered   ");
    for (int n = 0; n < s->prompts; n++) {
        int next = -1;
        for (int r = 0; r < s->prompts; r++)
            if ((last < 0 || earlier(run, last, r)) && (next < 0 || earlier(run, r, next)))
                next = r;
        double at = run->video[next].delivered;
        printf("%s%d at %.4f s%s", n ? ", " : "", next, at,
               s->deadline[next] > 0.0 && at > s->deadline[next] ? " (late)" : "");
        last = next;
    }
    printf("\n");
}

static void print(const struct run *run, const struct sdt_plan *plan) {
    struct video mean = mean_of(run);
    double bound = larger_bound(run);
    print_plan(run, plan);
    printf("Total:        %.4f s, %.4f s a video\n", run->total, run->total / run->s->prompts);
    printf("  text        %.4f s a video, denoising %.4f s, decoding %.4f s\n", mean.text,
           mean.denoise, mean.decode);
    if (run->s->request.steps > 1)
        printf("  step        %.4f s\n", step_seconds(run));
    if (run->s->queue)
        print_deliveries(run);
    printf("  exchanges   %.1f%% hidden behind computing\n", 100.0 * hidden(run->machine));
    printf("  bounds      %.4f s by the longest chain of tasks, %.4f s by all work on all "
           "devices\n",
           1e-6 * run->bounds.path_us, 1e-6 * run->bounds.work_us);
    printf("  ratio       %.4f of the larger bound\n", bound > 0.0 ? run->total / bound : NAN);
    printf("  tasks       %lu%s\n", sdt_machine_tasks(run->machine),
           run->s->fast_forward ? ", of which steps that are like others were not simulated" : "");
    print_devices(run);
}

static enum sdt_status write_stats(const struct run *run, const struct sdt_plan *plan,
                                   struct sdt_error *err) {
    const struct app_simulation *s = run->s;
    json_t *stats = app_stats_begin("stardit-simulate"), *videos = json_array();
    if (!stats || !videos)
        return sdt_fail(err, SDT_ERROR_MEMORY, "out of memory for statistics");
    for (int r = 0; r < s->prompts; r++) {
        const struct video *v = &run->video[r];
        json_array_append_new(videos,
                              json_pack("{s:f, s:f, s:f, s:f, s:f, s:f}", "text_seconds", v->text,
                                        "denoise_seconds", v->denoise, "decode_seconds", v->decode,
                                        "first_step_at", v->first_step, "last_step_at",
                                        v->last_step, "delivered_at", v->delivered));
    }
    json_object_set_new(stats, "simulated",
                        json_pack("{s:s, s:i, s:i, s:i, s:i, s:i, s:I, s:b}", "model", s->model,
                                  "height", s->request.height, "width", s->request.width, "frames",
                                  s->request.num_frames, "steps", s->request.steps, "prompts",
                                  s->prompts, "tokens", (json_int_t)plan->tokens, "fast_forward",
                                  s->fast_forward));
    json_object_set_new(stats, "total_seconds", json_real(run->total));
    json_object_set_new(stats, "seconds_per_video", json_real(run->total / s->prompts));
    json_object_set_new(stats, "step_seconds",
                        s->request.steps > 1 ? json_real(step_seconds(run)) : json_null());
    json_object_set_new(stats, "bounds",
                        json_pack("{s:f, s:f, s:f}", "path_seconds", 1e-6 * run->bounds.path_us,
                                  "work_seconds", 1e-6 * run->bounds.work_us, "ratio",
                                  larger_bound(run) > 0.0 ? run->total / larger_bound(run) : 0.0));
    json_object_set_new(stats, "videos", videos);
    app_stats_machine(stats, run->machine, plan->device_tiles, plan->device_heads);
    return app_stats_write(stats, s->stats, err);
}

/* A machine cannot be faster than its bounds: the simulation would be wrong. */
static enum sdt_status check_bounds(const struct run *run, struct sdt_error *err) {
    double bound = larger_bound(run);
    if (run->total >= bound * (1.0 - 1e-9))
        return SDT_OK;
    return sdt_fail(err, SDT_ERROR_DEVICE,
                    "the simulation took %.6f s, less than its bound of %.6f s", run->total, bound);
}

enum sdt_status app_simulate_run(struct app_simulation *s, struct sdt_machine *machine,
                                 struct sdt_error *err) {
    struct run run = {.s = s, .machine = machine};
    struct sdt_request defaults, request = s->request;
    struct sdt_plan plan = {0};
    struct sdt_machine_options options = {0};
    struct states states = {0};
    char *prompt = app_simulate_prompt(request.max_sequence_length);

    run.video = calloc((size_t)s->prompts, sizeof *run.video);
    enum sdt_status status =
        prompt && run.video ? sdt__pipeline_imagine(s->model, s->whole.layers, &run.pipeline, err)
                            : sdt_fail(err, SDT_ERROR_MEMORY, "out of memory for prompts");
    if (status == SDT_OK)
        status = sdt_pipeline_defaults(run.pipeline, &defaults, err);
    if (status != SDT_OK)
        goto out;
    request.prompt = prompt;
    request.negative_prompt = defaults.negative_prompt;
    if (!give_states(run.pipeline, s->embeds, &request, &states)) {
        status = sdt_fail(err, SDT_ERROR_MEMORY, "out of memory for prompts");
        goto out;
    }
    app_devices_options(&s->place.machine, &options);
    status = sdt_plan_make(run.pipeline, &request, &s->placement, &options, &plan, err);
    if (status != SDT_OK)
        goto out;
    sdt__recorder_keep_bounds(machine->recorder);
    run.begin = sdt__now();
    status = serve(&run, &request, err);
    run.total = sdt__now() - run.begin;
    run.bounds = sdt__recorder_bounds(machine->recorder);
    if (status == SDT_OK)
        status = check_bounds(&run, err);
    if (status == SDT_OK && (!s->stats || strcmp(s->stats, "-") != 0))
        print(&run, &plan);
    if (status == SDT_OK && s->stats)
        status = write_stats(&run, &plan, err);
    if (status == SDT_OK && s->gantt)
        status = app_gantt_write(machine, run.begin, run.begin + run.total, s->gantt, err);
out:
    sdt_plan_clear(&plan);
    sdt_pipeline_close(run.pipeline);
    free(run.video);
    free(states.values);
    free(prompt);
    return status;
}

/* Two prompts to two videos: generate CHECKPOINT VIDEO VIDEO, where a VIDEO ends in .y4m, .mp4 or
 * .safetensors.
 *
 * Two devices, one for each part of the work: while the first denoises the second prompt, the other
 * decodes the first one's video. docs/library.md walks through it. */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include <stardit/stardit.h>

static atomic_int written;

static void write_video(void *path, int request, enum sdt_status status,
                        const struct sdt_error *err, struct sdt_result *result) {
    struct sdt_video video = {.frames = result->frames,
                              .height = result->height,
                              .width = result->width,
                              .fps = 16.0,
                              .pixels = result->video};
    struct sdt_error failed = *err;
    if (status == SDT_OK)
        status = sdt_video_write(&video, ((char **)path)[request], false, &failed);
    if (status == SDT_OK)
        written++;
    else
        fprintf(stderr, "video %d: %s\n", request, failed.message);
}

int main(int argc, char **argv) {
    static const char *const prompt[2] = {"a red circle moving right over a blue background",
                                          "a blue square moving up"};
    struct sdt_error err = {0};
    struct sdt_pipeline *pipeline = NULL;
    struct sdt_machine *machine = NULL;
    struct sdt_machine_options options = {.devices = 2};
    struct sdt_run_options run = {.deliver = write_video, .deliver_arg = argv + 2};
    struct sdt_request request[2];
    struct sdt_plan plan = {0};

    if (argc != 4)
        return 2;
    enum sdt_status status = sdt_pipeline_open(argv[1], &pipeline, &err);
    for (int r = 0; r < 2 && status == SDT_OK; r++) {
        status = sdt_pipeline_defaults(pipeline, &request[r], &err);
        request[r].prompt = prompt[r];
    }
    if (status == SDT_OK) {
        sdt_placement_balance(pipeline, request, &options, &run.placement);
        status = sdt_plan_make(pipeline, request, &run.placement, &options, &plan, &err);
    }
    if (status == SDT_OK) {
        printf("a video: %lld tokens, %.3g FLOPs\n", (long long)plan.tokens, plan.total_flops);
        status = sdt_machine_open(&options, &machine, &err);
    }
    if (status == SDT_OK)
        status = sdt_pipeline_run_all(pipeline, machine, request, 2, &run, &err);
    if (status != SDT_OK)
        fprintf(stderr, "%s: %s\n", sdt_status_name(status), err.message);
    if (status == SDT_ERROR_STALLED)
        _Exit(1); /* tasks may still be running: nothing can be closed */
    sdt_plan_clear(&plan);
    sdt_machine_close(machine);
    sdt_pipeline_close(pipeline);
    return written == 2 ? 0 : 1;
}

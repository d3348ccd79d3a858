/* A request that a device's memory limit (STARPU_LIMIT_CPU_NUMA_n_MEM) leaves no room for is
 * refused before its tasks are submitted, with the numbers in the message, and its latent is kept;
 * the requests before and after it finish. Once for decoding, once for denoising. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "graph/pipeline.h"

enum { REQUESTS = 3, DIT = 2, VAE = 1, SMALL = 48, LARGE = 208, FRAMES = 5, STEPS = 2 };

struct seen {
    enum sdt_status status[REQUESTS];
    char message[REQUESTS][600];
    bool video[REQUESTS], latent[REQUESTS], decoded[REQUESTS], denoised[REQUESTS];
    int steps_done[REQUESTS];
    double limit_mb, small_mb, large_mb, peak_mb; /* of the limited device */
    char failure[600];
};

static void progress(void *arg, int request, const char *phase, int done, int total) {
    struct seen *seen = arg;
    (void)total;
    if (!strcmp(phase, "decode") && done > 0)
        seen->decoded[request] = true;
    if (!strcmp(phase, "denoise") && done > 0)
        seen->denoised[request] = true;
}

static void deliver(void *arg, int request, enum sdt_status status, const struct sdt_error *err,
                    struct sdt_result *result) {
    struct seen *seen = arg;
    seen->status[request] = status;
    seen->video[request] = result->video;
    seen->latent[request] = result->latent;
    seen->steps_done[request] = result->steps_done;
    if (status != SDT_OK)
        snprintf(seen->message[request], sizeof seen->message[request], "%s", err->message);
}

static double denoise_bytes(struct sdt_pipeline *pipeline, const struct sdt_request *request) {
    struct sdt_placement placement = {
        .dit_devices = DIT, .vae_devices = VAE, .dit = {0, 1}, .vae = {2}};
    struct sdt_machine_options options = {.devices = DIT + VAE, .workers_per_device = 1};
    struct sdt_plan plan;
    struct sdt_error err;
    if (sdt_plan_make(pipeline, request, &placement, &options, &plan, &err) != SDT_OK)
        return 0.0;
    double bytes = plan.device_bytes[0];
    sdt_plan_clear(&plan);
    return bytes;
}

/* decoding: the VAE device is limited, else DiT device 0. */
static int run(bool decoding, struct seen *seen) {
    struct sdt_error err = {0};
    struct sdt_machine_options options = {.devices = DIT + VAE, .workers_per_device = 1};
    struct sdt_run_options run = {.placement = {.dit_devices = DIT,
                                                .vae_devices = VAE,
                                                .dit = {0, 1},
                                                .vae = {DIT},
                                                .most_latents = 2},
                                  .progress = progress,
                                  .progress_arg = seen,
                                  .deliver = deliver,
                                  .deliver_arg = seen};
    struct sdt_machine *machine = NULL;
    struct sdt_pipeline *pipeline = NULL;
    struct sdt_request request[REQUESTS];
    char path[4096], number[32];
    double bytes[REQUESTS];

    snprintf(path, sizeof path, "%s/checkpoints/stardit-demo", getenv("STARDIT_SOURCE_DIR"));
    if (sdt_pipeline_open(path, &pipeline, &err) != SDT_OK)
        goto failed;
    for (int r = 0; r < REQUESTS; r++) {
        if (sdt_pipeline_defaults(pipeline, &request[r], &err) != SDT_OK)
            goto failed;
        request[r].prompt = "a red ball";
        request[r].height = request[r].width = r == 1 ? LARGE : SMALL;
        request[r].num_frames = FRAMES;
        request[r].max_sequence_length = 8; /* the plan counts keys for all of it */
        request[r].steps = STEPS;
        request[r].strategy = sdt_strategy_find("pipesp");
        struct sdt_vae_job job = sdt__vae_job(pipeline, &request[r]);
        bytes[r] = decoding ? pipeline->vae->kind->bytes(pipeline->vae, &job, VAE, 0)
                            : denoise_bytes(pipeline, &request[r]);
    }
    /* StarPU counts in MB of 2^20 bytes; room for one small request, not for the large one. */
    int limit = (int)((bytes[0] + bytes[1]) / 2.0 / (1 << 20));
    seen->limit_mb = limit * (double)(1 << 20) / 1e6;
    seen->small_mb = bytes[0] / 1e6;
    seen->large_mb = bytes[1] / 1e6;
    snprintf(number, sizeof number, "%d", limit);
    setenv(decoding ? "STARPU_LIMIT_CPU_NUMA_3_MEM" : "STARPU_LIMIT_CPU_NUMA_1_MEM", number, 1);
    if (sdt_machine_open(&options, &machine, &err) != SDT_OK)
        goto failed;
    if (sdt_pipeline_run_all(pipeline, machine, request, REQUESTS, &run, &err) != SDT_ERROR_LIMIT) {
        snprintf(seen->failure, sizeof seen->failure, "the run said %.500s", err.message);
        return 1;
    }
    seen->peak_mb = (double)sdt__recorder_peak(machine->recorder, decoding ? DIT + 1 : 1) / 1e6;
    sdt_machine_close(machine);
    sdt_pipeline_close(pipeline);
    return 0;
failed:
    snprintf(seen->failure, sizeof seen->failure, "%s", err.message);
    return 1;
}

int main(void) {
    int failures = 0;
    for (int decoding = 1; decoding >= 0; decoding--) {
        struct seen *seen =
            mmap(NULL, sizeof *seen, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        int status = 1;
        char limit[64];
        if (seen == MAP_FAILED)
            abort();
        fflush(stdout);
        pid_t child = fork();
        if (child == 0)
            _exit(run(decoding, seen));
        if (child < 0 || waitpid(child, &status, 0) < 0 || status != 0)
            snprintf(seen->failure + strlen(seen->failure), 40, " (status %d)", status);
        snprintf(limit, sizeof limit, "limit is %.1f MB", seen->limit_mb);
        bool others = true;
        for (int r = 0; r < REQUESTS; r += 2)
            others = others && seen->status[r] == SDT_OK && seen->video[r];
        bool refused = seen->status[1] == SDT_ERROR_LIMIT && strstr(seen->message[1], limit) &&
                       !seen->video[1] && !seen->decoded[1];
        bool latent =
            seen->latent[1] && (decoding ? seen->denoised[1] && seen->steps_done[1] == STEPS
                                         : !seen->denoised[1] && seen->steps_done[1] == 0);
        bool ok = !seen->failure[0] && others && refused && latent;
        printf("%s: %.1f and %.1f MB predicted, %.1f MB allowed, %.1f MB used at most; request 2: "
               "%s; the other videos %s, latent 2 after %d steps: %s%s\n",
               decoding ? "decoding" : "denoising", seen->small_mb, seen->large_mb, seen->limit_mb,
               seen->peak_mb, seen->message[1], others ? "are there" : "are missing",
               seen->steps_done[1], seen->failure, ok ? "ok" : "FAIL");
        failures += !ok;
        munmap(seen, sizeof *seen);
    }
    return failures ? 1 : 0;
}

/* Ten prompts on 7 + 1 devices: decoding of request k overlaps denoising of request k + 1, for
 * every k; latents alive stay within their bound; memory is flat from the third prompt on; and no
 * device of one group ever needs the room of the other group's weights. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "graph/pipeline.h"
#include "runtime/clock.h"

enum { REQUESTS = 10, DIT = 7, VAE = 1, BOUND = 2 };

struct span {
    double begin, end;
};

struct watch {
    pthread_mutex_t mutex;
    struct span denoise[REQUESTS], decode[REQUESTS];
    int begun, delivered, most_alive;
    size_t used[REQUESTS]; /* bytes of all devices when request r was delivered */
    char message[600];
};

static void progress(void *arg, int request, const char *phase, int done, int total) {
    struct watch *watch = arg;
    pthread_mutex_lock(&watch->mutex);
    if (!strcmp(phase, "text") && done == 0) {
        watch->begun++;
        watch->denoise[request].begin = sdt__now();
        if (watch->begun - watch->delivered > watch->most_alive)
            watch->most_alive = watch->begun - watch->delivered;
    }
    if (!strcmp(phase, "denoise") && done == total) {
        watch->denoise[request].end = sdt__now();
        watch->decode[request].begin = sdt__now(); /* or later: the queue is taken at once here */
    }
    pthread_mutex_unlock(&watch->mutex);
}

static void deliver(void *arg, int request, enum sdt_status status, const struct sdt_error *err,
                    struct sdt_result *result) {
    struct watch *watch = arg;
    (void)result;
    pthread_mutex_lock(&watch->mutex);
    watch->delivered++;
    watch->decode[request].end = sdt__now();
    for (unsigned node = 1; node <= DIT + VAE; node++)
        watch->used[request] += starpu_memory_get_used(node);
    if (status != SDT_OK)
        snprintf(watch->message, sizeof watch->message, "%s", err->message);
    pthread_mutex_unlock(&watch->mutex);
}

int main(void) {
    struct sdt_error err = {0};
    struct sdt_machine_options options = {.devices = DIT + VAE, .workers_per_device = 1};
    struct sdt_machine *machine = NULL;
    struct sdt_pipeline *pipeline = NULL;
    struct sdt_request request[REQUESTS];
    struct watch watch = {.mutex = PTHREAD_MUTEX_INITIALIZER};
    struct sdt_run_options run = {.placement = {.dit_devices = DIT,
                                                .vae_devices = VAE,
                                                .dit = {0, 1, 2, 3, 4, 5, 6},
                                                .vae = {7},
                                                .most_latents = BOUND},
                                  .progress = progress,
                                  .progress_arg = &watch,
                                  .deliver = deliver,
                                  .deliver_arg = &watch};
    char path[4096];
    int overlaps = 0, failures = 0;

    snprintf(path, sizeof path, "%s/checkpoints/stardit-demo", getenv("STARDIT_SOURCE_DIR"));
    if (sdt_pipeline_open(path, &pipeline, &err) != SDT_OK ||
        sdt_pipeline_defaults(pipeline, &request[0], &err) != SDT_OK ||
        sdt_machine_open(&options, &machine, &err) != SDT_OK)
        goto failed;
    request[0].prompt = "a red ball";
    request[0].steps = 4;
    request[0].strategy = sdt_strategy_find("pipesp");
    for (int r = 1; r < REQUESTS; r++)
        request[r] = request[0];
    if (sdt_pipeline_run_all(pipeline, machine, request, REQUESTS, &run, &err) != SDT_OK)
        goto failed;
    for (int r = 0; r + 1 < REQUESTS; r++)
        overlaps += watch.decode[r].begin < watch.denoise[r + 1].end &&
                    watch.denoise[r + 1].begin < watch.decode[r].end;
    size_t least = watch.used[2], most = watch.used[2];
    for (int r = 3; r < REQUESTS; r++) {
        least = watch.used[r] < least ? watch.used[r] : least;
        most = watch.used[r] > most ? watch.used[r] : most;
    }
    size_t dit_weights = 4 * sdt_weights_parameters(pipeline->dit->weights);
    size_t vae_peak = sdt__recorder_peak(machine->recorder, DIT + 1);
    printf("decode of k overlaps denoise of k + 1 for %d of %d: %s\n", overlaps, REQUESTS - 1,
           overlaps == REQUESTS - 1 ? "ok" : "FAIL");
    printf("at most %d latents alive, bound %d: %s\n", watch.most_alive, BOUND,
           watch.most_alive <= BOUND ? "ok" : "FAIL");
    printf("memory of all devices from prompt 3 on: %.2f to %.2f MB: %s\n", (double)least / 1e6,
           (double)most / 1e6, (double)most <= 1.1 * (double)least ? "ok" : "FAIL");
    printf("peak of the VAE device %.2f MB; DiT weights alone are %.2f MB\n",
           (double)vae_peak / 1e6, (double)dit_weights / 1e6);
    failures = (overlaps < REQUESTS - 1) + (watch.most_alive > BOUND) +
               ((double)most > 1.1 * (double)least);
    sdt_machine_close(machine);
    sdt_pipeline_close(pipeline);
    return failures ? 1 : 0;
failed:
    printf("%s%s: FAIL\n", err.message, watch.message);
    return 1;
}

/* DeDiVAE and Aco: several requests over two groups of devices give the bits of one device,
 * whatever the group sizes, aco mode and strategy; decoding overlaps denoising; latents stay within
 * their bound.
 *
 * Every case runs in a process of its own, because StarPU is started anew with other devices. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "graph/pipeline.h"
#include "tests/light.h"

enum { REQUESTS = 4, STEPS = 3, SIZE = 48, FRAMES = 9, PIXELS = 3 * FRAMES * SIZE * SIZE };

struct test {
    int dit, vae; /* devices of each group; 0 VAE devices: one group */
    const char *strategy;
    enum sdt_aco aco;
    bool text_with_vae;
    const char *scheduler;
    int tile; /* VAE tiles in pixels, 0: none */
    bool spill;
};

/* What a child process leaves behind. */
struct shared {
    float video[REQUESTS][PIXELS];
    int delivered;
    int most_alive;
    int overlaps; /* requests whose decoding was under way while another was being denoised */
    char message[600];
};

struct watch {
    struct shared *shared;
    pthread_mutex_t mutex;
    int begun, delivered;
    bool decoding[REQUESTS];
};

static void progress(void *arg, int request, const char *phase, int done, int total) {
    struct watch *watch = arg;
    (void)total;
    pthread_mutex_lock(&watch->mutex);
    if (!strcmp(phase, "text") && done == 0)
        watch->begun++;
    if (!strcmp(phase, "decode"))
        watch->decoding[request] = true;
    if (watch->begun - watch->delivered > watch->shared->most_alive)
        watch->shared->most_alive = watch->begun - watch->delivered;
    pthread_mutex_unlock(&watch->mutex);
}

static void deliver(void *arg, int request, enum sdt_status status, const struct sdt_error *err,
                    struct sdt_result *result) {
    struct watch *watch = arg;
    pthread_mutex_lock(&watch->mutex);
    watch->delivered++;
    if (status == SDT_OK) {
        memcpy(watch->shared->video[request], result->video, sizeof watch->shared->video[request]);
        watch->shared->delivered++;
        if (watch->begun > watch->delivered)
            watch->shared->overlaps++;
    } else {
        snprintf(watch->shared->message, sizeof watch->shared->message, "%s", err->message);
    }
    pthread_mutex_unlock(&watch->mutex);
}

static int run(const struct test *test, struct shared *shared) {
    static const char *const prompts[REQUESTS] = {"a red ball", "snow on a hill", "two cats",
                                                  "the sea at night"};
    struct sdt_error err = {0};
    struct sdt_machine_options options = {
        .devices = test->dit + test->vae, .workers_per_device = 1, .scheduler = test->scheduler};
    struct sdt_machine *machine = NULL;
    struct sdt_pipeline *pipeline = NULL;
    struct sdt_request request[REQUESTS];
    struct watch watch = {.shared = shared, .mutex = PTHREAD_MUTEX_INITIALIZER};
    struct sdt_run_options run = {.placement = {.dit_devices = test->vae ? test->dit : 0,
                                                .vae_devices = test->vae,
                                                .aco = test->aco,
                                                .text_with_vae = test->text_with_vae,
                                                .vae_spill = test->spill,
                                                .most_latents = test->spill ? REQUESTS : 2},
                                  .progress = progress,
                                  .progress_arg = &watch,
                                  .deliver = deliver,
                                  .deliver_arg = &watch};
    char path[4096];

    snprintf(path, sizeof path, "%s/checkpoints/stardit-demo", getenv("STARDIT_SOURCE_DIR"));
    for (int d = 0; d < test->dit + test->vae; d++)
        if (d < test->dit)
            run.placement.dit[d] = d;
        else
            run.placement.vae[d - test->dit] = d;
    if (sdt_pipeline_open(path, &pipeline, &err) != SDT_OK ||
        sdt_machine_open(&options, &machine, &err) != SDT_OK)
        goto failed;
    for (int r = 0; r < REQUESTS; r++) {
        if (sdt_pipeline_defaults(pipeline, &request[r], &err) != SDT_OK)
            goto failed;
        request[r].prompt = prompts[r];
        request[r].height = request[r].width = SIZE;
        request[r].num_frames = FRAMES;
        request[r].steps = STEPS;
        request[r].seed = (uint64_t)r;
        request[r].strategy = sdt_strategy_find(test->strategy);
        if (test->tile)
            request[r].tiling =
                (struct sdt_vae_tiling){test->tile, test->tile, test->tile / 2, test->tile / 2};
    }
    if (sdt_pipeline_run_all(pipeline, machine, request, REQUESTS, &run, &err) != SDT_OK)
        goto failed;
    sdt_machine_close(machine);
    sdt_pipeline_close(pipeline);
    return 0;
failed:
    snprintf(shared->message, sizeof shared->message, "%s", err.message);
    return 1;
}

static struct shared *run_apart(const struct test *test) {
    struct shared *shared =
        mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    int status = 1;
    if (shared == MAP_FAILED)
        abort();
    pid_t child = fork();
    if (child == 0)
        _exit(run(test, shared));
    if (child < 0 || waitpid(child, &status, 0) < 0 || status != 0)
        snprintf(shared->message + strlen(shared->message), 40, " (status %d)", status);
    return shared;
}

int main(void) {
    static const struct test tests[] = {
        {1, 1, "single", SDT_ACO_OFF, false, NULL, 0, false},
        {3, 1, "ulysses", SDT_ACO_OFF, true, NULL, 0, false},
        {2, 2, "pipesp", SDT_ACO_OFF, false, NULL, 0, false},
        {3, 1, "pipesp", SDT_ACO_STATIC, false, NULL, 0, false},
        {3, 2, "pipesp", SDT_ACO_DYNAMIC, false, NULL, 0, false},
        {7, 1, "ulysses", SDT_ACO_STATIC, false, NULL, 0, false},
        {2, 1, "ulysses", SDT_ACO_DYNAMIC, false, "lws", 0, false},
        {2, 1, "pipesp", SDT_ACO_DYNAMIC, false, "dmda", 0, false},
        {2, 1, "pipesp", SDT_ACO_DYNAMIC, false, "random", 0, false},
        {2, 1, "pipesp", SDT_ACO_OFF, false, NULL, 0, true},
    };
    static const struct test tiled[] = {{1, 0, "single", SDT_ACO_OFF, false, NULL, 32, false},
                                        {2, 2, "pipesp", SDT_ACO_OFF, false, NULL, 32, false}};
    struct test alone = {1, 0, "single", SDT_ACO_OFF, false, NULL, 0, false};
    struct shared *want = run_apart(&alone), *want_tiled = run_apart(&tiled[0]);
    int failures = 0;

    if (want->message[0] || want->delivered != REQUESTS || want_tiled->delivered != REQUESTS) {
        printf("one device: %d of %d videos %s: FAIL\n", want->delivered, REQUESTS, want->message);
        return 1;
    }
    for (size_t t = 0; t <= sizeof tests / sizeof tests[0]; t++) {
        const struct test *test = t < sizeof tests / sizeof tests[0] ? &tests[t] : &tiled[1];
        const struct shared *reference = test->tile ? want_tiled : want;
        if (test_light() && t % (test_least() ? 9 : 3) != 0)
            continue;
        struct shared *got = run_apart(test);
        bool same = !memcmp(got->video, reference->video, sizeof got->video);
        bool ok = same && !got->message[0] && got->delivered == REQUESTS &&
                  got->most_alive <= (test->spill ? REQUESTS : 2) && got->overlaps > 0;
        printf("%d+%d devices, %s, aco %s, %s%s: %d videos, bits %s, at most %d latents alive, %d "
               "delivered while denoising: %s%s\n",
               test->dit, test->vae, test->strategy, sdt_aco_name(test->aco),
               test->scheduler ? test->scheduler : "pipedit",
               test->tile    ? ", tiles"
               : test->spill ? ", spill"
                             : "",
               got->delivered, same ? "equal" : "differ", got->most_alive, got->overlaps,
               got->message, ok ? "ok" : "FAIL");
        failures += !ok;
        munmap(got, sizeof *got);
    }
    return failures ? 1 : 0;
}

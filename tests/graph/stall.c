/* Tasks that end after their run was given up (SDT_ERROR_STALLED) find what they look at, and no
 * longer reach the caller, whose objects may be gone: a task's end is held up until the run has
 * returned, then let go. While text is encoded, denoising, decoding; with one group and with two.
 * Worth most in a build with --enable-sanitizers=address. */
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "graph/pipeline.h"
#include "tests/check.h"

struct test {
    int dit, vae; /* 0 VAE devices: one group */
    const char *task;
};

/* Stops the first task of a name at its end. */
struct hold {
    const char *task;
    atomic_bool held;
    sem_t go;
};

static void hold_up(void *arg) {
    struct hold *hold = arg;
    const char *name = starpu_task_get_name(starpu_task_get_current());
    if (name && !strcmp(name, hold->task) && !atomic_exchange(&hold->held, true))
        while (sem_wait(&hold->go))
            ;
}

static atomic_bool returned;
static atomic_int late; /* calls of progress after that */

static void progress(void *arg, int request, const char *phase, int done, int total) {
    int *told = arg;
    (void)request;
    (void)phase;
    (void)done;
    (void)total;
    if (atomic_load(&returned))
        atomic_fetch_add(&late, 1);
    else
        __atomic_add_fetch(told, 1, __ATOMIC_RELAXED);
}

static void deliver(void *arg, int request, enum sdt_status status, const struct sdt_error *err,
                    struct sdt_result *result) {
    (void)request;
    (void)err;
    *(enum sdt_status *)arg = status;
    if (status == SDT_ERROR_STALLED)
        CHECK(!result->video, "a video that tasks may still write is given away");
}

static int pending(struct sdt_machine *machine) {
    int sum = 0;
    for (int l = 0; l < SDT_LANES; l++)
        sum += atomic_load(&machine->lane[l].pending);
    return sum;
}

/* A machine so busy that the run stalled before the task was held up. */
enum { BUSY = 3 };

static int run(const struct test *test, double patience) {
    struct sdt_machine_options options = {.devices = test->dit + test->vae,
                                          .workers_per_device = 1};
    const struct timespec moment = {0, 10 * 1000 * 1000};
    struct sdt_machine *machine = NULL;
    struct sdt_pipeline *pipeline = NULL;
    struct sdt_request request;
    struct sdt_error err = {0};
    struct hold hold = {.task = test->task};
    enum sdt_status delivered = SDT_OK;
    int *told = calloc(1, sizeof *told);
    char path[4096];

    snprintf(path, sizeof path, "%s/checkpoints/stardit-demo", getenv("STARDIT_SOURCE_DIR"));
    if (!told || sdt_pipeline_open(path, &pipeline, &err) != SDT_OK ||
        sdt_pipeline_defaults(pipeline, &request, &err) != SDT_OK ||
        sdt_machine_open(&options, &machine, &err) != SDT_OK) {
        printf("%s: FAIL\n", err.message);
        return 1;
    }
    request.prompt = "a red ball";
    request.height = request.width = 32;
    request.num_frames = 5;
    request.steps = 2;
    request.strategy = sdt_strategy_find("pipesp");
    sem_init(&hold.go, 0, 0);
    machine->watch.stall_seconds = patience;
    machine->watch.task_ended_arg = &hold;
    machine->watch.task_ended = hold_up;
    struct sdt_run_options run = {
        .placement = {.dit_devices = test->vae ? test->dit : 0, .vae_devices = test->vae},
        .progress = progress,
        .progress_arg = told,
        .deliver = deliver,
        .deliver_arg = &delivered};
    for (int i = 0; i < test->dit + test->vae; i++)
        if (i < test->dit)
            run.placement.dit[i] = i;
        else
            run.placement.vae[i - test->dit] = i;
    enum sdt_status status = sdt_pipeline_run_all(pipeline, machine, &request, 1, &run, &err);
    atomic_store(&returned, true);
    free(told);
    int waiting = pending(machine);
    if (status == SDT_ERROR_STALLED && !atomic_load(&hold.held))
        return BUSY;
    CHECK(status == SDT_ERROR_STALLED && delivered == status && atomic_load(&hold.held),
          "%s held up: %s, '%s'", test->task, sdt_status_name(status), err.message);
    sem_post(&hold.go);
    while (pending(machine) > 0) /* tests/run ends what never ends */
        nanosleep(&moment, NULL);
    CHECK(waiting > 0 && pending(machine) == 0, "%s: %d tasks waited, %d still do", test->task,
          waiting, pending(machine));
    CHECK(atomic_load(&late) == 0, "%s: %d late calls of the caller", test->task, late);
    printf("%d+%d devices, %s held up: %d tasks ended afterwards%s\n", test->dit, test->vae,
           test->task, waiting, failures ? ": FAIL" : "");
    return failures > 0;
}

int main(void) {
    static const struct test tests[] = {
        {1, 0, "text_gate"},    {2, 0, "text_gate"}, {2, 0, "to_out"},   {1, 0, "sampler_step"},
        {2, 1, "sampler_step"}, {1, 0, "vae_conv"},  {2, 1, "vae_conv"}, {3, 0, "put_frame"},
    };
    int wrong = 0;
    for (size_t t = 0; t < sizeof tests / sizeof tests[0]; t++) {
        bool ended = true, busy = true;
        int status = 1;
        for (double patience = 2.0; ended && busy && patience < 100.0; patience *= 5.0) {
            fflush(stdout);
            pid_t child = fork();
            if (child == 0) {
                int code = run(&tests[t], patience);
                fflush(stdout);
                _exit(code); /* StarPU cannot be stopped any more */
            }
            ended = child > 0 && waitpid(child, &status, 0) > 0;
            busy = WIFEXITED(status) && WEXITSTATUS(status) == BUSY;
        }
        if (!ended || status != 0) {
            printf("%d+%d devices, %s held up: status %d: FAIL\n", tests[t].dit, tests[t].vae,
                   tests[t].task, status);
            wrong++;
        }
    }
    return wrong > 0;
}

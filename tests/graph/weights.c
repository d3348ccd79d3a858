/* DeDiVAE keeps weights where they are used: at the end of every task StarPU is asked whether a DiT
 * weight has room on a VAE device, or a VAE weight on a DiT device. Never, in three requests on 3 +
 * 1 devices, whatever attention co-processing does. The co-located run on the same four devices
 * shows that the question would find them, and what the separation saves. */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "graph/pipeline.h"
#include "graph/run/parameters.h"

enum { REQUESTS = 3, DIT = 3, VAE = 1, DEVICES = DIT + VAE };

struct seen {
    int delivered;
    atomic_long checks;
    atomic_long dit_weights[DEVICES], vae_weights[DEVICES]; /* most tensors at once */
    atomic_long strays; /* tensors found on the other group's devices, over all checks */
    atomic_long weight_bytes[DEVICES]; /* most of both at once */
    double peak[DEVICES];
    char message[600];
};

struct watch {
    struct sdt_machine *machine;
    const struct sdt_weights *dit, *vae;
    struct seen *seen;
};

static void lift(atomic_long *most, long value) {
    long before = atomic_load(most);
    while (value > before && !atomic_compare_exchange_weak(most, &before, value))
        ;
}

static void task_ended(void *arg) {
    const struct watch *watch = arg;
    for (int d = 0; d < DEVICES; d++) {
        unsigned node = watch->machine->device[d].node;
        size_t dit_bytes, vae_bytes;
        int dit = sdt_parameters_resident(watch->machine, watch->dit, node, &dit_bytes);
        int vae = sdt_parameters_resident(watch->machine, watch->vae, node, &vae_bytes);
        lift(&watch->seen->weight_bytes[d], (long)(dit_bytes + vae_bytes));
        lift(&watch->seen->dit_weights[d], dit);
        lift(&watch->seen->vae_weights[d], vae);
        atomic_fetch_add(&watch->seen->strays, d < DIT ? vae : dit);
    }
    atomic_fetch_add(&watch->seen->checks, 1);
}

static void deliver(void *arg, int request, enum sdt_status status, const struct sdt_error *err,
                    struct sdt_result *result) {
    struct seen *seen = arg;
    (void)request;
    (void)err;
    seen->delivered += status == SDT_OK && result->video;
}

static int run(bool two_groups, enum sdt_aco aco, struct seen *seen) {
    static const char *const prompts[REQUESTS] = {"a red ball", "snow on a hill", "two cats"};
    struct sdt_error err = {0};
    struct sdt_machine_options options = {.devices = DEVICES, .workers_per_device = 1};
    struct sdt_run_options run = {.placement = {.dit_devices = two_groups ? DIT : 0,
                                                .vae_devices = two_groups ? VAE : 0,
                                                .dit = {0, 1, 2},
                                                .vae = {3},
                                                .keep_weights = true,
                                                .aco = aco,
                                                .most_latents = 2},
                                  .deliver = deliver,
                                  .deliver_arg = seen};
    struct sdt_machine *machine = NULL;
    struct sdt_pipeline *pipeline = NULL;
    struct sdt_request request[REQUESTS];
    char path[4096];

    snprintf(path, sizeof path, "%s/checkpoints/stardit-demo", getenv("STARDIT_SOURCE_DIR"));
    if (sdt_pipeline_open(path, &pipeline, &err) != SDT_OK ||
        sdt_machine_open(&options, &machine, &err) != SDT_OK)
        goto failed;
    struct watch watch = {.machine = machine,
                          .dit = pipeline->dit->weights,
                          .vae = pipeline->vae->weights,
                          .seen = seen};
    machine->watch.task_ended_arg = &watch;
    machine->watch.task_ended = task_ended;
    for (int r = 0; r < REQUESTS; r++) {
        if (sdt_pipeline_defaults(pipeline, &request[r], &err) != SDT_OK)
            goto failed;
        request[r].prompt = prompts[r];
        request[r].steps = 2;
        request[r].seed = (uint64_t)r;
        request[r].strategy = sdt_strategy_find("pipesp");
        /* With tiles every device that decodes needs all of the VAE. */
        request[r].tiling = (struct sdt_vae_tiling){32, 32, 16, 16};
    }
    if (sdt_pipeline_run_all(pipeline, machine, request, REQUESTS, &run, &err) != SDT_OK)
        goto failed;
    for (int d = 0; d < DEVICES; d++)
        seen->peak[d] = (double)sdt__recorder_peak(machine->recorder, machine->device[d].node);
    sdt_machine_close(machine);
    sdt_pipeline_close(pipeline);
    return 0;
failed:
    snprintf(seen->message, sizeof seen->message, "%s", err.message);
    return 1;
}

/* In a process of its own: StarPU is started anew. */
static const struct seen *run_apart(bool two_groups, enum sdt_aco aco) {
    struct seen *seen =
        mmap(NULL, sizeof *seen, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    int status = 1;
    if (seen == MAP_FAILED)
        abort();
    fflush(stdout);
    pid_t child = fork();
    if (child == 0)
        _exit(run(two_groups, aco, seen));
    if (child < 0 || waitpid(child, &status, 0) < 0 || status != 0)
        snprintf(seen->message + strlen(seen->message), 40, " (status %d)", status);
    return seen;
}

int main(void) {
    static const enum sdt_aco modes[] = {SDT_ACO_OFF, SDT_ACO_STATIC, SDT_ACO_DYNAMIC};
    const struct seen *together = run_apart(false, SDT_ACO_OFF), *apart[3];
    int failures = 0;

    for (int m = 0; m < 3; m++) {
        const struct seen *seen = apart[m] = run_apart(true, modes[m]);
        bool there = seen->vae_weights[DIT] > 0;
        for (int d = 0; d < DIT; d++)
            there = there && seen->dit_weights[d] > 0;
        bool ok = seen->delivered == REQUESTS && !seen->message[0] && seen->checks > 1000 &&
                  seen->strays == 0 && there;
        printf(
            "%d+%d devices, pipesp, aco %s: %d videos, %ld checks of %d devices, at most %ld DiT "
            "weights on a DiT device and %ld VAE weights on the VAE device, %ld strays: %s%s\n",
            DIT, VAE, sdt_aco_name(modes[m]), seen->delivered, (long)seen->checks, DEVICES,
            (long)seen->dit_weights[0], (long)seen->vae_weights[DIT], (long)seen->strays,
            seen->message, ok ? "ok" : "FAIL");
        failures += !ok;
    }
    bool ok = together->delivered == REQUESTS && !together->message[0] && together->strays > 0;
    printf(
        "%d devices in one group: %d videos, %ld checks, %ld weights seen where DeDiVAE has none: "
        "%s%s\n",
        DEVICES, together->delivered, (long)together->checks, (long)together->strays,
        together->message, ok ? "ok" : "FAIL");
    failures += !ok;

    double sum[2] = {0.0, 0.0}, weights[2] = {0.0, 0.0};
    for (int d = 0; d < DEVICES; d++) {
        printf(
            "device %d: weights %.2f MB co-located, %.2f MB with DeDiVAE; peak %.2f MB, %.2f MB\n",
            d, (double)together->weight_bytes[d] / 1e6, (double)apart[0]->weight_bytes[d] / 1e6,
            together->peak[d] / 1e6, apart[0]->peak[d] / 1e6);
        sum[0] += together->peak[d];
        sum[1] += apart[0]->peak[d];
        weights[0] += (double)together->weight_bytes[d];
        weights[1] += (double)apart[0]->weight_bytes[d];
    }
    ok = weights[1] < weights[0] && sum[1] < sum[0];
    printf("weights of all devices: %.2f MB co-located, %.2f MB with DeDiVAE, %.1f %% saved\n",
           weights[0] / 1e6, weights[1] / 1e6, 100.0 * (1.0 - weights[1] / weights[0]));
    printf("peaks of all devices: %.2f MB co-located, %.2f MB with DeDiVAE, %.1f %% saved: %s\n",
           sum[0] / 1e6, sum[1] / 1e6, 100.0 * (1.0 - sum[1] / sum[0]), ok ? "ok" : "FAIL");
    failures += !ok;
    return failures ? 1 : 0;
}

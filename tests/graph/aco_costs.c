/* Dynamic aco decides by expected ends: it sends no attention to the helpers where transfers
 * dominate, and some where attention does. Two cost settings, told to the scheduler by the
 * machine. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "graph/pipeline.h"
#include "tests/light.h"

enum { DEVICES = 3 };

static void drop(void *arg, int request, enum sdt_status status, const struct sdt_error *err,
                 struct sdt_result *result) {
    (void)request;
    (void)result;
    if (status != SDT_OK)
        snprintf(arg, 600, "%s", err->message);
}

/* Attention tasks that ran on the VAE device; -1: failed. */
static int visiting(double worker_gflops, double link_mb_per_s) {
    struct sdt_error err = {0};
    struct sdt_machine_options options = {.devices = DEVICES,
                                          .workers_per_device = 1,
                                          .worker_gflops = worker_gflops,
                                          .link_mb_per_s = link_mb_per_s};
    struct sdt_machine *machine = NULL;
    struct sdt_pipeline *pipeline = NULL;
    struct sdt_request request;
    char path[4096], message[600] = "";
    struct sdt_run_options run = {.placement = {.dit_devices = DEVICES - 1,
                                                .vae_devices = 1,
                                                .dit = {0, 1},
                                                .vae = {2},
                                                .aco = SDT_ACO_DYNAMIC},
                                  .deliver = drop,
                                  .deliver_arg = message};

    snprintf(path, sizeof path, "%s/checkpoints/stardit-demo", getenv("STARDIT_SOURCE_DIR"));
    if (sdt_pipeline_open(path, &pipeline, &err) != SDT_OK ||
        sdt_pipeline_defaults(pipeline, &request, &err) != SDT_OK ||
        sdt_machine_open(&options, &machine, &err) != SDT_OK)
        goto failed;
    request.prompt = "a red ball";
    request.steps = 2;
    if (test_light()) {
        request.height = request.width = 32;
        request.num_frames = 5;
        request.steps = 1;
    }
    request.strategy = sdt_strategy_find("pipesp");
    if (sdt_pipeline_run_all(pipeline, machine, &request, 1, &run, &err) != SDT_OK)
        goto failed;
    struct sdt_role_totals totals =
        sdt__recorder_totals(machine->recorder, DEVICES - 1, SDT_ROLE_ATTENTION);
    sdt_machine_close(machine);
    sdt_pipeline_close(pipeline);
    return (int)totals.tasks;
failed:
    printf("%s%s: FAIL\n", err.message, message);
    return -1;
}

/* In a process of its own: StarPU reads its links at start. */
static int visiting_apart(double worker_gflops, double link_mb_per_s) {
    int result[2], count = -1;
    if (pipe(result))
        return -1;
    pid_t child = fork();
    if (child == 0) {
        count = visiting(worker_gflops, link_mb_per_s);
        _exit(write(result[1], &count, sizeof count) == sizeof count ? 0 : 1);
    }
    waitpid(child, NULL, 0);
    close(result[1]);
    if (read(result[0], &count, sizeof count) != sizeof count)
        count = -1;
    close(result[0]);
    return count;
}

int main(void) {
    int slow_links = visiting_apart(1000.0, 1.0), slow_workers = visiting_apart(0.001, 100000.0);
    printf(
        "attention tasks on the VAE device: %d where transfers dominate, %d where attention does: "
        "%s\n",
        slow_links, slow_workers, slow_links == 0 && slow_workers > 0 ? "ok" : "FAIL");
    return slow_links == 0 && slow_workers > 0 ? 0 : 1;
}

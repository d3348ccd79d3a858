/* Platform files for StarPU over SimGrid, and the process that runs on them. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "runtime/simulation.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <starpu.h>

#include "base/folder.h"
#include "runtime/bus.h"
#include "runtime/devices.h"
#include "runtime/start.h"

#define FOLDER_VARIABLE "STARDIT_SIMULATION" /* the folder, in the process that simulates */

/* ---- writing --------------------------------------------------------------------------------- */

/* Folders in which StarPU looks for models of codelets; it makes none of them here. */
static const char *const inside[] = {"/codelets", "/codelets/45", "/debug"};

static void write_platform(FILE *file, const void *arg) { sdt_platform_write(arg, file); }

static enum sdt_status make_folder(const struct sdt_platform *p, char **folder,
                                   struct sdt_error *err) {
    const struct sdt_bus bus = {.cpus = 1,
                                .numa_nodes = 1,
                                .gpus = p->devices,
                                .host_mb_per_s = p->host_gbps * 1e3,
                                .mb_per_s = p->link_gbps * 1e3,
                                .latency_us = p->link_latency_us,
                                .platform = write_platform,
                                .platform_arg = p};
    char path[4200];
    enum sdt_status status = sdt__bus_folder_make(folder, err);
    for (size_t i = 0; i < sizeof inside / sizeof inside[0] && status == SDT_OK; i++) {
        snprintf(path, sizeof path, "%s%s", *folder, inside[i]);
        if (mkdir(path, 0700))
            status = sdt_fail(err, SDT_ERROR_IO, "%s: %s", path, strerror(errno));
    }
    return status == SDT_OK ? sdt__bus_write(*folder, &bus, err) : status;
}

/* ---- running --------------------------------------------------------------------------------- */

bool sdt_simulation_launched(void) { return getenv(FOLDER_VARIABLE) != NULL; }

/* The environment of the process that simulates. */
static void set_environment(const struct sdt_platform *p, const char *folder) {
    /* Costs of StarPU's own calls: none, so that what is measured is the graph and the policy. */
    static const char *const costs[] = {"CUDA_MALLOC", "CUDA_QUEUE", "TASK_SUBMIT", "TASK_PUSH",
                                        "FETCHING_INPUT"};
    char text[64];

    setenv(FOLDER_VARIABLE, folder, 1);
    sdt__bus_folder_use(folder);
    for (size_t i = 0; i < sizeof costs / sizeof costs[0]; i++) {
        snprintf(text, sizeof text, "STARPU_SIMGRID_%s_COST", costs[i]);
        setenv(text, "0", 1);
    }
    /* Transfers share links, nothing else: the switch of these platforms is duplex and
     * non-blocking. */
    setenv("STARDIT_SIMGRID_LINKS_ONLY", "1", 1);
    setenv("STARPU_CUDA_PIPELINE", "2", 1); /* 0 gives times below the work */
    setenv("STARPU_NCPU", "1", 1);
    snprintf(text, sizeof text, "%d", p->devices);
    setenv("STARPU_NCUDA", text, 1);
    snprintf(text, sizeof text, "%.0f", p->memory_gb * 1e9 / (1 << 20));
    setenv("STARPU_LIMIT_CUDA_MEM", text, 1);
    setenv("STARPU_USE_NUMA", "0", 1);
    setenv("STARPU_SILENT", "1", 0);
}

enum sdt_status sdt_simulation_launch(const struct sdt_platform *platform, char **argv, int *code,
                                      struct sdt_error *err) {
    char *folder = NULL, path[4200];
    int state = 0, count = 0;
    char **quiet = NULL;
    pid_t child;

    *code = 1;
    enum sdt_status status = make_folder(platform, &folder, err);
    if (status != SDT_OK)
        goto out;

    /* SimGrid takes its own arguments out before the program sees them. */
    while (argv[count])
        count++;
    quiet = calloc((size_t)count + 2, sizeof *quiet);
    if (!quiet) {
        status = sdt_fail(err, SDT_ERROR_MEMORY, "out of memory while starting the simulation");
        goto out;
    }
    memcpy(quiet, argv, (size_t)count * sizeof *quiet);
    quiet[count] = "--log=xbt_cfg.thresh:warning";
    fflush(NULL);
    child = fork();
    if (child == 0) {
        set_environment(platform, folder);
        execv("/proc/self/exe", quiet);
        fprintf(stderr, "%s: %s\n", argv[0], strerror(errno));
        _exit(1);
    }
    if (child < 0) {
        status = sdt_fail(err, SDT_ERROR_IO, "no process for the simulation: %s", strerror(errno));
        goto out;
    }
    while (waitpid(child, &state, 0) < 0 && errno == EINTR)
        ;
    *code = WIFEXITED(state) ? WEXITSTATUS(state) : 1;
    snprintf(path, sizeof path, "%s/finished", folder);
    if (*code == 0 && access(path, F_OK)) {
        fprintf(stderr, "%s: the simulation did not come to its end\n", argv[0]);
        *code = 1;
    }
out:
    free(quiet);
    sdt__folder_remove(folder);
    return status;
}

void sdt_simulation_rates(struct sdt_machine *machine, const struct sdt_platform *p) {
    for (int role = 0; role < SDT_ROLES; role++) {
        double gflops = p->gflops;
        if (role == SDT_ROLE_ATTENTION && p->attention_gflops > 0.0)
            gflops = p->attention_gflops;
        machine->costs.rate[SDT_DEVICE_CUDA][role] =
            (struct sdt_rates){gflops * 1e3, p->memory_gbps * 1e3};
    }
    for (int d = 0; d < machine->devices && p->gflops > 0.0; d++)
        machine->device[d].speed =
            p->gflops * 1e9 * machine->costs.factor[machine->device[d].first_worker];
}

void sdt_simulation_finish(void) {
    char path[4200];
    snprintf(path, sizeof path, "%s/finished", getenv(FOLDER_VARIABLE));
    FILE *file = fopen(path, "w");
    if (file)
        fclose(file);
}

/* ---- the machine (runtime/start.h) ----------------------------------------------------------- */

/* The platform's GPUs, which have been there since before main. */
enum sdt_status sdt__start_settle(struct sdt_start *start, struct sdt_machine *machine,
                                  const struct sdt_machine_options *options,
                                  struct sdt_error *err) {
    char name[SDT_DEVICE_NAME];
    (void)start;
    if (options->devices < 1 || options->devices > SDT_MAX_DEVICES)
        return sdt_fail(err, SDT_ERROR_USAGE, "%d simulated GPUs; 1 to %d are supported",
                        options->devices, SDT_MAX_DEVICES);
    machine->devices = machine->gpus = options->devices;
    machine->workers_per_device = 1;
    for (int d = 0; d < machine->devices; d++) {
        machine->what[d] = (struct sdt_device){SDT_DEVICE_CUDA, d};
        if (options->device &&
            (options->device[d].kind != SDT_DEVICE_CUDA || options->device[d].index != d))
            return sdt_fail(err, SDT_ERROR_USAGE,
                            "%s as device %d: in simulated time devices are GPUs in their order",
                            sdt_device_name(options->device[d], name), d);
    }
    for (int role = 0; role < SDT_ROLES; role++)
        machine->costs.rate[SDT_DEVICE_CPU][role] =
            (struct sdt_rates){SDT_CPU_FLOPS * 1e-6, SDT_CPU_BYTES_PER_US};
    return sdt__device_speeds(machine->what, machine->devices, machine->workers, NULL,
                              options->device_speed, machine->speed, err);
}

/* It was set before main as well. */
enum sdt_status sdt__start_environment(const struct sdt_start *start, struct sdt_machine *machine,
                                       const struct sdt_machine_options *options,
                                       struct sdt_error *err) {
    (void)start, (void)machine, (void)options, (void)err;
    return SDT_OK;
}

/* Nothing is shared but what the platform says. */
void sdt__start_links(const struct sdt_machine *machine) {
    (void)machine;
    for (int bus = 0; bus < starpu_bus_get_count(); bus++)
        starpu_bus_set_ngpus(bus, 1);
}

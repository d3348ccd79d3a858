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

/* From memory node to memory node, which is the host, then GPUs. */
static double mb_per_s(const void *arg, int from, int to) {
    return 1e-6 * sdt_platform_link(arg, from - 1, to - 1);
}

static enum sdt_status make_folder(const struct sdt_platform *p, char **folder,
                                   struct sdt_error *err) {
    const struct sdt_bus bus = {.cpus = sdt_platform_cores(p),
                                .numa_nodes = 1,
                                .gpus = sdt_platform_memories(p),
                                .each_mb_per_s = mb_per_s,
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
    snprintf(text, sizeof text, "%d", sdt_platform_cores(p));
    setenv("STARPU_NCPU", text, 1);
    snprintf(text, sizeof text, "%d", sdt_platform_memories(p));
    setenv("STARPU_NCUDA", text, 1);
    for (int d = 0; d < sdt_platform_memories(p); d++) {
        char name[40];
        snprintf(name, sizeof name, "STARPU_LIMIT_CUDA_%d_MEM", d);
        snprintf(text, sizeof text, "%.0f", sdt_platform_kind(p, d)->memory_gb * 1e9 / (1 << 20));
        setenv(name, text, 1);
    }
    unsetenv("STARPU_LIMIT_CUDA_MEM");
    setenv("STARPU_USE_NUMA", "0", 1);
    setenv("STARPU_SILENT", "1", 0);
}

/* The first line that SimGrid wrote, without where in its source it stands. */
static void first_line(const char *folder, char *line, size_t size) {
    char path[4200], text[600] = "";
    snprintf(path, sizeof path, "%s/log", folder);
    FILE *file = fopen(path, "r");
    if (file) {
        if (!fgets(text, sizeof text, file))
            text[0] = '\0';
        fclose(file);
    }
    text[strcspn(text, "\n")] = '\0';
    const char *from = strrchr(text, ']');
    snprintf(line, size, "%s", from ? from + 1 : text);
}

/* The exit code of the process that simulated. It says itself why it failed, unless it was ended
 * from outside. */
static int judge(int state, const char *folder) {
    const char *program = program_invocation_short_name;
    char path[4200], line[300];
    snprintf(path, sizeof path, "%s/finished", folder);
    if (WIFEXITED(state) && (WEXITSTATUS(state) != 0 || access(path, F_OK) == 0))
        return WEXITSTATUS(state);
    first_line(folder, line, sizeof line);
    if (WIFSIGNALED(state))
        fprintf(stderr, "%s: the simulation was ended by signal %d (%s)%s%s\n", program,
                WTERMSIG(state), strsignal(WTERMSIG(state)), *line ? ":" : "", line);
    else
        fprintf(stderr, "%s: the simulation did not come to its end%s%s\n", program,
                *line ? ":" : "", line);
    return 1;
}

enum sdt_status sdt_simulation_launch(const struct sdt_platform *platform, char **argv, int *code,
                                      struct sdt_error *err) {
    char *folder = NULL, log[4300];
    int state = 0, count = 0;
    char **quiet = NULL;
    pid_t child;

    *code = 1;
    sdt_simulation_use(platform);
    enum sdt_status status = make_folder(platform, &folder, err);
    if (status != SDT_OK)
        goto out;

    /* SimGrid takes its own arguments out before the program sees them. */
    while (argv[count])
        count++;
    quiet = calloc((size_t)count + 3, sizeof *quiet);
    if (!quiet) {
        status = sdt_fail(err, SDT_ERROR_MEMORY, "out of memory while starting the simulation");
        goto out;
    }
    memcpy(quiet, argv, (size_t)count * sizeof *quiet);
    quiet[count] = "--log=xbt_cfg.thresh:warning";
    snprintf(log, sizeof log, "--log=root.app:file:%s/log", folder);
    quiet[count + 1] = log;
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
    *code = judge(state, folder);
out:
    free(quiet);
    sdt__folder_remove(folder);
    return status;
}

/* What a process simulates, as it would find the GPUs of a real machine. */
static struct sdt_platform in_use;

void sdt_simulation_use(const struct sdt_platform *platform) { in_use = *platform; }

/* Of CPUs each class is measured by itself: what products take of the memory is in their rate. */
static struct sdt_rates rates_of(int device, enum sdt_class class) {
    const bool cpu = sdt_platform_kind(&in_use, device)->cpu_workers > 0;
    const bool memory = class == SDT_CLASS_OTHER || class == SDT_CLASS_LOAD;
    if (cpu && class == SDT_CLASS_LOAD && in_use.host_memory_gbps > 0.0)
        return (struct sdt_rates){0.0, 1e3 * in_use.host_memory_gbps};
    return (struct sdt_rates){cpu && memory ? 0.0
                                            : 1e-6 * sdt_platform_flops(&in_use, device, class),
                              cpu && !memory ? 0.0 : 1e-6 * sdt_platform_bytes(&in_use, device)};
}

/* The workers of a place are as fast as those of a device. */
static void set_rates(struct sdt_costs *costs, const struct sdt_place *place, int device) {
    for (int w = 0; w < STARPU_NMAXWORKERS; w++) {
        if (!(place->mask[w / 32] >> (w % 32) & 1))
            continue;
        for (int class = 0; class < SDT_CLASSES; class ++)
            costs->rate[w][class] = rates_of(device, (enum sdt_class) class);
        costs->launch_us[w] = sdt_platform_kind(&in_use, device)->launch_us;
    }
}

/* ---- deadlocks ------------------------------------------------------------------------------- */

/* Where nothing else can happen, simulated time leaps to the next look of the watch. No task lasts
 * as long as two looks are apart, and StarPU waits for its threads three times as long. (Without a
 * watch SimGrid would print where each thread stands, and StarPU exit with 0; and in SimGrid 3.32
 * waits with a time limit lose their mutex.) */
#define LOOK_SECONDS 3e5f

/* The machine that is simulated, until it has ended. */
static struct sdt_machine *running;

static _Noreturn void give_up(const struct sdt_machine *machine) {
    char names[400] = "";
    int waiting = 0;
    for (int l = 0; l < SDT_LANES; l++) {
        int pending = atomic_load(&machine->lane[l].pending);
        if (pending > 0 && !*names)
            sdt__lane_waiting(&machine->lane[l], names, sizeof names);
        waiting += pending;
    }
    fprintf(stderr,
            "%s: the simulation came to a deadlock: nothing can go on under the scheduler %s",
            program_invocation_short_name, machine->scheduler);
    if (waiting)
        fprintf(stderr, "; %d task%s wait%s, the oldest: %s", waiting, waiting == 1 ? "" : "s",
                waiting == 1 ? "s" : "", names);
    fprintf(stderr, "\n");
    _exit(1);
}

static void *watch(void *arg) {
    (void)arg;
    unsigned long seen = 0, ended = 0;
    for (bool first = true; running; first = false) {
        ended = atomic_load(&running->watch.ended);
        if (!first && ended == seen)
            give_up(running);
        seen = ended;
        starpu_sleep(LOOK_SECONDS);
    }
    return NULL;
}

void sdt_simulation_rates(struct sdt_machine *machine) {
    starpu_pthread_t thread;
    if (!running && starpu_pthread_create(&thread, NULL, watch, NULL))
        fprintf(stderr, "%s: no thread to watch for deadlocks\n", program_invocation_short_name);
    running = machine;
    for (int d = 0; d < machine->devices && d < in_use.devices; d++)
        set_rates(&machine->costs, &machine->device[d], d);
    if (sdt_platform_cpus(&in_use))
        set_rates(&machine->costs, &machine->host, in_use.devices - 1);
}

void sdt_simulation_finish(void) {
    char path[4200];
    running = NULL; /* the watch ends at its next look */
    snprintf(path, sizeof path, "%s/finished", getenv(FOLDER_VARIABLE));
    FILE *file = fopen(path, "w");
    if (file)
        fclose(file);
}

/* ---- the machine (runtime/start.h) ----------------------------------------------------------- */

/* The platform's devices, which have been there since before main. */
enum sdt_status sdt__start_settle(struct sdt_start *start, struct sdt_machine *machine,
                                  const struct sdt_machine_options *options,
                                  struct sdt_error *err) {
    char name[SDT_DEVICE_NAME];
    if (options->devices < 1 || options->devices > SDT_MAX_DEVICES)
        return sdt_fail(err, SDT_ERROR_USAGE, "%d simulated devices; 1 to %d are supported",
                        options->devices, SDT_MAX_DEVICES);
    int cpus = sdt_platform_cpus(&in_use), gpus = sdt_platform_gpus(&in_use);
    machine->devices = machine->local = options->devices;
    gpus = cpus ? gpus : options->devices; /* more of the last kind */
    machine->gpus = gpus < options->devices ? gpus : options->devices;
    machine->workers_per_device = cpus ? cpus : 1;
    for (int d = 0; d < machine->devices; d++) {
        const struct sdt_device what = d < gpus ? (struct sdt_device){SDT_DEVICE_CUDA, d}
                                                : (struct sdt_device){SDT_DEVICE_CPU, d - gpus};
        const struct sdt_device *asked = options->device ? &options->device[d] : &what;
        machine->what[d] = what;
        machine->workers[d] = d < gpus ? 0 : cpus;
        if (asked->kind != what.kind || asked->index != what.index)
            return sdt_fail(err, SDT_ERROR_USAGE,
                            "%s as device %d: in simulated time devices are the platform's in "
                            "their order",
                            sdt_device_name(*asked, name), d);
    }
    double host =
        in_use.host_memory_gbps > 0.0 ? in_use.host_memory_gbps * 1e3 : SDT_CPU_BYTES_PER_US;
    machine->costs.base[SDT_DEVICE_CPU] = (struct sdt_rates){SDT_CPU_FLOPS * 1e-6, host};
    sdt__gpus_find(&start->gpus);
    return sdt__device_speeds(machine->what, machine->devices, machine->workers,
                              start->gpus.count >= machine->devices ? &start->gpus : NULL,
                              options->device_speed, machine->speed, err);
}

void sdt__start_hear(struct sdt_machine *machine, bool given) { (void)machine, (void)given; }

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

/* ---- its GPUs (runtime/gpus.h) --------------------------------------------------------------- */

static void describe(const struct sdt_platform *p, int device, struct sdt_gpu *gpu) {
    const struct sdt_platform_kind *kind = sdt_platform_kind(p, device);
    snprintf(gpu->name, sizeof gpu->name, "%s", *kind->name ? kind->name : "simulated");
    gpu->major = 9; /* no kernel is asked for its architecture */
    gpu->total_bytes = (size_t)(kind->memory_gb * 1e9);
    gpu->bytes_per_second = sdt_platform_bytes(p, device);
    gpu->launch_seconds = 1e-6 * kind->launch_us;
    for (int class = 0; class < SDT_CLASSES; class ++)
        gpu->flops[class] = sdt_platform_flops(p, device, (enum sdt_class) class);
}

void sdt__gpus_find(struct sdt_gpus *gpus) {
    const struct sdt_platform *p = &in_use;
    int count = sdt_platform_gpus(p);
    *gpus = (struct sdt_gpus){.simulated = true, .host_bytes = p->host_memory_gb * 1e9};
    gpus->all = count;
    gpus->count = count;
    for (int d = 0; d < gpus->count; d++)
        describe(p, d, &gpus->gpu[d]);
    snprintf(gpus->why, sizeof gpus->why, "the platform that is simulated has none");
}

bool sdt__simulated_cpu(struct sdt_gpu *worker, double *host_bytes) {
    *worker = (struct sdt_gpu){0};
    *host_bytes = in_use.host_memory_gb * 1e9;
    if (sdt_platform_cpus(&in_use))
        describe(&in_use, in_use.devices - 1, worker);
    return sdt_platform_cpus(&in_use) > 0;
}

double sdt__gpu_guess(const struct sdt_gpu *gpu, enum sdt_dtype dtype) {
    (void)dtype; /* bfloat16 is what is simulated */
    return gpu->flops[SDT_CLASS_LINEAR];
}

/* All that a kind's memory-gb says. */
size_t sdt__gpu_free(int gpu) {
    (void)gpu;
    return 0;
}

bool sdt__gpu_reaches(int from, int to) {
    (void)from, (void)to;
    return true;
}

double sdt__gpu_link(int from, int to) { return sdt_platform_link(&in_use, from, to); }

const char *sdt__cuda_runtime(char *text, size_t size) {
    (void)text, (void)size;
    return NULL;
}

const char *sdt__cuda_driver(char *text, size_t size) { return sdt__cuda_runtime(text, size); }

const char *sdt__cudnn_version(char *text, size_t size, const char **why) {
    *why = "simulated time";
    return sdt__cuda_runtime(text, size);
}

const char *sdt__nccl_version(char *text, size_t size, const char **why) {
    return sdt__cudnn_version(text, size, why);
}

/* Starting and stopping StarPU with N devices, and what was moved between them. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "runtime/machine.h"

#include <errno.h>
#include <hwloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/folder.h"
#include "runtime/allowance.h"
#include "runtime/cuda.h"
#include "runtime/devices.h"
#include "kernels/kernels.h"
#include "schedulers/policies.h"

/* Room that the synthetic topology claims per node. StarPU never asks the system whether it is there; it
 * is so large that StarPU never waits for memory that would come only by an eviction. */
#define NODE_BYTES "274877906944"

/* CPU workers that serve GPUs where nobody says how many: loading and converting weights is theirs. */
#define HOST_WORKERS 8
/* What schedulers take a GPU's memory for, bytes per us. */
#define GPU_BYTES_PER_US 1.5e6

/* Whether this process has told StarPU to bind no worker. */
static bool unbound;

/* The cores of the real machine: a topology that an earlier machine of this process stood in with is forgotten
 * first. */
static int count_cores(void) {
    int cores = 0;
    hwloc_topology_t topology;
    const char *synthetic = getenv("HWLOC_SYNTHETIC");
    if (synthetic && strstr(synthetic, NODE_BYTES)) {
        unsetenv("HWLOC_SYNTHETIC");
        unsetenv("STARPU_USE_NUMA");
        unsetenv("STARPU_WORKERS_NOBIND");
    }
    if (unbound)
        unsetenv("STARPU_WORKERS_NOBIND");
    unbound = false;
    if (hwloc_topology_init(&topology) == 0) {
        if (hwloc_topology_load(topology) == 0)
            cores = hwloc_get_nbobjs_by_type(topology, HWLOC_OBJ_CORE);
        hwloc_topology_destroy(topology);
    }
    return cores > 0 ? cores : 1;
}

static void remove_bus_folder(struct sdt_machine *machine) {
    if (!machine->bus_folder)
        return;
    sdt__folder_remove(machine->bus_folder);
    unsetenv("STARPU_PERF_MODEL_DIR"); /* for a machine with GPUs after this one */
    unsetenv("STARPU_HOSTNAME");
    machine->bus_folder = NULL;
}

#ifndef STARPU_SIMGRID /* in simulated time runtime/simulation.c does all this before main */
static const char *const bus_endings[] = {"config",   "bandwidth",    "latency",
                                          "affinity", "platform.xml", "platform.v4.xml"};
#define BUS_FILES (sizeof bus_endings / sizeof bus_endings[0])

static void write_matrix(FILE *file, int nodes, double diagonal, double other) {
    fprintf(file, "# one row per memory node\n");
    for (int from = 0; from < STARPU_MAXNODES; from++) {
        for (int to = 0; to < STARPU_MAXNODES; to++) {
            if (from >= nodes || to >= nodes)
                fprintf(file, "nan\t");
            else
                fprintf(file, "%e\t", from == to ? diagonal : other);
        }
        fprintf(file, "\n");
    }
}

/* A folder of this run alone, in place of the one in the user's home. */
static enum sdt_status make_bus_folder(struct sdt_machine *machine, struct sdt_error *err) {
    char *path = NULL;
    enum sdt_status status = sdt__folder_make(&machine->bus_folder, err);

    if (status != SDT_OK)
        return status;
    if (asprintf(&path, "%s/bus", machine->bus_folder) < 0)
        return sdt_fail(err, SDT_ERROR_MEMORY, "out of memory while starting StarPU");
    if (mkdir(path, 0700))
        status = sdt_fail(err, SDT_ERROR_IO, "%s: %s", path, strerror(errno));
    free(path);
    if (status == SDT_OK) {
        setenv("STARPU_PERF_MODEL_DIR", machine->bus_folder, 1);
        setenv("STARPU_HOSTNAME", "stardit", 1);
    }
    return status;
}

/* Bus files for CPU devices, in a folder of this run alone. StarPU would otherwise write to the user's
 * home (and abort where it cannot), measure the links for every new number of devices (9 s at 8), and runs side
 * by side would share one file. The
 * numbers are what one core's memcpy does here; only schedulers that predict read them. GPUs that stay
 * unused are listed all the same: where their number is not the machine's, StarPU measures. */
static enum sdt_status write_bus_files(struct sdt_machine *machine, int nodes, int workers,
                                       double link_mb_per_s, struct sdt_error *err) {
    struct sdt_gpus gpus;
    char *path = NULL;
    enum sdt_status status = make_bus_folder(machine, err);

    sdt__gpus_find(&gpus);
    int unused = gpus.all < SDT_MAX_GPUS ? gpus.all : SDT_MAX_GPUS;
    for (size_t i = 0; i < BUS_FILES && status == SDT_OK; i++) {
        if (asprintf(&path, "%s/bus/stardit.%s", machine->bus_folder, bus_endings[i]) < 0)
            return sdt_fail(err, SDT_ERROR_MEMORY, "out of memory while starting StarPU");
        FILE *file = fopen(path, "w");
        if (!file) {
            status = sdt_fail(err, SDT_ERROR_IO, "%s: %s", path, strerror(errno));
        } else {
            if (i == 0) {
                fprintf(file, "# Current configuration\n%d # CPUs\n%d # NUMA nodes\n", workers,
                        nodes);
                for (int other = 0; other < 8; other++)
                    fprintf(file, "%d # %s\n", other ? 0 : unused, other ? "none" : "CUDA");
            } else if (i == 1) {
                write_matrix(file, nodes + unused, 0.0, link_mb_per_s);
            } else if (i == 2) {
                write_matrix(file, nodes + unused, 0.0, 1.0); /* us */
            } else if (i == 3) {                              /* read by a StarPU with CUDA only */
                fprintf(file, "# GPU\t");
                for (int node = 0; node < nodes; node++)
                    fprintf(file, "NUMA%d\t", node);
                fprintf(file, "\n");
                for (int gpu = 0; gpu < unused; gpu++) {
                    fprintf(file, "%d\t", gpu);
                    for (int node = 0; node < nodes; node++)
                        fprintf(file, "%d\t", node);
                    fprintf(file, "\n");
                }
            }
            if (fclose(file))
                status = sdt_fail(err, SDT_ERROR_IO, "%s: %s", path, strerror(errno));
        }
        free(path);
    }
    return status;
}

/* Where StarPU keeps what it has measured: the first of these that is set. It aborts where it cannot write. */
static bool home_is_writable(void) {
    static const char *const names[] = {"STARPU_PERF_MODEL_DIR", "XDG_CACHE_HOME", "STARPU_HOME",
                                        "HOME"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        const char *path = getenv(names[i]);
        if (path)
            return access(path, W_OK) == 0;
    }
    return false;
}

/* The same for GPUs: the real topology, one worker a GPU, and the links as StarPU has measured them. The
 * variables win over starpu_conf, so they are set, whatever they were. */
static enum sdt_status set_gpu_environment(struct sdt_machine *machine, int host_workers,
                                           struct sdt_error *err) {
    char number[16], list[8 * SDT_MAX_GPUS] = "";
    size_t length = 0;

    for (int d = 0; d < machine->devices; d++)
        if (machine->what[d].kind == SDT_DEVICE_CUDA)
            length += (size_t)snprintf(list + length, sizeof list - length, "%s%d",
                                       length ? " " : "", machine->what[d].index);
    snprintf(number, sizeof number, "%d", host_workers);
    setenv("STARPU_NCPU", number, 1);
    snprintf(number, sizeof number, "%d", machine->gpus);
    setenv("STARPU_NCUDA", number, 1);
    setenv("STARPU_WORKERS_CUDAID", list, 1);
    setenv("STARPU_NWORKER_PER_CUDA", "1", 1);
    setenv("STARPU_USE_NUMA", "0", 1); /* the host is one memory, node 0 */
    setenv("STARPU_SILENT", "1", 0);
    return home_is_writable() ? SDT_OK : make_bus_folder(machine, err);
}

/* The environment that StarPU and hwloc read at start. */
static enum sdt_status set_environment(struct sdt_machine *machine, bool stand_ins,
                                       double link_mb_per_s, struct sdt_error *err) {
    int nodes = stand_ins && machine->devices > 1 ? machine->devices + 1 : 1;
    int workers = nodes * machine->workers_per_device;
    char number[32];

    snprintf(number, sizeof number, "%d", workers);
    setenv("STARPU_NCPU", number, 1);
    setenv("STARPU_NCUDA", "0", 1);
    setenv("STARPU_SILENT", "1", 0);
    /* Bound, workers that are fewer than the cores would share the first ones with another run's. */
    if (!stand_ins && workers < machine->cores && !getenv("STARPU_WORKERS_NOBIND") &&
        !getenv("STARPU_WORKERS_CPUID") && !getenv("STARPU_WORKERS_COREID")) {
        setenv("STARPU_WORKERS_NOBIND", "1", 1);
        unbound = true;
    }
    if (!stand_ins)
        return write_bus_files(machine, nodes, workers, link_mb_per_s, err);
    char topology[160];
    snprintf(topology, sizeof topology, "numanode:%d(memory=" NODE_BYTES ") core:%d pu:1", nodes,
             machine->workers_per_device);
    setenv("HWLOC_SYNTHETIC", topology, 1);
    setenv("STARPU_USE_NUMA", nodes > 1 ? "1" : "0", 1);
    setenv("STARPU_WORKERS_NOBIND", "1", 1);
    return write_bus_files(machine, nodes, workers, link_mb_per_s, err);
}
#endif

/* Chooses the policy: ours by name or by default, stock ones wrapped so that idle workers sleep. */
static enum sdt_status set_policy(struct sdt_machine *machine, const char *wanted, bool as_shipped,
                                  struct starpu_conf *conf, struct sdt_error *err) {
    const char *name = wanted;
    if (!name && getenv("STARPU_SCHED_LIB")) {
        snprintf(machine->scheduler, sizeof machine->scheduler, "%s",
                 getenv("STARPU_SCHED") ? getenv("STARPU_SCHED") : "STARPU_SCHED_LIB");
        return SDT_OK; /* StarPU loads it itself */
    }
    if (!name)
        name = getenv("STARPU_SCHED");
    if (!name || !*name)
        name = sdt_policy_pipedit.policy_name;
    conf->sched_policy = sdt_policy_find(name);
    if (!conf->sched_policy)
        conf->sched_policy = as_shipped ? sdt_policy_stock(name) : sdt_policy_yielding(name);
    if (!conf->sched_policy) {
        char known[560];
        int length = snprintf(known, sizeof known, "%s", sdt_policies[0]->policy_name);
        for (int i = 1; sdt_policies[i]; i++)
            length += snprintf(known + length, sizeof known - (size_t)length, ", %s",
                               sdt_policies[i]->policy_name);
        for (struct starpu_sched_policy **p = starpu_sched_get_predefined_policies();
             p && *p && length < (int)sizeof known - 1; p++)
            length +=
                snprintf(known + length, sizeof known - (size_t)length, ", %s", (*p)->policy_name);
        return sdt_fail(err, SDT_ERROR_USAGE, "unknown scheduler '%s'; known: %s", name, known);
    }
    unsetenv("STARPU_SCHED"); /* it would override conf->sched_policy */
    snprintf(machine->scheduler, sizeof machine->scheduler, "%s", name);
    return SDT_OK;
}

/* StarPU goes on with a policy of its own when STARPU_SCHED_LIB does not have the one asked for. */
static enum sdt_status check_policy(struct sdt_machine *machine, const struct starpu_conf *conf,
                                    struct sdt_error *err) {
    const char *wanted = getenv("STARPU_SCHED");
    const struct starpu_sched_policy *policy = starpu_sched_get_sched_policy();
    if (conf->sched_policy || !policy || !policy->policy_name)
        return SDT_OK;
    if (wanted && *wanted && strcmp(wanted, policy->policy_name))
        return sdt_fail(err, SDT_ERROR_USAGE, "STARPU_SCHED_LIB=%s: no scheduler '%s' in there",
                        getenv("STARPU_SCHED_LIB"), wanted);
    snprintf(machine->scheduler, sizeof machine->scheduler, "%s", policy->policy_name);
    return SDT_OK;
}

static void add_worker(struct sdt_place *place, int device, unsigned node, int worker) {
    place->device = device;
    place->node = node;
    if (place->workers++ == 0)
        place->first_worker = worker;
    place->mask[worker / 32] |= UINT32_C(1) << (worker % 32);
    if ((unsigned)(worker / 32 + 1) > place->mask_length)
        place->mask_length = (unsigned)(worker / 32 + 1);
}

/* Whether the host is a memory of its own: not with one device on CPUs. */
static bool host_is_apart(const struct sdt_machine *machine) {
#ifdef STARPU_SIMGRID
    (void)machine;
    return true;
#else
    return machine->devices > 1 || machine->gpus > 0;
#endif
}

/* With GPUs: each has its worker; the CPU workers are the host, and cpu:0 where it is a device. */
static void find_gpu_places(struct sdt_machine *machine) {
    for (unsigned w = 0; w < starpu_worker_get_count(); w++) {
        bool cpu = starpu_worker_get_type((int)w) == STARPU_CPU_WORKER;
        unsigned node = starpu_worker_get_memory_node(w);
        if (cpu)
            add_worker(&machine->host, -1, node, (int)w);
        for (int d = 0; d < machine->devices; d++) {
            struct sdt_device what = machine->what[d];
            if (cpu ? what.kind == SDT_DEVICE_CPU
                    : what.kind == SDT_DEVICE_CUDA && starpu_worker_get_devid((int)w) == what.index)
                add_worker(&machine->device[d], d, node, (int)w);
        }
    }
    for (int d = 0; d < machine->devices; d++)
        machine->device[d].kind = machine->what[d].kind;
}

/* Workers of node n are device n - 1, of node 0 the host; with one device on CPUs everything is node 0. */
static void find_places(struct sdt_machine *machine) {
    machine->host.device = -1;
    if (machine->gpus) {
        find_gpu_places(machine);
        return;
    }
    for (unsigned w = 0; w < starpu_worker_get_count(); w++) {
        unsigned node = starpu_worker_get_memory_node(w);
        if (!host_is_apart(machine)) {
            add_worker(&machine->device[0], 0, node, (int)w);
            add_worker(&machine->host, -1, node, (int)w);
        } else if (node == 0) {
            add_worker(&machine->host, -1, node, (int)w);
        } else if ((int)node <= machine->devices) {
            add_worker(&machine->device[node - 1], (int)node - 1, node, (int)w);
        }
    }
}

/* Workers of the host beside GPUs: StarPU gives each GPU's thread a core, and starts no more CPU workers than
 * there are cores left. */
static enum sdt_status count_host_workers(struct sdt_machine *machine, int wanted, int usable,
                                          int *workers, struct sdt_error *err) {
    int left = usable - machine->gpus;
    bool device = machine->gpus < machine->devices;
    if (left > STARPU_MAXCPUS)
        left = STARPU_MAXCPUS;
    if (left < 1 || wanted > left)
        return sdt_fail(err, SDT_ERROR_USAGE,
                        "%d GPUs with %d CPU workers for the host: each takes a core, and there "
                        "are %d; %s",
                        machine->gpus, wanted > 0 ? wanted : 1, usable,
                        left < 1 ? "fewer GPUs would work" : "fewer workers would work");
    *workers = wanted > 0 ? wanted : device || left < HOST_WORKERS ? left : HOST_WORKERS;
    return SDT_OK;
}

/* What schedulers are told about real GPUs, the slowest counting for all: a guess (docs/numbers.md). */
static void set_gpu_rates(const struct sdt_machine *machine, const struct sdt_gpus *gpus) {
    double slowest = 0.0;
    for (int d = 0; d < machine->devices; d++) {
        if (machine->what[d].kind != SDT_DEVICE_CUDA)
            continue;
        double guess = sdt__gpu_guess(&gpus->gpu[machine->what[d].index], SDT_BF16);
        slowest = slowest == 0.0 || guess < slowest ? guess : slowest;
    }
    for (int r = 0; r < SDT_ROLES; r++)
        sdt__gpu_rates[r] =
            (struct sdt_rates){slowest * 1e-6, slowest > 0.0 ? GPU_BYTES_PER_US : 0.0};
}

/* The devices as asked for, checked, and how many workers they have; gpus: filled where there are some. */
static enum sdt_status settle_devices(struct sdt_machine *machine,
                                      const struct sdt_machine_options *options,
                                      const struct sdt_allowance *allowance, struct sdt_gpus *gpus,
                                      struct sdt_error *err) {
    int wanted = options->workers_per_device;
    enum sdt_status status = sdt__devices_check(options->device, options->devices, gpus, err);
    if (status != SDT_OK)
        return status;
    machine->devices = options->devices;
    for (int d = 0; d < machine->devices; d++) {
        machine->what[d] = sdt__device_at(options->device, d);
        machine->gpus += machine->what[d].kind == SDT_DEVICE_CUDA;
    }
    if (machine->gpus && options->free_mapping)
        return sdt_fail(err, SDT_ERROR_USAGE, "free mapping is for CPU devices: kinds do not mix");
    if (machine->gpus) {
        set_gpu_rates(machine, gpus);
        return count_host_workers(machine, wanted, allowance->cores, &machine->workers_per_device, err);
    }
    machine->workers_per_device = wanted ? wanted : machine->devices == 1 ? allowance->workers : 1;
    int nodes = host_is_apart(machine) ? machine->devices + 1 : 1;
    if (machine->workers_per_device < 1 || machine->workers_per_device > STARPU_MAXCPUS / nodes)
        return sdt_fail(err, SDT_ERROR_USAGE,
                        "%d workers per device on %d devices; this StarPU has room for %d CPU "
                        "workers in all, one device's worth of which serves the host",
                        machine->workers_per_device, machine->devices, STARPU_MAXCPUS);
    return SDT_OK;
}

/* StarPU has started: has it made what the devices need? */
static enum sdt_status check_places(const struct sdt_machine *machine, struct sdt_error *err) {
    char name[SDT_DEVICE_NAME];
    int nodes = machine->devices + 1;
    if (machine->gpus) {
        for (int d = 0; d < machine->devices; d++)
            if (!machine->device[d].workers)
                return sdt_fail(err, SDT_ERROR_DEVICE, "%s: StarPU made no worker for it",
                                sdt__device_name(machine->what[d], name));
        if (!machine->host.workers)
            return sdt_fail(err, SDT_ERROR_DEVICE, "StarPU made no CPU worker for the host");
    } else if (host_is_apart(machine) && (int)starpu_memory_nodes_get_count() < nodes) {
        return sdt_fail(err, SDT_ERROR_DEVICE,
                        "StarPU made %u memory nodes where %d devices and the host need %d: this "
                        "StarPU was built with --enable-maxnumanodes below that",
                        starpu_memory_nodes_get_count(), machine->devices, nodes);
    }
    return SDT_OK;
}

/* StarPU multiplies a predicted transfer by the number of GPUs that share the link. It takes that for 0 between
 * NUMA nodes, where transfers would be predicted to take no time; and between GPUs that reach each other it
 * knows of NVLink only where it was built with NVML. */
static void settle_buses(const struct sdt_machine *machine) {
    for (int bus = 0; bus < starpu_bus_get_count(); bus++) {
        unsigned from = (unsigned)starpu_bus_get_src(bus), to = (unsigned)starpu_bus_get_dst(bus);
        if (!machine->gpus || (starpu_node_get_kind(from) == STARPU_CUDA_RAM &&
                               starpu_node_get_kind(to) == STARPU_CUDA_RAM &&
                               sdt__gpu_reaches(starpu_memory_node_get_devid(to),
                                                starpu_memory_node_get_devid(from))))
            starpu_bus_set_ngpus(bus, 1);
    }
}

enum sdt_status sdt_machine_open(const struct sdt_machine_options *options,
                                 struct sdt_machine **out, struct sdt_error *err) {
    enum sdt_status status;
    struct starpu_conf conf;
    struct sdt_gpus gpus = {0};
    bool started = false;
    struct sdt_allowance allowance;
    struct sdt_machine *machine = calloc(1, sizeof *machine);

    *out = NULL;
    if (!machine)
        return sdt_fail(err, SDT_ERROR_MEMORY, "out of memory while starting StarPU");
    machine->cores = count_cores();
    sdt__allowance_read("", &allowance);
    status = settle_devices(machine, options, &allowance, &gpus, err);
    if (status != SDT_OK)
        goto out;
    machine->free_mapping = options->free_mapping;
    machine->device = calloc((size_t)machine->devices, sizeof *machine->device);
    machine->recorder = sdt__recorder_new(options->keep_records, options->keep_edges);
    if (!machine->device || !machine->recorder) {
        status = sdt_fail(err, SDT_ERROR_MEMORY, "out of memory while starting StarPU");
        goto out;
    }

    sdt_kernels_init();
    starpu_conf_init(&conf);
    status = set_policy(machine, options->scheduler, options->as_shipped, &conf, err);
    if (status != SDT_OK)
        goto out;
#ifdef STARPU_SIMGRID
    /* The platform was read before main (runtime/simulation.h): GPUs, and one CPU worker for the host. */
    conf.ncpus = 1;
    conf.ncuda = machine->devices;
#else
    bool stand_ins = machine->devices > 1 || machine->workers_per_device > machine->cores;
    sdt__cpu_flops_per_us = (options->worker_gflops > 0.0 ? options->worker_gflops : 25.0) * 1e3;
    status =
        machine->gpus
            ? set_gpu_environment(machine, machine->workers_per_device, err)
            : set_environment(machine, stand_ins,
                              options->link_mb_per_s > 0.0 ? options->link_mb_per_s : 8000.0, err);
    if (status != SDT_OK)
        goto out;
    conf.ncuda = machine->gpus;
#endif
    conf.nopencl = 0;
    conf.catch_signals = 0;
    int result = starpu_init(&conf);
    if (result) {
        status = sdt_fail(err, SDT_ERROR_DEVICE, "StarPU did not start with %d devices: %s",
                          machine->devices, strerror(-result));
        goto out;
    }
    started = true;
    status = check_policy(machine, &conf, err);
    if (status != SDT_OK)
        goto out;
    find_places(machine);
    status = check_places(machine, err);
    if (status != SDT_OK)
        goto out;
    status = sdt__cuda_workers_open(err);
    if (status != SDT_OK)
        goto out;
    settle_buses(machine);
    starpu_profiling_status_set(STARPU_PROFILING_ENABLE);
    int pending = options->max_pending > 0 ? options->max_pending : 4096;
    const char *stall = getenv("STARDIT_STALL_SECONDS");
    machine->watch.stall_seconds = stall ? atof(stall) : 1800.0;
    pthread_mutex_init(&machine->parameters_mutex, NULL);
    sdt__halt_init(&machine->halt, NULL);
    for (int l = 0; l < SDT_LANES; l++) {
        sdt__lane_init(&machine->lane[l], pending, &machine->watch);
        machine->lane[l].fixed = options->max_pending > 0;
    }
out:
    if (status != SDT_OK) {
        if (started)
            starpu_shutdown();
        remove_bus_folder(machine);
        sdt__recorder_free(machine->recorder);
        free(machine->device);
        free(machine);
        return status;
    }
    *out = machine;
    return SDT_OK;
}

void sdt_machine_close(struct sdt_machine *machine) {
    if (!machine)
        return;
    if (atomic_load(&machine->watch.stalled)) {
        remove_bus_folder(machine);
        return;
    }
    starpu_task_wait_for_all();
    for (int l = 0; l < SDT_LANES; l++) {
        sdt__scratch_clear(&machine->scratch[l]);
        sdt__lane_clear(&machine->lane[l]);
    }
    sdt__cuda_workers_close();
    starpu_shutdown();
    pthread_mutex_destroy(&machine->parameters_mutex);
    sdt__halt_clear(&machine->halt);
    remove_bus_folder(machine);
    sdt__recorder_free(machine->recorder);
    free(machine->device);
    free(machine);
}

enum sdt_status sdt_group_init(struct sdt_group *group, const struct sdt_machine *machine,
                               int ndevices, const int *devices, int nhelpers, const int *helpers,
                               struct sdt_error *err) {
    int all = ndevices + nhelpers;
    bool taken[SDT_MAX_DEVICES] = {false};

    *group = (struct sdt_group){.devices = ndevices, .helpers = nhelpers};
    if (ndevices < 1)
        return sdt_fail(err, SDT_ERROR_USAGE, "a group needs at least one device");
    group->place = calloc((size_t)all, sizeof *group->place);
    group->anywhere = calloc((size_t)ndevices, sizeof *group->anywhere);
    if (!group->place || !group->anywhere)
        return sdt_fail(err, SDT_ERROR_MEMORY, "out of memory for a group of %d devices", all);
    for (int i = 0; i < all; i++) {
        int device = i < ndevices ? devices[i] : helpers[i - ndevices];
        if (device < 0 || device >= machine->devices)
            return sdt_fail(err, SDT_ERROR_USAGE,
                            "there is no device %d; %d devices are numbered 0 to %d", device,
                            machine->devices, machine->devices - 1);
        if (taken[device])
            return sdt_fail(err, SDT_ERROR_USAGE, "device %d stands twice in a group", device);
        taken[device] = true;
        group->place[i] = machine->device[device];
    }
    for (int i = 0; i < ndevices; i++) {
        struct sdt_place *anywhere = &group->anywhere[i];
        *anywhere = group->place[i];
        for (int h = ndevices; h < all; h++) {
            const struct sdt_place *helper = &group->place[h];
            for (unsigned m = 0; m < helper->mask_length; m++)
                anywhere->mask[m] |= helper->mask[m];
            if (helper->mask_length > anywhere->mask_length)
                anywhere->mask_length = helper->mask_length;
        }
    }
    return SDT_OK;
}

void sdt_group_clear(struct sdt_group *group) {
    free(group->place);
    free(group->anywhere);
    *group = (struct sdt_group){0};
}

void sdt_machine_stop(struct sdt_machine *machine) { atomic_store(&machine->halt.stop, true); }

int sdt_machine_devices(const struct sdt_machine *machine) { return machine->devices; }

struct sdt_device sdt_machine_device(const struct sdt_machine *machine, int device) {
    return device >= 0 && device < machine->devices ? machine->what[device]
                                                    : (struct sdt_device){SDT_DEVICE_CPU, -1};
}

enum sdt_status sdt_machine_write_trace(const struct sdt_machine *machine, const char *path,
                                        struct sdt_error *err) {
    return sdt__recorder_write_trace(machine->recorder, path, err);
}

enum sdt_status sdt_machine_write_graph(const struct sdt_machine *machine, const char *path,
                                        struct sdt_error *err) {
    return sdt__recorder_write_dot(machine->recorder, path, err);
}

struct sdt_flow sdt_machine_flow(struct sdt_machine *machine, int lane) {
    return (struct sdt_flow){
        .place = &machine->host,
        .host = &machine->host,
        .tag = {.step = -1, .layer = -1, .chunk = -1, .tile = -1, .role = SDT_ROLE_IO},
        .recorder = machine->recorder,
        .handles = &machine->handles,
        .halt = &machine->halt,
        .scratch = &machine->scratch[lane],
        .lane = &machine->lane[lane],
        .free_mapping = machine->free_mapping,
    };
}

/* Index of a memory node in the traffic: 0 the host, d + 1 device d; -1: nobody's. */
static int traffic_index(const struct sdt_machine *machine, int node) {
    if (node == (int)machine->host.node)
        return 0; /* device cpu:0 beside GPUs as well */
    for (int d = 0; d < machine->devices; d++)
        if ((int)machine->device[d].node == node)
            return d + 1;
    return -1;
}

void sdt_machine_traffic(struct sdt_machine *machine, double *bytes) {
    int n = machine->devices + 1;
    if (!host_is_apart(machine))
        return; /* one memory: nothing moves */
    for (int bus = 0; bus < starpu_bus_get_count(); bus++) {
        struct starpu_profiling_bus_info info;
        int from = traffic_index(machine, starpu_bus_get_src(bus));
        int to = traffic_index(machine, starpu_bus_get_dst(bus));
        if (from >= 0 && to >= 0 && starpu_bus_get_profiling_info(bus, &info) == 0)
            bytes[from * n + to] += (double)info.transferred_bytes;
    }
}

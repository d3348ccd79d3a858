/* The start of a machine in real time: GPUs with their links, or CPU devices that stand in for
 * them. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <hwloc.h>
#include <malloc.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "runtime/bus.h"
#include "runtime/devices.h"
#include "runtime/start.h"

/* Room that the synthetic topology claims per node. StarPU never asks the system whether it is
 * there; it is so large that StarPU never waits for memory that would come only by an eviction. */
#define NODE_BYTES "274877906944"

/* CPU workers that serve GPUs where nobody says how many: they load and convert weights. */
#define HOST_WORKERS 8
/* What schedulers take a GPU's memory for, bytes per us. */
#define GPU_BYTES_PER_US 1.5e6

/* ---- what is there --------------------------------------------------------------------------- */

/* Forgets the topology that an earlier machine of this process stood in with. */
static void forget_stand_ins(void) {
    static const char *const names[] = {"HWLOC_SYNTHETIC", "STARPU_USE_NUMA",
                                        "STARPU_WORKERS_NOBIND", "STARPU_WORKERS_CPUID"};
    const char *synthetic = getenv("HWLOC_SYNTHETIC");
    if (synthetic && strstr(synthetic, NODE_BYTES))
        for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
            unsetenv(names[i]);
}

/* The cores of the real machine, whoever may use them. */
static int count_cores(void) {
    int cores = 0;
    hwloc_topology_t topology;
    if (hwloc_topology_init(&topology) == 0) {
        if (hwloc_topology_load(topology) == 0)
            cores = hwloc_get_nbobjs_by_type(topology, HWLOC_OBJ_CORE);
        hwloc_topology_destroy(topology);
    }
    return cores > 0 ? cores : 1;
}

/* Workers of the host beside GPUs: StarPU gives each GPU's thread a core, and starts no more CPU
 * workers than there are cores left. */
static enum sdt_status count_host_workers(const struct sdt_start *start,
                                          struct sdt_machine *machine, int wanted,
                                          struct sdt_error *err) {
    int left = start->allowance.cores - machine->gpus;
    bool device = machine->gpus < machine->local;
    left -= sdt_ranks() > 1; /* the thread that sends and receives */
    if (left > STARPU_MAXCPUS)
        left = STARPU_MAXCPUS;
    if (left < 1 || wanted > left)
        return sdt_fail(err, SDT_ERROR_USAGE,
                        "%d GPUs with %d CPU workers for the host: each takes a core%s, and there "
                        "are %d; %s",
                        machine->gpus, wanted > 0 ? wanted : 1,
                        sdt_ranks() > 1 ? " and MPI one" : "", start->allowance.cores,
                        left < 1 ? "fewer GPUs would work" : "fewer workers would work");
    machine->workers_per_device = wanted > 0                      ? wanted
                                  : device || left < HOST_WORKERS ? left
                                                                  : HOST_WORKERS;
    for (int d = machine->first; d < machine->first + machine->local; d++)
        if (machine->what[d].kind == SDT_DEVICE_CPU)
            machine->workers[d] = machine->workers_per_device;
    return SDT_OK;
}

/* A GPU's rate is a guess (docs/numbers.md), that of the first one; places know how others
 * compare. */
static void set_rates(struct sdt_machine *machine, double worker_flops) {
    double gpu = 0.0;
    for (int d = 0; d < machine->devices && gpu == 0.0; d++)
        if (machine->what[d].kind == SDT_DEVICE_CUDA)
            gpu = machine->speed[d];
    machine->costs.base[SDT_DEVICE_CPU] =
        (struct sdt_rates){worker_flops * 1e-6, SDT_CPU_BYTES_PER_US};
    machine->costs.base[SDT_DEVICE_CUDA] = (struct sdt_rates){gpu * 1e-6, GPU_BYTES_PER_US};
}

/* A thread's arena of its own claims 64 MB of addresses at once. Where they are few, StarPU's
 * allocations fail, and it aborts. */
static void share_arena(void) {
    struct rlimit space;
    if (getrlimit(RLIMIT_AS, &space) == 0 && space.rlim_cur != RLIM_INFINITY)
        mallopt(M_ARENA_MAX, 1);
}

/* Its devices are of all ranks, as many of each, and alike in kind. */
static enum sdt_status share_devices(struct sdt_start *start, struct sdt_machine *machine,
                                     const struct sdt_machine_options *options,
                                     struct sdt_error *err) {
    const int count = options->devices, ranks = options->ranks > 0 ? options->ranks : 1;
    if (ranks != sdt_ranks() || count % ranks || count > SDT_MAX_DEVICES)
        return sdt_fail(err, SDT_ERROR_USAGE,
                        "%d devices at %d ranks; here are %d ranks, each has as many devices, and "
                        "there are at most %d",
                        count, ranks, sdt_ranks(), SDT_MAX_DEVICES);
    machine->local = count / ranks;
    machine->first = machine->local * sdt_rank();
    enum sdt_status status = sdt__devices_check(options->device, machine->local, &start->gpus, err);
    if (status != SDT_OK)
        return status;
    machine->devices = count;
    for (int d = 0; d < count; d++)
        machine->what[d] = sdt__device_at(options->device, d);
    for (int d = 0; d < machine->local; d++)
        machine->gpus += machine->what[machine->first + d].kind == SDT_DEVICE_CUDA;
    return SDT_OK;
}

enum sdt_status sdt__start_settle(struct sdt_start *start, struct sdt_machine *machine,
                                  const struct sdt_machine_options *options,
                                  struct sdt_error *err) {
    forget_stand_ins();
    start->cores = count_cores();
    sdt__allowance_read("", &start->allowance);
    share_arena();
    enum sdt_status status = share_devices(start, machine, options, err);
    if (status != SDT_OK)
        return status;
    const int count = machine->devices, first = machine->first, local = machine->local;
    sdt__models_differ(options->device, local, &start->gpus, machine->models,
                       sizeof machine->models);
    if (machine->gpus && options->free_mapping)
        return sdt_fail(err, SDT_ERROR_USAGE, "free mapping is for CPU devices: kinds do not mix");
    status = sdt__device_workers(options->device, local, options->workers_per_device,
                                 options->workers ? options->workers + first : NULL,
                                 start->allowance.workers, machine->workers + first, err);
    if (status == SDT_OK && machine->gpus)
        status = count_host_workers(start, machine, options->workers_per_device, err);
    if (status != SDT_OK)
        return status;
    for (int d = 0; d < count; d++) /* so far, of all ranks alike */
        machine->workers[d] =
            options->workers ? options->workers[d] : machine->workers[first + d % local];
    for (int d = first; d < first + local && !machine->gpus; d++)
        if (machine->workers[d] > machine->workers_per_device)
            machine->workers_per_device = machine->workers[d];
    status = sdt__device_speeds(options->device, count, machine->workers, &start->gpus,
                                options->device_speed, machine->speed, err);
    if (status == SDT_OK)
        set_rates(machine,
                  options->worker_gflops > 0.0 ? options->worker_gflops * 1e9 : SDT_CPU_FLOPS);
    return status;
}

void sdt__start_hear(struct sdt_machine *machine, bool given) {
    struct {
        int workers[SDT_MAX_LOCAL_DEVICES];
        double speed[SDT_MAX_LOCAL_DEVICES];
    } mine, all[SDT_MAX_RANKS];
    const int local = machine->local;
    memset(&mine, 0, sizeof mine);
    for (int d = 0; d < local; d++) {
        mine.workers[d] = machine->workers[machine->first + d];
        mine.speed[d] = machine->speed[machine->first + d];
    }
    sdt__ranks_collect(SDT_TALK_MAIN, &mine, sizeof mine, all);
    for (int d = 0; d < machine->devices; d++) {
        machine->workers[d] = all[d / local].workers[d % local];
        machine->speed[d] = all[d / local].speed[d % local];
    }
    if (given) /* beside one another */
        sdt_ranks_share(machine->speed, sizeof machine->speed);
    set_rates(machine, machine->costs.base[SDT_DEVICE_CPU].flops_per_us * 1e6);
}

/* ---- the environment ------------------------------------------------------------------------- */

/* Notes what somebody else had set, which is not taken. */
static void set(struct sdt_machine *machine, const char *name, const char *text) {
    const char *before = getenv(name);
    size_t length = strlen(machine->replaced);
    if (before && strcmp(before, text))
        snprintf(machine->replaced + length, sizeof machine->replaced - length, "%s%s",
                 length ? ", " : "", name);
    setenv(name, text, 1);
}

/* Unsets what somebody else had set for programs that place work by themselves: cores that StarPU
 * should leave free or fill twice, a disk as a further memory, another kind of run. */
static void take_over(struct sdt_machine *machine, const char *const *names, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (getenv(names[i])) {
            set(machine, names[i], "");
            unsetenv(names[i]);
        }
}

static void set_number(struct sdt_machine *machine, const char *name, int number) {
    char text[16];
    snprintf(text, sizeof text, "%d", number);
    set(machine, name, text);
}

static void use_bus_folder(struct sdt_machine *machine) {
    static const char *const names[] = {"STARPU_PERF_MODEL_DIR", "STARPU_HOSTNAME"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (getenv(names[i]))
            set(machine, names[i], "");
    sdt__bus_folder_use(machine->bus_folder);
}

/* Bus files for CPU devices. The numbers are what one core's memcpy does here; only schedulers that
 * predict read them. GPUs that stay unused are listed all the same, and so are cores: where their
 * number is not the machine's, StarPU measures. */
static enum sdt_status write_bus_files(struct sdt_machine *machine, int nodes, int cores,
                                       double link_mb_per_s, struct sdt_error *err) {
    struct sdt_gpus gpus;
    enum sdt_status status = sdt__bus_folder_make(&machine->bus_folder, err);
    if (status != SDT_OK)
        return status;
    sdt__gpus_find(&gpus);
    struct sdt_bus bus = {.cpus = cores,
                          .numa_nodes = nodes,
                          .gpus = gpus.all < SDT_MAX_GPUS ? gpus.all : SDT_MAX_GPUS,
                          .host_mb_per_s = link_mb_per_s,
                          .mb_per_s = link_mb_per_s,
                          .latency_us = 1.0};
    use_bus_folder(machine);
    return sdt__bus_write(machine->bus_folder, &bus, err);
}

/* Where StarPU keeps what it has measured: the first of these that is set. It aborts where it
 * cannot write. */
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

/* GPUs: the real topology, one worker a GPU, and the links as StarPU has measured them. The
 * variables win over starpu_conf, so they are set, whatever they were. */
static enum sdt_status set_gpus(struct sdt_machine *machine, struct sdt_error *err) {
    char list[8 * SDT_MAX_GPUS] = "";
    size_t length = 0;

    for (int d = machine->first; d < machine->first + machine->local; d++)
        if (machine->what[d].kind == SDT_DEVICE_CUDA)
            length += (size_t)snprintf(list + length, sizeof list - length, "%s%d",
                                       length ? " " : "", machine->what[d].index);
    set_number(machine, "STARPU_NCPU", machine->workers_per_device);
    set_number(machine, "STARPU_NCUDA", machine->gpus);
    set(machine, "STARPU_WORKERS_CUDAID", list);
    set(machine, "STARPU_NWORKER_PER_CUDA", "1");
    set(machine, "STARPU_USE_NUMA", "0"); /* the host is one memory, node 0 */
    if (home_is_writable())
        return SDT_OK;
    enum sdt_status status = sdt__bus_folder_make(&machine->bus_folder, err);
    if (status == SDT_OK)
        use_bus_folder(machine);
    return status;
}

/* A topology of equal nodes, since hwloc's synthetic ones are regular trees: each has the cores of
 * the largest device, and a smaller one leaves some without a worker. Node 0 is the host. */
static void set_stand_ins(struct sdt_machine *machine, int nodes) {
    static const char *const bound[] = {"STARPU_WORKERS_CPUID", "STARPU_WORKERS_COREID"};
    int most = machine->workers_per_device;
    char topology[160], list[8 * STARPU_MAXCPUS] = "";
    size_t length = 0;
    bool unequal = false;

    snprintf(topology, sizeof topology, "numanode:%d(memory=" NODE_BYTES ") core:%d pu:1", nodes,
             most);
    set(machine, "HWLOC_SYNTHETIC", topology);
    set(machine, "STARPU_USE_NUMA", nodes > 1 ? "1" : "0");
    set(machine, "STARPU_WORKERS_NOBIND", "1");
    for (int node = 0; node < nodes; node++) {
        int workers = node ? machine->workers[machine->first + node - 1] : most;
        unequal |= workers < most;
        for (int w = 0; w < workers && length < sizeof list; w++)
            length += (size_t)snprintf(list + length, sizeof list - length, "%s%d",
                                       length ? " " : "", node * most + w);
    }
    take_over(machine, bound, 2); /* cores of a machine that is not this one */
    if (unequal)
        setenv("STARPU_WORKERS_CPUID", list, 1);
}

static void *pass(void *gate) {
    pthread_mutex_lock(gate);
    pthread_mutex_unlock(gate);
    return NULL;
}

static bool maps(size_t size, int protection) {
    void *place = mmap(NULL, size, protection,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
    if (place != MAP_FAILED)
        munmap(place, size);
    return place != MAP_FAILED;
}

/* Which limit kept a thread from being started: pthread_create() says EAGAIN of all of them. What
 * cannot be written counts for the address space alone. */
static const char *thread_limit(void) {
    pthread_attr_t attributes;
    size_t stack = (size_t)8 << 20;
    if (pthread_attr_init(&attributes) == 0) {
        pthread_attr_getstacksize(&attributes, &stack);
        pthread_attr_destroy(&attributes);
    }
    if (maps(stack, PROT_READ | PROT_WRITE))
        return "ulimit -u, or the control group's pids.max";
    return maps(stack, PROT_NONE)
               ? "no memory for its stack within ulimit -d; a smaller ulimit -s takes less"
               : "no memory for its stack within ulimit -v; a smaller ulimit -s takes less";
}

/* StarPU aborts where it cannot start a thread: tries as many as it needs, and some for us. */
static enum sdt_status check_threads(int workers, struct sdt_error *err) {
    enum { MORE = 3 };
    const int wanted = workers + MORE;
    pthread_t *thread = calloc((size_t)wanted, sizeof *thread);
    pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
    int started = 0;

    if (!thread)
        return sdt_fail(err, SDT_ERROR_MEMORY, "out of memory while starting StarPU");
    pthread_mutex_lock(&gate); /* so that all are there at once */
    while (started < wanted && !pthread_create(&thread[started], NULL, pass, &gate))
        started++;
    const char *limit = started < wanted ? thread_limit() : NULL;
    pthread_mutex_unlock(&gate);
    for (int t = 0; t < started; t++)
        pthread_join(thread[t], NULL);
    free(thread);
    if (!limit)
        return SDT_OK;
    return sdt_fail(err, SDT_ERROR_LIMIT,
                    "%d threads are needed for %d workers, and %d could be started (%s)", wanted,
                    workers, started, limit);
}

enum sdt_status sdt__start_environment(const struct sdt_start *start, struct sdt_machine *machine,
                                       const struct sdt_machine_options *options,
                                       struct sdt_error *err) {
    static const char *const others[] = {"STARPU_RESERVE_NCPU",      "STARPU_NTHREADS_PER_CORE",
                                         "STARPU_MAIN_THREAD_BIND",  "STARPU_MPI_THREAD_CPUID",
                                         "STARPU_MPI_THREAD_COREID", "STARPU_DISK_SWAP",
                                         "STARPU_SIMGRID",           "STARPU_SINK"};
    static const char *const of_gpus[] = {"STARPU_WORKERS_CUDAID", "STARPU_NWORKER_PER_CUDA"};
    int nodes = machine->devices > 1 ? machine->local + 1 : 1;
    int workers = machine->workers_per_device; /* the host's */
    int cores = nodes * workers;

    setenv("STARPU_SILENT", "1", 0);
    take_over(machine, others, sizeof others / sizeof others[0]);
    if (!machine->gpus)
        take_over(machine, of_gpus, sizeof of_gpus / sizeof of_gpus[0]);
    for (int d = 0; d < machine->local && nodes > 1 && !machine->gpus; d++)
        workers += machine->workers[machine->first + d];
    enum sdt_status status = check_threads(workers + machine->gpus, err);
    if (status != SDT_OK)
        return status;
    if (machine->gpus)
        return set_gpus(machine, err);
    set_number(machine, "STARPU_NCPU", workers);
    set_number(machine, "STARPU_NCUDA", 0);
    if (nodes > 1 || workers > start->cores) {
        set_stand_ins(machine, nodes);
    } else if (workers < start->cores && !getenv("STARPU_WORKERS_NOBIND") &&
               !getenv("STARPU_WORKERS_CPUID") && !getenv("STARPU_WORKERS_COREID")) {
        /* Bound, workers that are fewer than the cores would share the first ones with another
         * run's. */
        set(machine, "STARPU_WORKERS_NOBIND", "1");
        machine->unbound = true;
    }
    return write_bus_files(machine, nodes, cores,
                           options->link_mb_per_s > 0.0 ? options->link_mb_per_s : 8000.0, err);
}

/* StarPU multiplies a predicted transfer by the number of GPUs that share the link. It takes that
 * for 0 between NUMA nodes, where transfers would be predicted to take no time; and between GPUs
 * that reach each other it knows of NVLink only where it was built with NVML. */
void sdt__start_links(const struct sdt_machine *machine) {
    for (int bus = 0; bus < starpu_bus_get_count(); bus++) {
        unsigned from = (unsigned)starpu_bus_get_src(bus), to = (unsigned)starpu_bus_get_dst(bus);
        if (!machine->gpus || (starpu_node_get_kind(from) == STARPU_CUDA_RAM &&
                               starpu_node_get_kind(to) == STARPU_CUDA_RAM &&
                               sdt__gpu_reaches(starpu_memory_node_get_devid(to),
                                                starpu_memory_node_get_devid(from))))
            starpu_bus_set_ngpus(bus, 1);
    }
}

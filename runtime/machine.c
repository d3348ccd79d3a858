/* Starting and stopping StarPU with N devices. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "runtime/machine.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/folder.h"
#include "kernels/kernels.h"
#include "runtime/bus.h"
#include "runtime/cuda.h"
#include "runtime/module.h"
#include "runtime/start.h"
#include "schedulers/policies.h"

static enum sdt_status check_module(const char *path, const char *what, const char *given,
                                    struct sdt_error *err) {
    char name[600];
    snprintf(name, sizeof name, "%s%s", what, given);
    return sdt__module_check(path, name, err);
}

/* "path/mine.so": the policy "mine" of that module, which StarPU loads itself. */
static enum sdt_status set_module(struct sdt_machine *machine, const char *path,
                                  struct sdt_error *err) {
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    char *whole = realpath(path, NULL);
    int letters = (int)(strlen(name) - strlen(".so"));
    if (!whole)
        return sdt_fail(err, SDT_ERROR_USAGE, "scheduler %s: %s", path, strerror(errno));
    enum sdt_status status = check_module(whole, "scheduler ", path, err);
    if (status != SDT_OK) {
        free(whole);
        return status;
    }
    snprintf(machine->scheduler, sizeof machine->scheduler, "%.*s", letters, name);
    setenv("STARPU_SCHED_LIB", whole, 1);
    setenv("STARPU_SCHED", machine->scheduler, 1);
    machine->module = true;
    free(whole);
    return SDT_OK;
}

/* Chooses the policy: ours by name or by default, stock ones wrapped so that idle workers sleep. */
static enum sdt_status set_policy(struct sdt_machine *machine, const char *wanted, bool as_shipped,
                                  struct starpu_conf *conf, struct sdt_error *err) {
    const char *name = wanted;
    const char *library = getenv("STARPU_SCHED_LIB"), *named = getenv("STARPU_SCHED");
    const char *ending = name ? strrchr(name, '.') : NULL;
    if (ending && !strcmp(ending, ".so"))
        return set_module(machine, name, err);
    if (!name && library && (!named || !*named))
        return sdt_fail(err, SDT_ERROR_USAGE,
                        "STARPU_SCHED_LIB=%s: STARPU_SCHED must name the scheduler in there",
                        library);
    if (!name && library) {
        enum sdt_status status = check_module(library, "STARPU_SCHED_LIB=", library, err);
        if (status != SDT_OK)
            return status;
        snprintf(machine->scheduler, sizeof machine->scheduler, "%s", named);
        return SDT_OK; /* StarPU loads it itself */
    }
    if (!name)
        name = getenv("STARPU_SCHED");
    if (!name || !*name)
        name = sdt_policies[0]->policy_name;
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

/* STARDIT_STALL_SECONDS, where it is set. */
static enum sdt_status read_stall_seconds(double *seconds, struct sdt_error *err) {
    const char *text = getenv("STARDIT_STALL_SECONDS");
    char *end;
    *seconds = 1800.0;
    if (!text || !*text)
        return SDT_OK;
    *seconds = strtod(text, &end);
    if (end == text || *end || !(*seconds >= 0.0) || *seconds > 1e9)
        return sdt_fail(err, SDT_ERROR_USAGE,
                        "STARDIT_STALL_SECONDS=%s: must be a number of seconds, 0 for never", text);
    return SDT_OK;
}

/* What has the machine's lifetime and needs no StarPU. */
static enum sdt_status prepare(struct sdt_start *start, struct sdt_machine *machine,
                               const struct sdt_machine_options *options, struct sdt_error *err) {
    enum sdt_status status = read_stall_seconds(&machine->watch.stall_seconds, err);
    if (status == SDT_OK)
        status = sdt__start_settle(start, machine, options, err);
    if (status == SDT_OK) /* what an earlier machine had set is gone now */
        status = sdt__environment_check(err);
    if (status != SDT_OK)
        return status;
    machine->free_mapping = options->free_mapping;
    machine->device = calloc((size_t)machine->devices, sizeof *machine->device);
    machine->recorder = sdt__recorder_new(options->keep_records, options->keep_edges);
    if (!machine->device || !machine->recorder)
        return sdt_fail(err, SDT_ERROR_MEMORY, "out of memory while starting StarPU");
    return SDT_OK;
}

/* StarPU runs: finds the devices in it. */
static enum sdt_status look_around(struct sdt_machine *machine, const struct starpu_conf *conf,
                                   struct sdt_error *err) {
    enum sdt_status status = check_policy(machine, conf, err);
    if (status == SDT_OK)
        status = sdt__places_find(machine, err);
    if (status == SDT_OK)
        status = sdt__cuda_workers_open(err);
    if (status != SDT_OK)
        return status;
    sdt__recorder_devices(machine->recorder, machine->devices, machine->device);
    sdt__start_links(machine);
    starpu_profiling_status_set(STARPU_PROFILING_ENABLE);
    return SDT_OK;
}

static void open_lanes(struct sdt_machine *machine, int max_pending) {
    pthread_mutex_init(&machine->parameters_mutex, NULL);
    sdt__halt_init(&machine->halt, NULL);
    for (int l = 0; l < SDT_LANES; l++) {
        sdt__lane_init(&machine->lane[l], max_pending > 0 ? max_pending : 4096, &machine->watch);
        machine->lane[l].fixed = max_pending > 0;
        machine->lane[l].next_tag = (int64_t)(l + 1) << 40; /* more than a lane ever has */
    }
}

static unsigned long long lane_bits(int first, int count) {
    return (count < SDT_SERVICE_LANES ? (1ULL << count) - 1 : ~0ULL) << first;
}

int sdt__lanes_take(struct sdt_machine *machine, int count) {
    unsigned long long taken = atomic_load(&machine->lanes);
    for (int first = 0; first + count <= SDT_SERVICE_LANES;) {
        const unsigned long long bits = lane_bits(first, count);
        if (taken & bits)
            first++;
        else if (atomic_compare_exchange_strong(&machine->lanes, &taken, taken | bits))
            return first;
        else
            first = 0;
    }
    return -1;
}

void sdt__lanes_give_back(struct sdt_machine *machine, int first, int count) {
    atomic_fetch_and(&machine->lanes, ~lane_bits(first, count));
}

/* What StarPU was told is forgotten: another machine may come after this one. */
static void clear_environment(struct sdt_machine *machine) {
    if (machine->unbound)
        unsetenv("STARPU_WORKERS_NOBIND");
    if (machine->module) {
        unsetenv("STARPU_SCHED_LIB");
        unsetenv("STARPU_SCHED");
    }
    if (machine->bus_folder)
        sdt__bus_folder_forget();
    sdt__folder_remove(machine->bus_folder);
    machine->bus_folder = NULL;
}

static void free_machine(struct sdt_machine *machine) {
    clear_environment(machine);
    free(machine->gathered);
    sdt__recorder_free(machine->recorder);
    free(machine->device);
    free(machine);
}

enum sdt_status sdt_machine_open(const struct sdt_machine_options *options,
                                 struct sdt_machine **out, struct sdt_error *err) {
    struct starpu_conf conf;
    struct sdt_start start = {0};
    struct sdt_machine *machine = calloc(1, sizeof *machine);

    *out = NULL;
    if (!machine)
        return sdt_fail(err, SDT_ERROR_MEMORY, "out of memory while starting StarPU");
    enum sdt_status status = prepare(&start, machine, options, err);
    if (status == SDT_OK)
        starpu_conf_init(&conf); /* reads the environment */
    if (status == SDT_OK)
        status = set_policy(machine, options->scheduler, options->as_shipped, &conf, err);
    if (status == SDT_OK)
        status = sdt__start_environment(&start, machine, options, err);
    status = sdt_ranks_settle(status, err);
    if (status != SDT_OK)
        goto failed;
    conf.reserve_ncpus = -1; /* the variable was taken over */
    if (sdt_ranks() > 1)
        sdt__start_hear(machine, options->device_speed);
    conf.ncuda = machine->gpus;
    conf.nopencl = 0;
    conf.catch_signals = 0;
    starpu_malloc_set_align(64); /* or each vector of a kernel lies in two cache lines */
    sdt__crossing_init(&machine->crossing);
    int result = sdt__ranks_start(&conf);
    if (result) {
        status = sdt_fail(err, SDT_ERROR_DEVICE, "StarPU did not start with %d devices: %s",
                          machine->devices, strerror(-result));
        goto failed;
    }
    status = sdt_ranks_settle(look_around(machine, &conf, err), err);
    if (status != SDT_OK) {
        sdt__ranks_stop();
        goto failed;
    }
    open_lanes(machine, options->max_pending);
    *out = machine;
    return SDT_OK;
failed:
    free_machine(machine);
    return status;
}

void sdt_machine_close(struct sdt_machine *machine) {
    if (!machine)
        return;
    if (atomic_load(&machine->watch.stalled)) {
        clear_environment(machine);
        return;
    }
    starpu_task_wait_for_all();
    for (int l = 0; l < SDT_LANES; l++) {
        sdt__scratch_clear(&machine->scratch[l]);
        sdt__lane_clear(&machine->lane[l]);
    }
    sdt__cuda_workers_close();
    sdt__ranks_stop();
    pthread_mutex_destroy(&machine->parameters_mutex);
    sdt__halt_clear(&machine->halt);
    free_machine(machine);
}

/* snprintf takes neither locks nor memory for strings. */
void sdt_current_work(char *text, size_t size) {
    int worker = starpu_worker_get_id();
    struct starpu_task *task = worker < 0 ? NULL : starpu_task_get_current();
    const char *title = task ? starpu_task_get_name(task) : NULL;
    char name[128] = "?";
    if (worker >= 0)
        starpu_worker_get_name(worker, name, sizeof name);
    if (worker < 0)
        snprintf(text, size, "another thread");
    else if (task)
        snprintf(text, size, "task %s on worker %s", title ? title : "without a name", name);
    else
        snprintf(text, size, "worker %s, outside of a task", name);
}

void sdt_machine_stop(struct sdt_machine *machine) { atomic_store(&machine->halt.stop, true); }

int sdt_machine_devices(const struct sdt_machine *machine) { return machine->devices; }

struct sdt_device sdt_machine_device(const struct sdt_machine *machine, int device) {
    return device >= 0 && device < machine->devices ? machine->what[device]
                                                    : (struct sdt_device){SDT_DEVICE_CPU, -1};
}

static const struct starpu_sched_policy *policy_at(int index) {
    int count = 0;
    while (sdt_policies[count])
        count++;
    return index >= 0 && index < count ? sdt_policies[index] : NULL;
}

const char *sdt_scheduler_name(int index) {
    const struct starpu_sched_policy *policy = policy_at(index);
    return policy ? policy->policy_name : NULL;
}

const char *sdt_scheduler_summary(int index) {
    const struct starpu_sched_policy *policy = policy_at(index);
    return policy ? policy->policy_description : NULL;
}

static const struct sdt_place *place_of(const struct sdt_machine *machine, int device) {
    return device < 0 ? &machine->host : &machine->device[device];
}

int sdt_machine_workers(const struct sdt_machine *machine, int device) {
    return place_of(machine, device)->workers;
}

double sdt_machine_speed(const struct sdt_machine *machine, int device) {
    return device < 0 ? 0.0 : machine->device[device].speed;
}

const char *sdt_machine_scheduler(const struct sdt_machine *machine) { return machine->scheduler; }

const char *sdt_machine_replaced(const struct sdt_machine *machine) { return machine->replaced; }
struct sdt_cudnn_use sdt_machine_cudnn(const struct sdt_machine *machine) {
    struct sdt_cudnn_use use = {0};
    (void)machine; /* the process's only one */
    sdt__cuda_use(&use);
    return use;
}

const char *sdt_machine_models(const struct sdt_machine *machine) { return machine->models; }

struct sdt_role_totals sdt_machine_totals(const struct sdt_machine *machine, int device,
                                          enum sdt_role role) {
    return sdt__recorder_totals(machine->recorder, device, role);
}

unsigned long sdt_machine_tasks(const struct sdt_machine *machine) {
    return sdt__recorder_tasks(machine->recorder);
}

double sdt_machine_peak_bytes(const struct sdt_machine *machine, int device) {
    const struct sdt_place *place = place_of(machine, device);
    double most = 0.0;
    for (int r = 0; machine->gathered && r < machine->crossing.count; r++)
        most = fmax(most, machine->gathered[r].peak[device + 1]);
    if (machine->gathered)
        return most;
    place = device < 0 ? &machine->each : place;
    return place->here ? (double)sdt__recorder_peak(machine->recorder, place->node) : 0.0;
}

double sdt_machine_collective_bytes(const struct sdt_machine *machine) {
    return machine->collective_bytes;
}

enum sdt_status sdt_machine_write_trace(const struct sdt_machine *machine, const char *path,
                                        struct sdt_error *err) {
    return sdt__recorder_write_trace(machine->recorder, path, err);
}

enum sdt_status sdt_machine_take_trace(const struct sdt_machine *machine, int number,
                                       const char *path, struct sdt_error *err) {
    return sdt__recorder_take_trace(machine->recorder, number, path, err);
}

enum sdt_status sdt_machine_write_graph(const struct sdt_machine *machine, const char *path,
                                        struct sdt_error *err) {
    return sdt__recorder_write_dot(machine->recorder, path, err);
}

struct sdt_flow sdt_machine_flow(struct sdt_machine *machine, int lane) {
    return (struct sdt_flow){
        .place = &machine->host,
        .host = &machine->host,
        .each = &machine->each,
        .crossing = machine->crossing.count > 1 ? &machine->crossing : NULL,
        .tag = {.step = -1, .layer = -1, .chunk = -1, .tile = -1, .role = SDT_ROLE_IO},
        .recorder = machine->recorder,
        .costs = &machine->costs,
        .handles = &machine->handles,
        .halt = &machine->halt,
        .scratch = &machine->scratch[lane],
        .lane = &machine->lane[lane],
        .free_mapping = machine->free_mapping,
    };
}

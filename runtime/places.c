/* Which workers are which device: what StarPU has made is read once, after its start. */
#include "runtime/places.h"

#include <stdlib.h>

#include "runtime/devices.h"
#include "runtime/machine.h"

/* Whether the host is a memory of its own: not with one device on CPUs. */
static bool host_is_apart(const struct sdt_machine *machine) {
    return machine->devices > 1 || machine->gpus > 0;
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

/* With GPUs, simulated or not: each has its worker; the CPU workers are the host, and cpu:0 where
 * it is a device. */
static void find_gpu_places(struct sdt_machine *machine) {
    for (unsigned w = 0; w < starpu_worker_get_count(); w++) {
        bool cpu = starpu_worker_get_type((int)w) == STARPU_CPU_WORKER;
        unsigned node = starpu_worker_get_memory_node(w);
        if (cpu)
            add_worker(&machine->host, -1, node, (int)w);
        for (int d = machine->first; d < machine->first + machine->local; d++) {
            struct sdt_device what = machine->what[d];
            if (cpu ? what.kind == SDT_DEVICE_CPU
                    : what.kind == SDT_DEVICE_CUDA && starpu_worker_get_devid((int)w) == what.index)
                add_worker(&machine->device[d], d, node, (int)w);
        }
    }
}

/* Workers of node n are this rank's device n - 1, of node 0 the host; with one device on CPUs
 * everything is node 0. */
static void find_cpu_places(struct sdt_machine *machine) {
    for (unsigned w = 0; w < starpu_worker_get_count(); w++) {
        unsigned node = starpu_worker_get_memory_node(w);
        if (!host_is_apart(machine)) {
            add_worker(&machine->device[0], 0, node, (int)w);
            add_worker(&machine->host, -1, node, (int)w);
        } else if (node == 0) {
            add_worker(&machine->host, -1, node, (int)w);
        } else if ((int)node <= machine->local) {
            int d = machine->first + (int)node - 1;
            add_worker(&machine->device[d], d, node, (int)w);
        }
    }
}

/* StarPU has started: has it made what the devices need? */
static enum sdt_status check_places(const struct sdt_machine *machine, struct sdt_error *err) {
    char name[SDT_DEVICE_NAME];
    int nodes = machine->local + 1, first = machine->first, end = first + machine->local;
    if (machine->gpus) {
        for (int d = first; d < end; d++)
            if (!machine->device[d].workers)
                return sdt_fail(err, SDT_ERROR_DEVICE, "%s: StarPU made no worker for it",
                                sdt_device_name(machine->what[d], name));
        if (!machine->host.workers)
            return sdt_fail(err, SDT_ERROR_DEVICE, "StarPU made no CPU worker for the host");
    } else if (host_is_apart(machine) && (int)starpu_memory_nodes_get_count() < nodes) {
        return sdt_fail(err, SDT_ERROR_DEVICE,
                        "StarPU made %u memory nodes where %d devices and the host need %d: this "
                        "StarPU was built with --enable-maxnumanodes below that",
                        starpu_memory_nodes_get_count(), machine->local, nodes);
    }
    for (int d = first; d < end; d++)
        if (machine->what[d].kind == SDT_DEVICE_CPU &&
            machine->device[d].workers != machine->workers[d])
            return sdt_fail(err, SDT_ERROR_DEVICE, "%s: StarPU made %d workers for it, not %d",
                            sdt_device_name(machine->what[d], name), machine->device[d].workers,
                            machine->workers[d]);
    return SDT_OK;
}

/* How fast a worker is beside the one that its kind's rates are of: the first of the first
 * device. */
static void set_factors(struct sdt_machine *machine) {
    double unit[SDT_DEVICE_KINDS] = {0.0};
    machine->costs.host_is_device = false;
    for (int w = 0; w < STARPU_NMAXWORKERS; w++)
        machine->costs.factor[w] = 1.0;
    for (int d = 0; d < machine->devices; d++) {
        const struct sdt_place *place = &machine->device[d];
        double each = place->speed / place->workers;
        machine->costs.host_is_device |= place->kind == SDT_DEVICE_CPU;
        if (unit[place->kind] == 0.0)
            unit[place->kind] = each;
        for (int w = 0; w < STARPU_NMAXWORKERS; w++)
            if (place->mask[w / 32] >> (w % 32) & 1)
                machine->costs.factor[w] = each / unit[place->kind];
    }
    for (int w = 0; w < (int)starpu_worker_get_count(); w++) {
        bool gpu = starpu_worker_get_type(w) == STARPU_CUDA_WORKER;
        struct sdt_rates rate = machine->costs.base[gpu ? SDT_DEVICE_CUDA : SDT_DEVICE_CPU];
        rate.flops_per_us *= machine->costs.factor[w];
        rate.bytes_per_us *= machine->costs.factor[w];
        for (int class = 0; class < SDT_CLASSES; class ++)
            machine->costs.rate[w][class] = rate;
    }
}

/* Whose the places are. Of other ranks' devices only what all know is there. */
static void set_ranks(struct sdt_machine *machine) {
    for (int d = 0; d < machine->devices; d++) {
        struct sdt_place *place = &machine->device[d];
        place->ranks = UINT64_C(1) << (d / machine->local);
        place->here = d >= machine->first && d < machine->first + machine->local;
        if (place->here)
            continue;
        place->device = d;
        place->node = SDT_NO_NODE;
        place->workers = machine->what[d].kind == SDT_DEVICE_CUDA ? 1 : machine->workers[d];
    }
    machine->host.ranks = 1;
    machine->host.here = machine->crossing.me == 0;
    machine->each = machine->host;
    machine->each.ranks = machine->crossing.all;
    machine->each.here = true;
}

enum sdt_status sdt__places_find(struct sdt_machine *machine, struct sdt_error *err) {
    machine->host.device = -1;
    if (machine->gpus)
        find_gpu_places(machine);
    else
        find_cpu_places(machine);
    enum sdt_status status = check_places(machine, err);
    if (status != SDT_OK)
        return status;
    for (int d = 0; d < machine->devices; d++) {
        machine->device[d].kind = machine->what[d].kind;
        machine->device[d].speed = machine->speed[d];
    }
    machine->host.speed = machine->host.workers * SDT_CPU_FLOPS;
    set_ranks(machine);
    set_factors(machine);
    return SDT_OK;
}

double sdt__place_room(const struct sdt_place *place) {
    return place->here ? (double)starpu_memory_get_total(place->node) : 0.0;
}

/* ---- groups ---------------------------------------------------------------------------------- */

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

/* ---- traffic --------------------------------------------------------------------------------- */

/* Index of a memory node in the traffic: 0 the host, d + 1 device d; -1: nobody's. */
static int traffic_index(const struct sdt_machine *machine, int node) {
    if (node == (int)machine->host.node)
        return 0; /* device cpu:0 beside GPUs as well */
    for (int d = 0; d < machine->devices; d++)
        if ((int)machine->device[d].node == node)
            return d + 1;
    return -1;
}

/* Of this rank's memories. */
static void add_traffic(const struct sdt_machine *machine, double *bytes) {
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

void sdt_machine_traffic(struct sdt_machine *machine, double *bytes) {
    int n = machine->devices + 1;
    if (!machine->gathered)
        add_traffic(machine, bytes);
    for (int r = 0; machine->gathered && r < machine->crossing.count; r++)
        for (int i = 0; i < n * n; i++)
            bytes[i] += machine->gathered[r].traffic[i];
}

/* ---- ranks ----------------------------------------------------------------------------------- */

struct sdt_messages sdt_machine_messages(const struct sdt_machine *machine, int from, int to) {
    const struct sdt_crossing *c = &machine->crossing;
    if (machine->gathered)
        return machine->gathered[from].messages[to];
    if (from != c->me)
        return (struct sdt_messages){0};
    return (struct sdt_messages){atomic_load(&c->messages[to]), (double)atomic_load(&c->bytes[to])};
}

struct sdt_messages sdt_machine_role_messages(const struct sdt_machine *machine,
                                              enum sdt_role role) {
    const struct sdt_crossing *c = &machine->crossing;
    struct sdt_messages sum = {atomic_load(&c->role_messages[role]),
                               (double)atomic_load(&c->role_bytes[role])};
    for (int r = 0; machine->gathered && r < c->count; r++)
        if (r != c->me) {
            sum.count += machine->gathered[r].role[role].count;
            sum.bytes += machine->gathered[r].role[role].bytes;
        }
    return sum;
}

enum sdt_status sdt_machine_gather(struct sdt_machine *machine, struct sdt_error *err) {
    const int count = machine->crossing.count;
    if (count < 2)
        return SDT_OK;
    struct sdt_gathered *mine = calloc(1, sizeof *mine);
    struct sdt_gathered *all = calloc((size_t)count, sizeof *all);
    enum sdt_status status = SDT_OK;
    if (!mine || !all)
        status = sdt_fail(err, SDT_ERROR_MEMORY, "out of memory for what ranks have counted");
    status = sdt_ranks_settle(status, err);
    if (status == SDT_OK) {
        sdt__recorder_sums(machine->recorder, &mine->sums);
        add_traffic(machine, mine->traffic);
        for (int d = -1; d < machine->devices; d++)
            mine->peak[d + 1] = sdt_machine_peak_bytes(machine, d);
        for (int to = 0; to < count; to++)
            mine->messages[to] = sdt_machine_messages(machine, machine->crossing.me, to);
        for (int role = 0; role < SDT_ROLES; role++)
            mine->role[role] = sdt_machine_role_messages(machine, (enum sdt_role)role);
        sdt__ranks_collect(SDT_TALK_MAIN, mine, sizeof *mine, all);
        for (int r = 0; r < count; r++)
            if (r != machine->crossing.me)
                sdt__recorder_take(machine->recorder, &all[r].sums);
        machine->gathered = all;
        all = NULL;
    }
    free(mine);
    free(all);
    return status;
}

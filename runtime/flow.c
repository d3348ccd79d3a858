/* Flows and vectors for programs outside (stardit/graph.h): a lane of the machine with an owner. */
#include "runtime/machine.h"

#include <stdlib.h>
#include <string.h>

#include "stardit/graph.h"

/* What sdt_flow_new gives out; insert functions see the first member only. */
struct own_flow {
    struct sdt_flow flow;
    struct sdt_machine *machine;
    int number; /* of the machine's own flows */
};

_Static_assert(SDT_MAX_FLOWS <= 32, "taken flows are bits of an unsigned");

static struct own_flow *own(struct sdt_flow *flow) { return (struct own_flow *)flow; }

/* The lowest free number; -1: none. */
static int take_number(struct sdt_machine *machine) {
    unsigned taken = atomic_load(&machine->flows);
    for (;;) {
        int number = 0;
        while (number < SDT_MAX_FLOWS && (taken >> number & 1u))
            number++;
        if (number == SDT_MAX_FLOWS)
            return -1;
        if (atomic_compare_exchange_weak(&machine->flows, &taken, taken | 1u << number))
            return number;
    }
}

enum sdt_status sdt_flow_new(struct sdt_machine *machine, struct sdt_flow **flow,
                             struct sdt_error *err) {
    struct own_flow *owned = malloc(sizeof *owned);
    *flow = NULL;
    if (!owned)
        return sdt_fail(err, SDT_ERROR_MEMORY, "out of memory for a flow");
    int number = take_number(machine);
    if (number < 0) {
        free(owned);
        return sdt_fail(err, SDT_ERROR_LIMIT, "%d flows are in use; a machine has no more",
                        SDT_MAX_FLOWS);
    }
    *owned = (struct own_flow){sdt_machine_flow(machine, SDT_LANE_OWN + number), machine, number};
    *flow = &owned->flow;
    return SDT_OK;
}

void sdt_flow_free(struct sdt_flow *flow) {
    if (!flow)
        return;
    struct own_flow *owned = own(flow);
    /* After a stall the tasks may still end, into the lane: nobody else gets it. */
    if (sdt__flow_wait(flow, NULL) != SDT_ERROR_STALLED)
        atomic_fetch_and(&owned->machine->flows, ~(1u << owned->number));
    free(owned);
}

void sdt_flow_place(struct sdt_flow *flow, int device) {
    struct sdt_machine *machine = own(flow)->machine;
    if (device < -1 || device >= machine->devices) {
        if (flow->error.status == SDT_OK)
            sdt_fail(&flow->error, SDT_ERROR_USAGE,
                     "there is no device %d; %d devices are numbered 0 to %d, and -1 is the host",
                     device, machine->devices, machine->devices - 1);
        return;
    }
    flow->place = device < 0 ? &machine->host : &machine->device[device];
}

void sdt_flow_priority(struct sdt_flow *flow, int priority) {
    if (priority >= SDT_PRIORITY_MIN && priority <= SDT_PRIORITY_MAX)
        flow->priority = priority;
    else if (flow->error.status == SDT_OK)
        sdt_fail(&flow->error, SDT_ERROR_USAGE, "a priority of %d; %d to %d works", priority,
                 SDT_PRIORITY_MIN, SDT_PRIORITY_MAX);
}

struct sdt_tag *sdt_flow_tag(struct sdt_flow *flow) {
    return &flow->tag;
}

enum sdt_status sdt_flow_wait(struct sdt_flow *flow, struct sdt_error *err) {
    return sdt__flow_wait(flow, err);
}

sdt_handle sdt_vector_new(struct sdt_flow *flow, size_t floats, const char *name) {
    return sdt__vector(flow, floats, name);
}

void sdt_vector_free(sdt_handle vector) { sdt__unregister_submit(vector); }

enum sdt_status sdt__vector_check(sdt_handle vector, size_t count, struct sdt_error *err) {
    if (!vector)
        return sdt_fail(err, SDT_ERROR_USAGE, "%zu floats for a vector that is NULL", count);
    if (starpu_vector_get_nx(vector) != count)
        return sdt_fail(err, SDT_ERROR_USAGE, "%zu floats for a vector of %zu", count,
                        (size_t)starpu_vector_get_nx(vector));
    return SDT_OK;
}

/* StarPU aborts a program that reads what nothing has written. */
static bool is_written(sdt_handle vector) {
    for (unsigned node = 0; node < starpu_memory_nodes_get_count(); node++) {
        int allocated, valid, requested;
        starpu_data_query_status(vector, (int)node, &allocated, &valid, &requested);
        if (valid)
            return true;
    }
    return false;
}

enum sdt_status sdt_vector_get(struct sdt_flow *flow, sdt_handle vector, float *data, size_t count,
                               struct sdt_error *err) {
    enum sdt_status status = sdt__flow_wait(flow, err);
    if (status == SDT_OK)
        status = sdt__vector_check(vector, count, err);
    if (status != SDT_OK)
        return status;
    if (!is_written(vector))
        return sdt_fail(err, SDT_ERROR_USAGE, "nothing has written the vector that is asked for");
    if (starpu_data_acquire_on_node(vector, STARPU_MAIN_RAM, STARPU_R))
        return sdt_fail(err, SDT_ERROR_DEVICE, "StarPU could not bring a vector to the host");
    memcpy(data, (const void *)starpu_vector_get_local_ptr(vector), count * sizeof *data);
    starpu_data_release_on_node(vector, STARPU_MAIN_RAM);
    return SDT_OK;
}

/* The machine: StarPU started with a number of devices, and everything that has its lifetime.
 *
 * A device is a memory node with workers. On CPUs one device is the host's memory with all cores;
 * several devices are stand-ins: NUMA nodes of a synthetic topology, so that StarPU makes a memory node
 * for each and really copies between them. Node 0 is then the host, with a worker for input and
 * output, and belongs to no device: what a device reads from another is never free. */
#ifndef STARDIT_MACHINE_H
#define STARDIT_MACHINE_H

#include <stdatomic.h>
#include <stdbool.h>

#include "codelets/recorder.h"
#include "codelets/task.h"
#include "stardit/status.h"

#define SDT_MAX_DEVICES 15 /* plus the host: StarPU is built with 16 NUMA nodes */

struct sdt_machine_options {
    int devices;            /* 1..SDT_MAX_DEVICES */
    int workers_per_device; /* 0: all cores for one device, 1 for several */
    const char *scheduler;  /* a policy's name; NULL: STARPU_SCHED, else "pipedit" */
    bool keep_records;      /* for a trace */
    bool keep_edges;        /* for a graph */
    bool free_mapping;      /* for tests: any worker may run any task; no result may change */
    int max_pending;        /* tasks of one lane inserted and not ended; 0: 4096 */
    /* What schedulers are told about stand-in devices; 0: 25 GFLOP/s a worker, 8000 MB/s a link. */
    double worker_gflops, link_mb_per_s;
};

/* Threads that insert tasks, each into a lane of its own: one denoises, up to one per device decodes. */
enum { SDT_LANE_DENOISE, SDT_LANE_DECODE, SDT_LANES = SDT_LANE_DECODE + SDT_MAX_DEVICES };

struct sdt_machine {
    int devices, workers_per_device;
    struct sdt_place host;     /* where input and output happen; with one device, that device */
    struct sdt_place *device;  /* [devices] */
    struct sdt_recorder *recorder;
    struct sdt_scratch scratch[SDT_LANES];
    struct sdt_lane lane[SDT_LANES];
    struct sdt_progress_watch watch;
    bool free_mapping;
    atomic_bool stop;          /* set it (async-signal-safe) to end the run early */
    char scheduler[64];
    char *bus_folder;          /* temporary, removed at close; NULL: none */
};

/* Starts StarPU. One machine per process at a time. SDT_ERROR_USAGE for counts out of range or an
 * unknown scheduler (the message lists the known ones), SDT_ERROR_DEVICE when StarPU cannot start. */
enum sdt_status sdt_machine_open(const struct sdt_machine_options *options,
                                 struct sdt_machine **machine, struct sdt_error *err);
/* Waits for all tasks and stops StarPU. Handles must have been unregistered. NULL is fine. After a stall
 * StarPU is left running: the caller must end the process. */
void sdt_machine_close(struct sdt_machine *machine);

/* Some of the machine's devices in an order: first those that hold tokens (or decode), then helpers. */
struct sdt_group {
    int devices, helpers;
    struct sdt_place *place;    /* [devices + helpers] */
    struct sdt_place *anywhere; /* [devices]: the device or any helper, for tasks that may go to either */
};
/* devices, helpers: indices of the machine's devices, [n] each. SDT_ERROR_USAGE for one that does not exist or
 * stands twice, SDT_ERROR_MEMORY. */
enum sdt_status sdt_group_init(struct sdt_group *group, const struct sdt_machine *machine,
                               int ndevices, const int *devices, int nhelpers, const int *helpers,
                               struct sdt_error *err);
void sdt_group_clear(struct sdt_group *group); /* after a failed init too */

/* A flow on the machine, placed on the host, nothing set; one thread per lane at a time. */
struct sdt_flow sdt_machine_flow(struct sdt_machine *machine, int lane);

/* Bytes that StarPU has moved between memories since the previous call (StarPU resets its counters when
 * asked). Index 0 is the host, index d + 1 device d; row = source. */
void sdt_machine_traffic(struct sdt_machine *machine,
                         double *bytes /* [devices + 1, devices + 1] added to */);
#endif

/* The machine: StarPU started with a number of devices, and everything that has its lifetime.
 *
 * A device is a memory node with workers. On CPUs one device is the host's memory with all cores;
 * several devices are stand-ins: NUMA nodes of a synthetic topology, so that StarPU makes a memory
 * node for each and really copies between them. Node 0 is then the host, with as many workers as a
 * device for input and output, and belongs to no device: reading from another device always takes a
 * copy.
 *
 * With GPUs, each is a memory node with one worker; the host's memory is node 0, whose CPU workers
 * load weights, embed and collect, and are device cpu:0 too where that is asked for. The topology
 * and the speed of the links are the real ones, measured by StarPU when it first sees the
 * machine. */
#ifndef STARDIT_MACHINE_H
#define STARDIT_MACHINE_H

#include <stdatomic.h>
#include <stdbool.h>

#include "runtime/places.h"
#include "runtime/recorder.h"
#include "runtime/task.h"
#include "stardit/graph.h"

/* Threads that insert tasks, each into a lane of its own. A service takes lanes for the one that
 * denoises and, behind it, for those that decode: the first service these. Programs outside have
 * flows of their own (runtime/flow.c). */
enum {
    SDT_LANE_DENOISE,
    SDT_LANE_DECODE,
    SDT_SERVICE_LANES = 64,
    SDT_LANE_OWN = SDT_SERVICE_LANES,
    SDT_LANES = SDT_LANE_OWN + SDT_MAX_FLOWS
};

/* What a rank has counted. */
struct sdt_gathered {
    struct sdt_recorder_sums sums;
    double traffic[(SDT_MAX_DEVICES + 1) * (SDT_MAX_DEVICES + 1)];
    double peak[SDT_MAX_DEVICES + 1]; /* by device + 1 */
    struct sdt_messages messages[SDT_MAX_RANKS], role[SDT_ROLES];
};

/* The node of a device that another rank has. */
#define SDT_NO_NODE (~0u)

struct sdt_machine {
    int devices;                             /* of all ranks */
    int first, local;                        /* this rank's: so many from that one on */
    int gpus;                                /* among those */
    struct sdt_device what[SDT_MAX_DEVICES]; /* [devices] */
    int workers[SDT_MAX_DEVICES];            /* [devices] */
    double speed[SDT_MAX_DEVICES];           /* [devices] FLOP/s, see struct sdt_place */
    int workers_per_device;                  /* the most of a CPU device, and those of the host */
    struct sdt_costs costs;                  /* what schedulers are told */
    struct sdt_place host; /* where input and output happen; with one CPU device, that device. Of
                               * several ranks, rank 0's */
    struct sdt_place each; /* this rank's host, as a place that every rank has */
    struct sdt_crossing crossing;  /* between ranks */
    struct sdt_gathered *gathered; /* [ranks] what each has counted; NULL: not asked for yet */
    struct sdt_place *device;      /* [devices] */
    struct sdt_recorder *recorder;
    struct sdt_handles handles;
    struct sdt_scratch scratch[SDT_LANES];
    struct sdt_lane lane[SDT_LANES];
    struct sdt_progress_watch watch;
    pthread_mutex_t parameters_mutex;
    struct sdt_parameters *parameters; /* all weights that are registered now (parameters.h) */
    double collective_bytes;           /* that finished runs moved by --transport nccl */
    bool free_mapping;
    atomic_uint flows;    /* bit f: own flow f is in use */
    struct sdt_halt halt; /* of all flows that have none of their own; its flag stops these too */
    atomic_ullong lanes;  /* bit l: a service has lane l */
    char scheduler[64];
    bool unbound;       /* StarPU has been told to bind no worker */
    bool module;        /* and which module has the policy */
    char replaced[256]; /* variables of the environment that had other values than StarPU needs */
    char models[160];   /* that GPUs are of different models: sdt__models_differ(); "" else */
    char *bus_folder;   /* temporary, removed at close; NULL: none, or StarPU's own */
};

/* A flow on the machine, placed on the host, nothing set; one thread per lane at a time. */
struct sdt_flow sdt_machine_flow(struct sdt_machine *machine, int lane);

/* So many lanes in a row that no service has, for one: the first; -1: there are not so many. From
 * any thread. */
int sdt__lanes_take(struct sdt_machine *machine, int count);
void sdt__lanes_give_back(struct sdt_machine *machine, int first, int count);
#endif

/* What the machine is taken to be: measured on CPUs, with the kernels and shapes of the model that
 * is planned; guessed from the kind of GPU. docs/numbers.md says where each constant comes from. */
#ifndef STARDIT_RATES_H
#define STARDIT_RATES_H

#include "graph/pipeline.h"
#include "runtime/devices.h"

/* From the host's memory to a GPU, half of what PCIe 4.0 x16 is made for. */
#define SDT_HOST_LINK_BYTES_PER_SECOND 12e9

/* Of one worker. */
struct sdt_worker_rates {
    double flops_per_second;         /* in large products */
    double bytes_per_second;         /* of its memory; 0: not counted */
    double launch_seconds;           /* of each kernel, GPUs */
    double class_flops[SDT_CLASSES]; /* where they are known; 0: by the table in cost.c */
    /* CPUs: times of operations, measured when first asked for and kept by the pipeline. NULL: by
     * the three rates above and the table in rates.c. */
    struct sdt_kernel_times *times;
};

/* What a task costs beyond its arithmetic, seconds of a core. */
struct sdt_overheads {
    double insert;   /* by the thread that inserts */
    double run;      /* by the worker that runs it: StarPU's and the policy's parts */
    double transfer; /* of one piece between memories, beside its bytes */
};

struct sdt_machine_rates {
    int devices;
    int ranks; /* that have as many of them each, with a memory of their own; 0: 1 */
    const struct sdt_device *device; /* [devices], borrowed; NULL: CPUs */
    int workers[SDT_MAX_DEVICES];    /* [devices] CPU workers; 0: as 1 */
    double speed[SDT_MAX_DEVICES];   /* [devices] as in struct sdt_place; all 0: alike */
    enum sdt_precision precision;
    double cores; /* that CPU devices and inserting share; 0: each has its own */
    struct sdt_worker_rates cpu, gpu[SDT_MAX_DEVICES];
    struct sdt_overheads overheads;
    double together; /* workers who share a frame spend so much of their time in tasks; 0: all */
    double link_bytes_per_second; /* of a device, each way */
    double link_seconds;          /* latency of a transfer */
    double memory_bytes;          /* the host's, which CPU devices share; 0: no limit */
    bool simulated;               /* the platform's: this machine's limits are not its own */
    double room[SDT_MAX_DEVICES]; /* GPUs: bytes that StarPU may use; 0: no limit */
};

/* Devices of each rank. */
static inline int sdt_rates_local(const struct sdt_machine_rates *rates) {
    return rates->ranks > 1 ? rates->devices / rates->ranks : rates->devices;
}

/* The rates of the devices that a machine opened with these options would have; no machine is
 * needed. Links are measured in some milliseconds, kernels when a prediction asks for them.
 * SDT_ERROR_USAGE and SDT_ERROR_DEVICE for devices, workers and speeds that sdt_machine_open
 * refuses, in the same words. The rates borrow options->device. */
enum sdt_status sdt_measure_rates(const struct sdt_pipeline *pipeline,
                                  const struct sdt_machine_options *options,
                                  enum sdt_precision precision, struct sdt_machine_rates *rates,
                                  struct sdt_error *err);

/* What kind of arithmetic it is. */
enum sdt_class sdt_operation_class(const struct sdt_operation *operation);
/* Seconds of one task of the operation on a worker, its overheads not counted. */
double sdt_operation_seconds(const struct sdt_worker_rates *rates, enum sdt_dtype dtype,
                             const struct sdt_operation *operation);

/* Bytes a second, those read and those written, of packing matrices [width, width] of weights from
 * a mapped file into memory, both new to the process, as loading them does; measured. 0: out of
 * memory. */
double sdt_measure_packing(int width);

/* Measured times, by operation. Safe from several threads. NULL: out of memory. */
struct sdt_kernel_times *sdt__kernel_times_new(void);
/* What is measured from now on goes over so many bytes, call by call, as a run does between two
 * uses of a weight: they come from the cache or the memory that holds as much. 0: over its own
 * again and again. At most SDT_SPREAD_BYTES, which no cache holds. */
void sdt__kernel_times_spread(struct sdt_kernel_times *times, double bytes);
#define SDT_SPREAD_BYTES 64e6
void sdt__kernel_times_free(struct sdt_kernel_times *times); /* NULL is fine */
#endif

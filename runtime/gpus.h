/* The GPUs of this machine, as the CUDA runtime shows them. Nothing here needs a driver: without
 * one there are no GPUs, and a sentence that says why. In simulated time, the platform's. */
#ifndef STARDIT_GPUS_H
#define STARDIT_GPUS_H

#include <stdbool.h>
#include <stddef.h>

#include "runtime/cost.h"
#include "stardit/device.h"
#include "stardit/status.h"

struct sdt_gpu {
    char name[128];
    char bus[24];     /* "0000:17:00.0" */
    int major, minor; /* compute capability */
    int multiprocessors;
    double clock_hz;
    size_t total_bytes;
    /* Simulated ones: what they achieve, FLOP/s by class and bytes/s; else 0. */
    double flops[SDT_CLASSES], bytes_per_second, launch_seconds;
};

struct sdt_gpus {
    int count; /* that can be used: at most SDT_MAX_GPUS here, numbered from 0 */
    int all;   /* that CUDA shows */
    struct sdt_gpu gpu[SDT_MAX_DEVICES];
    char why[200]; /* count is 0: the reason, half a sentence */
    bool simulated;
    double host_bytes; /* simulated: the host's memory; 0: no limit */
};

/* Starts the CUDA runtime in this process: it cannot be used any more in processes forked later. */
void sdt__gpus_find(struct sdt_gpus *gpus);
/* Bytes free now; takes some of them for a context first. 0: cannot be told. */
size_t sdt__gpu_free(int gpu);
/* Can `from` read the memory of `to` without going through the host's? */
bool sdt__gpu_reaches(int from, int to);
/* Bytes/s from one to another where that is known, as in simulated time; else 0. */
double sdt__gpu_link(int from, int to);
/* In simulated time, with a platform of CPU devices: what one of its workers achieves, in the
 * fields for simulated GPUs, and the host's memory. False: there is none. */
bool sdt__simulated_cpu(struct sdt_gpu *worker, double *host_bytes);
/* "13.0"; NULL: built without CUDA. The toolkit's runtime, and what the driver can do (NULL: no
 * driver). */
const char *sdt__cuda_runtime(char *text, size_t size);
const char *sdt__cuda_driver(char *text, size_t size);
/* Their versions, "9.19.0"; NULL: not there, and *why, perhaps in `text`, says what was looked
 * for. */
const char *sdt__cudnn_version(char *text, size_t size, const char **why);
const char *sdt__nccl_version(char *text, size_t size, const char **why);

/* A guess at what a worker on it achieves in large products, FLOP/s: half of what its data sheet
 * says for its architecture, clock and dtype. Nothing is measured. */
double sdt__gpu_guess(const struct sdt_gpu *gpu, enum sdt_dtype dtype);
#endif

/* The machine that a simulation pretends to have, in a few numbers (docs/platforms.md). */
#ifndef STARDIT_PLATFORM_H
#define STARDIT_PLATFORM_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "runtime/cost.h"
#include "stardit/status.h"

enum {
    SDT_PLATFORM_DEVICES = 64,
    SDT_PLATFORM_KINDS = 16,
    SDT_PLATFORM_SWITCHES = 16,
    SDT_PLATFORM_PAIRS = 32,
    SDT_PLATFORM_NAME = 24
};

/* A kind of device: a GPU, or a memory with CPU workers. What is 0 is not said, and follows from
 * the rest. */
struct sdt_platform_kind {
    char name[SDT_PLATFORM_NAME];
    double bfloat16_tflops, float32_tflops; /* the data sheet's, of dense products */
    double gflops;                          /* achieved in large products of bfloat16 */
    double attention_gflops;                /* achieved in attention; 0: by the table in cost.h */
    double memory_peak_gbps;                /* of its memory, the data sheet's */
    double memory_gbps;                     /* achieved */
    double memory_gb;                       /* size of its memory */
    double launch_us;                       /* of each kernel; where a file names the kind, 4 */
    /* CPUs: how many workers such a device has, which compute in float32; the rates are of one of
     * them, and launch_us is what a task costs beside its kernel. 0: a GPU. */
    int cpu_workers;
    double cross_attention_gflops, conv_gflops; /* achieved; 0: by the table in cost.c */
    double narrow_conv_gflops;                  /* achieved; 0: as conv_gflops */
};

/* Devices with a port each: to a switch, or to the host bridge where they stand below none. */
struct sdt_platform {
    int kinds;
    struct sdt_platform_kind kind[SDT_PLATFORM_KINDS];
    int devices;
    int kind_of[SDT_PLATFORM_DEVICES];
    bool pcie;              /* host and other devices are reached by the same port */
    double link_gbps;       /* of a port, each direction, GB/s */
    double link_latency_us; /* from GPU to GPU, and from the host */
    double host_gbps;       /* host to one GPU, and back */
    double host_total_gbps; /* host to all GPUs at once, and back; 0: no limit */
    double bridge_gbps;     /* all that goes from switch to switch; 0: no limit */
    int switches;
    struct sdt_platform_switch {
        double gbps;      /* from it up to the host bridge, each direction */
        uint64_t devices; /* bit d: device d stands below it */
    } below[SDT_PLATFORM_SWITCHES];
    int pairs;
    struct sdt_platform_pair {
        double gbps; /* of a link between two devices alone, each direction */
        int a, b;
    } pair[SDT_PLATFORM_PAIRS];
    int host_cores;          /* that bring weights, beside those that drive GPUs; 0: 1 */
    double host_memory_gb;   /* 0: no limit */
    double host_memory_gbps; /* at which a core converts weights; 0: SDT_CPU_BYTES_PER_US */
};

/* Reads lines of names and values; '#' starts a comment. What the file leaves out stays as it is.
 * SDT_ERROR_IO, SDT_ERROR_FORMAT with file, line and reason. */
enum sdt_status sdt_platform_read(const char *path, struct sdt_platform *platform,
                                  struct sdt_error *err);
/* Is it whole? SDT_ERROR_FORMAT with what is missing; `name` is the platform's in the message. */
enum sdt_status sdt_platform_check(const struct sdt_platform *platform, const char *name,
                                   struct sdt_error *err);
/* As many devices: the first ones, or more of the last one's kind. */
void sdt_platform_resize(struct sdt_platform *platform, int devices);
/* Makes a device so many times as fast, as a kind of its own. Not of the last of 16 kinds:
 * SDT_ERROR_LIMIT. */
enum sdt_status sdt_platform_scale(struct sdt_platform *platform, int device, double speed,
                                   struct sdt_error *err);
/* The same machine as the XML that SimGrid reads. */
void sdt_platform_write(const struct sdt_platform *platform, FILE *file);

/* What device d's kind achieves: FLOP/s by class, and bytes/s of its memory; 0: it takes no
 * time. */
double sdt_platform_flops(const struct sdt_platform *platform, int device, enum sdt_class class);
double sdt_platform_bytes(const struct sdt_platform *platform, int device);
/* Bytes/s of the narrowest link between two devices; -1 stands for the host. INFINITY within the
 * host. */
double sdt_platform_link(const struct sdt_platform *platform, int from, int to);
static inline const struct sdt_platform_kind *sdt_platform_kind(const struct sdt_platform *p,
                                                                int device) {
    return &p->kind[p->kind_of[device]];
}
/* GPUs, which are the first devices. */
static inline int sdt_platform_gpus(const struct sdt_platform *p) {
    int gpus = 0;
    while (gpus < p->devices && !sdt_platform_kind(p, gpus)->cpu_workers)
        gpus++;
    return gpus;
}
/* Workers of each CPU device; 0: all devices are GPUs. */
static inline int sdt_platform_cpus(const struct sdt_platform *p) {
    return p->devices > 0 ? sdt_platform_kind(p, p->devices - 1)->cpu_workers : 0;
}
/* Memories beside the host's: a CPU device that is alone, or beside GPUs, is the host. */
static inline int sdt_platform_memories(const struct sdt_platform *p) {
    int gpus = sdt_platform_gpus(p);
    return gpus > 0 ? gpus : p->devices > 1 ? p->devices : 0;
}
/* Workers of the host's memory. */
static inline int sdt_platform_cores(const struct sdt_platform *p) {
    return sdt_platform_cpus(p) ? sdt_platform_cpus(p) : p->host_cores > 0 ? p->host_cores : 1;
}
#endif

/* The machine that a simulation pretends to have, in a few numbers. */
#ifndef STARDIT_PLATFORM_H
#define STARDIT_PLATFORM_H

#include <stdio.h>

#include "stardit/status.h"

/* GPUs behind a non-blocking switch, each with one duplex link to it and one to the host. */
struct sdt_platform {
    int devices;             /* GPUs */
    double gflops;           /* of one GPU in dense work, GFLOP/s; 0: arithmetic takes no time */
    double attention_gflops; /* in attention; 0: as gflops */
    double memory_gbps;      /* of one GPU's memory, GB/s; 0: reading and writing take no time */
    double memory_gb;        /* size of one GPU's memory, GB */
    double link_gbps;        /* from one GPU to the switch, and back, GB/s */
    double link_latency_us;  /* from GPU to GPU */
    double host_gbps;        /* from the host to one GPU, and back, GB/s */
};

/* Reads "name value" lines; '#' starts a comment. What the file leaves out stays as it is.
 * SDT_ERROR_IO, SDT_ERROR_FORMAT with file, line and reason. */
enum sdt_status sdt_platform_read(const char *path, struct sdt_platform *platform,
                                  struct sdt_error *err);
/* The same machine as the XML that SimGrid reads. devices: 0 to 64. */
void sdt_platform_write(const struct sdt_platform *platform, FILE *file);
#endif

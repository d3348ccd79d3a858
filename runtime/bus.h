/* StarPU's bus files: what it believes of the links between memories, in a folder of this run
 * alone.
 *
 * StarPU would otherwise write to the user's home (and abort where it cannot), measure the links
 * for every new number of devices (9 s at 8), and runs side by side would share one file. Stand-in
 * devices and simulated GPUs have files that we write; real GPUs have links that StarPU
 * measures. */
#ifndef STARDIT_BUS_H
#define STARDIT_BUS_H

#include <stdbool.h>
#include <stdio.h>

#include "stardit/status.h"

/* A machine's links. Memory nodes: NUMA nodes, then GPUs; node 0 is the host. */
struct sdt_bus {
    int cpus, numa_nodes, gpus;
    double host_mb_per_s, mb_per_s; /* from and to the host; between two others; or: */
    double (*each_mb_per_s)(const void *platform_arg, int from, int to); /* by node; or NULL */
    double latency_us;                                                   /* of each transfer */
    /* Writes SimGrid's platform; NULL: there is none. */
    void (*platform)(FILE *file, const void *arg);
    const void *platform_arg;
};

/* A folder of this process alone (base/folder.h, which removes it), with room for bus files.
 * SDT_ERROR_IO, SDT_ERROR_MEMORY; *folder is NULL then. */
enum sdt_status sdt__bus_folder_make(char **folder, struct sdt_error *err);
/* Tells StarPU, before it starts, to look there, or to forget about it. */
void sdt__bus_folder_use(const char *folder);
void sdt__bus_folder_forget(void);

/* Has StarPU measured this machine's links for this user? Else it does so in its start with GPUs:
 * seconds for one, up to a minute for eight. Looks where StarPU keeps its files. */
bool sdt__bus_measured(void);

/* Writes the six files. SDT_ERROR_IO with the name. */
enum sdt_status sdt__bus_write(const char *folder, const struct sdt_bus *bus,
                               struct sdt_error *err);
#endif

/* The GPUs of stardit-info: what they are, how they are linked, which group --vae-devices auto
 * gives them. */
#ifndef STARDIT_APPS_INFO_GPUS_H
#define STARDIT_APPS_INFO_GPUS_H

#include <hwloc.h>

#include "runtime/gpus.h"

/* The real topology, loaded with I/O devices. */
void app_info_gpus(hwloc_topology_t topology, const struct sdt_gpus *gpus);
/* Versions of CUDA, its driver, cuDNN and NCCL. */
void app_info_libraries(void);
#endif

/* stardit-info --platform: this machine as a platform file of stardit-simulate. */
#ifndef STARDIT_APPS_INFO_PLATFORM_H
#define STARDIT_APPS_INFO_PLATFORM_H

#include "apps/devices.h"
#include "graph/plan/reached.h"

/* Measures these devices, CPUs with a model's kernels and sizes, and writes what docs/platforms.md
 * describes. The file appears whole or not at all. */
enum sdt_status app_info_platform(const struct sdt_measured_size *size,
                                  const struct app_devices *devices, const char *path,
                                  struct sdt_error *err);
#endif

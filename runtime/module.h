/* Files with a scheduling policy (STARPU_SCHED_LIB), before StarPU loads them. */
#ifndef STARDIT_MODULE_H
#define STARDIT_MODULE_H

#include "stardit/status.h"

/* Was the module compiled for the StarPU of this program? Real runs and simulated ones have one
 * each, whose locks differ: a module with the other's locks would wait for ever. SDT_ERROR_USAGE
 * with `name` before the reason: no shared object, or one for the other StarPU. A module without
 * locks may pass. */
enum sdt_status sdt__module_check(const char *path, const char *name, struct sdt_error *err);

#endif

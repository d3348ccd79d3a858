/* How a machine begins: what differs between a real one (native.c) and a simulated one
 * (simulation.c). For machine.c. */
#ifndef STARDIT_START_H
#define STARDIT_START_H

#include "runtime/allowance.h"
#include "runtime/gpus.h"
#include "runtime/machine.h"

/* What is found out before StarPU starts. */
struct sdt_start {
    int cores; /* of the real machine, whoever may use them */
    struct sdt_allowance allowance;
    struct sdt_gpus gpus;
};

/* Whether StarPU's variables hold what it can read: SDT_ERROR_USAGE. */
enum sdt_status sdt__environment_check(struct sdt_error *err);
/* Checks the devices that are asked for, and fills what the machine knows of them: what they are,
 * how many workers each has, their speeds, and what schedulers are told. SDT_ERROR_USAGE,
 * SDT_ERROR_DEVICE. */
enum sdt_status sdt__start_settle(struct sdt_start *start, struct sdt_machine *machine,
                                  const struct sdt_machine_options *options, struct sdt_error *err);
/* Of several ranks: hears what the others have found of their devices, so that shares of the work
 * follow the same numbers everywhere. given: speeds are options. */
void sdt__start_hear(struct sdt_machine *machine, bool given);
/* Sets the environment that StarPU and hwloc read. SDT_ERROR_IO, SDT_ERROR_MEMORY. */
enum sdt_status sdt__start_environment(const struct sdt_start *start, struct sdt_machine *machine,
                                       const struct sdt_machine_options *options,
                                       struct sdt_error *err);
/* StarPU has started: what it should know of the links beside their speed. */
void sdt__start_links(const struct sdt_machine *machine);
#endif

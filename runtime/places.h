/* Which workers are which device, and groups of devices. */
#ifndef STARDIT_PLACES_H
#define STARDIT_PLACES_H

#include "runtime/task.h"

struct sdt_machine;

/* StarPU has started: fills machine->host and machine->device from its workers. SDT_ERROR_DEVICE
 * where a device or the host has none. */
enum sdt_status sdt__places_find(struct sdt_machine *machine, struct sdt_error *err);

/* Bytes of its memory; not above 0: no limit, or another rank's to know. */
double sdt__place_room(const struct sdt_place *place);

/* Some of the machine's devices in an order: first those that hold tokens (or decode), then
 * helpers. */
struct sdt_group {
    int devices, helpers;
    struct sdt_place *place; /* [devices + helpers] */
    struct sdt_place
        *anywhere; /* [devices]: the device or any helper, for tasks that may go to either */
};
/* devices, helpers: indices of the machine's devices, [n] each. SDT_ERROR_USAGE for one that does
 * not exist or stands twice, SDT_ERROR_MEMORY. */
enum sdt_status sdt_group_init(struct sdt_group *group, const struct sdt_machine *machine,
                               int ndevices, const int *devices, int nhelpers, const int *helpers,
                               struct sdt_error *err);
void sdt_group_clear(struct sdt_group *group); /* after a failed init too */
#endif

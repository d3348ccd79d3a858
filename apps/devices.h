/* Lists of devices on a command line: "4", "0-6", "cpu:0,2", "cuda:0-3,cpu:0". */
#ifndef STARDIT_APPS_DEVICES_H
#define STARDIT_APPS_DEVICES_H

#include "stardit/stardit.h"

#define APP_DEVICES_HELP                                                                           \
    "number of devices, on CPUs stand-ins with memories of their own, or a list, as cuda:0-3 or "  \
    "cuda:0-6,cpu:0 (default 1)"

#define APP_WORKERS_HELP                                                                           \
    "CPU workers of each CPU device (default: all cores for one device, else 1), or one number a " \
    "device, as 2,1,1; with GPUs, of the host"
#define APP_SPEED_HELP                                                                             \
    "how fast each device is beside the others, as 1,1,0.5: work is shared out accordingly "       \
    "(default: by workers, and GPUs by kind and clock)"

/* A machine's devices, in the order of their numbers. */
struct app_devices {
    int count; /* 0: not given */
    int ranks; /* that have as many of them each, 0: 1 */
    struct sdt_device device[SDT_MAX_DEVICES];
    int workers_each;              /* 0: not given */
    bool has_workers, has_speed;   /* the lists were given */
    int workers[SDT_MAX_DEVICES];  /* [count] */
    double speed[SDT_MAX_DEVICES]; /* [count] */
};
/* --devices; text NULL: none given. SDT_ERROR_USAGE; that the devices exist is not checked. */
enum sdt_status app_devices_read(const char *text, struct app_devices *devices,
                                 struct sdt_error *err);
/* --workers-per-device "2" or "2,1,1" and --device-speed "1,1,0.5", once the devices are known;
 * NULL: not given. SDT_ERROR_USAGE. */
enum sdt_status app_devices_shares(struct app_devices *devices, const char *workers,
                                   const char *speed, struct sdt_error *err);
/* Fills devices, workers and speeds; borrows from `devices`. */
void app_devices_options(const struct app_devices *devices, struct sdt_machine_options *options);
/* Says on stderr, before the machine is opened, what will take long then. */
void app_devices_announce(const char *program, const struct app_devices *devices);
/* Says on stderr which variables of the environment the machine does not take, and that its GPUs
 * are of different models. */
struct sdt_machine;
void app_devices_tell(const char *program, const struct sdt_machine *machine);
/* What was read is each rank's: now the devices are those of all ranks. SDT_ERROR_USAGE. */
enum sdt_status app_devices_of_ranks(struct app_devices *devices, int ranks, struct sdt_error *err);
/* N stand-ins on CPUs. */
void app_devices_stand_ins(struct app_devices *devices, int count);
/* For sdt_machine_options and sdt_placement: [count], or NULL where all are CPUs. */
const struct sdt_device *app_devices_list(const struct app_devices *devices);

/* One entry of a list, which may lack its kind: a number of the machine's devices then. */
struct app_named_device {
    bool has_kind;
    struct sdt_device device;
};
/* A list behind --option; *count at most SDT_MAX_DEVICES. */
enum sdt_status app_devices_parse(const char *option, const char *text,
                                  struct app_named_device *list, int *count, struct sdt_error *err);

/* --dtype: NULL is auto. */
enum sdt_precision app_precision(const char *text);
#define APP_DTYPES "auto|float32|bfloat16"
#define APP_DTYPE_HELP                                                                             \
    "what is computed in; auto: bfloat16 on GPUs, float32 on CPUs, which have no other (default "  \
    "auto)"

/* Names of some of a machine's devices, as "cuda:0,1,2,cpu:0". list NULL: all. */
void app_devices_name(const struct sdt_device *device, int count, const int *list, char *text,
                      size_t size);
#endif

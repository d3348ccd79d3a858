/* Reading and naming lists of devices. */
#include "apps/devices.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <starpu.h>

/* "cpu:" or "cuda:" at *at, which moves behind it. */
static bool read_kind(const char **at, enum sdt_device_kind *kind) {
    const enum sdt_device_kind kinds[] = {SDT_DEVICE_CPU, SDT_DEVICE_CUDA};
    for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++) {
        const char *name = sdt_device_kind_name(kinds[k]);
        size_t length = strlen(name);
        if (!strncmp(*at, name, length) && (*at)[length] == ':') {
            *at += length + 1;
            *kind = kinds[k];
            return true;
        }
    }
    return false;
}

enum sdt_status app_devices_parse(const char *option, const char *text,
                                  struct app_named_device *list, int *count,
                                  struct sdt_error *err) {
    const char *at = text;
    struct app_named_device next = {false, {SDT_DEVICE_CPU, 0}};

    *count = 0;
    for (;;) {
        char *end = NULL;
        next.has_kind |= read_kind(&at, &next.device.kind); /* it holds for what follows, too */
        bool fine = *at >= '0' && *at <= '9';
        long first = strtol(at, &end, 10), last = first;
        if (fine && *end == '-') {
            at = end + 1;
            fine = *at >= '0' && *at <= '9';
            last = strtol(at, &end, 10);
        }
        if (!fine || (*end && *end != ','))
            return sdt_fail(err, SDT_ERROR_USAGE,
                            "--%s %s: must be a list of devices, as 0-6, cpu:0,2 or cuda:0-3,cpu:0",
                            option, text);
        if (last < first || last > 9999)
            return sdt_fail(err, SDT_ERROR_USAGE, "--%s %s: %ld-%ld is no range of devices", option,
                            text, first, last);
        if (!next.has_kind && last >= SDT_MAX_DEVICES)
            return sdt_fail(err, SDT_ERROR_USAGE, "--%s %s: device numbers are 0 to %d", option,
                            text, SDT_MAX_DEVICES - 1);
        for (long d = first; d <= last; d++) {
            if (*count == SDT_MAX_DEVICES)
                return sdt_fail(err, SDT_ERROR_USAGE, "--%s %s: more than %d devices", option, text,
                                SDT_MAX_DEVICES);
            next.device.index = (int)d;
            list[(*count)++] = next;
        }
        if (!*end)
            return SDT_OK;
        at = end + 1;
    }
}

/* Numbers between commas; *count at most SDT_MAX_DEVICES. */
static enum sdt_status read_numbers(const char *option, const char *text, double *number,
                                    int *count, struct sdt_error *err) {
    const char *at = text;
    *count = 0;
    for (;;) {
        char *end = NULL;
        bool fine = (*at >= '0' && *at <= '9') || *at == '.';
        double value = strtod(at, &end);
        if (!fine || end == at || (*end && *end != ',') || !(value > 0.0) || !isfinite(value))
            return sdt_fail(err, SDT_ERROR_USAGE,
                            "--%s %s: must be numbers above 0, one a device, as 2,1,1", option,
                            text);
        if (*count == SDT_MAX_DEVICES)
            return sdt_fail(err, SDT_ERROR_USAGE, "--%s %s: more than %d numbers", option, text,
                            SDT_MAX_DEVICES);
        number[(*count)++] = value;
        if (!*end)
            return SDT_OK;
        at = end + 1;
    }
}

/* One number for each device. */
static enum sdt_status check_count(const char *option, const char *text, int numbers, int devices,
                                   struct sdt_error *err) {
    if (numbers == devices)
        return SDT_OK;
    return sdt_fail(err, SDT_ERROR_USAGE, "--%s %s: %d number%s for %d device%s", option, text,
                    numbers, numbers == 1 ? "" : "s", devices, devices == 1 ? "" : "s");
}

enum sdt_status app_devices_shares(struct app_devices *devices, const char *workers,
                                   const char *speed, struct sdt_error *err) {
    double number[SDT_MAX_DEVICES];
    int count = 0;
    enum sdt_status status = SDT_OK;

    if (workers) {
        status = read_numbers("workers-per-device", workers, number, &count, err);
        for (int i = 0; status == SDT_OK && i < count; i++)
            if (number[i] != floor(number[i]) || number[i] > STARPU_MAXCPUS)
                status = sdt_fail(err, SDT_ERROR_USAGE,
                                  "--workers-per-device %s: out of range: whole numbers, 1 to %d",
                                  workers, STARPU_MAXCPUS);
        if (status == SDT_OK && count > 1)
            status = check_count("workers-per-device", workers, count, devices->count, err);
        if (status != SDT_OK)
            return status;
        devices->has_workers = count > 1;
        devices->workers_each = count > 1 ? 0 : (int)number[0];
        for (int i = 0; i < count; i++)
            devices->workers[i] = (int)number[i];
    }
    if (speed) {
        status = read_numbers("device-speed", speed, devices->speed, &count, err);
        if (status == SDT_OK)
            status = check_count("device-speed", speed, count, devices->count, err);
        devices->has_speed = status == SDT_OK;
    }
    return status;
}

void app_devices_options(const struct app_devices *devices, struct sdt_machine_options *options) {
    options->devices = devices->count;
    options->ranks = devices->ranks;
    options->device = app_devices_list(devices);
    options->workers_per_device = devices->workers_each;
    options->workers = devices->has_workers ? devices->workers : NULL;
    options->device_speed = devices->has_speed ? devices->speed : NULL;
}

void app_devices_announce(const char *program, const struct app_devices *devices) {
    if (sdt_devices_measure_links(app_devices_list(devices),
                                  devices->count / (devices->ranks > 1 ? devices->ranks : 1)))
        fprintf(stderr,
                "%s: StarPU measures the links of this machine, once: up to a minute with 8 GPUs\n",
                program);
}

void app_devices_tell(const char *program, const struct sdt_machine *machine) {
    const char *replaced = sdt_machine_replaced(machine);
    if (*replaced)
        fprintf(stderr, "%s: not read here: %s; --devices and --workers-per-device decide\n",
                program, replaced);
    if (*sdt_machine_models(machine))
        fprintf(stderr, "%s: %s: bits depend on which of them computes what, as the plan says\n",
                program, sdt_machine_models(machine));
}

void app_devices_stand_ins(struct app_devices *devices, int count) {
    devices->count = count;
    for (int d = 0; d < count; d++)
        devices->device[d] = (struct sdt_device){SDT_DEVICE_CPU, d};
}

enum sdt_status app_devices_of_ranks(struct app_devices *devices, int ranks,
                                     struct sdt_error *err) {
    const int each = devices->count;
    if (ranks < 2)
        return SDT_OK;
    if (each * ranks > SDT_MAX_DEVICES)
        return sdt_fail(err, SDT_ERROR_USAGE,
                        "--devices: %d on each of %d ranks; at most %d in all work", each, ranks,
                        SDT_MAX_DEVICES);
    const bool gpus = app_devices_list(devices) != NULL;
    devices->ranks = ranks;
    devices->count = each * ranks;
    for (int d = each; d < devices->count; d++)
        devices->device[d] =
            gpus ? devices->device[d - each] : (struct sdt_device){SDT_DEVICE_CPU, d};
    return SDT_OK;
}

enum sdt_status app_devices_read(const char *text, struct app_devices *devices,
                                 struct sdt_error *err) {
    struct app_named_device list[SDT_MAX_DEVICES];
    *devices = (struct app_devices){0};
    if (!text)
        return SDT_OK;
    if (*text && strspn(text, "0123456789") == strlen(text)) {
        long count = strtol(text, NULL, 10);
        if (count < 1 || count > SDT_MAX_LOCAL_DEVICES)
            return sdt_fail(err, SDT_ERROR_USAGE, "--devices %s: out of range: 1 to %d", text,
                            SDT_MAX_LOCAL_DEVICES);
        app_devices_stand_ins(devices, (int)count);
        return SDT_OK;
    }
    enum sdt_status status = app_devices_parse("devices", text, list, &devices->count, err);
    if (status == SDT_OK && !list[0].has_kind)
        status = sdt_fail(err, SDT_ERROR_USAGE,
                          "--devices %s: must be a number of devices or a list with kinds, as "
                          "cpu:0-3 or cuda:0-3,cpu:0",
                          text);
    for (int d = 0; status == SDT_OK && d < devices->count; d++)
        devices->device[d] = list[d].device;
    return status;
}

const struct sdt_device *app_devices_list(const struct app_devices *devices) {
    for (int d = 0; d < devices->count; d++)
        if (devices->device[d].kind != SDT_DEVICE_CPU || devices->device[d].index != d)
            return devices->device; /* also what sdt_devices_check() refuses */
    return NULL;
}

enum sdt_precision app_precision(const char *text) {
    if (text && !strcmp(text, "float32"))
        return SDT_PRECISION_FLOAT32;
    return text && !strcmp(text, "bfloat16") ? SDT_PRECISION_BFLOAT16 : SDT_PRECISION_AUTO;
}

/* Device d of a machine; NULL stands for CPU devices in order. */
static struct sdt_device device_at(const struct sdt_device *device, int d) {
    return device ? device[d] : (struct sdt_device){SDT_DEVICE_CPU, d};
}

void app_devices_name(const struct sdt_device *device, int count, const int *list, char *text,
                      size_t size) {
    size_t length = 0;
    text[0] = 0;
    for (int i = 0; i < count && length < size; i++) {
        struct sdt_device one = device_at(device, list ? list[i] : i);
        struct sdt_device before = i ? device_at(device, list ? list[i - 1] : i - 1) : one;
        bool again = i > 0 && before.kind == one.kind;
        length += (size_t)snprintf(text + length, size - length, "%s%s%s%d", i ? "," : "",
                                   again ? "" : sdt_device_kind_name(one.kind), again ? "" : ":",
                                   one.index);
    }
}

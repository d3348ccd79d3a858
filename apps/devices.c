/* Reading and naming lists of devices. */
#include "apps/devices.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/devices.h"

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

void app_devices_stand_ins(struct app_devices *devices, int count) {
    devices->count = count;
    for (int d = 0; d < count; d++)
        devices->device[d] = (struct sdt_device){SDT_DEVICE_CPU, d};
}

enum sdt_status app_devices_read(const char *text, struct app_devices *devices,
                                 struct sdt_error *err) {
    struct app_named_device list[SDT_MAX_DEVICES];
    *devices = (struct app_devices){0};
    if (!text)
        return SDT_OK;
    if (*text && strspn(text, "0123456789") == strlen(text)) {
        long count = strtol(text, NULL, 10);
        if (count < 1 || count > SDT_MAX_DEVICES)
            return sdt_fail(err, SDT_ERROR_USAGE, "--devices %s: out of range: 1 to %d", text,
                            SDT_MAX_DEVICES);
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
            return devices->device; /* also what sdt__devices_check() refuses */
    return NULL;
}

enum sdt_precision app_precision(const char *text) {
    if (text && !strcmp(text, "float32"))
        return SDT_PRECISION_FLOAT32;
    return text && !strcmp(text, "bfloat16") ? SDT_PRECISION_BFLOAT16 : SDT_PRECISION_AUTO;
}

void app_devices_name(const struct sdt_device *device, int count, const int *list, char *text,
                      size_t size) {
    size_t length = 0;
    text[0] = 0;
    for (int i = 0; i < count && length < size; i++) {
        struct sdt_device one = sdt__device_at(device, list ? list[i] : i);
        struct sdt_device before = i ? sdt__device_at(device, list ? list[i - 1] : i - 1) : one;
        bool again = i > 0 && before.kind == one.kind;
        length += (size_t)snprintf(text + length, size - length, "%s%s%s%d", i ? "," : "",
                                   again ? "" : sdt_device_kind_name(one.kind), again ? "" : ":",
                                   one.index);
    }
}

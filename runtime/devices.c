/* Rules about kinds of devices. */
#include "runtime/devices.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/bus.h"
#include "runtime/task.h"

/* What cuBLASLt, cuDNN and our own kernels take of a GPU once they run: their code and a
 * workspace. */
#define LIBRARY_BYTES 768e6

const char *sdt_device_kind_name(enum sdt_device_kind kind) {
    return kind == SDT_DEVICE_CUDA ? "cuda" : "cpu";
}

const char *sdt_aco_name(enum sdt_aco aco) {
    return aco == SDT_ACO_OFF ? "off" : aco == SDT_ACO_STATIC ? "static" : "dynamic";
}

const char *sdt__device_title(int device, char text[SDT_DEVICE_NAME]) {
    snprintf(text, SDT_DEVICE_NAME, device < 0 ? "the host" : "device %d", device);
    return text;
}

const char *sdt_device_name(struct sdt_device device, char text[SDT_DEVICE_NAME]) {
    snprintf(text, SDT_DEVICE_NAME, "%s:%d", sdt_device_kind_name(device.kind), device.index);
    return text;
}

bool sdt__has_gpus(const struct sdt_device *device, int count) {
    for (int d = 0; device && d < count; d++)
        if (device[d].kind == SDT_DEVICE_CUDA)
            return true;
    return false;
}

#ifdef STARPU_SIMGRID
#define MOST_DEVICES SDT_MAX_DEVICES
#else
#define MOST_DEVICES SDT_MAX_LOCAL_DEVICES
#endif

/* The GPU is there and has the kernels' architecture. */
static enum sdt_status check_gpu(const struct sdt_gpus *gpus, struct sdt_device device,
                                 struct sdt_error *err) {
    char name[SDT_DEVICE_NAME];
    sdt_device_name(device, name);
    if (!gpus->count)
        return sdt_fail(err, SDT_ERROR_DEVICE, "%s: %s; --devices 1 runs on CPUs", name, gpus->why);
    if (device.index >= gpus->count && device.index < gpus->all)
        return sdt_fail(err, SDT_ERROR_USAGE,
                        "%s: StarPU is built for %d GPUs, cuda:0 to cuda:%d; CUDA_VISIBLE_DEVICES "
                        "chooses which of this machine's %d these are",
                        name, SDT_MAX_GPUS, SDT_MAX_GPUS - 1, gpus->all);
    if (device.index >= gpus->count && gpus->count == 1)
        return sdt_fail(err, SDT_ERROR_USAGE, "%s: this machine has 1 GPU, cuda:0", name);
    if (device.index >= gpus->count)
        return sdt_fail(err, SDT_ERROR_USAGE, "%s: this machine has %d GPUs, cuda:0 to cuda:%d",
                        name, gpus->count, gpus->count - 1);
    const struct sdt_gpu *gpu = &gpus->gpu[device.index];
    if (gpu->major < 8)
        return sdt_fail(err, SDT_ERROR_DEVICE,
                        "%s: %s has compute capability %d.%d; 8.0 and later work", name, gpu->name,
                        gpu->major, gpu->minor);
    return SDT_OK;
}

enum sdt_status sdt__devices_check(const struct sdt_device *device, int count,
                                   struct sdt_gpus *gpus, struct sdt_error *err) {
    struct sdt_gpus found;
    char name[SDT_DEVICE_NAME];
    int cpus = 0;

    if (count < 1 || count > MOST_DEVICES)
        return sdt_fail(err, SDT_ERROR_USAGE, "%d devices; 1 to %d are supported", count,
                        MOST_DEVICES);
    if (!device)
        return SDT_OK;
    for (int d = 0; d < count; d++) {
        if (device[d].index < 0)
            return sdt_fail(err, SDT_ERROR_USAGE, "%s: devices are numbered from 0",
                            sdt_device_name(device[d], name));
        for (int e = 0; e < d; e++)
            if (device[e].kind == device[d].kind && device[e].index == device[d].index)
                return sdt_fail(err, SDT_ERROR_USAGE, "device %s is named twice",
                                sdt_device_name(device[d], name));
        cpus += device[d].kind == SDT_DEVICE_CPU;
    }
    if (cpus == count) {
        char last[SDT_DEVICE_NAME];
        sdt_device_name((struct sdt_device){SDT_DEVICE_CPU, count - 1}, last);
        for (int d = 0; d < count; d++)
            if (device[d].index != d)
                return sdt_fail(err, SDT_ERROR_USAGE,
                                "%s as device %d: without GPUs, CPU devices are stand-ins, "
                                "numbered in their order, cpu:0%s%s",
                                sdt_device_name(device[d], name), d, count > 1 ? " to " : "",
                                count > 1 ? last : "");
        return SDT_OK;
    }
    for (int d = 0; d < count; d++)
        if (device[d].kind == SDT_DEVICE_CPU && device[d].index != 0)
            return sdt_fail(err, SDT_ERROR_USAGE,
                            "%s: beside GPUs the only CPU device is cpu:0, the host's memory with "
                            "the cores that drive no GPU; several would need memories of their own",
                            sdt_device_name(device[d], name));
    if (!gpus)
        gpus = &found;
    sdt__gpus_find(gpus);
    for (int d = 0; d < count; d++) {
        enum sdt_status status =
            device[d].kind == SDT_DEVICE_CUDA ? check_gpu(gpus, device[d], err) : SDT_OK;
        if (status != SDT_OK)
            return status;
    }
    return SDT_OK;
}

enum sdt_status sdt_devices_check(const struct sdt_device *device, int count,
                                  struct sdt_error *err) {
    return sdt__devices_check(device, count, NULL, err);
}

bool sdt_devices_measure_links(const struct sdt_device *device, int count) {
    return sdt__has_gpus(device, count) && !sdt__bus_measured() &&
           sdt__devices_check(device, count, NULL, NULL) == SDT_OK;
}

/* ---- workers and speeds ---------------------------------------------------------------------- */

enum sdt_status sdt__device_workers(const struct sdt_device *device, int count, int each,
                                    const int *list, int cores, int *workers,
                                    struct sdt_error *err) {
    int most = 0, room = STARPU_MAXCPUS / (count > 1 ? count + 1 : 1);
    bool gpus = sdt__has_gpus(device, count);
    if (list && gpus)
        return sdt_fail(err, SDT_ERROR_USAGE,
                        "workers of each device: beside GPUs they are the host's, one number");
    for (int d = 0; d < count; d++) {
        bool gpu = sdt__device_at(device, d).kind == SDT_DEVICE_CUDA;
        workers[d] = gpu ? 0 : list ? list[d] : each ? each : count == 1 ? cores : 1;
        most = workers[d] > most ? workers[d] : most;
        if (!gpu && workers[d] < 1)
            return sdt_fail(err, SDT_ERROR_USAGE, "%d workers on device %d: each needs one",
                            workers[d], d);
    }
    if (!gpus && most > room)
        return sdt_fail(err, SDT_ERROR_USAGE,
                        "%d workers per device on %d devices; this StarPU has room for %d CPU "
                        "workers in all, one device's worth of which serves the host",
                        most, count, STARPU_MAXCPUS);
    return SDT_OK;
}

enum sdt_status sdt__device_speeds(const struct sdt_device *device, int count, const int *workers,
                                   const struct sdt_gpus *gpus, const double *given, double *speed,
                                   struct sdt_error *err) {
    for (int d = 0; d < count; d++) {
        struct sdt_device this = sdt__device_at(device, d);
        speed[d] = this.kind == SDT_DEVICE_CPU ? workers[d] * SDT_CPU_FLOPS
                   : gpus                      ? sdt__gpu_guess(&gpus->gpu[this.index], SDT_BF16)
                                               : 0.0;
        if (speed[d] <= 0.0)
            speed[d] = 1e13; /* CUDA does not tell its clock */
        if (given && !(given[d] > 0.0 && given[d] < 1e30))
            return sdt_fail(err, SDT_ERROR_USAGE, "a speed of %g for device %d; it must be above 0",
                            given[d], d);
    }
    for (int d = count - 1; given && d >= 0; d--)
        speed[d] = speed[0] / given[0] * given[d];
    return SDT_OK;
}

/* ---- models of GPUs -------------------------------------------------------------------------- */

static bool one_model(const struct sdt_gpu *a, const struct sdt_gpu *b) {
    return !strcmp(a->name, b->name) && a->major == b->major && a->minor == b->minor &&
           a->multiprocessors == b->multiprocessors;
}

bool sdt__models_differ(const struct sdt_device *device, int count, const struct sdt_gpus *gpus,
                        char *text, size_t size) {
    int first = -1;
    text[0] = 0;
    for (int d = 0; device && d < count; d++) {
        if (device[d].kind != SDT_DEVICE_CUDA)
            continue;
        const struct sdt_gpu *gpu = &gpus->gpu[device[d].index];
        if (first < 0)
            first = device[d].index;
        if (one_model(gpu, &gpus->gpu[first]))
            continue;
        snprintf(text, size, "cuda:%d is of another model (%.40s) than cuda:%d (%.40s)",
                 device[d].index, gpu->name, first, gpus->gpu[first].name);
        return true;
    }
    return false;
}

enum sdt_status sdt__models_check(const struct sdt_placement *p, const struct sdt_device *device,
                                  int count, const struct sdt_gpus *gpus, struct sdt_error *err) {
    char text[160];
    if (p->aco != SDT_ACO_DYNAMIC || !sdt__models_differ(device, count, gpus, text, sizeof text))
        return SDT_OK;
    return sdt_fail(err, SDT_ERROR_USAGE,
                    "--aco dynamic: %s, and which one takes a head would decide its bits; --aco "
                    "static would work",
                    text);
}

/* ---- groups ---------------------------------------------------------------------------------- */

/* The kind of devices list[0..n-1]; list NULL: all of the machine. */
static enum sdt_status one_kind(const char *work, int n, const int *list,
                                const struct sdt_device *device, int devices,
                                enum sdt_device_kind *kind, struct sdt_error *err) {
    char first[SDT_DEVICE_NAME], other[SDT_DEVICE_NAME];
    for (int i = 0; i < n; i++) {
        int d = list ? list[i] : i;
        if (d < 0 || d >= devices)
            return sdt_fail(err, SDT_ERROR_USAGE,
                            "there is no device %d; %d devices are numbered 0 to %d", d, devices,
                            devices - 1);
        struct sdt_device this = sdt__device_at(device, d);
        struct sdt_device one = sdt__device_at(device, list ? list[0] : 0);
        if (this.kind != one.kind)
            return sdt_fail(err, SDT_ERROR_USAGE,
                            "%s and %s: the devices that %s must be of one kind%s",
                            sdt_device_name(one, first), sdt_device_name(this, other), work,
                            list ? "" : "; --dit-devices and --vae-devices make groups");
        *kind = one.kind;
    }
    return SDT_OK;
}

static enum sdt_status settle_dtype(const char *work, enum sdt_device_kind kind,
                                    enum sdt_precision precision, enum sdt_dtype *dtype,
                                    struct sdt_error *err) {
    if (precision == SDT_PRECISION_BFLOAT16 && kind == SDT_DEVICE_CPU)
        return sdt_fail(err, SDT_ERROR_USAGE,
                        "--dtype bfloat16: the devices that %s are CPUs, which compute in float32; "
                        "--dtype auto takes bfloat16 on GPUs alone",
                        work);
    bool half = kind == SDT_DEVICE_CUDA && precision != SDT_PRECISION_FLOAT32;
    *dtype = half ? SDT_BF16 : SDT_F32;
    return SDT_OK;
}

enum sdt_status sdt__settle_kinds(const struct sdt_placement *p, const struct sdt_device *device,
                                  int devices, struct sdt_kinds *kinds, struct sdt_error *err) {
    *kinds = (struct sdt_kinds){0};
    if (p->dit_devices < 0 || p->dit_devices > devices || p->vae_devices < 0 ||
        p->vae_devices > devices)
        return sdt_fail(err, SDT_ERROR_USAGE, "groups of %d and %d devices out of %d",
                        p->dit_devices, p->vae_devices, devices);
    bool dit = p->dit_devices > 0, vae = p->vae_devices > 0;
    enum sdt_status status = one_kind("denoise", dit ? p->dit_devices : devices,
                                      dit ? p->dit : NULL, device, devices, &kinds->dit, err);
    if (status == SDT_OK)
        status = one_kind("decode", vae ? p->vae_devices : devices, vae ? p->vae : NULL, device,
                          devices, &kinds->vae, err);
    if (status == SDT_OK && p->aco != SDT_ACO_OFF && kinds->dit != kinds->vae)
        status = sdt_fail(err, SDT_ERROR_USAGE,
                          "--aco %s shares attention out to both groups, which must be of one kind "
                          "then: one denoises on %s, the other decodes on %s",
                          sdt_aco_name(p->aco), sdt_device_kind_name(kinds->dit),
                          sdt_device_kind_name(kinds->vae));
    if (status == SDT_OK && p->aco != SDT_ACO_OFF && sdt__groups_overlap(p))
        status =
            sdt_fail(err, SDT_ERROR_USAGE,
                     "--aco %s: attention goes to the devices that decode, which must be other "
                     "devices than those that denoise",
                     sdt_aco_name(p->aco));
    if (status == SDT_OK && p->vae_spill && dit && kinds->dit != kinds->vae)
        status = sdt_fail(err, SDT_ERROR_USAGE,
                          "--vae-spill decodes on both groups, which must be of one kind then: one "
                          "denoises on %s, the other decodes on %s",
                          sdt_device_kind_name(kinds->dit), sdt_device_kind_name(kinds->vae));
    if (status == SDT_OK && p->aco == SDT_ACO_DYNAMIC && sdt__has_gpus(device, devices)) {
        struct sdt_gpus gpus;
        sdt__gpus_find(&gpus);
        status = sdt__models_check(p, device, devices, &gpus, err);
    }
    if (status == SDT_OK)
        status = settle_dtype("denoise", kinds->dit, p->precision, &kinds->dit_dtype, err);
    if (status == SDT_OK)
        status = settle_dtype("decode", kinds->vae, p->precision, &kinds->vae_dtype, err);
    return status;
}

bool sdt__groups_overlap(const struct sdt_placement *p) {
    for (int i = 0; i < p->dit_devices; i++)
        for (int j = 0; j < p->vae_devices; j++)
            if (p->dit[i] == p->vae[j])
                return true;
    return false;
}

/* ---- memory ---------------------------------------------------------------------------------- */

static double limit_of(const char *name) {
    const char *text = getenv(name);
    char *end;
    double value = text ? strtod(text, &end) : -1.0;
    return text && end != text && value >= 0.0 ? value * (1 << 20) : -1.0;
}

double sdt__gpu_room(const struct sdt_gpus *gpus, int index) {
    char name[40];
    double room = limit_of("STARPU_LIMIT_CUDA_MEM");
    snprintf(name, sizeof name, "STARPU_LIMIT_CUDA_%d_MEM", index);
    if (room < 0.0)
        room = limit_of(name);
    if (room < 0.0)
        room = 0.9 * (double)gpus->gpu[index].total_bytes;
    double available = (double)sdt__gpu_free(index);
    if (available <= 0.0)
        return room;
    /* libraries load their kernels when they are first used, and have a workspace */
    available = available > LIBRARY_BYTES ? available - LIBRARY_BYTES : 0.0;
    return available < room ? available : room;
}

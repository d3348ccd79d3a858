/* Measuring this machine for a platform file: CPUs by the kernels that plans are predicted with,
 * GPUs by tasks on them, their links by what StarPU has measured. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "apps/info_platform.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "apps/outputs.h"
#include "base/clock.h"
#include "base/target.h"
#include "codelets/codelets.h"
#include "runtime/allowance.h"
#include "runtime/gpus.h"
#include "runtime/machine.h"

#include "config.h"

/* What stands in the file of one kind of device. Rates are 0 where they were not measured. */
struct kind {
    char name[24], title[128];
    int devices, cpu_workers;
    double gflops, attention_gflops, cross_attention_gflops, conv_gflops, narrow_conv_gflops,
        memory_gbps, memory_gb, launch_us;
};

struct found {
    const struct sdt_measured_size *size; /* that CPUs were measured with */
    int kinds, devices;
    struct kind kind[SDT_MAX_LOCAL_DEVICES];
    int kind_of[SDT_MAX_LOCAL_DEVICES];
    bool own_ports; /* of GPUs, for one another */
    double link_gbps, latency_us, host_gbps, host_memory_gb;
    double host_memory_gbps; /* CPUs */
    int pairs;
    struct {
        int a, b;
        double gbps;
    } pair[SDT_MAX_LOCAL_DEVICES * SDT_MAX_LOCAL_DEVICES / 2];
};

/* ---- CPUs ------------------------------------------------------------------------------------ */

static enum sdt_status measure_cpus(const struct sdt_measured_size *size,
                                    const struct sdt_machine_options *options, struct found *found,
                                    struct sdt_error *err) {
    struct sdt_reached r;
    enum sdt_status status = sdt_measure_reached(size, options, &r, err);
    if (status != SDT_OK)
        return status;
    double memory = r.memory_bytes / r.devices;
    found->kinds = 1;
    found->devices = r.devices;
    found->kind[0] =
        (struct kind){.name = "cpu",
                      .title = "CPU workers",
                      .devices = r.devices,
                      .cpu_workers = r.workers,
                      .gflops = 1e-9 * r.flops[SDT_CLASS_LINEAR],
                      .attention_gflops = 1e-9 * r.flops[SDT_CLASS_ATTENTION],
                      .cross_attention_gflops = 1e-9 * r.flops[SDT_CLASS_CROSS_ATTENTION],
                      .conv_gflops = 1e-9 * r.flops[SDT_CLASS_CONV],
                      .narrow_conv_gflops = 1e-9 * r.flops[SDT_CLASS_NARROW_CONV],
                      .memory_gbps = 1e-9 * r.bytes_per_second,
                      .memory_gb = 1e-9 * memory,
                      .launch_us = 1e6 * r.task_seconds};
    found->link_gbps = found->host_gbps = 1e-9 * r.link_bytes_per_second;
    found->latency_us = 1e6 * r.link_seconds;
    found->host_memory_gb = 1e-9 * r.memory_bytes;
    found->host_memory_gbps = 1e-9 * r.load_bytes_per_second;
    return SDT_OK;
}

/* ---- GPUs ------------------------------------------------------------------------------------ */

/* Sizes of the tasks: large enough that a GPU's rate no longer depends on them. */
enum { ROWS = 8192, WIDTH = 4096, HEADS = 8, HEAD = 128, TURNS = 8, LAUNCHES = 1000 };

struct bench {
    struct sdt_flow flow;
    sdt_handle x, y, z; /* [ROWS, WIDTH]; z also a matrix of weights */
    int rows, turns, launches;
};

static sdt_handle vector(struct bench *b, size_t count) {
    enum sdt_dtype dtype = b->flow.place->kind == SDT_DEVICE_CUDA ? SDT_BF16 : SDT_F32;
    sdt_handle handle = sdt__tensor(&b->flow, dtype, count, "measured");
    if (!handle || starpu_data_acquire(handle, STARPU_W) != 0)
        return handle;
    /* Small numbers of both signs: zeros cost a GPU less power, and so are faster. */
    void *values = (void *)starpu_vector_get_local_ptr(handle);
    for (size_t i = 0; i < count; i++) {
        uint32_t mixed = (uint32_t)i * 2654435761u;
        if (dtype == SDT_BF16)
            ((uint16_t *)values)[i] = (uint16_t)(0x3c00u | (mixed >> 16 & 0x807fu));
        else
            ((float *)values)[i] = (float)((int32_t)mixed >> 16) / 1e6f;
    }
    starpu_data_release(handle);
    return handle;
}

static void product(struct bench *b) {
    sdt_insert_linear(&b->flow, "measured product", b->rows, WIDTH, WIDTH, b->x, b->z, NULL,
                      SDT_EPILOGUE_NONE, b->y);
}

static void attention(struct bench *b) {
    sdt_insert_attention(&b->flow, "measured attention", HEADS, b->rows, HEAD, b->rows, b->rows,
                         0.1f, b->x, b->z, b->z, b->y, NULL, false);
}

static void elements(struct bench *b) {
    sdt_insert_silu(&b->flow, "measured elements", (size_t)b->rows * WIDTH, b->x, b->y);
}

static void launch(struct bench *b) { sdt_insert_silu(&b->flow, "measured launch", 1, b->x, b->y); }

/* Seconds of one of so many equal tasks that follow one another. */
static double time_of(struct bench *b, void (*insert)(struct bench *b), int turns) {
    insert(b); /* data come, and libraries choose their kernels */
    sdt__flow_wait(&b->flow, NULL);
    double begin = sdt__host_now();
    for (int i = 0; i < turns; i++)
        insert(b);
    sdt__flow_wait(&b->flow, NULL);
    return (sdt__host_now() - begin) / turns;
}

static enum sdt_status measure_device(struct sdt_machine *machine, int device, struct kind *kind,
                                      struct sdt_error *err) {
    struct bench b = {.flow = sdt_machine_flow(machine, SDT_LANE_DENOISE)};
    bool gpu = machine->device[device].kind == SDT_DEVICE_CUDA;
    b.rows = gpu ? ROWS : WIDTH / 16; /* CPUs: tests alone */
    b.turns = gpu ? TURNS : 1;
    b.launches = gpu ? LAUNCHES : 10;
    b.flow.place = &machine->device[device];
    double rows = b.rows, element = gpu ? 2.0 : 4.0;
    size_t count = (size_t)b.rows * WIDTH, weights = (size_t)WIDTH * WIDTH;
    b.x = vector(&b, count);
    b.y = vector(&b, count);
    b.z = vector(&b, weights > count ? weights : count);
    if (b.x && b.y && b.z) {
        double small = time_of(&b, launch, b.launches);
        kind->launch_us = 1e6 * small;
        double work = fmax(1e-9, time_of(&b, product, b.turns) - small);
        kind->gflops = 1e-9 * 2.0 * rows * WIDTH * WIDTH / work;
        work = fmax(1e-9, time_of(&b, attention, b.turns) - small);
        kind->attention_gflops = 1e-9 * 4.0 * HEADS * rows * rows * HEAD / work;
        work = fmax(1e-9, time_of(&b, elements, b.turns) - small);
        kind->memory_gbps = 1e-9 * 2.0 * element * rows * WIDTH / work;
    }
    enum sdt_status status = sdt__flow_wait(&b.flow, err);
    sdt__unregister(b.x);
    sdt__unregister(b.y);
    sdt__unregister(b.z);
    return status;
}

/* As a file's word: no blanks, no maker. */
static void make_name(const char *title, struct kind *kind) {
    size_t length = 0;
    if (!strncmp(title, "NVIDIA ", 7))
        title += 7;
    for (; *title && length + 1 < sizeof kind->name; title++)
        kind->name[length++] = isalnum((unsigned char)*title) ? *title : '-';
    kind->name[length] = '\0';
    if (strspn(kind->name, "0123456789") == length)
        snprintf(kind->name, sizeof kind->name, "gpu");
}

/* GPUs of one model are one kind, as fast as the slowest of them. */
static void add_gpu(struct found *found, const struct sdt_gpu *gpu, const struct kind *measured) {
    int k = 0;
    while (k < found->kinds && strcmp(found->kind[k].title, gpu->name))
        k++;
    struct kind *kind = &found->kind[k];
    if (k == found->kinds) {
        *kind = *measured;
        snprintf(kind->title, sizeof kind->title, "%s", gpu->name);
        make_name(gpu->name, kind);
        kind->memory_gb = (double)gpu->total_bytes * 1e-9;
        found->kinds++;
    }
    kind->gflops = fmin(kind->gflops, measured->gflops);
    kind->attention_gflops = fmin(kind->attention_gflops, measured->attention_gflops);
    kind->memory_gbps = fmin(kind->memory_gbps, measured->memory_gbps);
    kind->launch_us = fmin(kind->launch_us, measured->launch_us);
    kind->devices++;
    found->kind_of[found->devices++] = k;
}

/* GB/s that StarPU has measured between two devices; -1 is the host. */
static double between(const struct sdt_machine *machine, int from, int to) {
    unsigned a = from < 0 ? machine->host.node : machine->device[from].node;
    unsigned b = to < 0 ? machine->host.node : machine->device[to].node;
    return 1e-3 * starpu_transfer_bandwidth(a, b);
}

/* Links between GPUs are ports of their own where all are faster than the way to the host; a link
 * that is faster than those of most is a pair. */
static void find_links(const struct sdt_machine *machine, struct found *found) {
    const double faster = 1.5;
    double least = INFINITY, host = INFINITY;
    int n = found->devices;
    for (int a = 0; a < n; a++) {
        host = fmin(host, fmin(between(machine, -1, a), between(machine, a, -1)));
        for (int b = 0; b < n; b++)
            least = a == b ? least : fmin(least, between(machine, a, b));
    }
    found->host_gbps = host;
    found->own_ports = n > 1 && least > faster * host;
    found->link_gbps = n > 1 ? least : host;
    found->latency_us =
        n > 1 ? starpu_transfer_latency(machine->device[0].node, machine->device[1].node)
              : starpu_transfer_latency(machine->host.node, machine->device[0].node);
    for (int a = 0; a < n; a++)
        for (int b = a + 1; b < n; b++) {
            double gbps = fmin(between(machine, a, b), between(machine, b, a));
            if (gbps > faster * least) {
                found->pair[found->pairs].a = a;
                found->pair[found->pairs].b = b;
                found->pair[found->pairs++].gbps = gbps;
            }
        }
}

static enum sdt_status measure_gpus(const struct app_devices *devices,
                                    const struct sdt_machine_options *options, struct found *found,
                                    struct sdt_error *err) {
    struct sdt_machine *machine = NULL;
    struct sdt_allowance allowance;
    struct sdt_gpus gpus;
    for (int d = 0; d < devices->count; d++)
        if (devices->device[d].kind != SDT_DEVICE_CUDA)
            return sdt_fail(err, SDT_ERROR_USAGE,
                            "--platform: a platform is of GPUs or of CPUs, not of both");
    sdt__gpus_find(&gpus);
    enum sdt_status status = sdt_machine_open(options, &machine, err);
    if (status != SDT_OK)
        return status;
    for (int d = 0; d < machine->devices && status == SDT_OK; d++) {
        struct kind measured = {0};
        status = measure_device(machine, d, &measured, err);
        if (status == SDT_OK)
            add_gpu(found, &gpus.gpu[devices->device[d].index], &measured);
    }
    if (status == SDT_OK)
        find_links(machine, found);
    sdt_machine_close(machine);
    sdt__allowance_read("", &allowance);
    found->host_memory_gb = 1e-9 * allowance.memory;
    return status;
}

/* ---- the file -------------------------------------------------------------------------------- */

static void write_kind(FILE *file, const struct kind *kind) {
    const struct {
        const char *name;
        double value;
    } line[] = {{"gflops", kind->gflops},
                {"attention-gflops", kind->attention_gflops},
                {"cross-attention-gflops", kind->cross_attention_gflops},
                {"conv-gflops", kind->conv_gflops},
                {"narrow-conv-gflops", kind->narrow_conv_gflops},
                {"memory-gbps", kind->memory_gbps},
                {"memory-gb", kind->memory_gb},
                {"launch-us", kind->launch_us}};
    fprintf(file, "kind %s # %s\n", kind->name, kind->title);
    if (kind->cpu_workers)
        fprintf(file, "cpu-workers %d\n", kind->cpu_workers);
    for (size_t i = 0; i < sizeof line / sizeof line[0]; i++)
        if (line[i].value > 0.0)
            fprintf(file, "%s %.4g\n", line[i].name, line[i].value);
}

static void write_platform(FILE *file, const void *arg) {
    const struct found *found = arg;
    const struct sdt_measured_size *size = found->size;
    fprintf(file, "# Measured by stardit-info %s", PACKAGE_VERSION);
    if (found->kind[0].cpu_workers)
        fprintf(file, ", with the sizes of %s", size->model);
    if (found->kind[0].cpu_workers && size->height && size->width && size->num_frames)
        fprintf(file, ", %d frames of %dx%d (width x height)", size->num_frames, size->width,
                size->height);
    fprintf(file, ".\n");
    for (int k = 0; k < found->kinds; k++)
        write_kind(file, &found->kind[k]);
    for (int d = 0, next; d < found->devices; d = next) {
        next = d + 1;
        while (next < found->devices && found->kind_of[next] == found->kind_of[d])
            next++;
        fprintf(file, "devices %d %s\n", next - d, found->kind[found->kind_of[d]].name);
    }
    fprintf(file, "fabric %s\n", found->own_ports ? "nvswitch" : "pcie");
    fprintf(file, "link-gbps %.4g\nlink-latency-us %.4g\n", found->link_gbps, found->latency_us);
    for (int i = 0; i < found->pairs; i++)
        fprintf(file, "pair %.4g %d,%d\n", found->pair[i].gbps, found->pair[i].a, found->pair[i].b);
    fprintf(file, "host-gbps %.4g\nhost-memory-gb %.4g\n", found->host_gbps, found->host_memory_gb);
    if (found->host_memory_gbps > 0.0)
        fprintf(file, "host-memory-gbps %.4g\n", found->host_memory_gbps);
}

enum sdt_status app_info_platform(const struct sdt_measured_size *size,
                                  const struct app_devices *devices, const char *path,
                                  struct sdt_error *err) {
    struct found found = {0};
    struct sdt_machine_options options = {0};
    app_devices_options(devices, &options);
    bool gpus = false;
    for (int d = 0; d < devices->count; d++)
        gpus |= devices->device[d].kind == SDT_DEVICE_CUDA;
    enum sdt_status status = app_check_target("platform", path, true, err);
    if (status == SDT_OK)
        status = gpus ? measure_gpus(devices, &options, &found, err)
                      : measure_cpus(size, &options, &found, err);
    found.size = size;
    return status == SDT_OK ? sdt__target_write(path, write_platform, &found, err) : status;
}

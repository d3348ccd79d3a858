/* Measuring kernels, links and what a task costs. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "graph/plan/rates.h"

#include <fcntl.h>
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "runtime/allowance.h"

/* ---- constants, and where they come from ------------------------------------------------------
 */

/* What a kernel's work is, in the table of shares that kernels of GPUs reach (runtime/cost.c). */
static const enum sdt_class class_of[SDT_OPERATIONS] = {
    [SDT_OPERATION_LINEAR] = SDT_CLASS_LINEAR,
    [SDT_OPERATION_ATTENTION] = SDT_CLASS_ATTENTION,
    [SDT_OPERATION_CROSS_ATTENTION] = SDT_CLASS_CROSS_ATTENTION,
    [SDT_OPERATION_CONV] = SDT_CLASS_CONV,
    [SDT_OPERATION_NORM] = SDT_CLASS_OTHER,
    [SDT_OPERATION_SPLIT_HEADS] = SDT_CLASS_OTHER,
    [SDT_OPERATION_CHANNEL_NORM] = SDT_CLASS_OTHER,
    [SDT_OPERATION_ELEMENTS] = SDT_CLASS_OTHER,
};
/* Of the slowest GPU that is supported (A4000's data sheet), since CUDA does not tell it. */
#define GPU_BYTES_PER_SECOND 4.5e11
/* NVLink of one GPU each way (A100: 300 GB/s, half of it reached). */
#define NVLINK_BYTES_PER_SECOND 150e9
#define LINK_SECONDS 10e-6
/* Overheads of a task on the machine on which `stardit-bench predict` was last fitted: the demo's
 * steps and decode with one worker, whose time less its kernels' is what running tasks costs; with
 * two, where inserting them takes a share of the cores; and on two devices, whose pieces travel.
 * Other machines: by the time of the probe below, which was PROBE_SECONDS there. */
static const struct sdt_overheads fitted = {.insert = 4.3e-6, .run = 3.0e-6, .transfer = 2.5e-6};
#define PROBE_SECONDS 1.3e-8
/* Of two workers, by the demo's decode there. */
#define TOGETHER 0.85

/* ---- measuring ---------------------------------------------------------------------------------
 */

/* Of this thread alone: what else the machine does does not count. */
static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

struct kernel_time {
    struct sdt_operation operation;
    double seconds;
};

enum { MOST_TIMES = 128, SAMPLES = 3, MOST_TURNS = 1024 };
/* A measured call has at most so many FLOPs; more take longer in proportion. */
#define MOST_FLOPS 2e8
#define SHORTEST_SAMPLE 100e-6

struct sdt_kernel_times {
    pthread_mutex_t mutex;
    int count;
    struct kernel_time time[MOST_TIMES];
    double copy_bytes_per_second; /* 0: not measured yet */
    double probe_seconds;
    double spread; /* bytes */
};

struct sdt_kernel_times *sdt__kernel_times_new(void) {
    struct sdt_kernel_times *times = calloc(1, sizeof *times);
    if (times)
        pthread_mutex_init(&times->mutex, NULL);
    return times;
}

void sdt__kernel_times_spread(struct sdt_kernel_times *times, double bytes) {
    times->spread = fmin(bytes, SDT_SPREAD_BYTES);
}

void sdt__kernel_times_free(struct sdt_kernel_times *times) {
    if (times)
        pthread_mutex_destroy(&times->mutex);
    free(times);
}

static int at_most(double most, int value) { return value > most ? (int)most : value; }
static int at_least(int least, int value) { return value < least ? least : value; }

/* The same kernel in a size that takes milliseconds at most. */
static struct sdt_operation reduced(struct sdt_operation o) {
    double work;
    o.tasks = 1;
    o.when = SDT_EACH_LAYER;
    o.device = 0;
    switch (o.kind) {
    case SDT_OPERATION_LINEAR:
        o.rows = at_most(1024, o.rows);
        o.k = at_most(4096, o.k);
        work = 2.0 * o.rows * o.k;
        o.n = at_most(at_least(256, (int)(MOST_FLOPS / work)), o.n);
        break;
    case SDT_OPERATION_ATTENTION:
        o.heads = 1;
        o.rows = at_most(256, o.rows);
        work = 4.0 * o.rows * o.e;
        o.keys = at_most(at_least(4 * o.rows, (int)(MOST_FLOPS / work)), (int)o.keys);
        break;
    case SDT_OPERATION_CONV: {
        struct sdt_conv *c = &o.conv;
        work = 2.0 * c->in * c->out * c->kt * c->ks * c->ks * c->width * (c->upsample ? 4.0 : 1.0);
        c->height = at_most(at_least(4, (int)(MOST_FLOPS / work)), c->height);
        break;
    }
    case SDT_OPERATION_CHANNEL_NORM:
    case SDT_OPERATION_ELEMENTS:
        o.rows = at_most(at_least(1, (1 << 20) / o.n), o.rows);
        break;
    case SDT_OPERATION_CROSS_ATTENTION:
    case SDT_OPERATION_NORM:
    case SDT_OPERATION_SPLIT_HEADS:
    case SDT_OPERATIONS:
        o.rows = at_most(256, o.rows);
        break;
    }
    return o;
}

/* How much more than its reduced form an operation is. */
static double ratio(const struct sdt_operation *all, const struct sdt_operation *part) {
    double flops = sdt_operation_flops(part);
    return flops > 0.0 ? sdt_operation_flops(all) / flops
                       : sdt_operation_elements(all) / sdt_operation_elements(part);
}

/* Inputs, weights and outputs: vectors of the sizes that the kernel wants. */
struct vectors {
    float *x, *w, *bias, *y, *scratch;
    struct sdt_weight packed; /* w as a run has it, for linear layers and convolutions */
};

/* w [n, k] of such a kernel; sums may start anew after each run. False: it has none. */
static bool weight_shape(const struct sdt_operation *o, int *n, int *k, int *run) {
    const struct sdt_conv *c = &o->conv;
    if (o->kind != SDT_OPERATION_LINEAR && o->kind != SDT_OPERATION_CONV)
        return false;
    bool conv = o->kind == SDT_OPERATION_CONV;
    *n = conv ? c->out : o->n;
    *k = conv ? c->kt * c->ks * c->ks * c->in : o->k;
    *run = conv ? c->ks * c->in : o->k;
    return true;
}

static void call(const struct sdt_operation *o, const struct vectors *v) {
    float *piece[1] = {v->y};
    int head[2] = {0, o->heads};
    struct sdt_rope rope = {.size = {1, 1, o->rows}, .pairs = {0, 0, o->e / 2}};
    switch (o->kind) {
    case SDT_OPERATION_LINEAR:
        sdt_linear(o->rows, o->n, o->k, v->x, v->packed, v->bias, o->epilogue, v->y);
        break;
    case SDT_OPERATION_ATTENTION:
        sdt_attention(o->heads, o->rows, o->e, v->x, o->rows, o->keys, v->w, v->w, 0.1f, v->y, NULL,
                      v->scratch);
        break;
    case SDT_OPERATION_CROSS_ATTENTION:
        sdt_cross_attention(o->rows, o->heads, o->e, v->x, v->bias, 1e-6f, (int)o->keys, v->w, v->w,
                            0.0f, v->y, v->scratch);
        break;
    case SDT_OPERATION_NORM:
        sdt_layer_norm(o->rows, o->n, v->x, 1e-6f, NULL, NULL, v->bias, v->bias, v->bias, v->bias,
                       v->y);
        break;
    case SDT_OPERATION_SPLIT_HEADS:
        sdt_split_heads(o->rows, o->rows, o->heads, o->e, v->x, v->bias, 1e-6f, &rope, v->w, 0, 1,
                        head, piece);
        break;
    case SDT_OPERATION_CONV: {
        const struct sdt_conv *c = &o->conv;
        const float *x[3] = {v->x};
        for (int t = 1; t < c->kt; t++)
            x[t] = x[t - 1] + (size_t)c->height * (size_t)c->width * (size_t)c->in;
        struct sdt_conv_input whole = {x, 1, 0, c->height};
        sdt_conv_rows(c, 0, c->height * (c->upsample ? 2 : 1), &whole, v->packed, v->bias, NULL,
                      v->y, v->scratch);
        break;
    }
    case SDT_OPERATION_CHANNEL_NORM:
        sdt_channel_norm((size_t)o->rows, o->n, v->x, v->bias, 1, v->y);
        break;
    case SDT_OPERATION_ELEMENTS:
    case SDT_OPERATIONS:
        memcpy(v->y, v->x, (size_t)o->rows * (size_t)o->n / 2 * sizeof(float));
        break;
    }
}

/* Floats of each of the vectors. */
static void sizes(const struct sdt_operation *o, size_t size[5]) {
    size_t rows = (size_t)o->rows, n = (size_t)o->n, d = (size_t)o->heads * (size_t)o->e;
    size_t keys = (size_t)o->keys, tiles = rows ? (keys + rows - 1) / rows : 0;
    const struct sdt_conv *c = &o->conv;
    size_t pixels = (size_t)c->height * (size_t)c->width;
    switch (o->kind) {
    case SDT_OPERATION_LINEAR:
        memcpy(size, (size_t[]){rows * (size_t)o->k, n * (size_t)o->k, n, rows * n, 0},
               5 * sizeof *size);
        return;
    case SDT_OPERATION_ATTENTION:
        memcpy(size,
               (size_t[]){rows * d, tiles * rows * d, 0, rows * d,
                          sdt_attention_scratch(o->rows, o->e, o->keys)},
               5 * sizeof *size);
        return;
    case SDT_OPERATION_CROSS_ATTENTION:
        memcpy(size,
               (size_t[]){rows * d, keys * d, d, rows * d,
                          sdt_cross_attention_scratch(o->rows, o->heads, o->e, (int)o->keys)},
               5 * sizeof *size);
        return;
    case SDT_OPERATION_SPLIT_HEADS:
        memcpy(size, (size_t[]){rows * d, rows * (size_t)o->e, d, rows * d, 0}, 5 * sizeof *size);
        return;
    case SDT_OPERATION_CONV:
        memcpy(size,
               (size_t[]){pixels * (size_t)(c->kt * c->in),
                          (size_t)c->in * (size_t)c->out * (size_t)(c->kt * c->ks * c->ks),
                          (size_t)c->out, pixels * (size_t)c->out * (c->upsample ? 4 : 1),
                          sdt_conv_scratch(c)},
               5 * sizeof *size);
        return;
    default:
        memcpy(size, (size_t[]){rows * n, 0, n, rows * n, 0}, 5 * sizeof *size);
    }
}

/* Calls by turns have memory of their own. */
struct turns {
    int count;
    float *room;
    char *packed;
    struct vectors *vectors; /* [count] */
};

static void turns_clear(struct turns *turns) {
    free(turns->room);
    free(turns->packed);
    free(turns->vectors);
}

/* As many as have so many bytes together. false: out of memory. */
static bool turns_make(struct turns *turns, const struct sdt_operation *o, double bytes) {
    size_t size[5], floats = 0, packed = 0;
    int n, k, run;
    bool weights = weight_shape(o, &n, &k, &run);
    sizes(o, size);
    for (int i = 0; i < 5; i++) {
        size[i] = (size[i] + 31) / 16 * 16;
        floats += size[i];
    }
    if (weights)
        packed = (sdt_packed_size(SDT_F32, n, k) + 63) / 64 * 64;
    double each = (double)(floats * sizeof(float) + packed);
    turns->count = bytes > each ? (int)fmin(MOST_TURNS, ceil(bytes / each)) : 1;
    size_t count = (size_t)turns->count;
    turns->room = aligned_alloc(64, count * floats * sizeof(float));
    turns->packed = packed ? aligned_alloc(64, count * packed) : NULL;
    turns->vectors = malloc(count * sizeof *turns->vectors);
    if (!turns->room || (packed && !turns->packed) || !turns->vectors)
        return false;
    for (size_t i = 0; i < count * floats; i++)
        turns->room[i] = 0.01f;
    for (size_t t = 0; t < count; t++) {
        struct vectors *v = &turns->vectors[t];
        float **vector[5] = {&v->x, &v->w, &v->bias, &v->y, &v->scratch};
        float *at = turns->room + t * floats;
        for (int i = 0; i < 5; at += size[i++])
            *vector[i] = at;
        v->scratch = turns->vectors[0].scratch; /* a worker's own */
        if (!weights)
            continue;
        char *own = turns->packed + t * packed;
        sdt_pack_weight(SDT_F32, n, k, run, v->w, own);
        v->packed = (struct sdt_weight){own, SDT_F32, 1};
    }
    return true;
}

static int ascending(const void *a, const void *b) {
    const double *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

/* Seconds of a call, the median of samples: a run is disturbed as well. 0: out of memory. */
static double measure(const struct sdt_operation *o, double spread) {
    double sample[SAMPLES];
    struct turns turns = {0};
    if (!turns_make(&turns, o, spread)) {
        turns_clear(&turns);
        return 0.0;
    }
    call(o, &turns.vectors[0]);
    for (int s = 0, turn = 0; s < SAMPLES; s++) {
        double start = now(), seconds = 0.0;
        int calls = 0;
        while (seconds < SHORTEST_SAMPLE) {
            turn = (turn + 1) % turns.count;
            call(o, &turns.vectors[turn]);
            calls++;
            seconds = now() - start;
        }
        sample[s] = seconds / calls;
    }
    turns_clear(&turns);
    qsort(sample, SAMPLES, sizeof *sample, ascending);
    return sample[SAMPLES / 2];
}

static bool same(const struct sdt_operation *a, const struct sdt_operation *b) {
    const struct sdt_conv *p = &a->conv, *q = &b->conv;
    return a->kind == b->kind && a->rows == b->rows && a->n == b->n && a->k == b->k &&
           a->epilogue == b->epilogue && a->heads == b->heads && a->e == b->e &&
           a->keys == b->keys && p->in == q->in && p->out == q->out && p->kt == q->kt &&
           p->ks == q->ks && p->height == q->height && p->width == q->width &&
           p->upsample == q->upsample;
}

/* The same kernel with the same weights, of another size. */
static bool alike(const struct sdt_operation *a, const struct sdt_operation *b) {
    struct sdt_operation c = *b;
    c.rows = a->rows;
    c.keys = a->keys;
    c.conv.height = a->conv.height;
    c.conv.width = a->conv.width;
    return same(a, &c);
}

/* The largest measured one that is alike; count: there is none. */
static int largest_alike(const struct sdt_kernel_times *times, const struct sdt_operation *o) {
    int best = times->count;
    for (int i = 0; i < times->count; i++)
        if (alike(&times->time[i].operation, o) &&
            (best == times->count || sdt_operation_elements(&times->time[i].operation) >
                                         sdt_operation_elements(&times->time[best].operation)))
            best = i;
    return best;
}

/* 0: it cannot be measured, or so much has been that this would take long. */
static double measured(struct sdt_kernel_times *times, const struct sdt_operation *operation) {
    struct sdt_operation o = reduced(*operation);
    double seconds = 0.0;
    pthread_mutex_lock(&times->mutex);
    int i = 0;
    while (i < times->count && !same(&times->time[i].operation, &o))
        i++;
    if (i == MOST_TIMES && (i = largest_alike(times, &o)) < MOST_TIMES)
        o = times->time[i].operation;
    if (i == times->count && i < MOST_TIMES) {
        seconds = measure(&o, times->spread);
        if (seconds > 0.0)
            times->time[times->count++] = (struct kernel_time){o, seconds};
    } else if (i < MOST_TIMES) {
        seconds = times->time[i].seconds;
    }
    pthread_mutex_unlock(&times->mutex);
    return seconds * ratio(operation, &o);
}

enum sdt_class sdt_operation_class(const struct sdt_operation *o) {
    return o->kind == SDT_OPERATION_CONV && o->conv.out <= SDT_NARROW ? SDT_CLASS_NARROW_CONV
                                                                      : class_of[o->kind];
}

double sdt_operation_seconds(const struct sdt_worker_rates *rates, enum sdt_dtype dtype,
                             const struct sdt_operation *o) {
    double seconds = rates->times ? measured(rates->times, o) : 0.0;
    if (seconds > 0.0)
        return seconds;
    enum sdt_class class = sdt_operation_class(o);
    double flops = rates->class_flops[class];
    if (flops == 0.0)
        flops = rates->flops_per_second * sdt__reached(class) / sdt__reached(SDT_CLASS_LINEAR);
    struct sdt_rates roof = {1e-6 * flops, 1e-6 * rates->bytes_per_second};
    return 1e-6 * sdt__roofline_us(&roof, 1e6 * rates->launch_seconds, sdt_operation_flops(o),
                                   (double)sdt_dtype_size(dtype) * sdt_operation_elements(o));
}

/* ---- the machine -------------------------------------------------------------------------------
 */

/* Bytes per second of memcpy from memory that no cache holds. */
static double copy_speed(void) {
    size_t bytes = (size_t)8 << 20;
    double best = 1e9; /* a guess, should there be no memory */
    char *from = calloc(1, bytes), *to = malloc(bytes);
    for (int i = 0; from && to && i < 4; i++) {
        double start = now();
        memcpy(to, from, bytes);
        best = fmax(best, (double)bytes / (now() - start));
    }
    free(from);
    free(to);
    return best;
}

/* Memory as a checkpoint's: there, but new to the process. NULL: none. */
static const float *map_new_file(size_t bytes) {
    const float *mapped = MAP_FAILED;
    int fd = memfd_create("weights", MFD_CLOEXEC);
    if (fd >= 0 && posix_fallocate(fd, 0, (off_t)bytes) == 0)
        mapped = mmap(NULL, bytes, PROT_READ, MAP_PRIVATE, fd, 0);
    if (fd >= 0)
        close(fd);
    return mapped == MAP_FAILED ? NULL : mapped;
}

double sdt_measure_packing(int width) {
    enum { COUNT = 16 };
    const size_t count = (size_t)width * (size_t)width;
    const size_t packed = (sdt_packed_size(SDT_F32, width, width) + 63) / 64 * 64;
    double speed[COUNT];
    int made = 0;
    const float *stored = map_new_file(COUNT * count * sizeof *stored);
    char *kept =
        mmap(NULL, COUNT * packed, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    for (; stored && kept != MAP_FAILED && made < COUNT; made++) {
        double start = now();
        sdt_pack_weight(SDT_F32, width, width, width, stored + (size_t)made * count,
                        kept + (size_t)made * packed);
        speed[made] = (double)(count * sizeof *stored + packed) / (now() - start);
    }
    if (stored)
        munmap((void *)stored, COUNT * count * sizeof *stored);
    if (kept != MAP_FAILED)
        munmap(kept, COUNT * packed);
    qsort(speed, (size_t)made, sizeof *speed, ascending);
    return made ? speed[made / 2] : 0.0;
}

/* What a task is made of, less StarPU: memory taken and given back, a lock, some words written. */
static double probe(void) {
    enum { TURNS = 2000 };
    pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    void *kept[16] = {NULL};
    double best = INFINITY;
    for (int sample = 0; sample < SAMPLES; sample++) {
        double start = now();
        for (int i = 0; i < TURNS; i++) {
            void **slot = &kept[i % 16];
            pthread_mutex_lock(&mutex);
            free(*slot);
            *slot = malloc((size_t)(200 + i % 7 * 100));
            if (*slot)
                memset(*slot, i, 200);
            pthread_mutex_unlock(&mutex);
        }
        best = fmin(best, (now() - start) / TURNS);
    }
    for (int i = 0; i < 16; i++)
        free(kept[i]);
    return best;
}

static void measure_machine(struct sdt_kernel_times *times, struct sdt_machine_rates *rates) {
    struct sdt_operation product = {
        .kind = SDT_OPERATION_LINEAR, .tasks = 1, .rows = 128, .n = 512, .k = 512};
    double scale = 1.0;
    if (times) {
        pthread_mutex_lock(&times->mutex);
        if (times->copy_bytes_per_second == 0.0) {
            times->copy_bytes_per_second = copy_speed();
            times->probe_seconds = probe();
        }
        rates->link_bytes_per_second = times->copy_bytes_per_second;
        scale = times->probe_seconds / PROBE_SECONDS;
        pthread_mutex_unlock(&times->mutex);
        double seconds = measured(times, &product);
        rates->cpu.flops_per_second = seconds > 0.0 ? sdt_operation_flops(&product) / seconds : 1e9;
        rates->cpu.bytes_per_second = rates->link_bytes_per_second;
    }
    rates->cpu.times = times;
    rates->overheads =
        (struct sdt_overheads){scale * fitted.insert, scale * fitted.run, scale * fitted.transfer};
}

/* GPUs share nothing but links. Between GPUs that reach each other's memory a link is taken for
 * NVLink. Speeds that the user gave say how the others compare with the first. */
static void guess_gpus(struct sdt_machine_rates *rates, const struct sdt_gpus *gpus) {
    enum sdt_dtype dtype = rates->precision == SDT_PRECISION_FLOAT32 ? SDT_F32 : SDT_BF16;
    int first = -1;
    rates->link_bytes_per_second = NVLINK_BYTES_PER_SECOND;
    for (int d = 0; d < rates->devices; d++) {
        struct sdt_device device = rates->device[d];
        if (device.kind != SDT_DEVICE_CUDA || device.index >= gpus->count)
            continue;
        double guess = sdt__gpu_guess(&gpus->gpu[device.index], dtype);
        if (first < 0)
            first = d;
        else
            guess = rates->gpu[first].flops_per_second * rates->speed[d] / rates->speed[first];
        rates->gpu[d] = (struct sdt_worker_rates){
            .flops_per_second = guess > 0.0 ? guess : 1e13, /* CUDA does not tell its clock */
            .bytes_per_second = GPU_BYTES_PER_SECOND,
            .launch_seconds = SDT_LAUNCH_SECONDS};
        rates->room[d] = sdt__gpu_room(gpus, device.index);
        for (int e = 0; e < d; e++)
            if (rates->device[e].kind == SDT_DEVICE_CUDA && !gpus->simulated &&
                !sdt__gpu_reaches(device.index, rates->device[e].index))
                rates->link_bytes_per_second = SDT_HOST_LINK_BYTES_PER_SECOND;
    }
}

static void take_workers(struct sdt_machine_rates *rates, const struct sdt_gpu *worker) {
    rates->cpu = (struct sdt_worker_rates){.flops_per_second = worker->flops[SDT_CLASS_LINEAR],
                                           .bytes_per_second = worker->bytes_per_second};
    memcpy(rates->cpu.class_flops, worker->flops, sizeof worker->flops);
    rates->overheads = (struct sdt_overheads){.run = worker->launch_seconds};
}

/* A simulated machine is what its platform says. Inserting tasks takes no time there, and CPUs that
 * are no device only bring weights. */
static void take_platform(struct sdt_machine_rates *rates, const struct sdt_gpus *gpus) {
    struct sdt_gpu worker;
    double bytes;
    rates->cpu = (struct sdt_worker_rates){.flops_per_second = SDT_CPU_FLOPS,
                                           .bytes_per_second = SDT_CPU_BYTES_PER_US * 1e6};
    if (sdt__simulated_cpu(&worker, &bytes))
        take_workers(rates, &worker);
    rates->simulated = true;
    rates->together = 0.0;
    rates->memory_bytes = gpus->host_bytes;
    rates->cores = 0.0;
    guess_gpus(rates, gpus);
    rates->link_bytes_per_second = INFINITY;
    for (int d = 0; d < rates->devices; d++) {
        int index = rates->device[d].index;
        const struct sdt_gpu *gpu = &gpus->gpu[index];
        if (rates->device[d].kind != SDT_DEVICE_CUDA)
            continue;
        rates->gpu[d].flops_per_second = gpu->flops[SDT_CLASS_LINEAR];
        rates->gpu[d].bytes_per_second = gpu->bytes_per_second;
        rates->gpu[d].launch_seconds = gpu->launch_seconds;
        memcpy(rates->gpu[d].class_flops, gpu->flops, sizeof gpu->flops);
        for (int e = 0; e < rates->devices; e++)
            if (e != d && rates->device[e].kind == SDT_DEVICE_CUDA)
                rates->link_bytes_per_second = fmin(rates->link_bytes_per_second,
                                                    sdt__gpu_link(index, rates->device[e].index));
    }
    if (!isfinite(rates->link_bytes_per_second)) /* one GPU */
        rates->link_bytes_per_second = sdt__gpu_link(-1, rates->device[0].index);
}

/* The same of CPU devices, which run tasks as slowly as it says. */
static void take_cpu_platform(struct sdt_machine_rates *rates, const struct sdt_gpu *worker) {
    take_workers(rates, worker);
    rates->simulated = true;
    rates->together = 0.0;
    rates->cores = 0.0;
    rates->link_bytes_per_second = sdt__gpu_link(-1, 0);
}

enum sdt_status sdt_measure_rates(const struct sdt_pipeline *pipeline,
                                  const struct sdt_machine_options *o, enum sdt_precision precision,
                                  struct sdt_machine_rates *rates, struct sdt_error *err) {
    struct sdt_allowance allowance;
    struct sdt_gpus gpus;
    *rates = (struct sdt_machine_rates){0};
    const int ranks = o->ranks > 1 && o->devices % o->ranks == 0 ? o->ranks : 1;
    const int local = o->devices / ranks;
    enum sdt_status status = sdt__devices_check(o->device, local, &gpus, err);
    if (status == SDT_OK && o->devices > SDT_MAX_DEVICES)
        status = sdt_fail(err, SDT_ERROR_USAGE, "%d devices of %d ranks; at most %d work",
                          o->devices, ranks, SDT_MAX_DEVICES);
    if (status != SDT_OK)
        return status;
    bool has_gpus = sdt__has_gpus(o->device, o->devices);
    sdt__allowance_read("", &allowance);
    *rates = (struct sdt_machine_rates){.devices = o->devices,
                                        .ranks = ranks,
                                        .device = o->device,
                                        .precision = precision,
                                        .cores = ranks * allowance.cpus,
                                        .link_seconds = LINK_SECONDS,
                                        .together = TOGETHER,
                                        .memory_bytes = allowance.memory};
    int each = has_gpus && o->workers_per_device <= 0 ? allowance.workers : o->workers_per_device;
    for (int first = 0; first < o->devices && status == SDT_OK; first += local)
        status = sdt__device_workers(o->device, local, each, o->workers ? o->workers + first : NULL,
                                     allowance.workers, rates->workers + first, err);
    if (status == SDT_OK)
        status = sdt__device_speeds(o->device, o->devices, rates->workers, has_gpus ? &gpus : NULL,
                                    o->device_speed, rates->speed, err);
    if (status != SDT_OK)
        return status;
    if (has_gpus && gpus.simulated) {
        take_platform(rates, &gpus);
        return SDT_OK;
    }
    struct sdt_gpu worker;
    double host_bytes;
    if (!has_gpus && sdt__simulated_cpu(&worker, &host_bytes)) {
        take_cpu_platform(rates, &worker);
        rates->memory_bytes = host_bytes;
        return SDT_OK;
    }
    measure_machine(pipeline->times, rates);
    if (has_gpus)
        guess_gpus(rates, &gpus);
    return SDT_OK;
}

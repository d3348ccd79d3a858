/* What the CUDA runtime says of this machine's GPUs. */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "runtime/gpus.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <starpu.h>

#ifdef HAVE_CUDA
#define WITH_CUDA
#include <cuda_runtime.h>
#endif
#if defined(WITH_CUDA) && defined(HAVE_NCCL)
#include "runtime/nccl.h"
#endif

#ifdef WITH_CUDA
_Static_assert(SDT_MAX_GPUS <= STARPU_MAXCUDADEVS, "StarPU has room for the GPUs");

static const char *version_text(int version, char *text, size_t size) {
    snprintf(text, size, "%d.%d", version / 1000, version % 1000 / 10);
    return text;
}

static void find_reason(cudaError_t error, char *why, size_t size) {
    int driver = 0, runtime = 0;
    char has[24], needs[24];
    const char *visible = getenv("CUDA_VISIBLE_DEVICES");
    cudaDriverGetVersion(&driver);
    cudaRuntimeGetVersion(&runtime);
    if (driver == 0)
        snprintf(why, size, "there is no NVIDIA driver here (libcuda.so.1)");
    else if (error == cudaErrorInsufficientDriver)
        snprintf(why, size,
                 "the NVIDIA driver is made for CUDA %s and this stardit for CUDA %s: a newer "
                 "driver would work",
                 version_text(driver, has, sizeof has), version_text(runtime, needs, sizeof needs));
    else if (error == cudaSuccess || error == cudaErrorNoDevice)
        snprintf(why, size, "CUDA shows no GPU here%s%.60s",
                 visible ? ", CUDA_VISIBLE_DEVICES=" : "", visible ? visible : "");
    else
        snprintf(why, size, "CUDA does not start here: %.100s", cudaGetErrorString(error));
}

static cudaError_t describe(int index, struct sdt_gpu *gpu) {
    struct cudaDeviceProp properties;
    int kilohertz = 0;
    cudaError_t error = cudaGetDeviceProperties(&properties, index);
    if (error != cudaSuccess)
        return error;
    snprintf(gpu->name, sizeof gpu->name, "%.*s", (int)sizeof gpu->name - 1, properties.name);
    if (cudaDeviceGetPCIBusId(gpu->bus, sizeof gpu->bus, index) != cudaSuccess)
        gpu->bus[0] = 0;
    gpu->major = properties.major;
    gpu->minor = properties.minor;
    gpu->multiprocessors = properties.multiProcessorCount;
    gpu->total_bytes = properties.totalGlobalMem;
    if (cudaDeviceGetAttribute(&kilohertz, cudaDevAttrClockRate, index) == cudaSuccess)
        gpu->clock_hz = 1e3 * kilohertz;
    return cudaSuccess;
}

void sdt__gpus_find(struct sdt_gpus *gpus) {
    *gpus = (struct sdt_gpus){0};
    cudaError_t error = cudaGetDeviceCount(&gpus->all);
    if (error != cudaSuccess)
        gpus->all = 0;
    int count = gpus->all < SDT_MAX_GPUS ? gpus->all : SDT_MAX_GPUS;
    for (int i = 0; i < count && error == cudaSuccess; i++) {
        error = describe(i, &gpus->gpu[i]);
        gpus->count += error == cudaSuccess;
    }
    if (gpus->count < count)
        gpus->count = 0;
    if (!gpus->count)
        find_reason(error, gpus->why, sizeof gpus->why);
    (void)cudaGetLastError(); /* it would be taken for a later kernel's */
}

size_t sdt__gpu_free(int gpu) {
    size_t available = 0, total = 0;
    int before = 0;
    if (cudaGetDevice(&before) != cudaSuccess || cudaSetDevice(gpu) != cudaSuccess ||
        cudaMemGetInfo(&available, &total) != cudaSuccess)
        available = 0;
    (void)cudaSetDevice(before);
    (void)cudaGetLastError();
    return available;
}

bool sdt__gpu_reaches(int from, int to) {
    int can = 0;
    if (from == to)
        return true;
    if (cudaDeviceCanAccessPeer(&can, from, to) != cudaSuccess)
        can = 0;
    (void)cudaGetLastError();
    return can;
}

double sdt__gpu_link(int from, int to) {
    (void)from;
    (void)to;
    return 0.0;
}

const char *sdt__cuda_runtime(char *text, size_t size) {
    int version = 0;
    return cudaRuntimeGetVersion(&version) == cudaSuccess ? version_text(version, text, size)
                                                          : NULL;
}

const char *sdt__cuda_driver(char *text, size_t size) {
    int version = 0;
    if (cudaDriverGetVersion(&version) != cudaSuccess || version == 0)
        return NULL;
    return version_text(version, text, size);
}

/* cuDNN and NCCL are never linked, so that programs start without them. */
const char *sdt__cudnn_version(char *text, size_t size, const char **why) {
    size_t (*get_version)(void) = NULL;
    void *library = dlopen("libcudnn.so.9", RTLD_LAZY | RTLD_LOCAL);
    void *symbol = library ? dlsym(library, "cudnnGetVersion") : NULL;
    *why = library ? "libcudnn.so.9 lacks cudnnGetVersion" : "libcudnn.so.9 is not found";
    memcpy(&get_version, &symbol, sizeof get_version);
    if (!get_version)
        return NULL;
    size_t version = get_version();
    snprintf(text, size, "%zu.%zu.%zu", version / 10000, version % 10000 / 100, version % 100);
    dlclose(library);
    return text;
}

const char *sdt__nccl_version(char *text, size_t size, const char **why) {
#ifdef HAVE_NCCL
    struct sdt_error error;
    struct sdt__nccl nccl;
    enum sdt_status status = sdt__nccl_load(&nccl, &error);
    *why = "libnccl.so.2 is not found";
    if (status != SDT_OK && nccl.found) {
        snprintf(text, size, "%s", error.message);
        *why = text;
    }
    if (status != SDT_OK)
        return NULL;
    snprintf(text, size, "%d.%d.%d", nccl.version / 10000, nccl.version / 100 % 100,
             nccl.version % 100);
    return text;
#else
    (void)text;
    (void)size;
    *why = "built without NCCL";
    return NULL;
#endif
}

#else

void sdt__gpus_find(struct sdt_gpus *gpus) {
    *gpus = (struct sdt_gpus){0};
#ifdef STARPU_USE_CUDA
    snprintf(gpus->why, sizeof gpus->why, "this stardit was built without CUDA");
#else
    snprintf(gpus->why, sizeof gpus->why,
             "this stardit was built without CUDA, over a StarPU without CUDA");
#endif
}

size_t sdt__gpu_free(int gpu) {
    (void)gpu;
    return 0;
}

bool sdt__gpu_reaches(int from, int to) {
    (void)from;
    (void)to;
    return false;
}

double sdt__gpu_link(int from, int to) {
    (void)from;
    (void)to;
    return 0.0;
}

const char *sdt__cuda_runtime(char *text, size_t size) {
    (void)text;
    (void)size;
    return NULL;
}

const char *sdt__cuda_driver(char *text, size_t size) { return sdt__cuda_runtime(text, size); }

const char *sdt__cudnn_version(char *text, size_t size, const char **why) {
    *why = "built without CUDA";
    return sdt__cuda_runtime(text, size);
}

const char *sdt__nccl_version(char *text, size_t size, const char **why) {
    return sdt__cudnn_version(text, size, why);
}

#endif

/* FLOPs per multiprocessor and clock, multiply and add counted as two (NVIDIA's architecture
 * papers). */
static double per_clock(const struct sdt_gpu *gpu, enum sdt_dtype dtype) {
    if (dtype != SDT_BF16)
        return gpu->major == 8 && gpu->minor == 0 ? 128.0 : 256.0;
    if (gpu->major >= 10)
        return 8192.0;
    if (gpu->major == 9)
        return 4096.0;
    return gpu->minor == 0 ? 2048.0 : 1024.0;
}

double sdt__gpu_guess(const struct sdt_gpu *gpu, enum sdt_dtype dtype) {
    return 0.5 * per_clock(gpu, dtype) * gpu->multiprocessors * gpu->clock_hz;
}

bool sdt__simulated_cpu(struct sdt_gpu *worker, double *host_bytes) {
    (void)worker, (void)host_bytes;
    return false;
}

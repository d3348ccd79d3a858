/* The micro-kernel in plain C, with whatever vectors the compiler has, and the choice among all. */
#include <stdatomic.h>
#include <string.h>
#ifdef __F16C__
#include <immintrin.h>
#endif

#define LANES 8
#define ROWS 4
#define VARIANT "generic"
#define NAME sdt__micro_kernel_generic
#include "kernels/cpu/micro_kernel_body.h"

static const struct sdt__micro_kernel *best(void) {
#ifdef __x86_64__
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
        __builtin_cpu_supports("f16c")) {
        if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
            __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
            return &sdt__micro_kernel_avx512;
        return &sdt__micro_kernel_avx2;
    }
#endif
    return &sdt__micro_kernel_generic;
}

/* Found once; threads that find it at the same time find the same. */
static _Atomic(const struct sdt__micro_kernel *) chosen;

const struct sdt__micro_kernel *sdt__micro_kernel(void) {
    const struct sdt__micro_kernel *kernel = atomic_load_explicit(&chosen, memory_order_relaxed);
    if (!kernel) {
        kernel = best();
        atomic_store_explicit(&chosen, kernel, memory_order_relaxed);
    }
    return kernel;
}

bool sdt__micro_kernel_choose(const char *name) {
    const struct sdt__micro_kernel *most = best(), *kernel = NULL;
    if (!strcmp(name, sdt__micro_kernel_generic.name))
        kernel = &sdt__micro_kernel_generic;
#ifdef __x86_64__
    if (!strcmp(name, sdt__micro_kernel_avx2.name) && most != &sdt__micro_kernel_generic)
        kernel = &sdt__micro_kernel_avx2;
#endif
    if (!strcmp(name, most->name))
        kernel = most;
    if (kernel)
        atomic_store_explicit(&chosen, kernel, memory_order_relaxed);
    return kernel;
}

/* The loop that nothing but the multiply-add units bounds. */
#include "bench/peak.h"

#include <string.h>
#include <time.h>

#include "kernels/cpu/micro_kernel.h"

double bench_cpu_time(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Twelve chains hide the latency of all processors so far (at most 6 cycles, two units). In
 * assembly, since a compiler may merge or spill them. */
#define EACH(OP) OP(a) OP(b) OP(c) OP(d) OP(e) OP(f) OP(g) OP(h) OP(i) OP(j) OP(k) OP(l)
#define CHAINS(OP, type)                                                                           \
    type a = x, b = x, c = x, d = x, e = x, f = x, g = x, h = x, i = x, j = x, k = x, l = x;       \
    for (int turn = 0; turn < turns; turn++) {                                                     \
        EACH(OP)                                                                                   \
    }

typedef float v16 __attribute__((vector_size(64)));
typedef float v8 __attribute__((vector_size(32)));

#ifdef __x86_64__
#define OP512(s) __asm__ volatile("vfmadd231ps %1, %2, %0" : "+v"(s) : "v"(x), "v"(y));
__attribute__((target("avx512f"), noinline)) static void run_avx512(int turns) {
    v16 x = 0.999f - (v16){0}, y = 0.001f - (v16){0};
    CHAINS(OP512, v16)
}

#define OP256(s) __asm__ volatile("vfmadd231ps %1, %2, %0" : "+x"(s) : "x"(x), "x"(y));
__attribute__((target("avx2,fma"), noinline)) static void run_avx2(int turns) {
    v8 x = 0.999f - (v8){0}, y = 0.001f - (v8){0};
    CHAINS(OP256, v8)
}
#endif

#define OP_C(s)                                                                                    \
    s = s * x + y;                                                                                 \
    __asm__ volatile("" : "+m"(s));
__attribute__((noinline)) static void run_c(int turns) {
    float x = 0.999f, y = 0.001f;
    CHAINS(OP_C, float)
}

double bench_fma_peak(void) {
    void (*run)(int turns) = run_c;
    int lanes = 1, turns = 20000;
#ifdef __x86_64__
    const char *name = sdt__micro_kernel()->name;
    if (!strcmp(name, "avx512")) {
        run = run_avx512;
        lanes = 16;
    } else if (!strcmp(name, "avx2")) {
        run = run_avx2;
        lanes = 8;
        turns = 40000;
    }
#endif
    double start = bench_cpu_time();
    run(turns);
    return 1e-9 * 2.0 * 12.0 * lanes * turns / (bench_cpu_time() - start);
}

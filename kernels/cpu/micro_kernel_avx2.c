/* The micro-kernel in AVX2 with FMA: blocks of 4 rows by 24 or 16 columns. */
#ifdef __x86_64__
#include <immintrin.h>
#pragma GCC target("avx2,fma,f16c")
#define LANES 8
#define ROWS 4
#define VARIANT "avx2"
#define NAME sdt__micro_kernel_avx2
#include "kernels/cpu/micro_kernel_body.h"
#endif

/* The micro-kernel in AVX-512: blocks of 8 rows by 48 or 32 columns. */
#ifdef __x86_64__
#include <immintrin.h>
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")
#define LANES 16
#define ROWS 8
#define VARIANT "avx512"
#define NAME sdt__micro_kernel_avx512
#include "kernels/cpu/micro_kernel_body.h"
#endif

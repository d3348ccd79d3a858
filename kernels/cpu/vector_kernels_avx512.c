/* The vector kernels in AVX-512. */
#ifdef __x86_64__
#include <immintrin.h>
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")
#define LANES 16
#define NAME sdt__vector_kernels_avx512
#include "kernels/cpu/vector_kernels_body.h"
#endif

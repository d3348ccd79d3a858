/* The vector kernels in AVX2 with FMA. */
#ifdef __x86_64__
#include <immintrin.h>
#pragma GCC target("avx2,fma,f16c")
#define LANES 8
#define NAME sdt__vector_kernels_avx2
#include "kernels/cpu/vector_kernels_body.h"
#endif

/* The vector kernels in plain C, the choice among all, and the public names. */
#define LANES 8
#define NAME sdt__vector_kernels_generic
#include "kernels/cpu/vector_kernels_body.h"

#include "kernels/cpu/micro_kernel.h"

const struct sdt__vector_kernels *sdt__vector_kernels(void) {
#ifdef __x86_64__
    const struct sdt__micro_kernel *kernel = sdt__micro_kernel();
    if (kernel == &sdt__micro_kernel_avx512)
        return &sdt__vector_kernels_avx512;
    if (kernel == &sdt__micro_kernel_avx2)
        return &sdt__vector_kernels_avx2;
#endif
    return &sdt__vector_kernels_generic;
}

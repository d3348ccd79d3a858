/* Making BLAS sequential: one worker is one thread, and a product split over threads would change
 * bits. */
#include "kernels/kernels.h"

/* OpenBLAS only; weak, so that another sequential BLAS links as well. */
extern void openblas_set_num_threads(int threads) __attribute__((weak));

void sdt_kernels_init(void) {
    if (openblas_set_num_threads)
        openblas_set_num_threads(1);
}

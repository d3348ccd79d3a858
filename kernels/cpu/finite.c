/* Is every number a number? finite_body.h looks. */
#include "kernels/cpu/vector_kernels.h"

size_t sdt_find_not_finite(size_t n, const float *x) {
    return sdt__vector_kernels()->find_not_finite(n, x);
}

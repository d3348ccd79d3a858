/* Plain version of kernels/cpu/finite.c. */
#include "kernels/reference.h"

#include <math.h>

size_t sdt_find_not_finite_reference(size_t n, const float *x) {
    size_t i = 0;
    while (i < n && isfinite(x[i]))
        i++;
    return i;
}

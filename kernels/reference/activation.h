/* The activations as their definitions read. */
#ifndef STARDIT_KERNELS_REFERENCE_ACTIVATION_H
#define STARDIT_KERNELS_REFERENCE_ACTIVATION_H

#include <math.h>

static inline double silu(double x) { return x / (1. + exp(-x)); }

static inline double gelu_tanh(double x) {
    return 0.5 * x * (1. + tanh(sqrt(2. / acos(-1.)) * (x + 0.044715 * x * x * x)));
}

#endif

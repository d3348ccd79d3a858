/* The sampler steps that CPU and CUDA kernels are tried with. */
#ifndef STARDIT_TESTS_KERNELS_SAMPLER_H
#define STARDIT_TESTS_KERNELS_SAMPLER_H

#include "stardit/kernels.h"

/* Bit i of terms turns a term on; a term whose coefficient is 0 may not be read. */
static inline struct sdt_sampler_step sampler_step(unsigned terms) {
    struct sdt_sampler_step step = {
        .guidance = 5.f,
        .sigma = 0.7f,
        .correct = terms & 1,
        .c_last = terms & 2 ? 0.4f : 0.f,
        .c_m0 = terms & 4 ? -0.3f : 0.f,
        .c_m1 = terms & 8 ? 0.2f : 0.f,
        .c_x0 = terms & 16 ? 0.9f : 0.f,
        .p_x = 0.8f,
        .p_x0 = terms & 32 ? 0.6f : 0.f,
        .p_m0 = terms & 64 ? -0.5f : 0.f,
        .p_v = terms & 128 ? 1.1f : 0.f,
    };
    return step;
}
#endif

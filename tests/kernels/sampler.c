/* The sampler step: every term on and off. A term whose coefficient is 0 holds NaN here. */
#include "kernels/reference.h"
#include "tests/kernels/check.h"
#include "tests/kernels/sampler.h"

static void check_step(size_t n, unsigned terms) {
    struct sdt_sampler_step step = sampler_step(terms);
    int reads_m0 = (step.correct && step.c_m0 != 0.f) || step.p_m0 != 0.f;
    float *cond = numbers(n, 1.f), *uncond = terms & 256 ? numbers(n, 1.f) : NULL;
    float *got[4], *want[4];
    got[0] = numbers(n, 2.f);
    got[1] = step.correct && step.c_last != 0.f ? numbers(n, 2.f) : blank(n);
    got[2] = reads_m0 ? numbers(n, 2.f) : blank(n);
    got[3] = step.correct && step.c_m1 != 0.f ? numbers(n, 2.f) : blank(n);
    for (int i = 0; i < 4; i++)
        want[i] = copy_of(n, got[i]);
    sdt_sampler_step(&step, n, cond, uncond, got[0], got[1], got[2], got[3]);
    sdt_sampler_step_reference(&step, n, cond, uncond, want[0], want[1], want[2], want[3]);
    check_near(n, got[0], want[0], 1e-6, "sampler x, terms %x", terms);
    check_near(n, got[1], want[1], 1e-6, "sampler x_last, terms %x", terms);
    check_near(n, got[2], want[2], 1e-6, "sampler m0, terms %x", terms);
    check_bits(n, got[3], want[3], "sampler m1, terms %x", terms);
    for (int i = 0; i < 4; i++) {
        free(got[i]);
        free(want[i]);
    }
    free(cond);
    free(uncond);
}

int main(void) {
    for (unsigned terms = 0; terms < 512; terms++) {
        check_step(1 + terms % 20, terms);
        check_step(1000 + terms % 8, terms);
    }
    return check_end("sampler");
}

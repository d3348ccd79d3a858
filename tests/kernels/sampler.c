/* The sampler step: every term on and off. A term whose coefficient is 0 holds NaN here: it must
 * not be read. */
#include "tests/kernels/operation.h"

/* n; bit i of terms turns a term on, bit 8 guidance */
static void sampler_grid(const struct operation *operation) {
    for (int terms = 0; terms < 512; terms += backend.kind == GPU ? 7 : 1) {
        if (backend.kind != GPU)
            TRY(1 + terms % 20 + (terms & 1 && backend.kind == BODIES ? 100 : 0), terms);
        if (backend.kind == CPU)
            TRY(1000 + terms % 8, terms);
        if (backend.kind == GPU)
            TRY(1 + terms * 3, terms);
    }
}

static struct sdt_sampler_step step_of(const struct call *c) {
    int terms = c->size[1];
    return (struct sdt_sampler_step){
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
}

/* A state that starts as NaN unless it is read. */
static struct array *state(struct call *c, bool read) {
    struct array *a = in_out_type(c, SDT_F32, (size_t)c->size[0], 2.f);
    for (size_t i = 0; i < a->n && !read; i++)
        a->start[i] = NAN;
    return a;
}

static void sampler_make(struct call *c) {
    struct sdt_sampler_step step = step_of(c);
    size_t n = (size_t)c->size[0];
    bool reads_m0 = (step.correct && step.c_m0 != 0.f) || step.p_m0 != 0.f;
    in_type(c, SDT_F32, n, 1.f);                                   /* 0: v_cond */
    in_if(c, c->size[1] & 256, SDT_F32, n, 1.f);                   /* 1: v_uncond */
    in_type(c, SDT_F32, n, 2.f);                                   /* 2: x */
    out_type(c, SDT_F32, n);                                       /* 3: x of the next step */
    state(c, step.correct && step.c_last != 0.f);                  /* 4: x_last */
    state(c, reads_m0);                                            /* 5: m0 */
    struct array *m1 = state(c, step.correct && step.c_m1 != 0.f); /* 6: moved from m0 */
    m1->limits.f32 = 0.;
    m1->written = reads_m0 || backend.kind != GPU; /* which NaN it is does not matter there */
}

static void sampler_plain(struct call *c) {
    struct sdt_sampler_step step = step_of(c);
    memmove(at(c, 3), at(c, 2), c->array[2].n * sizeof(float));
    sdt_sampler_step_reference(&step, c->array[2].n, at(c, 0), at(c, 1), at(c, 3), at(c, 4),
                               at(c, 5), at(c, 6));
}
static void sampler_cpu(struct call *c) {
    struct sdt_sampler_step step = step_of(c);
    memmove(at(c, 3), at(c, 2), c->array[2].n * sizeof(float));
    sdt_sampler_step(&step, c->array[2].n, at(c, 0), at(c, 1), at(c, 3), at(c, 4), at(c, 5),
                     at(c, 6));
}
static void sampler_cuda(struct call *c) {
    struct sdt_sampler_step step = step_of(c);
    done(c, sdt_cuda_sampler_step(cuda, &step, c->array[2].n, at(c, 0), at(c, 1), at(c, 2),
                                  at(c, 3), at(c, 4), at(c, 5), at(c, 6)));
}

const struct operation sampler_operations[] = {
    {.name = "sampler_step",
     .grid = sampler_grid,
     .make = sampler_make,
     .plain = sampler_plain,
     .cpu = sampler_cpu,
     .cuda = sampler_cuda,
     .limits = {.f32 = 1e-6},
     .float32 = true,
     .in_place = {{3, 2}},
     .pairs = 1},
    {0},
};

/* Kernels that take each number by itself, exp below them over its whole range, and the timestep
 * embedding. */
#include "kernels/cpu/vector_math.h"
#include "tests/kernels/operation.h"

/* ---- exp ------------------------------------------------------------------------------------- */

static void check_exp(void) {
    double worst = 0., where = 0.;
    for (float x = -87.f; x <= 88.f; x += 0.00137f) {
        double error = fabs(vec_exp(vec_set(x))[3] / exp(x) - 1.);
        if (!(error <= worst)) {
            worst = error;
            where = x;
        }
    }
    vec far = vec_exp((vec){-INFINITY, -1e30f, -88.f, 0.f, INFINITY, 1e30f, NAN, -0.f});
    if (!(worst <= 2e-7) || !(far[0] > 0.f && far[0] < 2e-38f) || far[1] != far[0] ||
        far[2] != far[0] || far[3] != 1.f || !(far[4] < INFINITY) || far[5] != far[4] ||
        !isnan(far[6]) || far[7] != 1.f) {
        fprintf(stderr, "exp: relative error %g at %g\n", worst, where);
        check_failures++;
    }
}

/* ---- activations: n, range of the numbers ---------------------------------------------------- */

static void activation_grid(const struct operation *operation) {
    static const int sizes[] = {0, 1, 3, 7, 8, 9, 31, 64, 1000}, ranges[] = {1, 10, 60, 200};
    for (size_t i = 0; i < COUNT(sizes); i++)
        for (size_t r = 0; r < COUNT(ranges); r++)
            TRY(sizes[i], ranges[r]);
    if (backend.kind == GPU)
        for (size_t r = 0; r < COUNT(ranges); r++)
            TRY(70001, ranges[r]);
}

/* Far numbers stand among those of the widest range. */
static struct array *far_in(struct call *call) {
    size_t n = (size_t)call->size[0];
    struct array *x = in(call, n, (float)call->size[1]);
    if (n > 2 && call->size[1] == 200 && backend.kind == CPU) {
        x->start[0] = -0.f;
        x->start[1] = -1e4f;
        x->start[2] = 1e4f;
    }
    x->row = 1;
    return x;
}

static void silu_make(struct call *c) {
    far_in(c);
    out(c, (size_t)c->size[0])->row = 1;
}
static void silu_plain(struct call *c) {
    sdt_silu_reference((size_t)c->size[0], at(c, 0), at(c, 1));
}
static void silu_cpu(struct call *c) { sdt_silu((size_t)c->size[0], at(c, 0), at(c, 1)); }
static void silu_cuda(struct call *c) {
    done(c, sdt_cuda_silu(cuda, c->dtype, (size_t)c->size[0], at(c, 0), at(c, 1)));
}

/* Also relative to each value, where e^-x is not cut off. */
static void silu_also(struct call *c) {
    const float *x = at(c, 0), *got = at(c, 1), *want = c->array[1].want;
    for (size_t i = 0; i < c->array[0].n; i++)
        if (fabs(x[i]) < 80 && !(fabs(got[i] - want[i]) <= 5e-7 * fabs(want[i]))) {
            fprintf(stderr, "silu(%g) is %.9g, not %.9g\n", x[i], got[i], want[i]);
            check_failures++;
        }
}

static void gated_gelu_make(struct call *c) {
    far_in(c);
    in(c, (size_t)c->size[0], 1.f)->row = 1;
    out(c, (size_t)c->size[0])->row = 1;
}
static void gated_gelu_plain(struct call *c) {
    sdt_gated_gelu_reference((size_t)c->size[0], at(c, 0), at(c, 1), at(c, 2));
}
static void gated_gelu_cpu(struct call *c) {
    sdt_gated_gelu((size_t)c->size[0], at(c, 0), at(c, 1), at(c, 2));
}
static void gated_gelu_cuda(struct call *c) {
    done(c, sdt_cuda_gated_gelu(cuda, c->dtype, (size_t)c->size[0], at(c, 0), at(c, 1), at(c, 2)));
}

static void gated_silu_plain(struct call *c) {
    sdt_gated_silu_reference((size_t)c->size[0], at(c, 0), at(c, 1), at(c, 2));
}
static void gated_silu_cpu(struct call *c) {
    sdt_gated_silu((size_t)c->size[0], at(c, 0), at(c, 1), at(c, 2));
}
static void gated_silu_cuda(struct call *c) {
    done(c, sdt_cuda_gated_silu(cuda, c->dtype, (size_t)c->size[0], at(c, 0), at(c, 1), at(c, 2)));
}

static void quick_gelu_plain(struct call *c) {
    sdt_quick_gelu_reference((size_t)c->size[0], at(c, 0), at(c, 1));
}
static void quick_gelu_cpu(struct call *c) {
    sdt_quick_gelu((size_t)c->size[0], at(c, 0), at(c, 1));
}
static void quick_gelu_cuda(struct call *c) {
    done(c, sdt_cuda_quick_gelu(cuda, c->dtype, (size_t)c->size[0], at(c, 0), at(c, 1)));
}
static void gelu_plain(struct call *c) {
    sdt_gelu_reference((size_t)c->size[0], at(c, 0), at(c, 1));
}
static void gelu_cpu(struct call *c) { sdt_gelu((size_t)c->size[0], at(c, 0), at(c, 1)); }
static void gelu_cuda(struct call *c) {
    done(c, sdt_cuda_gelu(cuda, c->dtype, (size_t)c->size[0], at(c, 0), at(c, 1)));
}

static void add_make(struct call *c) {
    in(c, (size_t)c->size[0], 1.f)->row = 1;
    in_out(c, (size_t)c->size[0], (float)c->size[1])->row = 1;
}
static void add_plain(struct call *c) { sdt_add_reference((size_t)c->size[0], at(c, 0), at(c, 1)); }
static void add_cpu(struct call *c) { sdt_add((size_t)c->size[0], at(c, 0), at(c, 1)); }

static void sum_make(struct call *c) {
    in(c, (size_t)c->size[0], 1.f)->row = 1;
    in_out(c, (size_t)c->size[0], (float)c->size[1])->row = 1;
}
/* Differences of the odd ranges, sums of the even ones. */
static float sign_of(const struct call *c) { return c->size[1] == 1 ? -1.f : 1.f; }
static void sum_plain(struct call *c) {
    sdt_sum_reference((size_t)c->size[0], sign_of(c), at(c, 0), at(c, 1));
}
static void sum_cpu(struct call *c) { sdt_sum((size_t)c->size[0], sign_of(c), at(c, 0), at(c, 1)); }
static void sum_cuda(struct call *c) {
    done(c, sdt_cuda_sum(cuda, c->dtype, (size_t)c->size[0], sign_of(c), at(c, 0), at(c, 1)));
}

/* ---- mean_rows: rows, d ---------------------------------------------------------------------- */

static void mean_grid(const struct operation *operation) {
    TRY(1, 1);
    TRY(1, 24);
    TRY(7, 13);
    TRY(256, 33);
    if (backend.kind == GPU)
        TRY(256, 4096);
}
static void mean_make(struct call *c) {
    in(c, (size_t)(c->size[0] * c->size[1]), 1.f);
    out(c, (size_t)c->size[1]);
}
static void mean_plain(struct call *c) {
    sdt_mean_rows_reference(c->size[0], c->size[1], at(c, 0), at(c, 1));
}
static void mean_cpu(struct call *c) { sdt_mean_rows(c->size[0], c->size[1], at(c, 0), at(c, 1)); }
static void mean_cuda(struct call *c) {
    done(c, sdt_cuda_mean_rows(cuda, c->size[0], c->size[1], at(c, 0), at(c, 1)));
}

/* ---- timestep embedding: t in tenths, dim ---------------------------------------------------- */

static void sinusoid_grid(const struct operation *operation) {
    TRY(0, 2);
    TRY(7, 32);
    TRY(10, 256);
    TRY(7375, 256);
    TRY(10000, 256);
}
static void sinusoid_make(struct call *c) {
    int t = c->size[0];
    out_type(c, SDT_F32, (size_t)c->size[1])->limits.f32 = t == 0 ? 1e-7 : t <= 10 ? 2e-6 : 1e-4;
}
static float tenths(const struct call *c) { return (float)c->size[0] / 10.f; }
static void sinusoid_plain(struct call *c) {
    sdt_sinusoid_reference(tenths(c), c->size[1], at(c, 0));
}
static void sinusoid_cpu(struct call *c) { sdt_sinusoid(tenths(c), c->size[1], at(c, 0)); }
static void sinusoid_cuda(struct call *c) {
    done(c, sdt_cuda_sinusoid(cuda, tenths(c), c->size[1], at(c, 0)));
}

const struct operation elementwise_operations[] = {
    {.name = "silu",
     .grid = activation_grid,
     .make = silu_make,
     .plain = silu_plain,
     .cpu = silu_cpu,
     .cuda = silu_cuda,
     .limits = {.f32 = 5e-7, .gpu = 1e-6},
     .by_rows = true,
     .in_place = {{1, 0}},
     .pairs = 1,
     .also = silu_also,
     .more = check_exp},
    {.name = "gated_gelu",
     .grid = activation_grid,
     .make = gated_gelu_make,
     .plain = gated_gelu_plain,
     .cpu = gated_gelu_cpu,
     .cuda = gated_gelu_cuda,
     .limits = {.f32 = 5e-7, .gpu = 1e-6},
     .by_rows = true,
     .in_place = {{2, 0}, {2, 1}},
     .pairs = 2},
    {.name = "gated_silu",
     .grid = activation_grid,
     .make = gated_gelu_make,
     .plain = gated_silu_plain,
     .cpu = gated_silu_cpu,
     .cuda = gated_silu_cuda,
     .limits = {.f32 = 5e-7, .gpu = 1e-6},
     .by_rows = true,
     .in_place = {{2, 0}, {2, 1}},
     .pairs = 2},
    {.name = "quick_gelu",
     .grid = activation_grid,
     .make = silu_make,
     .plain = quick_gelu_plain,
     .cpu = quick_gelu_cpu,
     .cuda = quick_gelu_cuda,
     .limits = {.f32 = 5e-7, .gpu = 1e-6},
     .by_rows = true,
     .in_place = {{1, 0}},
     .pairs = 1},
    {.name = "gelu",
     .grid = activation_grid,
     .make = silu_make,
     .plain = gelu_plain,
     .cpu = gelu_cpu,
     .cuda = gelu_cuda,
     .limits = {.f32 = 5e-7, .gpu = 1e-6},
     .by_rows = true,
     .in_place = {{1, 0}},
     .pairs = 1},
    {.name = "add",
     .grid = activation_grid,
     .make = add_make,
     .plain = add_plain,
     .cpu = add_cpu,
     .limits = {.f32 = 1e-7},
     .by_rows = true},
    {.name = "sum",
     .grid = activation_grid,
     .make = sum_make,
     .plain = sum_plain,
     .cpu = sum_cpu,
     .cuda = sum_cuda,
     .limits = {.f32 = 1e-7},
     .by_rows = true},
    {.name = "mean_rows",
     .grid = mean_grid,
     .make = mean_make,
     .plain = mean_plain,
     .cpu = mean_cpu,
     .cuda = mean_cuda,
     .limits = {.f32 = 1e-6},
     .float32 = true},
    {.name = "sinusoid",
     .grid = sinusoid_grid,
     .make = sinusoid_make,
     .plain = sinusoid_plain,
     .cpu = sinusoid_cpu,
     .cuda = sinusoid_cuda,
     .float32 = true},
    {0},
};

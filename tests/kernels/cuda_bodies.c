/* The table of operation.h with CUDA kernels on the host (cuda_launch.h): both types, arrays
 * aligned or not. Here are the parts of kernels that no call of the table shows by itself:
 * rounding, shapes of launches, and bodies that follow a library's product or come before it.
 *
 * Tolerances are check.h's for float32. A bf16 result may be half a unit of its last place away
 * from the float32 one, 2^-8 of the value; what is only moved must have the bits of the rounded
 * number. */
#include "kernels/cuda/rows.h"
#include "tests/kernels/cuda_launch.h"
#include "tests/kernels/operation.h"

struct sdt_cuda *cuda;

static bool release(void) {
    unsigned faults = launch_faults;
    launch_faults = 0;
    return host_release() && faults == 0;
}

static void wait(enum sdt_status status, const char *what) {
    if (status != SDT_OK) {
        fprintf(stderr, "%s: %s\n", what, sdt_status_name(status));
        exit(EXIT_FAILURE);
    }
}

static void prefer_own(bool own) { sdt_cuda_prefer_own(cuda, own); }

const struct backend backend = {.kind = BODIES,
                                .ways = 2,
                                .put = host_put,
                                .get = host_get,
                                .release = release,
                                .wait = wait,
                                .prefer_own = prefer_own};

static const enum sdt_dtype dtypes[] = {SDT_F32, SDT_BF16};

static double within(double tolerance, enum sdt_dtype dtype) {
    return dtype == SDT_BF16 ? tolerance + 0x1.01p-8 : tolerance;
}

/* ---- arrays as a device holds them ----------------------------------------------------------- */

struct stored {
    enum sdt_dtype dtype;
    size_t n;
    char *base; /* what is freed; exact in size */
    void *at;   /* base, or an element behind it: not aligned */
};

/* NULL: filled with NaN, which no kernel may leave or read. */
static struct stored make(enum sdt_dtype dtype, size_t n, bool shifted, const float *x) {
    struct stored a = {dtype, n, NULL, NULL};
    size_t size = sdt_dtype_size(dtype), skip = shifted ? size : 0;
    a.base = malloc(n * size + skip + (n == 0));
    if (!a.base || !body_aligned(a.base))
        abort();
    a.at = a.base + skip;
    for (size_t i = 0; i < n; i++) {
        float v = x ? x[i] : NAN;
        uint16_t half = body_to_bf16(v);
        if (dtype == SDT_BF16)
            memcpy((char *)a.at + i * size, &half, size);
        else
            memcpy((char *)a.at + i * size, &v, size);
    }
    return a;
}

static struct stored blank_array(enum sdt_dtype dtype, size_t n, bool shifted) {
    return make(dtype, n, shifted, NULL);
}

static float *floats(const struct stored *a) {
    float *x = blank(a->n);
    if (a->n > 0)
        sdt_convert(a->dtype, a->n, a->at, x);
    return x;
}

/* Random numbers as the array holds them: *x, for the reference. */
static struct stored random_array(enum sdt_dtype dtype, size_t n, bool shifted, float scale,
                                  float **x) {
    float *exact = numbers(n, scale);
    struct stored a = make(dtype, n, shifted, exact);
    free(exact);
    *x = floats(&a);
    return a;
}

/* The array holds `want`; tolerance 0: its rounded bits. */
#define CHECK_ARRAY(a, want, tolerance, ...)                                                       \
    do {                                                                                           \
        float *got_ = floats(a), *want_ = rounded((a)->dtype, (a)->n, want);                       \
        if ((tolerance) > 0.)                                                                      \
            check_near((a)->n, got_, want, within(tolerance, (a)->dtype), __VA_ARGS__);            \
        else                                                                                       \
            check_bits((a)->n, got_, want_, __VA_ARGS__);                                          \
        free(got_);                                                                                \
        free(want_);                                                                               \
    } while (0)

static float *rounded(enum sdt_dtype dtype, size_t n, const float *x) {
    struct stored a = make(dtype, n, false, x);
    float *y = floats(&a);
    free(a.base);
    return y;
}

static void expect(bool right, const char *what) {
    check_count++;
    if (!right) {
        check_failures++;
        fprintf(stderr, "%s\n", what);
    }
}

/* ---- bf16 ------------------------------------------------------------------------------------ */

/* x rounded by definition: the nearer neighbour, the even one of two equally near. */
static uint16_t nearest(float x) {
    uint32_t bits = body_bits(x);
    uint16_t below = (uint16_t)(bits >> 16), above = (uint16_t)(below + 1); /* by magnitude */
    float low = body_float((uint32_t)below << 16), high = body_float((uint32_t)above << 16);
    /* Beyond the largest, the place where the next number would be. */
    double end = isinf(high) ? copysign(0x1p128, x) : high;
    double to_low = fabs((double)x - low), to_high = fabs(end - x);
    if (to_low != to_high)
        return to_low < to_high ? below : above;
    return below % 2 == 0 ? below : above;
}

static void check_bf16(void) {
    bool same = true, near = true, quiet = true;
    for (uint32_t i = 0; i < 0x10000; i++) {
        float x = body_of_bf16((uint16_t)i), reference;
        uint16_t stored = (uint16_t)i;
        sdt_convert_reference(SDT_BF16, 1, &stored, &reference);
        if (isnan(x)) {
            same = same && isnan(reference) && body_to_bf16(x) == (i | 0x40);
            continue;
        }
        same = same && body_bits(x) == body_bits(reference) && body_to_bf16(x) == i;
        for (int j = 0; j < 6 && !isinf(x); j++) { /* ties, their neighbours, and others */
            const uint32_t low[] = {1, 0x7fff, 0x8000, 0x8001, 0xffff, random_bits() & 0xffff};
            float y = body_float(i << 16 | low[j]);
            near = near && body_to_bf16(y) == nearest(y);
        }
    }
    for (uint32_t low = 1; low < 0x10000; low += 257)
        for (uint32_t sign = 0; sign < 2; sign++)
            quiet = quiet &&
                    isnan(body_of_bf16(body_to_bf16(body_float(sign << 31 | 0x7f800000u | low))));
    expect(same, "bf16: a stored number changes on its way to float and back");
    expect(near, "bf16: not rounded to the nearest, ties to even");
    expect(quiet, "bf16: a NaN becomes a number");
    expect(body_two_bf16(1.f, -2.f) == 0xc0003f80u, "bf16: a pair is in the wrong order");
}

/* ---- residual and merge ---------------------------------------------------------------------- */

static void check_residual(int rows, int n, enum sdt_dtype dtype, enum sdt_dtype t_dtype,
                           unsigned given, bool shifted) {
    size_t count = (size_t)rows * n;
    float *t, *bias, *gate_a, *gate_b, *y;
    struct stored at = random_array(t_dtype, count, shifted, 2.f, &t);
    struct stored ab = random_array(dtype, n, shifted, 1.f, &bias);
    struct stored aa = random_array(SDT_F32, n, shifted, 1.f, &gate_a);
    struct stored ac = random_array(SDT_F32, n, shifted, 1.f, &gate_b);
    struct stored ay = random_array(dtype, count, shifted, 2.f, &y);
    struct body_residual a = {
        n,    at.at, given & 1 ? ab.at : NULL, given & 2 ? aa.at : NULL, given & 4 ? ac.at : NULL,
        ay.at};
    int pack = body_pack(dtype, t_dtype, true);
    pack = !shifted && n % pack == 0 ? pack : 1;
    for (int r = 0; r < rows; r++)
        for (int c = 0; c < n; c += pack)
            body_residual_pack(&a, dtype, t_dtype, pack, r, c);
    for (size_t i = 0; i < count; i++) {
        size_t c = i % n;
        double gate = given & 6 ? 0. : 1.;
        gate += given & 2 ? gate_a[c] : 0.;
        gate += given & 4 ? gate_b[c] : 0.;
        y[i] = (float)(y[i] + gate * (t[i] + (given & 1 ? (double)bias[c] : 0.)));
    }
    CHECK_ARRAY(&ay, y, 1e-6, "residual %d x %d, vectors %x", rows, n, given);
    free(t);
    free(bias);
    free(gate_a);
    free(gate_b);
    free(y);
    free(at.base);
    free(ab.base);
    free(aa.base);
    free(ac.base);
    free(ay.base);
}

static void check_merge_without_keys(void) {
    float a, b;
    expect(body_merge_weights(2.f, -INFINITY, &a, &b) == 2.f && a == 1.f && b == 0.f,
           "merge with no keys changes the first part");
    expect(body_merge_weights(-INFINITY, 2.f, &a, &b) == 2.f && a == 0.f && b == 1.f,
           "merge into no keys is not the second part");
    expect(body_merge_weights(-INFINITY, -INFINITY, &a, &b) == -INFINITY && a == 0.f && b == 0.f,
           "merge of no keys with none is not nothing");
}

/* ---- rows ------------------------------------------------------------------------------------ */

/* All of the work is done once: every element of every row by one lane, in order, none beyond. */
static void check_shape(size_t rows, int d, int pack, bool wide) {
    struct body_shape shape = body_shape_rows(rows, d, pack, wide && d % pack == 0);
    int taken = 0;
    expect(shape.threads <= SDT_LANES && shape.threads % 32 == 0 && shape.lanes <= SDT_LANES &&
               shape.threads % shape.lanes == 0 &&
               (shape.lanes <= 32 ? (shape.lanes & (shape.lanes - 1)) == 0
                                  : (unsigned)shape.lanes == shape.threads),
           "rows: lanes that a sum over a warp or block does not cover");
    expect((size_t)shape.blocks * (shape.threads / shape.lanes) >= rows, "rows: too few blocks");
    for (int lane = 0; lane < shape.lanes; lane++) {
        struct body_row row = {SDT_F32, shape.pack, shape.kept, lane, shape.lanes,
                               d,       NULL,       0,          NULL};
        for (int step = 0; step < body_row_steps(&row); step++)
            taken += body_row_element(&row, step) < d ? shape.pack : 0;
    }
    expect(taken == d, "rows: not every element has one lane");
}

/* ---- the clip that cuDNN reads --------------------------------------------------------------- */

static int in_frame(int i, int n) { return i < 0 ? 0 : i < n ? i : n - 1; }

/* missing: frames, from the oldest on, that are zeros */
static void check_clip(struct sdt_conv conv, int missing, enum sdt_dtype dtype) {
    const void *at[3] = {NULL};
    struct stored frame[3];
    float *x[3] = {NULL};
    size_t n = (size_t)conv.height * conv.width * conv.in;
    int scale = conv.upsample ? 2 : 1, border = conv.replicate && conv.ks > 1 ? 1 : 0;
    int rows = scale * conv.height + 2 * border, cols = scale * conv.width + 2 * border;
    int pack = body_pack(dtype, dtype, conv.in % SDT_PACK == 0);
    for (int t = missing; t < conv.kt; t++) {
        frame[t] = random_array(dtype, n, false, 1.f, &x[t]);
        at[t] = frame[t].at;
    }
    struct body_clip a = body_clip_of(&conv, at);
    size_t all = (size_t)conv.kt * rows * cols * conv.in;
    float *want = blank(all);
    struct stored y = blank_array(dtype, all, false);
    for (int t = 0; t < conv.kt; t++)
        for (int r = 0; r < rows; r++)
            FLAT(3, pack, (size_t)cols * conv.in, i) {
                body_clip_pack(&a, dtype, pack, t, r, (int)i, y.at);
            }
    for (size_t i = 0, t = 0; t < (size_t)conv.kt; t++)
        for (int r = 0; r < rows; r++)
            for (int c = 0; c < cols; c++)
                for (int channel = 0; channel < conv.in; channel++, i++) {
                    int line = in_frame(r - border, rows - 2 * border) / scale;
                    int from = in_frame(c - border, cols - 2 * border) / scale;
                    want[i] = x[t] ? x[t][(line * conv.width + from) * conv.in + channel] : 0.f;
                }
    CHECK_ARRAY(&y, want, 0., "clip of %d frames %d x %d x %d, %d missing", conv.kt, rows, cols,
                conv.in, missing);
    for (int t = missing; t < conv.kt; t++) {
        free(x[t]);
        free(frame[t].base);
    }
    free(want);
    free(y.base);
}

/* ---- all of them ----------------------------------------------------------------------------- */

static void check_parts(void) {
    static const int ns[] = {1, 8, 12, 31, 64};
    static const int ds[] = {1, 4, 7, 8, 31, 48, 96, 136, 1536, 1541, 2100, 5120, 9000};
    static const size_t rows[] = {1, 3, 7, 70};
    check_bf16();
    for (size_t i = 0; i < COUNT(ns); i++)
        for (int mode = 0; mode < 8; mode++)
            for (unsigned given = 0; given < 8; given++)
                check_residual(3, ns[i], dtypes[mode & 1], dtypes[mode >> 1 & 1], given, mode & 4);
    check_merge_without_keys();
    for (size_t i = 0; i < COUNT(ds); i++)
        for (size_t r = 0; r < COUNT(rows); r++)
            for (int mode = 0; mode < 4; mode++)
                check_shape(rows[r], ds[i], body_pack(dtypes[mode & 1], dtypes[mode & 1], true),
                            !(mode & 2));
    for (size_t t = 0; t < COUNT(dtypes); t++) {
        for (int missing = 0; missing < 3; missing++) {
            check_clip((struct sdt_conv){16, 8, 3, 3, 5, 7, 0, missing == 0}, missing, dtypes[t]);
            check_clip((struct sdt_conv){6, 8, 3, 3, 3, 2, 1, missing == 1}, missing, dtypes[t]);
        }
        check_clip((struct sdt_conv){8, 8, 1, 3, 4, 3, 1, 0}, 0, dtypes[t]);
        check_clip((struct sdt_conv){8, 8, 1, 3, 4, 3, 1, 1}, 0, dtypes[t]);
        check_clip((struct sdt_conv){8, 8, 3, 1, 4, 3, 0, 1}, 0, dtypes[t]);
    }
    check_conv_parts();
    check_block_parts();
}

int main(int argc, char **argv) {
#ifdef __SANITIZE_THREAD__
    fprintf(stderr, "skipped: the thread sanitizer does not know coroutines\n");
    return 77;
#endif
    check_parts();
    check_failures += launch_faults;
    launch_faults = 0;
    operations_run(argc, argv);
    return check_end("CUDA bodies");
}

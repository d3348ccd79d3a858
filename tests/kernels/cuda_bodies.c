/* The bodies of the CUDA kernels on the host: looped over as the launches do, lanes one after the
 * other, for both types, aligned or not, against the references. Loops stand for blocks and
 * threads; what one thread may not see of another before a sum is written only after it here as
 * well.
 *
 * Tolerances are check.h's for float32. A bf16 result may be half a unit of its last place away
 * from the float32 one, 2^-8 of the value; what is only moved must have the bits of the rounded
 * number. */
#include "kernels/cuda/bodies.h"
#include "kernels/reference.h"
#include "tests/kernels/check.h"
#include "tests/kernels/sampler.h"

static const enum sdt_dtype dtypes[] = {SDT_F32, SDT_BF16};

static double within(double tolerance, enum sdt_dtype dtype) {
    return dtype == SDT_BF16 ? tolerance + 0x1.01p-8 : tolerance;
}

/* ---- arrays as a device holds them ----------------------------------------------------------- */

struct array {
    enum sdt_dtype dtype;
    size_t n;
    char *base; /* what is freed; exact in size */
    void *at;   /* base, or an element behind it: not aligned */
};

/* NULL: filled with NaN, which no kernel may leave or read. */
static struct array make(enum sdt_dtype dtype, size_t n, bool shifted, const float *x) {
    struct array a = {dtype, n, NULL, NULL};
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

static struct array blank_array(enum sdt_dtype dtype, size_t n, bool shifted) {
    return make(dtype, n, shifted, NULL);
}

static float *floats(const struct array *a) {
    float *x = blank(a->n);
    if (a->n > 0)
        sdt_convert(a->dtype, a->n, a->at, x);
    return x;
}

/* Random numbers as the array holds them: *x, for the reference. */
static struct array random_array(enum sdt_dtype dtype, size_t n, bool shifted, float scale,
                                 float **x) {
    float *exact = numbers(n, scale);
    struct array a = make(dtype, n, shifted, exact);
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
    struct array a = make(dtype, n, false, x);
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

/* ---- element by element ---------------------------------------------------------------------- */

/* `threads` in all, whatever blocks they come in. */
#define FLAT(threads, pack, n, i)                                                                  \
    for (size_t t_ = 0; t_ < (threads); t_++)                                                      \
        for (size_t i = t_ * (pack); i < (n); i += (threads) * (pack))

static void check_convert(size_t n, enum sdt_dtype from, enum sdt_dtype to, bool shifted) {
    float *x;
    struct array a = random_array(from, n, shifted, 3.f, &x), y = blank_array(to, n, shifted);
    int pack = body_pack(from, to, !shifted);
    FLAT(3, pack, n, i) { body_convert_pack(from, to, pack, i, n, a.at, y.at); }
    CHECK_ARRAY(&y, x, 0., "convert %zu, %d to %d", n, from, to);
    free(x);
    free(a.base);
    free(y.base);
}

static void check_activations(size_t n, enum sdt_dtype dtype, bool shifted, float range) {
    float *x, *b, *want = blank(n);
    struct array ax = random_array(dtype, n, shifted, range, &x);
    struct array ab = random_array(dtype, n, shifted, 1.f, &b), y = blank_array(dtype, n, shifted);
    int pack = body_pack(dtype, dtype, !shifted);
    sdt_gated_gelu_reference(n, x, b, want);
    FLAT(2, pack, n, i) { body_gated_gelu_pack(dtype, pack, i, n, ax.at, ab.at, y.at); }
    CHECK_ARRAY(&y, want, 5e-7, "gated gelu of %zu up to %g", n, range);
    FLAT(5, pack, n, i) { body_gated_gelu_pack(dtype, pack, i, n, ax.at, ab.at, ab.at); }
    CHECK_ARRAY(&ab, want, 5e-7, "gated gelu of %zu into b", n);
    sdt_silu_reference(n, x, want);
    FLAT(3, pack, n, i) { body_silu_pack(dtype, pack, i, n, ax.at, y.at); }
    CHECK_ARRAY(&y, want, 5e-7, "silu of %zu up to %g", n, range);
    FLAT(1, pack, n, i) { body_silu_pack(dtype, pack, i, n, ax.at, ax.at); }
    CHECK_ARRAY(&ax, want, 5e-7, "silu of %zu in place", n);
    free(x);
    free(b);
    free(want);
    free(ax.base);
    free(ab.base);
    free(y.base);
}

static void check_put_frame(size_t n, enum sdt_dtype dtype, bool shifted, int clamp) {
    float *x, *want;
    struct array a = random_array(dtype, n, shifted, 2.f, &x);
    struct array y = blank_array(SDT_F32, n, shifted);
    int pack = body_pack(dtype, dtype, !shifted);
    FLAT(4, pack, n, i) { body_put_frame_pack(dtype, pack, i, n, clamp, a.at, y.at); }
    want = copy_of(n, x);
    if (clamp)
        sdt_clamp_frames(n, want);
    CHECK_ARRAY(&y, want, 0., "frame of %zu, clamp %d", n, clamp);
    free(x);
    free(want);
    free(a.base);
    free(y.base);
}

static void check_sinusoid(float t, int dim, double tolerance) {
    float *got = blank(dim), *want = blank(dim);
    FLAT(3, 1, (size_t)dim / 2, i) { body_sinusoid(t, dim / 2, (int)i, got); }
    sdt_sinusoid_reference(t, dim, want);
    check_near(dim, got, want, tolerance, "sinusoid(%g, %d)", t, dim);
    free(got);
    free(want);
}

/* One number that is none, wherever it lies, and none. */
static void check_not_finite(size_t n, enum sdt_dtype dtype, bool shifted) {
    static const float values[] = {NAN, -NAN, INFINITY, -INFINITY, 3.3e38f};
    int pack = body_pack(dtype, dtype, !shifted);
    for (size_t v = 0; v < 5; v++)
        for (size_t place = 0; place < n; place += 1 + n / 7) {
            float *x;
            struct array a = random_array(dtype, n, shifted, 1.f, &x);
            sdt_convert_to(SDT_F32, 1, &values[v], dtype,
                           (char *)a.at + place * sdt_dtype_size(dtype));
            bool found = false;
            FLAT(3, pack, n, i) { found |= body_not_finite_pack(dtype, pack, i, n, a.at); }
            if (found != (v < 4)) {
                fprintf(stderr, "%g at %zu of %zu: found %d\n", (double)values[v], place, n, found);
                check_failures++;
            }
            free(x);
            free(a.base);
        }
}

/* Every term on and off; a term whose coefficient is 0 holds NaN. */
static void check_sampler(size_t n, unsigned terms, bool shifted, bool in_place) {
    struct sdt_sampler_step step = sampler_step(terms);
    int read[] = {1, step.correct && step.c_last != 0.f,
                  (step.correct && step.c_m0 != 0.f) || step.p_m0 != 0.f,
                  step.correct && step.c_m1 != 0.f};
    float *cond, *uncond, *want[4];
    struct array c = random_array(SDT_F32, n, shifted, 1.f, &cond);
    struct array u = random_array(SDT_F32, n, shifted, 1.f, &uncond), got[4];
    for (int i = 0; i < 4; i++) {
        if (read[i]) {
            got[i] = random_array(SDT_F32, n, shifted, 2.f, &want[i]);
        } else {
            got[i] = blank_array(SDT_F32, n, shifted);
            want[i] = blank(n);
        }
    }
    struct array next = in_place ? got[0] : blank_array(SDT_F32, n, shifted);
    const float *other = terms & 256 ? uncond : NULL;
    struct body_sampler a = {
        step, n, c.at, other ? u.at : NULL, got[0].at, next.at, got[1].at, got[2].at, got[3].at};
    int pack = body_pack(SDT_F32, SDT_F32, !shifted);
    FLAT(3, pack, n, i) { body_sampler_pack(&a, pack, i); }
    sdt_sampler_step_reference(&step, n, cond, other, want[0], want[1], want[2], want[3]);
    CHECK_ARRAY(&next, want[0], 1e-6, "sampler x, terms %x", terms);
    CHECK_ARRAY(&got[1], want[1], 1e-6, "sampler x_last, terms %x", terms);
    CHECK_ARRAY(&got[2], want[2], 1e-6, "sampler m0, terms %x", terms);
    check_bits(n, got[3].at, want[3], "sampler m1, terms %x", terms);
    if (!in_place)
        free(next.base);
    for (int i = 0; i < 4; i++) {
        free(got[i].base);
        free(want[i]);
    }
    free(cond);
    free(uncond);
    free(c.base);
    free(u.base);
}

/* ---- residual and merge ---------------------------------------------------------------------- */

static void check_residual(int rows, int n, enum sdt_dtype dtype, enum sdt_dtype t_dtype,
                           unsigned given, bool shifted) {
    size_t count = (size_t)rows * n;
    float *t, *bias, *gate_a, *gate_b, *y;
    struct array at = random_array(t_dtype, count, shifted, 2.f, &t);
    struct array ab = random_array(dtype, n, shifted, 1.f, &bias);
    struct array aa = random_array(SDT_F32, n, shifted, 1.f, &gate_a);
    struct array ac = random_array(SDT_F32, n, shifted, 1.f, &gate_b);
    struct array ay = random_array(dtype, count, shifted, 2.f, &y);
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

static void check_merge_of_attention(int heads, int rows, int e, enum sdt_dtype dtype,
                                     bool shifted) {
    int n = heads * rows;
    float *o, *o2, *lse = numbers(n, 8.f), *lse2 = numbers(n, 8.f), *got = copy_of(n, lse);
    struct array a = random_array(dtype, (size_t)n * e, shifted, 1.f, &o);
    struct array b = random_array(dtype, (size_t)n * e, shifted, 1.f, &o2);
    int pack = body_pack(dtype, dtype, true);
    pack = !shifted && e % pack == 0 ? pack : 1;
    for (int r = 0; r < n; r++) {
        float first, second;
        got[r] = body_merge_weights(got[r], lse2[r], &first, &second);
        for (int i = 0; i < e; i += pack)
            body_attention_merge(dtype, pack, first, second, b.at, a.at, (size_t)r * e + i);
    }
    sdt_attention_merge_reference(heads, rows, e, o2, lse2, o, lse);
    check_near(n, got, lse, 5e-6, "log-sum-exp of a merge, %d x %d x %d", heads, rows, e);
    CHECK_ARRAY(&a, o, 5e-6, "merge of attention, %d x %d x %d", heads, rows, e);
    free(o);
    free(o2);
    free(lse);
    free(lse2);
    free(got);
    free(a.base);
    free(b.base);
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

struct rows {
    enum sdt_dtype dtype;
    size_t rows;
    int d;
    const void *x;
    struct body_shape shape;
    bool centred; /* squares of x - mean, not of x */
    void (*end)(const struct rows *rows, const struct body_row *row, size_t r, float mean,
                float squares);
    enum sdt_dtype y_dtype;
    const void *args;
};

/* Block after block; within one, what stands between two sums for all threads at once. */
static void drive_rows(const struct rows *a) {
    unsigned lanes = a->shape.lanes, threads = a->shape.threads, at_once = threads / lanes;
    struct body_row *row = calloc(threads, sizeof *row);
    float *keep = blank((size_t)threads * SDT_KEEP * SDT_PACK);
    float *mean = numbers(at_once, 0.f), *squares = numbers(at_once, 0.f);
    if (!row)
        abort();
    for (size_t block = 0; block < a->shape.blocks; block++) {
        for (unsigned t = 0; t < threads; t++) {
            size_t r = block * at_once + t / lanes;
            body_row_begin(row + t, a->dtype, a->shape.pack, a->shape.kept, (int)(t % lanes), lanes,
                           r < a->rows ? a->d : 0, a->x, r < a->rows ? r * a->d : 0,
                           keep + (size_t)t * SDT_KEEP * SDT_PACK);
        }
        for (unsigned i = 0; i < at_once; i++) {
            mean[i] = squares[i] = 0.f;
            for (unsigned l = 0; a->centred && l < lanes; l++)
                mean[i] += body_row_sum(row + i * lanes + l);
            mean[i] /= (float)a->d;
            for (unsigned l = 0; l < lanes; l++)
                squares[i] += body_row_squares(row + i * lanes + l, mean[i]);
        }
        for (unsigned t = 0; t < threads; t++)
            a->end(a, row + t, block * at_once + t / lanes, mean[t / lanes], squares[t / lanes]);
    }
    free(row);
    free(keep);
    free(mean);
    free(squares);
}

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

static void layer_norm_end(const struct rows *a, const struct body_row *row, size_t r, float mean,
                           float squares) {
    const struct body_layer_norm *args = a->args;
    (void)r;
    body_layer_norm_end(args, row, mean, body_inverse(squares, a->d, args->eps));
}

static void check_layer_norm(size_t rows, int d, enum sdt_dtype dtype, bool shifted,
                             unsigned given) {
    size_t n = rows * d;
    float *x, *vector[6], *want = blank(n), *exact = numbers(n, 2.f);
    struct array v[6];
    for (size_t i = 0; i < n && d > 30; i++)
        exact[i] += 3.f;
    struct array ax = make(dtype, n, shifted, exact), y = blank_array(dtype, n, shifted);
    x = floats(&ax);
    for (int i = 0; i < 6; i++)
        v[i] = random_array(SDT_F32, d, shifted, 1.f, &vector[i]);
#define GIVEN(i, from) (given >> ((i) == 0 ? 1 : (i)) & 1 ? (from) : NULL)
    struct body_layer_norm args = {(int)rows,
                                   d,
                                   ax.at,
                                   1e-6f,
                                   GIVEN(0, v[0].at),
                                   GIVEN(1, v[1].at),
                                   GIVEN(2, v[2].at),
                                   GIVEN(3, v[3].at),
                                   GIVEN(4, v[4].at),
                                   GIVEN(5, v[5].at),
                                   y.at};
    sdt_layer_norm_reference((int)rows, d, x, 1e-6f, GIVEN(0, vector[0]), GIVEN(1, vector[1]),
                             GIVEN(2, vector[2]), GIVEN(3, vector[3]), GIVEN(4, vector[4]),
                             GIVEN(5, vector[5]), want);
    int pack = body_pack(dtype, dtype, true);
    struct rows work = {dtype,
                        rows,
                        d,
                        ax.at,
                        body_shape_rows(rows, d, pack, !shifted && d % pack == 0),
                        true,
                        layer_norm_end,
                        dtype,
                        &args};
    drive_rows(&work);
    CHECK_ARRAY(&y, want, 2e-6, "layer norm %zu x %d, vectors %x", rows, d, given);
    args.y = ax.at;
    drive_rows(&work);
    CHECK_ARRAY(&ax, want, 2e-6, "layer norm %zu x %d in place", rows, d);
    for (int i = 0; i < 6; i++) {
        free(vector[i]);
        free(v[i].base);
    }
    free(x);
    free(exact);
    free(want);
    free(ax.base);
    free(y.base);
}

static void rms_norm_end(const struct rows *a, const struct body_row *row, size_t r, float mean,
                         float squares) {
    const struct body_rms_norm *args = a->args;
    (void)r, (void)mean;
    body_rms_norm_end(args, row, a->y_dtype, body_inverse(squares, a->d, args->eps));
}

static void check_rms_norm(size_t rows, int d, enum sdt_dtype dtype, enum sdt_dtype y_dtype,
                           bool shifted) {
    size_t n = rows * d;
    float *x, *weight, *want = blank(n);
    struct array ax = random_array(dtype, n, shifted, 2.f, &x);
    struct array w = random_array(SDT_F32, d, shifted, 1.f, &weight);
    struct array y = blank_array(y_dtype, n, shifted);
    struct body_rms_norm args = {(int)rows, d, ax.at, 1e-6f, w.at, y.at};
    int pack = body_pack(dtype, y_dtype, true);
    struct rows work = {dtype,
                        rows,
                        d,
                        ax.at,
                        body_shape_rows(rows, d, pack, !shifted && d % pack == 0),
                        false,
                        rms_norm_end,
                        y_dtype,
                        &args};
    drive_rows(&work);
    sdt_rms_norm_reference((int)rows, d, x, 1e-6f, weight, want);
    CHECK_ARRAY(&y, want, 2e-6, "RMS norm %zu x %d, %d to %d", rows, d, dtype, y_dtype);
    if (dtype == y_dtype) {
        args.y = ax.at;
        drive_rows(&work);
        CHECK_ARRAY(&ax, want, 2e-6, "RMS norm %zu x %d in place", rows, d);
    }
    free(x);
    free(weight);
    free(want);
    free(ax.base);
    free(w.base);
    free(y.base);
}

static void channel_norm_end(const struct rows *a, const struct body_row *row, size_t r, float mean,
                             float squares) {
    const struct body_channel_norm *args = a->args;
    (void)r, (void)mean;
    body_channel_norm_end(args, row, body_channel_factor(squares, a->d));
}

static void check_channel_norm(size_t pixels, int channels, enum sdt_dtype dtype, bool shifted,
                               int silu) {
    size_t n = pixels * channels;
    float *x, *gamma, *want = blank(n), *exact = numbers(n, 2.f);
    memset(exact, 0, channels * sizeof *exact); /* a pixel of length 0 */
    struct array ax = make(dtype, n, shifted, exact), y = blank_array(dtype, n, shifted);
    struct array g = random_array(SDT_F32, channels, shifted, 1.f, &gamma);
    struct body_channel_norm args = {pixels, channels, ax.at, g.at, silu, y.at};
    int pack = body_pack(dtype, dtype, true);
    struct rows work = {dtype,
                        pixels,
                        channels,
                        ax.at,
                        body_shape_rows(pixels, channels, pack, !shifted && channels % pack == 0),
                        false,
                        channel_norm_end,
                        dtype,
                        &args};
    x = floats(&ax);
    drive_rows(&work);
    sdt_channel_norm_reference(pixels, channels, x, gamma, silu, want);
    CHECK_ARRAY(&y, want, 2e-6, "channel norm %zu x %d, silu %d", pixels, channels, silu);
    args.y = ax.at;
    drive_rows(&work);
    CHECK_ARRAY(&ax, want, 2e-6, "channel norm %zu x %d in place", pixels, channels);
    free(x);
    free(exact);
    free(gamma);
    free(want);
    free(ax.base);
    free(y.base);
    free(g.base);
}

/* ---- heads ----------------------------------------------------------------------------------- */

enum { MOST_PIECES = 2 * SDT_CUDA_PIECES + 10 };

/* A cut of the heads into pieces, and the arrays of the pieces. */
struct pieces {
    int count, head[MOST_PIECES + 1];
    struct array array[MOST_PIECES];
};

/* Takes the heads in turn; with more pieces than heads some are empty. */
static void cut(struct pieces *p, int count, int heads, int rows, int e, enum sdt_dtype dtype,
                bool shifted) {
    p->count = count;
    for (int i = 0; i <= count; i++)
        p->head[i] = (int)((int64_t)heads * i / count);
    for (int i = 0; i < count; i++) {
        size_t n = (size_t)(p->head[i + 1] - p->head[i]) * rows * e;
        p->array[i] = (struct array){dtype, n, NULL, NULL};
        if (n > 0)
            p->array[i] = blank_array(dtype, n, shifted);
    }
}

static int batch(const struct pieces *p, int first) {
    return p->count - first < SDT_CUDA_PIECES ? p->count - first : SDT_CUDA_PIECES;
}

static void split_end(const struct rows *a, const struct body_row *row, size_t r, float mean,
                      float squares) {
    const struct body_split *args = a->args;
    (void)mean;
    body_split_end(args, row, (int)r, body_inverse(squares, a->d, args->eps));
}

static void check_heads(int rows, int valid, int heads, int e, enum sdt_dtype dtype, bool shifted,
                        bool normed, bool turned, int count) {
    struct sdt_rope rope = {{3, 5, 7}, {e / 2 - 2 * (e / 6), e / 6, e / 6}};
    int64_t first = 105 - valid > 0 ? 105 - valid : 0; /* the last tile of 105 tokens */
    int d = heads * e, pack = body_pack(dtype, dtype, true);
    size_t n = (size_t)rows * d;
    float *x, *weight, *want = blank(n), *table = blank(sdt_rope_table_size(&rope));
    struct array ax = random_array(dtype, n, shifted, 2.f, &x);
    struct array w = random_array(SDT_F32, d, shifted, 1.f, &weight);
    struct array merged = blank_array(dtype, n, shifted);
    struct pieces *p = calloc(1, sizeof *p);
    struct body_split *split = calloc(1, sizeof *split);
    struct body_merge *merge = calloc(1, sizeof *merge);
    if (!p || !split || !merge)
        abort();
    sdt_rope_table(&rope, 10000., table);
    cut(p, count, heads, rows, e, dtype, shifted);
    bool wide = !shifted && e % pack == 0;
    *split = (struct body_split){
        rows,  valid, heads, e,  ax.at, normed ? w.at : NULL, 1e-6f, rope, turned ? table : NULL,
        first, 0,     {0},   {0}};
    for (int from = 0; from < count; from += SDT_CUDA_PIECES) {
        split->pieces = batch(p, from);
        memcpy(split->head, p->head + from, (split->pieces + 1) * sizeof(int));
        for (int i = 0; i < split->pieces; i++)
            split->y[i] = p->array[from + i].at;
        struct rows work = {dtype, rows,      d,     ax.at, body_shape_rows(rows, d, pack, wide),
                            false, split_end, dtype, split};
        drive_rows(&work);
    }
    int whole[] = {0, heads};
    sdt_split_heads_reference(rows, valid, heads, e, x, normed ? weight : NULL, 1e-6f, &rope,
                              turned ? table : NULL, first, 1, whole, &want);
    double tolerance = normed || turned ? 2e-6 : 0.;
    for (int i = 0; i < count; i++)
        if (p->array[i].at)
            CHECK_ARRAY(&p->array[i], want + (size_t)p->head[i] * rows * e, tolerance,
                        "split %d of %d rows, %d x %d, norm %d, rope %d, piece %d of %d", valid,
                        rows, heads, e, normed, turned, i, count);

    *merge = (struct body_merge){rows, heads, e, 0, {0}, {0}, merged.at};
    for (int from = 0; from < count; from += SDT_CUDA_PIECES) {
        merge->pieces = batch(p, from);
        memcpy(merge->head, p->head + from, (merge->pieces + 1) * sizeof(int));
        for (int i = 0; i < merge->pieces; i++)
            merge->x[i] = p->array[from + i].at;
        int begin = merge->head[0] * e, end = merge->head[merge->pieces] * e;
        for (int r = 0; r < rows; r++)
            for (int i = begin; i < end; i += wide ? pack : 1)
                body_merge_pack(merge, dtype, wide ? pack : 1, r, i);
    }
    float *got = floats(&merged), *expected = blank(n);
    const float **piece = calloc(count, sizeof *piece);
    if (!piece)
        abort();
    for (int i = 0; i < count; i++)
        piece[i] = floats(&p->array[i]);
    sdt_merge_heads_reference(rows, heads, e, count, p->head, piece, expected);
    check_bits(n, got, expected, "merge of %d pieces, %d x %d", count, heads, e);
    for (int i = 0; i < count; i++) {
        free((void *)piece[i]);
        free(p->array[i].base);
    }
    free(piece);
    free(got);
    free(expected);
    free(x);
    free(weight);
    free(want);
    free(table);
    free(ax.base);
    free(w.base);
    free(merged.base);
    free(p);
    free(split);
    free(merge);
}

static void check_gather(int tiles, int heads, struct sdt_gather to, enum sdt_dtype dtype,
                         bool shifted) {
    size_t block = to.block, one = heads * block, all = heads * to.stride;
    struct array *x = calloc(tiles, sizeof *x);
    float **number = calloc(tiles, sizeof *number), *want = blank(all);
    struct array y = blank_array(dtype, all, shifted);
    int pack = body_pack(dtype, dtype, true);
    pack = !shifted && body_gather_whole(&to, pack) ? pack : 1;
    if (!x || !number)
        abort();
    for (int t = 0; t < tiles; t++)
        x[t] = random_array(dtype, one, shifted, 1.f, &number[t]);
    for (int first = 0; first < tiles; first += SDT_CUDA_PIECES) {
        struct body_gather a = {first, 0, heads, to, {0}, y.at};
        a.count = tiles - first < SDT_CUDA_PIECES ? tiles - first : SDT_CUDA_PIECES;
        for (int t = 0; t < a.count; t++)
            a.x[t] = x[first + t].at;
        for (int t = 0; t < a.count; t++)
            for (int h = 0; h < heads; h++)
                FLAT(3, pack, block, i) { body_gather_pack(&a, dtype, pack, t, h, i); }
    }
    for (int h = 0; h < heads; h++)
        for (int t = 0; t < tiles; t++)
            memcpy(want + h * to.stride + sdt_gather_at(&to, t), number[t] + h * block,
                   sdt_gather_count(&to, t) * sizeof *want);
    CHECK_ARRAY(&y, want, 0., "gather %d x %d x %zu to %zu, %zu less from %d on", tiles, heads, block,
                to.stride, to.skip, to.split);
    for (int t = 0; t < tiles; t++) {
        free(x[t].base);
        free(number[t]);
    }
    free(x);
    free(number);
    free(want);
    free(y.base);
}

/* ---- latents and video ----------------------------------------------------------------------- */

static void check_patches(struct sdt_patch patch, int rows, enum sdt_dtype dtype) {
    size_t n = (size_t)patch.channels * patch.frames * patch.height * patch.width;
    float *latent = numbers(n, 1.f), *back = blank(n);
    struct body_patch a = body_patch_of(&patch, 0, rows);
    size_t tile = (size_t)rows * a.width;
    float *want = blank(tile), *values = NULL;
    for (int64_t first = 0; first < a.tokens; first += rows) {
        struct array y = blank_array(dtype, tile, false);
        a = body_patch_of(&patch, first, rows);
        for (int r = 0; r < rows; r++)
            for (int i = 0; i < a.width; i++)
                body_patchify(&a, dtype, r, i, latent, y.at);
        sdt_patchify(&patch, first, rows, latent, want);
        CHECK_ARRAY(&y, want, 0., "patchify from token %d", (int)first);
        values = floats(&y);
        for (int r = 0; r < rows; r++)
            for (int i = 0; i < a.width; i++)
                body_unpatchify(&a, r, i, values, back);
        free(values);
        free(y.base);
    }
    float *expected = rounded(dtype, n, latent);
    check_bits(n, back, expected, "unpatchify by %d rows", rows);
    free(expected);
    free(latent);
    free(back);
    free(want);
}

static void check_patch_order(int rows, int channels, int patch, enum sdt_dtype dtype) {
    size_t n = (size_t)rows * channels * patch;
    float *x, *got = blank(n), *want = blank(n);
    struct array a = random_array(dtype, n, false, 1.f, &x);
    for (int r = 0; r < rows; r++)
        for (int i = 0; i < channels * patch; i++)
            body_patch_order(dtype, channels, patch, r, i, a.at, got);
    sdt_patch_order(rows, channels, patch, x, want);
    check_bits(n, got, want, "patch order %d x %d x %d", rows, channels, patch);
    free(x);
    free(got);
    free(want);
    free(a.base);
}

static void check_pad_row(size_t rows, size_t d, enum sdt_dtype dtype, bool shifted) {
    size_t n = rows * d;
    float *x, *want = calloc(n + d, sizeof *want);
    struct array a = random_array(SDT_F32, n, shifted, 1.f, &x);
    struct array y = blank_array(dtype, n + d, shifted);
    int pack = body_pack(dtype, dtype, !shifted);
    if (!want)
        abort();
    FLAT(3, pack, n + d, i) { body_pad_row_pack(dtype, pack, i, rows, d, a.at, y.at); }
    memcpy(want, x, n * sizeof *x);
    CHECK_ARRAY(&y, want, 0., "pad row %zu x %zu", rows, d);
    free(x);
    free(want);
    free(a.base);
    free(y.base);
}

/* missing: frames, from the oldest on, that are zeros */
static void check_clip(struct sdt_conv conv, int missing, enum sdt_dtype dtype) {
    const void *at[3] = {NULL};
    struct array frame[3];
    float *x[3] = {NULL};
    size_t n = (size_t)conv.height * conv.width * conv.in;
    int scale = conv.upsample ? 2 : 1, rows = scale * conv.height, cols = scale * conv.width;
    int pack = body_pack(dtype, dtype, conv.in % SDT_PACK == 0);
    for (int t = missing; t < conv.kt; t++) {
        frame[t] = random_array(dtype, n, false, 1.f, &x[t]);
        at[t] = frame[t].at;
    }
    struct body_clip a = body_clip_of(&conv, at);
    size_t all = (size_t)conv.kt * rows * cols * conv.in;
    float *want = blank(all);
    struct array y = blank_array(dtype, all, false);
    FLAT(3, pack, body_clip_elements(&a), i) { body_clip_pack(&a, dtype, pack, i, y.at); }
    for (size_t i = 0, t = 0; t < (size_t)conv.kt; t++)
        for (int r = 0; r < rows; r++)
            for (int c = 0; c < cols; c++)
                for (int channel = 0; channel < conv.in; channel++, i++)
                    want[i] =
                        x[t] ? x[t][(r / scale * conv.width + c / scale) * conv.in + channel] : 0.f;
    CHECK_ARRAY(&y, want, 0., "clip of %d frames %d x %d x %d, %d missing", conv.kt, rows, cols,
                conv.in, missing);
    for (int t = missing; t < conv.kt; t++) {
        free(x[t]);
        free(frame[t].base);
    }
    free(want);
    free(y.base);
}

static void check_window(struct sdt_window window, bool scaled, enum sdt_dtype dtype) {
    size_t n = (size_t)window.channels * window.frames * window.height * window.width;
    int lines = window.nframes * window.rows, width = window.cols * window.channels;
    float *latent = numbers(n, 1.f), *want = blank((size_t)lines * width);
    float *std = scaled ? numbers(window.channels, 2.f) : NULL;
    float *mean = scaled ? numbers(window.channels, 1.f) : NULL;
    struct array y = blank_array(dtype, (size_t)lines * width, false);
    struct body_window a;
    body_window_of(&a, &window, latent, std, mean, y.at);
    for (int r = 0; r < lines; r++)
        for (int i = 0; i < width; i++)
            body_latent_window(&a, dtype, r, i);
    sdt_latent_window_reference(&window, latent, std, mean, want);
    CHECK_ARRAY(&y, want, scaled ? 1e-6 : 0., "window of %d channels", window.channels);
    free(latent);
    free(want);
    free(std);
    free(mean);
    free(y.base);
}

static void check_blends(int frames, int a_size, int b_size, int other, int extent) {
    size_t na = (size_t)frames * a_size * other * 3, nb = (size_t)frames * b_size * other * 3;
    float *a = numbers(na, 1.f), *got = numbers(nb, 1.f), *want = copy_of(nb, got);
    for (int r = 0; r < frames * extent; r++)
        for (int i = 0; i < other * 3; i++)
            body_blend_rows(other, extent, a_size, a, b_size, got, r, i);
    sdt_blend_rows_reference(frames, other, extent, a_size, a, b_size, want);
    check_near(nb, got, want, 1e-6, "blend %d rows of %d and %d", extent, a_size, b_size);
    memcpy(want, got, nb * sizeof *got);
    for (int r = 0; r < frames * other; r++)
        for (int i = 0; i < extent * 3; i++)
            body_blend_columns(extent, a_size, a, b_size, got, r, i);
    sdt_blend_columns_reference(frames, other, extent, a_size, a, b_size, want);
    check_near(nb, got, want, 1e-6, "blend %d columns of %d and %d", extent, a_size, b_size);
    free(a);
    free(got);
    free(want);
}

static void check_place(int frames, int tile_rows, int tile_cols, int rows, int cols, int y0,
                        int x0, int height, int width) {
    size_t n = (size_t)frames * height * width * 3;
    float *tile = numbers((size_t)frames * tile_rows * tile_cols * 3, 2.f);
    float *got = numbers(n, 1.f), *want = copy_of(n, got);
    struct body_tile a = {tile_rows, tile_cols, rows, cols, y0, x0, height, width, tile, got};
    for (int r = 0; r < frames * rows; r++)
        for (int i = 0; i < cols * 3; i++)
            body_place_tile(&a, r, i);
    for (int f = 0; f < frames; f++)
        for (int y = 0; y < rows; y++)
            for (int x = 0; x < cols * 3; x++) {
                float v = tile[((size_t)f * tile_rows + y) * tile_cols * 3 + x];
                want[(((size_t)f * height + y0 + y) * width + x0) * 3 + x] =
                    fminf(fmaxf(v, -1.f), 1.f);
            }
    check_bits(n, got, want, "tile at %d, %d of %d x %d", y0, x0, height, width);
    free(tile);
    free(got);
    free(want);
}

/* ---- all of them ----------------------------------------------------------------------------- */

static void check_flat(void) {
    static const size_t sizes[] = {0, 1, 3, 7, 8, 9, 31, 64, 1000};
    for (size_t s = 0; s < COUNT(sizes); s++)
        for (int shifted = 0; shifted < 2; shifted++)
            for (size_t t = 0; t < COUNT(dtypes); t++) {
                for (size_t u = 0; u < COUNT(dtypes); u++)
                    check_convert(sizes[s], dtypes[t], dtypes[u], shifted);
                check_activations(sizes[s], dtypes[t], shifted, 1.f);
                check_activations(sizes[s], dtypes[t], shifted, 200.f);
                check_put_frame(sizes[s], dtypes[t], shifted, 0);
                check_put_frame(sizes[s], dtypes[t], shifted, 1);
            }
    check_sinusoid(0.f, 2, 1e-7);
    check_sinusoid(0.7f, 32, 2e-6);
    check_sinusoid(1000.f, 256, 1e-4);
    for (size_t n = 1; n <= 41; n++)
        check_not_finite(n, n & 1 ? SDT_BF16 : SDT_F32, n & 2);
    for (unsigned terms = 0; terms < 512; terms++)
        check_sampler(1 + terms % 20 + (terms & 1 ? 100 : 0), terms, terms & 2, terms & 4);
}

static void check_ends(void) {
    static const int ns[] = {1, 8, 12, 31, 64};
    for (size_t i = 0; i < COUNT(ns); i++)
        for (int mode = 0; mode < 8; mode++) {
            enum sdt_dtype dtype = dtypes[mode & 1], other = dtypes[mode >> 1 & 1];
            for (unsigned given = 0; given < 8; given++)
                check_residual(3, ns[i], dtype, other, given, mode & 4);
            check_merge_of_attention(2, 3, ns[i], dtype, mode & 4);
        }
    check_merge_without_keys();
}

static void check_rows(void) {
    static const int ds[] = {1, 4, 7, 8, 31, 48, 96, 136, 1536, 1541, 2100, 5120, 9000};
    static const size_t rows[] = {1, 3, 7, 70};
    for (size_t i = 0; i < COUNT(ds); i++)
        for (size_t r = 0; r < COUNT(rows); r++)
            for (int mode = 0; mode < 4; mode++) {
                enum sdt_dtype dtype = dtypes[mode & 1];
                bool shifted = mode & 2;
                if (rows[r] == 70 && ds[i] > 136)
                    continue;
                check_shape(rows[r], ds[i], body_pack(dtype, dtype, true), !shifted);
                for (unsigned given = 0; given < 64; given += rows[r] == 3 && ds[i] < 100 ? 1 : 31)
                    check_layer_norm(rows[r], ds[i], dtype, shifted, ds[i] > 1 ? given : 0);
                check_rms_norm(rows[r], ds[i], dtype, SDT_F32, shifted);
                check_rms_norm(rows[r], ds[i], dtype, SDT_BF16, shifted);
                check_channel_norm(rows[r], ds[i], dtype, shifted, (int)r % 2);
            }
}

static void check_all_heads(void) {
    static const int es[] = {4, 8, 12, 16, 96, 128}, rows[] = {1, 7};
    for (size_t i = 0; i < COUNT(es); i++)
        for (int mode = 0; mode < 32; mode++)
            for (int heads = 1; heads <= 5; heads += 2)
                for (size_t r = 0; r < COUNT(rows); r++) {
                    int valid = mode & 16 ? rows[r] / 2 : rows[r];
                    for (int count = 1; count <= 7; count += 3)
                        check_heads(rows[r], valid, heads, es[i], dtypes[mode & 1], mode & 2,
                                    mode & 4, mode & 8, count);
                }
    check_heads(3, 3, 2, 5, SDT_F32, false, true, false, 2);
    check_heads(3, 2, 2, 5, SDT_BF16, false, false, false, 2);
    for (int mode = 0; mode < 2;
         mode++) { /* more pieces than one launch takes, some of them empty */
        check_heads(2, 2, 70, 8, dtypes[mode], false, true, true, 70);
        check_heads(2, 2, 3, 16, dtypes[mode], false, true, true, MOST_PIECES);
        check_heads(2, 1, 200, 8, dtypes[mode], true, true, true, MOST_PIECES);
        for (int shifted = 0; shifted < 2; shifted++) {
            check_gather(1, 1, (struct sdt_gather){1, 1, 0, 0}, dtypes[mode], shifted);
            check_gather(5, 3, (struct sdt_gather){40, 200, 0, 0}, dtypes[mode], shifted);
            check_gather(5, 3, (struct sdt_gather){40, 160, 3, 24}, dtypes[mode], shifted);
            check_gather(3, 2, (struct sdt_gather){37, 111, 0, 0}, dtypes[mode], shifted);
            check_gather(3, 2, (struct sdt_gather){37, 74, 1, 30}, dtypes[mode], shifted);
            check_gather(MOST_PIECES, 2, (struct sdt_gather){16, 16 * MOST_PIECES, 0, 0}, dtypes[mode],
                         shifted);
        }
    }
}

static void check_moves(void) {
    for (size_t t = 0; t < COUNT(dtypes); t++) {
        for (int rows = 1; rows <= 16; rows += 5) {
            check_patches((struct sdt_patch){4, 3, 10, 14, {1, 2, 2}}, rows, dtypes[t]);
            check_patches((struct sdt_patch){1, 1, 2, 2, {1, 2, 2}}, rows, dtypes[t]);
            check_patches((struct sdt_patch){3, 4, 6, 9, {2, 3, 1}}, rows, dtypes[t]);
        }
        check_patch_order(1, 1, 1, dtypes[t]);
        check_patch_order(5, 16, 4, dtypes[t]);
        check_pad_row(0, 5, dtypes[t], false);
        for (int shifted = 0; shifted < 2; shifted++) {
            check_pad_row(3, 7, dtypes[t], shifted);
            check_pad_row(4, 64, dtypes[t], shifted);
        }
        for (int missing = 0; missing < 3; missing++) {
            check_clip((struct sdt_conv){16, 8, 3, 3, 5, 7, 0}, missing, dtypes[t]);
            check_clip((struct sdt_conv){6, 8, 3, 3, 3, 2, 1}, missing, dtypes[t]);
        }
        check_clip((struct sdt_conv){8, 8, 1, 3, 4, 3, 1}, 0, dtypes[t]);
        for (int scaled = 0; scaled < 2; scaled++) {
            check_window((struct sdt_window){16, 5, 9, 11, 2, 3, 1, 4, 7, 6}, scaled, dtypes[t]);
            check_window((struct sdt_window){64, 1, 2, 3, 0, 1, 0, 0, 2, 3}, scaled, dtypes[t]);
        }
    }
    check_blends(1, 1, 1, 1, 1);
    check_blends(3, 7, 5, 4, 5);
    check_blends(2, 8, 8, 3, 0);
    check_place(2, 5, 7, 4, 6, 3, 2, 9, 11);
    check_place(1, 2, 2, 2, 2, 0, 0, 2, 2);
}

int main(void) {
    check_bf16();
    check_flat();
    check_ends();
    check_rows();
    check_all_heads();
    check_moves();
    return check_end("CUDA bodies");
}

/* Norms: odd widths, every mix of optional vectors, a pixel of length 0. */
#include "tests/kernels/operation.h"

static const int some_rows[] = {1, 3, 7, 70, 128, 130};
static const int widths[] = {1, 4, 7, 8, 31, 48, 96, 136, 1536, 1541, 2100, 5120, 9000};

/* What takes long on one thread, or is not of this backend. */
static bool skipped(int rows, int d) {
    if (backend.kind == GPU)
        return false;
    return backend.kind == BODIES ? rows > 70 || (rows == 70 && d > 136) : rows * d > 128 * 1541;
}

/* ---- layer_norm: rows, d, vectors ------------------------------------------------------------ */

static void layer_norm_grid(const struct operation *operation) {
    for (size_t r = 0; r < COUNT(some_rows); r++)
        for (size_t i = 0; i < COUNT(widths); i++) {
            int rows = some_rows[r], d = widths[i], step = backend.kind == GPU ? 21 : 31;
            if (rows == 3)
                step = backend.kind == BODIES && d >= 100 ? 31 : d >= 2000 ? 5 : 1;
            int most = d > 1 || backend.kind == GPU ? 64 : 1;
            for (int given = 0; given < most && !skipped(rows, d); given += step)
                TRY(rows, d, given);
        }
}
static void layer_norm_make(struct call *c) {
    size_t d = (size_t)c->size[1], n = (size_t)c->size[0] * d;
    struct array *x = in(c, n, 2.f);
    x->row = d;
    for (size_t i = 0; i < n && d > 30; i++)
        x->start[i] += 3.f;     /* a mean far from 0; few numbers could then be too much alike */
    for (int i = 0; i < 6; i++) /* 1 to 6: weight and bias together, scales, shifts */
        in_if(c, c->size[2] >> (i == 0 ? 1 : i) & 1, SDT_F32, d, 1.f);
    out(c, n)->row = d;
}
static void layer_norm_plain(struct call *c) {
    sdt_layer_norm_reference(c->size[0], c->size[1], at(c, 0), 1e-6f, at(c, 1), at(c, 2), at(c, 3),
                             at(c, 4), at(c, 5), at(c, 6), at(c, 7));
}
static void layer_norm_cpu(struct call *c) {
    sdt_layer_norm(c->size[0], c->size[1], at(c, 0), 1e-6f, at(c, 1), at(c, 2), at(c, 3), at(c, 4),
                   at(c, 5), at(c, 6), at(c, 7));
}
static void layer_norm_cuda(struct call *c) {
    done(c, sdt_cuda_layer_norm(cuda, c->dtype, c->size[0], c->size[1], at(c, 0), 1e-6f, at(c, 1),
                                at(c, 2), at(c, 3), at(c, 4), at(c, 5), at(c, 6), at(c, 7)));
}

/* ---- rms_norm: rows, d, whether the result is float32 whatever x is -------------------------- */

static void rms_norm_grid(const struct operation *operation) {
    for (size_t r = 0; r < COUNT(some_rows); r++)
        for (size_t d = 0; d < COUNT(widths); d++)
            for (int type = 0; type < (backend.kind == CPU ? 1 : 3); type++)
                if (!skipped(some_rows[r], widths[d]))
                    TRY(some_rows[r], widths[d], type);
}
static enum sdt_dtype rms_type(const struct call *c) {
    return c->size[2] == 0 ? c->dtype : c->size[2] == 1 ? SDT_F32 : SDT_BF16;
}
static void rms_norm_make(struct call *c) {
    size_t d = (size_t)c->size[1], n = (size_t)c->size[0] * d;
    in(c, n, 2.f)->row = d;
    in_type(c, SDT_F32, d, 1.f);
    out_type(c, rms_type(c), n)->row = d;
}
static void rms_norm_plain(struct call *c) {
    sdt_rms_norm_reference(c->size[0], c->size[1], at(c, 0), 1e-6f, at(c, 1), at(c, 2));
}
static void rms_norm_cpu(struct call *c) {
    sdt_rms_norm(c->size[0], c->size[1], at(c, 0), 1e-6f, at(c, 1), at(c, 2));
}
static void rms_norm_cuda(struct call *c) {
    done(c, sdt_cuda_rms_norm(cuda, c->dtype, c->size[0], c->size[1], at(c, 0), 1e-6f, at(c, 1),
                              rms_type(c), at(c, 2)));
}

/* ---- channel_norm: pixels, channels, silu ---------------------------------------------------- */

static void channel_norm_grid(const struct operation *operation) {
    for (size_t r = 0; r < COUNT(some_rows); r++)
        for (size_t d = 0; d < COUNT(widths); d++)
            for (int silu = 0; silu < 2; silu++)
                if (!skipped(some_rows[r], widths[d]))
                    TRY(some_rows[r], widths[d], silu);
    TRY(5, 1, 1);
    TRY(5, 96, 1);
    if (backend.kind == GPU) {
        TRY(1000, 96, 1);
        TRY(1000, 384, 0);
    }
}
static void channel_norm_make(struct call *c) {
    size_t d = (size_t)c->size[1], n = (size_t)c->size[0] * d;
    struct array *x = in(c, n, 2.f);
    x->row = d;
    memset(x->start, 0, d * sizeof *x->start); /* a pixel of length 0 */
    in_type(c, SDT_F32, d, 1.f);
    out(c, n)->row = d;
}
static void channel_norm_plain(struct call *c) {
    sdt_channel_norm_reference((size_t)c->size[0], c->size[1], at(c, 0), at(c, 1), c->size[2],
                               at(c, 2));
}
static void channel_norm_cpu(struct call *c) {
    sdt_channel_norm((size_t)c->size[0], c->size[1], at(c, 0), at(c, 1), c->size[2], at(c, 2));
}
static void channel_norm_cuda(struct call *c) {
    done(c, sdt_cuda_channel_norm(cuda, c->dtype, (size_t)c->size[0], c->size[1], at(c, 0),
                                  at(c, 1), c->size[2], at(c, 2)));
}

/* ---- channel_layer_norm: pixels, channels, silu ---------------------------------------------- */

static void channel_layer_norm_make(struct call *c) {
    size_t d = (size_t)c->size[1], n = (size_t)c->size[0] * d;
    struct array *x = in(c, n, 2.f);
    x->row = d;
    for (size_t i = 0; i < d; i++) /* a pixel without variance */
        x->start[i] = 1.f;
    in_type(c, SDT_F32, d, 1.f);
    in_type(c, SDT_F32, d, 1.f);
    out(c, n)->row = d;
}
static void channel_layer_norm_plain(struct call *c) {
    sdt_channel_layer_norm_reference((size_t)c->size[0], c->size[1], 1e-6f, at(c, 0), at(c, 1),
                                     at(c, 2), c->size[2], at(c, 3));
}
static void channel_layer_norm_cpu(struct call *c) {
    sdt_channel_layer_norm((size_t)c->size[0], c->size[1], 1e-6f, at(c, 0), at(c, 1), at(c, 2),
                           c->size[2], at(c, 3));
}
static void channel_layer_norm_cuda(struct call *c) {
    done(c, sdt_cuda_channel_layer_norm(cuda, c->dtype, (size_t)c->size[0], c->size[1], 1e-6f,
                                        at(c, 0), at(c, 1), at(c, 2), c->size[2], at(c, 3)));
}

const struct operation norm_operations[] = {
    {.name = "layer_norm",
     .grid = layer_norm_grid,
     .make = layer_norm_make,
     .plain = layer_norm_plain,
     .cpu = layer_norm_cpu,
     .cuda = layer_norm_cuda,
     .limits = {.f32 = 2e-6},
     .by_rows = true,
     .in_place = {{7, 0}},
     .pairs = 1},
    {.name = "rms_norm",
     .grid = rms_norm_grid,
     .make = rms_norm_make,
     .plain = rms_norm_plain,
     .cpu = rms_norm_cpu,
     .cuda = rms_norm_cuda,
     .limits = {.f32 = 2e-6},
     .by_rows = true,
     .in_place = {{2, 0}},
     .pairs = 1},
    {.name = "channel_norm",
     .grid = channel_norm_grid,
     .make = channel_norm_make,
     .plain = channel_norm_plain,
     .cpu = channel_norm_cpu,
     .cuda = channel_norm_cuda,
     .limits = {.f32 = 2e-6},
     .by_rows = true,
     .in_place = {{2, 0}},
     .pairs = 1},
    {.name = "channel_layer_norm",
     .grid = channel_norm_grid,
     .make = channel_layer_norm_make,
     .plain = channel_layer_norm_plain,
     .cpu = channel_layer_norm_cpu,
     .cuda = channel_layer_norm_cuda,
     .limits = {.f32 = 2e-6},
     .by_rows = true,
     .in_place = {{3, 0}},
     .pairs = 1},
    {0},
};

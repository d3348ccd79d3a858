/* Latents as tokens and as windows: every place recomputed from its definition, tiles that end
 * behind the last token, one latent frame. */
#include "tests/kernels/operation.h"

/* ---- patchify, unpatchify: C, frames, height, width, patch, rows, tile ----------------------- */

static void patches(const struct operation *operation, struct sdt_patch p, int rows) {
    int tokens = p.frames / p.size[0] * (p.height / p.size[1]) * (p.width / p.size[2]);
    for (int tile = 0; tile * rows < tokens; tile++)
        TRY(p.channels, p.frames, p.height, p.width, p.size[0], p.size[1], p.size[2], rows, tile);
}

static void patch_grid(const struct operation *operation) {
    for (int rows = 1; rows <= 16; rows += 5) {
        patches(operation, (struct sdt_patch){4, 3, 10, 14, {1, 2, 2}}, rows);
        patches(operation, (struct sdt_patch){1, 1, 2, 2, {1, 2, 2}}, rows);
        patches(operation, (struct sdt_patch){16, 1, 6, 4, {1, 1, 1}}, rows);
        patches(operation, (struct sdt_patch){3, 4, 6, 9, {2, 2, 3}}, rows);
        patches(operation, (struct sdt_patch){3, 4, 6, 9, {2, 3, 1}}, rows);
    }
    if (backend.kind == GPU)
        patches(operation, (struct sdt_patch){16, 3, 60, 104, {1, 2, 2}}, 1024);
}

static struct sdt_patch patch_of(const struct call *c) {
    const int *s = c->size;
    return (struct sdt_patch){s[0], s[1], s[2], s[3], {s[4], s[5], s[6]}};
}
static int width_of(const struct call *c) {
    const int *s = c->size;
    return s[0] * s[4] * s[5] * s[6];
}
static int first_of(const struct call *c) { return c->size[7] * c->size[8]; }

/* Where element i of row r stands in the latent; -1: behind the last token. */
static int64_t place_of(const struct call *c, int r, int i) {
    struct sdt_patch p = patch_of(c);
    const int *s = p.size;
    int wp = p.width / s[2], hp = p.height / s[1], token = first_of(c) + r;
    int x = i % s[2], y = i / s[2] % s[1], t = i / s[2] / s[1] % s[0], k = i / s[2] / s[1] / s[0];
    int frame = token / (wp * hp) * s[0] + t, line = token / wp % hp * s[1] + y;
    if (token >= p.frames / s[0] * hp * wp)
        return -1;
    return (((int64_t)k * p.frames + frame) * p.height + line) * p.width + token % wp * s[2] + x;
}

static void patchify_make(struct call *c) {
    const int *s = c->size;
    in_type(c, SDT_F32, (size_t)(s[0] * s[1] * s[2] * s[3]), 1.f);
    out(c, (size_t)s[7] * (size_t)width_of(c));
}
static void patchify_plain(struct call *c) {
    const float *latent = at(c, 0);
    float *y = at(c, 1);
    for (int r = 0; r < c->size[7]; r++)
        for (int i = 0; i < width_of(c); i++) {
            int64_t place = place_of(c, r, i);
            y[r * width_of(c) + i] = place < 0 ? 0.f : latent[place];
        }
}
static void patchify_cpu(struct call *c) {
    struct sdt_patch patch = patch_of(c);
    sdt_patchify(&patch, first_of(c), c->size[7], at(c, 0), at(c, 1));
}
static void patchify_cuda(struct call *c) {
    struct sdt_patch patch = patch_of(c);
    done(c, sdt_cuda_patchify(cuda, c->dtype, &patch, first_of(c), c->size[7], at(c, 0), at(c, 1)));
}

/* Other tokens' places keep what they had. */
static void unpatchify_make(struct call *c) {
    const int *s = c->size;
    in_type(c, SDT_F32, (size_t)s[7] * (size_t)width_of(c), 1.f);
    in_out_type(c, SDT_F32, (size_t)(s[0] * s[1] * s[2] * s[3]), 1.f);
}
static void unpatchify_plain(struct call *c) {
    const float *x = at(c, 0);
    float *latent = at(c, 1);
    for (int r = 0; r < c->size[7]; r++)
        for (int i = 0; i < width_of(c); i++)
            if (place_of(c, r, i) >= 0)
                latent[place_of(c, r, i)] = x[r * width_of(c) + i];
}
static void unpatchify_cpu(struct call *c) {
    struct sdt_patch patch = patch_of(c);
    sdt_unpatchify(&patch, first_of(c), c->size[7], at(c, 0), at(c, 1));
}
static void unpatchify_cuda(struct call *c) {
    struct sdt_patch patch = patch_of(c);
    done(c, sdt_cuda_unpatchify(cuda, &patch, first_of(c), c->size[7], at(c, 0), at(c, 1)));
}

/* ---- patch_order: rows, channels, patch ------------------------------------------------------ */

static void order_grid(const struct operation *operation) {
    for (int rows = 1; rows <= 16; rows += 5) {
        TRY(rows, 16, 4);
        TRY(rows, 3, 1);
    }
    TRY(1, 1, 1);
    TRY(5, 16, 4);
}
static void order_make(struct call *c) {
    size_t width = (size_t)(c->size[1] * c->size[2]);
    in(c, (size_t)c->size[0] * width, 1.f)->row = width;
    out_type(c, SDT_F32, (size_t)c->size[0] * width)->row = width;
}
static void order_plain(struct call *c) {
    const int *s = c->size;
    const float *x = at(c, 0);
    float *y = at(c, 1);
    for (int r = 0; r < s[0]; r++)
        for (int k = 0; k < s[1]; k++)
            for (int p = 0; p < s[2]; p++)
                y[(r * s[1] + k) * s[2] + p] = x[(r * s[2] + p) * s[1] + k];
}
static void order_cpu(struct call *c) {
    sdt_patch_order(c->size[0], c->size[1], c->size[2], at(c, 0), at(c, 1));
}
static void order_cuda(struct call *c) {
    done(c, sdt_cuda_patch_order(cuda, c->dtype, c->size[0], c->size[1], c->size[2], at(c, 0),
                                 at(c, 1)));
}

/* ---- pad_row: rows, d ------------------------------------------------------------------------ */

static void pad_grid(const struct operation *operation) {
    TRY(0, 5);
    TRY(3, 7);
    TRY(4, 64);
    for (int rows = 1; rows <= 16; rows += 5)
        TRY(rows, 1 + rows * 3);
    if (backend.kind == GPU)
        TRY(77, 4096);
}
static void pad_make(struct call *c) {
    in_type(c, SDT_F32, (size_t)(c->size[0] * c->size[1]), 1.f);
    out(c, (size_t)((c->size[0] + 1) * c->size[1]));
}
static void pad_plain(struct call *c) {
    float *y = at(c, 1);
    for (size_t i = 0; i < c->array[1].n; i++)
        y[i] = i < c->array[0].n ? ((const float *)at(c, 0))[i] : 0.f;
}
static void pad_cuda(struct call *c) {
    done(c, sdt_cuda_pad_row(cuda, c->dtype, c->size[0], c->size[1], at(c, 0), at(c, 1)));
}

/* ---- latent_window: the fields of struct sdt_window, whether it is scaled -------------------- */

static void window_grid(const struct operation *operation) {
    for (int scaled = 0; scaled < 2; scaled++) {
        TRY(4, 5, 6, 7, 0, 5, 0, 0, 6, 7, scaled);
        TRY(16, 5, 6, 7, 2, 1, 1, 3, 4, 4, scaled);
        TRY(3, 1, 1, 1, 0, 1, 0, 0, 1, 1, scaled);
        TRY(16, 5, 9, 11, 2, 3, 1, 4, 7, 6, scaled);
        TRY(64, 1, 2, 3, 0, 1, 0, 0, 2, 3, scaled);
        TRY(64, 1, 9, 9, 0, 1, 1, 2, 7, 5, scaled);
    }
}
static struct sdt_window window_of(const struct call *c) {
    const int *s = c->size;
    return (struct sdt_window){s[0], s[1], s[2], s[3], s[4], s[5], s[6], s[7], s[8], s[9]};
}
static void window_make(struct call *c) {
    const int *s = c->size;
    in_type(c, SDT_F32, (size_t)(s[0] * s[1] * s[2] * s[3]), 1.f);
    in_if(c, s[10], SDT_F32, (size_t)s[0], 2.f); /* these two are in the host's memory always, */
    in_if(c, s[10], SDT_F32, (size_t)s[0], 1.f); /* which `start` is */
    out(c, (size_t)(s[5] * s[8] * s[9] * s[0]))->limits.f32 = s[10] ? 1e-6 : 0.;
}
static void window_plain(struct call *c) {
    struct sdt_window window = window_of(c);
    sdt_latent_window_reference(&window, at(c, 0), at(c, 1), at(c, 2), at(c, 3));
}
static void window_cpu(struct call *c) {
    struct sdt_window window = window_of(c);
    sdt_latent_window(&window, at(c, 0), at(c, 1), at(c, 2), at(c, 3));
}
static void window_cuda(struct call *c) {
    struct sdt_window window = window_of(c);
    done(c, sdt_cuda_latent_window(cuda, c->dtype, &window, at(c, 0), c->array[1].start,
                                   c->array[2].start, at(c, 3)));
}

const struct operation latent_operations[] = {
    {.name = "patchify",
     .grid = patch_grid,
     .make = patchify_make,
     .plain = patchify_plain,
     .cpu = patchify_cpu,
     .cuda = patchify_cuda},
    {.name = "unpatchify",
     .grid = patch_grid,
     .make = unpatchify_make,
     .plain = unpatchify_plain,
     .cpu = unpatchify_cpu,
     .cuda = unpatchify_cuda,
     .float32 = true},
    {.name = "patch_order",
     .grid = order_grid,
     .make = order_make,
     .plain = order_plain,
     .cpu = order_cpu,
     .cuda = order_cuda,
     .by_rows = true},
    {.name = "pad_row", .grid = pad_grid, .make = pad_make, .plain = pad_plain, .cuda = pad_cuda},
    {.name = "latent_window",
     .grid = window_grid,
     .make = window_make,
     .plain = window_plain,
     .cpu = window_cpu,
     .cuda = window_cuda},
    {0},
};

/* Decoded frames on their way into the video: clamping, cross-fades and places, and what must stay
 * untouched beside them. Video is float32 always. */
#include "tests/kernels/operation.h"

static float clamped(float x) { return fminf(fmaxf(x, -1.f), 1.f); }

/* ---- clamp: n -------------------------------------------------------------------------------- */

static void clamp_grid(const struct operation *operation) {
    TRY(0);
    TRY(1);
    TRY(1001);
}
static void clamp_make(struct call *c) {
    struct array *x = in_out(c, (size_t)c->size[0], 2.f);
    x->row = 1;
    if (x->n > 1) {
        x->start[0] = -1.f;
        x->start[1] = INFINITY;
    }
}
static void clamp_plain(struct call *c) {
    float *x = at(c, 0);
    for (size_t i = 0; i < c->array[0].n; i++)
        x[i] = clamped(x[i]);
}
static void clamp_cpu(struct call *c) { sdt_clamp_frames((size_t)c->size[0], at(c, 0)); }

/* ---- put_frame: n, clamp. A frame's place need not be aligned to more than a float ----------- */

static void put_frame_grid(const struct operation *operation) {
    static const int sizes[] = {0, 1, 3, 7, 8, 9, 31, 64, 105, 1000, 7680};
    for (size_t i = 0; i < COUNT(sizes); i++)
        for (int clamp = 0; clamp < 2; clamp++)
            TRY(sizes[i], clamp);
}
static void put_frame_make(struct call *c) {
    in(c, (size_t)c->size[0], 2.f);
    in_out_type(c, SDT_F32, (size_t)c->size[0] * 3, 1.f); /* between two others */
}
static void put_frame_plain(struct call *c) {
    const float *x = at(c, 0);
    float *y = at(c, 1);
    for (size_t i = 0, n = (size_t)c->size[0]; i < n; i++)
        y[n + i] = c->size[1] ? clamped(x[i]) : x[i];
}
static void put_frame_cuda(struct call *c) {
    size_t n = (size_t)c->size[0];
    done(c, sdt_cuda_put_frame(cuda, c->dtype, n, c->size[1], at(c, 0), (float *)at(c, 1) + n));
}

/* ---- blends: frames, size of a, size of b, the other side, extent ---------------------------- */

static void blend_grid(const struct operation *operation) {
    TRY(1, 1, 1, 1, 1);
    TRY(3, 7, 5, 4, 5);
    TRY(2, 64, 80, 9, 64);
    TRY(2, 8, 8, 3, 0);
}
static void blend_make(struct call *c) {
    const int *s = c->size;
    in_type(c, SDT_F32, (size_t)s[0] * (size_t)(s[1] * s[3] * 3), 1.f);
    in_out_type(c, SDT_F32, (size_t)s[0] * (size_t)(s[2] * s[3] * 3), 1.f);
}
#define BLEND(which)                                                                               \
    static void which##_plain(struct call *c) {                                                    \
        const int *s = c->size;                                                                    \
        sdt_##which##_reference(s[0], s[3], s[4], s[1], at(c, 0), s[2], at(c, 1));                 \
    }                                                                                              \
    static void which##_cpu(struct call *c) {                                                      \
        const int *s = c->size;                                                                    \
        sdt_##which(s[0], s[3], s[4], s[1], at(c, 0), s[2], at(c, 1));                             \
    }                                                                                              \
    static void which##_cuda(struct call *c) {                                                     \
        const int *s = c->size;                                                                    \
        done(c, sdt_cuda_##which(cuda, s[0], s[3], s[4], s[1], at(c, 0), s[2], at(c, 1)));         \
    }
BLEND(blend_rows)
BLEND(blend_columns)

/* ---- place_tile: frames, rows and columns of the tile and of its part, y0, x0, height, width,
 * whether it is clamped */

static void place_grid(const struct operation *operation) {
    TRY(1, 1, 1, 1, 1, 0, 0, 1, 1, 1);
    TRY(2, 5, 7, 4, 6, 3, 2, 9, 11, 0);
    TRY(1, 2, 2, 2, 2, 0, 0, 2, 2, 0);
    TRY(3, 9, 11, 7, 5, 2, 3, 20, 13, 1);
    TRY(2, 32, 40, 32, 24, 32, 40, 64, 64, 1);
}
static void place_make(struct call *c) {
    const int *s = c->size;
    in_type(c, SDT_F32, (size_t)s[0] * (size_t)(s[1] * s[2] * 3), 2.f);
    in_out_type(c, SDT_F32, (size_t)s[0] * (size_t)(s[7] * s[8] * 3), 1.f);
}
static void place_plain(struct call *c) {
    const int *s = c->size;
    const float *tile = at(c, 0);
    float *video = at(c, 1);
    for (int t = 0; t < s[0]; t++)
        for (int y = 0; y < s[3]; y++)
            for (int i = 0; i < 3 * s[4]; i++) {
                float value = tile[(t * s[1] + y) * s[2] * 3 + i];
                video[((t * s[7] + s[5] + y) * s[8] + s[6]) * 3 + i] =
                    s[9] ? clamped(value) : value;
            }
}
static void place_cuda(struct call *c) {
    const int *s = c->size;
    done(c, sdt_cuda_place_tile(cuda, s[0], s[1], s[2], s[3], s[4], s[5], s[6], s[7], s[8], s[9],
                                at(c, 0), at(c, 1)));
}

const struct operation frames_operations[] = {
    {.name = "clamp_frames",
     .grid = clamp_grid,
     .make = clamp_make,
     .plain = clamp_plain,
     .cpu = clamp_cpu,
     .by_rows = true},
    {.name = "put_frame",
     .grid = put_frame_grid,
     .make = put_frame_make,
     .plain = put_frame_plain,
     .cuda = put_frame_cuda},
    {.name = "blend_rows",
     .grid = blend_grid,
     .make = blend_make,
     .plain = blend_rows_plain,
     .cpu = blend_rows_cpu,
     .cuda = blend_rows_cuda,
     .limits = {.f32 = 1e-6},
     .float32 = true},
    {.name = "blend_columns",
     .grid = blend_grid,
     .make = blend_make,
     .plain = blend_columns_plain,
     .cpu = blend_columns_cpu,
     .cuda = blend_columns_cuda,
     .limits = {.f32 = 1e-6},
     .float32 = true},
    {.name = "place_tile",
     .grid = place_grid,
     .make = place_make,
     .plain = place_plain,
     .cuda = place_cuda,
     .float32 = true},
    {0},
};

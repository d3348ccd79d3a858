/* GroupNorm over clips: odd sizes, groups of one channel and one group of all, a group without any
 * variance, a mean far from 0; frames in bands have the same bits. */
#include "tests/kernels/operation.h"

/* ---- frame_moments: height, width, channels, groups ------------------------------------------ */

static void moments_grid(const struct operation *operation) {
    TRY(1, 1, 1, 1);
    TRY(1, 7, 4, 4);
    TRY(5, 3, 6, 2);
    TRY(4, 6, 32, 32);
    TRY(9, 17, 24, 4);
    TRY(2, 130, 40, 1);
    TRY(7, 5, 66, 3);
    if (backend.kind != BODIES) {
        TRY(16, 16, 512, 32);
        TRY(33, 40, 128, 32);
        TRY(3, 5, 1056, 33);
    }
}
static void moments_make(struct call *c) {
    const int *s = c->size;
    size_t n = (size_t)s[0] * (size_t)(s[1] * s[2]);
    struct array *x = in(c, n, 2.f);
    for (size_t i = 0; i < n; i++)
        x->start[i] += i % (size_t)s[2] < (size_t)(s[2] / s[3]) ? 0.5f : 3.f;
    out_type(c, SDT_F32, 2 * (size_t)s[3]);
}
static void moments_plain(struct call *c) {
    const int *s = c->size;
    sdt_frame_moments_reference(s[0], s[1], s[2], s[3], at(c, 0), at(c, 1));
}
static void moments_cpu(struct call *c) {
    const int *s = c->size;
    const float *x[] = {at(c, 0)};
    sdt_frame_moments(1, s[0], s[0], s[1], s[2], s[3], x, at(c, 1),
                      scratch(sizeof(float) * sdt_frame_moments_scratch(s[2])));
}
static void moments_cuda(struct call *c) {
    const int *s = c->size;
    done(c, sdt_cuda_frame_moments(cuda, c->dtype, s[0], s[1], s[2], s[3], at(c, 0), at(c, 1),
                                   scratch(sdt_cuda_frame_moments_scratch(s[0], s[2]))));
}

/* In bands that stand apart. */
static void moments_also(struct call *c) {
    const int *s = c->size;
    size_t line = (size_t)(s[1] * s[2]), values = 2 * (size_t)s[3];
    float *room = scratch(sizeof(float) * sdt_frame_moments_scratch(s[2])), *again = blank(values);
    for (int band = 1; band < s[0]; band++) {
        const float *x[64];
        int bands = (s[0] + band - 1) / band;
        for (int b = 0; b < bands; b++) {
            int rows = s[0] - b * band < band ? s[0] - b * band : band;
            x[b] = copy_of((size_t)rows * line, (float *)at(c, 0) + (size_t)(b * band) * line);
        }
        sdt_frame_moments(bands, band, s[0], s[1], s[2], s[3], x, again, room);
        check_bits(values, again, at(c, 1), "moments of %dx%dx%d in bands of %d", s[0], s[1], s[2],
                   band);
        for (int b = 0; b < bands; b++)
            free((float *)x[b]);
    }
    free(again);
}

/* ---- group_moments: frames, groups, values --------------------------------------------------- */

static void all_grid(const struct operation *operation) {
    TRY(1, 1, 1);
    TRY(1, 32, 400);
    TRY(5, 3, 77);
    TRY(17, 32, 4096);
    TRY(130, 33, 64);
}
static void all_make(struct call *c) {
    size_t values = 2 * (size_t)c->size[1];
    in_type(c, SDT_F32, (size_t)c->size[0] * values, 1.f);
    for (size_t i = 0; i < c->array[0].n; i++) /* a mean, and a sum of squares */
        c->array[0].start[i] =
            i % 2 ? fabsf(c->array[0].start[i]) * (float)c->size[2] : c->array[0].start[i] + 2.f;
    out_type(c, SDT_F32, values);
}
static const float **frames_of(const struct call *c) {
    const float **x = scratch((size_t)c->size[0] * sizeof *x);
    for (int t = 0; t < c->size[0]; t++)
        x[t] = (float *)at(c, 0) + (size_t)t * 2 * (size_t)c->size[1];
    return x;
}
static void all_plain(struct call *c) {
    sdt_group_moments_reference(c->size[0], c->size[1], c->size[2], 1e-6f, frames_of(c), at(c, 1));
}
static void all_cpu(struct call *c) {
    sdt_group_moments(c->size[0], c->size[1], c->size[2], 1e-6f, frames_of(c), at(c, 1));
}
static void all_cuda(struct call *c) {
    done(c, sdt_cuda_group_moments(cuda, c->size[0], c->size[1], c->size[2], 1e-6f, at(c, 0),
                                   at(c, 1)));
}

/* ---- group_norm: pixels, channels, groups, silu ---------------------------------------------- */

static void norm_grid(const struct operation *operation) {
    for (int silu = 0; silu < 2; silu++) {
        TRY(1, 1, 1, silu);
        TRY(3, 7, 7, silu);
        TRY(70, 24, 4, silu);
        TRY(5, 33, 3, silu);
        TRY(13, 136, 1, silu);
        TRY(130, 32, 32, silu);
        if (backend.kind != BODIES)
            TRY(17, 2100, 30, silu);
    }
}
static void norm_make(struct call *c) {
    size_t d = (size_t)c->size[1], n = (size_t)c->size[0] * d;
    in(c, n, 2.f)->row = d;
    in_type(c, SDT_F32, 2 * (size_t)c->size[2], 1.f);
    in_type(c, SDT_F32, d, 1.f);
    in_type(c, SDT_F32, d, 1.f);
    out(c, n)->row = d;
}
static void norm_plain(struct call *c) {
    sdt_group_norm_reference((size_t)c->size[0], c->size[1], c->size[2], at(c, 0), at(c, 1),
                             at(c, 2), at(c, 3), c->size[3], at(c, 4));
}
static void norm_cpu(struct call *c) {
    sdt_group_norm((size_t)c->size[0], c->size[1], c->size[2], at(c, 0), at(c, 1), at(c, 2),
                   at(c, 3), c->size[3], at(c, 4));
}
static void norm_cuda(struct call *c) {
    done(c, sdt_cuda_group_norm(cuda, c->dtype, (size_t)c->size[0], c->size[1], c->size[2],
                                at(c, 0), at(c, 1), at(c, 2), at(c, 3), c->size[3], at(c, 4)));
}

const struct operation group_norm_operations[] = {
    {.name = "frame_moments",
     .grid = moments_grid,
     .make = moments_make,
     .plain = moments_plain,
     .cpu = moments_cpu,
     .cuda = moments_cuda,
     .limits = {.f32 = 2e-6},
     .also = moments_also},
    {.name = "group_moments",
     .grid = all_grid,
     .make = all_make,
     .plain = all_plain,
     .cpu = all_cpu,
     .cuda = all_cuda,
     .limits = {.f32 = 2e-6},
     .float32 = true},
    {.name = "group_norm",
     .grid = norm_grid,
     .make = norm_make,
     .plain = norm_plain,
     .cpu = norm_cpu,
     .cuda = norm_cuda,
     .limits = {.f32 = 2e-6},
     .by_rows = true,
     .in_place = {{4, 0}},
     .pairs = 1},
    {0},
};

/* Frames enlarged: one frame and between two, odd sizes, single rows and columns, bands of any
 * height; bands of wavelets with and without what is added to the first, and without the frame
 * that is dropped. */
#include "tests/kernels/operation.h"

/* ---- linear_upsample: channels, height, width, hundredths of the first frame's weight -------- */

static void linear_grid(const struct operation *operation) {
    static const int sizes[][2] = {{1, 1}, {1, 5}, {7, 1}, {3, 4}, {9, 17}};
    static const int channels[] = {1, 3, 8, 20, 64};
    static const int weights[] = {100, 75, 25};
    for (size_t s = 0; s < COUNT(sizes); s++)
        for (size_t k = 0; k < COUNT(channels); k++)
            for (size_t w = 0; w < COUNT(weights); w++)
                TRY(channels[k], sizes[s][0], sizes[s][1], weights[w]);
    if (backend.kind == GPU && !small)
        TRY(512, 20, 33, 75);
}
static struct sdt_linear_upsample linear_of(const struct call *c) {
    return (struct sdt_linear_upsample){c->size[0], c->size[1], c->size[2],
                                        (float)c->size[3] / 100.f};
}
static void linear_make(struct call *c) {
    size_t n = (size_t)(c->size[0] * c->size[1] * c->size[2]);
    in(c, n, 1.f);
    in_if(c, c->size[3] < 100, c->dtype, n, 1.f);
    out(c, 4 * n);
}
static void linear_plain(struct call *c) {
    struct sdt_linear_upsample up = linear_of(c);
    sdt_linear_upsample_reference(&up, at(c, 0), at(c, 1), at(c, 2));
}
static float *linear_scratch(const struct sdt_linear_upsample *up) {
    return scratch(sdt_linear_upsample_scratch(up) * sizeof(float));
}
static void linear_cpu(struct call *c) {
    struct sdt_linear_upsample up = linear_of(c);
    const float *x[2] = {at(c, 0), at(c, 1)};
    struct sdt_conv_input input = {x, 1, 0, up.height};
    sdt_linear_upsample_rows(&up, 0, 2 * up.height, &input, at(c, 2), linear_scratch(&up));
}
static void linear_cuda(struct call *c) {
    struct sdt_linear_upsample up = linear_of(c);
    done(c, sdt_cuda_linear_upsample(cuda, c->dtype, &up, at(c, 0), at(c, 1), at(c, 2)));
}

/* From bands of `band` rows that stand apart, of which only those are given that are needed. */
static void check_bands(const struct call *c, int band) {
    struct sdt_linear_upsample up = linear_of(c);
    int frames = up.weight < 1.f ? 2 : 1, count = (up.height + band - 1) / band;
    size_t line = (size_t)(up.width * up.channels);
    for (int b = 0; b < count; b++) {
        int rows = up.height - b * band < band ? up.height - b * band : band;
        int first = b > 0 ? b - 1 : b, last = b + 1 < count ? b + 1 : b, bands = last - first + 1;
        float *apart[6] = {NULL}, *y = blank(4 * (size_t)rows * line);
        for (int i = 0; i < frames * bands; i++) {
            int y0 = (first + i % bands) * band;
            int here = up.height - y0 < band ? up.height - y0 : band;
            apart[i] = copy_of((size_t)here * line, (float *)at(c, i / bands) + y0 * line);
        }
        struct sdt_conv_input input = {(const float *const *)apart, bands, first, band};
        sdt_linear_upsample_rows(&up, 2 * b * band, 2 * rows, &input, y, linear_scratch(&up));
        check_bits(4 * (size_t)rows * line, y, (float *)at(c, 2) + 4 * (size_t)(b * band) * line,
                   "linear upsampling of %dx%dx%d, band %d of %d rows", up.height, up.width,
                   up.channels, b, band);
        for (int i = 0; i < 6; i++)
            free(apart[i]);
        free(y);
    }
}
static void linear_also(struct call *c) {
    for (int band = 1; band <= c->size[1]; band += 1 + band / 2)
        check_bands(c, band);
}

/* ---- inverse_haar_2d, inverse_haar_3d: height, width, low, first ----------------------------- */

static void haar_grid(const struct operation *operation) {
    static const int sizes[][2] = {{1, 1}, {1, 5}, {7, 1}, {3, 4}, {9, 100}};
    for (size_t s = 0; s < COUNT(sizes); s++)
        for (int low = 0; low < 2; low++)
            for (int first = 0; first < 2; first++)
                TRY(sizes[s][0], sizes[s][1], low, first);
}
static void haar_make(struct call *c, int bands) {
    size_t row = 3 * (size_t)c->size[1], n = (size_t)c->size[0] * row;
    in(c, (size_t)bands * n, 1.f)->row = (size_t)bands * row;
    in_if(c, c->size[2], c->dtype, n, 1.f)->row = row;
    if (bands == 8 && c->size[3])
        out(c, 4 * n)->row = 4 * row;
    else if (bands == 8)
        absent(c);
    out(c, 4 * n)->row = 4 * row;
}
static void haar_2d_make(struct call *c) { haar_make(c, 4); }
static void haar_3d_make(struct call *c) { haar_make(c, 8); }
static void haar_2d_plain(struct call *c) {
    sdt_inverse_haar_2d_reference(c->size[0], c->size[1], at(c, 0), at(c, 1), at(c, 2));
}
static void haar_3d_plain(struct call *c) {
    sdt_inverse_haar_3d_reference(c->size[0], c->size[1], at(c, 0), at(c, 1), at(c, 2), at(c, 3));
}
static void haar_2d_cpu(struct call *c) {
    sdt_inverse_haar_2d(c->size[0], c->size[1], at(c, 0), at(c, 1), at(c, 2));
}
static void haar_3d_cpu(struct call *c) {
    sdt_inverse_haar_3d(c->size[0], c->size[1], at(c, 0), at(c, 1), at(c, 2), at(c, 3));
}
static void haar_2d_cuda(struct call *c) {
    done(c, sdt_cuda_inverse_haar_2d(cuda, c->dtype, c->size[0], c->size[1], at(c, 0), at(c, 1),
                                     at(c, 2)));
}
static void haar_3d_cuda(struct call *c) {
    done(c, sdt_cuda_inverse_haar_3d(cuda, c->dtype, c->size[0], c->size[1], at(c, 0), at(c, 1),
                                     at(c, 2), at(c, 3)));
}

const struct operation upsample_operations[] = {
    {.name = "linear_upsample",
     .grid = linear_grid,
     .make = linear_make,
     .plain = linear_plain,
     .cpu = linear_cpu,
     .cuda = linear_cuda,
     .limits = {.f32 = 1e-6},
     .also = linear_also},
    {.name = "inverse_haar_2d",
     .grid = haar_grid,
     .make = haar_2d_make,
     .plain = haar_2d_plain,
     .cpu = haar_2d_cpu,
     .cuda = haar_2d_cuda,
     .limits = {.f32 = 1e-6},
     .by_rows = true},
    {.name = "inverse_haar_3d",
     .grid = haar_grid,
     .make = haar_3d_make,
     .plain = haar_3d_plain,
     .cpu = haar_3d_cpu,
     .cuda = haar_3d_cuda,
     .limits = {.f32 = 1e-6},
     .by_rows = true},
    {0},
};

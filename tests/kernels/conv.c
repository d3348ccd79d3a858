/* Convolutions: kernels in time and space, enlarging, odd sizes, rows wider than a block, frames
 * before the start of the clip; frames in parts and bands of any height have the same bits. */
#include "tests/kernels/operation.h"

static float *packed_weight(int out, int depth, int run, const float *w) {
    float *packed = blank(sdt_packed_size(SDT_F32, out, depth) / sizeof(float));
    sdt_pack_weight(SDT_F32, out, depth, run, w, packed);
    return packed;
}

/* ---- conv: the fields of struct sdt_conv, residual, frames before the start, replicate ------- */

static void conv_sizes(const struct operation *operation, struct sdt_conv conv, int residual,
                       int zeros) {
    int most = backend.kind == BODIES ? conv.kt : conv.kt - 1; /* zeros alone */
    TRY(conv.in, conv.out, conv.kt, conv.ks, conv.height, conv.width, conv.upsample, residual,
        zeros < most ? zeros : most, conv.replicate);
}

static void conv_grid(const struct operation *operation) {
    static const struct grid {
        int size[7][2], channels[6][2]; /* height and width, in and out; 0: no more */
    } grids[] = {
        [CPU] = {{{1, 1}, {1, 7}, {5, 1}, {4, 6}, {9, 70}, {3, 256}, {2, 300}},
                 {{1, 1}, {4, 3}, {12, 16}, {33, 5}}},
        [BODIES] = {{{1, 1}, {1, 7}, {4, 6}, {9, 17}, {2, 130}},
                    {{1, 1}, {4, 3}, {6, 8}, {8, 12}, {33, 5}, {16, 40}}},
        [GPU] = {{{1, 1}, {1, 7}, {4, 6}, {9, 70}, {2, 130}},
                 {{1, 1}, {4, 3}, {6, 8}, {8, 12}, {33, 5}, {16, 40}}},
    };
    const struct grid *grid = &grids[backend.kind];
    int i = 0;
    for (int s = 0; s < 7 && grid->size[s][0]; s++)
        for (int c = 0; c < 6 && grid->channels[c][0]; c++)
            for (int shape = 0; shape < 8; shape++, i++) {
                struct sdt_conv conv = {grid->channels[c][0], grid->channels[c][1],
                                        shape & 1 ? 3 : 1,    shape & 2 ? 3 : 1,
                                        grid->size[s][0],     grid->size[s][1],
                                        shape >> 2,           i % 5 > 2};
                conv_sizes(operation, conv, i % 2 == 0, backend.kind == BODIES ? i % 4 : i % 3);
            }
    conv_sizes(operation, (struct sdt_conv){96, 3, 3, 3, 5, 6, 0, 0}, 0, 0);
    conv_sizes(operation, (struct sdt_conv){24, 40, 3, 3, 5, 6, 1, 1}, 1, 0);
    conv_sizes(operation, (struct sdt_conv){40, 24, 3, 3, 13, 11, 0, 1}, 0, 1);
    if (backend.kind == CPU) {
        conv_sizes(operation, (struct sdt_conv){32, 96, 3, 3, 6, 40, 0, 0}, 1, 1);
        conv_sizes(operation, (struct sdt_conv){130, 250, 3, 3, 7, 37, 0, 0}, 1, 1);
        conv_sizes(operation, (struct sdt_conv){100, 60, 1, 3, 5, 45, 1, 0}, 0, 0);
        return;
    }
    conv_sizes(operation, (struct sdt_conv){96, 96, 3, 3, 5, 6, 0, 0}, 1, 0);
    conv_sizes(operation, (struct sdt_conv){96, 96, 3, 3, 5, 6, 0, 0}, 1, 1);
    conv_sizes(operation, (struct sdt_conv){96, 3, 3, 3, 5, 6, 0, 0}, 0, 1);
    conv_sizes(operation, (struct sdt_conv){40, 200, 1, 3, 5, 6, 1, 0}, 0, 0);
    conv_sizes(operation, (struct sdt_conv){64, 256, 1, 1, 13, 11, 0, 0}, 1, 0);
    conv_sizes(operation, (struct sdt_conv){24, 64, 3, 3, 3, 50, 0, 0}, 0, 0);
    if (backend.kind == GPU && !small) {
        conv_sizes(operation, (struct sdt_conv){384, 384, 3, 3, 7, 9, 0, 0}, 1, 0);
        conv_sizes(operation, (struct sdt_conv){192, 96, 1, 3, 10, 12, 1, 0}, 0, 0);
    }
}

static struct sdt_conv conv_of(const struct call *c) {
    const int *s = c->size;
    return (struct sdt_conv){s[0], s[1], s[2], s[3], s[4], s[5], s[6], s[9]};
}

static bool conv_planned(const struct call *c) {
    return c->size[0] % 8 == 0 && c->size[1] % 8 == 0;
}

/* On a GPU bfloat16 is held to the size of the result: of order 1. */
static float scale_of(int depth) { return backend.kind == GPU ? 2.f / sqrtf((float)depth) : 1.f; }

static void conv_make(struct call *c) {
    struct sdt_conv conv = conv_of(c);
    int scale = conv.upsample ? 2 : 1, depth = conv.kt * conv.ks * conv.ks * conv.in;
    size_t frame = (size_t)conv.height * (size_t)(conv.width * conv.in);
    size_t n = (size_t)conv.height * (size_t)(conv.width * scale * scale * conv.out);
    in(c, (size_t)conv.out * (size_t)depth, scale_of(depth)); /* 0: weights */
    in_type(c, SDT_F32, (size_t)conv.out, 1.f);               /* 1: bias */
    in_if(c, c->size[7], c->dtype, n, 1.f);                   /* 2: residual */
    out(c, n);                                                /* 3 */
    for (int t = 0; t < conv.kt; t++)                         /* 4: frames, oldest first */
        in_if(c, t >= c->size[8], c->dtype, frame, 1.f);
}
static void conv_plain(struct call *c) {
    struct sdt_conv conv = conv_of(c);
    const float *x[3] = {NULL};
    for (int t = 0; t < conv.kt; t++)
        x[t] = at(c, 4 + t);
    sdt_conv_frame_reference(&conv, x, at(c, 0), at(c, 1), at(c, 2), at(c, 3));
}
static void conv_rows_with(struct call *c, struct sdt_weight w, const float *const *x, float *y) {
    struct sdt_conv conv = conv_of(c);
    struct sdt_conv_input input = {x, 1, 0, conv.height};
    sdt_conv_rows(&conv, 0, conv.height * (conv.upsample ? 2 : 1), &input, w, at(c, 1), at(c, 2), y,
                  scratch(sdt_conv_scratch(&conv) * sizeof(float)));
}
static void conv_cpu(struct call *c) {
    const float *x[3] = {NULL};
    for (int t = 0; t < c->size[2]; t++)
        x[t] = at(c, 4 + t);
    conv_rows_with(c, sdt_plain_weight(at(c, 0)), x, at(c, 3));
}
static void conv_cuda(struct call *c) {
    struct sdt_conv conv = conv_of(c);
    const void *x[3] = {NULL};
    for (int t = 0; t < conv.kt; t++)
        x[t] = at(c, 4 + t);
    void *room = scratch(sdt_cuda_conv_frame_scratch(c->dtype, &conv));
    done(c, sdt_cuda_conv_frame(cuda, c->dtype, &conv, x, at(c, 0), at(c, 1), at(c, 2), at(c, 3),
                                room));
    if (backend.kind != GPU)
        return;
    /* Before the start of the clip: NULL and a frame of zeros give the same bits. */
    const struct array *y = &c->array[3];
    size_t frame = (size_t)conv.height * (size_t)(conv.width * conv.in);
    float *zero = numbers(frame, 0.f), *before = backend.get(y->dtype, y->n, y->at);
    memset(zero, 0, frame * sizeof *zero); /* numbers times 0 may be -0 */
    for (int t = 0; t < conv.kt; t++)
        x[t] = x[t] ? x[t] : backend.put(c->dtype, frame, false, zero);
    void *again = backend.put(y->dtype, y->n, false, NULL);
    done(c,
         sdt_cuda_conv_frame(cuda, c->dtype, &conv, x, at(c, 0), at(c, 1), at(c, 2), again, room));
    float *after = backend.get(y->dtype, y->n, again);
    check_bits(y->n, after, before, "conv %d->%d k%d,%d after frames of zeros, own %d", conv.in,
               conv.out, conv.kt, conv.ks, c->own);
    free(zero);
    free(before);
    free(after);
}

/* The frame in parts of output rows, from inputs in bands of `band` rows that stand apart. */
static void check_bands(const struct sdt_conv *conv, const float *const *x, struct sdt_weight w,
                        const float *bias, const float *residual, const float *whole, int band) {
    int scale = conv->upsample ? 2 : 1, count = (conv->height + band - 1) / band;
    size_t line = (size_t)conv->width * conv->in;
    size_t out_line = (size_t)conv->width * scale * conv->out;
    float *scratch = blank(sdt_conv_scratch(conv)), *apart[3][16] = {{NULL}};
    for (int t = 0; t < conv->kt; t++)
        for (int b = 0; x[t] && b < count; b++) {
            int rows = conv->height - b * band < band ? conv->height - b * band : band;
            apart[t][b] = copy_of(rows * line, x[t] + b * band * line);
        }
    for (int b = 0; b < count; b++) {
        int y0 = b * band * scale, end = (b + 1) * band * scale;
        end = end < conv->height * scale ? end : conv->height * scale;
        int first = b > 0 && conv->ks > 1 ? b - 1 : b;
        int last = b + 1 < count && conv->ks > 1 ? b + 1 : b;
        const float *seen[9];
        for (int t = 0; t < conv->kt; t++)
            for (int i = first; i <= last; i++)
                seen[t * (last - first + 1) + i - first] = apart[t][i];
        struct sdt_conv_input input = {seen, last - first + 1, first, band};
        float *y = blank((end - y0) * out_line);
        sdt_conv_rows(conv, y0, end - y0, &input, w, bias,
                      residual ? residual + y0 * out_line : NULL, y, scratch);
        check_bits((end - y0) * out_line, y, whole + y0 * out_line,
                   "conv %d->%d k%d,%d of %dx%d%s, rows %d to %d in bands of %d", conv->in,
                   conv->out, conv->kt, conv->ks, conv->height, conv->width,
                   conv->upsample ? " enlarged" : "", y0, end, band);
        free(y);
    }
    for (int t = 0; t < 3; t++)
        for (int b = 0; b < 16; b++)
            free(apart[t][b]);
    free(scratch);
}

/* On the host numbers are read one by one: where they lie shows nothing. */
static bool conv_skip(const struct call *c, bool shifted) {
    return backend.kind == BODIES && (shifted || c->own);
}

/* Packed weights, bands, and frames of zeros before the start of the clip. */
static void conv_also(struct call *c) {
    struct sdt_conv conv = conv_of(c);
    int depth = conv.kt * conv.ks * conv.ks * conv.in;
    size_t frame = (size_t)conv.height * conv.width * conv.in, n = c->array[3].n;
    float *packed = packed_weight(conv.out, depth, conv.ks * conv.in, at(c, 0)), *again = blank(n);
    struct sdt_weight weight = {packed, SDT_F32, 1};
    const float *x[3] = {NULL};
    for (int t = 0; t < conv.kt; t++)
        x[t] = at(c, 4 + t);
    conv_rows_with(c, weight, x, again);
    check_bits(n, again, at(c, 3), "conv %d->%d k%d,%d, weights packed", conv.in, conv.out, conv.kt,
               conv.ks);
    for (int band = 1; band <= conv.height; band += 1 + band / 2)
        check_bands(&conv, x, weight, at(c, 1), at(c, 2), at(c, 3), band);
    float *zero = numbers(frame, 0.f);
    memset(zero, 0, frame * sizeof *zero);
    for (int t = 0; t < conv.kt; t++)
        x[t] = x[t] ? x[t] : zero;
    conv_rows_with(c, weight, x, again);
    check_bits(n, again, at(c, 3), "conv %d->%d k%d,%d after frames of zeros", conv.in, conv.out,
               conv.kt, conv.ks);
    free(zero);
    free(again);
    free(packed);
}

static void check_pack(int out, int in, int taps) {
    size_t n = (size_t)out * in * taps;
    float *w = numbers(n, 1.f), *got = blank(n), *want = blank(n);
    for (int o = 0; o < out; o++)
        for (int i = 0; i < in; i++)
            for (int t = 0; t < taps; t++)
                want[((size_t)o * taps + t) * in + i] = w[((size_t)o * in + i) * taps + t];
    sdt_conv_pack(out, in, taps, w, got);
    check_bits(n, got, want, "pack %d x %d x %d", out, in, taps);
    free(w);
    free(got);
    free(want);
}

static void check_packs(void) {
    check_pack(1, 1, 1);
    check_pack(3, 5, 27);
    check_pack(8, 16, 3);
}

/* ---- time_upsample: height, width, channels, frames before the start of the clip ------------- */

static void time_grid(const struct operation *operation) {
    for (int zeros = 0; zeros < (backend.kind == BODIES ? 4 : 3); zeros++) {
        TRY(1, 1, 1, zeros);
        TRY(5, 7, 5, zeros);
        TRY(5, 7, 12, zeros);
        TRY(9, 20, 48, zeros);
        TRY(9, 60, 16, zeros);
        if (backend.kind == CPU) {
            TRY(2, 270, 5, zeros);
            TRY(3, 11, 150, zeros);
        }
    }
    if (backend.kind == GPU && !small)
        TRY(7, 9, 192, 0);
}
static bool time_planned(const struct call *c) { return c->size[2] % 8 == 0; }

static void time_make(struct call *c) {
    int channels = c->size[2];
    size_t frame = (size_t)(c->size[0] * c->size[1] * channels);
    in(c, (size_t)(6 * channels * channels), scale_of(4 * channels)); /* 0: weights */
    in_type(c, SDT_F32, (size_t)(2 * channels), 1.f);                 /* 1: bias */
    out(c, frame);                                                    /* 2 and 3: frames */
    out(c, frame);
    for (int t = 0; t < 3; t++) /* 4: frames, oldest first */
        in_if(c, t >= c->size[3], c->dtype, frame, 1.f);
}
static void time_plain(struct call *c) {
    const float *x[3] = {at(c, 4), at(c, 5), at(c, 6)};
    sdt_time_upsample_reference(c->size[0], c->size[1], c->size[2], x, at(c, 0), at(c, 1), at(c, 2),
                                at(c, 3));
}
static float *time_scratch(size_t pixels) {
    return scratch(sdt_time_upsample_scratch(pixels) * sizeof(float));
}
static void time_cpu(struct call *c) {
    size_t pixels = (size_t)(c->size[0] * c->size[1]);
    const float *x[3] = {at(c, 4), at(c, 5), at(c, 6)};
    sdt_time_upsample(pixels, c->size[2], x, sdt_plain_weight(at(c, 0)), at(c, 1), at(c, 2),
                      at(c, 3), time_scratch(pixels));
}
static void time_cuda(struct call *c) {
    const void *x[3] = {at(c, 4), at(c, 5), at(c, 6)};
    done(c, sdt_cuda_time_upsample(cuda, c->dtype, c->size[0], c->size[1], c->size[2], x, at(c, 0),
                                   at(c, 1), at(c, 2), at(c, 3),
                                   scratch(sdt_cuda_time_upsample_scratch(
                                       c->dtype, c->size[0], c->size[1], c->size[2]))));
}

/* In two parts, with packed weights. */
static void time_also(struct call *c) {
    int channels = c->size[2];
    size_t pixels = (size_t)(c->size[0] * c->size[1]), frame = pixels * (size_t)channels;
    size_t part = pixels / 3, begin = part * (size_t)channels;
    float *packed = packed_weight(2 * channels, 3 * channels, channels, at(c, 0));
    struct sdt_weight weight = {packed, SDT_F32, 1};
    float *first = blank(frame), *second = blank(frame), *room = time_scratch(pixels);
    const float *x[3], *rest[3];
    for (int t = 0; t < 3; t++) {
        x[t] = at(c, 4 + t);
        rest[t] = x[t] ? x[t] + begin : NULL;
    }
    sdt_time_upsample(part, channels, x, weight, at(c, 1), first, second, room);
    sdt_time_upsample(pixels - part, channels, rest, weight, at(c, 1), first + begin,
                      second + begin, room);
    check_bits(frame, first, at(c, 2), "time upsample of %d channels in two parts", channels);
    check_bits(frame, second, at(c, 3), "time upsample of %d channels in two parts", channels);
    free(packed);
    free(first);
    free(second);
}

const struct operation conv_operations[] = {
    {.name = "conv",
     .grid = conv_grid,
     .make = conv_make,
     .plain = conv_plain,
     .cpu = conv_cpu,
     .cuda = conv_cuda,
     .limits = {.f32 = 3e-6},
     .ways = true,
     .planned = conv_planned,
     .plan_every = 6,
     .skip = conv_skip,
     .also = conv_also,
     .more = check_packs},
    {.name = "time_upsample",
     .grid = time_grid,
     .make = time_make,
     .plain = time_plain,
     .cpu = time_cpu,
     .cuda = time_cuda,
     .limits = {.f32 = 3e-6},
     .ways = true,
     .planned = time_planned,
     .plan_every = 2,
     .skip = conv_skip,
     .also = time_also},
    {0},
};

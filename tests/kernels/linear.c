/* Linear layers: odd sizes, every epilogue and gate; weights of every type, packed or not, and any
 * number of rows, give the same bits, with each micro-kernel of this processor. */
#include "kernels/cpu/micro_kernel.h"
#include "tests/kernels/operation.h"

static void *packed_weight(enum sdt_dtype dtype, int n, int k, const void *w) {
    size_t size = sdt_packed_size(dtype, n, k);
    void *packed = malloc(size);
    if (!packed)
        abort();
    memset(packed, 0xff, size); /* NaN */
    sdt_pack_weight(dtype, n, k, k, w, packed);
    return packed;
}

/* ---- linear: rows, n, k, epilogue, bias ------------------------------------------------------ */

static void linear_grid(const struct operation *operation) {
    static const int rows[] = {1, 3, 7, 128}, ns[] = {1, 5, 48, 131}, ks[] = {1, 3, 17, 400};
    int i = 0;
    if (backend.kind != BODIES)
        for (size_t r = 0; r < COUNT(rows); r++)
            for (size_t n = 0; n < COUNT(ns); n++)
                for (size_t k = 0; k < COUNT(ks); k++, i++)
                    for (int mode = 0; mode < 6; mode++)
                        if (backend.kind == GPU || mode / 3 == (i + mode % 3) % 2)
                            TRY(rows[r], ns[n], ks[k], mode % 3, mode / 3);
    TRY(1, 1, 1, SDT_EPILOGUE_NONE, 0);
    TRY(3, 12, 20, SDT_EPILOGUE_SILU, 1);
    TRY(65, 50, 33, SDT_EPILOGUE_GELU_TANH, 1);
    TRY(64, 129, 16, SDT_EPILOGUE_NONE, 1);
    if (backend.kind == CPU)
        TRY(4, 64, 8960, SDT_EPILOGUE_NONE, 1);
    if (backend.kind == GPU && !small) {
        for (int epilogue = 0; epilogue < 3; epilogue++)
            TRY(257, 1536, 1536, epilogue, 1);
        TRY(64, 256, 8960, SDT_EPILOGUE_NONE, 1);
    }
}

/* Products of order 1 on GPUs, where bfloat16 is held to the size of the result. */
static float weight_scale(const struct call *c) {
    return backend.kind == GPU ? 2.f / sqrtf((float)c->size[2]) : 1.f;
}

static void linear_make(struct call *c) {
    size_t rows = (size_t)c->size[0], n = (size_t)c->size[1], k = (size_t)c->size[2];
    in(c, rows * k, 1.f)->row = k;
    in(c, n * k, weight_scale(c));
    in_if(c, c->size[4], c->dtype, n, 1.f);
    struct array *y = out(c, rows * n);
    y->row = n;
    y->limits.gpu = k > 1000 ? 5e-6 : 0.; /* one chain of sums */
}
static enum sdt_epilogue epilogue_of(const struct call *c) { return (enum sdt_epilogue)c->size[3]; }
static void linear_plain(struct call *c) {
    sdt_linear_reference(c->size[0], c->size[1], c->size[2], at(c, 0), at(c, 1), at(c, 2),
                         epilogue_of(c), at(c, 3));
}
static void linear_cpu(struct call *c) {
    sdt_linear(c->size[0], c->size[1], c->size[2], at(c, 0), sdt_plain_weight(at(c, 1)), at(c, 2),
               epilogue_of(c), at(c, 3));
}
static void linear_cuda(struct call *c) {
    done(c, sdt_cuda_linear(cuda, c->dtype, c->size[0], c->size[1], c->size[2], at(c, 0), at(c, 1),
                            at(c, 2), epilogue_of(c), at(c, 3)));
}

/* The left side in parts by columns, and the result's columns by themselves. first[n]: what y
 * was. */
static void check_parts(struct call *c, const float *whole, const float *bias, const float *first) {
    int rows = c->size[0], n = c->size[1], k = c->size[2], step = sdt_linear_step(k);
    float *x = blank((size_t)rows * k), *y = blank((size_t)rows * n);
    float *want = blank((size_t)rows * n), *room = blank(sdt_linear_residual_scratch(rows));
    const float *parts[64], *w = at(c, 1);
    int bound[65] = {0}, count = 0, cut = n / 3;
    for (int from = 0; from < k && count < 64; from = bound[count]) {
        int width = count < 63 ? (count % 2 + 1) * step : k - from;
        bound[count + 1] = k - from < width ? k : from + width;
        parts[count] = x + (size_t)rows * from;
        copy_columns(rows, k, from, bound[count + 1] - from, at(c, 0), x + (size_t)rows * from);
        count++;
    }
    for (int i = 0; i < 2; i++) {
        int from = i ? cut : 0, columns = i ? n - cut : cut;
        size_t ny = (size_t)rows * columns;
        if (columns == 0)
            continue;
        if (first)
            copy_columns(rows, n, from, columns, first, y);
        copy_columns(rows, n, from, columns, whole, want);
        sdt_linear_parts(rows, columns, k, bound, parts,
                         sdt_plain_weight(w + (size_t)from * (size_t)k), bias ? bias + from : NULL,
                         first != NULL, y, first ? room : NULL);
        check_bits(ny, y, want, "%d rows, columns %d..%d of %d x %d, in %d parts", rows, from,
                   from + columns - 1, n, k, count);
    }
    free(x);
    free(y);
    free(want);
    free(room);
}

/* Packed weights, with arrays aligned otherwise. */
static void linear_also(struct call *c) {
    if (epilogue_of(c) == SDT_EPILOGUE_NONE)
        check_parts(c, at(c, 3), at(c, 2), NULL);
    size_t nx = c->array[0].n, ny = c->array[3].n;
    float *x = blank(nx + 1), *y = blank(ny + 1);
    void *packed = packed_weight(SDT_F32, c->size[1], c->size[2], at(c, 1));
    memcpy(x + 1, at(c, 0), nx * sizeof *x);
    sdt_linear(c->size[0], c->size[1], c->size[2], x + 1, (struct sdt_weight){packed, SDT_F32, 1},
               at(c, 2), epilogue_of(c), y + 1);
    check_bits(ny, y + 1, at(c, 3), "linear %d x %d x %d packed, aligned otherwise", c->size[0],
               c->size[1], c->size[2]);
    free(x);
    free(y);
    free(packed);
}

/* ---- linear_residual: rows, n, k, gates, bias ------------------------------------------------ */

static void residual_grid(const struct operation *operation) {
    static const int rows[] = {1, 3, 7, 128}, ns[] = {1, 5, 48, 131}, ks[] = {1, 3, 17, 400};
    static const int widths[] = {1, 8, 12, 31, 64};
    int i = 0;
    if (backend.kind != BODIES)
        for (size_t r = 0; r < COUNT(rows); r++)
            for (size_t n = 0; n < COUNT(ns); n++)
                for (size_t k = 0; k < COUNT(ks); k++, i++)
                    TRY(rows[r], ns[n], ks[k], i % 4, i / 4 % 2);
    else
        for (size_t n = 0; n < COUNT(widths); n++)
            for (int given = 0; given < 8; given++)
                TRY(3, widths[n], 5, given % 4, given / 4);
    for (int gates = 0; gates < 4; gates++)
        TRY(7 + 60 * gates, 66, 12 + gates, gates, 1);
    if (backend.kind == GPU && !small)
        TRY(130, 1536, 1536, 3, 1);
}
static void residual_make(struct call *c) {
    size_t rows = (size_t)c->size[0], n = (size_t)c->size[1], k = (size_t)c->size[2];
    in(c, rows * k, 1.f)->row = k;
    in(c, n * k, weight_scale(c));
    in_if(c, c->size[4], c->dtype, n, 1.f);
    in_if(c, c->size[3] & 1, SDT_F32, n, 1.f);
    in_if(c, c->size[3] & 2, SDT_F32, n, 1.f);
    struct array *y = in_out(c, rows * n, 2.f);
    y->row = n;
    y->limits.gpu = k > 1000 ? 5e-6 : 0.;
}
static void residual_plain(struct call *c) {
    sdt_linear_residual_reference(c->size[0], c->size[1], c->size[2], at(c, 0), at(c, 1), at(c, 2),
                                  at(c, 3), at(c, 4), at(c, 5));
}
static void residual_with(struct call *c, struct sdt_weight w, float *y) {
    sdt_linear_residual(c->size[0], c->size[1], c->size[2], at(c, 0), w, at(c, 2), at(c, 3),
                        at(c, 4), y,
                        scratch(sdt_linear_residual_scratch(c->size[0]) * sizeof(float)));
}
static void residual_cpu(struct call *c) { residual_with(c, sdt_plain_weight(at(c, 1)), at(c, 5)); }
static void residual_cuda(struct call *c) {
    done(c, sdt_cuda_linear_residual(
                cuda, c->dtype, c->size[0], c->size[1], c->size[2], at(c, 0), at(c, 1), at(c, 2),
                at(c, 3), at(c, 4), at(c, 5),
                scratch(sdt_cuda_linear_residual_scratch(c->dtype, c->size[0], c->size[1]))));
}
static void residual_also(struct call *c) {
    const struct array *y = &c->array[5];
    if (!at(c, 3) && !at(c, 4))
        check_parts(c, at(c, 5), at(c, 2), y->start);
    float *again = copy_of(y->n, y->start);
    void *packed = packed_weight(SDT_F32, c->size[1], c->size[2], at(c, 1));
    residual_with(c, (struct sdt_weight){packed, SDT_F32, 1}, again);
    check_bits(y->n, again, y->at, "residual %d x %d x %d packed", c->size[0], c->size[1],
               c->size[2]);
    free(again);
    free(packed);
}

/* ---- bits ------------------------------------------------------------------------------------ */

/* Rows 1..most at every offset up to `offsets` apart from the end, against each row alone. */
static void check_rows(int n, int k, int most, int offsets) {
    size_t ny = (size_t)most * n;
    float *x = numbers((size_t)most * k, 1.f), *w = numbers((size_t)n * k, 1.f);
    float *bias = numbers(n, 1.f), *gate = numbers(n, 1.f), *before = numbers(ny, 1.f);
    float *alone = blank(ny), *alone_2 = copy_of(ny, before), *y = blank(ny), *y_2 = blank(ny);
    float *scratch = blank(sdt_linear_residual_scratch(most));
    void *packed = packed_weight(SDT_F32, n, k, w);
    struct sdt_weight weight = {packed, SDT_F32, 1};
    for (int r = 0; r < most; r++) {
        const float *row = x + (size_t)r * k;
        sdt_linear(1, n, k, row, weight, bias, SDT_EPILOGUE_GELU_TANH, alone + (size_t)r * n);
        sdt_linear_residual(1, n, k, row, weight, bias, gate, NULL, alone_2 + (size_t)r * n,
                            scratch);
    }
    for (int rows = 1; rows <= most; rows++)
        for (int first = 0; first + rows <= most && first < offsets; first++) {
            size_t at = (size_t)first * n, count = (size_t)rows * n;
            const float *part = x + (size_t)first * k;
            sdt_linear(rows, n, k, part, weight, bias, SDT_EPILOGUE_GELU_TANH, y);
            check_bits(count, y, alone + at, "%d rows from %d, %d x %d", rows, first, n, k);
            if (first % 16)
                continue;
            memcpy(y_2, before + at, count * sizeof *y_2);
            sdt_linear_residual(rows, n, k, part, weight, bias, gate, NULL, y_2, scratch);
            check_bits(count, y_2, alone_2 + at, "residual of %d rows from %d, %d x %d", rows,
                       first, n, k);
        }
    free(x);
    free(w);
    free(bias);
    free(gate);
    free(before);
    free(alone);
    free(alone_2);
    free(y);
    free(y_2);
    free(scratch);
    free(packed);
}

/* Weights that are exact in all types, stored in each, packed and not: one result. */
static void check_types(int rows, int n, int k) {
    static const enum sdt_dtype dtypes[] = {SDT_F32, SDT_BF16, SDT_F16, SDT_F64};
    size_t count = (size_t)n * k, ny = (size_t)rows * n;
    uint16_t *half = malloc(2 * count + 1), *brain = malloc(2 * count);
    double *wide = malloc(8 * count);
    float *w = numbers(count, 0.f), *x = numbers((size_t)rows * k, 1.f);
    float *want = blank(ny), *got = blank(ny);
    if (!half || !brain || !wide)
        abort();
    /* Odd bytes: what a file holds need not be aligned. Exponents of a half, 7 bits of mantissa;
     * some subnormal halves. */
    char *odd = (char *)half + 1;
    for (size_t i = 0; i < count; i++) {
        uint16_t bits = (uint16_t)(random_bits() & 0xbff8);
        memcpy(odd + 2 * i, &bits, 2);
    }
    sdt_convert(SDT_F16, count, odd, w);
    sdt_convert_to(SDT_F32, count, w, SDT_BF16, brain);
    for (size_t i = 0; i < count; i++)
        wide[i] = w[i];
    const void *const stored[] = {w, brain, odd, wide};
    sdt_linear(rows, n, k, x, sdt_plain_weight(w), NULL, SDT_EPILOGUE_NONE, want);
    for (size_t t = 0; t < COUNT(dtypes); t++) {
        struct sdt_weight plain = {stored[t], dtypes[t], 0};
        sdt_linear(rows, n, k, x, plain, NULL, SDT_EPILOGUE_NONE, got);
        check_bits(ny, got, want, "%s, %d x %d x %d", sdt_dtype_name(dtypes[t]), rows, n, k);
        void *packed = packed_weight(dtypes[t], n, k, stored[t]);
        memset(got, 0xff, ny * sizeof *got);
        sdt_linear(rows, n, k, x, (struct sdt_weight){packed, SDT_F32, 1}, NULL, SDT_EPILOGUE_NONE,
                   got);
        check_bits(ny, got, want, "%s packed, %d x %d x %d", sdt_dtype_name(dtypes[t]), rows, n, k);
        free(packed);
    }
    free(half);
    free(brain);
    free(wide);
    free(w);
    free(x);
    free(want);
    free(got);
}

/* One micro-kernel, and whether its bits are those of the processor's own: all use fused
 * multiply-adds where there are any. */
static void check_variant(const char *name, int fused) {
    enum { ROWS = 37, N = 131, K = 700 };
    float *x = numbers(ROWS * K, 1.f), *w = numbers(N * K, 1.f);
    float *want = blank(ROWS * N), *got = blank(ROWS * N);
    const char *own = sdt__micro_kernel()->name;
    sdt_linear(ROWS, N, K, x, sdt_plain_weight(w), NULL, SDT_EPILOGUE_NONE, want);
    if (!sdt__micro_kernel_choose(name)) {
        fprintf(stderr, "no %s on this processor\n", name);
    } else {
        sdt_linear(ROWS, N, K, x, sdt_plain_weight(w), NULL, SDT_EPILOGUE_NONE, got);
        if (fused)
            check_bits(ROWS * N, got, want, "%s and %s", name, own);
        check_rows(40, 70, 65, 65);
        check_rows(200, 600, 33, 3);
        check_types(5, 131, 301);
        check_types(19, 56, 40);
        operation_try(&linear_operations[0], (const int[SIZES]){7, 131, 400, SDT_EPILOGUE_SILU, 1});
        operation_try(&linear_operations[1], (const int[SIZES]){7, 24, 400, 3, 1});
        sdt__micro_kernel_choose(own);
    }
    free(x);
    free(w);
    free(want);
    free(got);
}

/* More rows than are multiplied at once, packed and not. */
static void check_many_rows(void) {
    enum { ROWS = 1100, N = 100, K = 300 };
    float *x = numbers(ROWS * K, 1.f), *w = numbers(N * K, 1.f),
          *room = blank(sdt_linear_residual_scratch(ROWS));
    float *want = blank(ROWS * N), *got = blank(ROWS * N);
    void *packed = packed_weight(SDT_F32, N, K, w);
    sdt_linear(ROWS, N, K, x, (struct sdt_weight){packed, SDT_F32, 1}, NULL, SDT_EPILOGUE_NONE,
               want);
    sdt_linear(ROWS, N, K, x, sdt_plain_weight(w), NULL, SDT_EPILOGUE_NONE, got);
    check_bits(ROWS * N, got, want, "%d rows", ROWS);
    for (int add = 0; add < 2; add++) {
        memset(want, 0, ROWS * N * sizeof *want);
        memset(got, add ? 0 : 0xff, ROWS * N * sizeof *got);
        sdt_linear_residual(ROWS, N, K, x, sdt_plain_weight(w), NULL, NULL, NULL, want, room);
        sdt_linear_parts(ROWS, N, K, (const int[]){0, K}, (const float *const[]){x},
                         sdt_plain_weight(w), NULL, add, got, room);
        check_bits(ROWS * N, got, want, "%d rows, in a part", ROWS);
    }
    free(x);
    free(w);
    free(room);
    free(want);
    free(got);
    free(packed);
}

static void check_bits_of_products(void) {
    check_rows(33, 40, 257, 257);
    check_rows(400, 530, 257, 9);
    check_many_rows();
    for (int n = 8; n < 200; n += 24)
        check_types(6, n, 24);
#ifdef __FMA__
    check_variant("generic", 1);
#else
    check_variant("generic", 0);
#endif
    check_variant("avx2", 1);
    check_variant("avx512", 1);
    fprintf(stderr, "micro-kernel of this processor: %s\n", sdt__micro_kernel()->name);
}

/* ---- add_low_rank: rows, columns, rank ------------------------------------------------------- */

static void low_rank_grid(const struct operation *operation) {
    TRY(1, 1, 1);
    TRY(3, 31, 4);
    TRY(7, 33, 64);
    TRY(64, 64, 5);
    TRY(5, 97, 128);
}
static void low_rank_make(struct call *c) {
    size_t rows = (size_t)c->size[0], columns = (size_t)c->size[1], rank = (size_t)c->size[2];
    in(c, rows * rank, 1.f)->row = rank;
    in(c, rank * columns, 1.f);
    in_out(c, rows * columns, 1.f)->row = columns;
}
static void low_rank_plain(struct call *c) {
    sdt_add_low_rank_reference(c->size[0], c->size[1], c->size[2], at(c, 0), at(c, 1), -0.7f,
                               at(c, 2));
}
static void low_rank_cpu(struct call *c) {
    sdt_add_low_rank(c->size[0], c->size[1], c->size[2], at(c, 0), at(c, 1), -0.7f, at(c, 2));
}

const struct operation linear_operations[] = {
    {.name = "add_low_rank",
     .grid = low_rank_grid,
     .make = low_rank_make,
     .plain = low_rank_plain,
     .cpu = low_rank_cpu,
     .limits = {.f32 = 1e-6},
     .by_rows = true},
    {.name = "linear",
     .grid = linear_grid,
     .make = linear_make,
     .plain = linear_plain,
     .cpu = linear_cpu,
     .cuda = linear_cuda,
     .limits = {.f32 = 3e-6},
     .by_rows = true,
     .also = linear_also,
     .more = check_bits_of_products},
    {.name = "linear_residual",
     .grid = residual_grid,
     .make = residual_make,
     .plain = residual_plain,
     .cpu = residual_cpu,
     .cuda = residual_cuda,
     .limits = {.f32 = 3e-6, .bodies = 0x1p-6, .l2 = 6e-3}, /* the product is rounded as well */
     .by_rows = true,
     .ways = true,
     .also = residual_also},
    {0},
};

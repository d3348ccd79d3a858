/* Stored formats to float and to bfloat16: every 16-bit pattern, unaligned sources, ties. */
#include "tests/kernels/operation.h"

/* ---- convert_to: n, from, to ----------------------------------------------------------------- */

static void convert_grid(const struct operation *operation) {
    static const int sizes[] = {0, 1, 3, 7, 8, 9, 31, 64, 1000};
    static const int types[] = {SDT_F32, SDT_BF16};
    for (size_t i = 0; i < COUNT(sizes); i++)
        for (size_t from = 0; from < COUNT(types); from++)
            for (size_t to = 0; to < COUNT(types); to++)
                TRY(sizes[i], types[from], types[to]);
    if (backend.kind == GPU)
        for (size_t from = 0; from < COUNT(types); from++)
            TRY(70001, types[from], types[!from]);
}
static void convert_make(struct call *c) {
    in_type(c, (enum sdt_dtype)c->size[1], (size_t)c->size[0], backend.kind == GPU ? 100.f : 3.f);
    out_type(c, (enum sdt_dtype)c->size[2], (size_t)c->size[0]);
}
static void convert_plain(struct call *c) {
    memcpy(at(c, 1), at(c, 0), c->array[0].n * sizeof(float)); /* rounded where it is compared */
}
static void convert_cpu(struct call *c) {
    sdt_convert_to((enum sdt_dtype)c->size[1], c->array[0].n, at(c, 0), (enum sdt_dtype)c->size[2],
                   at(c, 1));
}
static void convert_cuda(struct call *c) {
    done(c, sdt_cuda_convert(cuda, c->array[0].n, (enum sdt_dtype)c->size[1], at(c, 0),
                             (enum sdt_dtype)c->size[2], at(c, 1)));
}

/* ---- every pattern --------------------------------------------------------------------------- */

static void check_halves(enum sdt_dtype dtype) {
    enum { ALL = 65536 };
    char *src = malloc(2 * ALL + 1);
    float *got = blank(ALL), *want = blank(ALL);
    if (!src)
        abort();
    for (int i = 0; i < ALL; i++) {
        uint16_t bits = (uint16_t)i;
        memcpy(src + 1 + 2 * i, &bits, 2);
    }
    sdt_convert(dtype, ALL, src + 1, got);
    sdt_convert_reference(dtype, ALL, src + 1, want);
    for (int i = 0; i < ALL; i++)
        if (isnan(got[i]) && isnan(want[i])) /* which NaN does not matter */
            got[i] = want[i] = 0.f;
    check_bits(ALL, got, want, "%s", sdt_dtype_name(dtype));
    free(src);
    free(got);
    free(want);
}

static void check_wide(size_t n) {
    char *src = calloc(8 * n + 1, 1);
    float *x = numbers(n, 3.f), *got = blank(n), *want = blank(n);
    if (!src)
        abort();
    memcpy(src + 1, x, 4 * n);
    sdt_convert(SDT_F32, n, src + 1, got);
    check_bits(n, got, x, "F32");
    for (size_t i = 0; i < n; i++) {
        double z = x[i] / 3.;
        memcpy(src + 1 + 8 * i, &z, 8);
    }
    sdt_convert(SDT_F64, n, src + 1, got);
    sdt_convert_reference(SDT_F64, n, src + 1, want);
    check_bits(n, got, want, "F64");
    free(src);
    free(x);
    free(got);
    free(want);
}

static int is_nan(uint16_t bits) { return (bits & 0x7fff) > 0x7f80; }

static void check_bf16(enum sdt_dtype from, size_t n, const void *src) {
    uint16_t *got = calloc(n + 1, sizeof *got), *want = calloc(n + 1, sizeof *want);
    if (!got || !want)
        abort();
    got[n] = want[n] = 7;
    sdt_convert_to(from, n, src, SDT_BF16, got);
    sdt_convert_to_reference(from, n, src, want);
    for (size_t i = 0; i <= n; i++)
        /* which NaN does not matter */
        if (got[i] != want[i] && !(is_nan(got[i]) && is_nan(want[i])) && check_failures++ < 10)
            fprintf(stderr, "%s to BF16, number %zu of %zu: %04x, not %04x\n", sdt_dtype_name(from),
                    i, n, got[i], want[i]);
    free(got);
    free(want);
}

/* Every sign and exponent with mantissas at, just below and just above a tie; and numbers. */
static void check_to_bf16(void) {
    enum { HIGH = 65536, LOW = 6 };
    static const uint16_t low[LOW] = {0, 1, 0x7fff, 0x8000, 0x8001, 0xffff};
    uint32_t *bits = calloc((size_t)HIGH * LOW, sizeof *bits);
    char *halves = malloc(2 * HIGH + 1), *wide = malloc(8 * 300);
    float *x = numbers(300, 3.f), back[300];
    if (!bits || !halves || !wide)
        abort();
    for (unsigned h = 0; h < HIGH; h++) {
        uint16_t half = (uint16_t)h;
        memcpy(halves + 1 + 2 * h, &half, 2);
        for (int l = 0; l < LOW; l++)
            bits[h * LOW + (unsigned)l] = h << 16 | low[l];
    }
    check_bf16(SDT_F32, (size_t)HIGH * LOW, bits);
    check_bf16(SDT_F16, HIGH, halves + 1);
    for (int i = 0; i < 300; i++) {
        double z = x[i] / 3.;
        memcpy(wide + 8 * i, &z, 8);
    }
    check_bf16(SDT_F64, 300, wide);
    uint16_t *same = calloc(HIGH, sizeof *same);
    sdt_convert_to(SDT_BF16, HIGH, halves + 1, SDT_BF16, same);
    if (memcmp(same, halves + 1, 2 * HIGH)) {
        fprintf(stderr, "BF16 to BF16 is no copy\n");
        check_failures++;
    }
    sdt_convert_to(SDT_F32, 300, x, SDT_F32, back);
    check_bits(300, back, x, "F32 to F32");
    free(same);
    free(bits);
    free(halves);
    free(wide);
    free(x);
}

/* Every float16 from itself, and from the floats at, just below and just above the next tie. */
static void check_to_f16(void) {
    for (uint32_t h = 0; h < 0x7c00; h++) {
        float here, next;
        uint16_t low = (uint16_t)h, high = (uint16_t)(h + 1), got[5];
        sdt_convert(SDT_F16, 1, &low, &here);
        sdt_convert(SDT_F16, 1, &high, &next);
        if (h == 0x7bff)
            next = 65536.f;
        const float tie = here + (next - here) / 2.f;
        const float x[5] = {here, nextafterf(tie, 0.f), tie, nextafterf(tie, 1e9f), -here};
        const uint16_t want[5] = {low, low, low % 2 ? high : low, high, (uint16_t)(low | 0x8000)};
        sdt_convert_to(SDT_F32, 5, x, SDT_F16, got);
        for (int i = 0; i < 5; i++)
            if (got[i] != want[i] && check_failures++ < 10)
                fprintf(stderr, "%a to F16: %04x, not %04x\n", x[i], got[i], want[i]);
    }
    const float far[3] = {INFINITY, -INFINITY, NAN};
    uint16_t got[3];
    sdt_convert_to(SDT_F32, 3, far, SDT_F16, got);
    if (got[0] != 0x7c00 || got[1] != 0xfc00 || (got[2] & 0x7fff) <= 0x7c00)
        check_failures++;
}

static void check_patterns(void) {
    check_to_f16();
    static const char *names[] = {"F32", "F16", "BF16", "F64",  "I64",     "I32",
                                  "I16", "I8",  "U8",   "BOOL", "F8_E4M3", "F8_E5M2"};
    static const size_t sizes[] = {4, 2, 2, 8, 8, 4, 2, 1, 1, 1, 1, 1};
    for (int i = 0; i < SDT_DTYPES; i++)
        if (strcmp(sdt_dtype_name(i), names[i]) != 0 || sdt_dtype_size(i) != sizes[i]) {
            fprintf(stderr, "dtype %d: %s of %zu bytes\n", i, sdt_dtype_name(i), sdt_dtype_size(i));
            check_failures++;
        }
    check_halves(SDT_F16);
    check_halves(SDT_BF16);
    check_wide(0);
    check_wide(1);
    check_wide(37);
    check_to_bf16();
}

const struct operation convert_operations[] = {
    {.name = "convert_to",
     .grid = convert_grid,
     .make = convert_make,
     .plain = convert_plain,
     .cpu = convert_cpu,
     .cuda = convert_cuda,
     .float32 = true,
     .more = check_patterns},
    {0},
};

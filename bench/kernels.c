/* stardit-bench kernels: each kernel at a realistic size on one core, checked against its plain
 * version and timed.
 *
 * A kernel's rate alone says little on a machine that does other things too, so each one takes
 * turns with a yardstick on the spot: multiply-adds in registers where arithmetic is the work
 * (bench/peak.h), a memcpy of as many bytes as the kernel must at least move where memory is. Both
 * go over arrays of their own again and again, as many bytes of them, so both find them in the same
 * cache or in memory. The thread's CPU time counts; the share is median over median, and beside it
 * that of the kernel's
 * best twentieth: nearer to what a processor without neighbours gives. The error is max |kernel -
 * reference| / max |reference| over a part of the output that the double-precision version can
 * compute in reasonable time. */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "bench/kernels.h"

#include "apps/options.h"
#include "bench/cuda.h"
#include "bench/peak.h"
#include "kernels/reference.h"

#ifdef HAVE_BLAS
#include <cblas.h>
#endif
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ARRAYS = 12, LEAST = 9, MOST = 400, COPIES = 8 };

struct bench {
    int argc;
    char **argv;
    int *used; /* [argc]: a kernel has that name */
    int failed, no_memory;
    float *yard[2];       /* bytes / 2 each */
    size_t yard_bytes;    /* that there are of each */
    float *array[ARRAYS]; /* of the kernel at hand */
    int arrays;
    double bytes;           /* of the memcpy to take turns with; 0: the multiply-adds */
    double seconds[MOST];   /* of a call, in each turn */
    double yardstick[MOST]; /* GFLOP/s or GB/s, in each turn */
    double turn, spent;     /* when the turn at hand began; seconds of all */
    int calls, check;       /* of the turn at hand; after which the clock is read next */
    int turns;              /* that are done */
    int rows;               /* printed */
};

/* Aligned as StarPU's buffers are (runtime/machine.c). */
static float *room(size_t bytes) { return aligned_alloc(64, (bytes + 63) / 64 * 64 + 64); }

/* n random floats of -scale..scale, until the kernel's end; NULL remembers that memory ran out. */
static float *numbers(struct bench *bench, size_t n, float scale) {
    float *x = bench->arrays < ARRAYS ? room(n * sizeof *x) : NULL;
    uint64_t state = 88172645463325252u + bench->arrays;
    if (!x) {
        bench->no_memory = 1;
        return NULL;
    }
    for (size_t i = 0; i < n; i++) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        x[i] = scale * ((float)(state >> 40) * 0x1p-23f - 1.f);
    }
    return bench->array[bench->arrays++] = x;
}

static int asked(struct bench *bench, const char *name) {
    int all = bench->argc < 2;
    for (int i = 1; i < bench->argc; i++)
        if (strcmp(bench->argv[i], name) == 0)
            all = bench->used[i] = 1;
    return all;
}

/* GB/s of a memcpy of the kernel's bytes: half is read, half written. The first one brings the
 * arrays back into the cache. */
static double copy_rate(struct bench *bench) {
    size_t half = (size_t)(bench->bytes / 2);
    double start = 0, seconds = 0;
    int calls = 0;
    if (bench->no_memory)
        return 1;
    memcpy(bench->yard[1], bench->yard[0], half);
    start = bench_cpu_time();
    for (int check = 1; seconds < 0.5e-3; check *= 2) {
        for (; calls < check; calls++) {
            memcpy(bench->yard[1], bench->yard[0], half);
            __asm__ volatile("" : : "r"(bench->yard[1]) : "memory"); /* each of them counts */
        }
        seconds = bench_cpu_time() - start;
    }
    return 1e-9 * bench->bytes * calls / seconds;
}

/* The head of the loop round a kernel's call: while (race(bench)) kernel(...). A turn is a call
 * that brings the arrays back into the cache, then those of a millisecond or two, then a slice of
 * the yardstick. The clock is read after 1, 2, 4, ... calls: small kernels take less than it. */
static int race(struct bench *bench) {
    int done = bench->calls++;
    if (done <= 0) { /* the call that warms up, and the first that counts */
        bench->check = 1;
        bench->turn = bench_cpu_time();
        return 1;
    }
    if (done < bench->check)
        return 1;
    double length = bench_cpu_time() - bench->turn;
    if (length < 1e-3) {
        bench->check *= 2;
        return 1;
    }
    bench->seconds[bench->turns] = length / done;
    bench->yardstick[bench->turns++] = bench->bytes > 0 ? copy_rate(bench) : bench_fma_peak();
    bench->spent += length;
    bench->calls = 0;
    return bench->turns < MOST && (bench->turns < LEAST || bench->spent <= 0.4);
}

/* The start of each kernel's function: a fresh clock. bytes 0: arithmetic. */
static void begin(struct bench *bench, double bytes) {
    size_t half = (size_t)(bytes / 2);
    bench->bytes = bytes;
    bench->calls = -1;
    bench->turns = 0;
    bench->spent = 0;
    for (int i = 0; i < 2 && half > bench->yard_bytes; i++) {
        free(bench->yard[i]);
        bench->yard[i] = room(half);
        if (bench->yard[i])
            memset(bench->yard[i], i, half);
        bench->no_memory |= !bench->yard[i];
    }
    if (half > bench->yard_bytes)
        bench->yard_bytes = half;
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double error_of(size_t n, const float *got /* [n] */, const float *want /* [n] */) {
    double worst = 0., scale = 1e-30;
    for (size_t i = 0; i < n; i++) {
        double error = fabs((double)got[i] - want[i]);
        if (!(error <= worst)) /* a NaN too */
            worst = isnan(error) ? INFINITY : error;
        scale = fmax(scale, fabs((double)want[i]));
    }
    return worst / scale;
}

/* work: FLOPs, or bytes */
static void end(struct bench *bench, const char *name, const char *size, double work, double error,
                double tolerance) {
    int n = bench->turns, good = error <= tolerance;
    qsort(bench->seconds, (size_t)n, sizeof *bench->seconds, ascending);
    qsort(bench->yardstick, (size_t)n, sizeof *bench->yardstick, ascending);
    double rate = 1e-9 * work / bench->seconds[n / 2];
    double share = 100. * rate / bench->yardstick[n / 2];
    double best = 1e-7 * work / bench->seconds[n / 20] / bench->yardstick[n / 2];
    if (!bench->rows++)
        printf("%-16s %-38s %9s %9s %16s %7s %5s\n", "kernel", "size", "error", "allowed", "rate",
               "median", "best");
    printf("%-16s %-38s %9.1e %9.1e %8.1f %s %6.0f%% %4.0f%% of %s%s\n", name, size, error,
           tolerance, rate, bench->bytes > 0 ? "GB/s   " : "GFLOP/s", share, best,
           bench->bytes > 0 ? "memcpy" : "peak", good ? "" : "  WRONG");
    fflush(stdout);
    bench->failed |= !good;
}

/* Packed weights as a run finds them: another layer's each time, from the third cache or from
 * memory. */
struct weights {
    struct sdt_weight weight[COPIES];
    int count, next;
};

static struct sdt_weight next_of(struct weights *weights) {
    return weights->weight[weights->next++ % weights->count];
}

/* w[n, k] in the order of the kernels, in runs of k, until the kernel's end; as often as fills 64
 * MB. */
static struct weights packed(struct bench *bench, enum sdt_dtype dtype, int n, int k, int run,
                             const void *w) {
    size_t size = sdt_packed_size(dtype, n, k), one = (size + 63) / 64 * 64;
    size_t count = ((size_t)64 << 20) / one;
    struct weights weights = {.count = count < 1 ? 1 : count > COPIES ? COPIES : (int)count};
    char *to = (char *)numbers(bench, (size_t)weights.count * one / sizeof(float), 0.f);
    for (int i = 0; to && i < weights.count; i++, to += one) {
        sdt_pack_weight(dtype, n, k, run, w, to);
        weights.weight[i] = (struct sdt_weight){to, dtype, 1};
    }
    return weights;
}

/* How the weights of a layer are stored. */
enum store { PACKED, PACKED_BF16, MAPPED };

static void bench_linear(struct bench *bench, int rows, int n, int k, enum sdt_epilogue epilogue,
                         enum store store) {
    enum { CHECKED = 2 };
    static const char *const names[] = {"", ", bf16", ", not packed"};
    size_t count = (size_t)n * (size_t)k;
    float *x = numbers(bench, (size_t)rows * k, 1.f), *w = numbers(bench, count, 0.1f);
    float *bias = numbers(bench, n, 1.f), *y = numbers(bench, (size_t)rows * n, 1.f);
    float *want = numbers(bench, (size_t)CHECKED * n, 0.f),
          *narrow = numbers(bench, count / 2, 0.f);
    char size[64];
    if (bench->no_memory)
        return;
    if (store == PACKED_BF16) {
        sdt_convert_to(SDT_F32, count, w, SDT_BF16, narrow);
        sdt_convert(SDT_BF16, count, narrow, w);
    }
    struct weights weights = packed(bench, store == PACKED_BF16 ? SDT_BF16 : SDT_F32, n, k, k,
                                    store == PACKED_BF16 ? (void *)narrow : w);
    if (bench->no_memory)
        return;
    begin(bench, 0);
    while (race(bench))
        sdt_linear(rows, n, k, x, store == MAPPED ? sdt_plain_weight(w) : next_of(&weights), bias,
                   epilogue, y);
    int checked = rows < CHECKED ? rows : CHECKED;
    sdt_linear_reference(checked, n, k, x, w, bias, epilogue, want);
    snprintf(size, sizeof size, "%d row%s, %d -> %d%s%s", rows, rows == 1 ? "" : "s", k, n,
             epilogue ? ", gelu" : "", names[store]);
    end(bench, "linear", size, 2. * rows * n * k, error_of((size_t)checked * n, y, want), 3e-6);
}

static void bench_residual(struct bench *bench, int rows, int n, int k) {
    enum { CHECKED = 2 };
    size_t all = (size_t)rows * n, part = (size_t)CHECKED * n;
    float *x = numbers(bench, (size_t)rows * k, 1.f), *w = numbers(bench, (size_t)n * k, 0.1f);
    float *bias = numbers(bench, n, 1.f), *gate = numbers(bench, n, 1.f);
    float *y = numbers(bench, all, 1.f), *want = numbers(bench, part, 0.f);
    float *scratch = numbers(bench, sdt_linear_residual_scratch(rows), 0.f);
    char size[64];
    if (bench->no_memory)
        return;
    struct weights weights = packed(bench, SDT_F32, n, k, k, w);
    if (bench->no_memory)
        return;
    begin(bench, 0);
    while (race(bench))
        sdt_linear_residual(rows, n, k, x, next_of(&weights), bias, gate, gate, y, scratch);
    memcpy(y, x, part * sizeof *y); /* it grew with each pass */
    memcpy(want, x, part * sizeof *y);
    sdt_linear_residual(rows, n, k, x, next_of(&weights), bias, gate, gate, y, scratch);
    sdt_linear_residual_reference(CHECKED, n, k, x, w, bias, gate, gate, want);
    snprintf(size, sizeof size, "%d rows, %d -> %d, gated", rows, k, n);
    end(bench, "linear_residual", size, 2. * rows * n * k, error_of(part, y, want), 3e-6);
}

#ifdef HAVE_BLAS
/* What BLAS makes of the same product, for comparison: nothing of stardit's. */
static void bench_blas(struct bench *bench, int rows, int n, int k) {
    float *x = numbers(bench, (size_t)rows * k, 1.f), *w = numbers(bench, (size_t)n * k, 0.1f);
    float *y = numbers(bench, (size_t)rows * n, 1.f), *want = numbers(bench, n, 1.f);
    char size[64];
    if (bench->no_memory)
        return;
    begin(bench, 0);
    while (race(bench))
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, rows, n, k, 1.f, x, k, w, k, 0.f, y,
                    n);
    sdt_linear_reference(1, n, k, x, w, NULL, SDT_EPILOGUE_NONE, want);
    snprintf(size, sizeof size, "%d rows, %d -> %d", rows, k, n);
    end(bench, "blas", size, 2. * rows * n * k, error_of((size_t)n, y, want), 3e-6);
}
#endif

static void bench_norms(struct bench *bench, int rows, int d) {
    size_t n = (size_t)rows * d;
    float *x = numbers(bench, n, 1.f), *y = numbers(bench, n, 0.f), *want = numbers(bench, n, 0.f);
    float *scale = numbers(bench, d, 1.f), *shift = numbers(bench, d, 1.f);
    double bytes = 2. * n * sizeof(float);
    char size[64];
    if (bench->no_memory)
        return;
    snprintf(size, sizeof size, "%d rows of %d", rows, d);
    if (asked(bench, "layer_norm")) {
        begin(bench, bytes);
        while (race(bench))
            sdt_layer_norm(rows, d, x, 1e-6f, NULL, NULL, scale, shift, shift, scale, y);
        sdt_layer_norm_reference(rows, d, x, 1e-6f, NULL, NULL, scale, shift, shift, scale, want);
        end(bench, "layer_norm", size, bytes, error_of(n, y, want), 2e-6);
    }
    if (asked(bench, "rms_norm")) {
        begin(bench, bytes);
        while (race(bench))
            sdt_rms_norm(rows, d, x, 1e-6f, scale, y);
        sdt_rms_norm_reference(rows, d, x, 1e-6f, scale, want);
        end(bench, "rms_norm", size, bytes, error_of(n, y, want), 2e-6);
    }
}

static void bench_silu(struct bench *bench, size_t n) {
    if (!asked(bench, "silu"))
        return;
    float *x = numbers(bench, n, 5.f), *y = numbers(bench, n, 0.f), *want = numbers(bench, n, 0.f);
    char size[64];
    if (bench->no_memory)
        return;
    begin(bench, 2. * n * sizeof(float));
    while (race(bench))
        sdt_silu(n, x, y);
    sdt_silu_reference(n, x, want);
    snprintf(size, sizeof size, "%zu", n);
    end(bench, "silu", size, bench->bytes, error_of(n, y, want), 5e-7);
}

/* In place, as the text encoder does it; by factors near 1, so that many passes lead nowhere. */
static void bench_gelu(struct bench *bench, size_t n) {
    if (!asked(bench, "gated_gelu"))
        return;
    float *a = numbers(bench, n, 5.f), *near = numbers(bench, n, 1e-4f);
    float *y = numbers(bench, n, 1.f), *want = numbers(bench, n, 1.f);
    char size[64];
    if (bench->no_memory)
        return;
    for (size_t i = 0; i < n; i++)
        near[i] += 1.14459f; /* the tanh form of GELU gives 1 */
    begin(bench, 3. * n * sizeof(float));
    while (race(bench))
        sdt_gated_gelu(n, near, y, y);
    sdt_gated_gelu_reference(n, a, want, near);
    memcpy(y, want, n * sizeof *y);
    sdt_gated_gelu(n, a, y, y);
    snprintf(size, sizeof size, "%zu", n);
    end(bench, "gated_gelu", size, bench->bytes, error_of(n, y, near), 5e-7);
}

static void bench_add(struct bench *bench, size_t n) {
    if (!asked(bench, "add"))
        return;
    float *x = numbers(bench, n, 1.f), *y = numbers(bench, n, 0.f), *want = numbers(bench, n, 0.f);
    char size[64];
    if (bench->no_memory)
        return;
    begin(bench, 3. * n * sizeof(float));
    while (race(bench))
        sdt_add(n, x, y);
    memcpy(y, x, n * sizeof *y);
    memcpy(want, x, n * sizeof *y);
    sdt_add(n, x, y);
    sdt_add_reference(n, x, want);
    snprintf(size, sizeof size, "%zu", n);
    end(bench, "add", size, bench->bytes, error_of(n, y, want), 1e-7);
}

static void bench_heads(struct bench *bench, int rows, int heads, int e) {
    struct sdt_rope rope = {{21, 30, 52}, {e / 2 - 2 * (e / 6), e / 6, e / 6}, 0};
    int d = heads * e, head[] = {0, heads / 2, heads};
    size_t n = (size_t)rows * d, half = (size_t)heads / 2 * rows * e;
    float *x = numbers(bench, n, 1.f), *weight = numbers(bench, d, 1.f);
    float *table = numbers(bench, sdt_rope_table_size(&rope), 0.f), *y = numbers(bench, n, 0.f);
    float *want = numbers(bench, n, 0.f);
    char size[64];
    if (bench->no_memory)
        return;
    float *piece[] = {y, y + half}, *want_piece[] = {want, want + half};
    sdt_rope_table(&rope, 10000., table);
    snprintf(size, sizeof size, "%d rows, %d heads x %d", rows, heads, e);
    if (asked(bench, "split_heads")) {
        begin(bench, 2. * n * sizeof(float));
        while (race(bench))
            sdt_split_heads(rows, rows, heads, e, x, weight, 1e-6f, &rope, table, 999, 2, head,
                            piece);
        sdt_split_heads_reference(rows, rows, heads, e, x, weight, 1e-6f, &rope, table, 999, 2,
                                  head, want_piece);
        end(bench, "split_heads", size, bench->bytes, error_of(n, y, want), 2e-6);
    }
    if (asked(bench, "merge_heads")) {
        const float *from[] = {x, x + half};
        begin(bench, 2. * n * sizeof(float));
        while (race(bench))
            sdt_merge_heads(rows, heads, e, 2, head, from, y);
        sdt_merge_heads_reference(rows, heads, e, 2, head, from, want);
        end(bench, "merge_heads", size, bench->bytes, error_of(n, y, want), 0.);
    }
}

static void bench_attention(struct bench *bench, int rows, int e, int tile, int keys) {
    enum { CHECKED = 2 };
    size_t nk = (size_t)(keys + tile - 1) / tile * tile * e;
    float *q = numbers(bench, (size_t)rows * e, 3.f), *k = numbers(bench, nk, 1.f);
    float *v = numbers(bench, nk, 1.f), *o = numbers(bench, (size_t)rows * e, 0.f);
    float *want = numbers(bench, (size_t)CHECKED * e, 0.f), scale = 1.f / sqrtf((float)e);
    float *scratch = numbers(bench, sdt_attention_scratch(rows, e, keys), 0.f);
    char size[64];
    if (bench->no_memory)
        return;
    begin(bench, 0);
    while (race(bench))
        sdt_attention(1, rows, e, q, tile, keys, k, v, scale, o, NULL, scratch);
    sdt_attention_reference(1, CHECKED, e, q, tile, keys, k, v, scale, want, NULL);
    snprintf(size, sizeof size, "%d rows, %d keys by %d, e %d", rows, keys, tile, e);
    end(bench, "attention", size, 4. * rows * keys * e, error_of((size_t)CHECKED * e, o, want),
        5e-6);
}

static void bench_cross(struct bench *bench, int rows, int heads, int e, int keys) {
    enum { CHECKED = 2 };
    size_t d = (size_t)heads * e;
    float *q = numbers(bench, rows * d, 1.f), *weight = numbers(bench, d, 1.f);
    float *k = numbers(bench, keys * d, 1.f), *v = numbers(bench, keys * d, 1.f);
    float *o = numbers(bench, rows * d, 0.f), *want = numbers(bench, CHECKED * d, 0.f);
    float *scratch = numbers(bench, sdt_cross_attention_scratch(rows, heads, e, keys), 0.f);
    char size[64];
    if (bench->no_memory)
        return;
    begin(bench, 0);
    while (race(bench))
        sdt_cross_attention(rows, heads, e, q, weight, 1e-6f, keys, k, v, 2.f, o, scratch);
    sdt_cross_attention_reference(CHECKED, heads, e, q, weight, 1e-6f, keys, k, v, 2.f, want);
    snprintf(size, sizeof size, "%d rows, %d heads x %d, %d keys", rows, heads, e, keys);
    end(bench, "cross_attention", size, 4. * rows * keys * d, error_of(CHECKED * d, o, want), 5e-6);
}

static void bench_text(struct bench *bench, int tokens, int heads, int e) {
    int width = heads * e;
    size_t n = (size_t)tokens * width;
    float *q = numbers(bench, n, 0.5f), *k = numbers(bench, n, 0.5f), *v = numbers(bench, n, 1.f);
    float *table = numbers(bench, (size_t)32 * heads, 2.f), *o = numbers(bench, n, 0.f);
    float *want = numbers(bench, n, 0.f);
    float *scratch = numbers(bench, sdt_text_attention_scratch(tokens, e), 0.f);
    char size[64];
    if (bench->no_memory)
        return;
    begin(bench, 0);
    while (race(bench))
        sdt_text_attention(tokens, heads, e, q, k, v, 0, heads, table, o, scratch);
    sdt_text_attention_reference(tokens, width, 0, heads, e, q, k, v, table, heads, want);
    snprintf(size, sizeof size, "%d tokens, %d heads x %d", tokens, heads, e);
    end(bench, "text_attention", size, 4. * tokens * tokens * width, error_of(n, o, want), 5e-6);
}

static void bench_frame_attention(struct bench *bench, int pixels, int channels) {
    enum { CHECKED = 2 };
    size_t n = (size_t)pixels * channels, part = (size_t)CHECKED * channels;
    float *qkv = numbers(bench, 3 * n, 1.f), *o = numbers(bench, n, 0.f);
    float *q = numbers(bench, n, 0.f), *k = numbers(bench, n, 0.f), *v = numbers(bench, n, 0.f);
    float *want = numbers(bench, part, 0.f);
    float *scratch = numbers(bench, sdt_frame_attention_scratch(pixels, channels), 0.f);
    char size[64];
    if (bench->no_memory)
        return;
    begin(bench, 0);
    while (race(bench))
        sdt_frame_attention(pixels, channels, 0, pixels, qkv, qkv + channels, qkv + 2 * channels,
                            3 * channels, o, scratch);
    float *to[] = {q, k, v}; /* apart, so that the reference can do the first pixels only */
    for (int i = 0; i < 3 * pixels; i++)
        memcpy(to[i % 3] + (size_t)(i / 3) * channels, qkv + (size_t)i * channels,
               channels * sizeof *qkv);
    sdt_attention_reference(1, CHECKED, channels, q, pixels, pixels, k, v,
                            1.f / sqrtf((float)channels), want, NULL);
    snprintf(size, sizeof size, "%d pixels, %d channels", pixels, channels);
    end(bench, "frame_attention", size, 4. * n * pixels, error_of(part, o, want), 5e-6);
}

static void bench_conv(struct bench *bench, struct sdt_conv conv) {
    enum { CHECKED = 2 }; /* output channels: their weights come first */
    int scale = conv.upsample ? 2 : 1;
    size_t in_pixels = (size_t)conv.height * conv.width, pixels = in_pixels * scale * scale;
    size_t depth = (size_t)conv.kt * conv.ks * conv.ks * conv.in, part = pixels * CHECKED;
    float *w = numbers(bench, conv.out * depth, 0.1f), *bias = numbers(bench, conv.out, 1.f);
    float *scratch = numbers(bench, sdt_conv_scratch(&conv), 0.f);
    float *y = numbers(bench, pixels * conv.out, 0.f);
    float *got = numbers(bench, part, 0.f), *want = numbers(bench, part, 0.f);
    const float *x[3] = {NULL};
    char size[64];
    for (int t = 0; t < conv.kt; t++)
        x[t] = numbers(bench, in_pixels * conv.in, 1.f);
    if (bench->no_memory)
        return;
    struct weights weights = packed(bench, SDT_F32, conv.out, (int)depth, conv.ks * conv.in, w);
    struct sdt_conv_input input = {x, 1, 0, conv.height};
    if (bench->no_memory)
        return;
    begin(bench, 0);
    while (race(bench))
        sdt_conv_rows(&conv, 0, conv.height * scale, &input, next_of(&weights), bias, NULL, y,
                      scratch);
    struct sdt_conv checked = conv;
    checked.out = CHECKED;
    sdt_conv_frame_reference(&checked, x, w, bias, NULL, want);
    for (size_t p = 0; p < pixels; p++)
        memcpy(got + p * CHECKED, y + p * conv.out, CHECKED * sizeof *got);
    snprintf(size, sizeof size, "%d -> %d, (%d,%d,%d), %d x %d%s", conv.in, conv.out, conv.kt,
             conv.ks, conv.ks, conv.height * scale, conv.width * scale,
             conv.upsample ? " enlarged" : "");
    end(bench, "conv_rows", size, 2. * pixels * conv.out * depth, error_of(part, got, want), 3e-6);
}

static void bench_time_upsample(struct bench *bench, int height, int width, int channels) {
    size_t frame = (size_t)height * width * channels;
    float *w = numbers(bench, (size_t)6 * channels * channels, 0.1f);
    float *bias = numbers(bench, 2 * channels, 1.f);
    float *y[2] = {numbers(bench, frame, 0.f), numbers(bench, frame, 0.f)};
    float *want[2] = {numbers(bench, frame, 0.f), numbers(bench, frame, 0.f)};
    float *scratch = numbers(bench, sdt_time_upsample_scratch((size_t)height * width), 0.f);
    const float *x[3];
    char size[64];
    for (int t = 0; t < 3; t++)
        x[t] = numbers(bench, frame, 1.f);
    if (bench->no_memory)
        return;
    struct weights weights = packed(bench, SDT_F32, 2 * channels, 3 * channels, channels, w);
    if (bench->no_memory)
        return;
    begin(bench, 0);
    while (race(bench))
        sdt_time_upsample((size_t)height * width, channels, x, next_of(&weights), bias, y[0], y[1],
                          scratch);
    int rows = height < 2 ? height : 2; /* a pixel sees only itself in the three frames */
    size_t part = (size_t)rows * width * channels;
    sdt_time_upsample_reference(rows, width, channels, x, w, bias, want[0], want[1]);
    snprintf(size, sizeof size, "%d channels, %d x %d", channels, height, width);
    end(bench, "time_upsample", size, 12. * frame * channels,
        fmax(error_of(part, y[0], want[0]), error_of(part, y[1], want[1])), 3e-6);
}

static void bench_pixels(struct bench *bench, size_t pixels, int channels) {
    if (!asked(bench, "channel_norm"))
        return;
    size_t n = pixels * channels;
    float *x = numbers(bench, n, 1.f), *gamma = numbers(bench, channels, 1.f);
    float *y = numbers(bench, n, 0.f), *want = numbers(bench, n, 0.f);
    char size[64];
    if (bench->no_memory)
        return;
    begin(bench, 2. * n * sizeof(float));
    while (race(bench))
        sdt_channel_norm(pixels, channels, x, gamma, 1, y);
    sdt_channel_norm_reference(pixels, channels, x, gamma, 1, want);
    snprintf(size, sizeof size, "%zu pixels, %d channels, silu", pixels, channels);
    end(bench, "channel_norm", size, bench->bytes, error_of(n, y, want), 2e-6);
}

static void bench_sampler(struct bench *bench, size_t n) {
    if (!asked(bench, "sampler_step"))
        return;
    const struct sdt_sampler_step step = {5.f, 0.7f, 1, .4f, -.3f, .2f, .9f, .8f, .6f, -.5f, 0.f};
    float *cond = numbers(bench, n, 1.f), *uncond = numbers(bench, n, 1.f), *got[4], *want[4];
    char size[64];
    for (int i = 0; i < 4; i++) {
        got[i] = numbers(bench, n, 1.f);
        want[i] = numbers(bench, n, 1.f);
    }
    if (bench->no_memory)
        return;
    begin(bench, 10. * n * sizeof(float));
    while (race(bench))
        sdt_sampler_step(&step, n, cond, uncond, got[0], got[1], got[2], got[3]);
    for (int i = 0; i < 4; i++) /* the passes led away from the start */
        memcpy(got[i], want[i], n * sizeof *cond);
    sdt_sampler_step(&step, n, cond, uncond, got[0], got[1], got[2], got[3]);
    sdt_sampler_step_reference(&step, n, cond, uncond, want[0], want[1], want[2], want[3]);
    snprintf(size, sizeof size, "%zu", n);
    end(bench, "sampler_step", size, bench->bytes, error_of(n, got[0], want[0]), 1e-6);
}

/* What the look at every latent costs beside the step that makes it. */
static void bench_finite(struct bench *bench, size_t n) {
    if (!asked(bench, "find_not_finite"))
        return;
    float *x = numbers(bench, n, 1.f);
    volatile size_t found = n;
    char size[64];
    if (bench->no_memory)
        return;
    begin(bench, 1. * n * sizeof(float));
    while (race(bench))
        found = sdt_find_not_finite(n, x);
    x[n / 2] = HUGE_VALF;
    found = (size_t)fabs((double)sdt_find_not_finite(n, x) -
                         (double)sdt_find_not_finite_reference(n, x));
    snprintf(size, sizeof size, "%zu", n);
    end(bench, "find_not_finite", size, bench->bytes, (double)found, 0.);
}

static void bench_convert(struct bench *bench, enum sdt_dtype dtype, size_t n) {
    if (!asked(bench, "convert"))
        return;
    float *bits = numbers(bench, n, 1.f), *y = numbers(bench, n, 0.f),
          *want = numbers(bench, n, 0.f);
    double bytes = (double)n * (sizeof(float) + sdt_dtype_size(dtype));
    char size[64];
    if (bench->no_memory)
        return;
    uint16_t *half = (uint16_t *)bits; /* finite numbers of any size */
    for (size_t i = 0; i < n; i++)
        half[i] = (uint16_t)((i * 40503u) & (dtype == SDT_F16 ? 0xbbffu : 0xbf7fu));
    begin(bench, bytes);
    while (race(bench))
        sdt_convert(dtype, n, bits, y);
    sdt_convert_reference(dtype, n, bits, want);
    snprintf(size, sizeof size, "%s, %zu", sdt_dtype_name(dtype), n);
    end(bench, "convert", size, bytes, error_of(n, y, want), 0.);
}

static void bench_blend(struct bench *bench, int frames, int extent, int side) {
    if (!asked(bench, "blend_rows"))
        return;
    size_t n = (size_t)frames * side * side * 3;
    float *a = numbers(bench, n, 1.f), *b = numbers(bench, n, 1.f), *want = numbers(bench, n, 1.f);
    float *start = numbers(bench, n, 1.f);
    char size[64];
    if (bench->no_memory)
        return;
    begin(bench, 9. * frames * extent * side * sizeof(float));
    while (race(bench))
        sdt_blend_rows(frames, side, extent, side, a, side, b);
    memcpy(b, start, n * sizeof *b);
    memcpy(want, start, n * sizeof *b);
    sdt_blend_rows(frames, side, extent, side, a, side, b);
    sdt_blend_rows_reference(frames, side, extent, side, a, side, want);
    snprintf(size, sizeof size, "%d of %d rows, %d frames", extent, side, frames);
    end(bench, "blend_rows", size, bench->bytes, error_of(n, b, want), 1e-6);
}

static void finish_kernel(struct bench *bench) {
    while (bench->arrays > 0)
        free(bench->array[--bench->arrays]);
}

/* Kernels that memory bounds, at sizes that occur: tiles of 128 and 256 rows of Wan 1.3B and 256 of
 * 14B; 120 tokens for two workers and 512 for one of the text encoder; two workers' bands of the
 * decoder's frames of 240x416, from the first to the last resolution; the tokens of a tile in the
 * sampler; a matrix of weights; tiles of a decoder that are blended. */
static void bench_memory(struct bench *bench) {
    static const struct {
        int rows, d;
    } rows[] = {{128, 1536}, {256, 1536}, {256, 5120}, {60, 4096}, {512, 4096}};
    static const struct {
        size_t pixels;
        int channels;
    } bands[] = {{15 * 52, 384}, {60 * 208, 192}, {120 * 416, 96}};
    static const size_t activations[] = {(size_t)60 * 10240, (size_t)512 * 10240};
    static const size_t tokens[] = {128 * 64, 256 * 64};
    static const size_t numbers[] = {128 * 64, 120 * 416 * 3, (size_t)1536 * 8960};
#define EACH_SIZE(list)                                                                            \
    for (size_t i = 0; i < sizeof list / sizeof *list; i++, finish_kernel(bench))
    EACH_SIZE(rows)
    bench_norms(bench, rows[i].rows, rows[i].d);
    for (int i = 128; i <= 256; i *= 2, finish_kernel(bench))
        bench_heads(bench, i, 12, 128);
    bench_heads(bench, 256, 40, 128);
    finish_kernel(bench);
    bench_silu(bench, 1536);
    finish_kernel(bench);
    EACH_SIZE(activations)
    bench_gelu(bench, activations[i]);
    bench_add(bench, 256);
    finish_kernel(bench);
    EACH_SIZE(bands)
    bench_pixels(bench, bands[i].pixels, bands[i].channels);
    EACH_SIZE(tokens)
    bench_sampler(bench, tokens[i]);
    EACH_SIZE(numbers)
    bench_finite(bench, numbers[i]);
    for (int i = 0; i < 2; i++, finish_kernel(bench))
        bench_convert(bench, i ? SDT_F16 : SDT_BF16, (size_t)1536 * 8960);
    bench_blend(bench, 4, 64, 256);
    finish_kernel(bench);
#undef EACH_SIZE
}

static void run_all(struct bench *bench) {
    enum { D = 1536, HEADS = 12, E = 128, FFN = 8960 };
    /* Tiles have 64 to 256 rows, or what a worker's share of a short sequence is; conditioning has
     * 1, and prompts have up to 512, whose weights are used once. */
    static const int rows[] = {1, 16, 64, 128, 256};
    static const int lengths[] = {1024, 4100};
    static const struct sdt_conv convs[] = {
        {96, 96, 3, 3, 24, 832, 0, 0},   {192, 192, 3, 3, 24, 416, 0, 0},
        {384, 384, 3, 3, 30, 104, 0, 0}, {384, 192, 1, 3, 30, 104, 1, 0},
        {192, 384, 1, 1, 60, 104, 0, 0}, {96, 3, 3, 3, 24, 832, 0, 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows && asked(bench, "linear"); i++) {
        bench_linear(bench, rows[i], D, D, SDT_EPILOGUE_NONE, PACKED);
        finish_kernel(bench);
        bench_linear(bench, rows[i], FFN, D, SDT_EPILOGUE_GELU_TANH, PACKED);
        finish_kernel(bench);
        bench_linear(bench, rows[i], FFN, D, SDT_EPILOGUE_GELU_TANH, PACKED_BF16);
        finish_kernel(bench);
    }
    for (int i = 120; i <= 512 && asked(bench, "linear"); i += 392) {
        bench_linear(bench, i, 10240, 4096, SDT_EPILOGUE_NONE, MAPPED);
        finish_kernel(bench);
    }
    for (size_t i = 1; i < sizeof rows / sizeof *rows && asked(bench, "linear_residual"); i++) {
        bench_residual(bench, rows[i], D, FFN);
        finish_kernel(bench);
    }
#ifdef HAVE_BLAS
    openblas_set_num_threads(1);
    for (int i = 16; i <= 128 && asked(bench, "blas"); i += 112) {
        bench_blas(bench, i, D, D);
        finish_kernel(bench);
        bench_blas(bench, i, FFN, D);
        finish_kernel(bench);
    }
#endif
    for (int i = 0; i < 2 && asked(bench, "attention"); i++) {
        bench_attention(bench, 128, E, 128, lengths[i]);
        finish_kernel(bench);
        bench_attention(bench, 128, E / 2, 128, lengths[i]);
        finish_kernel(bench);
    }
    if (asked(bench, "cross_attention"))
        bench_cross(bench, 128, HEADS, E, 512);
    finish_kernel(bench);
    if (asked(bench, "text_attention"))
        bench_text(bench, 226, 4, 64);
    finish_kernel(bench);
    if (asked(bench, "frame_attention"))
        bench_frame_attention(bench, 1560, 384);
    finish_kernel(bench);
    for (size_t i = 0; i < sizeof convs / sizeof *convs; i++)
        if (asked(bench, "conv_rows")) {
            bench_conv(bench, convs[i]);
            finish_kernel(bench);
        }
    if (asked(bench, "time_upsample"))
        bench_time_upsample(bench, 30, 104, 384);
    finish_kernel(bench);
    bench_memory(bench);
}

static int bench_cpu(int argc, char **argv) {
    struct bench bench = {.argc = argc, .argv = argv, .used = calloc(argc + 1, sizeof(int))};
    int result = 0;
    if (bench.used && !bench.no_memory)
        run_all(&bench);
    if (!bench.used || bench.no_memory) {
        fprintf(stderr, "stardit-bench: no memory\n");
        result = 1;
    } else if (bench.failed) {
        result = 1;
    }
    for (int i = 1; bench.used && i < argc; i++)
        if (!bench.used[i]) {
            fprintf(stderr, "stardit-bench: no kernel is called \"%s\"\n", argv[i]);
            result = 2;
        }
    finish_kernel(&bench);
    for (int i = 0; i < 2; i++)
        free(bench.yard[i]);
    free(bench.used);
    return result;
}

int app_bench_kernels(int argc, char **argv) {
    const char *device = "cpu";
    struct app_option options[] = {
        APP_CHOICE_OPTION("device", "cpu|cuda", &device,
                          "what computes: one core, or GPU 0 in bfloat16 (default cpu)"),
    };
    struct app_program program = {
        .name = "stardit-bench kernels",
        .usage = "[options] [NAME...]",
        .summary = "Rate and error of every kernel, or of those named.",
        .options = options,
        .count = sizeof options / sizeof *options,
    };
    int first = 1; /* behind the options */
    while (first < argc && argv[first][0] == '-')
        first += strchr(argv[first], '=') || first + 1 == argc ? 1 : 2;
    int code = app_parse(&program, first, argv);
    if (code >= 0)
        return code;
    if (!strcmp(device, "cuda"))
        return app_bench_cuda(argc - first, argv + first);
    code = bench_cpu(argc - first + 1, argv + first - 1); /* its argv[0] is not read */
    return code ? code : app_flush(program.name);
}

/* Every kernel of kernels/cuda/kernels.h against the references, on a GPU: float32 and bfloat16,
 * odd shapes and tails, own kernels and cuDNN's. Skipped where there is no GPU, no driver or no
 * CUDA in the build. With --small only sizes that compute-sanitizer gets through in minutes.
 *
 * Looser than check.h in float32: attention 1e-5, as exp2 of the GPU is good to 2 units in the last
 * place and sums go over keys in other groups; linear layers 5e-6 beyond 1000 terms, one chain of
 * sums. */
#include "config.h"

#include <stdio.h>

#ifndef HAVE_CUDA
int main(void) {
    fprintf(stderr, "skipped: this build has no CUDA\n");
    return 77;
}
#else

#include "kernels/reference.h"
#include "tests/kernels/device.h"
#include "tests/kernels/sampler.h"

/* Relative L2 in bfloat16: a rounded result; a result and something in between rounded. */
static const double one_rounding = 3e-3, two_roundings = 6e-3;
static const enum sdt_dtype both[] = {SDT_F32, SDT_BF16};

/* ---- element-wise ---------------------------------------------------------------------------- */

static void check_convert(size_t n) {
    float *x = numbers(n, 100.f), *rounded = numbers(n, 0.f);
    void *f32 = on_device(SDT_F32, n, x), *bf16 = on_device(SDT_BF16, n, NULL);
    void *back = on_device(SDT_F32, n, NULL), *same = on_device(SDT_F32, n, NULL);
    for (size_t i = 0; i < n; i++)
        rounded[i] = of_bf16(bf16_of(x[i]));
    done(sdt_cuda_convert(cuda, n, SDT_F32, f32, SDT_BF16, bf16), "convert");
    done(sdt_cuda_convert(cuda, n, SDT_BF16, bf16, SDT_F32, back), "convert");
    done(sdt_cuda_convert(cuda, n, SDT_F32, f32, SDT_F32, same), "convert");
    float *got = to_host(SDT_BF16, n, bf16), *got_back = to_host(SDT_F32, n, back);
    float *got_same = to_host(SDT_F32, n, same);
    check_bits(n, got, rounded, "convert %zu to bfloat16", n);
    check_bits(n, got_back, rounded, "convert %zu from bfloat16", n);
    check_bits(n, got_same, x, "convert %zu float32", n);
    release("convert");
    float *all[] = {x, rounded, got, got_back, got_same};
    for (size_t i = 0; i < COUNT(all); i++)
        free(all[i]);
}

static void check_activations(enum sdt_dtype dtype, size_t n, float range) {
    float *a = values(dtype, n, range), *b = values(dtype, n, 1.f), *want = blank(n);
    void *x = on_device(dtype, n, a), *other = on_device(dtype, n, b);
    void *y = on_device(dtype, n, NULL);
    sdt_silu_reference(n, a, want);
    done(sdt_cuda_silu(cuda, dtype, n, x, y), "silu");
    check_result(dtype, n, y, want, 1e-6, one_rounding, "silu of %zu", n);
    sdt_gated_gelu_reference(n, a, b, want);
    done(sdt_cuda_gated_gelu(cuda, dtype, n, x, other, y), "gated gelu");
    check_result(dtype, n, y, want, 1e-6, one_rounding, "gated gelu of %zu", n);
    done(sdt_cuda_gated_gelu(cuda, dtype, n, x, other, x), "gated gelu");
    check_result(dtype, n, x, want, 1e-6, one_rounding, "gated gelu of %zu into a", n);
    release("activations");
    free(a);
    free(b);
    free(want);
}

static void check_sinusoid(float t, int dim, double tolerance) {
    float *want = blank((size_t)dim), *y = on_device(SDT_F32, (size_t)dim, NULL);
    sdt_sinusoid_reference(t, dim, want);
    done(sdt_cuda_sinusoid(cuda, t, dim, y), "sinusoid");
    check_result(SDT_F32, (size_t)dim, y, want, tolerance, 0., "sinusoid(%g, %d)", (double)t, dim);
    release("sinusoid");
    free(want);
}

/* A term whose coefficient is 0 holds NaN, which must not be read. */
static void check_sampler(size_t n, unsigned terms) {
    struct sdt_sampler_step step = sampler_step(terms);
    int reads_m0 = (step.correct && step.c_m0 != 0.f) || step.p_m0 != 0.f;
    float *cond = numbers(n, 1.f), *uncond = terms & 256 ? numbers(n, 1.f) : NULL, *want[4];
    float *on[4];
    want[0] = numbers(n, 2.f);
    want[1] = step.correct && step.c_last != 0.f ? numbers(n, 2.f) : blank(n);
    want[2] = reads_m0 ? numbers(n, 2.f) : blank(n);
    want[3] = step.correct && step.c_m1 != 0.f ? numbers(n, 2.f) : blank(n);
    for (int i = 0; i < 4; i++)
        on[i] = on_device(SDT_F32, n, want[i]);
    float *v = on_device(SDT_F32, n, cond), *next = on_device(SDT_F32, n, NULL);
    float *v_uncond = uncond ? on_device(SDT_F32, n, uncond) : NULL;
    float *had_m0 = copy_of(n, want[2]);
    done(sdt_cuda_sampler_step(cuda, &step, n, v, v_uncond, on[0], next, on[1], on[2], on[3]),
         "sampler step");
    sdt_sampler_step_reference(&step, n, cond, uncond, want[0], want[1], want[2], want[3]);
    check_result(SDT_F32, n, next, want[0], 1e-6, 0., "sampler x, terms %x", terms);
    check_result(SDT_F32, n, on[1], want[1], 1e-6, 0., "sampler x_last, terms %x", terms);
    check_result(SDT_F32, n, on[2], want[2], 1e-6, 0., "sampler m0, terms %x", terms);
    if (reads_m0)
        check_result(SDT_F32, n, on[3], had_m0, 0., 0., "sampler m1, terms %x", terms);
    release("sampler step");
    free(had_m0);
    free(cond);
    free(uncond);
    for (int i = 0; i < 4; i++)
        free(want[i]);
}

/* ---- norms ----------------------------------------------------------------------------------- */

static void check_layer_norm(enum sdt_dtype dtype, int rows, int d, unsigned given) {
    size_t n = (size_t)rows * (size_t)d;
    float *x = numbers(n, 2.f), *vector[6], *on[6], *want = blank(n);
    for (int i = 0; i < 6; i++) {
        vector[i] = given >> (i == 0 ? 1 : i) & 1 ? numbers((size_t)d, 1.f) : NULL;
        on[i] = vector[i] ? on_device(SDT_F32, (size_t)d, vector[i]) : NULL;
    }
    for (size_t i = 0; i < n; i++) {
        x[i] += d > 30 ? 3.f : 0.f; /* a mean far from 0 */
        if (dtype == SDT_BF16)
            x[i] = of_bf16(bf16_of(x[i]));
    }
    void *from = on_device(dtype, n, x), *y = on_device(dtype, n, NULL);
    sdt_layer_norm_reference(rows, d, x, 1e-6f, vector[0], vector[1], vector[2], vector[3],
                             vector[4], vector[5], want);
    done(sdt_cuda_layer_norm(cuda, dtype, rows, d, from, 1e-6f, on[0], on[1], on[2], on[3], on[4],
                             on[5], y),
         "layer norm");
    check_result(dtype, n, y, want, 2e-6, one_rounding, "layer norm %d x %d, vectors %x", rows, d,
                 given);
    done(sdt_cuda_layer_norm(cuda, dtype, rows, d, from, 1e-6f, on[0], on[1], on[2], on[3], on[4],
                             on[5], from),
         "layer norm");
    check_result(dtype, n, from, want, 2e-6, one_rounding, "layer norm %d x %d in place", rows, d);
    release("layer norm");
    free(x);
    free(want);
    for (int i = 0; i < 6; i++)
        free(vector[i]);
}

static void check_rms(enum sdt_dtype dtype, enum sdt_dtype y_dtype, int rows, int d) {
    size_t n = (size_t)rows * (size_t)d;
    float *x = values(dtype, n, 2.f), *weight = numbers((size_t)d, 1.f), *want = blank(n);
    void *y = on_device(y_dtype, n, NULL);
    sdt_rms_norm_reference(rows, d, x, 1e-6f, weight, want);
    done(sdt_cuda_rms_norm(cuda, dtype, rows, d, on_device(dtype, n, x), 1e-6f,
                           on_device(SDT_F32, (size_t)d, weight), y_dtype, y),
         "rms norm");
    check_result(y_dtype, n, y, want, 2e-6, one_rounding, "rms norm %d x %d", rows, d);
    release("rms norm");
    free(x);
    free(weight);
    free(want);
}

static void check_channel_norm(enum sdt_dtype dtype, size_t pixels, int channels, int silu) {
    size_t n = pixels * (size_t)channels;
    float *x = values(dtype, n, 2.f), *gamma = numbers((size_t)channels, 1.f), *want = blank(n);
    memset(x, 0, (size_t)channels * sizeof *x); /* a pixel of length 0 */
    void *from = on_device(dtype, n, x), *y = on_device(dtype, n, NULL);
    float *on_gamma = on_device(SDT_F32, (size_t)channels, gamma);
    sdt_channel_norm_reference(pixels, channels, x, gamma, silu, want);
    done(sdt_cuda_channel_norm(cuda, dtype, pixels, channels, from, on_gamma, silu, y),
         "channel norm");
    check_result(dtype, n, y, want, 2e-6, one_rounding, "channel norm %zu x %d", pixels, channels);
    done(sdt_cuda_channel_norm(cuda, dtype, pixels, channels, from, on_gamma, silu, from),
         "channel norm");
    check_result(dtype, n, from, want, 2e-6, one_rounding, "channel norm %zu x %d in place", pixels,
                 channels);
    release("channel norm");
    free(x);
    free(gamma);
    free(want);
}

/* ---- linear ---------------------------------------------------------------------------------- */

static void check_linear(enum sdt_dtype dtype, int rows, int n, int k, enum sdt_epilogue epilogue,
                         int with_bias) {
    size_t ny = (size_t)rows * (size_t)n, nx = (size_t)rows * (size_t)k, nw = (size_t)n * (size_t)k;
    float *x = values(dtype, nx, 1.f), *w = values(dtype, nw, 2.f / sqrtf((float)k));
    float *bias = with_bias ? values(dtype, (size_t)n, 1.f) : NULL, *want = blank(ny);
    void *y = on_device(dtype, ny, NULL),
         *on_bias = bias ? on_device(dtype, (size_t)n, bias) : NULL;
    sdt_linear_reference(rows, n, k, x, w, bias, epilogue, want);
    done(sdt_cuda_linear(cuda, dtype, rows, n, k, on_device(dtype, nx, x), on_device(dtype, nw, w),
                         on_bias, epilogue, y),
         "linear");
    check_result(dtype, ny, y, want, k > 1000 ? 5e-6 : 3e-6, one_rounding,
                 "linear %d x %d x %d, epilogue %d", rows, n, k, epilogue);
    release("linear");
    free(x);
    free(w);
    free(bias);
    free(want);
}

static void check_residual(enum sdt_dtype dtype, int rows, int n, int k, int gates, int with_bias) {
    size_t ny = (size_t)rows * (size_t)n, nx = (size_t)rows * (size_t)k, nw = (size_t)n * (size_t)k;
    float *x = values(dtype, nx, 1.f), *w = values(dtype, nw, 2.f / sqrtf((float)k));
    float *bias = with_bias ? values(dtype, (size_t)n, 1.f) : NULL;
    float *a = gates & 1 ? numbers((size_t)n, 1.f) : NULL;
    float *b = gates & 2 ? numbers((size_t)n, 1.f) : NULL, *want = values(dtype, ny, 2.f);
    void *y = on_device(dtype, ny, want),
         *on_bias = bias ? on_device(dtype, (size_t)n, bias) : NULL;
    float *on_a = a ? on_device(SDT_F32, (size_t)n, a) : NULL;
    float *on_b = b ? on_device(SDT_F32, (size_t)n, b) : NULL;
    sdt_linear_residual_reference(rows, n, k, x, w, bias, a, b, want);
    done(sdt_cuda_linear_residual(cuda, dtype, rows, n, k, on_device(dtype, nx, x),
                                  on_device(dtype, nw, w), on_bias, on_a, on_b, y,
                                  scratch_of(sdt_cuda_linear_residual_scratch(dtype, rows, n))),
         "linear residual");
    check_result(dtype, ny, y, want, k > 1000 ? 5e-6 : 3e-6, two_roundings,
                 "residual %d x %d x %d, gates %d", rows, n, k, gates);
    release("linear residual");
    float *all[] = {x, w, bias, a, b, want};
    for (size_t i = 0; i < COUNT(all); i++)
        free(all[i]);
}

/* ---- heads ----------------------------------------------------------------------------------- */

enum { MOST_PIECES = SDT_CUDA_PIECES + 6 };

/* Cut into `pieces` ranges, some of them empty. */
static void check_heads(enum sdt_dtype dtype, int rows, int valid, int heads, int e, int pieces,
                        int normed, int turned) {
    struct sdt_rope rope = {{3, 5, 7}, {e / 2 - 2 * (e / 6), e / 6, e / 6}};
    size_t d = (size_t)heads * (size_t)e, n = (size_t)rows * d, table_size = 0;
    float *x = values(dtype, n, 2.f), *weight = normed ? numbers(d, 1.f) : NULL, *table = NULL;
    float *want = blank(n), *merged = blank(n), *want_piece[MOST_PIECES];
    void *piece[MOST_PIECES], *all = on_device(dtype, n, NULL), *y = on_device(dtype, n, NULL);
    int head[MOST_PIECES + 1], first = 105 - valid > 0 ? 105 - valid : 0;
    if (turned) {
        table_size = sdt_rope_table_size(&rope);
        table = blank(table_size);
        sdt_rope_table(&rope, 10000., table);
    }
    for (int p = 0; p <= pieces; p++)
        head[p] = (int)((long)heads * p / pieces);
    for (int p = 0; p < pieces; p++) {
        size_t at = (size_t)head[p] * (size_t)rows * (size_t)e;
        piece[p] = (unsigned char *)all + at * sdt_dtype_size(dtype);
        want_piece[p] = want + at;
    }
    float *on_weight = weight ? on_device(SDT_F32, d, weight) : NULL;
    float *on_table = table ? on_device(SDT_F32, table_size, table) : NULL;
    sdt_split_heads_reference(rows, valid, heads, e, x, weight, 1e-6f, &rope, table, first, pieces,
                              head, want_piece);
    done(sdt_cuda_split_heads(cuda, dtype, rows, valid, heads, e, on_device(dtype, n, x), on_weight,
                              1e-6f, &rope, on_table, first, pieces, head, piece),
         "split heads");
    check_result(dtype, n, all, want, normed || turned ? 2e-6 : 0.,
                 normed || turned ? one_rounding : 0.,
                 "split %d of %d rows, %d x %d in %d, norm %d, rope %d", valid, rows, heads, e,
                 pieces, normed, turned);
    float *host = to_host(dtype, n, all);
    for (int p = 0; p < pieces; p++)
        want_piece[p] = host + (size_t)head[p] * (size_t)rows * (size_t)e;
    sdt_merge_heads_reference(rows, heads, e, pieces, head, (const float *const *)want_piece,
                              merged);
    done(sdt_cuda_merge_heads(cuda, dtype, rows, heads, e, pieces, head, (const void *const *)piece,
                              y),
         "merge heads");
    check_result(dtype, n, y, merged, 0., 0., "merge %d rows, %d x %d in %d", rows, heads, e,
                 pieces);
    release("heads");
    float *arrays[] = {x, weight, table, want, merged, host};
    for (size_t i = 0; i < COUNT(arrays); i++)
        free(arrays[i]);
}

static void check_gather(enum sdt_dtype dtype, int tiles, int heads, size_t block, int split,
                         size_t skip) {
    struct sdt_gather to = {block, (size_t)tiles * block - skip, split, skip};
    size_t piece = (size_t)heads * block, n = (size_t)heads * to.stride;
    float *want = blank(n);
    const void *x[MOST_PIECES];
    void *y = on_device(dtype, n, NULL);
    for (int t = 0; t < tiles; t++) {
        float *host = values(dtype, piece, 1.f);
        for (int h = 0; h < heads; h++)
            memcpy(want + (size_t)h * to.stride + sdt_gather_at(&to, t), host + (size_t)h * block,
                   sdt_gather_count(&to, t) * sizeof *want);
        x[t] = on_device(dtype, piece, host);
        free(host);
    }
    done(sdt_cuda_gather(cuda, dtype, tiles, heads, &to, x, y), "gather");
    check_result(dtype, n, y, want, 0., 0., "gather %d tiles, %d heads of %zu less %zu", tiles, heads,
                 block, skip);
    release("gather");
    free(want);
}

/* ---- attention ------------------------------------------------------------------------------- */

/* Rows behind the last key are NaN: they must not count. */
static void check_attention(enum sdt_dtype dtype, int heads, int rows, int e, int tile, int keys,
                            float spread) {
    size_t tiles = (size_t)((keys + tile - 1) / tile), nq = (size_t)heads * (size_t)(rows * e);
    size_t of_head = tiles * (size_t)(tile * e), nk = (size_t)heads * of_head;
    size_t n = (size_t)heads * (size_t)rows;
    float *q = values(dtype, nq, spread), *k = values(dtype, nk, spread);
    float *v = values(dtype, nk, 1.f), *want = blank(nq), *want_lse = blank(n);
    float scale = 1.f / sqrtf((float)e);
    for (size_t h = 0; h < (size_t)heads; h++)
        for (size_t i = (size_t)(keys * e); i < of_head; i++)
            k[h * of_head + i] = v[h * of_head + i] = NAN;
    void *on_q = on_device(dtype, nq, q), *on_k = on_device(dtype, nk, k);
    void *on_v = on_device(dtype, nk, v), *o = on_device(dtype, nq, NULL);
    float *lse = on_device(SDT_F32, n, NULL);
    sdt_attention_reference(heads, rows, e, q, tile, keys, k, v, scale, want, want_lse);
    for (int own = 0; own < 2; own++) {
        sdt_cuda_prefer_own(cuda, own);
        done(sdt_cuda_attention(cuda, dtype, heads, rows, e, on_q, tile, keys, on_k, on_v, scale, o,
                                lse),
             "attention");
        check_result(dtype, nq, o, want, 1e-5, two_roundings,
                     "attention %d x %d x %d, %d keys by %d, own %d", heads, rows, e, keys, tile,
                     own);
        check_result(SDT_F32, n, lse, want_lse, dtype == SDT_F32 ? 1e-5 : 1e-4, 0.,
                     "log-sum-exp of %d x %d x %d, %d keys by %d, own %d", heads, rows, e, keys,
                     tile, own);
        must(cudaMemset(o, 0xff, nq * sdt_dtype_size(dtype)), "memset");
        done(sdt_cuda_attention(cuda, dtype, heads, rows, e, on_q, tile, keys, on_k, on_v, scale, o,
                                NULL),
             "attention");
        check_result(dtype, nq, o, want, 1e-5, two_roundings,
                     "attention %d x %d x %d without log-sum-exp, own %d", heads, rows, e, own);
        must(cudaMemset(o, 0xff, nq * sdt_dtype_size(dtype)), "memset");
    }
    sdt_cuda_prefer_own(cuda, false);
    release("attention");
    float *all[] = {q, k, v, want, want_lse};
    for (size_t i = 0; i < COUNT(all); i++)
        free(all[i]);
}

static void check_merge(enum sdt_dtype dtype, int heads, int rows, int e) {
    size_t n = (size_t)heads * (size_t)rows, ne = n * (size_t)e;
    float *o = values(dtype, ne, 1.f), *o2 = values(dtype, ne, 1.f);
    float *lse = numbers(n, 20.f), *lse2 = numbers(n, 20.f);
    void *on_o = on_device(dtype, ne, o), *on_o2 = on_device(dtype, ne, o2);
    float *on_lse = on_device(SDT_F32, n, lse), *on_lse2 = on_device(SDT_F32, n, lse2);
    sdt_attention_merge_reference(heads, rows, e, o2, lse2, o, lse);
    done(sdt_cuda_attention_merge(cuda, dtype, heads, rows, e, on_o2, on_lse2, on_o, on_lse),
         "attention merge");
    check_result(dtype, ne, on_o, o, 5e-6, one_rounding, "merge %d x %d x %d", heads, rows, e);
    check_result(SDT_F32, n, on_lse, lse, 5e-6, 0., "merged log-sum-exp %d x %d", heads, rows);
    release("attention merge");
    float *all[] = {o, o2, lse, lse2};
    for (size_t i = 0; i < COUNT(all); i++)
        free(all[i]);
}

static void check_cross(enum sdt_dtype dtype, int rows, int heads, int e, int keys, int normed,
                        float bias) {
    size_t d = (size_t)heads * (size_t)e, n = (size_t)rows * d, nk = (size_t)keys * d;
    float *q = values(dtype, n, 2.f), *k = values(dtype, nk, 2.f), *v = values(dtype, nk, 1.f);
    float *weight = normed ? numbers(d, 2.f) : NULL, *want = blank(n);
    float *on_weight = weight ? on_device(SDT_F32, d, weight) : NULL;
    void *o = on_device(dtype, n, NULL);
    sdt_cross_attention_reference(rows, heads, e, q, weight, 1e-6f, keys, k, v, bias, want);
    done(sdt_cuda_cross_attention(
             cuda, dtype, rows, heads, e, on_device(dtype, n, q), on_weight, 1e-6f, keys,
             on_device(dtype, nk, k), on_device(dtype, nk, v), bias, o,
             scratch_of(sdt_cuda_cross_attention_scratch(dtype, rows, heads, e))),
         "cross attention");
    /* bfloat16: the normed query is rounded as well, and exp amplifies that */
    check_result(dtype, n, o, want, 1e-5, 2. * two_roundings,
                 "cross attention %d x %d x %d, %d keys", rows, heads, e, keys);
    release("cross attention");
    float *all[] = {q, k, v, weight, want};
    for (size_t i = 0; i < COUNT(all); i++)
        free(all[i]);
}

static void check_text(enum sdt_dtype dtype, int tokens, int heads, int e) {
    size_t n = (size_t)tokens * (size_t)(heads * e);
    float *q = values(dtype, n, 1.f), *k = values(dtype, n, 1.f), *v = values(dtype, n, 1.f);
    float *table = numbers((size_t)32 * (size_t)heads, 3.f), *want = blank(n);
    void *o = on_device(dtype, n, NULL);
    sdt_text_attention_reference(tokens, heads * e, 0, heads, e, q, k, v, table, heads, want);
    done(sdt_cuda_text_attention(cuda, dtype, tokens, heads, e, on_device(dtype, n, q),
                                 on_device(dtype, n, k), on_device(dtype, n, v),
                                 on_device(SDT_F32, (size_t)32 * (size_t)heads, table), o),
         "text attention");
    check_result(dtype, n, o, want, 1e-5, two_roundings, "text attention %d x %d x %d", tokens,
                 heads, e);
    release("text attention");
    float *all[] = {q, k, v, table, want};
    for (size_t i = 0; i < COUNT(all); i++)
        free(all[i]);
}

static void check_frame_attention(enum sdt_dtype dtype, int pixels, int channels) {
    size_t n = (size_t)pixels * (size_t)channels;
    float *qkv = values(dtype, 3 * n, 1.5f), *want = blank(n);
    void *o = on_device(dtype, n, NULL), *on_qkv = on_device(dtype, 3 * n, qkv);
    void *scratch = scratch_of(sdt_cuda_frame_attention_scratch(dtype, pixels, channels));
    sdt_frame_attention_reference(pixels, channels, qkv, want);
    for (int own = 0; own < 2; own++) {
        sdt_cuda_prefer_own(cuda, own);
        done(sdt_cuda_frame_attention(cuda, dtype, pixels, channels, on_qkv, o, scratch),
             "frame attention");
        check_result(dtype, n, o, want, 1e-5, two_roundings, "frame attention %d x %d, own %d",
                     pixels, channels, own);
    }
    sdt_cuda_prefer_own(cuda, false);
    release("frame attention");
    free(qkv);
    free(want);
}

/* ---- latents, frames, video ------------------------------------------------------------------ */

static void check_patches(enum sdt_dtype dtype, struct sdt_patch patch, int rows) {
    const int *s = patch.size;
    int tokens = patch.frames / s[0] * (patch.height / s[1]) * (patch.width / s[2]);
    size_t width = (size_t)(patch.channels * s[0] * s[1] * s[2]), m = (size_t)rows * width;
    size_t n = (size_t)patch.channels * (size_t)(patch.frames * patch.height * patch.width);
    float *latent = values(dtype, n, 1.f), *want = blank(m);
    float *on_latent = on_device(SDT_F32, n, latent), *back = on_device(SDT_F32, n, NULL);
    void *y = on_device(dtype, m, NULL);
    float *tile = on_device(SDT_F32, m, NULL);
    for (int first = 0; first < tokens; first += rows) {
        sdt_patchify(&patch, first, rows, latent, want);
        done(sdt_cuda_patchify(cuda, dtype, &patch, first, rows, on_latent, y), "patchify");
        check_result(dtype, m, y, want, 0., 0., "patchify from %d of %d tokens", first, tokens);
        upload(SDT_F32, m, want, tile);
        done(sdt_cuda_unpatchify(cuda, &patch, first, rows, tile, back), "unpatchify");
    }
    check_result(SDT_F32, n, back, latent, 0., 0., "unpatchify of %d tokens by %d", tokens, rows);
    release("patches");
    free(latent);
    free(want);
}

static void check_order(enum sdt_dtype dtype, int rows, int channels, int patch) {
    size_t n = (size_t)rows * (size_t)(channels * patch);
    float *x = values(dtype, n, 1.f), *want = blank(n), *y = on_device(SDT_F32, n, NULL);
    sdt_patch_order(rows, channels, patch, x, want);
    done(sdt_cuda_patch_order(cuda, dtype, rows, channels, patch, on_device(dtype, n, x), y),
         "patch order");
    check_result(SDT_F32, n, y, want, 0., 0., "patch order %d x %d x %d", rows, channels, patch);
    release("patch order");
    free(x);
    free(want);
}

static void check_pad_row(enum sdt_dtype dtype, int rows, int d) {
    size_t n = (size_t)rows * (size_t)d, more = n + (size_t)d;
    float *x = values(dtype, n, 1.f), *want = numbers(more, 0.f);
    void *y = on_device(dtype, more, NULL);
    memcpy(want, x, n * sizeof *x);
    memset(want + n, 0, (size_t)d * sizeof *want);
    done(sdt_cuda_pad_row(cuda, dtype, rows, d, on_device(SDT_F32, n, x), y), "pad row");
    check_result(dtype, more, y, want, 0., 0., "pad row %d x %d", rows, d);
    release("pad row");
    free(x);
    free(want);
}

static void check_window(enum sdt_dtype dtype, struct sdt_window window, int scaled) {
    size_t n = (size_t)window.channels * (size_t)(window.frames * window.height * window.width);
    size_t m = (size_t)window.nframes * (size_t)(window.rows * window.cols * window.channels);
    float *latent = values(dtype, n, 1.f), *want = blank(m);
    float *std = scaled ? numbers((size_t)window.channels, 2.f) : NULL;
    float *mean = scaled ? numbers((size_t)window.channels, 1.f) : NULL;
    void *y = on_device(dtype, m, NULL);
    sdt_latent_window_reference(&window, latent, std, mean, want);
    done(sdt_cuda_latent_window(cuda, dtype, &window, on_device(SDT_F32, n, latent), std, mean, y),
         "latent window");
    check_result(dtype, m, y, want, scaled ? 1e-6 : 0., scaled ? one_rounding : 0.,
                 "window of %d channels", window.channels);
    release("latent window");
    free(latent);
    free(want);
    free(std);
    free(mean);
}

/* A frame's place in the video need not be aligned to more than a float. */
static void check_put_frame(enum sdt_dtype dtype, size_t n, int clamp) {
    float *x = values(dtype, n, 2.f), *want = blank(3 * n),
          *video = on_device(SDT_F32, 3 * n, NULL);
    for (size_t i = 0; i < n; i++)
        want[n + i] = clamp ? fminf(fmaxf(x[i], -1.f), 1.f) : x[i];
    done(sdt_cuda_put_frame(cuda, dtype, n, clamp, on_device(dtype, n, x), video + n), "put frame");
    check_result(SDT_F32, n, video + n, want + n, 0., 0., "put frame of %zu", n);
    float *host = to_host(SDT_F32, 3 * n, video);
    check_count++;
    for (size_t i = 0; i < n; i++)
        if ((!isnan(host[i]) || !isnan(host[2 * n + i])) && ++check_failures) {
            fprintf(stderr, "put frame of %zu wrote its neighbour\n", n);
            break;
        }
    release("put frame");
    free(host);
    free(x);
    free(want);
}

static void check_blends(int frames, int a_size, int b_size, int other, int extent) {
    size_t na = (size_t)frames * (size_t)(a_size * other * 3);
    size_t nb = (size_t)frames * (size_t)(b_size * other * 3);
    float *a = numbers(na, 1.f), *b = numbers(nb, 1.f), *want = copy_of(nb, b);
    float *on_a = on_device(SDT_F32, na, a), *on_b = on_device(SDT_F32, nb, b);
    sdt_blend_rows_reference(frames, other, extent, a_size, a, b_size, want);
    done(sdt_cuda_blend_rows(cuda, frames, other, extent, a_size, on_a, b_size, on_b),
         "blend rows");
    check_result(SDT_F32, nb, on_b, want, 1e-6, 0., "blend %d rows", extent);
    upload(SDT_F32, nb, b, on_b);
    memcpy(want, b, nb * sizeof *b);
    sdt_blend_columns_reference(frames, other, extent, a_size, a, b_size, want);
    done(sdt_cuda_blend_columns(cuda, frames, other, extent, a_size, on_a, b_size, on_b),
         "blend columns");
    check_result(SDT_F32, nb, on_b, want, 1e-6, 0., "blend %d columns", extent);
    release("blends");
    free(a);
    free(b);
    free(want);
}

static void check_place(int frames, int tile_rows, int tile_cols, int rows, int cols, int y0,
                        int x0, int height, int width) {
    size_t n = (size_t)frames * (size_t)(tile_rows * tile_cols * 3);
    size_t m = (size_t)frames * (size_t)(height * width * 3);
    float *tile = numbers(n, 2.f), *want = numbers(m, 1.f);
    float *video = on_device(SDT_F32, m, want);
    for (int t = 0; t < frames; t++)
        for (int y = 0; y < rows; y++)
            for (int i = 0; i < 3 * cols; i++) {
                float x = tile[((t * tile_rows + y) * tile_cols) * 3 + i];
                want[((t * height + y0 + y) * width + x0) * 3 + i] = fminf(fmaxf(x, -1.f), 1.f);
            }
    done(sdt_cuda_place_tile(cuda, frames, tile_rows, tile_cols, rows, cols, y0, x0, height, width,
                             on_device(SDT_F32, n, tile), video),
         "place tile");
    check_result(SDT_F32, m, video, want, 0., 0., "tile %d x %d at %d,%d", rows, cols, y0, x0);
    release("place tile");
    free(tile);
    free(want);
}

/* ---- convolutions ---------------------------------------------------------------------------- */

/* zeros: how many of the oldest frames lie before the start of the clip */
static void check_conv(enum sdt_dtype dtype, struct sdt_conv conv, int with_residual, int zeros) {
    int scale = conv.upsample ? 2 : 1, taps = conv.kt * conv.ks * conv.ks;
    size_t frame = (size_t)conv.height * (size_t)(conv.width * conv.in);
    size_t n = (size_t)conv.height * (size_t)(conv.width * scale * scale * conv.out);
    size_t nw = (size_t)conv.out * (size_t)(taps * conv.in);
    float *w = values(dtype, nw, 2.f / sqrtf((float)(taps * conv.in)));
    float *bias = numbers((size_t)conv.out, 1.f), *want = blank(n), *frames[3] = {NULL};
    float *residual = with_residual ? values(dtype, n, 1.f) : NULL;
    float *zero = numbers(frame, 0.f);
    memset(zero, 0, frame * sizeof *zero); /* numbers times 0 may be -0 */
    const void *on_x[3] = {NULL}, *with_zeros[3] = {NULL};
    for (int t = zeros < conv.kt ? zeros : conv.kt - 1; t < conv.kt; t++) {
        frames[t] = values(dtype, frame, 1.f);
        on_x[t] = on_device(dtype, frame, frames[t]);
    }
    for (int t = 0; t < conv.kt; t++)
        with_zeros[t] = on_x[t] ? on_x[t] : on_device(dtype, frame, zero);
    const float *x[3] = {frames[0], frames[1], frames[2]};
    void *on_w = on_device(dtype, nw, w), *y = on_device(dtype, n, NULL);
    void *on_residual = residual ? on_device(dtype, n, residual) : NULL;
    float *on_bias = on_device(SDT_F32, (size_t)conv.out, bias);
    void *scratch = scratch_of(sdt_cuda_conv_frame_scratch(dtype, &conv));
    sdt_conv_frame_reference(&conv, x, w, bias, residual, want);
    for (int own = 0; own < 2; own++) {
        sdt_cuda_prefer_own(cuda, own);
        must(cudaMemset(y, 0xff, n * sdt_dtype_size(dtype)), "memset");
        done(sdt_cuda_conv_frame(cuda, dtype, &conv, on_x, on_w, on_bias, on_residual, y, scratch),
             "convolution");
        check_result(dtype, n, y, want, 3e-6, one_rounding, "conv %d->%d k%d,%d of %dx%d%s, own %d",
                     conv.in, conv.out, conv.kt, conv.ks, conv.height, conv.width,
                     conv.upsample ? " enlarged" : "", own);
        float *before = to_host(dtype, n, y);
        done(sdt_cuda_conv_frame(cuda, dtype, &conv, with_zeros, on_w, on_bias, on_residual, y,
                                 scratch),
             "convolution");
        float *after = to_host(dtype, n, y);
        check_bits(n, after, before, "conv %d->%d k%d,%d after frames of zeros, own %d", conv.in,
                   conv.out, conv.kt, conv.ks, own);
        free(before);
        free(after);
    }
    sdt_cuda_prefer_own(cuda, false);
    release("convolution");
    float *all[] = {w, bias, want, residual, zero, frames[0], frames[1], frames[2]};
    for (size_t i = 0; i < COUNT(all); i++)
        free(all[i]);
}

static void check_time_upsample(enum sdt_dtype dtype, int height, int width, int channels,
                                int zeros) {
    size_t frame = (size_t)(height * width) * (size_t)channels;
    size_t nw = (size_t)6 * (size_t)(channels * channels);
    float *frames[3] = {NULL}, *w = values(dtype, nw, 1.f / sqrtf((float)channels));
    float *bias = numbers((size_t)(2 * channels), 1.f), *want = blank(2 * frame);
    const void *on_x[3] = {NULL};
    for (int t = zeros; t < 3; t++) {
        frames[t] = values(dtype, frame, 1.f);
        on_x[t] = on_device(dtype, frame, frames[t]);
    }
    const float *x[3] = {frames[0], frames[1], frames[2]};
    void *first = on_device(dtype, frame, NULL), *second = on_device(dtype, frame, NULL);
    sdt_time_upsample_reference(height, width, channels, x, w, bias, want, want + frame);
    void *on_w = on_device(dtype, nw, w);
    float *on_bias = on_device(SDT_F32, (size_t)(2 * channels), bias);
    void *scratch = scratch_of(sdt_cuda_time_upsample_scratch(dtype, height, width, channels));
    for (int own = 0; own < 2; own++) {
        sdt_cuda_prefer_own(cuda, own);
        must(cudaMemset(first, 0xff, frame * sdt_dtype_size(dtype)), "memset");
        must(cudaMemset(second, 0xff, frame * sdt_dtype_size(dtype)), "memset");
        done(sdt_cuda_time_upsample(cuda, dtype, height, width, channels, on_x, on_w, on_bias,
                                    first, second, scratch),
             "upsampling in time");
        check_result(dtype, frame, first, want, 3e-6, one_rounding,
                     "time upsample %dx%dx%d, first, own %d", height, width, channels, own);
        check_result(dtype, frame, second, want + frame, 3e-6, one_rounding,
                     "time upsample %dx%dx%d, second, own %d", height, width, channels, own);
    }
    sdt_cuda_prefer_own(cuda, false);
    release("upsampling in time");
    for (int t = 0; t < 3; t++)
        free(frames[t]);
    free(w);
    free(bias);
    free(want);
}

/* ---- sizes ----------------------------------------------------------------------------------- */

static void run_elementwise(enum sdt_dtype dtype) {
    static const size_t sizes[] = {0, 1, 7, 8, 9, 1000, 70001};
    static const int rows[] = {1, 3, 130}, ds[] = {1, 7, 8, 31, 48, 1536, 1541, 5120};
    for (size_t i = 0; i < COUNT(sizes); i++) {
        check_activations(dtype, sizes[i], 1.f);
        check_activations(dtype, sizes[i], 60.f);
    }
    for (size_t r = 0; r < COUNT(rows); r++)
        for (size_t d = 0; d < COUNT(ds); d++) {
            for (unsigned given = 0; given < 64; given += rows[r] == 3 ? 5 : 21)
                check_layer_norm(dtype, rows[r], ds[d], given);
            check_rms(dtype, dtype, rows[r], ds[d]);
            check_rms(dtype, SDT_F32, rows[r], ds[d]);
            check_channel_norm(dtype, (size_t)rows[r], ds[d], (int)d % 2);
        }
    check_channel_norm(dtype, 1000, 96, 1);
    check_channel_norm(dtype, 1000, 384, 0);
}

static void run_linear(enum sdt_dtype dtype, int small) {
    static const int rows[] = {1, 3, 128}, ns[] = {1, 5, 48, 131}, ks[] = {1, 3, 17, 400};
    int i = 0;
    for (size_t r = 0; r < COUNT(rows); r++)
        for (size_t n = 0; n < COUNT(ns); n++)
            for (size_t k = 0; k < COUNT(ks); k++, i++) {
                check_linear(dtype, rows[r], ns[n], ks[k], (enum sdt_epilogue)(i % 3), i / 3 % 2);
                check_residual(dtype, rows[r], ns[n], ks[k], i % 4, i / 4 % 2);
            }
    if (small)
        return;
    for (int epilogue = 0; epilogue < 3; epilogue++)
        check_linear(dtype, 257, 1536, 1536, (enum sdt_epilogue)epilogue, 1);
    check_linear(dtype, 64, 256, 8960, SDT_EPILOGUE_NONE, 1);
    check_residual(dtype, 130, 1536, 1536, 3, 1);
}

static void run_heads(enum sdt_dtype dtype) {
    static const int es[] = {4, 12, 16, 64, 96, 128, 160}, rows[] = {1, 7, 64};
    for (size_t e = 0; e < COUNT(es); e++)
        for (int heads = 1; heads <= 5; heads += 2)
            for (size_t r = 0; r < COUNT(rows); r++)
                for (int mode = 0; mode < 4; mode++)
                    check_heads(dtype, rows[r], mode & 1 ? rows[r] : rows[r] / 2, heads, es[e],
                                1 + (int)(r + e) % 4, mode & 1, mode & 2);
    check_heads(dtype, 5, 4, 70, 8, MOST_PIECES, 1, 1);
    check_heads(dtype, 3, 3, 2, 5, 2, 1, 0);
    check_heads(dtype, 105, 105, 40, 128, 8, 1, 1);
    check_gather(dtype, 1, 1, 1, 0, 0);
    check_gather(dtype, 3, 2, 35, 0, 0);
    check_gather(dtype, 5, 3, 128, 0, 0);
    check_gather(dtype, 5, 3, 128, 3, 56);
    check_gather(dtype, MOST_PIECES, 2, 72, 0, 0);
}

static void run_attention(enum sdt_dtype dtype, int small) {
    static const int es[] = {4, 12, 16, 64, 72, 96, 128, 160}, rows[] = {1, 7, 65, 200};
    static const int tiles[] = {4, 64, 128}, keys[] = {1, 15, 67, 200, 384};
    for (size_t e = 0; e < COUNT(es); e++)
        for (size_t r = 0; r < COUNT(rows); r++)
            for (size_t k = 0; k < COUNT(keys); k++) {
                check_attention(dtype, 1 + (int)(e + r + k) % 4, rows[r], es[e],
                                tiles[(e + r + k) % COUNT(tiles)], keys[k], 1.f + 0.5f * (float)k);
                if (k < 2) {
                    int heads = 1 + 2 * (int)(e % 3);
                    check_cross(dtype, rows[r], heads, es[e], 1 + 9 * (int)r, (int)r % 2, 0.f);
                    check_cross(dtype, rows[r], heads, es[e], 77, heads % 3 == 0, 2.5f);
                }
            }
    check_merge(dtype, 2, 7, 16);
    check_merge(dtype, 3, 65, 128);
    check_merge(dtype, 1, 1, 5);
    for (int heads = 1; heads <= 5; heads += 2)
        for (size_t e = 0; e < COUNT(es); e++)
            check_text(dtype, heads * heads * 5 - 4, heads, es[e]);
    static const int pixels[] = {1, 35, 256, 300};
    for (size_t p = 0; p < COUNT(pixels); p++) {
        check_frame_attention(dtype, pixels[p], 4);
        check_frame_attention(dtype, pixels[p], 50);
        check_frame_attention(dtype, pixels[p], 384);
    }
    if (small)
        return;
    check_text(dtype, 512, 2, 64);
    check_attention(dtype, 2, 300, 128, 512, 3000, 1.f);
    check_attention(dtype, 1, 128, 64, 2048, 4100, 2.f);
    check_cross(dtype, 300, 2, 128, 512, 1, 1.f);
}

static void run_latent(enum sdt_dtype dtype) {
    for (int rows = 1; rows <= 16; rows += 5) {
        check_patches(dtype, (struct sdt_patch){4, 3, 10, 14, {1, 2, 2}}, rows);
        check_patches(dtype, (struct sdt_patch){1, 1, 2, 2, {1, 2, 2}}, rows);
        check_patches(dtype, (struct sdt_patch){3, 4, 6, 9, {2, 2, 3}}, rows);
        check_order(dtype, rows, 16, 4);
        check_order(dtype, rows, 3, 1);
        check_pad_row(dtype, rows, 1 + rows * 3);
    }
    check_patches(dtype, (struct sdt_patch){16, 3, 60, 104, {1, 2, 2}}, 1024);
    check_pad_row(dtype, 77, 4096);
    for (int scaled = 0; scaled < 2; scaled++) {
        check_window(dtype, (struct sdt_window){4, 5, 6, 7, 0, 5, 0, 0, 6, 7}, scaled);
        check_window(dtype, (struct sdt_window){16, 5, 6, 7, 2, 1, 1, 3, 4, 4}, scaled);
        check_window(dtype, (struct sdt_window){64, 1, 9, 9, 0, 1, 1, 2, 7, 5}, scaled);
    }
    for (int clamp = 0; clamp < 2; clamp++) {
        check_put_frame(dtype, 1, clamp);
        check_put_frame(dtype, 5 * 7 * 3, clamp);
        check_put_frame(dtype, 40 * 64 * 3, clamp);
    }
}

static void run_conv(enum sdt_dtype dtype, int small) {
    static const int size[][2] = {{1, 1}, {1, 7}, {4, 6}, {9, 70}, {2, 130}};
    static const int channels[][2] = {{1, 1}, {4, 3}, {6, 8}, {8, 12}, {33, 5}, {16, 40}};
    int i = 0;
    for (size_t s = 0; s < COUNT(size); s++)
        for (size_t c = 0; c < COUNT(channels); c++)
            for (int shape = 0; shape < 8; shape++, i++) {
                struct sdt_conv conv = {channels[c][0],    channels[c][1], shape & 1 ? 3 : 1,
                                        shape & 2 ? 3 : 1, size[s][0],     size[s][1],
                                        shape >> 2};
                check_conv(dtype, conv, i % 2 == 0, i % 3);
            }
    check_conv(dtype, (struct sdt_conv){96, 96, 3, 3, 5, 6, 0}, 1, 1);
    check_conv(dtype, (struct sdt_conv){96, 3, 3, 3, 5, 6, 0}, 0, 0);
    check_conv(dtype, (struct sdt_conv){40, 200, 1, 3, 5, 6, 1}, 0, 0);
    check_conv(dtype, (struct sdt_conv){64, 256, 1, 1, 13, 11, 0}, 1, 0);
    for (int zeros = 0; zeros < 3; zeros++) {
        check_time_upsample(dtype, 1, 1, 1, zeros);
        check_time_upsample(dtype, 5, 7, 12, zeros);
        check_time_upsample(dtype, 9, 60, 16, zeros);
    }
    if (small)
        return;
    check_conv(dtype, (struct sdt_conv){384, 384, 3, 3, 7, 9, 0}, 1, 0);
    check_conv(dtype, (struct sdt_conv){192, 96, 1, 3, 10, 12, 1}, 0, 0);
    check_time_upsample(dtype, 7, 9, 192, 0);
}

int main(int argc, char **argv) {
    int small = argc > 1 && strcmp(argv[1], "--small") == 0, devices = 0;
    const char *why = NULL, *version;
    struct sdt_error err;
    cudaError_t error = cudaGetDeviceCount(&devices);
    if (error != cudaSuccess || devices == 0) {
        fprintf(stderr, "skipped: no GPU to use: %s\n",
                error != cudaSuccess ? cudaGetErrorString(error) : "none found");
        return 77;
    }
    must(cudaSetDevice(0), "GPU 0");
    if (sdt_cuda_new(NULL, &cuda, &err) != SDT_OK) {
        fprintf(stderr, "%s\n", err.message);
        return EXIT_FAILURE;
    }
    version = sdt_cuda_cudnn(cuda, &why);
    if (version)
        fprintf(stderr, "cuDNN %s\n", version);
    else
        fprintf(stderr, "without cuDNN: %s\n", why);

    static const size_t sizes[] = {0, 1, 7, 8, 1000, 70001};
    for (size_t i = 0; i < COUNT(sizes); i++)
        check_convert(sizes[i]);
    check_sinusoid(0.f, 2, 1e-7);
    check_sinusoid(0.7f, 32, 2e-6);
    check_sinusoid(1.f, 256, 2e-6);
    check_sinusoid(1000.f, 256, 1e-4);
    for (unsigned terms = 0; terms < 512; terms += 7)
        check_sampler(1 + terms * 3, terms);
    check_blends(1, 1, 1, 1, 1);
    check_blends(3, 7, 5, 4, 5);
    check_blends(2, 64, 80, 9, 64);
    check_place(1, 1, 1, 1, 1, 0, 0, 1, 1);
    check_place(3, 9, 11, 7, 5, 2, 3, 20, 13);
    check_place(2, 32, 40, 32, 24, 32, 40, 64, 64);
    for (size_t i = 0; i < COUNT(both); i++) {
        run_elementwise(both[i]);
        run_linear(both[i], small);
        run_heads(both[i]);
        run_attention(both[i], small);
        run_latent(both[i]);
        run_conv(both[i], small);
    }
    sdt_cuda_free(cuda);
    return check_end("cuda");
}
#endif

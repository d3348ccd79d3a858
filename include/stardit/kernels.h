/* Every kernel of stardit: arithmetic on plain arrays, nothing else.
 *
 * Rules that hold for all of them
 *  - float32, row-major; shapes stand behind each pointer, slowest dimension first.
 *  - Single-threaded and re-entrant; no allocation: a kernel that needs room says how many
 *    floats with its `..._scratch` function and gets it as `scratch`.
 *  - Kernels on CPUs cannot fail: whoever inserts the task has settled the sizes. A CUDA kernel
 *    that fails stops the run with SDT_ERROR_DEVICE, its task and its device (sdt__task_fail).
 *  - **A row's bits do not depend on how many rows, heads, frames or devices come in one call.**
 *    Matrix products are made of blocks whose sums run in one order whatever the number of rows
 *    (kernels/cpu/product.h). No sum is split differently.
 *  - Outputs do not overlap inputs unless a comment says "in place". A plain version,
 *    `<name>_reference` (kernels/reference.h), in double precision, stands beside each kernel
 *    that computes; tests/kernels holds the tolerances.
 *
 * Notation: T rows of a tile, d model width, h heads, e head dimension (d = h * e), C channels. */
#ifndef STARDIT_KERNELS_H
#define STARDIT_KERNELS_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

/* ---- storage types ------------------------------------------------------------------------- */

/* What files hold. Numbers are read from the four floating point types in front; the 8-bit ones of
 * quantised weights are known by name and size only. */
enum sdt_dtype {
    SDT_F32,
    SDT_F16,
    SDT_BF16,
    SDT_F64,
    SDT_I64,
    SDT_I32,
    SDT_I16,
    SDT_I8,
    SDT_U8,
    SDT_BOOL,
    SDT_F8_E4M3,
    SDT_F8_E5M2,
    SDT_DTYPES
};

/* Bytes of one element. */
size_t sdt_dtype_size(enum sdt_dtype dtype);
/* The safetensors spelling, "F32", "BF16", ... */
const char *sdt_dtype_name(enum sdt_dtype dtype);

/* dst[n] = float of src[n]; F32, F16, BF16 and F64 sources; src need not be aligned. */
void sdt_convert(enum sdt_dtype dtype, size_t n, const void *src, float *dst /* [n] */);
/* dst[n] = src[n] in another type: to F32 as above, or to BF16 or F16, rounded to the nearest, ties
 * to even (F64 by way of float). */
void sdt_convert_to(enum sdt_dtype from, size_t n, const void *src, enum sdt_dtype to,
                    void *dst /* [n], aligned */);

/* ---- linear -------------------------------------------------------------------------------- */

enum sdt_epilogue { SDT_EPILOGUE_NONE, SDT_EPILOGUE_GELU_TANH, SDT_EPILOGUE_SILU };

/* A matrix of weights [n, k], borrowed. */
struct sdt_weight {
    const void *data; /* [n, k], row-major, need not be aligned; or as sdt_pack_weight wrote it */
    enum sdt_dtype dtype; /* F32, BF16, F16 or F64; not looked at if packed */
    int packed;           /* 1: by sdt_pack_weight */
};

static inline struct sdt_weight sdt_plain_weight(const float *w /* [n, k] */) {
    struct sdt_weight weight = {w, SDT_F32, 0};
    return weight;
}

/* Weights in the order in which products on this processor read them, for those that are used
 * often: the same bits, only faster. BF16 and F16 stay so (and are widened in the kernel, exactly:
 * the bits are those of the same values in F32); F64 becomes F32. `packed` has sdt_packed_size
 * bytes, a multiple of SDT_PACKED_ELEMENT, and is of use in this process only. Sums may start anew
 * where a run of k ends (k = n runs); run = k for linear layers. */
enum { SDT_PACKED_ELEMENT = 64 };
size_t sdt_packed_size(enum sdt_dtype stored, int n, int k);
void sdt_pack_weight(enum sdt_dtype stored, int n, int k, int run, const void *w /* [n, k] */,
                     void *packed);
/* The same of k columns of a matrix whose rows are ld elements apart. */
void sdt_pack_columns(enum sdt_dtype stored, int n, int k, int ld, int run,
                      const void *w /* [n, ld], its first k columns */, void *packed);

/* y = epilogue(x w^T + bias) */
void sdt_linear(int rows, int n, int k, const float *x /* [rows, k] */,
                struct sdt_weight w /* [n, k] */, const float *bias /* [n] or NULL */,
                enum sdt_epilogue epilogue, float *y /* [rows, n] */);

/* y += gate * (x w^T + bias), the gated residual; gate = gate_a + gate_b (either may be NULL, both
 * NULL: gate is 1). Two addends because Wan adds a per-layer table to a per-step vector. */
void sdt_linear_residual(int rows, int n, int k, const float *x /* [rows, k] */,
                         struct sdt_weight w /* [n, k] */, const float *bias /* [n] or NULL */,
                         const float *gate_a /* [n] or NULL */,
                         const float *gate_b /* [n] or NULL */, float *y /* [rows, n] in place */,
                         float *scratch);
size_t sdt_linear_residual_scratch(int rows);

/* y = x w^T + bias, or y += where `add` is 1, of an x[rows, k] that lies in parts, as several tasks
 * computed it: part p has columns bound[p]..bound[p+1]-1. Bounds begin with 0, end with k, and are
 * multiples of sdt_linear_step(k) between. The bits of sdt_linear and sdt_linear_residual. */
void sdt_linear_parts(int rows, int n, int k, const int *bound /* [parts + 1] */,
                      const float *const *x /* [parts] -> [rows, columns of the part] */,
                      struct sdt_weight w /* [n, k] */, const float *bias /* [n] or NULL */,
                      int add, float *y /* [rows, n] */,
                      float *scratch /* sdt_linear_residual_scratch(rows) if `add`, else NULL */);
int sdt_linear_step(int k);

/* w += scale (up down), each sum from zero in the order of its rank. */
void sdt_add_low_rank(int rows, int columns, int rank, const float *up /* [rows, rank] */,
                      const float *down /* [rank, columns] */, float scale,
                      float *w /* [rows, columns] in place */);

/* ---- norms and small element-wise kernels --------------------------------------------------- */

/* y = LN(x; eps) [* weight + bias] then * (1 + scale) + shift, scale = scale_a + scale_b and shift
 * = shift_a + shift_b. Pointers may be NULL: a NULL addend is 0. weight and bias go together. */
void sdt_layer_norm(int rows, int d, const float *x /* [rows, d] */, float eps,
                    const float *weight /* [d] or NULL */, const float *bias /* [d] or NULL */,
                    const float *scale_a /* [d] */, const float *scale_b /* [d] */,
                    const float *shift_a /* [d] */, const float *shift_b /* [d] */,
                    float *y /* [rows, d], may be x */);

/* y = x / sqrt(mean(x^2) + eps) * weight, per row */
void sdt_rms_norm(int rows, int d, const float *x /* [rows, d] */, float eps,
                  const float *weight /* [d] */, float *y /* [rows, d], may be x */);

void sdt_silu(size_t n, const float *x /* [n] */, float *y /* [n], may be x */);
/* y = gelu_tanh(a) * b (T5 gated feed-forward) */
void sdt_gated_gelu(size_t n, const float *a /* [n] */, const float *b /* [n] */,
                    float *y /* [n], may be a or b */);
/* y = silu(a) * b (SwiGLU) */
void sdt_gated_silu(size_t n, const float *a /* [n] */, const float *b /* [n] */,
                    float *y /* [n], may be a or b */);
/* y = x / (1 + e^(-1.702 x)) (CLIP) */
void sdt_quick_gelu(size_t n, const float *x /* [n] */, float *y /* [n], may be x */);
/* y = x (1 + erf(x / sqrt 2)) / 2 */
void sdt_gelu(size_t n, const float *x /* [n] */, float *y /* [n], may be x */);
/* y = the mean of the rows of x, added up in their order */
void sdt_mean_rows(int rows, int d, const float *x /* [rows, d] */, float *y /* [d] */);
/* y += x */
void sdt_add(size_t n, const float *x /* [n] */, float *y /* [n] in place */);
/* y = x + sign y, sign 1 or -1 */
void sdt_sum(size_t n, float sign, const float *x /* [n] */, float *y /* [n] in place */);
/* Timestep embedding: [cos a_0.., sin a_0..], a_i = t * exp(-ln(10000) i / (dim/2)); frequencies
 * rounded to float, product in float. dim even. */
void sdt_sinusoid(float t, int dim, float *y /* [dim] */);

/* ---- rotary embedding ------------------------------------------------------------------------ */

/* The token grid and how a head's e/2 pairs are shared by its three axes. */
struct sdt_rope {
    int size[3];  /* tokens along frames, height, width */
    int pairs[3]; /* turned by each axis, over its 2 pairs columns; their sum is e/2 */
    int halves;   /* 1: pair i of an axis is its columns i and pairs + i; 0: 2i and 2i+1 */
};
/* Floats of the table: sum over axes of size * pairs * 2. */
size_t sdt_rope_table_size(const struct sdt_rope *rope);
/* Angles pos * theta^(-2i/D_a) in double, cos and sin rounded to float. */
void sdt_rope_table(const struct sdt_rope *rope, double theta,
                    float *table /* per axis [size, pairs, 2 (cos, sin)] */);

/* How pieces [heads, block] of several tiles are put together as y [heads, stride], a head's blocks
 * behind one another. Tiles from `split` on stand `skip` elements before their place, where the
 * tile in front of them is padded so much; what lies beyond the stride is left out. That tile and
 * the last one may have shorter pieces. Piece p is that of tile first + p. */
struct sdt_gather {
    size_t block;  /* elements of a head's piece: rows * e */
    size_t stride; /* elements of a head in y */
    int split;
    size_t skip;   /* 0: none, whatever `split` */
    size_t before; /* elements of a head's piece of tile split - 1; 0: block */
    int last;
    size_t end; /* the same of tile `last`; 0: block */
    int first;
};
/* Elements of a head's piece p. */
static inline size_t sdt_gather_piece(const struct sdt_gather *g, int p) {
    int t = g->first + p;
    if (g->before && t == g->split - 1)
        return g->before;
    return g->end && t == g->last ? g->end : g->block;
}
/* Where its block begins in a head, and how many of its elements are copied there. */
static inline size_t sdt_gather_at(const struct sdt_gather *g, int p) {
    int t = g->first + p;
    return (size_t)t * g->block - (t >= g->split ? g->skip : 0);
}
static inline size_t sdt_gather_count(const struct sdt_gather *g, int p) {
    size_t at = sdt_gather_at(g, p);
    size_t count = g->first + p == g->split - 1 ? g->block - g->skip : sdt_gather_piece(g, p);
    return at >= g->stride ? 0 : count < g->stride - at ? count : g->stride - at;
}

/* Of each head `count` elements, from element x_at on in x to y_at on in y. */
struct sdt_copy_part {
    int heads;
    size_t count;
    size_t x_stride, x_at, y_stride, y_at; /* stride: elements of a head */
};
/* What y holds elsewhere stays. x and y do not overlap. */
void sdt_copy_part(const struct sdt_copy_part *part, const float *x /* [heads, x_stride] */,
                   float *y /* [heads, y_stride] */);

/* ---- heads: tokens <-> heads on one tile ---------------------------------------------------- */

/* Splits a tile by heads into `pieces` contiguous ranges: piece p holds heads head[p]..head[p+1]-1
 * as [heads of p, rows, e], each head dense, so that attention sees the same leading dimension
 * whatever the split. On the way, in this order: RMS over the whole row (Wan's
 * rms_norm_across_heads, weight NULL: none), rotation of pairs by the row's grid position (table
 * NULL: none). Row r is token first_token + r; rows from valid_rows on are padding
 * and written as 0. */
void sdt_split_heads(int rows, int valid_rows, int heads, int e, const float *x /* [rows, h*e] */,
                     const float *weight /* [h*e] or NULL */, float eps,
                     const struct sdt_rope *rope, const float *table /* see sdt_rope_table */,
                     int64_t first_token, int pieces, const int *head /* [pieces + 1] */,
                     float *const *y /* [pieces] -> [heads of p, rows, e] */);

/* The inverse without norm or rotation. */
void sdt_merge_heads(int rows, int heads, int e, int pieces, const int *head /* [pieces + 1] */,
                     const float *const *x /* [pieces] -> [heads of p, rows, e] */,
                     float *y /* [rows, h*e] */);

/* ---- attention ------------------------------------------------------------------------------ */

/* o = softmax(scale q k^T) v per head over `keys` valid keys, online softmax over blocks of keys in
 * their order: no S x S matrix. A head's keys follow one another, in whole tiles; a query's bits do
 * not depend on `tile`.
 * With lse, the log-sum-exp of the scaled scores per query is written too (ring attention merges
 * partial results by it). */
void sdt_attention(int heads, int rows, int e, const float *q /* [heads, rows, e] */, int tile,
                   int64_t keys, const float *k /* [heads, ceil(keys/tile), tile, e] */,
                   const float *v /* as k */, float scale, float *o /* [heads, rows, e] */,
                   float *lse /* [heads, rows] or NULL */, float *scratch);
size_t sdt_attention_scratch(int rows, int e, int64_t keys);

/* Merges attention over a second set of keys into attention over a first one, by their log-sum-exps
 * (ring attention): o = (e^lse o + e^lse2 o2) / (e^lse + e^lse2), lse = log(e^lse + e^lse2).
 * Of rows that no key was seen by, twice, o stays. */
void sdt_attention_merge(int heads, int rows, int e, const float *o2 /* [heads, rows, e] */,
                         const float *lse2 /* [heads, rows] */,
                         float *o /* [heads, rows, e] in place */,
                         float *lse /* [heads, rows] in place */);

/* Tokens that attend among themselves only (skiparse): token n is in group n / run mod count. Of a
 * call's queries and keys, each a range of tokens, the first ones. */
struct sdt_token_groups {
    int count, run; /* count 1: all tokens are one group */
    int64_t first_query, first_key;
};
/* How many of the first `tokens` tokens are in a group. */
static inline int64_t sdt_group_members(const struct sdt_token_groups *g, int group,
                                        int64_t tokens) {
    int64_t turn = (int64_t)g->count * g->run, left = tokens % turn - (int64_t)group * g->run;
    return tokens / turn * g->run + (left < 0 ? 0 : left < g->run ? left : g->run);
}
/* Which token a group's member is, counted from 0. */
static inline int64_t sdt_group_token(const struct sdt_token_groups *g, int group, int64_t member) {
    return (member / g->run * g->count + group) * g->run + member % g->run;
}
/* The most members among so many tokens in a row. */
static inline int64_t sdt_group_most(const struct sdt_token_groups *g, int64_t tokens) {
    int64_t turn = (int64_t)g->count * g->run, left = tokens % turn;
    return tokens / turn * g->run + (left < g->run ? left : g->run);
}

/* sdt_attention within groups: a query sees the keys of its own, in their order, in blocks that are
 * counted from the group's first key on; of no key, o is 0 and lse minus infinity. A query's bits
 * are those of sdt_attention with its group's keys alone. */
void sdt_group_attention(const struct sdt_token_groups *groups, int heads, int rows, int e,
                         const float *q /* [heads, rows, e] */, int tile, int64_t keys,
                         const float *k /* [heads, ceil(keys/tile), tile, e] */,
                         const float *v /* as k */, float scale, float *o /* [heads, rows, e] */,
                         float *lse /* [heads, rows] or NULL */, float *scratch);
size_t sdt_group_attention_scratch(const struct sdt_token_groups *groups, int rows, int e,
                                   int64_t keys);

/* Cross attention of one token tile with the prompt's keys: RMS of q over the whole row, then per
 * head softmax(q k^T / sqrt(e)) v. `last_key_bias` is added to the scores of the last key:
 * log(number of identical padding rows it stands for), 0 otherwise. */
void sdt_cross_attention(int rows, int heads, int e, const float *q /* [rows, h*e] */,
                         const float *q_weight /* [h*e] or NULL */, float eps, int keys,
                         const float *k /* [keys, h*e] */, const float *v /* [keys, h*e] */,
                         float last_key_bias, float *o /* [rows, h*e] */, float *scratch);
size_t sdt_cross_attention_scratch(int rows, int heads, int e, int keys);

/* T5 self attention: no scaling, a relative position bias table[bucket(j - i), head]. Of `heads`
 * heads, which are first_head.. of the table's. */
void sdt_text_attention(int tokens, int heads, int e, const float *q /* [tokens, h*e] */,
                        const float *k /* [tokens, h*e] */, const float *v /* [tokens, h*e] */,
                        int first_head, int table_heads, const float *table /* [32, table_heads] */,
                        float *o /* [tokens, h*e] */, float *scratch);
size_t sdt_text_attention_scratch(int tokens, int e);
/* Self attention in which a token sees itself and those in front of it, scale 1/sqrt(e). Of grouped
 * heads: query head i reads head i / (heads / kv_heads) of k and v. */
void sdt_causal_attention(int tokens, int heads, int kv_heads, int e,
                          const float *q /* [tokens, heads*e] */,
                          const float *k /* [tokens, kv_heads*e] */, const float *v /* as k */,
                          float *o /* [tokens, heads*e] */, float *scratch);
size_t sdt_causal_attention_scratch(int tokens, int e);
/* Rotation by position, of a head's two halves (LLaMA): element j < e/2 with j + e/2. */
void sdt_rotate_halves(int rows, int heads, int e,
                       const float *table /* [rows, 2 (cos, sin), e/2] */,
                       float *x /* [rows, h*e] in place */);
/* The bucket of relative position rel = j - i, 0..31 (32 buckets, distance 128, both ways). */
int sdt_t5_bucket(int rel);

/* ---- latents as tokens ---------------------------------------------------------------------- */

/* How a latent [C, frames, height, width] is cut into tokens: token n = (t*Hp + y)*Wp + x. */
struct sdt_patch {
    int channels;              /* C */
    int frames, height, width; /* of the latent */
    int size[3];               /* patch: pt, ph, pw; divides frames, height, width */
};
/* Rows of tokens first..first+rows-1, vector order (C, pt, ph, pw), C slowest, as a patch
 * embedding convolution reads it; rows past the last token are 0. */
void sdt_patchify(const struct sdt_patch *patch, int64_t first, int rows,
                  const float *latent /* [C, frames, height, width] */,
                  float *y /* [rows, C*pt*ph*pw] */);
/* The inverse: writes the valid tokens of the tile into the latent. */
void sdt_unpatchify(const struct sdt_patch *patch, int64_t first, int rows,
                    const float *x /* [rows, C*pt*ph*pw] */,
                    float *latent /* [C, frames, height, width], these tokens' places */);
/* (patch, C) with C fastest, as Wan's head writes it, to (C, patch). */
void sdt_patch_order(int rows, int channels, int patch, const float *x /* [rows, patch, C] */,
                     float *y /* [rows, C, patch] */);

/* ---- sampler -------------------------------------------------------------------------------- */

/* One step of a linear multistep solver, element by element, in this order:
 *   v  = v_uncond + guidance (v_cond - v_uncond)        (v_uncond NULL: v = v_cond)
 *   x0 = x - sigma v
 *   if (correct) x = c_last x_last + c_m0 m0 + c_m1 m1 + c_x0 x0
 *   x_last = x
 *   x  = p_x x + p_x0 x0 + p_m0 m0 + p_v v
 *   m1 = m0, m0 = x0
 * UniPC and flow-match Euler are rows of these coefficients (graph/sampler). A coefficient of
 * exactly 0 means that its term is not read (the buffers start out undefined). */
struct sdt_sampler_step {
    float guidance, sigma;
    int correct;
    float c_last, c_m0, c_m1, c_x0;
    float p_x, p_x0, p_m0, p_v;
};
void sdt_sampler_step(const struct sdt_sampler_step *step, size_t n, const float *v_cond /* [n] */,
                      const float *v_uncond /* [n] or NULL */, float *x /* [n] in place */,
                      float *x_last /* [n] */, float *m0 /* [n] */, float *m1 /* [n] */);

/* ---- noise ---------------------------------------------------------------------------------- */

/* torch.Generator("cpu"): mt19937, and the second value of a pair that the next call takes. */
enum { SDT_GENERATOR_STATE = 624 };
struct sdt_generator {
    uint32_t state[SDT_GENERATOR_STATE];
    int next;
    double kept; /* NaN: none */
};
void sdt_generator_seed(struct sdt_generator *generator, uint64_t seed);
/* y = torch.randn(n) of that generator, up to the last bits of log and cos. */
void sdt_normal(struct sdt_generator *generator, size_t n, float *y /* [n] */);
/* Goes on as if these had been drawn. */
void sdt_normal_skip(struct sdt_generator *generator, size_t n);
/* The first n of a generator with that seed. */
void sdt_randn(uint64_t seed, size_t n, float *y /* [n] */);

/* ---- numbers that are none ------------------------------------------------------------------ */

/* The index of the first number that is NaN or infinite; n: there is none. */
size_t sdt_find_not_finite(size_t n, const float *x /* [n] */);

/* ---- causal video convolutions; activations are channel-last ---------------------- */

/* [out, in, taps] as stored to [out, taps, in] as the kernels read it. On CPUs then packed
 * (sdt_pack_weight), with the run of one row of the kernel: ks * in, or C for the upsampling in
 * time. */
void sdt_conv_pack(int out, int in, int taps, const float *w, float *packed);

/* A causal conv: kernel (kt, ks, ks), ks 1 or 3, kt 1 or 3, stride 1. Outside of the frame stand
 * zeros, or its border repeated. With upsample the input is first enlarged x2 in height and width,
 * nearest. */
struct sdt_conv {
    int in, out;       /* channels */
    int kt, ks;        /* kernel in time and space */
    int height, width; /* of the input frame */
    int upsample;      /* 1: output is [2 height, 2 width, out] */
    int replicate;     /* 1: the border is repeated, 0: zeros */
};
/* The input frames, oldest first, each in bands of whole rows one below the other, of which those
 * are here that the output's rows look at. */
struct sdt_conv_input {
    const float *const
        *x; /* [kt, bands] -> [rows of the band, width, in]; NULL: zeros (before the start) */
    int bands, first_band; /* that are here */
    int band_rows;         /* of a band; the last one of the frame may have less */
};
/* Rows y0..y0+rows-1 of one output frame. With residual, y = conv + residual. */
void sdt_conv_rows(const struct sdt_conv *conv, int y0, int rows,
                   const struct sdt_conv_input *input,
                   struct sdt_weight w /* [out, kt, ks, ks, in] */, const float *bias /* [out] */,
                   const float *residual /* as y, or NULL */, float *y /* [rows, W', out] */,
                   float *scratch);
size_t sdt_conv_scratch(const struct sdt_conv *conv);

/* Wan up3d's time_conv: kernel (3,1,1), C -> 2C; an input frame becomes two output frames, channels
 * [0,C) and then [C,2C). */
void sdt_time_upsample(size_t pixels, int channels,
                       const float *const *x /* [3] -> [pixels, C] or NULL: zeros */,
                       struct sdt_weight w /* [2C, 3, C] */, const float *bias /* [2C] */,
                       float *first /* [pixels, C] */, float *second /* [pixels, C] */,
                       float *scratch);
size_t sdt_time_upsample_scratch(size_t pixels);

/* Wan's per-pixel channel norm: x / max(||x||_2, 1e-12) * sqrt(C) * gamma, then silu if asked. */
void sdt_channel_norm(size_t pixels, int channels, const float *x /* [pixels, C] */,
                      const float *gamma /* [C] */, int silu, float *y /* [pixels, C], may be x */);

/* GroupNorm over clips, channel-last: C channels in `groups` runs, each normalised over all pixels
 * of all frames. Three steps, so that frames can be computed apart: what each frame holds, what all
 * of them do, and the norm. A frame's sums run row by row, whatever its bands: bits depend on
 * nothing but the frame.
 *
 * Mean, and sum of squares of what differs from it, of each group of one frame. */
void sdt_frame_moments(int bands, int band_rows /* of a band; the last one may have less */,
                       int height, int width, int channels, int groups,
                       const float *const *x /* [bands] -> [rows of the band, width, C] */,
                       float *moments /* [groups, 2] */, float *scratch);
size_t sdt_frame_moments_scratch(int channels);
/* Mean and 1 / sqrt(variance + eps) of each group over all frames, of so many values each. */
void sdt_group_moments(int frames, int groups, double values, float eps,
                       const float *const *moments /* [frames] -> [groups, 2] */,
                       float *norm /* [groups, 2] */);
/* (x - mean) / deviation * weight + bias, then silu if asked. */
void sdt_group_norm(size_t pixels, int channels, int groups, const float *x /* [pixels, C] */,
                    const float *norm /* [groups, 2] */, const float *weight /* [C] */,
                    const float *bias /* [C] */, int silu, float *y /* [pixels, C], may be x */);
/* Layer norm over a pixel's channels, LN(x; eps) * weight + bias, then silu if asked. */
void sdt_channel_layer_norm(size_t pixels, int channels, float eps,
                            const float *x /* [pixels, C] */, const float *weight /* [C] */,
                            const float *bias /* [C] */, int silu,
                            float *y /* [pixels, C], may be x */);

/* A frame between two others, weight a + (1 - weight) b, enlarged x2 in height and width, bilinear
 * with corners not aligned: in each direction, 3/4 of the nearest pixel and 1/4 of the next, the
 * border repeated. */
struct sdt_linear_upsample {
    int channels, height, width; /* of the input frames */
    float weight;                /* of the first; 1: there is no second */
};
/* Rows y0..y0+rows-1 of the output frame, from the bands of the input frames that they look at. */
void sdt_linear_upsample_rows(const struct sdt_linear_upsample *up, int y0, int rows,
                              const struct sdt_conv_input *input /* one frame, or two */,
                              float *y /* [rows, 2 width, C] */, float *scratch);
size_t sdt_linear_upsample_scratch(const struct sdt_linear_upsample *up);

/* Inverse Haar transforms, a 2x2 square of pixels or a 2x2x2 cube from each pixel: sums of 3
 * channels' bands, each with its signs, times 1/2 in the plane and 0.3536 (so WFVAE has it, not
 * 1/sqrt(8)) in space and time. low: added to the first band. */
void sdt_inverse_haar_2d(int height, int width, const float *bands /* [height, width, 4, 3] */,
                         const float *low /* [height, width, 3] or NULL */,
                         float *y /* [2 height, 2 width, 3] */);
void sdt_inverse_haar_3d(int height, int width, const float *bands /* [height, width, 8, 3] */,
                         const float *low /* [height, width, 3] or NULL */,
                         float *first /* [2 height, 2 width, 3] or NULL: not wanted */,
                         float *second /* [2 height, 2 width, 3] */);

/* Single-head attention over the pixels of one frame, e = C, scale 1/sqrt(C), online softmax; of
 * queries first..first+rows-1. */
void sdt_frame_attention(int pixels, int channels, int first, int rows,
                         const float *q /* [pixels, C], `ld` floats from pixel to pixel */,
                         const float *k /* as q */, const float *v /* as q */, int ld,
                         float *o /* [rows, C] */, float *scratch);
size_t sdt_frame_attention_scratch(int pixels, int channels);

/* A window of the latent as channel-last frames, z = latent * std + mean per channel
 * (std and mean NULL: as it is). */
struct sdt_window {
    int channels, frames, height, width; /* of the latent [C, frames, height, width] */
    int frame0, nframes;                 /* the window */
    int y0, x0, rows, cols;
};
void sdt_latent_window(const struct sdt_window *window, const float *latent,
                       const float *std /* [C] or NULL */, const float *mean /* [C] or NULL */,
                       float *y /* [nframes, rows, cols, C] */);

/* ---- frames --------------------------------------------------------------------------------- */

/* x = clamp(x, -1, 1) */
void sdt_clamp_frames(size_t n, float *x /* [n] in place */);

/* Cross-fade of the last rows (columns) of a into the first of b over `extent` of them:
 * b[k] = a[size_a - extent + k] (1 - k/extent) + b[k] (k/extent), extent <= both sizes. */
void sdt_blend_rows(int frames, int width, int extent, int a_rows,
                    const float *a /* [frames, a_rows, width, 3] */, int b_rows,
                    float *b /* [frames, b_rows, width, 3] in place */);
void sdt_blend_columns(int frames, int rows, int extent, int a_width,
                       const float *a /* [frames, rows, a_width, 3] */, int b_width,
                       float *b /* [frames, rows, b_width, 3] in place */);

/* ---- kernels by name ------------------------------------------------------------------------- */

/* Those whose plain version takes the same arguments: a name here declares it. The others, that
 * take scratch memory or packed weights, are declared in kernels/reference.h. */
#define SDT_KERNELS(X)                                                                             \
    X(convert)                                                                                     \
    X(add_low_rank)                                                                                \
    X(layer_norm)                                                                                  \
    X(rms_norm)                                                                                    \
    X(silu)                                                                                        \
    X(gated_gelu)                                                                                  \
    X(gated_silu)                                                                                  \
    X(quick_gelu)                                                                                  \
    X(gelu)                                                                                        \
    X(rotate_halves)                                                                               \
    X(mean_rows)                                                                                   \
    X(add)                                                                                         \
    X(sum)                                                                                         \
    X(sinusoid)                                                                                    \
    X(split_heads)                                                                                 \
    X(merge_heads)                                                                                 \
    X(attention_merge)                                                                             \
    X(sampler_step)                                                                                \
    X(find_not_finite)                                                                             \
    X(channel_norm)                                                                                \
    X(group_moments)                                                                               \
    X(group_norm)                                                                                  \
    X(channel_layer_norm)                                                                          \
    X(inverse_haar_2d)                                                                             \
    X(inverse_haar_3d)                                                                             \
    X(latent_window)                                                                               \
    X(blend_rows)                                                                                  \
    X(blend_columns)

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif

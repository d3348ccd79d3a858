/* Kernels that are written for a block of threads, on the host, thread by thread (cuda_block.h):
 * the attentions of kernels/cuda/flash.h and the plain ways of kernels/cuda/plain.h. */
#include "tests/kernels/cuda_block.h"

#include "kernels/cuda/flash.h"
#include "kernels/cuda/flash_single.h"
#include "kernels/cuda/group_attention.h"
#include "kernels/cuda/plain.h"
#include "kernels/cuda/scratch.h"
#include "tests/kernels/cuda_launch.h"
extern "C" {
#include "tests/kernels/check.h"
}

/* What blocks have done wrong since the last call. */
static enum sdt_status ended(void) {
    launch_faults += block_faults;
    block_faults = 0;
    return SDT_OK;
}

/* ---- linear ---------------------------------------------------------------------------------- */

template <enum sdt_dtype dtype> static void run_plain(const struct plain_call &call) {
    std::vector<float> shared(PLAIN_SHARED, NAN);
    for (int r = 0; r < call.rows; r += PLAIN_TILE)
        for (int c = 0; c < call.n; c += PLAIN_TILE)
            block_run(PLAIN_THREADS, r > 0 || (call.residual && c > 0),
                      [&] { plain_linear<dtype>(call, r, c, shared.data()); });
}

static enum sdt_status plain(enum sdt_dtype dtype, const struct plain_call &call) {
    if (dtype == SDT_BF16)
        run_plain<SDT_BF16>(call);
    else
        run_plain<SDT_F32>(call);
    return ended();
}

enum sdt_status sdt_cuda_linear(struct sdt_cuda *, enum sdt_dtype dtype, int rows, int n, int k,
                                const void *x, const void *w, const void *bias,
                                enum sdt_epilogue epilogue, void *y) {
    return plain(dtype, {rows, n, k, x, w, bias, NULL, NULL, epilogue, false, y});
}

static float number(enum sdt_dtype dtype, const void *x, size_t i) {
    float v;
    body_load(dtype, 1, x, i, &v);
    return v;
}

/* In the place of cuBLASLt: y [rows, n] = scale x w^T, w [n, k], or [k, n] by row. */
struct product {
    int rows, n, k;
    int ldx, ldw, ldy;
    bool w_by_row;
    enum sdt_dtype dtype, y_dtype;
};

static void multiply(const struct product &p, float scale, const void *x, const void *w, void *y) {
    for (int r = 0; r < p.rows; r++)
        for (int c = 0; c < p.n; c++) {
            double sum = 0.;
            for (int i = 0; i < p.k; i++)
                sum +=
                    (double)number(p.dtype, x, (size_t)r * p.ldx + i) *
                    number(p.dtype, w, p.w_by_row ? (size_t)i * p.ldw + c : (size_t)c * p.ldw + i);
            float v = (float)(scale * sum);
            body_store(p.y_dtype, 1, y, (size_t)r * p.ldy + c, &v);
        }
}

/* As where the library has the product, or by our own kernel. */
enum sdt_status sdt_cuda_linear_residual(struct sdt_cuda *, enum sdt_dtype dtype, int rows, int n,
                                         int k, const void *x, const void *w, const void *bias,
                                         const float *gate_a, const float *gate_b, void *y,
                                         void *scratch) {
    if (launch_own)
        return plain(dtype, {rows, n, k, x, w, bias, gate_a, gate_b, SDT_EPILOGUE_NONE, true, y});
    struct body_residual residual = {n, scratch, bias, gate_a, gate_b, y};
    bool wide = (size_t)n * body_size(dtype) % 16 == 0 && body_aligned(scratch) &&
                body_aligned(y) && body_aligned(bias) && body_aligned(gate_a) &&
                body_aligned(gate_b);
    int pack = body_pack(dtype, dtype, wide);
    multiply({rows, n, k, k, k, n, false, dtype, dtype}, 1.f, x, w, scratch);
    for (int r = 0; r < rows; r++)
        for (int c = 0; c < n; c += pack)
            body_residual_pack(&residual, dtype, dtype, pack, r, c);
    return SDT_OK;
}

/* ---- attention ------------------------------------------------------------------------------- */

/* As attention.cu rounds e up. */
template <int STAGES>
static void flash_any(const struct attention_call &call, int tile, int head, uint16_t *shared) {
    if (call.e <= 16)
        flash_block<16, STAGES>(call, tile, head, shared);
    else if (call.e <= 32)
        flash_block<32, STAGES>(call, tile, head, shared);
    else if (call.e <= 64)
        flash_block<64, STAGES>(call, tile, head, shared);
    else if (call.e <= 80)
        flash_block<80, STAGES>(call, tile, head, shared);
    else if (call.e <= 96)
        flash_block<96, STAGES>(call, tile, head, shared);
    else if (call.e <= 112)
        flash_block<112, STAGES>(call, tile, head, shared);
    else
        flash_block<128, STAGES>(call, tile, head, shared);
}

/* With two stages and the last warp first, or with three and the first warp first. */
static void run_flash(const struct attention_call &call, bool backward) {
    const size_t bytes = flash_shape<128, 3>::BYTES;
    std::vector<uint64_t> shared(bytes / 8 + 2);
    uint16_t *start = (uint16_t *)(((uintptr_t)shared.data() + 15) / 16 * 16);
    for (int head = 0; head < call.heads; head++)
        for (int tile = 0; tile * FLASH_ROWS < call.rows; tile++) {
            memset(start, 0xff, bytes);
            block_run(FLASH_THREADS, backward, [&] {
                if (backward)
                    flash_any<2>(call, tile, head, start);
                else
                    flash_any<3>(call, tile, head, start);
            });
        }
}

template <int E> static void run_single(const struct attention_call &call, bool backward) {
    std::vector<uint64_t> shared(single_shape<E>::BYTES / 8 + 2);
    float *start = (float *)(((uintptr_t)shared.data() + 15) / 16 * 16);
    for (int head = 0; head < call.heads; head++)
        for (int tile = 0; tile * SINGLE_ROWS < call.rows; tile++) {
            memset(start, 0xff, single_shape<E>::BYTES);
            block_run(SINGLE_THREADS, backward, [&] { single_block<E>(call, tile, head, start); });
        }
}

template <enum sdt_dtype dtype> static void run_exact(const struct attention_call &call) {
    for (int head = 0; head < call.heads; head++)
        for (int row = 0; row < call.rows; row++)
            block_run(32, false, [&] {
                if (call.e <= 32)
                    exact_warp<dtype, 1>(call, row, head);
                else if (call.e <= 64)
                    exact_warp<dtype, 2>(call, row, head);
                else if (call.e <= 128)
                    exact_warp<dtype, 4>(call, row, head);
                else if (call.e <= 384)
                    exact_warp<dtype, 12>(call, row, head);
                else
                    exact_warp<dtype, 32>(call, row, head);
            });
}

/* Can every row be read 16 bytes at a time? */
static bool whole_chunks(const struct attention_call &call) {
    return call.e % 8 == 0 && body_aligned(call.q) && body_aligned(call.k) &&
           body_aligned(call.v) && body_aligned(call.o) && call.q_head % 8 == 0 &&
           call.q_row % 8 == 0 && call.k_head % 8 == 0 && call.k_row % 8 == 0 &&
           call.o_head % 8 == 0 && call.o_row % 8 == 0;
}

static enum sdt_status attend(enum sdt_dtype dtype, const struct attention_call &call) {
    bool exact = call.table || call.causal || call.group > 1;
    if (dtype == SDT_F32 && !exact && call.e <= 64)
        run_single<64>(call, launch_own);
    else if (dtype == SDT_F32 && !exact && call.e <= 128)
        run_single<128>(call, launch_own);
    else if (dtype == SDT_F32)
        run_exact<SDT_F32>(call);
    else if (exact || call.e > 128 || !(call.scale > 0.f) || !whole_chunks(call))
        run_exact<SDT_BF16>(call);
    else
        run_flash(call, launch_own);
    return ended();
}

/* Copies may come from a head's rows [rows, e] at each stride alone: no keys behind the last
 * one. */
static void allow(const void *x, int heads, int64_t head, int rows, int row, int e) {
    for (int h = 0; h < heads; h++)
        for (int r = 0; r < rows; r++)
            block_allow((const uint16_t *)x + h * head + (int64_t)r * row, (size_t)e * 2);
}

static enum sdt_status attend_in(enum sdt_dtype dtype, const struct attention_call &call) {
    block_readable.clear();
    allow(call.q, call.heads, call.q_head, call.rows, call.q_row, call.e);
    allow(call.k, call.heads / call.group, call.k_head, (int)call.keys, call.k_row, call.e);
    allow(call.v, call.heads / call.group, call.k_head, (int)call.keys, call.k_row, call.e);
    return attend(dtype, call);
}

enum sdt_status sdt_cuda_attention(struct sdt_cuda *, enum sdt_dtype dtype, int heads, int rows,
                                   int e, const void *q, int tile, int64_t keys, const void *k,
                                   const void *v, float scale, void *o, float *lse) {
    struct attention_call call = by_heads(heads, rows, e, q, tile, keys, k, v, o);
    call.scale = scale;
    call.lse = lse;
    return attend_in(dtype, call);
}

enum sdt_status sdt_cuda_group_attention(struct sdt_cuda *, enum sdt_dtype dtype,
                                         const struct sdt_token_groups *groups, int heads, int rows,
                                         int e, const void *q, int tile, int64_t keys,
                                         const void *k, const void *v, float scale, void *o,
                                         float *lse, void *scratch) {
    auto copy = [](const struct body_group &a, enum sdt_dtype of, int all, bool back) {
        int most = body_pack(of, of, true);
        bool wide = a.e % most == 0 && body_aligned(a.all) && body_aligned(a.dense);
        int pack = wide ? most : 1;
        for (int h = 0; h < all; h++)
            for (size_t i = 0; i < (size_t)a.members * (size_t)a.e; i += (size_t)pack)
                body_group_copy(&a, of, pack, h, i, back);
        return SDT_OK;
    };
    group_attention<decltype(copy), decltype(&attend_in)> call = {
        groups, dtype,
        heads,  rows,
        e,      q,
        keys,   (keys + tile - 1) / tile * tile,
        k,      v,
        scale,  o,
        lse,    (char *)scratch,
        copy,   &attend_in};
    return call.run();
}

enum sdt_status sdt_cuda_cross_attention(struct sdt_cuda *cuda, enum sdt_dtype dtype, int rows,
                                         int heads, int e, const void *q, const float *q_weight,
                                         float eps, int keys, const void *k, const void *v,
                                         float last_key_bias, void *o, void *scratch) {
    if (q_weight) {
        sdt_cuda_rms_norm(cuda, dtype, rows, heads * e, q, eps, q_weight, dtype, scratch);
        q = scratch;
    }
    struct attention_call call = by_columns(rows, heads, e, q, keys, k, v, o);
    call.scale = 1.f / sqrtf((float)e);
    call.last_key_bias = last_key_bias;
    return attend_in(dtype, call);
}

enum sdt_status sdt_cuda_text_attention(struct sdt_cuda *, enum sdt_dtype dtype, int tokens,
                                        int heads, int e, const void *q, const void *k,
                                        const void *v, const float *table, void *o) {
    struct attention_call call = by_columns(tokens, heads, e, q, tokens, k, v, o);
    call.scale = 1.f;
    call.table = table;
    return attend_in(dtype, call);
}

enum sdt_status sdt_cuda_causal_attention(struct sdt_cuda *, enum sdt_dtype dtype, int tokens,
                                          int heads, int kv_heads, int e, const void *q,
                                          const void *k, const void *v, void *o) {
    return attend_in(dtype, causal(tokens, heads, kv_heads, e, q, k, v, o));
}

/* Two products and a softmax between them, or the exact way. */
static enum sdt_status wide(enum sdt_dtype dtype, int rows, int keys, int e, const char *q, int ldq,
                            const char *k, const char *v, int ldk, char *o, void *scratch) {
    size_t size = body_size(dtype), length = sdt__score_row(keys);
    float scale = 1.f / sqrtf((float)e), room[SOFTMAX_WARPS];
    if (launch_own) {
        struct attention_call call = by_columns(rows, 1, e, q, keys, k, v, o);
        call.q_row = ldq;
        call.k_row = ldk;
        call.scale = scale;
        return attend_in(dtype, call);
    }
    int most = sdt__score_rows(rows, keys), ld = (int)length;
    void *weights = dtype == SDT_BF16 ? (float *)scratch + (size_t)most * length : (float *)scratch;
    for (int first = 0; first < rows; first += most) {
        int count = rows - first < most ? rows - first : most;
        multiply({count, keys, e, ldq, ldk, ld, false, dtype, SDT_F32}, scale,
                 q + (size_t)first * ldq * size, k, scratch);
        for (int r = 0; r < count; r++) {
            const float *scores = (const float *)scratch + (size_t)r * length;
            char *row = (char *)weights + (size_t)r * length * size;
            block_run(SOFTMAX_THREADS, r % 2, [&] {
                if (dtype == SDT_BF16)
                    softmax_row<SDT_BF16>(keys, scores, row, room);
                else
                    softmax_row<SDT_F32>(keys, scores, row, room);
            });
        }
        multiply({count, e, keys, ld, ldk, e, true, dtype, dtype}, 1.f, weights, v,
                 o + (size_t)first * e * size);
    }
    return ended();
}

enum sdt_status sdt_cuda_frame_attention(struct sdt_cuda *, enum sdt_dtype dtype, int pixels,
                                         int channels, const void *q, const void *k, const void *v,
                                         int stride, void *o, void *scratch) {
    return wide(dtype, pixels, pixels, channels, (const char *)q, stride, (const char *)k,
                (const char *)v, stride, (char *)o, scratch);
}

enum sdt_status sdt_cuda_wide_attention(struct sdt_cuda *, enum sdt_dtype dtype, int rows, int keys,
                                        int e, const void *q, const void *k, const void *v, void *o,
                                        void *scratch) {
    return wide(dtype, rows, keys, e, (const char *)q, e, (const char *)k, (const char *)v, e,
                (char *)o, scratch);
}

/* ---- parts ----------------------------------------------------------------------------------- */

/* Apart, and in place. */
static void check_softmax(int n) {
    float *scores = numbers(n, 20.f), *weights = blank(n), *want = blank(n);
    double largest = -INFINITY, sum = 0.;
    for (int i = 0; i < n; i++)
        largest = fmax(largest, scores[i]);
    for (int i = 0; i < n; i++)
        sum += exp(scores[i] - largest);
    for (int i = 0; i < n; i++)
        want[i] = (float)(exp(scores[i] - largest) / sum);
    float room[SOFTMAX_WARPS];
    block_run(SOFTMAX_THREADS, false, [&] { softmax_row<SDT_F32>(n, scores, weights, room); });
    check_near(n, weights, want, 2e-6, "softmax of %d", n);
    block_run(SOFTMAX_THREADS, true, [&] { softmax_row<SDT_F32>(n, scores, scores, room); });
    check_near(n, scores, want, 2e-6, "softmax of %d in place", n);
    free(scores);
    free(weights);
    free(want);
}

void check_block_parts(void) {
    for (int rel = -300; rel <= 300; rel++)
        if (attention_bucket(rel) != sdt_t5_bucket(rel)) {
            fprintf(stderr, "bucket of %d is %d\n", rel, attention_bucket(rel));
            launch_faults++;
        }
    for (int n : {1, 31, 256, 257, 1000})
        check_softmax(n);
    ended();
}

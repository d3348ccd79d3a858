/* The attention kernels of kernels/cuda/flash.h, thread by thread on the host, against the references: odd
 * numbers of queries, keys and columns, strides of both layouts, and the guards of cuda_block.h. */
#include "tests/kernels/cuda_block.h"

#include "kernels/cuda/flash.h"
#include "kernels/reference.h"
extern "C" {
#include "tests/kernels/check.h"
}

/* What the reference sees, and the kernel's own storage of it; `room` behind each array catches writes. */
struct tensor {
    std::vector<float> value;
    std::vector<char> memory;
    char *base;
    size_t bytes;

    tensor(enum sdt_dtype dtype, size_t n, float scale) : value(n) {
        const size_t room = 256;
        bytes = n * body_size(dtype);
        memory.assign(bytes + 2 * room, (char)0xa5);
        base = (char *)(((uintptr_t)memory.data() + room - 1) / 64 * 64);
        for (size_t i = 0; i < n; i++) {
            value[i] = scale * ((float)(random_bits() >> 8) * 0x1p-23f - 1.f);
            if (dtype == SDT_BF16)
                value[i] = body_of_bf16(body_to_bf16(value[i]));
            body_store(dtype, 1, base, i, &value[i]);
        }
    }
    std::vector<float> read(enum sdt_dtype dtype) const {
        std::vector<float> x(value.size());
        for (size_t i = 0; i < x.size(); i++)
            body_load(dtype, 1, base, i, &x[i]);
        return x;
    }
    void check_room(const char *what) const {
        for (const char *p = memory.data(); p < memory.data() + memory.size(); p++)
            if ((p < base || p >= base + bytes) && *p != (char)0xa5) {
                fprintf(stderr, "%s: written outside, %td bytes from the start\n", what, p - base);
                check_failures++;
                return;
            }
    }
};

/* As attention.cu rounds e up. */
static void flash_any(const struct attention_call &call, int tile, int head, uint16_t *shared) {
    if (call.e <= 16)
        flash_block<16>(call, tile, head, shared);
    else if (call.e <= 32)
        flash_block<32>(call, tile, head, shared);
    else if (call.e <= 64)
        flash_block<64>(call, tile, head, shared);
    else if (call.e <= 80)
        flash_block<80>(call, tile, head, shared);
    else if (call.e <= 96)
        flash_block<96>(call, tile, head, shared);
    else if (call.e <= 112)
        flash_block<112>(call, tile, head, shared);
    else
        flash_block<128>(call, tile, head, shared);
}

static void run_flash(const struct attention_call &call, bool backward) {
    const size_t bytes = flash_shape<128>::BYTES;
    std::vector<uint64_t> shared(bytes / 8 + 2);
    uint16_t *start = (uint16_t *)(((uintptr_t)shared.data() + 15) / 16 * 16);
    for (int head = 0; head < call.heads; head++)
        for (int tile = 0; tile * FLASH_ROWS < call.rows; tile++) {
            memset(start, 0xff, bytes);
            block_run(FLASH_THREADS, backward, [&] { flash_any(call, tile, head, start); });
        }
}

template <enum sdt_dtype dtype> static void run_exact(const struct attention_call &call) {
    for (int head = 0; head < call.heads; head++)
        for (int row = 0; row < call.rows; row++)
            block_run(32, false, [&] {
                if (call.e <= 32)
                    exact_warp<dtype, 1>(call, row, head);
                else if (call.e <= 128)
                    exact_warp<dtype, 4>(call, row, head);
                else
                    exact_warp<dtype, 12>(call, row, head);
            });
}

/* Both kernels on [heads, rows, e]. Keys behind the last one are NaN. */
static void check_heads(enum sdt_dtype dtype, int heads, int rows, int e, int tile, int64_t keys,
                        float spread, bool backward) {
    int64_t padded = (keys + tile - 1) / tile * tile;
    size_t n = (size_t)heads * rows * e, nk = (size_t)(heads * padded * e);
    tensor q(dtype, n, spread), k(dtype, nk, spread), v(dtype, nk, 1.f), o(dtype, n, 1.f);
    tensor lse(SDT_F32, (size_t)heads * rows, 1.f);
    const float nan = NAN;
    for (int64_t j = 0; j < heads * padded; j++)
        for (int i = 0; i < e && j % padded >= keys; i++) {
            body_store(dtype, 1, k.base, (size_t)(j * e + i), &nan);
            body_store(dtype, 1, v.base, (size_t)(j * e + i), &nan);
        }
    struct attention_call call = {};
    call.rows = rows;
    call.e = e;
    call.keys = keys;
    call.q = q.base;
    call.k = k.base;
    call.v = v.base;
    call.o = o.base;
    call.lse = (float *)lse.base;
    call.q_head = call.o_head = (int64_t)rows * e;
    call.k_head = padded * e;
    call.q_row = call.k_row = call.o_row = e;
    call.scale = 1.f / sqrtf((float)e);
    call.heads = heads;
    block_readable.clear();
    block_allow(q.base, q.bytes);
    for (int h = 0; h < heads; h++) {
        block_allow(k.base + h * padded * e * 2, (size_t)(keys * e * 2));
        block_allow(v.base + h * padded * e * 2, (size_t)(keys * e * 2));
    }
    bool flash = dtype == SDT_BF16 && e % 8 == 0;
    if (flash)
        run_flash(call, backward);
    else if (dtype == SDT_BF16)
        run_exact<SDT_BF16>(call);
    else
        run_exact<SDT_F32>(call);
    std::vector<float> want(n), want_lse((size_t)heads * rows), got = o.read(dtype);
    sdt_attention_reference(heads, rows, e, q.value.data(), tile, keys, k.value.data(),
                            v.value.data(), call.scale, want.data(), want_lse.data());
    double tolerance = flash ? 8e-3 : dtype == SDT_BF16 ? 4e-3 : 5e-6;
    check_near(n, got.data(), want.data(), tolerance, "%s attention %d x %d x %d, %d keys",
               sdt_dtype_name(dtype), heads, rows, e, (int)keys);
    got = lse.read(SDT_F32);
    check_near((size_t)heads * rows, got.data(), want_lse.data(), 5e-6, "log-sum-exp");
    o.check_room("output");
    lse.check_room("log-sum-exp");
}

/* On [rows, heads, e], with a bias of the last key. */
static void check_columns(enum sdt_dtype dtype, int rows, int heads, int e, int keys, float bias) {
    int d = heads * e;
    tensor q(dtype, (size_t)rows * d, 2.f), k(dtype, (size_t)keys * d, 2.f);
    tensor v(dtype, (size_t)keys * d, 1.f), o(dtype, (size_t)rows * d, 1.f);
    struct attention_call call = {};
    call.rows = rows;
    call.e = e;
    call.keys = keys;
    call.q = q.base;
    call.k = k.base;
    call.v = v.base;
    call.o = o.base;
    call.q_head = call.k_head = call.o_head = e;
    call.q_row = call.k_row = call.o_row = d;
    call.scale = 1.f / sqrtf((float)e);
    call.last_key_bias = bias;
    call.heads = heads;
    block_readable.clear();
    block_allow(q.base, q.bytes);
    block_allow(k.base, k.bytes);
    block_allow(v.base, v.bytes);
    if (dtype == SDT_BF16)
        run_flash(call, false);
    else
        run_exact<SDT_F32>(call);
    std::vector<float> want((size_t)rows * d), got = o.read(dtype);
    sdt_cross_attention_reference(rows, heads, e, q.value.data(), NULL, 0.f, keys, k.value.data(),
                                  v.value.data(), bias, want.data());
    check_near(want.size(), got.data(), want.data(), dtype == SDT_BF16 ? 8e-3 : 5e-6,
               "%s cross attention %d x %d x %d, %d keys", sdt_dtype_name(dtype), rows, heads, e,
               keys);
    o.check_room("output");
}

static void check_text(int tokens, int heads, int e) {
    int d = heads * e;
    size_t n = (size_t)tokens * d;
    tensor q(SDT_F32, n, 1.f), k(SDT_F32, n, 1.f), v(SDT_F32, n, 1.f), o(SDT_F32, n, 1.f);
    tensor table(SDT_F32, (size_t)32 * heads, 3.f);
    struct attention_call call = {};
    call.rows = tokens;
    call.e = e;
    call.keys = tokens;
    call.q = q.base;
    call.k = k.base;
    call.v = v.base;
    call.o = o.base;
    call.q_head = call.k_head = call.o_head = e;
    call.q_row = call.k_row = call.o_row = d;
    call.scale = 1.f;
    call.table = (const float *)table.base;
    call.heads = heads;
    run_exact<SDT_F32>(call);
    std::vector<float> want(n), got = o.read(SDT_F32);
    sdt_text_attention_reference(tokens, d, 0, heads, e, q.value.data(), k.value.data(),
                                 v.value.data(), table.value.data(), heads, want.data());
    check_near(n, got.data(), want.data(), 5e-6, "text attention %d x %d x %d", tokens, heads, e);
    o.check_room("output");
}

int main() {
#ifdef __SANITIZE_THREAD__
    fprintf(stderr, "skipped: the thread sanitizer does not know coroutines\n");
    return 77;
#endif
    for (int rel = -300; rel <= 300; rel++)
        if (attention_bucket(rel) != sdt_t5_bucket(rel)) {
            fprintf(stderr, "bucket of %d is %d\n", rel, attention_bucket(rel));
            check_failures++;
        }
    static const int es[] = {8, 16, 24, 40, 64, 72, 88, 96, 104, 128};
    static const int keys[] = {1, 63, 64, 65, 130, 256};
    static const int rows[] = {1, 33, 128, 129};
    for (size_t i = 0; i < COUNT(es); i++) {
        size_t j = i % COUNT(keys), r = i % COUNT(rows);
        check_heads(SDT_BF16, 1 + (int)i % 2, rows[r], es[i], 16, keys[j], 2.f, i % 2);
        check_heads(SDT_BF16, 1, rows[(r + 1) % COUNT(rows)], es[i], 64,
                    keys[(j + 3) % COUNT(keys)], 4.f, i % 2 == 0);
    }
    for (size_t j = 0; j < COUNT(keys); j++)
        check_heads(SDT_BF16, 1, 5, 128, 128, keys[j], 1.f, j % 2);
    check_columns(SDT_BF16, 70, 2, 64, 77, 2.5f);
    check_columns(SDT_BF16, 131, 3, 40, 64, 0.f);
    check_columns(SDT_BF16, 5, 2, 128, 129, 4.f);
    check_columns(SDT_F32, 3, 3, 12, 7, 2.5f);
    check_heads(SDT_BF16, 2, 3, 12, 4, 9, 1.f, false);
    check_heads(SDT_F32, 2, 5, 12, 4, 9, 1.f, false);
    check_heads(SDT_F32, 1, 3, 128, 16, 67, 3.f, false);
    check_heads(SDT_F32, 1, 2, 384, 16, 35, 1.f, false);
    check_text(20, 3, 12);
    check_text(200, 1, 64);
    if (block_faults) {
        fprintf(stderr, "%u faults\n", block_faults);
        check_failures++;
    }
    return check_end("cuda_attention");
}

/* The four attentions: odd numbers of rows, keys and heads, and the same bits however the heads are
 * grouped. Padding behind the last key is NaN here: it must not be touched. */
#include "kernels/reference.h"
#include "tests/kernels/check.h"

static const double tolerance = 5e-6;

static void check_attention(int heads, int rows, int e, int tile, int64_t keys, float spread) {
    int64_t tiles = (keys + tile - 1) / tile;
    size_t nq = (size_t)heads * rows * e, nk = (size_t)tiles * heads * tile * e;
    size_t head_size = (size_t)tile * e;
    float *q = numbers(nq, spread), *k = numbers(nk, spread), *v = numbers(nk, 1.f);
    float *got = blank(nq), *want = blank(nq), scale = 1.f / sqrtf((float)e);
    float *lse = blank((size_t)heads * rows), *want_lse = blank((size_t)heads * rows);
    float *scratch = blank(sdt_attention_scratch(rows, e, keys));
    for (int64_t j = keys; j < tiles * tile; j++)
        for (int h = 0; h < heads; h++)
            for (int i = 0; i < e; i++) {
                size_t at = (h * tiles + j / tile) * head_size + j % tile * e + i;
                k[at] = v[at] = NAN;
            }
    sdt_attention(heads, rows, e, q, tile, keys, k, v, scale, got, lse, scratch);
    sdt_attention_reference(heads, rows, e, q, tile, keys, k, v, scale, want, want_lse);
    check_near(nq, got, want, tolerance, "attention %d x %d x %d, %d keys by %d", heads, rows, e,
               (int)keys, tile);
    check_near((size_t)heads * rows, lse, want_lse, tolerance, "log-sum-exp");

    for (int h = 0; h < heads; h++) {
        size_t keys_start = (size_t)(h * tiles) * head_size;
        size_t start = (size_t)h * rows * e;
        float *one = blank((size_t)rows * e);
        sdt_attention(1, rows, e, q + start, tile, keys, k + keys_start, v + keys_start, scale, one,
                      NULL, scratch);
        check_bits((size_t)rows * e, one, got + start, "attention of head %d of %d alone", h,
                   heads);
        free(one);
    }

    /* The first head's queries in two calls, and its keys in one tile. */
    for (int cut = 1; heads && cut < rows; cut += 1 + cut / 3) {
        float *parts = blank((size_t)rows * e);
        sdt_attention(1, cut, e, q, tile, keys, k, v, scale, parts, NULL, scratch);
        sdt_attention(1, rows - cut, e, q + (size_t)cut * e, (int)keys, keys, k, v, scale,
                      parts + (size_t)cut * e, NULL, scratch);
        check_bits((size_t)rows * e, parts, got, "attention of %d and %d queries, %d keys", cut,
                   rows - cut, (int)keys);
        free(parts);
    }
    free(q);
    free(k);
    free(v);
    free(got);
    free(want);
    free(lse);
    free(want_lse);
    free(scratch);
}

/* Keys from..to-1, in whole tiles, of all heads. */
static float *part_of(int heads, int tile, int e, int64_t tiles, const float *k, int64_t from,
                      int64_t to) {
    size_t size = (size_t)tile * e;
    float *part = blank((size_t)heads * (to - from) * size);
    for (int h = 0; h < heads; h++)
        memcpy(part + h * (to - from) * size, k + (h * tiles + from) * size,
               (to - from) * size * sizeof *k);
    return part;
}

/* Keys in two calls, merged by their log-sum-exps: the whole. */
static void check_merge(int heads, int rows, int e, int tile, int first_tiles, int64_t keys) {
    int64_t tiles = (keys + tile - 1) / tile, first = (int64_t)first_tiles * tile;
    size_t nq = (size_t)heads * rows * e, nk = (size_t)tiles * heads * tile * e;
    size_t n = (size_t)heads * rows;
    float *q = numbers(nq, 2.f), *k = numbers(nk, 2.f), *v = numbers(nk, 1.f);
    float *o = blank(nq), *lse = blank(n), *o2 = blank(nq), *lse2 = blank(n);
    float *want = blank(nq), *want_lse = blank(n), scale = 1.f / sqrtf((float)e);
    float *scratch = blank(sdt_attention_scratch(rows, e, keys));
    float *k1 = part_of(heads, tile, e, tiles, k, 0, first_tiles);
    float *v1 = part_of(heads, tile, e, tiles, v, 0, first_tiles);
    float *k2 = part_of(heads, tile, e, tiles, k, first_tiles, tiles);
    float *v2 = part_of(heads, tile, e, tiles, v, first_tiles, tiles);
    sdt_attention(heads, rows, e, q, tile, first, k1, v1, scale, o, lse, scratch);
    sdt_attention(heads, rows, e, q, tile, keys - first, k2, v2, scale, o2, lse2, scratch);
    float *again = copy_of(nq, o), *again_lse = copy_of(n, lse);
    sdt_attention_merge(heads, rows, e, o2, lse2, o, lse);
    sdt_attention_reference(heads, rows, e, q, tile, keys, k, v, scale, want, want_lse);
    check_near(nq, o, want, tolerance, "merged attention, %d of %d keys first", (int)first,
               (int)keys);
    check_near(n, lse, want_lse, tolerance, "merged log-sum-exp");
    sdt_attention_merge_reference(heads, rows, e, o2, lse2, again, again_lse);
    check_near(nq, o, again, tolerance, "merge");
    check_near(n, lse, again_lse, tolerance, "merge of log-sum-exps");
    float *all[] = {k1,  v1, k2,   v2,   q,        k,       v,     o,
                    lse, o2, lse2, want, want_lse, scratch, again, again_lse};
    for (size_t i = 0; i < COUNT(all); i++)
        free(all[i]);
}

static void check_cross(int rows, int heads, int e, int keys, int normed, float bias) {
    size_t d = (size_t)heads * e, n = rows * d;
    float *q = numbers(n, 2.f), *k = numbers(keys * d, 2.f), *v = numbers(keys * d, 1.f);
    float *weight = normed ? numbers(d, 2.f) : NULL, *got = blank(n), *want = blank(n);
    float *scratch = blank(sdt_cross_attention_scratch(rows, heads, e, keys));
    sdt_cross_attention(rows, heads, e, q, weight, 1e-6f, keys, k, v, bias, got, scratch);
    sdt_cross_attention_reference(rows, heads, e, q, weight, 1e-6f, keys, k, v, bias, want);
    check_near(n, got, want, tolerance, "cross attention %d x %d x %d, %d keys", rows, heads, e,
               keys);
    float *alone = blank(n);
    for (int r = 0; r < rows; r++)
        sdt_cross_attention(1, heads, e, q + (size_t)r * d, weight, 1e-6f, keys, k, v, bias,
                            alone + (size_t)r * d, scratch);
    check_bits(n, alone, got, "cross attention row by row, %d x %d, %d keys", heads, e, keys);
    free(alone);
    free(q);
    free(k);
    free(v);
    free(weight);
    free(got);
    free(want);
    free(scratch);
}

/* A key with log(n) added counts as n equal keys. */
static void check_collapsed_keys(void) {
    enum { ROWS = 5, HEADS = 2, E = 12, D = HEADS * E, WORDS = 4, ALL = 20 };
    float *q = numbers(ROWS * D, 1.f), *k = numbers(ALL * D, 1.f), *v = numbers(ALL * D, 1.f);
    float *few = blank(ROWS * D), *all = blank(ROWS * D);
    float *scratch = blank(sdt_cross_attention_scratch(ROWS, HEADS, E, ALL));
    for (int j = WORDS + 1; j < ALL; j++) {
        memcpy(k + j * D, k + WORDS * D, D * sizeof *k);
        memcpy(v + j * D, v + WORDS * D, D * sizeof *v);
    }
    sdt_cross_attention(ROWS, HEADS, E, q, NULL, 0.f, ALL, k, v, 0.f, all, scratch);
    sdt_cross_attention(ROWS, HEADS, E, q, NULL, 0.f, WORDS + 1, k, v, logf(ALL - WORDS), few,
                        scratch);
    check_near(ROWS * D, few, all, tolerance, "collapsed padding keys");
    free(q);
    free(k);
    free(v);
    free(few);
    free(all);
    free(scratch);
}

static void check_text(int tokens, int heads, int e, int tile_rows) {
    int width = heads * e;
    size_t n = (size_t)tokens * width;
    float *q = numbers(n, 1.f), *k = numbers(n, 1.f), *v = numbers(n, 1.f);
    float *table = numbers((size_t)32 * heads, 3.f), *want = blank(n), *whole = blank(n);
    float *scratch = blank(sdt_text_attention_scratch(tokens, tokens, e)), *parts = blank(n);
    const float *k_tiles[64] = {k}, *v_tiles[64] = {v};
    sdt_text_attention(tokens, heads, e, 0, tokens, q, tokens, k_tiles, v_tiles, table, whole,
                       scratch);
    sdt_text_attention_reference(tokens, width, 0, heads, e, q, k, v, table, heads, want);
    check_near(n, whole, want, tolerance, "text attention %d x %d x %d", tokens, heads, e);
    for (int t = 0; t * tile_rows < tokens; t++) {
        k_tiles[t] = k + (size_t)t * tile_rows * width;
        v_tiles[t] = v + (size_t)t * tile_rows * width;
    }
    for (int first = 0; first < tokens; first += tile_rows) {
        int rows = tokens - first < tile_rows ? tokens - first : tile_rows;
        sdt_text_attention(tokens, heads, e, first, rows, q + (size_t)first * width, tile_rows,
                           k_tiles, v_tiles, table, parts + (size_t)first * width, scratch);
    }
    check_bits(n, parts, whole, "text attention in tiles of %d of %d tokens", tile_rows, tokens);
    free(q);
    free(k);
    free(v);
    free(table);
    free(want);
    free(whole);
    free(scratch);
    free(parts);
}

static void check_buckets(void) {
    static const int from[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 23, 32, 46, 64, 91};
    for (int rel = -300; rel <= 300; rel++) {
        int want = 0;
        for (size_t i = 0; i < COUNT(from); i++)
            want = abs(rel) >= from[i] ? (int)i : want;
        want += rel > 0 ? 16 : 0;
        if (sdt_t5_bucket(rel) != want) {
            fprintf(stderr, "bucket(%d) is %d, not %d\n", rel, sdt_t5_bucket(rel), want);
            check_failures++;
        }
    }
}

static void check_frame(int pixels, int channels) {
    size_t n = (size_t)pixels * channels;
    float *qkv = numbers(3 * n, 1.5f), *got = blank(n), *want = blank(n);
    float *scratch = blank(sdt_frame_attention_scratch(pixels, channels));
    sdt_frame_attention(pixels, channels, 0, pixels, qkv, got, scratch);
    float *parts = blank(n);
    int cut = pixels / 3;
    sdt_frame_attention(pixels, channels, 0, cut, qkv, parts, scratch);
    sdt_frame_attention(pixels, channels, cut, pixels - cut, qkv, parts + (size_t)cut * channels,
                        scratch);
    check_bits(n, parts, got, "frame attention %d x %d in two parts", pixels, channels);
    free(parts);
    sdt_frame_attention_reference(pixels, channels, qkv, want);
    check_near(n, got, want, tolerance, "frame attention %d x %d", pixels, channels);
    free(qkv);
    free(got);
    free(want);
    free(scratch);
}

int main(void) {
    static const int es[] = {4, 12, 16, 64, 96, 128}, rows[] = {1, 3, 7, 128};
    static const int tiles[] = {4, 16, 64}, keys[] = {1, 4, 15, 67, 200};
    for (size_t e = 0; e < COUNT(es); e++)
        for (size_t r = 0; r < COUNT(rows); r++)
            for (size_t t = 0; t < COUNT(tiles); t++)
                for (size_t k = 0; k < COUNT(keys); k++)
                    check_attention(1 + (int)(e + r + t + k) % 5, rows[r], es[e], tiles[t], keys[k],
                                    1.f + 0.5f * (float)k);
    check_attention(2, 128, 128, 128, 600, 1.f);
    check_attention(1, 257, 80, 64, 1000, 1.f);
    check_attention(0, 3, 16, 4, 9, 1.f);
    for (size_t e = 0; e < COUNT(es); e++)
        for (size_t r = 0; r < COUNT(rows); r++)
            for (int heads = 1; heads <= 5; heads += 2) {
                check_cross(rows[r], heads, es[e], 1 + 9 * (int)r, (int)r % 2, 0.f);
                check_cross(rows[r], heads, es[e], 77, heads % 3 == 0, 2.5f);
            }
    for (int first = 1; first <= 3; first++) {
        check_merge(2, 7, 16, 4, first, 17);
        check_merge(1, 128, 96, 64, first, 250);
    }
    check_collapsed_keys();
    check_buckets();
    for (int heads = 1; heads <= 5; heads++)
        for (size_t e = 0; e < COUNT(es); e++)
            check_text(heads * heads * 5 - 4, heads, es[e], 2 + heads);
    check_text(260, 2, 16, 33);
    check_text(300, 1, 64, 150);
    static const int pixels[] = {1, 3, 35, 256, 300, 513};
    for (size_t p = 0; p < COUNT(pixels); p++) {
        check_frame(pixels[p], 4);
        check_frame(pixels[p], 50);
    }
    return check_end("attention");
}

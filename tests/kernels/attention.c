/* The attentions: odd numbers of rows, keys and heads, and the same bits however the heads are
 * grouped. Padding behind the last key is NaN here: it must not be touched. */
#include "tests/kernels/operation.h"

static const double tolerance = 5e-6;

/* A result and something in between rounded, relative L2. */
#define TWO_ROUNDINGS 6e-3

/* ---- attention: heads, rows, e, tile, keys, spread in halves, whether lse is NULL ------------ */

static void attention_grid(const struct operation *operation) {
    static const int es[] = {4, 12, 16, 64, 72, 96, 128, 160}, rows[] = {1, 3, 7, 65, 128, 200};
    static const int tiles[] = {4, 16, 64, 128}, keys[] = {1, 4, 15, 67, 200, 384};
    if (backend.kind == GPU) {
        for (size_t e = 0; e < COUNT(es); e++)
            for (size_t r = 0; r < COUNT(rows); r++)
                for (size_t k = 0; k < COUNT(keys); k++)
                    for (int without = 0; without < 2; without++)
                        TRY(1 + (int)(e + r + k) % 4, rows[r], es[e],
                            tiles[(e + r + k) % COUNT(tiles)], keys[k], 2 + (int)k, without);
        if (!small) {
            TRY(2, 300, 128, 512, 3000, 2);
            TRY(1, 128, 64, 2048, 4100, 4);
        }
    } else {
        for (size_t e = 0; e < COUNT(es); e++)
            for (size_t r = 0; r < COUNT(rows); r++)
                for (size_t t = 0; t < COUNT(tiles); t++)
                    for (size_t k = 0; k < COUNT(keys); k++)
                        if (es[e] != 72 && es[e] != 160 && rows[r] != 65 && rows[r] != 200 &&
                            tiles[t] != 128 && keys[k] != 384)
                            TRY(1 + (int)(e + r + t + k) % 5, rows[r], es[e], tiles[t], keys[k],
                                2 + (int)k);
        TRY(2, 128, 128, 128, 600, 2);
        TRY(1, 257, 80, 64, 1000, 2);
        TRY(0, 3, 16, 4, 9, 2);
    }
}

/* On the host a block of GPU threads takes its time: few mixes of sizes. */
static void attention_host_grid(const struct operation *operation) {
    static const int es[] = {8, 16, 24, 40, 64, 72, 88, 96, 104, 128};
    static const int keys[] = {1, 63, 64, 65, 130, 256}, rows[] = {1, 33, 128, 129};
    if (backend.kind != BODIES) {
        attention_grid(operation);
        return;
    }
    for (int i = 0; i < (int)COUNT(es); i++) {
        TRY(1 + i % 2, rows[i % 4], es[i], 16, keys[i % 6], 4);
        TRY(1, rows[(i + 1) % 4], es[i], 64, keys[(i + 3) % 6], 8);
    }
    for (size_t j = 0; j < COUNT(keys); j++)
        for (int without = 0; without < 2; without++)
            TRY(1, 5, 128, 128, keys[j], 2, without);
    TRY(2, 3, 12, 4, 9, 2);
    TRY(2, 5, 12, 4, 9, 2);
    TRY(1, 3, 128, 16, 67, 6);
    TRY(1, 2, 384, 16, 35, 2);
}

/* There all kinds of threads run for small sizes; for others, those of the tensor cores, in one
 * of the two orders of warps. */
static bool takes_long(const struct call *c, bool shifted, int64_t work) {
    return backend.kind == BODIES && work > 600 && (c->dtype == SDT_F32 || shifted);
}
static bool attention_skip(const struct call *c, bool shifted) {
    const int *s = c->size;
    if (backend.kind == BODIES && c->own != (c->dtype == SDT_BF16 && (s[2] / 8 + s[1]) % 2))
        return true;
    return takes_long(c, shifted, (int64_t)s[0] * s[1] * s[4]);
}

static bool attention_planned(const struct call *c) {
    return c->size[2] % 8 == 0 && c->size[2] <= 128;
}

static size_t padded_of(const struct call *c) {
    int tile = c->size[3];
    return (size_t)((c->size[4] + tile - 1) / tile * tile);
}
static void attention_make(struct call *c) {
    size_t heads = (size_t)c->size[0], rows = (size_t)c->size[1], e = (size_t)c->size[2];
    size_t padded = padded_of(c), keys = (size_t)c->size[4], n = heads * rows * e;
    float spread = (float)c->size[5] / 2.f;
    in(c, n, spread);
    float *k = in(c, heads * padded * e, spread)->start, *v = in(c, heads * padded * e, 1.f)->start;
    for (size_t h = 0; h < heads; h++)
        for (size_t i = keys * e; i < padded * e; i++)
            k[h * padded * e + i] = v[h * padded * e + i] = NAN;
    struct array *o = out(c, n);
    if (e % 8 != 0)
        o->limits.bodies = 4e-3; /* not by tensor cores */
    if (c->size[6]) {
        absent(c);
    } else {
        struct array *lse = out_type(c, SDT_F32, heads * rows);
        lse->limits.gpu = c->dtype == SDT_F32 ? 1e-5 : 1e-4;
    }
}
static float scale_of(const struct call *c) { return 1.f / sqrtf((float)c->size[2]); }
static void attention_plain(struct call *c) {
    sdt_attention_reference(c->size[0], c->size[1], c->size[2], at(c, 0), c->size[3], c->size[4],
                            at(c, 1), at(c, 2), scale_of(c), at(c, 3), at(c, 4));
}
static float *attention_scratch(const struct call *c) {
    return scratch(sdt_attention_scratch(c->size[1], c->size[2], c->size[4]) * sizeof(float));
}
static void attention_cpu(struct call *c) {
    sdt_attention(c->size[0], c->size[1], c->size[2], at(c, 0), c->size[3], c->size[4], at(c, 1),
                  at(c, 2), scale_of(c), at(c, 3), at(c, 4), attention_scratch(c));
}
static void attention_cuda(struct call *c) {
    done(c, sdt_cuda_attention(cuda, c->dtype, c->size[0], c->size[1], c->size[2], at(c, 0),
                               c->size[3], c->size[4], at(c, 1), at(c, 2), scale_of(c), at(c, 3),
                               at(c, 4)));
}

/* Heads one by one; the first head's queries in two calls, and its keys in one tile. */
static void attention_also(struct call *c) {
    int heads = c->size[0], rows = c->size[1], e = c->size[2], tile = c->size[3], keys = c->size[4];
    size_t n = (size_t)(rows * e), of_head = padded_of(c) * (size_t)e;
    const float *q = at(c, 0), *k = at(c, 1), *v = at(c, 2), *got = at(c, 3);
    float *room = attention_scratch(c), *one = blank(n);
    for (size_t h = 0; h < (size_t)heads; h++) {
        sdt_attention(1, rows, e, q + h * n, tile, keys, k + h * of_head, v + h * of_head,
                      scale_of(c), one, NULL, room);
        check_bits(n, one, got + h * n, "attention of head %zu of %d alone", h, heads);
    }
    for (int part = 1; heads && part < rows; part += 1 + part / 3) {
        sdt_attention(1, part, e, q, tile, keys, k, v, scale_of(c), one, NULL, room);
        sdt_attention(1, rows - part, e, q + (size_t)part * e, keys, keys, k, v, scale_of(c),
                      one + (size_t)part * e, NULL, room);
        check_bits(n, one, got, "attention of %d and %d queries, %d keys", part, rows - part, keys);
    }
    free(one);
}

/* ---- group_attention: as attention, then count, run, first query, first key ------------------ */

static void group_grid(const struct operation *operation) {
    static const int es[] = {4, 12, 16, 64, 96, 160}, counts[] = {1, 2, 4, 5}, runs[] = {1, 3, 4};
    static const int rows[] = {1, 7, 40, 64}, keys[] = {1, 3, 45, 130};
    for (size_t e = 0; e < COUNT(es); e++)
        for (size_t c = 0; c < COUNT(counts); c++)
            for (size_t r = 0; r < COUNT(runs); r++) {
                int i = (int)(e + c + r);
                if (backend.kind == BODIES && i % 3)
                    continue;
                /* all tokens; a tile of them; a tile and a block of keys elsewhere */
                TRY(1 + i % 3, keys[i % 4], es[e], 16, keys[i % 4], 2, 0, counts[c], runs[r]);
                TRY(2, rows[i % 4], es[e], 64, 130, 2, i % 2, counts[c], runs[r], 37);
                TRY(1, rows[i % 4], es[e], 16, keys[(i + 1) % 4], 2, 0, counts[c], runs[r], 21, 64);
            }
    if (backend.kind == BODIES)
        return;
    TRY(2, 128, 96, 128, 1500, 2, 0, 4, 1, 256);
    TRY(2, 128, 96, 128, 1500, 2, 0, 4, 4, 256);
    TRY(0, 3, 16, 4, 9, 2, 0, 4, 4);
}
static struct sdt_token_groups groups_of(const struct call *c) {
    const int *s = c->size;
    return (struct sdt_token_groups){s[7], s[8], s[9], s[10]};
}
/* Minus infinity, of a row whose group has no key, is no number to compare. */
static void group_make(struct call *c) {
    attention_make(c);
    for (int g = 0; g < c->size[7]; g++) {
        struct sdt_token_groups groups = groups_of(c);
        int64_t query = sdt_group_members(&groups, g, groups.first_query + c->size[1]) -
                        sdt_group_members(&groups, g, groups.first_query);
        int64_t key = sdt_group_members(&groups, g, groups.first_key + c->size[4]) -
                      sdt_group_members(&groups, g, groups.first_key);
        if (query > 0 && key == 0 && !c->size[6]) {
            c->array[4].absent = true;
            c->array[4].n = 0;
        }
    }
}
static void group_plain(struct call *c) {
    struct sdt_token_groups groups = groups_of(c);
    sdt_group_attention_reference(&groups, c->size[0], c->size[1], c->size[2], at(c, 0), c->size[3],
                                  c->size[4], at(c, 1), at(c, 2), scale_of(c), at(c, 3), at(c, 4));
}
static void group_cpu(struct call *c) {
    struct sdt_token_groups groups = groups_of(c);
    size_t room = sdt_group_attention_scratch(&groups, c->size[1], c->size[2], c->size[4]);
    sdt_group_attention(&groups, c->size[0], c->size[1], c->size[2], at(c, 0), c->size[3],
                        c->size[4], at(c, 1), at(c, 2), scale_of(c), at(c, 3), at(c, 4),
                        scratch(room * sizeof(float)));
}
static void group_cuda(struct call *c) {
    struct sdt_token_groups groups = groups_of(c);
    size_t room = sdt_cuda_group_attention_scratch(&groups, c->dtype, c->size[0], c->size[1],
                                                   c->size[2], c->size[4]);
    done(c, sdt_cuda_group_attention(cuda, c->dtype, &groups, c->size[0], c->size[1], c->size[2],
                                     at(c, 0), c->size[3], c->size[4], at(c, 1), at(c, 2),
                                     scale_of(c), at(c, 3), at(c, 4), scratch(room)));
}

/* The bits of attention with a group's keys alone, found by looking at every token. */
static void group_also(struct call *c) {
    const int *s = c->size;
    int heads = s[0], rows = s[1], e = s[2], keys = s[4];
    size_t head = (size_t)(rows * e), of_head = padded_of(c) * (size_t)e, row = (size_t)e;
    float *k = blank((size_t)keys * row), *v = blank((size_t)keys * row), *one = blank(row);
    for (int h = 0; h < heads; h++)
        for (int r = 0; r < rows; r += 1 + r / 3) {
            int64_t group = (s[9] + r) / s[8] % s[7];
            int seen = 0;
            for (int j = 0; j < keys; j++)
                if ((s[10] + j) / s[8] % s[7] == group) {
                    size_t from = (size_t)h * of_head + (size_t)j * row;
                    memcpy(k + (size_t)seen * row, (float *)at(c, 1) + from, row * sizeof *k);
                    memcpy(v + (size_t)seen++ * row, (float *)at(c, 2) + from, row * sizeof *v);
                }
            const float *q = (float *)at(c, 0) + (size_t)h * head + (size_t)r * row;
            sdt_attention(1, 1, e, q, seen ? seen : 1, seen, k, v, scale_of(c), one, NULL,
                          scratch(sdt_attention_scratch(1, e, keys) * sizeof(float)));
            check_bits(row, one, (float *)at(c, 3) + (size_t)h * head + (size_t)r * row,
                       "query %d of group %d of %d, runs of %d", r, (int)group, s[7], s[8]);
        }
    free(k);
    free(v);
    free(one);
}

/* A block of keys in which a group has none adds nothing, before and after those that it has. */
static void check_no_keys(void) {
    enum { ROWS = 8, E = 12, KEYS = 3 };
    struct sdt_token_groups first = {4, 1, 0, 0}, second = {4, 1, 0, KEYS};
    float *q = numbers(ROWS * E, 2.f), *k = numbers(2 * KEYS * E, 2.f);
    float *o = blank(ROWS * E), *lse = blank(ROWS), *o2 = blank(ROWS * E), *lse2 = blank(ROWS);
    float *want = blank(ROWS * E), *want_lse = blank(ROWS);
    float *room = blank(sdt_group_attention_scratch(&first, ROWS, E, 2 * KEYS));
    sdt_group_attention(&first, 1, ROWS, E, q, KEYS, KEYS, k, k, 1.f, o, lse, room);
    if (lse[3] != -INFINITY || o[3 * E] != 0.f) {
        fprintf(stderr, "a query without keys has the sum %g and the result %g\n", lse[3],
                o[3 * E]);
        check_failures++;
    }
    sdt_group_attention(&second, 1, ROWS, E, q, KEYS, KEYS, k + KEYS * E, k + KEYS * E, 1.f, o2,
                        lse2, room);
    sdt_attention_merge(1, ROWS, E, o2, lse2, o, lse);
    sdt_group_attention_reference(&first, 1, ROWS, E, q, 2 * KEYS, 2 * KEYS, k, k, 1.f, want,
                                  want_lse);
    check_near(ROWS * E, o, want, tolerance, "merged group attention");
    check_near(ROWS, lse, want_lse, tolerance, "merged log-sum-exp of groups");
    for (int i = 0; i < ROWS; i++)
        lse[i] = lse2[i] = -INFINITY;
    sdt_attention_merge(1, ROWS, E, o2, lse2, o, lse);
    check_near(ROWS * E, o, want, tolerance, "merge of nothing");
    float *all[] = {q, k, o, lse, o2, lse2, want, want_lse, room};
    for (size_t i = 0; i < COUNT(all); i++)
        free(all[i]);
}

/* ---- attention_merge: heads, rows, e --------------------------------------------------------- */

static void merge_grid(const struct operation *operation) {
    static const int es[] = {1, 8, 12, 31, 64};
    for (size_t i = 0; i < COUNT(es); i++)
        TRY(2, 3, es[i]);
    TRY(2, 7, 16);
    TRY(3, 65, 128);
    TRY(1, 1, 5);
    TRY(1, 128, 96);
}
static void merge_make(struct call *c) {
    size_t n = (size_t)(c->size[0] * c->size[1]), ne = n * (size_t)c->size[2];
    float far = backend.kind == GPU ? 20.f : 8.f;
    in(c, ne, 1.f);
    in_type(c, SDT_F32, n, far);
    in_out(c, ne, 1.f);
    in_out_type(c, SDT_F32, n, far);
}
static void merge_plain(struct call *c) {
    sdt_attention_merge_reference(c->size[0], c->size[1], c->size[2], at(c, 0), at(c, 1), at(c, 2),
                                  at(c, 3));
}
static void merge_cpu(struct call *c) {
    sdt_attention_merge(c->size[0], c->size[1], c->size[2], at(c, 0), at(c, 1), at(c, 2), at(c, 3));
}
static void merge_cuda(struct call *c) {
    done(c, sdt_cuda_attention_merge(cuda, c->dtype, c->size[0], c->size[1], c->size[2], at(c, 0),
                                     at(c, 1), at(c, 2), at(c, 3)));
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
static void check_parts(int heads, int rows, int e, int tile, int first_tiles, int64_t keys) {
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

static void check_all_parts(void) {
    for (int first = 1; first <= 3; first++) {
        check_parts(2, 7, 16, 4, first, 17);
        check_parts(1, 128, 96, 64, first, 250);
    }
}

/* ---- cross_attention: rows, heads, e, keys, norm, bias of the last key in halves ------------- */

static void cross_grid(const struct operation *operation) {
    static const int es[] = {4, 12, 16, 64, 72, 96, 128, 160}, rows[] = {1, 3, 7, 65, 128, 200};
    for (size_t e = 0; e < COUNT(es) && backend.kind != BODIES; e++)
        for (int r = 0; r < (int)COUNT(rows); r++)
            for (int heads = 1; heads <= 5; heads += 2) {
                if (backend.kind == CPU && (rows[r] == 200 || es[e] == 160))
                    continue;
                TRY(rows[r], heads, es[e], 1 + 9 * r, r % 2, 0);
                TRY(rows[r], heads, es[e], 77, heads % 3 == 0, 5);
            }
    if (backend.kind == BODIES)
        for (int normed = 0; normed < 2; normed++) {
            TRY(70, 2, 64, 77, normed, 5);
            TRY(131, 3, 40, 64, normed, 0);
            TRY(5, 2, 128, 129, normed, 8);
            TRY(3, 3, 12, 7, normed, 5);
        }
    if (backend.kind == GPU && !small)
        TRY(300, 2, 128, 512, 1, 2);
}
static void cross_make(struct call *c) {
    size_t d = (size_t)(c->size[1] * c->size[2]), n = (size_t)c->size[0] * d;
    in(c, n, 2.f)->row = d;
    in_if(c, c->size[4], SDT_F32, d, 2.f);
    in(c, (size_t)c->size[3] * d, 2.f);
    in(c, (size_t)c->size[3] * d, 1.f);
    struct array *o = out(c, n);
    o->row = d;
    if (c->size[4]) /* the normed query is rounded as well, and exp amplifies that */
        o->limits.bodies *= 4.;
}
static bool cross_skip(const struct call *c, bool shifted) {
    return takes_long(c, shifted, (int64_t)c->size[0] * c->size[1] * c->size[3]);
}
static float bias_of(const struct call *c) { return (float)c->size[5] / 2.f; }
static void cross_plain(struct call *c) {
    sdt_cross_attention_reference(c->size[0], c->size[1], c->size[2], at(c, 0), at(c, 1), 1e-6f,
                                  c->size[3], at(c, 2), at(c, 3), bias_of(c), at(c, 4));
}
static void cross_cpu(struct call *c) {
    size_t room = sdt_cross_attention_scratch(c->size[0], c->size[1], c->size[2], c->size[3]);
    sdt_cross_attention(c->size[0], c->size[1], c->size[2], at(c, 0), at(c, 1), 1e-6f, c->size[3],
                        at(c, 2), at(c, 3), bias_of(c), at(c, 4), scratch(room * sizeof(float)));
}
static void cross_cuda(struct call *c) {
    size_t room = sdt_cuda_cross_attention_scratch(c->dtype, c->size[0], c->size[1], c->size[2]);
    done(c, sdt_cuda_cross_attention(cuda, c->dtype, c->size[0], c->size[1], c->size[2], at(c, 0),
                                     at(c, 1), 1e-6f, c->size[3], at(c, 2), at(c, 3), bias_of(c),
                                     at(c, 4), scratch(room)));
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

/* ---- text_attention: tokens, heads, e -------------------------------------------------------- */

static void text_grid(const struct operation *operation) {
    static const int es[] = {4, 12, 16, 64, 72, 96, 128, 160};
    for (int heads = 1; heads <= 5 && backend.kind != BODIES; heads++)
        for (size_t e = 0; e < COUNT(es); e++)
            TRY(heads * heads * 5 - 4, heads, es[e]);
    if (backend.kind == CPU)
        TRY(260, 2, 16);
    if (backend.kind == BODIES) {
        TRY(20, 3, 12);
        TRY(200, 1, 64);
    } else {
        TRY(300, 1, 64);
    }
    if (backend.kind == GPU && !small)
        TRY(512, 2, 64);
}
static void text_make(struct call *c) {
    size_t n = (size_t)(c->size[0] * c->size[1] * c->size[2]);
    for (int i = 0; i < 3; i++)
        in(c, n, 1.f);
    in_type(c, SDT_F32, (size_t)(32 * c->size[1]), 3.f);
    out(c, n);
}
static void text_plain(struct call *c) {
    int heads = c->size[1], e = c->size[2];
    sdt_text_attention_reference(c->size[0], heads * e, 0, heads, e, at(c, 0), at(c, 1), at(c, 2),
                                 at(c, 3), heads, at(c, 4));
}
static bool text_skip(const struct call *c, bool shifted) {
    return backend.kind == BODIES && c->size[0] > 100 && (c->dtype == SDT_BF16 || shifted);
}
static float *text_scratch(const struct call *c) {
    return scratch(sdt_text_attention_scratch(c->size[0], c->size[2]) * sizeof(float));
}
static void text_cpu(struct call *c) {
    sdt_text_attention(c->size[0], c->size[1], c->size[2], at(c, 0), at(c, 1), at(c, 2), 0,
                       c->size[1], at(c, 3), at(c, 4), text_scratch(c));
}
static void text_cuda(struct call *c) {
    done(c, sdt_cuda_text_attention(cuda, c->dtype, c->size[0], c->size[1], c->size[2], at(c, 0),
                                    at(c, 1), at(c, 2), at(c, 3), at(c, 4)));
}

/* Each head by itself. */
static void text_also(struct call *c) {
    int tokens = c->size[0], heads = c->size[1], e = c->size[2];
    size_t n = (size_t)tokens * (size_t)e;
    float *in[3], *o = blank(n), *want = blank(n), *room = text_scratch(c);
    for (int i = 0; i < 3; i++)
        in[i] = blank(n);
    for (int h = 0; h < heads; h++) {
        for (int i = 0; i < 3; i++)
            copy_columns(tokens, heads * e, h * e, e, at(c, i), in[i]);
        copy_columns(tokens, heads * e, h * e, e, at(c, 4), want);
        sdt_text_attention(tokens, 1, e, in[0], in[1], in[2], h, heads, at(c, 3), o, room);
        check_bits(n, o, want, "text attention of head %d of %d, %d tokens", h, heads, tokens);
    }
    for (int i = 0; i < 3; i++)
        free(in[i]);
    free(o);
    free(want);
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

/* ---- causal_attention: tokens, heads, heads of k and v, e ------------------------------------ */

static void causal_grid(const struct operation *operation) {
    static const int es[] = {4, 12, 16, 64, 72, 128, 160};
    for (int group = 1; group <= 4 && backend.kind != BODIES; group++)
        for (size_t e = 0; e < COUNT(es); e++)
            TRY(group * group * 7 - 6, 2 * group, 2, es[e]);
    TRY(20, 6, 2, 12);
    if (backend.kind == CPU)
        TRY(520, 2, 1, 16);
    if (backend.kind == BODIES)
        TRY(70, 2, 1, 64);
    else
        TRY(300, 2, 2, 64);
}
static void causal_make(struct call *c) {
    size_t rows = (size_t)c->size[0], e = (size_t)c->size[3];
    in(c, rows * (size_t)c->size[1] * e, 1.f);
    in(c, rows * (size_t)c->size[2] * e, 1.f);
    in(c, rows * (size_t)c->size[2] * e, 1.f);
    out(c, rows * (size_t)c->size[1] * e);
}
static void causal_plain(struct call *c) {
    sdt_causal_attention_reference(c->size[0], c->size[1], c->size[2], c->size[3], at(c, 0),
                                   at(c, 1), at(c, 2), at(c, 3));
}
static bool causal_skip(const struct call *c, bool shifted) {
    return backend.kind == BODIES && c->size[0] > 50 && (c->dtype == SDT_BF16 || shifted);
}
static float *causal_scratch(const struct call *c) {
    return scratch(sdt_causal_attention_scratch(c->size[0], c->size[3]) * sizeof(float));
}
static void causal_cpu(struct call *c) {
    sdt_causal_attention(c->size[0], c->size[1], c->size[2], c->size[3], at(c, 0), at(c, 1),
                         at(c, 2), at(c, 3), causal_scratch(c));
}
static void causal_cuda(struct call *c) {
    done(c, sdt_cuda_causal_attention(cuda, c->dtype, c->size[0], c->size[1], c->size[2],
                                      c->size[3], at(c, 0), at(c, 1), at(c, 2), at(c, 3)));
}

/* Each head of k and v with the heads that share it, by themselves. */
static void causal_also(struct call *c) {
    int tokens = c->size[0], heads = c->size[1], shared = c->size[2], e = c->size[3];
    int group = heads / shared;
    size_t n = (size_t)tokens * (size_t)e, wide = n * (size_t)group;
    float *q = blank(wide), *k = blank(n), *v = blank(n), *o = blank(wide), *want = blank(wide);
    float *room = causal_scratch(c);
    for (int h = 0; h < shared; h++) {
        copy_columns(tokens, heads * e, h * group * e, group * e, at(c, 0), q);
        copy_columns(tokens, shared * e, h * e, e, at(c, 1), k);
        copy_columns(tokens, shared * e, h * e, e, at(c, 2), v);
        copy_columns(tokens, heads * e, h * group * e, group * e, at(c, 3), want);
        sdt_causal_attention(tokens, group, 1, e, q, k, v, o, room);
        check_bits(wide, o, want, "causal attention of head %d of %d, %d tokens", h, shared,
                   tokens);
    }
    free(q);
    free(k);
    free(v);
    free(o);
    free(want);
}

/* ---- rotate_halves: rows, heads, e --------------------------------------------------------- */

static void rotate_grid(const struct operation *operation) {
    static const int es[] = {2, 4, 12, 16, 24, 64, 128};
    for (size_t e = 0; e < COUNT(es); e++) {
        TRY(1, 1, es[e]);
        TRY(7, 3, es[e]);
    }
}
static void rotate_make(struct call *c) {
    in_type(c, SDT_F32, (size_t)(c->size[0] * c->size[2]), 1.f);
    in_out(c, (size_t)(c->size[0] * c->size[1] * c->size[2]), 3.f);
}
static void rotate_plain(struct call *c) {
    sdt_rotate_halves_reference(c->size[0], c->size[1], c->size[2], at(c, 0), at(c, 1));
}
static void rotate_cpu(struct call *c) {
    sdt_rotate_halves(c->size[0], c->size[1], c->size[2], at(c, 0), at(c, 1));
}
static void rotate_cuda(struct call *c) {
    done(c, sdt_cuda_rotate_halves(cuda, c->dtype, c->size[0], c->size[1], c->size[2], at(c, 0),
                                   at(c, 1)));
}

/* ---- frame_attention: pixels, channels, whether q, k and v lie apart ----------------------- */

static void frame_grid(const struct operation *operation) {
    static const int pixels[] = {1, 3, 35, 256, 300, 513};
    for (size_t p = 0; p < COUNT(pixels); p++) {
        if (backend.kind == BODIES && pixels[p] > 35)
            continue;
        for (int apart = 0; apart < 2; apart++) {
            TRY(pixels[p], 4, apart);
            TRY(pixels[p], 50, apart);
            if (backend.kind != CPU)
                TRY(pixels[p], 384, apart);
        }
    }
}
static void frame_make(struct call *c) {
    size_t n = (size_t)(c->size[0] * c->size[1]);
    if (c->size[2]) {
        in(c, n, 1.5f);
        in(c, n, 1.5f);
        in(c, n, 1.5f);
    } else {
        in(c, 3 * n, 1.5f);
    }
    out(c, n);
}
/* q, k or v, and what lies from pixel to pixel. */
static void *frame_part(const struct call *c, int which) {
    size_t size = backend.kind == CPU ? sizeof(float) : sdt_dtype_size(c->dtype);
    return c->size[2] ? at(c, which) : (char *)at(c, 0) + (size_t)(which * c->size[1]) * size;
}
static int frame_ld(const struct call *c) { return c->size[1] * (c->size[2] ? 1 : 3); }
static void *frame_out(const struct call *c) { return at(c, c->size[2] ? 3 : 1); }

static void frame_plain(struct call *c) {
    const float *side = at(c, 0);
    sdt_frame_attention_reference(
        c->size[0], c->size[1], side, c->size[2] ? at(c, 1) : (void *)(side + c->size[1]),
        c->size[2] ? at(c, 2) : (void *)(side + 2 * c->size[1]), frame_ld(c), frame_out(c));
}
static float *frame_scratch(const struct call *c) {
    return scratch(sdt_frame_attention_scratch(c->size[0], c->size[1]) * sizeof(float));
}
static void frame_cpu(struct call *c) {
    sdt_frame_attention(c->size[0], c->size[1], 0, c->size[0], frame_part(c, 0), frame_part(c, 1),
                        frame_part(c, 2), frame_ld(c), frame_out(c), frame_scratch(c));
}
static void frame_cuda(struct call *c) {
    done(c, sdt_cuda_frame_attention(
                cuda, c->dtype, c->size[0], c->size[1], frame_part(c, 0), frame_part(c, 1),
                frame_part(c, 2), frame_ld(c), frame_out(c),
                scratch(sdt_cuda_frame_attention_scratch(c->dtype, c->size[0], c->size[1]))));
}
static void frame_also(struct call *c) {
    int pixels = c->size[0], channels = c->size[1], part = pixels / 3, ld = frame_ld(c);
    size_t n = (size_t)(pixels * channels);
    const float *q = frame_part(c, 0), *k = frame_part(c, 1), *v = frame_part(c, 2);
    float *parts = blank(n), *room = frame_scratch(c);
    sdt_frame_attention(pixels, channels, 0, part, q, k, v, ld, parts, room);
    sdt_frame_attention(pixels, channels, part, pixels - part, q, k, v, ld,
                        parts + (size_t)part * channels, room);
    check_bits(n, parts, frame_out(c), "frame attention %d x %d in two parts", pixels, channels);
    free(parts);
}

/* ---- wide_attention: rows, keys, e ----------------------------------------------------------- */

static void wide_grid(const struct operation *operation) {
    static const int rows[] = {1, 3, 35, 300}, keys[] = {1, 7, 70, 513};
    for (size_t r = 0; r < COUNT(rows); r++)
        for (size_t k = 0; k < COUNT(keys); k++) {
            if (backend.kind == BODIES && (rows[r] > 35 || keys[k] > 70))
                continue;
            TRY(rows[r], keys[k], 4);
            TRY(rows[r], keys[k], 50);
            if (backend.kind != CPU)
                TRY(rows[r], keys[k], 512);
        }
}
static void wide_make(struct call *c) {
    size_t e = (size_t)c->size[2], rows = (size_t)c->size[0] * e, keys = (size_t)c->size[1] * e;
    in(c, rows, 1.5f);
    in(c, keys, 1.5f);
    in(c, keys, 1.5f);
    out(c, rows);
}
static float wide_scale(const struct call *c) { return 1.f / sqrtf((float)c->size[2]); }
static void wide_plain(struct call *c) {
    const int *s = c->size;
    sdt_attention_reference(1, s[0], s[2], at(c, 0), s[1], s[1], at(c, 1), at(c, 2), wide_scale(c),
                            at(c, 3), NULL);
}
static void wide_cpu(struct call *c) {
    const int *s = c->size;
    sdt_attention(1, s[0], s[2], at(c, 0), s[1], s[1], at(c, 1), at(c, 2), wide_scale(c), at(c, 3),
                  NULL, scratch(sdt_attention_scratch(s[0], s[2], s[1]) * sizeof(float)));
}
static void wide_cuda(struct call *c) {
    const int *s = c->size;
    done(c, sdt_cuda_wide_attention(
                cuda, c->dtype, s[0], s[1], s[2], at(c, 0), at(c, 1), at(c, 2), at(c, 3),
                scratch(sdt_cuda_wide_attention_scratch(c->dtype, s[0], s[1]))));
}

const struct operation attention_operations[] = {
    {.name = "attention",
     .grid = attention_host_grid,
     .make = attention_make,
     .plain = attention_plain,
     .cpu = attention_cpu,
     .cuda = attention_cuda,
     .limits = {.f32 = 5e-6, .gpu = 1e-5, .bodies = 8e-3, .l2 = TWO_ROUNDINGS},
     .ways = true,
     .planned = attention_planned,
     .plan_every = 41,
     .skip = attention_skip,
     .also = attention_also},
    {.name = "group_attention",
     .grid = group_grid,
     .make = group_make,
     .plain = group_plain,
     .cpu = group_cpu,
     .cuda = group_cuda,
     .limits = {.f32 = 5e-6, .gpu = 1e-5, .bodies = 8e-3, .l2 = TWO_ROUNDINGS},
     .also = group_also,
     .more = check_no_keys},
    {.name = "attention_merge",
     .grid = merge_grid,
     .make = merge_make,
     .plain = merge_plain,
     .cpu = merge_cpu,
     .cuda = merge_cuda,
     .limits = {.f32 = 5e-6},
     .more = check_all_parts},
    {.name = "cross_attention",
     .grid = cross_grid,
     .make = cross_make,
     .plain = cross_plain,
     .cpu = cross_cpu,
     .cuda = cross_cuda,
     .limits = {.f32 = 5e-6, .gpu = 1e-5, .bodies = 8e-3, .l2 = 2 * TWO_ROUNDINGS},
     .by_rows = true,
     .skip = cross_skip,
     .more = check_collapsed_keys},
    {.name = "text_attention",
     .grid = text_grid,
     .make = text_make,
     .plain = text_plain,
     .cpu = text_cpu,
     .cuda = text_cuda,
     .limits = {.f32 = 5e-6, .gpu = 1e-5, .bodies = 8e-3, .l2 = TWO_ROUNDINGS},
     .skip = text_skip,
     .also = text_also,
     .more = check_buckets},
    {.name = "causal_attention",
     .grid = causal_grid,
     .make = causal_make,
     .plain = causal_plain,
     .cpu = causal_cpu,
     .cuda = causal_cuda,
     .limits = {.f32 = 5e-6, .gpu = 1e-5, .bodies = 8e-3, .l2 = TWO_ROUNDINGS},
     .skip = causal_skip,
     .also = causal_also},
    {.name = "rotate_halves",
     .grid = rotate_grid,
     .make = rotate_make,
     .plain = rotate_plain,
     .cpu = rotate_cpu,
     .cuda = rotate_cuda,
     .limits = {.f32 = 5e-7, .gpu = 1e-6},
     .by_rows = false},
    {.name = "frame_attention",
     .grid = frame_grid,
     .make = frame_make,
     .plain = frame_plain,
     .cpu = frame_cpu,
     .cuda = frame_cuda,
     .limits = {.f32 = 5e-6, .gpu = 1e-5, .bodies = 8e-3, .l2 = TWO_ROUNDINGS},
     .ways = true,
     .also = frame_also},
    {.name = "wide_attention",
     .grid = wide_grid,
     .make = wide_make,
     .plain = wide_plain,
     .cpu = wide_cpu,
     .cuda = wide_cuda,
     .limits = {.f32 = 5e-6, .gpu = 1e-5, .bodies = 8e-3, .l2 = TWO_ROUNDINGS},
     .ways = true},
    {0},
};

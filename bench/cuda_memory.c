/* stardit-bench kernels --device cuda: kernels whose time is that of memory. Each races a copy of
 * as many bytes. */
#include <math.h>
#include <stdio.h>

#include "bench/cuda_race.h"
#include "kernels/reference.h"

void race_norms(struct race *race, int rows, int d) {
    size_t width = (size_t)d, n = (size_t)rows * width, last = n - width;
    void *x = race_numbers(race, SDT_BF16, n, 1, 1.f), *y = race_room(race, n * 2);
    float *scale = race_numbers(race, SDT_F32, width, 2, 1.f);
    float *shift = race_numbers(race, SDT_F32, width, 3, 1.f);
    float *hx = race_host_room(race, width), *ha = race_host_room(race, width);
    float *hb = race_host_room(race, width);
    float *got = race_host_room(race, width), *want = race_host_room(race, width);
    char size[64];
    if (!race->why[0]) {
        snprintf(size, sizeof size, "%d rows of %d", rows, d);
        race_host_values(race, 1, 1.f, last, width, hx);
        race_host_values(race, 2, 1.f, 0, width, ha);
        race_host_values(race, 3, 1.f, 0, width, hb);
    }
    if (race_asked(race, "layer_norm")) {
        race_begin(race, RACE_COPY, 4. * (double)n);
        while (race_on(race))
            race_check(race,
                       sdt_cuda_layer_norm(race->cuda, SDT_BF16, rows, d, x, 1e-6f, NULL, NULL,
                                           scale, shift, shift, scale, y),
                       "layer norm");
        sdt_layer_norm_reference(1, d, hx, 1e-6f, NULL, NULL, ha, hb, hb, ha, want);
        race_fetch(race, SDT_BF16, y, last, width, got);
        race_end(race, "layer_norm", size, race_error(width, got, want), 3e-3);
    }
    if (race_asked(race, "rms_norm")) {
        race_begin(race, RACE_COPY, 4. * (double)n);
        while (race_on(race))
            race_check(
                race,
                sdt_cuda_rms_norm(race->cuda, SDT_BF16, rows, d, x, 1e-6f, scale, SDT_BF16, y),
                "rms norm");
        sdt_rms_norm_reference(1, d, hx, 1e-6f, ha, want);
        race_fetch(race, SDT_BF16, y, last, width, got);
        race_end(race, "rms_norm", size, race_error(width, got, want), 3e-3);
    }
    race_clear(race);
}

void race_channel_norm(struct race *race, size_t pixels, int channels) {
    size_t c = (size_t)channels, n = pixels * c;
    void *x = race_numbers(race, SDT_BF16, n, 1, 1.f), *y = race_room(race, n * 2);
    float *gamma = race_numbers(race, SDT_F32, c, 2, 1.f);
    float *hx = race_host_room(race, c), *hg = race_host_room(race, c),
          *got = race_host_room(race, c);
    float *want = race_host_room(race, c);
    char size[64];
    if (!race->why[0]) {
        race_begin(race, RACE_COPY, 4. * (double)n);
        while (race_on(race))
            race_check(
                race, sdt_cuda_channel_norm(race->cuda, SDT_BF16, pixels, channels, x, gamma, 1, y),
                "channel norm");
        race_host_values(race, 1, 1.f, n - c, c, hx);
        race_host_values(race, 2, 1.f, 0, c, hg);
        sdt_channel_norm_reference(1, channels, hx, hg, 1, want);
        race_fetch(race, SDT_BF16, y, n - c, c, got);
        snprintf(size, sizeof size, "%zu pixels, %d channels, silu", pixels, channels);
        race_end(race, "channel_norm", size, race_error(c, got, want), 3e-3);
    }
    race_clear(race);
}

/* Heads as rows [rows, heads * e], and as two pieces of half the heads one behind the other, each
 * [heads / 2, rows, e]. */
struct heads {
    int rows, heads, e;
    int head[3];            /* where pieces begin and end */
    size_t n, d, width;     /* of all, of a row, of a head of a row */
    size_t half;            /* elements of a piece */
    size_t last;            /* row, the one that is checked */
    unsigned char *x, *y;   /* bfloat16 [n] */
    float *hx, *got, *want; /* [d] on the host */
    char size[64];
};

/* Where row `last` of head h begins among the pieces. */
static size_t in_piece(const struct heads *a, int h) {
    return ((size_t)h * (size_t)a->rows + a->last) * a->width;
}

static void race_split_heads(struct race *race, struct heads *a) {
    struct sdt_rope rope = {{21, 45, 80}, {a->e / 2 - 2 * (a->e / 6), a->e / 6, a->e / 6}};
    size_t table_size = sdt_rope_table_size(&rope);
    float *weight = race_numbers(race, SDT_F32, a->d, 2, 1.f);
    float *table = race_room(race, table_size * sizeof *table);
    float *ht = race_host_room(race, table_size), *hw = race_host_room(race, a->d);
    void *piece[] = {a->y, a->y + a->half * 2};
    float *want_piece[] = {a->want, a->want + (size_t)a->head[1] * a->width};
    if (race->why[0])
        return;
    sdt_rope_table(&rope, 10000., ht);
    race_fine(race, cudaMemcpy(table, ht, table_size * sizeof *ht, cudaMemcpyHostToDevice), "copy");
    race_host_values(race, 1, 1.f, a->last * a->d, a->d, a->hx);
    race_host_values(race, 2, 1.f, 0, a->d, hw);
    race_begin(race, RACE_COPY, 4. * (double)a->n);
    while (race_on(race))
        race_check(race,
                   sdt_cuda_split_heads(race->cuda, SDT_BF16, a->rows, a->rows, a->heads, a->e,
                                        a->x, weight, 1e-6f, &rope, table, 999, 2, a->head, piece),
                   "split heads");
    sdt_split_heads_reference(1, 1, a->heads, a->e, a->hx, hw, 1e-6f, &rope, ht,
                              999 + (int64_t)a->last, 2, a->head, want_piece);
    for (int h = 0; h < a->heads; h++)
        race_fetch(race, SDT_BF16, a->y, in_piece(a, h), a->width, a->got + (size_t)h * a->width);
    race_end(race, "split_heads", a->size, race_error(a->d, a->got, a->want), 3e-3);
}

static void race_merge_heads(struct race *race, struct heads *a) {
    const void *piece[] = {a->x, a->x + a->half * 2};
    race_begin(race, RACE_COPY, 4. * (double)a->n);
    while (race_on(race))
        race_check(race,
                   sdt_cuda_merge_heads(race->cuda, SDT_BF16, a->rows, a->heads, a->e, 2, a->head,
                                        piece, a->y),
                   "merge heads");
    for (int h = 0; h < a->heads; h++)
        race_host_values(race, 1, 1.f, in_piece(a, h), a->width, a->want + (size_t)h * a->width);
    race_fetch(race, SDT_BF16, a->y, a->last * a->d, a->d, a->got);
    race_end(race, "merge_heads", a->size, race_error(a->d, a->got, a->want), 0.);
}

/* Two tiles of half the rows. */
static void race_gather(struct race *race, struct heads *a) {
    size_t block = (size_t)(a->rows / 2) * a->width, of_tile = (size_t)a->heads * block;
    const void *tile[] = {a->x, a->x + of_tile * 2};
    struct sdt_gather to = {.block = block, .stride = 2 * block};
    race_begin(race, RACE_COPY, 8. * (double)of_tile);
    while (race_on(race))
        race_check(race, sdt_cuda_gather(race->cuda, SDT_BF16, 2, a->heads, &to, tile, a->y),
                   "gather");
    race_host_values(race, 1, 1.f, 2 * of_tile - a->width, a->width, a->want);
    race_fetch(race, SDT_BF16, a->y, 2 * of_tile - a->width, a->width, a->got);
    race_end(race, "gather", a->size, race_error(a->width, a->got, a->want), 0.);
}

/* o and its log-sum-exps change with each pass: the first one is checked. */
static void race_attention_merge(struct race *race, struct heads *a) {
    size_t rows_of_all = (size_t)a->heads * (size_t)a->rows;
    float *lse[2] = {race_numbers(race, SDT_F32, rows_of_all, 3, 1.f),
                     race_numbers(race, SDT_F32, rows_of_all, 4, 1.f)};
    void *o = race_numbers(race, SDT_BF16, a->n, 5, 1.f);
    float first[2];
    if (race->why[0])
        return;
    race_host_values(race, 3, 1.f, 0, 1, first);
    race_host_values(race, 4, 1.f, 0, 1, first + 1);
    race_host_values(race, 5, 1.f, 0, a->width, a->want);
    race_host_values(race, 1, 1.f, 0, a->width, a->hx);
    race_check(race,
               sdt_cuda_attention_merge(race->cuda, SDT_BF16, a->heads, a->rows, a->e, a->x, lse[1],
                                        o, lse[0]),
               "attention merge");
    race_fetch(race, SDT_BF16, o, 0, a->width, a->got);
    sdt_attention_merge_reference(1, 1, a->e, a->hx, first + 1, a->want, first);
    race_begin(race, RACE_COPY, 6. * (double)a->n);
    while (race_on(race))
        race_check(race,
                   sdt_cuda_attention_merge(race->cuda, SDT_BF16, a->heads, a->rows, a->e, a->x,
                                            lse[1], o, lse[0]),
                   "attention merge");
    race_end(race, "attention_merge", a->size, race_error(a->width, a->got, a->want), 3e-3);
}

void race_heads(struct race *race, int rows, int heads, int e) {
    struct heads a = {.rows = rows, .heads = heads, .e = e, .head = {0, heads / 2, heads}};
    a.width = (size_t)e;
    a.d = (size_t)heads * a.width;
    a.n = (size_t)rows * a.d;
    a.half = (size_t)a.head[1] * (size_t)rows * a.width;
    a.last = (size_t)rows - 1;
    a.x = race_numbers(race, SDT_BF16, a.n, 1, 1.f);
    a.y = race_room(race, a.n * 2);
    a.hx = race_host_room(race, a.d);
    a.got = race_host_room(race, a.d);
    a.want = race_host_room(race, a.d);
    snprintf(a.size, sizeof a.size, "%d rows, %d heads x %d", rows, heads, e);
    if (race_asked(race, "split_heads"))
        race_split_heads(race, &a);
    if (race_asked(race, "merge_heads"))
        race_merge_heads(race, &a);
    if (race_asked(race, "gather"))
        race_gather(race, &a);
    if (race_asked(race, "attention_merge"))
        race_attention_merge(race, &a);
    race_clear(race);
}

void race_elements(struct race *race, size_t n) {
    enum { CHECKED = 4096 };
    size_t last = n - CHECKED;
    void *a = race_numbers(race, SDT_BF16, n, 1, 4.f), *b = race_numbers(race, SDT_BF16, n, 2, 1.f);
    void *y = race_room(race, n * sizeof(float));
    float *ha = race_host_room(race, CHECKED), *hb = race_host_room(race, CHECKED);
    float *got = race_host_room(race, CHECKED), *want = race_host_room(race, CHECKED);
    char size[64];
    if (!race->why[0]) {
        snprintf(size, sizeof size, "%zu", n);
        race_host_values(race, 1, 4.f, last, CHECKED, ha);
        race_host_values(race, 2, 1.f, last, CHECKED, hb);
    }
    if (race_asked(race, "silu")) {
        race_begin(race, RACE_COPY, 4. * (double)n);
        while (race_on(race))
            race_check(race, sdt_cuda_silu(race->cuda, SDT_BF16, n, a, y), "silu");
        sdt_silu_reference(CHECKED, ha, want);
        race_fetch(race, SDT_BF16, y, last, CHECKED, got);
        race_end(race, "silu", size, race_error(CHECKED, got, want), 3e-3);
    }
    if (race_asked(race, "gated_gelu")) {
        race_begin(race, RACE_COPY, 6. * (double)n);
        while (race_on(race))
            race_check(race, sdt_cuda_gated_gelu(race->cuda, SDT_BF16, n, a, b, y), "gated gelu");
        sdt_gated_gelu_reference(CHECKED, ha, hb, want);
        race_fetch(race, SDT_BF16, y, last, CHECKED, got);
        race_end(race, "gated_gelu", size, race_error(CHECKED, got, want), 3e-3);
    }
    if (race_asked(race, "convert")) {
        race_begin(race, RACE_COPY, 6. * (double)n);
        while (race_on(race))
            race_check(race, sdt_cuda_convert(race->cuda, n, SDT_BF16, a, SDT_F32, y), "convert");
        race_fetch(race, SDT_F32, y, last, CHECKED, got);
        race_end(race, "convert", size, race_error(CHECKED, got, ha), 0.);
    }
    if (race_asked(race, "put_frame")) {
        race_begin(race, RACE_COPY, 6. * (double)n);
        while (race_on(race))
            race_check(race, sdt_cuda_put_frame(race->cuda, SDT_BF16, n, 1, a, y), "put frame");
        for (int i = 0; i < CHECKED; i++)
            want[i] = fminf(fmaxf(ha[i], -1.f), 1.f);
        race_fetch(race, SDT_F32, y, last, CHECKED, got);
        race_end(race, "put_frame", size, race_error(CHECKED, got, want), 0.);
    }
    race_clear(race);
}

void race_sampler(struct race *race, size_t n) {
    enum { CHECKED = 4096 };
    const struct sdt_sampler_step step = {5.f, 0.7f, 1, .4f, -.3f, .2f, .9f, .8f, .6f, -.5f, 0.f};
    float *on[6], *next = race_room(race, n * sizeof *next), *host[6];
    char size[64];
    for (int i = 0; i < 6; i++) { /* v_cond, v_uncond, x, x_last, m0, m1 */
        on[i] = race_numbers(race, SDT_F32, n, (unsigned)i + 1, 1.f);
        host[i] = race_host_room(race, CHECKED);
    }
    float *got = race_host_room(race, CHECKED);
    if (!race->why[0]) {
        race_check(race,
                   sdt_cuda_sampler_step(race->cuda, &step, n, on[0], on[1], on[2], next, on[3],
                                         on[4], on[5]),
                   "sampler step");
        race_fetch(race, SDT_F32, next, n - CHECKED, CHECKED, got);
        for (int i = 0; i < 6; i++)
            race_host_values(race, (unsigned)i + 1, 1.f, n - CHECKED, CHECKED, host[i]);
        sdt_sampler_step_reference(&step, CHECKED, host[0], host[1], host[2], host[3], host[4],
                                   host[5]);
        race_begin(race, RACE_COPY, 40. * (double)n); /* six arrays read, four written */
        while (race_on(race))
            race_check(race,
                       sdt_cuda_sampler_step(race->cuda, &step, n, on[0], on[1], on[2], next, on[3],
                                             on[4], on[5]),
                       "sampler step");
        snprintf(size, sizeof size, "%zu float32", n);
        race_end(race, "sampler_step", size, race_error(CHECKED, got, host[2]), 1e-6);
    }
    race_clear(race);
}

void race_patchify(struct race *race, struct sdt_patch patch) {
    const int *s = patch.size;
    int tokens = patch.frames / s[0] * (patch.height / s[1]) * (patch.width / s[2]);
    size_t width = (size_t)(patch.channels * s[0] * s[1] * s[2]), m = (size_t)tokens * width;
    float *latent = race_numbers(race, SDT_F32, m, 1, 1.f), *hl = race_host_room(race, m);
    void *y = race_room(race, m * 2);
    float *got = race_host_room(race, width), *want = race_host_room(race, width);
    char size[64];
    if (!race->why[0]) {
        race_begin(race, RACE_COPY, 6. * (double)m);
        while (race_on(race))
            race_check(race, sdt_cuda_patchify(race->cuda, SDT_BF16, &patch, 0, tokens, latent, y),
                       "patchify");
        race_host_values(race, 1, 1.f, 0, m, hl);
        sdt_patchify(&patch, tokens - 1, 1, hl, want);
        race_fetch(race, SDT_BF16, y, m - width, width, got);
        snprintf(size, sizeof size, "%d tokens of %zu", tokens, width);
        race_end(race, "patchify", size, race_error(width, got, want), 0.);
    }
    race_clear(race);
}

/* stardit-bench kernels --device cuda: the four kinds of attention. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "bench/cuda_race.h"
#include "kernels/reference.h"

void race_attention(struct race *race, int heads, int tokens, int e, bool own) {
    size_t n = (size_t)heads * (size_t)tokens * (size_t)e, of_head = (size_t)tokens * (size_t)e;
    const float spread = 2.f, scale = 1.f / sqrtf((float)e);
    void *q = race_numbers(race, SDT_BF16, n, 1, spread),
         *k = race_numbers(race, SDT_BF16, n, 2, 1.f);
    void *v = race_numbers(race, SDT_BF16, n, 3, 1.f), *o = race_room(race, n * 2);
    float *lse = race_room(race, (size_t)heads * (size_t)tokens * sizeof *lse);
    float *hk = race_host_room(race, of_head), *hv = race_host_room(race, of_head);
    float *hq = race_host_room(race, (size_t)e),
          *got = race_host_room(race, (size_t)(RACE_EDGE * e));
    float *want = race_host_room(race, (size_t)(RACE_EDGE * e));
    char size[64];
    if (!race->why[0]) {
        sdt_cuda_prefer_own(race->cuda, own);
        race_begin(race, RACE_BIG_GEMM, 4. * heads * (double)tokens * tokens * e);
        while (race_on(race))
            race_check(race,
                       sdt_cuda_attention(race->cuda, SDT_BF16, heads, tokens, e, q, tokens, tokens,
                                          k, v, scale, o, lse),
                       "attention");
        for (int r = 0; r < RACE_EDGE;
             r++) { /* the first row of the first head, the last of the last */
            size_t head = r ? (size_t)heads - 1 : 0, row = r ? (size_t)tokens - 1 : 0;
            size_t at = head * of_head + row * (size_t)e;
            race_host_values(race, 1, spread, at, (size_t)e, hq);
            race_host_values(race, 2, 1.f, head * of_head, of_head, hk);
            race_host_values(race, 3, 1.f, head * of_head, of_head, hv);
            sdt_attention_reference(1, 1, e, hq, tokens, tokens, hk, hv, scale, want + r * e, NULL);
            race_fetch(race, SDT_BF16, o, at, (size_t)e, got + r * e);
        }
        sdt_cuda_prefer_own(race->cuda, false);
        snprintf(size, sizeof size, "%d tokens, %d heads x %d%s", tokens, heads, e, race_way(race));
        race_end(race, "attention", size, race_error((size_t)(RACE_EDGE * e), got, want), 1e-2);
    }
    race_clear(race);
}

void race_cross_attention(struct race *race, int rows, int heads, int e, int keys) {
    size_t d = (size_t)(heads * e), n = (size_t)rows * d, nk = (size_t)keys * d;
    void *q = race_numbers(race, SDT_BF16, n, 1, 1.f),
         *k = race_numbers(race, SDT_BF16, nk, 2, 1.f);
    void *v = race_numbers(race, SDT_BF16, nk, 3, 1.f), *o = race_room(race, n * 2);
    float *weight = race_numbers(race, SDT_F32, d, 4, 1.f);
    void *scratch = race_room(race, sdt_cuda_cross_attention_scratch(SDT_BF16, rows, heads, e));
    float *hq = race_host_room(race, d), *hk = race_host_room(race, nk),
          *hv = race_host_room(race, nk);
    float *hw = race_host_room(race, d), *got = race_host_room(race, d),
          *want = race_host_room(race, d);
    char size[64];
    if (!race->why[0]) {
        size_t last = (size_t)(rows - 1) * d;
        race_begin(race, RACE_BIG_GEMM, 4. * rows * keys * (double)d);
        while (race_on(race))
            race_check(race,
                       sdt_cuda_cross_attention(race->cuda, SDT_BF16, rows, heads, e, q, weight,
                                                1e-6f, keys, k, v, 2.f, o, scratch),
                       "cross attention");
        race_host_values(race, 1, 1.f, last, d, hq);
        race_host_values(race, 2, 1.f, 0, nk, hk);
        race_host_values(race, 3, 1.f, 0, nk, hv);
        race_host_values(race, 4, 1.f, 0, d, hw);
        sdt_cross_attention_reference(1, heads, e, hq, hw, 1e-6f, keys, hk, hv, 2.f, want);
        race_fetch(race, SDT_BF16, o, last, d, got);
        snprintf(size, sizeof size, "%d rows, %d heads x %d, %d keys", rows, heads, e, keys);
        race_end(race, "cross_attention", size, race_error(d, got, want), 1.2e-2);
    }
    race_clear(race);
}

void race_text_attention(struct race *race, int tokens, int heads, int e) {
    int width = heads * e;
    size_t n = (size_t)tokens * (size_t)width, ntable = (size_t)32 * (size_t)heads;
    void *q = race_numbers(race, SDT_BF16, n, 1, .5f), *k = race_numbers(race, SDT_BF16, n, 2, .5f);
    void *v = race_numbers(race, SDT_BF16, n, 3, 1.f), *o = race_room(race, n * 2);
    float *table = race_numbers(race, SDT_F32, ntable, 4, 2.f);
    float *hq = race_host_room(race, n), *hk = race_host_room(race, n),
          *hv = race_host_room(race, n);
    float *ht = race_host_room(race, ntable), *got = race_host_room(race, n),
          *want = race_host_room(race, n);
    char size[64];
    if (!race->why[0]) {
        race_begin(race, RACE_BIG_GEMM, 4. * tokens * tokens * (double)width);
        while (race_on(race))
            race_check(
                race,
                sdt_cuda_text_attention(race->cuda, SDT_BF16, tokens, heads, e, q, k, v, table, o),
                "text attention");
        race_host_values(race, 1, .5f, 0, n, hq);
        race_host_values(race, 2, .5f, 0, n, hk);
        race_host_values(race, 3, 1.f, 0, n, hv);
        race_host_values(race, 4, 2.f, 0, ntable, ht);
        sdt_text_attention_reference(tokens, width, 0, 1, e, hq, hk, hv, ht, heads, want);
        race_fetch(race, SDT_BF16, o, 0, n, got);
        for (int t = 0; t < tokens; t++) { /* the first head of each row, dense */
            memmove(got + t * e, got + (size_t)t * (size_t)width, (size_t)e * sizeof *got);
            memmove(want + t * e, want + (size_t)t * (size_t)width, (size_t)e * sizeof *want);
        }
        snprintf(size, sizeof size, "%d tokens, %d heads x %d", tokens, heads, e);
        race_end(race, "text_attention", size, race_error((size_t)(tokens * e), got, want), 1e-2);
    }
    race_clear(race);
}

void race_frame_attention(struct race *race, int pixels, int channels) {
    size_t n = (size_t)pixels * (size_t)channels, c = (size_t)channels;
    void *qkv = race_numbers(race, SDT_BF16, 3 * n, 1, 1.f), *o = race_room(race, n * 2);
    void *scratch = race_room(race, sdt_cuda_frame_attention_scratch(SDT_BF16, pixels, channels));
    float *row = race_host_room(race, 3 * c), *hk = race_host_room(race, n),
          *hv = race_host_room(race, n);
    float *got = race_host_room(race, c), *want = race_host_room(race, c);
    char size[64];
    if (!race->why[0]) {
        race_begin(race, RACE_BIG_GEMM, 4. * (double)n * pixels);
        while (race_on(race))
            race_check(race,
                       sdt_cuda_frame_attention(race->cuda, SDT_BF16, pixels, channels, qkv,
                                                (char *)qkv + 2 * c, (char *)qkv + 4 * c,
                                                3 * channels, o, scratch),
                       "frame attention");
        for (size_t p = 0; p < (size_t)pixels; p++) { /* ends with the last pixel's row */
            race_host_values(race, 1, 1.f, p * 3 * c, 3 * c, row);
            memcpy(hk + p * c, row + c, c * sizeof *hk);
            memcpy(hv + p * c, row + 2 * c, c * sizeof *hv);
        }
        sdt_attention_reference(1, 1, channels, row, pixels, pixels, hk, hv,
                                1.f / sqrtf((float)channels), want, NULL);
        race_fetch(race, SDT_BF16, o, n - c, c, got);
        snprintf(size, sizeof size, "%d pixels, %d channels%s", pixels, channels, race_way(race));
        race_end(race, "frame_attention", size, race_error(c, got, want), 1e-2);
    }
    race_clear(race);
}

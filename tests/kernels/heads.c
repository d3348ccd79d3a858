/* Split and merge: rotations, padding, any cut of the heads into pieces with the same bits. */
#include "kernels/reference.h"
#include "tests/kernels/check.h"

enum { PIECES = 4 };

/* One dense array a piece, exact in size, none for a piece without heads. */
static void make_pieces(int rows, int e, int pieces, const int *head, float **piece) {
    for (int p = 0; p < pieces; p++) {
        size_t n = (size_t)(head[p + 1] - head[p]) * rows * e;
        piece[p] = n ? blank(n) : NULL;
    }
}

static void free_pieces(int pieces, float **piece) {
    for (int p = 0; p < pieces; p++)
        free(piece[p]);
}

static void check_heads(int rows, int valid, int heads, int e, int normed, int turned) {
    struct sdt_rope rope = {{3, 5, 7}, {e / 2 - 2 * (e / 6), e / 6, e / 6}};
    size_t d = (size_t)heads * e, n = rows * d;
    float *x = numbers(n, 2.f), *weight = normed ? numbers(d, 1.f) : NULL;
    float *table = turned ? blank(sdt_rope_table_size(&rope)) : NULL;
    int64_t first = 105 - valid > 0 ? 105 - valid : 0; /* the last tile of 105 tokens */
    if (turned)
        sdt_rope_table(&rope, 10000., table);

    int whole[] = {0, heads};
    float *got = blank(n), *want = blank(n);
    sdt_split_heads(rows, valid, heads, e, x, weight, 1e-6f, &rope, table, first, 1, whole, &got);
    sdt_split_heads_reference(rows, valid, heads, e, x, weight, 1e-6f, &rope, table, first, 1,
                              whole, &want);
    check_near(n, got, want, normed || turned ? 2e-6 : 0.,
               "split %d rows, %d x %d, norm %d, rope %d", rows, heads, e, normed, turned);

    const int cuts[][PIECES + 1] = {
        {0, 0, heads, heads, heads},
        {0, heads / 2, heads / 2, heads, heads},
        {0, heads > 1, heads > 2 ? 2 : heads > 1, heads > 3 ? 3 : heads - (heads > 1), heads},
    };
    for (size_t c = 0; c < COUNT(cuts); c++) {
        float *piece[PIECES], *merged = blank(n);
        make_pieces(rows, e, PIECES, cuts[c], piece);
        sdt_split_heads(rows, valid, heads, e, x, weight, 1e-6f, &rope, table, first, PIECES,
                        cuts[c], piece);
        for (int p = 0; p < PIECES; p++) {
            size_t start = (size_t)cuts[c][p] * rows * e;
            check_bits((size_t)(cuts[c][p + 1] - cuts[c][p]) * rows * e, piece[p], got + start,
                       "split %d x %d into pieces, cut %zu, piece %d", heads, e, c, p);
        }
        sdt_merge_heads(rows, heads, e, PIECES, cuts[c], (const float *const *)piece, merged);
        float *expected = blank(n);
        sdt_merge_heads_reference(rows, heads, e, 1, whole, (const float *const *)&got, expected);
        check_bits(n, merged, expected, "merge %d x %d, cut %zu", heads, e, c);
        if (!normed && !turned && valid == rows)
            check_bits(n, merged, x, "split and merge %d x %d", heads, e);
        free(expected);
        free(merged);
        free_pieces(PIECES, piece);
    }
    free(x);
    free(weight);
    free(table);
    free(got);
    free(want);
}

/* Known values: position 0 turns nothing; the first pair of an axis turns by its position. */
static void check_table(void) {
    struct sdt_rope rope = {{2, 1, 3}, {2, 1, 3}};
    float *table = blank(sdt_rope_table_size(&rope));
    sdt_rope_table(&rope, 100., table);
    float want[] = {1, 0, 1, 0, (float)cos(1), (float)sin(1), (float)cos(.1), (float)sin(.1), 1, 0};
    check_near(COUNT(want), table, want, 1e-7, "rope table");
    if (sdt_rope_table_size(&rope) != 2 * (2 * 2 + 1 * 1 + 3 * 3))
        check_failures++;
    free(table);
}

int main(void) {
    static const int es[] = {4, 12, 16, 64, 96, 128, 160}, rows[] = {1, 3, 7, 64};
    check_table();
    for (size_t e = 0; e < COUNT(es); e++)
        for (int heads = 1; heads <= 5; heads++)
            for (size_t r = 0; r < COUNT(rows); r++)
                for (int mode = 0; mode < 4; mode++) {
                    check_heads(rows[r], rows[r], heads, es[e], mode & 1, mode & 2);
                    check_heads(rows[r], rows[r] / 2, heads, es[e], mode & 1, mode & 2);
                }
    check_heads(3, 3, 2, 5, 1, 0);
    return check_end("heads");
}

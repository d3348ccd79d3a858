/* Between tokens and heads: rotations, padding, any cut of the heads into pieces with the same
 * bits; and pieces of several tiles put together. */
#include "tests/kernels/operation.h"

/* ---- split_heads: rows, valid rows, heads, e, norm, rotation, pieces, cut, halves ------------ */

/* Three ways to cut heads into 4 pieces, some of them empty, and the even one. */
static void cut(const struct call *c, int heads, int pieces, int *head /* [pieces + 1] */) {
    const int cuts[][5] = {
        {0, 0, heads, heads, heads},
        {0, heads / 2, heads / 2, heads, heads},
        {0, heads > 1, heads > 2 ? 2 : heads > 1, heads > 3 ? 3 : heads - (heads > 1), heads},
    };
    for (int p = 0; p <= pieces; p++)
        head[p] = c->size[7] ? cuts[c->size[7] - 1][p] : (int)((int64_t)heads * p / pieces);
}

static void cpu_grid(const struct operation *operation) {
    static const int es[] = {4, 12, 16, 64, 96, 128, 160}, rows[] = {1, 3, 7, 64};
    for (size_t e = 0; e < COUNT(es); e++)
        for (int heads = 1; heads <= 5; heads++)
            for (size_t r = 0; r < COUNT(rows); r++)
                for (int mode = 0; mode < 8; mode++)
                    for (int way = 1; way <= 3; way++)
                        for (int halves = 0; halves <= (mode >> 1 & 1); halves++)
                            TRY(rows[r], mode & 4 ? rows[r] / 2 : rows[r], heads, es[e], mode & 1,
                                mode >> 1 & 1, 4, way, halves);
}

static void bodies_grid(const struct operation *operation) {
    static const int es[] = {4, 8, 12, 16, 96, 128}, rows[] = {1, 7};
    for (size_t e = 0; e < COUNT(es); e++)
        for (int mode = 0; mode < 8; mode++)
            for (int heads = 1; heads <= 5; heads += 2)
                for (size_t r = 0; r < COUNT(rows); r++)
                    for (int pieces = 1; pieces <= 7; pieces += 3)
                        for (int halves = 0; halves <= (mode >> 1 & 1); halves++)
                            TRY(rows[r], mode & 4 ? rows[r] / 2 : rows[r], heads, es[e], mode & 1,
                                mode >> 1 & 1, pieces, 0, halves);
}

static void gpu_grid(const struct operation *operation) {
    static const int es[] = {4, 12, 16, 64, 96, 128, 160}, rows[] = {1, 7, 64};
    for (size_t e = 0; e < COUNT(es); e++)
        for (int heads = 1; heads <= 5; heads += 2)
            for (size_t r = 0; r < COUNT(rows); r++)
                for (int mode = 0; mode < 4; mode++)
                    for (int halves = 0; halves <= (mode >> 1 & 1); halves++)
                        TRY(rows[r], mode & 1 ? rows[r] : rows[r] / 2, heads, es[e], mode & 1,
                            mode >> 1 & 1, 1 + (int)(r + e) % 4, 0, halves);
    TRY(5, 4, 70, 8, 1, 1, SDT_CUDA_PIECES + 6);
    TRY(105, 105, 40, 128, 1, 1, 8);
}

static void split_grid(const struct operation *operation) {
    if (backend.kind == CPU)
        cpu_grid(operation);
    else if (backend.kind == BODIES)
        bodies_grid(operation);
    else
        gpu_grid(operation);
    TRY(3, 3, 2, 5, 1, 0, 2);
    TRY(3, 2, 2, 5, 0, 0, 2);
    /* More pieces than one launch takes, some of them empty. */
    TRY(2, 2, 70, 8, 1, 1, 70);
    TRY(2, 2, 3, 16, 1, 1, MOST_PIECES);
    TRY(2, 1, 200, 8, 1, 1, MOST_PIECES);
    TRY(2, 2, 3, 512, 1, 1, 2, 0, 1);
}

static struct sdt_rope rope_of(const struct call *c) {
    int pairs = c->size[3] / 2, other = c->size[3] / 6;
    return (struct sdt_rope){{3, 5, 7}, {pairs - 2 * other, other, other}, c->size[8]};
}

static void split_make(struct call *c) {
    const int *s = c->size;
    struct sdt_rope rope = rope_of(c);
    size_t d = (size_t)s[2] * (size_t)s[3];
    int head[MOST_PIECES + 1];
    in(c, (size_t)s[0] * d, 2.f);
    in_if(c, s[4], SDT_F32, d, 1.f);
    struct array *table = in_if(c, s[5], SDT_F32, sdt_rope_table_size(&rope), 1.f);
    if (s[5])
        sdt_rope_table(&rope, 10000., table->start);
    cut(c, s[2], s[6], head);
    for (int p = 0; p < s[6]; p++)
        out(c, (size_t)(head[p + 1] - head[p]) * (size_t)(s[0] * s[3]))->limits.f32 =
            s[4] || s[5] ? 2e-6 : 0.;
}

typedef void split_call(struct call *, const struct sdt_rope *, int64_t first, const int *head,
                        void *const *y);

static void split_run(struct call *c, split_call *run) {
    const int *s = c->size;
    int head[MOST_PIECES + 1];
    void *y[MOST_PIECES];
    struct sdt_rope rope = rope_of(c);
    cut(c, s[2], s[6], head);
    for (int p = 0; p < s[6]; p++)
        y[p] = at(c, 3 + p);
    run(c, &rope, s[1] < 105 ? 105 - s[1] : 0, head, y); /* the last tile of 105 tokens */
}

static void split_plain_run(struct call *c, const struct sdt_rope *rope, int64_t first,
                            const int *head, void *const *y) {
    const int *s = c->size;
    sdt_split_heads_reference(s[0], s[1], s[2], s[3], at(c, 0), at(c, 1), 1e-6f, rope, at(c, 2),
                              first, s[6], head, (float *const *)y);
}
static void split_cpu_run(struct call *c, const struct sdt_rope *rope, int64_t first,
                          const int *head, void *const *y) {
    const int *s = c->size;
    sdt_split_heads(s[0], s[1], s[2], s[3], at(c, 0), at(c, 1), 1e-6f, rope, at(c, 2), first, s[6],
                    head, (float *const *)y);
}
static void split_cuda_run(struct call *c, const struct sdt_rope *rope, int64_t first,
                           const int *head, void *const *y) {
    const int *s = c->size;
    done(c, sdt_cuda_split_heads(cuda, c->dtype, s[0], s[1], s[2], s[3], at(c, 0), at(c, 1), 1e-6f,
                                 rope, at(c, 2), first, s[6], head, y));
}
static void split_plain(struct call *c) { split_run(c, split_plain_run); }
static void split_cpu(struct call *c) { split_run(c, split_cpu_run); }
static void split_cuda(struct call *c) { split_run(c, split_cuda_run); }

/* All heads in one piece have the bits of the pieces; put together again they are the input, where
 * nothing was done on the way. */
static void split_also(struct call *c) {
    const int *s = c->size;
    struct sdt_rope rope = rope_of(c);
    size_t one = (size_t)(s[0] * s[3]), n = (size_t)s[2] * one;
    int whole[] = {0, s[2]}, head[MOST_PIECES + 1];
    float *y = blank(n), *merged = blank(n);
    const float *piece[MOST_PIECES];
    cut(c, s[2], s[6], head);
    sdt_split_heads(s[0], s[1], s[2], s[3], at(c, 0), at(c, 1), 1e-6f, &rope, at(c, 2),
                    s[1] < 105 ? 105 - s[1] : 0, 1, whole, &y);
    for (int p = 0; p < s[6]; p++) {
        piece[p] = at(c, 3 + p);
        check_bits(c->array[3 + p].n, piece[p], y + (size_t)head[p] * one,
                   "split %d x %d, cut %d, piece %d", s[2], s[3], s[7], p);
    }
    if (!s[4] && !s[5] && s[0] == s[1]) {
        sdt_merge_heads(s[0], s[2], s[3], s[6], head, piece, merged);
        check_bits(n, merged, at(c, 0), "split and merge %d x %d", s[2], s[3]);
    }
    free(y);
    free(merged);
}

/* Known values: position 0 turns nothing; the first pair of an axis turns by its position. */
static void check_table(void) {
    struct sdt_rope rope = {{2, 1, 3}, {2, 1, 3}, 0};
    float *table = blank(sdt_rope_table_size(&rope));
    sdt_rope_table(&rope, 100., table);
    float want[] = {1, 0, 1, 0, (float)cos(1), (float)sin(1), (float)cos(.1), (float)sin(.1), 1, 0};
    check_near(COUNT(want), table, want, 1e-7, "rope table");
    if (sdt_rope_table_size(&rope) != 2 * (2 * 2 + 1 * 1 + 3 * 3))
        check_failures++;
    free(table);
}

/* ---- merge_heads: sizes of split_heads ------------------------------------------------------- */

static void merge_make(struct call *c) {
    const int *s = c->size;
    int head[MOST_PIECES + 1];
    out(c, (size_t)s[0] * (size_t)s[2] * (size_t)s[3]);
    absent(c);
    absent(c);
    cut(c, s[2], s[6], head);
    for (int p = 0; p < s[6]; p++)
        in(c, (size_t)(head[p + 1] - head[p]) * (size_t)(s[0] * s[3]), 1.f);
}

static void merge_plain_run(struct call *c, const struct sdt_rope *rope, int64_t first,
                            const int *head, void *const *x) {
    const int *s = c->size;
    (void)rope, (void)first;
    sdt_merge_heads_reference(s[0], s[2], s[3], s[6], head, (const float *const *)x, at(c, 0));
}
static void merge_cpu_run(struct call *c, const struct sdt_rope *rope, int64_t first,
                          const int *head, void *const *x) {
    const int *s = c->size;
    (void)rope, (void)first;
    sdt_merge_heads(s[0], s[2], s[3], s[6], head, (const float *const *)x, at(c, 0));
}
static void merge_cuda_run(struct call *c, const struct sdt_rope *rope, int64_t first,
                           const int *head, void *const *x) {
    const int *s = c->size;
    (void)rope, (void)first;
    done(c, sdt_cuda_merge_heads(cuda, c->dtype, s[0], s[2], s[3], s[6], head,
                                 (const void *const *)x, at(c, 0)));
}
static void merge_plain(struct call *c) { split_run(c, merge_plain_run); }
static void merge_cpu(struct call *c) { split_run(c, merge_cpu_run); }
static void merge_cuda(struct call *c) { split_run(c, merge_cuda_run); }

/* ---- gather: tiles, heads, block, split, skip, stride (0: all), before, end (0: block) ------- */

static void gather_grid(const struct operation *operation) {
    TRY(1, 1, 1);
    TRY(3, 2, 35);
    TRY(5, 3, 40);
    TRY(5, 3, 40, 3, 24, 160);
    TRY(5, 3, 40, 3, 24, 160, 24);
    TRY(5, 3, 40, 3, 24, 0, 16, 8);
    TRY(4, 2, 40, 0, 0, 0, 0, 8);
    TRY(2, 3, 37, 1, 30, 0, 9, 5);
    TRY(3, 2, 37);
    TRY(3, 2, 37, 1, 30, 74);
    TRY(5, 3, 128);
    TRY(5, 3, 128, 3, 56);
    TRY(SDT_CUDA_PIECES + 6, 2, 72);
    TRY(MOST_PIECES, 2, 16);
}
static struct sdt_gather gather_of(const struct call *c) {
    const int *s = c->size;
    size_t block = (size_t)s[2], skip = (size_t)s[4], end = (size_t)s[7];
    size_t all = (size_t)s[0] * block - skip - (end ? block - end : 0);
    return (struct sdt_gather){.block = block,
                               .stride = s[5] ? (size_t)s[5] : all,
                               .split = s[3],
                               .skip = skip,
                               .before = (size_t)s[6],
                               .last = s[0] - 1,
                               .end = end};
}
static void gather_make(struct call *c) {
    const int *s = c->size;
    struct sdt_gather to = gather_of(c);
    out(c, (size_t)s[1] * to.stride);
    for (int t = 0; t < s[0]; t++)
        in(c, (size_t)s[1] * sdt_gather_piece(&to, t), 1.f);
}
static void gather_plain(struct call *c) {
    const int *s = c->size;
    struct sdt_gather to = gather_of(c);
    float *y = at(c, 0);
    for (int t = 0; t < s[0]; t++)
        for (int h = 0; h < s[1]; h++)
            memcpy(y + (size_t)h * to.stride + sdt_gather_at(&to, t),
                   (const float *)at(c, 1 + t) + (size_t)h * sdt_gather_piece(&to, t),
                   sdt_gather_count(&to, t) * sizeof *y);
}
static void gather_cuda(struct call *c) {
    struct sdt_gather to = gather_of(c);
    const void *x[MOST_PIECES];
    for (int t = 0; t < c->size[0]; t++)
        x[t] = at(c, 1 + t);
    done(c, sdt_cuda_gather(cuda, c->dtype, c->size[0], c->size[1], &to, x, at(c, 0)));
}

/* ---- copy_part: heads, count, x_stride, x_at, y_stride, y_at --------------------------------- */

static void part_grid(const struct operation *operation) {
    TRY(1, 1, 1, 0, 1, 0);
    TRY(1, 37, 0, 5, 0, 11); /* one head has no stride */
    TRY(1, 64, 0, 32, 0, 8);
    TRY(3, 0, 8, 8, 8, 8);
    TRY(3, 16, 40, 24, 16, 0);
    TRY(3, 16, 16, 0, 40, 24);
    TRY(5, 12, 36, 12, 60, 48);
    TRY(2, 24, 48, 8, 72, 44); /* all of it in packs but where it goes */
    TRY(2, 24, 50, 8, 72, 40);
    TRY(40, 128, 512, 256, 640, 512);
    TRY(7, 1000, 1001, 1, 1003, 3);
    if (backend.kind == GPU)
        TRY(40, 70000, 70008, 8, 140000, 70000);
}
static struct sdt_copy_part part_of(const struct call *c) {
    const int *s = c->size;
    return (struct sdt_copy_part){.heads = s[0],
                                  .count = (size_t)s[1],
                                  .x_stride = (size_t)s[2],
                                  .x_at = (size_t)s[3],
                                  .y_stride = (size_t)s[4],
                                  .y_at = (size_t)s[5]};
}
static void part_make(struct call *c) {
    const struct sdt_copy_part part = part_of(c);
    const size_t before = (size_t)(part.heads - 1);
    size_t x = before * part.x_stride + part.x_at + part.count;
    size_t y = before * part.y_stride + part.y_at + part.count;
    in(c, x > part.x_stride ? x : part.x_stride, 1.f);
    in_out(c, (y > part.y_stride ? y : part.y_stride) + 9, 1.f); /* what is elsewhere stays */
}
static void part_plain(struct call *c) {
    const struct sdt_copy_part part = part_of(c);
    const float *x = at(c, 0);
    float *y = at(c, 1);
    for (size_t h = 0; h < (size_t)part.heads; h++)
        for (size_t i = 0; i < part.count; i++)
            y[h * part.y_stride + part.y_at + i] = x[h * part.x_stride + part.x_at + i];
}
static void part_cpu(struct call *c) {
    const struct sdt_copy_part part = part_of(c);
    sdt_copy_part(&part, at(c, 0), at(c, 1));
}
static void part_cuda(struct call *c) {
    const struct sdt_copy_part part = part_of(c);
    done(c, sdt_cuda_copy_part(cuda, c->dtype, &part, at(c, 0), at(c, 1)));
}

const struct operation heads_operations[] = {
    {.name = "split_heads",
     .grid = split_grid,
     .make = split_make,
     .plain = split_plain,
     .cpu = split_cpu,
     .cuda = split_cuda,
     .also = split_also,
     .more = check_table},
    {.name = "merge_heads",
     .grid = split_grid,
     .make = merge_make,
     .plain = merge_plain,
     .cpu = merge_cpu,
     .cuda = merge_cuda},
    {.name = "gather",
     .grid = gather_grid,
     .make = gather_make,
     .plain = gather_plain,
     .cuda = gather_cuda},
    {.name = "copy_part",
     .grid = part_grid,
     .make = part_make,
     .plain = part_plain,
     .cpu = part_cpu,
     .cuda = part_cuda},
    {0},
};

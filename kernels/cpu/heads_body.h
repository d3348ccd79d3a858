/* Between tokens and heads: the split of one token tile into pieces by heads, with the row norm and
 * the rotation on the way, since the row is then read anyway; and the way back. */

/* Pairs whose cosines and sines are gathered at a time; the heads of a row share them. */
enum { PAIRS = 64 };

#if LANES == 16
static const veci lane_index = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
#else
static const veci lane_index = {0, 1, 2, 3, 4, 5, 6, 7};
#endif

/* What turns the numbers of a head: x cosine + (x with the numbers of each pair exchanged) sine */
struct turns {
    float cosine[2 * PAIRS], sine[2 * PAIRS];
};

/* Pairs first..first+n-1 of a token, its axes' rows one behind the other:
 * (a, b) -> (a cos - b sin, a sin + b cos). */
static void gather_turns(const struct sdt_rope *rope, const float *const *row /* [3] */, int first,
                         int n, struct turns *turns) {
    float pair[2 * PAIRS]; /* [n, 2 (cos, sin)] */
    for (int a = 0, start = 0; a < 3; start += rope->pairs[a], a++) {
        int from = first > start ? first : start;
        int to = first + n < start + rope->pairs[a] ? first + n : start + rope->pairs[a];
        if (from < to)
            memcpy(pair + 2 * (from - first), row[a] + 2 * (from - start),
                   2 * sizeof(float) * (size_t)(to - from));
    }
    const vec sign = __builtin_convertvector((lane_index & 1) * 2 - 1, vec);
#define BODY(i, left)                                                                              \
    do {                                                                                           \
        vec p = vec_load(pair + (i), left);                                                        \
        vec_store(turns->cosine + (i), left, __builtin_shuffle(p, lane_index & ~1));               \
        vec_store(turns->sine + (i), left, __builtin_shuffle(p, lane_index | 1) * sign);           \
    } while (0)
    EACH_VECTOR(2 * n, BODY);
#undef BODY
}

/* n numbers of a head, and the squares of as many from `next` on; normed, turned and more are
 * constants wherever it is inlined. */
VEC_INLINE void split_head(int normed, int turned, int more, size_t n, const float *x,
                           float inverse, const float *weight, const struct turns *turns, float *y,
                           const float *next, vec *squares /* [VEC_PARTS] */) {
#define BODY(j, i, left)                                                                           \
    do {                                                                                           \
        vec z = vec_load(x + (i), left);                                                           \
        if (more) {                                                                                \
            vec later = vec_load(next + (i), left);                                                \
            squares[j] += later * later;                                                           \
        }                                                                                          \
        if (normed)                                                                                \
            z = z * vec_set(inverse) * vec_load(weight + (i), left);                               \
        if (turned)                                                                                \
            z = z * vec_load(turns->cosine + (i), left) +                                          \
                __builtin_shuffle(z, lane_index ^ 1) * vec_load(turns->sine + (i), left);          \
        vec_store(y + (i), left, z);                                                               \
    } while (0)
    VEC_EACH_PART(n, BODY);
#undef BODY
}

/* The tile's rows and where they go. */
struct split {
    int rows, e, pieces;
    size_t d;
    const int *head;
    const float *weight; /* [h*e] */
    float *const *y;
};

/* Numbers c..c+n-1 of each head of row r. With `more`, n is e, and the sum of squares of the next
 * row is returned, as vec_sum_of_squares adds it. */
VEC_INLINE float split_row(int normed, int turned, int more, const struct split *a, int r, int c,
                           int n, const float *in /* [h*e] */, float inverse,
                           const struct turns *turns) {
    vec squares[VEC_PARTS] = {{0}};
    for (int p = 0; p < a->pieces; p++)
        for (int h = a->head[p]; h < a->head[p + 1]; h++) {
            size_t column = (size_t)h * (size_t)a->e + (size_t)c;
            size_t row = (size_t)(h - a->head[p]) * (size_t)a->rows + (size_t)r;
            split_head(normed, turned, more, (size_t)n, in + column, inverse, a->weight + column,
                       turns, a->y[p] + row * (size_t)a->e + c, in + a->d + column, squares);
        }
    return more ? vec_sum_of_parts(squares) : 0.f;
}

static void split_padding(const struct split *a, int r) {
    for (int p = 0; p < a->pieces; p++)
        for (int h = 0; h < a->head[p + 1] - a->head[p]; h++)
            memset(a->y[p] + ((size_t)h * (size_t)a->rows + (size_t)r) * (size_t)a->e, 0,
                   (size_t)a->e * sizeof(float));
}

/* The table's rows for a token's place on each axis. */
static void find_axes(const struct sdt_rope *rope, const float *table, int64_t token,
                      const float *axis[3]) {
    int64_t pos[3] = {token / rope->size[2] / rope->size[1], token / rope->size[2] % rope->size[1],
                      token % rope->size[2]};
    for (int a = 0; a < 3; a++) {
        axis[a] = table + pos[a] * rope->pairs[a] * 2;
        table += (size_t)rope->size[a] * (size_t)rope->pairs[a] * 2;
    }
}

VEC_INLINE void split_rows(int normed, int turned, const struct split *a, int valid_rows,
                           const float *x, float eps, const struct sdt_rope *rope,
                           const float *table, int64_t first_token) {
    size_t d = a->d;
    /* While a row is written, the squares of the next one are added up, where each head has whole
     * sets of partial sums. */
    int ahead = normed && a->e <= 2 * PAIRS && a->e % (VEC_PARTS * LANES) == 0;
    float squares = normed && valid_rows > 0 ? vec_sum_of_squares(d, x) : 0.f;
    for (int r = 0; r < valid_rows; r++) {
        const float *in = x + (size_t)r * d, *axis[3];
        int more = r + 1 < valid_rows;
        struct turns turns;
        float inverse = normed ? 1.f / sqrtf(squares / (float)d + eps) : 1.f;
        if (turned)
            find_axes(rope, table, first_token + r, axis);
        for (int c = 0; c < a->e; c += 2 * PAIRS) {
            int n = a->e - c < 2 * PAIRS ? a->e - c : 2 * PAIRS;
            if (turned)
                gather_turns(rope, axis, c / 2, n / 2, &turns);
            if (ahead && more)
                squares = split_row(normed, turned, 1, a, r, c, n, in, inverse, &turns);
            else
                split_row(normed, turned, 0, a, r, c, n, in, inverse, &turns);
        }
        if (normed && !ahead && more)
            squares = vec_sum_of_squares(d, in + d);
    }
}

/* Pairs in halves: n numbers of an axis, and the n that they are paired with, `apart` behind. */
VEC_INLINE void turn_halves(int normed, int n, const float *x, int apart, float inverse,
                            const float *weight, const struct turns *turns, float *y) {
#define BODY(i, left)                                                                              \
    do {                                                                                           \
        vec u = vec_load(x + (i), left), w = vec_load(x + apart + (i), left);                      \
        vec cosine = vec_load(turns->cosine + (i), left),                                          \
            sine = vec_load(turns->sine + (i), left);                                              \
        if (normed) {                                                                              \
            u = u * vec_set(inverse) * vec_load(weight + (i), left);                               \
            w = w * vec_set(inverse) * vec_load(weight + apart + (i), left);                       \
        }                                                                                          \
        vec_store(y + (i), left, u * cosine - w * sine);                                           \
        vec_store(y + apart + (i), left, w * cosine + u * sine);                                   \
    } while (0)
    EACH_VECTOR(n, BODY);
#undef BODY
}

/* Up to PAIRS pairs of an axis, from pair `first` on, of all heads of row r. */
VEC_INLINE void split_halves(int normed, const struct split *a, int r, int column, int apart,
                             int first, const float *table /* [pairs, 2 (cos, sin)] */,
                             const float *in /* [h*e] */, float inverse) {
    int n = apart - first < PAIRS ? apart - first : PAIRS;
    struct turns turns;
    for (int i = 0; i < n; i++) {
        turns.cosine[i] = table[2 * (first + i)];
        turns.sine[i] = table[2 * (first + i) + 1];
    }
    for (int p = 0; p < a->pieces; p++)
        for (int h = a->head[p]; h < a->head[p + 1]; h++) {
            size_t c = (size_t)(column + first), at = (size_t)h * (size_t)a->e + c;
            size_t row = (size_t)(h - a->head[p]) * (size_t)a->rows + (size_t)r;
            turn_halves(normed, n, in + at, apart, inverse, a->weight + at, &turns,
                        a->y[p] + row * (size_t)a->e + c);
        }
}

VEC_INLINE void split_rows_halves(int normed, const struct split *a, int valid_rows, const float *x,
                                  float eps, const struct sdt_rope *rope, const float *table,
                                  int64_t first_token) {
    for (int r = 0; r < valid_rows; r++) {
        const float *in = x + (size_t)r * a->d, *axis[3];
        float inverse =
            normed ? 1.f / sqrtf(vec_sum_of_squares(a->d, in) / (float)a->d + eps) : 1.f;
        find_axes(rope, table, first_token + r, axis);
        for (int i = 0, column = 0; i < 3; column += 2 * rope->pairs[i], i++)
            for (int first = 0; first < rope->pairs[i]; first += PAIRS)
                split_halves(normed, a, r, column, rope->pairs[i], first, axis[i], in, inverse);
    }
}

static void split_heads(int rows, int valid_rows, int heads, int e, const float *x,
                        const float *weight, float eps, const struct sdt_rope *rope,
                        const float *table, int64_t first_token, int pieces, const int *head,
                        float *const *y) {
    struct split a = {rows, e, pieces, (size_t)heads * (size_t)e, head, weight ? weight : x, y};
    if (table && rope->halves && weight)
        split_rows_halves(1, &a, valid_rows, x, eps, rope, table, first_token);
    else if (table && rope->halves)
        split_rows_halves(0, &a, valid_rows, x, eps, rope, table, first_token);
    else if (weight && table)
        split_rows(1, 1, &a, valid_rows, x, eps, rope, table, first_token);
    else if (weight)
        split_rows(1, 0, &a, valid_rows, x, eps, rope, table, first_token);
    else if (table)
        split_rows(0, 1, &a, valid_rows, x, eps, rope, table, first_token);
    else
        split_rows(0, 0, &a, valid_rows, x, eps, rope, table, first_token);
    for (int r = valid_rows; r < rows; r++)
        split_padding(&a, r);
}

static void merge_heads(int rows, int heads, int e, int pieces, const int *head,
                        const float *const *x, float *y) {
    for (int r = 0; r < rows; r++)
        for (int p = 0; p < pieces; p++)
            for (int h = head[p]; h < head[p + 1]; h++) {
                const float *in =
                    x[p] + ((size_t)(h - head[p]) * (size_t)rows + (size_t)r) * (size_t)e;
                float *out = y + ((size_t)r * (size_t)heads + (size_t)h) * (size_t)e;
#define BODY(i, left) vec_store(out + (i), left, vec_load(in + (i), left))
                EACH_VECTOR(e, BODY);
#undef BODY
            }
}

static void rotate_halves(int rows, int heads, int e, const float *table, float *x) {
    size_t half = (size_t)e / 2;
    for (int r = 0; r < rows; r++, table += e)
        for (int h = 0; h < heads; h++, x += e) {
#define BODY(i, left)                                                                              \
    do {                                                                                           \
        vec cosine = vec_load(table + (i), left), sine = vec_load(table + half + (i), left);       \
        vec a = vec_load(x + (i), left), b = vec_load(x + half + (i), left);                       \
        vec_store(x + (i), left, a * cosine - b * sine);                                           \
        vec_store(x + half + (i), left, b * cosine + a * sine);                                    \
    } while (0)
            EACH_VECTOR(half, BODY);
#undef BODY
        }
}

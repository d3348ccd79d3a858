/* The micro-kernel's source. The including file defines
 *   LANES  floats of a vector
 *   ROWS   rows of a block: ROWS * 3 sums, 3 vectors of the panel and one of x fit in the registers
 *   NAME   of the variant
 * and has said, by a pragma, which instructions may be used. Not a header of its own: one variant a
 * file. */
#include <string.h>

#include "kernels/cpu/half.h"
#include "kernels/cpu/micro_kernel.h"

/* The ABI note is about passing a vector between functions, which never happens: all are
 * inlined. */
#pragma GCC diagnostic ignored "-Wpsabi"

#define INLINE static inline __attribute__((always_inline, unused))

typedef float vector __attribute__((vector_size(4 * LANES)));
typedef uint32_t words8 __attribute__((vector_size(32)));
typedef uint16_t halves8 __attribute__((vector_size(16)));

INLINE vector load(const float *p) {
    vector x;
    memcpy(&x, p, sizeof x);
    return x;
}

INLINE void store(float *p, vector x) { memcpy(p, &x, sizeof x); }

/* sum += x * w. From its own multiply-add, GCC makes the weight a memory operand again in every
 * row: 16 loads for 12 multiply-adds instead of 7. */
#if defined __x86_64__ && defined __FMA__
#define MULTIPLY_ADD(sum, x, w) __asm__("vfmadd231ps %2, %1, %0" : "+v"(sum) : "v"(x), "v"(w))
#else
#define MULTIPLY_ADD(sum, x, w) sum += (x) * (w)
#endif

/* One step of k: `vectors` of the panel times `m` numbers of a. */
#define STEP                                                                                       \
    {                                                                                              \
        vector w[3];                                                                               \
        _Pragma("GCC unroll 3") for (int v = 0; v < vectors; v++) w[v] = load(b + v * LANES);      \
        _Pragma("GCC unroll 8") for (int i = 0; i < m; i++) {                                      \
            vector x = a[i * lda] - (vector){0};                                                   \
            _Pragma("GCC unroll 3") for (int v = 0; v < vectors; v++)                              \
                MULTIPLY_ADD(sum[i][v], x, w[v]);                                                  \
        }                                                                                          \
        a++;                                                                                       \
        b += ldb;                                                                                  \
    }

/* What a block of rows prefetches: so many bytes every four steps of k, and after so many turns the
 * next row. */
struct ahead {
    const char *from;
    ptrdiff_t bytes, jump;
    int turns;
};

/* m rows; m and vectors are constants wherever it is inlined. */
INLINE void block(int m, int vectors, int kc, const float *a, ptrdiff_t lda, const float *b,
                  ptrdiff_t ldb, bool add, float *y, ptrdiff_t ldy, struct ahead next) {
    vector sum[8][3];
#pragma GCC unroll 8
    for (int i = 0; i < m; i++)
#pragma GCC unroll 3
        for (int v = 0; v < vectors; v++)
            sum[i][v] = (vector){0};
    int l = kc, turn = next.turns;
    for (; l >= 4; l -= 4) {
        for (ptrdiff_t line = 0; line < next.bytes; line += 64)
            __builtin_prefetch(next.from + line);
        next.from += next.bytes;
        if (--turn == 0) {
            next.from += next.jump;
            turn = next.turns;
        }
        STEP STEP STEP STEP
    }
    for (; l > 0; l--)
        STEP
#pragma GCC unroll 8
            for (int i = 0; i < m; i++)
#pragma GCC unroll 3
                for (int v = 0; v < vectors; v++) {
            float *to = y + i * ldy + v * LANES;
            store(to, add ? load(to) + sum[i][v] : sum[i][v]);
        }
}

/* Never inlined: a number that a caller keeps in a vector register would be one register too many
 * here. */
#define BLOCK(rows)                                                                                \
    case rows:                                                                                     \
        block(rows, vectors, kc, a, lda, b, ldb, add, y, ldy, *next);                              \
        break;
#define BLOCKS(name, width)                                                                        \
    static __attribute__((noinline)) void name(int m, int kc, const float *a, ptrdiff_t lda,       \
                                               const float *b, ptrdiff_t ldb, bool add, float *y,  \
                                               ptrdiff_t ldy, const struct ahead *next) {          \
        enum { vectors = width };                                                                  \
        switch (m) { ALL_ROWS }                                                                    \
    }
#if ROWS == 8
#define ALL_ROWS BLOCK(1) BLOCK(2) BLOCK(3) BLOCK(4) BLOCK(5) BLOCK(6) BLOCK(7) BLOCK(8)
#else
#define ALL_ROWS BLOCK(1) BLOCK(2) BLOCK(3) BLOCK(4)
#endif
BLOCKS(blocks_of_1, 1)
BLOCKS(blocks_of_2, 2)
BLOCKS(blocks_of_3, 3)

static void multiply(const struct sdt__strip *s) {
    int width = s->vectors * LANES, blocks = (s->rows + ROWS - 1) / ROWS;
    /* All blocks of rows together prefetch `next` once: a block some rows, or some of the one. */
    int turns = s->kc / 4, rows = (s->next_rows + blocks - 1) / blocks, next_row = 0;
    int parts = s->next_rows == 1 ? blocks : 1;
    struct ahead next = {s->next, 0, 0, 0};
    if (rows > 0 && turns > 0) {
        next.turns = parts > 1 ? 0 : turns / rows > 0 ? turns / rows : 1;
        size_t in = (size_t)(parts > 1 ? parts * turns : next.turns);
        next.bytes = (ptrdiff_t)((s->next_bytes + in - 1) / in);
        next.jump = (ptrdiff_t)s->next_ld - next.turns * next.bytes;
    }
    for (int r = 0; r < s->rows; r += ROWS) {
        int m = s->rows - r < ROWS ? s->rows - r : ROWS;
        float *y = s->y + r * s->ldy;
        float edge[ROWS * 3 * LANES];
        bool narrow = s->cols < width; /* the rest of the vectors would be written elsewhere */
        if (narrow && s->add)
            for (int i = 0; i < m; i++)
                memcpy(edge + i * width, y + i * s->ldy, (size_t)s->cols * sizeof(float));
        (s->vectors == 3   ? blocks_of_3
         : s->vectors == 2 ? blocks_of_2
                           : blocks_of_1)(m, s->kc, s->a + r * s->lda, s->lda, s->b, s->ldb, s->add,
                                          narrow ? edge : y, narrow ? width : s->ldy, &next);
        if (narrow)
            for (int i = 0; i < m; i++)
                memcpy(y + i * s->ldy, edge + i * width, (size_t)s->cols * sizeof(float));
        next_row += rows;
        if (parts > 1)
            next.from += next.bytes * turns;
        else if (next_row < s->next_rows)
            next.from = (const char *)s->next + (size_t)next_row * s->next_ld;
        else
            next.bytes = 0;
    }
}

/* ---- panels ---------------------------------------------------------------------------------- */

INLINE words8 load_words(const char *p, size_t element) {
    words8 x;
    if (element == 4) {
        memcpy(&x, p, sizeof x);
        return x;
    }
    halves8 h;
    memcpy(&h, p, sizeof h);
    return __builtin_convertvector(h, words8);
}

INLINE void store_words(char *p, size_t element, words8 x) {
    if (element == 4) {
        memcpy(p, &x, sizeof x);
    } else {
        halves8 h = __builtin_convertvector(x, halves8);
        memcpy(p, &h, sizeof h);
    }
}

/* The square of eight rows and eight columns, transposed in three rounds of exchanges. */
INLINE void transpose(words8 *x /* [8] in place */) {
    words8 t[8];
    for (int i = 0; i < 8; i += 2) {
        t[i] = __builtin_shuffle(x[i], x[i + 1], (words8){0, 8, 1, 9, 4, 12, 5, 13});
        t[i + 1] = __builtin_shuffle(x[i], x[i + 1], (words8){2, 10, 3, 11, 6, 14, 7, 15});
    }
    for (int i = 0; i < 8; i += 4)
        for (int j = 0; j < 2; j++) {
            words8 a = t[i + j], b = t[i + j + 2];
            x[i + 2 * j] = __builtin_shuffle(a, b, (words8){0, 1, 8, 9, 4, 5, 12, 13});
            x[i + 2 * j + 1] = __builtin_shuffle(a, b, (words8){2, 3, 10, 11, 6, 7, 14, 15});
        }
    for (int i = 0; i < 4; i++) {
        t[i] = __builtin_shuffle(x[i], x[i + 4], (words8){0, 1, 2, 3, 8, 9, 10, 11});
        t[i + 4] = __builtin_shuffle(x[i], x[i + 4], (words8){4, 5, 6, 7, 12, 13, 14, 15});
    }
    memcpy(x, t, sizeof t);
}

INLINE void pack_elements(int cols, int width, int kc, size_t element, const char *w, size_t ldw,
                          char *to) {
    size_t row = (size_t)width * element;
    for (int c = 0; c < width; c += 8) {
        const char *from = w + (size_t)c * ldw * element;
        char *panel = to + (size_t)c * element;
        int l = 0;
        if (c + 8 <= cols)
            for (; l + 8 <= kc; l += 8) {
                words8 x[8];
                for (int i = 0; i < 8; i++)
                    x[i] = load_words(from + ((size_t)i * ldw + (size_t)l) * element, element);
                transpose(x);
                for (int i = 0; i < 8; i++)
                    store_words(panel + (size_t)(l + i) * row, element, x[i]);
            }
        for (; l < kc; l++)
            for (int i = 0; i < 8; i++)
                if (c + i < cols)
                    memcpy(panel + (size_t)l * row + (size_t)i * element,
                           from + ((size_t)i * ldw + (size_t)l) * element, element);
                else
                    memset(panel + (size_t)l * row + (size_t)i * element, 0, element);
    }
}

static void pack(int cols, int width, int kc, size_t element, const void *w, size_t ldw, void *to) {
    if (element == 2)
        pack_elements(cols, width, kc, 2, w, ldw, to);
    else
        pack_elements(cols, width, kc, 4, w, ldw, to);
}

/* n is a multiple of 8. */
static void widen(enum sdt_dtype dtype, size_t n, const void *from, float *to) {
    const char *p = from;
#ifdef __F16C__
    if (dtype == SDT_F16) {
        for (size_t i = 0; i < n; i += 8)
            _mm256_storeu_ps(to + i, _mm256_cvtph_ps(_mm_loadu_si128((const void *)(p + 2 * i))));
        return;
    }
#else
    if (dtype == SDT_F16) {
        for (size_t i = 0; i < n; i++) {
            uint16_t half;
            memcpy(&half, p + 2 * i, sizeof half);
            to[i] = sdt__float_of_half(half);
        }
        return;
    }
#endif
    for (size_t i = 0; i < n; i += 8) {
        words8 x = load_words(p + 2 * i, 2) << 16;
        memcpy(to + i, &x, sizeof x);
    }
}

const struct sdt__micro_kernel NAME = {VARIANT, LANES, multiply, pack, widen};

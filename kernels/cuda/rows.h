/* Bodies of the kernels that go row by row: norms, and what lies between tokens and heads.
 *
 * They give each row `lanes` lanes. A lane takes packs lane, lane + lanes, ... of its row, keeps
 * them in registers, and hands out partial sums, which the caller adds up over the lanes; then
 * every lane finishes its packs. A lane writes only what it alone has read: y may be x. Packs
 * and types, and who else compiles this: kernels/cuda/bodies.h. */
#ifndef STARDIT_CUDA_ROWS_H
#define STARDIT_CUDA_ROWS_H

#include "kernels/cuda/bodies.h"

/* How many packs of its row a lane keeps in registers. */
#define SDT_KEEP 4
/* The most lanes of a row: few enough that a lane finds registers for all it keeps. */
#define SDT_LANES 512

/* ---- rows ------------------------------------------------------------------------------------ */

/* Lanes of a row of d: a power of two within a warp, or whole warps. */
SDT_BODY int body_row_lanes(int d, int pack) {
    int packs = (d + pack - 1) / pack, lanes = 1;
    int need = (packs + SDT_KEEP - 1) / SDT_KEEP;
    if (need > 32)
        return need > SDT_LANES ? SDT_LANES : (need + 31) / 32 * 32;
    while (lanes < need)
        lanes *= 2;
    return lanes;
}

/* Whether the lanes can keep all of a row; longer rows are read anew for each pass. */
SDT_BODY bool body_row_kept(int d, int pack) { return d <= SDT_LANES * SDT_KEEP * pack; }

/* How rows are spread over blocks of threads: several rows a block, or one. */
struct body_shape {
    int pack, lanes;
    bool kept;
    unsigned threads, blocks;
};

/* wide: all pointers are aligned to 16 bytes, and packs do not cross the ends of rows. */
static inline struct body_shape body_shape_rows(size_t rows, int d, int pack, bool wide) {
    struct body_shape shape;
    shape.pack = wide && body_row_kept(d, pack) ? pack : 1;
    shape.kept = body_row_kept(d, shape.pack);
    shape.lanes = body_row_lanes(d, shape.pack);
    shape.threads = shape.lanes <= 32 ? 256u : (unsigned)shape.lanes;
    size_t at_once = shape.threads / (unsigned)shape.lanes;
    shape.blocks = (unsigned)((rows + at_once - 1) / at_once);
    return shape;
}

/* One lane of one row. */
struct body_row {
    enum sdt_dtype dtype;
    int pack;
    bool kept;
    int lane, lanes, d; /* d: 0 for a row that is not there; a multiple of pack */
    const void *x;      /* [.., d] */
    size_t start;       /* of the row in x */
    float *keep; /* [SDT_KEEP * SDT_PACK], the lane's own; apart, or it would not be in registers */
};

SDT_BODY int body_row_steps(const struct body_row *row) {
    int stride = row->lanes * row->pack;
    return row->kept ? SDT_KEEP : (row->d + stride - 1) / stride;
}

/* The first element of pack `step` of the lane; at or beyond d: none. */
SDT_BODY int body_row_element(const struct body_row *row, int step) {
    return (row->lane + step * row->lanes) * row->pack;
}

SDT_BODY void body_row_begin(struct body_row *row, enum sdt_dtype dtype, int pack, bool kept,
                             int lane, int lanes, int d, const void *x, size_t start, float *keep) {
    row->dtype = dtype;
    row->pack = pack;
    row->kept = kept;
    row->lane = lane;
    row->lanes = lanes;
    row->d = d;
    row->x = x;
    row->start = start;
    row->keep = keep;
    if (kept) {
        SDT_UNROLL
        for (int step = 0; step < SDT_KEEP; step++) {
            int i = body_row_element(row, step);
            if (i < d)
                body_load(dtype, pack, x, start + i, keep + step * pack);
        }
    }
}

SDT_BODY void body_row_pack(const struct body_row *row, int step, float *v /* [pack] */) {
    if (!row->kept) {
        body_load(row->dtype, row->pack, row->x, row->start + body_row_element(row, step), v);
        return;
    }
    SDT_UNROLL
    for (int j = 0; j < row->pack; j++)
        v[j] = row->keep[step * row->pack + j];
}

/* The lane's part of the sum of x */
SDT_BODY float body_row_sum(const struct body_row *row) {
    float v[SDT_PACK], sum = 0.f;
    SDT_UNROLL
    for (int step = 0; step < body_row_steps(row); step++)
        if (body_row_element(row, step) < row->d) {
            body_row_pack(row, step, v);
            SDT_UNROLL
            for (int j = 0; j < row->pack; j++)
                sum += v[j];
        }
    return sum;
}

/* ... of (x - shift)^2 */
SDT_BODY float body_row_squares(const struct body_row *row, float shift) {
    float v[SDT_PACK], sum = 0.f;
    SDT_UNROLL
    for (int step = 0; step < body_row_steps(row); step++)
        if (body_row_element(row, step) < row->d) {
            body_row_pack(row, step, v);
            SDT_UNROLL
            for (int j = 0; j < row->pack; j++)
                sum += (v[j] - shift) * (v[j] - shift);
        }
    return sum;
}

/* What the squares of a row of d come to: 1 / sqrt(mean + eps) */
SDT_BODY float body_inverse(float squares, int d, float eps) {
    return 1.f / sqrtf(squares / (float)d + eps);
}

struct body_layer_norm {
    int rows, d;
    const void *x; /* [rows, d] */
    float eps;
    const float *weight, *bias;                         /* [d] or both NULL */
    const float *scale_a, *scale_b, *shift_a, *shift_b; /* [d] or NULL */
    void *y;                                            /* [rows, d], may be x */
};

/* v += p[i..] unless p is NULL */
SDT_BODY void body_add_vector(int pack, const float *p, int i, float *v /* [pack] */) {
    if (!p)
        return;
    float w[SDT_PACK];
    body_load(SDT_F32, pack, p, i, w);
    SDT_UNROLL
    for (int j = 0; j < pack; j++)
        v[j] += w[j];
}

SDT_BODY void body_layer_norm_end(const struct body_layer_norm *a, const struct body_row *row,
                                  float mean, float inverse) {
    float v[SDT_PACK], scale[SDT_PACK], shift[SDT_PACK];
    int pack = row->pack;
    SDT_UNROLL
    for (int step = 0; step < body_row_steps(row); step++) {
        int i = body_row_element(row, step);
        if (i < row->d) {
            body_row_pack(row, step, v);
            SDT_UNROLL
            for (int j = 0; j < pack; j++)
                v[j] = (v[j] - mean) * inverse;
            if (a->weight) {
                body_load(SDT_F32, pack, a->weight, i, scale);
                body_load(SDT_F32, pack, a->bias, i, shift);
                SDT_UNROLL
                for (int j = 0; j < pack; j++)
                    v[j] = v[j] * scale[j] + shift[j];
            }
            SDT_UNROLL
            for (int j = 0; j < pack; j++) {
                scale[j] = 1.f;
                shift[j] = 0.f;
            }
            body_add_vector(pack, a->scale_a, i, scale);
            body_add_vector(pack, a->scale_b, i, scale);
            body_add_vector(pack, a->shift_a, i, shift);
            body_add_vector(pack, a->shift_b, i, shift);
            SDT_UNROLL
            for (int j = 0; j < pack; j++)
                v[j] = v[j] * scale[j] + shift[j];
            body_store(row->dtype, pack, a->y, row->start + i, v);
        }
    }
}

struct body_rms_norm {
    int rows, d;
    const void *x; /* [rows, d] */
    float eps;
    const float *weight; /* [d] */
    void *y;             /* [rows, d] of type y_dtype, may be x */
};

SDT_BODY void body_rms_norm_end(const struct body_rms_norm *a, const struct body_row *row,
                                enum sdt_dtype y_dtype, float inverse) {
    float v[SDT_PACK], weight[SDT_PACK];
    SDT_UNROLL
    for (int step = 0; step < body_row_steps(row); step++) {
        int i = body_row_element(row, step);
        if (i < row->d) {
            body_row_pack(row, step, v);
            body_load(SDT_F32, row->pack, a->weight, i, weight);
            SDT_UNROLL
            for (int j = 0; j < row->pack; j++)
                v[j] = v[j] * inverse * weight[j];
            body_store(y_dtype, row->pack, a->y, row->start + i, v);
        }
    }
}

struct body_channel_norm {
    size_t pixels;
    int channels;
    const void *x;      /* [pixels, C] */
    const float *gamma; /* [C] */
    int silu;
    void *y; /* [pixels, C], may be x */
};

SDT_BODY float body_channel_factor(float squares, int channels) {
    return sqrtf((float)channels) / fmaxf(sqrtf(squares), 1e-12f);
}

SDT_BODY void body_channel_norm_end(const struct body_channel_norm *a, const struct body_row *row,
                                    float factor) {
    float v[SDT_PACK], gamma[SDT_PACK];
    SDT_UNROLL
    for (int step = 0; step < body_row_steps(row); step++) {
        int i = body_row_element(row, step);
        if (i < row->d) {
            body_row_pack(row, step, v);
            body_load(SDT_F32, row->pack, a->gamma, i, gamma);
            SDT_UNROLL
            for (int j = 0; j < row->pack; j++) {
                float z = v[j] * factor * gamma[j];
                v[j] = a->silu ? body_silu(z) : z;
            }
            body_store(row->dtype, row->pack, a->y, row->start + i, v);
        }
    }
}

struct body_channel_layer_norm {
    size_t pixels;
    int channels;
    float eps;
    const void *x;              /* [pixels, C] */
    const float *weight, *bias; /* [C] */
    int silu;
    void *y; /* [pixels, C], may be x */
};

SDT_BODY void body_channel_layer_norm_end(const struct body_channel_layer_norm *a,
                                          const struct body_row *row, float mean, float inverse) {
    float v[SDT_PACK], weight[SDT_PACK], bias[SDT_PACK];
    SDT_UNROLL
    for (int step = 0; step < body_row_steps(row); step++) {
        int i = body_row_element(row, step);
        if (i < row->d) {
            body_row_pack(row, step, v);
            body_load(SDT_F32, row->pack, a->weight, i, weight);
            body_load(SDT_F32, row->pack, a->bias, i, bias);
            SDT_UNROLL
            for (int j = 0; j < row->pack; j++) {
                float z = (v[j] - mean) * inverse * weight[j] + bias[j];
                v[j] = a->silu ? body_silu(z) : z;
            }
            body_store(row->dtype, row->pack, a->y, row->start + i, v);
        }
    }
}

/* ---- heads ----------------------------------------------------------------------------------- */

/* The piece that holds head h, head[0] <= h < head[pieces]; pieces may be empty. */
SDT_BODY int body_piece(int pieces, const int *head /* [pieces + 1] */, int h) {
    int low = 0, high = pieces; /* head[low] <= h < head[high] */
    while (high - low > 1) {
        int middle = (low + high) / 2;
        if (head[middle] <= h)
            low = middle;
        else
            high = middle;
    }
    return low;
}

/* Some pieces of the split of a tile by heads; the norm is over the whole row all the same. */
struct body_split {
    int rows, valid_rows, heads, e;
    const void *x;       /* [rows, h*e] */
    const float *weight; /* [h*e] or NULL */
    float eps;
    struct sdt_rope rope;
    const float *table; /* or NULL */
    int64_t first_token;
    int pieces;
    int head[SDT_CUDA_PIECES + 1];
    void *y[SDT_CUDA_PIECES]; /* [pieces] -> [heads of p, rows, e] */
};

/* Where the cosines and sines of a token lie, per axis. */
struct body_turns {
    const float *axis[3]; /* [pairs, 2 (cos, sin)] */
    int pairs[3];
};

SDT_BODY void body_turns_of(const struct body_split *a, int r, struct body_turns *turns) {
    const struct sdt_rope *rope = &a->rope;
    uint32_t token = (uint32_t)(a->first_token + r);
    uint32_t across = (uint32_t)rope->size[2], down = (uint32_t)rope->size[1];
    uint32_t line = token / across, frame = line / down;
    const float *table = a->table;
    turns->axis[0] = table + (size_t)frame * rope->pairs[0] * 2;
    table += (size_t)rope->size[0] * rope->pairs[0] * 2;
    turns->axis[1] = table + (size_t)(line - frame * down) * rope->pairs[1] * 2;
    table += (size_t)rope->size[1] * rope->pairs[1] * 2;
    turns->axis[2] = table + (size_t)(token - line * across) * rope->pairs[2] * 2;
    SDT_UNROLL
    for (int axis = 0; axis < 3; axis++)
        turns->pairs[axis] = rope->pairs[axis];
}

/* Cosine and sine of pair i of a head. */
SDT_BODY void body_turn(const struct body_turns *turns, int i, float *cosine, float *sine) {
    const float *at = turns->axis[0] + 2 * i;
    if (i >= turns->pairs[0]) {
        i -= turns->pairs[0];
        at = i < turns->pairs[1] ? turns->axis[1] + 2 * i
                                 : turns->axis[2] + 2 * (i - turns->pairs[1]);
    }
#ifdef __CUDA_ARCH__
    float2 both = *(const float2 *)at; /* the table starts aligned and holds pairs only */
    *cosine = both.x;
    *sine = both.y;
#else
    *cosine = at[0];
    *sine = at[1];
#endif
}

/* v *= inverse weight[i..] unless weight is NULL */
SDT_BODY void body_split_norm(const struct body_split *a, int pack, int i, float inverse,
                              float *v /* [pack] */) {
    if (!a->weight)
        return;
    float weight[SDT_PACK];
    body_load(SDT_F32, pack, a->weight, i, weight);
    SDT_UNROLL
    for (int j = 0; j < pack; j++)
        v[j] = v[j] * inverse * weight[j];
}

/* Turns a pack at column c of a head, element i of the row, where pairs are in halves: its partners
 * are read again. */
SDT_BODY void body_turn_halves(const struct body_split *a, const struct body_row *row,
                               const struct body_turns *turns, int i, int c, float inverse,
                               float *v /* [pack] */) {
    SDT_UNROLL
    for (int j = 0; j < row->pack; j++) {
        int start = 0, column = c + j, pairs = turns->pairs[0];
        const float *at = turns->axis[0];
        SDT_UNROLL
        for (int axis = 1; axis < 3; axis++)
            if (column >= start + 2 * pairs) {
                start += 2 * pairs;
                pairs = turns->pairs[axis];
                at = turns->axis[axis];
            }
        bool second = column >= start + pairs;
        int other_at = i + j + (second ? -pairs : pairs);
        int pair = column - start - (second ? pairs : 0);
        float other;
        body_load(row->dtype, 1, row->x, row->start + other_at, &other);
        body_split_norm(a, 1, other_at, inverse, &other);
        v[j] = v[j] * at[2 * pair] + (second ? other : -other) * at[2 * pair + 1];
    }
}

/* Writes the lane's packs of row r; a pack lies within one head. `inverse` is not used without a
 * weight. halves: the rope's, a constant, since they take more registers. */
SDT_BODY void body_split_end(const struct body_split *a, const struct body_row *row, int r,
                             float inverse, bool halves) {
    struct body_turns turns = {{0}, {0}}; /* read with a table only, which compilers cannot see */
    int pack = row->pack, first = a->head[0], last = a->head[a->pieces];
    bool valid = r < a->valid_rows;
    if (a->table && valid)
        body_turns_of(a, r, &turns);
    SDT_UNROLL
    for (int step = 0; step < body_row_steps(row); step++) {
        int i = body_row_element(row, step), h = i / a->e, c = i - h * a->e;
        if (i < row->d && h >= first && h < last) {
            float v[SDT_PACK];
            body_row_pack(row, step, v);
            body_split_norm(a, pack, i, inverse, v);
            if (a->table && valid && halves) {
                body_turn_halves(a, row, &turns, i, c, inverse, v);
            } else if (a->table && valid && pack > 1) {
                SDT_UNROLL
                for (int j = 0; j < pack; j += 2) {
                    float cosine, sine, x = v[j], y = v[j + 1];
                    body_turn(&turns, (c + j) / 2, &cosine, &sine);
                    v[j] = x * cosine - y * sine;
                    v[j + 1] = x * sine + y * cosine;
                }
            } else if (a->table && valid) {
                float cosine, sine, other;
                body_load(row->dtype, 1, row->x, row->start + (i ^ 1), &other);
                body_split_norm(a, 1, i ^ 1, inverse, &other);
                body_turn(&turns, c / 2, &cosine, &sine);
                v[0] = v[0] * cosine + (c % 2 == 0 ? -other : other) * sine;
            }
            SDT_UNROLL
            for (int j = 0; j < pack; j++)
                v[j] = valid ? v[j] : 0.f;
            int p = body_piece(a->pieces, a->head, h);
            body_store(row->dtype, pack, a->y[p],
                       ((size_t)(h - a->head[p]) * a->rows + r) * a->e + c, v);
        }
    }
}

/* Some pieces of a merge. */
struct body_merge {
    int rows, heads, e, pieces;
    int head[SDT_CUDA_PIECES + 1];
    const void *x[SDT_CUDA_PIECES]; /* [pieces] -> [heads of p, rows, e] */
    void *y;                        /* [rows, h*e] */
};

/* The pack at column i of row r, head[0] * e <= i < head[pieces] * e */
SDT_BODY void body_merge_pack(const struct body_merge *a, enum sdt_dtype dtype, int pack, int r,
                              int i) {
    int h = i / a->e, p = body_piece(a->pieces, a->head, h);
    body_copy(dtype, pack, a->x[p],
              ((size_t)(h - a->head[p]) * a->rows + r) * a->e + (i - h * a->e), a->y,
              (size_t)r * a->heads * a->e + i);
}

/* The pieces of `count` tiles from tile `first` on, of `tiles`. */
struct body_gather {
    int first, count, heads;
    struct sdt_gather to;
    const void *x[SDT_CUDA_PIECES]; /* [count] -> [heads, block] */
    void *y;                        /* [heads, stride] */
};

/* Do packs of elements fall on the same places in pieces and result? */
SDT_BODY bool body_gather_whole(const struct sdt_gather *to, int pack) {
    return to->block % (size_t)pack == 0 && to->stride % (size_t)pack == 0 &&
           to->skip % (size_t)pack == 0 && to->before % (size_t)pack == 0 &&
           to->end % (size_t)pack == 0;
}

/* The pack at element i of a block */
SDT_BODY void body_gather_pack(const struct body_gather *a, enum sdt_dtype dtype, int pack, int t,
                               int h, size_t i) {
    const struct sdt_gather *to = &a->to;
    int tile = to->first + a->first + t;
    size_t at = (size_t)tile * to->block - (tile >= to->split ? to->skip : 0);
    size_t piece = tile == to->last && to->end ? to->end : to->block;
    size_t count = piece;
    if (tile == to->split - 1) {
        piece = to->before ? to->before : to->block;
        count = to->block - to->skip;
    }
    if (i < count && at + i < to->stride)
        body_copy(dtype, pack, a->x[t], (size_t)h * piece + i, a->y,
                  (size_t)h * to->stride + at + i);
}

struct body_copy_part {
    struct sdt_copy_part part;
    const void *x; /* [heads, x_stride] */
    void *y;       /* [heads, y_stride] */
};

/* Does each head's part begin and end at packs? */
SDT_BODY bool body_copy_part_whole(const struct sdt_copy_part *part, int pack) {
    return part->count % (size_t)pack == 0 && part->x_stride % (size_t)pack == 0 &&
           part->x_at % (size_t)pack == 0 && part->y_stride % (size_t)pack == 0 &&
           part->y_at % (size_t)pack == 0;
}

/* The pack at element i of a head's part */
SDT_BODY void body_copy_part_pack(const struct body_copy_part *a, enum sdt_dtype dtype, int pack,
                                  int h, size_t i) {
    const struct sdt_copy_part *part = &a->part;
    body_copy(dtype, pack, a->x, (size_t)h * part->x_stride + part->x_at + i, a->y,
              (size_t)h * part->y_stride + part->y_at + i);
}
#endif

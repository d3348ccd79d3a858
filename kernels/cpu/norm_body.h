/* Norms over a token's row (layer norm with its modulation, RMS norm) and over a pixel's channels.
 *
 * A row is written while the sums over the next one are taken, which bring it into the nearest
 * cache: reads and writes overlap as in a copy. Rows of which it does not hold two are taken one
 * by one. A row's bits do not depend on that, nor on which rows come with it. */

enum { NORM_NEAR = 2048 /* the longest of which two are held */, NORM_LONG = 8192 };

/* ---- layer norm ------------------------------------------------------------------------------ */

/* Sums over a row, by differences to the mean of its first 32 numbers: these sum up to so little
 * that their square takes no digits from the sum of squares. (However the row looks, the square of
 * what the two means differ by is at most d / 32 times the variance.) */
struct deviations {
    float about;
    vec sum[VEC_PARTS], square[VEC_PARTS];
};

VEC_INLINE void deviations_begin(struct deviations *s, size_t d, const float *x /* [d] */) {
    size_t few = d < 32 ? d : 32;
    *s = (struct deviations){.about = vec_sum_of(few, x) / (float)few};
}

VEC_INLINE void deviations_add(struct deviations *s, int part, const float *x, size_t left) {
    vec z = vec__within(vec_load(x, left) - vec_set(s->about), left);
    s->sum[part] += z;
    s->square[part] += z * z;
}

/* What a row is normalised by. */
struct moments {
    float mean, inverse; /* 1 / standard deviation */
};

VEC_INLINE struct moments deviations_end(const struct deviations *s, size_t d, float eps) {
    float rest = vec_sum_of_parts(s->sum) / (float)d;
    float variance = vec_sum_of_parts(s->square) / (float)d - rest * rest;
    return (struct moments){s->about + rest, 1.f / sqrtf(variance + eps)};
}

struct layer_norm {
    size_t d;
    float eps;
    const float *weight, *bias;                         /* [d] or NULL */
    const float *scale_a, *scale_b, *shift_a, *shift_b; /* [d] or NULL */
    const float *scale, *shift; /* [d]: their sums, 1 + scale_a + scale_b; not for long rows */
};

VEC_INLINE vec whole_scale(const struct layer_norm *a, size_t i, size_t left) {
    vec scale = vec_set(1.f);
    if (a->scale_a)
        scale += vec_load(a->scale_a + i, left);
    if (a->scale_b)
        scale += vec_load(a->scale_b + i, left);
    return scale;
}

VEC_INLINE vec whole_shift(const struct layer_norm *a, size_t i, size_t left) {
    vec shift = vec_set(0.f);
    if (a->shift_a)
        shift += vec_load(a->shift_a + i, left);
    if (a->shift_b)
        shift += vec_load(a->shift_b + i, left);
    return shift;
}

/* One row, and the sums over the next one; affine, added and more are constants wherever it is
 * inlined. */
VEC_INLINE struct moments layer_norm_row(int affine, int added, int more,
                                         const struct layer_norm *a, struct moments row,
                                         const float *x /* [2 if more, d] */, float *y /* [d] */) {
    size_t d = a->d;
    const float *weight = a->weight, *bias = a->bias, *scale = a->scale, *shift = a->shift;
    struct deviations next;
    if (more)
        deviations_begin(&next, d, x + d);
#define BODY(j, i, left)                                                                           \
    do {                                                                                           \
        if (more)                                                                                  \
            deviations_add(&next, j, x + d + (i), left);                                           \
        vec z = (vec_load(x + (i), left) - vec_set(row.mean)) * vec_set(row.inverse);              \
        if (affine)                                                                                \
            z = vec_multiply_add(z, vec_load(weight + (i), left), vec_load(bias + (i), left));     \
        if (added)                                                                                 \
            z = vec_multiply_add(z, vec_load(scale + (i), left), vec_load(shift + (i), left));     \
        else                                                                                       \
            z = vec_multiply_add(z, whole_scale(a, i, left), whole_shift(a, i, left));             \
        vec_store(y + (i), left, z);                                                               \
    } while (0)
    VEC_EACH_PART(d, BODY);
#undef BODY
    return more ? deviations_end(&next, d, a->eps) : row;
}

static struct moments moments_of(size_t d, const float *x /* [d] */, float eps) {
    struct deviations sums;
    deviations_begin(&sums, d, x);
#define BODY(j, i, left) deviations_add(&sums, j, x + (i), left)
    VEC_EACH_PART(d, BODY);
#undef BODY
    return deviations_end(&sums, d, eps);
}

VEC_INLINE void layer_norm_rows(int affine, int added, int rows, const struct layer_norm *a,
                                const float *x, float *y) {
    size_t d = a->d;
    struct moments row = moments_of(d, x, a->eps);
    for (; rows > 1; rows--, x += d, y += d)
        if (added && d <= NORM_NEAR) {
            row = layer_norm_row(affine, added, 1, a, row, x, y);
        } else {
            layer_norm_row(affine, added, 0, a, row, x, y);
            row = moments_of(d, x + d, a->eps);
        }
    layer_norm_row(affine, added, 0, a, row, x, y);
}

static void layer_norm(int rows, int d, const float *x, float eps, const float *weight,
                       const float *bias, const float *scale_a, const float *scale_b,
                       const float *shift_a, const float *shift_b, float *y) {
    float scale[NORM_LONG], shift[NORM_LONG];
    struct layer_norm a = {(size_t)d, eps,     weight,  bias,  scale_a,
                           scale_b,   shift_a, shift_b, scale, shift};
    if (rows < 1)
        return;
    if (d > NORM_LONG || rows == 1) {
        if (weight)
            layer_norm_rows(1, 0, rows, &a, x, y);
        else
            layer_norm_rows(0, 0, rows, &a, x, y);
        return;
    }
#define BODY(i, left)                                                                              \
    do {                                                                                           \
        vec_store(scale + (i), left, whole_scale(&a, i, left));                                    \
        vec_store(shift + (i), left, whole_shift(&a, i, left));                                    \
    } while (0)
    EACH_VECTOR(d, BODY);
#undef BODY
    if (weight)
        layer_norm_rows(1, 1, rows, &a, x, y);
    else
        layer_norm_rows(0, 1, rows, &a, x, y);
}

/* ---- RMS norm -------------------------------------------------------------------------------- */

/* One row, and the mean square of the next one; `more` is a constant wherever it is inlined. */
VEC_INLINE float rms_norm_row(int more, size_t d, const float *x /* [2 if more, d] */,
                              float inverse, const float *weight /* [d] */, float *y /* [d] */) {
    vec next[VEC_PARTS] = {{0}};
#define BODY(j, i, left)                                                                           \
    do {                                                                                           \
        if (more) {                                                                                \
            vec z = vec_load(x + d + (i), left);                                                   \
            next[j] += z * z;                                                                      \
        }                                                                                          \
        vec_store(y + (i), left,                                                                   \
                  vec_load(x + (i), left) * vec_set(inverse) * vec_load(weight + (i), left));      \
    } while (0)
    VEC_EACH_PART(d, BODY);
#undef BODY
    return more ? vec_sum_of_parts(next) / (float)d : 0.f;
}

static void rms_norm(int rows, int width, const float *x, float eps, const float *weight,
                     float *y) {
    size_t d = (size_t)width;
    if (rows < 1)
        return;
    float square = vec_sum_of_squares(d, x) / (float)d;
    for (; rows > 1; rows--, x += d, y += d)
        if (d <= NORM_NEAR) {
            square = rms_norm_row(1, d, x, 1.f / sqrtf(square + eps), weight, y);
        } else {
            rms_norm_row(0, d, x, 1.f / sqrtf(square + eps), weight, y);
            square = vec_sum_of_squares(d, x + d) / (float)d;
        }
    rms_norm_row(0, d, x, 1.f / sqrtf(square + eps), weight, y);
}

/* ---- channel norm ---------------------------------------------------------------------------- */

enum { NORM_PIXELS = 8 };

/* sqrt(C) / max(length, 1e-12), root being sqrt(C) */
VEC_INLINE float channel_factor(float squares, float root) {
    float length = sqrtf(squares);
    return root / (length > 1e-12f ? length : 1e-12f);
}

/* m pixels. A pixel's sum of squares keeps its relative precision in float, however small it is
 * above 1e-12: nothing cancels in it. */
VEC_INLINE void channel_norm_pixels(int m, int channels, const float *x /* [m, C] */,
                                    const float *gamma /* [C] */, int with_silu,
                                    float *y /* [m, C] */) {
    float squares[NORM_PIXELS], factor[NORM_PIXELS], root = sqrtf((float)channels);
    size_t c = (size_t)channels;
#pragma GCC unroll 8
    for (int p = 0; p < m; p++)
        squares[p] = vec_sum_of_squares(c, x + p * c);
#pragma GCC unroll 8
    for (int p = 0; p < m; p++)
        factor[p] = channel_factor(squares[p], root);
#define BODY(i, left)                                                                              \
    do {                                                                                           \
        vec z = vec_load(in + (i), left) * f * vec_load(gamma + (i), left);                        \
        vec_store(out + (i), left, with_silu ? vec_silu(z) : z);                                   \
    } while (0)
    for (int p = 0; p < m; p++) {
        const float *in = x + p * c;
        float *out = y + p * c;
        vec f = vec_set(factor[p]);
        EACH_VECTOR(c, BODY);
    }
#undef BODY
}

VEC_INLINE void channel_norm_all(size_t pixels, int channels, const float *x, const float *gamma,
                                 int with_silu, float *y) {
    size_t p = 0, step = NORM_PIXELS * (size_t)channels;
    for (; p + NORM_PIXELS <= pixels; p += NORM_PIXELS, x += step, y += step)
        channel_norm_pixels(NORM_PIXELS, channels, x, gamma, with_silu, y);
    for (; p < pixels; p++, x += channels, y += channels)
        channel_norm_pixels(1, channels, x, gamma, with_silu, y);
}

static void channel_norm(size_t pixels, int channels, const float *x, const float *gamma,
                         int with_silu, float *y) {
    if (with_silu)
        channel_norm_all(pixels, channels, x, gamma, 1, y);
    else
        channel_norm_all(pixels, channels, x, gamma, 0, y);
}

/* ---- channel layer norm ---------------------------------------------------------------------- */

struct channel_layer_norm {
    size_t channels;
    float eps;
    const float *weight, *bias; /* [C] */
};

/* One pixel, and the sums over the next one; with_silu and more are constants wherever it is
 * inlined. */
VEC_INLINE struct moments channel_layer_norm_pixel(int with_silu, int more,
                                                   const struct channel_layer_norm *a,
                                                   struct moments pixel,
                                                   const float *x /* [2 if more, C] */,
                                                   float *y /* [C] */) {
    size_t c = a->channels;
    struct deviations next;
    if (more)
        deviations_begin(&next, c, x + c);
#define BODY(j, i, left)                                                                           \
    do {                                                                                           \
        if (more)                                                                                  \
            deviations_add(&next, j, x + c + (i), left);                                           \
        vec z = (vec_load(x + (i), left) - vec_set(pixel.mean)) * vec_set(pixel.inverse);          \
        z = vec_multiply_add(z, vec_load(a->weight + (i), left), vec_load(a->bias + (i), left));   \
        vec_store(y + (i), left, with_silu ? vec_silu(z) : z);                                     \
    } while (0)
    VEC_EACH_PART(c, BODY);
#undef BODY
    return more ? deviations_end(&next, c, a->eps) : pixel;
}

VEC_INLINE void channel_layer_norm_all(int with_silu, size_t pixels,
                                       const struct channel_layer_norm *a, const float *x,
                                       float *y) {
    size_t c = a->channels;
    struct moments pixel = moments_of(c, x, a->eps);
    for (; pixels > 1; pixels--, x += c, y += c)
        if (c <= NORM_NEAR) {
            pixel = channel_layer_norm_pixel(with_silu, 1, a, pixel, x, y);
        } else {
            channel_layer_norm_pixel(with_silu, 0, a, pixel, x, y);
            pixel = moments_of(c, x + c, a->eps);
        }
    channel_layer_norm_pixel(with_silu, 0, a, pixel, x, y);
}

static void channel_layer_norm(size_t pixels, int channels, float eps, const float *x,
                               const float *weight, const float *bias, int with_silu, float *y) {
    struct channel_layer_norm a = {(size_t)channels, eps, weight, bias};
    if (pixels < 1)
        return;
    if (with_silu)
        channel_layer_norm_all(1, pixels, &a, x, y);
    else
        channel_layer_norm_all(0, pixels, &a, x, y);
}

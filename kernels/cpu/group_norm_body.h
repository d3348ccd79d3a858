/* GroupNorm over clips: sums over the pixels of a row, channel by channel, and the norm. */

/* ---- sums ------------------------------------------------------------------------------------ */

typedef double vecd __attribute__((vector_size(8 * LANES)));

/* Adds sums and sums of squares over a row, for each channel. In double, where the square of a
 * float is exact: bits are the same on every instruction set. */
static void row_sums(int width, int channels, const float *x, double *sums) {
#define BODY(i, left)                                                                              \
    do {                                                                                           \
        vecd sum = {0}, square = {0};                                                              \
        for (int p = 0; p < width; p++) {                                                          \
            vecd z =                                                                               \
                __builtin_convertvector(vec_load(x + (size_t)p * channels + (i), left), vecd);     \
            sum += z;                                                                              \
            square += z * z;                                                                       \
        }                                                                                          \
        for (size_t lane = 0; lane < (left); lane++) {                                             \
            sums[2 * ((i) + lane)] += sum[lane];                                                   \
            sums[2 * ((i) + lane) + 1] += square[lane];                                            \
        }                                                                                          \
    } while (0)
    EACH_VECTOR(channels, BODY);
#undef BODY
}

/* ---- norm ------------------------------------------------------------------------------------ */

enum { GROUP_CHANNELS = 1024 }; /* that are normalised at a time */

VEC_INLINE void group_norm_pixels(int with_silu, size_t pixels, size_t n, size_t stride,
                                  const float *x, const float *mean /* [n] */,
                                  const float *factor /* [n] */, const float *bias /* [n] */,
                                  float *y) {
#define BODY(i, left)                                                                              \
    do {                                                                                           \
        vec z = vec_load(in + (i), left) - vec_load(mean + (i), left);                             \
        z = vec_multiply_add(z, vec_load(factor + (i), left), vec_load(bias + (i), left));         \
        vec_store(out + (i), left, with_silu ? vec_silu(z) : z);                                   \
    } while (0)
    for (size_t p = 0; p < pixels; p++) {
        const float *in = x + p * stride;
        float *out = y + p * stride;
        EACH_VECTOR(n, BODY);
    }
#undef BODY
}

static void group_norm(size_t pixels, int channels, int groups, const float *x, const float *norm,
                       const float *weight, const float *bias, int with_silu, float *y) {
    float mean[GROUP_CHANNELS], factor[GROUP_CHANNELS];
    size_t all = (size_t)channels, of_group = all / (size_t)groups;
    for (size_t first = 0; first < all; first += GROUP_CHANNELS) {
        size_t n = all - first < GROUP_CHANNELS ? all - first : GROUP_CHANNELS;
        for (size_t c = 0; c < n; c++) {
            const float *group = norm + 2 * ((first + c) / of_group);
            mean[c] = group[0];
            factor[c] = group[1] * weight[first + c];
        }
        if (with_silu)
            group_norm_pixels(1, pixels, n, all, x + first, mean, factor, bias + first, y + first);
        else
            group_norm_pixels(0, pixels, n, all, x + first, mean, factor, bias + first, y + first);
    }
}

/* Is every number a number? One pass that reads, cheap beside whatever wrote the array. */

enum { FINITE_BLOCK = 1024 };

/* The sign bit of a lane: its number is an infinity or not a number, all bits of the exponent
 * being set. */
typedef uint32_t bits __attribute__((vector_size(4 * LANES)));
VEC_INLINE bits not_finite(vec x) { return ((bits)x & 0x7fffffffu) + 0x00800000u; }

static int block_is_finite(const float *x /* [FINITE_BLOCK] */) {
    bits bad[4] = {{0}};
    for (size_t i = 0; i < FINITE_BLOCK; i += 4 * LANES)
#pragma GCC unroll 4
        for (int j = 0; j < 4; j++)
            bad[j] |= not_finite(vec_load(x + i + j * LANES, LANES));
    bad[0] |= bad[1] | bad[2] | bad[3];
    uint32_t any = 0;
    for (int l = 0; l < LANES; l++)
        any |= bad[0][l];
    return any >> 31 == 0;
}

static size_t find_not_finite(size_t n, const float *x) {
    size_t i = 0;
    while (i + FINITE_BLOCK <= n && block_is_finite(x + i))
        i += FINITE_BLOCK;
    for (; i < n; i++)
        if (not_finite(vec_set(x[i]))[0] >> 31)
            return i;
    return n;
}

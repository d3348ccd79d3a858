/* The VAE's attention: one head over the pixels of one frame. Queries, keys and values may lie side
 * by side in the rows that one 1x1 convolution wrote. */
#include "kernels/cpu/attention.h"
#include "kernels/kernels.h"

#include <math.h>

/* Queries that share the keys' way into the cache. */
enum { QUERIES = 256 };

static int queries_of(int pixels) { return pixels < QUERIES ? pixels : QUERIES; }

void sdt_frame_attention(int pixels, int channels, int first, int rows, const float *q,
                         const float *k, const float *v, int ld, float *o, float *scratch) {
    for (int row = 0; row < rows; row += QUERIES) {
        struct sdt__attend attend = {.rows = queries_of(rows - row),
                                     .e = channels,
                                     .q = q + (first + row) * (ptrdiff_t)ld,
                                     .ldq = ld,
                                     .keys = pixels,
                                     .k = k,
                                     .v = v,
                                     .ldk = ld,
                                     .scale = 1.f / sqrtf((float)channels),
                                     .o = o + (ptrdiff_t)row * channels,
                                     .ldo = channels,
                                     .scratch = scratch};
        sdt__attend(&attend);
    }
}

size_t sdt_frame_attention_scratch(int pixels, int channels) {
    return sdt__attend_scratch(queries_of(pixels), channels, pixels);
}

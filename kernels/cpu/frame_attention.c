/* The VAE's attention: one head over the pixels of one frame, queries, keys and values side by side
 * in the row the 1x1 convolution wrote. */
#include "kernels/cpu/attention.h"
#include "kernels/kernels.h"

#include <math.h>

/* Queries that share the keys' way into the cache. */
enum { QUERIES = 256 };

static int queries_of(int pixels) { return pixels < QUERIES ? pixels : QUERIES; }

void sdt_frame_attention(int pixels, int channels, int first, int rows, const float *qkv, float *o,
                         float *scratch) {
    ptrdiff_t ld = 3 * (ptrdiff_t)channels;
    for (int row = 0; row < rows; row += QUERIES) {
        struct sdt__attend attend = {.rows = queries_of(rows - row),
                                     .e = channels,
                                     .q = qkv + (first + row) * ld,
                                     .ldq = ld,
                                     .keys = pixels,
                                     .k = qkv + channels,
                                     .v = qkv + 2 * channels,
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

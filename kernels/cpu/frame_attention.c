/* The VAE's attention: one head over the pixels of one frame, queries, keys and values side by side
 * in the row the 1x1 convolution wrote. */
#include "kernels/cpu/attention.h"
#include "kernels/kernels.h"

#include <math.h>

/* Queries and keys of one pair of tiles: its scores are 256 kB. */
enum { TILE = 256 };

void sdt_frame_attention(int pixels, int channels, const float *qkv, float *o, float *scratch) {
    int ld = 3 * channels;
    for (int first = 0; first < pixels; first += TILE)
        sdt__attend(pixels - first < TILE ? pixels - first : TILE, channels,
                    qkv + (size_t)first * ld, ld, TILE, pixels, qkv + channels, qkv + 2 * channels,
                    ld, (size_t)TILE * ld, 1.f / sqrtf((float)channels),
                    o + (size_t)first * channels, channels, NULL, scratch);
}

size_t sdt_frame_attention_scratch(int pixels, int channels) {
    (void)channels;
    return sdt__attend_scratch(pixels < TILE ? pixels : TILE, TILE);
}

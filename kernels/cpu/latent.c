/* The latent's other shapes: rows of tokens for the transformer, and channel-last windows of frames
 * for the decoder. Pure moves of small arrays (16 channels), so plain loops. */
#include "kernels/kernels.h"

#include <string.h>

/* Where run i of a token's vector lies in the latent. The vector's order is (C, pt, ph, pw), so
 * runs of pw floats are adjacent in both. */
static size_t run_place(const struct sdt_patch *patch, int64_t token, int i) {
    const int *size = patch->size;
    int across = patch->width / size[2], down = patch->height / size[1];
    int64_t y = token / across % down * size[1] + i % size[1];
    int64_t t = token / across / down * size[0] + i / size[1] % size[0];
    int64_t c = i / size[1] / size[0];
    return ((c * patch->frames + t) * patch->height + y) * patch->width + token % across * size[2];
}

static int run_count(const struct sdt_patch *patch) {
    return patch->channels * patch->size[0] * patch->size[1];
}

static int64_t token_count(const struct sdt_patch *patch) {
    return (int64_t)(patch->frames / patch->size[0]) * (patch->height / patch->size[1]) *
           (patch->width / patch->size[2]);
}

void sdt_patchify(const struct sdt_patch *patch, int64_t first, int rows, const float *latent,
                  float *y) {
    int64_t tokens = token_count(patch);
    int runs = run_count(patch), n = patch->size[2];
    for (int r = 0; r < rows; r++)
        for (int i = 0; i < runs; i++, y += n)
            if (first + r < tokens)
                memcpy(y, latent + run_place(patch, first + r, i), n * sizeof(float));
            else
                memset(y, 0, n * sizeof(float));
}

void sdt_unpatchify(const struct sdt_patch *patch, int64_t first, int rows, const float *x,
                    float *latent) {
    int64_t tokens = token_count(patch);
    int runs = run_count(patch), n = patch->size[2];
    for (int r = 0; r < rows && first + r < tokens; r++)
        for (int i = 0; i < runs; i++, x += n)
            memcpy(latent + run_place(patch, first + r, i), x, n * sizeof(float));
}

void sdt_patch_order(int rows, int channels, int patch, const float *x, float *y) {
    for (int r = 0; r < rows; r++, x += (size_t)channels * patch)
        for (int c = 0; c < channels; c++)
            for (int p = 0; p < patch; p++)
                *y++ = x[(size_t)p * channels + c];
}

void sdt_latent_window(const struct sdt_window *window, const float *latent, const float *std,
                       const float *mean, float *y) {
    int channels = window->channels, cols = window->cols;
    for (int t = 0; t < window->nframes; t++)
        for (int r = 0; r < window->rows; r++) {
            for (int c = 0; c < channels; c++) {
                size_t line = ((size_t)c * window->frames + window->frame0 + t) * window->height +
                              window->y0 + r;
                const float *in = latent + line * window->width + window->x0;
                for (int x = 0; x < cols; x++)
                    y[(size_t)x * channels + c] =
                        in[x] * (std ? std[c] : 1.f) + (mean ? mean[c] : 0.f);
            }
            y += (size_t)cols * channels;
        }
}

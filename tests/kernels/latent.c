/* Latents as tokens and as windows: every place recomputed from its definition, tiles that end
 * behind the last token, one latent frame. */
#include "kernels/reference.h"
#include "tests/kernels/check.h"

static void check_patches(struct sdt_patch patch, int rows) {
    const int *s = patch.size;
    int wp = patch.width / s[2], hp = patch.height / s[1], tp = patch.frames / s[0];
    int width = patch.channels * s[0] * s[1] * s[2], tokens = tp * hp * wp;
    int tiles = (tokens + rows - 1) / rows;
    size_t n = (size_t)patch.channels * patch.frames * patch.height * patch.width;
    float *latent = numbers(n, 1.f), *back = blank(n);
    float *got = blank((size_t)rows * width), *want = blank((size_t)rows * width);
    for (int tile = 0; tile < tiles; tile++) {
        for (int r = 0; r < rows; r++)
            for (int i = 0; i < width; i++) {
                int token = tile * rows + r, x = i % s[2], y = i / s[2] % s[1];
                int t = i / s[2] / s[1] % s[0], c = i / s[2] / s[1] / s[0];
                int frame = token / (wp * hp) * s[0] + t, line = token / wp % hp * s[1] + y;
                size_t at =
                    (((size_t)c * patch.frames + frame) * patch.height + line) * patch.width +
                    token % wp * s[2] + x;
                want[(size_t)r * width + i] = token < tokens ? latent[at] : 0.f;
            }
        sdt_patchify(&patch, (int64_t)tile * rows, rows, latent, got);
        check_bits((size_t)rows * width, got, want, "patchify, tile %d of %d", tile, tiles);
        sdt_unpatchify(&patch, (int64_t)tile * rows, rows, got, back);
    }
    check_bits(n, back, latent, "unpatchify of %d tokens by %d", tokens, rows);
    free(latent);
    free(back);
    free(got);
    free(want);
}

static void check_order(int rows, int channels, int patch) {
    size_t n = (size_t)rows * channels * patch;
    float *x = numbers(n, 1.f), *got = blank(n), *want = blank(n);
    for (int r = 0; r < rows; r++)
        for (int c = 0; c < channels; c++)
            for (int p = 0; p < patch; p++)
                want[((size_t)r * channels + c) * patch + p] =
                    x[((size_t)r * patch + p) * channels + c];
    sdt_patch_order(rows, channels, patch, x, got);
    check_bits(n, got, want, "patch order %d x %d x %d", rows, channels, patch);
    free(x);
    free(got);
    free(want);
}

static void check_window(struct sdt_window window, int scaled) {
    size_t n = (size_t)window.channels * window.frames * window.height * window.width;
    size_t m = (size_t)window.nframes * window.rows * window.cols * window.channels;
    float *latent = numbers(n, 1.f), *got = blank(m), *want = blank(m);
    float *std = scaled ? numbers(window.channels, 2.f) : NULL;
    float *mean = scaled ? numbers(window.channels, 1.f) : NULL;
    sdt_latent_window(&window, latent, std, mean, got);
    sdt_latent_window_reference(&window, latent, std, mean, want);
    check_near(m, got, want, scaled ? 1e-6 : 0., "window");
    free(latent);
    free(got);
    free(want);
    free(std);
    free(mean);
}

int main(void) {
    for (int rows = 1; rows <= 16; rows += 5) {
        check_patches((struct sdt_patch){4, 3, 10, 14, {1, 2, 2}}, rows);
        check_patches((struct sdt_patch){1, 1, 2, 2, {1, 2, 2}}, rows);
        check_patches((struct sdt_patch){16, 1, 6, 4, {1, 1, 1}}, rows);
        check_patches((struct sdt_patch){3, 4, 6, 9, {2, 2, 3}}, rows);
        check_order(rows, 16, 4);
        check_order(rows, 3, 1);
    }
    for (int scaled = 0; scaled < 2; scaled++) {
        check_window((struct sdt_window){4, 5, 6, 7, 0, 5, 0, 0, 6, 7}, scaled);
        check_window((struct sdt_window){16, 5, 6, 7, 2, 1, 1, 3, 4, 4}, scaled);
        check_window((struct sdt_window){3, 1, 1, 1, 0, 1, 0, 0, 1, 1}, scaled);
    }
    return check_end("latent");
}

/* stardit-bench kernels --device cuda: linear layers and convolutions. */
#include <stdio.h>
#include <string.h>

#include "bench/cuda_race.h"
#include "kernels/reference.h"

/* ---- linear layers --------------------------------------------------------------------------- */

enum { COLUMNS = 64 }; /* of the output that are checked */

void race_linear(struct race *race, int rows, int n, int k, enum sdt_epilogue epilogue,
                 bool residual) {
    const char *name = residual ? "linear_residual" : "linear";
    size_t nx = (size_t)rows * (size_t)k, nw = (size_t)n * (size_t)k, ny = (size_t)rows * (size_t)n;
    const float scale = 0.03125f;
    void *x = race_numbers(race, SDT_BF16, nx, 1, 1.f),
         *w = race_numbers(race, SDT_BF16, nw, 2, scale);
    void *bias = race_numbers(race, SDT_BF16, (size_t)n, 3, 1.f);
    float *gate = race_numbers(race, SDT_F32, (size_t)n, 4, 1.f);
    void *y = race_numbers(race, SDT_BF16, ny, 5, 1.f);
    void *plain = race_room(race, ny * 2);
    void *scratch = race_room(race, sdt_cuda_linear_residual_scratch(SDT_BF16, rows, n));
    float *hx = race_host_room(race, (size_t)k), *hw = race_host_room(race, (size_t)k * COLUMNS);
    float *got = race_host_room(race, RACE_EDGE * COLUMNS),
          *want = race_host_room(race, RACE_EDGE * COLUMNS);
    float vector[2][COLUMNS];
    char size[64];
    if (!race->why[0]) {
        race->rows = rows, race->n = n, race->k = k;
        race->x = x, race->w = w, race->y = plain;
        if (residual) { /* y grows with each pass: check the first one */
            race_check(race,
                       sdt_cuda_linear_residual(race->cuda, SDT_BF16, rows, n, k, x, w, bias, gate,
                                                NULL, y, scratch),
                       name);
            for (int r = 0; r < RACE_EDGE; r++)
                race_fetch(race, SDT_BF16, y, (size_t)(r ? rows - 1 : 0) * (size_t)n, COLUMNS,
                           got + r * COLUMNS);
        }
        race_begin(race, RACE_SAME_GEMM, 2. * rows * n * k);
        while (race_on(race))
            race_check(race,
                       residual ? sdt_cuda_linear_residual(race->cuda, SDT_BF16, rows, n, k, x, w,
                                                           bias, gate, NULL, y, scratch)
                                : sdt_cuda_linear(race->cuda, SDT_BF16, rows, n, k, x, w, bias,
                                                  epilogue, y),
                       name);
        race_host_values(race, 2, scale, 0, (size_t)k * COLUMNS, hw);
        race_host_values(race, 3, 1.f, 0, COLUMNS, vector[0]);
        race_host_values(race, 4, 1.f, 0, COLUMNS, vector[1]);
        for (int r = 0; r < RACE_EDGE; r++) {
            size_t row = r ? (size_t)rows - 1 : 0;
            race_host_values(race, 1, 1.f, row * (size_t)k, (size_t)k, hx);
            race_host_values(race, 5, 1.f, row * (size_t)n, COLUMNS, want + r * COLUMNS);
            if (residual) {
                sdt_linear_residual_reference(1, COLUMNS, k, hx, hw, vector[0], vector[1], NULL,
                                              want + r * COLUMNS);
            } else {
                sdt_linear_reference(1, COLUMNS, k, hx, hw, vector[0], epilogue,
                                     want + r * COLUMNS);
                race_fetch(race, SDT_BF16, y, row * (size_t)n, COLUMNS, got + r * COLUMNS);
            }
        }
        snprintf(size, sizeof size, "%d rows, %d -> %d%s", rows, k, n,
                 residual   ? ", gated"
                 : epilogue ? ", gelu"
                            : "");
        race_end(race, name, size, race_error(RACE_EDGE * COLUMNS, got, want), 6e-3);
    }
    race_clear(race);
}

/* ---- convolutions ---------------------------------------------------------------------------- */

/* The check redoes the top left and bottom right corners. */
enum { CORNER = 4 };

void race_conv(struct race *race, struct sdt_conv conv, bool own) {
    int scale = conv.upsample ? 2 : 1, rows = conv.height * scale, cols = conv.width * scale;
    size_t in = (size_t)conv.in, out = (size_t)conv.out, pixels = (size_t)rows * (size_t)cols;
    size_t frame = (size_t)conv.height * (size_t)conv.width * in;
    size_t depth = (size_t)(conv.kt * conv.ks * conv.ks) * in, line = CORNER * out;
    const float wscale = 0.03125f;
    const void *x[3] = {NULL};
    void *w = race_numbers(race, SDT_BF16, out * depth, 4, wscale),
         *y = race_room(race, pixels * out * 2);
    float *bias = race_numbers(race, SDT_F32, out, 5, 1.f);
    void *scratch = race_room(race, sdt_cuda_conv_frame_scratch(SDT_BF16, &conv));
    float *hw = race_host_room(race, out * depth), *hb = race_host_room(race, out), *hx[3];
    float *got = race_host_room(race, RACE_EDGE * line),
          *want = race_host_room(race, RACE_EDGE * line);
    float *corner = race_host_room(race, (size_t)(4 * (CORNER + 1) * (CORNER + 1)) * out);
    char size[64];
    /* A corner of the input with the pixels that its corner of the output sees. */
    int side = CORNER + 1, here = side < conv.height ? side : conv.height;
    int wide = side < conv.width ? side : conv.width;
    for (int t = 0; t < 3; t++) {
        hx[t] = race_host_room(race, (size_t)(here * wide) * in);
        if (t < conv.kt)
            x[t] = race_numbers(race, SDT_BF16, frame, (unsigned)t + 1, 1.f);
    }
    if (!race->why[0]) {
        sdt_cuda_prefer_own(race->cuda, own);
        race_begin(race, RACE_BIG_GEMM, 2. * (double)pixels * (double)out * (double)depth);
        while (race_on(race))
            race_check(
                race,
                sdt_cuda_conv_frame(race->cuda, SDT_BF16, &conv, x, w, bias, NULL, y, scratch),
                "convolution");
        race_host_values(race, 4, wscale, 0, out * depth, hw);
        race_host_values(race, 5, 1.f, 0, out, hb);
        for (int edge = 0; edge < RACE_EDGE; edge++) {
            struct sdt_conv part = conv;
            part.height = here;
            part.width = wide;
            int y0 = edge ? conv.height - here : 0, x0 = edge ? conv.width - wide : 0;
            for (int t = 0; t < conv.kt; t++)
                for (int r = 0; r < here; r++)
                    race_host_values(race, (unsigned)t + 1, 1.f,
                                     ((size_t)(y0 + r) * (size_t)conv.width + (size_t)x0) * in,
                                     (size_t)wide * in, hx[t] + (size_t)(r * wide) * in);
            sdt_conv_frame_reference(&part, (const float *const *)hx, hw, hb, NULL, corner);
            /* The outermost line of the frame, away from the cut sides of the part. */
            size_t row = edge ? (size_t)rows - 1 : 0, col = edge ? (size_t)cols - CORNER : 0;
            size_t prow = edge ? (size_t)(here * scale) - 1 : 0;
            size_t pcol = edge ? (size_t)(wide * scale - CORNER) : 0;
            race_fetch(race, SDT_BF16, y, (row * (size_t)cols + col) * out, line,
                       got + edge * line);
            memcpy(want + edge * line, corner + (prow * (size_t)(wide * scale) + pcol) * out,
                   line * sizeof *want);
        }
        sdt_cuda_prefer_own(race->cuda, false);
        snprintf(size, sizeof size, "%d -> %d, (%d,%d,%d), %d x %d%s%s", conv.in, conv.out, conv.kt,
                 conv.ks, conv.ks, rows, cols, conv.upsample ? " enlarged" : "", race_way(race));
        race_end(race, "conv_frame", size, race_error(RACE_EDGE * line, got, want), 6e-3);
    }
    race_clear(race);
}

void race_time_upsample(struct race *race, int height, int width, int channels, bool own) {
    size_t c = (size_t)channels, frame = (size_t)height * (size_t)width * c, nw = 6 * c * c;
    const float wscale = 0.03125f;
    const void *x[3];
    void *w = race_numbers(race, SDT_BF16, nw, 4, wscale), *y[2];
    float *bias = race_numbers(race, SDT_F32, 2 * c, 5, 1.f);
    void *scratch =
        race_room(race, sdt_cuda_time_upsample_scratch(SDT_BF16, height, width, channels));
    float *hw = race_host_room(race, nw), *hb = race_host_room(race, 2 * c), *hx[3];
    float *got = race_host_room(race, 2 * c), *want = race_host_room(race, 2 * c);
    char size[64];
    for (int t = 0; t < 3; t++) {
        x[t] = race_numbers(race, SDT_BF16, frame, (unsigned)t + 1, 1.f);
        hx[t] = race_host_room(race, c);
    }
    for (int i = 0; i < 2; i++)
        y[i] = race_room(race, frame * 2);
    if (!race->why[0]) {
        sdt_cuda_prefer_own(race->cuda, own);
        race_begin(race, RACE_BIG_GEMM, 12. * (double)frame * channels);
        while (race_on(race))
            race_check(race,
                       sdt_cuda_time_upsample(race->cuda, SDT_BF16, height, width, channels, x, w,
                                              bias, y[0], y[1], scratch),
                       "upsampling in time");
        race_host_values(race, 4, wscale, 0, nw, hw);
        race_host_values(race, 5, 1.f, 0, 2 * c, hb);
        for (int t = 0; t < 3; t++) /* a pixel sees only itself in the three frames */
            race_host_values(race, (unsigned)t + 1, 1.f, frame - c, c, hx[t]);
        sdt_time_upsample_reference(1, 1, channels, (const float *const *)hx, hw, hb, want,
                                    want + c);
        for (int i = 0; i < 2; i++)
            race_fetch(race, SDT_BF16, y[i], frame - c, c, got + (size_t)i * c);
        sdt_cuda_prefer_own(race->cuda, false);
        snprintf(size, sizeof size, "%d channels, %d x %d%s", channels, height, width,
                 race_way(race));
        race_end(race, "time_upsample", size, race_error(2 * c, got, want), 6e-3);
    }
    race_clear(race);
}

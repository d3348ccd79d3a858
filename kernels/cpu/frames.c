/* Decoded frames, [frames, height, width, 3] in -1..1: clamping, and the cross-fade where two
 * decoded tiles overlap. */
#include "kernels/kernels.h"

void sdt_clamp_frames(size_t n, float *x) {
    for (size_t i = 0; i < n; i++) {
        float low = x[i] < -1.f ? -1.f : x[i];
        x[i] = low > 1.f ? 1.f : low;
    }
}

/* b = a (1 - k/extent) + b (k/extent) over n neighbouring floats */
static void blend(int n, int k, int extent, const float *a /* [n] */, float *b /* [n] in place */) {
    float weight = (float)k / (float)extent;
    for (int i = 0; i < n; i++)
        b[i] = a[i] * (1.f - weight) + b[i] * weight;
}

void sdt_blend_rows(int frames, int width, int extent, int a_rows, const float *a, int b_rows,
                    float *b) {
    size_t line = (size_t)width * 3;
    for (int f = 0; f < frames; f++)
        for (int k = 0; k < extent; k++)
            blend((int)line, k, extent, a + ((size_t)f * a_rows + a_rows - extent + k) * line,
                  b + ((size_t)f * b_rows + k) * line);
}

void sdt_blend_columns(int frames, int rows, int extent, int a_width, const float *a, int b_width,
                       float *b) {
    for (int r = 0; r < frames * rows; r++)
        for (int k = 0; k < extent; k++)
            blend(3, k, extent, a + ((size_t)r * a_width + a_width - extent + k) * 3,
                  b + ((size_t)r * b_width + k) * 3);
}

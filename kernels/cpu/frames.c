/* Decoded frames, [frames, height, width, 3] in -1..1: clamping, and the cross-fade where two
 * decoded tiles overlap (frames_body.h). */
#include "kernels/cpu/vector_kernels.h"

void sdt_clamp_frames(size_t n, float *x) { sdt__vector_kernels()->clamp_frames(n, x); }

void sdt_blend_rows(int frames, int width, int extent, int a_rows, const float *a, int b_rows,
                    float *b) {
    sdt__vector_kernels()->blend_rows(frames, width, extent, a_rows, a, b_rows, b);
}

/* b = a (1 - k/extent) + b (k/extent) of one pixel */
static void blend(int k, int extent, const float *a /* [3] */, float *b /* [3] in place */) {
    float weight = (float)k / (float)extent;
    for (int i = 0; i < 3; i++)
        b[i] = a[i] * (1.f - weight) + b[i] * weight;
}

void sdt_blend_columns(int frames, int rows, int extent, int a_width, const float *a, int b_width,
                       float *b) {
    for (int r = 0; r < frames * rows; r++)
        for (int k = 0; k < extent; k++)
            blend(k, extent, a + ((size_t)r * a_width + a_width - extent + k) * 3,
                  b + ((size_t)r * b_width + k) * 3);
}

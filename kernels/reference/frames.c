/* Cross-fades, one value at a time. */
#include "kernels/reference.h"

void sdt_blend_rows_reference(int frames, int width, int extent, int a_rows, const float *a,
                              int b_rows, float *b) {
    for (int f = 0; f < frames; f++)
        for (int k = 0; k < extent; k++)
            for (int x = 0; x < 3 * width; x++) {
                double from = a[((size_t)f * a_rows + a_rows - extent + k) * 3 * width + x];
                float *to = b + ((size_t)f * b_rows + k) * 3 * width + x;
                *to = (float)(from * (1. - (double)k / extent) + *to * ((double)k / extent));
            }
}

void sdt_blend_columns_reference(int frames, int rows, int extent, int a_width, const float *a,
                                 int b_width, float *b) {
    for (int r = 0; r < frames * rows; r++)
        for (int k = 0; k < extent; k++)
            for (int c = 0; c < 3; c++) {
                double from = a[((size_t)r * a_width + a_width - extent + k) * 3 + c];
                float *to = b + ((size_t)r * b_width + k) * 3 + c;
                *to = (float)(from * (1. - (double)k / extent) + *to * ((double)k / extent));
            }
}

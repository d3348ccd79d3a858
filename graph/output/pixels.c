/* From floats in -1..1 to 8-bit RGB and to the YCbCr of video files. */
#include "graph/output/writer.h"

static uint8_t to_byte(float x) {
    /* x/2 + 1/2 in 255ths, rounded; exact in double: a fused multiply-add changes nothing. */
    const double value = (double)x * 127.5 + 128.0;

    if (!(value > 0.0))
        return 0;
    return value < 255.0 ? (uint8_t)value : 255;
}

void sdt__frame_rgb(const struct sdt_video *video, int frame, uint8_t *rgb) {
    const size_t n = (size_t)video->height * (size_t)video->width * 3;
    const float *pixels = video->pixels + (size_t)frame * n;

    for (size_t i = 0; i < n; i++)
        rgb[i] = to_byte(pixels[i]);
}

static int smaller(int a, int b) { return a < b ? a : b; }

/* The matrices below are BT.709's in 1/65536, from full-range RGB to luma 16..235 and chroma
 * 16..240; luma's row sums to 219/255 and chroma's rows to 0, so that greys stay grey. */
static uint8_t luma(const uint8_t *rgb /* [3] */) {
    return (uint8_t)(((11966 * rgb[0] + 40254 * rgb[1] + 4064 * rgb[2] + (1 << 15)) >> 16) + 16);
}

void sdt__rgb_to_yuv420(int height, int width, const uint8_t *rgb, const struct sdt__yuv420 *yuv) {
    const size_t row = (size_t)width * 3;

    for (int i = 0; i < yuv->height; i++) {
        const uint8_t *in = rgb + (size_t)smaller(i, height - 1) * row;
        uint8_t *out = yuv->plane[0] + i * yuv->row_stride[0];
        for (int j = 0; j < yuv->width; j++)
            out[j] = luma(in + (size_t)smaller(j, width - 1) * 3);
    }
    for (int i = 0; i < (yuv->height + 1) / 2; i++) {
        const uint8_t *upper = rgb + (size_t)smaller(2 * i, height - 1) * row;
        const uint8_t *lower = rgb + (size_t)smaller(2 * i + 1, height - 1) * row;
        uint8_t *cb = yuv->plane[1] + i * yuv->row_stride[1];
        uint8_t *cr = yuv->plane[2] + i * yuv->row_stride[2];
        for (int j = 0; j < (yuv->width + 1) / 2; j++) {
            const size_t left = (size_t)smaller(2 * j, width - 1) * 3;
            const size_t right = (size_t)smaller(2 * j + 1, width - 1) * 3;
            int sum[3]; /* of four pixels, hence 2 more bits to shift away */
            for (int c = 0; c < 3; c++)
                sum[c] = upper[left + c] + upper[right + c] + lower[left + c] + lower[right + c];
            const int middle = (128 << 18) + (1 << 17);
            cb[j] = (uint8_t)((-6596 * sum[0] - 22189 * sum[1] + 28785 * sum[2] + middle) >> 18);
            cr[j] = (uint8_t)((28785 * sum[0] - 26145 * sum[1] - 2640 * sum[2] + middle) >> 18);
        }
    }
}

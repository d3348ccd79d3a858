/* What the writers write, read back: y4m byte by byte, PNG and safetensors exactly, the contact
 * sheet, and the same bytes every time. */
#define _GNU_SOURCE

#include "stardit/safetensors.h"
#include "graph/output/writer.h"
#include "tests/output/check.h"

#include <png.h>

/* A PNG as RGB; caller frees. */
static uint8_t *read_png(const char *path, int *height, int *width) {
    png_image image = {.version = PNG_IMAGE_VERSION};
    uint8_t *rgb = NULL;

    *height = *width = 0;
    if (png_image_begin_read_from_file(&image, path)) {
        image.format = PNG_FORMAT_RGB;
        rgb = malloc(PNG_IMAGE_SIZE(image));
        *height = (int)image.height;
        *width = (int)image.width;
        if (!rgb || !png_image_finish_read(&image, NULL, rgb, 0, NULL)) {
            free(rgb);
            rgb = NULL;
        }
    }
    CHECK(rgb, "%s: %s", path, image.message);
    return rgb;
}

static void write_video(const struct sdt_video *video, const char *path, bool force) {
    struct sdt_error err = {.message = ""};
    CHECK(sdt_video_write(video, path, force, &err) == SDT_OK, "%s", err.message);
}

/* One frame of 2x2: upper row red, lower row blue and black.
 * Y: red 16 + 219 * 0.2126 = 62.56, blue 16 + 219 * 0.0722 = 31.81, black 16.
 * Mean R 1/2, B 1/4: luma 0.12435, Cb 128 + 224 (0.25 - 0.12435) / 1.8556 = 143.17,
 * Cr 128 + 224 (0.5 - 0.12435) / 1.5748 = 181.43. */
static void y4m_by_hand(void) {
    static const float pixels[] = {1, -1, -1, 1, -1, -1, -1, -1, 1, -1, -1, -1};
    static const char expected[] = "YUV4MPEG2 W2 H2 F16:1 Ip A1:1 C420jpeg\n"
                                   "FRAME\n\x3f\x3f\x20\x10\x8f\xb5";
    const struct sdt_video video = {
        .frames = 1, .height = 2, .width = 2, .fps = 16.0, .pixels = pixels};
    size_t size;

    write_video(&video, "hand.y4m", false);
    uint8_t *bytes = read_bytes("hand.y4m", &size);
    CHECK(bytes && size == sizeof expected - 1 && !memcmp(bytes, expected, size),
          "hand.y4m: %zu bytes, expected %zu, or other ones", size, sizeof expected - 1);
    free(bytes);
}

/* Sizes of planes where a side is odd, and the matrix against the formula in double. */
static void y4m_odd(int height, int width) {
    const struct sdt_video video = smooth_video(2, height, width, 24.0);
    const int chroma_height = (height + 1) / 2, chroma_width = (width + 1) / 2;
    const size_t plane = (size_t)height * (size_t)width;
    const size_t frame = plane + 2 * (size_t)chroma_height * (size_t)chroma_width;
    char header[100];
    size_t size;
    double worst = 0;

    write_video(&video, "odd.y4m", true);
    uint8_t *bytes = read_bytes("odd.y4m", &size);
    const int start = snprintf(header, sizeof header, "YUV4MPEG2 W%d H%d F24:1 Ip A1:1 C420jpeg\n",
                               width, height);
    if (!bytes || size != (size_t)start + 2 * (6 + frame) ||
        memcmp(bytes, header, (size_t)start) != 0) {
        CHECK(0, "odd.y4m %dx%d: %zu bytes, expected %zu", width, height, size,
              (size_t)start + 2 * (6 + frame));
        goto end;
    }
    const uint8_t *planes = bytes + (size_t)start + (6 + frame) + 6; /* of the second frame */
    const float *rgb = video.pixels + plane * 3;
    for (int i = 0; i < height; i++)
        for (int j = 0; j < width; j++) {
            const float *p = rgb + ((size_t)i * (size_t)width + (size_t)j) * 3;
            const double y = 16 + 219 / 255. *
                                      (0.2126 * expected_byte(p[0]) + 0.7152 * expected_byte(p[1]) +
                                       0.0722 * expected_byte(p[2]));
            worst = fmax(worst, fabs(y - planes[i * width + j]));
        }
    for (int i = 0; i < chroma_height; i++)
        for (int j = 0; j < chroma_width; j++) {
            double mean[3] = {0, 0, 0};
            for (int k = 0; k < 4; k++) {
                const int row = 2 * i + k / 2 < height ? 2 * i + k / 2 : height - 1;
                const int column = 2 * j + k % 2 < width ? 2 * j + k % 2 : width - 1;
                for (int c = 0; c < 3; c++)
                    mean[c] += expected_byte(rgb[(row * width + column) * 3 + c]) / 4.;
            }
            const double y = 0.2126 * mean[0] + 0.7152 * mean[1] + 0.0722 * mean[2];
            const double cb = 128 + 224 / 255. * (mean[2] - y) / 1.8556;
            const double cr = 128 + 224 / 255. * (mean[0] - y) / 1.5748;
            const uint8_t *chroma = planes + plane + i * chroma_width + j;
            worst = fmax(worst, fabs(cb - chroma[0]));
            worst = fmax(worst, fabs(cr - chroma[chroma_height * chroma_width]));
        }
    /* Half a step of rounding, and the matrix's own. */
    CHECK(worst < 0.51, "odd.y4m %dx%d: off by %g", width, height, worst);
end:
    free(bytes);
    free((float *)video.pixels);
}

static void frames(int height, int width) {
    struct sdt_video video = smooth_video(3, height, width, 16.0);
    float *pixels = (float *)video.pixels;
    char path[64];

    pixels[0] = -1.5f; /* clamped */
    pixels[1] = 7.0f;
    pixels[2] = (float)NAN;
    write_video(&video, "frames/", true);
    CHECK(count_entries("frames") == 3, "frames: %d files", count_entries("frames"));
    pixels[2] = -1.0f; /* what NaN is written as */
    for (int t = 0; t < video.frames; t++) {
        int h, w;
        size_t wrong = 0;
        snprintf(path, sizeof path, "frames/%05d.png", t);
        uint8_t *rgb = read_png(path, &h, &w);
        CHECK(h == height && w == width, "%s is %dx%d", path, w, h);
        for (size_t i = 0; rgb && h == height && w == width && i < (size_t)(h * w * 3); i++)
            wrong += rgb[i] != expected_byte(pixels[(size_t)t * (size_t)(h * w * 3) + i]);
        CHECK(wrong == 0, "%s: %zu values differ", path, wrong);
        free(rgb);
    }
    free(pixels);
}

static void tensor(void) {
    const struct sdt_video video = smooth_video(3, 5, 7, 16.0);
    struct sdt_safetensors *file = NULL;
    struct sdt_error err = {.message = ""};
    float *values = NULL;

    ((float *)video.pixels)[0] = 1.25f;
    write_video(&video, "video.safetensors", false);
    if (sdt_safetensors_open("video.safetensors", &file, &err) != SDT_OK) {
        CHECK(0, "%s", err.message);
        goto end;
    }
    const struct sdt_stored *stored = sdt_safetensors_find(file, "video");
    static const int64_t shape[] = {3, 3, 5, 7};
    if (sdt_safetensors_count(file) != 1 || !stored || stored->rank != 4 ||
        memcmp(stored->shape, shape, sizeof shape) != 0 || stored->dtype != SDT_F32 ||
        sdt_stored_floats(stored, &values, &err) != SDT_OK) {
        CHECK(0, "video.safetensors: not one tensor video, F32 [3, 3, 5, 7]");
        goto end;
    }
    for (size_t i = 0; i < 3 * 5 * 7; i++)
        for (size_t c = 0; c < 3; c++) {
            const float expected = fminf(video.pixels[i * 3 + c] * 0.5f + 0.5f, 1.0f);
            CHECK(values[c * 3 * 5 * 7 + i] == expected, "value %zu of channel %zu", i, c);
        }
end:
    free(values);
    sdt_safetensors_close(file);
    free((float *)video.pixels);
}

static void sheet(void) {
    const struct sdt_video video = smooth_video(9, 4, 6, 16.0);
    struct sdt_error err = {.message = ""};
    static const int shown[] = {0, 2, 4, 6, 8}; /* of 9 frames in 5 places */
    int h, w;
    uint8_t *rgb;

    /* 5 x 1 places, all used. */
    CHECK(sdt_video_write_sheet(&video, "sheet.png", 5, 1, 3, false, &err) == SDT_OK, "%s",
          err.message);
    rgb = read_png("sheet.png", &h, &w);
    CHECK(h == 12 && w == 90, "sheet.png is %dx%d", w, h);
    size_t wrong = 0;
    for (int i = 0; rgb && i < h; i++)
        for (int j = 0; j < w; j++)
            for (int c = 0; c < 3; c++) {
                const int frame = shown[j / 18];
                const float x = video.pixels[((frame * 4 + i / 3) * 6 + j % 18 / 3) * 3 + c];
                wrong += rgb[(i * w + j) * 3 + c] != expected_byte(x);
            }
    CHECK(wrong == 0, "sheet.png: %zu values differ", wrong);
    free(rgb);

    /* More places than frames: only as many rows as needed, the last one part black. */
    CHECK(sdt_video_write_sheet(&video, "sheet.png", 4, 10, 1, true, &err) == SDT_OK, "%s",
          err.message);
    rgb = read_png("sheet.png", &h, &w);
    CHECK(h == 12 && w == 24, "sheet.png is %dx%d", w, h);
    CHECK(rgb && rgb[(8 * w + 6) * 3] == 0 && rgb[8 * w * 3] == expected_byte(video.pixels[8 * 72]),
          "sheet.png: last row");
    free(rgb);

    CHECK(sdt_video_write_sheet(&video, "sheet.png", 4, 4, 1, false, &err) == SDT_ERROR_USAGE &&
              strstr(err.message, "--force"),
          "an existing sheet: %s", err.message);
    CHECK(sdt_video_write_sheet(&video, "sheet.jpg", 4, 4, 1, false, &err) == SDT_ERROR_USAGE,
          "sheet.jpg");
    CHECK(sdt_video_write_sheet(&video, "big.png", 4, 4, 1000000, false, &err) == SDT_ERROR_USAGE,
          "a sheet of 24 million columns");
    CHECK(sdt_video_write_sheet(&video, "none.png", 0, 4, 1, false, &err) == SDT_ERROR_USAGE,
          "a sheet without columns");
    free((float *)video.pixels);
}

static void twice(void) {
    static const char *const names[][2] = {
        {"a.y4m", "b.y4m"}, {"a.safetensors", "b.safetensors"}, {"a/", "b/"}};
    const struct sdt_video video = smooth_video(4, 10, 14, 23.976);

    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        write_video(&video, names[i][0], false);
        write_video(&video, names[i][1], false);
    }
    CHECK(same_bytes("a.y4m", "b.y4m"), "y4m: other bytes the second time");
    CHECK(same_bytes("a.safetensors", "b.safetensors"), "safetensors: other bytes");
    CHECK(same_bytes("a/00003.png", "b/00003.png"), "png: other bytes");
    free((float *)video.pixels);
}

static void frame_rates(void) {
    static const struct {
        double fps;
        int numerator, denominator; /* 0: refused */
    } rates[] = {
        {16, 16, 1},
        {24, 24, 1},
        {23.976, 24000, 1001},
        {29.97, 30000, 1001},
        {59.94, 60000, 1001},
        {30000.0 / 1001, 30000, 1001},
        {12.5, 25, 2},
        {0.01, 1, 100},
        {1.0 / 3, 1, 3},
        {1000, 1000, 1},
        {119.88, 2997, 25},
        {3.14159265358979, 355, 113},
        {0, 0, 0},
        {-1, 0, 0},
        {(double)NAN, 0, 0},
        {1001, 0, 0},
        {(double)INFINITY, 0, 0},
    };
    for (size_t i = 0; i < sizeof rates / sizeof *rates; i++) {
        int numerator = 0, denominator = 0;
        const enum sdt_status status =
            sdt__frame_rate(rates[i].fps, &numerator, &denominator, NULL);
        if (rates[i].fps > 3.1 && rates[i].fps < 3.2) { /* any near fraction will do */
            CHECK(status == SDT_OK && numerator <= 65535 && denominator <= 65535 &&
                      fabs((double)numerator / denominator - rates[i].fps) < 1e-6,
                  "fps pi is %d/%d", numerator, denominator);
            continue;
        }
        CHECK(status == (rates[i].numerator ? SDT_OK : SDT_ERROR_USAGE) &&
                  numerator == rates[i].numerator && denominator == rates[i].denominator,
              "fps %g is %d/%d", rates[i].fps, numerator, denominator);
    }
}

int main(void) {
    char folder[] = "output-XXXXXX";

    enter_folder(folder);
    y4m_by_hand();
    y4m_odd(7, 5);
    y4m_odd(6, 9);
    y4m_odd(1, 1);
    frames(6, 8);
    frames(5, 3);
    frames(1, 1);
    tensor();
    sheet();
    twice();
    frame_rates();
    leave_folder(folder);
    return failures != 0;
}

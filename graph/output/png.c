/* PNG: one picture, and a video as a folder of them. */
#include "graph/output/writer.h"

#include <errno.h>
#include <png.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum sdt_status sdt__write_png(int height, int width, const uint8_t *rgb, const char *file,
                               const char *name, struct sdt_error *err) {
    enum sdt_status status = SDT_OK;
    png_image image = {
        .version = PNG_IMAGE_VERSION,
        .width = (png_uint_32)width,
        .height = (png_uint_32)height,
        .format = PNG_FORMAT_RGB,
    };
    FILE *out = fopen(file, "wb");

    if (!out)
        return sdt_fail(err, SDT_ERROR_IO, "%s: %s", name, strerror(errno));
    errno = 0;
    if (!png_image_write_to_stdio(&image, out, 0, rgb, 0, NULL)) {
        /* libpng knows only that a write failed, the system knows why. */
        status = sdt_fail(err, SDT_ERROR_IO, "%s: %s", name,
                          errno != 0 ? strerror(errno) : image.message);
        png_image_free(&image);
    }
    if (fclose(out) != 0 && status == SDT_OK)
        status = sdt_fail(err, SDT_ERROR_IO, "%s: %s", name, strerror(errno));
    return status;
}

/* One frame as a picture. */
static enum sdt_status write_picture(const struct sdt_video *video, const char *file,
                                     const char *name, struct sdt_error *err) {
    uint8_t *rgb = malloc((size_t)video->height * (size_t)video->width * 3);
    if (!rgb)
        return sdt_fail(err, SDT_ERROR_MEMORY, "%s: no memory for a frame of %dx%d", name,
                        video->width, video->height);
    sdt__frame_rgb(video, 0, rgb);
    enum sdt_status status = sdt__write_png(video->height, video->width, rgb, file, name, err);
    free(rgb);
    return status;
}

/* 00000.png and so on in the folder. */
static enum sdt_status write_frames(const struct sdt_video *video, const char *folder,
                                    const char *name, struct sdt_error *err) {
    enum sdt_status status = SDT_OK;
    const size_t size = strlen(folder) + 32;
    uint8_t *rgb = malloc((size_t)video->height * (size_t)video->width * 3);
    char *file = malloc(size);

    if (!rgb || !file)
        status = sdt_fail(err, SDT_ERROR_MEMORY, "%s: no memory for a frame of %dx%d", name,
                          video->width, video->height);
    for (int i = 0; status == SDT_OK && i < video->frames; i++) {
        sdt__frame_rgb(video, i, rgb);
        snprintf(file, size, "%s/%05d.png", folder, i);
        status = sdt__write_png(video->height, video->width, rgb, file, name, err);
    }
    free(rgb);
    free(file);
    return status;
}

const struct sdt__format sdt__format_png = {.ending = ".png",
                                            .note = "for one frame",
                                            .most_frames = 1,
                                            .timeless = true,
                                            .write = write_picture};
const struct sdt__format sdt__format_frames = {.timeless = true, .write = write_frames};

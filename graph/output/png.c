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
struct frames {
    const char *name;
    char *file;
    size_t folder; /* length of its path */
    uint8_t *rgb;
};

enum { NUMBER = 32 };

static enum sdt_status open_frames(const struct sdt_video *video, const char *folder,
                                   const char *name, void **writer, struct sdt_error *err) {
    struct frames *f = *writer = calloc(1, sizeof *f);
    if (f) {
        f->name = name;
        f->folder = strlen(folder);
        f->file = malloc(f->folder + NUMBER);
        f->rgb = malloc((size_t)video->height * (size_t)video->width * 3);
    }
    if (!f || !f->file || !f->rgb)
        return sdt_fail(err, SDT_ERROR_MEMORY, "%s: no memory for a frame of %dx%d", name,
                        video->width, video->height);
    memcpy(f->file, folder, f->folder);
    return SDT_OK;
}

static enum sdt_status add_frames(void *writer, const struct sdt_video *video, int first,
                                  int frames, struct sdt_error *err) {
    struct frames *f = writer;
    enum sdt_status status = SDT_OK;
    for (int i = 0; status == SDT_OK && i < frames; i++) {
        sdt__frame_rgb(video, i, f->rgb);
        snprintf(f->file + f->folder, NUMBER, "/%05d.png", first + i);
        status = sdt__write_png(video->height, video->width, f->rgb, f->file, f->name, err);
    }
    return status;
}

static enum sdt_status close_frames(void *writer, bool whole, struct sdt_error *err) {
    struct frames *f = writer;
    (void)whole;
    (void)err;
    if (f) {
        free(f->rgb);
        free(f->file);
    }
    free(f);
    return SDT_OK;
}

const struct sdt__format sdt__format_png = {.ending = ".png",
                                            .note = "for one frame",
                                            .most_frames = 1,
                                            .timeless = true,
                                            .write = write_picture};
const struct sdt__format sdt__format_frames = {
    .timeless = true, .open = open_frames, .add = add_frames, .close = close_frames};

/* YUV4MPEG2: a line of text, then every frame's planes as they are. Needs no library, and mpv,
 * ffmpeg and x264 read it. */
#include "graph/output/writer.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct y4m {
    const char *name;
    FILE *out;
    uint8_t *rgb, *planes;
    size_t size; /* of the planes */
    struct sdt__yuv420 yuv;
};

/* file NULL: standard output. */
static enum sdt_status open_y4m(const struct sdt_video *video, const char *file, const char *name,
                                void **writer, struct sdt_error *err) {
    const size_t height = (size_t)video->height, width = (size_t)video->width;
    const size_t luma = height * width, chroma = (height + 1) / 2 * ((width + 1) / 2);
    const ptrdiff_t chroma_row = (ptrdiff_t)((width + 1) / 2);
    struct y4m *y = *writer = calloc(1, sizeof *y);
    int rate, base;

    if (!y)
        return sdt_fail(err, SDT_ERROR_MEMORY, "%s: out of memory", name);
    y->name = name;
    y->rgb = malloc(luma * 3);
    y->planes = malloc(luma + 2 * chroma);
    y->size = luma + 2 * chroma;
    enum sdt_status status = sdt__frame_rate(video->fps, &rate, &base, err);
    if (status != SDT_OK)
        return status;
    if (!y->rgb || !y->planes)
        return sdt_fail(err, SDT_ERROR_MEMORY, "%s: no memory for a frame of %dx%d", name,
                        video->width, video->height);
    y->yuv = (struct sdt__yuv420){
        .height = video->height,
        .width = video->width,
        .plane = {y->planes, y->planes + luma, y->planes + luma + chroma},
        .row_stride = {(ptrdiff_t)width, chroma_row, chroma_row},
    };
    y->out = file ? fopen(file, "wb") : fdopen(dup(STDOUT_FILENO), "wb");
    if (!y->out || fprintf(y->out, "YUV4MPEG2 W%d H%d F%d:%d Ip A1:1 C420jpeg\n", video->width,
                           video->height, rate, base) < 0)
        return sdt_fail(err, SDT_ERROR_IO, "%s: %s", name, strerror(errno));
    return SDT_OK;
}

static enum sdt_status add_y4m(void *writer, const struct sdt_video *video, int first, int frames,
                               struct sdt_error *err) {
    struct y4m *y = writer;
    (void)first;
    for (int i = 0; i < frames; i++) {
        sdt__frame_rgb(video, i, y->rgb);
        sdt__rgb_to_yuv420(video->height, video->width, y->rgb, &y->yuv);
        if (fputs("FRAME\n", y->out) < 0 || fwrite(y->planes, 1, y->size, y->out) != y->size)
            return sdt_fail(err, SDT_ERROR_IO, "%s: %s", y->name, strerror(errno));
    }
    return SDT_OK;
}

static enum sdt_status close_y4m(void *writer, bool whole, struct sdt_error *err) {
    struct y4m *y = writer;
    enum sdt_status status = SDT_OK;
    if (!y)
        return SDT_OK;
    if (y->out && fclose(y->out) != 0 && whole) /* a full disk may show only here */
        status = sdt_fail(err, SDT_ERROR_IO, "%s: %s", y->name, strerror(errno));
    free(y->rgb);
    free(y->planes);
    free(y);
    return status;
}

const struct sdt__format sdt__format_y4m = {
    .ending = ".y4m", .open = open_y4m, .add = add_y4m, .close = close_y4m};

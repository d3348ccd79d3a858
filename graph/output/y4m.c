/* YUV4MPEG2: a line of text, then every frame's planes as they are. Needs no library, and mpv,
 * ffmpeg and x264 read it. */
#include "graph/output/writer.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* file NULL: standard output. */
static enum sdt_status write_y4m(const struct sdt_video *video, const char *file, const char *name,
                                 struct sdt_error *err) {
    enum sdt_status status;
    const size_t height = (size_t)video->height, width = (size_t)video->width;
    const size_t luma = height * width, chroma = (height + 1) / 2 * ((width + 1) / 2);
    const ptrdiff_t chroma_row = (ptrdiff_t)((width + 1) / 2);
    uint8_t *rgb = malloc(luma * 3), *planes = malloc(luma + 2 * chroma);
    FILE *out = NULL;
    int rate, base;

    status = sdt__frame_rate(video->fps, &rate, &base, err);
    if (status != SDT_OK)
        goto end;
    if (!rgb || !planes) {
        status = sdt_fail(err, SDT_ERROR_MEMORY, "%s: no memory for a frame of %dx%d", name,
                          video->width, video->height);
        goto end;
    }
    const struct sdt__yuv420 yuv = {
        .height = video->height,
        .width = video->width,
        .plane = {planes, planes + luma, planes + luma + chroma},
        .row_stride = {(ptrdiff_t)width, chroma_row, chroma_row},
    };

    out = file ? fopen(file, "wb") : fdopen(dup(STDOUT_FILENO), "wb");
    if (!out)
        goto failed;
    if (fprintf(out, "YUV4MPEG2 W%d H%d F%d:%d Ip A1:1 C420jpeg\n", video->width, video->height,
                rate, base) < 0)
        goto failed;
    for (int i = 0; i < video->frames; i++) {
        sdt__frame_rgb(video, i, rgb);
        sdt__rgb_to_yuv420(video->height, video->width, rgb, &yuv);
        if (fputs("FRAME\n", out) < 0 ||
            fwrite(planes, 1, luma + 2 * chroma, out) != luma + 2 * chroma)
            goto failed;
    }
    const int closed = fclose(out); /* a full disk may show only here */
    out = NULL;
    if (closed == 0)
        goto end;
failed:
    status = sdt_fail(err, SDT_ERROR_IO, "%s: %s", name, strerror(errno));
end:
    if (out)
        fclose(out);
    free(rgb);
    free(planes);
    return status;
}

const struct sdt__format sdt__format_y4m = {.ending = ".y4m", .write = write_y4m};

/* Frames of a video as they come. */
#include "apps/stream.h"

#include <stdlib.h>
#include <string.h>

struct app_stream {
    struct sdt_video video;
    const char *path, *sheet;
    bool force;
    int columns, rows, scale;
    struct sdt_video_stream *out; /* NULL: not begun */
    float *shown;                 /* [columns * rows] frames of the sheet */
    struct sdt_error error;
};

struct app_stream *app_stream_new(const struct sdt_video *video, const char *path, bool force,
                                  const char *sheet, int columns, int scale) {
    struct app_stream *s = calloc(1, sizeof *s);
    if (!s)
        return NULL;
    *s = (struct app_stream){.video = *video,
                             .path = path,
                             .sheet = sheet,
                             .force = force,
                             .columns = columns,
                             .scale = scale};
    s->rows = (video->frames + columns - 1) / columns;
    s->rows = s->rows < columns ? s->rows : columns;
    return s;
}

static size_t frame_size(const struct app_stream *s) {
    return 3 * (size_t)s->video.height * (size_t)s->video.width;
}

static int shown_of(const struct app_stream *s) {
    int cells = s->columns * s->rows;
    return s->video.frames < cells ? s->video.frames : cells;
}

/* As sdt_video_write_sheet chooses them: evenly from the first to the last. */
static int frame_of(const struct app_stream *s, int i) {
    const int64_t gaps = shown_of(s) > 1 ? shown_of(s) - 1 : 1;
    return (int)(((int64_t)i * (s->video.frames - 1) * 2 + gaps) / (2 * gaps));
}

static void keep_shown(struct app_stream *s, int first, int count, const float *pixels) {
    const size_t size = frame_size(s);
    if (!s->shown)
        s->shown = malloc((size_t)shown_of(s) * size * sizeof *s->shown);
    if (!s->shown) {
        sdt_fail(&s->error, SDT_ERROR_MEMORY, "no memory for a contact sheet");
        return;
    }
    for (int i = 0; i < shown_of(s); i++) {
        int frame = frame_of(s, i) - first;
        if (frame >= 0 && frame < count)
            memcpy(s->shown + (size_t)i * size, pixels + (size_t)frame * size,
                   size * sizeof *s->shown);
    }
}

void app_stream_add(struct app_stream *s, int first, int count, const float *pixels) {
    if (s->error.status != SDT_OK)
        return;
    if (!s->out)
        sdt_video_stream_open(&s->video, s->path, s->force, &s->out, &s->error);
    if (s->out)
        sdt_video_stream_add(s->out, count, pixels, &s->error);
    if (s->sheet && s->error.status == SDT_OK)
        keep_shown(s, first, count, pixels);
}

enum sdt_status app_stream_end(struct app_stream *s, bool whole, struct sdt_error *err) {
    enum sdt_status status = s->error.status;
    if (whole && status == SDT_OK && s->out) {
        status = sdt_video_stream_close(s->out, &s->error);
        s->out = NULL;
    }
    sdt_video_stream_abandon(s->out);
    if (whole && status == SDT_OK && s->sheet) {
        struct sdt_video shown = s->video;
        shown.frames = shown_of(s);
        shown.pixels = s->shown;
        status = sdt_video_write_sheet(&shown, s->sheet, s->columns, s->rows, s->scale, s->force,
                                       &s->error);
    }
    if (whole && status != SDT_OK)
        *err = s->error;
    free(s->shown);
    free(s);
    return status;
}

/* Which format a path means, and what all of them have in common. */
#include "graph/output/writer.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

void sdt_video_endings(bool timed, char *text, size_t size) {
    size_t at = 0;
    text[0] = '\0';
    for (int i = 0; sdt__formats[i] && at < size; i++) {
        const struct sdt__format *format = sdt__formats[i];
        if (format->ending && !(timed && format->timeless))
            at += (size_t)snprintf(text + at, size - at, "%s%s%s%s", at ? ", " : "", format->ending,
                                   format->note ? " " : "", format->note ? format->note : "");
    }
}

static bool is_stdout(const char *path) { return !strcmp(path, "-"); }

static bool is_writable(int fd) {
    const int flags = fcntl(fd, F_GETFL);
    return flags >= 0 && (flags & O_ACCMODE) != O_RDONLY;
}

static enum sdt_status find_format(const char *path, const struct sdt__format **format,
                                   struct sdt_error *err) {
    if (is_stdout(path)) {
        *format = &sdt__format_y4m;
        return SDT_OK;
    }
    size_t length = strlen(path);
    const bool slash = length > 0 && path[length - 1] == '/';

    while (length > 0 && path[length - 1] == '/')
        length--;
    size_t start = length;
    while (start > 0 && path[start - 1] != '/')
        start--;
    const char *name = path + start; /* the last component */
    length -= start;

    if (length == 0 || (length == 1 && name[0] == '.') || (length == 2 && !strncmp(name, "..", 2)))
        return sdt_fail(err, SDT_ERROR_USAGE, "%s: give the output a name of its own",
                        path[0] ? path : "the empty output path");
    const char *dot = slash ? NULL : strrchr(name, '.');
    for (int i = 0; dot && sdt__formats[i]; i++)
        if (sdt__formats[i]->ending && strcasecmp(dot, sdt__formats[i]->ending) == 0) {
            if (dot == name)
                return sdt_fail(err, SDT_ERROR_USAGE, "%s: no name before the ending", path);
            *format = sdt__formats[i];
            return SDT_OK;
        }
    if (dot && dot != name) {
        char endings[200];
        sdt_video_endings(false, endings, sizeof endings);
        return sdt_fail(err, SDT_ERROR_USAGE,
                        "%s: unknown ending %s (%s, or a folder for PNG files: no ending or / at "
                        "the end)",
                        path, dot, endings);
    }
    *format = &sdt__format_frames;
    return SDT_OK;
}

static enum sdt__target_kind kind_of(const struct sdt__format *format) {
    return format->ending ? SDT__TARGET_FILE : SDT__TARGET_FOLDER;
}

static enum sdt_status check_path(const char *path, bool force, const struct sdt__format **format,
                                  struct sdt_error *err) {
    enum sdt_status status = find_format(path, format, err);

    if (status == SDT_OK && (*format)->check)
        status = (*format)->check(path, err);
    if (status == SDT_OK && is_stdout(path) && !is_writable(STDOUT_FILENO))
        return sdt_fail(err, SDT_ERROR_USAGE,
                        "-: standard output is closed; redirect it, or name a file");
    if (status == SDT_OK && is_stdout(path) && isatty(STDOUT_FILENO))
        status = sdt_fail(err, SDT_ERROR_USAGE,
                          "-: a y4m stream on a terminal; give a file, or a program that reads it");
    if (status == SDT_OK && !is_stdout(path))
        status = sdt__target_check(path, kind_of(*format), force, err);
    return status;
}

bool sdt_video_is_timed(const char *path) {
    const struct sdt__format *format;
    return find_format(path, &format, NULL) == SDT_OK && !format->timeless;
}

enum sdt_status sdt_video_check_path(const char *path, bool force, struct sdt_error *err) {
    const struct sdt__format *format;

    return check_path(path, force, &format, err);
}

/* A format's ending that takes the rate. */
static const char *ending_for(double fps) {
    for (int i = 0; sdt__formats[i]; i++)
        if (sdt__formats[i]->ending && !sdt__formats[i]->timeless &&
            !(sdt__formats[i]->most_fps > 0.0 && fps > sdt__formats[i]->most_fps))
            return sdt__formats[i]->ending;
    return sdt__format_y4m.ending;
}

static enum sdt_status check_rate(const struct sdt__format *format, const char *path, double fps,
                                  struct sdt_error *err) {
    if (format->most_fps > 0.0 && fps > format->most_fps)
        return sdt_fail(err, SDT_ERROR_USAGE,
                        "%s: %g frames a second; a %s holds at most %g; %s takes more", path, fps,
                        format->ending, format->most_fps, ending_for(fps));
    return SDT_OK;
}

enum sdt_status sdt_video_check_rate(const char *path, double fps, struct sdt_error *err) {
    const struct sdt__format *format;
    const enum sdt_status status = find_format(path, &format, err);
    return status == SDT_OK ? check_rate(format, path, fps, err) : status;
}

/* All frames at once. */
static enum sdt_status write_all(const struct sdt__format *format, const struct sdt_video *video,
                                 const char *file, const char *name, struct sdt_error *err) {
    void *writer = NULL;
    if (format->write)
        return format->write(video, file, name, err);
    enum sdt_status status = format->open(video, file, name, &writer, err);
    if (status == SDT_OK)
        status = format->add(writer, video, 0, video->frames, err);
    enum sdt_status closed = format->close(writer, status == SDT_OK, err);
    return status == SDT_OK ? closed : status;
}

enum sdt_status sdt_video_write(const struct sdt_video *video, const char *path, bool force,
                                struct sdt_error *err) {
    const struct sdt__format *format;
    char *partial = NULL;
    enum sdt_status status;

    if (video->frames < 1 || video->height < 1 || video->width < 1)
        return sdt_fail(err, SDT_ERROR_USAGE, "%s: a video of %d frames of %dx%d", path,
                        video->frames, video->width, video->height);
    status = check_path(path, force, &format, err);
    if (status == SDT_OK)
        status = check_rate(format, path, video->fps, err);
    if (status != SDT_OK)
        return status;
    if (is_stdout(path))
        return write_all(format, video, NULL, "standard output", err);
    if (format->most_frames > 0 && video->frames > format->most_frames) {
        int stem = (int)(strlen(path) - strlen(format->ending));
        return sdt_fail(err, SDT_ERROR_USAGE,
                        "%s: one %s holds one frame, not %d; a folder (%.*s/) would hold them",
                        path, format->ending, video->frames, stem, path);
    }
    if (format->itself)
        return write_all(format, video, path, path, err);

    status = sdt__target_begin(path, kind_of(format), &partial, err);
    if (status != SDT_OK)
        return status;
    status = write_all(format, video, partial, path, err);
    if (status == SDT_OK)
        return sdt__target_commit(partial, path, kind_of(format), force, err);
    sdt__target_abandon(partial, kind_of(format));
    return status;
}

/* ---- frames as they come --------------------------------------------------------------------- */

struct sdt_video_stream {
    const struct sdt__format *format;
    struct sdt_video video;
    char *path, *partial; /* partial NULL: standard output */
    bool force;
    int frames; /* that have come */
    void *writer;
};

bool sdt_video_streams(const char *path) {
    const struct sdt__format *format;
    return find_format(path, &format, NULL) == SDT_OK && format->add;
}

static void stream_free(struct sdt_video_stream *stream) {
    free(stream->path);
    free(stream);
}

enum sdt_status sdt_video_stream_open(const struct sdt_video *video, const char *path, bool force,
                                      struct sdt_video_stream **out, struct sdt_error *err) {
    const struct sdt__format *format;
    *out = NULL;
    if (video->frames < 1 || video->height < 1 || video->width < 1)
        return sdt_fail(err, SDT_ERROR_USAGE, "%s: a video of %d frames of %dx%d", path,
                        video->frames, video->width, video->height);
    enum sdt_status status = check_path(path, force, &format, err);
    if (status == SDT_OK)
        status = check_rate(format, path, video->fps, err);
    if (status != SDT_OK)
        return status;
    if (!format->add)
        return sdt_fail(err, SDT_ERROR_UNSUPPORTED, "%s: %s takes all frames at once", path,
                        format->ending);
    struct sdt_video_stream *stream = calloc(1, sizeof *stream);
    char *copy = strdup(path);
    if (!stream || !copy) {
        free(stream);
        free(copy);
        return sdt_fail(err, SDT_ERROR_MEMORY, "%s: out of memory", path);
    }
    *stream =
        (struct sdt_video_stream){.format = format, .video = *video, .path = copy, .force = force};
    if (!is_stdout(path))
        status = sdt__target_begin(path, kind_of(format), &stream->partial, err);
    if (status == SDT_OK)
        status = format->open(video, stream->partial, is_stdout(path) ? "standard output" : copy,
                              &stream->writer, err);
    if (status == SDT_OK)
        *out = stream;
    else
        sdt_video_stream_abandon(stream);
    return status;
}

enum sdt_status sdt_video_stream_add(struct sdt_video_stream *stream, int frames,
                                     const float *pixels, struct sdt_error *err) {
    if (frames > stream->video.frames - stream->frames)
        return sdt_fail(err, SDT_ERROR_USAGE, "%s: more than %d frames", stream->path,
                        stream->video.frames);
    stream->video.pixels = pixels;
    enum sdt_status status =
        stream->format->add(stream->writer, &stream->video, stream->frames, frames, err);
    stream->frames += frames;
    return status;
}

void sdt_video_stream_abandon(struct sdt_video_stream *stream) {
    if (!stream)
        return;
    if (stream->writer)
        stream->format->close(stream->writer, false, NULL);
    if (stream->partial)
        sdt__target_abandon(stream->partial, kind_of(stream->format));
    stream_free(stream);
}

enum sdt_status sdt_video_stream_close(struct sdt_video_stream *stream, struct sdt_error *err) {
    enum sdt_status status = SDT_OK;
    if (stream->frames < stream->video.frames)
        status = sdt_fail(err, SDT_ERROR_USAGE, "%s: %d of %d frames", stream->path, stream->frames,
                          stream->video.frames);
    if (status == SDT_OK) {
        status = stream->format->close(stream->writer, true, err);
        stream->writer = NULL;
    }
    if (status == SDT_OK && stream->partial) {
        status = sdt__target_commit(stream->partial, stream->path, kind_of(stream->format),
                                    stream->force, err);
        stream->partial = NULL;
    }
    if (status != SDT_OK)
        sdt_video_stream_abandon(stream);
    else
        stream_free(stream);
    return status;
}

/* Which writer a path means, and what all of them have in common. */
#include "graph/output/writer.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

enum format {
    FORMAT_MP4,
    FORMAT_WEBM,
    FORMAT_GIF,
    FORMAT_WEBP,
    FORMAT_Y4M,
    FORMAT_TENSOR,
    FORMAT_PNG,
    FORMAT_FRAMES,
    FORMAT_STDOUT /* y4m */
};

static const struct ending {
    const char *text;
    enum format format;
} endings[] = {
    {".mp4", FORMAT_MP4},
    {".webm", FORMAT_WEBM},
    {".gif", FORMAT_GIF},
    {".webp", FORMAT_WEBP},
    {".y4m", FORMAT_Y4M},
    {".png", FORMAT_PNG},
    {".safetensors", FORMAT_TENSOR},
};

static enum sdt_status find_format(const char *path, enum format *format, struct sdt_error *err) {
    if (!strcmp(path, "-")) {
        *format = FORMAT_STDOUT;
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
    for (size_t i = 0; dot && i < sizeof endings / sizeof *endings; i++)
        if (strcasecmp(dot, endings[i].text) == 0) {
            if (dot == name)
                return sdt_fail(err, SDT_ERROR_USAGE, "%s: no name before the ending", path);
            *format = endings[i].format;
            return SDT_OK;
        }
    if (dot && dot != name)
        return sdt_fail(
            err, SDT_ERROR_USAGE,
            "%s: unknown ending %s (.mp4, .webm, .gif, .webp, .y4m, .safetensors, .png for "
            "one frame, or a folder for PNG files: no ending or / at the end)",
            path, dot);
    *format = FORMAT_FRAMES;
    return SDT_OK;
}

static enum sdt__target_kind kind_of(enum format format) {
    return format == FORMAT_FRAMES ? SDT__TARGET_FOLDER : SDT__TARGET_FILE;
}

static bool is_film(enum format format) { return format <= FORMAT_WEBP; }

static enum sdt__film film_of(enum format format) {
    return format == FORMAT_MP4    ? SDT__FILM_MP4
           : format == FORMAT_WEBM ? SDT__FILM_WEBM
           : format == FORMAT_GIF  ? SDT__FILM_GIF
                                   : SDT__FILM_WEBP;
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

static enum sdt_status check_path(const char *path, bool force, enum format *format,
                                  struct sdt_error *err) {
    enum sdt_status status = find_format(path, format, err);

    if (status == SDT_OK && is_film(*format))
        status = sdt__check_film(film_of(*format), path, err);
    if (status == SDT_OK && *format == FORMAT_STDOUT && isatty(STDOUT_FILENO))
        status = sdt_fail(err, SDT_ERROR_USAGE,
                          "-: a y4m stream on a terminal; give a file, or a program that reads it");
    if (status == SDT_OK && *format != FORMAT_STDOUT)
        status = sdt__target_check(path, kind_of(*format), force, err);
    return status;
}

enum sdt_status sdt_video_check_path(const char *path, bool force, struct sdt_error *err) {
    enum format format;

    return check_path(path, force, &format, err);
}

enum sdt_status sdt_video_write(const struct sdt_video *video, const char *path, bool force,
                                struct sdt_error *err) {
    enum format format;
    char *partial = NULL;
    enum sdt_status status;

    if (video->frames < 1 || video->height < 1 || video->width < 1)
        return sdt_fail(err, SDT_ERROR_USAGE, "%s: a video of %d frames of %dx%d", path,
                        video->frames, video->width, video->height);
    status = check_path(path, force, &format, err);
    if (status != SDT_OK)
        return status;
    if (format == FORMAT_PNG && video->frames > 1)
        return sdt_fail(err, SDT_ERROR_USAGE,
                        "%s: one .png holds one frame, not %d; a folder (%.*s/) would hold them",
                        path, video->frames, (int)strlen(path) - 4, path);
    if (format == FORMAT_TENSOR)
        return sdt__write_tensor(video, path, err);
    if (format == FORMAT_STDOUT)
        return sdt__write_y4m(video, NULL, "standard output", err);

    status = sdt__target_begin(path, kind_of(format), &partial, err);
    if (status != SDT_OK)
        return status;
    if (is_film(format))
        status = sdt__write_film(video, film_of(format), NULL, partial, path, err);
    else if (format == FORMAT_Y4M)
        status = sdt__write_y4m(video, partial, path, err);
    else if (format == FORMAT_PNG)
        status = write_picture(video, partial, path, err);
    else
        status = sdt__write_frames(video, partial, path, err);
    if (status == SDT_OK)
        return sdt__target_commit(partial, path, kind_of(format), force, err);
    sdt__target_abandon(partial, kind_of(format));
    return status;
}

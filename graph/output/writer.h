/* What the video writers share: pixels, frame rates, and what a format is.
 *
 * A writer gets the temporary `file` it fills (base/target.h; there already and empty) and the
 * `name` that the user knows it by, for messages. */
#ifndef STARDIT_OUTPUT_WRITER_H
#define STARDIT_OUTPUT_WRITER_H

#include <stddef.h>
#include <stdint.h>

#include "base/target.h"
#include "stardit/video.h"

/* ---- pixels.c ------------------------------------------------------------------------------ */

/* One frame as 8-bit RGB, round to nearest, NaN as 0. */
void sdt__frame_rgb(const struct sdt_video *video, int frame,
                    uint8_t *rgb /* [height, width, 3] */);

/* A picture in YCbCr 4:2:0. luma may be larger than the RGB picture: the last row and column are
 * repeated. */
struct sdt__yuv420 {
    int height, width;       /* of luma; chroma is half of it, rounded up */
    uint8_t *plane[3];       /* Y, Cb, Cr */
    ptrdiff_t row_stride[3]; /* bytes */
};
/* BT.709, limited range, chroma at the centre of its four pixels (the mean of their RGB). Integer
 * arithmetic, so that the bytes are the same on every machine. */
void sdt__rgb_to_yuv420(int height, int width, const uint8_t *rgb /* [height, width, 3] */,
                        const struct sdt__yuv420 *yuv);

/* ---- rate.c ------------------------------------------------------------------------------- */

/* Frames per second as a fraction with both parts <= 65535, the 1000/1001 rates recognised.
 * SDT_ERROR_USAGE outside 0.01 to 1000. */
enum sdt_status sdt__frame_rate(double fps, int *numerator, int *denominator,
                                struct sdt_error *err);

/* ---- formats ------------------------------------------------------------------------------- */

/* A format of videos. Its file defines one `const struct sdt__format sdt__format_NAME`, and list.c
 * has its line. */
struct sdt__format {
    const char *ending; /* ".y4m", met in any case; NULL: a folder */
    const char *note;   /* what a list of endings says behind it, or NULL */
    int most_frames;    /* 0: any number */
    bool timeless;      /* holds no frame rate */
    double most_fps;    /* beyond which frames would last no time; 0: any rate that is taken */
    bool itself;        /* writes `name`, through a temporary name of its own */
    /* Is it to be had here? SDT_ERROR_UNSUPPORTED with why not. NULL: always. */
    enum sdt_status (*check)(const char *name, struct sdt_error *err);
    enum sdt_status (*write)(const struct sdt_video *video, const char *file, const char *name,
                             struct sdt_error *err);
    /* In its place, of formats that take frames as they come: *writer is there after a failure as
     * well, until close, which ends the file if all are there, and frees it. video->pixels are the
     * `frames` next ones from number `first` on. */
    enum sdt_status (*open)(const struct sdt_video *video, const char *file, const char *name,
                            void **writer, struct sdt_error *err);
    enum sdt_status (*add)(void *writer, const struct sdt_video *video, int first, int frames,
                           struct sdt_error *err);
    enum sdt_status (*close)(void *writer, bool whole, struct sdt_error *err);
};
extern const struct sdt__format *const sdt__formats[]; /* ended by NULL */
/* A folder of 00000.png and so on; and what goes to standard output, with `file` NULL. */
extern const struct sdt__format sdt__format_frames, sdt__format_y4m;

enum sdt_status sdt__write_png(int height, int width, const uint8_t *rgb /* [height, width, 3] */,
                               const char *file, const char *name, struct sdt_error *err);

/* What libav writes: H.264 (or MPEG-4 part 2) in mp4, VP9 in webm, GIF, WebP. */
enum sdt__film { SDT__FILM_MP4, SDT__FILM_WEBM, SDT__FILM_GIF, SDT__FILM_WEBP };
/* encoder: libav's name of one, NULL: the film's own. */
enum sdt_status sdt__write_film(const struct sdt_video *video, enum sdt__film film,
                                const char *encoder, const char *file, const char *name,
                                struct sdt_error *err);
enum sdt_status sdt__open_film(const struct sdt_video *video, enum sdt__film film,
                               const char *encoder, const char *file, const char *name,
                               void **writer, struct sdt_error *err);
enum sdt_status sdt__add_film(void *writer, const struct sdt_video *video, int first, int frames,
                              struct sdt_error *err);
enum sdt_status sdt__close_film(void *writer, bool whole, struct sdt_error *err);
#endif

/* What the video writers share: pixels, frame rates, and the writers themselves.
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

/* ---- the writers --------------------------------------------------------------------------- */

/* file NULL: standard output. */
enum sdt_status sdt__write_y4m(const struct sdt_video *video, const char *file, const char *name,
                               struct sdt_error *err);
/* 00000.png and so on in the folder. */
enum sdt_status sdt__write_frames(const struct sdt_video *video, const char *folder,
                                  const char *name, struct sdt_error *err);
enum sdt_status sdt__write_png(int height, int width, const uint8_t *rgb /* [height, width, 3] */,
                               const char *file, const char *name, struct sdt_error *err);
/* Writes `path` itself, through a temporary name of its own. */
enum sdt_status sdt__write_tensor(const struct sdt_video *video, const char *path,
                                  struct sdt_error *err);

/* What libav writes: H.264 (or MPEG-4 part 2) in mp4, VP9 in webm, GIF, WebP. */
enum sdt__film { SDT__FILM_MP4, SDT__FILM_WEBM, SDT__FILM_GIF, SDT__FILM_WEBP };
/* SDT_ERROR_UNSUPPORTED in a build without libav, or where libav has no encoder for it. */
enum sdt_status sdt__check_film(enum sdt__film film, const char *name, struct sdt_error *err);
/* encoder: libav's name of one, NULL: the film's own. */
enum sdt_status sdt__write_film(const struct sdt_video *video, enum sdt__film film,
                                const char *encoder, const char *file, const char *name,
                                struct sdt_error *err);
#endif

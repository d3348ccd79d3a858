/* What the video writers share: names that outputs have until they are whole, and pixels.
 *
 * A writer gets the temporary `file` it fills (there already and empty) and the `name` that the
 * user knows it by, for messages. */
#ifndef STARDIT_OUTPUT_WRITER_H
#define STARDIT_OUTPUT_WRITER_H

#include <stddef.h>
#include <stdint.h>

#include "stardit/video.h"

/* ---- target.c: a file or folder under a temporary name beside its place -------------------- */

enum sdt__target_kind { SDT__TARGET_FILE, SDT__TARGET_FOLDER };

/* Whether `path` can be created there, or replaced (force): SDT_ERROR_USAGE if not. A folder is
 * replaced only if it holds nothing but numbered frames. Really creates and removes something, as
 * permission bits do not tell of full or read-only file systems. */
enum sdt_status sdt__target_check(const char *path, enum sdt__target_kind kind, bool force,
                                  struct sdt_error *err);

/* Creates it under a temporary name in the same folder. *partial: malloc'ed; goes into commit or
 * abandon, which free it. */
enum sdt_status sdt__target_begin(const char *path, enum sdt__target_kind kind, char **partial,
                                  struct sdt_error *err);
/* Gives it its name; removes it when that fails. */
enum sdt_status sdt__target_commit(char *partial, const char *path, enum sdt__target_kind kind,
                                   bool force, struct sdt_error *err);
/* Removes it. NULL is fine. */
void sdt__target_abandon(char *partial, enum sdt__target_kind kind);

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

/* ---- the writers --------------------------------------------------------------------------- */

/* Frames per second as a fraction with both parts <= 65535, the 1000/1001 rates recognised.
 * SDT_ERROR_USAGE outside 0.01 to 1000. */
enum sdt_status sdt__frame_rate(double fps, int *numerator, int *denominator,
                                struct sdt_error *err);

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

/* SDT_ERROR_UNSUPPORTED in a build without libav. */
enum sdt_status sdt__check_mp4(const char *name, struct sdt_error *err);
/* encoder: libav's name of one, NULL: libx264, or mpeg4 where that is missing. */
enum sdt_status sdt__write_mp4(const struct sdt_video *video, const char *encoder, const char *file,
                               const char *name, struct sdt_error *err);
#endif

/* Writing a video: .mp4, .webm, .gif, .webp (libav), .y4m, PNG, or .safetensors.
 *
 * Every writer writes to a temporary name beside the target and renames at the end, so that `path`
 * holds the whole video or nothing, whatever happens. The same frames give the same bytes. */
#ifndef STARDIT_VIDEO_H
#define STARDIT_VIDEO_H

#include <stdbool.h>
#include <stddef.h>

#include "stardit/status.h"

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

struct sdt_video {
    int frames, height, width;
    double fps;
    const float *pixels;         /* [frames, height, width, 3], RGB, -1..1 */
    const char *title, *comment; /* UTF-8, for formats that hold such (mp4, webm); NULL: none */
};

/* Finds the writer for `path` from its ending: ".mp4", ".webm", ".gif", ".webp", ".y4m",
 * ".safetensors", ".png" (one frame) in any case; a folder (ends in "/" or has no ending: PNG files
 * 00000.png ..); or "-": y4m on standard output. SDT_ERROR_USAGE for another ending
 * or where the folder to write into does not exist or is not writable, SDT_ERROR_UNSUPPORTED
 * where libav, or its encoder for this ending, is missing, SDT_ERROR_USAGE when something is there
 * already and `force` is not set. With `force` only a thing of the same kind is replaced (of a
 * symbolic link, what it points to): a file, or a folder that holds nothing but numbered PNG files.
 * Called before any work starts, so that a long run cannot fail on its last line. */
enum sdt_status sdt_video_check_path(const char *path, bool force, struct sdt_error *err);

/* The endings that there are, as ".mp4, .webm, .png for one frame"; timed: of formats that have a
 * frame rate. Cut to size. */
void sdt_video_endings(bool timed, char *text, size_t size);
/* Has the format of this path a frame rate? An unknown ending has none. */
bool sdt_video_is_timed(const char *path);
/* SDT_ERROR_USAGE where the format of this path cannot hold so many frames a second: a .gif counts
 * hundredths of a second. Otherwise as sdt_video_check_path, of the ending alone. */
enum sdt_status sdt_video_check_rate(const char *path, double fps, struct sdt_error *err);

/* Pixel = clamp(x/2 + 1/2, 0, 1) (NaN: 0), 8-bit values round to nearest. mp4: H.264 yuv420p
 * (BT.709, limited range, single-threaded, bit-exact flags; odd sizes padded by one pixel), MPEG-4
 * part 2 where libav has no libx264; what libav logs in this thread meanwhile goes into the error.
 * webm: VP9, the same colours. gif: a fixed palette of 216 colours, dithered. webp: lossy, repeated
 * for ever. y4m: C420jpeg, BT.709, limited range. .safetensors: one tensor `video`, F32 [3, frames,
 * height, width], values 0..1. Besides what sdt_video_check_path says: SDT_ERROR_USAGE for an empty
 * video, a rate outside 0.01 to 1000, or one above 100 (gif), SDT_ERROR_IO, SDT_ERROR_MEMORY,
 * SDT_ERROR_UNSUPPORTED for a size that the encoder does not take. */
enum sdt_status sdt_video_write(const struct sdt_video *video, const char *path, bool force,
                                struct sdt_error *err);

/* The same frames one after the other, as they come: what a long video takes in memory does not
 * depend on its length. Formats that can: all but .safetensors and .png. The bytes are those of
 * sdt_video_write. */
bool sdt_video_streams(const char *path);
struct sdt_video_stream;
/* video: as above but for its pixels, which come later; its strings are borrowed until the end.
 * Errors as sdt_video_write. */
enum sdt_status sdt_video_stream_open(const struct sdt_video *video, const char *path, bool force,
                                      struct sdt_video_stream **stream, struct sdt_error *err);
/* The next ones. After a failure the stream can only be abandoned. */
enum sdt_status sdt_video_stream_add(struct sdt_video_stream *stream, int frames,
                                     const float *pixels /* [frames, height, width, 3] */,
                                     struct sdt_error *err);
/* All frames are there: the file gets its name. Frees the stream, after a failure too. */
enum sdt_status sdt_video_stream_close(struct sdt_video_stream *stream, struct sdt_error *err);
/* Removes what there is of it. NULL is fine. */
void sdt_video_stream_abandon(struct sdt_video_stream *stream);

/* One PNG with up to `columns` x `rows` frames of the video, evenly spaced in time from the first
 * to the last, each enlarged `scale` times (nearest), edge to edge: the contact sheet. Fewer
 * frames: fewer rows, and black after the last one. Errors as above; `path` ends in ".png". */
enum sdt_status sdt_video_write_sheet(const struct sdt_video *video, const char *path, int columns,
                                      int rows, int scale, bool force, struct sdt_error *err);

/* Can that sheet be made? SDT_ERROR_USAGE for another ending and for more pixels than a picture may
 * have. The pixels of the video are not looked at. */
enum sdt_status sdt_video_check_sheet(const struct sdt_video *video, const char *path, int columns,
                                      int rows, int scale, struct sdt_error *err);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif

/* Frames of a video as they come: into the output, and those of the contact sheet kept. */
#ifndef STARDIT_APPS_STREAM_H
#define STARDIT_APPS_STREAM_H

#include "stardit/stardit.h"

struct app_stream;

/* video: without its pixels; sheet NULL: none. Borrows all until the end. NULL: out of memory. */
struct app_stream *app_stream_new(const struct sdt_video *video, const char *path, bool force,
                                  const char *sheet, int columns, int scale);
/* The next frames. What fails is kept for the end. */
void app_stream_add(struct app_stream *stream, int first, int count, const float *pixels);
/* Names the files if `whole`, else removes what there is; frees the stream. The first failure. */
enum sdt_status app_stream_end(struct app_stream *stream, bool whole, struct sdt_error *err);
#endif

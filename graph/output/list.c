/* The formats of videos, by ending: a line each. */
#include "graph/output/writer.h"

#define FORMATS(X)                                                                                 \
    X(mp4)                                                                                         \
    X(webm)                                                                                        \
    X(gif)                                                                                         \
    X(webp)                                                                                        \
    X(y4m)                                                                                         \
    X(safetensors)                                                                                 \
    X(png)                                                                                         \
    X(frames)

#define DECLARE(name) extern const struct sdt__format sdt__format_##name;
FORMATS(DECLARE)

#define LIST(name) &sdt__format_##name,
const struct sdt__format *const sdt__formats[] = {FORMATS(LIST) NULL};

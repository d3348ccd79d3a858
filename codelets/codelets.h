/* What every codelet file and every graph includes: the insert functions, and how a task is
 * born. */
#ifndef STARDIT_CODELET_LIST_H
#define STARDIT_CODELET_LIST_H

#include "runtime/task.h"
#include "stardit/codelets.h"

/* Bytes of scratch that a convolution takes, also for predictions. */
size_t sdt__conv_scratch(enum sdt_device_kind kind, enum sdt_dtype dtype,
                         const struct sdt_conv *conv);
/* The same of attention of a wide head. */
size_t sdt__wide_attention_scratch(enum sdt_device_kind kind, enum sdt_dtype dtype, int rows,
                                   int keys, int e);
/* The same of upsampling in time, of interpolation, and of attention over a frame's pixels. */
size_t sdt__time_upsample_scratch(enum sdt_device_kind kind, enum sdt_dtype dtype, int height,
                                  int width, int channels);
size_t sdt__linear_upsample_scratch(enum sdt_device_kind kind,
                                    const struct sdt_linear_upsample *up);
size_t sdt__frame_attention_scratch(enum sdt_device_kind kind, enum sdt_dtype dtype, int pixels,
                                    int channels);
/* The same of the moments of a whole frame. */
size_t sdt__frame_moments_scratch(enum sdt_device_kind kind, int height, int channels);

/* Every codelet, for stardit-info --codelets; ends with NULL. */
extern const struct starpu_codelet *const sdt_codelets[];
#endif

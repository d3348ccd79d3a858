/* The frames as numbers, not rounded to bytes: one safetensors tensor. */
#include "graph/output/writer.h"
#include "stardit/safetensors.h"

#include <stdlib.h>

static enum sdt_status write_tensor(const struct sdt_video *video, const char *path,
                                    const char *name, struct sdt_error *err) {
    (void)name; /* the path again */
    enum sdt_status status;
    const size_t plane = (size_t)video->height * (size_t)video->width;
    const size_t count = plane * (size_t)video->frames * 3;
    float *values = malloc(count * sizeof *values);

    if (!values)
        return sdt_fail(err, SDT_ERROR_MEMORY, "%s: no memory for %zu pixel values", path, count);
    for (int frame = 0; frame < video->frames; frame++)
        for (size_t i = 0; i < plane; i++)
            for (size_t c = 0; c < 3; c++) {
                const float x = video->pixels[((size_t)frame * plane + i) * 3 + c] * 0.5f + 0.5f;
                values[(c * (size_t)video->frames + (size_t)frame) * plane + i] = !(x > 0.0f) ? 0.0f
                                                                                  : x < 1.0f  ? x
                                                                                             : 1.0f;
            }
    const struct sdt_stored tensor = {
        .name = "video",
        .dtype = SDT_F32,
        .rank = 4,
        .shape = {3, video->frames, video->height, video->width},
        .count = count,
        .bytes = count * sizeof *values,
        .data = values,
    };
    status = sdt_safetensors_write(path, 1, &tensor, err);
    free(values);
    return status;
}

const struct sdt__format sdt__format_safetensors = {
    .ending = ".safetensors", .timeless = true, .itself = true, .write = write_tensor};

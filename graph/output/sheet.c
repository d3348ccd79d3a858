/* The contact sheet: a video at one glance, for documents and for tests that a person looks at. */
#include "graph/output/writer.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* libpng's limit per side; and what a picture that people look at may take in memory. */
static const int64_t longest_side = 1000000, most_bytes = (int64_t)1 << 32;

/* Columns and rows of the sheet: not more cells than frames. */
static enum sdt_status lay_out(const struct sdt_video *video, const char *path, int scale,
                               int *columns, int *rows, struct sdt_error *err) {
    const size_t length = strlen(path);
    if (length < 4 || strcasecmp(path + length - 4, ".png") != 0)
        return sdt_fail(err, SDT_ERROR_USAGE, "%s: a contact sheet is a .png file", path);
    if (video->frames < 1 || video->height < 1 || video->width < 1 || *columns < 1 || *rows < 1 ||
        scale < 1)
        return sdt_fail(err, SDT_ERROR_USAGE,
                        "%s: a sheet of %dx%d frames, enlarged %d times, of %d frames of %dx%d",
                        path, *columns, *rows, scale, video->frames, video->width, video->height);
    const int64_t cells = (int64_t)*columns * *rows;
    const int shown = video->frames < cells ? video->frames : (int)cells;
    if (shown < *columns)
        *columns = shown;
    *rows = (shown + *columns - 1) / *columns;

    const int64_t width = (int64_t)video->width * scale * *columns;
    const int64_t height = (int64_t)video->height * scale * *rows;
    if (width > longest_side || height > longest_side || width * height * 3 > most_bytes)
        return sdt_fail(err, SDT_ERROR_USAGE,
                        "%s: %d x %d frames of %dx%d, enlarged %d times, make %lldx%lld pixels; "
                        "%lld a side and %lld in all work",
                        path, *columns, *rows, video->width, video->height, scale, (long long)width,
                        (long long)height, (long long)longest_side, (long long)(most_bytes / 3));
    return SDT_OK;
}

enum sdt_status sdt_video_check_sheet(const struct sdt_video *video, const char *path, int columns,
                                      int rows, int scale, struct sdt_error *err) {
    return lay_out(video, path, scale, &columns, &rows, err);
}

/* Copies a frame into the sheet, every pixel scale x scale times. */
static void enlarge(int height, int width, int scale, const uint8_t *rgb /* [height, width, 3] */,
                    size_t row /* bytes of the sheet's */, uint8_t *out) {
    for (int i = 0; i < height; i++) {
        uint8_t *first = out;
        for (int j = 0; j < width; j++, rgb += 3)
            for (int k = 0; k < scale; k++)
                memcpy(first + ((size_t)j * (size_t)scale + (size_t)k) * 3, rgb, 3);
        for (int k = 1; k < scale; k++)
            memcpy(first + (size_t)k * row, first, (size_t)width * (size_t)scale * 3);
        out += (size_t)scale * row;
    }
}

enum sdt_status sdt_video_write_sheet(const struct sdt_video *video, const char *path, int columns,
                                      int rows, int scale, bool force, struct sdt_error *err) {
    enum sdt_status status;
    uint8_t *sheet = NULL, *rgb = NULL;
    char *partial = NULL;
    status = lay_out(video, path, scale, &columns, &rows, err);
    if (status != SDT_OK)
        return status;
    const int shown = video->frames < columns * rows ? video->frames : columns * rows;
    const int cell_width = video->width * scale, cell_height = video->height * scale;
    const int width = cell_width * columns, height = cell_height * rows;
    const size_t row = (size_t)width * 3;

    status = sdt__target_check(path, SDT__TARGET_FILE, force, err);
    if (status != SDT_OK)
        return status;
    sheet = calloc((size_t)height, row);
    rgb = malloc((size_t)video->height * (size_t)video->width * 3);
    if (!sheet || !rgb) {
        status = sdt_fail(err, SDT_ERROR_MEMORY, "%s: no memory for a picture of %dx%d", path,
                          width, height);
        goto end;
    }
    for (int i = 0; i < shown; i++) {
        /* The first and the last frame are among them. */
        const int64_t gaps = shown > 1 ? shown - 1 : 1;
        const int frame = (int)(((int64_t)i * (video->frames - 1) * 2 + gaps) / (2 * gaps));
        const size_t top = (size_t)(i / columns) * (size_t)cell_height;
        const size_t left = (size_t)(i % columns) * (size_t)cell_width;
        sdt__frame_rgb(video, frame, rgb);
        enlarge(video->height, video->width, scale, rgb, row, sheet + top * row + left * 3);
    }
    status = sdt__target_begin(path, SDT__TARGET_FILE, &partial, err);
    if (status != SDT_OK)
        goto end;
    status = sdt__write_png(height, width, sheet, partial, path, err);
    if (status == SDT_OK)
        status = sdt__target_commit(partial, path, SDT__TARGET_FILE, force, err);
    else
        sdt__target_abandon(partial, SDT__TARGET_FILE);
end:
    free(sheet);
    free(rgb);
    return status;
}

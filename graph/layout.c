/* Splitting tokens into tiles and shards, and heads into chunks. */
#include "graph/layout.h"

#include <stdlib.h>

int sdt_tile_rows(int64_t tokens)
{
    if (tokens >= 16384)
        return 256;
    if (tokens >= 2048)
        return 128;
    int rows = 4;
    while (rows < 64 && rows * 32 <= tokens)
        rows *= 2;
    return rows;
}

void sdt_split(int total, int parts, const double *speed, int *bounds)
{
    double all = 0.0, before = 0.0;
    for (int p = 0; p < parts; p++)
        all += speed ? speed[p] : 1.0;
    for (int p = 0; p < parts; p++) {
        bounds[p] = (int)(before / all * total + 0.5);
        before += speed ? speed[p] : 1.0;
    }
    bounds[parts] = total;
}

enum sdt_status sdt_layout_init(struct sdt_layout *layout, const struct sdt_place *place, int devices,
                                const double *speed, int64_t tokens, int heads, int e,
                                int chunk_heads, struct sdt_error *err)
{
    *layout = (struct sdt_layout){.devices = devices, .place = place, .tokens = tokens,
                                  .rows = sdt_tile_rows(tokens), .heads = heads, .e = e};
    layout->tiles = (int)((tokens + layout->rows - 1) / layout->rows);
    layout->first_tile = calloc((size_t)devices + 1, sizeof *layout->first_tile);
    layout->home = calloc((size_t)layout->tiles, sizeof *layout->home);
    layout->head = calloc((size_t)heads + 1, sizeof *layout->head);
    layout->owner = calloc((size_t)heads, sizeof *layout->owner);
    int *first_head = calloc((size_t)devices + 1, sizeof *first_head);
    if (!layout->first_tile || !layout->home || !layout->head || !layout->owner || !first_head) {
        free(first_head);
        return sdt_fail(err, SDT_ERROR_MEMORY, "out of memory while laying out %lld tokens",
                        (long long)tokens);
    }
    sdt_split(layout->tiles, devices, speed, layout->first_tile);
    sdt_split(heads, devices, speed, first_head);
    for (int d = 0; d < devices; d++) {
        for (int t = layout->first_tile[d]; t < layout->first_tile[d + 1]; t++)
            layout->home[t] = d;
        int most = chunk_heads > 0 ? chunk_heads : heads;
        for (int h = first_head[d]; h < first_head[d + 1];) {
            int size = first_head[d + 1] - h < most ? first_head[d + 1] - h : most;
            layout->head[layout->chunks] = h;
            layout->owner[layout->chunks++] = d;
            h += size;
        }
    }
    layout->head[layout->chunks] = heads;
    free(first_head);
    return SDT_OK;
}

void sdt_layout_clear(struct sdt_layout *layout)
{
    free(layout->first_tile);
    free(layout->home);
    free(layout->head);
    free(layout->owner);
    *layout = (struct sdt_layout){0};
}

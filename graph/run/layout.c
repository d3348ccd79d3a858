/* Splitting tokens into tiles and shards, and heads into chunks. */
#include "graph/run/layout.h"

#include <stdlib.h>
#include <string.h>

int sdt_tile_rows(int64_t tokens, int workers) {
    enum { LEAST = 64 };
    int64_t most = tokens >= 16384 ? 256 : 128, share = (tokens + workers - 1) / workers;
    int64_t tiles = share < 2 * LEAST ? 1 : (share + most - 1) / most;
    if (share >= 2 * LEAST && tiles < 2)
        tiles = 2;
    int64_t rows = (share + tiles - 1) / tiles;
    rows = (rows + 3) / 4 * 4;
    /* Rounded up, there may be a tile too few. */
    if (rows > 4 && (tokens + rows - 1) / rows < workers)
        rows -= 4;
    return (int)rows;
}

/* How long the slowest part takes, in things over speed. */
static double longest(int parts, const double *speed, const int *bounds) {
    double most = 0.0;
    for (int p = 0; p < parts; p++) {
        double time = (bounds[p + 1] - bounds[p]) / speed[p];
        most = time > most ? time : most;
    }
    return most;
}

static void split_evenly(int total, int parts, const double *speed, int *bounds) {
    double all = 0.0, before = 0.0;
    for (int p = 0; p < parts; p++)
        all += speed ? speed[p] : 1.0;
    for (int p = 0; p < parts; p++) {
        bounds[p] = (int)(before / all * total + 0.5);
        before += speed ? speed[p] : 1.0;
    }
    bounds[parts] = total;
}

/* One after another to the part that ends first with it: no split ends earlier. bounds[p + 1] is
 * what part p has, until all are given. */
static void split_by_end(int total, int parts, const double *speed, int *bounds) {
    for (int p = 0; p <= parts; p++)
        bounds[p] = 0;
    for (int i = 0; i < total; i++) {
        int best = 0;
        for (int p = 1; p < parts; p++)
            if ((bounds[p + 1] + 1) / speed[p] < (bounds[best + 1] + 1) / speed[best])
                best = p;
        bounds[best + 1]++;
    }
    for (int p = 0; p < parts; p++)
        bounds[p + 1] += bounds[p];
}

void sdt_split(int total, int parts, const double *speed, int *bounds) {
    split_evenly(total, parts, speed, bounds);
    if (!speed)
        return;
    double rounded = longest(parts, speed, bounds);
    split_by_end(total, parts, speed, bounds);
    if (longest(parts, speed, bounds) > rounded * (1.0 - 1e-9))
        split_evenly(total, parts, speed, bounds);
}

/* Rows of tiles, multiples of a unit from an eighth of a share on, up or down by a factor of two:
 * those with which the slowest device ends first, padding counted; the larger of equal ones. */
static int follow_speeds(int64_t tokens, int devices, const double *speed, int part) {
    enum { LEAST = 256, MOST = 8192, UNIT = SDT_CUDA_ROWS };
    int bounds[2 * SDT_MAX_DEVICES + 1], best = part;
    double least = 0.0;
    for (int rows = part / 2 / UNIT * UNIT; rows <= 2 * part && rows <= MOST; rows += UNIT) {
        if (rows < LEAST)
            continue;
        sdt_split((int)((tokens + rows - 1) / rows), devices, speed, bounds);
        double time = rows * longest(devices, speed, bounds);
        if (least == 0.0 || time < least * (1.0 + 1e-9)) {
            least = time;
            best = rows;
        }
    }
    return best;
}

int sdt_cuda_tile_rows(int64_t tokens, int devices, const double *speed) {
    enum { LEAST = 256, MOST = 8192, UNIT = SDT_CUDA_ROWS, PARTS = 8 };
    bool alike = true;
    for (int d = 1; speed && d < devices; d++)
        alike = alike && speed[d] == speed[0];
    int64_t share = (tokens + devices - 1) / devices;
    int64_t parts = (int64_t)devices * (alike ? (share + MOST - 1) / MOST : PARTS);
    int64_t part = parts > 0 ? (tokens + parts - 1) / parts : 0;
    int64_t rows = (part + UNIT - 1) / UNIT * UNIT;
    rows = rows < LEAST ? LEAST : rows > MOST ? MOST : rows;
    return alike ? (int)rows : follow_speeds(tokens, devices, speed, (int)rows);
}

/* Each device's tiles end where its share of all rows does, or at the tile nearest to that. */
static void split_by_share(const struct sdt_layout *layout, const double *speed, int *first) {
    double rows = (double)sdt_tiles_size(layout, 0, layout->tiles), all = 0.0, before = 0.0;
    int64_t at = 0;
    int tile = 0;
    for (int d = 0; d < layout->devices; d++)
        all += speed ? speed[d] : 1.0;
    for (int d = 0; d < layout->devices; d++) {
        double begin = before / all * rows;
        while (tile < layout->tiles && (double)at + 0.5 * sdt_tile_size(layout, tile) <= begin) {
            at += sdt_tile_size(layout, tile);
            tile++;
        }
        first[d] = tile;
        before += speed ? speed[d] : 1.0;
    }
    first[layout->devices] = layout->tiles;
}

/* How long the slowest device takes, in rows over speed. */
static double slowest(const struct sdt_layout *layout, const double *speed, const int *first) {
    double most = 0.0;
    for (int d = 0; d < layout->devices; d++) {
        double time = (double)sdt_tiles_size(layout, first[d], first[d + 1]) / speed[d];
        most = time > most ? time : most;
    }
    return most;
}

/* By shares of rows, or of unequal devices by the number of tiles, if that ends earlier. */
static void split_tiles(struct sdt_layout *layout, const double *speed) {
    int by_number[2 * SDT_MAX_DEVICES + 1];
    split_by_share(layout, speed, layout->first_tile);
    if (!speed)
        return;
    sdt_split(layout->tiles, layout->devices, speed, by_number);
    if (slowest(layout, speed, by_number) <
        slowest(layout, speed, layout->first_tile) * (1.0 - 1e-9))
        memcpy(layout->first_tile, by_number,
               ((size_t)layout->devices + 1) * sizeof *layout->first_tile);
}

/* Marks where parts of the heads begin. */
static void mark_cuts(int heads, int parts, const int *bounds, char *cut) {
    for (int p = 0; p <= parts; p++)
        if (bounds[p] < heads)
            cut[bounds[p]] = 1;
}

/* The part that holds head h. */
static int part_of(int h, int parts, const int *bounds) {
    int part = 0;
    while (part + 1 < parts && bounds[part + 1] <= h)
        part++;
    return part;
}

enum sdt_status sdt_layout_init(struct sdt_layout *layout, const struct sdt_layout_options *o,
                                struct sdt_error *err) {
    enum sdt_status status = SDT_OK;
    int all = o->devices + o->helpers, rows = o->tile_rows, workers = 0;
    int ulysses = o->ulysses > 0 ? o->ulysses : o->devices;

    for (int d = 0; d < o->devices; d++)
        workers += o->place[d].workers;
    if (o->streams > 1)
        workers /= o->streams;
    if (rows <= 0)
        rows = sdt_tile_rows(o->tokens + o->text, workers > o->devices ? workers : o->devices);
    *layout = (struct sdt_layout){.devices = o->devices,
                                  .helpers = o->helpers,
                                  .place = o->place,
                                  .video = o->tokens,
                                  .tokens = o->tokens + o->text,
                                  .rows = rows,
                                  .unit = o->unit > 0 ? o->unit : 4,
                                  .video_tiles = (int)((o->tokens + rows - 1) / rows),
                                  .span_tiles = o->span_tiles,
                                  .heads = o->heads,
                                  .e = o->e,
                                  .dtype = o->dtype,
                                  .ulysses = ulysses};
    layout->tiles = layout->video_tiles + (int)((o->text + rows - 1) / rows);
    if (o->devices % ulysses)
        return sdt_fail(err, SDT_ERROR_USAGE,
                        "a Ulysses degree of %d (--ulysses-degree) does not divide %d devices: "
                        "Ulysses degree x ring "
                        "degree must be the number of devices",
                        ulysses, o->devices);
    layout->first_tile = calloc((size_t)o->devices + 1, sizeof *layout->first_tile);
    layout->home = calloc((size_t)layout->tiles, sizeof *layout->home);
    layout->head = calloc((size_t)o->heads + 1, sizeof *layout->head);
    layout->owner = calloc((size_t)o->heads, sizeof *layout->owner);
    layout->helped_owner = calloc((size_t)o->heads, sizeof *layout->helped_owner);
    int *part = calloc((size_t)ulysses + 1, sizeof *part);
    int *helped = calloc((size_t)all + 1, sizeof *helped);
    char *cut = calloc((size_t)o->heads + 1, 1);
    if (!layout->first_tile || !layout->home || !layout->head || !layout->owner ||
        !layout->helped_owner || !part || !helped || !cut) {
        status = sdt_fail(err, SDT_ERROR_MEMORY, "out of memory while laying out %lld tokens",
                          (long long)o->tokens);
        goto out;
    }
    split_tiles(layout, o->speed);
    for (int d = 0; d < o->devices; d++)
        for (int t = layout->first_tile[d]; t < layout->first_tile[d + 1]; t++)
            layout->home[t] = d;

    /* A chunk ends where a part ends, with or without helpers, and where it has grown to its
     * limit. */
    sdt_split(o->heads, ulysses, ulysses == o->devices ? o->speed : NULL, part);
    sdt_split(o->heads, all, o->speed, helped);
    mark_cuts(o->heads, ulysses, part, cut);
    if (o->helpers)
        mark_cuts(o->heads, all, helped, cut);
    for (int h = 0, first = 0; h < o->heads; h++) {
        if (h > 0 && (cut[h] || (o->chunk_heads > 0 && h - first == o->chunk_heads))) {
            layout->chunks++;
            first = h;
        }
        layout->head[layout->chunks + 1] = h + 1;
        layout->owner[layout->chunks] = part_of(h, ulysses, part);
        layout->helped_owner[layout->chunks] = part_of(h, all, helped);
    }
    layout->chunks++;
out:
    free(part);
    free(helped);
    free(cut);
    return status;
}

void sdt_layout_clear(struct sdt_layout *layout) {
    free(layout->first_tile);
    free(layout->home);
    free(layout->head);
    free(layout->owner);
    free(layout->helped_owner);
    *layout = (struct sdt_layout){0};
}

/* How tokens and heads are shared out: every token in one tile, every tile on one device, every
 * head in one chunk of one owner, in proportion to speeds, for sizes that do not come out even. */
#include "graph/run/layout.h"

#include <math.h>

#include "tests/check.h"

enum { MOST = 5 };

static const double speeds[][MOST] = {{1, 1, 1, 1, 1}, {2, 1, 1, 1, 1}, {1, 0.5, 1, 3, 0.1}};
static const int64_t token_counts[] = {1, 3, 45, 80, 1000, 4097, 32760};
static const int head_counts[] = {1, 3, 8, 12, 40};

static void check_split(int total, int parts, const double *speed) {
    int bounds[MOST + 1];
    double all = 0.0;
    sdt_split(total, parts, speed, bounds);
    for (int p = 0; p < parts; p++)
        all += speed ? speed[p] : 1.0;
    CHECK(bounds[0] == 0 && bounds[parts] == total, "%d in %d parts: not all", total, parts);
    for (int p = 0; p < parts; p++) {
        int count = bounds[p + 1] - bounds[p];
        double share = (speed ? speed[p] : 1.0) / all * total;
        CHECK(count >= 0 && (speed || fabs(count - share) <= 1.0),
              "%d in %d parts: part %d has %d, not %g", total, parts, p, count, share);
    }
    /* No split ends earlier: in less time than its slowest part takes, not all could be done. */
    double time = 0.0;
    int least = 0;
    for (int p = 0; speed && p < parts; p++)
        time = fmax(time, (bounds[p + 1] - bounds[p]) / speed[p]);
    for (int p = 0; speed && p < parts; p++)
        least += (int)floor(time * speed[p] * (1.0 - 1e-9));
    CHECK(!speed || total == 0 || least < total, "%d in %d parts: %g, and %d would fit in less",
          total, parts, time, least);
}

/* Of two A6000, two L40 and four of half an A6000, with whole tiles: padding counted, the slowest
 * works no more than a tenth longer than if tokens were split at will. */
static void check_unequal_gpus(void) {
    static const double speed[8] = {154.8, 154.8, 181.05, 181.05, 77.4, 77.4, 77.4, 77.4};
    double sum = 0.0, worst = 1.0;
    int bounds[9];
    for (int d = 0; d < 8; d++)
        sum += speed[d];
    for (int64_t tokens = 12000; tokens < 150000; tokens += 331) {
        int rows = sdt_cuda_tile_rows(tokens, 8, speed), tiles = (int)((tokens + rows - 1) / rows);
        double time = 0.0;
        sdt_split(tiles, 8, speed, bounds);
        for (int d = 0; d < 8; d++)
            time = fmax(time, rows * (bounds[d + 1] - bounds[d]) / speed[d]);
        double reached = (double)tokens / sum / time;
        worst = fmin(worst, reached);
        CHECK(reached > 0.9 && rows % 128 == 0 && rows >= 256, "%lld tokens in tiles of %d: %.3f",
              (long long)tokens, rows, reached);
    }
    printf("whole tiles on eight unequal GPUs: %.3f of the sum of speeds, or more\n", worst);
}

static void check_tiles(const struct sdt_layout *l, int64_t text) {
    int64_t seen = 0;
    CHECK(l->tokens == l->video + text, "text is not behind the video");
    for (int t = 0; t < l->tiles; t++) {
        int device = l->home[t], valid = sdt_tile_valid(l, t);
        CHECK(sdt_tile_first(l, t) == seen, "tile %d does not begin where the last one ends", t);
        CHECK(valid > 0 && valid <= l->rows, "tile %d of %d rows has %d tokens", t, l->rows, valid);
        CHECK(l->first_tile[device] <= t && t < l->first_tile[device + 1], "tile %d: its home", t);
        seen += valid;
    }
    CHECK(seen == l->tokens, "%lld of %lld tokens", (long long)seen, (long long)l->tokens);
    CHECK(l->first_tile[0] == 0 && l->first_tile[l->devices] == l->tiles, "tiles without a home");
}

/* Rows of what a tile holds, and of what each device does: its share, as near as tiles come. */
static void check_rows(const struct sdt_layout *l, const double *speed) {
    double all = 0.0, most = 0.0, least = 1e9, rows = (double)sdt_tiles_size(l, 0, l->tiles);
    for (int t = 0; t < l->tiles; t++) {
        int size = sdt_tile_size(l, t), valid = sdt_tile_valid(l, t);
        CHECK(size >= valid && size < valid + l->unit && size <= l->rows,
              "tile %d of %d tokens has %d rows", t, valid, size);
    }
    for (int d = 0; d < l->devices; d++)
        all += speed ? speed[d] : 1.0;
    for (int d = 0; d < l->devices; d++) {
        double here = (double)sdt_tiles_size(l, l->first_tile[d], l->first_tile[d + 1]);
        double time = here / (speed ? speed[d] : 1.0);
        least = fmin(least, speed ? speed[d] : 1.0);
        most = fmax(most, time);
    }
    /* Each end of a shard is at most half a tile from its share. */
    CHECK(most <= rows / all + l->rows / least, "the slowest device takes %g, the ideal is %g",
          most, rows / all);
}

static void check_heads(const struct sdt_layout *l, int chunk_heads) {
    CHECK(l->head[0] == 0 && l->head[l->chunks] == l->heads, "heads without a chunk");
    for (int c = 0; c < l->chunks; c++) {
        int count = l->head[c + 1] - l->head[c];
        CHECK(count > 0 && (!chunk_heads || count <= chunk_heads), "chunk %d has %d heads", c,
              count);
        CHECK(l->owner[c] >= 0 && l->owner[c] < l->ulysses, "chunk %d: its owner", c);
        CHECK(l->helped_owner[c] >= 0 && l->helped_owner[c] < l->devices + l->helpers,
              "chunk %d: its owner with helpers", c);
        CHECK(c == 0 || l->owner[c] >= l->owner[c - 1], "owners are not in order at %d", c);
        for (int t = 0; t < l->tiles; t++) {
            int owner = sdt_layout_owner(l, c, t);
            CHECK(owner >= 0 && owner < l->devices && owner / l->ulysses == l->home[t] / l->ulysses,
                  "chunk %d of tile %d is computed in another ring position", c, t);
        }
    }
}

static void check_layout(const struct sdt_layout_options *options) {
    struct sdt_layout layout;
    struct sdt_error err;
    enum sdt_status status = sdt_layout_init(&layout, options, &err);
    if (options->ulysses > 0 && options->devices % options->ulysses) {
        CHECK(status == SDT_ERROR_USAGE, "degree %d on %d devices", options->ulysses,
              options->devices);
    } else {
        CHECK(status == SDT_OK, "%s", err.message);
        check_tiles(&layout, options->text);
        check_rows(&layout, options->speed);
        check_heads(&layout, options->chunk_heads);
        for (int i = 0; i < layout.devices / layout.ulysses; i++)
            CHECK(sdt_ring_first_tile(&layout, i) == layout.first_tile[i * layout.ulysses],
                  "ring position %d", i);
    }
    sdt_layout_clear(&layout);
}

int main(void) {
    check_unequal_gpus();
    struct sdt_place place[MOST];
    int layouts = 0;
    for (int d = 0; d < MOST; d++)
        place[d] = (struct sdt_place){.workers = 1 + d % 2};
    for (int s = -1; s < 3; s++)
        for (int parts = 1; parts <= MOST; parts++)
            for (int total = 0; total < 50; total += 1 + total / 7)
                check_split(total, parts, s < 0 ? NULL : speeds[s]);
    for (int t = 0; t < 7; t++)
        for (int h = 0; h < 5; h++)
            for (int devices = 1; devices <= 4; devices++)
                for (int variant = 0; variant < 24; variant++) {
                    struct sdt_layout_options options = {.place = place,
                                                         .devices = devices,
                                                         .helpers = variant & 1,
                                                         .speed = variant % 3 ? speeds[variant % 3]
                                                                              : NULL,
                                                         .tokens = token_counts[t],
                                                         .text = variant & 2 ? 77 : 0,
                                                         .heads = head_counts[h],
                                                         .e = 8,
                                                         .ulysses = variant & 4 ? 2 : 0,
                                                         .chunk_heads = variant & 8 ? 3 : 0};
                    check_layout(&options);
                    layouts++;
                }
    printf("%d layouts: %d checks failed\n", layouts, failures);
    return failures > 0;
}

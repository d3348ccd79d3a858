/* Captions of the demo checkpoint's grammar, and the scorer by template overlap. */
#include "bench/shapes.h"

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { SIZE = APP_SHAPES_SIZE, COLOURS = 6, SHAPES = 3, DIRECTIONS = 4 };
enum {
    LEAST_RADIUS = 12,
    RADII = 5,
    REACH = 16
}; /* REACH: of the largest radius from the centre */
enum { LEAST_MOTION = 8 };

static const char *const colour_names[] = {"red",   "green", "blue", "yellow",
                                           "white", "black", NULL};
static const char *const shape_names[] = {"circle", "square", "triangle", NULL};
static const char *const direction_names[] = {"left", "right", "up", "down", NULL};
static const char *const part_names[] = {"colour", "shape", "direction", "background"};

const char *app_part_name(enum app_part part) { return part_names[part]; }

const float *app_colour_rgb(int colour) {
    static const float rgb[COLOURS][3] = {{220, 40, 40},  {40, 170, 60},   {40, 70, 220},
                                          {240, 210, 40}, {245, 245, 245}, {15, 15, 15}};
    return rgb[colour];
}

double app_shape_distance(int shape, double x, double y, double radius) {
    if (shape == 0)
        return sqrt(x * x + y * y) - radius;
    if (shape == 1)
        return fmax(fabs(x), fabs(y)) - 0.9 * radius;
    /* Apex (0, -r), base from (-r, r) to (r, r): the slanted sides have the normals (+-2, -1)/sqrt
     * 5. */
    return fmax((2.0 * fabs(x) - y - radius) / sqrt(5.0), y - radius);
}

/* ---- captions -------------------------------------------------------------------------------- */

/* Takes one of the words from the front of *text: its index, or -1. */
static int take(const char **text, const char *const *words) {
    for (int i = 0; words[i]; i++) {
        size_t length = strlen(words[i]);
        if (!strncmp(*text, words[i], length) &&
            ((*text)[length] == '\0' || (*text)[length] == ' ')) {
            *text += length;
            return i;
        }
    }
    return -1;
}

static bool skip(const char **text, const char *words) {
    size_t length = strlen(words);
    if (strncmp(*text, words, length))
        return false;
    *text += length;
    return true;
}

enum sdt_status app_caption_read(const char *text, struct app_scene *scene, struct sdt_error *err) {
    const char *at = text;
    bool fine = skip(&at, "a ");

    *scene = (struct app_scene){.part = {-1, -1, -1, -1}};
    fine = fine && (scene->part[APP_COLOUR] = take(&at, colour_names)) >= 0 && skip(&at, " ") &&
           (scene->part[APP_SHAPE] = take(&at, shape_names)) >= 0;
    if (fine && skip(&at, " moving "))
        fine = (scene->part[APP_DIRECTION] = take(&at, direction_names)) >= 0;
    if (fine && skip(&at, " over a "))
        fine = (scene->part[APP_BACKGROUND] = take(&at, colour_names)) >= 0 &&
               skip(&at, " background");
    if (!fine || *at)
        return sdt_fail(err, SDT_ERROR_USAGE,
                        "'%s' is not a caption of the demo's grammar: a COLOUR SHAPE[ moving "
                        "DIRECTION][ over a COLOUR background]",
                        text);
    return SDT_OK;
}

/* ---- templates ------------------------------------------------------------------------------- */

/* A picture of one bit a pixel: bit x of row y. */
struct mask {
    uint64_t row[SIZE];
    int area;
};

/* Rows -REACH .. REACH-1 around the centre, which lies between pixels; bit c is column c -
 * REACH. */
struct template {
    uint32_t row[2 * REACH];
    int area;
};

static void draw(int shape, int radius, struct template *t) {
    t->area = 0;
    for (int y = 0; y < 2 * REACH; y++) {
        t->row[y] = 0;
        for (int x = 0; x < 2 * REACH; x++)
            if (app_shape_distance(shape, x + 0.5 - REACH, y + 0.5 - REACH, radius) < 0.0)
                t->row[y] |= UINT32_C(1) << x;
        t->area += __builtin_popcount(t->row[y]);
    }
}

struct fit {
    double iou;
    int x, y; /* of the centre, in pixels from the left and the top */
};

/* The best place of a shape of any radius that lies wholly inside the picture. */
static struct fit best_fit(const struct mask *mask, const struct template *templates) {
    struct fit best = {0};
    for (int r = 0; r < RADII; r++) {
        const struct template *t = &templates[r];
        int radius = LEAST_RADIUS + r;
        for (int y = radius; y <= SIZE - radius; y++)
            for (int x = radius; x <= SIZE - radius; x++) {
                int both = 0;
                for (int i = REACH - radius; i < REACH + radius; i++) {
                    uint64_t row = t->row[i];
                    row = x >= REACH ? row << (x - REACH) : row >> (REACH - x);
                    both += __builtin_popcountll(mask->row[y - REACH + i] & row);
                }
                double iou = (double)both / (mask->area + t->area - both);
                if (iou > best.iou)
                    best = (struct fit){iou, x, y};
            }
    }
    return best;
}

static void split_by_colour(const float *frame /* [64, 64, 3] */,
                            struct mask *mask /* [COLOURS] */) {
    memset(mask, 0, COLOURS * sizeof *mask);
    for (int p = 0; p < SIZE * SIZE; p++) {
        int nearest = 0;
        float least = INFINITY;
        for (int c = 0; c < COLOURS; c++) {
            const float *rgb = app_colour_rgb(c);
            float distance = 0.0f;
            for (int i = 0; i < 3; i++) {
                float value = fminf(fmaxf(frame[3 * p + i] * 0.5f + 0.5f, 0.0f), 1.0f) * 255.0f;
                distance += (value - rgb[i]) * (value - rgb[i]);
            }
            if (distance < least) {
                least = distance;
                nearest = c;
            }
        }
        mask[nearest].row[p / SIZE] |= UINT64_C(1) << (p % SIZE);
        mask[nearest].area++;
    }
}

void app_look(const float *pixels, int frames, struct app_scene *scene) {
    struct template templates[SHAPES][RADII];
    struct mask mask[COLOURS];
    struct fit fit[3][COLOURS][SHAPES];
    int area[COLOURS] = {0};
    const int at[3] = {0, frames / 2, frames - 1};

    for (int s = 0; s < SHAPES; s++)
        for (int r = 0; r < RADII; r++)
            draw(s, LEAST_RADIUS + r, &templates[s][r]);
    for (int i = 0; i < 3; i++) {
        split_by_colour(pixels + (size_t)at[i] * SIZE * SIZE * 3, mask);
        for (int c = 0; c < COLOURS; c++) {
            area[c] += mask[c].area;
            for (int s = 0; s < SHAPES; s++)
                fit[i][c][s] = best_fit(&mask[c], templates[s]);
        }
    }
    *scene = (struct app_scene){.part = {-1, -1, -1, -1}, .iou = -1.0};
    for (int c = 0; c < COLOURS; c++)
        for (int s = 0; s < SHAPES; s++) {
            double iou = (fit[0][c][s].iou + fit[1][c][s].iou + fit[2][c][s].iou) / 3.0;
            if (iou > scene->iou) {
                scene->iou = iou;
                scene->part[APP_COLOUR] = c;
                scene->part[APP_SHAPE] = s;
            }
        }
    int colour = scene->part[APP_COLOUR], shape = scene->part[APP_SHAPE];
    int right = fit[2][colour][shape].x - fit[0][colour][shape].x;
    int down = fit[2][colour][shape].y - fit[0][colour][shape].y;
    if (abs(right) >= abs(down) && abs(right) >= LEAST_MOTION)
        scene->part[APP_DIRECTION] = right < 0 ? 0 : 1;
    else if (abs(down) > abs(right) && abs(down) >= LEAST_MOTION)
        scene->part[APP_DIRECTION] = down < 0 ? 2 : 3;
    for (int c = 0; c < COLOURS; c++)
        if (c != colour &&
            (scene->part[APP_BACKGROUND] < 0 || area[c] > area[scene->part[APP_BACKGROUND]]))
            scene->part[APP_BACKGROUND] = c;
}

void app_score_add(struct app_score *score, const struct app_scene *caption,
                   const struct app_scene *seen) {
    for (int p = 0; p < APP_PARTS; p++) {
        score->asked[p] += caption->part[p] >= 0;
        score->right[p] += caption->part[p] >= 0 && caption->part[p] == seen->part[p];
    }
}

/* The scorer of the demo's videos on clips whose truth is known: rendered here, after the geometry
 * that checkpoints/README.md states. */
#include "bench/shapes.h"

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/check.h"

enum { CLIPS = 300, FRAMES = 17, SIZE = APP_SHAPES_SIZE };
#define OUTLINE 2.0 /* pixels over which an outline fades */

static uint64_t state = 1;

/* 0 to below 1 */
static double uniform(void) {
    state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (double)(state >> 11) * 0x1p-53;
}

static int choose(int n) { return (int)(uniform() * n); }

struct clip {
    struct app_scene truth;
    double radius, x, y, dx, dy; /* the centre in frame 0, and its way per frame */
};

static struct clip draw_clip(void) {
    static const int right[] = {-1, 1, 0, 0}, down[] = {0, 0, -1, 1};
    int colour = choose(6), other = choose(5), direction = choose(4);
    struct clip clip = {
        .truth = {.part = {colour, choose(3), direction, other + (other >= colour)}},
        .radius = 12.0 + 4.0 * uniform()};
    double near = clip.radius + 1.0, span = SIZE - 2.0 * near, start = 5.0 * uniform();
    double travel = 20.0 + (span - start - 20.0) * uniform();
    bool forwards = right[direction] + down[direction] > 0;
    double along = forwards ? near + start : SIZE - near - start;
    double across = near + span * uniform();
    clip.x = right[direction] ? along : across;
    clip.y = right[direction] ? across : along;
    clip.dx = right[direction] * travel / (FRAMES - 1);
    clip.dy = down[direction] * travel / (FRAMES - 1);
    return clip;
}

static void render(const struct clip *clip, float *pixels /* [FRAMES, SIZE, SIZE, 3] */) {
    const float *front = app_colour_rgb(clip->truth.part[APP_COLOUR]);
    const float *back = app_colour_rgb(clip->truth.part[APP_BACKGROUND]);
    for (int t = 0; t < FRAMES; t++)
        for (int y = 0; y < SIZE; y++)
            for (int x = 0; x < SIZE; x++) {
                double distance = app_shape_distance(
                    clip->truth.part[APP_SHAPE], x + 0.5 - clip->x - clip->dx * t,
                    y + 0.5 - clip->y - clip->dy * t, clip->radius);
                float cover = (float)fmin(fmax(0.5 - distance / OUTLINE, 0.0), 1.0);
                for (int c = 0; c < 3; c++)
                    *pixels++ = (back[c] + (front[c] - back[c]) * cover) / 127.5f - 1.0f;
            }
}

static void check_captions(void) {
    static const char *const wrong[] = {"",
                                        "a",
                                        "a red",
                                        "red circle",
                                        "a red circle ",
                                        "a red circles",
                                        "a pink circle",
                                        "a red circle moving",
                                        "a red circle moving north",
                                        "a red circle over a blue",
                                        "a red circle over a blue background ",
                                        "a red circle over a blue background moving right"};
    struct app_scene scene;
    struct sdt_error err;
    CHECK(app_caption_read("a black triangle moving up over a white background", &scene, &err) ==
                  SDT_OK &&
              scene.part[APP_COLOUR] == 5 && scene.part[APP_SHAPE] == 2 &&
              scene.part[APP_DIRECTION] == 2 && scene.part[APP_BACKGROUND] == 4,
          "a whole caption");
    CHECK(app_caption_read("a green square", &scene, &err) == SDT_OK &&
              scene.part[APP_COLOUR] == 1 && scene.part[APP_SHAPE] == 1 &&
              scene.part[APP_DIRECTION] == -1 && scene.part[APP_BACKGROUND] == -1,
          "a short caption");
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        CHECK(app_caption_read(wrong[i], &scene, &err) == SDT_ERROR_USAGE, "'%s' is taken",
              wrong[i]);
}

int main(void) {
    struct clip *clip = calloc(CLIPS, sizeof *clip);
    struct app_scene *seen = calloc(CLIPS, sizeof *seen);
    float *pixels = malloc(sizeof *pixels * FRAMES * SIZE * SIZE * 3);
    struct app_score truth = {0}, shuffled = {0}, still = {0};
    if (!clip || !seen || !pixels)
        return 99;

    check_captions();
    for (int i = 0; i < CLIPS; i++) {
        clip[i] = draw_clip();
        render(&clip[i], pixels);
        app_look(pixels, FRAMES, &seen[i]);
    }
    for (int i = 0; i < CLIPS; i++) {
        app_score_add(&truth, &clip[i].truth, &seen[i]);
        app_score_add(&shuffled, &clip[(i + 1) % CLIPS].truth, &seen[i]);
    }
    for (int p = 0; p < APP_PARTS; p++) {
        printf("%-10s truth %d of %d, captions shuffled %d of %d\n", app_part_name(p),
               truth.right[p], truth.asked[p], shuffled.right[p], shuffled.asked[p]);
        CHECK(truth.asked[p] == CLIPS && truth.right[p] == CLIPS, "%s: truth is not seen",
              app_part_name(p));
        CHECK(shuffled.right[p] <= CLIPS * 45 / 100, "%s: wrong captions pass", app_part_name(p));
    }
    /* What does not move has no direction. */
    clip[0].dx = clip[0].dy = 0.0;
    render(&clip[0], pixels);
    app_look(pixels, FRAMES, &seen[0]);
    app_score_add(&still, &clip[0].truth, &seen[0]);
    CHECK(still.right[APP_COLOUR] == 1 && seen[0].part[APP_DIRECTION] == -1,
          "a still shape has direction %d", seen[0].part[APP_DIRECTION]);
    free(clip);
    free(seen);
    free(pixels);
    return failures ? 1 : 0;
}

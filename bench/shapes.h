/* What the demo checkpoint's videos show: captions of its grammar, and a scorer that looks.
 *
 * checkpoints/stardit-demo draws one flat shape that moves over a flat background.
 * checkpoints/README.md states the grammar and the geometry; checkpoints/training/shapes.py is the
 * same in Python, and drew the data. So a video can be judged by what it means, not by how near it
 * is to another one: that is what lossy methods need. */
#ifndef STARDIT_APPS_SHAPES_H
#define STARDIT_APPS_SHAPES_H

#include <stdbool.h>

#include "stardit/status.h"

enum { APP_SHAPES_SIZE = 64 }; /* pixels in a row and in a column of a video */

enum app_part { APP_COLOUR, APP_SHAPE, APP_DIRECTION, APP_BACKGROUND, APP_PARTS };

/* What a caption says or a video shows: an index per part, or -1: not said, or no motion.
 *   colour, background: red green blue yellow white black
 *   shape: circle square triangle
 *   direction: left right up down */
struct app_scene {
    int part[APP_PARTS];
    double iou; /* of a video: overlap of the best template, mean of three frames, 0..1 */
};

/* "colour" and so on. */
const char *app_part_name(enum app_part part);
/* RGB, 0..255. */
const float *app_colour_rgb(int colour);
/* Signed distance, negative inside, of a point from a shape's outline; x, y relative to its centre,
 * y downwards, in the unit of radius. */
double app_shape_distance(int shape, double x, double y, double radius);

/* "a COLOUR SHAPE[ moving DIRECTION][ over a COLOUR background]". SDT_ERROR_USAGE for other
 * text. */
enum sdt_status app_caption_read(const char *text, struct app_scene *scene, struct sdt_error *err);

/* Says what a video shows. In the first, the middle and the last frame every pixel becomes the
 * nearest of the six colours; each colour's mask is compared with the three shapes of radius 12 to
 * 16 at every position by intersection over union. The (colour, shape) with the largest sum over
 * the frames is what it shows, its positions in the first and last frame give the direction (none
 * below 8 pixels), and the colour with most other pixels is the background. */
void app_look(const float *pixels /* [frames, 64, 64, 3], RGB, -1..1 */, int frames,
              struct app_scene *scene);

/* Counts over videos: of those whose caption names a part, how many show it. */
struct app_score {
    int right[APP_PARTS], asked[APP_PARTS];
};
void app_score_add(struct app_score *score, const struct app_scene *caption,
                   const struct app_scene *seen);
#endif

/* An SVG: numbers as points on a line, names as bars; both axes begin at 0. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "apps/sweep_plot.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/target.h"

enum { WIDTH = 640, HEIGHT = 360, LEFT = 80, TOP = 40, RIGHT = 30, BOTTOM = 60 };

struct scale {
    bool numbers; /* along x */
    double most_x, most_y, tick_x, tick_y;
};

/* 1, 2 or 5 times a power of ten, so that there are about eight. */
static double tick_of(double most) {
    double tick = pow(10.0, floor(log10(most / 8.0)));
    double ticks = most / tick;
    return ticks > 40.0 ? 5.0 * tick : ticks > 16.0 ? 2.0 * tick : tick;
}

static bool number(const char *text, double *value) {
    char *end;
    *value = strtod(text, &end);
    return end != text && !*end && isfinite(*value) && *value >= 0.0;
}

static struct scale scale_of(const struct app_plot *plot) {
    struct scale scale = {.numbers = true};
    double x;
    for (int i = 0; i < plot->count; i++) {
        scale.numbers = scale.numbers && number(plot->label[i], &x);
        scale.most_x = scale.numbers ? fmax(scale.most_x, x) : 0.0;
        if (!isnan(plot->value[i]))
            scale.most_y = fmax(scale.most_y, plot->value[i]);
    }
    scale.numbers = scale.numbers && scale.most_x > 0.0;
    scale.most_y = scale.most_y > 0.0 ? 1.05 * scale.most_y : 1.0;
    scale.tick_x = scale.numbers ? tick_of(scale.most_x) : 1.0;
    scale.tick_y = tick_of(scale.most_y);
    return scale;
}

static double place_x(const struct scale *scale, const struct app_plot *plot, int i) {
    double x = i + 0.5;
    if (scale->numbers)
        number(plot->label[i], &x);
    return LEFT + WIDTH * x / (scale->numbers ? 1.03 * scale->most_x : plot->count);
}

static double place_y(const struct scale *scale, double y) {
    return TOP + HEIGHT * (1.0 - y / scale->most_y);
}

/* Text as XML has it. */
static void write_text(FILE *file, const char *text) {
    for (; *text; text++)
        if (strchr("<>&\"", *text))
            fprintf(file, "&#%d;", *text);
        else
            fputc(*text, file);
}

static void write_label(FILE *file, double x, double y, const char *anchor, const char *text) {
    fprintf(file, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\">", x, y, anchor);
    write_text(file, text);
    fprintf(file, "</text>\n");
}

static void write_axes(const struct scale *scale, const struct app_plot *plot, FILE *file) {
    char text[40];
    fprintf(file, "<path d=\"M%d %dv%dh%d\" fill=\"none\" stroke=\"black\"/>\n", LEFT, TOP, HEIGHT,
            WIDTH);
    for (int i = 0; i * scale->tick_y <= scale->most_y; i++) {
        double y = place_y(scale, i * scale->tick_y);
        fprintf(file, "<path d=\"M%d %.1fh%d\" stroke=\"#dddddd\"/>\n", LEFT, y, WIDTH);
        snprintf(text, sizeof text, "%.6g", i * scale->tick_y);
        write_label(file, LEFT - 8, y + 4, "end", text);
    }
    for (int i = 0; scale->numbers && i * scale->tick_x <= scale->most_x * (1.0 + 1e-9); i++) {
        double x = LEFT + WIDTH * i * scale->tick_x / (1.03 * scale->most_x);
        fprintf(file, "<path d=\"M%.1f %dv5\" stroke=\"black\"/>\n", x, TOP + HEIGHT);
        snprintf(text, sizeof text, "%.6g", i * scale->tick_x);
        write_label(file, x, TOP + HEIGHT + 19, "middle", text);
    }
    for (int i = 0; !scale->numbers && i < plot->count; i++)
        write_label(file, place_x(scale, plot, i), TOP + HEIGHT + 19, "middle", plot->label[i]);
    write_label(file, LEFT + WIDTH / 2.0, TOP + HEIGHT + 44, "middle", plot->x);
    fprintf(file, "<g transform=\"translate(20 %d) rotate(-90)\">", TOP + HEIGHT / 2);
    write_label(file, 0.0, 0.0, "middle", plot->y);
    fprintf(file, "</g>\n");
    write_label(file, LEFT, TOP - 16, "start", plot->title);
}

static void write_values(const struct scale *scale, const struct app_plot *plot, FILE *file) {
    double width = 0.6 * WIDTH / plot->count;
    bool begun = false;
    if (scale->numbers) {
        fprintf(file, "<path fill=\"none\" stroke=\"#4c78a8\" stroke-width=\"2\" d=\"");
        for (int i = 0; i < plot->count; i++) {
            if (!isnan(plot->value[i]))
                fprintf(file, "%s%.1f %.1f", begun ? "L" : "M", place_x(scale, plot, i),
                        place_y(scale, plot->value[i]));
            begun |= !isnan(plot->value[i]);
        }
        fprintf(file, "\"/>\n");
    }
    for (int i = 0; i < plot->count; i++) {
        double x = place_x(scale, plot, i), y = place_y(scale, plot->value[i]);
        if (isnan(plot->value[i]))
            continue;
        if (scale->numbers)
            fprintf(file, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"4\" fill=\"#4c78a8\"/>\n", x, y);
        else
            fprintf(file,
                    "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" "
                    "fill=\"#4c78a8\"/>\n",
                    x - width / 2.0, y, width, TOP + HEIGHT - y);
    }
}

static void write_plot(FILE *file, const void *arg) {
    const struct app_plot *plot = arg;
    const struct scale scale = scale_of(plot);
    fprintf(file,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" "
            "font-family=\"sans-serif\" font-size=\"12\">\n"
            "<rect width=\"100%%\" height=\"100%%\" fill=\"white\"/>\n",
            LEFT + WIDTH + RIGHT, TOP + HEIGHT + BOTTOM);
    write_axes(&scale, plot, file);
    write_values(&scale, plot, file);
    fprintf(file, "</svg>\n");
}

enum sdt_status app_plot_write(const struct app_plot *plot, const char *path,
                               struct sdt_error *err) {
    return sdt__target_write(path, write_plot, plot, err);
}

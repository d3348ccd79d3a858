/* A Gantt picture: a row for each device, a colour for each role, time to the right. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "apps/simulate.h"
#include "base/target.h"
#include "runtime/machine.h"

enum { COLUMNS = 1000, ROW = 26, GAP = 8, LEFT = 80, TOP = 20, MOST_ROWS = SDT_MAX_DEVICES };

/* Seconds of each role in each column of each device. */
struct picture {
    double begin, column; /* seconds */
    int devices;
    const struct sdt_machine *machine;
    float (*share)[COLUMNS][SDT_ROLES]; /* [devices] */
};

static const char *const colour[SDT_ROLES] = {
    [SDT_ROLE_PROJECT] = "#4c78a8",  [SDT_ROLE_ATTENTION] = "#f2b134",
    [SDT_ROLE_EXCHANGE] = "#d1495b", [SDT_ROLE_ROUND] = "#a23b72",
    [SDT_ROLE_DENOISE] = "#9ecae9",  [SDT_ROLE_VAE] = "#59a14f",
    [SDT_ROLE_TEXT] = "#b07aa1",     [SDT_ROLE_IO] = "#bab0ac",
};

static void add(void *arg, const struct sdt_record_view *record) {
    struct picture *picture = arg;
    if (record->device < 0 || record->device >= picture->devices)
        return;
    double from = (1e-6 * record->start_us - picture->begin) / picture->column;
    double to = (1e-6 * record->end_us - picture->begin) / picture->column;
    for (int c = from > 0.0 ? (int)from : 0; c < COLUMNS && c < to; c++) {
        double part = fmin(to, c + 1.0) - fmax(from, c);
        if (part > 0.0) /* all workers of a CPU device are one row */
            picture->share[record->device][c][record->tag->role] +=
                (float)(part / picture->machine->device[record->device].workers);
    }
}

/* A tick's distance: 1, 2 or 5 times a power of ten, about ten of them. */
static double tick_of(double seconds) {
    double tick = pow(10.0, floor(log10(seconds / 10.0)));
    return seconds / tick > 50.0 ? 5.0 * tick : seconds / tick > 20.0 ? 2.0 * tick : tick;
}

static bool alike(const float *a, const float *b) {
    for (int r = 0; r < SDT_ROLES; r++)
        if (fabsf(a[r] - b[r]) > 0.02f)
            return false;
    return true;
}

/* Roles of neighbouring columns with the same shares, one above the other. */
static void write_device(const struct picture *picture, int device, FILE *file) {
    int top = TOP + device * (ROW + GAP);
    fprintf(file, "<text x=\"%d\" y=\"%d\" text-anchor=\"end\">device %d</text>\n", LEFT - 8,
            top + ROW / 2 + 4, device);
    fprintf(file, "<rect x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\" fill=\"#f4f4f4\"/>\n", LEFT,
            top, COLUMNS, ROW);
    for (int c = 0, next; c < COLUMNS; c = next) {
        const float *share = picture->share[device][c];
        next = c + 1;
        while (next < COLUMNS && alike(share, picture->share[device][next]))
            next++;
        double y = top + ROW;
        for (int r = 0; r < SDT_ROLES; r++) {
            if (share[r] < 0.005f)
                continue;
            y -= ROW * share[r];
            fprintf(file, "<rect x=\"%d\" y=\"%.2f\" width=\"%d\" height=\"%.2f\" fill=\"%s\"/>\n",
                    LEFT + c, y, next - c, ROW * share[r], colour[r]);
        }
    }
}

static void write_axis(const struct picture *picture, double seconds, FILE *file) {
    int y = TOP + picture->devices * (ROW + GAP);
    double tick = tick_of(seconds);
    fprintf(file, "<path d=\"M%d %dh%d\" stroke=\"black\"/>\n", LEFT, y, COLUMNS);
    for (int i = 0; i * tick <= seconds * (1.0 + 1e-9); i++) {
        double x = LEFT + i * tick / seconds * COLUMNS;
        fprintf(file,
                "<path d=\"M%.2f %dv5\" stroke=\"black\"/><text x=\"%.2f\" y=\"%d\" "
                "text-anchor=\"middle\">%g%s</text>\n",
                x, y, x, y + 19, i * tick, i ? "" : " s");
    }
}

static void write_legend(const struct picture *picture, FILE *file) {
    int x = LEFT, y = TOP + picture->devices * (ROW + GAP) + 36;
    for (int r = 0; r < SDT_ROLES; r++) {
        bool used = false;
        for (int d = 0; d < picture->devices && !used; d++)
            for (int c = 0; c < COLUMNS && !used; c++)
                used = picture->share[d][c][r] >= 0.005f;
        if (!used)
            continue;
        fprintf(file,
                "<rect x=\"%d\" y=\"%d\" width=\"12\" height=\"12\" fill=\"%s\"/>"
                "<text x=\"%d\" y=\"%d\">%s</text>\n",
                x, y, colour[r], x + 17, y + 10, sdt_role_name(r));
        x += 110;
    }
}

static void write_picture(FILE *file, const void *arg) {
    const struct picture *picture = arg;
    fprintf(file,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" "
            "font-family=\"sans-serif\" font-size=\"12\">\n"
            "<rect width=\"100%%\" height=\"100%%\" fill=\"white\"/>\n",
            LEFT + COLUMNS + 30, TOP + picture->devices * (ROW + GAP) + 60);
    for (int d = 0; d < picture->devices; d++)
        write_device(picture, d, file);
    write_axis(picture, COLUMNS * picture->column, file);
    write_legend(picture, file);
    fprintf(file, "</svg>\n");
}

enum sdt_status app_gantt_write(const struct sdt_machine *machine, double begin, double end,
                                const char *path, struct sdt_error *err) {
    struct picture picture = {.begin = begin,
                              .column = (end - begin) / COLUMNS,
                              .devices = machine->devices,
                              .machine = machine};
    picture.share = calloc((size_t)machine->devices, sizeof *picture.share);
    if (!picture.share)
        return sdt_fail(err, SDT_ERROR_MEMORY, "out of memory for a picture");
    sdt__recorder_each(machine->recorder, add, &picture);
    enum sdt_status status = sdt__target_write(path, write_picture, &picture, err);
    free(picture.share);
    return status;
}

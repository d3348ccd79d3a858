/* --sweep: the same simulation with several values of one option, each in a process of its own, as
 * many at once as there are cores. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "apps/simulate.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <starpu.h>

#include "apps/options.h"
#include "apps/simulated.h"
#include "apps/sweep_plot.h"
#include "base/folder.h"
#include "base/target.h"
#include "runtime/allowance.h"

static const char name_of_program[] = "stardit-simulate";

enum { MOST_VALUES = 256, VALUE_LENGTH = 200, PATH_LENGTH = 4200, MOST_COLUMNS = 6 };

/* What is taken from the statistics: where it stands, and how it is shown. */
struct column {
    const char *object, *key, *title, *csv; /* object: NULL: at the top */
    double factor;
};
static const struct column of_runs[] = {
    {NULL, "total_seconds", "total s", "total_s", 1.0},
    {NULL, "seconds_per_video", "a video s", "video_s", 1.0},
    {NULL, "step_seconds", "step s", "step_s", 1.0},
    {"bounds", "ratio", "ratio", "ratio", 1.0},
    {NULL, "exchange_hidden", "hidden %", "hidden_percent", 100.0},
    {NULL, "peak_bytes", "peak GB", "peak_gb", 1e-9}, /* of the device that holds most */
};
static const struct column of_steps[] = {
    {"step", "seconds", "step s", "step_s", 1.0},
    {"step", "computing_seconds", "computing s", "computing_s", 1.0},
    {"step", "exposed_seconds", "exposed s", "exposed_s", 1.0},
    {"step", "received_bytes", "received GB", "received_gb", 1e-9},
    {"step", "peak_bytes", "memory GB", "memory_gb", 1e-9},
    {"step", "tasks", "tasks", "tasks", 1.0},
};

struct point {
    char value[VALUE_LENGTH], stats[PATH_LENGTH], errors[PATH_LENGTH], why[600];
    struct app_simulation_process process;
    double number[MOST_COLUMNS];
    bool failed;
};

struct sweep {
    const struct app_simulation *s;
    char name[64], option[70]; /* "devices", "--devices" */
    char **argv;
    const struct column *column;
    int count;
    struct point *point; /* [count] */
};

/* ---- the values ------------------------------------------------------------------------------ */

static enum sdt_status add(struct sweep *sweep, const char *value, size_t length,
                           struct sdt_error *err) {
    if (length == 0 || length >= VALUE_LENGTH || sweep->count == MOST_VALUES)
        return sdt_fail(err, SDT_ERROR_USAGE,
                        "--sweep %s: must be NAME= and 1 to %d values, as devices=1..8 or "
                        "scheduler=pipedit,lws",
                        sweep->s->sweep, MOST_VALUES);
    struct point *point = &sweep->point[sweep->count++];
    snprintf(point->value, VALUE_LENGTH, "%.*s", (int)length, value);
    return SDT_OK;
}

/* "1..8": whole numbers. */
static bool range(const char *text, size_t length, long *first, long *last) {
    char copy[VALUE_LENGTH], *end;
    if (length >= sizeof copy)
        return false;
    snprintf(copy, sizeof copy, "%.*s", (int)length, text);
    char *dots = strstr(copy, "..");
    if (!dots)
        return false;
    *first = strtol(copy, &end, 10);
    bool fine = end == dots && end != copy;
    *last = strtol(dots + 2, &end, 10);
    return fine && end != dots + 2 && !*end && *first >= 0 && *last >= *first &&
           *last - *first < 100000;
}

static enum sdt_status read_values(struct sweep *sweep, const char *text, struct sdt_error *err) {
    const char apart = strchr(text, ';') ? ';' : ',';
    enum sdt_status status = SDT_OK;
    for (const char *at = text, *next; at && status == SDT_OK; at = next) {
        const char *end = strchrnul(at, apart);
        long first, last;
        size_t length = (size_t)(end - at);
        next = *end ? end + 1 : NULL;
        if (!range(at, length, &first, &last)) {
            /* "1..": a range that lacks something; "../x" is a file. */
            bool half = *at >= '0' && *at <= '9' && memmem(at, length, "..", 2);
            status = add(sweep, at, half ? 0 : length, err);
            continue;
        }
        for (long v = first; v <= last && status == SDT_OK; v++) {
            char number[24];
            snprintf(number, sizeof number, "%ld", v);
            status = add(sweep, number, strlen(number), err);
        }
    }
    return status;
}

/* The option is there and takes a value that is not a file to be written. */
static enum sdt_status read_name(struct sweep *sweep, const struct app_program *program,
                                 struct sdt_error *err) {
    static const char *const not [] = {"sweep", "csv", "svg", "stats", "trace", "dot", "gantt"};
    const char *text = sweep->s->sweep, *equals = strchr(text, '=');
    size_t length = equals ? (size_t)(equals - text) : strlen(text);
    bool fine = equals && length < sizeof sweep->name;
    snprintf(sweep->name, sizeof sweep->name, "%.*s", (int)length, text);
    snprintf(sweep->option, sizeof sweep->option, "--%s", sweep->name);
    for (size_t i = 0; i < sizeof not / sizeof not [0]; i++)
        fine = fine && strcmp(not [i], sweep -> name) != 0;
    const struct app_option *option = NULL;
    for (size_t i = 0; fine && i < program->count; i++)
        if (program->options[i].name && !strcmp(program->options[i].name, sweep->name))
            option = &program->options[i];
    if (!option || option->type == APP_FLAG)
        return sdt_fail(err, SDT_ERROR_USAGE,
                        "--sweep %s: must begin with an option that takes a value, as devices=1..8",
                        text);
    return read_values(sweep, equals + 1, err);
}

/* What this StarPU cannot simulate is left out, with a line. */
static void leave_out(struct sweep *sweep) {
    int kept = 0;
    const char *first = NULL;
    for (int i = 0; i < sweep->count && !strcmp(sweep->name, "devices"); i++)
        if (atol(sweep->point[i].value) > STARPU_MAXCUDADEVS && !first)
            first = sweep->point[i].value;
    if (!first)
        return;
    fprintf(stderr,
            "%s: --sweep devices: left out from %s on, since this StarPU simulates at most %d "
            "(starpu/build.sh, --enable-maxcudadev)\n",
            name_of_program, first, STARPU_MAXCUDADEVS);
    for (int i = 0; i < sweep->count; i++)
        if (atol(sweep->point[i].value) <= STARPU_MAXCUDADEVS)
            sweep->point[kept++] = sweep->point[i];
    sweep->count = kept;
}

/* ---- running --------------------------------------------------------------------------------- */

/* What the runs have of the command line: all but --sweep, --csv and --svg. */
static enum sdt_status copy_arguments(struct sweep *sweep, char **argv, struct sdt_error *err) {
    static const char *const own[] = {"--sweep", "--csv", "--svg"};
    int count = 0, kept = 0;
    while (argv[count])
        count++;
    sweep->argv = calloc((size_t)count + 5, sizeof *sweep->argv);
    if (!sweep->argv)
        return sdt_fail(err, SDT_ERROR_MEMORY, "out of memory for --sweep");
    for (int i = 0; i < count; i++) {
        bool mine = false;
        for (size_t o = 0; o < sizeof own / sizeof own[0]; o++) {
            size_t length = strlen(own[o]);
            if (!strcmp(argv[i], own[o])) {
                mine = true;
                i++; /* its value */
                break;
            }
            mine |= !strncmp(argv[i], own[o], length) && argv[i][length] == '=';
        }
        if (!mine)
            sweep->argv[kept++] = argv[i];
    }
    return SDT_OK;
}

static enum sdt_status start(const struct sweep *sweep, struct point *point,
                             struct sdt_error *err) {
    int count = 0;
    while (sweep->argv[count])
        count++;
    const char **argv = calloc((size_t)count + 5, sizeof *argv);
    if (!argv)
        return sdt_fail(err, SDT_ERROR_MEMORY, "out of memory for --sweep");
    memcpy(argv, sweep->argv, (size_t)count * sizeof *argv);
    const char *const more[] = {sweep->option, point->value, "--stats", point->stats};
    memcpy(argv + count, more, sizeof more);
    enum sdt_status status =
        app_simulation_start("/proc/self/exe", argv, point->errors, &point->process, err);
    free(argv);
    return status;
}

/* The largest of all devices' peaks. */
static double peak_of(const json_t *stats) {
    double most = 0.0;
    const json_t *device;
    size_t index;
    json_array_foreach(json_object_get(stats, "device"), index, device) most =
        fmax(most, json_number_value(json_object_get(device, "peak_bytes")));
    return most;
}

static void finish(const struct sweep *sweep, struct point *point) {
    struct sdt_error err;
    app_simulation_wait(&point->process);
    json_t *stats = app_simulation_stats(point->stats, point->errors, &point->process, &err);
    point->failed = !stats;
    if (!stats)
        snprintf(point->why, sizeof point->why, "%s", err.message);
    for (int c = 0; c < MOST_COLUMNS; c++) {
        const struct column *column = &sweep->column[c];
        const json_t *from = column->object ? json_object_get(stats, column->object) : stats;
        const json_t *number = json_object_get(from, column->key);
        point->number[c] =
            json_is_number(number) ? column->factor * json_number_value(number) : NAN;
        if (stats && !column->object && !strcmp(column->key, "peak_bytes"))
            point->number[c] = column->factor * peak_of(stats);
    }
    json_decref(stats);
}

static enum sdt_status run_all(struct sweep *sweep, const char *folder, struct sdt_error *err) {
    struct sdt_allowance allowance;
    int started = 0, ended = 0;
    enum sdt_status status = SDT_OK;
    sdt__allowance_read("", &allowance);
    for (int i = 0; i < sweep->count; i++) {
        struct point *point = &sweep->point[i];
        snprintf(point->stats, sizeof point->stats, "%s/%d.json", folder, i);
        snprintf(point->errors, sizeof point->errors, "%s/%d.err", folder, i);
    }
    while (ended < started || (started < sweep->count && status == SDT_OK)) {
        if (started < sweep->count && started - ended < allowance.workers && status == SDT_OK) {
            status = start(sweep, &sweep->point[started], err);
            started += status == SDT_OK;
        } else {
            finish(sweep, &sweep->point[ended++]);
        }
    }
    return status;
}

/* ---- what is shown --------------------------------------------------------------------------- */

static void print(const struct sweep *sweep) {
    size_t width = strlen(sweep->name);
    for (int i = 0; i < sweep->count; i++)
        width = strlen(sweep->point[i].value) > width ? strlen(sweep->point[i].value) : width;
    printf("%-*s", (int)width, sweep->name);
    for (int c = 0; c < MOST_COLUMNS; c++)
        printf(" %12s", sweep->column[c].title);
    printf("\n");
    for (int i = 0; i < sweep->count; i++) {
        const struct point *point = &sweep->point[i];
        printf("%-*s", (int)width, point->value);
        for (int c = 0; c < MOST_COLUMNS && !point->failed; c++)
            if (isnan(point->number[c]))
                printf(" %12s", "-");
            else
                printf(" %12.6g", point->number[c]);
        printf("%s\n", point->failed ? "       failed" : "");
    }
}

static void write_csv(FILE *file, const void *arg) {
    const struct sweep *sweep = arg;
    fprintf(file, "%s", sweep->name);
    for (int c = 0; c < MOST_COLUMNS; c++)
        fprintf(file, ",%s", sweep->column[c].csv);
    fprintf(file, "\n");
    for (int i = 0; i < sweep->count; i++) {
        const struct point *point = &sweep->point[i];
        const char *quote = strpbrk(point->value, ",\"") ? "\"" : "";
        fprintf(file, "%s%s%s", quote, point->value, quote);
        for (int c = 0; c < MOST_COLUMNS; c++)
            if (point->failed || isnan(point->number[c]))
                fprintf(file, ",");
            else
                fprintf(file, ",%.9g", point->number[c]);
        fprintf(file, "\n");
    }
}

static enum sdt_status save_plot(const struct sweep *sweep, const char *path,
                                 struct sdt_error *err) {
    const char *label[MOST_VALUES];
    double value[MOST_VALUES];
    const struct app_simulation *s = sweep->s;
    char title[300], y[40];
    for (int i = 0; i < sweep->count; i++) {
        const char *slash = strrchr(sweep->point[i].value, '/');
        label[i] = slash && slash[1] ? slash + 1 : sweep->point[i].value;
        value[i] = sweep->point[i].failed ? NAN : sweep->point[i].number[0];
    }
    snprintf(title, sizeof title, "%s on %s", s->model,
             s->platform_path ? s->platform_path : "nvswitch-8");
    snprintf(y, sizeof y, "%s", s->prompts ? "total, s" : "step, s");
    const struct app_plot plot = {title, sweep->name, y, sweep->count, label, value};
    return app_plot_write(&plot, path, err);
}

int app_simulate_sweep(const struct app_simulation *s, const struct app_program *program,
                       char **argv) {
    struct sweep sweep = {.s = s, .column = s->prompts ? of_runs : of_steps};
    struct sdt_error err;
    char *folder = NULL;
    int failed = 0;
    sweep.point = calloc(MOST_VALUES, sizeof *sweep.point);
    enum sdt_status status = sweep.point ? read_name(&sweep, program, &err)
                                         : sdt_fail(&err, SDT_ERROR_MEMORY, "out of memory");
    if (status == SDT_OK)
        status = copy_arguments(&sweep, argv, &err);
    if (status == SDT_OK)
        status = sdt__folder_make(&folder, &err);
    if (status == SDT_OK) {
        leave_out(&sweep);
        status = run_all(&sweep, folder, &err);
    }
    if (status == SDT_OK)
        print(&sweep);
    if (status == SDT_OK && s->csv)
        status = sdt__target_write(s->csv, write_csv, &sweep, &err);
    if (status == SDT_OK && s->svg)
        status = save_plot(&sweep, s->svg, &err);
    for (int i = 0; status == SDT_OK && i < sweep.count; i++)
        if (sweep.point[i].failed && ++failed)
            fprintf(stderr, "%s: %s %s: %s\n", name_of_program, sweep.option, sweep.point[i].value,
                    sweep.point[i].why);
    sdt__folder_remove(folder);
    free(sweep.argv);
    free(sweep.point);
    if (status != SDT_OK)
        return app_report(name_of_program, &err);
    int code = app_flush(name_of_program);
    return failed ? 1 : code;
}

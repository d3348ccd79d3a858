/* Published times beside simulated ones: a file's systems and rows. Rows that differ only in their
 * steps are one comparison (simulate_compare.c), in a process of its own. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "apps/simulate.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "apps/options.h"
#include "base/folder.h"
#include "runtime/allowance.h"

/* Without chunks; with them; with aco, too. As the plans of simulate_compare.c, by part_of. */
enum { PARTS = 3, MOST_OURS = 6 };
static const int part_of[] = {-1, 1, 2, 0};
static const char *const part_name[PARTS] = {"dedivae", "chunks", "aco"};

enum { MOST_SYSTEMS = 16, MOST_ROWS = 4096, MOST_WORDS = 48, WORD = 24, MOST_STEPS = 16 };

/* How a model ran on a machine: options for all of its rows. */
struct system {
    char model[WORD], gpu[WORD], options[400];
};

struct row {
    char model[WORD], gpu[WORD];
    int width, height, frames, steps;
    double base, best; /* published, seconds; NAN: not */
    double simulated_base, simulated_best, ours, ours_bound;
    bool ablation;
    double part[PARTS], simulated_part[PARTS]; /* its optimisations, one more each time */
    char plan[40], why[200];                   /* ours; or why there is none */
    double each[MOST_OURS]; /* our plans, one ingredient more each time; 0: not simulated */
};

/* Rows first..first+count-1, one process. */
struct cell {
    int first, count;
    pid_t child;
    char stats[4200];
};

struct table {
    struct system system[MOST_SYSTEMS];
    struct row *row;
    struct cell *cell;
    int systems, rows, cells;
    bool ingredients;
    char adds[MOST_OURS][WORD];
    char path[4096];
};

/* ---- reading --------------------------------------------------------------------------------- */

static void find(const char *given, char *path, size_t size) {
    struct stat there;
    snprintf(path, size, "%s", given);
    if (stat(path, &there) != 0 && !strchr(given, '/'))
        snprintf(path, size, "tables/%s.txt", given);
    if (stat(path, &there) != 0)
        snprintf(path, size, "%s", given);
}

static const struct system *system_of(const struct table *t, const struct row *row) {
    for (int i = 0; i < t->systems; i++)
        if (!strcmp(t->system[i].model, row->model) && !strcmp(t->system[i].gpu, row->gpu))
            return &t->system[i];
    return NULL;
}

static bool read_row(struct table *t, const char *line) {
    struct row row = {.simulated_base = NAN, .simulated_best = NAN, .ours = NAN};
    char best[WORD];
    int count = sscanf(line, "row %23s %23s %d %d %d %d %lf %23s %lf %lf %lf", row.model, row.gpu,
                       &row.width, &row.height, &row.frames, &row.steps, &row.base, best,
                       &row.part[0], &row.part[1], &row.part[2]);
    row.ablation = count == 8 + PARTS;
    if (t->rows == MOST_ROWS || (count != 8 && !row.ablation))
        return false;
    row.best = strcmp(best, "-") != 0 ? atof(best) : NAN;
    if (!system_of(t, &row) || row.steps < 1 || !(row.base > 0.0))
        return false;
    const struct row *last = t->rows ? &t->row[t->rows - 1] : NULL;
    struct cell *cell = t->cells ? &t->cell[t->cells - 1] : NULL;
    if (!last || strcmp(last->model, row.model) != 0 || strcmp(last->gpu, row.gpu) != 0 ||
        last->ablation != row.ablation || last->width != row.width || last->height != row.height ||
        last->frames != row.frames || last->steps >= row.steps || cell->count == MOST_STEPS) {
        cell = &t->cell[t->cells++];
        *cell = (struct cell){.first = t->rows};
    }
    cell->count++;
    t->row[t->rows++] = row;
    return true;
}

static bool read_system(struct table *t, const char *line) {
    struct system *system = &t->system[t->systems];
    if (t->systems == MOST_SYSTEMS || sscanf(line, "system %23s %23s %399[^\n]", system->model,
                                             system->gpu, system->options) != 3)
        return false;
    t->systems++;
    return true;
}

static enum sdt_status read_table(struct table *t, const char *name, struct sdt_error *err) {
    char line[600];
    int number = 0;
    enum sdt_status status = SDT_OK;
    find(name, t->path, sizeof t->path);
    t->row = calloc(MOST_ROWS, sizeof *t->row);
    t->cell = calloc(MOST_ROWS, sizeof *t->cell);
    if (!t->row || !t->cell)
        return sdt_fail(err, SDT_ERROR_MEMORY, "out of memory for a table");
    FILE *file = fopen(t->path, "r");
    if (!file)
        return sdt_fail(err, SDT_ERROR_IO, "%s: %s", t->path, strerror(errno));
    while (status == SDT_OK && fgets(line, sizeof line, file)) {
        number++;
        if (line[0] == '#' || line[0] == '\n')
            continue;
        if (!(line[0] == 's' ? read_system(t, line) : read_row(t, line)))
            status =
                sdt_fail(err, SDT_ERROR_FORMAT,
                         "%s:%d: 'system MODEL GPU OPTIONS', or of such a system 'row MODEL GPU "
                         "WIDTH HEIGHT FRAMES STEPS SECONDS SECONDS|- [SECONDS SECONDS SECONDS]'",
                         t->path, number);
    }
    fclose(file);
    if (status == SDT_OK && t->rows == 0)
        status = sdt_fail(err, SDT_ERROR_FORMAT, "%s: no row", t->path);
    return status;
}

/* ---- running --------------------------------------------------------------------------------- */

/* The program again, for a cell. */
static void become(const struct table *t, const struct cell *cell, const char *program) {
    const struct row *row = &t->row[cell->first];
    char options[400], number[3][16], steps[16 * MOST_STEPS] = "";
    const char *argv[MOST_WORDS] = {program, "--prompts", "10"};
    const int value[3] = {row->width, row->height, row->frames};
    static const char *const name[3] = {"--width", "--height", "--num-frames"};
    int count = 3;
    for (int i = 0; i < 3; i++) {
        snprintf(number[i], sizeof number[i], "%d", value[i]);
        argv[count++] = name[i];
        argv[count++] = number[i];
    }
    for (int i = 0; i < cell->count; i++)
        snprintf(steps + strlen(steps), sizeof steps - strlen(steps), "%s%d", i ? "," : "",
                 row[i].steps);
    argv[count++] = "--compare";
    argv[count++] = steps;
    if (row->ablation)
        argv[count++] = "--ablation";
    if (t->ingredients)
        argv[count++] = "--ingredients";
    argv[count++] = "--stats";
    argv[count++] = cell->stats;
    snprintf(options, sizeof options, "%s", system_of(t, row)->options);
    for (char *word = strtok(options, " "); word && count < MOST_WORDS - 1;
         word = strtok(NULL, " "))
        argv[count++] = word;
    int nowhere = open("/dev/null", O_WRONLY);
    if (nowhere >= 0)
        dup2(nowhere, STDOUT_FILENO);
    execv("/proc/self/exe", (char **)argv);
    _exit(1);
}

static enum sdt_status start(const struct table *t, struct cell *cell, const char *program,
                             struct sdt_error *err) {
    fflush(NULL);
    cell->child = fork();
    if (cell->child == 0)
        become(t, cell, program);
    return cell->child > 0 ? SDT_OK
                           : sdt_fail(err, SDT_ERROR_IO, "no process: %s", strerror(errno));
}

/* What a plan of ours took. */
static void take_ours(struct table *t, struct row *row, const json_t *plan, int i) {
    double seconds = json_number_value(json_array_get(json_object_get(plan, "seconds"), (size_t)i));
    const char *adds = json_string_value(json_object_get(plan, "adds"));
    int n = 0;
    while (n < MOST_OURS && *t->adds[n] && strcmp(t->adds[n], adds) != 0)
        n++;
    if (n < MOST_OURS) {
        row->each[n] = seconds;
        snprintf(t->adds[n], sizeof t->adds[n], "%s", adds);
    }
    if (seconds >= row->ours)
        return;
    row->ours = seconds;
    row->ours_bound =
        json_number_value(json_array_get(json_object_get(plan, "bound_seconds"), (size_t)i));
    snprintf(row->plan, sizeof row->plan, "%s", json_string_value(json_object_get(plan, "plan")));
}

/* What the cell's plans took, into its rows. */
static enum sdt_status take(struct table *t, const struct cell *cell, struct sdt_error *err) {
    json_error_t reason;
    json_t *json = json_load_file(cell->stats, 0, &reason);
    const json_t *plans = json_object_get(json, "plans"), *plan;
    size_t p;
    json_array_foreach(plans, p, plan) {
        const char *name = json_string_value(json_object_get(plan, "plan"));
        bool theirs = json_is_true(json_object_get(plan, "theirs"));
        for (int i = 0; i < cell->count; i++) {
            struct row *row = &t->row[cell->first + i];
            double seconds =
                json_number_value(json_array_get(json_object_get(plan, "seconds"), (size_t)i));
            if (p == 0) {
                row->simulated_base = seconds;
            } else if (theirs) {
                if (strcmp(name, "dedivae") != 0)
                    row->simulated_best = fmin(seconds, row->simulated_best);
                if (p < sizeof part_of / sizeof part_of[0])
                    row->simulated_part[part_of[p]] = seconds;
            } else {
                take_ours(t, row, plan, i);
            }
        }
    }
    const char *why = json_string_value(json_object_get(json, "ours_failed"));
    for (int i = 0; why && i < cell->count; i++)
        snprintf(t->row[cell->first + i].why, sizeof t->row[0].why, "%s", why);
    bool read = json_array_size(plans) > 0;
    json_decref(json);
    return read ? SDT_OK : sdt_fail(err, SDT_ERROR_IO, "%s: no plans in there", cell->stats);
}

/* ---- reporting ------------------------------------------------------------------------------- */

static void print_number(FILE *file, const char *form, double value, const char *otherwise) {
    if (isnan(value))
        fputs(otherwise, file);
    else
        fprintf(file, form, value);
}

static void print_row(const struct row *r) {
    printf("%-5s %-6s %5d %5d %4d %3d %8.0f %8.0f %+7.1f%%", r->model, r->gpu, r->width, r->height,
           r->frames, r->steps, r->base, r->simulated_base,
           100 * (r->simulated_base / r->base - 1));
    print_number(stdout, " %8.0f", r->best, "        -");
    print_number(stdout, " %8.0f", r->simulated_best, "        -");
    print_number(stdout, " %+7.1f%%", 100 * (r->simulated_best / r->best - 1), "        -");
    print_number(stdout, " %8.0f", r->ours, "        -");
    print_number(stdout, " %6.3f", r->ours / r->ours_bound, "      -");
    const char *text = isnan(r->ours) ? r->why : r->plan;
    printf("%s%s\n", *text ? "  " : "", text);
    for (int p = 0; r->ablation && p < PARTS; p++)
        printf("      %-8s %8.0f %8.0f %+7.1f%%\n", part_name[p], r->part[p], r->simulated_part[p],
               100 * (r->simulated_part[p] / r->part[p] - 1));
}

static void write_row(FILE *file, const struct row *r) {
    fprintf(file, "%s,%s,%d,%d,%d,%d,%g,%.3f,", r->model, r->gpu, r->width, r->height, r->frames,
            r->steps, r->base, r->simulated_base);
    print_number(file, "%g", r->best, "");
    print_number(file, ",%.3f", r->simulated_best, ",");
    print_number(file, ",%.3f", r->ours, ",");
    fprintf(file, ",\"%s\"", r->plan);
    for (int p = 0; r->ablation && p < PARTS; p++)
        fprintf(file, ",%g,%.3f", r->part[p], r->simulated_part[p]);
    fputc('\n', file);
}

static int by_size(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* What is published beside what is simulated. */
enum { BASELINE, OPTIMISED, FIRST_PART, COLUMNS = FIRST_PART + PARTS };

static const char *column_name(int column) {
    return column == BASELINE    ? "baseline"
           : column == OPTIMISED ? "optimised"
                                 : part_name[column - FIRST_PART];
}

/* The absolute relative error; NAN: nothing is published. */
static double error_of(const struct row *r, int column) {
    if (column == BASELINE)
        return fabs(r->simulated_base / r->base - 1.0);
    if (column == OPTIMISED)
        return fabs(r->simulated_best / r->best - 1.0);
    int p = column - FIRST_PART;
    return r->ablation ? fabs(r->simulated_part[p] / r->part[p] - 1.0) : NAN;
}

/* Errors of a system, or of all; of a column, or of all: into error [count]. */
static int collect(const struct table *t, const struct system *system, int column, double *error) {
    int count = 0;
    for (int i = 0; i < t->rows; i++)
        for (int c = 0; c < COLUMNS; c++) {
            double one = error_of(&t->row[i], c);
            if ((!system || system_of(t, &t->row[i]) == system) && (column < 0 || column == c) &&
                !isnan(one))
                error[count++] = one;
        }
    qsort(error, (size_t)count, sizeof *error, by_size);
    return count;
}

/* By how much each thing of ours makes the plan before faster, where both were simulated: the
 * geometric means. */
static void print_ingredients(const struct table *t) {
    printf("of which");
    for (int n = 0; n < MOST_OURS && *t->adds[n]; n++) {
        double gain = 0.0;
        int count = 0;
        for (int i = 0; i < t->rows; i++) {
            const struct row *r = &t->row[i];
            double before = n ? r->each[n - 1] : r->simulated_best;
            if (!(before > 0.0) || !(r->each[n] > 0.0))
                continue;
            gain += log(before / r->each[n]);
            count++;
        }
        printf("%s %s %.2f", n ? "," : "", t->adds[n], count ? exp(gain / count) : 1.0);
    }
    printf(" times\n");
}

static void print_errors(const struct table *t) {
    double *error = calloc(COLUMNS * (size_t)t->rows, sizeof *error);
    if (!error)
        return;
    printf("\n%-5s %-6s %-10s %7s %7s %7s\n", "model", "GPU", "error of", "numbers", "median",
           "90th %");
    for (int i = 0; i < t->systems; i++)
        for (int c = 0; c < COLUMNS; c++) {
            int count = collect(t, &t->system[i], c, error);
            if (count > 0)
                printf("%-5s %-6s %-10s %7d %6.1f%% %6.1f%%\n", t->system[i].model,
                       t->system[i].gpu, column_name(c), count, 100.0 * error[count / 2],
                       100.0 * error[count * 9 / 10]);
        }
    int count = collect(t, NULL, -1, error);
    printf("%d published numbers of %d rows: median error %.1f%%, 90th percentile %.1f%%\n", count,
           t->rows, 100.0 * error[count / 2], 100.0 * error[count * 9 / 10]);
    free(error);
}

static const char *named(const struct row *r, char name[80]) {
    snprintf(name, 80, "%s %s %dx%dx%d, %d steps", r->model, r->gpu, r->width, r->height, r->frames,
             r->steps);
    return name;
}

/* Of ours. None may be slower than the baseline. */
static enum sdt_status print_ours(const struct table *t, struct sdt_error *err) {
    const struct row *worst = NULL, *slow = NULL;
    double gain = 0.0;
    int count = 0, near = 0, slower = 0;
    char name[80];
    for (int i = 0; i < t->rows; i++) {
        const struct row *r = &t->row[i];
        if (isnan(r->ours))
            continue;
        count++;
        gain += log(r->simulated_best / r->ours);
        near += r->ours <= 1.05 * r->ours_bound;
        if (!worst || r->ours / r->ours_bound > worst->ours / worst->ours_bound)
            worst = r;
        if (r->ours > r->simulated_base) {
            slower++;
            slow = slow ? slow : r;
        }
    }
    if (!worst)
        return SDT_OK;
    printf("ours: %.2f times as fast as the simulated optimised plan (geometric mean of %d rows); "
           "within 1.05 of the larger lower bound in %d, at most %.2f times that (%s); slower than "
           "the baseline in %d\n",
           exp(gain / count), count, near, worst->ours / worst->ours_bound, named(worst, name),
           slower);
    return slow ? sdt_fail(err, SDT_ERROR_DEVICE, "%s: ours takes longer than the baseline: %s",
                           t->path, named(slow, name))
                : SDT_OK;
}

static enum sdt_status write_csv(const struct table *t, const char *path, struct sdt_error *err) {
    FILE *file = fopen(path, "w");
    if (!file)
        return sdt_fail(err, SDT_ERROR_IO, "%s: %s", path, strerror(errno));
    fprintf(file,
            "model,gpu,width,height,frames,steps,paper_base_s,sim_base_s,paper_opt_s,"
            "sim_opt_s,sim_ours_s,ours_plan%s\n",
            t->row[0].ablation ? ",paper_dedivae_s,sim_dedivae_s,paper_chunks_s,sim_chunks_s,"
                                 "paper_aco_s,sim_aco_s"
                               : "");
    for (int i = 0; i < t->rows; i++)
        write_row(file, &t->row[i]);
    return ferror(file) | fclose(file) ? sdt_fail(err, SDT_ERROR_IO, "%s: cannot be written", path)
                                       : SDT_OK;
}

/* ---- all rows -------------------------------------------------------------------------------- */

/* As many cells at a time as there are cores; rows in their order. */
static enum sdt_status run(struct table *t, const char *program, const char *folder, int *code,
                           struct sdt_error *err) {
    struct sdt_allowance allowance;
    enum sdt_status status = SDT_OK;
    int started = 0;
    sdt__allowance_read("", &allowance);
    int cores = allowance.workers;
    for (int i = 0; i < t->cells && status == SDT_OK && *code == 0; i++) {
        for (; started < t->cells && started < i + cores && status == SDT_OK; started++) {
            struct cell *cell = &t->cell[started];
            snprintf(cell->stats, sizeof cell->stats, "%s/%d.json", folder, started);
            status = start(t, cell, program, err);
        }
        struct cell *cell = &t->cell[i];
        int state = 0;
        while (cell->child > 0 && waitpid(cell->child, &state, 0) < 0 && errno == EINTR)
            ;
        *code = WIFEXITED(state) ? WEXITSTATUS(state) : 1;
        cell->child = 0;
        if (status == SDT_OK && *code == 0)
            status = take(t, cell, err);
        for (int r = 0; r < cell->count && status == SDT_OK && *code == 0; r++)
            print_row(&t->row[cell->first + r]);
        fflush(stdout);
    }
    for (int i = 0; i < started; i++)
        if (t->cell[i].child > 0)
            waitpid(t->cell[i].child, NULL, 0);
    return status;
}

int app_simulate_table(const char *program, const struct app_simulation *s, struct sdt_error *err) {
    struct table *t = calloc(1, sizeof *t);
    char *folder = NULL;
    int code = 0;
    enum sdt_status status = t ? read_table(t, s->table, err)
                               : sdt_fail(err, SDT_ERROR_MEMORY, "out of memory for a table");
    if (status == SDT_OK)
        status = sdt__folder_make(&folder, err);
    if (status != SDT_OK)
        goto out;
    t->ingredients = s->theirs.ingredients;
    printf("%-5s %-6s %5s %5s %4s %3s %8s %8s %8s %8s %8s %8s %8s %6s  %s\n", "model", "GPU",
           "width", "high", "frs", "st", "baseline", "sim.", "error", "optim.", "sim.", "error",
           "ours", "bound", "plan of ours");
    status = run(t, program, folder, &code, err);
    if (status == SDT_OK && code == 0 && s->csv)
        status = write_csv(t, s->csv, err);
    if (status == SDT_OK && code == 0) {
        print_errors(t);
        status = print_ours(t, err);
        if (t->ingredients)
            print_ingredients(t);
    }
out:
    sdt__folder_remove(folder);
    if (t) {
        free(t->row);
        free(t->cell);
    }
    free(t);
    return status == SDT_OK ? code : app_report(program, err);
}

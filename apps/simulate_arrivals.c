/* --arrivals: requests that come by a trace, on devices that take one each, as a queue lets them
 * go on after each step: who meets the deadline, and how long it takes. Steps take what the trace
 * says; the queues are those of stardit-serve.
 *
 * A trace is text, a line each:
 *   class NAME STEPS SECONDS FACTOR   a request of so many steps, so many seconds alone, due after
 *                                     FACTOR times that; a PRIORITY may follow (0)
 *   SECONDS NAME                      one of that class arrives */
#include "apps/simulate.h"

#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "apps/stats.h"

enum { MOST_CLASSES = 16, MOST_REQUESTS = 100000, NAME = 24, MOST_DEVICES = 1024 };

struct class {
    char name[NAME];
    int steps, priority;
    double seconds, factor; /* alone; of the deadline */
};

struct request {
    int class, left;   /* steps */
    double at, end;    /* it arrives, it is done */
    bool begun, taken; /* a device has it */
};

struct device {
    int request;  /* -1: idle */
    double until; /* its step ends */
};

struct arrivals {
    struct class class[MOST_CLASSES];
    struct request *request; /* in the order of their arrival */
    int classes, requests, devices;
    struct device device[MOST_DEVICES];
    double busy; /* seconds of all devices */
};

/* ---- reading --------------------------------------------------------------------------------- */

static int class_of(const struct arrivals *a, const char *name) {
    for (int i = 0; i < a->classes; i++)
        if (!strcmp(a->class[i].name, name))
            return i;
    return -1;
}

static bool read_class(struct arrivals *a, const char *line) {
    struct class c = {.priority = 0};
    int count = sscanf(line, "class %23s %d %lf %lf %d", c.name, &c.steps, &c.seconds, &c.factor,
                       &c.priority);
    if (count < 4 || c.steps < 1 || c.steps > APP_MOST_STEPS || !(c.seconds > 0.0) ||
        !(c.factor > 0.0) || a->classes == MOST_CLASSES || class_of(a, c.name) >= 0)
        return false;
    a->class[a->classes++] = c;
    return true;
}

static bool read_arrival(struct arrivals *a, const char *line) {
    char name[NAME];
    double at;
    if (sscanf(line, "%lf %23s", &at, name) != 2 || class_of(a, name) < 0 || !(at >= 0.0) ||
        a->requests == MOST_REQUESTS)
        return false;
    int class = class_of(a, name);
    a->request[a->requests++] =
        (struct request){.class = class, .left = a->class[class].steps, .at = at};
    return true;
}

static int by_arrival(const void *a, const void *b) {
    const struct request *x = a, *y = b;
    return (x->at > y->at) - (x->at < y->at);
}

static enum sdt_status read_trace(struct arrivals *a, const char *given, struct sdt_error *err) {
    char path[4096], line[400];
    struct stat there;
    enum sdt_status status = SDT_OK;

    snprintf(path, sizeof path, "%s", given);
    if (stat(path, &there) != 0 && !strchr(given, '/'))
        snprintf(path, sizeof path, "tables/arrivals/%s.txt", given);
    FILE *file = fopen(path, "r");
    if (!file)
        return sdt_fail(err, SDT_ERROR_IO,
                        "--arrivals %s: %s; a name of tables/arrivals here, or a file", given,
                        strerror(errno));
    for (int n = 1; status == SDT_OK && fgets(line, sizeof line, file); n++) {
        line[strcspn(line, "#\n")] = '\0';
        const char *text = line + strspn(line, " \t");
        if (*text && !(strncmp(text, "class ", 6) ? read_arrival(a, text) : read_class(a, text)))
            status = sdt_fail(err, SDT_ERROR_FORMAT,
                              "%s:%d: '%.60s' is neither 'class NAME STEPS SECONDS FACTOR' nor "
                              "'SECONDS NAME' of a class; at most %d classes and %d arrivals",
                              path, n, text, MOST_CLASSES, MOST_REQUESTS);
    }
    fclose(file);
    if (status == SDT_OK && a->requests == 0)
        status = sdt_fail(err, SDT_ERROR_FORMAT, "%s: nothing arrives", path);
    qsort(a->request, (size_t)a->requests, sizeof *a->request, by_arrival);
    return status;
}

/* ---- time ------------------------------------------------------------------------------------ */

static double step_seconds(const struct arrivals *a, const struct request *r) {
    return a->class[r->class].seconds / a->class[r->class].steps;
}

static double deadline_of(const struct arrivals *a, const struct request *r) {
    return r->at + a->class[r->class].factor * a->class[r->class].seconds;
}

/* What the queue chooses among those that have come by now and are on no device; -1: none. */
static int choose(const struct arrivals *a, const char *queue, int come, int first, double now,
                  struct sdt_waiting *waiting, int *number) {
    int count = 0;
    for (int i = first; i < come; i++) {
        const struct request *r = &a->request[i];
        if (r->taken || r->left == 0)
            continue;
        number[count] = i;
        waiting[count++] = (struct sdt_waiting){.arrival = (unsigned long)i,
                                                .phase = SDT_JOB_STEP,
                                                .begun = r->begun,
                                                .priority = a->class[r->class].priority,
                                                .arrived = r->at,
                                                .deadline = deadline_of(a, r),
                                                .steps_left = r->left,
                                                .flops_left = r->left * step_seconds(a, r)};
    }
    return count ? number[sdt_queue_choose(queue, waiting, count, now)] : -1;
}

/* The next moment at which a step ends or a request comes. */
static double next_moment(const struct arrivals *a, int come) {
    double next = come < a->requests ? a->request[come].at : INFINITY;
    for (int d = 0; d < a->devices; d++)
        if (a->device[d].request >= 0)
            next = fmin(next, a->device[d].until);
    return next;
}

static void end_steps(struct arrivals *a, double now) {
    for (int d = 0; d < a->devices; d++) {
        struct device *device = &a->device[d];
        if (device->request < 0 || device->until > now)
            continue;
        struct request *r = &a->request[device->request];
        r->taken = false;
        if (--r->left == 0)
            r->end = now;
        device->request = -1;
    }
}

/* False: out of memory. */
static bool run(struct arrivals *a, const char *queue) {
    struct sdt_waiting *waiting = calloc((size_t)a->requests, sizeof *waiting);
    int *number = calloc((size_t)a->requests, sizeof *number);
    int come = 0, first = 0; /* those before `first` are done */
    bool room = waiting && number;
    for (double now; room && (now = next_moment(a, come)) < INFINITY;) {
        end_steps(a, now);
        while (come < a->requests && a->request[come].at <= now)
            come++;
        while (first < come && a->request[first].left == 0)
            first++;
        for (int d = 0; d < a->devices; d++) {
            int chosen =
                a->device[d].request < 0 ? choose(a, queue, come, first, now, waiting, number) : -1;
            if (chosen < 0)
                continue;
            struct request *r = &a->request[chosen];
            r->taken = r->begun = true;
            a->device[d] = (struct device){chosen, now + step_seconds(a, r)};
            a->busy += step_seconds(a, r);
        }
    }
    free(waiting);
    free(number);
    return room;
}

/* ---- what came of it ------------------------------------------------------------------------- */

static int by_value(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Interpolated between the two nearest of sorted values. */
static double quantile(const double *value, int count, double q) {
    double at = q * (count - 1);
    int i = (int)at;
    return i + 1 < count ? value[i] + (at - i) * (value[i + 1] - value[i]) : value[count - 1];
}

/* Of a class, or of all (-1). seconds: [requests]. */
static json_t *figures(struct arrivals *a, int class, double *seconds) {
    int count = 0, in_time = 0;
    double sum = 0.0;
    for (int i = 0; i < a->requests; i++) {
        const struct request *r = &a->request[i];
        if (class >= 0 && r->class != class)
            continue;
        in_time += r->end <= deadline_of(a, r) + 1e-9;
        sum += seconds[count++] = r->end - r->at;
    }
    if (count == 0)
        return NULL;
    qsort(seconds, (size_t)count, sizeof *seconds, by_value);
    double mean = sum / count, p95 = quantile(seconds, count, 0.95),
           p99 = quantile(seconds, count, 0.99), share = 100.0 * in_time / count;
    const char *name = class < 0 ? "all" : a->class[class].name;
    printf("%-12s %8d %8.1f%% %9.1f %9.1f %9.1f %9.1f\n", name, count, share, mean,
           quantile(seconds, count, 0.5), p95, p99);
    return json_pack("{s:s, s:i, s:f, s:f, s:f, s:f}", "class", name, "requests", count,
                     "in_time_percent", share, "mean_seconds", mean, "p95_seconds", p95,
                     "p99_seconds", p99);
}

static enum sdt_status report(struct arrivals *a, const struct app_simulation *s, const char *queue,
                              struct sdt_error *err) {
    double *seconds = calloc((size_t)a->requests, sizeof *seconds), end = 0.0;
    json_t *stats = s->stats ? app_stats_begin("stardit-simulate") : NULL, *list = json_array();
    if (!seconds || !list || (s->stats && !stats)) {
        free(seconds);
        return sdt_fail(err, SDT_ERROR_MEMORY, "out of memory for statistics");
    }
    for (int i = 0; i < a->requests; i++)
        end = fmax(end, a->request[i].end);
    printf("Queue:       %s, %d device%s that take%s a request each, %d requests\n", queue,
           a->devices, a->devices == 1 ? "" : "s", a->devices == 1 ? "s" : "", a->requests);
    printf("%-12s %8s %9s %9s %9s %9s %9s\n", "class", "requests", "in time", "mean s", "median",
           "p95", "p99");
    for (int c = 0; c < a->classes; c++)
        json_array_append_new(list, figures(a, c, seconds));
    json_array_append_new(list, figures(a, -1, seconds));
    printf("Total:       %.1f s, devices busy for %.1f%% of it\n", end,
           100.0 * a->busy / end / a->devices);
    free(seconds);
    if (!s->stats) {
        json_decref(list);
        return SDT_OK;
    }
    json_object_set_new(stats, "queue", json_string(queue));
    json_object_set_new(stats, "devices", json_integer(a->devices));
    json_object_set_new(stats, "seconds", json_real(end));
    json_object_set_new(stats, "classes", list);
    return app_stats_write(stats, s->stats, err);
}

enum sdt_status app_simulate_arrivals(const struct app_simulation *s, struct sdt_error *err) {
    const char *queue = s->queue ? s->queue : "fcfs";
    struct arrivals *a = calloc(1, sizeof *a);
    enum sdt_status status = SDT_OK;
    if (a)
        a->request = calloc(MOST_REQUESTS, sizeof *a->request);
    if (!a || !a->request) {
        free(a);
        return sdt_fail(err, SDT_ERROR_MEMORY, "out of memory for requests");
    }
    a->devices = s->given.devices ? s->given.devices : 1;
    for (int d = 0; d < MOST_DEVICES; d++)
        a->device[d].request = -1;
    if (a->devices > MOST_DEVICES)
        status = sdt_fail(err, SDT_ERROR_USAGE, "--devices %d: at most %d take arrivals",
                          a->devices, MOST_DEVICES);
    if (status == SDT_OK)
        status = read_trace(a, s->arrivals, err);
    if (status == SDT_OK && !run(a, queue))
        status = sdt_fail(err, SDT_ERROR_MEMORY, "out of memory for requests");
    if (status == SDT_OK)
        status = report(a, s, queue, err);
    free(a->request);
    free(a);
    return status;
}

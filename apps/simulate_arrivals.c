/* --arrivals: requests that come by a trace, on devices that take one each or are shared out, as a
 * queue lets them go on after each step: who meets the deadline, and how long it takes. Steps take
 * what the trace says; the queues are those of stardit/queue.h.
 *
 * A trace is text, a line each:
 *   class NAME STEPS SECONDS FACTOR   a request of so many steps, so many seconds alone, due after
 *                                     FACTOR times what it takes alone; a PRIORITY may follow (0),
 *                                     then the seconds of its DECODE (0), on one device, then how
 *                                     many times faster a step is on 2, 4, 8 ... devices
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
    double seconds, decode, factor; /* of its steps on one device; of the deadline */
    double step[SDT_QUEUE_SIZES];   /* seconds on 2^i devices; 0: it cannot have so many */
};

struct request {
    int class, left;   /* steps */
    bool decodes;      /* that is left, too */
    double at, end;    /* it arrives, it is done */
    bool begun, taken; /* devices have it */
    double until, ran; /* its step ends; seconds of those before */
    uint64_t devices;  /* shared out: of its last step */
};

struct arrivals {
    struct class class[MOST_CLASSES];
    struct request *request; /* in the order of their arrival */
    int classes, requests, devices, idle;
    double scale;                /* of deadlines */
    double busy;                 /* seconds of all devices */
    int come, first, done;       /* arrived; those before `first` are done */
    struct sdt_waiting *waiting; /* work space of choosing: [requests] */
    struct sdt_sharer *sharer;
    uint64_t *given;
    int *number;
};

/* ---- reading --------------------------------------------------------------------------------- */

static int class_of(const struct arrivals *a, const char *name) {
    for (int i = 0; i < a->classes; i++)
        if (!strcmp(a->class[i].name, name))
            return i;
    return -1;
}

/* Numbers behind the name of a class, at most `most`; -1: there is something else. */
static int read_numbers(const char *text, double *number, int most) {
    int count = 0;
    for (const char *at = text + strspn(text, " \t"); *at; at += strspn(at, " \t")) {
        char *end;
        double value = strtod(at, &end);
        if (end == at || (*end && *end != ' ' && *end != '\t') || count == most || !isfinite(value))
            return -1;
        number[count++] = value;
        at = end;
    }
    return count;
}

static bool read_class(struct arrivals *a, const char *line) {
    struct class c = {.priority = 0};
    double number[5 + SDT_QUEUE_SIZES - 1] = {0};
    int length = 0;
    int count = sscanf(line, "class %23s %n", c.name, &length) == 1
                    ? read_numbers(line + length, number, 5 + SDT_QUEUE_SIZES - 1)
                    : -1;
    c.steps = number[0] >= 1.0 && number[0] <= APP_MOST_STEPS ? (int)number[0] : 0;
    c.seconds = number[1];
    c.factor = number[2];
    c.priority = fabs(number[3]) <= 1e6 ? (int)number[3] : 0;
    c.decode = number[4];
    if (count < 3 || c.steps != number[0] || c.steps < 1 || !(c.seconds > 0.0) ||
        !(c.factor > 0.0) || c.priority != number[3] || c.decode < 0.0 ||
        a->classes == MOST_CLASSES || class_of(a, c.name) >= 0)
        return false;
    c.step[0] = c.seconds / c.steps;
    for (int i = 5; i < count; i++) {
        if (!(number[i] > 0.0))
            return false;
        c.step[i - 4] = c.step[0] / number[i];
    }
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
    a->request[a->requests++] = (struct request){.class = class,
                                                 .left = a->class[class].steps,
                                                 .decodes = a->class[class].decode > 0.0,
                                                 .at = at};
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
                              "%s:%d: '%.60s' is neither 'class NAME STEPS SECONDS FACTOR' and "
                              "what may follow, nor 'SECONDS NAME' of a class; at most %d classes "
                              "and %d arrivals",
                              path, n, text, MOST_CLASSES, MOST_REQUESTS);
    }
    fclose(file);
    if (status == SDT_OK && a->requests == 0)
        status = sdt_fail(err, SDT_ERROR_FORMAT, "%s: nothing arrives", path);
    qsort(a->request, (size_t)a->requests, sizeof *a->request, by_arrival);
    return status;
}

/* ---- time ------------------------------------------------------------------------------------ */

static double deadline_of(const struct arrivals *a, const struct request *r) {
    const struct class *c = &a->class[r->class];
    return r->at + a->scale * c->factor * (c->seconds + c->decode);
}

/* Of the next step, or of the decode. */
static double next_seconds(const struct arrivals *a, const struct request *r, int size) {
    return r->left ? a->class[r->class].step[size] : a->class[r->class].decode;
}

static bool is_done(const struct request *r) { return r->left == 0 && !r->decodes; }

static struct sdt_waiting waiting_of(const struct arrivals *a, int i) {
    const struct request *r = &a->request[i];
    return (struct sdt_waiting){.arrival = (unsigned long)i,
                                .phase = r->left ? SDT_JOB_STEP : SDT_JOB_DECODE,
                                .begun = r->begun,
                                .priority = a->class[r->class].priority,
                                .arrived = r->at,
                                .deadline = deadline_of(a, r),
                                .steps_left = r->left,
                                .flops_left = r->left * a->class[r->class].step[0] +
                                              a->class[r->class].decode};
}

static void begin_step(struct arrivals *a, int i, uint64_t set, int size, double now) {
    struct request *r = &a->request[i];
    double seconds = next_seconds(a, r, size);
    r->taken = r->begun = true;
    r->devices = set;
    r->until = now + seconds;
    a->idle -= 1 << size;
    a->busy += (1 << size) * seconds;
}

/* A device for each that the queue chooses, one after another. */
static void take_each(struct arrivals *a, const struct sdt_queue *queue, double now) {
    while (a->idle > 0) {
        int count = 0;
        for (int i = a->first; i < a->come; i++)
            if (!a->request[i].taken && !is_done(&a->request[i])) {
                a->number[count] = i;
                a->waiting[count++] = waiting_of(a, i);
            }
        if (count == 0)
            return;
        int best = queue->choose(a->waiting, count, now);
        begin_step(a, a->number[best >= 0 && best < count ? best : 0], 0, 0, now);
    }
}

/* What is wrong with devices that a queue has given; NULL: nothing. */
static const char *check_given(const struct sdt_sharer *sharer, uint64_t set, uint64_t idle,
                               int *size) {
    for (*size = 0; *size < SDT_QUEUE_SIZES - 1 && 1 << *size < __builtin_popcountll(set);)
        ++*size;
    return set & ~idle                               ? "that are not idle"
           : !sharer->ready                          ? "while its step is on its way"
           : 1 << *size != __builtin_popcountll(set) ? "that are no power of two"
           : *size > 0 &&
                   (sharer->waiting.phase != SDT_JOB_STEP || sharer->step_seconds[*size] == 0.0)
               ? "which are more than it can have"
               : NULL;
}

/* Devices for each, as the queue shares them out. */
static enum sdt_status share_out(struct arrivals *a, const struct sdt_queue *queue, double now,
                                 struct sdt_error *err) {
    struct sdt_share share = {.now = now, .devices = a->devices, .given = a->given};
    bool ready = false;
    share.idle = ~(uint64_t)0 >> (64 - a->devices);
    for (int i = a->first; i < a->come; i++) {
        const struct request *r = &a->request[i];
        if (is_done(r))
            continue;
        ready |= !r->taken;
        share.idle &= r->taken ? ~r->devices : ~(uint64_t)0;
        a->given[share.count] = 0;
        a->number[share.count] = i;
        struct sdt_sharer *sharer = &a->sharer[share.count++];
        *sharer = (struct sdt_sharer){.waiting = waiting_of(a, i),
                                      .ready = !r->taken,
                                      .devices = r->devices,
                                      .ran = r->ran,
                                      .rest_seconds = a->class[r->class].decode};
        memcpy(sharer->step_seconds, a->class[r->class].step, sizeof sharer->step_seconds);
    }
    share.job = a->sharer;
    if (!ready || !share.idle)
        return SDT_OK;
    queue->share(&share);
    for (int j = 0; j < share.count; j++) {
        int size;
        if (!a->given[j])
            continue;
        const char *wrong = check_given(&a->sharer[j], a->given[j], share.idle, &size);
        if (wrong)
            return sdt_fail(err, SDT_ERROR_USAGE, "queue %s gives request %d devices %#llx %s",
                            queue->name, a->number[j], (unsigned long long)a->given[j], wrong);
        share.idle &= ~a->given[j];
        begin_step(a, a->number[j], a->given[j], size, now);
    }
    return SDT_OK;
}

/* The next moment at which a step ends or a request comes. */
static double next_moment(const struct arrivals *a) {
    double next = a->come < a->requests ? a->request[a->come].at : INFINITY;
    for (int i = a->first; i < a->come; i++)
        if (a->request[i].taken)
            next = fmin(next, a->request[i].until);
    return next;
}

static void end_steps(struct arrivals *a, const struct sdt_queue *queue, double now) {
    for (int i = a->first; i < a->come; i++) {
        struct request *r = &a->request[i];
        if (!r->taken || r->until > now)
            continue;
        const int devices = queue->share ? __builtin_popcountll(r->devices) : 1;
        int size = 0;
        while (1 << size < devices)
            size++;
        r->taken = false;
        r->ran += next_seconds(a, r, size);
        if (r->left)
            r->left--;
        else
            r->decodes = false;
        a->idle += devices;
        if (!is_done(r))
            continue;
        r->end = now;
        a->done++;
    }
}

static enum sdt_status run(struct arrivals *a, const struct sdt_queue *queue,
                           struct sdt_error *err) {
    enum sdt_status status = SDT_OK;
    a->idle = a->devices;
    for (double now; status == SDT_OK && (now = next_moment(a)) < INFINITY;) {
        end_steps(a, queue, now);
        while (a->come < a->requests && a->request[a->come].at <= now)
            a->come++;
        while (a->first < a->come && is_done(&a->request[a->first]))
            a->first++;
        if (queue->share)
            status = share_out(a, queue, now, err);
        else
            take_each(a, queue, now);
    }
    if (status == SDT_OK && a->done < a->requests)
        status = sdt_fail(err, SDT_ERROR_USAGE,
                          "queue %s lets none of %d requests go on, with all devices idle",
                          queue->name, a->requests - a->done);
    return status;
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

static enum sdt_status report(struct arrivals *a, const struct app_simulation *s,
                              const struct sdt_queue *queue, struct sdt_error *err) {
    double *seconds = calloc((size_t)a->requests, sizeof *seconds), end = 0.0;
    json_t *stats = s->stats ? app_stats_begin("stardit-simulate") : NULL, *list = json_array();
    if (!seconds || !list || (s->stats && !stats)) {
        free(seconds);
        return sdt_fail(err, SDT_ERROR_MEMORY, "out of memory for statistics");
    }
    for (int i = 0; i < a->requests; i++)
        end = fmax(end, a->request[i].end);
    printf("Queue:       %s, %d device%s that %s, %d requests\n", queue->name, a->devices,
           a->devices == 1 ? "" : "s",
           queue->share      ? "are shared out"
           : a->devices == 1 ? "takes a request each"
                             : "take a request each",
           a->requests);
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
    json_object_set_new(stats, "queue", json_string(queue->name));
    json_object_set_new(stats, "devices", json_integer(a->devices));
    json_object_set_new(stats, "seconds", json_real(end));
    json_object_set_new(stats, "classes", list);
    return app_stats_write(stats, s->stats, err);
}

static enum sdt_status make_room(struct arrivals *a, struct sdt_error *err) {
    const size_t count = (size_t)a->requests;
    a->waiting = calloc(count, sizeof *a->waiting);
    a->sharer = calloc(count, sizeof *a->sharer);
    a->given = calloc(count, sizeof *a->given);
    a->number = calloc(count, sizeof *a->number);
    return a->waiting && a->sharer && a->given && a->number
               ? SDT_OK
               : sdt_fail(err, SDT_ERROR_MEMORY, "out of memory for requests");
}

enum sdt_status app_simulate_arrivals(const struct app_simulation *s, struct sdt_error *err) {
    const struct sdt_queue *queue = NULL;
    struct arrivals *a = calloc(1, sizeof *a);
    enum sdt_status status = sdt_queue_open(s->queue ? s->queue : "fcfs", &queue, err);
    if (a)
        a->request = calloc(MOST_REQUESTS, sizeof *a->request);
    if (!a || !a->request) {
        free(a);
        return sdt_fail(err, SDT_ERROR_MEMORY, "out of memory for requests");
    }
    a->devices = s->given.devices ? s->given.devices : 1;
    a->scale = s->deadline_scale > 0.0 ? s->deadline_scale : 1.0;
    if (status == SDT_OK && a->devices > (queue->share ? SDT_QUEUE_DEVICES : MOST_DEVICES))
        status = sdt_fail(err, SDT_ERROR_USAGE, "--devices %d: at most %d take arrivals%s",
                          a->devices, queue->share ? SDT_QUEUE_DEVICES : MOST_DEVICES,
                          queue->share ? " where they are shared out" : "");
    if (status == SDT_OK)
        status = read_trace(a, s->arrivals, err);
    if (status == SDT_OK)
        status = make_room(a, err);
    if (status == SDT_OK)
        status = run(a, queue, err);
    if (status == SDT_OK)
        status = report(a, s, queue, err);
    free(a->waiting);
    free(a->sharer);
    free(a->given);
    free(a->number);
    free(a->request);
    free(a);
    return status;
}

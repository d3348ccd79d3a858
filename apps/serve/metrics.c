/* Counts and times for Prometheus. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "apps/serve/metrics.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config.h"

enum { BUCKETS = 8, ROUTES = 64, RESULTS = 3, STAGES = 4 };
enum { HOST_TO_DEVICE, DEVICE_TO_HOST, DEVICE_TO_DEVICE, LINKS };
static const char *const link_name[LINKS] = {"host_to_device", "device_to_host",
                                             "device_to_device"};
static const double bucket_seconds[BUCKETS] = {1, 10, 60, 300, 1800, 7200, 28800, 86400};
static const char *const result_name[RESULTS] = {"completed", "failed", "cancelled"};
static const char *const stage_name[STAGES] = {"text", "denoise", "decode", "write"};

/* A histogram of seconds. */
struct times {
    unsigned long in[BUCKETS], count;
    double sum;
};

struct serve_metrics {
    pthread_mutex_t mutex;
    struct {
        char route[32];
        int code;
        unsigned long count;
    } http[ROUTES];
    int routes;
    unsigned long results[RESULTS], missed, preempted, steps;
    struct times queued, job;
    double stage[STAGES], step_seconds, step_predicted;
    double moved[LINKS]; /* bytes */
};

struct serve_metrics *serve_metrics_new(void) {
    struct serve_metrics *metrics = calloc(1, sizeof *metrics);
    if (metrics)
        pthread_mutex_init(&metrics->mutex, NULL);
    return metrics;
}

void serve_metrics_free(struct serve_metrics *metrics) {
    if (metrics)
        pthread_mutex_destroy(&metrics->mutex);
    free(metrics);
}

static void count_time(struct times *times, double seconds) {
    for (int b = 0; b < BUCKETS; b++)
        times->in[b] += seconds <= bucket_seconds[b];
    times->count++;
    times->sum += seconds;
}

void serve_metrics_http(struct serve_metrics *metrics, const char *route, int code) {
    pthread_mutex_lock(&metrics->mutex);
    int r = 0;
    while (r < metrics->routes &&
           (metrics->http[r].code != code || strcmp(metrics->http[r].route, route) != 0))
        r++;
    if (r == metrics->routes && r < ROUTES) {
        snprintf(metrics->http[r].route, sizeof metrics->http[r].route, "%s", route);
        metrics->http[r].code = code;
        metrics->routes++;
    }
    if (r < ROUTES)
        metrics->http[r].count++;
    pthread_mutex_unlock(&metrics->mutex);
}

void serve_metrics_job(struct serve_metrics *metrics, const char *result, double seconds,
                       bool missed_deadline) {
    pthread_mutex_lock(&metrics->mutex);
    for (int r = 0; r < RESULTS; r++)
        metrics->results[r] += !strcmp(result, result_name[r]);
    metrics->missed += missed_deadline;
    count_time(&metrics->job, seconds);
    pthread_mutex_unlock(&metrics->mutex);
}

void serve_metrics_queued(struct serve_metrics *metrics, double seconds) {
    pthread_mutex_lock(&metrics->mutex);
    count_time(&metrics->queued, seconds);
    pthread_mutex_unlock(&metrics->mutex);
}

void serve_metrics_stages(struct serve_metrics *metrics, double text, double denoise, double decode,
                          double write, int steps, double predicted_step) {
    const double seconds[STAGES] = {text, denoise, decode, write};
    pthread_mutex_lock(&metrics->mutex);
    for (int s = 0; s < STAGES; s++)
        metrics->stage[s] += seconds[s];
    metrics->steps += (unsigned long)steps;
    metrics->step_seconds += denoise;
    metrics->step_predicted += steps * predicted_step;
    pthread_mutex_unlock(&metrics->mutex);
}

void serve_metrics_preempted(struct serve_metrics *metrics) {
    pthread_mutex_lock(&metrics->mutex);
    metrics->preempted++;
    pthread_mutex_unlock(&metrics->mutex);
}

/* ---- text ------------------------------------------------------------------------------------ */

static void head(FILE *out, const char *name, const char *type, const char *help) {
    fprintf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void put_count(FILE *out, const char *name, unsigned long value, const char *help) {
    head(out, name, "counter", help);
    fprintf(out, "%s %lu\n", name, value);
}

static void put_times(FILE *out, const char *name, const struct times *times, const char *help) {
    head(out, name, "histogram", help);
    for (int b = 0; b < BUCKETS; b++)
        fprintf(out, "%s_bucket{le=\"%g\"} %lu\n", name, bucket_seconds[b], times->in[b]);
    fprintf(out, "%s_bucket{le=\"+Inf\"} %lu\n%s_sum %.9g\n%s_count %lu\n", name, times->count,
            name, times->sum, name, times->count);
}

static void put_jobs(FILE *out, const int64_t count[SERVE_STATUSES]) {
    head(out, "stardit_jobs", "gauge", "Jobs in the table by status.");
    for (int s = 0; s <= SERVE_FAILED; s++)
        fprintf(out, "stardit_jobs{status=\"%s\"} %lld\n", serve_status_name((enum serve_status)s),
                (long long)count[s]);
}

/* -1: the host. */
static const char *device_name(int device, char name[16]) {
    snprintf(name, 16, "host");
    if (device >= 0)
        snprintf(name, 16, "%d", device);
    return name;
}

static void put_devices(FILE *out, const struct sdt_machine *machine) {
    char name[16];
    head(out, "stardit_device_memory_bytes", "gauge",
         "The most that StarPU was seen to hold in a device's memory.");
    for (int d = -1; machine && d < sdt_machine_devices(machine); d++)
        fprintf(out, "stardit_device_memory_bytes{device=\"%s\"} %.0f\n", device_name(d, name),
                sdt_machine_peak_bytes(machine, d));
    head(out, "stardit_device_busy_seconds_total", "counter",
         "Seconds in which a device's workers ran tasks, of all of them in sum.");
    for (int d = -1; machine && d < sdt_machine_devices(machine); d++) {
        double busy = 0.0;
        for (int role = 0; role < SDT_ROLES; role++)
            busy += 1e-6 * sdt_machine_totals(machine, d, (enum sdt_role)role).busy_us;
        fprintf(out, "stardit_device_busy_seconds_total{device=\"%s\"} %.6f\n",
                device_name(d, name), busy);
    }
    head(out, "stardit_device_workers", "gauge", "Workers of a device; the host has some of them.");
    for (int d = 0; machine && d < sdt_machine_devices(machine); d++)
        fprintf(out, "stardit_device_workers{device=\"%d\"} %d\n", d,
                sdt_machine_workers(machine, d));
}

/* What has been moved since the last look is added; under the mutex. */
static void put_moved(FILE *out, struct serve_metrics *m, struct sdt_machine *machine) {
    const int n = sdt_machine_devices(machine) + 1;
    double *bytes = calloc((size_t)(n * n), sizeof *bytes);
    if (bytes)
        sdt_machine_traffic(machine, bytes);
    for (int i = 0; bytes && i < n * n; i++)
        m->moved[i < n        ? HOST_TO_DEVICE
                 : i % n == 0 ? DEVICE_TO_HOST
                              : DEVICE_TO_DEVICE] += bytes[i];
    free(bytes);
    head(out, "stardit_bytes_moved_total", "counter",
         "Bytes that StarPU has moved between memories, by where from and where to.");
    for (int l = 0; l < LINKS; l++)
        fprintf(out, "stardit_bytes_moved_total{link=\"%s\"} %.0f\n", link_name[l], m->moved[l]);
    head(out, "stardit_collective_bytes_total", "counter",
         "Bytes of NCCL's rounds between devices, of runs that have ended.");
    fprintf(out, "stardit_collective_bytes_total %.0f\n", sdt_machine_collective_bytes(machine));
}

/* Under the mutex. */
static void put_totals(FILE *out, const struct serve_metrics *m) {
    head(out, "stardit_jobs_total", "counter", "Jobs that have ended, by result.");
    for (int r = 0; r < RESULTS; r++)
        fprintf(out, "stardit_jobs_total{result=\"%s\"} %lu\n", result_name[r], m->results[r]);
    put_times(out, "stardit_queue_seconds", &m->queued, "From submission to the first piece.");
    put_times(out, "stardit_job_seconds", &m->job, "From submission to the end.");
    head(out, "stardit_stage_seconds_total", "counter", "Seconds of completed jobs by stage.");
    for (int s = 0; s < STAGES; s++)
        fprintf(out, "stardit_stage_seconds_total{stage=\"%s\"} %.9g\n", stage_name[s],
                m->stage[s]);
    put_count(out, "stardit_steps_total", m->steps, "Steps of completed jobs.");
    head(out, "stardit_step_prediction_ratio", "gauge",
         "Measured seconds of steps over predicted ones.");
    fprintf(out, "stardit_step_prediction_ratio %.9g\n",
            m->step_predicted > 0.0 ? m->step_seconds / m->step_predicted : 0.0);
    put_count(out, "stardit_deadline_missed_total", m->missed, "Jobs that ended too late.");
    put_count(out, "stardit_preemptions_total", m->preempted,
              "Jobs that were taken off the devices and queued again.");
    head(out, "stardit_http_requests_total", "counter", "Answers by route and status.");
    for (int r = 0; r < m->routes; r++)
        fprintf(out, "stardit_http_requests_total{route=\"%s\",code=\"%d\"} %lu\n",
                m->http[r].route, m->http[r].code, m->http[r].count);
}

char *serve_metrics_text(struct serve_metrics *metrics, struct serve_store *store,
                         struct sdt_machine *machine) {
    char *text = NULL;
    size_t size = 0;
    int64_t count[SERVE_STATUSES];
    FILE *out = open_memstream(&text, &size);
    if (!out)
        return NULL;
    serve_store_count(store, count);
    head(out, "stardit_build_info", "gauge", "1, with the version as a label.");
    fprintf(out, "stardit_build_info{version=\"%s\"} 1\n", PACKAGE_VERSION);
    put_jobs(out, count);
    pthread_mutex_lock(&metrics->mutex);
    put_totals(out, metrics);
    if (machine)
        put_moved(out, metrics, machine);
    pthread_mutex_unlock(&metrics->mutex);
    put_devices(out, machine);
    if (fclose(out) == 0)
        return text;
    free(text);
    return NULL;
}

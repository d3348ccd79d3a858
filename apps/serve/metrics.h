/* Counts and times for Prometheus: GET /metrics. From any thread. */
#ifndef STARDIT_APPS_SERVE_METRICS_H
#define STARDIT_APPS_SERVE_METRICS_H

#include "apps/serve/store.h"

struct serve_metrics;
struct serve_metrics *serve_metrics_new(void); /* NULL: out of memory */
void serve_metrics_free(struct serve_metrics *metrics);

void serve_metrics_http(struct serve_metrics *metrics, const char *route, int code);
/* A job has ended: "completed", "failed" or "cancelled". Seconds: of its life. */
void serve_metrics_job(struct serve_metrics *metrics, const char *result, double seconds,
                       bool missed_deadline);
/* It has been begun for the first time after so long. */
void serve_metrics_queued(struct serve_metrics *metrics, double seconds);
/* Of a job that was denoised from its beginning: measured and predicted. */
void serve_metrics_stages(struct serve_metrics *metrics, double text, double denoise, double decode,
                          double write, int steps, double predicted_step);
void serve_metrics_preempted(struct serve_metrics *metrics);

/* The text, malloc'ed; NULL: out of memory. */
char *serve_metrics_text(struct serve_metrics *metrics, struct serve_store *store,
                         struct sdt_machine *machine);
#endif

/* Measurements in processes of their own, because StarPU keeps state from one start to the next. */
#ifndef STARDIT_APPS_BENCH_CHILD_H
#define STARDIT_APPS_BENCH_CHILD_H

#include <stdint.h>

#include "stardit/status.h"

/* What a measurement's process sends back. */
struct app_measured {
    enum sdt_status status;
    char message[600];
    double seconds;
    double cpu_seconds; /* of all threads meanwhile */
    double speed;       /* tasks per second */
    uint64_t hash;      /* of the result's bits */
};

/* Runs measure() in a child process. Its failure, or that it ended early, is the status. */
enum sdt_status app_in_child(void (*measure)(const void *arg, struct app_measured *measured),
                             const void *arg, struct app_measured *measured, struct sdt_error *err);
/* For measure(): what went wrong. */
void app_failed(struct app_measured *measured, const struct sdt_error *err);

double app_cpu_now(void); /* CPU seconds of the whole process so far */

#endif

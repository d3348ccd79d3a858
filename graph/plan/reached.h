/* What this machine's kernels reach with a request's sizes, for a platform file. */
#ifndef STARDIT_REACHED_H
#define STARDIT_REACHED_H

#include "graph/pipeline.h"
#include "runtime/cost.h"

/* Of one CPU worker while all of them compute. A class is measured as a whole: all FLOPs of its
 * operations over all their seconds; what is bound by memory by its bytes. */
struct sdt_reached {
    double flops[SDT_CLASSES];    /* per second; 0: the request has none of this class */
    double bytes_per_second;      /* of SDT_CLASS_OTHER */
    double load_bytes_per_second; /* of SDT_CLASS_LOAD */
    double task_seconds;          /* what running a task costs beside its kernel */
    double link_bytes_per_second, link_seconds; /* copying from one memory to another */
    double memory_bytes;                        /* that this process may use */
    int workers;                                /* of a device */
    int devices;
};

/* A model as sdt_pipeline_imagine takes it, and a size; 0: the model's. */
struct sdt_measured_size {
    const char *model;
    int height, width, num_frames;
};
/* `machine` is of CPU devices. As sdt_pipeline_imagine and sdt_measure_rates; SDT_ERROR_MEMORY. */
enum sdt_status sdt_measure_reached(const struct sdt_measured_size *size,
                                    const struct sdt_machine_options *machine,
                                    struct sdt_reached *reached, struct sdt_error *err);
/* Seconds of inserting a task on a core that no worker has; 0: task_seconds holds it. */
struct sdt_machine_rates;
double sdt_insert_seconds_apart(const struct sdt_machine_rates *rates);
#endif

/* --plan auto: every way to place a run on N devices, with its predicted time, best first.
 *
 * The prediction is arithmetic on a few numbers, not a simulation (stardit-simulate does that): FLOPs over
 * achieved rates, bytes over link bandwidth, and how much of an exchange a strategy can hide. It ranks
 * plans; docs/numbers.md says what each printed number is. */
#ifndef STARDIT_CANDIDATES_H
#define STARDIT_CANDIDATES_H

#include "graph/pipeline.h"

/* What the machine is taken to be. */
struct sdt_machine_rates {
    int devices, workers_per_device;
    int cores;                    /* stand-in devices share them; 0: every worker has its own */
    double flops_per_second;      /* of a worker */
    double link_bytes_per_second; /* of a device, each way */
    double link_seconds;          /* latency of a transfer */
    double element_bytes;         /* of weights; 0: 4 */
    double memory_bytes;          /* of all devices together; 0: no limit */
};

struct sdt_candidate {
    const struct sdt_strategy *strategy;
    struct sdt_placement placement;
    double step_seconds;    /* one step of one request */
    double exposed_seconds; /* of it, waiting for exchanges */
    double decode_seconds;  /* one request */
    double total_seconds;   /* all requests */
    double device_bytes;    /* peak memory of the device that needs most */
    double memory_bytes;    /* the sum of all devices' peaks */
    bool fits;              /* into the machine's memory */
};

/* Predicts one: strategy and placement are read, everything else is written. SDT_ERROR_USAGE for a layout
 * that cannot be (ulysses_degree), SDT_ERROR_MEMORY. */
enum sdt_status sdt_plan_predict(const struct sdt_pipeline *pipeline,
                                 const struct sdt_request *request, int count,
                                 const struct sdt_machine_rates *rates,
                                 struct sdt_candidate *candidate, struct sdt_error *err);
/* Which of two is to be preferred: negative, 0, positive as qsort has it. One that fits, then the shorter
 * total_seconds, then, of equal ones: fewer groups, no aco, fewer streams, larger chunks. */
int sdt_candidate_compare(const struct sdt_candidate *a, const struct sdt_candidate *b);

/* All candidates for `count` requests like this one, sorted by sdt_candidate_compare. *candidates is malloc'ed;
 * caller frees. With aco, the best time is never
 * worse than without: a plan that gains nothing from it is listed after its twin. SDT_ERROR_MEMORY. */
enum sdt_status sdt_plan_candidates(const struct sdt_pipeline *pipeline,
                                    const struct sdt_request *request, int count,
                                    const struct sdt_machine_rates *rates,
                                    struct sdt_candidate **candidates, int *number,
                                    struct sdt_error *err);
/* The rates of stand-in devices on this machine, measured in some milliseconds; with GPUs, of the slowest GPU
 * and of its links, guessed (docs/numbers.md). device as in sdt_placement. */
struct sdt_machine_rates sdt_measure_rates(const struct sdt_device *device, int devices,
                                           int workers_per_device, enum sdt_precision precision);
#endif

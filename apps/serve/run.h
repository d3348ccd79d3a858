/* A job of the table while the service has it: what it borrows, and what becomes of it. */
#ifndef STARDIT_APPS_SERVE_RUN_H
#define STARDIT_APPS_SERVE_RUN_H

#include <stdatomic.h>

#include "apps/serve/files.h"
#include "apps/serve/metrics.h"
#include "apps/serve/request.h"

/* What runs share. */
struct serve_shared {
    struct serve_models *models;
    struct serve_store *store;
    struct serve_files *files;
    struct serve_metrics *metrics;
    struct sdt_machine *machine;
    bool traces; /* the machine keeps records of tasks: a trace of each video is written */
    int checkpoint_every;
    double keep_seconds; /* of what has ended; 0: for ever */
    atomic_bool stopping;
    /* Called when a job has left the service and its video is written, from another thread. */
    void (*left)(void *arg);
    void *left_arg;
};

enum serve_end { SERVE_TO_ITS_END, SERVE_EVICTED, SERVE_CANCELLED };

struct serve_run {
    struct serve_shared *shared;
    struct serve_record record;
    struct serve_request request;
    struct app_recipe recipe;
    struct sdt_solver_state state; /* that it goes on from */
    int64_t shape[4];
    struct sdt_job *job;
    int slot;       /* of the devices: shares.h */
    atomic_int end; /* enum serve_end: why it is ended early */
    atomic_int steps_done, frames_done;
    atomic_bool left;
    struct sdt_result result; /* of which the video is written */
    pthread_t writer;
    bool writes;                  /* there is a writer */
    struct sdt_solver_state kept; /* of which a state is written, with values of its own */
    pthread_t keeper;
    bool keeps; /* there is a keeper; of the denoising thread, and then of who delivers */
    int warned; /* a state could not be kept */
};

/* Reads the request and the state. NULL after a failure, of which the job has failed. Takes the
 * record over either way. */
struct serve_run *serve_run_new(struct serve_shared *shared, struct serve_record *record);
/* Hands it to the service. False: the job has failed, or somebody else has ended it. */
bool serve_run_submit(struct serve_run *run, struct sdt_service *service, double deadline);
/* Once it has left, or was not taken. */
void serve_run_free(struct serve_run *run);

/* One line on stderr; no prompt. */
void serve_log(const char *format, ...) __attribute__((format(printf, 1, 2)));
#endif

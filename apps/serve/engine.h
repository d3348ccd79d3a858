/* The one thread that owns the machine and the services: it chooses among all jobs of the table, by
 * the queue that the services use as well, which few these have, and takes the others off the
 * devices with their state on the disk. There is a service for each share of the devices, and one
 * for all of them (shares.h). */
#ifndef STARDIT_APPS_SERVE_ENGINE_H
#define STARDIT_APPS_SERVE_ENGINE_H

#include "apps/serve/run.h"

struct serve_engine;

struct serve_engine_options {
    struct serve_shared shared; /* but for left */
    struct sdt_machine *machine;
    const struct sdt_queue *queue; /* that can choose */
    const char *queue_name;        /* as given: a name or a module's path */
    int window;                    /* jobs that a service has at a time */
    double stop_seconds;
    /* Called on the engine's thread: a job has changed its status (NULL: any may have). */
    void (*changed)(void *arg, const char *id);
    void *changed_arg;
};

/* SDT_ERROR_MEMORY. */
enum sdt_status serve_engine_new(const struct serve_engine_options *options,
                                 struct serve_engine **engine, struct sdt_error *err);
void serve_engine_free(struct serve_engine *engine);
/* What it has made of options.shared; as long as the engine. */
struct serve_shared *serve_engine_shared(struct serve_engine *engine);
/* Until serve_engine_stop: true where all jobs have left the service by then, within
 * stop_seconds. False: the process can only be ended, and nothing is lost by that. */
bool serve_engine_run(struct serve_engine *engine);
/* From any thread, and from a signal's handler. */
void serve_engine_stop(struct serve_engine *engine);
bool serve_engine_stopping(const struct serve_engine *engine);
/* There is something new in the table. */
void serve_engine_wake(struct serve_engine *engine);

/* A job that has been ended in the table: leaves the devices after the step that is on its way.
 * False: it is not there. */
bool serve_engine_cancel(struct serve_engine *engine, const char *id);

struct serve_live {
    bool there; /* the service has it */
    int steps_done, frames_done;
    int position; /* of those that wait, from 1, by the queue; 0: not known */
};
struct serve_live serve_engine_look(struct serve_engine *engine, const char *id);
#endif

/* The thread that owns the machine and the service. */
#include "apps/serve/engine.h"

#include <errno.h>
#include <math.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* A job without a deadline is to be done by ten times what it takes alone, for the queue "edf": so
 * it waits for urgent ones, and not for ever. */
static const double patience = 10.0;

enum { MOST_RUNS = 64 };

struct place {
    char id[SERVE_ID + 1];
};

struct serve_engine {
    struct serve_shared shared;
    struct serve_engine_options options;
    sem_t news;
    struct sdt_service *service[SERVE_MOST_MODELS]; /* NULL: not open; but one, all rest */
    int model;                                      /* whose does not; -1: none's */
    pthread_mutex_t mutex;                          /* of what follows */
    struct serve_run *run[MOST_RUNS];
    int runs;
    struct place *waiting; /* [positions] in the queue's order */
    int positions;
};

static void wake(void *arg) {
    struct serve_engine *engine = arg;
    sem_post(&engine->news);
}

void serve_engine_wake(struct serve_engine *engine) { wake(engine); }

void serve_engine_stop(struct serve_engine *engine) {
    atomic_store(&engine->shared.stopping, true);
    sem_post(&engine->news);
}

bool serve_engine_stopping(const struct serve_engine *engine) {
    return atomic_load(&engine->shared.stopping);
}

enum sdt_status serve_engine_new(const struct serve_engine_options *options,
                                 struct serve_engine **out, struct sdt_error *err) {
    struct serve_engine *engine = calloc(1, sizeof *engine);
    *out = engine;
    if (!engine)
        return sdt_fail(err, SDT_ERROR_MEMORY, "out of memory for a server");
    engine->options = *options;
    engine->shared = options->shared;
    engine->shared.left = wake;
    engine->shared.left_arg = engine;
    engine->model = -1;
    sem_init(&engine->news, 0, 1);
    pthread_mutex_init(&engine->mutex, NULL);
    return SDT_OK;
}

struct serve_shared *serve_engine_shared(struct serve_engine *engine) {
    return &engine->shared;
}

void serve_engine_free(struct serve_engine *engine) {
    if (!engine)
        return;
    pthread_mutex_destroy(&engine->mutex);
    sem_destroy(&engine->news);
    free(engine->waiting);
    free(engine);
}

/* Under the mutex. */
static struct serve_run *find(struct serve_engine *engine, const char *id) {
    for (int r = 0; r < engine->runs; r++)
        if (!strcmp(engine->run[r]->record.id, id))
            return engine->run[r];
    return NULL;
}

/* Under the mutex. */
static void end_run(struct serve_run *run, enum serve_end end) {
    int before = SERVE_TO_ITS_END;
    if (end == SERVE_CANCELLED)
        atomic_store(&run->end, SERVE_CANCELLED);
    else
        atomic_compare_exchange_strong(&run->end, &before, (int)end);
    if (run->job)
        sdt_job_cancel(run->job);
}

bool serve_engine_cancel(struct serve_engine *engine, const char *id) {
    pthread_mutex_lock(&engine->mutex);
    struct serve_run *run = find(engine, id);
    if (run)
        end_run(run, SERVE_CANCELLED);
    pthread_mutex_unlock(&engine->mutex);
    serve_engine_wake(engine);
    return run;
}

struct serve_live serve_engine_look(struct serve_engine *engine, const char *id) {
    struct serve_live live = {0};
    pthread_mutex_lock(&engine->mutex);
    const struct serve_run *run = find(engine, id);
    if (run)
        live = (struct serve_live){.there = true,
                                   .steps_done = atomic_load(&run->steps_done),
                                   .frames_done = atomic_load(&run->frames_done)};
    for (int p = 0; p < engine->positions && !live.position; p++)
        if (!strcmp(engine->waiting[p].id, id))
            live.position = p + 1;
    pthread_mutex_unlock(&engine->mutex);
    return live;
}

/* ---- choosing -------------------------------------------------------------------------------- */

/* All jobs of the table that may go on. */
struct choice {
    struct serve_record *record; /* [count] */
    int count;
    int *model; /* [count] */
    int *order; /* [ordered] indices, the first to go on first */
    int ordered;
    struct sdt_waiting *waiting; /* work space of the ordering */
    int *index;
};

static void choice_clear(struct choice *c) {
    serve_records_free(c->record, c->count);
    free(c->model);
    free(c->order);
    free(c->waiting);
    free(c->index);
}

static double deadline_of(const struct serve_record *r) {
    const struct serve_work *w = &r->work;
    double alone = w->text_seconds + r->steps * w->step_seconds + w->decode_seconds;
    return r->deadline > 0.0 ? r->deadline : r->created + patience * alone;
}

/* How it stands, as the service would tell its queue. */
static struct sdt_waiting waiting_of(const struct serve_record *r, int steps_done, bool there) {
    const struct serve_work *w = &r->work;
    const int left = r->steps - steps_done;
    const bool begun = there || steps_done > 0;
    return (struct sdt_waiting){.arrival = (unsigned long)r->number,
                                .phase = begun ? SDT_JOB_STEP : SDT_JOB_TEXT,
                                .begun = begun,
                                .priority = r->priority,
                                .arrived = r->created,
                                .deadline = deadline_of(r),
                                .steps_left = left,
                                .flops_left = (begun ? 0.0 : w->text_flops) + left * w->step_flops +
                                              w->decode_flops};
}

/* The queue's order of all: it says which goes on, and then which would without that one. */
static void order(struct serve_engine *engine, struct choice *c) {
    int left = 0;
    for (int i = 0; i < c->count; i++) {
        c->model[i] = serve_models_find(engine->shared.models, c->record[i].model);
        struct serve_live live = serve_engine_look(engine, c->record[i].id);
        int steps = live.there ? live.steps_done : c->record[i].step;
        if (c->model[i] < 0)
            continue; /* its model is not served now; it waits */
        c->waiting[left] = waiting_of(&c->record[i], steps, live.there);
        c->index[left++] = i;
    }
    while (left > 0) {
        int best = engine->options.queue->choose(c->waiting, left, serve_now());
        best = best < 0 || best >= left ? 0 : best;
        c->order[c->ordered++] = c->index[best];
        left--;
        memmove(&c->waiting[best], &c->waiting[best + 1],
                (size_t)(left - best) * sizeof *c->waiting);
        memmove(&c->index[best], &c->index[best + 1], (size_t)(left - best) * sizeof *c->index);
    }
}

static bool choose(struct serve_engine *engine, struct choice *c) {
    *c = (struct choice){0};
    int jobs = serve_store_open_jobs(engine->shared.store, &c->record);
    if (jobs <= 0)
        return jobs == 0;
    c->count = jobs;
    const size_t count = (size_t)c->count;
    c->model = malloc(count * sizeof *c->model);
    c->order = malloc(count * sizeof *c->order);
    c->waiting = malloc(count * sizeof *c->waiting);
    c->index = malloc(count * sizeof *c->index);
    if (!c->model || !c->order || !c->waiting || !c->index)
        return false;
    order(engine, c);
    return true;
}

/* So that who asks hears how many are before. */
static void publish(struct serve_engine *engine, const struct choice *c) {
    pthread_mutex_lock(&engine->mutex);
    struct place *place =
        realloc(engine->waiting, ((size_t)c->ordered + 1) * sizeof *engine->waiting);
    engine->waiting = place ? place : engine->waiting;
    engine->positions = 0;
    for (int i = 0; place && i < c->ordered; i++) {
        const struct serve_record *r = &c->record[c->order[i]];
        if (r->status == SERVE_QUEUED)
            memcpy(place[engine->positions++].id, r->id, sizeof r->id);
    }
    pthread_mutex_unlock(&engine->mutex);
}

/* ---- the service's jobs ---------------------------------------------------------------------- */

/* Those that have left it are taken out. */
static void collect(struct serve_engine *engine) {
    for (int r = 0; r < engine->runs; r++) {
        struct serve_run *run = engine->run[r];
        char id[SERVE_ID + 1];
        if (!atomic_load(&run->left))
            continue;
        memcpy(id, run->record.id, sizeof id);
        pthread_mutex_lock(&engine->mutex);
        engine->run[r--] = engine->run[--engine->runs];
        pthread_mutex_unlock(&engine->mutex);
        serve_run_free(run);
        engine->options.changed(engine->options.changed_arg, id);
    }
}

static void close_service(struct serve_engine *engine, int model) {
    if (engine->service[model])
        sdt_service_close(engine->service[model], NULL);
    engine->service[model] = NULL;
    if (engine->model == model)
        engine->model = -1;
}

static void close_others(struct serve_engine *engine) {
    for (int m = 0; m < engine->shared.models->count; m++)
        if (m != engine->model)
            close_service(engine, m);
}

static void submit(struct serve_engine *engine, struct serve_record *record) {
    struct serve_shared *shared = &engine->shared;
    char id[SERVE_ID + 1];
    memcpy(id, record->id, sizeof id);
    const double deadline = deadline_of(record);
    struct serve_run *run = serve_run_new(shared, record);
    bool taken = false;
    /* What takes more than its model's defaults, for which all fit, has the devices alone. */
    if (run && serve_model_bytes(shared->models, engine->model, &run->request.request) >
                   shared->models->model[engine->model].bytes)
        close_others(engine);
    if (run) {
        pthread_mutex_lock(&engine->mutex);
        taken = serve_run_submit(run, engine->service[engine->model], deadline);
        if (taken)
            engine->run[engine->runs++] = run;
        pthread_mutex_unlock(&engine->mutex);
    }
    if (run && !taken)
        serve_run_free(run);
    engine->options.changed(engine->options.changed_arg, id);
}

/* The one that has no jobs any more makes place: it keeps what it has on the devices where all
 * models fit there. */
static void rest(struct serve_engine *engine) {
    if (engine->model >= 0 && engine->shared.models->together)
        sdt_service_rest(engine->service[engine->model]);
    else if (engine->model >= 0)
        close_service(engine, engine->model);
    engine->model = -1;
}

/* The service of this model; one of another makes place once it has no job. */
static bool have_service(struct serve_engine *engine, int model) {
    const struct serve_model *m = &engine->shared.models->model[model];
    const struct sdt_service_options options = {.placement = m->placement,
                                                .queue = engine->options.queue_name};
    struct sdt_service **service = &engine->service[model];
    struct sdt_error err = {0};
    if (engine->model == model)
        return true;
    if (engine->model >= 0 && engine->runs > 0)
        return false;
    rest(engine);
    if ((*service ? sdt_service_wake(*service, &err)
                  : sdt_service_open(m->pipeline, engine->options.machine, &options, service,
                                     &err)) != SDT_OK) {
        serve_log("%s cannot be served for now: %s", m->name, err.message);
        return false;
    }
    engine->model = model;
    return true;
}

static bool is_among(const struct choice *c, int wanted, const char *id) {
    for (int i = 0; i < wanted; i++)
        if (!strcmp(c->record[c->order[i]].id, id))
            return true;
    return false;
}

/* Makes room for those that the queue wants: others, of whichever model, leave after the step that
 * is on its way, but for those that are being decoded. */
static void evict(struct serve_engine *engine, const struct choice *c, int wanted) {
    pthread_mutex_lock(&engine->mutex);
    for (int r = 0; r < engine->runs; r++) {
        struct serve_run *run = engine->run[r];
        if (atomic_load(&run->end) != SERVE_TO_ITS_END || is_among(c, wanted, run->record.id) ||
            sdt_job_poll(run->job).phase >= SDT_JOB_DECODE)
            continue;
        serve_metrics_preempted(engine->shared.metrics);
        end_run(run, SERVE_EVICTED);
    }
    pthread_mutex_unlock(&engine->mutex);
}

static void schedule(struct serve_engine *engine) {
    struct choice c;
    int wanted = 0, missing = 0;
    if (!choose(engine, &c)) {
        choice_clear(&c);
        return; /* the next second may be better */
    }
    publish(engine, &c);
    /* One model at a time: that of the job whose turn it is. */
    while (wanted < c.ordered && wanted < engine->options.window &&
           c.model[c.order[wanted]] == c.model[c.order[0]])
        wanted++;
    for (int i = 0; i < wanted; i++)
        missing += c.record[c.order[i]].status == SERVE_QUEUED;
    const int model = wanted > 0 ? c.model[c.order[0]] : -1;
    const bool others = engine->model >= 0 && engine->model != model;
    if (missing > 0 && (others || engine->runs >= engine->options.window))
        evict(engine, &c, wanted);
    if (missing > 0 && have_service(engine, model)) {
        for (int i = 0; i < wanted && engine->runs < engine->options.window; i++)
            if (c.record[c.order[i]].status == SERVE_QUEUED)
                submit(engine, &c.record[c.order[i]]);
    }
    choice_clear(&c);
}

/* ---- the loop -------------------------------------------------------------------------------- */

static void expire(struct serve_engine *engine) {
    char id[SERVE_ID + 1];
    while (serve_store_expire(engine->shared.store, serve_now(), id)) {
        serve_files_forget(engine->shared.files, id);
        serve_log("%s is expired and removed", id);
    }
}

/* Until something is new, a second at most. */
static void wait_for_news(struct serve_engine *engine) {
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec++;
    while (sem_timedwait(&engine->news, &until) != 0 && errno == EINTR)
        ;
    while (sem_trywait(&engine->news) == 0)
        ;
}

/* All that run leave after the step that is on its way. */
static bool stop(struct serve_engine *engine) {
    double end = serve_now() + engine->options.stop_seconds;
    pthread_mutex_lock(&engine->mutex);
    for (int r = 0; r < engine->runs; r++)
        end_run(engine->run[r], SERVE_EVICTED);
    pthread_mutex_unlock(&engine->mutex);
    serve_log("stops; %d job%s to leave the devices", engine->runs, engine->runs == 1 ? "" : "s");
    while (engine->runs > 0 && serve_now() < end) {
        wait_for_news(engine);
        collect(engine);
    }
    if (engine->runs > 0) {
        serve_log("%d job%s did not leave the devices within %.0f s; kept states go on from there",
                  engine->runs, engine->runs == 1 ? "" : "s", engine->options.stop_seconds);
        return false;
    }
    rest(engine);
    close_others(engine);
    return true;
}

/* Those whose model is not served now wait until it is again, which somebody should know. */
static void tell_unserved(struct serve_engine *engine) {
    struct serve_record *record = NULL;
    const int count = serve_store_open_jobs(engine->shared.store, &record);
    for (int i = 0; i < count; i++) {
        int alike = 0, before = 0;
        if (serve_models_find(engine->shared.models, record[i].model) >= 0)
            continue;
        for (int j = 0; j < count; j++) {
            const bool same = !strcmp(record[j].model, record[i].model);
            alike += same;
            before += same && j < i;
        }
        if (before == 0)
            serve_log("%d job%s open wait%s for model %s, which is not served now", alike,
                      alike == 1 ? " that is" : "s that are", alike == 1 ? "s" : "",
                      record[i].model);
    }
    serve_records_free(record, count > 0 ? count : 0);
}

bool serve_engine_run(struct serve_engine *engine) {
    tell_unserved(engine);
    while (!serve_engine_stopping(engine)) {
        wait_for_news(engine);
        collect(engine);
        if (serve_engine_stopping(engine))
            break;
        expire(engine);
        schedule(engine);
        engine->options.changed(engine->options.changed_arg, NULL);
    }
    return stop(engine);
}

/* The thread that owns the machine and the services. */
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

/* What a job takes on a share. */
struct facts {
    int64_t number;
    bool fits;
    double bytes; /* of the host */
    struct serve_work work;
};

struct serve_engine {
    struct serve_shared shared;
    struct serve_engine_options options;
    sem_t news;
    struct sdt_service *service[SERVE_MOST_MODELS][SERVE_SLOTS]; /* NULL: not open */
    bool awake[SERVE_SLOTS]; /* that slot's, of `model`; all others rest */
    int model;               /* -1: none's */
    struct facts *fact;      /* [facts] of open jobs, with shares */
    int facts;
    pthread_mutex_t mutex; /* of what follows */
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
    free(engine->fact);
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

static int slots(const struct serve_engine *engine) {
    return serve_wide(engine->shared.models->shares) + 1;
}

static void close_service(struct serve_engine *engine, int model, int slot) {
    if (engine->service[model][slot])
        sdt_service_close(engine->service[model][slot], NULL);
    engine->service[model][slot] = NULL;
    if (engine->model == model)
        engine->awake[slot] = false;
}

/* All that rest. */
static void close_resting(struct serve_engine *engine) {
    for (int m = 0; m < engine->shared.models->count; m++)
        for (int slot = 0; slot < slots(engine); slot++)
            if (m != engine->model || !engine->awake[slot])
                close_service(engine, m, slot);
}

static void submit(struct serve_engine *engine, struct serve_record *record, int slot) {
    struct serve_shared *shared = &engine->shared;
    char id[SERVE_ID + 1];
    memcpy(id, record->id, sizeof id);
    const double deadline = deadline_of(record);
    struct serve_run *run = serve_run_new(shared, record);
    bool taken = false;
    /* What takes more than its model's defaults, for which all fit, has the devices alone. */
    if (run && serve_model_bytes(shared->models, engine->model, &run->request.request) >
                   shared->models->model[engine->model].bytes)
        close_resting(engine);
    if (run) {
        pthread_mutex_lock(&engine->mutex);
        run->slot = slot;
        taken = serve_run_submit(run, engine->service[engine->model][slot], deadline);
        if (taken)
            engine->run[engine->runs++] = run;
        pthread_mutex_unlock(&engine->mutex);
    }
    if (run && !taken)
        serve_run_free(run);
    engine->options.changed(engine->options.changed_arg, id);
}

static int runs_of(const struct serve_engine *engine, int slot) {
    int count = 0;
    for (int r = 0; r < engine->runs; r++)
        count += engine->run[r]->slot == slot;
    return count;
}

/* One that has no jobs any more makes place: it keeps what it has on the devices where all fit
 * there. */
static void rest(struct serve_engine *engine, int slot) {
    if (!engine->awake[slot])
        return;
    if (engine->shared.models->together)
        sdt_service_rest(engine->service[engine->model][slot]);
    else
        close_service(engine, engine->model, slot);
    engine->awake[slot] = false;
}

/* The service of this model on these devices; others make place once they have no job: those of
 * another model, and a share's beside one of all devices. */
static bool have_service(struct serve_engine *engine, int model, int slot) {
    const struct serve_model *m = &engine->shared.models->model[model];
    const struct sdt_service_options options = {.placement = m->placement[slot],
                                                .queue = engine->options.queue_name};
    struct sdt_service **service = &engine->service[model][slot];
    const int wide = slots(engine) - 1;
    struct sdt_error err = {0};
    if (engine->model == model && engine->awake[slot])
        return true;
    for (int other = 0; other <= wide; other++) {
        if (engine->model == model && (other == slot || (slot != wide && other != wide)))
            continue;
        if (runs_of(engine, other) > 0)
            return false;
        rest(engine, other);
    }
    engine->model = model;
    if ((*service ? sdt_service_wake(*service, &err)
                  : sdt_service_open(m->pipeline[slot], engine->options.machine, &options, service,
                                     &err)) != SDT_OK) {
        serve_log("%s cannot be served for now: %s", m->name, err.message);
        return false;
    }
    return engine->awake[slot] = true;
}

/* ---- who runs where -------------------------------------------------------------------------- */

/* What the job takes on a share; *none where it cannot be told. */
static const struct facts *facts_of(struct serve_engine *engine, const struct serve_record *r,
                                    int model, struct facts *none) {
    struct serve_models *models = engine->shared.models;
    struct serve_form form = {.most = SIZE_MAX};
    struct serve_request request = {0};
    struct sdt_error err;
    *none = (struct facts){.number = r->number};
    for (int f = 0; f < engine->facts; f++)
        if (engine->fact[f].number == r->number)
            return &engine->fact[f];
    if (serve_form_json(&form, r->request, strlen(r->request)) && serve_form_check(&form) &&
        serve_request_read(models, &form, &request, &form.refusal))
        none->fits = serve_model_share(models, model, &request.request, &none->work, &none->bytes,
                                       &err) == SDT_OK;
    serve_form_clear(&form);
    serve_request_clear(&request);
    struct facts *grown = realloc(engine->fact, ((size_t)engine->facts + 1) * sizeof *grown);
    if (!grown)
        return none;
    engine->fact = grown;
    engine->fact[engine->facts] = *none;
    return &engine->fact[engine->facts++];
}

/* Of jobs that are open no more. */
static void forget_facts(struct serve_engine *engine, const struct choice *c) {
    for (int f = 0; f < engine->facts; f++) {
        bool open = false;
        for (int i = 0; i < c->count && !open; i++)
            open = c->record[i].number == engine->fact[f].number;
        if (!open)
            engine->fact[f--] = engine->fact[--engine->facts];
    }
}

static double left_of(const struct serve_work *w, const struct serve_record *r, int steps_done) {
    return (steps_done > 0 ? 0.0 : w->text_seconds) + (r->steps - steps_done) * w->step_seconds +
           w->decode_seconds;
}

/* Would a share miss a deadline that all devices meet? */
static bool is_urgent(const struct facts *facts, const struct serve_record *r, int steps_done) {
    const double left = r->deadline - serve_now();
    return r->deadline > 0.0 && left_of(&facts->work, r, steps_done) > left &&
           left_of(&r->work, r, steps_done) <= left;
}

/* Where the job is now, and what it wants. */
static struct serve_claim claim_of(struct serve_engine *engine, const struct serve_record *r,
                                   int model) {
    struct serve_models *models = engine->shared.models;
    struct serve_claim claim = {.model = model, .slot = SERVE_NOWHERE};
    struct facts none;
    int steps = r->step;
    pthread_mutex_lock(&engine->mutex);
    const struct serve_run *run = find(engine, r->id);
    if (run) {
        claim.slot = run->slot;
        claim.leaves = atomic_load(&run->end) != SERVE_TO_ITS_END;
        claim.stays = claim.leaves || sdt_job_poll(run->job).phase >= SDT_JOB_DECODE;
        steps = atomic_load(&run->steps_done);
    }
    pthread_mutex_unlock(&engine->mutex);
    if (models->shares > 1 && !claim.stays) {
        const struct facts *facts = facts_of(engine, r, model, &none);
        claim.all = !facts->fits || (serve_models_widen(models) && is_urgent(facts, r, steps));
    }
    return claim;
}

/* Those that should be elsewhere leave after the step that is on its way. */
static void evict(struct serve_engine *engine, const struct choice *c,
                  const struct serve_claim *claim) {
    pthread_mutex_lock(&engine->mutex);
    for (int i = 0; i < c->ordered; i++) {
        struct serve_run *run = find(engine, c->record[c->order[i]].id);
        if (!run || claim[i].stays || claim[i].assigned == claim[i].slot ||
            atomic_load(&run->end) != SERVE_TO_ITS_END)
            continue;
        serve_metrics_preempted(engine->shared.metrics);
        end_run(run, SERVE_EVICTED);
    }
    pthread_mutex_unlock(&engine->mutex);
}

/* Jobs on shares that are under way together fit into the host's memory. */
static bool has_room(struct serve_engine *engine, const struct serve_record *r, int model,
                     int slot) {
    struct facts none;
    double bytes = 0.0;
    if (slots(engine) == 1 || slot == slots(engine) - 1 || engine->runs == 0)
        return true;
    for (int i = 0; i < engine->runs; i++)
        bytes += facts_of(engine, &engine->run[i]->record, model, &none)->bytes;
    return bytes + facts_of(engine, r, model, &none)->bytes <= engine->shared.models->room;
}

/* One that waits, and has its place. */
static void start(struct serve_engine *engine, struct serve_record *r,
                  const struct serve_claim *c) {
    const int wide = slots(engine) - 1;
    char id[SERVE_ID + 1];
    if (r->status != SERVE_QUEUED || c->assigned == SERVE_NOWHERE || engine->runs == MOST_RUNS ||
        !has_room(engine, r, c->model, c->assigned) || !have_service(engine, c->model, c->assigned))
        return;
    memcpy(id, r->id, sizeof id);
    submit(engine, r, c->assigned);
    if (wide > 0 && c->assigned == wide)
        serve_log("%s has all devices", id);
}

static void schedule(struct serve_engine *engine) {
    const int shares = engine->shared.models->shares;
    struct choice c;
    if (!choose(engine, &c)) {
        choice_clear(&c);
        return; /* the next second may be better */
    }
    publish(engine, &c);
    forget_facts(engine, &c);
    struct serve_claim *claim = calloc((size_t)c.ordered + 1, sizeof *claim);
    bool missing = false;
    for (int i = 0; claim && i < c.ordered; i++)
        claim[i] = claim_of(engine, &c.record[c.order[i]], c.model[c.order[i]]);
    if (claim)
        serve_shares_assign(claim, c.ordered, shares, engine->options.window);
    for (int i = 0; claim && i < c.ordered; i++)
        missing |= claim[i].assigned != SERVE_NOWHERE && claim[i].assigned != claim[i].slot;
    if (missing)
        evict(engine, &c, claim);
    for (int i = 0; claim && i < c.ordered; i++)
        start(engine, &c.record[c.order[i]], &claim[i]);
    free(claim);
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
    for (int slot = 0; slot < slots(engine); slot++)
        rest(engine, slot);
    close_resting(engine);
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

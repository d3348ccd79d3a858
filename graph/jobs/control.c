/* Submitting jobs, and steering them from any thread. */
#include "graph/jobs/job.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static enum sdt_status check_submission(struct sdt_service *service,
                                        const struct sdt_request *request, struct sdt_error *err) {
    enum sdt_status status =
        sdt_strategy_allows(request->strategy, &service->placement, service->machine->devices,
                            service->pipeline->dit, err);
    if (status == SDT_OK)
        status = sdt__prepare_text(service->pipeline, request, err);
    if (status == SDT_OK && service->closed)
        status = sdt_fail(err, SDT_ERROR_INTERRUPTED, "the service takes no more requests");
    if (status == SDT_OK && service->resting)
        status = sdt_fail(err, SDT_ERROR_USAGE, "the service rests");
    const bool tiles = sdt__decodes_tiles(service->pipeline, request);
    if (status == SDT_OK && service->machine->crossing.count > 1 && service->two && !tiles &&
        service->vae.devices > 1)
        status =
            sdt_fail(err, SDT_ERROR_USAGE,
                     "%d devices that decode, a video each, do not go with several ranks: one, "
                     "or --enable-tiling, would work",
                     service->vae.devices);
    if (status == SDT_OK)
        status = sdt__start_decoders(service, tiles, err);
    return status;
}

/* Room for one more in what the queue chooses from: threads that choose allocate nothing. */
static bool make_room(struct sdt_service *service) {
    if (service->jobs < service->room)
        return true;
    int room = 2 * service->room + 8;
    struct sdt_waiting *waiting =
        realloc(service->waiting, (size_t)room * sizeof *service->waiting);
    service->waiting = waiting ? waiting : service->waiting;
    struct sdt_job **ready = realloc(service->ready, (size_t)room * sizeof *service->ready);
    service->ready = ready ? ready : service->ready;
    service->room = waiting && ready ? room : service->room;
    return waiting && ready;
}

static struct sdt_job *job_new(struct sdt_service *service, const struct sdt_request *request,
                               const struct sdt_job_options *options) {
    struct sdt_job *job = calloc(1, sizeof *job);
    struct sdt_teller *teller = calloc(1, sizeof *teller);
    if (!job || !teller) {
        free(job);
        free(teller);
        return NULL;
    }
    *teller = (struct sdt_teller){.call = options->progress,
                                  .arg = options->progress_arg,
                                  .number = options->number,
                                  .fast = service->fast};
    *job = (struct sdt_job){.service = service,
                            .request = *request,
                            .options = *options,
                            .priority = options->priority,
                            .teller = teller,
                            .arrived = sdt__now()};
    job->deadline = options->deadline != 0.0 ? job->arrived + options->deadline : HUGE_VAL;
    job->phase = SDT_JOB_TEXT;
    job->handed = request->resume ? request->resume->step : 0;
    if (sdt_pipeline_work(service->pipeline, request, &job->work, NULL) != SDT_OK)
        job->work = (struct sdt_request_work){0}; /* its own phase says what is wrong */
    atomic_init(&job->references, 1);
    sdt__halt_init(&job->halt, &service->machine->halt.stop);
    sdt__halt_init(&job->finish, NULL);
    sdt__halt_init(&job->keep, NULL);
    sdt__result_init(service->pipeline, request, &job->result);
    return job;
}

enum sdt_status sdt_service_submit(struct sdt_service *service, const struct sdt_request *request,
                                   const struct sdt_job_options *options, struct sdt_job **out,
                                   struct sdt_error *err) {
    if (out)
        *out = NULL;
    starpu_pthread_mutex_lock(&service->mutex);
    enum sdt_status status = check_submission(service, request, err);
    struct sdt_job *job =
        status == SDT_OK && make_room(service) ? job_new(service, request, options) : NULL;
    if (status == SDT_OK && !job)
        status = sdt_fail(err, SDT_ERROR_MEMORY, "out of memory for a request");
    if (job) {
        if (service->decoder[0].place) /* others are alike */
            sdt__decode_plan_ahead(service, request, &service->decoder[0]);
        job->arrival = service->arrivals++;
        service->jobs++;
        job->wanted = service->teams;
        while (job->wanted->next)
            job->wanted = job->wanted->next;
        if (out) {
            atomic_fetch_add(&job->references, 1);
            *out = job;
        }
        if (service->last)
            service->last->next = job;
        else
            service->first = job;
        service->last = job;
        starpu_pthread_cond_broadcast(&service->changed);
    }
    starpu_pthread_mutex_unlock(&service->mutex);
    return status;
}

void sdt_job_free(struct sdt_job *job) {
    if (job)
        sdt__job_release(job);
}

/* Runs what is done to a job that has not been delivered: its service is there then. */
#define WITH_JOB(job, what)                                                                        \
    do {                                                                                           \
        starpu_pthread_mutex_lock(&(job)->service->mutex);                                         \
        if (!(job)->delivered) {                                                                   \
            what;                                                                                  \
            starpu_pthread_cond_broadcast(&(job)->service->changed);                               \
        }                                                                                          \
        starpu_pthread_mutex_unlock(&(job)->service->mutex);                                       \
    } while (0)

void sdt_job_pause(struct sdt_job *job) { WITH_JOB(job, job->paused = true); }

void sdt_job_resume(struct sdt_job *job) { WITH_JOB(job, job->paused = false); }

void sdt_job_cancel(struct sdt_job *job) {
    WITH_JOB(job, atomic_store(&job->halt.stop, true); atomic_store(&job->finish.stop, true));
}

void sdt_job_priority(struct sdt_job *job, int priority) {
    WITH_JOB(job, job->priority = priority);
}

void sdt_job_deadline(struct sdt_job *job, double deadline) {
    double when = deadline != 0.0 ? sdt__now() + deadline : HUGE_VAL;
    WITH_JOB(job, job->deadline = when);
}

enum sdt_status sdt_job_move(struct sdt_job *job, const int *devices, int count,
                             struct sdt_error *err) {
    struct sdt_service *service = job->service;
    struct sdt_placement p = service->placement;
    struct sdt_kinds kinds;

    if (count < 1 || count > SDT_MAX_DEVICES)
        return sdt_fail(err, SDT_ERROR_USAGE, "%d devices to move to; 1 to %d work", count,
                        SDT_MAX_DEVICES);
    p.dit_devices = count;
    memcpy(p.dit, devices, (size_t)count * sizeof *devices);
    enum sdt_status status =
        sdt__settle_kinds(&p, service->machine->what, service->machine->devices, &kinds, err);
    if (status == SDT_OK && kinds.dit != service->kinds.dit)
        status =
            sdt_fail(err, SDT_ERROR_USAGE,
                     "a job that denoises on %s cannot be moved to %s: its bits would change",
                     sdt_device_kind_name(service->kinds.dit), sdt_device_kind_name(kinds.dit));
    if (status == SDT_OK)
        status = sdt_strategy_allows(job->request.strategy, &p, service->machine->devices,
                                     service->pipeline->dit, err);
    if (status != SDT_OK)
        return status;
    starpu_pthread_mutex_lock(&service->mutex);
    struct sdt_team *team;
    status = sdt__team_find(service, devices, count, &team, err);
    if (status == SDT_OK && !job->delivered)
        job->wanted = team;
    starpu_pthread_mutex_unlock(&service->mutex);
    return status;
}

struct sdt_job_state sdt_job_poll(struct sdt_job *job) {
    struct sdt_job_state state = {.phase = SDT_JOB_DONE, .steps = job->request.steps};
    starpu_pthread_mutex_lock(&job->service->mutex);
    state.phase = job->phase;
    state.paused = job->paused;
    state.active = job->active;
    state.status = job->status;
    state.steps_done = job->steps_done;
    state.waited = sdt__now() - job->arrived;
    starpu_pthread_mutex_unlock(&job->service->mutex);
    return state;
}

void sdt_job_wait(struct sdt_job *job) {
    starpu_pthread_mutex_lock(&job->service->mutex);
    while (!job->delivered)
        starpu_pthread_cond_wait(&job->service->changed, &job->service->mutex);
    starpu_pthread_mutex_unlock(&job->service->mutex);
}

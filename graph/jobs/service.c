/* The threads that advance jobs.
 *
 * A thread asks for the next job that it could advance, advances it by one piece, and puts it back.
 * All that threads share is under the service's mutex; a job that is active belongs to its
 * thread. */
#include "graph/jobs/job.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* ---- telling --------------------------------------------------------------------------------- */

void sdt__tell(struct sdt_teller *teller, const char *phase, int done, int total) {
    atomic_fetch_add(&teller->speaking, 1);
    if (teller->call && !atomic_load(&teller->parted))
        teller->call(teller->arg, teller->number, phase, done, total);
    atomic_fetch_sub(&teller->speaking, 1);
}

void sdt__teller_part(struct sdt_teller *teller) {
    const struct timespec moment = {0, 10 * 1000 * 1000};
    atomic_store(&teller->parted, true);
    for (int i = 0; i < 100 && atomic_load(&teller->speaking) > 0; i++)
        nanosleep(&moment, NULL);
}

/* ---- results --------------------------------------------------------------------------------- */

void sdt__result_init(const struct sdt_pipeline *pipeline, const struct sdt_request *request,
                      struct sdt_result *result) {
    struct sdt_geometry g = sdt__geometry(pipeline, request);
    *result = (struct sdt_result){.frames = request->num_frames,
                                  .height = request->height,
                                  .width = request->width,
                                  .channels = pipeline->vae->channels,
                                  .latent_frames = g.frames,
                                  .latent_height = g.height,
                                  .latent_width = g.width,
                                  .steps = request->steps};
}

void sdt_result_clear(struct sdt_result *result) {
    free(result->video);
    free(result->latent);
    free(result->x_last);
    free(result->m0);
    free(result->m1);
    free(result->difference);
    *result = (struct sdt_result){0};
}

static enum sdt_status save_latent(const struct sdt_job *job, struct sdt_error *err) {
    const struct sdt_result *r = &job->result;
    if (!job->options.save_latent)
        return SDT_OK;
    struct sdt_stored tensor = {
        .name = "latent",
        .dtype = SDT_F32,
        .rank = 5,
        .shape = {1, r->channels, r->latent_frames, r->latent_height, r->latent_width},
        .count = sdt__latent_size(r),
        .data = r->latent};
    tensor.bytes = tensor.count * sizeof(float);
    return sdt_safetensors_write(job->options.save_latent, 1, &tensor, err);
}

void sdt__job_release(struct sdt_job *job) {
    if (atomic_fetch_sub(&job->references, 1) != 1)
        return;
    sdt__halt_clear(&job->halt);
    sdt__halt_clear(&job->finish);
    sdt__halt_clear(&job->keep);
    free(job->teller);
    free(job);
}

/* A copy of the latent: after a stall tasks may still use the job's. NULL: no step was finished, or
 * no memory. */
static float *copy_latent(const struct sdt_result *r) {
    size_t count = sdt__latent_size(r);
    float *copy = r->latent && r->steps_done > 0 ? malloc(count * sizeof *copy) : NULL;
    if (copy)
        memcpy(copy, r->latent, count * sizeof *copy);
    return copy;
}

/* Takes it out of the service's list. Under the mutex. */
static void forget(struct sdt_service *service, struct sdt_job *job) {
    struct sdt_job **link = &service->first, *before = NULL;
    while (*link != job) {
        before = *link;
        link = &before->next;
    }
    *link = job->next;
    if (service->stepped == job)
        service->stepped = NULL;
    if (service->last == job)
        service->last = before;
    service->jobs--;
}

static void deliver(struct sdt_job *job, enum sdt_status status, const struct sdt_error *err) {
    struct sdt_service *service = job->service;
    struct sdt_result *result = &job->result, copy;
    int steps_done = result->steps_done;

    starpu_pthread_mutex_lock(&service->mutex);
    if (status != SDT_OK && (service->status == SDT_OK || status == SDT_ERROR_STALLED)) {
        service->status = status;
        service->error = *err;
    }
    service->given_up |= status == SDT_ERROR_STALLED;
    starpu_pthread_mutex_unlock(&service->mutex);
    if (status == SDT_ERROR_STALLED) {
        sdt__teller_part(job->teller);
        copy = *result;
        copy.video = copy.x_last = copy.m0 = copy.m1 = copy.difference = NULL;
        copy.latent = copy_latent(result);
        result = &copy;
        atomic_fetch_add(&job->references, 1); /* left to the tasks that may still end */
    }
    if (job->options.deliver)
        job->options.deliver(job->options.deliver_arg, job->options.number, status, err, result);
    sdt_result_clear(result);
    starpu_pthread_mutex_lock(&service->mutex);
    forget(service, job);
    job->phase = SDT_JOB_DONE;
    job->active = false;
    job->delivered = true;
    job->status = status;
    job->steps_done = steps_done;
    service->alive -= job->begun;
    starpu_pthread_cond_broadcast(&service->changed);
    starpu_pthread_mutex_unlock(&service->mutex);
    sdt__job_release(job);
}

/* ---- choosing -------------------------------------------------------------------------------- */

static bool ended(const struct sdt_job *job) {
    return sdt__halted(job->phase == SDT_JOB_DECODE && job->service->two ? &job->finish
                                                                         : &job->halt);
}

/* Could a thread that denoises or decodes advance it now? */
static bool could_advance(const struct sdt_service *service, const struct sdt_job *job,
                          bool denoises, bool decodes) {
    bool mine = job->phase == SDT_JOB_DECODE ? decodes : denoises;
    if (!mine || job->active || job->phase == SDT_JOB_DONE)
        return false;
    if (ended(job))
        return true; /* to its end */
    return (!job->paused || service->closed) &&
           (job->begun || service->alive < service->most_alive);
}

/* Is there, or may there still come, anything for this thread? */
static bool more_to_come(const struct sdt_service *service, bool denoises, bool decodes) {
    if (!service->closed)
        return true;
    for (const struct sdt_job *job = service->first; job; job = job->next)
        if (job->phase == SDT_JOB_DECODE ? decodes && !job->active : denoises || decodes)
            return true;
    return false;
}

/* Until something changes; at times of itself, because a signal's handler can only set a flag. */
static void wait_a_while(struct sdt_service *service) {
#ifdef STARPU_SIMGRID
    starpu_pthread_cond_wait(&service->changed, &service->mutex);
#else
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += 200 * 1000 * 1000;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    pthread_cond_timedwait(&service->changed, &service->mutex, &until);
#endif
}

/* What the queue is told of it. */
static struct sdt_waiting waiting_of(const struct sdt_service *service, const struct sdt_job *job) {
    const int steps = job->request.steps - job->steps_done;
    const double step =
        job->work.forward_flops * sdt_pipeline_forwards(service->pipeline, &job->request);
    return (struct sdt_waiting){.arrival = job->arrival,
                                .phase = job->phase,
                                .begun = job->begun,
                                .priority = job->priority,
                                .arrived = job->arrived,
                                .deadline = job->deadline,
                                .steps_left = steps,
                                .flops_left =
                                    (job->phase == SDT_JOB_TEXT ? job->work.text_flops : 0.0) +
                                    steps * step + job->work.decode_flops};
}

/* Those that the thread could advance now, for the queue to choose from. One that has been ended
 * stands alone: there is nothing to choose. */
static int collect(struct sdt_service *service, bool denoises, bool decodes) {
    int count = 0;
    for (struct sdt_job *job = service->first; job; job = job->next) {
        if (!could_advance(service, job, denoises, decodes))
            continue;
        bool alone = ended(job);
        count = alone ? 0 : count;
        service->ready[count] = job;
        service->waiting[count++] = waiting_of(service, job);
        if (alone)
            break;
    }
    return count;
}

static int threads_of(const struct sdt_service *service) {
    return 1 + (service->two ? service->decoders : 0);
}

/* The job that the thread is to advance; NULL: there is nothing more for it. */
static struct sdt_job *next_job(struct sdt_service *service, bool denoises, bool decodes) {
    struct sdt_job *chosen = NULL;

    starpu_pthread_mutex_lock(&service->mutex);
    while (!chosen && !service->given_up && more_to_come(service, denoises, decodes)) {
        int count = collect(service, denoises, decodes), best = 0;
        if (count == 0) {
            if (++service->parked == threads_of(service))
                starpu_pthread_cond_broadcast(&service->quiet);
            wait_a_while(service);
            service->parked--;
            continue;
        }
        if (count > 1)
            best = service->queue->choose(service->waiting, count, sdt__now());
        chosen = service->ready[best >= 0 && best < count ? best : 0];
        chosen->active = true;
        service->alive += !chosen->begun;
        chosen->begun = true;
        if (!chosen->team || sdt_step_table_whole(&chosen->table, chosen->step))
            chosen->team = chosen->wanted;
    }
    starpu_pthread_mutex_unlock(&service->mutex);
    return chosen;
}

static void put_back(struct sdt_job *job, enum sdt_job_phase phase) {
    struct sdt_service *service = job->service;
    starpu_pthread_mutex_lock(&service->mutex);
    /* Of blocks, iterations in the measure of steps. */
    job->steps_done = job->steps ? job->step * job->request.steps / job->steps : job->step;
    job->phase = phase;
    job->active = false;
    starpu_pthread_cond_broadcast(&service->changed);
    starpu_pthread_mutex_unlock(&service->mutex);
}

/* ---- threads --------------------------------------------------------------------------------- */

/* Denoising has ended, well or not. True: what follows is the decode. */
static bool end_denoising(struct sdt_job *job, enum sdt_status status, struct sdt_error *err) {
    status = sdt__job_gather(job, status, err);
    if (status == SDT_OK)
        status = save_latent(job, err);
    if (status == SDT_OK)
        return true;
    deliver(job, status, err);
    return false;
}

/* Where the queue has let another job go on, the one before hands its state out: it may wait for
 * long. */
static void keep_preempted(struct sdt_service *service, struct sdt_job *job) {
    struct sdt_error err;
    starpu_pthread_mutex_lock(&service->mutex);
    struct sdt_job *before = service->stepped;
    service->stepped = job;
    if (before == job || (before && (before->active || before->phase != SDT_JOB_STEP ||
                                     !before->options.checkpoint_every || ended(before) ||
                                     before->handed == before->step ||
                                     !sdt_step_table_whole(&before->table, before->step))))
        before = NULL;
    if (before)
        before->active = true;
    starpu_pthread_mutex_unlock(&service->mutex);
    if (before) {
        sdt__job_keep(before, &err); /* what is wrong with the job ends its next step */
        put_back(before, SDT_JOB_STEP);
    }
}

/* Two pieces are on their way at a time: while one computes, the next is inserted. The next one's
 * job is chosen when there is room for it and not before, so that one that comes while a piece ends
 * waits for one piece more. *stalled: there will never be room. */
static struct sdt_job *next_to_denoise(struct sdt_service *service, bool decodes,
                                       struct sdt_error *stalled) {
    struct sdt_lane *lane = &service->machine->lane[service->lane];
    *stalled = (struct sdt_error){0};
    sdt__lane_reach(lane, service->recent, stalled);
    return next_job(service, true, decodes);
}

/* Text, or a step. */
static void denoise(struct sdt_service *service, struct sdt_job *job,
                    const struct sdt_error *stalled) {
    struct sdt_lane *lane = &service->machine->lane[service->lane];
    struct sdt_error err = {0};
    if (stalled->status == SDT_OK)
        keep_preempted(service, job);
    unsigned long before = lane->entered;
    enum sdt_status status = sdt__halt_status(&job->halt, &err);

    if (status == SDT_OK && stalled->status != SDT_OK) {
        err = *stalled;
        status = stalled->status;
    }
    if (status == SDT_OK)
        status = job->phase == SDT_JOB_TEXT ? sdt__job_begin(job, &err) : sdt__job_step(job, &err);
    service->recent = before;
    if (status == SDT_OK && job->step < job->steps) {
        put_back(job, SDT_JOB_STEP);
    } else if (end_denoising(job, status, &err)) {
        if (job->request.streamed)
            deliver(job, SDT_OK, &err);
        else
            put_back(job, SDT_JOB_DECODE);
    }
}

static void decode(struct sdt_job *job, struct sdt_decoder *decoder) {
    struct sdt_error err = {0};
    enum sdt_status status = sdt__halt_status(job->service->two ? &job->finish : &job->halt, &err);
    if (status == SDT_OK)
        status = sdt__job_decode(job, decoder, &err);
    deliver(job, status, &err);
}

static bool given_up(struct sdt_service *service) {
    starpu_pthread_mutex_lock(&service->mutex);
    bool stalled = service->given_up;
    starpu_pthread_mutex_unlock(&service->mutex);
    return stalled;
}

static void *decode_all(void *arg) {
    struct sdt_decoder *decoder = arg;
    struct sdt_job *job;
    while ((job = next_job(decoder->service, false, true)))
        decode(job, decoder);
    if (!given_up(decoder->service)) /* what waits for a stalled device would wait for ever */
        sdt__decode_unload(decoder);
    return NULL;
}

/* Starts decoding threads on a group: one per device, or one for all that shares out spatial tiles.
 * Fewer than asked for is no failure if there is one. */
static void start_decoding(struct sdt_service *service, const struct sdt_group *group, bool tiles) {
    int threads = tiles ? 1 : group->devices;
    for (int i = 0; i < threads; i++) {
        struct sdt_decoder *decoder = &service->decoder[service->decoders];
        *decoder = (struct sdt_decoder){.service = service,
                                        .place = group->place + (tiles ? 0 : i),
                                        .devices = tiles ? group->devices : 1,
                                        .number = service->decoders};
        if (starpu_pthread_create(&decoder->thread, NULL, decode_all, decoder))
            break;
        service->decoders++;
    }
}

/* Latents that wait for a decoder. */
static int waiting(struct sdt_service *service) {
    int count = 0;
    starpu_pthread_mutex_lock(&service->mutex);
    for (struct sdt_job *job = service->first; job; job = job->next)
        count += job->phase == SDT_JOB_DECODE && !job->active;
    starpu_pthread_mutex_unlock(&service->mutex);
    return count;
}

/* Can the transformer's weights stay on the GPUs while the decoder works? Converting them again
 * would take long. */
static bool room_to_decode(const struct sdt_service *service, const struct sdt_decoder *decoder,
                           const struct sdt_request *request) {
    bool room = true;
    for (int i = 0; i < decoder->devices && room; i++)
        room = decoder->place[i].kind == SDT_DEVICE_CUDA;
    if (!room || decoder->parameters) /* it has found room before */
        return room;
    for (int i = 0; i < decoder->devices && room; i++) {
        const struct sdt_place *place = &decoder->place[i];
        double bytes = sdt__decode_bytes(service, request, decoder->place, decoder->devices, i);
        room = !place->here || bytes <= (double)starpu_memory_get_available(place->node);
    }
    return !sdt__ranks_any(SDT_LANE_DENOISE, !room);
}

/* One group: both phases, and of two only one's weights at a time, unless there is room. */
static void take_turns(struct sdt_service *service) {
    struct sdt_decoder *decoder = &service->decoder[0];
    struct sdt_job *job;
    struct sdt_error stalled;
    bool keep = service->placement.keep_weights;

    while ((job = next_to_denoise(service, true, &stalled))) {
        if (job->phase != SDT_JOB_DECODE) {
            if (!keep && decoder->parameters && stalled.status == SDT_OK)
                sdt__decode_unload(decoder);
            denoise(service, job, &stalled);
            continue;
        }
        keep = keep || room_to_decode(service, decoder, &job->request);
        if (!keep) {
            struct sdt_error err;
            struct sdt_lane *lane = &service->machine->lane[service->lane];
            if (!sdt__lane_drain(lane, &err)) { /* of other jobs' steps */
                deliver(job, SDT_ERROR_STALLED, &err);
                break;
            }
            sdt__denoise_unload(service);
        }
        decode(job, decoder);
    }
    if (!given_up(service)) {
        sdt__denoise_unload(service);
        sdt__decode_unload(decoder);
    }
}

static void *denoise_all(void *arg) {
    struct sdt_service *service = arg;
    struct sdt_error stalled;
    struct sdt_job *job;

    if (!service->two) {
        take_turns(service);
        return NULL;
    }
    while ((job = next_to_denoise(service, false, &stalled)))
        denoise(service, job, &stalled);
    /* Nothing is left to denoise. Where the groups share devices, all of them decode already. */
    if (service->placement.vae_spill && !service->shared && !given_up(service) &&
        waiting(service) > 0) {
        sdt__denoise_unload(service); /* makes room for the VAE's weights */
        const struct sdt_team *team = service->teams;
        while (team->next)
            team = team->next;
        int first = service->decoders;
        start_decoding(service, &team->group, false);
        for (int i = first; i < service->decoders; i++)
            starpu_pthread_join(service->decoder[i].thread, NULL);
        service->decoders = first;
    }
    return NULL;
}

/* ---- a service ------------------------------------------------------------------------------- */

static enum sdt_status check_placement(const struct sdt_machine *machine,
                                       const struct sdt_placement *p, struct sdt_kinds *kinds,
                                       struct sdt_error *err) {
    if (p->dit_devices < 0 || p->dit_devices > SDT_MAX_DEVICES || p->vae_devices < 0 ||
        p->vae_devices > SDT_MAX_DEVICES)
        return sdt_fail(err, SDT_ERROR_USAGE,
                        "groups of %d and %d devices; at most %d devices a group work",
                        p->dit_devices, p->vae_devices, SDT_MAX_DEVICES);
    if (machine->crossing.count > 1 &&
        (p->aco != SDT_ACO_OFF || p->vae_spill || p->transport == SDT_TRANSPORT_NCCL))
        return sdt_fail(err, SDT_ERROR_USAGE,
                        "--%s does not go with several ranks: without it, or without mpirun, this "
                        "would work",
                        p->aco != SDT_ACO_OFF ? "aco"
                        : p->vae_spill        ? "vae-spill"
                                              : "transport nccl");
    return sdt__settle_kinds(p, machine->what, machine->devices, kinds, err);
}

enum sdt_status sdt__service_fast(struct sdt_service *service, struct sdt_error *err) {
    service->fast = sdt__fast_new(service->machine->recorder);
    return service->fast ? SDT_OK : sdt_fail(err, SDT_ERROR_MEMORY, "out of memory for a service");
}

static void service_free(struct sdt_service *service) {
    sdt__fast_free(service->fast);
    for (struct sdt_team *team = service->teams, *next; team; team = next) {
        next = team->next;
        sdt_group_clear(&team->group);
        free(team);
    }
    sdt_group_clear(&service->vae);
    starpu_pthread_cond_destroy(&service->quiet);
    starpu_pthread_cond_destroy(&service->changed);
    starpu_pthread_mutex_destroy(&service->mutex);
    free(service->decoder);
    free(service->waiting);
    free(service->ready);
    free(service);
}

static enum sdt_status make_groups(struct sdt_service *service, struct sdt_error *err) {
    const struct sdt_placement *p = &service->placement;
    struct sdt_machine *machine = service->machine;
    int all[SDT_MAX_DEVICES];
    for (int d = 0; d < SDT_MAX_DEVICES; d++)
        all[d] = d;
    struct sdt_team *team = NULL;
    enum sdt_status status =
        sdt__team_find(service, p->dit_devices ? p->dit : all,
                       p->dit_devices ? p->dit_devices : machine->devices, &team, err);
    if (status != SDT_OK)
        return status;
    status =
        sdt_group_init(&service->vae, machine, p->vae_devices ? p->vae_devices : machine->devices,
                       p->vae_devices ? p->vae : all, 0, NULL, err);
    service->text_place = p->text_with_vae ? &service->vae.place[0] : &team->group.place[0];
    service->text_dtype = p->text_with_vae ? service->kinds.vae_dtype : service->kinds.dit_dtype;
    return status;
}

static enum sdt_status start_threads(struct sdt_service *service, struct sdt_error *err) {
    int most = SDT_MAX_DEVICES + 1;
    service->decoder = calloc((size_t)most, sizeof *service->decoder);
    if (!service->decoder)
        return sdt_fail(err, SDT_ERROR_MEMORY, "out of memory for decoding threads");
    if (!service->two)
        service->decoder[0] = (struct sdt_decoder){
            .service = service, .place = service->vae.place, .devices = service->vae.devices};
    if (starpu_pthread_create(&service->thread, NULL, denoise_all, service))
        return sdt_fail(err, SDT_ERROR_MEMORY, "the denoising thread could not be started");
    service->denoising = true;
    return SDT_OK;
}

enum sdt_status sdt__start_decoders(struct sdt_service *service, bool tiles,
                                    struct sdt_error *err) {
    if (!service->two || service->decoders > 0)
        return SDT_OK;
    start_decoding(service, &service->vae, tiles);
    return service->decoders > 0
               ? SDT_OK
               : sdt_fail(err, SDT_ERROR_MEMORY, "a decoding thread could not be started");
}

/* For the thread that denoises, one that decodes for each device that does, and those that decode
 * at the end. */
static enum sdt_status take_lanes(struct sdt_service *service, struct sdt_error *err) {
    const struct sdt_placement *p = &service->placement;
    const int decoders = !service->two ? 1 : p->vae_devices + (p->vae_spill ? p->dit_devices : 0);
    service->lanes = 1 + decoders;
    service->lane = sdt__lanes_take(service->machine, service->lanes);
    service->recent = 0;
    if (service->lane >= 0)
        return SDT_OK;
    return sdt_fail(err, SDT_ERROR_USAGE,
                    "this machine's services that do not rest have %d threads at most, and too few "
                    "of them are left for the %d of another one",
                    SDT_SERVICE_LANES, service->lanes);
}

static void give_lanes_back(struct sdt_service *service) {
    if (service->lane >= 0)
        sdt__lanes_give_back(service->machine, service->lane, service->lanes);
    service->lane = -1;
}

enum sdt_status sdt_service_open(struct sdt_pipeline *pipeline, struct sdt_machine *machine,
                                 const struct sdt_service_options *options,
                                 struct sdt_service **out, struct sdt_error *err) {
    const struct sdt_placement *p = &options->placement;
    struct sdt_service *service = calloc(1, sizeof *service);

    *out = NULL;
    if (!service)
        return sdt_fail(err, SDT_ERROR_MEMORY, "out of memory for a service");
    service->pipeline = pipeline;
    service->machine = machine;
    service->placement = *p;
    service->two = p->dit_devices > 0 && p->vae_devices > 0;
    service->shared = service->two && sdt__groups_overlap(p);
    service->most_alive = p->most_latents > 0 ? p->most_latents : 3;
    service->lane = -1;
    starpu_pthread_mutex_init(&service->mutex, NULL);
    starpu_pthread_cond_init(&service->changed, NULL);
    starpu_pthread_cond_init(&service->quiet, NULL);
    enum sdt_status status =
        sdt_queue_open(options->queue ? options->queue : sdt_queue_name(0), &service->queue, err);
    if (status == SDT_OK && !service->queue->choose)
        status = sdt_fail(err, SDT_ERROR_USAGE,
                          "queue %s: it shares devices out among jobs, and a step has all of them "
                          "here; edf would work",
                          service->queue->name);
    if (status == SDT_OK)
        status = check_placement(machine, p, &service->kinds, err);
    if (status == SDT_OK)
        status = take_lanes(service, err);
    if (status == SDT_OK)
        status = make_groups(service, err);
    if (status == SDT_OK)
        status = start_threads(service, err);
    if (status != SDT_OK) {
        give_lanes_back(service);
        service_free(service);
        return status;
    }
    *out = service;
    return SDT_OK;
}

void sdt_service_rest(struct sdt_service *service) {
    starpu_pthread_mutex_lock(&service->mutex);
    while (!service->given_up && (service->jobs > 0 || service->parked < threads_of(service)))
        starpu_pthread_cond_wait(&service->quiet, &service->mutex);
    service->resting = true;
    if (!service->given_up)
        give_lanes_back(service);
    starpu_pthread_mutex_unlock(&service->mutex);
}

enum sdt_status sdt_service_wake(struct sdt_service *service, struct sdt_error *err) {
    enum sdt_status status = SDT_OK;
    starpu_pthread_mutex_lock(&service->mutex);
    if (service->resting)
        status = take_lanes(service, err);
    service->resting = status != SDT_OK;
    starpu_pthread_mutex_unlock(&service->mutex);
    return status;
}

enum sdt_status sdt_service_close(struct sdt_service *service, struct sdt_error *err) {
    starpu_pthread_mutex_lock(&service->mutex);
    service->closed = true;
    starpu_pthread_cond_broadcast(&service->changed);
    starpu_pthread_mutex_unlock(&service->mutex);
    starpu_pthread_join(service->thread, NULL);
    for (int i = 0; service->two && i < service->decoders; i++)
        starpu_pthread_join(service->decoder[i].thread, NULL);
    enum sdt_status status = service->status;
    if (status != SDT_OK && err)
        *err = service->error;
    if (!service->given_up) {
        sdt__denoise_unload(service);
        sdt__text_unload(service);
    }
    if (!service->given_up)
        give_lanes_back(service);
    if (!service->given_up) /* else tasks may still look at the groups */
        service_free(service);
    return status;
}

/* Several requests: DeDiVAE (PipeDiT, arXiv 2511.12056), and the co-located baseline.
 *
 * With two groups the calling thread denoises one request after the other on the DiT group, and puts
 * each finished latent into a queue from which decoding threads take it: request k + 1 is denoised while
 * request k is decoded. Weights stay where they are used and nowhere else. The queue is bounded by the number
 * of latents alive, so memory does not grow with the number of requests.
 *
 * There is one decoding thread per VAE device, so requests are decoded side by side; with spatial tiles
 * there is one thread for all, and the tiles of a request go to the devices side by side.
 *
 * Both groups may hold one device: its tasks then take turns, and both kinds of weights stay on it.
 *
 * With one group for both, a request is decoded before the next is denoised, and each phase's weights are
 * dropped before the other's are loaded: offloading, as the paper's baseline ran. */
#include "graph/jobs/phases.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/devices.h"

/* All that the threads share. */
struct service {
    struct sdt_pipeline *pipeline;
    struct sdt_machine *machine;
    const struct sdt_request *requests;
    int count;
    const struct sdt_run_options *options;

    pthread_mutex_t mutex;
    pthread_cond_t changed;
    struct sdt_result *result; /* [count] */
    int *queue;                /* [count]: requests whose latent is ready, in order */
    int queued, taken;         /* queue[taken..queued-1] wait */
    int alive, most_alive;     /* latents not delivered yet, and their bound */
    int decoding;              /* requests in a decoder's hands */
    bool closed;               /* nothing more will be queued */
    enum sdt_status status;    /* the first failure, or the stall: it ends everything */
    struct sdt_error error;
};

static struct sdt_report report_of(const struct service *service, int request) {
    return (struct sdt_report){service->options->progress, service->options->progress_arg, request};
}

/* NULL: no step was finished, or no memory. */
static float *copy_latent(const struct sdt_result *r) {
    size_t count = (size_t)r->channels * (size_t)r->latent_frames * (size_t)r->latent_height *
                   (size_t)r->latent_width;
    float *copy = r->latent && r->steps_done > 0 ? malloc(count * sizeof *copy) : NULL;
    if (copy)
        memcpy(copy, r->latent, count * sizeof *copy);
    return copy;
}

static void deliver(struct service *service, int request, enum sdt_status status,
                    const struct sdt_error *err) {
    pthread_mutex_lock(&service->mutex);
    if (status != SDT_OK && (service->status == SDT_OK || status == SDT_ERROR_STALLED)) {
        service->status = status;
        service->error = *err;
    }
    pthread_mutex_unlock(&service->mutex);
    struct sdt_result *result = &service->result[request], copy;
    if (status == SDT_ERROR_STALLED) {
        /* Tasks may still use the arrays: the receiver gets a latent of its own. */
        copy = *result;
        copy.video = NULL;
        copy.latent = copy_latent(result);
        result = &copy;
    }
    service->options->deliver(service->options->deliver_arg, request, status, err, result);
    sdt_result_clear(result);
}

static enum sdt_status save(const struct service *service, int request, struct sdt_error *err) {
    const char *const *paths = service->options->save_latent;
    if (!paths || !paths[request])
        return SDT_OK;
    return sdt__save_latent(&service->result[request], paths[request], err);
}

static bool given_up(struct service *service) {
    pthread_mutex_lock(&service->mutex);
    bool stalled = service->status == SDT_ERROR_STALLED;
    pthread_mutex_unlock(&service->mutex);
    return stalled;
}

static bool stopped(const struct service *service) {
    return sdt__halted(&service->machine->halt);
}

/* ---- one group after the other --------------------------------------------------------------- */

/* Can the denoiser's weights stay on the GPUs while the decoder works? They came from a slow conversion. */
static bool room_to_decode(const struct service *service, const struct sdt_decoder *decoder,
                           int r) {
    struct sdt_vae_job job = sdt__vae_job(service->pipeline, &service->requests[r]);
    job.dtype = decoder->dtype;
    job.place = decoder->place;
    double bytes = service->pipeline->vae->kind->bytes(service->pipeline->vae, &job, decoder->devices);
    bool room = true;
    for (int i = 0; i < decoder->devices; i++)
        room = room && decoder->place[i].kind == SDT_DEVICE_CUDA &&
               (decoder->parameters || /* it has found room before */
                bytes <= (double)starpu_memory_get_available(decoder->place[i].node));
    return room;
}

static void run_in_turn(struct service *service, struct sdt_denoiser *denoiser,
                        struct sdt_decoder *decoder) {
    bool keep = service->options->placement.keep_weights;
    for (int r = 0; r < service->count; r++) {
        struct sdt_error err = {0};
        struct sdt_result *result = &service->result[r];
        enum sdt_status status = SDT_OK;
        if (stopped(service))
            status = sdt_fail(&err, SDT_ERROR_INTERRUPTED, "stopped on request");
        if (status == SDT_OK)
            status = sdt__denoiser_run(denoiser, &service->requests[r], report_of(service, r),
                                       result, &err);
        if (status == SDT_ERROR_STALLED) {
            deliver(service, r, status, &err);
            return;
        }
        keep = keep || room_to_decode(service, decoder, r);
        if (!keep)
            sdt__denoiser_unload(denoiser);
        if (status == SDT_OK)
            status = save(service, r, &err);
        if (status == SDT_OK)
            status = sdt__decoder_run(decoder, &service->requests[r], report_of(service, r), result,
                                      &err);
        if (status != SDT_ERROR_STALLED && !keep)
            sdt__decoder_unload(decoder);
        deliver(service, r, status, &err);
        if (status == SDT_ERROR_STALLED)
            return;
    }
    sdt__denoiser_unload(denoiser);
    sdt__decoder_unload(decoder);
}

/* ---- two groups ------------------------------------------------------------------------------ */

struct decoding {
    struct service *service;
    struct sdt_decoder decoder;
    pthread_t thread;
};

static void *decode_all(void *arg) {
    struct decoding *decoding = arg;
    struct service *service = decoding->service;

    for (;;) {
        pthread_mutex_lock(&service->mutex);
        while (service->taken == service->queued && !service->closed)
            pthread_cond_wait(&service->changed, &service->mutex);
        int r = service->taken < service->queued ? service->queue[service->taken++] : -1;
        service->decoding += r >= 0;
        pthread_mutex_unlock(&service->mutex);
        if (r < 0)
            break;

        struct sdt_error err = {0};
        enum sdt_status status = sdt__decoder_run(&decoding->decoder, &service->requests[r],
                                                  report_of(service, r), &service->result[r], &err);
        deliver(service, r, status, &err);
        pthread_mutex_lock(&service->mutex);
        service->decoding--;
        service->alive--;
        pthread_cond_broadcast(&service->changed);
        pthread_mutex_unlock(&service->mutex);
        if (status == SDT_ERROR_STALLED)
            return NULL;
    }
    if (!given_up(service)) /* what waits for a stalled device would wait for ever */
        sdt__decoder_unload(&decoding->decoder);
    return NULL;
}

/* Aco, static: the helpers are free while no latent waits for decoding or is being decoded. */
static bool nothing_to_decode(void *arg) {
    struct service *service = arg;
    pthread_mutex_lock(&service->mutex);
    bool nothing = service->taken == service->queued && service->decoding == 0;
    pthread_mutex_unlock(&service->mutex);
    return nothing;
}

/* Waits until one more latent may live; false when the run has been given up. */
static bool may_begin(struct service *service) {
    pthread_mutex_lock(&service->mutex);
    while (service->alive >= service->most_alive && service->status != SDT_ERROR_STALLED)
        pthread_cond_wait(&service->changed, &service->mutex);
    bool may = service->status != SDT_ERROR_STALLED;
    service->alive += may;
    pthread_mutex_unlock(&service->mutex);
    return may;
}

static void denoise_all(struct service *service, struct sdt_denoiser *denoiser) {
    for (int r = 0; r < service->count && may_begin(service); r++) {
        struct sdt_error err = {0};
        enum sdt_status status = SDT_OK;
        if (stopped(service))
            status = sdt_fail(&err, SDT_ERROR_INTERRUPTED, "stopped on request");
        if (status == SDT_OK)
            status = sdt__denoiser_run(denoiser, &service->requests[r], report_of(service, r),
                                       &service->result[r], &err);
        if (status == SDT_OK)
            status = save(service, r, &err);
        if (status != SDT_OK)
            deliver(service, r, status, &err);
        pthread_mutex_lock(&service->mutex);
        if (status == SDT_OK)
            service->queue[service->queued++] = r;
        else
            service->alive--;
        pthread_cond_broadcast(&service->changed);
        pthread_mutex_unlock(&service->mutex);
        if (status == SDT_ERROR_STALLED)
            return;
    }
}

/* Starts decoding threads on a group, after the `started` ones there are: one per device, or one for all that
 * shares out tiles. Returns how many run then; fewer than asked for is no failure if there is one. */
static int start_decoding(struct service *service, struct decoding *decoding, int started,
                          const struct sdt_group *group, enum sdt_dtype dtype, bool tiles) {
    int threads = tiles ? 1 : group->devices;
    for (int i = 0; i < threads; i++, started++) {
        decoding[started] = (struct decoding){.service = service,
                                              .decoder = {.pipeline = service->pipeline,
                                                          .machine = service->machine,
                                                          .place = group->place + (tiles ? 0 : i),
                                                          .devices = tiles ? group->devices : 1,
                                                          .dtype = dtype,
                                                          .lane = SDT_LANE_DECODE + started,
                                                          .finish = true}};
        if (pthread_create(&decoding[started].thread, NULL, decode_all, &decoding[started]))
            break;
    }
    return started;
}

/* Latents that wait for a decoder. */
static int waiting(struct service *service) {
    pthread_mutex_lock(&service->mutex);
    int count = service->queued - service->taken;
    pthread_mutex_unlock(&service->mutex);
    return count;
}

static enum sdt_status run_two_groups(struct service *service, struct sdt_denoiser *denoiser,
                                      const struct sdt_group *dit, const struct sdt_group *vae,
                                      enum sdt_dtype vae_dtype, bool shared,
                                      struct sdt_error *err) {
    bool tiles = service->requests[0].tiling.size_rows > 0;
    struct decoding *decoding = calloc((size_t)(dit->devices + vae->devices), sizeof *decoding);
    if (!decoding)
        return sdt_fail(err, SDT_ERROR_MEMORY, "out of memory for decoding threads");
    int started = start_decoding(service, decoding, 0, vae, vae_dtype, tiles);
    enum sdt_status status =
        started ? SDT_OK
                : sdt_fail(err, SDT_ERROR_MEMORY, "a decoding thread could not be started");
    if (status == SDT_OK)
        denoise_all(service, denoiser);
    /* Devices of both groups decode already. */
    bool spill = service->options->placement.vae_spill && !shared;
    if (status == SDT_OK && spill && waiting(service) > 0 && !given_up(service)) {
        sdt__denoiser_unload(denoiser); /* makes room for the VAE's weights */
        started = start_decoding(service, decoding, started, dit, vae_dtype, tiles);
    }
    pthread_mutex_lock(&service->mutex);
    service->closed = true;
    pthread_cond_broadcast(&service->changed);
    pthread_mutex_unlock(&service->mutex);
    for (int i = 0; i < started; i++)
        pthread_join(decoding[i].thread, NULL);
    if (!given_up(service))
        sdt__denoiser_unload(denoiser);
    free(decoding);
    return status;
}

/* ---- both ------------------------------------------------------------------------------------ */

/* What decoding the largest of the requests takes on a device. */
static double decoding_bytes(const struct service *service, const struct sdt_group *vae,
                             enum sdt_dtype dtype) {
    double most = 0.0;
    for (int r = 0; r < service->count; r++) {
        struct sdt_vae_job job = sdt__vae_job(service->pipeline, &service->requests[r]);
        job.dtype = dtype;
        job.place = vae->place;
        double bytes = service->pipeline->vae->kind->bytes(service->pipeline->vae, &job,
                                         job.tiling.size_rows ? vae->devices : 1);
        most = bytes > most ? bytes : most;
    }
    return most;
}

enum sdt_status sdt_pipeline_run_all(struct sdt_pipeline *pipeline, struct sdt_machine *machine,
                                     const struct sdt_request *requests, int count,
                                     const struct sdt_run_options *options, struct sdt_error *err) {
    const struct sdt_placement *p = &options->placement;
    struct sdt_group dit = {0}, vae = {0};
    int all[SDT_MAX_DEVICES];
    if (count < 1 || p->dit_devices < 0 || p->dit_devices > SDT_MAX_DEVICES || p->vae_devices < 0 ||
        p->vae_devices > SDT_MAX_DEVICES)
        return sdt_fail(
            err, SDT_ERROR_USAGE,
            "%d requests on groups of %d and %d devices; it takes at least one request, "
            "and at most %d devices a group",
            count, p->dit_devices, p->vae_devices, SDT_MAX_DEVICES);
    enum sdt_status allowed = sdt_strategy_allows(requests[0].strategy, p, machine->devices,
                                                  pipeline->dit, err);
    if (allowed != SDT_OK)
        return allowed;
    for (int r = 0; r < count; r++) { /* before anything is begun */
        enum sdt_status fine = sdt__prepare_text(pipeline, &requests[r], err);
        if (fine != SDT_OK)
            return fine;
    }
    bool two = p->dit_devices > 0 && p->vae_devices > 0;
    bool shared = two && sdt__groups_overlap(p);
    struct sdt_kinds kinds;
    enum sdt_status status = SDT_OK;

    for (int d = 0; d < SDT_MAX_DEVICES; d++)
        all[d] = d;
    if (p->aco != SDT_ACO_OFF && (!two || shared))
        return sdt_fail(err, SDT_ERROR_USAGE,
                        "attention co-processing (aco) needs a DiT group and a VAE group of other "
                        "devices");
    status = sdt__settle_kinds(p, machine->what, machine->devices, &kinds, err);
    if (status != SDT_OK)
        return status;
    /* On the heap, as all that a run which is given up leaves behind looks at. */
    struct service *service = malloc(sizeof *service);
    if (!service)
        return sdt_fail(err, SDT_ERROR_MEMORY, "out of memory for %d requests", count);
    *service = (struct service){.pipeline = pipeline,
                                .machine = machine,
                                .requests = requests,
                                .count = count,
                                .options = options,
                                .most_alive = p->most_latents > 0 ? p->most_latents : 3};
    bool help = two && p->aco != SDT_ACO_OFF;
    status = sdt_group_init(&dit, machine, p->dit_devices ? p->dit_devices : machine->devices,
                            p->dit_devices ? p->dit : all, help ? p->vae_devices : 0, p->vae, err);
    if (status == SDT_OK)
        status = sdt_group_init(&vae, machine, p->vae_devices ? p->vae_devices : machine->devices,
                                p->vae_devices ? p->vae : all, 0, NULL, err);
    pthread_mutex_init(&service->mutex, NULL);
    pthread_cond_init(&service->changed, NULL);
    if (status != SDT_OK)
        goto out;
    service->result = calloc((size_t)count, sizeof *service->result);
    service->queue = calloc((size_t)count, sizeof *service->queue);
    if (!service->result || !service->queue) {
        status = sdt_fail(err, SDT_ERROR_MEMORY, "out of memory for %d requests", count);
        goto out;
    }
    for (int r = 0; r < count; r++)
        sdt__result_init(pipeline, &requests[r], &service->result[r]);

    struct sdt_denoiser denoiser = {
        .pipeline = pipeline,
        .machine = machine,
        .text_place = p->text_with_vae ? &vae.place[0] : &dit.place[0],
        .text_dtype = p->text_with_vae ? kinds.vae_dtype : kinds.dit_dtype,
        .beside = shared ? decoding_bytes(service, &vae, kinds.vae_dtype) : 0.0,
        .parallel = sdt_parallel_of(requests[0].strategy, p, dit.devices, dit.helpers),
        .helpers_free = nothing_to_decode,
        .helpers_arg = service};
    denoiser.parallel.place = dit.place;
    denoiser.parallel.anywhere = dit.anywhere;
    denoiser.parallel.dtype = kinds.dit_dtype;
    struct sdt_decoder decoder = {.pipeline = pipeline,
                                  .machine = machine,
                                  .place = vae.place,
                                  .devices = vae.devices,
                                  .dtype = kinds.vae_dtype,
                                  .lane = SDT_LANE_DECODE};
    if (two)
        status = run_two_groups(service, &denoiser, &dit, &vae, kinds.vae_dtype, shared, err);
    else
        run_in_turn(service, &denoiser, &decoder);
    if (status == SDT_OK && service->status != SDT_OK) {
        status = service->status;
        if (err)
            *err = service->error;
    }
    if (status == SDT_ERROR_STALLED)
        return status; /* tasks may still look at the groups */
    for (int r = 0; r < count; r++)
        sdt_result_clear(&service->result[r]);
out:
    pthread_cond_destroy(&service->changed);
    pthread_mutex_destroy(&service->mutex);
    free(service->result);
    free(service->queue);
    free(service);
    sdt_group_clear(&dit);
    sdt_group_clear(&vae);
    return status;
}

/* ---- one request ------------------------------------------------------------------------------ */

static void keep(void *arg, int request, enum sdt_status status, const struct sdt_error *err,
                 struct sdt_result *result) {
    (void)request;
    (void)status;
    (void)err;
    struct sdt_result *kept = arg;
    *kept = *result;
    result->video = result->latent = NULL;
}

enum sdt_status sdt_pipeline_run(struct sdt_pipeline *pipeline, struct sdt_machine *machine,
                                 const struct sdt_request *request, const char *save_latent,
                                 sdt_progress progress, void *progress_arg,
                                 struct sdt_result *result, struct sdt_error *err) {
    const char *const paths[] = {save_latent};
    struct sdt_run_options options = {.save_latent = paths,
                                      .progress = progress,
                                      .progress_arg = progress_arg,
                                      .deliver = keep,
                                      .deliver_arg = result};
    *result = (struct sdt_result){0};
    return sdt_pipeline_run_all(pipeline, machine, request, 1, &options, err);
}

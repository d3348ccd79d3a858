/* From a latent to frames. */
#include "graph/jobs/job.h"

#include <stdlib.h>

#include "graph/checkpoint/finite.h"
#include "runtime/cuda.h"

static void tell_frame(void *arg, int done, int total) { sdt__tell(arg, "decode", done, total); }

static struct sdt_vae_job vae_job(const struct sdt_service *service,
                                  const struct sdt_request *request, const struct sdt_place *place,
                                  int devices) {
    struct sdt_vae_job job = sdt__vae_job(service->pipeline, request);
    job.dtype = service->kinds.vae_dtype;
    job.place = place;
    job.devices = devices;
    return job;
}

double sdt__decode_bytes(const struct sdt_service *service, const struct sdt_request *request,
                         const struct sdt_place *place, int devices, int device) {
    const struct sdt_vae *vae = service->pipeline->vae;
    struct sdt_vae_job job = vae_job(service, request, place, devices);
    return vae->kind->bytes(vae, &job, devices, device);
}

void sdt__decode_plan_ahead(const struct sdt_service *service, const struct sdt_request *request,
                            const struct sdt_decoder *decoder) {
    const struct sdt_vae *vae = service->pipeline->vae;
    const struct sdt_place *place = decoder->place;
    int devices = decoder->devices;
    struct sdt_vae_job job = vae_job(service, request, place, devices);
    struct sdt_operations list = {0};

    if (job.dtype != SDT_BF16 || !vae->kind->operations)
        return;
    vae->kind->operations(vae, &job, devices, &list);
    for (int i = 0; i < list.count; i++) {
        const struct sdt_operation *o = &list.item[i];
        struct sdt_cuda_shape shape = {.is_conv = true, .conv = o->conv, .residual = o->residual};
        if (o->conv.in > 0 && o->device >= 0 && o->device < devices)
            sdt__cuda_plan_ahead(&place[o->device], &shape);
    }
    sdt_operations_clear(&list);
}

enum sdt_status sdt__check_room(const struct sdt_place *place, const char *what, double bytes,
                                const struct sdt_request *request, struct sdt_error *err) {
    double room = sdt__place_room(place);
    if (room <= 0.0 || bytes <= room) /* not positive: no limit */
        return SDT_OK;
    char device[SDT_DEVICE_NAME];
    return sdt_fail(err, SDT_ERROR_LIMIT,
                    "%s %d frame%s of %dx%d (height x width) needs about %.1f MB on %s, whose "
                    "limit is %.1f MB; a smaller size would need less",
                    what, request->num_frames, request->num_frames == 1 ? "" : "s", request->height,
                    request->width, bytes / 1e6, sdt__device_title(place->device, device),
                    room / 1e6);
}

/* In simulated time another decode like the last one takes as long. */
static enum sdt_status decode(struct sdt_service *service, const struct sdt_decoder *d,
                              struct sdt_flow *flow, const struct sdt_vae_job *job,
                              sdt_handle latent, sdt_handle video, struct sdt_error *err) {
    struct sdt_fast_phases *known = sdt__fast_phases(service->fast);
    struct sdt_vae *vae = service->pipeline->vae;
    double start = sdt__now();

    if (known && known->decode > 0.0 && known->decoders == d->devices &&
        known->frames == job->frames) {
        sdt__fast_stand_in(flow, SDT_ROLE_VAE, "decode", d->place, d->devices, known->decode,
                           latent, video);
        return sdt__flow_wait(flow, err);
    }
    enum sdt_status status =
        vae->kind->decode(flow, vae, service->machine, job, latent, video, err);
    if (known && status == SDT_OK) {
        known->decode = sdt__now() - start;
        known->decoders = d->devices;
        known->frames = job->frames;
    }
    return status;
}

enum sdt_status sdt__job_decode(struct sdt_job *job, struct sdt_decoder *d, struct sdt_error *err) {
    struct sdt_service *service = job->service;
    struct sdt_vae *vae = service->pipeline->vae;
    struct sdt_flow flow = sdt_machine_flow(service->machine, service->lane + 1 + d->number);
    struct sdt_vae_job task = vae_job(service, &job->request, d->place, d->devices);
    struct sdt_result *result = &job->result;
    size_t pixels = 3 * (size_t)result->frames * (size_t)result->height * (size_t)result->width;
    double start = sdt__now();

    flow.tag.request = job->options.number;
    flow.halt = service->two ? &job->finish : &job->halt;
    for (int i = 0; i < d->devices; i++) {
        double bytes = vae->kind->bytes(vae, &task, d->devices, i);
        enum sdt_status fits = sdt__check_room(&d->place[i], "decoding", bytes, &job->request, err);
        if (fits != SDT_OK)
            return fits;
    }
    if (!d->parameters)
        d->parameters = sdt_parameters_new(vae->weights, service->machine);
    result->video = calloc(pixels, sizeof *result->video);
    if (!result->video || !d->parameters)
        return sdt_fail(err, SDT_ERROR_MEMORY, "no memory for a video of %.1f GB",
                        (double)pixels * sizeof(float) / 1e9);
    task.parameters = d->parameters;
    task.frame_done = tell_frame;
    task.frame_done_arg = job->teller;
    sdt_handle latent = sdt__host_vector(&flow, result->latent, sdt__latent_size(result), "latent");
    sdt_handle video = sdt__host_vector(&flow, result->video, pixels, "video");
    enum sdt_status status = decode(service, d, &flow, &task, latent, video, err);
    if (status == SDT_ERROR_STALLED)
        return status; /* nothing can be freed any more */
    sdt__unregister(latent);
    sdt__unregister(video);
    if (status == SDT_ERROR_NOT_FINITE && err)
        status = sdt_weights_blame((const struct sdt_weights *[]){vae->weights}, 1, err);
    if (status != SDT_OK) {
        free(result->video);
        result->video = NULL;
    }
    result->decode_seconds = sdt__now() - start;
    return status;
}

void sdt__decode_unload(struct sdt_decoder *d) {
    sdt_parameters_free(d->parameters);
    d->parameters = NULL;
}

/* The plan: is the request possible, who will do what, and what will it need? Before a weight is read. */
#include "graph/opened.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "runtime/devices.h"

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* FLOP/s of one worker: the best of a few products shaped like a tile's. */
double sdt__measure_speed(void) {
    enum { ROWS = 128, WIDTH = 512 };
    float *x = calloc(ROWS * WIDTH, sizeof *x), *w = calloc(WIDTH * WIDTH, sizeof *w);
    float *y = calloc(ROWS * WIDTH, sizeof *y);
    double best = 1e9; /* a guess, should there be no memory */
    sdt_kernels_init();
    for (int i = 0; x && w && y && i < 8; i++) {
        double start = now();
        sdt_linear(ROWS, WIDTH, WIDTH, x, w, NULL, SDT_EPILOGUE_NONE, y);
        double speed = 2.0 * ROWS * WIDTH * WIDTH / (now() - start);
        best = speed > best ? speed : best;
    }
    free(x);
    free(w);
    free(y);
    return best;
}

struct sdt_wan_geometry sdt__geometry(const struct sdt_pipeline *pipeline,
                                      const struct sdt_request *request) {
    int space = sdt_wan_vae_space_ratio(pipeline->vae);
    int time = sdt_wan_vae_time_ratio(pipeline->vae);
    return (struct sdt_wan_geometry){(request->num_frames - 1) / time + 1, request->height / space,
                                     request->width / space};
}

struct sdt_vae_job sdt__vae_job(const struct sdt_pipeline *pipeline,
                                const struct sdt_request *request) {
    struct sdt_wan_geometry g = sdt__geometry(pipeline, request);
    return (struct sdt_vae_job){.frames = g.frames,
                                .height = g.height,
                                .width = g.width,
                                .scale = true,
                                .tiling = request->tiling};
}

enum sdt_status sdt__check_request(const struct sdt_pipeline *pipeline,
                                   const struct sdt_request *request, struct sdt_error *err) {
    const struct sdt_wan_config *c = sdt_wan_config(pipeline->transformer);
    int space = sdt_wan_vae_space_ratio(pipeline->vae);
    int time = sdt_wan_vae_time_ratio(pipeline->vae);
    int rows = space * c->patch[1], cols = space * c->patch[2];
    int frames = request->num_frames;

    if (request->height < rows || request->height % rows || request->width < cols ||
        request->width % cols)
        return sdt_fail(
            err, SDT_ERROR_USAGE,
            "%dx%d (height x width): the height must be a multiple of %d and the width of "
            "%d; %dx%d would work",
            request->height, request->width, rows, cols,
            request->height < rows ? rows : request->height / rows * rows,
            request->width < cols ? cols : request->width / cols * cols);
    if (request->height > 16384 || request->width > 16384)
        return sdt_fail(err, SDT_ERROR_USAGE, "%dx%d (height x width): at most 16384 pixels a side",
                        request->height, request->width);
    if (frames < 1 || (frames - 1) % time || ((frames - 1) / time + 1) % c->patch[0])
        return sdt_fail(err, SDT_ERROR_USAGE, "%d frames: needs %d k + 1; %d or %d would work",
                        frames, time, frames < 1 ? 1 : (frames - 1) / time * time + 1,
                        frames < 1 ? 1 + time : ((frames - 1) / time + 1) * time + 1);
    if (request->max_sequence_length < 1 || request->max_sequence_length > 4096)
        return sdt_fail(err, SDT_ERROR_USAGE, "a maximum sequence length of %d; 1 to 4096 works",
                        request->max_sequence_length);
    if (!(request->fps > 0.0) || request->fps > 1000.0)
        return sdt_fail(err, SDT_ERROR_USAGE, "%g frames per second; more than 0 to 1000 works",
                        request->fps);
    if (request->steps < 0 || request->steps > 1000)
        return sdt_fail(err, SDT_ERROR_USAGE, "%d steps; 0 to 1000 work", request->steps);
    if (request->steps == 0 && !request->latents)
        return sdt_fail(err, SDT_ERROR_USAGE, "0 steps only decode: a latent is needed for that");
    for (int i = 0; i < 2; i++) {
        const struct sdt_stored *embeds =
            i ? request->negative_prompt_embeds : request->prompt_embeds;
        if (!embeds)
            continue;
        int rank = embeds->rank;
        if (rank < 2 || rank > 3 || (rank == 3 && embeds->shape[0] != 1) ||
            embeds->shape[rank - 1] != c->text_dim || embeds->shape[rank - 2] < 1 ||
            embeds->shape[rank - 2] > 4096)
            return sdt_fail(
                err, SDT_ERROR_USAGE,
                "prompt embeddings %s: the shape must be [rows, %d] or [1, rows, %d] with 1 "
                "to 4096 rows",
                embeds->name, c->text_dim, c->text_dim);
    }
    if (!request->prompt_embeds && request->token_ids &&
        (request->token_count < 1 || request->token_count > request->max_sequence_length))
        return sdt_fail(err, SDT_ERROR_USAGE,
                        "%d token ids; 1 to %d work, the maximum sequence length",
                        request->token_count, request->max_sequence_length);
    double values = 3.0 * frames * request->height * request->width;
    if (values > UINT32_MAX)
        return sdt_fail(err, SDT_ERROR_LIMIT,
                        "a video of %d frames of %dx%d has %.3g values; at most 4294967295 work",
                        frames, request->height, request->width, values);
    struct sdt_vae_job job = sdt__vae_job(pipeline, request);
    return sdt_wan_vae_check(pipeline->vae, &job, err);
}

void sdt_placement_balance(const struct sdt_pipeline *pipeline, const struct sdt_request *request,
                           int devices, struct sdt_placement *placement) {
    struct sdt_vae_job job = sdt__vae_job(pipeline, request);
    double denoise = request->steps * sdt__forwards(request) *
                     sdt_wan_flops(sdt_wan_config(pipeline->transformer),
                                   sdt__geometry(pipeline, request), request->max_sequence_length);
    double decode = sdt_wan_vae_flops(pipeline->vae, &job);
    int vae = (int)ceil(decode / (decode + denoise) * devices);
    vae = vae < 1 ? 1 : vae >= devices ? devices - 1 : vae;
    placement->dit_devices = devices - vae;
    placement->vae_devices = vae;
    for (int d = 0; d < devices; d++)
        if (d < devices - vae)
            placement->dit[d] = d;
        else
            placement->vae[d - (devices - vae)] = d;
}

/* ---- memory ---------------------------------------------------------------------------------- */

struct sdt_need sdt__denoise_need(const struct sdt_wan *wan, const struct sdt_parallel *parallel,
                                  const struct sdt_layout *layout, int device, int branches,
                                  int text_keys) {
    const struct sdt_weights *weights = sdt_wan_weights(wan);
    double size = (double)sdt_dtype_size(parallel->dtype), blocks = 0.0;
    int layers = sdt_wan_config(wan)->layers;
    for (size_t i = 0; i < sdt_weights_count(weights); i++)
        if (!strncmp(sdt_weights_at(weights, i)->name, "blocks.", 7))
            blocks += size * (double)sdt_weights_at(weights, i)->count;
    struct sdt_need need = {.all = sdt_wan_bytes(wan, parallel->strategy, layout, device, branches,
                                                 parallel->streams, text_keys),
                            .weights = size * (double)sdt_weights_parameters(weights)};
    need.least = need.all - (layers > 2 ? blocks * (layers - 2) / layers : 0.0);
    return need;
}

/* Weights that GPUs load from: converted and kept in the host's memory, where an eviction leaves them. */
static double host_bytes(const struct sdt_pipeline *pipeline, const struct sdt_request *request,
                         const struct sdt_kinds *kinds) {
    double bytes =
        4.0 * 3.0 * (double)request->num_frames * (double)request->height * (double)request->width;
    if (kinds->dit == SDT_DEVICE_CUDA)
        bytes += (double)sdt_dtype_size(kinds->dit_dtype) *
                 (double)sdt_weights_parameters(sdt_wan_weights(pipeline->transformer));
    if (kinds->vae == SDT_DEVICE_CUDA)
        bytes += (double)sdt_dtype_size(kinds->vae_dtype) *
                 (double)sdt_weights_parameters(sdt_wan_vae_weights(pipeline->vae));
    return bytes;
}

/* What one device has to hold: each phase, and both at once where the groups share it. */
struct device_need {
    struct sdt_need denoise;
    double decode;
};

/* Weights that do not fit come and go; what cannot is refused. Adds to *host what CPU devices take. */
static enum sdt_status check_device(const struct sdt_request *request, const struct sdt_plan *plan,
                                    struct sdt_device device, int d, struct device_need need,
                                    bool together, struct sdt_error *err) {
    double room = plan->device_room[d];
    double least = together ? need.denoise.least + need.decode : need.denoise.least;
    char name[SDT_DEVICE_NAME];
    sdt__device_name(device, name);
    if (need.denoise.all > 0.0 && least > room)
        return sdt_fail(err, SDT_ERROR_LIMIT,
                        "denoising %d frames of %dx%d (height x width)%s needs at least %.1f GB on "
                        "%s, two layers' weights at a time, and StarPU may use %.1f GB there; a "
                        "smaller size, or more GPUs, would need less",
                        request->num_frames, request->height, request->width,
                        together ? " beside decoding" : "", least / 1e9, name, room / 1e9);
    if (need.decode > room)
        return sdt_fail(err, SDT_ERROR_LIMIT,
                        "decoding %d frames of %dx%d (height x width) needs about %.1f GB on %s, "
                        "and StarPU may use %.1f GB there; a smaller size%s would need less",
                        request->num_frames, request->height, request->width, need.decode / 1e9,
                        name, room / 1e9, request->tiling.size_rows ? "" : ", or --enable-tiling,");
    return SDT_OK;
}

static enum sdt_status check_memory(const struct sdt_request *request,
                                    const struct sdt_placement *placement, struct sdt_plan *plan,
                                    const struct sdt_gpus *gpus, const struct device_need *need,
                                    struct sdt_error *err) {
    enum sdt_status status = SDT_OK;
    double total = plan->host_bytes;
    bool two = placement->dit_devices > 0 && placement->vae_devices > 0;

    for (int d = 0; d < plan->devices && status == SDT_OK; d++) {
        struct sdt_device device = sdt__device_at(placement->device, d);
        bool together = two && need[d].denoise.all > 0.0 && need[d].decode > 0.0;
        plan->device_bytes[d] = together ? need[d].denoise.all + need[d].decode
                                         : fmax(need[d].denoise.all, need[d].decode);
        if (device.kind == SDT_DEVICE_CUDA) {
            plan->device_room[d] = sdt__gpu_room(gpus, device.index);
            plan->device_offloads[d] = plan->device_bytes[d] > plan->device_room[d];
            status = check_device(request, plan, device, d, need[d], together, err);
            /* Of a round that is on its way StarPU knows nothing: it could evict what is being sent. */
            if (status == SDT_OK && plan->device_offloads[d] &&
                placement->transport == SDT_TRANSPORT_NCCL && need[d].denoise.all > 0.0)
                status =
                    sdt_fail(err, SDT_ERROR_LIMIT,
                             "transport nccl needs all of %.1f GB on cuda:%d, which has room for "
                             "%.1f GB; --transport starpu brings weights layer by layer",
                             plan->device_bytes[d] / 1e9, device.index, plan->device_room[d] / 1e9);
        } else {
            total += plan->device_bytes[d];
        }
    }
    double memory = (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE);
    if (status == SDT_OK && total > memory)
        status = sdt_fail(err, SDT_ERROR_LIMIT,
                          "the plan needs about %.1f GB on %d devices that share this machine's "
                          "%.1f GB; a smaller size or number of frames%s%s would need less",
                          total / 1e9, plan->devices, memory / 1e9,
                          request->tiling.size_rows ? "" : ", or --enable-tiling,",
                          plan->streams > 1 ? ", or --streams 1," : "");
    return status;
}

void sdt__peak_bytes(const struct sdt_pipeline *pipeline, const struct sdt_request *request,
                     const struct sdt_placement *placement, const struct sdt_strategy *strategy,
                     const struct sdt_layout *layout, int devices, double *bytes) {
    struct sdt_vae_job job = sdt__vae_job(pipeline, request);
    int keys = request->max_sequence_length; /* at most; the prompt is not tokenized yet */
    int vae = placement->vae_devices > 0 ? placement->vae_devices : devices;
    /* All VAE devices share one decode, or each runs its own. */
    bool shared = placement->dit_devices == 0 || request->tiling.size_rows;
    double decode = sdt_wan_vae_bytes(pipeline->vae, &job, shared ? vae : 1);

    for (int d = 0; d < devices; d++)
        bytes[d] = 0.0;
    for (int i = 0; i < layout->devices; i++)
        bytes[placement->dit_devices > 0 ? placement->dit[i] : i] =
            sdt_wan_bytes(pipeline->transformer, strategy, layout, i, sdt__forwards(request),
                          placement->streams, keys);
    for (int i = 0; i < vae; i++) {
        int d = placement->vae_devices > 0 ? placement->vae[i] : i;
        bytes[d] = fmax(bytes[d], decode);
    }
}

/* ---- time ------------------------------------------------------------------------------------ */

/* FLOP/s of one CPU worker, or of the slowest GPU of a group. */
static double speed_of(enum sdt_device_kind kind, enum sdt_dtype dtype,
                       const struct sdt_placement *placement, int count, const int *list,
                       const struct sdt_gpus *gpus) {
    double slowest = 0.0;
    if (kind == SDT_DEVICE_CPU)
        return sdt__measure_speed();
    for (int i = 0; i < count; i++) {
        int gpu = placement->device[list ? list[i] : i].index;
        double guess = sdt__gpu_guess(&gpus->gpu[gpu], dtype);
        slowest = slowest == 0.0 || guess < slowest ? guess : slowest;
    }
    return slowest > 0.0 ? slowest : 1e13; /* CUDA does not tell its clock */
}

/* Workers that compute on n devices; stand-ins share the cores. */
static double workers_of(enum sdt_device_kind kind, int n, const struct sdt_plan *plan,
                         double cores) {
    return kind == SDT_DEVICE_CUDA ? n : fmin((double)n * plan->workers_per_device, cores);
}

/* ---- the plan -------------------------------------------------------------------------------- */

enum sdt_status sdt_plan_make(struct sdt_pipeline *pipeline, const struct sdt_request *request,
                              const struct sdt_placement *placement, int devices,
                              int workers_per_device, struct sdt_plan *plan,
                              struct sdt_error *err) {
    const struct sdt_wan_config *c = sdt_wan_config(pipeline->transformer);
    struct sdt_wan_geometry g = sdt__geometry(pipeline, request);
    struct sdt_vae_job job = sdt__vae_job(pipeline, request);
    struct sdt_layout layout = {0};
    struct sdt_place *place = NULL;
    struct device_need *need = NULL;
    struct sdt_gpus gpus = {0};
    struct sdt_kinds kinds;
    long cores = sysconf(_SC_NPROCESSORS_ONLN);

    *plan = (struct sdt_plan){0};
    enum sdt_status status = sdt__check_request(pipeline, request, err);
    if (status == SDT_OK && pipeline->text_encoder)
        status = sdt__prepare_text(pipeline, request, err);
    if (status == SDT_OK)
        status = sdt__devices_check(placement->device, devices, &gpus, err);
    if (status == SDT_OK)
        status = sdt__settle_kinds(placement, placement->device, devices, &kinds, err);
    if (status != SDT_OK)
        return status;
    if (placement->streams < 0 || placement->streams > 2)
        return sdt_fail(err, SDT_ERROR_USAGE, "%d streams; 1 or 2 work, and 0 for both forwards",
                        placement->streams);
    if (placement->transport == SDT_TRANSPORT_NCCL &&
        (request->strategy->ring || placement->aco != SDT_ACO_OFF))
        return sdt_fail(
            err, SDT_ERROR_USAGE,
            "transport nccl does not go with %s %s; strategies single, ulysses and pipesp "
            "work, with aco off",
            request->strategy->ring ? "strategy" : "aco",
            request->strategy->ring ? request->strategy->name : sdt_aco_name(placement->aco));
    bool groups = placement->dit_devices > 0, mixed = sdt__has_gpus(placement->device, devices);
    int dit = groups ? placement->dit_devices : devices;
    int vae = placement->vae_devices > 0 ? placement->vae_devices : devices;
    int used = request->strategy->one_device ? 1 : dit;
    int workers = workers_per_device > 0  ? workers_per_device
                  : devices == 1 || mixed ? (int)cores
                                          : 1;
    plan->frames = g.frames;
    plan->latent_height = g.height;
    plan->latent_width = g.width;
    plan->channels = c->in_channels;
    plan->devices = devices;
    plan->workers_per_device = workers;
    plan->dit_kind = kinds.dit;
    plan->vae_kind = kinds.vae;
    plan->dit_dtype = kinds.dit_dtype;
    plan->vae_dtype = kinds.vae_dtype;
    plan->heads = c->heads;
    plan->forwards = sdt__forwards(request);
    plan->streams = sdt_streams(placement->streams, plan->forwards);
    plan->tokens =
        (int64_t)(g.frames / c->patch[0]) * (g.height / c->patch[1]) * (g.width / c->patch[2]);
    plan->device_tiles = calloc((size_t)devices, sizeof *plan->device_tiles);
    plan->device_heads = calloc((size_t)devices, sizeof *plan->device_heads);
    plan->device_bytes = calloc((size_t)devices, sizeof *plan->device_bytes);
    plan->device_room = calloc((size_t)devices, sizeof *plan->device_room);
    plan->device_offloads = calloc((size_t)devices, sizeof *plan->device_offloads);
    int places = dit + (placement->aco == SDT_ACO_OFF ? 0 : vae);
    place = calloc((size_t)places, sizeof *place);
    need = calloc((size_t)devices, sizeof *need);
    if (!plan->device_tiles || !plan->device_heads || !plan->device_bytes || !plan->device_room ||
        !plan->device_offloads || !place || !need) {
        status = sdt_fail(err, SDT_ERROR_MEMORY, "out of memory while planning");
        goto out;
    }
    for (int d = 0; d < places; d++)
        place[d] = (struct sdt_place){
            .device = d, .kind = kinds.dit, .workers = kinds.dit == SDT_DEVICE_CUDA ? 1 : workers};
    struct sdt_parallel parallel = {.strategy = request->strategy,
                                    .place = place,
                                    .devices = dit,
                                    .helpers = placement->aco == SDT_ACO_OFF ? 0 : vae,
                                    .aco = placement->aco,
                                    .dtype = kinds.dit_dtype,
                                    .ulysses_degree = placement->ulysses_degree,
                                    .streams = placement->streams,
                                    .chunk_heads = placement->chunk_heads};
    status = sdt_parallel_layout(&parallel, plan->tokens, c->heads, c->head_dim, &layout, err);
    if (status != SDT_OK)
        goto out;
    plan->tile_rows = layout.rows;
    plan->tiles = layout.tiles;
    int keys = request->max_sequence_length; /* at most; the prompt is not tokenized yet */
    for (int i = 0; i < used; i++) {
        int d = groups ? placement->dit[i] : i;
        plan->device_tiles[d] = layout.first_tile[i + 1] - layout.first_tile[i];
        for (int k = 0; k < layout.chunks; k++)
            if (layout.owner[k] == i % layout.ulysses)
                plan->device_heads[d] += layout.head[k + 1] - layout.head[k];
        need[d].denoise =
            sdt__denoise_need(pipeline->transformer, &parallel, &layout, i, plan->forwards, keys);
    }
    /* Decoding: all VAE devices share one decode, or each runs its own. */
    bool shared = !groups || request->tiling.size_rows;
    job.dtype = kinds.vae_dtype;
    double decode = sdt_wan_vae_bytes(pipeline->vae, &job, shared ? vae : 1);
    for (int i = 0; i < vae; i++)
        need[placement->vae_devices > 0 ? placement->vae[i] : i].decode = decode;
    plan->host_bytes = mixed ? host_bytes(pipeline, request, &kinds) : 0.0;
    status = check_memory(request, placement, plan, &gpus, need, err);
    if (status != SDT_OK)
        goto out;
    plan->weight_bytes = (double)sdt_weights_bytes(sdt_wan_weights(pipeline->transformer)) +
                         (double)sdt_weights_bytes(sdt_wan_vae_weights(pipeline->vae));
    if (pipeline->text_encoder) {
        plan->weight_bytes += (double)sdt_weights_bytes(sdt_umt5_weights(pipeline->text_encoder));
        if (!request->prompt_embeds)
            plan->text_flops = plan->forwards * sdt_umt5_flops(pipeline->text_encoder, keys);
    }
    plan->step_flops = plan->forwards * sdt_wan_flops(c, g, keys);
    plan->vae_flops = sdt_wan_vae_flops(pipeline->vae, &job);
    plan->total_flops = plan->text_flops + request->steps * plan->step_flops + plan->vae_flops;
    plan->exchanged_per_step = plan->forwards * sdt_wan_exchanged(c, request->strategy, &layout);
    if (placement->aco == SDT_ACO_STATIC) /* while nothing is being decoded */
        plan->exchanged_per_step +=
            (double)plan->forwards * c->layers *
            (sdt_exchanged_with_helpers(&layout) - sdt_exchanged_by_heads(&layout));
    plan->flops_per_second =
        speed_of(kinds.dit, kinds.dit_dtype, placement, dit, groups ? placement->dit : NULL, &gpus);
    double decode_speed = plan->flops_per_second;
    if (kinds.vae != kinds.dit || kinds.vae == SDT_DEVICE_CUDA)
        decode_speed = speed_of(kinds.vae, kinds.vae_dtype, placement, vae,
                                placement->vae_devices > 0 ? placement->vae : NULL, &gpus);
    plan->denoise_seconds =
        (plan->text_flops + request->steps * plan->step_flops) /
        (plan->flops_per_second * workers_of(kinds.dit, used, plan, (double)cores));
    plan->decode_seconds = plan->vae_flops / (decode_speed * workers_of(kinds.vae, shared ? vae : 1,
                                                                        plan, (double)cores));
    plan->seconds = plan->denoise_seconds + plan->decode_seconds;
out:
    sdt_layout_clear(&layout);
    free(place);
    free(need);
    if (status != SDT_OK)
        sdt_plan_clear(plan);
    return status;
}

void sdt_plan_clear(struct sdt_plan *plan) {
    free(plan->device_tiles);
    free(plan->device_heads);
    free(plan->device_bytes);
    free(plan->device_room);
    free(plan->device_offloads);
    *plan = (struct sdt_plan){0};
}

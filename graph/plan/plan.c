/* The plan: is the request possible, who will do what, and what will it need? Before a weight is read. */
#include "graph/plan/plan.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "runtime/allowance.h"
#include "runtime/devices.h"

/* FLOP/s of one worker: the best of a few products shaped like a tile's. */
double sdt__measure_speed(void) {
    enum { ROWS = 128, WIDTH = 512 };
    float *x = calloc(ROWS * WIDTH, sizeof *x), *w = calloc(WIDTH * WIDTH, sizeof *w);
    float *y = calloc(ROWS * WIDTH, sizeof *y);
    double best = 1e9; /* a guess, should there be no memory */
    sdt_kernels_init();
    for (int i = 0; x && w && y && i < 8; i++) {
        double start = sdt__host_now();
        sdt_linear(ROWS, WIDTH, WIDTH, x, w, NULL, SDT_EPILOGUE_NONE, y);
        double speed = 2.0 * ROWS * WIDTH * WIDTH / (sdt__host_now() - start);
        best = speed > best ? speed : best;
    }
    free(x);
    free(w);
    free(y);
    return best;
}

void sdt_placement_balance(const struct sdt_pipeline *pipeline, const struct sdt_request *request,
                           int devices, struct sdt_placement *placement) {
    struct sdt_vae_job job = sdt__vae_job(pipeline, request);
    struct sdt_work work = sdt__work(pipeline, request);
    double denoise =
        request->steps * sdt__forwards(pipeline, request) * (work.linear + work.attention);
    double decode = pipeline->vae->kind->flops(pipeline->vae, &job);
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

/* Weights that GPUs load from: converted and kept in the host's memory, where an eviction leaves them. */
static double host_bytes(const struct sdt_pipeline *pipeline, const struct sdt_request *request,
                         const struct sdt_kinds *kinds) {
    double bytes =
        4.0 * 3.0 * (double)request->num_frames * (double)request->height * (double)request->width;
    if (kinds->dit == SDT_DEVICE_CUDA)
        bytes += (double)sdt_dtype_size(kinds->dit_dtype) *
                 (double)sdt_weights_parameters(pipeline->dit->weights);
    if (kinds->vae == SDT_DEVICE_CUDA)
        bytes += (double)sdt_dtype_size(kinds->vae_dtype) *
                 (double)sdt_weights_parameters(pipeline->vae->weights);
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
    struct sdt_allowance allowance;
    sdt__allowance_read("", &allowance);
    if (status == SDT_OK && total > allowance.memory)
        status = sdt_fail(
            err, SDT_ERROR_LIMIT,
            "the plan needs about %.2f GB on %d device%s, of the %.2f GB %s that this "
            "process may use; a smaller size or number of frames%s%s would need less",
            total / 1e9, plan->devices, plan->devices == 1 ? "" : "s", allowance.memory / 1e9,
            allowance.memory_limit, request->tiling.size_rows ? "" : ", or --enable-tiling,",
            plan->streams > 1 ? ", or --streams 1," : "");
    return status;
}

void sdt__peak_bytes(const struct sdt_pipeline *pipeline, const struct sdt_request *request,
                     const struct sdt_placement *placement, const struct sdt_parallel *parallel,
                     const struct sdt_layout *layout, int devices, double *bytes) {
    struct sdt_vae_job job = sdt__vae_job(pipeline, request);
    int keys = request->max_sequence_length; /* at most; the prompt is not tokenized yet */
    int vae = placement->vae_devices > 0 ? placement->vae_devices : devices;
    /* All VAE devices share one decode, or each runs its own. */
    bool shared = placement->dit_devices == 0 || request->tiling.size_rows;
    double decode = pipeline->vae->kind->bytes(pipeline->vae, &job, shared ? vae : 1);

    for (int d = 0; d < devices; d++)
        bytes[d] = 0.0;
    for (int i = 0; i < layout->devices; i++)
        bytes[placement->dit_devices > 0 ? placement->dit[i] : i] =
            sdt_run_need(pipeline->dit, parallel, layout, i, sdt__forwards(pipeline, request), keys)
                .all;
    for (int i = 0; i < vae; i++) {
        int d = placement->vae_devices > 0 ? placement->vae[i] : i;
        bytes[d] = fmax(bytes[d], decode);
    }
}

struct sdt_work sdt__work(const struct sdt_pipeline *pipeline, const struct sdt_request *request) {
    const struct sdt_dit *dit = pipeline->dit;
    return dit->kind->work(dit, sdt_tokens(dit, sdt__geometry(pipeline, request)),
                           request->max_sequence_length);
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
    const struct sdt_dit *dit_model = pipeline->dit;
    struct sdt_geometry g = sdt__geometry(pipeline, request);
    struct sdt_vae_job job = sdt__vae_job(pipeline, request);
    struct sdt_layout layout = {0};
    struct sdt_place *place = NULL;
    struct device_need *need = NULL;
    struct sdt_gpus gpus = {0};
    struct sdt_kinds kinds;
    struct sdt_allowance allowance;
    sdt__allowance_read("", &allowance);

    *plan = (struct sdt_plan){0};
    enum sdt_status status = sdt__check_request(pipeline, request, err);
    if (status == SDT_OK && pipeline->text)
        status = sdt__prepare_text(pipeline, request, err);
    if (status == SDT_OK)
        status = sdt__devices_check(placement->device, devices, &gpus, err);
    if (status == SDT_OK)
        status = sdt__settle_kinds(placement, placement->device, devices, &kinds, err);
    if (status != SDT_OK)
        return status;
    status = sdt_strategy_allows(request->strategy, placement, devices, pipeline->dit, err);
    if (status != SDT_OK)
        return status;
    bool groups = placement->dit_devices > 0, mixed = sdt__has_gpus(placement->device, devices);
    int dit = groups ? placement->dit_devices : devices;
    int vae = placement->vae_devices > 0 ? placement->vae_devices : devices;
    int workers = workers_per_device > 0  ? workers_per_device
                  : devices == 1 || mixed ? allowance.workers
                                          : 1;
    plan->frames = g.frames;
    plan->latent_height = g.height;
    plan->latent_width = g.width;
    plan->channels = dit_model->channels;
    plan->devices = devices;
    plan->workers_per_device = workers;
    plan->dit_kind = kinds.dit;
    plan->vae_kind = kinds.vae;
    plan->dit_dtype = kinds.dit_dtype;
    plan->vae_dtype = kinds.vae_dtype;
    plan->heads = dit_model->heads;
    plan->forwards = sdt__forwards(pipeline, request);
    plan->streams = sdt_streams(placement->streams, plan->forwards);
    plan->tokens = sdt_tokens(dit_model, g);
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
    struct sdt_parallel parallel = sdt_parallel_of(request->strategy, placement, dit, vae);
    parallel.place = place;
    parallel.dtype = kinds.dit_dtype;
    int keys = request->max_sequence_length; /* at most; the prompt is not tokenized yet */
    status = sdt_run_layout(dit_model, &parallel, g, keys, &layout, err);
    if (status != SDT_OK)
        goto out;
    plan->tile_rows = layout.rows;
    plan->tiles = layout.tiles;
    for (int i = 0; i < layout.devices; i++) {
        int d = groups ? placement->dit[i] : i;
        plan->device_tiles[d] = layout.first_tile[i + 1] - layout.first_tile[i];
        for (int k = 0; k < layout.chunks; k++)
            if (layout.owner[k] == i % layout.ulysses)
                plan->device_heads[d] += layout.head[k + 1] - layout.head[k];
        need[d].denoise = sdt_run_need(dit_model, &parallel, &layout, i, plan->forwards, keys);
    }
    /* Decoding: all VAE devices share one decode, or each runs its own. */
    bool shared = !groups || request->tiling.size_rows;
    job.dtype = kinds.vae_dtype;
    double decode = pipeline->vae->kind->bytes(pipeline->vae, &job, shared ? vae : 1);
    for (int i = 0; i < vae; i++)
        need[placement->vae_devices > 0 ? placement->vae[i] : i].decode = decode;
    plan->host_bytes = mixed ? host_bytes(pipeline, request, &kinds) : 0.0;
    status = check_memory(request, placement, plan, &gpus, need, err);
    if (status != SDT_OK)
        goto out;
    plan->weight_bytes = (double)sdt_weights_bytes(dit_model->weights) +
                         (double)sdt_weights_bytes(pipeline->vae->weights);
    if (pipeline->text) {
        plan->weight_bytes += (double)sdt_weights_bytes(pipeline->text->weights);
        if (!request->prompt_embeds)
            plan->text_flops = plan->forwards * pipeline->text->kind->flops(pipeline->text, keys);
    }
    struct sdt_work work = sdt__work(pipeline, request);
    plan->step_flops = plan->forwards * (work.linear + work.attention);
    plan->vae_flops = pipeline->vae->kind->flops(pipeline->vae, &job);
    plan->total_flops = plan->text_flops + request->steps * plan->step_flops + plan->vae_flops;
    plan->exchanged_per_step =
        plan->forwards * sdt_run_exchanged(dit_model, request->strategy, &layout);
    if (placement->aco == SDT_ACO_STATIC) /* while nothing is being decoded */
        plan->exchanged_per_step +=
            (double)plan->forwards * dit_model->layers *
            (sdt_exchanged_with_helpers(&layout) - sdt_exchanged_by_heads(&layout));
    plan->flops_per_second =
        speed_of(kinds.dit, kinds.dit_dtype, placement, dit, groups ? placement->dit : NULL, &gpus);
    double decode_speed = plan->flops_per_second;
    if (kinds.vae != kinds.dit || kinds.vae == SDT_DEVICE_CUDA)
        decode_speed = speed_of(kinds.vae, kinds.vae_dtype, placement, vae,
                                placement->vae_devices > 0 ? placement->vae : NULL, &gpus);
    plan->denoise_seconds =
        (plan->text_flops + request->steps * plan->step_flops) /
        (plan->flops_per_second * workers_of(kinds.dit, layout.devices, plan, allowance.cpus));
    plan->decode_seconds = plan->vae_flops / (decode_speed * workers_of(kinds.vae, shared ? vae : 1,
                                                                        plan, allowance.cpus));
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

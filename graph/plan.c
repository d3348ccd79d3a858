/* The plan: is the request possible, who will do what, and what will it need? Before a weight is read. */
#include "graph/opened.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

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

enum sdt_status sdt_plan_make(struct sdt_pipeline *pipeline, const struct sdt_request *request,
                              const struct sdt_placement *placement, int devices,
                              int workers_per_device, struct sdt_plan *plan,
                              struct sdt_error *err) {
    const struct sdt_wan_config *c = sdt_wan_config(pipeline->transformer);
    struct sdt_wan_geometry g = sdt__geometry(pipeline, request);
    struct sdt_vae_job job = sdt__vae_job(pipeline, request);
    struct sdt_layout layout = {0};
    struct sdt_place *place = NULL;
    long cores = sysconf(_SC_NPROCESSORS_ONLN);

    *plan = (struct sdt_plan){0};
    enum sdt_status status = sdt__check_request(pipeline, request, err);
    if (status == SDT_OK && pipeline->text_encoder)
        status = sdt__prepare_text(pipeline, request, err);
    if (status != SDT_OK)
        return status;
    if (devices < 1 || devices > SDT_MAX_DEVICES)
        return sdt_fail(err, SDT_ERROR_USAGE, "%d devices; 1 to %d are supported", devices,
                        SDT_MAX_DEVICES);
    if (placement->dit_devices < 0 || placement->dit_devices > devices ||
        placement->vae_devices < 0 || placement->vae_devices > devices)
        return sdt_fail(err, SDT_ERROR_USAGE, "groups of %d and %d devices out of %d",
                        placement->dit_devices, placement->vae_devices, devices);
    if (placement->streams < 0 || placement->streams > 2)
        return sdt_fail(err, SDT_ERROR_USAGE, "%d streams; 1 or 2 work, and 0 for both forwards",
                        placement->streams);
    for (int i = 0; i < placement->dit_devices + placement->vae_devices; i++) {
        int d = i < placement->dit_devices ? placement->dit[i]
                                           : placement->vae[i - placement->dit_devices];
        if (d < 0 || d >= devices)
            return sdt_fail(err, SDT_ERROR_USAGE,
                            "there is no device %d; %d devices are numbered 0 to %d", d, devices,
                            devices - 1);
    }
    bool groups = placement->dit_devices > 0;
    int dit = groups ? placement->dit_devices : devices;
    int vae = placement->vae_devices > 0 ? placement->vae_devices : devices;
    int used = request->strategy->one_device ? 1 : dit;
    int workers = workers_per_device > 0 ? workers_per_device : devices == 1 ? (int)cores : 1;
    plan->frames = g.frames;
    plan->latent_height = g.height;
    plan->latent_width = g.width;
    plan->channels = c->in_channels;
    plan->devices = devices;
    plan->workers_per_device = workers;
    plan->heads = c->heads;
    plan->forwards = sdt__forwards(request);
    plan->streams = sdt_streams(placement->streams, plan->forwards);
    plan->tokens =
        (int64_t)(g.frames / c->patch[0]) * (g.height / c->patch[1]) * (g.width / c->patch[2]);
    plan->device_tiles = calloc((size_t)devices, sizeof *plan->device_tiles);
    plan->device_heads = calloc((size_t)devices, sizeof *plan->device_heads);
    plan->device_bytes = calloc((size_t)devices, sizeof *plan->device_bytes);
    place = calloc((size_t)devices, sizeof *place);
    if (!plan->device_tiles || !plan->device_heads || !plan->device_bytes || !place) {
        status = sdt_fail(err, SDT_ERROR_MEMORY, "out of memory while planning");
        goto out;
    }
    for (int d = 0; d < devices; d++)
        place[d] = (struct sdt_place){.device = d, .workers = workers};
    struct sdt_parallel parallel = {.strategy = request->strategy,
                                    .place = place,
                                    .devices = dit,
                                    .helpers = placement->aco == SDT_ACO_OFF ? 0 : vae,
                                    .aco = placement->aco,
                                    .ulysses_degree = placement->ulysses_degree,
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
    }
    sdt__peak_bytes(pipeline, request, placement, request->strategy, &layout, devices,
                    plan->device_bytes);
    double total = 0.0;
    for (int d = 0; d < devices; d++)
        total += plan->device_bytes[d];
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
    plan->flops_per_second = sdt__measure_speed();
    /* Stand-in devices share the cores. */
    double denoise_workers = fmin((double)used * workers, (double)cores);
    bool shared = !groups || request->tiling.size_rows; /* all VAE devices decode one request */
    double decode_workers = fmin((double)(shared ? vae : 1) * workers, (double)cores);
    plan->denoise_seconds = (plan->text_flops + request->steps * plan->step_flops) /
                            (plan->flops_per_second * denoise_workers);
    plan->decode_seconds = plan->vae_flops / (plan->flops_per_second * decode_workers);
    plan->seconds = plan->denoise_seconds + plan->decode_seconds;

    double memory = (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE);
    if (total > memory)
        status = sdt_fail(err, SDT_ERROR_LIMIT,
                          "the plan needs about %.1f GB on %d devices that share this machine's "
                          "%.1f GB; a smaller size or number of frames%s%s would need less",
                          total / 1e9, devices, memory / 1e9,
                          request->tiling.size_rows ? "" : ", or --enable-tiling,",
                          plan->streams > 1 ? ", or --streams 1," : "");
out:
    sdt_layout_clear(&layout);
    free(place);
    if (status != SDT_OK)
        sdt_plan_clear(plan);
    return status;
}

void sdt_plan_clear(struct sdt_plan *plan) {
    free(plan->device_tiles);
    free(plan->device_heads);
    free(plan->device_bytes);
    *plan = (struct sdt_plan){0};
}

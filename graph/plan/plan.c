/* The plan: is the request possible, who will do what, and what will it need? Before a weight is
 * read. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "graph/plan/candidates.h"
#include "graph/plan/cost.h"
#include "runtime/allowance.h"

/* What a process takes beside its vectors: programs, libraries, StarPU's own, what malloc keeps. */
#define PROCESS_BYTES 64e6

/* ---- memory ---------------------------------------------------------------------------------- */

/* Weights that do not fit come and go; what cannot is refused. Adds to *host what CPU devices take.
 */
static enum sdt_status check_device(const struct sdt_request *request, const struct sdt_plan *plan,
                                    struct sdt_device device, int d, struct sdt_device_need need,
                                    bool together, struct sdt_error *err) {
    double room = plan->device_room[d];
    double least = together ? need.denoise.least + need.decode : need.denoise.least;
    char name[SDT_DEVICE_NAME];
    sdt_device_name(device, name);
    if (need.denoise.all > 0.0 && least > room)
        return sdt_fail(err, SDT_ERROR_LIMIT,
                        "denoising %d frames of %dx%d (height x width)%s needs at least %.3g GB on "
                        "%s, two layers' weights at a time, and StarPU may use %.3g GB there; a "
                        "smaller size, or more GPUs, would need less",
                        request->num_frames, request->height, request->width,
                        together ? " beside decoding" : "", least / 1e9, name, room / 1e9);
    if (need.text > room)
        return sdt_fail(err, SDT_ERROR_LIMIT,
                        "encoding the prompt needs about %.3g GB on %s, and StarPU may use %.3g GB "
                        "there; a smaller --max-sequence-length would need less",
                        need.text / 1e9, name, room / 1e9);
    if (need.decode > room)
        return sdt_fail(err, SDT_ERROR_LIMIT,
                        "decoding %d frames of %dx%d (height x width) needs about %.3g GB on %s, "
                        "and StarPU may use %.3g GB there; a smaller size%s would need less",
                        request->num_frames, request->height, request->width, need.decode / 1e9,
                        name, room / 1e9, request->tiling.size_rows ? "" : ", --enable-tiling");
    return SDT_OK;
}

static enum sdt_status check_memory(const struct sdt_draft *d,
                                    const struct sdt_machine_rates *rates, struct sdt_plan *plan,
                                    struct sdt_error *err) {
    const struct sdt_request *request = d->request;
    const struct sdt_placement *placement = d->placement;
    struct sdt_device_need need[SDT_MAX_DEVICES];
    enum sdt_status status = SDT_OK;

    sdt_draft_needs(d, need);
    plan->host_bytes = sdt_draft_host_bytes(d);
    double total = plan->host_bytes, rank = 0.0, largest = 0.0;
    for (int i = 0; i < plan->devices && status == SDT_OK; i++) {
        struct sdt_device device = sdt__device_at(rates->device, i);
        plan->device_bytes[i] = sdt_device_peak(d, &need[i]);
        plan->device_text_bytes[i] = need[i].text;
        plan->device_denoise_bytes[i] = need[i].denoise.all;
        plan->device_decode_bytes[i] = need[i].decode;
        if (device.kind == SDT_DEVICE_CUDA) {
            plan->device_room[i] = rates->room[i];
            plan->device_offloads[i] = plan->device_bytes[i] > plan->device_room[i];
            status = check_device(request, plan, device, i, need[i],
                                  sdt_device_does_both(d, &need[i]), err);
            /* Of a round that is on its way StarPU knows nothing: it could evict what is being
             * sent. */
            if (status == SDT_OK && plan->device_offloads[i] &&
                placement->transport == SDT_TRANSPORT_NCCL && need[i].denoise.all > 0.0)
                status =
                    sdt_fail(err, SDT_ERROR_LIMIT,
                             "transport nccl needs all of %.1f GB on cuda:%d, which has room for "
                             "%.1f GB; --transport starpu brings weights layer by layer",
                             plan->device_bytes[i] / 1e9, device.index, plan->device_room[i] / 1e9);
        } else {
            /* Each rank's devices share a memory of their own. */
            rank = (i % sdt_rates_local(rates) ? rank : 0.0) + plan->device_bytes[i];
            largest = rank > largest ? rank : largest;
        }
    }
    total += largest;
    struct sdt_allowance allowance;
    sdt__allowance_read("", &allowance);
    plan->host_available = allowance.available;
    total += PROCESS_BYTES + sdt_draft_video_bytes(d);
    if (rates->simulated && rates->memory_bytes > 0.0 && total > rates->memory_bytes && !status)
        status = sdt_fail(err, SDT_ERROR_LIMIT,
                          "about %.2f GB are needed of the host's memory, of the %.2f GB that the "
                          "platform has",
                          total / 1e9, rates->memory_bytes / 1e9);
    /* What is imagined cannot be run here anyway. */
    bool real = !rates->simulated && !d->pipeline->imagined;
    if (status == SDT_OK && real && total > allowance.memory)
        status = sdt_fail(
            err, SDT_ERROR_LIMIT,
            "about %.2f GB are needed for %d device%s and the video, of the %.2f GB %s that this "
            "process may use; less is needed with a smaller size or number of frames%s%s",
            total / 1e9, sdt_rates_local(rates), sdt_rates_local(rates) == 1 ? "" : "s",
            allowance.memory / 1e9, allowance.memory_limit,
            request->tiling.size_rows ? "" : ", --enable-tiling",
            plan->streams > 1 ? ", --streams 1" : "");
    return status;
}

/* ---- the plan -------------------------------------------------------------------------------- */

/* Is it possible at all? */
static enum sdt_status check(struct sdt_pipeline *pipeline, const struct sdt_request *request,
                             const struct sdt_placement *placement, int devices,
                             struct sdt_error *err) {
    enum sdt_status status = sdt__check_request(pipeline, request, err);
    if (status == SDT_OK && pipeline->text[0])
        status = sdt__prepare_text(pipeline, request, err);
    if (status == SDT_OK)
        status = sdt_strategy_allows(request->strategy, placement, devices, pipeline->dit, err);
    return status;
}

/* Tiles and heads of the devices of one part. */
static void describe_part(const struct sdt_draft *d, const struct sdt_run_part *part,
                          struct sdt_plan *plan) {
    const struct sdt_layout *layout = &part->layout;
    for (int i = 0; i < layout->devices; i++) {
        int device = sdt_draft_dit(d, part->first + i);
        for (int t = 0; t < layout->tiles; t++)
            plan->device_tiles[device] += layout->home[t] == i;
        for (int k = 0; k < layout->chunks; k++)
            if (layout->owner[k] == i % layout->ulysses)
                plan->device_heads[device] += layout->head[k + 1] - layout->head[k];
    }
}

/* Who does what. */
static enum sdt_status describe(const struct sdt_draft *d, struct sdt_plan *plan,
                                struct sdt_error *err) {
    const struct sdt_dit *dit = d->pipeline->dit;
    const struct sdt_layout *layout = &d->layout;
    struct sdt_geometry g = sdt__geometry(d->pipeline, d->request);
    size_t devices = (size_t)d->devices;

    *plan = (struct sdt_plan){.frames = g.frames,
                              .latent_height = g.height,
                              .latent_width = g.width,
                              .channels = dit->channels,
                              .devices = d->devices,
                              .tokens = layout->video,
                              .tile_rows = layout->rows,
                              .tiles = layout->tiles,
                              .heads = dit->heads,
                              .forwards = d->forwards,
                              .streams = d->streams,
                              .dit_kind = d->kinds.dit,
                              .vae_kind = d->kinds.vae,
                              .dit_dtype = d->kinds.dit_dtype,
                              .vae_dtype = d->kinds.vae_dtype};
    plan->device_workers = calloc(devices, sizeof *plan->device_workers);
    plan->device_tiles = calloc(devices, sizeof *plan->device_tiles);
    plan->device_heads = calloc(devices, sizeof *plan->device_heads);
    plan->device_bytes = calloc(devices, sizeof *plan->device_bytes);
    plan->device_text_bytes = calloc(devices, sizeof *plan->device_text_bytes);
    plan->device_denoise_bytes = calloc(devices, sizeof *plan->device_denoise_bytes);
    plan->device_decode_bytes = calloc(devices, sizeof *plan->device_decode_bytes);
    plan->device_room = calloc(devices, sizeof *plan->device_room);
    plan->device_offloads = calloc(devices, sizeof *plan->device_offloads);
    plan->steps = d->table.steps;
    plan->blocks = d->blocks.count;
    plan->block_frames = d->blocks.per;
    plan->overlap_frames = d->blocks.overlap;
    memcpy(plan->cache, d->table.text, sizeof plan->cache);
    plan->step = calloc((size_t)plan->steps + 1, sizeof *plan->step);
    if (!plan->step || !plan->device_workers || !plan->device_tiles || !plan->device_heads ||
        !plan->device_bytes || !plan->device_text_bytes || !plan->device_denoise_bytes ||
        !plan->device_decode_bytes || !plan->device_room || !plan->device_offloads)
        return sdt_fail(err, SDT_ERROR_MEMORY, "out of memory while planning");
    memcpy(plan->device_workers, d->rates->workers, devices * sizeof *plan->device_workers);
    plan->apart = d->parts.count > 1 ? d->parts.part[1].layout.devices : 0;
    for (int p = 0; p < d->parts.count; p++)
        describe_part(d, &d->parts.part[p], plan);
    return SDT_OK;
}

/* How much there is to do and to move. */
static void count_work(const struct sdt_draft *d, struct sdt_plan *plan) {
    const struct sdt_pipeline *pipeline = d->pipeline;
    const struct sdt_dit *dit = pipeline->dit;
    const struct sdt_layout *layout = &d->layout;
    struct sdt_work work = dit->kind->work(dit, layout->video, d->text_rows);

    plan->weight_bytes =
        (double)sdt_weights_bytes(dit->weights) + (double)sdt_weights_bytes(pipeline->vae->weights);
    for (int i = 0; i < 2 && pipeline->text[i]; i++) {
        plan->weight_bytes += (double)sdt_weights_bytes(pipeline->text[i]->weights);
        if (!sdt__text_input(d->request, 0, i).embeds)
            plan->text_flops +=
                d->forwards * sdt__text_flops(pipeline, d->request, i, d->text_rows);
    }
    double blocks = d->blocks.count ? d->blocks.count : 1.0;
    /* Keys of the next block come to a block's own. */
    work.attention *= 1.0 + (double)layout->overlap / (double)layout->video;
    work.linear *= blocks;
    work.attention *= blocks;
    plan->step_flops = d->forwards * (work.linear + work.attention);
    plan->vae_flops = pipeline->vae->kind->flops(pipeline->vae, &d->job);
    double exchanged[2], ends[2], forwards = 0.0; /* of each branch */
    double apart = sdt_run_exchanged_apart(dit, &d->parts);
    for (int b = 0; b < 2; b++) {
        const struct sdt_layout *of = &d->parts.part[d->parts.count > 1 ? b : 0].layout;
        exchanged[b] = sdt_run_exchanged(dit, d->strategy, of);
        if (d->placement->aco == SDT_ACO_STATIC) /* while nothing is being decoded */
            exchanged[b] +=
                dit->layers * (sdt_exchanged_with_helpers(of) - sdt_exchanged_by_heads(of));
        ends[b] = sdt_run_exchanged_ends(dit, d->strategy, of);
        plan->exchanged_per_step += b < d->forwards ? exchanged[b] : 0.0;
    }
    double latent = sdt_run_exchanged_latent(dit, d->strategy, layout);
    if (d->blocks.count) /* a mean over steps */
        latent = sdt_run_exchanged_blocks(dit, d->strategy, layout, &d->blocks) / plan->steps;
    plan->exchanged_per_step = blocks * plan->exchanged_per_step + apart + latent;
    for (int s = 0; s < plan->steps; s++) {
        struct sdt_step step = d->table.step[s];
        plan->step[s].branches = step.branches;
        plan->step[s].forwards = step.layered;
        plan->step[s].stale = step.stale;
        plan->step[s].frozen = step.frozen;
        plan->step[s].exchanged = latent + (step.branches > 1 ? apart : 0.0);
        for (int b = 0; b < step.branches; b++)
            plan->step[s].exchanged += blocks * (step.skip[b] ? ends[b] : exchanged[b]);
        plan->exchanged += plan->step[s].exchanged;
        forwards += step.layered;
    }
    plan->total_flops =
        plan->text_flops + forwards * (work.linear + work.attention) + plan->vae_flops;
}

static enum sdt_status predict_times(const struct sdt_draft *d, struct sdt_plan *plan,
                                     struct sdt_error *err) {
    struct sdt_times times, steps;
    double *seconds = calloc((size_t)plan->steps + 1, sizeof *seconds);
    if (!seconds)
        return sdt_fail(err, SDT_ERROR_MEMORY, "out of memory while planning");
    enum sdt_status status = sdt_draft_times(d, 1, &times, err);
    if (status == SDT_OK) {
        steps = times;
        status = sdt_draft_steps(d, 1, seconds, &steps, err);
    }
    for (int s = 0; s < plan->steps; s++)
        plan->step[s].seconds = seconds[s];
    free(seconds);
    if (status != SDT_OK)
        return status;
    plan->text_seconds = times.text;
    plan->step_seconds = times.step;
    plan->denoise_seconds = times.text + times.steps;
    plan->decode_seconds = times.decode;
    plan->seconds = times.total;
    plan->flops_per_second = plan->step_flops / times.kernels;
    return SDT_OK;
}

enum sdt_status sdt_plan_make(struct sdt_pipeline *pipeline, const struct sdt_request *request,
                              const struct sdt_placement *placement,
                              const struct sdt_machine_options *machine, struct sdt_plan *plan,
                              struct sdt_error *err) {
    struct sdt_machine_rates rates;
    struct sdt_draft draft = {0};

    *plan = (struct sdt_plan){0};
    enum sdt_status status = check(pipeline, request, placement, machine->devices, err);
    if (status == SDT_OK)
        status = sdt_measure_rates(pipeline, machine, placement->precision, &rates, err);
    if (status == SDT_OK)
        status =
            sdt_draft_init(&draft, pipeline, request, placement, request->strategy, &rates, err);
    if (status == SDT_OK)
        status = describe(&draft, plan, err);
    if (status == SDT_OK)
        status = check_memory(&draft, &rates, plan, err);
    if (status == SDT_OK) {
        count_work(&draft, plan);
        status = predict_times(&draft, plan, err);
    }
    sdt_draft_clear(&draft);
    if (status != SDT_OK)
        sdt_plan_clear(plan);
    return status;
}

void sdt_plan_clear(struct sdt_plan *plan) {
    free(plan->step);
    free(plan->device_workers);
    free(plan->device_tiles);
    free(plan->device_heads);
    free(plan->device_bytes);
    free(plan->device_text_bytes);
    free(plan->device_denoise_bytes);
    free(plan->device_decode_bytes);
    free(plan->device_room);
    free(plan->device_offloads);
    *plan = (struct sdt_plan){0};
}

void sdt_placement_balance(const struct sdt_pipeline *pipeline, const struct sdt_request *request,
                           const struct sdt_machine_options *machine,
                           struct sdt_placement *placement) {
    struct sdt_placement together = {.precision = placement->precision};
    struct sdt_machine_rates rates;
    struct sdt_draft draft = {0};
    struct sdt_times t = {.decode_core = 1.0};
    double decode = 1.0, denoise = 1.0;

    enum sdt_status status =
        sdt_measure_rates(pipeline, machine, placement->precision, &rates, NULL);
    if (status == SDT_OK)
        status = sdt_draft_init(&draft, pipeline, request, &together, sdt_strategy_default(),
                                &rates, NULL);
    if (status == SDT_OK)
        status = sdt_draft_times(&draft, 1, &t, NULL);
    if (status == SDT_OK) {
        decode = t.decode_alone;
        denoise = t.text + (t.step > 0.0 ? t.steps / t.step * t.step_alone : 0.0);
    }
    sdt_draft_clear(&draft);
    int devices = machine->devices;
    int vae = (int)ceil(decode / (decode + denoise) * devices);
    sdt_placement_split(devices, vae < 1 ? 1 : vae >= devices ? devices - 1 : vae, placement);
}

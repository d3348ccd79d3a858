/* From a placement to layout, types and memory. */
#include "graph/plan/draft.h"

#include <math.h>
#include <string.h>

/* Tokens that a branch's prompt will have, with one row for all padding. Text has about four bytes
 * a token; it is not tokenized yet. */
static double words_of(const struct sdt_request *request, bool negative) {
    const struct sdt_stored *embeds =
        negative ? request->negative_prompt_embeds : request->prompt_embeds;
    const char *text = negative ? request->negative_prompt : request->prompt;
    double words = request->max_sequence_length;
    if (embeds && embeds->rank >= 2)
        return (double)embeds->shape[embeds->rank - 2];
    if (!negative && request->token_ids)
        words = request->token_count + 1.0;
    else if (text)
        words = (double)strlen(text) / 4.0 + 2.0;
    return fmin(words, request->max_sequence_length);
}

/* At most: prompts are not tokenized yet. */
static int most_rows(const struct sdt_request *request, int forwards) {
    double most = 0.0;
    for (int b = 0; b < forwards; b++) {
        bool given = b ? request->negative_prompt_embeds : request->prompt_embeds;
        most = fmax(most, given ? words_of(request, b) : request->max_sequence_length);
    }
    return (int)most;
}

/* As the machine will have it. */
static struct sdt_place place_of(const struct sdt_machine_rates *rates, int device,
                                 enum sdt_device_kind kind) {
    int workers = rates->workers[device];
    if (kind == SDT_DEVICE_CUDA || workers < 1)
        workers = 1;
    return (struct sdt_place){
        .device = device, .kind = kind, .workers = workers, .speed = rates->speed[device]};
}

enum sdt_status sdt_draft_init(struct sdt_draft *d, const struct sdt_pipeline *pipeline,
                               const struct sdt_request *request,
                               const struct sdt_placement *placement,
                               const struct sdt_strategy *strategy,
                               const struct sdt_machine_rates *rates, struct sdt_error *err) {
    bool groups = placement->dit_devices > 0;
    int devices = rates->devices;
    *d = (struct sdt_draft){.pipeline = pipeline,
                            .request = request,
                            .placement = placement,
                            .strategy = strategy,
                            .rates = rates,
                            .devices = devices,
                            .groups = groups,
                            .dit = groups ? placement->dit_devices : devices,
                            .vae = placement->vae_devices > 0 ? placement->vae_devices : devices,
                            .shared = !groups || sdt__decodes_tiles(pipeline, request) ||
                                      request->streamed,
                            .forwards = sdt_pipeline_forwards(pipeline, request),
                            .job = sdt__vae_job(pipeline, request)};
    enum sdt_status status = sdt__settle_kinds(placement, rates->device, devices, &d->kinds, err);
    if (status == SDT_OK)
        status = sdt__step_table(pipeline, request, &d->table, err);
    if (status != SDT_OK)
        return status;
    d->text_rows = most_rows(request, d->forwards);
    d->words = (int)words_of(request, false);
    if (d->forwards > 1)
        d->words = (int)((d->words + words_of(request, true)) / 2.0);
    d->streams = sdt_streams(placement->streams, d->forwards);
    d->job.dtype = d->kinds.vae_dtype;
    for (int i = 0; i < d->dit; i++)
        d->place[i] = place_of(rates, sdt_draft_dit(d, i), d->kinds.dit);
    for (int i = 0; i < d->vae; i++) {
        d->place[d->dit + i] = place_of(rates, sdt_draft_vae(d, i), d->kinds.dit);
        d->decoder[i] = place_of(rates, sdt_draft_vae(d, i), d->kinds.vae);
    }
    d->job.place = d->decoder;
    d->job.devices = sdt_draft_decoders(d);
    d->parallel = sdt_parallel_of(strategy, placement, d->dit, d->vae);
    d->parallel.place = d->place;
    d->parallel.apart &= d->forwards > 1;
    d->parallel.dtype = d->kinds.dit_dtype;
    d->blocks = d->parallel.blocks = sdt__blocks(pipeline, request, strategy);
    status = sdt_run_parts(pipeline->dit, &d->parallel,
                           sdt__block_geometry(pipeline, request, &d->blocks), d->forwards,
                           d->text_rows, &d->parts, err);
    d->layout = d->parts.part[0].layout;
    return status;
}

void sdt_draft_clear(struct sdt_draft *d) {
    sdt_run_parts_clear(&d->parts);
    sdt_step_table_clear(&d->table);
}

/* ---- memory ------------------------------------------------------------------------------------
 */

/* That which encodes prompts: the first of its group. */
static int text_device(const struct sdt_draft *d) {
    return d->placement->text_with_vae ? sdt_draft_vae(d, 0) : sdt_draft_dit(d, 0);
}

static double text_bytes(const struct sdt_draft *d) {
    bool vae = d->placement->text_with_vae;
    const struct sdt_place *place = vae ? &d->decoder[0] : &d->place[0];
    return sdt__text_bytes(d->pipeline, d->request, place->kind,
                           vae ? d->kinds.vae_dtype : d->kinds.dit_dtype, place->workers);
}

void sdt_draft_needs(const struct sdt_draft *d, struct sdt_device_need *need) {
    const struct sdt_vae *vae = d->pipeline->vae;
    struct sdt_vae_job job = d->job;
    int decoders = sdt_draft_decoders(d);
    for (int i = 0; i < d->devices; i++)
        need[i] = (struct sdt_device_need){0};
    need[text_device(d)].text = text_bytes(d);
    for (int i = 0; i < d->dit; i++)
        need[sdt_draft_dit(d, i)].denoise =
            sdt_run_need(d->pipeline->dit, &d->parts, i, d->text_rows, d->request->steps,
                         sdt_step_table_keeping(&d->table));
    for (int i = 0; i < d->vae; i++) {
        job.place = d->decoder + (decoders > 1 ? 0 : i);
        need[sdt_draft_vae(d, i)].decode =
            vae->kind->bytes(vae, &job, decoders, decoders > 1 ? i : 0);
    }
}

bool sdt_device_does_both(const struct sdt_draft *d, const struct sdt_device_need *need) {
    return (d->groups || d->request->streamed) && need->denoise.all > 0.0 && need->decode > 0.0;
}

double sdt_device_peak(const struct sdt_draft *d, const struct sdt_device_need *need) {
    double run = sdt_device_does_both(d, need) ? need->denoise.all + need->decode
                                               : fmax(need->denoise.all, need->decode);
    return fmax(need->text, run);
}

/* Of several stand-ins on CPUs: what the host has brought into the kernels' order, from which it is
 * copied to each. A single device is the host. */
static double packed_bytes(const struct sdt_draft *d) {
    const struct sdt_dit *model = d->pipeline->dit;
    double dit = 0.0;
    for (int r = 0; r < SDT_READERS; r++)
        dit += model->held[r].all +
               sizeof(float) * (double)model->prompt_step[r] * d->request->steps * d->forwards;
    double vae = sizeof(float) * (double)sdt_weights_parameters(d->pipeline->vae->weights);
    return fmax(text_bytes(d), d->placement->dit_devices > 0 ? dit + vae : fmax(dit, vae));
}

double sdt_draft_video_bytes(const struct sdt_draft *d) {
    enum { SEGMENTS = 3 }; /* on their way: of a block each, the first one's is longer */
    const struct sdt_request *request = d->request;
    double frames = request->num_frames;
    if (request->streamed)
        frames = fmin(frames, (SEGMENTS * d->blocks.per + d->blocks.overlap) *
                                  d->pipeline->vae->time_ratio);
    return 4.0 * 3.0 * frames * (double)request->height * (double)request->width;
}

double sdt_draft_host_bytes(const struct sdt_draft *d) {
    double once = d->pipeline->dit->host_bytes;
    double bytes = sdt_draft_video_bytes(d);
    if (!sdt__has_gpus(d->rates->device, d->devices))
        return once + (d->devices > 1 ? packed_bytes(d) : 0.0);
    if (d->kinds.dit == SDT_DEVICE_CUDA)
        bytes += (double)sdt_dtype_size(d->kinds.dit_dtype) *
                 (double)sdt_weights_parameters(d->pipeline->dit->weights);
    if (d->kinds.vae == SDT_DEVICE_CUDA)
        bytes += (double)sdt_dtype_size(d->kinds.vae_dtype) *
                 (double)sdt_weights_parameters(d->pipeline->vae->weights);
    return bytes + once;
}

/* A placement made definite: kinds and types of the groups, the layout of the tokens, the decode.
 * What plans, predictions and memory checks all begin with, so that they speak of the same thing.
 */
#ifndef STARDIT_DRAFT_H
#define STARDIT_DRAFT_H

#include "graph/pipeline.h"
#include "graph/plan/rates.h"
#include "graph/run/run.h"
#include "graph/run/steps.h"

struct sdt_draft {
    const struct sdt_pipeline *pipeline; /* these five are borrowed */
    const struct sdt_request *request;
    const struct sdt_placement *placement;
    const struct sdt_strategy *strategy;
    const struct sdt_machine_rates *rates;
    int devices;  /* of the machine */
    bool groups;  /* denoising and decoding are apart */
    int dit, vae; /* devices of the groups */
    bool shared;  /* all devices that decode share one decode, else each has its own */
    int forwards, streams;
    struct sdt_step_table table;
    struct sdt_blocks blocks; /* all 0: none */
    int text_rows;            /* of a prompt, at most: what memory is needed for */
    int words;                /* about how many it will be: what times depend on */
    struct sdt_kinds kinds;
    struct sdt_place place[2 * SDT_MAX_DEVICES]; /* of the denoising group and its helpers */
    struct sdt_parallel parallel;
    struct sdt_run_parts parts;                /* which devices have which branches */
    struct sdt_layout layout;                  /* of the first part: borrowed from there */
    struct sdt_place decoder[SDT_MAX_DEVICES]; /* of the decoding group: job.place */
    struct sdt_vae_job job;
};

/* SDT_ERROR_USAGE for groups that cannot be, or a layout
 * (ulysses_degree); SDT_ERROR_MEMORY. The draft may not be copied. */
enum sdt_status sdt_draft_init(struct sdt_draft *draft, const struct sdt_pipeline *pipeline,
                               const struct sdt_request *request,
                               const struct sdt_placement *placement,
                               const struct sdt_strategy *strategy,
                               const struct sdt_machine_rates *rates, struct sdt_error *err);
void sdt_draft_clear(struct sdt_draft *draft); /* after a failed init too */

/* The machine's number of a group's i-th device. */
static inline int sdt_draft_dit(const struct sdt_draft *d, int i) {
    return d->groups ? d->placement->dit[i] : i;
}
static inline int sdt_draft_vae(const struct sdt_draft *d, int i) {
    return d->placement->vae_devices > 0 ? d->placement->vae[i] : i;
}
/* Devices that one decode runs on. */
static inline int sdt_draft_decoders(const struct sdt_draft *d) { return d->shared ? d->vae : 1; }

/* What one device has to hold: each phase, and both at once where the groups share it. */
struct sdt_device_need {
    double text;
    struct sdt_need denoise; /* 0: it does not */
    double decode;
};
void sdt_draft_needs(const struct sdt_draft *draft,
                     struct sdt_device_need *need /* [devices] written */);
/* Peak of a device, with all weights there. */
double sdt_device_peak(const struct sdt_draft *draft, const struct sdt_device_need *need);
/* Whether both phases' needs count at once. */
bool sdt_device_does_both(const struct sdt_draft *draft, const struct sdt_device_need *need);
/* The video in the host's memory, or what there is of it at a time. */
double sdt_draft_video_bytes(const struct sdt_draft *draft);
/* Weights that GPUs load from, converted and kept in the host's memory, and the video; 0 without
 * GPUs. */
double sdt_draft_host_bytes(const struct sdt_draft *draft);
#endif

/* Scatter, gather, and one step: forwards, then the solver per tile, where the tile lives. */
#include "graph/run/latent.h"

#include <stdlib.h>

static size_t tile_size(const struct sdt_latent *latent) {
    const struct sdt_patch *p = &latent->patch;
    return (size_t)latent->layout->rows *
           (size_t)(p->channels * p->size[0] * p->size[1] * p->size[2]);
}

void sdt_latent_init(struct sdt_flow *flow, struct sdt_latent *latent,
                     const struct sdt_layout *layout, struct sdt_patch patch, int steps,
                     sdt_step_done step_done, void *step_done_arg) {
    *latent = (struct sdt_latent){.layout = layout,
                                  .patch = patch,
                                  .steps = steps,
                                  .step_done = step_done,
                                  .step_done_arg = step_done_arg};
    sdt_handle **arrays[] = {&latent->x[0], &latent->x[1], &latent->x_last, &latent->m0,
                             &latent->m1};
    static const char *const names[] = {"latent", "latent", "x_last", "m0", "m1"};
    latent->tiles_done = calloc((size_t)steps + 1, sizeof *latent->tiles_done);
    bool failed = !latent->tiles_done;
    for (size_t a = 0; a < sizeof arrays / sizeof arrays[0]; a++) {
        *arrays[a] = calloc((size_t)layout->video_tiles, sizeof **arrays[a]);
        failed |= !*arrays[a];
        for (int t = 0; *arrays[a] && t < layout->video_tiles; t++)
            (*arrays[a])[t] = sdt__vector(flow, tile_size(latent), names[a]);
    }
    if (failed && flow->error.status == SDT_OK)
        sdt_fail(&flow->error, SDT_ERROR_MEMORY, "out of memory for a latent of %d tiles",
                 layout->video_tiles);
}

void sdt_latent_clear(struct sdt_latent *latent) {
    sdt_handle *arrays[] = {latent->x[0], latent->x[1], latent->x_last, latent->m0, latent->m1};
    for (size_t a = 0; a < sizeof arrays / sizeof arrays[0]; a++) {
        for (int t = 0; arrays[a] && t < latent->layout->video_tiles; t++)
            if (arrays[a][t])
                starpu_data_unregister_submit(arrays[a][t]);
        free(arrays[a]);
    }
    free(latent->tiles_done);
    *latent = (struct sdt_latent){0};
}

void sdt_latent_scatter(struct sdt_flow *flow, struct sdt_latent *latent,
                        const struct sdt_place *host, sdt_handle whole) {
    const struct sdt_layout *layout = latent->layout;
    flow->place = host;
    flow->tag.role = SDT_ROLE_IO;
    for (int t = 0; t < layout->video_tiles && flow->error.status == SDT_OK; t++) {
        flow->tag.tile = t;
        sdt_insert_patchify(flow, "scatter_latent", &latent->patch, (int64_t)t * layout->rows,
                            layout->rows, whole, latent->x[0][t]);
    }
    flow->tag.tile = -1;
}

void sdt_latent_gather(struct sdt_flow *flow, struct sdt_latent *latent,
                       const struct sdt_place *host, int step, sdt_handle whole) {
    const struct sdt_layout *layout = latent->layout;
    flow->place = host;
    flow->tag.role = SDT_ROLE_IO;
    for (int t = 0; t < layout->video_tiles; t++) {
        flow->tag.tile = t;
        sdt_insert_unpatchify(flow, "gather_latent", &latent->patch, (int64_t)t * layout->rows,
                              layout->rows, latent->x[step % 2][t], whole);
    }
    flow->tag.tile = -1;
}

static void tile_done(void *arg, int step) {
    struct sdt_latent *latent = arg;
    int done = atomic_fetch_add(&latent->tiles_done[step], 1) + 1;
    if (done == latent->layout->video_tiles && latent->step_done)
        latent->step_done(latent->step_done_arg, step + 1, latent->steps);
}

int sdt_latent_steps_done(const struct sdt_latent *latent) {
    int step = 0;
    while (step < latent->steps && atomic_load(&latent->tiles_done[step]) == latent->layout->video_tiles)
        step++;
    return step;
}

void sdt_latent_step(struct sdt_flow *flow, struct sdt_run *run, const struct sdt_sampler *sampler,
                     float guidance, int s, struct sdt_latent *latent) {
    const struct sdt_layout *layout = latent->layout;
    int branches = sdt_forwards(run->dit, guidance);
    struct sdt_sampler_step step = sampler->step[s];

    flow->tag.step = s;
    run->guidance = guidance;
    sdt_run_step(flow, run, branches, sampler->timesteps[s], latent->x[s % 2]);
    step.guidance = branches > 1 ? guidance : 1.0f;
    flow->tag.role = SDT_ROLE_DENOISE;
    flow->tag.stream = 0;
    for (int i = 0; i < layout->video_tiles; i++) {
        flow->tag.tile = i;
        flow->place = &layout->place[layout->home[i]];
        sdt_insert_sampler_step(flow, "sampler_step", &step, tile_size(latent),
                                run->branch[0].velocity[i],
                                branches > 1 ? run->branch[1].velocity[i] : NULL,
                                latent->x[s % 2][i], latent->x[(s + 1) % 2][i], latent->x_last[i],
                                latent->m0[i], latent->m1[i], s == 0, tile_done, latent);
    }
    flow->tag.tile = flow->tag.step = -1;
}

/* The denoising loop: forward of each CFG branch, then one solver step per tile, where the tile lives. */
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
        *arrays[a] = calloc((size_t)layout->tiles, sizeof **arrays[a]);
        failed |= !*arrays[a];
        for (int t = 0; *arrays[a] && t < layout->tiles; t++)
            (*arrays[a])[t] = sdt__vector(flow, tile_size(latent), names[a]);
    }
    if (failed && flow->error.status == SDT_OK)
        sdt_fail(&flow->error, SDT_ERROR_MEMORY, "out of memory for a latent of %d tiles",
                 layout->tiles);
}

void sdt_latent_clear(struct sdt_latent *latent) {
    sdt_handle *arrays[] = {latent->x[0], latent->x[1], latent->x_last, latent->m0, latent->m1};
    for (size_t a = 0; a < sizeof arrays / sizeof arrays[0]; a++) {
        for (int t = 0; arrays[a] && t < latent->layout->tiles; t++)
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
    for (int t = 0; t < layout->tiles && flow->error.status == SDT_OK; t++) {
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
    for (int t = 0; t < layout->tiles; t++) {
        flow->tag.tile = t;
        sdt_insert_unpatchify(flow, "gather_latent", &latent->patch, (int64_t)t * layout->rows,
                              layout->rows, latent->x[step % 2][t], whole);
    }
    flow->tag.tile = -1;
}

static void tile_done(void *arg, int step) {
    struct sdt_latent *latent = arg;
    int done = atomic_fetch_add(&latent->tiles_done[step], 1) + 1;
    if (done == latent->layout->tiles && latent->step_done)
        latent->step_done(latent->step_done_arg, step + 1, latent->steps);
}

int sdt_latent_steps_done(const struct sdt_latent *latent) {
    int step = 0;
    while (step < latent->steps && atomic_load(&latent->tiles_done[step]) == latent->layout->tiles)
        step++;
    return step;
}

void sdt_denoise(struct sdt_flow *flow, struct sdt_wan_run *run, const struct sdt_sampler *sampler,
                 float guidance, struct sdt_latent *latent) {
    const struct sdt_layout *layout = latent->layout;
    bool cfg = guidance > 1.0f;

    for (int s = 0; s < sampler->steps && flow->error.status == SDT_OK; s++) {
        flow->tag.step = s;
        sdt_wan_forwards(flow, run, cfg ? 2 : 1, sampler->timesteps[s], latent->x[s % 2]);
        struct sdt_sampler_step step = sampler->step[s];
        step.guidance = guidance;
        flow->tag.role = SDT_ROLE_DENOISE;
        flow->tag.stream = 0;
        for (int t = 0; t < layout->tiles; t++) {
            flow->tag.tile = t;
            flow->place = &layout->place[layout->home[t]];
            sdt_insert_sampler_step(flow, "sampler_step", &step, tile_size(latent),
                                    sdt_wan_velocity(run, 0)[t],
                                    cfg ? sdt_wan_velocity(run, 1)[t] : NULL, latent->x[s % 2][t],
                                    latent->x[(s + 1) % 2][t], latent->x_last[t], latent->m0[t],
                                    latent->m1[t], s == 0, tile_done, latent);
        }
        flow->tag.tile = -1;
    }
    flow->tag.step = -1;
}

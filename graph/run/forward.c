/* Scatter, prompt, forward, gather. */
#include "graph/run/forward.h"

#include <stdlib.h>

#include "graph/run/latent.h"

/* Inserts everything; what fails stays in the flow. */
static void insert(struct sdt_flow *flow, const struct sdt_forward *f, struct sdt_run *run,
                   struct sdt_latent *latent, struct sdt_prompt *prompt,
                   const sdt_handle *handle /* latent, text, pooled text, velocity */) {
    const struct sdt_layout *layout = &run->layout;
    const struct sdt_text_states text[2] = {{handle[1], f->rows, f->pad_rows}, {handle[2], 1, 0}};
    sdt_handle *stale = NULL;

    if (f->look)
        f->look(f->look_arg, layout);
    sdt_latent_init(flow, latent, layout, sdt_patch_of(f->dit, f->geometry), 0, 0, NULL, NULL);
    if (flow->error.status != SDT_OK)
        return;
    sdt_latent_scatter(flow, latent, 0, SDT_SOLVER_X, handle[0]);
    run->schedule = (struct sdt_schedule){&f->t, 1, f->guidance};
    sdt_run_prompt(flow, run, 0, text, prompt);
    run->branch[0].prompt = prompt;
    run->step = 0;
    run->guidance = f->guidance;
    run->offloads = f->offloads;
    run->fresh = true;
    if (f->parallel.strategy->stale)
        run->branch[0].stale = stale = sdt_run_stale(flow, run);
    sdt_run_step(flow, run, 1, f->t, sdt_latent_tiles(latent, 0));
    flow->place = flow->host;
    flow->tag.role = SDT_ROLE_IO;
    for (int i = 0; i < layout->video_tiles; i++)
        sdt_insert_unpatchify(flow, "gather_velocity", &latent->patch, (int64_t)i * layout->rows,
                              sdt_tile_size(layout, i), run->branch[0].velocity[i], handle[3]);
    for (int i = 0; stale && i < sdt_run_stale_count(run); i++)
        sdt__unregister_submit(stale[i]);
    free(stale);
}

enum sdt_status sdt_forward_once(const struct sdt_forward *f, float *velocity,
                                 struct sdt_error *err) {
    const struct sdt_geometry *g = &f->geometry;
    size_t count =
        (size_t)f->dit->channels * (size_t)g->frames * (size_t)g->height * (size_t)g->width;
    struct sdt_flow flow = sdt_machine_flow(f->machine, SDT_LANE_DENOISE);
    struct sdt_latent latent = {0};
    struct sdt_prompt prompt = {0};
    sdt_handle handle[4] = {
        sdt__host_vector(&flow, f->latent, count, "latent"),
        sdt__host_vector(&flow, f->text, (size_t)f->rows * (size_t)f->dit->text_dim, "text states"),
        f->pooled ? sdt__host_vector(&flow, f->pooled, (size_t)f->dit->pooled_dim, "pooled text")
                  : NULL,
        sdt__host_vector(&flow, velocity, count, "velocity"),
    };

    struct sdt_run *run =
        sdt_run_new(&flow, f->dit, f->machine, NULL, &f->parallel, f->geometry, 1, f->rows);
    if (run)
        insert(&flow, f, run, &latent, &prompt, handle);
    enum sdt_status status = sdt__flow_wait(&flow, err);
    if (status == SDT_ERROR_STALLED)
        return status;
    sdt_prompt_clear(&prompt);
    if (latent.tiles_done)
        sdt_latent_clear(&latent);
    for (int i = 0; i < 4; i++)
        sdt__unregister(handle[i]); /* brings the result home */
    sdt_run_free(run);
    return status;
}

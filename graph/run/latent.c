/* Scatter, gather, and one step: forwards, then the solver per tile, where the tile lives. */
#include "graph/run/latent.h"

#include <stdlib.h>

/* The last tile may have fewer rows. */
static int rows_of(const struct sdt_latent *latent, int tile) {
    return tile == latent->tiles - 1 ? latent->last_rows : latent->rows;
}

static size_t tile_size(const struct sdt_latent *latent, int tile) {
    const struct sdt_patch *p = &latent->patch;
    return (size_t)rows_of(latent, tile) *
           (size_t)(p->channels * p->size[0] * p->size[1] * p->size[2]);
}

void sdt_latent_init(struct sdt_flow *flow, struct sdt_latent *latent,
                     const struct sdt_layout *layout, struct sdt_patch patch, int first, int steps,
                     sdt_step_done step_done, void *step_done_arg) {
    static const char *const names[] = {"latent", "x_last", "m0", "m1"};
    *latent = (struct sdt_latent){.patch = patch,
                                  .rows = layout->rows,
                                  .last_rows = sdt_tile_size(layout, layout->video_tiles - 1),
                                  .tiles = layout->video_tiles,
                                  .steps = steps,
                                  .step_done = step_done,
                                  .step_done_arg = step_done_arg};
    latent->tiles_done = calloc((size_t)steps + 1, sizeof *latent->tiles_done);
    bool failed = !latent->tiles_done;
    for (int s = 0; latent->tiles_done && s < first; s++)
        atomic_store(&latent->tiles_done[s], latent->tiles);
    for (int a = 0; a < 2 * SDT_SOLVER_PARTS; a++) {
        sdt_handle *tile = calloc((size_t)latent->tiles, sizeof *tile);
        failed |= !tile;
        for (int t = 0; tile && t < latent->tiles; t++)
            tile[t] = sdt__vector(flow, tile_size(latent, t), names[a / 2]);
        latent->state[a % 2][a / 2] = tile;
    }
    if (failed && flow->error.status == SDT_OK)
        sdt_fail(&flow->error, SDT_ERROR_MEMORY, "out of memory for a latent of %d tiles",
                 latent->tiles);
}

static void free_tiles(const struct sdt_latent *latent, sdt_handle *tile) {
    for (int t = 0; tile && t < latent->tiles; t++)
        sdt__unregister_submit(tile[t]);
    free(tile);
}

void sdt_latent_clear(struct sdt_latent *latent) {
    for (int a = 0; a < 2 * SDT_SOLVER_PARTS; a++)
        free_tiles(latent, latent->state[a % 2][a / 2]);
    free_tiles(latent, latent->difference);
    free(latent->tiles_done);
    *latent = (struct sdt_latent){0};
}

bool sdt_latent_fits(const struct sdt_latent *latent, const struct sdt_layout *layout) {
    return latent->rows == layout->rows && latent->tiles == layout->video_tiles &&
           latent->last_rows == sdt_tile_size(layout, layout->video_tiles - 1);
}

/* Room for the difference of velocities. */
static void make_difference(struct sdt_flow *flow, struct sdt_latent *latent) {
    if (latent->difference)
        return;
    latent->difference = calloc((size_t)latent->tiles, sizeof *latent->difference);
    if (!latent->difference && flow->error.status == SDT_OK)
        sdt_fail(&flow->error, SDT_ERROR_MEMORY, "out of memory for a latent of %d tiles",
                 latent->tiles);
    for (int t = 0; latent->difference && t < latent->tiles; t++)
        latent->difference[t] = sdt__vector(flow, tile_size(latent, t), "difference");
}

/* A part's tiles, before step `step`. */
static sdt_handle *tiles_of(const struct sdt_latent *latent, int step, enum sdt_solver_part part) {
    return part == SDT_STATE_DIFFERENCE ? latent->difference : latent->state[step % 2][part];
}

void sdt_latent_scatter(struct sdt_flow *flow, struct sdt_latent *latent, int step,
                        enum sdt_solver_part part, sdt_handle whole) {
    if (part == SDT_STATE_DIFFERENCE)
        make_difference(flow, latent);
    const sdt_handle *tile = tiles_of(latent, step, part);
    flow->place = flow->host;
    flow->tag.role = SDT_ROLE_IO;
    for (int t = 0; t < latent->tiles && flow->error.status == SDT_OK; t++) {
        flow->tag.tile = t;
        sdt_insert_patchify(flow, "scatter_latent", &latent->patch, (int64_t)t * latent->rows,
                            rows_of(latent, t), whole, tile[t]);
    }
    flow->tag.tile = -1;
}

void sdt_latent_gather(struct sdt_flow *flow, struct sdt_latent *latent, int step,
                       enum sdt_solver_part part, sdt_handle whole) {
    const sdt_handle *tile = tiles_of(latent, step, part);
    flow->place = flow->host;
    flow->tag.role = SDT_ROLE_IO;
    for (int t = 0; tile && t < latent->tiles; t++) {
        flow->tag.tile = t;
        sdt_insert_unpatchify(flow, "gather_latent", &latent->patch, (int64_t)t * latent->rows,
                              rows_of(latent, t), tile[t], whole);
    }
    flow->tag.tile = -1;
}

void sdt_latent_tile_done(void *arg, int step) {
    struct sdt_latent *latent = arg;
    int done = atomic_fetch_add(&latent->tiles_done[step], 1) + 1;
    if (done == latent->tiles && latent->step_done)
        latent->step_done(latent->step_done_arg, step + 1, latent->steps);
}

int sdt_latent_steps_done(const struct sdt_latent *latent) {
    int step = 0;
    while (latent->tiles_done && step < latent->steps &&
           atomic_load(&latent->tiles_done[step]) == latent->tiles)
        step++;
    return step;
}

static struct sdt_solver_tile solver_tile(const struct sdt_latent *latent, int step, int tile) {
    sdt_handle *const *state = latent->state[step % 2];
    return (struct sdt_solver_tile){state[SDT_SOLVER_X][tile], state[SDT_SOLVER_X_LAST][tile],
                                    state[SDT_SOLVER_M0][tile], state[SDT_SOLVER_M1][tile]};
}

void sdt_noise_clear(struct sdt_noise *noise) {
    sdt__unregister_submit(noise->generator);
    sdt__unregister_submit(noise->whole);
    noise->generator = noise->whole = NULL;
}

/* The noise that step s adds, where the solver looks for it. It is there long before: the forwards
 * take their time. */
static void add_noise(struct sdt_flow *flow, struct sdt_latent *latent, int s) {
    const struct sdt_patch *p = &latent->patch;
    struct sdt_noise *noise = latent->noise;
    size_t count = (size_t)p->channels * (size_t)p->frames * (size_t)p->height * (size_t)p->width;
    bool first = !noise->generator;

    if (first) {
        noise->generator = sdt__vector(flow, SDT_GENERATOR_FLOATS, "generator");
        noise->whole = sdt__vector(flow, count, "noise");
    }
    flow->place = flow->host;
    flow->tag.role = SDT_ROLE_IO;
    if (flow->error.status == SDT_OK)
        sdt_insert_noise(flow, "noise", first, noise->seed, s + 1, count, noise->generator,
                         noise->whole);
    sdt_latent_scatter(flow, latent, s, SDT_SOLVER_M0, noise->whole);
}

/* y := x - from */
static void insert_difference(struct sdt_flow *flow, const char *name, size_t size, sdt_handle x,
                              sdt_handle from, sdt_handle y) {
    sdt_insert_convert(flow, name, size, from, y);
    sdt_insert_sum(flow, name, size, -1.0f, x, y);
}

/* One tile of the latent, from its velocities to its next state. */
static void insert_solver(struct sdt_flow *flow, struct sdt_run *run,
                          const struct sdt_sampler_step *step, const struct sdt_step *what, int s,
                          struct sdt_latent *latent, int tile) {
    const size_t size = tile_size(latent, tile);
    sdt_handle v_cond = run->branch[0].velocity[tile], v_uncond = NULL;
    if (what->branches > 1 || what->frozen)
        v_uncond = sdt_run_of(run, 1)->branch[1].velocity[tile];
    if (what->freezes)
        insert_difference(flow, "keep_difference", size, v_cond, v_uncond,
                          latent->difference[tile]);
    if (what->frozen)
        insert_difference(flow, "use_difference", size, v_cond, latent->difference[tile], v_uncond);
    sdt_insert_sampler_step(flow, "sampler_step", step, size, v_cond, v_uncond,
                            solver_tile(latent, s, tile), solver_tile(latent, s + 1, tile), s == 0,
                            sdt_latent_tile_done, latent);
}

/* tiles: what the forwards take in. */
static void insert_step(struct sdt_flow *flow, struct sdt_run *run,
                        const struct sdt_sampler *sampler, struct sdt_guidance guidance,
                        const struct sdt_step_table *table, int s, struct sdt_latent *latent,
                        const sdt_handle *tiles) {
    const struct sdt_layout *layout = &run->layout;
    const struct sdt_step what = table ? table->step[s] : sdt_whole_step(sdt_forwards(guidance));
    for (int b = 0; b < what.branches; b++) {
        struct sdt_branch *branch = &sdt_run_of(run, b)->branch[b];
        branch->skips = what.skip[b];
        branch->keeps = what.keep[b];
    }
    struct sdt_sampler_step step = sampler->step[s];

    flow->tag.step = s;
    run->step = s;
    run->guidance = guidance.input;
    run->fresh = !what.stale;
    if (sampler->noisy && step.p_m0 != 0.0f)
        add_noise(flow, latent, s);
    if (what.freezes)
        make_difference(flow, latent);
    sdt_run_step(flow, run, what.branches, sampler->timesteps[s], tiles);
    step.guidance = what.branches > 1 || what.frozen ? guidance.mix : 1.0f;
    flow->tag.role = SDT_ROLE_DENOISE;
    flow->tag.branch = 0;
    for (int i = 0; i < latent->tiles && flow->error.status == SDT_OK; i++) {
        flow->tag.tile = i;
        flow->place = &layout->place[layout->home[i]];
        insert_solver(flow, run, &step, &what, s, latent, i);
    }
    flow->tag.tile = flow->tag.step = -1;
}

void sdt_latent_step(struct sdt_flow *flow, struct sdt_run *run, const struct sdt_sampler *sampler,
                     struct sdt_guidance guidance, const struct sdt_step_table *table, int s,
                     struct sdt_latent *latent) {
    insert_step(flow, run, sampler, guidance, table, s, latent, sdt_latent_tiles(latent, s));
}

void sdt_latent_iteration(struct sdt_flow *flow, struct sdt_run *run,
                          const struct sdt_sampler *sampler, struct sdt_guidance guidance,
                          const struct sdt_blocks *blocks, int k, struct sdt_latent *latent) {
    const int most = sdt_blocks_most(blocks);
    for (int b = sdt_blocks_newest(blocks, k); b >= sdt_blocks_oldest(blocks, k); b--) {
        struct sdt_latent *own = &latent[b % most];
        const int s = sdt_blocks_step(k, b);
        const sdt_handle *tiles = sdt_latent_tiles(own, s);
        flow->tag.step = s;
        if (b > 0 && blocks->overlap > 0)
            tiles =
                sdt_run_input(flow, run, tiles, sdt_latent_tiles(&latent[(b - 1) % most], s + 1));
        run->sees_next = sdt_blocks_sees_next(blocks, k, b);
        run->is_seen = sdt_blocks_is_seen(blocks, k, b);
        insert_step(flow, run, sampler, guidance, NULL, s, own, tiles);
    }
    run->sees_next = run->is_seen = false;
}

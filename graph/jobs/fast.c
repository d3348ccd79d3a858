/* Fast-forward, in simulated time: once a step has been simulated in full, others like it are taken
 * to last as long.
 *
 * Steps are alike where as many forwards run (the step table), the same job's step before was one
 * too and the same devices help (aco). One is measured from that one's end to its own, so that what
 * overlaps between steps counts once. Where patches follow one another from step to step, steps
 * take turns in being short and long: their mean counts. A job's first steps are simulated always:
 * they may wait for weights. In a step's place stands one task a tile, which all together keep each
 * device busy for as long. */
#include "graph/jobs/fast.h"

#include <stdlib.h>

#include "runtime/clock.h"
#include "runtime/cuda.h"

enum {
    KINDS = 108, /* sdt__fast_like() */
    FLYING = 16, /* steps on their way, at most; two in fact */
    FIRST = 2,   /* a job's steps up to this one may differ from others */
    TURNS = 4,   /* steps with keys of the step before that are measured together */
};

/* A step on its way. */
struct flying {
    int request, step, kind;
    bool given;
    struct sdt_bounds bounds; /* of its tasks */
};

struct sdt_fast {
    struct sdt_recorder *recorder;
    struct flying flying[FLYING];
    int next;
    bool known[KINDS], rehearsed; /* the latter: first steps are like others */
    struct sdt_fast_phases *phases;
    struct sdt_step_record step[KINDS];
    /* The one that ended last. */
    struct flying last;
    double last_at;
    struct sdt_step_record last_totals;
    /* Of those that are measured together: how many have ended, and what was before them. */
    int turns;
    double turns_at;
    struct sdt_step_record turns_totals;
    int told[SDT_RECORDER_SLOTS]; /* kinds that the recorder counts, + 1 */
};

struct sdt_fast *sdt__fast_new(struct sdt_recorder *recorder) {
    struct sdt_fast *fast = calloc(1, sizeof *fast);
    if (fast) {
        fast->recorder = recorder;
        fast->last.request = -1;
    }
    return fast;
}

void sdt__fast_free(struct sdt_fast *fast) { free(fast); }

bool sdt__fast_knows(const struct sdt_fast *fast, int step, int like) {
    return fast && (step >= 1 || fast->rehearsed) && fast->known[like];
}

void sdt__fast_inserted(struct sdt_fast *fast, int request, int step, int like, bool given,
                        struct sdt_bounds before) {
    if (!fast)
        return;
    struct sdt_bounds after = sdt__recorder_bounds(fast->recorder);
    fast->flying[fast->next++ % FLYING] =
        (struct flying){request,
                        step,
                        like,
                        given,
                        {after.path_us - before.path_us, after.work_us - before.work_us}};
}

/* What each of `count` steps did, between the two ends. */
static void measure(struct sdt_fast *fast, const struct flying *f, int count, double seconds,
                    const struct sdt_step_record *before, const struct sdt_step_record *now) {
    struct sdt_step_record *step = &fast->step[f->kind];
    struct sdt_step_record all = *now;
    sdt__step_record_add(&all, before, -1.0);
    *step = (struct sdt_step_record){0};
    sdt__step_record_add(step, &all, 1.0 / count);
    step->us = 1e6 * seconds / count;
    step->path_us = f->bounds.path_us;
    step->work_us = f->bounds.work_us;
    fast->known[f->kind] = true;
}

/* A step like the one before it has ended, both simulated in full. */
static void ended(struct sdt_fast *fast, const struct flying *f, double at,
                  const struct sdt_step_record *now) {
    const bool together = sdt__fast_like_is_stale(f->kind);
    if (!together) {
        measure(fast, f, 1, at - fast->last_at, &fast->last_totals, now);
        return;
    }
    if (fast->turns == 0) {
        fast->turns_at = fast->last_at;
        fast->turns_totals = fast->last_totals;
    }
    if (++fast->turns == TURNS)
        measure(fast, f, TURNS, at - fast->turns_at, &fast->turns_totals, now);
}

void sdt__fast_ended(struct sdt_fast *fast, int request, int step) {
    if (!fast)
        return;
    const struct flying *f = NULL;
    for (int i = 0; i < FLYING && !f; i++)
        if (fast->flying[i].request == request && fast->flying[i].step == step)
            f = &fast->flying[i];
    if (!f)
        return;
    const struct flying *last = &fast->last;
    struct sdt_step_record now;
    double at = sdt__now();
    sdt__recorder_steps(fast->recorder, &now);
    if (!f->given && !last->given && step >= FIRST && last->request == request &&
        last->step == step - 1 && last->kind == f->kind && !fast->known[f->kind])
        ended(fast, f, at, &now);
    else
        fast->turns = 0;
    fast->last = *f;
    fast->last_at = at;
    fast->last_totals = now;
}

void sdt__fast_give(struct sdt_fast *fast, int like, const struct sdt_step_record *step) {
    fast->step[like] = *step;
    fast->known[like] = fast->rehearsed = true;
}

/* ---- a step's tasks -------------------------------------------------------------------------- */

static void never(void *buffers[], void *cl_arg) {
    (void)buffers;
    (void)cl_arg;
}

static struct starpu_codelet given_codelet = {
    .name = "steps",
    SDT_ON_BOTH(never, never),
    .nbuffers = STARPU_VARIABLE_NBUFFERS,
    .model = &sdt__cost_models[SDT_CLASS_GIVEN],
};

/* Tiles of the same home. */
static int tiles_at(const struct sdt_layout *layout, int tiles, int home) {
    int count = 0;
    for (int t = 0; t < tiles; t++)
        count += layout->home[t] == home;
    return count;
}

void sdt__fast_insert(struct sdt_fast *fast, struct sdt_flow *flow, const struct sdt_layout *layout,
                      struct sdt_latent *latent, sdt_handle *const kept[2], int step, int like) {
    const struct sdt_step_record *each = &fast->step[like];
    int slot = sdt__recorder_slot(flow->tag.request, step);
    if (fast->told[slot] != like + 1) {
        sdt__recorder_give(fast->recorder, slot, each);
        fast->told[slot] = like + 1;
    }
    flow->tag.step = step;
    flow->tag.role = SDT_ROLE_DENOISE;
    flow->tag.branch = 0;
    for (int t = 0; t < latent->tiles; t++) {
        struct sdt_task task;
        int home = layout->home[t];
        flow->tag.tile = t;
        flow->place = &layout->place[home];
        sdt__task_begin(&task, flow);
        for (int part = 0; part < SDT_SOLVER_PARTS; part++) {
            if (part == SDT_SOLVER_X)
                sdt__task_read(&task, latent->state[step % 2][part][t]);
            sdt__task_write(&task, latent->state[(step + 1) % 2][part][t]);
        }
        for (int b = 0; b < 2; b++)
            if (kept[b])
                sdt__task_write(&task, kept[b][t]);
        sdt__task_done(&task, sdt_latent_tile_done, latent, step);
        sdt__task_submit(&task, &given_codelet, "steps",
                         each->us / tiles_at(layout, latent->tiles, home), 0.0, NULL, 0);
    }
    flow->tag.tile = flow->tag.step = -1;
}

/* ---- text and decodes ------------------------------------------------------------------------ */

void sdt__fast_remember(struct sdt_fast *fast, struct sdt_fast_phases *phases) {
    fast->phases = phases;
}

struct sdt_fast_phases *sdt__fast_phases(struct sdt_fast *fast) {
    return fast ? fast->phases : NULL;
}

/* A decode in slices: more urgent tasks come between. */
static void stand_in(struct sdt_flow *flow, const char *name, double seconds, sdt_handle from,
                     sdt_handle to) {
    const int slices = flow->tag.role == SDT_ROLE_VAE ? 48 : 1;
    for (int i = 0; i < slices; i++) {
        struct sdt_task task;
        sdt__task_begin(&task, flow);
        if (from && i == 0)
            sdt__task_read(&task, from);
        sdt__task_write(&task, to);
        sdt__task_submit(&task, &given_codelet, name, 1e6 * seconds / slices, 0.0, NULL, 0);
    }
}

void sdt__fast_stand_in(struct sdt_flow *flow, enum sdt_role role, const char *name,
                        const struct sdt_place *place, int places, double seconds, sdt_handle from,
                        sdt_handle to) {
    flow->tag.role = role;
    for (int i = 0; i < places; i++) {
        sdt_handle result = i == places - 1 ? to : sdt__vector(flow, 1, name);
        flow->place = &place[i];
        stand_in(flow, name, seconds, from, result);
        if (result != to)
            sdt__unregister_submit(result);
    }
}

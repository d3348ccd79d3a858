/* Which steps a request takes: its step table. */
#include "graph/run/steps.h"

#include <stdlib.h>

#include "graph/caches.h"
#include "graph/pipeline.h"
#include "graph/strategies/strategy.h"

void sdt_step_table_clear(struct sdt_step_table *table) {
    free(table->step);
    *table = (struct sdt_step_table){0};
}

/* Does the branch read what it has kept before step s? */
static bool reads_before(const struct sdt_step_table *table, int s, int branch) {
    while (s < table->steps && branch >= table->step[s].branches)
        s++;
    return s < table->steps && table->step[s].skip[branch];
}

struct sdt_step_keeping sdt_step_table_keeping(const struct sdt_step_table *table) {
    bool keeps[2] = {false, false}, difference = false;
    for (int s = 0; s < table->steps; s++) {
        keeps[0] |= table->step[s].keep[0];
        keeps[1] |= table->step[s].keep[1];
        difference |= table->step[s].freezes;
    }
    return (struct sdt_step_keeping){keeps[0] + keeps[1], difference};
}

bool sdt_step_table_whole(const struct sdt_step_table *table, int s) {
    if (table->blocks)
        return s == 0;
    return !table->step || (!reads_before(table, s, 0) && !reads_before(table, s, 1) &&
                            !(s < table->steps && table->step[s].stale));
}

/* Steps without guidance by two forwards have the prompt's branch alone. */
static enum sdt_status gate(const struct sdt_request *request, int forwards,
                            struct sdt_step_table *table, struct sdt_error *err) {
    const int from = request->guided_from, to = request->guided_to;
    if (from == 0 && to == 0)
        return request->frozen_guidance
                   ? sdt_fail(err, SDT_ERROR_USAGE,
                              "guidance by a kept difference: all steps have both forwards; it "
                              "goes with guidance in some steps alone")
                   : SDT_OK;
    if (forwards < 2)
        return sdt_fail(err, SDT_ERROR_USAGE,
                        "guidance in steps %d to %d alone (--cfg-gate): the request has one "
                        "forward a step, which no step can leave out; a guidance above 1 has two",
                        from, to - 1);
    if (from < 0 || to <= from || to > request->steps)
        return sdt_fail(err, SDT_ERROR_USAGE,
                        "guidance in steps %d to %d alone: the request has steps 0 to %d", from,
                        to - 1, request->steps - 1);
    for (int s = 0; s < table->steps; s++)
        if (s < from || s >= to)
            table->step[s] = sdt_whole_step(1);
    for (int s = to; request->frozen_guidance && s < table->steps; s++) {
        table->step[to - 1].freezes = true;
        table->step[s].frozen = true;
    }
    return SDT_OK;
}

/* What is kept is what the next step of the branch reads. */
static void keep(struct sdt_step_table *table) {
    for (int s = 0; s < table->steps; s++) {
        struct sdt_step *step = &table->step[s];
        step->layered = step->branches;
        for (int b = 0; b < step->branches; b++) {
            step->layered -= step->skip[b];
            step->keep[b] = !step->skip[b] && reads_before(table, s + 1, b);
        }
    }
}

/* Steps that read keys of the step before: neither the first ones, nor those that refresh, nor one
 * in which a branch begins, which has none. */
static enum sdt_status go_stale(const struct sdt_request *request, struct sdt_step_table *table,
                                struct sdt_error *err) {
    enum { LEAST_STEPS = 8 }; /* with less, a step changes too much */
    const int warmup = request->warmup_steps ? request->warmup_steps : 1;
    const int refresh = request->cache.refresh;
    bool stale = false;

    if (!request->strategy->stale && request->warmup_steps)
        return sdt_fail(err, SDT_ERROR_USAGE,
                        "warm-up steps: strategy %s reads no keys of steps before",
                        request->strategy->name);
    if (warmup < 0 || warmup > table->steps)
        return sdt_fail(err, SDT_ERROR_USAGE,
                        "%d warm-up steps (--warmup-steps) of %d; 1 to %d work", warmup,
                        table->steps, table->steps);
    if (refresh >= table->steps)
        return sdt_fail(err, SDT_ERROR_USAGE,
                        "a refresh every %d steps (--refresh-steps) of %d never comes; leave it "
                        "out, or take less than %d",
                        refresh, table->steps, table->steps);
    for (int s = warmup; request->strategy->stale && s < table->steps; s++) {
        bool begins = table->step[s].branches > table->step[s - 1].branches;
        stale |= table->step[s].stale = !begins && !(refresh > 0 && s % refresh == 0);
    }
    if (stale && table->steps < LEAST_STEPS)
        return sdt_fail(err, SDT_ERROR_USAGE,
                        "strategy %s with %d steps: from one to the next too much changes for "
                        "keys of the step before; %d steps or more work, and any number of which "
                        "all are warm-up steps",
                        request->strategy->name, table->steps, LEAST_STEPS);
    return SDT_OK;
}

enum sdt_status sdt__step_table(const struct sdt_pipeline *pipeline,
                                const struct sdt_request *request, struct sdt_step_table *table,
                                struct sdt_error *err) {
    const int forwards = sdt_pipeline_forwards(pipeline, request);
    *table = (struct sdt_step_table){.steps = request->steps, .blocks = request->strategy->blocks};
    if (request->steps == 0)
        return SDT_OK;
    table->step = calloc((size_t)request->steps, sizeof *table->step);
    if (!table->step)
        return sdt_fail(err, SDT_ERROR_MEMORY, "out of memory for %d steps", request->steps);
    for (int s = 0; s < table->steps; s++)
        table->step[s] = sdt_whole_step(forwards);
    enum sdt_status status = gate(request, forwards, table, err);
    if (status == SDT_OK)
        status = sdt__cache_steps(pipeline, request, table, err);
    if (status == SDT_OK)
        status = go_stale(request, table, err);
    if (status == SDT_OK)
        keep(table);
    else
        sdt_step_table_clear(table);
    return status;
}

/* Step caches whose schedule is known before a step runs. */
#include "graph/caches.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "graph/checkpoint/config.h"
#include "graph/sampler/sampler.h"

/* Below so many steps too much changes from one to the next. */
#define FEWEST_STEPS 8
#define MOST_RATIOS 2000

const char *sdt_step_cache_name(enum sdt_step_cache kind) {
    static const char *const name[] = {[SDT_CACHE_NONE] = "none",
                                       [SDT_CACHE_MAGNITUDE] = "magcache",
                                       [SDT_CACHE_EMBEDDING] = "teacache",
                                       [SDT_CACHE_LIST] = "list"};
    return name[kind];
}

/* ---- calibrations ---------------------------------------------------------------------------- */

/* The checkpoint's own: magcache_ratios of its stardit.json, for each step those of its branches.
 * *own->ratios is malloc'ed; NULL: it has none. */
static enum sdt_status own_calibration(const struct sdt_pipeline *pipeline,
                                       struct sdt_calibration *own, struct sdt_error *err) {
    int count = 0, branches = pipeline->dit->passes > 1 ? 2 : 1;
    int64_t most = 2;
    if (!pipeline->defaults || !sdt_config_has(pipeline->defaults, "magcache_ratios"))
        return SDT_OK;
    double *ratios = malloc(MOST_RATIOS * sizeof *ratios);
    if (!ratios)
        return sdt_fail(err, SDT_ERROR_MEMORY, "out of memory for ratios");
    *own = (struct sdt_calibration){
        .name = "the checkpoint's", .branches = branches, .ratios = ratios, .threshold = 0.12};
    enum sdt_status status = sdt_config_numbers(pipeline->defaults, "magcache_ratios", false,
                                                MOST_RATIOS, ratios, &count, err);
    if (status == SDT_OK)
        status = sdt_config_number(pipeline->defaults, "magcache_threshold", false, &own->threshold,
                                   err);
    if (status == SDT_OK)
        status = sdt_config_int(pipeline->defaults, "magcache_most", false, 1, 1000, &most, err);
    own->most = (int)most;
    own->steps = count / branches;
    bool good = count > 0 && count % branches == 0 && own->threshold > 0.0;
    for (int i = 0; i < count && good; i++)
        good = ratios[i] > 0.0 && ratios[i] < 1e6;
    if (status == SDT_OK && !good)
        status = sdt_fail(err, SDT_ERROR_FORMAT,
                          "%s: magcache_ratios must be numbers above 0, %d for each step, and "
                          "magcache_threshold above 0",
                          sdt_config_path(pipeline->defaults), branches);
    return status;
}

static const struct sdt_calibration *find_calibration(const struct sdt_pipeline *pipeline) {
    const struct sdt_calibration *c = pipeline->family->calibrations;
    while (c && c->name &&
           ((c->layers != pipeline->dit->layers && !pipeline->imagined) ||
            c->width != pipeline->dit->width))
        c++; /* an imagined one may be shortened */
    return c && c->name ? c : NULL;
}

/* ---- schedules ------------------------------------------------------------------------------- */

static bool is_refresh(const struct sdt_step_caching *cache, int s) {
    return cache->refresh > 0 && s % cache->refresh == 0;
}

/* Of step s of so many: the nearest that was measured. */
static double ratio_of(const struct sdt_calibration *c, int steps, int s, int branch) {
    double place = steps > 1 ? (double)s * (c->steps - 1) / (steps - 1) : 0.0;
    int b = branch < c->branches ? branch : 0;
    return c->ratios[(int)nearbyint(place) * c->branches + b];
}

/* The ratios of all steps since one was computed multiply to what the kept sum is too large by. A
 * branch skips while these errors add up to less than the threshold. The first fifth of the calls
 * is computed. */
static void by_magnitude(const struct sdt_calibration *c, const struct sdt_step_caching *cache,
                         int forwards, int branch, struct sdt_step_table *table) {
    const double threshold = cache->threshold > 0.0 ? cache->threshold : c->threshold;
    const int most = cache->most > 0 ? cache->most : c->most;
    const int first = (int)(forwards * table->steps * 0.2);
    double product = 1.0, error = 0.0;
    int skipped = 0;
    bool kept = false;
    for (int s = 0; s < table->steps; s++) {
        struct sdt_step *step = &table->step[s];
        if (branch >= step->branches) {
            kept = false; /* what it has is of no step before this one */
            continue;
        }
        bool skip = false;
        if (forwards * s + branch >= first) {
            product *= ratio_of(c, table->steps, s, branch);
            error += fabs(1.0 - product);
            skip = error < threshold || (c->up_to && error == threshold);
            skip = skip && ++skipped <= most && kept && !is_refresh(cache, s);
        }
        step->skip[branch] = skip;
        if (!skip) {
            product = 1.0;
            error = 0.0;
            skipped = 0;
        }
        kept = true;
    }
}

static enum sdt_status magnitude(const struct sdt_pipeline *pipeline,
                                 const struct sdt_request *request, struct sdt_step_table *table,
                                 struct sdt_error *err) {
    const struct sdt_step_caching *cache = &request->cache;
    const int forwards = sdt_pipeline_forwards(pipeline, request);
    struct sdt_calibration own = {0};
    enum sdt_status status = own_calibration(pipeline, &own, err);
    const struct sdt_calibration *c = own.ratios ? &own : find_calibration(pipeline);
    if (status == SDT_OK && !c)
        status = sdt_fail(err, SDT_ERROR_USAGE,
                          "magcache: no ratios are known for %s of %d layers, %d wide; "
                          "magcache_ratios in the checkpoint's stardit.json, or a list of steps, "
                          "would work",
                          pipeline->family->name, pipeline->dit->layers, pipeline->dit->width);
    for (int b = 0; b < forwards && status == SDT_OK; b++)
        by_magnitude(c, cache, forwards, b, table);
    if (status == SDT_OK) {
        char nearest[80] = "";
        if (c->steps != table->steps)
            snprintf(nearest, sizeof nearest,
                     "; they are of %d steps, of which the nearest are taken", c->steps);
        snprintf(table->text, sizeof table->text,
                 "magcache by ratios of %.60s, threshold %g, at most %d in a row%s", c->name,
                 cache->threshold > 0.0 ? cache->threshold : c->threshold,
                 cache->most > 0 ? cache->most : c->most, nearest);
    }
    free((double *)own.ratios);
    return status;
}

/* ---- by changes of the conditioning ---------------------------------------------------------- */

struct sdt_changes {
    pthread_mutex_t mutex;
    bool modulation;
    int count;
    float *t;       /* [count] */
    double *change; /* [count] */
};

struct sdt_changes *sdt__changes_new(void) {
    struct sdt_changes *changes = calloc(1, sizeof *changes);
    if (changes)
        pthread_mutex_init(&changes->mutex, NULL);
    return changes;
}

void sdt__changes_free(struct sdt_changes *changes) {
    if (!changes)
        return;
    pthread_mutex_destroy(&changes->mutex);
    free(changes->t);
    free(changes->change);
    free(changes);
}

/* Of these timesteps: those that were found last, or found now and remembered. */
static enum sdt_status changes_of(const struct sdt_pipeline *pipeline, bool modulation,
                                  const struct sdt_sampler *sampler, double *change /* [steps] */,
                                  struct sdt_error *err) {
    struct sdt_changes *last = pipeline->changes;
    const size_t count = (size_t)sampler->steps;
    enum sdt_status status = SDT_OK;
    pthread_mutex_lock(&last->mutex);
    if (last->count != sampler->steps || last->modulation != modulation ||
        memcmp(last->t, sampler->timesteps, count * sizeof *last->t) != 0) {
        last->count = 0;
        free(last->t);
        free(last->change);
        last->t = malloc(count * sizeof *last->t);
        last->change = malloc(count * sizeof *last->change);
        if (!last->t || !last->change)
            status = sdt_fail(err, SDT_ERROR_MEMORY, "out of memory for a step cache");
        else
            status = pipeline->dit->kind->changes(pipeline->dit, modulation, sampler->steps,
                                                  sampler->timesteps, last->change, err);
        if (status == SDT_OK) {
            memcpy(last->t, sampler->timesteps, count * sizeof *last->t);
            last->count = sampler->steps;
            last->modulation = modulation;
        }
    }
    if (status == SDT_OK)
        memcpy(change, last->change, count * sizeof *change);
    pthread_mutex_unlock(&last->mutex);
    return status;
}

static double value_of(const double *polynomial /* [5], the highest power first */, double x) {
    double y = 0.0;
    for (int i = 0; i < 5; i++)
        y = y * x + polynomial[i];
    return y;
}

/* By the modulation the first 5 steps run all layers, by the embedding the first and the last. */
static void by_changes(const double *polynomial, const double *change /* [steps] */,
                       const struct sdt_step_caching *cache, int branch,
                       struct sdt_step_table *table) {
    double sum = 0.0;
    bool kept = false;
    for (int s = 0; s < table->steps; s++) {
        struct sdt_step *step = &table->step[s];
        const bool forced = cache->modulation ? s < 5 : s == 0 || s == table->steps - 1;
        if (branch >= step->branches) {
            kept = false;
            continue;
        }
        sum += value_of(polynomial, change[s]);
        step->skip[branch] = !forced && kept && !is_refresh(cache, s) && sum < cache->threshold;
        if (!step->skip[branch])
            sum = 0.0;
        kept = true;
    }
}

/* The checkpoint's own polynomial, of its stardit.json, or a published one; 0: none is known. */
static enum sdt_status find_polynomial(const struct sdt_pipeline *pipeline, bool modulation,
                                       double polynomial[5], const char **name,
                                       struct sdt_error *err) {
    const char *key = modulation ? "teacache_modulation_polynomial" : "teacache_polynomial";
    const struct sdt_calibration *c = find_calibration(pipeline);
    int count = 0;
    *name = NULL;
    if (pipeline->defaults && sdt_config_has(pipeline->defaults, key)) {
        enum sdt_status status =
            sdt_config_numbers(pipeline->defaults, key, false, 5, polynomial, &count, err);
        if (status == SDT_OK && count != 5)
            status = sdt_fail(err, SDT_ERROR_FORMAT, "%s: %s must be 5 numbers",
                              sdt_config_path(pipeline->defaults), key);
        *name = "the checkpoint's";
        return status;
    }
    if (c && c->polynomial[modulation]) {
        memcpy(polynomial, c->polynomial[modulation], 5 * sizeof *polynomial);
        *name = c->name;
    }
    return SDT_OK;
}

static enum sdt_status embedding(const struct sdt_pipeline *pipeline,
                                 const struct sdt_request *request, struct sdt_step_table *table,
                                 struct sdt_error *err) {
    const struct sdt_step_caching *cache = &request->cache;
    const int forwards = sdt_pipeline_forwards(pipeline, request);
    double polynomial[5], *change = NULL;
    struct sdt_sampler sampler;
    const char *name;
    enum sdt_status status = find_polynomial(pipeline, cache->modulation, polynomial, &name, err);
    if (status != SDT_OK)
        return status;
    if (!name || !pipeline->dit->kind->changes)
        return sdt_fail(
            err, SDT_ERROR_USAGE,
            "teacache: no polynomial is known for %s of %d layers, %d wide; magcache or "
            "a list of steps may work",
            pipeline->family->name, pipeline->dit->layers, pipeline->dit->width);
    if (pipeline->imagined)
        return sdt_fail(err, SDT_ERROR_USAGE,
                        "teacache reads the checkpoint's time embedding, and of %s only sizes are "
                        "there; magcache, or the list of steps that a plan of the checkpoint "
                        "prints, would work",
                        pipeline->folder);
    if (!(cache->threshold > 0.0))
        return sdt_fail(err, SDT_ERROR_USAGE, "teacache needs a threshold above 0, as 0.1");
    status = sdt__sampler_of(request, &sampler, err);
    if (status != SDT_OK)
        return status;
    change = malloc((size_t)sampler.steps * sizeof *change);
    status = change ? changes_of(pipeline, cache->modulation, &sampler, change, err)
                    : sdt_fail(err, SDT_ERROR_MEMORY, "out of memory for a step cache");
    for (int b = 0; b < forwards && status == SDT_OK; b++)
        by_changes(polynomial, change, cache, b, table);
    if (status == SDT_OK)
        snprintf(table->text, sizeof table->text,
                 "teacache by %s polynomial of %.60s, threshold %g",
                 cache->modulation ? "the modulation's" : "the time embedding's", name,
                 cache->threshold);
    free(change);
    sdt_sampler_clear(&sampler);
    return status;
}

static enum sdt_status listed(const struct sdt_request *request, struct sdt_step_table *table,
                              struct sdt_error *err) {
    bool kept[2] = {false, false};
    for (int s = 0; s < table->steps; s++) {
        struct sdt_step *step = &table->step[s];
        const bool skip = request->cache.skipped[s] && !is_refresh(&request->cache, s);
        for (int b = 0; b < step->branches; b++) {
            if (skip && !kept[b])
                return sdt_fail(err, SDT_ERROR_USAGE,
                                "step %d cannot skip the layers (--step-cache): %s%s", s,
                                s == 0 ? "it is the first" : "no step before it had a forward of ",
                                s == 0 ? ""
                                : b    ? "the negative prompt"
                                       : "the prompt");
            step->skip[b] = skip;
            kept[b] = true;
        }
        for (int b = step->branches; b < 2; b++)
            kept[b] = false;
    }
    snprintf(table->text, sizeof table->text, "steps that are listed");
    return SDT_OK;
}

enum sdt_status sdt__cache_steps(const struct sdt_pipeline *pipeline,
                                 const struct sdt_request *request, struct sdt_step_table *table,
                                 struct sdt_error *err) {
    const struct sdt_step_caching *cache = &request->cache;
    if (cache->kind == SDT_CACHE_NONE)
        return SDT_OK;
    if (request->steps < FEWEST_STEPS)
        return sdt_fail(
            err, SDT_ERROR_USAGE,
            "a step cache beside %d step%s: too much changes from one to the next; from "
            "%d on it works",
            request->steps, request->steps == 1 ? "" : "s", FEWEST_STEPS);
    if (cache->threshold < 0.0 || cache->most < 0 || cache->refresh < 0)
        return sdt_fail(err, SDT_ERROR_USAGE,
                        "a step cache with a threshold of %g, at most %d steps in a row and a "
                        "refresh every %d: none may be negative",
                        cache->threshold, cache->most, cache->refresh);
    return cache->kind == SDT_CACHE_LIST        ? listed(request, table, err)
           : cache->kind == SDT_CACHE_EMBEDDING ? embedding(pipeline, request, table, err)
                                                : magnitude(pipeline, request, table, err);
}

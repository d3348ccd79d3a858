/* Reading which steps a request takes. */
#include "apps/steps.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Numbers with commas between them; the first above 1 says that all are of 1000. */
static enum sdt_status read_sigmas(struct app_steps *steps, int *count, struct sdt_error *err) {
    const char *at = steps->sigmas;
    char *end;

    *count = 0;
    do {
        double value = strtod(at, &end);
        if (end == at || (*end && *end != ','))
            return sdt_fail(err, SDT_ERROR_USAGE,
                            "--sigmas %.80s: must be numbers with commas between them",
                            steps->sigmas);
        if (*count == APP_MOST_STEPS)
            return sdt_fail(err, SDT_ERROR_USAGE, "--sigmas: more than %d numbers", APP_MOST_STEPS);
        steps->level[(*count)++] = value;
        at = end + 1;
    } while (*end);
    for (int i = *count - 1; i >= 0 && steps->level[0] > 1.0; i--) {
        if (steps->level[i] > 0.0 && steps->level[i] < 1.0)
            return sdt_fail(err, SDT_ERROR_USAGE,
                            "--sigmas %.80s: the first number says that all are of 1000, and "
                            "number %d, %g, is below 1",
                            steps->sigmas, i + 1, steps->level[i]);
        steps->level[i] /= 1000.0;
    }
    return SDT_OK;
}

/* "3-17", "3-17,delta" */
static enum sdt_status read_gate(const char *text, struct sdt_request *request,
                                 struct sdt_error *err) {
    int from, to, end = 0;
    bool read = sscanf(text, "%d-%d%n", &from, &to, &end) == 2 && end;
    request->frozen_guidance = read && !strcmp(text + end, ",delta");
    if (!read || (text[end] && !request->frozen_guidance) || from < 0 || to < from)
        return sdt_fail(err, SDT_ERROR_USAGE,
                        "--cfg-gate %.40s: must be the first and the last step with guidance, as "
                        "0-24 or 0-24,delta",
                        text);
    if (to >= request->steps)
        return sdt_fail(err, SDT_ERROR_USAGE, "--cfg-gate %s: there are steps 0 to %d", text,
                        request->steps - 1);
    request->guided_from = from;
    request->guided_to = to + 1;
    return SDT_OK;
}

/* "magcache", "magcache:0.12", "magcache:0.12,4" */
static enum sdt_status read_magcache(const char *text, struct sdt_step_caching *cache,
                                     struct sdt_error *err) {
    char *end = (char *)text + strlen("magcache");
    long most = 0;
    cache->kind = SDT_CACHE_MAGNITUDE;
    if (!*end)
        return SDT_OK;
    cache->threshold = strtod(end + 1, &end);
    if (*end == ',') {
        most = strtol(end + 1, &end, 10);
        cache->most = most > 0 && most <= APP_MOST_STEPS ? (int)most : -1;
    }
    if (*end || !(cache->threshold > 0.0) || cache->most < 0)
        return sdt_fail(err, SDT_ERROR_USAGE,
                        "--step-cache %.40s: must be an error above 0, and how many steps may skip "
                        "in a row, as magcache:0.12,4",
                        text);
    return SDT_OK;
}

/* "teacache:0.1", "teacache:0.1,ret" */
static enum sdt_status read_teacache(const char *text, struct sdt_step_caching *cache,
                                     struct sdt_error *err) {
    char *end = (char *)text + strlen("teacache");
    cache->kind = SDT_CACHE_EMBEDDING;
    if (*end)
        cache->threshold = strtod(end + 1, &end);
    cache->modulation = !strcmp(end, ",ret");
    if ((*end && !cache->modulation) || !(cache->threshold > 0.0))
        return sdt_fail(err, SDT_ERROR_USAGE,
                        "--step-cache %.40s: must be an error above 0, as teacache:0.1 or "
                        "teacache:0.1,ret",
                        text);
    return SDT_OK;
}

/* "magcache:0.12" begins with "magcache". */
static bool is_kind(const char *text, const char *kind) {
    size_t length = strlen(kind);
    return !strncmp(text, kind, length) && (!text[length] || text[length] == ':');
}

/* "10,12-14" */
static enum sdt_status read_skipped(struct app_steps *steps, struct sdt_request *request,
                                    struct sdt_error *err) {
    const char *at = steps->cache;
    request->cache.kind = SDT_CACHE_LIST;
    request->cache.skipped = steps->skipped;
    for (;;) {
        char *end;
        long first = strtol(at, &end, 10), last = first;
        bool good = end > at && *at != '-';
        if (good && *end == '-') {
            at = end + 1;
            last = strtol(at, &end, 10);
            good = end > at;
        }
        if (!good || first > last || (*end && *end != ','))
            return sdt_fail(err, SDT_ERROR_USAGE,
                            "--step-cache %.40s: must be magcache, teacache, or steps with commas "
                            "between them, as 10,12-14",
                            steps->cache);
        if (last >= request->steps)
            return sdt_fail(err, SDT_ERROR_USAGE, "--step-cache %.40s: there are steps 0 to %d",
                            steps->cache, request->steps - 1);
        for (long s = first; s <= last; s++)
            steps->skipped[s] = true;
        if (!*end)
            return SDT_OK;
        at = end + 1;
    }
}

void app_steps_cache_text(const struct sdt_request *request, char *text, size_t size) {
    const struct sdt_step_caching *cache = &request->cache;
    size_t length = 0;
    if (cache->kind == SDT_CACHE_MAGNITUDE) {
        length = (size_t)snprintf(text, size, "magcache");
        if (cache->threshold > 0.0)
            length += (size_t)snprintf(text + length, size - length, ":%.17g", cache->threshold);
        if (cache->most > 0)
            snprintf(text + length, size - length, ",%d", cache->most);
        return;
    }
    if (cache->kind == SDT_CACHE_EMBEDDING) {
        snprintf(text, size, "teacache:%.17g%s", cache->threshold, cache->modulation ? ",ret" : "");
        return;
    }
    text[0] = '\0';
    for (int s = 0; s < request->steps && length < size; s++)
        if (cache->skipped[s])
            length += (size_t)snprintf(text + length, size - length, "%s%d", length ? "," : "", s);
}

static enum sdt_status read_overlap(const char *text, struct sdt_request *request,
                                    struct sdt_error *err) {
    char *end;
    long frames = strtol(text, &end, 10);
    if (end == text || *end || frames < 0 || frames > 1 << 20)
        return sdt_fail(err, SDT_ERROR_USAGE, "--overlap-frames %s: a number from 0 on works",
                        text);
    request->overlap_frames = (int)frames;
    return SDT_OK;
}

enum sdt_status app_steps_take(struct app_steps *steps, bool steps_given,
                               struct sdt_request *request, struct sdt_error *err) {
    enum sdt_status status = SDT_OK;
    int count = 0;
    if (steps->sigmas) {
        status = read_sigmas(steps, &count, err);
        if (status == SDT_OK && steps_given && request->steps != count)
            status = sdt_fail(err, SDT_ERROR_USAGE,
                              "--sigmas has %d number%s, and --num-inference-steps is %d; the list "
                              "alone says how many steps there are",
                              count, count == 1 ? "" : "s", request->steps);
        request->sigmas = steps->level;
        request->steps = count;
    }
    if (status == SDT_OK && steps->gate)
        status = read_gate(steps->gate, request, err);
    request->cache.refresh = steps->refresh;
    request->warmup_steps = steps->warmup;
    request->force_guidance = steps->force_guidance;
    request->block_frames = steps->block;
    if (status == SDT_OK && steps->overlap)
        status = read_overlap(steps->overlap, request, err);
    if (status == SDT_OK && steps->cache)
        status =
            is_kind(steps->cache, "magcache")   ? read_magcache(steps->cache, &request->cache, err)
            : is_kind(steps->cache, "teacache") ? read_teacache(steps->cache, &request->cache, err)
                                                : read_skipped(steps, request, err);
    return status;
}

/* ---- of a plan ------------------------------------------------------------------------------- */

double app_steps_seconds(const struct sdt_plan *plan, int count) {
    double seconds = 0.0;
    for (int s = 0; s < count && s < plan->steps; s++)
        seconds += plan->step[s].seconds;
    return seconds;
}

static bool alike(const struct sdt_plan_step *a, const struct sdt_plan_step *b) {
    return a->branches == b->branches && a->forwards == b->forwards && a->stale == b->stale &&
           a->frozen == b->frozen;
}

/* "0-9,14,19" */
static void print_like(const struct sdt_plan *plan, int first) {
    const char *before = "";
    for (int s = first; s < plan->steps; s++) {
        int last = s;
        if (!alike(&plan->step[s], &plan->step[first]))
            continue;
        while (last + 1 < plan->steps && alike(&plan->step[last + 1], &plan->step[first]))
            last++;
        printf(last > s ? "%s%d-%d" : "%s%d", before, s, last);
        before = ",";
        s = last;
    }
}

bool app_steps_alike(const struct sdt_plan *plan) {
    bool same = true;
    for (int s = 1; s < plan->steps; s++)
        same = same && alike(&plan->step[s], &plan->step[0]);
    return same;
}

void app_steps_print(const struct sdt_plan *plan) {
    if (app_steps_alike(plan))
        return;
    for (int s = 0; s < plan->steps; s++) {
        const struct sdt_plan_step *step = &plan->step[s];
        int before = 0, count = 0;
        double seconds = 0.0; /* those that keep something take a little longer */
        while (before < s && !alike(&plan->step[before], step))
            before++;
        if (before < s)
            continue;
        for (int i = s; i < plan->steps; i++)
            if (alike(&plan->step[i], step)) {
                count++;
                seconds += plan->step[i].seconds;
            }
        int skips = step->branches - step->forwards;
        char skipped[40] = "";
        if (skips)
            snprintf(skipped, sizeof skipped, " and %d that skip%s the layers", skips,
                     skips == 1 ? "s" : "");
        printf("  %-13s  %d with %d forward%s%s%s%s, %.4g s each: ", s ? "" : "step table", count,
               step->forwards, step->forwards == 1 ? "" : "s",
               step->frozen ? " and the kept difference" : "",
               step->stale ? " on keys of the step before" : "", skipped, seconds / count);
        print_like(plan, s);
        printf("\n");
    }
    if (plan->cache[0])
        printf("  step cache     %s\n", plan->cache);
}

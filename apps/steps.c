/* Reading which steps a request takes. */
#include "apps/steps.h"

#include <stdio.h>
#include <stdlib.h>

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
    for (int i = *count - 1; i >= 0 && steps->level[0] > 1.0; i--)
        steps->level[i] /= 1000.0;
    return SDT_OK;
}

/* "3-17" */
static enum sdt_status read_gate(const char *text, struct sdt_request *request,
                                 struct sdt_error *err) {
    int from, to, end = 0;
    if (sscanf(text, "%d-%d%n", &from, &to, &end) != 2 || !end || text[end] || from < 0 ||
        to < from)
        return sdt_fail(err, SDT_ERROR_USAGE,
                        "--cfg-gate %.40s: must be the first and the last step with guidance, as "
                        "0-24",
                        text);
    if (to >= request->steps)
        return sdt_fail(err, SDT_ERROR_USAGE, "--cfg-gate %s: there are steps 0 to %d", text,
                        request->steps - 1);
    request->guided_from = from;
    request->guided_to = to + 1;
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
    return a->branches == b->branches && a->forwards == b->forwards;
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
        while (before < s && !alike(&plan->step[before], step))
            before++;
        if (before < s)
            continue;
        for (int i = s; i < plan->steps; i++)
            count += alike(&plan->step[i], step);
        printf("  %-13s  %d with %d forward%s, %.4g s each: ", s ? "" : "step table", count,
               step->forwards, step->forwards == 1 ? "" : "s", step->seconds);
        print_like(plan, s);
        printf("\n");
    }
}

/* What is left of a run, from the rates of its phases. */
#include "apps/estimate.h"

#include <math.h>

const char *app_phase_name(enum app_phase phase) {
    static const char *const name[APP_PHASES] = {"text", "denoise", "decode"};
    return name[phase];
}

void app_estimate_begin(struct app_estimate *e, const struct sdt_plan *plan, int steps, int step,
                        int requests, double time) {
    *e = (struct app_estimate){.requests = requests, .start = time};
    e->planned[APP_PHASE_TEXT] = steps ? plan->text_seconds : 0.0;
    e->planned[APP_PHASE_DENOISE] = steps ? plan->denoise_seconds - plan->text_seconds : 0.0;
    e->planned[APP_PHASE_DECODE] = plan->decode_seconds;
    e->before[APP_PHASE_DENOISE] = steps ? (double)step / steps : 0.0;
    for (int p = 0; p < APP_PHASES; p++)
        e->done[p] = e->before[p];
}

void app_estimate_reached(struct app_estimate *e, enum app_phase p, int request, int done,
                          int total, double time) {
    /* Requests pass a phase one after the other, or nearly so: what counts is how far the last one
     * is. */
    double reached = request + (double)done / total;
    if (reached > e->done[p])
        e->done[p] = reached;
    e->ended[p] = time;
    if (e->heard[p])
        return;
    e->heard[p] = true;
    /* What is told first may be the end of a first part, which began when the phase before
     * ended. */
    if (done > 0 && e->requests == 1) {
        e->begun[p] = p > 0 && e->heard[p - 1] ? e->ended[p - 1] : e->start;
        e->first[p] = e->before[p];
    } else {
        e->begun[p] = time;
        e->first[p] = e->done[p];
    }
}

/* Seconds that a phase takes of a request. */
static double rate_of(const struct app_estimate *e, int p) {
    double done = e->done[p] - e->first[p], seconds = e->ended[p] - e->begun[p];
    return e->heard[p] && done > 0.0 && seconds > 0.0 ? seconds / done : e->planned[p];
}

double app_estimate_left(const struct app_estimate *e, double *fraction) {
    double left = 0.0, all = 0.0;
    for (int p = 0; p < APP_PHASES; p++) {
        double seconds = rate_of(e, p);
        all += seconds * e->requests;
        left += seconds * fmax(e->requests - e->done[p], 0.0);
    }
    *fraction = all > 0.0 ? fmin(fmax(1.0 - left / all, 0.0), 1.0) : 0.0;
    return left;
}

/* How long a run will go on: the arithmetic of the progress line, without a clock of its own. */
#ifndef STARDIT_APPS_ESTIMATE_H
#define STARDIT_APPS_ESTIMATE_H

#include "stardit/stardit.h"

enum app_phase { APP_PHASE_TEXT, APP_PHASE_DENOISE, APP_PHASE_DECODE, APP_PHASES };

/* "text", "denoise", "decode": as an sdt_progress calls them. */
const char *app_phase_name(enum app_phase phase);

/* Phases are counted in requests: 2.5 is half of the third one. Times are seconds of any clock. */
struct app_estimate {
    int requests;
    double start;
    double planned[APP_PHASES];                  /* seconds of a request, from the plan */
    double before[APP_PHASES];                   /* what an earlier run has done */
    double done[APP_PHASES], first[APP_PHASES];  /* now, and at the first news of each phase */
    double begun[APP_PHASES], ended[APP_PHASES]; /* times of the first and last news */
    bool heard[APP_PHASES];
};

/* step: of the only request, steps that an earlier run has done. */
void app_estimate_begin(struct app_estimate *estimate, const struct sdt_plan *plan, int steps,
                        int step, int requests, double time);
/* News: `done` of `total` parts of the phase of this request, counted from 0. */
void app_estimate_reached(struct app_estimate *estimate, enum app_phase phase, int request,
                          int done, int total, double time);
/* Seconds until all is done: at each phase's own rate, which is measured as soon as some of it is
 * done, and the plan's before. *fraction: how much of all the work is done, 0 to 1. */
double app_estimate_left(const struct app_estimate *estimate, double *fraction);
#endif

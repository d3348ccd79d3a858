/* The arithmetic of what is left of a run, on a clock made up here: each phase by its own measured
 * rate, whatever the plan and the FLOPs say. */
#include "apps/estimate.h"

#include <math.h>

#include "tests/check.h"

static struct app_estimate e;

/* A plan of so many seconds. */
static void begin(double text, double step, double decode, int steps, int step_before,
                  int requests) {
    const struct sdt_plan plan = {
        .text_seconds = text, .denoise_seconds = text + steps * step, .decode_seconds = decode};
    app_estimate_begin(&e, &plan, steps, step_before, requests, 100.0);
}

static void left(const char *what, double wanted, double share) {
    double fraction = -1.0, seconds = app_estimate_left(&e, &fraction);
    CHECK(fabs(seconds - wanted) <= 1e-9 * fmax(wanted, 1.0), "%s: %.9g s are left, not %.9g", what,
          seconds, wanted);
    CHECK(share < 0.0 || fabs(fraction - share) <= 1e-9, "%s: %.9g is done, not %.9g", what,
          fraction, share);
    CHECK(fraction >= 0.0 && fraction <= 1.0, "%s: %g is done", what, fraction);
}

int main(void) {
    /* Before anything is measured: the plan's. */
    begin(2.0, 1.0, 8.0, 20, 0, 1);
    left("nothing done", 2.0 + 20.0 + 8.0, 0.0);

    /* The text took 3 s, a step 0.5 s and not 1: 15 steps of these are left, and the decode. */
    app_estimate_reached(&e, APP_PHASE_TEXT, 0, 0, 1, 100.0);
    app_estimate_reached(&e, APP_PHASE_TEXT, 0, 1, 1, 103.0);
    left("text done", 20.0 + 8.0, 3.0 / 31.0);
    app_estimate_reached(&e, APP_PHASE_DENOISE, 0, 5, 20, 105.5);
    left("5 of 20 steps", 15 * 0.5 + 8.0, (3.0 + 2.5) / (3.0 + 10.0 + 8.0));
    app_estimate_reached(&e, APP_PHASE_DENOISE, 0, 20, 20, 113.0);
    left("denoised", 8.0, -1.0);

    /* A quarter of the decode took 0.1 s: by FLOPs, or by the plan, 6 s would be left. */
    app_estimate_reached(&e, APP_PHASE_DECODE, 0, 1, 4, 113.1);
    left("1 of 4 frames", 0.3, -1.0);
    app_estimate_reached(&e, APP_PHASE_DECODE, 0, 4, 4, 113.4);
    left("all done", 0.0, 1.0);

    /* Steps that become slower: the mean of them. News of the past change nothing. */
    begin(0.0, 1.0, 1.0, 10, 0, 1);
    app_estimate_reached(&e, APP_PHASE_DENOISE, 0, 1, 10, 101.0);
    app_estimate_reached(&e, APP_PHASE_DENOISE, 0, 2, 10, 105.0);
    left("1 s, then 4 s", 8 * 2.5 + 1.0, -1.0);
    app_estimate_reached(&e, APP_PHASE_DENOISE, 0, 1, 10, 105.0);
    left("old news", 8 * 2.5 + 1.0, -1.0);

    /* Going on after step 20 of 30: these steps are not paid again, nor taken for quick ones. */
    begin(2.0, 1.0, 4.0, 30, 20, 1);
    left("to be resumed", 2.0 + 10.0 + 4.0, -1.0);
    app_estimate_reached(&e, APP_PHASE_TEXT, 0, 1, 1, 101.0);
    app_estimate_reached(&e, APP_PHASE_DENOISE, 0, 21, 30, 104.0);
    left("a step of 3 s", 9 * 3.0 + 4.0, -1.0);

    /* Resumed after the last step: only the decode. */
    begin(0.0, 1.0, 4.0, 30, 30, 1);
    left("to be decoded", 4.0, -1.0);

    /* Only a latent is decoded. */
    begin(9.0, 9.0, 4.0, 0, 0, 1);
    left("no steps", 4.0, 0.0);
    app_estimate_reached(&e, APP_PHASE_DECODE, 0, 1, 2, 101.0);
    left("half", 1.0, 0.5);

    /* Three requests; the second is denoised while the first is decoded. A phase's first news
     * begins its measurement, since what came before is not known to be part of it. */
    begin(0.0, 1.0, 5.0, 10, 0, 3);
    app_estimate_reached(&e, APP_PHASE_DENOISE, 0, 5, 10, 110.0);
    left("no rate yet", 25.0 + 15.0, -1.0);
    app_estimate_reached(&e, APP_PHASE_DENOISE, 0, 10, 10, 120.0);
    left("first denoised", 2 * 20.0 + 15.0, -1.0);
    app_estimate_reached(&e, APP_PHASE_DECODE, 0, 1, 5, 121.0);
    app_estimate_reached(&e, APP_PHASE_DENOISE, 1, 5, 10, 130.0);
    app_estimate_reached(&e, APP_PHASE_DECODE, 0, 5, 5, 129.0);
    left("side by side", 1.5 * 20.0 + 2 * 10.0, -1.0);

    /* A plan that says nothing. */
    begin(0.0, 0.0, 0.0, 10, 0, 1);
    left("no plan", 0.0, 0.0);
    printf("%d failed\n", failures);
    return failures != 0;
}

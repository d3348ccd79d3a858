/* The progress line: how much of the plan's work is done, and how long the rest will take. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "apps/progress.h"
#include "base/clock.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PHASES 3
#define BAR_WIDTH 30
/* At most so often, in seconds: drawing the bar, and printing a plain line (the last of a phase
 * always). */
#define BAR_INTERVAL 0.1
#define LINE_INTERVAL 1.0

static const char *const phase_name[PHASES] = {"text", "denoise", "decode"};

struct app_progress {
    pthread_mutex_t mutex;
    enum app_progress_mode mode;
    bool colour, drawn;
    double start, last;
    double work[PHASES]; /* share of a request, sum 1 */
    double done[PHASES]; /* of each phase, in requests */
    int requests;
    int phase;
};

enum app_progress_mode app_progress_mode(const char *word) {
    if (!strcmp(word, "none"))
        return APP_PROGRESS_NONE;
    if (!strcmp(word, "plain"))
        return APP_PROGRESS_PLAIN;
    if (!strcmp(word, "bar"))
        return APP_PROGRESS_BAR;
    const char *term = getenv("TERM");
    return isatty(STDERR_FILENO) && term && strcmp(term, "dumb") ? APP_PROGRESS_BAR
                                                                 : APP_PROGRESS_PLAIN;
}

struct app_progress *app_progress_start(enum app_progress_mode mode, const struct sdt_plan *plan,
                                        int steps, int requests) {
    struct app_progress *progress = calloc(1, sizeof *progress);
    const char *no_colour = getenv("NO_COLOR");

    if (!progress)
        return NULL;
    double work[PHASES] = {steps ? plan->text_flops : 0.0, plan->step_flops * steps,
                           plan->vae_flops};
    double all = work[0] + work[1] + work[2];
    for (int p = 0; p < PHASES; p++)
        progress->work[p] = all > 0.0 ? work[p] / all : 1.0 / PHASES;
    pthread_mutex_init(&progress->mutex, NULL);
    progress->mode = mode;
    progress->colour = !(no_colour && *no_colour);
    progress->start = sdt__host_now();
    progress->phase = -1;
    progress->requests = requests;
    return progress;
}

void app_duration(double seconds, char text[32]) {
    if (seconds < 9.95)
        snprintf(text, 32, "%.1f s", seconds);
    else if (seconds < 100.0)
        snprintf(text, 32, "%.0f s", seconds);
    else if (seconds < 3600.0)
        snprintf(text, 32, "%d:%02d min", (int)seconds / 60, (int)seconds % 60);
    else if (seconds < 360000.0)
        snprintf(text, 32, "%d:%02d:%02d h", (int)seconds / 3600, (int)seconds / 60 % 60,
                 (int)seconds % 60);
    else
        snprintf(text, 32, "%.0f days", seconds / 86400.0);
}

void app_progress_update(void *arg, int request, const char *phase, int done, int total) {
    struct app_progress *progress = arg;
    double fraction = 0.0;
    char elapsed[32], left[32] = "", which[32] = "";
    int p = 0;

    if (progress->mode == APP_PROGRESS_NONE || total < 1)
        return;
    while (p < PHASES && strcmp(phase, phase_name[p]))
        p++;
    if (p == PHASES)
        return;
    pthread_mutex_lock(&progress->mutex);
    double time = sdt__host_now();
    /* Requests pass a phase one after the other, or nearly so: what counts is how far the last one is. */
    double reached = request + (double)done / total;
    if (reached > progress->done[p])
        progress->done[p] = reached;
    for (int q = 0; q < PHASES; q++)
        fraction += progress->work[q] * progress->done[q] / progress->requests;
    if (progress->requests > 1)
        snprintf(which, sizeof which, "%d/%d ", request + 1, progress->requests);
    bool due = time - progress->last >=
               (progress->mode == APP_PROGRESS_BAR ? BAR_INTERVAL : LINE_INTERVAL);
    if ((p < progress->phase && progress->requests == 1) ||
        (!due && done != total && p == progress->phase))
        goto out;
    progress->phase = p;
    progress->last = time;
    app_duration(time - progress->start, elapsed);
    if (fraction > 0.0 && time - progress->start > 0.5)
        app_duration((time - progress->start) * (1.0 - fraction) / fraction, left);
    if (progress->mode == APP_PROGRESS_PLAIN) {
        fprintf(stderr, "%s%s %d/%d, %s elapsed%s%s%s\n", which, phase, done, total, elapsed,
                *left ? ", " : "", left, *left ? " left" : "");
    } else {
        int full = (int)(fraction * BAR_WIDTH + 0.5);
        fprintf(stderr, "\r%s%-7s %4d/%-4d [%s%.*s%s%*s] %3.0f%% %s%s%s%s\033[K", which, phase,
                done, total, progress->colour ? "\033[32m" : "", full,
                "##############################", progress->colour ? "\033[0m" : "",
                BAR_WIDTH - full, "", 100.0 * fraction, elapsed, *left ? ", " : "", left,
                *left ? " left" : "");
        progress->drawn = true;
    }
    fflush(stderr);
out:
    pthread_mutex_unlock(&progress->mutex);
}

void app_progress_pause(struct app_progress *progress) {
    if (!progress)
        return;
    pthread_mutex_lock(&progress->mutex);
    if (progress->drawn)
        fputc('\n', stderr);
    progress->drawn = false;
    pthread_mutex_unlock(&progress->mutex);
}

void app_progress_end(struct app_progress *progress) {
    if (!progress)
        return;
    app_progress_pause(progress);
    pthread_mutex_destroy(&progress->mutex);
    free(progress);
}

/* The progress line: how much of the plan's work is done, and how long the rest will take. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "apps/progress.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "apps/estimate.h"
#include "base/clock.h"

#define BAR_WIDTH 30
#define HEAD_WIDTH 17
/* At most so often, in seconds: drawing the bar, and printing a plain line (the last of a phase
 * always). */
#define BAR_INTERVAL 0.1
#define LINE_INTERVAL 1.0

struct app_progress {
    pthread_mutex_t mutex;
    enum app_progress_mode mode;
    bool colour, drawn;
    double last; /* when a line was drawn */
    struct app_estimate estimate;
    int phase;
};

/* Columns of the terminal now: it may have been resized since the last line. 0: neither it, as one
 * without a size, nor COLUMNS says. */
static int columns(void) {
    struct winsize size;
    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0)
        return size.ws_col;
    const char *text = getenv("COLUMNS");
    long width = text ? strtol(text, NULL, 10) : 0;
    return width > 0 && width <= 10000 ? (int)width : 0;
}

enum app_progress_mode app_progress_mode(const char *word) {
    if (!strcmp(word, "none"))
        return APP_PROGRESS_NONE;
    if (!strcmp(word, "plain"))
        return APP_PROGRESS_PLAIN;
    if (!strcmp(word, "bar"))
        return APP_PROGRESS_BAR;
    const char *term = getenv("TERM");
    /* A bar that may be too wide would leave a line each time it is drawn. */
    return isatty(STDERR_FILENO) && term && strcmp(term, "dumb") && columns() ? APP_PROGRESS_BAR
                                                                              : APP_PROGRESS_PLAIN;
}

struct app_progress *app_progress_start(enum app_progress_mode mode, const struct sdt_plan *plan,
                                        const struct sdt_request *request, int requests) {
    struct app_progress *progress = calloc(1, sizeof *progress);
    const char *no_colour = getenv("NO_COLOR");

    if (!progress)
        return NULL;
    pthread_mutex_init(&progress->mutex, NULL);
    progress->mode = mode;
    progress->colour = !(no_colour && *no_colour);
    progress->phase = -1;
    app_estimate_begin(&progress->estimate, plan, request->steps,
                       request->resume ? request->resume->step : 0, requests, sdt__host_now());
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

/* What a line says. */
struct news {
    char which[32]; /* "2/3 " of several requests */
    const char *phase;
    int done, total;
    double fraction;            /* of all that is to be done */
    char elapsed[32], left[32]; /* left "": not known yet */
};

/* One line that fits: what has no room goes, the bar first. */
static void draw(const struct app_progress *progress, const struct news *n) {
    char head[80], tail[80], bar[BAR_WIDTH + 1];
    int width = columns();
    width = (width ? width : 80) - 1; /* the last column would wrap */
    int at = snprintf(head, sizeof head, "%s%s %d/%d", n->which, n->phase, n->done, n->total);
    int behind = snprintf(tail, sizeof tail, " %3.0f%% %s%s%s%s", 100.0 * n->fraction, n->elapsed,
                          *n->left ? ", " : "", n->left, *n->left ? " left" : "");
    if (at + behind > width || (at < HEAD_WIDTH && HEAD_WIDTH + behind > width))
        behind = snprintf(tail, sizeof tail, " %3.0f%%", 100.0 * n->fraction);
    if (at < HEAD_WIDTH && HEAD_WIDTH + behind <= width) /* so that the bar stays in its place */
        at += snprintf(head + at, sizeof head - (size_t)at, "%*s", HEAD_WIDTH - at, "");
    if (at > width) { /* part of a number would be a wrong one */
        at = 0;
        behind = snprintf(tail, sizeof tail, "%.0f%%", 100.0 * n->fraction);
    }
    int room = width - at - behind - 3; /* two brackets and a space */
    room = room > BAR_WIDTH ? BAR_WIDTH : room;
    int full = room > 0 ? (int)(n->fraction * room + 0.5) : 0;
    memset(bar, '#', sizeof bar - 1);
    bar[sizeof bar - 1] = '\0';
    fprintf(stderr, "\r%.*s", at < width ? at : width > 0 ? width : 0, head);
    if (at > 0 && room >= 4)
        fprintf(stderr, " [%s%.*s%s%*s]", progress->colour ? "\033[32m" : "", full, bar,
                progress->colour ? "\033[0m" : "", room - full, "");
    if (at + behind <= width)
        fputs(tail, stderr);
    fputs("\033[K", stderr);
}

void app_progress_update(void *arg, int request, const char *phase, int done, int total) {
    struct app_progress *progress = arg;
    struct app_estimate *estimate = &progress->estimate;
    struct news news = {.phase = phase, .done = done, .total = total};
    int p = 0;

    if (progress->mode == APP_PROGRESS_NONE || total < 1)
        return;
    while (p < APP_PHASES && strcmp(phase, app_phase_name(p)))
        p++;
    if (p == APP_PHASES)
        return;
    pthread_mutex_lock(&progress->mutex);
    double time = sdt__host_now(), since = time - estimate->start;
    app_estimate_reached(estimate, p, request, done, total, time);
    if (estimate->requests > 1)
        snprintf(news.which, sizeof news.which, "%d/%d ", request + 1, estimate->requests);
    bool due = time - progress->last >=
               (progress->mode == APP_PROGRESS_BAR ? BAR_INTERVAL : LINE_INTERVAL);
    if ((p < progress->phase && estimate->requests == 1) ||
        (!due && done != total && p == progress->phase))
        goto out;
    progress->phase = p;
    progress->last = time;
    app_duration(since, news.elapsed);
    double seconds = app_estimate_left(estimate, &news.fraction);
    if (news.fraction > 0.0 && since > 0.5)
        app_duration(seconds, news.left);
    if (progress->mode == APP_PROGRESS_PLAIN) {
        fprintf(stderr, "%s%s %d/%d, %s elapsed%s%s%s\n", news.which, phase, done, total,
                news.elapsed, *news.left ? ", " : "", news.left, *news.left ? " left" : "");
    } else {
        draw(progress, &news);
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

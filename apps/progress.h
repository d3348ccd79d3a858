/* Progress of a run on stderr: a bar on a terminal, plain lines elsewhere. */
#ifndef STARDIT_APPS_PROGRESS_H
#define STARDIT_APPS_PROGRESS_H

#include "stardit/stardit.h"

enum app_progress_mode { APP_PROGRESS_NONE, APP_PROGRESS_PLAIN, APP_PROGRESS_BAR };

struct app_progress;

/* "auto" is a bar where stderr is a terminal that can redraw a line, else plain lines. */
enum app_progress_mode app_progress_mode(const char *word);

/* What is left is told as apps/estimate.h says. request: the first of them. NULL: out of memory. */
struct app_progress *app_progress_start(enum app_progress_mode mode, const struct sdt_plan *plan,
                                        const struct sdt_request *request, int requests);
/* An sdt_progress; arg is the struct app_progress. Any thread. */
void app_progress_update(void *arg, int request, const char *phase, int done, int total);
/* Ends an unfinished bar's line, so that a message can follow; the next update draws it anew. NULL
 * is fine. */
void app_progress_pause(struct app_progress *progress);
/* The same, for good. NULL is fine. */
void app_progress_end(struct app_progress *progress);

/* Seconds as "12 s", "3:05" (minutes) or "2:10:00". */
void app_duration(double seconds, char text[32]);
#endif

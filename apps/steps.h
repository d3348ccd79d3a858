/* Options that say which steps a request takes: their table lines, which stardit-generate and
 * stardit-simulate share, and what they mean for a request. */
#ifndef STARDIT_APPS_STEPS_H
#define STARDIT_APPS_STEPS_H

#include "apps/options.h"
#include "stardit/stardit.h"

#define APP_MOST_STEPS 1000

struct app_steps {
    const char *sigmas;
    double level[APP_MOST_STEPS]; /* of --sigmas; a request borrows it */
};

/* Lines of a table; AT(field) is where a field of the struct lies. */
#define APP_STEPS_OPTIONS(AT)                                                                      \
    APP_STRING_OPTION("sigmas", "LIST", AT(sigmas),                                                \
                      "noise levels of the steps, falling, before the flow shift, in place of a "  \
                      "schedule's: 1,0.75,0.5,0.25, or 1000,750,500,250 (default: the "            \
                      "schedule's)")

/* Takes what was given into the request; steps_given: its number of steps was asked for.
 * SDT_ERROR_USAGE. */
enum sdt_status app_steps_take(struct app_steps *steps, bool steps_given,
                               struct sdt_request *request, struct sdt_error *err);
#endif

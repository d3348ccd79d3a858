/* --dry-run: a plan as text. */
#ifndef STARDIT_APPS_PLAN_H
#define STARDIT_APPS_PLAN_H

#include "stardit/stardit.h"

/* Prints the plan to stdout; each number is defined in docs/numbers.md. Where it would take more
 * than an hour, a smaller request of less than ten minutes is looked for and printed as well. */
void app_plan_print(struct sdt_pipeline *pipeline, const struct sdt_request *request,
                    const struct sdt_placement *placement,
                    const struct sdt_machine_options *machine /* scheduler: its name */,
                    int requests, const struct sdt_plan *plan);
#endif

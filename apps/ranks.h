/* stardit-generate as one of several ranks (stardit/ranks.h): rank 0 speaks and writes for all. */
#ifndef STARDIT_APPS_RANKS_H
#define STARDIT_APPS_RANKS_H

#include "apps/settings.h"
#include "apps/state.h"
#include "stardit/ranks.h"

/* The first thing a program does. Other ranks than 0 have no standard output from then on, and
 * app_report() only keeps what they would say. SDT_ERROR_USAGE and SDT_ERROR_DEVICE as
 * sdt_ranks_join. */
enum sdt_status app_ranks_join(struct sdt_error *err);
/* The command line has been read, with this exit code, -1: it is fine. The code of all ranks; where
 * another rank's is the only one, rank 0 has said which. */
int app_ranks_parsed(const char *program, int code);
/* What has no meaning on several ranks yet: SDT_ERROR_USAGE. */
enum sdt_status app_ranks_check(const struct app_settings *settings, struct sdt_error *err);
/* All ranks are of this version, and make the same video in the same way: SDT_ERROR_USAGE, with the
 * first thing that differs. */
enum sdt_status app_ranks_compare(const struct app_settings *settings,
                                  const struct app_recipe *recipes, int count,
                                  const struct sdt_placement *placement, struct sdt_error *err);
#endif

/* --strategy: a strategy by name, with help and messages that list them all. */
#ifndef STARDIT_APPS_STRATEGY_H
#define STARDIT_APPS_STRATEGY_H

#include "stardit/stardit.h"

/* name NULL: sdt_strategy_default(). NULL: unknown, err says which there are. */
const struct sdt_strategy *app_strategy(const char *name, struct sdt_error *err);
/* Is it the name (or NULL) of one that reads keys of the step before? */
bool app_strategy_stale(const char *name);

/* Is it the name (or NULL) of one whose videos are made in blocks? */
bool app_strategy_blocks(const char *name);

/* The first strategy that takes a Ulysses degree (usp is one). */
const struct sdt_strategy *app_strategy_of_degrees(void);

/* Help text of --strategy: what it is, every name, the default. */
void app_strategy_help(char *text, size_t size);
#endif

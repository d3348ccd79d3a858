/* --strategy: a strategy by name, with a message that lists them all. */
#ifndef STARDIT_APPS_STRATEGY_H
#define STARDIT_APPS_STRATEGY_H

#include "graph/strategies/strategy.h"

/* name NULL: ulysses, which on one device does what single does. NULL: unknown, err says which
 * there are. */
const struct sdt_strategy *app_strategy(const char *name, struct sdt_error *err);
#endif

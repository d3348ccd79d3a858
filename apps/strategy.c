/* Looking up --strategy. */
#include "apps/strategy.h"

#include <stdio.h>

const struct sdt_strategy *app_strategy(const char *name, struct sdt_error *err) {
    const struct sdt_strategy *strategy = sdt_strategy_find(name ? name : "ulysses");
    char known[200] = "";
    size_t length = 0;

    if (strategy)
        return strategy;
    for (int i = 0; sdt_strategies[i] && length < sizeof known; i++)
        length += (size_t)snprintf(known + length, sizeof known - length, "%s%s", i ? ", " : "",
                                   sdt_strategies[i]->name);
    sdt_fail(err, SDT_ERROR_USAGE, "unknown strategy '%s'; known: %s", name, known);
    return NULL;
}

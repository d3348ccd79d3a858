/* Looking up --strategy. */
#include "apps/strategy.h"

#include <stdio.h>

/* "single, ulysses, ..." */
static void list_names(char *text, size_t size) {
    size_t length = 0;
    text[0] = 0;
    for (int i = 0; sdt_strategies[i] && length < size; i++)
        length += (size_t)snprintf(text + length, size - length, "%s%s", i ? ", " : "",
                                   sdt_strategy_name(sdt_strategies[i]));
}

const struct sdt_strategy *app_strategy(const char *name, struct sdt_error *err) {
    const struct sdt_strategy *strategy = name ? sdt_strategy_find(name) : sdt_strategy_default();
    char known[200];

    if (strategy)
        return strategy;
    list_names(known, sizeof known);
    sdt_fail(err, SDT_ERROR_USAGE, "unknown strategy '%s'; known: %s", name, known);
    return NULL;
}

bool app_strategy_stale(const char *name) {
    const struct sdt_strategy *strategy = name ? sdt_strategy_find(name) : NULL;
    return strategy && sdt_strategy_stale(strategy);
}

bool app_strategy_blocks(const char *name) {
    const struct sdt_strategy *strategy = name ? sdt_strategy_find(name) : NULL;
    return strategy && sdt_strategy_blocks(strategy);
}

const struct sdt_strategy *app_strategy_of_degrees(void) {
    for (int i = 0; sdt_strategies[i]; i++)
        if (sdt_strategy_has_degree(sdt_strategies[i]))
            return sdt_strategies[i];
    return NULL;
}

void app_strategy_help(char *text, size_t size) {
    char known[200];
    list_names(known, sizeof known);
    snprintf(text, size, "how devices share a sequence: %s (default %s)", known,
             sdt_strategy_name(sdt_strategy_default()));
}

/* The strategies, by name: a line each. */
#include "graph/strategies/strategy.h"

#include <string.h>

#define STRATEGIES(X)                                                                              \
    X(single)                                                                                      \
    X(ulysses)                                                                                     \
    X(pipesp)                                                                                      \
    X(ring)                                                                                        \
    X(usp)                                                                                         \
    X(pipefusion)                                                                                  \
    X(dualparal)

#define DECLARE(name) extern const struct sdt_strategy sdt__strategy_##name;
STRATEGIES(DECLARE)

#define LIST(name) &sdt__strategy_##name,
const struct sdt_strategy *const sdt_strategies[] = {
    STRATEGIES(LIST) & sdt__guest_strategy /* or NULL */, NULL};

const struct sdt_strategy *sdt_strategy_default(void) { return &sdt__strategy_ulysses; }

const struct sdt_strategy *sdt_strategy_find(const char *name) {
    for (int i = 0; sdt_strategies[i]; i++)
        if (!strcmp(sdt_strategies[i]->name, name))
            return sdt_strategies[i];
    return NULL;
}

const char *sdt_strategy_name(const struct sdt_strategy *strategy) { return strategy->name; }

const char *sdt_strategy_summary(const struct sdt_strategy *strategy) { return strategy->summary; }

bool sdt_strategy_exact(const struct sdt_strategy *strategy) { return strategy->exact; }

bool sdt_strategy_has_degree(const struct sdt_strategy *strategy) { return strategy->degree; }

bool sdt_strategy_stale(const struct sdt_strategy *strategy) { return strategy->stale; }

bool sdt_strategy_blocks(const struct sdt_strategy *strategy) { return strategy->blocks; }

bool sdt_strategy_variant(const struct sdt_strategy *strategy, int index, int devices,
                          struct sdt_placement *placement) {
    return strategy->variant ? strategy->variant(index, devices, placement) : index == 0;
}

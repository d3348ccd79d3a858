/* Sets of devices, a bit each. */
#ifndef STARDIT_QUEUE_SETS_H
#define STARDIT_QUEUE_SETS_H

#include <stdint.h>

static inline int sdt__set_size(uint64_t set) { return __builtin_popcountll(set); }

/* Those with the lowest numbers, at most so many. */
static inline uint64_t sdt__set_lowest(uint64_t set, int count) {
    uint64_t taken = 0;
    for (; count > 0 && set; count--, set &= set - 1)
        taken |= set & ~(set - 1);
    return taken;
}
#endif

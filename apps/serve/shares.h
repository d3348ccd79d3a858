/* Who runs where, with --data-parallel-size: each job on a share of the devices, the most urgent
 * ones side by side; one whose deadline a share would miss has all devices alone. Decided anew
 * whenever something changes, from what is there alone. */
#ifndef STARDIT_APPS_SERVE_SHARES_H
#define STARDIT_APPS_SERVE_SHARES_H

#include <stdbool.h>

enum {
    SERVE_MOST_SHARES = 15,
    SERVE_SLOTS = SERVE_MOST_SHARES + 1, /* the shares, and all devices behind them */
    SERVE_NOWHERE = -1
};

/* The slot of all devices; the only one where there is one share. */
static inline int serve_wide(int shares) { return shares > 1 ? shares : 0; }

/* An open job. */
struct serve_claim {
    int model;
    int slot;     /* whose service has it, or SERVE_NOWHERE: it waits */
    bool stays;   /* there to its end: it is decoded, or leaves already */
    bool leaves;  /* it does */
    bool all;     /* it wants all devices: a share has not the room, or not the time */
    int assigned; /* out: the slot where it should be */
};

/* claim: in the queue's order, the first is the most urgent. window: jobs of a slot, those that
 * stay counted. Jobs of one model at a time, that of the first that does not stay. A job that is on
 * all devices keeps them while it is the first. */
void serve_shares_assign(struct serve_claim *claim /* [count] */, int count, int shares,
                         int window);
#endif

#include "apps/serve/shares.h"

/* Of the shares with room, the one with the fewest jobs; of those without a runner, if `free`. */
static int least(const int *load, const bool *runner, bool free, int shares, int window) {
    int best = SERVE_NOWHERE;
    for (int s = 0; s < shares; s++)
        if (load[s] < window && !(free && runner[s]) &&
            (best == SERVE_NOWHERE || load[s] < load[best]))
            best = s;
    return best;
}

static void put(struct serve_claim *claim, int slot, int *load) {
    claim->assigned = slot;
    load[slot]++;
}

/* All devices: the first, and behind it the others of its model where each job has all. */
static void assign_wide(struct serve_claim *claim, int count, int first, int shares, int window,
                        int *load) {
    const int wide = serve_wide(shares);
    for (int i = first; i < count && load[wide] < window; i++)
        if (!claim[i].stays && claim[i].model == claim[first].model && (shares == 1 || i == first))
            put(&claim[i], wide, load);
}

/* May it be on a share now? */
static bool narrow(const struct serve_claim *claim, int model) {
    return !claim->stays && !claim->all && claim->model == model;
}

/* One on each share, the most urgent first: those that are on one keep it. */
static void assign_runners(struct serve_claim *claim, int count, int model, int shares, int window,
                           int *load, bool *runner) {
    for (int placed = 1; placed >= 0; placed--) {
        int seen = 0;
        for (int i = 0; i < count && seen < shares; i++) {
            if (!narrow(&claim[i], model))
                continue;
            seen++;
            int slot = claim[i].slot;
            const bool own = slot >= 0 && slot < shares && load[slot] < window && !runner[slot];
            if (claim[i].assigned != SERVE_NOWHERE || (placed && !own))
                continue;
            if (!placed)
                slot = least(load, runner, true, shares, window);
            if (slot == SERVE_NOWHERE)
                continue;
            put(&claim[i], slot, load);
            runner[slot] = true;
        }
    }
}

void serve_shares_assign(struct serve_claim *claim, int count, int shares, int window) {
    int load[SERVE_SLOTS] = {0}, first = count;
    bool runner[SERVE_SLOTS] = {false};

    for (int i = 0; i < count; i++) {
        claim[i].assigned = SERVE_NOWHERE;
        if (claim[i].stays)
            put(&claim[i], claim[i].slot, load);
        else if (first == count)
            first = i;
    }
    if (first == count)
        return;
    if (shares == 1 || claim[first].all || claim[first].slot == serve_wide(shares)) {
        assign_wide(claim, count, first, shares, window, load);
        return;
    }
    assign_runners(claim, count, claim[first].model, shares, window, load, runner);
    for (int i = first; i < count; i++) {
        if (!narrow(&claim[i], claim[first].model) || claim[i].assigned != SERVE_NOWHERE)
            continue;
        int slot = claim[i].slot;
        if (slot < 0 || slot >= shares || load[slot] >= window)
            slot = least(load, runner, false, shares, window);
        if (slot != SERVE_NOWHERE)
            put(&claim[i], slot, load);
    }
}

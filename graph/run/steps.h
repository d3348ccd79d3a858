/* The step table: for each step of a request, which branches of guidance run, which of them skip
 * the layers, and what is kept for that. It follows from the request and the checkpoint alone,
 * before a task is inserted; so what a step computes does not depend on where or when it runs, and
 * what a request takes is predicted step by step. */
#ifndef STARDIT_STEPS_H
#define STARDIT_STEPS_H

#include <stdbool.h>

struct sdt_step {
    int branches; /* whose velocities the solver reads: the first 1, or both */
    int layered;  /* of them, how many go through the layers */
    /* A branch that skips them adds what it has kept to its embedded latent; one that keeps goes
     * through them, and a later step skips by what they add. */
    bool skip[2], keep[2];
    bool stale; /* layers read keys of the step before */
    /* The last guided step keeps by how much its two velocities differ; later ones, of one branch,
     * take what that says the other's would be. It is part of the latent's state. */
    bool freezes, frozen;
};

struct sdt_step_table {
    int steps;
    bool blocks;           /* each block takes them, in its time */
    struct sdt_step *step; /* [steps]; NULL where there are none */
    char text[200];        /* of a cache, in words; "": none */
};
void sdt_step_table_clear(struct sdt_step_table *table);
/* What steps keep for later ones. */
struct sdt_step_keeping {
    int branches;    /* that keep what layers add */
    bool difference; /* of velocities */
};
struct sdt_step_keeping sdt_step_table_keeping(const struct sdt_step_table *table);
/* Does nothing from step `s` on read what was kept before it, but for the latent's state? */
bool sdt_step_table_whole(const struct sdt_step_table *table, int s);
/* Is the difference of velocities part of the state before step `s`? */
static inline bool sdt_step_table_frozen(const struct sdt_step_table *table, int s) {
    return s < table->steps && table->step[s].frozen;
}

/* Tasks of a tile that go into a step cache or out of it: 0 to 4. */
static inline int sdt_step_moves(const struct sdt_step *step) {
    int moves = 0;
    for (int b = 0; b < step->branches; b++)
        moves += step->skip[b] ? 1 : step->keep[b] ? 2 : 0;
    return moves;
}
/* The same of the difference of velocities: 0 or 2. */
static inline int sdt_step_differences(const struct sdt_step *step) {
    return step->freezes || step->frozen ? 2 : 0;
}
/* All steps alike, of so many branches. */
static inline struct sdt_step sdt_whole_step(int branches) {
    return (struct sdt_step){.branches = branches, .layered = branches};
}
#endif

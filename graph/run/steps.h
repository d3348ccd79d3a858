/* The step table: for each step of a request, which branches of guidance run and what they read
 * that earlier steps left. It follows from the request and the checkpoint alone, before a task is
 * inserted; so what a step computes does not depend on where or when it runs, and what a request
 * takes is predicted step by step. */
#ifndef STARDIT_STEPS_H
#define STARDIT_STEPS_H

#include <stdbool.h>

struct sdt_step {
    int branches; /* whose velocities the solver reads: the first 1, or both */
    int layered;  /* of them, how many go through the layers */
};

struct sdt_step_table {
    int steps;
    struct sdt_step *step; /* [steps]; NULL where there are none */
};
void sdt_step_table_clear(struct sdt_step_table *table);

/* All steps alike, of so many branches. */
static inline struct sdt_step sdt_whole_step(int branches) {
    return (struct sdt_step){.branches = branches, .layered = branches};
}
#endif

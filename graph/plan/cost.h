/* What a request takes: the one model behind plans, predictions and --plan auto.
 *
 * Each task takes its kernel's time (rates.h) and StarPU's; a strategy says how a step's tasks
 * share the devices and what of their exchanges shows (sdt_cost_of_step); a decode's layers are
 * stages or tiles on their devices. No phase takes less than its tasks' seconds of work shared by
 * all cores, nor less than inserting its tasks. It is arithmetic on a few numbers;
 * stardit-simulate runs the graph. */
#ifndef STARDIT_COST_H
#define STARDIT_COST_H

#include "graph/plan/draft.h"
#include "graph/plan/rates.h"

struct sdt_times {
    double text;                     /* of one request */
    double step, exposed;            /* with all forwards; exposed: of it, waiting for exchanges */
    double steps;                    /* all of one request, as its step table has them */
    double decode, load;             /* load: weights that come with each phase */
    double step_alone, decode_alone; /* worker seconds: as if one worker did it */
    double step_core, text_core, decode_core; /* seconds of all cores together */
    double steps_core;                        /* of all steps */
    double step_tasks, decode_tasks;
    double kernels; /* of step_core, in kernels */
    double total;   /* all requests */
};

/* A step's operations but self attention and the projections before it; list->failed: out of
 * memory. */
void sdt_draft_operations(const struct sdt_draft *draft, struct sdt_operations *list);
/* seconds: of each step as the table has it; or NULL. SDT_ERROR_MEMORY. */
enum sdt_status sdt_draft_steps(const struct sdt_draft *draft, int requests,
                                double *seconds /* [table.steps] */, struct sdt_times *times,
                                struct sdt_error *err);
/* The same with everything else. SDT_ERROR_MEMORY. */
enum sdt_status sdt_draft_times(const struct sdt_draft *draft, int requests,
                                struct sdt_times *times, struct sdt_error *err);
#endif

/* A plan of the smallest request on a checkpoint that has opened. */
#ifndef STARDIT_TESTS_FUZZ_PLAN_H
#define STARDIT_TESTS_FUZZ_PLAN_H

struct sdt_pipeline;

/* Checks what is planned, or the message that says why nothing is. */
void fuzz_plan(struct sdt_pipeline *pipeline);
#endif

/* stardit-generate up to the point where work would begin, called again and again. */
#ifndef STARDIT_TESTS_FUZZ_PROGRAM_H
#define STARDIT_TESTS_FUZZ_PROGRAM_H

/* argv [argc + 1], the last NULL; --model is the demo checkpoint whatever it says. Messages go to
 * stderr. */
void fuzz_program(int argc, char **argv);
#endif

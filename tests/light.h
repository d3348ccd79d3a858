/* Fewer and smaller cases of what takes long, for tools under which everything takes up to fifty
 * times as long: tests/long/sanitize.sh asks for it. */
#ifndef STARDIT_TESTS_LIGHT_H
#define STARDIT_TESTS_LIGHT_H

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static inline bool test_light(void) { return getenv("STARDIT_TEST_LIGHT") != NULL; }
/* One case of each kind: under valgrind, everything takes a hundred times as long. */
static inline bool test_least(void) {
    return test_light() && !strcmp(getenv("STARDIT_TEST_LIGHT"), "least");
}
#endif

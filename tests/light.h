/* Fewer and smaller cases of what takes long, for tools under which everything takes up to fifty
 * times as long: tests/long/sanitize.sh asks for it. */
#ifndef STARDIT_TESTS_LIGHT_H
#define STARDIT_TESTS_LIGHT_H

#include <stdbool.h>
#include <stdlib.h>

static inline bool test_light(void) { return getenv("STARDIT_TEST_LIGHT") != NULL; }
#endif

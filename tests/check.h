/* A check that counts its failures and lets the test go on. */
#ifndef STARDIT_TESTS_CHECK_H
#define STARDIT_TESTS_CHECK_H

#include <stdio.h>

static int failures;

#define CHECK(condition, ...)                                                                      \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: ", __FILE__, __LINE__);                                        \
            fprintf(stderr, __VA_ARGS__);                                                          \
            fputc('\n', stderr);                                                                   \
            failures++;                                                                            \
        }                                                                                          \
    } while (0)
#endif

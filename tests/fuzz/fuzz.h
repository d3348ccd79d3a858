/* What the libFuzzer targets share. A target is one file: bytes become a file, which is read by
 * what reads it in the programs, and the sanitizers and the checks judge. `make check-fuzz` builds
 * and runs them (tests/long/fuzz.sh); "Covers:" names the sources whose coverage it prints. */
#ifndef STARDIT_TESTS_FUZZ_H
#define STARDIT_TESTS_FUZZ_H

#include <stdint.h>
#include <stdlib.h>

#include "tests/checkpoint/files.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The target's folder, made at the first call and removed at the end: true at the first call. */
static inline bool fuzz_begin(const char *target) {
    static bool made;
    const bool first = !made;
    if (first) {
        make_folder(target);
        atexit(remove_folder);
        made = true;
    }
    return first;
}

/* A check that failed is a crash, which libFuzzer keeps. */
static inline int fuzz_end(void) {
    if (failures > 0)
        abort();
    return 0;
}
#endif

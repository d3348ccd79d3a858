/* Lines as the arguments of stardit-generate, up to its plan.
 * Covers: apps/options.c apps/settings.c apps/placement.c apps/devices.c apps/inputs.c */
#include <string.h>

#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/program.h"

enum { MOST = 64 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static char name[] = "stardit-generate";
    char *argv[MOST + 1] = {name}, *at;
    int argc = 1;
    char *text = malloc(size + 1);

    if (!text)
        return 0;
    fuzz_begin("fuzz-command");
    memcpy(text, data, size);
    text[size] = '\0';
    for (char *line = at = text; line && argc < MOST; line = at) {
        at = strchr(line, '\n');
        if (at)
            *at++ = '\0';
        if (at || *line)
            argv[argc++] = line;
    }
    argv[argc] = NULL;
    fuzz_program(argc, argv);
    free(text);
    return fuzz_end();
}

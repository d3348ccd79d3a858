/* Bytes as the state of a run, which --resume goes on from.
 * Covers: apps/state.c graph/checkpoint/safetensors.c */
#include <stdio.h>

#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/program.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static char name[] = "stardit-generate", resume[] = "--resume", output[] = "--output";
    static char model[] = "--model", demo[] = "stardit-demo", workers[] = "--workers-per-device",
                one[] = "1";
    char state[1000], video[1000];

    fuzz_begin("fuzz-state");
    write_bytes("state.safetensors", data, size);
    snprintf(state, sizeof state, "%s", path_of("state.safetensors"));
    snprintf(video, sizeof video, "%s", path_of("video.safetensors"));
    char *argv[] = {name, resume, state, output, video, model, demo, workers, one, NULL};
    fuzz_program(9, argv);
    return fuzz_end();
}

/* Bytes as a configuration, read key by key as every type.
 * Covers: graph/checkpoint/config.c graph/checkpoint/untrusted.c */
#include "tests/checkpoint/readers.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    fuzz_begin("fuzz-config");
    write_bytes("config.json", data, size);
    read_config("config.json");
    return fuzz_end();
}

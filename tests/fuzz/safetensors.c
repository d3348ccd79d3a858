/* Bytes as a safetensors file.
 * Covers: graph/checkpoint/safetensors.c graph/checkpoint/untrusted.c */
#include "tests/checkpoint/readers.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    fuzz_begin("fuzz-safetensors");
    write_bytes("f.safetensors", data, size);
    read_tensors("f.safetensors", size);
    return fuzz_end();
}

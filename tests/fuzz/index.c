/* Bytes as the index of a folder with two shards.
 * Covers: graph/checkpoint/weights.c */
#include "tests/checkpoint/readers.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (fuzz_begin("fuzz-index"))
        make_shards();
    write_bytes("shards/model.safetensors.index.json", data, size);
    read_index("shards");
    return fuzz_end();
}

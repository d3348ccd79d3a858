/* Bytes as a platform file of the simulator.
 * Covers: runtime/simulation.c */
#include <math.h>

#include "runtime/simulation.h"
#include "tests/checkpoint/readers.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct sdt_platform p = {.devices = 8};
    struct sdt_error err = {0};

    fuzz_begin("fuzz-platform");
    write_bytes("platform.txt", data, size);
    if (sdt_platform_read(path_of("platform.txt"), &p, &err) != SDT_OK)
        check_message(&err);
    else
        CHECK(p.devices >= 0 && p.gflops >= 0.0 && p.attention_gflops >= 0.0 &&
                  p.memory_gbps >= 0.0 && p.memory_gb >= 0.0 && p.link_gbps >= 0.0 &&
                  p.link_latency_us >= 0.0 && p.host_gbps >= 0.0,
              "a rate below 0");
    return fuzz_end();
}
